//! Where each identity lies: a hash table whose buckets are one cache line each.
//!
//! An entry is the number of a place (whose identity the caller compares) and 16 bits of the
//! identity's hash; ten of them fill a line. Whether an identity is new is therefore seen in
//! one line as a rule: in ten lines of a hundred or fewer the bucket has spilled into the next
//! one, and in one look-up of fifty the 16 bits are another identity's.
//!
//! The table is cut into segments that grow and shrink each on its own, by half or to half, so
//! that no event waits until everything was moved. An entry's bucket follows from its own 16
//! bits, so moving entries touches no identity.

/// Entries of a bucket.
const WIDE: usize = 10;
/// Entries that a segment holds when the index is as full as it was made for.
const SEGMENT: usize = 4_096;

/// Numbers of places by hash.
#[derive(Debug)]
pub struct Index {
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    /// At least one.
    buckets: Vec<Bucket>,
    len: usize,
}

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Bucket {
    places: [u32; WIDE],
    tags: [u16; WIDE],
    len: u8,
    /// Entries that passed this bucket because it was full and lie behind it; stays at the
    /// greatest number once it is there.
    passed: u16,
}

const EMPTY: Bucket = Bucket { places: [0; WIDE], tags: [0; WIDE], len: 0, passed: 0 };

impl Index {
    /// An empty index that is made for `places_max` places, and takes more.
    pub fn new(places_max: usize) -> Self {
        let segments = places_max.div_ceil(SEGMENT).max(1);
        let segments = (0..segments).map(|_| Segment::new()).collect();
        Index { segments }
    }

    /// Reads the line that a hash is looked for in first; what it says means nothing. Several
    /// such reads in a row wait for memory together.
    #[inline]
    pub fn touch(&self, hash: u64) -> u8 {
        let segment = &self.segments[self.segment_of(hash)];
        segment.buckets[segment.home(hash as u16)].len
    }

    /// The place of a hash that `is` the one looked for.
    #[inline]
    pub fn find(&self, hash: u64, is: impl FnMut(u32) -> bool) -> Option<u32> {
        let segment = &self.segments[self.segment_of(hash)];
        let (bucket, at) = segment.find(hash as u16, is)?;
        Some(segment.buckets[bucket].places[at])
    }

    /// Adds a place that is not in it.
    #[inline]
    pub fn insert(&mut self, hash: u64, place: u32) {
        let segment = self.segment_of(hash);
        self.segments[segment].insert(hash as u16, place);
    }

    /// Takes out the place of a hash that `is` the one looked for.
    pub fn remove(&mut self, hash: u64, is: impl FnMut(u32) -> bool) -> Option<u32> {
        let segment = self.segment_of(hash);
        self.segments[segment].remove(hash as u16, is)
    }

    /// Its bytes in memory.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let buckets: usize = self.segments.iter().map(|one| one.buckets.capacity()).sum();
        buckets * size_of::<Bucket>() + self.segments.capacity() * size_of::<Segment>()
    }

    /// By the upper half of the hash, of which an entry keeps nothing.
    #[inline]
    fn segment_of(&self, hash: u64) -> usize {
        (((hash >> 32) * self.segments.len() as u64) >> 32) as usize
    }
}

impl Segment {
    fn new() -> Self {
        Segment { buckets: vec![EMPTY], len: 0 }
    }

