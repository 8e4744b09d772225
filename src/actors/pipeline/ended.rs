//! Why a pipeline ended.

use thiserror::Error;

use crate::actors::ports::{SourceError, StoreError};
use crate::domain::commit::SourceIdentity;
use crate::domain::time::SpanMs;
use crate::telemetry::happenings::{LogDiverged, SourceGap};

/// Why a pipeline ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// The state store failed for good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source failed, or holds something else than it did (I7, I8).
    #[error(transparent)]
    Source(SourceError),
    /// The state belongs to another source.
    #[error(
        "the state in this data folder was made from {found}, not from {wanted}; \
         use another --data-dir, or move this one away to start from the log again"
    )]
    OtherSource {
        /// What the state names.
        found: String,
        /// What is to be read.
        wanted: String,
    },
    /// Parts died again and again.
    #[error("gave up after {restarts} restarts within {window_s} s; the last reason: {reason}")]
    GaveUp {
        /// How many.
        restarts: usize,
        /// Within how long.
        window_s: i64,
        /// The last reason.
        reason: String,
    },
    /// It was asked to end, and its last commit took too long.
    #[error(
        "stopped without a last commit, which took longer than {after_ms} ms \
         (pipeline.stop_timeout); nothing is lost: the next start goes on from the commit before \
         and reads again what came after it"
    )]
    StopTimeout {
        /// How long it was waited for.
        after_ms: SpanMs,
    },
    /// An output file of a replay cannot be written.
    #[error("{0}")]
    Output(String),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(String),
}

pub(super) fn other_source(
    found: &SourceIdentity,
    wanted: &SourceIdentity,
    position: u64,
) -> RunError {
    let words = |id: &SourceIdentity| format!("{} ({})", id.name, id.incarnation);
    let (from, wanted) = (words(found), words(wanted));
    let cause = format!("the state was made from {from}");
    LogDiverged { source: &wanted, position, cause: &cause }.tell();
    RunError::OtherSource { found: from, wanted }
}

/// The source cannot go on; a gap is told for itself.
pub(in crate::actors) fn unreadable(error: SourceError) -> RunError {
    match &error {
        SourceError::Gap { source_name, from, to } => {
            SourceGap { source: source_name, from: *from, to: *to }.tell();
        }
        SourceError::Diverged { source_name, position, cause } => {
            LogDiverged { source: source_name, position: *position, cause }.tell();
        }
        SourceError::Other { read, found, position } => {
            return other_source(read, found, *position);
        }
        SourceError::Unfit(_) | SourceError::Store(_) | SourceError::Read { .. } => {}
    }
    RunError::Source(error)
}

pub(super) fn damaged(what: String) -> RunError {
    RunError::Store(StoreError::Damaged {
        path: "the state store".into(),
        what,
        remedy: "move the data folder's state.db away to start from the log again".into(),
    })
}
