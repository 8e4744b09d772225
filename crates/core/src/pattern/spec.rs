//! What a pattern or a join is: declared in `[[pattern]]` and `[[join]]`, checked at start.

use crate::metric::Condition;
use crate::settings::Word;
use crate::time::SpanMs;

/// The attribute of every match that says how long it took, in seconds.
pub const DURATION: &str = "duration_s";
/// The attribute of every result of a join that says whether it has both sides.
pub const MATCHED: &str = "matched";

/// What is looked for among the events of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternSpec {
    /// Its name, and the type of its matches: letters, digits, `_`.
    pub name: String,
    /// For people.
    pub title: String,
    /// What a match is.
    pub seeks: Seeks,
    /// Attributes of a match, and where they are taken from.
    pub attributes: Vec<(String, Taken)>,
    /// Severity of the alert that each match raises; `None` for no alert.
    pub alert: Option<String>,
}

/// What a match is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Seeks {
    /// Events one after the other.
    Sequence(SequenceSpec),
    /// Two events, or one that found no other.
    Join(JoinSpec),
}

/// A sequence of events.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceSpec {
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
}

/// Two kinds of events, joined by time.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinSpec {
    /// The one side. All conditions must hold.
    pub left: Vec<Condition>,
    /// The other side.
    pub right: Vec<Condition>,
    /// Attributes that both must have, of equal text.
    pub on: Vec<String>,
    /// How long before a left event a right one may come; exactly so long still counts.
    pub before: SpanMs,
    /// How long after it, likewise.
    pub within: SpanMs,
    /// What becomes a result.
    pub kind: JoinKind,
    /// Most pairs that one event makes with those before it.
    pub pairs_max: usize,
}

/// What becomes a result of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Each pair.
    Inner,
    /// Each pair, and each left event without a right one.
    Left,
    /// Each left event without a right one.
    Anti,
}

impl Word for JoinKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("inner", JoinKind::Inner), ("left", JoinKind::Left), ("anti", JoinKind::Anti)];
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
    /// Its first, or the left one.
    First,
    /// That of its last step, or the right one.
    Last,
}

impl Side {
    /// Both.
    pub const ALL: [Side; 2] = [Side::First, Side::Last];
}

impl Seeks {
    /// The list that it is declared in.
    pub const fn table(&self) -> &'static str {
        match self {
            Seeks::Sequence(_) => "pattern",
            Seeks::Join(_) => "join",
        }
    }

    /// What its sides are called where attributes are taken from them, `first.amount`.
    pub const fn sides(&self) -> [&'static str; 2] {
        match self {
            Seeks::Sequence(_) => ["first", "last"],
            Seeks::Join(_) => ["left", "right"],
        }
    }

    /// True when a match may be known only at the end of `within`.
    pub fn waits(&self) -> bool {
        match self {
            Seeks::Sequence(sequence) => sequence.waits(),
            Seeks::Join(join) => join.kind != JoinKind::Inner,
        }
    }

    /// The attributes that every match has, besides the key.
    pub const fn own(&self) -> &'static [&'static str] {
        match self {
            Seeks::Sequence(_) => &["type", DURATION],
            Seeks::Join(_) => &["type", DURATION, MATCHED],
        }
    }

    /// Every list of conditions that it has.
    pub fn conditions(&self) -> Vec<&Vec<Condition>> {
        match self {
            Seeks::Sequence(SequenceSpec { first, then, without, not_then, .. }) => {
                std::iter::once(first).chain(then).chain(without).chain(not_then).collect()
            }
            Seeks::Join(JoinSpec { left, right, .. }) => vec![left, right],
        }
    }

    /// Likewise.
    pub fn conditions_mut(&mut self) -> Vec<&mut Vec<Condition>> {
        match self {
            Seeks::Sequence(SequenceSpec { first, then, without, not_then, .. }) => {
                std::iter::once(first).chain(then).chain(without).chain(not_then).collect()
            }
            Seeks::Join(JoinSpec { left, right, .. }) => vec![left, right],
        }
    }

    /// Attributes that its events must have in common.
    pub fn on(&self) -> &[String] {
        match self {
            Seeks::Sequence(_) => &[],
            Seeks::Join(join) => &join.on,
        }
    }
}

impl PatternSpec {
    /// The attributes that it needs of events.
    pub fn of_events(&self) -> Vec<&String> {
        let conditions = self.seeks.conditions().into_iter().flatten();
        let taken = self.attributes.iter().map(|(_, taken)| &taken.attribute);
        conditions.flat_map(Condition::attributes).chain(self.seeks.on()).chain(taken).collect()
    }
}

impl SequenceSpec {
    /// True when what is complete waits for the end of `within`.
    #[inline]
    pub fn waits(&self) -> bool {
        !self.not_then.is_empty()
    }

    /// How many events a match has.
    pub fn steps(&self) -> usize {
        self.times as usize + self.then.len()
    }
}
