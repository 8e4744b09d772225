//! The board's topics, made from the keeper's state: final windows, and after them what
//! is not final yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::rules::{RULE_POINTS, rule_id};
use super::{BOARD_ALERTS, Keeper};
use crate::board::bound::ROWS_MAX;
use crate::board::{Grid, Log, Series, Topic, TopicAbout, TopicState};
use crate::fault::FaultView;
use crate::metric::groups::{OVERFLOW, OVERFLOW_TEXT, group_text};
use crate::metric::shown::{Shown, ShownWindow};
use crate::metric::window::MetricState;
use crate::metric::{CalendarSpan, FactKind, Metric, WindowSpec};
use crate::time::{BEGINNING, END_OF_TIME, EpochMs, SpanMs};

/// Most points of a series on the board; a longer `keep` is thinned by forgetting the oldest.
pub const SERIES_POINTS_MAX: usize = 3_600;
/// Most lines of unusable attributes on the board.
const FAULTS_SHOWN_MAX: usize = 50;
/// Most columns of a series with groups.
const SERIES_COLUMNS_MAX: usize = 20;

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
    /// Its name (`Condition::name`).
    pub name: &'static str,
    /// What is the matter, a sentence or two.
    pub says: String,
}

/// What only the shells know, for the `pipeline` topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PipelineView {
    /// `live`, `catching up`, `replaying`, `disk full`, `source away`.
    pub state: &'static str,
    /// `serve`, `demo`, `replay`, `embedded`.
    pub mode: &'static str,
    /// A sentence for people, may be empty.
    pub notice: String,
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
}

