//! Shows what `tidewatch::publisher`, the gateway and `tidewatch publish` promise: ids made
//! once and kept, nothing lost and nothing twice when the server dies, bounds that hold, and
//! a true list of what failed.
//!
//! How: a real nats-server in a folder of its own, killed with -9 where the test says so;
//! what is in the stream is read by a client of the test's own.

mod publisher_rig;
mod support;
mod web_rig;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusBuilder;
use publisher_rig::Nats;
use serde_json::{Value, json};
use support::{Folder, until};
use tidewatch::actors::ports::{AppendError, EventLog};
use tidewatch::domain::event::Schema;
use tidewatch::nats::gateway::Gateway;
use tidewatch::nats::link::Link;
use tidewatch::nats::settings::GatewaySettings;
use tidewatch::publisher::{FlushReport, Mode, Options, PublishError, Publisher};

const SUBJECT: &str = "events.shop";

fn event(n: usize) -> Value {
    json!({"id": format!("e{n}"), "ts": 1_700_000_000_000_u64 + n as u64, "type": "t", "user": "u"})
}

/// Publishes on a thread of its own.
fn publish_all(publisher: &Arc<Publisher>, count: usize) -> JoinHandle<FlushReport> {
    let publisher = Arc::clone(publisher);
    std::thread::spawn(move || {
        publisher_rig::runtime().block_on(async {
            for n in 0..count {
                publisher.publish(&event(n)).await.unwrap();
            }
            publisher.flush().await
        })
    })
}

fn ids(payloads: impl Iterator<Item = String>) -> Vec<String> {
    payloads
        .flat_map(|payload| {
            let lines = payload.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect()
}

fn stored_ids(nats: &Nats, stream: &str) -> Vec<String> {
    ids(nats.messages(stream).into_iter().map(|message| message.payload))
}

fn wanted_ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("e{n}")).collect()
}

