//! Room: who finds none is a matter of the log, wherever barriers lie, and nothing takes more than it may.

use proptest::prelude::*;

use super::*;
use crate::actors::aggregator::DecidedGroups;
use crate::actors::committer::{OwnKeys, OwnKeysParts};
use crate::domain::event::{Event, EventBatch, Schema, Span, Value};
use crate::domain::hash::EventIdentity;
use crate::domain::metric::{Condition, Test};
use crate::domain::pattern::{PatternSpec, PatternTally, Seeks, SequenceSpec, SessionsSpec};
use crate::domain::time::{END_OF_TIME, TimePolicy};

const SEED: u64 = 7;
const LATENESS: i64 = 5;
/// Keys are one letter of it.
const DATA: &[u8] = b"klmnopqr";

fn of_type(name: &str) -> Vec<Condition> {
    vec![Condition { attribute: "type".into(), test: Test::TextIn(vec![name.into()]) }]
}

/// An a, then a b within 20 ms.
fn pairs() -> Seeks {
    Seeks::Sequence(SequenceSpec {
        first: of_type("a"),
        times: 1,
        then: vec![of_type("b")],
        without: Vec::new(),
        not_then: Vec::new(),
        within: 20,
    })
}

/// What is silent for 20 ms.
fn visits() -> Seeks {
    Seeks::Sessions(SessionsSpec {
        events: of_type("a"),
        entry: vec![of_type("a")],
        goal: Vec::new(),
        remove: Vec::new(),
        names: Vec::new(),
        steps: Vec::new(),
        counts: Vec::new(),
        lists: Vec::new(),
        list_max: 20,
        identify: None,
        value: None,
        gap: 20,
        max_length: None,
        cohort: None,
        nudged: false,
        hidden: Vec::new(),
    })
}

/// By the session key, or by the attribute that has the same text.
fn patterns(seeks: &[Seeks], own: bool) -> Arc<Patterns> {
    let names = ["p", "q"];
    let specs = names.iter().zip(seeks).map(|(name, seeks)| PatternSpec {
        name: (*name).into(),
        title: (*name).into(),
        key: own.then(|| "device".into()),
        seeks: seeks.clone(),
        attributes: Vec::new(),
        alert: Some("info".into()),
    });
    let schema = Schema {
        slots: vec!["device".into()],
        event_types: ["a", "b"].map(String::from).to_vec(),
        patterns: names[..seeks.len()].iter().map(ToString::to_string).collect(),
        ..Schema::default()
    };
    let time = TimePolicy { allowed_lateness: LATENESS, ..TimePolicy::default() };
    Arc::new(Patterns::compile(&specs.collect::<Vec<_>>(), &time, 100, &schema))
}

fn room(keys_max: usize, sent_bytes_max: usize) -> PatternRoom {
    PatternRoom {
        keys: Bounds { keys_max, bytes_max: 1 << 20 },
        cohort_keys_max: 100,
        aliases: AliasBounds { keep: 1_000, max: 100, bytes_max: 1 << 20 },
        sent_bytes_max,
        on_the_way: Arc::default(),
    }
}

fn fold() -> Fold {
    Fold::new(Arc::default(), LATENESS)
}

fn own_keys(patterns: &Arc<Patterns>, room: &PatternRoom) -> OwnKeys {
    let parts = OwnKeysParts {
        patterns: Arc::clone(patterns),
        metrics: Arc::default(),
        groups: DecidedGroups::default(),
        lateness: LATENESS,
        seed: SEED,
        room: PatternRoom { on_the_way: Arc::default(), ..room.clone() },
        on_the_way: vec![Arc::clone(&room.on_the_way)],
    };
    OwnKeys::restored(parts, &Snapshot::default()).unwrap().expect("there are such patterns")
}

/// Events of keys and types, each so long after the one before it, in a batch.
fn batch(log: &[(i64, u8, u16)]) -> EventBatch {
    let (mut newest, mut events, mut slots) = (1_000, Vec::new(), Vec::new());
    for (position, (step, key, event_type)) in log.iter().enumerate() {
        let watermark = newest;
        newest += step;
        let key = Span { start: u32::from(*key), len: 1 };
        slots.push(Value::Text(key));
        events.push(Event {
            at: newest,
            watermark,
            position: position as u64,
            key_hash: key_hash(SEED, &DATA[key.start as usize..][..1]),
            identity: EventIdentity::NONE,
            key,
            raw: Span::default(),
            part: Event::WHOLE,
            event_type: *event_type,
        });
    }
    EventBatch {
        data: bytes::Bytes::from_static(DATA),
        slots,
        width: 1,
        events,
        ..EventBatch::default()
    }
}

