//! The context of a session actor: a mailbox and nothing else.
//!
//! actix's own context has room for futures that the actor spawned, for those it waits for, and
//! for handles to cancel them, inline and twice: some 500 bytes for each open session, walked
//! over at each message. A session has none of them; its timer lies in its parent's wheel.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix::dev::channel::{AddressReceiver, channel};
use actix::dev::{Envelope, EnvelopeProxy, ToEnvelope};
use actix::{
    Actor, ActorContext, ActorFuture, ActorState, Addr, AsyncContext, Handler, Message, SpawnHandle,
};
use futures_util::Stream;
use tokio::sync::oneshot;

/// Messages that wait for one actor: its parent sends one at a time, the rest are questions
/// from the web side.
const MAILBOX: usize = 16;

/// A mailbox and whether the actor was told to stop.
pub struct LeanContext<A: Actor<Context = Self>> {
    mailbox: AddressReceiver<A>,
    stopped: bool,
}

impl<A: Actor<Context = Self>> LeanContext<A> {
    /// Starts an actor on this thread's arbiter. It ends with its last address.
    pub fn start(actor: A) -> Addr<A> {
        let (sender, mailbox) = channel(MAILBOX);
        actix::spawn(Life { actor, context: LeanContext { mailbox, stopped: false } });
        Addr::new(sender)
    }
}

impl<A: Actor<Context = Self>> ActorContext for LeanContext<A> {
    fn stop(&mut self) {
        self.stopped = true;
    }

    fn terminate(&mut self) {
        self.stopped = true;
    }

    fn state(&self) -> ActorState {
        if self.stopped { ActorState::Stopped } else { ActorState::Running }
    }
}

/// # Panics
/// `spawn` and `wait`: there is no room for futures here. An actor that needs them has
/// [`actix::Context`].
impl<A: Actor<Context = Self>> AsyncContext<A> for LeanContext<A> {
    fn spawn<F: ActorFuture<A, Output = ()> + 'static>(&mut self, _: F) -> SpawnHandle {
        panic!("an actor with a lean context spawns no futures");
    }

    fn wait<F: ActorFuture<A, Output = ()> + 'static>(&mut self, _: F) {
        panic!("an actor with a lean context waits for no futures");
    }

    fn waiting(&self) -> bool {
        self.stopped
    }

    fn cancel_future(&mut self, _: SpawnHandle) -> bool {
        false
    }

    fn address(&self) -> Addr<A> {
        Addr::new(self.mailbox.sender())
    }
}

impl<A, M> ToEnvelope<A, M> for LeanContext<A>
where
    A: Actor<Context = Self> + Handler<M>,
    M: Message<Result: Send> + Send + 'static,
{
    fn pack(message: M, answer: Option<oneshot::Sender<M::Result>>) -> Envelope<A> {
        Envelope::new(message, answer)
    }
}

/// The actor's task.
struct Life<A: Actor<Context = LeanContext<A>>> {
    actor: A,
    context: LeanContext<A>,
}

impl<A: Actor<Context = LeanContext<A>>> Future for Life<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Life { actor, context } = self.get_mut();
        while !context.stopped {
            match Pin::new(&mut context.mailbox).poll_next(cx) {
                Poll::Ready(Some(mut envelope)) => envelope.handle(actor, context),
                Poll::Ready(None) => context.stopped = true,
                Poll::Pending if context.mailbox.connected() => return Poll::Pending,
                Poll::Pending => context.stopped = true,
            }
        }
        Poll::Ready(())
    }
}
