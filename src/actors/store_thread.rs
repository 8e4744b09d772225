//! The thread that writes: the only caller of the state store, off every event path.
//!
//! When the disk is full it holds on to the commit and tries again until there is room;
//! meanwhile no credits come back, so the ingestor stops pulling and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::Recipient;
use tokio::sync::oneshot;

use metrics::{counter, histogram};

use super::flow::Flow;
use super::messages::Stored;
use super::ports::{StateStore, StoreError};
use super::status::Status;
use crate::clock::SharedClock;
use crate::domain::commit::{CommitUnit, Restored};
use crate::domain::condition::Condition;
use crate::telemetry::happenings::{CommitFailed, RoomAgain};
use crate::telemetry::names;

/// Commands that may wait for the thread. Two: one is written while the next is ready.
const QUEUE: usize = 2;
/// How long a full disk is left alone before the next try.
const ROOM_AGAIN: Duration = Duration::from_millis(250);
/// How often the store is asked to tidy up while nothing is committed.
const TIDY: Duration = Duration::from_secs(1);

/// What the thread can be asked.
#[derive(Debug)]
pub enum StoreCommand {
    /// The last commit, and how many alerts were delivered. Comes after every commit asked
    /// for before.
    Load(oneshot::Sender<Result<(Option<Restored>, u64), StoreError>>),
    /// Write a commit.
    Commit(Box<ToStore>),
    /// Write a commit that no barrier made.
    Write(Box<CommitUnit>, oneshot::Sender<Result<(), StoreError>>),
    /// End after what was asked before.
    End,
}

/// A commit on its way to the thread.
#[derive(Debug)]
pub struct ToStore {
    /// Number of the barrier.
    pub number: u64,
    /// Events in it.
    pub events: u64,
    /// Position of each source that it makes durable.
    pub positions: Vec<u64>,
    /// What to write.
    pub unit: CommitUnit,
    /// Who is told.
    pub answer: Recipient<Stored>,
}

/// The running thread.
#[derive(Debug)]
pub struct StoreThread {
    /// Asks it.
    pub commands: SyncSender<StoreCommand>,
    abandon: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl StoreThread {
    /// Starts the thread around a store; what it delivers is added to `flow.delivered`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        store: Box<dyn StateStore>,
        clock: SharedClock,
        status: Arc<Status>,
        flow: Arc<Flow>,
    ) -> std::io::Result<StoreThread> {
        let (commands, queue) = sync_channel(QUEUE);
        let abandon = Arc::new(AtomicBool::new(false));
        let abandoned = Arc::clone(&abandon);
        let dropped = store.letters_dropped();
        flow.letters_dropped.store(dropped, Ordering::Relaxed);
        let mut writer = Writer {
            store,
            clock,
            status,
            flow,
            abandon: abandoned,
            committer: None,
            dropped: (dropped, None),
        };
        let thread =
            std::thread::Builder::new().name("store".into()).spawn(move || writer.run(&queue))?;
        Ok(StoreThread { commands, abandon, thread })
    }

    /// Ends the thread after what it was asked; a commit that waits for room is given up
    /// (it is not acknowledged anywhere, so nothing is lost).
    pub fn end(self) {
        self.abandon.store(true, Ordering::SeqCst);
        let _ = self.commands.send(StoreCommand::End);
        let _ = self.thread.join();
    }
}

struct Writer {
    store: Box<dyn StateStore>,
    clock: SharedClock,
    status: Arc<Status>,
    flow: Arc<Flow>,
    abandon: Arc<AtomicBool>,
    /// Who asked for the last commit, and that commit's number.
    committer: Option<(Recipient<Stored>, u64)>,
    /// Dead letters that had left when it was looked last, and when some left last.
    dropped: (u64, Option<i64>),
}

/// That dead letters left is said for so long after the last did, in ms.
const DROPPED_SAID: i64 = 600_000;

