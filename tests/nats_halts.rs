//! Shows that a stream which is no longer the one the state was made from stops the process
//! with a sentence and an exit code, whole and repeatable, and that a gap which may be is
//! counted to the unit (I7, I8; F-B5, F-B6).
//!
//! How: `serve` reads some events and is killed or keeps running; the stream is purged,
//! deleted or made again with the server's own API; then its end, its words, its state and
//! its next start are looked at.

mod support;

use async_nats::jetstream::stream::Config;
use bytes::Bytes;
use serde_json::Value;
use support::events::{Event, Random};
use support::{Broker, Folder, HOLD, Js, Server, until};

/// How often each fault is tried, at another place each time.
const TRIALS: u64 = 5;

/// Exit codes of the command line's help.
const FAILED: i32 = 1;
const DAMAGED: i32 = 4;

/// A broker with a stream, and a service that has read from it.
struct Rig {
    js: Js,
    server: Server,
    config: String,
    folder: Folder,
    published: u64,
    /// Ends last.
    _broker: Broker,
}

impl Rig {
    fn start() -> Rig {
        let broker = Broker::start();
        let js = Js::connect(&broker.url());
        js.make_stream(&stream());
        let folder = Folder::default();
        let config = config(&broker.url(), "stop");
        let server = folder.serve(&config).start();
        Rig { js, folder, config, server, published: 0, _broker: broker }
    }

    fn publish(&mut self, count: u64) {
        let numbers = self.published..self.published + count;
        let messages: Vec<_> = numbers.map(message).collect();
        self.js.publish("events.test", &messages, 200);
        self.published += count;
    }

    /// Waits until this many events are counted and durable.
    fn settled(&self, events: u64) -> Value {
        let pipeline = self.server.wait_settled(events);
        assert_eq!(pipeline["balanced"], true, "{pipeline}");
        assert_eq!(pipeline["received"], events, "{pipeline}");
        pipeline
    }

    fn start_again(&mut self, on_gap: &str) {
        self.config = self.config.replace("\"stop\"", &format!("{on_gap:?}"));
        self.server = self.folder.serve(&self.config).start();
    }

    /// Starts it again; it must end by itself with this code and these words.
    fn refuses(&mut self, code: i32, words: &[String]) {
        self.server = self.folder.serve(&self.config).spawn();
        self.ends(code, words);
    }

    fn ends(&mut self, code: i32, words: &[String]) {
        let status = self.server.wait_exit(60);
        let log = self.server.stderr();
        assert_eq!(status.code(), Some(code), "{log}");
        for word in words {
            assert!(log.contains(word), "no {word:?} in\n{log}");
        }
    }
}

fn stream() -> Config {
    Config { name: "EVENTS".into(), subjects: vec!["events.>".into()], ..Config::default() }
}

fn config(url: &str, on_gap: &str) -> String {
    format!(
        "{HOLD}[pipeline]\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n\
         [nats]\nurl = \"{url}\"\non_gap = \"{on_gap}\"\nreconnect_max = \"100ms\"\n\
         [nats.gateway]\nsubject = \"\"\n"
    )
}

fn message(number: u64) -> (String, Bytes) {
    let (id, at) = (format!("e{number}"), 1_763_800_000_000 + number as i64);
    let event = Event::new(&id, at, "page_view", format!("u{}", number % 50));
    (id, event.line().into())
}

