//! A shard's side of groups: it tells apart what is not decided yet.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::BuildHasher;
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::{Candidate, Labels, OVERFLOW, Order, group_text, mark_lone, push_escaped};
use crate::metric::compile::Metric;
use crate::metric::fact::{Attr, Fact};
use crate::number::{Amount, Decimal};

/// Spellings that are looked for by a few of their bytes before a hash is made of all of them.
const NEAR: usize = 1_024;

/// Most spellings of one combination that are remembered (a status as number and as text).
const SPELLINGS_MAX: usize = 4;

/// The combinations of one metric that one shard tells apart.
///
/// Until the decision is complete these are all it has met: at most `group_limit` and those
/// that came while the last barriers were under way, so no more than there are facts in
/// flight.
#[derive(Clone, Debug, Default)]
pub struct ShardGroups {
    /// Numbers of `spellings`, by their hashes.
    index: HashTable<u32>,
    spellings: Vec<Spelling>,
    /// Marks and numbers of `spellings` that were met lately, [`NEAR`] of them once there is one.
    near: Vec<(u64, u32)>,
    /// By text: two spellings that read the same are one group.
    by_text: HashMap<CompactString, u32, FixedState>,
    labels: Vec<Labels>,
    /// Groups met since the last barrier.
    fresh: Vec<u32>,
    /// Where they were met, by group; `None` for those handed over.
    first: Vec<Option<Order>>,
    complete: bool,
    text: String,
}

/// The labels of a group as they come in events.
#[derive(Clone, Debug)]
struct Spelling {
    parts: Vec<Part>,
    group: u32,
}

#[derive(Clone, Debug)]
enum Part {
    Missing,
    Number(Decimal),
    Amount(Amount),
    Text(Vec<u8>),
    Bool(bool),
}

impl ShardGroups {
    /// The shard's own number of a fact's group; `OVERFLOW` for what is known not to be kept.
    #[inline]
    pub fn of(&mut self, metric: &Metric, fact: &impl Fact) -> u32 {
        let group = match metric.is_grouped() {
            true => self.find(metric, fact),
            // There is one, and no label to look at.
            false if !self.labels.is_empty() => 0,
            false => self.meet(metric, fact, 0),
        };
        if !self.fresh.is_empty() {
            self.came_earlier(group, fact);
        }
        group
    }

    #[inline]
    fn find(&mut self, metric: &Metric, fact: &impl Fact) -> u32 {
        let mark = mark(metric.labels(fact));
        if let Some((near, spelling)) = self.near.get(near_place(mark))
            && *near == mark
        {
            let Spelling { parts, group } = &self.spellings[*spelling as usize];
            if metric.labels(fact).eq(parts.iter().map(Part::attr)) {
                return *group;
            }
        }
        self.look_up(metric, fact, mark)
    }

    fn look_up(&mut self, metric: &Metric, fact: &impl Fact, mark: u64) -> u32 {
        let hash = hash_labels(metric.labels(fact));
        let spellings = &self.spellings;
        let same = |spelling: &u32| {
            let parts = spellings[*spelling as usize].parts.iter().map(Part::attr);
            metric.labels(fact).eq(parts)
        };
        let Some(spelling) = self.index.find(hash, same).copied() else {
            return self.meet(metric, fact, hash);
        };
        // No mark is zero.
        self.near.resize(NEAR, (0, 0));
        self.near[near_place(mark)] = (mark, spelling);
        self.spellings[spelling as usize].group
    }

    /// How many groups it tells apart.
    pub fn num_groups(&self) -> usize {
        self.labels.len()
    }

    /// Labels of a group by the shard's own number.
    pub fn labels(&self, group: u32) -> Option<&Labels> {
        self.labels.get(group as usize)
    }

    /// What was met for the first time since this was asked last.
    pub fn take_fresh(&mut self, metric: u16) -> impl Iterator<Item = Candidate> {
        let labels = &self.labels;
        let first = &mut self.first;
        self.fresh.drain(..).filter_map(move |group| {
            let first = first[group as usize].take()?;
            Some(Candidate { metric, labels: Arc::clone(&labels[group as usize]), first })
        })
    }

    /// Takes up the complete decision. The numbers change: nothing of the shard may still
    /// refer to the former ones.
    pub fn complete(&mut self, kept: &[Labels]) {
        *self = ShardGroups { complete: true, ..ShardGroups::default() };
        for labels in kept {
            self.by_text.insert(group_text(labels).into(), self.labels.len() as u32);
            self.labels.push(Arc::clone(labels));
        }
    }

