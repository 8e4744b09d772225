//! The numbers of a finished replay.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Keeper, SessionTotals};
use crate::fault::FaultView;
use crate::ledger::Ledger;
use crate::metric::Number;
use crate::metric::aggregate::Accuracy;
use crate::pattern::PatternTally;
use crate::time::EpochMs;

/// What a replay amounts to, as far as the keeper knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplayNumbers {
    /// Events by what became of them.
    pub ledger: Ledger,
    /// Sessions by how they ended.
    pub sessions: SessionTotals,
    /// Sessions that were abandoned, and matches, that stand in the feed.
    pub occurrences: u64,
    /// Incidents of rules that began.
    pub incidents: u64,
    /// Those of them that are over.
    pub incidents_over: u64,
    /// The metrics by name.
    pub metrics: BTreeMap<String, MetricReport>,
    /// The patterns by name.
    pub patterns: BTreeMap<String, PatternTally>,
    /// Attributes of applied events that were of no use.
    pub unusable: Vec<FaultView>,
    /// Attributes that the configuration needs and no event carried.
    pub never_seen: Vec<String>,
    /// Aliases that no event carried.
    pub unused_aliases: Vec<String>,
}

/// One metric over all its final windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MetricReport {
    /// Windows that held anything, counted for each group.
    pub windows: u64,
    /// The greatest number, where each is one.
    pub max: Option<f64>,
    /// End of its first window.
    pub max_end: Option<EpochMs>,
    /// Sum over all windows, where each is one number.
    pub sum: f64,
    /// The newest number.
    pub last: Option<Number>,
    /// Events (or closed sessions) left out of at least one window: it was final when they
    /// came.
    pub window_late: u64,
    /// Those of them left out of all their windows.
    pub window_late_all: u64,
    /// Events (or closed sessions) left out of their roll-up minute.
    pub minute_late: u64,
    /// Events (or closed sessions) whose group is not among the first `group_limit`.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_groups: u64,
    /// Slides of a group in which facts had a number together.
    pub joined_slides: u64,
    /// Groups that left because they were silent for `group_silence`.
    #[serde(skip_serializing_if = "is_zero")]
    pub groups_left: u64,
    /// How exact the numbers are; `None` where they are exact always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// Sum of each group, by its text (`metric::groups::group_text`); `other` is what
    /// lies beyond `group_limit`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by_group: BTreeMap<String, f64>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Keeper {
    /// The numbers so far.
    pub fn numbers(&self) -> ReplayNumbers {
        let engine = &self.engine;
        let metrics = engine.metrics().iter().enumerate();
        ReplayNumbers {
            ledger: self.state.ledger,
            sessions: self.state.totals,
            occurrences: self.state.alerts,
            incidents: self.incidents.desk().counts().fired,
            incidents_over: self.incidents.desk().counts().resolved,
            patterns: self.patterns().map(|(spec, tally)| (spec.name.clone(), tally)).collect(),
            unusable: self.faults.views(),
            unused_aliases: self.unused_aliases.clone(),
            never_seen: self
                .faults
                .never_seen()
                .into_iter()
                .map(|never| format!("{} ({})", never.attribute, never.key))
                .collect(),
            metrics: metrics
                .map(|(index, metric)| {
                    let (totals, late) = (&engine.totals[index], &engine.late[index]);
                    let groups = &engine.state(index).groups;
                    let mut by_group: BTreeMap<String, f64> = BTreeMap::new();
                    for (group, sum) in &engine.group_totals[index].sums {
                        // One that has left may have come again.
                        *by_group.entry(groups.text(*group)).or_default() += sum.value();
                    }
                    let report = MetricReport {
                        windows: totals.windows,
                        max: totals.max.map(|(value, _)| value),
                        max_end: totals.max.map(|(_, end)| end),
                        sum: totals.sum.value(),
                        last: totals.last.as_ref().map(|(_, value)| value.clone()),
                        window_late: late.some,
                        window_late_all: late.all,
                        minute_late: late.minute,
                        other_groups: engine.overflow[index],
                        joined_slides: engine.joined[index],
                        accuracy: metric.spec.aggregate.accuracy(),
                        groups_left: groups.num_left(),
                        by_group,
                    };
                    (metric.spec.name.clone(), report)
                })
                .collect(),
        }
    }
}
