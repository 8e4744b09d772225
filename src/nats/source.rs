//! A stream as a source: read in order by a durable pull consumer, from the position that
//! is committed here, whatever the broker remembers.
//!
//! The position is the sequence of the stream. The consumer is a means and never the truth:
//! it is made anew at every start and after every reconnect, and when it is deleted or its
//! deliveries get lost. The stream is not believed blindly either (I7, I8): after each
//! reconnect it must be the same stream, it must not have lost its tail, and the last event
//! read must still be the one that was read; what is missing is proved to be deleted before
//! it is called a gap.

mod deliveries;
mod holes;
mod look;
mod monitor;
mod reading;
mod stream;

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::stream::RetentionPolicy;
use async_nats::{Message, Subject};
use bytes::Bytes;
use tokio::sync::watch;

use self::deliveries::Found;
use self::holes::Hole;
pub use self::look::Begin;
use self::look::Look;
use self::reading::{Delivery, Reading};
use self::stream::{Leader, consumer, created};
use super::NatsError;
use super::link::{Link, LinkState};
use super::manage::{self, Refusal};
use super::settings::template::Template;
use super::settings::{API, Manage, OnGap, SourceSettings};
use super::wire::Unpacker;
use crate::actors::ports::{BoxFuture, Opened, Pull, Resume, Source, SourceError};
use crate::clock::SharedClock;
use crate::domain::commit::SourceIdentity;
use crate::telemetry::happenings::{ConsumerMade, SourceAway};

/// How long to wait for messages that the broker has before looking at the clock again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a stream may be missing before it is believed to be gone: a cluster that comes
/// up again does not know all its streams at once.
const MISSING_MS: i64 = 3_000;
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
    /// The consumer waits for acknowledgements.
    acks: bool,
    lag: u64,
    /// Bytes of the last batch: the next one begins with as much room.
    usual: usize,
    /// Where batches end, and the reply subjects there.
    replies: VecDeque<(u64, Subject)>,
    phase: Phase,
    /// To be told by the next pull.
    gap: Option<(u64, u64)>,
    missing_since: Option<i64>,
    /// Times in a row that the consumer ended before it gave anything.
    ends: u32,
    away: bool,
    /// It ends with what the stream held when it was opened.
    look: Option<Look>,
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

/// What is done next.
enum Phase {
    /// A consumer is made anew, for the reason given; without one it is the first.
    Lost(Option<String>),
    /// What it delivers is read.
    Reading(Box<Reading>),
    /// A message came that does not follow the last one.
    Broken(Box<Reading>, Box<Message>, Delivery, Hole),
    /// Messages are read one by one up to here: another reader was given these and did not
    /// finish.
    Singly(Box<Reading>, u64),
}

impl Phase {
    fn reading(&mut self) -> Option<&mut Reading> {
        match self {
            Phase::Lost(_) => None,
            Phase::Reading(reading) | Phase::Broken(reading, ..) | Phase::Singly(reading, _) => {
                Some(reading)
            }
        }
    }

