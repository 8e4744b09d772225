//! Laws of the session machine against a plain batch model.

mod at_risk;
mod carts;
mod cuts;
mod identify;
mod lateness;
mod undo;

use crate::keyed::KeyedMachine as _;
use proptest::prelude::*;

use super::state::State;
use super::*;
use crate::event::Schema;
use crate::number::{Amount, Sum};
use crate::time::{BEGINNING, END_OF_TIME, EpochMs, TimePolicy};

const GAP: i64 = 1_000;
const LATENESS: i64 = 200;

fn rules(deadline: Deadline) -> Rules {
    rules_of(SessionPolicy { deadline, ..SessionPolicy::default() })
}

fn rules_of(policy: SessionPolicy) -> Rules {
    let policy = SessionPolicy { gap: GAP, ..policy };
    let time = TimePolicy { allowed_lateness: LATENESS, ..TimePolicy::default() };
    let schema = Schema {
        slots: vec!["amount".into(), "region".into()],
        event_types: policy.steps.iter().chain(&policy.remove).cloned().collect(),
        seed: 1,
        ..Schema::default()
    };
    Rules::compile(&policy, &time, &schema)
}

/// Event type: 0 page view, 1 entry, 3 goal, 4 removal.
fn event(rules: &Rules, at: EpochMs, watermark: EpochMs, event_type: u16) -> SessionEvent {
    let meaning = rules.meaning(event_type);
    SessionEvent {
        at,
        watermark,
        value: (meaning.entry || meaning.remove).then(|| Amount::from_i64(5)),
        segment: 0,
        step: meaning.step,
        counted: meaning.counted,
        entry: meaning.entry,
        goal: meaning.goal,
        remove: meaning.remove,
        repeat: false,
    }
}

/// Sessions of one key by sorting: the definition.
fn batch(events: &[(EpochMs, u16)]) -> Vec<(EpochMs, EpochMs, u32, Outcome)> {
    let mut sorted = events.to_vec();
    sorted.sort();
    let mut found: Vec<(EpochMs, EpochMs, u32, bool, bool)> = Vec::new();
    for (at, event_type) in sorted {
        match found.last_mut().filter(|open| at - open.1 <= GAP) {
            Some(open) => {
                *open =
                    (open.0, at, open.2 + 1, open.3 || event_type == 1, open.4 || event_type == 3);
            }
            None => found.push((at, at, 1, event_type == 1, event_type == 3)),
        }
    }
    let outcome = |entry, goal| match (entry, goal) {
        (false, _) => Outcome::Browsed,
        (true, false) => Outcome::Abandoned,
        (true, true) => Outcome::Converted,
    };
    found.into_iter().map(|(a, b, n, entry, goal)| (a, b, n, outcome(entry, goal))).collect()
}

/// Runs events in the given order through a machine, expiring at random moments.
fn run(rules: &Rules, events: &[(EpochMs, u16)], ticks: &[bool]) -> (Machine, SessionEffects) {
    let mut machine = Machine::default();
    let mut fx = SessionEffects::default();
    let mut watermark = BEGINNING;
    for (index, (at, event_type)) in events.iter().enumerate() {
        if ticks.get(index).copied().unwrap_or(false) {
            machine.expire(rules, watermark, &mut fx);
        }
        machine.apply(rules, &event(rules, *at, watermark, *event_type), &mut fx).unwrap();
        watermark = watermark.max(*at);
    }
    machine.expire(rules, END_OF_TIME, &mut fx);
    (machine, fx)
}

/// Events whose order is disturbed by at most the lateness.
fn disturbed() -> impl Strategy<Value = Vec<(EpochMs, u16)>> {
    let one = (0i64..40_000, prop_oneof![Just(0u16), Just(1), Just(3)], 0i64..=LATENESS);
    prop::collection::vec(one, 1..80).prop_map(|mut events| {
        events.sort_by_key(|(at, _, delay)| at + delay);
        events.into_iter().map(|(at, event_type, _)| (at, event_type)).collect()
    })
}

