//! Which events are late, and which sessions leave, whatever arrives when: against a model
//! that keeps every event and every closed session and counts anew each time.

use crate::keyed::KeyedMachine as _;
use proptest::prelude::*;

use super::*;

/// What one key's events come to: sessions that left, and which events were late.
#[derive(Debug, Default, PartialEq)]
struct Fate {
    left: Vec<(EpochMs, EpochMs, u32)>,
    late: Vec<usize>,
}

/// An event's time, and the watermark at its place in the log.
type Stamped = (EpochMs, EpochMs);

/// The definition. An event is late when its session has been closed: when it lies within the
/// gap of a closed session, or no open session reaches it and its own would be closed already.
/// Closed sessions of a key without open ones are remembered for so long (`Rules::memory`).
fn model(rules: &Rules, events: &[Stamped]) -> Fate {
    let mut fate = Fate::default();
    let mut accepted: Vec<EpochMs> = Vec::new();
    // Before this nothing is known of the key, as of its oldest open session.
    let mut known_from = BEGINNING;
    for (index, (at, stamp)) in events.iter().copied().enumerate() {
        close(&mut fate, &mut accepted, stamp - LATENESS);
        let closed = fate.left.iter().any(|(first, last, _)| at >= first - GAP && at <= last + GAP);
        let open = spans(&accepted);
        let reached = open.iter().any(|(first, last, _)| at >= first - GAP && at <= last + GAP);
        let alone = !reached && at + GAP + LATENESS < stamp;
        if closed || alone || (reached && at <= known_from) {
            fate.late.push(index);
            continue;
        }
        if accepted.is_empty() {
            known_from = stamp - rules.memory() - 1;
        }
        accepted.push(at);
    }
    close(&mut fate, &mut accepted, END_OF_TIME);
    fate.left.sort_unstable();
    fate
}

/// First, last and number of each session of events in any order.
fn spans(events: &[EpochMs]) -> Vec<(EpochMs, EpochMs, u32)> {
    let mut sorted = events.to_vec();
    sorted.sort_unstable();
    let sessions = sorted.chunk_by(|before, after| after - before <= GAP);
    sessions.map(|s| (s[0], s[s.len() - 1], s.len() as u32)).collect()
}

fn close(fate: &mut Fate, accepted: &mut Vec<EpochMs>, settled: EpochMs) {
    let over = spans(accepted).into_iter().filter(|(_, last, _)| last + GAP < settled);
    for (first, last, num) in over.collect::<Vec<_>>() {
        accepted.retain(|at| *at < first || *at > last);
        fate.left.push((first, last, num));
    }
}

/// One key of a shard as the shells keep it: a machine while something is open, else what the
/// shard remembers. `breaks` says after which events a batch ends, what happens there is a
/// barrier with its sweep, and sometimes a restart.
fn shard(rules: &Rules, events: &[Stamped], breaks: &[u8]) -> Fate {
    const KEY: u64 = 7;
    let mut fate = Fate::default();
    let mut closed = Closed::new(rules, 1_000);
    let mut machine: Option<Machine> = None;
    let mut fx = SessionEffects::default();
    for (index, (at, stamp)) in events.iter().copied().enumerate() {
        let known = match &mut machine {
            Some(machine) => machine,
            None => {
                let floor = closed.floor(KEY);
                if late_alone(rules, floor, at, stamp).is_some() {
                    fate.late.push(index);
                    continue;
                }
                machine.insert(Machine::after(floor))
            }
        };
        if known.apply(rules, &event(rules, at, stamp, 0), &mut fx).is_err() {
            fate.late.push(index);
        }
        let what = breaks.get(index).copied().unwrap_or(0);
        if what > 0 {
            // A barrier's watermark is the one before the next event, or less.
            let watermark = stamp;
            known.expire(rules, watermark, &mut fx);
            if known.is_empty() {
                closed.insert(KEY, known.floor());
                machine = None;
            }
            closed.sweep(watermark);
        }
        if what > 1 {
            machine = machine.map(|machine| {
                let mut record = Vec::new();
                machine.encode(&Segments::default(), &mut record);
                Machine::decode(&record, &mut Segments::default(), rules).unwrap()
            });
            let mut again = Closed::new(rules, 1_000);
            let kept = closed.take_changes().into_iter().filter(|(_, floor)| *floor > BEGINNING);
            kept.for_each(|(key, floor)| again.restore(key, floor));
            again.restore(KEY, closed.floor(KEY));
            closed = again;
        }
    }
    if let Some(machine) = &mut machine {
        machine.expire(rules, END_OF_TIME, &mut fx);
    }
    fate.left.extend(fx.endings.iter().map(|ending| (ending.first, ending.last, ending.events)));
    fate.left.sort_unstable();
    assert_eq!(fx.changes.by_step.iter().sum::<i64>(), 0);
    fate
}

