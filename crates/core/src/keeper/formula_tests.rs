//! The law of formulas: whatever came when, in how many batches and shards, and who died, their
//! numbers are those of the operands put into the formula, each computed again from all events.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::window_tests::{
    LATENESS, Sample, exact, final_numbers, keeper, lives, samples, schema, windows,
};
use super::*;
use crate::board::TopicState;
use crate::commit::Snapshot;
use crate::expr::{Expr, Kind, Scope};
use crate::metric::aggregate::{Count, Needs, Sum};
use crate::metric::grid::Memo;
use crate::metric::{
    Aggregate, Ago, Condition, Facts, Fold, FormulaSpec, MetricSpec, Operand, Test, WindowSpec,
};
use crate::number::Decimal;
use crate::time::END_OF_TIME;

/// The names of a formula in these tests: `ago(a, "3")` is three panes, or days.
struct Names {
    window: WindowSpec,
    operands: RefCell<Vec<Operand>>,
}

impl Scope for Names {
    fn kind(&self, name: &str) -> Result<Kind, String> {
        self.operands.borrow_mut().push(Operand { metric: name.into(), ago: None });
        Ok(Kind::Number)
    }

    fn ago(&self, name: &str, span: &str) -> Result<Kind, String> {
        let many: i64 = span.parse().map_err(|_| "is no number")?;
        let ago = match self.window {
            WindowSpec::Calendar { .. } => Ago::Blocks(many),
            WindowSpec::SinceMidnight { .. } => Ago::Days(many),
            _ => Ago::Span(many * self.window.step()),
        };
        self.operands.borrow_mut().push(Operand { metric: name.into(), ago: Some(ago) });
        Ok(Kind::Number)
    }
}

fn formula(name: &str, text: &str, operands: &[&MetricSpec]) -> MetricSpec {
    let longest = operands.iter().map(|spec| &spec.window).max_by_key(|window| window.longest());
    let window = longest.unwrap().clone();
    let names = Names { window: window.clone(), operands: RefCell::default() };
    let expr = Expr::parse(text, &names).unwrap();
    let grouped = operands.iter().find(|spec| !spec.group_by.is_empty());
    let formula = FormulaSpec { expr, operands: names.operands.into_inner() };
    MetricSpec {
        group_by: grouped.map_or_else(Vec::new, |spec| spec.group_by.clone()),
        keep: 40 * window.step(),
        ..MetricSpec::of_formula(name, formula, window)
    }
}

fn plain(name: &str, aggregate: Aggregate, window: WindowSpec, grouped: bool) -> MetricSpec {
    MetricSpec {
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
        ..MetricSpec::new(name, aggregate, window)
    }
}

/// One operand, computed again: what it is at the end of any window.
struct Again<'a> {
    metric: &'a Metric,
    numbers: BTreeMap<(EpochMs, String), f64>,
    begins: EpochMs,
}

impl<'a> Again<'a> {
    fn new(metric: &'a Metric, samples: &[Sample]) -> Self {
        let numbers = exact(metric, samples).into_iter();
        let numbers = numbers.filter_map(|(key, number)| Some((key, number.scalar()?)));
        let begins = metric.grid.pane(samples[0].at, &mut Memo::default()).start;
        Again { metric, numbers: numbers.collect(), begins }
    }

    /// Its number; the outer one: nothing is known of it.
    fn at(&self, end: EpochMs, label: &str) -> Option<Option<f64>> {
        let label = if self.metric.is_grouped() { label } else { "" };
        let own = self.numbers.get(&(end, label.to_owned())).copied();
        let none = || self.metric.empty().and_then(|none| none.scalar());
        (end > self.begins).then(|| own.or_else(none))
    }

    fn has(&self, end: EpochMs, label: &str) -> bool {
        self.metric.is_grouped() && self.numbers.contains_key(&(end, label.to_owned()))
    }
}

/// The formulas of these tests, and the same by hand. `back`: the end so much earlier.
struct Definition<'a> {
    a: Again<'a>,
    b: Again<'a>,
    back: i64,
}

const FORMULAS: [&str; 4] = ["share", "change", "both", "twice"];

