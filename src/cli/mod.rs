//! The command line: arguments, the dispatch table, and the commands that need no
//! pipeline. The commands that run one come in as functions, from the composition root.

pub mod alerts;
pub mod args;
pub mod check;
pub mod dead_letters;
#[cfg(feature = "notify")]
pub mod notify;
pub mod nudge;
#[cfg(feature = "replay")]
pub mod report;
mod server;
pub mod version;

use std::fmt::Display;
use std::process::ExitCode;
use std::string::FromUtf8Error;

use clap::CommandFactory;
use clap_complete::Shell;

use args::{
    Args, Command, Common, DemoArgs, DryRunArgs, InitArgs, MapArgs, ProveArgs, PublishArgs,
    ReplayArgs, TuneArgs,
};

use crate::config::{Config, environment, reference};

/// How a command ended; the number is the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Fine.
    Ok = 0,
    /// It failed.
    Failed = 1,
    /// Wrong arguments or configuration.
    Usage = 2,
    /// Another process uses the data folder; of `prove`: there is nothing to run it on.
    Locked = 3,
    /// The state on disk is damaged.
    Damaged = 4,
    /// Too many restarts.
    GaveUp = 5,
    /// Of `replay`: nothing was applied, or with `--strict` something was rejected.
    Refused = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The commands that run a pipeline, and how a data folder is opened without one.
pub struct Commands {
    /// `tidewatch serve`.
    pub serve: fn(Config, &Common) -> Exit,
    /// `tidewatch demo`.
    pub demo: fn(Config, &Common, &DemoArgs) -> Exit,
    /// `tidewatch replay`.
    pub replay: fn(Config, &Common, &ReplayArgs) -> Exit,
    /// `tidewatch map`.
    pub map: fn(&MapArgs) -> Exit,
    /// `tidewatch dry-run`.
    pub dry_run: fn(Config, &Common, &DryRunArgs) -> Exit,
    /// `tidewatch tune`.
    pub tune: fn(Config, &Common, &TuneArgs) -> Exit,
    /// `tidewatch init`.
    pub init: fn(&Config, &InitArgs) -> Exit,
    /// `tidewatch publish`.
    pub publish: fn(Config, &Common, &PublishArgs) -> Exit,
    /// `tidewatch prove`.
    pub prove: fn(Config, &ProveArgs) -> Exit,
    /// How `tidewatch dead-letters` opens a data folder when no server runs.
    pub open_idle: dead_letters::OpenIdle,
}

/// Runs one command. Results go to stdout, complaints to stderr.
pub fn run(args: &Args, commands: &Commands) -> Exit {
    let common = &args.common;
    let load = || Config::load(common.config.as_deref(), environment(), &args.flags());
    let with_config = |command: &dyn Fn(Config) -> Exit| match load() {
        Ok(config) => {
            for warning in config.warnings() {
                eprintln!("tidewatch: warning: {warning}");
            }
            command(config)
        }
        Err(error) => finish(Exit::Usage, Err(error)),
    };
    match &args.command {
        Command::Serve => with_config(&|config| (commands.serve)(config, common)),
        Command::Demo(args) => with_config(&|config| (commands.demo)(config, common, args)),
        Command::Replay(args) => with_config(&|config| (commands.replay)(config, common, args)),
        Command::Map(args) => (commands.map)(args),
        Command::Tune(args) => with_config(&|config| (commands.tune)(config, common, args)),
        Command::Init(args) => with_config(&|config| (commands.init)(&config, args)),
        Command::DryRun(args) => with_config(&|config| (commands.dry_run)(config, common, args)),
        Command::Publish(args) => with_config(&|config| (commands.publish)(config, common, args)),
        Command::Prove(args) => with_config(&|config| (commands.prove)(config, args)),
        Command::Check(args) if args.defaults => {
            finish(Exit::Failed, Ok::<_, String>(reference().trim_end().to_owned()))
        }
        Command::Check(args) => {
            let checked = check::run(args, common, load());
            let failed = checked.as_ref().map_or_else(check::CheckError::exit, |_| Exit::Failed);
            finish(failed, checked)
        }
        Command::DeadLetters(args) => with_config(&|config| {
            let listen = common.listen.as_deref();
            match dead_letters::run(&config, listen, &args.action, commands.open_idle) {
                Ok(done) => match finish(Exit::Failed, Ok::<_, String>(done.text)) {
                    Exit::Ok => done.exit,
                    failed => failed,
                },
                Err(error) => finish(error.exit(), Err(error)),
            }
        }),
        Command::Alerts(args) => with_config(&|config| {
            finish(Exit::Failed, alerts::run(&config, common.listen.as_deref(), args))
        }),
        Command::Nudge(args) => with_config(&|config| {
            finish(Exit::Failed, nudge::run(&config, common.listen.as_deref(), args))
        }),
        #[cfg(feature = "notify")]
        Command::Notify(args) => with_config(&|config| {
            finish(Exit::Failed, notify::run(&config, common.listen.as_deref(), &args.action))
        }),
        #[cfg(not(feature = "notify"))]
        Command::Notify(_) => {
            finish(Exit::Usage, Err::<String, _>(crate::config::missing("channels", "notify")))
        }
        Command::Completions(args) => finish(Exit::Failed, completions(args.shell)),
        Command::Version(args) => finish(Exit::Failed, Ok::<_, String>(version::run(args))),
    }
}

/// What makes a shell complete our commands and flags.
fn completions(shell: Shell) -> Result<String, FromUtf8Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "tidewatch", &mut script);
    String::from_utf8(script).map(|script| script.trim_end().to_owned())
}

/// Prints a result, or a complaint with the exit code that goes with it.
fn finish(failed: Exit, result: Result<String, impl Display>) -> Exit {
    match result {
        Ok(text) => match print(&text) {
            Ok(()) => Exit::Ok,
            // The reader went away (`| head`): nothing is wrong, nobody listens.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
            Err(_) => Exit::Failed,
        },
        Err(error) => {
            eprintln!("tidewatch: {error}");
            failed
        }
    }
}

fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
