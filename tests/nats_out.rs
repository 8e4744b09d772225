//! Shows that what leaves for NATS is right: every alert, every line of the incidents' log and every dead
//! letter once and in order in its stream, whoever is killed; the board on its subject and in its bucket;
//! the micro service's answers.
//!
//! How: a pipeline in this process, fed with carts that are left, and a real nats-server
//! that is killed with -9 and started again. Streams are read back with a client of the
//! test's own and compared with the alert log and with the users that left their carts.
//! The broker remembers ids for 100 ms only, so that only the cursor and the fence can
//! keep messages from coming twice. `TIDEWATCH_TEST_SEED` repeats a run,
//! `TIDEWATCH_OUT_CYCLES` says how often something is killed (20).

mod nats_out_rig;
mod support;

use std::time::Duration;

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tidewatch::actors::ports::IncidentsWanted;
use tidewatch::actors::status::Standing;
use tidewatch::domain::condition::Condition;
use tidewatch::domain::incident::{Command, What};
use tidewatch::nats::settings::{Manage, OutSettings};

use nats_out_rig::{CLOSE_AFTER, Rig, START, alerts_only, check, connect, header, moment, quick};
use support::events::{Event, GAP};
use support::nats::takes_batches;
use support::{Broker, Random, until};

const STREAM: &str = "TIDEWATCH_ALERTS";
const LETTERS: &str = "TIDEWATCH_DEAD_LETTERS";
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn alerts_are_cloud_events_once_and_in_order() {
    let nats = Broker::start();
    let mut rig = Rig::start();
    let link = connect(&nats);
    let outputs = rig.outputs(&link, alerts_only());
    rig.abandon(1);
    rig.feed();
    rig.wait_last(&link, STREAM, 1);
    rig.abandon(700);
    rig.feed();
    // What is committed and not delivered yet leaves while it stops.
    let states = rig.runtime.block_on(outputs.stop(PATIENCE));
    assert_eq!((states[0].delivered, states[0].pending), (701, 0), "{states:?}");
    let messages = rig.messages(&link, STREAM);
    check(&rig, &messages);

    let first = &messages[0];
    assert_eq!(first.subject.as_str(), format!("tidewatch.alerts.abandoned.{}", rig.feed_name()));
    assert_eq!(header(first, "Content-Type"), "application/cloudevents+json");
    assert_eq!(header(first, "Tidewatch-Feed"), rig.feed_name());
    let event: Value = serde_json::from_slice(&first.payload).unwrap();
    assert_eq!(event["type"], "tidewatch.alert.abandoned");
    assert_eq!(event["source"], format!("/tidewatch/{}", rig.feed_name()));
    // The cart is abandoned half an hour after 2023-11-14T22:13:20Z.
    assert_eq!(event["time"], "2023-11-14T22:43:20Z");
    let stream = rig.stream(&link, STREAM);
    let config = &stream.cached_info().config;
    assert_eq!(config.subjects, ["tidewatch.alerts.>"]);
    assert_eq!(config.duplicate_window, Duration::from_millis(100));
    assert_eq!(config.allow_atomic_publish, takes_batches(link.client()));
}

#[test]
fn whoever_is_killed_every_alert_is_there_once_past_the_duplicate_window() {
    let mut random = Random::seeded("nats_out");
    let cycles = std::env::var("TIDEWATCH_OUT_CYCLES").ok();
    let cycles = cycles.map_or(20, |text| text.parse().expect("a number"));
    let mut nats = Broker::start();
    let mut rig = Rig::start();
    let mut link = connect(&nats);
    // Small batches, so that kills fall between and into many of them.
    let settings = OutSettings { in_flight_max: 7, ..alerts_only() };
    let mut outputs = Some(rig.outputs(&link, settings.clone()));
    let (mut brokers, mut owners) = (0, 0);
    for _ in 0..cycles {
        rig.abandon(1 + random.below(300) as usize);
        moment(&mut random, 120);
        let kind = random.below(4);
        if kind != 0 {
            nats.kill_9();
            brokers += 1;
        }
        if kind != 1 {
            // Nothing is waited for: what was sent and not answered stays open.
            drop(outputs.take());
            owners += 1;
        }
        moment(&mut random, 250);
        if kind != 0 {
            nats.restart();
        }
        if kind == 2 {
            link = connect(&nats);
        }
        if outputs.is_none() {
            outputs = Some(rig.outputs(&link, settings.clone()));
        }
    }
    rig.abandon(3);
    let feed = rig.feed();
    rig.wait_last(&link, STREAM, feed.len() as u64);
    let states = rig.runtime.block_on(outputs.take().unwrap().stop(PATIENCE));
    println!("{brokers} brokers and {owners} owners killed, {} alerts: {states:?}", feed.len());
    check(&rig, &rig.messages(&link, STREAM));
}

