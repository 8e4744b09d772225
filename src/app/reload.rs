//! Takes another configuration while the process runs: read, checked, planned, and handed to the
//! pipeline, which goes on by it from its next commit. One at a time.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::tables;
use crate::actors::pipeline::Course;
use crate::actors::reload::{Change, Fill, Plan, Prospect, Refusal, Reload};
use crate::actors::status::Status;
use crate::cli::check::{self, Kept};
use crate::config::{Config, ConfigError, Lookup, show_span};
use crate::domain::condition::Condition;
use crate::domain::event::Schema;
use crate::domain::keeper::{Fate, Outlook};
use crate::domain::metric::{Metric, MetricSpec};
use crate::domain::nudge::{NudgeSettings, Seal};
use crate::domain::pattern::Patterns;
use crate::domain::session::Rules;
use crate::domain::time::SpanMs;
use crate::domain::verdict::Meaning;
use crate::lookup::Read;
use crate::telemetry::happenings::{ReloadRefused, Reloaded, ReloadedTheSame};

/// What a command sets differently, whatever is in the file.
pub type Prepare = Arc<dyn Fn(&mut Config) + Send + Sync>;

/// The way to another configuration. Clones are the same one.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    /// `None` where the configuration is not read again.
    prepare: Option<Prepare>,
    file: Option<PathBuf>,
    in_force: Arc<Mutex<Config>>,
    /// Told anew after each look at the whole configuration.
    lookups: watch::Sender<Vec<Lookup>>,
    changes: mpsc::Sender<Change>,
    /// The folder's seed.
    seed: u64,
    schema: Arc<ArcSwap<Schema>>,
    meaning: Arc<ArcSwap<Meaning>>,
    status: Arc<Status>,
    seals: Seals,
}

