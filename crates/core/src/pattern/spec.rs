//! What a pattern, a join, a funnel or a kind of sessions is: declared in `[[pattern]]`, `[[join]]`,
//! `[[funnel]]` and `[[sessions]]`, checked at start.

use crate::metric::{CalendarSpan, Condition, Weekday};
use crate::session::Outcome;
use crate::settings::Word;
use crate::time::SpanMs;

/// The attribute of every match that says how long it took, in seconds.
pub const DURATION: &str = "duration_s";
/// The attribute of every result of a join that says whether it has both sides.
pub const MATCHED: &str = "matched";
/// The attribute of every event of a funnel that names the step it is about.
pub const STEP: &str = "step";
/// The attribute of every event of a funnel that says what happened: [`REACHED`] or [`LEFT`].
pub const OUTCOME: &str = "outcome";
/// The attribute of every event of a funnel that says how long the step before had been reached, in
/// seconds; missing for the first.
pub const WAITED: &str = "step_s";
/// The attribute of every session that says how many events it had.
pub const EVENTS: &str = "events";
/// The attribute of every session that says what was at stake.
pub const VALUE: &str = "value";
/// The attribute of every session that says whether it was cut, being too long.
pub const CUT: &str = "cut";
/// The attribute of every session that names the day on which the cohort of its key begins.
pub const COHORT: &str = "cohort";
/// The attribute of every session that says whether it is the first of its key.
pub const IS_FIRST: &str = "is_first";
/// The fact of an occurrence that says how many values a list has besides those that are named.
pub fn list_more(list: &str) -> String {
    format!("{list}_more")
}

/// The step was reached.
pub const REACHED: &str = "reached";
/// It was the last one that was reached, and the time is over.
pub const LEFT: &str = "left";

/// The name of a metric of a funnel: of [`REACHED`], [`LEFT`] or [`WAITED`], by what it is told apart
/// by as well or not.
pub fn metric_name(funnel: &str, what: &str, by: bool) -> String {
    format!("{funnel}_{what}{}", if by { "_by" } else { "" })
}

/// What is looked for among the events of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternSpec {
    /// Its name, and the type of its matches: letters, digits, `_`.
    pub name: String,
    /// For people.
    pub title: String,
    /// The attribute whose values keep its events apart; `None`: the session key.
    pub key: Option<String>,
    /// What a match is.
    pub seeks: Seeks,
    /// Attributes of a match, and where they are taken from.
    pub attributes: Vec<(String, Taken)>,
    /// Severity of the alert that each match raises; `None` for no alert.
    pub alert: Option<String>,
}

/// What a match is made of.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one for each table of the configuration")]
pub enum Seeks {
    /// Events one after the other.
    Sequence(SequenceSpec),
    /// Two events, or one that found no other.
    Join(JoinSpec),
    /// How far each came on a way of steps.
    Funnel(FunnelSpec),
    /// Sessions of a kind of their own.
    Sessions(SessionsSpec),
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

/// A way of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct FunnelSpec {
    /// Names of the steps, each another one.
    pub names: Vec<String>,
    /// What must come for each, one after the other. All conditions must hold.
    pub steps: Vec<Vec<Condition>>,
    /// Any of these ends it.
    pub without: Vec<Vec<Condition>>,
    /// From the first event on; what happens exactly so long after it still counts.
    pub within: SpanMs,
}