#[test]
fn f_b5_a_purge_past_our_position_stops_it_and_is_counted_when_told_to_go_on() {
    let mut random = Random::seeded("f_b5");
    for _ in 0..TRIALS {
        let mut rig = Rig::start();
        let (read, gone, kept) =
            (1 + random.below(300), 1 + random.below(300), 1 + random.below(300));
        rig.publish(read);
        rig.settled(read);
        rig.server.kill_9();
        rig.publish(gone + kept);
        let purged = rig.js.run(async {
            let stream = rig.js.context().get_stream("EVENTS").await.unwrap();
            stream.purge().sequence(read + gone + 1).await.unwrap().purged
        });
        assert_eq!(purged, read + gone);

        let positions = [(read + 1).to_string(), (read + gone).to_string()];
        rig.refuses(FAILED, &positions);
        // It is no better the second time, and nothing was made worse by the first.
        rig.refuses(FAILED, &positions);
        rig.start_again("continue");
        let pipeline = rig.settled(read + kept);
        assert_eq!((&pipeline["applied"], &pipeline["gap"]), (&(read + kept).into(), &gone.into()));
        // The gap is in the state: a restart neither forgets it nor counts it again.
        rig.server.kill_9();
        rig.start_again("continue");
        let pipeline = rig.settled(read + kept);
        assert_eq!((&pipeline["applied"], &pipeline["gap"]), (&(read + kept).into(), &gone.into()));
        println!("f_b5: {read} read, {gone} purged, {kept} kept: gap {}", pipeline["gap"]);
    }
}

#[test]
fn f_b6_a_stream_made_again_is_refused_and_the_state_kept() {
    let mut random = Random::seeded("f_b6");
    for trial in 0..TRIALS {
        let mut rig = Rig::start();
        let (before, after) = (1 + random.below(300), 1 + random.below(600));
        rig.publish(before);
        let numbers = rig.settled(before);
        // While it runs, and while it does not.
        let running = trial % 2 == 0;
        if !running {
            rig.server.kill_9();
        }
        rig.js.run(rig.js.context().delete_stream("EVENTS")).unwrap();
        rig.js.make_stream(&stream());
        rig.publish(after);
        if running {
            let status = rig.server.wait_exit(60);
            assert!(matches!(status.code(), Some(FAILED | DAMAGED)), "{status}");
        }
        rig.refuses(DAMAGED, &["EVENTS".into(), "data".into()]);
        rig.refuses(DAMAGED, &["EVENTS".into(), "data".into()]);
        println!("f_b6: {before} before, {after} after, running {running}");

        // The remedy is a new data folder: then the new stream is counted whole.
        rig.folder = Folder::default();
        rig.start_again("stop");
        assert_eq!(rig.settled(after)["applied"], after, "{numbers}");
    }
}

#[test]
fn a_stream_that_is_deleted_is_not_made_again_over_a_state() {
    let mut rig = Rig::start();
    rig.publish(100);
    rig.settled(100);
    rig.server.kill_9();
    rig.js.run(rig.js.context().delete_stream("EVENTS")).unwrap();
    rig.server = rig.folder.serve(&rig.config).spawn();
    let status = rig.server.wait_exit(60);
    let log = rig.server.stderr();
    assert!(matches!(status.code(), Some(FAILED | DAMAGED)), "{status}\n{log}");
    assert!(log.contains("stream EVENTS does not exist any more"), "{log}");
    let there = rig.js.run(rig.js.context().get_stream("EVENTS"));
    assert!(there.is_err(), "it was made again");
}

#[test]
fn a_message_deleted_inside_the_stream_is_a_gap_while_it_runs() {
    let mut rig = Rig::start();
    rig.publish(10);
    rig.settled(10);
    rig.server.kill_9();
    rig.start_again("continue");
    rig.server.signal("STOP");
    rig.publish(10);
    let deleted = rig.js.run(async {
        let stream = rig.js.context().get_stream("EVENTS").await.unwrap();
        stream.delete_message(15).await.unwrap()
    });
    assert!(deleted);
    rig.server.signal("CONT");
    let pipeline = until(30, "the rest is counted", || {
        let pipeline = rig.server.pipeline();
        let all = pipeline["received"].as_u64()? + pipeline["gap"].as_u64()?;
        (all >= 20 && pipeline["in_flight"] == 0).then_some(pipeline)
    });
    assert_eq!(pipeline["balanced"], true, "{pipeline}");
    // It may have been on its way when it was deleted; then nothing is missing.
    let sum = pipeline["received"].as_u64().unwrap() + pipeline["gap"].as_u64().unwrap();
    assert_eq!(sum, 20, "{pipeline}");
    assert_eq!(pipeline["received"], pipeline["applied"], "{pipeline}");
}
