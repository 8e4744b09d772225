//! The sessions of one shard, or machines of another kind, as their parent sees them: where they lie, who they are, where
//! their timers stand, and which of them a commit must know of.
//!
//! Timers are re-armed lazily: an event moves only the session's own deadline; when a timer
//! fires early it is put where the deadline is now, without a turn of the session.

mod index;
mod slab;
mod wheel;

use std::sync::Arc;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::session::Session;
use crate::domain::hash::key_hash;
use crate::domain::keyed::KeyedMachine;
use crate::domain::session::Machine;
use crate::domain::time::EpochMs;

use index::Index;
use slab::Slab;
use wheel::{UNARMED, Wheel};

/// Children that are looked at before any of them is handled, so that the waits for memory
/// overlap.
pub const AHEAD: usize = 16;

/// About what an open session costs besides its key where that is long: its cell, its places in
/// the index, the wheel and the list of those that changed.
pub const SESSION_BYTES: usize = 256;
/// Longest key that lies in the cell itself.
const KEY_INLINE: usize = 23;
/// Sessions looked for at once when some are to make room.
const CANDIDATES_MAX: usize = 65_536;
/// Looking for them costs a walk over all sessions, so it is done again only after so many
/// sessions as one in this many made room, or at a barrier.
const WALK_WORTH: usize = 16;
const _: () = assert!(SESSION_BYTES >= size_of::<Option<Child>>(), "its cell is in it");

/// One key with a session actor: three cache lines.
#[repr(align(64))]
pub struct Child<M = Machine> {
    /// The session actor.
    pub session: Session<M>,
    /// The session key.
    pub key: SmolStr,
    armed: i64,
    /// Bytes outside of the cell.
    heap: u32,
    /// It changed since the last barrier.
    changed: bool,
    /// A commit holds a record of it.
    pub kept: bool,
    /// Somebody has its address.
    pub asked: bool,
}

const _: () = assert!(size_of::<Option<Child>>() == 192, "three cache lines");

/// All children of a shard.
pub struct Children<M: KeyedMachine = Machine> {
    rules: Arc<M::Rules>,
    seed: u64,
    bounds: Bounds,
    slab: Slab<M>,
    index: Index,
    wheel: Wheel,
    /// Those that changed since the last barrier, in the order in which they did.
    changed: Vec<u32>,
    /// About how many bytes the open sessions take.
    bytes: usize,
    /// Children that are not worth keeping, those that were silent longest at the end.
    candidates: Vec<(EpochMs, u32)>,
    /// Sessions that made room since they were looked for.
    displaced: usize,
    may_walk: bool,
    oldest: EpochMs,
    /// Turns since `oldest` was looked for.
    turns: usize,
}

/// What the sessions of one shard may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Keys with an open session.
    pub keys_max: usize,
    /// Bytes of them.
    pub bytes_max: usize,
}

impl<M: KeyedMachine> Children<M> {
    /// No children yet. `seed` is that of the hashes of keys.
    pub fn new(rules: Arc<M::Rules>, seed: u64, bounds: Bounds) -> Self {
        Children {
            rules,
            seed,
            bounds,
            slab: Slab::default(),
            index: Index::default(),
            wheel: Wheel::default(),
            changed: Vec::new(),
            bytes: 0,
            candidates: Vec::new(),
            displaced: 0,
            may_walk: true,
            oldest: EpochMs::MAX,
            turns: 0,
        }
    }

    /// The child in a slot. Slots come from this table and stay valid until `remove`.
    #[inline]
    pub fn get(&mut self, slot: u32) -> &mut Child<M> {
        self.slab.get_mut(slot).expect("a slot is used only while its child lives")
    }

    /// Every child, in no order: a walk over all of them.
    pub fn iter(&self) -> impl Iterator<Item = &Child<M>> {
        self.slab.iter().map(|(_, child)| child)
    }

    /// Keys with an open session.
    pub fn open_keys(&self) -> usize {
        self.index.len()
    }

    /// About how many bytes the open sessions take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The slot that a hash probably belongs to, without looking at the child.
    #[inline]
    pub fn guess(&self, key_hash: u64) -> Option<u32> {
        self.index.find(key_hash, |_| true)
    }

    /// Brings near what a turn of the child touches.
    #[inline]
    pub fn look_at(&self, slot: u32) {
        if let Some(child) = self.slab.get(slot) {
            std::hint::black_box((child.session.machine().glance(), child.armed));
        }
    }