impl Writer {
    fn run(&mut self, queue: &Receiver<StoreCommand>) {
        loop {
            self.tell_dropped();
            match queue.recv_timeout(TIDY) {
                Ok(StoreCommand::Load(answer)) => {
                    let loaded = self.store.load();
                    self.deliver();
                    let delivered = self.store.alerts_delivered();
                    let _ = answer.send(loaded.map(|restored| (restored, delivered)));
                }
                Ok(StoreCommand::Commit(commit)) => self.commit(*commit),
                Ok(StoreCommand::Write(unit, answer)) => {
                    // Who asked may have gone.
                    let _ = answer.send(self.write(&unit));
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.check();
                    self.deliver();
                    self.tidy();
                }
                Ok(StoreCommand::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn commit(&mut self, commit: ToStore) {
        let ToStore { number, events, positions, mut unit, answer } = commit;
        let started = self.clock.elapsed();
        unit.write();
        fail::fail_point!("before_commit");
        let failure = self.write(&unit).err();
        fail::fail_point!("after_commit");
        if failure.is_none() && !unit.alerts.is_empty() {
            self.deliver();
        }
        let took_ms = self.clock.elapsed() - started;
        if !self.status.is_aside() {
            histogram!(names::COMMIT_SECONDS).record(took_ms as f64 / 1000.0);
            let bytes: usize = unit.delta.iter().map(Vec::len).sum();
            histogram!(names::COMMIT_BYTES).record(bytes as f64);
        }
        let stored = Stored { number, events, positions, epoch: unit.epoch, took_ms, failure };
        // Refused when that generation of the pipeline has ended: nobody waits for it.
        let _ = answer.try_send(stored);
        self.committer = Some((answer, unit.epoch));
        self.tidy();
    }

    /// Says that dead letters are held, and that some left, for a while after they did.
    fn tell_dropped(&mut self) {
        let now = self.clock.elapsed();
        self.status.stands(Condition::DeadLettersHeld, self.store.letters_held_words());
        let (before, at) = &mut self.dropped;
        let total = self.store.letters_dropped();
        if total > *before {
            *at = Some(now);
        }
        *before = total;
        self.flow.letters_dropped.store(total, Ordering::Relaxed);
        if at.is_none() {
            return;
        }
        let recent = at.is_some_and(|at| now - at < DROPPED_SAID);
        let says = recent.then(|| self.store.letters_dropped_words());
        if !recent {
            *at = None;
        }
        self.status.stands(Condition::DeadLettersDropped, says);
    }

    /// Files that are no longer ours end the pipeline, although nothing is to be written now.
    fn check(&mut self) {
        let Err(error) = self.store.check() else { return };
        self.status.stands(Condition::FilesGone, Some(error.to_string()));
        if let Some((committer, epoch)) = &self.committer {
            let stored = Stored {
                number: 0,
                events: 0,
                positions: Vec::new(),
                epoch: *epoch,
                took_ms: 0,
                failure: Some(error),
            };
            // As above.
            let _ = committer.try_send(stored);
        }
    }

    /// Writes, and on a full disk again and again until there is room.
    fn write(&mut self, unit: &CommitUnit) -> Result<(), StoreError> {
        let mut full_since: Option<(i64, String)> = None;
        loop {
            match self.store.commit(unit) {
                Err(StoreError::DiskFull { path }) => {
                    self.no_room(&path, full_since.is_none());
                    full_since.get_or_insert_with(|| (self.clock.elapsed(), path.clone()));
                    if self.abandon.load(Ordering::SeqCst) {
                        return Err(StoreError::DiskFull { path });
                    }
                    std::thread::park_timeout(ROOM_AGAIN);
                }
                Ok(()) => {
                    if let Some((since, path)) = full_since {
                        let after_ms = self.clock.elapsed() - since;
                        RoomAgain { path: &path, after_ms }.tell();
                        self.status.stands(Condition::StateFull, None);
                    }
                    return Ok(());
                }
                Err(other) => {
                    let cause = other.to_string();
                    CommitFailed { epoch: unit.epoch, cause: &cause, retried: false }.tell();
                    return Err(other);
                }
            }
        }
    }

    /// Says once that the disk is full, and counts every try.
    fn no_room(&self, path: &str, first: bool) {
        counter!(names::COMMIT_FAILURES).increment(1);
        if first {
            let full = StoreError::DiskFull { path: path.into() };
            self.status.stands(Condition::StateFull, Some(full.to_string()));
        }
    }

    /// Delivery that fails is tried again: the outbox is durable.
    fn deliver(&mut self) {
        match self.store.deliver_alerts() {
            Ok(_) => {
                let delivered = self.store.alerts_delivered();
                self.flow.delivered.store(delivered, Ordering::SeqCst);
            }
            Err(error) => tracing::warn!(%error, "alerts stay in the outbox for now"),
        }
    }

    fn tidy(&mut self) {
        if let Err(error) = self.store.tidy() {
            tracing::warn!(%error, "housekeeping of the state store failed");
        }
    }
}
