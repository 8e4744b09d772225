//! One actor per user session: a mailbox around `domain::session::Machine`.
//!
//! Its 30-minute timer is an entry in the shard's timing wheel, on event time; the
//! aggregator delivers `Expire`. The actor of an ended session is used again for another
//! key, which saves starting one for each session.
//!
//! A panic while an event is handled costs that event: the machine goes back to what it
//! was before the message and the other events of the message are applied one by one.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use actix::{Actor, Addr, Handler};

use super::lean_context::LeanContext;
use super::messages::{Apply, Begin, Describe, Displace, Expire, GiveUp, TakeOver};
use super::ticket::{Answers, Touched};
use crate::domain::session::{
    Late, Machine, Rules, Segments, SessionEffects, SessionEvent, SessionView,
};
use crate::domain::time::{BEGINNING, EpochMs};

/// What the sessions of a shard share. They live on one thread.
pub struct ShardContext {
    /// The rules.
    pub rules: std::sync::Arc<Rules>,
    /// Texts of segments.
    pub segments: RefCell<Segments>,
    /// The shard's watermark, for views.
    pub watermark: Cell<EpochMs>,
    scratch: RefCell<SessionEffects>,
}

impl ShardContext {
    /// A context for one shard.
    pub fn new(rules: std::sync::Arc<Rules>) -> Rc<Self> {
        Rc::new(ShardContext {
            rules,
            segments: RefCell::default(),
            watermark: Cell::new(BEGINNING),
            scratch: RefCell::default(),
        })
    }
}

/// The actor of one session.
pub struct Session {
    machine: Machine,
    shard: Rc<ShardContext>,
}

impl Session {
    /// A session with nothing open, or restored from its record.
    pub fn new(shard: Rc<ShardContext>, machine: Machine) -> Self {
        Session { machine, shard }
    }

    /// Starts its actor on this thread's arbiter.
    pub fn start(self) -> Addr<Session> {
        LeanContext::start(self)
    }

    /// Applies events; those that panic are named in the answer and cost only themselves.
    fn apply(&mut self, events: &[SessionEvent], fx: &mut SessionEffects) -> Refused {
        let before = self.machine.clone();
        let shard = Rc::clone(&self.shard);
        let machine = &mut self.machine;
        let mut refused = Refused::default();
        let all = catch_unwind(AssertUnwindSafe(|| {
            for (index, event) in events.iter().enumerate() {
                if let Err(late) = apply_one(machine, &shard.rules, event, fx) {
                    refused.late.push((index, late));
                }
            }
        }));
        if all.is_ok() {
            return refused;
        }
        self.machine = before;
        fx.clear();
        refused.late.clear();
        for (index, event) in events.iter().enumerate() {
            match self.apply_guarded(event, fx) {
                None => refused.failed.push(index),
                Some(Err(late)) => refused.late.push((index, late)),
                Some(Ok(())) => {}
            }
        }
        refused
    }

    /// `None` when it panicked.
    fn apply_guarded(
        &mut self,
        event: &SessionEvent,
        fx: &mut SessionEffects,
    ) -> Option<Result<(), Late>> {
        let (before, fx_before) = (self.machine.clone(), fx.clone());
        let shard = Rc::clone(&self.shard);
        let machine = &mut self.machine;
        let done = catch_unwind(AssertUnwindSafe(|| apply_one(machine, &shard.rules, event, fx)));
        if done.is_err() {
            self.machine = before;
            *fx = fx_before;
        }
        done.ok()
    }

    /// Leaves record, effects and deadline in the ticket.
    fn leave(&mut self, answers: &mut Answers, slot: u32, fx: &mut SessionEffects) {
        let start = answers.records.len() as u32;
        let (floor, has_entry) = (self.machine.floor(), self.machine.has_entry());
        let first = self.machine.first();
        let mut deadline = EpochMs::MAX;
        match self.machine.next_deadline(&self.shard.rules) {
            Some(next) => {
                deadline = next;
                self.machine.encode(&self.shard.segments.borrow(), &mut answers.records);
            }
            // The next key that gets this actor knows nothing of this one.
            None => self.machine = Machine::default(),
        }
        let record = (start, answers.records.len() as u32 - start);
        answers.touched.push(Touched { slot, record, deadline, floor, first, has_entry });
        answers.effects.add_gauges(fx);
        answers.ended.extend(fx.endings.drain(..).map(|ending| (slot, ending)));
    }
}

