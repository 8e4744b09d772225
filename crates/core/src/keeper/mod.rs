//! The keeper: the pure half of the committer. It adds up what the shards found since
//! the last barrier, lets time settle it, judges the rules, and says what one commit
//! holds (I1) and what the board shows.
//!
//! A barrier is a place in the log: every shard has handed over everything before it and
//! nothing after it, so the ledger balances exactly at each commit.

mod delta;
mod ended;
mod figures;
#[cfg(test)]
mod formula_tests;
mod funnels;
#[cfg(test)]
mod group_tests;
mod identity;
mod incidents;
mod kept;
mod kinds;
mod metric_topic;
mod nudges;
mod outlook;
mod patterns;
mod report;
mod rule_signals;
#[cfg(test)]
mod rule_tests;
mod rule_topic;
mod rules;
#[cfg(test)]
mod tests;
mod topics;
mod warming;
#[cfg(test)]
mod warming_tests;
mod why;
#[cfg(test)]
mod window_tests;
mod words;

pub use delta::{Barrier, Gauges, SessionTotals, ShardDelta};
pub use ended::EndedSession;
pub use incidents::{BOARD_ENDED, Incidents};
pub use kept::Filling;
use kept::Written;
pub use kinds::KIND_PANEL;
pub use outlook::{Edit, Fate, Meanings, Outlook};
pub use report::{MetricReport, ReplayNumbers};
pub use rules::look_back;
use rules::{Begins, Watching};
pub use topics::{AT_RISK, ConditionView, NoticeLink, OWN_TOPICS, PipelineView, SourceView};
pub use words::{span_words, window_words};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::anomaly::Rule;
use super::board::{LogItem, bound};
use super::commit::{CommitUnit, LateEvent, SectionWriter};
use super::fault::{Faults, Tally, Use, uses};
use super::incident::{DeskSettings, Signal};
use super::ledger::Ledger;
use super::metric::engine::{Engine, Point};
use super::metric::{LateCounts, Metric};
use super::nudge::{Goal, NudgeSettings, Nudges};
use super::pattern::{FoundMatch, PatternTally, Patterns};
use super::session::Rules;
use super::time::{BEGINNING, EpochMs, SpanMs, TimePolicy};

/// Alerts the board carries; older ones are fetched over HTTP.
pub const BOARD_ALERTS: usize = 500;

/// Everything that outlives a batch and does not belong to a shard.
#[derive(Debug)]
pub struct Keeper {
    rules: Arc<Rules>,
    watching: Vec<Rule>,
    patterns: Arc<Patterns>,
    /// Under what name what happened to the events of each is kept.
    pattern_ids: Vec<String>,
    /// Metrics that the topics of funnels are made of.
    of_funnels: Vec<usize>,
    /// The metrics.
    pub engine: Engine,
    state: KeeperState,
    faults: Faults,
    unused_aliases: Vec<String>,
    written: Written,
    /// When each metric that came later than the first event could count first.
    began: Vec<Option<EpochMs>>,
    /// For how long before it came each metric was filled from the log.
    filled: Vec<SpanMs>,
    /// Windows that end before were final at the last start: a rule that comes with it does not
    /// judge them.
    judged_from: Vec<Option<EpochMs>>,
    /// Under what name the state of each metric is kept.
    ids: Vec<String>,
    /// State of metrics that are no more, to be forgotten with the next commit.
    dropped: Vec<String>,
    /// What the configuration changed since the last start, for people.
    news: Vec<String>,
    /// Settings of sessions by key, as TOML.
    session: BTreeMap<String, String>,
    /// What metrics and rules are, for people.
    meanings: Meanings,
    recent_alerts: VecDeque<Arc<LogItem>>,
    /// Final numbers of the last merge, for a report's file.
    pub points: Vec<Point>,
    /// Sessions that ended in the last merge, when they are asked for.
    pub ended: Vec<EndedSession>,
    /// Matches of the last merge that raise alerts, or that nudges are of.
    matches: Vec<FoundMatch>,
    /// What rules said in the last merge: that something holds, or is over.
    pub signals: Vec<Signal>,
    /// Goals of the last merge that nudges are to know of.
    goals: Vec<Goal>,
    /// Whom a word goes to who left something behind, and what came of it.
    pub nudges: Nudges,
    /// Incidents, and whom to tell.
    pub incidents: Incidents,
    /// The time of the machine, as of the last merge.
    wall: EpochMs,
    /// Keep every final number in `points`, not only what the board and the rules need.
    pub list_points: bool,
    /// The last one written.
    identity_floor: EpochMs,
}

