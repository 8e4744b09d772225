//! Minute roll-ups: a row for each minute, metric and group, kept for `store.rollups_keep`.

use std::sync::atomic::Ordering;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::figures::Figures;
use super::sqlite::put_meta;
use crate::domain::metric::RollupRow;
use crate::domain::time::SpanMs;

/// They are looked through once for so much progress of their newest minute.
const SWEEP: i64 = 60 * 60 * 1000;

/// Minutes of one metric dropped in one step.
const ROLLUP_STEP: i64 = 4_096;

/// Newest minute of the rows, and the one of the last sweep.
#[derive(Debug, Default)]
pub(super) struct Rollups {
    minute: i64,
    swept: i64,
}

impl Rollups {
    /// These rows were written.
    pub(super) fn wrote(&mut self, rows: &[RollupRow]) {
        let newest = rows.iter().map(|row| row.minute).max();
        self.minute = self.minute.max(newest.unwrap_or(self.minute));
    }

    /// Drops rows that are too old, a step for each metric, once an hour of data.
    pub(super) fn retain(
        &mut self,
        conn: &Connection,
        keep: SpanMs,
        figures: &Figures,
    ) -> rusqlite::Result<()> {
        if self.minute < self.swept + SWEEP {
            return Ok(());
        }
        let total = figures.rollups_dropped.load(Ordering::Relaxed);
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        let (dropped, done) = drop_before(&tx, self.minute - keep)?;
        if dropped > 0 {
            put_meta(&tx, "rollups_dropped", &(total + dropped).to_string())?;
        }
        tx.commit()?;
        figures.rollups_dropped.fetch_add(dropped, Ordering::Relaxed);
        if done {
            self.swept = self.minute;
        }
        Ok(())
    }
}

/// Writes the rows of a commit.
pub(super) fn write(tx: &Transaction<'_>, rows: &[RollupRow]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT OR REPLACE INTO rollups(metric, minute, grp, count, sum, value) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    // In the order of the table, whose pages are then filled one after the other.
    let mut rows: Vec<&RollupRow> = rows.iter().collect();
    rows.sort_by(|a, b| (&a.metric, a.minute, &a.group).cmp(&(&b.metric, b.minute, &b.group)));
    for row in rows {
        // SQLite has no NaN (it becomes NULL): a value that cannot be told is 0 of 0.
        let real = |number: f64| if number.is_nan() { 0.0 } else { number };
        // What is more than one number stands there as JSON.
        let value = match row.value.scalar() {
            Some(number) => Value::from(real(number)),
            None => row.value.to_text().into(),
        };
        insert.execute(params![
            row.metric,
            row.minute,
            row.group,
            row.count as i64,
            real(row.sum),
            value
        ])?;
    }
    Ok(())
}

/// Drops minutes before `cut`, at most `ROLLUP_STEP` rows of each metric; tells how
/// many rows went and whether that was all.
fn drop_before(tx: &Transaction<'_>, cut: i64) -> rusqlite::Result<(u64, bool)> {
    let (mut dropped, mut done, mut metric) = (0, true, String::new());
    loop {
        let next: Option<String> = tx
            .prepare_cached("SELECT metric FROM rollups WHERE metric > ?1 ORDER BY metric LIMIT 1")?
            .query_row([&metric], |row| row.get(0))
            .optional()?;
        let Some(name) = next else { return Ok((dropped, done)) };
        let further: Option<i64> = tx
            .prepare_cached(
                "SELECT minute FROM rollups WHERE metric = ?1 AND minute < ?2 \
                 ORDER BY minute LIMIT 1 OFFSET ?3",
            )?
            .query_row(params![name, cut, ROLLUP_STEP], |row| row.get(0))
            .optional()?;
        done &= further.is_none();
        let upto = further.map_or(cut, |minute| minute + 1);
        dropped += tx
            .prepare_cached("DELETE FROM rollups WHERE metric = ?1 AND minute < ?2")?
            .execute(params![name, upto])? as u64;
        metric = name;
    }
}
