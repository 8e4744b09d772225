//! The sessions of one shard as their parent sees them: who they are, where their timers
//! stand, and which actors wait to be used again.
//!
//! Timers lie in a wheel of one-second slots on event time and are re-armed lazily: an
//! event only moves `Child::deadline`; when an entry fires early it is put where the
//! deadline is now, without waking the session.

use std::collections::BTreeMap;
use std::rc::Rc;

use actix::{Addr, Handler, Message};
use compact_str::CompactString;
use hashbrown::HashTable;

use super::directory::Directory;
use super::session::{Session, ShardContext};
use crate::domain::session::Machine;
use crate::domain::time::EpochMs;

/// Length of a wheel slot.
const SLOT_MS: i64 = 1_000;
/// Children that are looked at before any of them is handled.
pub const AHEAD: usize = 16;

/// One key with a session actor.
pub struct Child {
    /// The session key.
    pub key: CompactString,
    /// Its hash.
    pub key_hash: u64,
    /// Its actor; the one address its parent sends through.
    addr: Addr<Session>,
    /// When it is to be woken next, as its last answer said.
    pub deadline: EpochMs,
    armed: i64,
    /// The batch that touched it last, and its place among those that batch touched.
    pub turn: (u32, u32),
}

impl Child {
    /// Sends its actor a message. One that is dead leaves no record in the ticket, and is
    /// found there.
    #[expect(
        clippy::disallowed_methods,
        reason = "a child has one message of its parent's at a time, which the ticket sees to; \
                  looking at the mailbox's bound as well costs 2 % of a replay, for it lies in \
                  memory of its own"
    )]
    pub fn tell<M: Message<Result = ()> + Send + 'static>(&self, message: M)
    where
        Session: Handler<M>,
    {
        self.addr.do_send(message);
    }
}

/// All children of a shard.
pub struct Children {
    shard: Rc<ShardContext>,
    directory: Directory,
    slots: Vec<Option<Child>>,
    free: Vec<u32>,
    index: HashTable<(u64, u32)>,
    wheel: BTreeMap<i64, Vec<u32>>,
    idle: Vec<Addr<Session>>,
    keys_max: usize,
    idle_max: usize,
}

impl Children {
    /// No children yet. `keys_max` keys may have an actor, and `idle_max` actors wait to
    /// be used again.
    pub fn new(
        shard: Rc<ShardContext>,
        directory: Directory,
        keys_max: usize,
        idle_max: usize,
    ) -> Self {
        Children {
            keys_max,
            idle_max,
            shard,
            directory,
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            wheel: BTreeMap::new(),
            idle: Vec::new(),
        }
    }

    /// The child in a slot. Slots come from this table and stay valid until `remove`.
    pub fn get(&mut self, slot: u32) -> &mut Child {
        self.slots[slot as usize].as_mut().expect("a slot is used only while its child lives")
    }

    /// Actors that wait to be used again.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// The slot that a hash probably belongs to, without looking at the child. This and
    /// [`Children::has_key`] are asked for several events before any of them is handled, so
    /// that the waits for memory overlap.
    pub fn guess(&self, key_hash: u64) -> Option<u32> {
        self.index.find(key_hash, |entry| entry.0 == key_hash).map(|entry| entry.1)
    }

    /// True when the slot is this key's.
    pub fn has_key(&self, slot: u32, key: &[u8]) -> bool {
        self.slots[slot as usize].as_ref().is_some_and(|child| child.key.as_bytes() == key)
    }

    /// Brings near what sending to these children touches.
    pub fn look_at(&self, slots: impl Iterator<Item = u32>) {
        let child = |slot: u32| self.slots[slot as usize].as_ref();
        slots.filter_map(child).for_each(|child| {
            std::hint::black_box(child.addr.connected());
        });
    }

