//! One actor per user session: handlers around `domain::session::Machine`.
//!
//! Its parent, the shard's aggregator, runs its turns in place and lends it the context
//! ([`Turn`]). Its 30-minute timer is an entry in the shard's timing wheel, on event time; its
//! parent delivers `Expire`. Whoever else wants to ask it something gets its address from there.

use actix::{Actor, Handler, MessageResult};

use super::messages::{Apply, Describe, Displace, Expire, GiveUp, TakeOver};
use super::turn::Turn;
use crate::domain::keyed::KeyedMachine as _;
use crate::domain::session::{Late, Machine, SessionView};

/// The actor of one key's sessions. No larger than its machine.
pub struct Session<M = Machine>(M);

impl<M> Session<M> {
    /// The actor around a machine.
    pub fn of(machine: M) -> Self {
        Session(machine)
    }

    /// Its state.
    pub fn machine(&self) -> &M {
        &self.0
    }

    pub(super) fn machine_mut(&mut self) -> &mut M {
        &mut self.0
    }
}

impl Actor for Session {
    type Context = Turn;
}

impl Handler<Apply<'_>> for Session {
    type Result = Result<(), Late>;

    #[inline]
    fn handle(&mut self, Apply { event }: Apply<'_>, turn: &mut Turn) -> Self::Result {
        fail::fail_point!("session_apply", is_worth(event, 666), |_| panic!("injected panic"));
        self.0.apply(&turn.rules, event, &mut turn.fx)
    }
}

/// Which event a fail point takes.
#[cfg(feature = "failpoints")]
pub(super) fn is_worth(event: &crate::domain::session::SessionEvent, value: i64) -> bool {
    event.value == Some(crate::domain::number::Amount::from_i64(value))
}

impl Handler<Expire> for Session {
    type Result = ();

    fn handle(&mut self, Expire { watermark }: Expire, turn: &mut Turn) {
        self.0.expire(&turn.rules, watermark, &mut turn.fx);
    }
}

impl Handler<Displace> for Session {
    type Result = ();

    fn handle(&mut self, Displace { watermark }: Displace, turn: &mut Turn) {
        self.0.displace(&turn.rules, watermark, &mut turn.fx);
    }
}

impl Handler<GiveUp> for Session {
    type Result = MessageResult<GiveUp>;

    fn handle(&mut self, GiveUp { watermark }: GiveUp, turn: &mut Turn) -> Self::Result {
        MessageResult(self.0.give_up(&turn.rules, watermark, &mut turn.fx))
    }
}

impl Handler<TakeOver> for Session {
    type Result = ();

    fn handle(&mut self, TakeOver { given, watermark }: TakeOver, turn: &mut Turn) {
        self.0.take_over(&turn.rules, given, watermark, &mut turn.fx);
    }
}

impl Handler<Describe> for Session {
    type Result = Option<SessionView>;

    fn handle(&mut self, Describe { key }: Describe, turn: &mut Turn) -> Self::Result {
        fail::fail_point!("session_describe", |_| panic!("injected panic"));
        let view = || self.0.view(&key, &turn.rules, &turn.segments, turn.watermark);
        (!self.0.is_empty()).then(view)
    }
}
