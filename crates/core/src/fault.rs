//! What was lost of events that count: an attribute that the configuration needs and that
//! was absent, of another type, or unreadable, counted by who needed it and why it was of no
//! use.
//!
//! Counted where the attribute is used, so only for events that concern the user: a metric's
//! field for the events that its filter takes, a session's value for entry events. The counts
//! are part of each commit and do not depend on shards or batches.

use std::collections::BTreeMap;

use serde::Serialize;

use super::event::time_rule::{Guess, Unit};
use super::time::EpochMs;
use super::unusable::Unusable;

/// Why a value was of no use, or of another than it seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Fault {
    /// The event does not carry it.
    Absent,
    /// Text that is not a number, where one is needed.
    Text,
    /// `true` or `false`, where something else is needed.
    Flag,
    /// A number, where text or `true` or `false` is needed.
    Number,
    /// An object or an array.
    Nested,
    /// A text past the bound.
    TooLong,
    /// A number too great to be added up.
    OutOfRange,
    /// A number with more decimals than are added up: it counts, rounded.
    Rounded,
    /// A time whose unit was taken for seconds.
    GuessedSeconds,
    /// A time whose unit was taken for milliseconds.
    GuessedMillis,
    /// A time whose unit was taken for microseconds.
    GuessedMicros,
    /// A time whose unit was taken for nanoseconds.
    GuessedNanos,
    /// A time without a zone, taken as UTC.
    GuessedZone,
    /// A time in the seventies that would be one of our days if it were in seconds.
    LooksLikeSeconds,
    /// A time before 1980.
    Before1980,
    /// A time more than ten years before its arrival.
    LongAgo,
    /// A time after 2100.
    After2100,
    /// Divided by zero, in an expression.
    DividedByZero,
    /// The table of a lookup has no row for the event.
    NotFound,
}

/// 1980-01-01.
const YEAR_1980: EpochMs = 315_532_800_000;
/// 2100-01-01.
const YEAR_2100: EpochMs = 4_102_444_800_000;
/// From these seconds on (1990-01-01) a time in the seventies looks like seconds.
const SECONDS_FROM: EpochMs = 631_152_000;
/// Ten years.
const LONG: EpochMs = 3_653 * 86_400_000;

impl Fault {
    /// All of them, in the order of their numbers.
    pub const ALL: [Fault; 19] = [
        Fault::Absent,
        Fault::Text,
        Fault::Flag,
        Fault::Number,
        Fault::Nested,
        Fault::TooLong,
        Fault::OutOfRange,
        Fault::Rounded,
        Fault::GuessedSeconds,
        Fault::GuessedMillis,
        Fault::GuessedMicros,
        Fault::GuessedNanos,
        Fault::GuessedZone,
        Fault::LooksLikeSeconds,
        Fault::Before1980,
        Fault::LongAgo,
        Fault::After2100,
        Fault::DividedByZero,
        Fault::NotFound,
    ];

    /// One word for metrics and JSON. Stable: it is stored.
    pub fn word(self) -> &'static str {
        match self {
            Fault::Absent => "absent",
            Fault::Text => "text",
            Fault::Flag => "flag",
            Fault::Number => "number",
            Fault::Nested => "nested",
            Fault::TooLong => "too_long",
            Fault::OutOfRange => "out_of_range",
            Fault::Rounded => "rounded",
            Fault::GuessedSeconds => "guessed_seconds",
            Fault::GuessedMillis => "guessed_milliseconds",
            Fault::GuessedMicros => "guessed_microseconds",
            Fault::GuessedNanos => "guessed_nanoseconds",
            Fault::GuessedZone => "guessed_zone",
            Fault::LooksLikeSeconds => "looks_like_seconds",
            Fault::Before1980 => "before_1980",
            Fault::LongAgo => "long_ago",
            Fault::After2100 => "after_2100",
            Fault::DividedByZero => "divided_by_zero",
            Fault::NotFound => "not_found",
        }
    }

    /// For people, to stand after "attribute amount is ...".
    pub fn sentence(self) -> &'static str {
        match self {
            Fault::Absent => "absent",
            Fault::Text => "text that is not a number",
            Fault::Flag => "true or false",
            Fault::Number => "a number, where text is wanted",
            Fault::Nested => "an object or an array",
            Fault::TooLong => "a text longer than events.text_bytes",
            Fault::OutOfRange => "a number too great to be added up",
            Fault::Rounded => "rounded: it has more decimals than are added up",
            Fault::GuessedSeconds => "taken as seconds (declare events.time_format)",
            Fault::GuessedMillis => "taken as milliseconds (declare events.time_format)",
            Fault::GuessedMicros => "taken as microseconds (declare events.time_format)",
            Fault::GuessedNanos => "taken as nanoseconds (declare events.time_format)",
            Fault::GuessedZone => "without a zone, taken as UTC (declare events.time_zone)",
            Fault::LooksLikeSeconds => {
                "in the seventies: looks like seconds, where milliseconds are wanted \
                 (events.time_format = \"s\")"
            }
            Fault::Before1980 => "before 1980",
            Fault::LongAgo => "more than ten years ago",
            Fault::After2100 => "after 2100",
            Fault::DividedByZero => "divided by zero",
            Fault::NotFound => "not in the table of its lookup",
        }
    }

    fn by_word(word: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| fault.word() == word)
    }
}

