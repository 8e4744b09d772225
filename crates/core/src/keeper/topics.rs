//! The board's topics, made from the keeper's state: final windows, and after them what
//! is not final yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::funnels::{MetricNumbers, has_own_topic};
use super::metric_topic::{about, metric_topic, note};
use super::warming::Since;
use super::{BOARD_ALERTS, Keeper};
use crate::at_risk::{AtRisk, By};
use crate::board::{Log, Topic, TopicAbout, TopicState};
use crate::condition::Condition;
use crate::fault::FaultView;
use crate::metric::shown::Shown;
use crate::metric::{Facts, Metric};
use crate::pattern::{PatternSpec, PatternTally, Seeks};
use crate::time::{BEGINNING, END_OF_TIME, EpochMs, SpanMs};

/// Topics of our own; no metric and no rule may have one of these names.
pub const OWN_TOPICS: &[&str] = &[KPI, PIPELINE, ALERTS, INCIDENTS, AT_RISK, PATTERNS, NUDGES];

const KPI: &str = "kpi";
const PIPELINE: &str = "pipeline";
const ALERTS: &str = "alerts";
const INCIDENTS: &str = "incidents";
const NUDGES: &str = "nudges";
const PATTERNS: &str = "patterns";
/// Followed, it has lists that somebody must look for ([`PipelineView::at_risk`]).
pub const AT_RISK: &str = "at_risk";

/// Most lines of unusable attributes on the board.
const FAULTS_SHOWN_MAX: usize = 50;

/// How one source stands, for the `pipeline` topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// `starting`, `reading`, `caught up`, `waiting for credits`, `away`, `ended`.
    pub state: &'static str,
    /// Why it is away, else empty.
    pub reason: String,
    /// Position of the last item read.
    pub position: u64,
    /// Items behind it that were not read.
    pub lag: u64,
    /// How long ago the last item read had arrived there, while there is a lag.
    pub behind_ms: i64,
}

/// A condition that stands, for the `pipeline` topic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConditionView {
    /// Which.
    pub name: Condition,
    /// What is the matter, a sentence or two, and of which source or output.
    pub says: String,
}

fn live_or<S: serde::Serializer>(
    state: &Option<Condition>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.map_or("live", Condition::name))
}

/// Where a notice leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NoticeLink {
    /// A path of this server, without a slash before it.
    pub href: &'static str,
    /// What is there.
    pub says: &'static str,
}

/// What only the shells know, for the `pipeline` topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PipelineView {
    /// Why the numbers are old: a condition's name; or `live`.
    #[serde(serialize_with = "live_or")]
    pub state: Option<Condition>,
    /// `serve`, `demo`, `replay`, `embedded`.
    pub mode: &'static str,
    /// A sentence for people, may be empty.
    pub notice: String,
    /// Where it leads, if anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice_link: Option<NoticeLink>,
    /// What stands that somebody should know of.
    pub conditions: Vec<ConditionView>,
    /// Items in the sources that were not read yet.
    pub lag_events: u64,
    /// The age of what is read, of the source that is behind most.
    pub lag_ms: i64,
    /// Seconds until the lag is gone if it goes on like this; `None` while it grows.
    pub catch_up_s: Option<f64>,
    /// Each source.
    pub sources: Vec<SourceView>,
    /// Events that may still be read before a commit.
    pub credits_free: u64,
    /// All credits.
    pub credits_total: u64,
    /// Events read and not committed.
    pub in_flight: u64,
    /// Number of the last durable commit.
    pub epoch: u64,
    /// How long it took to write.
    pub commit_ms: i64,
    /// Wall clock when it was durable; 0 before the first.
    pub committed_at: EpochMs,
    /// Event identities remembered.
    pub dedup_ids: u64,
    /// The bound on them.
    pub dedup_ids_max: u64,
    /// The bound on keys with an open session.
    pub sessions_max: u64,
    /// About how many bytes open sessions take.
    pub session_bytes: u64,
    /// The bound on them.
    pub session_bytes_max: u64,
    /// Keys whose closed sessions are remembered.
    pub closed_sessions: u64,
    /// The bound on them.
    pub closed_sessions_max: u64,
    /// Dead letters that left to keep their bound.
    pub dead_letters_dropped: u64,
    /// Alerts delivered to the alert log.
    pub alerts_delivered: u64,
    /// Websocket clients.
    pub clients: u64,
    /// Those that do not keep up.
    pub clients_lagging: u64,
    /// Restarts from the last commit since the process started.
    pub restarts: u64,
    /// Session gap.
    pub gap_ms: SpanMs,
    /// Allowed lateness.
    pub lateness_ms: SpanMs,
    /// Wall clock, to tell the watermark's lag.
    pub wall: EpochMs,
    /// What was seen last of the sessions at risk, while somebody follows it.
    #[serde(skip)]
    pub at_risk: Option<Arc<AtRisk>>,
    /// Likewise of each kind of its own, by name.
    #[serde(skip)]
    pub kinds_at_risk: Option<Arc<BTreeMap<String, Arc<AtRisk>>>>,
}

