//! The cart timer of one key, for `deadline = "since_entry"`: an entry opens a cart or
//! restarts its timer, a removal takes things out, a goal converts it, else it is abandoned
//! when the timer runs out, whatever else the user does.
//!
//! Order matters here (a goal before or after an entry), so what happens is kept as marks in
//! time order. A cart's end is decided once the watermark minus the lateness has passed it;
//! what comes later and lies before it is late. While a cart is open its marks are kept, so
//! that a late one still finds its place.
//!
//! The marks of a key are bounded. Beyond the bound the oldest are settled early: their
//! order is fixed then, and what lies before them is late. An event at the end costs the
//! same however many there are; one in between costs a walk over at most the bound.

use std::collections::VecDeque;

use super::contents::Contents;
use super::effects::{Cut, Ending, Outcome, SessionEffects};
use super::rules::{Rules, SessionEvent};
use crate::number::Amount;
use crate::time::{BEGINNING, EpochMs, SpanMs};

/// What happened to a cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Entry,
    Remove,
    Goal,
}

/// An entry, a removal or a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub at: EpochMs,
    /// `None` when the event carried no value.
    pub value: Option<Amount>,
    pub what: What,
}

/// An open cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cart {
    pub first: EpochMs,
    pub last: EpochMs,
    pub contents: Contents,
}

/// The carts of one key: at most one is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carts {
    pub(super) marks: VecDeque<Mark>,
    pub(super) stand: Stand,
}

/// How far carts have come in their marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    /// The open cart before the first of the marks.
    pub base: Option<Cart>,
    /// Up to here everything is decided: a mark at or before it is late.
    pub settled: EpochMs,
    /// So many of the marks the watermark has passed.
    pub walked: usize,
    /// The cart after those.
    now: Option<Cart>,
    /// The cart after all marks.
    tip: Option<Cart>,
}

impl Default for Carts {
    fn default() -> Self {
        Carts::restored(None, BEGINNING, VecDeque::new(), 0, 0)
    }
}

impl Carts {
    /// Carts from their record.
    pub(super) fn restored(
        base: Option<Cart>,
        settled: EpochMs,
        marks: VecDeque<Mark>,
        walked: usize,
        gap: SpanMs,
    ) -> Carts {
        let now = marks.iter().take(walked).fold(base, |open, mark| step(open, gap, mark));
        let stand = Stand { base, settled, walked, now, tip: now };
        let mut carts = Carts { marks, stand };
        carts.see_tip(gap);
        carts
    }

