//! The keeper's law: going on from any commit gives what never stopping gives.

use proptest::prelude::*;

use super::*;
use crate::anomaly::{Detect, Patience, Rule, Side, Sigma};
use crate::board::TopicState;
use crate::commit::Snapshot;
use crate::event::Schema;
use crate::incident::{Incident, Outcome, Signal, What, incident_id};
use crate::metric::aggregate::Count;
use crate::metric::{Candidate, Flushed, MetricSpec, Order, PaneDelta, Place, WindowSpec};
use crate::session::SessionPolicy;
use crate::time::END_OF_TIME;

pub(super) const STEP: i64 = 1_000;

fn spec(name: &str, window: WindowSpec) -> MetricSpec {
    MetricSpec { keep: 60_000, ..MetricSpec::new(name, Count, window) }
}

pub(super) fn rule() -> Rule {
    rule_of(Sigma { over: 60 * STEP, samples_min: 10, value_min: 5.0, ..Sigma::default() })
}

pub(super) fn rule_of(detect: impl Into<Detect>) -> Rule {
    Rule {
        name: "spike".into(),
        title: "Failures stand out".into(),
        metric: "failures".into(),
        groups_max: 100,
        why: vec![],
        patience: Patience { hold: 0, cooldown: 5 * STEP, side: Side::Above },
        severity: "critical".into(),
        one_incident: false,
        unless: Vec::new(),
        runbook: None,
        detect: detect.into(),
    }
}

fn keeper() -> Keeper {
    let mut keeper = keeper_with(rule());
    keeper.engine.reports = true;
    keeper
}

pub(super) fn keeper_with(rule: Rule) -> Keeper {
    let schema = Schema { slots: vec![], event_types: vec![], seed: 0, ..Schema::default() };
    let time = TimePolicy { allowed_lateness: 500, ..TimePolicy::default() };
    let rules = Rules::compile(&SessionPolicy::default(), &time, &schema);
    let metrics = [
        spec("failures", WindowSpec::Tumbling { size: STEP }),
        spec("minute", WindowSpec::Hopping { size: 10 * STEP, slide: STEP }),
        spec("today", WindowSpec::SinceMidnight { zone: "UTC".into(), slide: STEP }),
    ];
    let metrics = metrics.iter().map(|spec| Metric::compile(spec, &schema)).collect();
    Keeper::new(Arc::new(metrics), vec![rule], Arc::new(rules), &time)
}

/// One second with so many events, as one shard hands it over.
pub(super) fn second(at: i64, count: u64) -> (Barrier, Vec<ShardDelta>) {
    let place = Place {
        pane: at.div_euclid(STEP) * STEP,
        enters: Some(at.div_euclid(STEP) * STEP),
        minute: Some(at.div_euclid(60_000) * 60_000),
    };
    let pane = |metric| PaneDelta {
        place: metric,
        group: metric,
        facts: count,
        cell: crate::metric::Cell::Count(count),
    };
    let ledger = Ledger { received: count, ..Ledger::default() };
    let barrier = Barrier {
        watermark: at,
        first_at: Some(at),
        max_at: Some(at),
        ledger,
        ..Barrier::default()
    };
    let panes = if count > 0 { vec![pane(0), pane(1), pane(2)] } else { vec![] };
    let ledger = Ledger { applied: count, ..Ledger::default() };
    let first = Order::Event { batch: at as u64, position: 0, part: 0 };
    let candidate = |metric| Candidate {
        metric,
        labels: Arc::default(),
        period: BEGINNING,
        first: first.clone(),
    };
    let candidates = (0..panes.len() as u16).map(candidate).collect();
    let of = |delta: &PaneDelta| delta.place as u16;
    let groups = panes.iter().map(|delta| (of(delta), BEGINNING, Arc::default())).collect();
    let places = panes.iter().map(|delta| (of(delta), place)).collect();
    let facts = Flushed { panes, places, groups, candidates };
    (barrier, vec![ShardDelta { facts, ledger, ..ShardDelta::default() }])
}

fn end() -> (Barrier, Vec<ShardDelta>) {
    let barrier = Barrier { watermark: END_OF_TIME, ..Barrier::default() };
    (barrier, vec![ShardDelta::default()])
}

