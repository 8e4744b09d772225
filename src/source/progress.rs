//! How far a replay is: counters that anyone may read, and a bar for the terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What a replay is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Unpacking gzip or keeping standard input.
    Unpacking,
    /// Turning rows into native events.
    Translating,
    /// Looking whether the events are in the order of time.
    Checking,
    /// Putting them in order.
    Sorting,
    /// Handing events over.
    Reading,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Unpacking => "unpacking",
            Phase::Translating => "translating",
            Phase::Checking => "checking the order",
            Phase::Sorting => "sorting",
            Phase::Reading => "replaying",
        }
    }
}

/// Counters of a replay, shared by the source that writes and the bar that reads. They
/// are hints for people, hence relaxed and not taken together.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    events_done: AtomicU64,
}

impl Progress {
    /// What is being done.
    pub fn phase(&self) -> Phase {
        const PHASES: [Phase; 5] =
            [Phase::Unpacking, Phase::Translating, Phase::Checking, Phase::Sorting, Phase::Reading];
        PHASES[usize::from(self.phase.load(Ordering::Relaxed))]
    }

    /// Bytes done and in all in this phase; 0 in all when that is not known.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_done.load(Ordering::Relaxed), self.bytes_total.load(Ordering::Relaxed))
    }

    /// Events done in this phase.
    pub fn events(&self) -> u64 {
        self.events_done.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self, phase: Phase, bytes_total: u64) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.bytes_total.store(bytes_total, Ordering::Relaxed);
        self.bytes_done.store(0, Ordering::Relaxed);
        self.events_done.store(0, Ordering::Relaxed);
    }

    pub(super) fn advance(&self, bytes: u64, events: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.events_done.fetch_add(events, Ordering::Relaxed);
    }
}

/// A progress bar on the terminal behind standard error.
#[derive(Debug)]
pub struct Bar {
    progress: Arc<Progress>,
    bar: ProgressBar,
}

impl Bar {
    /// A bar, or `None` when standard error is not a terminal.
    pub fn on_terminal(progress: Arc<Progress>) -> Option<Self> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let style = ProgressStyle::with_template(
            "{msg:<24} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}",
        )
        .expect("the template names only keys of indicatif");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Some(Bar { progress, bar: bar.with_style(style) })
    }

    /// Draws how far it is. To be called a few times a second.
    pub fn refresh(&self) {
        let (done, total) = self.progress.bytes();
        let phase = self.progress.phase().name();
        match self.progress.events() {
            0 => self.bar.set_message(phase),
            events => self.bar.set_message(format!("{phase} {events}")),
        }
        if total > 0 {
            self.bar.set_length(total);
        } else {
            self.bar.unset_length();
        }
        if done < self.bar.position() {
            self.bar.reset();
        }
        self.bar.set_position(done);
    }

    /// Takes the bar off the terminal.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
