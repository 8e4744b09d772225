//! What the actors need from outside, as traits: event sources, the durable
//! log, the state store, and the records that the web side reads.
//!
//! The real ones live in `source` and `store`; tests may bring their own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use thiserror::Error;

use crate::domain::alert::Alert;
use crate::domain::commit::{CommitUnit, LateEvent, Restored, SourceIdentity};
use crate::domain::event::{Hints, RawBatch};
use crate::domain::incident::{Change, Incident, Notification, Silence};
use crate::domain::time::EpochMs;

/// A boxed future, for traits used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where events come from: ordered, with positions, replayable from any position
/// that was not acknowledged yet.
pub trait Source: Send {
    /// What it is known by: the same at every start, another one for each source of a pipeline.
    fn name(&self) -> &str;

    /// Connects, waiting as long as that takes, proves that this is the log that was read
    /// ([`Resume::check`]), and goes on after `resume`. Called in every generation before
    /// anything is pulled; whatever was handed over before does not count.
    ///
    /// # Errors
    /// What will not get better by waiting: `Other` or `Diverged` when it is not the log that was
    /// read, `Gap` when items after `resume` are gone.
    fn open(&mut self, resume: Resume) -> BoxFuture<'_, Result<Opened, SourceError>>;

    /// The next items, at most `max`. Never waits for new ones. Safe to drop: what it had taken
    /// is read again after the next `open`.
    fn pull(&mut self, max: usize) -> BoxFuture<'_, Result<Pull, SourceError>>;

    /// Resolves when `pull` may have more. Safe to drop and call again.
    fn wait(&mut self) -> BoxFuture<'_, ()>;

    /// What `open` needs besides the position to go on after the item at `position`, which is of
    /// the batch or gap pulled last: at most [`CURSOR_BYTES_MAX`] bytes that nobody else
    /// understands. Empty where a position says all.
    fn cursor(&self, position: u64) -> Bytes {
        let _ = position;
        Bytes::new()
    }

    /// Everything up to `position` is committed; the source may forget it.
    fn ack(&mut self, position: u64);

    /// Items behind the reading position (the lag), if it can be told cheaply.
    fn lag(&self) -> Option<u64>;
}

/// Longest cursor of a source, in bytes: it is part of every commit. Room for the offsets of
/// some thousand partitions.
pub const CURSOR_BYTES_MAX: usize = 64 << 10;

/// Where a source goes on: what is committed of it. The default is its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Which log was read; `None` when nothing of this source is committed yet.
    pub incarnation: Option<String>,
    /// Position of the last item; 0 before the first.
    pub position: u64,
    /// [`Source::cursor`] there.
    pub cursor: Bytes,
    /// `domain::hash::fingerprint` of that item; 0 where there is none to compare.
    pub fingerprint: u64,
}

impl Resume {
    /// That `source` is the log that was read and still holds the item that was read last (I7).
    /// `found` looks for the fingerprint of the item at the position.
    ///
    /// # Errors
    /// `Other`, `Diverged`, and those of `found`.
    pub fn check(
        &self,
        source: &SourceIdentity,
        found: impl FnOnce() -> Result<Option<u64>, SourceError>,
    ) -> Result<(), SourceError> {
        if let Some(incarnation) = &self.incarnation
            && *incarnation != source.incarnation
        {
            let read = SourceIdentity { incarnation: incarnation.clone(), ..source.clone() };
            return Err(SourceError::Other {
                read,
                found: source.clone(),
                position: self.position,
            });
        }
        if self.fingerprint == 0 || found()? == Some(self.fingerprint) {
            return Ok(());
        }
        Err(SourceError::Diverged {
            source_name: source.name.clone(),
            position: self.position,
            cause: "another event is there than was committed, or none: it lost its tail or was \
                    replaced. Restore it, or move the state away to start anew"
                .into(),
        })
    }
}

/// What became known of a source when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Which log it is (I7): differs when that was made anew under the same name.
    pub incarnation: String,
    /// Warnings for whoever operates it, a sentence each: shown at the start and in
    /// `/readyz?verbose`.
    pub warnings: Vec<String>,
}

