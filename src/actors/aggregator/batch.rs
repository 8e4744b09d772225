//! A batch on its way through its sessions: judged, grouped by key, sent in waves, folded.

use std::sync::Arc;

use actix::{AsyncContext as _, Context};
use tokio::sync::OwnedSemaphorePermit;

use super::super::children::AHEAD;
use super::super::facts::EventFact;
use super::super::messages::Apply;
use super::super::ticket::{Groups, Ticket};
use super::{Aggregator, Busy, WAVE};
use crate::domain::commit::LateEvent;
use crate::domain::event::{DeadLetter, Event, EventBatch};
use crate::domain::fault::{Fault, uses};
use crate::domain::metric::{Fact as _, FactKind};
use crate::domain::number::Amount;
use crate::domain::seen::Sight;
use crate::domain::session::{SessionEvent, is_late};
use crate::telemetry::happenings::SessionPanicked;

/// One session's share of the batch at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    slot: u32,
    /// How many events.
    num: u32,
    /// Where the next of them goes in the ticket; their end when all are placed.
    next: u32,
}

/// The turn of an event that concerns no session.
const NO_TURN: u32 = u32::MAX;

/// A batch on its way through its sessions.
pub(super) struct BatchWork {
    batch: EventBatch,
    place: OwnedSemaphorePermit,
    fates: Vec<Fate>,
    pub(super) touched: Vec<Share>,
    /// How many of `touched` were sent their events.
    pub(super) sent: usize,
    /// Events whose handling panicked: index in the batch.
    pub(super) failed: Vec<u32>,
    groups: Arc<Groups>,
}

/// What became of an event of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Applied,
    Duplicate,
    Late,
    Failed,
    /// It would open a session and there is no room for one.
    Refused,
}

impl Aggregator {
    pub(super) fn start_batch(
        &mut self,
        batch: EventBatch,
        place: OwnedSemaphorePermit,
        ctx: &mut Context<Self>,
    ) {
        fail::fail_point!("aggregator_batch");
        let mut fates = std::mem::take(&mut self.spare.fates);
        let mut turns = std::mem::take(&mut self.spare.turns);
        let mut touched = std::mem::take(&mut self.spare.touched);
        fates.clear();
        turns.clear();
        touched.clear();
        self.batches = self.batches.wrapping_add(1);
        for events in batch.events.chunks(AHEAD) {
            let known = self.look_ahead(&batch, events);
            for (event, known) in events.iter().zip(known) {
                let mut fate = self.judge(event);
                let mut turn = NO_TURN;
                if fate == Fate::Applied && event.key.len > 0 {
                    let key = batch.text(event.key);
                    match self.turn(key, event.key_hash, known, &mut touched) {
                        Some(its) => turn = its,
                        None => fate = Fate::Refused,
                    }
                }
                fates.push(fate);
                turns.push(turn);
            }
        }
        let groups = Arc::new(self.group(&batch, &turns, &mut touched));
        self.spare.turns = turns;
        let work = BatchWork { batch, place, fates, touched, sent: 0, failed: Vec::new(), groups };
        self.busy = Some(Busy::Batch(work));
        self.send_wave(ctx);
    }

    /// The slots of the next events' keys, where they have one, with what handling them will
    /// touch brought near.
    fn look_ahead(&self, batch: &EventBatch, events: &[Event]) -> [Option<u32>; AHEAD] {
        let mut slots = [None; AHEAD];
        for (slot, event) in slots.iter_mut().zip(events) {
            *slot = self.children.guess(event.key_hash);
        }
        for event in events {
            std::hint::black_box(self.seen.contains(event.identity));
        }
        for (slot, event) in slots.iter_mut().zip(events) {
            *slot = slot.filter(|slot| self.children.has_key(*slot, batch.text(event.key)));
        }
        slots
    }

    /// Sends the next sessions of the batch their events.
    pub(super) fn send_wave(&mut self, ctx: &mut Context<Self>) {
        let Some(Busy::Batch(work)) = &mut self.busy else { return };
        let spare = std::mem::take(&mut self.spare.answers);
        let watermark = self.context.watermark.get();
        let ticket = Ticket::new(Arc::clone(&work.groups), watermark, spare, ctx.address());
        let wave = &work.touched[work.sent..(work.sent + WAVE).min(work.touched.len())];
        work.sent += wave.len();
        self.dispatched = wave.len();
        for shares in wave.chunks(AHEAD) {
            self.children.look_at(shares.iter().map(|share| share.slot));
            for share in shares {
                let Share { slot, num: len, next } = *share;
                let message = Apply { ticket: Arc::clone(&ticket), start: next - len, len, slot };
                self.children.get(slot).tell(message);
            }
        }
    }

    /// The place of a key's session among those that the batch touches.
    /// `None` when the key is new and there is no room for another session.
    fn turn(
        &mut self,
        key: &[u8],
        key_hash: u64,
        known: Option<u32>,
        touched: &mut Vec<Share>,
    ) -> Option<u32> {
        let slot = self.children.slot_of(key, key_hash, known)?;
        let child = self.children.get(slot);
        if child.turn.0 != self.batches {
            child.turn = (self.batches, touched.len() as u32);
            touched.push(Share { slot, num: 0, next: 0 });
        }
        let turn = child.turn.1;
        touched[turn as usize].num += 1;
        Some(turn)
    }