proptest! {
    #[test]
    fn i1_going_on_from_any_commit_gives_what_never_stopping_gives(
        counts in prop::collection::vec(0u64..12, 1..60),
        cut in 0usize..60,
    ) {
        let (mut straight, mut resumed) = (keeper(), keeper());
        let mut snapshot = Snapshot::default();
        let (mut said, mut said_resumed) = (Vec::new(), Vec::new());
        let mut ended: Vec<Incident> = Vec::new();
        for (index, count) in counts.iter().enumerate() {
            let (barrier, deltas) = second(index as i64 * STEP, *count);
            said.extend(all_of(&mut straight, barrier.clone(), deltas.clone()));
            let unit = resumed.merge(barrier, deltas);
            unit.delta.iter().for_each(|section| snapshot.absorb(section).unwrap());
            let over = |one: &&Incident| one.resolved.is_some();
            ended.extend(unit.incidents.incidents.values().filter(over).cloned());
            said_resumed.push((resumed.signals.clone(), unit.incidents));
            if index == cut {
                resumed = keeper();
                resumed.restore(&mut snapshot.clone(), index as i64 * STEP).unwrap();
                // They come back from the records, not from the commit.
                resumed.incidents.restore_ended(&ended);
            }
        }
        let view = PipelineView::default();
        let now = counts.len() as i64 * STEP;
        let topics = |keeper: &Keeper| {
            let mut topics = keeper.topics(now, &view);
            // The feed's newest alerts come back from the records, not from the commit.
            topics.remove("alerts");
            topics
        };
        prop_assert_eq!(topics(&straight), topics(&resumed));
        for (keeper, said) in [(&mut straight, &mut said), (&mut resumed, &mut said_resumed)] {
            let (barrier, deltas) = end();
            said.extend(all_of(keeper, barrier, deltas));
        }
        prop_assert_eq!(straight.numbers(), resumed.numbers());
        prop_assert_eq!(said, said_resumed);
        prop_assert!(straight.ledger().balances());
    }
}

/// What rules said at a barrier, and what came of it.
fn all_of(
    keeper: &mut Keeper,
    barrier: Barrier,
    deltas: Vec<ShardDelta>,
) -> Option<(Vec<Signal>, Outcome)> {
    let unit = keeper.merge(barrier, deltas);
    Some((keeper.signals.clone(), unit.incidents))
}

#[test]
fn a_value_three_deviations_above_its_average_is_one_incident_with_a_stable_id() {
    let mut keeper = keeper();
    let (mut changes, mut alerts) = (Vec::new(), 0);
    for index in 0..40 {
        let count = if (30..33).contains(&index) { 60 } else { 3 + index % 3 };
        let (barrier, deltas) = second(index as i64 * STEP, count);
        let unit = keeper.merge(barrier, deltas);
        changes.extend(unit.incidents.changes);
        alerts += unit.alerts.len();
    }
    let [fired, over] = &changes[..] else { panic!("{changes:?}") };
    let numbers = keeper.numbers();
    assert_eq!((numbers.incidents, numbers.incidents_over), (1, 1));
    assert_eq!(
        (alerts, numbers.occurrences),
        (0, 0),
        "what rules say is in no feed of occurrences"
    );
    assert_eq!((fired.what, fired.n, fired.rule.as_str()), (What::Fired, 1, "spike"));
    assert_eq!((fired.at, fired.severity.as_str()), (31 * STEP, "critical"));
    assert_eq!(fired.incident, incident_id("spike", "", 31 * STEP));
    assert_eq!(fired.detail["value"], 60.0);
    // The last window that stood out ended at 33; five seconds later it is over.
    assert_eq!((over.at, &over.incident), (38 * STEP, &fired.incident));
    assert_eq!((&over.detail["last"], &over.detail["peak"]), (&33_000.into(), &60.0.into()));
}

/// Data folders of older versions have lines of rules among the occurrences.
#[test]
fn the_board_has_occurrences_alone_whatever_the_feed_holds() {
    let mut keeper = keeper();
    let alert = |(n, kind): (u64, &str)| Alert {
        n,
        id: format!("{n:032x}"),
        kind: kind.into(),
        severity: "info".into(),
        at: 5,
        subject: "u".into(),
        title: "t".into(),
        detail: crate::alert::Detail::of(&serde_json::json!({})),
    };
    let feed = [(1, "abandoned"), (2, "anomaly"), (3, "over"), (4, "pattern")].map(alert);
    keeper.restore_alerts(&feed);
    let topics = keeper.topics(0, &PipelineView::default());
    let TopicState::Log(log) = &topics["alerts"].state else { panic!("no log") };
    assert_eq!(log.items.iter().map(|item| item.n).collect::<Vec<_>>(), [1, 4]);
}

