//! `tidewatch dead-letters`: list, show and redrive events that were rejected.
//!
//! A running server is asked over HTTP, because it alone may write to its data folder: the one
//! that `--listen` names, else the one whose URL stands in the folder's `endpoint` file. Without
//! one the folder is opened directly, to read it only unless events are redriven. Where there is
//! no folder either, a server at the configured address will do. Nothing is ever made here.

mod error;

pub use error::DeadLettersError;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::actors::ports::{EventLog, Records, StoreError, StoredDeadLetter};
use crate::actors::redrive::{Gate, Redrive, RedriveError, Redriven, Wanted};
use crate::cli::Exit;
use crate::cli::args::DeadLettersAction;
use crate::cli::server::{self, Server};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::domain::event::Hints;
use crate::domain::time::EpochMs;

/// How a data folder is opened that no server uses.
#[derive(Clone, Copy)]
pub struct OpenIdle {
    /// Its records, to be read only: nothing is locked or made.
    pub records: fn(&Config) -> Result<Arc<dyn Records>, StoreError>,
    /// The folder as its owner, and the log that events go to.
    pub log: fn(&Config) -> Result<Box<dyn EventLog>, StoreError>,
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
    /// The bytes as text, what is not UTF-8 replaced.
    pub raw: String,
    /// There are more bytes than these.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cut: bool,
    /// What its source knew of it besides.
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    pub hints: Hints,
}

fn is_false(value: &bool) -> bool {
    !*value
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
            cut: false,
            hints: letter.hints,
        }
    }
}

/// Some dead letters, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Items {
    /// The dead letters.
    pub items: Vec<Item>,
    /// Where the list goes on, when the server gave only a part of what was asked for.
    #[serde(default, skip_serializing)]
    pub next: Option<u64>,
}

/// What is printed, and whether everything was done.
#[derive(Debug)]
pub struct Done {
    /// The text.
    pub text: String,
    /// `Failed` when something was refused.
    pub exit: Exit,
}

/// Carries out one action. `listen`: the server's address, when it was named on the command
/// line.
///
/// # Errors
/// When the folder or the server cannot be used, or an id is unknown.
pub fn run(
    config: &Config,
    listen: Option<&str>,
    action: &DeadLettersAction,
    open: OpenIdle,
) -> Result<Done, DeadLettersError> {
    let letters = Letters::find(config, listen, open)?;
    let fine = |text| Ok(Done { text, exit: Exit::Ok });
    match action {
        DeadLettersAction::List { after, limit, json } => {
            let items = letters.list(*after, *limit)?;
            fine(if *json { as_json(&items) } else { table(&items.items) })
        }
        DeadLettersAction::Show { id, json } => {
            let item = letters.one(*id)?;
            fine(if *json { as_json(&item) } else { page(&item) })
        }
        DeadLettersAction::Redrive { ids, all, json } => {
            let wanted = if *all { Wanted::After(0) } else { Wanted::Ids(ids.clone()) };
            let result = letters.redrive(config, wanted, open)?;
            let exit = if result.refused.is_empty() { Exit::Ok } else { Exit::Failed };
            Ok(Done { text: if *json { as_json(&result) } else { outcome(&result) }, exit })
        }
    }
}

/// Where the dead letters are.
enum Letters {
    Server(Server),
    Idle(Arc<dyn Records>),
}

impl Letters {
    fn find(
        config: &Config,
        listen: Option<&str>,
        open: OpenIdle,
    ) -> Result<Letters, DeadLettersError> {
        let mut looked = Vec::new();
        if listen.is_some() {
            let url = format!("http://{}", config.web.listen);
            return match Server::at(&url) {
                Ok(server) => Ok(Letters::Server(server)),
                Err(cause) => {
                    looked.push(format!("  {url} (--listen): {cause}"));
                    Err(nowhere(&looked))
                }
            };
        }
        let folder = &config.general.data_dir;
        match server::endpoint(folder) {
            Some(url) => match Server::at(&url) {
                Ok(server) => return Ok(Letters::Server(server)),
                // A file left by a killed process leads nowhere: then the folder is idle.
                Err(cause) => looked.push(format!("  {url} (of the data folder): {cause}")),
            },
            None => looked.push(format!("  {}: no server runs there", shown(folder))),
        }
        if folder.exists() && folder.read_dir().is_ok_and(|mut files| files.next().is_some()) {
            return Ok(Letters::Idle((open.records)(config)?));
        }
        let what = if folder.exists() { "the folder is empty" } else { "there is no such folder" };
        looked.push(format!("  {}: {what}", shown(folder)));
        let url = format!("http://{}", config.web.listen);
        match Server::at(&url) {
            Ok(server) => {
                eprintln!("tidewatch: {what} at {}; asking the server at {url}", shown(folder));
                Ok(Letters::Server(server))
            }
            Err(cause) => {
                looked.push(format!("  {url} (web.listen): {cause}"));
                Err(nowhere(&looked))
            }
        }
    }

