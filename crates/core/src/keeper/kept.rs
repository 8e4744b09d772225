//! What a commit holds of the keeper and how a restart takes it up: only what changed since
//! the last commit, groups and numbers by their number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Keeper;
use super::identity::Recognised;
use super::outlook::Outlook;
use super::rules::rule_of;
use crate::commit::{CommitUnit, MetricSnapshot, SectionWriter, Snapshot};
use crate::metric::engine::{Absorbed, MetricTotals};
use crate::metric::groups::KeptGroups;
use crate::metric::window::Day;
use crate::metric::{LateCounts, Place};
use crate::time::{EpochMs, SpanMs};

/// The beginning of the names of the metrics' entries.
const METRIC: &str = "metric/";
/// The beginning of the names of the rules' entries.
const RULE: &str = "rule/";

/// The small part of what is kept of a metric. What its windows hold goes by sections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct MetricKept {
    /// The first time that could count, for a metric that came later than the first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<EpochMs>,
    /// For how long before it came it was filled.
    #[serde(skip_serializing_if = "is_default")]
    filled: SpanMs,
    #[serde(skip_serializing_if = "is_default")]
    totals: MetricTotals,
    #[serde(skip_serializing_if = "is_default")]
    late: LateCounts,
    #[serde(skip_serializing_if = "is_default")]
    overflow: u64,
    #[serde(skip_serializing_if = "is_default")]
    joined: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A metric that is to be filled from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filling {
    /// Its name.
    pub name: String,
    /// Under what its state is kept.
    id: String,
    /// For how long before it came.
    span: SpanMs,
}

impl Filling {
    /// What a commit holds that puts what was counted by another pipeline, over the same log up to
    /// the same position and watermark, in place of what is kept of this metric. `counted` is all that
    /// the other one has kept. `began`: what happened up to there may be missing of it; `None` where
    /// it counted from the first event on.
    ///
    /// # Errors
    /// When what it has kept cannot be read.
    pub fn sections(
        &self,
        counted: &mut Snapshot,
        began: Option<EpochMs>,
    ) -> Result<Vec<Vec<u8>>, String> {
        let name = format!("{METRIC}{}#", self.name);
        let entry = counted.entries.iter().find(|(known, _)| known.starts_with(&name));
        let (id, mut kept) = match entry {
            None => (String::new(), MetricKept::default()),
            Some((id, kept)) => {
                let kept = serde_json::from_value(kept.clone()).map_err(|e| e.to_string())?;
                (id[METRIC.len()..].to_owned(), kept)
            }
        };
        (kept.began, kept.filled) = (began, self.span);
        let metric = counted.metrics.remove(&id).unwrap_or_default();
        let mut sections = vec![SectionWriter::metric_dropped(&self.id)];
        metric.encode(&self.id, SECTION_BYTES, &mut sections);
        let kept = serde_json::to_value(kept).map_err(|e| e.to_string())?;
        let entries = BTreeMap::from([(format!("{METRIC}{}", self.id), kept)]);
        sections.push(SectionWriter::entries(&entries));
        Ok(sections)
    }
}

/// About so much stands in one section.
const SECTION_BYTES: usize = 1 << 20;

impl Keeper {
    /// The metrics that came later than the first event and are to be filled for longer than they
    /// were.
    pub fn fillings(&self) -> Vec<Filling> {
        let metrics = self.engine.metrics().iter().enumerate();
        let wanted = metrics.filter(|(index, metric)| {
            self.began[*index].is_some() && metric.spec.backfill > self.filled[*index]
        });
        wanted
            .map(|(index, metric)| Filling {
                name: metric.spec.name.clone(),
                id: self.ids[index].clone(),
                span: metric.spec.backfill,
            })
            .collect()
    }
}

/// What the commits so far hold, as far as the next one must know it.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    entries: BTreeMap<String, Value>,
    /// End of the newest window, by metric.
    windows: Vec<Option<EpochMs>>,
}