/// How long a signal waits for a reload that is under way.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Takes the configuration again after each SIGHUP, and when its file has changed and `every` (ms;
/// 0: never) later is still the same. Never ends.
pub(super) async fn listen(reloader: Reloader, every: SpanMs) {
    let (Some(file), Ok(mut hangup)) = (reloader.0.file.clone(), signal(SignalKind::hangup()))
    else {
        // A signal ends the process then, as it always did.
        return std::future::pending().await;
    };
    let mut seen = look(&file).await;
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = changes(&file, every, &seen) => {}
        }
        // Before it is read: what is written meanwhile is seen as another change.
        seen = look(&file).await;
        while let Err(Refusal::UnderWay) = reloader.again(false).await {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

/// What tells one version of a file from another: its place, its length, when it was written.
type Version = Option<(u64, u64, i64, i64)>;

async fn look(file: &Path) -> Version {
    let file = file.to_owned();
    let found = tokio::task::spawn_blocking(move || std::fs::metadata(file).ok()).await;
    let found = found.ok().flatten()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

/// Resolves when a file is another than the one that was seen, and was not written between two
/// looks.
async fn changes(file: &Path, every: SpanMs, seen: &Version) {
    if every == 0 {
        return std::future::pending().await;
    }
    let mut last = *seen;
    loop {
        tokio::time::sleep(Duration::from_millis(every.unsigned_abs())).await;
        let now = look(file).await;
        if now == last && now != *seen {
            return;
        }
        last = now;
    }
}

/// What is counted by a configuration, and how.
pub(super) fn course(config: &Config, schema: Arc<Schema>, seals: &Seals) -> Course {
    let mut settings = config.pipeline.clone();
    if config.session.identify.is_some() && settings.shards > 1 {
        tracing::info!(
            shards = settings.shards,
            "session.identify is set: all events go through one shard, so that the sessions \
             of two keys can become one at an exact place (pipeline.shards is not used)"
        );
        settings.shards = 1;
    }
    let metrics = Metric::compile_all(&config.metrics, &schema);
    let held_max = settings.pattern_held_max;
    let patterns = Patterns::compile(&config.patterns, &config.time, held_max, &schema);
    Course {
        settings,
        time: config.time,
        policy: config.session.clone(),
        session_settings: config.sessions_meaning(),
        meanings: config.meanings(),
        rules: Arc::new(Rules::compile(&config.session, &config.time, &schema)),
        metrics: Arc::new(metrics),
        patterns: Arc::new(patterns),
        watching: config.rules.clone(),
        desk: config.desk(),
        nudges: nudges(config, schema.seed, seals),
        schema,
    }
}

/// What nudges hash addresses with.
pub(super) type Seals = Vec<Arc<dyn Seal>>;

/// What nudges go by; none where there is nothing to hash addresses with, for then nobody is told.
fn nudges(config: &Config, seed: u64, seals: &Seals) -> NudgeSettings {
    if seals.is_empty() {
        return NudgeSettings::default();
    }
    NudgeSettings { seals: seals.clone(), seed, ..config.nudges() }
}

/// What publishers are told by a configuration.
pub(super) fn meaning(config: &Config, schema: &Arc<Schema>) -> Meaning {
    let Config { metrics, patterns, session, time, .. } = config;
    Meaning::new(Arc::clone(schema), metrics, patterns, session, *time)
}

impl Reloader {
    /// Of a process that runs by `config`, whose pipeline takes changes from the receiver's end.
    pub(super) fn new(
        config: Config,
        prepare: Option<Prepare>,
        changes: mpsc::Sender<Change>,
        (schema, meaning): (Arc<ArcSwap<Schema>>, Arc<ArcSwap<Meaning>>),
        (status, seals): (Arc<Status>, Seals),
    ) -> Self {
        tables::weigh(&config);
        let lookups = watch::Sender::new(config.lookups.clone());
        let seed = schema.load().seed;
        let file = config.file().filter(|_| prepare.is_some()).map(PathBuf::from);
        let in_force = Arc::new(Mutex::new(config));
        Reloader(Arc::new(Inner {
            prepare,
            file,
            in_force,
            lookups,
            changes,
            seed,
            schema,
            meaning,
            status,
            seals,
        }))
    }

    /// The way for those who ask over HTTP.
    pub(super) fn reload(&self) -> Reload {
        let reloader = self.clone();
        Arc::new(move |plan_only| {
            let reloader = reloader.clone();
            Box::pin(async move { reloader.again(plan_only).await })
        })
    }

    /// The configuration that the process runs by; locked while another one is taken.
    pub(super) fn in_force(&self) -> Arc<Mutex<Config>> {
        Arc::clone(&self.0.in_force)
    }

    /// Reads the configuration again and takes it; with `plan_only`, says what that would do.
    /// Goes on when whoever asked does not wait for it.
    ///
    /// # Errors
    /// Why it was not taken: nothing has changed then.
    pub async fn again(&self, plan_only: bool) -> Result<Plan, Refusal> {
        let Some(prepare) = self.0.prepare.clone().filter(|_| self.0.file.is_some()) else {
            return Err(Refusal::NoFile);
        };
        let read = move |was: &Config| {
            let mut config = was.read_again()?;
            prepare(&mut config);
            Ok(config)
        };
        self.run(read, plan_only, false).await
    }

    /// Goes on with other rows of one of its lookups.
    ///
    /// # Errors
    /// As of [`Reloader::again`].
    pub(super) async fn take_table(&self, of: Lookup, read: Read) -> Result<Plan, Refusal> {
        self.run(move |was: &Config| Ok(was.with_table(&of, read)), false, true).await
    }

    /// The lookups of the configuration in force, told anew whenever all of it was read; `None` where
    /// nothing is read again.
    pub(super) fn lookups(&self) -> Option<watch::Receiver<Vec<Lookup>>> {
        self.0.prepare.as_ref().map(|_| self.0.lookups.subscribe())
    }

    /// How the process stands.
    pub(super) fn status(&self) -> &Status {
        &self.0.status
    }

    /// The same for a configuration that somebody made.
    ///
    /// # Errors
    /// As of [`Reloader::again`].
    pub async fn take(&self, config: Config, plan_only: bool) -> Result<Plan, Refusal> {
        self.run(move |_: &Config| Ok(config), plan_only, false).await
    }

    /// The pipeline goes on with what `fill` makes of its last commit, by the configuration that is in
    /// force, unless it is not `still` what was wanted.
    ///
    /// # Errors
    /// Why it goes on as before.
    pub(super) async fn fill(&self, fill: Fill, still: impl Fn() -> bool) -> Result<(), String> {
        let in_force = self.0.in_force.lock().await;
        if !still() {
            return Err("something else was taken meanwhile".into());
        }
        let course = course(&in_force, self.0.schema.load_full(), &self.0.seals);
        let (done, taken) = oneshot::channel();
        let change = Change { course, fill: Some(fill), done };
        self.0.changes.send(change).await.map_err(|_| "the engine has ended")?;
        taken.await.map_err(|_| "the engine stopped or restarted meanwhile")?.map(drop)
    }

    async fn run(
        &self,
        read: impl FnOnce(&Config) -> Result<Config, ConfigError> + Send + 'static,
        plan_only: bool,
        rows_alone: bool,
    ) -> Result<Plan, Refusal> {
        let inner = Arc::clone(&self.0);
        let work = tokio::spawn(async move {
            let Ok(mut in_force) = Arc::clone(&inner.in_force).try_lock_owned() else {
                return Err(Refusal::UnderWay);
            };
            let taken = inner.take(&mut in_force, read, plan_only).await;
            match (plan_only, rows_alone) {
                (true, _) => {}
                (false, true) => tell_of_taken(&taken),
                (false, false) => {
                    inner.tell(&taken);
                    inner.lookups.send_replace(in_force.lookups.clone());
                }
            }
            taken
        });
        work.await.unwrap_or_else(|error| Err(Refusal::Failed(error.to_string())))
    }
}

impl Inner {
    async fn take(
        &self,
        in_force: &mut Config,
        read: impl FnOnce(&Config) -> Result<Config, ConfigError> + Send + 'static,
        plan_only: bool,
    ) -> Result<Plan, Refusal> {
        let was = in_force.clone();
        let planned = tables::detached(move || {
            let next = read(&was).map_err(invalid)?;
            let plan = plan(&was, &next)?;
            if !(plan_only || plan.changes.is_empty()) {
                let unwritten = |error| format!("the tables of lookups cannot be kept: {error}");
                tables::keep(Some(&was), &next).map_err(|e| Refusal::Failed(unwritten(e)))?;
            }
            Ok((next, plan))
        });
        let failed = |error: std::io::Error| Refusal::Failed(error.to_string());
        let (next, mut plan) = planned.await.map_err(failed)??;
        if plan_only || plan.changes.is_empty() {
            return Ok(plan);
        }
        let schema = Arc::new(next.schema(self.seed));
        let (done, taken) = oneshot::channel();
        let change =
            Change { course: course(&next, Arc::clone(&schema), &self.seals), fill: None, done };
        let ended = || Refusal::Failed("the engine has ended".into());
        self.changes.send(change).await.map_err(|_| ended())?;
        let stopped = "the engine stopped or restarted meanwhile: nothing was taken; ask again";
        let taken = taken.await.map_err(|_| Refusal::Failed(stopped.into()))?;
        let refused = |cause| {
            Refusal::Failed(format!(
                "the engine cannot go on by it, and goes on as before: {cause}"
            ))
        };
        plan.taken = Some(taken.map_err(refused)?);
        self.meaning.store(Arc::new(meaning(&next, &schema)));
        self.schema.store(schema);
        tables::weigh(&next);
        *in_force = next;
        Ok(plan)
    }

    /// Says what came of it, and stands by a refusal until a configuration is taken or the same.
    fn tell(&self, taken: &Result<Plan, Refusal>) {
        match taken {
            Ok(Plan { taken: Some(_), .. }) => tell_of_taken(taken),
            Ok(_) => ReloadedTheSame.tell(),
            Err(cause) => ReloadRefused { cause: &cause.to_string() }.tell(),
        }
        let says = taken.as_ref().err().map(|refusal| {
            format!("the configuration was not taken, the one before goes on: {refusal}")
        });
        self.status.stands(Condition::ConfigRefused, says);
    }
}

fn tell_of_taken(taken: &Result<Plan, Refusal>) {
    let Ok(Plan { taken: Some(taken), changes, .. }) = taken else { return };
    let changes: Vec<&str> = changes.iter().map(|change| &*change.key).collect();
    let (epoch, stood_ms) = (taken.epoch, taken.stood_ms);
    Reloaded { epoch, stood_ms, changes: &changes.join(", ") }.tell();
}

fn invalid(error: ConfigError) -> Refusal {
    let problems = match &error {
        ConfigError::Unreadable { .. } => Vec::new(),
        ConfigError::Invalid(problems) => problems
            .iter()
            .map(|problem| {
                let (place, key) = (&problem.place, &problem.key);
                json!({"place": place, "key": key, "value": problem.value, "rule": problem.rule})
            })
            .collect(),
    };
    Refusal::Invalid { text: error.to_string(), problems }
}

/// What `next` would do to a process that runs by `was`.
fn plan(was: &Config, next: &Config) -> Result<Plan, Refusal> {
    let changes = was.changes(next);
    if !changes.needs_restart.is_empty() {
        return Err(Refusal::NeedsRestart(changes.needs_restart));
    }
    let kept = check::outlook(next).map_err(|error| Refusal::Failed(error.to_string()))?;
    let outlook = match kept {
        Kept::Commit { outlook, .. } => outlook,
        Kept::NoFolder | Kept::Nothing => {
            let metrics = next.metrics.iter().map(|metric| format!("metric {}", metric.name));
            let rules = next.rules.iter().map(|rule| format!("rule {}", rule.name));
            metrics.chain(rules).map(|subject| Outlook { subject, fate: Fate::New }).collect()
        }
    };
    let prospect = |of: &Outlook| {
        let mut says = of.ahead();
        let named = |spec: &&MetricSpec| of.subject == format!("metric {}", spec.name);
        let spec = next.metrics.iter().find(named).filter(|spec| spec.backfill > 0);
        if let (Some(spec), Fate::New | Fate::Changed(_)) = (spec, &of.fate) {
            let span = show_span(spec.backfill);
            says += &format!("; windows of the last {span} are then filled from the log");
        }
        Prospect { subject: of.subject.clone(), fate: of.fate(), says }
    };
    Ok(Plan {
        changes: changes.taken,
        loses: outlook.iter().filter(|one| one.loses()).count(),
        outlook: outlook.iter().map(prospect).collect(),
        metric_bytes_max: next.metric_bytes_max(),
        metric_bytes_max_was: was.metric_bytes_max(),
        taken: None,
    })
}
