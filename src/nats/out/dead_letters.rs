//! A dead letter as a message: the bytes as they came, and why in the headers.

use std::sync::Arc;

use super::feed::{Item, Kind};
use super::{OutSettings, Parts, token};
use crate::actors::ports::StoredDeadLetter;

/// Longest text of a header, in characters: the server bounds all headers of a message.
const HEADER_CHARS_MAX: usize = 1_024;

/// The feed of the dead letters.
pub(super) fn kind(settings: &OutSettings, parts: &Parts) -> Kind {
    let feed = format!("{:016x}", parts.seed);
    let (records, own) = (Arc::clone(&parts.records), feed.clone());
    Kind {
        stream: settings.dead_letters_stream.clone(),
        subject: settings.dead_letters_subject.clone(),
        note: "nats-dead-letters.json",
        feed,
        // The whole letter stays in the data folder.
        cut: true,
        read: Arc::new(move |after, limit| {
            let letters = records.dead_letters(after, limit)?;
            Ok(letters.into_iter().map(|letter| item(letter, &own)).collect())
        }),
    }
}

fn item(letter: StoredDeadLetter, feed: &str) -> Item {
    let mut headers = vec![
        ("Tidewatch-Id", letter.id.to_string()),
        ("Tidewatch-Reason", one_line(&letter.reason)),
        ("Tidewatch-Source", one_line(&letter.source)),
        ("Tidewatch-Position", letter.position.to_string()),
        ("Tidewatch-At", letter.at.to_string()),
    ];
    // Whole or not at all: half of it would be no JSON. The store has it in any case.
    let hints = serde_json::to_string(&letter.hints).expect("a map of text to text");
    if !letter.hints.is_empty() && hints.chars().count() <= HEADER_CHARS_MAX {
        headers.push(("Tidewatch-Hints", hints));
    }
    Item {
        n: letter.id,
        id: format!("{feed}-{}", letter.id),
        token: token(&letter.source),
        headers,
        payload: letter.raw.into(),
    }
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
        let item = item(letter, "f");
        assert_eq!((item.id.as_str(), item.payload.as_ref()), ("f-3", &b"{\r\n"[..]));
        let reason = item.headers.iter().find(|(name, _)| *name == "Tidewatch-Reason").unwrap();
        assert_eq!(reason.1, "bad  Nats-Rollup: all");
        assert_eq!(item.headers[5], ("Tidewatch-Hints", r#"{"type":"a\nb"}"#.to_owned()));
        assert_eq!(one_line(&"x".repeat(9_999)).len(), HEADER_CHARS_MAX);
    }
}
