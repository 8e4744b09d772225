//! Laws of groups: which are kept, what goes to the overflow, and what a commit costs, against
//! a plain recomputation in log order. For any number of shards, any barriers, a death at any
//! of them, and labels of any text.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::tests::rule_of;
use super::*;
use crate::anomaly::{Absence, Threshold};
use crate::commit::Snapshot;
use crate::event::Schema;
use crate::incident::Signal;
use crate::metric::aggregate::Count;
use crate::metric::groups::group_text;
use crate::metric::{Attr, Fact, Facts, Fold, MetricSpec, Order, WindowSpec};
use crate::number::Decimal;
use crate::session::SessionPolicy;
use crate::settings::Derived;
use crate::time::END_OF_TIME;

/// Labels that are easily taken for something else.
const NASTY: [&str; 12] =
    ["other", "\\other", "|", "", "\\", "/", "a|b", "a", "b", "a\\|b", "5", "ünï|cödé\n\0"];

#[derive(Clone, Debug)]
struct Sample {
    at: EpochMs,
    /// Place in the log; of an ending, 0.
    position: u64,
    user: u8,
    labels: [&'static str; 2],
}

impl Fact for Sample {
    fn at(&self) -> EpochMs {
        self.at
    }
    fn event_type(&self) -> u16 {
        0
    }
    fn key(&self) -> &[u8] {
        std::slice::from_ref(&self.user)
    }
    fn order(&self) -> Order {
        match self.position {
            0 => {
                let key = format!("{:03}", self.user).into();
                Order::Ending { at: self.at, silent: true, key, first: 0 }
            }
            position => Order::Event { batch: position / 7, position, part: 0 },
        }
    }
    fn in_order(&self) -> bool {
        self.position > 0
    }
    fn attr(&self, slot: usize) -> Attr<'_> {
        match (slot, self.labels[slot]) {
            // The same label may come as a number as well.
            (0, "5") if self.user.is_multiple_of(2) => Attr::Number(Decimal::from_i64(5)),
            (_, "") if self.user.is_multiple_of(2) => Attr::Missing,
            (_, label) => Attr::Text(label.as_bytes()),
        }
    }
}

fn metric(name: &str, of: Facts, group_by: &[&str], limit: usize) -> MetricSpec {
    MetricSpec {
        of,
        group_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
        group_limit: limit,
        ..MetricSpec::new(name, Count, WindowSpec::Tumbling { size: 1_000 })
    }
}

fn keeper(specs: &[MetricSpec], watching: &[Rule]) -> Keeper {
    let schema = Schema { slots: vec!["a".into(), "b".into()], ..Schema::default() };
    let time = TimePolicy { allowed_lateness: 0, ..TimePolicy::default() };
    let rules = Rules::compile(&SessionPolicy::default(), &time, &schema);
    let compile = |spec: &MetricSpec| {
        // The tests' endings carry the labels of events.
        let events = MetricSpec { of: Facts::Events, ..spec.clone() };
        let mut metric = Metric::compile(&events, &schema);
        metric.spec.of = spec.of;
        metric
    };
    let metrics: Vec<Metric> = specs.iter().map(compile).collect();
    let mut keeper = Keeper::new(Arc::new(metrics), watching.to_vec(), Arc::new(rules), &time);
    (keeper.list_points, keeper.engine.reports) = (true, true);
    keeper
}

/// Metric, end of the window and group, and the number.
type Found = ((String, EpochMs, String), u64);
type Numbers = BTreeMap<(String, EpochMs, String), u64>;

