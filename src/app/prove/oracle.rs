//! What must come out, counted in the plainest way: all events in memory, sorted by user
//! and time, cut where the silence is longer than the gap. Shares nothing with the engine.

use std::collections::BTreeMap;

use super::workload::{Event, FLUSH_USER, GAP_MS, Repeat};

/// What must come out of a list of published events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// Messages the stream stores.
    pub messages: u64,
    /// Different events.
    pub applied: u64,
    /// Stored repeats, which must not count.
    pub repeats: u64,
    /// Sessions, without the closing user's own, which stays open.
    pub sessions: u64,
    /// Sessions with a cart and no payment.
    pub abandoned: u64,
    /// Sessions with a cart and a payment.
    pub converted: u64,
    /// User and deadline (ms since 1970) of each abandoned session, sorted.
    pub alerts: Vec<(String, i64)>,
}

/// Counts.
pub(super) fn expect(events: &[Event]) -> Expected {
    let repeats = events.iter().filter(|event| event.repeat == Repeat::Stored).count() as u64;
    let applied = events.len() as u64;
    let mut expected =
        Expected { messages: applied + repeats, applied, repeats, ..Expected::default() };
    let mut by_user: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.user != FLUSH_USER) {
        by_user.entry(&event.user).or_default().push(event);
    }
    for (user, mut events) in by_user {
        events.sort_by_key(|event| event.at);
        for session in events.chunk_by(|before, after| after.at - before.at <= GAP_MS) {
            judge(user, session, &mut expected);
        }
    }
    expected.alerts.sort();
    expected
}

fn judge(user: &str, session: &[&Event], expected: &mut Expected) {
    let has = |kind: &str| session.iter().any(|event| event.kind == kind);
    expected.sessions += 1;
    match (has("cart_add"), has("payment_completed")) {
        (true, true) => expected.converted += 1,
        (true, false) => {
            let last = session.iter().map(|event| event.at).max().unwrap_or(0);
            expected.abandoned += 1;
            expected.alerts.push((user.to_owned(), last + GAP_MS));
        }
        (false, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user: &str, at: i64, kind: &'static str) -> Event {
        let id = format!("{user}{at}{kind}");
        Event { id, at, kind, user: user.into(), repeat: Repeat::No }
    }

    #[test]
    fn a_session_ends_one_millisecond_after_the_gap() {
        let cart = |at| event("ada", at, "cart_add");
        let one = expect(&[cart(0), cart(GAP_MS)]);
        assert_eq!((one.sessions, one.abandoned), (1, 1));
        assert_eq!(one.alerts, [("ada".to_owned(), 2 * GAP_MS)]);
        let two = expect(&[cart(GAP_MS + 1), cart(0)]);
        assert_eq!((two.sessions, two.abandoned), (2, 2));
        assert_eq!(two.alerts, [("ada".to_owned(), GAP_MS), ("ada".to_owned(), 2 * GAP_MS + 1)]);
    }

    #[test]
    fn paid_carts_convert_and_looks_are_nothing() {
        let mut again = event("bob", 10, "cart_add");
        again.repeat = Repeat::Stored;
        let mut dropped = event("cyd", 0, "page_view");
        dropped.repeat = Repeat::Dropped;
        let found = expect(&[
            event("bob", 500, "payment_completed"),
            again,
            dropped,
            event("dan", 0, "payment_completed"),
            event("eve", 5, "cart_add"),
            event(FLUSH_USER, 99_999, "page_view"),
        ]);
        assert_eq!(
            found,
            Expected {
                messages: 7,
                applied: 6,
                repeats: 1,
                sessions: 4,
                abandoned: 1,
                converted: 1,
                alerts: vec![("eve".to_owned(), 5 + GAP_MS)],
            }
        );
    }
}
