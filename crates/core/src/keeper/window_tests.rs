//! The law of windows: whatever the order of events, the number of shards, the places of
//! the commits and of the crashes, every number is what the definition says when it is
//! computed again from all events:
//!
//! an event counts in a window (or a roll-up minute) that holds its time, if the watermark
//! at its own place in the log had not passed the end of it by the allowed lateness.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::anomaly::Side;
use crate::board::TopicState;
use crate::commit::Snapshot;
use crate::event::Schema;
use crate::incident::{Says, Signal};
use crate::metric::RollupRow;
use crate::metric::aggregate::{Count, Needs, TopK};
use crate::metric::grid::{Memo, Stretch, minute};
use crate::metric::groups::group_text;
use crate::metric::{
    Aggregate, Attr, CalendarSpan, Cell, Condition, Fact, Facts, Fold, MetricSpec, Number, Order,
    Test, Weekday, WindowSpec,
};
use crate::number::Decimal;
use crate::session::SessionPolicy;
use crate::time::{END_OF_TIME, SpanMs};

pub(super) const LATENESS: SpanMs = 30_000;

/// Midnights in Berlin before and after its clocks change, and one in Kathmandu.
const MIDNIGHTS: [EpochMs; 4] =
    [1_743_289_200_000, 1_743_372_000_000, 1_761_429_600_000, 1_699_899_300_000];

#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub at: EpochMs,
    pub user: u64,
    pub amount: i64,
    pub stamp: EpochMs,
    pub position: u64,
}

