//! A batch: each event is judged, handed to its session, and counted, in the order of the log.

use std::ops::Range;

use super::Aggregator;
use super::identify::Moving;
use crate::actors::SessionsFull;
use crate::actors::children::AHEAD;
use crate::actors::messages::{Displace, GiveUp, TakeOver};
use crate::domain::commit::LateEvent;
use crate::domain::event::{DeadLetter, Event, EventBatch};
use crate::domain::facts::EventFact;
use crate::domain::fault::{Fault, uses};
use crate::domain::hash::key_hash;
use crate::domain::keyed::KeyedMachine as _;
use crate::domain::metric::Facts;
use crate::domain::seen::Sight;
use crate::domain::session::{Late, Machine, Needs, SessionEvent, late_alone};
use crate::domain::time::BEGINNING;
use crate::telemetry::happenings::SessionPanicked;

use actix::{Handler as _, MessageResult};

/// What an event's id says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    New,
    /// Past the horizon and seen before: late, unless its session is still open.
    Repeat,
    Duplicate,
    Late(Late),
}

/// Why an event's key gets no session.
enum NoSession {
    Late(Late),
    Full,
}

impl Aggregator {
    pub(super) fn take_batch(&mut self, mut batch: EventBatch) {
        fail::fail_point!("aggregator_batch");
        if self.visitors.are_told() {
            self.take_identified(&mut batch);
        } else {
            self.take_events(&batch);
        }
        self.parts.pool.put(batch);
    }

    fn take_events(&mut self, batch: &EventBatch) {
        for first in (0..batch.events.len()).step_by(AHEAD) {
            let next = first..batch.events.len().min(first + AHEAD);
            let guesses = self.look_ahead(batch, next.clone());
            for (position, guess) in next.zip(guesses) {
                let judged = self.judge(&batch.events[position]);
                self.take_event(batch, position, judged, guess);
            }
        }
    }

    /// A batch in which keys are resolved: what moves does so before the event that says it.
    fn take_identified(&mut self, batch: &mut EventBatch) {
        for position in 0..batch.events.len() {
            let judged = self.judge(&batch.events[position]);
            if let Some(moving) = self.visitors.identify(batch, position, judged, self.parts.seed) {
                self.go_on_as(moving);
            }
            self.take_event(batch, position, judged, None);
        }
    }

    /// The slots of the next events' keys, as far as they can be guessed, with what handling
    /// them will touch brought near: each loop waits for memory once, and not for every event.
    #[inline]
    fn look_ahead(&self, batch: &EventBatch, next: Range<usize>) -> [Option<u32>; AHEAD] {
        let events = &batch.events[next.clone()];
        // No branch hangs on what these reads bring, so that all are under way together.
        for (position, event) in next.zip(events) {
            self.children.look_for(event.key_hash);
            let touched = self.seen.touch(event.identity);
            std::hint::black_box((touched, batch.glance(position)));
        }
        let mut guesses = [None; AHEAD];
        for (guess, event) in guesses.iter_mut().zip(events) {
            *guess = self.children.guess(event.key_hash);
            match guess {
                Some(slot) => self.children.look_at(*slot),
                // A session may open.
                None => self.closed.look_for(event.key_hash),
            }
        }
        guesses
    }

    /// Duplicates end here; the rest counts, unless its session says that it is late. An id
    /// past the horizon is a repeat or not only as far as ids of open sessions are kept on.
    #[inline]
    fn judge(&mut self, event: &Event) -> Judged {
        if event.identity.is_none() {
            return Judged::New;
        }
        match self.seen.insert(event.identity, event.at, event.watermark) {
            Sight::New => Judged::New,
            Sight::Known => Judged::Duplicate,
            Sight::TooOld if event.key.len == 0 => Judged::Late(Late::Forgotten),
            Sight::TooOld => {
                match self.seen.insert_old(event.identity, event.at, event.watermark) {
                    Sight::New => Judged::New,
                    Sight::Known => Judged::Repeat,
                    Sight::TooOld => Judged::Late(Late::Forgotten),
                }
            }
        }
    }

    /// What becomes of an event: the turn of its session, then the metrics and the ledger.
    #[inline]
    fn take_event(
        &mut self,
        batch: &EventBatch,
        position: usize,
        judged: Judged,
        guess: Option<u32>,
    ) {
        let event = &batch.events[position];
        let repeat = match judged {
            Judged::New => false,
            Judged::Repeat => true,
            Judged::Duplicate => return self.delta.ledger.duplicate += 1,
            Judged::Late(why) => return self.late(batch, position, why),
        };
        let fact = EventFact { batch, position, event };
        let mut needs = Needs::default();
        if event.key.len > 0 {
            let slot = match self.slot(batch, event, guess) {
                Ok(slot) => slot,
                Err(NoSession::Late(why)) => return self.late(batch, position, why),
                Err(NoSession::Full) => return self.refuse(batch, event),
            };
            needs = self.parts.rules.needs(&fact);
            let message = SessionEvent { repeat, ..self.session_event(event, &needs) };
            match self.apply(slot, &message) {
                Some(Ok(())) => {}
                Some(Err(Late::Repeat)) => return self.delta.ledger.duplicate += 1,
                Some(Err(why)) => return self.late(batch, position, why),
                None => return self.failed(batch, event, slot),
            }
        }
        self.count(&fact, &needs);
    }

    /// The slot of an event's key, opened if nothing of it is open.
    #[inline]
    fn slot(
        &mut self,
        batch: &EventBatch,
        event: &Event,
        guess: Option<u32>,
    ) -> Result<u32, NoSession> {
        let key = batch.text(event.key);
        match self.children.find(key, event.key_hash, guess) {
            Some(slot) => Ok(slot),
            None => self.open(key, event),
        }
    }

