//! Stable hashes: they are part of the state on disk, so they never change.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Hash of a session key. Its top bits choose the shard, see [`shard_of`].
pub fn key_hash(seed: u64, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, seed)
}

/// Identity of an event for de-duplication: 16 bits of its key's hash (so that the shard can
/// be told from it) and 112 bits of its id's hash, which depends on the key as well.
///
/// Two of 10^12 different ids of one key are taken for the same with a chance of 1 to 10^10
/// (n^2 / 2^113). The hash is not made against somebody who knows the seed; that is drawn for
/// each data folder and never shown, and whoever may send events can send another's id anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventIdentity {
    /// The key's bits first: see [`shard_of`].
    pub high: u64,
    /// The lower half.
    pub low: u64,
}

impl EventIdentity {
    /// That of an event without an id.
    pub const NONE: EventIdentity = EventIdentity { high: 0, low: 0 };
    /// Bytes of it where it is stored.
    pub const BYTES: usize = 16;

    /// Of the event of a key with this id.
    pub fn of(seed: u64, key_hash: u64, id: &[u8]) -> Self {
        let hash = xxh3_128_with_seed(id, seed ^ key_hash);
        let (upper, lower) = ((hash >> 64) as u64, hash as u64);
        // Never that of an event without an id.
        let low = lower.max(1);
        EventIdentity { high: (key_hash & 0xffff_0000_0000_0000) | (upper >> 16), low }
    }

    /// True when the event has no id.
    pub fn is_none(self) -> bool {
        self == EventIdentity::NONE
    }

    /// As it is stored.
    pub fn bytes(self) -> [u8; EventIdentity::BYTES] {
        ((u128::from(self.high) << 64) | u128::from(self.low)).to_le_bytes()
    }

    /// As it was stored.
    pub fn from_bytes(bytes: [u8; EventIdentity::BYTES]) -> Self {
        let whole = u128::from_le_bytes(bytes);
        EventIdentity { high: (whole >> 64) as u64, low: whole as u64 }
    }
}

/// The shard, out of `shards`, that owns a key or an event identity.
pub fn shard_of(hash: u64, shards: u16) -> u16 {
    (((hash >> 48) * u64::from(shards)) >> 16) as u16
}

/// Fingerprint of an event's bytes: names what lies at a position (I7).
pub fn fingerprint(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, 0x7469_6465)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_lives_on_the_shard_of_its_key() {
        for n in 0..10_000u64 {
            let key = key_hash(7, format!("user-{n}").as_bytes());
            let id = EventIdentity::of(7, key, b"e1");
            assert_eq!(EventIdentity::from_bytes(id.bytes()), id);
            for shards in 1..=8 {
                assert_eq!(shard_of(key, shards), shard_of(id.high, shards));
                assert!(shard_of(key, shards) < shards);
            }
        }
    }

    #[test]
    fn ids_of_one_key_share_neither_half() {
        // Of a million numbers of 64 bits none is the same but with a chance of 1 to 10^7.
        let key = key_hash(3, b"one key");
        let ids = || (0..200_000).map(|n| EventIdentity::of(3, key, n.to_string().as_bytes()));
        let halves: [std::collections::HashSet<u64>; 2] =
            [ids().map(|id| id.low).collect(), ids().map(|id| id.high << 16).collect()];
        assert_eq!(halves.map(|half| half.len()), [200_000, 200_000]);
        let keys = [key, key_hash(3, b"another key"), key_hash(4, b"one key")];
        let same: std::collections::HashSet<_> =
            keys.iter().map(|key| EventIdentity::of(3, *key, b"1").low).collect();
        assert_eq!(same.len(), 3, "an id is that of its key alone");
    }
}
