//! The aggregator: one for each shard, on a thread of its own; parent and supervisor of
//! the shard's sessions.
//!
//! It takes one thing at a time: a batch (late and duplicate events go to the ledger, the
//! rest is grouped by key, one message to each session), or a barrier (due sessions
//! expire, then everything found since the last barrier goes to the committer). Each
//! waits for its ticket, so facts and records arrive in log order.
//!
//! Invariant: at a barrier every session whose deadline the watermark has passed has
//! ended, so a pane that is final holds every fact it will ever hold.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Addr, AsyncContext, Context, Handler};
use compact_str::CompactString;
use tokio::sync::OwnedSemaphorePermit;

use super::children::{AHEAD, Children};
use super::committer::Committer;
use super::directory::Directory;
use super::facts::{EventFact, SessionFact};
use super::messages::{Apply, Expire, ShardBarrier, ShardBatch, ShardDone, ShardHolds, TicketDone};
use super::pool::BatchPool;
use super::session::ShardContext;
use super::supervision::DeathWatch;
use super::ticket::{Answers, Groups, Ticket};
use crate::domain::commit::{LateEvent, SectionWriter};
use crate::domain::event::{DeadLetter, Event, EventBatch, Value};
use crate::domain::hash::shard_of;
use crate::domain::keeper::{EndedSession, ShardDelta};
use crate::domain::metric::{FactKind, Fold, Metric};
use crate::domain::seen::Seen;
use crate::domain::session::{Ending, Machine, Outcome, Rules, SessionEvent, is_late};
use crate::domain::time::EpochMs;
use crate::telemetry::happenings::SessionPanicked;

/// Mailbox of an aggregator: the ingestor's queue places, a barrier for each of them, and
/// one ticket.
pub const MAILBOX: usize = 32;

/// Sessions that are sent a message at once: what a message touches stays in the processor's
/// cache until it is read (512 x some 1 KiB), while the batch may be much larger, so that a
/// session gets many events in one message.
const WAVE: usize = 512;
/// Bytes of one section of session records: small enough that the allocator uses it again.
const SECTION_BYTES: usize = 1 << 20;

/// What one shard is made of.
pub struct ShardParts {
    /// Its number.
    pub shard: u16,
    /// How many there are.
    pub shards: u16,
    /// The session rules.
    pub rules: Arc<Rules>,
    /// The metrics.
    pub metrics: Arc<Vec<Metric>>,
    /// How long identities are remembered.
    pub horizon: i64,
    /// How many of them, at most.
    pub identities_max: usize,
    /// How many keys may have an open session.
    pub keys_max: usize,
    /// How many actors wait to be used again.
    pub idle_max: usize,
    /// Report every ended session, not only the abandoned ones.
    pub list_sessions: bool,
    /// The directory of open sessions.
    pub directory: Directory,
    /// Whom to hand over to.
    pub committer: Addr<Committer>,
    /// Where finished batches go, to be used again.
    pub pool: BatchPool,
    /// Told when this actor dies.
    pub watch: DeathWatch,
}

/// The actor.
pub struct Aggregator {
    parts: ShardParts,
    context: Rc<ShardContext>,
    children: Children,
    seen: Seen,
    fold: Fold,
    delta: ShardDelta,
    sessions: SectionWriter,
    waiting: VecDeque<Work>,
    busy: Option<Busy>,
    dispatched: usize,
    batches: u32,
    spare: Spare,
}

/// Space of the last batch, used again for the next.
#[derive(Default)]
struct Spare {
    groups: Groups,
    answers: Answers,
    fates: Vec<Fate>,
    turns: Vec<u32>,
    touched: Vec<Share>,
}

/// One session's share of the batch at hand.
#[derive(Clone, Copy, Debug)]
struct Share {
    slot: u32,
    /// How many events.
    num: u32,
    /// Where the next of them goes in the ticket; their end when all are placed.
    next: u32,
}

/// The turn of an event that concerns no session.
const NO_TURN: u32 = u32::MAX;

enum Work {
    Batch(EventBatch, OwnedSemaphorePermit),
    Barrier(ShardBarrier),
}

enum Busy {
    Batch(BatchWork),
    Barrier(BarrierWork),
}

/// A barrier whose due sessions are being ended.
struct BarrierWork {
    barrier: ShardBarrier,
    due: Vec<u32>,
    /// How many of `due` were told.
    sent: usize,
}

/// A batch on its way through its sessions.
struct BatchWork {
    batch: EventBatch,
    place: OwnedSemaphorePermit,
    fates: Vec<Fate>,
    touched: Vec<Share>,
    /// How many of `touched` were sent their events.
    sent: usize,
    /// Events whose handling panicked: index in the batch.
    failed: Vec<u32>,
    groups: Arc<Groups>,
}

/// What became of an event of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Applied,
    Duplicate,
    Late,
    Failed,
    /// It would open a session and there is no room for one.
    Refused,
}

