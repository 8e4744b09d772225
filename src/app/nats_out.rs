//! Starts the outputs to NATS beside a running pipeline.

use std::time::Duration;

use super::builder::Running;
use crate::nats::link::Link;
use crate::nats::out::{OutSettings, Outputs, Parts};

/// Longest wait for alerts and dead letters to be delivered when the process stops. What
/// is left is delivered after the next start.
pub const DRAIN: Duration = Duration::from_secs(5);

impl Running {
    /// Sends alerts, dead letters and boards of this pipeline to NATS and answers there,
    /// each as far as its name in `settings` is not empty. The notes lie in the data folder.
    ///
    /// Stop them ([`Outputs::stop`]) after the pipeline has ended, so that the last commit's
    /// alerts leave too.
    pub fn send_to_nats(&self, link: &Link, settings: OutSettings) -> Outputs {
        let web = self.web();
        let parts = Parts {
            seed: web.schema.seed,
            records: web.records,
            board: web.board,
            directory: web.directory,
            status: web.status,
        };
        let notes = Some(self.folder().path().to_path_buf());
        Outputs::start(link, OutSettings { notes, ..settings }, parts)
    }
}
