//! What is seen of open sessions of kinds, against what a walk over the sorted events leaves open.

use proptest::prelude::*;
use serde_json::json;

use super::test_ground::{Happened, hits, log};
use super::visits_tests::{patterns, sessions, walk};
use super::*;
use crate::at_risk::{AtRisk, By};
use crate::keyed::KeyedMachine as _;
use crate::session::OpenOfKind;
use crate::time::BEGINNING;

/// A session as a walk over the events before `until` leaves it: its end, outcome, step, number of
/// events, value, first event, values of the first and the last of them, and how many are counted.
struct Open<'a> {
    end: i64,
    outcome: &'a str,
    step: &'a str,
    events: u64,
    value: i64,
    first: i64,
    place: [&'a str; 2],
    many: u64,
}

fn open<'a>(walked: &'a [String], gap: i64, until: i64) -> Option<Open<'a>> {
    let fields: Vec<&str> = walked.last()?.split(' ').collect();
    let number = |at: usize| fields[at].parse::<i64>().unwrap();
    let end = number(0);
    let lasted = (fields[6].parse::<f64>().unwrap() * 1_000.0).round() as i64;
    (end >= until).then(|| Open {
        end,
        outcome: fields[1],
        step: fields[2],
        events: number(3) as u64,
        value: number(4),
        first: end - gap - lasted,
        place: [fields[7], fields[8]],
        many: number(9) as u64,
    })
}

fn attributes(place: [&str; 2]) -> serde_json::Value {
    let named = ["start", "end"].into_iter().zip(place).filter(|(_, place)| !place.is_empty());
    named.map(|(name, place)| (name.to_owned(), json!(place.parse::<f64>().unwrap()))).collect()
}

proptest! {
    #[test]
    fn what_is_open_and_at_risk_is_what_a_walk_leaves_for_any_number_of_shards(
        logs in prop::collection::vec(log(), 1..20),
        shards in 1usize..5,
        most in 1usize..12,
        // Without a longest session.
        which in prop_oneof![Just(0usize), Just(2), Just(3)],
        watermark in 1_000i64..1_300,
        lateness in 0i64..12,
    ) {
        let spec = &sessions()[which];
        let patterns = patterns(spec, lateness);
        let until = watermark - lateness;
        let (mut machines, mut want) = (Vec::new(), Vec::new());
        let mut fx = PatternEffects::new(&patterns);
        for (number, log) in logs.iter().enumerate() {
            let (key, mut machine) = (format!("k{number}"), Machine::default());
            for event in log {
                let event = PatternEvent { watermark: BEGINNING, hits: hits(&patterns, event) };
                machine.apply(&patterns, &event, &mut fx).unwrap();
            }
            machine.expire(&patterns, watermark, &mut fx);
            let passed: Vec<Happened> = log.iter().filter(|one| one.at < until).cloned().collect();
            let walked = walk(spec, &passed, &patterns);
            let open = open(&walked, spec.gap, until);
            check(&patterns.describe(&machine, watermark), open.as_ref(), watermark)?;
            want.extend(open.filter(|open| open.outcome == "abandoned").map(|open| {
                json!({
                    "key": key, "first": open.first, "last": open.end - spec.gap,
                    "deadline": open.end, "remaining_ms": open.end - watermark,
                    "value": open.value as f64, "step": open.step,
                    "attributes": attributes(open.place),
                })
            }));
            machines.push((key, machine));
        }
        let of_shard = |shard: usize| {
            let mine = machines.iter().skip(shard).step_by(shards);
            let mine = mine.map(|(key, machine)| (key.as_str(), machine));
            let [(0, of_kind)] = &patterns.at_risk(false, mine, watermark, most)[..] else {
                panic!("there is one kind");
            };
            of_kind.clone()
        };
        prop_assert!(patterns.at_risk(true, std::iter::empty(), watermark, most).is_empty());
        let all = AtRisk::merge((0..shards).map(of_shard), most);
        // The same that the gauges say.
        let tally = fx.tallies[0].sessions;
        prop_assert_eq!((all.sessions, all.sessions as i64), (want.len() as u64, tally.at_risk));
        prop_assert_eq!(&all.value, &tally.value);
        for by in [By::Deadline, By::Value] {
            want.sort_by_key(|row| {
                let number = |name: &str| row[name].as_f64().unwrap() as i64;
                let value = if by == By::Value { -number("value") } else { 0 };
                let key = row["key"].as_str().unwrap().to_owned();
                (value, number("deadline"), key, number("first"))
            });
            let page = all.page(by, most, usize::MAX);
            prop_assert_eq!(&page["items"].as_array().unwrap()[..], &want[..want.len().min(most)]);
        }
    }
}

fn check(
    seen: &[OpenOfKind],
    open: Option<&Open<'_>>,
    watermark: i64,
) -> Result<(), TestCaseError> {
    let Some(open) = open else {
        prop_assert_eq!(seen, &[]);
        return Ok(());
    };
    let [seen] = seen else {
        return Err(TestCaseError::fail(format!("one session is open, not {seen:?}")));
    };
    let state = match open.outcome {
        "abandoned" => "at_risk",
        "browsed" => "browsing",
        outcome => outcome,
    };
    prop_assert_eq!((&*seen.kind, seen.state, &*seen.step), ("visits", state, open.step));
    prop_assert_eq!((seen.first, seen.deadline), (open.first, open.end));
    prop_assert_eq!(seen.remaining_ms, open.end - watermark);
    prop_assert_eq!((seen.events, seen.value), (open.events, open.value as f64));
    prop_assert_eq!(seen.counts.values().copied().collect::<Vec<_>>(), vec![open.many]);
    prop_assert_eq!(json!(seen.attributes), attributes(open.place));
    Ok(())
}
