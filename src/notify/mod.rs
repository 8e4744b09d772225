//! Notifications to people: a feed for each channel, on the one loop of [`crate::sink`].
//!
//! - `channel`: a channel as a sink. It cannot say where it stands, so the note of its feed does: a crash
//!   may deliver a notification again, with the same key. One that is published into a stream
//!   ([`to_publish`]) has a sink that can, see `crate::nats::out`.
//! - `memory`: what a channel wants to be reminded of.
//!
//! Channels block, and do so on threads for that; their feeds share a thread. What a channel does not
//! take holds up nothing but itself.

mod channel;
mod memory;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tidewatch_notify::Channel;
use tokio::sync::oneshot;

use crate::actors::ports::{IncidentRecords, Taker};
use crate::actors::quiet::Quiet;
use crate::actors::status::Status;
use crate::clock::SharedClock;
use crate::sink::feed::{Feed, Refused, Terms};
use crate::sink::{self, Outputs};

pub use channel::Notifications;

use channel::ChannelSink;
use memory::Memory;

/// Distance between two looks for what is to go out.
const POLL: Duration = Duration::from_millis(250);

/// A channel that is to run.
pub struct Opened {
    /// Its name.
    pub name: String,
    /// What delivers.
    pub channel: Arc<dyn Channel>,
    /// Longest wait between two tries.
    pub retry_max: Duration,
    /// Tries after which a notification is left out.
    pub tries_max: usize,
    /// Age from which on it is left out, but for the end of an incident.
    pub give_up: Duration,
    /// Told how far it got.
    pub taker: Arc<Taker>,
}

/// What channels need.
pub struct Parts {
    /// The notifications.
    pub records: Arc<dyn IncidentRecords>,
    /// Tells how old they are.
    pub clock: SharedClock,
    /// Told how each channel stands.
    pub status: Arc<Status>,
    /// Knows who wants to hear nothing.
    pub quiet: Arc<Quiet>,
}

/// What people call a channel among the outputs; its note is bound to it.
pub fn title(channel: &str) -> String {
    format!("channel {channel}")
}

/// The name of its note.
fn file(channel: &str) -> String {
    format!("channel-{channel}")
}

/// The name of its note where it is published into a stream, which has an identity of its own.
pub fn stream_file(channel: &str) -> String {
    format!("channel-{channel}-stream")
}

/// The number of the last notification that a channel took or left out, by the notes that it has in a
/// folder. Blocks.
pub fn reached(folder: &Path, channel: &str) -> u64 {
    delivered(folder, channel).max(published(folder, channel))
}

/// The same, as far as it was one that delivers.
fn delivered(folder: &Path, channel: &str) -> u64 {
    sink::noted(folder, &file(channel), Some(&title(channel)))
}

/// The same, as far as it was published into a stream, whichever that was.
fn published(folder: &Path, channel: &str) -> u64 {
    sink::noted(folder, &stream_file(channel), None)
}

/// The notifications of a channel that is published into a stream, but for those that it delivered when it
/// was of another kind. Blocks.
pub fn to_publish(
    channel: &str,
    folder: &Path,
    records: &Arc<dyn IncidentRecords>,
    taker: &Arc<Taker>,
) -> Notifications {
    Notifications::new(channel, records, Arc::clone(taker), delivered(folder, channel))
}

/// Starts the feeds of channels, with their notes in a folder; `None` without any.
///
/// # Errors
/// When their thread cannot be started.
pub fn start(
    channels: Vec<Opened>,
    folder: &Path,
    parts: &Parts,
) -> std::io::Result<Option<Outputs>> {
    if channels.is_empty() {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut outputs = Outputs::new(&parts.status);
    for opened in channels {
        let title = title(&opened.name);
        sink::begin_at_zero(&[&title]);
        let track = outputs.track(&title, &title);
        let file = file(&opened.name);
        let taken = Arc::clone(&opened.taker.taken);
        let before = published(folder, &opened.name);
        let taker = Arc::clone(&opened.taker);
        let rows = Notifications::new(&opened.name, &parts.records, taker, before);
        let terms = Terms {
            // The note is written behind each, so that a crash repeats one at most.
            rows_max: 1,
            bytes_max: usize::MAX,
            poll_interval: POLL,
            retry_max: opened.retry_max,
            tries_max: u32::try_from(opened.tries_max).unwrap_or(u32::MAX),
            refused: Refused::LeaveOut,
        };
        let noted = Arc::clone(&opened.taker.noted);
        let memory = Memory::open(&folder.join(format!("{file}-memory.json")));
        let clock = Arc::clone(&parts.clock);
        let sink = ChannelSink::new(opened, memory, (Arc::clone(&clock), Arc::clone(&parts.quiet)));
        let feed = Feed::new(sink, Arc::new(rows), terms, track, clock, outputs.stopped());
        let feed = feed.noted(folder, &file).publishing(taken).noting(noted);
        outputs.runs(runtime.spawn(feed.run()));
    }
    // It goes on until the outputs are let go of.
    let (held, released) = oneshot::channel::<()>();
    thread::Builder::new().name("notify".into()).spawn(move || {
        let _ = runtime.block_on(released);
        // A delivery that hangs must not hold up the end of the process.
        runtime.shutdown_background();
    })?;
    outputs.holds(held);
    Ok(Some(outputs))
}
