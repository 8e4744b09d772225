//! The stream as the log behind `POST /v1/events`: an append is acknowledged when the
//! stream has acknowledged every event of it.
//!
//! One event, one message, in the order of the request. Nothing is sent twice here: when an
//! answer is missing the caller is told, and sends the same events again.
//!
//! `Nats-Msg-Id` must be unique in the stream, and event ids need only be unique for a key.
//! So it is a hash of key and id, and the stream drops exactly what the engine would count
//! as a duplicate. An event without an id gets none: it may count twice when it is sent again.
//!
//! `tidewatch::publisher` uses plain ids, so an event that comes both ways is known again by
//! the engine, not by the stream.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::jetstream::context::{
    ContextBuilder, PublishAckFuture, PublishError, PublishErrorKind,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, publish::PublishAck};
use async_nats::{Client, Subject};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xxhash_rust::xxh3::Xxh3;

use super::NatsError;
use super::link::Link;
use super::publisher::check_subject;
use crate::actors::ports::{AppendError, Appended, BoxFuture, EventLog};
use crate::domain::event::Schema;
use crate::domain::event::decode::Decoder;

/// What can be set of the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySettings {
    /// Subject that events are published to; a stream must take it.
    pub subject: String,
    /// Events published and not acknowledged, of all requests together, 1 to 65,536. A
    /// request with more than that waits for its own acknowledgements on the way.
    pub in_flight_max: usize,
    /// Longest wait for the next acknowledgement of a request.
    pub timeout: Duration,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        GatewaySettings {
            subject: "events.http".into(),
            // Some 8 MiB with events of 2 KiB.
            in_flight_max: 4_096,
            timeout: Duration::from_secs(5),
        }
    }
}

impl GatewaySettings {
    fn context(&self, client: Client) -> jetstream::Context {
        ContextBuilder::new()
            .timeout(self.timeout)
            .ack_timeout(self.timeout)
            .max_ack_inflight(self.in_flight_max)
            .backpressure_on_inflight(true)
            .build(client)
    }
}

/// An [`EventLog`] whose log is a stream.
pub struct Gateway {
    link: Link,
    /// Made on the connection's thread: the client spawns a task of its own for it.
    context: Arc<OnceLock<jetstream::Context>>,
    settings: GatewaySettings,
    subject: Subject,
    room: Arc<Semaphore>,
    decoder: Mutex<Decoder>,
}

impl Gateway {
    /// A gateway over a connection, which may be away at the moment. `schema` tells where
    /// ids and keys stand.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn new(
        link: Link,
        settings: GatewaySettings,
        schema: Arc<Schema>,
    ) -> Result<Self, NatsError> {
        check_subject("nats.gateway.subject", &settings.subject)?;
        if !(1..=65_536).contains(&settings.in_flight_max) {
            return Err(NatsError::Setting {
                key: "nats.gateway.in_flight_max".into(),
                cause: "must be 1 to 65536".into(),
            });
        }
        Ok(Gateway {
            context: Arc::default(),
            subject: Subject::from(settings.subject.as_str()),
            room: Arc::new(Semaphore::new(settings.in_flight_max)),
            decoder: Mutex::new(Decoder::new(schema)),
            settings,
            link,
        })
    }

    fn reserve(&self, events: usize) -> Result<OwnedSemaphorePermit, AppendError> {
        let bound = self.settings.in_flight_max;
        let wanted = events.min(bound) as u32;
        Arc::clone(&self.room).try_acquire_many_owned(wanted).map_err(|_| {
            let (backlog, bound) = self.backlog();
            AppendError::Full { backlog, bound }
        })
    }

    fn messages(&self, events: Vec<Bytes>) -> Vec<PublishMessage> {
        let mut decoder = self.decoder.lock();
        let message = |event: Bytes| {
            let id = message_id(&mut decoder, &event);
            let message = PublishMessage::build().payload(event);
            match id {
                Some(id) => message.message_id(id),
                None => message,
            }
        };
        events.into_iter().map(message).collect()
    }
}

impl EventLog for Gateway {
    fn append(&self, events: Vec<Bytes>) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            if events.is_empty() {
                return Err(AppendError::Broken("an append holds at least one event".into()));
            }
            let room = self.reserve(events.len())?;
            if !self.link.connected() {
                return Err(AppendError::Away(self.link.away().to_string()));
            }
            let (context, client) = (Arc::clone(&self.context), self.link.client().clone());
            let (settings, subject) = (self.settings.clone(), self.subject.clone());
            let messages = self.messages(events);
            // On the connection's thread: a caller that goes away must not leave half of a
            // request unsent, and may run another kind of executor.
            let work = self.link.spawn(async move {
                let context = context.get_or_init(|| settings.context(client)).clone();
                let window = settings.in_flight_max;
                let pending = VecDeque::new();
                let request = Request { context, subject, window, pending, appended: None };
                let appended = request.publish(messages).await;
                drop(room);
                appended
            });
            work.await.unwrap_or_else(|_| Err(AppendError::Broken("the connection ended".into())))
        })
    }

    fn backlog(&self) -> (u64, u64) {
        let bound = self.settings.in_flight_max;
        ((bound - self.room.available_permits()) as u64, bound as u64)
    }
}

