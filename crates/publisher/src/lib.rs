//! Publishing events to a stream, for services: ids made once, retries that keep them,
//! a buffer with a bound, and a list of what failed.
//!
//! ```no_run
//! use tidewatch_publisher::{Options, Publisher};
//!
//! # async fn publish() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options::new("nats://127.0.0.1:4222", "events.shop");
//! let publisher = Publisher::connect(options).await?;
//! let event = serde_json::json!({"ts": 1763800000000_i64, "type": "cart_add", "user": "ada"});
//! publisher.publish(&event).await?;
//! let report = publisher.flush().await;
//! assert_eq!(report.failed_count, 0, "{:?}", report.failed);
//! # Ok(()) }
//! ```
//!
//! What holds:
//! - An event without an id gets one before its first try, written into its JSON. Every
//!   retry carries the same id, as `Nats-Msg-Id` too, so the stream's duplicate window takes
//!   it once. After that window it is tidewatch that knows the id again.
//! - Two different events with one id are one event to the stream: the second is dropped
//!   and counted in [`FlushReport::duplicates`].
//! - At most [`Options::events_max`] events and [`Options::bytes_max`] bytes are held. After
//!   a reconnect, or when no answer came in [`Options::ack_wait`], what is not acknowledged
//!   is sent again, the oldest first. Around a lost connection, or a change of
//!   the stream's leader, some events may reach the stream after later ones.
//! - An event that is not acknowledged within [`Options::give_up_after`] failed, and
//!   [`Publisher::flush`] says so. It may be in the stream all the same.

pub mod answer;
mod backoff;
mod counts;
mod denied;
mod engine;
mod error;
mod id;
pub mod limit;
pub mod line;
pub mod link;
pub mod names;
pub mod post;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use thiserror::Error;
use tidewatch_clock::{SharedClock, SystemClock};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use tidewatch_connection as connection;

pub use denied::Denied;
pub use error::{NatsError, SERVER_MIN};

use connection::{LinkSettings, check_subject};
use counts::Counts;
use engine::{Command, Engine};
use id::{Ids, identify};
use limit::{Limit, TooLarge};
use link::Link;
use unit::{Entry, Held};

pub use post::BATCH_MAX;

/// Places for `flush` in the queue to the engine, besides the events.
const FLUSHES_MAX: usize = 16;

/// How events become messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// An event, a message.
    #[default]
    Single,
    /// Several events in one message, as NDJSON: ten times the throughput.
    Pack {
        /// Most events in a message, 1 to 10,000.
        events: usize,
        /// Most bytes of a message, up to what the server takes.
        bytes: usize,
        /// Longest wait for further events.
        linger: Duration,
    },
    /// Several messages that the stream takes together or not at all. Needs a server from
    /// 2.12 on and a stream with `allow_atomic_publish`; without them, or when the batch is
    /// refused or not answered, its events are published one by one with the same ids.
    Atomic {
        /// Most events in a batch, 1 to [`BATCH_MAX`].
        events: usize,
        /// Longest wait for further events.
        linger: Duration,
    },
}

/// What can be set of a [`Publisher`].
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The server, for [`Publisher::connect`].
    pub link: LinkSettings,
    /// Where to publish: a subject without wildcards that a stream takes.
    pub subject: String,
    /// How events become messages.
    pub mode: Mode,
    /// Events held until they are acknowledged, 1 to 1,000,000. Default 16,384.
    pub events_max: usize,
    /// Bytes of events held until they are acknowledged, 64 KiB to 1 GiB. Default 64 MiB.
    pub bytes_max: usize,
    /// Messages sent and not acknowledged, 1 to 65,536 (what the client's queue of answers
    /// holds). Default 4,096.
    pub in_flight_max: usize,
    /// How long to wait for an answer before a message is sent again, at least 10 ms.
    /// Default 5 s.
    pub ack_wait: Duration,
    /// How long an event is tried, at least `ack_wait`. Default 60 s, half the duplicate
    /// window of a stream that says nothing else.
    pub give_up_after: Duration,
    /// Failed events listed by [`Publisher::flush`]; the others are only counted.
    /// Default 1,000.
    pub failed_max: usize,
}

impl Options {
    /// The defaults, for a server and a subject.
    pub fn new(url: impl Into<String>, subject: impl Into<String>) -> Self {
        Options {
            link: LinkSettings {
                name: "tidewatch-publisher".into(),
                request_timeout: Duration::from_secs(10),
                ..LinkSettings::to(url)
            },
            subject: subject.into(),
            mode: Mode::Single,
            events_max: 16_384,
            bytes_max: 64 << 20,
            in_flight_max: 4_096,
            ack_wait: Duration::from_secs(5),
            give_up_after: Duration::from_secs(60),
            failed_max: 1_000,
        }
    }

