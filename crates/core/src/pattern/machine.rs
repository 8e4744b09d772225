//! The machine of one key: for each pattern that has something of it, the events that wait for
//! the watermark, and what has begun.

use std::convert::Infallible;

use smallvec::SmallVec;

use super::compile::{Hits, Pattern, Patterns};
use super::effects::PatternEffects;
use super::held::Held;
use super::progress::Progress;
use super::record;
use super::sequence::Moment;
use crate::keyed::KeyedMachine;
use crate::time::{BEGINNING, EpochMs};
use crate::wire::Malformed;

/// An event as the machine sees it.
#[derive(Clone, Debug)]
pub struct PatternEvent {
    /// The source's watermark just before it.
    pub watermark: EpochMs,
    /// The patterns that it concerns.
    pub hits: Hits,
}

/// All patterns of one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Sorted by the number of the pattern; none of them empty.
    pub(super) runs: SmallVec<[Run; 1]>,
}

/// One pattern of one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    /// Index of the pattern.
    pub pattern: u16,
    /// Everything before it was decided early; `BEGINNING` when nothing was.
    pub floor: EpochMs,
    /// Events that the watermark has not passed by the lateness, in order.
    pub pending: Vec<Held>,
    pub begun: Progress,
}

impl Run {
    pub fn new(number: u16, pattern: &Pattern) -> Self {
        let begun = Progress::of(pattern);
        Run { pattern: number, floor: BEGINNING, pending: Vec::new(), begun }
    }

    fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.begun.len() == 0
    }

    /// Decides everything before `until`.
    fn settle(&mut self, patterns: &Patterns, until: EpochMs, fx: &mut PatternEffects) {
        let pattern = (self.pattern, &patterns.list[usize::from(self.pattern)]);
        let due = self.pending.partition_point(|held| held.at < until);
        let mut waiting = self.pending.len();
        let mut moment = Moment { at: BEGINNING, nth: 0 };
        for held in self.pending.drain(..due) {
            // All events of one time are settled at once.
            let nth = if held.at == moment.at { moment.nth + 1 } else { 0 };
            moment = Moment { at: held.at, nth };
            self.begun.pass(pattern, held.at, fx);
            self.begun.take(pattern, (moment, &held), fx);
            waiting -= 1;
            // An event that is of both sides of a join is held twice from here on.
            while waiting + self.begun.len() > patterns.held_max && self.begun.give_up() {
                fx.tallies[usize::from(self.pattern)].given_up += 1;
            }
        }
        self.begun.pass(pattern, until, fx);
    }

    fn apply(
        &mut self,
        patterns: &Patterns,
        held: Held,
        settled: EpochMs,
        fx: &mut PatternEffects,
    ) {
        let number = usize::from(self.pattern);
        if held.at < settled.max(self.floor) {
            fx.tallies[number].late += 1;
            return;
        }
        let place = self.pending.partition_point(|other| *other <= held);
        self.pending.insert(place, held);
        while self.pending.len() + self.begun.len() > patterns.held_max {
            self.make_room(patterns, fx);
        }
    }

    /// Decides the earliest millisecond early, or gives up the earliest attempt.
    #[cold]
    fn make_room(&mut self, patterns: &Patterns, fx: &mut PatternEffects) {
        let number = usize::from(self.pattern);
        match self.pending.first().map(|held| held.at) {
            Some(at) => {
                let early = self.pending.partition_point(|held| held.at == at);
                fx.tallies[number].settled_early += early as u64;
                self.settle(patterns, at + 1, fx);
                self.floor = at + 1;
            }
            None => fx.tallies[number].given_up += u64::from(self.begun.give_up()),
        }
    }

    fn deadline(&self, patterns: &Patterns) -> EpochMs {
        let pending = self.pending.first().map(|held| held.at);
        let attempt = self.begun.end(&patterns.list[usize::from(self.pattern)]);
        let first = pending.into_iter().chain(attempt).min().unwrap_or(EpochMs::MAX);
        first.saturating_add(patterns.lateness)
    }

    fn heap_bytes(&self) -> usize {
        let pending = self.pending.iter().map(|held| size_of::<Held>() + held.values.len());
        pending.sum::<usize>() + self.begun.heap_bytes()
    }
}

impl KeyedMachine for Machine {
    type Rules = Patterns;
    type Event = PatternEvent;
    /// Each pattern judges for itself, and counts.
    type Late = Infallible;
    type Effects = PatternEffects;
    /// What each pattern means: a record names them so.
    type Shared = Box<[u64]>;

    fn after(_: EpochMs) -> Self {
        Machine::default()
    }

    fn apply(
        &mut self,
        patterns: &Patterns,
        event: &PatternEvent,
        fx: &mut PatternEffects,
    ) -> Result<(), Infallible> {
        self.expire(patterns, event.watermark, fx);
        let settled = event.watermark - patterns.lateness;
        for (pattern, held) in &event.hits {
            let place = self.runs.partition_point(|run| run.pattern < *pattern);
            if self.runs.get(place).is_none_or(|run| run.pattern != *pattern) {
                self.runs.insert(place, Run::new(*pattern, &patterns.list[usize::from(*pattern)]));
            }
            self.runs[place].apply(patterns, held.clone(), settled, fx);
        }
        self.runs.retain(|run| !run.is_empty());
        Ok(())
    }

    fn next_deadline(&self, patterns: &Patterns) -> Option<EpochMs> {
        self.runs.iter().map(|run| run.deadline(patterns)).min()
    }

    fn expire(&mut self, patterns: &Patterns, watermark: EpochMs, fx: &mut PatternEffects) {
        let settled = watermark - patterns.lateness;
        self.runs.retain(|run| {
            run.settle(patterns, settled, fx);
            !run.is_empty()
        });
    }

    fn first(&self) -> EpochMs {
        let firsts = self.runs.iter().map(|run| {
            let pending = run.pending.first().map(|held| held.at);
            run.begun.first().into_iter().chain(pending).min().unwrap_or(EpochMs::MAX)
        });
        firsts.min().unwrap_or(EpochMs::MAX)
    }

    /// A pattern has begun; what only waits may be of no use to any.
    fn is_worth_keeping(&self) -> bool {
        self.runs.iter().any(|run| run.begun.len() > 0)
    }

    fn heap_bytes(&self) -> usize {
        let spilled = if self.runs.spilled() { self.runs.len() * size_of::<Run>() } else { 0 };
        spilled + self.runs.iter().map(Run::heap_bytes).sum::<usize>()
    }

    fn glance(&self) -> u64 {
        self.runs.first().map_or(0, |run| run.floor as u64 ^ run.pending.len() as u64)
    }

    fn encode(&self, meanings: &Box<[u64]>, out: &mut Vec<u8>) {
        record::encode(self, meanings, out);
    }

    /// Without what it holds of patterns that there are no more.
    fn decode(bytes: &[u8], _: &mut Box<[u64]>, patterns: &Patterns) -> Result<Self, Malformed> {
        record::decode(bytes, patterns)
    }
}
