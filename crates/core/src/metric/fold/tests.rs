//! What a shard folds, against every fact put to every metric and every window looked at.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::Schema;
use crate::metric::aggregate::{Aggregate, Count, Needs};
use crate::metric::grid::{self, Memo};
use crate::metric::{Attr, Condition, MetricSpec, Order, Test, WindowSpec};
use crate::number::Decimal;
use crate::time::BEGINNING;
use crate::unusable::Unusable;

const SLOTS: usize = 3;

#[derive(Clone, Debug)]
struct Sample {
    at: EpochMs,
    event_type: u16,
    attrs: [Attr<'static>; SLOTS],
}

impl Fact for Sample {
    fn at(&self) -> EpochMs {
        self.at
    }
    fn event_type(&self) -> u16 {
        self.event_type
    }
    fn key(&self) -> &[u8] {
        b"key"
    }
    fn order(&self) -> Order {
        Order::Event { batch: 0, position: self.at as u64, part: 0 }
    }
    fn in_order(&self) -> bool {
        true
    }
    fn attr(&self, slot: usize) -> Attr<'_> {
        // Those of sessions have other names.
        self.attrs.get(slot).copied().unwrap_or_default()
    }
}

fn number(text: &str) -> Decimal {
    Decimal::from_text(text).unwrap()
}

fn attrs() -> impl Strategy<Value = Attr<'static>> {
    let texts = ["eu", "us", "eu-central-1", "eu-central-2", "7", "7.0", "", "NULL", "x"];
    prop_oneof![
        1 => Just(Attr::Missing),
        4 => prop::sample::select(texts.to_vec()).prop_map(|text| Attr::Text(text.as_bytes())),
        4 => prop::sample::select(vec!["7", "7.0", "0", "-0", "8", "1e-20", "9.5", "1e30"])
            .prop_map(|text| Attr::Number(number(text))),
        1 => any::<bool>().prop_map(Attr::Bool),
        1 => Just(Attr::Unusable(Unusable::Nested)),
    ]
}

fn samples() -> impl Strategy<Value = Vec<(Sample, SpanMs, bool)>> {
    // Types 0 to 2 are named, 3 is not, and no type at all is the greatest number.
    let event_types = prop::sample::select(vec![0, 1, 2, 3, u16::MAX]);
    let one = (0i64..200_000, event_types, prop::array::uniform3(attrs()), 0i64..90_000, 0u8..10);
    prop::collection::vec(one, 1..200).prop_map(|all| {
        let sample = |(at, event_type, attrs, behind, flush)| {
            (Sample { at, event_type, attrs }, behind, flush == 0)
        };
        all.into_iter().map(sample).collect()
    })
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let attribute = prop::sample::select(vec!["type", "type", "a", "b", "c"]);
    let one = (attribute, 0u8..7).prop_map(|(attribute, test)| Condition {
        attribute: attribute.to_owned(),
        test: match (attribute, test) {
            ("type", 0..3) => Test::TextIn(vec!["k0".into()]),
            ("type", 3..5) => Test::TextIn(vec!["k1".into(), "k2".into(), "k1".into()]),
            ("type", _) => Test::TextIn(vec!["not one of them".into()]),
            (_, 0) => Test::TextIn(vec!["eu".into(), "eu".into(), "eu-central-1".into()]),
            (_, 1) => Test::TextIn(vec!["us".into()]),
            (_, 2) => Test::NumberIn(vec![number("7"), number("8"), number("7.0")]),
            (_, 3) => Test::NumberIn(vec![number("0")]),
            (_, 4) => Test::Ge(number("7")),
            (_, 5) => Test::Is(true),
            _ => Test::Exists(true),
        },
    });
    prop::collection::vec(one, 0..4)
}

fn specs() -> impl Strategy<Value = MetricSpec> {
    let aggregate = prop::sample::select(Aggregate::all());
    let window = prop::sample::select(vec![
        WindowSpec::Tumbling { size: 700 },
        WindowSpec::Tumbling { size: 90_000 },
        WindowSpec::Hopping { size: 30_000, slide: 10_000 },
        WindowSpec::Hopping { size: 175_000, slide: 25_000 },
        WindowSpec::Hopping { size: 40_000, slide: 30_000 },
        WindowSpec::SinceStart { slide: 50_000 },
        WindowSpec::SinceMidnight { zone: "UTC".into(), slide: 40_000 },
    ]);
    let group_by = prop::sample::select(vec![vec![], vec!["a"], vec!["c", "b"]]);
    (aggregate, window, group_by, conditions(), any::<bool>()).prop_map(
        |(aggregate, window, group_by, filter, sessions)| MetricSpec {
            of: if sessions && filter.is_empty() { Facts::Sessions } else { Facts::Events },
            filter,
            numerator: vec![Condition { attribute: "b".into(), test: Test::Gt(number("7")) }],
            group_by: group_by.into_iter().map(str::to_owned).collect(),
            field: match aggregate.needs() {
                Needs::Nothing | Needs::Numerator => None,
                _ => Some("b".into()),
            },
            ..MetricSpec::new("m", aggregate, window)
        },
    )
}

