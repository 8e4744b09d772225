//! The engine's side of one metric: panes, final windows and minutes, and what is shown
//! before they are final.
//!
//! Settled is what lies more than the allowed lateness behind the watermark. A window is
//! final once its end is settled, a roll-up minute likewise, each at its own time.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use super::aggregate::Cell;
use super::ahead::{Ahead, Window};
use super::compile::Metric;
use super::grid::{MINUTE, Memo};
use super::groups::KeptGroups;
use super::number::{Number, Values};
use super::panes::{Cells, Floor, Panes, merge_into};
use super::place::Place;
use super::rollup::RollupRow;
use super::running::Runner;
use super::sliding::Sliding;
use crate::time::EpochMs;

/// Everything the engine keeps of one metric.
#[derive(Debug)]
pub struct MetricState {
    /// Which groups are kept, and how.
    pub groups: KeptGroups,
    panes: Panes,
    /// Open roll-up minutes by their start.
    minutes: BTreeMap<EpochMs, Cells>,
    /// Start of the first pane whose window is not final; `None` before the first pass.
    next: Option<EpochMs>,
    /// The newest final window.
    runner: Runner,
    memo: Memo,
    /// Of sliding windows, where somebody asks for the numbers between their ends.
    sliding: Option<Sliding>,
    /// Windows that end here or before were forgotten.
    forgotten: EpochMs,
    /// Something was dropped since the last time that was asked.
    dropped: bool,
    /// Final windows the board keeps that are not empty, oldest first.
    pub history: VecDeque<Window>,
}

impl Default for MetricState {
    fn default() -> Self {
        MetricState {
            groups: KeptGroups::default(),
            panes: Panes::default(),
            minutes: BTreeMap::new(),
            next: None,
            runner: Runner::default(),
            memo: Memo::default(),
            sliding: None,
            forgotten: EpochMs::MIN,
            dropped: false,
            history: VecDeque::new(),
        }
    }
}

/// A running total since midnight.
#[derive(Clone, Debug, Default)]
pub struct Day {
    /// Midnight it runs from.
    pub start: EpochMs,
    /// Total of each group.
    pub totals: BTreeMap<u32, Cell>,
}

impl MetricState {
    /// Start of the first pane whose window is not final.
    pub fn next(&self) -> Option<EpochMs> {
        self.next
    }

    /// True when nothing of a place is final, as the fold found it: a bug if not.
    pub fn takes(&self, place: &Place) -> bool {
        match (place.enters, self.next) {
            (Some(enters), Some(next)) => enters >= next,
            _ => true,
        }
    }

    /// Adds to groups, which are in order and each there once. False when the window is final
    /// already: nothing is added.
    pub fn merge(&mut self, place: &Place, cells: &[(u32, Cell)]) -> bool {
        if !self.takes(place) {
            return false;
        }
        let windowed = cells.first().is_some_and(|(_, cell)| cell.is_windowed());
        if let Some(enters) = place.enters {
            self.panes.add(place.pane, enters, &each(cells, windowed, Cell::of_window));
        }
        if let Some(minute) = place.minute {
            let known = self.minutes.entry(minute).or_default();
            merge_into(known, &each(cells, windowed, Cell::of_minute));
            if windowed {
                known.retain(|_, cell| cell.count() > 0);
            }
        }
        true
    }

    /// Puts back what a snapshot holds that was made when everything before `settled` was.
    pub fn restore(&mut self, metric: &Metric, settled: EpochMs, day: Option<Day>) {
        let next = metric.grid.pane(settled, &mut self.memo).start;
        self.next = Some(next);
        let newest = self.history.back().map(|window| window.end);
        self.forgotten = newest.map_or(EpochMs::MIN, |end| end.saturating_sub(metric.spec.keep));
        self.runner = match day {
            Some(day) => {
                let total = std::iter::once((day.start, &day.totals));
                Runner::resumed(metric, day.start, total)
            }
            None if metric.grid.tumbles() || metric.grid.takes_in() => Runner::default(),
            None => {
                let start = self.floor(metric).pane;
                let read = self.panes.among(EpochMs::MIN..EpochMs::MAX, EpochMs::MIN..next);
                Runner::resumed(metric, start, read)
            }
        };
        self.runner.close(metric, next);
    }

