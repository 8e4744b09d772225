//! A real nats-server on a free port, with a store folder of its own, and a client that
//! publishes as any other program would.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};
use tempfile::TempDir;

use crate::support::until;

pub struct Broker {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Broker {
    pub fn start() -> Self {
        Broker::with("")
    }

    /// With more lines in its `jetstream` block.
    pub fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let store = folder.path().join("store");
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:-1\"\nports_file_dir: {:?}\n\
             jetstream {{\n store_dir: {:?}\n {more}\n}}\n",
            folder.path(),
            store,
        );
        fs::write(folder.path().join("nats.conf"), config).unwrap();
        let mut broker = Broker { folder, port, process: None };
        broker.restart();
        broker
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// URL of the monitoring port, from the file in which the server tells its ports.
    pub fn monitor(&self) -> String {
        let files = || fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        until(20, "the ports are told", || {
            let file = files().find(|path| path.extension().is_some_and(|e| e == "ports"))?;
            let ports: serde_json::Value =
                serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
            ports["monitoring"][0].as_str().map(String::from)
        })
    }

    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nats/bin/nats-server");
        let process = Command::new(&bin)
            .arg("-c")
            .arg(self.folder.path().join("nats.conf"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; ./test installs it", bin.display()));
        self.process = Some(process);
        let port = self.port;
        until(30, "nats-server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    }

    /// Ends it as `kill -9` does.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// A client of its own.
    pub async fn client(&self) -> Context {
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .connect(self.url())
            .await
            .unwrap();
        let mut context = jetstream::new(client);
        // A question asked while the connection was lost has no answer.
        context.set_timeout(Duration::from_millis(500));
        context
    }
}

/// Publishes and waits until the stream has it.
pub async fn publish(context: &Context, subject: &str, headers: &[(&str, &str)], payload: &[u8]) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let payload = payload.to_vec().into();
    let sent = context.publish_with_headers(subject.to_owned(), map, payload).await.unwrap();
    sent.await.unwrap();
}

/// Publishes events `from` to `to`, each its number.
pub async fn numbers(context: &Context, from: u64, to: u64) {
    let mut acks = Vec::new();
    for n in from..=to {
        acks.push(context.publish(format!("events.{}", n % 3), event(n).into()).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

/// Event `n` as it is published.
pub fn event(n: u64) -> String {
    format!(
        r#"{{"id":"e{n}","ts":{},"type":"page_view","user":"u{}"}}"#,
        1_700_000_000_000 + n,
        n % 7
    )
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
