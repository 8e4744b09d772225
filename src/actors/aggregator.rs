//! The aggregator: one for each shard, on a thread of its own; parent and supervisor of
//! the shard's sessions.
//!
//! It takes one thing at a time: a batch (late and duplicate events go to the ledger, the
//! rest is grouped by key, one message to each session), or a barrier (due sessions
//! expire, then everything found since the last barrier goes to the committer). Each
//! waits for its ticket, so facts and records arrive in log order.
//!
//! Invariant: at a barrier every session whose deadline the watermark has passed has
//! ended, so a pane that is final holds every fact it will ever hold.

mod barrier;
mod batch;
mod identify;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use actix::{Actor, Addr, Context, Handler};
use smol_str::SmolStr;
use tokio::sync::OwnedSemaphorePermit;

use super::SessionsFull;
use super::children::{Bounds, Children};
use super::committer::Committer;
use super::directory::Directory;
use super::facts::SessionFact;
use super::messages::{ShardBarrier, ShardBatch, TicketDone};
use super::pool::BatchPool;
use super::session::ShardContext;
use super::supervision::DeathWatch;
use super::ticket::{Answers, Groups};
use crate::domain::commit::SectionWriter;
use crate::domain::event::EventBatch;
use crate::domain::hash::{EventIdentity, shard_of};
use crate::domain::keeper::{EndedSession, ShardDelta};
use crate::domain::metric::{FactKind, Fold, Labels, Metric};
use crate::domain::seen::Seen;
use crate::domain::session::{AliasBounds, Aliases, Closed, Ending, Machine, Outcome, Rules};
use crate::domain::time::{BEGINNING, EpochMs};

use barrier::BarrierWork;
use batch::{BatchWork, Fate, Share};

/// Mailbox of an aggregator: the ingestor's queue places, a barrier for each of them, and
/// one ticket.
pub const MAILBOX: usize = 32;

/// Sessions that are sent a message at once: what a message touches stays in the processor's
/// cache until it is read (512 x some 1 KiB), while the batch may be much larger, so that a
/// session gets many events in one message.
const WAVE: usize = 512;
/// Bytes of one section of session records: small enough that the allocator uses it again.
const SECTION_BYTES: usize = 1 << 20;

/// The groups that each metric keeps, set once the last of them was met: until then a shard
/// tells apart all it meets.
pub type DecidedGroups = Arc<[OnceLock<Vec<Labels>>]>;

/// What one shard is made of.
pub struct ShardParts {
    /// Its number.
    pub shard: u16,
    /// How many there are.
    pub shards: u16,
    /// The session rules.
    pub rules: Arc<Rules>,
    /// The metrics.
    pub metrics: Arc<Vec<Metric>>,
    /// Which groups each metric keeps, once that is decided for good.
    pub groups: DecidedGroups,
    /// How long identities are remembered.
    pub horizon: i64,
    /// How many of them, at most.
    pub identities_max: usize,
    /// What the sessions may take.
    pub bounds: Bounds,
    /// How many closed sessions it remembers.
    pub closed_max: usize,
    /// What it may remember of anonymous keys; `None` when they are told from known ones by
    /// nothing. There is one shard then.
    pub identify: Option<AliasBounds>,
    /// Seed of the hashes of keys.
    pub seed: u64,
    /// What happens when there is no room for another session.
    pub sessions_full: SessionsFull,
    /// Report every ended session, not only the abandoned ones.
    pub list_sessions: bool,
    /// The directory of open sessions.
    pub directory: Directory,
    /// Whom to hand over to.
    pub committer: Addr<Committer>,
    /// Where finished batches go, to be used again.
    pub pool: BatchPool,
    /// Told when this actor dies.
    pub watch: DeathWatch,
}