const KEYS: [&str; 13] = ["", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

impl Sample {
    /// A total since such an event begins anew.
    fn begins(&self) -> bool {
        self.user > 10
    }
}

impl Fact for Sample {
    fn at(&self) -> EpochMs {
        self.at
    }
    fn event_type(&self) -> u16 {
        if self.begins() { 0 } else { Schema::OTHER_TYPE }
    }
    fn key(&self) -> &[u8] {
        KEYS[self.user as usize].as_bytes()
    }
    fn order(&self) -> Order {
        Order::Event { batch: 0, position: self.position, part: 0 }
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

pub(super) fn schema() -> Schema {
    Schema {
        slots: vec!["amount".into(), "class".into()],
        event_types: vec!["begin".into()],
        seed: 0,
        ..Schema::default()
    }
}

fn metric(aggregate: Aggregate, window: WindowSpec, grouped: bool) -> Metric {
    let spec = MetricSpec {
        numerator: vec![Condition {
            attribute: "amount".into(),
            test: Test::Gt(Decimal::from_i64(0)),
        }],
        group_by: if grouped { vec!["class".into()] } else { vec![] },
        field: match aggregate.needs() {
            Needs::Amount | Needs::Number => Some("amount".into()),
            _ => None,
        },
        keep: 40 * window.step(),
        ..MetricSpec::new("m", aggregate, window)
    };
    Metric::compile(&spec, &schema())
}

pub(super) fn time() -> TimePolicy {
    TimePolicy { allowed_lateness: LATENESS, ..TimePolicy::default() }
}

pub(super) fn keeper(metrics: &Arc<Vec<Metric>>) -> Keeper {
    let rules = Rules::compile(&SessionPolicy::default(), &time(), &schema());
    let mut keeper = Keeper::new(Arc::clone(metrics), Vec::new(), Arc::new(rules), &time());
    keeper.list_points = true;
    keeper
}

/// Every window of the metric that holds a time.
fn windows_of(metric: &Metric, at: EpochMs) -> Vec<Stretch> {
    let memo = &mut Memo::default();
    let mut found = Vec::new();
    let mut pane = metric.grid.pane(at, memo);
    loop {
        let window = metric.grid.window(pane.start, memo);
        // Totals since the start have no last window: as many as the samples of a test may reach.
        let endless = metric.spec.window.is_endless();
        if window.start > at || endless && window.end > at + 40 * metric.spec.window.step() {
            return found;
        }
        found.push(window);
        pane = metric.grid.pane(pane.end, memo);
    }
}

fn on_time(end: EpochMs, sample: &Sample) -> bool {
    end + LATENESS > sample.stamp
}

fn label(metric: &Metric, sample: &Sample) -> String {
    if metric.spec.group_by.is_empty() { String::new() } else { (sample.user % 3).to_string() }
}

pub(super) type Key = (EpochMs, String);

fn said(number: &Number) -> String {
    number.scalar().map_or_else(|| number.to_text(), |number| format!("{number:.6}"))
}

/// All numbers of some windows, computed again.
fn again(
    metric: &Metric,
    samples: &[Sample],
    of: impl Fn(&Sample) -> Vec<Stretch>,
    only: impl Fn(EpochMs, Vec<&Sample>) -> Vec<&Sample>,
) -> BTreeMap<Key, (Cell, SpanMs)> {
    let mut held: BTreeMap<Key, (Vec<&Sample>, SpanMs)> = BTreeMap::new();
    for sample in samples {
        for window in of(sample).into_iter().filter(|window| on_time(window.end, sample)) {
            let key = (window.end, label(metric, sample));
            let none = || (Vec::new(), window.end.saturating_sub(window.start));
            held.entry(key).or_insert_with(none).0.push(sample);
        }
    }
    let cell = |(key, (samples, size)): (Key, _)| {
        let samples = only(key.0, samples);
        (!samples.is_empty()).then(|| (key, (cell_of(metric, samples), size)))
    };
    held.into_iter().filter_map(cell).collect()
}

/// Those of the samples of a group before the end of a window that count in it.
fn only<'a>(
    metric: &Metric,
    samples: &[Sample],
    end: EpochMs,
    mut held: Vec<&'a Sample>,
) -> Vec<&'a Sample> {
    if metric.begins() {
        let begins = begins(metric, samples).filter(|at| *at < end).max();
        held.retain(|sample| begins.is_none_or(|begins| begins <= sample.at));
    }
    if let WindowSpec::Last { num, .. } = metric.spec.window {
        held.sort_by_key(|sample| (sample.at, sample.position));
        held.drain(..held.len().saturating_sub(num));
    }
    held
}

/// The events that a total began anew with: those that came before their pane was final.
fn begins(metric: &Metric, samples: &[Sample]) -> impl Iterator<Item = EpochMs> {
    let in_time = |sample: &&Sample| {
        sample.begins() && on_time(metric.grid.pane(sample.at, &mut Memo::default()).end, sample)
    };
    samples.iter().filter(in_time).map(|sample| sample.at)
}

/// The numbers of sliding windows between the ends of slides, computed again: one at each moment that
/// has facts which came in time for their pane, over all that had come in by then.
fn between(metric: &Metric, samples: &[Sample]) -> BTreeMap<Key, Cell> {
    let WindowSpec::Sliding { size, numbers, .. } = metric.spec.window else {
        return BTreeMap::new();
    };
    let (memo, mut parts) = (&mut Memo::default(), BTreeMap::new());
    for sample in samples {
        let (pane, part) = (metric.grid.pane(sample.at, memo), metric.grid.part(sample.at, memo));
        let mut enters = pane.start;
        if pane.end <= sample.stamp - LATENESS {
            enters = metric.grid.pane(sample.stamp - LATENESS, memo).start;
            if metric.grid.window_start(enters, memo) > part.start {
                continue;
            }
        }
        let key = (label(metric, sample), part.start, enters);
        parts.entry(key).or_insert(Vec::new()).push((sample, pane));
    }
    // The time that each counts at: where there are too many in a part, the newest of a power of 2.
    let mut taken = Vec::new();
    for ((label, _, enters), samples) in parts {
        let moments = |bits: u32| -> BTreeMap<i64, EpochMs> {
            let ordered: BTreeSet<EpochMs> = samples.iter().map(|(sample, _)| sample.at).collect();
            ordered.into_iter().map(|at| (at >> bits, at)).collect()
        };
        let bits = (0..).find(|bits| moments(*bits).len() <= numbers).unwrap();
        let newest = moments(bits);
        for (sample, pane) in samples {
            taken.push((label.clone(), enters, newest[&(sample.at >> bits)], pane, sample));
        }
    }
    let mut cells = BTreeMap::new();
    for (label, enters, at, pane, _) in &taken {
        if *enters != pane.start || at + 1 == pane.end {
            continue;
        }
        let held = taken.iter().filter(|(of, entered, other, ..)| {
            of == label && entered <= enters && at - size < *other && other <= at
        });
        let held = held.map(|(.., sample)| *sample).collect();
        cells.insert((at + 1, label.clone()), cell_of(metric, held));
    }
    cells
}

/// One window that ends by silence.
#[derive(Default)]
struct Held<'a> {
    last: EpochMs,
    samples: Vec<&'a Sample>,
}

