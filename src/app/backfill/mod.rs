//! Fills new metrics from the kept log (`backfill`): a pipeline beside the one that serves counts
//! them over the log, up to where that one has come; one commit puts what it has counted in place of
//! what there is, and they go on from there. Live events go first. Until then, and when something
//! goes wrong, the metrics count from where they came.

mod beside;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use self::beside::Beside;
use super::reload::Reloader;
use super::running::Running;
use super::scratch;
use crate::actors::flow::Flow;
use crate::actors::pipeline::horizon;
use crate::actors::ports::StoreError;
use crate::actors::reload::{Fill, FillAt, Wanted};
use crate::actors::status::Status;
use crate::config::{Config, names_type};
use crate::domain::condition::Condition;
use crate::domain::event::time_text;
use crate::domain::metric::{Facts, MetricSpec};
use crate::domain::pattern::{PatternSpec, Seeks};
use crate::domain::time::{EpochMs, SpanMs};
use crate::store::log::History;

/// Behind by no more events than this a pipeline is as good as there.
const NEAR: u64 = 5_000;
/// How long nothing is tried after a failure: the first time, and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(600)];

/// What fills the metrics of a pipeline that serves.
pub(super) struct Backfill {
    reloader: Reloader,
    flow: Arc<Flow>,
    status: Arc<Status>,
    wanted: watch::Receiver<Wanted>,
    seed: u64,
}

impl Backfill {
    /// Of a pipeline that says what is `wanted` at the start of each generation.
    pub(super) fn of(running: &Running, wanted: watch::Receiver<Wanted>) -> Self {
        Backfill {
            reloader: running.reloader.clone(),
            flow: Arc::clone(&running.web.flow),
            status: Arc::clone(&running.web.status),
            wanted,
            seed: running.web.schema.load().seed,
        }
    }

    /// Fills whatever is wanted. Never ends.
    pub(super) async fn run(mut self) {
        let mut pause = PAUSES[0];
        loop {
            let now = self.wanted.borrow_and_update().clone();
            if now.fillings.is_empty() {
                pause = PAUSES[0];
                self.says(None);
                if self.wanted.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let mut changes = self.wanted.clone();
            let counted = tokio::select! {
                counted = self.count(&now) => counted,
                // Another configuration, or the same one from another commit: begin again.
                _ = changes.changed() => continue,
            };
            let done = match counted {
                Ok(counted) => self.hand_over(counted, &now).await,
                Err(why) => Err(why),
            };
            if let Err(why) = done {
                tracing::warn!(cause = why, "metrics were not filled from the log");
                self.says(Some(format!("{why}; it is tried again")));
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES[1]);
            }
        }
    }

    fn says(&self, says: Option<String>) {
        self.status.stands(Condition::Backfilling, says);
    }

    /// Counts them up to about where the one that serves has come.
    async fn count(&self, wanted: &Wanted) -> Result<(Beside, Option<EpochMs>), String> {
        let config = self.reloader.in_force().lock().await.clone();
        let names: Vec<&str> = wanted.fillings.iter().map(|one| &*one.name).collect();
        let specs = config.metrics.iter().filter(|spec| names.contains(&&*spec.name));
        // The longest of all; `None` is longer than any.
        let back = specs.map(|spec| back(&config, spec)).reduce(|a, b| Some(a?.max(b?))).flatten();
        let cut = back.map(|back| wanted.watermark.saturating_sub(back));
        let folder = config.general.data_dir.clone();
        let open = move || {
            let mut history = History::open(&folder)?;
            let before = history.begin_at(cut)?;
            Ok((history, before))
        };
        let opened = tokio::task::spawn_blocking(open).await.map_err(|error| error.to_string())?;
        let (history, before) = opened.map_err(|error: StoreError| error.to_string())?;
        let from = history.next_position();
        // What came before had happened by then.
        let began = before.map(|at| at.saturating_add(config.time.max_future));
        let needed = scratch::needed(&config, names.clone());
        let mut beside = Beside::start(&config, &needed, history, self.seed)?;
        loop {
            let (read, lag) = {
                let sources = self.flow.sources.lock();
                sources.first().map_or((0, 0), |one| (one.position, one.lag))
            };
            let live = lag < NEAR;
            if live {
                beside.may_read(read);
            }
            let (at, all) = (beside.position() + 1 - from, (read + 1).saturating_sub(from));
            if live && all.saturating_sub(at) < NEAR {
                return Ok((beside, began));
            }
            let waits = if live { "" } else { ", and waits for events that come in" };
            let names = names.join(", ");
            self.says(Some(format!(
                "{at} of {all} events of the log are counted for {names}{waits}"
            )));
            beside.goes_on().await?;
        }
    }

    /// The one that serves goes on with what was counted.
    async fn hand_over(
        &self,
        (beside, began): (Beside, Option<EpochMs>),
        wanted: &Wanted,
    ) -> Result<(), String> {
        let fillings = wanted.fillings.clone();
        let fill: Fill = Box::new(move |at: FillAt| {
            Box::pin(async move {
                let mut counted = beside.end_at(at).await?;
                let sections = fillings.iter().map(|one| one.sections(&mut counted, began));
                let sections = sections.collect::<Result<Vec<_>, _>>()?;
                Ok(sections.into_iter().flatten().collect())
            })
        });
        let still = || !self.wanted.has_changed().unwrap_or(true);
        self.reloader.fill(fill, still).await?;
        let names: Vec<&str> = wanted.fillings.iter().map(|one| &*one.name).collect();
        let since = began.map_or_else(|| "its beginning".into(), time_text::date);
        tracing::info!(metrics = names.join(", "), since, "filled from the log");
        Ok(())
    }
}

/// How far back events must be known, so that a metric is whole for as long as it asks; `None`: as far
/// as there are any, for a session or an endless total may have begun at any time.
fn back(config: &Config, spec: &MetricSpec) -> Option<SpanMs> {
    let time = &config.time;
    let within = |pattern: &PatternSpec| match &pattern.seeks {
        Seeks::Sequence(sequence) => Some(sequence.within),
        Seeks::Join(join) => Some(join.before + join.within),
        Seeks::Funnel(_) | Seeks::Sessions(_) => None,
    };
    let counted = |pattern: &&PatternSpec| names_type(spec, &pattern.name);
    let patterns = config.patterns.iter().filter(counted).map(within);
    let patterns = patterns.reduce(|a, b| Some(a?.max(b?))).unwrap_or(Some(0))?;
    let window = spec.window.longest() + spec.window.step();
    let repeats = horizon(&config.pipeline, *time, &config.session, config.metrics.iter());
    let late = time.out_of_orderness + time.allowed_lateness + time.max_future;
    (spec.of == Facts::Events && !spec.window.is_endless())
        .then(|| spec.backfill + window + patterns + repeats + late)
}
