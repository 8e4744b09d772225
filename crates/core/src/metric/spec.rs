//! What a metric is: declared in `[[metric]]`, checked at start.

use std::collections::BTreeMap;

use super::aggregate::{Aggregate, Last};
use super::grid::Ago;
use crate::expr::Expr;
use crate::number::Decimal;
use crate::settings::Word;
use crate::time::SpanMs;

/// A named number over facts.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSpec {
    /// Its name: letters, digits, `_`; also the name of its topic.
    pub name: String,
    /// Title of its panel.
    pub title: String,
    /// Unit of its value; empty for counts.
    pub unit: String,
    /// Which facts feed it.
    pub of: Facts,
    /// All conditions must hold.
    pub filter: Vec<Condition>,
    /// For a ratio: the conditions that count above the line.
    pub numerator: Vec<Condition>,
    /// Labels; a number is kept for each combination.
    pub group_by: Vec<String>,
    /// Most combinations kept; further ones go to `other`.
    pub group_limit: usize,
    /// A combination leaves when it had no fact for so long; 0: never.
    pub group_silence: SpanMs,
    /// What is computed.
    pub aggregate: Aggregate,
    /// The attribute it is computed from; the session key for `distinct` by default.
    pub field: Option<String>,
    /// Over which stretch of event time.
    pub window: WindowSpec,
    /// How much history the board keeps.
    pub keep: SpanMs,
    /// Windows that end in so long before it came are filled from the kept log; 0: none.
    pub backfill: SpanMs,
    /// Of [`Facts::Metrics`]: what it is computed of.
    pub formula: Option<FormulaSpec>,
}

/// A number made of those of other metrics, as it was declared.
#[derive(Clone, Debug, PartialEq)]
pub struct FormulaSpec {
    /// What is computed. Its names are the operands.
    pub expr: Expr,
    /// The operands, in the order of [`Expr::names`].
    pub operands: Vec<Operand>,
}

/// A metric in a formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Its name.
    pub metric: String,
    /// How long ago it is looked at.
    pub ago: Option<Ago>,
}

impl MetricSpec {
    /// One over all events, without labels, whose last hour is kept.
    pub fn new(name: &str, aggregate: impl Into<Aggregate>, window: WindowSpec) -> MetricSpec {
        MetricSpec {
            name: name.into(),
            title: name.into(),
            unit: String::new(),
            of: Facts::Events,
            filter: Vec::new(),
            numerator: Vec::new(),
            group_by: Vec::new(),
            group_limit: 200,
            group_silence: 0,
            aggregate: aggregate.into(),
            field: None,
            window,
            keep: 3_600_000,
            backfill: 0,
            formula: None,
        }
    }

    /// One that is computed of others. Windows, labels and what is kept are the caller's.
    pub fn of_formula(name: &str, formula: FormulaSpec, window: WindowSpec) -> MetricSpec {
        MetricSpec {
            of: Facts::Metrics,
            formula: Some(formula),
            // Its windows hold one number, and no state.
            ..MetricSpec::new(name, Last::default(), window)
        }
    }

    /// The attributes that it uses.
    pub fn attributes(&self) -> impl Iterator<Item = &String> {
        let conditions = self.filter.iter().chain(&self.numerator);
        conditions.flat_map(Condition::attributes).chain(&self.group_by).chain(&self.field)
    }

    /// Most bytes that one pane of one group holds beside a number.
    pub fn bytes_max(&self) -> usize {
        let whole = self.aggregate.bytes_max();
        match self.window {
            _ if self.formula.is_some() => 0,
            WindowSpec::Last { num, .. } => num * (FACT_BYTES + whole.min(ONE_FACT_BYTES_MAX)),
            WindowSpec::Burst { .. } => FACT_BYTES + whole,
            // In its pane, in the queue, and in a sum there.
            WindowSpec::Sliding { numbers, .. } => {
                3 * numbers * (FACT_BYTES + whole.min(ONE_FACT_BYTES_MAX)) + whole
            }
            // Each moment of a pane that is not final may have one.
            WindowSpec::Since { slide, .. } => {
                slide as usize * (FACT_BYTES + whole.min(ONE_FACT_BYTES_MAX)) + whole
            }
            _ => whole,
        }
    }

    /// The labels of a group by the attributes that they are of.
    pub fn named(&self, labels: &[String]) -> BTreeMap<String, String> {
        self.group_by.iter().cloned().zip(labels.iter().cloned()).collect()
    }
}

/// A fact that a window keeps apart: its place, and a cell.
const FACT_BYTES: usize = 64;

/// Most bytes that the state of an aggregate takes beside itself after one fact, where it takes more
/// after many.
const ONE_FACT_BYTES_MAX: usize = 512;

/// Which facts feed a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facts {
    /// Every applied event, at its time.
    Events,
    /// Every closed session, at its deadline. Attributes: `outcome` (`abandoned`,
    /// `converted`, `browsed`), `step`, `segment`, `value`, `events`, `duration_s`.
    Sessions,
    /// The sessions open now; a gauge. Only `group_by = ["step"]`.
    LiveSessions,
    /// The final windows of other metrics, by a formula.
    Metrics,
}