impl Definition<'_> {
    fn earlier(&self, end: EpochMs) -> EpochMs {
        let metric = self.a.metric;
        let ago = match metric.spec.window {
            WindowSpec::Calendar { .. } => Ago::Blocks(self.back),
            WindowSpec::SinceMidnight { .. } => Ago::Days(self.back),
            _ => Ago::Span(self.back * metric.spec.window.step()),
        };
        metric.grid.earlier(end, ago, &mut Memo::default())
    }

    /// The number of a formula; of a running total the last one of its run.
    fn held(&self, formula: &str, mut end: EpochMs, label: &str) -> Option<f64> {
        let (grid, memo) = (&self.a.metric.grid, &mut Memo::default());
        let start = grid.window_start(end - 1, memo);
        loop {
            let number = self.number(formula, end, label).flatten();
            end = match grid.pane(end - 1, memo).start {
                before if number.is_none() && grid.runs() && before > start.max(self.a.begins) => {
                    before
                }
                _ => return number,
            };
        }
    }

    /// The number of a formula; the outer one: there is no window, or no such group in it.
    fn number(&self, formula: &str, end: EpochMs, label: &str) -> Option<Option<f64>> {
        let past = self.earlier(end);
        let (a, b) = (&self.a, &self.b);
        let over = |x: f64, y: f64| (y != 0.0).then(|| x / y);
        let has = |ends: &[(&Again<'_>, EpochMs)]| {
            let grouped = ends.iter().any(|(one, _)| one.metric.is_grouped());
            !grouped || ends.iter().any(|(one, end)| one.has(*end, label))
        };
        let both = |x: Option<f64>, y: Option<f64>| Some((x?, y?));
        match formula {
            "share" => has(&[(a, end), (b, end)]).then_some(())?,
            "change" | "twice" => has(&[(a, end), (a, past)]).then_some(())?,
            _ => has(&[(a, end), (b, past)]).then_some(())?,
        }
        Some(match formula {
            "share" => both(a.at(end, label)?, b.at(end, label)?).and_then(|(x, y)| over(x, y)),
            "both" => both(a.at(end, label)?, b.at(past, label)?).map(|(x, y)| 2.0 * x - y + 0.5),
            _ => {
                let change = both(a.at(end, label)?, a.at(past, label)?).map(|(x, y)| x - y);
                if formula == "change" { change } else { change.map(|change| change * -2.0) }
            }
        })
    }
}

fn same(found: Option<f64>, wanted: Option<f64>) -> bool {
    match (found, wanted) {
        (Some(x), Some(y)) => (x - y).abs() <= 1e-9 * y.abs().max(1.0),
        (found, wanted) => found == wanted,
    }
}

