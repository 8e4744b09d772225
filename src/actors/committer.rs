//! The committer: lines up the shards' results of each barrier (`lineup`), lets the keeper add
//! them up, hands the commit to the store's thread (`handover`), and publishes boards (`page`).
//!
//! Invariant (I5): nothing leaves the process before the commit that holds it is durable.
//! Alerts are delivered from the outbox by the store; only boards, which are views, may
//! be ahead of the disk.
//! Invariant (I6): commits are handed over one after another and number themselves after
//! their parent.

mod handover;
mod lineup;
mod own_keys;
mod page;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt as _, AsyncContext, Context, Handler, MessageResult, WrapFuture as _,
};
use tokio::sync::{oneshot, watch};

use self::handover::Handover;
use self::lineup::{Complete, LineUp};
pub use self::own_keys::{OwnKeys, OwnKeysParts};
use self::page::Page;
pub use self::page::{ClientCounts, Clients, Face, PageParts, Probe};
use super::aggregator::DecidedGroups;
use super::flow::Flow;
use super::messages::{
    Attend, BarrierNote, DescribeKinds, LookAtKinds, LookNudges, NudgesStand, OpenRestored,
    ShardDone, Stored, Suppress,
};
use super::pipeline::{Output, RunError, Witness};
use super::quiet::Quiet;
use super::store_thread::{StoreCommand, ToStore};
use super::supervision::DeathWatch;
use crate::clock::SharedClock;
use crate::domain::incident::Refused;
use crate::domain::keeper::{Keeper, ReplayNumbers};
use crate::domain::nudge;
use crate::domain::time::{EpochMs, SpanMs};

/// Mailbox: a note and a result of each shard for every barrier under way, and answers
/// of the store.
pub const MAILBOX: usize = 1_024;
/// How often a waiting commit is offered again.
const OFFER_AGAIN: Duration = Duration::from_millis(5);
/// An idle pipeline writes its watermark down this often, so that a restart knows it.
const IDLE_COMMIT: SpanMs = 10_000;

/// What the committer is made of.
pub struct CommitterParts {
    /// Adds up.
    pub keeper: Keeper,
    /// Machines by keys of patterns, where there are such.
    pub own_keys: Option<OwnKeys>,
    /// Told who wants to hear nothing.
    pub quiet: Arc<Quiet>,
    /// Where the shards learn which groups are kept.
    pub groups: DecidedGroups,
    /// Number of the last commit.
    pub epoch: u64,
    /// The watermark it held.
    pub watermark: EpochMs,
    /// To the store's thread.
    pub store: SyncSender<StoreCommand>,
    /// Position of each source that is durable.
    pub durable: watch::Sender<Vec<u64>>,
    /// Told the numbers when the last barrier of a replay is durable.
    pub finished: watch::Sender<Option<ReplayNumbers>>,
    /// Where ended sessions and final numbers are written to, if anywhere.
    pub output: Option<Box<dyn Output>>,
    /// Sees every commit, if anybody wants to.
    pub witness: Option<Witness>,
    /// What people see of it.
    pub page: PageParts,
    /// Told when this actor dies.
    pub watch: DeathWatch,
}

/// The actor.
pub struct Committer {
    keeper: Keeper,
    own_keys: Option<OwnKeys>,
    quiet: Arc<Quiet>,
    groups: DecidedGroups,
    line: LineUp,
    handover: Handover,
    page: Page,
    clock: SharedClock,
    flow: Arc<Flow>,
    watermark: EpochMs,
    /// When the last commit was made.
    written_at: i64,
    /// The last barrier of all, once it came.
    last: Option<u64>,
    finished: watch::Sender<Option<ReplayNumbers>>,
    output: Option<Box<dyn Output>>,
    witness: Option<Witness>,
    /// Who gave a command that is durable with the next commit.
    attended: Vec<oneshot::Sender<()>>,
}