/// Counts and gauges. Each field is an entry of its own in the commits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct KeeperState {
    ledger: Ledger,
    gauges: Gauges,
    totals: SessionTotals,
    first_at: Option<EpochMs>,
    max_at: Option<EpochMs>,
    alerts: u64,
    dead_letters: u64,
    sessions_refused: u64,
    aliases_forgotten_early: u64,
    closed_forgotten_early: u64,
    closed_forgotten: Option<EpochMs>,
    forgotten_early: u64,
    dedup_short_until: Option<EpochMs>,
    /// By rule; each is an entry.
    rules: BTreeMap<String, rules::RuleKept>,
    /// By pattern.
    patterns: BTreeMap<String, PatternTally>,
    /// Settings of sessions by key, as TOML: those of the last start until they are compared.
    session: BTreeMap<String, String>,
    /// What metrics and rules are: those of the last start until they are compared.
    meanings: Meanings,
}

impl Keeper {
    /// A keeper that has seen nothing.
    pub fn new(
        metrics: Arc<Vec<Metric>>,
        watching: Vec<Rule>,
        rules: Arc<Rules>,
        time: &TimePolicy,
    ) -> Self {
        Keeper {
            began: vec![None; metrics.len()],
            filled: vec![0; metrics.len()],
            judged_from: vec![None; metrics.len()],
            ids: metrics.iter().map(identity::metric_id).collect(),
            dropped: Vec::new(),
            news: Vec::new(),
            written: Keeper::nothing_written(metrics.len()),
            session: BTreeMap::new(),
            meanings: Meanings::new(),
            rules,
            patterns: Arc::default(),
            pattern_ids: Vec::new(),
            of_funnels: Vec::new(),
            state: KeeperState::default(),
            faults: Faults::default(),
            unused_aliases: Vec::new(),
            recent_alerts: VecDeque::new(),
            points: Vec::new(),
            ended: Vec::new(),
            matches: Vec::new(),
            signals: Vec::new(),
            goals: Vec::new(),
            nudges: Nudges::default(),
            incidents: Incidents::new(incidents::settings(
                DeskSettings::default(),
                &watching,
                &metrics,
            )),
            engine: Engine::new(metrics, time.allowed_lateness),
            wall: BEGINNING,
            list_points: false,
            identity_floor: BEGINNING,
            watching,
        }
    }

    /// Counts what is of no use to these uses, numbered as the shards number them. Before
    /// [`Keeper::restore`].
    pub fn watch_uses(&mut self, uses: Vec<Use>) {
        self.faults = Faults::new(uses);
    }

    /// Counts what happens to the events of these patterns, numbered as the shards number them.
    /// Before [`Keeper::restore`].
    pub fn watch_patterns(&mut self, patterns: Arc<Patterns>) {
        self.pattern_ids = patterns.list.iter().map(patterns::pattern_id).collect();
        self.patterns = patterns;
        self.of_funnels = self.metrics_of_funnels();
        patterns::know(&self.pattern_ids, &mut self.state.patterns);
    }

    /// How incidents are told. Before [`Keeper::restore`].
    pub fn set_desk(&mut self, desk: DeskSettings) {
        let settings = incidents::settings(desk, &self.watching, self.engine.metrics());
        self.incidents = Incidents::new(settings);
    }

    /// What nudges go by. Before [`Keeper::restore`].
    pub fn set_nudges(&mut self, settings: NudgeSettings) {
        let lateness = self.engine.lateness();
        self.nudges = Nudges::new(NudgeSettings { lateness, ..settings });
    }

    /// The time of the machine at the next merge: what lies too far before it is told to nobody.
    pub fn set_wall(&mut self, wall: EpochMs) {
        self.wall = wall;
    }