type Found = BTreeMap<(&'static str, EpochMs, String), f64>;

/// What left the process, with crashes: see the tests of windows.
fn run(
    metrics: &Arc<Vec<Metric>>,
    samples: &[Sample],
    back: i64,
    shards: usize,
    barriers: &[(bool, u8)],
) -> Found {
    let mut found = Found::new();
    lives(metrics, samples, shards, barriers, |live, unit, read| {
        for point in &live.points {
            let metric = usize::from(point.metric);
            let name = &metrics[metric].spec.name;
            let Some(name) = FORMULAS.iter().find(|one| *one == name) else { continue };
            let label = live.engine.state(metric).groups.text(point.group);
            let former = found.insert((name, point.end, label), point.value.scalar().unwrap());
            assert_eq!(former, None, "a window of {name} became final twice");
        }
        if let Some(read) = read {
            board_shows_it(metrics, live, read, back, unit.watermark);
        }
    });
    found
}

/// Whole windows on the board are the definition over what was read so far.
fn board_shows_it(
    metrics: &[Metric],
    keeper: &Keeper,
    samples: &[Sample],
    back: i64,
    watermark: EpochMs,
) {
    let again = |at: usize| Again::new(&metrics[at], samples);
    let definition = Definition { a: again(0), b: again(1), back };
    let topics = keeper.topics(watermark, &PipelineView::default());
    for name in FORMULAS {
        let index = metrics.iter().position(|metric| metric.spec.name == name).unwrap();
        let TopicState::Series(series) = &topics[name].state else { panic!("a line") };
        let metric = &metrics[index];
        let groups = &keeper.engine.state(index).groups;
        let labels: Vec<String> = if metric.is_grouped() {
            groups.present().map(|(group, _)| groups.text(group)).collect()
        } else {
            vec![String::new()]
        };
        let none = metric.empty().and_then(|none| none.scalar());
        for (end, values) in &series.points {
            for (label, value) in labels.iter().zip(values) {
                let wanted = definition.held(name, *end, label).or(none);
                assert!(same(*value, wanted), "{name} {label} {end}: {value:?}, not {wanted:?}");
            }
        }
        let running = metric.grid.pane(watermark, &mut Memo::default()).start;
        let shown = series.points.back().map(|(end, _)| *end);
        let begins = keeper.begins(index).filter(|begins| *begins < running);
        assert_eq!(shown, begins.map(|_| running), "{name}: the newest whole window");
        let warms = keeper.since(index, watermark).is_some_and(|since| since.warming);
        assert_eq!(warms, name != "share" && shown.is_none(), "{name} warms up");
    }
}

/// Another window that ends where this one does.
fn beside(window: &WindowSpec, panes: i64) -> WindowSpec {
    match window.clone() {
        WindowSpec::Tumbling { size } => WindowSpec::Hopping { size: size * panes, slide: size },
        WindowSpec::Hopping { slide, .. } => WindowSpec::Tumbling { size: slide },
        WindowSpec::Calendar { span, zone, first_weekday, .. } => {
            WindowSpec::Calendar { span, zone, first_weekday, panes }
        }
        same => same,
    }
}

proptest! {
    #![proptest_config(crate::trials::cases(120))]
    #[test]
    fn a_formula_is_its_operands_put_into_it_whatever_came_when_and_who_died(
        (window, samples) in windows()
            .prop_filter("no two end together", |window| window.ends_with(window))
            .prop_flat_map(|w| (Just(w.clone()), samples(&w))),
        aggregates in (0usize..20, 0usize..20),
        (grouped_a, grouped_b, beside_it) in any::<(bool, bool, bool)>(),
        back in 1i64..4,
        shards in 1usize..=4,
        barriers in prop::collection::vec((any::<bool>(), 0u8..4), 1..12),
    ) {
        let runs = !window.has_length();
        let all: Vec<Aggregate> = Aggregate::all()
            .into_iter()
            .filter(|one| one.shape().is_scalar() && !(runs && one.is_per_time()))
            .collect();
        let aggregate = |at: usize| all[at % all.len()].clone();
        let other = if beside_it { beside(&window, 3) } else { window.clone() };
        let a = plain("a", aggregate(aggregates.0), window.clone(), grouped_a);
        let b = plain("b", aggregate(aggregates.1), other, grouped_b);
        let change = formula("change", &format!("a - ago(a, \"{back}\")"), &[&a]);
        let specs = [
            a.clone(),
            b.clone(),
            // Declared before what it is computed of.
            formula("twice", "-2 * change", &[&change]),
            formula("share", "a / b", &[&a, &b]),
            change,
            formula("both", &format!("2 * a - ago(b, \"{back}\") + 0.5"), &[&a, &b]),
        ];
        let metrics = Arc::new(Metric::compile_all(&specs, &schema()));
        let found = run(&metrics, &samples, back, shards, &barriers);
        let again = |at: usize| Again::new(&metrics[at], &samples);
        let definition = Definition { a: again(0), b: again(1), back };
        // Nothing comes after the last window of an operand.
        let ends = [0, 1].map(|at| final_numbers(&metrics[at], &samples).into_keys().last());
        let ends = ends.map(|newest| newest.map_or(BEGINNING, |(end, _)| end));
        let memo = &mut Memo::default();
        for name in FORMULAS {
            let metric = metrics.iter().find(|metric| metric.spec.name == name).unwrap();
            let none = metric.empty().and_then(|none| none.scalar());
            let newest = if name == "change" || name == "twice" { ends[0] } else { ends[0].max(ends[1]) };
            let labels: &[&str] = if metric.is_grouped() { &["0", "1", "2"] } else { &[""] };
            for label in labels {
                let (mut end, mut total) = (metric.grid.pane(samples[0].at, memo).end, None);
                let mut numbers = 0;
                while end <= newest.min(samples[0].at + 400 * window.step()) {
                    let own = found.get(&(name, end, (*label).to_owned())).copied();
                    numbers += usize::from(own.is_some());
                    let start = metric.grid.window_start(end - 1, memo);
                    if own.is_some() || !runs {
                        total = own.map(|own| (start, own));
                    }
                    let held = total.filter(|(of, _)| *of == start).map(|(_, number)| number);
                    let wanted = definition.held(name, end, label);
                    prop_assert!(
                        same(held.or(none), wanted.or(none)),
                        "{} {} at {}: {:?}, not {:?}", name, label, end, held, wanted
                    );
                    end = metric.grid.pane(end, memo).end;
                }
                let all = found.keys().filter(|(one, at, of)| *one == name && of == label && *at < end);
                prop_assert_eq!(all.count(), numbers, "windows where there are none: {}", name);
            }
        }
    }
}

/// A formula that a start adds has what its operands still have.
#[test]
fn a_formula_that_comes_later_begins_with_the_history_of_its_operands() {
    let window = WindowSpec::Tumbling { size: 60_000 };
    let a = plain("a", Count.into(), window.clone(), false);
    let b = plain("b", Sum.into(), window, false);
    let compile = |specs: &[MetricSpec]| Arc::new(Metric::compile_all(specs, &schema()));
    let before = compile(&[a.clone(), b.clone()]);
    let share = formula("share", "b / a", &[&a, &b]);
    let after =
        compile(&[a.clone(), b.clone(), share, formula("change", "a - ago(a, \"3\")", &[&a])]);
    let start = 1_699_920_000_000;
    let event = |minute: i64| Sample {
        at: start + minute * 60_000,
        user: 1,
        amount: minute,
        stamp: start + minute * 60_000,
        position: minute as u64,
    };
    let mut fold = Fold::new(Arc::clone(&before), LATENESS);
    let (mut live, mut snapshot) = (keeper(&before), Snapshot::default());
    for minute in 0..60 {
        fold.add(Facts::Events, &event(minute), event(minute).stamp);
        let barrier = Barrier {
            watermark: event(minute).at,
            first_at: Some(start),
            max_at: Some(event(minute).at),
            ..Barrier::default()
        };
        let delta = ShardDelta { facts: fold.flush(), ..ShardDelta::default() };
        let unit = live.merge(barrier, vec![delta]);
        unit.delta.iter().for_each(|section| snapshot.absorb(section).unwrap());
    }
    let watermark = event(59).at;
    let mut next = keeper(&after);
    next.restore(&mut snapshot, watermark).unwrap();
    assert_eq!(next.since(2, watermark), None, "its operands were there from the first event on");
    let barrier = Barrier { watermark, ..Barrier::default() };
    next.merge(barrier, vec![ShardDelta::default()]);
    let ends = |index: usize| -> Vec<i64> {
        let history = next.engine.state(index).history.iter();
        history.map(|window| (window.end - start) / 60_000).collect()
    };
    let kept = ends(0);
    assert_eq!(kept.len(), 40, "as many as are kept");
    assert_eq!(ends(2), kept);
    assert_eq!(ends(3), kept[3..], "three minutes before them are forgotten");
}

/// What is counted without and with a label, under the names of the formulas that use both.
#[test]
fn a_number_beyond_the_limit_of_groups_is_left_out_and_counted() {
    let window = WindowSpec::Tumbling { size: 60_000 };
    let a = plain("a", Count.into(), window.clone(), true);
    let all = plain("all", Count.into(), window, false);
    let share = MetricSpec { group_limit: 2, ..formula("share", "a / all", &[&a, &all]) };
    let metrics = Arc::new(Metric::compile_all(&[a, all, share], &schema()));
    let mut fold = Fold::new(Arc::clone(&metrics), LATENESS);
    let mut live = keeper(&metrics);
    let start = 1_699_920_000_000;
    for user in 1..=6u64 {
        let sample = Sample { at: start, user, amount: 1, stamp: BEGINNING, position: user };
        fold.add(Facts::Events, &sample, BEGINNING);
    }
    let barrier = Barrier { watermark: END_OF_TIME, first_at: Some(start), ..Barrier::default() };
    let unit =
        live.merge(barrier, vec![ShardDelta { facts: fold.flush(), ..ShardDelta::default() }]);
    let groups = &live.engine.state(2).groups;
    let texts: Vec<String> = groups.present().map(|(group, _)| groups.text(group)).collect();
    assert_eq!(texts, ["1", "2"], "in the order of the operand");
    assert_eq!(live.overflow().collect::<Vec<_>>(), [("a", 0), ("share", 1)]);
    let window = &live.engine.state(2).history[0];
    let third = 1.0 / 3.0;
    assert!(window.values.scalars().iter().all(|(_, value)| (value - third).abs() < 1e-12));
    let rows = unit.rollups.iter().filter(|row| row.metric == "share");
    let rows: Vec<&str> = rows.map(|row| row.group.as_str()).collect();
    assert_eq!(rows, ["0", "1", "2"], "roll-ups are those of the operand's groups");
}
