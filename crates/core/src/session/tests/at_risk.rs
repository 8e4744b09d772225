//! What is at risk, against the events sorted.

use serde_json::{Value, json};

use super::*;
use crate::at_risk::{AtRisk, By};
use crate::keyed::KeyedMachine as _;

/// Time, event type and value of an event.
type One = (EpochMs, u16, i64);

/// First, last and value of what is open of one key with an entry and no goal: the definition.
fn open(events: &[One], deadline: Deadline) -> Vec<(EpochMs, EpochMs, i64)> {
    let mut sorted = events.to_vec();
    sorted.sort_unstable();
    let mut found: Vec<(EpochMs, EpochMs, i64, bool, bool)> = Vec::new();
    for (at, event_type, value) in sorted {
        let (entry, goal) = (event_type == 1, event_type == 3);
        if deadline == Deadline::SinceEntry && !entry {
            if goal {
                found.clear();
            }
            continue;
        }
        let value = if entry { value } else { 0 };
        match found.last_mut().filter(|open| at - open.1 <= GAP) {
            Some(open) => {
                *open = (open.0, at, open.2 + value, open.3 || entry, open.4 || goal);
            }
            None => found.push((at, at, value, entry, goal)),
        }
    }
    if deadline == Deadline::SinceEntry {
        // One cart of a key is open at most; those before it are over.
        found.drain(..found.len().saturating_sub(1));
    }
    let at_risk = found.into_iter().filter(|open| open.3 && !open.4);
    at_risk.map(|(first, last, value, ..)| (first, last, value)).collect()
}

fn keys() -> impl Strategy<Value = Vec<Vec<One>>> {
    let one = (0i64..6_000, prop_oneof![Just(0u16), Just(1), Just(1), Just(3)], 1i64..4);
    let of_key = prop::collection::btree_map(0i64..6_000, one, 1..12)
        .prop_map(|events| events.into_iter().map(|(at, (_, t, value))| (at, t, value)).collect());
    prop::collection::vec(of_key, 1..30)
}

proptest! {
    #[test]
    fn the_lists_are_those_of_all_open_sessions_for_any_number_of_shards(
        keys in keys(),
        shards in 1usize..5,
        most in 1usize..12,
        since_entry: bool,
    ) {
        let deadline = if since_entry { Deadline::SinceEntry } else { Deadline::Inactivity };
        let rules = rules(deadline);
        let (mut machines, mut want, mut fx) = (Vec::new(), Vec::new(), SessionEffects::default());
        for (number, events) in keys.iter().enumerate() {
            let (key, mut machine) = (format!("k{number}"), Machine::default());
            for (at, event_type, value) in events {
                let mut event = event(&rules, *at, BEGINNING, *event_type);
                event.value = event.value.map(|_| Amount::from_i64(*value));
                machine.apply(&rules, &event, &mut fx).unwrap();
            }
            want.extend(open(events, deadline).into_iter().map(|(first, last, value)| {
                json!({"key": key, "first": first, "last": last, "value": value as f64,
                    "deadline": last + GAP, "remaining_ms": last + GAP - 7_000})
            }));
            machines.push((key, machine));
        }
        let segments = Segments::default();
        let of_shard = |shard: usize| {
            let mine = machines.iter().skip(shard).step_by(shards);
            let mine = mine.map(|(key, machine)| (key.as_str(), machine));
            AtRisk::of(mine, &rules, &segments, 7_000, most)
        };
        let all = AtRisk::merge((0..shards).map(of_shard), most);
        prop_assert_eq!(all.sessions, want.len() as u64);
        // The same that the gauges say.
        prop_assert_eq!(fx.changes.at_risk, want.len() as i64);
        prop_assert_eq!(fx.changes.value, all.value);
        for by in [By::Deadline, By::Value] {
            let number = |row: &Value, name: &str| row[name].as_f64().unwrap() as i64;
            want.sort_by_key(|row| {
                let value = if by == By::Value { -number(row, "value") } else { 0 };
                let (deadline, first) = (number(row, "deadline"), number(row, "first"));
                (value, deadline, row["key"].as_str().unwrap().to_owned(), first)
            });
            let page = all.page(by, most, usize::MAX);
            let mut rows = page["items"].as_array().unwrap().clone();
            for row in &mut rows {
                let fields = row.as_object_mut().unwrap();
                fields.retain(|name, _| name != "step" && name != "segment");
            }
            prop_assert_eq!(&rows[..], &want[..want.len().min(most)]);
        }
    }
}

#[test]
fn an_answer_has_a_bound_in_bytes_and_says_how_many_there_are() {
    let rules = rules(Deadline::Inactivity);
    let mut machine = Machine::default();
    let entry = event(&rules, 100, BEGINNING, 1);
    machine.apply(&rules, &entry, &mut SessionEffects::default()).unwrap();
    let keys: Vec<String> = (0..9).map(|n| format!("{n}{}", "x".repeat(1_000))).collect();
    let open = keys.iter().map(|key| (key.as_str(), &machine));
    let all = AtRisk::of(open, &rules, &Segments::default(), 0, 9);
    let page = all.page(By::Value, 9, 4_000);
    assert_eq!((page["items"].as_array().unwrap().len(), &page["sessions"]), (3, &json!(9)));
    assert_eq!((&page["value"], &page["currency"]), (&json!(45.0), &json!("EUR")));
    assert_eq!(page["items"][0]["step"], "cart_add");
}
