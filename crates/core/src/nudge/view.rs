//! How nudges stand, for people and gauges.

use std::collections::BTreeMap;

use serde::Serialize;

use super::desk::{Nudges, Outcome};
use super::uplift::{ENOUGH, Uplift, uplift};

/// How a nudge stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NudgeView {
    /// Its name.
    pub name: String,
    /// The kind of sessions that it is of.
    pub of: String,
    /// The channel that delivers it.
    pub channel: String,
    /// The share of keys that are not told.
    pub holdout: f64,
    /// For how long a goal counts, in ms.
    pub within: i64,
    /// Abandoned sessions by what became of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Those that wait for `after` to be over.
    pub waiting: u64,
    /// Those that were told.
    pub told: ArmView,
    /// Those that were kept apart.
    pub held_out: ArmView,
    /// Decisions that are on neither side: of keys whose first one is compared, or beyond `keys_max` keys.
    pub not_compared: u64,
    /// What it brings about; `None` while either arm has fewer than `enough`.
    pub uplift: Option<Uplift>,
    /// Of so many on either side something is said.
    pub enough: u64,
    /// Keys that are remembered.
    pub keys: u64,
    /// Most of them.
    pub keys_max: u64,
    /// Addresses that said they want no more of it, by its link.
    pub unsubscribed: u64,
}

/// One side of the comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArmView {
    /// Decisions that are over: `within` has passed.
    pub finished: u64,
    /// Those of them that a goal followed.
    pub converted: u64,
    /// Decisions whose time is not over.
    pub running: u64,
}

impl Nudges {
    /// How each stands, in the order of the configuration.
    pub fn views(&self) -> Vec<NudgeView> {
        let both = self.settings.nudges.iter().zip(&self.states);
        let view = |(spec, state): (&super::NudgeSpec, &super::desk::State)| {
            let [told, held_out] = state.numbers.arms;
            let enough = told.finished.min(held_out.finished) >= ENOUGH;
            let difference =
                uplift((told.converted, told.finished), (held_out.converted, held_out.finished));
            NudgeView {
                name: spec.name.clone(),
                of: spec.of.clone(),
                channel: spec.channel.clone(),
                holdout: spec.holdout,
                within: spec.within,
                outcomes: Outcome::ALL
                    .into_iter()
                    .map(|one| (one.word(), state.numbers.count(one)))
                    .collect(),
                waiting: state.waiting.len() as u64,
                told: told.view(),
                held_out: held_out.view(),
                not_compared: state.numbers.not_compared,
                uplift: difference.filter(|_| enough),
                enough: ENOUGH,
                keys: state.people.len() as u64,
                keys_max: spec.keys_max as u64,
                unsubscribed: state.numbers.unsubscribed,
            }
        };
        both.map(view).collect()
    }

    /// How many addresses are suppressed, and how many may be.
    pub fn suppressed(&self) -> (usize, usize) {
        (self.suppressed.len(), self.settings.suppressed_max)
    }

    /// True when there are nudges.
    pub fn any(&self) -> bool {
        !self.settings.nudges.is_empty()
    }
}
