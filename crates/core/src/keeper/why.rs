//! Why a number moved: the groups of other metrics that moved with it most.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::anomaly::{Rule, Side, Verdict};
use crate::metric::engine::Engine;
use crate::metric::grid::Memo;
use crate::metric::groups::OVERFLOW_TEXT;
use crate::metric::window::MetricState;
use crate::metric::{Metric, Window};
use crate::time::EpochMs;

/// So many windows before say what is usual of a group.
const USUAL_WINDOWS: usize = 30;

/// Most groups of a metric that are named.
const NAMED_MAX: usize = 5;

/// Of each metric of `why` the groups that moved most.
#[derive(Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Why(Vec<Moved>);

/// The groups of one metric that moved in the direction of the number, the most first.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Moved {
    metric: String,
    groups: Vec<Group>,
}

/// How one group moved.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Group {
    /// Its labels by attribute; empty of what is counted together as other.
    group: BTreeMap<String, String>,
    /// Its labels, for people.
    #[serde(skip)]
    text: String,
    /// Its number in the window.
    value: f64,
    /// The median of the windows before what stood out.
    usual: f64,
    /// Its part of what all groups moved in this direction, 0 to 1; `None` where numbers of groups
    /// do not add up (means, ratios).
    share: Option<f64>,
}

/// True when a rule asks the groups of a metric.
pub(super) fn asks(rules: &[Rule], metric: &Metric) -> bool {
    rules.iter().any(|rule| rule.why.contains(&metric.spec.name))
}

/// What moved with the window of a verdict. `began`: since when each metric counts.
pub(super) fn why(
    rule: &Rule,
    engine: &Engine,
    began: impl Fn(usize) -> Option<EpochMs>,
    verdict: &Verdict,
) -> Option<Why> {
    let metrics = engine.metrics().iter().enumerate();
    let asked = metrics.filter(|(_, metric)| rule.why.contains(&metric.spec.name));
    let moved = asked.map(|(index, metric)| Moved {
        metric: metric.spec.name.clone(),
        groups: moved(metric, engine.state(index), began(index), verdict, rule.patience.side),
    });
    let moved: Vec<Moved> = moved.filter(|moved| !moved.groups.is_empty()).collect();
    (!moved.is_empty()).then_some(Why(moved))
}

impl Why {
    /// The group that makes up more than half of it, for people.
    pub(super) fn mostly(&self) -> Option<String> {
        let firsts = self.0.iter().filter_map(|moved| moved.groups.first());
        let shares = firsts.filter_map(|first| Some((first.share?, &first.text)));
        let (share, text) = shares.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (share > 0.5).then(|| format!("{text} ({:.0} %)", share * 100.0))
    }
}

fn moved(
    metric: &Metric,
    state: &MetricState,
    began: Option<EpochMs>,
    verdict: &Verdict,
    side: Side,
) -> Vec<Group> {
    let end = verdict.sample.end;
    let since = verdict.since.unwrap_or(verdict.sample.start);
    let window = |end: EpochMs| -> Option<&Window> {
        let index = state.history.binary_search_by_key(&end, |window| window.end).ok()?;
        state.history.get(index)
    };
    let none = metric.empty().and_then(|none| none.scalar());
    let number = |window: Option<&Window>, group: u32| {
        window.and_then(|window| window.values.get(group)?.scalar()).or(none)
    };
    // Windows before what stood out, within what the metric keeps whatever else is in memory.
    let (memo, oldest) = (&mut Memo::default(), end - metric.spec.keep);
    let mut before = Vec::new();
    let mut at = since;
    while before.len() < USUAL_WINDOWS && at > oldest && began.is_none_or(|began| at > began) {
        before.push(window(at));
        at = metric.grid.pane(at - 1, memo).start;
    }
    let this = window(end);
    let windows = before.iter().flatten().copied().chain(this);
    let groups: BTreeSet<u32> =
        windows.flat_map(|window| window.values.iter().map(|(group, _)| group)).collect();
    let mut found: Vec<(u32, f64, f64)> = groups
        .into_iter()
        .filter_map(|group| {
            let value = number(this, group)?;
            let mut usual: Vec<f64> =
                before.iter().filter_map(|window| number(*window, group)).collect();
            usual.sort_by(f64::total_cmp);
            let usual = *usual.get(usual.len() / 2)?;
            Some((group, value, usual))
        })
        .collect();
    let adds = metric.spec.aggregate.adds();
    let sum: f64 = found.iter().map(|(_, value, usual)| value - usual).sum();
    let up = if adds { sum >= 0.0 } else { is_up(verdict, side) };
    found.retain(|(_, value, usual)| if up { value > usual } else { value < usual });
    let all: f64 = found.iter().map(|(_, value, usual)| (value - usual).abs()).sum();
    found.sort_by(|a, b| (b.1 - b.2).abs().total_cmp(&(a.1 - a.2).abs()).then(a.0.cmp(&b.0)));
    found.truncate(NAMED_MAX);
    let shown = |(group, value, usual): (u32, f64, f64)| {
        let labels = state.groups.labels(group);
        let group = labels.map(|labels| metric.spec.named(labels)).unwrap_or_default();
        let text = labels.map_or_else(|| OVERFLOW_TEXT.to_owned(), |labels| labels.join(", "));
        let share = adds.then(|| (value - usual).abs() / all);
        Group { group, text, value, usual, share }
    };
    found.into_iter().map(shown).collect()
}

/// True when the number lies above what was expected.
fn is_up(verdict: &Verdict, side: Side) -> bool {
    let value = verdict.sample.value.unwrap_or_default();
    match verdict.band.expected {
        Some(expected) => value >= expected,
        None => side != Side::Below,
    }
}