/// The actor.
pub struct Aggregator {
    parts: ShardParts,
    context: Rc<ShardContext>,
    children: Children,
    seen: Seen,
    closed: Closed,
    aliases: Option<Aliases>,
    fold: Fold,
    delta: ShardDelta,
    sessions: SectionWriter,
    waiting: VecDeque<Work>,
    busy: Option<Busy>,
    dispatched: usize,
    batches: u32,
    spare: Spare,
}

/// Space of the last batch, used again for the next.
#[derive(Default)]
struct Spare {
    groups: Groups,
    answers: Answers,
    fates: Vec<Fate>,
    turns: Vec<u32>,
    touched: Vec<Share>,
}

enum Work {
    Batch(EventBatch, OwnedSemaphorePermit),
    Barrier(ShardBarrier),
}

enum Busy {
    Batch(Box<BatchWork>),
    Barrier(BarrierWork),
}

impl Aggregator {
    /// An aggregator with no sessions.
    pub fn new(parts: ShardParts) -> Self {
        let context = ShardContext::new(Arc::clone(&parts.rules));
        let mut aggregator = Aggregator {
            children: Children::new(Rc::clone(&context), parts.directory.clone(), parts.bounds),
            closed: Closed::new(&parts.rules, parts.closed_max),
            aliases: parts.identify.map(Aliases::new),
            seen: Seen::new(parts.horizon, parts.identities_max),
            fold: Fold::new(Arc::clone(&parts.metrics), parts.rules.lateness),
            context,
            delta: ShardDelta::default(),
            sessions: SectionWriter::sessions(),
            waiting: VecDeque::new(),
            busy: None,
            dispatched: 0,
            batches: 0,
            spare: Spare::default(),
            parts,
        };
        aggregator.learn_groups();
        aggregator
    }

    /// Takes up this shard's part of a snapshot: identities, sessions, and those that were
    /// closed. See also [`Aggregator::restore_aliases`].
    ///
    /// # Errors
    /// When a record is malformed: names the key.
    pub fn restore<'a>(
        &mut self,
        sessions: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        identities: impl Iterator<Item = (i64, &'a [EventIdentity])>,
        closed: impl Iterator<Item = (u64, EpochMs)>,
        (ids_forgotten, ids_swept, forgotten): (EpochMs, EpochMs, EpochMs),
    ) -> Result<(), String> {
        let (shard, shards) = (self.parts.shard, self.parts.shards);
        self.seen.restore_forgotten(ids_forgotten);
        self.seen.restore_swept(ids_swept);
        for (until, ids) in identities {
            let mine = ids.iter().filter(|id| shard_of(id.high, shards) == shard);
            mine.for_each(|id| self.seen.restore(until, *id));
        }
        self.closed.forgotten = forgotten;
        let mine = closed.filter(|(hash, _)| shard_of(*hash, shards) == shard);
        mine.for_each(|(hash, floor)| self.closed.restore(hash, floor));
        for (key, record) in sessions {
            let hash = crate::domain::hash::key_hash(self.parts.seed, key);
            if shard_of(hash, shards) != shard {
                continue;
            }
            let key = String::from_utf8_lossy(key);
            let segments = &mut self.context.segments.borrow_mut();
            let machine = Machine::decode(record, segments, &self.parts.rules)
                .map_err(|malformed| format!("session {key:?}: {malformed}"))?;
            self.children.restore(&key, hash, machine, record.len() as u32);
        }
        Ok(())
    }

