//! How far the users of a log come on a way of steps, by the definition alone: every event that may
//! begin is kept for every step that can be reached from it. Shares no code with the engine.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Answer, Entry, Times, group_of};
use super::patterns::by_user;

/// A funnel over event types.
pub struct Funnel {
    pub name: &'static str,
    pub steps: &'static [&'static str],
    pub without: &'static [&'static str],
    pub within: i64,
    pub by_region: bool,
    pub windows: fn(i64) -> Vec<(i64, i64)>,
}

/// A step that was reached, or left for good.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Passed {
    pub at: i64,
    pub step: &'static str,
    pub left: bool,
    /// Of the first event.
    pub region: Option<String>,
}

/// All of it, in no order.
pub fn passages(funnel: &Funnel, log: &[Entry], times: Times) -> Vec<Passed> {
    let bits = |kind: &str| {
        let steps = (0u32..).zip(funnel.steps).filter(|(_, step)| **step == kind);
        let without = funnel.without.contains(&kind).then_some(40);
        steps.map(|(bit, _)| bit).chain(without).collect()
    };
    let users = by_user(bits, log, times);
    users.into_values().flat_map(|events| of_user(funnel, &events)).collect()
}

fn of_user(funnel: &Funnel, events: &[&Entry]) -> Vec<Passed> {
    let mut found = Vec::new();
    // By step the times at which ways there began.
    let mut ways: Vec<BTreeSet<i64>> = Vec::new();
    let mut region = None;
    let end = |ways: &[BTreeSet<i64>]| Some(ways.first()?.last()? + funnel.within);
    for event in events {
        let passed = |step: usize, left, at, region: &Option<String>| Passed {
            at,
            step: funnel.steps[step],
            left,
            region: region.clone(),
        };
        if let Some(end) = end(&ways).filter(|end| *end < event.at) {
            found.push(passed(ways.len() - 1, true, end, &region));
            ways.clear();
        }
        let before = ways.clone();
        let mut on = false;
        for (step, kind) in funnel.steps.iter().enumerate().skip(1) {
            let began = before.get(step - 1).into_iter().flatten();
            let alive = began.filter(|began| **began + funnel.within >= event.at);
            let alive: Vec<i64> = alive.copied().collect();
            if *kind != event.kind || alive.is_empty() {
                continue;
            }
            on = true;
            if step == ways.len() {
                ways.push(BTreeSet::new());
                found.push(passed(step, false, event.at, &region));
            }
            ways[step].extend(alive);
        }
        if ways.len() == funnel.steps.len() {
            ways.clear();
            continue;
        }
        if funnel.without.contains(&event.kind) && !on && !ways.is_empty() {
            found.push(passed(ways.len() - 1, true, event.at, &region));
            ways.clear();
        }
        if funnel.steps[0] == event.kind {
            if ways.is_empty() {
                ways.push(BTreeSet::new());
                region = event.region.clone();
                found.push(passed(0, false, event.at, &region));
            }
            ways[0].insert(event.at);
        }
    }
    if let Some(end) = end(&ways) {
        let step = funnel.steps[ways.len() - 1];
        found.push(Passed { at: end, step, left: true, region });
    }
    found
}

/// Adds what the metrics of funnels must say.
pub fn count(answer: &mut Answer, log: &[Entry], times: Times, funnels: &[Funnel]) {
    for funnel in funnels {
        for passed in passages(funnel, log, times) {
            let metric =
                format!("{}_{}", funnel.name, if passed.left { "left" } else { "reached" });
            // There are few regions. One label of several is not marked where it reads "other".
            let region = group_of(passed.region, usize::MAX, &mut Vec::new());
            let region = region.strip_prefix("\\other").map_or(region.clone(), |_| "other".into());
            let by = (format!("{metric}_by"), format!("{}|{region}", passed.step));
            let groups = [(metric, passed.step.to_owned()), by];
            for (metric, group) in groups.into_iter().take(1 + usize::from(funnel.by_region)) {
                let add = |numbers: &mut BTreeMap<_, f64>, end| {
                    *numbers.entry((metric.clone(), end, group.clone())).or_default() += 1.0;
                };
                for (_, end) in (funnel.windows)(passed.at) {
                    add(&mut answer.windows, end);
                }
                add(&mut answer.minutes, passed.at.div_euclid(60_000) * 60_000);
            }
        }
    }
}
