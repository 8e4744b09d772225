//! What is told together: "312 carts, 22,104.50 at stake, in the last 10 min".

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::time::EpochMs;

/// Most of them that are named.
pub const NAMED_MAX: usize = 10;

/// Things that wait to be told together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Digest {
    /// Time of the first.
    pub since: EpochMs,
    /// When they are told.
    pub due: EpochMs,
    /// How many.
    pub count: u64,
    /// What they are worth together.
    pub value: f64,
    /// Those that are worth most, the others by their order; each with its worth.
    pub named: Vec<(f64, Json)>,
}

impl Digest {
    /// An empty one.
    pub fn begun(since: EpochMs, due: EpochMs) -> Digest {
        Digest { since, due, count: 0, value: 0.0, named: Vec::new() }
    }

    /// Adds one.
    pub fn add(&mut self, worth: f64, item: Json) {
        self.count += 1;
        self.value += worth;
        let place = self.named.partition_point(|(other, _)| *other >= worth);
        if place < NAMED_MAX {
            self.named.insert(place, (worth, item));
            self.named.truncate(NAMED_MAX);
        }
    }
}