impl Keeper {
    /// All topics at a watermark.
    pub fn topics(&self, watermark: EpochMs, view: &PipelineView) -> BTreeMap<String, Arc<Topic>> {
        let mut topics = BTreeMap::new();
        let mut kpi = self.built_in_kpi();
        for (index, metric) in self.engine.metrics().iter().enumerate() {
            let state = self.engine.state(index);
            let shown = Shown::new(metric, state, self.began(index), watermark);
            let topic = match metric.spec.of {
                FactKind::LiveSessions => self.live_sessions(metric),
                _ => {
                    let overflows = self.engine.overflow[index] > 0;
                    metric_topic(metric, state, shown.as_ref(), overflows)
                }
            };
            if let Some(now) = shown.and_then(|shown| latest(metric, &shown)) {
                kpi.insert(metric.spec.name.clone(), now);
            }
            topics.insert(metric.spec.name.clone(), Arc::new(topic));
        }
        for rule in &self.sigma {
            topics.insert(rule.name.clone(), Arc::new(self.rule_topic(rule)));
        }
        let about = |title: &str| TopicAbout { title: title.into(), ..TopicAbout::default() };
        let map = |about, state| Arc::new(Topic { about, state: TopicState::Map(state) });
        topics.insert("kpi".into(), map(about("Now"), kpi));
        topics.insert("pipeline".into(), map(about("Pipeline"), self.pipeline(watermark, view)));
        let log = Log { capacity: BOARD_ALERTS, items: self.recent_alerts.clone() };
        let alerts = Topic { about: about("Alerts"), state: TopicState::Log(log) };
        topics.insert("alerts".into(), Arc::new(alerts));
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

    fn rule_topic(&self, rule: &crate::anomaly::SigmaRule) -> Topic {
        let kept = self.state.rules.get(&rule_id(rule, self.engine.metrics()));
        let points = kept
            .iter()
            .flat_map(|kept| kept.points.iter())
            .map(|(end, value, mean, limit)| (*end, vec![Some(*value), *mean, *limit]));
        Topic {
            about: TopicAbout {
                title: rule.title.clone(),
                window: format!("{} σ from the mean of {}", rule.k, span_words(rule.over)),
                columns: ["value", "mean", "limit"].map(String::from).into(),
                note: format!("of {}", rule.metric),
                ..TopicAbout::default()
            },
            state: TopicState::Series(Series { capacity: RULE_POINTS, points: points.collect() }),
        }
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

fn about(metric: &Metric) -> TopicAbout {
    TopicAbout {
        title: metric.spec.title.clone(),
        unit: metric.spec.unit.clone(),
        window: window_words(&metric.spec.window),
        columns: match metric.spec.group_by.is_empty() {
            true => vec![metric.spec.name.clone()],
            false => metric.spec.group_by.clone(),
        },
        step_ms: metric.spec.window.step(),
        note: metric.spec.aggregate.accuracy().map_or_else(String::new, |near| near.to_string()),
        overflow: None,
    }
}

/// What a metric without groups is now, as the strip at the top shows it.
fn latest(metric: &Metric, shown: &Shown<'_>) -> Option<Value> {
    if !metric.spec.group_by.is_empty() || metric.spec.of == FactKind::LiveSessions {
        return None;
    }
    let value = shown.now()?.first().map(|(_, value)| *value);
    Some(json!(value.or(metric.spec.aggregate.empty())))
}

/// `overflows`: facts went to the overflow, so that it has a column or row of its own.
fn metric_topic(
    metric: &Metric,
    state: &MetricState,
    shown: Option<&Shown<'_>>,
    overflows: bool,
) -> Topic {
    let grid = metric.grid.tumbles()
        && !metric.spec.group_by.is_empty()
        && metric.spec.aggregate.is_whole();
    let keep = metric.spec.keep;
    let capacity = usize::try_from(keep / metric.spec.window.step()).unwrap_or(1);
    let capacity = capacity.clamp(1, SERIES_POINTS_MAX);
    // A grid fills while its second runs; a line shows whole windows only.
    let windows = shown.map_or_else(Vec::new, |shown| match grid {
        true => shown.all(keep, capacity),
        false => shown.whole(keep, capacity),
    });
    let mut about = about(metric);
    let state = match grid {
        true => TopicState::Grid(grid_of(state, &windows, capacity, overflows, &mut about)),
        false => {
            let series = series_of(metric, state, &windows, capacity, overflows, &mut about);
            TopicState::Series(series)
        }
    };
    Topic { about, state }
}

fn series_of(
    metric: &Metric,
    state: &MetricState,
    windows: &[ShownWindow<'_>],
    capacity: usize,
    overflows: bool,
    about: &mut TopicAbout,
) -> Series {
    let (mut columns, mut kept) = (1, 1);
    if !metric.spec.group_by.is_empty() {
        let groups = state.groups.all();
        about.columns =
            groups.iter().take(SERIES_COLUMNS_MAX).map(|labels| group_text(labels)).collect();
        kept = about.columns.len();
        if groups.len() > kept {
            about.note =
                with_note(&about.note, &format!("the first {kept} of {} groups", groups.len()));
        }
        if overflows {
            about.overflow = Some(kept);
            about.columns.push(OVERFLOW_TEXT.into());
        }
        columns = about.columns.len();
    }
    let column = |group: u32| match group {
        OVERFLOW => Some(kept),
        group => Some(group as usize).filter(|group| *group < kept),
    };
    let none = metric.spec.aggregate.empty();
    let point = |window: &ShownWindow<'_>| {
        let mut values = vec![none; columns];
        for (group, value) in window.values {
            if let Some(slot) = column(*group).and_then(|column| values.get_mut(column)) {
                *slot = Some(*value);
            }
        }
        (window.end, values)
    };
    Series { capacity, points: windows.iter().map(point).collect() }
}

fn grid_of(
    state: &MetricState,
    windows: &[ShownWindow<'_>],
    capacity: usize,
    overflows: bool,
    about: &mut TopicAbout,
) -> Grid {
    // The overflow has the last row, however many groups there are.
    let groups = state.groups.all();
    let room = ROWS_MAX - usize::from(overflows);
    let mut rows: Vec<Vec<String>> =
        groups.iter().take(room).map(|labels| labels.to_vec()).collect();
    let kept = rows.len();
    if groups.len() > kept {
        about.note =
            with_note(&about.note, &format!("the first {kept} of {} groups", groups.len()));
    }
    if overflows {
        about.overflow = Some(kept);
        rows.push(vec![OVERFLOW_TEXT.into(); about.columns.len()]);
    }
    let column = |window: &ShownWindow<'_>| {
        let mut cells = vec![0; rows.len()];
        for (group, value) in window.values {
            let row = match *group {
                OVERFLOW => kept,
                group if (group as usize) < kept => group as usize,
                _ => continue,
            };
            if let Some(cell) = cells.get_mut(row) {
                *cell = *value as u64;
            }
        }
        (window.pane, Arc::new(cells))
    };
    let columns = windows.iter().map(column).collect();
    Grid { capacity, rows: Arc::new(rows), columns }
}

fn with_note(note: &str, more: &str) -> String {
    let sign = if note.is_empty() { "" } else { "; " };
    format!("{note}{sign}{more}")
}

/// Sessions without any step are worth a row only when there are some.
fn worth_a_row((step, count): &(&str, i64)) -> bool {
    *step != "none" || *count > 0
}

/// What window a number covers, in words.
pub fn window_words(window: &WindowSpec) -> String {
    match window {
        WindowSpec::Tumbling { size } => format!("every {}", span_words(*size)),
        WindowSpec::Hopping { size, slide } => {
            format!("{}, every {}", span_words(*size), span_words(*slide))
        }
        WindowSpec::Calendar { span, panes, zone, .. } => {
            let every = match span {
                CalendarSpan::Days(1) => "day".to_owned(),
                CalendarSpan::Days(days) if days % 7 == 0 => plural(days / 7, "week"),
                CalendarSpan::Days(days) => plural(*days, "day"),
                CalendarSpan::Months(months) => plural(*months, "month"),
            };
            match panes {
                1 => format!("every {every}, {zone}"),
                panes => format!("{panes} times every {every}, {zone}"),
            }
        }
        WindowSpec::SinceMidnight { zone, .. } => format!("since midnight, {zone}"),
    }
}

fn plural(num: i64, word: &str) -> String {
    match num {
        1 => word.to_owned(),
        num => format!("{num} {word}s"),
    }
}

fn span_words(span: SpanMs) -> String {
    match span {
        span if span % 3_600_000 == 0 => format!("{} h", span / 3_600_000),
        span if span % 60_000 == 0 => format!("{} min", span / 60_000),
        span if span % 1_000 == 0 => format!("{} s", span / 1_000),
        span => format!("{span} ms"),
    }
}
