//! All metrics together: what the shards found in, final windows out.

mod formed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::aggregate::Cell;
use super::ahead::Window;
use super::compile::Metric;
use super::fold::{Flushed, PaneDelta};
use super::formula::{self, Formula};
use super::groups::{Candidate, Decision, OVERFLOW, Silence};
use super::late::LateCounts;
use super::number::Number;
use super::place::Place;
use super::rollup::RollupRow;
use super::window::MetricState;
use crate::number::FarSum;
use crate::time::{EpochMs, SpanMs};

/// One final number.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Index of the metric.
    pub metric: u16,
    /// End of its window.
    pub end: EpochMs,
    /// Its group.
    pub group: u32,
    /// The number.
    pub value: Number,
}

/// What all final windows of a metric amount to, for a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricTotals {
    /// Final windows that held anything, counted for each group.
    pub windows: u64,
    /// The greatest number and the end of its first window; of scalars.
    pub max: Option<(f64, EpochMs)>,
    /// Sum of all numbers; of scalars.
    pub sum: FarSum,
    /// The newest number and the end of its window.
    pub last: Option<(EpochMs, Number)>,
}

/// Sum of the numbers of each group over all final windows, for a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupTotals {
    /// By group.
    pub sums: BTreeMap<u32, FarSum>,
    /// The groups whose sums changed since the last commit.
    pub changed: BTreeSet<u32>,
}

/// What came into the panes of one metric at a barrier: by place, the groups in order.
pub type Absorbed = BTreeMap<Place, Vec<(u32, Cell)>>;

/// What the shards met of one metric in one period.
#[derive(Default)]
struct Met {
    candidates: Vec<Candidate>,
    /// Shard, and index in its `Flushed::groups`.
    groups: Vec<(usize, usize)>,
}

/// All metrics of a pipeline.
#[derive(Debug)]
pub struct Engine {
    metrics: Arc<Vec<Metric>>,
    states: Vec<MetricState>,
    silences: Vec<Silence>,
    lateness: SpanMs,
    /// The metrics that are computed of others, each behind those.
    formulas: Vec<usize>,
    /// Those that others are computed of, by metric.
    operands: Vec<bool>,
    /// Where the first pane begins that counts, by metric, as far as formulas ask for that: the
    /// keeper says it. `EpochMs::MAX` before.
    pub begins: Vec<EpochMs>,
    /// Totals by metric; kept up only when [`Engine::reports`] says so.
    pub totals: Vec<MetricTotals>,
    /// Totals by metric and group, likewise.
    pub group_totals: Vec<GroupTotals>,
    /// Add up all final numbers: only a report shows that, and commits grow by it.
    pub reports: bool,
    /// Facts that came too late for something, by metric.
    pub late: Vec<LateCounts>,
    /// Facts whose group is not kept, by metric.
    pub overflow: Vec<u64>,
    /// Groups and slides in which facts had a number together, by metric with sliding windows.
    pub joined: Vec<u64>,
}

impl Engine {
    /// Metrics that have seen nothing.
    pub fn new(metrics: Arc<Vec<Metric>>, lateness: SpanMs) -> Self {
        let states = metrics.iter().map(|_| MetricState::default()).collect();
        let specs: Vec<_> = metrics.iter().map(|metric| metric.spec.clone()).collect();
        let mut operands = vec![false; metrics.len()];
        let formulas = metrics.iter().filter_map(|metric| metric.formula.as_ref());
        formulas.flat_map(Formula::operands).for_each(|(operand, _)| operands[operand] = true);
        Engine {
            formulas: formula::order(&specs),
            operands,
            begins: vec![EpochMs::MAX; metrics.len()],
            states,
            silences: metrics.iter().map(|metric| metric.silence(lateness)).collect(),
            lateness,
            totals: vec![MetricTotals::default(); metrics.len()],
            group_totals: vec![GroupTotals::default(); metrics.len()],
            reports: false,
            late: vec![LateCounts::default(); metrics.len()],
            overflow: vec![0; metrics.len()],
            joined: vec![0; metrics.len()],
            metrics,
        }
    }

