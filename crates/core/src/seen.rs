//! Event identities seen within the horizon: the second net against duplicates, after
//! the log's own.
//!
//! Identities are kept by event time in sixteen parts of a horizon, and the oldest part is
//! forgotten when the watermark has passed it by a horizon. The horizon is at least as long as
//! an event may be behind and still count, so an event older than that is late, never counted
//! twice. When there are too many, the oldest leave piece by piece; what is older than they
//! were is then late as well.
//!
//! The answers are a function of the order of events alone: everything is decided by an
//! event's own time and stamp, and when old parts are swept makes no difference.

mod index;

use std::collections::{BTreeMap, VecDeque};

use super::hash::EventIdentity;
use super::time::{BEGINNING, EpochMs, SpanMs};
use index::Index;

/// Parts of a horizon.
const PARTS: SpanMs = 16;
/// Identities of one piece, at most: 16 KiB.
const PIECE_MAX: usize = 1_024;
/// Identities taken out of the index in one sweep: some 10 ms.
const SWEEP_MAX: usize = 131_072;
/// Identities whose lines of the index are read together before they are taken out.
const TOGETHER: usize = 16;

/// What is known of an event by its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It was not seen before; it is remembered now.
    New,
    /// It was seen before.
    Known,
    /// It is older than anything that is remembered: it must not count.
    TooOld,
}

/// Identities of one shard: 24 to 28 bytes for each, 16 of it and 8 to 12 for finding it. One
/// random line of memory is read for an event whose identity is new.
#[derive(Debug)]
pub struct Seen {
    horizon: SpanMs,
    /// Event time of one part.
    part: SpanMs,
    /// Beyond this, old parts leave. What is younger than a part may reach twice as many.
    ids_max: usize,
    /// Identities of one piece, as a power of two.
    shift: u32,
    /// Where each identity lies: the number of its piece and its place in it.
    index: Index,
    pieces: Vec<Piece>,
    /// Numbers of pieces that are empty.
    free: Vec<u32>,
    /// The pieces of each part, oldest first.
    parts: BTreeMap<i64, VecDeque<u32>>,
    /// The part of the last identity.
    recent: Recent,
    /// New identities of the other parts.
    fresh: BTreeMap<i64, Vec<EventIdentity>>,
    evicted: BTreeMap<i64, u64>,
    len: usize,
    /// All events before this may be forgotten; `BEGINNING` while none is.
    forgotten_until: EpochMs,
    /// Of what is before this not all is kept, not even for sessions that are open.
    swept_until: EpochMs,
    /// Identities forgotten before their time because there were too many, since this was
    /// taken last.
    pub forgotten_early: u64,
}

/// The part at hand: events come nearly in order.
#[derive(Debug, Default)]
struct Recent {
    part: i64,
    /// Event times in it: from here ...
    start: EpochMs,
    /// ... to before this. The same before the first event.
    end: EpochMs,
    /// The piece that takes its next identity, if there is one.
    piece: Option<u32>,
    /// Its identities that are new.
    fresh: Vec<EventIdentity>,
}

/// Identities that came one after another and belong to one part.
#[derive(Debug, Default)]
struct Piece {
    ids: Vec<EventIdentity>,
    part: i64,
    /// Those that were not taken back.
    live: u32,
    /// The greatest time of their events.
    max_at: EpochMs,
}

impl Seen {
    /// Remembers identities for at least `horizon`, and about `ids_max` of them: twice as many
    /// when they are younger than a sixteenth of the horizon, and never more.
    pub fn new(horizon: SpanMs, ids_max: usize) -> Self {
        let horizon = horizon.max(PARTS);
        Seen {
            horizon,
            part: (horizon + PARTS - 1) / PARTS,
            ids_max: ids_max.max(1),
            shift: (ids_max / 64).clamp(1, PIECE_MAX).next_power_of_two().trailing_zeros(),
            index: Index::new(ids_max),
            pieces: Vec::new(),
            free: Vec::new(),
            parts: BTreeMap::new(),
            recent: Recent::default(),
            fresh: BTreeMap::new(),
            evicted: BTreeMap::new(),
            len: 0,
            forgotten_until: BEGINNING,
            swept_until: BEGINNING,
            forgotten_early: 0,
        }
    }

