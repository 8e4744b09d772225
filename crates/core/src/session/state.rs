//! One open session: what its events add up to.

use super::contents::Contents;
use super::rules::{COUNTED_KINDS, Rules, SessionEvent};
use crate::time::EpochMs;

/// Latest events kept for the drill-down.
pub const TRAIL_LEN: usize = 6;
/// The limit of a session that was not cut.
pub(super) const NO_CUT: EpochMs = EpochMs::MAX;

/// One open session. 120 bytes, without anything outside of them: there may be millions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct State {
    pub first: EpochMs,
    pub last: EpochMs,
    /// Later events belong to the session after it: it was cut here. [`NO_CUT`] for none.
    pub until: EpochMs,
    pub contents: Contents,
    pub events: u32,
    pub trail_at: [u32; TRAIL_LEN],
    pub counts: [u16; COUNTED_KINDS],
    pub segment: u16,
    pub goals: u16,
    pub trail_type: [u8; TRAIL_LEN],
    pub trail_len: u8,
    /// 0 for none, else index in the policy's steps plus one.
    pub step: u8,
}

impl State {
    pub fn empty(at: EpochMs) -> Self {
        State {
            first: at,
            last: at,
            until: NO_CUT,
            contents: Contents::default(),
            events: 0,
            goals: 0,
            trail_at: [0; TRAIL_LEN],
            counts: [0; COUNTED_KINDS],
            segment: 0,
            trail_type: [0; TRAIL_LEN],
            trail_len: 0,
            step: 0,
        }
    }

    /// True when an event of this time belongs to it.
    pub fn reaches(&self, rules: &Rules, at: EpochMs) -> bool {
        at <= self.until && at >= self.first - rules.gap && at <= self.last + rules.gap
    }

    /// Event time at which it is over if nothing more comes.
    pub fn deadline(&self, rules: &Rules) -> EpochMs {
        match self.until {
            NO_CUT => self.last + rules.gap,
            until => until,
        }
    }

    pub fn absorb(&mut self, event: &SessionEvent) {
        if event.segment != 0 && (event.at >= self.last || self.segment == 0) {
            self.segment = event.segment;
        }
        self.first = self.first.min(event.at);
        self.last = self.last.max(event.at);
        self.push_trail(event.at, event.counted);
        self.events = self.events.saturating_add(1);
        if event.entry {
            self.contents.add(event.value);
        }
        if event.remove {
            self.contents.remove(event.value);
        }
        self.goals = self.goals.saturating_add(u16::from(event.goal));
        self.step = self.step.max(event.step);
        let count = &mut self.counts[usize::from(event.counted)];
        *count = count.saturating_add(1);
    }

    pub fn merge(&mut self, other: &State) {
        if other.segment != 0 && (other.last > self.last || self.segment == 0) {
            self.segment = other.segment;
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.until = self.until.min(other.until);
        for (at, event_type) in other.trail() {
            self.push_trail(at, event_type);
        }
        self.contents.merge(&other.contents);
        self.events = self.events.saturating_add(other.events);
        self.goals = self.goals.saturating_add(other.goals);
        self.step = self.step.max(other.step);
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// The trail, oldest first. Times are kept modulo 2^32 ms (49 days) and completed
    /// from the session's last event.
    pub fn trail(&self) -> impl Iterator<Item = (EpochMs, u8)> + '_ {
        (0..usize::from(self.trail_len)).map(|i| (self.trail_time(i), self.trail_type[i]))
    }

    fn trail_time(&self, index: usize) -> EpochMs {
        let back = (self.last as u32).wrapping_sub(self.trail_at[index]);
        self.last - i64::from(back)
    }

    /// Keeps the latest `TRAIL_LEN` events in time order. `last` already covers `at`.
    fn push_trail(&mut self, at: EpochMs, event_type: u8) {
        let len = usize::from(self.trail_len);
        let mut place = len;
        while place > 0 && at < self.trail_time(place - 1) {
            place -= 1;
        }
        // As a rule it is the latest: then nothing moves, or all by one.
        if len < TRAIL_LEN {
            if place < len {
                self.trail_at.copy_within(place..len, place + 1);
                self.trail_type.copy_within(place..len, place + 1);
            }
            self.trail_len += 1;
        } else if place == TRAIL_LEN {
            self.trail_at.copy_within(1.., 0);
            self.trail_type.copy_within(1.., 0);
            place -= 1;
        } else if place > 0 {
            self.trail_at.copy_within(1..place, 0);
            self.trail_type.copy_within(1..place, 0);
            place -= 1;
        } else {
            return;
        }
        self.trail_at[place] = at as u32;
        self.trail_type[place] = event_type;
    }

    pub fn at_risk(&self) -> bool {
        self.contents.has_entry() && self.goals == 0
    }
}
