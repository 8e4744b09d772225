//! How large a message may be: what the server takes and what the stream takes. All who publish
//! judge by this, before anything is sent.

use std::fmt;

use thiserror::Error;

use crate::post::{Post, batch_bytes, id_bytes};

/// What one stream takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamLimit {
    stream: String,
    bytes: usize,
}

impl StreamLimit {
    /// The `max_msg_size` of a stream in bytes; 0 and less are no limit.
    pub fn of(stream: &str, max_msg_size: i32) -> Option<StreamLimit> {
        let bytes = usize::try_from(max_msg_size).ok().filter(|bytes| *bytes > 0)?;
        Some(StreamLimit { stream: stream.to_owned(), bytes })
    }

    /// Most bytes of a message, at least 1.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The most bytes of a message, headers included. Displays as whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit<'a> {
    bytes: usize,
    /// `None`: the server's.
    stream: Option<&'a str>,
}

impl<'a> Limit<'a> {
    /// The narrower one of a server's and a stream's. A `max_payload` of 0 is no limit: so it is
    /// until the server was met, and nothing is sent then.
    pub fn of(max_payload: usize, stream: Option<&'a StreamLimit>) -> Limit<'a> {
        let server = if max_payload > 0 { max_payload } else { usize::MAX };
        match stream.filter(|stream| stream.bytes <= server) {
            Some(StreamLimit { stream, bytes }) => Limit { bytes: *bytes, stream: Some(stream) },
            None => Limit { bytes: server, stream: None },
        }
    }

    /// Most bytes of a message, headers included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a message can be sent.
    ///
    /// # Errors
    /// When it is more than the limit.
    pub fn check(&self, post: &Post) -> Result<(), TooLarge> {
        self.check_bytes(post.header_bytes(), post.payload.len())
    }

    /// Whether a message with an id of so many bytes and a payload can be sent.
    pub(crate) fn check_named(&self, id: usize, payload: usize) -> Result<(), TooLarge> {
        self.check_bytes(id_bytes(id), payload)
    }

    /// Whether a message with headers can be the `n`th of a batch, from 1, and its last.
    pub fn takes_in_batch(&self, post: &Post, n: usize) -> bool {
        self.check_bytes(post.header_bytes() + batch_bytes(n), post.payload.len()).is_ok()
    }

    pub(crate) fn check_bytes(&self, headers: usize, payload: usize) -> Result<(), TooLarge> {
        if headers + payload <= self.bytes {
            Ok(())
        } else {
            Err(TooLarge { payload, headers, limit: self.to_string() })
        }
    }
}

impl fmt::Display for Limit<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stream {
            Some(stream) => write!(out, "the max_msg_size of stream {stream}")?,
            None => write!(out, "the NATS server's max_payload")?,
        }
        write!(out, " is {} bytes", self.bytes)
    }
}

/// A message is larger than its limit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("an event of {payload} bytes is too long: {limit}, {headers} of them for headers")]
pub struct TooLarge {
    /// Bytes of the event.
    pub payload: usize,
    /// Bytes of its headers.
    pub headers: usize,
    /// The limit and whose it is.
    pub limit: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrower_limit_counts_and_is_named() {
        let check = |payload, stream, bytes, words: &str| {
            let stream = StreamLimit::of("S", stream);
            let limit = Limit::of(payload, stream.as_ref());
            assert_eq!(limit.bytes(), bytes);
            assert!(limit.to_string().contains(words), "{limit}");
        };
        check(1_000, -1, 1_000, "the NATS server's max_payload is 1000 bytes");
        check(1_000, 0, 1_000, "max_payload");
        check(1_000, 900, 900, "the max_msg_size of stream S is 900 bytes");
        check(1_000, 2_000, 1_000, "max_payload");
        check(0, 900, 900, "max_msg_size");
        check(0, -1, usize::MAX, "max_payload");
    }

    #[test]
    fn a_message_at_the_limit_is_taken_and_one_byte_more_is_not() {
        let limit = Limit::of(1_000, None);
        let named = |payload| Post::new("s", vec![0; payload]).id("four");
        let room = 1_000 - id_bytes(4);
        assert_eq!(limit.check(&named(room)), Ok(()));
        let error = limit.check(&named(room + 1)).unwrap_err();
        assert_eq!((error.headers, error.payload), (id_bytes(4), room + 1));
        for (payload, n, fits) in [(0, 9, true), (0, 10, false), (1, 9, false)] {
            let post = named(room - batch_bytes(9) + payload);
            assert_eq!(limit.takes_in_batch(&post, n), fits, "{payload} {n}");
        }
    }
}
