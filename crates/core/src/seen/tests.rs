//! The answers against a plain memory of everything, whenever old parts are swept and whenever
//! a snapshot is taken up; and the bounds when there are too many.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn id(n: u64) -> EventIdentity {
    EventIdentity { high: n << 48, low: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
}

const NEVER: EpochMs = EpochMs::MAX;

#[test]
fn a_repeat_within_the_horizon_is_known_even_with_another_time() {
    let mut seen = Seen::new(1_600, 100);
    assert_eq!(seen.insert(id(7), 500, 0), Sight::New);
    assert_eq!(seen.insert(id(7), 500, 600), Sight::Known);
    assert_eq!(seen.insert(id(7), 1_200, 1_100), Sight::Known);
    assert_eq!(seen.insert(id(8), 500, 600), Sight::New);
    assert_eq!(seen.insert(id(9), 500, 2_101), Sight::TooOld, "it cannot be told, so it is late");
    assert_eq!(seen.insert(id(9), 501, 2_101), Sight::New);
}

#[test]
fn what_is_taken_back_may_come_again() {
    let mut seen = Seen::new(1_600, 100);
    seen.insert(id(7), 500, 0);
    seen.insert(id(8), 560, 0);
    seen.take_back(id(7), 500);
    assert_eq!((seen.len(), seen.take_fresh()), (1, vec![(600, vec![id(8)])]));
    assert_eq!(seen.insert(id(7), 500, 0), Sight::New);
    assert_eq!(seen.insert(id(8), 560, 0), Sight::Known);
}

#[test]
fn what_is_taken_back_leaves_no_hole() {
    let mut seen = Seen::new(1_600, 100_000);
    for n in 0..10_000 {
        assert_eq!(seen.insert(id(n), 500, 0), Sight::New);
        seen.take_back(id(n), 500);
    }
    assert_eq!(seen.pieces.iter().map(|piece| piece.ids.len()).sum::<usize>(), 0);
    assert_eq!((seen.len(), seen.insert(id(3), 500, 0)), (0, Sight::New));
}

#[test]
fn too_many_push_out_the_oldest_only_and_nothing_that_is_young() {
    let mut seen = Seen::new(16_000, 1_600);
    // Eight parts of 300, all of them older than the one at hand but the last two.
    for n in 0..2_400u64 {
        let at = (n / 300) as i64 * 1_000 + (n % 300) as i64;
        assert_eq!(seen.insert(id(n), at, at), Sight::New);
        assert!(seen.len() <= 1_600 + 32, "{}", seen.len());
    }
    let (kept, watermark) = (seen.len() as u64, 7_300);
    assert_eq!(kept + seen.forgotten_early, 2_400);
    for n in 2_400 - kept..2_400 {
        let at = (n / 300) as i64 * 1_000 + (n % 300) as i64;
        assert_eq!(seen.insert(id(n), at, watermark), Sight::Known, "{n}");
    }
    // What was forgotten cannot count twice: it is late.
    assert_eq!(seen.insert(id(0), 0, watermark), Sight::TooOld);
    assert!(seen.forgotten_until(watermark).is_some());
    assert_eq!(seen.forgotten_until(watermark + 32_000), None, "nobody could come any more");
}

#[test]
fn a_flood_within_seconds_leaves_what_is_seconds_old() {
    let mut seen = Seen::new(3_660_000, 50_000);
    for n in 0..60_000 {
        let at = 1_000_000 + n as i64 / 30;
        assert_eq!(seen.insert(id(n), at, at - 5_000), Sight::New);
    }
    (0..60_000).for_each(|n| {
        let at = 1_000_000 + n as i64 / 30;
        assert_eq!(seen.insert(id(n), at, 1_000_000), Sight::Known);
    });
    assert_eq!(seen.forgotten_early, 0);
    // Twice as many is the end, and time to come is not called too old for it.
    for n in 60_000..300_000 {
        let at = 1_002_000 + n as i64 / 30;
        assert_eq!(seen.insert(id(n), at, 1_000_000), Sight::New);
        assert!(seen.len() <= 100_000 + PIECE_MAX);
    }
    assert!(seen.forgotten_early >= 200_000 - PIECE_MAX as u64);
}

