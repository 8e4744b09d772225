//! What is kept of one rule: three lists, of which a commit holds what left in front and what
//! came behind.

use std::collections::VecDeque;

use super::{SectionWriter, number, put_number};
use crate::anomaly::{Band, RingChange};
use crate::time::EpochMs;
use crate::wire::{Malformed, Reader, put_i64, put_u64};

/// End and number of a window.
pub type RuleSample = (EpochMs, f64);

/// End and number of a window, and what was expected of it.
pub type RulePoint = (EpochMs, f64, Band);

/// The lists of one rule, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSnapshot {
    /// What it has learned.
    pub samples: VecDeque<RuleSample>,
    /// What stood out and teaches nothing yet.
    pub held: VecDeque<RuleSample>,
    /// What its topic shows.
    pub points: VecDeque<RulePoint>,
}

const SAMPLES: u8 = 0;
const HELD: u8 = 1;
/// 2 were points with a mean and a limit.
const POINTS: u8 = 3;

impl SectionWriter {
    /// How the samples of a rule changed.
    pub fn rule_samples(&mut self, change: &RingChange<'_, RuleSample>) {
        self.change(SAMPLES, change);
    }

    /// How the samples that stood out changed.
    pub fn rule_held(&mut self, change: &RingChange<'_, RuleSample>) {
        self.change(HELD, change);
    }

    /// How the points of a rule's topic changed.
    pub fn rule_points(&mut self, change: &RingChange<'_, RulePoint>) {
        self.change(POINTS, change);
    }

    fn change<T: Item>(&mut self, list: u8, change: &RingChange<'_, T>) {
        self.bytes.push(list);
        put_u64(&mut self.bytes, change.gone as u64);
        put_u64(&mut self.bytes, change.new.len() as u64);
        change.new.iter().for_each(|item| item.put(&mut self.bytes));
    }
}

impl RuleSnapshot {
    pub(super) fn absorb(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        while !reader.is_empty() {
            let at = reader.position();
            match reader.u8("list of a rule")? {
                SAMPLES => absorb(&mut self.samples, reader)?,
                HELD => absorb(&mut self.held, reader)?,
                POINTS => absorb(&mut self.points, reader)?,
                _ => return Err(Malformed { what: "list of a rule", at }),
            }
        }
        Ok(())
    }

    /// Appends sections of at most about `chunk` bytes each.
    pub(super) fn encode(&self, id: &str, chunk: usize, sections: &mut Vec<Vec<u8>>) {
        let items = (chunk / ITEM_BYTES).max(1);
        let mut put = |write: &dyn Fn(&mut SectionWriter)| {
            let mut writer = SectionWriter::rule(id);
            write(&mut writer);
            sections.push(writer.finish());
        };
        for new in parts(&self.samples, items) {
            put(&|writer| writer.rule_samples(&RingChange { gone: 0, new: new.clone() }));
        }
        for new in parts(&self.held, items) {
            put(&|writer| writer.rule_held(&RingChange { gone: 0, new: new.clone() }));
        }
        for new in parts(&self.points, items) {
            put(&|writer| writer.rule_points(&RingChange { gone: 0, new: new.clone() }));
        }
    }
}

/// About what a point takes.
const ITEM_BYTES: usize = 40;

fn parts<T>(list: &VecDeque<T>, items: usize) -> impl Iterator<Item = Vec<&T>> {
    let starts = (0..list.len()).step_by(items);
    starts.map(move |start| list.range(start..(start + items).min(list.len())).collect())
}

/// # Errors
/// When more left than there were: the file is damaged.
fn absorb<T: Item>(list: &mut VecDeque<T>, reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let at = reader.position();
    let gone = reader.u64("items that left")?;
    if gone > list.len() as u64 {
        return Err(Malformed { what: "items that left", at });
    }
    list.drain(..gone as usize);
    for _ in 0..reader.u64("number of new items")? {
        list.push_back(T::read(reader)?);
    }
    Ok(())
}

trait Item: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

impl Item for RuleSample {
    fn put(&self, out: &mut Vec<u8>) {
        put_i64(out, self.0);
        put_number(out, self.1);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((reader.i64("end")?, number(reader)?))
    }
}

impl Item for RulePoint {
    fn put(&self, out: &mut Vec<u8>) {
        let (end, value, Band { expected, low, high }) = self;
        put_i64(out, *end);
        put_number(out, *value);
        for number in [expected, low, high] {
            out.push(u8::from(number.is_some()));
            number.iter().for_each(|number| put_number(out, *number));
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (end, value) = RuleSample::read(reader)?;
        let mut optional = |what| {
            let at = reader.position();
            match reader.u8(what)? {
                0 => Ok(None),
                1 => number(reader).map(Some),
                _ => Err(Malformed { what, at }),
            }
        };
        let (expected, low) = (optional("expected")?, optional("low")?);
        Ok((end, value, Band { expected, low, high: optional("high")? }))
    }
}
