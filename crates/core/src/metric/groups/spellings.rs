//! The combinations of labels that metrics with the same labels have met, as they come in events: an
//! event is looked up once for all of them, and each has its own group for what is found.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::metric::compile::Metric;
use crate::metric::fact::{Attr, Fact};
use crate::number::{Amount, Decimal};

/// Spellings that are looked for by a few of their bytes before a hash is made of all of them.
const NEAR: usize = 1_024;

/// Spellings by number. Metrics put in what they have a group for, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Spellings {
    /// Numbers, by the hashes of what they stand for.
    index: HashTable<u32>,
    spellings: Vec<Vec<Part>>,
    /// Marks and numbers of those that were met lately, [`NEAR`] of them once there is one.
    near: Vec<(u64, u32)>,
    /// The fact that was looked up last, and what was found.
    fact: u64,
    found: Option<u32>,
}

#[derive(Clone, Debug)]
enum Part {
    Missing,
    Number(Decimal),
    Amount(Amount),
    Text(Vec<u8>),
    Bool(bool),
}

impl Spellings {
    /// The number of a fact's spelling, where it has one. `number` is that of the fact: the metrics
    /// that it concerns ask one after the other.
    #[inline]
    pub fn find(&mut self, metric: &Metric, fact: &impl Fact, number: u64) -> Option<u32> {
        if self.fact != number {
            (self.fact, self.found) = (number, self.look_up(metric, fact));
        }
        self.found
    }

    /// Puts in the spelling of the fact that was looked up last, where it has no number.
    pub fn put(&mut self, metric: &Metric, fact: &impl Fact) -> u32 {
        let next = self.spellings.len() as u32;
        let spelling = *self.found.get_or_insert(next);
        if spelling == next {
            self.spellings.push(metric.labels(fact).map(Part::from).collect());
            let spellings = &self.spellings;
            let rehash =
                |spelling: &u32| hash_labels(spellings[*spelling as usize].iter().map(Part::attr));
            self.index.insert_unique(hash_labels(metric.labels(fact)), spelling, rehash);
        }
        spelling
    }

    /// How many there are.
    pub fn num_spellings(&self) -> usize {
        self.spellings.len()
    }

    /// Forgets all of them: no number means anything any more.
    pub fn clear(&mut self) {
        let Spellings { fact, .. } = *self;
        *self = Spellings { fact, ..Spellings::default() };
    }

    #[inline]
    fn look_up(&mut self, metric: &Metric, fact: &impl Fact) -> Option<u32> {
        let mark = mark(metric.labels(fact));
        if let Some((near, spelling)) = self.near.get(near_place(mark))
            && *near == mark
            && self.is(*spelling, metric, fact)
        {
            return Some(*spelling);
        }
        let hash = hash_labels(metric.labels(fact));
        let spelling = *self.index.find(hash, |spelling| self.is(*spelling, metric, fact))?;
        // No mark is zero.
        self.near.resize(NEAR, (0, 0));
        self.near[near_place(mark)] = (mark, spelling);
        Some(spelling)
    }

    #[inline]
    fn is(&self, spelling: u32, metric: &Metric, fact: &impl Fact) -> bool {
        metric.labels(fact).eq(self.spellings[spelling as usize].iter().map(Part::attr))
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