/// As many as come and go: memory follows them.
#[test]
fn an_id_takes_no_more_than_28_bytes() {
    let mut seen = Seen::new(1_600_000, 1_000_000);
    let mut least = usize::MAX;
    for n in 0..400_000u64 {
        assert_eq!(seen.insert(EventIdentity::of(3, n, b"1"), n as i64, 0), Sight::New);
        if n >= 100_000 && n % 1_000 == 0 {
            let each = seen.bytes() / seen.len();
            assert!(each <= 28, "{each} bytes each for {}", seen.len());
            least = least.min(each);
        }
    }
    assert!(least <= 25, "{least}");
    // All but the last part: the index has shrunk with what it holds.
    for _ in 0..4 {
        seen.sweep(1_900_000, NEVER);
    }
    assert_eq!(seen.len(), 100_000);
    assert!(seen.bytes() / seen.len() <= 48, "{} for {}", seen.bytes(), seen.len());
}

#[test]
fn what_open_sessions_need_is_kept_while_there_is_room() {
    let mut seen = Seen::new(1_600, 1_000);
    seen.insert(id(1), 500, 500);
    seen.sweep(100_000, 400);
    assert!(seen.contains(id(1)));
    assert_eq!(seen.insert(id(1), 500, 100_000), Sight::TooOld, "whether it was swept or not");
    assert_eq!(seen.insert_old(id(1), 500, 100_000), Sight::Known);
    assert_eq!(seen.insert_old(id(2), 500, 100_000), Sight::New);
    seen.sweep(100_000, NEVER);
    assert!(seen.is_empty());
}

#[test]
fn a_restart_knows_what_was_swept_and_keeps_what_open_sessions_reach() {
    let mut seen = Seen::new(1_600, 10);
    for n in 0..8u64 {
        seen.insert(id(n), 500 + n as i64 * 200, 1_000);
    }
    // More than half of the room: the oldest leave although a session reaches them.
    let floor = seen.sweep(100_000, 400);
    assert!(floor > 600, "{floor}");
    assert_eq!(seen.insert_old(id(0), 500, 100_000), Sight::TooOld);
    let mut again = Seen::new(1_600, 10);
    again.restore_swept(floor);
    for (until, ids) in seen.take_fresh().iter().filter(|(until, _)| *until > floor) {
        ids.iter().for_each(|id| again.restore(*until, *id));
    }
    assert_eq!(again.insert_old(id(0), 500, 100_000), Sight::TooOld, "it counted before");
    assert_eq!(again.insert_old(id(7), 1_900, 100_000), Sight::Known);
    // Where nothing was swept, what an open session reaches counts after a restart as before.
    let mut roomy = Seen::new(1_600, 1_000);
    roomy.insert(id(1), 900, 1_000);
    let floor = roomy.sweep(100_000, 400);
    let mut again = Seen::new(1_600, 1_000);
    again.restore_swept(floor);
    assert_eq!(roomy.insert_old(id(2), 450, 100_000), Sight::New);
    assert_eq!(again.insert_old(id(2), 450, 100_000), Sight::New);
}

/// The plain answer: everything is remembered for ever, with the part it lies in.
#[derive(Default)]
struct Plain {
    at: HashMap<u64, EpochMs>,
}

impl Plain {
    fn insert(&mut self, n: u64, at: EpochMs, watermark: EpochMs, horizon: SpanMs) -> Sight {
        if at < watermark - horizon {
            return Sight::TooOld;
        }
        let part = (horizon + PARTS - 1) / PARTS;
        let end = |at: EpochMs| (at.div_euclid(part) + 1) * part;
        if self.at.get(&n).is_some_and(|at| end(*at) > watermark - horizon) {
            return Sight::Known;
        }
        self.at.insert(n, at);
        Sight::New
    }
}

