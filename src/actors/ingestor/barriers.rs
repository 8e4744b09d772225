//! When a barrier is set, and what goes with it.

use std::sync::atomic::Ordering;

use super::Ingestor;
use crate::actors::Settings;
use crate::actors::messages::{BarrierNote, ShardBarrier};
use crate::actors::pipeline::RunError;
use crate::domain::keeper::Barrier;
use crate::domain::readers::Reader;
use crate::domain::time::EpochMs;

/// Barriers that may be under way: more would only split the same commits up.
const BARRIERS_MAX: u64 = 4;
/// How much more one commit holds while the sources are far behind. As many fewer barriers are
/// under way then, so that what is in flight stays the same.
const BEHIND: u64 = 2;
/// A barrier is set this long before a board is due, so that the board shows what has just
/// come instead of what the last barrier held; in ms. Enough for the shards and the keeper, whom
/// the board waits for, and not for the disk, which it does not.
pub(super) const BOARD_LEAD: i64 = 25;

/// What there is since the last barrier.
struct Since {
    /// How long it was, in ms.
    waited: i64,
    /// Events, and bytes of them.
    events: u64,
    bytes: usize,
    /// Something to commit besides events.
    moved: bool,
    /// Until the next board, in ms.
    board: Option<i64>,
    /// Barriers under way.
    under_way: u64,
    /// All sources have more than a commit's events to read: nobody waits for these.
    far_behind: bool,
}

impl Since {
    fn is_due(&self, settings: &Settings) -> bool {
        let (interval, tick) = (settings.commit_interval, settings.tick);
        // Far behind a commit for each board will do: a session that gets several events between
        // two barriers is written once.
        let (times, longest) =
            if self.far_behind { (BEHIND, interval.max(tick)) } else { (1, interval.min(tick)) };
        let events_max = (times * settings.commit_events as u64).min(settings.credits as u64);
        let full = self.events >= events_max || self.bytes >= bytes_max(settings, self.far_behind);
        let board = self.board.is_some_and(|rest| rest <= BOARD_LEAD);
        let late = self.waited >= longest || (board && self.waited >= BOARD_LEAD);
        let due = late && (self.events > 0 || self.moved);
        (full || due) && self.under_way < BARRIERS_MAX / times
    }
}

/// Bytes of events that fill a commit.
pub(super) fn bytes_max(settings: &Settings, far_behind: bool) -> usize {
    let times = if far_behind { BEHIND as usize } else { 1 };
    settings.commit_bytes.saturating_mul(times)
}

impl Ingestor {
    /// All sources have more than a commit's events to read.
    pub(super) fn far_behind(&self) -> bool {
        let commit = self.parts.settings.commit_events as u64;
        self.readers.iter().all(|reader| reader.far_behind(commit))
    }

    /// Milliseconds until the next board, if it is still to come.
    pub(super) fn until_board(&self) -> Option<i64> {
        let next = self.parts.flow.next_board.load(Ordering::SeqCst);
        Some(next - self.parts.clock.elapsed()).filter(|rest| *rest >= 0)
    }

    pub(super) async fn barrier_if_due(&mut self) -> Result<(), RunError> {
        let settings = &self.parts.settings;
        let since = Since {
            waited: self.parts.clock.elapsed() - self.barrier_at,
            events: self.ledger.received,
            bytes: self.bytes,
            moved: self.ledger.gap > 0
                || self.watermark > self.barrier_watermark
                || self.parts.flow.commanded.load(Ordering::SeqCst),
            board: self.until_board(),
            under_way: self.parts.flow.barriers.load(Ordering::SeqCst),
            far_behind: self.far_behind(),
        };
        if since.is_due(settings) { self.barrier(None, false).await } else { Ok(()) }
    }

    /// Sets a barrier: everything read so far belongs to one commit.
    pub(super) async fn barrier(
        &mut self,
        drained_at: Option<EpochMs>,
        last: bool,
    ) -> Result<(), RunError> {
        self.parts.flow.commanded.store(false, Ordering::SeqCst);
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
            drop(inlet.permits.acquire().await);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn due(change: impl Fn(&mut Since)) -> bool {
        let settings = Settings {
            commit_interval: 500,
            tick: 1_000,
            commit_events: 100,
            commit_bytes: 1_000,
            credits: 400,
            ..Settings::default()
        };
        let mut since = Since {
            waited: 0,
            events: 1,
            bytes: 10,
            moved: false,
            board: None,
            under_way: 0,
            far_behind: false,
        };
        change(&mut since);
        since.is_due(&settings)
    }

    #[test]
    fn a_commit_is_bounded_in_time_events_and_bytes_and_holds_twice_as_much_far_behind() {
        for far_behind in [false, true] {
            let (times, longest) = if far_behind { (2, 1_000) } else { (1, 500) };
            let due = |change: &dyn Fn(&mut Since)| {
                due(|since| {
                    since.far_behind = far_behind;
                    change(since);
                })
            };
            assert!(due(&|s| s.waited = longest) && !due(&|s| s.waited = longest - 1));
            assert!(due(&|s| s.events = 100 * times) && !due(&|s| s.events = 100 * times - 1));
            assert!(due(&|s| s.bytes = 1_000 * times as usize));
            assert!(!due(&|s| s.bytes = 1_000 * times as usize - 1));
            assert!(due(&|s| (s.waited, s.board) = (BOARD_LEAD, Some(BOARD_LEAD))));
            let full = |under_way| due(&|s| (s.events, s.under_way) = (1_000, under_way));
            assert!(full(4 / times - 1) && !full(4 / times));
            let idle = |moved| due(&|s| (s.waited, s.events, s.moved) = (9_000, 0, moved));
            assert!(idle(true) && !idle(false));
        }
    }
}