const INCIDENTS: &str = "TIDEWATCH_INCIDENTS";

/// Incidents only, quick to notice and to retry.
fn incidents_only() -> OutSettings {
    OutSettings {
        alerts_stream: String::new(),
        incidents_stream: INCIDENTS.into(),
        ..alerts_only()
    }
}

/// A rule over the failures of each region.
fn with_a_rule(config: &mut tidewatch::config::Config) {
    let rules = "[[metric]]\nname = \"failed\"\nwhere = { type = \"failed\" }\n\
        aggregate = \"count\"\ngroup_by = [\"region\"]\nwindow = { tumbling = \"10s\" }\n\
        [[rule]]\nname = \"failures\"\nmetric = \"failed\"\ndetect = \"threshold\"\n\
        limit = 3\ncooldown = \"20s\"\nseverity = \"critical\"\n";
    let read = tidewatch::config::Config::parse("rules.toml", rules).unwrap();
    *config = tidewatch::config::Config {
        pipeline: config.pipeline.clone(),
        general: config.general.clone(),
        ..read
    };
}

#[test]
fn whoever_is_killed_every_line_of_an_incident_is_there_once_and_in_order() {
    let mut random = Random::seeded("nats_out_incidents");
    let mut nats = Broker::start();
    let rig = Rig::with(with_a_rule);
    let link = connect(&nats);
    let settings = OutSettings { in_flight_max: 5, ..incidents_only() };
    let mut outputs = Some(rig.outputs(&link, settings.clone()));
    let web = rig.running.web();
    let log = || web.incidents.incident_log(0, None, 10_000).unwrap();
    let count = |what: What| log().iter().filter(|line| line.what == what).count();
    for wave in 0..12 {
        let at = START + wave * 300_000;
        let failed = |n: i64| {
            let region = ["eu", "us", "asia"][n as usize % 3];
            let mut event = Event::new(format!("f{wave}-{n}"), at + n, "failed", "u");
            event.more.insert("region".into(), region.into());
            event.line()
        };
        let time =
            |ahead: i64| Event::new(format!("t{wave}-{ahead}"), at + ahead, "tick", "t").line();
        rig.publish((0..30).map(failed).chain([time(60_000)]).collect());
        let kind = random.below(4);
        if kind == 1 || kind == 3 {
            nats.kill_9();
        }
        if kind >= 2 {
            drop(outputs.take());
        }
        let fired = until(60, "they fired", || {
            let open = web.incidents.incidents(&OPEN).unwrap();
            (open.len() == 3).then_some(open)
        });
        let incident = fired[0].1.id.clone();
        let by = "ada".to_owned();
        let said = Command::Acknowledge { incident, by, note: "on it".into() };
        rig.runtime.block_on(web.directory.attend(said)).unwrap().unwrap();
        rig.publish(vec![time(240_000)]);
        moment(&mut random, 100);
        if kind == 1 || kind == 3 {
            nats.restart();
        }
        outputs = outputs.or_else(|| Some(rig.outputs(&link, settings.clone())));
    }
    until(60, "all are over", || (count(What::Resolved) == 36).then_some(()));
    let log = log();
    assert_eq!((count(What::Fired), count(What::Acknowledged), log.len()), (36, 12, 84));
    rig.wait_last(&link, INCIDENTS, 84);
    rig.runtime.block_on(outputs.take().unwrap().stop(PATIENCE));
    let messages = rig.messages(&link, INCIDENTS);
    assert_eq!(messages.len(), log.len());
    let mut ids = std::collections::BTreeSet::new();
    for (message, line) in messages.iter().zip(&log) {
        let subject = format!("tidewatch.incidents.failures.{}", rig.feed_name());
        assert_eq!(message.subject.as_str(), subject);
        assert_eq!(header(message, "Tidewatch-N"), line.n.to_string());
        assert_eq!(header(message, "Content-Type"), "application/cloudevents+json");
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(event["data"], serde_json::to_value(line).unwrap());
        assert_eq!(event["type"], format!("tidewatch.incident.{}", line.what.word()));
        assert_eq!(header(message, "Nats-Msg-Id"), event["id"].as_str().unwrap());
        assert!(ids.insert(event["id"].to_string()), "{event} twice");
    }
    // What a line of the feed of alerts said before.
    let fired = &log[0];
    assert_eq!((fired.what, fired.severity.as_str()), (What::Fired, "critical"));
    for name in ["value", "high", "far", "since", "measure", "group"] {
        assert!(!fired.detail[name].is_null(), "{name} of {fired:?}");
    }
}