    /// The slot of a key; `None` when nothing of it is open. `guess` is looked at first.
    #[inline]
    pub fn find(&self, key: &[u8], key_hash: u64, guess: Option<u32>) -> Option<u32> {
        if guess.is_some_and(|slot| self.has_key(slot, key)) {
            return guess;
        }
        self.index.find(key_hash, |slot| self.has_key(slot, key))
    }

    #[inline]
    fn has_key(&self, slot: u32, key: &[u8]) -> bool {
        self.slab.get(slot).is_some_and(|child| child.key.as_bytes() == key)
    }

    /// True when a session of a further key may be opened.
    pub fn has_room(&self, key: &[u8]) -> bool {
        self.index.len() < self.bounds.keys_max
            && self.bytes + SESSION_BYTES + long(key.len()) <= self.bounds.bytes_max
    }

    /// True when the children take all the bytes they may.
    pub fn is_full(&self) -> bool {
        self.bytes >= self.bounds.bytes_max
    }

    /// False when not even an empty shard had room for a session of this key.
    pub fn could_hold(&self, key: &[u8]) -> bool {
        SESSION_BYTES + long(key.len()) <= self.bounds.bytes_max
    }

    /// Opens a slot for a key that has none. Its sessions were closed up to `floor`.
    pub fn open(&mut self, key: &[u8], key_hash: u64, floor: EpochMs) -> u32 {
        let key = std::str::from_utf8(key).expect("the decoder took the key from valid text");
        let key = SmolStr::new(key);
        self.insert(key, key_hash, M::after(floor))
    }

    /// Makes room for so many restored sessions at once.
    pub fn reserve(&mut self, sessions: usize) {
        self.index.reserve(sessions);
    }

    /// Brings near where a hash is looked for.
    #[inline]
    pub fn look_for(&self, key_hash: u64) {
        self.index.touch(key_hash);
    }

    /// Takes up a restored session.
    pub fn restore(&mut self, key: &str, key_hash: u64, machine: M) {
        let slot = self.insert(key.into(), key_hash, machine);
        self.get(slot).kept = true;
        self.weigh_and_arm(slot);
    }

    fn insert(&mut self, key: SmolStr, key_hash: u64, machine: M) -> u32 {
        let session = Session::of(machine);
        let heap = long(key.len()) as u32;
        self.bytes += SESSION_BYTES + heap as usize;
        let child =
            Child { session, key, armed: UNARMED, heap, changed: false, kept: false, asked: false };
        let slot = self.slab.insert(child, self.wheel.fired());
        self.index.insert(key_hash, slot);
        slot
    }

    /// After a turn that may have changed the session: notes that the next commit must know of
    /// it, what it takes, and when it is to be woken. False when nothing of it is open any
    /// more: it is to be removed.
    #[inline]
    pub fn after_turn(&mut self, slot: u32) -> bool {
        if !self.weigh_and_arm(slot) {
            return false;
        }
        self.turns += 1;
        let child = self.get(slot);
        if !std::mem::replace(&mut child.changed, true) {
            self.changed.push(slot);
        }
        true
    }

    #[inline]
    fn weigh_and_arm(&mut self, slot: u32) -> bool {
        let child = self.slab.get_mut(slot).expect("a slot is used only while its child lives");
        let machine = child.session.machine();
        let Some(deadline) = machine.next_deadline(&self.rules) else { return false };
        self.oldest = self.oldest.min(machine.first());
        let heap = (long(child.key.len()) + machine.heap_bytes()) as u32;
        let before = std::mem::replace(&mut child.heap, heap);
        self.bytes = self.bytes + heap as usize - before as usize;
        let place = Wheel::place(deadline);
        if place < child.armed {
            child.armed = place;
            self.wheel.arm(place, slot);
        }
        true
    }

    /// Lets a child go whose sessions have all ended. The hash of its key.
    pub fn remove(&mut self, slot: u32) -> u64 {
        let seed = self.seed;
        let child = self.get(slot);
        let (heap, hash) = (child.heap as usize, key_hash(seed, child.key.as_bytes()));
        self.slab.remove(slot);
        self.turns += 1;
        self.index.remove(hash, slot);
        self.bytes -= SESSION_BYTES + heap;
        hash
    }

