//! The windows of formulas: final ones as those of their operands become final, and those that are
//! not final yet.

use std::sync::Arc;

use super::super::formula::{self, Course, Formula, Row};
use super::super::grid::{Ago, Memo};
use super::super::groups::{Candidate, OVERFLOW, Order};
use super::super::window::MetricState;
use super::{Engine, Window};
use crate::time::{END_OF_TIME, EpochMs};

impl Engine {
    /// What there is of each operand of a formula, with its windows that are not final.
    fn courses<'a>(&'a self, formula: &'a Formula, early: &'a [Vec<Window>]) -> Vec<Course<'a>> {
        let course = |(at, (operand, _)): (usize, (usize, Option<Ago>))| {
            let state = &self.states[operand];
            Course {
                metric: &self.metrics[operand],
                groups: &state.groups,
                history: &state.history,
                early: early.get(at).map_or(&[], Vec::as_slice),
                known_from: self.begins[operand].max(state.forgotten()),
            }
        };
        formula.operands().enumerate().map(course).collect()
    }

    /// The windows of a formula that a watermark makes final. Its groups are kept as they come, in
    /// the order of their windows.
    pub(super) fn form(
        &mut self,
        index: usize,
        formula: &Formula,
        watermark: EpochMs,
        max_at: Option<EpochMs>,
    ) -> Vec<Window> {
        let metric = &self.metrics[index];
        let courses = self.courses(formula, &[]);
        let newest = || {
            let ends = courses.iter().filter_map(|course| course.history.back());
            ends.map(|window| window.end).max().unwrap_or(EpochMs::MIN)
        };
        let memo = &mut Memo::default();
        let until = metric.grid.pane(self.settled(watermark), memo).start;
        // Nothing comes after the end: what was would be seen from there for as long as is looked back. Up to
        // the newest event a watermark may have made windows final, wherever the barriers were.
        let last =
            || max_at.map_or(EpochMs::MIN, |at| metric.grid.pane(at, &mut Memo::default()).end);
        let until = if watermark < END_OF_TIME { until } else { newest().max(last()) };
        let after = self.states[index].next().unwrap_or(EpochMs::MIN);
        let formed = formula.windows(&courses, after, until);
        let (silence, limit) = (self.silences[index], metric.spec.group_limit);
        let MetricState { groups, history, .. } = &mut self.states[index];
        let mut windows: Vec<Window> = Vec::with_capacity(formed.len());
        for (end, rows) in formed {
            let period = silence.period(end - 1);
            groups.turn(period, silence);
            let candidate = |(row, (labels, _)): (usize, &Row)| Candidate {
                metric: index as u16,
                labels: Arc::clone(labels),
                period,
                first: Order::Event { batch: 0, position: row as u64, part: 0 },
            };
            let is_new = |(_, (labels, _)): &(usize, &Row)| groups.number(labels) == OVERFLOW;
            let candidates = rows.iter().enumerate().filter(is_new).map(candidate).collect();
            groups.admit(candidates, limit);
            let mut values = Vec::with_capacity(rows.len());
            for (labels, value) in rows {
                let group = groups.number(&labels);
                if group == OVERFLOW {
                    self.overflow[index] += 1;
                    continue;
                }
                groups.see(group, period);
                values.push((group, value));
            }
            let before = windows.last().or(history.back());
            windows.push(formula::window(metric, before, end, values));
        }
        windows
    }

    /// Windows of a metric that are not final yet and not empty, up to the one that ends with the
    /// pane that holds `last`.
    pub fn early(&self, index: usize, last: EpochMs) -> Vec<Window> {
        let (metric, state) = (&self.metrics[index], &self.states[index]);
        let Some(formula) = &metric.formula else {
            return state.early(metric, last);
        };
        let early: Vec<_> =
            formula.operands().map(|(operand, _)| self.early(operand, last)).collect();
        let until = metric.grid.pane(last, &mut Memo::default()).end;
        let after = state.next().unwrap_or(EpochMs::MIN);
        let formed = formula.windows(&self.courses(formula, &early), after, until);
        let mut windows: Vec<Window> = Vec::with_capacity(formed.len());
        for (end, rows) in formed {
            // A group that no final window has is not kept yet; the only one there is will be.
            let number = |(labels, value): Row| {
                (if metric.is_grouped() { state.groups.number(&labels) } else { 0 }, value)
            };
            let values = rows.into_iter().map(number).filter(|(group, _)| *group != OVERFLOW);
            let values: Vec<(u32, f64)> = values.collect();
            let before = windows.last().or(state.history.back());
            let window = formula::window(metric, before, end, values);
            if !window.values.is_empty() {
                windows.push(window);
            }
        }
        windows
    }

    /// Start of the last pane with which something enters that is not final.
    pub fn last_entry(&self, index: usize) -> Option<EpochMs> {
        match &self.metrics[index].formula {
            None => self.states[index].last_entry(),
            Some(formula) => {
                formula.operands().filter_map(|(operand, _)| self.last_entry(operand)).max()
            }
        }
    }
}
