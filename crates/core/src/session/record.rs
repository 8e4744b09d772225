//! The record of one key's machine in a commit: compact (some 30 to 60 bytes for a
//! session) and self-contained, so that it can be read by any shard.

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use super::carts::{Cart, Carts, Mark, What};
use super::contents::Contents;
use super::machine::Machine;
use super::rules::COUNTED_KINDS;
use super::rules::Rules;
use super::state::{NO_CUT, State, TRAIL_LEN};
use crate::number::Amount;
use crate::wire::{Malformed, Reader, put_bytes, put_i64, put_u64};

/// Texts of segments, kept once for a shard. Index 0 is "none".
#[derive(Clone, Debug)]
pub struct Segments {
    names: Vec<compact_str::CompactString>,
    index: HashMap<Box<[u8]>, u16, foldhash::fast::RandomState>,
    /// Indices of texts that were met lately, by a few of their bytes.
    near: [u16; NEAR],
}

/// Texts that are looked for by a few of their bytes before a hash is made of all of them.
const NEAR: usize = 64;

/// Most segments told apart; further ones count as `other`.
pub const SEGMENTS_MAX: usize = 4_096;
/// Longest segment text kept.
pub const SEGMENT_BYTES_MAX: usize = 64;

impl Default for Segments {
    fn default() -> Self {
        Segments { names: vec!["".into()], index: Default::default(), near: [0; NEAR] }
    }
}

impl Segments {
    /// The index of a text, learnt if it is new.
    #[inline]
    pub fn intern(&mut self, text: &[u8]) -> u16 {
        let (Some(first), Some(last)) = (text.first(), text.last()) else { return 0 };
        let few = usize::from(*first) * 5 + usize::from(*last) * 3 + text.len();
        let near = self.near[few % NEAR];
        if self.text(near).as_bytes() == text {
            return near;
        }
        let index = match self.index.get(text) {
            Some(index) => *index,
            None => self.learn(text),
        };
        self.near[few % NEAR] = index;
        index
    }

    #[cold]
    fn learn(&mut self, text: &[u8]) -> u16 {
        let many = self.names.len() >= SEGMENTS_MAX || text.len() > SEGMENT_BYTES_MAX;
        let text = String::from_utf8_lossy(if many { b"other" } else { text });
        if let Some(&index) = self.index.get(text.as_bytes()) {
            return index;
        }
        let index = self.names.len() as u16;
        self.names.push((*text).into());
        self.index.insert(text.as_bytes().into(), index);
        index
    }

    /// The text of an index; empty for 0 and for what was never learnt.
    pub fn text(&self, index: u16) -> &str {
        self.names.get(usize::from(index)).map_or("", |name| name.as_str())
    }
}

/// Appends the record of a machine.
pub(super) fn encode(machine: &Machine, segments: &Segments, out: &mut Vec<u8>) {
    put_i64(out, machine.floor);
    put_u64(out, machine.sessions.len() as u64);
    for state in &machine.sessions {
        encode_state(state, segments, out);
    }
    match machine.carts.as_deref() {
        None => out.push(0),
        Some(carts) => encode_carts(carts, out),
    }
}

/// Reads a record.
///
/// # Errors
/// When the bytes are not a record: the file is damaged.
pub(super) fn decode(
    bytes: &[u8],
    segments: &mut Segments,
    rules: &Rules,
) -> Result<Machine, Malformed> {
    let mut reader = Reader::new(bytes);
    let floor = reader.time("floor")?;
    let num = reader.u64("number of sessions")?;
    let mut sessions = SmallVec::new();
    for _ in 0..num {
        sessions.push(decode_state(&mut reader, segments)?);
    }
    let carts = match reader.u8("carts")? {
        0 => None,
        tag @ (1 | 2) => Some(Box::new(decode_carts(tag == 2, &mut reader, rules)?)),
        _ => return Err(malformed("carts", &reader)),
    };
    if !reader.is_empty() {
        return Err(malformed("end of a session", &reader));
    }
    Ok(Machine { sessions, carts, floor })
}

