//! Stable hashes: they are part of the state on disk, so they never change.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hash of a session key. Its top bits choose the shard, see [`shard_of`].
pub fn key_hash(seed: u64, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, seed)
}

/// Identity of an event for de-duplication: 16 bits of its key's hash (so that
/// the shard can be told from it) and 48 bits of its id's hash mixed with the key.
///
/// Never 0, which means "no id".
pub fn event_identity(seed: u64, key_hash: u64, id: &[u8]) -> u64 {
    let id = xxh3_64_with_seed(id, seed ^ key_hash);
    let mixed = (key_hash & 0xffff_0000_0000_0000) | (id >> 16);
    mixed.max(1)
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
            let id = event_identity(7, key, b"e1");
            for shards in 1..=8 {
                assert_eq!(shard_of(key, shards), shard_of(id, shards));
                assert!(shard_of(key, shards) < shards);
            }
        }
    }
}