    fn check(&self) -> Result<(), NatsError> {
        let setting = |key: &str, cause| NatsError::Setting { key: key.into(), cause };
        check_subject(&self.subject, false).map_err(|cause| setting("subject", cause))?;
        let wrong = |key: &str, rule: &str| Err(setting(key, format!("must be {rule}")));
        let lingers = |linger: Duration| linger < self.give_up_after;
        match self.mode {
            Mode::Pack { events, .. } if !(1..=10_000).contains(&events) => {
                return wrong("pack events", "1 to 10000");
            }
            Mode::Atomic { events, .. } if !(1..=BATCH_MAX).contains(&events) => {
                return wrong("batch events", "1 to 1000");
            }
            Mode::Pack { linger, .. } | Mode::Atomic { linger, .. } if !lingers(linger) => {
                return wrong("linger", "less than give_up_after");
            }
            _ => {}
        }
        if !(1..=1_000_000).contains(&self.events_max) {
            return wrong("events_max", "1 to 1000000");
        }
        if !(65_536..=1 << 30).contains(&self.bytes_max) {
            return wrong("bytes_max", "64 KiB to 1 GiB");
        }
        if !(1..=65_536).contains(&self.in_flight_max) {
            return wrong("in_flight_max", "1 to 65536");
        }
        if self.ack_wait < Duration::from_millis(10) {
            return wrong("ack_wait", "10 ms or more");
        }
        if self.give_up_after < self.ack_wait {
            return wrong("give_up_after", "at least ack_wait");
        }
        Ok(())
    }
}

/// Why an event was not accepted. Nothing of it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The buffer is full; room comes with the next acknowledgements.
    #[error("the publisher's buffer is full: wait for acknowledgements, or use publish")]
    Full,
    /// It is not an event.
    #[error("this is not an event: {0}")]
    Invalid(String),
    /// It is larger than the whole buffer.
    #[error("an event of {bytes} bytes is larger than the buffer of {bound}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The buffer's.
        bound: usize,
    },
    /// It is larger than a message may be, with its headers.
    #[error(transparent)]
    TooLargeToSend(#[from] TooLarge),
    /// The connection's thread has ended.
    #[error("the publisher has ended")]
    Closed,
}

/// What became of the events since the last flush.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Events that the stream acknowledged.
    pub published: u64,
    /// Those of them that were there already: an earlier try whose answer was lost, or
    /// another event with the same id.
    pub duplicates: u64,
    /// Ids of failed events and the reasons, at most [`Options::failed_max`].
    pub failed: Vec<(String, String)>,
    /// How many failed.
    pub failed_count: u64,
}

/// Counts since the publisher was made, in events. The service's own metrics recorder gets the
/// same, if it was installed before: [`names`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Accepted by `publish`.
    pub accepted: u64,
    /// Acknowledged by the stream.
    pub acked: u64,
    /// Acknowledged ones that were in the stream already.
    pub duplicates: u64,
    /// Sent again; an event may be counted more than once.
    pub retried: u64,
    /// Given up.
    pub failed: u64,
    /// Accepted and neither acknowledged nor given up.
    pub in_flight: u64,
    /// Batches that were published one by one instead.
    pub fallbacks: u64,
}

/// Publishes events to one subject. Share it in an `Arc`; every method takes `&self`.
///
/// Call [`Publisher::flush`] before it is dropped: what is not acknowledged then is still
/// tried while the process lives, and nobody hears how it ended.
pub struct Publisher {
    link: Link,
    commands: mpsc::Sender<Command>,
    events: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    ids: Mutex<Ids>,
    clock: SharedClock,
    counts: Arc<Counts>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Publisher").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Connects, and waits up to `give_up_after` until the server answers.
    ///
    /// # Errors
    /// When an option cannot be used, or the server is away, too old, or without JetStream.
    pub async fn connect(options: Options) -> Result<Publisher, NatsError> {
        options.check()?;
        let link = Link::open(options.link.clone())?;
        let (waiting, patience) = (link.clone(), options.give_up_after);
        // On the connection's thread: the caller may run another kind of executor.
        let ready = link.spawn(async move {
            match tokio::time::timeout(patience, waiting.ready()).await {
                Ok(ready) => ready,
                Err(_) => Err(waiting.away()),
            }
        });
        ready.await.unwrap_or_else(|_| Err(link.away()))?;
        Publisher::on(link, options)
    }

    /// Publishes over a connection that is there already; it may be away at the moment.
    ///
    /// # Errors
    /// When an option cannot be used.
    pub fn on(link: Link, options: Options) -> Result<Publisher, NatsError> {
        options.check()?;
        let (commands, received) = mpsc::channel(options.events_max + FLUSHES_MAX);
        let counts = Arc::new(Counts::new(&options));
        let clock = SystemClock::shared();
        let publisher = Publisher {
            link: link.clone(),
            commands,
            events: Arc::new(Semaphore::new(options.events_max)),
            bytes: Arc::new(Semaphore::new(options.bytes_max)),
            bytes_max: options.bytes_max,
            ids: Mutex::new(Ids::new()),
            clock: Arc::clone(&clock),
            counts: Arc::clone(&counts),
        };
        let engine = Engine::new(link.clone(), options, clock, counts);
        link.spawn(engine.run(received));
        Ok(publisher)
    }