fn encode_state(state: &State, segments: &Segments, out: &mut Vec<u8>) {
    put_i64(out, state.first);
    put_u64(out, (state.last - state.first) as u64);
    // 0: it was not cut.
    put_u64(out, if state.until == NO_CUT { 0 } else { (state.until - state.first + 1) as u64 });
    state.contents.encode(out);
    put_u64(out, state.events.into());
    put_u64(out, state.goals.into());
    out.push(state.step);
    put_bytes(out, segments.text(state.segment).as_bytes());
    let counted = state.counts.iter().rposition(|&count| count > 0).map_or(0, |i| i + 1);
    out.push(counted as u8);
    for &count in &state.counts[..counted] {
        put_u64(out, count.into());
    }
    out.push(state.trail_len);
    let mut previous = state.last as u32;
    for index in (0..usize::from(state.trail_len)).rev() {
        put_u64(out, previous.wrapping_sub(state.trail_at[index]).into());
        out.push(state.trail_type[index]);
        previous = state.trail_at[index];
    }
}

/// What was read last cannot be.
fn malformed(what: &'static str, reader: &Reader<'_>) -> Malformed {
    Malformed { what, at: reader.position() }
}

/// A byte that says how many follow, at most `max`.
fn few(reader: &mut Reader<'_>, what: &'static str, max: usize) -> Result<usize, Malformed> {
    let count = usize::from(reader.u8(what)?);
    if count <= max { Ok(count) } else { Err(malformed(what, reader)) }
}

fn decode_state(reader: &mut Reader<'_>, segments: &mut Segments) -> Result<State, Malformed> {
    let mut state = State::empty(reader.time("first")?);
    state.last = reader.time_after(state.first, "duration")?;
    // One more than the distance.
    let until = reader.time_after(state.first - 1, "cut")?;
    if until >= state.first {
        state.until = until;
    }
    state.contents = Contents::decode(reader)?;
    state.events = reader.narrow("events")?;
    state.goals = reader.narrow("goals")?;
    state.step = few(reader, "step", 15)? as u8;
    let segment = reader.bytes("segment")?;
    state.segment = segments.intern(segment);
    let counted = few(reader, "counts", COUNTED_KINDS)?;
    for count in &mut state.counts[..counted] {
        *count = reader.narrow("count")?;
    }
    state.trail_len = few(reader, "trail", TRAIL_LEN)? as u8;
    let mut previous = state.last as u32;
    for index in (0..usize::from(state.trail_len)).rev() {
        previous = previous.wrapping_sub(reader.narrow("trail time")?);
        state.trail_at[index] = previous;
        state.trail_type[index] = reader.u8("trail type")?;
    }
    Ok(state)
}

fn encode_carts(carts: &Carts, out: &mut Vec<u8>) {
    out.push(if carts.stand.base.is_some() { 2 } else { 1 });
    if let Some(cart) = &carts.stand.base {
        put_i64(out, cart.first);
        put_i64(out, cart.last);
        cart.contents.encode(out);
    }
    put_i64(out, carts.stand.settled);
    put_u64(out, carts.marks.len() as u64);
    put_u64(out, carts.stand.walked as u64);
    let mut before = 0;
    for mark in &carts.marks {
        put_i64(out, mark.at - before);
        before = mark.at;
        out.push(mark.what as u8 | u8::from(mark.value.is_some()) << 2);
        if let Some(value) = mark.value {
            value.encode(out);
        }
    }
}

fn decode_carts(base: bool, reader: &mut Reader<'_>, rules: &Rules) -> Result<Carts, Malformed> {
    let mut open = None;
    if base {
        let (first, last) = (reader.time("cart first")?, reader.time("cart last")?);
        open = Some(Cart { first, last, contents: Contents::decode(reader)? });
    }
    let settled = reader.time("settled")?;
    let (num, walked) = (reader.u64("marks")?, reader.narrow("marks passed")?);
    let mut marks = VecDeque::new();
    let mut at = 0i64;
    for _ in 0..num {
        at = reader.time_from(at, "mark time")?;
        let tag = few(reader, "mark kind", 7)?;
        let what = match tag & 3 {
            0 => What::Entry,
            1 => What::Remove,
            2 => What::Goal,
            _ => return Err(malformed("mark kind", reader)),
        };
        let value = match tag & 4 {
            0 => None,
            _ => Some(Amount::decode(reader)?),
        };
        marks.push_back(Mark { at, value, what });
    }
    if walked > marks.len() {
        return Err(malformed("marks passed", reader));
    }
    Ok(Carts::restored(open, settled, marks, walked, rules.gap))
}
