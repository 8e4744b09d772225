//! A batch on its way through its sessions: judged, grouped by key, sent in waves, folded.

use std::borrow::Cow;
use std::sync::Arc;

use actix::{AsyncContext as _, Context};
use tokio::sync::OwnedSemaphorePermit;

use super::super::SessionsFull;
use super::super::children::AHEAD;
use super::super::facts::EventFact;
use super::super::messages::{Apply, Displace};
use super::super::ticket::{Groups, Ticket};
use super::identify::Moving;
use super::{Aggregator, Busy, WAVE};
use crate::domain::commit::LateEvent;
use crate::domain::event::{DeadLetter, Event, EventBatch};
use crate::domain::fault::{Fault, uses};
use crate::domain::metric::{Fact as _, FactKind};
use crate::domain::seen::Sight;
use crate::domain::session::{Late, SessionEvent, late_alone};
use crate::domain::time::EpochMs;
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
    pub(super) batch: EventBatch,
    place: OwnedSemaphorePermit,
    fates: Vec<Fate>,
    pub(super) touched: Vec<Share>,
    /// Sessions that make room for others, told before any is sent its events.
    pub(super) victims: Vec<u32>,
    /// How many of `victims` and then `touched` were sent their message.
    pub(super) sent: usize,
    /// Watermark of the batch's last event, at which victims end.
    watermark: EpochMs,
    /// Events too late for their session: index in the batch, and why.
    pub(super) late: Vec<(u32, Late)>,
    /// Events whose handling panicked: index in the batch.
    pub(super) failed: Vec<u32>,
    groups: Arc<Groups>,
    /// The batch is gone through in legs where an event makes sessions of two keys one; place of
    /// the first event of the next leg.
    pub(super) next: usize,
    /// What became of that event, if it was judged already.
    pub(super) judged: Option<Fate>,
    /// What moves before the next leg.
    pub(super) moving: Option<Moving>,
}

/// What became of an event of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Applied,
    /// Past the horizon and seen before: late, unless its session is still open.
    Repeat,
    Duplicate,
    Late,
    Failed,
    /// It would open a session and there is no room for one.
    Refused,
}

