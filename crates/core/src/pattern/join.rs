//! The events of one key that wait for the other side of a join, taken in the order of their time.
//!
//! An event makes a pair with each of the other side that still waits. A left one waits until
//! `within` has passed since its time, a right one until `before` has; one that found no other by
//! then is alone.

use std::collections::VecDeque;

use super::compile::{LEFT, RIGHT};
use super::effects::PatternEffects;
use super::found::Match;
use super::held::{self, Held, Values};
use super::sequence::Moment;
use super::spec::{JoinKind, JoinSpec};
use crate::time::EpochMs;

/// An event of one side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waiting {
    pub moment: Moment,
    pub values: Values,
    /// It found another.
    pub paired: bool,
}

/// Both sides of one key, each in the order of their events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Join {
    pub left: VecDeque<Waiting>,
    pub right: VecDeque<Waiting>,
}

impl Join {
    /// Takes the next event, after [`pass`](Self::pass) until its time: all that still wait are near
    /// enough.
    pub fn take(
        &mut self,
        (number, join): (u16, &JoinSpec),
        (moment, held): (Moment, &Held),
        fx: &mut PatternEffects,
    ) {
        let is = |side: u32| held.meets & side != 0;
        let one = || Waiting { moment, values: held.values.clone(), paired: false };
        let (mut left, mut right) = (one(), one());
        let mut pairs = 0;
        let mut meet = |left: &mut Waiting, right: &mut Waiting| {
            let common = |one| held::common(one, join.on.len());
            if common(&left.values).is_none() || common(&left.values) != common(&right.values) {
                return;
            }
            (left.paired, right.paired) = (true, true);
            if join.kind == JoinKind::Anti {
                return;
            }
            pairs += 1;
            if pairs <= join.pairs_max {
                fx.found(Match::pair(number, held.at, left, right));
            } else {
                fx.tallies[usize::from(number)].pairs_left_out += 1;
            }
        };
        // The nearest first: where there are too many, those are made.
        if is(LEFT) {
            self.right.iter_mut().rev().for_each(|other| meet(&mut left, other));
        }
        if is(RIGHT) {
            self.left.iter_mut().rev().for_each(|other| meet(other, &mut right));
        }
        self.left.extend(is(LEFT).then_some(left));
        self.right.extend(is(RIGHT).then_some(right));
    }

    /// Lets those go whose wait ended before `until`.
    pub fn pass(
        &mut self,
        (number, join): (u16, &JoinSpec),
        until: EpochMs,
        fx: &mut PatternEffects,
    ) {
        let tally = usize::from(number);
        while let Some(left) = self.left.pop_front_if(|left| left.moment.at + join.within < until) {
            if !left.paired {
                fx.tallies[tally].left_alone += 1;
                if join.kind != JoinKind::Inner {
                    fx.found(Match::alone(number, left.moment.at + join.within, left));
                }
            }
        }
        while let Some(right) =
            self.right.pop_front_if(|right| right.moment.at + join.before < until)
        {
            fx.tallies[tally].right_alone += u64::from(!right.paired);
        }
    }

    /// Takes over those that wait of another key, behind its own of the same time. They make no pairs
    /// with each other: the time of such a pair may be final.
    pub fn unite(&mut self, other: Join) {
        let own = self.left.iter().chain(&self.right).map(|one| one.moment.nth + 1);
        let behind = own.max().unwrap_or(0);
        for (own, others) in [(&mut self.left, other.left), (&mut self.right, other.right)] {
            let moved = |one: Waiting| Waiting { moment: one.moment.behind(behind), ..one };
            own.extend(others.into_iter().map(moved));
            own.make_contiguous().sort_by_key(|one| one.moment);
        }
    }

    /// When the next one has waited long enough.
    pub fn end(&self, join: &JoinSpec) -> Option<EpochMs> {
        let left = self.left.front().map(|left| left.moment.at + join.within);
        let right = self.right.front().map(|right| right.moment.at + join.before);
        left.into_iter().chain(right).min()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.left.len() + self.right.len()
    }

    /// The earliest goes before its time.
    pub fn give_up(&mut self) {
        let moment = |side: &VecDeque<Waiting>| side.front().map(|one| one.moment);
        let earlier = match (moment(&self.left), moment(&self.right)) {
            (Some(left), Some(right)) if right < left => &mut self.right,
            (None, _) => &mut self.right,
            _ => &mut self.left,
        };
        earlier.pop_front();
    }

    /// Time of the earliest.
    pub fn first(&self) -> Option<EpochMs> {
        let fronts = self.left.front().into_iter().chain(self.right.front());
        fronts.map(|one| one.moment.at).min()
    }

    /// About how many bytes it takes besides itself.
    pub fn heap_bytes(&self) -> usize {
        let all = self.left.iter().chain(&self.right);
        all.map(|one| size_of::<Waiting>() + one.values.len()).sum()
    }
}
