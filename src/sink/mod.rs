//! What leaves, wherever it goes: rows that are committed (alerts, dead letters) are a feed, and a
//! [`Sink`] takes them.
//!
//! - [`feed`]: the one loop. It reads rows in order, hands a page of them to its sink, remembers
//!   how far that got, waits and tries again, and leaves out or halts at what is refused for good.
//! - `note`: how far a feed got, in the data folder.
//! - `track`: how an output stands: metrics, the log, the status; `outputs`: those that run.
//!
//! Another place for rows to go is another [`Sink`]; see `docs/extending.md`. What is a state and
//! no row (the board, answers to questions) is not here: the latest is enough for it, so there is
//! nothing to resume.

pub mod feed;
mod note;
mod outputs;
mod track;

use std::time::Duration;

pub use note::{Note, noted};
pub use outputs::Outputs;
pub use track::{OutState, Track, begin_at_zero};

use crate::actors::ports::StoreError;

/// One thing that leaves.
pub trait Row: Send + Sync + 'static {
    /// Position in the feed. It grows, in a whole feed by 1: what is missing there was removed by
    /// retention, and is told as lost.
    fn n(&self) -> u64;

    /// Idempotency key: the same for the same row however often it is delivered, and no other
    /// row's. A target that knows keys takes each row once.
    fn key(&self) -> &str;

    /// About how many bytes it takes.
    fn bytes(&self) -> usize;
}

/// The rows of a feed, as they are committed. Calls block.
pub trait Rows<R>: Send + Sync + 'static {
    /// Rows after a position, oldest first, at most `limit`, and only as many as memory allows;
    /// none only when there are none.
    ///
    /// # Errors
    /// When they cannot be read.
    fn after(&self, n: u64, limit: usize) -> Result<Vec<R>, StoreError>;

    /// How many there are after a position.
    ///
    /// # Errors
    /// As `after`.
    fn count_after(&self, n: u64) -> Result<u64, StoreError>;

    /// Whether every position is one of this feed, so that one without a row is of a row that left.
    /// Not so where it is a part of a larger one.
    fn is_whole(&self) -> bool {
        true
    }

    /// How many left since the start before they were taken, where positions without a row do not say
    /// so.
    fn lost(&self) -> u64 {
        0
    }
}

/// Where rows go. Used by one [`feed::Feed`], one call at a time; a call may be dropped at any
/// await, as a crash would end it.
pub trait Sink: Send + 'static {
    /// What it takes.
    type Row: Row;

    /// Asks the other side where to go on. Called at the start, after every [`Stop`], and whenever
    /// that is in doubt.
    ///
    /// # Errors
    /// When it cannot be asked now.
    fn resume(&mut self) -> impl Future<Output = Result<Resumed, Stop>> + Send;

    /// Delivers rows from the front of a page, which is not empty and within the feed's bounds.
    /// It may take fewer than all. Rows whose fate is not known are not reported: they come again.
    fn deliver(&mut self, page: &[Self::Row]) -> impl Future<Output = Delivery> + Send;

    /// Resolves once the other side has come back or gone away since `resume` was called: waits
    /// end, and it is asked again. Never, for sinks that cannot know.
    fn changed(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// Where the other side stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// How far it got.
    pub reached: Reached,
    /// What the note is bound to: the target, and its incarnation where it has one. A note of
    /// another identity does not count.
    pub identity: String,
}

/// How far the other side got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It says itself: it has the row at this position, and all before it that it ever gets.
    At(u64),
    /// It could say, and has no row of this feed (any more): the note says how far it got, and
    /// is written now and then.
    Empty,
    /// It cannot say: the note alone knows, and is written durably after every page. A crash
    /// between a page and its note delivers the page again, with the same keys.
    Unknown,
}

/// What became of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The fate of each row from the front of the page; of those behind them none is known.
    pub rows: Vec<Fate>,
    /// Why it took no more; `None`: it will take the next page.
    pub stop: Option<Stop>,
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there.
    Taken,
    /// It is there in a shorter form, because it was too large.
    Shortened,
    /// It will never be taken as it is, for this reason.
    Refused(String),
    /// It was not taken this time, for this reason; rows behind it may have been. Only for sinks
    /// that is [`Reached::Unknown`]: the others take rows in order.
    Later(String),
}

/// Why a sink takes no more for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Where it stands is in doubt: it is asked again, at once.
    Doubt,
    /// It failed. Tried again after a wait that grows from try to try.
    Failed {
        /// What is the matter.
        cause: String,
        /// How long it wants to be left alone at least (`Retry-After`).
        after: Option<Duration>,
    },
    /// It cannot be reached, which is told elsewhere. Looked at again at each look for rows.
    Away(String),
}

impl Stop {
    /// A failure that says nothing of how long to wait.
    pub fn failed(cause: impl ToString) -> Stop {
        Stop::Failed { cause: cause.to_string(), after: None }
    }
}

impl Delivery {
    /// Nothing was taken.
    pub fn stopped(stop: Stop) -> Delivery {
        Delivery { rows: Vec::new(), stop: Some(stop) }
    }

    /// The first `count` rows are there.
    pub fn taken(count: usize) -> Delivery {
        Delivery { rows: vec![Fate::Taken; count], stop: None }
    }
}
