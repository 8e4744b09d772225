//! Who wants to hear nothing, for those who deliver: what was decided may wait for long until it goes out,
//! and whoever says meanwhile that they want no more must not get it.
//!
//! The committer says who they are, at a start all of them and then each as it is asked for. There are at
//! most `nudges.suppressed_max`.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::domain::nudge::{Hash, Seal, hashes, normalised};

/// What there is to say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The last commit is not restored yet.
    NotKnown,
    /// Nothing keeps it from being written to.
    Open,
    /// It wants to hear nothing, or nobody can tell: why, without the address.
    Quiet(&'static str),
}

/// All of them, by the hashes of their addresses.
#[derive(Debug, Default)]
pub struct Quiet {
    seals: Vec<Arc<dyn Seal>>,
    known: RwLock<Option<BTreeSet<Hash>>>,
}

impl Quiet {
    /// Of addresses that are hashed with these. Nobody is known before `restored`.
    pub fn new(seals: Vec<Arc<dyn Seal>>) -> Quiet {
        Quiet { seals, known: RwLock::default() }
    }

    /// These are all of them: so the last commit says.
    pub fn restored(&self, all: impl Iterator<Item = Hash>) {
        *self.known.write() = Some(all.collect());
    }

    /// These as well.
    pub fn add(&self, new: impl Iterator<Item = Hash>) {
        self.known.write().get_or_insert_default().extend(new);
    }

    /// What an address wants.
    pub fn wish(&self, address: &str) -> Wish {
        if self.seals.is_empty() {
            return Wish::Quiet(
                "nudges.secret is not set, and without it nobody can tell who wants to hear nothing",
            );
        }
        let known = self.known.read();
        let (Some(known), address) = (known.as_ref(), normalised(address)) else {
            return Wish::NotKnown;
        };
        let mut hashes = address.iter().flat_map(|address| hashes(&self.seals, address));
        if hashes.any(|hash| known.contains(&hash)) {
            return Wish::Quiet("the address was suppressed after this was decided");
        }
        Wish::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not secret.
    #[derive(Debug)]
    struct Plain(u8);

    impl Seal for Plain {
        fn code(&self, text: &[u8]) -> [u8; 32] {
            let mut code = [self.0; 32];
            text.iter().enumerate().for_each(|(at, byte)| code[at % 16] ^= byte.rotate_left(1));
            code
        }
    }

    fn hash_under(secret: u8, address: &str) -> Hash {
        let seals: Vec<Arc<dyn Seal>> = vec![Arc::new(Plain(secret))];
        hashes(&seals, address).next().unwrap()
    }

    #[test]
    fn whoever_wants_to_hear_nothing_is_known_under_each_secret() {
        let quiet = Quiet::new(vec![Arc::new(Plain(1)), Arc::new(Plain(2))]);
        assert_eq!(quiet.wish("ada@example.org"), Wish::NotKnown);
        quiet.restored([hash_under(2, "ada@example.org")].into_iter());
        assert!(matches!(quiet.wish(" Ada@Example.org"), Wish::Quiet(_)));
        assert_eq!(quiet.wish("bob@example.org"), Wish::Open);
        quiet.add([hash_under(1, "bob@example.org")].into_iter());
        assert!(matches!(quiet.wish("bob@example.org"), Wish::Quiet(_)));
        // Another start knows what is in the commit alone.
        quiet.restored(std::iter::empty());
        assert_eq!(quiet.wish("bob@example.org"), Wish::Open);
    }

    #[test]
    fn without_a_secret_nobody_is_told() {
        let quiet = Quiet::default();
        quiet.restored(std::iter::empty());
        assert!(matches!(quiet.wish("ada@example.org"), Wish::Quiet(_)));
    }
}
