//! The worker under test: this very program as `serve`, killed and started again.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use toml::Table;

use super::ProveError;
use super::broker::Names;
use super::process::{Process, until};
use super::workload::{GAP_MS, LATENESS_MS, TRAIL_MS};
use crate::nats::settings::{Auth, LinkSettings};

/// Longest start, recovery included.
const START_MAX: Duration = Duration::from_secs(60);

/// Longest wait for an answer of the worker.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Greatest answer read, in bytes: 1,000 alerts have less than 1 MiB.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Alerts asked for at once.
const PAGE: usize = 1_000;

/// What the pipeline's topic says, as far as it is compared.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Pipeline {
    pub received: u64,
    pub applied: u64,
    pub duplicate: u64,
    pub late: u64,
    pub rejected: u64,
    pub in_flight: u64,
    pub balanced: bool,
    pub lag_events: u64,
    pub open_sessions: u64,
    pub alerts_committed: u64,
    pub alerts_delivered: u64,
}

/// What the key figures say, as far as it is compared.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Kpi {
    pub closed: u64,
    pub abandoned: u64,
    pub converted: u64,
}

/// One alert of the feed.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct FeedAlert {
    n: u64,
    pub id: String,
    pub kind: String,
    pub subject: String,
    pub at: i64,
}

/// The worker.
pub(super) struct Worker {
    program: PathBuf,
    folder: PathBuf,
    process: Option<Process>,
    url: String,
    agent: ureq::Agent,
}

impl Worker {
    /// Writes the configuration; starts nothing yet.
    ///
    /// # Errors
    /// When this program or the folder cannot be used.
    pub fn new(folder: &Path, link: &LinkSettings, names: &Names) -> Result<Worker, ProveError> {
        let config = config(link, names).to_string();
        fs::write(folder.join("worker.toml"), config).map_err(io)?;
        let agent = ureq::Agent::config_builder().timeout_global(Some(ANSWER_MAX)).build();
        Ok(Worker {
            program: std::env::current_exe().map_err(io)?,
            folder: folder.to_path_buf(),
            process: None,
            url: String::new(),
            agent: agent.into(),
        })
    }

