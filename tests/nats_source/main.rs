//! Shows that a stream is read whole, in order and from our own position, and that every
//! way in which it can lose events is named.
//!
//! How: a real nats-server in a folder of its own; events are published by a plain client;
//! the source is asked as the pipeline asks it. Faults are made with the server's own API,
//! with kill -9, and by putting an older store folder back.

#[path = "../support/mod.rs"]
mod support;

mod events;

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{self, AckPolicy};
use async_nats::jetstream::stream;
use futures_util::StreamExt;
use tidewatch::actors::ports::{Pull, Resume, Source, SourceError};
use tidewatch::clock::SystemClock;
use tidewatch::domain::event::decode::Decoder;
use tidewatch::domain::event::{CheckedBatch, Note, RawBatch, Schema, Value};
use tidewatch::nats::link::Link;
use tidewatch::nats::settings::{LinkSettings, Manage, OnGap, SourceSettings};
use tidewatch::nats::source::JetSource;

use events::{client, copy, event, numbers, publish};
use support::Broker;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn link(broker: &Broker) -> Link {
    let settings = LinkSettings {
        name: "test".into(),
        request_timeout: Duration::from_secs(2),
        reconnect_max: Duration::from_millis(100),
        ..LinkSettings::to(broker.url())
    };
    Link::open(settings).unwrap()
}

fn source(link: &Link, change: impl FnOnce(&mut SourceSettings)) -> JetSource {
    let mut settings = SourceSettings::default();
    change(&mut settings);
    JetSource::new(link.clone(), settings, SystemClock::shared()).unwrap()
}

/// Opens a source, as the pipeline does.
async fn opened(link: &Link, position: u64, change: impl FnOnce(&mut SourceSettings)) -> JetSource {
    let mut source = source(link, change);
    source.open(at(position)).await.unwrap();
    source
}

/// Where a source was read to, without an item to compare.
fn at(position: u64) -> Resume {
    Resume { position, ..Resume::default() }
}

/// What a source gave until `done`, and how it stood at last.
#[derive(Default)]
struct Seen {
    items: Vec<(u64, String)>,
    notes: Vec<Note>,
    gaps: Vec<(u64, u64)>,
    caught_up: bool,
    away: bool,
    largest: usize,
}

impl Seen {
    fn add(&mut self, batch: &RawBatch) {
        assert!(!batch.items.is_empty() && batch.notes.len() == batch.items.len());
        self.largest = self.largest.max(batch.items.len());
        for item in &batch.items {
            let text = String::from_utf8_lossy(batch.bytes(item)).into_owned();
            self.items.push((item.position, text));
        }
        self.notes.extend(batch.notes.iter().cloned());
    }
}

/// Pulls until `done`, or until the source cannot go on.
async fn read(
    source: &mut JetSource,
    max: usize,
    mut done: impl FnMut(&Seen) -> bool,
) -> Result<Seen, SourceError> {
    let mut seen = Seen::default();
    let all = async {
        while !done(&seen) {
            match source.pull(max).await? {
                Pull::Batch(batch) => seen.add(&batch),
                Pull::Gap { from, to } => seen.gaps.push((from, to)),
                Pull::CaughtUp => {
                    (seen.caught_up, seen.away) = (true, false);
                    if !done(&seen) {
                        source.wait().await;
                    }
                }
                Pull::Away(_) => {
                    (seen.caught_up, seen.away) = (false, true);
                    source.wait().await;
                }
                Pull::End => panic!("a stream has no end"),
            }
        }
        Ok::<_, SourceError>(())
    };
    tokio::time::timeout(PATIENCE, all).await.expect("within the patience")?;
    Ok(seen)
}

/// The source's consumer, as the broker has it.
async fn consumer_info(context: &async_nats::jetstream::Context) -> consumer::Info {
    tidewatch::nats::manage::consumer_info(context, "EVENTS", "tidewatch").await.unwrap()
}

async fn read_all(source: &mut JetSource) -> Seen {
    read(source, 1_000, |seen| seen.caught_up).await.unwrap()
}

/// Asserts that exactly these events came, in order.
#[track_caller]
fn assert_events(seen: &Seen, numbers: impl Iterator<Item = u64>) {
    let expected: Vec<(u64, String)> = numbers.map(|n| (n, event(n))).collect();
    assert_eq!(seen.items, expected);
}

