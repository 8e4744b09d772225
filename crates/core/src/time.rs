//! Time as plain integers: milliseconds since the Unix epoch, UTC.

use super::settings::settings;

/// A point in time, milliseconds since 1970-01-01T00:00:00Z.
pub type EpochMs = i64;

/// A length of time in milliseconds.
pub type SpanMs = i64;

/// The watermark before any event was seen.
pub const BEGINNING: EpochMs = i64::MIN / 4;

/// The watermark that closes everything: the end of a replay.
pub const END_OF_TIME: EpochMs = i64::MAX / 4;

settings! {
    /// The rules that decide what is on time (design: "Time").
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TimePolicy in "time." {
        /// The watermark trails the greatest time seen by this much: how far events of different
        /// publishers may overtake each other. More means that all numbers come later.
        pub out_of_orderness: SpanMs = 5 * SECOND, span(0, HOUR);
        /// How long a session or a window stays open after its end, for what comes late; whatever
        /// leaves the process (alerts, roll-ups, reports) waits as long. An event is late for its
        /// session when that session has been closed, and for a window when that window is final:
        /// when the watermark at the event's own place has passed the window's end by this much.
        /// They are judged apart, and each window (and each minute of the roll-ups) on its own, so
        /// a late event still counts in the windows that are open. An event of a session that is
        /// still open is never late, however far behind. What is late for its session is in the
        /// late list, with the reason; what windows left out is counted for each metric, on the
        /// page, in reports and in /metrics.
        pub allowed_lateness: SpanMs = 30 * SECOND, span(0, DAY);
        /// An event further ahead of its arrival than this is rejected: one wrong clock must not
        /// close everybody's session.
        pub max_future: SpanMs = 5 * MINUTE, span(SECOND, DAY);
    }
}
