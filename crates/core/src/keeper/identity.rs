//! Whose state it is that a data folder holds: metrics, rules and patterns are recognised by what they
//! mean, so that a new title, unit or place in the file keeps the history. What is not
//! recognised begins anew, and what is no more is dropped; both are said.

use std::collections::BTreeSet;

use super::Keeper;
use super::outlook::{Fate, Outlook, edits};
use super::patterns::pattern_id;
use super::rules::{rule_id, rule_of};
use crate::metric::Metric;

/// Name and meaning.
pub(super) fn metric_id(metric: &Metric) -> String {
    format!("{}#{:016x}", metric.spec.name, metric.meaning)
}

/// The parts of an id.
fn parts(id: &str) -> (&str, &str) {
    id.rsplit_once('#').unwrap_or((id, ""))
}

/// What of a state goes on.
pub(super) struct Recognised {
    /// What becomes of everything that is kept or declared.
    pub outlook: Vec<Outlook>,
    /// Under what name the state of each metric is kept.
    pub ids: Vec<String>,
    /// State of metrics that are no more.
    pub dropped: Vec<String>,
    /// The rules and the patterns whose state goes on; that of others is dropped.
    pub rules: Vec<String>,
    pub patterns: Vec<String>,
}

impl Keeper {
    /// What the configuration changed since the last start, a sentence for each metric and
    /// rule.
    pub fn news(&self) -> &[String] {
        &self.news
    }

    pub(super) fn rule_ids(&self) -> Vec<String> {
        self.watching.iter().map(|rule| rule_id(rule, self.engine.metrics())).collect()
    }

    /// Finds the state of each metric and rule, given the ids of the metrics there is some of;
    /// what belongs to none is noted.
    pub(super) fn recognise(&self, kept: BTreeSet<String>) -> Recognised {
        let mut found_out = Vec::new();
        let mut say = |what: &str, name: &str, fate: Fate| {
            found_out.push(Outlook { subject: format!("{what} {name}"), fate });
        };
        let kept = &kept;
        let (own, mut ids) = (&self.ids, self.ids.clone());
        let mut free: Vec<&String> = kept.iter().filter(|id| !own.contains(id)).collect();
        let mut fresh = Vec::new();
        // One that is called something else now, if there can be no doubt which.
        for (id, metric) in ids.iter_mut().zip(self.engine.metrics()) {
            let name = metric.spec.name.as_str();
            if kept.contains(id) {
                say("metric", name, Fate::Kept);
                continue;
            }
            let own_id = metric_id(metric);
            let meaning = parts(&own_id).1;
            let alike = |other: &&&String| parts(other).1 == meaning;
            let claims = own.iter().filter(|id| !kept.contains(*id) && parts(id).1 == meaning);
            let found: Vec<&String> = free.iter().filter(alike).copied().collect();
            match (&found[..], claims.count()) {
                ([former], 1) => {
                    say("metric", name, Fate::Renamed(parts(former).0.to_owned()));
                    *id = (*former).clone();
                    free.retain(|other| other != former);
                }
                _ => fresh.push(("metric", name)),
            }
        }
        let rules = self.rule_ids();
        for (rule, id) in self.watching.iter().zip(&rules) {
            if self.state.rules.keys().any(|kept| rule_of(kept) == id) {
                say("rule", &rule.name, Fate::Kept)
            } else {
                fresh.push(("rule", &rule.name))
            }
        }
        let patterns: Vec<String> = self.patterns.list.iter().map(pattern_id).collect();
        for (pattern, id) in self.patterns.list.iter().zip(&patterns) {
            if self.state.patterns.contains_key(id) {
                say(pattern.spec.seeks.table(), &pattern.spec.name, Fate::Kept)
            } else {
                fresh.push((pattern.spec.seeks.table(), &pattern.spec.name))
            }
        }
        let lost = free.iter().map(|id| ("metric", id.as_str()));
        // One for all groups of a rule.
        let lost_rules: BTreeSet<&str> = self.state.rules.keys().map(|id| rule_of(id)).collect();
        let lost_rules = lost_rules.into_iter().filter(|id| !rules.iter().any(|rule| rule == id));
        let lost_patterns = self.state.patterns.keys().filter(|id| !patterns.contains(id));
        let lost = lost.chain(lost_rules.map(|id| ("rule", id)));
        let was = |table: &&str, id| {
            self.state.meanings.contains_key(&format!("{table} {}", parts(id).0))
        };
        let tables = ["join", "funnel", "sessions"];
        let table = |id| tables.into_iter().find(|table| was(table, id)).unwrap_or("pattern");
        for (what, id) in lost.chain(lost_patterns.map(|id| (table(id), id.as_str()))) {
            let name = parts(id).0;
            match fresh.iter().position(|declared| *declared == (what, name)) {
                Some(index) => {
                    fresh.remove(index);
                    let subject = format!("{what} {name}");
                    let edits = edits(&subject, &self.state.meanings, &self.meanings);
                    say(what, name, Fate::Changed(edits));
                }
                None => say(what, name, Fate::Gone),
            }
        }
        fresh.iter().for_each(|(what, name)| say(what, name, Fate::New));
        let dropped = free.into_iter().cloned().collect();
        let open = self.state.gauges.open();
        for (key, was) in &self.state.session {
            if let Some(is) = self.session.get(key).filter(|is| *is != was) {
                let fate = Fate::Setting { was: was.clone(), is: is.clone(), open };
                found_out.push(Outlook { subject: key.clone(), fate });
            }
        }
        Recognised { outlook: found_out, ids, dropped, rules, patterns }
    }
}
