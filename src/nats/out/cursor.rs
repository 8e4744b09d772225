//! How far a feed got. The stream itself says it: its last message of the feed carries
//! the position. So nothing has to be written after a message, and nothing can be lost
//! in between.
//!
//! A stream forgets, though (`max_age`, a purge). When it holds no message of the feed any
//! more, the feed's note says how far it got in this incarnation of the stream. A stream that
//! was made again gets everything that is still kept.

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};

use super::{HEADER_FEED, HEADER_N};

/// Where a feed stands in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Position of the last item that the stream got, 0 for none.
    pub n: u64,
    /// Sequence of its message, 0 when the stream holds none of the feed: what the next
    /// message is fenced with.
    pub sequence: u64,
}

/// Reads the cursor from the stream; `filter` matches the feed's messages and no others.
///
/// # Errors
/// When the server does not answer, or the message is none of ours.
pub(super) async fn read(stream: &Stream, filter: &str, feed: &str) -> Result<Cursor, String> {
    let message = match stream.get_last_raw_message_by_subject(filter).await {
        Ok(message) => message,
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
            return Ok(Cursor::default());
        }
        Err(error) => return Err(format!("the last message of {filter}: {error}")),
    };
    let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
    let n = header(HEADER_N).and_then(|text| text.parse().ok());
    match n.filter(|_| header(HEADER_FEED) == Some(feed)) {
        Some(n) => Ok(Cursor { n, sequence: message.sequence }),
        None => Err(format!(
            "message {} on {} was not written by tidewatch; delete it, or choose another subject",
            message.sequence, message.subject
        )),
    }
}

/// True when the message with this sequence is there and has this id.
pub(super) async fn holds(stream: &Stream, sequence: u64, id: &str) -> bool {
    let message = stream.get_raw_message(sequence).await.ok();
    message.is_some_and(|message| {
        message.headers.get(NATS_MESSAGE_ID).is_some_and(|value| value.as_str() == id)
    })
}
