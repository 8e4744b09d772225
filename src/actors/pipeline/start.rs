//! Builds the actors of one generation, from the sink to the source.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::SyncSender;

use actix::{Actor, Addr, Arbiter};
use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::ended::{RunError, damaged};
use super::{Course, Setup};
use crate::actors::Settings;
use crate::actors::aggregator::{self, Aggregator, DecidedGroups, PatternRoom, ShardParts};
use crate::actors::children::Bounds;
use crate::actors::committer::{self, Committer, CommitterParts, OwnKeys, OwnKeysParts, PageParts};
use crate::actors::ingestor::{Ingestor, IngestorParts, Progress, ShardInlet, Sources};
use crate::actors::messages::OpenRestored;
use crate::actors::pool::BatchPool;
use crate::actors::ports::IncidentsWanted;
use crate::actors::reload::Wanted;
use crate::actors::store_thread::StoreCommand;
use crate::actors::supervision::{DeathWatch, Failure};
use crate::domain::commit::{Restored, Snapshot, SourcePosition};
use crate::domain::keeper::{BOARD_ALERTS, Gauges, Keeper, ReplayNumbers};
use crate::domain::metric::MetricSpec;
use crate::domain::metric::watch::all_uses;
use crate::domain::pattern::Pattern;
use crate::domain::session::{AliasBounds, Rules, SessionPolicy};
use crate::domain::time::{BEGINNING, EpochMs, SpanMs, TimePolicy};

/// Identities are kept for the sake of windows no longer than this, unless the configuration
/// says so.
const HORIZON_AUTO_MAX: SpanMs = 24 * 60 * 60 * 1_000;

/// Incidents that are over and read at a start: those of them that ended last are on the board.
const ENDED_READ: usize = 1_000;

/// The threads and channels of one generation.
pub(super) struct Generation {
    pub arbiters: Vec<Arbiter>,
    /// An actor ends when nobody is left who could send to it, which it asks after it has looked
    /// into its mailbox: what comes in between with the last address is lost. The ingestor ends
    /// with its last barrier, so these stay until the barrier is through.
    pub shards: Vec<Addr<Aggregator>>,
    pub failures: mpsc::Receiver<Failure>,
    pub finished: watch::Receiver<Option<ReplayNumbers>>,
}

/// A generation that is being built.
pub(super) struct Starting<'a> {
    setup: &'a Setup,
    course: &'a Course,
    /// Asked to end with a last commit.
    halted: watch::Receiver<bool>,
    pool: BatchPool,
    /// The permits of each shard's queue.
    permits: Vec<Arc<Semaphore>>,
    /// Bytes of what each shard sent to other keys that were not taken yet.
    on_the_way: Vec<Arc<AtomicUsize>>,
    arbiters: Vec<Arbiter>,
    failed: mpsc::Sender<Failure>,
    failures: mpsc::Receiver<Failure>,
}

/// What a commit says besides its snapshot.
struct Since {
    epoch: u64,
    watermark: EpochMs,
    /// How long nobody was there, in ms.
    away: SpanMs,
    max_at: Option<EpochMs>,
    closed_forgotten: EpochMs,
}

impl<'a> Starting<'a> {
    pub(super) fn new(setup: &'a Setup, halted: watch::Receiver<bool>) -> Self {
        let (failed, failures) = mpsc::channel(16);
        let course = &setup.course;
        let settings = &course.settings;
        let queue = || Arc::new(Semaphore::new(settings.shard_queue));
        let permits = (0..settings.shards).map(|_| queue()).collect();
        let on_the_way = (0..settings.shards).map(|_| Arc::default()).collect();
        let pool = BatchPool::new(settings.shards, settings.shard_queue);
        let arbiters = Vec::new();
        Starting { setup, course, halted, pool, permits, on_the_way, arbiters, failed, failures }
    }

    /// Goes on from the last commit.
    pub(super) async fn start(
        mut self,
        sources: &Sources,
        store: SyncSender<StoreCommand>,
        restored: Restored,
        positions: Vec<SourcePosition>,
    ) -> Result<Generation, RunError> {
        match self.build(sources, store, restored, positions).await {
            Ok((shards, finished)) => {
                let Starting { arbiters, failures, .. } = self;
                Ok(Generation { arbiters, shards, failures, finished })
            }
            Err(error) => {
                // Another course may be taken in this process.
                for arbiter in &self.arbiters {
                    arbiter.stop();
                }
                Err(error)
            }
        }
    }

