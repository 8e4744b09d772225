//! What leaves for NATS: alerts, incidents, dead letters and the notifications of channels into streams,
//! each exactly once; the board on a subject and in a bucket; answers to questions of other services.
//!
//! - `jet`: a stream as a sink of rows ([`crate::sink`]). The stream itself says how far it got
//!   (`cursor`), so that neither a crash of ours nor one of the broker repeats or loses a message;
//!   `message`: rows as messages, alone and in batches.
//! - `alerts`, `incidents`, `dead_letters`, [`notifications`]: the rows, and what a message of them looks
//!   like (`cloud_event`: the envelope of all but dead letters).
//! - `board`, `service`: views; the latest state is enough.
//! - `streams`: makes what is missing, or says what does not fit.
//!
//! Nothing here holds the pipeline up. While the broker is away the rows wait in the
//! data folder, at most one page of them in memory, and [`OutState`](crate::sink::OutState) says so.

mod alerts;
mod board;
mod cloud_event;
mod cursor;
mod dead_letters;
mod incidents;
mod jet;
mod message;
pub mod notifications;
mod service;
mod streams;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};

use super::link::Link;
use super::settings::OutSettings;
use crate::actors::directory::Directory;
use crate::actors::ports::{IncidentRecords, Records};
use crate::actors::status::Status;
use crate::clock::SharedClock;
use crate::domain::board::Board;
use crate::sink::feed::{Feed, Terms};
use crate::sink::{Outputs, Rows};

use alerts::Alerts;
use dead_letters::Letters;
use incidents::Lines;

pub use jet::JetSink;
pub use message::{JetRow, Target};

/// Label of the alerts in the metrics.
const ALERTS: &str = "alerts";
/// Label of the incidents.
const INCIDENTS: &str = "incidents";
/// Label of the dead letters.
const DEAD_LETTERS: &str = "dead_letters";
/// Label of the board.
const BOARD: &str = "board";
/// Label of the micro service.
const SERVICE: &str = "service";

/// The labels of all outputs.
pub const OUTPUTS: &[&str] = &[ALERTS, INCIDENTS, DEAD_LETTERS, BOARD, SERVICE];

/// Key of the board in its bucket.
pub const BOARD_KEY: &str = "board";

/// Header of a feed's message: its position in the feed.
pub const HEADER_N: &str = "Tidewatch-N";

/// Header of a feed's message: the data folder it comes from.
pub const HEADER_FEED: &str = "Tidewatch-Feed";

/// Name of a data folder in subjects, ids and sources of what leaves: the first 8 bytes of
/// SHA-256 over `tidewatch feed` and the folder's seed (little endian), in hex. The seed places
/// keys on shards, and must not be known to those who choose keys; its name may be.
pub fn feed_of(seed: u64) -> String {
    let hash = Sha256::new_with_prefix("tidewatch feed").chain_update(seed.to_le_bytes());
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// How alerts, incidents and dead letters leave.
fn terms(settings: &OutSettings) -> Terms {
    Terms {
        rows_max: settings.in_flight_max,
        bytes_max: BATCH_BYTES_MAX,
        poll_interval: settings.poll_interval,
        retry_max: settings.retry_max,
        // A stream takes all or none: no row is tried by itself.
        tries_max: 1,
        refused: settings.refused,
    }
}

/// What the outputs read.
#[derive(Clone)]
pub struct Parts {
    /// Name of the data folder, see [`feed_of`].
    pub feed: String,
    /// Told the number of the last dead letter that its stream has.
    pub letters_published: Arc<AtomicU64>,
    /// Tells how long rows wait.
    pub clock: SharedClock,
    /// Alerts and dead letters.
    pub records: Arc<dyn Records>,
    /// The log of the incidents.
    pub incidents: Arc<dyn IncidentRecords>,
    /// The latest board.
    pub board: Arc<ArcSwap<Board>>,
    /// The open sessions.
    pub directory: Directory,
    /// Whether the process is ready.
    pub status: Arc<Status>,
}

/// Starts every output that has a name, on the connection's thread. Returns at once; a server that is
/// away is waited for.
pub fn start(link: &Link, settings: OutSettings, parts: Parts) -> Outputs {
    let mut outputs = Outputs::new(&parts.status);
    let settings = Arc::new(settings);
    let terms = terms(&settings);
    let track =
        |outputs: &mut Outputs, output: &str| outputs.track(output, &format!("nats {output}"));
    let mut feed = |output: &str, target: Target, rows: Arc<dyn Rows<JetRow>>, published| {
        let track = track(&mut outputs, output);
        let sink = JetSink::new(link, &settings, target);
        let clock = Arc::clone(&parts.clock);
        let mut feed = Feed::new(sink, rows, terms, track, clock, outputs.stopped());
        if let Some(folder) = &settings.notes {
            feed = feed.noted(folder, &format!("nats-{output}"));
        }
        if let Some(published) = published {
            feed = feed.publishing(published);
        }
        outputs.runs(link.spawn(feed.run()));
    };
    if !settings.alerts_stream.is_empty() {
        let rows = Arc::new(Alerts::new(&parts.records, &parts.feed));
        feed(ALERTS, alerts::target(&settings, &parts.feed), rows, None);
    }
    if !settings.incidents_stream.is_empty() {
        let rows = Arc::new(Lines::new(&parts.incidents, &parts.feed));
        feed(INCIDENTS, incidents::target(&settings, &parts.feed), rows, None);
    }
    if !settings.dead_letters_stream.is_empty() {
        let rows = Arc::new(Letters::new(&parts.records, &parts.feed));
        let published = Some(Arc::clone(&parts.letters_published));
        feed(DEAD_LETTERS, dead_letters::target(&settings, &parts.feed), rows, published);
    }
    if !settings.board_subject.is_empty() || !settings.board_bucket.is_empty() {
        let track = track(&mut outputs, BOARD);
        let board = board::BoardOut::new(link, &settings, &parts, track, outputs.stopped());
        outputs.runs(link.spawn(board.run()));
    }
    if !settings.service.is_empty() {
        let track = track(&mut outputs, SERVICE);
        let service = service::MicroService::new(link, &settings, &parts, track, outputs.stopped());
        outputs.runs(link.spawn(service.run()));
    }
    outputs
}

/// Most bytes of one batch, unless a single row has more.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Longest token of a subject made of a name, in characters.
const TOKEN_CHARS_MAX: usize = 64;

/// A name as one token of a subject: other characters than letters, digits, `-` and `_`
/// become `_`.
fn token(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    if name.is_empty() {
        "_".into()
    } else {
        name.chars().take(TOKEN_CHARS_MAX).map(safe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_named_the_same_for_ever_and_does_not_tell_the_seed() {
        // printf 'tidewatch feed\x01\x00\x00\x00\x00\x00\x00\x00' | sha256sum
        assert_eq!(feed_of(1), "a528843b950b575a");
        assert_ne!(feed_of(2), feed_of(1));
    }

    #[test]
    fn a_name_becomes_one_safe_token() {
        assert_eq!(token("error rate.eu>*"), "error_rate_eu__");
        assert_eq!(token("spike-2_a"), "spike-2_a");
        assert_eq!(token(""), "_");
        assert_eq!(token(&"ä".repeat(500)).len(), TOKEN_CHARS_MAX);
    }
}