fn schema() -> Schema {
    Schema {
        slots: vec!["a".into(), "b".into(), "c".into()],
        event_types: vec!["k0".into(), "k1".into(), "k2".into()],
        ..Schema::default()
    }
}

/// Where a fact counts, by the definition: the first window that holds it and is not final.
fn plain_place(metric: &Metric, at: EpochMs, settled: EpochMs) -> Place {
    let memo = &mut Memo::default();
    let (pane, minute) = (metric.grid.part(at, memo), grid::minute(at));
    let mut last = metric.grid.pane(at, memo);
    let enters = loop {
        if metric.grid.window_start(last.start, memo) > pane.start {
            break None;
        }
        if last.end > settled {
            break Some(last.start);
        }
        last = metric.grid.pane(last.end, memo);
    };
    let minute = (minute.end > settled).then_some(minute.start);
    Place { pane: pane.start, enters, minute }
}

#[derive(Default)]
struct Everything(Vec<(usize, Fault)>, Vec<usize>);

impl Notes for Everything {
    fn concern(&mut self, metric: usize) {
        self.1.push(metric);
    }
    fn note(&mut self, number: usize, fault: Fault) {
        self.0.push((number, fault));
    }
}

type Found = BTreeMap<(u16, Place, Vec<String>), (u64, Cell)>;

fn add_up(found: &mut Found, flushed: Flushed) {
    let mut once = std::collections::BTreeSet::new();
    for PaneDelta { place, group, facts, cell } in flushed.panes {
        let (metric, place) = flushed.places[place as usize];
        let labels = match flushed.groups.get(group as usize) {
            Some((of, _, labels)) => {
                assert_eq!(*of, metric);
                labels.to_vec()
            }
            None => vec!["overflow".into()],
        };
        assert!(once.insert((metric, place, labels.clone())), "twice in one flush");
        match found.get_mut(&(metric, place, labels.clone())) {
            Some(sum) => {
                sum.0 += facts;
                sum.1.merge(&cell);
            }
            None => drop(found.insert((metric, place, labels), (facts, cell))),
        }
    }
}

