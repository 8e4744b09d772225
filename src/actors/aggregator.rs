//! The aggregator: one for each shard, on a thread of its own; parent and supervisor of
//! the shard's sessions, and the dispatcher that runs their turns.
//!
//! It takes one thing at a time and finishes it: a batch (each event in the order of the log:
//! duplicate and late ones go to the ledger, the others to their session and into the metrics),
//! a barrier (due sessions expire, then everything found since the last barrier goes to the
//! committer), or a question. The longest is a batch, of `pipeline.batch_max` events at most;
//! the sessions that somebody has the address of are served after each.
//!
//! Invariant: at a barrier every session whose deadline the watermark has passed has
//! ended, so a pane that is final holds every fact it will ever hold.

mod asked;
mod batch;
mod identify;
mod patterns;
mod restore;

use std::sync::Arc;
use std::task::{self, Waker};

use actix::{Actor, Addr, Context, Handler};
use arc_swap::ArcSwapOption;
use smol_str::SmolStr;

use super::SessionsFull;
use super::children::{AHEAD, Bounds, Children};
use super::committer::Committer;
use super::messages::{Apply, Expire, ShardBarrier, ShardBatch, ShardDone, ShardHolds};
use super::pool::BatchPool;
use super::supervision::DeathWatch;
use super::turn::Turn;
use crate::domain::commit::{SECTION_BYTES, SectionWriter, Snapshot, Unwritten};
use crate::domain::facts::SessionFact;
use crate::domain::keeper::{EndedSession, Gauges, ShardDelta};
use crate::domain::keyed::KeyedMachine as _;
use crate::domain::metric::{Decision, Facts, Fold, Metric};
use crate::domain::pattern::Patterns;
use crate::domain::seen::Seen;
use crate::domain::session::{
    AliasBounds, Changes, Closed, Ending, Late, Outcome, Rules, SessionEvent,
};
use crate::domain::time::{BEGINNING, EpochMs};

use asked::Mailboxes;
use identify::Visitors;
use patterns::forget;
pub use patterns::{PatternRoom, PatternShard};
use restore::Mine;

/// Mailbox of an aggregator: the permits of the ingestor's queue, a barrier for each of them, and
/// one more place for each question that may be under way (`pipeline.session_mailboxes_max`).
pub const MAILBOX: usize = 32;

/// The groups that each metric keeps in a period, set once no others will be: until then a shard
/// tells apart all it meets.
pub type DecidedGroups = Arc<[ArcSwapOption<Decision>]>;

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
    /// The patterns.
    pub patterns: Arc<Patterns>,
    /// What they may take.
    pub pattern_room: PatternRoom,
    /// Which groups each metric keeps, once that is decided.
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
    turn: Turn,
    children: Children,
    mailboxes: Mailboxes,
    seen: Seen,
    closed: Closed,
    visitors: Visitors,
    fold: Fold,
    /// `None` when there are no patterns.
    patterns: Option<PatternShard>,
    delta: ShardDelta,
    sessions: SectionWriter,
}

impl Aggregator {
    /// An aggregator with no sessions.
    pub fn new(parts: ShardParts) -> Self {
        let rules = &parts.rules;
        let mut aggregator = Aggregator {
            children: Children::new(Arc::clone(rules), parts.seed, parts.bounds),
            mailboxes: Mailboxes::default(),
            closed: Closed::new(rules, parts.closed_max),
            visitors: Visitors::new(parts.identify),
            seen: Seen::new(parts.horizon, parts.identities_max),
            patterns: PatternShard::new(
                &parts.patterns,
                false,
                parts.seed,
                parts.pattern_room.clone(),
            ),
            fold: Fold::new(Arc::clone(&parts.metrics), rules.lateness),
            turn: Turn::new(Arc::clone(rules)),
            delta: ShardDelta::default(),
            sessions: SectionWriter::sessions(),
            parts,
        };
        aggregator.learn_groups();
        aggregator
    }

    /// Takes up this shard's part of a snapshot: anonymous keys, identities, sessions, and those
    /// that were closed, of which all up to `closed_forgotten` may be missing; as of a
    /// watermark. Returns what is open then.
    ///
    /// # Errors
    /// When a record is malformed: names the key.
    pub fn restore(
        &mut self,
        snapshot: &Snapshot,
        closed_forgotten: EpochMs,
        watermark: EpochMs,
    ) -> Result<Gauges, String> {
        self.turn.watermark = watermark;
        let mine = Mine::of(&self.parts);
        self.delta.sections.extend(self.visitors.restore(&snapshot.aliases, mine.shard));
        restore::identities(&mut self.seen, snapshot, mine);
        self.closed.forgotten = closed_forgotten;
        let closed = snapshot.closed.iter().filter(|(hash, _)| mine.has(**hash));
        closed.for_each(|(hash, floor)| self.closed.restore(*hash, *floor));
        if let Some(patterns) = &mut self.patterns {
            patterns.restore(snapshot, (mine.shard, mine.shards))?;
        }
        if mine.shard == 0 {
            self.delta.sections.append(&mut forget(snapshot, &self.parts.patterns));
        }
        restore::sessions(&mut self.children, &mut self.turn, snapshot, mine)
    }

