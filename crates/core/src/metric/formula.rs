//! Arithmetic between metrics: `errors / requests`, `sales / ago(sales, "7d")`.
//!
//! A formula is computed of windows, not of facts: wherever a window of an operand ends that is
//! not empty, the numbers of all operands there are put into it. An operand that has nothing there
//! counts as it does without facts: a count as 0, a mean as no number. There is no number before
//! all operands are there. So its windows follow from those of its operands alone, and they are
//! final where theirs are.
//!
//! Groups are those of its operands, by equal labels; an operand without labels is the same for
//! all of them. What lies beyond an operand's `group_limit` is of unknown labels, and of no group.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::ahead::Window;
use super::compile::Metric;
use super::grid::{Ago, Memo};
use super::groups::{KeptGroups, Labels, OVERFLOW_TEXT};
use super::number::{Number, Values as Numbers};
use super::rollup::RollupRow;
use super::spec::{FormulaSpec, MetricSpec};
use crate::expr::{Value, Values};
use crate::number::Decimal;
use crate::time::EpochMs;

/// A formula over the metrics of a pipeline.
#[derive(Clone, Debug)]
pub struct Formula {
    spec: FormulaSpec,
    /// The metric of each operand, by index.
    operands: Vec<usize>,
    /// The number of each operand without facts.
    empty: Vec<Option<f64>>,
    /// Which of them have labels.
    grouped: Vec<bool>,
}

/// What there is of an operand.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// The metric.
    pub metric: &'a Metric,
    /// Its groups.
    pub groups: &'a KeptGroups,
    /// Final windows that are not empty, oldest first.
    pub history: &'a VecDeque<Window>,
    /// Those after them, which are not final.
    pub early: &'a [Window],
    /// Nothing is known of windows that end here or before.
    pub known_from: EpochMs,
}

/// The number of a group in a window; of a formula without groups the one without labels.
pub type Row = (Labels, f64);

/// The formulas among metrics, by index: each behind those that it is computed of. One of a circle
/// is left out.
pub fn order(specs: &[MetricSpec]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    loop {
        let is_known = |name: &String| {
            let plain = |spec: &MetricSpec| spec.name == *name && spec.formula.is_none();
            specs.iter().any(plain) || found.iter().any(|at| specs[*at].name == *name)
        };
        let is_next = |(at, spec): (usize, &MetricSpec)| {
            let operands = &spec.formula.as_ref()?.operands;
            let next = !found.contains(&at) && operands.iter().all(|one| is_known(&one.metric));
            next.then_some(at)
        };
        match specs.iter().enumerate().find_map(is_next) {
            Some(next) => found.push(next),
            None => return found,
        }
    }
}

/// Where the first pane begins whose window is known of a metric, by that of those which are no
/// formulas: for a formula all of its operands must be there. `None` while one is not.
pub fn begins(
    all: &[Metric],
    index: usize,
    plain: &impl Fn(usize) -> Option<EpochMs>,
) -> Option<EpochMs> {
    let Some(formula) = &all[index].formula else { return plain(index) };
    let memo = &mut Memo::default();
    let begins = formula.operands().map(|(operand, ago)| {
        let begins = begins(all, operand, plain)?;
        Some(ago.map_or(begins, |ago| all[operand].grid.later(begins, ago, memo)))
    });
    begins.collect::<Option<Vec<EpochMs>>>()?.into_iter().max()
}

/// A window with these numbers by group, in any order. A running total keeps the number that it had
/// in the window before until it has another one.
pub fn window(
    metric: &Metric,
    before: Option<&Window>,
    end: EpochMs,
    mut values: Vec<(u32, f64)>,
) -> Window {
    values.sort_unstable_by_key(|(group, _)| *group);
    let run = metric.grid.window_start(end - 1, &mut Memo::default());
    if let Some(before) = before.filter(|before| metric.grid.runs() && before.end > run) {
        let has = |group| values.binary_search_by_key(&group, |(group, _)| *group).is_ok();
        let held = before.values.scalars().iter().filter(|(group, _)| !has(*group));
        let held: Vec<(u32, f64)> = held.copied().collect();
        values.extend(held);
        values.sort_unstable_by_key(|(group, _)| *group);
    }
    Window { end, values: Numbers::Scalars(values) }
}

