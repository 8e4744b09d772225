//! A running pipeline: builds the actors sink to source, waits for the first word from
//! any of them, and when a part died starts the next generation from the last commit, a
//! bounded number of times.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Recipient};
use futures_util::future::try_join_all;
use thiserror::Error;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};

use super::Settings;
use super::aggregator::{self, Aggregator, DecidedGroups, ShardParts};
use super::broadcaster::Publish;
use super::children::Bounds;
use super::committer::{self, ClientCounts, Committer, CommitterParts, Face, Probe};
use super::directory::Directory;
use super::flow::Flow;
use super::ingestor::{Ingestor, IngestorParts, Progress, ShardInlet, Sources};
use super::messages::OpenRestored;
use super::pool::BatchPool;
use super::ports::{Opened, Records, Resume, Source, SourceError, StoreError};
use super::status::Status;
use super::store_thread::{StoreCommand, StoreThread};
use super::supervision::{DeathWatch, Failure};
use crate::clock::SharedClock;
use crate::domain::anomaly::SigmaRule;
use crate::domain::commit::{CommitUnit, Restored, Snapshot, SourceIdentity, SourcePosition};
use crate::domain::event::Schema;
use crate::domain::keeper::{BOARD_ALERTS, Gauges, Keeper, Meanings, ReplayNumbers};
use crate::domain::metric::watch::all_uses;
use crate::domain::metric::{Metric, MetricSpec};
use crate::domain::session::{AliasBounds, Rules, SessionPolicy};
use crate::domain::time::{BEGINNING, EpochMs, SpanMs, TimePolicy};
use crate::telemetry::happenings::{Gap, GaveUp, LogDiverged, PipelineRestarted};

/// Identities are kept for the sake of windows no longer than this, unless the configuration
/// says so.
const HORIZON_AUTO_MAX: SpanMs = 24 * 60 * 60 * 1_000;

/// What takes longer than this before the first board is told to the page.
const TOLD_AFTER: Duration = Duration::from_millis(500);

/// Why a pipeline ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// The state store failed for good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source failed, or holds something else than it did (I7, I8).
    #[error(transparent)]
    Source(SourceError),
    /// The state belongs to another source.
    #[error(
        "the state in this data folder was made from {found}, not from {wanted}; \
         use another --data-dir, or move this one away to start from the log again"
    )]
    OtherSource {
        /// What the state names.
        found: String,
        /// What is to be read.
        wanted: String,
    },
    /// Parts died again and again.
    #[error("gave up after {restarts} restarts within {window_s} s; the last reason: {reason}")]
    GaveUp {
        /// How many.
        restarts: usize,
        /// Within how long.
        window_s: i64,
        /// The last reason.
        reason: String,
    },
    /// It was asked to end, and its last commit took too long.
    #[error(
        "stopped without a last commit, which took longer than {after_ms} ms \
         (pipeline.stop_timeout); nothing is lost: the next start goes on from the commit before \
         and reads again what came after it"
    )]
    StopTimeout {
        /// How long it was waited for.
        after_ms: SpanMs,
    },
    /// An output file of a replay cannot be written.
    #[error("{0}")]
    Output(String),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(String),
}

/// Where a replay writes ended sessions and final numbers, barrier by barrier.
pub trait Output: Send {
    /// Writes what the last barrier brought (`Keeper::ended`, `Keeper::points`).
    ///
    /// # Errors
    /// When the file cannot be written: names it.
    fn write(&mut self, keeper: &Keeper) -> Result<(), String>;
}

/// Makes the output anew; a generation that died may have written some of it.
pub type OutputFactory = Box<dyn Fn() -> Result<Box<dyn Output>, String> + Send>;

/// Sees a commit before it is written; after a restart within the process it may see the same
/// events again. Must not wait.
pub type Witness = Arc<dyn Fn(&CommitUnit) + Send + Sync>;

