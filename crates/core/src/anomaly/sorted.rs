//! Numbers in order that come and go one by one: the smallest, the middle, how far half of them
//! lie from it.
//!
//! They lie in blocks, and how many lie before each block is in a tree of sums (Fenwick 1994): one
//! that comes or goes moves at most a block, and where it belongs, or which is the n-th, is found
//! in O(log n).

/// Most numbers in a block: 2 KiB, which is moved in the time of a few cache misses.
const BLOCK: usize = 256;

/// Finite numbers in ascending order; equal ones as often as they came.
#[derive(Clone, Debug, Default)]
pub struct Sorted {
    /// None of them is empty. Invariant: in order, within and among each other.
    blocks: Vec<Vec<f64>>,
    /// `sums[i]`: numbers in the blocks from `i` without its lowest bit to `i`, counted from 1.
    sums: Vec<usize>,
    len: usize,
}

impl Sorted {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        *self = Sorted::default();
    }

    /// Adds one.
    pub fn insert(&mut self, number: f64) {
        self.len += 1;
        if self.blocks.is_empty() {
            self.blocks.push(vec![number]);
            return self.count_all();
        }
        let index = self.block_of(number).min(self.blocks.len() - 1);
        let block = &mut self.blocks[index];
        block.insert(block.partition_point(|other| *other < number), number);
        if block.len() > BLOCK {
            let upper = block.split_off(BLOCK / 2);
            self.blocks.insert(index + 1, upper);
            return self.count_all();
        }
        self.count(index, 1);
    }

    /// Takes one away that was added.
    ///
    /// # Panics
    /// When it was not.
    pub fn remove(&mut self, number: f64) {
        let index = self.block_of(number);
        let block = &mut self.blocks[index];
        let at = block.partition_point(|other| *other < number);
        assert!(block[at] == number, "only what was added leaves");
        block.remove(at);
        self.len -= 1;
        // Small neighbours become one, so that there are never many blocks of few.
        let is_small = |first: usize| match self.blocks.get(first..first.saturating_add(2)) {
            Some([one, next]) => one.len() + next.len() <= BLOCK / 2,
            _ => false,
        };
        if let Some(first) =
            [index, index.wrapping_sub(1)].into_iter().find(|first| is_small(*first))
        {
            let next = self.blocks.remove(first + 1);
            self.blocks[first].extend(next);
            self.count_all();
        } else if self.blocks[index].is_empty() {
            self.blocks.remove(index);
            self.count_all();
        } else {
            self.count(index, -1);
        }
    }

    /// The one in the middle; of an even number the mean of both. `None` when there is none.
    pub fn median(&self) -> Option<f64> {
        let middle = self.len.checked_sub(1)? / 2;
        let low = self.nth(middle);
        Some(if self.len % 2 == 1 { low } else { low / 2.0 + self.nth(middle + 1) / 2.0 })
    }

    /// The least distance from `center` within which this share of them lies, from above 0 to 1;
    /// 0 when there is none.
    pub fn within(&self, center: f64, share: f64) -> f64 {
        if self.len == 0 {
            return 0.0;
        }
        let need = ((share * self.len as f64).ceil() as usize).clamp(1, self.len);
        // Distances ascend on both sides of the center: `low` of the nearest are on its left.
        let left = self.before(center);
        let on_left = |n: usize| center - self.nth(left - n);
        let on_right = |n: usize| self.nth(left + n - 1) - center;
        let (mut low, mut high) = (need.saturating_sub(self.len - left), need.min(left));
        while low < high {
            let middle = (low + high) / 2;
            if on_left(middle + 1) < on_right(need - middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let left = if low > 0 { on_left(low) } else { 0.0 };
        let right = if low < need { on_right(need - low) } else { 0.0 };
        left.max(right)
    }

    /// Numbers less than this.
    fn before(&self, number: f64) -> usize {
        let index = self.block_of(number);
        let Some(block) = self.blocks.get(index) else { return self.len };
        let (mut at, mut sum) = (index, 0);
        while at > 0 {
            sum += self.sums[at];
            at &= at - 1;
        }
        sum + block.partition_point(|other| *other < number)
    }

    /// The one with so many before it.
    fn nth(&self, mut n: usize) -> f64 {
        let (mut at, mut step) = (0, self.sums.len().next_power_of_two() / 2);
        while step > 0 {
            if let Some(sum) = self.sums.get(at + step)
                && *sum <= n
            {
                at += step;
                n -= sum;
            }
            step /= 2;
        }
        self.blocks[at][n]
    }

    /// The first block with a number that is not less; their number when there is none.
    fn block_of(&self, number: f64) -> usize {
        self.blocks.partition_point(|block| block.last().is_some_and(|last| *last < number))
    }

    fn count(&mut self, block: usize, by: isize) {
        let mut at = block + 1;
        while let Some(sum) = self.sums.get_mut(at) {
            *sum = sum.wrapping_add_signed(by);
            at += at & at.wrapping_neg();
        }
    }

    /// Counts anew: the blocks are others. It comes once in half a block of numbers.
    fn count_all(&mut self) {
        self.sums.clear();
        self.sums.resize(self.blocks.len() + 1, 0);
        for index in 0..self.blocks.len() {
            self.count(index, self.blocks[index].len() as isize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same of a plain list, sorted anew.
    fn check(sorted: &Sorted, plain: &[f64], center: f64, share: f64) {
        let mut plain = plain.to_vec();
        plain.sort_by(f64::total_cmp);
        assert_eq!(sorted.blocks.concat(), plain);
        assert_eq!(sorted.len(), plain.len());
        assert!(sorted.blocks.len() <= 4 * plain.len() / BLOCK + 2, "{}", sorted.blocks.len());
        let middle = |n: usize| plain.get(n).copied();
        let odd = plain.len() % 2 == 1;
        let low = plain.len().checked_sub(1).and_then(|last| middle(last / 2));
        let high = middle(plain.len() / 2);
        let median = low.zip(high).map(|(l, h)| if odd { l } else { l / 2.0 + h / 2.0 });
        assert_eq!(sorted.median(), median);
        for center in [center].into_iter().chain(median) {
            let mut away: Vec<f64> = plain.iter().map(|number| (number - center).abs()).collect();
            away.sort_by(f64::total_cmp);
            let need = ((share * away.len() as f64).ceil() as usize).max(1);
            assert_eq!(sorted.within(center, share), away.get(need - 1).copied().unwrap_or(0.0));
        }
    }

    proptest! {
        #![proptest_config(crate::trials::cases(64))]
        #[test]
        fn it_is_a_plain_list_sorted_anew(
            // Bursts of numbers from a narrow or a wide range, that leave first in, first out,
            // or the other way round.
            bursts in prop::collection::vec((1usize..700, 1u32..2_000, 0usize..700, any::<bool>()), 1..8),
            seed: u64,
            center in -50.0f64..1_000.0,
            share in 0.01f64..=1.0,
        ) {
            let (mut sorted, mut plain, mut random) = (Sorted::default(), Vec::new(), seed | 1);
            check(&sorted, &plain, center, share);
            for (come, range, go, oldest) in bursts {
                for _ in 0..come {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let number = (random % u64::from(range)) as f64 / 3.0;
                    sorted.insert(number);
                    plain.push(number);
                }
                check(&sorted, &plain, center, share);
                for _ in 0..go.min(plain.len()) {
                    let number = if oldest { plain.remove(0) } else { plain.pop().unwrap() };
                    sorted.remove(number);
                }
                check(&sorted, &plain, center, share);
            }
        }
    }
}
