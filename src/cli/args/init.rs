//! `tidewatch init`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

pub(super) const INIT_EXAMPLES: &str = "
  tidewatch init events.ndjson
  tidewatch init clicks.csv.gz --out clicks.toml
  tidewatch init --nats nats://127.0.0.1:4222 --stream SHOP
  tidewatch init --nats nats://127.0.0.1:4222 --subject 'shop.>'
  tidewatch init --data-dir tidewatch-data --out mine.toml";

pub(super) const INIT_NOTES: &str = "\
It looks at real events, and writes a configuration that fits them: key, time, type, id, the steps of a \
visit in the order in which they are seen, what fails, what to group by. What it guessed stands there as \
comments. Events come from a file, in any form that `tidewatch replay` reads, or are the newest of the \
data folder's log, while a server runs on it or not. With --stream, --subject or nats.url they are the \
newest messages of a stream, read through a consumer that is deleted again; where no stream keeps the \
subject it is listened to for a while. The configuration then says which stream is to be read. Of a table it also writes the map that makes events \
of its rows.

Exit codes: 0 written, 1 the file or folder cannot be read, 2 usage, or the file to be written is there \
already, 6 nothing in it looks like events.";

/// `tidewatch init`.
#[derive(Clone, Debug, ClapArgs)]
pub struct InitArgs {
    /// A file of events, packed or not; without one the newest events of the data folder
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A stream of NATS; its newest messages are looked at
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pub stream: Option<String>,
    /// Only messages of these subjects; where no stream keeps them they are listened to
    #[arg(long, value_name = "SUBJECT", conflicts_with = "file")]
    pub subject: Option<String>,
    /// The NATS server [default: nats.url]; another one is told nothing of how to sign in there
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    pub nats: Option<String>,
    /// Seconds to listen to a subject that no stream keeps
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub listen_for: u64,
    /// Where to write the configuration; "-" is stdout
    #[arg(long, short, value_name = "FILE.toml", default_value = "tidewatch.toml")]
    pub out: PathBuf,
    /// Overwrite what is there
    #[arg(long)]
    pub force: bool,
    /// Its encoding, if it does not say it itself
    #[arg(long, value_name = "LABEL", default_value = "")]
    pub encoding: String,
    /// Events to look at
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rows: u64,
}
