//! The cart timer of one key, for `deadline = "since_entry"`: an entry opens a cart or
//! restarts its timer, a goal converts it, else it is abandoned when the timer runs out,
//! whatever else the user does.
//!
//! Order matters here (a goal before or after an entry), so entries and goals wait until
//! the watermark minus the lateness has passed them and are then taken in time order.

use super::effects::{Ending, Outcome, SessionEffects};
use crate::domain::number::Amount;
use crate::domain::time::{EpochMs, SpanMs};

/// An entry or a goal that waits to be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub at: EpochMs,
    pub value: Amount,
    pub goal: bool,
}

/// An open cart, as far as it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cart {
    pub first: EpochMs,
    pub last: EpochMs,
    pub value: Amount,
    pub entries: u32,
}

/// The carts of one key: at most one open, and marks in time order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carts {
    pub(super) open: Option<Cart>,
    pub(super) pending: Vec<Mark>,
}

impl Carts {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.pending.is_empty()
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Remembers an entry or a goal; equal times keep their order of arrival.
    pub(super) fn mark(&mut self, at: EpochMs, goal: bool, value: Amount) {
        let place = self.pending.partition_point(|mark| mark.at <= at);
        self.pending.insert(place, Mark { at, value, goal });
    }

    /// When something happens next if nothing more comes.
    pub(super) fn next_due(&self, gap: SpanMs) -> Option<EpochMs> {
        let pending = self.pending.first().map(|mark| mark.at);
        let open = self.open.map(|cart| cart.last + gap);
        match (pending, open) {
            (Some(pending), Some(open)) => Some(pending.min(open)),
            (pending, open) => pending.or(open),
        }
    }

    /// Takes every mark up to `upto` in order, then lets the timer run out.
    pub(super) fn settle(&mut self, gap: SpanMs, upto: EpochMs, fx: &mut SessionEffects) {
        let due = self.pending.partition_point(|mark| mark.at <= upto);
        for mark in self.pending.drain(..due).collect::<Vec<_>>() {
            step(&mut self.open, gap, mark, fx);
        }
        if let Some(cart) = self.open.filter(|cart| upto > cart.last + gap) {
            self.open = None;
            fx.endings.push(end(cart, Outcome::Abandoned, cart.last + gap));
        }
    }

    /// Value of the cart that is open if the pending marks are taken as they are.
    pub(super) fn open_value(&self, gap: SpanMs) -> Option<Amount> {
        let mut open = self.open;
        let mut unused = SessionEffects::default();
        for mark in &self.pending {
            step(&mut open, gap, *mark, &mut unused);
        }
        open.map(|cart| cart.value)
    }
}

fn step(open: &mut Option<Cart>, gap: SpanMs, mark: Mark, fx: &mut SessionEffects) {
    if let Some(cart) = open.filter(|cart| mark.at > cart.last + gap) {
        *open = None;
        fx.endings.push(end(cart, Outcome::Abandoned, cart.last + gap));
    }
    match (open.as_mut(), mark.goal) {
        (Some(cart), true) => {
            fx.endings.push(end(*cart, Outcome::Converted, mark.at));
            *open = None;
        }
        (None, true) => fx.stray_goals += 1,
        (Some(cart), false) => {
            cart.last = cart.last.max(mark.at);
            cart.value = cart.value.plus(mark.value);
            cart.entries = cart.entries.saturating_add(1);
        }
        (None, false) => {
            *open = Some(Cart { first: mark.at, last: mark.at, value: mark.value, entries: 1 });
        }
    }
}

fn end(cart: Cart, outcome: Outcome, at: EpochMs) -> Ending {
    Ending {
        closes_session: false,
        outcome,
        first: cart.first,
        last: cart.last,
        at,
        events: cart.entries,
        entries: cart.entries,
        value: cart.value,
        step: 0,
        segment: 0,
    }
}
