//! `tidewatch replay`: files through the same engine, then a report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use parking_lot::Mutex;
use serde_json::Value;

use super::builder::{Builder, SourceFactory};
use super::output::{Digests, Targets};
use super::rejections::Rejections;
use super::running::Running;
use super::scratch;
use super::serving::{
    AtEnd, Said, complain, private_folder, run_exit, serve_until, start_exit, stop_signal,
    with_telemetry,
};
use crate::actors::Idle;
use crate::actors::ports::Source;
use crate::cli::Exit;
use crate::cli::args::{Common, ReplayArgs, Speed};
use crate::cli::report::{MetricReport, Report, SessionsReport, TimeSpan, rss_mb};
use crate::clock::SystemClock;
use crate::config::{Config, EventsConfig};
use crate::domain::keeper::ReplayNumbers;
use crate::source::file::{FileSource, Settings as FileSettings, Speed as FileSpeed};
use crate::source::mapping::Mapping;
use crate::source::origin::Origin;
use crate::source::progress::{Bar, Progress};
use crate::web::server;

/// Seed of a replay's hashes: two runs over the same input do the same.
pub(super) const SEED: u64 = 0;
/// Bytes that files may unpack to, in temporary files, where nothing else is said.
const UNPACKED_MAX: u64 = 64 << 30;
/// How often the progress bar is redrawn.
const REDRAW: Duration = Duration::from_millis(200);

/// Runs the command.
pub fn run(mut config: Config, common: &Common, args: &ReplayArgs) -> Exit {
    // Only events move time here: a pause between two files is not silence.
    config.pipeline.idle = Idle::Hold;
    let scratch = match common.data_dir {
        Some(_) => None,
        None => match private_folder("tidewatch-replay-") {
            Ok(folder) => {
                config.general.data_dir = folder.path().to_path_buf();
                // Nothing will start from this folder again but the replay itself.
                config.store.snapshot_delta_bytes = scratch::SNAPSHOT_BYTES;
                Some(folder)
            }
            Err(error) => {
                return complain(&format!("no temporary folder: {error}"), Exit::Failed);
            }
        },
    };
    let targets = Targets {
        sessions: args.sessions_out.clone(),
        windows: args.windows_out.clone(),
        ..Targets::default()
    };
    if !targets.is_empty() {
        // A second life of the pipeline would leave out of the files what the first one
        // has committed.
        config.pipeline.restarts_max = 0;
    }
    let exit = replay(config, common, args, &targets, scratch.is_some());
    drop(scratch);
    exit
}

fn replay(
    config: Config,
    common: &Common,
    args: &ReplayArgs,
    targets: &Targets,
    scratch: bool,
) -> Exit {
    let clock = SystemClock::shared();
    let progress = Arc::new(Progress::default());
    let units = config.metrics.iter().map(|spec| (spec.name.clone(), spec.unit.clone()));
    let found = Found { units: units.collect(), ..Found::default() };
    let source = match source(&config, args, Arc::clone(&progress), Arc::clone(&found.origin)) {
        Ok(source) => source,
        Err(error) => return complain(&error, Exit::Usage),
    };
    // The shipped alias is nobody's mistake when it does not occur.
    let shipped = config.events.aliases == EventsConfig::default().aliases;
    let mut builder =
        Builder::default().clock(Arc::clone(&clock)).face("replay", "").config(config);
    let rejections = Arc::clone(&found.rejections);
    builder = builder.source(source).seed(SEED).scratch(scratch);
    builder = builder.witness(Arc::new(move |unit| rejections.lock().see(unit)));
    if !targets.is_empty() {
        let (opened, list) = (targets.clone(), targets.sessions.is_some());
        builder = builder.output(Box::new(move || opened.open()), list);
    }
    let builder = match with_telemetry(common, builder) {
        Ok(builder) => builder,
        Err(exit) => return exit,
    };
    let (targets, json, strict) = (targets.clone(), args.json, args.strict);
    let (served, hold) = (common.listen.is_some(), args.hold);
    if served && let Err(error) = server::check_address(&builder.web_settings()) {
        return complain(&error, Exit::Usage);
    }
    System::new().block_on(async move {
        let bar = actix::spawn(draw(Arc::clone(&progress)));
        // Opening sorts the files, which blocks.
        let started = tokio::task::spawn_blocking(move || builder.start()).await;
        let running = match started {
            Ok(Ok(running)) => running,
            Ok(Err(error)) => return complain(&error, start_exit(&error)),
            Err(_) => return complain(&"the replay did not start", Exit::Failed),
        };
        let tell = move |numbers: &ReplayNumbers| {
            bar.abort();
            let mut numbers = numbers.clone();
            if shipped {
                numbers.unused_aliases.clear();
            }
            let elapsed = clock.elapsed();
            let exit = tell(&found, &numbers, &targets, json, elapsed);
            exit.unwrap_or_else(|| verdict(&numbers, strict))
        };
        if served { serve(running, hold, json, tell).await } else { alone(running, tell).await }
    })
}

