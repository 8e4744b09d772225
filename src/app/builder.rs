//! Starts a pipeline on threads of its own, inside whatever program asks for it.
//!
//! The pipeline needs an actix `System`; it gets one of its own on a thread of its own, so
//! the host may be a tokio program, an actix program, or neither.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::Addr;
use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::backfill::Backfill;
use super::channels;
use super::figures::probe;
use super::reload::{Prepare, Reloader, Seals, course, meaning};
use super::running::Running;
use super::tables;
use super::thread::PipelineThread;
use super::ways::{Files, Ways};
use super::{nats, parts};
use crate::actors::broadcaster::{BroadcastStats, Broadcaster};
use crate::actors::committer::{ClientCounts, Clients, Face};
use crate::actors::directory::Directory;
use crate::actors::flow::Flow;
use crate::actors::pipeline::{OutputFactory, Pipeline, Setup, Witness};
use crate::actors::ports::{Source, StoreError};
use crate::actors::quiet::Quiet;
use crate::actors::reload::{Change, Wanted};
use crate::actors::status::Status;
use crate::actors::store_thread::StoreThread;
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::domain::board::Board;
use crate::domain::condition::Condition;
use crate::domain::event::Schema;
use crate::domain::keeper::NoticeLink;
use crate::store::folder::Folder;
use crate::store::state::Figures;
use crate::web;

/// Why a pipeline did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configuration asks for a part that this build is without.
    #[error("{0}")]
    Missing(String),
    /// The source of a replay cannot be read.
    #[error("{0}")]
    Source(String),
    /// What lookups are to start with cannot be written.
    #[error("the tables of lookups cannot be kept in the data folder: {0}")]
    Lookups(std::io::Error),
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
    aside: bool,
    prepare: Prepare,
    mailbox: Option<Arc<dyn web::Mailbox>>,
    seals: Seals,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            config: Config::default(),
            face: Face { mode: "embedded", ..Face::default() },
            clock: SystemClock::shared(),
            own: Vec::new(),
            output: None,
            witness: None,
            list_sessions: false,
            render_metrics: Arc::new(String::new),
            seed: None,
            scratch: false,
            aside: false,
            prepare: Arc::new(|_| {}),
            mailbox: None,
            seals: Seals::new(),
        }
    }
}

impl Builder {
    /// Takes a whole configuration (see `tidewatch::config::Config::load`).
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// What is set differently whatever is in the file, also when it is read again.
    pub(super) fn prepare(mut self, prepare: Prepare) -> Self {
        self.prepare = prepare;
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
        self.face = Face { mode, notice: notice.into(), ..self.face };
        self
    }