    /// The bucket that an entry lies in unless it is full.
    #[inline]
    fn home(&self, tag: u16) -> usize {
        (usize::from(tag) * self.buckets.len()) >> 16
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    #[inline]
    fn find(&self, tag: u16, mut is: impl FnMut(u32) -> bool) -> Option<(usize, usize)> {
        let mut at = self.home(tag);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut hits = bucket.hits(tag);
            while hits != 0 {
                let entry = hits.trailing_zeros() as usize;
                if is(bucket.places[entry]) {
                    return Some((at, entry));
                }
                hits &= hits - 1;
            }
            if bucket.passed == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    #[inline]
    fn insert(&mut self, tag: u16, place: u32) {
        // 85 %: a bucket that is full is then still seldom.
        if (self.len + 1) * 20 > self.buckets.len() * WIDE * 17 {
            self.resize(self.buckets.len() + self.buckets.len() / 2 + 1);
        }
        self.put(tag, place);
        self.len += 1;
    }

    #[inline]
    fn put(&mut self, tag: u16, place: u32) {
        let mut at = self.home(tag);
        // There is room in one of them: 15 % are free.
        while usize::from(self.buckets[at].len) == WIDE {
            self.buckets[at].passed = self.buckets[at].passed.saturating_add(1);
            at = self.next(at);
        }
        let bucket = &mut self.buckets[at];
        let end = usize::from(bucket.len);
        (bucket.places[end], bucket.tags[end]) = (place, tag);
        bucket.len += 1;
    }

    fn remove(&mut self, tag: u16, is: impl FnMut(u32) -> bool) -> Option<u32> {
        let (at, entry) = self.find(tag, is)?;
        let mut passed = self.home(tag);
        while passed != at {
            let bucket = &mut self.buckets[passed];
            bucket.passed -= u16::from(bucket.passed < u16::MAX);
            passed = self.next(passed);
        }
        let bucket = &mut self.buckets[at];
        let place = bucket.places[entry];
        let last = usize::from(bucket.len) - 1;
        (bucket.places[entry], bucket.tags[entry]) = (bucket.places[last], bucket.tags[last]);
        bucket.len -= 1;
        self.len -= 1;
        // A quarter: it is half full afterwards, far from growing again.
        if self.buckets.len() > 1 && self.len * 4 < self.buckets.len() * WIDE {
            self.resize(self.buckets.len() / 2);
        }
        Some(place)
    }

    fn resize(&mut self, buckets: usize) {
        let former = std::mem::replace(&mut self.buckets, vec![EMPTY; buckets]);
        for bucket in &former {
            let entries = bucket.tags.iter().zip(&bucket.places).take(usize::from(bucket.len));
            entries.for_each(|(tag, place)| self.put(*tag, *place));
        }
    }
}

impl Bucket {
    /// The entries with this tag, as bits.
    #[inline]
    fn hits(&self, tag: u16) -> u32 {
        let each = self.tags.iter().enumerate();
        let all = each.fold(0, |hits, (at, other)| hits | (u32::from(*other == tag) << at));
        all & ((1 << self.len) - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    proptest! {
        /// Against a plain map, also where many hashes are alike, and down to nothing again.
        #[test]
        fn it_finds_what_it_holds_and_nothing_else(
            steps in prop::collection::vec((0u32..300, any::<bool>()), 1..800),
            alike in 0u32..16,
            places_max in 0usize..20_000,
        ) {
            let hash = |n: u32| u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> alike << alike;
            let mut index = Index::new(places_max);
            let mut plain: BTreeMap<u32, u64> = BTreeMap::new();
            for (n, there) in steps {
                let known = plain.contains_key(&n);
                prop_assert_eq!(index.find(hash(n), |place| place == n).is_some(), known);
                if !there {
                    let removed = index.remove(hash(n), |place| place == n);
                    prop_assert_eq!(removed, plain.remove(&n).map(|_| n));
                } else if !known {
                    index.insert(hash(n), n);
                    plain.insert(n, hash(n));
                }
            }
            for n in 0..300 {
                let known = plain.remove(&n).is_some();
                prop_assert_eq!(index.remove(hash(n), |place| place == n).is_some(), known);
            }
            prop_assert!(index.segments.iter().all(|segment| segment.len == 0));
            let clean = |bucket: &Bucket| bucket.len == 0 && bucket.passed == 0;
            prop_assert!(index.segments.iter().flat_map(|one| &one.buckets).all(clean));
        }
    }

    /// More entries of one hash than a count of those that passed can say.
    #[test]
    fn a_flood_of_one_hash_is_slow_but_right() {
        let mut index = Index::new(0);
        let mut segment = Segment::new();
        segment.buckets = vec![Bucket { passed: u16::MAX, ..EMPTY }; 3];
        (0..25).for_each(|n| segment.put(7, n));
        segment.len = 25;
        index.segments = vec![segment];
        for n in 0..25 {
            assert_eq!(index.find(7, |place| place == n), Some(n));
        }
        assert_eq!(index.find(7, |place| place == 25), None);
        assert_eq!(index.remove(7, |place| place == 24), Some(24));
        assert_eq!(index.segments[0].buckets[0].passed, u16::MAX);
        assert_eq!(index.find(7, |place| place == 23), Some(23));
    }
}
