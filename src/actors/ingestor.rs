//! The ingestor: pulls as much as credits allow, decodes, stamps every event with the
//! watermark at its place in the log, routes it to its shard, and sets barriers.
//!
//! Back-pressure: events between source and durable commit never exceed the credits, and
//! a shard's queue has a few places. When either is used up nothing is pulled: the lag
//! grows in the durable log and memory does not.

mod barriers;
mod batches;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Addr;
use futures_util::future::select_all;
use tokio::sync::{Mutex, Semaphore, oneshot, watch};

use super::aggregator::Aggregator;
use super::aside::Batch;
use super::committer::{Committer, Flow, PullState};
use super::pipeline::{RunError, unreadable};
use super::pool::BatchPool;
use super::ports::{Pull, Source};
use super::readers::{Reader, least};
use super::status::Status;
use super::supervision::DeathWatch;
use super::{Idle, Settings};
use crate::clock::SharedClock;
use crate::domain::commit::{SourceIdentity, SourcePosition};
use crate::domain::event::decode::Decoder;
use crate::domain::event::{DeadLetter, Hints, RawBatch, Schema};
use crate::domain::fault::Counts;
use crate::domain::ledger::Ledger;
use crate::domain::time::{BEGINNING, EpochMs, SpanMs, TimePolicy};
use crate::telemetry::happenings::Gap;

/// Barriers that may be under way: more would only split the same commits up.
const BARRIERS_MAX: u64 = 4;
/// A barrier is set this long before a board is due, so that the board shows what has just
/// come instead of what the last commit held; in ms.
const BOARD_LEAD: i64 = 60;
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
    pub sources: Sources,
    /// The shards.
    pub shards: Vec<ShardInlet>,
    /// Who lines the barriers up.
    pub committer: Addr<Committer>,
    /// Credits and positions.
    pub flow: Arc<Flow>,
    /// Batches to use again.
    pub pool: BatchPool,
    /// Position of each source that is durable.
    pub durable: watch::Receiver<Vec<u64>>,
    /// Readiness.
    pub status: Arc<Status>,
    /// Asked to end.
    pub stop: watch::Receiver<bool>,
    /// Told when this part dies.
    pub watch: DeathWatch,
}

/// All sources of a pipeline; whoever reads them holds the lock.
pub type Sources = Arc<Mutex<Vec<Box<dyn Source>>>>;

/// How far the ingestor is.
pub struct Progress {
    /// Position and fingerprint of each source's last item.
    pub positions: Vec<SourcePosition>,
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
    readers: Vec<Reader>,
    /// Who is asked first in the next round: when credits are short, each in turn.
    first: usize,
    watermark: EpochMs,
    /// Time of the first event read since the start.
    first_at: Option<EpochMs>,
    max_at: Option<EpochMs>,
    ledger: Ledger,
    dead_letters: Vec<DeadLetter>,
    /// Raw batches taken.
    batches: u64,
    times: Counts,
    /// Who put some of them aside, and waits.
    refused: Vec<oneshot::Sender<()>>,
    barriers: u64,
    barrier_at: i64,
    barrier_watermark: EpochMs,
    ahead: (u64, SpanMs),
    /// Bytes read since the last barrier.
    bytes: usize,
    pending: Option<Pending>,
}

/// A batch that is gone through in steps, because its items hold more events than there is
/// room for. Nothing else is read before its end.
struct Pending {
    /// Number of its source.
    index: usize,
    raw: Arc<RawBatch>,
    /// Place of the next item.
    next: usize,
}

/// What one round over the sources brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Read,
    Nothing,
    NoRoom,
    Ended,
}

impl Ingestor {
    /// An ingestor that continues from `progress`.
    pub fn new(parts: IngestorParts, progress: Progress) -> Self {
        let Progress { positions, watermark, max_at, away } = progress;
        let readers = positions.into_iter().map(|at| Reader::new(at, watermark, away));
        Ingestor {
            decoder: Decoder::new(Arc::clone(&parts.schema)),
            readers: readers.collect(),
            first: 0,
            watermark,
            first_at: None,
            max_at,
            ledger: Ledger::default(),
            dead_letters: Vec::new(),
            batches: 0,
            times: Counts::default(),
            refused: Vec::new(),
            barriers: 0,
            barrier_at: parts.clock.elapsed(),
            barrier_watermark: watermark,
            ahead: (0, 0),
            bytes: 0,
            pending: None,
            parts,
        }
    }