const OPEN: IncidentsWanted = IncidentsWanted { open: Some(true), before: u64::MAX, limit: 10 };

#[test]
fn two_owners_of_one_feed_and_a_stranger_in_the_stream_spoil_nothing() {
    let nats = Broker::start();
    let (mut rig, mut stranger) = (Rig::start(), Rig::start());
    stranger.prefix = "v";
    let links = [connect(&nats), connect(&nats), connect(&nats)];
    let settings = OutSettings { in_flight_max: 5, ..alerts_only() };
    let one = rig.outputs(&links[0], settings.clone());
    let two = rig.outputs(&links[1], settings.clone());
    let other = stranger.outputs(&links[2], settings);
    for _ in 0..10 {
        rig.abandon(60);
        stranger.abandon(60);
    }
    rig.feed();
    stranger.feed();
    for outputs in [one, two, other] {
        rig.runtime.block_on(outputs.stop(PATIENCE));
    }
    let (ours, theirs): (Vec<_>, Vec<_>) = rig
        .messages(&links[0], STREAM)
        .into_iter()
        .partition(|message| header(message, "Tidewatch-Feed") == rig.feed_name());
    check(&rig, &ours);
    check(&stranger, &theirs);
}

#[test]
fn what_another_feed_said_already_is_not_said_again() {
    let nats = Broker::start();
    let (mut rig, mut twin) = (Rig::start(), Rig::start());
    let link = connect(&nats);
    let settings = OutSettings { duplicate_window: Duration::from_secs(60), ..alerts_only() };
    rig.abandon(20);
    rig.feed();
    let outputs = rig.outputs(&link, settings.clone());
    rig.runtime.block_on(outputs.stop(PATIENCE));
    // The same events in another data folder make the same alerts, and two of its own.
    twin.abandon(20);
    twin.prefix = "w";
    twin.abandon(2);
    twin.feed();
    let outputs = twin.outputs(&link, settings);
    twin.runtime.block_on(outputs.stop(PATIENCE));
    let messages = rig.messages(&link, STREAM);
    check(&rig, &messages[..20]);
    let rest: Vec<_> = messages[20..].iter().map(|one| header(one, "Tidewatch-N")).collect();
    assert_eq!(rest, ["21", "22"]);
}

#[test]
fn without_atomic_batches_it_goes_one_by_one() {
    let nats = Broker::start();
    let mut rig = Rig::start();
    let link = connect(&nats);
    // A stream as an operator of a 2.11 server makes it; it is not changed.
    let made = link.jetstream().create_stream(Config {
        name: STREAM.into(),
        subjects: vec!["tidewatch.alerts.>".into()],
        ..Config::default()
    });
    rig.runtime.block_on(made).unwrap();
    let outputs = rig.outputs(&link, OutSettings { manage: Manage::Check, ..alerts_only() });
    rig.abandon(150);
    rig.feed();
    rig.runtime.block_on(outputs.stop(PATIENCE));
    check(&rig, &rig.messages(&link, STREAM));
    assert!(!rig.stream(&link, STREAM).cached_info().config.allow_atomic_publish);
}

#[test]
fn a_stream_that_forgot_gets_nothing_twice_and_a_new_one_gets_everything() {
    let nats = Broker::start();
    let mut rig = Rig::start();
    let link = connect(&nats);
    rig.abandon(20);
    rig.feed();
    let outputs = rig.outputs(&link, alerts_only());
    rig.runtime.block_on(outputs.stop(PATIENCE));
    check(&rig, &rig.messages(&link, STREAM));

    // All messages grow too old; the next start must not begin again.
    rig.runtime.block_on(rig.stream(&link, STREAM).purge().into_future()).unwrap();
    rig.abandon(2);
    rig.feed();
    let outputs = rig.outputs(&link, alerts_only());
    rig.runtime.block_on(outputs.stop(PATIENCE));
    let left: Vec<_> =
        rig.messages(&link, STREAM).iter().map(|message| header(message, "Tidewatch-N")).collect();
    assert_eq!(left, ["21", "22"]);

    // A stream that is made again is another one.
    rig.runtime.block_on(link.jetstream().delete_stream(STREAM)).unwrap();
    let outputs = rig.outputs(&link, alerts_only());
    rig.runtime.block_on(outputs.stop(PATIENCE));
    check(&rig, &rig.messages(&link, STREAM));
}

