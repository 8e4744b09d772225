//! Facts by the millisecond, for totals that begin anew with an event and for sliding windows: where
//! in a pane one begins is known only once the pane is final. What is kept follows from the set of
//! facts alone, so it merges in any order, as every cell does.

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
    /// Of sliding windows: how many are kept apart.
    apart: Option<Apart>,
    /// All facts, where windows take them in together.
    whole: Option<Cell>,
    /// In order, each time once. Of several that are joined, the newest.
    facts: Vec<(EpochMs, Cell)>,
}

/// Where more than `most` moments have facts, those of 2 ms are joined, or of 4, 8, 16...: the least
/// power with which there are no more. Which that is follows from the moments that have facts, and
/// is never less for more of them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Apart {
    most: usize,
    /// The logarithm of the length, in ms.
    bits: u32,
}

/// More is longer than time.
const BITS_MAX: u32 = 62;

impl Moments {
    /// Nothing.
    pub fn new(zero: Cell) -> Moments {
        Moments { zero, begins: None, apart: None, whole: None, facts: Vec::new() }
    }

    /// The same, which keeps no more than `most` moments apart.
    pub fn at_most(self, most: usize) -> Moments {
        Moments { apart: Some(Apart { most, bits: 0 }), ..self }
    }

    /// Notes an event that a total begins with.
    pub fn begin(&mut self, at: EpochMs) {
        self.begins = self.begins.max(Some(at));
    }

    /// When a total begins; `None`: not here.
    pub fn begins(&self) -> Option<EpochMs> {
        self.begins
    }

    /// The facts of each moment, in order.
    pub fn facts(&self) -> &[(EpochMs, Cell)] {
        &self.facts
    }

    /// True when some moments are joined.
    pub fn are_joined(&self) -> bool {
        self.bits() > 0
    }

    /// All facts, of those that windows take in together.
    pub fn whole(&self) -> Option<&Cell> {
        self.whole.as_ref()
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

    fn bits(&self) -> u32 {
        self.apart.map_or(0, |apart| apart.bits)
    }

    /// Where facts of a time are, and whether there are some.
    fn place(&self, at: EpochMs) -> Result<usize, usize> {
        let (bits, moment) = (self.bits(), at >> self.bits());
        match self.facts.last() {
            Some((last, _)) if *last >> bits < moment => Err(self.facts.len()),
            _ => self.facts.binary_search_by_key(&moment, |(at, _)| *at >> bits),
        }
    }

    /// The cell of a time.
    fn at(&mut self, at: EpochMs) -> &mut Cell {
        let place = self.place(at).unwrap_or_else(|place| {
            self.facts.insert(place, (at, self.zero.clone()));
            place
        });
        let (newest, cell) = &mut self.facts[place];
        *newest = at.max(*newest);
        cell
    }

    /// Joins moments where there are too many.
    #[inline]
    fn join(&mut self) {
        let Some(Apart { most, bits }) = self.apart else { return };
        if self.facts.len() > most {
            self.join_by(bits + 1);
        }
    }

    /// Joins the moments of so many bits, and of more while there are too many.
    fn join_by(&mut self, bits: u32) {
        let Some(apart) = &mut self.apart else { return };
        for bits in bits..=BITS_MAX {
            apart.bits = bits;
            self.facts.dedup_by(|(at, cell), (newest, known)| {
                let same = *at >> bits == *newest >> bits;
                if same {
                    *newest = *at;
                    known.merge(cell);
                }
                same
            });
            if self.facts.len() <= apart.most {
                return;
            }
        }
    }
}

impl Windowed for Moments {
    fn add(&mut self, aggregate: &Aggregate, metric: &Metric, fact: &impl Fact) {
        aggregate.add(self.at(fact.at()), metric, fact);
        self.join();
    }

    fn merged(&self) -> Cell {
        self.since(EpochMs::MIN).unwrap_or_else(|| self.zero.clone())
    }

    fn for_windows(&self) -> Moments {
        Moments { whole: self.apart.map(|_| self.merged()), ..self.clone() }
    }
}

impl State for Moments {
    fn merge(&mut self, other: &Self) {
        self.begins = self.begins.max(other.begins);
        if let Some(whole) = &mut self.whole {
            whole.merge(other.whole.as_ref().unwrap_or(&other.merged()));
        }
        if other.bits() > self.bits() {
            self.join_by(other.bits());
        }
        for (at, cell) in &other.facts {
            self.at(*at).merge(cell);
        }
        self.join();
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
        let most = |moments: &Moments| moments.apart.map(|apart| apart.most);
        self.zero == other.zero && most(self) == most(other) && { cells }
            .try_fold(0, u64::checked_add)
            .is_some()
    }

    fn settle(&mut self) {
        self.facts.iter_mut().for_each(|(_, cell)| cell.settle());
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.zero.encode(out);
        out.push(u8::from(self.begins.is_some()) | u8::from(self.apart.is_some()) << 1);
        self.begins.iter().for_each(|at| put_i64(out, *at));
        if let Some(Apart { most, bits }) = &self.apart {
            put_u64(out, *most as u64);
            put_u64(out, u64::from(*bits));
        }
        put_u64(out, self.facts.len() as u64);
        for (at, cell) in &self.facts {
            put_i64(out, *at);
            cell.encode(out);
        }
    }

    /// Without what all facts come to: [`Windowed::for_windows`] adds them up.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (mut moments, at) = (Moments::new(Cell::decode_plain(reader)?), reader.position());
        let parts = reader.u8("beginning")?;
        if parts > 3 {
            return Err(Malformed { what: "beginning", at });
        }
        if parts & 1 > 0 {
            moments.begins = Some(reader.time("beginning")?);
        }
        if parts & 2 > 0 {
            let (most, at) = (reader.narrow("moments apart")?, reader.position());
            let bits = u32::try_from(reader.u64("joined moments")?).unwrap_or(u32::MAX);
            if bits > BITS_MAX {
                return Err(Malformed { what: "joined moments", at });
            }
            moments.apart = Some(Apart { most, bits });
        }
        let (bits, at, len) = (moments.bits(), reader.position(), reader.u64("moments")?);
        if moments.apart.is_some_and(|apart| len > apart.most as u64) {
            return Err(Malformed { what: "moments", at });
        }
        for _ in 0..len {
            let at = reader.position();
            let (time, cell) = (reader.time("time")?, Cell::decode_plain(reader)?);
            let disorder =
                moments.facts.last().is_some_and(|(last, _)| *last >> bits >= time >> bits);
            if disorder || !moments.zero.takes(&cell) {
                return Err(Malformed { what: "moment", at });
            }
            moments.facts.push((time, cell));
        }
        Ok(moments)
    }
}
