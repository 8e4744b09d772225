//! A match, and how metrics see it.

use smol_str::SmolStr;

use super::compile::{Pattern, Shows};
use super::held::{self, Values};
use super::sequence::{Attempt, Moment};
use super::spec::Side;
use crate::metric::{Attr, Fact, Order};
use crate::number::Amount;
use crate::time::EpochMs;

/// What a pattern found.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Index of the pattern.
    pub pattern: u16,
    /// Its time: that of its last event, or the end of `within` where it waited for it.
    pub at: EpochMs,
    /// Its first event.
    pub first: Moment,
    of_first: Values,
    of_last: Values,
}

impl Match {
    pub(super) fn of(pattern: u16, at: EpochMs, attempt: Attempt) -> Match {
        let Attempt { first, of_first, of_last, .. } = attempt;
        Match { pattern, at, first, of_first, of_last }
    }

    fn values(&self, pattern: &Pattern) -> [Vec<Attr<'_>>; 2] {
        // They were made here, or read by `record::decode`, which looks at each.
        let of = |values| held::attrs(values, pattern.num_values()).unwrap_or_default();
        [of(&self.of_first), of(&self.of_last)]
    }

    /// The attributes that its pattern declares, in that order.
    pub fn attributes<'a>(&'a self, pattern: &'a Pattern) -> Vec<(&'a str, Attr<'a>)> {
        let values = self.values(pattern);
        let value = |(name, side, at): (&'a str, Side, usize)| (name, values[side as usize][at]);
        pattern.attributes().map(value).collect()
    }
}

/// A match with what its shard alone knows.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundMatch {
    /// The key.
    pub key: SmolStr,
    /// What was found.
    pub found: Match,
}

/// A match as metrics see it: an event whose type is the pattern's name.
pub struct MatchFact<'a> {
    found: &'a Match,
    key: &'a str,
    pattern: &'a Pattern,
    values: [Vec<Attr<'a>>; 2],
}

impl<'a> MatchFact<'a> {
    /// Of a match of this pattern.
    pub fn new(found: &'a Match, key: &'a str, pattern: &'a Pattern) -> Self {
        MatchFact { found, key, pattern, values: found.values(pattern) }
    }
}

impl Fact for MatchFact<'_> {
    fn at(&self) -> EpochMs {
        self.found.at
    }

    fn event_type(&self) -> u16 {
        self.pattern.event_type
    }

    fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    fn order(&self) -> Order {
        let Match { at, first, .. } = *self.found;
        Order::Ending { at, silent: true, key: self.key.into(), first: first.at }
    }

    fn in_order(&self) -> bool {
        false
    }

    fn attr(&self, slot: usize) -> Attr<'_> {
        let shows = self.pattern.shows.iter().find(|(shown, _)| *shown == slot);
        match shows.map(|(_, what)| *what) {
            None => Attr::Missing,
            Some(Shows::Name) => Attr::Text(self.pattern.spec.name.as_bytes()),
            Some(Shows::Key) => Attr::Text(self.key.as_bytes()),
            Some(Shows::Duration) => {
                Attr::Amount(Amount::from_millis(self.found.at - self.found.first.at))
            }
            Some(Shows::Value(side, at)) => self.values[side as usize][at],
        }
    }
}
