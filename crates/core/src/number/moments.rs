//! Sums of amounts: a total for sums and means, moments for deviations.

use num_bigint::{BigInt, BigUint};

use super::rounding::{quotient, root_over};
use super::{Amount, Squares, Sum};
use crate::wire::{Malformed, Reader, put_u64};

/// How many amounts, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: Sum,
}

impl Total {
    /// Adds one amount.
    #[inline]
    pub fn add(&mut self, amount: Amount) {
        self.count += 1;
        self.sum.add_i128(amount.parts());
    }

    /// Adds what another one holds.
    pub fn merge(&mut self, other: &Total) {
        self.count += other.count;
        self.sum.add(&other.sum);
    }

    /// Takes back what was merged.
    pub fn subtract(&mut self, other: &Total) {
        self.count -= other.count;
        self.sum.subtract(&other.sum);
    }

    /// Mean in units, the nearest double; `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| quotient(&self.sum, self.count))
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.count);
        self.sum.encode(out);
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Total, Malformed> {
        Ok(Total { count: reader.u64("count")?, sum: Sum::decode(reader)? })
    }
}

/// A total, and the sum of the squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// How many, and their sum.
    pub total: Total,
    /// Sum of their squares, in 10^-36.
    pub squares: Squares,
}

impl Moments {
    /// Adds one amount.
    pub fn add(&mut self, amount: Amount) {
        self.total.add(amount);
        self.squares.add(&Squares::square_of(amount.parts()));
    }

    /// Takes back one amount that was added.
    pub fn take(&mut self, amount: Amount) {
        let mut one = Moments::default();
        one.add(amount);
        self.subtract(&one);
    }

    /// Adds what another one holds.
    pub fn merge(&mut self, other: &Moments) {
        self.total.merge(&other.total);
        self.squares.add(&other.squares);
    }

    /// Takes back what was merged.
    pub fn subtract(&mut self, other: &Moments) {
        self.total.subtract(&other.total);
        self.squares.subtract(&other.squares);
    }