    /// Every child that changed since this was called last, in the order in which they did
    /// first; from now on a commit holds a record of it.
    pub fn take_changed(&mut self, mut each: impl FnMut(&Child<M>)) {
        let changed = std::mem::take(&mut self.changed);
        for slots in changed.chunks(AHEAD) {
            slots.iter().for_each(|slot| self.look_at(*slot));
            for slot in slots {
                // One that has gone since left its slot here, maybe to another.
                let child = self.slab.get_mut(*slot);
                if let Some(child) = child.filter(|child| child.changed) {
                    (child.changed, child.kept) = (false, true);
                    each(child);
                }
            }
        }
        self.changed = changed;
        self.changed.clear();
    }

    /// At or before the first event of every open session. Looking for it costs a walk over
    /// all of them, so it is done only after as many turns; meanwhile it holds too.
    pub fn oldest_first(&mut self) -> EpochMs {
        if self.turns > self.slab.slots() {
            let firsts = self.slab.iter().map(|(_, child)| child.session.machine().first());
            (self.oldest, self.turns) = (firsts.min().unwrap_or(EpochMs::MAX), 0);
        }
        self.oldest
    }

    /// The child worth least: of those not worth keeping (a session without an entry) the one silent longest. `None` when there
    /// is none, or looking for one would cost more than it brings.
    pub fn worth_least(&mut self) -> Option<u32> {
        loop {
            while let Some((deadline, slot)) = self.candidates.pop() {
                let same = |child: &&Child<M>| worth_nothing(child, &self.rules) == Some(deadline);
                if self.slab.get(slot).filter(same).is_some() {
                    self.displaced += 1;
                    return Some(slot);
                }
            }
            if !self.may_walk && self.displaced * WALK_WORTH < self.slab.slots() {
                return None;
            }
            (self.may_walk, self.displaced) = (false, 0);
            self.look_for_candidates();
            if self.candidates.is_empty() {
                return None;
            }
        }
    }

    /// Lets [`Children::worth_least`] walk over all sessions again.
    pub fn may_walk(&mut self) {
        self.may_walk = true;
    }

    fn look_for_candidates(&mut self) {
        let rules = &*self.rules;
        let worthless = |(slot, child)| Some((worth_nothing(child, rules)?, slot));
        self.candidates.extend(self.slab.iter().filter_map(worthless));
        if self.candidates.len() > CANDIDATES_MAX {
            self.candidates.select_nth_unstable(CANDIDATES_MAX);
            self.candidates.truncate(CANDIDATES_MAX);
        }
        self.candidates.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Timers up to the place of the watermark, in order: place and slot. Each is put to
    /// [`Children::due`].
    pub fn fire(&mut self, watermark: EpochMs) -> Vec<(i64, u32)> {
        self.wheel.fire(watermark)
    }

    /// Of some timers that fired, the children whose deadline the watermark has passed, each with
    /// the hash of its key. Those that fired early are put where their deadline is now.
    pub fn due(
        &mut self,
        fired: &[(i64, u32)],
        watermark: EpochMs,
    ) -> SmallVec<[(u32, u64); AHEAD]> {
        fired.iter().for_each(|(_, slot)| self.look_at(*slot));
        let mut due = SmallVec::new();
        for (place, slot) in fired {
            if self.is_due(*slot, *place, watermark) {
                let seed = self.seed;
                let hash = key_hash(seed, self.get(*slot).key.as_bytes());
                self.index.touch(hash);
                due.push((*slot, hash));
            }
        }
        due
    }

    fn is_due(&mut self, slot: u32, place: i64, watermark: EpochMs) -> bool {
        // Nothing to do for a child that has gone, or was armed earlier since.
        let child = self.slab.get_mut(slot).filter(|child| child.armed == place);
        let Some(child) = child else { return false };
        child.armed = UNARMED;
        let Some(deadline) = child.session.machine().next_deadline(&self.rules) else {
            return false;
        };
        if deadline >= watermark {
            child.armed = Wheel::place(deadline);
            self.wheel.arm(child.armed, slot);
        }
        deadline < watermark
    }
}

/// What a key takes outside of its cell.
fn long(key: usize) -> usize {
    if key > KEY_INLINE { key } else { 0 }
}

/// The deadline of a child that may make room.
fn worth_nothing<M: KeyedMachine>(child: &Child<M>, rules: &M::Rules) -> Option<EpochMs> {
    let machine = child.session.machine();
    machine.next_deadline(rules).filter(|_| !machine.is_worth_keeping())
}

#[cfg(test)]
mod tests;