impl Word for Facts {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("events", Facts::Events),
        ("sessions", Facts::Sessions),
        ("live_sessions", Facts::LiveSessions),
    ];
}

/// Over which stretch of event time a metric is computed.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowSpec {
    /// `[k*size, (k+1)*size)`, counted from the epoch.
    Tumbling {
        /// Length.
        size: SpanMs,
    },
    /// `[k*slide - size, k*slide)`; `slide` is at most `size`.
    Hopping {
        /// Length.
        size: SpanMs,
        /// Distance between two windows.
        slide: SpanMs,
    },
    /// What lies less than `size` before each fact and with it; and, as hopping ones do, windows that
    /// end with each slide.
    Sliding {
        /// Length.
        size: SpanMs,
        /// Distance between two ends; numbers are final by whole ones.
        slide: SpanMs,
        /// Most numbers of a group between two ends; facts that lie closer have one together.
        numbers: usize,
    },
    /// Whole days, weeks or months of a zone; `panes` of them in a window, one window for
    /// each.
    Calendar {
        /// Distance between two windows.
        span: CalendarSpan,
        /// How many of them a window holds.
        panes: i64,
        /// IANA name.
        zone: String,
        /// The day that weeks begin with.
        first_weekday: Weekday,
    },
    /// From midnight in a zone until now, emitted every `slide` from midnight on and at
    /// the next midnight.
    SinceMidnight {
        /// IANA name.
        zone: String,
        /// Distance between two points.
        slide: SpanMs,
    },
    /// From the first event until now, emitted every `slide`.
    SinceStart {
        /// Distance between two points.
        slide: SpanMs,
    },
    /// From the newest event of a type until now, emitted every `slide`; before the first from the
    /// first event on.
    Since {
        /// The type; or the name of a pattern.
        event: String,
        /// Distance between two points.
        slide: SpanMs,
    },
    /// Facts of a group with no more than `gap` from each to the next. What such a window comes to
    /// stands at the end of the `slide` in which the silence was long enough.
    Burst {
        /// The longest silence within one.
        gap: SpanMs,
        /// Distance between two times at which windows may end; at most `gap`.
        slide: SpanMs,
    },
    /// The newest facts of each group until now, emitted every `slide`.
    Last {
        /// How many.
        num: usize,
        /// Distance between two points.
        slide: SpanMs,
    },
}

/// A length that the calendar decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarSpan {
    /// So many days, a week being seven; at least 1.
    Days(i64),
    /// So many months; a divisor of 12.
    Months(i64),
}

impl CalendarSpan {
    /// About how long it is, for bounds and for people.
    pub fn about(self) -> SpanMs {
        match self {
            CalendarSpan::Days(days) => days * 86_400_000,
            CalendarSpan::Months(months) => months * 30 * 86_400_000,
        }
    }

