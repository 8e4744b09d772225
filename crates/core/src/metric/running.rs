//! A window on its way over the panes: the window before it, plus what enters, minus what
//! leaves.
//!
//! Cost does not grow with size / slide where a cell can be taken back; distinct counts
//! keep the newest pane of each value; only least, greatest and sketches are merged anew.
//! A running total since midnight only grows, and begins again at midnight.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::aggregate::{Cell, State as _};
use super::bursts::Bursts;
use super::compile::Metric;
use super::grid::Stretch;
use super::number::{Number, Values};
use super::panes::{Cells, Panes};
use crate::time::EpochMs;

/// Values that left and may still be kept, besides half as many as are in the window.
const LEFT_MAX: u64 = 64;

/// The window that ended last, as far as the next one needs it.
#[derive(Clone, Debug)]
pub struct Runner {
    groups: BTreeMap<u32, Running>,
    /// Start of that window: panes before it have left.
    start: EpochMs,
    /// Of windows that end by silence: the first end of each group.
    ends: BTreeSet<(EpochMs, u32)>,
}

#[derive(Clone, Debug)]
struct Running {
    /// Cells that entered and did not leave.
    cells: u64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// What is read, for cells that can be taken back; or never are.
    Whole(Cell),
    /// What is kept apart, and its number: putting that together takes longer than the rest.
    Kept { whole: Arc<Cell>, number: Option<Number> },
    /// What ends by silence.
    Ends(Arc<Bursts>),
    /// Different values, and how many sketches are among what is read.
    Newest { values: Newest, sketches: u32 },
    /// Merged anew for each window.
    Scan,
}

impl Default for Runner {
    fn default() -> Self {
        Runner { groups: BTreeMap::new(), start: EpochMs::MIN, ends: BTreeSet::new() }
    }
}

impl Runner {
    /// The window that starts at `start` and read these cells.
    pub fn resumed<'a>(
        metric: &Metric,
        start: EpochMs,
        cells: impl Iterator<Item = (EpochMs, &'a Cells)>,
    ) -> Runner {
        let mut runner = Runner { start, ..Runner::default() };
        cells.for_each(|(pane, cells)| runner.enter(metric, pane, cells));
        runner
    }

    /// True when nothing is read: windows stay empty until something enters.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Start of the newest window.
    pub fn start(&self) -> EpochMs {
        self.start
    }

    /// Goes on to the window that ends with a pane; nothing may enter between the last one
    /// and this.
    pub fn step(&mut self, metric: &Metric, panes: &Panes, pane: EpochMs, start: EpochMs) {
        self.leave(metric, panes, start);
        self.enter_at(metric, panes, pane);
    }

    /// Begins anew with the newest event of a pane that a total begins with.
    pub fn begin(&mut self, panes: &Panes, pane: EpochMs) {
        let cells = panes.on_time(pane).into_iter().flat_map(Cells::values);
        let begins = cells.filter_map(|cell| match cell {
            Cell::Moments(moments) => moments.begins(),
            _ => None,
        });
        if let Some(start) = begins.max() {
            self.groups.clear();
            self.start = start;
        }
    }

    /// Takes in what enters with a pane.
    pub fn enter_at(&mut self, metric: &Metric, panes: &Panes, pane: EpochMs) {
        panes.entering(pane).for_each(|(pane, cells)| self.enter(metric, pane, cells));
    }

    /// Takes in what enters with a pane from `from` on.
    pub fn enter_from(&mut self, metric: &Metric, panes: &Panes, from: EpochMs) {
        let all = panes.among(EpochMs::MIN..EpochMs::MAX, from..EpochMs::MAX);
        all.for_each(|(pane, cells)| self.enter(metric, pane, cells));
    }

    /// The first time that is too late for some window which ends by silence.
    pub fn first_end(&self) -> Option<EpochMs> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Ends the windows whose silence is long enough at a time: the number of each.
    pub fn close(&mut self, metric: &Metric, at: EpochMs) -> Values {
        let mut numbers: BTreeMap<u32, Number> = BTreeMap::new();
        while let Some((end, group)) = self.ends.first().copied()
            && end <= at
        {
            self.ends.pop_first();
            let Some(bursts) = self.groups.get_mut(&group).and_then(Running::bursts_mut) else {
                continue;
            };
            let closed = bursts.close(at);
            match bursts.first_end() {
                Some(end) => drop(self.ends.insert((end, group))),
                None => drop(self.groups.remove(&group)),
            }
            let number = closed.and_then(|cell| metric.spec.aggregate.value(&cell, 1));
            numbers.extend(number.map(|number| (group, number)));
        }
        numbers.into_iter().collect()
    }

