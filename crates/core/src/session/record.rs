//! The record of one key's machine in a commit: compact (some 30 to 60 bytes for a
//! session) and self-contained, so that it can be read by any shard.

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use super::carts::{Cart, Carts, Mark, What};
use super::contents::Contents;
use super::machine::Machine;
use super::rules::Rules;
use super::state::{COUNTED_KINDS, NO_CUT, State, TRAIL_LEN};
use crate::domain::number::Amount;
use crate::domain::wire::{Malformed, Reader, put_bytes, put_i64, put_u64};

/// Texts of segments, kept once for a shard. Index 0 is "none".
#[derive(Clone, Debug)]
pub struct Segments {
    names: Vec<compact_str::CompactString>,
    index: HashMap<Box<[u8]>, u16, foldhash::fast::RandomState>,
}

/// Most segments told apart; further ones count as `other`.
pub const SEGMENTS_MAX: usize = 4_096;
/// Longest segment text kept.
pub const SEGMENT_BYTES_MAX: usize = 64;

impl Default for Segments {
    fn default() -> Self {
        Segments { names: vec!["".into()], index: Default::default() }
    }
}

impl Segments {
    /// The index of a text, learnt if it is new.
    pub fn intern(&mut self, text: &[u8]) -> u16 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&index) = self.index.get(text) {
            return index;
        }
        self.learn(text)
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

impl Machine {
    /// Appends the record of this machine.
    pub fn encode(&self, segments: &Segments, out: &mut Vec<u8>) {
        put_i64(out, self.floor);
        put_u64(out, self.sessions.len() as u64);
        for state in &self.sessions {
            encode_state(state, segments, out);
        }
        match self.carts.as_deref() {
            None => out.push(0),
            Some(carts) => encode_carts(carts, out),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the bytes are not a record: the file is damaged.
    pub fn decode(
        bytes: &[u8],
        segments: &mut Segments,
        rules: &Rules,
    ) -> Result<Machine, Malformed> {
        let mut reader = Reader::new(bytes);
        let floor = reader.i64("floor")?;
        let num = reader.u64("number of sessions")?;
        let mut sessions = SmallVec::new();
        for _ in 0..num {
            sessions.push(decode_state(&mut reader, segments)?);
        }
        let carts = match reader.u8("carts")? {
            0 => None,
            tag => Some(Box::new(decode_carts(tag == 2, &mut reader, rules)?)),
        };
        Ok(Machine { sessions, carts, floor })
    }
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
        out.push(state.trail_kind[index]);
        previous = state.trail_at[index];
    }
}

fn decode_state(reader: &mut Reader<'_>, segments: &mut Segments) -> Result<State, Malformed> {
    let mut state = State::empty(reader.i64("first")?);
    state.last = state.first.wrapping_add(reader.u64("duration")? as i64);
    if let Some(until) = reader.u64("cut")?.checked_sub(1) {
        state.until = state.first.wrapping_add(until as i64);
    }
    state.contents = Contents::decode(reader)?;
    state.events = reader.u64("events")? as u32;
    state.goals = reader.u64("goals")?.min(u16::MAX.into()) as u16;
    state.step = reader.u8("step")?.min(15);
    let segment = reader.bytes("segment")?;
    state.segment = segments.intern(segment);
    let counted = usize::from(reader.u8("counts")?).min(COUNTED_KINDS);
    for count in &mut state.counts[..counted] {
        *count = reader.u64("count")? as u16;
    }
    state.trail_len = reader.u8("trail")?.min(TRAIL_LEN as u8);
    let mut previous = state.last as u32;
    for index in (0..usize::from(state.trail_len)).rev() {
        previous = previous.wrapping_sub(reader.u64("trail time")? as u32);
        state.trail_at[index] = previous;
        state.trail_kind[index] = reader.u8("trail kind")?;
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
        put_i64(out, mark.at.wrapping_sub(before));
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
        let (first, last) = (reader.i64("cart first")?, reader.i64("cart last")?);
        open = Some(Cart { first, last, contents: Contents::decode(reader)? });
    }
    let settled = reader.i64("settled")?;
    let (num, walked) = (reader.u64("marks")?, reader.u64("marks passed")?);
    let mut marks = VecDeque::new();
    let mut at = 0i64;
    for _ in 0..num {
        at = at.wrapping_add(reader.i64("mark time")?);
        let tag = reader.u8("mark kind")?;
        let what = match tag & 3 {
            0 => What::Entry,
            1 => What::Remove,
            _ => What::Goal,
        };
        let value = match tag & 4 {
            0 => None,
            _ => Some(Amount::decode(reader)?),
        };
        marks.push_back(Mark { at, value, what });
    }
    let walked = (walked as usize).min(marks.len());
    Ok(Carts::restored(open, settled, marks, walked, rules.gap))
}