/// The events of one append on their way.
struct Request {
    context: jetstream::Context,
    subject: Subject,
    window: usize,
    pending: VecDeque<PublishAckFuture>,
    appended: Option<Appended>,
}

impl Request {
    async fn publish(mut self, messages: Vec<PublishMessage>) -> Result<Appended, AppendError> {
        for message in messages {
            if self.pending.len() >= self.window {
                self.settle().await?;
            }
            let sent = self.context.send_publish(self.subject.clone(), message).await;
            self.pending.push_back(sent.map_err(|error| failed(&error))?);
        }
        while !self.pending.is_empty() {
            self.settle().await?;
        }
        self.appended.ok_or_else(|| AppendError::Broken("nothing was appended".into()))
    }

    /// Waits for the oldest answer.
    async fn settle(&mut self) -> Result<(), AppendError> {
        let Some(oldest) = self.pending.pop_front() else { return Ok(()) };
        let PublishAck { sequence, .. } = oldest.await.map_err(|error| failed(&error))?;
        let known = self.appended.unwrap_or(Appended { first: sequence, last: sequence });
        // The sequence of a duplicate is that of the event it repeats.
        self.appended =
            Some(Appended { first: known.first.min(sequence), last: known.last.max(sequence) });
        Ok(())
    }
}

/// Whatever the server may get over is `Away`: the caller sends the same events again.
fn failed(error: &PublishError) -> AppendError {
    use PublishErrorKind as Kind;
    let cause = std::error::Error::source(error);
    let server = cause.and_then(|cause| cause.downcast_ref::<jetstream::Error>());
    match error.kind() {
        // 4xx of the server: the same message is refused the next time too.
        Kind::Other if server.is_some_and(|error| error.code() < 500) => {
            AppendError::Broken(error.to_string())
        }
        Kind::TimedOut
        | Kind::BrokenPipe
        | Kind::MaxAckPending
        // No stream takes the subject now: so it is too while a stream has no leader.
        | Kind::StreamNotFound
        | Kind::Other => AppendError::Away(error.to_string()),
        Kind::MaxPayloadExceeded | Kind::WrongLastMessageId | Kind::WrongLastSequence => {
            AppendError::Broken(error.to_string())
        }
    }
}

/// Hash of key and id of an item's events; `None` when one has no id or is not understood.
fn message_id(decoder: &mut Decoder, item: &[u8]) -> Option<String> {
    let (mut hash, mut events, mut named) = (Xxh3::new(), 0, true);
    decoder.decode(item, |event| match event {
        Ok(event) => {
            let (key, id) = (event.key.as_bytes(), event.id.unwrap_or_default().as_bytes());
            hash.update(&(key.len() as u64).to_le_bytes());
            hash.update(key);
            hash.update(&(id.len() as u64).to_le_bytes());
            hash.update(id);
            events += 1;
            named &= event.id.is_some();
        }
        Err(_) => named = false,
    });
    (named && events > 0).then(|| format!("{:032x}", hash.digest128()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(event: &str) -> Option<String> {
        message_id(&mut Decoder::new(Arc::new(Schema::default())), event.as_bytes())
    }

    #[test]
    fn one_key_and_one_id_make_one_message_id() {
        let event = |id: &str, user: &str, value: u32| {
            id_of(&format!(r#"{{"id":"{id}","ts":1,"type":"t","user":"{user}","value":{value}}}"#))
        };
        assert_eq!(event("1", "ada", 1), event("1", "ada", 2));
        assert_ne!(event("1", "ada", 1), event("1", "bob", 1));
        assert_ne!(event("1", "ada", 1), event("2", "ada", 1));
        assert_ne!(event("1", "2a", 1), event("12", "a", 1));
        assert_eq!(event("1", "ada", 1).map(|id| id.len()), Some(32));
    }

    #[test]
    fn what_has_no_id_or_is_no_event_gets_no_message_id() {
        for event in [r#"{"ts":1,"type":"t","user":"ada"}"#, "no event", "[]", r#"{"id":"1"}"#] {
            assert_eq!(id_of(event), None, "{event}");
        }
    }
}
