//! The list of late events: blocks of them, the oldest of which leave.

use std::sync::atomic::Ordering;

use rusqlite::{Connection, Transaction, params};

use super::figures::Figures;
use super::outbox::{Block, pack};
use super::retain::{Kept, Shelf};
use super::sqlite::{checksum, put_meta};
use crate::domain::commit::LateEvent;

const LATE: Shelf = Shelf { table: "late", key: "id", count: "count", blob: "blob" };

/// What is kept of late events, as far as it is committed.
#[derive(Debug)]
pub(super) struct LateList {
    kept: Kept,
    /// What was left when they could not be fewer: the newest block stays, whatever its size.
    least: Kept,
    bound: Kept,
}

/// Late events of a commit, packed before its transaction begins.
pub(super) struct News {
    blocks: Vec<Block>,
    /// Too many for the list by themselves.
    skipped: u64,
}

/// The list after a transaction, once that is durable.
pub(super) struct After {
    kept: Kept,
    dropped: u64,
}

impl News {
    /// What would leave again at once is not packed.
    pub(super) fn of(late: &[LateEvent], max: u64) -> Result<News, serde_json::Error> {
        let skipped = late.len().saturating_sub(max as usize);
        let blocks = pack(&late[skipped..], |late| late.position)?;
        Ok(News { blocks, skipped: skipped as u64 })
    }

    pub(super) fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.blob.len()).sum()
    }
}

impl LateList {
    pub(super) fn measure(conn: &Connection, bound: Kept) -> rusqlite::Result<LateList> {
        Ok(LateList { kept: LATE.measure(conn)?, least: Kept::default(), bound })
    }

    /// Writes what is new and keeps the bound in the same transaction: one commit may bring
    /// more than there may be.
    pub(super) fn write(
        &self,
        tx: &Transaction<'_>,
        epoch: u64,
        news: &News,
        figures: &Figures,
    ) -> rusqlite::Result<After> {
        write(tx, epoch, &news.blocks)?;
        let mut after = After { kept: self.kept, dropped: news.skipped };
        for block in &news.blocks {
            after.kept.add(block.count, block.blob.len() as u64);
        }
        self.trim(tx, &mut after, figures)?;
        Ok(after)
    }

    fn trim(
        &self,
        tx: &Transaction<'_>,
        after: &mut After,
        figures: &Figures,
    ) -> rusqlite::Result<()> {
        while after.kept.exceeds(self.bound) {
            let dropped = LATE.drop_oldest(tx, &mut after.kept, self.bound, u64::MAX)?;
            after.dropped += dropped.items;
            if dropped.items == 0 {
                break;
            }
        }
        if after.dropped > 0 {
            let total = figures.late_dropped.load(Ordering::Relaxed) + after.dropped;
            put_meta(tx, "late_dropped", &total.to_string())?;
        }
        Ok(())
    }

    pub(super) fn follow(&mut self, after: &After, figures: &Figures) {
        self.kept = after.kept;
        figures.late_dropped.fetch_add(after.dropped, Ordering::Relaxed);
    }

    /// True while there are more than the bound, which was a wider one before, and fewer are
    /// possible.
    pub(super) fn must_leave(&self) -> bool {
        self.kept.exceeds(self.bound) && self.kept != self.least
    }

    /// Brings the list within its bound.
    pub(super) fn narrow(
        &mut self,
        tx: Transaction<'_>,
        figures: &Figures,
    ) -> rusqlite::Result<()> {
        let mut after = After { kept: self.kept, dropped: 0 };
        self.trim(&tx, &mut after, figures)?;
        tx.commit()?;
        self.follow(&after, figures);
        self.least = self.kept;
        Ok(())
    }
}

fn write(tx: &Transaction<'_>, epoch: u64, blocks: &[Block]) -> rusqlite::Result<()> {
    for block in blocks {
        let epoch = epoch as i64;
        let sum = checksum("late", [epoch, block.count as i64], &block.blob);
        tx.prepare_cached(
            "INSERT INTO late(epoch, count, checksum, blob) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![epoch, block.count as i64, sum, block.blob])?;
    }
    Ok(())
}