    /// What is needed no more, once everything before `next` is final: what left the
    /// windows, or what a running total has taken in.
    pub fn floor(&self, metric: &Metric) -> Floor {
        let next = self.next.unwrap_or(EpochMs::MIN / 2);
        let (tumbles, runs) = (metric.grid.tumbles(), metric.grid.takes_in());
        let pane = match (tumbles, runs) {
            (true, _) if !metric.slides() => next,
            (_, true) => EpochMs::MIN,
            // The first fact of a pane reaches back as far as the window that ended with it.
            _ if metric.slides() => metric.grid.window_start(next - 1, &mut self.memo.clone()),
            _ => metric.grid.window_start(next, &mut self.memo.clone()),
        };
        Floor { pane, enters: if runs { next } else { EpochMs::MIN } }
    }

    /// The first minute that is not final.
    pub fn minute_floor(&self) -> EpochMs {
        self.minutes.first_key_value().map_or(EpochMs::MAX, |(minute, _)| *minute)
    }

    /// True when panes or minutes were dropped since this was asked last.
    pub fn take_dropped(&mut self) -> bool {
        std::mem::take(&mut self.dropped)
    }

    /// Forgets final windows that are older than the metric keeps.
    pub fn trim(&mut self, metric: &Metric) {
        trim(&mut self.history, &mut self.forgotten, metric);
    }

    /// Windows that end here or before may be forgotten.
    pub fn forgotten(&self) -> EpochMs {
        self.forgotten
    }

    /// Takes final windows that were computed of those of other metrics: all that end up to what
    /// is settled.
    pub fn take(
        &mut self,
        metric: &Metric,
        settled: EpochMs,
        hold: bool,
        windows: Vec<Window>,
        mut each: impl FnMut(&Window),
    ) {
        for mut window in windows {
            each(&window);
            window.values.shrink();
            self.history.push_back(window);
            if !hold {
                self.trim(metric);
            }
        }
        let limit = metric.grid.pane(settled, &mut self.memo).start;
        self.next = Some(self.next.map_or(limit, |next| limit.max(next)));
    }

    /// Makes final what is settled: hands each final window that is not empty to `each`,
    /// and each minute to `rollups`. With `hold` no window is forgotten before
    /// [`MetricState::trim`].
    pub fn settle(
        &mut self,
        metric: &Metric,
        settled: EpochMs,
        hold: bool,
        mut each: impl FnMut(&Window),
        rollups: &mut Vec<RollupRow>,
    ) {
        self.settle_minutes(metric, settled, rollups);
        let limit = metric.grid.pane(settled, &mut self.memo).start;
        let next = self.next.unwrap_or(EpochMs::MIN);
        let runner = std::mem::take(&mut self.runner);
        let mut windows = Ahead::new(metric, &self.panes, runner, next);
        while let Some(mut window) = windows.next_before(limit) {
            each(&window);
            window.values.shrink();
            self.history.push_back(window);
            if !hold {
                trim(&mut self.history, &mut self.forgotten, metric);
            }
        }
        self.runner = windows.runner;
        self.next = Some(limit.max(next));
        let floor = self.floor(metric);
        if !metric.grid.tumbles() && !metric.grid.takes_in() {
            self.runner.leave(metric, &self.panes, floor.pane);
        }
        self.dropped |= self.panes.any_before(floor);
        self.panes.forget(floor);
    }