/// Why an event's key gets no session.
enum NoSession {
    Late(Late),
    Full,
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
        fates.clear();
        let watermark = batch.events.last().map_or(0, |event| event.watermark);
        let work = BatchWork {
            batch,
            place,
            fates,
            touched: std::mem::take(&mut self.spare.touched),
            victims: Vec::new(),
            sent: 0,
            watermark,
            failed: Vec::new(),
            late: Vec::new(),
            groups: Arc::default(),
            next: 0,
            judged: None,
            moving: None,
        };
        self.start_leg(Box::new(work), ctx);
    }

    /// Judges the next events of the batch, as a rule all of them, and sends them to their
    /// sessions.
    pub(super) fn start_leg(&mut self, mut work: Box<BatchWork>, ctx: &mut Context<Self>) {
        let mut turns = std::mem::take(&mut self.spare.turns);
        turns.clear();
        work.touched.clear();
        work.victims.clear();
        work.sent = 0;
        if let Some(groups) = Arc::into_inner(std::mem::take(&mut work.groups)) {
            self.spare.groups = groups;
        }
        self.batches = self.batches.wrapping_add(1);
        let from = work.next;
        match self.aliases {
            Some(_) => self.judge_identified(&mut work, &mut turns),
            None => self.judge_all(&mut work, &mut turns),
        }
        // One that the batch came to need after all stays.
        work.victims.retain(|slot| std::mem::take(&mut self.children.get(*slot).leaves));
        let BatchWork { batch, fates, touched, .. } = &mut *work;
        work.groups = Arc::new(self.group(batch, from, &turns, fates, touched));
        self.spare.turns = turns;
        self.busy = Some(Busy::Batch(work));
        self.send_wave(ctx);
    }

    fn judge_all(&mut self, work: &mut BatchWork, turns: &mut Vec<u32>) {
        let num = work.batch.events.len();
        while work.next < num {
            let chunk = work.next..(work.next + AHEAD).min(num);
            let known = self.look_ahead(&work.batch, &work.batch.events[chunk.clone()]);
            for (position, known) in chunk.clone().zip(known) {
                let event = &work.batch.events[position];
                let fate = self.judge(event, position, &mut work.late);
                self.seat(work, position, known, fate, turns);
            }
            work.next = chunk.end;
        }
    }

    /// Finds the session of a judged event.
    #[inline]
    pub(super) fn seat(
        &mut self,
        work: &mut BatchWork,
        position: usize,
        known: Option<u32>,
        mut fate: Fate,
        turns: &mut Vec<u32>,
    ) {
        let BatchWork { batch, victims, touched, late, fates, .. } = work;
        let event = &batch.events[position];
        let mut turn = NO_TURN;
        if matches!(fate, Fate::Applied | Fate::Repeat) && event.key.len > 0 {
            match self.slot(batch, event, known, victims) {
                Ok(slot) => turn = self.turn(slot, touched),
                Err(NoSession::Late(why)) => {
                    late.push((position as u32, why));
                    fate = Fate::Late;
                }
                Err(NoSession::Full) => fate = Fate::Refused,
            }
        }
        fates.push(fate);
        turns.push(turn);
    }

    /// The slots of the next events' keys, where they have one, with what handling them will
    /// touch brought near.
    fn look_ahead(&self, batch: &EventBatch, events: &[Event]) -> [Option<u32>; AHEAD] {
        let mut slots = [None; AHEAD];
        for (slot, event) in slots.iter_mut().zip(events) {
            *slot = self.children.guess(event.key_hash);
        }
        for event in events {
            std::hint::black_box(self.seen.touch(event.identity));
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
        if work.sent < work.victims.len() {
            let wave = &work.victims[work.sent..(work.sent + WAVE).min(work.victims.len())];
            work.sent += wave.len();
            self.dispatched = wave.len();
            for slot in wave {
                let (ticket, watermark) = (Arc::clone(&ticket), work.watermark);
                self.children.get(*slot).tell(Displace { ticket, slot: *slot, watermark });
            }
            return;
        }
        let sent = work.sent - work.victims.len();
        let wave = &work.touched[sent..(sent + WAVE).min(work.touched.len())];
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

    /// The slot of an event's key, opened if nothing of it is open.
    fn slot(
        &mut self,
        batch: &EventBatch,
        event: &Event,
        known: Option<u32>,
        victims: &mut Vec<u32>,
    ) -> Result<u32, NoSession> {
        let key = batch.text(event.key);
        if let Some(slot) = known.or_else(|| self.children.find(key, event.key_hash)) {
            return Ok(slot);
        }
        // Nothing is open, so this alone decides whether the event is late for its session.
        // Where something is, its actor does.
        let floor = self.closed.floor(event.key_hash);
        let late = late_alone(&self.parts.rules, floor, event.at, event.watermark);
        if let Some(late) = late {
            return Err(NoSession::Late(late));
        }
        if !self.children.has_room(key) {
            let victim = match self.parts.sessions_full {
                SessionsFull::Refuse => None,
                SessionsFull::Displace => self.children.worth_least(self.batches),
            };
            victims.push(victim.ok_or(NoSession::Full)?);
        }
        Ok(self.children.open(key, event.key_hash, floor))
    }

    /// The place of a session among those that the batch touches.
    fn turn(&mut self, slot: u32, touched: &mut Vec<Share>) -> u32 {
        let child = self.children.get(slot);
        if child.turn.0 != self.batches {
            child.turn = (self.batches, touched.len() as u32);
            child.leaves = false;
            touched.push(Share { slot, num: 0, next: 0 });
        }
        let turn = child.turn.1;
        touched[turn as usize].num += 1;
        turn
    }

    /// Duplicates end here; the rest counts, unless its session says that it is late. An id
    /// past the horizon is a repeat or not only as far as ids of open sessions are kept on.
    pub(super) fn judge(
        &mut self,
        event: &Event,
        position: usize,
        late: &mut Vec<(u32, Late)>,
    ) -> Fate {
        if event.identity.is_none() {
            return Fate::Applied;
        }
        match self.seen.insert(event.identity, event.at, event.watermark) {
            Sight::New => return Fate::Applied,
            Sight::Known => return Fate::Duplicate,
            Sight::TooOld if event.key.len == 0 => {}
            Sight::TooOld => {
                match self.seen.insert_old(event.identity, event.at, event.watermark) {
                    Sight::New => return Fate::Applied,
                    Sight::Known => return Fate::Repeat,
                    Sight::TooOld => {}
                }
            }
        }
        late.push((position as u32, Late::Forgotten));
        Fate::Late
    }

    /// The leg's events by session, in log order within each; it starts at `from`.
    fn group(
        &mut self,
        batch: &EventBatch,
        from: usize,
        turns: &[u32],
        fates: &[Fate],
        touched: &mut [Share],
    ) -> Groups {
        let mut total = 0;
        for share in touched.iter_mut() {
            share.next = total;
            total += share.num;
        }
        let Groups { mut events, mut index } = std::mem::take(&mut self.spare.groups);
        // What is left of an earlier batch is overwritten: every place is filled below.
        events.resize(total as usize, SessionEvent::default());
        index.resize(total as usize, 0);
        let turns = turns.iter().enumerate().filter(|(_, turn)| **turn != NO_TURN);
        for (position, turn) in turns.map(|(place, turn)| (from + place, turn)) {
            let share = &mut touched[*turn as usize];
            let place = share.next as usize;
            share.next += 1;
            events[place] = self.session_event(batch, position);
            events[place].repeat = fates[position] == Fate::Repeat;
            index[place] = position as u32;
        }
        Groups { events, index }
    }

    fn session_event(&self, batch: &EventBatch, position: usize) -> SessionEvent {
        let event = &batch.events[position];
        let rules = &self.parts.rules;
        let meaning = rules.meaning(event.kind);
        let fact = EventFact { batch, position, event };
        let priced = rules.value_slot.filter(|_| meaning.entry || meaning.remove);
        let value = priced.and_then(|slot| rules.value_of(fact.attr(slot)).0);
        let segment = rules.segment_slot.and_then(|slot| rules.segment_of(fact.attr(slot)));
        let intern = |text: Cow<'_, str>| self.context.segments.borrow_mut().intern(&text);
        let segment = segment.map_or(0, intern);
        SessionEvent {
            at: event.at,
            watermark: event.watermark,
            value,
            segment,
            step: meaning.step,
            counted: meaning.counted,
            entry: meaning.entry,
            goal: meaning.goal,
            remove: meaning.remove,
            repeat: false,
        }
    }

    pub(super) fn finish_batch(&mut self, work: BatchWork) {
        let BatchWork { batch, place, mut fates, touched, failed, mut late, groups, .. } = work;
        failed.iter().for_each(|position| fates[*position as usize] = Fate::Failed);
        late.retain(|(position, why)| {
            let repeat = *why == Late::Repeat;
            fates[*position as usize] = if repeat { Fate::Duplicate } else { Fate::Late };
            !repeat
        });
        late.sort_unstable_by_key(|(position, _)| *position);
        let mut reasons = late.into_iter().map(|(_, why)| why);
        if let Some(first) = failed.iter().min() {
            let position = batch.events[*first as usize].position;
            SessionPanicked { shard: self.parts.shard, position, events: failed.len() }.tell();
        }
        for (position, fate) in fates.iter().enumerate() {
            let event = &batch.events[position];
            match fate {
                Fate::Applied => {
                    self.delta.ledger.applied += 1;
                    self.delta.ledger.without_id += u64::from(event.identity.is_none());
                    let fact = EventFact { batch: &batch, position, event };
                    let tally = &mut self.fold.tally;
                    tally.concern(uses::KEY, 1);
                    match event.key.len {
                        0 => tally.note(uses::KEY, Fault::Absent),
                        _ => self.parts.rules.needs(&fact, |number, fault| {
                            tally.concern(number, 1);
                            fault.into_iter().for_each(|fault| tally.note(number, fault));
                        }),
                    }
                    self.fold.add(FactKind::Events, &fact, event.watermark);
                }
                Fate::Duplicate | Fate::Repeat => self.delta.ledger.duplicate += 1,
                Fate::Late => {
                    let why = reasons.next().unwrap_or(Late::Forgotten);
                    self.delta.ledger.late += 1;
                    self.delta.late.push(late_event(&batch, event, why));
                    // Late for its session; each window judges for itself. Not where it may
                    // be a repeat: no window reaches back that far.
                    if why != Late::Forgotten && !self.is_old(event) {
                        let fact = EventFact { batch: &batch, position, event };
                        self.fold.add(FactKind::Events, &fact, event.watermark);
                    }
                }
                Fate::Failed => {
                    let reason = "handling this event failed (panic in the session)";
                    self.reject(&batch, event, reason.into());
                }
                Fate::Refused => {
                    self.delta.sessions_refused += 1;
                    let reason = format!(
                        "no room for another session: {} keys have one on this shard, {} MiB \
                         (pipeline.sessions_max and session_bytes_max over {} shards)",
                        self.children.open_keys(),
                        self.children.bytes() >> 20,
                        self.parts.shards
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

    /// True when an event's id is past the horizon.
    fn is_old(&self, event: &Event) -> bool {
        !event.identity.is_none() && event.at < event.watermark - self.seen.horizon()
    }

    /// An event that was to count ends in the dead letters; redriven, it may count.
    fn reject(&mut self, batch: &EventBatch, event: &Event, reason: String) {
        if !event.identity.is_none() {
            self.seen.take_back(event.identity, event.at);
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

fn late_event(batch: &EventBatch, event: &Event, why: Late) -> LateEvent {
    LateEvent {
        source: batch.source,
        position: event.position,
        at: event.at,
        behind_ms: event.watermark - event.at,
        key: String::from_utf8_lossy(batch.text(event.key)).into_owned(),
        reason: why.reason(),
        raw: String::from_utf8_lossy(batch.text(event.raw)).into_owned(),
    }
}
