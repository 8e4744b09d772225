//! What is open of one key goes on under another.

use super::*;
use crate::keyed::KeyedMachine as _;

const POLICY: [Deadline; 2] = [Deadline::Inactivity, Deadline::SinceEntry];

/// Runs the events of two keys, those of `true` anonymous, which becomes known after `cut`.
fn identified(rules: &Rules, events: &[(EpochMs, u16, bool)], cut: usize) -> SessionEffects {
    let (mut known, mut anonymous) = (Machine::default(), Machine::default());
    let mut fx = SessionEffects::default();
    let mut watermark = BEGINNING;
    for (index, (at, event_type, is_anonymous)) in events.iter().enumerate() {
        if index == cut {
            let given = anonymous.give_up(rules, watermark, &mut fx);
            assert!(anonymous.is_empty());
            known.take_over(rules, given, watermark, &mut fx);
        }
        let machine = if *is_anonymous && index < cut { &mut anonymous } else { &mut known };
        machine.apply(rules, &event(rules, *at, watermark, *event_type), &mut fx).unwrap();
        watermark = watermark.max(*at);
    }
    [known, anonymous].iter_mut().for_each(|machine| machine.expire(rules, END_OF_TIME, &mut fx));
    fx
}

fn visits() -> impl Strategy<Value = Vec<(EpochMs, u16, bool)>> {
    // Never a silence: neither key's session ends before the visitor is known.
    let event_type = prop_oneof![Just(0u16), Just(1), Just(3), Just(4)];
    let one = (0..GAP / 16, event_type, any::<bool>(), 0..LATENESS);
    prop::collection::vec(one, 1..15).prop_map(|steps| {
        let mut at = 0;
        let mut events: Vec<_> = steps
            .into_iter()
            .map(|(step, event_type, anonymous, delay)| {
                at += step;
                (at + delay, (at, event_type, anonymous))
            })
            .collect();
        events.sort_by_key(|(arrives, _)| *arrives);
        events.into_iter().map(|(_, event)| event).collect()
    })
}

proptest! {
    #[test]
    fn what_was_open_ends_as_if_it_had_been_one_key_always(events in visits(), cut in 0usize..15) {
        for deadline in POLICY {
            let rules = rules(deadline);
            // Goals decide carts at once: with them the past of two keys stays two.
            let fits = |event_type: u16| deadline == Deadline::Inactivity || !matches!(event_type, 3 | 4);
            let mut events: Vec<_> =
                events.iter().copied().filter(|(_, event_type, _)| fits(*event_type)).collect();
            events.dedup_by_key(|(at, ..)| *at);
            let one: Vec<_> = events.iter().map(|(at, event_type, _)| (*at, *event_type)).collect();
            let (_, mut want) = run(&rules, &one, &[]);
            let mut got = identified(&rules, &events, cut.min(events.len().saturating_sub(1)));
            for fx in [&mut want, &mut got] {
                prop_assert_eq!((fx.changes.at_risk, fx.changes.value), (0, Sum::ZERO));
                prop_assert_eq!(fx.changes.by_step.iter().map(|open| open.abs()).sum::<i64>(), 0);
                fx.endings.sort_by_key(|ending| (ending.closes_session, ending.at));
                fx.endings.iter_mut().for_each(|ending| ending.stamp = 0);
            }
            prop_assert_eq!(got.endings, want.endings);
        }
    }
}

#[test]
fn a_cart_of_either_key_is_bought_by_either() {
    let rules = rules(Deadline::SinceEntry);
    for (first, second) in [(true, false), (false, true), (true, true)] {
        let fx = identified(&rules, &[(0, 1, first), (10, 0, false), (20, 3, second)], 2);
        let carts: Vec<_> =
            fx.endings.iter().filter(|ending| !ending.closes_session).map(|e| e.outcome).collect();
        assert_eq!(carts, [Outcome::Converted], "{first} {second}");
        assert_eq!((fx.changes.stray_goals, fx.changes.identified), (0, u64::from(first)));
    }
}

#[test]
fn what_was_closed_stays_closed_and_what_is_open_takes_what_it_reaches() {
    let rules = rules(Deadline::Inactivity);
    let mut fx = SessionEffects::default();
    let mut known = Machine::default();
    known.apply(&rules, &event(&rules, 5_000, 0, 0), &mut fx).unwrap();
    // The other's sessions were closed up to 5,500.
    known.take_over(&rules, Machine::after(5_500), 5_600, &mut fx);
    assert_eq!(known.floor(), 4_999);
    assert!(known.apply(&rules, &event(&rules, 4_500, 5_600, 0), &mut fx).is_err());
    assert!(known.apply(&rules, &event(&rules, 5_200, 5_600, 0), &mut fx).is_ok());
    let mut empty = Machine::default();
    empty.take_over(&rules, Machine::after(5_500), 5_600, &mut fx);
    assert_eq!((empty.is_empty(), empty.floor()), (true, 5_500));
}

#[test]
fn sessions_of_two_keys_become_one_across_their_cuts() {
    let policy = SessionPolicy { max_length: Some(2_000), ..SessionPolicy::default() };
    let rules = rules_of(policy);
    let mut fx = SessionEffects::default();
    let (mut known, mut anonymous) = (Machine::default(), Machine::default());
    for at in [0, 900, 1_800, 2_700] {
        known.apply(&rules, &event(&rules, at, 0, 0), &mut fx).unwrap();
        anonymous.apply(&rules, &event(&rules, at + 500, 0, 0), &mut fx).unwrap();
    }
    let given = anonymous.give_up(&rules, 0, &mut fx);
    known.take_over(&rules, given, 0, &mut fx);
    known.apply(&rules, &event(&rules, 3_300, 0, 0), &mut fx).unwrap();
    known.expire(&rules, END_OF_TIME, &mut fx);
    let events: u32 = fx.endings.iter().map(|ending| ending.events).sum();
    assert_eq!((events, fx.changes.by_step.iter().sum::<i64>()), (9, 0));
    let mut last = i64::MIN;
    for ending in &fx.endings {
        assert!(ending.first > last && ending.last <= ending.at, "{:?}", fx.endings);
        last = ending.last;
    }
}
