//! What people see of a metric: every window of its history, the empty ones too, and what
//! its numbers are now.

use std::collections::VecDeque;

use super::ahead::Window;
use super::compile::Metric;
use super::engine::Engine;
use super::grid::Memo;
use super::number::{NO_VALUES, Values};
use crate::time::{END_OF_TIME, EpochMs, SpanMs};

/// Windows of one metric at a watermark, final and early.
#[derive(Debug)]
pub struct Shown<'a> {
    metric: &'a Metric,
    history: &'a VecDeque<Window>,
    early: Vec<Window>,
    /// Numbers of windows that have not ended, where those end by silence.
    open: Values,
    /// Start of the pane that runs at the watermark.
    running: EpochMs,
    /// The first time that could have counted.
    began: EpochMs,
    /// Nothing comes any more.
    ended: bool,
}

/// One window on the page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownWindow<'a> {
    /// Start of the pane that it ends with.
    pub pane: EpochMs,
    /// The first time after it.
    pub end: EpochMs,
    /// Group index and number; a group that is not here has [`Aggregate::empty`](super::Aggregate::empty).
    pub values: &'a Values,
}

impl<'a> Shown<'a> {
    /// The windows of a metric at a watermark. `began` is the first time that could have
    /// counted; without it there is nothing to show yet.
    pub fn new(
        engine: &'a Engine,
        index: usize,
        began: Option<EpochMs>,
        watermark: EpochMs,
    ) -> Option<Self> {
        let (metric, state) = (&engine.metrics()[index], engine.state(index));
        let memo = &mut Memo::default();
        // After the end of a replay the newest window that holds something is the newest.
        let ended = watermark >= END_OF_TIME;
        let at = if ended { state.history.back()?.end } else { watermark };
        let running = metric.grid.pane(at, memo).start;
        let newest = engine.last_entry(index).unwrap_or(running).max(running);
        let early = engine.early(index, newest);
        let ends = state.history.front().into_iter().chain(early.first());
        let began = ends.map(|window| window.end - 1).chain(began).min()?;
        let began = metric.grid.pane(began, memo).start;
        let open =
            if metric.grid.is_silence() { state.open(metric, running) } else { Values::default() };
        Some(Shown { metric, history: &state.history, early, open, running, began, ended })
    }

    /// Whole windows: those that end at or before the watermark; the newest `max` within
    /// `keep`, oldest first.
    pub fn whole(&self, keep: SpanMs, max: usize) -> Vec<ShownWindow<'_>> {
        self.before(self.running, keep, max)
    }

    /// All windows that hold anything yet, the running one too.
    pub fn all(&self, keep: SpanMs, max: usize) -> Vec<ShownWindow<'_>> {
        let memo = &mut Memo::default();
        let running = self.metric.grid.pane(self.running, memo).end;
        let newest = self.early.last().map_or(running, |window| window.end.max(running));
        self.before(newest, keep, max)
    }

    fn before(&self, limit: EpochMs, keep: SpanMs, max: usize) -> Vec<ShownWindow<'_>> {
        let memo = &mut Memo::default();
        if self.metric.grid.is_silence() {
            let windows = self.since(limit.saturating_sub(keep).saturating_add(1));
            let windows: Vec<_> = windows.take_while(|window| window.end <= limit).collect();
            let older = windows.len().saturating_sub(max);
            let shown = windows.into_iter().skip(older).map(|window| ShownWindow {
                pane: self.metric.grid.pane(window.end - 1, memo).start,
                end: window.end,
                values: &window.values,
            });
            return shown.collect();
        }
        let mut found = Vec::new();
        let mut end = limit;
        while found.len() < max && end > self.began && end > limit.saturating_sub(keep) {
            let pane = self.metric.grid.pane(end - 1, memo);
            found.push(ShownWindow { pane: pane.start, end, values: NO_VALUES });
            end = pane.start;
        }
        found.reverse();
        let mut windows = self.since(found.first().map_or(limit, |first| first.end)).peekable();
        // A running total stays what it was until midnight.
        let mut total = match (self.metric.grid.runs(), found.first()) {
            (true, Some(first)) => self.until(first.end - 1),
            _ => None,
        };
        for shown in &mut found {
            let mut own = None;
            while let Some(window) = windows.next_if(|window| window.end <= shown.end) {
                own = Some(window);
            }
            if self.metric.grid.runs() {
                total = own
                    .or(total)
                    .filter(|total| total.end > self.metric.grid.window_start(shown.pane, memo));
                own = total;
            }
            shown.values = own.map_or(NO_VALUES, |window| &window.values);
        }
        found
    }

    /// What the numbers are now: those of the newest whole window. A group that the window
    /// which runs has nothing of (events leave it as it moves on) has nothing already, and
    /// a running total of a new day is its own. `None` before the first window was whole.
    pub fn now(&self) -> Option<Values> {
        let memo = &mut Memo::default();
        let grid = &self.metric.grid;
        if let Some(open) = self.open() {
            return Some(open.clone());
        }
        let runs = grid.pane(self.running, memo);
        let whole = self.before(self.running, SpanMs::MAX, 1).pop()?;
        if grid.tumbles() || self.ended {
            return Some(whole.values.clone());
        }
        let same_day = grid.window_start(whole.pane, memo) == grid.window_start(runs.start, memo);
        if grid.runs() && same_day {
            return Some(whole.values.clone());
        }
        let running = self.before(runs.end, SpanMs::MAX, 1).pop()?;
        if grid.runs() {
            return Some(running.values.clone());
        }
        let runs = |group: u32| running.values.get(group).is_some();
        Some(whole.values.iter().filter(|(group, _)| runs(*group)).collect())
    }

    /// The numbers of windows that have not ended, where those end by silence.
    pub fn open(&self) -> Option<&Values> {
        (self.metric.grid.is_silence() && !self.ended).then_some(&self.open)
    }

    /// Windows from an end on.
    fn since(&self, end: EpochMs) -> impl Iterator<Item = &Window> {
        let from = self.history.partition_point(|window| window.end < end);
        let early = self.early.iter().filter(move |window| window.end >= end);
        self.history.range(from..).chain(early)
    }

    /// The newest window up to an end.
    fn until(&self, end: EpochMs) -> Option<&Window> {
        let early = self.early.iter().rev().find(|window| window.end <= end);
        early.or_else(|| {
            let after = self.history.partition_point(|window| window.end <= end);
            after.checked_sub(1).map(|index| &self.history[index])
        })
    }
}
