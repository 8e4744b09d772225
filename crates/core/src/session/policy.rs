//! What opens, completes and abandons a session; all of it configuration.

use crate::domain::time::SpanMs;

/// The rules of sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPolicy {
    /// Silence that ends a session. An event exactly this long after the last one
    /// still belongs.
    pub gap: SpanMs,
    /// When an entry without a goal counts as abandoned.
    pub deadline: Deadline,
    /// Event types that put something at stake (`cart_add`).
    pub entry: Vec<String>,
    /// Event types that complete it (`payment_completed`).
    pub goal: Vec<String>,
    /// Event types that take an entry, or its value, back (`cart_remove`).
    pub remove: Vec<String>,
    /// Event types that show progress, in funnel order; the furthest one reached is
    /// the session's step. At most 15.
    pub steps: Vec<String>,
    /// Longest session: one that goes on longer is cut; `None` for no bound.
    pub max_length: Option<SpanMs>,
    /// Most entries, removals and goals of a key kept in order under `since_entry`.
    pub marks_max: usize,
    /// Attribute with the key of a visitor who is not known yet. An event that carries the key
    /// as well says whose visitor it was.
    pub identify: Option<String>,
    /// How long that is remembered after its last use, at least.
    pub identify_keep: SpanMs,
    /// Most anonymous keys that are remembered.
    pub aliases_max: usize,
    /// Most bytes of them.
    pub aliases_bytes_max: usize,
    /// Most bytes of a session key.
    pub key_bytes_max: usize,
    /// Attribute summed over entry events: the value at stake.
    pub value: Option<String>,
    /// Attribute kept as the session's segment (`region`); the latest one wins.
    pub segment: Option<String>,
    /// Unit of the value (`EUR`), for people.
    pub currency: String,
}

/// When an entry without a goal counts as abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// When the session ends by silence without a goal anywhere in it.
    Inactivity,
    /// When `gap` has passed since the last entry event without a goal, whatever else the
    /// user does meanwhile.
    SinceEntry,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        SessionPolicy {
            gap: 30 * 60 * 1000,
            deadline: Deadline::Inactivity,
            entry: vec!["cart_add".into()],
            goal: vec!["payment_completed".into()],
            remove: vec!["cart_remove".into()],
            steps: ["page_view", "cart_add", "payment_initiated", "payment_completed"]
                .map(String::from)
                .into(),
            max_length: None,
            marks_max: 1_024,
            identify: None,
            identify_keep: 24 * 60 * 60 * 1_000,
            aliases_max: 1_000_000,
            aliases_bytes_max: 256 << 20,
            key_bytes_max: 1_024,
            value: Some("amount".into()),
            segment: Some("region".into()),
            currency: "EUR".into(),
        }
    }
}
