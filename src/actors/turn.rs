//! The context of a session actor: what its parent lends it for one turn.
//!
//! actix gives every actor a task and a context of its own. A session needs neither: its state
//! lies in a slab of its shard, and its parent runs its turns in place, one after another in the
//! order of the log. So there is one context for all sessions of a shard, and what only a
//! session that is being asked needs (a mailbox) is made when somebody asks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::dev::channel::{AddressReceiver, channel};
use actix::dev::{Envelope, ToEnvelope};
use actix::{ActorContext, ActorFuture, ActorState, Addr, AsyncContext, SpawnHandle};
use tokio::sync::oneshot;

use super::messages::Describe;
use super::session::Session;
use crate::domain::session::{Rules, Segments, SessionEffects, SessionView, Undo};
use crate::domain::time::{BEGINNING, EpochMs};

/// What the sessions of a shard share.
pub struct Turn {
    /// The rules.
    pub rules: Arc<Rules>,
    /// Texts of segments.
    pub segments: Segments,
    /// The shard's watermark, for views.
    pub watermark: EpochMs,
    /// What the turns brought about.
    pub fx: SessionEffects,
    undo: Undo,
}

impl Turn {
    /// A context for one shard.
    pub fn new(rules: Arc<Rules>) -> Self {
        Turn {
            rules,
            segments: Segments::default(),
            watermark: BEGINNING,
            fx: SessionEffects::default(),
            undo: Undo::default(),
        }
    }

    /// Lets a session handle one message. When that panics, the session and `fx` are what they
    /// were before, and the answer is `None`.
    #[inline]
    pub fn guarded<R>(
        &mut self,
        session: &mut Session,
        handle: impl FnOnce(&mut Session, &mut Turn) -> R,
    ) -> Option<R> {
        self.undo.note(session.machine(), &mut self.fx);
        match catch_unwind(AssertUnwindSafe(|| handle(session, self))) {
            Ok(answer) => {
                self.undo.done(&mut self.fx);
                Some(answer)
            }
            Err(_) => {
                self.undo.restore(session.machine_mut(), &mut self.fx);
                None
            }
        }
    }
}

impl ActorContext for Turn {
    /// A session ends when nothing of it is open any more, and never by itself.
    fn stop(&mut self) {}

    fn terminate(&mut self) {}

    fn state(&self) -> ActorState {
        ActorState::Running
    }
}

/// # Panics
/// `spawn` and `wait`: a turn is over when its message is handled. An actor that needs futures
/// has [`actix::Context`].
impl AsyncContext<Session> for Turn {
    fn spawn<F: ActorFuture<Session, Output = ()> + 'static>(&mut self, _: F) -> SpawnHandle {
        panic!("a session spawns no futures");
    }

    fn wait<F: ActorFuture<Session, Output = ()> + 'static>(&mut self, _: F) {
        panic!("a session waits for no futures");
    }

    fn waiting(&self) -> bool {
        false
    }

    fn cancel_future(&mut self, _: SpawnHandle) -> bool {
        false
    }

    /// An address at which nobody hears: a session has a mailbox only for those who asked for
    /// its address, see [`mailbox`].
    fn address(&self) -> Addr<Session> {
        Addr::new(channel(1).0)
    }
}

/// Questions are all that can be sent to a session's address; what changes it goes through its
/// parent.
impl ToEnvelope<Session, Describe> for Turn {
    fn pack(
        message: Describe,
        answer: Option<oneshot::Sender<Option<SessionView>>>,
    ) -> Envelope<Session> {
        Envelope::new(message, answer)
    }
}

/// Questions that wait for one session: each of those who have its address asks one at a time.
const QUESTIONS: usize = 16;

/// A mailbox for a session, to be looked into by its parent.
pub fn mailbox() -> (Addr<Session>, AddressReceiver<Session>) {
    let (sender, mailbox) = channel(QUESTIONS);
    (Addr::new(sender), mailbox)
}

#[cfg(test)]
mod tests {
    use actix::{Handler as _, MailboxError};

    use super::*;
    use crate::actors::messages::Apply;
    use crate::domain::event::Schema;
    use crate::domain::keyed::KeyedMachine as _;
    use crate::domain::session::Machine;
    use crate::domain::session::{SessionEvent, SessionPolicy};
    use crate::domain::time::TimePolicy;

    fn turn() -> Turn {
        let (policy, time) = (SessionPolicy::default(), TimePolicy::default());
        Turn::new(Arc::new(Rules::compile(&policy, &time, &Schema::default())))
    }

    #[test]
    fn a_turn_that_panics_has_not_been() {
        let (mut turn, mut session) = (turn(), Session::of(Machine::after(BEGINNING)));
        let event = |at| SessionEvent { at, watermark: at, entry: true, ..Default::default() };
        let first = event(0);
        turn.guarded(&mut session, |session, turn| session.handle(Apply { event: &first }, turn))
            .expect("no panic")
            .expect("it is not late");
        let (machine, fx) = (session.machine().clone(), turn.fx.clone());
        // Far later, so that the first session ends in it too.
        let second = event(1 << 40);
        let done = turn.guarded(&mut session, |session, turn| {
            session.handle(Apply { event: &second }, turn).expect("it is not late");
            assert!(session.machine() != &machine && turn.fx.endings.len() == 1);
            panic!("in the middle of a turn");
        });
        assert!(done.is_none());
        assert!(session.machine() == &machine && turn.fx == fx);
    }

    #[actix_web::test]
    async fn who_asks_a_session_that_is_over_hears_that_nobody_is_there() {
        let (address, mailbox) = mailbox();
        let question = address.send(Describe { key: "a".into() });
        drop(mailbox);
        assert!(matches!(question.await, Err(MailboxError::Closed)));
        assert!(!turn().address().connected());
    }
}
