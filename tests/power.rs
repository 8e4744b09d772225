//! Shows what a power loss does to the numbers. Under our own disk (F-D1): nothing, what was
//! accepted is there. Under the broker's disk (I7; F-B2): nothing where the stream is synced
//! always, and a named end, never a silent skip, where it is not.
//!
//! How: the files lie on a real ext4 in an image file, whose power is cut under the running
//! processes; the process is killed, the disk mounted anew, the process started on what is
//! left. Needs root and a loop device; without them the tests are counted as skipped.
//!
//! `TIDEWATCH_FAULT_CYCLES` multiplies the trials.

mod support;

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use bytes::Bytes;
use serde_json::Value;
use support::events::{Event, Random};
use support::{Broker, Disk, Folder, HOLD, Js, Server, pause, skipped};

/// How often each is tried.
const TRIALS: u64 = 3;

/// Exit code of the command line's help: the log is not the one the state was made from.
const DAMAGED: i32 = 4;

fn trials() -> u64 {
    let text = std::env::var("TIDEWATCH_FAULT_CYCLES").ok();
    TRIALS * text.map_or(1, |text| text.parse().expect("TIDEWATCH_FAULT_CYCLES is a number"))
}

/// `None` where no disk can be made.
fn disk() -> Option<Disk> {
    Disk::new().inspect_err(|cause| skipped(format_args!("no disk can be made here: {cause}"))).ok()
}

#[test]
fn f_d1_power_loss_under_our_files_costs_nothing_that_was_accepted() {
    let mut random = Random::seeded("f_d1");
    let Some(disk) = disk() else { return };
    let folder = Folder::default();
    let data = disk.path().join("data");
    std::fs::create_dir(&data).unwrap();
    disk.sync();
    std::os::unix::fs::symlink(&data, folder.data()).unwrap();
    let config = format!("{HOLD}[pipeline]\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n");
    let mut server = folder.serve(&config).start();
    let mut accepted = 0;
    for _ in 0..trials() * 3 {
        for _ in 0..1 + random.below(20) {
            let count = 1 + random.below(100);
            let lines: Vec<_> = (accepted..accepted + count).map(|n| message(n).1).collect();
            let answer = server.http.post(&server.at("v1/events"), &[], &lines.join(&b'\n'));
            assert_eq!(answer.status, 202, "{answer:?}");
            accepted += count;
        }
        pause(Duration::from_millis(random.below(60)));
        disk.lose_power();
        server.kill_9();
        disk.get_power();
        server = folder.serve(&config).start();
        let pipeline = server.wait_settled(accepted);
        assert_eq!(pipeline["balanced"], true, "{pipeline}");
        assert_eq!(pipeline["applied"], accepted, "{pipeline}");
    }
    println!("f_d1: {} losses of power, {accepted} events, none gone", trials() * 3);
    assert_eq!(server.stop().code(), Some(0));
}

/// A broker on a disk of its own, with a stream, and a service that reads it.
struct Rig {
    js: Js,
    server: Server,
    config: String,
    folder: Folder,
    published: u64,
    broker: Broker,
    /// Ends last.
    disk: Disk,
}

impl Rig {
    /// `None` where no disk can be made.
    fn start(sync: &str) -> Option<Rig> {
        let disk = disk()?;
        let broker = Broker::on_disk(&disk.path().join("store"), sync);
        let js = Js::connect(&broker.url());
        js.make_stream(&Config {
            name: "EVENTS".into(),
            subjects: vec!["events.>".into()],
            ..Config::default()
        });
        let folder = Folder::default();
        let config = format!(
            "{HOLD}[pipeline]\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n\
             [nats]\nurl = \"{}\"\nreconnect_max = \"100ms\"\n",
            broker.url()
        );
        let server = folder.serve(&config).start();
        Some(Rig { js, folder, config, server, published: 0, broker, disk })
    }

    /// Publishes events of their own; each is acknowledged.
    fn publish(&mut self, count: u64) {
        let numbers = self.published..self.published + count;
        let messages: Vec<_> = numbers.map(message).collect();
        self.js.publish("events.test", &messages, 200);
        self.published += count;
    }

    fn settled(&self, events: u64) -> Value {
        let pipeline = self.server.wait_settled(events);
        assert_eq!(pipeline["balanced"], true, "{pipeline}");
        assert_eq!((&pipeline["applied"], &pipeline["gap"]), (&events.into(), &0.into()));
        pipeline
    }

    /// The plug is pulled and put in again; returns how many messages the stream then has.
    fn power_loss(&mut self) -> u64 {
        self.disk.lose_power();
        self.broker.kill_9();
        self.disk.get_power();
        self.broker.restart();
        self.js.info("EVENTS").state.last_sequence
    }

    fn ends_diverged(&mut self) {
        let status = self.server.wait_exit(60);
        let log = self.server.stderr();
        assert_eq!(status.code(), Some(DAMAGED), "{log}");
        assert!(log.contains("LOG_DIVERGED"), "{log}");
    }
}

fn message(number: u64) -> (String, Bytes) {
    let (id, at) = (format!("e{number}"), 1_763_800_000_000 + number as i64);
    let event = Event::new(&id, at, "page_view", format!("u{}", number % 50));
    (id, event.line().into())
}

#[test]
fn f_b2_power_loss_costs_nothing_where_every_write_is_synced() {
    let mut random = Random::seeded("f_b2 always");
    let Some(mut rig) = Rig::start("sync_interval: always") else { return };
    for _ in 0..trials() {
        rig.publish(1 + random.below(300));
        if random.below(2) == 0 {
            rig.settled(rig.published);
        }
        let left = rig.power_loss();
        assert_eq!(left, rig.published, "acknowledged events are gone");
        rig.publish(1 + random.below(300));
        rig.settled(rig.published);
    }
    println!("f_b2: {} losses of power, {} events, none gone", trials(), rig.published);
}

#[test]
fn f_b2_power_loss_is_found_out_where_writes_are_not_synced() {
    let mut random = Random::seeded("f_b2 lazy");
    let mut lost = 0;
    for trial in 0..trials() * 2 {
        let Some(mut rig) = Rig::start("") else { return };
        let (safe, unsafe_) = (1 + random.below(300), 1 + random.below(300));
        rig.publish(safe);
        rig.settled(safe);
        rig.disk.sync();
        rig.publish(unsafe_);
        rig.settled(safe + unsafe_);
        // While it runs, and while it does not.
        let running = trial % 2 == 0;
        if !running {
            rig.server.kill_9();
        }
        let left = rig.power_loss();
        let gone = rig.published - left;
        lost += gone;
        println!("f_b2: {safe} synced, {unsafe_} not; {gone} gone, running {running}");
        if gone == 0 {
            continue;
        }
        // Other events get the numbers of those that are gone, and some more.
        rig.publish(gone + random.below(300));
        if running {
            rig.ends_diverged();
        }
        // It is no better the second time.
        for _ in 0..2 {
            rig.server = rig.folder.serve(&rig.config).spawn();
            rig.ends_diverged();
        }
    }
    assert!(lost > 0, "no power loss cost the stream anything: nothing was tried");
}
