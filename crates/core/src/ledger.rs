//! The count of every event by what became of it.

use serde::{Deserialize, Serialize};

/// What became of the events of one source.
///
/// Invariant: `received = applied + duplicate + late + rejected + in_flight`.
/// `in_flight` is counted on its own (read from the source, outcome not yet
/// known), so the equation can fail if an event is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Events read from the source.
    pub received: u64,
    /// Counted in sessions and metrics.
    pub applied: u64,
    /// Dropped because the same id was seen within the horizon.
    pub duplicate: u64,
    /// Too far behind the watermark; kept in the late list.
    pub late: u64,
    /// Not understood or not handled; kept in the dead letters.
    pub rejected: u64,
    /// Read, outcome not known yet.
    pub in_flight: u64,
    /// Applied events that carried no id: they cannot be de-duplicated.
    pub without_id: u64,
    /// Items that the source removed before they were read, not part of the equation:
    /// nobody knows what they were.
    pub gap: u64,
}

impl Ledger {
    /// True when every event received is accounted for.
    pub fn balances(&self) -> bool {
        self.received == self.applied + self.duplicate + self.late + self.rejected + self.in_flight
    }

    /// Adds another count to this one.
    pub fn add(&mut self, other: &Ledger) {
        self.received += other.received;
        self.applied += other.applied;
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.rejected += other.rejected;
        self.in_flight += other.in_flight;
        self.without_id += other.without_id;
        self.gap += other.gap;
    }
}
