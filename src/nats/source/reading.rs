//! One life of a pull consumer: asks for messages ahead of their use, and tells messages
//! from what the server says about its requests.
//!
//! How much is asked for is counted in sum and not by request, because the server serves
//! several requests in turn. What was asked for and not taken yet is at the same time the
//! bound on what can lie in the client's queue, so that queue never overflows.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer;
use async_nats::{Message, StatusCode, Subject, Subscriber};
use futures_util::{Stream, StreamExt};

use crate::domain::time::EpochMs;

/// How long one request waits at the server.
const EXPIRES_MS: u64 = 20_000;
/// How often the server says that a request still waits.
const HEARTBEAT_MS: u64 = 2_000;
/// Silence after which the deliveries are not believed in any more, in ms: two heartbeats
/// and some delay.
pub(super) const SILENCE: i64 = 5_000;
/// Bytes asked for ahead, besides one message of the greatest size for each request.
pub(super) const AHEAD_BYTES: usize = 16 << 20;
const _: () = assert!(
    2 * HEARTBEAT_MS < SILENCE as u64 && (SILENCE as u64) < EXPIRES_MS,
    "a consumer is given up after two heartbeats were missed, and before its request ends"
);

/// What a reply subject says of its message:
/// `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<consumer sequence>.<stored>.<pending>`,
/// with domain and account before the stream and more behind in newer servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Its number in the stream: the position.
    pub sequence: u64,
    /// Its number among the deliveries of the consumer; grows by 1 each time.
    pub consumer_sequence: u64,
    /// When the server stored it.
    pub stored: EpochMs,
    /// Messages that the consumer had not delivered then.
    pub pending: u64,
}

impl Delivery {
    pub fn parse(reply: &str) -> Option<Delivery> {
        let rest = reply.strip_prefix("$JS.ACK.")?.as_bytes();
        let first = match rest.iter().filter(|byte| **byte == b'.').count() + 1 {
            7 => 3,
            9.. => 5,
            _ => return None,
        };
        let mut tokens = rest.split(|byte| *byte == b'.').skip(first);
        let mut next = || number(tokens.next()?);
        Some(Delivery {
            sequence: next()?,
            consumer_sequence: next()?,
            stored: (next()? / 1_000_000) as EpochMs,
            pending: next()?,
        })
    }
}

