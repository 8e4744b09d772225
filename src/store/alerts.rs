//! Alerts on their way from a commit to the alert log: the outbox of `state.db`.

use std::sync::atomic::Ordering;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::figures::Figures;
use super::log::EmbeddedLog;
use super::outbox::{Block, OUTBOX, pack};
use super::retain::Kept;
use super::sqlite::{DbFile, put_meta};
use crate::actors::ports::StoreError;
use crate::domain::alert::Alert;

/// Handed over in one go: two transactions, one in each file.
pub(super) const DELIVERY_BYTES: usize = 8 << 20;

/// How far alerts are committed and delivered.
#[derive(Debug)]
pub(super) struct Alerts {
    kept: Kept,
    /// Position of the newest alert in the feed.
    last: u64,
    /// Alerts up to here are in the alert log.
    done: u64,
}

impl Alerts {
    /// As they stand in the file, where they were delivered up to `done`.
    pub(super) fn open(
        conn: &Connection,
        mut done: u64,
        log: &EmbeddedLog,
        figures: &Figures,
    ) -> rusqlite::Result<Alerts> {
        // The alert log lost its end, or is a new one: what is still in the outbox goes again.
        if let Some(missing) = done.checked_sub(log.alerts_newest() + 1) {
            done = log.alerts_newest();
            let delivered = figures.alerts_delivered.load(Ordering::Relaxed);
            figures.alerts_delivered.fetch_sub((missing + 1).min(delivered), Ordering::Relaxed);
        }
        Ok(Alerts { kept: OUTBOX.shelf.measure(conn)?, last: OUTBOX.newest(conn)?, done })
    }

    /// Packs the alerts of a commit, which follow those there are.
    pub(super) fn pack(&self, alerts: &[Alert], epoch: u64) -> Result<Vec<Block>, String> {
        let mut last = self.last;
        for alert in alerts {
            if alert.n <= last {
                return Err(format!("alert {} in commit {epoch} comes after {last}", alert.n));
            }
            last = alert.n;
        }
        pack(alerts, |alert| alert.n).map_err(|error| error.to_string())
    }

    pub(super) fn write(
        &self,
        tx: &Transaction<'_>,
        blocks: &[Block],
        figures: &Figures,
    ) -> rusqlite::Result<()> {
        if blocks.is_empty() {
            return Ok(());
        }
        for block in blocks {
            OUTBOX.insert(tx, block)?;
        }
        let committed = figures.alerts_committed.load(Ordering::Relaxed) + count(blocks);
        put_meta(tx, "alerts_committed", &committed.to_string())
    }

    /// These are committed.
    pub(super) fn follow(&mut self, blocks: &[Block], figures: &Figures) {
        for block in blocks {
            self.kept.add(block.count, block.blob.len() as u64);
            self.last = block.last;
        }
        figures.alerts_committed.fetch_add(count(blocks), Ordering::Relaxed);
    }

    /// Delivers some of what is not delivered; tells how many alerts and bytes, none when
    /// nothing is left.
    pub(super) fn deliver(
        &mut self,
        conn: &Connection,
        db: &DbFile,
        log: &EmbeddedLog,
        figures: &Figures,
    ) -> Result<Option<Kept>, StoreError> {
        let after = self.done;
        if after >= self.last {
            return Ok(None);
        }
        let blocks = OUTBOX.blocks_after(conn, db, after, u64::MAX, DELIVERY_BYTES)?;
        let Some(last) = blocks.last().map(|block| block.last) else {
            return Err(db.damaged(format!("alerts after {after} are missing")));
        };
        let bytes = blocks.iter().map(|block| block.blob.len() as u64).sum();
        let delivered = Kept { items: count(&blocks), bytes };
        log.deliver(blocks)?;
        fail::fail_point!("store.deliver.between");
        let total = figures.alerts_delivered.load(Ordering::Relaxed) + delivered.items;
        (|| {
            let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
            put_meta(&tx, "alerts_done", &last.to_string())?;
            put_meta(&tx, "alerts_delivered", &total.to_string())?;
            tx.commit()
        })()
        .map_err(|error| db.error(error))?;
        figures.alerts_delivered.store(total, Ordering::Relaxed);
        self.done = last;
        Ok(Some(delivered))
    }

    /// Drops the oldest that were delivered while there are more than `bound`, a step at a time.
    pub(super) fn retain(
        &mut self,
        conn: &Connection,
        bound: Kept,
        figures: &Figures,
    ) -> rusqlite::Result<()> {
        if !self.kept.exceeds(bound) {
            return Ok(());
        }
        let mut kept = self.kept;
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        let dropped = OUTBOX.shelf.drop_oldest(&tx, &mut kept, bound, self.done + 1)?;
        let total = figures.alerts_dropped.load(Ordering::Relaxed) + dropped.items;
        put_meta(&tx, "alerts_dropped", &total.to_string())?;
        tx.commit()?;
        figures.alerts_dropped.fetch_add(dropped.items, Ordering::Relaxed);
        self.kept = kept;
        Ok(())
    }
}

fn count(blocks: &[Block]) -> u64 {
    blocks.iter().map(|block| block.count).sum()
}