proptest! {
    #[test]
    fn a_shard_finds_what_every_metric_finds_for_itself(
        specs in prop::collection::vec(specs(), 1..8),
        samples in samples(),
        lateness in 0i64..50_000,
        complete in prop::collection::vec(prop::sample::select(vec!["eu", "7", "", "x"]), 0..3),
    ) {
        let compile = |spec: &MetricSpec| Metric::compile(spec, &schema());
        let metrics: Arc<Vec<Metric>> = Arc::new(specs.iter().map(compile).collect());
        let mut fold = Fold::new(Arc::clone(&metrics), lateness);
        // Some groups are decided from the start, as after a restart.
        let kept: Vec<Labels> =
            complete.iter().map(|label| Arc::new(vec![(*label).to_owned()])).collect();
        let decided = |metric: &Metric| metric.spec.group_by == ["a"] && !kept.is_empty();
        let decision = Decision { period: BEGINNING, kept: kept.clone() };
        for (index, _) in metrics.iter().enumerate().filter(|(_, one)| decided(one)) {
            fold.learn(index, &decision);
        }
        let watch = Watch::new(&metrics);
        let (mut tally, mut late) =
            (Tally::new(watch.num_uses()), vec![LateCounts::default(); metrics.len()]);
        let (mut found, mut wanted, mut told) = (Found::new(), Found::new(), tally.clone());
        for (sample, behind, flush) in &samples {
            for of in [Facts::Events, Facts::Sessions] {
                let watermark = sample.at + lateness - 20_000 + behind;
                fold.add(of, sample, watermark);
                for (index, metric) in metrics.iter().enumerate().filter(|(_, m)| m.spec.of == of) {
                    let mut notes = Everything::default();
                    let passes = watch.passes(index, metric, sample, &mut notes);
                    let Everything(faults, concerned) = notes;
                    faults.iter().for_each(|(number, fault)| tally.note(*number, *fault));
                    for of in concerned {
                        let mut one = vec![0; metrics.len()];
                        one[of] = 1;
                        watch.concern(&metrics, &one, &mut tally);
                    }
                    if !passes {
                        continue;
                    }
                    let place = plain_place(metric, sample.at, watermark - lateness);
                    let pane = metric.grid.pane(sample.at, &mut Memo::default());
                    late[index].count(&place, pane.start);
                    if place.enters.is_none() && place.minute.is_none() {
                        continue;
                    }
                    let text = |attr: Attr<'_>| match attr {
                        Attr::Number(number) => number.to_string(),
                        Attr::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                        Attr::Bool(value) => value.to_string(),
                        _ => String::new(),
                    };
                    let labels: Vec<String> = metric.labels(sample).map(text).collect();
                    let is_kept = !decided(metric) || kept.iter().any(|one| **one == labels);
                    let labels = if is_kept { labels } else { vec!["overflow".into()] };
                    let zero = || (0, metric.spec.aggregate.zero());
                    let one = wanted.entry((index as u16, place, labels)).or_insert_with(zero);
                    one.0 += 1;
                    metric.add(sample, &mut one.1);
                }
            }
            if *flush {
                add_up(&mut found, fold.flush());
                told.add(&fold.take_tally());
            }
        }
        add_up(&mut found, fold.flush());
        told.add(&fold.take_tally());
        wanted.values_mut().for_each(|(_, cell)| cell.settle());
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(told, tally);
        prop_assert_eq!(fold.take_late(), late);
        prop_assert!(fold.flush().panes.is_empty());
    }
}

/// However many metrics there are, an event is put to those alone that it may concern.
#[test]
fn an_event_is_put_to_the_metrics_that_it_may_concern() {
    let spec = |n: usize, condition: Condition| MetricSpec {
        filter: vec![condition],
        ..MetricSpec::new(&format!("m{n}"), Count, WindowSpec::Tumbling { size: 1_000 })
    };
    let of = |attribute: &str, test| Condition { attribute: attribute.into(), test };
    let text = |n: usize| Test::TextIn(vec![format!("k{n}")]);
    let metrics = (0..90).map(|n| match n % 3 {
        0 => spec(n, of("type", text(n % 2))),
        1 => spec(n, of("a", text(n))),
        _ => spec(n, of("b", Test::NumberIn(vec![Decimal::from_u64(n as u64)]))),
    });
    let metrics: Vec<Metric> = metrics.map(|spec| Metric::compile(&spec, &schema())).collect();
    let routes = Routes::new(&metrics);
    let asked = |event_type, a, b| {
        let sample = Sample { at: 0, event_type, attrs: [a, b, Attr::Missing] };
        let mut asked = Vec::new();
        routes.each(Facts::Events, &sample, |metric| asked.push(metric));
        asked.sort_unstable();
        asked
    };
    let b = |n| Attr::Number(Decimal::from_u64(n));
    assert_eq!(asked(2, Attr::Text(b"k31"), b(50)), [31, 50]);
    assert_eq!(asked(2, Attr::Text(b"k30"), Attr::Text(b"50")), [50]);
    assert_eq!(asked(1, Attr::Missing, Attr::Missing).len(), 15);
    // A value of another type is noted by every metric that asks for one.
    assert_eq!(asked(2, Attr::Bool(true), Attr::Missing).len(), 30);
    assert_eq!(asked(2, Attr::Missing, Attr::Text(b"five")).len(), 30);
}

/// Events that jump back and forth over weeks between two flushes.
#[test]
fn places_that_lie_far_apart_are_found_again() {
    let spec = MetricSpec::new("m", Count, WindowSpec::Tumbling { size: 60_000 });
    let metrics = Arc::new(vec![Metric::compile(&spec, &schema())]);
    let mut fold = Fold::new(metrics, 0);
    let minutes = 30 * 24 * 60;
    for n in 0..2 * minutes {
        // Back and forth over the month.
        let at = (n * 7_919 % minutes) * 60_000;
        let sample = Sample { at, event_type: 0, attrs: [Attr::Missing; SLOTS] };
        fold.add(Facts::Events, &sample, 0);
    }
    let flushed = fold.flush();
    assert_eq!(flushed.panes.len(), minutes as usize);
    assert!(flushed.panes.iter().all(|delta| delta.facts == 2));
}

