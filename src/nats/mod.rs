//! NATS JetStream: events in, alerts and boards out.
//!
//! - [`gateway`]: the stream as the log behind `POST /v1/events`.
//! - [`link`]: one connection for everything, on a thread of its own; its state is seen,
//!   and what the server does not let it do (`denied`).
//! - [`publisher`]: for services that publish events; `tidewatch publish` uses it too.
//! - [`out`]: alerts, dead letters and boards to streams and buckets; the micro service.
//! - [`settings`]: what can be set; `config` reads it, nothing here does.
//! - [`source`]: a stream as a source of events; [`wire`]: its messages as items;
//!   [`manage`]: streams and consumers, made or checked.
//!
//! Everything here knows the actors' ports and no other shell.

mod denied;
pub mod gateway;
pub mod link;
pub mod manage;
pub mod out;
pub mod publisher;
pub mod settings;
pub mod source;
pub mod wire;

pub use denied::Denied;
use thiserror::Error;

/// Oldest server this version talks to.
pub const SERVER_MIN: (u64, u64) = (2, 11);

/// Why something could not be done with NATS.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NatsError {
    /// A setting cannot be used: a file that is not there, a URL that is none.
    #[error("{key}: {cause}")]
    Setting {
        /// The key, `nats.creds_file`.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The server is too old.
    #[error(
        "the NATS server at {url} is version {version}; tidewatch needs {}.{} or newer",
        SERVER_MIN.0, SERVER_MIN.1
    )]
    TooOld {
        /// The server.
        url: String,
        /// Its version.
        version: String,
    },
    /// The server runs without JetStream.
    #[error(
        "the NATS server at {url} runs without JetStream: start it with -js, or set jetstream {{}}"
    )]
    NoJetStream {
        /// The server.
        url: String,
    },
    /// The server cannot be reached now; the connection is tried again for ever.
    #[error("NATS at {url} is away: {cause}")]
    Away {
        /// The server.
        url: String,
        /// The last error.
        cause: String,
    },
    /// The server refused, for good.
    #[error("{what}: {cause}")]
    Refused {
        /// What was asked.
        what: String,
        /// The server's words.
        cause: String,
    },
}
