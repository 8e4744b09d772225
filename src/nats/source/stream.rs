//! What the stream itself says, asked of its leader: what lies at a position, and whether it is
//! still the stream that was opened (I7).

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{self, RawMessage};
use serde::Deserialize;
use serde_json::json;

use super::look::{Consumer, FORGOTTEN};
use super::reading::Reading;
use super::{JetSource, Phase, Stop, monitor};
use crate::actors::ports::{Resume, SourceError};
use crate::domain::event::Note;
use crate::domain::hash;
use crate::domain::time::EpochMs;
use crate::nats::NatsError;
use crate::nats::manage::{self, Refusal};
use crate::nats::settings::Manage;
use crate::telemetry::happenings::ConsumerMade;

/// How long a stream may be missing before it is believed to be gone: a cluster that comes
/// up again does not know all its streams at once.
const MISSING_MS: i64 = 3_000;

#[derive(Deserialize)]
struct Found {
    message: RawMessage,
}

impl JetSource {
    fn diverged(&self, position: u64, cause: String) -> SourceError {
        SourceError::Diverged { source_name: self.what(), position, cause }
    }

    /// Connects, makes or checks the stream, and goes to where it was read to, if it is still
    /// what was read; returns warnings.
    pub(super) async fn prepare(&mut self, resume: &Resume) -> Result<Vec<String>, Stop> {
        let unfit = |error: NatsError| Stop::Final(SourceError::Unfit(error.to_string()));
        self.link.ready().await.map_err(unfit)?;
        let server = self.link.server_version().unwrap_or_default();
        if let Some(begin) = self.look.as_ref().map(|look| look.begin) {
            return self.prepare_look(begin).await;
        }
        let position = resume.position;
        let may_make = self.settings.manage == Manage::Create && position == 0;
        let context = self.link.jetstream();
        let info = manage::open_stream(context, &self.settings, server, may_make).await?;
        let found = match position {
            0 => None,
            position => self.fingerprint_at(position).await?,
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

    /// Fingerprint of the item at `position`, `None` when it is gone.
    async fn fingerprint_at(&self, position: u64) -> Result<Option<u64>, Stop> {
        let Some(message) = self.message(json!({ "seq": position })).await? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        self.unpack_single(&message, &mut bytes);
        Ok(Some(hash::fingerprint(&bytes)))
    }

    pub(super) fn unpack_single(&self, message: &StreamMessage, out: &mut Vec<u8>) -> Note {
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
    pub(super) async fn first_from(&self, position: u64) -> Result<Option<StreamMessage>, Stop> {
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

    /// Checks that the stream is the one that was opened and still holds what was read (I7).
    pub(super) async fn verify(&mut self) -> Result<(), Stop> {
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
        if first > self.last + 1 && self.last > 0 {
            self.note_gap(self.last + 1, first - 1).map_err(Stop::Final)
        } else {
            Ok(())
        }
    }

    /// Makes the consumer (or takes the one that is there) and begins to read it.
    pub(super) async fn subscribe(&mut self, connects: u64) -> Result<(), Stop> {
        let (context, settings) = (self.link.jetstream(), &self.settings);
        let owned = self.owns_consumer();
        let after = self.gap.map_or(self.last, |(_, to)| to);
        let info = if owned {
            manage::delete_consumer(context, settings).await?;
            let forgotten = self.look.as_ref().map(|_| FORGOTTEN);
            let made = manage::make_consumer(context, settings, Some(after + 1), forgotten).await;
            let info = made.map_err(|refusal| match refusal {
                Refusal::Refused(cause) if forgotten.is_some() => Refusal::Refused(format!(
                    "stream {} cannot be looked at beside its readers: {cause}",
                    settings.stream
                )),
                other => other,
            })?;
            if let Some(look) = &mut self.look {
                let (link, settings) = (self.link.clone(), settings.clone());
                look.consumer = Some(Consumer { link, settings });
            }
            info
        } else {
            match manage::consumer_info(context, &settings.stream, &settings.consumer).await {
                Err(Refusal::Missing) if settings.manage == Manage::Create => {
                    manage::make_consumer(context, settings, None, None).await?
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
        let mismatch = || manage::consumer_mismatch(settings, &info, after);
        if let Some(mismatch) = (!owned).then(mismatch).flatten() {
            return Err(Stop::Final(SourceError::Unfit(mismatch)));
        }
        let delivered = info.delivered.stream_sequence;
        let now = self.clock.elapsed();
        let reading = Reading::start(context, self.link.api(), &info, connects, now)
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

    pub(super) fn lost_tail(&self, end: u64) -> SourceError {
        self.diverged(
            self.last,
            format!(
                "it ends at {end}, and {} was read: it lost its tail (power loss on a broker that \
                 does not sync every write). Restore it, or move the data folder away to start anew",
                self.last
            ),
        )
    }
}

/// When a stream was made: what tells it from another one of the same name.
pub(super) fn created(info: &stream::Info) -> String {
    let nanos = info.created.unix_timestamp_nanos();
    jiff::Timestamp::from_nanosecond(nanos).map_or_else(|_| nanos.to_string(), |at| at.to_string())
}
