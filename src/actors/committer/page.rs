//! What people see of the pipeline: figures for the exporter, and a board once a tick.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::Recipient;
use tokio::sync::Semaphore;

use crate::actors::Settings;
use crate::actors::broadcaster::Publish;
use crate::actors::directory::{Directory, KindsAtRisk};
use crate::actors::figures;
use crate::actors::flow::Flow;
use crate::actors::messages::ShardHolds;
use crate::actors::standing::{Bounds, Watch};
use crate::actors::status::Status;
use crate::clock::SharedClock;
use crate::domain::at_risk::AtRisk;
use crate::domain::board::{Board, Topic, bound, share};
use crate::domain::condition::{Condition, Severity};
use crate::domain::keeper::{ConditionView, Keeper, NoticeLink, PipelineView, SourceView};
use crate::domain::lag::CatchUp;
use crate::domain::time::{EpochMs, SpanMs};

/// What is read while it is younger than this is live.
const LIVE_MS: SpanMs = 2_000;

/// What the page says of the process, set at the start.
#[derive(Clone, Debug, Default)]
pub struct Face {
    /// `serve`, `demo`, `replay`, `embedded`.
    pub mode: &'static str,
    /// A sentence for people.
    pub notice: String,
    /// Where it leads.
    pub link: Option<NoticeLink>,
}

/// How many look, for the pipeline panel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clients {
    /// Websocket clients.
    pub all: u64,
    /// Those that do not keep up.
    pub lagging: u64,
    /// Those that follow the topic of sessions at risk.
    pub at_risk: u64,
    /// Those that follow the topic of a kind of sessions.
    pub kinds: u64,
}

/// Counts them.
pub type ClientCounts = Arc<dyn Fn() -> Clients + Send + Sync>;

/// Shows figures of parts that the pipeline does not know (the log, the store, the web
/// side). Called at every tick; must not wait.
pub type Probe = Arc<dyn Fn() + Send + Sync>;

/// What the page is made from, besides the keeper.
pub struct PageParts {
    /// Bounds and beats.
    pub settings: Settings,
    /// The clock.
    pub clock: SharedClock,
    /// Who gets boards, if anybody looks.
    pub broadcaster: Option<Recipient<Publish>>,
    /// Flow with the ingestor.
    pub flow: Arc<Flow>,
    /// Readiness.
    pub status: Arc<Status>,
    /// What the page says of the process.
    pub face: Face,
    /// Websocket clients.
    pub clients: ClientCounts,
    /// The way to open sessions.
    pub directory: Directory,
    /// Shows figures of other parts.
    pub probe: Probe,
    /// The permits of each shard's queue.
    pub permits: Vec<Arc<Semaphore>>,
    /// Session gap and allowed lateness, for the page.
    pub spans: (SpanMs, SpanMs),
}

pub(super) struct Page {
    parts: PageParts,
    pub holds: Vec<ShardHolds>,
    /// What is held by keys of patterns.
    pub own_keys: ShardHolds,
    /// The last commit that is durable, and how long it took.
    pub epoch: u64,
    pub commit_ms: i64,
    /// The last barrier of all is durable.
    pub finished: bool,
    /// What was seen last of the sessions at risk; `None` while nobody follows it.
    pub at_risk: Option<Arc<AtRisk>>,
    /// Likewise of kinds of their own.
    pub kinds_at_risk: Option<Arc<KindsAtRisk>>,
    version: u64,
    /// The topics of the last board.
    shown: BTreeMap<String, Arc<Topic>>,
    catch_up: CatchUp,
    standing: Watch,
}

impl Page {
    pub(super) fn new(parts: PageParts, epoch: u64) -> Self {
        Page {
            holds: vec![ShardHolds::default(); usize::from(parts.settings.shards)],
            own_keys: ShardHolds::default(),
            epoch,
            commit_ms: 0,
            finished: false,
            at_risk: None,
            kinds_at_risk: None,
            version: 0,
            shown: BTreeMap::new(),
            catch_up: CatchUp::default(),
            standing: Watch::default(),
            parts,
        }
    }

