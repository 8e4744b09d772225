//! Starts the outputs to NATS beside a running pipeline.

use std::sync::Arc;

use super::running::Running;
use crate::nats::link::Link;
use crate::nats::out::{self, Parts, feed_of};
use crate::nats::settings::OutSettings;
use crate::sink::Outputs;

impl Running {
    /// Sends alerts, incidents, dead letters and boards of this pipeline to NATS and answers there,
    /// each as far as its name in `settings` is not empty. The notes lie in the data folder.
    ///
    /// Stop them ([`Outputs::stop`]) after the pipeline has ended, so that what the last commit brought
    /// leaves too.
    pub fn send_to_nats(&self, link: &Link, settings: OutSettings) -> Outputs {
        let web = self.web();
        let figures = self.figures();
        let letters_published = if settings.dead_letters_stream.is_empty() {
            Arc::default()
        } else {
            figures.publish_letters()
        };
        let parts = Parts {
            feed: feed_of(web.schema.load().seed),
            letters_published,
            clock: web.clock,
            records: web.records,
            incidents: web.incidents,
            board: web.board,
            directory: web.directory,
            status: web.status,
        };
        let notes = Some(self.folder().path().to_path_buf());
        out::start(link, OutSettings { notes, ..settings }, parts)
    }
}