    /// Notes the settings of sessions, as TOML by key, so that the next start can say what is
    /// another. Before [`Keeper::restore`].
    pub fn note_settings(&mut self, session: BTreeMap<String, String>) {
        self.session = session;
    }

    /// Notes what metrics and rules are, so that the next start can say which key of one is
    /// another. Before [`Keeper::restore`].
    pub fn note_meanings(&mut self, meanings: Meanings) {
        self.meanings = meanings;
    }

    /// Sets what is open to what the shards have taken up: whatever settings it was counted by
    /// before, it is counted by those of now. After [`Keeper::restore`], before the first
    /// barrier.
    pub fn recount(&mut self, open: Gauges) {
        self.state.gauges = open;
    }

    /// Attributes of applied events that were of no use.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Puts the newest alerts of the feed back on the board, oldest first. Lines of rules, which it had
    /// before incidents had a store of their own, are not shown.
    pub fn restore_alerts(&mut self, alerts: &[Alert]) {
        alerts.iter().filter(|alert| alert.is_occurrence()).for_each(|alert| self.show(alert));
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

    /// Anonymous keys that were forgotten before their time.
    pub fn aliases_forgotten_early(&self) -> u64 {
        self.state.aliases_forgotten_early
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

    /// Facts whose group is not kept, by metric with `group_by`.
    pub fn overflow(&self) -> impl Iterator<Item = (&str, u64)> {
        let metrics = self.engine.metrics().iter().zip(&self.engine.overflow);
        let grouped = metrics.filter(|(metric, _)| !metric.spec.group_by.is_empty());
        grouped.map(|(metric, facts)| (metric.spec.name.as_str(), *facts))
    }

    /// By metric with sliding windows: how many moments are held for the numbers between ends, and in
    /// how many groups and slides facts had one together.
    pub fn sliding(&self) -> impl Iterator<Item = (&str, usize, u64)> {
        let metrics = self.engine.metrics().iter().enumerate();
        metrics.filter(|(_, metric)| metric.slides()).map(|(index, metric)| {
            let held = self.engine.state(index).num_moments();
            (metric.spec.name.as_str(), held, self.engine.joined[index])
        })
    }

    /// Groups that hold a place, and how many have left, by metric with `group_by`.
    pub fn groups(&self) -> impl Iterator<Item = (&str, usize, u64)> {
        let metrics = self.engine.metrics().iter().enumerate();
        let grouped = metrics.filter(|(_, metric)| !metric.spec.group_by.is_empty());
        grouped.map(|(index, metric)| {
            let groups = &self.engine.state(index).groups;
            (metric.spec.name.as_str(), groups.num_present(), groups.num_left())
        })
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

    /// Time of the first event applied.
    pub fn first_at(&self) -> Option<EpochMs> {
        self.state.first_at
    }

    /// The first time that could have counted in a metric; `None` before the first event.
    pub fn began(&self, metric: usize) -> Option<EpochMs> {
        match self.engine.metrics()[metric].formula {
            None => self.began[metric].or(self.state.first_at),
            Some(_) => self.begins(metric),
        }
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
        self.matches.clear();
        let mut facts = Vec::new();
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
            self.matches.append(&mut delta.matches);
            self.goals.append(&mut delta.goals);
            for (id, tally) in self.pattern_ids.iter().zip(&delta.patterns) {
                if *tally != PatternTally::default() {
                    self.state.patterns.entry(id.clone()).or_default().add(tally);
                }
            }
            facts.push(delta.facts);
            self.state.sessions_refused += delta.sessions_refused;
            self.state.aliases_forgotten_early += delta.aliases_forgotten_early;
            self.state.closed_forgotten_early += delta.closed_forgotten_early;
            self.state.closed_forgotten = self.state.closed_forgotten.max(delta.closed_forgotten);
            self.state.forgotten_early += delta.forgotten_early;
            self.state.dedup_short_until =
                self.state.dedup_short_until.max(delta.dedup_short_until);
            self.ended.append(&mut delta.ended);
            unit.delta.append(&mut delta.sections);
            unit.unwritten.append(&mut delta.unwritten);
            unit.late.append(&mut delta.late);
            unit.dead_letters.append(&mut delta.dead_letters);
        }
        // Not worth a commit of its own.
        if let Some(floor) = identity_floor.filter(|_| unit.changes_state())
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
        // One order whatever the shards: that of the log; by time, then key.
        unit.late.sort_by(|a, b| {
            let place = |late: &LateEvent| (late.source, late.position, late.at);
            (place(a), &a.key, &a.raw).cmp(&(place(b), &b.key, &b.raw))
        });
        unit.dead_letters
            .sort_by(|a, b| (a.source, a.position, &a.raw).cmp(&(b.source, b.position, &b.raw)));
        self.ended.sort_by(|a, b| (a.ending.at, &a.key).cmp(&(b.ending.at, &b.key)));
        let absorbed = self.engine.absorb(facts);
        self.write_absorbed(&absorbed, &mut unit);
        self.tell_begins();
        let (watching, list) = (&self.watching, self.list_points);
        let all =
            |metric: &Metric| list || watching.iter().any(|rule| rule.metric == metric.spec.name);
        let (points, rollups) = (&mut self.points, &mut unit.rollups);
        let asked = |metric: &Metric| why::asks(watching, metric) || metric.begins();
        self.engine.settle(barrier.watermark, self.state.max_at, all, asked, points, rollups);
        self.raise(&mut unit);
        self.attend(&mut unit);
        self.engine
            .trim(unit.watermark, |metric| why::asks(&self.watching, metric) || metric.begins());
        self.write_settled(&mut unit);
        let dropped = std::mem::take(&mut self.dropped);
        unit.delta.extend(dropped.iter().map(|id| SectionWriter::metric_dropped(id)));
        self.write_state(&mut unit);
        unit
    }

    /// What rules say of this barrier, what follows from it and from occurrences, and who hears of it.
    fn attend(&mut self, unit: &mut CommitUnit) {
        let metrics = 0..self.engine.metrics().len();
        let begins = metrics.map(|index| self.began(index)).collect();
        let watching = Watching { rules: &self.watching, engine: &self.engine };
        // Before the rules judge: what they say now is said with all its facts.
        let mut signals = Vec::new();
        if self.incidents.begin() {
            signals = watching.standing(&self.state.rules, self.incidents.desk());
        }
        let since = Begins {
            begins,
            began: &self.began,
            judged_from: &self.judged_from,
            max_at: self.state.max_at,
        };
        let rules = &mut self.state.rules;
        (self.signals, self.incidents.pending) =
            watching.judge(unit.watermark, &self.points, &since, rules);
        signals.extend(self.signals.iter().cloned());
        let lateness = self.engine.lateness();
        self.incidents.attend(signals, lateness, self.wall, unit);
        let known = unit.watermark.saturating_sub(lateness);
        let found = (std::mem::take(&mut self.goals), &self.matches[..]);
        let (patterns, times) = (&self.patterns, (known, self.wall));
        nudges::decide(&mut self.nudges, found, patterns, times, &mut self.incidents, unit);
    }

    /// The rules, with what they watch.
    fn watched(&self) -> Watching<'_> {
        Watching { rules: &self.watching, engine: &self.engine }
    }

    /// Tells the engine where the operands of formulas begin.
    fn tell_begins(&mut self) {
        if self.engine.metrics().iter().any(|metric| metric.formula.is_some()) {
            let all = 0..self.engine.metrics().len();
            let begins = all.map(|index| self.begins(index).unwrap_or(EpochMs::MAX));
            self.engine.begins = begins.collect();
        }
    }

    /// Occurrences of this barrier, numbered in order.
    fn raise(&mut self, unit: &mut CommitUnit) {
        unit.alerts
            .extend(self.ended.iter_mut().filter_map(|ended| ended.alert.take()).map(|one| *one));
        unit.alerts.extend(patterns::match_alerts(&self.patterns, &mut self.matches));
        for alert in &mut unit.alerts {
            self.state.alerts += 1;
            alert.n = self.state.alerts;
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
}
