//! The other end of the protocol: what a client's topics are after the messages it
//! has read. The reference for clients in other languages, for programs that follow
//! a board, and for the tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use super::diff::{Change, LogTail, Point, apply, log_position};
use super::{Grid, Log, LogItem, Series, TopicState};
use crate::time::EpochMs;

/// Why a message cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It is not what the protocol says.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// It is about a sub that no `ok` announced.
    #[error("no sub has the number {0}")]
    UnknownSub(u16),
    /// A diff starts elsewhere than where the topic is: subscribe again.
    #[error("sub {sub} is at {position}, the diff starts at {base}")]
    OutOfStep {
        /// The sub.
        sub: u16,
        /// Where it is.
        position: u64,
        /// Where the diff starts.
        base: u64,
    },
}

/// One followed topic.
#[derive(Clone, Debug)]
pub struct Followed {
    /// `map`, `series`, `grid` or `log`.
    pub kind: String,
    /// The incarnation of the position; empty before the first snapshot.
    pub incarnation: String,
    /// The last version that was taken.
    pub position: u64,
    /// Its state; `None` before the first snapshot.
    pub state: Option<TopicState>,
    /// Items of a log that were never given.
    pub missed: Vec<(u64, u64)>,
}

/// A client's topics, by sub number.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// The topics.
    pub topics: BTreeMap<u16, Followed>,
}

impl Client {
    /// Takes one frame: a message or an array of messages.
    ///
    /// # Errors
    /// When a message is malformed or does not fit.
    pub fn read_frame(&mut self, frame: &Value) -> Result<(), ReadError> {
        match frame {
            Value::Array(messages) => messages.iter().try_for_each(|message| self.read(message)),
            message => self.read(message),
        }
    }

