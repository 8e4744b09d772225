//! The tables of `state.db`, and how a commit is written into them row by row.
//!
//! Everything here runs in a transaction that `state` opens and ends.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::incidents;
use super::sqlite::{DbFile, Layout, checksum, text_checksum};
use crate::actors::ports::StoreError;
use crate::domain::commit::{CommitUnit, SourceIdentity, SourcePosition};
use crate::domain::hash;

/// What `state.db` is.
pub(super) static LAYOUT: Layout = Layout {
    application: 0x7469_6473, // "tids"
    format: 5,
    // Most of the file is blobs of megabytes: fewer, larger pages write them faster.
    page_bytes: 16_384,
    schema: concat!(
        "CREATE TABLE head(id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, \
         owner INTEGER NOT NULL, watermark INTEGER NOT NULL, wall INTEGER NOT NULL, \
         snapshot_epoch INTEGER NOT NULL, snapshot_parts INTEGER NOT NULL, \
         checksum INTEGER NOT NULL); \
         CREATE TABLE positions(source TEXT PRIMARY KEY, incarnation TEXT NOT NULL, \
         position INTEGER NOT NULL, fingerprint INTEGER NOT NULL, \
         watermark INTEGER NOT NULL, cursor BLOB NOT NULL) WITHOUT ROWID; \
         CREATE TABLE deltas(epoch INTEGER NOT NULL, part INTEGER NOT NULL, \
         parts INTEGER NOT NULL, checksum INTEGER NOT NULL, blob BLOB NOT NULL, \
         PRIMARY KEY (epoch, part)); \
         CREATE TABLE snapshot(epoch INTEGER NOT NULL, part INTEGER NOT NULL, \
         checksum INTEGER NOT NULL, blob BLOB NOT NULL, PRIMARY KEY (epoch, part)); \
         CREATE TABLE outbox(first_n INTEGER PRIMARY KEY, last_n INTEGER NOT NULL, \
         count INTEGER NOT NULL, checksum INTEGER NOT NULL, blob BLOB NOT NULL); \
         CREATE TABLE late(id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, \
         count INTEGER NOT NULL, checksum INTEGER NOT NULL, blob BLOB NOT NULL); \
         CREATE TABLE dead_letters(id INTEGER PRIMARY KEY, source TEXT NOT NULL, \
         position INTEGER NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL, \
         redriven INTEGER, checksum INTEGER NOT NULL, raw BLOB NOT NULL, \
         hints TEXT NOT NULL DEFAULT '{}', kind TEXT NOT NULL); \
         CREATE INDEX dead_letters_kind ON dead_letters(kind, id); \
         CREATE TABLE rollups(metric TEXT NOT NULL, minute INTEGER NOT NULL, \
         grp TEXT NOT NULL, count INTEGER NOT NULL, sum REAL NOT NULL, value REAL NOT NULL, \
         PRIMARY KEY (metric, minute, grp)) WITHOUT ROWID;",
        incidents::tables!()
    ),
    remedy: "stop tidewatch, then move state.db and state.db-wal away to start again from the \
         log, or put a copy of both back",
    // Before 3 the blobs hold numbers in millionths.
    oldest: 3,
    // 4 keeps incidents. Since 5 lines of rules are in their log, with the facts, and no longer in the feed
    // of alerts, where those of before stay until they leave: nothing is to be changed in the file.
    upgrades: &[incidents::tables!(), ""],
};

/// The last commit, as the `head` row has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Head {
    pub epoch: u64,
    pub owner: i64,
    pub watermark: i64,
    pub wall: i64,
    /// The state as of this commit is in `snapshot`, 0 for none.
    pub snapshot_epoch: u64,
    pub snapshot_parts: u64,
    /// By source name.
    pub positions: BTreeMap<String, SourcePosition>,
}

