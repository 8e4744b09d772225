//! What a shard hands over at a barrier, and what a barrier says.

use serde::{Deserialize, Serialize};

use super::EndedSession;
use crate::commit::{LateEvent, SourcePosition, Unwritten};
use crate::event::DeadLetter;
use crate::fault::{Counts, Tally};
use crate::ledger::Ledger;
use crate::metric::{Flushed, LateCounts};
use crate::nudge::Goal;
use crate::number::Sum;
use crate::pattern::{FoundMatch, PatternTally, Sent};
use crate::session::{Cut, Ending, Outcome, STEPS_MAX};
use crate::time::EpochMs;

/// A place in the log that all shards agree on.
#[derive(Clone, Debug, Default)]
pub struct Barrier {
    /// How far each source is read, and what lies there.
    pub positions: Vec<SourcePosition>,
    /// The watermark there.
    pub watermark: EpochMs,
    /// Time of the first event read since the start, if any.
    pub first_at: Option<EpochMs>,
    /// Greatest event time so far, if any.
    pub max_at: Option<EpochMs>,
    /// Events received since the last barrier, and those the ingestor itself rejected.
    pub ledger: Ledger,
    /// Events the ingestor rejected since the last barrier.
    pub dead_letters: Vec<DeadLetter>,
    /// Events whose time was guessed or is odd, of all that were taken.
    pub times: Counts,
    /// With the last barrier of a run: aliases that no event has carried.
    pub unused_aliases: Vec<String>,
}

/// Everything one shard found between two barriers.
#[derive(Clone, Debug, Default)]
pub struct ShardDelta {
    /// What changed in the panes, and new groups.
    pub facts: Flushed,
    /// Sections of the commit: records of what changed.
    pub sections: Vec<Vec<u8>>,
    /// What becomes sections when the commit is written.
    pub unwritten: Unwritten,
    /// Change of the gauges.
    pub gauges: Gauges,
    /// Sessions that ended, counted.
    pub totals: SessionTotals,
    /// Sessions that ended abandoned (all that ended, when they are asked for).
    pub ended: Vec<EndedSession>,
    /// Matches of patterns that raise alerts, and those that nudges are to know of.
    pub matches: Vec<FoundMatch>,
    /// Goals of sessions that nudges are of.
    pub goals: Vec<Goal>,
    /// What goes to patterns with a key of their own, in the order of the log.
    pub sent: Vec<Sent>,
    /// What happened to the events of each pattern.
    pub patterns: Vec<PatternTally>,
    /// Events by what became of them (without `received`).
    pub ledger: Ledger,
    /// Late events.
    pub late: Vec<LateEvent>,
    /// Events whose handling failed.
    pub dead_letters: Vec<DeadLetter>,
    /// Facts that came after something they belong to was final, by metric.
    pub late_facts: Vec<LateCounts>,
    /// Attributes of applied events that were of no use, by use.
    pub faults: Tally,
    /// Events rejected because no further session may be opened.
    pub sessions_refused: u64,
    /// Anonymous keys forgotten before their time.
    pub aliases_forgotten_early: u64,
    /// Closed sessions forgotten before their time.
    pub closed_forgotten_early: u64,
    /// Up to where such were forgotten, see `Closed::forgotten`.
    pub closed_forgotten: Option<EpochMs>,
    /// Event identities forgotten before their time.
    pub forgotten_early: u64,
    /// What is before this is forgotten because its time is over.
    pub identity_floor: EpochMs,
    /// Until the watermark is here, a duplicate of an event forgotten early may count.
    pub dedup_short_until: Option<EpochMs>,
}

/// What is open now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauges {
    /// Open sessions by step (0: none reached).
    pub by_step: [i64; STEPS_MAX],
    /// Open sessions with something at stake.
    pub at_risk: i64,
    /// Value at stake in them.
    pub value: Sum,
}

impl Gauges {
    /// Adds a change.
    pub fn add(&mut self, other: &Gauges) {
        self.by_step.iter_mut().zip(other.by_step).for_each(|(mine, theirs)| *mine += theirs);
        self.at_risk += other.at_risk;
        self.value.add(&other.value);
    }

    /// Open sessions.
    pub fn open(&self) -> i64 {
        self.by_step.iter().sum()
    }
}

/// Sessions by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionTotals {
    /// Sessions that closed.
    pub closed: u64,
    /// With at least one entry (under `since_entry`: carts that ended).
    pub with_entry: u64,
    /// Entry and no goal.
    pub abandoned: u64,
    /// Entry and goal.
    pub converted: u64,
    /// Goals that met no open cart (under `since_entry`).
    pub stray_goals: u64,
    /// Closed by the end of a replay only: their deadline lay at or after the last event.
    pub open_at_end: u64,
    /// The abandoned ones of those.
    pub abandoned_open_at_end: u64,
    /// Sessions (under `since_entry`: carts) from which everything was taken back.
    pub emptied: u64,
    /// Open sessions of anonymous keys that went on under a known one (`session.identify`).
    pub identified: u64,
    /// Sessions cut at `session.max_length`; what came next is a session of its own.
    pub split: u64,
    /// Sessions that ended early to make room for others (`pipeline.sessions_full`).
    pub displaced: u64,
    /// Entries, removals and goals settled early because a key had too many at once.
    pub settled_early: u64,
}

impl SessionTotals {
    /// Counts one ending. `end` is the last event's time when a replay is being drained.
    pub fn count(&mut self, ending: &Ending, end: Option<EpochMs>) {
        // A deadline exactly at the last event has passed for a cart, not for a session:
        // an event at that very time would still belong to it.
        let open =
            end.is_some_and(
                |end| if ending.closes_session { ending.at >= end } else { ending.at > end },
            );
        self.closed += u64::from(ending.closes_session);
        self.split += u64::from(ending.cut == Cut::TooLong);
        self.displaced += u64::from(ending.cut == Cut::NoRoom);
        self.open_at_end += u64::from(ending.closes_session && open);
        let judged = matches!(ending.outcome, Outcome::Abandoned | Outcome::Converted);
        self.with_entry += u64::from(judged);
        self.converted += u64::from(ending.outcome == Outcome::Converted);
        let abandoned = ending.outcome == Outcome::Abandoned;
        self.abandoned += u64::from(abandoned);
        self.abandoned_open_at_end += u64::from(abandoned && open);
    }

    /// Adds another count.
    pub fn add(&mut self, other: &SessionTotals) {
        self.closed += other.closed;
        self.with_entry += other.with_entry;
        self.abandoned += other.abandoned;
        self.converted += other.converted;
        self.stray_goals += other.stray_goals;
        self.open_at_end += other.open_at_end;
        self.abandoned_open_at_end += other.abandoned_open_at_end;
        self.emptied += other.emptied;
        self.identified += other.identified;
        self.split += other.split;
        self.displaced += other.displaced;
        self.settled_early += other.settled_early;
    }

    /// Abandoned out of those with an entry; `None` when there were none.
    pub fn rate(&self) -> Option<f64> {
        let judged = self.abandoned + self.converted;
        (judged > 0).then(|| self.abandoned as f64 / judged as f64)
    }
}
