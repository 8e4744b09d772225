//! `tidewatch dead-letters`: list, show and redrive events that were rejected.
//!
//! A running server is asked over HTTP (its URL stands in the data folder's `endpoint`
//! file), because it alone may write there. Without one the folder is opened directly.

mod server;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::actors::ports::{AppendError, EventLog, Records, StoreError, StoredDeadLetter};
use crate::cli::Exit;
use crate::cli::args::{DeadLettersAction, LIST_MAX};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::domain::event::Hints;
use crate::domain::event::decode::Decoder;
use crate::domain::time::EpochMs;
use server::Server;

/// An idle data folder, opened.
pub struct Idle {
    /// What the store keeps.
    pub records: Box<dyn Records>,
    /// Where redriven events go.
    pub log: Box<dyn EventLog>,
}

/// Opens an idle data folder.
pub type OpenIdle = fn(&Config) -> Result<Idle, StoreError>;

/// Why it did not work.
#[derive(Debug, Error)]
pub enum DeadLettersError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log did not take the events.
    #[error("cannot redrive: {0}")]
    Append(#[from] AppendError),
    /// There is no such dead letter.
    #[error("there is no dead letter {0}; it may have made room for newer ones")]
    Unknown(u64),
    /// The running server did not do it.
    #[error("the server at {url}: {cause}")]
    Server {
        /// Its URL.
        url: String,
        /// What it said.
        cause: String,
    },
}

impl DeadLettersError {
    /// The exit code that tells what to do.
    pub fn exit(&self) -> Exit {
        match self {
            DeadLettersError::Store(StoreError::Locked { .. }) => Exit::Locked,
            DeadLettersError::Store(StoreError::Damaged { .. } | StoreError::Format { .. }) => {
                Exit::Damaged
            }
            _ => Exit::Failed,
        }
    }
}

/// A dead letter as `GET /v1/dead-letters` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its id, growing.
    pub id: u64,
    /// Name of the source it came from.
    pub source: String,
    /// Position in that source.
    pub position: u64,
    /// What was wrong.
    pub reason: String,
    /// Wall clock when it was committed.
    pub at: EpochMs,
    /// Wall clock when it was redriven, if it was.
    pub redriven: Option<EpochMs>,
    /// How many bytes it has.
    pub bytes: usize,
    /// The bytes as text, what is no UTF-8 replaced.
    pub raw: String,
    /// What its source knew of it besides.
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    pub hints: Hints,
}

impl From<StoredDeadLetter> for Item {
    fn from(letter: StoredDeadLetter) -> Self {
        Item {
            id: letter.id,
            source: letter.source,
            position: letter.position,
            reason: letter.reason,
            at: letter.at,
            redriven: letter.redriven,
            bytes: letter.raw.len(),
            raw: String::from_utf8_lossy(&letter.raw).into_owned(),
            hints: letter.hints,
        }
    }
}

/// Some dead letters, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Items {
    /// The dead letters.
    pub items: Vec<Item>,
}

/// What became of a redrive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// How many are in the log again.
    pub redriven: u64,
    /// The others, each with the reason.
    pub refused: Vec<Refused>,
}

/// One dead letter that was not redriven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its id.
    pub id: u64,
    /// Why.
    pub reason: String,
}

/// Carries out one action and returns the text to print.
///
/// # Errors
/// When the folder or the server cannot be used, or an id is unknown.
pub fn run(
    config: &Config,
    action: &DeadLettersAction,
    open_idle: OpenIdle,
) -> Result<String, DeadLettersError> {
    let place = match Server::running(&config.data_dir) {
        Some(server) => Place::Server(server),
        None => Place::Idle(open_idle(config)?),
    };
    match action {
        DeadLettersAction::List { after, limit, json } => {
            let items = place.list(*after, *limit)?;
            Ok(if *json { as_json(&items) } else { table(&items.items) })
        }
        DeadLettersAction::Show { id, json } => {
            let item = place.one(*id)?;
            Ok(if *json { as_json(&item) } else { page(&item) })
        }
        DeadLettersAction::Redrive { ids, all, json } => {
            let wanted = if *all { None } else { Some(ids.as_slice()) };
            let result = place.redrive(config, wanted)?;
            Ok(if *json { as_json(&result) } else { outcome(&result) })
        }
    }
}

/// Where the dead letters are.
enum Place {
    Server(Server),
    Idle(Idle),
}

impl Place {
    fn list(&self, after: u64, limit: u64) -> Result<Items, DeadLettersError> {
        match self {
            Place::Server(server) => {
                server.get(&format!("/v1/dead-letters?after={after}&limit={limit}"))
            }
            Place::Idle(idle) => {
                let letters = idle.records.dead_letters(after, limit as usize)?;
                Ok(Items { items: letters.into_iter().map(Item::from).collect() })
            }
        }
    }

    fn one(&self, id: u64) -> Result<Item, DeadLettersError> {
        match self {
            Place::Server(server) => server.get(&format!("/v1/dead-letters/{id}")),
            Place::Idle(idle) => {
                let letter = idle.records.dead_letter(id)?;
                letter.map(Item::from).ok_or(DeadLettersError::Unknown(id))
            }
        }
    }