/// What a replay leaves behind besides its numbers.
#[derive(Default)]
struct Found {
    /// Set once the files are open.
    origin: Arc<Mutex<Option<Origin>>>,
    rejections: Arc<Mutex<Rejections>>,
    /// Unit of each metric.
    units: BTreeMap<String, String>,
}

/// How a replay that came to its end has ended.
fn verdict(numbers: &ReplayNumbers, strict: bool) -> Exit {
    let ledger = &numbers.ledger;
    if ledger.applied == 0 {
        return complain(&"nothing was applied", Exit::Refused);
    }
    if strict && ledger.rejected > 0 {
        return complain(
            &format!("{} events were rejected, and --strict was given", ledger.rejected),
            Exit::Refused,
        );
    }
    Exit::Ok
}

/// What is read, once the pipeline asks for it.
fn source(
    config: &Config,
    args: &ReplayArgs,
    progress: Arc<Progress>,
    origin: Arc<Mutex<Option<Origin>>>,
) -> Result<SourceFactory, String> {
    let settings = FileSettings {
        encoding: args.encoding.clone(),
        unpacked_max: args.unpacked_max,
        keep_going: args.keep_going,
        raw_order: args.raw_order,
        speed: match args.speed {
            Speed::Max => FileSpeed::Max,
            Speed::Times(times) => FileSpeed::Factor(times),
        },
        ..file_settings(config, &args.files, args.map.as_deref())?
    };
    Ok(Box::new(move |clock| {
        FileSource::of(&settings, clock, progress)
            .map(|source| {
                *origin.lock() = Some(source.origin());
                Box::new(source) as Box<dyn Source>
            })
            .map_err(|error| error.to_string())
    }))
}

/// How files are read where nothing else is said.
///
/// # Errors
/// When there is no such map, or it is wrong.
pub(super) fn file_settings(
    config: &Config,
    files: &[PathBuf],
    map: Option<&Path>,
) -> Result<FileSettings, String> {
    let mapping = match map {
        None => None,
        Some(path) => {
            let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
            Some(Arc::new(Mapping::parse(&text).map_err(|error| named(&error))?))
        }
    };
    Ok(FileSettings {
        files: files.to_vec(),
        mapping,
        encoding: String::new(),
        unpacked_max: UNPACKED_MAX,
        keep_going: false,
        raw_order: false,
        // The seed places keys on shards; only times are looked up here.
        schema: Arc::new(config.schema(SEED)),
        out_of_orderness: config.time.out_of_orderness,
        speed: FileSpeed::Max,
    })
}

/// Redraws the progress bar, where there is a terminal, until it is aborted.
pub(super) async fn draw(progress: Arc<Progress>) {
    let Some(bar) = Bar::on_terminal(progress) else { return };
    loop {
        bar.refresh();
        actix::clock::sleep(REDRAW).await;
    }
}

/// Without a page: runs to the end, or until a signal.
async fn alone(mut running: Running, tell: impl FnOnce(&ReplayNumbers) -> Exit) -> Exit {
    let ended = tokio::select! {
        ended = running.ended() => ended,
        () = stop_signal() => {
            return match running.shutdown().await {
                Ok(_) => complain(&"stopped before the end of the events", Exit::Failed),
                Err(error) => complain(&error, run_exit(&error)),
            };
        }
    };
    let exit = match ended {
        Ok(numbers) => tell(&numbers),
        Err(error) => return complain(&error, run_exit(&error)),
    };
    match running.shutdown().await {
        Ok(_) => exit,
        Err(error) => complain(&error, run_exit(&error)),
    }
}

