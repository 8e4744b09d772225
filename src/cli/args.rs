//! The command line: what can be said, and its help. Nothing here acts.

mod alerts;
mod check;
mod dead_letters;
mod dry_run;
mod init;
mod notify;
mod nudge;
mod prove;
mod publish;
mod replay;

pub use alerts::{AlertsAction, AlertsArgs, Which};
pub use check::CheckArgs;
pub use dead_letters::{DeadLettersAction, DeadLettersArgs};
pub use dry_run::{DryRunArgs, HistoryArgs, Often, TuneArgs};
pub use init::InitArgs;
pub use notify::{NotifyAction, NotifyArgs};
pub use nudge::{NudgeAction, NudgeArgs};
pub use prove::ProveArgs;
pub use publish::{NatsFlags, PublishArgs};
pub use replay::{MapArgs, ReplayArgs, Speed};

use std::borrow::Cow;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::Flag;
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
    #[command(help_template = with(replay::REPLAY_EXAMPLES), after_help = replay::REPLAY_NOTES)]
    Replay(ReplayArgs),
    /// Look at a file and propose a map for it
    #[command(help_template = with(replay::MAP_EXAMPLES), after_help = replay::MAP_NOTES)]
    Map(MapArgs),
    /// Say when a rule would have fired on events of the past, at several settings at once
    #[command(help_template = with(dry_run::DRY_RUN_EXAMPLES), after_help = dry_run::DRY_RUN_NOTES)]
    DryRun(DryRunArgs),
    /// Find settings of a rule that would not have fired more often than so
    #[command(help_template = with(dry_run::TUNE_EXAMPLES), after_help = dry_run::TUNE_NOTES)]
    Tune(TuneArgs),
    /// Look at events and write a configuration that fits them
    #[command(help_template = with(init::INIT_EXAMPLES), after_help = init::INIT_NOTES)]
    Init(InitArgs),
    /// Publish a file of events to a NATS subject
    #[command(help_template = with(publish::PUBLISH_EXAMPLES), after_help = publish::PUBLISH_NOTES)]
    Publish(Box<PublishArgs>),
    /// Check the configuration, print it, or say what it would do to a data folder
    #[command(help_template = with(check::CHECK_EXAMPLES), after_help = check::CHECK_NOTES)]
    Check(CheckArgs),
    /// Look at events that were rejected, and send them again
    #[command(help_template = with(dead_letters::DEAD_LETTERS_EXAMPLES), after_help = dead_letters::DEAD_LETTERS_NOTES)]
    DeadLetters(DeadLettersArgs),
    /// Look at what holds, and say who takes care of it or what to be quiet about
    #[command(help_template = with(alerts::ALERTS_EXAMPLES), after_help = alerts::ALERTS_NOTES)]
    Alerts(AlertsArgs),
    /// Look at what nudges bring about, and send nothing more to an address
    #[command(help_template = with(nudge::NUDGE_EXAMPLES), after_help = nudge::NUDGE_NOTES)]
    Nudge(NudgeArgs),
    /// Try who would be told, and how; deliver once more what was left out
    #[command(help_template = with(notify::NOTIFY_EXAMPLES), after_help = notify::NOTIFY_NOTES)]
    Notify(NotifyArgs),
    /// Kill a worker again and again while events come in, and compare every number
    #[command(help_template = with(prove::PROVE_EXAMPLES), after_help = prove::PROVE_NOTES)]
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
    /// Write mails about the carts that are left, and show them at /mailbox; nothing is sent
    #[arg(long)]
    pub mail: bool,
}

/// `tidewatch completions`.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
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
            value.map(|value| Flag { key: Cow::Borrowed(key), name: Cow::Borrowed(name), value })
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
            let set: Vec<_> = flags.iter().map(|flag| (&*flag.key, flag.value.as_str())).collect();
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
        assert_eq!((&*flags[0].key, flags[0].value.as_str()), ("nats.url", "nats://h:1"));
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