    /// What is known of an event that counts only within the horizon. `at` and `watermark` are
    /// its own time and stamp.
    pub fn insert(&mut self, identity: EventIdentity, at: EpochMs, watermark: EpochMs) -> Sight {
        if at < watermark.saturating_sub(self.horizon) {
            return Sight::TooOld;
        }
        self.see(identity, at, watermark, false)
    }

    /// The same for an event that counts although it lies further back, because its session is
    /// still open: it is looked for in what [`Seen::sweep`] was told to keep as well.
    pub fn insert_old(
        &mut self,
        identity: EventIdentity,
        at: EpochMs,
        watermark: EpochMs,
    ) -> Sight {
        self.see(identity, at, watermark, true)
    }

    /// Reads the line of memory that [`Seen::insert`] will ask for first.
    #[inline]
    pub fn touch(&self, identity: EventIdentity) -> u8 {
        self.index.touch(identity.low)
    }

    #[inline]
    fn see(
        &mut self,
        identity: EventIdentity,
        at: EpochMs,
        watermark: EpochMs,
        old: bool,
    ) -> Sight {
        if let Some(slot) = self.find(identity) {
            let (piece, _) = self.place(slot);
            if old || self.alive(self.pieces[piece].part, watermark) {
                return Sight::Known;
            }
            self.take_out(identity);
        }
        // Time that is still to come is never too old, however many identities it has.
        // What was swept is passed, unless the horizon was a shorter one before a restart.
        if at < self.forgotten_until.min(watermark) || at < self.swept_until {
            return Sight::TooOld;
        }
        if at < self.recent.start || at >= self.recent.end {
            self.turn_to(at.div_euclid(self.part));
        }
        self.put(identity, at);
        self.recent.fresh.push(identity);
        if self.len > self.ids_max {
            self.make_room(watermark);
        }
        Sight::New
    }

    /// True when the identity is remembered. Only [`Seen::insert`] says whether an event is new.
    #[cfg(test)]
    fn contains(&self, identity: EventIdentity) -> bool {
        self.find(identity).is_some()
    }

    /// Forgets an identity that was new since the last `take_fresh`: its event did not
    /// count after all, and may come again.
    pub fn take_back(&mut self, identity: EventIdentity, at: EpochMs) {
        let part = at.div_euclid(self.part);
        let kept = self.take_out(identity);
        self.stow();
        let Some(fresh) = self.fresh.get_mut(&part) else { return };
        // Usually the last one.
        let Some(index) = fresh.iter().rposition(|other| *other == identity) else { return };
        fresh.remove(index);
        if !kept && let Some(evicted) = self.evicted.get_mut(&part) {
            *evicted = evicted.saturating_sub(1);
        }
    }

    /// Puts back an identity from a snapshot: its event was before `until`. The horizon may
    /// be another one than it was.
    pub fn restore(&mut self, until: EpochMs, identity: EventIdentity) {
        // One that had been forgotten and came again is in two parts; the younger one holds.
        self.take_out(identity);
        let part = (until - 1).div_euclid(self.part);
        // As old as its part may be: what leaves is known to a snapshot by its part and count
        // alone, and with another horizon the snapshot's parts are others.
        if part != self.recent.part || self.recent.start == self.recent.end {
            self.turn_to(part);
        }
        self.put(identity, self.recent.end - 1);
    }

    /// Puts back that all events before this time may be forgotten.
    pub fn restore_forgotten(&mut self, until: EpochMs) {
        self.forgotten_until = self.forgotten_until.max(until);
    }

    /// Puts back that all identities of events before this time were swept, as far as a
    /// snapshot knows: it no longer holds them.
    pub fn restore_swept(&mut self, until: EpochMs) {
        self.swept_until = self.swept_until.max(until);
    }