impl Keeper {
    /// Takes up a snapshot and the watermark it was made at. Metrics and rules whose
    /// definition changed begin anew.
    ///
    /// # Errors
    /// When the keeper's state cannot be read: the file is damaged.
    pub fn restore(&mut self, snapshot: &mut Snapshot, watermark: EpochMs) -> Result<(), String> {
        let mut entries = std::mem::take(&mut snapshot.entries);
        self.incidents.restore(&mut entries, watermark)?;
        let known = watermark.saturating_sub(self.engine.lateness());
        super::nudges::restore(&mut self.nudges, &mut entries, known)?;
        self.written.entries = entries.clone();
        self.faults.restore(std::mem::take(&mut snapshot.faults));
        let mut metrics = self.take_entries(entries)?;
        for (id, rule) in &mut self.state.rules {
            rule.restore(snapshot.rules.remove(id).unwrap_or_default());
        }
        let found = self.recognise(metrics.keys().cloned().collect());
        self.news = found.outlook.iter().filter_map(Outlook::done).collect();
        self.go_on(found);
        for index in 0..self.engine.metrics().len() {
            let id = self.ids[index].clone();
            let Some(kept) = metrics.remove(&id) else {
                // A formula counts nothing: it is there where its operands are.
                let counts = self.engine.metrics()[index].formula.is_none();
                self.began[index] = self.state.max_at.filter(|_| counts);
                continue;
            };
            let kept: MetricKept = serde_json::from_value(kept).map_err(|e| e.to_string())?;
            (self.began[index], self.filled[index]) = (kept.began, kept.filled);
            self.engine.totals[index] = kept.totals;
            self.engine.late[index] = kept.late;
            self.engine.overflow[index] = kept.overflow;
            self.engine.joined[index] = kept.joined;
            let snapshot = snapshot.metrics.remove(&id).unwrap_or_default();
            self.restore_metric(index, snapshot, watermark)?;
        }
        self.tell_begins();
        self.incidents.pending = self.watched().pending(&self.state.rules);
        Ok(())
    }

    /// What is not recognised is dropped.
    fn go_on(&mut self, found: Recognised) {
        let Recognised { ids, dropped, rules, patterns, .. } = found;
        (self.ids, self.dropped) = (ids, dropped);
        self.state.rules.retain(|id, _| rules.iter().any(|rule| rule == rule_of(id)));
        self.state.patterns.retain(|id, _| patterns.contains(id));
        super::patterns::know(&self.pattern_ids, &mut self.state.patterns);
    }

    /// What a start with this configuration would do to a state, of everything that is kept
    /// or declared. The keeper is of no other use afterwards.
    ///
    /// # Errors
    /// When the state cannot be read: the file is damaged.
    pub fn outlook(mut self, entries: BTreeMap<String, Value>) -> Result<Vec<Outlook>, String> {
        let metrics = self.take_entries(entries)?;
        Ok(self.recognise(metrics.into_keys().collect()).outlook)
    }