    /// Takes the reading out; without it a consumer is made anew.
    fn take(&mut self) -> Phase {
        std::mem::replace(self, Phase::Lost(None))
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
            acks: false,
            lag: 0,
            usual: 0,
            replies: VecDeque::new(),
            phase: Phase::Lost(None),
            gap: None,
            missing_since: None,
            ends: 0,
            away: false,
            look: None,
            link,
            settings,
            clock,
        })
    }

    /// What a stream holds when this is opened, as a source that ends. It changes nothing in the
    /// stream, and neither makes one nor minds which subjects it should have.
    ///
    /// # Errors
    /// When the subject template breaks a rule.
    pub fn look(
        link: Link,
        settings: SourceSettings,
        begin: Begin,
        clock: SharedClock,
    ) -> Result<Self, NatsError> {
        let settings = look::settings_of(&link, settings);
        let mut source = JetSource::new(link, settings, clock)?;
        source.look = Some(Look { begin, end: 0, consumer: None });
        Ok(source)
    }

    /// The stream's leader.
    fn leader(&self) -> Leader<'_> {
        Leader { link: &self.link, settings: &self.settings }
    }

    /// A look has seen all that there was.
    fn is_over(&mut self, caught_up: bool) -> bool {
        let last = self.last;
        self.look.as_mut().is_some_and(|look| look.is_over(last, caught_up))
    }

    /// Whether the consumer is ours to delete and to make. Under other retentions it holds what is
    /// not acknowledged, and is kept.
    fn owns_consumer(&self) -> bool {
        let kept = self.retention == RetentionPolicy::Limits;
        self.look.is_some() || (self.settings.manage == Manage::Create && kept)
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
        match self.phase.reading() {
            Some(reading) if reading.connects == connects => return Ok(()),
            Some(_) => self.phase = Phase::Lost(Some("the connection was made again".into())),
            None => {}
        }
        self.verify().await?;
        self.subscribe(connects).await
    }

    fn diverged(&self, position: u64, cause: String) -> SourceError {
        SourceError::Diverged { source_name: self.what(), position, cause }
    }

    /// Connects, makes or checks the stream, and goes to where it was read to, if it is still
    /// what was read; returns warnings.
    async fn prepare(&mut self, resume: &Resume) -> Result<Vec<String>, Stop> {
        let unfit = |error: NatsError| Stop::Final(SourceError::Unfit(error.to_string()));
        self.link.ready().await.map_err(unfit)?;
        let server = self.link.server_version().unwrap_or_default();
        let leader = Leader { link: &self.link, settings: &self.settings };
        if let Some(look) = &mut self.look {
            (self.identity.incarnation, self.last) = look.prepare(&leader).await?;
            return Ok(Vec::new());
        }
        let position = resume.position;
        let may_make = self.settings.manage == Manage::Create && position == 0;
        let context = self.link.jetstream();
        let info = manage::open_stream(context, &self.settings, server, may_make).await?;
        let found = match position {
            0 => None,
            position => leader.fingerprint_at(position, &self.unpacker).await?,
        };
        let (first, end) = (info.state.first_sequence, info.state.last_sequence);
        self.identity.incarnation = created(&info);
        self.retention = info.config.retention;
        (self.last, self.last_fingerprint, self.acked) = (position, found, position);
        // A stream that was made at the same time and is at least as long: what is gone from it
        // was deleted.
        let found = || {
            if position > end {
                Err(self.lost_tail(end))
            } else {
                Ok(found.or(Some(resume.fingerprint)))
            }
        };
        resume.check(&self.identity, found).map_err(Stop::Final)?;
        if position > end {
            return Err(Stop::Final(self.lost_tail(end)));
        }
        if position == 0 {
            // The first item is the first one kept.
            self.last = first.saturating_sub(1);
        } else if first > position + 1 {
            self.note_gap(position + 1, first - 1).map_err(Stop::Final)?;
        }
        let mut warnings = manage::stream_warnings(&self.settings, &info.config);
        warnings.extend(monitor::warning(&info.config, &self.settings.monitor_url).await);
        Ok(warnings)
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
            && let Some(found) = self.leader().fingerprint_at(self.last, &self.unpacker).await?
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
        if first > self.last + 1 && self.last > 0 {
            self.note_gap(self.last + 1, first - 1).map_err(Stop::Final)
        } else {
            Ok(())
        }
    }

    /// Makes the consumer (or takes the one that is there) and begins to read it.
    async fn subscribe(&mut self, connects: u64) -> Result<(), Stop> {
        let owned = self.owns_consumer();
        let after = self.gap.map_or(self.last, |(_, to)| to);
        let asked = (owned, after);
        let info = consumer(&self.link, &self.settings, asked, &mut self.look).await?;
        let delivered = info.delivered.stream_sequence;
        let now = self.clock.elapsed();
        let reading = Reading::start(self.link.jetstream(), self.link.api(), &info, connects, now)
            .await
            .map_err(Stop::Away)?;
        if let Phase::Lost(Some(cause)) = &self.phase {
            ConsumerMade { source: &self.identity.name, after: self.last, cause }.tell();
        }
        self.lag = reading.pending;
        self.acks = !owned;
        let reading = Box::new(reading);
        self.replies.clear();
        self.phase = if !owned && delivered > after {
            Phase::Singly(reading, delivered)
        } else {
            Phase::Reading(reading)
        };
        Ok(())
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

    /// What the next pull finds.
    async fn step(&mut self, max: usize) -> Result<Pull, Stop> {
        loop {
            if self.is_over(false) {
                return Ok(Pull::End);
            }
            self.stand_ready().await?;
            if let Some((from, to)) = self.gap.take() {
                return Ok(self.pass(from, to));
            }
            let target = self.settings.pull_messages.min(max);
            match &mut self.phase {
                Phase::Lost(_) => continue,
                Phase::Broken(..) => {
                    self.close().await?;
                    continue;
                }
                Phase::Singly(_, to) => {
                    let to = *to;
                    if let Some(pull) = self.read_singly(to, max).await? {
                        return Ok(pull);
                    }
                    continue;
                }
                Phase::Reading(reading) => reading.top_up(target).await.map_err(Stop::Away)?,
            }
            let (batch, found) = self.collect(max).await;
            match found {
                Found::Nothing => {}
                Found::Hole(message, delivery, hole) => {
                    if let Phase::Reading(reading) = self.phase.take() {
                        self.phase = Phase::Broken(reading, Box::new(message), delivery, hole);
                    }
                }
                Found::End(reason) => {
                    self.phase = Phase::Lost(Some(reason.clone()));
                    self.ends += 1;
                    if batch.items.is_empty() && self.ends > ENDS_MAX {
                        return Err(Stop::Away(reason));
                    }
                }
            }
            if !batch.items.is_empty() {
                return Ok(self.hand_over(batch));
            }
            if !matches!(self.phase, Phase::Reading(_)) {
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

    /// Opens, and tries again for as long as nobody answers.
    async fn open_at(&mut self, resume: Resume) -> Result<Opened, SourceError> {
        (self.phase, self.gap) = (Phase::Lost(None), None);
        self.replies.clear();
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
            Ok(Pull::CaughtUp) if self.is_over(true) => Ok(Pull::End),
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
        let JetSource { state, phase, gap, away, .. } = self;
        let mut changed = pin!(state.changed());
        match phase {
            _ if !*away && gap.is_some() => {}
            Phase::Broken(..) | Phase::Singly(..) if !*away => {}
            Phase::Reading(reading) if !*away => {
                tokio::select! {
                    () = reading.peek() => {}
                    _ = &mut changed => {}
                }
            }
            _ => drop(tokio::time::timeout(LOOK_AGAIN, changed).await),
        }
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
