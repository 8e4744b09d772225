//! The commands: the past is files, a stream, or the log of a data folder; a server may run on it.

use std::io::{ErrorKind, Write};
use std::sync::Arc;

use actix::System;

use super::seen::Range;
use super::trial::{self, Trial};
use super::tuning::tuned;
use super::vary::Ground;
use super::{Asked, Failed, LookedBack, dry_run};
use crate::actors::ports::Source;
use crate::app::builder::Builder;
use crate::app::nats;
use crate::app::replay::{draw, file_settings};
use crate::app::serving::{complain, stop_signal, with_telemetry};
use crate::cli::Exit;
use crate::cli::args::{Common, DryRunArgs, HistoryArgs, TuneArgs};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::source::file::FileSource;
use crate::source::progress::Progress;
use crate::store::log::History;

/// `tidewatch dry-run`.
pub fn run(config: Config, common: &Common, args: &DryRunArgs) -> Exit {
    let ground = Ground::from(config);
    let asked = asked(&args.name, &args.vary, &args.history);
    let past = |trials, range| look_back(&ground.config, common, &args.history, trials, range);
    finish(dry_run(&ground, &asked, past).map(|report| {
        let text = if args.history.json { report.json() } else { report.to_string() };
        let exit = if report.history.ledger.applied == 0 { Exit::Refused } else { Exit::Ok };
        (text, exit)
    }))
}

/// `tidewatch tune`.
pub fn tune(config: Config, common: &Common, args: &TuneArgs) -> Exit {
    let ground = Ground::from(config);
    let asked = asked(&args.name, &[], &args.history);
    let past = |trials, range| look_back(&ground.config, common, &args.history, trials, range);
    finish(tuned(&ground, &asked, args.at_most, past).map(|tuned| {
        let text = if args.history.json { tuned.json() } else { tuned.to_string() };
        (text, if tuned.fit == 0 { Exit::Refused } else { Exit::Ok })
    }))
}

fn asked(name: &str, vary: &[String], history: &HistoryArgs) -> Asked {
    let (from, to) = (history.from.clone(), history.to.clone());
    Asked { name: name.to_owned(), vary: vary.to_vec(), from, to }
}

fn finish(done: Result<(String, Exit), Failed>) -> Exit {
    match done {
        Ok((text, exit)) => {
            let mut out = std::io::stdout().lock();
            match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Exit::Failed,
                _ => exit,
            }
        }
        Err((why, exit)) => complain(&why, exit),
    }
}

fn look_back(
    config: &Config,
    common: &Common,
    args: &HistoryArgs,
    trials: Vec<Trial>,
    range: Range,
) -> LookedBack {
    // Only what is logged is of use here.
    with_telemetry(common, Builder::default()).map_err(|exit| (String::new(), exit))?;
    let progress = Arc::new(Progress::default());
    let (source, name) = past(config, args, range, &progress)?;
    let tried = System::new().block_on(async move {
        let bar = actix::spawn(draw(progress));
        let stop = async {
            stop_signal().await;
            "stopped before the end of the events".to_owned()
        };
        let tried = trial::run(trials, source, range, stop).await;
        bar.abort();
        tried
    });
    Ok((tried.map_err(|why| (why, Exit::Failed))?, name))
}

/// The events of the past, and what they are called.
fn past(
    config: &Config,
    args: &HistoryArgs,
    range: Range,
    progress: &Arc<Progress>,
) -> Result<(Box<dyn Source>, String), Failed> {
    if !args.file.is_empty() {
        let usage = |why: String| (why, Exit::Usage);
        let settings = file_settings(config, &args.file, args.map.as_deref()).map_err(usage)?;
        let source = FileSource::of(&settings, SystemClock::shared(), Arc::clone(progress))
            .map_err(|error| (error.to_string(), Exit::Usage))?;
        let name = source.name().to_owned();
        return Ok((Box::new(source), name));
    }
    if config.nats.link.is_some() || args.stream.is_some() {
        let stored = range.from.saturating_sub(config.dry_run.lead);
        return nats::past(config, args.stream.as_deref(), u64::MAX, stored)
            .map_err(|why| (format!("{why}; --file reads events from files"), Exit::Failed));
    }
    let folder = &config.general.data_dir;
    let history = History::open(folder)
        .map_err(|error| (format!("{error}; --file reads events from files"), Exit::Failed))?;
    let name = format!("the log of {}", folder.display());
    if history.is_empty() {
        return Err((format!("{name} holds no event"), Exit::Refused));
    }
    Ok((Box::new(history), name))
}
