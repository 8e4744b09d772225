//! Carts by their own timer: late marks, bounds, and what a mark costs.

use super::*;
use crate::keyed::KeyedMachine as _;

fn apply(
    machine: &mut Machine,
    rules: &Rules,
    (at, stamp, event_type): (EpochMs, EpochMs, u16),
    fx: &mut SessionEffects,
) -> Result<(), Late> {
    machine.apply(rules, &event(rules, at, stamp, event_type), fx)
}

fn ends(fx: &SessionEffects) -> Vec<(Outcome, EpochMs, u32)> {
    let carts = fx.endings.iter().filter(|ending| !ending.closes_session);
    carts.map(|ending| (ending.outcome, ending.at, ending.entries)).collect()
}

#[test]
fn a_goal_before_an_open_cart_meets_none() {
    let rules = rules(Deadline::SinceEntry);
    let (mut machine, mut fx) = (Machine::default(), SessionEffects::default());
    apply(&mut machine, &rules, (600, 600, 1), &mut fx).unwrap();
    // The cart is settled; the goal lies before it.
    apply(&mut machine, &rules, (300, 900, 3), &mut fx).unwrap();
    machine.expire(&rules, END_OF_TIME, &mut fx);
    assert_eq!((fx.changes.stray_goals, ends(&fx)), (1, vec![(Outcome::Abandoned, 600 + GAP, 1)]));
}

#[test]
fn what_comes_after_its_cart_ended_is_late() {
    let rules = rules(Deadline::SinceEntry);
    let (mut machine, mut fx) = (Machine::default(), SessionEffects::default());
    for mark in [(0, 0, 1), (100, 100, 3), (200, 200, 0), (900, 900, 0)] {
        apply(&mut machine, &rules, mark, &mut fx).unwrap();
    }
    for event_type in [1, 3, 4] {
        let late = apply(&mut machine, &rules, (50, 900, event_type), &mut fx);
        assert_eq!(late, Err(Late::Cart(100)), "kind {event_type}");
    }
    apply(&mut machine, &rules, (50, 900, 0), &mut fx).expect("a page view has no cart");
    machine.expire(&rules, END_OF_TIME, &mut fx);
    assert_eq!((fx.changes.stray_goals, ends(&fx)), (0, vec![(Outcome::Converted, 100, 1)]));
}

#[test]
fn a_late_mark_finds_its_place_in_an_open_cart() {
    let rules = rules(Deadline::SinceEntry);
    let (mut machine, mut fx) = (Machine::default(), SessionEffects::default());
    for mark in [(0, 0, 1), (400, 400, 1), (800, 800, 0)] {
        apply(&mut machine, &rules, mark, &mut fx).unwrap();
    }
    // It was paid between the two entries: the first one is bought, the second is open.
    apply(&mut machine, &rules, (200, 900, 3), &mut fx).unwrap();
    assert_eq!(ends(&fx), [(Outcome::Converted, 200, 1)]);
    assert_eq!(fx.endings[0].stamp, 900, "its windows are judged by the event's stamp");
    assert_eq!(
        (fx.changes.at_risk, fx.changes.value),
        (1, Sum::from_i128(Amount::from_i64(5).parts()))
    );
    machine.expire(&rules, END_OF_TIME, &mut fx);
    assert_eq!(ends(&fx)[1..], [(Outcome::Abandoned, 400 + GAP, 1)]);
}

#[test]
fn a_cart_that_was_emptied_is_gone() {
    let rules = rules(Deadline::SinceEntry);
    let (mut machine, mut fx) = (Machine::default(), SessionEffects::default());
    for mark in [(0, 0, 1), (100, 0, 1), (200, 0, 4), (300, 0, 4), (350, 0, 4), (400, 0, 1)] {
        apply(&mut machine, &rules, mark, &mut fx).unwrap();
    }
    machine.expire(&rules, END_OF_TIME, &mut fx);
    assert_eq!((fx.changes.emptied, ends(&fx)), (1, vec![(Outcome::Abandoned, 400 + GAP, 1)]));
    assert_eq!((fx.changes.at_risk, fx.changes.value), (0, Sum::ZERO));
}

