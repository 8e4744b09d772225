//! A message that does not follow the last one: was what is missing deleted, or lost on the way?

use async_nats::Message;
use async_nats::jetstream::stream::RetentionPolicy;

use super::reading::{Delivery, Reading};
use super::{BATCH_BYTES, Collected, JetSource, Stop};
use crate::actors::ports::Pull;
use crate::nats::manage;
use crate::nats::settings::Manage;

/// Messages read one by one in one go.
const SINGLES_MAX: usize = 256;

/// What may be wrong when a message does not follow the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// Its sequence jumps: deleted, or lost on the way.
    Sequence,
    /// The number of its delivery jumps: lost on the way.
    Delivery,
    /// Fewer messages were left than there should be: perhaps deleted.
    Pending,
}

impl JetSource {
    /// Finds out what a message is about that does not follow the last one.
    pub(super) async fn close(&mut self, hole: (Message, Delivery, Hole)) -> Result<(), Stop> {
        let (message, delivery, kind) = hole;
        let wanted = self.last + 1;
        let deleted_to = match kind {
            Hole::Delivery => None,
            Hole::Sequence => {
                match self.look(self.first_from(wanted).await, &message, &delivery, kind)? {
                    Some(found) if found.sequence == wanted => None,
                    Some(found) => Some(found.sequence.min(delivery.sequence) - 1),
                    None => Some(delivery.sequence - 1),
                }
            }
            Hole::Pending => {
                let info = manage::stream_info(self.link.jetstream(), &self.settings.stream).await;
                let info = self.look(info.map_err(Stop::from), &message, &delivery, kind)?;
                let first = info.state.first_sequence.min(delivery.sequence);
                // Nothing was deleted before it: the broker's count was behind.
                Some(if first > wanted { first - 1 } else { self.last })
            }
        };
        match deleted_to {
            Some(to) => {
                if to > self.last {
                    self.note_gap(wanted, to).map_err(Stop::Final)?;
                }
                if let Some(reading) = &mut self.reading {
                    reading.pending = delivery.pending + 1;
                    reading.put_back(message, delivery);
                }
            }
            None if self.settings.manage == Manage::Create
                && self.retention == RetentionPolicy::Limits =>
            {
                self.reading = None;
                self.cause = Some("deliveries were lost on the way".into());
            }
            // The consumer is not ours to make anew: read what it will not deliver again soon.
            None => {
                self.singles = Some(delivery.sequence - 1);
                if let Some(reading) = &mut self.reading {
                    reading.put_back(message, delivery);
                }
            }
        }
        Ok(())
    }

    /// Keeps the hole for another try when there was no answer.
    fn look<T>(
        &mut self,
        answer: Result<T, Stop>,
        message: &Message,
        delivery: &Delivery,
        kind: Hole,
    ) -> Result<T, Stop> {
        if answer.is_err() {
            self.hole = Some((message.clone(), *delivery, kind));
        }
        answer
    }

    /// Reads messages one by one up to `to`; `None` when all are read.
    pub(super) async fn read_singly(&mut self, to: u64, max: usize) -> Result<Option<Pull>, Stop> {
        let mut batch = Collected::default();
        let mut last = self.last;
        while batch.items.len() < max.min(SINGLES_MAX) && batch.data.len() < BATCH_BYTES {
            let found = match last < to {
                true => self.first_from(last + 1).await?,
                false => None,
            };
            let Some(message) = found.filter(|message| message.sequence <= to) else {
                self.singles = None;
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
            let note = self.unpack_single(&message, &mut batch.data);
            batch.push(start, last, note);
        }
        Ok((!batch.items.is_empty()).then(|| self.hand_over(batch)))
    }
}

/// Whether a message does not follow the last one; counts its delivery.
pub(super) fn hole(
    reading: &mut Reading,
    delivery: &Delivery,
    last: u64,
    filtered: bool,
) -> Option<Hole> {
    let expected = std::mem::replace(&mut reading.expected, delivery.consumer_sequence + 1);
    if filtered && delivery.consumer_sequence != expected {
        return Some(Hole::Delivery);
    }
    if delivery.sequence <= last {
        return None;
    }
    if !filtered {
        return (delivery.sequence > last + 1).then_some(Hole::Sequence);
    }
    // It was one of those that were left, so one less is left now, or more came.
    (reading.sure && delivery.pending + 1 < reading.pending).then_some(Hole::Pending)
}
