//! Tables of lookups are followed: each is looked at again and again, and taken from a commit on when its
//! rows are others. What cannot be had changes nothing, and is told.

use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use metrics::{counter, gauge};
use tokio::sync::oneshot;

use super::reload::{ASK_AGAIN, Reloader};
use crate::actors::reload::Refusal;
use crate::actors::status::Status;
use crate::config::{Config, Lookup};
use crate::domain::condition::Condition;
use crate::domain::time::SpanMs;
use crate::telemetry::names;

/// Longest wait until a source that failed is asked again, unless its `watch` is longer.
const AGAIN_MAX: SpanMs = 600_000;
/// After how long one that is not watched is asked again.
const AGAIN_LEAST: SpanMs = 5_000;

/// Follows the tables of the configuration in force. Ends with the process alone.
pub(super) async fn follow(reloader: Reloader) {
    let Some(mut lookups) = reloader.lookups() else { return std::future::pending().await };
    let mut before: Vec<String> = Vec::new();
    loop {
        let now = lookups.borrow_and_update().clone();
        for name in before.iter().filter(|name| now.iter().all(|one| one.name != **name)) {
            reloader.status().stands_for(Condition::LookupOld, &about(name), None);
            for gone in [names::LOOKUP_ROWS, names::LOOKUP_BYTES] {
                gauge!(gone, "lookup" => name.clone()).set(0.0);
            }
        }
        before = now.iter().map(|lookup| lookup.name.clone()).collect();
        let all = join_all(now.iter().map(|lookup| follow_one(&reloader, lookup)));
        tokio::select! {
            // Without any.
            _ = all, if !now.is_empty() => {}
            // All of the configuration was read again.
            changed = lookups.changed() => if changed.is_err() { return },
        }
    }
}

async fn follow_one(reloader: &Reloader, lookup: &Lookup) {
    let mut since = lookup.version().to_owned();
    let mut rows = lookup.table.fingerprint();
    let mut failures = 0;
    counter!(names::LOOKUP_FAILED, "lookup" => lookup.name.clone()).increment(0);
    if !lookup.is_far() {
        seen(reloader.status(), lookup);
    }
    // What may have changed while nobody looked is seen now; a file was read just before.
    let mut wait = if lookup.is_far() { 0 } else { lookup.watch };
    loop {
        if wait == 0 && !lookup.is_far() {
            return std::future::pending().await;
        }
        tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())).await;
        let looked = look(reloader, lookup, (&since, rows)).await;
        failures = if looked.is_ok() { 0 } else { failures + 1 };
        tell(reloader.status(), lookup, looked.as_ref().err());
        if let Ok(Some(seen)) = looked {
            (since, rows) = seen;
        }
        wait = next(lookup, failures);
        if wait == 0 {
            return std::future::pending().await;
        }
    }
}

/// Does what may wait for a server on a thread that nobody waits for when the process ends.
pub(super) async fn detached<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, told) = oneshot::channel();
    let work = move || {
        // Who asked may have gone.
        let _ = done.send(work());
    };
    std::thread::Builder::new().name("tidewatch-look".into()).spawn(work)?;
    told.await.map_err(|_| io::Error::other("a thread has panicked"))
}

/// How long until the next look, in ms; 0 for never.
fn next(lookup: &Lookup, failures: u32) -> SpanMs {
    if failures == 0 || !lookup.is_far() {
        return lookup.watch;
    }
    let first = if lookup.watch == 0 { AGAIN_LEAST } else { lookup.watch };
    let doubled = first.saturating_mul(1 << failures.min(20));
    doubled.min(AGAIN_MAX).max(lookup.watch)
}

/// Looks once, and takes rows that are others than those of this version and fingerprint; says which they
/// are.
async fn look(
    reloader: &Reloader,
    lookup: &Lookup,
    (since, rows): (&str, u64),
) -> Result<Option<(String, u64)>, String> {
    let (asked, since) = (lookup.clone(), since.to_owned());
    let looked = detached(move || asked.look(&since)).await;
    let Some(read) = looked.map_err(|error| error.to_string())?? else { return Ok(None) };
    let seen = (read.version.clone(), read.table.fingerprint());
    if seen.1 == rows {
        return Ok(Some(seen));
    }
    loop {
        match reloader.take_table(lookup.clone(), read.clone()).await {
            Err(Refusal::UnderWay) => tokio::time::sleep(ASK_AGAIN).await,
            Err(refusal) => return Err(refusal.to_string()),
            Ok(_) => return Ok(Some(seen)),
        }
    }
}

fn tell(status: &Status, lookup: &Lookup, cause: Option<&String>) {
    let name = || lookup.name.clone();
    if cause.is_some() {
        counter!(names::LOOKUP_FAILED, "lookup" => name()).increment(1);
    } else {
        seen(status, lookup);
    }
    let says = cause.map(|cause| format!("{cause}; events are looked up in the rows taken before"));
    status.stands_for(Condition::LookupOld, &about(&lookup.name), says);
}

/// Its rows were found to be those of its source.
fn seen(status: &Status, lookup: &Lookup) {
    let now = status.wall() as f64 / 1_000.0;
    gauge!(names::LOOKUP_SEEN, "lookup" => lookup.name.clone()).set(now);
}

fn about(name: &str) -> String {
    format!("lookup {name}")
}

/// Writes the copies of what `next` looks up in otherwise than `was`, before it is taken: once an event of
/// a commit was looked up in a table, no later one is looked up in the one before.
pub(super) fn keep(was: Option<&Config>, next: &Config) -> io::Result<()> {
    let data = &next.general.data_dir;
    let same =
        |one: &Lookup| was.is_some_and(|was| was.lookups.iter().any(|was| was.is_held_as(one)));
    for lookup in next.lookups.iter().filter(|one| !same(one)) {
        lookup.keep(data)?;
    }
    let kept = next.lookups.iter().filter(|lookup| lookup.is_far());
    let names: Vec<&str> = kept.map(|lookup| &*lookup.name).collect();
    crate::lookup::kept::retain(data, &names)
}

/// Says how much each table holds.
pub(super) fn weigh(config: &Config) {
    for lookup in &config.lookups {
        let (name, table) = (|| lookup.name.clone(), &lookup.table);
        gauge!(names::LOOKUP_ROWS, "lookup" => name()).set(table.len() as f64);
        gauge!(names::LOOKUP_BYTES, "lookup" => name()).set(table.bytes() as f64);
    }
}
