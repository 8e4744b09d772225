//! What the engine holds of the stretches of one metric that a window may still read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::aggregate::Cell;
use crate::time::EpochMs;

/// Cells by group.
pub type Cells = BTreeMap<u32, Cell>;

/// Cells by pane, and apart from them those that came after the first windows of their
/// pane were final.
///
/// Every cell has a pane `p` and the pane `e` with whose window it enters; the window that
/// ends with pane `w` and starts at `s` reads the cells with `p >= s` and `e <= w`.
#[derive(Clone, Debug, Default)]
pub struct Panes {
    /// By pane, which is also where they enter.
    on_time: BTreeMap<EpochMs, Cells>,
    /// By pane and where they enter.
    late: BTreeMap<(EpochMs, EpochMs), Cells>,
    /// Keys of `late`, turned round.
    entering: BTreeSet<(EpochMs, EpochMs)>,
}

impl Panes {
    /// Merges cells in: of groups in order, each there once.
    pub fn add(&mut self, pane: EpochMs, enters: EpochMs, cells: &[(u32, Cell)]) {
        let known = if pane == enters {
            self.on_time.entry(pane).or_default()
        } else {
            self.entering.insert((enters, pane));
            self.late.entry((pane, enters)).or_default()
        };
        merge_into(known, cells);
    }

    /// The first pane from `pane` on with which something enters.
    pub fn next_entry(&self, pane: EpochMs) -> Option<EpochMs> {
        let on_time = self.on_time.range(pane..).next().map(|(pane, _)| *pane);
        let late = self.entering.range((pane, EpochMs::MIN)..).next().map(|(enters, _)| *enters);
        match (on_time, late) {
            (Some(on_time), Some(late)) => Some(on_time.min(late)),
            (one, other) => one.or(other),
        }
    }

    /// The last pane with which something enters.
    pub fn last_entry(&self) -> Option<EpochMs> {
        let on_time = self.on_time.last_key_value().map(|(pane, _)| *pane);
        on_time.max(self.entering.last().map(|(enters, _)| *enters))
    }

    /// What came in time for a pane.
    pub fn on_time(&self, pane: EpochMs) -> Option<&Cells> {
        self.on_time.get(&pane)
    }

    /// What enters with a pane, and the pane that it lies in.
    pub fn entering(&self, pane: EpochMs) -> impl Iterator<Item = (EpochMs, &Cells)> {
        let late = self.entering.range((pane, EpochMs::MIN)..=(pane, EpochMs::MAX));
        let late =
            late.filter_map(|(enters, pane)| Some((*pane, self.late.get(&(*pane, *enters))?)));
        self.on_time.get(&pane).map(|cells| (pane, cells)).into_iter().chain(late)
    }

    /// The cells of some panes that enter with some others, and the pane that each lies in.
    pub fn among(
        &self,
        panes: Range<EpochMs>,
        enters: Range<EpochMs>,
    ) -> impl Iterator<Item = (EpochMs, &Cells)> {
        let empty = panes.start >= panes.end;
        let panes = if empty { 0..0 } else { panes };
        // Those in time enter with their own pane.
        let own = panes.start.max(enters.start)..panes.end.min(enters.end);
        let own = if own.start >= own.end { 0..0 } else { own };
        let late = self.late.range((panes.start, EpochMs::MIN)..(panes.end, EpochMs::MIN));
        let late = late.filter(move |((_, enter), _)| enters.contains(enter));
        let own = self.on_time.range(own).map(|(pane, cells)| (*pane, cells));
        own.chain(late.map(|((pane, _), cells)| (*pane, cells)))
    }

    /// Forgets what no window reads any more.
    pub fn forget(&mut self, floor: Floor) {
        let on_time = floor.pane.max(floor.enters);
        while self.on_time.first_key_value().is_some_and(|(pane, _)| *pane < on_time) {
            self.on_time.pop_first();
        }
        while let Some((key, _)) = self.late.first_key_value()
            && key.0 < floor.pane
        {
            self.entering.remove(&(key.1, key.0));
            self.late.pop_first();
        }
        while let Some((enters, pane)) = self.entering.first().copied()
            && enters < floor.enters
        {
            self.late.remove(&(pane, enters));
            self.entering.pop_first();
        }
    }

    /// True when [`Panes::forget`] would forget something.
    pub fn any_before(&self, floor: Floor) -> bool {
        let on_time = self.on_time.first_key_value().map(|(pane, _)| *pane);
        on_time.is_some_and(|pane| pane < floor.pane.max(floor.enters))
            || self.late.first_key_value().is_some_and(|((pane, _), _)| *pane < floor.pane)
            || self.entering.first().is_some_and(|(enters, _)| *enters < floor.enters)
    }
}

/// What is read no more: cells of panes before `pane`, and cells that entered with a pane
/// before `enters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Start of a pane.
    pub pane: EpochMs,
    /// Start of a pane.
    pub enters: EpochMs,
}

/// Merges cells into those of their groups.
pub fn merge_into(known: &mut Cells, cells: &[(u32, Cell)]) {
    if known.is_empty() {
        // In order already, so that the tree is built at once.
        *known = cells.iter().cloned().collect();
        return;
    }
    for (group, cell) in cells {
        match known.get_mut(group) {
            Some(whole) => whole.merge(cell),
            None => {
                known.insert(*group, cell.clone());
            }
        }
    }
}