/// What was found, sorted, and how many events found no room.
type Found = (Vec<(SmolStr, EpochMs)>, u64);

fn add(found: &mut Found, delta: &mut ShardDelta) {
    found.0.extend(delta.matches.drain(..).map(|one| (one.key, one.found.at)));
    found.1 += delta.patterns.iter().map(|tally| tally.left_out).sum::<u64>();
}

/// With a barrier behind each event for which there is one.
fn run(own: bool, keys_max: usize, batch: &EventBatch, barriers: &[bool]) -> Found {
    let (patterns, room) = (patterns(&[pairs()], own), room(keys_max, 1 << 20));
    let mut shard = PatternShard::new(&patterns, false, SEED, room.clone()).unwrap();
    let mut committer = own.then(|| own_keys(&patterns, &room));
    let (mut fold, mut found) = (fold(), Found::default());
    let mut barrier = |shard: &mut PatternShard, fold: &mut Fold, watermark| {
        let mut delta = ShardDelta::default();
        shard.expire(watermark, fold);
        shard.hand_over(watermark, &mut delta);
        let mut deltas = vec![delta];
        if let Some(own) = &mut committer {
            own.take(&mut deltas, watermark);
        }
        deltas.iter_mut().for_each(|delta| add(&mut found, delta));
    };
    for (position, event) in batch.events.iter().enumerate() {
        shard.take(&EventFact { batch, position, event }, &mut fold);
        if barriers[position % barriers.len()] {
            barrier(&mut shard, &mut fold, event.at);
        }
    }
    barrier(&mut shard, &mut fold, END_OF_TIME);
    found.0.sort();
    found
}

/// One machine for each key, all of them moved on by each event.
fn searched(keys_max: usize, batch: &EventBatch) -> Found {
    let patterns = patterns(&[pairs()], false);
    let (mut all, mut fx) = (BTreeMap::<SmolStr, Machine>::new(), PatternEffects::new(&patterns));
    let mut found = Found::default();
    let mut tell = |key: &SmolStr, fx: &mut PatternEffects| {
        found.0.extend(fx.matches.drain(..).map(|one| (key.clone(), one.at)));
    };
    let mut left_out = 0;
    for (position, event) in batch.events.iter().enumerate() {
        all.retain(|key, machine| {
            machine.expire(&patterns, event.watermark, &mut fx);
            tell(key, &mut fx);
            !machine.is_empty()
        });
        let fact = EventFact { batch, position, event };
        let hits = patterns.concerns(&fact, &mut fx.faults).hits;
        let key = SmolStr::from(String::from_utf8_lossy(batch.text(event.key)));
        if !all.contains_key(&key) && all.len() >= keys_max {
            left_out += 1;
            continue;
        }
        let event = PatternEvent { watermark: event.watermark, hits };
        let machine = all.entry(key.clone()).or_default();
        let Ok(()) = machine.apply(&patterns, &event, &mut fx);
        tell(&key, &mut fx);
    }
    for (key, machine) in &mut all {
        machine.expire(&patterns, END_OF_TIME, &mut fx);
        tell(key, &mut fx);
    }
    found.0.sort();
    found.1 = left_out;
    found
}

proptest! {
    #[test]
    fn keys_that_find_no_room_are_a_matter_of_the_log(
        log in prop::collection::vec((0i64..12, 0u8..6, 0u16..2), 1..80),
        keys_max in 1usize..5,
        barriers in prop::collection::vec(prop::bool::weighted(0.2), 1..12),
    ) {
        let batch = batch(&log);
        let wanted = searched(keys_max, &batch);
        for own in [false, true] {
            prop_assert_eq!(&run(own, keys_max, &batch, &barriers), &wanted, "own: {}", own);
        }
    }
}