    /// Somebody follows what is at risk: the way to look for it.
    pub(super) fn at_risk_wanted(&mut self) -> Option<Directory> {
        let followed = (self.parts.clients)().at_risk > 0;
        if !followed {
            self.at_risk = None;
        }
        followed.then(|| self.parts.directory.clone())
    }

    /// Somebody follows a kind of sessions: the way to look for what is at risk there.
    pub(super) fn kinds_at_risk_wanted(&mut self) -> Option<Directory> {
        let followed = (self.parts.clients)().kinds > 0;
        if !followed {
            self.kinds_at_risk = None;
        }
        followed.then(|| self.parts.directory.clone())
    }

    /// Distance between two boards, in ms.
    pub(super) fn tick(&self) -> SpanMs {
        self.parts.settings.tick
    }

    /// Shows how things are: to the exporter, and as a board.
    pub(super) fn show(&mut self, keeper: &Keeper, watermark: EpochMs) {
        let next = self.parts.clock.elapsed() + self.parts.settings.tick;
        self.parts.flow.next_board.store(next, Ordering::SeqCst);
        let (parts, now) = (&self.parts, self.parts.clock.elapsed());
        let all = || self.holds.iter().chain([&self.own_keys]);
        let bounds = Bounds {
            sessions_max: parts.settings.sessions_max,
            session_bytes_max: parts.settings.session_bytes_max,
            pattern_keys_max: parts.settings.pattern_keys_max,
            pattern_bytes_max: parts.settings.pattern_bytes_max,
            pattern_held_max: parts.settings.pattern_held_max,
            closed_max: parts.settings.closed_sessions_max,
            aliases_max: all().map(|holds| holds.aliases_max).sum(),
            alias_bytes_max: all().map(|holds| holds.alias_bytes_max).sum(),
            ids_max: parts.settings.dedup_ids_max,
        };
        let ahead = &parts.flow.ahead;
        self.standing.look(keeper, watermark, ahead, bounds, &parts.status, now);
        let view = self.view();
        let waiting = self.parts.permits.iter().zip(&self.holds);
        let shards: Vec<_> = waiting
            .map(|(permits, holds)| {
                (self.parts.settings.shard_queue - permits.available_permits(), *holds)
            })
            .collect();
        if !self.parts.status.is_aside() {
            let settings = &self.parts.settings;
            figures::tell(keeper, watermark, &view, settings, (&shards, &self.own_keys));
            (self.parts.probe)();
        }
        self.publish(keeper, watermark, view);
    }

    fn publish(&mut self, keeper: &Keeper, watermark: EpochMs, view: PipelineView) {
        let Some(broadcaster) = &self.parts.broadcaster else { return };
        self.version += 1;
        let topics = keeper.topics(watermark, &view);
        let figures = Arc::new(keeper.figures(watermark));
        let board = Board {
            version: self.version,
            at: view.wall,
            watermark,
            stale: view.state,
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
        let clients = (parts.clients)();
        let sources = flow.look(parts.clock.wall());
        let behind =
            !flow.caught_up.load(Ordering::SeqCst) && !nearly_live(&sources) && !self.finished;
        let replays = parts.face.mode == "replay";
        parts.status.holds(Condition::CatchingUp, behind && !replays);
        parts.status.holds(Condition::Replaying, behind && replays);
        let standing = parts.status.standing().into_iter();
        let shown = standing.filter(|one| one.condition.severity() > Severity::Note);
        PipelineView {
            state: parts.status.stale(),
            mode: parts.face.mode,
            notice: parts.face.notice.clone(),
            notice_link: parts.face.link,
            conditions: shown
                .map(|one| ConditionView { name: one.condition, says: one.to_string() })
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
            clients: clients.all,
            clients_lagging: clients.lagging,
            restarts: flow.restarts.load(Ordering::SeqCst),
            gap_ms: parts.spans.0,
            lateness_ms: parts.spans.1,
            wall: parts.clock.wall(),
            at_risk: self.at_risk.clone(),
            kinds_at_risk: self.kinds_at_risk.clone(),
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
