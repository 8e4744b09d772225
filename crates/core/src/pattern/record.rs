//! The record of a key's machine in a commit: each of its patterns by what it means, so that
//! another order in the file, another title or another pattern beside it change nothing.

use std::collections::VecDeque;

use super::compile::{Pattern, Patterns};
use super::funnel::{Chain, Passage};
use super::held::{self, Held, Values};
use super::join::{Join, Waiting};
use super::listed::Listed;
use super::machine::{Machine, Run};
use super::progress::Progress;
use super::sequence::{Attempt, Moment, Sequence};
use super::spec::{FunnelSpec, Seeks, SequenceSpec, SessionsSpec};
use super::visits::{Visit, Visits};
use crate::session::Contents;
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
    match &run.begun {
        Progress::Sequence(sequence) => {
            for attempt in &sequence.attempts {
                put_moment(out, attempt.first);
                put_moment(out, attempt.last);
                put_u64(out, u64::from(attempt.taken));
                put_bytes(out, &attempt.of_first);
                put_bytes(out, &attempt.of_last);
            }
        }
        Progress::Join(join) => {
            for side in [&join.left, &join.right] {
                put_u64(out, side.len() as u64);
                for one in side {
                    put_moment(out, one.moment);
                    put_u64(out, u64::from(one.paired));
                    put_bytes(out, &one.values);
                }
            }
        }
        Progress::Funnel(passage) => {
            put_u64(out, passage.chains.len() as u64);
            for chain in &passage.chains {
                put_i64(out, chain.first);
                put_u64(out, (chain.last - chain.first) as u64);
            }
            put_bytes(out, &passage.values);
        }
        Progress::Sessions(visits) => {
            if let Some(visit) = &visits.0 {
                encode_visit(visit, out);
            }
        }
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
    let begun = match &pattern.spec.seeks {
        Seeks::Sequence(spec) => Progress::Sequence(sequence(reader, pattern, spec)?),
        Seeks::Join(_) => {
            let (left, right) = (side(reader, pattern)?, side(reader, pattern)?);
            Progress::Join(Box::new(Join { left, right }))
        }
        Seeks::Funnel(spec) => Progress::Funnel(passage(reader, pattern, spec)?),
        Seeks::Sessions(_) if reader.is_empty() => Progress::Sessions(Visits::default()),
        Seeks::Sessions(spec) => {
            Progress::Sessions(Visits(Some(Box::new(visit(reader, pattern, spec)?))))
        }
    };
    if !reader.is_empty() {
        return Err(Malformed { what: "pattern of a key", at: reader.position() });
    }
    Ok(Run { pattern: number, floor, pending, begun })
}

fn sequence(
    reader: &mut Reader<'_>,
    pattern: &Pattern,
    spec: &SequenceSpec,
) -> Result<Sequence, Malformed> {
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
        let most = spec.steps() as u32 - u32::from(!spec.waits());
        if !sorted || one.last < one.first || !(1..=most).contains(&one.taken) {
            return Err(Malformed { what: "attempt of a pattern", at });
        }
        attempts.push_back(one);
    }
    Ok(Sequence { attempts })
}

fn side(reader: &mut Reader<'_>, pattern: &Pattern) -> Result<VecDeque<Waiting>, Malformed> {
    let mut side: VecDeque<Waiting> = VecDeque::new();
    for _ in 0..reader.u64("events of a side")? {
        let at = reader.position();
        let moment = moment(reader)?;
        let paired: u8 = reader.narrow("pairs of an event")?;
        let sorted = side.back().is_none_or(|before| before.moment < moment);
        if !sorted || paired > 1 {
            return Err(Malformed { what: "event of a join", at });
        }
        side.push_back(Waiting { moment, paired: paired == 1, values: values(reader, pattern)? });
    }
    Ok(side)
}

fn passage(
    reader: &mut Reader<'_>,
    pattern: &Pattern,
    spec: &FunnelSpec,
) -> Result<Passage, Malformed> {
    let mut passage = Passage::default();
    for _ in 0..reader.u64("steps of a way")? {
        let at = reader.position();
        let first = reader.time("first event of a way")?;
        let chain = Chain { first, last: reader.time_after(first, "time on a way")? };
        let fits = match passage.chains.last() {
            None => chain.first == chain.last,
            Some(before) => chain.first <= before.first && chain.last - first <= spec.within,
        };
        // Whoever reached the last step is through.
        if !fits || passage.chains.len() + 1 >= spec.steps.len() {
            return Err(Malformed { what: "steps of a way", at });
        }
        passage.chains.push(chain);
    }
    passage.values = match (passage.chains.is_empty(), reader.position()) {
        (false, _) => values(reader, pattern)?,
        (true, at) if !reader.bytes("values of a way")?.is_empty() => {
            return Err(Malformed { what: "values of a way", at });
        }
        (true, _) => Values::default(),
    };
    Ok(passage)
}

fn encode_visit(visit: &Visit, out: &mut Vec<u8>) {
    put_moment(out, visit.first);
    put_moment(out, visit.last);
    put_u64(out, u64::from(visit.events));
    put_u64(out, u64::from(visit.goals));
    visit.contents.encode(out);
    out.push(visit.step);
    visit.counts.iter().for_each(|count| put_u64(out, u64::from(*count)));
    put_bytes(out, &visit.of_first);
    put_bytes(out, &visit.of_last);
    visit.lists.iter().for_each(|list| list.encode(out));
    // Those who are told of nothing have records as before.
    out.extend(visit.told.then_some(1));
}

fn visit(
    reader: &mut Reader<'_>,
    pattern: &Pattern,
    spec: &SessionsSpec,
) -> Result<Visit, Malformed> {
    let at = reader.position();
    let (first, last) = (moment(reader)?, moment(reader)?);
    let (events, goals) = (reader.narrow("events")?, reader.narrow("goals")?);
    let contents = Contents::decode(reader)?;
    let step = reader.u8("step")?;
    let counts = spec.counts.iter().map(|_| reader.narrow("count"));
    let counts = counts.collect::<Result<_, _>>()?;
    let (of_first, of_last) = (values(reader, pattern)?, values(reader, pattern)?);
    let lists = spec.lists.iter().map(|_| Listed::decode(reader)).collect::<Result<_, _>>()?;
    let told = !reader.is_empty() && reader.u8("told")? == 1;
    if first.at > last.at || events == 0 || usize::from(step) > spec.steps.len() {
        return Err(Malformed { what: "session", at });
    }
    Ok(Visit { first, last, events, goals, contents, told, step, counts, lists, of_first, of_last })
}

fn moment(reader: &mut Reader<'_>) -> Result<Moment, Malformed> {
    Ok(Moment { at: reader.time("time of an event")?, nth: reader.narrow("order of an event")? })
}

fn values(reader: &mut Reader<'_>, pattern: &Pattern) -> Result<Values, Malformed> {
    let values = reader.bytes("values of an event")?;
    held::attrs(values, pattern.num_values())?;
    Ok(values.into())
}
