//! Sessions that end before their silence does, and entries that are taken back.

use super::*;
use crate::keyed::KeyedMachine as _;

const LONGEST: i64 = 3_000;

fn cutting() -> Rules {
    rules_of(SessionPolicy { max_length: Some(LONGEST), ..SessionPolicy::default() })
}

#[test]
fn a_session_is_cut_after_its_longest_and_says_so() {
    let rules = cutting();
    let events: Vec<_> = (0..=10).map(|n| (n * 700, 0)).collect();
    let (_, fx) = run(&rules, &events, &[]);
    let spans: Vec<_> = fx.endings.iter().map(|e| (e.first, e.last, e.at, e.cut)).collect();
    let want = [
        (0, 2_800, LONGEST, Cut::TooLong),
        (3_500, 6_300, 3_500 + LONGEST, Cut::TooLong),
        (7_000, 7_000, 7_000 + GAP, Cut::No),
    ];
    assert_eq!(spans, want);
}

proptest! {
    /// In order, a session is cut before the first event that comes later than its longest
    /// after its first one.
    #[test]
    fn in_order_it_is_cut_where_it_gets_too_long(steps in prop::collection::vec(0i64..1_200, 1..60)) {
        let rules = cutting();
        let mut at = 0;
        let times: Vec<EpochMs> = steps.iter().map(|step| { at += step; at }).collect();
        let events: Vec<_> = times.iter().map(|at| (*at, 0)).collect();
        let (_, fx) = run(&rules, &events, &[]);
        let mut want: Vec<(EpochMs, EpochMs, u32)> = Vec::new();
        for at in times {
            match want.last_mut().filter(|s| at - s.1 <= GAP && at - s.0 <= LONGEST) {
                Some(open) => *open = (open.0, at, open.2 + 1),
                None => want.push((at, at, 1)),
            }
        }
        let got: Vec<_> = fx.endings.iter().map(|e| (e.first, e.last, e.events)).collect();
        prop_assert_eq!(got, want);
    }

    /// In any order none is longer, each event is in one, and two that leave closer than the
    /// gap are the parts of one that was cut.
    #[test]
    fn in_any_order_none_is_longer_and_every_cut_is_said(
        steps in prop::collection::vec((0i64..500, -3_000i64..1, any::<bool>()), 1..80),
    ) {
        let rules = cutting();
        let (mut machine, mut fx) = (Machine::default(), SessionEffects::default());
        let (mut stamp, mut accepted) = (0, 0);
        for (step, off, expires) in steps {
            stamp += step;
            if expires {
                machine.expire(&rules, stamp, &mut fx);
            }
            let event = event(&rules, stamp + off, stamp, 1);
            accepted += u32::from(machine.apply(&rules, &event, &mut fx).is_ok());
            let mut record = Vec::new();
            machine.encode(&Segments::default(), &mut record);
            let read = Machine::decode(&record, &mut Segments::default(), &rules).unwrap();
            prop_assert_eq!(&read, &machine);
        }
        machine.expire(&rules, END_OF_TIME, &mut fx);
        let mut left = fx.endings.clone();
        left.sort_by_key(|ending| ending.first);
        prop_assert_eq!(left.iter().map(|ending| ending.events).sum::<u32>(), accepted);
        for ending in &left {
            prop_assert!(ending.last - ending.first <= LONGEST, "{ending:?}");
        }
        for pair in left.windows(2) {
            prop_assert!(pair[0].last < pair[1].first, "{:?}", pair);
            let apart = pair[1].first - pair[0].last > GAP;
            prop_assert!(apart || pair[0].cut == Cut::TooLong, "{:?}", pair);
        }
        prop_assert_eq!((fx.changes.at_risk, fx.changes.by_step.iter().sum::<i64>()), (0, 0));
    }

    /// Sums do not depend on the order in which things were put in and taken out.
    #[test]
    fn removals_count_the_same_in_any_order(
        mut event_types in prop::collection::vec(prop_oneof![Just(0u16), Just(1), Just(4)], 1..12),
        seed in any::<u64>(),
    ) {
        let rules = rules(Deadline::Inactivity);
        let end = |event_types: &[u16]| {
            let events: Vec<_> = event_types.iter().map(|event_type| (0, *event_type)).collect();
            let (_, fx) = run(&rules, &events, &[]);
            assert_eq!((fx.changes.at_risk, fx.changes.value), (0, Sum::ZERO));
            (fx.endings[0], fx.changes.emptied)
        };
        let (ending, emptied) = end(&event_types);
        let count = |event_type: u16| event_types.iter().filter(|k| **k == event_type).count() as u32;
        let left = count(1).saturating_sub(count(4));
        prop_assert_eq!(ending.entries, left);
        prop_assert_eq!(ending.value, Amount::from_i64(5 * i64::from(left)));
        let at_stake = left > 0;
        let outcome = if at_stake { Outcome::Abandoned } else { Outcome::Browsed };
        prop_assert_eq!(ending.outcome, outcome);
        prop_assert_eq!(emptied > 0, count(1) > 0 && !at_stake);
        let num = event_types.len();
        (0..num).for_each(|i| event_types.swap(i, (seed as usize).wrapping_mul(i + 7) % num));
        prop_assert_eq!(end(&event_types), (ending, emptied));
    }
}

#[test]
fn a_session_that_makes_room_ends_once_and_its_user_may_come_back() {
    let rules = rules(Deadline::Inactivity);
    let (mut machine, mut fx) = (Machine::default(), SessionEffects::default());
    machine.apply(&rules, &event(&rules, 100, 100, 0), &mut fx).unwrap();
    machine.displace(&rules, 150, &mut fx);
    assert!(machine.is_empty());
    let ending = fx.endings[0];
    assert_eq!((ending.cut, ending.outcome, ending.at), (Cut::NoRoom, Outcome::Browsed, 150));
    let mut again = Machine::after(machine.floor());
    let late = again.apply(&rules, &event(&rules, 100, 150, 0), &mut fx);
    assert_eq!(late, Err(Late::Closed(100)));
    again.apply(&rules, &event(&rules, 101, 150, 0), &mut fx).unwrap();
    again.expire(&rules, END_OF_TIME, &mut fx);
    assert_eq!(fx.endings.iter().map(|ending| ending.events).sum::<u32>(), 2);
    assert_eq!(fx.changes.by_step.iter().sum::<i64>(), 0);
}
