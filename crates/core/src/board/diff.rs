//! What changed between two states of one topic, as typed changes.
//!
//! The law: `apply(old, diff(old, new))` is `new`. Where no change can say what
//! happened (another kind, a point put in between, a row taken away) the answer is
//! [`Difference::Whole`], and the whole state is sent. `frame` writes changes as
//! JSON, `client` reads them back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::{Grid, Log, LogItem, Series, TopicState};
use crate::time::EpochMs;

/// A point of a series: its time, and a value for each column.
pub type Point = (EpochMs, Vec<Option<f64>>);

/// The answer of [`diff`].
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// Nothing changed.
    Same,
    /// This changed.
    Change(Change),
    /// No change expresses it: send the whole state.
    Whole,
}

/// A change from one state of a topic to another of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Names with a new value, and names that are gone.
    Map {
        /// New or changed values.
        set: BTreeMap<String, Value>,
        /// Names that are gone.
        del: Vec<String>,
    },
    /// Points to append, or to put in the place of the one with the same time.
    Series(Vec<Point>),
    /// New rows and columns, then cells that changed.
    Grid {
        /// Rows to append.
        rows: Vec<Vec<String>>,
        /// Columns to append, all cells 0.
        columns: Vec<EpochMs>,
        /// Column, row, count; rows as they are after appending.
        cells: Vec<(EpochMs, usize, u64)>,
    },
    /// New items of a log.
    Log(LogTail),
}

/// The items of a log after a position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogTail {
    /// First and last position that were wanted and are not given.
    pub missing: Option<(u64, u64)>,
    /// The items, oldest first.
    pub items: Vec<Arc<LogItem>>,
}

/// What changed from `old` to `new`.
pub fn diff(old: &TopicState, new: &TopicState) -> Difference {
    if old == new {
        return Difference::Same;
    }
    let change = match (old, new) {
        (TopicState::Map(old), TopicState::Map(new)) => Some(map_change(old, new)),
        (TopicState::Series(old), TopicState::Series(new)) => series_change(old, new),
        (TopicState::Grid(old), TopicState::Grid(new)) => grid_change(old, new),
        (TopicState::Log(old), TopicState::Log(new)) => log_change(old, new),
        _ => None,
    };
    change.map_or(Difference::Whole, Difference::Change)
}

/// Carries a change out. A change of another kind than `state` changes nothing.
pub fn apply(state: &mut TopicState, change: &Change) {
    match (state, change) {
        (TopicState::Map(values), Change::Map { set, del }) => {
            values.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
            for name in del {
                values.remove(name);
            }
        }
        (TopicState::Series(series), Change::Series(points)) => {
            for (at, values) in points {
                put(&mut series.points, *at, values.clone());
            }
            keep_newest(&mut series.points, series.capacity);
        }
        (TopicState::Grid(grid), Change::Grid { rows, columns, cells }) => {
            if !rows.is_empty() {
                Arc::make_mut(&mut grid.rows).extend(rows.iter().cloned());
            }
            grid.columns.extend(columns.iter().map(|at| (*at, Arc::default())));
            keep_newest(&mut grid.columns, grid.capacity);
            for (at, row, count) in cells {
                set_cell(grid, *at, *row, *count);
            }
        }
        (TopicState::Log(log), Change::Log(tail)) => {
            if tail.missing.is_some() {
                log.items.clear();
            }
            log.items.extend(tail.items.iter().cloned());
            keep_newest(&mut log.items, log.capacity);
        }
        _ => {}
    }
}

/// The items of `log` after position `after`, the newest `max` of them at most.
pub fn log_tail(log: &Log, after: u64, max: usize) -> LogTail {
    let wanted = log.items.iter().filter(|item| item.n > after).count();
    let items: Vec<_> = log.items.iter().skip(log.items.len() - wanted.min(max)).cloned().collect();
    let missing = items.first().filter(|first| first.n > after + 1).map(|f| (after + 1, f.n - 1));
    LogTail { missing, items }
}

/// Position of a log's last item, 0 when it is empty.
pub fn log_position(log: &Log) -> u64 {
    log.items.back().map_or(0, |item| item.n)
}

