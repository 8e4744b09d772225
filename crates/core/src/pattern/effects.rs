//! What the machines of a shard find.

use serde::{Deserialize, Serialize};

use super::found::Match;

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
    /// Of a join: left events without a right one, whether or not they are results.
    #[serde(skip_serializing_if = "is_none")]
    pub left_alone: u64,
    /// Right events without a left one.
    #[serde(skip_serializing_if = "is_none")]
    pub right_alone: u64,
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
        self.left_alone += other.left_alone;
        self.right_alone += other.right_alone;
        self.pairs_left_out += other.pairs_left_out;
    }

    /// How often a match may have been missed for want of room.
    pub fn lacked_room(&self) -> u64 {
        self.settled_early + self.given_up + self.left_out + self.pairs_left_out
    }
}

/// What turns bring about: of the key whose turn it is, and counts of the shard.
#[derive(Clone, Debug, Default)]
pub struct PatternEffects {
    /// What was found, in order.
    pub matches: Vec<Match>,
    /// By pattern.
    pub tallies: Vec<PatternTally>,
}

impl PatternEffects {
    /// Of so many patterns.
    pub fn new(patterns: usize) -> Self {
        PatternEffects { matches: Vec::new(), tallies: vec![PatternTally::default(); patterns] }
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
