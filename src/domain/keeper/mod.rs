//! The keeper: the pure half of the committer. It adds up what the shards found since
//! the last barrier, lets time settle it, judges the rules, and says what one commit
//! holds (I1) and what the board shows.
//!
//! A barrier is a place in the log: every shard has handed over everything before it and
//! nothing after it, so the ledger balances exactly at each commit.

mod delta;
mod figures;
mod identity;
mod report;
mod rules;
#[cfg(test)]
mod tests;
mod topics;
#[cfg(test)]
mod window_tests;

pub use delta::{Barrier, EndedSession, Gauges, SessionTotals, ShardDelta};
pub use report::{MetricReport, ReplayNumbers};
pub use topics::{ConditionView, PipelineView, SourceView, window_words};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::{Alert, alert_id};
use super::anomaly::SigmaRule;
use super::board::{LogItem, bound};
use super::commit::{CommitUnit, SectionWriter, Snapshot};
use super::fault::{Faults, Tally, Use, uses};
use super::ledger::Ledger;
use super::metric::engine::{Engine, MetricTotals, Point};
use super::metric::window::{Day, Window};
use super::metric::{LateCounts, Metric, PaneDelta, Place};
use super::session::{Outcome, Rules};
use super::time::{BEGINNING, EpochMs, TimePolicy};

/// Alerts the board carries; older ones are fetched over HTTP.
pub const BOARD_ALERTS: usize = 500;

/// Everything that outlives a batch and does not belong to a shard.
#[derive(Debug)]
pub struct Keeper {
    rules: Arc<Rules>,
    sigma: Vec<SigmaRule>,
    /// The metrics.
    pub engine: Engine,
    state: KeeperState,
    faults: Faults,
    unused_aliases: Vec<String>,
    /// When each metric that came later than the first event could count first.
    began: Vec<Option<EpochMs>>,
    /// Under what name the state of each metric is kept.
    ids: Vec<String>,
    /// State of metrics that are no more, to be forgotten with the next commit.
    dropped: Vec<String>,
    /// What the configuration changed since the last start, for people.
    news: Vec<String>,
    recent_alerts: VecDeque<Arc<LogItem>>,
    /// Final numbers of the last merge, for a report's file.
    pub points: Vec<Point>,
    /// Sessions that ended in the last merge, when they are asked for.
    pub ended: Vec<EndedSession>,
    /// Keep every final number in `points`, not only what the board and the rules need.
    pub list_points: bool,
    /// The last one written.
    identity_floor: EpochMs,
}

/// What is kept whole in every commit: small, self-describing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct KeeperState {
    ledger: Ledger,
    gauges: Gauges,
    totals: SessionTotals,
    first_at: Option<EpochMs>,
    max_at: Option<EpochMs>,
    alerts: u64,
    /// Those of them that say that another one is over.
    alerts_over: u64,
    dead_letters: u64,
    sessions_refused: u64,
    closed_forgotten_early: u64,
    closed_forgotten: Option<EpochMs>,
    forgotten_early: u64,
    dedup_short_until: Option<EpochMs>,
    metrics: BTreeMap<String, MetricKept>,
    rules: BTreeMap<String, rules::RuleKept>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct MetricKept {
    /// The first time that could count, for a metric that came later than the first event.
    began: Option<EpochMs>,
    next: Option<EpochMs>,
    totals: MetricTotals,
    late: LateCounts,
}

impl Keeper {
    /// A keeper that has seen nothing.
    pub fn new(
        metrics: Arc<Vec<Metric>>,
        sigma: Vec<SigmaRule>,
        rules: Arc<Rules>,
        time: &TimePolicy,
    ) -> Self {
        Keeper {
            began: vec![None; metrics.len()],
            ids: metrics.iter().map(identity::metric_id).collect(),
            dropped: Vec::new(),
            news: Vec::new(),
            rules,
            sigma,
            engine: Engine::new(metrics, time.allowed_lateness),
            state: KeeperState::default(),
            faults: Faults::default(),
            unused_aliases: Vec::new(),
            recent_alerts: VecDeque::new(),
            points: Vec::new(),
            ended: Vec::new(),
            list_points: false,
            identity_floor: BEGINNING,
        }
    }

    /// Counts what is of no use to these uses, numbered as the shards number them. Before
    /// [`Keeper::restore`].
    pub fn watch_uses(&mut self, uses: Vec<Use>) {
        self.faults = Faults::new(uses);
    }