/// With a page: until the end, or with `--hold` until a signal.
async fn serve(
    running: Running,
    hold: bool,
    json: bool,
    tell: impl FnOnce(&ReplayNumbers) -> Exit,
) -> Exit {
    let at_end = move |numbers: &ReplayNumbers| {
        let exit = tell(numbers);
        if hold { AtEnd::Stay(exit) } else { AtEnd::Leave(exit) }
    };
    // With --json standard output is one JSON object and nothing else.
    let said = if json { Said::OnStderr } else { Said::OnStdout };
    match serve_until(running, said, stop_signal(), std::future::pending(), at_end).await {
        Ok(exit) | Err(exit) => exit,
    }
}

/// Writes the files and prints the report. An exit code only when that failed.
fn tell(
    found: &Found,
    numbers: &ReplayNumbers,
    targets: &Targets,
    json: bool,
    elapsed_ms: i64,
) -> Option<Exit> {
    let digests = match targets.finish() {
        Ok(digests) => digests,
        Err(error) => return Some(complain(&error, Exit::Failed)),
    };
    let mut report = report(numbers, &digests, elapsed_ms);
    for (name, metric) in &mut report.metrics {
        metric.unit = found.units.get(name).cloned().unwrap_or_default();
    }
    let origin = found.origin.lock().clone();
    (report.rejected, report.rejected_others, report.first_late) =
        found.rejections.lock().report(origin.as_ref());
    if let Some(origin) = &origin {
        report.files = origin.reports().cloned().collect();
        report.time = origin.time().map(|(first, last)| TimeSpan::of(first, last));
    }
    let text = if json { report.json() } else { report.text() };
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // The reader went away (`| head`): nothing is wrong.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Some(Exit::Failed),
        _ => None,
    }
}

fn report(numbers: &ReplayNumbers, digests: &Digests, elapsed_ms: i64) -> Report {
    let elapsed_s = elapsed_ms.max(1) as f64 / 1_000.0;
    let sessions = &numbers.sessions;
    let metrics = numbers.metrics.iter().map(|(name, metric)| {
        let mut totals: BTreeMap<String, Value> = BTreeMap::new();
        if let Some(end) = metric.max_end {
            totals.insert("max_end".into(), end.into());
        }
        if !metric.by_group.is_empty() {
            totals.insert("by_group".into(), serde_json::json!(metric.by_group));
        }
        let left_out = [
            ("window_late", metric.window_late),
            ("window_late_all", metric.window_late_all),
            ("minute_late", metric.minute_late),
            ("other_groups", metric.other_groups),
            ("joined_slides", metric.joined_slides),
            ("groups_left", metric.groups_left),
        ];
        for (name, late) in left_out.into_iter().filter(|(_, late)| *late > 0) {
            totals.insert(name.into(), late.into());
        }
        let metric = MetricReport {
            unit: String::new(),
            windows: Some(metric.windows),
            max: metric.max,
            sum: Some(metric.sum),
            last: metric.last.clone(),
            accuracy: metric.accuracy,
            sha256: digests.windows.get(name).cloned(),
            totals,
        };
        (name.clone(), metric)
    });
    Report {
        ledger: numbers.ledger,
        sessions: SessionsReport {
            closed: sessions.closed,
            with_entry: sessions.with_entry,
            abandoned: sessions.abandoned,
            converted: sessions.converted,
            rate: sessions.rate(),
            open_at_end: sessions.open_at_end,
            abandoned_open_at_end: sessions.abandoned_open_at_end,
            stray_goals: sessions.stray_goals,
            emptied: sessions.emptied,
            identified: sessions.identified,
            split: sessions.split,
            displaced: sessions.displaced,
            sha256: digests.sessions.clone(),
        },
        elapsed_s,
        events_per_s: numbers.ledger.received as f64 / elapsed_s,
        rss_mb: rss_mb().unwrap_or(0.0),
        occurrences: numbers.occurrences,
        incidents: numbers.incidents,
        incidents_over: numbers.incidents_over,
        metrics: metrics.collect(),
        patterns: numbers.patterns.clone(),
        unusable: numbers.unusable.clone(),
        never_seen: numbers.never_seen.clone(),
        unused_aliases: numbers.unused_aliases.clone(),
        ..Report::default()
    }
}
