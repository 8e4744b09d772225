//! A stream as a source: read in order by a durable pull consumer, from the position that
//! is committed here, whatever the broker remembers.
//!
//! The position is the sequence of the stream. The consumer is a means and never the truth:
//! it is made anew at every start and after every reconnect, and when it is deleted or its
//! deliveries get lost. The stream is not believed blindly either (I7, I8): after each
//! reconnect it must be the same stream, it must not have lost its tail, and the last event
//! read must still be the one that was read; what is missing is proved to be deleted before
//! it is called a gap.

mod holes;
mod monitor;
mod reading;
mod stream;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_nats::jetstream::stream::RetentionPolicy;
use async_nats::{Message, Subject};
use bytes::Bytes;
use metrics::counter;
use tokio::sync::watch;

use self::holes::{Hole, hole};
use self::reading::{Delivery, Incoming, Reading, SILENCE};
use super::NatsError;
use super::link::{Link, LinkState};
use super::manage::{self, Refusal};
use super::settings::{API, Manage, OnGap, SourceSettings};
use super::wire::{Template, Unpacker};
use crate::actors::ports::{BoxFuture, Opened, Pull, Resume, Source, SourceError};
use crate::clock::SharedClock;
use crate::domain::commit::SourceIdentity;
use crate::domain::event::{Note, RawBatch, RawItem};
use crate::domain::hash;
use crate::telemetry::happenings::{ConsumerMade, SourceAway};
use crate::telemetry::names;

/// Bytes of a batch; one item more may lie over it.
const BATCH_BYTES: usize = 16 << 20;
/// How long to wait for messages that the broker has before looking at the clock again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Most reply subjects kept to acknowledge by: beyond it every other one is let go.
const REPLIES_MAX: usize = 4_096;
/// Looks in vain, each `LOOK_AGAIN` long, before deliveries under way count as lost.
const STRIKES_MAX: u32 = 10;
/// Times in a row that a consumer may end at once before there is a pause.
const ENDS_MAX: u32 = 2;

/// A stream of JetStream, to read events from.
pub struct JetSource {
    link: Link,
    state: watch::Receiver<LinkState>,
    settings: SourceSettings,
    clock: SharedClock,
    unpacker: Unpacker,
    identity: SourceIdentity,
    retention: RetentionPolicy,
    /// Position read last, and the fingerprint of its item where it is known.
    last: u64,
    last_fingerprint: Option<u64>,
    acked: u64,
    lag: u64,
    /// Where batches end, and the reply subjects there.
    replies: VecDeque<(u64, Subject)>,
    reading: Option<Reading>,
    /// A message that does not follow the last one.
    hole: Option<(Message, Delivery, Hole)>,
    /// Read one by one up to here: another reader was given these and did not finish.
    singles: Option<u64>,
    /// To be told by the next pull.
    gap: Option<(u64, u64)>,
    missing_since: Option<i64>,
    /// Why the consumer is made anew; `None` for the first time.
    cause: Option<String>,
    /// Times in a row that the consumer ended before it gave anything.
    ends: u32,
    away: bool,
}

impl std::fmt::Debug for JetSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let JetSource { identity, last, lag, .. } = self;
        out.debug_struct("JetSource")
            .field("identity", identity)
            .field("last", last)
            .field("lag", lag)
            .finish_non_exhaustive()
    }
}

/// Why there is no answer now.
enum Stop {
    Away(String),
    Final(SourceError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Away(reason) => Stop::Away(reason),
            Refusal::Missing => Stop::Away("the broker does not find it".into()),
            Refusal::Refused(cause) => Stop::Final(SourceError::Unfit(cause)),
        }
    }
}

/// Items being collected.
#[derive(Default)]
struct Collected {
    data: Vec<u8>,
    items: Vec<RawItem>,
    notes: Vec<Note>,
    reply: Option<Subject>,
}

impl JetSource {
    /// A source; nothing is asked before `open`.
    ///
    /// # Errors
    /// When the subject template breaks a rule.
    pub fn new(
        link: Link,
        settings: SourceSettings,
        clock: SharedClock,
    ) -> Result<Self, NatsError> {
        let template = Template::parse(&settings.subject_template).map_err(|cause| {
            NatsError::Setting { key: "nats.source.subject_template".into(), cause }
        })?;
        let mut name = settings.stream.clone();
        if !settings.filter.is_empty() {
            name = format!("{name} {}", settings.filter.join(","));
        }
        Ok(JetSource {
            state: link.state(),
            unpacker: Unpacker::new(template, settings.time, settings.inflated_bytes_max),
            identity: SourceIdentity { name, incarnation: String::new() },
            retention: RetentionPolicy::Limits,
            last: 0,
            last_fingerprint: None,
            acked: 0,
            lag: 0,
            replies: VecDeque::new(),
            reading: None,
            hole: None,
            singles: None,
            gap: None,
            missing_since: None,
            cause: None,
            ends: 0,
            away: false,
            link,
            settings,
            clock,
        })
    }