    /// Forgets what the watermark has passed, some at a time, but for what is not before
    /// `keep_from`, as long as that takes less than half of the room. Returns the time up to
    /// which everything is forgotten because it is passed: after a restart no event before it
    /// is new.
    pub fn sweep(&mut self, watermark: EpochMs, keep_from: EpochMs) -> EpochMs {
        let mut swept = 0;
        while let Some((part, pieces)) = self.parts.first_key_value()
            && !self.alive(*part, watermark)
            && ((*part + 1).saturating_mul(self.part) <= keep_from || self.len > self.ids_max / 2)
            && swept < SWEEP_MAX
        {
            swept += pieces.len() << self.shift;
            let (part, pieces) = self.parts.pop_first().expect("it was there on the line above");
            for piece in pieces {
                self.clear(piece);
            }
            self.evicted.remove(&part);
            self.swept_until = self.swept_until.max((part + 1).saturating_mul(self.part));
        }
        let first = self.parts.first_key_value().map_or(i64::MAX, |(first, _)| *first);
        let passed = watermark.saturating_sub(self.horizon).div_euclid(self.part);
        let floor = passed.min(first).min(keep_from.div_euclid(self.part));
        self.swept_until.max(floor.saturating_mul(self.part))
    }

    /// Identities that are new since the last call, by the end of their part: all their
    /// events were before that time. In order within each.
    pub fn take_fresh(&mut self) -> Vec<(EpochMs, Vec<EventIdentity>)> {
        self.stow();
        let fresh = std::mem::take(&mut self.fresh);
        // About as many will be new until the next time: it need not grow step by step.
        self.recent.fresh.reserve(fresh.values().map(Vec::len).sum());
        let fresh = fresh.into_iter();
        fresh.map(|(part, ids)| ((part + 1) * self.part, ids)).collect()
    }

    /// How many left before their time since the last call, by the end of their part: the
    /// first so many of it.
    pub fn take_evicted(&mut self) -> Vec<(EpochMs, u64)> {
        let evicted = std::mem::take(&mut self.evicted).into_iter();
        evicted.map(|(part, count)| ((part + 1) * self.part, count)).collect()
    }

    /// All events before this may be forgotten although they could still count; `None` when
    /// none is at this watermark.
    pub fn forgotten_until(&self, watermark: EpochMs) -> Option<EpochMs> {
        let counts = self.forgotten_until > watermark.saturating_sub(self.horizon);
        (self.forgotten_until > BEGINNING && counts).then_some(self.forgotten_until)
    }

    /// All events before this may be forgotten, whether they could count or not; `BEGINNING`
    /// while none is.
    pub fn forgotten(&self) -> EpochMs {
        self.forgotten_until
    }

    /// How long identities are kept.
    pub fn horizon(&self) -> SpanMs {
        self.horizon
    }

    /// What it all takes in memory.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(|piece| piece.ids.capacity()).sum();
        self.index.bytes() + pieces * EventIdentity::BYTES
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether events of a part may still count at this watermark.
    fn alive(&self, part: i64, watermark: EpochMs) -> bool {
        (part + 1).saturating_mul(self.part) > watermark.saturating_sub(self.horizon)
    }

    /// The oldest leave while there are too many.
    fn make_room(&mut self, watermark: EpochMs) {
        let now = watermark.div_euclid(self.part);
        while self.len > self.ids_max
            && let Some((part, _)) = self.parts.first_key_value()
        {
            let young = *part >= now - 1;
            if young && self.len <= self.ids_max.saturating_mul(2) {
                return;
            }
            self.evict(watermark);
        }
    }

    /// The oldest piece leaves.
    fn evict(&mut self, watermark: EpochMs) {
        let Some(mut entry) = self.parts.first_entry() else { return };
        let part = *entry.key();
        let piece = entry.get_mut().pop_front();
        if entry.get().is_empty() {
            entry.remove();
        }
        let Some(piece) = piece else { return };
        let alive = self.alive(part, watermark);
        let (count, max_at) = self.clear(piece);
        *self.evicted.entry(part).or_default() += u64::from(count);
        if alive {
            self.forgotten_early += u64::from(count);
        }
        // Also where it was kept on for the sake of open sessions only.
        self.forgotten_until = self.forgotten_until.max(max_at + 1);
    }

    /// Makes a part the one at hand.
    #[cold]
    fn turn_to(&mut self, part: i64) {
        self.stow();
        let piece = self.parts.get(&part).and_then(|pieces| pieces.back().copied());
        self.recent = Recent {
            part,
            start: part.saturating_mul(self.part),
            end: (part + 1).saturating_mul(self.part),
            piece: piece.filter(|piece| self.has_room(*piece)),
            fresh: self.fresh.remove(&part).unwrap_or_default(),
        };
    }

