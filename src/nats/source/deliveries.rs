//! What the consumer delivers becomes batches; what it means when nothing comes, and what a message is about
//! that does not follow the last one.

use std::future::poll_fn;
use std::task::{Context as TaskContext, Poll};

use async_nats::{Message, Subject};
use bytes::Bytes;
use metrics::counter;

use super::holes::{Hole, hole};
use super::reading::{AHEAD_BYTES, Delivery, Incoming, SILENCE};
use super::stream::unpack_single;
use super::{JetSource, LOOK_AGAIN, Phase, Stop, send_ack};
use crate::actors::ports::Pull;
use crate::domain::event::{Note, RawBatch, RawItem};
use crate::domain::hash;
use crate::nats::manage::{self, Refusal};
use crate::nats::settings::SourceSettings;
use crate::telemetry::names;

/// Bytes of a batch; one item more may lie over it. What is decoded lies in the cache then, and
/// the broker has more under way meanwhile.
pub(super) const BATCH_BYTES: usize = 1 << 20;
const _: () = assert!(BATCH_BYTES <= AHEAD_BYTES, "what was asked for ahead fills a batch");
/// Most reply subjects kept to acknowledge by: beyond it every other one is let go.
const REPLIES_MAX: usize = 4_096;
/// Messages read one by one in one go.
const SINGLES_MAX: usize = 256;
/// Looks in vain, each `LOOK_AGAIN` long, before deliveries under way count as lost.
const STRIKES_MAX: u32 = 10;

/// Items being collected.
#[derive(Default)]
pub(super) struct Collected {
    pub data: Vec<u8>,
    pub items: Vec<RawItem>,
    notes: Vec<Note>,
    reply: Option<Subject>,
}

/// What stood in the way of more.
pub(super) enum Found {
    /// Nothing: there is no more, or no room.
    Nothing,
    /// A message that does not follow the last one.
    Hole(Message, Delivery, Hole),
    /// The consumer ended, for the reason given.
    End(String),
}

impl Collected {
    pub fn push(&mut self, start: u32, position: u64, note: Note) {
        let len = self.data.len() as u32 - start;
        self.items.push(RawItem { start, len, position });
        self.notes.push(note);
    }
}

impl JetSource {
    /// Takes what has come, as much as fits, and what stood in the way of more.
    pub(super) async fn collect(&mut self, max: usize) -> (Collected, Found) {
        let mut batch = Collected { data: Vec::with_capacity(self.usual), ..Default::default() };
        let now = self.clock.elapsed();
        // All of it in one poll: a task's budget would end it after 128 messages.
        let drained = poll_fn(|cx| Poll::Ready(self.drain(cx, now, max, &mut batch)));
        let found = tokio::task::unconstrained(drained).await;
        self.usual = batch.data.len().min(BATCH_BYTES);
        (batch, found)
    }

    fn drain(
        &mut self,
        cx: &mut TaskContext<'_>,
        now: i64,
        max: usize,
        batch: &mut Collected,
    ) -> Found {
        let Phase::Reading(reading) = &mut self.phase else { return Found::Nothing };
        while batch.items.len() < max && batch.data.len() < BATCH_BYTES {
            let (message, delivery) = match reading.poll(cx, now) {
                Poll::Pending => break,
                Poll::Ready(Incoming::Ended(reason)) => return Found::End(reason),
                Poll::Ready(Incoming::Message(message, delivery)) => (message, delivery),
            };
            let filtered = !self.settings.filter.is_empty();
            if let Some(hole) = hole(reading, &delivery, self.last, filtered) {
                self.lag = reading.pending;
                return Found::Hole(message, delivery, hole);
            }
            (reading.pending, reading.sure) = (delivery.pending, true);
            if delivery.sequence <= self.last {
                counter!(names::SOURCE_REDELIVERED).increment(1);
                if self.acks
                    && delivery.sequence <= self.acked
                    && let Some(reply) = message.reply
                {
                    send_ack(&self.link, reply);
                }
                continue;
            }
            let start = batch.data.len() as u32;
            let Message { subject, headers, payload, .. } = &message;
            let note = self.unpacker.unpack(
                subject,
                headers.as_ref(),
                payload,
                delivery.stored,
                &mut batch.data,
            );
            batch.push(start, delivery.sequence, note);
            batch.reply = message.reply.filter(|_| self.acks);
            self.last = delivery.sequence;
        }
        self.lag = reading.pending;
        Found::Nothing
    }

