//! Shows that kill -9 at any moment costs nothing: every number, every alert and the
//! ledger are right to the unit afterwards (I1, I4, I5, I6).
//!
//! How: posts the events of a shop over HTTP in small batches, with a client that
//! repeats a batch with the same ids until it is accepted, while the real binary is
//! killed at random moments (while it works, while it recovers) and started again on the
//! same folder. What must come out is computed here from the events, in the plainest
//! way. `TIDEWATCH_CRASH_CYCLES` says how often (50), `TIDEWATCH_TEST_SEED` repeats a run.
//! Once more with the process standing still at each point where something becomes durable
//! (F-K2), which random moments seldom meet.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::checks::check;
use support::events::{Event, Random, sessions};
use support::{Folder, HOLD, Poster, Server, Set, Stopwatch, Target, pause, until};

/// Kills, unless `TIDEWATCH_CRASH_CYCLES` says otherwise.
const CYCLES: usize = 50;

/// Longest pause between the batch that a kill waits for and the kill, ms: several commits.
const MOMENT_MS_MAX: u64 = 300;

/// Far enough after the last event to close everything, in ms.
const FLUSH_AFTER: i64 = 86_400_000;

/// Between two batches where the process is to reach a point before everything is published.
const PACE: Duration = Duration::from_millis(10);

/// Quick commits and boards, so that kills fall between and into many of them.
const CONFIG: &str = "[pipeline]\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n";

#[test]
fn killed_at_random_moments_every_number_is_right() {
    let set = Set::made("shop");
    let mut random = Random::seeded("crash");
    let cycles = cycles();
    let mut events = set.events();
    let expected = sessions(&events);
    let truth = &set.truth["sessions"]["gt"];
    assert_eq!(expected.len() as u64, truth["sessions"], "our own count of sessions");
    let end = events.iter().map(|event| event.at).max().unwrap();
    events.push(Event::new("flush", end + FLUSH_AFTER, "page_view", "~flush"));

    let folder = Folder::default();
    let config = format!("{HOLD}{CONFIG}");
    let mut server = folder.serve(&config).start();
    let target = server.target();
    let batches = batches(&events, cycles, &mut random);
    let progress = Progress::default();
    let publisher = publish(batches.clone(), target.clone(), progress.clone(), Duration::ZERO);

    let mut worst = Duration::ZERO;
    for cycle in 0..cycles {
        progress.wait_for(cycle * batches.len() / (cycles + 1), &publisher);
        pause(Duration::from_millis(random.below(MOMENT_MS_MAX)));
        server.kill_9();
        // Now and then the next start is killed too: recovery must survive it.
        if random.one_in(5) {
            let mut early = folder.serve(&config).spawn();
            pause(Duration::from_millis(random.below(MOMENT_MS_MAX)));
            early.kill_9();
        }
        server = folder.serve(&config).start();
        worst = worst.max(server.age());
        target.set(&server.url);
    }
    let retries = publisher.join().expect("the publisher delivers everything");
    println!("{cycles} kills, {retries} batches sent again, slowest recovery {worst:?}");

    check(&server, &events, &expected, truth);
    // Once more after an orderly stop: what was committed is what was shown.
    assert_eq!(server.stop().code(), Some(0));
    let server = folder.serve(&config).start();
    check(&server, &events, &expected, truth);
}

/// Just before and just after something becomes durable.
const POINTS: [&str; 5] = [
    "log.append.before",
    "log.append.after",
    "store.commit.before",
    "store.commit.after",
    "store.deliver.between",
];

/// Kills at each point.
const TRIALS: usize = 4;

/// Passes of a point before the process stands there, at most.
const PASSES_MAX: u64 = 12;

/// Nothing has moved for that long: it stands at the point.
const STILL: Duration = Duration::from_millis(400);

