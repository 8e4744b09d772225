//! What the committer finds at each tick that somebody should know of, told to the status
//! as standing conditions.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::status::Status;
use crate::domain::condition::Condition;
use crate::domain::keeper::Keeper;
use crate::domain::pattern::PatternTally;
use crate::domain::time::{EpochMs, SpanMs};

/// An event this far ahead of its arrival says that a clock is wrong: clocks that are kept by
/// NTP differ by milliseconds.
pub(super) const AHEAD_MS: SpanMs = 5_000;

/// A refusal is over when none came for this long, in ms.
const QUIET: i64 = 60_000;

/// How long after a start people are told what the configuration changed, in ms.
const NEWS: i64 = 3_600_000;

/// How many of the events last read came from the future. Written by the ingestor at each
/// barrier that holds events.
#[derive(Debug, Default)]
pub struct Ahead {
    events: AtomicU64,
    of: AtomicU64,
    most: AtomicI64,
}

impl Ahead {
    /// `events` of `of` were more than 5 s ahead of this machine's clock, at most by `most` ms.
    pub(super) fn tell(&self, events: u64, of: u64, most: SpanMs) {
        self.events.store(events, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
        self.most.store(most, Ordering::Relaxed);
    }

    /// Set when most events are ahead: one producer's wrong clock is not ours.
    fn says(&self) -> Option<String> {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let (events, of) = (read(&self.events), read(&self.of));
        let seconds = self.most.load(Ordering::Relaxed) as f64 / 1_000.0;
        (events * 2 > of).then(|| {
            format!(
                "{events} of the last {of} events are ahead of this machine's clock, by up to \
                 {seconds:.0} s: set the clock (it is probably behind); until then sessions and \
                 windows close late, and events too far ahead are rejected"
            )
        })
    }
}

/// What was found at earlier ticks.
#[derive(Debug, Default)]
pub(super) struct Watch {
    refused: Recent,
    forgotten: Recent,
    patterns: Recent,
    aliases: Recent,
    /// When it looked first.
    since: Option<i64>,
}

/// Whether a count has grown of late.
#[derive(Debug, Default)]
struct Recent {
    count: Option<u64>,
    grew_at: Option<i64>,
}

impl Recent {
    fn see(&mut self, count: u64, now: i64) -> bool {
        if self.count.replace(count).is_some_and(|before| count > before) {
            self.grew_at = Some(now);
        }
        self.grew_at.is_some_and(|at| now - at < QUIET)
    }
}

/// The bounds that the sentences name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub sessions_max: usize,
    pub session_bytes_max: usize,
    pub pattern_keys_max: usize,
    pub pattern_bytes_max: usize,
    pub pattern_held_max: usize,
    pub closed_max: usize,
    pub aliases_max: u64,
    pub alias_bytes_max: u64,
    pub ids_max: usize,
}

impl Watch {
    /// Looks, and tells. `now` is monotonic, in ms.
    pub(super) fn look(
        &mut self,
        keeper: &Keeper,
        watermark: EpochMs,
        ahead: &Ahead,
        bounds: Bounds,
        status: &Status,
        now: i64,
    ) {
        status.stands(Condition::ClockBehind, ahead.says());
        let short = keeper.ids_short_until().is_some_and(|until| watermark <= until);
        let says = short.then(|| {
            format!(
                "more event ids came than are remembered: the oldest {} were forgotten, and an \
                 event as old as theirs is called late, because it cannot be told whether it is \
                 a repeat (pipeline.dedup_ids_max = {})",
                keeper.forgotten_early(),
                bounds.ids_max
            )
        });
        status.stands(Condition::IdsForgotten, says);
        let (refused, displaced) = (keeper.sessions_refused(), keeper.totals().displaced);
        let says = self.refused.see(refused + displaced, now).then(|| {
            format!(
                "there is no room for further sessions: {refused} events were rejected for it so \
                 far, and {displaced} sessions ended early to make room (pipeline.sessions_max = \
                 {}, session_bytes_max = {} MiB)",
                bounds.sessions_max,
                bounds.session_bytes_max >> 20
            )
        });
        status.stands(Condition::SessionsFull, says);
        let sum = |count: fn(&PatternTally) -> u64| -> u64 {
            keeper.patterns().map(|(_, tally)| count(&tally)).sum()
        };
        let says = self.patterns.see(sum(PatternTally::lacked_room), now).then(|| {
            format!(
                "patterns and joins may have missed matches: {} events were left \
                 out (pipeline.pattern_keys_max = {}, pattern_bytes_max = {} MiB), keys held \
                 too much {} times (pattern_held_max = {}), and {} pairs were not made (pairs_max)",
                sum(|tally| tally.left_out),
                bounds.pattern_keys_max,
                bounds.pattern_bytes_max >> 20,
                sum(|tally| tally.settled_early + tally.given_up),
                bounds.pattern_held_max,
                sum(|tally| tally.pairs_left_out),
            )
        });
        status.stands(Condition::PatternsFull, says);
        let forgotten = keeper.closed_forgotten_early();
        let says = self.forgotten.see(forgotten, now).then(|| {
            format!(
                "more sessions were closed than are remembered: {forgotten} were forgotten early, \
                 and every event as old as they are is late (pipeline.closed_sessions_max = {})",
                bounds.closed_max
            )
        });
        status.stands(Condition::SessionsForgotten, says);
        let forgotten = keeper.aliases_forgotten_early();
        let says = self.aliases.see(forgotten, now).then(|| {
            format!(
                "more anonymous keys were identified than are remembered: {forgotten} were \
                 forgotten early, and their next events open sessions of their own \
                 (session.aliases_max = {}, aliases_bytes_max = {} MiB)",
                bounds.aliases_max,
                bounds.alias_bytes_max >> 20
            )
        });
        status.stands(Condition::AliasesForgotten, says);
        let since = *self.since.get_or_insert(now);
        let says = (!keeper.news().is_empty() && now - since < NEWS)
            .then(|| format!("the configuration changed: {}", keeper.news().join("; ")));
        status.stands(Condition::HistoryChanged, says);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_clock_is_doubted_only_when_most_events_are_ahead() {
        let ahead = Ahead::default();
        assert_eq!(ahead.says(), None);
        ahead.tell(5, 10, 90_000);
        assert_eq!(ahead.says(), None, "half of them is not most");
        ahead.tell(6, 10, 90_000);
        let says = ahead.says().unwrap();
        assert!(says.contains("6 of the last 10 events") && says.contains("90 s"), "{says}");
    }
}
