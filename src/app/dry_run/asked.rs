//! Dry runs that the web side asks for: over the log or the stream of the server that is asked, on threads of
//! their own, given up when nobody waits for them any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};

use super::seen::Range;
use super::trial::{self, Trial};
use super::tuning::tuned;
use super::vary::Ground;
use super::{Asked, Failed, LookedBack, dry_run};
use crate::actors::ports::Source;
use crate::app::nats;
use crate::app::reload::Prepare;
use crate::cli::Exit;
use crate::config::{Config, ConfigError, show_span};
use crate::store::log::History;
use crate::web::dry_run::{Answer, DryRuns, Question, Refused};

/// The way to dry runs of a server that runs by `in_force`.
pub(in crate::app) fn dry_runs(in_force: Arc<Mutex<Config>>, prepare: Prepare) -> DryRuns {
    let under_way = Arc::new(AtomicUsize::new(0));
    Arc::new(move |question| {
        let (in_force, prepare) = (Arc::clone(&in_force), Arc::clone(&prepare));
        let under_way = Arc::clone(&under_way);
        Box::pin(async move {
            let config = in_force.lock().await.clone();
            let at_once_max = config.dry_run.at_once_max;
            if at_once_max == 0 {
                let why = "dry runs over HTTP are switched off (dry_run.at_once_max = 0)";
                return Err(Refused::Wrong(why.into()));
            }
            let place = Place::take(under_way, at_once_max).ok_or(Refused::Busy(at_once_max))?;
            let (begun, begins) = oneshot::channel();
            let (answer, answered) = oneshot::channel();
            let work = move || run(question, config, prepare, (begun, answer), place);
            let thread = std::thread::Builder::new().name("tidewatch-dry-run".into());
            thread.spawn(work).map_err(|error| Refused::Failed(error.to_string()))?;
            let gone = |_| Refused::Failed("the dry run's thread ended".into());
            begins.await.map_err(gone)?.map(|()| answered)
        })
    })
}

/// One of the places for dry runs; free again when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(under_way: Arc<AtomicUsize>, most: usize) -> Option<Place> {
        let next = |taken: usize| (taken < most).then_some(taken + 1);
        under_way.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(Place(under_way))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

type Told = (oneshot::Sender<Result<(), Refused>>, oneshot::Sender<Answer>);

/// Checks what is asked and says so, then answers it.
fn run(question: Question, config: Config, prepare: Prepare, (begun, answer): Told, place: Place) {
    let mut begun = Some(begun);
    let mut answer = answer;
    let mut begins = |said: Result<(), Refused>| {
        if let Some(begun) = begun.take() {
            // Who asked may have gone.
            let _ = begun.send(said);
        }
    };
    let past = |trials, range| {
        let past = past(&config, question.stream.as_deref(), range)?;
        begins(Ok(()));
        look_back(&config, past, &mut answer, trials, range)
    };
    let found = ground(&question, &config, &prepare).and_then(|ground| {
        let asked = Asked {
            name: name(&question, &ground.config)?,
            vary: question.vary.clone(),
            from: question.from.clone(),
            to: question.to.clone(),
        };
        let found = match &question.at_most {
            None => dry_run(&ground, &asked, past).map(|report| report.json()),
            Some(at_most) => at_most
                .parse()
                .map_err(|why| (format!("at_most: {why}"), Exit::Usage))
                .and_then(|at_most| tuned(&ground, &asked, at_most, past))
                .map(|tuned| tuned.json()),
        };
        found.map_err(|(why, exit)| match exit {
            // The parameters are called as the flags of the command.
            Exit::Usage => Refused::Wrong(why.replace("--", "")),
            _ => Refused::Failed(why),
        })
    });
    drop(place);
    match found {
        Ok(text) => drop(answer.send(Ok(text))),
        Err(refused) => {
            let said = refused.to_string();
            begins(Err(refused));
            // Read only where it had begun.
            let _ = answer.send(Err(said));
        }
    }
}

/// What is in force, with the tables that were posted.
fn ground(question: &Question, config: &Config, prepare: &Prepare) -> Result<Ground, Refused> {
    let mut config = match question.tables.trim() {
        "" => config.clone(),
        _ => {
            let mut with = config
                .with_tables("the body", &question.tables)
                .map_err(|error: ConfigError| Refused::Wrong(error.to_string()))?;
            prepare(&mut with);
            with
        }
    };
    // Beside those that serve.
    config.pipeline.shards = 1;
    Ok(Ground { config, prepare: Arc::clone(prepare) })
}

/// What is asked about: by its name, or the only thing that was posted.
fn name(question: &Question, with: &Config) -> Result<String, Refused> {
    if let Some(name) = &question.name {
        return Ok(name.clone());
    }
    let posted = Config::names_of_tables(&question.tables);
    let rules: Vec<&String> =
        posted.iter().filter(|name| with.rules.iter().any(|rule| rule.name == **name)).collect();
    match (&*posted, &*rules) {
        // A rule may come with its metric.
        ([name], _) => Ok(name.clone()),
        (_, [name]) => Ok((*name).clone()),
        _ => Err(Refused::Wrong(
            "name is missing: the rule, metric or pattern that is meant, or \"abandoned\"".into(),
        )),
    }
}

/// The newest events of the log or of the stream, and what they are called.
fn past(
    config: &Config,
    stream: Option<&str>,
    range: Range,
) -> Result<(Box<dyn Source>, String), Failed> {
    let bounds = &config.dry_run;
    if config.nats.link.is_some() {
        let stored = range.from.saturating_sub(bounds.lead);
        return nats::past(config, stream, bounds.events_max, stored)
            .map_err(|why| (why, Exit::Failed));
    }
    let mut history = History::open(&config.general.data_dir)
        .map_err(|error| (error.to_string(), Exit::Failed))?;
    if history.is_empty() {
        return Err(("the log holds no event".into(), Exit::Failed));
    }
    let all = history.len();
    history.skip_to_newest(bounds.events_max);
    let name = match all - history.len() {
        0 => "the log".to_owned(),
        more => format!(
            "the newest {} events of the log, without {more} older ones \
             (dry_run.events_max)",
            history.len()
        ),
    };
    Ok((Box::new(history), name))
}

fn look_back(
    config: &Config,
    (source, name): (Box<dyn Source>, String),
    answer: &mut oneshot::Sender<Answer>,
    trials: Vec<Trial>,
    range: Range,
) -> LookedBack {
    let bounds = &config.dry_run;
    let after = Duration::from_millis(bounds.timeout.unsigned_abs());
    let stop = async {
        tokio::select! {
            () = answer.closed() => "nobody waits for it any more".to_owned(),
            () = tokio::time::sleep(after) => format!(
                "given up after {} (dry_run.timeout): ask for fewer events with from, or for fewer \
                 settings",
                show_span(bounds.timeout)
            ),
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| (error.to_string(), Exit::Failed))?;
    let tried = runtime.block_on(trial::run(trials, source, range, stop));
    Ok((tried.map_err(|why| (why, Exit::Failed))?, name))
}
