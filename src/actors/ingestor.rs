//! The ingestor: pulls as much as credits allow, decodes, stamps every event with the
//! watermark at its place in the log, routes it to its shard, and sets barriers.
//!
//! Back-pressure: events between source and durable commit never exceed the credits, and
//! a shard's queue has a few permits. When either is used up nothing is pulled: the lag
//! grows in the durable log and memory does not.

mod barriers;
mod batches;
mod polls;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Addr;
use futures_util::FutureExt;
use tokio::sync::{Semaphore, oneshot, watch};

pub use self::polls::Sources;
use self::polls::{Polled, Polls};

use self::barriers::{BOARD_LEAD, Since};
use super::aggregator::Aggregator;
use super::aside::Batch;
use super::committer::Committer;
use super::flow::{Flow, PullState};
use super::messages::{BarrierNote, ShardBarrier};
use super::pipeline::{RunError, unreadable};
use super::pool::BatchPool;
use super::ports::{CURSOR_BYTES_MAX, Pull, SourceError};
use super::status::Status;
use super::supervision::DeathWatch;
use super::{Idle, Settings};
use crate::clock::SharedClock;
use crate::domain::commit::SourcePosition;
use crate::domain::condition::Condition;
use crate::domain::event::decode::Decoder;
use crate::domain::event::{CheckedBatch, DeadLetter, Hints, Schema};
use crate::domain::fault::Counts;
use crate::domain::keeper::Barrier;
use crate::domain::ledger::Ledger;
use crate::domain::readers::{Reader, least};
use crate::domain::time::{BEGINNING, EpochMs, SpanMs, TimePolicy};
use crate::telemetry::happenings::SourceGap;

/// How long to wait for room or for new events before looking at the clock again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where one shard takes its batches.
pub struct ShardInlet {
    /// The aggregator; the one address batches go through.
    pub addr: Addr<Aggregator>,
    /// Its queue's permits.
    pub permits: Arc<Semaphore>,
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
    polls: Polls,
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
    /// At most one for each source, in the order in which they came.
    pending: VecDeque<Pending>,
}

/// A batch that is gone through, in steps where its items hold more events than there is room
/// for.
struct Pending {
    /// Number of its source.
    index: usize,
    batch: CheckedBatch,
    /// Place of the next item.
    next: usize,
}