    /// How long it is at most: clocks are set back by some hours, now and then.
    pub fn longest(self) -> SpanMs {
        match self {
            CalendarSpan::Days(days) => days * 86_400_000 + 3 * 3_600_000,
            CalendarSpan::Months(months) => months * 31 * 86_400_000 + 3 * 3_600_000,
        }
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weekday {
    /// The first by ISO 8601.
    #[default]
    Monday,
    /// And so on.
    Tuesday,
    /// And so on.
    Wednesday,
    /// And so on.
    Thursday,
    /// And so on.
    Friday,
    /// And so on.
    Saturday,
    /// And so on.
    Sunday,
}

impl Weekday {
    /// Days after Monday, 0 to 6.
    pub fn from_monday(self) -> i64 {
        self as i64
    }
}

impl Word for Weekday {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
}

impl WindowSpec {
    /// True when windows of both end at the same times and numbers of both hold as long.
    pub fn ends_with(&self, other: &WindowSpec) -> bool {
        let exact = |window: &WindowSpec| match window {
            WindowSpec::Tumbling { size } => Some(*size),
            WindowSpec::Hopping { slide, .. } | WindowSpec::Sliding { slide, .. } => Some(*slide),
            _ => None,
        };
        let endless = |window: &WindowSpec| window.is_endless().then(|| window.step());
        match (self, other) {
            (
                WindowSpec::Calendar { span, zone, first_weekday, panes: _ },
                WindowSpec::Calendar { span: others, zone: its, first_weekday: first, panes: _ },
            ) => (span, zone, first_weekday) == (others, its, first),
            // Each ends, or begins anew, where its own events do.
            (WindowSpec::Burst { .. } | WindowSpec::Since { .. }, _)
            | (_, WindowSpec::Burst { .. } | WindowSpec::Since { .. }) => false,
            _ => {
                let alike = |mine: Option<SpanMs>, other| mine.is_some() && mine == other;
                self == other
                    || alike(exact(self), exact(other))
                    || alike(endless(self), endless(other))
            }
        }
    }

    /// About how far behind an event may be and still find a window of its own open: its
    /// length. Of a running total this is the slide: event ids are not kept for a whole day
    /// for the sake of a total that most events reach in time.
    pub fn reach(&self) -> SpanMs {
        match self {
            WindowSpec::Tumbling { size }
            | WindowSpec::Hopping { size, .. }
            | WindowSpec::Sliding { size, .. } => *size,
            WindowSpec::Calendar { span, panes, .. } => span.about() * panes,
            WindowSpec::Burst { gap, .. } => *gap,
            WindowSpec::SinceMidnight { slide, .. }
            | WindowSpec::SinceStart { slide }
            | WindowSpec::Since { slide, .. }
            | WindowSpec::Last { slide, .. } => *slide,
        }
    }

    /// How many panes of a group may hold something.
    pub fn panes_max(&self) -> SpanMs {
        match self {
            // They are taken in once they are final.
            WindowSpec::Burst { .. } => 2,
            // The first fact after an end reaches back behind the window before.
            WindowSpec::Sliding { size, slide, .. } => size / slide + 2,
            window => window.reach() / window.step() + 1,
        }
    }

    /// About how far apart two numbers of a group are.
    pub fn apart(&self) -> SpanMs {
        match self {
            WindowSpec::Burst { gap, .. } => *gap,
            window => window.step(),
        }
    }

    /// The type of the event that it begins with.
    pub fn event(&self) -> Option<&String> {
        match self {
            WindowSpec::Since { event, .. } => Some(event),
            _ => None,
        }
    }

    /// True when its numbers hold whatever came before, for good.
    pub fn is_endless(&self) -> bool {
        matches!(
            self,
            WindowSpec::SinceStart { .. } | WindowSpec::Since { .. } | WindowSpec::Last { .. }
        )
    }

    /// True when all windows are as long, so that there is a number for each unit of time.
    pub fn has_length(&self) -> bool {
        match self {
            WindowSpec::Tumbling { .. }
            | WindowSpec::Hopping { .. }
            | WindowSpec::Sliding { .. }
            | WindowSpec::Calendar { .. } => true,
            WindowSpec::SinceMidnight { .. }
            | WindowSpec::SinceStart { .. }
            | WindowSpec::Since { .. }
            | WindowSpec::Burst { .. }
            | WindowSpec::Last { .. } => false,
        }
    }

    /// How long a window is at most, or what ends by silence after its last fact; one without end is
    /// longer than anything else.
    pub fn longest(&self) -> SpanMs {
        match self {
            WindowSpec::Tumbling { size }
            | WindowSpec::Hopping { size, .. }
            | WindowSpec::Sliding { size, .. } => *size,
            WindowSpec::Calendar { span, panes, .. } => span.longest() * panes,
            WindowSpec::Burst { gap, slide } => *gap + *slide,
            WindowSpec::SinceMidnight { .. } => CalendarSpan::Days(1).longest(),
            WindowSpec::SinceStart { .. } | WindowSpec::Since { .. } | WindowSpec::Last { .. } => {
                SpanMs::MAX / 16
            }
        }
    }

    /// About how far apart two windows end.
    pub fn step(&self) -> SpanMs {
        match self {
            WindowSpec::Tumbling { size } => *size,
            WindowSpec::Hopping { slide, .. }
            | WindowSpec::Sliding { slide, .. }
            | WindowSpec::SinceMidnight { slide, .. }
            | WindowSpec::SinceStart { slide }
            | WindowSpec::Since { slide, .. }
            | WindowSpec::Burst { slide, .. }
            | WindowSpec::Last { slide, .. } => *slide,
            WindowSpec::Calendar { span, .. } => span.about(),
        }
    }
}

/// One condition on an attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The attribute; the text of an expression.
    pub attribute: String,
    /// What must hold. A missing attribute meets only `Exists(false)`.
    pub test: Test,
}

impl Condition {
    /// The attributes that it looks at.
    pub fn attributes(&self) -> &[String] {
        match &self.test {
            Test::Holds(expr) => expr.names(),
            _ => std::slice::from_ref(&self.attribute),
        }
    }
}

/// What must hold for an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// One of these texts.
    TextIn(Vec<String>),
    /// One of these numbers.
    NumberIn(Vec<Decimal>),
    /// `true` or `false`.
    Is(bool),
    /// Greater than or equal.
    Ge(Decimal),
    /// Greater than.
    Gt(Decimal),
    /// Less than or equal.
    Le(Decimal),
    /// Less than.
    Lt(Decimal),
    /// Present, or not.
    Exists(bool),
    /// An expression is true.
    Holds(Expr),
}

impl Test {
    /// Numbers are compared: a text that reads as one is one.
    pub fn wants_number(&self) -> bool {
        matches!(self, Test::NumberIn(_) | Test::Ge(_) | Test::Gt(_) | Test::Le(_) | Test::Lt(_))
    }
}
