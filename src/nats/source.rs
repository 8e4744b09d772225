//! A stream as a source: read in order by a durable pull consumer, from the position that
//! is committed here, whatever the broker remembers.
//!
//! The position is the sequence of the stream. The consumer is a means and never the truth:
//! it is made anew at every start and after every reconnect, and when it is deleted or its
//! deliveries get lost. The stream is not believed blindly either (I7, I8): after each
//! reconnect it must be the same stream, it must not have lost its tail, and the last event
//! read must still be the one that was read; what is missing is proved to be deleted before
//! it is called a gap.

mod monitor;
mod reading;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{self, RawMessage, RetentionPolicy};
use async_nats::{Message, Subject};
use bytes::Bytes;
use metrics::counter;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use self::reading::{Delivery, Incoming, Reading, SILENCE};
use super::NatsError;
use super::link::{Link, LinkState};
use super::manage::{self, Refusal};
use super::settings::{Manage, OnGap, SourceSettings};
use super::wire::{Template, Unpacker};
use crate::actors::ports::{BoxFuture, Pull, Source, SourceError};
use crate::clock::SharedClock;
use crate::domain::commit::SourceIdentity;
use crate::domain::event::{Note, RawBatch, RawItem};
use crate::domain::hash;
use crate::domain::time::EpochMs;
use crate::telemetry::happenings::{ConsumerMade, SourceAway};
use crate::telemetry::names;

/// Bytes of a batch; one item more may lie over it.
const BATCH_BYTES: usize = 16 << 20;
/// How long to wait for messages that the broker has before looking at the clock again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a stream may be missing before it is believed to be gone: a cluster that comes
/// up again does not know all its streams at once.
const MISSING_MS: i64 = 3_000;
/// Most reply subjects kept to acknowledge by: beyond it every other one is let go.
const REPLIES_MAX: usize = 4_096;
/// Messages read one by one in one go.
const SINGLES_MAX: usize = 256;
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
    warnings: Vec<String>,
    /// Position it was opened at, and the fingerprint of the item there.
    opened: Option<(u64, Option<u64>)>,
    /// First and last sequence of the stream when it was opened.
    kept: (u64, u64),
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

/// What may be wrong when a message does not follow the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    /// Its sequence jumps: deleted, or lost on the way.
    Sequence,
    /// The number of its delivery jumps: lost on the way.
    Delivery,
    /// Fewer messages were left than there should be: perhaps deleted.
    Pending,
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

#[derive(Deserialize)]
struct Found {
    message: RawMessage,
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
            unpacker: Unpacker::new(template, settings.inflated_bytes_max),
            identity: SourceIdentity { name, incarnation: String::new() },
            retention: RetentionPolicy::Limits,
            warnings: Vec::new(),
            opened: None,
            kept: (0, 0),
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

    fn diverged(&self, position: u64, cause: String) -> SourceError {
        SourceError::Diverged { source_name: self.what(), position, cause }
    }

    /// Connects, makes or checks the stream, and looks at the event at `position`.
    async fn prepare(&mut self, position: u64) -> Result<(), Stop> {
        let unfit = |error: NatsError| Stop::Final(SourceError::Unfit(error.to_string()));
        self.link.ready().await.map_err(unfit)?;
        let server = self.link.server_version().unwrap_or_default();
        let may_make = self.settings.manage == Manage::Create && position == 0;
        let context = self.link.jetstream();
        let info = manage::open_stream(context, &self.settings, server, may_make).await?;
        let found = match position {
            0 => Some(0),
            position => self.fingerprint_at(position).await?,
        };
        self.identity.incarnation = created(&info);
        self.retention = info.config.retention;
        self.kept = (info.state.first_sequence, info.state.last_sequence);
        self.warnings = manage::stream_warnings(&self.settings, &info.config);
        self.warnings.extend(monitor::warning(&info.config, &self.settings.monitor_url).await);
        self.opened = Some((position, found));
        Ok(())
    }

    /// Fingerprint of the item at `position`, `None` when it is gone.
    async fn fingerprint_at(&self, position: u64) -> Result<Option<u64>, Stop> {
        let Some(message) = self.message(json!({ "seq": position })).await? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        self.unpack_single(&message, &mut bytes);
        Ok(Some(hash::fingerprint(&bytes)))
    }

    fn unpack_single(&self, message: &StreamMessage, out: &mut Vec<u8>) -> Note {
        let stored = (message.time.unix_timestamp_nanos() / 1_000_000) as EpochMs;
        let headers = Some(&message.headers);
        self.unpacker.unpack(&message.subject, headers, &message.payload, stored, out)
    }

