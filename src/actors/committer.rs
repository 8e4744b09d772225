//! The committer: lines up the shards' results of each barrier, lets the keeper add them
//! up, hands the commit to the store's thread, and publishes boards.
//!
//! Invariant (I5): nothing leaves the process before the commit that holds it is durable.
//! Alerts are delivered from the outbox by the store; only boards, which are views, may
//! be ahead of the disk.
//! Invariant (I6): commits are handed over one after another and number themselves after
//! their parent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Recipient};
use tokio::sync::{Semaphore, oneshot, watch};

use super::Settings;
use super::aggregator::DecidedGroups;
use super::broadcaster::Publish;
use super::figures;
use super::flow::Flow;
use super::messages::{BarrierNote, OpenRestored, ShardDone, ShardHolds, Stored};
use super::pipeline::{Output, RunError, Witness};
use super::standing::{Bounds, Watch};
use super::status::Status;
use super::store_thread::{StoreCommand, ToStore};
use super::supervision::DeathWatch;
use crate::clock::SharedClock;
use crate::domain::board::{Board, Topic, bound, share};
use crate::domain::condition::Condition;
use crate::domain::keeper::{
    Barrier, ConditionView, Keeper, PipelineView, ReplayNumbers, ShardDelta, SourceView,
};
use crate::domain::lag::CatchUp;
use crate::domain::time::{EpochMs, SpanMs};

/// Mailbox: a note and a result of each shard for every barrier under way, and answers
/// of the store.
pub const MAILBOX: usize = 1_024;
/// How often a waiting commit is offered again.
const OFFER_AGAIN: Duration = Duration::from_millis(5);
/// What is read while it is younger than this is live.
const LIVE_MS: SpanMs = 2_000;
/// An idle pipeline writes its watermark down this often, so that a restart knows it.
const IDLE_COMMIT: SpanMs = 10_000;

/// What the page says of the process, set at the start.
#[derive(Clone, Debug, Default)]
pub struct Face {
    /// `serve`, `demo`, `replay`, `embedded`.
    pub mode: &'static str,
    /// A sentence for people.
    pub notice: String,
}

/// Counts of websocket clients, read for the pipeline panel.
pub type ClientCounts = Arc<dyn Fn() -> (u64, u64) + Send + Sync>;

/// Shows figures of parts that the pipeline does not know (the log, the store, the web
/// side). Called at every tick; must not wait.
pub type Probe = Arc<dyn Fn() + Send + Sync>;

/// What the committer is made of.
pub struct CommitterParts {
    /// Bounds and beats.
    pub settings: Settings,
    /// Adds up.
    pub keeper: Keeper,
    /// Where the shards learn which groups are kept.
    pub groups: DecidedGroups,
    /// Number of the last commit.
    pub epoch: u64,
    /// The watermark it held.
    pub watermark: EpochMs,
    /// The clock.
    pub clock: SharedClock,
    /// To the store's thread.
    pub store: SyncSender<StoreCommand>,
    /// Who gets boards, if anybody looks.
    pub broadcaster: Option<Recipient<Publish>>,
    /// Flow with the ingestor.
    pub flow: Arc<Flow>,
    /// Position of each source that is durable.
    pub durable: watch::Sender<Vec<u64>>,
    /// Told the numbers when the last barrier of a replay is durable.
    pub finished: watch::Sender<Option<ReplayNumbers>>,
    /// Where ended sessions and final numbers are written to, if anywhere.
    pub output: Option<Box<dyn Output>>,
    /// Sees every commit, if anybody wants to.
    pub witness: Option<Witness>,
    /// Readiness.
    pub status: Arc<Status>,
    /// What the page says of the process.
    pub face: Face,
    /// Websocket clients.
    pub clients: ClientCounts,
    /// Shows figures of other parts.
    pub probe: Probe,
    /// The places of each shard's queue.
    pub places: Vec<Arc<Semaphore>>,
    /// Session gap and allowed lateness, for the page.
    pub spans: (SpanMs, SpanMs),
    /// Told when this actor dies.
    pub watch: DeathWatch,
}