    /// Runs until the sources end or the pipeline stops. Failures go to the watch.
    pub async fn run(mut self) {
        if let Err(error) = self.go().await {
            self.parts.watch.give_up(error);
        }
    }

    async fn go(&mut self) -> Result<(), RunError> {
        let sources = Arc::clone(&self.parts.sources);
        let mut sources = sources.lock().await;
        loop {
            self.ack(&mut sources);
            self.take_refused();
            if *self.parts.stop.borrow() {
                return self.barrier(None, true).await;
            }
            match self.round(&mut sources).await? {
                Round::Read => {}
                Round::Nothing => {
                    self.barrier_if_due().await?;
                    self.pause(Some(&mut sources)).await;
                }
                Round::NoRoom => {
                    self.barrier_if_due().await?;
                    self.pause(None).await;
                }
                Round::Ended => {
                    let end = self.max_at.unwrap_or(BEGINNING);
                    return self.barrier(Some(end), true).await;
                }
            }
        }
    }

    /// Takes in what was refused before a source had it: read and rejected, as it were.
    fn take_refused(&mut self) {
        let position = self.readers[0].position.position;
        for Batch { events, done } in self.parts.flow.aside.take() {
            let count = events.len() as u64;
            self.ledger.received += count;
            self.ledger.rejected += count;
            self.parts.flow.in_flight.fetch_add(count, Ordering::SeqCst);
            self.parts.flow.unsettled.fetch_add(count, Ordering::SeqCst);
            self.dead_letters.extend(events.into_iter().map(|refusal| DeadLetter {
                source: 0,
                position,
                reason: refusal.reason,
                raw: refusal.raw.to_vec(),
                hints: Hints::never_sent(),
            }));
            self.refused.push(done);
        }
    }

    /// Asks every source once.
    async fn round(&mut self, sources: &mut [Box<dyn Source>]) -> Result<Round, RunError> {
        if self.pending.is_some() {
            let moved = self.go_through().await;
            self.barrier_if_due().await?;
            if self.pending.is_some() || moved {
                self.tell_flow();
                return Ok(if moved { Round::Read } else { Round::NoRoom });
            }
        }
        let count = sources.len();
        let mut found = Round::Nothing;
        for turn in 0..count {
            let index = (self.first + turn) % count;
            if self.readers[index].ended() {
                continue;
            }
            let room = self.room();
            if room == 0 {
                self.parts.flow.sources.lock()[index].state = PullState::NoCredits;
                self.first = index;
                return Ok(if found == Round::Read { found } else { Round::NoRoom });
            }
            let max = room.min(self.parts.settings.batch_max);
            let pulled = sources[index].pull(max).await.map_err(unreadable)?;
            let lag = sources[index].lag().unwrap_or(0);
            if self.found(index, pulled, lag).await? {
                found = Round::Read;
            }
            self.barrier_if_due().await?;
            if self.pending.is_some() {
                return Ok(Round::Read);
            }
        }
        self.first = (self.first + 1) % count;
        self.watermark = least(&self.readers, self.watermark);
        self.tell_flow();
        match self.readers.iter().all(Reader::ended) {
            true => Ok(Round::Ended),
            false => Ok(found),
        }
    }

