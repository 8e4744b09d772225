//! A message that does not follow the last one: was what is missing deleted, or lost on the way?

use super::reading::{Delivery, Reading};

/// What may be wrong when a message does not follow the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// Its sequence jumps: deleted, or lost on the way.
    Sequence,
    /// The number of its delivery jumps: lost on the way.
    Delivery,
    /// Fewer messages were left than there should be: perhaps deleted.
    Pending,
}

/// Whether a message does not follow the last one; counts its delivery.
pub(super) fn hole(
    reading: &mut Reading,
    delivery: &Delivery,
    last: u64,
    filtered: bool,
) -> Option<Hole> {
    let expected = std::mem::replace(&mut reading.expected, delivery.consumer_sequence + 1);
    if filtered && delivery.consumer_sequence != expected {
        return Some(Hole::Delivery);
    }
    if delivery.sequence <= last {
        return None;
    }
    if !filtered {
        return (delivery.sequence > last + 1).then_some(Hole::Sequence);
    }
    // It was one of those that were left, so one less is left now, or more came.
    (reading.sure && delivery.pending + 1 < reading.pending).then_some(Hole::Pending)
}
