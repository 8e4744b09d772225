//! What the tests of patterns, funnels and sessions have in common: a log of one key, and its way through a
//! machine.

use proptest::prelude::*;

use super::*;
use crate::keyed::KeyedMachine as _;
use crate::metric::{Attr, Condition, Fact, Order, Test};
use crate::number::Decimal;
use crate::time::{BEGINNING, END_OF_TIME, EpochMs};

pub const TYPES: [&str; 4] = ["a", "b", "c", "d"];
pub const DISORDER: i64 = 5;

/// An event of the one key.
#[derive(Clone, Debug)]
pub struct Happened {
    pub at: EpochMs,
    pub event_type: u16,
    /// Missing below 0.
    pub place: i64,
}

impl Fact for Happened {
    fn at(&self) -> EpochMs {
        self.at
    }

    fn event_type(&self) -> u16 {
        self.event_type
    }

    fn key(&self) -> &[u8] {
        b"ada"
    }

    fn order(&self) -> Order {
        Order::Event { batch: 0, position: 0, part: 0 }
    }

    fn in_order(&self) -> bool {
        true
    }

    fn attr(&self, slot: usize) -> Attr<'_> {
        let place = (slot == 0 && self.place >= 0).then(|| Decimal::from_i64(self.place));
        place.map_or(Attr::Missing, Attr::Number)
    }
}

/// What an event is to the patterns.
pub fn hits(patterns: &Patterns, event: &Happened) -> Hits {
    patterns.concerns(event, &mut Vec::new()).hits
}

/// Events of one of these types, `"ab"`.
pub fn conditions(types: &str) -> Vec<Condition> {
    let names = types.chars().map(String::from).collect();
    vec![Condition { attribute: "type".into(), test: Test::TextIn(names) }]
}

pub fn log() -> impl Strategy<Value = Vec<Happened>> {
    let event = (0i64..60, 0u16..4, -1i64..3);
    prop::collection::vec(event, 1..50).prop_map(|events| {
        let mut now = 1_000;
        let happened = |(step, event_type, place)| {
            now += [0, 0, 1, 3, 7, 25][(step % 6) as usize];
            Happened { at: now - step / 6, event_type, place }
        };
        events.into_iter().map(happened).collect()
    })
}

/// Feeds events in the order of arrival; at a pause the timer fires, and the machine is written and
/// read again. What was found, and the events that were not late.
pub fn run(
    patterns: &Patterns,
    log: &[Happened],
    pauses: &[bool],
) -> (PatternEffects, Vec<Happened>) {
    let (mut machine, mut fx) = (Machine::default(), PatternEffects::new(patterns));
    let mut meanings = patterns.meanings();
    let (mut newest, mut taken) = (None, Vec::new());
    // Windows that end here are final once the timer has fired.
    let mut settled = BEGINNING;
    for (event, pause) in log.iter().zip(pauses.iter().cycle()) {
        let watermark = newest.map_or(BEGINNING, |newest: i64| newest - DISORDER);
        newest = newest.max(Some(event.at));
        let known = fx.matches.len();
        if *pause {
            machine.expire(patterns, watermark, &mut fx);
            on_time(&fx.matches[known..], settled);
            settled = settled.max(watermark.saturating_sub(patterns.lateness));
            let mut record = Vec::new();
            machine.encode(&meanings, &mut record);
            let again = Machine::decode(&record, &mut meanings, patterns).unwrap();
            assert_eq!(again, machine);
            for cut in 0..record.len() {
                let _ = Machine::decode(&record[..cut], &mut meanings, patterns);
            }
        }
        let (late, known) = (fx.tallies[0].late, fx.matches.len());
        let hits = hits(patterns, event);
        machine.apply(patterns, &PatternEvent { watermark, hits }, &mut fx).unwrap();
        on_time(&fx.matches[known..], settled);
        taken.extend((fx.tallies[0].late == late).then(|| event.clone()));
        let deadline = machine.next_deadline(patterns);
        assert!(deadline.is_none_or(|at| at >= watermark), "it has something to do already");
    }
    machine.expire(patterns, END_OF_TIME, &mut fx);
    assert_eq!((machine.next_deadline(patterns), machine.heap_bytes()), (None, 0));
    (fx, taken)
}

/// What is found is of windows that are not final yet.
fn on_time(found: &[Match], settled: EpochMs) {
    found.iter().for_each(|found| assert!(found.at >= settled, "{found:?} at {settled}"));
}
