//! Rules run over the final windows of their metrics, the empty ones too: what goes up, and
//! what is over, become alerts.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::Keeper;
use crate::alert::{Alert, Detail, alert_id};
use crate::anomaly::{
    Band, Change, Past, Patience, Ring, Rule, Sample, Spread, State as _, Verdict, Watched,
};
use crate::commit::{RulePoint, RuleSnapshot, SectionWriter};
use crate::hash::fingerprint;
use crate::metric::Metric;
use crate::metric::grid::{Memo, Stretch};
use crate::settings::{Word as _, entries};
use crate::time::{END_OF_TIME, EpochMs};

/// Points of a rule's topic.
pub(super) const RULE_POINTS: usize = 360;

/// The kind of an alert that says that another one is over.
pub(super) const OVER: &str = "over";

/// What outlives a batch of one rule. Its lists go by sections of their own, so that a commit
/// does not grow with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleKept {
    state: Watched,
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

impl Keeper {
    /// Runs what became final by a watermark through the rules.
    pub(super) fn judge(&mut self, watermark: EpochMs) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for rule in &self.watching {
            let metrics = self.engine.metrics();
            let watched = |metric: &Metric| metric.spec.name == rule.metric;
            let Some(index) = metrics.iter().position(watched) else { continue };
            let metric = &metrics[index];
            let of_metric = self.points.iter().filter(|point| usize::from(point.metric) == index);
            let numbers: Vec<(EpochMs, f64)> =
                of_metric.filter_map(|point| Some((point.end, point.value.scalar()?))).collect();
            let memo = &mut Memo::default();
            let until = if watermark < END_OF_TIME {
                self.engine.state(index).next()
            } else {
                self.state
                    .max_at
                    .map(|at| metric.grid.pane(at, memo).end)
                    .max(numbers.last().map(|(end, _)| *end))
            };
            let Some(until) = until else { continue };
            let began = self.began[index].or(self.state.first_at);
            let kept = self.state.rules.entry(rule_id(rule, metrics));
            let kept = kept.or_insert_with(|| RuleKept::new(rule));
            let first = numbers.first().map(|(end, _)| end - 1);
            let from = match kept.state.last() {
                Some(last) => last,
                None => match first.into_iter().chain(began).min() {
                    Some(at) => metric.grid.pane(at, memo).start,
                    None => continue,
                },
            };
            let stretch = Stretch { start: from, end: until };
            kept.run(rule, metric, stretch, &numbers, |verdict| {
                alerts.extend(verdict.change.map(|change| match change {
                    Change::Rises => anomaly(rule, verdict),
                    Change::Over(past) => over(rule, verdict, &past),
                }));
            });
        }
        alerts
    }
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

    /// Judges every window that ends in a stretch; `numbers` are those that are not empty.
    fn run(
        &mut self,
        rule: &Rule,
        metric: &Metric,
        stretch: Stretch,
        numbers: &[(EpochMs, f64)],
        mut each: impl FnMut(&Verdict),
    ) {
        let memo = &mut Memo::default();
        let none = metric.spec.aggregate.empty().and_then(|none| none.scalar());
        let mut numbers = numbers.iter().peekable();
        let mut at = stretch.start;
        loop {
            let window = metric.grid.window(at, memo);
            let pane = metric.grid.pane(at, memo);
            if pane.end > stretch.end {
                return;
            }
            let own = numbers.next_if(|(end, _)| *end <= pane.end).map(|(_, value)| *value);
            let total = self.total.filter(|(midnight, _)| *midnight == window.start);
            let value = own.or(total.map(|(_, value)| value)).or(none);
            if metric.grid.runs_from_midnight() {
                self.total = own.map(|value| (window.start, value)).or(total);
            }
            let spread = Spread::of(&metric.spec.aggregate, window.end - window.start);
            let sample = Sample { start: pane.start, end: pane.end, value };
            let mut verdict = rule.detect.judge(rule.patience, &mut self.state, spread, sample);
            // What is told: a bound on a side that the rule does not look at is none.
            verdict.band = verdict.band.on(rule.patience.side);
            each(&verdict);
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
                let same = metric.grid.day_end(pane.start, memo).min(next);
                let step = metric.spec.window.step();
                let shown = RULE_POINTS as i64 * step;
                let far = same.saturating_sub(rule.detect.reach(step).saturating_add(shown));
                at = at.max(metric.grid.pane(far, memo).start);
            }
        }
    }
}

fn anomaly(rule: &Rule, verdict: &Verdict) -> Alert {
    let mut detail = rule.detect.detail();
    detail.extend(facts(rule, verdict));
    detail.insert("since".into(), json!(verdict.since));
    detail.insert("far".into(), measured(verdict.far));
    Alert {
        n: 0,
        id: alert_id("anomaly", &rule.name, verdict.sample.end),
        kind: "anomaly".into(),
        severity: rule.severity.clone(),
        at: verdict.sample.end,
        subject: rule.name.clone(),
        title: format!("{}: {}", rule.title, rule.detect.found(verdict)),
        detail: Detail::of(&detail),
    }
}

fn over(rule: &Rule, verdict: &Verdict, past: &Past) -> Alert {
    let Past { raised, since, last, peak, usual } = *past;
    let lasted = (last - since) as f64 / 60_000.0;
    let why = if usual { "this is usual now" } else { "back to usual" };
    let mut detail: Map<String, Json> = facts(rule, verdict).into_iter().collect();
    detail.extend([
        ("alert".to_owned(), json!(alert_id("anomaly", &rule.name, raised))),
        ("raised".to_owned(), json!(raised)),
        ("since".to_owned(), json!(since)),
        ("last".to_owned(), json!(last)),
        ("peak".to_owned(), json!(peak.value)),
        ("far".to_owned(), measured(Some(peak.far))),
        ("usual".to_owned(), json!(usual)),
    ]);
    Alert {
        n: 0,
        id: alert_id(OVER, &rule.name, verdict.sample.end),
        kind: OVER.into(),
        severity: "info".into(),
        at: verdict.sample.end,
        subject: rule.name.clone(),
        title: format!("{} is over: {why} after {lasted:.1} min", rule.title),
        detail: Detail::of(&detail),
    }
}

/// What alerts of a rule have in common: the sample, what was expected of it, and in which measure
/// `far` is.
fn facts(rule: &Rule, verdict: &Verdict) -> [(String, Json); 7] {
    let Band { expected, low, high } = verdict.band;
    [
        ("rule", json!(rule.name)),
        ("metric", json!(rule.metric)),
        ("value", json!(verdict.sample.value)),
        ("expected", json!(expected)),
        ("low", json!(low)),
        ("high", json!(high)),
        ("measure", json!(rule.detect.measure())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

/// `null` where the measure has no end.
fn measured(far: Option<f64>) -> Json {
    json!(far.filter(|far| *far < f64::MAX))
}
