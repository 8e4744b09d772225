//! Whether the process is ready, and if not, why; and what stands although it is ready:
//! written by the parts, read by `/readyz`, the board and the log.

use std::collections::BTreeMap;

use metrics::gauge;
use parking_lot::Mutex;

use crate::domain::condition::Condition;
use crate::telemetry::happenings::ConditionStands;
use crate::telemetry::names;

/// A condition that comes and goes is logged once in this time, in ms.
const LOG_BEGINS: i64 = 60_000;
/// One that stays is logged again after this time, in ms.
const LOG_STAYS: i64 = 600_000;

/// Reasons for not being ready, by part. Empty means ready.
#[derive(Debug, Default)]
pub struct Status {
    reasons: Mutex<BTreeMap<&'static str, String>>,
    warnings: Mutex<BTreeMap<String, Vec<String>>>,
    conditions: Mutex<BTreeMap<Condition, Standing>>,
}

/// A condition that was found at least once.
#[derive(Debug, Default)]
struct Standing {
    /// What is the matter, a sentence or two; `None` when it is over.
    says: Option<String>,
    /// Monotonic time when it was logged last.
    logged: Option<i64>,
}

impl Status {
    /// Sets or clears the reason of one part (`start`, `state`, `log`, `source`, `drain`).
    pub fn set(&self, part: &'static str, reason: Option<String>) {
        let mut reasons = self.reasons.lock();
        match reason {
            Some(reason) => reasons.insert(part, reason),
            None => reasons.remove(part),
        };
        drop(reasons);
        self.show_ready();
    }

    /// A condition stands, with what is to be said of it (a sentence or two, which may change
    /// while it stands), or `None`: it is over. `now` is monotonic, in ms. Logged when it
    /// begins, at most once a minute, and again every ten minutes while it stays.
    pub fn stands(&self, condition: Condition, says: Option<String>, now: i64) {
        let mut conditions = self.conditions.lock();
        if says.is_none() && !conditions.contains_key(&condition) {
            return;
        }
        let standing = conditions.entry(condition).or_default();
        let began = standing.says.is_none();
        if began != says.is_none() {
            let stands = f64::from(u8::from(says.is_some()));
            gauge!(names::CONDITION, "condition" => condition.name()).set(stands);
        }
        let quiet = if began { LOG_BEGINS } else { LOG_STAYS };
        let log = says.is_some() && standing.logged.is_none_or(|logged| now - logged >= quiet);
        if log {
            standing.logged = Some(now);
        }
        standing.says.clone_from(&says);
        drop(conditions);
        if let Some(says) = says.filter(|_| log) {
            ConditionStands { condition, says: &says }.tell();
        }
        self.show_ready();
    }

    /// What stands now.
    pub fn standing(&self) -> Vec<(Condition, String)> {
        let conditions = self.conditions.lock();
        let says = |(condition, standing): (&Condition, &Standing)| {
            standing.says.clone().map(|says| (*condition, says))
        };
        conditions.iter().filter_map(says).collect()
    }

    /// The reason of one part, if it has one.
    pub fn reason(&self, part: &str) -> Option<String> {
        self.reasons.lock().get(part).cloned()
    }

    /// Why the process is not ready, conditions that stop it included; empty when it is.
    pub fn reasons(&self) -> Vec<(&'static str, String)> {
        let mut reasons: Vec<_> =
            self.reasons.lock().iter().map(|(part, reason)| (*part, reason.clone())).collect();
        let standing = self.standing().into_iter().filter(|(condition, _)| condition.stops());
        reasons.extend(standing.map(|(condition, says)| (condition.name(), says)));
        reasons
    }

    fn show_ready(&self) {
        gauge!(names::READY).set(f64::from(u8::from(self.reasons().is_empty())));
    }

    /// What whoever operates it should know of one part (a source's name), though it is
    /// ready: a sentence each. Takes the place of what was said of that part before.
    pub fn warn(&self, part: &str, sentences: Vec<String>) {
        let mut warnings = self.warnings.lock();
        match sentences.is_empty() {
            true => warnings.remove(part),
            false => warnings.insert(part.to_owned(), sentences),
        };
    }

    /// All warnings, with the part they are about; conditions that do not stop the process
    /// are among them.
    pub fn warnings(&self) -> Vec<(String, String)> {
        let warnings = self.warnings.lock();
        let of = |(part, said): (&String, &Vec<String>)| -> Vec<(String, String)> {
            said.iter().map(|sentence| (part.clone(), sentence.clone())).collect()
        };
        let mut all: Vec<_> = warnings.iter().flat_map(of).collect();
        drop(warnings);
        let standing = self.standing().into_iter().filter(|(condition, _)| !condition.stops());
        all.extend(standing.map(|(condition, says)| (condition.name().to_owned(), says)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_stands_until_it_is_over_and_only_some_stop_the_process() {
        let status = Status::default();
        status.stands(Condition::SessionsFull, Some("all 10 are open".into()), 0);
        assert!(status.reasons().is_empty());
        assert_eq!(status.warnings(), [("sessions_full".into(), "all 10 are open".into())]);
        status.stands(Condition::LogFull, Some("no room for log.db".into()), 0);
        assert_eq!(status.reasons(), [("log_full", "no room for log.db".to_owned())]);
        status.stands(Condition::LogFull, None, 5);
        status.stands(Condition::SessionsFull, None, 5);
        assert!(status.reasons().is_empty() && status.warnings().is_empty());
        assert!(status.standing().is_empty());
    }

    #[test]
    fn what_comes_and_goes_is_logged_once_a_minute_and_what_stays_every_ten() {
        let status = Status::default();
        let logged = |status: &Status| {
            status.conditions.lock().get(&Condition::ClockBehind).and_then(|s| s.logged)
        };
        let mut times = Vec::new();
        for second in 0..1_800u32 {
            let now = i64::from(second) * 1_000;
            // On and off each second for 10 minutes, then on for good.
            let on = second >= 600 || second.is_multiple_of(2);
            status.stands(Condition::ClockBehind, on.then(|| "behind".into()), now);
            times.push(logged(&status));
        }
        times.dedup();
        assert_eq!(times.len(), 10 + 2, "{times:?}");
    }
}