/// Reads the head; `None` in a new file.
pub(super) fn read_head(conn: &Connection, db: &DbFile) -> Result<Option<Head>, StoreError> {
    let error = |error| db.error(error);
    let mut head = Head::default();
    let read = conn
        .query_row(
            "SELECT epoch, owner, watermark, wall, snapshot_epoch, snapshot_parts, checksum \
             FROM head WHERE id = 1",
            [],
            |row| {
                head.epoch = row.get::<_, i64>(0)? as u64;
                (head.owner, head.watermark, head.wall) = (row.get(1)?, row.get(2)?, row.get(3)?);
                head.snapshot_epoch = row.get::<_, i64>(4)? as u64;
                head.snapshot_parts = row.get::<_, i64>(5)? as u64;
                row.get::<_, i64>(6)
            },
        )
        .optional()
        .map_err(error)?;
    let Some(stored) = read else { return no_head(conn, db).map(|()| None) };
    let mut query = conn
        .prepare(
            "SELECT source, incarnation, position, fingerprint, watermark, cursor FROM positions",
        )
        .map_err(error)?;
    let positions = query
        .query_map([], |row| {
            Ok(SourcePosition {
                source: SourceIdentity { name: row.get(0)?, incarnation: row.get(1)? },
                position: row.get::<_, i64>(2)? as u64,
                fingerprint: row.get::<_, i64>(3)? as u64,
                watermark: row.get(4)?,
                cursor: row.get::<_, Vec<u8>>(5)?.into(),
            })
        })
        .map_err(error)?;
    for position in positions {
        let position = position.map_err(error)?;
        head.positions.insert(position.source.name.clone(), position);
    }
    if stored == head_checksum(&head) {
        Ok(Some(head))
    } else {
        Err(db.damaged("checksum of the last commit"))
    }
}

/// A file without a head must be one that was never opened: nothing else is in it.
fn no_head(conn: &Connection, db: &DbFile) -> Result<(), StoreError> {
    let rows: i64 = conn
        .query_row(
            "SELECT (SELECT count(*) FROM deltas) + (SELECT count(*) FROM snapshot) \
             + (SELECT count(*) FROM positions)",
            [],
            |row| row.get(0),
        )
        .map_err(|error| db.error(error))?;
    match rows {
        0 => Ok(()),
        _ => Err(db.damaged("the last commit is missing")),
    }
}

/// Writes the head and its positions.
pub(super) fn write_head(conn: &Connection, head: &Head) -> rusqlite::Result<()> {
    for position in head.positions.values() {
        conn.prepare_cached(
            "INSERT OR REPLACE INTO positions(source, incarnation, position, fingerprint, \
             watermark, cursor) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            position.source.name,
            position.source.incarnation,
            position.position as i64,
            position.fingerprint as i64,
            position.watermark,
            &*position.cursor
        ])?;
    }
    conn.prepare_cached(
        "INSERT OR REPLACE INTO head(id, epoch, owner, watermark, wall, snapshot_epoch, \
         snapshot_parts, checksum) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        head.epoch as i64,
        head.owner,
        head.watermark,
        head.wall,
        head.snapshot_epoch as i64,
        head.snapshot_parts as i64,
        head_checksum(head)
    ])?;
    Ok(())
}

fn head_checksum(head: &Head) -> i64 {
    let mut text = format!(
        "{} {} {} {} {} {}",
        head.epoch, head.owner, head.watermark, head.wall, head.snapshot_epoch, head.snapshot_parts
    );
    for at in head.positions.values() {
        let SourceIdentity { name, incarnation } = &at.source;
        let SourcePosition { position, fingerprint, cursor, watermark, .. } = at;
        let cursor = hash::fingerprint(cursor);
        text += &format!("\n{name}\n{incarnation}\n{position} {fingerprint} {watermark} {cursor}");
    }
    text_checksum("head", &text)
}

/// A row for each section; a unit without sections has one empty row, so that a
/// missing commit is told from an empty one.
pub(super) fn write_delta(tx: &Transaction<'_>, unit: &CommitUnit) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO deltas(epoch, part, parts, checksum, blob) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let parts = unit.delta.len() as u64;
    let none: &[u8] = &[];
    let sections: Vec<&[u8]> = match parts {
        0 => vec![none],
        _ => unit.delta.iter().map(Vec::as_slice).collect(),
    };
    for (part, section) in sections.into_iter().enumerate() {
        let at = section_at(unit.epoch, part as u64, parts);
        let sum = checksum("deltas", at, section);
        insert.execute(params![at[0], part as i64, parts as i64, sum, section])?;
    }
    Ok(())
}

/// Where a section belongs, for its checksum: the number of sections is part of it,
/// so that a commit cannot lose its last ones.
pub(super) fn section_at(epoch: u64, part: u64, parts: u64) -> [i64; 2] {
    [epoch as i64, (part << 32 | parts) as i64]
}

/// Checksum of a dead letter; one without hints has that of the files before there were any.
pub(super) fn letter_checksum(at: [i64; 2], raw: &[u8], hints: &str) -> i64 {
    let sum = checksum("dead_letters", at, raw);
    match hints {
        "{}" => sum,
        hints => sum ^ text_checksum("hints", hints),
    }
}
