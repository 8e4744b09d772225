//! Shows that more events than the service can take cost it neither memory nor its voice,
//! and that none is lost (I9; F-L1 with F-D5).
//!
//! How: every commit of the first seconds is slowed down, as a slow disk does, so that the
//! service takes some 1250 events a second; ten times as many come in. Meanwhile its
//! resident memory must stay flat while the lag grows, `/livez` must answer, and the board
//! must tell the lag. Then the disk is quick again, and the lag must go.
//!
//! `TIDEWATCH_OVERLOAD_S` says how many seconds (10); `TIDEWATCH_OVERLOAD_CSV` names a file for
//! the curve.

mod support;

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use bytes::Bytes;
use support::events::{Event, Random};
use support::{Broker, Folder, HOLD, Http, Js, Server, Stopwatch, pause, until};

/// Seconds of overload, unless `TIDEWATCH_OVERLOAD_S` says otherwise.
const SECONDS: u64 = 10;

/// Events of one commit while it is slow, and how long it takes then, in ms: what the
/// service can take is their quotient.
const COMMIT_EVENTS: u64 = 500;
const COMMIT_MS: u64 = 400;

/// Events that are read and not committed yet, at most.
const CREDITS: u64 = 4 * COMMIT_EVENTS;

/// Events offered a second: ten times as many.
const OFFERED: u64 = 10 * COMMIT_EVENTS * 1_000 / COMMIT_MS;

/// How much more than the service really took must have come in, whatever the machine does.
const OVERLOAD_MIN: f64 = 8.0;

/// Events before the overload: one of each user, so that all sessions are open then.
const WARM: u64 = 1_000;

/// Slow commits that the warm-up may take.
const WARM_COMMITS: u64 = 8;

/// What memory may lie above the warm service while the lag grows: the credits and what is
/// pulled ahead, the caches of the store, the allocator's.
const BYTES_PEAK_MAX: u64 = 48 << 20;

/// What an event may cost once it is counted: its id is remembered.
const BYTES_ID_MAX: u64 = 64;

/// What memory may grow by in the second half of the overload, while the lag doubles.
const BYTES_DRIFT_MAX: u64 = 16 << 20;

/// Longest answer of `/livez`, beyond what the machine itself takes: the same question is put
/// to a thread that does nothing else, and other processes may keep that waiting too.
const LIVEZ_MAX: Duration = Duration::from_millis(100);

/// Distance between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Messages under way at once.
const WINDOW: usize = 250;

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    rss: u64,
    lag: u64,
    applied: u64,
}

#[test]
fn f_l1_ten_times_too_much_is_a_lag_and_nothing_else() {
    let seconds = seconds();
    let broker = Broker::start();
    let js = Js::connect(&broker.url());
    js.make_stream(&Config {
        name: "EVENTS".into(),
        subjects: vec!["events.>".into()],
        ..Config::default()
    });
    let mut random = Random::seeded("f_l1");
    let offered = OFFERED * seconds;
    let messages = messages(WARM + offered, &mut random);
    let (warm, load) = messages.split_at(WARM as usize);

    let folder = Folder::default();
    let slow = WARM_COMMITS + seconds * 1_000 / COMMIT_MS;
    let points = format!("before_commit={slow}*sleep({COMMIT_MS})->off");
    let server = folder.serve(&config(&broker.url())).env("FAILPOINTS", &points).start();
    js.publish("events.test", warm, WINDOW);
    let pipeline = server.wait_settled(WARM);
    assert_eq!(pipeline["applied"], WARM, "{pipeline}");
    let base = server.rss();
    let (livez, ended) = ask_livez(&server);

    let work = load.to_vec();
    let url = broker.url();
    let publisher = thread::spawn(move || offer(&url, &work));
    let mut samples = Vec::new();
    let watch = Stopwatch::start();
    while watch.elapsed().as_secs() < seconds {
        samples.push(sample(&server, watch.elapsed()));
        pause(LOOK_EVERY);
    }
    let at_end = *samples.last().expect("at least one look");
    let sent_again = publisher.join().expect("everything is published");
    let published = js.info("EVENTS").state.messages;

    drain(&server, WARM + offered, &watch, &mut samples);
    ended.store(true, Ordering::Release);
    let answers = livez.join().expect("livez answers");
    write_curve(&samples);

    let took = at_end.applied - WARM;
    // What fills the credits at the beginning is taken, and says nothing of how fast.
    let overload = offered as f64 / took.saturating_sub(CREDITS).max(1) as f64;
    let most = |samples: &mut dyn Iterator<Item = &Sample>| {
        samples.map(|sample| sample.rss).max().unwrap_or(0).saturating_sub(base)
    };
    let peak = most(&mut samples.iter().filter(|sample| sample.at <= at_end.at));
    let drained = most(&mut samples.iter());
    let worst = |answers: &[Duration]| answers.iter().max().copied().unwrap_or_default();
    let (livez, echo) = (worst(&answers.livez), worst(&answers.echo));
    println!(
        "f_l1: {offered} events in {seconds} s, {took} taken meanwhile (x{overload:.1}), \
         {sent_again} sent again; memory {} MiB + {} MiB at most, + {} MiB once all are counted; lag {} at most, gone after \
         {:.1} s; {} answers of livez, the slowest {livez:?}, where an idle thread's was {echo:?}",
        base >> 20,
        peak >> 20,
        drained >> 20,
        samples.iter().map(|sample| sample.lag).max().unwrap_or(0),
        watch.elapsed().as_secs_f64() - seconds as f64,
        answers.livez.len()
    );
    assert_eq!(published, WARM + offered, "the stream has each event once");
    assert!(overload >= OVERLOAD_MIN, "it took {took} of {offered}: no overload");
    assert!(at_end.lag >= offered / 2, "the board tells the lag: {at_end:?}");
    assert!(peak <= BYTES_PEAK_MAX, "memory grew by {peak} bytes over {base}");
    assert!(drained <= BYTES_PEAK_MAX + offered * BYTES_ID_MAX, "{drained} bytes over {base}");
    assert_flat(&samples, at_end.at);
    // Twice: the server has a thread more to wake.
    assert!(livez <= LIVEZ_MAX + 2 * echo, "livez took {livez:?}, an idle thread {echo:?}");
}

