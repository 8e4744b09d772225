//! What is missing from a metric's numbers because it came too late.
//!
//! A fact is late for a window when that window is final: the watermark at the fact's own
//! place in the log has passed the window's end by `allowed_lateness`. Each window decides
//! for itself, and so does each roll-up minute.

use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::time::EpochMs;

/// Facts of one metric (events, or closed sessions) by what they came too late for. The
/// second is part of the first; the third is counted apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LateCounts {
    /// Left out of at least one of their windows.
    pub some: u64,
    /// Left out of all their windows.
    pub all: u64,
    /// Left out of their roll-up minute.
    pub minute: u64,
}

impl LateCounts {
    /// Counts one fact by where it still counts; `pane` is the start of the pane that it lies in.
    pub fn count(&mut self, place: &Place, pane: EpochMs) {
        self.some += u64::from(place.enters != Some(pane));
        self.all += u64::from(place.enters.is_none());
        self.minute += u64::from(place.minute.is_none());
    }

    /// Adds another count.
    pub fn add(&mut self, other: &LateCounts) {
        self.some += other.some;
        self.all += other.all;
        self.minute += other.minute;
    }

    /// True when nothing came too late.
    pub fn is_empty(&self) -> bool {
        *self == LateCounts::default()
    }
}