    fn list(&self, mut after: u64, limit: u64) -> Result<Items, DeadLettersError> {
        let mut items: Vec<Item> = Vec::new();
        loop {
            let rest = limit - items.len() as u64;
            let next = match self {
                Letters::Server(server) => {
                    let path = format!("/v1/dead-letters?after={after}&limit={rest}");
                    let page: Items = server.get(&path)?;
                    items.extend(page.items);
                    // One that gives all it has at once names no place to go on.
                    page.next
                }
                Letters::Idle(records) => {
                    let page = records.dead_letters(after, rest as usize)?;
                    let next = page.last().map(|letter| letter.id);
                    items.extend(page.into_iter().map(Item::from));
                    next
                }
            };
            match next {
                Some(next) if next > after && (items.len() as u64) < limit => after = next,
                _ => return Ok(Items { items, next: None }),
            }
        }
    }

    fn one(&self, id: u64) -> Result<Item, DeadLettersError> {
        match self {
            Letters::Server(server) => {
                let mut item: Item = server.get(&format!("/v1/dead-letters/{id}"))?;
                if item.cut {
                    let raw = server.bytes(&format!("/v1/dead-letters/{id}/raw"))?;
                    (item.raw, item.cut) = (String::from_utf8_lossy(&raw).into_owned(), false);
                }
                Ok(item)
            }
            Letters::Idle(records) => {
                let letter = records.dead_letter(id)?;
                letter.map(Item::from).ok_or(DeadLettersError::Unknown(id))
            }
        }
    }

    fn redrive(
        &self,
        config: &Config,
        wanted: Wanted,
        open: OpenIdle,
    ) -> Result<Redriven, DeadLettersError> {
        let mut sum = Redriven::default();
        let mut wanted = Some(wanted);
        while let Some(next) = wanted.take() {
            let done = match self {
                Letters::Server(server) => server.post("/v1/dead-letters/redrive", &body(&next))?,
                Letters::Idle(records) => redrive(config, records, next, open)?,
            };
            wanted = done.more.then_some(Wanted::After(done.next));
            sum.redriven += done.redriven;
            sum.refused.extend(done.refused);
            sum.next = done.next;
        }
        Ok(sum)
    }
}

fn body(wanted: &Wanted) -> serde_json::Value {
    match wanted {
        Wanted::Ids(ids) => serde_json::json!({ "ids": ids }),
        Wanted::After(after) => serde_json::json!({ "all": true, "after": after }),
    }
}

/// Redrives beside an idle folder, which becomes ours for as long as that takes.
fn redrive(
    config: &Config,
    records: &Arc<dyn Records>,
    wanted: Wanted,
    open: OpenIdle,
) -> Result<Redriven, DeadLettersError> {
    let log = (open.log)(config).map_err(|error| match error {
        locked @ StoreError::Locked { .. } => DeadLettersError::InUse { cause: locked },
        other => DeadLettersError::Store(other),
    })?;
    let redrive = Redrive {
        records: Arc::clone(records),
        log: &*log,
        // The seed places keys on shards; whether bytes decode does not depend on it.
        schema: Arc::new(config.schema(0)),
        gate: &Gate::default(),
        now: SystemClock::shared().wall(),
    };
    wait_for(redrive.run(wanted)).map_err(|error| match error {
        RedriveError::Store(error) => DeadLettersError::Store(error),
        error => DeadLettersError::Redrive(error),
    })
}

fn nowhere(looked: &[String]) -> DeadLettersError {
    DeadLettersError::Nowhere { looked: looked.join("\n") }
}

/// A path as somebody else can follow it.
fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Waits for a future on this thread; the command line runs no other work meanwhile.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime without extra threads needs no more than memory");
    runtime.block_on(future)
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
    let hints = if item.hints.is_empty() {
        String::new()
    } else {
        format!("\nhints     {}", harmless(&compact(&item.hints)))
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