    /// Population standard deviation in units, the nearest double; `None` when empty. The
    /// variance is an integer, so no cancellation eats it.
    pub fn deviation(&self) -> Option<f64> {
        let count = self.total.count;
        if count == 0 {
            return None;
        }
        let sum = self.total.sum.to_big();
        let scaled: BigInt = self.squares.to_big() * count - &sum * &sum;
        let by = BigUint::from(Amount::UNIT.unsigned_abs()) * count;
        Some(root_over(scaled.magnitude(), &by))
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.total.encode(out);
        self.squares.encode(out);
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Moments, Malformed> {
        Ok(Moments { total: Total::decode(reader)?, squares: Squares::decode(reader)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::Decimal;
    use proptest::prelude::*;

    fn moments(values: impl IntoIterator<Item = f64>) -> Moments {
        let mut moments = Moments::default();
        for value in values {
            moments.add(Decimal::from_f64(value).unwrap().amount().unwrap());
        }
        moments
    }

    /// The same values many times over, as merging makes them.
    fn times(mut moments: Moments, doublings: u32) -> Moments {
        (0..doublings).for_each(|_| {
            let copy = moments;
            moments.merge(&copy);
        });
        moments
    }

    #[test]
    fn deviations_are_right_where_floats_and_narrow_integers_fail() {
        let both = |a: f64, b: f64, doublings| times(moments([a, b]), doublings).deviation();
        assert_eq!(both(5e11, 6e11, 9), Some(5e10));
        assert_eq!(both(1e9, 1e9 + 1.0, 14), Some(0.5));
        assert_eq!(both(1e8, 1e8 + 1.0, 17), Some(0.5));
        assert_eq!(both(-1e8, -1e8 - 1.0, 17), Some(0.5));
        assert_eq!(both(9.9e19, -9.9e19, 62), Some(9.9e19));
        assert_eq!(both(1e12 + 0.125, 1e12 + 0.375, 62), Some(0.125));
        assert_eq!(both(1e-18, 3e-18, 62), Some(1e-18));
        let epochs = moments((0..1_000).map(|n| 1_700_000_000_000.0 + f64::from(n)));
        assert_eq!(epochs.deviation(), Some(288.674_990_257_209_5));
        let three = moments([9e12, 9e12 + 1.0, 9e12 + 2.0]);
        assert_eq!(three.deviation(), Some(0.816_496_580_927_726));
        // Equal values have none, however often and whatever their digits.
        for flat in [0.1, 1e-9, 33.333333333333336, 9.9e19, -0.7] {
            let flat = times(moments([flat, flat, flat]), 60);
            assert_eq!(flat.deviation(), Some(0.0));
        }
        assert_eq!(Moments::default().deviation(), None);
    }

    #[test]
    fn means_and_sums_are_those_of_decimals() {
        let tenths = moments([0.1; 10]);
        assert_eq!((tenths.total.mean(), quotient(&tenths.total.sum, 1)), (Some(0.1), 1.0));
        assert_eq!(quotient(&moments([0.1, 0.2]).total.sum, 1), 0.3);
        assert_eq!(quotient(&moments([1e-7, 4e-7]).total.sum, 1), 5e-7);
        assert_eq!(quotient(&moments([1e13]).total.sum, 1), 1e13);
        assert_eq!(quotient(&moments([1e19, 1e-18, -1e19]).total.sum, 1), 1e-18);
        assert_eq!(moments([1.0, 0.0, 0.0]).total.mean(), Some(1.0 / 3.0));
        assert_eq!(times(moments([-1.0, 0.0, 0.0]), 60).total.mean(), Some(-1.0 / 3.0));
    }

    /// Mean and deviation by their definitions, in rational numbers: 2^`BITS` times each,
    /// rounded down.
    const BITS: u32 = 300;

    fn by_definition(amounts: &[i128]) -> (BigInt, BigUint) {
        let count = BigInt::from(amounts.len());
        let sum: BigInt = amounts.iter().map(|a| BigInt::from(*a)).sum();
        // Each distance from the mean, times the count.
        let far: BigInt = amounts
            .iter()
            .map(|a| {
                let distance = BigInt::from(*a) * &count - &sum;
                &distance * &distance
            })
            .sum();
        let unit = BigInt::from(Amount::UNIT);
        let mean = (sum << BITS) / (&count * &unit);
        let squared = (far << (2 * BITS)) / (&count * &count * &count * &unit * &unit);
        (mean, squared.magnitude().sqrt())
    }

    /// True when no double is nearer to `exact` (2^`BITS` times too great) than `value`.
    fn is_nearest(value: f64, exact: &BigInt) -> bool {
        let big = |value: f64| {
            let (bits, negative) = (value.abs().to_bits(), value < 0.0);
            let fraction = bits & ((1 << 52) - 1);
            let exponent = (bits >> 52) as i64;
            let mantissa = BigInt::from(if exponent == 0 { fraction } else { fraction | 1 << 52 });
            let up = exponent.max(1) - 1_075 + i64::from(BITS);
            let big = if up < 0 { mantissa >> -up } else { mantissa << up };
            if negative { -big } else { big }
        };
        let distance = |value: f64| (big(value) - exact).magnitude().clone();
        let slack = BigUint::from(4u32);
        distance(value) <= distance(value.next_up()) + &slack
            && distance(value) <= distance(value.next_down()) + &slack
    }

    fn amounts() -> impl Strategy<Value = Vec<i128>> {
        // An offset with small differences, or anything.
        let bound = 10i128.pow(38);
        (-bound..bound, 0u32..127, prop::collection::vec((any::<i128>(), 1u32..127), 1..20))
            .prop_map(move |(offset, shift, rest)| {
                let offset = offset >> shift;
                let near = rest.into_iter().map(|(far, shift)| offset.saturating_add(far >> shift));
                near.map(|amount| amount.clamp(1 - bound, bound - 1)).collect()
            })
    }

    proptest! {
        #[test]
        fn mean_and_deviation_are_the_nearest_doubles(amounts in amounts()) {
            let mut moments = Moments::default();
            amounts.iter().for_each(|amount| moments.add(Amount::from_parts(*amount)));
            let (mean, deviation) = by_definition(&amounts);
            prop_assert!(is_nearest(moments.total.mean().unwrap(), &mean));
            prop_assert!(is_nearest(moments.deviation().unwrap(), &deviation.into()));
        }

        #[test]
        fn what_was_added_is_taken_back_and_read_back(a in amounts(), b in amounts()) {
            let of = |amounts: &[i128]| {
                let mut moments = Moments::default();
                amounts.iter().for_each(|amount| moments.add(Amount::from_parts(*amount)));
                moments
            };
            let mut both = of(&a);
            both.merge(&of(&b));
            prop_assert_eq!(both, of(&[a.clone(), b.clone()].concat()));
            both.subtract(&of(&b));
            prop_assert_eq!(both, of(&a));
            let mut bytes = Vec::new();
            both.encode(&mut bytes);
            prop_assert_eq!(Moments::decode(&mut Reader::new(&bytes)).unwrap(), both);
            a.iter().for_each(|amount| both.take(Amount::from_parts(*amount)));
            prop_assert_eq!(both, Moments::default());
        }
    }
}