    /// The metrics.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The state of one metric.
    pub fn state(&self, metric: usize) -> &MetricState {
        &self.states[metric]
    }

    /// The state of one metric, to restore it.
    pub fn state_mut(&mut self, metric: usize) -> &mut MetricState {
        &mut self.states[metric]
    }

    /// How much later than its end a window is final.
    pub fn lateness(&self) -> SpanMs {
        self.lateness
    }

    /// What a watermark settles: everything that ends at or before this time.
    pub fn settled(&self, watermark: EpochMs) -> EpochMs {
        watermark - self.lateness
    }

    /// The groups that a metric keeps in this period, once no further ones will be kept in it and
    /// unless that is `known`.
    pub fn decision(&self, metric: usize, known: Option<&Decision>) -> Option<Decision> {
        if self.metrics[metric].formula.is_some() {
            // No shard counts for it.
            return None;
        }
        let limit = self.metrics[metric].spec.group_limit;
        self.states[metric].groups.decision(limit, known)
    }

    /// Takes in what all shards found up to a barrier: decides on the groups, then adds each
    /// cell to its group or to the overflow. Returns what came of it, by metric; the same
    /// for any number of shards.
    pub fn absorb(&mut self, mut shards: Vec<Flushed>) -> BTreeMap<usize, Absorbed> {
        let numbers = self.number_groups(&mut shards);
        let mut absorbed: BTreeMap<usize, Absorbed> = BTreeMap::new();
        for (Flushed { panes, places, .. }, numbers) in shards.into_iter().zip(numbers) {
            // Places are far fewer than cells: each is looked up once.
            let mut sizes = vec![0; places.len()];
            panes.iter().for_each(|pane| sizes[pane.place as usize] += 1);
            let mut by_place: Vec<Vec<(u32, Cell)>> =
                sizes.into_iter().map(Vec::with_capacity).collect();
            for PaneDelta { place, group, facts, cell } in panes {
                let group = numbers.get(group as usize).copied().unwrap_or(OVERFLOW);
                if group == OVERFLOW {
                    self.overflow[usize::from(places[place as usize].0)] += facts;
                }
                by_place[place as usize].push((group, cell));
            }
            for ((metric, place), mut cells) in places.into_iter().zip(by_place) {
                let absorbed = absorbed.entry(usize::from(metric)).or_default();
                let known = absorbed.entry(place).or_default();
                if known.is_empty() {
                    std::mem::swap(known, &mut cells);
                } else {
                    known.append(&mut cells);
                }
                // Those of two shards are two runs; several groups may be in the overflow.
                known.sort_by_key(|(group, _)| *group);
                known.dedup_by(|(group, cell), (before, whole)| {
                    let same = group == before;
                    if same {
                        whole.merge(cell);
                    }
                    same
                });
            }
        }
        for (metric, cells) in &mut absorbed {
            let (state, late) = (&mut self.states[*metric], &mut self.late[*metric]);
            cells.retain(|place, cells| {
                let taken = state.merge(place, cells);
                if !taken {
                    // Only a bug could bring this here; said rather than lost.
                    let facts = cells.iter().map(|(_, cell)| cell.count()).sum();
                    late.add(&LateCounts { some: facts, all: facts, minute: 0 });
                }
                taken
            });
        }
        absorbed
    }

    /// Decides on the groups, period after period: who is silent leaves, who came first is
    /// admitted. Returns the number of each group of each shard.
    fn number_groups(&mut self, shards: &mut [Flushed]) -> Vec<Vec<u32>> {
        let mut periods: BTreeMap<(usize, EpochMs), Met> = BTreeMap::new();
        for (shard, flushed) in shards.iter_mut().enumerate() {
            for candidate in flushed.candidates.drain(..) {
                let key = (usize::from(candidate.metric), candidate.period);
                periods.entry(key).or_default().candidates.push(candidate);
            }
            for (at, (metric, period, _)) in flushed.groups.iter().enumerate() {
                let key = (usize::from(*metric), *period);
                periods.entry(key).or_default().groups.push((shard, at));
            }
        }
        let newest: Vec<Vec<EpochMs>> = shards.iter().map(Flushed::newest_by_group).collect();
        let mut numbers: Vec<Vec<u32>> =
            shards.iter().map(|shard| vec![OVERFLOW; shard.groups.len()]).collect();
        for ((metric, period), met) in periods {
            let silence = self.silences[metric];
            let groups = &mut self.states[metric].groups;
            groups.turn(period, silence);
            groups.admit(met.candidates, self.metrics[metric].spec.group_limit);
            for (shard, at) in met.groups {
                let number = groups.number(&shards[shard].groups[at].2);
                numbers[shard][at] = number;
                // What is ahead of its watermark is there, too.
                groups.see(number, silence.period(newest[shard][at]).max(period));
            }
        }
        numbers
    }

