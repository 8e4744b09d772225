//! A match, and how metrics see it.

use smol_str::SmolStr;

use super::compile::{Pattern, Shows};
use super::held::{self, Values};
use super::join::Waiting;
use super::sequence::{Attempt, Moment};
use super::spec::{LEFT, REACHED, Seeks, Side};
use super::visits::Visited;
use crate::metric::{Attr, Fact, Order};
use crate::number::{Amount, Decimal};
use crate::time::{EpochMs, SpanMs};

/// What a pattern found.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Index of the pattern.
    pub pattern: u16,
    /// Its time: that of its last event, or the end of `within` where it waited for it.
    pub at: EpochMs,
    /// Its first event, or the left one.
    pub first: Moment,
    /// That of its last step, or the right one where there is one.
    pub last: Option<Moment>,
    /// What only some have.
    pub more: More,
    of_first: Values,
    of_last: Values,
}

impl Match {
    pub(super) fn of(pattern: u16, at: EpochMs, attempt: Attempt) -> Match {
        let Attempt { first, last, of_first, of_last, .. } = attempt;
        Match { pattern, at, first, last: Some(last), more: More::Nothing, of_first, of_last }
    }

    pub(super) fn pair(pattern: u16, at: EpochMs, left: &Waiting, right: &Waiting) -> Match {
        let (of_first, of_last) = (left.values.clone(), right.values.clone());
        let (first, last) = (left.moment, Some(right.moment));
        Match { pattern, at, first, last, more: More::Nothing, of_first, of_last }
    }

    pub(super) fn alone(pattern: u16, at: EpochMs, left: Waiting) -> Match {
        let (of_first, of_last) = (left.values, Values::default());
        Match {
            pattern,
            at,
            first: left.moment,
            last: None,
            more: More::Nothing,
            of_first,
            of_last,
        }
    }

    pub(super) fn on_the_way(
        pattern: u16,
        at: EpochMs,
        first: EpochMs,
        of_first: Values,
        reach: Reach,
    ) -> Match {
        let (first, of_last) = (Moment { at: first, nth: 0 }, Values::default());
        Match { pattern, at, first, last: None, more: More::Reach(reach), of_first, of_last }
    }

    pub(super) fn ended(
        pattern: u16,
        at: EpochMs,
        (first, of_first): (Moment, Values),
        (last, of_last): (Moment, Values),
        more: More,
    ) -> Match {
        Match { pattern, at, first, last: Some(last), more, of_first, of_last }
    }

    /// What tells it from every other match of all patterns and keys.
    pub fn name(&self, key: &str, pattern: &Pattern) -> String {
        let first = format!("{}\u{0}{key}\u{0}{}", pattern.spec.name, self.first);
        match (&pattern.spec.seeks, self.last, &self.more) {
            (Seeks::Join(_), Some(last), _) => format!("{first}-{last}"),
            (_, _, More::Reach(Reach { step, left, .. })) => format!("{first}-{step}-{left}"),
            _ => first,
        }
    }

    /// From its first event to its time, or between both sides of a join: less than nothing where
    /// the right one was first.
    pub fn duration(&self, pattern: &Pattern) -> Option<SpanMs> {
        let until = match pattern.spec.seeks {
            Seeks::Sequence(_) | Seeks::Funnel(_) => self.at,
            Seeks::Join(_) | Seeks::Sessions(_) => self.last?.at,
        };
        Some(until - self.first.at)
    }

    fn values(&self, pattern: &Pattern) -> [Vec<Attr<'_>>; 2] {
        // They were made here, or read by `record::decode`, which looks at each.
        let of = |values| held::attrs(values, pattern.num_values()).unwrap_or_default();
        [of(&self.of_first), of(&self.of_last)]
    }

    /// The attributes that its pattern declares, in that order.
    pub fn attributes<'a>(&'a self, pattern: &'a Pattern) -> Vec<(&'a str, Attr<'a>)> {
        let values = self.values(pattern);
        let value = |(name, side, at)| (name, value(&values, side, at));
        pattern.attributes().map(value).collect()
    }
}

/// What only some matches have.
#[derive(Clone, Debug, PartialEq)]
pub enum More {
    /// Those of sequences and joins.
    Nothing,
    /// Of a funnel: what happened.
    Reach(Reach),
    /// Of sessions: what it was.
    Visited(Box<Visited>),
}

/// What happened on the way through a funnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Index of the step.
    pub step: u16,
    /// It was reached before, and the time is over: none after it was.
    pub left: bool,
    /// How long after the step before it was reached; `None` for the first.
    pub waited: Option<SpanMs>,
}

fn number(count: u32) -> Decimal {
    Decimal::from_i64(count.into())
}

/// A side that is not there has none.
pub(super) fn value<'a>(values: &[Vec<Attr<'a>>; 2], side: Side, at: usize) -> Attr<'a> {
    values[side as usize].get(at).copied().unwrap_or_default()
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

    fn step(&self) -> Attr<'_> {
        let name = match (&self.pattern.spec.seeks, &self.found.more) {
            (Seeks::Funnel(spec), More::Reach(reach)) => &spec.names[usize::from(reach.step)],
            (Seeks::Sessions(spec), More::Visited(visited)) => {
                match usize::from(visited.step).checked_sub(1) {
                    Some(step) => &spec.names[step],
                    None => "",
                }
            }
            _ => return Attr::Missing,
        };
        Attr::Text(name.as_bytes())
    }

    fn visited(&self, attr: impl FnOnce(&'a Visited) -> Attr<'a>) -> Attr<'a> {
        match &self.found.more {
            More::Visited(visited) => attr(visited),
            _ => Attr::Missing,
        }
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
        let key = self.found.name(self.key, self.pattern);
        Order::Ending { at, silent: true, key: key.into(), first: first.at }
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
                let span = self.found.duration(self.pattern).map(Amount::from_millis);
                span.map_or(Attr::Missing, Attr::Amount)
            }
            Some(Shows::Step) => self.step(),
            Some(Shows::Outcome) => {
                let outcome = match &self.found.more {
                    More::Nothing => return Attr::Missing,
                    More::Reach(reach) if reach.left => LEFT,
                    More::Reach(_) => REACHED,
                    More::Visited(visited) => visited.outcome.name(),
                };
                Attr::Text(outcome.as_bytes())
            }
            Some(Shows::Waited) => match &self.found.more {
                More::Reach(Reach { waited: Some(waited), .. }) => {
                    Attr::Amount(Amount::from_millis(*waited))
                }
                _ => Attr::Missing,
            },
            Some(Shows::Events) => self.visited(|one| Attr::Number(number(one.events))),
            Some(Shows::Worth) => self.visited(|one| Attr::Amount(one.value)),
            Some(Shows::Cut) => self.visited(|one| Attr::Bool(one.cut)),
            Some(Shows::Cohort) => self.visited(|one| match &one.cohort {
                Some((day, _)) => Attr::Text(day.as_bytes()),
                None => Attr::Missing,
            }),
            Some(Shows::IsFirst) => self.visited(|one| match &one.cohort {
                Some((_, first)) => Attr::Bool(*first),
                None => Attr::Missing,
            }),
            Some(Shows::Count(which)) => {
                self.visited(|one| Attr::Number(number(one.counts[which])))
            }
            Some(Shows::Matched) => Attr::Bool(self.found.last.is_some()),
            Some(Shows::Value(side, at)) => value(&self.values, side, at),
        }
    }
}
