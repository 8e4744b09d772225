//! The ticket of one wave of a batch: it rides with the messages to the sessions, each leaves its
//! record and what it brought about, and when the last holder lets go the aggregator gets
//! everything in one message.
//!
//! That one object is completion and supervision: a session that was sent a message and
//! left no record in the finished ticket has died.

use std::sync::Arc;

use actix::Addr;
use parking_lot::Mutex;

use super::aggregator::Aggregator;
use super::messages::TicketDone;
use crate::domain::session::{Ending, Late, Machine, SessionEffects, SessionEvent};
use crate::domain::time::EpochMs;

/// What a wave of a batch asks of its sessions, and their answers so far.
pub struct Ticket {
    /// The batch's events by session, shared by its waves.
    pub groups: Arc<Groups>,
    /// The shard's watermark, for sessions that are to expire.
    pub watermark: EpochMs,
    answers: Mutex<Answers>,
    aggregator: Addr<Aggregator>,
}

/// A batch's events by session.
#[derive(Debug, Default)]
pub struct Groups {
    /// The events, in log order within each session.
    pub events: Vec<SessionEvent>,
    /// Index of each of them in the batch.
    pub index: Vec<u32>,
}

/// What the sessions left.
#[derive(Debug, Default)]
pub struct Answers {
    /// The sessions that answered.
    pub touched: Vec<Touched>,
    /// Their records, one after another.
    pub records: Vec<u8>,
    /// What they brought about, added up; `endings` are in `ended`.
    pub effects: SessionEffects,
    /// Sessions that ended, with the child's slot.
    pub ended: Vec<(u32, Ending)>,
    /// Events whose handling panicked: index in the batch.
    pub failed: Vec<u32>,
    /// What the one session gave up that was asked to.
    pub given: Option<Box<Machine>>,
    /// Events that came too late for their session: index in the batch, and why.
    pub late: Vec<(u32, Late)>,
}

/// One session's answer.
#[derive(Clone, Copy, Debug)]
pub struct Touched {
    /// The child's slot.
    pub slot: u32,
    /// Where its record lies in `records`; empty when nothing is open any more.
    pub record: (u32, u32),
    /// When it is to be woken next.
    pub deadline: EpochMs,
    /// Up to where its sessions have been closed.
    pub floor: EpochMs,
    /// First event of the oldest open one; `MAX` when none is.
    pub first: EpochMs,
    /// Something open holds an entry.
    pub has_entry: bool,
}

impl Answers {
    fn clear(&mut self) {
        self.touched.clear();
        self.records.clear();
        self.effects.clear();
        self.ended.clear();
        self.failed.clear();
        self.late.clear();
        self.given = None;
    }
}

impl Ticket {
    /// A ticket for a wave. `spare` is the space of an earlier one, used again: fresh memory
    /// for every batch costs a fifth of the event path.
    pub fn new(
        groups: Arc<Groups>,
        watermark: EpochMs,
        mut spare: Answers,
        aggregator: Addr<Aggregator>,
    ) -> Arc<Ticket> {
        spare.clear();
        Arc::new(Ticket { groups, watermark, answers: Mutex::new(spare), aggregator })
    }

    /// Lets one session leave its answer.
    pub fn answer(&self, leave: impl FnOnce(&mut Answers)) {
        leave(&mut self.answers.lock());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let answers = std::mem::take(self.answers.get_mut());
        // Refused only when the aggregator is gone, and then nobody waits for it.
        let _ = self.aggregator.try_send(TicketDone { answers });
    }
}