    /// Redrives these ids, or all that were not redriven yet.
    fn redrive(&self, config: &Config, ids: Option<&[u64]>) -> Result<Redriven, DeadLettersError> {
        match self {
            Place::Server(server) => {
                let body = match ids {
                    Some(ids) => serde_json::json!({ "ids": ids }),
                    None => serde_json::json!({ "all": true }),
                };
                server.post("/v1/dead-letters/redrive", &body)
            }
            Place::Idle(idle) => {
                // The seed places keys on shards; whether bytes decode does not depend on it.
                let mut decoder = Decoder::new(Arc::new(config.schema(0)));
                let now = SystemClock::shared().wall();
                redrive(idle, ids, now, |raw, hints| decoder.again(raw, hints))
            }
        }
    }
}

/// Appends what decodes now to the log again, and marks it once that is durable.
fn redrive(
    idle: &Idle,
    ids: Option<&[u64]>,
    now: EpochMs,
    mut again: impl FnMut(Vec<u8>, &Hints) -> Result<Vec<u8>, String>,
) -> Result<Redriven, DeadLettersError> {
    let mut result = Redriven::default();
    match ids {
        Some(ids) => {
            for page in ids.chunks(LIST_MAX as usize) {
                let mut letters = Vec::new();
                for id in page {
                    match idle.records.dead_letter(*id)? {
                        Some(letter) => letters.push(letter),
                        None => result.refuse(*id, "there is no such dead letter"),
                    }
                }
                redrive_page(idle, letters, now, &mut again, &mut result)?;
            }
        }
        None => {
            let mut after = 0;
            loop {
                let mut letters = idle.records.dead_letters(after, LIST_MAX as usize)?;
                let Some(last) = letters.last() else { break };
                after = last.id;
                letters.retain(|letter| letter.redriven.is_none());
                redrive_page(idle, letters, now, &mut again, &mut result)?;
            }
        }
    }
    Ok(result)
}

fn redrive_page(
    idle: &Idle,
    letters: Vec<StoredDeadLetter>,
    now: EpochMs,
    again: &mut impl FnMut(Vec<u8>, &Hints) -> Result<Vec<u8>, String>,
    result: &mut Redriven,
) -> Result<(), DeadLettersError> {
    let mut taken = Vec::new();
    let mut events = Vec::new();
    for letter in letters {
        if letter.redriven.is_some() {
            result.refuse(letter.id, "was redriven already");
        } else if taken.contains(&letter.id) {
            result.refuse(letter.id, "is named twice");
        } else {
            match again(letter.raw, &letter.hints) {
                Ok(event) => {
                    taken.push(letter.id);
                    events.push(Bytes::from(event));
                }
                Err(reason) => result.refuse(letter.id, &reason),
            }
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    // Append first: a crash in between redrives twice, and ids make the second a duplicate.
    wait_for(idle.log.append(events))?;
    idle.records.mark_redriven(&taken, now)?;
    result.redriven += taken.len() as u64;
    Ok(())
}

/// Waits for a future on this thread; the command line runs no other work meanwhile.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime without extra threads needs no more than memory");
    runtime.block_on(future)
}

impl Redriven {
    fn refuse(&mut self, id: u64, reason: &str) {
        self.refused.push(Refused { id, reason: reason.into() });
    }
}

fn as_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain structs of numbers and text")
}

fn compact(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structs of numbers and text")
}

fn table(items: &[Item]) -> String {
    if items.is_empty() {
        return "No dead letters.".into();
    }
    let mut lines =
        vec![format!("{:>8}  {:<20}  {:>12}  {:>7}  REASON", "ID", "AT", "POSITION", "BYTES")];
    for item in items {
        let mark = if item.redriven.is_some() { " (redriven)" } else { "" };
        lines.push(format!(
            "{:>8}  {:<20}  {:>12}  {:>7}  {}{mark}",
            item.id,
            instant(item.at),
            item.position,
            item.bytes,
            harmless(&item.reason)
        ));
    }
    lines.join("\n")
}

fn page(item: &Item) -> String {
    let redriven = item.redriven.map_or("no".into(), instant);
    let hints = match item.hints.is_empty() {
        true => String::new(),
        false => format!("\nhints     {}", harmless(&compact(&item.hints))),
    };
    format!(
        "id        {}\nsource    {} at {}\nat        {}\nredriven  {redriven}\nreason    {}\n\
         bytes     {}{hints}\n\n{}",
        item.id,
        harmless(&item.source),
        item.position,
        instant(item.at),
        harmless(&item.reason),
        item.bytes,
        harmless(&item.raw)
    )
}

fn outcome(result: &Redriven) -> String {
    let mut lines = vec![format!("{} redriven, {} refused", result.redriven, result.refused.len())];
    for refused in &result.refused {
        lines.push(format!("{:>8}  {}", refused.id, harmless(&refused.reason)));
    }
    lines.join("\n")
}

fn instant(at: EpochMs) -> String {
    let second = Timestamp::from_second(at.div_euclid(1_000));
    second.map_or_else(|_| at.to_string(), |second| second.to_string())
}

/// Text that came from outside, without what a terminal would obey.
fn harmless(text: &str) -> String {
    let safe = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests;