/// The windows that end by silence, by the ends of the panes in which they do, and how many samples
/// came when a window of their own was final. A sample joins what is not final and no further off
/// than the gap.
fn silent(metric: &Metric, samples: &[Sample], gap: SpanMs) -> (BTreeMap<Key, Cell>, u64) {
    let end = |last: EpochMs| metric.grid.pane(last + gap, &mut Memo::default()).end;
    let mut windows: BTreeMap<String, Vec<Held<'_>>> = BTreeMap::new();
    let mut late = 0;
    for sample in samples {
        if !on_time(end(sample.at), sample) {
            late += 1;
            continue;
        }
        let group = windows.entry(label(metric, sample)).or_default();
        let mut joined = Held { last: sample.at, samples: vec![sample] };
        for held in std::mem::take(group) {
            let first = held.samples.iter().map(|sample| sample.at).min().unwrap();
            let near = first - gap <= sample.at && sample.at <= held.last + gap;
            if near && on_time(end(held.last), sample) {
                joined.last = joined.last.max(held.last);
                joined.samples.extend(held.samples);
            } else {
                group.push(held);
            }
        }
        group.push(joined);
    }
    let mut cells = BTreeMap::new();
    for (label, held) in windows
        .into_iter()
        .flat_map(|(label, all)| all.into_iter().map(move |held| (label.clone(), held)))
    {
        let former = cells.insert((end(held.last), label), cell_of(metric, held.samples));
        assert_eq!(former, None, "two windows of a group end in one pane");
    }
    (cells, late)
}

fn cell_of(metric: &Metric, samples: Vec<&Sample>) -> Cell {
    let mut cell = metric.spec.aggregate.zero();
    samples.into_iter().for_each(|sample| metric.add(sample, &mut cell));
    cell.settle();
    cell
}

/// The number of each window and group, computed again.
pub(super) fn exact(metric: &Metric, samples: &[Sample]) -> BTreeMap<Key, Number> {
    if let WindowSpec::Burst { gap, .. } = metric.spec.window {
        let number = |(key, cell)| Some((key, metric.spec.aggregate.value(&cell, 1)?));
        return silent(metric, samples, gap).0.into_iter().filter_map(number).collect();
    }
    let size = metric.spec.window.longest();
    let between = between(metric, samples).into_iter().map(|(key, cell)| (key, (cell, size)));
    again(
        metric,
        samples,
        |sample| windows_of(metric, sample.at),
        |end, held| only(metric, samples, end, held),
    )
    .into_iter()
    .chain(between)
    .filter_map(|(key, (cell, size))| Some((key, metric.spec.aggregate.value(&cell, size)?)))
    .collect()
}

fn numbers(metric: &Metric, samples: &[Sample]) -> BTreeMap<Key, String> {
    exact(metric, samples).into_iter().map(|(key, number)| (key, said(&number))).collect()
}

/// Those that leave the process: a running total does when something is new in it.
pub(super) fn final_numbers(metric: &Metric, samples: &[Sample]) -> BTreeMap<Key, String> {
    let mut numbers = numbers(metric, samples);
    if metric.grid.runs() {
        let new = |sample: &Sample| {
            let mut windows = windows_of(metric, sample.at).into_iter();
            windows.find(|window| on_time(window.end, sample)).map(|window| window.end)
        };
        let new: BTreeSet<EpochMs> = samples.iter().filter_map(new).collect();
        numbers.retain(|(end, _), _| new.contains(end));
    }
    numbers
}

fn minutes(metric: &Metric, samples: &[Sample]) -> BTreeMap<Key, (u64, String)> {
    again(metric, samples, |sample| vec![minute(sample.at)], |_, held| held)
        .into_iter()
        .map(|((end, label), (cell, _))| {
            ((end - 60_000, label), (cell.count(), format!("{:.6}", cell.sum())))
        })
        .collect()
}

