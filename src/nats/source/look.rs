//! A look back at what a stream held when it was asked: through a consumer that nobody else uses and
//! that goes with the look.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::{JetSource, Stop};
use crate::actors::ports::SourceError;
use crate::clock::SharedClock;
use crate::domain::time::EpochMs;
use crate::nats::NatsError;
use crate::nats::link::Link;
use crate::nats::manage::{self, Refusal};
use crate::nats::settings::{Manage, OnGap, SourceSettings};

/// How long the server keeps the consumer of a look that it hears nothing more of.
pub(super) const FORGOTTEN: Duration = Duration::from_secs(30);

/// Longest wait for the server to delete the consumer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a look begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// At most so many of the newest messages, those of other subjects included.
    pub newest: u64,
    /// None that the stream had stored before.
    pub stored: EpochMs,
}

/// A look under way.
pub(super) struct Look {
    pub begin: Begin,
    /// The last message that the stream held when it was asked.
    pub end: u64,
    pub consumer: Option<Consumer>,
}

/// A consumer of a look; deleted with this.
pub(super) struct Consumer {
    pub link: Link,
    pub settings: SourceSettings,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let (link, settings) = (self.link.clone(), self.settings.clone());
        let (done, deleted) = sync_channel(1);
        drop(self.link.spawn(async move {
            // One that cannot be deleted now goes by itself, after `FORGOTTEN`.
            let _ = manage::delete_consumer(link.jetstream(), &settings).await;
            let _ = done.send(());
        }));
        let _ = deleted.recv_timeout(PATIENCE);
    }
}

impl JetSource {
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
        let inbox = link.client().new_inbox();
        let unique = inbox.rsplit('.').next().unwrap_or_default();
        let settings = SourceSettings {
            consumer: format!("tidewatch-look-{unique}"),
            manage: Manage::Create,
            on_gap: OnGap::Continue,
            subjects: Vec::new(),
            ..settings
        };
        let mut source = JetSource::new(link, settings, clock)?;
        source.look = Some(Look { begin, end: 0, consumer: None });
        Ok(source)
    }

    /// Goes to where a look begins.
    pub(super) async fn prepare_look(&mut self, begin: Begin) -> Result<Vec<String>, Stop> {
        let stream = &self.settings.stream;
        let info = match manage::stream_info(self.link.jetstream(), stream).await {
            Err(Refusal::Missing) => {
                let why = format!("stream {stream} does not exist");
                return Err(Stop::Final(SourceError::Unfit(why)));
            }
            info => info?,
        };
        let (first, end) = (info.state.first_sequence, info.state.last_sequence);
        self.identity.incarnation = super::stream::created(&info);
        let newest = first.max((end + 1).saturating_sub(begin.newest));
        self.last = self.stored_from(newest, end, begin.stored).await?.saturating_sub(1);
        if let Some(look) = &mut self.look {
            look.end = end;
        }
        Ok(Vec::new())
    }

    /// The first position from `first` to `end` that was stored at a time or later; the one behind
    /// `end` where there is none.
    async fn stored_from(&self, first: u64, end: u64, at: EpochMs) -> Result<u64, Stop> {
        let (mut low, mut high) = (first, end + 1);
        while low < high {
            // The first is most often early enough.
            let middle = if low == first { first } else { low + (high - low) / 2 };
            match self.first_from(middle).await? {
                Some(found) if found.sequence <= end && stored(&found) < at => {
                    low = found.sequence + 1;
                }
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// All that the stream held was read; nothing is left behind there.
    pub(super) fn look_is_over(&mut self, caught_up: bool) -> bool {
        let last = self.last;
        let Some(look) = self.look.as_mut().filter(|look| caught_up || last >= look.end) else {
            return false;
        };
        look.consumer = None;
        true
    }
}

fn stored(message: &async_nats::jetstream::message::StreamMessage) -> EpochMs {
    (message.time.unix_timestamp_nanos() / 1_000_000) as EpochMs
}