    /// Makes final what a watermark has settled; appends the numbers of the metrics that
    /// `all` asks for, in order of metric and time. Of those that `hold` asks for no window is
    /// forgotten before [`Engine::trim`]. `max_at`: time of the newest event.
    pub fn settle(
        &mut self,
        watermark: EpochMs,
        max_at: Option<EpochMs>,
        all: impl Fn(&Metric) -> bool,
        hold: impl Fn(&Metric) -> bool,
        points: &mut Vec<Point>,
        rollups: &mut Vec<RollupRow>,
    ) {
        let settled = self.settled(watermark);
        let metrics = Arc::clone(&self.metrics);
        let (first_point, first_row) = (points.len(), rollups.len());
        let plain = (0..metrics.len()).filter(|index| metrics[*index].formula.is_none());
        for index in plain.chain(self.formulas.clone()) {
            let metric = &metrics[index];
            let formed = metric.formula.as_ref().map(|formula| {
                rollups.extend(formula.rollups(metric, &metrics, &rollups[first_row..]));
                self.form(index, formula, watermark, max_at)
            });
            let hold = self.operands[index] || hold(metric);
            let (totals, all) = (&mut self.totals[index], all(metric));
            let (reports, grouped) = (self.reports, !metric.spec.group_by.is_empty());
            let groups = &mut self.group_totals[index];
            let first_of_metric = points.len();
            if metric.slides() && (reports || all) {
                self.joined[index] +=
                    self.states[index].between(metric, settled, |end, group, value| {
                        totals.reach(end, &value);
                        if all {
                            points.push(Point { metric: index as u16, end, group, value });
                        }
                    });
            }
            let each = |window: &Window| {
                for (group, value) in window.values.iter().filter(|_| reports) {
                    if let (Some(value), true) = (value.scalar(), grouped) {
                        groups.sums.entry(group).or_default().add(value);
                        groups.changed.insert(group);
                    }
                    totals.add(window.end, value);
                }
                if all {
                    let point = |(group, value)| Point {
                        metric: index as u16,
                        end: window.end,
                        group,
                        value,
                    };
                    points.extend(window.values.iter().map(point));
                }
            };
            match formed {
                None => self.states[index].settle(metric, settled, hold, each, rollups),
                Some(windows) => self.states[index].take(metric, settled, hold, windows, each),
            }
            if metric.slides() {
                points[first_of_metric..].sort_by_key(|point| point.end);
            }
        }
        if !self.formulas.is_empty() {
            points[first_point..].sort_by_key(|point| point.metric);
        }
    }

    /// Forgets windows that were held, and groups that left long ago: once the rules have judged what a
    /// watermark settled, for one barrier may settle all that a group ever had.
    pub fn trim(&mut self, watermark: EpochMs, hold: impl Fn(&Metric) -> bool) {
        let states = self.metrics.iter().zip(&mut self.states).zip(&self.operands);
        let held = states.filter(|((metric, _), operand)| **operand || hold(metric));
        held.for_each(|((metric, state), _)| state.trim(metric));
        let settled = self.settled(watermark);
        (0..self.states.len()).for_each(|index| self.forget_groups(index, settled));
    }
}

