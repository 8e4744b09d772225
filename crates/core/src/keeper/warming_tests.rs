//! What is whole, against a walk over the panes.

use proptest::prelude::*;

use super::tests::{STEP, keeper_with, rule_of, second};
use super::warming::{Since, whole_from};
use super::*;
use crate::anomaly::{Side, Threshold};
use crate::commit::Snapshot;
use crate::event::Schema;
use crate::metric::aggregate::Count;
use crate::metric::grid::Memo;
use crate::metric::{CalendarSpan, MetricSpec, Weekday, WindowSpec};
use crate::settings::Derived;

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;

fn windows() -> impl Strategy<Value = WindowSpec> {
    let zone = || "Europe/Berlin".to_owned();
    let calendar = move |panes| WindowSpec::Calendar {
        span: CalendarSpan::Days(1),
        panes,
        zone: zone(),
        first_weekday: Weekday::Monday,
    };
    prop_oneof![
        (1i64..600_000).prop_map(|size| WindowSpec::Tumbling { size }),
        (1i64..60, 1i64..60, 0i64..60_000).prop_map(|(slide, panes, more)| WindowSpec::Hopping {
            size: slide * panes * 1_000 + more % (slide * 1_000),
            slide: slide * 1_000
        }),
        (1i64..4).prop_map(calendar),
        Just(WindowSpec::SinceMidnight { zone: zone(), slide: 3_600_000 }),
    ]
}

proptest! {
    #[test]
    fn warming_is_while_the_newest_window_began_before(
        window in windows(),
        began in 0i64..3 * DAY,
        after in 0i64..4 * DAY,
        keep in 1i64..DAY,
    ) {
        let schema = Schema::default();
        let spec = MetricSpec { keep, ..MetricSpec::new("m", Count, window) };
        let metric = Metric::compile(&spec, &schema);
        let memo = &mut Memo::default();
        let starts_after = |pane: i64, memo: &mut Memo| metric.grid.window_start(pane, memo) > began;
        let mut first = metric.grid.pane(began, memo).start;
        while !starts_after(first, memo) {
            first = metric.grid.pane(first, memo).end;
        }
        prop_assert_eq!(whole_from(&metric, began, memo), first);

        let rules = Rules::compile(&Default::default(), &Default::default(), &schema);
        let metrics = Arc::new(vec![metric.clone()]);
        let mut keeper = Keeper::new(metrics, vec![], Arc::new(rules), &Default::default());
        let watermark = began + after;
        prop_assert_eq!(keeper.since(0, watermark), None, "it was there from the first event on");
        keeper.began[0] = Some(began);
        let newest = metric.grid.pane(watermark, memo).start;
        let oldest = newest - keep;
        let misses = |end: i64, memo: &mut Memo| !starts_after(end - 1, memo);
        let since = Since { at: began, warming: misses(newest, memo) };
        prop_assert_eq!(keeper.since(0, watermark), misses(oldest, memo).then_some(since));
    }
}

/// A bound below which numbers do not go as a rule must not be broken by a part of a window.
#[test]
fn a_rule_does_not_judge_the_part_of_a_window_that_a_new_metric_saw() {
    let mut rule = rule_of(Threshold { limit: Derived(Some(50.0)), ..Threshold::default() });
    rule.patience.side = Side::Below;
    rule.metric = "minute".into();
    // A keeper that counted something else so far.
    let mut snapshot = Snapshot::default();
    let mut before = keeper_with(rule_of(Threshold::default()));
    before.ids = vec!["a#1".into(), "b#2".into(), "c#3".into()];
    for index in 0..10 {
        let (barrier, deltas) = second(index * STEP + 300, 10);
        let unit = before.merge(barrier, deltas);
        unit.delta.iter().for_each(|section| snapshot.absorb(section).unwrap());
    }
    let mut keeper = keeper_with(rule);
    keeper.restore(&mut snapshot, 9 * STEP + 300).unwrap();
    assert!(keeper.since(1, 12 * STEP).is_some_and(|since| since.warming));
    let mut said = Vec::new();
    // 10 events a second are 100 in a window of 10 s; one second alone is not.
    for index in 10..40 {
        let (barrier, deltas) = second(index * STEP + 300, 10);
        keeper.merge(barrier, deltas);
        said.append(&mut keeper.signals);
    }
    assert_eq!(said, [], "whole windows have 100");
    assert!(keeper.since(1, 39 * STEP).is_some_and(|since| !since.warming));
}

