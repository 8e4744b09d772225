//! Taking up this shard's part of the last commit.

use std::hint::black_box;

use super::Aggregator;
use super::patterns::forget;
use crate::actors::children::AHEAD;
use crate::domain::commit::Snapshot;
use crate::domain::hash::{EventIdentity, key_hash, shard_of};
use crate::domain::keeper::Gauges;
use crate::domain::keyed::KeyedMachine as _;
use crate::domain::session::{Changes, Machine, SessionEffects};
use crate::domain::time::{BEGINNING, EpochMs};

impl Aggregator {
    /// Takes up this shard's part of a snapshot: anonymous keys, identities, sessions, and those
    /// that were closed, of which all up to `closed_forgotten` may be missing; as of a
    /// watermark. Returns what is open then.
    ///
    /// # Errors
    /// When a record is malformed: names the key.
    pub fn restore(
        &mut self,
        snapshot: &Snapshot,
        closed_forgotten: EpochMs,
        watermark: EpochMs,
    ) -> Result<Gauges, String> {
        self.turn.watermark = watermark;
        self.restore_aliases(&snapshot.aliases);
        self.restore_identities(snapshot);
        let (shard, shards) = (self.parts.shard, self.parts.shards);
        self.closed.forgotten = closed_forgotten;
        let mine = snapshot.closed.iter().filter(|(hash, _)| shard_of(**hash, shards) == shard);
        mine.for_each(|(hash, floor)| self.closed.restore(*hash, *floor));
        if let Some(patterns) = &mut self.patterns {
            patterns.restore(snapshot, (shard, shards))?;
        }
        if shard == 0 {
            self.delta.sections.append(&mut forget(snapshot, &self.parts.patterns));
        }
        self.restore_sessions(snapshot)
    }

    /// Some at a time, so that the waits for memory overlap.
    fn restore_identities(&mut self, snapshot: &Snapshot) {
        let (shard, shards) = (self.parts.shard, self.parts.shards);
        self.seen.restore_forgotten(snapshot.ids_forgotten_until.unwrap_or(BEGINNING));
        self.seen.restore_swept(snapshot.ids_swept_until.unwrap_or(BEGINNING));
        let mut some: Vec<&EventIdentity> = Vec::with_capacity(AHEAD);
        for (until, ids) in &snapshot.identities {
            let mut mine = ids.iter().filter(|id| shard_of(id.high, shards) == shard);
            loop {
                some.clear();
                some.extend(mine.by_ref().take(AHEAD));
                if some.is_empty() {
                    break;
                }
                black_box(some.iter().fold(0, |all, id| all ^ self.seen.touch(**id)));
                some.iter().for_each(|id| self.seen.restore(*until, **id));
            }
        }
    }

    /// As above.
    fn restore_sessions(&mut self, snapshot: &Snapshot) -> Result<Gauges, String> {
        let (shard, shards, seed) = (self.parts.shard, self.parts.shards, self.parts.seed);
        self.children.reserve(snapshot.sessions.len() / usize::from(shards));
        let hashed =
            snapshot.sessions.iter().map(|(key, record)| (key_hash(seed, key), key, record));
        let mut mine = hashed.filter(|(hash, ..)| shard_of(*hash, shards) == shard);
        let mut open = SessionEffects::default();
        let mut some = Vec::with_capacity(AHEAD);
        loop {
            some.clear();
            some.extend(mine.by_ref().take(AHEAD));
            if some.is_empty() {
                break;
            }
            some.iter().for_each(|(hash, ..)| self.children.look_for(*hash));
            for (hash, key, record) in &some {
                self.restore_session(*hash, key, record, &mut open)?;
            }
        }
        let Changes { by_step, at_risk, value, .. } = open.changes;
        Ok(Gauges { by_step, at_risk, value })
    }

    fn restore_session(
        &mut self,
        key_hash: u64,
        key: &[u8],
        record: &[u8],
        open: &mut SessionEffects,
    ) -> Result<(), String> {
        let key = String::from_utf8_lossy(key);
        let segments = &mut self.turn.segments;
        let machine = Machine::decode(record, segments, &self.parts.rules)
            .map_err(|malformed| format!("session {key:?}: {malformed}"))?;
        if machine.is_empty() {
            return Err(format!("session {key:?}: malformed: nothing is open"));
        }
        machine.count_open(&self.parts.rules, open);
        self.children.restore(&key, key_hash, machine);
        Ok(())
    }
}
