//! The ingestor: pulls as much as credits allow, decodes, stamps every event with the
//! watermark at its place in the log, routes it to its shard, and sets barriers.
//!
//! Back-pressure: events between source and durable commit never exceed the credits, and
//! a shard's queue has a few places. When either is used up nothing is pulled: the lag
//! grows in the durable log and memory does not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore, watch};

use super::aggregator::Aggregator;
use super::committer::{Committer, Flow};
use super::messages::{BarrierNote, ShardBarrier, ShardBatch};
use super::pipeline::{RunError, unreadable};
use super::pool::BatchPool;
use super::ports::{Pull, Source};
use super::supervision::DeathWatch;
use super::{Idle, Settings};
use crate::clock::SharedClock;
use crate::domain::commit::{SourceIdentity, SourcePosition};
use crate::domain::event::decode::{Decoder, Parsed, ParsedValue};
use crate::domain::event::{DeadLetter, Event, EventBatch, RawBatch, Schema, Span, Value};
use crate::domain::hash::{event_identity, fingerprint, key_hash, shard_of};
use crate::domain::keeper::Barrier;
use crate::domain::ledger::Ledger;
use crate::domain::time::{BEGINNING, END_OF_TIME, EpochMs, TimePolicy};

/// Barriers that may be under way: more would only split the same commits up.
const BARRIERS_MAX: u64 = 4;
/// How long to wait for room or for new events before looking at the clock again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where one shard takes its batches.
pub struct ShardInlet {
    /// The aggregator; the one address batches go through.
    pub addr: Addr<Aggregator>,
    /// Its queue's places.
    pub places: Arc<Semaphore>,
}

/// What the ingestor is made of.
pub struct IngestorParts {
    /// Bounds and beats.
    pub settings: Settings,
    /// Rules of time.
    pub time: TimePolicy,
    /// What to decode.
    pub schema: Arc<Schema>,
    /// The clock.
    pub clock: SharedClock,
    /// Where events come from.
    pub source: Arc<Mutex<Box<dyn Source>>>,
    /// The shards.
    pub shards: Vec<ShardInlet>,
    /// Who lines the barriers up.
    pub committer: Addr<Committer>,
    /// Credits and positions.
    pub flow: Arc<Flow>,
    /// Batches to use again.
    pub pool: BatchPool,
    /// Position that is durable.
    pub durable: watch::Receiver<u64>,
    /// Asked to end.
    pub stop: watch::Receiver<bool>,
    /// Told when this part dies.
    pub watch: DeathWatch,
}

/// How far the ingestor is.
pub struct Progress {
    /// Position and fingerprint of the last item.
    pub position: SourcePosition,
    /// The watermark.
    pub watermark: EpochMs,
    /// Greatest event time, if any.
    pub max_at: Option<EpochMs>,
    /// How long the process was away since the watermark was written down.
    pub away: i64,
}

/// The running ingestor.
pub struct Ingestor {
    parts: IngestorParts,
    decoder: Decoder,
    progress: Progress,
    /// Watermark and monotonic time when the source's end was reached, and how long the
    /// process was away before: the watermark goes on from there.
    idle_from: Option<(EpochMs, i64)>,
    ledger: Ledger,
    dead_letters: Vec<DeadLetter>,
    barriers: u64,
    barrier_at: i64,
    barrier_watermark: EpochMs,
    acked: u64,
}

impl Ingestor {
    /// An ingestor that continues from `progress`.
    pub fn new(parts: IngestorParts, progress: Progress) -> Self {
        let decoder = Decoder::new(Arc::clone(&parts.schema));
        Ingestor {
            decoder,
            idle_from: None,
            ledger: Ledger::default(),
            dead_letters: Vec::new(),
            barriers: 0,
            barrier_at: parts.clock.elapsed(),
            barrier_watermark: progress.watermark,
            acked: progress.position.position,
            parts,
            progress,
        }
    }

    /// Runs until the source ends or the pipeline stops. Failures go to the watch.
    pub async fn run(mut self) {
        if let Err(error) = self.go().await {
            self.parts.watch.give_up(error);
        }
    }

