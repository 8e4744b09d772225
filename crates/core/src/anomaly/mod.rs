//! Rules: what notices that a metric stands out.
//!
//! What all rules have stands in [`Rule`]; how one draws its line is a [`Detector`], a type in one
//! file and a line in the list below. When standing out is an alert, and when that is over, is the
//! same for all ([`Alarm`]).

mod absence;
mod alarm;
mod band;
mod held;
mod history;
mod poisson;
mod rate_of_change;
mod recurring;
mod ring;
mod robust;
mod samples;
mod sigma;
mod sorted;
mod spread;
mod threshold;

pub use absence::Absence;
pub use alarm::{Alarm, Patience};
pub use band::Band;
use held::{Held, Lesson};
pub use rate_of_change::RateOfChange;
pub use ring::{Ring, RingChange};
pub use robust::{Robust, Season};
pub use sigma::Sigma;
pub use spread::Spread;
pub use threshold::Threshold;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::settings::{Key, Section, Value, Word};
use super::time::{EpochMs, SpanMs};

/// A rule over the final windows of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name: letters, digits, `_`; also the name of its topic.
    pub name: String,
    /// Title of its panel and of its alerts.
    pub title: String,
    /// The metric it watches; each final window is one sample. Of a metric with `group_by` each group
    /// is watched on its own.
    pub metric: String,
    /// Most groups that are watched: the first ones, as the metric numbers them.
    pub groups_max: usize,
    /// Metrics with `group_by` and the same windows, whose groups say why a number moved.
    pub why: Vec<String>,
    /// When standing out is an alert.
    pub patience: Patience,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// All groups are one incident.
    pub one_incident: bool,
    /// Nobody is told of its incidents while one of these rules has one.
    pub unless: Vec<String>,
    /// Where it says what to do.
    pub runbook: Option<String>,
    /// How it draws its line.
    pub detect: Detect,
}

/// Most windows that a rule keeps.
const SAMPLES_MAX: SpanMs = 86_400;

/// Which side of what is expected stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Values above.
    Above,
    /// Values below.
    Below,
    /// Values on either side.
    Both,
}

impl Word for Side {
    const WORDS: &'static [(&'static str, Self)] =
        &[("above", Side::Above), ("below", Side::Below), ("both", Side::Both)];
}

/// One final window of the metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Start of the pane it ends with: the time since the window before it.
    pub start: EpochMs,
    /// Its end.
    pub end: EpochMs,
    /// Its number; `None` when it has none (the mean of nothing).
    pub value: Option<f64>,
}

/// What a rule says of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The sample.
    pub sample: Sample,
    /// What was expected; empty while too little is known.
    pub band: Band,
    /// How far the sample lies from that, in the measure of the detector; `None` where that cannot
    /// be said. `f64::MAX` where the measure has no end, such as percents of 0.
    pub far: Option<f64>,
    /// When the first window that stands out began; `None` while nothing does.
    pub since: Option<EpochMs>,
    /// An alert goes up, or is over.
    pub change: Option<Change>,
}

/// How a sample lies to the line of a detector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stands {
    /// It stands out enough for an alert.
    pub out: bool,
    /// It stands out enough to keep one up.
    pub stays: bool,
    /// How far, in any measure that grows with it.
    pub far: f64,
    /// What stands out no further than this does so often, and is no alert; `None` where all is one.
    pub often: Option<f64>,
}

/// The window of an alert that stood out most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    /// Its number.
    pub value: Option<f64>,
    /// How far it was, in the measure of the detector.
    pub far: f64,
}

/// An alert goes up, or is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// This window is worth an alert.
    Rises,
    /// The alert is over.
    Over(Past),
    /// What stood out no further than often before is over; there was no alert.
    Recurred(Past),
}

/// An alert that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// End of the window that raised it.
    pub raised: EpochMs,
    /// When the first window that stood out began.
    pub since: EpochMs,
    /// End of the last one.
    pub last: EpochMs,
    /// The window that stood out most.
    pub peak: Peak,
    /// It did not go away but lasted so long that it is usual now.
    pub usual: bool,
}

