//! A raw batch becomes one batch for each shard: decoded, stamped, routed, as far as there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::barriers::bytes_max;
use super::{Ingestor, Pending};
use crate::actors::messages::ShardBatch;
use crate::actors::pipeline::RunError;
use crate::actors::standing::AHEAD_MS;
use crate::domain::event::decode::{Parsed, ParsedValue};
use crate::domain::event::{DeadLetter, Event, EventBatch, RawBatch, Schema, Span, Value};
use crate::domain::fault;
use crate::domain::hash::{EventIdentity, fingerprint, key_hash, shard_of};
use crate::domain::readers::Clockwork;
use crate::domain::time::EpochMs;
use crate::domain::verdict::too_far_ahead;

impl Ingestor {
    /// Decodes as much of the oldest pending batch as there is room for, and hands every shard
    /// its events. True when some of it was taken; what is left stays pending.
    pub(super) async fn go_through(&mut self) -> Result<bool, RunError> {
        let Some(Pending { index, raw, next }) = self.pending.pop_front() else {
            return Ok(false);
        };
        let shards = self.parts.shards.len();
        let width = self.parts.schema.slots.len();
        let mut builders: Vec<EventBatch> =
            (0..shards).map(|_| self.parts.pool.take(raw.data.clone(), width)).collect();
        let noted = (!raw.notes.is_empty()).then_some(&raw);
        self.batches += 1;
        for batch in &mut builders {
            batch.source = index as u16;
            batch.number = self.batches;
            batch.noted = noted.cloned();
        }
        let received_before = self.ledger.received;
        let end = self.decode(index, &raw, next, &mut builders);
        let moved = end > next;
        if let Some(last) = raw.items[next..end].last() {
            self.stand_at(index, last.position, fingerprint(raw.bytes(last)))?;
            self.parts.flow.sources.lock()[index].position = last.position;
        }
        match end < raw.items.len() {
            true => self.pending.push_front(Pending { index, raw, next: end }),
            false => self.polls.done(index),
        }
        let read = self.ledger.received - received_before;
        self.parts.flow.in_flight.fetch_add(read, Ordering::SeqCst);
        self.parts.flow.unsettled.fetch_add(read, Ordering::SeqCst);
        for (inlet, batch) in self.parts.shards.iter().zip(builders) {
            if batch.events.is_empty() {
                self.parts.pool.put(batch);
                continue;
            }
            let place = Arc::clone(&inlet.places).acquire_owned().await;
            let Ok(place) = place else { return Ok(moved) };
            if inlet.addr.try_send(ShardBatch { batch, place }).is_err() {
                self.parts.watch.fail("an aggregator does not take its batch");
                return Ok(moved);
            }
        }
        Ok(moved)
    }