impl Committer {
    /// A committer that continues after `parts.epoch`.
    pub fn new(parts: CommitterParts) -> Self {
        let page = parts.page;
        let (clock, flow) = (Arc::clone(&page.clock), Arc::clone(&page.flow));
        Committer {
            keeper: parts.keeper,
            own_keys: parts.own_keys,
            quiet: parts.quiet,
            groups: parts.groups,
            line: LineUp::of(page.settings.shards),
            handover: Handover {
                store: parts.store,
                flow: Arc::clone(&flow),
                durable: parts.durable,
                watch: parts.watch,
                waiting: VecDeque::new(),
                epoch: parts.epoch,
                told: BTreeMap::new(),
            },
            page: Page::new(page, parts.epoch),
            watermark: parts.watermark,
            written_at: clock.elapsed(),
            clock,
            flow,
            last: None,
            finished: parts.finished,
            output: parts.output,
            witness: parts.witness,
            attended: Vec::new(),
        }
    }

    /// Adds up every barrier that is complete, in order.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        while let Some(complete) = self.line.next() {
            self.merge(complete, ctx);
        }
    }

    fn merge(&mut self, complete: Complete, ctx: &mut Context<Self>) {
        let Complete { number, barrier, last, mut shards } = complete;
        let events = barrier.ledger.received;
        let news = events + barrier.ledger.gap > 0;
        let positions: Vec<u64> = barrier.positions.iter().map(|at| at.position).collect();
        self.watermark = barrier.watermark;
        self.flow.unsettled.fetch_sub(events, Ordering::SeqCst);
        if let Some(own_keys) = &mut self.own_keys {
            self.page.own_keys = own_keys.take(&mut shards, barrier.watermark);
        }
        let wall = self.clock.wall();
        self.keeper.set_wall(wall);
        let mut unit = self.keeper.merge(barrier, shards);
        let attended = std::mem::take(&mut self.attended);
        if !attended.is_empty() {
            self.handover.told.entry(number).or_default().extend(attended);
        }
        if let Some(witness) = &self.witness {
            witness(&unit);
        }
        decide_groups(&self.keeper, &self.groups);
        if let Some(output) = &mut self.output
            && let Err(error) = output.write(&self.keeper)
        {
            self.handover.watch.give_up(RunError::Output(error));
        }
        if last {
            self.last = Some(number);
        }
        let now = self.clock.elapsed();
        let worth_it = news
            || !unit.alerts.is_empty()
            || unit.changes_state()
            || last
            || now - self.written_at >= IDLE_COMMIT;
        if !worth_it {
            return self.durable(number, events, &positions);
        }
        self.written_at = now;
        unit.wall = wall;
        let answer = ctx.address().recipient();
        self.handover.commit(ToStore { number, events, positions, unit, answer });
    }

    fn durable(&mut self, number: u64, events: u64, positions: &[u64]) {
        self.handover.release(number, events, positions);
        if self.last == Some(number) {
            self.page.finished = true;
            self.show();
            self.finished.send_replace(Some(self.keeper.numbers()));
        }
    }

    /// Looks for what is at risk, for the next board, if anybody follows that. Whoever looks meanwhile
    /// gets the same.
    fn look_at_risk(&mut self, ctx: &mut Context<Self>) {
        // A shard that is busy or just starting answers another time.
        if let Some(directory) = self.page.at_risk_wanted() {
            let look = async move { directory.at_risk().await };
            ctx.spawn(look.into_actor(self).map(|seen, committer, _| {
                if let Ok(seen) = seen {
                    committer.page.at_risk = Some(seen);
                }
            }));
        }
        if let Some(directory) = self.page.kinds_at_risk_wanted() {
            let look = async move { directory.kinds_at_risk().await };
            ctx.spawn(look.into_actor(self).map(|seen, committer, _| {
                if let Ok(seen) = seen {
                    committer.page.kinds_at_risk = Some(seen);
                }
            }));
        }
    }

    /// What was just carried out is in the next commit: tells when that is durable.
    fn durable_next(&mut self) -> oneshot::Receiver<()> {
        let (told, durable) = oneshot::channel();
        self.attended.push(told);
        self.flow.commanded.store(true, Ordering::SeqCst);
        durable
    }

    fn show(&mut self) {
        self.page.show(&self.keeper, self.watermark);
    }
}