    /// Puts what is new of the part at hand to the others.
    fn stow(&mut self) {
        let mut fresh = std::mem::take(&mut self.recent.fresh);
        if fresh.is_empty() {
            return;
        }
        let kept = self.fresh.entry(self.recent.part).or_default();
        if kept.is_empty() { *kept = fresh } else { kept.append(&mut fresh) }
    }

    /// Adds an identity to the part at hand.
    #[inline]
    fn put(&mut self, identity: EventIdentity, at: EpochMs) {
        let number = match self.recent.piece {
            Some(piece) => piece,
            None => self.new_piece(),
        };
        let shift = self.shift;
        let piece = &mut self.pieces[number as usize];
        let slot = (number << shift) | piece.ids.len() as u32;
        piece.ids.push(identity);
        piece.live += 1;
        piece.max_at = piece.max_at.max(at);
        if piece.ids.len() == 1 << shift {
            self.recent.piece = None;
        }
        self.index.insert(identity.low, slot);
        self.len += 1;
    }

    fn has_room(&self, piece: u32) -> bool {
        self.pieces[piece as usize].ids.len() < 1 << self.shift
    }

    /// A further piece of the part at hand.
    fn new_piece(&mut self) -> u32 {
        let part = self.recent.part;
        let number = self.free.pop().unwrap_or_else(|| {
            self.pieces.push(Piece::default());
            self.pieces.len() as u32 - 1
        });
        let pieces = self.parts.entry(part).or_default();
        // The first grows: there may be many parts of a few identities.
        let room = if pieces.is_empty() { 0 } else { 1 << self.shift };
        self.pieces[number as usize] =
            Piece { ids: Vec::with_capacity(room), part, live: 0, max_at: BEGINNING };
        pieces.push_back(number);
        self.recent.piece = Some(number);
        number
    }

    /// Takes a piece out of the index and gives its memory back; how many were in it, and the
    /// greatest time of their events. It must be in no part any more.
    fn clear(&mut self, number: u32) -> (u32, EpochMs) {
        let piece = std::mem::take(&mut self.pieces[number as usize]);
        let first = number << self.shift;
        for (slots, ids) in (first..).step_by(TOGETHER).zip(piece.ids.chunks(TOGETHER)) {
            for id in ids {
                std::hint::black_box(self.index.touch(id.low));
            }
            for (slot, id) in (slots..).zip(ids).filter(|(_, id)| !id.is_none()) {
                self.index.remove(id.low, |other| other == slot);
            }
        }
        self.len -= piece.live as usize;
        self.free.push(number);
        if self.recent.piece == Some(number) {
            self.recent.piece = None;
        }
        (piece.live, piece.max_at)
    }

    /// Forgets one identity; false when it is not there.
    fn take_out(&mut self, identity: EventIdentity) -> bool {
        let (pieces, shift) = (&self.pieces, self.shift);
        let same = |slot| id_at(pieces, shift, slot) == identity;
        let Some(slot) = self.index.remove(identity.low, same) else { return false };
        let (piece, place) = self.place(slot);
        let piece = &mut self.pieces[piece];
        piece.ids[place] = EventIdentity::NONE;
        // What is taken back is usually the last one: no hole is left.
        while piece.ids.last().is_some_and(|id| id.is_none()) {
            piece.ids.pop();
        }
        piece.live -= 1;
        self.len -= 1;
        true
    }

    #[inline]
    fn find(&self, identity: EventIdentity) -> Option<u32> {
        let same = |slot| id_at(&self.pieces, self.shift, slot) == identity;
        self.index.find(identity.low, same)
    }

    fn place(&self, slot: u32) -> (usize, usize) {
        split(slot, self.shift)
    }
}

/// The piece and the place in it that a slot means.
fn split(slot: u32, shift: u32) -> (usize, usize) {
    ((slot >> shift) as usize, (slot & ((1 << shift) - 1)) as usize)
}

fn id_at(pieces: &[Piece], shift: u32, slot: u32) -> EventIdentity {
    let (piece, place) = split(slot, shift);
    pieces[piece].ids[place]
}

#[cfg(test)]
mod tests;
