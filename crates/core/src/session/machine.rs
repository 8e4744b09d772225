//! The session machine of one key: `apply` an event, say the `next_deadline`,
//! `expire` at a watermark. Values in, effects out; the actor around it only carries
//! messages.
//!
//! A key usually has one open session. Around a boundary it has two: the old one, not
//! closed by the watermark yet, and the new one; an event in between makes them one.
//!
//! An event is late when its session has been closed: when it lies at or before the
//! machine's *floor*, or when no open session reaches it and one of its own would be over.
//! The floor is where the last closed session's events ended, and the gap; everything open
//! lies behind it.
//!
//! Invariant: open sessions are sorted by time and lie more than `gap` apart, except where
//! one was cut (`until`), and all of them behind the floor.
//! Invariant: a close is final. No two sessions of a key closer than the gap ever leave,
//! unless one was cut, which its ending says.

use smallvec::SmallVec;

use super::carts::Carts;
use super::effects::{Cut, Ending, Outcome, SessionEffects, Stake};
use super::late::{Late, late_alone};
use super::record::{self, Segments};
use super::rules::{Rules, SessionEvent};
use super::state::{NO_CUT, State};
use crate::keyed::KeyedMachine;
use crate::time::{BEGINNING, EpochMs};
use crate::wire::Malformed;

/// All open sessions of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub(super) sessions: SmallVec<[State; 1]>,
    pub(super) carts: Option<Box<Carts>>,
    /// Events at or before it are late; `BEGINNING` when nothing is known to be closed.
    pub(super) floor: EpochMs,
}

impl Default for Machine {
    fn default() -> Self {
        Machine::after(BEGINNING)
    }
}

impl KeyedMachine for Machine {
    type Rules = Rules;
    type Event = SessionEvent;
    type Late = Late;
    type Effects = SessionEffects;
    type Shared = Segments;

    fn after(floor: EpochMs) -> Self {
        Machine { sessions: SmallVec::new(), carts: None, floor }
    }

    /// Expires first, by the event's own stamp, so that the result does not depend on when the
    /// timer fired.
    fn apply(
        &mut self,
        rules: &Rules,
        event: &SessionEvent,
        fx: &mut SessionEffects,
    ) -> Result<(), Late> {
        self.expire(rules, event.watermark, fx);
        if event.at <= self.floor {
            return Err(Late::Closed(self.floor));
        }
        let open = self.sessions.iter().any(|session| session.reaches(rules, event.at));
        if let Some(late) =
            (!open).then(|| late_alone(rules, self.floor, event.at, event.watermark)).flatten()
        {
            return Err(late);
        }
        let marks = rules.since_entry && (event.entry || event.goal || event.remove);
        if let Some(carts) =
            self.carts.as_ref().filter(|carts| marks && event.at <= carts.stand.settled)
        {
            return Err(Late::Cart(carts.stand.settled));
        }
        if event.repeat {
            return Err(Late::Repeat);
        }
        // Else nothing is put in or taken out, and no two sessions become one.
        let moves = event.entry || event.goal || event.remove || self.sessions.len() > 1;
        let stake_before = moves.then(|| self.stake(rules));
        if self.sessions.is_empty() {
            // What was closed longer ago is not remembered: as if it had been, always.
            self.floor = self.floor.max(event.watermark - rules.memory() - 1);
        }
        self.place(rules, event, fx);
        if marks {
            self.carts.get_or_insert_default().mark(rules, event, fx);
        }
        if let Some(before) = stake_before {
            fx.stake(&before, &self.stake(rules));
        }
        Ok(())
    }

    fn next_deadline(&self, rules: &Rules) -> Option<EpochMs> {
        let session = self.sessions.first().map(|first| first.deadline(rules))?;
        let cart = self.carts.as_ref().and_then(|carts| carts.next_due(rules.gap));
        Some(cart.map_or(session, |cart| session.min(cart)) + rules.lateness)
    }

    fn expire(&mut self, rules: &Rules, watermark: EpochMs, fx: &mut SessionEffects) {
        let settled = watermark - rules.lateness;
        let session = self.sessions.first().is_some_and(|first| settled > first.deadline(rules));
        let cart = self.carts.as_ref().is_some_and(|carts| carts.is_due(rules.gap, settled));
        if !session && !cart {
            return;
        }
        let stake_before = self.stake(rules);
        if let Some(carts) = &mut self.carts {
            carts.settle(rules.gap, settled, fx);
        }
        while let Some(first) = self.sessions.first() {
            let deadline = first.deadline(rules);
            if settled <= deadline {
                break;
            }
            let state = self.sessions.remove(0);
            let cut = if state.until == NO_CUT { Cut::No } else { Cut::TooLong };
            self.close(rules, &state, (deadline, deadline, cut), fx);
        }
        self.forget_carts(fx);
        fx.stake(&stake_before, &self.stake(rules));
    }

    fn first(&self) -> EpochMs {
        self.sessions.first().map_or(EpochMs::MAX, |session| session.first)
    }

    /// An open session (or cart) holds an entry.
    fn is_worth_keeping(&self) -> bool {
        let cart = self.carts.as_ref().is_some_and(|carts| carts.stake().is_some());
        cart || self.sessions.iter().any(|session| session.contents.has_entry())
    }

    fn heap_bytes(&self) -> usize {
        let sessions =
            if self.sessions.spilled() { self.sessions.capacity() * size_of::<State>() } else { 0 };
        let carts = self.carts.as_ref().map_or(0, |carts| carts.bytes());
        sessions + carts
    }