    /// Attributes of applied events that were of no use.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Takes up a snapshot. Metrics and rules whose meaning changed begin anew, see
    /// [`Keeper::news`].
    ///
    /// # Errors
    /// When the engine's state cannot be read: the file is damaged.
    pub fn restore(&mut self, snapshot: &mut Snapshot) -> Result<(), String> {
        if !snapshot.engine.is_empty() {
            self.state = serde_json::from_slice(&snapshot.engine).map_err(|e| e.to_string())?;
        }
        self.faults.restore(std::mem::take(&mut snapshot.faults));
        self.recognise();
        for index in 0..self.engine.metrics().len() {
            let metric = self.engine.metrics()[index].clone();
            let id = self.ids[index].clone();
            let Some(kept) = self.state.metrics.remove(&id) else {
                self.began[index] = self.state.max_at;
                continue;
            };
            self.began[index] = kept.began;
            self.engine.totals[index] = kept.totals;
            self.engine.late[index] = kept.late;
            let state = self.engine.state_mut(index);
            let mut put = |place, labels, cell| {
                state.merge(&PaneDelta {
                    metric: index as u16,
                    place,
                    labels: Arc::new(labels),
                    cell,
                });
            };
            for ((pane, enters, labels), cell) in snapshot.panes.remove(&id).unwrap_or_default() {
                put(Place { pane, enters: Some(enters), minute: None }, labels, cell);
            }
            for ((minute, labels), cell) in snapshot.minutes.remove(&id).unwrap_or_default() {
                put(Place { pane: minute, enters: None, minute: Some(minute) }, labels, cell);
            }
            for (end, labels, value) in snapshot.points.remove(&id).unwrap_or_default() {
                let group = state.group(&Arc::new(labels));
                match state.history.back_mut().filter(|window| window.end == end) {
                    Some(window) => window.values.push((group, value)),
                    None => state.history.push_back(Window { end, values: vec![(group, value)] }),
                }
            }
            let day = snapshot.days.remove(&id).map(|(start, totals)| {
                let totals = totals.into_iter();
                let totals = totals.map(|(l, cell)| (state.group(&Arc::new(l)), cell)).collect();
                Day { start, totals }
            });
            state.restore(&metric, kept.next, day);
        }
        Ok(())
    }

    /// Puts the newest alerts of the feed back on the board, oldest first.
    pub fn restore_alerts(&mut self, alerts: Vec<Alert>) {
        alerts.into_iter().for_each(|alert| self.show(&alert));
    }

    /// Events by what became of them.
    pub fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    /// Sessions by how they ended.
    pub fn totals(&self) -> &SessionTotals {
        &self.state.totals
    }

    /// What is open now.
    pub fn gauges(&self) -> &Gauges {
        &self.state.gauges
    }

    /// Position of the newest alert of the feed.
    pub fn alerts(&self) -> u64 {
        self.state.alerts
    }

    /// Events that ended in the dead letters.
    pub fn dead_letters(&self) -> u64 {
        self.state.dead_letters
    }

    /// Events rejected because no further session could be opened.
    pub fn sessions_refused(&self) -> u64 {
        self.state.sessions_refused
    }

    /// Closed sessions that were forgotten before their time.
    pub fn closed_forgotten_early(&self) -> u64 {
        self.state.closed_forgotten_early
    }

    /// Up to where such were forgotten; `BEGINNING` when none was.
    pub fn closed_forgotten(&self) -> EpochMs {
        self.state.closed_forgotten.unwrap_or(BEGINNING)
    }

    /// Event identities that were forgotten before their time.
    pub fn forgotten_early(&self) -> u64 {
        self.state.forgotten_early
    }

    /// Until the watermark is here, an event whose id was forgotten early may come again;
    /// `None` when none was.
    pub fn ids_short_until(&self) -> Option<EpochMs> {
        self.state.dedup_short_until
    }

    /// Facts that came after something they belong to was final, by metric.
    pub fn window_late(&self) -> impl Iterator<Item = (&str, LateCounts)> {
        let names = self.engine.metrics().iter().map(|metric| metric.spec.name.as_str());
        names.zip(self.engine.late.iter().copied())
    }

    /// Open sessions by the name of the step they have reached.
    pub fn by_step(&self) -> impl Iterator<Item = (&str, i64)> {
        let steps = self.rules.steps.iter().enumerate();
        let steps = steps.map(|(i, step)| (step.as_str(), self.state.gauges.by_step[i + 1]));
        std::iter::once(("none", self.state.gauges.by_step[0])).chain(steps)
    }

    /// Greatest event time applied.
    pub fn max_at(&self) -> Option<EpochMs> {
        self.state.max_at
    }

