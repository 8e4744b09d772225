//! Starts a pipeline on threads of its own, inside whatever program asks for it.
//!
//! The pipeline needs an actix `System`; it gets one of its own on a thread of its own, so
//! the host may be a tokio program, an actix program, or neither.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, Addr, System};
use arc_swap::ArcSwap;
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use super::figures::probe;
use super::{nats, parts};
use crate::actors::broadcaster::{BroadcastStats, Broadcaster};
use crate::actors::committer::{ClientCounts, Face};
use crate::actors::directory::{Directory, NoAnswer};
use crate::actors::flow::Flow;
use crate::actors::pipeline::{OutputFactory, Pipeline, RunError, Setup, Witness};
use crate::actors::ports::{AppendError, Appended, EventLog, Records, Source, StoreError};
use crate::actors::status::Status;
use crate::actors::store_thread::StoreThread;
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::domain::board::Board;
use crate::domain::condition::Condition;
use crate::domain::event::Schema;
use crate::domain::event::split::split_item;
use crate::domain::keeper::ReplayNumbers;
use crate::domain::session::SessionView;
use crate::domain::time::SpanMs;
use crate::domain::verdict::Meaning;
use crate::nats::out::{DRAIN, Outputs};
use crate::store;
use crate::store::folder::Folder;
use crate::store::log::EmbeddedLog;
use crate::store::records::StoredRecords;
use crate::store::state::{Figures, StateDb};
use crate::web;

/// Why a pipeline did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source of a replay cannot be read.
    #[error("{0}")]
    Source(String),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Makes the source of a pipeline, once the clock is known.
pub type SourceFactory = Box<dyn FnOnce(SharedClock) -> Result<Box<dyn Source>, String> + Send>;

/// Builds a pipeline: `tidewatch::Pipeline::builder()`.
pub struct Builder {
    config: Config,
    face: Face,
    clock: SharedClock,
    own: Vec<SourceFactory>,
    output: Option<OutputFactory>,
    witness: Option<Witness>,
    list_sessions: bool,
    render_metrics: web::RenderMetrics,
    seed: Option<u64>,
    scratch: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            config: Config::default(),
            face: Face { mode: "embedded", notice: String::new() },
            clock: SystemClock::shared(),
            own: Vec::new(),
            output: None,
            witness: None,
            list_sessions: false,
            render_metrics: Arc::new(String::new),
            seed: None,
            scratch: false,
        }
    }
}

