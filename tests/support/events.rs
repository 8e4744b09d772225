//! Events as the tests see them, a seeded source of randomness, and sessions computed in
//! the plainest way there is.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use serde_json::{Value, json};

/// Silence that ends a session, ms.
pub const GAP: i64 = 30 * 60 * 1000;

/// One event of a test.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: String,
    pub at: i64,
    pub kind: String,
    pub user: String,
    /// Attributes beside these, `status` for example.
    pub more: BTreeMap<String, Value>,
}

impl Event {
    pub fn new(id: impl Into<String>, at: i64, kind: &str, user: impl Into<String>) -> Self {
        Event { id: id.into(), at, kind: kind.into(), user: user.into(), more: BTreeMap::new() }
    }

    pub fn line(&self) -> String {
        let mut value = json!({ "ts": self.at, "type": self.kind, "user": self.user });
        if !self.id.is_empty() {
            value["id"] = json!(self.id);
        }
        for (name, attribute) in &self.more {
            value[name] = attribute.clone();
        }
        value.to_string()
    }
}

/// One session, by the rule "an event more than the gap after the last one begins a new one".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    pub start: i64,
    pub user: String,
    pub last: i64,
    pub events: u64,
    pub entries: u64,
    pub goals: u64,
}

impl Session {
    pub fn abandoned(&self) -> bool {
        self.entries > 0 && self.goals == 0
    }

    pub fn converted(&self) -> bool {
        self.entries > 0 && self.goals > 0
    }
}

/// The sessions of `events` in any order, by (start, user).
pub fn sessions<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Session> {
    let mut by_user: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_user.entry(&event.user).or_default().push(event);
    }
    let mut done = Vec::new();
    for (user, mut events) in by_user {
        events.sort_by_key(|event| event.at);
        let mut open: Option<Session> = None;
        for event in events {
            if open.as_ref().is_some_and(|session| event.at - session.last > GAP) {
                done.extend(open.take());
            }
            let session = open.get_or_insert_with(|| Session {
                start: event.at,
                user: user.into(),
                last: event.at,
                events: 0,
                entries: 0,
                goals: 0,
            });
            session.last = event.at;
            session.events += 1;
            session.entries += u64::from(event.kind == "cart_add");
            session.goals += u64::from(event.kind == "payment_completed");
        }
        done.extend(open);
    }
    done.sort();
    done
}

/// Alerts of kind `abandoned` as (subject, time), sorted.
pub fn abandoned_alerts(sessions: &[Session]) -> Vec<(String, i64)> {
    let abandoned = sessions.iter().filter(|session| session.abandoned());
    let mut alerts: Vec<_> =
        abandoned.map(|session| (session.user.clone(), session.last + GAP)).collect();
    alerts.sort();
    alerts
}

/// Repeatable randomness (splitmix64): the same seed gives the same test on any machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The seed of `TIDEWATCH_TEST_SEED`, or a new one; printed, so that a failure can be
    /// had again.
    pub fn seeded(test: &str) -> Self {
        let seed = match std::env::var("TIDEWATCH_TEST_SEED") {
            Ok(text) => text.parse().expect("TIDEWATCH_TEST_SEED is a number"),
            Err(_) => RandomState::new().hash_one(test) >> 32,
        };
        println!("{test}: TIDEWATCH_TEST_SEED={seed}");
        Random(seed)
    }

    pub fn from_seed(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True once in `n` times, on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}