    async fn build(
        &mut self,
        sources: &Sources,
        store: SyncSender<StoreCommand>,
        mut restored: Restored,
        positions: Vec<SourcePosition>,
    ) -> Result<(Vec<Addr<Aggregator>>, watch::Receiver<Option<ReplayNumbers>>), RunError> {
        let clock = &self.setup.clock;
        let fresh = restored.epoch == 0;
        let mut since = Since {
            epoch: restored.epoch,
            watermark: if fresh { BEGINNING } else { restored.watermark },
            away: if fresh { 0 } else { (clock.wall() - restored.wall).max(0) },
            max_at: None,
            closed_forgotten: BEGINNING,
        };
        let keeper = self.keeper(&mut restored.snapshot, &since)?;
        (since.max_at, since.closed_forgotten) = (keeper.max_at(), keeper.closed_forgotten());
        let metrics = self.course.metrics.iter();
        let groups: DecidedGroups = metrics.map(|_| ArcSwapOption::empty()).collect();
        committer::decide_groups(&keeper, &groups);
        let (durable_tx, durable) =
            watch::channel(positions.iter().map(|at| at.position).collect());
        let (finished_tx, finished) = watch::channel(None);
        let told = (durable_tx, finished_tx);
        let own_keys = self.own_keys(&restored.snapshot, &groups)?;
        let committer = self.committer((keeper, own_keys), &groups, store, told, &since).await?;
        let (shards, open) = self.shards(&committer, restored.snapshot, groups, &since).await?;
        // Before the ingestor begins, and so before any barrier.
        committer.send(OpenRestored(open)).await.map_err(committer_ended)?;
        let progress = Progress {
            positions,
            watermark: since.watermark,
            max_at: since.max_at,
            away: since.away,
        };
        self.ingestor(sources, &shards, committer, durable, progress);
        Ok((shards, finished))
    }

    fn keeper(&self, snapshot: &mut Snapshot, since: &Since) -> Result<Keeper, RunError> {
        let (setup, course) = (self.setup, self.course);
        if setup.output.is_some() && since.epoch > 0 {
            return Err(RunError::Output(
                "output files need the whole replay, and this data folder holds a part of it: \
                 use a fresh --data-dir"
                    .into(),
            ));
        }
        let mut keeper = Keeper::new(
            Arc::clone(&course.metrics),
            course.watching.clone(),
            Arc::clone(&course.rules),
            &course.time,
        );
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        let (value, segment) = (named(&course.policy.value), named(&course.policy.segment));
        let of_patterns = course.patterns.uses();
        let uses = all_uses(&course.schema.keys, &value, &segment, &course.metrics, of_patterns);
        keeper.watch_uses(uses);
        keeper.watch_patterns(Arc::clone(&course.patterns));
        // What looks at the past tells nobody.
        if !setup.status.is_aside() {
            keeper.set_desk(course.desk.clone());
            keeper.set_nudges(course.nudges.clone());
        }
        keeper.note_settings(course.session_settings.clone());
        keeper.note_meanings(course.meanings.clone());
        keeper.engine.reports = setup.reports;
        keeper.list_points = setup.output.is_some();
        keeper.restore(snapshot, since.watermark).map_err(damaged)?;
        keeper.nudges.dropped().iter().for_each(|said| tracing::warn!("{said}"));
        setup.quiet.restored(keeper.nudges.quiet());
        let fillings = keeper.fillings();
        setup.wanted.send_replace(Wanted { watermark: since.watermark, fillings });
        self.restore_alerts(&mut keeper);
        self.restore_ended(&mut keeper);
        Ok(keeper)
    }

    fn restore_alerts(&self, keeper: &mut Keeper) {
        let Some(records) = &self.setup.records else { return };
        let after = keeper.alerts().saturating_sub(BOARD_ALERTS as u64);
        match records.alerts(after, BOARD_ALERTS) {
            Ok(alerts) => keeper.restore_alerts(&alerts),
            Err(error) => tracing::warn!(%error, "earlier alerts are not on the board"),
        }
    }

    /// Puts the incidents that ended last on the board: of those that began last.
    fn restore_ended(&self, keeper: &mut Keeper) {
        let Some(records) = &self.setup.incidents else { return };
        let wanted = IncidentsWanted { open: Some(false), before: u64::MAX, limit: ENDED_READ };
        match records.incidents(&wanted) {
            Ok(found) => {
                let ended: Vec<_> = found.into_iter().map(|(_, incident)| incident).collect();
                keeper.incidents.restore_ended(&ended);
            }
            Err(error) => tracing::warn!(%error, "earlier incidents are not on the board"),
        }
    }

