//! What a board may weigh: short labels, and topics that fit one frame.
//!
//! Labels and keys come from events, so whoever sends events decides how long they are.
//! The board carries the beginning of a long one and a hash of all of it, so that two of
//! them never look the same; the whole text stays with the state and is given on request.
//! A topic that would be heavier than a frame may be shows fewer rows, columns or points,
//! and says so.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::{Grid, Log, Series, Topic, TopicState};
use crate::hash::fingerprint;

/// Longest label, in bytes: what fits a panel.
pub const LABEL_BYTES_MAX: usize = 96;

/// Kept of a longer one, before `…` and its hash.
const LABEL_BYTES_KEPT: usize = 64;

/// Longest sentence in an item of a log.
const SENTENCE_BYTES_MAX: usize = 320;

/// Most entries of a list or an object in an item of a log.
const ENTRIES_MAX: usize = 32;

/// Deepest nesting of an item of a log.
const DEPTH_MAX: usize = 6;

/// Most bytes of an item of a log, beside its own texts.
const ITEM_BYTES_MAX: usize = 8 * 1024;

/// Most bytes of a topic's whole state as it is sent: three quarters of what may be under
/// way to one browser (`subscriber::WINDOW_BYTES`).
pub const TOPIC_BYTES_MAX: usize = 192 * 1024;

/// Most rows of a grid: more than a person reads, and half of the bytes at most.
pub const ROWS_MAX: usize = 400;

/// A number as JSON text at most, with its comma: `-0.12345678901234567,`.
const NUMBER_BYTES: usize = 22;

/// A time as JSON text, with brackets and commas.
const TIME_BYTES: usize = 18;
const _: () =
    assert!(LABEL_BYTES_KEPT < LABEL_BYTES_MAX, "a label that is cut has room for its mark");
const _: () = assert!(
    SENTENCE_BYTES_MAX < ITEM_BYTES_MAX && ITEM_BYTES_MAX < TOPIC_BYTES_MAX,
    "what is bounded lies within what bounds it"
);

/// A label as the board shows it: itself, or its beginning and a hash of all of it.
pub fn label(text: &str) -> Cow<'_, str> {
    shortened(text, LABEL_BYTES_MAX, LABEL_BYTES_KEPT)
}

fn shortened(text: &str, bytes_max: usize, kept: usize) -> Cow<'_, str> {
    if json_len(text) <= bytes_max {
        return Cow::Borrowed(text);
    }
    let mut bytes = 0;
    let fits = |c: &char| {
        bytes += json_char_len(*c);
        bytes <= kept
    };
    let beginning: String = text.chars().take_while(fits).collect();
    // 48 bits: of ten thousand labels with one beginning, two look alike once in five
    // million boards.
    let hash = fingerprint(text.as_bytes()) & 0xffff_ffff_ffff;
    Cow::Owned(format!("{beginning}…{hash:012x}"))
}

/// An item of a log as the board shows it: texts, lists and nesting cut, and what is
/// nested left out when all of it is still too much.
pub fn item(value: Value) -> Value {
    match cut(value, 0) {
        Value::Object(fields) if fields.values().map(value_len).sum::<usize>() > ITEM_BYTES_MAX => {
            let flat = |field: Value| match field {
                Value::Array(_) | Value::Object(_) => Value::Null,
                other => other,
            };
            fields.into_iter().map(|(name, field)| (name, flat(field))).collect()
        }
        item => item,
    }
}

fn cut(value: Value, depth: usize) -> Value {
    match value {
        Value::String(text) if depth > 1 => label(&text).into_owned().into(),
        Value::String(text) => {
            shortened(&text, SENTENCE_BYTES_MAX, SENTENCE_BYTES_MAX - 32).into_owned().into()
        }
        Value::Array(_) | Value::Object(_) if depth >= DEPTH_MAX => Value::Null,
        Value::Array(items) => {
            items.into_iter().take(ENTRIES_MAX).map(|item| cut(item, depth + 1)).collect()
        }
        Value::Object(fields) => fields
            .into_iter()
            .take(ENTRIES_MAX)
            .map(|(name, field)| (label(&name).into_owned(), cut(field, depth + 1)))
            .collect(),
        other => other,
    }
}

/// Bytes of a text as JSON, without its quotes.
fn json_len(text: &str) -> usize {
    text.chars().map(json_char_len).sum()
}

fn json_char_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

/// All topics within their bounds. Those that are already stay as they are, shared.
pub fn fit(mut topics: BTreeMap<String, Arc<Topic>>) -> BTreeMap<String, Arc<Topic>> {
    topics.values_mut().for_each(fit_topic);
    topics
}

fn fit_topic(topic: &mut Arc<Topic>) {
    if topic.about.columns.iter().any(|column| json_len(column) > LABEL_BYTES_MAX) {
        let columns = &mut Arc::make_mut(topic).about.columns;
        columns.iter_mut().for_each(|column| *column = label(column).into_owned());
    }
    let said = match &topic.state {
        TopicState::Grid(grid) => fit_grid(grid).map(|(grid, said)| (TopicState::Grid(grid), said)),
        TopicState::Series(series) => {
            fit_series(series).map(|(series, said)| (TopicState::Series(series), said))
        }
        TopicState::Map(map) => fit_map(map).map(|(map, said)| (TopicState::Map(map), said)),
        TopicState::Log(log) => fit_log(log).map(|log| (TopicState::Log(log), String::new())),
    };
    if let Some((state, said)) = said {
        let topic = Arc::make_mut(topic);
        topic.state = state;
        if !said.is_empty() {
            let note = &mut topic.about.note;
            let sign = if note.is_empty() { "" } else { "; " };
            note.push_str(&format!("{sign}{said}"));
        }
    }
}

