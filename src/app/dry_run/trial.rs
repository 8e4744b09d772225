//! Several settings over one pass of the events. Settings that differ in a rule alone share a
//! pipeline: its metric is counted once, and every one of them judges its windows. Those with other
//! sessions have a pipeline of their own; all of them are given the same events.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::seen::{Eye, Range, Seen};
use super::tee::{Tee, tee};
use super::vary::{Setting, Subject};
use crate::actors::Idle;
use crate::actors::ports::Source;
use crate::app::builder::Builder;
use crate::app::replay::SEED;
use crate::app::running::Running;
use crate::app::scratch;
use crate::app::serving::private_folder;
use crate::config::{Config, DryRun};
use crate::domain::anomaly::Rule;
use crate::domain::keeper::ReplayNumbers;
use crate::domain::pattern::PatternSpec;

/// Longest wait for the source to be left.
const PATIENCE: Duration = Duration::from_secs(3);

/// Settings that share a pipeline.
pub(super) struct Trial {
    settings: Vec<Place>,
    config: Config,
    /// The rule, or the title of the pattern.
    subject: String,
}

/// Where a setting stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// In the list of settings.
    pub setting: usize,
    /// Among the rules or patterns of its pipeline.
    pub tried: usize,
}

/// What came of one.
pub(super) struct Tried {
    pub settings: Vec<Place>,
    pub seen: Seen,
    pub numbers: ReplayNumbers,
}

/// Which settings go together.
///
/// # Errors
/// When that takes too many pipelines.
pub(super) fn trials(
    subject: &Subject,
    settings: &[Setting],
    pipelines_max: usize,
) -> Result<Vec<Trial>, String> {
    let mut trials: Vec<(Config, Trial)> = Vec::new();
    for (place, setting) in settings.iter().enumerate() {
        let Ok(config) = &setting.config else { continue };
        // What is left once that is put aside of which a pipeline takes several.
        let mut bare = config.clone();
        bare.rules.clear();
        if let Subject::Pattern(name) = subject {
            bare.patterns.retain(|pattern| pattern.name != *name);
        }
        let place_of = trials.iter().position(|(other, _)| *other == bare);
        let trial = match place_of {
            Some(known) => &mut trials[known].1,
            None => {
                let config = alone(subject, config);
                let trial = Trial { settings: Vec::new(), config, subject: String::new() };
                trials.push((bare, trial));
                &mut trials.last_mut().expect("one was put there").1
            }
        };
        let tried = trial.takes(subject, config);
        trial.settings.push(Place { setting: place, tried });
    }
    if trials.len() > pipelines_max {
        return Err(format!(
            "{} ways to tell sessions or time are too many at once, at most {pipelines_max} \
             (dry_run.pipelines_max)",
            trials.len()
        ));
    }
    Ok(trials.into_iter().map(|(_, trial)| trial).collect())
}

impl Trial {
    /// Adds the rule or pattern of a setting. Each is told by its place among them, which is said.
    fn takes(&mut self, subject: &Subject, config: &Config) -> usize {
        match subject {
            Subject::Rule(name) => {
                let place = self.config.rules.len();
                let rule = config.rules.iter().find(|rule| rule.name == *name).cloned();
                self.config.rules.extend(rule.map(|rule| Rule { name: place.to_string(), ..rule }));
                self.subject.clone_from(name);
                place
            }
            Subject::Pattern(name) => {
                let Some(pattern) = config.patterns.iter().find(|one| one.name == *name) else {
                    return 0;
                };
                self.subject.clone_from(&pattern.title);
                let known = &mut self.config.patterns;
                // Two that are the same are counted once.
                let same = |one: &PatternSpec| {
                    let (title, alert) = (pattern.title.clone(), pattern.alert.clone());
                    PatternSpec { title, alert, ..one.clone() } == *pattern
                };
                known.iter().position(same).unwrap_or_else(|| {
                    let (title, alert) = (known.len().to_string(), Some("info".to_owned()));
                    known.push(PatternSpec { title, alert, ..pattern.clone() });
                    known.len() - 1
                })
            }
            Subject::Metric(_) | Subject::Abandoned => 0,
        }
    }
}

