//! Notable things: each is a struct that writes its log line and its metric together,
//! so that neither can be forgotten. `tell` is the only verb.
//!
//! Nothing here holds what an event says: a log line names positions, never payloads.

use std::panic::PanicHookInfo;

use metrics::{counter, gauge};
use tracing::{debug, error, info, warn};

use super::names;
use crate::domain::condition::{Condition, Severity};

/// Longest text of a panic in the log, in characters.
const PANIC_CHARS_MAX: usize = 500;

/// Shows what has not happened yet as zero, so that an increase can be seen. Called once
/// metrics are installed.
pub fn begin_at_zero() {
    for name in [
        names::COMMIT_FAILURES,
        names::SESSION_PANICS,
        names::PANICS,
        names::RESTARTS,
        names::GAPS,
        names::SOURCE_REDELIVERED,
        names::SOURCE_CONSUMERS_MADE,
    ] {
        counter!(name).increment(0);
    }
    counter!(names::DEAD_LETTERS_DROPPED, "reason" => "other reasons").increment(0);
    counter!(names::DEAD_LETTERS_UNPUBLISHED, "reason" => "other reasons").increment(0);
    // A slow client is told of it alone, and counted by `names::WEB_CLIENTS_LAGGING`.
    for condition in Condition::ALL.iter().filter(|one| **one != Condition::SlowClient) {
        gauge!(names::CONDITION, "condition" => condition.name()).set(0.0);
    }
}

/// Something stands that whoever operates the process should know. Whoever tells it takes
/// care that it is not told too often.
#[derive(Clone, Debug)]
pub struct ConditionStands<'a> {
    /// What.
    pub condition: Condition,
    /// In words.
    pub says: &'a str,
}

impl ConditionStands<'_> {
    /// Logs it.
    pub fn tell(&self) {
        let (condition, says) = (self.condition.name(), self.says);
        match self.condition.severity() {
            Severity::Note => debug!(condition, "{says}"),
            Severity::Warning => warn!(condition, "{says}"),
            Severity::Critical => error!(condition, "{says}"),
        }
    }
}

/// The process took up its work.
#[derive(Clone, Debug)]
pub struct Started<'a> {
    /// `serve`, `demo` or `replay`.
    pub mode: &'a str,
    /// URL of the page, empty when none is served.
    pub url: &'a str,
    /// Data folder, empty when nothing is kept.
    pub data_dir: &'a str,
    /// Commit it goes on from, 0 for a new folder.
    pub epoch: u64,
}

impl Started<'_> {
    /// Logs it.
    pub fn tell(&self) {
        let version = env!("CARGO_PKG_VERSION");
        let Started { mode, url, data_dir, epoch } = *self;
        info!(version, mode, url, data_dir, epoch, "started");
    }
}

/// The page is open to other machines without a sign-in.
#[derive(Clone, Debug)]
pub struct OpenToAll<'a> {
    /// The address.
    pub listen: &'a str,
}

impl OpenToAll<'_> {
    /// Logs it.
    pub fn tell(&self) {
        warn!(
            listen = self.listen,
            "other machines can reach this address and there is no sign-in"
        );
    }
}

/// A commit failed.
#[derive(Clone, Debug)]
pub struct CommitFailed<'a> {
    /// Number of the commit.
    pub epoch: u64,
    /// What the store said.
    pub cause: &'a str,
    /// Whether the same commit is tried again.
    pub retried: bool,
}

impl CommitFailed<'_> {
    /// Logs and counts it.
    pub fn tell(&self) {
        counter!(names::COMMIT_FAILURES).increment(1);
        error!(epoch = self.epoch, cause = self.cause, retried = self.retried, "commit failed");
    }
}

/// There is room on the disk again.
#[derive(Clone, Debug)]
pub struct RoomAgain<'a> {
    /// The file that can grow again.
    pub path: &'a str,
    /// How long there was none.
    pub after_ms: i64,
}

