//! The engine's side of one metric: whole panes, final windows, and what is shown before
//! they are final.
//!
//! Cost does not grow with size / slide: where a cell can be subtracted, a window is the
//! previous one plus the pane that entered minus the pane that left; distinct counts keep
//! how many panes hold each value; only least, greatest and sketches are merged anew.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use jiff::tz::TimeZone;

use super::cell::Cell;
use super::compile::Metric;
use super::distinct::Identity;
use super::fold::PaneDelta;
use super::groups::Labels;
use super::spec::{Aggregate, WindowSpec};
use crate::domain::commit::RollupRow;
use crate::domain::time::{EpochMs, SpanMs};

/// Length of a roll-up row.
pub const MINUTE: SpanMs = 60_000;

/// One window: its end and the number of each group in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// The first time after it.
    pub end: EpochMs,
    /// Group index and number; groups without a number are left out.
    pub values: Vec<(u32, f64)>,
}

/// Everything the engine keeps of one metric.
#[derive(Debug)]
pub struct MetricState {
    groups: Vec<Labels>,
    index: HashMap<Labels, u32>,
    panes: BTreeMap<i64, BTreeMap<u32, Cell>>,
    /// First pane that is not final; `None` before the first pass.
    next: Option<i64>,
    running: BTreeMap<u32, Running>,
    minute: Option<(EpochMs, BTreeMap<u32, Cell>)>,
    zone: Option<TimeZone>,
    day: Option<Day>,
    /// Final windows the board keeps, oldest first.
    pub history: VecDeque<Window>,
}

/// A running total since midnight.
#[derive(Clone, Debug, Default)]
pub struct Day {
    /// Midnight it runs from.
    pub start: EpochMs,
    /// The next midnight.
    pub end: EpochMs,
    /// Total of each group.
    pub totals: BTreeMap<u32, Cell>,
}

#[derive(Clone, Debug)]
struct Running {
    panes: i64,
    kind: RunningKind,
}

#[derive(Clone, Debug)]
enum RunningKind {
    Sum(Cell),
    Holders { held: HashMap<u64, u32, BuildHasherDefault<Identity>>, sketches: u32 },
    Scan,
}

impl MetricState {
    /// Nothing seen yet.
    pub fn new(metric: &Metric) -> Self {
        let zone = match &metric.spec.window {
            WindowSpec::SinceMidnight { zone, .. } => {
                Some(TimeZone::get(zone).unwrap_or(TimeZone::UTC))
            }
            _ => None,
        };
        MetricState {
            groups: Vec::new(),
            index: HashMap::new(),
            panes: BTreeMap::new(),
            next: None,
            running: BTreeMap::new(),
            minute: None,
            zone,
            day: None,
            history: VecDeque::new(),
        }
    }

    /// Labels of a group.
    pub fn labels(&self, group: u32) -> &Labels {
        &self.groups[group as usize]
    }

    /// All groups by index.
    pub fn groups(&self) -> &[Labels] {
        &self.groups
    }

    /// First pane that is not final.
    pub fn next(&self) -> Option<i64> {
        self.next
    }

    /// Index of a group, learnt if it is new. Shards bound the groups; the engine takes
    /// at most as many from each of them.
    pub fn group(&mut self, labels: &Labels) -> u32 {
        if let Some(&group) = self.index.get(labels) {
            return group;
        }
        let group = self.groups.len() as u32;
        self.groups.push(labels.clone());
        self.index.insert(labels.clone(), group);
        group
    }

    /// Adds what a shard found. False when the pane is final already: nothing is added.
    pub fn merge(&mut self, delta: PaneDelta) -> bool {
        if self.next.is_some_and(|next| delta.pane < next) {
            return false;
        }
        let group = self.group(&delta.labels);
        let cells = self.panes.entry(delta.pane).or_default();
        match cells.get_mut(&group) {
            Some(cell) => cell.merge(&delta.cell),
            None => {
                cells.insert(group, delta.cell);
            }
        }
        true
    }