/// Events around a watermark that moves on, up to `behind` gaps behind it.
fn events(behind: i64) -> impl Strategy<Value = Vec<Stamped>> {
    let step = prop_oneof![4 => 0i64..400, 1 => 0i64..3_000];
    let off = prop_oneof![3 => -200i64..1, 2 => 0..behind * GAP];
    prop::collection::vec((step, off), 1..70).prop_map(|steps| {
        let mut stamp = 0;
        let stamped = steps.into_iter().map(|(step, behind)| {
            stamp += step;
            (stamp - behind, stamp)
        });
        stamped.collect()
    })
}

proptest! {
    #![proptest_config(crate::trials::cases(600))]

    #[test]
    fn late_is_what_the_definition_says(
        events in events(5),
        breaks in prop::collection::vec(0u8..3, 70),
    ) {
        let rules = rules(Deadline::Inactivity);
        let want = model(&rules, &events);
        prop_assert_eq!(shard(&rules, &events, &breaks), want);
    }

    #[test]
    fn no_two_sessions_closer_than_the_gap_leave_whatever_comes_when(events in events(12)) {
        let rules = rules(Deadline::Inactivity);
        let left = shard(&rules, &events, &[1; 70]).left;
        for pair in left.windows(2) {
            prop_assert!(pair[1].0 - pair[0].1 > GAP, "{:?}", left);
        }
    }
}

#[test]
fn an_event_of_an_open_session_is_never_late() {
    let rules = rules(Deadline::Inactivity);
    // Open from 0 to 5 gaps, an event each half of one; then one from its beginning.
    let mut events: Vec<Stamped> = (0..10).map(|n| (n * GAP / 2, n * GAP / 2)).collect();
    events.push((10, 5 * GAP));
    events.push((-GAP, 5 * GAP));
    let fate = shard(&rules, &events, &[]);
    assert_eq!(fate.late, [] as [usize; 0]);
    assert_eq!(fate.left, [(-GAP, 9 * GAP / 2, 12)]);
}

#[test]
fn an_event_between_a_closed_and_an_open_session_is_late() {
    let rules = rules(Deadline::Inactivity);
    let over = GAP + LATENESS;
    let events = [(0, 0), (2 * GAP, over + 1), (GAP, over + 1), (GAP + 1, over + 1)];
    let fate = shard(&rules, &events, &[1; 4]);
    assert_eq!(fate.late, [2], "within the gap of the closed one, though an open one is near");
    assert_eq!(fate.left, [(0, 0, 1), (GAP + 1, 2 * GAP, 2)]);
}

#[test]
fn the_reason_names_when_the_session_was_closed() {
    let closed = Late::Closed(1_699_921_800_000).reason();
    assert_eq!(closed, "its session was closed at 2023-11-14T00:30:00Z");
    for late in [Late::Alone(0), Late::Cart(0)] {
        assert!(late.reason().contains("1970-01-01T00:00:00Z"), "{late:?}");
    }
}
