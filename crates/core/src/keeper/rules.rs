//! Rules run over the final windows of their metrics, the empty ones too: what holds, and what is over,
//! become incidents. Of a metric with labels each group is watched on its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rule_signals::About;
use super::warming::whole_from;
use super::why::why;
use crate::anomaly::{
    Alarm, Change, Patience, Ring, Rule, Sample, Side, Spread, State as _, Verdict, Watched,
};
use crate::commit::{RulePoint, RuleSnapshot, SectionWriter};
use crate::hash::fingerprint;
use crate::incident::{Desk, Pending, Signal};
use crate::metric::Metric;
use crate::metric::engine::{Engine, Point};
use crate::metric::grid::{Memo, Stretch};
use crate::metric::groups::{Kept, group_text};
use crate::settings::{Word as _, entries};
use crate::time::{END_OF_TIME, EpochMs, SpanMs};

/// Points of a rule's topic.
pub(super) const RULE_POINTS: usize = 360;

/// What outlives a batch of one rule. Its lists go by sections of their own, so that a commit
/// does not grow with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleKept {
    pub(super) state: Watched,
    /// A running total: its midnight and the newest number.
    #[serde(default)]
    total: Option<(EpochMs, f64)>,
    /// What the topic shows.
    #[serde(skip)]
    pub(super) points: Ring<RulePoint>,
}

/// Name and meaning of a rule: state of another meaning is not taken up. Title and severity
/// are said about it.
pub(super) fn rule_id(rule: &Rule, metrics: &[Metric]) -> String {
    let Patience { hold, cooldown, side } = rule.patience;
    let metric = metrics.iter().find(|metric| metric.spec.name == rule.metric);
    let settings = entries(&rule.detect).map(|(key, value)| format!(" {} {value}", key.path));
    let text = format!(
        "of {:016x} {}{} for {hold} cooldown {cooldown} {}",
        metric.map_or(0, |metric| metric.meaning),
        rule.detect.word(),
        settings.collect::<String>(),
        side.word()
    );
    format!("{}#{:016x}", rule.name, fingerprint(text.as_bytes()))
}

/// The rule that something is kept for: of a group its text comes behind it.
pub(super) fn rule_of(id: &str) -> &str {
    id.split_once('\n').map_or(id, |(rule, _)| rule)
}

/// What the state of a rule is kept under; `group` as text.
pub(super) fn kept_id(rule: &str, group: Option<&str>) -> String {
    group.map_or_else(|| rule.to_owned(), |group| format!("{rule}\n{group}"))
}

/// Rules, with the numbers that they watch.
pub(super) struct Watching<'a> {
    pub rules: &'a [Rule],
    pub engine: &'a Engine,
}

/// Since when numbers say something, by metric.
pub(super) struct Begins<'a> {
    /// The first time that could have counted.
    pub begins: Vec<Option<EpochMs>>,
    /// When it could count first, where it came later than the first event.
    pub began: &'a [Option<EpochMs>],
    /// Windows that end before were final at the last start: a rule that comes with it does not judge
    /// them.
    pub judged_from: &'a [Option<EpochMs>],
    /// Greatest event time applied.
    pub max_at: Option<EpochMs>,
}

