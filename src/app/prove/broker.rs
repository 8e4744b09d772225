//! The NATS server of a proof: the user's own, or one that is started for it; and the two
//! private streams.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::DeleteStreamErrorKind;
use async_nats::jetstream::stream;
use futures_util::StreamExt;
use serde::Deserialize;

use super::ProveError;
use super::process::{Process, until};
use crate::nats::link::Link;
use crate::nats::settings::LinkSettings;

/// Longest start of a server.
const START_MAX: Duration = Duration::from_secs(30);

/// Longest wait for a server to answer a new connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long the server keeps the private streams' messages and ids: longer than a proof.
const MAX_AGE: Duration = Duration::from_secs(86_400);
const DUPLICATE_WINDOW: Duration = Duration::from_secs(3_600);

/// Messages read from the stream of alerts at once.
const FETCH_MAX: usize = 500;

/// The one thing that is read of an alert's message.
#[derive(Deserialize)]
struct AlertId {
    id: String,
}

/// The two private streams, and their subjects.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub events: String,
    pub alerts: String,
    /// All subjects begin with it.
    pub prefix: String,
}

impl Names {
    /// Of a random word.
    pub fn of(word: &str) -> Names {
        let events = format!("TIDEWATCH_PROVE_{word}");
        Names {
            alerts: format!("{events}_ALERTS"),
            events,
            prefix: format!("tidewatch.prove.{word}"),
        }
    }

    /// Where events are published.
    pub fn events_subject(&self) -> String {
        format!("{}.events.all", self.prefix)
    }

    /// The subjects of the stream of events.
    pub fn events_subjects(&self) -> String {
        format!("{}.events.>", self.prefix)
    }

    /// Where alerts are published.
    pub fn alerts_subject(&self) -> String {
        format!("{}.alerts", self.prefix)
    }
}

/// Starts a server on a free port of 127.0.0.1 that syncs every write, its store in
/// `folder`; the process and its URL.
///
/// # Errors
/// When there is no such program, or it does not start.
pub(super) async fn start(
    program: Option<&Path>,
    folder: &Path,
) -> Result<(Process, String), ProveError> {
    let path = program.map_or_else(|| PathBuf::from("nats-server"), Path::to_path_buf);
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => ProveError::NoServer { program: path.display().to_string() },
        _ => ProveError::Cannot(format!("{}: {error}", path.display())),
    };
    let config = format!(
        "listen: \"127.0.0.1:-1\"\nports_file_dir: {folder:?}\n\
         jetstream {{ store_dir: {:?}, sync_interval: always }}\n",
        folder.join("store"),
    );
    let (file, log) = (folder.join("nats.conf"), folder.join("nats.log"));
    let write = || {
        fs::write(&file, config)?;
        let log = File::create(&log)?;
        Ok((log.try_clone()?, log))
    };
    let (out, err) =
        write().map_err(|error: std::io::Error| cannot("the temporary folder", error))?;
    let mut command = Command::new(&path);
    let mut process = Process::start(command.arg("-c").arg(&file), out, err).map_err(failed)?;
    let url = until(START_MAX, async || match process.ended() {
        Some(status) => {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let said = said.lines().last().unwrap_or_default();
            Err(ProveError::Cannot(format!("{} ended with {status}: {said}", path.display())))
        }
        None => Ok(url_in(folder)),
    });
    match url.await? {
        Some(url) => Ok((process, url)),
        None => Err(ProveError::Cannot(format!("{} did not start", path.display()))),
    }
}

/// The URL in the file in which a server tells its ports.
fn url_in(folder: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Ports {
        nats: Vec<String>,
    }
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut paths = entries.map(|entry| entry.path());
    let path = paths.find(|path| path.extension().is_some_and(|end| end == "ports"))?;
    let ports: Ports = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    ports.nats.into_iter().next()
}

/// Connects, and checks that the server can be used.
///
/// # Errors
/// When it is away, too old, or without JetStream.
pub(super) async fn connect(settings: LinkSettings) -> Result<Link, ProveError> {
    let link = Link::open(settings)?;
    match tokio::time::timeout(CONNECT_MAX, link.ready()).await {
        Ok(ready) => ready?,
        Err(_) => return Err(link.away().into()),
    }
    Ok(link)
}

/// Makes the private streams.
///
/// # Errors
/// When the server refuses.
pub(super) async fn make(link: &Link, names: &Names, replicas: usize) -> Result<(), ProveError> {
    for (name, subjects) in [
        (&names.events, names.events_subjects()),
        (&names.alerts, format!("{}.>", names.alerts_subject())),
    ] {
        let config = stream::Config {
            name: name.clone(),
            description: Some("tidewatch prove: private, may be removed".into()),
            subjects: vec![subjects],
            num_replicas: replicas,
            max_age: MAX_AGE,
            duplicate_window: DUPLICATE_WINDOW,
            allow_direct: true,
            allow_atomic_publish: link.client().is_server_compatible(2, 12, 0),
            ..stream::Config::default()
        };
        let made = link.jetstream().create_stream(config).await;
        made.map_err(|error| cannot(&format!("stream {name} cannot be made"), error))?;
    }
    Ok(())
}

/// Removes the private streams, as far as they are there.
pub(super) async fn remove(link: &Link, names: &Names) {
    for name in [&names.events, &names.alerts] {
        let Err(error) = link.jetstream().delete_stream(name).await else { continue };
        let missing = match error.kind() {
            DeleteStreamErrorKind::JetStream(error) => {
                error.error_code() == ErrorCode::STREAM_NOT_FOUND
            }
            _ => false,
        };
        if !missing {
            eprintln!("tidewatch: stream {name} is still there, remove it by hand: {error}");
        }
    }
}

/// How many messages a stream has.
///
/// # Errors
/// When the server does not say.
pub(super) async fn messages(link: &Link, name: &str) -> Result<u64, ProveError> {
    let found = link.jetstream().get_stream(name).await;
    Ok(found.map_err(|error| cannot(name, error))?.cached_info().state.messages)
}

/// The ids of all alerts in their stream.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn alert_ids(link: &Link, name: &str) -> Result<Vec<String>, ProveError> {
    let failed = |error: &dyn std::fmt::Display| cannot(name, error);
    let stream = link.jetstream().get_stream(name).await.map_err(|error| failed(&error))?;
    let wanted = stream.cached_info().state.messages as usize;
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await.map_err(|error| failed(&error))?;
    let mut ids = Vec::with_capacity(wanted);
    while ids.len() < wanted {
        let before = ids.len();
        let batch = consumer.fetch().max_messages(FETCH_MAX.min(wanted - before)).messages();
        let mut batch = batch.await.map_err(|error| failed(&error))?;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| failed(&error))?;
            let alert: AlertId =
                serde_json::from_slice(&message.payload).map_err(|error| failed(&error))?;
            ids.push(alert.id);
        }
        if ids.len() == before {
            return Err(failed(&format!("only {before} of {wanted} messages came")));
        }
    }
    Ok(ids)
}

fn cannot(what: &str, cause: impl std::fmt::Display) -> ProveError {
    ProveError::Cannot(format!("{what}: {cause}"))
}
