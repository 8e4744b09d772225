//! Shows that no fault of ours, of the broker or of the network changes a number: after each
//! of them every number, every alert and the ledger are right to the unit (I1, I4-I8).
//!
//! How: the events of a made shop go into a stream, by a client of its own that repeats a
//! message with the same id until the stream has it, while one kind of fault strikes at
//! random moments. What must come out is computed from the events, in the plainest way.
//! `TIDEWATCH_FAULT_CYCLES` multiplies the trials of each fault, `TIDEWATCH_TEST_SEED`
//! repeats a run.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer};
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, StorageType};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use futures_util::future::join_all;
use support::events::{Event, Random, sessions};
use support::{Broker, Cluster, Folder, Proxy, Server, Session, Set, check, pause, skipped, until};

/// Longest pause between the message that a strike waits for and the strike, in ms.
const MOMENT_MS_MAX: u64 = 200;

/// Messages that are under way at once: what a retry can bring out of order.
const WINDOW: usize = 25;

/// Beyond the lateness, so that it closes everything.
const FLUSH_AFTER: i64 = 30 * 86_400_000;

/// Longest time until the stream has everything, faults included.
const PUBLISH_MAX_S: u64 = 240;

const STREAM: &str = "EVENTS";

/// How a client of its own gets at JetStream; a question that was lost is asked again.
async fn connect(url: &str) -> Context {
    let urls: Vec<&str> = url.split(',').collect();
    let options = async_nats::ConnectOptions::new()
        .retry_on_initial_connect()
        .reconnect_delay_callback(|_| Duration::from_millis(50));
    let mut context = jetstream::new(options.connect(urls).await.unwrap());
    context.set_timeout(Duration::from_secs(2));
    context
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn make_stream(url: &str, replicas: usize, window: Duration) {
    make_stream_of(url, STREAM, "events.>", replicas, window);
}

fn make_stream_of(url: &str, name: &str, subject: &str, replicas: usize, window: Duration) {
    block(async {
        let context = connect(url).await;
        let config = stream::Config {
            name: name.into(),
            subjects: vec![subject.into()],
            storage: StorageType::File,
            num_replicas: replicas,
            duplicate_window: window,
            ..Default::default()
        };
        for _ in 0..60 {
            if context.create_stream(config.clone()).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("the stream cannot be made");
    });
}

/// How many messages the stream has taken.
#[derive(Clone, Default)]
struct Progress(Arc<(AtomicUsize, AtomicBool)>);

impl Progress {
    fn wait_for(&self, messages: usize) {
        until(PUBLISH_MAX_S, &format!("{messages} messages are in the stream"), || {
            let done = self.0.1.load(Ordering::Acquire);
            (done || self.0.0.load(Ordering::Acquire) >= messages).then_some(())
        });
    }
}

/// The subject of an event.
type Subject = fn(&Event) -> &'static str;

/// Publishes every message in order, a window at a time, each until it is acknowledged;
/// returns how many had to be sent again.
async fn publish(
    url: &str,
    events: &[Event],
    subject: Subject,
    copies: usize,
    progress: &Progress,
) -> u64 {
    let context = connect(url).await;
    let mut again = 0;
    for window in events.chunks(WINDOW) {
        let mut open: Vec<(usize, &Event)> =
            window.iter().flat_map(|event| (0..copies).map(move |copy| (copy, event))).collect();
        while !open.is_empty() {
            let mut sent: Vec<Option<PublishAckFuture>> = Vec::new();
            for (copy, event) in &open {
                // A second copy has an id of its own: the broker cannot know it.
                let id = format!("{}#{copy}", event.id);
                let message = PublishMessage::build().payload(event.line().into()).message_id(id);
                sent.push(context.send_publish(subject(event), message).await.ok());
            }
            // All are waited for at once: after a fault many are lost together.
            let acknowledged = join_all(sent.into_iter().map(async |sent| match sent {
                Some(future) => future.await.is_ok(),
                None => false,
            }));
            let acknowledged = acknowledged.await.into_iter().zip(&open);
            let left: Vec<_> =
                acknowledged.filter(|(done, _)| !done).map(|(_, what)| *what).collect();
            again += left.len() as u64;
            if !left.is_empty() {
                // A stream without a leader refuses at once.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            open = left;
        }
        progress.0.0.fetch_add(window.len(), Ordering::Release);
    }
    progress.0.1.store(true, Ordering::Release);
    again
}

/// A set on its way through a stream into a server.
struct Run {
    name: &'static str,
    events: Vec<Event>,
    subject: Subject,
    expected: Vec<Session>,
    truth: serde_json::Value,
    random: Random,
    folder: Folder,
    config: String,
    server: Server,
    worst: Duration,
}

impl Run {
    /// Starts a server that reads the stream at `url`.
    fn start(name: &'static str, url: &str, more: &str) -> Run {
        Run::start_in(name, url, more, &[])
    }

    /// The same with these environment variables.
    fn start_in(name: &'static str, url: &str, more: &str, variables: &[(&str, &str)]) -> Run {
        let set = Set::made("shop");
        let mut events = set.events();
        let expected = sessions(&events);
        let end = events.iter().map(|event| event.at).max().unwrap();
        events.push(Event::new("flush", end + FLUSH_AFTER, "page_view", "~flush"));
        let config = format!(
            "[time]\nidle = \"hold\"\nallowed_lateness = \"1d\"\n\
             [pipeline]\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n\
             [nats]\nurl = \"{url}\"\nreconnect_max = \"200ms\"\nrequest_timeout = \"2s\"\n{more}\n\
             [nats.gateway]\nsubject = \"\"\n\
             [nats.out]\nboard_bucket = \"\"\n"
        );
        let folder = Folder::default();
        let launch = folder.serve(&config);
        let launch = variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let server = launch.start();
        let random = Random::seeded(name);
        let truth = set.truth["sessions"]["gt"].clone();
        let worst = Duration::ZERO;
        let subject: Subject = |_| "events.test";
        Run { name, events, subject, expected, truth, random, folder, config, server, worst }
    }

    /// Publishes everything while `strike` strikes, then compares. `url`: of the publisher.
    fn through(
        mut self,
        url: &str,
        copies: usize,
        trials: usize,
        mut strike: impl FnMut(&mut Run),
    ) -> (Server, u64) {
        let trials = trials * factor();
        let progress = Progress::default();
        let (events, count) = (self.events.clone(), self.events.len());
        let (work, url, subject) = (progress.clone(), url.to_owned(), self.subject);
        let publish = async move { publish(&url, &events, subject, copies, &work).await };
        let publisher = thread::spawn(move || block(publish));
        for trial in 0..trials {
            progress.wait_for(trial * count / (trials + 1));
            pause(Duration::from_millis(self.random.below(MOMENT_MS_MAX)));
            strike(&mut self);
        }
        let again = publisher.join().expect("everything is published");
        check(&self.server, &self.events, &self.expected, &self.truth);
        println!(
            "{}: {trials} trials, {count} events, {again} messages sent again, worst recovery {:?}",
            self.name, self.worst
        );
        (self.server, again)
    }

    fn restart(&mut self) {
        self.server = self.folder.serve(&self.config).start();
        self.worst = self.worst.max(self.server.age());
    }
}

fn factor() -> usize {
    let text = std::env::var("TIDEWATCH_FAULT_CYCLES").ok();
    text.map_or(1, |text| text.parse().expect("TIDEWATCH_FAULT_CYCLES is a number"))
}

/// How often each alert is in the alerts stream, against the feed's own list.
fn alerts_left_once(server: &Server, url: &str) {
    let mut wanted: Vec<String> = server
        .all("v1/alerts")
        .iter()
        .map(|alert| alert["id"].as_str().unwrap().to_owned())
        .collect();
    wanted.sort();
    let found = until(60, "every alert is in the stream", || {
        let mut found = block(async {
            let context = connect(url).await;
            let mut stream = context.get_stream("TIDEWATCH_ALERTS").await.ok()?;
            let count = stream.info().await.ok()?.state.messages;
            let config = jetstream::consumer::pull::Config {
                ack_policy: AckPolicy::None,
                ..Default::default()
            };
            let consumer: PullConsumer = stream.create_consumer(config).await.ok()?;
            let mut messages =
                consumer.fetch().max_messages(count as usize + 1).messages().await.ok()?;
            let mut found = Vec::new();
            while let Some(Ok(message)) = messages.next().await {
                let event: serde_json::Value = serde_json::from_slice(&message.payload).ok()?;
                found.push(event["id"].as_str()?.to_owned());
            }
            Some(found)
        })?;
        found.sort();
        (found.len() >= wanted.len()).then_some(found)
    });
    assert!(found == wanted, "{} alerts left, {} are in the feed", found.len(), wanted.len());
}

#[test]
fn f_k1_killed_at_random_moments_while_a_stream_is_read() {
    let mut broker = Broker::start();
    make_stream(&broker.url(), 1, Duration::from_secs(120));
    let run = Run::start("f_k1", &broker.url(), "");
    let (server, _) = run.through(&broker.url(), 1, 20, |run| {
        run.server.kill_9();
        run.restart();
    });
    alerts_left_once(&server, &broker.url());
    broker.kill_9();
}

/// Of two streams one is read to its end early, far ahead of the other in time, and time is
/// held: a process that is killed then and starts again still knows that the first one has
/// nothing more to say, or the other one's last sessions would never close.
#[test]
fn f_k3_killed_while_two_streams_are_read_and_time_is_held() {
    let broker = Broker::start();
    make_stream(&broker.url(), 1, Duration::from_secs(120));
    make_stream_of(&broker.url(), "SHOP", "shop.>", 1, Duration::from_secs(120));
    let sources = "[[nats.source]]\nstream = \"EVENTS\"\n\
                   [[nats.source]]\nstream = \"SHOP\"\nsubjects = [\"shop.>\"]\n";
    let mut run = Run::start("f_k3", &broker.url(), sources);
    run.subject = |event| {
        let first = event.user.bytes().fold(0, |sum: u8, byte| sum.wrapping_add(byte)) % 2 == 0;
        if event.id == "flush" || (first && event.id != "flush-shop") {
            return "events.test";
        }
        "shop.test"
    };
    let flush = run.events.pop().unwrap();
    let (begin, rest) = run.events.split_at(run.events.len() / 3);
    let (late, early): (Vec<_>, Vec<_>) =
        rest.iter().cloned().partition(|event| (run.subject)(event) == "events.test");
    assert!(late.len() > 500 && early.len() > 500, "{} and {}", late.len(), early.len());
    let end = [Event { id: "flush-shop".into(), ..flush.clone() }];
    run.events = [begin, &early, &end, &late, &[flush]].concat();
    let (server, _) = run.through(&broker.url(), 1, 20, |run| {
        run.server.kill_9();
        run.restart();
    });
    alerts_left_once(&server, &broker.url());
}

#[test]
fn f_b1_the_broker_is_killed_and_comes_back() {
    let mut broker = Broker::start();
    make_stream(&broker.url(), 1, Duration::from_secs(120));
    let run = Run::start("f_b1", &broker.url(), "");
    let url = broker.url();
    let (server, again) = run.through(&url, 1, 20, |run| {
        broker.kill_9();
        pause(Duration::from_millis(run.random.below(MOMENT_MS_MAX)));
        broker.restart();
    });
    assert!(again > 0, "no kill ever hit a message");
    alerts_left_once(&server, &url);
}

#[test]
fn f_b3_the_broker_is_paused() {
    let broker = Broker::start();
    make_stream(&broker.url(), 1, Duration::from_secs(120));
    let run = Run::start("f_b3", &broker.url(), "");
    run.through(&broker.url(), 1, 3, |_| {
        broker.signal("STOP");
        pause(Duration::from_secs(3));
        broker.signal("CONT");
    });
}

#[test]
fn f_n0_the_connection_is_cut_stalled_and_slow() {
    let broker = Broker::start();
    make_stream(&broker.url(), 1, Duration::from_secs(120));
    let proxy = Proxy::before(broker.port());
    let run = Run::start("f_n0", &proxy.url(), "");
    let mut kind = 0;
    run.through(&broker.url(), 1, 15, |_| {
        match kind % 5 {
            0 => proxy.cut(),
            1 => {
                proxy.stall();
                pause(Duration::from_secs(2));
            }
            way @ (2 | 3) => {
                proxy.stall_one_way(way == 2);
                pause(Duration::from_secs(2));
            }
            _ => {
                proxy.slow(65_536);
                pause(Duration::from_secs(2));
            }
        }
        proxy.free();
        kind += 1;
    });
}

/// Our machine's wall clock steps an hour on and back and runs ten times too fast; its
/// monotonic one goes on, as on a real machine. Needs libfaketime.
#[test]
fn f_t1_our_clock_jumps() {
    let Some(library) = faketime() else {
        skipped("there is no libfaketime on this machine");
        return;
    };
    let broker = Broker::start();
    make_stream(&broker.url(), 1, Duration::from_secs(120));
    let folder = Folder::default();
    let clock = folder.write("clock", "+0");
    let variables = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", clock.as_str()),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let run = Run::start_in("f_t1", &broker.url(), "", &variables);
    let mut kinds = ["+3600", "-3600", "+0 x10", "+0"].iter().cycle();
    let shown = |server: &Server| server.get("v1/board")["at"].as_i64();
    let far = Duration::from_secs(1_800).as_millis() as i64;
    let (mut last, mut jumps) = (None, 0);
    run.through(&broker.url(), 1, 10, |run| {
        let kind = *kinds.next().expect("it cycles");
        last = last.or(shown(&run.server));
        folder.write("clock", kind);
        if kind == "+0" {
            return;
        }
        last = Some(until(10, "the board shows the other time", || {
            shown(&run.server).filter(|now| last.is_none_or(|last| (now - last).abs() > far))
        }));
        jumps += 1;
    });
    assert!(jumps >= 4, "the clock jumped {jumps} times only");
}

/// The library that gives a process another clock, where Debian puts it.
fn faketime() -> Option<String> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    let library = |folder: std::fs::DirEntry| folder.path().join("faketime/libfaketimeMT.so.1");
    let found = folders.map(library).find(|path| path.exists())?;
    Some(found.display().to_string())
}

#[test]
fn f_b7_the_consumer_is_deleted() {
    let broker = Broker::start();
    make_stream(&broker.url(), 1, Duration::from_secs(120));
    let run = Run::start("f_b7", &broker.url(), "");
    let url = broker.url();
    let mut deleted = 0;
    run.through(&url, 1, 10, |_| {
        let done = block(async {
            let stream = connect(&url).await.get_stream(STREAM).await.unwrap();
            // Refused while it is being made anew: then there is nothing to delete.
            stream.delete_consumer("tidewatch").await.is_ok()
        });
        deleted += u64::from(done);
    });
    assert!(deleted > 0, "there never was one to delete");
}

#[test]
fn f_b8_another_client_takes_our_messages_away() {
    let broker = Broker::start();
    make_stream(&broker.url(), 1, Duration::from_secs(120));
    let run = Run::start("f_b8", &broker.url(), "");
    let url = broker.url();
    let mut stolen = 0;
    run.through(&url, 1, 5, |_| {
        block(async {
            let stream = connect(&url).await.get_stream(STREAM).await.unwrap();
            let Ok(consumer) =
                stream.get_consumer::<jetstream::consumer::pull::Config>("tidewatch").await
            else {
                return;
            };
            let Ok(mut taken) = consumer
                .fetch()
                .max_messages(50)
                .expires(Duration::from_millis(300))
                .messages()
                .await
            else {
                return;
            };
            // Taken, and given back out of order by every second one.
            let mut odd = false;
            while let Some(Ok(message)) = taken.next().await {
                stolen += 1;
                odd = !odd;
                if odd {
                    let _ = message.ack_with(jetstream::AckKind::Nak(None)).await;
                }
            }
        });
    });
    assert!(stolen > 0, "nothing was ever taken away");
}

#[test]
fn f_p2_every_message_is_published_twice() {
    let broker = Broker::start();
    // A window so short that a retry is outside of it.
    make_stream(&broker.url(), 1, Duration::from_millis(100));
    let run = Run::start("f_p2", &broker.url(), "");
    let (server, _) = run.through(&broker.url(), 2, 2, |run| {
        run.server.kill_9();
        run.restart();
    });
    let pipeline = server.pipeline();
    assert!(pipeline["duplicate"].as_u64() >= Some(1_000), "{pipeline}");
}

#[test]
fn f_b9_the_leader_of_three_is_killed() {
    let mut cluster = Cluster::start();
    let url = cluster.url();
    make_stream(&url, 3, Duration::from_secs(120));
    let run = Run::start("f_b9", &url, "replicas = 3");
    run.through(&url, 1, 3, |run| {
        let leader = block(async {
            let mut stream = connect(&url).await.get_stream(STREAM).await.ok()?;
            stream.info().await.ok()?.cluster.as_ref()?.leader.clone()
        });
        let Some(leader) = leader else { return };
        let node = cluster.named(&leader);
        node.kill_9();
        pause(Duration::from_millis(500 + run.random.below(MOMENT_MS_MAX)));
        node.restart();
    });
}

#[test]
fn f_b4_the_broker_has_no_room_and_then_has() {
    // Room for the first part of the events only.
    let mut broker = Broker::with_store("max_file_store: 600KB");
    make_stream(&broker.url(), 1, Duration::from_secs(120));
    let run = Run::start("f_b4", &broker.url(), "");
    let url = broker.url();
    let (_, again) = run.through(&url, 1, 1, |_| {
        pause(Duration::from_secs(3));
        broker.kill_9();
        broker.set_store("max_file_store: 1GB");
        broker.restart();
    });
    assert!(again > 0, "the broker never refused anything");
}

#[test]
fn f_b9_another_of_three_becomes_the_leader() {
    let cluster = Cluster::start();
    let url = cluster.url();
    make_stream(&url, 3, Duration::from_secs(120));
    let run = Run::start("f_b9_step_down", &url, "replicas = 3");
    let mut changes = 0;
    run.through(&url, 1, 5, |_| {
        let answer = block(async {
            let context = connect(&url).await;
            let subject = format!("STREAM.LEADER.STEPDOWN.{STREAM}");
            context.request::<_, _, serde_json::Value>(subject, &serde_json::json!({})).await.ok()
        });
        // While they vote there is nobody who could step down.
        changes += u64::from(answer.is_some_and(|answer| answer["success"] == true));
    });
    assert!(changes > 0, "the leader never changed");
}