#[test]
fn an_id_is_made_once_and_written_into_the_event() {
    let nats = Nats::start();
    nats.stream("EVENTS", "events.>");
    let publisher = nats.publisher(SUBJECT, |_| {});
    let report = nats.runtime.block_on(async {
        publisher.publish(&json!({"ts": 1, "type": "t", "user": "ada"})).await.unwrap();
        publisher.publish(&json!({"id": "mine", "ts": 2, "type": "t"})).await.unwrap();
        publisher.publish(&json!({"id": "mine", "ts": 3, "type": "t"})).await.unwrap();
        let refused = publisher.publish(&json!([1])).await;
        assert!(matches!(refused, Err(PublishError::Invalid(_))), "{refused:?}");
        publisher.flush().await
    });
    assert_eq!((report.published, report.duplicates, report.failed_count), (3, 1, 0));
    let stored = nats.messages("EVENTS");
    assert_eq!(stored.len(), 2, "{stored:?}");
    let id = stored[0].json()["id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 36);
    assert_eq!(stored[0].header("Nats-Msg-Id"), Some(id.as_str()));
    assert_eq!(stored[1].header("Nats-Msg-Id"), Some("mine"));
    assert_eq!(stored[1].json()["ts"], 2);
    let stats = publisher.stats();
    assert_eq!((stats.accepted, stats.acked, stats.duplicates, stats.in_flight), (3, 3, 1, 0));
}

#[test]
fn a_server_killed_while_publishing_costs_nothing_and_nothing_counts_twice() {
    const EVENTS: usize = 30_000;
    let mut nats = Nats::start();
    nats.stream("EVENTS", "events.>");
    let publisher = Arc::new(nats.publisher(SUBJECT, |options| options.events_max = 2_000));
    let publishing = publish_all(&publisher, EVENTS);
    for round in 1..=3 {
        until(60, "some more events are acknowledged", || {
            (publisher.stats().acked >= round * EVENTS as u64 / 5).then_some(())
        });
        nats.kill();
        nats.restart();
    }
    let report = publishing.join().unwrap();
    assert_eq!((report.failed_count, report.failed.len()), (0, 0), "{:?}", report.failed.first());
    assert_eq!(report.published, EVENTS as u64);
    assert_eq!(nats.count("EVENTS"), EVENTS as u64, "{:?}", publisher.stats());
    let found: BTreeSet<String> = stored_ids(&nats, "EVENTS").into_iter().collect();
    assert_eq!(found, wanted_ids(EVENTS).into_iter().collect());
    assert!(publisher.stats().retried > 0, "three kills and nothing was under way");
}

#[test]
fn the_buffer_has_a_bound_and_what_fails_is_listed() {
    let nats = Nats::start();
    // No stream takes the subject: nothing is ever acknowledged.
    let make = || {
        nats.publisher("nobody.listens", |options| {
            options.events_max = 10;
            options.failed_max = 4;
            options.ack_wait = Duration::from_millis(100);
            options.give_up_after = Duration::from_secs(1);
        })
    };
    let recorder = PrometheusBuilder::new().build_recorder();
    let publisher = metrics::with_local_recorder(&recorder, make);
    let shown = |lines: &[&str]| {
        let text = recorder.handle().render();
        let missing = lines.iter().find(|line| !text.lines().any(|found| found == **line));
        assert_eq!(missing, None, "{text}");
    };
    for n in 0..10 {
        publisher.try_publish(&event(n)).unwrap();
    }
    assert_eq!(publisher.try_publish(&event(10)), Err(PublishError::Full));
    assert_eq!(publisher.stats().in_flight, 10);
    shown(&[
        "# TYPE tidewatch_publisher_events_total counter",
        "tidewatch_publisher_in_flight{subject=\"nobody.listens\"} 10",
        "tidewatch_publisher_in_flight_capacity{subject=\"nobody.listens\"} 10",
    ]);
    let report = nats.runtime.block_on(publisher.flush());
    assert_eq!((report.published, report.failed_count), (0, 10));
    shown(&[
        "tidewatch_publisher_events_total{subject=\"nobody.listens\",outcome=\"accepted\"} 10",
        "tidewatch_publisher_events_total{subject=\"nobody.listens\",outcome=\"failed\"} 10",
        "tidewatch_publisher_in_flight{subject=\"nobody.listens\"} 0",
    ]);
    assert_eq!(
        report.failed.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        ["e0", "e1", "e2", "e3"]
    );
    for (_, reason) in &report.failed {
        assert!(reason.contains("no stream takes the subject"), "{reason}");
    }
    // There is room again.
    publisher.try_publish(&event(11)).unwrap();
    nats.stream("LATE", "nobody.listens");
    let report = nats.runtime.block_on(publisher.flush());
    assert_eq!((report.published, report.failed_count), (1, 0), "{:?}", report.failed);
}

#[test]
fn bytes_are_bounded_too() {
    let nats = Nats::start();
    let publisher = nats.publisher("nobody.listens", |options| options.bytes_max = 65_536);
    let large = json!({"id": "large", "text": "x".repeat(40_000)});
    publisher.try_publish(&large).unwrap();
    assert_eq!(publisher.try_publish(&large), Err(PublishError::Full));
    let refused = publisher.try_publish(&json!({"text": "x".repeat(70_000)}));
    assert!(matches!(refused, Err(PublishError::TooLarge { bound: 65_536, .. })), "{refused:?}");
}

#[test]
fn packs_hold_several_events_and_are_known_again() {
    let nats = Nats::start();
    nats.stream("EVENTS", "events.>");
    let linger = Duration::from_millis(20);
    for round in 0..2 {
        let publisher = nats.publisher(SUBJECT, |options| {
            options.mode = Mode::Pack { events: 50, bytes: 65_536, linger };
        });
        let report = nats.runtime.block_on(async {
            for n in 0..120 {
                publisher.publish(&event(n)).await.unwrap();
            }
            publisher.flush().await
        });
        assert_eq!((report.published, report.duplicates), (120, 120 * round), "{report:?}");
    }
    assert_eq!(nats.count("EVENTS"), 3);
    assert_eq!(stored_ids(&nats, "EVENTS"), wanted_ids(120));
}

#[test]
fn what_lingers_is_sent_by_itself() {
    let nats = Nats::start();
    nats.stream("EVENTS", "events.>");
    let publisher = nats.publisher(SUBJECT, |options| {
        options.mode = Mode::Pack { events: 50, bytes: 65_536, linger: Duration::from_millis(20) };
    });
    publisher.try_publish(&event(0)).unwrap();
    publisher.try_publish_bytes(Bytes::from_static(b"{\"id\":\"e1\",\n\"ts\":1}")).unwrap();
    until(10, "it is acknowledged without a flush", || {
        (publisher.stats().acked == 2).then_some(())
    });
    assert_eq!(stored_ids(&nats, "EVENTS"), ["e0", "e1"]);
}

fn atomic_stream(nats: &Nats, allow: bool) {
    nats.stream_with(Config {
        name: "EVENTS".into(),
        subjects: vec!["events.>".into()],
        // An older server refuses to hear of it.
        allow_atomic_publish: allow && nats.takes_batches(),
        ..Config::default()
    });
}

fn atomic(options: &mut Options) {
    // A batch that is answered late is published one by one: these tests are not about that.
    options.ack_wait = Duration::from_secs(10);
    options.mode = Mode::Atomic { events: 100, linger: Duration::from_millis(20) };
}

#[test]
fn atomic_batches_are_taken_whole() {
    let nats = Nats::start();
    if !nats.takes_batches() {
        println!("this server takes no atomic batches");
        return;
    }
    atomic_stream(&nats, true);
    let publisher = nats.publisher(SUBJECT, atomic);
    let report = nats.runtime.block_on(async {
        for n in 0..250 {
            publisher.publish(&event(n)).await.unwrap();
        }
        publisher.flush().await
    });
    let counted = (report.published, report.duplicates, report.failed_count);
    assert_eq!(counted, (250, 0, 0), "{:?}", publisher.stats());
    assert_eq!(publisher.stats().fallbacks, 0, "no batch was taken as one");
    let stored = nats.messages("EVENTS");
    assert_eq!(stored_ids(&nats, "EVENTS"), wanted_ids(250));
    assert_eq!(stored[99].header("Nats-Batch-Sequence"), Some("100"));
    assert_eq!(stored[0].header("Nats-Msg-Id"), Some("e0"));
}

#[test]
fn a_batch_with_a_known_id_is_published_one_by_one() {
    let nats = Nats::start();
    if !nats.takes_batches() {
        println!("this server takes no atomic batches");
        return;
    }
    atomic_stream(&nats, true);
    let publisher = nats.publisher(SUBJECT, atomic);
    let report = nats.runtime.block_on(async {
        for n in [7, 1_000] {
            publisher.publish(&event(n)).await.unwrap();
        }
        assert_eq!(publisher.flush().await.published, 2);
        assert_eq!(publisher.stats().fallbacks, 0, "the stream takes batches");
        for n in 0..100 {
            publisher.publish(&event(n)).await.unwrap();
        }
        publisher.flush().await
    });
    assert_eq!((report.published, report.duplicates, report.failed_count), (100, 1, 0));
    assert_eq!(publisher.stats().fallbacks, 1);
    assert_eq!(nats.count("EVENTS"), 101);
    let found: BTreeSet<String> = stored_ids(&nats, "EVENTS").into_iter().collect();
    let wanted = wanted_ids(100).into_iter().chain(["e1000".to_owned()]);
    assert_eq!(found, wanted.collect());
}

#[test]
fn a_stream_without_batches_gets_single_messages() {
    let nats = Nats::start();
    atomic_stream(&nats, false);
    let publisher = nats.publisher(SUBJECT, atomic);
    let report = nats.runtime.block_on(async {
        for n in 0..250 {
            publisher.publish(&event(n)).await.unwrap();
        }
        publisher.flush().await
    });
    assert_eq!((report.published, report.failed_count), (250, 0), "{:?}", report.failed.first());
    assert_eq!(nats.count("EVENTS"), 250);
    assert!(publisher.stats().fallbacks > 0);
}

#[test]
fn batches_outlive_a_killed_server() {
    const EVENTS: usize = 10_000;
    let mut nats = Nats::start();
    atomic_stream(&nats, true);
    let publisher = Arc::new(nats.publisher(SUBJECT, atomic));
    let publishing = publish_all(&publisher, EVENTS);
    until(60, "some events are acknowledged", || {
        (publisher.stats().acked >= EVENTS as u64 / 10).then_some(())
    });
    nats.kill();
    nats.restart();
    let report = publishing.join().unwrap();
    assert_eq!((report.published, report.failed_count), (EVENTS as u64, 0));
    assert_eq!(nats.count("EVENTS"), EVENTS as u64, "{:?}", publisher.stats());
}

#[test]
fn what_can_not_be_used_is_said_at_once() {
    let nats = Nats::start();
    let refused = nats.runtime.block_on(Publisher::connect(Options::new(nats.url(), "events.>")));
    assert!(refused.unwrap_err().to_string().starts_with("subject: "));
    let mut away = Options::new("nats://127.0.0.1:1", SUBJECT);
    away.ack_wait = Duration::from_millis(50);
    away.give_up_after = Duration::from_millis(300);
    let refused = nats.runtime.block_on(Publisher::connect(away)).unwrap_err();
    assert!(refused.to_string().contains("127.0.0.1:1 is away"), "{refused}");
}

/// A gateway with a short patience.
fn gateway(nats: &Nats, change: impl FnOnce(&mut GatewaySettings)) -> (Link, Gateway) {
    let mut settings = GatewaySettings {
        subject: SUBJECT.into(),
        timeout: Duration::from_secs(2),
        ..GatewaySettings::default()
    };
    change(&mut settings);
    let mut link = Options::new(nats.url(), SUBJECT).link;
    link.reconnect_max = Duration::from_millis(200);
    let link = Link::open(link).unwrap();
    nats.runtime.block_on(link.ready()).unwrap();
    let gateway = Gateway::new(link.clone(), settings, Arc::new(Schema::default())).unwrap();
    (link, gateway)
}

fn lines(range: std::ops::Range<usize>) -> Vec<Bytes> {
    range.map(|n| event(n).to_string().into()).collect()
}

#[test]
fn the_gateway_answers_after_the_acks_and_a_retry_is_safe() {
    let nats = Nats::start();
    nats.stream("EVENTS", "events.>");
    let (_link, gateway) = gateway(&nats, |_| {});
    let append = |events| nats.runtime.block_on(gateway.append(events)).unwrap();
    let appended = append(lines(0..50));
    assert_eq!((appended.first, appended.last), (1, 50));
    assert_eq!(nats.count("EVENTS"), 50);
    assert_eq!(append(lines(40..60)).last, 60, "ten of them are known");
    assert_eq!(nats.count("EVENTS"), 60);
    assert_eq!(stored_ids(&nats, "EVENTS"), wanted_ids(60));
    // The same id under another key is another event; without an id there is no message id.
    let mut other = event(0);
    other["user"] = "somebody else".into();
    append(vec![other.to_string().into()]);
    append(vec![r#"{"ts":1,"type":"t","user":"u"}"#.into(), "no event".into()]);
    let stored = nats.messages("EVENTS");
    assert_eq!(stored.len(), 63);
    assert!(stored[60].header("Nats-Msg-Id").is_some());
    assert_eq!((stored[61].header("Nats-Msg-Id"), stored[62].header("Nats-Msg-Id")), (None, None));
    assert_eq!(stored[62].payload, "no event");
    assert_eq!(gateway.backlog(), (0, 4_096));
}

#[test]
fn a_request_larger_than_the_gateway_holds_goes_through() {
    let nats = Nats::start();
    nats.stream("EVENTS", "events.>");
    let (_link, gateway) = gateway(&nats, |settings| settings.in_flight_max = 10);
    let appended = nats.runtime.block_on(gateway.append(lines(0..95))).unwrap();
    assert_eq!((appended.first, appended.last), (1, 95));
    assert_eq!(stored_ids(&nats, "EVENTS"), wanted_ids(95));
}

#[test]
fn a_full_gateway_says_so() {
    let nats = Nats::start();
    // A subscriber that never answers stands for a stream that is slow.
    let silent = nats.runtime.block_on(nats.client().subscribe(SUBJECT)).unwrap();
    nats.runtime.block_on(nats.client().flush()).unwrap();
    let (_link, gateway) = gateway(&nats, |settings| settings.in_flight_max = 10);
    nats.runtime.block_on(async {
        let (first, second) = tokio::join!(gateway.append(lines(0..8)), async {
            assert_eq!(gateway.backlog(), (8, 10));
            gateway.append(lines(8..12)).await
        });
        assert_eq!(second, Err(AppendError::Full { backlog: 8, bound: 10 }));
        assert!(matches!(first, Err(AppendError::Away(_))), "no ack in time: {first:?}");
    });
    assert_eq!(gateway.backlog(), (0, 10));
    drop(silent);
}

#[test]
fn a_broker_that_is_away_is_a_503_and_the_retry_counts_once() {
    let mut nats = Nats::start();
    nats.stream("EVENTS", "events.>");
    let (link, gateway) = gateway(&nats, |_| {});
    let rig = web_rig::Rig::start(Default::default());
    let mut state = web_rig::state_for(&rig, rig_settings());
    state.log = Some(Arc::new(gateway));
    let page = Page::start(state);
    let body: String = (0..20).map(|n| format!("{}\n", event(n))).collect();
    let post = || {
        let kind = ("Content-Type", "application/x-ndjson");
        web_rig::request(page.addr, "POST", "/v1/events", &[kind], body.as_bytes())
    };
    let answer = post();
    assert_eq!((answer.status, &answer.json()["last"]), (202, &json!(20)));
    nats.kill();
    until(20, "the connection is known to be gone", || (!link.connected()).then_some(()));
    let answer = post();
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.json()["type"], "urn:tidewatch:problem:unavailable");
    nats.restart();
    let answer = until(20, "it goes on by itself", || {
        let answer = post();
        (answer.status == 202).then_some(answer)
    });
    assert_eq!(answer.json()["accepted"], 20);
    assert_eq!(nats.count("EVENTS"), 20, "the same events, sent again, are there once");
}

fn rig_settings() -> tidewatch::web::Settings {
    tidewatch::web::Settings { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() }
}

/// A second server over the rig's ports, with another log.
struct Page {
    addr: std::net::SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Page {
    fn start(state: tidewatch::web::State) -> Self {
        let (started, wait) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let bound = tidewatch::web::server::bind(state).unwrap();
                started.send(bound.addr()).unwrap();
                bound.run(async { drop(stopped.await) }).await.unwrap();
            });
        });
        Page { addr: wait.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `tidewatch publish` on this server, with a JSON report.
fn publish_command(nats: &Nats, folder: &Folder, args: &[&str]) -> support::Run {
    let url = nats.url();
    let mut all = vec!["publish", "--nats", &url, "--subject", SUBJECT, "--json"];
    all.extend(args);
    folder.command(&all).run()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[test]
fn the_command_publishes_files_and_standard_input() {
    let nats = Nats::start();
    atomic_stream(&nats, true);
    let folder = Folder::default();
    let of = |range: std::ops::Range<usize>| -> String {
        range.map(|n| format!("{}\n", event(n))).collect()
    };
    let plain = folder.write("plain.ndjson", format!("\n{}", of(0..1_000)));
    let packed = folder.write("packed.ndjson.gz", gzip(&of(1_000..2_000)));
    let first = publish_command(&nats, &folder, &[&plain]).json();
    assert_eq!(
        (&first["read"], &first["published"], &first["failed"]),
        (&json!(1_000), &json!(1_000), &json!(0))
    );
    // The same server and subject from a configuration.
    let config =
        format!("[nats]\nurl = \"{}\"\n[nats.gateway]\nsubject = \"{SUBJECT}\"\n", nats.url());
    let config = folder.write("nats.toml", config);
    let configured = folder.command(&["publish", &plain, "--config", &config, "--json"]).run();
    assert_eq!(configured.json()["duplicates"], 1_000);
    let again = publish_command(&nats, &folder, &[&plain, "--atomic", "100"]).json();
    assert_eq!((&again["published"], &again["duplicates"]), (&json!(1_000), &json!(1_000)));
    let zipped = publish_command(&nats, &folder, &[&packed, "--pack", "100"]).json();
    assert_eq!(zipped["published"], 1_000);
    assert_eq!(nats.count("EVENTS"), 1_010);
    let piped = folder.write("piped.ndjson", of(2_000..2_100));
    let url = nats.url();
    let args =
        ["publish", "-", "--nats", &url, "--subject", SUBJECT, "--rate", "1000", "--atomic", "50"];
    let run = folder.command(&args).stdin(Path::new(&piped)).run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.starts_with("100 of 100 events are in the stream"), "{}", run.stdout);
    assert_eq!(stored_ids(&nats, "EVENTS"), wanted_ids(2_100));
}

#[test]
fn the_command_says_what_failed_by_exit_code_and_list() {
    let nats = Nats::start();
    nats.stream("EVENTS", "events.>");
    let folder = Folder::default();
    let long = "x".repeat(2 << 20);
    let mixed =
        folder.write("mixed.ndjson", format!("{}\nno event\n{long}\n{}", event(0), event(1)));
    let run = publish_command(&nats, &folder, &[&mixed]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&report["read"], &report["published"], &report["failed"]),
        (&json!(4), &json!(2), &json!(2))
    );
    assert_eq!(
        (&report["failures"][0]["id"], &report["failures"][1]["id"]),
        (&json!("line 2"), &json!("line 3"))
    );
    assert_eq!(stored_ids(&nats, "EVENTS"), wanted_ids(2));

    let one = folder.write("one.ndjson", event(5).to_string());
    let url = nats.url();
    let nobody = ["publish", &one, "--nats", &url, "--subject", "nobody.listens", "--give-up", "1"];
    let run = folder.command(&nobody).run();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stdout.contains("e5: not acknowledged within 1 s (no stream takes"),
        "{}",
        run.stdout
    );

    for args in [
        ["publish", "no-such-file", "--nats", &url, "--subject", "a"],
        ["publish", &one, "--nats", &url, "--subject", "a.*"],
        ["publish", &one, "--nats", &url, "--give-up", "1"],
        ["publish", &one, "--nats", &url, "--token-file=nope", "--subject=a"],
    ] {
        let run = folder.command(&args).run();
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.stderr);
    }
}

#[test]
fn the_publishing_example_runs() {
    let nats = Nats::start();
    nats.stream("EVENTS", "events.>");
    let binary = Path::new(env!("CARGO_BIN_EXE_tidewatch"));
    let example = binary.with_file_name("examples").join("publish");
    assert!(example.exists(), "{} was not built: cargo build --examples", example.display());
    let run = Folder::default().program(&example, &[]).env("NATS_URL", &nats.url()).run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stdout.trim(), "published 3, duplicates 0, failed 0");
    let stored = nats.messages("EVENTS");
    assert_eq!(stored.len(), 3);
    assert!(stored.iter().all(|message| message.json()["id"].as_str().unwrap().len() == 36));
}