/// Everything a pipeline is made of.
pub struct Setup {
    /// Bounds and beats.
    pub settings: Settings,
    /// Rules of time.
    pub time: TimePolicy,
    /// Rules of sessions.
    pub policy: SessionPolicy,
    /// The settings of sessions by key, as they are noted in a commit.
    pub session_settings: BTreeMap<String, String>,
    /// What metrics and rules are, see `Keeper::note_meanings`.
    pub meanings: Meanings,
    /// What to decode.
    pub schema: Arc<Schema>,
    /// The metrics.
    pub metrics: Vec<MetricSpec>,
    /// The rules.
    pub sigma: Vec<SigmaRule>,
    /// The clock.
    pub clock: SharedClock,
    /// Earlier alerts, for the board.
    pub records: Option<Arc<dyn Records>>,
    /// Readiness.
    pub status: Arc<Status>,
    /// The way to open sessions, for those who ask.
    pub directory: Directory,
    /// Flow, for whoever wants to look.
    pub flow: Arc<Flow>,
    /// What the page says of the process.
    pub face: Face,
    /// Who gets boards.
    pub broadcaster: Option<Recipient<Publish>>,
    /// Websocket clients.
    pub clients: ClientCounts,
    /// Shows figures of parts that the pipeline does not know, at every tick.
    pub probe: Probe,
    /// Output files of a replay.
    pub output: Option<OutputFactory>,
    /// Sees every commit before it is written, if anybody wants to.
    pub witness: Option<Witness>,
    /// Add up all final numbers of each metric for a report at the end.
    pub reports: bool,
    /// Report every ended session to the output, not only the abandoned ones.
    pub list_sessions: bool,
    /// Asked to end: the pipeline drains, commits and returns.
    pub stop: watch::Receiver<bool>,
}

/// A pipeline about to run.
pub struct Pipeline {
    setup: Setup,
    sources: Sources,
    rules: Arc<Rules>,
    metrics: Arc<Vec<Metric>>,
}

/// The threads and channels of one generation.
struct Generation {
    arbiters: Vec<Arbiter>,
    /// An actor ends when nobody is left who could send to it, which it asks after it has looked
    /// into its mailbox: what comes in between with the last address is lost. The ingestor ends
    /// with its last barrier, so these stay until the barrier is through.
    shards: Vec<Addr<Aggregator>>,
    failures: mpsc::Receiver<Failure>,
    finished: watch::Receiver<Option<ReplayNumbers>>,
}

impl Pipeline {
    /// Prepares a pipeline that reads `sources`: at least one, each with a name of its own.
    pub fn new(mut setup: Setup, sources: Vec<Box<dyn Source>>) -> Self {
        if setup.policy.identify.is_some() && setup.settings.shards > 1 {
            tracing::info!(
                shards = setup.settings.shards,
                "session.identify is set: all events go through one shard, so that the sessions \
                 of two keys can become one at an exact place (pipeline.shards is not used)"
            );
            setup.settings.shards = 1;
        }
        let rules = Rules::compile(&setup.policy, &setup.time, &setup.schema);
        let metrics = setup.metrics.iter().map(|spec| Metric::compile(spec, &setup.schema));
        let metrics = Arc::new(metrics.collect());
        let sources = sources.into_iter().map(|source| Arc::new(Mutex::new(source))).collect();
        Pipeline { sources, rules: Arc::new(rules), metrics, setup }
    }

    /// Runs until it is asked to stop, the source ends, or it cannot go on. Must be called
    /// on a thread with an actix `System`.
    ///
    /// # Errors
    /// Why it could not go on. Nothing is lost: what was not committed is read again.
    pub async fn run(self, store: &StoreThread) -> Result<ReplayNumbers, RunError> {
        let mut restarts: VecDeque<i64> = VecDeque::new();
        loop {
            let reason = match self.generation(store).await {
                Ok(Ok(numbers)) => return Ok(numbers),
                Ok(Err(Failure::Final(error))) | Err(error) => return Err(error),
                Ok(Err(Failure::Died(reason))) => reason,
            };
            let settings = &self.setup.settings;
            let now = self.setup.clock.elapsed();
            restarts.push_back(now);
            while restarts.front().is_some_and(|at| *at < now - settings.restart_window) {
                restarts.pop_front();
            }
            let (times, times_max) = (restarts.len(), settings.restarts_max);
            if times > times_max {
                GaveUp { cause: &reason, times: times - 1 }.tell();
                return Err(RunError::GaveUp {
                    restarts: restarts.len() - 1,
                    window_s: settings.restart_window / 1_000,
                    reason,
                });
            }
            self.setup.flow.restarts.fetch_add(1, Ordering::SeqCst);
            PipelineRestarted { cause: &reason, times, times_max }.tell();
            self.no_boards("restarting");
        }
    }

