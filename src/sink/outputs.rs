//! The running outputs of one kind: their tasks, how each stands, and their end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::track::{OutState, Track};
use crate::actors::status::Status;

/// Running outputs. Dropping them ends them at once; what was not delivered is delivered after the
/// next start.
pub struct Outputs {
    tasks: Vec<JoinHandle<()>>,
    states: Vec<Arc<Track>>,
    status: Arc<Status>,
    stop: watch::Sender<bool>,
    /// What runs them ends when it is let go of.
    held: Option<oneshot::Sender<()>>,
}

impl Outputs {
    /// None so far.
    pub fn new(status: &Arc<Status>) -> Outputs {
        let (status, stop) = (Arc::clone(status), watch::Sender::new(false));
        Outputs { tasks: Vec::new(), states: Vec::new(), status, stop, held: None }
    }

    /// How a further one stands: its name in the metrics, and what people read.
    pub fn track(&mut self, output: &str, title: &str) -> Arc<Track> {
        let track = Arc::new(Track::new(output, title, Arc::clone(&self.status)));
        self.states.push(Arc::clone(&track));
        track
    }

    /// Says when they are to end.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// What runs them goes on until this is let go of.
    pub fn holds(&mut self, held: oneshot::Sender<()>) {
        self.held = Some(held);
    }

    /// One runs.
    pub fn runs(&mut self, task: JoinHandle<()>) {
        self.tasks.push(task);
    }

    /// How each output stands.
    pub fn states(&self) -> Vec<OutState> {
        self.states.iter().map(|track| track.state()).collect()
    }

    /// A reader of [`Outputs::states`] that may outlive this handle.
    pub fn reader(&self) -> impl Fn() -> Vec<OutState> + Send + Sync + 'static {
        let states = self.states.clone();
        move || states.iter().map(|track| track.state()).collect()
    }

    /// Delivers what is committed, answers what was asked, and ends; what takes longer
    /// than `timeout` is delivered after the next start. Call it once the pipeline has
    /// ended, and inside a tokio runtime with a timer. Returns the last states.
    pub async fn stop(mut self, timeout: Duration) -> Vec<OutState> {
        self.stop.send_replace(true);
        let tasks = &mut self.tasks;
        let drain = async {
            for task in tasks {
                // A task that panicked has been told by the panic hook.
                let _ = task.await;
            }
        };
        // What is not ready by then is aborted when `self` goes.
        let _ = tokio::time::timeout(timeout, drain).await;
        self.states()
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