fn map_change(old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>) -> Change {
    let set = new
        .iter()
        .filter(|(name, value)| old.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let del = old.keys().filter(|name| !new.contains_key(*name)).cloned().collect();
    Change::Map { set, del }
}

fn series_change(old: &Series, new: &Series) -> Option<Change> {
    if old.capacity != new.capacity {
        return None;
    }
    let kept = kept(&old.points, &new.points, new.capacity)?;
    let changed = new.points.iter().enumerate().filter(|(index, point)| {
        *index >= kept.len || old.points.get(kept.dropped + *index) != Some(*point)
    });
    Some(Change::Series(changed.map(|(_, point)| point.clone()).collect()))
}

fn grid_change(old: &Grid, new: &Grid) -> Option<Change> {
    if old.capacity != new.capacity || !new.rows.starts_with(&old.rows) {
        return None;
    }
    let kept = kept(&old.columns, &new.columns, new.capacity)?;
    let mut cells = Vec::new();
    for (index, (at, counts)) in new.columns.iter().enumerate() {
        let column = (index < kept.len).then(|| &old.columns[kept.dropped + index].1);
        if column.is_some_and(|before| Arc::ptr_eq(before, counts)) {
            continue;
        }
        let before = column.map_or(&[][..], |before| before);
        for row in 0..counts.len().max(before.len()) {
            let count = counts.get(row).copied().unwrap_or(0);
            if count != before.get(row).copied().unwrap_or(0) {
                cells.push((*at, row, count));
            }
        }
    }
    let columns = new.columns.iter().skip(kept.len).map(|(at, _)| *at).collect();
    Some(Change::Grid { rows: new.rows[old.rows.len()..].to_vec(), columns, cells })
}

fn log_change(old: &Log, new: &Log) -> Option<Change> {
    let after = log_position(old);
    // Positions that went back, or say something else than before, are another log.
    let same_past = new.items.iter().take_while(|item| item.n <= after).all(|item| {
        let known = old.items.iter().find(|known| known.n == item.n);
        known.is_some_and(|known| known == item)
    });
    if old.capacity != new.capacity || log_position(new) < after || !same_past {
        return None;
    }
    let tail = log_tail(new, after, usize::MAX);
    let expected = match tail.missing {
        Some(_) => tail.items.len(),
        None => (old.items.len() + tail.items.len()).min(new.capacity),
    };
    (expected == new.items.len()).then_some(Change::Log(tail))
}

/// How two rings of the same capacity overlap.
struct Kept {
    /// Entries of the old ring that left.
    dropped: usize,
    /// Entries of the old ring that are still there, at the start of the new one.
    len: usize,
}

/// How `new` came from `old`, if it did by appending alone: times grow, and
/// nothing left but what no longer fits.
fn kept<T>(
    old: &VecDeque<(EpochMs, T)>,
    new: &VecDeque<(EpochMs, T)>,
    capacity: usize,
) -> Option<Kept> {
    let first = new.front().map_or(EpochMs::MAX, |(at, _)| *at);
    let dropped = old.iter().take_while(|(at, _)| *at < first).count();
    let len = old.len() - dropped;
    let same = new.len() >= len
        && old.iter().skip(dropped).zip(new.iter()).all(|((old, _), (new, _))| old == new);
    let growing = |ring: &VecDeque<(EpochMs, T)>| {
        ring.iter().zip(ring.iter().skip(1)).all(|((a, _), (b, _))| a < b)
    };
    let appended = new.len().checked_sub(len)?;
    let fits = new.len() == (old.len() + appended).min(capacity);
    let nothing_left = len == 0 && !old.is_empty();
    (same && fits && !nothing_left && growing(old) && growing(new)).then_some(Kept { dropped, len })
}

fn put<T>(ring: &mut VecDeque<(EpochMs, T)>, at: EpochMs, value: T) {
    match ring.iter_mut().rev().find(|(known, _)| *known == at) {
        Some(point) => point.1 = value,
        None => ring.push_back((at, value)),
    }
}

fn keep_newest<T>(ring: &mut VecDeque<T>, capacity: usize) {
    let surplus = ring.len().saturating_sub(capacity);
    ring.drain(..surplus);
}

/// Rows of a grid are bounded by its metric's `group_limit`; a row beyond them is
/// not ours and is ignored.
fn set_cell(grid: &mut Grid, at: EpochMs, row: usize, count: u64) {
    if row >= grid.rows.len() {
        return;
    }
    if let Some((_, counts)) = grid.columns.iter_mut().rev().find(|(known, _)| *known == at) {
        let counts = Arc::make_mut(counts);
        if counts.len() <= row {
            counts.resize(row + 1, 0);
        }
        counts[row] = count;
    }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