impl From<Unusable> for Fault {
    fn from(why: Unusable) -> Fault {
        match why {
            Unusable::Nested => Fault::Nested,
            Unusable::TooLong => Fault::TooLong,
            Unusable::Text => Fault::Text,
            Unusable::Flag => Fault::Flag,
            Unusable::Number => Fault::Number,
            Unusable::OutOfRange => Fault::OutOfRange,
            Unusable::DividedByZero => Fault::DividedByZero,
            Unusable::NotFound => Fault::NotFound,
        }
    }
}

/// What there is to say of an event's time. `arrived`: when it came, `END_OF_TIME` where that
/// means nothing.
#[inline]
pub fn of_time(at: EpochMs, guess: Option<Guess>, arrived: EpochMs) -> Option<Fault> {
    let known = arrived < super::time::END_OF_TIME;
    let since = if known { YEAR_1980.max(arrived - LONG) } else { YEAR_1980 };
    if guess.is_none() && at >= since && at < YEAR_2100 {
        return None;
    }
    Some(odd_time(at, guess))
}

#[cold]
fn odd_time(at: EpochMs, guess: Option<Guess>) -> Fault {
    match guess {
        Some(Guess::Unit(Unit::S)) => Fault::GuessedSeconds,
        Some(Guess::Unit(Unit::Ms)) => Fault::GuessedMillis,
        Some(Guess::Unit(Unit::Us)) => Fault::GuessedMicros,
        Some(Guess::Unit(Unit::Ns)) => Fault::GuessedNanos,
        Some(Guess::Zone) => Fault::GuessedZone,
        None if (SECONDS_FROM..YEAR_2100 / 1_000).contains(&at) => Fault::LooksLikeSeconds,
        None if at < YEAR_1980 => Fault::Before1980,
        None if at >= YEAR_2100 => Fault::After2100,
        None => Fault::LongAgo,
    }
}

/// Who needs an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The key of the configuration: `metric.revenue.field`, `session.value`, `events.key`.
    pub key: String,
    /// The attribute.
    pub attribute: String,
}

impl Use {
    /// Its name in a commit.
    fn id(&self) -> String {
        format!("{} {}", self.key, self.attribute)
    }
}

/// Numbers of the uses that belong to no metric. Those of the metrics come behind them.
pub mod uses {
    /// The time of an event.
    pub const TS: usize = 0;
    /// The session key.
    pub const KEY: usize = 1;
    /// The value of a session's entry.
    pub const VALUE: usize = 2;
    /// The segment of a session.
    pub const SEGMENT: usize = 3;
    /// How many there are.
    pub const FIXED: usize = 4;
}

/// Counts of one use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that were to carry the attribute; 0 where that is not counted.
    pub of: u64,
    /// By [`Fault`].
    pub faults: [u64; Fault::ALL.len()],
}

impl Counts {
    /// True when nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Counts::default()
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Counts) {
        self.of += other.of;
        self.faults.iter_mut().zip(other.faults).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// The counts of each fault that occurred, by its word.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let named = Fault::ALL.into_iter().zip(self.faults);
        named.filter(|(_, count)| *count > 0).map(|(fault, count)| (fault.word(), count))
    }

    /// Counts of a fault by its word; a word of another version is passed over.
    pub fn add_word(&mut self, word: &str, count: u64) {
        if let Some(fault) = Fault::by_word(word) {
            let counted = &mut self.faults[fault as usize];
            *counted = counted.saturating_add(count);
        }
    }
}

/// Counts of all uses, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub Vec<Counts>);

impl Tally {
    /// Nothing counted for this many uses.
    pub fn new(uses: usize) -> Self {
        Tally(vec![Counts::default(); uses])
    }

    /// Counts a fault.
    #[cold]
    pub fn note(&mut self, number: usize, fault: Fault) {
        if let Some(counts) = self.0.get_mut(number) {
            counts.faults[fault as usize] += 1;
        }
    }

    /// An event was to carry the attribute.
    #[inline]
    pub fn concern(&mut self, number: usize, events: u64) {
        if let Some(counts) = self.0.get_mut(number) {
            counts.of += events;
        }
    }

    /// Hands over what was counted since the last time.
    pub fn take(&mut self) -> Tally {
        let uses = self.0.len();
        std::mem::replace(self, Tally::new(uses))
    }

    /// Adds another tally of the same uses.
    pub fn add(&mut self, other: &Tally) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| mine.add(theirs));
    }
}

/// What was counted since the data folder was made, by use.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    uses: Vec<Use>,
    tally: Tally,
}

/// One fault of one use, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultView {
    /// The key of the configuration that needs the attribute.
    pub key: String,
    /// The attribute.
    pub attribute: String,
    /// One word.
    pub reason: &'static str,
    /// The same for people.
    pub words: &'static str,
    /// How many events.
    pub count: u64,
    /// Of how many that were to carry it; 0 where that is not counted.
    pub of: u64,
}

