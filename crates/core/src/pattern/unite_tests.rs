//! A key whose open things go on under another: as long as nothing was decided, it is as if there had
//! been one key; and whatever was, nothing is lost, counted twice or called by one name.

use proptest::prelude::*;

use super::test_ground::{DISORDER, Happened, hits, log};
use super::*;
use super::{funnel_tests, tests, visits_tests};
use crate::keyed::KeyedMachine as _;
use crate::time::{BEGINNING, END_OF_TIME};

/// Feeds events, those that are `anonymous` to a key of their own until the event `at`, when it becomes
/// the other one. What both found, and the events that were not late.
fn run(
    patterns: &Patterns,
    log: &[Happened],
    anonymous: &[bool],
    at: usize,
) -> (PatternEffects, Vec<Happened>) {
    let mut fx = PatternEffects::new(patterns);
    let [mut known, mut other] = [Machine::default(), Machine::default()];
    let mut meanings = patterns.meanings();
    let (mut newest, mut taken) = (None, Vec::new());
    for (number, (event, apart)) in log.iter().zip(anonymous.iter().cycle()).enumerate() {
        let watermark = newest.map_or(BEGINNING, |newest: i64| newest - DISORDER);
        newest = newest.max(Some(event.at));
        if number == at {
            let given = other.give_up(patterns, None, watermark, &mut fx);
            assert!(other.is_empty());
            known.take_over(patterns, given, watermark, &mut fx);
            let mut record = Vec::new();
            known.encode(&meanings, &mut record);
            let again = Machine::decode(&record, &mut meanings, patterns).unwrap();
            assert_eq!(again, known);
        }
        let machine = if *apart && number < at { &mut other } else { &mut known };
        let late = fx.tallies[0].late;
        let event_of = PatternEvent { watermark, hits: hits(patterns, event) };
        machine.apply(patterns, &event_of, &mut fx).unwrap();
        taken.extend((fx.tallies[0].late == late).then(|| event.clone()));
    }
    for machine in [&mut known, &mut other] {
        machine.expire(patterns, END_OF_TIME, &mut fx);
        assert_eq!((machine.next_deadline(patterns), machine.heap_bytes()), (None, 0));
    }
    (fx, taken)
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all
}

/// Longer than any of the logs.
const UNDECIDED: i64 = 100_000;

proptest! {
    #[test]
    fn undecided_events_of_two_keys_are_those_of_one(
        log in log(),
        which in 0usize..15,
        anonymous in prop::collection::vec(any::<bool>(), 1..9),
        at in 0usize..50,
    ) {
        let at = at % log.len();
        let spec = &tests::specs()[which];
        let patterns = tests::patterns(spec, UNDECIDED, 1_000);
        // Its search knows no missing amounts.
        let priced = |one: &Happened| Happened { place: one.place.max(0), ..one.clone() };
        let priced: Vec<Happened> = log.iter().map(priced).collect();
        let (fx, _) = run(&patterns, &priced, &anonymous, at);
        let mut found: Vec<_> = fx.matches.iter().map(|one| tests::seen(one, &patterns)).collect();
        found.sort();
        let (wanted, alone) = tests::wanted(spec, &priced, &patterns);
        prop_assert_eq!(found, wanted);
        prop_assert_eq!([fx.tallies[0].left_alone, fx.tallies[0].right_alone], alone);
        let spec = &visits_tests::sessions()[which % 4];
        let patterns = visits_tests::patterns(spec, UNDECIDED);
        let (fx, _) = run(&patterns, &log, &anonymous, at);
        let wanted = visits_tests::walk(spec, &log, &patterns);
        prop_assert_eq!(visits_tests::all_seen(&fx, &patterns), wanted);
        let patterns = funnel_tests::patterns(&["a", "b", "c"], "d", UNDECIDED);
        let (fx, _) = run(&patterns, &log, &anonymous, at);
        let wanted = funnel_tests::search(&log, &patterns, 3);
        prop_assert_eq!(sorted(funnel_tests::all_seen(&fx, &patterns)), sorted(wanted));
    }

    #[test]
    fn what_is_decided_is_counted_once(
        log in log(),
        which in 0usize..15,
        anonymous in prop::collection::vec(any::<bool>(), 1..9),
        at in 0usize..50,
        lateness in 0i64..12,
    ) {
        let at = at % log.len();
        let patterns = tests::patterns(&tests::specs()[which], lateness, 1_000);
        let (fx, taken) = run(&patterns, &log, &anonymous, at);
        let pattern = &patterns.list[0];
        prop_assert_eq!(fx.tallies[0].matches, fx.matches.len() as u64);
        prop_assert_eq!(fx.tallies[0].lacked_room(), 0);
        if let Seeks::Join(join) = &pattern.spec.seeks {
            // Each left event has a pair, or is alone.
            let left = |event: &&Happened| tests::meets(event, &join.left);
            let num_left = taken.iter().filter(left).count() as u64;
            prop_assert!(fx.tallies[0].left_alone <= num_left);
            if join.kind == JoinKind::Anti {
                prop_assert_eq!(fx.tallies[0].left_alone, fx.matches.len() as u64);
            }
        }
        let spec = &visits_tests::sessions()[which % 4];
        let patterns = visits_tests::patterns(spec, lateness);
        let (fx, taken) = run(&patterns, &log, &anonymous, at);
        let belong = taken.iter().filter(|event| !hits(&patterns, event).is_empty()).count();
        let events = fx.matches.iter().map(|found| match &found.more {
            More::Visited(visited) => visited.events as usize,
            _ => 0,
        });
        prop_assert_eq!(events.sum::<usize>(), belong);
        let SessionTally { open, at_risk, value, .. } = fx.tallies[0].sessions;
        prop_assert_eq!((open, at_risk, value.in_units()), (0, 0, 0.0));
        let patterns = funnel_tests::patterns(&["a", "b", "c"], "d", lateness);
        let (fx, _) = run(&patterns, &log, &anonymous, at);
        let outcome = |step, left| {
            let is = |found: &&Match| {
                matches!(&found.more, More::Reach(reach) if (reach.step, reach.left) == (step, left))
            };
            fx.matches.iter().filter(is).count()
        };
        // Who began has left somewhere, or is through.
        let left: usize = (0..3).map(|step| outcome(step, true)).sum();
        prop_assert_eq!(outcome(0, false), left + outcome(2, false));
        prop_assert!(outcome(0, false) >= outcome(1, false) && outcome(1, false) >= outcome(2, false));
    }
}

#[test]
fn a_cart_of_a_visitor_goes_on_once_it_is_known_whose_it_is() {
    let spec = &visits_tests::sessions()[3];
    let patterns = visits_tests::patterns(spec, 2);
    let event = |at, event_type| Happened { at, event_type, place: 7 };
    // An entry without a name, and a look with one; the entry was looked at when it is said who it was.
    let log = [event(1_000, 0), event(1_008, 3), event(1_009, 1)];
    let (fx, taken) = run(&patterns, &log, &[true, false, false], 2);
    assert_eq!((taken.len(), fx.tallies[0].sessions.converted, fx.matches.len()), (3, 1, 1));
    assert_eq!(fx.matches[0].first.at, 1_000);
}
