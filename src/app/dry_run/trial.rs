//! Several settings over one pass of the events. Settings that differ in a rule alone share a
//! pipeline: its metric is counted once, and every one of them judges its windows. Those with other
//! sessions have a pipeline of their own; all of them are given the same events.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::seen::{Eye, Range, Seen};
use super::tee::tee;
use super::vary::{Setting, Subject};
use crate::actors::Idle;
use crate::actors::pipeline::horizon;
use crate::actors::ports::Source;
use crate::app::builder::Builder;
use crate::app::replay::{SCRATCH_SNAPSHOT_BYTES, SEED};
use crate::app::running::Running;
use crate::app::serving::private_folder;
use crate::config::Config;
use crate::domain::keeper::ReplayNumbers;

/// Most pipelines at once: each has its own sessions, ids and threads.
pub(super) const PIPELINES_MAX: usize = 8;

/// Settings that share a pipeline.
pub(super) struct Trial {
    /// Their places in the list of settings; each is the rule of its place here.
    pub settings: Vec<usize>,
    config: Config,
    rule: String,
}

/// What came of one.
pub(super) struct Tried {
    pub settings: Vec<usize>,
    pub seen: Seen,
    pub numbers: ReplayNumbers,
}

/// Which settings go together.
///
/// # Errors
/// When that takes too many pipelines.
pub(super) fn trials(subject: &Subject, settings: &[Setting]) -> Result<Vec<Trial>, String> {
    let mut trials: Vec<(Config, Trial)> = Vec::new();
    for (place, setting) in settings.iter().enumerate() {
        let Ok(config) = &setting.config else { continue };
        // What is left once the rules are put aside.
        let mut bare = config.clone();
        bare.rules.clear();
        let place_of = trials.iter().position(|(other, _)| *other == bare);
        let trial = match place_of {
            Some(known) => &mut trials[known].1,
            None => {
                let config = alone(subject, config);
                let trial = Trial { settings: Vec::new(), config, rule: String::new() };
                trials.push((bare, trial));
                &mut trials.last_mut().expect("one was put there").1
            }
        };
        if let Subject::Rule(name) = subject {
            let mut rule = config.rules.iter().find(|rule| rule.name == *name).cloned();
            if let Some(rule) = &mut rule {
                // Each is told by its place.
                rule.name = trial.settings.len().to_string();
            }
            trial.config.rules.extend(rule);
            trial.rule.clone_from(name);
        }
        trial.settings.push(place);
    }
    if trials.len() > PIPELINES_MAX {
        return Err(format!(
            "{} ways to tell sessions or time are too many at once, at most {PIPELINES_MAX}",
            trials.len()
        ));
    }
    Ok(trials.into_iter().map(|(_, trial)| trial).collect())
}

/// A configuration for nothing but the subject.
fn alone(subject: &Subject, config: &Config) -> Config {
    let mut alone = config.clone();
    alone.rules.clear();
    let metrics = subject.metrics(config);
    alone.metrics.retain(|spec| metrics.contains(&&*spec.name));
    // Which repeats are known depends on all metrics.
    let known = horizon(&config.pipeline, config.time, &config.session, config.metrics.iter());
    alone.pipeline.dedup_horizon = Some(known);
    // Only events move time.
    alone.pipeline.idle = Idle::Hold;
    alone.pipeline.restarts_max = 0;
    alone.store.snapshot_delta_bytes = SCRATCH_SNAPSHOT_BYTES;
    alone.nats.link = None;
    alone
}

/// A pipeline that runs, in a folder that goes with it.
struct Started {
    settings: Vec<usize>,
    running: Running,
    seen: Arc<Mutex<Seen>>,
    _folder: TempDir,
}

/// Gives all of them the same events.
///
/// # Errors
/// Why one of them could not be started or did not come to its end.
pub(super) async fn run(
    trials: Vec<Trial>,
    source: Box<dyn Source>,
    range: Range,
) -> Result<Vec<Tried>, String> {
    let several = trials.len() > 1;
    let done: Vec<_> = trials.iter().map(|_| Arc::new(AtomicBool::new(false))).collect();
    let sources = tee(source, done.clone()).map_err(|error| error.to_string())?;
    let mut started = Vec::new();
    for ((mut trial, source), done) in trials.into_iter().zip(sources).zip(done) {
        if several {
            trial.config.pipeline.shards = 1;
        }
        started.push(start(trial, source, done, range)?);
    }
    let mut tried = Vec::new();
    for mut one in started {
        let numbers = one.running.ended().await.map_err(|error| error.to_string())?;
        one.running.shutdown().await.map_err(|error| error.to_string())?;
        let nothing = Seen::new(range, "", 0);
        let seen = std::mem::replace(&mut *one.seen.lock(), nothing);
        tried.push(Tried { settings: one.settings, seen, numbers });
    }
    Ok(tried)
}

fn start(
    trial: Trial,
    source: Box<dyn Source>,
    done: Arc<AtomicBool>,
    range: Range,
) -> Result<Started, String> {
    let Trial { settings, mut config, rule } = trial;
    // Of a rule or a metric its numbers are enough.
    let lists = config.metrics.is_empty();
    let folder = private_folder("tidewatch-dry-run-")
        .map_err(|error| format!("no temporary folder: {error}"))?;
    config.general.data_dir = folder.path().to_path_buf();
    let seen = Arc::new(Mutex::new(Seen::new(range, &rule, config.rules.len())));
    let lateness = config.time.allowed_lateness;
    let deadline = config.session.deadline;
    let numbers = config.rules.is_empty() && !config.metrics.is_empty();
    let eye = Eye { seen: Arc::clone(&seen), done, lateness, numbers, deadline };
    let looks = eye.clone();
    let running = Builder::default()
        .face("replay", "")
        .config(config)
        .source(Box::new(move |_| Ok(source)))
        .seed(SEED)
        .scratch(true)
        .witness(Arc::new(move |unit| looks.look(unit)))
        .output(Box::new(move || Ok(Box::new(eye.clone()))), lists)
        .start()
        .map_err(|error| error.to_string())?;
    Ok(Started { settings, running, seen, _folder: folder })
}
