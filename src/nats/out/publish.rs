//! Publishes rows in order, each fenced: a message is taken only if the feed's last
//! message in the stream is the one before it. A copy that was sent before and comes
//! late, by an old connection for example, finds another last message and is refused.
//! Message ids are the second net, for as long as the broker remembers them.
//!
//! Several messages at once go as an atomic batch, where the stream takes those: all or
//! none, the first one fenced. A fence on each of several messages in flight would have
//! to guess sequences, and another feed in the same stream makes such guesses wrong.
//! Without batches it is one message at a time.
//!
//! What is larger than the stream takes goes alone, in the shorter form that its feed has for
//! it, or not at all: it never stops what comes after it.

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;

use super::jet::{JetRow, Target};
use super::{HEADER_FEED, HEADER_N};
use crate::nats::link::Link;
use crate::nats::publisher::answer::Answer;
use crate::nats::publisher::post::{Limit, header_bytes, header_line};

/// Header that widens a fence from one subject to all subjects of a filter (server 2.11).
const FENCE_FILTER: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// Header of a payload that was shortened: how many bytes it had.
pub(super) const TRUNCATED: &str = "Tidewatch-Truncated";

/// Bytes of the headers of a batch besides the texts in them, and of the longest numbers and
/// the id in those: names, colons and line ends are some 350.
const BATCH_HEADERS: usize = 640;

/// A message as it goes out.
pub(super) struct Message {
    headers: HeaderMap,
    payload: Bytes,
    /// Whether it is shorter than its row.
    pub short: bool,
}

/// Publishes the rows of one feed.
pub(super) struct Publisher {
    pub link: Link,
    /// Matches the feed's messages and no others.
    pub filter: String,
}

impl Publisher {
    /// A row as a message after the one with sequence `fence`; in its shorter form where
    /// that is needed, `None` when that is too large as well.
    pub fn message(
        &self,
        target: &Target,
        row: &JetRow,
        fence: u64,
        limit: Limit<'_>,
    ) -> Option<Message> {
        let mut common = self.headers(target, row);
        self.fence(&mut common, fence);
        let own = |headers: &[(&'static str, String)]| {
            let mut all = common.clone();
            headers.iter().for_each(|(name, value)| all.insert(*name, value.as_str()));
            all
        };
        let headers = own(&row.headers);
        if limit.check(header_bytes(&headers), row.payload.len()).is_ok() {
            return Some(Message { headers, payload: row.payload.clone(), short: false });
        }
        let room = limit.bytes().checked_sub(header_bytes(&common))?;
        let (headers, payload) = (target.shorten)(row, room)?;
        let headers = own(&headers);
        let fits = limit.check(header_bytes(&headers), payload.len()).is_ok();
        fits.then_some(Message { headers, payload, short: true })
    }

    /// Whether a row can be in a batch. One that only just cannot goes alone.
    pub fn fits_a_batch(&self, target: &Target, row: &JetRow, limit: Limit<'_>) -> bool {
        let names = row.id.len() + target.stream.len() + target.feed.len() + self.filter.len();
        BATCH_HEADERS + names + own_bytes(&row.headers) + row.payload.len() <= limit.bytes()
    }

    /// Publishes the message of a row.
    pub async fn one(&self, target: &Target, row: &JetRow, message: Message) -> Answer {
        self.commit(target, row, message.headers, message.payload).await
    }

    /// Publishes rows as one atomic batch after the message with sequence `fence`.
    pub async fn batch(&self, target: &Target, rows: &[JetRow], fence: u64) -> Answer {
        let inbox = self.link.client().new_inbox();
        // The server takes at most 64 characters; the last token of an inbox is unique.
        let id = inbox.rsplit('.').next().unwrap_or(&inbox);
        for (index, row) in rows.iter().enumerate() {
            let mut headers = self.headers(target, row);
            for (name, value) in &row.headers {
                headers.insert(*name, value.as_str());
            }
            if index == 0 {
                self.fence(&mut headers, fence);
            }
            headers.insert(NATS_BATCH_ID, id);
            headers.insert(NATS_BATCH_SEQUENCE, (index as u64 + 1).to_string());
            let payload = row.payload.clone();
            if index + 1 == rows.len() {
                headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
                return self.commit(target, row, headers, payload).await;
            }
            let subject = target.subject_of(row);
            let sent = self.link.client().publish_with_headers(subject, headers, payload).await;
            if let Err(error) = sent {
                return Answer::Unknown(error.to_string());
            }
        }
        Answer::Unknown("a batch has at least one message".into())
    }

    /// Sends a message that the broker answers to. A connection that is lost meanwhile
    /// leaves the answer open at once.
    async fn commit(
        &self,
        target: &Target,
        row: &JetRow,
        headers: HeaderMap,
        body: Bytes,
    ) -> Answer {
        let mut state = self.link.state();
        let connects = state.borrow_and_update().connects;
        let message = PublishMessage::build().headers(headers).payload(body);
        let answered = async {
            let sent = self.link.jetstream().send_publish(target.subject_of(row), message).await;
            match sent {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            }
        };
        let lost = state.wait_for(|state| !state.connected || state.connects != connects);
        tokio::select! {
            biased;
            answer = answered => Answer::published(answer),
            _ = lost => Answer::Unknown("the connection was lost before the broker answered".into()),
        }
    }

    fn headers(&self, target: &Target, row: &JetRow) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, row.id.as_str());
        headers.insert(NATS_EXPECTED_STREAM, target.stream.as_str());
        headers.insert(HEADER_FEED, target.feed.as_str());
        headers.insert(HEADER_N, row.n.to_string());
        headers
    }

    fn fence(&self, headers: &mut HeaderMap, sequence: u64) {
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string());
        headers.insert(FENCE_FILTER, self.filter.as_str());
    }
}

/// Bytes of headers of a row's own on the wire.
pub(super) fn own_bytes(headers: &[(&'static str, String)]) -> usize {
    headers.iter().map(|(name, value)| header_line(name.len(), value.len())).sum()
}

/// Whether another message of the feed came first.
pub(super) fn fenced(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
    )
}

/// Whether the stream does not take batches, or not this one; one by one may do.
pub(super) fn not_as_batch(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE
            | ErrorCode::ATOMIC_PUBLISH_DISABLED
            | ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH
            | ErrorCode::ATOMIC_PUBLISH_MISSING_SEQ
            | ErrorCode::ATOMIC_PUBLISH_UNSUPPORTED_HEADER
            | ErrorCode::ATOMIC_PUBLISH_INVALID_BATCH_ID
    )
}
