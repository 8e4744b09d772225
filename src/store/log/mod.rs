//! The embedded log: events made durable before they are answered, kept until they
//! are committed (and a while after), read in order from any position.
//!
//! Appends are grouped: a writer thread takes what waits, writes it as one blob in
//! one transaction, and answers all of them. The same thread writes the alerts that
//! the outbox delivers, because the file has one writer. Readers ([`LogSource`])
//! find the newest batches in memory and the rest in the file.

mod batch;
mod history;
mod source;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::{Semaphore, oneshot, watch};

use super::folder::{Folder, LOG};
use super::marks::{Mark, Slot};
use super::outbox::{ALERT_LOG, Block};
use super::retain::{Kept, Shelf};
use super::sqlite::{DbFile, Layout, random, text_checksum};
use crate::actors::ports::{AppendError, Appended, BoxFuture, EventLog, Origin, StoreError};
use crate::actors::status::Status;
use crate::clock::SharedClock;
use crate::domain::commit::SourceIdentity;
use crate::domain::settings::settings;
use crate::domain::time::SpanMs;
use batch::Recent;
pub use history::{Following, History};
pub use source::LogSource;
use writer::{Append, Delivery, Queue, Writer};

/// Name of the log as a source.
pub const NAME: &str = "log";

/// What `log.db` is.
pub(super) static LAYOUT: Layout = Layout {
    application: 0x7469_646c, // "tidl"
    format: 2,
    // A lonely event is written as one or two pages: keep them small.
    page_bytes: 4_096,
    schema: "CREATE TABLE head(id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL, \
         events INTEGER NOT NULL, bytes INTEGER NOT NULL, acked INTEGER NOT NULL, \
         checksum INTEGER NOT NULL, chain INTEGER NOT NULL DEFAULT 0); \
         CREATE TABLE batches(first INTEGER PRIMARY KEY, count INTEGER NOT NULL, \
         arrived INTEGER NOT NULL, checksum INTEGER NOT NULL, blob BLOB NOT NULL, \
         chain INTEGER NOT NULL DEFAULT 0); \
         CREATE TABLE alerts_out(first_n INTEGER PRIMARY KEY, last_n INTEGER NOT NULL, \
         count INTEGER NOT NULL, checksum INTEGER NOT NULL, blob BLOB NOT NULL);",
    remedy: "stop tidewatch, then put a copy of log.db and log.db-wal back, or move all files of \
         the data folder away to start empty",
    oldest: 1,
    // Batches without a chain are still read.
    upgrades: &["ALTER TABLE head ADD COLUMN chain INTEGER NOT NULL DEFAULT 0; \
         ALTER TABLE batches ADD COLUMN chain INTEGER NOT NULL DEFAULT 0;"],
};

/// The table of batches.
const BATCHES: Shelf = Shelf { table: "batches", key: "first", count: "count", blob: "blob" };

/// A request takes at least this much of the queue, which bounds their number, too.
const REQUEST_BYTES_MIN: usize = 1_024;

/// An event over this size is refused: the largest request body is far below.
const EVENT_BYTES_MAX: usize = 64 << 20;

