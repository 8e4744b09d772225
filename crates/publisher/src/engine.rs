//! The task behind a publisher: forms messages, sends them, waits for the stream's answers,
//! sends again. It runs on the connection's thread and never waits for the caller.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::ErrorCode;
use tidewatch_clock::SharedClock;
use tokio::sync::{mpsc, oneshot};

use super::answer::Answer;
use super::backoff::backoff;
use super::counts::Counts;
use super::id::{PACK_ID_BYTES, message_id};
use super::limit::Limit;
use super::line::Line;
use super::post::{BATCH_SINCE, batch_bytes, id_bytes};
use super::unit::{Entry, Unit};
use super::{FlushReport, Mode, Options};
use crate::link::Link;

/// Commands taken at once, and messages sent before the next look at answers.
const AT_ONCE: usize = 256;

/// What a publisher asks of its engine.
pub(super) enum Command {
    Publish(Entry),
    Flush(oneshot::Sender<FlushReport>),
}

/// State of the task. All queues are bounded by the room their events hold.
pub(super) struct Engine {
    link: Link,
    options: Options,
    subject: Subject,
    clock: SharedClock,
    counts: Arc<Counts>,
    /// How often the connection was made when it was last looked at.
    connects: u64,
    /// The server and, as far as known, the stream take atomic batches.
    atomic: bool,
    /// The stream said that it does not.
    atomic_refused: bool,
    /// Most bytes of a pack that this server takes.
    pack_bytes: usize,
    /// Number of the next event.
    next: u64,
    forming: Vec<Entry>,
    forming_bytes: usize,
    waiting: VecDeque<Unit>,
    /// Sent and not answered, by the number of the first event.
    flight: BTreeMap<u64, Unit>,
    flight_messages: usize,
    /// Nothing is sent before this time.
    stalled_until: i64,
    /// Who waits until everything before a number is settled.
    flushes: VecDeque<(u64, oneshot::Sender<FlushReport>)>,
    report: FlushReport,
}

impl Engine {
    pub fn new(link: Link, options: Options, clock: SharedClock, counts: Arc<Counts>) -> Self {
        Engine {
            subject: Subject::from(options.subject.as_str()),
            link,
            options,
            clock,
            counts,
            connects: 0,
            atomic: false,
            atomic_refused: false,
            pack_bytes: usize::MAX,
            next: 1,
            forming: Vec::new(),
            forming_bytes: 0,
            waiting: VecDeque::new(),
            flight: BTreeMap::new(),
            flight_messages: 0,
            stalled_until: 0,
            flushes: VecDeque::new(),
            report: FlushReport::default(),
        }
    }