proptest! {
    #![proptest_config(crate::trials::cases(48))]
    #[test]
    fn rules_judge_the_same_wherever_the_barriers_are(
        // Silences, shorter and far longer than the rule looks back, and counts.
        steps in prop::collection::vec(
            (prop_oneof![0i64..3, 20i64..90, 400i64..700], 1i64..40, 0u64..30), 1..8),
        cuts in prop::collection::vec(any::<bool>(), 1..9),
        seconds: bool,
        detector in 0usize..7,
        hold in 0i64..3,
    ) {
        let mut rule = rule_of(super::rule_tests::detectors(20).swap_remove(detector));
        rule.patience.hold = hold * STEP;
        let mut events = Vec::new();
        let mut at = 0;
        for (silence, length, count) in steps {
            at += silence;
            for second in 0..length {
                events.push((at + second, count + (second % 2) as u64));
            }
            at += length;
        }
        let run = |cut: &dyn Fn(usize) -> bool, ticks: bool| {
            let keeper = keeper_with(rule.clone());
            let (mut keeper, mut said, mut waiting) = (keeper, Vec::new(), Vec::new());
            let mut former = 0;
            for (index, (at, count)) in events.iter().enumerate() {
                for second in former + 1..=*at {
                    // Time that goes on while nothing comes.
                    if ticks {
                        keeper.merge(second_of(second), Vec::new());
                        said.append(&mut keeper.signals);
                    }
                }
                former = *at;
                let (mut barrier, deltas) = second(at * STEP, *count);
                barrier.first_at = Some(events[0].0 * STEP);
                waiting.extend(deltas);
                if cut(index) || ticks || index + 1 == events.len() {
                    let deltas = std::mem::take(&mut waiting);
                    keeper.merge(barrier, deltas);
                    said.append(&mut keeper.signals);
                }
            }
            let topic = keeper.topics(former * STEP, &PipelineView::default())["spike"].clone();
            (topic, said)
        };
        let wanted = run(&|_| true, false);
        prop_assert_eq!(&run(&|index| cuts[index % cuts.len()], false), &wanted);
        if seconds {
            prop_assert_eq!(&run(&|_| true, true), &wanted);
        }
    }
}

fn second_of(second: i64) -> Barrier {
    // The first event of all was at second 0 or later.
    Barrier { watermark: second * STEP, max_at: Some(second * STEP), ..Barrier::default() }
}

/// The keeper of these tests with its metrics and its rule edited, after a restart.
fn restarted(snapshot: &Snapshot, edit: impl Fn(&mut Vec<MetricSpec>, &mut Rule)) -> Keeper {
    let former = keeper();
    let schema = Schema { slots: vec![], event_types: vec![], seed: 0, ..Schema::default() };
    let mut specs: Vec<MetricSpec> =
        former.engine.metrics().iter().map(|metric| metric.spec.clone()).collect();
    let mut rule = former.watching[0].clone();
    edit(&mut specs, &mut rule);
    let metrics = specs.iter().map(|spec| Metric::compile(spec, &schema)).collect();
    let time = TimePolicy { allowed_lateness: 500, ..TimePolicy::default() };
    let mut keeper = Keeper::new(Arc::new(metrics), vec![rule], former.rules.clone(), &time);
    keeper.restore(&mut snapshot.clone(), 39 * STEP).unwrap();
    keeper
}

#[test]
fn only_what_means_something_else_begins_anew_and_that_is_said() {
    let (mut former, mut snapshot) = (keeper(), Snapshot::default());
    for index in 0..40 {
        let (barrier, deltas) = second(index * STEP, 3);
        let unit = former.merge(barrier, deltas);
        unit.delta.iter().for_each(|section| snapshot.absorb(section).unwrap());
    }
    let view = PipelineView::default();
    let topics = |keeper: &Keeper| keeper.topics(40 * STEP, &view);
    let states = |keeper: &Keeper, name: &str| topics(keeper)[name].state.clone();
    let was = |name: &str| states(&former, name);

    let said = restarted(&snapshot, |specs, rule| {
        specs.reverse();
        specs.iter_mut().for_each(|spec| spec.title = "New".into());
        specs[0].unit = "EUR".into();
        (rule.title, rule.severity) = ("New".into(), "info".into());
    });
    assert!(said.news().is_empty(), "{:?}", said.news());
    for name in ["failures", "minute", "today", "spike"] {
        assert_eq!(states(&said, name), was(name), "{name}");
    }

    let mut changed = restarted(&snapshot, |specs, _| {
        specs[1].window = WindowSpec::Hopping { size: 20 * STEP, slide: STEP };
        specs.remove(2);
    });
    assert_eq!(
        changed.news(),
        [
            "metric minute means something else than at the last start: its history is dropped \
             and begins anew",
            "metric today is declared no more: its history is dropped",
        ]
    );
    assert_eq!(states(&changed, "failures"), was("failures"));
    assert_eq!(states(&changed, "spike"), was("spike"));
    assert_ne!(states(&changed, "minute"), was("minute"));
    // What was dropped is forgotten by the folder too, and said once.
    let (barrier, deltas) = second(40 * STEP, 0);
    let unit = changed.merge(barrier, deltas);
    let mut later = snapshot.clone();
    unit.delta.iter().for_each(|section| later.absorb(section).unwrap());
    assert!(!later.metrics.keys().any(|id| id.starts_with("today#")), "{:?}", later.metrics.keys());

    let renamed = restarted(&snapshot, |specs, rule| {
        specs[0].name = "failed".into();
        rule.metric = "failed".into();
    });
    assert_eq!(renamed.news(), ["metric failed was called failures and keeps its history"]);
    assert_eq!(states(&renamed, "failed"), was("failures"));
    assert_eq!(states(&renamed, "spike"), was("spike"));
}
