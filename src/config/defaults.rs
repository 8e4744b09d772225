//! Settings of the outer parts (store, log, web, demo, events) with their defaults.
//!
//! The inner parts own theirs: `TimePolicy`, `SessionPolicy`, `Limits` and
//! `actors::Settings` carry their defaults themselves. `config/tidewatch.toml` shows
//! every default with its reason; a test keeps the two equal. The metrics and rules
//! that are used when a file declares none stand only there.

use std::net::SocketAddr;

use crate::domain::event::Limits;
use crate::domain::event::time_rule::TimeRule;
use crate::domain::time::SpanMs;

/// The shipped configuration file: every key commented out at its default, and the
/// shipped metrics and rules.
pub const SHIPPED: &str = include_str!("../../config/tidewatch.toml");

/// What an event's attributes are called.
#[derive(Clone, Debug, PartialEq)]
pub struct EventsConfig {
    /// Attributes that make the session key. 1 to 8.
    pub keys: Vec<String>,
    /// Other names of attributes: (as it comes, as the configuration calls it). At most 64.
    pub aliases: Vec<(String, String)>,
    /// How the time of an event is written, see `TimeRule::declared`; empty: as documented
    /// for native events.
    pub time_format: String,
    /// IANA zone of times without one; empty: UTC, by guess.
    pub time_zone: String,
    /// An event without a time gets the one at which it arrived.
    pub time_missing: TimeMissing,
    /// An example of how numbers are written that come as text, by attribute. At most 64.
    pub numbers: Vec<(String, String)>,
    /// Bounds on one event.
    pub limits: Limits,
}

/// What becomes of an event without a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeMissing {
    /// It is rejected.
    #[default]
    Reject,
    /// It happened when it arrived.
    Arrival,
}

impl EventsConfig {
    /// How the time of an event is written.
    ///
    /// # Errors
    /// When there is no such form or zone.
    pub fn time_rule(&self) -> Result<TimeRule, String> {
        TimeRule::declared(&self.time_format, &self.time_zone)
    }
}

impl Default for EventsConfig {
    fn default() -> Self {
        EventsConfig {
            keys: vec!["user".into()],
            aliases: vec![("code".into(), "status".into())],
            time_format: String::new(),
            time_zone: String::new(),
            time_missing: TimeMissing::Reject,
            numbers: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// What the state store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Commits are folded into a new snapshot once they outweigh the last snapshot and
    /// this many bytes.
    pub snapshot_bytes_min: usize,
    /// Alerts kept, the oldest leave.
    pub alerts_max: usize,
    /// Bytes of them.
    pub alerts_bytes_max: usize,
    /// Late events kept, the oldest leave.
    pub late_max: usize,
    /// Bytes of them.
    pub late_bytes_max: usize,
    /// Dead letters kept, the oldest leave.
    pub dead_letters_max: usize,
    /// Bytes of them.
    pub dead_letters_bytes_max: usize,
    /// How long minute roll-ups are kept.
    pub rollups_keep: SpanMs,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            snapshot_bytes_min: 64 << 20,
            alerts_max: 1_000_000,
            alerts_bytes_max: 512 << 20,
            late_max: 100_000,
            late_bytes_max: 64 << 20,
            dead_letters_max: 100_000,
            dead_letters_bytes_max: 256 << 20,
            rollups_keep: 400 * 86_400_000,
        }
    }
}

/// The embedded log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Events that may wait for their commit; beyond it an append is refused.
    pub backlog_max: u64,
    /// Committed events kept behind the commit.
    pub keep_events: u64,
    /// Bytes of them.
    pub keep_bytes: usize,
    /// Most bytes of appended events that wait for the writer.
    pub queue_bytes_max: usize,
    /// Most bytes of the newest events that are kept in memory for the reader.
    pub recent_bytes_max: usize,
    /// Most bytes written and synced at once.
    pub group_bytes_max: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            backlog_max: 20_000_000,
            keep_events: 2_000_000,
            keep_bytes: 512 << 20,
            queue_bytes_max: 64 << 20,
            recent_bytes_max: 32 << 20,
            group_bytes_max: 8 << 20,
        }
    }
}

/// HTTP, websocket and the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Allows an address that other machines reach, although there is no sign-in.
    pub insecure_no_auth: bool,
    /// Names a request may use for this server (`Host`); empty: the address itself and
    /// `localhost`.
    pub hosts: Vec<String>,
    /// Origins of pages that may post, read answers and open a websocket, besides the own
    /// page.
    pub origins: Vec<String>,
    /// Most bytes of a request's body as it comes.
    pub body_bytes_max: usize,
    /// Most bytes of a body once it is unzipped.
    pub inflated_bytes_max: usize,
    /// Most connections at a time, websockets included.
    pub connections_max: usize,
    /// Threads that answer requests.
    pub workers: usize,
    /// Most bytes of bodies under way, over all requests.
    pub intake_bytes_max: usize,
    /// Most events of one request.
    pub events_max: usize,
    /// Most bytes of answers that were not read yet, over all clients.
    pub answers_bytes_max: usize,
    /// Most series of the metrics of the business in `/metrics`.
    pub metrics_series_max: usize,
    /// Longest time for a body to arrive.
    pub body_timeout: SpanMs,
    /// Longest wait for browsers to leave when the process stops.
    pub drain_timeout: SpanMs,
}

impl Default for WebConfig {
    fn default() -> Self {
        WebConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 7077)),
            insecure_no_auth: false,
            hosts: Vec::new(),
            origins: Vec::new(),
            body_bytes_max: 8 << 20,
            inflated_bytes_max: 32 << 20,
            connections_max: 10_000,
            workers: 2,
            intake_bytes_max: 256 << 20,
            events_max: 100_000,
            answers_bytes_max: 64 << 20,
            metrics_series_max: 2_000,
            body_timeout: 30_000,
            drain_timeout: 3_000,
        }
    }
}

/// The simulated shop of `tidewatch demo`.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoConfig {
    /// Visitors in the shop at a time.
    pub users: usize,
    /// Events a second, on average over the day curve.
    pub rate: f64,
    /// The same seed gives the same shop.
    pub seed: u64,
}

impl Default for DemoConfig {
    fn default() -> Self {
        DemoConfig { users: 400, rate: 200.0, seed: 1 }
    }
}
