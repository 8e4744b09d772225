//! The numbers that a set of events must lead to, computed in the plainest way there is: all
//! events at once, sorted, no windows that slide and nothing that is kept up to date.
//!
//! It shares no code and no idea with the engine. `the_oracle_agrees_with_published_numbers`
//! holds it against numbers that another program in another language made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::events::{Event, GAP, sessions};
use super::sets::sha256;

/// Width and distance of the windows of different users, in ms.
const WINDOW: i64 = 300_000;
const SLIDE: i64 = 30_000;

/// The truth about events that are sorted by time; those of one time in the order of the file.
pub fn truth(events: &[Event]) -> Value {
    let end = events.iter().map(|event| event.at).max().unwrap_or_default();
    let mut truth = json!({
        "input": { "mapped_events": events.len() },
        "sessions": { "gt": session_numbers(events) },
        "unique_users_5min_every_30s": visitors(events),
    });
    if events.iter().any(|event| event.kind == "cart_add") {
        truth["cart_timer"] = json!({ "refresh_gt": carts(events, end) });
    }
    if events.iter().any(|event| event.more.contains_key("status")) {
        truth["codes"] = codes(events);
    }
    truth
}

fn session_numbers(events: &[Event]) -> Value {
    let sessions = sessions(events);
    let with_entry = sessions.iter().filter(|session| session.entries > 0).count();
    let abandoned = sessions.iter().filter(|session| session.abandoned()).count();
    let rate = (with_entry > 0).then(|| abandoned as f64 / with_entry as f64);
    let lines = sessions.iter().map(|session| {
        format!("{},{},{},{}", session.user, session.start, session.last, session.events)
    });
    json!({
        "sessions": sessions.len(),
        "with_cart": with_entry,
        "with_cart_and_payment": sessions.iter().filter(|session| session.converted()).count(),
        "abandoned": { "none_in_session": abandoned },
        "abandonment_rate": { "none_in_session": rate },
        "sha256": sha256(lines),
    })
}

/// Different users in `[end - WINDOW, end)` for each end that is a multiple of `SLIDE`.
fn visitors(events: &[Event]) -> Value {
    let mut windows: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    for event in events {
        let first = event.at.div_euclid(SLIDE) * SLIDE + SLIDE;
        for end in (first..=event.at + WINDOW).step_by(SLIDE as usize) {
            windows.entry(end).or_default().insert(&event.user);
        }
    }
    let lines = windows.iter().map(|(end, users)| format!("{end},{}", users.len()));
    json!({
        "windows": windows.len(),
        "max": { "n": windows.values().map(BTreeSet::len).max() },
        "sha256": sha256(lines),
    })
}

/// Each user's cart by its own timer: an entry opens it or begins its time anew, a goal ends
/// it, and it is abandoned when more than the gap has passed.
fn carts(events: &[Event], end: i64) -> Value {
    let (mut abandoned, mut converted, mut pending) = (0, 0, 0);
    let mut open: BTreeMap<&str, i64> = BTreeMap::new();
    for event in events {
        if open.get(event.user.as_str()).is_some_and(|since| event.at - since > GAP) {
            open.remove(event.user.as_str());
            abandoned += 1;
        }
        if event.kind == "cart_add" {
            open.insert(&event.user, event.at);
        } else if event.kind == "payment_completed" {
            converted += i64::from(open.remove(event.user.as_str()).is_some());
        }
    }
    for since in open.into_values() {
        if since + GAP <= end { abandoned += 1 } else { pending += 1 }
    }
    json!({ "abandoned": abandoned, "converted": converted, "pending_at_end": pending })
}

/// Statuses from 400 on: by status, and by second and status.
fn codes(events: &[Event]) -> Value {
    let mut by_code: BTreeMap<String, u64> = BTreeMap::new();
    let mut cells: BTreeMap<(i64, u64), u64> = BTreeMap::new();
    for event in events {
        let status = event.more.get("status").and_then(Value::as_u64).unwrap_or_default();
        if status >= 400 {
            *by_code.entry(status.to_string()).or_default() += 1;
            *cells.entry((event.at.div_euclid(1000) * 1000, status)).or_default() += 1;
        }
    }
    let lines = cells.iter().map(|((second, status), n)| format!("{second},{status},{n}"));
    json!({
        "errors": by_code.values().sum::<u64>(),
        "heatmap_1s": { "error_cells": cells.len(), "sha256": sha256(lines) },
        "errors_by_code": by_code.into_iter().map(|(k, n)| (k, json!(n))).collect::<Map<_, _>>(),
    })
}