/// In log order: so many combinations are kept as there are places. With a silence time is cut
/// into periods of an eighth of it, and at the beginning of each those leave that had no event
/// for the whole of it; `now` is when a sample comes.
fn recomputed(spec: &MetricSpec, samples: &[Sample], now: fn(&Sample) -> EpochMs) -> Numbers {
    let mut numbers = Numbers::new();
    // With the beginning of the period after that of the newest event.
    let mut kept: Vec<(Vec<String>, EpochMs)> = Vec::new();
    let silence = spec.group_silence + 60_000;
    let (period, mut last) = (|at: EpochMs| at.div_euclid(silence / 8), EpochMs::MIN);
    for sample in samples {
        if spec.group_silence > 0 && period(now(sample)) > last {
            last = period(now(sample));
            kept.retain(|(_, until)| until + silence > last * (silence / 8));
        }
        let labels: Vec<String> = spec
            .group_by
            .iter()
            .map(|name| sample.labels[usize::from(name == "b")].to_owned())
            .collect();
        if kept.len() < spec.group_limit && !kept.iter().any(|(one, _)| *one == labels) {
            kept.push((labels.clone(), 0));
        }
        let own = kept.iter_mut().find(|(one, _)| *one == labels);
        let group = match own {
            Some((_, until)) => {
                let newest = now(sample).max(sample.at.div_euclid(1_000) * 1_000);
                *until = (*until).max((period(newest) + 1) * (silence / 8));
                group_text(&labels)
            }
            None => "other".to_owned(),
        };
        let end = sample.at.div_euclid(1_000) * 1_000 + 1_000;
        *numbers.entry((spec.name.clone(), end, group)).or_default() += 1;
    }
    numbers
}

/// What a barrier does: nothing, or the process dies after it or before it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    None,
    After,
    Before,
}

/// The pipeline's part in it: shards fold, the keeper decides, complete decisions go back
/// `behind` barriers later.
struct Run<'a> {
    specs: &'a [MetricSpec],
    watching: Vec<Rule>,
    said: Vec<Signal>,
    shards: Vec<Fold>,
    live: Keeper,
    snapshot: Snapshot,
    watermark: EpochMs,
    /// Barriers until the shards learn of a decision.
    behind: usize,
    waiting: usize,
}

impl<'a> Run<'a> {
    fn new(specs: &'a [MetricSpec], shards: usize, behind: usize) -> Self {
        Run::watched(specs, vec![], shards, behind)
    }

    fn watched(specs: &'a [MetricSpec], watching: Vec<Rule>, shards: usize, behind: usize) -> Self {
        let live = keeper(specs, &watching);
        let fold = Fold::new(Arc::new(live.engine.metrics().to_vec()), 0);
        Run {
            specs,
            watching,
            said: Vec::new(),
            shards: vec![fold; shards],
            live,
            snapshot: Snapshot::default(),
            watermark: BEGINNING,
            behind,
            waiting: 0,
        }
    }

    fn restart(&mut self) {
        let encoded = self.snapshot.encode(64);
        self.snapshot = Snapshot::default();
        encoded.iter().for_each(|section| self.snapshot.absorb(section).unwrap());
        self.live = keeper(self.specs, &self.watching);
        self.live.restore(&mut self.snapshot.clone(), self.watermark).unwrap();
        let fold = Fold::new(Arc::new(self.live.engine.metrics().to_vec()), 0);
        self.shards.fill(fold);
        self.tell();
    }

    /// As a start does, and the committer after a barrier.
    fn tell(&mut self) {
        for metric in 0..self.specs.len() {
            if let Some(decision) = self.live.engine.decision(metric, None) {
                self.shards.iter_mut().for_each(|shard| shard.learn(metric, &decision));
            }
        }
    }

    fn add(&mut self, of: Facts, sample: &Sample, stamp: EpochMs) {
        let shard = usize::from(sample.user) % self.shards.len();
        self.shards[shard].add(of, sample, stamp);
    }