fn late(metric: &Metric, samples: &[Sample]) -> LateCounts {
    let mut counts = LateCounts::default();
    if let WindowSpec::Burst { gap, .. } = metric.spec.window {
        let (_, late) = silent(metric, samples, gap);
        let minute = |sample: &&Sample| !on_time(minute(sample.at).end, sample);
        let minute = samples.iter().filter(minute).count() as u64;
        return LateCounts { some: late, all: late, minute };
    }
    for sample in samples {
        let windows = windows_of(metric, sample.at);
        let taken = windows.iter().filter(|window| on_time(window.end, sample)).count();
        counts.some += u64::from(taken < windows.len());
        counts.all += u64::from(taken == 0);
        let begins = metric.begins() && sample.begins();
        let missed =
            begins && !on_time(metric.grid.pane(sample.at, &mut Memo::default()).end, sample);
        counts.some += u64::from(missed);
        counts.all += u64::from(missed);
        counts.minute += u64::from(!on_time(minute(sample.at).end, sample));
    }
    counts
}

/// A run with crashes: what left it, and how it stood at the end.
struct Run {
    numbers: BTreeMap<Key, String>,
    minutes: BTreeMap<Key, (u64, String)>,
    keeper: Keeper,
}

fn run(metric: &Metric, samples: &[Sample], shards: usize, barriers: &[(bool, u8)]) -> Run {
    let metrics = Arc::new(vec![metric.clone()]);
    let (mut numbers, mut minutes) = (BTreeMap::new(), BTreeMap::new());
    let keeper = lives(&metrics, samples, shards, barriers, |live, unit, read| {
        for point in &live.points {
            let key = (point.end, live.engine.state(0).groups.text(point.group));
            let former = numbers.insert(key, said(&point.value));
            assert_eq!(former, None, "a window became final twice");
        }
        for RollupRow { minute, group, count, sum, .. } in &unit.rollups {
            let row = (*count, format!("{sum:.6}"));
            let former = minutes.insert((*minute, group.clone()), row);
            assert_eq!(former, None, "a minute was written twice");
        }
        if let Some(read) = read {
            board_shows_the_definition(metric, live, read, unit.watermark);
        }
    });
    Run { numbers, minutes, keeper }
}

/// A keeper that took all samples. `barriers` says after which of them there is one, and whether the
/// process dies after it, or just before it and reads again what it had read since the last. `each`
/// sees each commit, with the samples that were read by then where there are more to come.
pub(super) fn lives(
    metrics: &Arc<Vec<Metric>>,
    samples: &[Sample],
    shards: usize,
    barriers: &[(bool, u8)],
    mut each: impl FnMut(&Keeper, &CommitUnit, Option<&[Sample]>),
) -> Keeper {
    let folds = || vec![Fold::new(Arc::clone(metrics), LATENESS); shards];
    let (mut folds_now, mut live, mut snapshot) = (folds(), keeper(metrics), Snapshot::default());
    let (mut committed, mut committed_at) = (0, BEGINNING);
    let (mut index, mut died) = (0, BTreeSet::new());
    let last = samples.len();
    while index <= last {
        if let Some(sample) = samples.get(index) {
            let shard = sample.user as usize % shards;
            folds_now[shard].add(Facts::Events, sample, sample.stamp);
        }
        let (barrier, crash) = barriers[index % barriers.len()];
        let at_end = index == last;
        index += 1;
        if !barrier && !at_end {
            continue;
        }
        if crash == 1 && died.insert(index) && !at_end {
            // Everything since the last commit is lost and read again.
            (live, folds_now, index) = (keeper(metrics), folds(), committed);
            live.restore(&mut snapshot.clone(), committed_at).unwrap();
            continue;
        }
        let watermark = match samples.get(index) {
            _ if at_end => END_OF_TIME,
            Some(next) => next.stamp,
            None => samples[last - 1].stamp,
        };
        let deltas = folds_now.iter_mut().map(|fold| ShardDelta {
            facts: fold.flush(),
            late_facts: fold.take_late(),
            ..ShardDelta::default()
        });
        let first_at = Some(samples[0].at);
        let barrier = Barrier { watermark, first_at, max_at: first_at, ..Barrier::default() };
        let unit = live.merge(barrier, deltas.collect());
        unit.delta.iter().for_each(|section| snapshot.absorb(section).unwrap());
        (committed, committed_at) = (index, watermark);
        each(&live, &unit, (!at_end).then(|| &samples[..index.min(last)]));
        if crash == 2 {
            let cut: Vec<_> = snapshot.encode(100);
            snapshot = Snapshot::default();
            cut.iter().for_each(|section| snapshot.absorb(section).unwrap());
            (live, folds_now) = (keeper(metrics), folds());
            live.restore(&mut snapshot.clone(), committed_at).unwrap();
        }
    }
    live
}

