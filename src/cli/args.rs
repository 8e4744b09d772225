//! The command line: what can be said, and its help. Nothing here acts.

use std::path::PathBuf;

use clap::builder::TypedValueParser as _;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::Flag;
use crate::config::units::parse_size;
use crate::config::{General, written_default};
use crate::domain::settings::Section;
use crate::telemetry;
use crate::{demo, web};

/// Help as clap writes it. Examples stand in the template itself, which is not wrapped: a command
/// that was broken in the middle cannot be pasted. Prose is in `after_help`, which is.
const TEMPLATE: &str = "{before-help}{about-with-newline}\n{usage-heading} {usage}\n\n{all-args}";

const EXAMPLES: &str = r#"
  tidewatch demo
  tidewatch serve --config tidewatch.toml
  curl http://LISTEN/v1/events -d '{"id":"1","ts":'$(date +%s000)',"type":"cart_add","user":"ada","amount":12.5}'
  tidewatch replay events.ndjson --json
  tidewatch check --config tidewatch.toml --print"#;

const ENVIRONMENT: &str = "\
The demo is a simulated shop; its page is at http://LISTEN. A replay counts yesterday's \
events to the same numbers.

Every key of the configuration can be set in the environment as TIDEWATCH_SECTION__KEY.

Exit codes: 0 fine, 1 failed, 2 usage or configuration, 3 data folder in use, 4 state damaged or \
of another log, 5 gave up after restarts, 6 replay: nothing was applied.";

const REPLAY_EXAMPLES: &str = "
  tidewatch replay events.ndjson
  zcat events.ndjson.gz | tidewatch replay - --json
  tidewatch map clicks.csv > clicks.toml
  tidewatch replay clicks.csv --map clicks.toml --sessions-out sessions.csv
  tidewatch replay /var/log/nginx 'old/access.log.*.gz'
  tidewatch replay events.ndjson --speed 60 --listen LISTEN --hold";

const REPLAY_NOTES: &str = "\
A file may be packed (gzip, zstd, bzip2, xz) and in any encoding. Without --map it holds events as \
JSON (a line each, or an array), or is a log: Apache, nginx, Caddy, IIS, CloudFront, a load balancer \
of AWS. `tidewatch map` proposes a map for any other file. What was rejected, and why, is in the \
report.

Exit codes: 0 fine, 1 failed, 2 usage, configuration or map, 6 nothing was applied, or something \
was rejected and --strict was given.";

const MAP_EXAMPLES: &str = "
  tidewatch map clicks.csv
  tidewatch map clicks.csv > clicks.toml
  tidewatch replay clicks.csv --map clicks.toml";

const MAP_NOTES: &str = "\
The map goes to stdout, with what was guessed as comments; the first events that it makes go to \
stderr. What can be written in a map says docs/mapping.md.

Exit codes: 0 fine, 1 the file cannot be read or is not a table, 6 the map makes no events.";

const PUBLISH_EXAMPLES: &str = "
  tidewatch publish events.ndjson --subject events.shop
  zcat events.ndjson.gz | tidewatch publish - --subject events.shop --pack 50
  tidewatch publish events.ndjson --config tidewatch.toml
  tidewatch publish events.ndjson.gz --nats tls://nats:4222 --creds me.creds --subject events.shop --rate 500";

const PUBLISH_NOTES: &str = "\
A line is an event, a JSON object. An event without an id gets one. A stream must take the \
subject; events sent again within its duplicate window are taken once. Where no --nats is given, \
server and sign-in are those of [nats] of the configuration (--config). An event that is larger \
than the server or the stream takes is listed with the bound; the others are published.

Exit codes: 0 all events are in the stream, 1 some are not, with the list, 2 usage.";

const DEAD_LETTERS_EXAMPLES: &str = "
  tidewatch dead-letters list
  tidewatch dead-letters show 17
  tidewatch dead-letters redrive 17 18
  tidewatch dead-letters redrive --all";

const DEAD_LETTERS_NOTES: &str = "\
A running server is asked over HTTP: the one at --listen, else the one that runs on the data \
folder. Without one the folder is read directly. Nothing is made.

Exit codes: 0 fine, 1 failed or something was not redriven, 2 usage or configuration, 3 data folder \
in use, 4 state damaged.";

