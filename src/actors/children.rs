//! The sessions of one shard as their parent sees them: who they are, where their timers
//! stand, and which actors wait to be used again.
//!
//! Timers lie in a wheel of one-second slots on event time and are re-armed lazily: an
//! event only moves `Child::deadline`; when an entry fires early it is put where the
//! deadline is now, without waking the session.

use std::collections::BTreeMap;
use std::rc::Rc;

use actix::{Addr, Handler, Message};
use hashbrown::HashTable;
use smol_str::SmolStr;

use super::directory::Directory;
use super::messages::Begin;
use super::session::{Session, ShardContext};
use crate::domain::session::Machine;
use crate::domain::time::{BEGINNING, EpochMs};

/// Length of a wheel slot.
const SLOT_MS: i64 = 1_000;
/// Children that are looked at before any of them is handled.
pub const AHEAD: usize = 16;

/// About what an open session costs besides its key and its record: its actor, its machine
/// and its places in the tables.
pub const SESSION_BYTES: usize = 1_000;
/// Sessions looked for at once when some are to make room.
const CANDIDATES_MAX: usize = 65_536;
/// Looking for them costs a walk over all sessions, so it is done again only after so many
/// sessions as one in this many made room, or at a barrier.
const WALK_WORTH: usize = 16;

/// One key with a session actor.
pub struct Child {
    /// The session key. A long one is shared with the directory.
    pub key: SmolStr,
    /// Its hash.
    pub key_hash: u64,
    /// Its actor; the one address its parent sends through.
    addr: Addr<Session>,
    /// When it is to be woken next, as its last answer said.
    pub deadline: EpochMs,
    armed: i64,
    /// The batch that touched it last, and its place among those that batch touched.
    pub turn: (u32, u32),
    /// Bytes of its record.
    record: u32,
    /// First event of its oldest open session.
    first: EpochMs,
    /// Something open holds an entry.
    has_entry: bool,
    /// It is to make room in the batch at hand.
    pub leaves: bool,
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
    bounds: Bounds,
    /// About how many bytes the open sessions take.
    bytes: usize,
    /// Sessions without an entry, those that were silent longest at the end.
    candidates: Vec<(EpochMs, u32)>,
    /// Sessions that made room since they were looked for.
    displaced: usize,
    may_walk: bool,
    oldest: EpochMs,
    /// Sessions touched since `oldest` was looked for.
    touched: usize,
}

/// What the sessions of one shard may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Keys with an open session.
    pub keys_max: usize,
    /// Bytes of them.
    pub bytes_max: usize,
    /// Actors that wait to be used again.
    pub idle_max: usize,
}