    /// A session's turn: one event. `None` when it panicked; nothing has happened then.
    #[inline]
    fn apply(&mut self, slot: u32, event: &SessionEvent) -> Option<Result<(), Late>> {
        fail::fail_point!("session_die", super::session::is_worth(event, 667), |_| panic!("died"));
        let session = &mut self.children.get(slot).session;
        let message = Apply { event };
        let answer = self.turn.guarded(session, |session, turn| session.handle(message, turn));
        if answer.is_some() {
            self.after_turn(slot, None);
        }
        answer
    }

    /// Takes in what a turn brought about: endings, the timer, what the next commit must hold.
    #[inline]
    fn after_turn(&mut self, slot: u32, drained_at: Option<EpochMs>) {
        if !self.turn.fx.endings.is_empty() {
            self.take_endings(slot, drained_at);
        }
        if !self.children.after_turn(slot) {
            self.let_go(slot);
        }
    }

    #[cold]
    fn take_endings(&mut self, slot: u32, drained_at: Option<EpochMs>) {
        let mut endings = std::mem::take(&mut self.turn.fx.endings);
        endings.drain(..).for_each(|ending| self.end_session(slot, ending, drained_at));
        self.turn.fx.endings = endings;
    }

    /// Nothing of a key is open any more.
    #[cold]
    fn let_go(&mut self, slot: u32) {
        let child = self.children.get(slot);
        if child.asked {
            self.mailboxes.close(slot);
        }
        // Before the records of this barrier, so that one of the same key holds. What no commit
        // knows of need not be forgotten.
        if child.kept {
            self.sessions.record(child.key.as_bytes(), &[]);
        }
        let floor = child.session.machine().floor();
        let key_hash = self.children.remove(slot);
        if floor > BEGINNING {
            self.closed.insert(key_hash, floor);
        }
        close_full(&mut self.sessions, SectionWriter::sessions, &mut self.delta.sections);
    }

    /// Writes the record of each session that changed since the last barrier.
    fn write_sessions(&mut self) {
        let Aggregator { children, turn, sessions, delta, .. } = self;
        let mut record = Vec::new();
        children.take_changed(|child| {
            record.clear();
            child.session.machine().encode(&turn.segments, &mut record);
            sessions.record(child.key.as_bytes(), &record);
            close_full(sessions, SectionWriter::sessions, &mut delta.sections);
        });
        let rest = std::mem::replace(sessions, SectionWriter::sessions());
        if !rest.is_empty() {
            delta.sections.push(rest.finish());
        }
    }

    /// What the turns since the last barrier changed besides.
    fn take_changes(&mut self) {
        let changes = std::mem::take(&mut self.turn.fx.changes);
        let Changes { by_step, at_risk, value, .. } = changes;
        self.delta.gauges.add(&Gauges { by_step, at_risk, value });
        let totals = &mut self.delta.totals;
        totals.stray_goals += changes.stray_goals;
        totals.emptied += changes.emptied;
        totals.identified += changes.identified;
        totals.settled_early += changes.settled_early;
    }

    fn end_session(&mut self, slot: u32, ending: Ending, drained_at: Option<EpochMs>) {
        self.delta.totals.count(&ending, drained_at);
        let segment = self.turn.segments.text(ending.segment);
        let child = self.children.get(slot);
        let fact =
            SessionFact { ending: &ending, key: &child.key, rules: &self.parts.rules, segment };
        self.fold.add(Facts::Sessions, &fact, ending.stamp);
        if ending.outcome == Outcome::Abandoned || self.parts.list_sessions {
            let (key, segment) = (child.key.clone(), SmolStr::from(segment));
            self.delta.ended.push(EndedSession::of(key, segment, ending, &self.parts.rules));
        }
    }

    /// Due sessions end, due patterns are decided, and what was found since the last barrier is
    /// handed over.
    fn take_barrier(&mut self, barrier: ShardBarrier) {
        let watermark = barrier.watermark;
        self.turn.watermark = watermark;
        for fired in self.children.fire(watermark).chunks(AHEAD) {
            let due = self.children.due(fired, watermark);
            due.iter().for_each(|(_, key_hash)| self.closed.look_for(*key_hash));
            for (slot, _) in due {
                let session = &mut self.children.get(slot).session;
                session.handle(Expire { watermark }, &mut self.turn);
                self.after_turn(slot, barrier.drained_at);
            }
        }
        if let Some(patterns) = &mut self.patterns {
            patterns.expire(watermark, &mut self.fold);
        }
        self.hand_over(barrier);
    }

    /// Takes up which groups are kept, once that is decided.
    fn learn_groups(&mut self) {
        for (metric, decided) in self.parts.groups.iter().enumerate() {
            if let Some(decision) = &*decided.load() {
                self.fold.learn(metric, decision);
            }
        }
    }