/// Every point on the board, and the strip, are what the definition says of the events that
/// were read so far.
fn board_shows_the_definition(
    metric: &Metric,
    keeper: &Keeper,
    samples: &[Sample],
    watermark: EpochMs,
) {
    let topics = keeper.topics(watermark, &PipelineView::default());
    let expected = numbers(metric, samples);
    let known = |end: EpochMs, label: &str| {
        let number = expected.get(&(end, label.to_owned())).cloned();
        number.or(metric.empty().map(|zero| said(&zero)))
    };
    let groups: Vec<String> =
        keeper.engine.state(0).groups.present().map(|(_, labels)| group_text(labels)).collect();
    let memo = &mut Memo::default();
    let running = metric.grid.pane(watermark, memo);
    // The end of the window whose number a group has now.
    let now = |label: &str| {
        let starts = |at| metric.grid.window_start(at, &mut Memo::default());
        if metric.grid.is_silence() {
            let open = expected.keys().filter(|(end, of)| of == label && *end > running.start);
            return open.map(|(end, _)| *end).max().unwrap_or(EpochMs::MIN);
        }
        let runs_empty = !expected.contains_key(&(running.end, label.to_owned()));
        match (metric.grid.runs(), metric.grid.tumbles()) {
            (true, _) if starts(running.start - 1) != starts(running.start) => running.end,
            (false, false) if runs_empty => running.end,
            _ => running.start,
        }
    };
    match &topics["m"].state {
        TopicState::Map(numbers) => {
            assert!(!metric.spec.aggregate.shape().is_scalar());
            for (name, number) in numbers {
                let label = if metric.is_grouped() { name } else { "" };
                let wanted = known(now(label), label).unwrap_or("null".into());
                let wanted: serde_json::Value = serde_json::from_str(&wanted).unwrap();
                assert_eq!(*number, wanted, "{name} at {watermark}");
            }
            assert!(numbers.is_empty() || numbers.len() == groups.len().max(1), "{numbers:?}");
        }
        TopicState::Series(series) => {
            for (index, (end, values)) in series.points.iter().enumerate() {
                let shown: Vec<_> = values.iter().map(|v| v.map(|v| format!("{v:.6}"))).collect();
                let labels = if groups.is_empty() { &[String::new()][..] } else { &groups };
                let wanted: Vec<_> = labels.iter().map(|label| known(*end, label)).collect();
                assert_eq!(shown, wanted, "window that ends at {end}, watermark {watermark}");
                if index > 0 && !metric.grid.is_silence() {
                    let before = series.points[index - 1].0;
                    assert_eq!(metric.grid.pane(end - 1, memo).start, before, "a hole");
                }
            }
            if metric.grid.is_silence() {
                let oldest = running.start - metric.spec.keep;
                let ends = expected.keys().map(|(end, _)| *end);
                let ends: BTreeSet<_> =
                    ends.filter(|end| (oldest + 1..=running.start).contains(end)).collect();
                let shown: BTreeSet<_> = series.points.iter().map(|(end, _)| *end).collect();
                assert_eq!(shown, ends, "watermark {watermark}");
                let number = expected.get(&(now(""), String::new()));
                let number = number.filter(|_| !metric.is_grouped());
                if let Some(Ok(number)) = number.map(|number| number.parse::<f64>()) {
                    let note = &topics["m"].about.note;
                    let said = note.strip_suffix(" in the burst under way");
                    let said = said.and_then(|said| said.rsplit(' ').next()?.parse::<f64>().ok());
                    assert!(said.is_some_and(|said| (said - number).abs() < 0.006), "{note:?}");
                }
            } else if let Some((end, _)) = series.points.back() {
                assert_eq!(*end, running.start, "the newest whole window is missing");
            }
        }
        TopicState::Grid(grid) => {
            for (start, cells) in &grid.columns {
                let end = metric.grid.pane(*start, memo).end;
                for (group, cell) in groups.iter().zip(cells.iter()) {
                    assert_eq!(Some(format!("{:.6}", *cell as f64)), known(end, group), "{end}");
                }
            }
        }
        other => panic!("{other:?}"),
    }
    let TopicState::Map(kpi) = &topics["kpi"].state else { panic!("kpi is a map") };
    if let (Some(number), true) = (kpi.get("m"), metric.spec.group_by.is_empty()) {
        let number = number.as_f64().map(|number| format!("{number:.6}"));
        assert_eq!(number, known(now(""), ""), "the strip at {watermark}");
    }
}

