//! Taking back what one event did to a machine.
//!
//! A panic while an event is handled costs that event alone, so the machine must be what it was
//! before it. What is small is copied beforehand; the marks of carts, of which there may be a
//! thousand, are not: what happens to them is written down instead.

use smallvec::SmallVec;

use super::carts::{Carts, Mark, Stand};
use super::effects::{Changes, SessionEffects};
use super::machine::Machine;
use super::state::State;
use crate::time::{BEGINNING, EpochMs};

/// What a machine and its effects were before an event. Used again for the next one: it takes
/// no memory in the steady state.
#[derive(Debug)]
pub struct Undo {
    sessions: SmallVec<[State; 1]>,
    floor: EpochMs,
    carts: Option<Stand>,
    endings: usize,
    changes: Changes,
}

impl Default for Undo {
    fn default() -> Self {
        Undo {
            sessions: SmallVec::new(),
            floor: BEGINNING,
            carts: None,
            endings: 0,
            changes: Changes::default(),
        }
    }
}

impl Undo {
    /// Notes how things stand. From now on, and until [`Undo::restore`] or [`Undo::done`], every
    /// change of carts is written down in the effects.
    pub fn note(&mut self, machine: &Machine, fx: &mut SessionEffects) {
        match (&mut self.sessions[..], &machine.sessions[..]) {
            // As a rule: of a length that is known, so that it takes no call.
            ([kept], [open]) => *kept = *open,
            (_, open) => {
                self.sessions.clear();
                self.sessions.extend_from_slice(open);
            }
        }
        self.floor = machine.floor;
        self.carts = machine.carts.as_ref().map(|carts| carts.stand);
        self.endings = fx.endings.len();
        self.changes = fx.changes;
        fx.journal.begin();
    }

    /// What happened since [`Undo::note`] stays.
    pub fn done(&mut self, fx: &mut SessionEffects) {
        fx.journal.end();
    }

    /// Nothing has happened since [`Undo::note`].
    pub fn restore(&mut self, machine: &mut Machine, fx: &mut SessionEffects) {
        machine.sessions.clear();
        machine.sessions.extend_from_slice(&self.sessions);
        machine.floor = self.floor;
        fx.journal.take_back(&mut machine.carts);
        match (self.carts, &mut machine.carts) {
            (Some(stand), Some(carts)) => carts.stand = stand,
            (_, carts) => *carts = None,
        }
        fx.endings.truncate(self.endings);
        fx.changes = self.changes;
    }
}

/// What happened to carts during one event, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Journal {
    open: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A mark was put at this place.
    Placed(usize),
    /// This mark left from the front.
    Left(Mark),
    /// The carts were over.
    Forgotten(Box<Carts>),
}

impl Journal {
    fn begin(&mut self) {
        self.steps.clear();
        self.open = true;
    }

    fn end(&mut self) {
        self.steps.clear();
        self.open = false;
    }

    pub fn placed(&mut self, place: usize) {
        self.push(Step::Placed(place));
    }

    pub fn left(&mut self, mark: Mark) {
        self.push(Step::Left(mark));
    }

    pub fn forgotten(&mut self, carts: Box<Carts>) {
        self.push(Step::Forgotten(carts));
    }

    fn push(&mut self, step: Step) {
        if self.open {
            self.steps.push(step);
        }
    }

    /// The last step first.
    fn take_back(&mut self, carts: &mut Option<Box<Carts>>) {
        self.open = false;
        while let Some(step) = self.steps.pop() {
            match (step, carts.as_deref_mut()) {
                (Step::Forgotten(former), _) => *carts = Some(former),
                (Step::Placed(place), Some(carts)) => drop(carts.marks.remove(place)),
                (Step::Left(mark), Some(carts)) => carts.marks.push_front(mark),
                // Carts that came into being with this very event.
                (_, None) => {}
            }
        }
    }
}
