//! The board: all numbers at one version, as typed topics a browser can follow.
//!
//! `diff` compares two versions, `frame` writes what goes over the wire, `feed` does
//! both once for everybody, `subscriber` decides what one connection gets and when.
//! `client` is the other end, `bound` what a topic may weigh, `share` what versions have in
//! common. All of it is pure; the broadcaster actor and the web shell only carry the bytes.

pub mod bound;
pub mod client;
pub mod command;
pub mod diff;
pub mod feed;
pub mod figure;
pub mod frame;
pub mod share;
pub mod subscriber;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use super::condition::Condition;
use super::metric::Shape;
use super::time::{EpochMs, SpanMs};
use figure::Figure;

/// All topics at one version. Cheap to clone: topics are shared.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Grows by 1 with every published board of one incarnation.
    pub version: u64,
    /// Wall clock when it was made; a label only.
    pub at: EpochMs,
    /// Event time up to which the numbers are complete.
    pub watermark: EpochMs,
    /// Why the numbers are old although the process is fine, if they are.
    pub stale: Option<Condition>,
    /// The topics by name.
    pub topics: BTreeMap<String, Arc<Topic>>,
    /// The newest number of every metric and group, with whole labels.
    pub figures: Arc<Vec<Figure>>,
}

/// One topic: what it is, and its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// What a person needs to read it.
    pub about: TopicAbout,
    /// Its state.
    pub state: TopicState,
}

/// What a person needs to read a topic; sent with the answer to `sub` and with the whole
/// state, which is sent anew when this changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TopicAbout {
    /// Title of a panel.
    pub title: String,
    /// Unit of the values, e.g. `events/s`, `EUR`, `ratio`; empty for counts.
    pub unit: String,
    /// What window the numbers cover, in words: `5 min, every 30 s`.
    pub window: String,
    /// Names of a series' columns; of a grid's labels (`region`, `status`).
    pub columns: Vec<String>,
    /// Distance between two points or grid columns; 0 for maps and logs.
    pub step_ms: SpanMs,
    /// Anything else, in words: `exact`, `± 1.6 %`.
    pub note: String,
    /// Which column of a series, or row of a grid, holds everything beyond `group_limit`;
    /// its own name is only a word, which a real group may have as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<usize>,
    /// Of a metric that came later than the first event: what happened up to here (event time) may
    /// be missing in what is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<EpochMs>,
    /// The newest numbers are of a window that began before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub warming: bool,
    /// The panel that it is made for; empty where its kind says it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub panel: &'static str,
    /// What its numbers look like; absent where each is one.
    #[serde(flatten, skip_serializing_if = "Shape::is_scalar")]
    pub shape: Shape,
}

/// The state of a topic, by kind. The kind decides what a slow client may miss.
#[derive(Clone, Debug, PartialEq)]
pub enum TopicState {
    /// Name to value; the latest wins.
    Map(BTreeMap<String, serde_json::Value>),
    /// Points in time order, oldest first.
    Series(Series),
    /// A matrix of counts: labelled rows, one column a step.
    Grid(Grid),
    /// Items in order, each delivered or named as a gap.
    Log(Log),
}

/// A fixed-step series, bounded by `capacity` points (the oldest leave).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Most points kept.
    pub capacity: usize,
    /// End of the point's pane, and a value for each column.
    pub points: VecDeque<(EpochMs, Vec<Option<f64>>)>,
}

/// A grid, bounded by `capacity` columns (the oldest leave). Versions share rows and columns
/// that are the same (`share`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// Most columns kept.
    pub capacity: usize,
    /// Labels of each row, e.g. `["eu-west-1", "503"]`. Rows are only ever added.
    pub rows: Arc<Vec<Vec<String>>>,
    /// Start of the column's pane, and a count for each row (shorter than `rows`
    /// when rows came later: missing means 0).
    pub columns: VecDeque<(EpochMs, Arc<Vec<u64>>)>,
}

/// A log, bounded by `capacity` items (the oldest leave).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Most items kept here; older ones are fetched over HTTP.
    pub capacity: usize,
    /// Oldest first. Positions grow by 1 from item to item.
    pub items: VecDeque<Arc<LogItem>>,
}

/// One item of a log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogItem {
    /// Position in the log.
    pub n: u64,
    /// Clients de-duplicate by it.
    pub id: String,
    /// The item itself (an alert's fields).
    #[serde(flatten)]
    pub body: serde_json::Value,
}
