//! What applying and expiring bring about, as data.

use super::undo::Journal;
use crate::number::{Amount, Sum};
use crate::time::EpochMs;

/// Most steps of a funnel, with step 0 for "none reached".
pub const STEPS_MAX: usize = 16;

/// How a session (or a cart, see [`super::Deadline::SinceEntry`]) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// No entry event in it.
    Browsed,
    /// Entry and no goal.
    Abandoned,
    /// Entry and goal.
    Converted,
    /// A session under `since_entry`, where carts carry the judgement.
    Closed,
}

impl Outcome {
    /// Every way.
    pub const ALL: [Outcome; 4] =
        [Outcome::Browsed, Outcome::Abandoned, Outcome::Converted, Outcome::Closed];

    /// Its name in metrics, alerts and reports.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Browsed => "browsed",
            Outcome::Abandoned => "abandoned",
            Outcome::Converted => "converted",
            Outcome::Closed => "closed",
        }
    }
}

/// Why a session ended before its silence did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cut {
    /// It ended by silence.
    #[default]
    No,
    /// It reached `session.max_length`; what came next is a session of its own.
    TooLong,
    /// It made room for another user's session (`pipeline.sessions_full`).
    NoRoom,
}

impl Cut {
    /// Its name in alerts and lists; empty for none.
    pub fn name(self) -> &'static str {
        match self {
            Cut::No => "",
            Cut::TooLong => "max_length",
            Cut::NoRoom => "displaced",
        }
    }
}

/// The end of a session or of a cart. Final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// True for a session, false for a cart under `since_entry`.
    pub closes_session: bool,
    /// Whether it ended before its time.
    pub cut: Cut,
    /// How it ended.
    pub outcome: Outcome,
    /// First event (of a cart: first entry).
    pub first: EpochMs,
    /// Last event (of a cart: last entry).
    pub last: EpochMs,
    /// Event time of the end: the deadline that passed, or the goal of a cart.
    pub at: EpochMs,
    /// The watermark that its windows are judged by: the end itself, unless a late event
    /// brought it about.
    pub stamp: EpochMs,
    /// Events in it (of a cart: entries that are left).
    pub events: u32,
    /// Entry events in it that were not taken back.
    pub entries: u32,
    /// Value at stake.
    pub value: Amount,
    /// Furthest step, see `State::step`.
    pub step: u8,
    /// Segment, an index of the shard's dictionary; 0 for none.
    pub segment: u16,
}

/// Everything that calls bring about. Reused between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionEffects {
    /// Sessions and carts that ended.
    pub endings: Vec<Ending>,
    /// What changed besides.
    pub changes: Changes,
    /// What it takes to put carts back, see [`super::Undo`].
    pub(super) journal: Journal,
}

/// Changes of gauges, and what was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Change of the number of open sessions by step.
    pub by_step: [i64; STEPS_MAX],
    /// Change of the number of sessions at risk.
    pub at_risk: i64,
    /// Change of the value at stake.
    pub value: Sum,
    /// Goals that met no open cart, under `since_entry`.
    pub stray_goals: u64,
    /// Sessions (under `since_entry`: carts) that ended because everything was taken back.
    pub emptied: u64,
    /// Open sessions of anonymous keys that went on under a known one.
    pub identified: u64,
    /// Entries, removals and goals settled before their time, because there were too many.
    pub settled_early: u64,
}

/// What is at stake in the open sessions of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stake {
    pub at_risk: i64,
    pub value: Sum,
}

impl Stake {
    /// Adds one session or cart.
    pub fn add(&mut self, value: Amount) {
        self.at_risk += 1;
        self.value.add_i128(value.parts());
    }
}

impl SessionEffects {
    pub(super) fn entered(&mut self, step: u8) {
        self.changes.by_step[usize::from(step)] += 1;
    }

    pub(super) fn left(&mut self, step: u8) {
        self.changes.by_step[usize::from(step)] -= 1;
    }

    pub(super) fn moved(&mut self, from: u8, to: u8) {
        if from != to {
            self.left(from);
            self.entered(to);
        }
    }

    pub(super) fn stake(&mut self, before: &Stake, after: &Stake) {
        // Most sessions hold nothing: then nothing is at stake. To compare the values as well would
        // wait for memory, and adding what is taken back changes nothing.
        if before.at_risk != 0 || after.at_risk != 0 {
            self.changes.at_risk += after.at_risk - before.at_risk;
            self.changes.value.add(&after.value);
            self.changes.value.subtract(&before.value);
        }
    }
}