    async fn go(&mut self) -> Result<(), RunError> {
        let source = Arc::clone(&self.parts.source);
        let mut source = source.lock().await;
        loop {
            self.ack(source.as_mut());
            if *self.parts.stop.borrow() {
                return self.barrier(None, true).await;
            }
            let room = self.room();
            if room == 0 {
                self.barrier_if_due().await?;
                self.pause(None).await;
                continue;
            }
            let pulled = source.pull(room.min(self.parts.settings.batch_max)).await;
            match pulled.map_err(unreadable)? {
                Pull::Batch(raw) => {
                    self.set_caught_up(false);
                    self.take(raw).await?;
                    self.parts.flow.lag.store(source.lag().unwrap_or(0), Ordering::SeqCst);
                    self.barrier_if_due().await?;
                }
                Pull::CaughtUp => {
                    self.parts.flow.lag.store(0, Ordering::SeqCst);
                    self.idle();
                    self.barrier_if_due().await?;
                    self.pause(Some(source.as_mut())).await;
                }
                Pull::Away(_) => {
                    // What was read before is committed all the same.
                    self.barrier_if_due().await?;
                    self.pause(Some(source.as_mut())).await;
                }
                Pull::Gap { .. } => {}
                Pull::End => {
                    let end = self.progress.max_at;
                    self.progress.watermark = END_OF_TIME;
                    return self.barrier(Some(end.unwrap_or(BEGINNING)), true).await;
                }
            }
        }
    }

    /// Events that may be read before a commit gives credits back.
    fn room(&self) -> usize {
        let used = self.parts.flow.in_flight.load(Ordering::SeqCst) as usize;
        self.parts.settings.credits.saturating_sub(used)
    }

    fn set_caught_up(&mut self, caught_up: bool) {
        self.parts.flow.caught_up.store(caught_up, Ordering::SeqCst);
        if !caught_up {
            self.idle_from = None;
        }
    }

    fn ack(&mut self, source: &mut dyn Source) {
        let durable = *self.parts.durable.borrow();
        if durable > self.acked {
            source.ack(durable);
            self.acked = durable;
        }
    }

    /// Waits for room, for new events, or for the clock.
    async fn pause(&mut self, source: Option<&mut dyn Source>) {
        let tick = self.parts.settings.tick.min(self.parts.settings.commit_interval).max(1);
        let mut stop = self.parts.stop.clone();
        let freed = self.parts.flow.freed.notified();
        match source {
            Some(source) => {
                let wait = Duration::from_millis((tick as u64).min(200));
                tokio::select! {
                    () = source.wait() => {}
                    () = tokio::time::sleep(wait) => {}
                    _ = stop.changed() => {}
                }
            }
            None => {
                tokio::select! {
                    () = freed => {}
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                    _ = stop.changed() => {}
                }
            }
        }
    }

    /// Time passes when nothing happens, but only when the source's end was reached: a
    /// slow or blocked pipeline is never mistaken for silence.
    fn idle(&mut self) {
        self.set_caught_up(true);
        if self.parts.settings.idle == Idle::Hold || self.progress.watermark == BEGINNING {
            return;
        }
        let now = self.parts.clock.elapsed();
        let away = std::mem::take(&mut self.progress.away);
        let (from, since) = *self.idle_from.get_or_insert((self.progress.watermark, now - away));
        let wall = self.parts.clock.wall() - self.parts.time.out_of_orderness;
        // Never past the wall clock (less the disorder), never back.
        let candidate = (from + now - since).min(wall);
        self.progress.watermark = self.progress.watermark.max(candidate);
    }

    /// Decodes a batch and hands every shard its events.
    async fn take(&mut self, raw: RawBatch) -> Result<(), RunError> {
        let shards = self.parts.shards.len();
        let width = self.parts.schema.slots.len();
        let mut builders: Vec<EventBatch> =
            (0..shards).map(|_| self.parts.pool.take(raw.data.clone(), width)).collect();
        let received_before = self.ledger.received;
        self.decode(&raw, &mut builders);
        if let Some(last) = raw.items.last() {
            self.progress.position.position = last.position;
            self.progress.position.fingerprint = fingerprint(raw.bytes(last));
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
            let Ok(place) = place else { return Ok(()) };
            if inlet.addr.try_send(ShardBatch { batch, place }).is_err() {
                self.parts.watch.fail("an aggregator does not take its batch");
                return Ok(());
            }
        }
        Ok(())
    }