    #[inline]
    fn glance(&self) -> u64 {
        let (front, back) = match self.sessions.first() {
            Some(session) => (session.first as u64, u64::from(session.trail_len)),
            None => (0, 0),
        };
        front ^ back ^ self.floor as u64
    }

    fn encode(&self, segments: &Segments, out: &mut Vec<u8>) {
        record::encode(self, segments, out);
    }

    fn decode(bytes: &[u8], segments: &mut Segments, rules: &Rules) -> Result<Self, Malformed> {
        record::decode(bytes, segments, rules)
    }
}

impl Machine {
    /// True when nothing is open.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Up to where the key's sessions have been closed.
    pub fn floor(&self) -> EpochMs {
        self.floor
    }

    /// Closes everything that is open, before its time: there is no room for it. An event
    /// after the last of them opens another session.
    pub fn displace(&mut self, rules: &Rules, watermark: EpochMs, fx: &mut SessionEffects) {
        self.expire(rules, watermark, fx);
        let stake_before = self.stake(rules);
        if let Some(carts) = &mut self.carts {
            carts.settle(rules.gap, EpochMs::MAX / 2, fx);
        }
        while !self.sessions.is_empty() {
            let state = self.sessions.remove(0);
            let end = state.last.max(watermark);
            self.close(rules, &state, (end, state.last, Cut::NoRoom), fx);
        }
        self.forget_carts(fx);
        fx.stake(&stake_before, &self.stake(rules));
    }

    fn close(
        &mut self,
        rules: &Rules,
        state: &State,
        (at, floor, cut): (EpochMs, EpochMs, Cut),
        fx: &mut SessionEffects,
    ) {
        fx.left(state.step);
        fx.endings.push(ending(rules, state, at, cut));
        let emptied = !rules.since_entry && state.goals == 0 && state.contents.is_emptied();
        fx.changes.emptied += u64::from(emptied);
        self.floor = self.floor.max(floor);
    }

    /// Carts are over before the last session is; what was settled lies before the floor.
    fn forget_carts(&mut self, fx: &mut SessionEffects) {
        if self.sessions.is_empty()
            && let Some(carts) = self.carts.take()
        {
            fx.journal.forgotten(carts);
        }
    }

    /// Puts an event into the session it belongs to, opening, merging or cutting as needed.
    fn place(&mut self, rules: &Rules, event: &SessionEvent, fx: &mut SessionEffects) {
        let Some(index) = self.sessions.iter().position(|s| s.reaches(rules, event.at)) else {
            let place = self.sessions.partition_point(|s| s.first < event.at);
            return self.open(place, event, NO_CUT, fx);
        };
        let session = &mut self.sessions[index];
        let (first, last) = (session.first.min(event.at), session.last.max(event.at));
        if last - first > rules.length_max {
            if event.at < session.first {
                // What is open stays whole; the event ends a session of its own before it.
                let until = session.first - 1;
                return self.open(index, event, until, fx);
            }
            // What was merged into one may be longer already.
            session.until = (session.first + rules.length_max).max(session.last);
            return self.place(rules, event, fx);
        }
        let step_before = session.step;
        session.absorb(event);
        fx.moved(step_before, session.step);
        self.join(rules, index, fx);
    }

    fn open(
        &mut self,
        place: usize,
        event: &SessionEvent,
        until: EpochMs,
        fx: &mut SessionEffects,
    ) {
        self.sessions.insert(place, State { until, ..State::empty(event.at) });
        // In its place: what was written a moment ago is not copied.
        let state = &mut self.sessions[place];
        state.absorb(event);
        fx.entered(state.step);
    }

    /// Makes a session and those after it one where they lie within the gap now.
    fn join(&mut self, rules: &Rules, index: usize, fx: &mut SessionEffects) {
        while let Some(next) = self.sessions.get(index + 1) {
            let (first, last) = (next.first, next.last);
            let session = &mut self.sessions[index];
            if session.until != NO_CUT || first > session.last + rules.gap {
                return;
            }
            if last.max(session.last) - session.first.min(first) > rules.length_max {
                session.until = first - 1;
                return;
            }
            let next = self.sessions.remove(index + 1);
            let session = &mut self.sessions[index];
            let step_before = session.step;
            session.merge(&next);
            session.until = next.until;
            fx.left(next.step);
            fx.moved(step_before, session.step);
        }
    }

    /// Adds everything that is open to the gauges.
    pub fn count_open(&self, rules: &Rules, fx: &mut SessionEffects) {
        self.sessions.iter().for_each(|session| fx.entered(session.step));
        fx.stake(&Stake::default(), &self.stake(rules));
    }

    /// Open sessions that hold an entry and no goal, and their value.
    pub(super) fn stake(&self, rules: &Rules) -> Stake {
        let mut stake = Stake::default();
        if rules.since_entry {
            let open = self.carts.as_ref().and_then(|carts| carts.stake());
            open.into_iter().for_each(|value| stake.add(value));
        } else {
            let at_risk = self.sessions.iter().filter(|session| session.at_risk());
            at_risk.for_each(|session| stake.add(session.contents.value()));
        }
        stake
    }
}

fn ending(rules: &Rules, state: &State, at: EpochMs, cut: Cut) -> Ending {
    let outcome = if rules.since_entry {
        Outcome::Closed
    } else if state.goals > 0 && state.contents.had_entry() {
        Outcome::Converted
    } else if state.contents.has_entry() {
        Outcome::Abandoned
    } else {
        Outcome::Browsed
    };
    Ending {
        closes_session: true,
        cut,
        outcome,
        first: state.first,
        last: state.last,
        at,
        stamp: at,
        events: state.events,
        entries: state.contents.entries(),
        value: state.contents.value(),
        step: state.step,
        segment: state.segment,
    }
}