#[test]
fn what_retention_removed_before_it_left_is_told() {
    let nats = Broker::start();
    let mut rig = Rig::with(|config| config.store.alerts_max = 1_000);
    let link = connect(&nats);
    let records = rig.running.web().records;
    // Alerts leave the log by blocks, each commit's at once.
    for _ in 0..40 {
        rig.abandon(100);
        let newest = rig.users.len() as u64;
        until(60, "the alerts are in the log", || {
            records.alert_log(newest - 1, 1).unwrap().first().map(|alert| alert.n)
        });
    }
    let oldest = until(60, "the oldest alerts left", || {
        let first = records.alert_log(0, 1).unwrap()[0].n;
        (first > 1).then_some(first)
    });
    let outputs = rig.outputs(&link, alerts_only());
    let states = rig.runtime.block_on(outputs.stop(PATIENCE));
    let messages = rig.messages(&link, STREAM);
    let first: u64 = header(&messages[0], "Tidewatch-N").parse().unwrap();
    assert!(first >= oldest, "{first} {oldest}");
    assert_eq!((states[0].skipped, states[0].delivered), (first - 1, 4_001 - first), "{states:?}");
    assert_eq!(messages.len() as u64, 4_001 - first);
}

#[test]
fn dead_letters_are_there_once_with_their_bytes_and_reasons() {
    let mut random = Random::seeded("nats_out_letters");
    // A small limit, so that one letter is too large for it.
    let mut nats = Broker::with("max_payload: 16384");
    let rig = Rig::start();
    let link = connect(&nats);
    let settings = OutSettings { alerts_stream: String::new(), in_flight_max: 7, ..alerts_only() };
    let settings = OutSettings { dead_letters_stream: LETTERS.into(), ..settings };
    let large = format!("no event {}", "x".repeat(20_000));
    rig.publish(vec!["{\"half\": ".into(), large.clone(), "nonsense".into()]);
    let mut outputs = rig.outputs(&link, settings.clone());
    let mut count = 3;
    for _ in 0..6 {
        let lines: Vec<_> = (0..random.below(80)).map(|n| format!("bad {count} {n}")).collect();
        count += lines.len();
        rig.publish(lines);
        moment(&mut random, 100);
        match random.below(2) {
            0 => {
                nats.kill_9();
                moment(&mut random, 200);
                nats.restart();
            }
            _ => {
                drop(outputs);
                outputs = rig.outputs(&link, settings.clone());
            }
        }
    }
    let records = rig.running.web().records;
    let letters = until(60, "every dead letter is committed", || {
        let letters = records.dead_letters(0, 10_000).unwrap();
        (letters.len() == count).then_some(letters)
    });
    rig.wait_last(&link, LETTERS, letters.last().unwrap().id);
    rig.runtime.block_on(outputs.stop(PATIENCE));
    let messages = rig.messages(&link, LETTERS);
    assert_eq!(messages.len(), letters.len());
    for (message, letter) in messages.iter().zip(&letters) {
        assert_eq!(header(message, "Tidewatch-Id"), letter.id.to_string());
        assert_eq!(header(message, "Tidewatch-Reason"), letter.reason);
        assert_eq!(header(message, "Tidewatch-Source"), letter.source);
        assert_eq!(header(message, "Tidewatch-Position"), letter.position.to_string());
        if letter.raw == large.as_bytes() {
            assert_eq!(header(message, "Tidewatch-Truncated"), large.len().to_string());
            // As much as the server takes besides the headers.
            assert!(letter.raw.starts_with(&message.payload));
            assert!((15_000..16_384).contains(&message.payload.len()), "{message:?}");
        } else {
            assert_eq!(message.payload, letter.raw);
        }
    }
}

/// Dead letters only, quick to notice and to retry.
fn letters_only() -> OutSettings {
    OutSettings {
        alerts_stream: String::new(),
        dead_letters_stream: LETTERS.into(),
        ..alerts_only()
    }
}

