//! How things stand at the desk, in numbers.

use std::collections::BTreeMap;

use super::kept::REMOVED;
use super::{Desk, Of, Phase, Waits};

/// Why an incident or an occurrence is not told for good.
const HELD_BACK: [&str; 7] = {
    let [muted, old] = [Waits::Muted.word(), Waits::TooOld.word()];
    let [after, quiet] = [Waits::After.word(), Waits::Quiet.word()];
    [muted, old, after, quiet, Waits::Budget.word(), Waits::Acknowledged.word(), REMOVED]
};

/// In which order people want to know of it.
pub const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

impl Desk {
    /// Incidents that are open, by severity and phase: each severity with each phase that an open incident
    /// can have, those without any as well.
    pub fn num_open(&self) -> BTreeMap<(&'static str, Phase), usize> {
        let phases = [Phase::Firing, Phase::Acknowledged, Phase::Silenced];
        let all = SEVERITIES.iter().flat_map(|word| phases.map(|phase| ((*word, phase), 0)));
        let mut counts: BTreeMap<_, _> = all.collect();
        for incident in self.open() {
            let severity = SEVERITIES.iter().find(|word| **word == incident.severity);
            if let Some(severity) = severity {
                *counts.entry((*severity, incident.phase())).or_default() += 1;
            }
        }
        counts
    }

    /// What was not told for good, by reason: also those that nothing was held back for.
    pub fn num_held_back(&self) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<String, u64> =
            HELD_BACK.iter().map(|reason| ((*reason).to_owned(), 0)).collect();
        counts.extend(self.counts.held_back.clone());
        counts
    }

    /// Silences that are in force: begun, not over, and with a condition that can be asked.
    pub fn num_silences(&self) -> usize {
        let silences = self.silences().filter(|silence| silence.void.is_none());
        silences.filter(|silence| silence.is_at(self.now())).count()
    }

    /// By route, how much it is to be told of later: occurrences and incidents that were collected to be
    /// told together, and open incidents that wait for the end of quiet hours, for room, or to be left
    /// unacknowledged for long enough.
    pub fn num_waiting(&self) -> impl Iterator<Item = (&str, u64)> {
        self.settings.routes.iter().map(|route| {
            let kept = self.kept.get(&route.name).and_then(|kept| kept.digest.as_ref());
            let collected = kept.map_or(0, |digest| digest.count);
            let open = self.open().filter_map(|incident| incident.told.get(&route.name)?.waits);
            let later =
                |waits: &Waits| matches!(waits, Waits::Quiet | Waits::Budget | Waits::After);
            let held = if route.of == Of::Incidents { open.filter(later).count() } else { 0 };
            (route.name.as_str(), collected + held as u64)
        })
    }
}
