//! Who is who: anonymous keys, and the known key that each stands for.
//!
//! Everything is decided by events in log order and their own stamps, so the table is the same
//! for any batch, commit and restart. An alias leaves when it was not used for long enough, or
//! when there are too many: then those unused longest leave first.
//!
//! A known key may stand for another in turn. That is followed for [`STEPS_MAX`] steps, so that
//! an event costs no more however long the way is; no way of that length leads back to itself.

use std::collections::{BTreeSet, HashMap};

use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::time::{EpochMs, SpanMs};

/// About what an alias takes besides its two keys.
const ALIAS_BYTES: usize = 192;
/// How far keys that stand for each other are followed.
const STEPS_MAX: usize = 32;

/// What the table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AliasBounds {
    /// How long an alias is kept after its last use, in event time.
    pub keep: SpanMs,
    /// Most aliases.
    pub max: usize,
    /// Most bytes of them.
    pub bytes_max: usize,
}

/// The table.
#[derive(Debug)]
pub struct Aliases {
    bounds: AliasBounds,
    entries: HashMap<SmolStr, Entry, foldhash::fast::RandomState>,
    /// By last use, so that the oldest are found.
    order: BTreeSet<(EpochMs, SmolStr)>,
    bytes: usize,
    /// Keys whose entry changed since the last call of [`Aliases::take_changes`].
    changed: Vec<SmolStr>,
    /// How many left before their time, since the last look.
    pub forgotten_early: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    known: SmolStr,
    used: EpochMs,
}

impl Aliases {
    /// An empty table.
    pub fn new(bounds: AliasBounds) -> Self {
        Aliases {
            bounds,
            entries: HashMap::default(),
            order: BTreeSet::new(),
            bytes: 0,
            changed: Vec::new(),
            forgotten_early: 0,
        }
    }

    /// The key that `key` stands for; `None` when it is not an alias. An event with this time and
    /// stamp uses it.
    pub fn resolve(&mut self, key: &str, at: EpochMs, stamp: EpochMs) -> Option<SmolStr> {
        let mut known = self.follow(key, stamp)?;
        let mut path: SmallVec<[SmolStr; 4]> = SmallVec::from_iter([SmolStr::new(key)]);
        while path.len() < STEPS_MAX
            && let Some(next) = self.follow(&known, stamp)
        {
            path.push(std::mem::replace(&mut known, next));
        }
        let now = at.max(stamp);
        for key in path {
            self.touch(&key, now);
        }
        Some(known)
    }

    /// From now on `anonymous` stands for `known`, or for what that stands for. Returns the key
    /// that it stands for when that is news.
    pub fn make(
        &mut self,
        anonymous: &str,
        known: &str,
        at: EpochMs,
        stamp: EpochMs,
    ) -> Option<SmolStr> {
        let known = self.resolve(known, at, stamp).unwrap_or_else(|| SmolStr::new(known));
        // They are one already, by whichever name.
        if known == anonymous || self.resolve(anonymous, at, stamp).as_ref() == Some(&known) {
            return None;
        }
        self.put(SmolStr::new(anonymous), known.clone(), at.max(stamp));
        self.sweep(stamp);
        while self.entries.len() > self.bounds.max || self.bytes > self.bounds.bytes_max {
            let Some((_, oldest)) = self.order.first().cloned() else { break };
            self.remove(&oldest);
            self.forgotten_early += 1;
        }
        Some(known)
    }

    /// Forgets what was not used for long enough. No later event would find it anyway.
    pub fn sweep(&mut self, stamp: EpochMs) {
        while let Some((used, key)) = self.order.first() {
            if !self.is_over(*used, stamp) {
                return;
            }
            let key = key.clone();
            self.remove(&key);
        }
    }

    /// Puts back what a snapshot holds.
    pub fn restore(&mut self, anonymous: &str, known: &str, used: EpochMs) {
        self.put(SmolStr::new(anonymous), SmolStr::new(known), used);
        self.changed.clear();
    }

