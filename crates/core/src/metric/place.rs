//! Where a fact counts.

use crate::time::EpochMs;

/// Which windows and which minute a fact counts in: those that were not final at its stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Start of the pane that holds the fact.
    pub pane: EpochMs,
    /// Start of the pane whose window is the first it counts in: `pane` when it came in
    /// time, a later one when windows were final already, `None` when all of them were.
    pub enters: Option<EpochMs>,
    /// Start of the roll-up minute it counts in; `None` when that was final.
    pub minute: Option<EpochMs>,
}
