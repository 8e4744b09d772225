//! A running pipeline: builds the actors sink to source, waits for the first word from
//! any of them, and when a part died starts the next generation from the last commit, a
//! bounded number of times.

mod ended;
mod restarts;
mod sources;
mod start;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Recipient;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

pub use self::ended::RunError;
pub(super) use self::ended::unreadable;
use self::restarts::Restarts;
use self::sources::continue_from;
pub use self::start::horizon;
use self::start::{Generation, Starting};
use super::Settings;
use super::broadcaster::Publish;
use super::committer::{ClientCounts, Face, Probe};
use super::directory::Directory;
use super::flow::Flow;
use super::ingestor::Sources;
use super::ports::{IncidentRecords, Records, Source};
use super::quiet::Quiet;
use super::reload::{Change, Fill, FillAt, Switch, Wanted};
use super::status::Status;
use super::store_thread::{StoreCommand, StoreThread};
use super::supervision::Failure;
use crate::clock::SharedClock;
use crate::domain::anomaly::Rule;
use crate::domain::commit::{CommitUnit, Restored, SourcePosition};
use crate::domain::condition::Condition;
use crate::domain::event::Schema;
use crate::domain::incident::DeskSettings;
use crate::domain::keeper::{Keeper, Meanings, ReplayNumbers};
use crate::domain::metric::Metric;
use crate::domain::nudge::NudgeSettings;
use crate::domain::pattern::Patterns;
use crate::domain::session::{Rules, SessionPolicy};
use crate::domain::time::{EpochMs, TimePolicy};

/// What takes longer than this before the first board is told to the page.
const TOLD_AFTER: Duration = Duration::from_millis(500);

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

/// What is counted, and how: all that another configuration may change while the process runs.
pub struct Course {
    /// Bounds and beats.
    pub settings: Settings,
    /// Rules of time.
    pub time: TimePolicy,
    /// Rules of sessions.
    pub policy: SessionPolicy,
    /// The settings of sessions by key, as they are noted in a commit.
    pub session_settings: BTreeMap<String, String>,
    /// What metrics, rules and patterns are, see `Keeper::note_meanings`.
    pub meanings: Meanings,
    /// What to decode.
    pub schema: Arc<Schema>,
    /// The rules of sessions, compiled.
    pub rules: Arc<Rules>,
    /// The patterns, compiled.
    pub patterns: Arc<Patterns>,
    /// The metrics.
    pub metrics: Arc<Vec<Metric>>,
    /// The rules.
    pub watching: Vec<Rule>,
    /// How incidents are told.
    pub desk: DeskSettings,
    /// What nudges go by.
    pub nudges: NudgeSettings,
}

/// Everything a pipeline is made of.
pub struct Setup {
    /// What is counted.
    pub course: Course,
    /// Other courses to take from a commit on; `None` where there never is one.
    pub changes: Option<mpsc::Receiver<Change>>,
    /// Told at the start of each generation what is to be filled from the log.
    pub wanted: watch::Sender<Wanted>,
    /// The clock.
    pub clock: SharedClock,
    /// Earlier alerts, for the board.
    pub records: Option<Arc<dyn Records>>,
    /// What the store keeps of incidents, for the board after a restart.
    pub incidents: Option<Arc<dyn IncidentRecords>>,
    /// Readiness.
    pub status: Arc<Status>,
    /// Told who wants to hear nothing.
    pub quiet: Arc<Quiet>,
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
}

/// What a generation that ended in order counted, and whether the next one takes another course.
type Ended = (ReplayNumbers, Option<Box<Change>>);

impl Pipeline {
    /// Prepares a pipeline that reads `sources`: at least one, each with a name of its own.
    pub fn new(setup: Setup, sources: Vec<Box<dyn Source>>) -> Self {
        let sources = sources.into_iter().map(|source| Arc::new(Mutex::new(source))).collect();
        Pipeline { sources, setup }
    }