    async fn committer(
        &mut self,
        (keeper, own_keys): (Keeper, Option<OwnKeys>),
        groups: &DecidedGroups,
        store: SyncSender<StoreCommand>,
        told: (watch::Sender<Vec<u64>>, watch::Sender<Option<ReplayNumbers>>),
        since: &Since,
    ) -> Result<Addr<Committer>, RunError> {
        let (setup, course) = (self.setup, self.course);
        let output = setup.output.as_ref().map(|make| make()).transpose();
        let (durable, finished) = told;
        let page = PageParts {
            settings: course.settings.clone(),
            clock: Arc::clone(&setup.clock),
            broadcaster: setup.broadcaster.clone(),
            flow: Arc::clone(&setup.flow),
            status: Arc::clone(&setup.status),
            face: setup.face.clone(),
            clients: Arc::clone(&setup.clients),
            directory: setup.directory.clone(),
            probe: Arc::clone(&setup.probe),
            permits: self.permits.clone(),
            spans: (course.policy.gap, course.time.allowed_lateness),
        };
        let parts = CommitterParts {
            keeper,
            own_keys,
            quiet: Arc::clone(&setup.quiet),
            groups: Arc::clone(groups),
            epoch: since.epoch,
            watermark: since.watermark,
            store,
            durable,
            finished,
            output: output.map_err(RunError::Output)?,
            witness: setup.witness.clone(),
            page,
            watch: DeathWatch::new("committer", self.failed.clone()),
        };
        let arbiter = Arbiter::new();
        let (began, begun) = oneshot::channel();
        let committer = Committer::start_in_arbiter(&arbiter.handle(), move |ctx| {
            fail::fail_point!("committer_start");
            ctx.set_mailbox_capacity(committer::MAILBOX);
            let _ = began.send(());
            Committer::new(parts)
        });
        self.arbiters.push(arbiter);
        // Until its thread gets to the lines above, its mailbox has the few places that actix
        // gives a new one, and whoever sends more takes it for dead.
        begun.await.map_err(committer_ended)?;
        Ok(committer)
    }

    /// Starts the shards, each restoring its sessions on its own thread, and what is open then.
    async fn shards(
        &mut self,
        committer: &Addr<Committer>,
        snapshot: Snapshot,
        groups: DecidedGroups,
        since: &Since,
    ) -> Result<(Vec<Addr<Aggregator>>, Gauges), RunError> {
        let (setup, settings) = (self.setup, &self.course.settings);
        let mailbox = aggregator::MAILBOX + settings.session_mailboxes_max;
        let (forgotten, watermark) = (since.closed_forgotten, since.watermark);
        let snapshot = Arc::new(snapshot);
        let mut addrs = Vec::new();
        let mut restored = Vec::new();
        for shard in 0..settings.shards {
            let parts = self.shard_parts(shard, committer, &groups);
            let arbiter = Arbiter::new();
            let snapshot = Arc::clone(&snapshot);
            let (done, wait) = oneshot::channel();
            let addr = Aggregator::start_in_arbiter(&arbiter.handle(), move |ctx| {
                fail::fail_point!("aggregator_start");
                ctx.set_mailbox_capacity(mailbox);
                let mut aggregator = Aggregator::new(parts);
                let _ = done.send(aggregator.restore(&snapshot, forgotten, watermark));
                aggregator
            });
            self.arbiters.push(arbiter);
            restored.push(wait);
            addrs.push(addr);
        }
        let mut open = Gauges::default();
        for wait in restored {
            let restored = wait.await;
            let died = |_| Err("a shard died while it restored its sessions".into());
            open.add(&restored.unwrap_or_else(died).map_err(damaged)?);
        }
        let patterns = &self.course.patterns;
        setup.directory.connect(self.course.schema.seed, addrs.clone(), committer, patterns);
        Ok((addrs, open))
    }

    fn shard_parts(
        &self,
        shard: u16,
        committer: &Addr<Committer>,
        groups: &DecidedGroups,
    ) -> ShardParts {
        let (setup, course) = (self.setup, self.course);
        let settings = &course.settings;
        let metrics = course.metrics.iter().map(|metric| &metric.spec);
        ShardParts {
            shard,
            shards: settings.shards,
            rules: Arc::clone(&course.rules),
            metrics: Arc::clone(&course.metrics),
            patterns: Arc::clone(&course.patterns),
            pattern_room: self.pattern_room(Some(shard)),
            groups: Arc::clone(groups),
            horizon: horizon(settings, course.time, &course.policy, metrics),
            identities_max: settings.per_shard(settings.dedup_ids_max),
            bounds: Bounds {
                keys_max: settings.per_shard(settings.sessions_max),
                bytes_max: settings.per_shard(settings.session_bytes_max),
            },
            closed_max: settings.per_shard(settings.closed_sessions_max),
            identify: identify(&course.policy, &course.rules),
            seed: course.schema.seed,
            sessions_full: settings.sessions_full,
            list_sessions: setup.list_sessions,
            committer: committer.clone(),
            pool: self.pool.clone(),
            watch: DeathWatch::new(format!("aggregator {shard}"), self.failed.clone()),
        }
    }