    /// The number of the newest window of each group, of those that end by silence.
    pub fn open(&self, metric: &Metric) -> Values {
        let number = |(group, running): (&u32, &Running)| {
            let newest = running.bursts()?.newest()?;
            Some((*group, metric.spec.aggregate.value(newest, 1)?))
        };
        self.groups.iter().filter_map(number).collect()
    }

    /// Takes out what lies before `start`.
    pub fn leave(&mut self, metric: &Metric, panes: &Panes, start: EpochMs) {
        if !metric.grid.runs() && !self.groups.is_empty() {
            let left = panes.among(self.start..start, EpochMs::MIN..EpochMs::MAX);
            left.for_each(|(pane, cells)| self.take_out(pane, cells));
        } else if start != self.start {
            self.groups.clear();
        }
        self.start = start;
    }

    fn enter(&mut self, metric: &Metric, pane: EpochMs, cells: &Cells) {
        for (group, cell) in cells {
            let since = match cell.whole() {
                Cell::Moments(moments) => moments.since(self.start),
                _ => None,
            };
            let cell = match (cell.whole(), &since) {
                (Cell::Moments(_), None) => continue,
                (_, Some(since)) => since,
                (cell, None) => cell,
            };
            let new = || Running::new(metric, cell);
            let running = self.groups.entry(*group).or_insert_with(new);
            running.cells += 1;
            let before = running.bursts().and_then(Bursts::first_end);
            running.enter(metric, pane, cell);
            let after = running.bursts().and_then(Bursts::first_end);
            if before != after {
                before.map(|end| self.ends.remove(&(end, *group)));
                self.ends.extend(after.map(|end| (end, *group)));
            }
        }
    }

    fn take_out(&mut self, pane: EpochMs, cells: &Cells) {
        for (group, cell) in cells {
            let Some(running) = self.groups.get_mut(group) else { continue };
            running.cells -= 1;
            running.leave(pane, cell.whole());
            if running.cells == 0 {
                self.groups.remove(group);
            }
        }
    }

    /// The number of each group in the newest window, `window`, which ends with `pane`.
    /// `scanned` merges a group's cells where that must be done anew.
    pub fn values(
        &self,
        metric: &Metric,
        window: Stretch,
        mut scanned: impl FnMut(u32) -> Cell,
    ) -> Values {
        let size = window.end - window.start;
        let value = |(group, running): (&u32, &Running)| {
            let value = match &running.kind {
                Kind::Whole(cell) => metric.spec.aggregate.value(cell, size),
                Kind::Kept { number, .. } => number.clone(),
                Kind::Newest { values, sketches: 0 } => Some((values.count as f64).into()),
                _ => metric.spec.aggregate.value(&scanned(*group), size),
            };
            Some((*group, value?))
        };
        self.groups.iter().filter_map(value).collect()
    }
}

impl Running {
    fn new(metric: &Metric, cell: &Cell) -> Running {
        let kind = match cell {
            Cell::Bursts(bursts) => Kind::Ends(Arc::new(bursts.none())),
            cell if cell.is_windowed() => {
                Kind::Kept { whole: Arc::new(metric.zero()), number: None }
            }
            _ if metric.grid.runs() => Kind::Whole(metric.spec.aggregate.zero()),
            Cell::Distinct(_) => Kind::Newest { values: Newest::default(), sketches: 0 },
            cell if cell.subtracts() => Kind::Whole(metric.spec.aggregate.zero()),
            _ => Kind::Scan,
        };
        Running { cells: 0, kind }
    }

    fn bursts(&self) -> Option<&Bursts> {
        let Kind::Ends(bursts) = &self.kind else { return None };
        Some(bursts)
    }

    fn bursts_mut(&mut self) -> Option<&mut Bursts> {
        let Kind::Ends(bursts) = &mut self.kind else { return None };
        Some(Arc::make_mut(bursts))
    }

    fn enter(&mut self, metric: &Metric, pane: EpochMs, cell: &Cell) {
        match (&mut self.kind, cell) {
            (Kind::Whole(whole), cell) => whole.merge(cell),
            (Kind::Ends(known), Cell::Bursts(bursts)) => Arc::make_mut(known).merge(bursts),
            (Kind::Kept { whole, number }, cell) => {
                Arc::make_mut(whole).merge(cell);
                *number = metric.spec.aggregate.value(whole, 1);
            }
            (Kind::Newest { values, sketches }, Cell::Distinct(distinct)) => {
                match distinct.exact() {
                    Some(hashes) => values.enter(pane, hashes),
                    None => *sketches += 1,
                }
            }
            _ => {}
        }
    }