    fn hand_over(&mut self, barrier: ShardBarrier) {
        let watermark = barrier.watermark;
        self.write_sessions();
        self.take_changes();
        // Ids are kept for as long as a session that is open may be reached by their events.
        let reached = self.children.oldest_first().saturating_sub(self.parts.rules.gap);
        let floor = self.seen.sweep(watermark, reached);
        self.closed.sweep(watermark);
        self.children.may_walk();
        let mut delta = std::mem::take(&mut self.delta);
        self.delta.ended.reserve(delta.ended.len());
        delta.identity_floor = floor;
        delta.facts = self.fold.flush();
        delta.faults = self.fold.take_tally();
        let mut of_patterns = ShardHolds::default();
        if let Some(patterns) = &mut self.patterns {
            patterns.hand_over(watermark, &mut delta);
            of_patterns = patterns.holds();
        }
        self.learn_groups();
        delta.late_facts = self.fold.take_late();
        self.visitors.write(&mut delta, watermark);
        self.write_memory(&mut delta, watermark);
        let holds = self.holds(of_patterns);
        let done = ShardDone { number: barrier.number, shard: self.parts.shard, delta, holds };
        if self.parts.committer.try_send(done).is_err() {
            self.parts.watch.fail("the committer does not take this shard's results");
        }
    }

    /// What changed in the memory of ids and of closed sessions, and what of it was forgotten.
    fn write_memory(&mut self, delta: &mut ShardDelta, watermark: EpochMs) {
        let seen = &mut self.seen;
        delta.forgotten_early = std::mem::take(&mut seen.forgotten_early);
        let forgotten = seen.forgotten_until(watermark);
        delta.dedup_short_until = forgotten.map(|until| until.saturating_add(seen.horizon()));
        delta.closed_forgotten_early = std::mem::take(&mut self.closed.forgotten_early);
        delta.closed_forgotten = Some(self.closed.forgotten).filter(|at| *at > BEGINNING);
        let (identities, closed) = (seen.take_fresh(), self.closed.take_changes());
        delta.unwritten = Unwritten { identities, closed };
        let evicted = seen.take_evicted();
        if !evicted.is_empty() {
            let (shard, shards) = (self.parts.shard, self.parts.shards);
            let mut writer = SectionWriter::identities_evicted(shard, shards);
            evicted.iter().for_each(|(until, count)| writer.first(*until, *count));
            delta.sections.push(writer.finish());
            delta.sections.push(SectionWriter::identities_forgotten(seen.forgotten()));
        }
    }

    /// What the shard holds, for those who look.
    fn holds(&self, of_patterns: ShardHolds) -> ShardHolds {
        let bounds = self.parts.identify;
        ShardHolds {
            identities: self.seen.len() as u64,
            mailboxes: self.mailboxes.len() as u64,
            closed: self.closed.len() as u64,
            session_bytes: self.children.bytes() as u64,
            aliases: self.visitors.len() as u64,
            aliases_max: bounds.map_or(0, |bounds| bounds.max as u64),
            alias_bytes_max: bounds.map_or(0, |bounds| bounds.bytes_max as u64),
            alias_bytes: self.visitors.bytes() as u64,
            ..of_patterns
        }
    }

    /// Answers what has been asked, between two pieces of the log. While those come one after
    /// another the actor's own task gets to nothing else.
    fn serve_between(&mut self) {
        if self.mailboxes.len() > 0 {
            // Whoever is not served now is registered with the task's own waker after it.
            self.serve(&mut task::Context::from_waker(Waker::noop()));
        }
    }

    fn serve(&mut self, cx: &mut task::Context<'_>) {
        self.mailboxes.serve(&mut self.children, &mut self.turn, self.parts.shard, cx);
    }
}

/// Begins another section of records when one is full.
fn close_full(
    records: &mut SectionWriter,
    empty: fn() -> SectionWriter,
    sections: &mut Vec<Vec<u8>>,
) {
    if records.len() >= SECTION_BYTES {
        let next = empty().with_room(SECTION_BYTES + SECTION_BYTES / 16);
        sections.push(std::mem::replace(records, next).finish());
    }
}

impl Actor for Aggregator {
    type Context = Context<Self>;

    /// The fail point lies between the actor's first look into its mailbox and its decision
    /// whether anybody is left who could send.
    #[cfg(feature = "failpoints")]
    fn started(&mut self, ctx: &mut Self::Context) {
        let looked = async { fail::fail_point!("aggregator_looked") };
        actix::AsyncContext::spawn(ctx, actix::fut::wrap_future(looked));
    }
}

impl Handler<ShardBatch> for Aggregator {
    type Result = ();

    fn handle(&mut self, ShardBatch { batch, permit }: ShardBatch, _: &mut Context<Self>) {
        self.take_batch(batch);
        // Its permit is free only now.
        drop(permit);
        self.serve_between();
    }
}

impl Handler<ShardBarrier> for Aggregator {
    type Result = ();

    fn handle(&mut self, barrier: ShardBarrier, _: &mut Context<Self>) {
        self.take_barrier(barrier);
        self.serve_between();
    }
}
