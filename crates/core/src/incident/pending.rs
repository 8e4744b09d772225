//! What stands out and is no incident yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::Phase;
use crate::time::EpochMs;

/// Windows stand out, not for as long as the rule's `for` says: an incident if they go on to, and
/// nothing at all if they stop before. Nothing of it is in a commit of its own, and nobody is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Always [`Phase::Pending`].
    pub phase: Phase,
    /// The rule.
    pub rule: String,
    /// The metric that it watches.
    pub metric: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// Labels of the group; empty for a metric without groups.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub group: BTreeMap<String, String>,
    /// One sentence for a person.
    pub title: String,
    /// When the first window that stands out began.
    pub since: EpochMs,
    /// When it fires at the earliest.
    pub due: EpochMs,
    /// The value that stood out most so far, and how far.
    pub detail: Map<String, Json>,
    /// Where it says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
}
