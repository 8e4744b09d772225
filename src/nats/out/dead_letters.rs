//! A dead letter as a message: the bytes as they came, and why in the headers.

use std::sync::Arc;

use bytes::Bytes;

use super::message::{JetRow, TRUNCATED, Target, own_bytes};
use super::token;
use crate::actors::ports::{Records, StoreError, StoredDeadLetter};
use crate::nats::settings::OutSettings;
use crate::sink::Rows;

/// Longest text of a header, in characters: the server bounds all headers of a message.
const HEADER_CHARS_MAX: usize = 1_024;

const REASON: &str = "Tidewatch-Reason";
const HINTS: &str = "Tidewatch-Hints";

/// The dead letters, as they are committed.
pub(super) struct Letters {
    records: Arc<dyn Records>,
    /// Name of the data folder: their ids begin with it.
    feed: String,
}

impl Letters {
    /// Of a data folder, by its name.
    pub fn new(records: &Arc<dyn Records>, feed: &str) -> Letters {
        Letters { records: Arc::clone(records), feed: feed.into() }
    }
}

impl Rows<JetRow> for Letters {
    fn after(&self, n: u64, limit: usize) -> Result<Vec<JetRow>, StoreError> {
        let letters = self.records.dead_letters(n, limit)?;
        Ok(letters.into_iter().map(|letter| row(letter, &self.feed)).collect())
    }

    fn count_after(&self, n: u64) -> Result<u64, StoreError> {
        Ok(self.records.dead_letters_newest()?.saturating_sub(n))
    }
}

/// Where they go.
pub(super) fn target(settings: &OutSettings, feed: &str) -> Target {
    Target {
        stream: settings.dead_letters_stream.clone(),
        subject: settings.dead_letters_subject.clone(),
        made_for: settings.dead_letters_subject.clone(),
        feed: feed.into(),
        shorten,
    }
}

fn row(letter: StoredDeadLetter, feed: &str) -> JetRow {
    let mut headers = vec![
        ("Tidewatch-Id", letter.id.to_string()),
        (REASON, one_line(&letter.reason)),
        ("Tidewatch-Source", one_line(&letter.source)),
        ("Tidewatch-Position", letter.position.to_string()),
        ("Tidewatch-At", letter.at.to_string()),
    ];
    // Whole or not at all: half of it would be no JSON. The store has it in any case.
    let hints = serde_json::to_string(&letter.hints).expect("a map of text to text");
    if !letter.hints.is_empty() && hints.chars().count() <= HEADER_CHARS_MAX {
        headers.push((HINTS, hints));
    }
    JetRow {
        n: letter.id,
        id: format!("{feed}-{}", letter.id),
        token: token(&letter.source),
        headers,
        payload: letter.raw.into(),
        refused: None,
    }
}

/// The beginning of its bytes, and if need be of its reason: the data folder has the whole letter
/// as long as its bounds allow. A header says how many bytes it has.
fn shorten(row: &JetRow, room: usize) -> Option<(Vec<(&'static str, String)>, Bytes)> {
    let mut headers = row.headers.clone();
    headers.push((TRUNCATED, row.payload.len().to_string()));
    if own_bytes(&headers) > room {
        headers.retain(|(name, _)| *name != HINTS);
    }
    let over = own_bytes(&headers).saturating_sub(room);
    if over > 0 {
        let (_, reason) = headers.iter_mut().find(|(name, _)| *name == REASON)?;
        let end = reason.floor_char_boundary(reason.len().checked_sub(over)?);
        reason.truncate(end);
        return Some((headers, Bytes::new()));
    }
    let len = row.payload.len().min(room - own_bytes(&headers));
    Some((headers, row.payload.slice(..len)))
}

/// Text that a header can hold. A reason may quote what came from outside.
fn one_line(text: &str) -> String {
    let safe = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(HEADER_CHARS_MAX).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_add_a_header() {
        let letter = StoredDeadLetter {
            id: 3,
            source: "EVENTS".into(),
            position: 9,
            reason: "bad\r\nNats-Rollup: all".into(),
            raw: b"{\r\n".to_vec(),
            at: 5,
            redriven: None,
            hints: serde_json::from_str(r#"{"type":"a\nb"}"#).unwrap(),
        };
        let row = row(letter, "f");
        assert_eq!((row.id.as_str(), row.payload.as_ref()), ("f-3", &b"{\r\n"[..]));
        let reason = row.headers.iter().find(|(name, _)| *name == "Tidewatch-Reason").unwrap();
        assert_eq!(reason.1, "bad  Nats-Rollup: all");
        assert_eq!(row.headers[5], ("Tidewatch-Hints", r#"{"type":"a\nb"}"#.to_owned()));
        assert_eq!(one_line(&"x".repeat(9_999)).len(), HEADER_CHARS_MAX);
    }

    #[test]
    fn a_letter_that_is_too_large_keeps_what_fits_of_it_and_says_so() {
        let letter = StoredDeadLetter {
            id: 3,
            source: "EVENTS".into(),
            position: 9,
            reason: "é".repeat(200),
            raw: vec![b'x'; 5_000],
            at: 5,
            redriven: None,
            hints: serde_json::from_str(r#"{"type":"order"}"#).unwrap(),
        };
        let row = row(letter, "f");
        let whole = own_bytes(&row.headers) + row.payload.len();
        for room in (0..whole).rev() {
            let Some((headers, payload)) = shorten(&row, room) else {
                // Its place must be told in any case.
                assert!(room < 200, "{room}");
                break;
            };
            let reason = &headers.iter().find(|(name, _)| *name == REASON).unwrap().1;
            let used = own_bytes(&headers) + payload.len();
            assert!(used == room || (used + 1 == room && payload.is_empty()), "{used} {room}");
            assert!(row.payload.starts_with(&payload));
            assert!("é".repeat(200).starts_with(reason.as_str()));
            assert!(reason.chars().count() == 200 || payload.is_empty(), "bytes go first");
            assert_eq!(headers.last(), Some(&(TRUNCATED, "5000".to_owned())));
        }
    }
}
