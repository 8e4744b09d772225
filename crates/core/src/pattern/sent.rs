//! An event on its way to a pattern with a key of its own.
//!
//! Events are with the shard of their session key, and those of another key with all shards. So a
//! shard looks at the conditions, and sends what the pattern keeps of the event to where all of that
//! key come together, with the place that it has in the log: there they are taken in the order of
//! the log, each with its own stamp, as if no shards were in between.

use smol_str::SmolStr;

use super::held::Held;
use crate::metric::Order;
use crate::time::EpochMs;

/// What one pattern keeps of one event.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The place of the event in the log.
    pub order: Order,
    /// Event time.
    pub at: EpochMs,
    /// The source's watermark just before it.
    pub watermark: EpochMs,
    /// The pattern.
    pub pattern: u16,
    /// The key that the pattern goes by.
    pub key: SmolStr,
    /// What stands for that key from now on (`identify`).
    pub anonymous: Option<SmolStr>,
    /// What is kept of it; `None` where it only says who is who.
    pub held: Option<Held>,
}

impl Sent {
    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let values = self.held.as_ref().map_or(0, |held| held.values.len());
        let anonymous = self.anonymous.as_ref().map_or(0, SmolStr::len);
        size_of::<Sent>() + self.key.len() + anonymous + values
    }
}