/// Events of a message that did not count: their index in it.
#[derive(Default)]
struct Refused {
    failed: Vec<usize>,
    late: Vec<(usize, Late)>,
}

fn apply_one(
    machine: &mut Machine,
    rules: &Rules,
    event: &SessionEvent,
    fx: &mut SessionEffects,
) -> Result<(), Late> {
    fail::fail_point!("session_apply", is_worth(event, 666), |_| panic!("injected panic"));
    machine.apply(rules, event, fx)
}

/// Which event a fail point takes.
#[cfg(feature = "failpoints")]
fn is_worth(event: &SessionEvent, value: i64) -> bool {
    event.value == Some(crate::domain::number::Amount::from_i64(value))
}

impl Actor for Session {
    type Context = LeanContext<Self>;
}

impl Handler<Apply> for Session {
    type Result = ();

    fn handle(&mut self, message: Apply, _: &mut LeanContext<Self>) {
        let Apply { ticket, start, len, slot } = message;
        let range = start as usize..(start + len) as usize;
        let events = &ticket.groups.events[range.clone()];
        fail::fail_point!("session_die", is_worth(&events[0], 667), |_| panic!("injected"));
        let shard = Rc::clone(&self.shard);
        let fx = &mut *shard.scratch.borrow_mut();
        fx.clear();
        let refused = self.apply(events, fx);
        ticket.answer(|answers| {
            let index = &ticket.groups.index[range];
            answers.failed.extend(refused.failed.into_iter().map(|position| index[position]));
            let late = refused.late.into_iter().map(|(position, why)| (index[position], why));
            answers.late.extend(late);
            self.leave(answers, slot, fx);
        });
    }
}

impl Handler<Expire> for Session {
    type Result = ();

    fn handle(&mut self, message: Expire, _: &mut LeanContext<Self>) {
        let Expire { ticket, slot } = message;
        let shard = Rc::clone(&self.shard);
        let fx = &mut *shard.scratch.borrow_mut();
        fx.clear();
        self.machine.expire(&shard.rules, ticket.watermark, fx);
        ticket.answer(|answers| self.leave(answers, slot, fx));
    }
}

impl Handler<Displace> for Session {
    type Result = ();

    fn handle(&mut self, message: Displace, _: &mut LeanContext<Self>) {
        let Displace { ticket, slot, watermark } = message;
        let shard = Rc::clone(&self.shard);
        let fx = &mut *shard.scratch.borrow_mut();
        fx.clear();
        self.machine.displace(&shard.rules, watermark, fx);
        ticket.answer(|answers| self.leave(answers, slot, fx));
    }
}

impl Handler<GiveUp> for Session {
    type Result = ();

    fn handle(&mut self, message: GiveUp, _: &mut LeanContext<Self>) {
        let GiveUp { ticket, slot, watermark } = message;
        let shard = Rc::clone(&self.shard);
        let fx = &mut *shard.scratch.borrow_mut();
        fx.clear();
        let given = self.machine.give_up(&shard.rules, watermark, fx);
        ticket.answer(|answers| {
            answers.given = Some(Box::new(given));
            self.leave(answers, slot, fx);
        });
    }
}

impl Handler<TakeOver> for Session {
    type Result = ();

    fn handle(&mut self, message: TakeOver, _: &mut LeanContext<Self>) {
        let TakeOver { ticket, slot, watermark, given } = message;
        let shard = Rc::clone(&self.shard);
        let fx = &mut *shard.scratch.borrow_mut();
        fx.clear();
        self.machine.take_over(&shard.rules, *given, watermark, fx);
        ticket.answer(|answers| self.leave(answers, slot, fx));
    }
}

impl Handler<Begin> for Session {
    type Result = ();

    fn handle(&mut self, message: Begin, _: &mut LeanContext<Self>) {
        // The machine holds nothing: its actor waited to be used again.
        self.machine = Machine::after(message.floor);
    }
}

impl Handler<Describe> for Session {
    type Result = Option<SessionView>;

    fn handle(&mut self, message: Describe, _: &mut LeanContext<Self>) -> Self::Result {
        let shard = &self.shard;
        let segments = shard.segments.borrow();
        (!self.machine.is_empty()).then(|| {
            self.machine.view(&message.key, &shard.rules, &segments, shard.watermark.get())
        })
    }
}
