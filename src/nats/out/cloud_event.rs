//! The envelope that all rows have which leave as CloudEvents in structured JSON.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::time::EpochMs;

/// Content type of their messages.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Longest text of an event in its shorter form, in characters.
pub(super) const SHORT_CHARS: usize = 100;

/// What an event says besides its data.
pub(super) struct Envelope<'a> {
    /// The same for the same row.
    pub id: &'a str,
    /// Name of the data folder.
    pub feed: &'a str,
    /// `alert.abandoned`, `incident.fired`.
    pub of: String,
    /// Position in the feed: the extension `sequence`.
    pub n: u64,
    /// Event time.
    pub at: EpochMs,
    /// What it is about; may be empty.
    pub subject: &'a str,
}

impl Envelope<'_> {
    /// The event.
    pub fn around(&self, data: Value) -> Value {
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id,
            "source": format!("/tidewatch/{}", self.feed),
            "type": format!("tidewatch.{}", self.of),
            "datacontenttype": "application/json",
            "sequence": format!("{:020}", self.n),
            "data": data,
        });
        // Both may be left out, and must not be empty.
        if !self.subject.is_empty() {
            event["subject"] = self.subject.into();
        }
        if let Ok(time) = Timestamp::from_millisecond(self.at) {
            event["time"] = time.to_string().into();
        }
        event
    }
}