/// What `Source::pull` found.
#[derive(Debug)]
pub enum Pull {
    /// Items, at least one.
    Batch(RawBatch),
    /// The end of the source was reached; more may come.
    CaughtUp,
    /// The source cannot be reached, for the reason given. Time stands still meanwhile.
    Away(String),
    /// Positions `from` to `to` are gone, and the source was told to go on without them.
    Gap {
        /// First missing position.
        from: u64,
        /// Last missing position.
        to: u64,
    },
    /// The source ended for good (a replay): close everything.
    End,
}

/// Why a source cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// Items that were never read are gone.
    #[error(
        "{source_name} no longer holds positions {from} to {to}: they were removed before they were read"
    )]
    Gap {
        /// The source.
        source_name: String,
        /// First missing position.
        from: u64,
        /// Last missing position.
        to: u64,
    },
    /// It is another log than the one that was read (I7).
    #[error("{} is of {}, and what was read of {}", found.name, found.incarnation, read.incarnation)]
    Other {
        /// What was read.
        read: SourceIdentity,
        /// What is there.
        found: SourceIdentity,
        /// Position that was read.
        position: u64,
    },
    /// The source is not the one that was read, or lost what was read (I7).
    #[error("LOG_DIVERGED: {source_name}, position {position}: {cause}")]
    Diverged {
        /// The source.
        source_name: String,
        /// Position that was read.
        position: u64,
        /// What happened, and what to do.
        cause: String,
    },
    /// The source is not as it must be; says what to do.
    #[error("{0}")]
    Unfit(String),
    /// The file that it reads cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading failed.
    #[error("cannot read {what}: {cause}")]
    Read {
        /// File, or stream.
        what: String,
        /// The system's words.
        cause: String,
    },
}

/// The durable log that `POST /v1/events`, the library and the demo append to.
pub trait EventLog: Send + Sync {
    /// Appends events (one JSON object each), all of them or none. Resolves once they are
    /// durable.
    fn append(&self, events: Vec<Bytes>) -> BoxFuture<'_, Result<Appended, AppendError>>;

    /// Appends the events that this log can take, and says which it cannot. That is decided
    /// before anything is appended, as far as it can be known then.
    fn offer(&self, offers: Vec<Offer>) -> BoxFuture<'_, Result<Offered, AppendError>> {
        Box::pin(async move {
            let (mut events, mut refused) = (Vec::with_capacity(offers.len()), Vec::new());
            for (index, offer) in offers.into_iter().enumerate() {
                match offer.origin.map_or(Ok(()), |origin| self.takes(&origin)) {
                    Ok(()) => events.push(offer.event),
                    Err(reason) => refused.push(Unfit { index, reason }),
                }
            }
            let appended = if events.is_empty() { None } else { Some(self.append(events).await?) };
            Ok(Offered { appended, refused })
        })
    }

    /// Whether an event that came from `origin` can be sent again through this log.
    ///
    /// # Errors
    /// Why it cannot.
    fn takes(&self, origin: &Origin) -> Result<(), String> {
        let _ = origin;
        Ok(())
    }

    /// Events in the log that are not committed yet, and the most it takes.
    fn backlog(&self) -> (u64, u64);
}

/// An event for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// One JSON object.
    pub event: Bytes,
    /// Where it came from, when it is a dead letter that is sent again.
    pub origin: Option<Origin>,
}

/// Where a dead letter came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Name of its source.
    pub source: String,
    /// Position of its item there; 0 when it never was in one.
    pub position: u64,
    /// When it was stored there, where that is the time of the event.
    pub stored: Option<EpochMs>,
}

/// What became of offered events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Positions of those that were appended; `None` when there was none.
    pub appended: Option<Appended>,
    /// The others.
    pub refused: Vec<Unfit>,
}

/// An event that a log cannot take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Which of the events.
    pub index: usize,
    /// Names the bound and what it is.
    pub reason: String,
}

/// Positions of what was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of the first event.
    pub first: u64,
    /// Position of the last event.
    pub last: u64,
}

