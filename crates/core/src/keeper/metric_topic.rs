//! A metric's topic: a line, a grid, or the newest numbers where they are more than one each.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::words::window_words;
use crate::board::bound::ROWS_MAX;
use crate::board::{Grid, Series, Topic, TopicAbout, TopicState};
use crate::metric::Metric;
use crate::metric::groups::{OVERFLOW, OVERFLOW_TEXT, group_text};
use crate::metric::shown::{Shown, ShownWindow};
use crate::metric::window::MetricState;

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
    let mut about = about(metric);
    let state = if grid {
        TopicState::Grid(grid_of(state, &windows, capacity, overflows, &mut about))
    } else {
        let series = series_of(metric, state, &windows, capacity, overflows, &mut about);
        TopicState::Series(series)
    };
    Topic { about, state }
}

/// The newest numbers by group: what is more than a number each has no line.
fn newest_topic(
    metric: &Metric,
    state: &MetricState,
    shown: Option<&Shown<'_>>,
    overflows: bool,
) -> Topic {
    let mut about = about(metric);
    let kept = name_groups(metric, state, overflows, &mut about);
    let Some(now) = shown.and_then(Shown::now) else {
        return Topic { about, state: TopicState::Map(BTreeMap::new()) };
    };
    let none = metric.spec.aggregate.empty();
    let number = |(column, name): (usize, &String)| {
        let group = if column == kept { OVERFLOW } else { column as u32 };
        let number = if metric.is_grouped() {
            now.get(group)
        } else {
            now.iter().next().map(|(_, number)| number)
        };
        (name.clone(), json!(number.or_else(|| none.clone())))
    };
    let numbers = about.columns.iter().enumerate().map(number).collect();
    Topic { about, state: TopicState::Map(numbers) }
}

/// Names the columns: the first groups, and what lies beyond `group_limit`. Returns how many are
/// groups; a metric without groups has one column.
fn name_groups(
    metric: &Metric,
    state: &MetricState,
    overflows: bool,
    about: &mut TopicAbout,
) -> usize {
    if !metric.is_grouped() {
        return 1;
    }
    let groups = state.groups.all();
    about.columns = groups.iter().take(GROUPS_MAX).map(|labels| group_text(labels)).collect();
    let kept = about.columns.len();
    if groups.len() > kept {
        about.note =
            with_note(&about.note, &format!("the first {kept} of {} groups", groups.len()));
    }
    if overflows {
        about.overflow = Some(kept);
        about.columns.push(OVERFLOW_TEXT.into());
    }
    kept
}

fn series_of(
    metric: &Metric,
    state: &MetricState,
    windows: &[ShownWindow<'_>],
    capacity: usize,
    overflows: bool,
    about: &mut TopicAbout,
) -> Series {
    let kept = name_groups(metric, state, overflows, about);
    let columns = about.columns.len();
    let column = |group: u32| match group {
        OVERFLOW => Some(kept),
        group => Some(group as usize).filter(|group| *group < kept),
    };
    let none = metric.spec.aggregate.empty().and_then(|none| none.scalar());
    let point = |window: &ShownWindow<'_>| {
        let mut values = vec![none; columns];
        for (group, value) in window.values.scalars() {
            if let Some(slot) = column(*group).and_then(|column| values.get_mut(column)) {
                *slot = Some(*value);
            }
        }
        (window.end, values)
    };
    Series { capacity, points: windows.iter().map(point).collect() }
}

fn grid_of(
    state: &MetricState,
    windows: &[ShownWindow<'_>],
    capacity: usize,
    overflows: bool,
    about: &mut TopicAbout,
) -> Grid {
    // The overflow has the last row, however many groups there are.
    let groups = state.groups.all();
    let room = ROWS_MAX - usize::from(overflows);
    let mut rows: Vec<Vec<String>> =
        groups.iter().take(room).map(|labels| labels.to_vec()).collect();
    let kept = rows.len();
    if groups.len() > kept {
        about.note =
            with_note(&about.note, &format!("the first {kept} of {} groups", groups.len()));
    }
    if overflows {
        about.overflow = Some(kept);
        rows.push(vec![OVERFLOW_TEXT.into(); about.columns.len()]);
    }
    let column = |window: &ShownWindow<'_>| {
        let mut cells = vec![0; rows.len()];
        for (group, value) in window.values.scalars() {
            let row = match *group {
                OVERFLOW => kept,
                group if (group as usize) < kept => group as usize,
                _ => continue,
            };
            if let Some(cell) = cells.get_mut(row) {
                *cell = *value as u64;
            }
        }
        (window.pane, Arc::new(cells))
    };
    let columns = windows.iter().map(column).collect();
    Grid { capacity, rows: Arc::new(rows), columns }
}

fn with_note(note: &str, more: &str) -> String {
    let sign = if note.is_empty() { "" } else { "; " };
    format!("{note}{sign}{more}")
}