    /// Decodes the items of a batch from `next` on, as far as there is room; returns the place
    /// of the first that was left. An item is taken whole or not at all, so that a position
    /// says all about it. One with more events than there are credits is taken when nothing
    /// else is under way.
    fn decode(
        &mut self,
        index: usize,
        raw: &RawBatch,
        next: usize,
        builders: &mut [EventBatch],
    ) -> usize {
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
        let received_before = ledger.received;
        for (place, item) in raw.items.iter().enumerate().skip(next) {
            let used = (ledger.received - received_before) as usize;
            let left = match used {
                0 if alone => usize::MAX,
                used => room.saturating_sub(used),
            };
            if left == 0 || *bytes >= bytes_max {
                return place;
            }
            let arrived = raw.arrived(place);
            let latest = arrived.saturating_add(parts.time.max_future);
            let taken = decoder.decode_raw(raw, place, left, |event| {
                ledger.received += 1;
                if let Ok(parsed) = &event
                    && parsed.at > arrived.saturating_add(AHEAD_MS)
                {
                    *ahead = (ahead.0 + 1, ahead.1.max(parsed.at - arrived));
                }
                let rejected = match event {
                    Ok(parsed) if parsed.at > latest => {
                        let reason = too_far_ahead(parsed.at, arrived, parts.time.max_future);
                        (reason.unwrap_or_default(), parsed.raw, parsed.part)
                    }
                    Ok(parsed) => {
                        let stamp = *watermark;
                        first_at.get_or_insert(parsed.at);
                        *max_at = (*max_at).max(Some(parsed.at));
                        times.of += 1;
                        if let Some(fault) = fault::of_time(parsed.at, parsed.guess, arrived) {
                            times.faults[fault as usize] += 1;
                        }
                        // An event ahead of its arrival counts, but does not rush time.
                        let seen = parsed.at.min(arrived) - parts.time.out_of_orderness;
                        *watermark = clockwork.see(seen, stamp);
                        return push(builders, &parts.schema, &parsed, item.position, stamp);
                    }
                    Err(rejected) => (rejected.reason, rejected.raw, rejected.part),
                };
                ledger.rejected += 1;
                let (reason, bytes, part) = rejected;
                dead_letters.push(DeadLetter {
                    source: index as u16,
                    position: item.position,
                    reason,
                    raw: bytes.to_vec(),
                    hints: raw.hints(place, part),
                });
            });
            if !taken {
                return place;
            }
            *bytes += item.len as usize;
        }
        raw.items.len()
    }
}

/// Puts a decoded event into its shard's batch; texts become spans of the shared buffer.
fn push(
    builders: &mut [EventBatch],
    schema: &Schema,
    parsed: &Parsed<'_>,
    position: u64,
    watermark: EpochMs,
) {
    let known = if parsed.key.is_empty() { parsed.anonymous } else { parsed.key };
    let hash = match known {
        "" => 0,
        key => key_hash(schema.seed, key.as_bytes()),
    };
    // Events without a key go where their id (or their bytes) send them.
    let route = match (hash, parsed.id) {
        (0, Some(id)) => key_hash(schema.seed, id.as_bytes()),
        (0, None) => key_hash(schema.seed, parsed.raw),
        (hash, _) => hash,
    };
    let identity = match parsed.id {
        Some(id) => EventIdentity::of(schema.seed, route, id.as_bytes()),
        None => EventIdentity::NONE,
    };
    let shard = shard_of(route, builders.len() as u16);
    let batch = &mut builders[usize::from(shard)];
    let key = span(&batch.data, &mut batch.extra, known.as_bytes());
    if schema.anonymous.is_some() {
        let anonymous = span(&batch.data, &mut batch.extra, parsed.anonymous.as_bytes());
        batch.anonymous.push(anonymous);
    }
    let raw = span(&batch.data, &mut batch.extra, parsed.raw);
    for value in parsed.values {
        batch.slots.push(match value {
            ParsedValue::Missing => Value::Missing,
            ParsedValue::Number(number) => Value::Number(*number),
            ParsedValue::Bool(value) => Value::Bool(*value),
            ParsedValue::Unusable(why) => Value::Unusable(*why),
            ParsedValue::Text(text) => {
                Value::Text(span(&batch.data, &mut batch.extra, text.as_bytes()))
            }
        });
    }
    batch.events.push(Event {
        at: parsed.at,
        watermark,
        position,
        key_hash: hash,
        identity,
        key,
        raw,
        part: parsed.part.unwrap_or(Event::WHOLE),
        kind: parsed.kind,
    });
}

/// Where a text lies in the shared buffer; copied behind it when it was unescaped.
fn span(data: &Bytes, extra: &mut Vec<u8>, text: &[u8]) -> Span {
    let len = text.len() as u32;
    let start = (text.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
    if start <= data.len() && start + text.len() <= data.len() {
        return Span { start: start as u32, len };
    }
    let start = (data.len() + extra.len()) as u32;
    extra.extend_from_slice(text);
    Span { start, len }
}
