//! Publishes items in order, each fenced: a message is taken only if the feed's last
//! message in the stream is the one before it. A copy that was sent before and comes
//! late, by an old connection for example, finds another last message and is refused.
//! Message ids are the second net, for as long as the broker remembers them.
//!
//! Several messages at once go as an atomic batch, where the stream takes those: all or
//! none, the first one fenced. A fence on each of several messages in flight would have
//! to guess sequences, and another feed in the same stream makes such guesses wrong.
//! Without batches it is one message at a time.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;

use super::feed::{Item, Kind};
use super::{HEADER_FEED, HEADER_N};
use crate::nats::link::Link;

/// Header that widens a fence from one subject to all subjects of a filter (server 2.11).
const FENCE_FILTER: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// Header of a payload that was cut: how many bytes it had.
const TRUNCATED: &str = "Tidewatch-Truncated";

/// Bytes kept free for headers in a message that is cut to the server's limit.
const HEADERS_ROOM: usize = 8 * 1_024;

/// What the broker answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Stored; the last message has this sequence.
    Stored(u64),
    /// The broker knows the id, from the message with this sequence, and stored nothing.
    Known(u64),
    /// Another message of the feed came first.
    Fenced,
    /// The stream does not take batches, or not this one; one by one may do.
    NotAsBatch(String),
    /// Refused, or not known whether it was stored.
    Unknown(String),
}

/// Publishes the items of one feed.
pub(super) struct Publisher {
    pub link: Link,
    /// Matches the feed's messages and no others.
    pub filter: String,
}

impl Publisher {
    /// Publishes one item after the message with sequence `fence`.
    pub async fn one(&self, kind: &Kind, item: &Item, fence: u64) -> Answer {
        let mut headers = self.headers(kind, item);
        self.fence(&mut headers, fence);
        let payload = self.payload(kind, item, &mut headers);
        self.commit(kind, item, headers, payload).await
    }

    /// Publishes items as one atomic batch after the message with sequence `fence`.
    pub async fn batch(&self, kind: &Kind, items: &[Item], fence: u64) -> Answer {
        let inbox = self.link.client().new_inbox();
        // The server takes at most 64 characters; the last token of an inbox is unique.
        let id = inbox.rsplit('.').next().unwrap_or(&inbox);
        for (index, item) in items.iter().enumerate() {
            let mut headers = self.headers(kind, item);
            if index == 0 {
                self.fence(&mut headers, fence);
            }
            headers.insert(NATS_BATCH_ID, id);
            headers.insert(NATS_BATCH_SEQUENCE, (index as u64 + 1).to_string());
            let payload = self.payload(kind, item, &mut headers);
            if index + 1 == items.len() {
                headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
                return self.commit(kind, item, headers, payload).await;
            }
            let subject = kind.subject_of(item);
            let sent = self.link.client().publish_with_headers(subject, headers, payload).await;
            if let Err(error) = sent {
                return Answer::Unknown(error.to_string());
            }
        }
        Answer::Unknown("a batch has at least one message".into())
    }

    /// Sends a message that the broker answers to. A connection that is lost meanwhile
    /// leaves the answer open at once.
    async fn commit(&self, kind: &Kind, item: &Item, headers: HeaderMap, body: Bytes) -> Answer {
        let mut state = self.link.state();
        let connects = state.borrow_and_update().connects;
        let message = PublishMessage::build().headers(headers).payload(body);
        let answered = async {
            let sent = self.link.jetstream().send_publish(kind.subject_of(item), message).await;
            match sent {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            }
        };
        let lost = state.wait_for(|state| !state.connected || state.connects != connects);
        tokio::select! {
            biased;
            answer = answered => judge(answer),
            _ = lost => Answer::Unknown("the connection was lost before the broker answered".into()),
        }
    }

    fn headers(&self, kind: &Kind, item: &Item) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, item.id.as_str());
        headers.insert(NATS_EXPECTED_STREAM, kind.stream.as_str());
        headers.insert(HEADER_FEED, kind.feed.as_str());
        headers.insert(HEADER_N, item.n.to_string());
        for (name, value) in &item.headers {
            headers.insert(*name, value.as_str());
        }
        headers
    }

    fn fence(&self, headers: &mut HeaderMap, sequence: u64) {
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string());
        headers.insert(FENCE_FILTER, self.filter.as_str());
    }

    /// The payload, cut to what the server takes where that is allowed.
    fn payload(&self, kind: &Kind, item: &Item, headers: &mut HeaderMap) -> Bytes {
        let room = self.link.client().max_payload().saturating_sub(HEADERS_ROOM);
        if !kind.cut || item.payload.len() <= room || room == 0 {
            return item.payload.clone();
        }
        headers.insert(TRUNCATED, item.payload.len().to_string());
        item.payload.slice(..room)
    }
}

fn judge(answer: Result<PublishAck, PublishError>) -> Answer {
    let error = match answer {
        Ok(ack) if ack.duplicate => return Answer::Known(ack.sequence),
        Ok(ack) => return Answer::Stored(ack.sequence),
        Err(error) => error,
    };
    let code = std::error::Error::source(&error)
        .and_then(|cause| cause.downcast_ref::<async_nats::jetstream::Error>())
        .map(|cause| cause.error_code());
    match (error.kind(), code) {
        (PublishErrorKind::WrongLastSequence, _)
        | (_, Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)) => Answer::Fenced,
        (
            _,
            Some(
                ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE
                | ErrorCode::ATOMIC_PUBLISH_DISABLED
                | ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH
                | ErrorCode::ATOMIC_PUBLISH_MISSING_SEQ
                | ErrorCode::ATOMIC_PUBLISH_UNSUPPORTED_HEADER
                | ErrorCode::ATOMIC_PUBLISH_INVALID_BATCH_ID,
            ),
        ) => Answer::NotAsBatch(error.to_string()),
        _ => Answer::Unknown(error.to_string()),
    }
}

/// Waits between tries: doubling with some chance in it, up to `longest`, for ever.
pub(super) fn delays(longest: Duration) -> impl Iterator<Item = Duration> + Send {
    use backon::{BackoffBuilder, ExponentialBuilder};
    let first = Duration::from_millis(50).min(longest);
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_max_delay(longest)
        .without_max_times()
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_never_end_and_have_a_bound() {
        let longest = Duration::from_secs(2);
        let waits: Vec<_> = delays(longest).take(200).collect();
        assert_eq!(waits.len(), 200);
        // The chance adds at most once the wait again.
        assert!(waits.iter().all(|wait| *wait <= 2 * longest), "{waits:?}");
        assert!(waits[0] < Duration::from_millis(200), "{waits:?}");
    }
}