    fn open(&mut self, key: &[u8], event: &Event) -> Result<u32, NoSession> {
        // Nothing is open, so this alone decides whether the event is late for its session.
        // Where something is, its actor does.
        let floor = self.closed.floor(event.key_hash);
        let late = late_alone(&self.parts.rules, floor, event.at, event.watermark);
        if let Some(late) = late {
            return Err(NoSession::Late(late));
        }
        while !self.children.has_room(key) {
            let victim = match self.parts.sessions_full {
                SessionsFull::Displace if self.children.could_hold(key) => {
                    self.children.worth_least()
                }
                _ => None,
            };
            self.displace(victim.ok_or(NoSession::Full)?, event)?;
        }
        Ok(self.children.open(key, event.key_hash, floor))
    }

    #[cold]
    fn displace(&mut self, slot: u32, event: &Event) -> Result<(), NoSession> {
        let message = Displace { watermark: event.watermark };
        let session = &mut self.children.get(slot).session;
        let done = self.turn.guarded(session, |session, turn| session.handle(message, turn));
        if done.is_none() {
            SessionPanicked { shard: self.parts.shard, position: event.position }.tell();
            return Err(NoSession::Full);
        }
        self.after_turn(slot, None);
        Ok(())
    }

    /// What is open of the anonymous key goes on under the known one, and where its sessions were
    /// closed an event is late for the known one as well.
    fn go_on_as(&mut self, Moving { anonymous, known, stamp }: Moving) {
        if let Some(patterns) = &mut self.patterns {
            patterns.go_on_as((&anonymous, &known), None, stamp, &mut self.fold);
        }
        let hash = key_hash(self.parts.seed, anonymous.as_bytes());
        let given = match self.children.find(anonymous.as_bytes(), hash, None) {
            Some(slot) => {
                let session = &mut self.children.get(slot).session;
                let MessageResult(given) =
                    session.handle(GiveUp { watermark: stamp }, &mut self.turn);
                self.after_turn(slot, None);
                given
            }
            None => Machine::after(self.closed.known_floor(hash, stamp)),
        };
        if given.is_empty() && given.floor() <= BEGINNING {
            return;
        }
        let hash = key_hash(self.parts.seed, known.as_bytes());
        let slot = match self.children.find(known.as_bytes(), hash, None) {
            Some(slot) => slot,
            None if given.is_empty() => return self.closed.insert(hash, given.floor()),
            None => {
                let floor = self.closed.known_floor(hash, stamp).max(self.closed.forgotten);
                self.children.open(known.as_bytes(), hash, floor)
            }
        };
        let message = TakeOver { given, watermark: stamp };
        self.children.get(slot).session.handle(message, &mut self.turn);
        self.after_turn(slot, None);
    }

    #[inline]
    fn session_event(&mut self, event: &Event, needs: &Needs<'_>) -> SessionEvent {
        let meaning = self.parts.rules.meaning(event.event_type);
        let segment = needs.segment().map_or(0, |text| self.turn.segments.intern(&text));
        SessionEvent {
            at: event.at,
            watermark: event.watermark,
            value: needs.value,
            segment,
            step: meaning.step,
            counted: meaning.counted,
            entry: meaning.entry,
            goal: meaning.goal,
            remove: meaning.remove,
            repeat: false,
        }
    }

    /// It counts.
    #[inline]
    fn count(&mut self, fact: &EventFact<'_>, needs: &Needs<'_>) {
        let event = fact.event;
        self.delta.ledger.applied += 1;
        self.delta.ledger.without_id += u64::from(event.identity.is_none());
        let tally = &mut self.fold.tally;
        tally.concern(uses::KEY, 1);
        match event.key.len {
            0 => tally.note(uses::KEY, Fault::Absent),
            _ => needs.each(|number, fault| {
                tally.concern(number, 1);
                fault.into_iter().for_each(|fault| tally.note(number, fault));
            }),
        }
        self.tell(fact);
    }

    /// Tells the metrics and the patterns, each of which judges for itself whether it is late.
    #[inline]
    fn tell(&mut self, fact: &EventFact<'_>) {
        self.fold.add(Facts::Events, fact, fact.event.watermark);
        if let Some(patterns) = &mut self.patterns {
            patterns.take(fact, &mut self.fold);
        }
    }

    /// Late for its session. Metrics and patterns hear of it, not where it may be a repeat: no
    /// window reaches back that far.
    #[cold]
    fn late(&mut self, batch: &EventBatch, position: usize, why: Late) {
        let event = &batch.events[position];
        self.delta.ledger.late += 1;
        self.delta.late.push(late_event(batch, event, why));
        if why != Late::Forgotten && !self.is_old(event) {
            let fact = EventFact { batch, position, event };
            self.tell(&fact);
        }
    }

    #[cold]
    fn refuse(&mut self, batch: &EventBatch, event: &Event) {
        self.delta.sessions_refused += 1;
        let reason = format!(
            "no room for another session: {} keys have one on this shard, {} MiB \
             (pipeline.sessions_max and session_bytes_max over {} shards)",
            self.children.open_keys(),
            self.children.bytes() >> 20,
            self.parts.shards
        );
        self.reject(batch, event, reason);
    }

    /// Its session is what it was before it. One that was opened for it alone is none.
    #[cold]
    fn failed(&mut self, batch: &EventBatch, event: &Event, slot: u32) {
        SessionPanicked { shard: self.parts.shard, position: event.position }.tell();
        let reason = "handling this event failed (panic in the session)";
        self.reject(batch, event, reason.into());
        if self.children.get(slot).session.machine().is_empty() {
            self.let_go(slot);
        }
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
