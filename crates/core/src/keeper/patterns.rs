//! The keeper's side of patterns: what happened to their events, and the alerts of their matches.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Keeper, ShardDelta};
use crate::alert::{Alert, Detail, alert_id};
use crate::metric::Attr;
use crate::pattern::{DURATION, FoundMatch, Pattern, PatternTally, Patterns};

/// The kind of the alerts.
pub(super) const PATTERN: &str = "pattern";

/// Name and meaning.
pub(super) fn pattern_id(pattern: &Pattern) -> String {
    format!("{}#{:016x}", pattern.spec.name, pattern.meaning)
}

impl Keeper {
    /// Counts what happens to the events of these patterns, numbered as the shards number them.
    /// Before [`Keeper::restore`].
    pub fn watch_patterns(&mut self, patterns: Arc<Patterns>) {
        self.patterns = patterns;
        self.know_patterns();
    }

    /// Nothing has happened yet to those that are new.
    pub(super) fn know_patterns(&mut self) {
        for pattern in &self.patterns.list {
            self.state.patterns.entry(pattern_id(pattern)).or_default();
        }
    }

    /// True when there are patterns.
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// What happened to the events of each pattern, by name.
    pub fn patterns(&self) -> BTreeMap<&str, PatternTally> {
        self.patterns.list.iter().map(pattern_name).zip(self.pattern_tallies()).collect()
    }

    /// What happened to the events of each pattern, in their order.
    pub fn pattern_tallies(&self) -> impl Iterator<Item = PatternTally> {
        let tally = |pattern: &Pattern| self.state.patterns.get(&pattern_id(pattern)).copied();
        self.patterns.list.iter().map(move |pattern| tally(pattern).unwrap_or_default())
    }

    pub(super) fn add_matches(&mut self, delta: &mut ShardDelta) {
        self.matches.append(&mut delta.matches);
        for (pattern, tally) in self.patterns.list.iter().zip(&delta.patterns) {
            if *tally != PatternTally::default() {
                self.state.patterns.entry(pattern_id(pattern)).or_default().add(tally);
            }
        }
    }

    /// One alert for each match of a pattern that raises them, in one order whatever the shards.
    pub(super) fn match_alerts(&mut self) -> Vec<Alert> {
        let order = |one: &FoundMatch| (one.found.at, one.key.clone(), one.found.pattern);
        self.matches.sort_by_cached_key(|one| (order(one), one.found.first));
        self.matches.iter().map(|one| self.match_alert(one)).collect()
    }

    fn match_alert(&self, FoundMatch { key, found }: &FoundMatch) -> Alert {
        let pattern = &self.patterns.list[usize::from(found.pattern)];
        let name = &pattern.spec.name;
        let (at, first) = (found.at, found.first);
        let mut detail: Map<String, Value> = found
            .attributes(pattern)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json_of(value)))
            .collect();
        detail.insert("pattern".into(), json!(name));
        detail.insert("first".into(), json!(first.at));
        detail.insert(DURATION.into(), json!((at - first.at) as f64 / 1_000.0));
        Alert {
            n: 0,
            // By the first event and the time: no two matches of a key share both.
            id: alert_id(PATTERN, &format!("{name}\u{0}{key}\u{0}{}.{}", first.at, first.nth), at),
            kind: PATTERN.into(),
            severity: pattern.spec.alert.clone().unwrap_or_default(),
            at,
            subject: key.to_string(),
            title: pattern.spec.title.clone(),
            detail: Detail::of(&detail),
        }
    }
}

fn pattern_name(pattern: &Pattern) -> &str {
    &pattern.spec.name
}

fn json_of(value: Attr<'_>) -> Value {
    match value {
        Attr::Missing | Attr::Unusable(_) => Value::Null,
        Attr::Number(number) => json!(number.to_f64()),
        Attr::Amount(amount) => json!(amount.to_f64()),
        Attr::Text(text) => json!(String::from_utf8_lossy(text)),
        Attr::Bool(value) => json!(value),
    }
}