    fn read(&mut self, message: &Value) -> Result<(), ReadError> {
        match message["t"].as_str().ok_or(ReadError::Malformed("t"))? {
            "ok" if message.get("s").is_some() => self.announced(message),
            "end" => {
                let sub = sub_of(message)?;
                self.topics.remove(&sub).map(drop).ok_or(ReadError::UnknownSub(sub))
            }
            "snap" => self.snapshot(message),
            "diff" => self.diff(message),
            "ev" => self.events(message),
            "gap" => {
                let missed = (unsigned(&message["from"], "from")?, unsigned(&message["to"], "to")?);
                self.followed(message)?.missed.push(missed);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn announced(&mut self, message: &Value) -> Result<(), ReadError> {
        let kind = text(&message["kind"], "kind")?;
        let fresh = Followed {
            kind,
            incarnation: String::new(),
            position: 0,
            state: None,
            missed: Vec::new(),
        };
        self.topics.insert(sub_of(message)?, fresh);
        Ok(())
    }

    fn snapshot(&mut self, message: &Value) -> Result<(), ReadError> {
        let followed = self.followed(message)?;
        followed.state = Some(state(&followed.kind, &message["d"])?);
        followed.incarnation = text(&message["e"], "e")?;
        followed.position = unsigned(&message["n"], "n")?;
        Ok(())
    }

    fn diff(&mut self, message: &Value) -> Result<(), ReadError> {
        let sub = sub_of(message)?;
        let followed = self.followed(message)?;
        let (base, n) = (unsigned(&message["b"], "b")?, unsigned(&message["n"], "n")?);
        if base != followed.position {
            return Err(ReadError::OutOfStep { sub, position: followed.position, base });
        }
        let change = change(&followed.kind, message)?;
        apply(followed.state.as_mut().ok_or(ReadError::UnknownSub(sub))?, &change);
        followed.position = n;
        Ok(())
    }

    /// Items the topic already has are skipped: a repeat does no harm.
    fn events(&mut self, message: &Value) -> Result<(), ReadError> {
        let followed = self.followed(message)?;
        let Some(TopicState::Log(log)) = &mut followed.state else {
            return Err(ReadError::Malformed("ev"));
        };
        let known = log_position(log);
        let mut items = items(&message["items"])?;
        items.retain(|item| item.n > known);
        let missing = items.first().filter(|f| f.n > known + 1).map(|f| (known + 1, f.n - 1));
        let change = Change::Log(LogTail { missing, items });
        followed.position = unsigned(&message["n"], "n")?;
        apply(followed.state.as_mut().ok_or(ReadError::Malformed("ev"))?, &change);
        Ok(())
    }

    fn followed(&mut self, message: &Value) -> Result<&mut Followed, ReadError> {
        let sub = sub_of(message)?;
        self.topics.get_mut(&sub).ok_or(ReadError::UnknownSub(sub))
    }
}

/// Reads a state as in `snap.d`.
///
/// # Errors
/// When it is not what the protocol says.
pub fn state(kind: &str, d: &Value) -> Result<TopicState, ReadError> {
    let capacity = || unsigned(&d["cap"], "cap").map(|cap| cap as usize);
    Ok(match kind {
        "map" => TopicState::Map(object(d)?),
        "series" => {
            TopicState::Series(Series { capacity: capacity()?, points: points(&d["p"])?.into() })
        }
        "grid" => TopicState::Grid(Grid {
            capacity: capacity()?,
            rows: Arc::new(decode(&d["rows"], "rows")?),
            columns: decode::<Vec<(EpochMs, Vec<u64>)>>(&d["cols"], "cols")?
                .into_iter()
                .map(|(at, counts)| (at, Arc::new(counts)))
                .collect(),
        }),
        "log" => TopicState::Log(Log { capacity: capacity()?, items: items(&d["items"])?.into() }),
        _ => return Err(ReadError::Malformed("kind")),
    })
}

fn change(kind: &str, message: &Value) -> Result<Change, ReadError> {
    Ok(match kind {
        "map" => {
            Change::Map { set: object(&message["set"])?, del: decode(&message["del"], "del")? }
        }
        "series" => Change::Series(points(&message["v"])?),
        "grid" => Change::Grid {
            rows: decode(&message["rows"], "rows")?,
            columns: decode(&message["ts"], "ts")?,
            cells: decode(&message["c"], "c")?,
        },
        _ => return Err(ReadError::Malformed("kind")),
    })
}

fn points(columns: &Value) -> Result<Vec<Point>, ReadError> {
    let columns = columns.as_array().ok_or(ReadError::Malformed("columns"))?;
    let (times, values) = columns.split_first().ok_or(ReadError::Malformed("columns"))?;
    let times: Vec<EpochMs> = decode(times, "times")?;
    let values: Vec<Vec<Option<f64>>> =
        values.iter().map(|column| decode(column, "column")).collect::<Result<_, _>>()?;
    if values.iter().any(|column| column.len() != times.len()) {
        return Err(ReadError::Malformed("columns"));
    }
    let point = |(index, at)| (at, values.iter().map(|column| column[index]).collect());
    Ok(times.into_iter().enumerate().map(point).collect())
}

fn items(items: &Value) -> Result<Vec<Arc<LogItem>>, ReadError> {
    let items = items.as_array().ok_or(ReadError::Malformed("items"))?;
    items.iter().map(|item| Ok(Arc::new(log_item(item)?))).collect()
}

fn log_item(item: &Value) -> Result<LogItem, ReadError> {
    let mut body = item.as_object().ok_or(ReadError::Malformed("item"))?.clone();
    let n = body.remove("n").and_then(|n| n.as_u64()).ok_or(ReadError::Malformed("item"))?;
    let id = text(&body.remove("id").unwrap_or_default(), "item")?;
    Ok(LogItem { n, id, body: Value::Object(body) })
}

fn object(value: &Value) -> Result<BTreeMap<String, Value>, ReadError> {
    decode(value, "map")
}

fn decode<T: serde::de::DeserializeOwned>(
    value: &Value,
    what: &'static str,
) -> Result<T, ReadError> {
    serde_json::from_value(value.clone()).map_err(|_| ReadError::Malformed(what))
}

fn sub_of(message: &Value) -> Result<u16, ReadError> {
    message["s"].as_u64().and_then(|s| s.try_into().ok()).ok_or(ReadError::Malformed("s"))
}

fn unsigned(value: &Value, what: &'static str) -> Result<u64, ReadError> {
    value.as_u64().ok_or(ReadError::Malformed(what))
}

fn text(value: &Value, what: &'static str) -> Result<String, ReadError> {
    value.as_str().map(String::from).ok_or(ReadError::Malformed(what))
}