/// A number in digits alone.
fn number(digits: &[u8]) -> Option<u64> {
    let add = |sum: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

/// The usual size once a message of `bytes` came: a mean that forgets within some hundred messages.
fn usual(before: usize, bytes: usize) -> usize {
    if before == 0 { bytes } else { (before * 63 + bytes).div_ceil(64) }
}

/// What came.
pub(super) enum Incoming {
    /// A message.
    Message(Message, Delivery),
    /// Nothing more will come from this consumer, for the reason given.
    Ended(String),
}

/// A consumer being read.
pub(super) struct Reading {
    context: Context,
    subscriber: Subscriber,
    inbox: String,
    ask: Subject,
    max_payload: usize,
    requests: u64,
    /// Messages asked for and not taken yet.
    pub ahead: usize,
    /// Bytes of a message as they usually are, headers and subjects included; 0 before the first.
    usual: usize,
    /// Messages that the server had not delivered when it spoke last.
    pub pending: u64,
    /// Whether `pending` still holds: the server would have said so otherwise.
    pub sure: bool,
    /// When anything was heard from the server, by the monotonic clock.
    pub heard: i64,
    /// Number of the next delivery.
    pub expected: u64,
    /// Times in a row that messages were said to be under way and did not come.
    pub strikes: u32,
    /// Number of the connection it was made on.
    pub connects: u64,
    /// When the consumer was made.
    pub made: String,
    kept: Option<Message>,
}

impl Reading {
    /// Subscribes to what the consumer will deliver.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn start(
        context: &Context,
        api: &str,
        info: &consumer::Info,
        connects: u64,
        now: i64,
    ) -> Result<Reading, String> {
        let client = context.client();
        let inbox = client.new_inbox();
        let subscribed = client.subscribe(format!("{inbox}.*")).await;
        let subscriber = subscribed.map_err(|error| error.to_string())?;
        let ask = format!("{api}.CONSUMER.MSG.NEXT.{}.{}", info.stream_name, info.name);
        Ok(Reading {
            subscriber,
            inbox,
            ask: ask.into(),
            max_payload: client.server_info().max_payload,
            context: context.clone(),
            requests: 0,
            ahead: 0,
            usual: 0,
            pending: info.num_pending,
            sure: true,
            heard: now,
            expected: info.delivered.consumer_sequence + 1,
            strikes: 0,
            connects,
            made: info.created.to_string(),
            kept: None,
        })
    }

    /// Asks for more when less than half of what may be ahead is still to come: `target` messages,
    /// or as many of the usual size as make `AHEAD_BYTES`. A request that ended by its bytes would
    /// leave the server with nothing to do until we came to its end.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn top_up(&mut self, target: usize) -> Result<(), String> {
        let target = target.min(AHEAD_BYTES / self.usual.max(1)).max(1);
        if self.ahead > target / 2 {
            return Ok(());
        }
        let batch = target - self.ahead;
        // One message of the greatest size must always fit, or none would ever come.
        let max_bytes = AHEAD_BYTES / target * batch + self.max_payload + (64 << 10);
        let request = serde_json::json!({
            "batch": batch,
            "max_bytes": max_bytes,
            "expires": EXPIRES_MS * 1_000_000,
            "idle_heartbeat": HEARTBEAT_MS * 1_000_000,
        });
        self.requests += 1;
        let inbox = format!("{}.{}", self.inbox, self.requests);
        let client = self.context.client();
        let sent =
            client.publish_with_reply(self.ask.clone(), inbox, request.to_string().into()).await;
        sent.map_err(|error| error.to_string())?;
        self.ahead += batch;
        Ok(())
    }

    /// Puts a message back, to be taken first.
    pub fn put_back(&mut self, message: Message, delivery: Delivery) {
        self.kept = Some(message);
        self.ahead += 1;
        self.expected = delivery.consumer_sequence;
    }

    /// Resolves when something came. Safe to drop and call again.
    pub async fn peek(&mut self) {
        if self.kept.is_none() {
            self.kept = self.subscriber.next().await;
        }
    }

    /// The next message, if one is there.
    pub fn poll(&mut self, cx: &mut TaskContext<'_>, now: i64) -> Poll<Incoming> {
        loop {
            let message = match self.kept.take() {
                Some(message) => message,
                None => match Pin::new(&mut self.subscriber).poll_next(cx) {
                    Poll::Ready(Some(message)) => message,
                    Poll::Ready(None) => {
                        return Poll::Ready(Incoming::Ended("the connection was closed".into()));
                    }
                    Poll::Pending => return Poll::Pending,
                },
            };
            self.heard = now;
            if let Some(status) = message.status.filter(|status| *status != StatusCode::OK) {
                match self.status(status, &message) {
                    None => continue,
                    Some(reason) => return Poll::Ready(Incoming::Ended(reason)),
                }
            }
            self.ahead = self.ahead.saturating_sub(1);
            self.usual = usual(self.usual, message.length);
            self.strikes = 0;
            let delivery = message.reply.as_deref().and_then(Delivery::parse);
            let Some(delivery) = delivery else {
                return Poll::Ready(Incoming::Ended("a message came without its number".into()));
            };
            return Poll::Ready(Incoming::Message(message, delivery));
        }
    }

    /// What the server says of a request; a reason when the consumer cannot be read further.
    fn status(&mut self, status: StatusCode, message: &Message) -> Option<String> {
        if status == StatusCode::IDLE_HEARTBEAT {
            return None;
        }
        let words = message.description.as_deref().unwrap_or_default();
        if status == StatusCode::NO_RESPONDERS {
            return Some("nobody answers for the consumer".into());
        }
        let left =
            message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
        let left = left.and_then(|left| left.as_str().parse::<usize>().ok());
        let gone = ["Deleted", "Exceeded", "push based"].iter().any(|word| words.contains(word));
        if gone || (left.is_none() && status == StatusCode::REQUEST_TERMINATED && words.is_empty())
        {
            return Some(format!("{} {words}", status.as_u16()));
        }
        // A request ended: its time is over, its bytes are used up, or the leader changed.
        self.ahead = left.map_or(0, |left| self.ahead.saturating_sub(left));
        self.sure &= self.ahead > 0;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_size_follows_the_messages() {
        let after = |from, bytes| (0..500).fold(from, |size, _| usual(size, bytes));
        assert_eq!(after(0, 200), 200);
        assert!((10_000..10_100).contains(&after(10_000, 10_000)));
        assert!(after(200, 10_000) > 9_900 && after(10_000, 200) < 300);
        assert_eq!(usual(200, 200), 200);
    }

    #[test]
    fn a_reply_subject_is_read_in_both_forms() {
        let expected =
            Delivery { sequence: 42, consumer_sequence: 7, stored: 1_700_000_000_123, pending: 9 };
        for reply in [
            "$JS.ACK.EVENTS.tidewatch.1.42.7.1700000000123456789.9",
            "$JS.ACK._.hash.EVENTS.tidewatch.1.42.7.1700000000123456789.9",
            "$JS.ACK.hub.hash.EVENTS.tidewatch.1.42.7.1700000000123456789.9.token",
            "$JS.ACK.hub.hash.EVENTS.tidewatch.1.42.7.1700000000123456789.9.token.more.x",
        ] {
            assert_eq!(Delivery::parse(reply), Some(expected), "{reply}");
        }
        for reply in [
            "",
            "$JS.ACK.a.b.1",
            "_INBOX.x",
            "$JS.ACK.E.c.1.x.7.17.9",
            "$JS.ACK.E.c.1..7.17.9",
            "$JS.ACK.E.c.1.18446744073709551616.7.17.9",
        ] {
            assert_eq!(Delivery::parse(reply), None, "{reply}");
        }
    }
}
