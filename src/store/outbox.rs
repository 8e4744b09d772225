//! Blocks of items as newline-separated JSON, and the two tables of alerts made of
//! them: the outbox in `state.db`, the alert log in `log.db`.
//!
//! A block holds many alerts because a burst (hundreds of thousands of sessions
//! ending at once) must cost bytes, not rows.

use rusqlite::{Connection, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::retain::Shelf;
use super::sqlite::{DbFile, checksum};
use crate::actors::ports::StoreError;
use crate::domain::alert::Alert;

/// A block ends after this many items: reading one item reads its block.
const BLOCK_ITEMS: usize = 4_096;
/// A block ends after this many bytes.
const BLOCK_BYTES: usize = 1 << 20;
const _: () =
    assert!(BLOCK_BYTES <= super::alerts::DELIVERY_BYTES, "a delivery takes one block at least");

/// A table of alert blocks.
#[derive(Debug)]
pub(super) struct AlertTable {
    pub shelf: Shelf,
}

/// Alerts committed; delivered up to the position in `meta`.
pub(super) const OUTBOX: AlertTable =
    AlertTable { shelf: Shelf { table: "outbox", key: "first_n", count: "count", blob: "blob" } };

/// Alerts delivered.
pub(super) const ALERT_LOG: AlertTable = AlertTable {
    shelf: Shelf { table: "alerts_out", key: "first_n", count: "count", blob: "blob" },
};

/// Some items as newline-separated JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub first: u64,
    pub last: u64,
    pub count: u64,
    pub blob: Vec<u8>,
}

/// Packs items into blocks; `number` gives an item's position.
pub(super) fn pack<T: Serialize>(
    items: &[T],
    number: impl Fn(&T) -> u64,
) -> Result<Vec<Block>, serde_json::Error> {
    let mut blocks: Vec<Block> = Vec::new();
    for item in items {
        let n = number(item);
        let full = blocks.last().is_none_or(|block| {
            block.count as usize >= BLOCK_ITEMS || block.blob.len() >= BLOCK_BYTES
        });
        if full {
            blocks.push(Block { first: n, last: n, count: 0, blob: Vec::new() });
        }
        let block = blocks.last_mut().expect("a block was pushed above if there was none");
        serde_json::to_writer(&mut block.blob, item)?;
        block.blob.push(b'\n');
        block.last = n;
        block.count += 1;
    }
    Ok(blocks)
}

/// The items of a block.
pub(super) fn unpack<T: DeserializeOwned>(blob: &[u8]) -> Result<Vec<T>, serde_json::Error> {
    serde_json::Deserializer::from_slice(blob).into_iter().collect()
}

impl AlertTable {
    /// Inserts a block.
    pub(super) fn insert(&self, conn: &Connection, block: &Block) -> rusqlite::Result<()> {
        let at = [block.first as i64, block.last as i64];
        conn.prepare_cached(&format!(
            "INSERT INTO {}(first_n, last_n, count, checksum, blob) VALUES (?1, ?2, ?3, ?4, ?5)",
            self.shelf.table
        ))?
        .execute(params![
            at[0],
            at[1],
            block.count as i64,
            checksum(self.shelf.table, at, &block.blob),
            block.blob
        ])?;
        Ok(())
    }

    /// Position of the newest alert, 0 when there is none.
    pub(super) fn newest(&self, conn: &Connection) -> rusqlite::Result<u64> {
        conn.query_row(
            &format!("SELECT coalesce(max(last_n), 0) FROM (SELECT last_n FROM {} ORDER BY first_n DESC LIMIT 1)", self.shelf.table),
            [],
            |row| row.get::<_, i64>(0),
        )
        .map(|n| n as u64)
    }