/// All of the list, and one that soon knows no more than a sample.
fn aggregates() -> Vec<Aggregate> {
    let mut all = Aggregate::all();
    all.push(TopK { top: 3, values_max: 2, sample: 4 }.into());
    all
}

pub(super) fn windows() -> impl Strategy<Value = WindowSpec> {
    let zone = prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kathmandu"]);
    prop_oneof![
        prop::sample::select(vec![1_000, 7_000, 25_000, 40_000, 60_000, 90_000, 3_600_000])
            .prop_map(|size| WindowSpec::Tumbling { size }),
        prop::sample::select(vec![
            (300_000, 30_000),
            (100_000, 25_000),
            (120_000, 40_000),
            (35_000, 7_000),
            (600_000, 120_000),
            (10_000, 1_000),
            (120_000, 1_000),
            // No multiples.
            (100_000, 30_000),
            (45_000, 40_000),
            (3_000_000, 1_260_000),
        ])
        .prop_map(|(size, slide)| WindowSpec::Hopping { size, slide }),
        (
            prop::sample::select(vec![
                (1_000, 1_000),
                (60_000, 1_000),
                (40_000, 40_000),
                (100_000, 25_000),
                (100_000, 30_000),
                (45_000, 40_000),
                (3_600_000, 420_000),
            ]),
            prop::sample::select(vec![1, 2, 5, 100]),
        )
            .prop_map(|((size, slide), numbers)| WindowSpec::Sliding {
                size,
                slide,
                numbers
            }),
        (zone.clone(), prop::sample::select(vec![420_000, 3_600_000, 7_000_000, 86_400_000]))
            .prop_map(|(zone, slide)| WindowSpec::SinceMidnight { zone: zone.into(), slide }),
        prop::sample::select(vec![25_000, 60_000, 3_600_000])
            .prop_map(|slide| WindowSpec::SinceStart { slide }),
        prop::sample::select(vec![1_000, 25_000, 60_000, 3_600_000])
            .prop_map(|slide| WindowSpec::Since { event: "begin".into(), slide }),
        (prop::sample::select(vec![1_000, 25_000, 3_600_000]), 1usize..12)
            .prop_map(|(slide, num)| WindowSpec::Last { num, slide }),
        prop::sample::select(vec![
            (1_000, 1_000),
            (20_000, 1_000),
            (25_000, 10_000),
            (45_000, 45_000),
            (300_000, 60_000),
            (7_200_000, 60_000),
        ])
        .prop_map(|(gap, slide)| WindowSpec::Burst { gap, slide }),
        (zone, prop::sample::select(vec![(1, 1), (1, 3), (7, 1)])).prop_map(|(zone, shape)| {
            WindowSpec::Calendar {
                span: CalendarSpan::Days(shape.0),
                panes: shape.1,
                zone: zone.into(),
                first_weekday: Weekday::Monday,
            }
        }),
    ]
}

