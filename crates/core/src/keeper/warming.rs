//! Metrics that came later than the first event: since when they count, and whether what is shown
//! is of whole windows already.

use super::Keeper;
use crate::metric::grid::{Grid, Memo};
use crate::metric::{Facts, Formula, Metric, begins};
use crate::time::{END_OF_TIME, EpochMs};

/// Since when a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    /// What happened up to here may be missing.
    pub at: EpochMs,
    /// The newest numbers are of a window that began before.
    pub warming: bool,
}

impl Keeper {
    /// Where the first pane begins whose window is whole, as far as that can be said; of a formula
    /// that of all its operands. `None` before the first event.
    pub(super) fn begins(&self, index: usize) -> Option<EpochMs> {
        let metrics = self.engine.metrics();
        begins(metrics, index, &|plain| {
            let (metric, memo) = (&metrics[plain], &mut Memo::default());
            match self.began[plain] {
                Some(began) => Some(whole_from(metric, began, memo)),
                None => Some(metric.grid.pane(self.state.first_at?, memo).start),
            }
        })
    }

    /// True when a formula begins later than the first event: it looks back, or one of its operands
    /// came later.
    fn comes_later(&self, formula: &Formula) -> bool {
        formula.operands().any(|(operand, ago)| {
            let of_operand = &self.engine.metrics()[operand].formula;
            ago.is_some()
                || self.began[operand].is_some()
                || of_operand.as_ref().is_some_and(|formula| self.comes_later(formula))
        })
    }

    /// Since when a metric counts, while anything is shown that began before; `None` for one that
    /// was there from the first event on.
    pub(super) fn since(&self, metric: usize, watermark: EpochMs) -> Option<Since> {
        let index = metric;
        let metric = &self.engine.metrics()[index];
        if let Some(formula) = metric.formula.as_ref().filter(|_| watermark < END_OF_TIME) {
            let at = self.begins(index).filter(|_| self.comes_later(formula))?;
            let running = metric.grid.pane(watermark, &mut Memo::default()).start;
            let shows = running.saturating_sub(metric.spec.keep) <= at;
            return shows.then_some(Since { at, warming: running <= at });
        }
        let began = self.began[index]?;
        if metric.spec.of == Facts::LiveSessions || watermark >= END_OF_TIME {
            return None;
        }
        let memo = &mut Memo::default();
        let running = metric.grid.pane(watermark, memo).start;
        let misses = |end: EpochMs, memo: &mut Memo| {
            metric.grid.window_start(end.saturating_sub(1), memo) <= began
        };
        let oldest = running.saturating_sub(metric.spec.keep);
        let at = misses(oldest, memo).then_some(began)?;
        let warming = match metric.grid {
            // A total since the start is one since the metric came, and whole from there on.
            Grid::Ever { .. } => false,
            Grid::Silence { gap, .. } => running <= began + gap,
            _ => misses(running, memo),
        };
        Some(Since { at, warming })
    }
}

/// Where the first pane begins whose window lies whole behind a time.
pub(super) fn whole_from(metric: &Metric, began: EpochMs, memo: &mut Memo) -> EpochMs {
    let next = metric.grid.pane(began, memo).end;
    match metric.grid {
        // The first that ends more than a window behind it.
        Grid::Fixed { pane, size } => {
            // The first fact of a pane reaches back behind the window that ends with it.
            let size = if metric.slides() { size + pane } else { size };
            ((began - pane + size).div_euclid(pane) + 1) * pane
        }
        Grid::Ever { .. } => next,
        // What was under way then may go on for longer: nobody knows when that began.
        Grid::Silence { gap, .. } => metric.grid.pane(began + gap, memo).end,
        Grid::Days { .. } => metric.grid.day_end(began, memo),
        Grid::Calendar { panes, .. } => {
            (1..panes).fold(next, |start, _| metric.grid.pane(start, memo).end)
        }
    }
}