impl Builder {
    /// Takes a whole configuration (see `tidewatch::config::Config::load`).
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The data folder; made when it is not there.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.general.data_dir = path.into();
        self
    }

    /// What the page says of this process: a mode (`serve`, `demo`, `replay`, `embedded`)
    /// and a sentence for people.
    pub fn face(mut self, mode: &'static str, notice: impl Into<String>) -> Self {
        self.face = Face { mode, notice: notice.into() };
        self
    }

    /// What `/metrics` answers: the host's own exporter, if it has one.
    pub fn metrics(mut self, render: web::RenderMetrics) -> Self {
        self.render_metrics = render;
        self
    }

    /// Another clock than the machine's.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Reads another source than the embedded log; nothing can be published then. May be called
    /// again: all of them are read side by side, each under a name of its own.
    pub fn source(mut self, source: SourceFactory) -> Self {
        self.own.push(source);
        self
    }

    /// The data folder is removed when the pipeline has ended: nothing in it is synced.
    #[cfg_attr(not(feature = "replay"), expect(dead_code, reason = "only a replay does this"))]
    pub(super) fn scratch(mut self, scratch: bool) -> Self {
        self.scratch = scratch;
        self
    }

    /// The seed of a new data folder's hashes. Without it each folder draws its own, so that
    /// nobody can choose keys that fall on one shard; with it two runs do the same.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Writes ended sessions (all of them, when asked for) and final numbers somewhere.
    pub fn output(mut self, output: OutputFactory, list_sessions: bool) -> Self {
        self.output = Some(output);
        self.list_sessions = list_sessions;
        self
    }

    /// What the web side will be set to.
    pub(super) fn web_settings(&self) -> web::Settings {
        self.config.web.clone()
    }

    /// Shows every commit to `witness` before it is written.
    pub fn witness(mut self, witness: Witness) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Opens the data folder and starts the threads. Returns once the folder is ours and
    /// readable; the last commit is restored behind it (`Running::status`).
    ///
    /// # Errors
    /// When the folder is in use, damaged, or cannot be read.
    pub fn start(self) -> Result<Running, StartError> {
        let Builder {
            config,
            face,
            clock,
            own,
            output,
            witness,
            list_sessions,
            render_metrics,
            seed,
            scratch,
        } = self;
        let data_dir = &config.general.data_dir;
        let folder = match scratch {
            true => Folder::open_scratch(data_dir)?,
            false => Folder::open(data_dir)?,
        };
        let log = EmbeddedLog::open(&folder, Arc::clone(&clock), parts::log_settings(&config))?;
        // A source of its own ends, and then somebody asks what it amounted to.
        let reports = !own.is_empty();
        let settings = store::Settings { seed, ..config.store.clone() };
        let state = StateDb::open(&folder, log.clone(), settings)?;
        let figures = state.figures();
        let schema = parts::schema(&config, state.seed());
        let records: Arc<dyn Records> = Arc::new(StoredRecords::of(&folder)?);
        let streams = match reports {
            true => None,
            false => nats::open(&config, &clock).map_err(|e| StartError::Source(e.to_string()))?,
        };
        let link = streams.as_ref().map(|(link, _)| link.clone());
        if link.is_some() && !config.nats.out.dead_letters_stream.is_empty() {
            // Before the store's thread begins: none may leave until the output says so.
            figures.publish_letters();
        }
        let intake: Option<Arc<dyn EventLog>> = match &link {
            _ if reports => None,
            Some(link) => {
                let gateway = nats::gateway(&config, link, &schema);
                gateway.map_err(|error| StartError::Source(error.to_string()))?
            }
            None => Some(Arc::new(log.clone())),
        };
        let sources: Vec<Box<dyn Source>> = match streams {
            _ if reports => {
                let made = own.into_iter().map(|make| make(Arc::clone(&clock)));
                made.collect::<Result<_, _>>().map_err(StartError::Source)?
            }
            Some((_, streams)) => streams,
            None => vec![Box::new(log.source()?)],
        };
        let mut names = HashSet::new();
        if let Some(twice) = sources.iter().map(|s| s.name()).find(|name| !names.insert(*name)) {
            return Err(StartError::Source(format!("two sources have the name {twice:?}")));
        }
        let status = Arc::new(Status::default());
        log.tell(&status);
        status.stands(Condition::FolderOpen, folder.open_to_others(), clock.elapsed());
        status.set("start", Some("starting".into()));
        if let Some(link) = &link {
            nats::show_state(link, &config.nats.gateway.subject, &status, &clock);
        }
        let flow = Flow::with_aside(config.nats.gateway.refused_bytes_max);
        flow.delivered.store(figures.alerts_delivered.load(Ordering::Relaxed), Ordering::SeqCst);
        let (state, mode) = (Box::new(state), face.mode);
        let store =
            StoreThread::start(state, Arc::clone(&clock), Arc::clone(&status), Arc::clone(&flow))?;
        let broadcaster = Broadcaster::new(Default::default(), Arc::clone(&clock));
        let (board, clients) = (broadcaster.board(), broadcaster.stats());
        let (stop, stopped) = watch::channel(false);
        let directory = Directory::new(config.pipeline.session_mailboxes_max);
        let settings = config.web.clone();
        let load = web::Load::new(&settings);
        let stop_timeout = config.pipeline.stop_timeout;
        let meaning =
            Meaning::new(Arc::clone(&schema), &config.metrics, &config.session, config.time);
        let setup = Setup {
            settings: config.pipeline.clone(),
            time: config.time,
            policy: config.session.clone(),
            session_settings: config.sessions_meaning(),
            meanings: config.meanings(),
            schema: Arc::clone(&schema),
            metrics: config.metrics.clone(),
            sigma: config.rules.clone(),
            clock: Arc::clone(&clock),
            records: Some(Arc::clone(&records)),
            status: Arc::clone(&status),
            directory: directory.clone(),
            flow: Arc::clone(&flow),
            face,
            broadcaster: None,
            clients: counts(&clients),
            probe: probe(&config, intake.clone(), &figures, &load, &flow),
            output,
            witness,
            list_sessions,
            reports,
            stop: stopped,
        };
        let (ended, end) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let (address, addressed) = sync_channel(1);
        let thread = std::thread::Builder::new().name("tidewatch".into()).spawn(move || {
            System::new().block_on(async move {
                let addr = broadcaster.start();
                let mut setup = setup;
                setup.broadcaster = Some(addr.clone().recipient());
                // The starter waits for it on the other end.
                let _ = address.send(addr);
                let result = Pipeline::new(setup, sources).run(&store).await;
                let _ = tokio::task::spawn_blocking(move || store.end()).await;
                let _ = ended.send(result);
                // Boards stay to be seen until the handle is let go.
                let _ = released.await;
            });
        })?;
        let broadcaster = addressed.recv().map_err(|_| {
            StartError::Source("the pipeline's thread ended while it started".into())
        })?;
        let mut running = Running {
            web: web::State {
                log: intake,
                records,
                directory,
                broadcaster,
                board,
                clients,
                flow: Arc::clone(&flow),
                status,
                clock,
                render_metrics,
                schema,
                meaning: Arc::new(meaning),
                load,
                settings,
            },
            mode,
            folder,
            flow,
            figures,
            stop,
            stop_timeout,
            end: Some(end),
            numbers: None,
            release: Some(release),
            thread: Some(thread),
            outputs: None,
        };
        running.outputs = link.map(|link| running.send_to_nats(&link, config.nats.out.clone()));
        Ok(running)
    }
}