const PROVE_EXAMPLES: &str = "
  tidewatch prove
  tidewatch prove --nats nats://127.0.0.1:4222
  tidewatch prove --cycles 3 --events 3000 --seed 7 --json";

const PROVE_NOTES: &str = "\
Without --nats it starts a nats-server and ends it again. It makes two streams whose names begin \
with TIDEWATCH_PROVE_, runs a worker on them, ends it with kill -9 at random moments, starts it \
again, and compares sessions, alerts and the ledger with a plain count of what was published. The \
streams and files are removed at the end. How to sign in comes from [nats] of the configuration.

Exit codes: 0 every difference is 0, 1 something differs, 2 usage or configuration, 3 it cannot be \
run: no server, one that is too old or without JetStream, or no right to make streams.";

const CHECK_EXAMPLES: &str = "
  tidewatch check --config tidewatch.toml
  tidewatch check --config tidewatch.toml --print
  tidewatch check --config tidewatch.toml --data-dir tidewatch-data
  tidewatch check --defaults > tidewatch.toml";

const CHECK_NOTES: &str = "\
With --defaults it writes a file with every key at its default, with the reason and the bounds, to \
start from. With --data-dir it says of every metric and rule whether a start with this configuration would \
keep its history, keep it under another name, drop it, or begin anew, and what changed settings \
of sessions would do to open ones. A server may run on the folder: it is only read.

Exit codes: 0 sound, 1 the folder cannot be read, 2 usage or configuration, 4 state damaged or of \
another format.";

const COMPLETIONS_EXAMPLES: &str = "
  source <(tidewatch completions bash)
  tidewatch completions zsh > ~/.zfunc/_tidewatch
  tidewatch completions fish > ~/.config/fish/completions/tidewatch.fish";

/// The template with examples in it.
fn with(examples: &str) -> String {
    format!("{TEMPLATE}\n\nExamples:{}{{after-help}}", listening(examples))
}

/// A text with the address where a server listens when nobody says another one.
fn listening(text: &str) -> String {
    text.replace("LISTEN", &web::Settings::default().listen.to_string())
}

/// What a flag does that sets a key, with the default of the key.
fn sets(what: &str, section: &dyn Section, key: &str) -> String {
    match written_default(section, key) {
        Some(default) => format!("{what} [default: {default}]"),
        None => what.to_owned(),
    }
}

/// Live operational numbers from an event stream.
#[derive(Debug, Parser)]
#[command(
    name = "tidewatch",
    version,
    about,
    help_template = with(EXAMPLES),
    after_help = listening(ENVIRONMENT),
    max_term_width = 100
)]
pub struct Args {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Common {
    /// Configuration file (TOML)
    #[arg(long, short, global = true, value_name = "FILE", env = "TIDEWATCH_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder of the log and the state.
    #[arg(long, short, global = true, value_name = "DIR", env = "TIDEWATCH_DATA_DIR",
          help = sets("Folder of the log and the state", &General::default(), "data_dir"))]
    pub data_dir: Option<String>,
    /// Address of the page and the API.
    #[arg(long, short, global = true, value_name = "ADDR", env = "TIDEWATCH_LISTEN",
          help = sets("Address of the page and the API", &web::Settings::default(), "web.listen"))]
    pub listen: Option<String>,
    /// What to log: off, error, warn, info, debug or trace, or levels by part
    /// (info,tidewatch::store=debug)
    #[arg(long, global = true, value_name = "FILTER", env = "TIDEWATCH_LOG",
          value_parser = log_filter)]
    pub log: Option<String>,
    /// How log lines are written to stderr
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        env = "TIDEWATCH_LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// Checks a filter before anything is done.
fn log_filter(text: &str) -> Result<String, String> {
    telemetry::check_filter(text).map(|()| text.to_owned())
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Take events over HTTP and keep the page live, until stopped
    Serve,
    /// Serve a simulated shop, to look around
    Demo(DemoArgs),
    /// Run files of events through the same engine and report
    #[command(help_template = with(REPLAY_EXAMPLES), after_help = REPLAY_NOTES)]
    Replay(ReplayArgs),
    /// Look at a file and propose a map for it
    #[command(help_template = with(MAP_EXAMPLES), after_help = MAP_NOTES)]
    Map(MapArgs),
    /// Publish a file of events to a NATS subject
    #[command(help_template = with(PUBLISH_EXAMPLES), after_help = PUBLISH_NOTES)]
    Publish(Box<PublishArgs>),
    /// Check the configuration, print it, or say what it would do to a data folder
    #[command(help_template = with(CHECK_EXAMPLES), after_help = CHECK_NOTES)]
    Check(CheckArgs),
    /// Look at events that were rejected, and send them again
    #[command(help_template = with(DEAD_LETTERS_EXAMPLES), after_help = DEAD_LETTERS_NOTES)]
    DeadLetters(DeadLettersArgs),
    /// Kill a worker again and again while events come in, and compare every number
    #[command(help_template = with(PROVE_EXAMPLES), after_help = PROVE_NOTES)]
    Prove(ProveArgs),
    /// Write the completions of a shell, for its startup file
    #[command(help_template = with(COMPLETIONS_EXAMPLES))]
    Completions(CompletionsArgs),
    /// Say which version this is
    Version(VersionArgs),
}

