//! `tidewatch prove`: shows on the user's own machine and server that kills change no
//! number. Publishes a known workload into a private stream, kills and restarts a worker
//! that reads it, and compares what comes out with a plain count.

mod broker;
mod oracle;
mod process;
mod run;
mod verdict;
mod worker;
mod workload;

use std::hash::{BuildHasher, RandomState};

use tempfile::TempDir;
use thiserror::Error;

use super::serving::{Signals, say};
use crate::cli::Exit;
use crate::cli::args::ProveArgs;
use crate::config::Config;
use crate::nats::NatsError;
use crate::nats::link::Link;
use crate::nats::publisher::Options;
use crate::nats::settings::LinkSettings;
use broker::Names;
use process::Process;

/// Why there is no verdict.
#[derive(Debug, Error)]
enum ProveError {
    /// No program to start.
    #[error(
        "there is no {program}: name a server with --nats nats://host:4222 (or nats.url), or its \
         program with --nats-server PATH"
    )]
    NoServer { program: String },
    /// The server cannot be used.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// Something of the surroundings is missing.
    #[error("{0}")]
    Cannot(String),
    /// The worker does not do what it should.
    #[error("the worker failed: {cause}; the last line of its log: {last}")]
    Worker { cause: String, last: String },
    /// The publisher did not get everything into the stream.
    #[error("{0}")]
    Publish(String),
    /// A signal.
    #[error("stopped; what was made is removed")]
    Stopped,
}

impl ProveError {
    fn exit(&self) -> Exit {
        match self {
            ProveError::NoServer { .. } | ProveError::Nats(_) | ProveError::Cannot(_) => {
                Exit::Locked
            }
            ProveError::Worker { .. } | ProveError::Publish(_) | ProveError::Stopped => {
                Exit::Failed
            }
        }
    }
}

/// Runs a proof; 0 only when nothing differs.
pub(super) fn run(config: Config, args: &ProveArgs) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let proven = match runtime {
        Ok(runtime) => runtime.block_on(prove(&config, args)),
        Err(error) => Err(ProveError::Cannot(error.to_string())),
    };
    match proven {
        Ok(equal) => [Exit::Failed, Exit::Ok][usize::from(equal)],
        Err(error) => {
            eprintln!("tidewatch: {error}");
            error.exit()
        }
    }
}

/// What a proof works with. Fields are dropped in this order: the server before its folder.
struct Stage {
    settings: LinkSettings,
    link: Link,
    names: Names,
    seed: u64,
    _server: Option<Process>,
    folder: TempDir,
}

async fn prove(config: &Config, args: &ProveArgs) -> Result<bool, ProveError> {
    let mut signals = Signals::listen();
    let mut stage = tokio::select! {
        stage = set_up(config, args) => stage?,
        () = signals.next() => return Err(ProveError::Stopped),
    };
    let replicas = config.nats.sources.first().map_or(1, |source| source.replicas);
    let work = async {
        broker::make(&stage.link, &stage.names, replicas).await?;
        run::run(&stage, args).await
    };
    let verdict = tokio::select! {
        verdict = work => verdict,
        () = signals.next() => Err(ProveError::Stopped),
    };
    clear_up(&mut stage, args.keep).await;
    let verdict = verdict?;
    if args.json {
        match serde_json::to_string_pretty(&verdict) {
            Ok(text) => say(&text),
            Err(error) => return Err(ProveError::Cannot(error.to_string())),
        }
    } else {
        say(&verdict.table())
    }
    Ok(verdict.equal)
}

/// Finds or starts a server and connects to it.
async fn set_up(config: &Config, args: &ProveArgs) -> Result<Stage, ProveError> {
    let folder = super::serving::private_folder("tidewatch-prove-");
    let folder = folder.map_err(|error| ProveError::Cannot(format!("no folder: {error}")))?;
    let configured = config.nats.link.clone().filter(|_| args.nats_server.is_none());
    let (server, mut settings) = match configured {
        Some(settings) => (None, settings),
        None => {
            let program = args.nats_server.as_deref();
            let (server, url) = broker::start(program, folder.path()).await?;
            (Some(server), Options::new(url, "prove").link)
        }
    };
    settings.name = "tidewatch-prove".into();
    let link = broker::connect(settings.clone()).await?;
    // Keys of their own from the system: no two proofs share a stream.
    let word = RandomState::new().hash_one(std::process::id());
    let seed = args.seed.unwrap_or(word >> 40);
    let names = Names::of(&format!("{word:016x}"));
    eprintln!("seed {seed}, stream {} on {}", names.events, link.url());
    Ok(Stage { settings, link, names, seed, _server: server, folder })
}

/// Removes the streams and the files, or says where they are.
async fn clear_up(stage: &mut Stage, keep: bool) {
    if keep {
        stage.folder.disable_cleanup(true);
        let Names { events, alerts, .. } = &stage.names;
        eprintln!(
            "kept: streams {events} and {alerts}, files in {}",
            stage.folder.path().display()
        );
        return;
    }
    broker::remove(&stage.link, &stage.names).await;
}