    /// Starts it and waits for nothing.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&mut self) -> Result<(), ProveError> {
        let out = File::create(self.file("worker.out")).map_err(io)?;
        let err = OpenOptions::new().create(true).append(true).open(self.file("worker.log"));
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            // What is set for the caller's own pipeline must not change this one.
            if name.to_string_lossy().starts_with("TIDEWATCH_") {
                command.env_remove(&name);
            }
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]);
        command.arg(self.file("worker.toml")).arg("--data-dir").arg(self.file("data"));
        self.process = Some(Process::start(&mut command, out, err.map_err(io)?).map_err(io)?);
        Ok(())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub async fn start(&mut self) -> Result<(), ProveError> {
        self.spawn()?;
        let listens = until(START_MAX, async || {
            self.check_running()?;
            let text = fs::read_to_string(self.file("worker.out")).unwrap_or_default();
            let line = text.split_once('\n').map(|(line, _)| line);
            Ok::<_, ProveError>(
                line.and_then(|line| line.strip_prefix("dashboard: ")).map(str::to_owned),
            )
        });
        let Some(url) = listens.await? else { return Err(self.trouble("it does not listen")) };
        self.url = url.trim().to_owned();
        let ready = until(START_MAX, async || {
            self.check_running()?;
            Ok::<_, ProveError>(self.get("readyz").await.is_ok().then_some(()))
        });
        match ready.await? {
            Some(()) => Ok(()),
            None => Err(self.trouble("it is not ready")),
        }
    }

    /// kill -9, if it runs.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The topics that are compared.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn topics(&self) -> Result<(Pipeline, Kpi), ProveError> {
        let board: Value = self.json("v1/board").await?;
        let topic = |name: &str| board["topics"][name]["d"].clone();
        let odd = |error| self.trouble(&format!("its board cannot be read: {error}"));
        Ok((
            serde_json::from_value(topic("pipeline")).map_err(odd)?,
            serde_json::from_value(topic("kpi")).map_err(odd)?,
        ))
    }

    /// All alerts of its feed.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn alerts(&self) -> Result<Vec<FeedAlert>, ProveError> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<FeedAlert>,
        }
        let mut alerts: Vec<FeedAlert> = Vec::new();
        loop {
            let after = alerts.last().map_or(0, |alert| alert.n);
            let page: Page = self.json(&format!("v1/alerts?after={after}&limit={PAGE}")).await?;
            match page.items.last() {
                None => return Ok(alerts),
                Some(last) if last.n <= after => return Err(self.trouble("its feed goes back")),
                Some(_) => alerts.extend(page.items),
            }
        }
    }

    async fn json<T: for<'a> Deserialize<'a>>(&self, path: &str) -> Result<T, ProveError> {
        let body = self.get(path).await.map_err(|cause| self.trouble(&cause))?;
        serde_json::from_slice(&body).map_err(|error| self.trouble(&format!("{path}: {error}")))
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, String> {
        let (agent, url) = (self.agent.clone(), format!("{}{path}", self.url));
        let asked = tokio::task::spawn_blocking(move || {
            let mut answer = agent.get(url).call().map_err(|error| error.to_string())?;
            let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
            body.read_to_vec().map_err(|error| error.to_string())
        });
        asked.await.map_err(|error| error.to_string())?.map_err(|cause| format!("{path}: {cause}"))
    }

    fn check_running(&mut self) -> Result<(), ProveError> {
        match self.process.as_mut().and_then(Process::ended) {
            None => Ok(()),
            Some(status) => Err(self.trouble(&format!("it ended by itself ({status})"))),
        }
    }

    /// What went wrong, with the last words of its log.
    fn trouble(&self, cause: &str) -> ProveError {
        let log = fs::read_to_string(self.file("worker.log")).unwrap_or_default();
        let last = log.lines().last().unwrap_or_default().to_owned();
        ProveError::Worker { cause: cause.to_owned(), last }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn io(error: std::io::Error) -> ProveError {
    ProveError::Cannot(format!("the worker cannot be set up: {error}"))
}

/// The worker's configuration: the private streams and short times, all else as shipped.
fn config(link: &LinkSettings, names: &Names) -> Table {
    let text = |value: &str| toml::Value::String(value.to_owned());
    let ms = |value: i64| toml::Value::String(format!("{value}ms"));
    let table = |pairs: Vec<(&str, toml::Value)>| {
        let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
        toml::Value::Table(pairs.collect())
    };
    let list = |value: &str| toml::Value::Array(vec![text(value)]);
    let source = table(vec![
        ("stream", text(&names.events)),
        ("subjects", list(&names.events_subjects())),
        ("consumer", text("prove")),
    ]);
    let mut nats = sign_in(link);
    nats.extend([
        ("source", toml::Value::Array(vec![source])),
        ("gateway", table(vec![("subject", text(""))])),
        (
            "out",
            table(vec![
                ("alerts_stream", text(&names.alerts)),
                ("alerts_subject", text(&names.alerts_subject())),
                // Without rules there are no incidents.
                ("incidents_stream", text("")),
                ("dead_letters_stream", text("")),
                ("board_subject", text("")),
                ("board_bucket", text("")),
                ("service", text("")),
            ]),
        ),
    ]);
    let sections = [
        // Only events move time: the machine's speed changes no number.
        (
            "time",
            table(vec![
                ("out_of_orderness", ms(TRAIL_MS)),
                ("allowed_lateness", ms(LATENESS_MS)),
                ("idle", text("hold")),
            ]),
        ),
        ("session", table(vec![("gap", ms(GAP_MS))])),
        // Quick commits, so that kills fall between and into many of them.
        ("pipeline", table(vec![("commit_interval", ms(20)), ("tick", ms(100))])),
        ("nats", table(nats)),
    ];
    sections.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The keys of `[nats]` that say where the server is and how to sign in.
fn sign_in(link: &LinkSettings) -> Vec<(&'static str, toml::Value)> {
    let text = |value: &str| toml::Value::String(value.to_owned());
    let path = |path: &Path| {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        toml::Value::String(whole.display().to_string())
    };
    let span = |span: Duration| toml::Value::String(format!("{}ms", span.as_millis()));
    let mut keys = vec![
        ("url", text(&link.url)),
        ("name", text("tidewatch-prove")),
        ("request_timeout", span(link.request_timeout)),
        ("reconnect_max", span(link.reconnect_max)),
        ("tls_required", link.tls.required.into()),
        ("tls_first", link.tls.first.into()),
    ];
    match &link.auth {
        Auth::None => {}
        Auth::Creds(file) => keys.push(("creds_file", path(file))),
        Auth::Nkey(seed) => keys.push(("nkey", text(seed))),
        Auth::Token(token) => keys.push(("token", text(token))),
        Auth::Password(user, password) => {
            keys.extend([("user", text(user)), ("password", text(password))]);
        }
    }
    keys.extend(link.tls.ca_file.iter().map(|file| ("tls_ca_file", path(file))));
    if let Some((cert, key)) = &link.tls.client {
        keys.extend([("tls_cert_file", path(cert)), ("tls_key_file", path(key))]);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::nats::publisher::Options;

    #[test]
    fn the_configuration_is_understood_and_signs_in_as_we_do() {
        let names = Names::of("x");
        for auth in [
            Auth::None,
            Auth::Creds("/c".into()),
            Auth::Token("t\"'\\".into()),
            Auth::Password("u".into(), "p".into()),
        ] {
            let mut link = Options::new("nats://127.0.0.1:4222", "s").link;
            link.auth = auth.clone();
            link.name = "tidewatch-prove".into();
            let text = config(&link, &names).to_string();
            let read = Config::parse("worker.toml", &text).expect(&text);
            assert_eq!(read.nats.link.as_ref(), Some(&link));
            assert_eq!(read.session.gap, GAP_MS);
            assert_eq!(read.nats.sources[0].stream, "TIDEWATCH_PROVE_x");
            assert!(read.nats.gateway.subject.is_empty() && read.nats.out.service.is_empty());
            assert_eq!(read.nats.out.alerts_stream, "TIDEWATCH_PROVE_x_ALERTS");
        }
    }
}