    /// Puts back what a snapshot holds; `next` is the first pane that was not final.
    pub fn restore(&mut self, metric: &Metric, next: Option<i64>, day: Option<Day>) {
        self.next = next;
        self.day = day;
        self.running.clear();
        let Some(next) = next else { return };
        if metric.panes > 1 {
            // The newest final window, which ends with `next - 1`; the next step takes its
            // first pane out again.
            let window: Vec<i64> =
                self.panes.range(next - metric.panes..next).map(|(pane, _)| *pane).collect();
            window.into_iter().for_each(|pane| self.enter(pane));
        }
        let minute = minute_of(metric, next * metric.pane);
        let first = metric.pane_of(minute);
        if first < next {
            let mut cells = BTreeMap::new();
            self.panes.range(first..next).for_each(|(_, pane)| merge_all(&mut cells, pane));
            self.minute = (!cells.is_empty()).then_some((minute, cells));
        }
    }

    /// Panes before this one are needed no more, once everything before `next` is final.
    pub fn floor(&self, metric: &Metric) -> i64 {
        let next = self.next.unwrap_or(i64::MIN / 2);
        (next - metric.panes)
            .min(metric.pane_of(minute_of(metric, next.saturating_mul(metric.pane))))
    }

    /// Makes final what the settled time (watermark minus lateness) has passed: hands each
    /// final window to `each` and each full minute to `rollups`.
    pub fn settle(
        &mut self,
        metric: &Metric,
        settled: EpochMs,
        mut each: impl FnMut(&Window, &[Labels]),
        rollups: &mut Vec<RollupRow>,
    ) {
        let limit = metric.pane_of(settled);
        let mut pane = match (self.next, self.panes.first_key_value()) {
            (Some(next), _) => next,
            (None, Some((first, _))) => *first,
            (None, None) => return,
        };
        while pane < limit {
            if self.running.is_empty() {
                // Skip the silence: nothing changes until the next pane with facts.
                match self.panes.range(pane..limit).next() {
                    Some((next, _)) => pane = *next,
                    None => break,
                }
            }
            self.roll_minute(metric, pane, rollups);
            let window = self.advance(metric, pane);
            if !window.values.is_empty() {
                each(&window, &self.groups);
                self.remember(metric, window);
            }
            pane += 1;
        }
        self.next = Some(limit.max(self.next.unwrap_or(limit)));
        self.close_minute(metric, settled, rollups);
        let floor = self.floor(metric);
        while self.panes.first_key_value().is_some_and(|(pane, _)| *pane < floor) {
            self.panes.pop_first();
        }
    }

    /// Windows that are not final yet, up to the pane that holds `until`.
    pub fn provisional(&self, metric: &Metric, until: EpochMs) -> Vec<Window> {
        let Some(last_pane) = self.panes.last_key_value().map(|(pane, _)| *pane) else {
            return Vec::new();
        };
        let next =
            self.next.unwrap_or(i64::MIN).max(self.panes.first_key_value().map_or(0, |p| *p.0));
        let last = metric.pane_of(until).min(last_pane + metric.panes - 1);
        if last < next {
            return Vec::new();
        }
        if self.zone.is_some() {
            return self.provisional_day(metric, next, last);
        }
        if metric.panes == 1 {
            let panes = self.panes.range(next..=last);
            return panes.map(|(pane, cells)| window_of(metric, *pane, cells)).collect();
        }
        let mut ahead = MetricState::new(metric);
        ahead.groups = self.groups.clone();
        // Merging anew costs `panes` cells a window, so only the newest few are made.
        let from = match self.running_sums() {
            true => next,
            false => next.max(last - 1),
        };
        ahead.running = match self.running_sums() {
            true => self.running.clone(),
            false => self.scans(from - metric.panes, from),
        };
        (from..=last)
            .map(|pane| ahead.advance_over(metric, pane, &self.panes))
            .filter(|window| !window.values.is_empty())
            .collect()
    }

    fn running_sums(&self) -> bool {
        self.running.values().all(|running| matches!(running.kind, RunningKind::Sum(_)))
            && self.panes.values().flat_map(BTreeMap::values).next().is_none_or(Cell::subtracts)
    }

    fn scans(&self, after: i64, before: i64) -> BTreeMap<u32, Running> {
        let mut running: BTreeMap<u32, Running> = BTreeMap::new();
        for cells in self.panes.range(after..before).map(|(_, cells)| cells) {
            for group in cells.keys() {
                let zero = || Running { panes: 0, kind: RunningKind::Scan };
                running.entry(*group).or_insert_with(zero).panes += 1;
            }
        }
        running
    }

