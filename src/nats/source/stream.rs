//! What the stream itself says, asked of its leader: what lies at a position; and the consumer of it.

use async_nats::jetstream::consumer;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{self, RawMessage};
use serde::Deserialize;
use serde_json::json;

use super::Stop;
use super::look::{Consumer, FORGOTTEN, Look};
use crate::actors::ports::SourceError;
use crate::domain::event::Note;
use crate::domain::hash;
use crate::domain::time::EpochMs;
use crate::nats::link::Link;
use crate::nats::manage::{self, Refusal};
use crate::nats::settings::{Manage, SourceSettings};
use crate::nats::wire::Unpacker;

#[derive(Deserialize)]
struct Found {
    message: RawMessage,
}

/// The stream's leader, asked for single messages.
pub(super) struct Leader<'a> {
    pub link: &'a Link,
    pub settings: &'a SourceSettings,
}

impl Leader<'_> {
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

    /// Fingerprint of the item at `position`, `None` when it is gone.
    pub(super) async fn fingerprint_at(
        &self,
        position: u64,
        unpacker: &Unpacker,
    ) -> Result<Option<u64>, Stop> {
        let Some(message) = self.message(json!({ "seq": position })).await? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        unpack_single(unpacker, &message, &mut bytes);
        Ok(Some(hash::fingerprint(&bytes)))
    }
}

/// A message as its item.
pub(super) fn unpack_single(
    unpacker: &Unpacker,
    message: &StreamMessage,
    out: &mut Vec<u8>,
) -> Note {
    let stored = (message.time.unix_timestamp_nanos() / 1_000_000) as EpochMs;
    let headers = Some(&message.headers);
    unpacker.unpack(&message.subject, headers, &message.payload, stored, out)
}

/// Makes the consumer that begins behind `after` where it is `owned`, or takes the one that is there.
pub(super) async fn consumer(
    link: &Link,
    settings: &SourceSettings,
    (owned, after): (bool, u64),
    look: &mut Option<Look>,
) -> Result<consumer::Info, Stop> {
    let context = link.jetstream();
    let info = if owned {
        manage::delete_consumer(context, settings).await?;
        let forgotten = look.as_ref().map(|_| FORGOTTEN);
        let made = manage::make_consumer(context, settings, Some(after + 1), forgotten).await;
        let info = made.map_err(|refusal| match refusal {
            Refusal::Refused(cause) if forgotten.is_some() => Refusal::Refused(format!(
                "stream {} cannot be looked at beside its readers: {cause}",
                settings.stream
            )),
            other => other,
        })?;
        if let Some(look) = look {
            let (link, settings) = (link.clone(), settings.clone());
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
    Ok(info)
}

/// When a stream was made: what tells it from another one of the same name.
pub(super) fn created(info: &stream::Info) -> String {
    let nanos = info.created.unix_timestamp_nanos();
    jiff::Timestamp::from_nanosecond(nanos).map_or_else(|_| nanos.to_string(), |at| at.to_string())
}