#[tokio::test]
async fn a_stream_is_read_whole_and_in_order_and_never_more_than_asked_for() {
    let broker = Broker::start();
    let link = link(&broker);
    let mut source = opened(&link, 0, |settings| settings.pull_messages = 300).await;
    let empty = read_all(&mut source).await;
    assert!(empty.items.is_empty());
    assert_eq!(source.lag(), Some(0));

    let context = client(&broker).await;
    numbers(&context, 1, 5_000).await;
    let seen = read(&mut source, 170, |seen| seen.items.len() >= 5_000).await.unwrap();
    assert_events(&seen, 1..=5_000);
    assert!(seen.largest <= 170 && seen.gaps.is_empty(), "{}", seen.largest);
    assert!(!seen.caught_up || seen.largest > 0);
    let now = SystemClock::shared().wall();
    assert!(seen.notes.iter().all(|note| (now - 60_000..=now + 1_000).contains(&note.arrived)));
    assert!(read_all(&mut source).await.items.is_empty());
    // What comes later wakes a waiting reader.
    let reader = read(&mut source, 10, |seen| !seen.items.is_empty());
    let (seen, ()) = tokio::join!(reader, numbers(&context, 5_001, 5_001));
    assert_events(&seen.unwrap(), 5_001..=5_001);
}

#[tokio::test]
async fn the_position_is_ours_whatever_the_broker_remembers() {
    let broker = Broker::start();
    let context = client(&broker).await;
    let link = link(&broker);
    let mut first = opened(&link, 0, |_| {}).await;
    numbers(&context, 1, 300).await;
    let seen = read_all(&mut first).await;
    assert_eq!(seen.items.len(), 300);
    first.ack(300);
    let info = consumer_info(&context).await;
    assert_eq!(info.config.ack_policy, AckPolicy::None, "nothing waits for us to say so");

    // A commit of 100 is all that survived: what came after it is read again.
    let mut again = source(&link, |_| {});
    let fingerprint = tidewatch::domain::hash::fingerprint(event(100).as_bytes());
    let known = again.open(at(100)).await.unwrap().incarnation;
    let resume = Resume { incarnation: Some(known), fingerprint, ..at(100) };
    again.open(resume.clone()).await.unwrap();
    let other = Resume { fingerprint: fingerprint + 1, ..resume };
    let error = again.open(other.clone()).await.unwrap_err();
    assert!(matches!(error, SourceError::Diverged { position: 100, .. }), "{error}");
    let error = again.open(Resume { incarnation: Some("1".into()), ..other }).await.unwrap_err();
    assert!(matches!(error, SourceError::Other { position: 100, .. }), "{error}");
    again.open(at(100)).await.unwrap();
    assert_events(&read_all(&mut again).await, 101..=300);
}

#[tokio::test]
async fn a_deleted_consumer_costs_nothing() {
    let broker = Broker::start();
    let context = client(&broker).await;
    let link = link(&broker);
    let mut source = opened(&link, 0, |settings| settings.pull_messages = 20).await;
    numbers(&context, 1, 200).await;
    let mut all = Vec::new();
    for n in 1..=10 {
        let seen = read(&mut source, 10, |seen| seen.items.len() >= 15).await.unwrap();
        all.extend(seen.items);
        let deleted = context.delete_consumer_from_stream("tidewatch", "EVENTS").await;
        assert!(deleted.is_ok(), "time {n}");
    }
    all.extend(read_all(&mut source).await.items);
    let expected: Vec<_> = (1..=200).map(|n| (n, event(n))).collect();
    assert_eq!(all, expected);
    // Also while nothing happens.
    let there = async {
        while context.get_consumer_from_stream::<Config, _, _>("tidewatch", "EVENTS").await.is_err()
        {
            assert!(read_all(&mut source).await.items.is_empty());
        }
    };
    tokio::time::timeout(PATIENCE, there).await.expect("the consumer is made anew");
    context.delete_consumer_from_stream("tidewatch", "EVENTS").await.unwrap();
    numbers(&context, 201, 210).await;
    let seen = read(&mut source, 100, |seen| seen.items.len() >= 10).await.unwrap();
    assert_events(&seen, 201..=210);
}

