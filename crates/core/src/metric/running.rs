//! A window on its way over the panes: the window before it, plus what enters, minus what
//! leaves.
//!
//! Cost does not grow with size / slide where a cell can be taken back; distinct counts
//! keep how many panes hold each value; only least, greatest and sketches are merged anew.
//! A running total since midnight only grows, and begins again at midnight.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use super::cell::Cell;
use super::compile::Metric;
use super::distinct::Identity;
use super::grid::Stretch;
use super::panes::{Cells, Panes};
use crate::domain::time::EpochMs;

/// The window that ended last, as far as the next one needs it.
#[derive(Clone, Debug)]
pub struct Runner {
    groups: BTreeMap<u32, Running>,
    /// Start of that window: panes before it have left.
    start: EpochMs,
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
    /// How many panes hold each value.
    Holders { held: HashMap<u64, u32, BuildHasherDefault<Identity>>, sketches: u32 },
    /// Merged anew for each window.
    Scan,
}

impl Default for Runner {
    fn default() -> Self {
        Runner { groups: BTreeMap::new(), start: EpochMs::MIN }
    }
}

impl Runner {
    /// The window that starts at `start` and read these cells.
    pub fn resumed<'a>(
        metric: &Metric,
        start: EpochMs,
        cells: impl Iterator<Item = &'a Cells>,
    ) -> Runner {
        let mut runner = Runner { groups: BTreeMap::new(), start };
        cells.for_each(|cells| runner.enter(metric, cells));
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
        panes.entering(pane).for_each(|cells| self.enter(metric, cells));
    }

    /// Takes out what lies before `start`.
    pub fn leave(&mut self, metric: &Metric, panes: &Panes, start: EpochMs) {
        match metric.grid.runs_from_midnight() {
            true if start != self.start => self.groups.clear(),
            true => {}
            false if self.groups.is_empty() => {}
            false => panes
                .among(self.start..start, EpochMs::MIN..EpochMs::MAX)
                .for_each(|cells| self.take_out(cells)),
        }
        self.start = start;
    }

    fn enter(&mut self, metric: &Metric, cells: &Cells) {
        for (group, cell) in cells {
            let new = || Running::new(metric, cell);
            let running = self.groups.entry(*group).or_insert_with(new);
            running.cells += 1;
            running.enter(cell);
        }
    }

    fn take_out(&mut self, cells: &Cells) {
        for (group, cell) in cells {
            let Some(running) = self.groups.get_mut(group) else { continue };
            running.cells -= 1;
            running.leave(cell);
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
    ) -> Vec<(u32, f64)> {
        let size = window.end - window.start;
        let value = |(group, running): (&u32, &Running)| {
            let value = match &running.kind {
                Kind::Whole(cell) => cell.value(metric.spec.aggregate, size),
                Kind::Holders { held, sketches: 0 } => Some(held.len() as f64),
                _ => scanned(*group).value(metric.spec.aggregate, size),
            };
            Some((*group, value?))
        };
        self.groups.iter().filter_map(value).collect()
    }
}

impl Running {
    fn new(metric: &Metric, cell: &Cell) -> Running {
        let kind = match cell {
            _ if metric.grid.runs_from_midnight() => Kind::Whole(Cell::zero(metric.spec.aggregate)),
            Cell::Distinct(_) => Kind::Holders { held: HashMap::default(), sketches: 0 },
            cell if cell.subtracts() => Kind::Whole(Cell::zero(metric.spec.aggregate)),
            _ => Kind::Scan,
        };
        Running { cells: 0, kind }
    }

    fn enter(&mut self, cell: &Cell) {
        match (&mut self.kind, cell) {
            (Kind::Whole(whole), cell) => whole.merge(cell),
            (Kind::Holders { held, sketches }, Cell::Distinct(distinct)) => {
                match distinct.exact() {
                    Some(set) => set.iter().for_each(|hash| *held.entry(*hash).or_default() += 1),
                    None => *sketches += 1,
                }
            }
            _ => {}
        }
    }

    fn leave(&mut self, cell: &Cell) {
        match (&mut self.kind, cell) {
            (Kind::Whole(whole), cell) => whole.subtract(cell),
            (Kind::Holders { held, sketches }, Cell::Distinct(distinct)) => {
                let Some(set) = distinct.exact() else {
                    *sketches -= 1;
                    return;
                };
                for hash in set {
                    if let Some(count) = held.get_mut(hash) {
                        *count -= 1;
                        if *count == 0 {
                            held.remove(hash);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}