impl Formula {
    /// Of a spec, whose operands are compiled already.
    pub(super) fn compile(spec: &FormulaSpec, all: &[Metric]) -> Formula {
        let index = |name: &String| all.iter().position(|metric| metric.spec.name == *name);
        let operands: Vec<usize> =
            spec.operands.iter().filter_map(|operand| index(&operand.metric)).collect();
        let empty = |at: &usize| all[*at].empty()?.scalar();
        Formula {
            empty: operands.iter().map(empty).collect(),
            grouped: operands.iter().map(|at| all[*at].is_grouped()).collect(),
            spec: spec.clone(),
            operands,
        }
    }

    /// The metric of each operand, by index, and how long ago it is looked at.
    pub fn operands(&self) -> impl Iterator<Item = (usize, Option<Ago>)> {
        self.operands.iter().copied().zip(self.spec.operands.iter().map(|operand| operand.ago))
    }

    /// Its number over windows that hold nothing.
    pub fn empty(&self) -> Option<Number> {
        self.number(&self.empty).map(Number::from)
    }

    /// Its windows that end after `after` and not after `until`, oldest first, of the course of
    /// each operand. Those without a number are left out.
    pub fn windows(
        &self,
        courses: &[Course<'_>],
        after: EpochMs,
        until: EpochMs,
    ) -> Vec<(EpochMs, Vec<Row>)> {
        let memo = &mut Memo::default();
        let mut ends = Vec::new();
        for (course, (_, ago)) in courses.iter().zip(self.operands()) {
            course.ends(ago, after, until, memo, |end| ends.push(end));
        }
        ends.sort_unstable();
        ends.dedup();
        let rows = |end: EpochMs| Some((end, self.rows(courses, end, memo)));
        ends.into_iter().filter_map(rows).filter(|(_, rows)| !rows.is_empty()).collect()
    }

    /// The numbers where windows end at a time, in the order in which the operands have them.
    fn rows(&self, courses: &[Course<'_>], end: EpochMs, memo: &mut Memo) -> Vec<Row> {
        let mut windows = Vec::with_capacity(courses.len());
        for (course, (_, ago)) in courses.iter().zip(self.operands()) {
            let end = ago.map_or(end, |ago| course.metric.grid.earlier(end, ago, memo));
            if end <= course.known_from {
                return Vec::new();
            }
            windows.push(course.at(end, memo));
        }
        let mut whole = self.empty.clone();
        let scalars = |operand: usize| windows[operand].map_or(&[][..], |w| w.values.scalars());
        for operand in (0..whole.len()).filter(|operand| !self.grouped[*operand]) {
            if let [(_, value), ..] = scalars(operand) {
                whole[operand] = Some(*value);
            }
        }
        if !self.grouped.contains(&true) {
            let row = |number| (Labels::default(), number);
            return self.number(&whole).map(row).into_iter().collect();
        }
        let mut index: HashMap<&Labels, usize> = HashMap::new();
        let mut groups: Vec<(&Labels, Vec<Option<f64>>)> = Vec::new();
        for operand in (0..whole.len()).filter(|operand| self.grouped[*operand]) {
            for (group, value) in scalars(operand) {
                let Some(labels) = courses[operand].groups.labels(*group) else { continue };
                let at = *index.entry(labels).or_insert_with(|| {
                    groups.push((labels, whole.clone()));
                    groups.len() - 1
                });
                groups[at].1[operand] = Some(*value);
            }
        }
        let row = |(labels, values): (&Labels, Vec<Option<f64>>)| {
            Some((Arc::clone(labels), self.number(&values)?))
        };
        groups.into_iter().filter_map(row).collect()
    }

    /// Its rows of the minutes that the operands have rows of. One that looks back has none: what
    /// is kept for each minute is of that minute.
    pub fn rollups(&self, metric: &Metric, all: &[Metric], rows: &[RollupRow]) -> Vec<RollupRow> {
        if self.operands().any(|(_, ago)| ago.is_some()) {
            return Vec::new();
        }
        let operand = |row: &RollupRow| {
            self.operands.iter().position(|metric| all[*metric].spec.name == row.metric)
        };
        let of_operands = || rows.iter().filter_map(|row| Some((operand(row)?, row)));
        let mut whole: HashMap<EpochMs, Vec<Option<f64>>> = HashMap::new();
        for (operand, row) in of_operands().filter(|(operand, _)| !self.grouped[*operand]) {
            whole.entry(row.minute).or_insert_with(|| self.empty.clone())[operand] =
                row.value.scalar();
        }
        let mut found = std::collections::BTreeMap::new();
        if metric.is_grouped() {
            let known = |row: &RollupRow| row.group != OVERFLOW_TEXT;
            for (operand, row) in of_operands().filter(|(at, row)| self.grouped[*at] && known(row))
            {
                let values = found.entry((row.minute, row.group.as_str()));
                let values =
                    values.or_insert_with(|| whole.get(&row.minute).unwrap_or(&self.empty).clone());
                values[operand] = row.value.scalar();
            }
        } else {
            found.extend(whole.into_iter().map(|(minute, values)| ((minute, ""), values)));
        }
        let row = |((minute, group), values): ((EpochMs, &str), Vec<Option<f64>>)| {
            let value = self.number(&values)?.into();
            let (metric, group) = (metric.spec.name.clone(), group.to_owned());
            Some(RollupRow { metric, minute, group, count: 0, sum: 0.0, value })
        };
        found.into_iter().filter_map(row).collect()
    }

    fn number(&self, values: &[Option<f64>]) -> Option<f64> {
        match self.spec.expr.eval(&Operands(values)) {
            Value::Number(number) => Some(number.to_f64()).filter(|number| number.is_finite()),
            _ => None,
        }
    }
}

/// The numbers of the operands by the names of the expression.
struct Operands<'a>(&'a [Option<f64>]);

impl Values for Operands<'_> {
    fn value(&self, name: usize) -> Value<'_> {
        let number = self.0.get(name).copied().flatten().and_then(Decimal::from_f64);
        number.map_or(Value::Missing, Value::Number)
    }
}