    /// A batch of what was collected; remembers how to acknowledge it.
    pub(super) fn hand_over(&mut self, batch: Collected) -> Pull {
        let Collected { data, items, notes, reply } = batch;
        if let Some(item) = items.last() {
            let bytes = &data[item.start as usize..];
            self.last_fingerprint = Some(hash::fingerprint(bytes));
            self.last = item.position;
            self.ends = 0;
        }
        if let Some(reply) = reply {
            if self.replies.len() >= REPLIES_MAX {
                // Every other place is enough: the next one acknowledges for both.
                let mut keep = false;
                self.replies.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.replies.push_back((self.last, reply));
        }
        Pull::Batch(RawBatch {
            arrived: notes.last().map_or(0, |note| note.arrived),
            data: Bytes::from(data),
            items,
            notes,
            note_names: self.unpacker.names(),
        })
    }

    /// Nothing is there: the end, or not yet here, or the broker is silent.
    pub(super) async fn nothing_came(&mut self) -> Result<Option<Pull>, Stop> {
        let now = self.clock.elapsed();
        let Some(reading) = self.phase.reading() else { return Ok(None) };
        let silent = now - reading.heard > SILENCE;
        if !reading.sure || silent {
            self.ask_consumer(silent, now).await?;
        }
        let Some(reading) = self.phase.reading() else { return Ok(None) };
        if reading.sure && reading.pending == 0 {
            self.ends = 0;
            return Ok(Some(Pull::CaughtUp));
        }
        if tokio::time::timeout(LOOK_AGAIN, reading.peek()).await.is_ok() {
            return Ok(None);
        }
        let pending = reading.pending;
        Err(Stop::Away(format!("{pending} messages wait in {} and none came", self.what())))
    }

    /// Asks the consumer how it stands, because its deliveries do not say it.
    async fn ask_consumer(&mut self, silent: bool, now: i64) -> Result<(), Stop> {
        let SourceSettings { stream, consumer, .. } = &self.settings;
        let info = manage::consumer_info(self.link.jetstream(), stream, consumer).await;
        let Some(reading) = self.phase.reading() else { return Ok(()) };
        let cause = match info {
            Err(Refusal::Missing) => "it was deleted",
            Err(refusal) => return Err(refusal.into()),
            Ok(info) if info.created.to_string() != reading.made => "somebody made it anew",
            Ok(_) if silent => "it was silent",
            Ok(info) if info.delivered.stream_sequence > self.last => {
                reading.pending = reading.pending.max(1);
                reading.strikes += 1;
                if reading.strikes > STRIKES_MAX {
                    "deliveries were lost on the way"
                } else {
                    return Ok(());
                }
            }
            Ok(info) => {
                (reading.pending, reading.sure) = (info.num_pending, true);
                (reading.heard, reading.strikes) = (now, 0);
                self.lag = info.num_pending;
                return Ok(());
            }
        };
        self.phase = Phase::Lost(Some(cause.into()));
        Ok(())
    }

    /// Finds out what a message is about that does not follow the last one; tries again when there
    /// was no answer.
    pub(super) async fn close(&mut self) -> Result<(), Stop> {
        let Phase::Broken(_, _, delivery, kind) = &self.phase else { return Ok(()) };
        let (delivery, kind, wanted) = (*delivery, *kind, self.last + 1);
        let deleted_to = match kind {
            Hole::Delivery => None,
            Hole::Sequence => match self.leader().first_from(wanted).await? {
                Some(found) if found.sequence == wanted => None,
                Some(found) => Some(found.sequence.min(delivery.sequence) - 1),
                None => Some(delivery.sequence - 1),
            },
            Hole::Pending => {
                let stream = &self.settings.stream;
                let info = manage::stream_info(self.link.jetstream(), stream).await?;
                let first = info.state.first_sequence.min(delivery.sequence);
                // Nothing was deleted before it: the broker's count was behind.
                Some(if first > wanted { first - 1 } else { self.last })
            }
        };
        if let Some(to) = deleted_to.filter(|to| *to > self.last) {
            self.note_gap(wanted, to).map_err(Stop::Final)?;
        }
        let owned = self.owns_consumer();
        let Phase::Broken(mut reading, message, ..) = self.phase.take() else { return Ok(()) };
        self.phase = match deleted_to {
            Some(_) => {
                reading.pending = delivery.pending + 1;
                reading.put_back(*message, delivery);
                Phase::Reading(reading)
            }
            None if owned => Phase::Lost(Some("deliveries were lost on the way".into())),
            // The consumer is not ours to make anew: read what it will not deliver again soon.
            None => {
                reading.put_back(*message, delivery);
                Phase::Singly(reading, delivery.sequence - 1)
            }
        };
        Ok(())
    }

    /// Reads messages one by one up to `to`; `None` when all are read.
    pub(super) async fn read_singly(&mut self, to: u64, max: usize) -> Result<Option<Pull>, Stop> {
        let mut batch = Collected::default();
        let mut last = self.last;
        while batch.items.len() < max.min(SINGLES_MAX) && batch.data.len() < BATCH_BYTES {
            let found = if last < to { self.leader().first_from(last + 1).await? } else { None };
            let Some(message) = found.filter(|message| message.sequence <= to) else {
                if let Phase::Singly(reading, _) = self.phase.take() {
                    self.phase = Phase::Reading(reading);
                }
                break;
            };
            if self.settings.filter.is_empty() && message.sequence > last + 1 {
                if batch.items.is_empty() {
                    self.note_gap(last + 1, message.sequence - 1).map_err(Stop::Final)?;
                }
                break;
            }
            last = message.sequence;
            let start = batch.data.len() as u32;
            let note = unpack_single(&self.unpacker, &message, &mut batch.data);
            batch.push(start, last, note);
        }
        Ok((!batch.items.is_empty()).then(|| self.hand_over(batch)))
    }
}
