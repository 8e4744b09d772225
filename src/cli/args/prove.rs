//! `tidewatch prove`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

pub(super) const PROVE_EXAMPLES: &str = "
  tidewatch prove
  tidewatch prove --nats nats://127.0.0.1:4222
  tidewatch prove --cycles 3 --events 3000 --seed 7 --json";

pub(super) const PROVE_NOTES: &str = "\
Without --nats it starts a nats-server and ends it again. It makes two streams whose names begin \
with TIDEWATCH_PROVE_, runs a worker on them, ends it with kill -9 at random moments, starts it \
again, and compares sessions, alerts and the ledger with a plain count of what was published. The \
streams and files are removed at the end. How to sign in comes from [nats] of the configuration.

Exit codes: 0 every difference is 0, 1 something differs, 2 usage or configuration, 3 it cannot be \
run: no server, one that is too old or without JetStream, or no right to make streams.";

/// `tidewatch prove`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct ProveArgs {
    /// The NATS server to use [default: nats.url, else a server of its own]
    #[arg(long, value_name = "URL")]
    pub nats: Option<String>,
    /// Program of the server it starts [default: nats-server on the PATH]
    #[arg(long, value_name = "PATH", conflicts_with = "nats")]
    pub nats_server: Option<PathBuf>,
    /// How often the worker is killed while events come in
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub cycles: u32,
    /// Different events to publish, besides the repeats of some
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub events: u32,
    /// The same seed gives the same events and moments [default: another one each time]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// The verdict as JSON
    #[arg(long)]
    pub json: bool,
    /// Leave the streams and the files, to look at
    #[arg(long)]
    pub keep: bool,
}
