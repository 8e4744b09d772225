//! Timers, what a commit is told, what makes room, and that a cell is used again.

use super::*;
use crate::domain::event::Schema;
use crate::domain::session::{Rules, SessionEffects, SessionEvent, SessionPolicy};
use crate::domain::time::{BEGINNING, TimePolicy};
use crate::domain::wire::{Malformed, Reader, put_i64, put_u64};

const GAP: i64 = 60_000;

fn children(keys_max: usize) -> Children {
    let policy = SessionPolicy { gap: GAP, ..SessionPolicy::default() };
    let time = TimePolicy { allowed_lateness: 0, ..TimePolicy::default() };
    let rules = Arc::new(Rules::compile(&policy, &time, &Schema::default()));
    Children::new(rules, 7, Bounds { keys_max, bytes_max: 1 << 20 })
}

impl<M: KeyedMachine> Children<M> {
    /// Children whose deadline the watermark has passed.
    fn all_due(&mut self, watermark: EpochMs) -> Vec<u32> {
        let fired = self.fire(watermark);
        let due = |some| self.due(some, watermark).into_iter().map(|(slot, _)| slot);
        fired.chunks(AHEAD).flat_map(due).collect()
    }
}

impl Children {
    /// One event of a key at a time; its slot.
    fn event(&mut self, key: &str, at: EpochMs, entry: bool) -> u32 {
        let hash = key_hash(self.seed, key.as_bytes());
        let slot = self
            .find(key.as_bytes(), hash, None)
            .unwrap_or_else(|| self.open(key.as_bytes(), hash, BEGINNING));
        let rules = Arc::clone(&self.rules);
        let event = SessionEvent { at, watermark: at, entry, ..SessionEvent::default() };
        let machine = self.get(slot).session.machine_mut();
        machine.apply(&rules, &event, &mut SessionEffects::default()).expect("it is not late");
        assert!(self.after_turn(slot), "something is open");
        slot
    }

    fn changed(&mut self) -> Vec<String> {
        let mut keys = Vec::new();
        self.take_changed(|child| keys.push(child.key.to_string()));
        keys
    }
}

#[test]
fn a_timer_that_fires_early_is_put_where_the_deadline_is_now() {
    let mut children = children(100);
    let slot = children.event("a", 0, false);
    children.event("a", 50_000, false);
    assert_eq!(children.all_due(GAP + 1_000), [0u32; 0], "the event at 50 s moved the deadline");
    assert_eq!(children.all_due(50_000 + GAP), [0u32; 0], "an event just now would still belong");
    assert_eq!(children.all_due(50_000 + GAP + 1_000), [slot]);
    assert_eq!(children.all_due(50_000 + GAP + 9_000), [0u32; 0], "it is told once");
}

#[test]
fn a_commit_is_told_of_each_session_once_and_of_those_that_are_open() {
    let mut children = children(100);
    children.event("a", 0, false);
    let slot = children.event("b", 1, false);
    children.event("a", 2, false);
    children.event("short", 3, false);
    let short = children.event("short", 4, false);
    assert!(!children.get(short).kept, "no commit knows of it, so none need forget it");
    children.remove(short);
    let again = children.event("c", 5, false);
    assert_eq!(again, short, "a cell is used again");
    assert_eq!(children.changed(), ["a", "b", "c"]);
    assert_eq!(children.changed(), [""; 0]);
    children.event("b", 6, false);
    assert_eq!(children.changed(), ["b"]);
    assert!(children.get(slot).kept, "a commit holds its record");
    assert_eq!((children.remove(slot), children.open_keys()), (key_hash(7, b"b"), 2));
}

#[test]
fn what_makes_room_holds_no_entry_and_was_silent_longest() {
    let mut children = children(4);
    children.event("buyer", 0, true);
    let late = children.event("late", 5, false);
    let early = children.event("early", 3, false);
    assert!(children.has_room(b"x"));
    children.event("x", 9, false);
    assert!(!children.has_room(b"y"));
    assert_eq!(children.worth_least(), Some(early));
    children.remove(early);
    // Since it was looked for, it has gone on; a walk is due only after some have left.
    children.event("late", 10, false);
    let x = children.find(b"x", key_hash(7, b"x"), None).expect("it is open");
    assert_eq!(children.worth_least(), Some(x));
    children.remove(x);
    children.may_walk();
    assert_eq!(children.worth_least(), Some(late));
}

#[test]
fn a_slot_that_is_used_again_and_again_is_armed_once() {
    let mut children = children(4);
    for n in 0..1_000 {
        let slot = children.event(&format!("k{n}"), n, false);
        children.remove(slot);
    }
    assert!(children.wheel.len() <= 2, "{}", children.wheel.len());
    // What fired for a former child is no timer of the next one.
    children.all_due(1 << 40);
    let at = 1 << 41;
    let slot = children.event("last", at, false);
    assert!(children.all_due(at).is_empty());
    assert_eq!(children.all_due(1 << 42), [slot]);
}