/// Sessions of a kind of their own. Of several lists of conditions any makes it so.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionsSpec {
    /// Which events belong to them. All conditions must hold.
    pub events: Vec<Condition>,
    /// What puts something at stake.
    pub entry: Vec<Vec<Condition>>,
    /// What completes it.
    pub goal: Vec<Vec<Condition>>,
    /// What takes it back.
    pub remove: Vec<Vec<Condition>>,
    /// Names of the steps, each another one.
    pub names: Vec<String>,
    /// What reaches each; the furthest is kept, whether or not those before it were reached.
    pub steps: Vec<Vec<Condition>>,
    /// What is counted apart, by the name of the attribute.
    pub counts: Vec<(String, Vec<Condition>)>,
    /// Values that entries carry, less those of removals, by the name of the list: the attribute of
    /// the events. Without `entry` those of all events.
    pub lists: Vec<(String, String)>,
    /// Most values of a list that are named; further ones are counted.
    pub list_max: usize,
    /// The attribute with the key of a visitor before they are known.
    pub identify: Option<String>,
    /// The attribute with what an entry puts at stake.
    pub value: Option<String>,
    /// Silence that ends one; an event exactly this much later still belongs to it.
    pub gap: SpanMs,
    /// Longest one.
    pub max_length: Option<SpanMs>,
    /// Into which stretches of the calendar keys are told apart by when they were first seen.
    pub cohort: Option<CohortSpec>,
    /// What there is to know of abandoned ones and of goals goes to nudges. It changes nothing of what
    /// is found.
    pub nudged: bool,
    /// Attributes that alerts do not have, for people's addresses are in them.
    pub hidden: Vec<String>,
}

/// Stretches of the calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct CohortSpec {
    /// How long they are.
    pub span: CalendarSpan,
    /// IANA name.
    pub zone: String,
    /// The day that weeks begin with.
    pub first_weekday: Weekday,
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
    /// The attributes that every session has, besides the key.
    pub const SESSIONS: [&str; 7] = ["type", DURATION, STEP, OUTCOME, EVENTS, VALUE, CUT];

    /// What an attribute can be; `None` where that depends on the events.
    pub fn words(&self, attribute: &str) -> Option<Vec<&str>> {
        match (self, attribute) {
            (Seeks::Funnel(funnel), STEP) => {
                Some(funnel.names.iter().map(String::as_str).collect())
            }
            (Seeks::Funnel(_), OUTCOME) => Some(vec![REACHED, LEFT]),
            (Seeks::Sessions(sessions), STEP) => {
                let names = sessions.names.iter().map(String::as_str);
                Some(std::iter::once("").chain(names).collect())
            }
            (Seeks::Sessions(_), OUTCOME) => {
                let outcomes = [Outcome::Browsed, Outcome::Abandoned, Outcome::Converted];
                Some(outcomes.map(Outcome::name).to_vec())
            }
            _ => None,
        }
    }

    /// The list that it is declared in.
    pub const fn table(&self) -> &'static str {
        match self {
            Seeks::Sequence(_) => "pattern",
            Seeks::Join(_) => "join",
            Seeks::Funnel(_) => "funnel",
            Seeks::Sessions(_) => "sessions",
        }
    }

    /// What its sides are called where attributes are taken from them, `first.amount`.
    pub const fn sides(&self) -> [&'static str; 2] {
        match self {
            Seeks::Join(_) => ["left", "right"],
            _ => ["first", "last"],
        }
    }

    /// True when a match may be known only at the end of `within`.
    pub fn waits(&self) -> bool {
        match self {
            Seeks::Sequence(sequence) => sequence.waits(),
            Seeks::Join(join) => join.kind != JoinKind::Inner,
            Seeks::Funnel(_) | Seeks::Sessions(_) => true,
        }
    }

    /// How long what is open of a key may reach back: what knows the key must be kept as long.
    pub fn reach(&self) -> SpanMs {
        match self {
            Seeks::Sequence(SequenceSpec { within, .. })
            | Seeks::Funnel(FunnelSpec { within, .. }) => *within,
            Seeks::Join(JoinSpec { within, before, .. }) => (*within).max(*before),
            Seeks::Sessions(SessionsSpec { gap, .. }) => 3 * gap,
        }
    }

    /// The attributes that every match has, besides the key.
    pub const fn own(&self) -> &'static [&'static str] {
        match self {
            Seeks::Sequence(_) => &["type", DURATION],
            Seeks::Join(_) => &["type", DURATION, MATCHED],
            Seeks::Funnel(_) => &["type", DURATION, STEP, OUTCOME, WAITED],
            Seeks::Sessions(_) => &Seeks::SESSIONS,
        }
    }

    /// Every list of conditions that it has, with the key that it stands under.
    pub fn conditions(&self) -> Vec<(&'static str, &Vec<Condition>)> {
        fn under<'a>(
            key: &'static str,
            lists: &'a [Vec<Condition>],
        ) -> impl Iterator<Item = (&'static str, &'a Vec<Condition>)> {
            lists.iter().map(move |list| (key, list))
        }
        match self {
            Seeks::Sequence(SequenceSpec { first, then, without, not_then, .. }) => {
                let further = under("then", then).chain(under("without", without));
                let first = std::iter::once(("first", first));
                first.chain(further).chain(under("not_then", not_then)).collect()
            }
            Seeks::Join(JoinSpec { left, right, .. }) => vec![("left", left), ("right", right)],
            Seeks::Funnel(FunnelSpec { steps, without, .. }) => {
                under("steps", steps).chain(under("without", without)).collect()
            }
            Seeks::Sessions(SessionsSpec {
                events, entry, goal, remove, steps, counts, ..
            }) => {
                let lists = under("entry", entry).chain(under("goal", goal));
                let lists = lists.chain(under("remove", remove)).chain(under("steps", steps));
                let counts = counts.iter().map(|one| ("counts", &one.1));
                std::iter::once(("where", events)).chain(lists).chain(counts).collect()
            }
        }
    }

    /// Every list of conditions, in the same order.
    pub fn conditions_mut(&mut self) -> Vec<&mut Vec<Condition>> {
        match self {
            Seeks::Sequence(SequenceSpec { first, then, without, not_then, .. }) => {
                std::iter::once(first).chain(then).chain(without).chain(not_then).collect()
            }
            Seeks::Join(JoinSpec { left, right, .. }) => vec![left, right],
            Seeks::Funnel(FunnelSpec { steps, without, .. }) => {
                steps.iter_mut().chain(without).collect()
            }
            Seeks::Sessions(SessionsSpec {
                events, entry, goal, remove, steps, counts, ..
            }) => {
                let lists = [entry, goal, remove, steps].into_iter().flatten();
                let counts = counts.iter_mut().map(|one| &mut one.1);
                std::iter::once(events).chain(lists).chain(counts).collect()
            }
        }
    }

    /// Attributes that its events must have in common.
    pub fn on(&self) -> &[String] {
        match self {
            Seeks::Join(join) => &join.on,
            _ => &[],
        }
    }
}

