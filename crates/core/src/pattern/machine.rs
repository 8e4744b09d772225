//! The machine of one key: for each pattern that has something of it, the events that wait for
//! the watermark, and what has begun.

use std::convert::Infallible;

use smallvec::SmallVec;

use super::compile::{Hits, LEFT, Pattern, Patterns, RIGHT};
use super::effects::PatternEffects;
use super::held::Held;
use super::progress::Progress;
use super::record;
use super::sequence::Moment;
use super::spec::Seeks;
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
        if held.at < settled.max(self.floor) {
            return self.late(patterns, &held, fx);
        }
        let place = self.pending.partition_point(|other| *other <= held);
        self.pending.insert(place, held);
        while self.pending.len() + self.begun.len() > patterns.held_max {
            self.make_room(patterns, fx);
        }
    }

    #[cold]
    fn late(&self, patterns: &Patterns, held: &Held, fx: &mut PatternEffects) {
        let number = usize::from(self.pattern);
        let tally = &mut fx.tallies[number];
        tally.late += 1;
        if let Seeks::Join(_) = patterns.list[number].spec.seeks {
            tally.left_late += u64::from(held.meets & LEFT != 0);
            tally.right_late += u64::from(held.meets & RIGHT != 0);
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

    /// Takes over what another key has of it, that was decided up to the same time.
    fn unite(
        &mut self,
        patterns: &Patterns,
        other: Run,
        settled: EpochMs,
        fx: &mut PatternEffects,
    ) {
        let (number, pattern) = (self.pattern, &patterns.list[usize::from(self.pattern)]);
        let floor = self.floor.max(other.floor);
        let mut pending: Vec<Held> = self.pending.drain(..).chain(other.pending).collect();
        pending.sort();
        let late = pending.partition_point(|held| held.at < floor);
        pending.drain(..late).for_each(|held| self.late(patterns, &held, fx));
        (self.pending, self.floor) = (pending, floor);
        self.begun.unite((number, pattern), other.begun, settled, fx);
        while self.pending.len() + self.begun.len() > patterns.held_max {
            self.make_room(patterns, fx);
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

impl Machine {
    /// Gives away what is open at an event with this stamp, of one pattern or of all, because it goes
    /// on under another key.
    pub fn give_up(
        &mut self,
        patterns: &Patterns,
        only: Option<u16>,
        watermark: EpochMs,
        fx: &mut PatternEffects,
    ) -> Machine {
        self.expire(patterns, watermark, fx);
        let moves = |run: &Run| only.is_none_or(|only| run.pattern == only);
        let (given, kept) = self.runs.drain(..).partition(moves);
        self.runs = kept;
        Machine { runs: given }
    }

    /// Takes over what another key gave away at the same event. What was decided by then stays
    /// decided: an event that waits is looked at with those of both, one that was looked at is not
    /// put to those of the other key again.
    pub fn take_over(
        &mut self,
        patterns: &Patterns,
        given: Machine,
        watermark: EpochMs,
        fx: &mut PatternEffects,
    ) {
        self.expire(patterns, watermark, fx);
        let settled = watermark - patterns.lateness;
        for run in given.runs {
            let place = self.runs.partition_point(|own| own.pattern < run.pattern);
            match self.runs.get_mut(place).filter(|own| own.pattern == run.pattern) {
                Some(own) => own.unite(patterns, run, settled, fx),
                None => self.runs.insert(place, run),
            }
        }
        self.runs.retain(|run| !run.is_empty());
    }

    /// Nothing is open.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
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
