//! How large a message may be: what the server takes, what the stream takes, and what of it the
//! headers need. All who publish judge by this, before anything is sent.

use std::fmt;

use async_nats::HeaderMap;
use thiserror::Error;

/// Bytes around the lines of headers. A message without headers has none of them.
pub const HEADERS_FRAME: usize = "NATS/1.0\r\n\r\n".len();

/// Bytes on the wire of one header, of the lengths of its name and its value.
pub const fn header_line(name: usize, value: usize) -> usize {
    name + value + ": \r\n".len()
}

/// Bytes of the headers on the wire; the server counts them with the payload.
pub fn header_bytes(headers: &HeaderMap) -> usize {
    if headers.is_empty() {
        return 0;
    }
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(|value| header_line(name.len(), value.as_str().len()))
    });
    HEADERS_FRAME + lines.sum::<usize>()
}

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

    /// Whether a message can be sent, of the bytes of its headers and of its payload.
    ///
    /// # Errors
    /// When both together are more than the limit.
    pub fn check(&self, headers: usize, payload: usize) -> Result<(), TooLarge> {
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
        assert_eq!(limit.check(40, 960), Ok(()));
        let error = limit.check(40, 961).unwrap_err();
        assert_eq!((error.headers, error.payload), (40, 961));
    }

    #[test]
    fn headers_are_counted_as_they_are_sent() {
        let mut headers = HeaderMap::new();
        assert_eq!(header_bytes(&headers), 0);
        headers.insert("A", "1");
        headers.append("A", "22");
        headers.insert("Long-Name", "");
        let wire = "NATS/1.0\r\nA: 1\r\nA: 22\r\nLong-Name: \r\n\r\n";
        assert_eq!(header_bytes(&headers), wire.len());
    }
}
