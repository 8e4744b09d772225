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
    warnings: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Status {
    /// Sets or clears the reason of one part (`start`, `state`, `log`, `source`, `drain`).
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

    /// What whoever operates it should know of one part (a source's name), though it is
    /// ready: a sentence each. Takes the place of what was said of that part before.
    pub fn warn(&self, part: &str, sentences: Vec<String>) {
        let mut warnings = self.warnings.lock();
        match sentences.is_empty() {
            true => warnings.remove(part),
            false => warnings.insert(part.to_owned(), sentences),
        };
    }

    /// All warnings, with the part they are about.
    pub fn warnings(&self) -> Vec<(String, String)> {
        let warnings = self.warnings.lock();
        let of = |(part, said): (&String, &Vec<String>)| -> Vec<(String, String)> {
            said.iter().map(|sentence| (part.clone(), sentence.clone())).collect()
        };
        warnings.iter().flat_map(of).collect()
    }
}