    /// Returns the numbers that became final, and the bytes of the commit.
    fn barrier(&mut self, watermark: EpochMs) -> (Vec<Found>, usize) {
        let deltas = self.shards.iter_mut().map(|fold| ShardDelta {
            facts: fold.flush(),
            late_facts: fold.take_late(),
            ..ShardDelta::default()
        });
        let barrier = Barrier { watermark, ..Barrier::default() };
        let unit = self.live.merge(barrier, deltas.collect());
        unit.delta.iter().for_each(|section| self.snapshot.absorb(section).unwrap());
        self.said.append(&mut self.live.signals);
        self.watermark = watermark;
        self.waiting += 1;
        if self.waiting > self.behind {
            self.tell();
            self.waiting = 0;
        }
        let point = |point: &Point| {
            let metric = usize::from(point.metric);
            let group = self.live.engine.state(metric).groups.text(point.group);
            (
                (self.specs[metric].name.clone(), point.end, group),
                point.value.scalar().unwrap() as u64,
            )
        };
        let bytes = unit.delta.iter().map(Vec::len).sum();
        (self.live.points.iter().map(point).collect(), bytes)
    }
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let label = || prop::sample::select(NASTY.to_vec());
    // Some of them after a long silence.
    let step = prop_oneof![9 => 0i64..400, 1 => 0i64..60_000];
    prop::collection::vec((step, 0u8..16, label(), label()), 1..150).prop_map(|all| {
        let mut at = 0;
        let sample = |(index, (step, user, a, b)): (usize, (i64, u8, _, _))| {
            at += step;
            Sample { at, position: index as u64 + 1, user, labels: [a, b] }
        };
        all.into_iter().enumerate().map(sample).collect()
    })
}

fn deaths() -> impl Strategy<Value = Vec<(bool, Death)>> {
    let death =
        prop_oneof![6 => Just(Death::None), 1 => Just(Death::After), 1 => Just(Death::Before)];
    prop::collection::vec((any::<bool>(), death), 1..30)
}

