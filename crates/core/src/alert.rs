//! Alerts: what is worth telling somebody, once.

use serde::{Deserialize, Serialize};

use super::time::EpochMs;

/// One alert. The id is a function of what it says (I4), so a repeat after a
/// crash carries the same id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Position in the feed, 1 for the first alert of a data folder.
    #[serde(default)]
    pub n: u64,
    /// 32 hex digits.
    pub id: String,
    /// `abandoned` or `anomaly`.
    pub kind: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// Event time the alert is about: the deadline that passed, the end of the
    /// pane that stood out.
    pub at: EpochMs,
    /// The session's key, or the metric's name.
    pub subject: String,
    /// One sentence for a person.
    pub title: String,
    /// The facts behind it, for machines.
    pub detail: serde_json::Value,
}

/// The deterministic id of an alert.
pub fn alert_id(kind: &str, subject: &str, at: EpochMs) -> String {
    let mut text = Vec::with_capacity(kind.len() + subject.len() + 22);
    text.extend_from_slice(kind.as_bytes());
    text.push(0);
    text.extend_from_slice(subject.as_bytes());
    text.push(0);
    text.extend_from_slice(&at.to_le_bytes());
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&text))
}