    fn provisional_day(&self, metric: &Metric, next: i64, last: i64) -> Vec<Window> {
        let mut day = self.day.clone();
        let panes = self.panes.range(next..=last);
        panes
            .map(|(pane, cells)| {
                let mut current = self.turn_day(day.take(), *pane * metric.pane);
                merge_all(&mut current.totals, cells);
                let window = window_of(metric, *pane, &current.totals);
                day = Some(current);
                window
            })
            .collect()
    }

    /// The day that holds `at`: the given one, or a new one from its midnight.
    fn turn_day(&self, day: Option<Day>, at: EpochMs) -> Day {
        match day {
            Some(day) if at < day.end => day,
            _ => {
                let (start, end) = day_around(self.zone.as_ref().unwrap_or(&TimeZone::UTC), at);
                Day { start, end, totals: BTreeMap::new() }
            }
        }
    }

    /// The running day, for a commit.
    pub fn day(&self) -> Option<&Day> {
        self.day.as_ref()
    }

    /// Takes one pane in and returns the window that ends with it.
    fn advance(&mut self, metric: &Metric, pane: i64) -> Window {
        if self.zone.is_some() {
            let mut day = self.day.take();
            day = Some(self.turn_day(day, pane * metric.pane));
            let Some(cells) = self.panes.get(&pane) else {
                self.day = day;
                return Window::default();
            };
            let totals = &mut day.as_mut().expect("set above").totals;
            merge_all(totals, cells);
            let window = window_of(metric, pane, totals);
            self.day = day;
            return window;
        }
        if metric.panes == 1 {
            let cells = self.panes.get(&pane);
            return cells.map_or_else(Window::default, |cells| window_of(metric, pane, cells));
        }
        let panes = std::mem::take(&mut self.panes);
        let window = self.advance_over(metric, pane, &panes);
        self.panes = panes;
        window
    }

    fn advance_over(
        &mut self,
        metric: &Metric,
        pane: i64,
        panes: &BTreeMap<i64, BTreeMap<u32, Cell>>,
    ) -> Window {
        if let Some(cells) = panes.get(&pane) {
            self.enter_cells(cells);
        }
        if let Some(cells) = panes.get(&(pane - metric.panes)) {
            self.leave_cells(cells);
        }
        let values = self.running.iter().filter_map(|(group, running)| {
            let value = running.value(metric, *group, pane, panes)?;
            Some((*group, value))
        });
        Window { end: metric.pane_end(pane), values: values.collect() }
    }

    fn enter(&mut self, pane: i64) {
        let panes = std::mem::take(&mut self.panes);
        if let Some(cells) = panes.get(&pane) {
            self.enter_cells(cells);
        }
        self.panes = panes;
    }

    fn enter_cells(&mut self, cells: &BTreeMap<u32, Cell>) {
        for (group, cell) in cells {
            let running = self.running.entry(*group).or_insert_with(|| Running::new(cell));
            running.panes += 1;
            running.enter(cell);
        }
    }

    fn leave_cells(&mut self, cells: &BTreeMap<u32, Cell>) {
        for (group, cell) in cells {
            let Some(running) = self.running.get_mut(group) else { continue };
            running.panes -= 1;
            running.leave(cell);
            if running.panes == 0 {
                self.running.remove(group);
            }
        }
    }

    fn remember(&mut self, metric: &Metric, window: Window) {
        let oldest = window.end - metric.spec.keep;
        self.history.push_back(window);
        while self.history.front().is_some_and(|first| first.end <= oldest) {
            self.history.pop_front();
        }
    }

    /// Adds a final pane to its minute.
    fn roll_minute(&mut self, metric: &Metric, pane: i64, rollups: &mut Vec<RollupRow>) {
        let Some(cells) = self.panes.get(&pane) else { return };
        let minute = minute_of(metric, pane * metric.pane);
        if self.minute.as_ref().is_some_and(|(current, _)| *current != minute) {
            let (start, cells) = self.minute.take().expect("checked above");
            rollup_rows(metric, start, &cells, &self.groups, rollups);
        }
        let (_, totals) = self.minute.get_or_insert_with(|| (minute, BTreeMap::new()));
        merge_all(totals, cells);
    }