fn counts(clients: &Arc<BroadcastStats>) -> ClientCounts {
    let clients = Arc::clone(clients);
    Arc::new(move || (clients.clients() as u64, clients.lagging() as u64))
}

/// A running pipeline. Dropping it stops the pipeline without waiting for it.
pub struct Running {
    web: web::State,
    mode: &'static str,
    folder: Folder,
    flow: Arc<Flow>,
    figures: Arc<Figures>,
    stop: watch::Sender<bool>,
    stop_timeout: SpanMs,
    end: Option<oneshot::Receiver<Result<ReplayNumbers, RunError>>>,
    numbers: Option<Result<ReplayNumbers, RunError>>,
    release: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    outputs: Option<Outputs>,
}

impl Running {
    /// Appends events (one JSON object each) to the embedded log; resolves once they are
    /// durable. An array, or lines of NDJSON, are taken apart: each event has a position of
    /// its own. What cannot be decoded later ends in the dead letters.
    ///
    /// # Errors
    /// When the log is full, cannot be written, or there is none (a replay).
    pub async fn publish(&self, events: Vec<Bytes>) -> Result<Appended, AppendError> {
        let most = self.web.schema.limits.item_events;
        let mut items = Vec::with_capacity(events.len());
        events.into_iter().for_each(|event| split_item(event, most, &mut items));
        match &self.web.log {
            Some(log) => log.append(items).await,
            None => Err(AppendError::Broken("a replay takes no events".into())),
        }
    }

    /// The latest board.
    pub fn board(&self) -> Arc<Board> {
        self.web.board.load_full()
    }

    /// The latest board, for readers that look again and again.
    pub fn board_cell(&self) -> Arc<ArcSwap<Board>> {
        Arc::clone(&self.web.board)
    }

    /// The open sessions of a key; `None` when there are none.
    ///
    /// # Errors
    /// [`NoAnswer`] when its shard is so busy that no answer came for some seconds.
    pub async fn session(&self, key: &str) -> Result<Option<SessionView>, NoAnswer> {
        self.web.directory.describe(key).await
    }

    /// What `tidewatch::web::configure` needs to mount the routes into an `App`.
    pub fn web(&self) -> web::State {
        self.web.clone()
    }

    /// The broadcaster of this pipeline.
    pub fn broadcaster(&self) -> Addr<Broadcaster> {
        self.web.broadcaster.clone()
    }

    /// Whether it is ready, and why not.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.web.status)
    }

    /// What is decoded.
    pub fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.web.schema)
    }

    /// Its data folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// `serve`, `demo`, `replay` or `embedded`.
    pub fn mode(&self) -> &'static str {
        self.mode
    }

    /// Numbers about the state store.
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Credits and positions.
    pub fn flow(&self) -> Arc<Flow> {
        Arc::clone(&self.flow)
    }

    /// Asks it to end: drain, commit, return. [`Running::ended`] tells when it has.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// A handle that asks it to end, for a signal handler.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        let stop = self.stop.clone();
        move || {
            stop.send_replace(true);
        }
    }

    /// Resolves when the pipeline has ended: after `stop`, at the end of a replay, or
    /// because it could not go on. Later calls say the same again.
    ///
    /// # Errors
    /// Why it could not go on.
    pub async fn ended(&mut self) -> Result<ReplayNumbers, RunError> {
        let gone = || Err(RunError::Thread("the pipeline's thread ended".into()));
        if let Some(end) = &mut self.end {
            self.numbers = Some(end.await.unwrap_or_else(|_| gone()));
            self.end = None;
        }
        self.numbers.clone().unwrap_or_else(gone)
    }

    /// Stops and waits until everything is committed, at most `pipeline.stop_timeout`. Beyond it
    /// the pipeline's threads are left to themselves: they hold the data folder until they or the
    /// process end.
    ///
    /// # Errors
    /// Why the last commit could not be made.
    pub async fn shutdown(mut self) -> Result<ReplayNumbers, RunError> {
        self.stop();
        let after_ms = self.stop_timeout;
        let bound = Duration::from_millis(after_ms.max(0) as u64);
        let Ok(result) = tokio::time::timeout(bound, self.ended()).await else {
            return Err(RunError::StopTimeout { after_ms });
        };
        if let Some(outputs) = self.outputs.take() {
            // The last commit's alerts leave too, if that is possible now.
            let _ = outputs.stop(DRAIN).await;
        }
        drop(self.release.take());
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
