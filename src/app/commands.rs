//! The commands that run a pipeline: `serve`, `demo`, `replay`. Each is a short story:
//! start, serve the page, wait for a signal or the end, drain, say how it went.

use std::future::Future;
use std::sync::Arc;

use actix::System;

use super::builder::Builder;
use super::demo;
#[cfg(feature = "prove")]
use super::prove;
#[cfg(feature = "nats")]
use super::publish;
use super::running::Running;
use super::serving::{AtEnd, Said, complain, serve_until, start_exit, stop_signal, with_telemetry};
#[cfg(feature = "replay")]
use super::{dry_run, init, map, replay};

use crate::actors::ports::{EventLog, Records, StoreError};
use crate::cli::args::Common;
use crate::cli::dead_letters::OpenIdle;
use crate::cli::{Commands, Exit};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::store::folder::Folder;
use crate::store::log::EmbeddedLog;
use crate::store::records::StoredRecords;
use crate::web::server;

/// The commands, for the dispatch table of `cli`.
pub fn commands() -> Commands {
    Commands {
        serve,
        demo: demo::run,
        #[cfg(feature = "replay")]
        replay: replay::run,
        #[cfg(not(feature = "replay"))]
        replay: |_, _, _| lacks("reading of files", "replay"),
        #[cfg(feature = "replay")]
        map: map::run,
        #[cfg(not(feature = "replay"))]
        map: |_| lacks("reading of files", "replay"),
        #[cfg(feature = "replay")]
        dry_run: dry_run::run,
        #[cfg(not(feature = "replay"))]
        dry_run: |_, _, _| lacks("reading of files", "replay"),
        #[cfg(feature = "replay")]
        init: init::run,
        #[cfg(not(feature = "replay"))]
        init: |_, _| lacks("reading of files", "replay"),
        #[cfg(feature = "replay")]
        tune: dry_run::tune,
        #[cfg(not(feature = "replay"))]
        tune: |_, _, _| lacks("reading of files", "replay"),
        #[cfg(feature = "nats")]
        publish: publish::run,
        #[cfg(not(feature = "nats"))]
        publish: |_, _, _| lacks("NATS", "nats"),
        #[cfg(feature = "prove")]
        prove: prove::run,
        #[cfg(not(feature = "prove"))]
        prove: |_, _| lacks("proof", "prove"),
        open_idle: OpenIdle { records: idle_records, log: idle_log },
    }
}

/// What a command answers where the build has no part for it.
#[cfg(not(all(feature = "nats", feature = "replay", feature = "prove")))]
fn lacks(part: &str, feature: &str) -> Exit {
    complain(&crate::config::missing(part, feature), Exit::Usage)
}

fn serve(config: Config, common: &Common) -> Exit {
    let builder = Builder::default().face("serve", "").config(config);
    run(common, builder, |_| std::future::pending())
}

/// Runs a pipeline with its page until a signal, with `beside` alongside.
pub(super) fn run<F: Future<Output = ()> + 'static>(
    common: &Common,
    builder: Builder,
    beside: impl FnOnce(&Running) -> F + 'static,
) -> Exit {
    let builder = match with_telemetry(common, builder) {
        Ok(builder) => builder,
        Err(exit) => return exit,
    };
    if let Err(error) = server::check_address(&builder.web_settings()) {
        return complain(&error, Exit::Usage);
    }
    System::new().block_on(async move {
        let running = match builder.start() {
            Ok(running) => running,
            Err(error) => return complain(&error, start_exit(&error)),
        };
        let beside = beside(&running);
        match serve_until(running, Said::OnStdout, stop_signal(), beside, |_| {
            AtEnd::Leave(Exit::Ok)
        })
        .await
        {
            Ok(exit) | Err(exit) => exit,
        }
    })
}

/// The records of a data folder, for `tidewatch dead-letters`.
fn idle_records(config: &Config) -> Result<Arc<dyn Records>, StoreError> {
    Ok(Arc::new(StoredRecords::open(&config.general.data_dir)?))
}

/// Where redriven events of an idle folder go. The folder is ours as long as it lives.
fn idle_log(config: &Config) -> Result<Box<dyn EventLog>, StoreError> {
    let folder = Folder::open(&config.general.data_dir)?;
    // The seed places keys on shards; nothing of that is decided here.
    let schema = super::parts::schema(config, 0);
    let stream = super::nats::patient_log(config, &schema, folder.clone())
        .map_err(|error| StoreError::Io { path: "nats".into(), cause: error.to_string() })?;
    if let Some(stream) = stream {
        return Ok(stream);
    }
    let settings = super::parts::log_settings(config);
    Ok(Box::new(EmbeddedLog::open(&folder, SystemClock::shared(), settings)?))
}