    /// Mails that were written instead of sent are shown at `/mailbox`, and the page leads there.
    pub(super) fn mailbox(mut self, mailbox: Arc<dyn web::Mailbox>) -> Self {
        self.face.link = Some(NoticeLink { href: "mailbox", says: "Mailbox" });
        self.mailbox = Some(mailbox);
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
    pub(super) fn scratch(mut self, scratch: bool) -> Self {
        self.scratch = scratch;
        self
    }

    /// It runs beside one that serves: of what it does nothing is told to the exporter.
    pub(super) fn aside(mut self) -> Self {
        self.aside = true;
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
    pub fn start(mut self) -> Result<Running, StartError> {
        let clock = Arc::clone(&self.clock);
        let own = std::mem::take(&mut self.own);
        // A source of its own ends, and then somebody asks what it amounted to.
        let reads_own = !own.is_empty();
        let files = self.files()?;
        let schema = parts::schema(&self.config, files.state.seed());
        // What reads something once, or beside one that serves, tells nobody.
        let tells = !reads_own && !self.aside;
        let channels = if tells {
            channels::Channels::open(&self.config, &clock)?
        } else {
            Default::default()
        };
        channels::keep_for(&channels, &files.state.figures());
        if tells {
            self.seals = channels::seals(&self.config)?;
        }
        let quiet = Arc::new(Quiet::new(self.seals.clone()));
        let ways = if reads_own {
            Ways::own(own, &clock)?
        } else {
            Ways::open(&self.config, &clock, &files, &schema)?
        };
        let (thread, page) = Page::start(&clock)?;
        // One change is under way at most.
        let (change, changes) = mpsc::channel(1);
        let (web, reloader) = self.web(&files, &ways, (schema, change), page);
        let (stop, stopped) = watch::channel(false);
        let (figures, status, flow) =
            (files.state.figures(), Arc::clone(&web.status), Arc::clone(&web.flow));
        let store = StoreThread::start(Box::new(files.state), clock, status, flow)?;
        let mut running = self.running(files.folder, figures, thread, (web, reloader, stop));
        let (wants, wanted) = watch::channel(Wanted::default());
        // Only the embedded log can be looked back on.
        let looks_back = !reads_own && ways.link.is_none();
        let backfill = looks_back.then(|| Backfill::of(&running, wanted).run().boxed());
        let out = self.config.nats.out.clone();
        let reports = reads_own && !self.aside;
        let told = (Arc::clone(&quiet), reports);
        let setup = self.setup(&running, told, (stopped, changes, wants));
        running.thread.run(Pipeline::new(setup, ways.sources), store, backfill);
        let link = ways.link.as_ref();
        let to_nats = link.map(|link| running.send_to_nats(link, out.clone()));
        running.outputs.extend(to_nats);
        if tells {
            running.notify(channels, quiet, link, &out)?;
        }
        Ok(running)
    }

    /// The data folder with its files open, and what lookups start with.
    fn files(&self) -> Result<Files, StartError> {
        let files = Files::open(&self.config, &self.clock, self.seed, self.scratch)?;
        if !self.scratch {
            tables::keep(None, &self.config).map_err(StartError::Lookups)?;
        }
        Ok(files)
    }

    /// The handle of its starter, with nothing running yet but the page.
    fn running(
        &self,
        folder: Folder,
        figures: Arc<Figures>,
        thread: PipelineThread,
        (web, reloader, stop): (web::State, Reloader, watch::Sender<bool>),
    ) -> Running {
        Running {
            mode: self.face.mode,
            folder,
            figures,
            stop,
            stop_timeout: self.config.pipeline.stop_timeout,
            thread,
            outputs: Vec::new(),
            reloader,
            config_watch: self.config.general.config_watch,
            web,
        }
    }

    /// What the web side holds, and what takes another configuration.
    fn web(
        &self,
        files: &Files,
        ways: &Ways,
        (schema, change): (Arc<Schema>, mpsc::Sender<Change>),
        page: Page,
    ) -> (web::State, Reloader) {
        let (config, clock) = (&self.config, &self.clock);
        let status = self.status(files, ways);
        let meaning = Arc::new(ArcSwap::from_pointee(meaning(config, &schema)));
        let schema = Arc::new(ArcSwap::new(schema));
        let understood = (Arc::clone(&schema), Arc::clone(&meaning));
        // What reads sources of the starter's own comes to an end, and has a report then.
        let rereads = ways.intake.is_some() || ways.link.is_some();
        let prepare = rereads.then(|| Arc::clone(&self.prepare));
        let reloader = Reloader::new(
            config.clone(),
            prepare,
            change,
            understood,
            (Arc::clone(&status), self.seals.clone()),
        );
        let state = web::State {
            log: ways.intake.clone(),
            records: files.records.clone(),
            incidents: files.records.clone(),
            directory: Directory::new(config.pipeline.session_mailboxes_max, Arc::clone(clock)),
            broadcaster: page.broadcaster,
            board: page.board,
            clients: page.clients,
            flow: self.flow(files),
            status,
            clock: Arc::clone(clock),
            render_metrics: Arc::clone(&self.render_metrics),
            schema,
            meaning,
            reload: reloader.reload(),
            dry_runs: dry_runs(&reloader, &self.prepare),
            mailbox: self.mailbox.clone(),
            load: web::Load::new(&config.web),
            settings: config.web.clone(),
        };
        (state, reloader)
    }

    /// What there is to say of the process before anything runs.
    fn status(&self, files: &Files, ways: &Ways) -> Arc<Status> {
        let clock = Arc::clone(&self.clock);
        let status = if self.aside { Status::aside(clock) } else { Status::new(clock) };
        let status = Arc::new(status);
        files.log.tell(&status);
        status.stands(Condition::FolderOpen, files.folder.open_to_others());
        status.holds(Condition::Starting, true);
        if let Some(link) = &ways.link {
            nats::show_state(link, &self.config.nats.gateway.subject, &status, &self.clock);
        }
        status
    }

    fn flow(&self, files: &Files) -> Arc<Flow> {
        let flow = Flow::with_aside(self.config.nats.gateway.refused_bytes_max);
        let delivered = files.state.figures().alerts_delivered.load(Ordering::Relaxed);
        flow.delivered.store(delivered, Ordering::SeqCst);
        flow
    }

    fn setup(
        self,
        running: &Running,
        (quiet, reports): (Arc<Quiet>, bool),
        (stop, changes, wanted): Channels,
    ) -> Setup {
        let (config, web) = (self.config, &running.web);
        Setup {
            probe: probe(&config, web.log.clone(), &running.figures, &web.load, &web.flow),
            course: course(&config, web.schema.load_full(), &self.seals),
            changes: Some(changes),
            wanted,
            clock: self.clock,
            records: Some(Arc::clone(&web.records)),
            incidents: Some(Arc::clone(&web.incidents)),
            status: Arc::clone(&web.status),
            quiet,
            directory: web.directory.clone(),
            flow: Arc::clone(&web.flow),
            face: self.face,
            broadcaster: Some(web.broadcaster.clone().recipient()),
            clients: counts(&web.clients),
            output: self.output,
            witness: self.witness,
            list_sessions: self.list_sessions,
            reports,
            stop,
        }
    }
}

/// The way to dry runs.
#[cfg(feature = "replay")]
fn dry_runs(reloader: &Reloader, prepare: &Prepare) -> web::dry_run::DryRuns {
    super::dry_run::dry_runs(reloader.in_force(), Arc::clone(prepare))
}

/// The way to dry runs, where there are none.
#[cfg(not(feature = "replay"))]
fn dry_runs(_: &Reloader, _: &Prepare) -> web::dry_run::DryRuns {
    let why = "this build has no dry runs: it is without the feature \"replay\"";
    Arc::new(|_| Box::pin(async { Err(web::dry_run::Refused::Wrong(why.into())) }))
}

/// Asked to end, asked to change, and what is wanted of the log.
type Channels = (watch::Receiver<bool>, mpsc::Receiver<Change>, watch::Sender<Wanted>);

/// What reaches browsers: it stays while the parts behind it die and come again.
struct Page {
    broadcaster: Addr<Broadcaster>,
    board: Arc<ArcSwap<Board>>,
    clients: Arc<BroadcastStats>,
}

impl Page {
    /// On the thread that the pipeline will run on.
    fn start(clock: &SharedClock) -> Result<(PipelineThread, Page), StartError> {
        let broadcaster = Broadcaster::new(Default::default(), Arc::clone(clock));
        let (board, clients) = (broadcaster.board(), broadcaster.stats());
        let (thread, broadcaster) = PipelineThread::start(broadcaster)?;
        Ok((thread, Page { broadcaster, board, clients }))
    }
}

fn counts(clients: &Arc<BroadcastStats>) -> ClientCounts {
    let clients = Arc::clone(clients);
    Arc::new(move || Clients {
        all: clients.clients() as u64,
        lagging: clients.lagging() as u64,
        at_risk: clients.at_risk() as u64,
        kinds: clients.kinds() as u64,
    })
}