proptest! {
    #[test]
    fn the_answers_are_those_of_a_memory_without_end(
        steps in prop::collection::vec((0u64..40, 0i64..3_000, 0i64..400, 0u8..10), 1..200),
        horizon in 16i64..2_000,
    ) {
        let mut plain = Plain::default();
        let mut seen = Seen::new(horizon, 1_000);
        let mut snapshot: BTreeMap<EpochMs, Vec<EventIdentity>> = BTreeMap::new();
        let mut watermark = 0;
        for (n, behind, step, what) in steps {
            watermark += step;
            let at = watermark + 500 - behind;
            let wanted = plain.insert(n, at, watermark, horizon);
            prop_assert_eq!(seen.insert(id(n), at, watermark), wanted);
            if what == 0 && wanted == Sight::New {
                seen.take_back(id(n), at);
                plain.at.remove(&n);
            }
            if what >= 8 {
                let floor = seen.sweep(watermark, NEVER);
                for (until, ids) in seen.take_fresh() {
                    snapshot.entry(until).or_default().extend(ids);
                }
                snapshot = snapshot.split_off(&(floor + 1));
            }
            if what == 9 {
                seen = Seen::new(horizon, 1_000);
                for (until, ids) in &snapshot {
                    ids.iter().for_each(|id| seen.restore(*until, *id));
                }
            }
        }
    }

    /// Events of sessions that are open count however old they are, and no event counts twice:
    /// not when ids make room early, and not over restarts, which the horizon may change.
    #[test]
    fn what_is_old_never_counts_twice_over_restarts(
        steps in prop::collection::vec((0u64..300, 0i64..200, 0u8..8, 0i64..3_000), 1..400),
        ids_max in 1usize..200,
    ) {
        let mut seen = Seen::new(320, ids_max);
        let mut counted: HashMap<u64, u32> = HashMap::new();
        let mut snapshot: BTreeMap<EpochMs, Vec<EventIdentity>> = BTreeMap::new();
        let (mut watermark, mut swept) = (1_000, BEGINNING);
        for (n, step, what, back) in steps {
            watermark += step * i64::from(what == 7);
            let at = (n as i64 * 37) % 3_000;
            let sight = match seen.insert(id(n), at, watermark) {
                Sight::TooOld => seen.insert_old(id(n), at, watermark),
                sight => sight,
            };
            if at < watermark && sight == Sight::New {
                *counted.entry(n).or_default() += 1;
                prop_assert_eq!(counted[&n], 1, "{} at {} again at {}", n, at, watermark);
            } else if sight == Sight::New {
                seen.take_back(id(n), at);
            }
            prop_assert!(seen.len() <= 2 * ids_max + 1);
            if what >= 6 {
                let floor = seen.sweep(watermark, watermark - back);
                for (until, ids) in seen.take_fresh() {
                    snapshot.entry(until).or_default().extend(ids);
                }
                for (until, count) in seen.take_evicted() {
                    // As `Snapshot::absorb` does: with another horizon they may lie elsewhere.
                    let Some(ids) = snapshot.get_mut(&until) else { continue };
                    ids.drain(..(count as usize).min(ids.len()));
                }
                swept = swept.max(floor);
                snapshot = snapshot.split_off(&(swept + 1));
                if back < 1_000 {
                    let forgotten = seen.forgotten();
                    seen = Seen::new(if back % 4 == 0 { 640 } else { 320 }, ids_max);
                    seen.restore_forgotten(forgotten);
                    seen.restore_swept(swept);
                    for (until, ids) in &snapshot {
                        ids.iter().for_each(|id| seen.restore(*until, *id));
                    }
                }
            }
        }
    }

    /// Whatever comes, in whatever order: no more than twice the bound, and nothing behind the
    /// watermark counts twice, also over restarts.
    #[test]
    fn with_too_many_nothing_that_is_past_counts_twice(
        steps in prop::collection::vec((0u64..400, 0i64..900, 0u8..12), 1..600),
        ids_max in 1usize..60,
    ) {
        let mut seen = Seen::new(1_600, ids_max);
        let mut counted: HashMap<u64, u32> = HashMap::new();
        let mut snapshot: BTreeMap<EpochMs, Vec<EventIdentity>> = BTreeMap::new();
        for (index, (n, jump, what)) in steps.into_iter().enumerate() {
            let watermark = 1_000 + index as i64 * 3;
            // An event's time belongs to it.
            let at = 800 + (n as i64 * 7) % 900;
            if at < watermark && seen.insert(id(n), at, watermark) == Sight::New {
                *counted.entry(n).or_default() += 1;
                prop_assert_eq!(counted[&n], 1, "{} again", n);
            }
            prop_assert!(seen.len() <= 2 * ids_max + 1);
            if what == 11 {
                seen.sweep(watermark, NEVER);
                for (until, ids) in seen.take_fresh() {
                    snapshot.entry(until).or_default().extend(ids);
                }
                for (until, count) in seen.take_evicted() {
                    snapshot.entry(until).or_default().drain(..count as usize);
                }
                if jump < 300 {
                    let forgotten = seen.forgotten_until;
                    seen = Seen::new(1_600, ids_max);
                    seen.restore_forgotten(forgotten);
                    for (until, ids) in &snapshot {
                        ids.iter().for_each(|id| seen.restore(*until, *id));
                    }
                }
            }
        }
    }
}