    fn decode(&mut self, raw: &RawBatch, builders: &mut [EventBatch]) {
        let Ingestor { decoder, progress, ledger, dead_letters, parts, .. } = self;
        for (index, item) in raw.items.iter().enumerate() {
            let arrived = raw.arrived(index);
            let latest = arrived.saturating_add(parts.time.max_future);
            decoder.decode_raw(raw, index, |event| {
                ledger.received += 1;
                let rejected = match event {
                    Ok(parsed) if parsed.at > latest => {
                        let ahead = parsed.at - arrived;
                        let reason = format!(
                            "ts: {ahead} ms in the future (at most {} ms)",
                            parts.time.max_future
                        );
                        (reason, parsed.raw)
                    }
                    Ok(parsed) => {
                        let stamp = progress.watermark;
                        progress.max_at = progress.max_at.max(Some(parsed.at));
                        // An event ahead of its arrival counts, but does not rush time.
                        let seen = parsed.at.min(arrived) - parts.time.out_of_orderness;
                        progress.watermark = progress.watermark.max(seen);
                        return push(builders, &parts.schema, &parsed, item.position, stamp);
                    }
                    Err(rejected) => (rejected.reason, rejected.raw),
                };
                ledger.rejected += 1;
                let (reason, bytes) = rejected;
                dead_letters.push(DeadLetter {
                    source: 0,
                    position: item.position,
                    reason,
                    raw: bytes.to_vec(),
                });
            });
        }
    }

    async fn barrier_if_due(&mut self) -> Result<(), RunError> {
        let settings = &self.parts.settings;
        let waited = self.parts.clock.elapsed() - self.barrier_at;
        let full = self.ledger.received >= settings.commit_events as u64;
        let due = waited >= settings.commit_interval.min(settings.tick)
            && (self.ledger.received > 0 || self.progress.watermark > self.barrier_watermark);
        let room = self.parts.flow.barriers.load(Ordering::SeqCst) < BARRIERS_MAX;
        if (full || due) && room {
            return self.barrier(None, false).await;
        }
        Ok(())
    }

    /// Sets a barrier: everything read so far belongs to one commit.
    async fn barrier(&mut self, drained_at: Option<EpochMs>, last: bool) -> Result<(), RunError> {
        self.barriers += 1;
        self.barrier_at = self.parts.clock.elapsed();
        self.barrier_watermark = self.progress.watermark;
        let number = self.barriers;
        self.parts.flow.barriers.fetch_add(1, Ordering::SeqCst);
        let barrier = Barrier {
            position: self.progress.position.clone(),
            watermark: self.progress.watermark,
            max_at: self.progress.max_at,
            ledger: std::mem::take(&mut self.ledger),
            dead_letters: std::mem::take(&mut self.dead_letters),
        };
        let message = ShardBarrier { number, watermark: barrier.watermark, drained_at };
        for inlet in &self.parts.shards {
            // A place is waited for, so that the mailbox is never full, and left at once.
            drop(inlet.places.acquire().await);
            if inlet.addr.try_send(message).is_err() {
                self.parts.watch.fail("an aggregator does not take a barrier");
            }
        }
        if self.parts.committer.try_send(BarrierNote { number, barrier, last }).is_err() {
            self.parts.watch.fail("the committer does not take a barrier");
        }
        Ok(())
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
    let hash = match parsed.key {
        "" => 0,
        key => key_hash(schema.seed, key.as_bytes()),
    };
    // Events without a key go where their id (or their bytes) send them.
    let route = match (hash, parsed.id) {
        (0, Some(id)) => key_hash(schema.seed, id.as_bytes()),
        (0, None) => key_hash(schema.seed, parsed.raw),
        (hash, _) => hash,
    };
    let identity = parsed.id.map_or(0, |id| event_identity(schema.seed, route, id.as_bytes()));
    let shard = shard_of(route, builders.len() as u16);
    let batch = &mut builders[usize::from(shard)];
    let key = span(&batch.data, &mut batch.extra, parsed.key.as_bytes());
    let raw = span(&batch.data, &mut batch.extra, parsed.raw);
    for value in parsed.values {
        batch.slots.push(match value {
            ParsedValue::Missing => Value::Missing,
            ParsedValue::Number(number) => Value::Number(*number),
            ParsedValue::Bool(value) => Value::Bool(*value),
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

/// The position before the first item of a source.
pub fn beginning(source: SourceIdentity) -> SourcePosition {
    SourcePosition { source, position: 0, fingerprint: 0 }
}
