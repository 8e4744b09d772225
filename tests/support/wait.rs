//! Waiting for a condition with a deadline: the only way a test spends time.

use std::thread;
use std::time::{Duration, Instant};

/// Distance between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Time since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "deadlines of tests are real time")]
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Looks until `condition` gives something.
///
/// Panics after `seconds` with `what` was awaited.
pub fn until<T>(seconds: u64, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(watch.elapsed().as_secs() < seconds, "not within {seconds} s: {what}");
        pause(LOOK_EVERY);
    }
}

/// Lets time pass: between two looks at a condition, or up to a random moment.
pub fn pause(span: Duration) {
    let watch = Stopwatch::start();
    while let Some(rest) = span.checked_sub(watch.elapsed()).filter(|rest| !rest.is_zero()) {
        thread::park_timeout(rest);
    }
}