#[tokio::test]
async fn i8_what_was_deleted_before_it_was_read_is_a_gap_of_the_exact_size() {
    let broker = Broker::start();
    let context = client(&broker).await;
    let link = link(&broker);
    drop(opened(&link, 0, |_| {}).await);
    numbers(&context, 1, 100).await;
    let stream = context.get_stream("EVENTS").await.unwrap();
    stream.purge().sequence(51).await.unwrap();
    for n in [60, 61, 70] {
        stream.delete_message(n).await.unwrap();
    }
    let gap = |error: SourceError| match error {
        SourceError::Gap { from, to, .. } => (from, to),
        other => panic!("{other}"),
    };
    // Told to stop: at the start, and on the way.
    let mut stops = source(&link, |_| {});
    // What was read last left in an orderly way: it is not missed, and what came after it is.
    let resume = Resume { fingerprint: 7, ..at(20) };
    assert_eq!(gap(stops.open(resume).await.unwrap_err()), (21, 50));
    let mut stops = opened(&link, 50, |_| {}).await;
    let stopped = read(&mut stops, 100, |seen| seen.caught_up).await;
    assert_eq!(gap(stopped.err().expect("it stops")), (60, 61));

    // Told to go on: each gap once, and everything else.
    let mut goes_on = opened(&link, 20, |settings| settings.on_gap = OnGap::Continue).await;
    let seen = read_all(&mut goes_on).await;
    assert_eq!(seen.gaps, [(21, 50), (60, 61), (70, 70)]);
    assert_events(&seen, (51..=100).filter(|n| ![60, 61, 70].contains(n)));

    // Purged while it is being read, and whole.
    stream.purge().await.unwrap();
    numbers(&context, 101, 120).await;
    let seen = read(&mut goes_on, 100, |seen| seen.items.len() >= 20).await.unwrap();
    assert_events(&seen, 101..=120);
    // A new reader begins with what is kept: that is not a gap.
    let mut fresh = opened(&link, 0, |_| {}).await;
    assert_events(&read_all(&mut fresh).await, 101..=120);
}

#[tokio::test]
async fn i7_a_stream_made_again_is_named() {
    let broker = Broker::start();
    let context = client(&broker).await;
    let link = link(&broker);
    let mut source = opened(&link, 0, |_| {}).await;
    numbers(&context, 1, 10).await;
    assert_events(&read_all(&mut source).await, 1..=10);
    let before = source.open(at(0)).await.unwrap().incarnation;
    assert_events(&read_all(&mut source).await, 1..=10);
    let config = context.get_stream("EVENTS").await.unwrap().cached_info().config.clone();
    context.delete_stream("EVENTS").await.unwrap();
    context.create_stream(config).await.unwrap();
    numbers(&context, 1, 20).await;
    let error = read(&mut source, 100, |_| false).await.err().expect("it stops").to_string();
    assert!(
        error
            .starts_with("LOG_DIVERGED: stream EVENTS, position 10: it was deleted and made again"),
        "{error}"
    );
    let after = self::source(&link, |_| {}).open(at(0)).await.unwrap().incarnation;
    assert_ne!(after, before);

    // Gone altogether: it is not made anew over a state that was made from it.
    context.delete_stream("EVENTS").await.unwrap();
    let error = self::source(&link, |_| {}).open(at(10)).await.unwrap_err().to_string();
    assert!(error.starts_with("stream EVENTS does not exist any more"), "{error}");
    assert!(context.get_stream("EVENTS").await.is_err(), "it was not made");
}

