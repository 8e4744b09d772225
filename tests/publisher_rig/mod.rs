//! A real nats-server in a folder of its own, and what a stream holds, asked for by a client
//! of the test's own.
#![allow(dead_code, reason = "each test binary uses its part of the rig")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use tempfile::TempDir;
use tidewatch::publisher::{Options, Publisher};

use crate::support::until;

/// Longest wait for a server.
const START_MAX_S: u64 = 30;

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Stored {
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: String,
}

impl Stored {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|e| panic!("{e}: {}", self.payload))
    }
}

/// A server process. Killed by its own id when dropped.
pub struct Nats {
    dir: TempDir,
    child: Option<Child>,
    pub port: u16,
    pub runtime: tokio::runtime::Runtime,
    client: Option<Client>,
}

impl Nats {
    /// Starts a server with JetStream on a free port.
    pub fn start() -> Self {
        let mut nats = Nats {
            dir: TempDir::new().unwrap(),
            child: None,
            port: 0,
            runtime: runtime(),
            client: None,
        };
        nats.run("-1");
        let found = until(START_MAX_S, "the server tells its port", || {
            let files = fs::read_dir(nats.dir.path()).unwrap();
            let mut ports = files.filter_map(|file| {
                let path = file.unwrap().path();
                (path.extension()? == "ports").then(|| fs::read_to_string(path).ok()).flatten()
            });
            let ports: serde_json::Value = serde_json::from_str(&ports.next()?).ok()?;
            ports["nats"][0].as_str()?.rsplit_once(':')?.1.parse::<u16>().ok()
        });
        nats.port = found;
        nats.connect();
        nats
    }

    fn run(&mut self, port: &str) {
        let dir = self.dir.path().display();
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nports_file_dir: {dir:?}\n\
             jetstream {{ store_dir: {dir:?}, max_file_store: 1GB }}\n",
            dir = dir.to_string()
        );
        let path = self.dir.path().join("nats.conf");
        fs::write(&path, config).unwrap();
        let log = File::create(self.dir.path().join("nats.log")).unwrap();
        let mut command = Command::new(server_binary());
        command.arg("-c").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("nats-server starts; ./test installs it"));
    }

    fn connect(&mut self) {
        let url = self.url();
        self.client = Some(until(START_MAX_S, "the server answers", || {
            self.runtime.block_on(async_nats::connect(&url)).ok()
        }));
        until(START_MAX_S, "JetStream answers", || {
            self.runtime.block_on(self.context().query_account()).ok()
        });
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again on the same port, with what is on its disk.
    pub fn restart(&mut self) {
        let port = self.port.to_string();
        self.run(&port);
        self.connect();
    }

    pub fn context(&self) -> Context {
        let _inside = self.runtime.enter();
        jetstream::new(self.client().clone())
    }

    /// Makes a stream over `subject`, with a window for duplicates of two minutes.
    pub fn stream(&self, name: &str, subject: &str) {
        self.stream_with(Config {
            name: name.into(),
            subjects: vec![subject.into()],
            duplicate_window: Duration::from_secs(120),
            ..Config::default()
        });
    }

    pub fn stream_with(&self, config: Config) {
        self.runtime.block_on(self.context().create_stream(config)).unwrap();
    }

    /// Messages in a stream, by the stream's own count.
    pub fn count(&self, name: &str) -> u64 {
        self.runtime.block_on(async {
            let mut stream = self.context().get_stream(name).await.unwrap();
            stream.info().await.unwrap().state.messages
        })
    }

    /// Every message of a stream, in order.
    pub fn messages(&self, name: &str) -> Vec<Stored> {
        let count = self.count(name);
        self.runtime.block_on(async {
            let stream = self.context().get_stream(name).await.unwrap();
            let mut found = Vec::new();
            for sequence in 1..=count {
                let raw = stream.get_raw_message(sequence).await.unwrap();
                found.push(Stored {
                    subject: raw.subject.to_string(),
                    headers: raw.headers,
                    payload: String::from_utf8(raw.payload.to_vec()).unwrap(),
                });
            }
            found
        })
    }

    /// A publisher with these options changed.
    pub fn publisher(&self, subject: &str, change: impl FnOnce(&mut Options)) -> Publisher {
        let mut options = Options::new(self.url(), subject);
        options.ack_wait = Duration::from_millis(500);
        options.link.reconnect_max = Duration::from_millis(200);
        change(&mut options);
        self.runtime.block_on(Publisher::connect(options)).unwrap()
    }
}

/// For the test's own calls; nothing moves between them.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Drop for Nats {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is fine: what counts is that it is not there afterwards.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("nats.log")).unwrap_or_default();
            println!("---- nats-server ----\n{log}----");
        }
    }
}

/// Where `./test` put it.
pub fn server_binary() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nats/bin/nats-server")
}