/// Why an append was refused. Nothing of it was kept, but for `Away` and `Refused`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The log is behind by more than its bound: try again later.
    #[error("the log is full: {backlog} events wait, the bound is {bound}")]
    Full {
        /// Events not committed yet.
        backlog: u64,
        /// The bound (`log.backlog_max`).
        bound: u64,
    },
    /// No room on the disk: try again later.
    #[error("the disk under {path} is full")]
    DiskFull {
        /// The log's file.
        path: String,
    },
    /// The log cannot be reached, or did not answer in time. Some of the events may be in
    /// it: the same ones may be sent again, and count once if they have ids.
    #[error("the log is away: {0}")]
    Away(String),
    /// The log answered, and takes none of these events now: a stream that is full, a subject
    /// that may not be published to. Some of the events may be in it, as with `Away`.
    #[error("the log does not take events: {0}")]
    Refused(String),
    /// An event is larger than the log can take; it will never be taken.
    #[error("{0}")]
    TooLarge(String),
    /// The log cannot be written.
    #[error("the log cannot be written: {0}")]
    Broken(String),
}

/// The state store. Called from one thread of its own; every call may block.
pub trait StateStore: Send {
    /// The last commit, or `None` in a new data folder.
    ///
    /// # Errors
    /// When the file is damaged: names it and the remedy.
    fn load(&mut self) -> Result<Option<Restored>, StoreError>;

    /// Writes one commit atomically and durably. `unit.epoch` must follow the last one (I6).
    ///
    /// # Errors
    /// `DiskFull` may be tried again with the same unit; everything else is final.
    fn commit(&mut self, unit: &CommitUnit) -> Result<(), StoreError>;

    /// Delivers what the outbox holds to the alert log, and marks it delivered;
    /// returns how many alerts were delivered. Called after commits and at start.
    ///
    /// # Errors
    /// As `commit`.
    fn deliver_alerts(&mut self) -> Result<u64, StoreError>;

    /// That what it writes to is still what it opened.
    ///
    /// # Errors
    /// `Damaged`, with the file that was removed or replaced.
    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Dead letters that left to keep their bound since the data folder was made.
    fn letters_dropped(&self) -> u64 {
        0
    }

    /// Which they were, in words.
    fn letters_dropped_words(&self) -> String {
        String::new()
    }

    /// That more dead letters are kept than their bound, because they are to be published
    /// first, in words.
    fn letters_held_words(&self) -> Option<String> {
        None
    }

    /// Alerts delivered since the data folder was made.
    fn alerts_delivered(&self) -> u64;

    /// Housekeeping between commits (snapshots, retention). Returns at once when
    /// there is nothing to do.
    ///
    /// # Errors
    /// As `commit`.
    fn tidy(&mut self) -> Result<(), StoreError>;
}

/// Why the state store failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// No room on the disk. The same call may succeed later.
    #[error("the disk under {path} is full; free some room and tidewatch goes on by itself")]
    DiskFull {
        /// The file.
        path: String,
    },
    /// The file holds something impossible.
    #[error("{path} is damaged ({what}); {remedy}")]
    Damaged {
        /// The file.
        path: String,
        /// What does not fit.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Written by another version.
    #[error("{path} has format {found}, this version reads {known}; {remedy}")]
    Format {
        /// The file.
        path: String,
        /// Format number in the file.
        found: u32,
        /// Format number this version writes.
        known: u32,
        /// What to do.
        remedy: String,
    },
    /// Another process uses the data folder.
    #[error(
        "another tidewatch (process {pid}) is using {path}; stop it or choose another --data-dir"
    )]
    Locked {
        /// The folder.
        path: String,
        /// Its process id, 0 when it could not be read.
        pid: u32,
    },
    /// Somebody else wrote a commit in between (I6).
    #[error("commit {epoch} does not follow the last one in {path}: another owner wrote there")]
    NotParent {
        /// The file.
        path: String,
        /// The refused commit.
        epoch: u64,
    },
    /// Anything else the file system or SQLite says.
    #[error("{path}: {cause}")]
    Io {
        /// The file.
        path: String,
        /// The system's words.
        cause: String,
    },
}

/// What the web side and the command line read of the store. Calls may block;
/// use `web::block`.
pub trait Records: Send + Sync {
    /// Dead letters with an id greater than `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn dead_letters(&self, after: u64, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError>;

