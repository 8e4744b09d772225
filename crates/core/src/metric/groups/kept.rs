//! The keeper's side of groups: which combinations of a metric hold a place, and whose numbers
//! are still known.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::{Candidate, Decision, Labels, OVERFLOW, OVERFLOW_TEXT, Silence, group_text};
use crate::time::{BEGINNING, EpochMs};

/// A group that has a number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Its labels.
    pub labels: Labels,
    /// Its place: of those that were free the first.
    pub place: u32,
    /// The period of its newest fact.
    pub seen: EpochMs,
    /// The period at whose beginning it left: it was silent for so long that its place is free.
    /// Numbers of it may still be known.
    pub left: Option<EpochMs>,
}

impl Kept {
    /// True while it holds its place.
    pub fn is_present(&self) -> bool {
        self.left.is_none()
    }
}

/// The groups of one metric that have a number.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptMap {
    /// By number, in the order in which they came. No number is given twice.
    pub groups: BTreeMap<u32, Kept>,
    /// The next number.
    pub next: u32,
    /// The period of the newest facts.
    pub period: EpochMs,
    /// How many have left since the metric began.
    pub left: u64,
}

/// What became of a group since the last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// Nothing was known of it.
    New,
    /// It was met again in a later period.
    Seen,
    /// Its place is free.
    Left,
    /// Its number means nothing any more.
    Gone,
}

/// The combinations of one metric, numbered in the order of their first facts.
#[derive(Clone, Debug, Default)]
pub struct KeptGroups {
    map: KeptMap,
    /// Those that hold a place.
    index: HashMap<Labels, u32, FixedState>,
    /// Places below the number of those that were ever held at once, which are free.
    free: BTreeSet<u32>,
    changed: BTreeMap<u32, GroupChange>,
}

impl Default for KeptMap {
    fn default() -> Self {
        KeptMap { groups: BTreeMap::new(), next: 0, period: BEGINNING, left: 0 }
    }
}

impl KeptGroups {
    /// Takes up what a commit holds.
    pub fn restored(map: KeptMap) -> Self {
        let present = || map.groups.iter().filter(|(_, kept)| kept.is_present());
        let index = present().map(|(number, kept)| (Arc::clone(&kept.labels), *number)).collect();
        let held: BTreeSet<u32> = present().map(|(_, kept)| kept.place).collect();
        let all = 0..held.last().map_or(0, |last| last + 1);
        let free = all.filter(|place| !held.contains(place)).collect();
        KeptGroups { map, index, free, changed: BTreeMap::new() }
    }

    /// Number of a combination; `OVERFLOW` when it holds no place.
    pub fn number(&self, labels: &Labels) -> u32 {
        self.index.get(labels).copied().unwrap_or(OVERFLOW)
    }

    /// Labels of a group that has a number.
    pub fn labels(&self, group: u32) -> Option<&Labels> {
        self.map.groups.get(&group).map(|kept| &kept.labels)
    }

    /// A group as text, see [`group_text`].
    pub fn text(&self, group: u32) -> String {
        self.labels(group).map_or_else(|| OVERFLOW_TEXT.to_owned(), |labels| group_text(labels))
    }

    /// Those that hold a place, by number.
    pub fn present(&self) -> impl Iterator<Item = (u32, &Labels)> {
        let present = self.map.groups.iter().filter(|(_, kept)| kept.is_present());
        present.map(|(number, kept)| (*number, &kept.labels))
    }

    /// How many hold a place.
    pub fn num_present(&self) -> usize {
        self.index.len()
    }

    /// How many have left since the metric began.
    pub fn num_left(&self) -> u64 {
        self.map.left
    }

    /// The groups of the period, when no other will be kept in it and `known` is not its decision.
    pub fn decision(&self, limit: usize, known: Option<&Decision>) -> Option<Decision> {
        let period = self.map.period;
        let news = known.is_none_or(|known| known.period < period);
        let kept = || self.present().map(|(_, labels)| Arc::clone(labels)).collect();
        (news && self.index.len() >= limit).then(|| Decision { period, kept: kept() })
    }

    /// Goes on to a period; what has been silent for long enough leaves.
    pub fn turn(&mut self, period: EpochMs, silence: Silence) {
        if period <= self.map.period {
            return;
        }
        self.map.period = period;
        let silent = |kept: &Kept| kept.is_present() && silence.is_over(kept.seen, period);
        for (number, kept) in self.map.groups.iter_mut().filter(|(_, kept)| silent(kept)) {
            kept.left = Some(period);
            self.index.remove(&kept.labels);
            self.free.insert(kept.place);
            self.map.left += 1;
            note(&mut self.changed, *number, GroupChange::Left);
        }
    }

    /// Keeps what shards met in the period, in log order, as far as there is room.
    pub fn admit(&mut self, mut candidates: Vec<Candidate>, limit: usize) {
        candidates.sort_by(|a, b| a.first.cmp(&b.first));
        for Candidate { labels, .. } in candidates {
            if self.index.len() < limit && !self.index.contains_key(&labels) {
                let number = self.map.next;
                self.map.next += 1;
                self.index.insert(Arc::clone(&labels), number);
                // Without a free one as many are held as there are below the next.
                let next = self.index.len() as u32 - 1;
                let place = self.free.pop_first().unwrap_or(next);
                let kept = Kept { labels, place, seen: self.map.period, left: None };
                self.map.groups.insert(number, kept);
                note(&mut self.changed, number, GroupChange::New);
            }
        }
    }

    /// A group had a fact of this period.
    pub fn see(&mut self, group: u32, period: EpochMs) {
        if let Some(kept) = self.map.groups.get_mut(&group).filter(|kept| kept.seen < period) {
            kept.seen = period;
            note(&mut self.changed, group, GroupChange::Seen);
        }
    }

    /// Those that have left, by number, with the period of their newest fact.
    pub fn gone(&self) -> impl Iterator<Item = (u32, EpochMs)> {
        let left = (self.map.groups.len() > self.index.len()).then_some(&self.map.groups);
        let left = left.into_iter().flatten().filter(|(_, kept)| !kept.is_present());
        left.map(|(number, kept)| (*number, kept.seen))
    }

    /// Forgets one that has left.
    pub fn forget(&mut self, group: u32) {
        self.map.groups.remove(&group);
        note(&mut self.changed, group, GroupChange::Gone);
    }

    /// All of them.
    pub fn map(&self) -> &KeptMap {
        &self.map
    }

    /// What changed since this was asked last.
    pub fn take_changes(&mut self) -> BTreeMap<u32, GroupChange> {
        std::mem::take(&mut self.changed)
    }
}

/// Of several changes the one that says all.
fn note(changed: &mut BTreeMap<u32, GroupChange>, group: u32, change: GroupChange) {
    let known = changed.entry(group).or_insert(change);
    if change == GroupChange::Gone || *known != GroupChange::New {
        *known = change;
    }
}
