//! The record of a key's machine in a commit: each of its patterns by what it means, so that
//! another order in the file, another title or another pattern beside it change nothing.

use std::collections::VecDeque;

use super::compile::{Pattern, Patterns};
use super::held::{self, Held, Values};
use super::machine::{Machine, Run};
use super::sequence::{Attempt, Moment, Sequence};
use crate::wire::{Malformed, Reader, put_bytes, put_i64, put_u64};

/// Appends the record.
pub(super) fn encode(machine: &Machine, meanings: &[u64], out: &mut Vec<u8>) {
    for run in &machine.runs {
        out.extend_from_slice(&meanings[usize::from(run.pattern)].to_le_bytes());
        let mut body = Vec::new();
        encode_run(run, &mut body);
        put_bytes(out, &body);
    }
}

fn encode_run(run: &Run, out: &mut Vec<u8>) {
    put_i64(out, run.floor);
    put_u64(out, run.pending.len() as u64);
    for held in &run.pending {
        put_i64(out, held.at);
        put_u64(out, u64::from(held.meets));
        put_bytes(out, &held.values);
    }
    for attempt in &run.sequence.attempts {
        put_moment(out, attempt.first);
        put_moment(out, attempt.last);
        put_u64(out, u64::from(attempt.taken));
        put_bytes(out, &attempt.of_first);
        put_bytes(out, &attempt.of_last);
    }
}

fn put_moment(out: &mut Vec<u8>, moment: Moment) {
    put_i64(out, moment.at);
    put_u64(out, u64::from(moment.nth));
}

/// Reads a record; what it holds of other patterns is passed over.
///
/// # Errors
/// When the bytes are no record: the file is damaged.
pub(super) fn decode(bytes: &[u8], patterns: &Patterns) -> Result<Machine, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut machine = Machine::default();
    while !reader.is_empty() {
        let meaning = reader.take(8, "meaning of a pattern")?;
        let meaning = u64::from_le_bytes(meaning.try_into().expect("take returns 8 bytes"));
        let body = reader.bytes("pattern of a key")?;
        let same = |pattern: &Pattern| pattern.meaning == meaning;
        if let Some(number) = patterns.list.iter().position(same) {
            let run = decode_run(&mut Reader::new(body), number as u16, &patterns.list[number])?;
            machine.runs.push(run);
        }
    }
    machine.runs.sort_by_key(|run| run.pattern);
    let twice = machine.runs.windows(2).any(|two| two[0].pattern == two[1].pattern);
    if twice { Err(Malformed { what: "patterns of a key", at: 0 }) } else { Ok(machine) }
}

fn decode_run(reader: &mut Reader<'_>, number: u16, pattern: &Pattern) -> Result<Run, Malformed> {
    let floor = reader.time("floor")?;
    let mut pending: Vec<Held> = Vec::new();
    for _ in 0..reader.u64("number of events")? {
        let at = reader.position();
        let held = Held {
            at: reader.time("time of an event")?,
            meets: reader.narrow("conditions of an event")?,
            values: values(reader, pattern)?,
        };
        let sorted = pending.last().is_none_or(|before| *before <= held);
        if !sorted || held.meets == 0 || held.meets & !pattern.all_bits() != 0 {
            return Err(Malformed { what: "event of a pattern", at });
        }
        pending.push(held);
    }
    let mut attempts: VecDeque<Attempt> = VecDeque::new();
    while !reader.is_empty() {
        let at = reader.position();
        let one = Attempt {
            first: moment(reader)?,
            last: moment(reader)?,
            taken: reader.narrow("events of an attempt")?,
            of_first: values(reader, pattern)?,
            of_last: values(reader, pattern)?,
        };
        let sorted = attempts.back().is_none_or(|before: &Attempt| before.first < one.first);
        let most = pattern.spec.steps() as u32 - u32::from(!pattern.waits());
        if !sorted || one.last < one.first || !(1..=most).contains(&one.taken) {
            return Err(Malformed { what: "attempt of a pattern", at });
        }
        attempts.push_back(one);
    }
    Ok(Run { pattern: number, floor, pending, sequence: Sequence { attempts } })
}

fn moment(reader: &mut Reader<'_>) -> Result<Moment, Malformed> {
    Ok(Moment { at: reader.time("time of an event")?, nth: reader.narrow("order of an event")? })
}

fn values(reader: &mut Reader<'_>, pattern: &Pattern) -> Result<Values, Malformed> {
    let values = reader.bytes("values of an event")?;
    held::attrs(values, pattern.num_values())?;
    Ok(values.into())
}
