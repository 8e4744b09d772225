//! A real nats-server, and what a stream holds, asked for by a client of the test's own.
#![allow(dead_code, reason = "each test binary uses its part of the rig")]

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use tidewatch::publisher::{Options, Publisher};

use crate::support::nats::takes_batches;
use crate::support::{Broker, until};

/// Longest wait for a server's answer.
const ANSWER_MAX_S: u64 = 30;

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

/// A server, and a client that looks into it.
pub struct Nats {
    broker: Broker,
    pub port: u16,
    pub runtime: tokio::runtime::Runtime,
    client: Option<Client>,
}

impl Nats {
    pub fn start() -> Self {
        let broker = Broker::with_store("max_file_store: 1GB");
        let port = broker.port();
        let mut nats = Nats { broker, port, runtime: runtime(), client: None };
        nats.connect();
        nats
    }

    fn connect(&mut self) {
        let url = self.url();
        self.client = Some(until(ANSWER_MAX_S, "the server answers", || {
            self.runtime.block_on(async_nats::connect(&url)).ok()
        }));
        until(ANSWER_MAX_S, "JetStream answers", || {
            self.runtime.block_on(self.context().query_account()).ok()
        });
    }

    pub fn url(&self) -> String {
        self.broker.url()
    }

    pub fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        self.broker.kill_9();
    }

    /// Starts it again on the same port, with what is on its disk.
    pub fn restart(&mut self) {
        self.broker.restart();
        self.connect();
    }

    /// Whether this server takes atomic batches: from 2.12 on.
    pub fn takes_batches(&self) -> bool {
        takes_batches(self.client())
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
