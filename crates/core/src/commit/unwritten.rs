//! State that shards hand over as it lies there. Whoever writes the commit makes sections of it, so
//! that no shard waits for that.

use super::SectionWriter;
use crate::hash::EventIdentity;
use crate::time::EpochMs;

/// Bytes of one section, about: small enough that the allocator uses it again.
pub const SECTION_BYTES: usize = 1 << 20;
/// Two numbers where they are written, at most.
const NUMBERS_BYTES: usize = 20;
/// A closed session where it is written, at most.
const CLOSED_BYTES: usize = 18;

/// What is not in sections yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unwritten {
    /// New event identities, each list with a time that all its events were before.
    pub identities: Vec<(EpochMs, Vec<EventIdentity>)>,
    /// Up to where the sessions of keys were closed, by the key's hash; `BEGINNING` to forget one.
    pub closed: Vec<(u64, EpochMs)>,
}

impl Unwritten {
    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.closed.is_empty()
    }

    /// Takes over what another shard has.
    pub(crate) fn append(&mut self, other: &mut Unwritten) {
        self.identities.append(&mut other.identities);
        self.closed.append(&mut other.closed);
    }

    /// As sections.
    pub(super) fn write(self) -> impl Iterator<Item = Vec<u8>> {
        let identities = self.identities.into_iter().flat_map(|(until, fresh)| {
            let some = fresh.chunks(SECTION_BYTES / EventIdentity::BYTES);
            some.map(|some| {
                let room = some.len() * EventIdentity::BYTES + NUMBERS_BYTES;
                let mut section = SectionWriter::identities().with_room(room);
                section.until(until, some);
                section.finish()
            })
            .collect::<Vec<_>>()
        });
        let closed = (!self.closed.is_empty()).then(|| {
            let room = self.closed.len() * CLOSED_BYTES;
            let mut section = SectionWriter::closed().with_room(room);
            self.closed.iter().for_each(|(key_hash, floor)| section.floor(*key_hash, *floor));
            section.finish()
        });
        identities.chain(closed)
    }
}