/// The actor.
pub struct Committer {
    parts: CommitterParts,
    open: BTreeMap<u64, Open>,
    waiting: VecDeque<Box<ToStore>>,
    /// Who is told when a barrier is durable.
    refused: BTreeMap<u64, Vec<oneshot::Sender<()>>>,
    handed: u64,
    holds: Vec<ShardHolds>,
    epoch: u64,
    version: u64,
    /// The topics of the last board.
    shown: BTreeMap<String, Arc<Topic>>,
    watermark: EpochMs,
    commit_ms: i64,
    written_at: i64,
    last: Option<u64>,
    finished: bool,
    catch_up: CatchUp,
    standing: Watch,
}

/// A barrier whose results are coming in.
#[derive(Debug, Default)]
struct Open {
    barrier: Option<Barrier>,
    last: bool,
    shards: BTreeMap<u16, ShardDelta>,
}

impl Committer {
    /// A committer that continues after `parts.epoch`.
    pub fn new(parts: CommitterParts) -> Self {
        Committer {
            open: BTreeMap::new(),
            refused: BTreeMap::new(),
            waiting: VecDeque::new(),
            handed: parts.epoch,
            holds: vec![ShardHolds::default(); usize::from(parts.settings.shards)],
            epoch: parts.epoch,
            version: 0,
            shown: BTreeMap::new(),
            watermark: parts.watermark,
            commit_ms: 0,
            written_at: parts.clock.elapsed(),
            last: None,
            finished: false,
            catch_up: CatchUp::default(),
            standing: Watch::default(),
            parts,
        }
    }

