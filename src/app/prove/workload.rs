//! The events of a proof: a function of the seed and nothing else.
//!
//! Times lie in the past and advance within the events, so that a slow machine changes no
//! result: only the events move the watermark.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;

/// Silence that ends a session, in ms.
pub(super) const GAP_MS: i64 = 2_000;

/// Allowed lateness, in ms.
pub(super) const LATENESS_MS: i64 = 500;

/// How far the watermark trails, in ms. More than `DISORDER_MS`, so that no first arrival
/// is late.
pub(super) const TRAIL_MS: i64 = 1_000;

/// How far an event may be published after its time, in ms.
const DISORDER_MS: i64 = 800;

/// Time of the first session: 2025-01-01, in ms since 1970.
const BEGIN: i64 = 1_735_689_600_000;

/// Event time for each event, in ms: a thousand events are twenty seconds.
const MS_PER_EVENT: i64 = 20;

/// A user has several sessions: this many events on average.
const EVENTS_PER_USER: usize = 25;

/// Most events of one visit.
const VISIT_EVENTS_MAX: usize = 8;

/// The user of the event that closes all others' sessions, and how long after them.
pub(super) const FLUSH_USER: &str = "~flush";
const FLUSH_AFTER_MS: i64 = 86_400_000;

/// Whether an event is published twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Once.
    #[default]
    No,
    /// Again with the same message id: the stream drops it.
    Dropped,
    /// Again with another message id, as after the stream's duplicate window: the stream
    /// stores it, and tidewatch must know it again.
    Stored,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub id: String,
    /// Event time, ms since 1970.
    pub at: i64,
    pub kind: &'static str,
    pub user: String,
    pub repeat: Repeat,
}

impl Event {
    /// As a publisher writes it.
    pub fn json(&self) -> serde_json::Value {
        let mut event = json!({"id": self.id, "ts": self.at, "type": self.kind, "user": self.user});
        if self.kind == "cart_add" {
            event["amount"] = json!(12.5);
        }
        event
    }
}

/// `count` events in the order they are published, and the one that closes all sessions.
pub(super) fn events(seed: u64, count: usize) -> Vec<Event> {
    let mut random = StdRng::seed_from_u64(seed);
    let users = (count / EVENTS_PER_USER).max(2);
    let span = count as i64 * MS_PER_EVENT;
    let mut events = Vec::with_capacity(count + VISIT_EVENTS_MAX);
    while events.len() < count {
        let user = format!("u{}", random.random_range(0..users));
        let start = BEGIN + random.random_range(0..span);
        visit(&mut random, &user, start, &mut events);
    }
    // Visits of any time were made in any order: the cut takes none of a certain time.
    events.truncate(count);
    events.shuffle(&mut random);
    for (number, event) in events.iter_mut().enumerate() {
        event.id = format!("{seed}-{number}");
        event.repeat = match random.random_range(0..20) {
            0 => Repeat::Dropped,
            1 => Repeat::Stored,
            _ => Repeat::No,
        };
    }
    events.sort_by_cached_key(|event| event.at + random.random_range(0..=DISORDER_MS));
    let end = events.iter().map(|event| event.at).max().unwrap_or(BEGIN);
    events.push(Event {
        id: format!("{seed}-flush"),
        at: end + FLUSH_AFTER_MS,
        kind: "page_view",
        user: FLUSH_USER.into(),
        repeat: Repeat::No,
    });
    events
}

/// A visit of a user: a look around, perhaps a cart, perhaps paid.
fn visit(random: &mut StdRng, user: &str, start: i64, events: &mut Vec<Event>) {
    let len = random.random_range(1..=VISIT_EVENTS_MAX);
    let (cart, paid) = (random.random_bool(0.6), random.random_bool(0.5));
    let mut at = start;
    for number in 0..len {
        let kind = match number {
            n if n > 0 && n + 1 == len && cart && paid => "payment_completed",
            n if n % 2 == 1 && cart => "cart_add",
            _ => "page_view",
        };
        let (id, repeat) = (String::new(), Repeat::No);
        events.push(Event { id, at, kind, user: user.into(), repeat });
        at += match random.random_range(0..10) {
            // Both sides of the rule: exactly the gap still belongs, a millisecond more
            // does not.
            0 => GAP_MS,
            1 => GAP_MS + 1,
            _ => random.random_range(50..1_500),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_events() {
        let first = events(7, 2_000);
        assert_eq!(first, events(7, 2_000));
        assert_ne!(first, events(8, 2_000));
        assert_eq!(first.len(), 2_001);
    }

    #[test]
    fn every_kind_of_trouble_is_there_and_nothing_comes_late() {
        let events = events(1, 5_000);
        for wanted in [Repeat::No, Repeat::Dropped, Repeat::Stored] {
            assert!(events.iter().any(|event| event.repeat == wanted), "{wanted:?}");
        }
        for kind in ["page_view", "cart_add", "payment_completed"] {
            assert!(events.iter().any(|event| event.kind == kind), "{kind}");
        }
        let ids: std::collections::BTreeSet<_> = events.iter().map(|event| &event.id).collect();
        assert_eq!(ids.len(), events.len());
        let (mut latest, mut overtaken) = (i64::MIN, 0);
        for event in &events {
            overtaken += usize::from(event.at < latest);
            latest = latest.max(event.at);
            assert!(latest - event.at < TRAIL_MS, "late at its first arrival: {event:?}");
        }
        assert!(overtaken > 100, "{overtaken}");
        assert_eq!(events.last().unwrap().user, FLUSH_USER);
    }
}
