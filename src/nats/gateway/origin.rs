//! The subject that a dead letter goes back to: the one its message came on. The stream that
//! it came from still holds that message, mostly; what an event says of its subject (a template)
//! is then the same the second time.

use async_nats::Subject;
use serde::Deserialize;
use serde_json::json;

use crate::actors::ports::{AppendError, Origin};
use crate::nats::link::Link;
use crate::nats::manage::{self, Refusal};
use crate::nats::settings::GatewaySettings;

/// Finds the subjects of one request's dead letters.
pub(super) struct Origins<'a> {
    link: &'a Link,
    settings: &'a GatewaySettings,
}

#[derive(Deserialize)]
struct Found {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    subject: String,
}

impl<'a> Origins<'a> {
    pub fn new(link: &'a Link, settings: &'a GatewaySettings) -> Self {
        Origins { link, settings }
    }

    /// Where an event goes: `posted`, where posted events go, unless it came from a stream that
    /// is read.
    ///
    /// # Errors
    /// The inner one: why this event cannot be sent; the outer one: nothing can be, now.
    pub async fn subject(
        &mut self,
        origin: &Origin,
        posted: &Subject,
    ) -> Result<Result<Subject, String>, AppendError> {
        // A source is named after its stream, and its filters behind it.
        let stream = origin.source.split(' ').next().unwrap_or_default();
        let is_read = self.settings.streams.iter().any(|read| read == stream);
        if origin.position == 0 || !is_read {
            return Ok(Ok(posted.clone()));
        }
        let question = json!({ "seq": origin.position });
        let (context, name) = (self.link.jetstream(), format!("STREAM.MSG.GET.{stream}"));
        match manage::ask::<Found>(context, name, &question).await {
            Ok(found) => Ok(Ok(found.message.subject.into())),
            Err(Refusal::Missing) if self.settings.streams.len() == 1 => Ok(Ok(posted.clone())),
            Err(Refusal::Missing) => Ok(Err(format!(
                "stream {stream} no longer holds message {}, which alone says on which subject it \
                 came: publish the event again yourself",
                origin.position
            ))),
            Err(Refusal::Away(cause)) => Err(AppendError::Away(self.link.explain(cause))),
            Err(Refusal::Refused(cause)) => Err(AppendError::Refused(cause)),
        }
    }
}