impl PatternSpec {
    /// The attributes of its matches that it declares itself.
    pub fn declares(&self) -> impl Iterator<Item = &str> {
        let (counts, cohort) = match &self.seeks {
            Seeks::Sessions(sessions) => (&sessions.counts[..], sessions.cohort.is_some()),
            _ => (&[][..], false),
        };
        let counts = counts.iter().map(|(name, _)| name.as_str());
        let cohort = [COHORT, IS_FIRST].into_iter().filter(move |_| cohort);
        self.attributes.iter().map(|(name, _)| name.as_str()).chain(counts).chain(cohort)
    }

    /// The attributes that it needs of events.
    pub fn of_events(&self) -> Vec<&String> {
        let conditions = self.seeks.conditions().into_iter().flat_map(|(_, list)| list);
        let taken = self.attributes.iter().map(|(_, taken)| &taken.attribute);
        let of_sessions = match &self.seeks {
            Seeks::Sessions(SessionsSpec { value, identify, .. }) => [value, identify],
            _ => [&None, &None],
        };
        let listed = match &self.seeks {
            Seeks::Sessions(sessions) => &sessions.lists[..],
            _ => &[],
        };
        let listed = listed.iter().map(|(_, attribute)| attribute);
        let taken = taken.chain(of_sessions.into_iter().flatten()).chain(&self.key).chain(listed);
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
