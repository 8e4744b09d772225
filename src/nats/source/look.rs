//! A look back at what a stream held when it was asked: through a consumer that nobody else uses and
//! that goes with the look.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::Stop;
use super::stream::{Leader, created};
use crate::actors::ports::SourceError;
use crate::domain::time::EpochMs;
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

impl Look {
    /// What a stream holds when it is asked: when that was made, and the position before the first one
    /// that is looked at.
    pub(super) async fn prepare(&mut self, leader: &Leader<'_>) -> Result<(String, u64), Stop> {
        let stream = &leader.settings.stream;
        let info = match manage::stream_info(leader.link.jetstream(), stream).await {
            Err(Refusal::Missing) => {
                let why = format!("stream {stream} does not exist");
                return Err(Stop::Final(SourceError::Unfit(why)));
            }
            info => info?,
        };
        let (first, end) = (info.state.first_sequence, info.state.last_sequence);
        let newest = first.max((end + 1).saturating_sub(self.begin.newest));
        let from = stored_from(leader, newest, end, self.begin.stored).await?;
        self.end = end;
        Ok((created(&info), from.saturating_sub(1)))
    }

    /// Whether all that the stream held was read; nothing is left behind there then.
    pub(super) fn is_over(&mut self, last: u64, caught_up: bool) -> bool {
        let over = caught_up || last >= self.end;
        if over {
            self.consumer = None;
        }
        over
    }
}

/// The settings of a look: a consumer of its own, and nothing that would change the stream.
pub(super) fn settings_of(link: &Link, settings: SourceSettings) -> SourceSettings {
    let inbox = link.client().new_inbox();
    let unique = inbox.rsplit('.').next().unwrap_or_default();
    SourceSettings {
        consumer: format!("tidewatch-look-{unique}"),
        manage: Manage::Create,
        on_gap: OnGap::Continue,
        subjects: Vec::new(),
        ..settings
    }
}

/// The first position from `first` to `end` that was stored at a time or later; the one behind
/// `end` where there is none.
async fn stored_from(leader: &Leader<'_>, first: u64, end: u64, at: EpochMs) -> Result<u64, Stop> {
    let (mut low, mut high) = (first, end + 1);
    while low < high {
        // The first is most often early enough.
        let middle = if low == first { first } else { low + (high - low) / 2 };
        match leader.first_from(middle).await? {
            Some(found) if found.sequence <= end && stored(&found) < at => {
                low = found.sequence + 1;
            }
            _ => high = middle,
        }
    }
    Ok(low)
}

fn stored(message: &async_nats::jetstream::message::StreamMessage) -> EpochMs {
    (message.time.unix_timestamp_nanos() / 1_000_000) as EpochMs
}