/// Long after the first keys were over there is room for others, though no barrier came.
#[test]
fn what_is_over_makes_room_before_the_next_barrier() {
    let log =
        [(0, 0, 0), (1, 1, 0), (1, 2, 0), (3_600_000, 3, 0), (0, 4, 0), (9, 4, 1), (99, 5, 0)];
    let never = run(true, 2, &batch(&log), &[false]);
    // The watermark stands before an event: the 4th does not say yet that an hour has passed.
    assert_eq!(never, (vec![("o".into(), 3_601_011)], 2));
}

/// What of the sessions of two kinds `p` and `q` is there of one key, `p` goes on under another.
fn identified(keys_max: usize, kinds: usize) -> (u64, Vec<PatternTally>, Vec<(SmolStr, u16)>) {
    let patterns = patterns(&[visits(), visits()], true);
    let mut machines = PatternShard::new(&patterns, true, SEED, room(keys_max, 0)).unwrap();
    let (mut fold, batch) = (fold(), batch(&[(1, 0, 0)]));
    let fact = EventFact { batch: &batch, position: 0, event: &batch.events[0] };
    let hits = patterns.concerns(&fact, &mut Vec::new()).own;
    for Concern { pattern, held, .. } in hits.into_iter().take(kinds) {
        machines.take_sent(
            Sent {
                order: fact.order(),
                at: fact.at(),
                watermark: 1_000,
                pattern,
                key: "k".into(),
                anonymous: None,
                held,
            },
            &mut fold,
        );
    }
    machines.go_on_as(("k", "known"), Some(0), 1_001, &mut fold);
    let keys = machines.holds().pattern_keys;
    machines.expire(END_OF_TIME, &mut fold);
    let mut delta = ShardDelta::default();
    machines.hand_over(END_OF_TIME, &mut delta);
    let mut found: Vec<_> =
        delta.matches.into_iter().map(|one| (one.key, one.found.pattern)).collect();
    found.sort();
    (keys, delta.patterns, found)
}

#[test]
fn who_becomes_known_takes_no_room_that_there_is_not() {
    // Nothing else goes by that key, which makes the room.
    let (keys, tallies, found) = identified(1, 1);
    assert_eq!((keys, tallies[0].left_out), (1, 0));
    assert_eq!(found, [("known".into(), 0)]);
    let (keys, tallies, found) = identified(2, 2);
    assert_eq!((keys, tallies[0].left_out), (2, 0));
    assert_eq!(found, [("k".into(), 1), ("known".into(), 0)]);
    // Another kind keeps its key: what there is of the first stays with it, and ends there.
    let (keys, tallies, found) = identified(1, 2);
    assert_eq!((keys, tallies[0].left_out, tallies[1].left_out), (1, 1, 0));
    assert_eq!(found, [("k".into(), 0), ("k".into(), 1)]);
    assert_eq!(tallies.iter().map(|tally| tally.sessions.open).sum::<i64>(), 0);
}

#[test]
fn what_is_on_its_way_is_bounded_over_all_barriers_and_has_room_again_once_taken() {
    let patterns = patterns(&[pairs()], true);
    let log: Vec<_> = (0..100).map(|nth| (1, nth % 6, 0)).collect();
    let batch = batch(&log);
    let one = size_of::<Sent>() + 1;
    let room = room(100, 10 * one);
    let mut shard = PatternShard::new(&patterns, false, SEED, room.clone()).unwrap();
    let mut committer = own_keys(&patterns, &room);
    let (mut fold, mut waiting, mut sent, mut left_out) = (fold(), Vec::new(), 0, 0);
    for (position, event) in batch.events.iter().enumerate() {
        shard.take(&EventFact { batch: &batch, position, event }, &mut fold);
        // A barrier each fourth event, and nobody who takes what they hold before the 60th.
        if position % 4 == 3 {
            let mut delta = ShardDelta::default();
            shard.hand_over(event.at, &mut delta);
            sent += delta.sent.len();
            left_out += delta.patterns[0].left_out;
            waiting.push(vec![delta]);
            assert_eq!(shard.holds().pattern_sent_bytes, (sent.min(10) * one) as u64);
        }
        if position == 59 {
            assert_eq!((sent, left_out), (10, 50));
            for mut deltas in waiting.drain(..) {
                committer.take(&mut deltas, event.at);
            }
            assert_eq!(shard.holds().pattern_sent_bytes, 0);
            sent = 0;
        }
    }
    assert_eq!((sent, left_out), (10, 80));
}