impl Engine {
    /// Forgets groups that have left and that no window and no minute speaks of any more. A report
    /// has sums of them: there the last ones stay, and the others are in the overflow.
    fn forget_groups(&mut self, index: usize, settled: EpochMs) {
        let (metric, state) = (&self.metrics[index], &mut self.states[index]);
        let window = &metric.spec.window;
        let reach = self.silences[index].span() + 2 * (window.longest() + window.step());
        let shown = state.history.front().map_or(EpochMs::MAX, |window| window.end);
        let over = |(group, seen): (u32, EpochMs)| {
            (seen.saturating_add(reach) < settled.min(shown)).then_some(group)
        };
        let mut over: Vec<u32> = state.groups.gone().filter_map(over).collect();
        if self.reports {
            over.truncate(over.len().saturating_sub(REPORTED_MAX));
        }
        let GroupTotals { sums, changed } = &mut self.group_totals[index];
        for group in over {
            state.groups.forget(group);
            changed.remove(&group);
            if let Some(sum) = sums.remove(&group) {
                sums.entry(OVERFLOW).or_default().add(sum.value());
                changed.insert(OVERFLOW);
            }
        }
    }
}

/// Groups that have left and stand in a report by name.
const REPORTED_MAX: usize = 10_000;

impl MetricTotals {
    fn add(&mut self, end: EpochMs, value: Number) {
        self.windows += 1;
        value.scalar().into_iter().for_each(|value| self.sum.add(value));
        self.reach(end, &value);
        self.last = Some((end, value));
    }

