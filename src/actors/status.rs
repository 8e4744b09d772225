//! Whether the process is ready, and if not, why: written by the parts, read by
//! `/readyz` and the board.

use std::collections::BTreeMap;

use metrics::gauge;
use parking_lot::Mutex;

use crate::telemetry::names;

/// Reasons for not being ready, by part. Empty means ready.
#[derive(Debug, Default)]
pub struct Status {
    reasons: Mutex<BTreeMap<&'static str, String>>,
}

impl Status {
    /// Sets or clears the reason of one part (`start`, `state`, `log`, `drain`).
    pub fn set(&self, part: &'static str, reason: Option<String>) {
        let mut reasons = self.reasons.lock();
        match reason {
            Some(reason) => reasons.insert(part, reason),
            None => reasons.remove(part),
        };
        gauge!(names::READY).set(f64::from(u8::from(reasons.is_empty())));
    }

    /// The reason of one part, if it has one.
    pub fn reason(&self, part: &str) -> Option<String> {
        self.reasons.lock().get(part).cloned()
    }

    /// Why the process is not ready; empty when it is.
    pub fn reasons(&self) -> Vec<(&'static str, String)> {
        self.reasons.lock().iter().map(|(part, reason)| (*part, reason.clone())).collect()
    }
}