impl Aggregator {
    /// An aggregator with no sessions.
    pub fn new(parts: ShardParts) -> Self {
        let context = ShardContext::new(Arc::clone(&parts.rules));
        Aggregator {
            children: Children::new(
                Rc::clone(&context),
                parts.directory.clone(),
                parts.keys_max,
                parts.idle_max,
            ),
            seen: Seen::new(parts.horizon, parts.identities_max),
            fold: Fold::new(Arc::clone(&parts.metrics), parts.rules.lateness),
            context,
            delta: ShardDelta::default(),
            sessions: SectionWriter::sessions(),
            waiting: VecDeque::new(),
            busy: None,
            dispatched: 0,
            batches: 0,
            spare: Spare::default(),
            parts,
        }
    }

    /// Takes up this shard's part of a snapshot: identities and sessions.
    ///
    /// # Errors
    /// When a record is malformed: names the key.
    pub fn restore<'a>(
        &mut self,
        seed: u64,
        sessions: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        identities: impl Iterator<Item = (i64, &'a [u64])>,
    ) -> Result<(), String> {
        let (shard, shards) = (self.parts.shard, self.parts.shards);
        for (until, ids) in identities {
            let mine = ids.iter().filter(|id| shard_of(**id, shards) == shard);
            mine.for_each(|id| self.seen.restore(until, *id));
        }
        for (key, record) in sessions {
            let hash = crate::domain::hash::key_hash(seed, key);
            if shard_of(hash, shards) != shard {
                continue;
            }
            let key = String::from_utf8_lossy(key);
            let machine = Machine::decode(record, &mut self.context.segments.borrow_mut())
                .map_err(|malformed| format!("session {key:?}: {malformed}"))?;
            self.children.restore(&key, hash, machine);
        }
        Ok(())
    }