    /// Runs until it is asked to stop, the source ends, or it cannot go on. Must be called
    /// on a thread with an actix `System`.
    ///
    /// # Errors
    /// Why it could not go on. Nothing is lost: what was not committed is read again.
    pub async fn run(mut self, store: &StoreThread) -> Result<ReplayNumbers, RunError> {
        let mut restarts = Restarts::default();
        let mut changes = self.setup.changes.take();
        let mut switch = Switch::default();
        loop {
            match self.generation(store, &mut changes, &mut switch).await {
                Ok((numbers, None)) => return Ok(numbers),
                Ok((_, Some(change))) => switch = self.take(*change),
                Err(Failure::Final(error)) => self.go_back(&mut switch, error)?,
                Err(Failure::Died(reason)) => {
                    let now = self.setup.clock.elapsed();
                    restarts.another(now, reason, &self.setup.course.settings)?;
                    self.setup.flow.restarts.fetch_add(1, Ordering::SeqCst);
                    self.setup.status.holds(Condition::Restarting, true);
                    self.no_boards(Condition::Restarting);
                }
            }
        }
    }

    /// The next generation counts by another course.
    fn take(&mut self, change: Change) -> Switch {
        let Change { course, fill, done } = change;
        let since = self.setup.clock.elapsed();
        let former = std::mem::replace(&mut self.setup.course, course);
        Switch { former: Some(former), done: Some(done), fill, since, ..Switch::default() }
    }

    /// A course that cannot be begun: nothing was committed by it yet, and the former one goes on.
    fn go_back(&mut self, switch: &mut Switch, error: RunError) -> Result<(), RunError> {
        let Some(former) = switch.former.take() else { return Err(error) };
        self.setup.course = former;
        switch.answer(Err(error.to_string()));
        Ok(())
    }

    /// Tells the page that no board comes for now, and why; the next board ends it.
    fn no_boards(&self, why: Condition) {
        if let Some(broadcaster) = &self.setup.broadcaster {
            // Refused only when the broadcaster is gone: the process is ending.
            let _ = broadcaster.try_send(Publish::NoBoards(why));
        }
    }

    /// Awaits `work`, and tells the page why nothing is seen when that takes long.
    async fn told<T>(&self, why: Condition, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        match tokio::time::timeout(TOLD_AFTER, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                self.no_boards(why);
                work.await
            }
        }
    }

    /// One life of the actors: from the last commit until they end, one dies, or another course
    /// is to be taken.
    async fn generation(
        &self,
        store: &StoreThread,
        changes: &mut Option<mpsc::Receiver<Change>>,
        switch: &mut Switch,
    ) -> Result<Ended, Failure> {
        let setup = &self.setup;
        let Some((restored, positions)) = self.ready(store, switch).await? else {
            return Ok(Ended::default());
        };
        let begins = (restored.epoch, positions.clone());
        let (halt, halted) = watch::channel(false);
        let generation = Starting::new(setup, halted)
            .start(&self.sources, store.commands.clone(), restored, positions)
            .await?;
        setup.status.holds(Condition::Starting, false);
        setup.status.holds(Condition::Restarting, false);
        switch.taken(begins, setup.clock.elapsed());
        let ended = generation.ended(setup.stop.clone(), halt, changes).await;
        if let Ok((_, None)) = &ended {
            setup.directory.disconnect();
        }
        setup.flow.reset();
        ended
    }

    /// The last commit, with what is to be put in behind it, and where each source goes on; nothing
    /// where the pipeline was asked to end meanwhile.
    async fn ready(
        &self,
        store: &StoreThread,
        switch: &mut Switch,
    ) -> Result<Option<(Restored, Vec<SourcePosition>)>, RunError> {
        let setup = &self.setup;
        let restoring = switch.restoring();
        setup.status.holds(restoring, true);
        let (restored, delivered) = self.told(restoring, load(store)).await?;
        setup.status.holds(restoring, false);
        setup.flow.delivered.store(delivered, Ordering::SeqCst);
        let mut stop = setup.stop.clone();
        let opened = continue_from(setup, &self.sources, restored.as_ref());
        let positions = tokio::select! {
            positions = self.told(Condition::Opening, opened) => positions?,
            // A source may be away for long; nothing was read, so there is nothing to commit.
            _ = stop.wait_for(|stop| *stop) => return Ok(None),
        };
        let mut restored = restored.unwrap_or_default();
        if let Some(fill) = switch.fill.take() {
            let filled = tokio::select! {
                filled = fill_in(store, fill, &mut restored, setup.clock.wall()) => filled,
                _ = stop.wait_for(|stop| *stop) => return Ok(None),
            };
            switch.unfilled = filled.err();
        }
        Ok(Some((restored, positions)))
    }
}