impl Ingestor {
    /// An ingestor that continues from `progress`.
    pub fn new(parts: IngestorParts, progress: Progress) -> Self {
        let Progress { positions, watermark, max_at, away } = progress;
        let readers = positions.into_iter().map(|at| Reader::new(at, watermark, away));
        Ingestor {
            decoder: Decoder::new(Arc::clone(&parts.schema)),
            readers: readers.collect(),
            polls: Polls::new(parts.sources.clone()),
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
            pending: VecDeque::new(),
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
        loop {
            self.ack();
            self.take_refused();
            if *self.parts.stop.borrow() {
                return self.barrier(None, true).await;
            }
            let moved = self.go_through().await?;
            // Before any other barrier: it would end sessions without saying that they were open.
            if self.readers.iter().all(Reader::ended) {
                let end = self.max_at.unwrap_or(BEGINNING);
                return self.barrier(Some(end), true).await;
            }
            self.barrier_if_due().await?;
            self.ask();
            if let Some(polled) = self.next(moved).await {
                self.found(polled)?;
            }
            self.watermark = least(&self.readers, self.watermark);
            self.tell_flow();
        }
    }

    /// Asks every source that may be asked, as far as there is room.
    fn ask(&mut self) {
        let (room, patience) = (self.room(), self.patience());
        for (index, reader) in self.readers.iter().enumerate() {
            match room {
                _ if reader.ended() || !self.polls.is_free(index) => {}
                0 => self.parts.flow.sources.lock()[index].state = PullState::NoCredits,
                _ => self.polls.ask(index, room.min(self.parts.settings.batch_max), patience),
            }
        }
    }

    /// Waits for what a source has, for room, or for the clock. While batches wait to be gone
    /// through, and the last step `moved`, it only looks.
    async fn next(&mut self, moved: bool) -> Option<Polled> {
        if moved && !self.pending.is_empty() {
            return self.polls.next().now_or_never();
        }
        let blocked = !self.pending.is_empty() || self.room() == 0;
        let wait = if blocked { LOOK_AGAIN } else { self.patience() };
        let mut stop = self.parts.stop.clone();
        tokio::select! {
            polled = self.polls.next() => Some(polled),
            () = self.parts.flow.freed.notified(), if blocked => None,
            () = tokio::time::sleep(wait) => None,
            _ = stop.changed() => None,
        }
    }

    /// How long to wait for a source: no longer than until a board is due.
    fn patience(&self) -> Duration {
        let tick = self.parts.settings.tick.min(self.parts.settings.commit_interval).max(1);
        let lead = self.until_board().map(|rest| rest - BOARD_LEAD).filter(|rest| *rest > 0);
        let wait = tick.min(200).min(lead.unwrap_or(tick));
        Duration::from_millis(wait.unsigned_abs().max(1))
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

    /// Takes what a source gave.
    fn found(&mut self, polled: Polled) -> Result<(), RunError> {
        let Polled { index, pull, lag } = polled;
        let (state, lag) = match pull.map_err(unreadable)? {
            Pull::Batch(raw) => {
                self.readers[index].busy();
                self.readers[index].lags(lag);
                let arrived = raw.items.len().checked_sub(1).map(|last| raw.arrived(last));
                self.pending.push_back(Pending { index, batch: raw.into(), next: 0 });
                self.parts.flow.sources.lock()[index].arrived = arrived.unwrap_or(BEGINNING);
                (PullState::Reading, lag.unwrap_or(0))
            }
            Pull::CaughtUp => {
                self.idle(index);
                (PullState::CaughtUp, 0)
            }
            Pull::Away(reason) => {
                self.readers[index].busy();
                (PullState::Away(reason), lag.unwrap_or(0))
            }
            Pull::Gap { from, to } => {
                let source = self.readers[index].position.source.name.clone();
                SourceGap { source: &source, from, to }.tell();
                self.ledger.gap += (to + 1).saturating_sub(from);
                // Nothing lies there that could be compared after a restart.
                let to = to.max(self.readers[index].position.position);
                self.stand_at(index, to, 0)?;
                (PullState::Reading, lag.unwrap_or(0))
            }
            Pull::End => {
                self.readers[index].end();
                (PullState::Ended, 0)
            }
        };
        let mut sources = self.parts.flow.sources.lock();
        let flow = &mut sources[index];
        (flow.state, flow.lag) = (state, lag);
        flow.position = self.readers[index].position.position;
        Ok(())
    }

    /// Notes how far a source was read; it is not being asked meanwhile.
    fn stand_at(&mut self, index: usize, position: u64, fingerprint: u64) -> Result<(), RunError> {
        let at = &mut self.readers[index].position;
        if let Some(source) = self.polls.source(index) {
            at.cursor = source.cursor(position);
        }
        (at.position, at.fingerprint) = (position, fingerprint);
        if at.cursor.len() > CURSOR_BYTES_MAX {
            return Err(unreadable(SourceError::Unfit(format!(
                "{} notes {} bytes to go on from, and {CURSOR_BYTES_MAX} are the most",
                at.source.name,
                at.cursor.len()
            ))));
        }
        Ok(())
    }

    /// Shows how the sources stand together.
    fn tell_flow(&self) {
        let flow = &self.parts.flow;
        let sources = flow.sources.lock();
        flow.lag.store(sources.iter().map(|source| source.lag).sum(), Ordering::SeqCst);
        let caught_up = self.readers.iter().all(Reader::caught_up);
        flow.caught_up.store(caught_up, Ordering::SeqCst);
        for source in sources.iter() {
            let away = match &source.state {
                PullState::Away(reason) => Some(reason.clone()),
                _ => None,
            };
            self.parts.status.stands_for(Condition::SourceAway, &source.name, away);
        }
    }

    /// All sources have more than a commit's events to read.
    fn far_behind(&self) -> bool {
        let commit = self.parts.settings.commit_events as u64;
        self.readers.iter().all(|reader| reader.far_behind(commit))
    }

    /// Milliseconds until the next board, if it is still to come.
    fn until_board(&self) -> Option<i64> {
        let next = self.parts.flow.next_board.load(Ordering::SeqCst);
        Some(next - self.parts.clock.elapsed()).filter(|rest| *rest >= 0)
    }

    async fn barrier_if_due(&mut self) -> Result<(), RunError> {
        let settings = &self.parts.settings;
        let since = Since {
            waited: self.parts.clock.elapsed() - self.barrier_at,
            events: self.ledger.received,
            bytes: self.bytes,
            moved: self.ledger.gap > 0
                || self.watermark > self.barrier_watermark
                || self.parts.flow.commanded.load(Ordering::SeqCst),
            board: self.until_board(),
            under_way: self.parts.flow.barriers.load(Ordering::SeqCst),
            far_behind: self.far_behind(),
        };
        if since.is_due(settings) { self.barrier(None, false).await } else { Ok(()) }
    }

    /// Sets a barrier: everything read so far belongs to one commit.
    async fn barrier(&mut self, drained_at: Option<EpochMs>, last: bool) -> Result<(), RunError> {
        self.parts.flow.commanded.store(false, Ordering::SeqCst);
        self.barriers += 1;
        self.barrier_at = self.parts.clock.elapsed();
        self.barrier_watermark = self.watermark;
        self.bytes = 0;
        let number = self.barriers;
        if self.ledger.received > 0 {
            let (ahead, most) = std::mem::take(&mut self.ahead);
            self.parts.flow.ahead.tell(ahead, self.ledger.received, most);
        }
        self.parts.flow.barriers.fetch_add(1, Ordering::SeqCst);
        let barrier = Barrier {
            positions: self.readers.iter().map(Reader::stands).collect(),
            watermark: self.watermark,
            first_at: self.first_at,
            max_at: self.max_at,
            ledger: std::mem::take(&mut self.ledger),
            dead_letters: std::mem::take(&mut self.dead_letters),
            times: std::mem::take(&mut self.times),
            unused_aliases: if last { self.decoder.unused_aliases() } else { Vec::new() },
        };
        let refused = std::mem::take(&mut self.refused);
        let message = ShardBarrier { number, watermark: barrier.watermark, drained_at };
        for inlet in &self.parts.shards {
            // A place is waited for, so that the mailbox is never full, and left at once.
            drop(inlet.permits.acquire().await);
            if inlet.addr.try_send(message).is_err() {
                self.parts.watch.fail("an aggregator does not take a barrier");
            }
        }
        if self.parts.committer.try_send(BarrierNote { number, barrier, last, refused }).is_err() {
            self.parts.watch.fail("the committer does not take a barrier");
        }
        Ok(())
    }

    /// Events that may be read before a commit gives credits back, or before a barrier when
    /// what was read since the last one has too many bytes.
    fn room(&self) -> usize {
        if self.bytes >= barriers::bytes_max(&self.parts.settings, self.far_behind()) {
            return 0;
        }
        let used = self.parts.flow.in_flight.load(Ordering::SeqCst) as usize;
        self.parts.settings.credits.saturating_sub(used)
    }

    /// Tells sources what is durable; one that is being asked hears of it afterwards.
    fn ack(&mut self) {
        let durable = self.parts.durable.borrow();
        for (index, (reader, durable)) in self.readers.iter_mut().zip(&*durable).enumerate() {
            if let Some(mut source) = self.polls.source(index)
                && reader.acknowledge(*durable)
            {
                source.ack(*durable);
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
