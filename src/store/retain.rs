//! Keeping a table of blobs within its bound: the oldest rows leave, a step at a
//! time, and the newest row always stays so that numbering never starts again.
//!
//! Used for the outbox, late events, the log's batches and the
//! delivered alerts (dead letters have `letters`): all are tables with a growing integer key.

use rusqlite::{Connection, params};

/// Most rows looked at in one step.
const STEP_ROWS: i64 = 1_024;

/// A step ends after this many bytes: deleting a blob reads it, and the thread has
/// commits to write.
const STEP_BYTES: u64 = 16 << 20;

/// A table of blobs with a growing key. The fields are SQL.
#[derive(Debug)]
pub(super) struct Shelf {
    pub table: &'static str,
    pub key: &'static str,
    /// Items in a row.
    pub count: &'static str,
    pub blob: &'static str,
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub items: u64,
    pub bytes: u64,
}

impl Kept {
    /// Adds a row.
    pub(super) fn add(&mut self, items: u64, bytes: u64) {
        self.items += items;
        self.bytes += bytes;
    }

    /// True when there is more than `bound`.
    pub(super) fn exceeds(&self, bound: Kept) -> bool {
        self.items > bound.items || self.bytes > bound.bytes
    }

    /// Takes rows away.
    pub(super) fn remove(&mut self, items: u64, bytes: u64) {
        self.items = self.items.saturating_sub(items);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What one step dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub items: u64,
    pub bytes: u64,
}

impl Shelf {
    /// Counts what the table holds. Reads every row's head, so only at start.
    pub(super) fn measure(&self, conn: &Connection) -> rusqlite::Result<Kept> {
        let sql = format!(
            "SELECT coalesce(sum({}), 0), coalesce(sum(length({})), 0) FROM {}",
            self.count, self.blob, self.table
        );
        conn.query_row(&sql, [], |row| {
            Ok(Kept { items: row.get::<_, i64>(0)? as u64, bytes: row.get::<_, i64>(1)? as u64 })
        })
    }

    /// Drops the oldest rows until `kept` is within `bound`, the step is over, or a
    /// row is reached that holds items at or after `upto`. Works in the open transaction.
    pub(super) fn drop_oldest(
        &self,
        conn: &Connection,
        kept: &mut Kept,
        bound: Kept,
        upto: u64,
    ) -> rusqlite::Result<Dropped> {
        let mut dropped = Dropped::default();
        let mut last_key = None;
        let sql = format!(
            "SELECT {key}, {count}, length({blob}) FROM {table} \
             WHERE {key} < (SELECT max({key}) FROM {table}) ORDER BY {key} LIMIT {STEP_ROWS}",
            key = self.key,
            count = self.count,
            blob = self.blob,
            table = self.table
        );
        let mut query = conn.prepare_cached(&sql)?;
        let mut rows = query.query([])?;
        let mut left = *kept;
        while let Some(row) = rows.next()? {
            let (key, items, bytes): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (items, bytes) = (items as u64, bytes as u64);
            if !left.exceeds(bound) || key as u64 + items > upto || dropped.bytes >= STEP_BYTES {
                break;
            }
            left.remove(items, bytes);
            dropped.items += items;
            dropped.bytes += bytes;
            last_key = Some(key);
        }
        drop(rows);
        if let Some(key) = last_key {
            let sql = format!("DELETE FROM {} WHERE {} <= ?1", self.table, self.key);
            conn.prepare_cached(&sql)?.execute(params![key])?;
            *kept = left;
        }
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELF: Shelf = Shelf { table: "t", key: "first", count: "count", blob: "blob" };

    fn table(rows: u64) -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t(first INTEGER PRIMARY KEY, count INTEGER, blob BLOB)")
            .unwrap();
        for row in 0..rows as i64 {
            conn.execute("INSERT INTO t VALUES (?1, 10, zeroblob(100))", [row * 10 + 1]).unwrap();
        }
        conn
    }

    fn firsts(conn: &Connection) -> Vec<i64> {
        let mut query = conn.prepare("SELECT first FROM t ORDER BY first").unwrap();
        query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn the_oldest_leave_until_the_bound_is_kept() {
        let conn = table(5);
        let mut kept = SHELF.measure(&conn).unwrap();
        assert_eq!(kept, Kept { items: 50, bytes: 500 });
        let bound = Kept { items: 30, bytes: 10_000 };
        let dropped = SHELF.drop_oldest(&conn, &mut kept, bound, u64::MAX).unwrap();
        assert_eq!(dropped, Dropped { items: 20, bytes: 200 });
        assert_eq!(firsts(&conn), [21, 31, 41]);
        assert_eq!(kept, SHELF.measure(&conn).unwrap());
    }

    #[test]
    fn nothing_at_or_after_the_limit_leaves() {
        let conn = table(5);
        let mut kept = SHELF.measure(&conn).unwrap();
        let bound = Kept { items: 0, bytes: 0 };
        SHELF.drop_oldest(&conn, &mut kept, bound, 20).unwrap();
        // Row 11..=20 holds item 20.
        assert_eq!(firsts(&conn), [11, 21, 31, 41]);
    }

    #[test]
    fn the_newest_row_always_stays() {
        let conn = table(3);
        let mut kept = SHELF.measure(&conn).unwrap();
        SHELF.drop_oldest(&conn, &mut kept, Kept::default(), u64::MAX).unwrap();
        assert_eq!(firsts(&conn), [21]);
    }
}
