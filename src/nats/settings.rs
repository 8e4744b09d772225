//! What can be set of NATS. `config` reads and checks it; every bound stands there.

use std::path::PathBuf;
use std::time::Duration;

/// Where the server is and how to sign in.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkSettings {
    /// Servers, `nats://host:4222` or `tls://host:4222`, separated by commas.
    pub url: String,
    /// Name of the connection, shown by the server.
    pub name: String,
    /// How to sign in.
    pub auth: Auth,
    /// Encryption.
    pub tls: Tls,
    /// How long one request to the server may take.
    pub request_timeout: Duration,
    /// Longest wait between two tries to connect.
    pub reconnect_max: Duration,
}

/// How to sign in. Secrets are read when the connection is made.
#[derive(Clone, Default, PartialEq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// A `.creds` file (JWT and seed).
    Creds(PathBuf),
    /// An nkey seed.
    Nkey(String),
    /// A token.
    Token(String),
    /// User and password.
    Password(String, String),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never a secret.
        out.write_str(match self {
            Auth::None => "None",
            Auth::Creds(_) => "Creds",
            Auth::Nkey(_) => "Nkey",
            Auth::Token(_) => "Token",
            Auth::Password(..) => "Password",
        })
    }
}

/// Encryption.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// Refuse a server without it.
    pub required: bool,
    /// TLS before the server's greeting.
    pub first: bool,
    /// Certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Make streams and consumers, or only look whether they are as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manage {
    /// Make what is missing.
    #[default]
    Create,
    /// Make nothing.
    Check,
}

/// What to do when the stream no longer holds what was not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// Stop and say so.
    #[default]
    Stop,
    /// Count it and go on.
    Continue,
}

/// One source: a stream, and which of its subjects.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSettings {
    /// The stream.
    pub stream: String,
    /// Subjects of the stream when it is made.
    pub subjects: Vec<String>,
    /// Only these subjects of the stream; empty for all.
    pub filter: Vec<String>,
    /// Name of the durable consumer.
    pub consumer: String,
    /// `shop.{region}.{type}`: attributes taken from the subject; empty for none.
    pub subject_template: String,
    /// Make or check.
    pub manage: Manage,
    /// What to do about a gap.
    pub on_gap: OnGap,
    /// How long the stream keeps messages when it is made.
    pub max_age: Duration,
    /// Bytes the stream keeps when it is made.
    pub max_bytes: u64,
    /// How long the server remembers message ids when the stream is made.
    pub duplicate_window: Duration,
    /// Copies of the stream in a cluster when it is made.
    pub replicas: usize,
    /// Messages asked for at once; never more than the free credits.
    pub pull_messages: usize,
    /// Bytes of one message after it was unpacked.
    pub inflated_bytes_max: usize,
    /// Unacknowledged messages the consumer may have out: the pipeline's credits.
    pub max_ack_pending: i64,
}
