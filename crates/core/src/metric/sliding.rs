//! The numbers of sliding windows between the ends of slides: one for each fact.
//!
//! Each group has a queue of the facts in its window, by the moment, which is added up as two stacks
//! (Tangwongsan, Hirzel and Schneider, "Low-Latency Sliding-Window Aggregation in Worst-Case Constant
//! Time", DEBS 2017, who call it folklore): what came since the stacks were turned is added up as it
//! comes; what was there before, from each moment up to the turn. So a moment that leaves is never
//! taken back, and each costs a few merges, however many the window holds. Where states are large,
//! sums stand at some of the moments only, as many as the root of all.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::aggregate::Cell;
use super::compile::Metric;
use super::grid::{Grid, Memo};
use super::moments::Moments;
use super::number::Number;
use super::panes::{Cells, Panes};
use crate::time::{EpochMs, SpanMs};

/// What the windows of all groups of one metric hold.
#[derive(Debug, Default)]
pub struct Sliding {
    queues: BTreeMap<u32, Queue>,
}

/// The moments of a group's window, in order, and what they add up to.
#[derive(Debug)]
struct Queue {
    moments: VecDeque<(EpochMs, Cell)>,
    /// How many of them, the oldest, were there when the stacks were turned.
    front: usize,
    /// Sums of the newest so many of those, fewer first.
    sums: Vec<(usize, Cell)>,
    /// Sum of all that came since.
    back: Cell,
}

impl Sliding {
    /// What was taken in before the pane `next`.
    pub fn resumed(metric: &Metric, panes: &Panes, next: EpochMs) -> Sliding {
        let mut sliding = Sliding::default();
        let entered = panes.among(EpochMs::MIN..EpochMs::MAX, EpochMs::MIN..next);
        entered.for_each(|(_, cells)| sliding.enter(metric, cells));
        sliding
    }

    /// Goes over some panes: hands the number at each fact that came in time for its pane to `each`,
    /// with the first time after it and the group. Returns how many groups and parts of panes had
    /// moments joined.
    pub fn settle(
        &mut self,
        metric: &Metric,
        panes: &Panes,
        over: Range<EpochMs>,
        mut each: impl FnMut(EpochMs, u32, Number),
    ) -> u64 {
        let Grid::Fixed { size, .. } = metric.grid else { return 0 };
        let (mut next, mut joined) = (over.start, 0);
        while let Some(pane) = panes.next_entry(next).filter(|pane| *pane < over.end) {
            let late = panes.entering(pane).filter(|(part, _)| *part < pane);
            late.for_each(|(_, cells)| self.enter(metric, cells));
            next = metric.grid.pane(pane, &mut Memo::default()).end;
            for (_, cells) in panes.entering(pane).filter(|(part, _)| *part >= pane) {
                for (group, moments) in moments(cells) {
                    joined += u64::from(moments.are_joined());
                    let queue = self.queues.entry(group).or_insert_with(|| Queue::new(metric));
                    for (at, cell) in moments.facts() {
                        queue.leave(at.saturating_sub(size), metric);
                        queue.enter(*at, cell, metric);
                        // Where a slide ends a window does.
                        let number = (at + 1 < next).then(|| queue.number(metric, size)).flatten();
                        number.into_iter().for_each(|number| each(at + 1, group, number));
                    }
                }
            }
        }
        if over.start < over.end {
            let left = over.end.saturating_sub(size);
            self.queues.retain(|_, queue| {
                queue.leave(left, metric);
                !queue.moments.is_empty()
            });
        }
        joined
    }

    /// How many moments it holds.
    pub fn len(&self) -> usize {
        self.queues.values().map(|queue| queue.moments.len()).sum()
    }

    fn enter(&mut self, metric: &Metric, cells: &Cells) {
        for (group, moments) in moments(cells) {
            let queue = self.queues.entry(group).or_insert_with(|| Queue::new(metric));
            moments.facts().iter().for_each(|(at, cell)| queue.enter(*at, cell, metric));
        }
    }
}

fn moments(cells: &Cells) -> impl Iterator<Item = (u32, &Moments)> {
    cells.iter().filter_map(|(group, cell)| match cell {
        Cell::Moments(moments) => Some((*group, &**moments)),
        _ => None,
    })
}

impl Queue {
    fn new(metric: &Metric) -> Queue {
        let back = metric.spec.aggregate.zero();
        Queue { moments: VecDeque::new(), front: 0, sums: Vec::new(), back }
    }

    fn enter(&mut self, at: EpochMs, cell: &Cell, metric: &Metric) {
        let place = match self.moments.back() {
            Some((newest, _)) if *newest > at => self.moments.partition_point(|(of, _)| *of <= at),
            _ => self.moments.len(),
        };
        self.moments.insert(place, (at, cell.clone()));
        if place >= self.front {
            self.back.merge(cell);
        } else {
            self.turn(metric);
        }
    }

    /// Leaves out what lies at a time or before.
    fn leave(&mut self, until: EpochMs, metric: &Metric) {
        while self.moments.front().is_some_and(|(at, _)| *at <= until) {
            if self.front == 0 {
                self.turn(metric);
            }
            self.moments.pop_front();
            self.front -= 1;
        }
        while self.sums.last().is_some_and(|(of, _)| *of > self.front) {
            self.sums.pop();
        }
    }

    /// Adds up anew, from each moment on.
    fn turn(&mut self, metric: &Metric) {
        let small = metric.spec.aggregate.bytes_max() == 0;
        let apart = if small { 1 } else { self.moments.len().isqrt() };
        self.sums.clear();
        let mut sum = metric.spec.aggregate.zero();
        for (of, (_, cell)) in (1..).zip(self.moments.iter().rev()) {
            sum.merge(cell);
            if of % apart == 0 {
                self.sums.push((of, sum.clone()));
            }
        }
        (self.front, self.back) = (self.moments.len(), metric.spec.aggregate.zero());
    }

    fn number(&self, metric: &Metric, size: SpanMs) -> Option<Number> {
        let mut whole = self.back.clone();
        let mut summed = 0;
        if let Some((of, sum)) = self.sums.last() {
            whole.merge(sum);
            summed = *of;
        }
        let apart = self.moments.iter().take(self.front - summed);
        apart.for_each(|(_, cell)| whole.merge(cell));
        whole.settle();
        metric.spec.aggregate.value(&whole, size)
    }
}