    /// Starts the next thing unless one is under way.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        while self.busy.is_none() {
            match self.waiting.pop_front() {
                Some(Work::Batch(batch, place)) => self.start_batch(batch, place, ctx),
                Some(Work::Barrier(barrier)) => self.start_barrier(barrier, ctx),
                None => return,
            }
        }
    }

    /// Takes in what the sessions left: records, timers, endings.
    fn take_answers(&mut self, answers: Answers, drained_at: Option<EpochMs>) {
        for (slot, ending) in &answers.ended {
            self.end_session(*slot, *ending, drained_at);
        }
        for touched in &answers.touched {
            let (start, len) = (touched.record.0 as usize, touched.record.1 as usize);
            let record = &answers.records[start..start + len];
            self.sessions.session(self.children.get(touched.slot).key.as_bytes(), record);
            if self.sessions.len() >= SECTION_BYTES {
                let full = std::mem::replace(&mut self.sessions, SectionWriter::sessions());
                self.delta.sections.push(full.finish());
            }
            if !record.is_empty() {
                self.children.weigh(
                    touched.slot,
                    touched.record.1,
                    touched.has_entry,
                    touched.first,
                );
                self.children.rearm(touched.slot, touched.deadline);
            } else if let Some(child) = self.children.remove(touched.slot)
                && touched.floor > BEGINNING
            {
                self.closed.insert(child.key_hash, touched.floor);
            }
        }
        let fx = &answers.effects;
        self.delta.gauges.add(&crate::domain::keeper::Gauges {
            by_step: fx.by_step,
            at_risk: fx.at_risk,
            value: fx.value,
        });
        self.delta.totals.stray_goals += fx.stray_goals;
        self.delta.totals.emptied += fx.emptied;
        self.delta.totals.identified += fx.identified;
        self.delta.totals.settled_early += fx.settled_early;
        self.spare.answers = answers;
    }

    fn end_session(&mut self, slot: u32, ending: Ending, drained_at: Option<EpochMs>) {
        self.delta.totals.count(&ending, drained_at);
        let segments = self.context.segments.borrow();
        let segment = segments.text(ending.segment);
        let child = self.children.get(slot);
        let fact =
            SessionFact { ending: &ending, key: &child.key, rules: &self.parts.rules, segment };
        self.fold.add(FactKind::Sessions, &fact, ending.stamp);
        if ending.outcome == Outcome::Abandoned || self.parts.list_sessions {
            let (key, segment) = (child.key.clone(), SmolStr::from(segment));
            self.delta.ended.push(EndedSession { key, segment, ending });
        }
    }
}

impl Actor for Aggregator {
    type Context = Context<Self>;
}

impl Handler<ShardBatch> for Aggregator {
    type Result = ();

    fn handle(&mut self, message: ShardBatch, ctx: &mut Context<Self>) {
        self.waiting.push_back(Work::Batch(message.batch, message.place));
        self.go_on(ctx);
    }
}

impl Handler<ShardBarrier> for Aggregator {
    type Result = ();

    fn handle(&mut self, message: ShardBarrier, ctx: &mut Context<Self>) {
        self.waiting.push_back(Work::Barrier(message));
        self.go_on(ctx);
    }
}

impl Handler<TicketDone> for Aggregator {
    type Result = ();

    fn handle(&mut self, message: TicketDone, ctx: &mut Context<Self>) {
        let TicketDone { mut answers } = message;
        if answers.touched.len() < self.dispatched {
            let dead = self.dispatched - answers.touched.len();
            return self.parts.watch.fail(&format!("{dead} session actors died"));
        }
        match self.busy.take() {
            Some(Busy::Batch(mut work)) => {
                work.failed.extend_from_slice(&answers.failed);
                work.late.extend_from_slice(&answers.late);
                let given = answers.given.take();
                self.take_answers(answers, None);
                if work.sent < work.victims.len() + work.touched.len() {
                    self.busy = Some(Busy::Batch(work));
                    return self.send_wave(ctx);
                }
                match work.moving.take() {
                    Some(moving) => self.go_on_moving(work, moving, given, ctx),
                    None => self.finish_batch(*work),
                }
            }
            Some(Busy::Barrier(work)) => {
                self.take_answers(answers, work.barrier.drained_at);
                if work.sent < work.due.len() {
                    self.busy = Some(Busy::Barrier(work));
                    return self.expire_wave(ctx);
                }
                self.finish_barrier(work.barrier);
            }
            None => self.parts.watch.fail("a ticket came back that nobody waited for"),
        }
        self.go_on(ctx);
    }
}
