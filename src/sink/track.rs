//! How an output stands: counted in the metrics, told to the status, read by whoever shows it.

use std::fmt;
use std::sync::Arc;

use metrics::{counter, gauge};
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::actors::status::Status;
use crate::domain::condition::Condition;
use crate::telemetry::names;

/// Most rows read and not delivered. 1,024 alerts are about 1 MB.
pub const PAGE: usize = 1_024;

/// How one output stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutState {
    /// Its name, the label in the metrics: `alerts`, `incidents`, `dead_letters`, `board` or `service`.
    pub output: String,
    /// What it is called where people read: `nats alerts`.
    pub title: String,
    /// Rows read and not delivered, at most 1,024.
    pub pending: u64,
    /// Rows that are committed and not delivered, those in memory among them.
    pub lag: u64,
    /// How long the oldest of those in memory waits, in ms.
    pub age_ms: u64,
    /// Delivered since the start (answers given, by `service`).
    pub delivered: u64,
    /// Left the data folder before they could be delivered.
    pub skipped: u64,
    /// Delivered in a shorter form, because they were too large. A part of `delivered`.
    pub shortened: u64,
    /// Refused for good: passed over.
    pub left_out: u64,
    /// What the last one of those was, and why; empty for none.
    pub left_out_says: String,
    /// Why it does not go on, empty while it does.
    pub error: String,
}

impl OutState {
    fn figures(&self) -> String {
        let OutState { delivered, skipped, shortened, left_out, error, .. } = self;
        let mut text = format!("{delivered} delivered, {} waiting", self.lag.max(self.pending));
        if *skipped > 0 {
            text += &format!(", {skipped} lost to retention");
        }
        if *shortened > 0 {
            text += &format!(", {shortened} shortened because they were too large");
        }
        if *left_out > 0 {
            text += &format!(", {left_out} refused and left out ({})", self.left_out_says);
        }
        if !error.is_empty() {
            text += &format!("; {error}");
        }
        text
    }
}

impl fmt::Display for OutState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.title, self.figures())
    }
}

/// Shows every metric of these outputs as zero, so that an increase can be seen. Called once
/// metrics are installed, whether or not there are such outputs.
pub fn begin_at_zero(outputs: &[&str]) {
    for output in outputs {
        let output = (*output).to_owned();
        counter!(names::OUT_DELIVERED, "output" => output.clone()).increment(0);
        counter!(names::OUT_ERRORS, "output" => output.clone()).increment(0);
        counter!(names::OUT_SKIPPED, "output" => output.clone()).increment(0);
        counter!(names::OUT_SHORTENED, "output" => output.clone()).increment(0);
        counter!(names::OUT_LEFT_OUT, "output" => output.clone()).increment(0);
        gauge!(names::OUT_PENDING, "output" => output.clone()).set(0.0);
        gauge!(names::OUT_PENDING_CAPACITY, "output" => output.clone()).set(PAGE as f64);
        gauge!(names::OUT_LAG, "output" => output.clone()).set(0.0);
        gauge!(names::OUT_AGE, "output" => output.clone()).set(0.0);
    }
}

/// Keeps the state of one output; the only writer of its metrics and warnings.
pub struct Track {
    output: String,
    state: Mutex<OutState>,
    status: Arc<Status>,
}

impl Track {
    /// `output` is its name in the metrics, `title` what people read.
    pub fn new(output: &str, title: &str, status: Arc<Status>) -> Track {
        let state = OutState { output: output.into(), title: title.into(), ..OutState::default() };
        Track { output: output.into(), state: Mutex::new(state), status }
    }

    /// Tells the status why it does not go on, or that it does, and what it left out.
    fn tell(&self, state: &OutState) {
        let says = |stands: bool| stands.then(|| state.figures());
        let (waits, left_out) = (says(!state.error.is_empty()), says(state.left_out > 0));
        self.status.stands_for(Condition::RowsLost, &state.title, says(state.skipped > 0));
        self.status.stands_for(Condition::OutputWaits, &state.title, waits);
        self.status.stands_for(Condition::RowsLeftOut, &state.title, left_out);
    }

    /// How it stands.
    pub fn state(&self) -> OutState {
        self.state.lock().clone()
    }

    fn count(&self, name: &'static str, by: u64) {
        counter!(name, "output" => self.output.clone()).increment(by);
    }

    /// `count` more are there.
    pub fn delivered(&self, count: u64) {
        self.state.lock().delivered += count;
        self.count(names::OUT_DELIVERED, count);
    }