/// Events in the order of the log: each is delayed by up to `disorder`, which is far more
/// than the lateness, and carries the watermark before it.
pub(super) fn samples(window: &WindowSpec) -> impl Strategy<Value = Vec<Sample>> + use<> {
    let spread = (window.step() * 6).max(window.apart() * 8).clamp(20_000, 4 * 86_400_000);
    let disorder = (window.step() * 3 / 2).max(window.apart() * 2).max(2 * LATENESS);
    let one = (-spread..spread, 0..disorder, 1u64..13, -50i64..50);
    (prop::sample::select(MIDNIGHTS.to_vec()), prop::collection::vec(one, 1..60)).prop_map(
        |(midnight, mut all)| {
            all.sort_by_key(|(at, delay, ..)| at + delay);
            let mut watermark = crate::time::BEGINNING;
            let sample = |(n, (at, _, user, amount)): (usize, (i64, i64, u64, i64))| {
                let at = midnight + at;
                let stamp = watermark;
                watermark = watermark.max(at - 5_000);
                Sample { at, user, amount, stamp, position: n as u64 }
            };
            all.into_iter().enumerate().map(sample).collect()
        },
    )
}

proptest! {
    #![proptest_config(crate::trials::cases(150))]
    #[test]
    fn every_number_is_the_definition_whatever_came_when_and_who_died(
        (window, samples) in windows().prop_flat_map(|w| (Just(w.clone()), samples(&w))),
        aggregate in prop::sample::select(aggregates()),
        grouped: bool,
        shards in 1usize..=8,
        barriers in prop::collection::vec((any::<bool>(), 0u8..4), 1..12),
    ) {
        // The configuration refuses a rate of windows that are as long as they are.
        let aggregate = match (&window, aggregate) {
            (window, rate) if !window.has_length() && rate.is_per_time() => Count.into(),
            (_, aggregate) => aggregate,
        };
        let metric = metric(aggregate, window, grouped);
        let run = run(&metric, &samples, shards, &barriers);
        prop_assert_eq!(&run.numbers, &final_numbers(&metric, &samples));
        prop_assert_eq!(&run.minutes, &minutes(&metric, &samples));
        let counted: Vec<_> = run.keeper.window_late().collect();
        prop_assert_eq!(counted, vec![("m", late(&metric, &samples))]);
    }
}

#[test]
fn a_hopping_window_leaves_out_only_the_windows_that_were_final() {
    // Midnight, 5 min every 30 s; the third event comes 75 s after its time.
    let window = WindowSpec::Hopping { size: 300_000, slide: 30_000 };
    let metric = metric(Aggregate::named("distinct").unwrap(), window, false);
    let base = 1_699_920_000_000;
    let sample = |at: i64, user, stamp: i64| Sample {
        at: base + at,
        user,
        amount: 1,
        stamp: base + stamp,
        position: user,
    };
    let all = [
        sample(0, 1, -1_000_000_000),
        sample(100_000, 2, -5_000),
        sample(20_000, 3, 95_000),
        sample(900_000, 4, 95_000),
    ];
    let run = run(&metric, &all, 2, &[(true, 0)]);
    let first: Vec<&str> =
        run.numbers.range(..(base + 300_001, String::new())).map(|(_, n)| n.as_str()).collect();
    let wanted = ["1", "1", "2", "3", "3", "3", "3", "3", "3", "3"];
    assert_eq!(first, wanted.map(|n| format!("{n}.000000")));
    let late = LateCounts { some: 1, all: 0, minute: 1 };
    assert_eq!(run.keeper.window_late().collect::<Vec<_>>(), [("m", late)]);
}

/// Whether each says that something holds, when, and at which event.
fn signs(signals: &[Signal], base: EpochMs) -> Vec<(bool, EpochMs, Option<EpochMs>)> {
    let one = |signal: &Signal| {
        let (holds, Says::Fires { detail, .. } | Says::Ends { detail, .. }) =
            (matches!(signal.says, Says::Fires { .. }), &signal.says);
        let moment = detail.get("moment").and_then(serde_json::Value::as_i64);
        (holds, signal.at - base, moment.map(|moment| moment - base))
    };
    signals.iter().map(one).collect()
}

