//! Facts by the millisecond, for totals that begin anew with an event: where in a pane it lies is
//! known only once the pane is final. What is kept follows from the set of facts alone, so it
//! merges in any order, as every cell does.

use super::aggregate::{Aggregate, Cell, State, Windowed};
use super::compile::Metric;
use super::fact::Fact;
use crate::time::EpochMs;
use crate::wire::{Malformed, Reader, put_i64, put_u64};

/// The facts of one pane and group by their times, and the newest event there that a total begins
/// with.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// The state of no facts.
    zero: Cell,
    begins: Option<EpochMs>,
    /// In order, each time once.
    facts: Vec<(EpochMs, Cell)>,
}

impl Moments {
    /// Nothing.
    pub fn new(zero: Cell) -> Moments {
        Moments { zero, begins: None, facts: Vec::new() }
    }

    /// Notes an event that a total begins with.
    pub fn begin(&mut self, at: EpochMs) {
        self.begins = self.begins.max(Some(at));
    }

    /// When a total begins; `None`: not here.
    pub fn begins(&self) -> Option<EpochMs> {
        self.begins
    }

    /// The facts from a time on, merged; `None` without any.
    pub fn since(&self, start: EpochMs) -> Option<Cell> {
        let first = self.facts.partition_point(|(at, _)| *at < start);
        let mut facts = self.facts[first..].iter().map(|(_, cell)| cell);
        let mut whole = facts.next()?.clone();
        facts.for_each(|cell| whole.merge(cell));
        whole.settle();
        Some(whole)
    }

    /// Where facts of a time are, and whether there are some.
    fn place(&self, at: EpochMs) -> Result<usize, usize> {
        match self.facts.last() {
            Some((last, _)) if *last < at => Err(self.facts.len()),
            _ => self.facts.binary_search_by_key(&at, |(at, _)| *at),
        }
    }
}

impl Windowed for Moments {
    fn add(&mut self, aggregate: &Aggregate, metric: &Metric, fact: &impl Fact) {
        let place = self.place(fact.at()).unwrap_or_else(|place| {
            self.facts.insert(place, (fact.at(), self.zero.clone()));
            place
        });
        aggregate.add(&mut self.facts[place].1, metric, fact);
    }

    fn merged(&self) -> Cell {
        self.since(EpochMs::MIN).unwrap_or_else(|| self.zero.clone())
    }

    fn for_windows(&self) -> Moments {
        self.clone()
    }
}

impl State for Moments {
    fn merge(&mut self, other: &Self) {
        self.begins = self.begins.max(other.begins);
        for (at, cell) in &other.facts {
            match self.place(*at) {
                Ok(place) => self.facts[place].1.merge(cell),
                Err(place) => self.facts.insert(place, (*at, cell.clone())),
            }
        }
        self.settle();
    }

    fn count(&self) -> u64 {
        self.facts.iter().map(|(_, cell)| cell.count()).sum()
    }

    fn sum(&self) -> f64 {
        self.merged().sum()
    }

    fn takes(&self, other: &Self) -> bool {
        let cells = self.facts.iter().chain(&other.facts).map(|(_, cell)| cell.count());
        self.zero == other.zero && { cells }.try_fold(0, u64::checked_add).is_some()
    }

    fn settle(&mut self) {
        self.facts.iter_mut().for_each(|(_, cell)| cell.settle());
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.zero.encode(out);
        out.push(self.begins.is_some().into());
        self.begins.iter().for_each(|at| put_i64(out, *at));
        put_u64(out, self.facts.len() as u64);
        for (at, cell) in &self.facts {
            put_i64(out, *at);
            cell.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let zero = Cell::decode_plain(reader)?;
        let begins = match reader.u8("beginning")? {
            0 => None,
            _ => Some(reader.time("beginning")?),
        };
        let mut facts: Vec<(EpochMs, Cell)> = Vec::new();
        for _ in 0..reader.u64("moments")? {
            let at = reader.position();
            let (time, cell) = (reader.time("time")?, Cell::decode_plain(reader)?);
            let disorder = facts.last().is_some_and(|(last, _)| *last >= time);
            if disorder || !zero.takes(&cell) {
                return Err(Malformed { what: "moment", at });
            }
            facts.push((time, cell));
        }
        Ok(Moments { zero, begins, facts })
    }
}
