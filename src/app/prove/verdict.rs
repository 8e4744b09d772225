//! What was found against what had to come out, for people and for scripts.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use super::oracle::Expected;

/// What the worker and the streams say at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Messages of the stream of events.
    pub messages: u64,
    pub received: u64,
    pub applied: u64,
    /// Known again by id, or too late to count.
    pub repeats: u64,
    pub rejected: u64,
    pub in_flight: u64,
    pub balanced: bool,
    pub open_sessions: u64,
    pub sessions: u64,
    pub abandoned: u64,
    pub converted: u64,
    /// Ids of all alerts of the worker's feed.
    pub feed_ids: Vec<String>,
    /// User and deadline of each alert of an abandoned session in the feed.
    pub feed: Vec<(String, i64)>,
    /// Ids of all alerts of the stream of alerts.
    pub stream_ids: Vec<String>,
}

/// One number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub what: &'static str,
    pub expected: u64,
    pub found: u64,
    pub difference: u64,
}

/// Every number that has to be equal.
pub(super) fn compare(expected: &Expected, found: &Found) -> Vec<Check> {
    let check = |what, expected: u64, found: u64| Check {
        what,
        expected,
        found,
        difference: expected.abs_diff(found),
    };
    let outcomes = found.applied + found.repeats + found.rejected + found.in_flight;
    let (mut wanted, mut fed) = (expected.alerts.clone(), found.feed.clone());
    wanted.sort();
    fed.sort();
    let feed: BTreeSet<&String> = found.feed_ids.iter().collect();
    let stream: BTreeSet<&String> = found.stream_ids.iter().collect();
    let twice = |ids: &[String], unique: &BTreeSet<_>| (ids.len() - unique.len()) as u64;
    vec![
        check("messages in the stream", expected.messages, found.messages),
        check("events received", expected.messages, found.received),
        check("events applied", expected.applied, found.applied),
        check("repeats not counted", expected.repeats, found.repeats),
        check("events rejected", 0, found.rejected),
        check("events in flight", 0, found.in_flight),
        check("events without an outcome", 0, found.received.abs_diff(outcomes)),
        check("ledger balanced (1 = yes)", 1, u64::from(found.balanced)),
        check("sessions closed", expected.sessions, found.sessions),
        check("sessions abandoned", expected.abandoned, found.abandoned),
        check("sessions converted", expected.converted, found.converted),
        check("sessions open", 1, found.open_sessions),
        check("alerts of abandoned sessions", wanted.len() as u64, fed.len() as u64),
        check("alerts missing", 0, missing(&wanted, &fed)),
        check("alerts nobody should get", 0, missing(&fed, &wanted)),
        check("alerts twice in the feed", 0, twice(&found.feed_ids, &feed)),
        check("alerts in the stream", found.feed_ids.len() as u64, found.stream_ids.len() as u64),
        check("alerts twice in the stream", 0, twice(&found.stream_ids, &stream)),
        check("alerts in one of both only", 0, feed.symmetric_difference(&stream).count() as u64),
    ]
}

/// How many of `some` are not in `others`, each as often as it is there. Both sorted.
fn missing(some: &[(String, i64)], others: &[(String, i64)]) -> u64 {
    let (mut count, mut rest) = (0, others);
    for one in some {
        rest = &rest[rest.partition_point(|other| other < one)..];
        match rest.first() {
            Some(other) if other == one => rest = &rest[1..],
            _ => count += 1,
        }
    }
    count
}

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    /// Every difference is 0.
    pub equal: bool,
    /// The sum of all differences.
    pub difference: u64,
    pub seed: u64,
    /// Different events published, besides the one that closes all sessions.
    pub events: u32,
    /// How often the worker was ended with kill -9.
    pub kills: u64,
    /// The server.
    pub server: String,
    /// Its version.
    pub server_version: String,
    /// Repeats that the stream dropped.
    pub dropped_by_stream: u64,
    /// From the kill to the worker's being ready again, in ms.
    pub recovery_ms: Recovery,
    /// Time it took altogether, in seconds.
    pub elapsed_s: f64,
    pub checks: Vec<Check>,
}

