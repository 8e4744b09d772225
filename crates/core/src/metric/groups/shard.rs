//! A shard's side of groups: it tells apart what is not decided yet.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::BuildHasher;
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::{
    Candidate, Decision, Labels, OVERFLOW, Order, Silence, group_text, mark_lone, push_escaped,
};
use crate::metric::compile::Metric;
use crate::metric::fact::{Attr, Fact};
use crate::number::{Amount, Decimal};
use crate::time::EpochMs;

/// Spellings that are looked for by a few of their bytes before a hash is made of all of them.
const NEAR: usize = 1_024;

/// Most spellings of one combination that are remembered (a status as number and as text).
const SPELLINGS_MAX: usize = 4;

/// The combinations of one metric that one shard tells apart.
///
/// Until the decision is complete these are all it has met in the period: at most `group_limit`
/// and those that came while the last barriers were under way, so no more than there are facts
/// in flight.
#[derive(Clone, Debug)]
pub struct ShardGroups {
    silence: Silence,
    /// The period that is told apart, and how long it is; 0 before the first.
    period: EpochMs,
    length: u64,
    /// Numbers of `spellings`, by their hashes.
    index: HashTable<u32>,
    spellings: Vec<Spelling>,
    /// Marks and numbers of `spellings` that were met lately, [`NEAR`] of them once there is one.
    near: Vec<(u64, u32)>,
    /// By text: two spellings that read the same are one group.
    by_text: HashMap<CompactString, u32, FixedState>,
    /// Labels and period, by the shard's own number.
    labels: Vec<(EpochMs, Labels)>,
    /// Those from here on are of the period.
    first_of_period: u32,
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
    /// Nothing was met.
    pub fn new(silence: Silence) -> Self {
        ShardGroups {
            silence,
            period: EpochMs::MIN,
            length: 0,
            index: HashTable::new(),
            spellings: Vec::new(),
            near: Vec::new(),
            by_text: HashMap::default(),
            labels: Vec::new(),
            first_of_period: 0,
            fresh: Vec::new(),
            first: Vec::new(),
            complete: false,
            text: String::new(),
        }
    }

    /// The shard's own number of a fact's group; `OVERFLOW` for what is known not to be kept.
    /// `now` is the watermark that brought the fact; that of an ending may lie before that of the
    /// one before it.
    #[inline]
    pub fn of(&mut self, metric: &Metric, fact: &impl Fact, now: EpochMs) -> u32 {
        let group = if metric.is_grouped() {
            if now.wrapping_sub(self.period) as u64 >= self.length {
                self.turn(now);
            }
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

    /// How many groups it has told apart since the last flush.
    pub fn num_groups(&self) -> usize {
        self.labels.len()
    }

    /// Period and labels of a group by the shard's own number.
    pub fn labels(&self, group: u32) -> &(EpochMs, Labels) {
        &self.labels[group as usize]
    }

    /// What was met for the first time since the last flush. Numbers of former periods mean
    /// nothing any more.
    pub fn flush(&mut self, metric: u16) -> Vec<Candidate> {
        let candidate = |group: u32| {
            let first = self.first[group as usize].take()?;
            let (period, labels) = &self.labels[group as usize];
            Some(Candidate { metric, labels: Arc::clone(labels), period: *period, first })
        };
        let candidates = std::mem::take(&mut self.fresh).into_iter().filter_map(candidate);
        let candidates = candidates.collect();
        if self.first_of_period > 0 {
            let ShardGroups { silence, period, length, .. } = *self;
            *self = ShardGroups { period, length, ..ShardGroups::new(silence) };
        }
        candidates
    }

    /// Goes on to the period of a fact, in which nothing is decided.
    #[cold]
    fn turn(&mut self, now: EpochMs) {
        self.period = self.silence.period(now);
        self.length = self.silence.next(self.period).abs_diff(self.period);
        self.index.clear();
        self.spellings.clear();
        self.near.clear();
        self.by_text.clear();
        self.first_of_period = self.labels.len() as u32;
        self.complete = false;
    }

    /// Takes up a complete decision, unless it is of a period that is over, or known. The numbers
    /// change: nothing of the shard may still refer to the former ones.
    pub fn learn(&mut self, decision: &Decision) {
        if decision.period < self.period || self.knows(decision.period) {
            return;
        }
        let period = decision.period;
        let length = self.silence.next(period).abs_diff(period);
        *self = ShardGroups { period, length, complete: true, ..ShardGroups::new(self.silence) };
        for labels in &decision.kept {
            self.by_text.insert(group_text(labels).into(), self.labels.len() as u32);
            self.labels.push((period, Arc::clone(labels)));
        }
        self.first.resize(self.labels.len(), None);
    }

    /// True when the groups of a period are known.
    pub fn knows(&self, period: EpochMs) -> bool {
        self.complete && self.period == period
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
                let labels = metric.labels(fact).map(|label| label.to_string()).collect();
                self.labels.push((self.period, Arc::new(labels)));
                self.by_text.insert(self.text.as_str().into(), group);
                self.fresh.push(group);
                self.first.push(Some(fact.order()));
                group
            }
        };
        let told_apart = self.labels.len() - self.first_of_period as usize;
        if self.spellings.len() < SPELLINGS_MAX * told_apart {
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