#[test]
fn the_marks_of_a_key_are_bounded_and_none_is_lost() {
    let policy =
        SessionPolicy { deadline: Deadline::SinceEntry, marks_max: 16, ..SessionPolicy::default() };
    let rules = rules_of(policy);
    let (mut machine, mut fx) = (Machine::default(), SessionEffects::default());
    for n in 0..1_000 {
        apply(&mut machine, &rules, (n, 0, 1), &mut fx).unwrap();
    }
    assert!(machine.carts.as_ref().unwrap().marks.len() <= 16);
    assert_eq!(fx.changes.settled_early, 1_000 - 16);
    assert_eq!(apply(&mut machine, &rules, (983, 0, 3), &mut fx), Err(Late::Cart(983)));
    apply(&mut machine, &rules, (1_000, 0, 3), &mut fx).unwrap();
    machine.expire(&rules, END_OF_TIME, &mut fx);
    assert_eq!(ends(&fx), [(Outcome::Converted, 1_000, 1_000)]);
    assert_eq!((fx.changes.at_risk, fx.changes.value), (0, Sum::ZERO));
}

/// The definition: all marks that were accepted, in time order.
fn in_order(marks: &[(EpochMs, u16)]) -> (Vec<(Outcome, EpochMs, u32)>, u64, u64) {
    let (mut ends, mut stray, mut emptied) = (Vec::new(), 0, 0);
    // First entry is not needed: last, entries, removals.
    let mut open: Option<(EpochMs, u32, u32)> = None;
    let mut marks = marks.to_vec();
    marks.sort_by_key(|mark| mark.0);
    for (at, event_type) in marks.into_iter().chain([(END_OF_TIME, 0)]) {
        if let Some((last, entries, removals)) = open.filter(|open| at > open.0 + GAP) {
            ends.push((Outcome::Abandoned, last + GAP, (entries - removals).max(1)));
            open = None;
        }
        match (event_type, &mut open) {
            (1, Some(cart)) => *cart = (at, cart.1 + 1, cart.2),
            (1, None) => open = Some((at, 1, 0)),
            (3, Some(cart)) => {
                ends.push((Outcome::Converted, at, (cart.1 - cart.2).max(1)));
                open = None;
            }
            (3, None) => stray += 1,
            (4, Some(cart)) => {
                cart.2 += 1;
                if cart.2 == cart.1 {
                    emptied += 1;
                    open = None;
                }
            }
            _ => {}
        }
    }
    ends.sort_by_key(|end| end.1);
    (ends, stray, emptied)
}

proptest! {
    /// Any disorder, any moment of expiry: what was accepted counts as if it had come in
    /// order, and nothing that had ended is changed by what comes later.
    #[test]
    fn what_is_accepted_counts_as_if_it_had_come_in_order(
        steps in prop::collection::vec((0i64..150, -1_500i64..50, 0u16..5, any::<bool>()), 1..80),
    ) {
        let rules = rules(Deadline::SinceEntry);
        let (mut machine, mut fx) = (Machine::default(), SessionEffects::default());
        let mut accepted = Vec::new();
        let mut stamp = 0;
        let mut times = std::collections::HashSet::new();
        for (step, off, event_type, expires) in steps {
            stamp += step;
            let at = stamp + off;
            // Equal times keep their order of arrival, so give each event its own.
            if event_type == 2 || !times.insert(at) {
                continue;
            }
            if expires {
                machine.expire(&rules, stamp, &mut fx);
            }
            let before = fx.endings.clone();
            if apply(&mut machine, &rules, (at, stamp, event_type), &mut fx).is_ok() && event_type > 0 {
                accepted.push((at, event_type));
            }
            prop_assert_eq!(&fx.endings[..before.len()], &before[..]);
            let mut record = Vec::new();
            machine.encode(&Segments::default(), &mut record);
            let read = Machine::decode(&record, &mut Segments::default(), &rules).unwrap();
            prop_assert_eq!(&read, &machine);
        }
        machine.expire(&rules, END_OF_TIME, &mut fx);
        let mut got = ends(&fx);
        got.sort_by_key(|end| end.1);
        let (want, stray, emptied) = in_order(&accepted);
        prop_assert_eq!(got, want);
        prop_assert_eq!((fx.changes.stray_goals, fx.changes.emptied), (stray, emptied));
        prop_assert_eq!((fx.changes.at_risk, fx.changes.value), (0, Sum::ZERO));
    }
}
