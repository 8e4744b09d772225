//! Sessions of a kind of their own against a plain walk over the sorted events, for any order of arrival.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::test_ground::{Happened, TYPES, conditions, hits, log, run};
use super::*;
use crate::event::Schema;
use crate::keyed::KeyedMachine as _;
use crate::metric::Fact;
use crate::time::{BEGINNING, END_OF_TIME, TimePolicy};

const GAP: i64 = 8;

/// Attributes of a session, in the order of the slots.
const SHOWN: [&str; 11] =
    ["place", OUTCOME, STEP, EVENTS, VALUE, CUT, DURATION, "start", "end", "many", "type"];

fn schema() -> Schema {
    Schema {
        slots: SHOWN.map(String::from).to_vec(),
        event_types: TYPES.map(String::from).to_vec(),
        patterns: vec!["visits".into()],
        ..Schema::default()
    }
}

pub fn sessions() -> Vec<SessionsSpec> {
    let all = |types: &[&str]| types.iter().map(|types| conditions(types)).collect::<Vec<_>>();
    let shop = SessionsSpec {
        events: Vec::new(),
        entry: all(&["a"]),
        goal: all(&["b"]),
        remove: all(&["c"]),
        names: ["one", "two", "three"].map(String::from).to_vec(),
        steps: all(&["d", "ac", "b"]),
        counts: vec![("many".into(), conditions("ad"))],
        lists: vec![("places".into(), "place".into())],
        list_max: 2,
        identify: None,
        value: Some("place".into()),
        gap: GAP,
        max_length: None,
        cohort: None,
        nudged: true,
        hidden: Vec::new(),
    };
    vec![
        SessionsSpec { events: conditions("abc"), ..shop.clone() },
        SessionsSpec { max_length: Some(12), value: None, ..shop.clone() },
        SessionsSpec { entry: Vec::new(), remove: Vec::new(), ..shop.clone() },
        shop,
    ]
}

pub fn patterns(spec: &SessionsSpec, lateness: i64) -> Patterns {
    let of = |side| Taken { side, attribute: "place".into() };
    let spec = PatternSpec {
        name: "visits".into(),
        key: None,
        title: "Visits".into(),
        seeks: Seeks::Sessions(spec.clone()),
        attributes: vec![("start".into(), of(Side::First)), ("end".into(), of(Side::Last))],
        alert: None,
    };
    let time = TimePolicy { allowed_lateness: lateness, ..TimePolicy::default() };
    Patterns::compile(&[spec], &time, 1_000, &schema())
}

pub fn all_seen(fx: &PatternEffects, patterns: &Patterns) -> Vec<String> {
    let seen = |found: &Match| {
        let fact = MatchFact::new(found, "ada", &patterns.list[0]);
        let shown = (1..SHOWN.len()).map(|slot| fact.attr(slot).to_string());
        let More::Visited(visited) = &found.more else { panic!("no session: {found:?}") };
        let places = visited.lists[0].values.len() as u64 + visited.lists[0].more;
        format!("{} {} {places} places", fact.at(), shown.collect::<Vec<_>>().join(" "))
    };
    fx.matches.iter().map(seen).collect()
}

/// The sessions of some events, by the definition.
pub fn walk(spec: &SessionsSpec, events: &[Happened], patterns: &Patterns) -> Vec<String> {
    let mut sorted: Vec<_> = events
        .iter()
        .filter_map(|event| Some((hits(patterns, event).pop()?.1, event.clone())))
        .collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let sorted: Vec<Happened> = sorted.into_iter().map(|(_, event)| event).collect();
    let (mut found, mut start) = (Vec::new(), 0);
    while start < sorted.len() {
        let mut end = start + 1;
        let mut over = None;
        while end < sorted.len() && sorted[end].at <= sorted[end - 1].at + GAP {
            if let Some(most) = spec.max_length
                && sorted[end].at > sorted[start].at + most
            {
                over = Some(sorted[start].at + most);
                break;
            }
            end += 1;
        }
        let longest = spec.max_length.map(|most| sorted[start].at + most);
        let over = over.or(longest.filter(|longest| *longest < sorted[end - 1].at + GAP));
        found.push(session(spec, &sorted[start..end], over));
        start = end;
    }
    found
}