impl RoomAgain<'_> {
    /// Logs it.
    pub fn tell(&self) {
        info!(path = self.path, after_ms = self.after_ms, "there is room on the disk again");
    }
}

/// Events of a batch made sessions panic; they are dead letters, the sessions live on.
/// What each panic said is logged when it happens ([`Panicked`]).
#[derive(Clone, Debug)]
pub struct SessionPanicked {
    /// Shard of the session.
    pub shard: u16,
    /// Position of the event.
    pub position: u64,
}

impl SessionPanicked {
    /// Logs and counts it.
    pub fn tell(&self) {
        counter!(names::SESSION_PANICS).increment(1);
        let SessionPanicked { shard, position } = *self;
        error!(shard, position, "an event made a session panic");
    }
}

/// A session panicked while it answered a question: whoever asked gets no answer, and the session
/// is what it was before.
#[derive(Clone, Debug)]
pub struct QuestionPanicked {
    /// Shard of the session.
    pub shard: u16,
}

impl QuestionPanicked {
    /// Logs and counts it.
    pub fn tell(&self) {
        counter!(names::SESSION_PANICS).increment(1);
        error!(shard = self.shard, "a question made a session panic");
    }
}

/// The pipeline starts again from its last commit.
#[derive(Clone, Debug)]
pub struct PipelineRestarted<'a> {
    /// Why.
    pub cause: &'a str,
    /// How many times within the window, this one included.
    pub times: usize,
    /// How many are allowed.
    pub times_max: usize,
}

impl PipelineRestarted<'_> {
    /// Logs and counts it.
    pub fn tell(&self) {
        counter!(names::RESTARTS).increment(1);
        let PipelineRestarted { cause, times, times_max } = *self;
        error!(cause, times, times_max, "the pipeline starts again from its last commit");
    }
}

/// Too many restarts: the process ends.
#[derive(Clone, Debug)]
pub struct GaveUp<'a> {
    /// Why the last one failed.
    pub cause: &'a str,
    /// How many there were.
    pub times: usize,
}

impl GaveUp<'_> {
    /// Logs it.
    pub fn tell(&self) {
        error!(cause = self.cause, times = self.times, "gave up after restarts");
    }
}

/// The source no longer holds events that were never read.
#[derive(Clone, Debug)]
pub struct SourceGap<'a> {
    /// The source.
    pub source: &'a str,
    /// First missing position.
    pub from: u64,
    /// Last missing position.
    pub to: u64,
}

impl SourceGap<'_> {
    /// Logs and counts it.
    pub fn tell(&self) {
        counter!(names::GAPS).increment(1);
        let SourceGap { source, from, to } = *self;
        error!(source_name = source, from, to, "events were removed before they were read");
    }
}

/// A source cannot be reached; it is tried again for ever. Told once for each time.
#[derive(Clone, Debug)]
pub struct SourceAway<'a> {
    /// The source.
    pub source: &'a str,
    /// Why.
    pub cause: &'a str,
}

impl SourceAway<'_> {
    /// Logs it.
    pub fn tell(&self) {
        warn!(source_name = self.source, cause = self.cause, "a source is away; tried again");
    }
}

/// The consumer of a stream had to be made anew while it was read.
#[derive(Clone, Debug)]
pub struct ConsumerMade<'a> {
    /// The source.
    pub source: &'a str,
    /// Position read last: it goes on behind it.
    pub after: u64,
    /// Why.
    pub cause: &'a str,
}

impl ConsumerMade<'_> {
    /// Logs and counts it.
    pub fn tell(&self) {
        counter!(names::SOURCE_CONSUMERS_MADE).increment(1);
        let ConsumerMade { source, after, cause } = *self;
        warn!(source_name = source, after, cause, "the consumer was made anew");
    }
}

/// The source is not the one the last commit was made from (I7).
#[derive(Clone, Debug)]
pub struct LogDiverged<'a> {
    /// The source.
    pub source: &'a str,
    /// Position of the last commit.
    pub position: u64,
    /// What differs.
    pub cause: &'a str,
}

