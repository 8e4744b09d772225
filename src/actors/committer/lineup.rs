//! Lines up what comes of each barrier: the note of the ingestor, and one result of each shard.

use std::collections::BTreeMap;

use crate::domain::keeper::{Barrier, ShardDelta};

/// The barriers whose results are coming in, by number.
#[derive(Debug)]
pub(super) struct LineUp {
    shards: usize,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// And whether it is the last one of all.
    barrier: Option<(Barrier, bool)>,
    shards: BTreeMap<u16, ShardDelta>,
}

/// A barrier that everything has come for.
#[derive(Debug)]
pub(super) struct Complete {
    pub number: u64,
    pub barrier: Barrier,
    pub last: bool,
    /// In the order of the shards.
    pub shards: Vec<ShardDelta>,
}

impl LineUp {
    pub(super) fn of(shards: u16) -> Self {
        LineUp { shards: usize::from(shards), open: BTreeMap::new() }
    }

    pub(super) fn note(&mut self, number: u64, barrier: Barrier, last: bool) {
        self.open.entry(number).or_default().barrier = Some((barrier, last));
    }

    pub(super) fn done(&mut self, number: u64, shard: u16, delta: ShardDelta) {
        self.open.entry(number).or_default().shards.insert(shard, delta);
    }

    /// The next barrier, if it is complete. None overtakes another: the ingestor and each shard
    /// give theirs in order, so one that is complete has all before it behind it.
    pub(super) fn next(&mut self) -> Option<Complete> {
        let mut entry = self.open.first_entry()?;
        if entry.get().shards.len() < self.shards {
            return None;
        }
        let (barrier, last) = entry.get_mut().barrier.take()?;
        let (number, open) = entry.remove_entry();
        Some(Complete { number, barrier, last, shards: open.shards.into_values().collect() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the ingestor and two shards come in between each other, each barrier is given
        /// out once, in order, as soon as it and all before it are complete.
        #[test]
        fn barriers_come_out_whole_and_in_order(
            order in Just([0, 1, 2].repeat(4)).prop_shuffle(),
        ) {
            let (mut line, mut come, mut out) = (LineUp::of(2), [0u64; 3], Vec::new());
            for who in order {
                let number = come[who];
                match who {
                    2 => line.note(number, Barrier::default(), number == 3),
                    shard => line.done(number, shard as u16, ShardDelta::default()),
                }
                come[who] += 1;
                while let Some(complete) = line.next() {
                    prop_assert_eq!(complete.shards.len(), 2);
                    prop_assert_eq!(complete.last, complete.number == 3);
                    out.push(complete.number);
                }
                let whole = *come.iter().min().unwrap();
                prop_assert_eq!(&out, &(0..whole).collect::<Vec<_>>());
            }
        }
    }
}
