//! What a stream answers to a publish, and what follows from it.

use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Message, StatusCode};
use serde::Deserialize;

use crate::limit::TooLarge;

/// An answer of the stream, or what is known without one.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is in the stream.
    Acked {
        /// Sequence of the message, of the last one of a batch; of a duplicate, that of the
        /// message that was there.
        sequence: u64,
        /// It was there already.
        duplicate: bool,
        /// Messages of the committed batch; `None` for a single message.
        batch: Option<u64>,
    },
    /// Not now: the same message may be taken later.
    Again(String),
    /// Never, with the server's number of the error.
    Refused(ErrorCode, String),
    /// Nobody said. It may be in the stream.
    Unknown(String),
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    seq: u64,
    count: Option<u64>,
    error: Option<jetstream::Error>,
}

impl Answer {
    /// Of a message that came to the publish's reply subject.
    pub(super) fn of(message: &Message) -> Answer {
        match message.status {
            // So it is too while a stream has no leader.
            Some(StatusCode::NO_RESPONDERS) => {
                Answer::Again("no stream takes the subject now".into())
            }
            _ => Answer::read(&message.payload),
        }
    }

    /// Of a message that is not sent.
    pub(super) fn too_large(error: TooLarge) -> Answer {
        Answer::Refused(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, error.to_string())
    }

    /// The sequence of the message, the last one of a batch.
    ///
    /// # Errors
    /// Why it is not in the stream, as far as is known.
    pub fn sequence(self) -> Result<u64, String> {
        match self {
            Answer::Acked { sequence, .. } => Ok(sequence),
            Answer::Again(why) | Answer::Refused(_, why) | Answer::Unknown(why) => Err(why),
        }
    }

    fn read(payload: &[u8]) -> Answer {
        match serde_json::from_slice::<Wire>(payload) {
            Ok(Wire { error: Some(error), .. }) => Answer::said(&error),
            Ok(Wire { seq, duplicate, count, .. }) if seq > 0 => {
                Answer::Acked { sequence: seq, duplicate, batch: count }
            }
            Ok(_) => Answer::Unknown("the answer names no sequence".into()),
            Err(error) => Answer::Unknown(format!("the answer is not understood: {error}")),
        }
    }

    /// 5xx is the server's trouble (no leader, no room): it passes. The rest is ours.
    fn said(error: &jetstream::Error) -> Answer {
        match error.code() {
            500.. => Answer::Again(error.to_string()),
            _ => Answer::Refused(error.error_code(), error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let acked = |duplicate, batch| Answer::Acked { sequence: 7, duplicate, batch };
        for (payload, expected) in [
            (r#"{"stream":"S","seq":7}"#, acked(false, None)),
            (r#"{"stream":"S","seq":7,"duplicate":true}"#, acked(true, None)),
            (r#"{"stream":"S","seq":7,"batch":"b","count":3}"#, acked(false, Some(3))),
            (
                r#"{"error":{"code":400,"err_code":10201,"description":"twice"},"stream":"S","seq":0}"#,
                Answer::Refused(ErrorCode(10_201), "twice (code 400, error code 10201)".into()),
            ),
            (
                r#"{"error":{"code":503,"err_code":10008,"description":"busy"}}"#,
                Answer::Again("busy (code 503, error code 10008)".into()),
            ),
        ] {
            assert_eq!(Answer::read(payload.as_bytes()), expected, "{payload}");
        }
        assert!(matches!(Answer::read(b""), Answer::Unknown(_)));
    }
}