    /// The slot of a key, with a fresh (or reused) actor if the key is new; `None` when it
    /// is new and there is no room for another one.
    ///
    /// `known` is its slot if that was found out already.
    pub fn slot_of(&mut self, key: &[u8], key_hash: u64, known: Option<u32>) -> Option<u32> {
        if known.is_some() {
            return known;
        }
        let same = |entry: &(u64, u32)| entry.0 == key_hash && self.has_key(entry.1, key);
        if let Some((_, slot)) = self.index.find(key_hash, same) {
            return Some(*slot);
        }
        if self.index.len() >= self.keys_max {
            return None;
        }
        let addr = match self.idle.pop() {
            Some(addr) => addr,
            None => Session::new(Rc::clone(&self.shard), Machine::default()).start(),
        };
        // The decoder took the key from valid text.
        Some(self.insert(CompactString::from_utf8_lossy(key), key_hash, addr))
    }

    /// Starts the actor of a restored session.
    pub fn restore(&mut self, key: &str, key_hash: u64, machine: Machine) {
        let deadline = machine.next_deadline(&self.shard.rules).unwrap_or(EpochMs::MAX);
        let addr = Session::new(Rc::clone(&self.shard), machine).start();
        let slot = self.insert(key.into(), key_hash, addr);
        self.rearm(slot, deadline);
    }

    fn insert(&mut self, key: CompactString, key_hash: u64, addr: Addr<Session>) -> u32 {
        self.directory.insert(key.clone(), addr.downgrade());
        let child =
            Child { key, key_hash, addr, deadline: EpochMs::MAX, armed: i64::MAX, turn: (0, 0) };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(child);
                slot
            }
            None => {
                self.slots.push(Some(child));
                self.slots.len() as u32 - 1
            }
        };
        self.index.insert_unique(key_hash, (key_hash, slot), |entry| entry.0);
        slot
    }

    /// Lets a child go whose sessions have all ended; its actor waits for another key.
    pub fn remove(&mut self, slot: u32) -> Option<Child> {
        let child = self.slots[slot as usize].take()?;
        if let Ok(entry) = self.index.find_entry(child.key_hash, |entry| entry.1 == slot) {
            entry.remove();
        }
        self.free.push(slot);
        self.directory.remove(&child.key);
        if self.idle.len() < self.idle_max {
            self.idle.push(child.addr.clone());
        }
        Some(child)
    }

    /// Notes when a child is to be woken, and arms its timer if none lies early enough.
    pub fn rearm(&mut self, slot: u32, deadline: EpochMs) {
        let child = self.get(slot);
        child.deadline = deadline;
        let place = deadline.div_euclid(SLOT_MS);
        if deadline != EpochMs::MAX && place < child.armed {
            child.armed = place;
            self.wheel.entry(place).or_default().push(slot);
        }
    }

    /// Children whose deadline the watermark has passed. Timers that fire early are put
    /// where their deadline is now.
    pub fn due(&mut self, watermark: EpochMs) -> Vec<u32> {
        let now = watermark.div_euclid(SLOT_MS);
        let later = self.wheel.split_off(&(now + 1));
        let fired = std::mem::replace(&mut self.wheel, later);
        let mut due = Vec::new();
        for (place, slots) in fired {
            for slots in slots.chunks(AHEAD) {
                // Looking at all of them first lets the waits for memory overlap.
                let there = |slot: &&u32| self.slots[**slot as usize].is_some();
                std::hint::black_box(slots.iter().filter(there).count());
                for slot in slots {
                    self.fire(*slot, place, watermark, &mut due);
                }
            }
        }
        due
    }

    fn fire(&mut self, slot: u32, place: i64, watermark: EpochMs, due: &mut Vec<u32>) {
        // Nothing to do for a child that has gone, or was armed earlier since.
        let child = self.slots[slot as usize].as_mut().filter(|child| child.armed == place);
        let Some(child) = child else { return };
        child.armed = i64::MAX;
        if child.deadline < watermark {
            due.push(slot);
        } else {
            let deadline = child.deadline;
            self.rearm(slot, deadline);
        }
    }
}