proptest! {
    #[test]
    fn kept_groups_are_the_first_in_the_log_whatever_the_shards_and_deaths(
        samples in samples(),
        barriers in deaths(),
        shards in 1usize..=8,
        limits in (1usize..9, 1usize..20),
        behind in 0usize..4,
    ) {
        let specs = [
            metric("one", Facts::Events, &["a"], limits.0),
            metric("two", Facts::Events, &["a", "b"], limits.1),
            metric("whole", Facts::Events, &[], 1),
            MetricSpec {
                group_silence: 8_000,
                keep: 5_000,
                ..metric("leaving", Facts::Events, &["a"], limits.0)
            },
        ];
        let mut run = Run::new(&specs, shards, behind);
        let (mut found, mut committed, mut index) = (Numbers::new(), 0, 0);
        let mut died = std::collections::BTreeSet::new();
        while index < samples.len() {
            run.add(Facts::Events, &samples[index], samples[index].at - 1);
            let (barrier, death) = barriers[index % barriers.len()];
            index += 1;
            if death == Death::Before && died.insert(index) {
                run.restart();
                index = committed;
            } else if barrier {
                found.extend(run.barrier(samples[index - 1].at).0);
                committed = index;
                if death == Death::After {
                    run.restart();
                }
            }
        }
        found.extend(run.barrier(END_OF_TIME).0);
        let expected: Numbers =
            specs.iter().flat_map(|spec| recomputed(spec, &samples, |sample| sample.at - 1)).collect();
        prop_assert_eq!(&found, &expected);
        let others = |spec: &MetricSpec| -> u64 {
            let other = |((name, _, group), n): (&(String, EpochMs, String), &u64)| {
                (*name == spec.name && group == "other").then_some(*n)
            };
            expected.iter().filter_map(other).sum()
        };
        let overflow: Vec<u64> = run.live.overflow().map(|(_, facts)| facts).collect();
        prop_assert_eq!(overflow, [0, 1, 3].map(|at| others(&specs[at])));
        // The report says the same of all windows together.
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for ((name, _, group), n) in &expected {
            if name == "two" {
                *sums.entry(group.clone()).or_default() += *n as f64;
            }
        }
        prop_assert_eq!(&run.live.numbers().metrics["two"].by_group, &sums);
    }

    /// Endings are found key by key and shard by shard; they count in the order of time.
    #[test]
    fn groups_of_ended_sessions_are_kept_in_the_order_of_their_ends(
        samples in samples(),
        cuts in prop::collection::vec(0i64..60_000, 0..6),
        shuffle in any::<u64>(),
        shards in 1usize..=8,
        limit in 1usize..12,
        leaves: bool,
    ) {
        let mut ended: Vec<Sample> =
            samples.into_iter().map(|sample| Sample { position: 0, ..sample }).collect();
        ended.sort_by_key(|sample| (sample.at, sample.user));
        let ended_by = |silence| MetricSpec {
            group_silence: silence,
            ..metric("ended", Facts::Sessions, &["a", "b"], limit)
        };
        let specs = [ended_by(if leaves { 12_000 } else { 0 })];
        let expected = recomputed(&specs[0], &ended, |sample| sample.at);
        let mut cuts = cuts;
        cuts.sort_unstable();
        cuts.push(END_OF_TIME);
        let mut run = Run::new(&specs, shards, 0);
        let (mut found, mut from) = (Numbers::new(), 0);
        for cut in cuts {
            let to = ended.partition_point(|sample| sample.at < cut);
            // Some order that has nothing to do with time.
            let mut batch: Vec<Sample> = ended[from..to].to_vec();
            batch.sort_by_key(|s| (u64::from(s.user) + 1).wrapping_mul(shuffle | 1) ^ s.at as u64);
            batch.iter().for_each(|sample| run.add(Facts::Sessions, sample, sample.at));
            found.extend(run.barrier(cut).0);
            from = to;
        }
        prop_assert_eq!(found, expected);
    }

    /// A rule hears of a group until it leaves, whenever a barrier finds that out.
    #[test]
    fn rules_judge_groups_that_leave_the_same_wherever_the_barriers_are(
        samples in samples(),
        barriers in deaths(),
        shards in 1usize..=4,
        absence: bool,
    ) {
        let specs = [MetricSpec {
            group_silence: 8_000,
            keep: 5_000,
            ..metric("leaving", Facts::Events, &["a"], 4)
        }];
        let mut rule = if absence {
            rule_of(Absence)
        } else {
            rule_of(Threshold { limit: Derived(Some(0.5)), ..Threshold::default() })
        };
        (rule.metric, rule.groups_max) = ("leaving".into(), 3);
        rule.detect.fill(1_000);
        rule.patience.hold = 3_000;
        let mut coarse = Run::watched(&specs, vec![rule.clone()], 1, 0);
        let mut fine = Run::watched(&specs, vec![rule], shards, 1);
        for (index, sample) in samples.iter().enumerate() {
            coarse.add(Facts::Events, sample, sample.at - 1);
            fine.add(Facts::Events, sample, sample.at - 1);
            let (barrier, death) = barriers[index % barriers.len()];
            if barrier {
                fine.barrier(sample.at);
                if death == Death::After {
                    fine.restart();
                }
            }
        }
        let last = samples.last().unwrap().at;
        for run in [&mut coarse, &mut fine] {
            run.barrier(last);
        }
        let said = |run: &Run<'_>| {
            let one = |said: &Signal| (said.at, said.subject.clone(), format!("{:?}", said.says));
            run.said.iter().map(one).collect::<std::collections::BTreeSet<_>>()
        };
        prop_assert_eq!(said(&coarse), said(&fine));
    }

    #[test]
    fn two_groups_never_read_the_same(
        pairs in prop::collection::vec(
            (prop::sample::select(NASTY.to_vec()), prop::sample::select(NASTY.to_vec())),
            1..4,
        ),
    ) {
        let (a, b): (Vec<&str>, Vec<&str>) = pairs.into_iter().unzip();
        let text = |labels: &[&str]| {
            group_text(&labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>())
        };
        prop_assert_eq!(text(&a) == text(&b), a == b);
        prop_assert_ne!(text(&a), "other");
    }
}

