//! Why something could not be done with NATS.

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