/// A configuration for nothing but the subject.
fn alone(subject: &Subject, config: &Config) -> Config {
    let mut alone = scratch::only(config, &subject.metrics(config));
    // Only events move time.
    alone.pipeline.idle = Idle::Hold;
    alone
}

/// A pipeline that runs, in a folder that goes with it.
struct Started {
    settings: Vec<Place>,
    running: Running,
    seen: Arc<Mutex<Seen>>,
    _folder: TempDir,
}

/// Gives all of them the same events; gives up when `stop` says why. All of them have ended then.
///
/// # Errors
/// Why one of them could not be started or did not come to its end.
pub(super) async fn run(
    trials: Vec<Trial>,
    source: Box<dyn Source>,
    range: Range,
    stop: impl Future<Output = String>,
) -> Result<Vec<Tried>, String> {
    let several = trials.len() > 1;
    let done: Vec<_> = trials.iter().map(|_| Arc::new(AtomicBool::new(false))).collect();
    let Tee { shares, left } = tee(source, done.clone()).map_err(|error| error.to_string())?;
    let mut started = Vec::new();
    for ((mut trial, source), done) in trials.into_iter().zip(shares).zip(done) {
        if several {
            trial.config.pipeline.shards = 1;
        }
        match start(trial, source, done, range) {
            Ok(one) => started.push(one),
            Err(why) => {
                let _ = end(started).await;
                return Err(why);
            }
        }
    }
    let all = async {
        for one in &mut started {
            one.running.ended().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = all => ended,
        why = stop => Err(why),
    };
    let tried = end(started).await;
    // Nothing of it is left behind at its server.
    let _ = tokio::time::timeout(PATIENCE, left).await;
    ended.and(tried)
}

/// Ends all of them, and says what they found.
async fn end(started: Vec<Started>) -> Result<Vec<Tried>, String> {
    started.iter().for_each(|one| one.running.stop());
    let mut tried = Vec::new();
    for one in started {
        let numbers = one.running.shutdown().await.map_err(|error| error.to_string());
        let nothing = Seen::new(Range { from: 0, to: 0 }, &DryRun::default(), "", 0);
        let seen = std::mem::replace(&mut *one.seen.lock(), nothing);
        tried.push(numbers.map(|numbers| Tried { settings: one.settings, seen, numbers }));
    }
    tried.into_iter().collect()
}

fn start(
    trial: Trial,
    source: Box<dyn Source>,
    done: Arc<AtomicBool>,
    range: Range,
) -> Result<Started, String> {
    let Trial { settings, mut config, subject } = trial;
    // Of a rule, a metric or a pattern what it finds is enough.
    let lists = config.metrics.is_empty() && config.patterns.is_empty();
    let folder = private_folder("tidewatch-dry-run-")
        .map_err(|error| format!("no temporary folder: {error}"))?;
    config.general.data_dir = folder.path().to_path_buf();
    let tried = config.rules.len().max(config.patterns.len());
    let seen = Arc::new(Mutex::new(Seen::new(range, &config.dry_run, &subject, tried)));
    let lateness = config.time.allowed_lateness;
    let deadline = config.session.deadline;
    let numbers = config.rules.is_empty() && !config.metrics.is_empty();
    let waits = config.patterns.iter().any(|pattern| pattern.seeks.waits());
    let eye = Eye { seen: Arc::clone(&seen), done, lateness, numbers, deadline, waits };
    let looks = eye.clone();
    let running = Builder::default()
        .face("replay", "")
        .config(config)
        .source(Box::new(move |_| Ok(source)))
        .seed(SEED)
        .aside()
        .scratch(true)
        .witness(Arc::new(move |unit| looks.look(unit)))
        .output(Box::new(move || Ok(Box::new(eye.clone()))), lists)
        .start()
        .map_err(|error| error.to_string())?;
    Ok(Started { settings, running, seen, _folder: folder })
}
