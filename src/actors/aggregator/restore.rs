//! Taking up a shard's part of the last commit.

use std::hint::black_box;

use super::ShardParts;
use crate::actors::children::{AHEAD, Children};
use crate::actors::turn::Turn;
use crate::domain::commit::Snapshot;
use crate::domain::hash::{EventIdentity, key_hash, shard_of};
use crate::domain::keeper::Gauges;
use crate::domain::keyed::KeyedMachine as _;
use crate::domain::seen::Seen;
use crate::domain::session::{Changes, Machine, SessionEffects};
use crate::domain::time::BEGINNING;

/// Which part of a commit is a shard's.
#[derive(Clone, Copy)]
pub(super) struct Mine {
    pub(super) shard: u16,
    pub(super) shards: u16,
    seed: u64,
}

impl Mine {
    pub(super) fn of(parts: &ShardParts) -> Self {
        Mine { shard: parts.shard, shards: parts.shards, seed: parts.seed }
    }

    /// Whether a hash of a key or of an id is one of its own.
    pub(super) fn has(self, hash: u64) -> bool {
        shard_of(hash, self.shards) == self.shard
    }
}

/// The ids that were seen. Some at a time, so that the waits for memory overlap.
pub(super) fn identities(seen: &mut Seen, snapshot: &Snapshot, mine: Mine) {
    seen.restore_forgotten(snapshot.ids_forgotten_until.unwrap_or(BEGINNING));
    seen.restore_swept(snapshot.ids_swept_until.unwrap_or(BEGINNING));
    let mut some: Vec<&EventIdentity> = Vec::with_capacity(AHEAD);
    for (until, ids) in &snapshot.identities {
        let mut ids = ids.iter().filter(|id| mine.has(id.high));
        loop {
            some.clear();
            some.extend(ids.by_ref().take(AHEAD));
            if some.is_empty() {
                break;
            }
            black_box(some.iter().fold(0, |all, id| all ^ seen.touch(**id)));
            some.iter().for_each(|id| seen.restore(*until, **id));
        }
    }
}

/// The open sessions, some at a time. What is open then.
///
/// # Errors
/// When a record is malformed: names the key.
pub(super) fn sessions(
    children: &mut Children,
    turn: &mut Turn,
    snapshot: &Snapshot,
    mine: Mine,
) -> Result<Gauges, String> {
    children.reserve(snapshot.sessions.len() / usize::from(mine.shards));
    let hashed = snapshot.sessions.iter();
    let hashed = hashed.map(|(key, record)| (key_hash(mine.seed, key), key, record));
    let mut sessions = hashed.filter(|(hash, ..)| mine.has(*hash));
    let mut open = SessionEffects::default();
    let mut some = Vec::with_capacity(AHEAD);
    loop {
        some.clear();
        some.extend(sessions.by_ref().take(AHEAD));
        if some.is_empty() {
            break;
        }
        some.iter().for_each(|(hash, ..)| children.look_for(*hash));
        for (hash, key, record) in &some {
            let key = String::from_utf8_lossy(key);
            let machine = session(record, turn)
                .map_err(|malformed| format!("session {key:?}: {malformed}"))?;
            machine.count_open(&turn.rules, &mut open);
            children.restore(&key, *hash, machine);
        }
    }
    let Changes { by_step, at_risk, value, .. } = open.changes;
    Ok(Gauges { by_step, at_risk, value })
}

fn session(record: &[u8], turn: &mut Turn) -> Result<Machine, String> {
    let machine = Machine::decode(record, &mut turn.segments, &turn.rules)
        .map_err(|malformed| malformed.to_string())?;
    if machine.is_empty() {
        return Err("malformed: nothing is open".into());
    }
    Ok(machine)
}
