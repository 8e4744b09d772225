//! The session machine of one key: `apply` an event, say the `next_deadline`,
//! `expire` at a watermark. Values in, effects out; the actor around it only carries
//! messages.
//!
//! A key usually has one open session. Around a boundary it has two: the old one, not
//! closed by the watermark yet, and the new one; an event in between makes them one.
//!
//! Invariant: open sessions are sorted by time and lie more than `gap` apart.
//! Invariant: an accepted event (see [`is_late`]) never concerns a closed session, so a
//! close is final and every key has exactly one ending for each session.

use smallvec::SmallVec;

use super::carts::Carts;
use super::effects::{Ending, Outcome, SessionEffects, Stake};
use super::rules::{Rules, SessionEvent};
use crate::domain::number::Amount;
use crate::domain::time::EpochMs;

/// Latest events kept for the drill-down.
pub const TRAIL_LEN: usize = 6;
/// Event types counted apart in a session: slot 0 is `other`, the rest the configured ones.
pub const COUNTED_KINDS: usize = 8;

/// True when an event comes too late to be counted: its session, had it been alone, was
/// closed more than the allowed lateness ago. A function of the event and its stamp only,
/// so it does not depend on batches, shards or what else is open.
pub fn is_late(rules: &Rules, at: EpochMs, watermark: EpochMs) -> bool {
    at + rules.gap + rules.lateness < watermark
}

/// All open sessions of one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    pub(super) sessions: SmallVec<[State; 1]>,
    pub(super) carts: Option<Box<Carts>>,
}

/// One open session.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    pub first: EpochMs,
    pub last: EpochMs,
    pub value: Amount,
    pub events: u32,
    pub entries: u32,
    pub goals: u32,
    pub trail_at: [u32; TRAIL_LEN],
    pub counts: [u16; COUNTED_KINDS],
    pub segment: u16,
    pub trail_kind: [u8; TRAIL_LEN],
    pub trail_len: u8,
    /// 0 for none, else index in the policy's steps plus one.
    pub step: u8,
}

impl State {
    pub(super) fn empty(at: EpochMs) -> Self {
        State {
            first: at,
            last: at,
            value: Amount::ZERO,
            events: 0,
            entries: 0,
            goals: 0,
            trail_at: [0; TRAIL_LEN],
            counts: [0; COUNTED_KINDS],
            segment: 0,
            trail_kind: [0; TRAIL_LEN],
            trail_len: 0,
            step: 0,
        }
    }

    fn absorb(&mut self, event: &SessionEvent) {
        if event.segment != 0 && (event.at >= self.last || self.segment == 0) {
            self.segment = event.segment;
        }
        self.first = self.first.min(event.at);
        self.last = self.last.max(event.at);
        self.push_trail(event.at, event.counted);
        self.events = self.events.saturating_add(1);
        if event.entry {
            self.entries = self.entries.saturating_add(1);
            self.value = self.value.plus(event.value);
        }
        self.goals = self.goals.saturating_add(u32::from(event.goal));
        self.step = self.step.max(event.step);
        let count = &mut self.counts[usize::from(event.counted)];
        *count = count.saturating_add(1);
    }

    fn merge(&mut self, other: &State) {
        if other.segment != 0 && (other.last > self.last || self.segment == 0) {
            self.segment = other.segment;
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        for (at, kind) in other.trail() {
            self.push_trail(at, kind);
        }
        self.value = self.value.plus(other.value);
        self.events = self.events.saturating_add(other.events);
        self.entries = self.entries.saturating_add(other.entries);
        self.goals = self.goals.saturating_add(other.goals);
        self.step = self.step.max(other.step);
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// The trail, oldest first. Times are kept modulo 2^32 ms (49 days) and completed
    /// from the session's last event.
    pub(super) fn trail(&self) -> impl Iterator<Item = (EpochMs, u8)> + '_ {
        (0..usize::from(self.trail_len)).map(|i| (self.trail_time(i), self.trail_kind[i]))
    }

    fn trail_time(&self, index: usize) -> EpochMs {
        let back = (self.last as u32).wrapping_sub(self.trail_at[index]);
        self.last - i64::from(back)
    }

    /// Keeps the latest `TRAIL_LEN` events in time order. `last` already covers `at`.
    fn push_trail(&mut self, at: EpochMs, kind: u8) {
        let len = usize::from(self.trail_len);
        let mut place = len;
        while place > 0 && at < self.trail_time(place - 1) {
            place -= 1;
        }
        if len == TRAIL_LEN {
            if place == 0 {
                return;
            }
            self.trail_at.copy_within(1..place, 0);
            self.trail_kind.copy_within(1..place, 0);
            place -= 1;
        } else {
            self.trail_at.copy_within(place..len, place + 1);
            self.trail_kind.copy_within(place..len, place + 1);
            self.trail_len += 1;
        }
        self.trail_at[place] = at as u32;
        self.trail_kind[place] = kind;
    }

    fn at_risk(&self) -> bool {
        self.entries > 0 && self.goals == 0
    }
}

impl Machine {
    /// True when nothing is open: the actor may be used for another key.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.carts.as_ref().is_none_or(|carts| carts.is_empty())
    }

