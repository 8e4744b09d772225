//! What a shard keeps for each key: a machine that takes events, says until when it waits, and
//! ends what the watermark has passed. The session is one, the patterns of a key are another.
//!
//! Whoever keeps machines (`actors/children.rs`: where they lie, their timers, what a commit is
//! told, which of them make room) knows no more of them than this.

use crate::time::EpochMs;
use crate::wire::Malformed;

/// The machine of one key. Values in, effects out.
///
/// What follows of a log must not depend on when `expire` was called: `apply` begins with what is
/// over by the event's own stamp.
pub trait KeyedMachine: Sized {
    /// The settings of its kind, the same for every key.
    type Rules;
    /// What it takes of an event.
    type Event;
    /// Why an event is too late for it.
    type Late;
    /// What it finds, of all machines of a shard up to a barrier.
    type Effects;
    /// What the records of a shard have in common, such as texts that are kept once.
    type Shared;

    /// One with nothing open, of a key for which everything up to `floor` is final.
    fn after(floor: EpochMs) -> Self;

    /// Counts one event.
    ///
    /// # Errors
    /// Why the event is late; it changed nothing then.
    fn apply(
        &mut self,
        rules: &Self::Rules,
        event: &Self::Event,
        fx: &mut Self::Effects,
    ) -> Result<(), Self::Late>;

    /// The watermark after which [`expire`](Self::expire) has something to do; `None` when nothing
    /// is open, and the key is to be forgotten.
    fn next_deadline(&self, rules: &Self::Rules) -> Option<EpochMs>;

    /// Ends what the watermark has passed.
    fn expire(&mut self, rules: &Self::Rules, watermark: EpochMs, fx: &mut Self::Effects);

    /// Time of the oldest event that something open still holds; `MAX` when nothing is open.
    fn first(&self) -> EpochMs;

    /// True when its end before its time would lose something: others make room before it.
    fn is_worth_keeping(&self) -> bool;

    /// About how many bytes it takes outside of itself.
    fn heap_bytes(&self) -> usize;

    /// Reads a little of each cache line that a turn will touch, and means nothing: asked for
    /// several machines before the turn of any, it lets the waits for memory overlap.
    fn glance(&self) -> u64;

    /// Appends its record, which any shard can read.
    fn encode(&self, shared: &Self::Shared, out: &mut Vec<u8>);

    /// Reads a record.
    ///
    /// # Errors
    /// When the bytes are not a record of this kind: the file is damaged.
    fn decode(
        record: &[u8],
        shared: &mut Self::Shared,
        rules: &Self::Rules,
    ) -> Result<Self, Malformed>;
}