#[tokio::test]
async fn i7_a_store_that_went_back_is_named() {
    for written_again in [false, true] {
        let mut broker = Broker::start();
        let context = client(&broker).await;
        let link = link(&broker);
        drop(opened(&link, 0, |_| {}).await);
        numbers(&context, 1, 50).await;
        broker.kill_9();
        let older = tempfile::tempdir().unwrap();
        copy(&broker.store(), older.path());
        broker.restart();
        let mut source = opened(&link, 0, |_| {}).await;
        numbers(&context, 51, 100).await;
        let seen = read(&mut source, 100, |seen| seen.items.len() >= 100).await.unwrap();
        assert_events(&seen, 1..=100);

        broker.kill_9();
        std::fs::remove_dir_all(broker.store()).unwrap();
        copy(older.path(), &broker.store());
        broker.restart();
        let context = client(&broker).await;
        if written_again {
            for n in 51..=160 {
                publish(&context, "events.x", &[], event(n + 1_000).as_bytes()).await;
            }
        }
        let error = read(&mut source, 100, |_| false).await.err().expect("it stops").to_string();
        let words = if written_again { "it holds another event there" } else { "it ends at 50" };
        assert!(error.starts_with("LOG_DIVERGED") && error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_broker_that_is_away_is_waited_for() {
    let mut broker = Broker::start();
    let context = client(&broker).await;
    let link = link(&broker);
    let mut source = opened(&link, 0, |_| {}).await;
    let mut all = Vec::new();
    for round in 0..3 {
        numbers(&context, round * 100 + 1, round * 100 + 100).await;
        let seen = read(&mut source, 7, |seen| seen.items.len() >= 50).await.unwrap();
        all.extend(seen.items);
        broker.kill_9();
        let gone = read(&mut source, 7, |seen| seen.away).await.unwrap();
        assert!(gone.gaps.is_empty());
        all.extend(gone.items);
        broker.restart();
        let up = async { while context.get_stream("EVENTS").await.is_err() {} };
        tokio::time::timeout(PATIENCE, up).await.expect("the broker is up again");
    }
    // Its own connection may come back later than the one asked above.
    all.extend(read_all(&mut source).await.items);
    let expected: Vec<_> = (1..=300).map(|n| (n, event(n))).collect();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_filter_reads_its_subjects_only_and_notices_a_purge() {
    let broker = Broker::start();
    let context = client(&broker).await;
    let link = link(&broker);
    let filtered = |settings: &mut SourceSettings| settings.filter = vec!["events.1".into()];
    let mut source = opened(&link, 0, filtered).await;
    assert_eq!(source.name(), "EVENTS events.1");
    numbers(&context, 1, 100).await;
    let seen = read_all(&mut source).await;
    assert_events(&seen, (1..=100).filter(|n| n % 3 == 1));
    context.delete_consumer_from_stream("tidewatch", "EVENTS").await.unwrap();
    numbers(&context, 101, 200).await;
    let seen = read(&mut source, 100, |seen| seen.items.len() >= 33).await.unwrap();
    assert_events(&seen, (101..=200).filter(|n| n % 3 == 1));

    let stream = context.get_stream("EVENTS").await.unwrap();
    stream.purge().sequence(60).await.unwrap();
    let mut again = self::source(&link, filtered);
    let error = again.open(at(40)).await.unwrap_err().to_string();
    assert!(error.contains("positions 41 to 59"), "{error}");
}

#[tokio::test]
async fn what_headers_and_subject_say_reaches_the_event() {
    let broker = Broker::start();
    let context = client(&broker).await;
    let link = link(&broker);
    let mut source = opened(&link, 0, |settings| {
        settings.subjects = vec!["shop.>".into()];
        settings.subject_template = "shop.{region}.{type}".into();
        settings.inflated_bytes_max = 4_096;
    })
    .await;
    let open = br#"{"ts":1700000000000,"user":"u"}"#;
    let gzip = {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut gz, open).unwrap();
        gz.finish().unwrap()
    };
    let zstd = zstd::encode_all(&open[..], 3).unwrap();
    let bomb = zstd::encode_all(&vec![b' '; 1 << 20][..], 3).unwrap();
    let pack = [&open[..], open].join(&b'\n');
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "/shop"),
        ("ce-type", "payment_completed"),
        ("ce-time", "2026-01-01T00:00:00Z"),
    ];
    let subject = "shop.eu.cart_add";
    publish(&context, subject, &[("Nats-Msg-Id", "m1")], open).await;
    publish(&context, subject, &[("Content-Encoding", "gzip")], &gzip).await;
    publish(&context, subject, &[("content-encoding", "zstd"), ("Nats-Msg-Id", "m3")], &zstd).await;
    publish(&context, subject, &[("Nats-Msg-Id", "m4")], &pack).await;
    publish(&context, subject, &binary, br#"{"user":"ada"}"#).await;
    publish(&context, "shop.elsewhere", &[], event(6).as_bytes()).await;
    publish(&context, subject, &[("content-encoding", "zstd")], &bomb).await;
    publish(&context, subject, &[("content-encoding", "br")], b"raw bytes").await;

    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let schema = Schema {
        slots: vec!["region".into()],
        event_types: vec!["cart_add".into(), "payment_completed".into(), "page_view".into()],
        ..Schema::default()
    };
    let mut decoder = Decoder::new(schema.into());
    let mut count = 0;
    while count < 8 {
        let pulled = tokio::time::timeout(PATIENCE, source.pull(100)).await.unwrap().unwrap();
        let Pull::Batch(batch) = pulled else {
            source.wait().await;
            continue;
        };
        let batch = CheckedBatch::from(batch);
        for (index, item) in batch.raw.items.iter().enumerate() {
            let lines = found.entry(item.position).or_default();
            count += 1;
            decoder.decode_raw(&batch, index, usize::MAX, |event| {
                lines.push(match event {
                    Ok(e) => {
                        let value = match e.values[0] {
                            Value::Text(span) => {
                                format!("Text({:?})", str::from_utf8(e.text(span)).unwrap())
                            }
                            other => format!("{other:?}"),
                        };
                        format!("{:?} {} {value} {}", e.id, e.key, e.event_type)
                    }
                    Err(bad) => format!("{} [{}]", bad.reason, bad.raw.len()),
                });
            });
        }
    }
    let text = |n: u64| found[&n].join(" / ");
    assert_eq!(text(1), r#"Some("m1") u Text("eu") 0"#);
    assert_eq!(text(2), r#"None u Text("eu") 0"#);
    assert_eq!(text(3), r#"Some("m3") u Text("eu") 0"#);
    assert_eq!(text(4), r#"Some("m4/0") u Text("eu") 0 / Some("m4/1") u Text("eu") 0"#);
    assert_eq!(text(5), r#"Some("/shop 7") ada Text("eu") 1"#);
    assert_eq!(text(6), r#"Some("e6") u6 Missing 2"#);
    assert!(text(7).starts_with("content-encoding zstd: unpacks to more than 4096 bytes"));
    assert!(text(7).ends_with(&format!("[{}]", bomb.len())), "the bytes as they came");
    assert_eq!(text(8), "content-encoding \"br\" is not known: use gzip, zstd or none [9]");

    // What lies at a position has the fingerprint of what was read there, packed or not.
    for position in [2, 4, 5, 7, 8] {
        let config = |settings: &mut SourceSettings| {
            settings.subjects = vec!["shop.>".into()];
            settings.inflated_bytes_max = 4_096;
            settings.consumer = "other".into();
        };
        let mut one = opened(&link, position - 1, config).await;
        let seen = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Pull::Batch(batch) = one.pull(1).await.unwrap() {
                    return tidewatch::domain::hash::fingerprint(batch.bytes(&batch.items[0]));
                }
                one.wait().await;
            }
        });
        let seen = seen.await.unwrap();
        let at = |fingerprint| Resume { fingerprint, ..at(position) };
        assert!(one.open(at(seen)).await.is_ok(), "{position}");
        assert!(one.open(at(seen + 1)).await.is_err(), "{position}");
    }
}

#[tokio::test]
async fn checking_makes_nothing_and_says_what_does_not_fit() {
    let broker = Broker::start();
    let context = client(&broker).await;
    let link = link(&broker);
    let check = |settings: &mut SourceSettings| settings.manage = Manage::Check;
    let error = source(&link, check).open(at(0)).await.unwrap_err().to_string();
    assert!(
        error.starts_with("stream EVENTS does not exist, and nats.manage = \"check\""),
        "{error}"
    );
    let config = stream::Config {
        name: "EVENTS".into(),
        subjects: vec!["shop.>".into()],
        ..stream::Config::default()
    };
    context.create_stream(config.clone()).await.unwrap();
    for manage in [Manage::Check, Manage::Create] {
        let error = source(&link, |s| s.manage = manage).open(at(0)).await.unwrap_err().to_string();
        assert!(
            error.starts_with(
                "stream EVENTS: subjects are [\"shop.>\"], the configuration says [\"events.>\"]"
            ),
            "{error}"
        );
    }
    let config = stream::Config { subjects: vec!["events.>".into()], ..config };
    context.update_stream(config).await.unwrap();
    numbers(&context, 1, 100).await;
    let stopped = |position: u64| {
        let link = link.clone();
        async move {
            let mut source = opened(&link, position, check).await;
            read(&mut source, 100, |_| false).await.err().expect("it stops").to_string()
        }
    };
    let error = stopped(0).await;
    assert!(error.starts_with("consumer tidewatch of stream EVENTS does not exist"), "{error}");

    let wrong = Config {
        durable_name: Some("tidewatch".into()),
        ack_policy: AckPolicy::Explicit,
        filter_subject: "events.1".into(),
        ..Default::default()
    };
    let stream = context.get_stream("EVENTS").await.unwrap();
    stream.create_consumer(wrong).await.unwrap();
    let error = stopped(0).await;
    assert!(
        error.starts_with(
            "consumer tidewatch of stream EVENTS: ack_policy is Explicit, it must be All; filter \
             is [\"events.1\"], it must be []; max_ack_pending is 1000, it must be at least \
             nats.pull_messages, 8192"
        ),
        "{error}"
    );
    stream.delete_consumer("tidewatch").await.unwrap();

    // One that fits, and of which another reader was given 30 and acknowledged 10.
    let fits = Config {
        durable_name: Some("tidewatch".into()),
        ack_policy: AckPolicy::All,
        ack_wait: Duration::from_secs(1),
        max_ack_pending: 100_000,
        ..Default::default()
    };
    let consumer = stream.create_consumer(fits).await.unwrap();
    let mut given = consumer.fetch().max_messages(30).messages().await.unwrap();
    let mut count = 0;
    while let Some(message) = given.next().await {
        count += 1;
        if count == 10 {
            message.unwrap().double_ack().await.unwrap();
        }
    }
    assert_eq!(count, 30);
    let error = stopped(5).await;
    assert!(error.contains("has acknowledged up to 10, and only 5 is committed"), "{error}");
    let mut source = opened(&link, 10, check).await;
    assert_events(&read_all(&mut source).await, 11..=100);
    // What the broker gives again after its wait is passed over.
    numbers(&context, 101, 130).await;
    let seen = read(&mut source, 100, |seen| seen.items.len() >= 30).await.unwrap();
    assert_events(&seen, 101..=130);
    let infos = async {
        while stream.consumer_info("tidewatch").await.unwrap().num_redelivered == 0 {
            assert!(read_all(&mut source).await.items.is_empty());
        }
    };
    tokio::time::timeout(PATIENCE, infos).await.expect("it is delivered again");
    numbers(&context, 131, 140).await;
    let seen = read(&mut source, 100, |seen| seen.items.len() >= 10).await.unwrap();
    assert_events(&seen, 131..=140);
    // Whoever looks after it sees how far is committed: whole batches alone, and all of them here.
    source.ack(140);
    let acked = async {
        while consumer_info(&context).await.ack_floor.stream_sequence < 140 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, acked).await.expect("the ack floor moves");
}

#[tokio::test]
async fn a_broker_that_may_lose_acknowledged_events_is_warned_of() {
    for (more, monitored, words) in [
        ("", false, "nats.monitor_url is not set"),
        ("sync_interval: 90s", true, "it syncs every 90s"),
        ("sync_interval: always", true, ""),
    ] {
        let broker = Broker::with_store(more);
        let link = link(&broker);
        let mut source = source(&link, |settings| {
            if monitored {
                settings.monitor_url = broker.monitor();
            }
        });
        let warnings = source.open(at(0)).await.unwrap().warnings;
        assert_eq!(warnings.len(), usize::from(!words.is_empty()), "{more}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains(words)), "{warnings:?}");
    }
}

#[test]
fn serve_counts_every_event_of_a_stream_once_across_kills() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut broker = Broker::start();
    let folder = support::Folder::default();
    let config = format!("{}[nats]\nurl = \"{}\"\n", support::HOLD, broker.url());
    let mut server = folder.serve(&config).start();
    let mut published = 0;
    for round in 0..4 {
        let context = runtime.block_on(client(&broker));
        runtime.block_on(numbers(&context, published + 1, published + 500));
        published += 500;
        server.wait_pipeline("some are applied", |pipeline| {
            pipeline["applied"].as_u64() > Some(published - 500)
        });
        match round % 2 {
            0 => {
                server.kill_9();
                server = folder.serve(&config).start();
            }
            _ => {
                broker.kill_9();
                broker.restart();
            }
        }
    }
    let pipeline = server.wait_pipeline("all are applied", |pipeline| {
        pipeline["applied"] == published && pipeline["in_flight"] == 0
    });
    assert_eq!(pipeline["received"], published, "{pipeline}");
    assert_eq!(pipeline["balanced"], true, "{pipeline}");
    assert_eq!((&pipeline["duplicate"], &pipeline["rejected"]), (&0.into(), &0.into()));
}
