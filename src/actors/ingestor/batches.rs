//! A raw batch becomes one batch for each shard: decoded, stamped, routed, as far as there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::barriers::bytes_max;
use super::{Ingestor, Pending};
use crate::actors::messages::ShardBatch;
use crate::actors::pipeline::RunError;
use crate::actors::standing::AHEAD_MS;
use crate::domain::arrival::timed;
use crate::domain::event::decode::Rejected;
use crate::domain::event::{CheckedBatch, DeadLetter, EventBatch, Route};
use crate::domain::hash::fingerprint;
use crate::domain::readers::Clockwork;

impl Ingestor {
    /// Decodes as much of the oldest pending batch as there is room for, and hands every shard
    /// its events. True when some of it was taken; what is left stays pending.
    pub(super) async fn go_through(&mut self) -> Result<bool, RunError> {
        let Some(Pending { index, batch, next }) = self.pending.pop_front() else {
            return Ok(false);
        };
        let raw = &batch.raw;
        let shards = self.parts.shards.len();
        let width = self.parts.schema.slots.len();
        let mut builders: Vec<EventBatch> =
            (0..shards).map(|_| self.parts.pool.take(raw.data.clone(), width)).collect();
        let noted = (!raw.notes.is_empty()).then_some(raw);
        self.batches += 1;
        for builder in &mut builders {
            builder.source = index as u16;
            builder.number = self.batches;
            builder.noted = noted.cloned();
        }
        let received_before = self.ledger.received;
        let end = self.decode(index, &batch, next, &mut builders);
        let moved = end > next;
        if let Some(last) = raw.items[next..end].last() {
            self.stand_at(index, last.position, fingerprint(raw.bytes(last)))?;
            self.parts.flow.sources.lock()[index].position = last.position;
        }
        if end < raw.items.len() {
            self.pending.push_front(Pending { index, batch, next: end })
        } else {
            self.polls.done(index)
        }
        let read = self.ledger.received - received_before;
        self.parts.flow.in_flight.fetch_add(read, Ordering::SeqCst);
        self.parts.flow.unsettled.fetch_add(read, Ordering::SeqCst);
        for (inlet, batch) in self.parts.shards.iter().zip(builders) {
            if batch.events.is_empty() {
                self.parts.pool.put(batch);
                continue;
            }
            let permit = Arc::clone(&inlet.permits).acquire_owned().await;
            let Ok(permit) = permit else { return Ok(moved) };
            if inlet.addr.try_send(ShardBatch { batch, permit }).is_err() {
                self.parts.watch.fail("an aggregator does not take its batch");
                return Ok(moved);
            }
        }
        Ok(moved)
    }

    /// Decodes the items of a batch from `next` on, as far as there is room; returns the index
    /// of the first that was left. An item is taken whole or not at all, so that a position
    /// says all about it. One with more events than there are credits is taken when nothing
    /// else is under way.
    fn decode(
        &mut self,
        index: usize,
        checked: &CheckedBatch,
        next: usize,
        builders: &mut [EventBatch],
    ) -> usize {
        let raw = &checked.raw;
        let room = self.room();
        let bytes_max = bytes_max(&self.parts.settings, self.far_behind());
        let alone = self.parts.flow.in_flight.load(Ordering::SeqCst) == 0;
        let Ingestor {
            decoder,
            readers,
            watermark,
            ledger,
            dead_letters,
            times,
            parts,
            ahead,
            bytes,
            ..
        } = self;
        let (first_at, max_at) = (&mut self.first_at, &mut self.max_at);
        let mut clockwork = Clockwork::of(readers, index);
        let shards = builders.len() as u16;
        let keeps_anonymous = parts.schema.anonymous.is_some();
        let received_before = ledger.received;
        for (nth, item) in raw.items.iter().enumerate().skip(next) {
            let used = (ledger.received - received_before) as usize;
            let left = match used {
                0 if alone => usize::MAX,
                used => room.saturating_sub(used),
            };
            if left == 0 || *bytes >= bytes_max {
                return nth;
            }
            let arrived = raw.arrived(nth);
            let taken = decoder.decode_raw(checked, nth, left, |event| {
                ledger.received += 1;
                if let Ok(parsed) = &event
                    && parsed.at > arrived.saturating_add(AHEAD_MS)
                {
                    *ahead = (ahead.0 + 1, ahead.1.max(parsed.at - arrived));
                }
                let judged = event.and_then(|event| {
                    match timed(event.at, event.guess, arrived, &parts.time) {
                        Ok(timed) => Ok((event, timed)),
                        Err(reason) => Err(Rejected { reason, raw: event.raw, part: event.part }),
                    }
                });
                let Rejected { reason, raw: bytes, part } = match judged {
                    Ok((event, timed)) => {
                        let stamp = *watermark;
                        first_at.get_or_insert(event.at);
                        *max_at = (*max_at).max(Some(event.at));
                        times.of += 1;
                        if let Some(fault) = timed.fault {
                            times.faults[fault as usize] += 1;
                        }
                        *watermark = clockwork.see(timed.seen, stamp);
                        let route = Route::of(&parts.schema, &event, shards);
                        let batch = &mut builders[usize::from(route.shard)];
                        return batch.push(&event, route, (item.position, stamp), keeps_anonymous);
                    }
                    Err(rejected) => rejected,
                };
                ledger.rejected += 1;
                dead_letters.push(DeadLetter {
                    source: index as u16,
                    position: item.position,
                    reason,
                    raw: bytes.to_vec(),
                    hints: raw.hints(nth, part),
                });
            });
            if !taken {
                return nth;
            }
            *bytes += item.len as usize;
        }
        raw.items.len()
    }
}