fn fit_grid(grid: &Grid) -> Option<(Grid, String)> {
    let rows = grid.rows.len().min(ROWS_MAX);
    let long = |row: &Vec<String>| row.iter().any(|label| json_len(label) > LABEL_BYTES_MAX);
    let greatest =
        grid.columns.iter().flat_map(|(_, cells)| cells.iter()).max().copied().unwrap_or(0);
    // By its greatest number a grid changes its size seldom: each change sends all of it.
    let column = TIME_BYTES + rows * (digits(greatest) + 1);
    let labels = |row: &Vec<String>| {
        row.iter().map(|l| json_len(l).min(LABEL_BYTES_MAX) + 3).sum::<usize>() + 3
    };
    let texts: usize = grid.rows.iter().take(rows).map(labels).sum();
    let room = TOPIC_BYTES_MAX.saturating_sub(texts + 256);
    let capacity = grid.capacity.min((room / column).max(1));
    if capacity == grid.capacity && rows == grid.rows.len() && !grid.rows.iter().any(long) {
        return None;
    }
    let short = |row: &Vec<String>| row.iter().map(|text| label(text).into_owned()).collect();
    let kept = |(at, cells): &(i64, Arc<Vec<u64>>)| {
        if cells.len() > rows {
            (*at, Arc::new(cells[..rows].to_vec()))
        } else {
            (*at, Arc::clone(cells))
        }
    };
    let skipped = grid.columns.len().saturating_sub(capacity);
    let fitted = Grid {
        capacity,
        rows: Arc::new(grid.rows.iter().take(rows).map(short).collect()),
        columns: grid.columns.iter().skip(skipped).map(kept).collect(),
    };
    let mut said = Vec::new();
    if rows < grid.rows.len() {
        said.push(format!("the first {rows} of {} groups", grid.rows.len()));
    }
    if capacity < grid.capacity {
        said.push(format!("the newest {capacity} of {} columns", grid.capacity));
    }
    Some((fitted, said.join(", ")))
}

fn fit_series(series: &Series) -> Option<(Series, String)> {
    let width = series.points.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let room = TOPIC_BYTES_MAX - 256;
    let capacity = series.capacity.min(room / (TIME_BYTES + width * NUMBER_BYTES)).max(1);
    if capacity == series.capacity {
        return None;
    }
    let skipped = series.points.len().saturating_sub(capacity);
    let points: VecDeque<_> = series.points.iter().skip(skipped).cloned().collect();
    let said = format!("the newest {capacity} of {} points", series.capacity);
    Some((Series { capacity, points }, said))
}

fn fit_map(map: &BTreeMap<String, Value>) -> Option<(BTreeMap<String, Value>, String)> {
    let heavy = |value: &Value| value_len(value) > TOPIC_BYTES_MAX / 4;
    let long = |(name, value): (&String, &Value)| json_len(name) > LABEL_BYTES_MAX || heavy(value);
    let bytes: usize = map.iter().map(|(name, value)| json_len(name) + 4 + value_len(value)).sum();
    if bytes <= TOPIC_BYTES_MAX && !map.iter().any(long) {
        return None;
    }
    let (mut kept, mut bytes) = (BTreeMap::new(), 256);
    for (name, value) in map {
        let name = label(name).into_owned();
        let value = if heavy(value) { cut(value.clone(), 1) } else { value.clone() };
        bytes += json_len(&name) + 4 + value_len(&value);
        if bytes <= TOPIC_BYTES_MAX {
            kept.insert(name, value);
        }
    }
    let said = if kept.len() == map.len() {
        String::new()
    } else {
        format!("{} of {} entries", kept.len(), map.len())
    };
    Some((kept, said))
}

/// A log keeps fewer of its newest items when they are heavy; the others are fetched.
fn fit_log(log: &Log) -> Option<Log> {
    let len = |item: &super::LogItem| 64 + json_len(&item.id) + value_len(&item.body);
    let heaviest = log.items.iter().map(|item| len(item)).max().unwrap_or(0);
    // Rounded up, so that the capacity (each change of it sends all) changes seldom.
    let item = heaviest.next_power_of_two().max(256);
    let capacity = log.capacity.min((TOPIC_BYTES_MAX / item).max(1));
    let bytes: usize = log.items.iter().map(|item| len(item)).sum();
    if capacity == log.capacity || bytes + 256 <= TOPIC_BYTES_MAX {
        return None;
    }
    let skipped = log.items.len().saturating_sub(capacity);
    Some(Log { capacity, items: log.items.iter().skip(skipped).cloned().collect() })
}

/// Bytes of a value as JSON, not fewer than it takes.
fn value_len(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => NUMBER_BYTES,
        Value::String(text) => json_len(text) + 2,
        Value::Array(items) => items.iter().map(|item| value_len(item) + 1).sum::<usize>() + 2,
        Value::Object(fields) => {
            let field = |(name, field): (&String, &Value)| json_len(name) + 4 + value_len(field);
            fields.iter().map(field).sum::<usize>() + 2
        }
    }
}

fn digits(count: u64) -> usize {
    count.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
#[path = "bound_tests.rs"]
mod tests;
