//! How often the actors may be started again within one process.

use std::collections::VecDeque;

use super::RunError;
use crate::actors::Settings;
use crate::domain::time::SpanMs;
use crate::telemetry::happenings::{GaveUp, PipelineRestarted};

/// The restarts of a pipeline that lie within `restart_window`.
#[derive(Default)]
pub(super) struct Restarts {
    /// Monotonic times, oldest first.
    at: VecDeque<SpanMs>,
}

impl Restarts {
    /// One more is to begin at `now`, because of `reason`.
    ///
    /// # Errors
    /// There were `restarts_max` within the window already.
    pub(super) fn another(
        &mut self,
        now: SpanMs,
        reason: String,
        settings: &Settings,
    ) -> Result<(), RunError> {
        let oldest = now - settings.restart_window;
        self.at.retain(|at| *at >= oldest);
        let before = self.at.len();
        if before >= settings.restarts_max {
            GaveUp { cause: &reason, times: before }.tell();
            let window_s = settings.restart_window / 1_000;
            return Err(RunError::GaveUp { restarts: before, window_s, reason });
        }
        self.at.push_back(now);
        let (times, times_max) = (before + 1, settings.restarts_max);
        PipelineRestarted { cause: &reason, times, times_max }.tell();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_within_the_window() {
        let settings = Settings { restarts_max: 2, restart_window: 1_000, ..Settings::default() };
        let mut restarts = Restarts::default();
        let mut at = |now| restarts.another(now, "panicked".into(), &settings);
        assert_eq!((at(0), at(900)), (Ok(()), Ok(())));
        let gave_up = RunError::GaveUp { restarts: 2, window_s: 1, reason: "panicked".into() };
        assert_eq!(at(1_000), Err(gave_up), "the first lies within the window still");
        assert_eq!(at(1_001), Ok(()));
    }
}