    /// What it is called in errors.
    fn what(&self) -> String {
        format!("stream {}", self.settings.stream)
    }

    /// Why it is away, for people.
    fn explain(&self, mut reason: String) -> String {
        if reason == manage::NOBODY && self.link.api() != API {
            reason = format!(
                "{reason} at {}: are nats.domain and nats.api_prefix right, and is that JetStream \
                 connected to this server?",
                self.link.api()
            );
        }
        self.link.explain(reason)
    }

    /// Sees to it that the consumer is being read on the connection there is now.
    async fn stand_ready(&mut self) -> Result<(), Stop> {
        let LinkState { connected, connects, .. } = *self.state.borrow();
        if !connected {
            return Err(Stop::Away(self.link.away().to_string()));
        }
        if self.reading.as_ref().is_some_and(|reading| reading.connects == connects) {
            return Ok(());
        }
        if self.reading.take().is_some() {
            self.cause = Some("the connection was made again".into());
        }
        self.hole = None;
        self.verify().await?;
        self.subscribe(connects).await
    }

    /// Stops, or has the next pull tell the gap.
    fn note_gap(&mut self, from: u64, to: u64) -> Result<(), SourceError> {
        if self.settings.on_gap == OnGap::Stop {
            return Err(SourceError::Gap { source_name: self.what(), from, to });
        }
        self.gap = Some((from, to));
        Ok(())
    }

    /// Makes the consumer (or takes the one that is there) and begins to read it.
    async fn subscribe(&mut self, connects: u64) -> Result<(), Stop> {
        let (context, settings) = (self.link.jetstream(), &self.settings);
        // Under other retentions a consumer holds what is not acknowledged: it is kept.
        let owned = settings.manage == Manage::Create && self.retention == RetentionPolicy::Limits;
        let after = self.gap.map_or(self.last, |(_, to)| to);
        let info = if owned {
            manage::delete_consumer(context, settings).await?;
            manage::make_consumer(context, settings, Some(after + 1)).await?
        } else {
            match manage::consumer_info(context, &settings.stream, &settings.consumer).await {
                Err(Refusal::Missing) if settings.manage == Manage::Create => {
                    manage::make_consumer(context, settings, None).await?
                }
                Err(Refusal::Missing) => {
                    return Err(Stop::Final(SourceError::Unfit(format!(
                        "consumer {} of stream {} does not exist, and nats.manage = \"check\" makes \
                         none: make it (pull, ack policy all), or set nats.manage = \"create\"",
                        settings.consumer, settings.stream
                    ))));
                }
                info => info?,
            }
        };
        if let Some(mismatch) = manage::consumer_mismatch(settings, &info, after) {
            return Err(Stop::Final(SourceError::Unfit(mismatch)));
        }
        let delivered = info.delivered.stream_sequence;
        self.singles = (!owned && delivered > after).then_some(delivered);
        let now = self.clock.elapsed();
        let reading = Reading::start(context, self.link.api(), &info, connects, now)
            .await
            .map_err(Stop::Away)?;
        if let Some(cause) = self.cause.take() {
            ConsumerMade { source: &self.identity.name, after: self.last, cause: &cause }.tell();
        }
        self.lag = reading.pending;
        self.replies.clear();
        self.reading = Some(reading);
        Ok(())
    }

    /// What the next pull finds.
    async fn step(&mut self, max: usize) -> Result<Pull, Stop> {
        loop {
            self.stand_ready().await?;
            if let Some((from, to)) = self.gap.take() {
                return Ok(self.pass(from, to));
            }
            if let Some(to) = self.singles {
                if let Some(pull) = self.read_singly(to, max).await? {
                    return Ok(pull);
                }
                continue;
            }
            if let Some(hole) = self.hole.take() {
                self.close(hole).await?;
                continue;
            }
            let target = self.settings.pull_messages.min(max);
            let Some(reading) = &mut self.reading else { continue };
            reading.top_up(target).await.map_err(Stop::Away)?;
            let (batch, ended) = self.collect(max).await;
            if let Some(reason) = ended {
                self.reading = None;
                self.ends += 1;
                if batch.items.is_empty() && self.ends > ENDS_MAX {
                    return Err(Stop::Away(reason));
                }
                self.cause = Some(reason);
            }
            if !batch.items.is_empty() {
                return Ok(self.hand_over(batch));
            }
            if self.hole.is_some() || self.gap.is_some() {
                continue;
            }
            if let Some(pull) = self.nothing_came().await? {
                return Ok(pull);
            }
        }
    }