    /// What changed since the last call, each key once: what it stands for and when it was used
    /// last; `None` for gone.
    pub fn take_changes(&mut self) -> Vec<(SmolStr, Option<(SmolStr, EpochMs)>)> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let now = |key: SmolStr| {
            let entry = self.entries.get(&key).map(|entry| (entry.known.clone(), entry.used));
            (key, entry)
        };
        changed.into_iter().map(now).collect()
    }

    /// Aliases in the table.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_over(&self, used: EpochMs, stamp: EpochMs) -> bool {
        used.saturating_add(self.bounds.keep) < stamp
    }

    /// One step from `key`.
    fn follow(&self, key: &str, stamp: EpochMs) -> Option<SmolStr> {
        let entry = self.entries.get(key)?;
        (!self.is_over(entry.used, stamp)).then(|| entry.known.clone())
    }

    /// Notes a use. Not each one, which would write all of them into every commit.
    fn touch(&mut self, key: &SmolStr, now: EpochMs) {
        let Some(entry) = self.entries.get(key) else { return };
        if entry.used.saturating_add(self.bounds.keep / 64) < now {
            let known = entry.known.clone();
            self.put(key.clone(), known, now);
        }
    }

    fn put(&mut self, key: SmolStr, known: SmolStr, used: EpochMs) {
        self.remove(&key);
        self.bytes += ALIAS_BYTES + key.len() + known.len();
        self.order.insert((used, key.clone()));
        self.changed.push(key.clone());
        self.entries.insert(key, Entry { known, used });
    }

    fn remove(&mut self, key: &SmolStr) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.bytes -= ALIAS_BYTES + key.len() + entry.known.len();
        self.order.remove(&(entry.used, key.clone()));
        self.changed.push(key.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const KEEP: SpanMs = 6_400;

    fn table(max: usize) -> Aliases {
        Aliases::new(AliasBounds { keep: KEEP, max, bytes_max: 1 << 20 })
    }

    #[test]
    fn an_alias_stands_for_the_last_known_key_of_a_chain() {
        let mut table = table(10);
        assert_eq!(table.resolve("x", 0, 0), None);
        assert_eq!(table.make("x", "u", 0, 0).as_deref(), Some("u"));
        assert_eq!(table.make("x", "u", 0, 0), None, "no news");
        assert_eq!(table.make("u", "v", 0, 0).as_deref(), Some("v"));
        assert_eq!(table.resolve("x", 0, 0).as_deref(), Some("v"));
        assert_eq!(table.make("v", "x", 0, 0), None, "they are one already");
        assert_eq!(table.make("y", "x", 0, 0).as_deref(), Some("v"));
        assert_eq!(table.make("x", "w", 0, 0).as_deref(), Some("w"), "a second person");
        assert_eq!(table.resolve("u", 0, 0).as_deref(), Some("v"));
    }

    #[test]
    fn a_way_is_followed_for_so_many_steps() {
        let mut table = table(1_000);
        for n in 0..100 {
            table.make(&format!("k{n}"), &format!("k{}", n + 1), 0, 0);
        }
        assert_eq!(table.resolve("k0", 0, 0).as_deref(), Some("k32"));
        assert_eq!(table.resolve("k90", 0, 0).as_deref(), Some("k100"));
    }

    #[test]
    fn an_alias_leaves_when_it_was_not_used_for_long() {
        let mut table = table(10);
        table.make("x", "u", 1_000, -5_000_000);
        assert!(table.resolve("x", 7_000, 7_400).is_some());
        assert!(table.resolve("x", 13_000, 13_800).is_some());
        table.sweep(20_200);
        assert_eq!((table.resolve("x", 1, 20_200).is_some(), table.len()), (true, 1));
        let mut table = self::table(10);
        table.make("x", "u", 1_000, 0);
        assert_eq!(table.resolve("x", 0, 1_001 + KEEP), None);
        table.sweep(1_001 + KEEP);
        assert_eq!((table.len(), table.bytes(), table.forgotten_early), (0, 0, 0));
        assert_eq!(table.take_changes(), [("x".into(), None)]);
    }

    #[test]
    fn those_unused_longest_make_room() {
        let mut table = table(2);
        for (at, key) in [(3, "a"), (1, "b"), (2, "c"), (4, "d")] {
            table.make(key, "u", at, 0);
        }
        assert_eq!((table.len(), table.forgotten_early), (2, 2));
        assert!(table.resolve("a", 5, 0).is_some() && table.resolve("d", 5, 0).is_some());
        let mut table = Aliases::new(AliasBounds { keep: KEEP, max: 9, bytes_max: 1_000 });
        table.make("a", &"u".repeat(700), 1, 0);
        table.make("b", &"v".repeat(700), 2, 0);
        assert_eq!((table.len(), table.forgotten_early), (1, 1));
    }

    proptest! {
        /// Against groups of keys that are one visitor's.
        #[test]
        fn the_table_is_the_same_for_any_restart(
            steps in prop::collection::vec((0u8..6, 0u8..6, any::<bool>(), any::<bool>()), 1..80),
        ) {
            let mut table = table(1_000);
            let mut kept: BTreeMap<SmolStr, (SmolStr, EpochMs)> = BTreeMap::new();
            let mut groups: Vec<u8> = (0..6).collect();
            for (one, other, make, restart) in steps {
                let (a, b) = (one.to_string(), other.to_string());
                // Only keys that stand for none yet, so that groups only grow together.
                if make && table.resolve(&a, 0, 0).is_none() {
                    table.make(&a, &b, 0, 0);
                    let (from, to) = (groups[usize::from(one)], groups[usize::from(other)]);
                    groups.iter_mut().filter(|group| **group == from).for_each(|g| *g = to);
                }
                for (key, entry) in table.take_changes() {
                    match entry {
                        Some(entry) => kept.insert(key, entry),
                        None => kept.remove(&key),
                    };
                }
                if restart {
                    table = self::table(1_000);
                    kept.iter().for_each(|(key, (known, used))| table.restore(key, known, *used));
                }
            }
            let root = |table: &mut Aliases, n: u8| {
                let key = n.to_string();
                table.resolve(&key, 0, 0).unwrap_or(key.into())
            };
            for one in 0..6u8 {
                for other in 0..6u8 {
                    let same = root(&mut table, one) == root(&mut table, other);
                    let model = groups[usize::from(one)] == groups[usize::from(other)];
                    prop_assert_eq!(same, model, "{} and {}", one, other);
                }
            }
        }
    }
}
