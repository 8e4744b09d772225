//! Numbers about the state store, for whoever shows them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::letters::{Dropped, HELD};
use crate::actors::ports::Taker;

/// Numbers about the store, for the pipeline's panel. Written by the store's
/// thread, read by anyone. The counts are part of the commits and survive restarts.
#[derive(Debug, Default)]
pub struct Figures {
    /// Number of the last commit.
    pub epoch: AtomicU64,
    /// Bytes of deltas since the last snapshot.
    pub delta_bytes: AtomicU64,
    /// Bytes of the last snapshot.
    pub snapshot_bytes: AtomicU64,
    /// Alerts committed since the folder was made.
    pub alerts_committed: AtomicU64,
    /// Alerts delivered to the alert log since the folder was made.
    pub alerts_delivered: AtomicU64,
    /// Delivered alerts that left the feed to keep its bound.
    pub alerts_dropped: AtomicU64,
    /// Late events that left their list to keep its bound.
    pub late_dropped: AtomicU64,
    /// Dead letters kept now.
    pub dead_letters: AtomicU64,
    /// Bytes of them.
    pub dead_letters_bytes: AtomicU64,
    /// Those of them that are to be published and were not yet.
    pub dead_letters_waiting: AtomicU64,
    /// Dead letters that left to keep their bound, by kind of reason.
    pub dead_letters_dropped: Mutex<Dropped>,
    /// Those of them that left before they were published.
    pub dead_letters_unpublished: Mutex<Dropped>,
    /// Set by an output that publishes dead letters, before any can leave: each is held then
    /// until it was published.
    pub(super) letters_are_published: AtomicBool,
    /// Number of the last dead letter that was published; written by that output.
    pub(super) letters_published: Arc<AtomicU64>,
    /// The channels that notifications are kept for, by name; set before any can leave.
    takers: Mutex<BTreeMap<String, Arc<Taker>>>,
    /// Roll-up rows that left because they were too old.
    pub rollups_dropped: AtomicU64,
}

impl Figures {
    /// An output publishes dead letters from now on: each is held until it has.
    pub fn publish_letters(&self) -> Arc<AtomicU64> {
        self.letters_are_published.store(true, Ordering::Release);
        Arc::clone(&self.letters_published)
    }

    /// These channels take notifications from now on: each is kept until its channel took it.
    pub fn keep_for(&self, takers: BTreeMap<String, Arc<Taker>>) {
        *self.takers.lock() = takers;
    }

    /// How far a channel got; `None` for one that nothing is kept for.
    pub fn taker(&self, channel: &str) -> Option<Arc<Taker>> {
        self.takers.lock().get(channel).map(Arc::clone)
    }

    /// Up to which notification whom they went to may be forgotten, by channel.
    pub(super) fn noted(&self) -> Vec<(String, u64)> {
        let takers = self.takers.lock();
        let noted = |taker: &Taker| taker.noted.load(Ordering::Acquire);
        takers.iter().map(|(name, taker)| (name.clone(), noted(taker))).collect()
    }

    /// How many times `store.dead_letters_max` may be reached.
    pub fn letters_times(&self) -> f64 {
        if self.letters_are_published.load(Ordering::Relaxed) { HELD as f64 } else { 1.0 }
    }

    /// The counts that are kept in the file, by their name there.
    pub(super) fn kept(&self) -> [(&'static str, &AtomicU64); 5] {
        [
            ("alerts_committed", &self.alerts_committed),
            ("alerts_delivered", &self.alerts_delivered),
            ("alerts_dropped", &self.alerts_dropped),
            ("late_dropped", &self.late_dropped),
            ("rollups_dropped", &self.rollups_dropped),
        ]
    }
}
