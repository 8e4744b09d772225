//! What the time of an event says when it arrives: one decision, for whoever reads the event and
//! for whoever tells its publisher.

use super::event::time_rule::Guess;
use super::fault::{self, Fault};
use super::time::{EpochMs, TimePolicy};

/// The time of an event that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    /// What it proves of its source's time: at least this has passed.
    pub seen: EpochMs,
    /// What is odd about it.
    pub fault: Option<Fault>,
}

/// Judges an event's time. `arrived`: when the event came, `END_OF_TIME` where that means
/// nothing.
///
/// # Errors
/// Why it is rejected: it is further ahead of its arrival than `max_future`.
#[inline]
pub fn timed(
    at: EpochMs,
    guess: Option<Guess>,
    arrived: EpochMs,
    policy: &TimePolicy,
) -> Result<Timed, String> {
    if at > arrived.saturating_add(policy.max_future) {
        return Err(too_far_ahead(at.saturating_sub(arrived), policy));
    }
    // An event ahead of its arrival counts, but does not rush time.
    let seen = at.min(arrived).saturating_sub(policy.out_of_orderness);
    Ok(Timed { seen, fault: fault::of_time(at, guess, arrived) })
}

#[cold]
fn too_far_ahead(ahead: EpochMs, policy: &TimePolicy) -> String {
    format!("ts: {ahead} ms in the future (at most {} ms)", policy.max_future)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::END_OF_TIME;

    const NOW: EpochMs = 1_800_000_000_000;
    const POLICY: TimePolicy =
        TimePolicy { out_of_orderness: 50, allowed_lateness: 0, max_future: 1_000 };

    fn judged(at: EpochMs, arrived: EpochMs) -> Result<Timed, String> {
        timed(at, None, arrived, &POLICY)
    }

    #[test]
    fn an_event_ahead_of_its_arrival_counts_up_to_the_bound_and_rushes_nothing() {
        let plain = |seen| Ok(Timed { seen, fault: None });
        assert_eq!(judged(NOW - 7, NOW), plain(NOW - 57));
        assert_eq!(judged(NOW, NOW), plain(NOW - 50));
        assert_eq!(judged(NOW + 1, NOW), plain(NOW - 50));
        assert_eq!(judged(NOW + 1_000, NOW), plain(NOW - 50));
        assert_eq!(
            judged(NOW + 1_001, NOW).unwrap_err(),
            "ts: 1001 ms in the future (at most 1000 ms)"
        );
    }

    #[test]
    fn without_a_time_of_arrival_nothing_is_ahead() {
        let far = judged(END_OF_TIME, END_OF_TIME).unwrap();
        assert_eq!(far, Timed { seen: END_OF_TIME - 50, fault: Some(Fault::After2100) });
        assert!(judged(EpochMs::MAX, EpochMs::MAX).is_ok());
    }

    #[test]
    fn an_odd_time_counts_and_is_told() {
        let guessed = timed(NOW, Some(Guess::Zone), NOW, &POLICY).unwrap();
        assert_eq!(guessed.fault, Some(Fault::GuessedZone));
        assert_eq!(judged(NOW / 1_000, NOW).unwrap().fault, Some(Fault::LooksLikeSeconds));
        let first = judged(EpochMs::MIN, NOW).unwrap();
        assert_eq!(first, Timed { seen: EpochMs::MIN, fault: Some(Fault::Before1980) });
    }
}