/// A key with values worth trying.
pub type Dial = (&'static str, Vec<Value>);

/// How many deviations are worth trying.
fn deviations() -> Dial {
    let ladder =
        [2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0, 50.0, 100.0];
    ("k", ladder.map(Value::Float).to_vec())
}

/// So many windows, as spans.
fn windows<const N: usize>(step: SpanMs, counts: [SpanMs; N]) -> Vec<Value> {
    counts.map(|count| Value::Int(step.saturating_mul(count))).to_vec()
}

/// End and number of a window.
pub type Known = (EpochMs, f64);

/// What a detector keeps of a metric.
pub trait State {
    /// End of the newest sample.
    fn last(&self) -> Option<EpochMs>;

    /// What is going on.
    fn alarm(&self) -> &Alarm;

    /// True when more samples of this value change nothing any more.
    fn is_settled(&self, value: Option<f64>) -> bool;

    /// How often something stood out that was no alert because it recurs.
    fn recurred(&self) -> u64 {
        0
    }

    /// Lists that go into commits by what changed: what was learned, and what stood out.
    fn rings(&mut self) -> [Option<&mut Ring<Known>>; 2] {
        [None, None]
    }

    /// Puts these lists back.
    fn restore(&mut self, _learned: VecDeque<Known>, _held: VecDeque<Known>) {}
}

/// What its keys cannot be: the keys, and the rule that they break.
pub type Misfit = (Vec<&'static str>, String);

/// The rules of a list that are broken: whether it is, the keys, and the rule.
fn broken(checks: impl IntoIterator<Item = (bool, Vec<&'static str>, String)>) -> Vec<Misfit> {
    let broken = checks.into_iter().filter(|(broken, ..)| *broken);
    broken.map(|(_, keys, rule)| (keys, rule)).collect()
}

/// One way to draw a line: its settings, which are its keys in `[[rule]]`, and what is made of
/// them.
pub trait Detector: Section + Default {
    /// What it keeps.
    type State: State + Default;

    /// Its name in the configuration.
    const WORD: &'static str;

    /// What it is, for people who choose one.
    const SAYS: &'static str;

    /// The measure of how far a sample lies outside, in a word for machines and people.
    const MEASURE: &'static str = "deviations";

    /// Gives keys whose default comes from others their value. `step`, here and below: the distance
    /// between two windows of the metric.
    fn fill(&mut self, _step: SpanMs) {}

    /// How long no window must stand out, where a rule does not say.
    fn cooldown(&self, step: SpanMs) -> SpanMs;

    /// How far back what it knows reaches.
    fn reach(&self, step: SpanMs) -> SpanMs;

    /// What cannot be.
    fn misfits(&self, _patience: Patience, _metric: &str, _step: SpanMs) -> Vec<Misfit> {
        Vec::new()
    }

    /// How many windows it knows, and how many it needs before it judges; `None` once it does.
    fn learning(&self, _state: &Self::State, _step: SpanMs) -> Option<(usize, usize)> {
        None
    }

    /// See [`Detector::MEASURE`].
    fn measure(&self) -> &'static str {
        Self::MEASURE
    }

    /// Keys that make it speak more or less, with values worth trying, those that speak more first.
    /// `numbers`: those of the metric's windows, ascending.
    fn dials(&self, patience: Patience, step: SpanMs, numbers: &[f64]) -> Vec<Dial>;

    /// Judges one sample by the earlier ones, then keeps it. Samples come in order, without a
    /// hole.
    fn judge(
        &self,
        patience: Patience,
        state: &mut Self::State,
        spread: Spread,
        sample: Sample,
    ) -> Verdict;

    /// What its line is, for its panel.
    fn words(&self) -> String;

    /// What an alert says of the sample that raised it, behind the title of the rule.
    fn found(&self, verdict: &Verdict) -> String {
        let number = |number: Option<f64>| number.map(|number| format!("{number:.2}"));
        let value = verdict.sample.value.unwrap_or_default();
        let expected = match (number(verdict.band.low), number(verdict.band.high)) {
            (Some(low), Some(high)) => format!(", expected {low} to {high}"),
            (Some(low), None) => format!(", expected at least {low}"),
            (None, Some(high)) => format!(", expected at most {high}"),
            (None, None) => String::new(),
        };
        let far = match (verdict.far, self.measure()) {
            (None | Some(f64::MAX), _) | (_, "difference") => String::new(),
            (Some(far), measure) => format!(" ({far:.1} {measure})"),
        };
        format!("{value:.2}{expected}{far}")
    }

    /// What an alert says of the rule.
    fn detail(&self) -> Map<String, Json> {
        Map::new()
    }
}

/// Makes the two enums of the list, and hands everything on to the detector that it concerns.
macro_rules! detectors {
    ($($name:ident,)+) => {
        /// How a rule draws its line.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Detect {
            $(
                #[doc = concat!("See [`", stringify!($name), "`].")]
                $name($name),
            )+
        }

        /// What is kept for a rule: the state of its detector.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Watched {
            $(
                #[doc = concat!("Of [`", stringify!($name), "`].")]
                $name(<$name as Detector>::State),
            )+
        }

        $(
            impl From<$name> for Detect {
                fn from(detector: $name) -> Detect {
                    Detect::$name(detector)
                }
            }
        )+

        impl Detect {
            /// Each with its defaults.
            pub fn all() -> Vec<Detect> {
                vec![$( Detect::$name($name::default()) ),+]
            }

            /// Its name in the configuration.
            pub fn word(&self) -> &'static str {
                match self { $( Detect::$name(_) => $name::WORD, )+ }
            }

            /// What it is, for people who choose one.
            pub fn says(&self) -> &'static str {
                match self { $( Detect::$name(_) => $name::SAYS, )+ }
            }

            /// See [`Detector::fill`].
            pub fn fill(&mut self, step: SpanMs) {
                match self { $( Detect::$name(one) => one.fill(step), )+ }
            }

            /// See [`Detector::cooldown`].
            pub fn cooldown(&self, step: SpanMs) -> SpanMs {
                match self { $( Detect::$name(one) => one.cooldown(step), )+ }
            }

            /// See [`Detector::reach`].
            pub fn reach(&self, step: SpanMs) -> SpanMs {
                match self { $( Detect::$name(one) => one.reach(step), )+ }
            }

            /// See [`Detector::misfits`].
            pub fn misfits(&self, patience: Patience, metric: &str, step: SpanMs) -> Vec<Misfit> {
                match self { $( Detect::$name(one) => one.misfits(patience, metric, step), )+ }
            }

            /// See [`Detector::learning`].
            pub fn learning(&self, state: &Watched, step: SpanMs) -> Option<(usize, usize)> {
                match (self, state) {
                    $( (Detect::$name(one), Watched::$name(state)) => one.learning(state, step), )+
                    _ => None,
                }
            }

            /// See [`Detector::dials`]. All but silence may also have to last.
            pub fn dials(&self, patience: Patience, step: SpanMs, numbers: &[f64]) -> Vec<Dial> {
                let mut dials = match self {
                    $( Detect::$name(one) => one.dials(patience, step, numbers), )+
                };
                if !dials.iter().any(|(key, _)| *key == "for") {
                    dials.push(("for", windows(step, [0, 2, 3, 6, 12])));
                }
                dials
            }

            /// See [`Detector::measure`].
            pub fn measure(&self) -> &'static str {
                match self { $( Detect::$name(one) => one.measure(), )+ }
            }

            /// See [`Detector::found`].
            pub fn found(&self, verdict: &Verdict) -> String {
                match self { $( Detect::$name(one) => one.found(verdict), )+ }
            }

            /// See [`Detector::words`].
            pub fn words(&self) -> String {
                match self { $( Detect::$name(one) => one.words(), )+ }
            }

            /// See [`Detector::detail`].
            pub fn detail(&self) -> Map<String, Json> {
                match self { $( Detect::$name(one) => one.detail(), )+ }
            }

            /// A state that has seen nothing.
            pub fn start(&self) -> Watched {
                match self {
                    $( Detect::$name(_) => Watched::$name(<$name as Detector>::State::default()), )+
                }
            }

            /// See [`Detector::judge`]. State of another detector begins anew.
            pub fn judge(
                &self,
                patience: Patience,
                state: &mut Watched,
                spread: Spread,
                sample: Sample,
            ) -> Verdict {
                match (self, state) {
                    $( (Detect::$name(one), Watched::$name(state)) => {
                        one.judge(patience, state, spread, sample)
                    } )+
                    (_, state) => {
                        *state = self.start();
                        self.judge(patience, state, spread, sample)
                    }
                }
            }
        }

        impl Section for Detect {
            fn keys(&self) -> &'static [Key] {
                match self { $( Detect::$name(one) => one.keys(), )+ }
            }

            fn values(&self) -> Vec<Value> {
                match self { $( Detect::$name(one) => one.values(), )+ }
            }

            fn set(&mut self, path: &str, value: Value) -> bool {
                match self { $( Detect::$name(one) => one.set(path, value), )+ }
            }
        }

        impl State for Watched {
            fn last(&self) -> Option<EpochMs> {
                match self { $( Watched::$name(one) => one.last(), )+ }
            }

            fn alarm(&self) -> &Alarm {
                match self { $( Watched::$name(one) => one.alarm(), )+ }
            }

            fn is_settled(&self, value: Option<f64>) -> bool {
                match self { $( Watched::$name(one) => one.is_settled(value), )+ }
            }

            fn recurred(&self) -> u64 {
                match self { $( Watched::$name(one) => one.recurred(), )+ }
            }

            fn rings(&mut self) -> [Option<&mut Ring<Known>>; 2] {
                match self { $( Watched::$name(one) => one.rings(), )+ }
            }

            fn restore(&mut self, learned: VecDeque<Known>, held: VecDeque<Known>) {
                match self { $( Watched::$name(one) => one.restore(learned, held), )+ }
            }
        }
    };
}

detectors! {
    Sigma,
    Robust,
    Threshold,
    RateOfChange,
    Absence,
}

impl Detect {
    /// The one of a name, with its defaults.
    pub fn named(word: &str) -> Option<Detect> {
        Detect::all().into_iter().find(|detect| detect.word() == word)
    }
}