    /// Adds up every barrier that is complete, in order.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        while let Some(entry) = self.open.first_entry() {
            let complete = entry.get().barrier.is_some()
                && entry.get().shards.len() == usize::from(self.parts.settings.shards);
            if !complete {
                return;
            }
            let (number, open) = entry.remove_entry();
            self.merge(number, open, &ctx.address().recipient());
        }
    }

    fn merge(&mut self, number: u64, open: Open, answer: &Recipient<Stored>) {
        let barrier = open.barrier.unwrap_or_default();
        let events = barrier.ledger.received;
        let news = events + barrier.ledger.gap > 0;
        let positions: Vec<u64> = barrier.positions.iter().map(|at| at.position).collect();
        self.watermark = barrier.watermark;
        self.parts.flow.unsettled.fetch_sub(events, Ordering::SeqCst);
        let mut unit = self.parts.keeper.merge(barrier, open.shards.into_values().collect());
        if let Some(witness) = &self.parts.witness {
            witness(&unit);
        }
        decide_groups(&self.parts.keeper, &self.parts.groups);
        if let Some(output) = &mut self.parts.output
            && let Err(error) = output.write(&self.parts.keeper)
        {
            self.parts.watch.give_up(RunError::Output(error));
        }
        if open.last {
            self.last = Some(number);
        }
        let idle_since = self.parts.clock.elapsed() - self.written_at;
        let worth_it = news
            || !unit.alerts.is_empty()
            || !unit.delta.is_empty()
            || open.last
            || idle_since >= IDLE_COMMIT;
        if !worth_it {
            return self.durable(number, events, &positions);
        }
        self.written_at = self.parts.clock.elapsed();
        self.handed += 1;
        unit.epoch = self.handed;
        unit.wall = self.parts.clock.wall();
        let answer = answer.clone();
        let commit = ToStore { number, events, positions, unit, answer };
        self.waiting.push_back(Box::new(commit));
        self.offer();
    }

    /// Hands waiting commits to the store's thread as far as it takes them.
    fn offer(&mut self) {
        while let Some(next) = self.waiting.pop_front() {
            match self.parts.store.try_send(StoreCommand::Commit(next)) {
                Ok(()) => {}
                Err(TrySendError::Full(StoreCommand::Commit(next))) => {
                    return self.waiting.push_front(next);
                }
                Err(_) => {
                    return self.parts.watch.fail("the store's thread ended");
                }
            }
        }
    }

    /// Everything up to a barrier is durable: credits are free, the source may forget.
    fn durable(&mut self, number: u64, events: u64, positions: &[u64]) {
        for told in self.refused.remove(&number).into_iter().flatten() {
            // A request that went away meanwhile wants no answer.
            let _ = told.send(());
        }
        let flow = &self.parts.flow;
        flow.in_flight.fetch_sub(events, Ordering::SeqCst);
        flow.barriers.fetch_sub(1, Ordering::SeqCst);
        flow.freed.notify_one();
        self.parts.durable.send_if_modified(|durable| {
            let mut moved = false;
            for (durable, position) in durable.iter_mut().zip(positions) {
                moved |= position > durable;
                *durable = (*durable).max(*position);
            }
            moved
        });
        if self.last == Some(number) {
            self.finished = true;
            self.show();
            self.parts.finished.send_replace(Some(self.parts.keeper.numbers()));
        }
    }

    /// Shows how things are: to the exporter, and as a board.
    fn show(&mut self) {
        let next = self.parts.clock.elapsed() + self.parts.settings.tick;
        self.parts.flow.next_board.store(next, Ordering::SeqCst);
        let (parts, now) = (&self.parts, self.parts.clock.elapsed());
        let bounds = Bounds {
            sessions_max: parts.settings.sessions_max,
            session_bytes_max: parts.settings.session_bytes_max,
            closed_max: parts.settings.closed_sessions_max,
            aliases_max: self.holds.iter().map(|holds| holds.aliases_max).sum(),
            alias_bytes_max: self.holds.iter().map(|holds| holds.alias_bytes_max).sum(),
            ids_max: parts.settings.dedup_ids_max,
        };
        let ahead = &parts.flow.ahead;
        self.standing.look(&parts.keeper, self.watermark, ahead, bounds, &parts.status, now);
        let view = self.view();
        let waiting = self.parts.places.iter().zip(&self.holds);
        let shards = waiting.map(|(places, holds)| {
            (self.parts.settings.shard_queue - places.available_permits(), *holds)
        });
        figures::tell(&self.parts.keeper, self.watermark, &view, &self.parts.settings, shards);
        (self.parts.probe)();
        self.publish(view);
    }

    fn publish(&mut self, view: PipelineView) {
        let Some(broadcaster) = &self.parts.broadcaster else { return };
        self.version += 1;
        let stale = match view.state {
            "disk full" => Some("disk_full"),
            "source away" => Some("nats_down"),
            "catching up" | "replaying" => Some("replaying"),
            _ => None,
        };
        let topics = self.parts.keeper.topics(self.watermark, &view);
        let figures = Arc::new(self.parts.keeper.figures(self.watermark));
        let board = Board {
            version: self.version,
            at: view.wall,
            watermark: self.watermark,
            stale,
            topics: share::with(&self.shown, bound::fit(topics)),
            figures,
        };
        self.shown.clone_from(&board.topics);
        // Refused only when the broadcaster is gone: the process is ending.
        let _ = broadcaster.try_send(Publish::Board(Arc::new(board)));
    }

    fn view(&mut self) -> PipelineView {
        let lag = self.parts.flow.lag.load(Ordering::SeqCst);
        let catch_up_s = self.catch_up.see(self.parts.clock.elapsed(), lag);
        let parts = &self.parts;
        let flow = &parts.flow;
        let in_flight = flow.in_flight.load(Ordering::SeqCst);
        let credits = parts.settings.credits as u64;
        let (clients, clients_lagging) = (parts.clients)();
        let sources = flow.look(parts.clock.wall());
        let standing = parts.status.standing();
        let full = |(condition, _): &(Condition, String)| *condition == Condition::StateFull;
        let state = match flow.caught_up.load(Ordering::SeqCst) {
            _ if standing.iter().any(full) => "disk full",
            _ if sources.iter().any(|source| source.state == "away") => "source away",
            true => "live",
            false if nearly_live(&sources) => "live",
            false if self.finished => "live",
            false if parts.face.mode == "replay" => "replaying",
            false => "catching up",
        };
        PipelineView {
            state,
            mode: parts.face.mode,
            notice: parts.face.notice.clone(),
            conditions: standing
                .into_iter()
                .map(|(condition, says)| ConditionView { name: condition.name(), says })
                .collect(),
            lag_events: lag,
            lag_ms: sources.iter().map(|source| source.behind_ms).max().unwrap_or(0),
            catch_up_s,
            sources,
            credits_free: credits.saturating_sub(in_flight),
            credits_total: credits,
            in_flight: flow.unsettled.load(Ordering::SeqCst),
            epoch: self.epoch,
            commit_ms: self.commit_ms,
            committed_at: flow.committed_at.load(Ordering::SeqCst),
            dedup_ids: self.holds.iter().map(|holds| holds.identities).sum(),
            dedup_ids_max: parts.settings.dedup_ids_max as u64,
            sessions_max: parts.settings.sessions_max as u64,
            session_bytes: self.holds.iter().map(|holds| holds.session_bytes).sum(),
            session_bytes_max: parts.settings.session_bytes_max as u64,
            closed_sessions: self.holds.iter().map(|holds| holds.closed).sum(),
            closed_sessions_max: parts.settings.closed_sessions_max as u64,
            dead_letters_dropped: flow.letters_dropped.load(Ordering::Relaxed),
            alerts_delivered: flow.delivered.load(Ordering::SeqCst),
            clients,
            clients_lagging,
            restarts: flow.restarts.load(Ordering::SeqCst),
            gap_ms: parts.spans.0,
            lateness_ms: parts.spans.1,
            wall: parts.clock.wall(),
        }
    }
}

