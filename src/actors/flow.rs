//! What ingestor and committer share: credits in use, how far things are durable, and how each
//! source stands. Read by the web side, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::aside::Aside;
use super::redrive::Gate;
use super::standing::Ahead;
use crate::domain::keeper::SourceView;
use crate::domain::lag::behind_ms;
use crate::domain::time::EpochMs;

/// Flow between ingestor and committer: credits, and how far things are durable.
#[derive(Debug, Default)]
pub struct Flow {
    /// Events read and not committed: the credits in use.
    pub in_flight: AtomicU64,
    /// Events read and not added up yet: the ledger's `in flight`.
    pub unsettled: AtomicU64,
    /// Barriers sent and not durable.
    pub barriers: AtomicU64,
    /// Items behind the reading position.
    pub lag: AtomicU64,
    /// The source's end was reached.
    pub caught_up: AtomicBool,
    /// Wakes the ingestor when credits are free again.
    pub freed: Notify,
    /// Alerts delivered to the alert log since the data folder was made.
    pub delivered: AtomicU64,
    /// Wall clock of the last durable commit.
    pub committed_at: AtomicI64,
    /// Restarts since the process started.
    pub restarts: AtomicU64,
    /// Monotonic time of the next board: what is to be on it must be added up before.
    pub next_board: AtomicI64,
    /// Somebody said something of an incident, which waits to be in a commit.
    pub commanded: AtomicBool,
    /// How each source stands, in the order of the pipeline's sources.
    pub sources: Mutex<Vec<SourceFlow>>,
    /// Dead letters that left to keep their bound since the data folder was made.
    pub letters_dropped: AtomicU64,
    /// Events that were refused before a source had them.
    pub aside: Aside,
    /// Dead letters are redriven by one at a time.
    pub redrive: Gate,
    /// How many of the events read last came from the future.
    pub ahead: Ahead,
}

/// How one source stands.
#[derive(Clone, Debug, Default)]
pub struct SourceFlow {
    /// Its name.
    pub name: String,
    /// What its reader does.
    pub state: PullState,
    /// Position of the last item read.
    pub position: u64,
    /// Items behind it that were not read.
    pub lag: u64,
    /// When the last item read had arrived there; `BEGINNING` before the first.
    pub arrived: EpochMs,
}

/// What the reader of a source does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PullState {
    /// It was not asked yet.
    #[default]
    Starting,
    /// It gives items.
    Reading,
    /// Its end was reached; more may come.
    CaughtUp,
    /// Nothing is asked of it: all credits are in use.
    NoCredits,
    /// It cannot be reached, for this reason.
    Away(String),
    /// It ended for good.
    Ended,
}

impl PullState {
    /// In words, for people.
    pub fn words(&self) -> &'static str {
        match self {
            PullState::Starting => "starting",
            PullState::Reading => "reading",
            PullState::CaughtUp => "caught up",
            PullState::NoCredits => "waiting for credits",
            PullState::Away(_) => "away",
            PullState::Ended => "ended",
        }
    }
}

impl Flow {
    /// Nothing under way.
    pub fn shared() -> Arc<Flow> {
        Arc::default()
    }

    /// The same, with so many bytes for events that were refused before a source had them.
    pub fn with_aside(bytes_max: usize) -> Arc<Flow> {
        Arc::new(Flow { aside: Aside::bounded(bytes_max), ..Flow::default() })
    }

    /// Names the sources, in the order of the pipeline.
    pub fn name_sources(&self, names: impl Iterator<Item = String>) {
        let sources = names.map(|name| SourceFlow { name, ..SourceFlow::default() });
        *self.sources.lock() = sources.collect();
    }

    /// How each source stands at this wall clock.
    pub(super) fn look(&self, wall: EpochMs) -> Vec<SourceView> {
        let view = |source: &SourceFlow| SourceView {
            name: source.name.clone(),
            state: source.state.words(),
            reason: match &source.state {
                PullState::Away(reason) => reason.clone(),
                _ => String::new(),
            },
            position: source.position,
            lag: source.lag,
            behind_ms: behind_ms(wall, source.arrived, source.lag),
        };
        self.sources.lock().iter().map(view).collect()
    }

    /// Forgets what a generation that died left under way.
    pub fn reset(&self) {
        self.in_flight.store(0, Ordering::SeqCst);
        self.unsettled.store(0, Ordering::SeqCst);
        self.barriers.store(0, Ordering::SeqCst);
    }
}
