//! Time as plain integers: milliseconds since the Unix epoch, UTC.

/// A point in time, milliseconds since 1970-01-01T00:00:00Z.
pub type EpochMs = i64;

/// A length of time in milliseconds.
pub type SpanMs = i64;

/// The watermark before any event was seen.
pub const BEGINNING: EpochMs = i64::MIN / 4;

/// The watermark that closes everything: the end of a replay.
pub const END_OF_TIME: EpochMs = i64::MAX / 4;

/// The rules that decide what is on time (design: "Time").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimePolicy {
    /// How far behind the greatest time seen an event may come without being
    /// out of order: the watermark trails by this much.
    pub out_of_orderness: SpanMs,
    /// How far behind a close an event may still come and count. Everything
    /// that leaves the process (alerts, roll-ups, reports) waits this long.
    pub allowed_lateness: SpanMs,
    /// An event this far ahead of its arrival is rejected.
    pub max_future: SpanMs,
}

impl Default for TimePolicy {
    fn default() -> Self {
        TimePolicy { out_of_orderness: 5_000, allowed_lateness: 30_000, max_future: 300_000 }
    }
}