    fn own_keys(
        &self,
        snapshot: &Snapshot,
        groups: &DecidedGroups,
    ) -> Result<Option<OwnKeys>, RunError> {
        let course = self.course;
        let parts = OwnKeysParts {
            patterns: Arc::clone(&course.patterns),
            metrics: Arc::clone(&course.metrics),
            groups: Arc::clone(groups),
            lateness: course.time.allowed_lateness,
            seed: course.schema.seed,
            room: self.pattern_room(None),
            on_the_way: self.on_the_way.clone(),
        };
        OwnKeys::restored(parts, snapshot).map_err(damaged)
    }

    /// What the machines of patterns may take: those by keys of patterns, of no shard, half of all where
    /// there are both sorts, and each shard its part of the rest. What shards send takes half as much
    /// besides.
    fn pattern_room(&self, shard: Option<u16>) -> PatternRoom {
        let settings = &self.course.settings;
        let own = shard.is_none();
        let is_of_sort = |pattern: &Pattern| pattern.has_own_key() == own;
        let alone = self.course.patterns.list.iter().all(is_of_sort);
        let part = |all: usize| {
            let of_sort = if alone { all } else { all.div_ceil(2) };
            if own { of_sort } else { settings.per_shard(of_sort) }
        };
        PatternRoom {
            keys: Bounds {
                keys_max: part(settings.pattern_keys_max),
                bytes_max: part(settings.pattern_bytes_max),
            },
            cohort_keys_max: part(settings.cohort_keys_max),
            aliases: alias_bounds(&self.course.policy),
            sent_bytes_max: settings.per_shard(settings.pattern_bytes_max.div_ceil(2)),
            on_the_way: shard
                .map(|shard| Arc::clone(&self.on_the_way[usize::from(shard)]))
                .unwrap_or_default(),
        }
    }

    fn ingestor(
        &mut self,
        sources: &Sources,
        shards: &[Addr<Aggregator>],
        committer: Addr<Committer>,
        durable: watch::Receiver<Vec<u64>>,
        progress: Progress,
    ) {
        let (setup, course) = (self.setup, self.course);
        let inlets = shards.iter().cloned().zip(self.permits.iter().cloned());
        let parts = IngestorParts {
            settings: course.settings.clone(),
            time: course.time,
            schema: Arc::clone(&course.schema),
            clock: Arc::clone(&setup.clock),
            sources: sources.clone(),
            shards: inlets.map(|(addr, permits)| ShardInlet { addr, permits }).collect(),
            committer,
            flow: Arc::clone(&setup.flow),
            pool: self.pool.clone(),
            durable,
            status: Arc::clone(&setup.status),
            stop: self.halted.clone(),
            watch: DeathWatch::new("ingestor", self.failed.clone()),
        };
        let arbiter = Arbiter::new();
        arbiter.spawn_fn(move || {
            actix::spawn(Ingestor::new(parts, progress).run());
        });
        self.arbiters.push(arbiter);
    }
}

fn committer_ended<E>(_: E) -> RunError {
    RunError::Thread("the committer's thread ended".into())
}

/// What may be remembered of anonymous keys, if they are told from known ones. An alias outlives
/// every session that could still be open with its events.
fn identify(policy: &SessionPolicy, rules: &Rules) -> Option<AliasBounds> {
    policy.identify.as_ref()?;
    let bounds = alias_bounds(policy);
    Some(AliasBounds { keep: bounds.keep.max(rules.gap + rules.memory()), ..bounds })
}

fn alias_bounds(policy: &SessionPolicy) -> AliasBounds {
    let SessionPolicy { identify_keep, aliases_max, aliases_bytes_max, .. } = *policy;
    AliasBounds { keep: identify_keep, max: aliases_max, bytes_max: aliases_bytes_max }
}

/// How long identities are kept: as long as an event may be behind and still open a session,
/// and one gap, which that session reaches back; or still count in the longest window. An
/// event older than that is late, unless a session of its key has been open for longer.
pub fn horizon<'a>(
    settings: &Settings,
    time: TimePolicy,
    policy: &SessionPolicy,
    metrics: impl Iterator<Item = &'a MetricSpec>,
) -> SpanMs {
    let lateness = time.allowed_lateness;
    let session = 2 * policy.gap + lateness;
    let window = metrics.map(|metric| metric.window.reach()).max().unwrap_or(0);
    match settings.dedup_horizon {
        Some(horizon) => horizon.max(session),
        None => (window + lateness).min(HORIZON_AUTO_MAX).max(session),
    }
}
