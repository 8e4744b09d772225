//! The thread that a pipeline runs on, with an actix `System` of its own.

use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use actix::{Actor, Addr, System};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::builder::StartError;
use crate::actors::broadcaster::Broadcaster;
use crate::actors::pipeline::{Pipeline, RunError};
use crate::actors::store_thread::StoreThread;
use crate::domain::keeper::ReplayNumbers;

/// What runs on the thread.
type Begun = (Pipeline, StoreThread, Option<BoxFuture<'static, ()>>);

/// The thread, and what is known of the pipeline's end.
pub(super) struct PipelineThread {
    begin: Option<oneshot::Sender<Begun>>,
    end: Option<oneshot::Receiver<Result<ReplayNumbers, RunError>>>,
    numbers: Option<Result<ReplayNumbers, RunError>>,
    release: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PipelineThread {
    /// Starts the thread and on it the broadcaster, which outlives the pipeline.
    pub(super) fn start(
        broadcaster: Broadcaster,
    ) -> Result<(PipelineThread, Addr<Broadcaster>), StartError> {
        let (begin, begun) = oneshot::channel::<Begun>();
        let (ended, end) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let (address, addressed) = sync_channel(1);
        let thread = std::thread::Builder::new().name("tidewatch".into()).spawn(move || {
            System::new().block_on(async move {
                // The starter waits for it on the other end.
                let _ = address.send(broadcaster.start());
                // Without a pipeline something else did not start.
                let Ok((pipeline, store, beside)) = begun.await else { return };
                if let Some(beside) = beside {
                    actix::spawn(beside);
                }
                let result = pipeline.run(&store).await;
                let _ = tokio::task::spawn_blocking(move || store.end()).await;
                let _ = ended.send(result);
                // Boards stay to be seen until the handle is let go.
                let _ = released.await;
            });
        })?;
        let broadcaster = addressed.recv().map_err(|_| {
            StartError::Source("the pipeline's thread ended while it started".into())
        })?;
        let thread = PipelineThread {
            begin: Some(begin),
            end: Some(end),
            numbers: None,
            release: Some(release),
            thread: Some(thread),
        };
        Ok((thread, broadcaster))
    }

    /// Runs the pipeline, and what goes on beside it.
    pub(super) fn run(
        &mut self,
        pipeline: Pipeline,
        store: StoreThread,
        beside: Option<BoxFuture<'static, ()>>,
    ) {
        if let Some(begin) = self.begin.take() {
            // Refused when the thread is gone: `ended` says so.
            let _ = begin.send((pipeline, store, beside));
        }
    }

    /// Resolves when the pipeline has ended. Later calls say the same again.
    pub(super) async fn ended(&mut self) -> Result<ReplayNumbers, RunError> {
        let gone = || Err(RunError::Thread("the pipeline's thread ended".into()));
        if let Some(end) = &mut self.end {
            self.numbers = Some(end.await.unwrap_or_else(|_| gone()));
            self.end = None;
        }
        self.numbers.clone().unwrap_or_else(gone)
    }

    /// Lets the boards go and waits for the thread.
    pub(super) async fn join(&mut self) {
        drop(self.release.take());
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}