settings! {
    /// Bounds of the log.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Settings in "log." {
        /// Events that may wait for their commit; beyond it POST answers 429 and publishers keep
        /// them (20000000 x 200 bytes = 4 GB of disk).
        pub backlog_max: u64 = 20_000_000, count(1_000, 10_000_000_000);
        /// Events kept in the log after their commit, to look at; those that wait for their commit
        /// stay whatever this says.
        pub keep_events: u64 = 2_000_000, count(0, 10_000_000_000);
        /// Bytes of those events, whichever bound is reached first.
        pub keep_bytes: u64 = 512 << 20, size(MIB, 1_024 * GIB);
        /// Bytes of appended events that wait for the writer; beyond it a POST waits its turn: some
        /// eight writes of group_bytes_max.
        pub queue_bytes as "log.queue_bytes_max": usize = 64 << 20, size(MIB, GIB);
        /// Bytes of the newest events kept in memory, so that a reader that keeps up never reads
        /// the file.
        pub recent_bytes as "log.recent_bytes_max": usize = 32 << 20, size(MIB, 4 * GIB);
        /// Most bytes written and synced at once: all that wait are answered together, and 8 MiB
        /// take some 60 ms on a common disk. At least events.event_bytes.
        pub group_bytes as "log.group_bytes_max": usize = 8 << 20, size(64 * KIB, 64 * MIB);
    } besides {
        /// Bytes of one stored batch. One larger event makes a larger batch.
        pub batch_bytes: usize = 4 << 20;
        /// Events of one stored batch.
        pub batch_events: usize = 65_536;
        /// Arrival times are rounded down to this step, so that a reader that is behind
        /// can merge batches of one step. 1 ms to 1 s.
        pub arrived_step: SpanMs = 50;
        /// Most delivered alerts kept: as many as the feed keeps.
        pub alerts_max: u64 = crate::store::Settings::default().alerts_max;
        /// Most bytes of them.
        pub alerts_bytes_max: u64 = crate::store::Settings::default().alerts_bytes_max;
        /// Unused bytes the file may hold before it is shrunk.
        pub slack_bytes: u64 = crate::store::Settings::default().slack_bytes;
    }
}

/// The log's head row: what the table of batches must agree with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    /// Position of the last event.
    last: u64,
    /// Events and bytes in the table.
    kept: Kept,
    /// Committed up to here, as far as it was written down.
    acked: u64,
    /// The chain at its last batch; 0 in a log that has none yet.
    chain: i64,
}

/// What the handle, the writer and the readers share.
struct Shared {
    db: DbFile,
    settings: Settings,
    clock: SharedClock,
    identity: SourceIdentity,
    queue: Queue,
    /// Bytes of requests that may wait.
    slots: Arc<Semaphore>,
    /// Position of the last durable event.
    last: watch::Sender<u64>,
    acked: AtomicU64,
    /// The file holds more than the settings ask to keep.
    over: AtomicBool,
    recent: Mutex<Recent>,
    /// Position of the newest alert when the log was opened.
    alerts_newest: u64,
    /// Told when the file is full or gone.
    status: OnceLock<Arc<Status>>,
    /// Keeps the folder ours while any part of the log lives.
    folder: Folder,
}

/// The log's handle: cheap to clone; the writer stops when the last clone is dropped.
#[derive(Clone)]
pub struct EmbeddedLog {
    owner: Arc<Owner>,
}

/// Stops the writer and waits for it.
struct Owner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.lock().take() {
            // A panic of the writer has answered its requests by dropping them.
            let _ = writer.join();
        }
    }
}

impl EmbeddedLog {
    /// Opens the log of a folder, or makes it, and starts its writer.
    ///
    /// # Errors
    /// When the file is damaged, of another format, or cannot be read or written.
    pub fn open(
        folder: &Folder,
        clock: SharedClock,
        settings: Settings,
    ) -> Result<EmbeddedLog, StoreError> {
        let db = folder.db(LOG, &LAYOUT);
        let mark = folder.marks().read(Slot::Log)?;
        if let Some(mark) = mark.filter(|_| !folder.path().join(LOG).exists()) {
            let what = format!("it is missing, and {} events were answered", mark.last);
            return Err(lost(folder, &db, what, 1, mark.last));
        }
        let made = format!("{}-{:016x}", clock.wall(), random());
        let conn = db.open_or_create(|| vec![("incarnation", made)])?;
        let incarnation = db.meta(&conn, "incarnation")?;
        let head = read_head(&conn, &db)?;
        folder.look([LOG])?;
        if let Some(mark) = mark {
            compare(folder, &db, mark, &incarnation, &head)?;
        }
        let alerts_newest = ALERT_LOG.newest(&conn).map_err(|error| db.error(error))?;
        let shared = Arc::new(Shared {
            identity: SourceIdentity { name: NAME.into(), incarnation },
            queue: Queue::default(),
            slots: Arc::new(Semaphore::new(queue_slots(&settings) as usize)),
            last: watch::Sender::new(head.last),
            acked: AtomicU64::new(head.acked),
            over: AtomicBool::new(false),
            recent: Mutex::new(Recent::new(settings.recent_bytes)),
            db,
            settings,
            clock,
            alerts_newest,
            status: OnceLock::new(),
            folder: folder.clone(),
        });
        let writer = Writer::new(conn, shared.clone(), head)?;
        let thread = std::thread::Builder::new()
            .name("tidewatch-log".into())
            .spawn(move || writer.run())
            .map_err(|error| shared.db.io(error))?;
        Ok(EmbeddedLog { owner: Arc::new(Owner { shared, writer: Mutex::new(Some(thread)) }) })
    }

