//! Window after window over the panes of one metric, silence skipped.

use std::collections::BTreeMap;

use super::aggregate::Cell;
use super::compile::Metric;
use super::grid::{Grid, Memo, Stretch};
use super::number::Values;
use super::panes::Panes;
use super::running::Runner;
use crate::time::EpochMs;

/// One window: its end and the number of each group in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// The first time after it.
    pub end: EpochMs,
    /// Group index and number; groups without a number are left out.
    pub values: Values,
}

/// Goes over the windows from one on. Used for final windows and for those that are not.
#[derive(Debug)]
pub struct Ahead<'a> {
    metric: &'a Metric,
    panes: &'a Panes,
    /// The newest window.
    pub runner: Runner,
    /// Start of the pane whose window comes next.
    next: EpochMs,
    memo: Memo,
    core: Option<Core>,
}

/// What several windows in a row all read, merged once: for cells that cannot be taken back.
#[derive(Debug)]
struct Core {
    /// The windows: those that end with panes before this one.
    until: EpochMs,
    /// What they share: the panes from here on ...
    start: EpochMs,
    /// ... that entered up to this pane, ...
    entered: EpochMs,
    /// ... which ends here.
    end: EpochMs,
    cells: BTreeMap<u32, Cell>,
}

impl<'a> Ahead<'a> {
    /// The windows from the one that ends with the pane `next` on, after that of `runner`.
    pub fn new(metric: &'a Metric, panes: &'a Panes, runner: Runner, next: EpochMs) -> Self {
        Ahead { metric, panes, runner, next, memo: Memo::default(), core: None }
    }

    /// The next window that is not empty, if it ends with a pane that starts before `limit`.
    pub fn next_before(&mut self, limit: EpochMs) -> Option<Window> {
        let grid = &self.metric.grid;
        let jumps = grid.tumbles() || grid.takes_in();
        loop {
            if jumps || self.runner.is_empty() {
                // Nothing changes until something enters, or has been silent for long enough.
                let entry = self.panes.next_entry(self.next);
                let ends = self.runner.first_end();
                let ends = ends.map(|end| grid.pane(end - 1, &mut self.memo).start);
                self.next = entry.into_iter().chain(ends).min()?;
            }
            if self.next >= limit {
                return None;
            }
            let before = self.runner.start();
            let window = self.step();
            // A total that begins anew is nothing now, which is said.
            let anew = self.metric.begins() && self.runner.start() != before;
            if anew || !window.values.is_empty() {
                return Some(window);
            }
        }
    }

    fn step(&mut self) -> Window {
        let pane = self.metric.grid.pane(self.next, &mut self.memo);
        self.next = pane.end;
        if self.metric.grid.tumbles() {
            let size = pane.end - pane.start;
            let cells = self.panes.on_time(pane.start).into_iter().flatten();
            let values = cells.filter_map(|(group, cell)| {
                Some((*group, self.metric.spec.aggregate.value(cell, size)?))
            });
            return Window { end: pane.end, values: values.collect() };
        }
        if self.metric.grid.is_silence() {
            self.runner.enter_at(self.metric, self.panes, pane.start);
            return Window { end: pane.end, values: self.runner.close(self.metric, pane.end) };
        }
        let start = self.metric.grid.window_start(pane.start, &mut self.memo);
        if self.metric.begins() {
            self.runner.begin(self.panes, pane.start);
            self.runner.enter_at(self.metric, self.panes, pane.start);
        } else {
            self.runner.step(self.metric, self.panes, pane.start, start);
        }
        let window = Stretch { start, end: pane.end };
        let Ahead { metric, panes, runner, core, memo, .. } = self;
        let scanned = |group| scan(metric, panes, core, memo, group, window, pane.start);
        Window { end: pane.end, values: runner.values(metric, window, scanned) }
    }
}

/// A group's cells in a window that ends with `pane`, merged.
fn scan(
    metric: &Metric,
    panes: &Panes,
    core: &mut Option<Core>,
    memo: &mut Memo,
    group: u32,
    window: Stretch,
    pane: EpochMs,
) -> Cell {
    let merged = |mut whole: Cell, from: std::ops::Range<EpochMs>, enters| {
        let cells = panes.among(from, enters).filter_map(|(_, cells)| cells.get(&group));
        cells.for_each(|cell| whole.merge(cell.whole()));
        whole
    };
    let zero = || metric.spec.aggregate.zero();
    // Parts of a pane begin behind it.
    let (reads, enters) = (window.start..window.end, EpochMs::MIN..pane + 1);
    if core.as_ref().is_none_or(|core| core.until <= pane) {
        *core = next_core(metric, pane, memo);
    }
    let Some(core) = core.as_mut().filter(|core| core.start <= core.entered) else {
        return merged(zero(), reads, enters);
    };
    let whole = core
        .cells
        .entry(group)
        .or_insert_with(|| merged(zero(), core.start..core.end, EpochMs::MIN..core.entered + 1));
    let whole = merged(whole.clone(), window.start..core.start, EpochMs::MIN..core.entered + 1);
    merged(whole, reads, core.entered + 1..pane + 1)
}

/// As many windows share a core as cost no more than the core does: the root of its panes.
fn next_core(metric: &Metric, pane: EpochMs, memo: &mut Memo) -> Option<Core> {
    let Grid::Fixed { pane: len, size } = metric.grid else { return None };
    let until = pane + (size / len).isqrt() * len;
    let start = metric.grid.window_start(until - len, memo);
    Some(Core { until, start, entered: pane, end: pane + len, cells: BTreeMap::new() })
}