/// How long the worker was away after a kill, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Recovery {
    pub median: i64,
    pub max: i64,
}

impl Recovery {
    /// Of all times.
    pub fn of(times: &[i64]) -> Self {
        let mut times = times.to_vec();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or(0);
        Recovery { median, max: times.last().copied().unwrap_or(0) }
    }
}

/// The sum of all differences.
pub(super) fn difference(checks: &[Check]) -> u64 {
    checks.iter().map(|check| check.difference).sum()
}

impl Verdict {
    /// As a table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{:<30} {:>10} {:>10} {:>10}", "", "expected", "found", "differs");
        for check in &self.checks {
            let Check { what, expected, found, difference } = check;
            let _ = writeln!(text, "{what:<30} {expected:>10} {found:>10} {difference:>10}");
        }
        let Recovery { median, max } = self.recovery_ms;
        let _ = writeln!(
            text,
            "\nseed {}, {} events, {} kills in {:.1} s on {} (nats-server {})",
            self.seed, self.events, self.kills, self.elapsed_s, self.server, self.server_version,
        );
        let _ = writeln!(text, "ready again after a kill: {median} ms (median), {max} ms (worst)");
        let _ = write!(
            text,
            "{}",
            if self.equal {
                "EQUAL: difference 0".to_owned()
            } else {
                format!("NOT EQUAL: difference {}", self.difference)
            }
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Expected, Found) {
        let alerts = vec![("ada".to_owned(), 5), ("bob".to_owned(), 6)];
        let ids = vec!["a".to_owned(), "b".to_owned()];
        let expected = Expected {
            messages: 12,
            applied: 10,
            repeats: 2,
            sessions: 4,
            abandoned: 2,
            converted: 1,
            alerts: alerts.clone(),
        };
        let found = Found {
            messages: 12,
            received: 12,
            applied: 10,
            repeats: 2,
            balanced: true,
            open_sessions: 1,
            sessions: 4,
            abandoned: 2,
            converted: 1,
            feed_ids: ids.clone(),
            feed: alerts,
            stream_ids: ids,
            ..Found::default()
        };
        (expected, found)
    }

    #[test]
    fn what_had_to_come_out_differs_in_nothing() {
        let (expected, found) = pair();
        let checks = compare(&expected, &found);
        assert_eq!(difference(&checks), 0, "{checks:?}");
    }

    #[test]
    fn every_single_deviation_is_seen() {
        let changes: [fn(&mut Found); 15] = [
            |found| found.messages += 1,
            |found| found.received -= 1,
            |found| found.applied += 1,
            |found| found.repeats -= 1,
            |found| found.rejected = 1,
            |found| found.in_flight = 1,
            |found| found.balanced = false,
            |found| found.sessions -= 1,
            |found| found.abandoned += 1,
            |found| found.converted = 0,
            |found| found.open_sessions = 2,
            |found| found.feed[0].1 += 1,
            |found| found.feed_ids[1] = "a".into(),
            |found| found.stream_ids.push("a".into()),
            |found| found.stream_ids[0] = "c".into(),
        ];
        for (number, change) in changes.iter().enumerate() {
            let (expected, mut found) = pair();
            change(&mut found);
            assert!(difference(&compare(&expected, &found)) > 0, "change {number}");
        }
    }

    #[test]
    fn an_alert_twice_is_one_too_many() {
        let one = |user: &str| (user.to_owned(), 1);
        assert_eq!(missing(&[one("a"), one("a")], &[one("a"), one("b")]), 1);
        assert_eq!(missing(&[one("b")], &[one("a"), one("b")]), 0);
        assert_eq!(missing(&[one("a")], &[]), 1);
    }

    #[test]
    fn recovery_of_no_kill_is_nothing() {
        assert_eq!(Recovery::of(&[]), Recovery::default());
        assert_eq!(Recovery::of(&[5, 1, 9]), Recovery { median: 5, max: 9 });
    }
}