    /// As `dead_letters`, each with at most `raw_bytes_max` of its bytes, and how many it
    /// has: for lists, whose memory must not depend on what was sent.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn dead_letter_heads(
        &self,
        after: u64,
        limit: usize,
        raw_bytes_max: usize,
    ) -> Result<Vec<(StoredDeadLetter, usize)>, StoreError> {
        let letters = self.dead_letters(after, limit)?;
        Ok(letters.into_iter().map(|letter| letter.head(raw_bytes_max)).collect())
    }

    /// One dead letter.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn dead_letter(&self, id: u64) -> Result<Option<StoredDeadLetter>, StoreError>;

    /// Marks dead letters as redriven.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn mark_redriven(&self, ids: &[u64], at: EpochMs) -> Result<(), StoreError>;

    /// Late events before the one numbered `before` (`None`: from the newest), newest
    /// first, each with its number: at most `limit`, and no further ones once they hold
    /// `bytes_max`.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn late(
        &self,
        before: Option<u64>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<(u64, LateEvent)>, StoreError>;

    /// Number of the newest dead letter that is kept, 0 when there is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn dead_letters_newest(&self) -> Result<u64, StoreError>;

    /// Position of the newest alert of the feed, 0 when there is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn alerts_newest(&self) -> Result<u64, StoreError>;

    /// Alerts of the feed with `n` greater than `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn alerts(&self, after: u64, limit: usize) -> Result<Vec<Alert>, StoreError>;

    /// The same alerts as they stand in the alert log (where the outbox delivers to).
    ///
    /// # Errors
    /// When the file cannot be read.
    fn alert_log(&self, after: u64, limit: usize) -> Result<Vec<Alert>, StoreError>;
}

/// What is kept of incidents, for the web side, the command line and what delivers. Calls may block.
pub trait IncidentRecords: Send + Sync {
    /// Incidents, those that began last first, each with its number.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn incidents(&self, wanted: &IncidentsWanted) -> Result<Vec<(u64, Incident)>, StoreError>;

    /// One incident.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn incident(&self, id: &str) -> Result<Option<Incident>, StoreError>;

    /// Lines of the log of what was done after a number, oldest first, at most `limit`; of one
    /// incident, or all.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn incident_log(
        &self,
        after: u64,
        incident: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Change>, StoreError>;

    /// Number of the newest line of the log, 0 when there is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn incident_log_newest(&self) -> Result<u64, StoreError>;

    /// The silences that are not over, by id.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn silences(&self) -> Result<Vec<Silence>, StoreError>;

    /// Notifications after a number, oldest first, at most `limit`; of one channel, or all.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn notifications(
        &self,
        after: u64,
        channel: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Notification>, StoreError>;

    /// How many notifications of a channel there are after a number.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn notifications_after(&self, after: u64, channel: &str) -> Result<u64, StoreError>;

    /// The channels that there are notifications of, whether or not they are still configured.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn notification_channels(&self) -> Result<Vec<String>, StoreError>;
}

/// How far a channel got with its notifications: those behind that are kept for it, as long as there is
/// room.
#[derive(Debug, Default)]
pub struct Taker {
    /// Up to this number it took them, or left them out. The channel says so.
    pub taken: Arc<AtomicU64>,
    /// Up to this number no crash brings them back: whom they went to is forgotten. The channel says so.
    pub noted: Arc<AtomicU64>,
    /// How many left since the start before it had taken them. The store says so.
    pub lost: AtomicU64,
}

/// Which incidents are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncidentsWanted {
    /// Those that hold, those that are over, or both.
    pub open: Option<bool>,
    /// Only those with a smaller number.
    pub before: u64,
    /// At most so many.
    pub limit: usize,
}

impl StoredDeadLetter {
    /// With at most `raw_bytes_max` of its bytes, and how many it has.
    pub fn head(mut self, raw_bytes_max: usize) -> (Self, usize) {
        let bytes = self.raw.len();
        self.raw.truncate(raw_bytes_max);
        self.raw.shrink_to_fit();
        (self, bytes)
    }
}

/// A dead letter as kept in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Its id, growing.
    pub id: u64,
    /// Name of the source it came from.
    pub source: String,
    /// Position in that source.
    pub position: u64,
    /// What was wrong.
    pub reason: String,
    /// The bytes exactly as they came.
    pub raw: Vec<u8>,
    /// What its source knew of it besides.
    pub hints: Hints,
    /// Wall clock when it was committed.
    pub at: EpochMs,
    /// Wall clock when it was redriven, if it was.
    pub redriven: Option<EpochMs>,
}
