//! `tidewatch dry-run` and `tidewatch tune`: a rule, a metric, a pattern or the carts over events of the past, at several settings
//! at once, through the pipeline that serves. Nothing is kept and nothing leaves.

mod report;
mod seen;
mod tee;
mod trial;
mod tuning;
mod vary;

use std::path::Path;
use std::sync::Arc;

use actix::System;

use self::report::Report;
use self::seen::Range;
use self::trial::{Tried, trials};
use self::vary::{Setting, Subject, settings};
use super::builder::Builder;
use super::replay::{draw, file_settings};
use super::serving::{complain, stop_signal, with_telemetry};
use crate::actors::ports::Source;
use crate::cli::Exit;
use crate::cli::args::{Common, DryRunArgs, HistoryArgs};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::domain::event::time_rule::TimeRule;
use crate::domain::time::{BEGINNING, END_OF_TIME};
use crate::source::file::FileSource;
use crate::source::progress::Progress;
use crate::store::log::History;

/// Why there is no answer.
type Failed = (String, Exit);

pub use self::tuning::tune;

/// Runs the command.
pub fn run(config: Config, common: &Common, args: &DryRunArgs) -> Exit {
    let done = dry_run(&config, common, args);
    finish(done.map(|report| {
        let text = if args.history.json { report.json() } else { report.to_string() };
        let exit = if report.history.ledger.applied == 0 { Exit::Refused } else { Exit::Ok };
        (text, exit)
    }))
}

fn finish(done: Result<(String, Exit), Failed>) -> Exit {
    use std::io::Write;
    match done {
        Ok((text, exit)) => {
            let mut out = std::io::stdout().lock();
            match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::Failed,
                _ => exit,
            }
        }
        Err((why, exit)) => complain(&why, exit),
    }
}

fn dry_run(config: &Config, common: &Common, args: &DryRunArgs) -> Result<Report, Failed> {
    let usage = |why: String| (why, Exit::Usage);
    let subject = Subject::named(config, &args.name).map_err(usage)?;
    let settings = settings(config, &subject, &args.vary).map_err(usage)?;
    let range = range(config, &args.history).map_err(usage)?;
    let (tried, source) = look_back(config, common, &args.history, &subject, &settings, range)?;
    Ok(Report::of(&subject, source, range, &settings, &tried))
}

/// Runs all settings over the past, once, and says what the past is called.
fn look_back(
    config: &Config,
    common: &Common,
    args: &HistoryArgs,
    subject: &Subject,
    settings: &[Setting],
    range: Range,
) -> Result<(Vec<Tried>, String), Failed> {
    let pipelines_max = config.dry_run.pipelines_max;
    let trials = trials(subject, settings, pipelines_max).map_err(|why| (why, Exit::Usage))?;
    // Only what is logged is of use here.
    with_telemetry(common, Builder::default()).map_err(|exit| (String::new(), exit))?;
    let progress = Arc::new(Progress::default());
    let (source, name) = past(config, args, &progress)?;
    let failed = |why: String| (why, Exit::Failed);
    let tried = System::new().block_on(async move {
        let bar = actix::spawn(draw(progress));
        let tried = tokio::select! {
            tried = trial::run(trials, source, range) => tried,
            () = stop_signal() => Err("stopped before the end of the events".into()),
        };
        bar.abort();
        tried
    });
    Ok((tried.map_err(failed)?, name))
}

/// The events of the past, and what they are called.
fn past(
    config: &Config,
    args: &HistoryArgs,
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
    if config.nats.link.is_some() {
        let why = "events come from streams here, and the data folder keeps none of them: give a \
                   file with --file";
        return Err((why.into(), Exit::Usage));
    }
    let folder = &config.general.data_dir;
    let history = History::open(folder)
        .map_err(|error| (format!("{error}; --file reads events from files"), Exit::Failed))?;
    if history.is_empty() {
        let why = format!("the log of {} holds no event", shown(folder));
        return Err((why, Exit::Refused));
    }
    Ok((Box::new(history), format!("the log of {}", shown(folder))))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The time that is asked about.
fn range(config: &Config, args: &HistoryArgs) -> Result<Range, String> {
    let rule = TimeRule::declared("", &config.general.zone)?;
    let time = |flag: &str, text: &Option<String>, open| match text {
        None => Ok(open),
        Some(text) => rule.of_text(text).map(|time| time.at).map_err(|_| {
            format!("{flag} {text}: is not a time such as 2025-11-01 or 2025-11-01T08:00:00Z")
        }),
    };
    let from = time("--from", &args.from, BEGINNING)?;
    let to = time("--to", &args.to, END_OF_TIME)?;
    if from >= to {
        return Err("--from must be before --to".into());
    }
    Ok(Range { from, to })
}
