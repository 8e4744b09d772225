//! The keeper's side of patterns: what happened to their events, and the alerts of their matches.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use super::Keeper;
use crate::alert::{Alert, Detail, alert_id};
use crate::fault::FaultView;
use crate::pattern::{
    DURATION, EVENTS, FoundMatch, More, Pattern, PatternSpec, PatternTally, Patterns, STEP, Seeks,
    VALUE, list_more,
};

/// Unusable attributes that a pattern's note names.
const FAULTS_SAID_MAX: usize = 3;

/// Name and meaning.
pub(super) fn pattern_id(pattern: &Pattern) -> String {
    format!("{}#{:016x}", pattern.spec.name, pattern.meaning)
}

impl Keeper {
    /// True when there are patterns.
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// What happened to the events of each pattern and of each join.
    pub fn patterns(&self) -> impl Iterator<Item = (&PatternSpec, PatternTally)> {
        let all = self.patterns.list.iter().zip(&self.pattern_ids);
        all.map(|(pattern, id)| {
            (&pattern.spec, self.state.patterns.get(id).copied().unwrap_or_default())
        })
    }

    /// What a pattern may lack, in words: events that came too late or found no room, attributes
    /// that it could not use; nothing where it lacks nothing.
    pub(super) fn lacks(&self, (spec, tally): (&PatternSpec, PatternTally)) -> String {
        let views = self.faults.views_of(&format!("{}.{}.", spec.seeks.table(), spec.name));
        let said = |view: &FaultView| {
            let FaultView { attribute, words, count, .. } = view;
            format!("{attribute} {words} in {count} events")
        };
        let mut all = vec![tally.to_string()];
        all.extend(views.iter().take(FAULTS_SAID_MAX).map(said));
        all.extend((views.len() > FAULTS_SAID_MAX).then(|| "...".to_owned()));
        all.retain(|one| !one.is_empty());
        all.join(", ")
    }
}

/// Nothing has happened yet to those that are new.
pub(super) fn know(ids: &[String], tallies: &mut BTreeMap<String, PatternTally>) {
    for id in ids {
        tallies.entry(id.clone()).or_default();
    }
}

/// One alert for each match of a pattern that raises them, in one order whatever the shards.
pub(super) fn match_alerts(patterns: &Patterns, matches: &mut [FoundMatch]) -> Vec<Alert> {
    let order = |one: &FoundMatch| (one.found.at, one.key.clone(), one.found.pattern);
    matches.sort_by_cached_key(|one| (order(one), one.found.first, one.found.last));
    let alarms =
        |one: &&FoundMatch| patterns.list[usize::from(one.found.pattern)].alarms(&one.found);
    matches.iter().filter(alarms).map(|one| match_alert(patterns, one)).collect()
}

fn match_alert(patterns: &Patterns, one: &FoundMatch) -> Alert {
    let FoundMatch { key, found } = one;
    let pattern = &patterns.list[usize::from(found.pattern)];
    let table = pattern.spec.seeks.table();
    let mut detail = detail(patterns, one);
    detail.retain(|name, _| !pattern.is_hidden(name));
    Alert {
        n: 0,
        // By its name and the time: no two matches share both.
        id: alert_id(table, &found.name(key, pattern), found.at),
        kind: table.into(),
        severity: pattern.spec.alert.clone().unwrap_or_default(),
        at: found.at,
        subject: key.to_string(),
        title: pattern.spec.title.clone(),
        detail: Detail::of(&detail),
    }
}

/// The facts of a match.
pub(super) fn detail(
    patterns: &Patterns,
    FoundMatch { found, .. }: &FoundMatch,
) -> Map<String, Value> {
    let pattern = &patterns.list[usize::from(found.pattern)];
    let table = pattern.spec.seeks.table();
    let [first, last] = pattern.spec.seeks.sides();
    let mut detail: Map<String, Value> = found
        .attributes(pattern)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_json()))
        .collect();
    let seconds = |span| span as f64 / 1_000.0;
    detail.insert(table.into(), json!(pattern.spec.name));
    detail.insert(first.into(), json!(found.first.at));
    detail.insert(DURATION.into(), json!(found.duration(pattern).map(seconds)));
    if let Seeks::Join(_) = pattern.spec.seeks {
        detail.insert(last.into(), json!(found.last.map(|last| last.at)));
    }
    if let (Seeks::Sessions(sessions), More::Visited(visited)) = (&pattern.spec.seeks, &found.more)
    {
        detail.insert(last.into(), json!(found.last.map(|last| last.at)));
        detail.insert(EVENTS.into(), json!(visited.events));
        detail.insert(VALUE.into(), json!(visited.value.to_f64()));
        let step = usize::from(visited.step).checked_sub(1);
        detail.insert(STEP.into(), json!(step.map_or("", |step| &*sessions.names[step])));
        for ((name, _), listing) in sessions.lists.iter().zip(&visited.lists) {
            let values = listing.values.iter().map(SmolStr::as_str);
            detail.insert(name.clone(), values.collect());
            detail.insert(list_more(name), json!(listing.more));
        }
    }
    detail
}