proptest! {
    #[test]
    fn any_order_within_the_lateness_gives_the_batch_answer(
        events in disturbed(),
        ticks in prop::collection::vec(any::<bool>(), 80),
    ) {
        let rules = rules(Deadline::Inactivity);
        let (machine, fx) = run(&rules, &events, &ticks);
        let mut got: Vec<_> =
            fx.endings.iter().map(|e| (e.first, e.last, e.events, e.outcome)).collect();
        got.sort_by_key(|ending| ending.0);
        prop_assert_eq!(got, batch(&events));
        prop_assert!(machine.is_empty());
        prop_assert_eq!(fx.changes.by_step.iter().sum::<i64>(), 0);
        prop_assert_eq!((fx.changes.at_risk, fx.changes.value), (0, Sum::ZERO));
    }

    #[test]
    fn the_cart_timer_does_not_depend_on_the_order(
        events in disturbed(),
        ticks in prop::collection::vec(any::<bool>(), 80),
    ) {
        // Equal times keep their order of arrival, so give each event its own.
        let mut seen = std::collections::HashSet::new();
        let events: Vec<_> = events.into_iter().filter(|(at, _)| seen.insert(*at)).collect();
        let rules = rules(Deadline::SinceEntry);
        let mut sorted = events.clone();
        sorted.sort();
        let carts = |fx: &SessionEffects| {
            let mut carts: Vec<_> = fx.endings.iter().filter(|e| !e.closes_session).copied().collect();
            carts.sort_by_key(|e| e.first);
            (carts, fx.changes.stray_goals)
        };
        let (_, got) = run(&rules, &events, &ticks);
        let (_, want) = run(&rules, &sorted, &[]);
        prop_assert_eq!(carts(&got), carts(&want));
        prop_assert_eq!((got.changes.at_risk, got.changes.value), (0, Sum::ZERO));
    }

    #[test]
    fn a_record_reads_back_and_goes_on_the_same(
        events in disturbed(),
        cut in 0usize..80,
        since_entry: bool,
    ) {
        let rules = rules(if since_entry { Deadline::SinceEntry } else { Deadline::Inactivity });
        let mut segments = Segments::default();
        let mut machine = Machine::default();
        let mut fx = SessionEffects::default();
        let mut watermark = BEGINNING;
        for (index, (at, event_type)) in events.iter().enumerate() {
            if index == cut {
                let mut record = Vec::new();
                machine.encode(&segments, &mut record);
                let read = Machine::decode(&record, &mut segments, &rules).unwrap();
                prop_assert_eq!(&read, &machine);
                machine = read;
            }
            let mut event = event(&rules, *at, watermark, *event_type);
            event.segment = segments.intern(["eu", "us", ""][index % 3].as_bytes());
            machine.apply(&rules, &event, &mut fx).unwrap();
            watermark = watermark.max(*at);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_but_never_panic(bytes: Vec<u8>) {
        let _ = Machine::decode(&bytes, &mut Segments::default(), &rules(Deadline::Inactivity));
    }

    /// A record that was damaged is refused, or it is that of a machine that can be: it is
    /// written and read the same, and comes to its end.
    #[test]
    fn a_damaged_record_is_refused_or_that_of_a_machine_that_can_be(
        events in disturbed(),
        since_entry: bool,
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let rules = rules(if since_entry { Deadline::SinceEntry } else { Deadline::Inactivity });
        let (mut segments, mut machine) = (Segments::default(), Machine::default());
        let mut fx = SessionEffects::default();
        for (at, event_type) in &events {
            machine.apply(&rules, &event(&rules, *at, BEGINNING, *event_type), &mut fx).unwrap();
        }
        let mut record = Vec::new();
        machine.encode(&segments, &mut record);
        for (place, byte) in damages {
            let place = place.index(record.len());
            record[place] = byte;
        }
        if let Ok(mut read) = Machine::decode(&record, &mut segments, &rules) {
            let mut again = Vec::new();
            read.encode(&segments, &mut again);
            prop_assert_eq!(&Machine::decode(&again, &mut segments, &rules).unwrap(), &read);
            read.expire(&rules, END_OF_TIME, &mut fx);
        }
    }

    #[test]
    fn the_next_deadline_is_the_first_moment_with_something_to_do(events in disturbed()) {
        let rules = rules(Deadline::Inactivity);
        let mut machine = Machine::default();
        let mut fx = SessionEffects::default();
        let mut watermark = BEGINNING;
        for (at, event_type) in events {
            machine.apply(&rules, &event(&rules, at, watermark, event_type), &mut fx).unwrap();
            watermark = watermark.max(at);
            let due = machine.next_deadline(&rules).unwrap();
            let (mut early, mut fired) = (machine.clone(), machine.clone());
            fx = SessionEffects::default();
            early.expire(&rules, due, &mut fx);
            prop_assert!(fx.endings.is_empty());
            fired.expire(&rules, due + 1, &mut fx);
            prop_assert_eq!(fx.endings.len(), 1);
        }
    }
}

#[test]
fn exactly_the_gap_later_still_belongs() {
    let rules = rules(Deadline::Inactivity);
    let (_, fx) = run(&rules, &[(0, 0), (GAP, 0), (2 * GAP + 1, 0)], &[]);
    let spans: Vec<_> = fx.endings.iter().map(|e| (e.first, e.last)).collect();
    assert_eq!(spans, [(0, GAP), (2 * GAP + 1, 2 * GAP + 1)]);
}

#[test]
fn the_view_tells_state_deadline_and_trail() {
    let rules = rules(Deadline::Inactivity);
    let mut machine = Machine::default();
    let mut fx = SessionEffects::default();
    for (at, event_type) in [(100, 0), (400, 1), (300, 0)] {
        machine.apply(&rules, &event(&rules, at, 0, event_type), &mut fx).unwrap();
    }
    let view = machine.view("u1", &rules, &Segments::default(), 500);
    let open = &view.sessions[0];
    assert_eq!((open.state, open.step.as_str(), open.events), ("at_risk", "cart_add", 3));
    assert_eq!((open.deadline, open.remaining_ms, open.value), (1_400, 900, 5.0));
    assert_eq!(open.trail.iter().map(|e| e.at).collect::<Vec<_>>(), [100, 300, 400]);
    assert_eq!(open.counts.get("page_view"), Some(&2));
}
