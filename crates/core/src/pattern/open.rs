//! What people see of open sessions of kinds of their own: those of one key, and those at risk. It is
//! what the watermark has passed by the lateness; events that wait are no part of them yet.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compile::{Pattern, Patterns};
use super::machine::{Machine, Run};
use super::progress::Progress;
use super::spec::{Seeks, SessionsSpec};
use super::visits::{Visit, Visits};
use super::{found, held};
use crate::at_risk::{AtRisk, Found, More, Walk};
use crate::board::bound::label;
use crate::session::{OpenOfKind, Outcome};
use crate::time::EpochMs;

/// An open session at risk: of which kind, and where the rest of it is.
type AtStake<'a> = (&'a Pattern, &'a SessionsSpec, &'a Visit);

impl Patterns {
    /// The kinds of sessions, in the order of the file, each with its number.
    pub fn kinds(&self) -> impl Iterator<Item = (u16, &Pattern)> {
        let all = (0u16..).zip(&self.list);
        all.filter(|(_, pattern)| matches!(pattern.spec.seeks, Seeks::Sessions(_)))
    }

    /// What is at risk in some machines, each with its key: of every kind that goes by the session key,
    /// or by one of its own, its number and the first `most` (1 or more) by each order.
    pub fn at_risk<'a>(
        &'a self,
        own: bool,
        open: impl Iterator<Item = (&'a str, &'a Machine)>,
        watermark: EpochMs,
        most: usize,
    ) -> Vec<(u16, AtRisk)> {
        let kinds = self.kinds().filter(|(_, pattern)| pattern.has_own_key() == own);
        let kinds = kinds.map(|(number, _)| (number, Walk::new(most)));
        let mut walks: BTreeMap<u16, Walk<'a, AtStake<'a>>> = kinds.collect();
        for (key, machine) in open {
            for run in &machine.runs {
                if let Some(found) = self.at_stake(key, run)
                    && let Some(walk) = walks.get_mut(&run.pattern)
                {
                    walk.meet(found);
                }
            }
        }
        // What a kind has at stake is in whatever its attribute is in.
        let end = |walk: Walk<'a, AtStake<'a>>| walk.end(watermark, "", more);
        walks.into_iter().map(|(number, walk)| (number, end(walk))).collect()
    }

    fn at_stake<'a>(&'a self, key: &'a str, run: &'a Run) -> Option<Found<'a, AtStake<'a>>> {
        let (pattern, spec, visits) = self.visits(run)?;
        let (value, visit) = (visits.stake(spec)?, visits.0.as_deref()?);
        let (first, last) = (visit.first.at, visit.last.at);
        let deadline = visits.end(spec)?;
        Some(Found { key, value, deadline, first, last, rest: (pattern, spec, visit) })
    }

    /// The open sessions of a key, in the order of the file.
    pub fn describe(&self, machine: &Machine, watermark: EpochMs) -> Vec<OpenOfKind> {
        let describe = |run: &Run| {
            let (pattern, spec, visits) = self.visits(run)?;
            let (visit, deadline) = (visits.0.as_deref()?, visits.end(spec)?);
            let counts = spec.counts.iter().map(|(name, _)| name.clone()).zip(&visit.counts);
            Some(OpenOfKind {
                kind: pattern.spec.name.clone(),
                state: match visit.outcome(spec) {
                    Outcome::Abandoned => "at_risk",
                    Outcome::Converted => "converted",
                    Outcome::Browsed | Outcome::Closed => "browsing",
                },
                step: step(spec, visit),
                first: visit.first.at,
                last: visit.last.at,
                events: visit.events.into(),
                waiting: run.pending.len() as u64,
                deadline,
                remaining_ms: deadline.saturating_sub(watermark),
                value: visit.contents.value().to_f64(),
                counts: counts.map(|(name, count)| (name, u64::from(*count))).collect(),
                attributes: attributes(pattern, visit),
            })
        };
        machine.runs.iter().filter_map(describe).collect()
    }

    fn visits<'a>(&'a self, run: &'a Run) -> Option<(&'a Pattern, &'a SessionsSpec, &'a Visits)> {
        let pattern = &self.list[usize::from(run.pattern)];
        match (&pattern.spec.seeks, &run.begun) {
            (Seeks::Sessions(spec), Progress::Sessions(visits)) => Some((pattern, spec, visits)),
            _ => None,
        }
    }
}

/// With the beginning of a long attribute, so that a list has a bound.
fn more((pattern, spec, visit): &AtStake<'_>) -> More {
    let mut attributes = attributes(pattern, visit);
    for value in attributes.values_mut() {
        if let Value::String(text) = value {
            *text = label(text).into_owned();
        }
    }
    More { step: step(spec, visit), segment: None, attributes: Some(attributes) }
}

fn step(spec: &SessionsSpec, visit: &Visit) -> String {
    let step = usize::from(visit.step).checked_sub(1);
    step.map_or_else(String::new, |step| spec.names[step].clone())
}

/// Those that are known, without those that nobody is shown.
fn attributes(pattern: &Pattern, visit: &Visit) -> BTreeMap<String, Value> {
    // They were made here, or read by `record::decode`, which looks at each.
    let of = |values| held::attrs(values, pattern.num_values()).unwrap_or_default();
    let values = [of(&visit.of_first), of(&visit.of_last)];
    let known = |(name, side, at): (&str, _, _)| {
        let value = found::value(&values, side, at).to_json();
        (!value.is_null()).then(|| (name.to_owned(), value))
    };
    let shown = |(name, ..): &(&str, _, _)| !pattern.is_hidden(name);
    pattern.attributes().filter(shown).filter_map(known).collect()
}
