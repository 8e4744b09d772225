//! The sources of a pipeline, polled side by side: each is asked for one batch at a time, and not
//! again before that is gone through. What comes is taken in the order in which it comes, so a
//! source that waits for its broker delays nobody; that order is the one in which events are
//! stamped and committed.
//!
//! Nothing is read further ahead than that: what is not decoded yet is at most one batch for each
//! source.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Mutex, MutexGuard};

use crate::actors::ports::{Pull, Source, SourceError};

/// All sources of a pipeline. Whoever reads one holds its lock; they outlive the generations.
pub type Sources = Vec<Arc<Mutex<Box<dyn Source>>>>;

/// What a source answered.
pub(super) struct Polled {
    /// Which source.
    pub index: usize,
    /// What it found.
    pub pull: Result<Pull, SourceError>,
    /// Items behind that.
    pub lag: Option<u64>,
}

/// One source.
struct Poll {
    source: Arc<Mutex<Box<dyn Source>>>,
    /// It was asked, or its last batch is not gone through.
    busy: bool,
    /// It had nothing when it was asked last.
    quiet: bool,
}

/// See the top of the file.
pub(super) struct Polls {
    polls: Vec<Poll>,
    under_way: FuturesUnordered<BoxFuture<'static, Polled>>,
}

impl Polls {
    pub fn new(sources: Sources) -> Self {
        let polls = sources.into_iter().map(|source| Poll { source, busy: false, quiet: false });
        Polls { polls: polls.collect(), under_way: FuturesUnordered::new() }
    }

    /// Whether the source may be asked.
    pub fn is_free(&self, index: usize) -> bool {
        !self.polls[index].busy
    }

    /// Asks a free source for at most `max` items. One that had nothing last time is given
    /// `patience` to get something first.
    pub fn ask(&mut self, index: usize, max: usize, patience: Duration) {
        let Poll { source, busy, quiet } = &mut self.polls[index];
        *busy = true;
        let (source, quiet) = (Arc::clone(source), *quiet);
        self.under_way.push(Box::pin(async move {
            let mut source = source.lock().await;
            if quiet {
                // When it has nothing by then it says so itself, and time goes on.
                let _ = tokio::time::timeout(patience, source.wait()).await;
            }
            Polled { index, pull: source.pull(max).await, lag: source.lag() }
        }));
    }

    /// The next answer; none comes while no source is asked. Safe to drop.
    pub async fn next(&mut self) -> Polled {
        let Some(polled) = self.under_way.next().await else { return pending().await };
        let poll = &mut self.polls[polled.index];
        poll.quiet = matches!(polled.pull, Ok(Pull::CaughtUp | Pull::Away(_)));
        poll.busy = matches!(polled.pull, Ok(Pull::Batch(_) | Pull::End));
        polled
    }

    /// The batch it gave is gone through.
    pub fn done(&mut self, index: usize) {
        self.polls[index].busy = false;
    }

    /// The source itself, unless it is being asked.
    pub fn source(&self, index: usize) -> Option<MutexGuard<'_, Box<dyn Source>>> {
        self.polls[index].source.try_lock().ok()
    }
}