    /// The first time that could have counted in a metric; `None` before the first event.
    pub fn began(&self, metric: usize) -> Option<EpochMs> {
        self.began[metric].or(self.state.first_at)
    }

    /// Adds up one barrier and returns what its commit holds. `epoch` and `wall` of the
    /// unit are the caller's.
    pub fn merge(&mut self, barrier: Barrier, deltas: Vec<ShardDelta>) -> CommitUnit {
        let mut unit = CommitUnit {
            watermark: barrier.watermark,
            positions: barrier.positions,
            dead_letters: barrier.dead_letters,
            ..CommitUnit::default()
        };
        self.state.ledger.add(&barrier.ledger);
        self.state.first_at = self.state.first_at.or(barrier.first_at);
        self.state.max_at = self.state.max_at.max(barrier.max_at);
        let mut news = Tally::new(self.faults.len());
        if let Some(times) = news.0.get_mut(uses::TS) {
            times.add(&barrier.times);
        }
        self.unused_aliases = barrier.unused_aliases;
        self.points.clear();
        self.ended.clear();
        let mut panes: BTreeMap<u16, Vec<PaneDelta>> = BTreeMap::new();
        let identity_floor = deltas.iter().map(|delta| delta.identity_floor).min();
        for mut delta in deltas {
            self.state.ledger.add(&delta.ledger);
            self.state.gauges.add(&delta.gauges);
            self.state.totals.add(&delta.totals);
            self.engine
                .late
                .iter_mut()
                .zip(&delta.late_facts)
                .for_each(|(all, late)| all.add(late));
            news.add(&delta.faults);
            for pane in delta.panes {
                panes.entry(pane.metric).or_default().push(pane);
            }
            self.state.sessions_refused += delta.sessions_refused;
            self.state.closed_forgotten_early += delta.closed_forgotten_early;
            self.state.closed_forgotten = self.state.closed_forgotten.max(delta.closed_forgotten);
            self.state.forgotten_early += delta.forgotten_early;
            self.state.dedup_short_until =
                self.state.dedup_short_until.max(delta.dedup_short_until);
            self.ended.append(&mut delta.ended);
            unit.delta.append(&mut delta.sections);
            unit.late.append(&mut delta.late);
            unit.dead_letters.append(&mut delta.dead_letters);
        }
        // Not worth a commit of its own.
        if let Some(floor) = identity_floor.filter(|_| !unit.delta.is_empty())
            && floor > self.identity_floor
        {
            self.identity_floor = floor;
            unit.delta.push(SectionWriter::identity_floor(floor));
        }
        let changed = self.faults.add(&news);
        if !changed.is_empty() {
            unit.delta.push(SectionWriter::faults(&changed));
        }
        self.state.dead_letters += unit.dead_letters.len() as u64;
        // One order whatever the shards: by time, then key.
        self.ended.sort_by(|a, b| (a.ending.at, &a.key).cmp(&(b.ending.at, &b.key)));
        self.write_panes(panes, &mut unit);
        let (sigma, list) = (&self.sigma, self.list_points);
        let all =
            |metric: &Metric| list || sigma.iter().any(|rule| rule.metric == metric.spec.name);
        self.engine.settle(barrier.watermark, all, &mut self.points, &mut unit.rollups);
        self.write_points(&mut unit);
        self.write_floors(&mut unit);
        let dropped = std::mem::take(&mut self.dropped);
        unit.delta.extend(dropped.iter().map(|id| SectionWriter::metric_dropped(id)));
        self.raise(&mut unit);
        self.write_state(&mut unit);
        unit
    }

    fn write_panes(&mut self, panes: BTreeMap<u16, Vec<PaneDelta>>, unit: &mut CommitUnit) {
        for (metric, deltas) in panes {
            let index = usize::from(metric);
            let mut writer = SectionWriter::panes(&self.ids[index]);
            for delta in deltas {
                if self.engine.merge(&delta) {
                    writer.pane(&delta.place, &delta.labels, &delta.cell);
                    continue;
                }
                // Only a bug could bring this here; said rather than lost.
                let facts = delta.cell.count();
                self.engine.late[index].add(&LateCounts { some: facts, all: facts, minute: 0 });
            }
            unit.delta.push(writer.finish());
        }
    }