/// Two events at the end of a slide and one at the beginning of the next are three within 2 s, which
/// no window that ends with a slide holds.
#[test]
fn a_rule_judges_the_numbers_of_a_sliding_window_between_the_ends_of_its_slides() {
    let base = 1_700_000_000_000;
    let samples = [1_500, 1_900, 2_100, 60_000].map(|at| base + at);
    let raised = |window: WindowSpec, side: Side, least: f64| {
        let mut limit = crate::anomaly::Threshold::default();
        (limit.limit.0, limit.limit_clear.0) = (Some(least), Some(least));
        let mut rule = Rule { metric: "m".into(), ..super::tests::rule_of(limit) };
        (rule.patience.side, rule.patience.cooldown) = (side, 0);
        let rules = Rules::compile(&SessionPolicy::default(), &time(), &schema());
        let metrics = Arc::new(vec![metric(Count.into(), window, false)]);
        let mut fold = Fold::new(Arc::clone(&metrics), LATENESS);
        let mut keeper = Keeper::new(metrics, vec![rule], Arc::new(rules), &time());
        for (position, at) in (0u64..).zip(samples) {
            let sample = Sample { at, user: 1, amount: 1, stamp: base, position };
            fold.add(Facts::Events, &sample, base);
        }
        let barrier = Barrier {
            watermark: base + 2 * LATENESS,
            first_at: Some(base),
            max_at: Some(base + 60_000),
            ..Barrier::default()
        };
        let facts = fold.flush();
        keeper.merge(barrier, vec![ShardDelta { facts, ..ShardDelta::default() }]);
        signs(&keeper.signals, base)
    };
    let sliding = || WindowSpec::Sliding { size: 2_000, slide: 2_000, numbers: 100 };
    let hopping = || WindowSpec::Hopping { size: 2_000, slide: 2_000 };
    // It is known at the end of the slide, and was at the third event.
    let wanted = [(true, 4_000, Some(2_100)), (false, 6_000, None)];
    assert_eq!(raised(sliding(), Side::Above, 2.5), wanted);
    assert_eq!(raised(sliding(), Side::Both, 2.5), wanted);
    // Two at the end of a slide are no more within it.
    let at_end = [(true, 2_000, None), (false, 4_000, None)];
    assert_eq!(raised(hopping(), Side::Above, 1.5), at_end);
    assert_eq!(raised(sliding(), Side::Above, 3.5), []);
    assert_eq!(raised(hopping(), Side::Above, 2.5), []);
}

#[test]
fn an_alert_on_a_total_since_an_event_is_over_when_that_begins_anew() {
    let window = WindowSpec::Since { event: "begin".into(), slide: 1_000 };
    let metric = metric(Aggregate::named("sum").unwrap(), window, true);
    let mut limit = crate::anomaly::Threshold::default();
    (limit.limit.0, limit.limit_clear.0) = (Some(10.0), Some(10.0));
    let rule = Rule { metric: "m".into(), ..super::tests::rule_of(limit) };
    let rules = Rules::compile(&SessionPolicy::default(), &time(), &schema());
    let metrics = Arc::new(vec![metric]);
    let mut fold = Fold::new(Arc::clone(&metrics), LATENESS);
    let mut keeper = Keeper::new(metrics, vec![rule], Arc::new(rules), &time());
    let at = |seconds: i64| 1_700_000_000_000 + seconds * 1_000;
    let mut alerts = |seconds: i64, user: u64, amount: i64| {
        let (at, position) = (at(seconds), seconds as u64);
        fold.add(Facts::Events, &Sample { at, user, amount, stamp: at, position }, at);
        let barrier = Barrier {
            watermark: at + 2 * LATENESS,
            first_at: Some(at),
            max_at: Some(at),
            ..Barrier::default()
        };
        let facts = fold.flush();
        keeper.merge(barrier, vec![ShardDelta { facts, ..ShardDelta::default() }]);
        signs(&keeper.signals, 0)
    };
    // Of group 1, and then an event of group 2 that all totals begin anew with.
    assert_eq!(alerts(0, 1, 50), [(true, at(1), None)]);
    assert_eq!(alerts(100, 1, 1), []);
    let over = alerts(200, 11, 0);
    assert_eq!(over.len(), 1, "{over:?}");
    assert!(!over[0].0);
}
