//! `tidewatch replay` and `tidewatch map`: what can be said to them.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::config::units::parse_size;

pub(super) const REPLAY_EXAMPLES: &str = "
  tidewatch replay events.ndjson
  zcat events.ndjson.gz | tidewatch replay - --json
  tidewatch map clicks.csv > clicks.toml
  tidewatch replay clicks.csv --map clicks.toml --sessions-out sessions.csv
  tidewatch replay /var/log/nginx 'old/access.log.*.gz'
  tidewatch replay events.ndjson --speed 60 --listen LISTEN --hold";

pub(super) const REPLAY_NOTES: &str = "\
A file may be packed (gzip, zstd, bzip2, xz) and in any encoding. Without --map it holds events as \
JSON (a line each, or an array), or is a log: Apache, nginx, Caddy, IIS, CloudFront, a load balancer \
of AWS. `tidewatch map` proposes a map for any other file. What was rejected, and why, is in the \
report.

Exit codes: 0 fine, 1 failed, 2 usage, configuration or map, 6 nothing was applied, or something \
was rejected and --strict was given.";

pub(super) const MAP_EXAMPLES: &str = "
  tidewatch map clicks.csv
  tidewatch map clicks.csv > clicks.toml
  tidewatch replay clicks.csv --map clicks.toml";

pub(super) const MAP_NOTES: &str = "\
The map goes to stdout, with what was guessed as comments; the first events that it makes go to \
stderr. What can be written in a map says docs/mapping.md.

Exit codes: 0 fine, 1 the file cannot be read or is not a table, 6 the map makes no events.";

/// `tidewatch replay`.
#[derive(Clone, Debug, ClapArgs)]
pub struct ReplayArgs {
    /// Files of events in the order to read them, folders of files, or patterns; "-" is stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How columns become events (TOML)
    #[arg(long, value_name = "FILE.toml")]
    pub map: Option<PathBuf>,
    /// Encoding of files that do not say it themselves: utf-8, latin-1, utf-16le, shift_jis, ...
    #[arg(long, value_name = "LABEL", default_value = "")]
    pub encoding: String,
    /// 1 = as fast as it happened, 60 = a minute a second, max = as fast as it goes
    #[arg(long, value_name = "FACTOR", default_value = "max")]
    pub speed: Speed,
    /// Keep the order of the files instead of sorting by time
    #[arg(long)]
    pub raw_order: bool,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
    /// End with code 6 when anything was rejected
    #[arg(long)]
    pub strict: bool,
    /// Go on although none of the first 1,000 rows becomes an event
    #[arg(long)]
    pub keep_going: bool,
    /// Most that packed and translated input may take in temporary files
    #[arg(long, value_name = "SIZE", default_value = "64GiB", value_parser = parse_size)]
    pub unpacked_max: u64,
    /// Write closed sessions here: user,start,last,events
    #[arg(long, value_name = "FILE")]
    pub sessions_out: Option<PathBuf>,
    /// Write final windows here: metric,window_end_ms,group,value
    #[arg(long, value_name = "FILE")]
    pub windows_out: Option<PathBuf>,
    /// Shards (1 to 64); the numbers are the same with any
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,
    /// Most events decoded at once; the numbers are the same with any
    #[arg(long, value_name = "N")]
    pub batch: Option<String>,
    /// Keep the page up after the end (with --listen)
    #[arg(long)]
    pub hold: bool,
}

/// `tidewatch map`.
#[derive(Clone, Debug, ClapArgs)]
pub struct MapArgs {
    /// The file, packed or not; "-" is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Its encoding, if it does not say it itself
    #[arg(long, value_name = "LABEL", default_value = "")]
    pub encoding: String,
    /// Rows to look at
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rows: u64,
}

/// How fast a replay runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as it goes.
    Max,
    /// Event seconds for each second of the clock, greater than 0.
    Times(f64),
}

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Speed::Max),
            Ok(times) if times > 0.0 && times <= 1e6 => Ok(Speed::Times(times)),
            _ => Err("write max, or a number greater than 0 such as 1 or 60".into()),
        }
    }
}