    /// Takes what a source gave. True when that was something.
    async fn found(&mut self, index: usize, pulled: Pull, lag: u64) -> Result<bool, RunError> {
        let (state, lag, read) = match pulled {
            Pull::Batch(raw) => {
                self.readers[index].busy();
                let arrived = raw.items.len().checked_sub(1).map(|last| raw.arrived(last));
                self.pending = Some(Pending { index, raw: Arc::new(raw), next: 0 });
                self.go_through().await;
                self.parts.flow.sources.lock()[index].arrived = arrived.unwrap_or(BEGINNING);
                (PullState::Reading, lag, true)
            }
            Pull::CaughtUp => {
                self.idle(index);
                (PullState::CaughtUp, 0, false)
            }
            Pull::Away(reason) => {
                self.readers[index].busy();
                (PullState::Away(reason), lag, false)
            }
            Pull::Gap { from, to } => {
                let source = self.readers[index].position.source.name.clone();
                Gap { source: &source, from, to }.tell();
                self.ledger.gap += (to + 1).saturating_sub(from);
                // Nothing lies there that could be compared after a restart.
                let position = &mut self.readers[index].position;
                (position.position, position.fingerprint) = (to.max(position.position), 0);
                (PullState::Reading, lag, true)
            }
            Pull::End => {
                self.readers[index].end();
                (PullState::Ended, 0, false)
            }
        };
        let mut sources = self.parts.flow.sources.lock();
        let flow = &mut sources[index];
        (flow.state, flow.lag) = (state, lag);
        flow.position = self.readers[index].position.position;
        Ok(read)
    }

    /// Shows how the sources stand together.
    fn tell_flow(&self) {
        let flow = &self.parts.flow;
        let sources = flow.sources.lock();
        flow.lag.store(sources.iter().map(|source| source.lag).sum(), Ordering::SeqCst);
        let caught_up = self.readers.iter().all(Reader::caught_up);
        flow.caught_up.store(caught_up, Ordering::SeqCst);
        let away = sources.iter().find_map(|source| match &source.state {
            PullState::Away(reason) => Some(format!("{}: {reason}", source.name)),
            _ => None,
        });
        if away != self.parts.status.reason("source") {
            self.parts.status.set("source", away);
        }
    }

    /// Events that may be read before a commit gives credits back, or before a barrier when
    /// what was read since the last one has too many bytes.
    fn room(&self) -> usize {
        if self.bytes >= self.parts.settings.commit_bytes {
            return 0;
        }
        let used = self.parts.flow.in_flight.load(Ordering::SeqCst) as usize;
        self.parts.settings.credits.saturating_sub(used)
    }

    fn ack(&mut self, sources: &mut [Box<dyn Source>]) {
        let durable = self.parts.durable.borrow();
        for ((reader, source), durable) in self.readers.iter_mut().zip(sources).zip(&*durable) {
            if reader.acknowledge(*durable) {
                source.ack(*durable);
            }
        }
    }

    /// Waits for room, for new events, or for the clock.
    async fn pause(&mut self, sources: Option<&mut Vec<Box<dyn Source>>>) {
        let tick = self.parts.settings.tick.min(self.parts.settings.commit_interval).max(1);
        let mut stop = self.parts.stop.clone();
        let freed = self.parts.flow.freed.notified();
        match sources {
            Some(sources) => {
                let lead =
                    self.until_board().map(|rest| rest - BOARD_LEAD).filter(|rest| *rest > 0);
                let wait = tick.min(200).min(lead.unwrap_or(tick));
                let wait = Duration::from_millis(wait.unsigned_abs().max(1));
                let readers = sources.iter_mut().zip(&self.readers);
                let open = readers.filter(|(_, reader)| !reader.ended());
                let any = select_all(open.map(|(source, _)| source.wait()));
                tokio::select! {
                    _ = any => {}
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

    /// Time passes when nothing happens, but only when a source's end was reached: a
    /// slow or blocked pipeline is never mistaken for silence.
    fn idle(&mut self, index: usize) {
        let clock = &self.parts.clock;
        // Never past the wall clock (less the disorder).
        let latest = clock.wall() - self.parts.time.out_of_orderness;
        let hold = self.parts.settings.idle == Idle::Hold;
        self.readers[index].idle(clock.elapsed(), latest, hold);
    }
}

/// The position before the first item of a source.
pub fn beginning(source: SourceIdentity) -> SourcePosition {
    SourcePosition { source, position: 0, fingerprint: 0, watermark: BEGINNING }
}
