//! How the outputs stand: counted in the metrics, read by whoever shows it.

use std::fmt;
use std::sync::Arc;

use metrics::{counter, gauge};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::feed::PAGE;
use crate::actors::status::Status;
use crate::domain::condition::Condition;
use crate::telemetry::names;

/// Label of the alerts.
pub(super) const ALERTS: &str = "alerts";
/// Label of the dead letters.
pub(super) const DEAD_LETTERS: &str = "dead_letters";
/// Label of the board.
pub(super) const BOARD: &str = "board";
/// Label of the micro service.
pub(super) const SERVICE: &str = "service";

const OUTPUTS: [&str; 4] = [ALERTS, DEAD_LETTERS, BOARD, SERVICE];

/// How one output stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutState {
    /// `alerts`, `dead_letters`, `board` or `service`.
    pub output: &'static str,
    /// Read and not acknowledged by the broker; at 1,024 items more may wait behind them.
    pub pending: u64,
    /// Acknowledged by the broker since the start (answers given, by `service`).
    pub delivered: u64,
    /// Left the data folder before they could be delivered.
    pub skipped: u64,
    /// Delivered in a shorter form, because they were too large. A part of `delivered`.
    pub shortened: u64,
    /// Too large in every form: passed over.
    pub left_out: u64,
    /// What the last one of those was, and whose limit it is; empty for none.
    pub left_out_says: String,
    /// Why it does not go on, empty while it does.
    pub error: String,
}

impl OutState {
    /// What it is called in `/readyz?verbose`.
    fn part(&self) -> String {
        format!("nats {}", self.output)
    }

    fn figures(&self) -> String {
        let OutState { pending, delivered, skipped, shortened, left_out, error, .. } = self;
        let more = if *pending >= PAGE as u64 { " or more" } else { "" };
        let mut text = format!("{delivered} delivered, {pending}{more} pending");
        if *skipped > 0 {
            text += &format!(", {skipped} lost to retention");
        }
        if *shortened > 0 {
            text += &format!(", {shortened} shortened because they were too large");
        }
        if *left_out > 0 {
            text += &format!(", {left_out} too large and left out ({})", self.left_out_says);
        }
        if !error.is_empty() {
            text += &format!("; {error}");
        }
        text
    }
}

impl fmt::Display for OutState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.part(), self.figures())
    }
}

/// Shows every metric of the outputs as zero, so that an increase can be seen. Called once
/// metrics are installed, with or without NATS.
pub fn begin_at_zero() {
    for output in OUTPUTS {
        counter!(names::OUT_DELIVERED, "output" => output).increment(0);
        counter!(names::OUT_ERRORS, "output" => output).increment(0);
        counter!(names::OUT_SKIPPED, "output" => output).increment(0);
        counter!(names::OUT_SHORTENED, "output" => output).increment(0);
        counter!(names::OUT_LEFT_OUT, "output" => output).increment(0);
        gauge!(names::OUT_PENDING, "output" => output).set(0.0);
        gauge!(names::OUT_PENDING_CAPACITY, "output" => output).set(PAGE as f64);
    }
}

/// Keeps the state of one output; the only writer of its metrics and warnings.
pub(super) struct Track {
    state: Mutex<OutState>,
    status: Arc<Status>,
}

impl Track {
    pub(super) fn new(output: &'static str, status: Arc<Status>) -> Track {
        Track { state: Mutex::new(OutState { output, ..OutState::default() }), status }
    }

    /// Tells the status why it does not go on, or that it does, and what it left out.
    fn tell(&self, state: &OutState) {
        let says = |stands: bool| stands.then(|| state.figures());
        let (waits, left_out) = (says(!state.error.is_empty()), says(state.left_out > 0));
        self.status.stands_for(Condition::OutputWaits, &state.part(), waits);
        self.status.stands_for(Condition::RowsLeftOut, &state.part(), left_out);
    }

    pub(super) fn state(&self) -> OutState {
        self.state.lock().clone()
    }

    /// The broker has `count` more.
    pub(super) fn delivered(&self, count: u64) {
        let mut state = self.state.lock();
        state.delivered += count;
        counter!(names::OUT_DELIVERED, "output" => state.output).increment(count);
    }