impl Generation {
    /// Waits for its end: a part died, all was read, it was asked to end, or another course is to be
    /// taken. All its threads have ended then.
    async fn ended(
        mut self,
        stop: watch::Receiver<bool>,
        halt: watch::Sender<bool>,
        changes: &mut Option<mpsc::Receiver<Change>>,
    ) -> Result<Ended, Failure> {
        let ended = self.end(stop, halt, changes).await;
        // All at once: each lets go of its share of the sessions.
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        for arbiter in self.arbiters {
            let _ = tokio::task::spawn_blocking(move || arbiter.join()).await;
        }
        drop(self.shards);
        ended
    }

    async fn end(
        &mut self,
        mut stop: watch::Receiver<bool>,
        halt: watch::Sender<bool>,
        changes: &mut Option<mpsc::Receiver<Change>>,
    ) -> Result<Ended, Failure> {
        let mut next = None;
        let numbers = loop {
            tokio::select! {
                biased;
                failure = self.failures.recv() => {
                    return Err(failure.unwrap_or_else(|| Failure::Died("every part ended".into())));
                }
                numbers = self.finished.wait_for(Option::is_some) => {
                    break numbers.ok().and_then(|numbers| numbers.clone());
                }
                _ = stop.wait_for(|stop| *stop), if !*halt.borrow() || next.is_some() => {
                    // Whoever waits for the change hears that its sender went.
                    next = None;
                    halt.send_replace(true);
                }
                change = asked(changes), if !*halt.borrow() => {
                    next = Some(Box::new(change));
                    halt.send_replace(true);
                }
            }
        };
        let numbers = numbers.ok_or_else(|| Failure::Died("the committer ended".into()))?;
        Ok((numbers, next))
    }
}

/// Commits what is put in behind the last commit, at the same position.
async fn fill_in(
    store: &StoreThread,
    fill: Fill,
    restored: &mut Restored,
    wall: EpochMs,
) -> Result<(), String> {
    let position = restored.positions.first().map_or(0, |at| at.position);
    let delta = fill(FillAt { position, watermark: restored.watermark }).await?;
    let unit = CommitUnit {
        epoch: restored.epoch + 1,
        positions: restored.positions.clone(),
        watermark: restored.watermark,
        wall,
        delta,
        ..CommitUnit::default()
    };
    fail::fail_point!("before_fill");
    let ended = || "the store's thread ended".to_owned();
    let (answer, written) = oneshot::channel();
    let (commands, sections) = (store.commands.clone(), unit.delta.clone());
    let command = StoreCommand::Write(Box::new(unit), answer);
    let sent = tokio::task::spawn_blocking(move || commands.send(command).map_err(drop)).await;
    sent.map_err(|_| ended())?.map_err(|()| ended())?;
    written.await.map_err(|_| ended())?.map_err(|error| error.to_string())?;
    fail::fail_point!("after_fill");
    restored.epoch += 1;
    for section in &sections {
        restored.snapshot.absorb(section).map_err(|malformed| malformed.to_string())?;
    }
    Ok(())
}

/// The next change that is asked for, if ever.
async fn asked(changes: &mut Option<mpsc::Receiver<Change>>) -> Change {
    match changes {
        Some(open) => match open.recv().await {
            Some(change) => change,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
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
