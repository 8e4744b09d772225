//! Occurrences: moments that are worth telling somebody, once. Their feed has the name of alerts.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

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
    /// `abandoned`, `pattern`, `join` or `sessions`. Data folders of older versions may hold `anomaly`
    /// and `over`: lines of rules, of which incidents are made now.
    pub kind: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// Event time the alert is about: the deadline that passed, the last event of a match.
    pub at: EpochMs,
    /// The key of the session or match.
    pub subject: String,
    /// One sentence for a person.
    pub title: String,
    /// The facts behind it, for machines.
    pub detail: Detail,
}

impl Alert {
    /// False for a line of a rule, which only data folders of older versions hold.
    pub fn is_occurrence(&self) -> bool {
        !["anomaly", "over"].contains(&&*self.kind)
    }
}

/// A JSON object, kept as it is written: it is made once, passed on several times, and nobody
/// on the way looks into it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Detail(Box<RawValue>);

impl Detail {
    /// The object that `facts` are in JSON.
    ///
    /// # Panics
    /// When they are no JSON: a map with other keys than texts.
    pub fn of(facts: &impl Serialize) -> Detail {
        Detail(to_raw_value(facts).expect("the facts of an alert have names"))
    }

    /// The JSON.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Detail {
    fn eq(&self, other: &Detail) -> bool {
        self.text() == other.text()
    }
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
