//! Messages of the protocol `tidewatch.v1`, server to client, as JSON text.
//!
//! Everything here is a function from values to text. A message carries nothing
//! that differs from client to client (a sub's number is its topic's number), so
//! that one text serves all of them. `docs/protocol.md` describes the messages.

use bytestring::ByteString;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::diff::{Change, LogTail};
use super::{Board, Grid, Series, Topic, TopicAbout, TopicState};
use crate::condition::Condition;
use crate::time::EpochMs;

/// The subprotocol's name.
pub const PROTOCOL: &str = "tidewatch.v1";

/// Event times outside of what a browser's `Date` can hold mean "none yet" or
/// "the end" and are written as `null`.
const DATE_MAX_MS: EpochMs = 8_640_000_000_000_000;

/// Which version of a topic a message brings, and when it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stamp<'a> {
    /// The incarnation of the topics; positions of two do not compare.
    pub incarnation: &'a str,
    /// Position after the message.
    pub n: u64,
    /// Wall clock when the board was made.
    pub at: EpochMs,
    /// The board's watermark.
    pub watermark: EpochMs,
}

/// Why a server ends a connection. The number tells a client whether to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The process is stopping.
    Drain,
    /// Nothing was heard from the client for too long.
    NoPong,
    /// The client took nothing for too long.
    Slow,
    /// More commands than allowed.
    RateLimited,
    /// Not a message of the protocol.
    Malformed,
    /// No common version.
    Version,
    /// No `hello` in time.
    HelloTimeout,
    /// A message longer than allowed.
    TooLarge,
}

impl CloseReason {
    /// The websocket close code: below 4500 a client may reconnect.
    pub fn code(self) -> u16 {
        match self {
            CloseReason::Drain => 4000,
            CloseReason::NoPong => 4004,
            CloseReason::Slow => 4005,
            CloseReason::RateLimited => 4006,
            CloseReason::Malformed => 4501,
            CloseReason::Version => 4502,
            CloseReason::HelloTimeout => 4505,
            CloseReason::TooLarge => 4506,
        }
    }

    /// True when the client may connect again.
    pub fn retry(self) -> bool {
        self.code() < 4500
    }

    /// One sentence for a person.
    pub fn text(self) -> &'static str {
        match self {
            CloseReason::Drain => "the server is stopping",
            CloseReason::NoPong => "no answer to pings",
            CloseReason::Slow => "too far behind",
            CloseReason::RateLimited => "too many commands",
            CloseReason::Malformed => "not a message of this protocol",
            CloseReason::Version => "no common protocol version",
            CloseReason::HelloTimeout => "no hello in time",
            CloseReason::TooLarge => "message too large",
        }
    }
}

/// Why one command was refused; the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// No topic has this name.
    UnknownTopic,
    /// No such command.
    UnknownCommand,
    /// More subs than a connection may have.
    TooManySubs,
    /// A field is missing or has the wrong type.
    BadRequest,
    /// Filters are not supported.
    NoFilters,
}

impl CommandError {
    /// The number in `err`.
    pub fn code(self) -> u16 {
        match self {
            CommandError::UnknownTopic => 102,
            CommandError::UnknownCommand => 104,
            CommandError::TooManySubs => 106,
            CommandError::BadRequest => 107,
            CommandError::NoFilters => 110,
        }
    }

    fn text(self) -> &'static str {
        match self {
            CommandError::UnknownTopic => "unknown topic",
            CommandError::UnknownCommand => "unknown command",
            CommandError::TooManySubs => "too many subscriptions",
            CommandError::BadRequest => "a field is missing or has the wrong type",
            CommandError::NoFilters => "filters are not supported",
        }
    }
}

/// What a client is told at the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Welcome<'a> {
    /// `id` of its `hello`.
    pub id: Option<&'a Value>,
    /// Number of the connection.
    pub connection: u64,
    /// The incarnation that answers.
    pub node: &'a str,
    /// Wall clock, for the client's offset.
    pub now: EpochMs,
    /// Distance between two pings.
    pub ping_ms: i64,
    /// The client may take the connection for dead after this silence.
    pub idle_ms: i64,
    /// Most subs.
    pub subs_max: usize,
    /// Longest message from the client.
    pub message_bytes_max: usize,
}

/// `welcome`.
pub fn welcome(welcome: &Welcome<'_>) -> ByteString {
    text(&json!({
        "t": "welcome", "id": welcome.id, "v": 1, "conn": welcome.connection,
        "node": welcome.node, "now": welcome.now, "ping": welcome.ping_ms,
        "idle": welcome.idle_ms, "caps": [],
        "limits": {"subs": welcome.subs_max, "msg": welcome.message_bytes_max},
    }))
}

