//! The newest facts, for windows of so many of them: each with its place in event time and a cell of
//! its own. Which they are follows from the set of all facts alone, so they merge in any order, as
//! every cell does.

use super::aggregate::{Aggregate, Cell, State, Windowed};
use super::compile::Metric;
use super::fact::Fact;
use super::groups::Order;
use crate::time::EpochMs;
use crate::wire::{Malformed, Reader, put_i64, put_u64};

/// The newest facts of a pane or window, of one group: by event time, those of the same millisecond
/// by the order of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// How many are kept.
    num: usize,
    /// The state of no facts.
    zero: Cell,
    /// What became of the others, where somebody asks: minutes hold all.
    others: Option<Cell>,
    /// In order once settled; then no more than `num`.
    facts: Vec<Kept>,
}

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    at: EpochMs,
    position: u64,
    part: u64,
    cell: Cell,
}

impl Kept {
    fn place(&self) -> (EpochMs, u64, u64) {
        (self.at, self.position, self.part)
    }
}

impl Latest {
    /// No facts, of which the newest `num` will be kept.
    pub fn newest(num: usize, zero: Cell) -> Latest {
        Latest { num, zero, others: None, facts: Vec::new() }
    }

    /// The same, which also adds up what it does not keep.
    pub fn with_others(self) -> Latest {
        Latest { others: Some(self.zero.clone()), ..self }
    }
}

impl Windowed for Latest {
    fn merged(&self) -> Cell {
        let mut whole = self.others.as_ref().unwrap_or(&self.zero).clone();
        self.facts.iter().for_each(|fact| whole.merge(&fact.cell));
        whole.settle();
        whole
    }

    fn for_windows(&self) -> Latest {
        let Latest { num, zero, facts, .. } = self;
        Latest { num: *num, zero: zero.clone(), others: None, facts: facts.clone() }
    }

    fn add(&mut self, aggregate: &Aggregate, metric: &Metric, fact: &impl Fact) {
        let mut cell = self.zero.clone();
        aggregate.add(&mut cell, metric, fact);
        let (position, part) = match fact.order() {
            // Which batch it was in depends on how the log was read.
            Order::Event { position, part, .. } => (position, part.into()),
            Order::Ending { first, .. } => (first as u64, 0),
        };
        self.facts.push(Kept { at: fact.at(), position, part, cell });
        if self.facts.len() >= 2 * self.num {
            self.settle();
        }
    }
}

/// What has even its place in common (facts of two sources) is told apart by what it says, so that
/// the answer never depends on who came first to us.
fn put_in_order(facts: &mut [Kept]) {
    let text = |cell: &Cell| {
        let mut bytes = Vec::new();
        cell.encode(&mut bytes);
        bytes
    };
    facts.sort_by(|a, b| a.place().cmp(&b.place()).then_with(|| text(&a.cell).cmp(&text(&b.cell))));
}

impl State for Latest {
    fn merge(&mut self, other: &Self) {
        if let (Some(mine), Some(theirs)) = (&mut self.others, &other.others) {
            mine.merge(theirs);
        }
        self.facts.extend_from_slice(&other.facts);
        self.settle();
    }

    fn count(&self) -> u64 {
        self.others.iter().chain(self.facts.iter().map(|fact| &fact.cell)).map(Cell::count).sum()
    }

    fn sum(&self) -> f64 {
        self.merged().sum()
    }

    fn takes(&self, other: &Self) -> bool {
        self.num == other.num
            && self.zero == other.zero
            && self.count().checked_add(other.count()).is_some()
    }

    fn settle(&mut self) {
        put_in_order(&mut self.facts);
        let older = self.facts.len().saturating_sub(self.num);
        for fact in self.facts.drain(..older) {
            if let Some(others) = &mut self.others {
                others.merge(&fact.cell);
            }
        }
        if let Some(others) = &mut self.others {
            others.settle();
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.num as u64);
        self.zero.encode(out);
        out.push(self.others.is_some().into());
        self.others.iter().for_each(|others| others.encode(out));
        put_u64(out, self.facts.len() as u64);
        for Kept { at, position, part, cell } in &self.facts {
            put_i64(out, *at);
            put_u64(out, *position);
            put_u64(out, *part);
            cell.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let num = reader.narrow("kept facts")?;
        let zero = Cell::decode_plain(reader)?;
        let alike = |reader: &mut Reader<'_>| {
            let at = reader.position();
            let cell = Cell::decode_plain(reader)?;
            zero.takes(&cell).then_some(cell).ok_or(Malformed { what: "cell of one kind", at })
        };
        let others = match reader.u8("other facts")? {
            0 => None,
            _ => Some(alike(reader)?),
        };
        let (at, len) = (reader.position(), reader.u64("facts")?);
        if len > num as u64 {
            return Err(Malformed { what: "facts", at });
        }
        let mut facts: Vec<Kept> = Vec::new();
        for _ in 0..len {
            let at = reader.position();
            let fact = Kept {
                at: reader.i64("time")?,
                position: reader.u64("position")?,
                part: reader.u64("part")?,
                cell: alike(reader)?,
            };
            let disorder = facts.last().is_some_and(|last| last.place() > fact.place());
            if disorder || fact.cell.count() > 1 {
                return Err(Malformed { what: "order of facts", at });
            }
            facts.push(fact);
        }
        Ok(Latest { num, zero, others, facts })
    }
}