/// What a flush says of one metric, whatever numbers it has.
fn of_metric(flushed: &Flushed, metric: u16) -> impl PartialEq + std::fmt::Debug + use<> {
    let own = |pane: &&PaneDelta| flushed.places[pane.place as usize].0 == metric;
    let said = |pane: &PaneDelta| {
        let group = flushed.groups.get(pane.group as usize);
        let group = group.map(|(_, period, labels)| (*period, Arc::clone(labels)));
        let place = flushed.places[pane.place as usize].1;
        (place, group, pane.facts, format!("{:?}", pane.cell))
    };
    let panes: Vec<_> = flushed.panes.iter().filter(own).map(said).collect();
    let candidates = flushed.candidates.iter().filter(|one| one.metric == metric);
    let candidates: Vec<_> = candidates
        .map(|Candidate { labels, period, first, .. }| (Arc::clone(labels), *period, first.clone()))
        .collect();
    (panes, candidates)
}

proptest! {
    /// Metrics with the same labels look them up together: each finds what it finds alone, in whatever
    /// periods, and whatever is decided on their groups.
    #[test]
    fn metrics_together_find_what_each_finds_alone(
        specs in prop::collection::vec((specs(), 0u8..3, 1usize..4), 2..8),
        samples in samples(),
    ) {
        let specs = specs.into_iter().map(|(spec, silence, group_limit)| MetricSpec {
            group_silence: [0, 1, 200_000][usize::from(silence)],
            group_limit,
            ..spec
        });
        let metrics: Vec<Metric> = specs.map(|spec| Metric::compile(&spec, &schema())).collect();
        let mut alone: Vec<Fold> =
            metrics.iter().map(|metric| Fold::new(Arc::new(vec![metric.clone()]), 0)).collect();
        let mut together = Fold::new(Arc::new(metrics.clone()), 0);
        for (sample, behind, flush) in &samples {
            for of in [Facts::Events, Facts::Sessions] {
                together.add(of, sample, sample.at + behind);
                alone.iter_mut().for_each(|fold| fold.add(of, sample, sample.at + behind));
            }
            if !flush {
                continue;
            }
            let found = together.flush();
            for (index, fold) in alone.iter_mut().enumerate() {
                let own = fold.flush();
                prop_assert_eq!(of_metric(&found, index as u16), of_metric(&own, 0));
                // No more are kept in the newest period than the limit.
                let Some(period) = own.candidates.iter().map(|one| one.period).max() else { continue };
                let met = own.candidates.iter().filter(|one| one.period == period);
                let kept: Vec<Labels> =
                    met.map(|one| Arc::clone(&one.labels)).take(metrics[index].spec.group_limit).collect();
                let decision = Decision { period, kept };
                fold.learn(0, &decision);
                together.learn(index, &decision);
            }
        }
    }
}

/// Labels that never come again, over many periods, in two metrics that keep some of them.
#[test]
fn spellings_of_groups_that_are_gone_are_forgotten() {
    let spec = |group_limit, group_silence| MetricSpec {
        group_by: vec!["a".into()],
        group_limit,
        group_silence,
        ..MetricSpec::new("m", Count, WindowSpec::Tumbling { size: 60_000 })
    };
    let specs = [spec(10_000, 60_000), spec(10, 0)];
    let metrics = Arc::new(specs.map(|spec| Metric::compile(&spec, &schema())).to_vec());
    let mut fold = Fold::new(metrics, 0);
    let decision = Decision { period: BEGINNING, kept: vec![Arc::new(vec!["7".into()])] };
    fold.learn(1, &decision);
    let (mut facts, mut most) = ([0, 0], 0);
    for n in 0..40_000i64 {
        let label = Attr::Number(Decimal::from_i64(n));
        let sample =
            Sample { at: n * 100, event_type: 0, attrs: [label, Attr::Missing, Attr::Missing] };
        fold.add(Facts::Events, &sample, n * 100);
        if n % 500 == 499 {
            let flushed = fold.flush();
            flushed.panes.iter().for_each(|pane| {
                facts[usize::from(flushed.places[pane.place as usize].0)] += pane.facts;
            });
            most = most.max(fold.spellings.iter().map(Spellings::num_spellings).sum());
        }
    }
    assert_eq!(facts, [40_000, 40_000]);
    assert!(most < 6_000, "{most} spellings of 40,000 labels");
}
