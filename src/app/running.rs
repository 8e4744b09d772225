//! A pipeline that runs: the handle that its starter holds.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::reload::Reloader;
use super::thread::PipelineThread;
use crate::actors::broadcaster::Broadcaster;
use crate::actors::directory::{NoAnswer, NotSeen};
use crate::actors::flow::Flow;
use crate::actors::pipeline::RunError;
use crate::actors::ports::{AppendError, Appended};
use crate::actors::reload::{Plan, Refusal};
use crate::actors::status::Status;
use crate::config::Config;
use crate::domain::at_risk::AtRisk;
use crate::domain::board::Board;
use crate::domain::event::Schema;
use crate::domain::event::split::split_item;
use crate::domain::keeper::ReplayNumbers;
use crate::domain::session::SessionView;
use crate::domain::time::SpanMs;
use crate::sink::Outputs;
use crate::store::folder::Folder;
use crate::store::state::Figures;
use crate::web;

/// Longest wait for alerts and dead letters to be delivered when the process stops. What
/// is left is delivered after the next start.
const DRAIN: Duration = Duration::from_secs(5);

/// A running pipeline. Dropping it stops the pipeline without waiting for it.
pub struct Running {
    pub(super) web: web::State,
    pub(super) mode: &'static str,
    pub(super) folder: Folder,
    pub(super) figures: Arc<Figures>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) stop_timeout: SpanMs,
    pub(super) thread: PipelineThread,
    pub(super) outputs: Vec<Outputs>,
    pub(super) reloader: Reloader,
    pub(super) config_watch: SpanMs,
}

impl Running {
    /// Appends events (one JSON object each) to the embedded log; resolves once they are
    /// durable. An array, or lines of NDJSON, are taken apart: each event has a position of
    /// its own. What cannot be decoded later ends in the dead letters.
    ///
    /// # Errors
    /// When the log is full, cannot be written, or there is none (a replay).
    pub async fn publish(&self, events: Vec<Bytes>) -> Result<Appended, AppendError> {
        let most = self.web.schema.load().limits.item_events;
        let mut items = Vec::with_capacity(events.len());
        events.into_iter().for_each(|event| split_item(event, most, &mut items));
        match &self.web.log {
            Some(log) => log.append(items).await,
            None => Err(AppendError::Broken("a replay takes no events".into())),
        }
    }

    /// The latest board.
    pub fn board(&self) -> Arc<Board> {
        self.web.board.load_full()
    }

    /// The latest board, for readers that look again and again.
    pub fn board_cell(&self) -> Arc<ArcSwap<Board>> {
        Arc::clone(&self.web.board)
    }

    /// The open sessions of a key; `None` when there are none.
    ///
    /// # Errors
    /// [`NoAnswer`] when its shard is so busy that no answer came for some seconds.
    pub async fn session(&self, key: &str) -> Result<Option<SessionView>, NoAnswer> {
        self.web.directory.describe(key).await
    }

    /// Open sessions with an entry and no goal: what is at stake, and the first of them by deadline
    /// and by value. All who ask within a quarter of a second get the same.
    ///
    /// # Errors
    /// [`NoAnswer`] when a shard is so busy that no answer came for some seconds.
    pub async fn at_risk(&self) -> Result<Arc<AtRisk>, NoAnswer> {
        self.web.directory.at_risk().await
    }

    /// The same of a kind of its own (`[[sessions]]`).
    ///
    /// # Errors
    /// [`NotSeen`] when there is no such kind, or a shard is so busy that no answer came.
    pub async fn at_risk_of(&self, kind: &str) -> Result<Arc<AtRisk>, NotSeen> {
        self.web.directory.at_risk_of(Some(kind)).await
    }

    /// What `tidewatch::web::configure` needs to mount the routes into an `App`.
    pub fn web(&self) -> web::State {
        self.web.clone()
    }

    /// The broadcaster of this pipeline.
    pub fn broadcaster(&self) -> Addr<Broadcaster> {
        self.web.broadcaster.clone()
    }

    /// Whether it is ready, and why not.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.web.status)
    }

    /// What is decoded.
    pub fn schema(&self) -> Arc<Schema> {
        self.web.schema.load_full()
    }

    /// Its data folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// `serve`, `demo`, `replay` or `embedded`.
    pub fn mode(&self) -> &'static str {
        self.mode
    }

    /// Numbers about the state store.
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Credits and positions.
    pub fn flow(&self) -> Arc<Flow> {
        Arc::clone(&self.web.flow)
    }

    /// Takes another configuration: what it counts is counted by it from the next commit on, and
    /// what it does not change goes on. With `plan_only`, only says what that would do.
    ///
    /// # Errors
    /// Why it was not taken (keys that need a restart are named): nothing has changed then.
    pub async fn reload(&self, config: Config, plan_only: bool) -> Result<Plan, Refusal> {
        self.reloader.take(config, plan_only).await
    }

    /// The way to another configuration, and how often its file is looked at, in ms.
    pub(super) fn reloads(&self) -> (Reloader, SpanMs) {
        (self.reloader.clone(), self.config_watch)
    }

    /// Asks it to end: drain, commit, return. [`Running::ended`] tells when it has.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// A handle that asks it to end, for a signal handler.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        let stop = self.stop.clone();
        move || {
            stop.send_replace(true);
        }
    }

    /// Resolves when the pipeline has ended: after `stop`, at the end of a replay, or
    /// because it could not go on. Later calls say the same again.
    ///
    /// # Errors
    /// Why it could not go on.
    pub async fn ended(&mut self) -> Result<ReplayNumbers, RunError> {
        self.thread.ended().await
    }

    /// Stops and waits until everything is committed, at most `pipeline.stop_timeout`. Beyond it
    /// the pipeline's threads are left to themselves: they hold the data folder until they or the
    /// process end.
    ///
    /// # Errors
    /// Why the last commit could not be made.
    pub async fn shutdown(mut self) -> Result<ReplayNumbers, RunError> {
        self.stop();
        let after_ms = self.stop_timeout;
        let bound = Duration::from_millis(after_ms.max(0) as u64);
        let Ok(result) = tokio::time::timeout(bound, self.ended()).await else {
            return Err(RunError::StopTimeout { after_ms });
        };
        // What the last commit brought leaves too, if that is possible now.
        let outputs = std::mem::take(&mut self.outputs);
        join_all(outputs.into_iter().map(|outputs| outputs.stop(DRAIN))).await;
        self.thread.join().await;
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