impl LogDiverged<'_> {
    /// Logs it.
    pub fn tell(&self) {
        let LogDiverged { source, position, cause } = *self;
        error!(
            source_name = source,
            position, cause, "the source is not the one that was committed"
        );
    }
}

/// Another configuration was taken.
#[derive(Clone, Debug)]
pub struct Reloaded<'a> {
    /// The last commit of the former one.
    pub epoch: u64,
    /// How long nothing was counted.
    pub stood_ms: i64,
    /// The keys, metrics and rules that are others.
    pub changes: &'a str,
}

impl Reloaded<'_> {
    /// Logs and counts it.
    pub fn tell(&self) {
        counter!(names::RELOADS, "result" => "taken").increment(1);
        gauge!(names::RELOAD_STOOD).set(self.stood_ms as f64 / 1_000.0);
        let Reloaded { epoch, stood_ms, changes } = *self;
        info!(epoch, stood_ms, changes, "the configuration was read again and taken");
    }
}

/// The configuration was read again and is the same.
#[derive(Clone, Debug)]
pub struct ReloadedTheSame;

impl ReloadedTheSame {
    /// Logs and counts it.
    pub fn tell(&self) {
        counter!(names::RELOADS, "result" => "unchanged").increment(1);
        info!("the configuration was read again, and nothing has changed");
    }
}

/// The configuration was read again and not taken.
#[derive(Clone, Debug)]
pub struct ReloadRefused<'a> {
    /// Why, with every mistake in it.
    pub cause: &'a str,
}

impl ReloadRefused<'_> {
    /// Logs and counts it.
    pub fn tell(&self) {
        counter!(names::RELOADS, "result" => "refused").increment(1);
        error!(cause = self.cause, "the configuration was not taken; the one before goes on");
    }
}

/// The process stops taking events and commits what it has.
#[derive(Clone, Debug)]
pub struct ShuttingDown<'a> {
    /// `SIGTERM`, `end of replay`, or what failed.
    pub reason: &'a str,
}

impl ShuttingDown<'_> {
    /// Logs it.
    pub fn tell(&self) {
        info!(reason = self.reason, "shutting down");
    }
}

/// The last commit is written.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Number of the last commit.
    pub epoch: u64,
}

impl Stopped {
    /// Logs it.
    pub fn tell(&self) {
        info!(epoch = self.epoch, "stopped");
    }
}

/// A thread panicked.
#[derive(Clone, Debug)]
pub struct Panicked {
    thread: String,
    place: String,
    cause: String,
}

impl From<&PanicHookInfo<'_>> for Panicked {
    fn from(info: &PanicHookInfo<'_>) -> Self {
        Panicked {
            thread: std::thread::current().name().unwrap_or("unnamed").to_string(),
            place: info.location().map(ToString::to_string).unwrap_or_default(),
            cause: cut(info.payload_as_str().unwrap_or("no text")).to_string(),
        }
    }
}

impl Panicked {
    /// Logs and counts it.
    pub fn tell(&self) {
        counter!(names::PANICS).increment(1);
        error!(thread = self.thread, place = self.place, cause = self.cause, "panicked");
    }
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(PANIC_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn what_is_told_is_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            CommitFailed { epoch: 4, cause: "no room", retried: true }.tell();
            SessionPanicked { shard: 0, position: 9 }.tell();
            PipelineRestarted { cause: "shard 0 died", times: 1, times_max: 5 }.tell();
            SourceGap { source: "log", from: 3, to: 7 }.tell();
        });
        let text = recorder.handle().render();
        for line in [
            "tidewatch_commit_failures_total 1",
            "tidewatch_session_panics_total 1",
            "tidewatch_restarts_total 1",
            "tidewatch_gaps_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn long_panics_are_cut() {
        let long = "é".repeat(PANIC_CHARS_MAX + 5);
        assert_eq!(cut(&long).chars().count(), PANIC_CHARS_MAX);
        assert_eq!(cut("short"), "short");
    }
}