/// Tells the shards which groups are kept, of each metric that will keep no others for a while.
pub(super) fn decide_groups(keeper: &Keeper, decided: &DecidedGroups) {
    for (metric, decided) in decided.iter().enumerate() {
        if let Some(decision) = keeper.engine.decision(metric, decided.load().as_deref()) {
            decided.store(Some(Arc::new(decision)));
        }
    }
}

impl Actor for Committer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(OFFER_AGAIN, |committer, _| committer.handover.offer());
        let tick = Duration::from_millis(self.page.tick().max(1) as u64);
        ctx.run_interval(tick, |committer, ctx| {
            committer.show();
            committer.look_at_risk(ctx);
        });
        self.show();
    }
}

impl Handler<OpenRestored> for Committer {
    type Result = ();

    fn handle(&mut self, restored: OpenRestored, _: &mut Context<Self>) {
        self.keeper.recount(restored.0);
        self.show();
    }
}

impl Handler<Attend> for Committer {
    type Result = Result<oneshot::Receiver<()>, Refused>;

    fn handle(&mut self, command: Attend, _: &mut Context<Self>) -> Self::Result {
        self.keeper.incidents.command(command.0)?;
        Ok(self.durable_next())
    }
}

impl Handler<Suppress> for Committer {
    type Result = Result<(usize, oneshot::Receiver<()>), nudge::Refused>;

    fn handle(&mut self, command: Suppress, _: &mut Context<Self>) -> Self::Result {
        let new = self.keeper.nudges.command(&command.0)?;
        // Before it is durable: one mail too few is better than one too many.
        self.quiet.add(self.keeper.nudges.newly_quiet());
        Ok((new, self.durable_next()))
    }
}

impl Handler<LookNudges> for Committer {
    type Result = NudgesStand;

    fn handle(&mut self, _: LookNudges, _: &mut Context<Self>) -> Self::Result {
        let (suppressed, suppressed_max) = self.keeper.nudges.suppressed();
        NudgesStand { nudges: self.keeper.nudges.views(), suppressed, suppressed_max }
    }
}

impl Handler<LookAtKinds> for Committer {
    type Result = MessageResult<LookAtKinds>;

    /// A walk over what is open of kinds with a key of their own: who asks sees to it that it is
    /// seldom (`directory`).
    fn handle(
        &mut self,
        LookAtKinds { most, permit: _permit }: LookAtKinds,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let kinds = self.own_keys.as_ref().map(|own_keys| own_keys.at_risk(self.watermark, most));
        MessageResult(kinds.unwrap_or_default())
    }
}

impl Handler<DescribeKinds> for Committer {
    type Result = MessageResult<DescribeKinds>;

    fn handle(
        &mut self,
        DescribeKinds { key, permit: _permit }: DescribeKinds,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let watermark = self.watermark;
        let kinds = self.own_keys.as_mut().map(|own_keys| own_keys.describe(&key, watermark));
        MessageResult((watermark, kinds.unwrap_or_default()))
    }
}

impl Handler<BarrierNote> for Committer {
    type Result = ();

    fn handle(&mut self, note: BarrierNote, ctx: &mut Context<Self>) {
        if !note.refused.is_empty() {
            self.handover.told.entry(note.number).or_default().extend(note.refused);
        }
        self.line.note(note.number, note.barrier, note.last);
        self.go_on(ctx);
    }
}

impl Handler<ShardDone> for Committer {
    type Result = ();

    fn handle(&mut self, done: ShardDone, ctx: &mut Context<Self>) {
        self.page.holds[usize::from(done.shard)] = done.holds;
        self.line.done(done.number, done.shard, done.delta);
        self.go_on(ctx);
    }
}

impl Handler<Stored> for Committer {
    type Result = ();

    fn handle(&mut self, stored: Stored, _: &mut Context<Self>) {
        if let Some(error) = stored.failure {
            return self.handover.watch.give_up(RunError::Store(error));
        }
        (self.page.epoch, self.page.commit_ms) = (stored.epoch, stored.took_ms);
        self.flow.committed_at.store(self.clock.wall(), Ordering::SeqCst);
        self.handover.offer();
        self.durable(stored.number, stored.events, &stored.positions);
    }
}