impl<'a> Course<'a> {
    /// The window that ends there; of a running total the newest up to there, if it is of the
    /// same run.
    fn at(&self, end: EpochMs, memo: &mut Memo) -> Option<&'a Window> {
        let after = self.history.partition_point(|window| window.end <= end);
        let early = self.early.iter().rev().find(|window| window.end <= end);
        let newest = early.or_else(|| self.history.get(after.checked_sub(1)?))?;
        let grid = &self.metric.grid;
        let mut holds = || grid.runs() && newest.end > grid.window_start(end - 1, memo);
        (newest.end == end || holds()).then_some(newest)
    }

    /// Ends of its windows, as much later as is looked back, that lie after `after` and not after
    /// `until`.
    fn ends(
        &self,
        ago: Option<Ago>,
        after: EpochMs,
        until: EpochMs,
        memo: &mut Memo,
        mut each: impl FnMut(EpochMs),
    ) {
        let grid = &self.metric.grid;
        let mut later =
            |window: &Window| ago.map_or(window.end, |ago| grid.later(window.end, ago, memo));
        let first = self.history.partition_point(|window| later(window) <= after);
        for window in self.history.range(first..).chain(self.early) {
            match later(window) {
                end if end > until => return,
                end if end > after => each(end),
                _ => {}
            }
        }
    }
}