    /// One message, from the stream's leader.
    async fn message(&self, question: serde_json::Value) -> Result<Option<StreamMessage>, Stop> {
        let subject = format!("STREAM.MSG.GET.{}", self.settings.stream);
        match manage::ask::<Found>(self.link.jetstream(), subject, &question).await {
            Ok(found) => StreamMessage::try_from(found.message).map(Some).map_err(|error| {
                Stop::Away(format!("the broker's answer is not understood: {error}"))
            }),
            Err(Refusal::Missing) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The first message at `position` or after it that this source reads.
    async fn first_from(&self, position: u64) -> Result<Option<StreamMessage>, Stop> {
        let every = [">".to_owned()];
        let filters: &[String] = match self.settings.filter.as_slice() {
            [] => &every,
            filters => filters,
        };
        let mut first: Option<StreamMessage> = None;
        for filter in filters {
            let question = json!({ "seq": position, "next_by_subj": filter });
            let found = self.message(question).await?;
            let sooner = |message: &StreamMessage| {
                first.as_ref().is_none_or(|first| message.sequence < first.sequence)
            };
            if let Some(found) = found.filter(sooner) {
                first = Some(found);
            }
        }
        Ok(first)
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

    /// Checks that the stream is the one that was opened and still holds what was read (I7).
    async fn verify(&mut self) -> Result<(), Stop> {
        let info = match manage::stream_info(self.link.jetstream(), &self.settings.stream).await {
            Ok(info) => info,
            Err(Refusal::Missing) => return Err(self.missing()),
            Err(refusal) => return Err(refusal.into()),
        };
        self.missing_since = None;
        let made = created(&info);
        if made != self.identity.incarnation {
            return Err(Stop::Final(self.diverged(
                self.last,
                format!(
                    "it was deleted and made again: it is of {made}, and the one that was read of \
                     {}. Restore it, or move the data folder away to start anew",
                    self.identity.incarnation
                ),
            )));
        }
        if info.state.last_sequence < self.last {
            return Err(Stop::Final(self.lost_tail(info.state.last_sequence)));
        }
        if let Some(known) = self.last_fingerprint.filter(|_| self.last > 0)
            && let Some(found) = self.fingerprint_at(self.last).await?
            && found != known
        {
            return Err(Stop::Final(
                self.diverged(
                    self.last,
                    "it holds another event there than was read: it lost its tail and was written \
                 again. Restore it, or move the data folder away to start anew"
                        .into(),
                ),
            ));
        }
        let first = info.state.first_sequence;
        match first > self.last + 1 && self.last > 0 {
            true => self.note_gap(self.last + 1, first - 1).map_err(Stop::Final),
            false => Ok(()),
        }
    }

    fn missing(&mut self) -> Stop {
        let now = self.clock.elapsed();
        let since = *self.missing_since.get_or_insert(now);
        if now - since < MISSING_MS {
            return Stop::Away(format!("{} is not found", self.what()));
        }
        Stop::Final(self.diverged(
            self.last,
            "it was deleted. Restore it, or move the data folder away to start anew".into(),
        ))
    }

    fn lost_tail(&self, end: u64) -> SourceError {
        self.diverged(
            self.last,
            format!(
                "it ends at {end}, and {} was read: it lost its tail (power loss on a broker that \
                 does not sync every write). Restore it, or move the data folder away to start anew",
                self.last
            ),
        )
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
        let reading = Reading::start(context, &info, connects, now).await.map_err(Stop::Away)?;
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

    /// Finds out what a message is about that does not follow the last one.
    async fn close(&mut self, hole: (Message, Delivery, Hole)) -> Result<(), Stop> {
        let (message, delivery, kind) = hole;
        let wanted = self.last + 1;
        let deleted_to = match kind {
            Hole::Delivery => None,
            Hole::Sequence => {
                match self.look(self.first_from(wanted).await, &message, &delivery, kind)? {
                    Some(found) if found.sequence == wanted => None,
                    Some(found) => Some(found.sequence.min(delivery.sequence) - 1),
                    None => Some(delivery.sequence - 1),
                }
            }
            Hole::Pending => {
                let info = manage::stream_info(self.link.jetstream(), &self.settings.stream).await;
                let info = self.look(info.map_err(Stop::from), &message, &delivery, kind)?;
                let first = info.state.first_sequence.min(delivery.sequence);
                // Nothing was deleted before it: the broker's count was behind.
                Some(if first > wanted { first - 1 } else { self.last })
            }
        };
        match deleted_to {
            Some(to) => {
                if to > self.last {
                    self.note_gap(wanted, to).map_err(Stop::Final)?;
                }
                if let Some(reading) = &mut self.reading {
                    reading.pending = delivery.pending + 1;
                    reading.put_back(message, delivery);
                }
            }
            None if self.settings.manage == Manage::Create
                && self.retention == RetentionPolicy::Limits =>
            {
                self.reading = None;
                self.cause = Some("deliveries were lost on the way".into());
            }
            // The consumer is not ours to make anew: read what it will not deliver again soon.
            None => {
                self.singles = Some(delivery.sequence - 1);
                if let Some(reading) = &mut self.reading {
                    reading.put_back(message, delivery);
                }
            }
        }
        Ok(())
    }

    /// Keeps the hole for another try when there was no answer.
    fn look<T>(
        &mut self,
        answer: Result<T, Stop>,
        message: &Message,
        delivery: &Delivery,
        kind: Hole,
    ) -> Result<T, Stop> {
        if answer.is_err() {
            self.hole = Some((message.clone(), *delivery, kind));
        }
        answer
    }

    /// Reads messages one by one up to `to`; `None` when all are read.
    async fn read_singly(&mut self, to: u64, max: usize) -> Result<Option<Pull>, Stop> {
        let mut batch = Collected::default();
        let mut last = self.last;
        while batch.items.len() < max.min(SINGLES_MAX) && batch.data.len() < BATCH_BYTES {
            let found = match last < to {
                true => self.first_from(last + 1).await?,
                false => None,
            };
            let Some(message) = found.filter(|message| message.sequence <= to) else {
                self.singles = None;
                break;
            };
            if self.settings.filter.is_empty() && message.sequence > last + 1 {
                if batch.items.is_empty() {
                    self.note_gap(last + 1, message.sequence - 1).map_err(Stop::Final)?;
                }
                break;
            }
            last = message.sequence;
            let start = batch.data.len() as u32;
            let note = self.unpack_single(&message, &mut batch.data);
            batch.push(start, last, note);
        }
        Ok((!batch.items.is_empty()).then(|| self.hand_over(batch)))
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
    async fn open_at(&mut self, position: u64) -> Result<(), SourceError> {
        self.reading = None;
        let mut told = false;
        loop {
            match self.prepare(position).await {
                Ok(()) => return Ok(()),
                Err(Stop::Final(error)) => return Err(error),
                Err(Stop::Away(reason)) if !told => {
                    told = true;
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

/// Whether a message does not follow the last one; counts its delivery.
fn hole(reading: &mut Reading, delivery: &Delivery, last: u64, filtered: bool) -> Option<Hole> {
    let expected = std::mem::replace(&mut reading.expected, delivery.consumer_sequence + 1);
    if filtered && delivery.consumer_sequence != expected {
        return Some(Hole::Delivery);
    }
    if delivery.sequence <= last {
        return None;
    }
    if !filtered {
        return (delivery.sequence > last + 1).then_some(Hole::Sequence);
    }
    // It was one of those that were left, so one less is left now, or more came.
    (reading.sure && delivery.pending + 1 < reading.pending).then_some(Hole::Pending)
}

/// A lost acknowledgement is made up for by the next one.
fn send_ack(link: &Link, reply: Subject) {
    let client = link.client().clone();
    drop(link.spawn(async move {
        let _ = client.publish(reply, Bytes::from_static(b"+ACK")).await;
    }));
}

/// When a stream was made: what tells it from another one of the same name.
fn created(info: &stream::Info) -> String {
    let nanos = info.created.unix_timestamp_nanos();
    jiff::Timestamp::from_nanosecond(nanos).map_or_else(|_| nanos.to_string(), |at| at.to_string())
}

impl Source for JetSource {
    fn identity(&self) -> SourceIdentity {
        self.identity.clone()
    }

    fn open(&mut self, position: u64) -> BoxFuture<'_, Result<(), SourceError>> {
        Box::pin(self.open_at(position))
    }

    fn fingerprint(&mut self, position: u64) -> Result<Option<u64>, SourceError> {
        match self.opened {
            _ if position == 0 => Ok(Some(0)),
            Some((opened, found)) if opened == position => Ok(found),
            _ => Err(SourceError::Unfit(format!("{} is not open at {position}", self.what()))),
        }
    }

    fn forgot(&self, position: u64) -> bool {
        // Made at the same time and at least as long: only deletion explains it.
        self.opened == Some((position, None)) && position <= self.kept.1
    }

    fn seek(&mut self, position: u64) -> Result<(), SourceError> {
        let (first, end) = self.kept;
        self.last = position;
        if position > end {
            return Err(self.lost_tail(end));
        }
        self.last_fingerprint = self.opened.filter(|(at, _)| *at == position).and_then(|(_, f)| f);
        self.acked = position;
        (self.reading, self.hole, self.singles, self.gap) = (None, None, None, None);
        self.replies.clear();
        self.cause = None;
        if position == 0 {
            // The first item is the first one kept.
            self.last = first.saturating_sub(1);
            self.last_fingerprint = None;
        } else if first > position + 1 {
            self.note_gap(position + 1, first - 1)?;
        }
        Ok(())
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

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}
