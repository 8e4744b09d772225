//! A key on its way through a funnel: how far it got, moved on by its events in the order of their
//! time.
//!
//! A *chain* is one event for each step up to some step, one after the other, all within `within`
//! of the first. An attempt goes on as long as a chain of it can; how far it got is the longest of
//! its chains. So nobody who begins again before the time is over is counted twice, and no way
//! through is missed because an earlier one took too long.
//!
//! Of all chains that got to a step only the one that began last is kept: whatever another could
//! still become, it can, for longer. Of those that began with the same event, the one that got
//! there first.

use smallvec::SmallVec;

use super::compile::{FIRST, WITHOUT};
use super::effects::PatternEffects;
use super::found::{Match, Reach};
use super::held::{Held, Values};
use super::spec::FunnelSpec;
use crate::time::{EpochMs, SpanMs};

/// The chain of those that got to a step that began last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Time of its first event.
    pub first: EpochMs,
    /// When it got there.
    pub last: EpochMs,
}

/// The attempt of one key, if there is one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Passage {
    /// By step, as far as it got; empty: there is none. Those of earlier steps began no earlier.
    pub chains: SmallVec<[Chain; 2]>,
    /// Values of its first event.
    pub values: Values,
}

impl Passage {
    /// Takes the next event.
    pub fn take(
        &mut self,
        (number, spec): (u16, &FunnelSpec),
        held: &Held,
        fx: &mut PatternEffects,
    ) {
        let at = held.at;
        let mut moved = false;
        // From the last step back: no event is two steps of a chain.
        for step in (1..spec.steps.len().min(self.chains.len() + 1)).rev() {
            let before = self.chains[step - 1];
            if held.meets & (FIRST << step) == 0 || before.first + spec.within < at {
                continue;
            }
            moved = true;
            let chain = Chain { first: before.first, last: at };
            match self.chains.get_mut(step) {
                Some(known) if known.first < chain.first => *known = chain,
                Some(_) => {}
                None => {
                    self.chains.push(chain);
                    self.tell((number, at), (false, Some(at - before.last)), fx);
                }
            }
        }
        if self.chains.len() == spec.steps.len() {
            *self = Passage::default();
            return;
        }
        if held.meets & WITHOUT != 0 && !moved {
            self.leave(number, at, fx);
        }
        if held.meets & FIRST != 0 {
            let chain = Chain { first: at, last: at };
            match self.chains.first_mut() {
                Some(known) => *known = chain,
                None => {
                    self.chains.push(chain);
                    self.values = held.values.clone();
                    self.tell((number, at), (false, None), fx);
                }
            }
        }
    }

    /// Decides that it is over, where its time ended before `until`.
    pub fn pass(
        &mut self,
        (number, spec): (u16, &FunnelSpec),
        until: EpochMs,
        fx: &mut PatternEffects,
    ) {
        if let Some(end) = self.end(spec).filter(|end| *end < until) {
            self.leave(number, end, fx);
        }
    }

    /// Takes over the way of another key. The one that got further goes on, its own where both got as
    /// far; the other one has left.
    pub fn unite(
        &mut self,
        number: u16,
        mut other: Passage,
        settled: EpochMs,
        fx: &mut PatternEffects,
    ) {
        if other.chains.len() > self.chains.len() {
            std::mem::swap(self, &mut other);
        }
        other.leave(number, settled, fx);
    }

    /// Until when a chain of it can go on.
    pub fn end(&self, spec: &FunnelSpec) -> Option<EpochMs> {
        self.chains.first().map(|chain| chain.first + spec.within)
    }

    fn leave(&mut self, number: u16, at: EpochMs, fx: &mut PatternEffects) {
        if !self.chains.is_empty() {
            self.tell((number, at), (true, None), fx);
            *self = Passage::default();
        }
    }

    /// What happened to the furthest step.
    fn tell(
        &self,
        (number, at): (u16, EpochMs),
        (left, waited): (bool, Option<SpanMs>),
        fx: &mut PatternEffects,
    ) {
        if let Some(chain) = self.chains.last() {
            let reach = Reach { step: self.chains.len() as u16 - 1, left, waited };
            fx.found(Match::on_the_way(number, at, chain.first, self.values.clone(), reach));
        }
    }

    /// About how many bytes it takes besides itself.
    pub fn heap_bytes(&self) -> usize {
        let spilled = if self.chains.spilled() { self.chains.capacity() } else { 0 };
        spilled * size_of::<Chain>() + self.values.len()
    }
}
