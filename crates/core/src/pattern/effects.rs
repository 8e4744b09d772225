//! What the machines of a shard find.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::compile::Patterns;
use super::found::Match;
use crate::fault::Tally;
use crate::number::Sum;
use crate::time::EpochMs;

/// What happened to the events of one pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PatternTally {
    /// Matches.
    pub matches: u64,
    /// Events that came too late: what is as old as they are was decided.
    pub late: u64,
    /// Events looked at early, because their key held too many.
    pub settled_early: u64,
    /// Attempts given up for the same reason.
    pub given_up: u64,
    /// Events left out, because there was no room for them.
    pub left_out: u64,
    /// Of sessions: what is open, and how others ended.
    #[serde(skip_serializing_if = "SessionTally::is_none")]
    pub sessions: SessionTally,
    /// Of a join: left events without a right one, whether or not they are results.
    #[serde(skip_serializing_if = "is_none")]
    pub left_alone: u64,
    /// Right events without a left one.
    #[serde(skip_serializing_if = "is_none")]
    pub right_alone: u64,
    /// Of a join: those of the late events that are left ones.
    #[serde(skip_serializing_if = "is_none")]
    pub left_late: u64,
    /// Those that are right ones; some may be both.
    #[serde(skip_serializing_if = "is_none")]
    pub right_late: u64,
    /// Pairs of one event beyond the most that it may make.
    #[serde(skip_serializing_if = "is_none")]
    pub pairs_left_out: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl PatternTally {
    /// Adds another count.
    pub fn add(&mut self, other: &PatternTally) {
        self.matches += other.matches;
        self.late += other.late;
        self.settled_early += other.settled_early;
        self.given_up += other.given_up;
        self.left_out += other.left_out;
        self.sessions.add(&other.sessions);
        self.left_alone += other.left_alone;
        self.right_alone += other.right_alone;
        self.left_late += other.left_late;
        self.right_late += other.right_late;
        self.pairs_left_out += other.pairs_left_out;
    }

    /// How often a match may have been missed for want of room.
    pub fn lacked_room(&self) -> u64 {
        self.settled_early + self.given_up + self.left_out + self.pairs_left_out
    }
}

/// Sessions of one kind; how many there were is the number of matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionTally {
    /// Open now.
    pub open: i64,
    /// Of those, with an entry and no goal.
    pub at_risk: i64,
    /// Value at stake in them.
    pub value: Sum,
    /// Ended with an entry and no goal.
    pub abandoned: u64,
    /// Ended with a goal.
    pub converted: u64,
    /// Cut at `max_length`.
    pub cut: u64,
    /// Of no cohort, because there was no room for their keys.
    pub without_cohort: u64,
}

impl SessionTally {
    fn is_none(&self) -> bool {
        *self == SessionTally::default()
    }

    fn add(&mut self, other: &SessionTally) {
        self.open += other.open;
        self.at_risk += other.at_risk;
        self.value.add(&other.value);
        self.abandoned += other.abandoned;
        self.converted += other.converted;
        self.cut += other.cut;
        self.without_cohort += other.without_cohort;
    }

    /// Abandoned out of those with an entry; `None` when there were none.
    pub fn rate(&self) -> Option<f64> {
        let judged = self.abandoned + self.converted;
        (judged > 0).then(|| self.abandoned as f64 / judged as f64)
    }
}

/// What may be missing for it, in words; nothing where nothing may.
impl fmt::Display for PatternTally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (late, room) = (self.late, self.lacked_room());
        if late + room > 0 {
            write!(out, "{late} events late")?;
            if self.left_late + self.right_late > 0 {
                write!(out, " ({} left, {} right)", self.left_late, self.right_late)?;
            }
            write!(out, ", {room} times no room")?;
        }
        match (self.sessions.without_cohort, late + room) {
            (0, _) => Ok(()),
            (some, 0) => write!(out, "{some} sessions of no cohort"),
            (some, _) => write!(out, ", {some} sessions of no cohort"),
        }
    }
}

/// What turns bring about: of the key whose turn it is, and counts of the shard.
#[derive(Clone, Debug, Default)]
pub struct PatternEffects {
    /// What was found, in order.
    pub matches: Vec<Match>,
    /// Goals of sessions that nudges are of: the pattern, and when.
    pub goals: Vec<(u16, EpochMs)>,
    /// By pattern.
    pub tallies: Vec<PatternTally>,
    /// What was of no use, by use.
    pub faults: Tally,
}

impl PatternEffects {
    /// Of these patterns.
    pub fn new(patterns: &Patterns) -> Self {
        PatternEffects {
            matches: Vec::new(),
            goals: Vec::new(),
            tallies: vec![PatternTally::default(); patterns.list.len()],
            faults: Tally::new(patterns.uses().count()),
        }
    }

    pub(super) fn found(&mut self, found: Match) {
        self.tallies[usize::from(found.pattern)].matches += 1;
        self.matches.push(found);
    }

    /// The counts since this was asked last.
    pub fn take_tallies(&mut self) -> Vec<PatternTally> {
        let none = vec![PatternTally::default(); self.tallies.len()];
        std::mem::replace(&mut self.tallies, none)
    }
}
