//! One pass over a source for several pipelines: a thread reads it, and each pipeline gets every
//! batch. The slowest sets the pace, so no more than a few batches are ever in memory.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::actors::ports::{BoxFuture, Opened, Pull, Resume, Source, SourceError};
use crate::domain::event::{RawBatch, RawItem};

/// Items of a batch: few enough that one batch ends within the credits of a pipeline.
const BATCH: usize = 16_384;
/// Batches that a pipeline may be behind the fastest.
const AHEAD: usize = 2;

/// What a pipeline is given.
enum Given {
    Batch(RawBatch),
    Gap(u64, u64),
    Failed(SourceError),
}

/// A pipeline's share of a source.
struct Share {
    name: String,
    inbox: mpsc::Receiver<Given>,
    rest: Option<RawBatch>,
    /// Nothing that comes matters to this pipeline any more.
    done: Arc<AtomicBool>,
}

/// A source for each pipeline.
pub(super) struct Tee {
    pub shares: Vec<Box<dyn Source>>,
    /// Answers when the source has been left.
    pub left: oneshot::Receiver<()>,
}

/// The same source for as many pipelines as there are flags; one whose flag is set has had
/// enough, and its source ends.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn tee(source: Box<dyn Source>, done: Vec<Arc<AtomicBool>>) -> std::io::Result<Tee> {
    let name = source.name().to_owned();
    let (mut outlets, mut shares) = (Vec::new(), Vec::new());
    for done in done {
        let (outlet, inbox) = mpsc::channel(AHEAD);
        outlets.push(outlet);
        let share = Share { name: name.clone(), inbox, rest: None, done };
        shares.push(Box::new(share) as Box<dyn Source>);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, left) = oneshot::channel();
    let read = move || {
        runtime.block_on(hand_out(source, outlets));
        // Who waits for it may be gone.
        let _ = ended.send(());
    };
    std::thread::Builder::new().name("tidewatch-history".into()).spawn(read)?;
    Ok(Tee { shares, left })
}

/// Reads to the end, or until nobody is left who wants more.
async fn hand_out(mut source: Box<dyn Source>, mut outlets: Vec<mpsc::Sender<Given>>) {
    let nobody = async {
        for outlet in &outlets {
            outlet.closed().await;
        }
    };
    // A source that is away is waited for as long as somebody wants it.
    let opened = tokio::select! {
        opened = source.open(Resume::default()) => opened,
        () = nobody => return,
    };
    if let Err(error) = opened {
        return fail(&outlets, &error).await;
    }
    while !outlets.is_empty() {
        let given: &dyn Fn() -> Given = match source.pull(BATCH).await {
            Ok(Pull::Batch(batch)) => &move || Given::Batch(batch.clone()),
            Ok(Pull::Gap { from, to }) => &move || Given::Gap(from, to),
            Ok(Pull::End) => return,
            Ok(Pull::CaughtUp | Pull::Away(_)) => {
                source.wait().await;
                outlets.retain(|outlet| !outlet.is_closed());
                continue;
            }
            Err(error) => return fail(&outlets, &error).await,
        };
        let mut wanted = Vec::with_capacity(outlets.len());
        for outlet in outlets {
            if outlet.send(given()).await.is_ok() {
                wanted.push(outlet);
            }
        }
        outlets = wanted;
    }
}

async fn fail(outlets: &[mpsc::Sender<Given>], error: &SourceError) {
    for outlet in outlets {
        // One that is gone needs no reason.
        let _ = outlet.send(Given::Failed(error.clone())).await;
    }
}

impl Source for Share {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&mut self, _: Resume) -> BoxFuture<'_, Result<Opened, SourceError>> {
        let opened = Opened { incarnation: "history".into(), warnings: Vec::new() };
        Box::pin(ready(Ok(opened)))
    }

    fn pull(&mut self, max: usize) -> BoxFuture<'_, Result<Pull, SourceError>> {
        Box::pin(async move {
            if self.done.load(Ordering::Acquire) {
                self.inbox.close();
                return Ok(Pull::End);
            }
            let batch = match self.rest.take() {
                Some(batch) => batch,
                None => match self.inbox.recv().await {
                    None => return Ok(Pull::End),
                    Some(Given::Gap(from, to)) => return Ok(Pull::Gap { from, to }),
                    Some(Given::Failed(error)) => return Err(error),
                    Some(Given::Batch(batch)) => batch,
                },
            };
            let (first, rest) = split(batch, max.max(1));
            self.rest = rest;
            Ok(Pull::Batch(first))
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }

    fn ack(&mut self, _: u64) {}

    fn lag(&self) -> Option<u64> {
        None
    }
}

/// The first items of a batch, and the others.
fn split(mut batch: RawBatch, max: usize) -> (RawBatch, Option<RawBatch>) {
    if batch.items.len() <= max {
        return (batch, None);
    }
    let later = batch.items.split_off(max);
    let notes = batch.notes.split_off(max.min(batch.notes.len()));
    let from = later[0].start;
    let items = later.into_iter().map(|item| RawItem { start: item.start - from, ..item });
    let rest = RawBatch {
        data: batch.data.split_off(from as usize),
        items: items.collect(),
        notes,
        arrived: batch.arrived,
        note_names: Arc::clone(&batch.note_names),
    };
    (batch, Some(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_in_parts_is_the_batch() {
        let whole = RawBatch::of(7, (1..=100u64).map(|n| (n, "x".repeat(n as usize % 5 + 1))));
        let texts = |batch: &RawBatch| -> Vec<(u64, Vec<u8>)> {
            batch.items.iter().map(|item| (item.position, batch.bytes(item).to_vec())).collect()
        };
        for max in [1, 3, 99, 100, 101] {
            let (mut found, mut rest) = (Vec::new(), Some(whole.clone()));
            while let Some(batch) = rest {
                let (first, more) = split(batch, max);
                assert!(first.items.len() <= max);
                found.extend(texts(&first));
                rest = more;
            }
            assert_eq!(found, texts(&whole), "{max}");
        }
    }
}
