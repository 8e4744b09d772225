//! A real nats-server that can be killed, a pipeline with a short road from an event to
//! an alert, and a client of its own to look at what arrived.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::Stream;
use serde_json::Value;
use tempfile::TempDir;
use tidewatch::actors::{Idle, Settings};
use tidewatch::app::Running;
use tidewatch::config::Config;
use tidewatch::domain::alert::Alert;
use tidewatch::nats::link::Link;
use tidewatch::nats::out::feed_of;
use tidewatch::nats::settings::LinkSettings;
use tidewatch::nats::settings::OutSettings;
use tidewatch::sink::OutState;
use tidewatch::sink::Outputs;

use crate::support::events::{Event, GAP};
use crate::support::{Broker, pause, until};

/// 2023-11-14, a time like any other.
pub const START: i64 = 1_700_000_000_000;

/// Far enough after an event to close its session.
pub const CLOSE_AFTER: i64 = GAP + 60_000;

/// Our own connection to a server.
pub fn connect(broker: &Broker) -> Link {
    let settings = LinkSettings {
        name: "test".into(),
        request_timeout: Duration::from_secs(5),
        reconnect_max: Duration::from_millis(200),
        ..LinkSettings::to(broker.url())
    };
    Link::open(settings).unwrap()
}

/// A pipeline of our own process, fed with events of long ago.
pub struct Rig {
    pub runtime: tokio::runtime::Runtime,
    pub running: Running,
    _data: TempDir,
    waves: i64,
    /// First letters of its users.
    pub prefix: &'static str,
    /// Every user that left a cart so far.
    pub users: Vec<String>,
}