    fn leave(&mut self, pane: EpochMs, cell: &Cell) {
        match (&mut self.kind, cell) {
            (Kind::Whole(whole), cell) => whole.subtract(cell),
            (Kind::Newest { values, sketches }, Cell::Distinct(distinct)) => {
                match distinct.exact() {
                    Some(_) => values.leave(pane),
                    None => *sketches -= 1,
                }
            }
            _ => {}
        }
    }
}

/// Different values over panes that leave oldest first: a value is in the window as long as its
/// newest pane is. So a value costs one look-up where its pane enters, and none where it leaves.
#[derive(Clone, Debug, Default)]
struct Newest {
    /// The number of the newest pane of each value; of those that left some are still here.
    values: HashMap<u64, u32, FixedState>,
    /// Start of each pane by its number, and how many values have it as their newest. Those that
    /// left have `LEFT`.
    panes: VecDeque<(EpochMs, u64)>,
    /// Number of the first of `panes`.
    first: u32,
    /// Numbers of the panes that are in the window.
    numbers: BTreeMap<EpochMs, u32>,
    /// Values in the window.
    count: u64,
}

/// In the place of the start of a pane that left.
const LEFT: EpochMs = EpochMs::MIN;

impl Newest {
    fn enter(&mut self, pane: EpochMs, hashes: &[u64]) {
        let next = self.first.wrapping_add(self.panes.len() as u32);
        let number = *self.numbers.entry(pane).or_insert(next);
        if number == next {
            self.panes.push_back((pane, 0));
        }
        let mut came = 0;
        for hash in hashes {
            let newest = self.values.entry(*hash).or_insert(next.wrapping_add(1));
            // It is counted where it was, unless that has left or it is new.
            match self.panes.get_mut(newest.wrapping_sub(self.first) as usize) {
                Some((newest, _)) if *newest >= pane => continue,
                Some((newest, counted)) if *newest != LEFT => {
                    (*counted, self.count) = (*counted - 1, self.count - 1);
                }
                _ => {}
            }
            (*newest, came) = (number, came + 1);
        }
        self.panes[number.wrapping_sub(self.first) as usize].1 += came;
        self.count += came;
    }

    /// Takes out a pane, and with it what has none that is newer. Panes leave in order.
    fn leave(&mut self, pane: EpochMs) {
        let Some(number) = self.numbers.remove(&pane) else { return };
        let left = &mut self.panes[number.wrapping_sub(self.first) as usize];
        self.count -= left.1;
        *left = (LEFT, 0);
        if self.values.len() as u64 > self.count + self.count / 2 + LEFT_MAX {
            let (panes, first) = (&self.panes, self.first);
            let start = |number: u32| panes.get(number.wrapping_sub(first) as usize);
            self.values.retain(|_, newest| start(*newest).is_some_and(|(start, _)| *start != LEFT));
        }
        // A value that still has such a number has none of those that are known.
        while self.panes.front().is_some_and(|(start, _)| *start == LEFT) {
            self.panes.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the union of the sets of the panes that are in the window; some panes enter
        /// twice, behind others that are newer.
        #[test]
        fn a_value_is_in_the_window_as_long_as_one_of_its_panes(
            panes in prop::collection::vec((prop::collection::btree_set(0u64..60, 0..20), 0i64..4), 1..80),
            reach in 1i64..12,
        ) {
            let mut newest = Newest::default();
            let mut held: BTreeMap<EpochMs, BTreeSet<u64>> = BTreeMap::new();
            for (last, (values, behind)) in (0i64..).zip(panes) {
                while let Some((pane, _)) = held.first_key_value().filter(|(p, _)| **p + reach <= last) {
                    newest.leave(*pane);
                    held.pop_first();
                }
                let pane = last - behind.min(reach - 1);
                newest.enter(pane, &values.iter().copied().collect::<Vec<_>>());
                held.entry(pane).or_default().extend(values);
                let plain: BTreeSet<u64> = held.values().flatten().copied().collect();
                prop_assert_eq!(newest.count, plain.len() as u64);
                prop_assert!(newest.panes.len() <= 2 * reach as usize + 4, "{:?}", newest.panes);
            }
        }
    }
}