    /// A reader of the log. There should be one: its `ack` is the log's.
    ///
    /// # Errors
    /// When the file cannot be opened again.
    pub fn source(&self) -> Result<LogSource, StoreError> {
        LogSource::new(self.owner.shared.clone())
    }

    /// Position of the last durable event, 0 in a new log. A commit beyond it means
    /// that the log lost its tail (I7).
    pub fn last_position(&self) -> u64 {
        *self.owner.shared.last.borrow()
    }

    /// Position of the newest alert in the alert log when it was opened.
    pub(super) fn alerts_newest(&self) -> u64 {
        self.owner.shared.alerts_newest
    }

    /// A damaged log, with what is missing of it.
    pub(super) fn lost(&self, what: String, from: u64, to: u64) -> StoreError {
        lost(&self.owner.shared.folder, &self.owner.shared.db, what, from, to)
    }

    /// Whom to tell when the file is full, or was removed.
    pub fn tell(&self, status: &Arc<Status>) {
        // Told once, when the process is put together.
        let _ = self.owner.shared.status.set(Arc::clone(status));
    }

    /// Which log this is.
    pub fn identity(&self) -> SourceIdentity {
        self.owner.shared.identity.clone()
    }

    /// Writes delivered alerts, skipping those that are there already. Blocks until
    /// they are durable.
    pub(super) fn deliver(&self, blocks: Vec<Block>) -> Result<(), StoreError> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        self.owner.shared.queue.deliver(Delivery { blocks, reply });
        answer.recv().unwrap_or_else(|_| Err(self.owner.shared.db.io(STOPPED)))
    }
}

/// What is said when the writer thread is gone.
const STOPPED: &str = "the log's writer has stopped";

impl EventLog for EmbeddedLog {
    fn append(&self, events: Vec<Bytes>) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let shared = &self.owner.shared;
            shared.check_room(events.len() as u64, 0)?;
            if let Some(event) = events.iter().find(|event| event.len() > EVENT_BYTES_MAX) {
                let text = format!("an event of {} bytes is too large", event.len());
                return Err(AppendError::Broken(text));
            }
            let bytes: usize = events.iter().map(|event| event.len() + 4).sum();
            let cost = bytes.max(REQUEST_BYTES_MIN).min(queue_slots(&shared.settings) as usize);
            let stopped = || AppendError::Broken(STOPPED.into());
            let permit = shared
                .slots
                .clone()
                .acquire_many_owned(cost as u32)
                .await
                .map_err(|_| stopped())?;
            let (reply, answer) = oneshot::channel();
            shared.queue.append(Append { events, bytes, reply, _permit: permit });
            answer.await.unwrap_or_else(|_| Err(stopped()))
        })
    }

    /// Nobody would read it here.
    fn takes(&self, origin: &Origin) -> Result<(), String> {
        if origin.source == NAME {
            Ok(())
        } else {
            Err(format!(
                "it came from {:?} and not from the log of this data folder: mend it there and \
             read that again",
                origin.source
            ))
        }
    }

    fn backlog(&self) -> (u64, u64) {
        let shared = &self.owner.shared;
        (shared.backlog(), shared.settings.backlog_max)
    }
}

