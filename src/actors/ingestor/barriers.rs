//! When a barrier is set.

use crate::actors::{SHARD_QUEUE_MAX, Settings, aggregator};

/// Barriers that may be under way: more would only split the same commits up.
const BARRIERS_MAX: u64 = 4;
/// How much more one commit holds while the sources are far behind. As many fewer barriers are
/// under way then, so that what is in flight stays the same.
const BEHIND: u64 = 2;
/// A barrier is set this long before a board is due, so that the board shows what has just
/// come instead of what the last barrier held; in ms. Enough for the shards and the keeper, whom
/// the board waits for, and not for the disk, which it does not.
pub(super) const BOARD_LEAD: i64 = 25;

const _: () = assert!(
    BARRIERS_MAX.is_multiple_of(BEHIND) && BARRIERS_MAX > BEHIND,
    "far behind there are fewer and larger barriers, and still one while another is under way"
);
const _: () = assert!(
    SHARD_QUEUE_MAX as usize + BARRIERS_MAX as usize <= aggregator::MAILBOX,
    "a shard has a place for each batch and barrier that may be under way"
);

/// What there is since the last barrier.
pub(super) struct Since {
    /// How long it was, in ms.
    pub(super) waited: i64,
    /// Events, and bytes of them.
    pub(super) events: u64,
    pub(super) bytes: usize,
    /// Something to commit besides events.
    pub(super) moved: bool,
    /// Until the next board, in ms.
    pub(super) board: Option<i64>,
    /// Barriers under way.
    pub(super) under_way: u64,
    /// All sources have more than a commit's events to read: nobody waits for these.
    pub(super) far_behind: bool,
}

impl Since {
    pub(super) fn is_due(&self, settings: &Settings) -> bool {
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
