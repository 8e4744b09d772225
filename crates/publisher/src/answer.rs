//! What a stream answers to a publish, and what follows from it.

use async_nats::{Message, StatusCode};
use serde::Deserialize;

/// The stream has no atomic batches, or the server does not know them.
pub(super) const ATOMIC_DISABLED: u64 = 10_174;

/// The message is longer than the stream's `max_msg_size`.
pub(super) const MESSAGE_TOO_LARGE: u64 = 10_054;

/// An answer of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is in the stream.
    Acked {
        /// It was there already.
        duplicate: bool,
        /// Messages of the committed batch; `None` for a single message.
        batch: Option<u64>,
    },
    /// Not now: the same message may be taken later.
    Again(String),
    /// Never, with the server's number of the error.
    Refused(u64, String),
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    seq: u64,
    count: Option<u64>,
    error: Option<Error>,
}

#[derive(Deserialize)]
struct Error {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Answer {
    pub fn of(message: &Message) -> Answer {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Answer::Again("no stream takes this subject".into());
        }
        Answer::read(&message.payload)
    }

    fn read(payload: &[u8]) -> Answer {
        match serde_json::from_slice::<Wire>(payload) {
            Ok(Wire { error: Some(error), .. }) => error.answer(),
            Ok(wire) if wire.seq > 0 => {
                Answer::Acked { duplicate: wire.duplicate, batch: wire.count }
            }
            Ok(_) => Answer::Again("the answer names no sequence".into()),
            Err(error) => Answer::Again(format!("the answer is not understood: {error}")),
        }
    }
}

impl Error {
    /// 5xx is the server's trouble (no leader, no room): it passes. The rest is ours.
    fn answer(self) -> Answer {
        let text = format!("{} (error {})", self.description, self.err_code);
        match self.code {
            500.. => Answer::Again(text),
            _ => Answer::Refused(self.err_code, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let acked = |duplicate, batch| Answer::Acked { duplicate, batch };
        for (payload, expected) in [
            (r#"{"stream":"S","seq":7}"#, acked(false, None)),
            (r#"{"stream":"S","seq":7,"duplicate":true}"#, acked(true, None)),
            (r#"{"stream":"S","seq":7,"batch":"b","count":3}"#, acked(false, Some(3))),
            (
                r#"{"error":{"code":400,"err_code":10201,"description":"twice"},"stream":"S","seq":0}"#,
                Answer::Refused(10_201, "twice (error 10201)".into()),
            ),
            (
                r#"{"error":{"code":503,"err_code":10008,"description":"busy"}}"#,
                Answer::Again("busy (error 10008)".into()),
            ),
        ] {
            assert_eq!(Answer::read(payload.as_bytes()), expected, "{payload}");
        }
        assert!(matches!(Answer::read(b""), Answer::Again(_)));
    }
}