impl Keeper {
    /// All topics at a watermark.
    pub fn topics(&self, watermark: EpochMs, view: &PipelineView) -> BTreeMap<String, Arc<Topic>> {
        let mut topics = BTreeMap::new();
        let mut kpi = self.built_in_kpi();
        let mut of_funnels = MetricNumbers::new();
        for (index, metric) in self.engine.metrics().iter().enumerate() {
            let state = self.engine.state(index);
            let shown = Shown::new(&self.engine, index, self.began(index), watermark);
            let mut topic = match metric.spec.of {
                Facts::LiveSessions => self.live_sessions(metric),
                _ => {
                    let overflows = self.engine.overflow[index] > 0;
                    metric_topic(metric, state, shown.as_ref(), overflows)
                }
            };
            if self.engine.joined[index] > 0 {
                let slides = self.engine.joined[index];
                let text =
                    format!("in {slides} slides of groups close events had a number together");
                note(&mut topic.about, &text);
            }
            if let Some(Since { at, warming }) = self.since(index, watermark) {
                (topic.about.since, topic.about.warming) = (Some(at), warming);
            }
            if self.of_funnels.contains(&index) {
                let now = shown.as_ref().and_then(Shown::now).unwrap_or_default();
                of_funnels.insert(index, now);
            }
            if let Some(now) = shown.and_then(|shown| latest(metric, &shown)) {
                kpi.insert(metric.spec.name.clone(), now);
            }
            topics.insert(metric.spec.name.clone(), Arc::new(topic));
        }
        for rule in &self.watching {
            topics.insert(rule.name.clone(), Arc::new(self.rule_topic(rule)));
        }
        let about = |title: &str| TopicAbout { title: title.into(), ..TopicAbout::default() };
        let map = |about, state| Arc::new(Topic { about, state: TopicState::Map(state) });
        topics.insert(KPI.into(), map(about("Now"), kpi));
        topics.insert(PIPELINE.into(), map(about("Pipeline"), self.pipeline(watermark, view)));
        let log = Log { capacity: BOARD_ALERTS, items: self.recent_alerts.clone() };
        let alerts = Topic { about: about("Alerts"), state: TopicState::Log(log) };
        topics.insert(ALERTS.into(), Arc::new(alerts));
        topics.insert(INCIDENTS.into(), map(about("Incidents"), self.incidents.topic()));
        if self.nudges.any() {
            topics.insert(NUDGES.into(), map(about("Nudges"), super::nudges::topic(&self.nudges)));
        }
        let at_risk = self.at_risk(view.at_risk.as_deref());
        topics.insert(AT_RISK.into(), map(about("At risk"), at_risk));
        if !self.patterns().all(|(spec, _)| has_own_topic(spec)) {
            topics.insert(PATTERNS.into(), self.patterns_topic());
        }
        topics.extend(self.funnel_topics(&of_funnels));
        topics.extend(self.kind_topics(view.kinds_at_risk.as_deref()));
        topics
    }

    fn built_in_kpi(&self) -> BTreeMap<String, Value> {
        let (totals, gauges) = (&self.state.totals, &self.state.gauges);
        BTreeMap::from([
            ("closed".into(), json!(totals.closed)),
            ("abandoned".into(), json!(totals.abandoned)),
            ("converted".into(), json!(totals.converted)),
            ("abandonment_rate_total".into(), json!(totals.rate())),
            ("live_sessions".into(), json!(gauges.open())),
            ("at_risk".into(), json!(gauges.at_risk)),
            ("value_at_stake".into(), json!(gauges.value.in_units())),
            ("currency".into(), json!(self.rules.currency)),
        ])
    }

    fn at_risk(&self, seen: Option<&AtRisk>) -> BTreeMap<String, Value> {
        let list = |by| seen.map(|seen| seen.shown(by));
        let gauges = &self.state.gauges;
        BTreeMap::from([
            ("sessions".into(), json!(gauges.at_risk)),
            ("value".into(), json!(gauges.value.in_units())),
            ("currency".into(), json!(self.rules.currency)),
            ("by_deadline".into(), json!(list(By::Deadline))),
            ("by_value".into(), json!(list(By::Value))),
        ])
    }

    /// The matches of each pattern and join, which sides found none, and what they may lack.
    fn patterns_topic(&self) -> Arc<Topic> {
        let shown = || self.patterns().filter(|(spec, _)| !has_own_topic(spec));
        let lacks = |(spec, tally): (&PatternSpec, PatternTally)| {
            let lacks = self.lacks((spec, tally));
            (!lacks.is_empty()).then(|| format!("{}: {lacks}", spec.name))
        };
        let note: Vec<String> = shown().filter_map(lacks).collect();
        let counts = shown().flat_map(|(spec, tally)| {
            let row = |what: &str, count: u64| (format!("{}{what}", spec.name), json!(count));
            let alone = [(" left alone", tally.left_alone), (" right alone", tally.right_alone)];
            let is_join = matches!(spec.seeks, Seeks::Join(_));
            let alone = alone.into_iter().filter(move |_| is_join);
            let rows = std::iter::once(("", tally.matches)).chain(alone);
            rows.map(|(what, count)| row(what, count)).collect::<Vec<_>>()
        });
        let about = TopicAbout {
            title: "Patterns and joins".into(),
            window: "matches so far".into(),
            note: note.join("; "),
            ..TopicAbout::default()
        };
        Arc::new(Topic { about, state: TopicState::Map(counts.collect()) })
    }

