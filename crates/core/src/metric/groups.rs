//! Which combinations of labels a metric keeps: one decision for the whole pipeline, in log
//! order. The first `group_limit` combinations are kept for good; facts of all others go
//! to the overflow.
//!
//! A shard sees only its own facts, so it cannot decide. It tells apart whatever is not
//! decided yet ([`ShardGroups`]) and says at each barrier where each new combination came
//! first; the keeper admits them in that order ([`KeptGroups`]) and adds what is not kept to
//! the overflow. Once `group_limit` combinations are kept the decision is complete: it is
//! given to the shards, and they tell apart nothing else.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::compile::Metric;
use super::fact::{Attr, Fact};
use crate::number::{Amount, Decimal};
use crate::time::EpochMs;

/// Labels of a group, in the order of `group_by`.
pub type Labels = Arc<Vec<String>>;

/// Number of the group that holds every combination that is not kept.
pub const OVERFLOW: u32 = u32::MAX;

/// Text of the overflow. A real group that would read the same is written `\other`.
pub const OVERFLOW_TEXT: &str = "other";

/// Spellings that are looked for by a few of their bytes before a hash is made of all of them.
const NEAR: usize = 1_024;

/// Most spellings of one combination that are remembered (a status as number and as text).
const SPELLINGS_MAX: usize = 4;

/// A group as text: labels joined by `|`. A `|` or `\` within a label has a `\` before it, so
/// two groups never read the same.
pub fn group_text(labels: &[String]) -> String {
    let mut text = String::new();
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            text.push('|');
        }
        push_escaped(&mut text, label);
    }
    mark_lone(&mut text, labels.len());
    text
}

fn push_escaped(text: &mut String, label: &str) {
    for letter in label.chars() {
        if matches!(letter, '|' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
}

fn mark_lone(text: &mut String, labels: usize) {
    if labels == 1 && text == OVERFLOW_TEXT {
        text.insert(0, '\\');
    }
}

/// Where a fact stands in the one order of all facts of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// An event: in the order of the log.
    Event {
        /// Number of its batch, counted by whoever reads the sources.
        batch: u64,
        /// Position of its item in the source.
        position: u64,
        /// Which of its item's events it is.
        part: u32,
    },
    /// An ended session or cart: in the order in which the watermark ends them.
    Ending {
        /// When it ended.
        at: EpochMs,
        /// A goal ends a cart when the watermark reaches it, silence when it has passed.
        silent: bool,
        /// The session key.
        key: CompactString,
        /// Its first event.
        first: EpochMs,
    },
}

/// A combination that a shard met for the first time, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Index of the metric.
    pub metric: u16,
    /// The combination.
    pub labels: Labels,
    /// Its first fact on that shard.
    pub first: Order,
}

/// The kept combinations of one metric, numbered in the order of their first facts.
#[derive(Clone, Debug, Default)]
pub struct KeptGroups {
    labels: Vec<Labels>,
    index: HashMap<Labels, u32, FixedState>,
}

impl KeptGroups {
    /// Number of a combination; `OVERFLOW` when it is not kept.
    pub fn number(&self, labels: &Labels) -> u32 {
        self.index.get(labels).copied().unwrap_or(OVERFLOW)
    }

    /// Labels of a group; `None` for the overflow.
    pub fn labels(&self, group: u32) -> Option<&Labels> {
        self.labels.get(group as usize)
    }

    /// A group as text, see [`group_text`].
    pub fn text(&self, group: u32) -> String {
        self.labels(group).map_or_else(|| OVERFLOW_TEXT.to_owned(), |labels| group_text(labels))
    }

    /// All of them by number.
    pub fn all(&self) -> &[Labels] {
        &self.labels
    }

    /// True when no further combination is kept.
    pub fn is_complete(&self, limit: usize) -> bool {
        self.labels.len() >= limit
    }

    /// Keeps what shards met between two barriers, in log order, as far as there is room.
    /// Returns the numbers of the new ones.
    pub fn admit(&mut self, mut candidates: Vec<Candidate>, limit: usize) -> Range<u32> {
        let known = self.labels.len() as u32;
        candidates.sort_by(|a, b| a.first.cmp(&b.first));
        for candidate in candidates {
            if self.is_complete(limit) {
                break;
            }
            self.keep(candidate.labels);
        }
        known..self.labels.len() as u32
    }

    /// Keeps one more, unless it is kept already.
    pub fn keep(&mut self, labels: Labels) {
        if !self.index.contains_key(&labels) {
            self.index.insert(Arc::clone(&labels), self.labels.len() as u32);
            self.labels.push(labels);
        }
    }
}

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
        let group = if metric.is_grouped() {
            self.find(metric, fact)
        } else if self.labels.is_empty() {
            self.meet(metric, fact, 0)
        } else {
            // There is one, and no label to look at.
            0
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
