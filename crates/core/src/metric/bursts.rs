//! Windows that end by silence: facts of a group with no more than a gap from each to the next, as
//! the merging windows of Akidau et al., "The Dataflow Model" (VLDB 2015). Which bursts a set of
//! facts makes follows from the set alone, so they merge in any order, as every cell does.

use super::aggregate::{Aggregate, Cell, State, Windowed};
use super::compile::Metric;
use super::fact::Fact;
use crate::time::{EpochMs, SpanMs};
use crate::wire::{Malformed, Reader, put_i64, put_u64};

/// The bursts of one group that are not over, or what a pane adds to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Bursts {
    gap: SpanMs,
    /// The state of no facts.
    zero: Cell,
    /// In order, further apart than the gap.
    bursts: Vec<Burst>,
}

#[derive(Clone, Debug, PartialEq)]
struct Burst {
    first: EpochMs,
    last: EpochMs,
    cell: Cell,
}

impl Bursts {
    /// None, which will end after a silence of more than `gap`.
    pub fn new(gap: SpanMs, zero: Cell) -> Bursts {
        Bursts { gap, zero, bursts: Vec::new() }
    }

    /// None of the same kind.
    pub fn none(&self) -> Bursts {
        Bursts::new(self.gap, self.zero.clone())
    }

    /// The first time that is too late for the burst that ends first.
    pub fn first_end(&self) -> Option<EpochMs> {
        self.bursts.first().map(|burst| self.end(burst))
    }

    fn end(&self, burst: &Burst) -> EpochMs {
        burst.last.saturating_add(self.gap).saturating_add(1)
    }

    /// Takes out the burst that ends first, if it does so at or before a time.
    pub fn close(&mut self, at: EpochMs) -> Option<Cell> {
        (self.first_end()? <= at).then(|| self.bursts.remove(0).cell)
    }

    /// What the newest burst comes to.
    pub fn newest(&self) -> Option<&Cell> {
        self.bursts.last().map(|burst| &burst.cell)
    }

    /// Puts a burst among the others, together with those it touches.
    fn put(&mut self, mut burst: Burst) {
        let from = burst.first.saturating_sub(self.gap);
        let until = burst.last.saturating_add(self.gap);
        let start = self.bursts.partition_point(|other| other.last < from);
        let end = self.bursts.partition_point(|other| other.first <= until);
        for other in &self.bursts[start..end] {
            burst.first = burst.first.min(other.first);
            burst.last = burst.last.max(other.last);
            burst.cell.merge(&other.cell);
        }
        burst.cell.settle();
        self.bursts.splice(start..end, [burst]);
    }
}

impl Windowed for Bursts {
    fn add(&mut self, aggregate: &Aggregate, metric: &Metric, fact: &impl Fact) {
        let (at, gap) = (fact.at(), self.gap);
        let newest = self.bursts.last_mut();
        if let Some(newest) = newest.filter(|burst| burst.first <= at && at <= burst.last + gap) {
            newest.last = newest.last.max(at);
            aggregate.add(&mut newest.cell, metric, fact);
            return;
        }
        let mut cell = self.zero.clone();
        aggregate.add(&mut cell, metric, fact);
        self.put(Burst { first: at, last: at, cell });
    }

    fn merged(&self) -> Cell {
        let mut whole = self.zero.clone();
        self.bursts.iter().for_each(|burst| whole.merge(&burst.cell));
        whole.settle();
        whole
    }

    fn for_windows(&self) -> Bursts {
        self.clone()
    }
}

impl State for Bursts {
    fn merge(&mut self, other: &Self) {
        other.bursts.iter().for_each(|burst| self.put(burst.clone()));
    }

    fn count(&self) -> u64 {
        self.bursts.iter().map(|burst| burst.cell.count()).sum()
    }

    fn sum(&self) -> f64 {
        self.merged().sum()
    }

    fn takes(&self, other: &Self) -> bool {
        let bursts = self.bursts.iter().chain(&other.bursts);
        let count = bursts.map(|burst| burst.cell.count()).try_fold(0, u64::checked_add);
        self.gap == other.gap && self.zero == other.zero && count.is_some()
    }

    fn settle(&mut self) {
        self.bursts.iter_mut().for_each(|burst| burst.cell.settle());
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_i64(out, self.gap);
        self.zero.encode(out);
        put_u64(out, self.bursts.len() as u64);
        for Burst { first, last, cell } in &self.bursts {
            put_i64(out, *first);
            put_i64(out, *last);
            cell.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (gap, zero) = (reader.time("gap")?, Cell::decode_plain(reader)?);
        let mut bursts: Vec<Burst> = Vec::new();
        for _ in 0..reader.u64("bursts")? {
            let at = reader.position();
            let (first, last) = (reader.time("first fact")?, reader.time("last fact")?);
            let cell = Cell::decode_plain(reader)?;
            let apart = bursts.last().is_none_or(|before| before.last.saturating_add(gap) < first);
            if first > last || !apart || !zero.takes(&cell) {
                return Err(Malformed { what: "burst", at });
            }
            bursts.push(Burst { first, last, cell });
        }
        Ok(Bursts { gap, zero, bursts })
    }
}