fn seconds() -> u64 {
    let text = std::env::var("TIDEWATCH_OVERLOAD_S").ok();
    text.map_or(SECONDS, |text| text.parse().expect("TIDEWATCH_OVERLOAD_S is a number"))
}

fn config(url: &str) -> String {
    format!(
        "{HOLD}[pipeline]\ncredits = {CREDITS}\nbatch_max = {COMMIT_EVENTS}\n\
         commit_events = {}\ntick = \"100ms\"\n\
         [nats]\nurl = \"{url}\"\n[nats.gateway]\nsubject = \"\"\n\
         [nats.out]\nalerts_stream = \"\"\nincidents_stream = \"\"\ndead_letters_stream = \"\"\nboard_subject = \"\"\n\
         board_bucket = \"\"\nservice = \"\"\n",
        // Far behind, a commit holds twice as many.
        COMMIT_EVENTS / 2
    )
}

fn messages(count: u64, random: &mut Random) -> Vec<(String, Bytes)> {
    let event = |n: u64| {
        let user = format!("u{}", if n < WARM { n } else { random.below(WARM) });
        let event = Event::new(format!("e{n}"), 1_763_800_000_000 + n as i64, "page_view", user);
        (event.id.clone(), Bytes::from(event.line()))
    };
    (0..count).map(event).collect()
}

/// Publishes at the rate that is offered; returns how many messages were sent again.
fn offer(url: &str, messages: &[(String, Bytes)]) -> u64 {
    let js = Js::connect(url);
    let watch = Stopwatch::start();
    let mut again = 0;
    for (number, part) in messages.chunks(WINDOW).enumerate() {
        let due = Duration::from_micros((number * WINDOW) as u64 * 1_000_000 / OFFERED);
        pause(due.saturating_sub(watch.elapsed()));
        again += js.publish("events.test", part, WINDOW);
    }
    again
}

fn sample(server: &Server, at: Duration) -> Sample {
    let pipeline = server.pipeline();
    let count = |name: &str| pipeline[name].as_u64().unwrap_or(0);
    Sample { at, rss: server.rss(), lag: count("lag_events"), applied: count("applied") }
}

/// Waits until everything is counted, looking at the memory on the way.
fn drain(server: &Server, events: u64, watch: &Stopwatch, samples: &mut Vec<Sample>) {
    until(180, &format!("all {events} events are applied"), || {
        let sample = sample(server, watch.elapsed());
        samples.push(sample);
        (sample.applied >= events).then_some(())
    });
    let pipeline = server.wait_settled(events);
    assert_eq!(pipeline["applied"], events, "{pipeline}");
    assert_eq!(pipeline["duplicate"], 0, "{pipeline}");
    assert_eq!(pipeline["balanced"], true, "{pipeline}");
    assert_eq!(pipeline["lag_events"], 0, "{pipeline}");
}

/// How long each answer of `/livez` took, and each of a thread that does nothing else.
#[derive(Default)]
struct Answers {
    livez: Vec<Duration>,
    echo: Vec<Duration>,
}

/// Asks ten times a second until told to end.
fn ask_livez(server: &Server) -> (thread::JoinHandle<Answers>, Arc<AtomicBool>) {
    let (url, http, mut echo) = (server.at("livez"), Http::default(), echo());
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    let asking = thread::spawn(move || {
        let mut answers = Answers::default();
        while !told.load(Ordering::Acquire) {
            let watch = Stopwatch::start();
            assert_eq!(http.get(&url).status, 200);
            answers.livez.push(watch.elapsed());
            let watch = Stopwatch::start();
            echo.write_all(b"?").unwrap();
            echo.read_exact(&mut [0]).unwrap();
            answers.echo.push(watch.elapsed());
            pause(LOOK_EVERY);
        }
        answers
    });
    (asking, ended)
}

/// A connection to a thread that says what it hears; it ends with the connection.
fn echo() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let asking = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut answering, _) = listener.accept().unwrap();
    thread::spawn(move || {
        let mut byte = [0];
        while answering.read_exact(&mut byte).and_then(|()| answering.write_all(&byte)).is_ok() {}
    });
    asking
}

/// Memory in the last quarter of the overload against the second one.
fn assert_flat(samples: &[Sample], end: Duration) {
    let most = |from: f64, to: f64| {
        let within = samples
            .iter()
            .filter(|sample| sample.at >= end.mul_f64(from) && sample.at <= end.mul_f64(to));
        within.map(|sample| sample.rss).max().expect("looks in each quarter")
    };
    let (before, after) = (most(0.25, 0.5), most(0.75, 1.0));
    assert!(
        after <= before + BYTES_DRIFT_MAX,
        "memory grows with the lag: {before} bytes, later {after}"
    );
}

fn write_curve(samples: &[Sample]) {
    let Ok(path) = std::env::var("TIDEWATCH_OVERLOAD_CSV") else { return };
    let mut text = String::from("seconds,rss_bytes,lag_events,applied\n");
    for Sample { at, rss, lag, applied } in samples {
        let _ = writeln!(text, "{:.1},{rss},{lag},{applied}", at.as_secs_f64());
    }
    std::fs::write(&path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
}