    /// Late and duplicate events end here; the rest counts.
    fn judge(&mut self, event: &Event) -> Fate {
        if is_late(&self.parts.rules, event.at, event.watermark) {
            return Fate::Late;
        }
        if event.identity.is_none() {
            self.delta.ledger.without_id += 1;
            return Fate::Applied;
        }
        match self.seen.insert(event.identity, event.at, event.watermark) {
            Sight::New => Fate::Applied,
            Sight::Known => Fate::Duplicate,
            Sight::TooOld => Fate::Late,
        }
    }

    /// The batch's events by session, in log order within each.
    fn group(&mut self, batch: &EventBatch, turns: &[u32], touched: &mut [Share]) -> Groups {
        let mut total = 0;
        for share in touched.iter_mut() {
            share.next = total;
            total += share.num;
        }
        let Groups { mut events, mut index } = std::mem::take(&mut self.spare.groups);
        // What is left of an earlier batch is overwritten: every place is filled below.
        events.resize(total as usize, SessionEvent::default());
        index.resize(total as usize, 0);
        for (position, turn) in turns.iter().enumerate().filter(|(_, turn)| **turn != NO_TURN) {
            let share = &mut touched[*turn as usize];
            let place = share.next as usize;
            share.next += 1;
            events[place] = self.session_event(batch, position);
            index[place] = position as u32;
        }
        Groups { events, index }
    }

    fn session_event(&mut self, batch: &EventBatch, position: usize) -> SessionEvent {
        let event = &batch.events[position];
        let rules = &self.parts.rules;
        let meaning = rules.meaning(event.kind);
        let fact = EventFact { batch, position, event };
        let tally = &mut self.fold.tally;
        let mut value = Amount::ZERO;
        if let Some(slot) = rules.value_slot.filter(|_| meaning.entry) {
            let fault;
            (value, fault) = rules.value_of(fact.attr(slot));
            tally.concern(uses::VALUE, 1);
            fault.into_iter().for_each(|fault| tally.note(uses::VALUE, fault));
        }
        let mut segment = 0;
        if let Some(slot) = rules.segment_slot {
            tally.concern(uses::SEGMENT, 1);
            match rules.segment_of(fact.attr(slot)) {
                Ok(text) => segment = self.context.segments.borrow_mut().intern(&text),
                Err(fault) => tally.note(uses::SEGMENT, fault),
            }
        }
        SessionEvent {
            at: event.at,
            watermark: event.watermark,
            value,
            segment,
            step: meaning.step,
            counted: meaning.counted,
            entry: meaning.entry,
            goal: meaning.goal,
        }
    }

    pub(super) fn finish_batch(&mut self, work: BatchWork) {
        let BatchWork { batch, place, mut fates, touched, failed, groups, .. } = work;
        failed.iter().for_each(|position| fates[*position as usize] = Fate::Failed);
        if let Some(first) = failed.iter().min() {
            let position = batch.events[*first as usize].position;
            SessionPanicked { shard: self.parts.shard, position, events: failed.len() }.tell();
        }
        for (position, fate) in fates.iter().enumerate() {
            let event = &batch.events[position];
            match fate {
                Fate::Applied => {
                    self.delta.ledger.applied += 1;
                    self.fold.tally.concern(uses::KEY, 1);
                    if event.key.len == 0 {
                        self.fold.tally.note(uses::KEY, Fault::Absent);
                    }
                    let fact = EventFact { batch: &batch, position, event };
                    self.fold.add(FactKind::Events, &fact, event.watermark);
                }
                Fate::Duplicate => self.delta.ledger.duplicate += 1,
                Fate::Late => {
                    self.delta.ledger.late += 1;
                    self.delta.late.push(late(&batch, event));
                }
                Fate::Failed => {
                    let reason = "handling this event failed (panic in the session)";
                    self.reject(&batch, event, reason.into());
                }
                Fate::Refused => {
                    self.delta.sessions_refused += 1;
                    let reason = format!(
                        "no room for another session: {} keys have one on this shard \
                         (pipeline.sessions_max over {} shards)",
                        self.parts.keys_max, self.parts.shards
                    );
                    self.reject(&batch, event, reason);
                }
            }
        }
        self.spare.fates = fates;
        self.spare.touched = touched;
        self.spare.groups = Arc::into_inner(groups).unwrap_or_default();
        self.parts.pool.put(batch);
        drop(place);
    }

    /// An event that was to count ends in the dead letters; redriven, it may count.
    fn reject(&mut self, batch: &EventBatch, event: &Event, reason: String) {
        match event.identity.is_none() {
            true => self.delta.ledger.without_id -= 1,
            false => self.seen.take_back(event.identity, event.at),
        }
        self.delta.ledger.rejected += 1;
        let raw = batch.text(event.raw).to_vec();
        self.delta.dead_letters.push(DeadLetter {
            source: batch.source,
            position: event.position,
            reason,
            raw,
            hints: batch.hints(event),
        });
    }
}

fn late(batch: &EventBatch, event: &Event) -> LateEvent {
    LateEvent {
        source: batch.source,
        position: event.position,
        at: event.at,
        behind_ms: event.watermark - event.at,
        key: String::from_utf8_lossy(batch.text(event.key)).into_owned(),
        raw: String::from_utf8_lossy(batch.text(event.raw)).into_owned(),
    }
}
