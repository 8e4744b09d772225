//! What is sent and acknowledged as one: a message, a pack, an atomic batch.

use async_nats::Subject;
use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use super::id::{hashed, message_id};
use super::post::Post;

/// One accepted event.
#[derive(Debug)]
pub(super) struct Entry {
    pub held: Held,
    pub event: Bytes,
    /// When it was accepted, ms of the engine's clock.
    pub at: i64,
}

/// What is kept of an event until its end is known.
#[derive(Debug)]
pub(super) struct Held {
    pub id: String,
    /// Its place in the buffer: one event, and its bytes. Given back when it is dropped.
    pub _room: [OwnedSemaphorePermit; 2],
}

/// Ways of sending, see [`Unit::number`].
const WAYS: u64 = 4;

/// What is sent and acknowledged as one.
#[derive(Debug)]
pub(super) struct Unit {
    /// Number of its first event; numbers grow in the order of acceptance.
    pub first: u64,
    /// When its oldest event was accepted.
    pub since: i64,
    /// When it is sent again, unless an answer comes.
    pub due: i64,
    /// How often it was sent.
    pub tries: u32,
    /// Why the last try was in vain; empty when nobody said.
    pub trouble: String,
    pub body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    /// An event, a message.
    One(Held, Bytes),
    /// Several events in one message, as NDJSON.
    Pack(Vec<Held>, Bytes),
    /// Several messages that the stream takes together or not at all.
    Batch(Vec<(Held, Bytes)>),
}

impl Unit {
    pub fn new(first: u64, since: i64, body: Body) -> Self {
        Unit { first, since, due: 0, tries: 0, trouble: String::new(), body }
    }

    /// One event as one message.
    pub fn one(first: u64, entry: Entry) -> Self {
        Unit::new(first, entry.at, Body::One(entry.held, entry.event))
    }

    /// Several events as one message.
    pub fn pack(first: u64, entries: Vec<Entry>) -> Self {
        let since = entries.first().map_or(0, |entry| entry.at);
        let len = entries.iter().map(|entry| entry.event.len() + 1).sum();
        let mut payload = BytesMut::with_capacity(len);
        let mut held = Vec::with_capacity(entries.len());
        for entry in entries {
            let start = payload.len();
            payload.extend_from_slice(&entry.event);
            // JSON has line ends between its tokens only: one event, one line.
            for byte in payload[start..].iter_mut().filter(|byte| **byte == b'\n') {
                *byte = b' ';
            }
            payload.extend_from_slice(b"\n");
            held.push(entry.held);
        }
        Unit::new(first, since, Body::Pack(held, payload.freeze()))
    }

    /// Several messages as one batch.
    pub fn batch(first: u64, entries: Vec<Entry>) -> Self {
        let since = entries.first().map_or(0, |entry| entry.at);
        let entries = entries.into_iter().map(|entry| (entry.held, entry.event)).collect();
        Unit::new(first, since, Body::Batch(entries))
    }

    /// Messages it is sent as.
    pub fn messages(&self) -> usize {
        match &self.body {
            Body::One(..) | Body::Pack(..) => 1,
            Body::Batch(entries) => entries.len(),
        }
    }

    /// Events in it.
    pub fn events(&self) -> u64 {
        match &self.body {
            Body::One(..) => 1,
            Body::Pack(held, _) => held.len() as u64,
            Body::Batch(entries) => entries.len() as u64,
        }
    }

    /// Bytes of its events.
    pub fn bytes(&self) -> usize {
        match &self.body {
            Body::One(_, payload) | Body::Pack(_, payload) => payload.len(),
            Body::Batch(entries) => entries.iter().map(|(_, event)| event.len()).sum(),
        }
    }

    pub fn is_batch(&self) -> bool {
        matches!(self.body, Body::Batch(_))
    }

    /// Ids of its events, in order.
    pub fn ids(&self) -> Vec<&str> {
        match &self.body {
            Body::One(held, _) => vec![&held.id],
            Body::Pack(held, _) => held.iter().map(|held| held.id.as_str()).collect(),
            Body::Batch(entries) => entries.iter().map(|(held, _)| held.id.as_str()).collect(),
        }
    }

    /// Where its answer comes to: its number and the way it is sent, so that the answer to a batch
    /// is not taken for that to its first event, published alone later.
    pub fn number(&self) -> u64 {
        let way = match self.body {
            Body::One(..) => 0,
            Body::Pack(..) => 1,
            Body::Batch(_) => 2,
        };
        self.first * WAYS + way
    }

    /// The number of the first event, of the number that an answer came to.
    pub fn first_of(number: u64) -> u64 {
        number / WAYS
    }

    /// A batch or a pack as single messages with the same ids and numbers; anything else as it
    /// is.
    pub fn singles(self) -> Vec<Unit> {
        let Unit { first, since, due, tries, trouble, body } = self;
        let entries: Vec<(Held, Bytes)> = match body {
            Body::One(held, event) => vec![(held, event)],
            Body::Batch(entries) => entries,
            Body::Pack(held, payload) => {
                let lines = payload.split(|byte| *byte == b'\n');
                held.into_iter().zip(lines.map(|line| payload.slice_ref(line))).collect()
            }
        };
        let one = |(first, (held, event))| Unit {
            due,
            tries,
            trouble: trouble.clone(),
            ..Unit::new(first, since, Body::One(held, event))
        };
        (first..).zip(entries).map(one).collect()
    }

    /// The messages it is sent as, in order.
    pub fn posts(&self, subject: &Subject) -> Vec<Post> {
        let post = |payload: &Bytes, id: &str| Post::new(subject.clone(), payload.clone()).id(id);
        let one = |(held, event): &(Held, Bytes)| post(event, &message_id(&held.id));
        match &self.body {
            Body::One(held, event) => vec![post(event, &message_id(&held.id))],
            Body::Pack(_, payload) => vec![post(payload, &hashed(payload))],
            Body::Batch(entries) => entries.iter().map(one).collect(),
        }
    }
}
