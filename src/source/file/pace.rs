//! When which event of a replay is due that goes at the pace of its events.

use std::time::Duration;

use crate::clock::SharedClock;
use crate::domain::event::RawBatch;
use crate::domain::event::when::TimeOf;
use crate::domain::time::EpochMs;

/// Most events looked at in one pull of a paced replay: their times are read each pull.
pub(super) const PACED_BATCH: usize = 4_096;

/// Longest sleep in one go, so that a clock that jumps is noticed.
const REST_MAX_MS: i64 = 1_000;

/// When which event is due.
pub(super) struct Pace {
    factor: f64,
    times: TimeOf,
    clock: SharedClock,
    /// Time of the first event, and when it was handed over.
    start: Option<(EpochMs, i64)>,
    /// The greatest time so far: an event that is behind it is due at once.
    reached: EpochMs,
    /// When the next event is due, by the clock's `elapsed`.
    next: i64,
}

impl Pace {
    pub fn new(factor: f64, times: TimeOf, clock: SharedClock) -> Self {
        Pace { factor, times, clock, start: None, reached: EpochMs::MIN, next: 0 }
    }

    /// How many items of `batch` are due now; notes when the first of the others will be.
    pub fn due(&mut self, batch: &RawBatch) -> usize {
        let now = self.clock.elapsed();
        for (count, item) in batch.items.iter().enumerate() {
            let Some(at) = self.times.of(batch.bytes(item)) else {
                continue;
            };
            let (first, began) = *self.start.get_or_insert((at, now));
            let reached = self.reached.max(at);
            let due = began.saturating_add(((reached - first) as f64 / self.factor) as i64);
            if due > now {
                self.next = due;
                return count;
            }
            self.reached = reached;
        }
        batch.items.len()
    }

    pub fn rest(&self) -> Duration {
        let rest = (self.next - self.clock.elapsed()).clamp(0, REST_MAX_MS);
        Duration::from_millis(rest as u64)
    }
}
