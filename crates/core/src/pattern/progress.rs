//! What has begun for one key and one pattern, moved on by its events in the order of their time.

use super::compile::Pattern;
use super::effects::PatternEffects;
use super::funnel::Passage;
use super::held::Held;
use super::join::Join;
use super::sequence::{Attempt, Moment, Sequence};
use super::spec::Seeks;
use super::visits::Visits;
use crate::time::EpochMs;

/// Of a sequence, of a join, of a funnel or of sessions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Progress {
    Sequence(Sequence),
    /// Apart: sequences are not to take more room for it.
    Join(Box<Join>),
    Funnel(Passage),
    Sessions(Visits),
}

impl Progress {
    /// Nothing has begun.
    pub fn of(pattern: &Pattern) -> Self {
        match pattern.spec.seeks {
            Seeks::Sequence(_) => Progress::Sequence(Sequence::default()),
            Seeks::Join(_) => Progress::Join(Box::default()),
            Seeks::Funnel(_) => Progress::Funnel(Passage::default()),
            Seeks::Sessions(_) => Progress::Sessions(Visits::default()),
        }
    }

    /// Takes the next event.
    pub fn take(
        &mut self,
        (number, pattern): (u16, &Pattern),
        event: (Moment, &Held),
        fx: &mut PatternEffects,
    ) {
        match (self, &pattern.spec.seeks) {
            (Progress::Sequence(begun), Seeks::Sequence(spec)) => {
                begun.take((number, spec), event, fx);
            }
            (Progress::Join(begun), Seeks::Join(spec)) => begun.take((number, spec), event, fx),
            (Progress::Funnel(begun), Seeks::Funnel(spec)) => {
                begun.take((number, spec), event.1, fx);
            }
            (Progress::Sessions(begun), Seeks::Sessions(spec)) => {
                begun.take((number, pattern, spec), event, fx);
            }
            _ => unreachable!("{OTHER}"),
        }
    }

    /// Decides what ended before `until`.
    pub fn pass(
        &mut self,
        (number, pattern): (u16, &Pattern),
        until: EpochMs,
        fx: &mut PatternEffects,
    ) {
        match (self, &pattern.spec.seeks) {
            (Progress::Sequence(begun), Seeks::Sequence(spec)) => {
                begun.pass((number, spec), until, fx);
            }
            (Progress::Join(begun), Seeks::Join(spec)) => begun.pass((number, spec), until, fx),
            (Progress::Funnel(begun), Seeks::Funnel(spec)) => {
                begun.pass((number, spec), until, fx);
            }
            (Progress::Sessions(begun), Seeks::Sessions(spec)) => {
                begun.pass((number, spec), until, fx);
            }
            _ => unreachable!("{OTHER}"),
        }
    }

    /// Takes over what has begun for another key; both are decided up to the same time.
    pub fn unite(
        &mut self,
        (number, pattern): (u16, &Pattern),
        other: Progress,
        settled: EpochMs,
        fx: &mut PatternEffects,
    ) {
        match (self, other, &pattern.spec.seeks) {
            (Progress::Sequence(begun), Progress::Sequence(other), _) => begun.unite(other),
            (Progress::Join(begun), Progress::Join(other), _) => begun.unite(*other),
            (Progress::Funnel(begun), Progress::Funnel(other), _) => {
                begun.unite(number, other, settled, fx);
            }
            (Progress::Sessions(begun), Progress::Sessions(other), Seeks::Sessions(spec)) => {
                begun.unite((number, pattern, spec), other, fx);
            }
            _ => unreachable!("{OTHER}"),
        }
    }

    /// When the next of it is decided at the latest.
    pub fn end(&self, pattern: &Pattern) -> Option<EpochMs> {
        match (self, &pattern.spec.seeks) {
            (Progress::Sequence(begun), Seeks::Sequence(spec)) => begun.end(spec),
            (Progress::Join(begun), Seeks::Join(spec)) => begun.end(spec),
            (Progress::Funnel(begun), Seeks::Funnel(spec)) => begun.end(spec),
            (Progress::Sessions(begun), Seeks::Sessions(spec)) => begun.end(spec),
            _ => unreachable!("{OTHER}"),
        }
    }

    /// How many have begun.
    pub fn len(&self) -> usize {
        match self {
            Progress::Sequence(begun) => begun.attempts.len(),
            Progress::Join(begun) => begun.len(),
            Progress::Funnel(begun) => usize::from(!begun.chains.is_empty()),
            Progress::Sessions(begun) => usize::from(begun.0.is_some()),
        }
    }

    /// The earliest is no more; false where there is none that may go.
    pub fn give_up(&mut self) -> bool {
        match self {
            Progress::Sequence(begun) => begun.attempts.pop_front().is_some(),
            Progress::Join(begun) => {
                let any = begun.len() > 0;
                begun.give_up();
                any
            }
            // A key has one at most, and two of whatever it may hold have room.
            Progress::Funnel(_) | Progress::Sessions(_) => false,
        }
    }

    /// Time of the earliest event that it holds.
    pub fn first(&self) -> Option<EpochMs> {
        match self {
            Progress::Sequence(begun) => begun.attempts.front().map(|attempt| attempt.first.at),
            Progress::Join(begun) => begun.first(),
            Progress::Funnel(begun) => begun.chains.last().map(|chain| chain.first),
            Progress::Sessions(begun) => begun.0.as_ref().map(|visit| visit.first.at),
        }
    }

    /// About how many bytes it takes besides itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Progress::Sequence(begun) => {
                let bytes = |one: &Attempt| one.of_first.len() + one.of_last.len();
                begun.attempts.iter().map(|one| size_of::<Attempt>() + bytes(one)).sum()
            }
            Progress::Join(begun) => size_of::<Join>() + begun.heap_bytes(),
            Progress::Funnel(begun) => begun.heap_bytes(),
            Progress::Sessions(begun) => begun.heap_bytes(),
        }
    }
}

const OTHER: &str = "it was made for this pattern";