    pub(super) fn pending(&self, count: usize) {
        let mut state = self.state.lock();
        state.pending = count as u64;
        self.tell(&state);
        gauge!(names::OUT_PENDING, "output" => state.output).set(count as f64);
        gauge!(names::OUT_PENDING_CAPACITY, "output" => state.output).set(PAGE as f64);
    }

    /// `from` to `to` left the data folder before they could be delivered.
    pub(super) fn skipped(&self, from: u64, to: u64) {
        let mut state = self.state.lock();
        state.skipped += to - from + 1;
        counter!(names::OUT_SKIPPED, "output" => state.output).increment(to - from + 1);
        let output = state.output;
        warn!(output, from, to, "retention removed these before NATS took them");
    }

    /// One was delivered in a shorter form.
    pub(super) fn shortened(&self) {
        let mut state = self.state.lock();
        state.shortened += 1;
        counter!(names::OUT_SHORTENED, "output" => state.output).increment(1);
        let (output, shortened) = (state.output, state.shortened);
        if shortened.is_power_of_two() {
            warn!(output, shortened, "too large for a message, and delivered in a shorter form");
        }
    }

    /// Item `n` with so many bytes is too large in every form, by this limit. Logged at the
    /// first, and each time there are twice as many.
    pub(super) fn left_out(&self, n: u64, bytes: usize, limit: &str) {
        let mut state = self.state.lock();
        state.left_out += 1;
        state.left_out_says = format!("number {n} has {bytes} bytes; {limit}");
        counter!(names::OUT_LEFT_OUT, "output" => state.output).increment(1);
        let (output, left_out) = (state.output, state.left_out);
        if left_out.is_power_of_two() {
            warn!(output, n, bytes, left_out, limit, "too large for a message, and left out");
        }
        self.tell(&state);
    }

    /// It does not go on, for this reason. Logged when the reason is new.
    pub(super) fn failed(&self, cause: &str) {
        let mut state = self.state.lock();
        let output = state.output;
        counter!(names::OUT_ERRORS, "output" => output).increment(1);
        if state.error != cause {
            warn!(output, cause, "not delivered to NATS; it is tried again");
            cause.clone_into(&mut state.error);
        }
        self.tell(&state);
    }

    /// It waits, for a reason that others tell already.
    pub(super) fn waits(&self, cause: &str) {
        let mut state = self.state.lock();
        cause.clone_into(&mut state.error);
        self.tell(&state);
    }

    /// It goes on.
    pub(super) fn fine(&self) {
        let mut state = self.state.lock();
        if !state.error.is_empty() {
            state.error.clear();
            self.tell(&state);
            info!(output = state.output, "delivers to NATS");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_what_waits_and_why() {
        let status = Arc::new(Status::default());
        let track = Track::new(ALERTS, Arc::clone(&status));
        track.delivered(3);
        track.pending(2);
        assert_eq!(track.state().to_string(), "nats alerts: 3 delivered, 2 pending");
        track.skipped(4, 6);
        track.failed("the broker is away");
        track.pending(PAGE);
        assert_eq!(
            track.state().to_string(),
            format!(
                "nats alerts: 3 delivered, {PAGE} or more pending, 3 lost to retention; \
                 the broker is away"
            )
        );
        let said =
            format!("3 delivered, {PAGE} or more pending, 3 lost to retention; the broker is away");
        let standing = status.standing();
        assert_eq!(standing[0].to_string(), format!("nats alerts: {said}"));
        assert_eq!((standing[0].condition, standing.len()), (Condition::OutputWaits, 1));
        track.fine();
        assert_eq!(track.state().error, "");
        assert_eq!(status.standing(), []);
        track.shortened();
        assert_eq!(status.standing(), []);
        track.left_out(9, 700, "max_msg_size of stream S is 300 bytes");
        let said = &status.standing()[0].says;
        assert!(
            said.contains(
                "1 shortened because they were too large, 1 too large and left out (number 9 has \
                 700 bytes; max_msg_size of stream S is 300 bytes)"
            ),
            "{said}"
        );
    }
}