impl Shared {
    /// Events that are durable and not committed.
    fn backlog(&self) -> u64 {
        self.last.borrow().saturating_sub(self.acked.load(Ordering::Acquire))
    }

    /// Refuses `more` events when they would exceed the bound, with `queued` going first.
    fn check_room(&self, more: u64, queued: u64) -> Result<(), AppendError> {
        let (backlog, bound) = (self.backlog(), self.settings.backlog_max);
        if backlog + queued + more <= bound {
            Ok(())
        } else {
            Err(AppendError::Full { backlog, bound })
        }
    }

    /// What the file keeps at most.
    fn bound(&self) -> Kept {
        Kept { items: self.settings.keep_events, bytes: self.settings.keep_bytes }
    }
}

/// The queue's size in permits.
fn queue_slots(settings: &Settings) -> u32 {
    u32::try_from(settings.queue_bytes.max(REQUEST_BYTES_MIN)).unwrap_or(u32::MAX).min(1 << 30)
}

/// The mark's name for a log.
fn mark_of(incarnation: &str) -> u64 {
    text_checksum("log", incarnation) as u64
}

/// That the log goes as far as it is known to have gone.
fn compare(
    folder: &Folder,
    db: &DbFile,
    mark: Mark,
    incarnation: &str,
    head: &Head,
) -> Result<(), StoreError> {
    let (last, end) = (mark.last, head.last);
    if mark.of != mark_of(incarnation) {
        let what = "it is another log than the one of this folder".to_owned();
        return Err(lost(folder, db, what, 1, last));
    }
    if last > end {
        let what = format!(
            "it ends at event {end}, and {last} were answered: log.db-wal is damaged, cut or \
             missing, or an older copy was put back"
        );
        return Err(lost(folder, db, what, end + 1, last));
    }
    if last == end && mark.chain != 0 && mark.chain != head.chain {
        let what = format!("the events up to {last} are not the ones that were answered");
        return Err(lost(folder, db, what, 1, last));
    }
    Ok(())
}

fn lost(folder: &Folder, db: &DbFile, what: String, from: u64, to: u64) -> StoreError {
    StoreError::Damaged {
        path: db.name(),
        what,
        remedy: format!(
            "stop tidewatch, then put log.db and log.db-wal back as they were, or move {} away \
             to go on without events {from} to {to}",
            folder.marks().name()
        ),
    }
}

/// Reads the head and checks that the last batch is the one it names.
fn read_head(conn: &Connection, db: &DbFile) -> Result<Head, StoreError> {
    let error = |error| db.error(error);
    let row: Option<[i64; 6]> = conn
        .query_row(
            "SELECT last, events, bytes, acked, checksum, chain FROM head WHERE id = 1",
            [],
            |row| {
                Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?])
            },
        )
        .optional()
        .map_err(error)?;
    let head = row.map_or(Head::default(), |row| Head {
        last: row[0] as u64,
        kept: Kept { items: row[1] as u64, bytes: row[2] as u64 },
        acked: row[3] as u64,
        chain: row[5],
    });
    if row.is_some_and(|row| row[4] != head_checksum(&head)) {
        return Err(db.damaged("checksum of the head"));
    }
    let end: Option<(i64, i64)> = conn
        .query_row(
            "SELECT first + count - 1, chain FROM batches ORDER BY first DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(error)?;
    let (end, chain) = end.unwrap_or_default();
    if end as u64 == head.last && chain == head.chain {
        Ok(head)
    } else {
        Err(db.damaged(format!("the batch with event {} is missing", head.last)))
    }
}

fn head_checksum(head: &Head) -> i64 {
    let Head { last, kept, acked, chain } = head;
    let mut text = format!("{last} {} {} {acked}", kept.items, kept.bytes);
    // A log of the first format has no chain.
    if *chain != 0 {
        text += &format!(" {chain}");
    }
    text_checksum("head", &text)
}
