//! What a pattern is: declared in `[[pattern]]`, checked at start.

use crate::metric::Condition;
use crate::time::SpanMs;

/// The attribute of every match that says how long it took, in seconds.
pub const DURATION: &str = "duration_s";

/// A sequence of events of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternSpec {
    /// Its name, and the type of its matches: letters, digits, `_`.
    pub name: String,
    /// For people.
    pub title: String,
    /// The event that begins it. All conditions must hold.
    pub first: Vec<Condition>,
    /// How often it must come before anything else counts.
    pub times: u32,
    /// What must come then, one after the other.
    pub then: Vec<Vec<Condition>>,
    /// None of these may come in between.
    pub without: Vec<Vec<Condition>>,
    /// None of these may come after all of it, until `within` is over; empty for no wait.
    pub not_then: Vec<Vec<Condition>>,
    /// From the first event on; what happens exactly so long after it still counts.
    pub within: SpanMs,
    /// Attributes of a match, and where they are taken from.
    pub attributes: Vec<(String, Taken)>,
    /// Severity of the alert that each match raises; `None` for no alert.
    pub alert: Option<String>,
}

/// Where an attribute of a match is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which event.
    pub side: Side,
    /// Its attribute.
    pub attribute: String,
}

/// An event of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its first.
    First,
    /// That of its last step.
    Last,
}

impl Side {
    /// As it is written, `first.amount`.
    pub const fn word(self) -> &'static str {
        match self {
            Side::First => "first",
            Side::Last => "last",
        }
    }
}

impl PatternSpec {
    /// Every list of conditions that it has.
    pub fn conditions(&self) -> impl Iterator<Item = &Vec<Condition>> {
        let rest = self.then.iter().chain(&self.without).chain(&self.not_then);
        std::iter::once(&self.first).chain(rest)
    }

    /// The attributes that it needs of events.
    pub fn of_events(&self) -> impl Iterator<Item = &String> {
        let conditions = self.conditions().flatten().flat_map(Condition::attributes);
        conditions.chain(self.attributes.iter().map(|(_, taken)| &taken.attribute))
    }

    /// How many events a match has.
    pub fn steps(&self) -> usize {
        self.times as usize + self.then.len()
    }
}
