//! A metric's topic: a line, a grid, or the newest numbers where they are more than one each.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::words::{span_words, window_words};
use crate::board::bound::ROWS_MAX;
use crate::board::{Grid, Series, Topic, TopicAbout, TopicState};
use crate::metric::groups::{OVERFLOW_TEXT, group_text};
use crate::metric::number::Values;
use crate::metric::shown::{Shown, ShownWindow};
use crate::metric::window::MetricState;
use crate::metric::{Labels, Metric, OVERFLOW};
use crate::time::SpanMs;

/// Most points of a series on the board; a longer `keep` is thinned by forgetting the oldest.
pub const SERIES_POINTS_MAX: usize = 3_600;
/// Most groups of a series, or of lists and histograms.
const GROUPS_MAX: usize = 20;

pub(super) fn about(metric: &Metric) -> TopicAbout {
    TopicAbout {
        title: metric.spec.title.clone(),
        unit: metric.spec.unit.clone(),
        window: window_words(&metric.spec.window),
        columns: if metric.spec.group_by.is_empty() {
            vec![metric.spec.name.clone()]
        } else {
            metric.spec.group_by.clone()
        },
        step_ms: metric.spec.window.step(),
        note: metric.spec.aggregate.accuracy().map_or_else(String::new, |near| near.to_string()),
        overflow: None,
        since: None,
        warming: false,
        panel: "",
        shape: metric.spec.aggregate.shape(),
    }
}

/// `overflows`: facts went to the overflow, so that it has a column or row of its own.
pub(super) fn metric_topic(
    metric: &Metric,
    state: &MetricState,
    shown: Option<&Shown<'_>>,
    overflows: bool,
) -> Topic {
    if !metric.spec.aggregate.shape().is_scalar() {
        return newest_topic(metric, state, shown, overflows);
    }
    let grid = metric.grid.tumbles()
        && !metric.spec.group_by.is_empty()
        && metric.spec.aggregate.is_whole();
    let keep = metric.spec.keep;
    let capacity = usize::try_from(keep / metric.spec.window.step()).unwrap_or(1);
    let capacity = capacity.clamp(1, SERIES_POINTS_MAX);
    // A grid fills while its second runs; a line shows whole windows only.
    let windows = shown.map_or_else(Vec::new, |shown| {
        if grid { shown.all(keep, capacity) } else { shown.whole(keep, capacity) }
    });
    let weigh = |next| sums(&windows, next, metric.spec.window.step() * capacity as SpanMs);
    let mut about = about(metric);
    let room = if grid { ROWS_MAX - usize::from(overflows) } else { GROUPS_MAX };
    let groups = shown_groups(metric, state, room, weigh, &mut about);
    // Its line has the bursts that ended.
    if let Some(open) = shown.and_then(Shown::open) {
        note(&mut about, &under_way(metric, open));
    }
    let state = if grid {
        TopicState::Grid(grid_of(&groups, &windows, capacity, overflows, &mut about))
    } else {
        name_columns(metric, &groups, overflows, &mut about);
        TopicState::Series(series_of(metric, &groups, &windows, capacity, &about))
    };
    Topic { about, state }
}

/// What a metric of bursts is now, besides those that ended.
fn under_way(metric: &Metric, open: &Values) -> String {
    let (mut scalars, count) = (open.scalars().iter(), open.len());
    match scalars.next() {
        None => "no burst under way".to_owned(),
        Some(_) if metric.is_grouped() => format!("{count} bursts under way"),
        Some((_, value)) => format!("{} in the burst under way", (value * 100.0).round() / 100.0),
    }
}

/// A group on the board: its number and its labels.
type ShownGroup<'a> = (u32, &'a Labels);

/// The groups that there is room for, by number: all, or the greatest. `weigh` gives the weights
/// of the numbers below the one it is given.
fn shown_groups<'a>(
    metric: &Metric,
    state: &'a MetricState,
    room: usize,
    weigh: impl FnOnce(u32) -> Vec<f64>,
    about: &mut TopicAbout,
) -> Vec<ShownGroup<'a>> {
    if !metric.is_grouped() {
        return Vec::new();
    }
    let mut groups: Vec<ShownGroup<'_>> = state.groups.present().collect();
    let all = groups.len();
    if all > room {
        let weights = weigh(state.groups.map().next);
        let weight = |group: &ShownGroup<'_>| weights.get(group.0 as usize).copied().unwrap_or(0.0);
        groups.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.0.cmp(&b.0)));
        groups.truncate(room);
        groups.sort_unstable_by_key(|(group, _)| *group);
        note(about, &format!("the greatest {room} of {all} groups"));
    }
    if state.groups.num_left() > 0 {
        let silent = span_words(metric.spec.group_silence);
        note(about, &format!("{} groups left, silent for {silent}", state.groups.num_left()));
    }
    groups
}

