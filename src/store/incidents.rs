//! Incidents, silences, the log of what was done, and notifications: rows of JSON with a checksum.
//!
//! Incidents have a table of their own: no flood of anything else can push one out, and one that is
//! open never leaves. The others leave oldest first; a notification not before its channel took it, as
//! long as there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::types::Value;
use rusqlite::{
    Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params,
    params_from_iter,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::figures::Figures;
use super::letters::HELD;
use super::sqlite::{DbFile, text_checksum};
use crate::actors::ports::{IncidentsWanted, StoreError, Taker};
use crate::domain::incident::{Change, Incident, Notification, Outcome, Recipient, Silence};

/// The tables.
macro_rules! tables {
    () => {
        "CREATE TABLE incidents(id TEXT PRIMARY KEY, n INTEGER NOT NULL, open INTEGER NOT NULL, \
         checksum INTEGER NOT NULL, doc TEXT NOT NULL) WITHOUT ROWID; \
         CREATE UNIQUE INDEX incidents_n ON incidents(n); \
         CREATE INDEX incidents_open ON incidents(open, n); \
         CREATE TABLE silences(id TEXT PRIMARY KEY, checksum INTEGER NOT NULL, \
         doc TEXT NOT NULL) WITHOUT ROWID; \
         CREATE TABLE incident_log(n INTEGER PRIMARY KEY, incident TEXT NOT NULL, \
         checksum INTEGER NOT NULL, doc TEXT NOT NULL); \
         CREATE INDEX incident_log_incident ON incident_log(incident, n); \
         CREATE TABLE notifications(n INTEGER PRIMARY KEY, channel TEXT NOT NULL, \
         checksum INTEGER NOT NULL, doc TEXT NOT NULL); \
         CREATE INDEX notifications_channel ON notifications(channel, n);"
    };
}
pub(super) use tables;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Incidents that are over.
    pub incidents: u64,
    /// Lines of the log, and as many notifications of each channel; those that wait for their channel up
    /// to [`HELD`] times as many.
    pub log: u64,
}

/// Notifications that left before their channel had taken them.
pub(super) type Lost = Vec<(Arc<Taker>, u64)>;

/// Writes what a commit brings, and keeps the bounds. Most commits bring nothing.
/// Says what left that a channel had not taken.
pub(super) fn write(
    tx: &Transaction<'_>,
    out: &Outcome,
    bounds: Bounds,
    figures: &Figures,
) -> rusqlite::Result<Lost> {
    if out.is_empty() {
        return Ok(Lost::new());
    }
    write_incidents(tx, out, bounds)?;
    for (id, silence) in &out.silences {
        match silence {
            None => {
                tx.prepare_cached("DELETE FROM silences WHERE id = ?1")?.execute([id])?;
            }
            Some(silence) => {
                let (sum, doc) = row("silences", silence)?;
                tx.prepare_cached("INSERT OR REPLACE INTO silences VALUES (?1, ?2, ?3)")?
                    .execute(params![id, sum, doc])?;
            }
        }
    }
    for change in &out.changes {
        let (sum, doc) = row("incident_log", change)?;
        tx.prepare_cached("INSERT INTO incident_log VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            change.n as i64,
            change.incident,
            sum,
            doc
        ])?;
    }
    for one in &out.notifications {
        let (sum, doc) = row("notifications", one)?;
        tx.prepare_cached("INSERT INTO notifications VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![one.n as i64, one.channel, sum, doc])?;
    }
    tx.prepare_cached(
        "DELETE FROM incident_log WHERE n <= (SELECT max(n) FROM incident_log) - ?1",
    )?
    .execute([bounds.log as i64])?;
    keep_notifications(tx, &out.notifications, bounds.log, figures)
}

/// Removes notifications beyond the bound that need no delivery any more, and beyond [`HELD`] times the
/// bound all: of each channel that has new ones by what it has itself, so that no other can push them
/// out; of channels that are no more by their age among all.
fn keep_notifications(
    tx: &Transaction<'_>,
    new: &[Notification],
    most: u64,
    figures: &Figures,
) -> rusqlite::Result<Lost> {
    let mut lost = Lost::new();
    let Some(last) = new.iter().map(|one| one.n as i64).max() else { return Ok(lost) };
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    for channel in channels(tx)? {
        let Some(taker) = figures.taker(&channel) else {
            remove(tx, &channel, last.saturating_sub(most))?;
            continue;
        };
        if new.iter().all(|one| one.channel != channel) {
            continue;
        }
        let taken = taker.taken.load(Ordering::Acquire) as i64;
        let mut upto = beyond(tx, &channel, last, most)?;
        if upto > taken {
            let end = beyond(tx, &channel, last, most.saturating_mul(HELD as i64))?;
            upto = taken.max(end);
        }
        let missed = "SELECT count(*) FROM notifications WHERE channel = ?1 AND n > ?2 AND n <= ?3";
        let missed: i64 = tx
            .prepare_cached(missed)?
            .query_row(params![channel, taken, upto], |row| row.get(0))?;
        if missed > 0 {
            lost.push((taker, missed.unsigned_abs()));
        }
        remove(tx, &channel, upto)?;
    }
    Ok(lost)
}