/// `tidewatch demo`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct DemoArgs {
    /// Visitors in the shop at a time.
    #[arg(long, value_name = "N",
          help = sets("Visitors in the shop at a time", &demo::Settings::default(), "demo.users"))]
    pub users: Option<String>,
    /// Events a second, on average.
    #[arg(long, value_name = "EV_PER_S",
          help = sets("Events a second, on average", &demo::Settings::default(), "demo.rate"))]
    pub rate: Option<String>,
    /// The same seed gives the same shop.
    #[arg(long, value_name = "S",
          help = sets("The same seed gives the same shop", &demo::Settings::default(), "demo.seed"))]
    pub seed: Option<String>,
}

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

/// `tidewatch check`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct CheckArgs {
    /// Print the configuration that is in force, as TOML
    #[arg(long)]
    pub print: bool,
    /// Write a configuration file with every key at its default, its reason and its bounds
    #[arg(long, conflicts_with = "print")]
    pub defaults: bool,
}

/// `tidewatch completions`.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `tidewatch dead-letters`.
#[derive(Clone, Debug, ClapArgs)]
pub struct DeadLettersArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub action: DeadLettersAction,
}

/// What to do with dead letters.
#[derive(Clone, Debug, Subcommand)]
pub enum DeadLettersAction {
    /// List them, oldest first
    List {
        /// Only those with a greater id
        #[arg(long, value_name = "ID", default_value_t = 0)]
        after: u64,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 100,
              value_parser = clap::value_parser!(u64).range(1..=LIST_MAX))]
        limit: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one with its bytes
    Show {
        /// Its id
        id: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Send them through the log again, if they can be understood now
    Redrive {
        /// Their ids
        #[arg(required_unless_present = "all", value_name = "ID")]
        ids: Vec<u64>,
        /// All that were not sent again yet
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Most dead letters in one list.
pub const LIST_MAX: u64 = 1_000;

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

/// `tidewatch version`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct VersionArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// The keys of the configuration that flags set.
    pub fn flags(&self) -> Vec<Flag> {
        let common = &self.common;
        let mut flags = vec![
            ("data_dir", "--data-dir", common.data_dir.clone()),
            ("web.listen", "--listen", common.listen.clone()),
        ];
        match &self.command {
            Command::Demo(demo) => flags.extend([
                ("demo.users", "--users", demo.users.clone()),
                ("demo.rate", "--rate", demo.rate.clone()),
                ("demo.seed", "--seed", demo.seed.clone()),
            ]),
            Command::Replay(replay) => flags.extend([
                ("pipeline.shards", "--shards", replay.shards.clone()),
                ("pipeline.batch_max", "--batch", replay.batch.clone()),
            ]),
            Command::Prove(prove) => flags.push(("nats.url", "--nats", prove.nats.clone())),
            _ => {}
        }
        let set = |(key, name, value): (_, _, Option<String>)| {
            value.map(|value| Flag { key, name, value })
        };
        flags.into_iter().filter_map(set).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for line in [
            "tidewatch --listen 127.0.0.1:1 --data-dir d demo --users 5 --seed 7",
            "tidewatch demo --users 5 --seed 7 --listen 127.0.0.1:1 --data-dir d",
        ] {
            let flags = parse(line).unwrap().flags();
            let set: Vec<_> = flags.iter().map(|flag| (flag.key, flag.value.as_str())).collect();
            assert_eq!(
                set,
                [
                    ("data_dir", "d"),
                    ("web.listen", "127.0.0.1:1"),
                    ("demo.users", "5"),
                    ("demo.seed", "7")
                ]
            );
        }
    }

    #[test]
    fn help_shows_the_defaults_of_the_table() {
        let help = |line: &str| parse(line).unwrap_err().to_string();
        let listen = web::Settings::default().listen;
        let common = help("tidewatch --help");
        let demo = help("tidewatch demo --help");
        for (help, default) in [
            (&common, format!("curl http://{listen}/v1/events")),
            (&common, format!("its page is at http://{listen}.")),
            (&common, format!("[default: {listen}]")),
            (&common, "[default: tidewatch-data]".into()),
            (&demo, format!("[default: {}]", demo::Settings::default().users)),
            (&demo, format!("[default: {}]", demo::Settings::default().rate)),
            (&demo, format!("[default: {}]", demo::Settings::default().seed)),
        ] {
            let line = help.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(line.contains(&default), "{default}\n{help}");
        }
        for help in [&common, &demo, &help("tidewatch replay --help")] {
            assert!(!help.contains("LISTEN]") && !help.contains("/LISTEN"), "{help}");
        }
    }

    #[test]
    fn a_replay_needs_a_file_and_a_sound_speed() {
        assert_eq!(parse("tidewatch replay").unwrap_err().exit_code(), 2);
        for (speed, expected) in [
            ("max", Some(Speed::Max)),
            ("60", Some(Speed::Times(60.0))),
            ("0.5", Some(Speed::Times(0.5))),
            ("0", None),
            ("-1", None),
            ("NaN", None),
            ("fast", None),
        ] {
            let found = parse(&format!("tidewatch replay - --speed={speed}")).ok();
            let found = found.map(|args| match args.command {
                Command::Replay(replay) => replay.speed,
                other => panic!("{other:?}"),
            });
            assert_eq!(found, expected, "{speed}");
        }
    }

    #[test]
    fn publish_needs_whole_pairs() {
        for (line, fine) in [
            ("tidewatch publish --subject a", true),
            ("tidewatch publish f.gz --subject a --pack 50 --rate 10", true),
            ("tidewatch publish - --subject a --atomic --json", true),
            ("tidewatch publish f", true),
            ("tidewatch publish f --subject a --pack 50 --atomic", false),
            ("tidewatch publish f --subject a --pack 1", false),
            ("tidewatch publish f --subject a --atomic 1001", false),
            ("tidewatch publish f --subject a --user u", false),
            ("tidewatch publish f --subject a --user u --password-file p", true),
            ("tidewatch publish f --subject a --user u --password-file p --creds c", false),
            ("tidewatch publish f --subject a --tls-cert c", false),
        ] {
            assert_eq!(parse(line).is_ok(), fine, "{line}");
        }
    }

    #[test]
    fn prove_has_bounds_and_one_server() {
        for (rest, fine) in [
            ("", true),
            (" --cycles 0 --events 100 --seed 7 --json --keep", true),
            (" --cycles 1001", false),
            (" --events 99", false),
            (" --nats nats://h --nats-server n", false),
        ] {
            assert_eq!(parse(&format!("tidewatch prove{rest}")).is_ok(), fine, "{rest}");
        }
        let flags = parse("tidewatch prove --nats nats://h:1").unwrap().flags();
        assert_eq!((flags[0].key, flags[0].value.as_str()), ("nats.url", "nats://h:1"));
    }

    #[test]
    fn redrive_takes_ids_or_all() {
        for (line, fine) in [
            ("tidewatch dead-letters redrive 1 2", true),
            ("tidewatch dead-letters redrive --all", true),
            ("tidewatch dead-letters redrive", false),
            ("tidewatch dead-letters redrive 1 --all", false),
            ("tidewatch dead-letters list --limit 0", false),
        ] {
            assert_eq!(parse(line).is_ok(), fine, "{line}");
        }
    }
}