    fn close_minute(&mut self, metric: &Metric, settled: EpochMs, rollups: &mut Vec<RollupRow>) {
        let length = MINUTE.max(metric.pane);
        if self.minute.as_ref().is_some_and(|(start, _)| start + length <= settled) {
            let (start, cells) = self.minute.take().expect("checked above");
            rollup_rows(metric, start, &cells, &self.groups, rollups);
        }
    }
}

impl Running {
    fn new(cell: &Cell) -> Running {
        let kind = match cell {
            Cell::Distinct(_) => RunningKind::Holders { held: HashMap::default(), sketches: 0 },
            cell if cell.subtracts() => {
                let mut zero = cell.clone();
                zero.subtract(cell);
                RunningKind::Sum(zero)
            }
            _ => RunningKind::Scan,
        };
        Running { panes: 0, kind }
    }

    fn enter(&mut self, cell: &Cell) {
        match (&mut self.kind, cell) {
            (RunningKind::Sum(sum), cell) => sum.merge(cell),
            (RunningKind::Holders { held, sketches }, Cell::Distinct(distinct)) => {
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
            (RunningKind::Sum(sum), cell) => sum.subtract(cell),
            (RunningKind::Holders { held, sketches }, Cell::Distinct(distinct)) => {
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

    fn value(
        &self,
        metric: &Metric,
        group: u32,
        pane: i64,
        panes: &BTreeMap<i64, BTreeMap<u32, Cell>>,
    ) -> Option<f64> {
        match &self.kind {
            RunningKind::Sum(sum) => sum.value(metric.spec.aggregate, metric.size),
            RunningKind::Holders { held, sketches: 0 } => Some(held.len() as f64),
            _ => {
                let mut whole = Cell::zero(metric.spec.aggregate);
                let window = panes.range(pane - metric.panes + 1..=pane);
                window
                    .filter_map(|(_, cells)| cells.get(&group))
                    .for_each(|cell| whole.merge(cell));
                whole.value(metric.spec.aggregate, metric.size)
            }
        }
    }
}

fn merge_all(totals: &mut BTreeMap<u32, Cell>, cells: &BTreeMap<u32, Cell>) {
    for (group, cell) in cells {
        match totals.get_mut(group) {
            Some(total) => total.merge(cell),
            None => {
                totals.insert(*group, cell.clone());
            }
        }
    }
}

fn window_of(metric: &Metric, pane: i64, cells: &BTreeMap<u32, Cell>) -> Window {
    let values = cells.iter().filter_map(|(group, cell)| {
        Some((*group, cell.value(metric.spec.aggregate, metric.size)?))
    });
    Window { end: metric.pane_end(pane), values: values.collect() }
}

/// Start of the roll-up row that holds a time: its minute, or its pane when that is longer.
fn minute_of(metric: &Metric, at: EpochMs) -> EpochMs {
    let length = MINUTE.max(metric.pane);
    at.div_euclid(length) * length
}

fn rollup_rows(
    metric: &Metric,
    minute: EpochMs,
    cells: &BTreeMap<u32, Cell>,
    groups: &[Labels],
    rollups: &mut Vec<RollupRow>,
) {
    let size = match metric.spec.aggregate {
        Aggregate::Rate => MINUTE.max(metric.pane),
        _ => metric.size,
    };
    rollups.extend(cells.iter().map(|(group, cell)| RollupRow {
        metric: metric.spec.name.clone(),
        minute,
        group: groups[*group as usize].join("|"),
        count: cell.count(),
        sum: cell.sum(),
        value: cell.value(metric.spec.aggregate, size).unwrap_or(0.0),
    }));
}

/// Midnight before (or at) a time in a zone, and the next one.
pub fn day_around(zone: &TimeZone, at: EpochMs) -> (EpochMs, EpochMs) {
    let whole_days = || {
        (
            at.div_euclid(86_400_000) * 86_400_000,
            at.div_euclid(86_400_000) * 86_400_000 + 86_400_000,
        )
    };
    let Ok(time) = jiff::Timestamp::from_millisecond(at) else { return whole_days() };
    let local = time.to_zoned(zone.clone());
    match (local.start_of_day(), local.tomorrow().and_then(|next| next.start_of_day())) {
        (Ok(start), Ok(end)) => {
            (start.timestamp().as_millisecond(), end.timestamp().as_millisecond())
        }
        _ => whole_days(),
    }
}