    fn live_sessions(&self, metric: &Metric) -> Topic {
        let counts: Vec<(String, i64)> = self
            .by_step()
            .filter(worth_a_row)
            .map(|(step, count)| (step.to_owned(), count))
            .collect();
        let mut about = about(metric);
        about.columns = counts.iter().map(|(step, _)| step.clone()).collect();
        about.window = "now".into();
        let state = counts.into_iter().map(|(step, count)| (step, json!(count))).collect();
        Topic { about, state: TopicState::Map(state) }
    }

    fn pipeline(&self, watermark: EpochMs, view: &PipelineView) -> BTreeMap<String, Value> {
        let mut ledger = self.state.ledger;
        ledger.received += view.in_flight;
        ledger.in_flight = view.in_flight;
        let mut map: BTreeMap<String, Value> = match json!(view) {
            Value::Object(fields) => fields.into_iter().collect(),
            _ => BTreeMap::new(),
        };
        map.remove("wall");
        if let Value::Object(fields) = json!(ledger) {
            map.extend(fields);
        }
        let known = watermark > BEGINNING && watermark < END_OF_TIME;
        map.extend([
            ("balanced".into(), json!(ledger.balances())),
            ("watermark".into(), if known { json!(watermark) } else { Value::Null }),
            (
                "watermark_lag_ms".into(),
                if known { json!(view.wall - watermark) } else { Value::Null },
            ),
            ("open_sessions".into(), json!(self.state.gauges.open())),
            ("sessions_refused".into(), json!(self.state.sessions_refused)),
            ("sessions_displaced".into(), json!(self.state.totals.displaced)),
            ("sessions_split".into(), json!(self.state.totals.split)),
            ("sessions_emptied".into(), json!(self.state.totals.emptied)),
            ("guarantee".into(), json!(self.guarantee(watermark, view.dedup_ids_max))),
            ("dead_letters".into(), json!(self.state.dead_letters)),
            ("unusable".into(), json!(self.most_faults())),
            ("alerts_committed".into(), json!(self.state.alerts)),
            (
                "window_late".into(),
                json!(self.window_late().map(|(_, late)| late.some).sum::<u64>()),
            ),
            ("other_groups".into(), self.other_groups()),
            ("late_by_metric".into(), self.late_by_metric()),
        ]);
        map
    }

    /// Facts of each metric whose group is not kept; metrics without any are left out.
    fn other_groups(&self) -> Value {
        let overflow = self.overflow().filter(|(_, facts)| *facts > 0);
        Value::Object(overflow.map(|(name, facts)| (name.to_owned(), json!(facts))).collect())
    }

    /// What is missing from each metric because it came too late; metrics that miss nothing
    /// are left out.
    fn late_by_metric(&self) -> Value {
        let late = self.window_late().filter(|(_, late)| !late.is_empty());
        let late = late.map(|(name, late)| {
            let counts = json!({
                "windows": late.some, "all_windows": late.all, "minutes": late.minute,
            });
            (name.to_owned(), counts)
        });
        Value::Object(late.collect())
    }
}

impl Keeper {
    /// The faults that occurred most, at most [`FAULTS_SHOWN_MAX`]; all of them are in the
    /// exported metrics.
    fn most_faults(&self) -> Vec<FaultView> {
        let mut views = self.faults.views();
        views.sort_by_key(|view| std::cmp::Reverse(view.count));
        views.truncate(FAULTS_SHOWN_MAX);
        views
    }

    /// How often an event counts, in words: whether duplicates are known as long as they
    /// can still count.
    fn guarantee(&self, watermark: EpochMs, ids_max: u64) -> String {
        match self.state.dedup_short_until {
            Some(until) if watermark <= until => format!(
                "degraded: event ids were forgotten early, an event as old as they were is late \
                 (pipeline.dedup_ids_max = {ids_max} is too small for this rate)"
            ),
            _ => "exactly once".into(),
        }
    }
}

/// What a metric with one number is now, as the strip at the top shows it.
fn latest(metric: &Metric, shown: &Shown<'_>) -> Option<Value> {
    let is_scalar = metric.spec.aggregate.shape().is_scalar();
    if !metric.spec.group_by.is_empty() || metric.spec.of == Facts::LiveSessions || !is_scalar {
        return None;
    }
    let value = shown.now()?.iter().next().map(|(_, value)| value);
    Some(json!(value.or_else(|| metric.empty())))
}

/// Sessions without any step are worth a row only when there are some.
fn worth_a_row((step, count): &(&str, i64)) -> bool {
    *step != "none" || *count > 0
}
