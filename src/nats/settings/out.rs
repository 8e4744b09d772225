//! `[nats.out]`: what leaves.

use std::path::PathBuf;
use std::time::Duration;

use super::rules::{optional_name, plain_subject};
use super::{Manage, NatsSettings};
use crate::domain::settings::settings;
use crate::sink::feed::Refused;

settings! {
    /// What leaves, and where to. An empty name switches its output off.
    #[derive(Clone, Debug, PartialEq)]
    pub struct OutSettings in "nats.out." {
        /// Stream of the alerts, which are occurrences (abandoned sessions, matches): CloudEvents, each
        /// once, with its id as Nats-Msg-Id. "" for none.
        pub alerts_stream: String = "TIDEWATCH_ALERTS".into(), checked(optional_name);
        /// First words of their subjects, <this>.<kind>.<feed>.
        pub alerts_subject: String = "tidewatch.alerts".into(), checked(plain_subject);
        /// Stream of the incidents: each line of their log (fired, acknowledged, resolved, ...) as a
        /// CloudEvent, each once. "" for none.
        pub incidents_stream: String = "TIDEWATCH_INCIDENTS".into(), checked(optional_name);
        /// First words of their subjects, <this>.<rule>.<feed>.
        pub incidents_subject: String = "tidewatch.incidents".into(), checked(plain_subject);
        /// Stream of the dead letters: the bytes as they came, with the reason in a header. "" for
        /// none. Each is kept until the stream has it, see store.dead_letters_max. One that is
        /// larger than the stream or the server takes is cut, and a header says so.
        pub dead_letters_stream: String = "TIDEWATCH_DEAD_LETTERS".into(), checked(optional_name);
        /// First words of their subjects, <this>.<source>.<feed>.
        pub dead_letters_subject: String = "tidewatch.dead_letters".into(), checked(plain_subject);
        /// The board for other services, on this subject. "" for none.
        pub board_subject: String = "tidewatch.board".into(), checked(plain_subject);
        /// The board in this key-value bucket. "" for none.
        pub board_bucket: String = "tidewatch_board".into(), checked(optional_name);
        /// Distance between two of these boards.
        pub board_interval: Duration = Duration::from_secs(1), span(100, MINUTE);
        /// Name of the micro service ($SRV.PING, $SRV.INFO, $SRV.STATS; boards and sessions on
        /// request). "" for none.
        pub service: String = "tidewatch".into(), checked(optional_name);
        /// Requests of one endpoint of the service answered at a time; more wait in the server's
        /// queue.
        pub requests_max: usize = 64, count(1, 1_024);
        /// How long streams made for these and for channels keep messages. "0s": for ever.
        pub max_age: Duration = Duration::from_secs(30 * 86_400), span(0, 3_660 * DAY);
        /// How many bytes they keep; the server reserves them. "0B": as many as the server allows.
        pub max_bytes: u64 = 0, size(0, 1_048_576 * GIB);
        /// How long the server remembers the ids of their messages; not longer than max_age. That
        /// each is there once does not depend on it.
        pub duplicate_window: Duration = Duration::from_secs(3_600), span(100, DAY);
        /// Messages published and not confirmed, in one atomic batch.
        pub in_flight_max: usize = 256, count(1, 1_000);
        /// Distance between two looks for what is to leave.
        pub poll_interval: Duration = Duration::from_millis(250), span(10, MINUTE);
        /// Longest wait before a failed try is repeated.
        pub retry_max: Duration = Duration::from_secs(5), span(100, MINUTE);
        /// What becomes of an alert, a line of the incident log or a dead letter that its stream will never take, because it is
        /// too large even in its shorter form. "leave_out": it is passed over, counted and named;
        /// "halt": nothing leaves any more until the stream takes it.
        pub refused: Refused = Refused::LeaveOut, word::<Refused>();
    } besides {
        /// Make streams and bucket, or only look whether they are as they should be.
        pub manage: Manage = NatsSettings::default().manage;
        /// Copies in a cluster when they are made. 1 to 5.
        pub replicas: usize = NatsSettings::default().replicas;
        /// Folder for a note of how far each feed got, for the day when the stream has dropped
        /// all of a feed's messages (`max_age`); the data folder. `None`: no note is kept.
        pub notes: Option<PathBuf> = None;
    }
}