impl Watching<'_> {
    /// The groups of a metric that a rule watches, those that have left as well; one without
    /// labels where there are none.
    pub(super) fn groups(&self, rule: &Rule, index: usize) -> Vec<(u32, Option<Kept>)> {
        if self.engine.metrics()[index].spec.group_by.is_empty() {
            return vec![(0, None)];
        }
        let groups = self.engine.state(index).groups.map().groups.iter();
        let watched = groups.filter(|(_, kept)| (kept.place as usize) < rule.groups_max);
        watched.map(|(number, kept)| (*number, Some(kept.clone()))).collect()
    }

    /// Runs the points that became final by a watermark through the rules, whose state is `kept`: what
    /// they say holds, and is over; and what does not stand out for long enough yet.
    pub(super) fn judge(
        &self,
        watermark: EpochMs,
        points: &[Point],
        since: &Begins<'_>,
        rules: &mut BTreeMap<String, RuleKept>,
    ) -> (Vec<Signal>, Vec<Pending>) {
        let (mut signals, mut pending) = (Vec::new(), Vec::new());
        let Begins { begins, began, judged_from, max_at } = since;
        for rule in self.rules {
            let metrics = self.engine.metrics();
            let watched = |metric: &Metric| metric.spec.name == rule.metric;
            let Some(index) = metrics.iter().position(watched) else { continue };
            let metric = &metrics[index];
            let mut numbers: BTreeMap<u32, Vec<(EpochMs, f64)>> = BTreeMap::new();
            let of_metric = points.iter().filter(|point| usize::from(point.metric) == index);
            for point in of_metric {
                let number = point.value.scalar().map(|value| (point.end, value));
                numbers.entry(point.group).or_default().extend(number);
            }
            let memo = &mut Memo::default();
            let until = if watermark < END_OF_TIME {
                self.engine.state(index).next()
            } else {
                let ends = numbers.values().filter_map(|all| all.last().map(|(end, _)| *end));
                max_at.map(|at| metric.grid.pane(at, memo).end).max(ends.max())
            };
            let Some(until) = until else { continue };
            let id = rule_id(rule, metrics);
            // A group that such a window has nothing of began anew.
            let history = metric.begins().then(|| self.engine.state(index).history.iter());
            let ends: Vec<EpochMs> =
                history.into_iter().flatten().map(|window| window.end).collect();
            for (group, watched) in self.groups(rule, index) {
                let numbers = numbers.remove(&group).unwrap_or_default();
                let text = watched.as_ref().map(|kept| group_text(&kept.labels));
                let key = kept_id(&id, text.as_deref());
                // A group begins with its first number; where there is one, with the first event.
                let first_event = begins[index].filter(|_| text.is_none());
                let first = numbers.first().map(|(end, _)| end - 1);
                let last = rules.get(&key).and_then(|kept| kept.state.last());
                let first = || {
                    Some(metric.grid.pane(first.into_iter().chain(first_event).min()?, memo).start)
                };
                let Some(start) = last.or_else(first) else { continue };
                // A part of a window says nothing about windows.
                let whole = began[index].filter(|_| last.is_none());
                let start = whole.map_or(start, |at| start.max(whole_from(metric, at, memo)));
                // Nothing is known here of what was final before it came.
                let known = judged_from[index].filter(|_| last.is_none());
                let start = known.map_or(start, |from| start.max(from));
                let passed = numbers.partition_point(|(end, _)| *end <= start);
                let numbers = &numbers[passed..];
                let lateness = self.engine.lateness();
                let end = judged_until(metric, watched.as_ref(), until, lateness);
                let left = watched.as_ref().is_some_and(|kept| !kept.is_present());
                if left && last.is_some_and(|last| last > end) {
                    // That is of the same labels, which have come again.
                    continue;
                }
                let kept = rules.entry(key.clone()).or_insert_with(|| RuleKept::new(rule));
                let labels = watched.as_ref().map(|kept| &kept.labels);
                let about = About { rule, metric, labels, lateness };
                let stretch = Stretch { start, end };
                kept.run(rule, metric, stretch, (numbers, &ends), |verdict, moment| {
                    signals.extend(verdict.change.and_then(|change| match change {
                        Change::Rises => {
                            let why = why(rule, self.engine, |index| begins[index], verdict);
                            Some(about.fires(verdict, moment, why))
                        }
                        Change::Over(past) => Some(about.over(verdict, &past)),
                        Change::Recurred(_) => None,
                    }));
                });
                pending.extend(about.pending(kept.state.alarm()).filter(|_| !left));
                if left && let Some(kept) = rules.remove(&key) {
                    signals.extend(about.left(end, kept.state.alarm()));
                }
            }
        }
        (signals, pending)
    }

    /// Goes through what is kept of the groups that rules watch.
    fn each(
        &self,
        rules: &BTreeMap<String, RuleKept>,
        mut each: impl FnMut(&About<'_>, &RuleKept),
    ) {
        let metrics = self.engine.metrics();
        for rule in self.rules {
            let watched = |metric: &Metric| metric.spec.name == rule.metric;
            let Some(index) = metrics.iter().position(watched) else { continue };
            let id = rule_id(rule, metrics);
            for (_, group) in self.groups(rule, index) {
                let text = group.as_ref().map(|kept| group_text(&kept.labels));
                let Some(kept) = rules.get(&kept_id(&id, text.as_deref())) else {
                    continue;
                };
                let (labels, metric) = (group.as_ref().map(|kept| &kept.labels), &metrics[index]);
                each(&About { rule, metric, labels, lateness: self.engine.lateness() }, kept);
            }
        }
    }

    /// What stands out and does not for long enough yet.
    pub(super) fn pending(&self, rules: &BTreeMap<String, RuleKept>) -> Vec<Pending> {
        let mut found = Vec::new();
        self.each(rules, |about, kept| found.extend(about.pending(kept.state.alarm())));
        found
    }

    /// What stands out since before the last start and has no incident: its rule made one of each group
    /// and makes one of all now, or the other way round; or it stood out before there were incidents.
    pub(super) fn standing(&self, rules: &BTreeMap<String, RuleKept>, desk: &Desk) -> Vec<Signal> {
        let mut signals = Vec::new();
        self.each(rules, |about, kept| {
            let Alarm::Up { since, raised, peak, .. } = kept.state.alarm() else { return };
            let signal = about.standing((*since, *raised), peak);
            if !desk.holds(&about.rule.name, &signal.subject) {
                signals.push(signal);
            }
        });
        signals
    }
}