    /// Takes up the small state, and hands on that of the metrics by id.
    pub(super) fn take_entries(
        &mut self,
        entries: BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Value>, String> {
        let (mut metrics, mut rules) = (BTreeMap::new(), serde_json::Map::new());
        let mut state = serde_json::Map::new();
        for (name, value) in entries {
            match (name.strip_prefix(METRIC), name.strip_prefix(RULE)) {
                (Some(id), _) => drop(metrics.insert(id.to_owned(), value)),
                (_, Some(id)) => drop(rules.insert(id.to_owned(), value)),
                _ => drop(state.insert(name, value)),
            }
        }
        state.insert("rules".into(), Value::Object(rules));
        self.state = serde_json::from_value(Value::Object(state)).map_err(|e| e.to_string())?;
        Ok(metrics)
    }

    fn restore_metric(
        &mut self,
        index: usize,
        snapshot: MetricSnapshot,
        watermark: EpochMs,
    ) -> Result<(), String> {
        let metric = self.engine.metrics()[index].clone();
        let (zero, total, of_minute) =
            (metric.zero(), metric.total(), metric.spec.aggregate.zero());
        let fits = snapshot.panes.values().all(|cell| zero.takes(cell))
            && snapshot.totals().all(|cell| total.takes(cell))
            && snapshot.minutes.values().all(|cell| of_minute.takes(cell));
        if !fits {
            let name = &metric.spec.name;
            return Err(format!("metric {name}: what is kept is of another aggregate"));
        }
        let settled = self.engine.settled(watermark);
        self.engine.group_totals[index].sums = snapshot.sums;
        self.written.windows[index] = snapshot.windows.back().map(|window| window.end);
        let state = self.engine.state_mut(index);
        state.groups = KeptGroups::restored(snapshot.groups);
        for ((pane, enters, group), cell) in snapshot.panes {
            state.merge(&Place { pane, enters: Some(enters), minute: None }, &[(group, cell)]);
        }
        for ((minute, group), cell) in snapshot.minutes {
            let place = Place { pane: minute, enters: None, minute: Some(minute) };
            state.merge(&place, &[(group, cell)]);
        }
        state.history = snapshot.windows;
        let day = snapshot.day.map(|(start, totals)| Day { start, totals });
        state.restore(&metric, settled, day);
        self.judged_from[index] = state.next();
        Ok(())
    }

    /// What came into the panes at a barrier.
    pub(super) fn write_absorbed(
        &self,
        absorbed: &BTreeMap<usize, Absorbed>,
        unit: &mut CommitUnit,
    ) {
        for (index, cells) in absorbed {
            let id = &self.ids[*index];
            if !cells.is_empty() {
                let mut writer = SectionWriter::panes(id);
                for (place, cells) in cells {
                    cells.iter().for_each(|(group, cell)| writer.pane(place, *group, cell));
                }
                unit.delta.push(writer.finish());
            }
        }
    }

    /// New final windows that the board keeps, what is read no more, and what of it went
    /// into running totals and sums.
    pub(super) fn write_settled(&mut self, unit: &mut CommitUnit) {
        for index in 0..self.engine.metrics().len() {
            let dropped = self.engine.state_mut(index).take_dropped();
            self.write_groups(index, unit);
            let changed = std::mem::take(&mut self.engine.group_totals[index].changed);
            let metric = &self.engine.metrics()[index];
            let state = self.engine.state(index);
            let written = &mut self.written.windows[index];
            let newest = state.history.back().map(|window| window.end);
            if newest == *written && !dropped && changed.is_empty() {
                continue;
            }
            let id = self.ids[index].clone();
            if newest != *written {
                let first = state.history.partition_point(|window| Some(window.end) <= *written);
                let mut before = first.checked_sub(1).map(|before| &state.history[before]);
                let mut writer = SectionWriter::windows(&id);
                for window in state.history.range(first..) {
                    writer.window(window, before.replace(window));
                }
                unit.delta.push(writer.finish());
                let oldest = state.history.front().map_or(EpochMs::MAX, |window| window.end);
                unit.delta.push(SectionWriter::point_floor(&id, oldest));
                *written = newest;
            }
            if dropped {
                match state.run(metric) {
                    Some((start, entered)) => {
                        unit.delta.push(SectionWriter::run(&id, start, entered));
                    }
                    None => {
                        unit.delta.push(SectionWriter::pane_floor(&id, state.floor(metric)));
                    }
                }
                unit.delta.push(SectionWriter::minute_floor(&id, state.minute_floor()));
            }
            if !changed.is_empty() {
                let sums = &self.engine.group_totals[index].sums;
                let mut writer = SectionWriter::sums(&id);
                for group in changed {
                    writer.sum(group, &sums[&group]);
                }
                unit.delta.push(writer.finish());
            }
        }
    }

    fn write_groups(&mut self, index: usize, unit: &mut CommitUnit) {
        let groups = &mut self.engine.state_mut(index).groups;
        let changes = groups.take_changes();
        if !changes.is_empty() {
            let map = groups.map();
            let mut writer = SectionWriter::groups(&self.ids[index], map);
            for (group, change) in changes {
                writer.group(group, change, map.groups.get(&group));
            }
            unit.delta.push(writer.finish());
        }
    }

    /// The small rest.
    pub(super) fn write_state(&mut self, unit: &mut CommitUnit) {
        let known = self.rule_ids();
        self.state.rules.retain(|id, _| known.iter().any(|rule| rule == rule_of(id)));
        self.state.session.clone_from(&self.session);
        self.state.meanings.clone_from(&self.meanings);
        let entries = self.entries();
        let written = std::mem::take(&mut self.written.entries);
        let mut changed: BTreeMap<String, Value> = BTreeMap::new();
        for (name, value) in &entries {
            if written.get(name) != Some(value) {
                changed.insert(name.clone(), value.clone());
            }
        }
        for name in written.into_keys().filter(|name| !entries.contains_key(name)) {
            unit.delta.extend(name.strip_prefix(RULE).map(SectionWriter::rule_dropped));
            changed.insert(name, Value::Null);
        }
        let rules = self.state.rules.iter_mut();
        unit.delta.extend(rules.filter_map(|(id, rule)| rule.write(id)));
        if !changed.is_empty() {
            unit.delta.push(SectionWriter::entries(&changed));
        }
        self.written.entries = entries;
    }

    /// All of it by name. What is `null` is as good as absent.
    fn entries(&self) -> BTreeMap<String, Value> {
        let mut state = match serde_json::to_value(&self.state) {
            Ok(Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let rules = match state.remove("rules") {
            Some(Value::Object(rules)) => rules,
            _ => serde_json::Map::new(),
        };
        let rules = rules.into_iter().map(|(id, rule)| (format!("{RULE}{id}"), rule));
        let metrics = self.engine.metrics().iter().enumerate().map(|(index, _)| {
            let kept = MetricKept {
                began: self.began[index],
                filled: self.filled[index],
                totals: self.engine.totals[index].clone(),
                late: self.engine.late[index],
                overflow: self.engine.overflow[index],
                joined: self.engine.joined[index],
            };
            let kept = serde_json::to_value(kept).unwrap_or_default();
            (format!("{METRIC}{}", self.ids[index]), kept)
        });
        state
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .chain(metrics)
            .chain(rules)
            .collect()
    }

    /// Nothing is written yet, of so many metrics.
    pub(super) fn nothing_written(metrics: usize) -> Written {
        Written { windows: vec![None; metrics], ..Written::default() }
    }
}
