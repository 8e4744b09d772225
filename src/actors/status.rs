//! What stands in the process that somebody should know of: told by the parts, read by `/readyz`,
//! the board, `/metrics` and the log. What follows from a condition says its line of the table
//! (`domain::condition`); nothing here knows one by name.

use std::collections::BTreeMap;
use std::fmt;

use metrics::gauge;
use parking_lot::Mutex;

use crate::clock::{SharedClock, SystemClock};
use crate::domain::condition::Condition;
use crate::telemetry::happenings::ConditionStands;
use crate::telemetry::names;

/// A condition that comes and goes is logged once in this time, in ms.
const LOG_BEGINS: i64 = 60_000;
/// One that stays is logged again after this time, in ms.
const LOG_STAYS: i64 = 600_000;

/// The conditions that stand. What they are about is bounded by the configuration: a source, an
/// output.
pub struct Status {
    clock: SharedClock,
    /// Nothing is told to the exporter or logged.
    aside: bool,
    conditions: Mutex<BTreeMap<(Condition, String), Kept>>,
}

/// A condition that was found at least once.
#[derive(Debug, Default)]
struct Kept {
    /// What is the matter; `None` when it is over.
    says: Option<String>,
    /// Monotonic time when it was logged last.
    logged: Option<i64>,
}

/// A condition that stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub condition: Condition,
    /// What it is about where there may be several: a source's or an output's name; or empty.
    pub about: String,
    /// What is the matter, a sentence or two.
    pub says: String,
}

impl fmt::Display for Standing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.about.as_str() {
            "" => out.write_str(&self.says),
            about => write!(out, "{about}: {}", self.says),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Status").field("standing", &self.standing()).finish_non_exhaustive()
    }
}

impl Default for Status {
    fn default() -> Self {
        Status::new(SystemClock::shared())
    }
}

impl Status {
    /// Nothing stands. `clock` says when something was logged.
    pub fn new(clock: SharedClock) -> Self {
        Status { clock, aside: false, conditions: Mutex::default() }
    }

    /// The same for a pipeline beside the one that serves: nothing of it is logged or told to the
    /// exporter, whose figures are those of the process.
    pub fn aside(clock: SharedClock) -> Self {
        Status { aside: true, ..Status::new(clock) }
    }

    /// Whether it is of a pipeline beside the one that serves.
    pub fn is_aside(&self) -> bool {
        self.aside
    }

    /// A condition stands, with what is to be said of it (which may change while it stands), or
    /// `None`: it is over. Logged when it begins, at most once a minute, and again every ten
    /// minutes while it stays.
    pub fn stands(&self, condition: Condition, says: Option<String>) {
        self.stands_for(condition, "", says);
    }

    /// The wall clock, in ms since 1970.
    pub fn wall(&self) -> i64 {
        self.clock.wall()
    }

    /// As `stands`, in the words of the table, as long as `holds`.
    pub fn holds(&self, condition: Condition, holds: bool) {
        self.stands(condition, holds.then(|| condition.says().to_owned()));
    }

    /// As `stands`, of one of several sources or outputs.
    pub fn stands_for(&self, condition: Condition, about: &str, says: Option<String>) {
        let key = (condition, about.to_owned());
        let mut conditions = self.conditions.lock();
        if says.is_none() && !conditions.contains_key(&key) {
            return;
        }
        let kept = conditions.entry(key).or_default();
        let changed = kept.says.is_none() != says.is_none();
        let quiet = if kept.says.is_none() { LOG_BEGINS } else { LOG_STAYS };
        let now = self.clock.elapsed();
        let log =
            says.is_some() && !self.aside && kept.logged.is_none_or(|logged| now - logged >= quiet);
        if log {
            kept.logged = Some(now);
        }
        kept.says.clone_from(&says);
        if changed && !self.aside {
            let any = |only: &dyn Fn(Condition) -> bool| {
                let stands = |((found, _), kept): (&(Condition, String), &Kept)| {
                    only(*found) && kept.says.is_some()
                };
                f64::from(u8::from(conditions.iter().any(stands)))
            };
            gauge!(names::CONDITION, "condition" => condition.name())
                .set(any(&|found| found == condition));
            gauge!(names::READY).set(1.0 - any(&|found| found.stops()));
        }
        drop(conditions);
        if let Some(says) = says.filter(|_| log) {
            let standing = Standing { condition, about: about.into(), says };
            ConditionStands { condition, says: &standing.to_string() }.tell();
        }
    }