/// What a rule says on numbers that are final: those of all windows of a metric, or
/// of one of its groups, that are not empty, by their ends. `first`: time of the first event; windows
/// that end after `until` are not judged, nor those after a group has left. Why a number moved is not
/// asked.
pub fn look_back(
    rule: &Rule,
    metric: &Metric,
    group: Option<&Kept>,
    numbers: &[(EpochMs, f64)],
    (first, until): (EpochMs, EpochMs),
    lateness: SpanMs,
) -> Vec<Signal> {
    let memo = &mut Memo::default();
    let began = Some(first).filter(|_| group.is_none());
    let first = numbers.first().map(|(end, _)| end - 1);
    let Some(at) = first.into_iter().chain(began).min() else { return Vec::new() };
    let end = judged_until(metric, group, until, lateness);
    let stretch = Stretch { start: metric.grid.pane(at, memo).start, end };
    let about = About { rule, metric, labels: group.map(|kept| &kept.labels), lateness };
    let mut said = Vec::new();
    RuleKept::new(rule).run(rule, metric, stretch, (numbers, &[]), |verdict, moment| {
        said.extend(verdict.change.and_then(|change| match change {
            Change::Rises => Some(about.fires(verdict, moment, None)),
            Change::Over(past) => Some(about.over(verdict, &past)),
            Change::Recurred(_) => None,
        }));
    });
    said
}

/// A group that has left is judged up to there, whenever that is found out.
fn judged_until(
    metric: &Metric,
    group: Option<&Kept>,
    until: EpochMs,
    lateness: SpanMs,
) -> EpochMs {
    let left = group.and_then(|kept| kept.left);
    let settled = left.map(|at| metric.grid.pane(at - lateness, &mut Memo::default()).start);
    settled.map_or(until, |settled| settled.min(until))
}

impl RuleKept {
    pub(super) fn new(rule: &Rule) -> Self {
        RuleKept { state: rule.detect.start(), total: None, points: Ring::default() }
    }

    /// Takes up its lists.
    pub(super) fn restore(&mut self, lists: RuleSnapshot) {
        self.state.restore(lists.samples, lists.held);
        self.points = Ring::restored(lists.points);
    }

    /// How its lists changed since this was asked last, if they did.
    pub(super) fn write(&mut self, id: &str) -> Option<Vec<u8>> {
        let mut writer = SectionWriter::rule(id);
        let empty = writer.len();
        let [samples, held] = self.state.rings();
        if let Some(samples) = samples {
            samples.change().iter().for_each(|change| writer.rule_samples(change));
            samples.written();
        }
        if let Some(held) = held {
            held.change().iter().for_each(|change| writer.rule_held(change));
            held.written();
        }
        self.points.change().iter().for_each(|change| writer.rule_points(change));
        self.points.written();
        (writer.len() > empty).then(|| writer.finish())
    }

    /// How many windows the rule knows and needs before it judges; `None` once it does.
    pub(super) fn learning(&self, rule: &Rule, metric: &Metric) -> Option<(usize, usize)> {
        rule.detect.learning(&self.state, metric.spec.window.step())
    }

