//! `tidewatch publish`, and how a NATS server is reached by flags.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap::builder::TypedValueParser as _;

pub(super) const PUBLISH_EXAMPLES: &str = "
  tidewatch publish events.ndjson --subject events.shop
  zcat events.ndjson.gz | tidewatch publish - --subject events.shop --pack 50
  tidewatch publish events.ndjson --config tidewatch.toml
  tidewatch publish events.ndjson.gz --nats tls://nats:4222 --creds me.creds --subject events.shop --rate 500";

pub(super) const PUBLISH_NOTES: &str = "\
A line is an event, a JSON object. An event without an id gets one. A stream must take the \
subject; events sent again within its duplicate window are taken once. Where no --nats is given, \
server and sign-in are those of [nats] of the configuration (--config). An event that is larger \
than the server or the stream takes is listed with the bound; the others are published.

Exit codes: 0 all events are in the stream, 1 some are not, with the list, 2 usage.";

/// `tidewatch publish`.
#[derive(Clone, Debug, ClapArgs)]
pub struct PublishArgs {
    /// File of events, NDJSON, gzip too; "-" is stdin
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// Subject to publish to; a stream must take it [default: nats.gateway.subject of a
    /// configuration with nats.url]
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Events in one message, as NDJSON: ten times as fast
    #[arg(long, value_name = "N", conflicts_with = "atomic",
          value_parser = clap::value_parser!(u64).range(2..=10_000).map(|n| n as usize))]
    pub pack: Option<usize>,
    /// Publish batches of N messages that the stream takes together or not at all
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "500",
          value_parser = clap::value_parser!(u64).range(2..=1_000).map(|n| n as usize))]
    pub atomic: Option<usize>,
    /// Most events a second
    #[arg(long, value_name = "EV_PER_S", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Seconds to try an event, and to wait for the server at the start
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub give_up: u64,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub nats: NatsFlags,
}

/// How to reach a NATS server. Secrets come from files, never from the command line.
#[derive(Clone, Debug, ClapArgs)]
pub struct NatsFlags {
    /// Server, or several with commas between them [default: nats.url, else
    /// nats://127.0.0.1:4222]
    #[arg(long, value_name = "URL", env = "NATS_URL")]
    pub nats: Option<String>,
    /// Sign in with a .creds file
    #[arg(long, value_name = "FILE", group = "sign_in")]
    pub creds: Option<PathBuf>,
    /// Sign in with the nkey seed in this file
    #[arg(long, value_name = "FILE", group = "sign_in")]
    pub nkey_file: Option<PathBuf>,
    /// Sign in with the token in this file
    #[arg(long, value_name = "FILE", group = "sign_in")]
    pub token_file: Option<PathBuf>,
    /// Sign in as this user
    #[arg(long, value_name = "NAME", group = "sign_in", requires = "password_file")]
    pub user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// First words of the subjects that answers come to [default: nats.inbox_prefix, else
    /// _INBOX]
    #[arg(long, value_name = "PREFIX")]
    pub inbox_prefix: Option<String>,
    /// Refuse a server without TLS
    #[arg(long)]
    pub tls: bool,
    /// TLS before the server's greeting
    #[arg(long)]
    pub tls_first: bool,
    /// Trust these authorities too (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Our certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Key of our certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}