    /// Starts the next thing unless one is under way.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        while self.busy.is_none() {
            match self.waiting.pop_front() {
                Some(Work::Batch(batch, place)) => self.start_batch(batch, place, ctx),
                Some(Work::Barrier(barrier)) => self.start_barrier(barrier, ctx),
                None => return,
            }
        }
    }

    fn start_batch(
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
            std::hint::black_box(self.seen.contains(event.identity, event.at));
        }
        for (slot, event) in slots.iter_mut().zip(events) {
            *slot = slot.filter(|slot| self.children.has_key(*slot, batch.text(event.key)));
        }
        slots
    }

    /// Sends the next sessions of the batch their events.
    fn send_wave(&mut self, ctx: &mut Context<Self>) {
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
        if event.identity == 0 {
            self.delta.ledger.without_id += 1;
            return Fate::Applied;
        }
        match self.seen.insert(event.identity, event.at, event.watermark) {
            true => Fate::Applied,
            false => Fate::Duplicate,
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

    fn session_event(&self, batch: &EventBatch, position: usize) -> SessionEvent {
        let event = &batch.events[position];
        let rules = &self.parts.rules;
        let meaning = rules.meaning(event.kind);
        let values = batch.values(position);
        let value = match rules.value_slot.filter(|_| meaning.entry).map(|slot| values[slot]) {
            Some(Value::Number(value)) => value,
            _ => 0,
        };
        let segment = match rules.segment_slot.map(|slot| values[slot]) {
            Some(Value::Text(span)) => {
                let text = std::str::from_utf8(batch.text(span)).unwrap_or_default();
                self.context.segments.borrow_mut().intern(text)
            }
            _ => 0,
        };
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

    fn start_barrier(&mut self, barrier: ShardBarrier, ctx: &mut Context<Self>) {
        self.context.watermark.set(barrier.watermark);
        let due = self.children.due(barrier.watermark);
        self.busy = Some(Busy::Barrier(BarrierWork { barrier, due, sent: 0 }));
        self.expire_wave(ctx);
    }

    /// Tells the next due sessions the time.
    fn expire_wave(&mut self, ctx: &mut Context<Self>) {
        let Some(Busy::Barrier(work)) = &mut self.busy else { return };
        let spare = std::mem::take(&mut self.spare.answers);
        let ticket = Ticket::new(Arc::default(), work.barrier.watermark, spare, ctx.address());
        let wave = &work.due[work.sent..(work.sent + WAVE).min(work.due.len())];
        work.sent += wave.len();
        self.dispatched = wave.len();
        for slots in wave.chunks(AHEAD) {
            self.children.look_at(slots.iter().copied());
            for slot in slots {
                let message = Expire { ticket: Arc::clone(&ticket), slot: *slot };
                self.children.get(*slot).tell(message);
            }
        }
    }

    fn finish_batch(&mut self, work: BatchWork) {
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
        match event.identity {
            0 => self.delta.ledger.without_id -= 1,
            identity => self.seen.take_back(identity, event.at),
        }
        self.delta.ledger.rejected += 1;
        let raw = batch.text(event.raw).to_vec();
        self.delta.dead_letters.push(DeadLetter {
            source: batch.source,
            position: event.position,
            reason,
            raw,
        });
    }

    /// Takes in what the sessions left: records, timers, endings.
    fn take_answers(&mut self, answers: Answers, drained_at: Option<EpochMs>) {
        for (slot, ending) in &answers.ended {
            self.end_session(*slot, *ending, drained_at);
        }
        for touched in &answers.touched {
            let (start, len) = (touched.record.0 as usize, touched.record.1 as usize);
            let record = &answers.records[start..start + len];
            self.sessions.session(self.children.get(touched.slot).key.as_bytes(), record);
            if self.sessions.len() >= SECTION_BYTES {
                let full = std::mem::replace(&mut self.sessions, SectionWriter::sessions());
                self.delta.sections.push(full.finish());
            }
            match record.is_empty() {
                true => drop(self.children.remove(touched.slot)),
                false => self.children.rearm(touched.slot, touched.deadline),
            }
        }
        let fx = &answers.effects;
        self.delta.gauges.add(&crate::domain::keeper::Gauges {
            by_step: fx.by_step,
            at_risk: fx.at_risk,
            value: fx.value,
        });
        self.delta.totals.stray_goals += fx.stray_goals;
        self.spare.answers = answers;
    }

    fn end_session(&mut self, slot: u32, ending: Ending, drained_at: Option<EpochMs>) {
        self.delta.totals.count(&ending, drained_at);
        let segments = self.context.segments.borrow();
        let segment = segments.text(ending.segment);
        let child = self.children.get(slot);
        let key_hash = child.key_hash;
        let fact = SessionFact { ending: &ending, key_hash, rules: &self.parts.rules, segment };
        // Final when it happens: its stamp is the watermark its deadline was settled by.
        self.fold.add(FactKind::Sessions, &fact, ending.at);
        if ending.outcome == Outcome::Abandoned || self.parts.list_sessions {
            let (key, segment) = (child.key.clone(), CompactString::from(segment));
            self.delta.ended.push(EndedSession { key, segment, ending });
        }
    }

    fn finish_barrier(&mut self, barrier: ShardBarrier) {
        let floor = self.seen.sweep(barrier.watermark);
        let mut delta = std::mem::take(&mut self.delta);
        delta.forgotten_early = std::mem::take(&mut self.seen.forgotten_early);
        delta.dedup_short_until = self.seen.short_until;
        delta.panes = self.fold.flush();
        delta.window_late = self.fold.window_late.clone();
        self.fold.window_late.fill(0);
        let sessions = std::mem::replace(&mut self.sessions, SectionWriter::sessions());
        if !sessions.is_empty() {
            delta.sections.push(sessions.finish());
        }
        let mut ids = SectionWriter::identities();
        self.seen.take_fresh().iter().for_each(|(until, fresh)| ids.until(*until, fresh));
        if !ids.is_empty() {
            delta.sections.push(ids.finish());
            delta.sections.push(SectionWriter::identity_floor(floor));
        }
        let holds = ShardHolds {
            identities: self.seen.len() as u64,
            idle_actors: self.children.idle() as u64,
        };
        let done = ShardDone { number: barrier.number, shard: self.parts.shard, delta, holds };
        if self.parts.committer.try_send(done).is_err() {
            self.parts.watch.fail("the committer does not take this shard's results");
        }
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

impl Actor for Aggregator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<ShardBatch> for Aggregator {
    type Result = ();

    fn handle(&mut self, message: ShardBatch, ctx: &mut Context<Self>) {
        self.waiting.push_back(Work::Batch(message.batch, message.place));
        self.go_on(ctx);
    }
}

impl Handler<ShardBarrier> for Aggregator {
    type Result = ();

    fn handle(&mut self, message: ShardBarrier, ctx: &mut Context<Self>) {
        self.waiting.push_back(Work::Barrier(message));
        self.go_on(ctx);
    }
}

impl Handler<TicketDone> for Aggregator {
    type Result = ();

    fn handle(&mut self, message: TicketDone, ctx: &mut Context<Self>) {
        let TicketDone { answers } = message;
        if answers.touched.len() < self.dispatched {
            let dead = self.dispatched - answers.touched.len();
            return self.parts.watch.fail(&format!("{dead} session actors died"));
        }
        match self.busy.take() {
            Some(Busy::Batch(mut work)) => {
                work.failed.extend_from_slice(&answers.failed);
                self.take_answers(answers, None);
                if work.sent < work.touched.len() {
                    self.busy = Some(Busy::Batch(work));
                    return self.send_wave(ctx);
                }
                self.finish_batch(work);
            }
            Some(Busy::Barrier(work)) => {
                self.take_answers(answers, work.barrier.drained_at);
                if work.sent < work.due.len() {
                    self.busy = Some(Busy::Barrier(work));
                    return self.expire_wave(ctx);
                }
                self.finish_barrier(work.barrier);
            }
            None => self.parts.watch.fail("a ticket came back that nobody waited for"),
        }
        self.go_on(ctx);
    }
}