/// One event costs its own cell, however many groups there are; a window that slides on costs
/// what is different from the one before.
#[test]
fn a_commit_costs_what_changed_and_not_how_many_groups_there_are() {
    let labels: Vec<&'static str> = (0..10_000)
        .map(|n| &*Box::leak(format!("a rather long label of a group {n}").into_boxed_str()))
        .collect();
    let specs = [
        metric("tumbling", Facts::Events, &["a"], 10_000),
        MetricSpec {
            window: WindowSpec::Hopping { size: 3_600_000, slide: 1_000 },
            ..metric("hopping", Facts::Events, &["a"], 10_000)
        },
        MetricSpec {
            window: WindowSpec::SinceMidnight { zone: "UTC".into(), slide: 1_000 },
            ..metric("today", Facts::Events, &["a"], 10_000)
        },
    ];
    let mut run = Run::new(&specs, 2, 0);
    run.live.engine.reports = false;
    let event = |position: u64, at: EpochMs, label: usize| Sample {
        at,
        position,
        user: (position % 200) as u8,
        labels: [labels[label], ""],
    };
    for n in 0..10_000 {
        run.add(Facts::Events, &event(n as u64 + 1, 500, n), 0);
    }
    let (_, first) = run.barrier(1_000);
    assert!(first > 10_000 * 30, "{first} bytes: every group is new");
    run.barrier(2_000);
    run.barrier(3_000);
    for n in 0..10 {
        let at = 3_500 + n * 1_000;
        run.add(Facts::Events, &event(20_000 + n as u64, at, 77), at - 1);
        let (_, bytes) = run.barrier(at + 500);
        assert!(bytes <= 500, "{bytes} bytes for one event");
    }
    let (_, idle) = run.barrier(20_000);
    assert!(idle <= 300, "{idle} bytes for nothing");
}

/// Whoever has left is forgotten once nothing on the board and in the windows speaks of it.
#[test]
fn a_thousand_groups_one_after_the_other_take_the_room_of_a_few() {
    let labels: Vec<&'static str> =
        (0..1_000).map(|n| &*Box::leak(format!("{n}").into_boxed_str())).collect();
    let window = WindowSpec::Hopping { size: 60_000, slide: 1_000 };
    let leaving = |name, limit| MetricSpec {
        group_silence: 3_600_000,
        window: window.clone(),
        keep: 120_000,
        ..metric(name, Facts::Events, &["a"], limit)
    };
    let specs = [leaving("room", 20), leaving("no_room", 5)];
    let mut run = Run::new(&specs, 2, 1);
    run.live.engine.reports = false;
    for n in 0..1_000u64 {
        // Ten minutes apart.
        let at = n as i64 * 600_000;
        let labels = [labels[n as usize], ""];
        run.add(Facts::Events, &Sample { at, position: n + 1, user: n as u8, labels }, at - 1);
        run.barrier(at);
        if n % 100 == 99 {
            run.restart();
            run.live.engine.reports = false;
        }
        let most = |metric: usize| run.live.engine.state(metric).groups.map().groups.len();
        assert!(most(0) <= 10 && most(1) <= 6, "{} and {}", most(0), most(1));
    }
    let figures: Vec<_> = run.live.groups().collect();
    let [("room", present, left), ("no_room", 5, few)] = figures[..] else { panic!("{figures:?}") };
    assert_eq!(present as u64 + left, 1_000);
    // Five of seven found a place: one leaves after an hour and an eighth.
    assert!((600..750).contains(&few), "{few}");
    assert!(run.live.overflow().eq([("room", 0), ("no_room", 1_000 - few - 5)]));
}