/// `ok` for a `sub`.
pub fn subscribed(id: Option<&Value>, sub: u16, kind: &str, about: &TopicAbout) -> ByteString {
    text(&json!({"t": "ok", "id": id, "s": sub, "kind": kind, "schema": about, "rec": false}))
}

/// `ok` for anything else.
pub fn ok(id: Option<&Value>) -> ByteString {
    text(&json!({"t": "ok", "id": id}))
}

/// `err`.
pub fn refused(id: Option<&Value>, error: CommandError) -> ByteString {
    text(&json!({
        "t": "err", "id": id, "code": error.code(), "msg": error.text(), "temp": false,
    }))
}

/// `end`: the sub is over, because its topic is no more, or of another kind. A new `sub` says which.
pub fn ended(sub: u16) -> ByteString {
    text(&json!({"t": "end", "s": sub, "retry": true}))
}

/// `ping`.
pub fn ping(number: u64, now: EpochMs) -> ByteString {
    text(&json!({"t": "ping", "i": number, "now": now}))
}

/// `stale`: for all topics, `why` the numbers are old and what that means, or that they no longer
/// are.
pub fn stale(why: Option<Condition>, since: EpochMs) -> ByteString {
    let says = why.map(Condition::says);
    text(
        &json!({"t": "stale", "s": "*", "on": why.is_some(), "why": why, "says": says, "since": since}),
    )
}

/// `bye`; the close frame follows. `after_ms`: when to come back, if at all.
pub fn bye(reason: CloseReason, after_ms: i64) -> ByteString {
    text(&json!({
        "t": "bye", "code": reason.code(), "msg": reason.text(), "retry": reason.retry(),
        "after": after_ms,
    }))
}

/// `snap`: the whole state, and what a person needs to read it now.
pub fn snapshot(sub: u16, stamp: Stamp<'_>, topic: &Topic) -> ByteString {
    #[derive(Serialize)]
    struct Snap<'a> {
        t: &'static str,
        s: u16,
        e: &'a str,
        n: u64,
        ts: EpochMs,
        wm: Option<EpochMs>,
        schema: &'a TopicAbout,
        d: StateBody<'a>,
    }
    text(&Snap {
        t: "snap",
        s: sub,
        e: stamp.incarnation,
        n: stamp.n,
        ts: stamp.at,
        wm: event_time(stamp.watermark),
        schema: &topic.about,
        d: StateBody(&topic.state),
    })
}

/// `diff`: from position `base` to `stamp.n`. A log's change is an `ev` instead, after
/// a `gap` when items are missing: two messages.
///
/// In a grid's diff `ts` is the list of new columns, not the time of the board.
pub fn diff(sub: u16, base: u64, stamp: Stamp<'_>, change: &Change) -> Vec<ByteString> {
    #[derive(Serialize)]
    struct Diff<'a> {
        t: &'static str,
        s: u16,
        b: u64,
        n: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        ts: Option<EpochMs>,
        wm: Option<EpochMs>,
        #[serde(flatten)]
        change: ChangeBody<'a>,
    }
    let change = match change {
        Change::Map { set, del } => ChangeBody::Map { set, del },
        Change::Series(points) => {
            ChangeBody::Series { v: Columns(points.iter().map(borrowed).collect()) }
        }
        Change::Grid { rows, columns, cells } => ChangeBody::Grid { rows, ts: columns, c: cells },
        Change::Log(tail) => return events(sub, tail),
    };
    let ts = (!matches!(change, ChangeBody::Grid { .. })).then_some(stamp.at);
    let wm = event_time(stamp.watermark);
    vec![text(&Diff { t: "diff", s: sub, b: base, n: stamp.n, ts, wm, change })]
}

/// `ev` with the items of a log, after a `gap` when some are missing.
pub fn events(sub: u16, tail: &LogTail) -> Vec<ByteString> {
    let missed = tail.missing.map(|(from, to)| {
        text(&json!({"t": "gap", "s": sub, "from": from, "to": to, "why": "too_far_behind"}))
    });
    let last = tail.items.last().map(|last| {
        let items: Vec<_> = tail.items.iter().map(|item| &**item).collect();
        text(&json!({"t": "ev", "s": sub, "n": last.n, "items": items}))
    });
    missed.into_iter().chain(last).collect()
}

/// Joins messages to one frame: one as it is, several as an array.
pub fn join(messages: &[ByteString]) -> ByteString {
    if let [only] = messages {
        return only.clone();
    }
    let len = messages.iter().map(|message| message.len() + 1).sum::<usize>() + 1;
    let mut frame = String::with_capacity(len);
    for message in messages {
        frame.push(if frame.is_empty() { '[' } else { ',' });
        frame.push_str(message);
    }
    frame.push(']');
    frame.into()
}