    /// The watermark after which [`Machine::expire`] has something to do; `None` when empty.
    pub fn next_deadline(&self, rules: &Rules) -> Option<EpochMs> {
        let session = self.sessions.first().map(|first| first.last + rules.gap);
        let cart = self.carts.as_ref().and_then(|carts| carts.next_due(rules.gap));
        let due = match (session, cart) {
            (Some(session), Some(cart)) => session.min(cart),
            (session, cart) => session.or(cart)?,
        };
        Some(due + rules.lateness)
    }

    /// Counts one event. Expires first, by the event's own stamp, so that the result does
    /// not depend on when the timer fired.
    pub fn apply(&mut self, rules: &Rules, event: &SessionEvent, fx: &mut SessionEffects) {
        self.expire(rules, event.watermark, fx);
        let stake_before = self.stake(rules);
        self.place(rules, event, fx);
        if rules.since_entry && (event.entry || event.goal) {
            self.carts.get_or_insert_default().mark(event.at, event.goal, event.value);
        }
        fx.stake(&stake_before, &self.stake(rules));
    }

    /// Closes what the watermark has passed.
    pub fn expire(&mut self, rules: &Rules, watermark: EpochMs, fx: &mut SessionEffects) {
        if self.next_deadline(rules).is_none_or(|due| watermark <= due)
            && self.carts.as_ref().is_none_or(|carts| !carts.has_pending())
        {
            return;
        }
        let stake_before = self.stake(rules);
        let settled = watermark - rules.lateness;
        if let Some(carts) = &mut self.carts {
            carts.settle(rules.gap, settled, fx);
            if carts.is_empty() {
                self.carts = None;
            }
        }
        while let Some(first) = self.sessions.first() {
            if settled <= first.last + rules.gap {
                break;
            }
            let state = self.sessions.remove(0);
            fx.left(state.step);
            fx.endings.push(ending(rules, &state));
        }
        fx.stake(&stake_before, &self.stake(rules));
    }

    /// Puts an event into the session it belongs to, opening or merging as needed.
    fn place(&mut self, rules: &Rules, event: &SessionEvent, fx: &mut SessionEffects) {
        let touches = |s: &State| event.at >= s.first - rules.gap && event.at <= s.last + rules.gap;
        let Some(index) = self.sessions.iter().position(touches) else {
            let mut state = State::empty(event.at);
            state.absorb(event);
            fx.entered(state.step);
            let place = self.sessions.partition_point(|s| s.first < event.at);
            self.sessions.insert(place, state);
            return;
        };
        let step_before = self.sessions[index].step;
        self.sessions[index].absorb(event);
        // The event may close the distance to the next session; to the one before it
        // cannot, since `position` found the first that it touches.
        while index + 1 < self.sessions.len()
            && self.sessions[index + 1].first <= self.sessions[index].last + rules.gap
        {
            let next = self.sessions.remove(index + 1);
            fx.left(next.step);
            self.sessions[index].merge(&next);
        }
        fx.moved(step_before, self.sessions[index].step);
    }

    /// Open sessions that hold an entry and no goal, and their value.
    fn stake(&self, rules: &Rules) -> Stake {
        let mut stake = Stake::default();
        if rules.since_entry {
            let open = self.carts.as_ref().and_then(|carts| carts.open_value(rules.gap));
            open.into_iter().for_each(|value| stake.add(value));
        } else {
            let at_risk = self.sessions.iter().filter(|session| session.at_risk());
            at_risk.for_each(|session| stake.add(session.value));
        }
        stake
    }
}

fn ending(rules: &Rules, state: &State) -> Ending {
    let outcome = if rules.since_entry {
        Outcome::Closed
    } else if state.entries == 0 {
        Outcome::Browsed
    } else if state.goals == 0 {
        Outcome::Abandoned
    } else {
        Outcome::Converted
    };
    Ending {
        closes_session: true,
        outcome,
        first: state.first,
        last: state.last,
        at: state.last + rules.gap,
        events: state.events,
        entries: state.entries,
        value: state.value,
        step: state.step,
        segment: state.segment,
    }
}