    /// About how many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Carts>() + self.marks.capacity() * size_of::<Mark>()
    }

    /// The cart that is open once all marks are taken.
    pub(super) fn open(&self) -> Option<&Cart> {
        self.stand.tip.as_ref()
    }

    /// Value of that cart.
    pub(super) fn stake(&self) -> Option<Amount> {
        self.open().map(|cart| cart.contents.value())
    }

    /// When something happens next if nothing more comes.
    pub(super) fn next_due(&self, gap: SpanMs) -> Option<EpochMs> {
        let mark = self.marks.get(self.stand.walked).map(|mark| mark.at);
        let timer = self.stand.now.map(|cart| cart.last + gap);
        match (mark, timer) {
            (Some(mark), Some(timer)) => Some(mark.min(timer)),
            (mark, timer) => mark.or(timer),
        }
    }

    /// True when [`Carts::settle`] has something to do.
    pub(super) fn is_due(&self, gap: SpanMs, upto: EpochMs) -> bool {
        self.marks.get(self.stand.walked).is_some_and(|mark| mark.at < upto)
            || self.stand.now.is_some_and(|cart| upto > cart.last + gap)
    }

    /// Takes in an entry, a removal or a goal that is not late; equal times keep their order
    /// of arrival. Everything the event's stamp has passed was settled before.
    pub(super) fn mark(&mut self, rules: &Rules, event: &SessionEvent, fx: &mut SessionEffects) {
        let what = match (event.goal, event.remove) {
            (true, _) => What::Goal,
            (_, true) => What::Remove,
            _ => What::Entry,
        };
        let mark = Mark { at: event.at, value: event.value, what };
        let place = self.marks.partition_point(|other| other.at <= mark.at);
        self.marks.insert(place, mark);
        fx.journal.placed(place);
        let passed = event.watermark - rules.lateness;
        if place < self.stand.walked || mark.at < passed {
            // It comes after its time: its windows are judged by its own stamp.
            (self.stand.walked, self.stand.now) = (0, self.stand.base);
            self.walk(rules.gap, passed, Some(event.watermark), fx);
            self.see_tip(rules.gap);
        } else if place + 1 == self.marks.len() {
            self.stand.tip = step(self.stand.tip, rules.gap, &mark);
        } else {
            self.see_tip(rules.gap);
        }
        while self.marks.len() > rules.marks_max {
            self.settle_first(rules.gap, fx);
        }
    }

    /// Takes in the carts of another key that turned out to be the same visitor's. What was
    /// decided of either stays; where both have a mark at one time, the own one comes first.
    pub(super) fn merge(
        &mut self,
        other: Carts,
        rules: &Rules,
        watermark: EpochMs,
        fx: &mut SessionEffects,
    ) {
        self.stand.base = match (self.stand.base, other.stand.base) {
            (Some(mut cart), Some(more)) => {
                (cart.first, cart.last) = (cart.first.min(more.first), cart.last.max(more.last));
                cart.contents.merge(&more.contents);
                Some(cart)
            }
            (mine, theirs) => mine.or(theirs),
        };
        self.stand.settled = self.stand.settled.max(other.stand.settled);
        self.marks.extend(other.marks);
        self.marks.make_contiguous().sort_by_key(|mark| mark.at);
        (self.stand.walked, self.stand.now) = (0, self.stand.base);
        self.walk(rules.gap, watermark - rules.lateness, Some(watermark), fx);
        self.see_tip(rules.gap);
        while self.marks.len() > rules.marks_max {
            self.settle_first(rules.gap, fx);
        }
    }

    /// Takes every mark before `upto` in order, then lets the timer run out.
    pub(super) fn settle(&mut self, gap: SpanMs, upto: EpochMs, fx: &mut SessionEffects) {
        self.walk(gap, upto, None, fx);
    }

    fn walk(
        &mut self,
        gap: SpanMs,
        upto: EpochMs,
        stamp: Option<EpochMs>,
        fx: &mut SessionEffects,
    ) {
        while let Some(mark) = self.marks.get(self.stand.walked).filter(|mark| mark.at < upto) {
            let mark = *mark;
            self.take(gap, mark, stamp, fx);
        }
        self.run_out(gap, upto, stamp, fx);
        if self.stand.walked == self.marks.len() {
            self.stand.tip = self.stand.now;
        }
    }

    /// The next mark happens.
    fn take(&mut self, gap: SpanMs, mark: Mark, stamp: Option<EpochMs>, fx: &mut SessionEffects) {
        self.run_out(gap, mark.at, stamp, fx);
        self.stand.walked += 1;
        let before = self.stand.now;
        self.stand.now = step(before, gap, &mark);
        match (before, mark.what) {
            (Some(cart), What::Goal) => {
                fx.endings.push(end(&cart, Outcome::Converted, mark.at, stamp));
                self.decided(mark.at, fx);
            }
            (None, What::Goal) => {
                fx.changes.stray_goals += 1;
                self.decided(mark.at, fx);
            }
            (Some(_), What::Remove) if self.stand.now.is_none() => {
                fx.changes.emptied += 1;
                self.decided(mark.at, fx);
            }
            _ => {}
        }
    }

    /// The timer runs out before `at`, unless it was restarted.
    fn run_out(
        &mut self,
        gap: SpanMs,
        at: EpochMs,
        stamp: Option<EpochMs>,
        fx: &mut SessionEffects,
    ) {
        if let Some(cart) = self.stand.now.filter(|cart| at > cart.last + gap) {
            let deadline = cart.last + gap;
            fx.endings.push(end(&cart, Outcome::Abandoned, deadline, stamp));
            self.stand.now = None;
            self.decided(deadline, fx);
        }
    }

    /// What was walked over led to an end: nothing of it is needed any more.
    fn decided(&mut self, at: EpochMs, fx: &mut SessionEffects) {
        self.marks.drain(..self.stand.walked).for_each(|mark| fx.journal.left(mark));
        (self.stand.walked, self.stand.base) = (0, None);
        self.stand.settled = self.stand.settled.max(at);
    }

    /// Settles the oldest mark, though the watermark may not have passed it.
    fn settle_first(&mut self, gap: SpanMs, fx: &mut SessionEffects) {
        fx.changes.settled_early += 1;
        if self.stand.walked == 0 {
            let Some(first) = self.marks.front().copied() else { return };
            self.take(gap, first, None, fx);
        }
        if self.stand.walked > 0
            && let Some(first) = self.marks.pop_front()
        {
            fx.journal.left(first);
            self.stand.walked -= 1;
            self.stand.base = step(self.stand.base, gap, &first);
            self.stand.settled = self.stand.settled.max(first.at);
        }
    }

    fn see_tip(&mut self, gap: SpanMs) {
        let ahead = self.marks.iter().skip(self.stand.walked);
        self.stand.tip = ahead.fold(self.stand.now, |open, mark| step(open, gap, mark));
    }
}

/// The open cart after one more mark.
fn step(open: Option<Cart>, gap: SpanMs, mark: &Mark) -> Option<Cart> {
    let open = open.filter(|cart| mark.at <= cart.last + gap);
    match (open, mark.what) {
        (_, What::Goal) => None,
        (None, What::Remove) => None,
        (Some(mut cart), What::Remove) => {
            cart.contents.remove(mark.value);
            cart.contents.has_entry().then_some(cart)
        }
        (open, What::Entry) => {
            let new = Cart { first: mark.at, last: mark.at, contents: Contents::default() };
            let mut cart = open.unwrap_or(new);
            cart.last = cart.last.max(mark.at);
            cart.contents.add(mark.value);
            Some(cart)
        }
    }
}

fn end(cart: &Cart, outcome: Outcome, at: EpochMs, stamp: Option<EpochMs>) -> Ending {
    let entries = cart.contents.entries();
    Ending {
        closes_session: false,
        cut: Cut::No,
        outcome,
        first: cart.first,
        last: cart.last,
        at,
        stamp: stamp.unwrap_or(at),
        events: entries,
        entries,
        value: cart.contents.value(),
        step: 0,
        segment: 0,
    }
}