/// Of windows that were final before it came a rule knows nothing: they were not empty.
#[test]
fn a_new_rule_does_not_judge_what_was_final_before_it() {
    let mut snapshot = Snapshot::default();
    let mut before = keeper_with(rule_of(Threshold::default()));
    for index in 0..10 {
        let (barrier, deltas) = second(index * STEP + 300, 10);
        let unit = before.merge(barrier, deltas);
        unit.delta.iter().for_each(|section| snapshot.absorb(section).unwrap());
    }
    let mut rule = rule_of(Threshold { limit: Derived(Some(5.0)), ..Threshold::default() });
    rule.patience.side = Side::Below;
    rule.name = "other".into();
    let mut keeper = keeper_with(rule);
    keeper.restore(&mut snapshot, 9 * STEP + 300).unwrap();
    let mut said = Vec::new();
    for index in 10..40 {
        let (barrier, deltas) = second(index * STEP + 300, 10);
        keeper.merge(barrier, deltas);
        said.append(&mut keeper.signals);
    }
    assert_eq!(said, []);
}

proptest! {
    #![proptest_config(crate::trials::cases(64))]
    /// What another keeper has counted is put in by one commit, and nothing tells it from what it
    /// would be if it had been there; a metric is filled once.
    #[test]
    fn a_metric_that_is_filled_is_as_if_it_had_been_there(
        counts in prop::collection::vec(0u64..6, 2..60),
        came in 0usize..60,
        filled in 0usize..60,
        whole: bool,
    ) {
        let came = came % counts.len();
        let filled = came + filled % (counts.len() - came);
        let make = |backfill| {
            let keeper = keeper_with(rule_of(Threshold::default()));
            let metrics = keeper.engine.metrics().iter().cloned().map(|mut metric| {
                metric.spec.backfill = backfill;
                metric
            });
            Keeper::new(
                Arc::new(metrics.collect()),
                keeper.watching.clone(),
                Arc::clone(&keeper.rules),
                &TimePolicy { allowed_lateness: keeper.engine.lateness(), ..TimePolicy::default() },
            )
        };
        let pass = |keeper: &mut Keeper, snapshot: &mut Snapshot, index: usize| {
            let (barrier, deltas) = second(index as i64 * STEP + 300, counts[index]);
            let unit = keeper.merge(barrier, deltas);
            unit.delta.iter().for_each(|section| snapshot.absorb(section).unwrap());
            unit.watermark
        };
        // One that was always there, and one to which the metrics came later.
        let (mut always, mut known) = (make(0), Snapshot::default());
        let (mut late, mut kept) = (make(HOUR), Snapshot::default());
        let mut watermark = 0;
        for index in 0..=filled {
            if index == came {
                let mut again = make(HOUR);
                again.restore(&mut kept.clone(), watermark).unwrap();
                late = again;
            } else if index == 0 {
                late.ids = vec!["a#1".into(), "b#2".into(), "c#3".into()];
            }
            watermark = pass(&mut always, &mut known, index);
            pass(&mut late, &mut kept, index);
        }
        let mut again = make(HOUR);
        again.restore(&mut kept.clone(), watermark).unwrap();
        let wanted = again.fillings();
        prop_assert_eq!(!wanted.is_empty(), came > 0, "it came later than the first event");
        let began = (!whole).then_some(-HOUR);
        for filling in &wanted {
            for section in filling.sections(&mut known.clone(), began).unwrap() {
                kept.absorb(&section).unwrap();
            }
        }
        let mut late = make(HOUR);
        late.restore(&mut kept.clone(), watermark).unwrap();
        prop_assert_eq!(late.fillings(), vec![]);
        for index in filled + 1..counts.len() {
            pass(&mut always, &mut known, index);
            pass(&mut late, &mut kept, index);
        }
        for (id, metric) in &known.metrics {
            prop_assert_eq!(Some(metric), kept.metrics.get(id), "{}", id);
        }
    }
}
