//! `[nats.gateway]`: the stream behind `POST /v1/events`.

use std::time::Duration;

use super::rules::plain_subject;
use crate::actors::aside::BYTES_MAX;
use crate::domain::settings::settings;

/// Most messages that may be on their way at a time.
pub(in crate::nats) const IN_FLIGHT_MAX: i64 = 65_536;

settings! {
    /// What can be set of the gateway.
    #[derive(Clone, Debug, PartialEq)]
    pub struct GatewaySettings in "nats.gateway." {
        /// POST /v1/events publishes to this subject and answers after the stream has it. A source
        /// must read it. "": nothing can be posted.
        pub subject: String = "events.http".into(), checked(plain_subject);
        /// Messages published and not confirmed yet, of all requests together: some 8 MiB with
        /// events of 2 KiB. Beyond it POST answers 429.
        pub in_flight_max: usize = 4_096, count(1, IN_FLIGHT_MAX);
        /// Longest wait for the stream's confirmation; then 503, and the client tries again with
        /// the same ids.
        pub timeout: Duration = Duration::from_secs(5), span(100, MINUTE);
        /// Bytes of posted events that the stream cannot take (larger than its max_msg_size, or the
        /// server's max_payload), on their way to the dead letters: a commit's worth of them.
        /// Beyond it POST answers 429.
        pub refused_bytes_max: usize = BYTES_MAX, size(MIB, 4 * GIB);
    } besides {
        /// The streams that are read: a dead letter of one of them goes back to it.
        pub streams: Vec<String> = Vec::new();
    }
}