    /// Tells the page that no board comes for now, and why; the next board ends it.
    fn no_boards(&self, why: &'static str) {
        if let Some(broadcaster) = &self.setup.broadcaster {
            // Refused only when the broadcaster is gone: the process is ending.
            let _ = broadcaster.try_send(Publish::NoBoards(why));
        }
    }

    /// Awaits `work`, and tells the page why nothing is seen when that takes long.
    async fn told<T>(&self, why: &'static str, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        match tokio::time::timeout(TOLD_AFTER, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                self.no_boards(why);
                work.await
            }
        }
    }

    /// One life of the actors: from the last commit until they end or one dies.
    async fn generation(
        &self,
        store: &StoreThread,
    ) -> Result<Result<ReplayNumbers, Failure>, RunError> {
        let setup = &self.setup;
        setup.status.set("start", Some("restoring the last commit".into()));
        let (restored, delivered) = self.told("restoring", load(store)).await?;
        setup.flow.delivered.store(delivered, Ordering::SeqCst);
        let mut stop = setup.stop.clone();
        let positions = tokio::select! {
            positions = self.told("opening", self.continue_from(restored.as_ref())) => positions?,
            // A source may be away for long; nothing was read, so there is nothing to commit.
            _ = stop.wait_for(|stop| *stop) => return Ok(Ok(ReplayNumbers::default())),
        };
        let mut generation = self.start(store, restored.unwrap_or_default(), positions).await?;
        setup.status.set("start", None);
        let ended = tokio::select! {
            biased;
            failure = generation.failures.recv() => {
                Err(failure.unwrap_or_else(|| Failure::Died("every part ended".into())))
            }
            numbers = generation.finished.wait_for(Option::is_some) => {
                let numbers = numbers.ok().and_then(|numbers| numbers.clone());
                numbers.ok_or_else(|| Failure::Died("the committer ended".into()))
            }
        };
        // All at once: each lets go of its share of the sessions.
        for arbiter in &generation.arbiters {
            arbiter.stop();
        }
        for arbiter in generation.arbiters {
            let _ = tokio::task::spawn_blocking(move || arbiter.join()).await;
        }
        drop(generation.shards);
        if ended.is_ok() {
            setup.directory.disconnect();
        }
        setup.flow.reset();
        Ok(ended)
    }

    /// Opens every source where the last commit left it, side by side. Each checks that it is the
    /// log that the state was made from (I7).
    async fn continue_from(
        &self,
        restored: Option<&Restored>,
    ) -> Result<Vec<SourcePosition>, RunError> {
        let known = restored.map(|restored| restored.positions.as_slice()).unwrap_or_default();
        let mut names = Vec::new();
        for source in &self.sources {
            names.push(source.lock().await.name().to_owned());
        }
        let mine = |known: &SourcePosition| names.contains(&known.source.name);
        // A source that is read no more is no reason to stop, unless none is left.
        if let Some(other) = known.first().filter(|_| !known.iter().any(mine)) {
            let wanted = SourceIdentity { name: names.swap_remove(0), ..Default::default() };
            return Err(other_source(&other.source, &wanted, other.position));
        }
        self.setup.flow.name_sources(names.iter().cloned());
        let open = self.sources.iter().zip(names).map(|(source, name)| async move {
            let known = known.iter().find(|known| known.source.name == name);
            self.open(&mut **source.lock().await, name, known).await
        });
        let positions = try_join_all(open).await?;
        self.setup.status.set("source", None);
        Ok(positions)
    }

    async fn open(
        &self,
        source: &mut dyn Source,
        name: String,
        known: Option<&SourcePosition>,
    ) -> Result<SourcePosition, RunError> {
        let status = &self.setup.status;
        status.set("source", Some(format!("{name}: opening")));
        let resume = known.map_or_else(Resume::default, |known| Resume {
            incarnation: Some(known.source.incarnation.clone()),
            position: known.position,
            cursor: known.cursor.clone(),
            fingerprint: known.fingerprint,
        });
        let Opened { incarnation, warnings } = source.open(resume).await.map_err(unreadable)?;
        warnings.iter().for_each(|warning| tracing::warn!(source = name, "{warning}"));
        status.warn(&name, warnings);
        let beginning = || SourcePosition {
            source: SourceIdentity { name, incarnation },
            watermark: BEGINNING,
            ..SourcePosition::default()
        };
        Ok(known.cloned().unwrap_or_else(beginning))
    }

    /// Builds the actors from the sink to the source.
    async fn start(
        &self,
        store: &StoreThread,
        mut restored: Restored,
        positions: Vec<SourcePosition>,
    ) -> Result<Generation, RunError> {
        let setup = &self.setup;
        let (failed, failures) = mpsc::channel(16);
        let durable = positions.iter().map(|at| at.position).collect();
        let (durable_tx, durable) = watch::channel(durable);
        let (finished_tx, finished) = watch::channel(None);
        let fresh = restored.epoch == 0;
        let watermark = if fresh { BEGINNING } else { restored.watermark };
        let mut keeper = Keeper::new(
            Arc::clone(&self.metrics),
            setup.sigma.clone(),
            Arc::clone(&self.rules),
            &setup.time,
        );
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        let (value, segment) = (named(&setup.policy.value), named(&setup.policy.segment));
        keeper.watch_uses(all_uses(&setup.schema.keys, &value, &segment, &self.metrics));
        keeper.note_settings(setup.session_settings.clone());
        keeper.note_meanings(setup.meanings.clone());
        keeper.engine.reports = setup.reports;
        keeper.restore(&mut restored.snapshot, watermark).map_err(damaged)?;
        let groups: DecidedGroups = self.metrics.iter().map(|_| OnceLock::new()).collect();
        committer::decide_groups(&keeper, &groups);
        self.restore_alerts(&mut keeper);
        let max_at = keeper.max_at();
        let forgotten = keeper.closed_forgotten();
        if setup.output.is_some() && restored.epoch > 0 {
            return Err(RunError::Output(
                "output files need the whole replay, and this data folder holds a part of it: \
                 use a fresh --data-dir"
                    .into(),
            ));
        }
        keeper.list_points = setup.output.is_some();
        let queue = || Arc::new(Semaphore::new(setup.settings.shard_queue));
        let places: Vec<_> = (0..setup.settings.shards).map(|_| queue()).collect();
        let output = setup.output.as_ref().map(|make| make()).transpose();
        let parts = CommitterParts {
            settings: setup.settings.clone(),
            keeper,
            groups: Arc::clone(&groups),
            epoch: restored.epoch,
            watermark,
            clock: Arc::clone(&setup.clock),
            store: store.commands.clone(),
            broadcaster: setup.broadcaster.clone(),
            flow: Arc::clone(&setup.flow),
            durable: durable_tx,
            finished: finished_tx,
            output: output.map_err(RunError::Output)?,
            witness: setup.witness.clone(),
            status: Arc::clone(&setup.status),
            face: setup.face.clone(),
            clients: Arc::clone(&setup.clients),
            probe: Arc::clone(&setup.probe),
            places: places.clone(),
            spans: (setup.policy.gap, setup.time.allowed_lateness),
            watch: DeathWatch::new("committer", failed.clone()),
        };
        let mut arbiters = vec![Arbiter::new()];
        let (began, begun) = oneshot::channel();
        let committer = Committer::start_in_arbiter(&arbiters[0].handle(), move |ctx| {
            fail::fail_point!("committer_start");
            ctx.set_mailbox_capacity(committer::MAILBOX);
            let _ = began.send(());
            Committer::new(parts)
        });
        // Until its thread gets to the lines above, its mailbox has the few places that actix
        // gives a new one, and whoever sends more takes it for dead.
        begun.await.map_err(|_| RunError::Thread("the committer's thread ended".into()))?;
        let pool = BatchPool::new(setup.settings.shards, setup.settings.shard_queue);
        let shards = self
            .start_shards(
                &mut arbiters,
                &committer,
                (restored.snapshot, forgotten, groups),
                &pool,
                &failed,
            )
            .await?;
        let (shards, open) = shards;
        // Before the ingestor begins, and so before any barrier.
        let told = committer.send(OpenRestored(open)).await;
        told.map_err(|_| RunError::Thread("the committer's thread ended".into()))?;
        let inlets = shards.iter().cloned().zip(places);
        let inlets = inlets.map(|(addr, places)| ShardInlet { addr, places }).collect();
        let parts = IngestorParts {
            settings: setup.settings.clone(),
            time: setup.time,
            schema: Arc::clone(&setup.schema),
            clock: Arc::clone(&setup.clock),
            sources: self.sources.clone(),
            shards: inlets,
            committer,
            flow: Arc::clone(&setup.flow),
            pool,
            durable,
            status: Arc::clone(&setup.status),
            stop: setup.stop.clone(),
            watch: DeathWatch::new("ingestor", failed),
        };
        let away = if fresh { 0 } else { (setup.clock.wall() - restored.wall).max(0) };
        let progress = Progress { positions, watermark, max_at, away };
        let arbiter = Arbiter::new();
        arbiter.spawn_fn(move || {
            actix::spawn(Ingestor::new(parts, progress).run());
        });
        arbiters.push(arbiter);
        Ok(Generation { arbiters, shards, failures, finished })
    }

    fn restore_alerts(&self, keeper: &mut Keeper) {
        let Some(records) = &self.setup.records else { return };
        let after = keeper.alerts().saturating_sub(BOARD_ALERTS as u64);
        match records.alerts(after, BOARD_ALERTS) {
            Ok(alerts) => keeper.restore_alerts(alerts),
            Err(error) => tracing::warn!(%error, "earlier alerts are not on the board"),
        }
    }

    /// Starts the shards, each restoring its sessions on its own thread, and what is open then.
    async fn start_shards(
        &self,
        arbiters: &mut Vec<Arbiter>,
        committer: &Addr<Committer>,
        (snapshot, forgotten, groups): (Snapshot, EpochMs, DecidedGroups),
        pool: &BatchPool,
        failed: &mpsc::Sender<Failure>,
    ) -> Result<(Vec<Addr<Aggregator>>, Gauges), RunError> {
        let setup = &self.setup;
        let shards = setup.settings.shards;
        let mailbox = aggregator::MAILBOX + setup.settings.session_mailboxes_max;
        let snapshot = Arc::new(snapshot);
        let mut addrs = Vec::new();
        let mut restored = Vec::new();
        for shard in 0..shards {
            let parts = ShardParts {
                shard,
                shards,
                rules: Arc::clone(&self.rules),
                metrics: Arc::clone(&self.metrics),
                groups: Arc::clone(&groups),
                horizon: horizon(setup, &self.metrics),
                identities_max: setup.settings.per_shard(setup.settings.dedup_ids_max),
                bounds: Bounds {
                    keys_max: setup.settings.per_shard(setup.settings.sessions_max),
                    bytes_max: setup.settings.per_shard(setup.settings.session_bytes_max),
                },
                closed_max: setup.settings.per_shard(setup.settings.closed_sessions_max),
                identify: identify(&setup.policy, &self.rules),
                seed: setup.schema.seed,
                sessions_full: setup.settings.sessions_full,
                list_sessions: setup.list_sessions,
                committer: committer.clone(),
                pool: pool.clone(),
                watch: DeathWatch::new(format!("aggregator {shard}"), failed.clone()),
            };
            let arbiter = Arbiter::new();
            let snapshot = Arc::clone(&snapshot);
            let (done, wait) = oneshot::channel();
            let addr = Aggregator::start_in_arbiter(&arbiter.handle(), move |ctx| {
                fail::fail_point!("aggregator_start");
                ctx.set_mailbox_capacity(mailbox);
                let mut aggregator = Aggregator::new(parts);
                let sessions = snapshot.sessions.iter();
                let ids = snapshot.identities.iter().map(|(g, ids)| (*g, ids.as_slice()));
                let until = |time: Option<EpochMs>| time.unwrap_or(BEGINNING);
                let (swept, left) = (snapshot.ids_swept_until, snapshot.ids_forgotten_until);
                let forgotten = (until(left), until(swept), forgotten);
                let closed = snapshot.closed.iter().map(|(hash, floor)| (*hash, *floor));
                let _ = done.send({
                    let aliases = &snapshot.aliases;
                    aggregator.restore_aliases(aliases);
                    aggregator.restore(sessions, ids, closed, forgotten)
                });
                aggregator
            });
            arbiters.push(arbiter);
            restored.push(wait);
            addrs.push(addr);
        }
        let mut open = Gauges::default();
        for wait in restored {
            let restored = wait.await;
            let died = |_| Err("a shard died while it restored its sessions".into());
            open.add(&restored.unwrap_or_else(died).map_err(damaged)?);
        }
        setup.directory.connect(setup.schema.seed, addrs.clone());
        Ok((addrs, open))
    }
}