    /// Accepts an event: one JSON object once it is serialised. Waits for room in the
    /// buffer only, never for the stream.
    ///
    /// # Errors
    /// When it is not an event, or larger than the buffer.
    pub async fn publish(&self, event: &(impl Serialize + ?Sized)) -> Result<(), PublishError> {
        self.publish_bytes(written(event)?).await
    }

    /// Accepts an event that is JSON already. Waits for room in the buffer only.
    ///
    /// # Errors
    /// As `publish`.
    pub async fn publish_bytes(&self, event: Bytes) -> Result<(), PublishError> {
        let found = self.identify(event)?;
        let ended = |_| PublishError::Closed;
        let one = Arc::clone(&self.events).acquire_owned().await.map_err(ended)?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(found.event.len() as u32);
        let room = [one, bytes.await.map_err(ended)?];
        let place = self.commands.reserve().await.map_err(|_| PublishError::Closed)?;
        place.send(self.accepted(found, room));
        Ok(())
    }

    /// Accepts an event if there is room for it now.
    ///
    /// # Errors
    /// As `publish`, and `Full`.
    pub fn try_publish(&self, event: &(impl Serialize + ?Sized)) -> Result<(), PublishError> {
        self.try_publish_bytes(written(event)?)
    }

    /// Accepts an event that is JSON already, if there is room for it now.
    ///
    /// # Errors
    /// As `publish`, and `Full`.
    pub fn try_publish_bytes(&self, event: Bytes) -> Result<(), PublishError> {
        let found = self.identify(event)?;
        let full = |_| PublishError::Full;
        let one = Arc::clone(&self.events).try_acquire_owned().map_err(full)?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(found.event.len() as u32);
        let room = [one, bytes.map_err(full)?];
        let place = self.commands.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => PublishError::Full,
            mpsc::error::TrySendError::Closed(()) => PublishError::Closed,
        })?;
        place.send(self.accepted(found, room));
        Ok(())
    }

    fn identify(&self, event: Bytes) -> Result<id::Identified, PublishError> {
        let found = identify(event, || self.ids.lock().next(self.clock.wall()))?;
        let bytes = found.event.len();
        let limit = Limit::of(self.link.client().max_payload(), None);
        limit.check_named(id::message_id(&found.id).len(), bytes)?;
        match bytes {
            bytes if bytes > self.bytes_max => {
                Err(PublishError::TooLarge { bytes, bound: self.bytes_max })
            }
            _ => Ok(found),
        }
    }

    fn accepted(
        &self,
        found: id::Identified,
        room: [tokio::sync::OwnedSemaphorePermit; 2],
    ) -> Command {
        self.counts.accepted();
        let held = Held { id: found.id, _room: room };
        Command::Publish(Entry { held, event: found.event, at: self.clock.elapsed() })
    }

    /// Waits until every event accepted so far is acknowledged or given up, and tells what
    /// became of all since the last flush. Takes `give_up_after` and some at the longest.
    pub async fn flush(&self) -> FlushReport {
        let (answer, answered) = oneshot::channel();
        // Without an engine there is nothing to report: `publish` says `Closed`.
        let _ = self.commands.send(Command::Flush(answer)).await;
        answered.await.unwrap_or_default()
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        self.counts.stats()
    }

    /// The connection.
    pub fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let in_flight = self.counts.stats().in_flight;
        if in_flight > 0 {
            tracing::warn!(
                in_flight,
                "a publisher was dropped before its events were acknowledged; flush it first"
            );
        }
    }
}

fn written(event: &(impl Serialize + ?Sized)) -> Result<Bytes, PublishError> {
    let json = serde_json::to_vec(event);
    json.map(Bytes::from).map_err(|error| PublishError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_bounds_are_named() {
        let of = |change: fn(&mut Options)| {
            let mut options = Options::new("nats://127.0.0.1:1", "events");
            change(&mut options);
            options.check().err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(of(|_| {}), "");
        assert!(of(|o| o.events_max = 0).starts_with("events_max"));
        assert!(of(|o| o.bytes_max = 1).starts_with("bytes_max"));
        assert!(of(|o| o.in_flight_max = 65_537).starts_with("in_flight_max"));
        assert!(of(|o| o.give_up_after = Duration::from_secs(1)).starts_with("give_up_after"));
        assert!(of(|o| o.ack_wait = Duration::ZERO).starts_with("ack_wait"));
        assert!(of(|o| o.subject = "a.*".into()).starts_with("subject"));
        let atomic = |o: &mut Options| {
            o.mode = Mode::Atomic { events: 1_001, linger: Duration::from_millis(1) };
        };
        assert!(of(atomic).starts_with("batch events"));
    }
}
