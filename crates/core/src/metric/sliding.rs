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
        sliding.take_all(metric, entered.map(|(_, cells)| cells));
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
            self.take_all(metric, late.map(|(_, cells)| cells));
            next = metric.grid.pane(pane, &mut Memo::default()).end;
            for (_, cells) in panes.entering(pane).filter(|(part, _)| *part >= pane) {
                for (group, moments) in moments(cells) {
                    joined += u64::from(moments.are_joined());
                    let queue = self.queues.entry(group).or_insert_with(|| Queue::new(metric));
                    for (at, cell) in moments.facts() {
                        queue.leave(at.saturating_sub(size), metric);
                        queue.push(*at, cell);
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

    /// Takes in moments in whatever order they come.
    fn take_all<'c>(&mut self, metric: &Metric, parts: impl Iterator<Item = &'c Cells>) {
        let mut taken: BTreeMap<u32, Vec<&(EpochMs, Cell)>> = BTreeMap::new();
        for (group, moments) in parts.flat_map(moments) {
            taken.entry(group).or_default().extend(moments.facts());
        }
        for (group, facts) in taken {
            let queue = self.queues.entry(group).or_insert_with(|| Queue::new(metric));
            queue.take_all(facts, metric);
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

    /// Takes in what is newer than all it has.
    fn push(&mut self, at: EpochMs, cell: &Cell) {
        add(&mut self.back, cell);
        self.moments.push_back((at, cell.clone()));
    }

    /// Takes in moments wherever they belong. However many they are, it turns once.
    fn take_all(&mut self, mut facts: Vec<&(EpochMs, Cell)>, metric: &Metric) {
        facts.sort_by_key(|(at, _)| *at);
        let Some((first, _)) = facts.first() else { return };
        let place = self.moments.partition_point(|(at, _)| at <= first);
        let is_old = place < self.front;
        if !is_old {
            facts.iter().for_each(|(_, cell)| add(&mut self.back, cell));
        }
        let mut newer: Vec<_> = self.moments.drain(place..).collect();
        newer.extend(facts.into_iter().cloned());
        newer.sort_by_key(|(at, _)| *at);
        self.moments.extend(newer);
        if is_old {
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
            add(&mut sum, cell);
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
            add(&mut whole, sum);
            summed = *of;
        }
        let apart = self.moments.iter().take(self.front - summed);
        apart.for_each(|(_, cell)| add(&mut whole, cell));
        whole.settle();
        metric.spec.aggregate.value(&whole, size)
    }
}

fn add(sum: &mut Cell, cell: &Cell) {
    #[cfg(test)]
    tests::MERGES.with(|merges| merges.set(merges.get() + 1));
    sum.merge(cell);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Counter;

    use super::super::aggregate::Count;
    use super::super::{Attr, Fact, MetricSpec, Order, WindowSpec};
    use super::*;
    use crate::event::Schema;

    thread_local! {
        pub static MERGES: Counter<usize> = const { Counter::new(0) };
    }

    struct At(EpochMs);

    impl Fact for At {
        fn at(&self) -> EpochMs {
            self.0
        }
        fn event_type(&self) -> u16 {
            0
        }
        fn key(&self) -> &[u8] {
            b""
        }
        fn order(&self) -> Order {
            Order::Event { batch: 0, position: 0, part: 0 }
        }
        fn in_order(&self) -> bool {
            true
        }
        fn attr(&self, _: usize) -> Attr<'_> {
            Attr::Missing
        }
    }

    const SIZE: SpanMs = 60_000;
    const SLIDE: SpanMs = 1_000;

    /// A device that was away sends what it noted meanwhile.
    #[test]
    fn what_comes_late_is_added_up_once_however_much_it_is() {
        let window = WindowSpec::Sliding { size: SIZE, slide: SLIDE, numbers: 1_000 };
        let spec = MetricSpec::new("m", Count, window);
        let metric = Metric::compile(&spec, &Schema::default());
        let (mut panes, mut sliding) = (Panes::default(), Sliding::default());
        let mut all: Vec<EpochMs> = Vec::new();
        let mut add = |panes: &mut Panes, times: Vec<EpochMs>, enters: EpochMs| {
            for at in times {
                let mut cell = metric.open();
                metric.add(&At(at), &mut cell);
                panes.add(at - at % SLIDE, enters.max(at - at % SLIDE), &[(0, cell)]);
                all.push(at);
            }
            all.clone()
        };
        let on_time = |from: i64, to: i64| (from..to).step_by(20).collect::<Vec<EpochMs>>();
        add(&mut panes, on_time(0, 90_000), 0);
        sliding.settle(&metric, &panes, 0..90_000, |_, _, _| {});
        let late: Vec<EpochMs> = on_time(20_001, 89_000).into_iter().rev().collect();
        let num_late = late.len();
        add(&mut panes, late, 90_000);
        let all = add(&mut panes, on_time(90_000, 91_000), 0);
        MERGES.set(0);
        let mut found = Vec::new();
        sliding.settle(&metric, &panes, 90_000..91_000, |at, _, number| {
            found.push((at, number));
        });
        let truth = on_time(90_000, 91_000).into_iter().filter(|at| at + 1 < 91_000).map(|at| {
            let within = all.iter().filter(|one| (at - SIZE + 1..=at).contains(*one)).count();
            (at + 1, Number::from(within as f64))
        });
        assert_eq!(found, truth.collect::<Vec<_>>());
        // Once each, and a few times for each number.
        let (held, merges) = (sliding.len(), MERGES.get());
        assert!(num_late > 3_000 && held > 5_000, "{num_late} {held}");
        assert!(merges < held + num_late + 10 * found.len(), "{merges} merges, {held} moments");
    }
}
