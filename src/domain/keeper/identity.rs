//! Whose state it is that a data folder holds: metrics and rules are recognised by what they
//! mean, so that a new title, unit or place in the file keeps the history. What is not
//! recognised begins anew, and what is no more is dropped; both are said.

use std::collections::{BTreeMap, BTreeSet};

use super::Keeper;
use super::rules::rule_id;
use crate::domain::metric::Metric;

/// Name and meaning.
pub(super) fn metric_id(metric: &Metric) -> String {
    format!("{}#{:016x}", metric.spec.name, metric.meaning)
}

/// The parts of an id.
fn parts(id: &str) -> (&str, &str) {
    id.rsplit_once('#').unwrap_or((id, ""))
}

impl Keeper {
    /// What the configuration changed since the last start, a sentence for each metric and
    /// rule.
    pub fn news(&self) -> &[String] {
        &self.news
    }

    pub(super) fn rule_ids(&self) -> Vec<String> {
        self.sigma.iter().map(|rule| rule_id(rule, self.engine.metrics())).collect()
    }

    /// Finds the state of each metric and rule, given the ids of the metrics there is some of;
    /// what belongs to none is noted.
    pub(super) fn recognise(&mut self, kept: BTreeSet<String>) {
        let kept = &kept;
        let own = self.ids.clone();
        let mut free: Vec<&String> = kept.iter().filter(|id| !own.contains(id)).collect();
        // One that is called something else now, if there can be no doubt which.
        for (id, metric) in self.ids.iter_mut().zip(self.engine.metrics()) {
            let own_id = metric_id(metric);
            let meaning = parts(&own_id).1;
            let alike = |other: &&&String| parts(other).1 == meaning;
            let claims = own.iter().filter(|id| !kept.contains(*id) && parts(id).1 == meaning);
            let found: Vec<&String> = free.iter().filter(alike).copied().collect();
            if let ([former], false, 1) = (&found[..], kept.contains(id), claims.count()) {
                let (name, was) = (&metric.spec.name, parts(former).0);
                self.news.push(format!("metric {name} was called {was} and keeps its history"));
                *id = (*former).clone();
                free.retain(|other| other != former);
            }
        }
        let metrics = self.engine.metrics();
        let rules = self.rule_ids();
        let now: BTreeMap<&str, &str> = metrics
            .iter()
            .map(|metric| (metric.spec.name.as_str(), "metric"))
            .chain(self.sigma.iter().map(|rule| (rule.name.as_str(), "rule")))
            .collect();
        let lost = free.iter().map(|id| ("metric", *id));
        let lost_rules = self.state.rules.keys().filter(|id| !rules.contains(id));
        for (what, id) in lost.chain(lost_rules.map(|id| ("rule", id))) {
            let name = parts(id).0;
            self.news.push(match now.get(name) == Some(&what) {
                true => format!(
                    "{what} {name} means something else than at the last start: its history is \
                     dropped and begins anew"
                ),
                false => format!("{what} {name} is declared no more: its history is dropped"),
            });
        }
        self.dropped = free.into_iter().cloned().collect();
        self.state.rules.retain(|id, _| rules.contains(id));
    }
}