    fn reach(&mut self, end: EpochMs, value: &Number) {
        // Numbers do not come in order of time: of the greatest it is the first.
        if let Some(value) = value.scalar()
            && self.max.is_none_or(|(max, at)| value > max || value == max && end < at)
        {
            self.max = Some((value, end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Schema;
    use crate::metric::aggregate::{Aggregate, Count, Distinct, Sum};
    use crate::metric::{Attr, Fact, Facts, Fold, MetricSpec, Order, WindowSpec};
    use crate::number::Decimal;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    struct Sample {
        at: EpochMs,
        user: u64,
        amount: i64,
        key: [u8; 8],
    }

    fn sample(at: EpochMs, user: u64, amount: i64) -> Sample {
        Sample { at, user, amount, key: (user + 1).to_le_bytes() }
    }

    impl Fact for Sample {
        fn at(&self) -> EpochMs {
            self.at
        }
        fn event_type(&self) -> u16 {
            0
        }
        fn key(&self) -> &[u8] {
            &self.key
        }
        fn order(&self) -> Order {
            Order::Event { batch: 0, position: self.at as u64, part: 0 }
        }
        fn in_order(&self) -> bool {
            true
        }
        fn attr(&self, slot: usize) -> Attr<'_> {
            match slot {
                0 => Attr::Number(Decimal::from_i64(self.amount)),
                _ => Attr::Number(Decimal::from_u64(self.user % 3)),
            }
        }
    }

    fn spec(aggregate: Aggregate, window: WindowSpec, group: bool) -> MetricSpec {
        MetricSpec {
            group_by: if group { vec!["class".into()] } else { vec![] },
            field: match aggregate {
                Aggregate::Distinct(_) => None,
                _ => Some("amount".into()),
            },
            ..MetricSpec::new("m", aggregate, window)
        }
    }

    fn schema() -> Schema {
        Schema {
            slots: vec!["amount".into(), "class".into()],
            event_types: vec![],
            seed: 0,
            ..Schema::default()
        }
    }

    type Numbers = BTreeMap<(EpochMs, String), String>;

    /// Two shards, random flushes, stamps as an ingestor makes them.
    fn run(
        metric: &Metric,
        samples: &[Sample],
        flushes: &[bool],
        lateness: i64,
    ) -> (Numbers, Engine) {
        let metrics = Arc::new(vec![metric.clone()]);
        let mut folds =
            [Fold::new(Arc::clone(&metrics), lateness), Fold::new(Arc::clone(&metrics), lateness)];
        let mut engine = Engine::new(metrics, lateness);
        let (mut points, mut rollups) = (Vec::new(), Vec::new());
        let mut watermark = crate::time::BEGINNING;
        for (index, sample) in samples.iter().enumerate() {
            folds[sample.user as usize % 2].add(Facts::Events, sample, watermark);
            watermark = watermark.max(sample.at);
            if flushes[index % flushes.len()] {
                engine.absorb(folds.iter_mut().map(Fold::flush).collect());
                engine.settle(watermark, None, |_| true, |_| false, &mut points, &mut rollups);
            }
        }
        engine.absorb(folds.iter_mut().map(Fold::flush).collect());
        engine.settle(
            crate::time::END_OF_TIME,
            None,
            |_| true,
            |_| false,
            &mut points,
            &mut rollups,
        );
        let numbers = points
            .into_iter()
            .map(|p| {
                (
                    (p.end, engine.state(0).groups.text(p.group)),
                    format!("{:.6}", p.value.scalar().unwrap()),
                )
            })
            .collect();
        (numbers, engine)
    }

    fn samples(lateness: i64) -> impl Strategy<Value = Vec<Sample>> {
        let one = (0i64..5_000, 1u64..40, 0i64..50, 0..=lateness);
        prop::collection::vec(one, 1..120).prop_map(|mut all| {
            all.sort_by_key(|(at, _, _, delay)| at + delay);
            all.into_iter().map(|(at, user, amount, _)| sample(at, user, amount)).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_shown_early_becomes_final_when_nothing_else_comes(
            samples in samples(0),
            hopping: bool,
            distinct: bool,
        ) {
            let window = if hopping { WindowSpec::Hopping { size: 1_000, slide: 100 } } else { WindowSpec::Tumbling { size: 250 } };
            let aggregate =
                if distinct { Distinct { exact_up_to: 9 }.into() } else { Count.into() };
            let metric = Metric::compile(&spec(aggregate, window, false), &schema());
            let metrics = Arc::new(vec![metric.clone()]);
            let mut fold = Fold::new(Arc::clone(&metrics), 500);
            let mut engine = Engine::new(metrics, 500);
            let last = samples.last().unwrap().at;
            samples.iter().for_each(|s| fold.add(Facts::Events, s, s.at));
            engine.absorb(vec![fold.flush()]);
            let (mut points, mut rollups) = (Vec::new(), Vec::new());
            engine.settle(last, None, |_| true, |_| false, &mut points, &mut rollups);
            let early = engine.state(0).early(&metric, last - last.rem_euclid(50));
            points.clear();
            engine.settle(crate::time::END_OF_TIME, None, |_| true, |_| false, &mut points, &mut rollups);
            for window in early {
                let end = window.end;
                let last = points.iter().find(|p| p.end == end).unwrap();
                let early = window.values.iter().next().map(|(_, number)| number);
                prop_assert_eq!(early.as_ref(), Some(&last.value));
            }
        }
    }

    #[test]
    fn a_running_total_starts_again_at_midnight_of_its_zone() {
        let window = WindowSpec::SinceMidnight { zone: "Europe/Berlin".into(), slide: 1_000 };
        let metric = Metric::compile(&spec(Sum.into(), window, false), &schema());
        // 2025-03-29T22:30Z is 23:30 in Berlin; the next day is a day of 23 hours.
        let base = 1_743_287_400_000;
        let sample = |minutes: i64| sample(base + minutes * 60_000, 2, 10);
        let all = [sample(0), sample(10), sample(40), sample(22 * 60), sample(24 * 60)];
        let (numbers, _) = run(&metric, &all, &[true], 1_000);
        let values: Vec<_> = numbers.values().map(String::as_str).collect();
        assert_eq!(values, ["10.000000", "20.000000", "10.000000", "20.000000", "10.000000"]);
    }

    #[test]
    fn groups_beyond_the_limit_go_to_other() {
        let mut spec = spec(Count.into(), WindowSpec::Tumbling { size: 1_000 }, true);
        spec.group_limit = 2;
        let metric = Metric::compile(&spec, &schema());
        let all: Vec<_> = (0..30).map(|n| sample(n, 2 * n as u64, 1)).collect();
        let (numbers, _) = run(&metric, &all, &[false], 1_000);
        let groups: Vec<_> = numbers.into_iter().map(|((_, label), n)| (label, n)).collect();
        let got: Vec<_> = groups.iter().map(|(l, n)| (l.as_str(), n.as_str())).collect();
        assert_eq!(got, [("0", "10.000000"), ("2", "10.000000"), ("other", "10.000000")]);
    }
}