/// What may be remembered of anonymous keys, if they are told from known ones. An alias outlives
/// every session that could still be open with its events.
fn identify(policy: &SessionPolicy, rules: &Rules) -> Option<AliasBounds> {
    policy.identify.as_ref()?;
    let keep = policy.identify_keep.max(rules.gap + rules.memory());
    Some(AliasBounds { keep, max: policy.aliases_max, bytes_max: policy.aliases_bytes_max })
}

/// How long identities are kept: as long as an event may be behind and still open a session,
/// and one gap, which that session reaches back; or still count in the longest window. An
/// event older than that is late, unless a session of its key has been open for longer.
fn horizon(setup: &Setup, metrics: &[Metric]) -> SpanMs {
    let lateness = setup.time.allowed_lateness;
    let session = 2 * setup.policy.gap + lateness;
    let window = metrics.iter().map(|metric| metric.spec.window.reach()).max().unwrap_or(0);
    match setup.settings.dedup_horizon {
        Some(horizon) => horizon.max(session),
        None => (window + lateness).min(HORIZON_AUTO_MAX).max(session),
    }
}

fn other_source(found: &SourceIdentity, wanted: &SourceIdentity, position: u64) -> RunError {
    let words = |id: &SourceIdentity| format!("{} ({})", id.name, id.incarnation);
    let (from, wanted) = (words(found), words(wanted));
    let cause = format!("the state was made from {from}");
    LogDiverged { source: &wanted, position, cause: &cause }.tell();
    RunError::OtherSource { found: from, wanted }
}