fn remove(tx: &Transaction<'_>, channel: &str, upto: i64) -> rusqlite::Result<usize> {
    tx.prepare_cached("DELETE FROM notifications WHERE channel = ?1 AND n <= ?2")?
        .execute(params![channel, upto])
}

/// The newest notification of a channel that has as many as `most` newer ones of its own; 0 when none has.
/// `last` is the newest of all channels.
fn beyond(tx: &Transaction<'_>, channel: &str, last: i64, most: i64) -> rusqlite::Result<i64> {
    let first = "SELECT min(n) FROM notifications WHERE channel = ?1";
    let first: Option<i64> = tx.prepare_cached(first)?.query_row([channel], |row| row.get(0))?;
    // Numbers are given once: there are no more of them than lie between. This spares the walk below.
    if first.is_none_or(|first| first > last.saturating_sub(most)) {
        return Ok(0);
    }
    let beyond = "SELECT n FROM notifications WHERE channel = ?1 ORDER BY n DESC LIMIT 1 OFFSET ?2";
    let found = tx
        .prepare_cached(beyond)?
        .query_row(params![channel, most], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

/// The channels that there are notifications of. Looks each up, however many notifications it has.
pub(super) fn channels(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut next = conn.prepare_cached(
        "SELECT channel FROM notifications WHERE channel > ?1 ORDER BY channel LIMIT 1",
    )?;
    let mut all: Vec<String> = Vec::new();
    loop {
        let last = all.last().map_or("", String::as_str);
        match next.query_row([last], |row| row.get(0)).optional()? {
            Some(channel) => all.push(channel),
            None => return Ok(all),
        }
    }
}

/// Most rows that are looked at in one step.
const ERASE_ROWS: i64 = 500;

/// Takes the addresses out of notifications of a channel behind `from`, up to `until`; returns how far it
/// came. Their rows stay.
pub(super) fn erase(
    conn: &Connection,
    channel: &str,
    (from, until): (u64, u64),
) -> rusqlite::Result<u64> {
    let sql = "SELECT n, doc FROM notifications WHERE channel = ?1 AND n > ?2 AND n <= ?3 \
               AND instr(doc, '\"recipient\":') > 0 ORDER BY n LIMIT ?4";
    let mut query = conn.prepare_cached(sql)?;
    let rows = query.query_map(params![channel, from as i64, until as i64, ERASE_ROWS], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let rows: Vec<(i64, String)> = rows.collect::<Result<_, _>>()?;
    let last = rows.last().filter(|_| rows.len() as i64 == ERASE_ROWS).map(|(n, _)| *n as u64);
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    for (n, doc) in &rows {
        // What cannot be read is found by whoever reads it.
        let Ok(mut one) = serde_json::from_str::<Notification>(doc) else { continue };
        if one.recipient.as_ref().is_none_or(|to| to.address.is_empty()) {
            continue;
        }
        one.recipient = Some(Recipient { address: String::new(), unsubscribe: None });
        let (sum, doc) = row("notifications", &one)?;
        tx.prepare_cached("UPDATE notifications SET checksum = ?2, doc = ?3 WHERE n = ?1")?
            .execute(params![n, sum, doc])?;
    }
    tx.commit()?;
    Ok(last.unwrap_or(until))
}

fn write_incidents(tx: &Transaction<'_>, out: &Outcome, bounds: Bounds) -> rusqlite::Result<()> {
    // In the order in which they began, which their numbers then have.
    let mut incidents: Vec<&Incident> = out.incidents.values().collect();
    incidents.sort_by_key(|incident| (incident.fired, &incident.id));
    for incident in &incidents {
        let (sum, doc) = row("incidents", incident)?;
        let open = incident.resolved.is_none();
        let known = tx
            .prepare_cached(
                "UPDATE incidents SET open = ?2, checksum = ?3, doc = ?4 WHERE id = ?1",
            )?
            .execute(params![incident.id, open, sum, doc])?;
        if known == 0 {
            tx.prepare_cached(
                "INSERT INTO incidents VALUES (?1, \
                 (SELECT coalesce(max(n), 0) + 1 FROM incidents), ?2, ?3, ?4)",
            )?
            .execute(params![incident.id, open, sum, doc])?;
        }
    }
    if incidents.iter().any(|incident| incident.resolved.is_some()) {
        tx.prepare_cached(
            "DELETE FROM incidents WHERE open = 0 AND n <= coalesce((SELECT n FROM incidents \
             WHERE open = 0 ORDER BY n DESC LIMIT 1 OFFSET ?1), 0)",
        )?
        .execute([bounds.incidents as i64])?;
    }
    Ok(())
}

fn row(table: &str, value: &impl Serialize) -> rusqlite::Result<(i64, String)> {
    let wrong = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let doc = serde_json::to_string(value).map_err(wrong)?;
    Ok((text_checksum(table, &doc), doc))
}

/// Reads a row that ends with checksum and document.
fn read<T: DeserializeOwned>(
    db: &DbFile,
    table: &str,
    (stored, doc): (i64, String),
) -> Result<T, StoreError> {
    if stored != text_checksum(table, &doc) {
        return Err(db.damaged(format!("checksum of a row of {table}")));
    }
    serde_json::from_str(&doc).map_err(|error| db.damaged(format!("{table}: {error}")))
}

fn pair(row: &Row<'_>) -> rusqlite::Result<(i64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// Runs a query whose rows are checksum and document.
fn all<T: DeserializeOwned>(
    conn: &Connection,
    db: &DbFile,
    table: &str,
    rest: &str,
    values: &[Value],
) -> Result<Vec<T>, StoreError> {
    let error = |error| db.error(error);
    let sql = format!("SELECT checksum, doc FROM {table} {rest}");
    let mut query = conn.prepare_cached(&sql).map_err(error)?;
    let rows = query.query_map(params_from_iter(values), pair).map_err(error)?;
    rows.map(|row| read(db, table, row.map_err(error)?)).collect()
}

/// Incidents, the newest first, each with its number.
pub(super) fn incidents(
    conn: &Connection,
    db: &DbFile,
    wanted: &IncidentsWanted,
) -> Result<Vec<(u64, Incident)>, StoreError> {
    let error = |error| db.error(error);
    let of = match wanted.open {
        None => "",
        Some(true) => "AND open = 1",
        Some(false) => "AND open = 0",
    };
    let sql = format!(
        "SELECT checksum, doc, n FROM incidents WHERE n < ?1 {of} ORDER BY n DESC LIMIT ?2"
    );
    let mut query = conn.prepare_cached(&sql).map_err(error)?;
    let before = i64::try_from(wanted.before).unwrap_or(i64::MAX);
    let rows = query
        .query_map(params![before, wanted.limit as i64], |row| Ok((pair(row)?, row.get(2)?)))
        .map_err(error)?;
    rows.map(|found| {
        let (row, n): (_, i64) = found.map_err(error)?;
        Ok((n as u64, read(db, "incidents", row)?))
    })
    .collect()
}

/// One incident.
pub(super) fn incident(
    conn: &Connection,
    db: &DbFile,
    id: &str,
) -> Result<Option<Incident>, StoreError> {
    let sql = "SELECT checksum, doc FROM incidents WHERE id = ?1";
    let row = conn.query_row(sql, [id], pair).optional().map_err(|error| db.error(error))?;
    row.map(|row| read(db, "incidents", row)).transpose()
}

/// The silences.
pub(super) fn silences(conn: &Connection, db: &DbFile) -> Result<Vec<Silence>, StoreError> {
    all(conn, db, "silences", "ORDER BY id", &[])
}

/// Lines of the log after a number, oldest first; of one incident, or all.
pub(super) fn changes(
    conn: &Connection,
    db: &DbFile,
    after: u64,
    incident: Option<&str>,
    limit: usize,
) -> Result<Vec<Change>, StoreError> {
    let after = Value::from(i64::try_from(after).unwrap_or(i64::MAX));
    let limit = Value::from(limit as i64);
    match incident {
        None => all(conn, db, "incident_log", "WHERE n > ?1 ORDER BY n LIMIT ?2", &[after, limit]),
        Some(id) => {
            let rest = "WHERE incident = ?3 AND n > ?1 ORDER BY n LIMIT ?2";
            all(conn, db, "incident_log", rest, &[after, limit, id.to_owned().into()])
        }
    }
}

/// Number of the newest line of the log, 0 when there is none.
pub(super) fn changes_newest(conn: &Connection, db: &DbFile) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(max(n), 0) FROM incident_log";
    let newest = conn
        .prepare_cached(sql)
        .and_then(|mut query| query.query_row([], |row| row.get::<_, i64>(0)));
    newest.map(i64::unsigned_abs).map_err(|error| db.error(error))
}

/// Notifications after a number, oldest first; of one channel, or all.
pub(super) fn notifications(
    conn: &Connection,
    db: &DbFile,
    after: u64,
    channel: Option<&str>,
    limit: usize,
) -> Result<Vec<Notification>, StoreError> {
    let after = Value::from(i64::try_from(after).unwrap_or(i64::MAX));
    let limit = Value::from(limit as i64);
    match channel {
        None => all(conn, db, "notifications", "WHERE n > ?1 ORDER BY n LIMIT ?2", &[after, limit]),
        Some(name) => {
            let rest = "WHERE channel = ?3 AND n > ?1 ORDER BY n LIMIT ?2";
            all(conn, db, "notifications", rest, &[after, limit, name.to_owned().into()])
        }
    }
}

/// How many notifications of a channel there are after a number.
pub(super) fn notifications_after(
    conn: &Connection,
    db: &DbFile,
    after: u64,
    channel: &str,
) -> Result<u64, StoreError> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let sql = "SELECT count(*) FROM notifications WHERE channel = ?1 AND n > ?2";
    let counted = conn
        .prepare_cached(sql)
        .and_then(|mut query| query.query_row(params![channel, after], |row| row.get::<_, i64>(0)));
    counted.map(i64::unsigned_abs).map_err(|error| db.error(error))
}