    /// What stands now, in the order of the table.
    pub fn standing(&self) -> Vec<Standing> {
        let conditions = self.conditions.lock();
        let says = |((condition, about), kept): (&(Condition, String), &Kept)| {
            let says = kept.says.clone()?;
            Some(Standing { condition: *condition, about: about.clone(), says })
        };
        conditions.iter().filter_map(says).collect()
    }

    /// Why the process is not ready; empty when it is.
    pub fn reasons(&self) -> Vec<Standing> {
        self.standing().into_iter().filter(|standing| standing.condition.stops()).collect()
    }

    /// As `GET /readyz` answers: `ready`, and `reasons` by the names of the conditions.
    pub fn ready(&self) -> serde_json::Value {
        let mut reasons = BTreeMap::<_, String>::new();
        for standing in self.reasons() {
            let said = reasons.entry(standing.condition.name()).or_default();
            *said += if said.is_empty() { "" } else { "; " };
            *said += &standing.to_string();
        }
        serde_json::json!({"ready": reasons.is_empty(), "reasons": reasons})
    }

    /// What makes the numbers old, if something does.
    pub fn stale(&self) -> Option<Condition> {
        let standing = self.standing();
        standing.iter().map(|standing| standing.condition).find(|found| found.makes_stale())
    }

    /// Whether a condition stands.
    pub fn is(&self, condition: Condition) -> bool {
        self.standing().iter().any(|standing| standing.condition == condition)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::clock::Clock;

    /// The time that the test says it is.
    #[derive(Default)]
    struct Told(AtomicI64);

    impl Clock for Told {
        fn wall(&self) -> i64 {
            self.elapsed()
        }

        fn elapsed(&self) -> i64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_condition_stands_until_it_is_over_and_only_some_stop_the_process() {
        let status = Status::default();
        status.stands(Condition::SessionsFull, Some("all 10 are open".into()));
        assert!(status.reasons().is_empty() && status.stale().is_none());
        let sentences = |all: Vec<Standing>| -> Vec<String> {
            all.iter().map(|one| format!("{} {one}", one.condition.name())).collect()
        };
        assert_eq!(sentences(status.standing()), ["sessions_full all 10 are open"]);
        status.stands(Condition::LogFull, Some("no room for log.db".into()));
        assert_eq!(sentences(status.reasons()), ["log_full no room for log.db"]);
        status.stands(Condition::LogFull, None);
        status.stands(Condition::SessionsFull, None);
        assert!(status.standing().is_empty());
    }

    #[test]
    fn one_condition_may_stand_for_several_and_is_over_with_the_last() {
        let status = Status::default();
        status.stands_for(Condition::SourceAway, "B", Some("no answer".into()));
        status.stands_for(Condition::SourceAway, "A", Some("no leader".into()));
        let said = |status: &Status| -> Vec<String> {
            status.reasons().iter().map(Standing::to_string).collect()
        };
        assert_eq!(said(&status), ["A: no leader", "B: no answer"]);
        status.stands_for(Condition::SourceAway, "A", None);
        assert_eq!(
            (said(&status), status.stale()),
            (vec!["B: no answer".into()], Some(Condition::SourceAway))
        );
        status.stands_for(Condition::SourceAway, "B", None);
        assert!(!status.is(Condition::SourceAway) && status.stale().is_none());
    }

    #[test]
    fn the_first_of_the_table_says_why_the_numbers_are_old() {
        let status = Status::default();
        status.holds(Condition::CatchingUp, true);
        assert_eq!(status.stale(), Some(Condition::CatchingUp));
        status.holds(Condition::StateFull, true);
        assert_eq!(status.stale(), Some(Condition::StateFull));
    }

    #[test]
    fn what_comes_and_goes_is_logged_once_a_minute_and_what_stays_every_ten() {
        let clock = Arc::new(Told::default());
        let status = Status::new(clock.clone());
        let logged = |status: &Status| {
            let conditions = status.conditions.lock();
            conditions.get(&(Condition::ClockBehind, String::new())).and_then(|kept| kept.logged)
        };
        let mut times = Vec::new();
        for second in 0..1_800u32 {
            clock.0.store(i64::from(second) * 1_000, Ordering::SeqCst);
            // On and off each second for 10 minutes, then on for good.
            let on = second >= 600 || second.is_multiple_of(2);
            status.holds(Condition::ClockBehind, on);
            times.push(logged(&status));
        }
        times.dedup();
        assert_eq!(times.len(), 10 + 2, "{times:?}");
    }
}
