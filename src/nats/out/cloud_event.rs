//! The envelope that all rows have which leave as CloudEvents in structured JSON.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::message::{JetRow, TRUNCATED, own_bytes};
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

/// The shorter form of a row, with its headers of at most `room` bytes: without the field `details` of
/// its data, and if that is not enough with what `cut` leaves. It says so itself (`truncated`, an extension
/// attribute), and in a header. `None` where there is no room for that either.
pub(super) fn shortened(
    row: &JetRow,
    room: usize,
    details: &str,
    cut: impl FnOnce(&mut Value),
) -> Option<(Vec<(&'static str, String)>, Bytes)> {
    let mut headers = row.headers.clone();
    headers.push((TRUNCATED, row.payload.len().to_string()));
    let room = room.checked_sub(own_bytes(&headers))?;
    let mut event: Value = serde_json::from_slice(&row.payload).ok()?;
    event["truncated"] = true.into();
    event["data"].as_object_mut()?.remove(details);
    let whole = event.to_string();
    if whole.len() <= room {
        return Some((headers, whole.into()));
    }
    cut(&mut event);
    let short = event.to_string();
    (short.len() <= room).then(|| (headers, short.into()))
}

/// Keeps the beginning of a text; what is none stays.
pub(super) fn begin(text: &mut Value) {
    let end = text.as_str().and_then(|text| text.char_indices().nth(SHORT_CHARS));
    if let Some((end, _)) = end {
        *text = text.as_str().map(|text| &text[..end]).into();
    }
}