fn session(spec: &SessionsSpec, events: &[Happened], over: Option<i64>) -> String {
    let of = |types: &'static str| {
        events.iter().filter(move |event| types.contains(TYPES[usize::from(event.event_type)]))
    };
    let (entries, removals) = (of("a").count(), of("c").count());
    let (has_entry, has_remove) = (!spec.entry.is_empty(), !spec.remove.is_empty());
    let priced = |event: &&Happened| spec.value.is_some() && event.place >= 0;
    let sum = |types| of(types).filter(priced).map(|event| event.place).sum::<i64>();
    let moved = of("a").filter(|_| has_entry).chain(of("c").filter(|_| has_remove));
    let all_priced = moved.clone().all(|event| priced(&event));
    let emptied = has_entry && has_remove && entries > 0 && removals > 0 && {
        if all_priced && sum("a") > 0 { sum("c") >= sum("a") } else { removals >= entries }
    };
    let entered = has_entry && entries > 0;
    let left = match () {
        () if !entered || emptied => 0,
        () if !has_remove => sum("a"),
        () => (sum("a") - sum("c")).max(0),
    };
    let outcome = if of("b").count() > 0 && (entered || !has_entry) {
        "converted"
    } else if entered && !emptied {
        "abandoned"
    } else {
        "browsed"
    };
    let steps = [("three", "b"), ("two", "ac"), ("one", "d")];
    let step = steps.iter().find(|(_, types)| of(types).count() > 0).map_or("", |(name, _)| name);
    let place = |mut places: Box<dyn Iterator<Item = &Happened> + '_>| {
        places.find(|event| event.place >= 0).map_or(String::new(), |event| event.place.to_string())
    };
    let (start, end) = (place(Box::new(events.iter())), place(Box::new(events.iter().rev())));
    let (first, last) = (events[0].at, events[events.len() - 1].at);
    let seconds = (last - first) as f64 / 1_000.0;
    let mut nets = BTreeMap::new();
    for event in events.iter().filter(|event| event.place >= 0) {
        let is_of = |types: &str| types.contains(TYPES[usize::from(event.event_type)]);
        let entry = i64::from(!has_entry || is_of("a"));
        *nets.entry(event.place).or_insert(0) += entry - i64::from(has_remove && is_of("c"));
    }
    let places = nets.values().filter(|net| **net > 0).count();
    format!(
        "{} {outcome} {step} {} {left} {} {seconds} {start} {end} {} visits {places} places",
        over.unwrap_or(last + GAP),
        events.len(),
        over.is_some(),
        of("ad").count(),
    )
}

proptest! {
    #[test]
    fn sessions_are_what_a_walk_finds(
        log in log(),
        which in 0usize..4,
        lateness in 0i64..12,
        pauses in prop::collection::vec(any::<bool>(), 1..9),
    ) {
        let spec = &sessions()[which];
        let patterns = patterns(spec, lateness);
        let (fx, taken) = run(&patterns, &log, &pauses);
        prop_assert_eq!(all_seen(&fx, &patterns), walk(spec, &taken, &patterns));
        // Nothing is open at the end.
        let totals = fx.tallies[0].sessions;
        let value = totals.value.in_units();
        prop_assert_eq!((totals.open, totals.at_risk, value), (0, 0, 0.0));
        let ended = |outcome| {
            fx.matches.iter().filter(move |one| matches!(&one.more, More::Visited(v) if v.outcome == outcome))
        };
        prop_assert_eq!(totals.abandoned, ended(crate::session::Outcome::Abandoned).count() as u64);
        prop_assert_eq!(totals.converted, ended(crate::session::Outcome::Converted).count() as u64);
    }

    #[test]
    fn the_order_in_which_their_events_come_makes_no_difference(log in log(), which in 0usize..4) {
        let patterns = patterns(&sessions()[which], 1_000);
        let backwards: Vec<Happened> = log.iter().rev().cloned().collect();
        let (once, again) = (run(&patterns, &log, &[false]).0, run(&patterns, &backwards, &[true]).0);
        prop_assert_eq!(all_seen(&once, &patterns), all_seen(&again, &patterns));
    }
}

/// After a restart with a lesser bound a key may hold more than it may: it is decided, and that ends.
#[test]
fn what_was_held_under_a_greater_bound_is_decided() {
    let mut patterns = patterns(&sessions()[3], 1_000);
    let (mut machine, mut fx) = (Machine::default(), PatternEffects::new(&patterns));
    for at in 1_000..1_010 {
        let hits = hits(&patterns, &Happened { at, event_type: 0, place: 1 });
        let event = PatternEvent { watermark: BEGINNING, hits };
        machine.apply(&patterns, &event, &mut fx).unwrap();
    }
    patterns.held_max = 2;
    machine.expire(&patterns, END_OF_TIME, &mut fx);
    assert_eq!((fx.matches.len(), fx.tallies[0].given_up), (1, 0));
}