/// Tells the shards which groups are kept, of each metric that will keep no others.
pub(super) fn decide_groups(keeper: &Keeper, decided: &DecidedGroups) {
    for (metric, decided) in decided.iter().enumerate() {
        if decided.get().is_none() && keeper.engine.knows_groups(metric) {
            decided.get_or_init(|| keeper.engine.state(metric).groups.all().to_vec());
        }
    }
}

/// Under a steady load there is always something to read, and the numbers are live.
fn nearly_live(sources: &[SourceView]) -> bool {
    sources.iter().all(|source| match source.state {
        "reading" => source.lag == 0 || (1..LIVE_MS).contains(&source.behind_ms),
        state => state == "caught up",
    })
}

impl Actor for Committer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(OFFER_AGAIN, |committer, _| {
            if !committer.waiting.is_empty() {
                committer.offer();
            }
        });
        let tick = Duration::from_millis(self.parts.settings.tick.max(1) as u64);
        ctx.run_interval(tick, |committer, _| committer.show());
        self.show();
    }
}

impl Handler<OpenRestored> for Committer {
    type Result = ();

    fn handle(&mut self, restored: OpenRestored, _: &mut Context<Self>) {
        self.parts.keeper.recount(restored.0);
        self.show();
    }
}

impl Handler<BarrierNote> for Committer {
    type Result = ();

    fn handle(&mut self, note: BarrierNote, ctx: &mut Context<Self>) {
        if !note.refused.is_empty() {
            self.refused.insert(note.number, note.refused);
        }
        let open = self.open.entry(note.number).or_default();
        open.barrier = Some(note.barrier);
        open.last = note.last;
        self.go_on(ctx);
    }
}

impl Handler<ShardDone> for Committer {
    type Result = ();

    fn handle(&mut self, done: ShardDone, ctx: &mut Context<Self>) {
        self.holds[usize::from(done.shard)] = done.holds;
        self.open.entry(done.number).or_default().shards.insert(done.shard, done.delta);
        self.go_on(ctx);
    }
}

impl Handler<Stored> for Committer {
    type Result = ();

    fn handle(&mut self, stored: Stored, _: &mut Context<Self>) {
        if let Some(error) = stored.failure {
            return self.parts.watch.give_up(RunError::Store(error));
        }
        (self.epoch, self.commit_ms) = (stored.epoch, stored.took_ms);
        self.parts.flow.committed_at.store(self.parts.clock.wall(), Ordering::SeqCst);
        self.offer();
        self.durable(stored.number, stored.events, &stored.positions);
    }
}