/// The whole board as `GET /v1/board` shows it.
pub fn board(board: &Board) -> String {
    #[derive(Serialize)]
    struct Whole<'a> {
        version: u64,
        at: EpochMs,
        watermark: Option<EpochMs>,
        stale: Option<Condition>,
        topics: std::collections::BTreeMap<&'a str, WholeTopic<'a>>,
    }
    #[derive(Serialize)]
    struct WholeTopic<'a> {
        kind: &'static str,
        about: &'a TopicAbout,
        d: StateBody<'a>,
    }
    let topics = board.topics.iter().map(|(name, topic)| {
        let whole = WholeTopic {
            kind: kind(&topic.state),
            about: &topic.about,
            d: StateBody(&topic.state),
        };
        (name.as_str(), whole)
    });
    json_text(&Whole {
        version: board.version,
        at: board.at,
        watermark: event_time(board.watermark),
        stale: board.stale,
        topics: topics.collect(),
    })
}

/// The topics without their states, as `GET /v1/topics` lists them.
pub fn topics(board: &Board) -> String {
    #[derive(Serialize)]
    struct Listed<'a> {
        name: &'a str,
        kind: &'static str,
        #[serde(flatten)]
        about: &'a TopicAbout,
    }
    let listed = board.topics.iter().map(|(name, topic)| Listed {
        name,
        kind: kind(&topic.state),
        about: &topic.about,
    });
    json_text(&listed.collect::<Vec<_>>())
}

/// The kind's name on the wire.
pub fn kind(state: &TopicState) -> &'static str {
    match state {
        TopicState::Map(_) => "map",
        TopicState::Series(_) => "series",
        TopicState::Grid(_) => "grid",
        TopicState::Log(_) => "log",
    }
}

/// Event time as it is written: `None` before the first event and after the last.
pub fn event_time(at: EpochMs) -> Option<EpochMs> {
    (-DATE_MAX_MS..=DATE_MAX_MS).contains(&at).then_some(at)
}

fn text<T: Serialize>(message: &T) -> ByteString {
    json_text(message).into()
}

fn json_text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("keys are texts and nothing else can fail in memory")
}

/// A state as in `snap.d`.
struct StateBody<'a>(&'a TopicState);

impl Serialize for StateBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            TopicState::Map(values) => values.serialize(serializer),
            TopicState::Series(series) => series_body(series, serializer),
            TopicState::Grid(grid) => grid_body(grid, serializer),
            TopicState::Log(log) => {
                let items: Vec<_> = log.items.iter().map(|item| &**item).collect();
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("cap", &log.capacity)?;
                map.serialize_entry("items", &items)?;
                map.end()
            }
        }
    }
}

fn series_body<S: Serializer>(series: &Series, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("cap", &series.capacity)?;
    map.serialize_entry("p", &Columns(series.points.iter().map(borrowed).collect()))?;
    map.end()
}

fn grid_body<S: Serializer>(grid: &Grid, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(3))?;
    map.serialize_entry("cap", &grid.capacity)?;
    map.serialize_entry("rows", &*grid.rows)?;
    let columns = grid.columns.iter().map(|(at, counts)| (*at, &**counts));
    map.serialize_entry("cols", &columns.collect::<Vec<_>>())?;
    map.end()
}

/// The changing part of a `diff`.
#[derive(Serialize)]
#[serde(untagged)]
enum ChangeBody<'a> {
    Map { set: &'a std::collections::BTreeMap<String, Value>, del: &'a [String] },
    Series { v: Columns<'a> },
    Grid { rows: &'a [Vec<String>], ts: &'a [EpochMs], c: &'a [(EpochMs, usize, u64)] },
}

fn borrowed(point: &(EpochMs, Vec<Option<f64>>)) -> (EpochMs, &[Option<f64>]) {
    (point.0, &point.1)
}

/// Points written as columns: the times, then each value. All have equal length.
struct Columns<'a>(Vec<(EpochMs, &'a [Option<f64>])>);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let width = self.0.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        let mut seq = serializer.serialize_seq(Some(width + 1))?;
        seq.serialize_element(&self.0.iter().map(|(at, _)| *at).collect::<Vec<_>>())?;
        for column in 0..width {
            let value = |point: &(EpochMs, &[Option<f64>])| point.1.get(column).copied().flatten();
            seq.serialize_element(&self.0.iter().map(value).collect::<Vec<_>>())?;
        }
        seq.end()
    }
}