#[test]
fn bytes_are_those_of_what_is_open() {
    let mut children = children(1_000_000);
    assert_eq!(children.bytes(), 0);
    let long = "k".repeat(1_000);
    let slot = children.event(&long, 0, false);
    children.event("short", 0, false);
    assert_eq!(children.bytes(), 2 * SESSION_BYTES + 1_000);
    children.remove(slot);
    assert_eq!(children.bytes(), SESSION_BYTES);
    assert!(children.has_room(b"x") && !children.has_room(&vec![b'k'; 1 << 20]));
}

/// A machine of another kind: counts the events of a key until none came for so many ms.
struct Streak {
    count: u64,
    first: EpochMs,
    last: EpochMs,
}

impl KeyedMachine for Streak {
    type Rules = i64;
    type Event = EpochMs;
    type Late = ();
    /// The streaks that ended, by length.
    type Effects = Vec<u64>;
    type Shared = ();

    fn after(_: EpochMs) -> Self {
        Streak { count: 0, first: EpochMs::MAX, last: BEGINNING }
    }

    fn apply(&mut self, rest: &i64, at: &EpochMs, ended: &mut Vec<u64>) -> Result<(), ()> {
        self.expire(rest, *at, ended);
        self.count += 1;
        (self.first, self.last) = (self.first.min(*at), self.last.max(*at));
        Ok(())
    }

    fn next_deadline(&self, rest: &i64) -> Option<EpochMs> {
        (self.count > 0).then(|| self.last + rest)
    }

    fn expire(&mut self, rest: &i64, watermark: EpochMs, ended: &mut Vec<u64>) {
        if self.next_deadline(rest).is_some_and(|deadline| deadline < watermark) {
            ended.push(self.count);
            *self = Streak::after(watermark);
        }
    }

    fn first(&self) -> EpochMs {
        self.first
    }

    fn is_worth_keeping(&self) -> bool {
        self.count > 1
    }

    fn heap_bytes(&self) -> usize {
        0
    }

    fn glance(&self) -> u64 {
        self.count
    }

    fn encode(&self, (): &(), out: &mut Vec<u8>) {
        put_u64(out, self.count);
        put_i64(out, self.first);
        put_i64(out, self.last);
    }

    fn decode(record: &[u8], (): &mut (), _: &i64) -> Result<Self, Malformed> {
        let mut reader = Reader::new(record);
        let count = reader.u64("count")?;
        let (first, last) = (reader.time("first")?, reader.time("last")?);
        Ok(Streak { count, first, last })
    }
}

/// Timers, what a commit is told, room and restoring know nothing of sessions.
#[test]
fn a_machine_of_another_kind_is_kept_the_same_way() {
    let bounds = Bounds { keys_max: 3, bytes_max: 1 << 20 };
    let rest = Arc::new(1_000);
    let mut children: Children<Streak> = Children::new(Arc::clone(&rest), 7, bounds);
    let mut ended = Vec::new();
    for (key, at) in [("a", 0), ("b", 100), ("c", 200), ("a", 900)] {
        let hash = key_hash(7, key.as_bytes());
        let slot = children.find(key.as_bytes(), hash, None);
        let slot = slot.unwrap_or_else(|| children.open(key.as_bytes(), hash, BEGINNING));
        children.get(slot).session.machine_mut().apply(&rest, &at, &mut ended).unwrap();
        assert!(children.after_turn(slot));
    }
    assert!(!children.has_room(b"d"));
    let least = children.worth_least().expect("b came once, and longest ago");
    assert_eq!(children.get(least).key, "b");
    assert_eq!(children.oldest_first(), 0);
    let mut records = Vec::new();
    children.take_changed(|child| {
        let mut record = Vec::new();
        child.session.machine().encode(&(), &mut record);
        records.push((child.key.clone(), record));
    });
    let mut again: Children<Streak> = Children::new(Arc::clone(&rest), 7, bounds);
    for (key, record) in records {
        let machine = Streak::decode(&record, &mut (), &rest).unwrap();
        again.restore(&key, key_hash(7, key.as_bytes()), machine);
    }
    for slot in again.all_due(5_000) {
        again.get(slot).session.machine_mut().expire(&rest, 5_000, &mut ended);
        assert!(!again.after_turn(slot));
        again.remove(slot);
    }
    ended.sort_unstable();
    assert_eq!((ended, again.open_keys(), again.bytes()), (vec![1, 1, 2], 0, 0));
}
