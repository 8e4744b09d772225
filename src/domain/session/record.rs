//! The record of one key's machine in a commit: compact (some 30 to 60 bytes for a
//! session) and self-contained, so that it can be read by any shard.

use smallvec::SmallVec;

use super::carts::{Cart, Carts, Mark};
use super::machine::{COUNTED_KINDS, Machine, State, TRAIL_LEN};
use crate::domain::number::Amount;
use crate::domain::wire::{Malformed, Reader, put_bytes, put_i64, put_u64};

/// Texts of segments, kept once for a shard. Index 0 is "none".
#[derive(Clone, Debug)]
pub struct Segments {
    names: Vec<compact_str::CompactString>,
    index: std::collections::HashMap<compact_str::CompactString, u16>,
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
    pub fn intern(&mut self, text: &str) -> u16 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&index) = self.index.get(text) {
            return index;
        }
        let text = if self.names.len() >= SEGMENTS_MAX || text.len() > SEGMENT_BYTES_MAX {
            "other"
        } else {
            text
        };
        if let Some(&index) = self.index.get(text) {
            return index;
        }
        let index = self.names.len() as u16;
        self.names.push(text.into());
        self.index.insert(text.into(), index);
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
        put_u64(out, self.sessions.len() as u64);
        for state in &self.sessions {
            encode_state(state, segments, out);
        }
        match self.carts.as_deref().filter(|carts| !carts.is_empty()) {
            None => out.push(0),
            Some(carts) => encode_carts(carts, out),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the bytes are not a record: the file is damaged.
    pub fn decode(bytes: &[u8], segments: &mut Segments) -> Result<Machine, Malformed> {
        let mut reader = Reader::new(bytes);
        let num = reader.u64("number of sessions")?;
        let mut sessions = SmallVec::new();
        for _ in 0..num {
            sessions.push(decode_state(&mut reader, segments)?);
        }
        let carts = match reader.u8("carts")? {
            0 => None,
            tag => Some(Box::new(decode_carts(tag == 2, &mut reader)?)),
        };
        Ok(Machine { sessions, carts })
    }
}

fn encode_state(state: &State, segments: &Segments, out: &mut Vec<u8>) {
    put_i64(out, state.first);
    put_u64(out, (state.last - state.first) as u64);
    state.value.encode(out);
    put_u64(out, state.events.into());
    put_u64(out, state.entries.into());
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
    state.value = Amount::decode(reader)?;
    state.events = reader.u64("events")? as u32;
    state.entries = reader.u64("entries")? as u32;
    state.goals = reader.u64("goals")? as u32;
    state.step = reader.u8("step")?.min(15);
    let segment = reader.bytes("segment")?;
    state.segment = segments.intern(&String::from_utf8_lossy(segment));
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
    out.push(if carts.open.is_some() { 2 } else { 1 });
    if let Some(cart) = carts.open {
        put_i64(out, cart.first);
        put_i64(out, cart.last);
        cart.value.encode(out);
        put_u64(out, cart.entries.into());
    }
    put_u64(out, carts.pending.len() as u64);
    for mark in &carts.pending {
        put_i64(out, mark.at);
        mark.value.encode(out);
        out.push(u8::from(mark.goal));
    }
}

fn decode_carts(open: bool, reader: &mut Reader<'_>) -> Result<Carts, Malformed> {
    let mut carts = Carts::default();
    if open {
        carts.open = Some(Cart {
            first: reader.i64("cart first")?,
            last: reader.i64("cart last")?,
            value: Amount::decode(reader)?,
            entries: reader.u64("cart entries")? as u32,
        });
    }
    for _ in 0..reader.u64("marks")? {
        let (at, value) = (reader.i64("mark time")?, Amount::decode(reader)?);
        carts.pending.push(Mark { at, value, goal: reader.u8("mark kind")? != 0 });
    }
    Ok(carts)
}