/// Sum of each group over the windows of a topic that holds `span`. Over those that ended before
/// the last tenth of it began, so that columns stay for as long.
fn sums(windows: &[ShownWindow<'_>], next: u32, span: SpanMs) -> Vec<f64> {
    let mut sums = vec![0.0; next as usize];
    let tenth = (span / 10).max(1);
    let newest = windows.last().map_or(0, |window| window.end);
    let whole = newest.div_euclid(tenth) * tenth;
    let old = windows.partition_point(|window| window.end <= whole);
    for window in &windows[..if old > 0 { old } else { windows.len() }] {
        for (group, value) in window.values.scalars() {
            if let Some(sum) = sums.get_mut(*group as usize) {
                *sum += *value;
            }
        }
    }
    sums
}

/// The newest numbers by group: what is more than a number each has no line.
fn newest_topic(
    metric: &Metric,
    state: &MetricState,
    shown: Option<&Shown<'_>>,
    overflows: bool,
) -> Topic {
    let mut about = about(metric);
    let now = shown.and_then(Shown::now);
    let weigh = |next| {
        let mut weights = vec![0.0; next as usize];
        for (group, number) in now.iter().flat_map(Values::iter) {
            if let Some(weight) = weights.get_mut(group as usize) {
                *weight = number.facts() as f64;
            }
        }
        weights
    };
    let groups = shown_groups(metric, state, GROUPS_MAX, weigh, &mut about);
    name_columns(metric, &groups, overflows, &mut about);
    let Some(now) = &now else {
        return Topic { about, state: TopicState::Map(BTreeMap::new()) };
    };
    let none = metric.empty();
    let number = |(column, name): (usize, &String)| {
        let number = match groups.get(column) {
            Some((group, _)) => now.get(*group),
            None if metric.is_grouped() => now.get(OVERFLOW),
            None => now.iter().next().map(|(_, number)| number),
        };
        (name.clone(), json!(number.or_else(|| none.clone())))
    };
    let numbers = about.columns.iter().enumerate().map(number).collect();
    Topic { about, state: TopicState::Map(numbers) }
}

/// Names the columns: the groups, and what lies beyond `group_limit`. A metric without groups has
/// one column.
fn name_columns(
    metric: &Metric,
    groups: &[ShownGroup<'_>],
    overflows: bool,
    about: &mut TopicAbout,
) {
    if metric.is_grouped() {
        about.columns = groups.iter().map(|(_, labels)| group_text(labels)).collect();
        if overflows {
            about.overflow = Some(groups.len());
            about.columns.push(OVERFLOW_TEXT.into());
        }
    }
}

/// Where the numbers of a group stand: the overflow comes last. `None`: nowhere.
fn place_of(groups: &[ShownGroup<'_>], group: u32) -> Option<usize> {
    match group {
        OVERFLOW => Some(groups.len()),
        group => groups.binary_search_by_key(&group, |(group, _)| *group).ok(),
    }
}

fn series_of(
    metric: &Metric,
    groups: &[ShownGroup<'_>],
    windows: &[ShownWindow<'_>],
    capacity: usize,
    about: &TopicAbout,
) -> Series {
    let columns = about.columns.len();
    let none = metric.empty().and_then(|none| none.scalar());
    let point = |window: &ShownWindow<'_>| {
        let mut values = vec![none; columns];
        for (group, value) in window.values.scalars() {
            let column = if metric.is_grouped() { place_of(groups, *group) } else { Some(0) };
            if let Some(slot) = column.and_then(|column| values.get_mut(column)) {
                *slot = Some(*value);
            }
        }
        (window.end, values)
    };
    Series { capacity, points: windows.iter().map(point).collect() }
}

fn grid_of(
    groups: &[ShownGroup<'_>],
    windows: &[ShownWindow<'_>],
    capacity: usize,
    overflows: bool,
    about: &mut TopicAbout,
) -> Grid {
    let mut rows: Vec<Vec<String>> = groups.iter().map(|(_, labels)| labels.to_vec()).collect();
    if overflows {
        about.overflow = Some(rows.len());
        rows.push(vec![OVERFLOW_TEXT.into(); about.columns.len()]);
    }
    let column = |window: &ShownWindow<'_>| {
        let mut cells = vec![0; rows.len()];
        for (group, value) in window.values.scalars() {
            if let Some(cell) = place_of(groups, *group).and_then(|row| cells.get_mut(row)) {
                *cell = *value as u64;
            }
        }
        (window.pane, Arc::new(cells))
    };
    let columns = windows.iter().map(column).collect();
    Grid { capacity, rows: Arc::new(rows), columns }
}

pub(super) fn note(about: &mut TopicAbout, more: &str) {
    let sign = if about.note.is_empty() { "" } else { "; " };
    about.note.push_str(sign);
    about.note.push_str(more);
}