    /// Of the numbers of a slide the one that is judged, and its end: the furthest on the side that
    /// stands out. Of both sides the newest, unless the greatest or else the least does.
    fn matters(
        &self,
        rule: &Rule,
        spread: Spread,
        newest: Sample,
        [least, greatest]: [(EpochMs, f64); 2],
    ) -> (Sample, EpochMs) {
        let of = |(end, value)| (Sample { value: Some(value), ..newest }, end);
        let stands_out = |number: &(EpochMs, f64)| {
            let sample = of(*number).0;
            let verdict = rule.detect.judge(rule.patience, &mut self.state.clone(), spread, sample);
            verdict.band.excludes(Side::Both, number.1)
        };
        let newest = (newest, newest.end);
        match rule.patience.side {
            Side::Above => of(greatest),
            Side::Below => of(least),
            Side::Both => [greatest, least].into_iter().find(stands_out).map_or(newest, of),
        }
    }

    /// Judges every window that ends in a stretch; `numbers` are those that are not empty, `ends`
    /// those of totals that begin anew, the empty ones as well. Each verdict comes with the time of
    /// the event whose number was judged, where that is not the one at the end of the window.
    fn run(
        &mut self,
        rule: &Rule,
        metric: &Metric,
        stretch: Stretch,
        (numbers, ends): (&[(EpochMs, f64)], &[EpochMs]),
        mut each: impl FnMut(&Verdict, Option<EpochMs>),
    ) {
        let memo = &mut Memo::default();
        let none = metric.empty().and_then(|none| none.scalar());
        let mut numbers = numbers.iter().peekable();
        let mut at = stretch.start;
        loop {
            let window = metric.grid.window(at, memo);
            let pane = metric.grid.pane(at, memo);
            if pane.end > stretch.end {
                return;
            }
            let mut own = None;
            // Of sliding windows there may be several in a slide.
            let mut extremes: Option<[(EpochMs, f64); 2]> = None;
            while let Some((end, value)) = numbers.next_if(|(end, _)| *end <= pane.end) {
                let [least, greatest] = extremes.unwrap_or([(*end, *value); 2]);
                let least = if *value < least.1 { (*end, *value) } else { least };
                let greatest = if *value > greatest.1 { (*end, *value) } else { greatest };
                extremes = Some([least, greatest]);
                own = Some(*value);
            }
            let total = self.total.filter(|(midnight, _)| *midnight == window.start);
            let value = own.or(total.map(|(_, value)| value)).or(none);
            let anew = own.is_none() && ends.binary_search(&pane.end).is_ok();
            if anew {
                self.total = None;
            }
            let value = if anew { none } else { value };
            if metric.grid.runs() && !anew {
                self.total = own.map(|value| (window.start, value)).or(total);
            }
            let spread = Spread::of(&metric.spec.aggregate, window.end - window.start);
            let sample = Sample { start: pane.start, end: pane.end, value };
            let extremes = extremes.filter(|[least, greatest]| least.1 < greatest.1);
            let (sample, of) = extremes.map_or((sample, sample.end), |extremes| {
                self.matters(rule, spread, sample, extremes)
            });
            // The number of an event ends with its millisecond.
            let moment = (of < sample.end).then_some(of - 1);
            let value = sample.value;
            let mut verdict = rule.detect.judge(rule.patience, &mut self.state, spread, sample);
            // What is told: a bound on a side that the rule does not look at is none.
            verdict.band = verdict.band.on(rule.patience.side);
            each(&verdict, moment);
            if let Some(value) = value {
                self.points.push_back((pane.end, value, verdict.band));
            }
            while self.points.len() > RULE_POINTS {
                self.points.pop_front();
            }
            at = pane.end;
            if own.is_none() && self.state.is_settled(value) {
                // Long silence: only its end is judged, which comes to the same.
                let next = numbers.peek().map_or(stretch.end, |(end, _)| end - 1);
                let after = ends.partition_point(|end| *end <= pane.end);
                let next = ends.get(after).map_or(next, |end| next.min(end - 1));
                let same = metric.grid.day_end(pane.start, memo).min(next);
                let step = metric.spec.window.step();
                let shown = RULE_POINTS as i64 * step;
                let far = same.saturating_sub(rule.detect.reach(step).saturating_add(shown));
                at = at.max(metric.grid.pane(far, memo).start);
            }
        }
    }
}
