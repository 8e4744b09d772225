//! Rules: what notices that a metric stands out.
//!
//! What all rules have stands in [`Rule`]; how one draws its line is a [`Detector`], a type in one
//! file and a line in the list below. When standing out is an alert, and when that is over, is the
//! same for all ([`Alarm`]).

mod alarm;
mod ring;
mod samples;
mod sigma;
mod spread;
mod threshold;

pub use alarm::{Alarm, Patience};
pub use ring::{Ring, RingChange};
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
    /// The metric it watches (without `group_by`); each final window is one sample.
    pub metric: String,
    /// When standing out is an alert.
    pub patience: Patience,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// How it draws its line.
    pub detect: Detect,
}

/// Which side of a line stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Values above.
    Above,
    /// Values below.
    Below,
}

impl Word for Side {
    const WORDS: &'static [(&'static str, Self)] =
        &[("above", Side::Above), ("below", Side::Below)];
}

impl Side {
    /// True when a value lies beyond a line on this side.
    pub fn is_beyond(self, value: f64, line: f64) -> bool {
        match self {
            Side::Above => value > line,
            Side::Below => value < line,
        }
    }
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
    /// What is usual; `None` while too little is known, or where nothing is learned.
    pub mean: Option<f64>,
    /// Where the rule draws its line.
    pub limit: Option<f64>,
    /// An alert goes up, or is over.
    pub change: Option<Change>,
}

/// An alert goes up, or is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// This window is worth an alert.
    Rises,
    /// The alert is over.
    Over(Past),
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
    /// The number that stood out most.
    pub peak: f64,
    /// It did not go away but lasted so long that it is usual now.
    pub usual: bool,
}

/// End and number of a window.
pub type Known = (EpochMs, f64);

/// What a detector keeps of a metric.
pub trait State {
    /// End of the newest sample.
    fn last(&self) -> Option<EpochMs>;

    /// True when more samples of this value change nothing any more.
    fn is_settled(&self, value: Option<f64>) -> bool;

    /// Lists that go into commits by what changed: what was learned, and what stood out.
    fn rings(&mut self) -> Option<[&mut Ring<Known>; 2]> {
        None
    }

    /// Puts these lists back.
    fn restore(&mut self, _learned: VecDeque<Known>, _held: VecDeque<Known>) {}
}

/// What its keys cannot be: the keys, and the rule that they break.
pub type Misfit = (Vec<&'static str>, String);

/// One way to draw a line: its settings, which are its keys in `[[rule]]`, and what is made of
/// them.
pub trait Detector: Section + Default {
    /// What it keeps.
    type State: State + Default;

    /// Its name in the configuration.
    const WORD: &'static str;

    /// What it is, for people who choose one.
    const SAYS: &'static str;

    /// Gives keys whose default comes from others their value.
    fn fill(&mut self) {}

    /// How long no window must stand out, where a rule does not say.
    fn cooldown(&self) -> SpanMs;

    /// How far back what it knows reaches.
    fn reach(&self) -> SpanMs;

    /// What cannot be, given the distance between two windows of the metric.
    fn misfits(&self, _patience: Patience, _metric: &str, _step: SpanMs) -> Vec<Misfit> {
        Vec::new()
    }

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

    /// What an alert says besides value, mean and limit.
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
            pub fn fill(&mut self) {
                match self { $( Detect::$name(one) => one.fill(), )+ }
            }

            /// See [`Detector::cooldown`].
            pub fn cooldown(&self) -> SpanMs {
                match self { $( Detect::$name(one) => one.cooldown(), )+ }
            }

            /// See [`Detector::reach`].
            pub fn reach(&self) -> SpanMs {
                match self { $( Detect::$name(one) => one.reach(), )+ }
            }

            /// See [`Detector::misfits`].
            pub fn misfits(&self, patience: Patience, metric: &str, step: SpanMs) -> Vec<Misfit> {
                match self { $( Detect::$name(one) => one.misfits(patience, metric, step), )+ }
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

            fn is_settled(&self, value: Option<f64>) -> bool {
                match self { $( Watched::$name(one) => one.is_settled(value), )+ }
            }

            fn rings(&mut self) -> Option<[&mut Ring<Known>; 2]> {
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
    Threshold,
}

impl Detect {
    /// The one of a name, with its defaults.
    pub fn named(word: &str) -> Option<Detect> {
        Detect::all().into_iter().find(|detect| detect.word() == word)
    }
}
