//! Sessions: one key's activity, closed by silence.

mod aliases;
mod at_risk;
mod carts;
mod closed;
mod contents;
mod effects;
mod identify;
mod late;
mod machine;
mod policy;
mod record;
mod rules;
mod state;
#[cfg(test)]
mod tests;
mod undo;
mod view;

pub use aliases::{AliasBounds, Aliases};
pub use closed::Closed;
pub(crate) use contents::Contents;
pub use effects::{Changes, Cut, Ending, Outcome, STEPS_MAX, SessionEffects};
pub use late::{Late, late_alone};
pub use machine::Machine;
pub use policy::{Deadline, SessionPolicy};
pub use record::{SEGMENT_BYTES_MAX, SEGMENTS_MAX, Segments};
pub use rules::{Needs, Rules, SessionEvent, TypeMeaning};
pub use undo::Undo;

use serde::Serialize;

use super::time::{EpochMs, SpanMs};

/// What a person sees of one key's open sessions (`GET /v1/sessions/{key}`).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SessionView {
    /// The session key.
    pub key: String,
    /// Event time the view was taken at (the shard's watermark).
    pub watermark: EpochMs,
    /// The open sessions of `[session]`, oldest first; rarely more than one.
    pub sessions: Vec<OpenSession>,
    /// Those of kinds of their own, one of each at most.
    pub kinds: Vec<OpenOfKind>,
}

/// One open session of a kind of its own, as far as the watermark has passed it by the lateness.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenOfKind {
    /// The name of the kind.
    pub kind: String,
    /// `browsing`, `at_risk` (entry without goal) or `converted`.
    pub state: &'static str,
    /// Furthest step reached, empty when none was.
    pub step: String,
    /// First event.
    pub first: EpochMs,
    /// Last event.
    pub last: EpochMs,
    /// Events so far.
    pub events: u64,
    /// Further events of the key, that the watermark has not passed by the lateness.
    pub waiting: u64,
    /// When it closes if nothing more comes.
    pub deadline: EpochMs,
    /// From the watermark to the deadline; negative while it waits for late events.
    pub remaining_ms: SpanMs,
    /// Value at stake, in whatever the attribute `value` of the kind is in.
    pub value: f64,
    /// What is counted apart.
    pub counts: std::collections::BTreeMap<String, u64>,
    /// The attributes that the kind declares, as far as they are known.
    pub attributes: std::collections::BTreeMap<String, serde_json::Value>,
}

/// One open session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenSession {
    /// `browsing`, `at_risk` (entry without goal) or `converted`.
    pub state: &'static str,
    /// Furthest step reached, empty when none was.
    pub step: String,
    /// First event.
    pub first: EpochMs,
    /// Last event.
    pub last: EpochMs,
    /// Events so far.
    pub events: u64,
    /// When it closes if nothing more comes.
    pub deadline: EpochMs,
    /// From the watermark to the deadline; negative while it waits for late events.
    pub remaining_ms: SpanMs,
    /// Value at stake, in the configured currency.
    pub value: f64,
    /// Currency.
    pub currency: String,
    /// Latest segment (region), empty when unknown.
    pub segment: String,
    /// Events by type: the configured ones by name, the rest as `other`.
    pub counts: std::collections::BTreeMap<String, u64>,
    /// The latest events, oldest first.
    pub trail: Vec<TrailEntry>,
}

/// One event of a session's trail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrailEntry {
    /// Event time.
    pub at: EpochMs,
    /// Event type, `other` when it is not a configured one.
    #[serde(rename = "type")]
    pub event_type: String,
}