    /// New final numbers that the board keeps, and days.
    fn write_points(&mut self, unit: &mut CommitUnit) {
        let mut from = 0;
        while from < self.points.len() {
            let index = self.points[from].metric;
            let len = self.points[from..].iter().take_while(|p| p.metric == index).count();
            let points = &self.points[from..from + len];
            from += len;
            let metric = &self.engine.metrics()[usize::from(index)];
            let state = self.engine.state(usize::from(index));
            let id = self.ids[usize::from(index)].clone();
            let oldest = state.history.front().map_or(EpochMs::MAX, |window| window.end);
            let mut writer = SectionWriter::points(&id);
            points
                .iter()
                .filter(|point| point.end >= oldest)
                .for_each(|point| writer.point(point.end, &point.labels, point.value));
            unit.delta.push(writer.finish());
            unit.delta.push(SectionWriter::point_floor(&id, oldest));
            if let Some(day) = state.day(metric) {
                let mut writer = SectionWriter::day(&id, day.start);
                for (group, cell) in &day.totals {
                    writer.total(state.labels(*group), cell);
                }
                unit.delta.push(writer.finish());
            }
        }
    }

    /// What is read no more, of the metrics that dropped something.
    fn write_floors(&mut self, unit: &mut CommitUnit) {
        for index in 0..self.engine.metrics().len() {
            if !self.engine.state_mut(index).take_dropped() {
                continue;
            }
            let metric = &self.engine.metrics()[index];
            let state = self.engine.state(index);
            let id = self.ids[index].clone();
            unit.delta.push(SectionWriter::pane_floor(&id, state.floor(metric)));
            unit.delta.push(SectionWriter::minute_floor(&id, state.minute_floor()));
        }
    }

    /// Alerts of this barrier, numbered in order.
    fn raise(&mut self, unit: &mut CommitUnit) {
        let abandoned = self.ended.iter().filter(|e| e.ending.outcome == Outcome::Abandoned);
        let mut alerts: Vec<Alert> =
            abandoned.map(|ended| abandonment(ended, &self.rules)).collect();
        alerts.extend(self.judge(unit.watermark));
        for mut alert in alerts {
            self.state.alerts += 1;
            alert.n = self.state.alerts;
            self.state.alerts_over += u64::from(alert.kind == rules::OVER);
            unit.alerts.push(alert);
        }
        let newest = unit.alerts.len().saturating_sub(BOARD_ALERTS);
        for alert in &unit.alerts[newest..] {
            self.show(alert);
        }
    }

    fn show(&mut self, alert: &Alert) {
        let mut body = serde_json::to_value(alert).unwrap_or_default();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("n");
            fields.remove("id");
        }
        // Keys come from events: the board has the beginning of a long one.
        let mut short = bound::item(body.clone());
        if short != body
            && let Some(fields) = short.as_object_mut()
        {
            fields.insert("cut".into(), true.into());
        }
        let body = short;
        self.recent_alerts.push_back(Arc::new(LogItem { n: alert.n, id: alert.id.clone(), body }));
        while self.recent_alerts.len() > BOARD_ALERTS {
            self.recent_alerts.pop_front();
        }
    }

    fn write_state(&mut self, unit: &mut CommitUnit) {
        let metrics = self.engine.metrics().iter().enumerate().map(|(index, _)| {
            let next = self.engine.state(index).next();
            let totals = self.engine.totals[index].clone();
            (
                self.ids[index].clone(),
                MetricKept {
                    began: self.began[index],
                    next,
                    totals,
                    late: self.engine.late[index],
                },
            )
        });
        self.state.metrics = metrics.collect();
        let known: Vec<String> = self.rule_ids();
        self.state.rules.retain(|id, _| known.contains(id));
        let state = serde_json::to_vec(&self.state).unwrap_or_default();
        unit.delta.push(SectionWriter::engine(&state));
    }
}

fn abandonment(ended: &EndedSession, rules: &Rules) -> Alert {
    let ending = &ended.ending;
    let value = ending.value.to_f64();
    Alert {
        n: 0,
        // By the first event and the deadline: final, and different for each session.
        id: alert_id("abandoned", &format!("{}\u{0}{}", ended.key, ending.first), ending.at),
        kind: "abandoned".into(),
        severity: "info".into(),
        at: ending.at,
        subject: ended.key.to_string(),
        title: match ending.value.is_zero() {
            true => "Abandoned".to_owned(),
            false => format!("Abandoned with {value:.2} {} at stake", rules.currency),
        },
        detail: serde_json::json!({
            "first": ending.first,
            "last": ending.last,
            "events": ending.events,
            "entries": ending.entries,
            "value": value,
            "currency": rules.currency,
            "step": rules.step_name(ending.step),
            "segment": ended.segment.as_str(),
            "cut": ending.cut.name(),
        }),
    }
}

/// The watermark of a fresh start.
pub fn initial_watermark() -> EpochMs {
    BEGINNING
}
