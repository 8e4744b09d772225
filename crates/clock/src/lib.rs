//! The only file that asks the machine for the time. Whoever needs it is given a [`Clock`], so that
//! a test can give another one.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock that can be passed in: `wall` for labels and arrivals, `elapsed` for intervals.
pub trait Clock: Send + Sync {
    /// Wall clock, for labels and arrival times: ms since 1970, UTC.
    fn wall(&self) -> i64;

    /// Milliseconds since the clock was made; never goes back.
    fn elapsed(&self) -> i64;
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn shared() -> SharedClock {
        Arc::new(SystemClock { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    fn wall(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    fn elapsed(&self) -> i64 {
        self.start.elapsed().as_millis() as i64
    }
}