/// The source cannot go on; a gap is told for itself.
pub(super) fn unreadable(error: SourceError) -> RunError {
    match &error {
        SourceError::Gap { source_name, from, to } => {
            Gap { source: source_name, from: *from, to: *to }.tell();
        }
        SourceError::Diverged { source_name, position, cause } => {
            LogDiverged { source: source_name, position: *position, cause }.tell();
        }
        SourceError::Other { read, found, position } => {
            return other_source(read, found, *position);
        }
        SourceError::Unfit(_) | SourceError::Store(_) | SourceError::Read { .. } => {}
    }
    RunError::Source(error)
}

async fn load(store: &StoreThread) -> Result<(Option<Restored>, u64), RunError> {
    let ended = || RunError::Thread("the store's thread ended".into());
    let (answer, loaded) = oneshot::channel();
    let commands = store.commands.clone();
    tokio::task::spawn_blocking(move || commands.send(StoreCommand::Load(answer)).map_err(drop))
        .await
        .map_err(|_| ended())?
        .map_err(|()| ended())?;
    Ok(loaded.await.map_err(|_| ended())??)
}

fn damaged(what: String) -> RunError {
    RunError::Store(StoreError::Damaged {
        path: "the state store".into(),
        what,
        remedy: "move the data folder's state.db away to start from the log again".into(),
    })
}