/// What the configuration counts on: a point of history has 16 bytes, and each window a few
/// more.
#[test]
fn a_point_of_history_has_sixteen_bytes() {
    let labels: Vec<&'static str> =
        (0..300).map(|n| &*Box::leak(format!("{n}").into_boxed_str())).collect();
    let specs = [metric("m", Facts::Events, &["a"], 300)];
    let mut run = Run::new(&specs, 1, 0);
    for second in 0..20u64 {
        for (n, label) in labels.iter().enumerate().take(100 + 10 * second as usize) {
            let position = 1 + second * 1_000 + n as u64;
            let at = second as i64 * 1_000;
            let sample = Sample { at, position, user: 0, labels: [label, ""] };
            run.add(Facts::Events, &sample, at - 1);
        }
        run.barrier(second as i64 * 1_000 + 1_000);
    }
    for restarted in [false, true] {
        if restarted {
            run.restart();
        }
        let history = &run.live.engine.state(0).history;
        let points: usize = history.iter().map(|window| window.values.len()).sum();
        assert_eq!(points, (0..20).map(|second| (100 + 10 * second).min(300)).sum::<usize>());
        let bytes: usize =
            history.iter().map(|w| size_of_val(w) + size_of_val(w.values.scalars())).sum();
        assert!(bytes <= 16 * points + 32 * history.len(), "{bytes} bytes for {points} points");
    }
}

/// The board has the rows it can show and no more, the overflow among them.
#[test]
fn a_grid_of_many_groups_holds_what_is_shown() {
    let labels: Vec<&'static str> =
        (0..10_001).map(|n| &*Box::leak(format!("group {n}").into_boxed_str())).collect();
    let specs = [MetricSpec { keep: 60_000, ..metric("tumbling", Facts::Events, &["a"], 10_000) }];
    let mut run = Run::new(&specs, 2, 0);
    let mut position = 0;
    let mut add = |run: &mut Run<'_>, at: EpochMs, label: usize| {
        position += 1;
        let sample = Sample { at, position, user: 0, labels: [labels[label], ""] };
        run.add(Facts::Events, &sample, at - 1);
    };
    let shown = |run: &Run<'_>| {
        let topics = run.live.topics(59_900, &PipelineView::default());
        let crate::board::TopicState::Grid(grid) = &topics["tumbling"].state else {
            panic!("a grid")
        };
        (grid.clone(), topics["tumbling"].about.clone())
    };
    for second in 0..60 {
        (0..10_000).step_by(if second == 0 { 1 } else { 100 }).for_each(|label| {
            add(&mut run, second * 1_000 + 1, label);
        });
        run.barrier(second * 1_000 + 1);
    }
    let (grid, about) = shown(&run);
    assert_eq!((grid.rows.len(), grid.columns.len(), about.overflow), (400, 60, None));
    assert_eq!(about.note, "the greatest 400 of 10000 groups");
    let bytes: usize = grid.columns.iter().map(|(_, cells)| 8 * cells.capacity()).sum();
    assert_eq!(bytes, 400 * 60 * 8);
    let sum = |row: usize| grid.columns.iter().map(|(_, cells)| cells[row]).sum::<u64>();
    // A hundred came every second, of the others the first are shown.
    assert_eq!((grid.rows[399][0].as_str(), sum(399)), ("group 9900", 60));
    let all = (0..400).map(sum).collect::<Vec<_>>();
    assert_eq!(all.iter().filter(|sum| **sum == 60).count(), 100);
    assert_eq!((sum(0), sum(1), sum(300)), (60, 1, 60));

    add(&mut run, 59_600, 10_000);
    run.barrier(59_700);
    let (grid, about) = shown(&run);
    assert_eq!((grid.rows.len(), about.overflow), (400, Some(399)));
    assert_eq!(grid.rows[399], ["other"]);
    assert_eq!(grid.columns.back().unwrap().1[399], 1);
    assert_eq!(about.note, "the greatest 399 of 10000 groups");
}
