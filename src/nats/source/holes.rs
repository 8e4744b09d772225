//! A message that does not follow the last one: was what is missing deleted, or lost on the way?

use super::deliveries::{BATCH_BYTES, Collected};
use super::reading::{Delivery, Reading};
use super::{JetSource, Phase, Stop};
use crate::actors::ports::Pull;
use crate::nats::manage;

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
    /// Finds out what a message is about that does not follow the last one; tries again when there
    /// was no answer.
    pub(super) async fn close(&mut self) -> Result<(), Stop> {
        let Phase::Broken(_, _, delivery, kind) = &self.phase else { return Ok(()) };
        let (delivery, kind, wanted) = (*delivery, *kind, self.last + 1);
        let deleted_to = match kind {
            Hole::Delivery => None,
            Hole::Sequence => match self.first_from(wanted).await? {
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
            let found = if last < to { self.first_from(last + 1).await? } else { None };
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