    /// Tells a gap and goes on behind it.
    fn pass(&mut self, from: u64, to: u64) -> Pull {
        self.last = to;
        self.last_fingerprint = None;
        Pull::Gap { from, to }
    }

    /// Takes what has come, as much as fits. A reason when the consumer ended.
    async fn collect(&mut self, max: usize) -> (Collected, Option<String>) {
        let mut batch = Collected::default();
        let now = self.clock.elapsed();
        // All of it in one poll: a task's budget would end it after 128 messages.
        let drained = poll_fn(|cx| Poll::Ready(self.drain(cx, now, max, &mut batch)));
        let ended = tokio::task::unconstrained(drained).await;
        (batch, ended)
    }

    fn drain(
        &mut self,
        cx: &mut TaskContext<'_>,
        now: i64,
        max: usize,
        batch: &mut Collected,
    ) -> Option<String> {
        let reading = self.reading.as_mut()?;
        while batch.items.len() < max && batch.data.len() < BATCH_BYTES {
            let (message, delivery) = match reading.poll(cx, now) {
                Poll::Pending => break,
                Poll::Ready(Incoming::Ended(reason)) => return Some(reason),
                Poll::Ready(Incoming::Message(message, delivery)) => (message, delivery),
            };
            let filtered = !self.settings.filter.is_empty();
            if let Some(hole) = hole(reading, &delivery, self.last, filtered) {
                self.hole = Some((message, delivery, hole));
                break;
            }
            (reading.pending, reading.sure) = (delivery.pending, true);
            if delivery.sequence <= self.last {
                counter!(names::SOURCE_REDELIVERED).increment(1);
                if delivery.sequence <= self.acked
                    && let Some(reply) = message.reply
                {
                    send_ack(&self.link, reply);
                }
                continue;
            }
            let start = batch.data.len() as u32;
            let Message { subject, headers, payload, .. } = &message;
            let note = self.unpacker.unpack(
                subject,
                headers.as_ref(),
                payload,
                delivery.stored,
                &mut batch.data,
            );
            batch.push(start, delivery.sequence, note);
            batch.reply = message.reply;
            self.last = delivery.sequence;
        }
        self.lag = reading.pending;
        None
    }