    /// True once [`ShardGroups::complete`] was called.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// A spelling that was not met before: of a known group, of a new one, or of none.
    fn meet(&mut self, metric: &Metric, fact: &impl Fact, hash: u64) -> u32 {
        let mut labels = 0;
        self.text.clear();
        for label in metric.labels(fact) {
            if labels > 0 {
                self.text.push('|');
            }
            push_label(&mut self.text, label);
            labels += 1;
        }
        mark_lone(&mut self.text, labels);
        let group = match self.by_text.get(self.text.as_str()) {
            Some(group) => *group,
            None if self.complete => return OVERFLOW,
            None => {
                let group = self.labels.len() as u32;
                self.labels
                    .push(Arc::new(metric.labels(fact).map(|label| label.to_string()).collect()));
                self.by_text.insert(self.text.as_str().into(), group);
                self.fresh.push(group);
                self.first.push(Some(fact.order()));
                group
            }
        };
        if self.spellings.len() < SPELLINGS_MAX * self.labels.len() {
            let parts = metric.labels(fact).map(Part::from).collect();
            let spelling = self.spellings.len() as u32;
            self.spellings.push(Spelling { parts, group });
            let spellings = &self.spellings;
            let rehash = |spelling: &u32| {
                hash_labels(spellings[*spelling as usize].parts.iter().map(Part::attr))
            };
            self.index.insert_unique(hash, spelling, rehash);
        }
        group
    }

    /// Endings are found key by key: a later one may be the first in order.
    fn came_earlier(&mut self, group: u32, fact: &impl Fact) {
        if !fact.in_order()
            && let Some(Some(first)) = self.first.get_mut(group as usize)
        {
            let order = fact.order();
            if order < *first {
                *first = order;
            }
        }
    }
}

/// Tells most combinations from each other by the ends of their texts; never zero.
#[inline]
fn mark<'a>(labels: impl Iterator<Item = Attr<'a>>) -> u64 {
    let mixed = labels.fold(0u64, |mixed, attr| {
        let part = match attr {
            Attr::Missing | Attr::Unusable(_) => 1,
            Attr::Number(number) => number.mantissa() ^ (number.exponent() as u64) << 48,
            Attr::Amount(amount) => amount.parts() as u64,
            Attr::Text(text) => ends(text),
            Attr::Bool(value) => 2 + u64::from(value),
        };
        (mixed.rotate_left(23) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    mixed | 1
}

/// Where a combination lies among those that were met lately.
#[inline]
fn near_place(mark: u64) -> usize {
    (mark >> 32) as usize % NEAR
}

#[inline]
fn ends(text: &[u8]) -> u64 {
    match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29)
        }
        _ => text.iter().fold(text.len() as u64, |mixed, byte| mixed << 8 | u64::from(*byte)),
    }
}

fn hash_labels<'a>(labels: impl Iterator<Item = Attr<'a>>) -> u64 {
    labels.fold(0u64, |hash, attr| {
        let part = match attr {
            Attr::Missing | Attr::Unusable(_) => 1,
            Attr::Number(value) => FixedState::default().hash_one(value),
            Attr::Amount(value) => FixedState::default().hash_one(value.parts()),
            Attr::Text(text) => FixedState::default().hash_one(text),
            Attr::Bool(value) => 2 + u64::from(value),
        };
        (hash.rotate_left(21) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

impl Part {
    fn attr(&self) -> Attr<'_> {
        match self {
            Part::Missing => Attr::Missing,
            Part::Number(value) => Attr::Number(*value),
            Part::Amount(value) => Attr::Amount(*value),
            Part::Text(text) => Attr::Text(text),
            Part::Bool(value) => Attr::Bool(*value),
        }
    }
}

impl From<Attr<'_>> for Part {
    fn from(attr: Attr<'_>) -> Part {
        match attr {
            Attr::Missing | Attr::Unusable(_) => Part::Missing,
            Attr::Number(value) => Part::Number(value),
            Attr::Amount(value) => Part::Amount(value),
            Attr::Text(text) => Part::Text(text.to_vec()),
            Attr::Bool(value) => Part::Bool(value),
        }
    }
}

fn push_label(out: &mut String, attr: Attr<'_>) {
    match attr {
        Attr::Text(text) => push_escaped(out, &String::from_utf8_lossy(text)),
        attr => write!(out, "{attr}").expect("writing to a text cannot fail"),
    }
}
