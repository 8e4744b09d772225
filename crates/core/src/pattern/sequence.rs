//! The attempts of one key, moved on by its events in the order of their time.
//!
//! Every event that meets `first` begins an attempt. Each takes the next event that meets its next step.
//! The earliest that has all its steps is the match; it uses up what began before its last event,
//! so that no event is in two matches.
//!
//! Invariant: attempts are sorted by their first event. Those of one key see the same events, so an
//! earlier one has taken as many as a later one, or more; not where two keys became one.

use std::collections::VecDeque;
use std::fmt::{self, Display};

use super::compile::{FIRST, NOT_THEN, WITHOUT};
use super::effects::PatternEffects;
use super::found::Match;
use super::held::{Held, Values};
use super::spec::SequenceSpec;
use crate::time::EpochMs;

/// An event among those of a key that concern a pattern: its time, and which one of that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Event time.
    pub at: EpochMs,
    /// How many of that time come before it.
    pub nth: u32,
}

impl Moment {
    /// The same behind so many of its time.
    pub(super) fn behind(self, num: u32) -> Self {
        Moment { nth: self.nth.saturating_add(num), ..self }
    }
}

/// As names of matches have it.
impl Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.at, self.nth)
    }
}

/// A pattern that has begun.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attempt {
    /// Its first event.
    pub first: Moment,
    /// How many events it has taken.
    pub taken: u32,
    /// The last one.
    pub last: Moment,
    /// Values of the first.
    pub of_first: Values,
    /// Values of the last.
    pub of_last: Values,
}

/// All attempts of one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sequence {
    pub attempts: VecDeque<Attempt>,
}

impl Sequence {
    /// Takes the next event.
    pub fn take(
        &mut self,
        (number, spec): (u16, &SequenceSpec),
        (moment, held): (Moment, &Held),
        fx: &mut PatternEffects,
    ) {
        let steps = spec.steps() as u32;
        // The bit of the next step of an attempt that has taken so many events.
        let wants = |taken: u32| FIRST << (taken + 1).saturating_sub(spec.times);
        let mut found = None;
        self.attempts.retain_mut(|attempt| {
            let complete = attempt.taken == steps;
            let ends = if complete { WITHOUT | NOT_THEN } else { WITHOUT };
            if !complete && held.meets & wants(attempt.taken) != 0 {
                attempt.taken += 1;
                (attempt.last, attempt.of_last) = (moment, held.values.clone());
                if attempt.taken == steps && !spec.waits() && found.is_none() {
                    found = Some(attempt.clone());
                }
                return true;
            }
            held.meets & ends == 0
        });
        if let Some(attempt) = found {
            self.attempts.clear();
            return fx.found(Match::of(number, held.at, attempt));
        }
        if held.meets & FIRST != 0 {
            self.attempts.push_back(Attempt {
                first: moment,
                taken: 1,
                last: moment,
                of_first: held.values.clone(),
                of_last: held.values.clone(),
            });
        }
    }

    /// Decides those whose time ended before `until`.
    pub fn pass(
        &mut self,
        (number, spec): (u16, &SequenceSpec),
        until: EpochMs,
        fx: &mut PatternEffects,
    ) {
        while let Some(end) = self.end(spec).filter(|end| *end < until)
            && let Some(attempt) = self.attempts.pop_front()
        {
            if attempt.taken == spec.steps() as u32 {
                self.attempts.retain(|other| other.first > attempt.last);
                fx.found(Match::of(number, end, attempt));
            }
        }
    }

    /// Takes over the attempts of another key, behind its own of the same time.
    pub fn unite(&mut self, other: Sequence) {
        let own = self.attempts.iter().flat_map(|one| [one.first, one.last]);
        let behind = own.map(|moment| moment.nth + 1).max().unwrap_or(0);
        self.attempts.extend(other.attempts.into_iter().map(|one| Attempt {
            first: one.first.behind(behind),
            last: one.last.behind(behind),
            ..one
        }));
        self.attempts.make_contiguous().sort_by_key(|attempt| attempt.first);
    }

    /// When the earliest of them is decided at the latest.
    pub fn end(&self, spec: &SequenceSpec) -> Option<EpochMs> {
        self.attempts.front().map(|attempt| attempt.first.at + spec.within)
    }
}