    /// A batch of what was collected; remembers how to acknowledge it.
    fn hand_over(&mut self, batch: Collected) -> Pull {
        let Collected { data, items, notes, reply } = batch;
        if let Some(item) = items.last() {
            let bytes = &data[item.start as usize..];
            self.last_fingerprint = Some(hash::fingerprint(bytes));
            self.last = item.position;
            self.ends = 0;
        }
        if let Some(reply) = reply {
            if self.replies.len() >= REPLIES_MAX {
                // Every other place is enough: the next one acknowledges for both.
                let mut keep = false;
                self.replies.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.replies.push_back((self.last, reply));
        }
        Pull::Batch(RawBatch {
            arrived: notes.last().map_or(0, |note| note.arrived),
            data: Bytes::from(data),
            items,
            notes,
            note_names: self.unpacker.names(),
        })
    }

    /// Nothing is there: the end, or not yet here, or the broker is silent.
    async fn nothing_came(&mut self) -> Result<Option<Pull>, Stop> {
        let now = self.clock.elapsed();
        let Some(reading) = &mut self.reading else { return Ok(None) };
        let silent = now - reading.heard > SILENCE;
        if !reading.sure || silent {
            self.ask_consumer(silent, now).await?;
        }
        let Some(reading) = &mut self.reading else { return Ok(None) };
        if reading.sure && reading.pending == 0 {
            self.ends = 0;
            return Ok(Some(Pull::CaughtUp));
        }
        if tokio::time::timeout(LOOK_AGAIN, reading.peek()).await.is_ok() {
            return Ok(None);
        }
        let pending = reading.pending;
        Err(Stop::Away(format!("{pending} messages wait in {} and none came", self.what())))
    }

    /// Asks the consumer how it stands, because its deliveries do not say it.
    async fn ask_consumer(&mut self, silent: bool, now: i64) -> Result<(), Stop> {
        let SourceSettings { stream, consumer, .. } = &self.settings;
        let info = manage::consumer_info(self.link.jetstream(), stream, consumer).await;
        let Some(reading) = &mut self.reading else { return Ok(()) };
        let cause = match info {
            Err(Refusal::Missing) => "it was deleted",
            Err(refusal) => return Err(refusal.into()),
            Ok(info) if info.created.to_string() != reading.made => "somebody made it anew",
            Ok(_) if silent => "it was silent",
            Ok(info) if info.delivered.stream_sequence > self.last => {
                reading.pending = reading.pending.max(1);
                reading.strikes += 1;
                match reading.strikes > STRIKES_MAX {
                    true => "deliveries were lost on the way",
                    false => return Ok(()),
                }
            }
            Ok(info) => {
                (reading.pending, reading.sure) = (info.num_pending, true);
                (reading.heard, reading.strikes) = (now, 0);
                self.lag = info.num_pending;
                return Ok(());
            }
        };
        self.cause = Some(cause.into());
        self.reading = None;
        Ok(())
    }

    /// Opens, and tries again for as long as nobody answers.
    async fn open_at(&mut self, resume: Resume) -> Result<Opened, SourceError> {
        (self.reading, self.hole, self.singles, self.gap) = (None, None, None, None);
        self.replies.clear();
        self.cause = None;
        let mut told = false;
        loop {
            match self.prepare(&resume).await {
                Ok(warnings) => {
                    let incarnation = self.identity.incarnation.clone();
                    return Ok(Opened { incarnation, warnings });
                }
                Err(Stop::Final(error)) => return Err(error),
                Err(Stop::Away(reason)) if !told => {
                    told = true;
                    let reason = self.explain(reason);
                    SourceAway { source: &self.identity.name, cause: &reason }.tell();
                }
                Err(Stop::Away(_)) => {}
            }
            let mut state = self.state.clone();
            let _ = tokio::time::timeout(LOOK_AGAIN, state.changed()).await;
        }
    }

    async fn next(&mut self, max: usize) -> Result<Pull, SourceError> {
        let stepped = self.step(max.max(1)).await;
        let was_away = std::mem::replace(&mut self.away, matches!(stepped, Err(Stop::Away(_))));
        match stepped {
            Ok(pull) => Ok(pull),
            Err(Stop::Final(error)) => Err(error),
            Err(Stop::Away(reason)) => {
                let reason = self.explain(reason);
                if !was_away {
                    SourceAway { source: &self.identity.name, cause: &reason }.tell();
                }
                Ok(Pull::Away(reason))
            }
        }
    }

    async fn waiting(&mut self) {
        let JetSource { state, reading, hole, singles, gap, away, .. } = self;
        if !*away && (hole.is_some() || singles.is_some() || gap.is_some()) {
            return;
        }
        let mut changed = pin!(state.changed());
        match reading {
            Some(reading) if !*away => {
                tokio::select! {
                    () = reading.peek() => {}
                    _ = &mut changed => {}
                }
            }
            _ => drop(tokio::time::timeout(LOOK_AGAIN, changed).await),
        }
    }
}

impl Collected {
    fn push(&mut self, start: u32, position: u64, note: Note) {
        let len = self.data.len() as u32 - start;
        self.items.push(RawItem { start, len, position });
        self.notes.push(note);
    }
}

/// A lost acknowledgement is made up for by the next one.
fn send_ack(link: &Link, reply: Subject) {
    let client = link.client().clone();
    drop(link.spawn(async move {
        let _ = client.publish(reply, Bytes::from_static(b"+ACK")).await;
    }));
}

impl Source for JetSource {
    fn name(&self) -> &str {
        &self.identity.name
    }

    fn open(&mut self, resume: Resume) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(self.open_at(resume))
    }

    fn pull(&mut self, max: usize) -> BoxFuture<'_, Result<Pull, SourceError>> {
        Box::pin(self.next(max))
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.waiting())
    }

    fn ack(&mut self, position: u64) {
        self.acked = self.acked.max(position);
        let mut last = None;
        while self.replies.front().is_some_and(|(end, _)| *end <= position) {
            last = self.replies.pop_front();
        }
        if let Some((_, reply)) = last {
            send_ack(&self.link, reply);
        }
    }

    fn lag(&self) -> Option<u64> {
        Some(self.lag)
    }
}