    /// Runs until the publisher is gone and everything is settled.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let Ok(mut line) = Line::open(&self.link, self.options.ack_wait).await else { return };
        let mut state = self.link.state();
        let mut tick = tokio::time::interval(tick(self.options.ack_wait));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut received = Vec::with_capacity(AT_ONCE);
        let mut open = true;
        while open || self.next_unsettled().is_some() {
            let linger = self.linger();
            tokio::select! {
                answers = line.answers() => {
                    answers.into_iter().for_each(|(number, answer)| self.answered(number, answer));
                }
                count = commands.recv_many(&mut received, AT_ONCE), if open => {
                    open = count > 0;
                    received.drain(..).for_each(|command| self.command(command));
                    if !open {
                        self.form();
                    }
                }
                Ok(()) = state.changed() => {}
                _ = tick.tick() => {
                    self.give_up();
                    self.send_again(&line).await;
                }
                () = tokio::time::sleep(linger), if !self.forming.is_empty() => self.form(),
                () = std::future::ready(()), if self.can_send() => {}
            }
            let connects = state.borrow_and_update().connects;
            if connects != self.connects {
                self.connects = connects;
                self.reconnected();
            }
            self.send_waiting(&line).await;
            self.answer_flushes();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Publish(entry) => self.take(entry),
            Command::Flush(answer) => {
                self.form();
                self.flushes.push_back((self.next, answer));
            }
        }
    }

    /// Puts an event where its mode wants it.
    fn take(&mut self, entry: Entry) {
        let (events, bytes) = match self.options.mode {
            Mode::Single => (1, usize::MAX),
            Mode::Pack { events, bytes, .. } => (events, bytes.min(self.pack_bytes)),
            // Alone it has no headers of a batch.
            Mode::Atomic { .. } if !self.fits_a_batch(&entry) => {
                self.form();
                (1, usize::MAX)
            }
            Mode::Atomic { events, .. } => (events, usize::MAX),
        };
        let len = entry.event.len() + 1;
        if !self.forming.is_empty() && self.forming_bytes + len > bytes {
            self.form();
        }
        self.forming_bytes += len;
        self.forming.push(entry);
        if self.forming.len() >= events || self.forming_bytes >= bytes {
            self.form();
        }
    }

    /// Whether an event can be the next of the forming batch.
    fn fits_a_batch(&self, entry: &Entry) -> bool {
        let headers =
            id_bytes(message_id(&entry.held.id).len()) + batch_bytes(self.forming.len() + 1);
        self.limit().check_bytes(headers, entry.event.len()).is_ok()
    }

    fn limit(&self) -> Limit<'static> {
        Limit::of(self.link.client().max_payload(), None)
    }

    /// Makes what has come together a unit to send.
    fn form(&mut self) {
        let mut entries = std::mem::take(&mut self.forming);
        self.forming_bytes = 0;
        let first = self.next;
        self.next += entries.len() as u64;
        let unit = match (entries.len(), self.options.mode) {
            (0, _) => return,
            (1, _) => Unit::one(first, entries.remove(0)),
            (_, Mode::Pack { .. }) => Unit::pack(first, entries),
            (_, Mode::Single | Mode::Atomic { .. }) => Unit::batch(first, entries),
        };
        self.waiting.push_back(unit);
    }

    /// How long the forming unit may still wait for more.
    fn linger(&self) -> Duration {
        let (Mode::Pack { linger, .. } | Mode::Atomic { linger, .. }) = self.options.mode else {
            return Duration::ZERO;
        };
        let since = self.forming.first().map_or(0, |entry| entry.at);
        let waited = Duration::from_millis((self.clock.elapsed() - since).max(0) as u64);
        linger.saturating_sub(waited)
    }

    fn reconnected(&mut self) {
        let knows = self.link.server_version().is_some_and(|found| found >= BATCH_SINCE);
        self.atomic = knows && !self.atomic_refused;
        self.pack_bytes = self.limit().bytes().saturating_sub(id_bytes(PACK_ID_BYTES)).max(1);
        self.stalled_until = 0;
        // Answers to what was sent before are lost, and maybe the messages too.
        self.flight.values_mut().for_each(|unit| unit.due = 0);
    }

    fn can_send(&self) -> bool {
        let Some(front) = self.waiting.front() else { return false };
        let room = self.flight.is_empty()
            || self.flight_messages + front.messages() <= self.options.in_flight_max;
        room && self.link.connected() && self.clock.elapsed() >= self.stalled_until
    }

    async fn send_waiting(&mut self, line: &Line) {
        let mut messages = 0;
        while messages < AT_ONCE && self.can_send() {
            let Some(unit) = self.waiting.pop_front() else { return };
            if unit.is_batch() && !self.atomic {
                self.counts.fell_back();
                unit.singles().into_iter().rev().for_each(|one| self.waiting.push_front(one));
                continue;
            }
            messages += unit.messages();
            self.first_try(line, unit).await;
        }
    }

    async fn first_try(&mut self, line: &Line, mut unit: Unit) {
        match self.send(line, &unit).await {
            Ok(()) => unit.due = self.clock.elapsed() + ms(self.options.ack_wait),
            // One of its events may be too large; the others are not.
            Err(Answer::Refused(..)) if unit.events() > 1 => {
                self.counts.fell_back();
                return unit
                    .singles()
                    .into_iter()
                    .rev()
                    .for_each(|one| self.waiting.push_front(one));
            }
            Err(Answer::Refused(_, reason)) => return self.failed(unit, &reason),
            // A part of the batch may have gone: it is published one by one.
            Err(_) if unit.is_batch() => unit.due = 0,
            Err(_) => return self.waiting.push_front(unit),
        }
        unit.tries = 1;
        self.flight_messages += unit.messages();
        self.flight.insert(unit.first, unit);
    }

    /// Sends what got no answer in time, the oldest first.
    async fn send_again(&mut self, line: &Line) {
        let now = self.clock.elapsed();
        let due = |unit: &Unit| unit.due <= now;
        let batches = self.flight.values().filter(|unit| unit.is_batch() && due(unit));
        let batches: Vec<u64> = batches.map(|unit| unit.first).collect();
        batches.into_iter().for_each(|first| self.one_by_one(first));
        let firsts: Vec<u64> =
            self.flight.values().filter(|unit| due(unit)).map(|unit| unit.first).collect();
        for first in firsts {
            if !self.link.connected() {
                return;
            }
            let Some(mut unit) = self.flight.remove(&first) else { continue };
            match self.send(line, &unit).await {
                Ok(()) => {
                    unit.tries += 1;
                    unit.due = self.clock.elapsed() + ms(self.options.ack_wait);
                    self.counts.retried(unit.events());
                    self.flight.insert(first, unit);
                }
                Err(Answer::Refused(..)) if unit.events() > 1 => {
                    self.flight.insert(first, unit);
                    self.one_by_one(first);
                }
                Err(Answer::Refused(_, reason)) => {
                    self.flight_messages -= unit.messages();
                    self.failed(unit, &reason);
                }
                Err(_) => {
                    self.flight.insert(first, unit);
                    return;
                }
            }
        }
    }

    /// The documented way out for a batch whose end is not known, or that was refused: its
    /// events as single messages with the same ids. What is in the stream stays there once.
    fn one_by_one(&mut self, first: u64) {
        let Some(mut unit) = self.flight.remove(&first) else { return };
        let events = unit.events();
        tracing::debug!(first, events, "a batch or a pack is published one by one");
        self.counts.fell_back();
        self.flight_messages -= unit.messages();
        unit.due = 0;
        for one in unit.singles() {
            self.flight_messages += 1;
            self.flight.insert(one.first, one);
        }
    }

    async fn send(&mut self, line: &Line, unit: &Unit) -> Result<(), Answer> {
        let sent = line.send(unit.number(), unit.posts(&self.subject)).await;
        if matches!(sent, Err(Answer::Again(_) | Answer::Unknown(_))) {
            // The connection takes nothing now.
            self.stalled_until = self.clock.elapsed() + ms(tick(self.options.ack_wait));
        }
        sent
    }

    fn answered(&mut self, number: u64, answer: Answer) {
        let first = Unit::first_of(number);
        // Answered before, or given up, or no batch any more.
        let Some(unit) = self.flight.get_mut(&first) else { return };
        if unit.number() != number {
            return;
        }
        match answer {
            Answer::Acked { duplicate, batch: Some(count), .. } if count == unit.events() => {
                self.acked(first, duplicate);
            }
            Answer::Acked { duplicate, .. } if !unit.is_batch() => self.acked(first, duplicate),
            Answer::Acked { .. } | Answer::Again(_) | Answer::Unknown(_) if unit.is_batch() => {
                self.one_by_one(first);
            }
            Answer::Refused(code, _) if unit.is_batch() => {
                if code == ErrorCode::ATOMIC_PUBLISH_DISABLED {
                    self.atomic = false;
                    self.atomic_refused = true;
                }
                self.one_by_one(first);
            }
            Answer::Refused(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, _) if unit.events() > 1 => {
                // The stream's bound is smaller than the server's: smaller packs from now on.
                self.pack_bytes = (unit.bytes() / 2).max(1);
                self.one_by_one(first);
            }
            Answer::Acked { .. } => {}
            Answer::Again(trouble) | Answer::Unknown(trouble) => {
                let wait = backoff(unit.tries, self.options.ack_wait);
                unit.due = self.clock.elapsed() + ms(wait);
                unit.trouble = trouble;
            }
            Answer::Refused(_, reason) => {
                if let Some(unit) = self.landed(first) {
                    self.failed(unit, &reason);
                }
            }
        }
    }

    fn landed(&mut self, first: u64) -> Option<Unit> {
        let unit = self.flight.remove(&first)?;
        self.flight_messages -= unit.messages();
        Some(unit)
    }

    fn acked(&mut self, first: u64, duplicate: bool) {
        let Some(unit) = self.landed(first) else { return };
        let events = unit.events();
        self.report.published += events;
        // Before the count, so that who sees it finds the room.
        drop(unit);
        if duplicate {
            self.report.duplicates += events;
            self.counts.duplicates(events);
        }
        self.counts.acked(events);
    }

    fn failed(&mut self, unit: Unit, reason: &str) {
        self.report.failed_count += unit.events();
        for id in unit.ids() {
            if self.report.failed.len() >= self.options.failed_max {
                break;
            }
            self.report.failed.push((id.to_owned(), reason.to_owned()));
        }
        self.counts.failed(unit.events());
    }

    /// Ends what was tried for too long.
    fn give_up(&mut self) {
        let oldest = self.clock.elapsed() - ms(self.options.give_up_after);
        while self.waiting.front().is_some_and(|unit| unit.since <= oldest) {
            let Some(unit) = self.waiting.pop_front() else { break };
            let reason = self.why(&unit);
            self.failed(unit, &reason);
        }
        let over = self.flight.values().filter(|unit| unit.since <= oldest);
        let over: Vec<u64> = over.map(|unit| unit.first).collect();
        for first in over {
            let Some(unit) = self.landed(first) else { continue };
            let reason = self.why(&unit);
            self.failed(unit, &reason);
        }
    }

    fn why(&self, unit: &Unit) -> String {
        let trouble = match unit.trouble.as_str() {
            _ if !self.link.connected() => self.link.away().to_string(),
            "" => self.link.state().borrow().error.clone(),
            said => said.to_owned(),
        };
        let bound = self.options.give_up_after.as_secs_f64();
        let doubt = match unit.tries {
            0 => "it was never sent",
            _ => "it may be in the stream all the same",
        };
        self.link.explain(match trouble.as_str() {
            "" => format!("not acknowledged within {bound} s; {doubt}"),
            said => format!("not acknowledged within {bound} s ({said}); {doubt}"),
        })
    }

    /// Number of the oldest event that is not settled.
    fn next_unsettled(&self) -> Option<u64> {
        let flying = self.flight.first_key_value().map(|(first, _)| *first);
        let waiting = self.waiting.front().map(|unit| unit.first);
        let forming = (!self.forming.is_empty()).then_some(self.next);
        [flying, waiting, forming].into_iter().flatten().min()
    }

    fn answer_flushes(&mut self) {
        while let Some((before, _)) = self.flushes.front() {
            if self.next_unsettled().is_some_and(|first| first < *before) {
                return;
            }
            if let Some((_, answer)) = self.flushes.pop_front() {
                // Nobody may wait for it any more.
                let _ = answer.send(std::mem::take(&mut self.report));
            }
        }
    }
}

/// How often time-outs are looked at.
fn tick(ack_wait: Duration) -> Duration {
    (ack_wait / 8).clamp(Duration::from_millis(5), Duration::from_millis(100))
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4)
}
