//! The cells of one metric that a shard has not handed over yet: by place and group, each in
//! one dense list, so that a few facts in many groups take no more room than the facts.

use foldhash::fast::FixedState;
use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::aggregate::{Aggregate, Cell};
use super::compile::Metric;
use super::fact::Fact;
use super::groups::OVERFLOW;
use crate::time::EpochMs;

/// Room that is kept from one flush to the next, in cells, for each cell of the last one.
const KEPT: usize = 2;
/// Room that is kept in any case.
const KEPT_LEAST: usize = 256;

/// No place has this number.
const NOWHERE: u32 = u32::MAX;

/// Cells by place and group.
#[derive(Clone, Debug)]
pub struct OpenCells {
    /// Place and group of each cell.
    keys: Vec<(u32, u32)>,
    /// Facts of each.
    facts: Vec<u64>,
    /// What they amount to; empty where the number of facts is all.
    cells: Vec<Cell>,
    /// Where the cell of a place and group lies: with both, so that a look-up reads nothing else.
    /// Not used where there is one group: there the number of the place is that of its cell.
    index: HashTable<((u32, u32), u32)>,
    /// By group: the place that it was met in last, and the cell; most facts go there again.
    recent: Vec<(u32, u32)>,
    grouped: bool,
    aggregate: Aggregate,
    /// What a cell begins with.
    zero: Cell,
    /// The number of facts is all.
    counts: bool,
}

impl OpenCells {
    /// No cells of this metric.
    pub fn new(metric: &Metric) -> Self {
        OpenCells {
            keys: Vec::new(),
            facts: Vec::new(),
            cells: Vec::new(),
            index: HashTable::new(),
            recent: Vec::new(),
            grouped: metric.is_grouped(),
            aggregate: metric.spec.aggregate.clone(),
            zero: metric.open(),
            counts: metric.only_counts(),
        }
    }

    /// Adds a fact that was taken. Places are numbered from 0 on, as they come first.
    #[inline]
    pub fn add(&mut self, place: u32, group: u32, metric: &Metric, fact: &impl Fact) {
        let at = if self.grouped { self.find(place, group) } else { self.only(place, group) };
        self.facts[at] += 1;
        if !self.counts {
            metric.add(fact, &mut self.cells[at]);
        }
    }

    /// Notes an event that a total begins with: for all groups, with those beyond the limit.
    pub fn begin(&mut self, place: u32, at: EpochMs) {
        let cell = if self.grouped { self.find(place, OVERFLOW) } else { self.only(place, 0) };
        if let Cell::Moments(moments) = &mut self.cells[cell] {
            moments.begin(at);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Hands over all of them: place, group, facts, and what they amount to.
    pub fn drain(&mut self, mut each: impl FnMut(u32, u32, u64, Cell)) {
        let mut cells = self.cells.drain(..);
        for ((place, group), facts) in self.keys.drain(..).zip(self.facts.drain(..)) {
            let counted = || self.aggregate.counted(facts);
            let Some(mut cell) = cells.next().or_else(counted) else { continue };
            cell.settle();
            each(place, group, facts, cell);
        }
        drop(cells);
        let room = (self.index.len() * KEPT).max(KEPT_LEAST);
        self.index.clear();
        if self.index.capacity() > 2 * room {
            self.index = HashTable::with_capacity(room);
        }
        self.recent.clear();
        self.recent.shrink_to(room);
        self.keys.shrink_to(room);
        self.facts.shrink_to(room);
        self.cells.shrink_to(room);
    }

    #[inline]
    fn only(&mut self, place: u32, group: u32) -> usize {
        if place as usize == self.keys.len() {
            self.push(place, group);
        }
        place as usize
    }

    #[inline]
    fn find(&mut self, place: u32, group: u32) -> usize {
        if let Some((of, at)) = self.recent.get(group as usize)
            && *of == place
        {
            return *at as usize;
        }
        let at = self.look_up(place, group);
        if group != OVERFLOW {
            let room = self.recent.len().max(group as usize + 1);
            self.recent.resize(room, (NOWHERE, 0));
            self.recent[group as usize] = (place, at as u32);
        }
        at
    }

    fn look_up(&mut self, place: u32, group: u32) -> usize {
        let key = (place, group);
        let hash = FixedState::default().hash_one(key);
        if let Some((_, at)) = self.index.find(hash, |(other, _)| *other == key) {
            return *at as usize;
        }
        let at = self.keys.len() as u32;
        self.push(place, group);
        self.index.insert_unique(hash, (key, at), |(key, _)| FixedState::default().hash_one(key));
        at as usize
    }

    fn push(&mut self, place: u32, group: u32) {
        self.keys.push((place, group));
        self.facts.push(0);
        if !self.counts {
            self.cells.push(self.zero.clone());
        }
    }
}