#[test]
fn f_k2_killed_at_each_point_where_something_becomes_durable() {
    let set = Set::made("shop");
    let mut random = Random::seeded("f_k2");
    let mut events = set.events();
    let expected = sessions(&events);
    let end = events.iter().map(|event| event.at).max().unwrap();
    events.push(Event::new("flush", end + FLUSH_AFTER, "page_view", "~flush"));

    let folder = Folder::default();
    let config = format!("{HOLD}{CONFIG}");
    let server = folder.serve(&config).start();
    let target = server.target();
    let batches = batches(&events, 100, &mut random);
    let progress = Progress::default();
    let publisher = publish(batches.clone(), target.clone(), progress.clone(), PACE);
    drop(server);

    let trials = POINTS.len() * TRIALS;
    let mut stood = 0;
    for trial in 0..trials {
        let point = POINTS[trial % POINTS.len()];
        let passes = random.below(PASSES_MAX);
        let mut server = folder
            .serve(&config)
            .env("FAILPOINTS", &format!("{point}={passes}*off->pause"))
            .listening();
        target.set(&server.url);
        let accepted = || progress.0.0.load(Ordering::Acquire) as f64;
        let still = if point.starts_with("log.") {
            stands_still(&progress, accepted)
        } else {
            stands_still(&progress, || epoch(&server))
        };
        stood += usize::from(still);
        server.kill_9();
        // And on as if nothing had been, to the next point.
        server = folder.serve(&config).start();
        target.set(&server.url);
        progress.wait_for((trial + 1) * batches.len() / (trials + 1), &publisher);
        server.kill_9();
    }
    let server = folder.serve(&config).start();
    target.set(&server.url);
    publisher.join().expect("the publisher delivers everything");
    println!("f_k2: stood still and was killed {stood} times of {trials}");
    assert!(stood * 4 >= trials * 3, "it stood at a point {stood} times only");
    check(&server, &events, &expected, &set.truth["sessions"]["gt"]);
}

/// Waits until a figure no longer moves; false when everything was published before.
fn stands_still(progress: &Progress, figure: impl Fn() -> f64) -> bool {
    let (mut last, mut since) = (figure(), Stopwatch::start());
    until(60, "the process stands at the point", || {
        if progress.0.1.load(Ordering::Acquire) {
            return Some(false);
        }
        let now = figure();
        if now != last {
            (last, since) = (now, Stopwatch::start());
        }
        (since.elapsed() > STILL).then_some(true)
    })
}

/// Number of the last commit.
fn epoch(server: &Server) -> f64 {
    let text = String::from_utf8(server.http.get(&server.at("metrics")).body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix("tidewatch_epoch "));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

fn cycles() -> usize {
    let text = std::env::var("TIDEWATCH_CRASH_CYCLES").ok();
    text.map_or(CYCLES, |text| text.parse().expect("TIDEWATCH_CRASH_CYCLES is a number"))
}

/// Random batches: enough of them that every kill falls among some.
fn batches(events: &[Event], cycles: usize, random: &mut Random) -> Vec<Vec<String>> {
    let largest = (events.len() / (cycles * 10)).clamp(2, 100) as u64 * 2;
    let (mut batches, mut rest) = (Vec::new(), events);
    while !rest.is_empty() {
        let (batch, after) = rest.split_at((1 + random.below(largest) as usize).min(rest.len()));
        batches.push(batch.iter().map(Event::line).collect());
        rest = after;
    }
    batches
}

/// How many batches were accepted.
#[derive(Clone, Default)]
struct Progress(Arc<(AtomicUsize, AtomicBool)>);

impl Progress {
    fn wait_for(&self, batches: usize, publisher: &thread::JoinHandle<u64>) {
        until(300, &format!("{batches} batches are accepted"), || {
            assert!(!publisher.is_finished() || self.0.1.load(Ordering::Acquire), "it gave up");
            (self.0.0.load(Ordering::Acquire) >= batches).then_some(())
        });
    }
}

fn publish(
    batches: Vec<Vec<String>>,
    target: Target,
    progress: Progress,
    pace: Duration,
) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let mut poster = Poster::new(target);
        for batch in &batches {
            let answer = poster.post(batch);
            assert_eq!(answer.status, 202);
            assert_eq!(answer.json()["accepted"], batch.len());
            progress.0.0.fetch_add(1, Ordering::Release);
            pause(pace);
        }
        progress.0.1.store(true, Ordering::Release);
        poster.retries
    })
}
