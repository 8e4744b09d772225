//! When a barrier is set, and what goes with it.

use std::sync::atomic::Ordering;

use super::{BARRIERS_MAX, BOARD_LEAD, Ingestor};
use crate::actors::messages::{BarrierNote, ShardBarrier};
use crate::actors::pipeline::RunError;
use crate::domain::keeper::Barrier;
use crate::domain::readers::Reader;
use crate::domain::time::EpochMs;

impl Ingestor {
    /// Milliseconds until the next board, if it is still to come.
    pub(super) fn until_board(&self) -> Option<i64> {
        let next = self.parts.flow.next_board.load(Ordering::SeqCst);
        Some(next - self.parts.clock.elapsed()).filter(|rest| *rest >= 0)
    }

    pub(super) async fn barrier_if_due(&mut self) -> Result<(), RunError> {
        let settings = &self.parts.settings;
        let waited = self.parts.clock.elapsed() - self.barrier_at;
        let full = self.ledger.received >= settings.commit_events as u64
            || self.bytes >= settings.commit_bytes;
        let board = self.until_board().is_some_and(|rest| rest <= BOARD_LEAD);
        let due = (waited >= settings.commit_interval.min(settings.tick)
            || (board && waited >= BOARD_LEAD))
            && (self.ledger.received + self.ledger.gap > 0
                || self.watermark > self.barrier_watermark);
        let room = self.parts.flow.barriers.load(Ordering::SeqCst) < BARRIERS_MAX;
        if (full || due) && room {
            return self.barrier(None, false).await;
        }
        Ok(())
    }

    /// Sets a barrier: everything read so far belongs to one commit.
    pub(super) async fn barrier(
        &mut self,
        drained_at: Option<EpochMs>,
        last: bool,
    ) -> Result<(), RunError> {
        self.barriers += 1;
        self.barrier_at = self.parts.clock.elapsed();
        self.barrier_watermark = self.watermark;
        self.bytes = 0;
        let number = self.barriers;
        if self.ledger.received > 0 {
            let (ahead, most) = std::mem::take(&mut self.ahead);
            self.parts.flow.ahead.tell(ahead, self.ledger.received, most);
        }
        self.parts.flow.barriers.fetch_add(1, Ordering::SeqCst);
        let barrier = Barrier {
            positions: self.readers.iter().map(Reader::stands).collect(),
            watermark: self.watermark,
            first_at: self.first_at,
            max_at: self.max_at,
            ledger: std::mem::take(&mut self.ledger),
            dead_letters: std::mem::take(&mut self.dead_letters),
            times: std::mem::take(&mut self.times),
            unused_aliases: if last { self.decoder.unused_aliases() } else { Vec::new() },
        };
        let refused = std::mem::take(&mut self.refused);
        let message = ShardBarrier { number, watermark: barrier.watermark, drained_at };
        for inlet in &self.parts.shards {
            // A place is waited for, so that the mailbox is never full, and left at once.
            drop(inlet.places.acquire().await);
            if inlet.addr.try_send(message).is_err() {
                self.parts.watch.fail("an aggregator does not take a barrier");
            }
        }
        if self.parts.committer.try_send(BarrierNote { number, barrier, last, refused }).is_err() {
            self.parts.watch.fail("the committer does not take a barrier");
        }
        Ok(())
    }
}