    /// Of sliding windows: hands the number at each fact of what is settled to `each`, with the first
    /// time after it and the group, but for those at ends of slides, where a window is. Before
    /// [`MetricState::settle`]. Returns how many groups and slides had more facts than numbers.
    pub fn between(
        &mut self,
        metric: &Metric,
        settled: EpochMs,
        each: impl FnMut(EpochMs, u32, Number),
    ) -> u64 {
        let limit = metric.grid.pane(settled, &mut self.memo).start;
        let next = self.next.unwrap_or(EpochMs::MIN);
        let panes = &self.panes;
        let sliding = self.sliding.get_or_insert_with(|| Sliding::resumed(metric, panes, next));
        sliding.settle(metric, panes, next..limit, each)
    }

    /// How many moments are held for those numbers.
    pub fn num_moments(&self) -> usize {
        self.sliding.as_ref().map_or(0, Sliding::len)
    }

    fn settle_minutes(&mut self, metric: &Metric, settled: EpochMs, rollups: &mut Vec<RollupRow>) {
        while self.minutes.first_key_value().is_some_and(|(start, _)| start + MINUTE <= settled) {
            let (start, cells) = self.minutes.pop_first().expect("looked at above");
            rollup_rows(metric, start, &cells, &self.groups, rollups);
            self.dropped = true;
        }
    }

    /// Start of the last pane with which something enters that is not final.
    pub fn last_entry(&self) -> Option<EpochMs> {
        self.panes.last_entry()
    }

    /// Windows that are not final yet and not empty, up to the one that ends with the pane
    /// that starts at `last`.
    pub fn early(&self, metric: &Metric, last: EpochMs) -> Vec<Window> {
        let next = self.next.unwrap_or(EpochMs::MIN);
        let mut windows = Ahead::new(metric, &self.panes, self.runner.clone(), next);
        std::iter::from_fn(|| windows.next_before(last.saturating_add(1))).collect()
    }

    /// Of windows that end by silence: what the newest one of each group comes to that has not ended
    /// before the pane that starts at `running`, whatever is final.
    pub fn open(&self, metric: &Metric, running: EpochMs) -> Values {
        let next = self.next.unwrap_or(EpochMs::MIN);
        let mut windows = Ahead::new(metric, &self.panes, self.runner.clone(), next);
        while windows.next_before(running).is_some() {}
        let mut runner = windows.runner;
        runner.enter_from(metric, &self.panes, running.max(next));
        runner.open(metric)
    }

    /// Of a running total: the midnight it runs from, and the first pane it has not taken in.
    pub fn run(&self, metric: &Metric) -> Option<(EpochMs, EpochMs)> {
        let entered = self.next.unwrap_or(EpochMs::MIN);
        metric.grid.takes_in().then_some((self.runner.start(), entered))
    }
}

/// What of each cell is asked for, where that is not all of it.
fn each(
    cells: &[(u32, Cell)],
    windowed: bool,
    part: impl Fn(&Cell) -> Cow<'_, Cell>,
) -> Cow<'_, [(u32, Cell)]> {
    if !windowed {
        return Cow::Borrowed(cells);
    }
    cells.iter().map(|(group, cell)| (*group, part(cell).into_owned())).collect()
}

fn trim(history: &mut VecDeque<Window>, forgotten: &mut EpochMs, metric: &Metric) {
    let newest = history.back().map_or(EpochMs::MIN, |window| window.end);
    let oldest = newest.saturating_sub(metric.spec.keep);
    // A total stays what it was until there is another number: the last one before goes on.
    let spare = usize::from(metric.grid.runs());
    while history.get(spare).is_some_and(|one| one.end <= oldest)
        && let Some(first) = history.pop_front()
    {
        *forgotten = first.end;
    }
}

fn rollup_rows(
    metric: &Metric,
    minute: EpochMs,
    cells: &Cells,
    groups: &KeptGroups,
    rollups: &mut Vec<RollupRow>,
) {
    rollups.extend(cells.iter().map(|(group, cell)| RollupRow {
        metric: metric.spec.name.clone(),
        minute,
        group: groups.text(*group),
        count: cell.count(),
        sum: cell.sum(),
        value: metric.spec.aggregate.value(cell, MINUTE).unwrap_or(Number::Scalar(0.0)),
    }));
}