impl Faults {
    /// Nothing counted for these uses.
    pub fn new(uses: Vec<Use>) -> Self {
        Faults { tally: Tally::new(uses.len()), uses }
    }

    /// Takes up what a commit held; what belongs to a use that is no more stays out.
    pub fn restore(&mut self, mut kept: BTreeMap<String, Counts>) {
        for (the_use, counts) in self.uses.iter().zip(&mut self.tally.0) {
            *counts = kept.remove(&the_use.id()).unwrap_or_default();
        }
    }

    /// Adds what was counted since the last commit, and returns it by its name there.
    pub fn add(&mut self, news: &Tally) -> Vec<(String, Counts)> {
        self.tally.add(news);
        let changed = self.uses.iter().zip(&news.0).filter(|(_, counts)| !counts.is_empty());
        changed.map(|(the_use, counts)| (the_use.id(), counts.clone())).collect()
    }

    /// How many uses there are.
    pub fn len(&self) -> usize {
        self.uses.len()
    }

    /// True when nothing is used.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// Every fault that occurred, in the order of the configuration.
    pub fn views(&self) -> Vec<FaultView> {
        self.views_of("")
    }

    /// Those of the keys that begin so.
    pub fn views_of(&self, keys: &str) -> Vec<FaultView> {
        let uses = self.uses.iter().zip(&self.tally.0);
        let uses = uses.filter(|(the_use, _)| the_use.key.starts_with(keys));
        uses.flat_map(|(the_use, counts)| {
            let occurred = Fault::ALL.into_iter().zip(counts.faults).filter(|(_, n)| *n > 0);
            occurred.map(|(fault, count)| FaultView {
                key: the_use.key.clone(),
                attribute: the_use.attribute.clone(),
                reason: fault.word(),
                words: fault.sentence(),
                count,
                of: counts.of,
            })
        })
        .collect()
    }

    /// Attributes that not one of the events that were to carry them did.
    pub fn never_seen(&self) -> Vec<&Use> {
        let absent = Fault::Absent as usize;
        let uses = self.uses.iter().zip(&self.tally.0);
        uses.filter(|(_, counts)| counts.of > 0 && counts.faults[absent] == counts.of)
            .map(|(the_use, _)| the_use)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::END_OF_TIME;

    #[test]
    fn a_fault_is_found_by_its_word_and_number() {
        for (number, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, number);
            assert_eq!(Fault::by_word(fault.word()), Some(fault));
        }
        assert_eq!(Fault::by_word("lost"), None);
    }

    #[test]
    fn odd_times_are_told_with_the_likely_unit() {
        let now = 1_700_000_000_000;
        for (at, guess, arrived, want) in [
            (now, None, now, None),
            (now - LONG, None, now, None),
            (now - LONG - 1, None, now, Some(Fault::LongAgo)),
            (now - LONG - 1, None, END_OF_TIME, None),
            (1_700_000_000, None, now, Some(Fault::LooksLikeSeconds)),
            (1_700_000_000, None, END_OF_TIME, Some(Fault::LooksLikeSeconds)),
            (5, None, now, Some(Fault::Before1980)),
            (YEAR_2100, None, END_OF_TIME, Some(Fault::After2100)),
            (now, Some(Guess::Unit(Unit::Us)), now, Some(Fault::GuessedMicros)),
            (now, Some(Guess::Zone), END_OF_TIME, Some(Fault::GuessedZone)),
        ] {
            assert_eq!(of_time(at, guess, arrived), want, "{at} {guess:?} {arrived}");
        }
    }

    #[test]
    fn counts_add_up_over_commits_and_are_shown_with_their_whole() {
        let the_use = |key: &str| Use { key: key.into(), attribute: "amount".into() };
        let uses = || vec![the_use("metric.a.field"), the_use("session.value")];
        let (mut faults, mut tally) = (Faults::new(uses()), Tally::new(2));
        let mut kept: BTreeMap<String, Counts> = BTreeMap::new();
        for _ in 0..3 {
            tally.concern(0, 2);
            tally.note(0, Fault::Text);
            tally.note(9, Fault::Text);
            for (id, counts) in faults.add(&tally.take()) {
                kept.entry(id).or_default().add(&counts);
            }
        }
        let view = FaultView {
            key: "metric.a.field".into(),
            attribute: "amount".into(),
            reason: "text",
            words: Fault::Text.sentence(),
            count: 3,
            of: 6,
        };
        assert_eq!(faults.views(), [view]);
        let mut again = Faults::new(uses());
        again.restore(kept.clone());
        assert_eq!(again.views(), faults.views());
        // Another attribute: its counts begin anew.
        let mut other =
            Faults::new(vec![Use { key: "metric.a.field".into(), attribute: "b".into() }]);
        other.restore(kept);
        assert_eq!(other.views(), []);
        assert_eq!(other.never_seen(), Vec::<&Use>::new());
        let mut absent = Tally::new(1);
        absent.concern(0, 1);
        absent.note(0, Fault::Absent);
        other.add(&absent);
        assert_eq!(other.never_seen().len(), 1);
    }
}
