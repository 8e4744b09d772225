//! What goes out: one thing on one route, once.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Recipient;
use crate::time::EpochMs;

/// What a notification says of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It holds.
    Fired,
    /// It still holds.
    Again,
    /// Somebody takes care of it.
    Acknowledged,
    /// It is over.
    Resolved,
    /// An occurrence.
    Occurred,
    /// Several things together.
    Digest,
    /// A word to the one whom it is about: you left something in your cart.
    Nudge,
}

impl Step {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Step::Fired => "fired",
            Step::Again => "again",
            Step::Acknowledged => "acknowledged",
            Step::Resolved => "resolved",
            Step::Occurred => "occurred",
            Step::Digest => "digest",
            Step::Nudge => "nudge",
        }
    }
}

/// What goes out on a route. It is committed with what it follows from; whoever delivers it may do so
/// twice after a crash, with the same key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Its place among all, from 1 for the first of a data folder.
    pub n: u64,
    /// 32 hex digits: the same for the same thing, route and step. Receivers that take a key only
    /// once take it only once.
    pub key: String,
    /// The route.
    pub route: String,
    /// The channel that delivers it.
    pub channel: String,
    /// What it says.
    pub step: Step,
    /// When, in event time.
    pub at: EpochMs,
    /// What it is about: the id of the incident or occurrence; the route's name for a digest.
    pub about: String,
    /// An incident, an occurrence, or `{since, until, count, value, named}`; of a nudge `{value,
    /// currency, items, more, first, last}` and attributes of the session, of which each may be missing.
    pub facts: Json,
    /// Whom it goes to, of a nudge; everything else goes to whom the channel says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
}

impl Notification {
    /// The same as people may see it: the recipient is masked, also where the facts name them.
    pub fn masked(&self) -> Notification {
        let mut masked = self.clone();
        if let Some(recipient) = &self.recipient {
            recipient.hide_in(&mut masked.facts);
            let address = recipient.masked();
            masked.recipient = Some(Recipient { address, unsubscribe: None });
        }
        masked
    }
}

/// The key of a notification; `nth` tells those apart that may come more than once.
pub fn notification_key(about: &str, route: &str, step: Step, nth: u64) -> String {
    let text = format!("{about}\0{route}\0{}\0{nth}", step.word());
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}
