//! How a part of the pipeline tells that it died or cannot go on.
//!
//! actix restarts nothing after a panic; what does is here: each part holds a
//! [`DeathWatch`], the pipeline waits for the first word from any of them, tears the
//! generation down and starts the next one from the last commit, a bounded number of
//! times.

use tokio::sync::mpsc;

/// Why a generation of the pipeline ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A part panicked or lost a part of its own: a restart may help.
    Died(String),
    /// The world is not as it must be (damaged state, diverged log): a restart cannot help.
    Final(super::pipeline::RunError),
}

impl From<super::pipeline::RunError> for Failure {
    fn from(error: super::pipeline::RunError) -> Self {
        Failure::Final(error)
    }
}

/// Held by a part; speaks when the part is dropped in a panic.
#[derive(Clone, Debug)]
pub struct DeathWatch {
    part: String,
    failures: mpsc::Sender<Failure>,
}

impl DeathWatch {
    /// A watch for a part, reporting to `failures`.
    pub fn new(part: impl Into<String>, failures: mpsc::Sender<Failure>) -> Self {
        DeathWatch { part: part.into(), failures }
    }

    /// Ends the generation: something a restart may mend.
    pub fn fail(&self, why: &str) {
        self.say(Failure::Died(format!("{}: {why}", self.part)));
    }

    /// Ends the pipeline for good.
    pub fn give_up(&self, error: super::pipeline::RunError) {
        self.say(Failure::Final(error));
    }

    fn say(&self, failure: Failure) {
        // Full means that others have spoken already; one word is enough.
        let _ = self.failures.try_send(failure);
    }
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail("panicked");
        }
    }
}