    /// What waits: rows in memory, rows in all, and how long the oldest in memory does, in ms.
    pub(super) fn waiting(&self, pending: usize, lag: u64, age_ms: i64) {
        let mut state = self.state.lock();
        (state.pending, state.lag) = (pending as u64, lag);
        state.age_ms = age_ms.unsigned_abs();
        if !state.error.is_empty() || state.left_out > 0 || state.skipped > 0 {
            self.tell(&state);
        }
        gauge!(names::OUT_PENDING, "output" => self.output.clone()).set(pending as f64);
        gauge!(names::OUT_PENDING_CAPACITY, "output" => self.output.clone()).set(PAGE as f64);
        gauge!(names::OUT_LAG, "output" => self.output.clone()).set(lag as f64);
        gauge!(names::OUT_AGE, "output" => self.output.clone()).set(age_ms as f64 / 1_000.0);
    }

    /// `from` to `to` left the data folder before they could be delivered.
    pub(super) fn skipped(&self, from: u64, to: u64) {
        let output = &self.output;
        warn!(output, from, to, "retention removed these before they could be delivered");
        self.count_lost(to - from + 1);
    }

    /// So many left the data folder before they could be delivered.
    pub(super) fn lost(&self, count: u64) {
        let output = &self.output;
        warn!(output, count, "retention removed some before they could be delivered");
        self.count_lost(count);
    }

    fn count_lost(&self, count: u64) {
        self.count(names::OUT_SKIPPED, count);
        let mut state = self.state.lock();
        state.skipped += count;
        self.tell(&state);
    }

    /// One was delivered in a shorter form.
    pub(super) fn shortened(&self) {
        self.count(names::OUT_SHORTENED, 1);
        let mut state = self.state.lock();
        state.shortened += 1;
        let (output, shortened) = (&self.output, state.shortened);
        if shortened.is_power_of_two() {
            warn!(output, shortened, "too large, and delivered in a shorter form");
        }
    }

    /// Row `n` with so many bytes is refused for good, for this reason. Logged at the first, and
    /// each time there are twice as many.
    pub(super) fn left_out(&self, n: u64, bytes: usize, cause: &str) {
        self.count(names::OUT_LEFT_OUT, 1);
        let mut state = self.state.lock();
        state.left_out += 1;
        state.left_out_says = format!("number {n} has {bytes} bytes; {cause}");
        let (output, left_out) = (&self.output, state.left_out);
        if left_out.is_power_of_two() {
            warn!(output, n, bytes, left_out, cause, "refused for good, and left out");
        }
        self.tell(&state);
    }

    /// It does not go on, for this reason. Logged when the reason is new.
    pub fn failed(&self, cause: &str) {
        self.count(names::OUT_ERRORS, 1);
        let mut state = self.state.lock();
        if state.error != cause {
            warn!(output = self.output, cause, "not delivered; it is tried again");
            cause.clone_into(&mut state.error);
        }
        self.tell(&state);
    }

    /// It waits, for a reason that others tell already.
    pub fn waits(&self, cause: &str) {
        let mut state = self.state.lock();
        cause.clone_into(&mut state.error);
        self.tell(&state);
    }

    /// It goes on.
    pub fn fine(&self) {
        let mut state = self.state.lock();
        if !state.error.is_empty() {
            state.error.clear();
            self.tell(&state);
            info!(output = self.output, "delivers");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_what_waits_and_why() {
        let status = Arc::new(Status::default());
        let track = Track::new("alerts", "nats alerts", Arc::clone(&status));
        track.delivered(3);
        track.waiting(2, 2, 0);
        assert_eq!(track.state().to_string(), "nats alerts: 3 delivered, 2 waiting");
        track.skipped(4, 6);
        track.failed("the broker is away");
        track.waiting(PAGE, 5_000, 1_500);
        assert_eq!(
            track.state().to_string(),
            format!(
                "nats alerts: 3 delivered, 5000 waiting, 3 lost to retention; \
                 the broker is away"
            )
        );
        let said = "3 delivered, 5000 waiting, 3 lost to retention; the broker is away".to_string();
        let standing = status.standing();
        assert_eq!(standing[0].to_string(), format!("nats alerts: {said}"));
        let conditions =
            |status: &Status| status.standing().iter().map(|one| one.condition).collect::<Vec<_>>();
        // What is lost stays said.
        assert_eq!(conditions(&status), [Condition::OutputWaits, Condition::RowsLost]);
        track.fine();
        assert_eq!(track.state().error, "");
        track.shortened();
        assert_eq!(conditions(&status), [Condition::RowsLost]);
        track.lost(2);
        assert_eq!(track.state().skipped, 5);
        track.left_out(9, 700, "max_msg_size of stream S is 300 bytes");
        let said = &status.standing()[1].says;
        assert!(
            said.contains(
                "1 shortened because they were too large, 1 refused and left out (number 9 has \
                 700 bytes; max_msg_size of stream S is 300 bytes)"
            ),
            "{said}"
        );
    }
}