#[test]
fn dead_letters_wait_for_a_server_that_is_away_and_leave_only_then() {
    let mut nats = Broker::start();
    let rig = Rig::with(|config| config.store.dead_letters_max = 50);
    let link = connect(&nats);
    let outputs = rig.outputs(&link, letters_only());
    let (records, figures) = (rig.running.web().records, rig.running.figures());
    let warned = |name: &str| {
        let standing = rig.running.status().standing();
        let named = |one: &Standing| one.condition.name() == name;
        standing.into_iter().find(named).map(|one| one.says)
    };
    let bad = |from: usize, count: usize| {
        rig.publish((from..from + count).map(|n| format!("bad {n}")).collect());
    };
    let kept = || records.dead_letters(0, 1_000).unwrap();
    bad(0, 5);
    rig.wait_last(&link, LETTERS, 5);
    nats.kill_9();
    for part in 0..8 {
        bad(5 + part * 10, 10);
    }
    // More than there may be, and none left that the stream does not have.
    until(60, "all are there", || (kept().last()?.id == 85).then_some(()));
    let ids: Vec<u64> = kept().iter().map(|letter| letter.id).collect();
    assert_eq!(ids, (6..=85).collect::<Vec<_>>(), "the five that it has left first");
    assert_eq!(figures.dead_letters_unpublished.lock().total(), 0);
    let said = |says: &String| says.contains("80 dead letters") && says.contains("beyond 100");
    until(10, "it is said", || warned("dead_letters_held").filter(said));
    // Once they are published, those beyond the bound leave, although nothing comes.
    nats.restart();
    rig.wait_last(&link, LETTERS, 85);
    until(20, "the rest left", || (kept().len() == 50).then_some(()));
    until(20, "it is over", || warned("dead_letters_held").is_none().then_some(()));
    let told: Vec<String> =
        rig.messages(&link, LETTERS).iter().map(|one| header(one, "Tidewatch-Id")).collect();
    assert_eq!(told, (1..=85).map(|n| n.to_string()).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(figures.dead_letters_unpublished.lock().total(), 0);

    // The disk has an end: beyond twice the bound they leave without it, counted and said.
    nats.kill_9();
    for part in 0..6 {
        bad(85 + part * 40, 40);
    }
    until(60, "all came", || (kept().last()?.id == 85 + 240).then_some(()));
    until(10, "the bound holds", || (kept().len() == 100).then_some(()));
    let lost = figures.dead_letters_unpublished.lock().total();
    assert_eq!(lost, 140);
    let said = |says: &String| says.contains("140 of them before NATS had taken them");
    until(10, "it is said", || warned("dead_letters_dropped").filter(said));
    nats.restart();
    rig.wait_last(&link, LETTERS, 85 + 240);
    let states = rig.runtime.block_on(outputs.stop(PATIENCE));
    let messages = rig.messages(&link, LETTERS).len() as u64;
    // Some of those were in memory already.
    assert!(states[0].skipped <= lost, "{states:?}");
    assert_eq!(messages + states[0].skipped, 85 + 240, "{states:?}");
}

/// Sets the bound on a message of a stream.
fn bound_stream(rig: &Rig, link: &tidewatch::nats::link::Link, name: &str, bytes: i32) {
    let mut config = rig.stream(link, name).cached_info().config.clone();
    config.max_message_size = bytes;
    rig.runtime.block_on(link.jetstream().update_stream(config)).unwrap();
}

#[test]
fn what_is_too_large_for_its_stream_is_shortened_or_left_out_and_stops_nothing() {
    let nats = Broker::start();
    let mut rig = Rig::start();
    let link = connect(&nats);
    let both = OutSettings { dead_letters_stream: LETTERS.into(), ..alerts_only() };
    let outputs = rig.outputs(&link, both);
    rig.abandon(1);
    rig.feed();
    rig.wait_last(&link, STREAM, 1);
    let first = rig.messages(&link, STREAM).remove(0);
    let headers = first.headers.iter().map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(|value| name.len() + value.as_str().len() + 4).sum::<usize>()
    });
    let whole = first.payload.len() + headers.sum::<usize>() + 12;
    // One byte too few: it goes without its details.
    bound_stream(&rig, &link, STREAM, whole as i32 - 1);
    rig.abandon(1);
    rig.feed();
    rig.wait_last(&link, STREAM, 2);
    // Next to nothing: it is passed over.
    bound_stream(&rig, &link, STREAM, 300);
    rig.abandon(1);
    rig.feed();
    rig.wait(&outputs, "alerts", "one is left out", |state| state.left_out == 1);
    let standing = rig.running.status().standing();
    let left_out = |one: &&Standing| one.condition == Condition::RowsLeftOut;
    let Standing { about, says, .. } = standing.iter().find(left_out).unwrap();
    assert_eq!(about, "nats alerts");
    assert!(says.contains("max_msg_size of stream TIDEWATCH_ALERTS is 300 bytes"), "{says}");
    // And just enough again.
    bound_stream(&rig, &link, STREAM, whole as i32);
    rig.abandon(1);
    rig.feed();
    rig.wait_last(&link, STREAM, 4);
    let messages = rig.messages(&link, STREAM);
    let told: Vec<_> = messages.iter().map(|message| header(message, "Tidewatch-N")).collect();
    assert_eq!(told, ["1", "2", "4"]);
    let of = |index: usize| -> Value { serde_json::from_slice(&messages[index].payload).unwrap() };
    assert_eq!((&of(1)["truncated"], &of(1)["data"]["detail"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(header(&messages[1], "Tidewatch-Truncated"), messages[0].payload.len().to_string());
    assert!(of(2)["truncated"].is_null() && of(2)["data"]["detail"].is_object());

    // Dead letters: what fits of the bytes; the other ones whole.
    rig.publish(vec!["bad".into()]);
    rig.wait_last(&link, LETTERS, 1);
    bound_stream(&rig, &link, LETTERS, 1_000);
    let large = format!("no event {}", "x".repeat(20_000));
    rig.publish(vec!["bad too".into(), large.clone(), "bad as well".into()]);
    rig.wait_last(&link, LETTERS, 4);
    let states = rig.runtime.block_on(outputs.stop(PATIENCE));
    let figures: Vec<_> = states
        .iter()
        .map(|state| (state.delivered, state.shortened, state.left_out, state.error.as_str()))
        .collect();
    assert_eq!(figures, [(3, 1, 1, ""), (4, 1, 0, "")], "{states:?}");
    let letters = rig.messages(&link, LETTERS);
    assert_eq!(letters[2].payload, large.as_bytes()[..letters[2].payload.len()]);
    assert!((400..1_000).contains(&letters[2].payload.len()), "{letters:?}");
    assert_eq!(header(&letters[2], "Tidewatch-Truncated"), large.len().to_string());
    assert_eq!(letters[3].payload, "bad as well");
}

#[test]
fn the_board_is_on_its_subject_and_in_its_bucket() {
    let nats = Broker::start();
    let mut rig = Rig::start();
    let link = connect(&nats);
    rig.runtime.block_on(link.ready()).unwrap();
    let listener = rig.runtime.block_on(link.client().subscribe("tidewatch.board")).unwrap();
    let mut listener = listener;
    let settings = OutSettings {
        alerts_stream: String::new(),
        dead_letters_stream: String::new(),
        service: String::new(),
        ..quick()
    };
    let outputs = rig.outputs(&link, settings);
    rig.abandon(5);
    rig.feed();
    let applied = |board: &Value| board["topics"]["pipeline"]["d"]["applied"].clone();
    let runtime = &rig.runtime;
    let next = |listener: &mut async_nats::Subscriber| -> Value {
        let message = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, listener.next()).await })
            .expect("a board within the time")
            .expect("the subscription lives");
        serde_json::from_slice(&message.payload).unwrap()
    };
    until(60, "the events are on the board", || (applied(&next(&mut listener)) == 6).then_some(()));
    let bucket = || runtime.block_on(link.jetstream().get_key_value("tidewatch_board")).ok();
    let bucket = until(30, "the bucket is there", bucket);
    let entry = || runtime.block_on(bucket.entry("board")).unwrap();
    until(60, "the events are in the bucket", || {
        let board: Value = serde_json::from_slice(&entry()?.value).unwrap();
        (applied(&board) == 6).then_some(())
    });
    assert_eq!(runtime.block_on(bucket.status()).unwrap().history(), 1);

    // The pipeline ends: its last board stays, and is not written again.
    rig.running.stop();
    runtime.block_on(rig.running.ended()).unwrap();
    // The board behind the end may still be on its way to the broadcaster.
    let last = until(60, "the last board is published", || {
        let last = next(&mut listener)["version"].clone();
        (last == rig.running.board().version && next(&mut listener)["version"] == last)
            .then_some(last)
    });
    let revision = until(60, "the last board is in the bucket", || {
        let entry = entry()?;
        let board: Value = serde_json::from_slice(&entry.value).unwrap();
        (applied(&board) == 6).then_some(entry.revision)
    });
    for _ in 0..5 {
        assert_eq!(next(&mut listener)["version"], last);
    }
    let settled = entry().unwrap().revision;
    assert!(settled <= revision + 1, "{settled} {revision}");
    for _ in 0..5 {
        next(&mut listener);
    }
    assert_eq!(entry().unwrap().revision, settled);
    runtime.block_on(outputs.stop(PATIENCE));
}