    /// Blocks with alerts after `after`, oldest first, until they hold `items_max`
    /// alerts or `bytes_max` bytes; at least one if there is one.
    pub(super) fn blocks_after(
        &self,
        conn: &Connection,
        db: &DbFile,
        after: u64,
        items_max: u64,
        bytes_max: usize,
    ) -> Result<Vec<Block>, StoreError> {
        let table = self.shelf.table;
        let error = |error| db.error(error);
        let mut query = conn
            .prepare_cached(&format!(
                "SELECT first_n, last_n, count, checksum, blob FROM {table} WHERE last_n > ?1 \
                 AND first_n >= coalesce((SELECT max(first_n) FROM {table} WHERE first_n <= ?1), 0) \
                 ORDER BY first_n"
            ))
            .map_err(error)?;
        let mut rows = query.query([after.min(i64::MAX as u64) as i64]).map_err(error)?;
        let (mut blocks, mut items, mut bytes) = (Vec::new(), 0, 0);
        while items < items_max && bytes < bytes_max {
            let Some(row) = rows.next().map_err(error)? else { break };
            let (block, stored) = read_block(row).map_err(error)?;
            let at = [block.first as i64, block.last as i64];
            db.verify(table, at, &block.blob, stored)?;
            // Alerts at or before `after` in the first block do not count towards the limit.
            items += block.last.saturating_sub(after.max(block.first - 1)).min(block.count);
            bytes += block.blob.len();
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// Alerts after `after`, oldest first, at most `limit`.
    pub(super) fn alerts_after(
        &self,
        conn: &Connection,
        db: &DbFile,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Alert>, StoreError> {
        let mut alerts = Vec::new();
        for block in self.blocks_after(conn, db, after, limit as u64, usize::MAX)? {
            let all: Vec<Alert> = unpack(&block.blob)
                .map_err(|error| db.damaged(format!("{}: {error}", self.shelf.table)))?;
            alerts.extend(all.into_iter().filter(|alert| alert.n > after));
        }
        alerts.truncate(limit);
        Ok(alerts)
    }
}

/// The part of a block after position `after`; `None` when nothing is left.
pub(super) fn rest_after(block: &Block, after: u64) -> Result<Option<Block>, serde_json::Error> {
    if block.first > after {
        return Ok(Some(block.clone()));
    }
    let mut alerts: Vec<Alert> = unpack(&block.blob)?;
    alerts.retain(|alert| alert.n > after);
    // One block stays one block: it only gets smaller.
    Ok(pack(&alerts, |alert| alert.n)?.into_iter().next())
}

fn read_block(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Block, i64)> {
    let block = Block {
        first: row.get::<_, i64>(0)?.max(1) as u64,
        last: row.get::<_, i64>(1)? as u64,
        count: row.get::<_, i64>(2)? as u64,
        blob: row.get(4)?,
    };
    Ok((block, row.get(3)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::Detail;

    fn alerts(range: std::ops::RangeInclusive<u64>) -> Vec<Alert> {
        range
            .map(|n| Alert {
                n,
                id: format!("{n:032x}"),
                kind: "abandoned".into(),
                severity: "info".into(),
                at: n as i64,
                subject: format!("u{n}"),
                title: "A cart was left.".into(),
                detail: Detail::of(&serde_json::json!({"value": 12.5})),
            })
            .collect()
    }

    #[test]
    fn blocks_hold_all_items_in_order_and_are_bounded() {
        let items = alerts(5..=10_000);
        let blocks = pack(&items, |alert| alert.n).unwrap();
        assert!(blocks.iter().all(|block| block.count as usize <= BLOCK_ITEMS));
        let back: Vec<Alert> =
            blocks.iter().flat_map(|block| unpack::<Alert>(&block.blob).unwrap()).collect();
        assert_eq!(back, items);
        assert_eq!((blocks[0].first, blocks.last().unwrap().last), (5, 10_000));
    }

    #[test]
    fn the_rest_of_a_block_leaves_out_what_is_known() {
        let block = pack(&alerts(1..=10), |alert| alert.n).unwrap().remove(0);
        assert_eq!(rest_after(&block, 0).unwrap(), Some(block.clone()));
        assert_eq!(rest_after(&block, 10).unwrap(), None);
        let rest = rest_after(&block, 7).unwrap().unwrap();
        assert_eq!((rest.first, rest.last, rest.count), (8, 10, 3));
        assert_eq!(unpack::<Alert>(&rest.blob).unwrap(), alerts(8..=10));
    }
}