impl Rig {
    pub fn start() -> Rig {
        Rig::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Rig {
        let data = TempDir::new().unwrap();
        let mut config = Config {
            pipeline: Settings {
                shards: 1,
                commit_interval: 20,
                tick: 100,
                idle: Idle::Hold,
                ..Settings::default()
            },
            ..Config::default()
        };
        config.general.data_dir = data.path().into();
        change(&mut config);
        let running = tidewatch::Pipeline::builder().config(config).start().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Rig { runtime, running, _data: data, waves: 0, prefix: "u", users: Vec::new() }
    }

    /// With a configuration of one's own, but for where data lies and how quick it is.
    pub fn configured(text: &str) -> Rig {
        Rig::with(|config| {
            let (general, pipeline) = (config.general.clone(), config.pipeline.clone());
            *config = Config { general, pipeline, ..Config::parse("t.toml", text).unwrap() };
        })
    }

    pub fn publish(&self, lines: Vec<String>) {
        let events = lines.into_iter().map(Into::into).collect();
        self.runtime.block_on(self.running.publish(events)).unwrap();
    }

    /// `count` users leave a cart each, and time passes until all of them are abandoned.
    pub fn abandon(&mut self, count: usize) {
        let at = START + self.waves * CLOSE_AFTER;
        self.waves += 1;
        let mut lines = Vec::new();
        for _ in 0..count {
            let user = format!("{}{}", self.prefix, self.users.len());
            lines.push(Event::new(format!("e-{user}"), at, "cart_add", user.clone()).line());
            self.users.push(user);
        }
        let flush = Event::new(format!("f{}", self.waves), at + CLOSE_AFTER, "page_view", "~");
        lines.push(flush.line());
        self.publish(lines);
    }

    /// The feed, once it holds an alert for every user.
    pub fn feed(&self) -> Vec<Alert> {
        let records = self.running.web().records;
        until(60, "every alert is in the alert log", || {
            let alerts = records.alert_log(0, 10_000).unwrap();
            assert!(alerts.len() <= self.users.len(), "more alerts than sessions");
            (alerts.len() == self.users.len()).then_some(alerts)
        })
    }

    /// The name of its feeds.
    pub fn feed_name(&self) -> String {
        feed_of(self.running.schema().seed)
    }

    pub fn outputs(&self, link: &Link, settings: OutSettings) -> Outputs {
        self.running.send_to_nats(link, settings)
    }

    /// All messages of a stream, oldest first.
    pub fn messages(&self, link: &Link, stream: &str) -> Vec<StreamMessage> {
        let stream = self.stream(link, stream);
        let state = &stream.cached_info().state;
        let range = state.first_sequence.max(1)..=state.last_sequence;
        let all = range.map(|sequence| async_get(self, &stream, sequence));
        all.flatten().collect()
    }

    pub fn stream(&self, link: &Link, stream: &str) -> Stream {
        until(30, "the stream is there", || {
            self.runtime.block_on(link.jetstream().get_stream(stream)).ok()
        })
    }

    /// Waits until an output says so.
    pub fn wait(
        &self,
        outputs: &Outputs,
        output: &str,
        what: &str,
        ok: impl Fn(&OutState) -> bool,
    ) {
        until(60, what, || {
            let states = outputs.states();
            let state = states.iter().find(|state| state.output == output).unwrap();
            ok(state).then_some(())
        });
    }

    /// Waits until the stream's last message of this feed carries position `n`.
    pub fn wait_last(&self, link: &Link, stream: &str, n: u64) {
        let filter = format!("tidewatch.*.*.{}", self.feed_name());
        until(60, "the last item is in the stream", || {
            let stream = self.runtime.block_on(link.jetstream().get_stream(stream)).ok()?;
            let last = stream.get_last_raw_message_by_subject(&filter);
            let last = self.runtime.block_on(last).ok()?;
            (header(&last, "Tidewatch-N") == n.to_string()).then_some(())
        });
    }
}

fn async_get(rig: &Rig, stream: &Stream, sequence: u64) -> Option<StreamMessage> {
    rig.runtime.block_on(stream.get_raw_message(sequence)).ok()
}

/// Alerts only, quick to notice and to retry.
pub fn alerts_only() -> OutSettings {
    OutSettings {
        incidents_stream: String::new(),
        dead_letters_stream: String::new(),
        board_subject: String::new(),
        board_bucket: String::new(),
        service: String::new(),
        ..quick()
    }
}

/// Everything, with little patience.
pub fn quick() -> OutSettings {
    OutSettings {
        duplicate_window: Duration::from_millis(100),
        poll_interval: Duration::from_millis(10),
        retry_max: Duration::from_millis(200),
        board_interval: Duration::from_millis(100),
        max_bytes: 64 << 20,
        ..OutSettings::default()
    }
}

pub fn header(message: &StreamMessage, name: &str) -> String {
    message.headers.get(name).map(|value| value.as_str().to_string()).unwrap_or_default()
}

/// The stream holds the feed: every alert once, in order, as it stands in the alert log.
pub fn check(rig: &Rig, messages: &[StreamMessage]) {
    let feed = rig.feed();
    let mut by_user: BTreeMap<String, usize> = BTreeMap::new();
    assert_eq!(messages.len(), feed.len(), "as many messages as alerts");
    for (index, (message, alert)) in messages.iter().zip(&feed).enumerate() {
        assert_eq!(header(message, "Tidewatch-N"), (index + 1).to_string());
        assert_eq!(header(message, "Nats-Msg-Id"), alert.id);
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(event["id"], alert.id.as_str());
        assert_eq!(event["data"], serde_json::to_value(alert).unwrap());
        *by_user.entry(event["subject"].as_str().unwrap().to_string()).or_default() += 1;
    }
    let users: Vec<_> = rig.users.iter().collect();
    assert_eq!(by_user.len(), users.len());
    for user in users {
        assert_eq!(by_user.get(user), Some(&1), "{user}");
    }
}

/// Lets a random moment pass, at most so many milliseconds.
pub fn moment(random: &mut crate::support::Random, most: u64) {
    pause(Duration::from_millis(random.below(most)));
}