impl Children {
    /// No children yet.
    pub fn new(shard: Rc<ShardContext>, directory: Directory, bounds: Bounds) -> Self {
        Children {
            bounds,
            bytes: 0,
            candidates: Vec::new(),
            displaced: 0,
            may_walk: true,
            oldest: EpochMs::MAX,
            touched: 0,
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

    /// Keys with an open session.
    pub fn open_keys(&self) -> usize {
        self.index.len()
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

    /// The slot of a key; `None` when nothing of it is open.
    pub fn find(&self, key: &[u8], key_hash: u64) -> Option<u32> {
        let same = |entry: &(u64, u32)| entry.0 == key_hash && self.has_key(entry.1, key);
        self.index.find(key_hash, same).map(|entry| entry.1)
    }

    /// True when a session of a further key may be opened.
    pub fn has_room(&self, key: &[u8]) -> bool {
        self.index.len() < self.bounds.keys_max
            && self.bytes + SESSION_BYTES + key.len() <= self.bounds.bytes_max
    }

    /// Opens a slot for a key that has none, with a fresh (or reused) actor. Its sessions
    /// were closed up to `floor`.
    pub fn open(&mut self, key: &[u8], key_hash: u64, floor: EpochMs) -> u32 {
        let idle = self.idle.pop();
        let begins = idle.is_some() && floor > BEGINNING;
        let addr = idle
            .unwrap_or_else(|| Session::new(Rc::clone(&self.shard), Machine::after(floor)).start());
        // The decoder took the key from valid text.
        let key = SmolStr::new(String::from_utf8_lossy(key));
        let slot = self.insert(key, key_hash, addr);
        if begins {
            self.get(slot).tell(Begin { floor });
        }
        slot
    }

    /// About how many bytes the open sessions take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// At or before the first event of every open session. Looking for it costs a walk over
    /// all of them, so it is done only after as many were touched; meanwhile it holds too.
    pub fn oldest_first(&mut self) -> EpochMs {
        if self.touched > self.slots.len() {
            let firsts = self.slots.iter().flatten().map(|child| child.first);
            (self.oldest, self.touched) = (firsts.min().unwrap_or(EpochMs::MAX), 0);
        }
        self.oldest
    }

    /// Notes what a session's record takes, whether it holds an entry, and its first event.
    pub fn weigh(&mut self, slot: u32, record: u32, has_entry: bool, first: EpochMs) {
        (self.oldest, self.touched) = (self.oldest.min(first), self.touched + 1);
        let child = self.get(slot);
        child.first = first;
        let before = std::mem::replace(&mut child.record, record);
        child.has_entry = has_entry;
        self.bytes = self.bytes + record as usize - before as usize;
    }

    /// The session worth least: without an entry, and of those silent longest. It is not
    /// among those that the batch has touched. `None` when there is none, or looking for one
    /// would cost more than it brings.
    pub fn worth_least(&mut self, batch: u32) -> Option<u32> {
        loop {
            while let Some((deadline, slot)) = self.candidates.pop() {
                let child = self.slots[slot as usize].as_mut();
                let same = |child: &&mut Child| {
                    child.deadline == deadline
                        && !child.has_entry
                        && !child.leaves
                        && child.turn.0 != batch
                };
                if let Some(child) = child.filter(same) {
                    child.leaves = true;
                    self.displaced += 1;
                    return Some(slot);
                }
            }
            if !self.may_walk && self.displaced * WALK_WORTH < self.slots.len() {
                return None;
            }
            (self.may_walk, self.displaced) = (false, 0);
            self.look_for_candidates(batch);
            if self.candidates.is_empty() {
                return None;
            }
        }
    }

    /// Lets [`Children::worth_least`] walk over all sessions again.
    pub fn may_walk(&mut self) {
        self.may_walk = true;
    }

    fn look_for_candidates(&mut self, batch: u32) {
        let slots = self.slots.iter().enumerate();
        self.candidates.extend(slots.filter_map(|(slot, child)| {
            let child = child.as_ref()?;
            let worthless = !child.has_entry && !child.leaves && child.turn.0 != batch;
            (worthless && child.deadline != EpochMs::MAX).then_some((child.deadline, slot as u32))
        }));
        if self.candidates.len() > CANDIDATES_MAX {
            self.candidates.select_nth_unstable(CANDIDATES_MAX);
            self.candidates.truncate(CANDIDATES_MAX);
        }
        self.candidates.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Starts the actor of a restored session.
    pub fn restore(&mut self, key: &str, key_hash: u64, machine: Machine, record: u32) {
        let deadline = machine.next_deadline(&self.shard.rules).unwrap_or(EpochMs::MAX);
        let (has_entry, first) = (machine.has_entry(), machine.first());
        let addr = Session::new(Rc::clone(&self.shard), machine).start();
        let slot = self.insert(key.into(), key_hash, addr);
        self.weigh(slot, record, has_entry, first);
        self.rearm(slot, deadline);
    }

    fn insert(&mut self, key: SmolStr, key_hash: u64, addr: Addr<Session>) -> u32 {
        self.directory.insert(key.clone(), addr.downgrade());
        self.bytes += SESSION_BYTES + key.len();
        let child = Child {
            key,
            key_hash,
            addr,
            deadline: EpochMs::MAX,
            armed: i64::MAX,
            turn: (0, 0),
            record: 0,
            first: EpochMs::MAX,
            has_entry: false,
            leaves: false,
        };
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
        self.bytes -= SESSION_BYTES + child.key.len() + child.record as usize;
        self.directory.remove(&child.key);
        if self.idle.len() < self.bounds.idle_max {
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
