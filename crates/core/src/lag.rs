//! How soon a reader that is behind will have caught up, from how its lag moves.

use super::time::EpochMs;

/// What was seen longer ago than this hardly matters any more.
const MEMORY_MS: f64 = 10_000.0;

/// Follows the lag of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CatchUp {
    last: Option<(i64, u64)>,
    /// Items by which the lag shrinks, each second.
    speed: Option<f64>,
}

impl CatchUp {
    /// Takes the lag at a monotonic time; returns the seconds until it is gone if it goes
    /// on like this, 0 without a lag, and `None` while it grows or nothing is known.
    pub fn see(&mut self, now: i64, lag: u64) -> Option<f64> {
        if lag == 0 {
            *self = CatchUp { last: Some((now, 0)), speed: None };
            return Some(0.0);
        }
        if let Some((then, before)) = self.last.filter(|(then, _)| *then < now) {
            let passed = (now - then) as f64;
            let speed = (before as f64 - lag as f64) / passed * 1_000.0;
            let share = 1.0 - (-passed / MEMORY_MS).exp();
            let known = self.speed.unwrap_or(speed);
            self.speed = Some(known + (speed - known) * share);
        }
        self.last = Some((now, lag));
        let speed = self.speed.filter(|speed| *speed > 0.0)?;
        Some(lag as f64 / speed)
    }
}

/// How old what is read is, in milliseconds: the wall clock less the arrival of the last
/// item read, while something waits; 0 when nothing does or arrival is not known.
pub fn behind_ms(wall: EpochMs, arrived: EpochMs, lag: u64) -> i64 {
    match lag {
        0 => 0,
        _ if arrived <= 0 || arrived > wall => 0,
        _ => wall - arrived,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_that_shrinks_steadily_is_gone_in_time() {
        let mut catch_up = CatchUp::default();
        assert_eq!(catch_up.see(0, 10_000), None, "one look says nothing");
        let mut left = 10_000;
        for second in 1..=5 {
            left -= 1_000;
            let seconds = catch_up.see(second * 1_000, left).unwrap();
            assert!((seconds - left as f64 / 1_000.0).abs() < 0.01, "{seconds}");
        }
        assert_eq!(catch_up.see(6_000, 0), Some(0.0));
    }

    #[test]
    fn a_lag_that_grows_has_no_end() {
        let mut catch_up = CatchUp::default();
        for second in 0..20 {
            assert_eq!(catch_up.see(second * 1_000, 100 + second as u64 * 10), None);
        }
        // It turns round: the estimate follows within some ten seconds.
        let mut last = None;
        for second in 20..60 {
            last = catch_up.see(second * 1_000, 300 - (second as u64 - 20) * 5);
        }
        assert!(last.is_some_and(|seconds| seconds > 0.0));
    }

    #[test]
    fn the_age_of_what_is_read_counts_only_while_something_waits() {
        assert_eq!(behind_ms(10_000, 7_000, 5), 3_000);
        assert_eq!(behind_ms(10_000, 7_000, 0), 0);
        assert_eq!(behind_ms(10_000, i64::MAX, 5), 0, "files have no arrival");
    }
}
