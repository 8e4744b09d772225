//! From a builder to the end of a process: telemetry, the page, the signals, the drain, and what is
//! said and answered with at the end. All commands that run a pipeline go through here.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::builder::{Builder, StartError};
use super::running::Running;
use super::{nats, reload, tables};
use crate::actors::pipeline::RunError;
use crate::actors::ports::{SourceError, StoreError};
use crate::cli::Exit;
use crate::cli::args::{Common, LogFormat};
use crate::domain::keeper::ReplayNumbers;
use crate::sink;
use crate::telemetry::{self, happenings};
use crate::web::server;

/// How often histograms are folded into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Takes as many open files as the system lets us have: each connection is one, and many
/// systems begin with 1,024.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let bound = getrlimit(Resource::Nofile);
    let most = Rlimit { current: bound.maximum, maximum: bound.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "the bound on open files stays as it is");
    }
}

/// A folder for this run alone, whatever the umask.
pub(super) fn private_folder(prefix: &str) -> std::io::Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let only_us = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix(prefix).permissions(only_us).tempdir()
}

/// Installs logs and metrics, and gives the builder its `/metrics`.
pub(super) fn with_telemetry(common: &Common, builder: Builder) -> Result<Builder, Exit> {
    let settings = telemetry::Settings {
        filter: common.log.clone(),
        json: common.log_format == LogFormat::Json,
    };
    raise_open_files();
    match telemetry::install(&settings) {
        Ok(metrics) => {
            sink::begin_at_zero(nats::OUTPUTS);
            Ok(builder.metrics(Arc::new(move || metrics.render())))
        }
        Err(error) => Err(complain(&error, Exit::Usage)),
    }
}

/// What to do when the pipeline has come to its end.
pub(super) enum AtEnd {
    /// Stop serving.
    Leave(Exit),
    /// Keep the page up until a signal, and end with this code.
    #[cfg_attr(not(feature = "replay"), expect(dead_code, reason = "only a replay does so"))]
    Stay(Exit),
}

/// Where the page's address is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// For scripts that start a server and wait for it.
    OnStdout,
    /// Where standard output is for something else.
    #[cfg_attr(not(feature = "replay"), expect(dead_code, reason = "only a replay does so"))]
    OnStderr,
}

/// Serves the page until `stop` resolves or the pipeline ends, then drains both.
///
/// # Errors
/// The exit code, after saying why.
pub(super) async fn serve_until(
    mut running: Running,
    said: Said,
    stop: impl Future<Output = ()>,
    beside: impl Future<Output = ()> + 'static,
    at_end: impl FnOnce(&ReplayNumbers) -> AtEnd,
) -> Result<Exit, Exit> {
    let state = running.web();
    let upkeep = state.render_metrics.clone();
    let bound = match server::bind(state) {
        Ok(bound) => bound,
        Err(error) => {
            let exit = complain(&error, Exit::Usage);
            let _ = running.shutdown().await;
            return Err(exit);
        }
    };
    let url = format!("http://{}/", bound.addr());
    match said {
        Said::OnStdout => say(&format!("dashboard: {url}")),
        Said::OnStderr => eprintln!("dashboard: {url}"),
    }
    let figures = running.figures();
    let epoch = || figures.epoch.load(Ordering::Relaxed);
    let data_dir = running.folder().path().display().to_string();
    let mode = running.mode();
    happenings::Started { mode, url: &url, data_dir: &data_dir, epoch: epoch() }.tell();
    if let Err(error) = running.folder().write_endpoint(&url) {
        tracing::warn!(%error, "the command line will not find this server by itself");
    }
    let aside = actix::spawn(beside);
    let kept = actix::spawn(async move {
        loop {
            actix::clock::sleep(UPKEEP).await;
            drop(upkeep());
        }
    });
    let (reloader, every) = running.reloads();
    let follows = tables::follow(reloader.clone());
    let reloads =
        actix::spawn(async move { tokio::join!(follows, reload::listen(reloader, every)) });
    let (stop_web, web_stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = actix::spawn(bound.run(async move {
        let _ = web_stopped.await;
    }));
    let mut exit = Exit::Ok;
    let mut stop = std::pin::pin!(stop);
    let early = tokio::select! {
        () = &mut stop => None,
        ended = running.ended() => Some(ended),
    };
    let reason = if early.is_some() { "the pipeline ended" } else { "signal" };
    if let Some(Ok(numbers)) = &early {
        match at_end(numbers) {
            AtEnd::Leave(code) => exit = code,
            AtEnd::Stay(code) => {
                stop.await;
                exit = code;
            }
        }
    }
    happenings::ShuttingDown { reason }.tell();
    aside.abort();
    kept.abort();
    reloads.abort();
    let _ = stop_web.send(());
    let served = serving.await;
    running.folder().remove_endpoint();
    let ended = running.shutdown().await;
    if let Ok(Err(error)) = served {
        return Err(complain(&error, Exit::Failed));
    }
    match early.unwrap_or(ended) {
        Ok(_) => {
            happenings::Stopped { epoch: epoch() }.tell();
            Ok(exit)
        }
        Err(error) => Err(complain(&error, run_exit(&error))),
    }
}

/// The first SIGINT or SIGTERM; the second ends the process at once.
pub(super) async fn stop_signal() {
    let mut signals = Signals::listen();
    signals.next().await;
    actix::spawn(async move {
        signals.next().await;
        eprintln!("tidewatch: stopped at once; what was not committed is read again");
        std::process::exit(130);
    });
}

/// SIGINT and SIGTERM.
pub(super) struct Signals(Option<(Signal, Signal)>);

impl Signals {
    /// Inside a runtime. Where the system refuses, no signal ever comes.
    pub fn listen() -> Signals {
        let both = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        Signals(match both {
            (Ok(term), Ok(int)) => Some((term, int)),
            _ => None,
        })
    }

    /// Resolves with the next of them.
    pub async fn next(&mut self) {
        let Some((term, int)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}

/// Prints a line. Whoever does not listen any more (`| head`) is no reason to stop.
pub(super) fn say(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Says what went wrong and passes the exit code on.
pub(super) fn complain(error: &dyn std::fmt::Display, exit: Exit) -> Exit {
    eprintln!("tidewatch: {error}");
    exit
}

/// Exit code of a failed start.
pub(super) fn start_exit(error: &StartError) -> Exit {
    match error {
        StartError::Store(error) => store_exit(error),
        StartError::Missing(_) => Exit::Usage,
        StartError::Source(_) | StartError::Lookups(_) | StartError::Thread(_) => Exit::Failed,
    }
}

/// Exit code of a pipeline that could not go on.
pub(super) fn run_exit(error: &RunError) -> Exit {
    match error {
        RunError::Store(error) | RunError::Source(SourceError::Store(error)) => store_exit(error),
        RunError::OtherSource { .. } | RunError::Source(SourceError::Diverged { .. }) => {
            Exit::Damaged
        }
        RunError::GaveUp { .. } => Exit::GaveUp,
        RunError::Source(_)
        | RunError::Output(_)
        | RunError::Thread(_)
        | RunError::StopTimeout { .. } => Exit::Failed,
    }
}

fn store_exit(error: &StoreError) -> Exit {
    match error {
        StoreError::Locked { .. } => Exit::Locked,
        StoreError::Damaged { .. } | StoreError::Format { .. } => Exit::Damaged,
        StoreError::DiskFull { .. } | StoreError::NotParent { .. } | StoreError::Io { .. } => {
            Exit::Failed
        }
    }
}