#[test]
fn a_board_beyond_the_servers_limit_is_told() {
    let nats = Broker::with("max_payload: 1024");
    let rig = Rig::start();
    let link = connect(&nats);
    let outputs = rig.outputs(&link, quick());
    rig.wait(&outputs, "board", "the board is too large", |state| {
        state.error.contains("max_payload is 1024 bytes: raise it") && state.delivered == 0
    });
    rig.runtime.block_on(outputs.stop(PATIENCE));
}

#[test]
fn the_micro_service_answers_and_leaves() {
    let nats = Broker::start();
    let kinds = "[[sessions]]\nname = \"visit\"\ngap = \"20m\"\nentry = \"cart_add\"\n\
                 goal = \"payment_completed\"\nvalue = \"amount\"\n\
                 [[sessions]]\nname = \"device\"\nkey = \"device_id\"\ngap = \"30m\"\nentry = \"cart_add\"\n";
    let mut rig = Rig::configured(kinds);
    let link = connect(&nats);
    let outputs = rig.outputs(&link, quick());
    rig.abandon(2);
    rig.feed();
    // Two carts that stay open, and an event that moves time behind them.
    let at = START + CLOSE_AFTER;
    let cart = |user: &str, after: i64, amount: i64| {
        let mut event = Event::new(format!("e-{user}"), at + after, "cart_add", user);
        event.more.insert("amount".into(), json!(amount));
        event.more.insert("device_id".into(), json!(format!("of {user}")));
        event.line()
    };
    let last = Event::new("later", at + 60_000, "page_view", "~").line();
    rig.publish(vec![cart("ada", 1_000, 5), cart("bob", 2_000, 9), last]);
    let asker = connect(&nats);
    let ask = |subject: &str, body: &str| {
        let (subject, body) = (subject.to_string(), body.to_string().into());
        rig.runtime.block_on(asker.client().request(subject, body))
    };
    until(30, "the service is there", || ask("$SRV.PING.tidewatch", "").ok());
    let json = |subject: &str, body: &str| -> Value {
        let answer = ask(subject, body).unwrap();
        assert_eq!(answer.headers, None, "{subject}");
        serde_json::from_slice(&answer.payload).unwrap()
    };
    let ping = json("$SRV.PING", "");
    assert_eq!(
        (&ping["name"], &ping["version"]),
        (&"tidewatch".into(), &env!("CARGO_PKG_VERSION").into())
    );
    let info = json("$SRV.INFO.tidewatch", "");
    let mut subjects: Vec<_> =
        info["endpoints"].as_array().unwrap().iter().map(|one| one["subject"].clone()).collect();
    subjects.sort_by_key(ToString::to_string);
    let served =
        ["at_risk", "ready", "session", "snapshot"].map(|name| format!("tidewatch.{name}"));
    assert_eq!(subjects, served);

    let applied = |board: &Value| board["topics"]["pipeline"]["d"]["applied"].clone();
    until(30, "the board is asked", || {
        (applied(&json("tidewatch.snapshot", "")) == 6).then_some(())
    });
    assert_eq!(json("tidewatch.ready", "")["ready"], true);
    // The one whose event moved time has an open session; it is the key asked for.
    let view = json("tidewatch.session", "~");
    assert_eq!((&view["key"], &view["sessions"][0]["events"]), (&"~".into(), &2.into()));

    for (key, code) in [("nobody", "404"), ("u0", "404"), ("", "400")] {
        let answer = ask("tidewatch.session", key).unwrap();
        let headers = answer.headers.expect("an error has headers");
        assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), code, "{key}");
        let words = headers.get("Nats-Service-Error").unwrap().as_str();
        assert!(words.contains("session"), "{words}");
    }
    for (body, gap, keys) in [
        ("", GAP, ["ada", "bob"]),
        (r#"{"by":"value","limit":1}"#, GAP, ["bob", ""]),
        (r#"{"of":"visit"}"#, 20 * 60_000, ["ada", "bob"]),
        (r#"{"of":"visit","by":"value"}"#, 20 * 60_000, ["bob", "ada"]),
        // No value: the one that ends first.
        (r#"{"of":"device","by":"value"}"#, GAP, ["of ada", "of bob"]),
    ] {
        let at_risk = until(30, "both are at risk", || {
            let answer = json("tidewatch.at_risk", body);
            (answer["sessions"] == 2).then_some(answer)
        });
        let items = at_risk["items"].as_array().unwrap();
        let found: Vec<&str> = items.iter().map(|item| item["key"].as_str().unwrap()).collect();
        let wanted: Vec<&str> = keys.into_iter().filter(|key| !key.is_empty()).collect();
        assert_eq!(found, wanted, "{body}");
        for item in items {
            let after = if item["key"].as_str().unwrap().contains("ada") { 1_000 } else { 2_000 };
            assert_eq!(item["deadline"], at + after + gap, "{body}: {item}");
        }
        // A device puts nothing of a value at stake.
        let value = if body.contains("device") { 0.0 } else { 14.0 };
        assert_eq!(at_risk["value"], value, "{body}");
    }
    let view = json("tidewatch.session", "ada");
    assert_eq!(
        (&view["kinds"][0]["kind"], &view["kinds"][0]["state"]),
        (&json!("visit"), &json!("at_risk"))
    );
    let view = json("tidewatch.session", "of bob");
    assert_eq!((&view["sessions"], &view["kinds"][0]["kind"]), (&json!([]), &json!("device")));
    for (body, code) in [(r#"{"by":"size"}"#, "400"), (r#"{"of":"visits"}"#, "404")] {
        let refused = ask("tidewatch.at_risk", body).unwrap().headers;
        let refused = refused.expect("an error has headers");
        assert_eq!(refused.get("Nats-Service-Error-Code").unwrap().as_str(), code);
    }
    let stats = json("$SRV.STATS.tidewatch", "");
    let of = |name: &str| {
        let all = stats["endpoints"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (of("session")["num_requests"].clone(), of("session")["num_errors"].clone()),
        (6.into(), 3.into())
    );

    rig.runtime.block_on(outputs.stop(PATIENCE));
    for subject in ["tidewatch.snapshot", "tidewatch.session", "tidewatch.ready", "$SRV.PING"] {
        until(30, "nobody answers any more", || ask(subject, "~").err());
    }
}

#[test]
fn the_service_ends_with_a_dropped_handle_and_outlives_a_broker() {
    let mut nats = Broker::start();
    let rig = Rig::start();
    let link = connect(&nats);
    let outputs = rig.outputs(&link, quick());
    let asker = connect(&nats);
    let ask = |subject: &str| {
        rig.runtime.block_on(asker.client().request(subject.to_string(), "".into()))
    };
    until(30, "it answers", || ask("tidewatch.ready").ok());
    nats.kill_9();
    nats.restart();
    until(30, "it answers after the broker came back", || ask("tidewatch.ready").ok());
    drop(outputs);
    for subject in ["tidewatch.ready", "$SRV.PING"] {
        until(30, "nobody answers any more", || ask(subject).err());
    }
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_made() {
    let nats = Broker::start();
    let mut rig = Rig::start();
    let link = connect(&nats);
    rig.abandon(3);
    rig.feed();
    let outputs = rig.outputs(&link, OutSettings { manage: Manage::Check, ..quick() });
    rig.wait(&outputs, "alerts", "the missing stream is named", |state| {
        state.error.contains("stream TIDEWATCH_ALERTS: it does not exist")
            && state.error.contains("nats.manage")
    });
    rig.wait(&outputs, "board", "the missing bucket is named", |state| {
        state.error.contains("bucket tidewatch_board: it does not exist")
    });
    let mut names = link.jetstream().stream_names();
    let made = rig.runtime.block_on(async { names.next().await });
    assert!(made.is_none(), "{made:?}");

    // Streams that cannot keep the promise are refused, field by field.
    let wrong = link.jetstream().create_stream(Config {
        name: STREAM.into(),
        subjects: vec!["other.>".into()],
        retention: RetentionPolicy::WorkQueue,
        ..Config::default()
    });
    rig.runtime.block_on(wrong).unwrap();
    rig.wait(&outputs, "alerts", "the wrong fields are named", |state| {
        state.error.contains("its subjects are [other.>]; they must take tidewatch.alerts.>")
            && state.error.contains("retention is WorkQueue; it must be Limits")
    });
    // Put right, it goes on by itself.
    rig.runtime.block_on(link.jetstream().delete_stream(STREAM)).unwrap();
    let right = link.jetstream().create_stream(Config {
        name: STREAM.into(),
        subjects: vec!["tidewatch.alerts.>".into()],
        ..Config::default()
    });
    rig.runtime.block_on(right).unwrap();
    rig.wait(&outputs, "alerts", "it goes on", |state| {
        state.delivered == 3 && state.error.is_empty()
    });
    check(&rig, &rig.messages(&link, STREAM));
    rig.runtime.block_on(outputs.stop(PATIENCE));
}

#[test]
fn a_broker_that_is_away_holds_nothing_up_and_is_seen() {
    let mut nats = Broker::start();
    let mut rig = Rig::start();
    let link = connect(&nats);
    let outputs = rig.outputs(&link, alerts_only());
    rig.abandon(1);
    rig.wait_last(&link, STREAM, 1);
    nats.kill_9();
    rig.abandon(30);
    rig.feed();
    rig.wait(&outputs, "alerts", "it waits, and says for whom", |state| {
        state.pending == 30 && state.error.contains("is away")
    });
    nats.restart();
    rig.wait(&outputs, "alerts", "it is delivered", |state| {
        state.delivered == 31 && state.pending == 0 && state.error.is_empty()
    });
    // A stop while the broker is away ends within its time.
    nats.kill_9();
    rig.abandon(4);
    rig.feed();
    let states = rig.runtime.block_on(outputs.stop(Duration::from_millis(300)));
    assert_eq!(states[0].delivered, 31);
    nats.restart();
    let outputs = rig.outputs(&link, alerts_only());
    rig.runtime.block_on(outputs.stop(PATIENCE));
    check(&rig, &rig.messages(&link, STREAM));
}
