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
//! An event that a message cannot hold is refused before any event of its request is sent
//! (`limit`). A dead letter goes back to the subject it came on (`origin`).
//!
//! `tidewatch::publisher` uses plain ids, so an event that comes both ways is known again by
//! the engine, not by the stream.

mod limit;
mod origin;
mod request;

use std::sync::Arc;

use async_nats::Subject;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xxhash_rust::xxh3::Xxh3;

use self::limit::Limits;
use self::origin::Origins;
use self::request::Message;
use super::NatsError;
use super::link::Link;
use super::publisher::line::{Line, Window};
use super::publisher::post::Post;
use super::settings::gateway::IN_FLIGHT_MAX;
use super::settings::{GatewaySettings, check_subject};
use super::wire::HEADER_TIME;
use crate::actors::ports::{AppendError, Appended, BoxFuture, EventLog, Offer, Offered, Unfit};
use crate::domain::event::Schema;
use crate::domain::event::decode::Decoder;

/// Bytes of one request that may be on their way at a time; the request holds them in any case.
const IN_FLIGHT_BYTES_MAX: usize = 8 << 20;
/// Lines kept for further requests: a subscription each. One is opened when all are in use, at most
/// one for each request on its way.
const LINES_KEPT: usize = 16;

/// An [`EventLog`] whose log is a stream.
pub struct Gateway {
    link: Link,
    /// Not in use by a request.
    lines: Arc<Mutex<Vec<Line>>>,
    settings: GatewaySettings,
    subject: Subject,
    room: Arc<Semaphore>,
    decoder: Mutex<Decoder>,
    limits: Limits,
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
        let wrong = |key: &str, cause| NatsError::Setting { key: key.into(), cause };
        check_subject(&settings.subject, false)
            .map_err(|cause| wrong("nats.gateway.subject", cause))?;
        if !(1..=IN_FLIGHT_MAX as usize).contains(&settings.in_flight_max) {
            let rule = format!("must be 1 to {IN_FLIGHT_MAX}");
            return Err(wrong("nats.gateway.in_flight_max", rule));
        }
        Ok(Gateway {
            lines: Arc::default(),
            subject: Subject::from(settings.subject.as_str()),
            room: Arc::new(Semaphore::new(settings.in_flight_max)),
            decoder: Mutex::new(Decoder::new(schema)),
            limits: Limits::watch(&link, &settings.subject),
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

    /// An event as a message on `subject`.
    fn post(&self, event: Bytes, subject: Subject, stored: Option<i64>) -> Post {
        let id = message_id(&mut self.decoder.lock(), &event);
        let post = Post::new(subject, event);
        let post = if let Some(id) = id { post.id(&id) } else { post };
        match stored {
            Some(stored) => post.header(HEADER_TIME, &stored.to_string()),
            None => post,
        }
    }

    /// The messages that can be sent, and what cannot; nothing is sent yet.
    async fn judge(&self, offers: Vec<Offer>) -> Result<(Vec<Message>, Vec<Unfit>), AppendError> {
        let (mut messages, mut refused) = (Vec::with_capacity(offers.len()), Vec::new());
        let mut origins = Origins::new(&self.link, &self.settings);
        for (index, Offer { event, origin }) in offers.into_iter().enumerate() {
            let (subject, stored) = match &origin {
                None => (Ok(self.subject.clone()), None),
                Some(origin) => (origins.subject(origin, &self.subject).await?, origin.stored),
            };
            let made = subject.and_then(|subject| {
                let post = self.post(event, subject, stored);
                let checked = self.limits.check(&self.link, &post);
                checked.map(|()| Message { index, post }).map_err(|error| error.to_string())
            });
            match made {
                Ok(message) => messages.push(message),
                Err(reason) => refused.push(Unfit { index, reason }),
            }
        }
        Ok((messages, refused))
    }

    async fn send(&self, messages: Vec<Message>) -> Result<Offered, AppendError> {
        if messages.is_empty() {
            return Ok(Offered::default());
        }
        let room = self.reserve(messages.len())?;
        if !self.link.connected() {
            return Err(AppendError::Away(self.link.away().to_string()));
        }
        let (link, lines, timeout) =
            (self.link.clone(), Arc::clone(&self.lines), self.settings.timeout);
        let window = Window { messages: self.settings.in_flight_max, bytes: IN_FLIGHT_BYTES_MAX };
        // On the connection's thread: a caller that goes away must not leave half of a
        // request unsent, and may run another kind of executor.
        let work = self.link.spawn(async move {
            let kept = lines.lock().pop();
            let mut line = match kept {
                Some(line) => line,
                None => Line::open(&link, timeout).await.map_err(AppendError::Broken)?,
            };
            let offered = request::publish(&mut line, messages, window).await;
            let mut lines = lines.lock();
            if lines.len() < LINES_KEPT {
                lines.push(line);
            }
            drop(room);
            offered
        });
        let sent =
            work.await.unwrap_or_else(|_| Err(AppendError::Broken("the connection ended".into())));
        sent.map_err(|error| self.explain(error))
    }

    /// No answer may mean that the server said no on the connection itself.
    fn explain(&self, error: AppendError) -> AppendError {
        let state = self.link.state();
        let state = state.borrow();
        let ours = |denied: &&super::Denied| {
            denied.answers() || (denied.publishes() && denied.subject == self.settings.subject)
        };
        match (error, state.denied.iter().find(ours)) {
            (AppendError::Away(_), Some(denied)) => {
                AppendError::Refused(format!("this user {denied}"))
            }
            (error, _) => error,
        }
    }
}

impl EventLog for Gateway {
    fn append(&self, events: Vec<Bytes>) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let offers = events.into_iter().map(|event| Offer { event, origin: None });
            let (messages, refused) = self.judge(offers.collect()).await?;
            let too_large = |unfit: Option<Unfit>| {
                let unfit = unfit.map(|Unfit { index, reason }| format!("event {index}: {reason}"));
                unfit.map_or(Ok(()), |reason| Err(AppendError::TooLarge(reason)))
            };
            too_large(refused.into_iter().next())?;
            let Offered { appended, refused } = self.send(messages).await?;
            too_large(refused.into_iter().next())?;
            appended.ok_or_else(|| AppendError::Broken("an append holds at least one event".into()))
        })
    }

    fn offer(&self, offers: Vec<Offer>) -> BoxFuture<'_, Result<Offered, AppendError>> {
        Box::pin(async move {
            let (messages, mut refused) = self.judge(offers).await?;
            let mut offered = self.send(messages).await?;
            offered.refused.append(&mut refused);
            offered.refused.sort_unstable_by_key(|unfit| unfit.index);
            Ok(offered)
        })
    }

    fn backlog(&self) -> (u64, u64) {
        let bound = self.settings.in_flight_max;
        ((bound - self.room.available_permits()) as u64, bound as u64)
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
