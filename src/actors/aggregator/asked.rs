//! Sessions that are asked by others than their parent: each has a mailbox for as long as
//! somebody holds its address.

use std::pin::Pin;
use std::task::{self, Poll};

use actix::dev::EnvelopeProxy as _;
use actix::dev::channel::AddressReceiver;
use actix::{ActorFuture, Addr, AsyncContext as _, Context, Handler, MessageResult};
use futures_util::Stream as _;

use super::Aggregator;
use crate::actors::children::Children;
use crate::actors::messages::{AreOpen, DescribeKinds, Find, LookAtKinds, LookAtRisk};
use crate::actors::session::Session;
use crate::actors::turn::{Turn, mailbox};
use crate::domain::at_risk::AtRisk;
use crate::domain::hash::key_hash;
use crate::telemetry::happenings::QuestionPanicked;

/// Questions that are answered before the log goes on.
const AT_ONCE: usize = 64;

/// The mailboxes, each with the slot of its session. Whoever asks is bounded in number, and so
/// are these.
#[derive(Default)]
pub(super) struct Mailboxes {
    open: Vec<(u32, AddressReceiver<Session>)>,
    served: bool,
}

impl Mailboxes {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The session in a slot ended: whoever asks it hears that nobody is there.
    pub(super) fn close(&mut self, slot: u32) {
        self.open.retain(|(other, _)| *other != slot);
    }

    fn address(&mut self, slot: u32) -> Addr<Session> {
        if let Some((_, mailbox)) = self.open.iter().find(|(other, _)| *other == slot) {
            return Addr::new(mailbox.sender());
        }
        let (address, mailbox) = mailbox();
        self.open.push((slot, mailbox));
        address
    }

    /// Lets each session that is asked answer, in bounded time, and closes the mailboxes that
    /// nobody has the address of any more.
    pub(super) fn serve(
        &mut self,
        children: &mut Children,
        turn: &mut Turn,
        shard: u16,
        cx: &mut task::Context<'_>,
    ) {
        let mut answered = 0;
        self.open.retain_mut(|(slot, mailbox)| {
            let child = children.get(*slot);
            while answered < AT_ONCE {
                match Pin::new(&mut *mailbox).poll_next(cx) {
                    Poll::Ready(Some(mut envelope)) => {
                        answered += 1;
                        let session = &mut child.session;
                        let done =
                            turn.guarded(session, |session, turn| envelope.handle(session, turn));
                        if done.is_none() {
                            QuestionPanicked { shard }.tell();
                        }
                    }
                    Poll::Pending if mailbox.connected() => return true,
                    Poll::Pending | Poll::Ready(None) => {
                        child.asked = false;
                        return false;
                    }
                }
            }
            true
        });
        if answered == AT_ONCE {
            cx.waker().wake_by_ref();
        }
    }
}

/// Serves the mailboxes whenever the aggregator's task runs, until there are none.
struct Serve;

impl ActorFuture<Aggregator> for Serve {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        aggregator: &mut Aggregator,
        _: &mut Context<Aggregator>,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        aggregator.serve(cx);
        aggregator.mailboxes.served = aggregator.mailboxes.len() > 0;
        if aggregator.mailboxes.served { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Handler<Find> for Aggregator {
    type Result = Option<Addr<Session>>;

    fn handle(
        &mut self,
        Find { key, permit: _permit }: Find,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        let hash = key_hash(self.parts.seed, key.as_bytes());
        let slot = self.children.find(key.as_bytes(), hash, None)?;
        self.children.get(slot).asked = true;
        if !std::mem::replace(&mut self.mailboxes.served, true) {
            ctx.spawn(Serve);
        }
        Some(self.mailboxes.address(slot))
    }
}

impl Handler<AreOpen> for Aggregator {
    type Result = Vec<String>;

    fn handle(
        &mut self,
        AreOpen { mut keys, permit: _permit }: AreOpen,
        _: &mut Context<Self>,
    ) -> Self::Result {
        keys.retain(|key| {
            let hash = key_hash(self.parts.seed, key.as_bytes());
            self.children.find(key.as_bytes(), hash, None).is_some()
        });
        keys
    }
}

impl Handler<LookAtRisk> for Aggregator {
    type Result = MessageResult<LookAtRisk>;

    /// A walk over all open sessions, between two batches: who asks sees to it that it is seldom
    /// (`directory`).
    fn handle(
        &mut self,
        LookAtRisk { most, permit: _permit }: LookAtRisk,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let (children, turn) = (&self.children, &self.turn);
        let open = children.iter().map(|child| (child.key.as_str(), child.session.machine()));
        MessageResult(AtRisk::of(open, &turn.rules, &turn.segments, turn.watermark, most))
    }
}

impl Handler<LookAtKinds> for Aggregator {
    type Result = MessageResult<LookAtKinds>;

    /// As of [`LookAtRisk`].
    fn handle(
        &mut self,
        LookAtKinds { most, permit: _permit }: LookAtKinds,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let watermark = self.turn.watermark;
        let kinds = self.patterns.as_ref().map(|patterns| patterns.at_risk(watermark, most));
        MessageResult(kinds.unwrap_or_default())
    }
}

impl Handler<DescribeKinds> for Aggregator {
    type Result = MessageResult<DescribeKinds>;

    fn handle(
        &mut self,
        DescribeKinds { key, permit: _permit }: DescribeKinds,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let watermark = self.turn.watermark;
        let kinds = self.patterns.as_mut().map(|patterns| patterns.describe(&key, watermark));
        MessageResult((watermark, kinds.unwrap_or_default()))
    }
}
