//! The contract of a way out, which every sink is run through: whoever is killed, and whatever the
//! other side does, each row is there, with its own key, in order of its first arrival; exactly
//! once where the other side says itself where it stands, and otherwise again with the same key.
//!
//! How: a feed of rows in memory into four sinks: one that can say where it stands, one that
//! cannot and takes rows by halves, a file (the example of `docs/extending.md`), and a stream of a
//! real nats-server. Each feed is killed at
//! random pages after the other side took them and before anybody heard of it, and a next one
//! begins with what the data folder holds. A further sink belongs into this file.

#[path = "sinks/lines.rs"]
mod lines;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidewatch::actors::ports::StoreError;
use tidewatch::actors::status::Status;
use tidewatch::clock::SystemClock;
use tidewatch::nats::link::Link;
use tidewatch::nats::out::{JetRow, JetSink, Target};
use tidewatch::nats::settings::{LinkSettings, OutSettings};
use tidewatch::sink::feed::{Feed, Refused, Terms};
use tidewatch::sink::{Delivery, Fate, OutState, Reached, Resumed, Row, Rows, Sink, Stop, Track};
use tokio::sync::{Notify, watch};

use crate::lines::Lines;
use crate::support::events::Random;
use crate::support::{Broker, until};

/// Rows of a feed, of which `missing` have left the data folder.
struct Kept(Vec<JetRow>);

impl Kept {
    fn rows(count: u64, missing: &[u64]) -> Arc<Kept> {
        let row = |n| JetRow {
            n,
            id: format!("row-{n}"),
            token: "t".into(),
            headers: Vec::new(),
            payload: Bytes::from(vec![b'x'; 20 + (n as usize % 7) * 10]),
            refused: None,
        };
        let there = (1..=count).filter(|n| !missing.contains(n));
        Arc::new(Kept(there.map(row).collect()))
    }

    fn keys(&self) -> Vec<String> {
        self.0.iter().map(|row| row.id.clone()).collect()
    }
}

impl Rows<JetRow> for Kept {
    fn after(&self, n: u64, limit: usize) -> Result<Vec<JetRow>, StoreError> {
        Ok(self.0.iter().filter(|row| row.n > n).take(limit).cloned().collect())
    }

    fn count_after(&self, n: u64) -> Result<u64, StoreError> {
        Ok(self.0.last().map_or(0, |row| row.n).saturating_sub(n))
    }
}

fn terms() -> Terms {
    Terms {
        rows_max: 7,
        bytes_max: 300,
        poll_interval: Duration::from_millis(5),
        retry_max: Duration::from_millis(5),
        tries_max: 1_000,
        refused: Refused::LeaveOut,
    }
}

/// A sink whose process dies: the `lives`th page is taken, and nobody hears of it.
struct Mortal<S> {
    sink: S,
    lives: u32,
    dead: Arc<Notify>,
}

impl<S: Sink> Sink for Mortal<S> {
    type Row = S::Row;

    async fn resume(&mut self) -> Result<Resumed, Stop> {
        self.sink.resume().await
    }

    async fn deliver(&mut self, page: &[S::Row]) -> Delivery {
        let bytes: usize = page.iter().map(Row::bytes).sum();
        assert!(!page.is_empty() && page.len() <= 7 && (bytes <= 300 || page.len() == 1));
        let delivery = self.sink.deliver(page).await;
        self.lives -= 1;
        if self.lives == 0 {
            self.dead.notify_one();
            std::future::pending::<()>().await;
        }
        delivery
    }

    async fn changed(&mut self) {
        self.sink.changed().await;
    }
}

/// One life of a feed. `lives`: after how many pages it is killed. Returns how it stood at its
/// end, `None` when it was killed.
fn live<S: Sink<Row = JetRow>>(
    sink: S,
    lives: u32,
    rows: &Arc<Kept>,
    folder: &Path,
    terms: Terms,
) -> Option<OutState> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let track = Arc::new(Track::new("test", "test", Arc::new(Status::default())));
    let (_stop, stopped) = watch::channel(true);
    let dead = Arc::new(Notify::new());
    let mortal = Mortal { sink, lives, dead: Arc::clone(&dead) };
    let rows = Arc::clone(rows) as Arc<dyn Rows<JetRow>>;
    let feed = Feed::new(mortal, rows, terms, Arc::clone(&track), SystemClock::shared(), stopped);
    let feed = feed.noted(folder, "test");
    let killed = runtime.block_on(async {
        tokio::select! {
            ended = tokio::time::timeout(Duration::from_secs(60), feed.run()) => {
                ended.expect("a feed that is stopped ends once everything is delivered");
                false
            }
            () = dead.notified() => true,
        }
    });
    // Its end waits for what the feed still wrote.
    drop(runtime);
    (!killed).then(|| track.state())
}

/// Runs a sink through lives until one ends by itself. `arrived` are the keys on the other side,
/// in order.
fn contract<S: Sink<Row = JetRow>>(
    mut sink: impl FnMut() -> S,
    arrived: impl Fn() -> Vec<String>,
    expected: &[String],
    rows: &Arc<Kept>,
    once: bool,
    rng: &mut Random,
) {
    let folder = tempfile::tempdir().unwrap();
    let mut kills = 0;
    while live(sink(), 1 + rng.below(5) as u32, rows, folder.path(), terms()).is_none() {
        kills += 1;
        assert!(kills < 2_000, "it gets nowhere");
    }
    assert!(kills > 0, "nobody was killed");
    let arrived = arrived();
    let mut first = Vec::new();
    for key in &arrived {
        if !first.contains(key) {
            first.push(key.clone());
        }
    }
    if once {
        assert_eq!(arrived, expected, "each once, in order");
    } else {
        first.sort_by_key(|key| expected.iter().position(|wanted| wanted == key));
        assert_eq!(first, expected, "nothing is missing, and nothing is of another key");
    }
    // A further start delivers nothing more.
    let state = live(sink(), u32::MAX, rows, folder.path(), terms()).unwrap();
    assert_eq!((state.delivered, state.pending, state.lag), (0, 0, 0), "{state:?}");
}

/// A target in memory.
#[derive(Default)]
struct Memory {
    arrived: Mutex<Vec<(u64, String)>>,
}

impl Memory {
    fn keys(&self) -> Vec<String> {
        self.arrived.lock().iter().map(|(_, key)| key.clone()).collect()
    }

    fn take(&self, row: &JetRow) {
        self.arrived.lock().push((row.n(), row.key().to_owned()));
    }
}

/// Says itself where it stands, takes a part of a page, and fails now and then.
struct Teller {
    memory: Arc<Memory>,
    rng: Random,
}

impl Sink for Teller {
    type Row = JetRow;

    async fn resume(&mut self) -> Result<Resumed, Stop> {
        if self.rng.one_in(10) {
            return Err(Stop::Away("not there".into()));
        }
        let last = self.memory.arrived.lock().last().map(|(n, _)| *n);
        let reached = last.map_or(Reached::Empty, Reached::At);
        Ok(Resumed { reached, identity: "memory".into() })
    }

    async fn deliver(&mut self, page: &[JetRow]) -> Delivery {
        let some = self.rng.below(page.len() as u64 + 1) as usize;
        page[..some].iter().for_each(|row| self.memory.take(row));
        match self.rng.below(4) {
            // Nobody hears what became of them.
            0 => Delivery::stopped(Stop::failed("no answer")),
            1 => Delivery::stopped(Stop::Doubt),
            _ => Delivery::taken(some),
        }
    }
}

/// Cannot say where it stands; takes some rows of a page and not the others; refuses some for
/// good.
struct Blind {
    memory: Arc<Memory>,
    rng: Random,
}

fn never_taken(n: u64) -> bool {
    n.is_multiple_of(13)
}

impl Sink for Blind {
    type Row = JetRow;

    async fn resume(&mut self) -> Result<Resumed, Stop> {
        Ok(Resumed { reached: Reached::Unknown, identity: "memory".into() })
    }

    async fn deliver(&mut self, page: &[JetRow]) -> Delivery {
        let mut rows = Vec::new();
        for row in page {
            rows.push(match self.rng.below(4) {
                _ if never_taken(row.n()) => Fate::Refused("never".into()),
                0 => Fate::Later("busy".into()),
                _ => {
                    self.memory.take(row);
                    Fate::Taken
                }
            });
        }
        let stop = self.rng.one_in(5).then(|| Stop::failed("cut"));
        Delivery { rows, stop }
    }
}

#[test]
fn a_sink_that_says_where_it_stands_gets_each_row_once() {
    let mut rng = Random::seeded("sinks");
    for _ in 0..10 {
        let rows = Kept::rows(50 + rng.below(150), &[3, 4, 20]);
        let memory = Arc::new(Memory::default());
        let mut seeds = Random::from_seed(rng.next());
        let sink = || Teller { memory: Arc::clone(&memory), rng: Random::from_seed(seeds.next()) };
        contract(sink, || memory.keys(), &rows.keys(), &rows, true, &mut rng);
    }
}

#[test]
fn a_sink_that_cannot_say_gets_each_row_and_the_same_key_again() {
    let mut rng = Random::seeded("sinks");
    for _ in 0..10 {
        let rows = Kept::rows(50 + rng.below(150), &[5, 6]);
        let memory = Arc::new(Memory::default());
        let mut seeds = Random::from_seed(rng.next());
        let sink = || Blind { memory: Arc::clone(&memory), rng: Random::from_seed(seeds.next()) };
        let taken = rows.0.iter().filter(|row| !never_taken(row.n)).map(|row| row.id.clone());
        let expected: Vec<_> = taken.collect();
        contract(sink, || memory.keys(), &expected, &rows, false, &mut rng);
    }
}

#[test]
fn a_file_gets_each_row_and_the_same_key_again() {
    let mut rng = Random::seeded("sinks");
    let rows = Kept::rows(50 + rng.below(150), &[5, 6]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alerts.txt");
    let arrived = || std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let sink = || Lines { path: path.clone() };
    contract(sink, arrived, &rows.keys(), &rows, false, &mut rng);
}

#[test]
fn a_stream_gets_each_row_once() {
    let broker = Broker::start();
    let link = Link::open(LinkSettings {
        request_timeout: Duration::from_secs(5),
        ..LinkSettings::to(broker.url())
    });
    let link = link.unwrap();
    until(30, "it is connected", || link.connected().then_some(()));
    let rows = Kept::rows(120, &[7]);
    let target = || Target {
        stream: "ROWS".into(),
        subject: "rows".into(),
        made_for: "rows".into(),
        feed: "f".into(),
        shorten: |_, _| None,
    };
    let settings = Arc::new(OutSettings::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let arrived = || {
        runtime.block_on(async {
            let stream = link.jetstream().get_stream("ROWS").await.unwrap();
            let mut keys = Vec::new();
            for sequence in 1..=stream.cached_info().state.last_sequence {
                let message = stream.get_raw_message(sequence).await.unwrap();
                keys.push(message.headers.get("Nats-Msg-Id").unwrap().to_string());
            }
            keys
        })
    };
    let mut rng = Random::seeded("sinks");
    let sink = || JetSink::new(&link, &settings, target());
    contract(sink, arrived, &rows.keys(), &rows, true, &mut rng);
}

/// Does with each row what it is told to.
struct Scripted<F> {
    memory: Arc<Memory>,
    fate: F,
}

impl<F: FnMut(&JetRow) -> Fate + Send + 'static> Sink for Scripted<F> {
    type Row = JetRow;

    async fn resume(&mut self) -> Result<Resumed, Stop> {
        Ok(Resumed { reached: Reached::Unknown, identity: "memory".into() })
    }

    async fn deliver(&mut self, page: &[JetRow]) -> Delivery {
        let mut rows = Vec::new();
        for row in page {
            let fate = (self.fate)(row);
            if fate == Fate::Taken {
                self.memory.take(row);
            }
            rows.push(fate);
        }
        Delivery { rows, stop: None }
    }
}

#[test]
fn a_row_that_is_never_taken_has_so_many_tries_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, tries) = (Arc::new(Memory::default()), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&tries);
    let fate = move |row: &JetRow| match row.n {
        3 => {
            counted.fetch_add(1, Ordering::SeqCst);
            Fate::Later("busy".into())
        }
        _ => Fate::Taken,
    };
    let rows = Kept::rows(30, &[]);
    let terms = Terms { tries_max: 4, ..terms() };
    let sink = Scripted { memory: Arc::clone(&memory), fate };
    let state = live(sink, u32::MAX, &rows, folder.path(), terms).unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 4);
    assert_eq!((state.delivered, state.left_out, state.skipped), (29, 1, 0), "{state:?}");
    assert!(state.left_out_says.contains("number 3") && state.left_out_says.contains("busy"));
    assert_eq!(memory.arrived.lock().len(), 29, "none of the others came twice");
}

#[test]
fn a_feed_that_halts_leaves_nothing_out_and_goes_on_once_the_row_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory::default());
    let mut tries = 0;
    let fate = move |row: &JetRow| match row.n {
        3 if tries < 5 => {
            tries += 1;
            Fate::Refused("too large".into())
        }
        _ => Fate::Taken,
    };
    let rows = Kept::rows(30, &[]);
    let terms = Terms { rows_max: 1, refused: Refused::Halt, ..terms() };
    let sink = Scripted { memory: Arc::clone(&memory), fate };
    let state = live(sink, u32::MAX, &rows, folder.path(), terms).unwrap();
    assert_eq!((state.delivered, state.left_out), (30, 0), "{state:?}");
    assert_eq!(memory.keys(), rows.keys(), "none went before it");
}

/// Wants to be left alone once.
struct Tired {
    memory: Arc<Memory>,
    asked: Option<Duration>,
}

impl Sink for Tired {
    type Row = JetRow;

    async fn resume(&mut self) -> Result<Resumed, Stop> {
        Ok(Resumed { reached: Reached::Unknown, identity: "memory".into() })
    }

    async fn deliver(&mut self, page: &[JetRow]) -> Delivery {
        match self.asked.take() {
            Some(after) => {
                let stop = Stop::Failed { cause: "429".into(), after: Some(after) };
                Delivery::stopped(stop)
            }
            None => {
                page.iter().for_each(|row| self.memory.take(row));
                Delivery::taken(page.len())
            }
        }
    }
}

#[test]
fn a_sink_is_left_alone_for_as_long_as_it_asks() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory::default());
    let rows = Kept::rows(30, &[]);
    let clock = SystemClock::shared();
    let sink = Tired { memory: Arc::clone(&memory), asked: Some(Duration::from_millis(700)) };
    let state = live(sink, u32::MAX, &rows, folder.path(), terms()).unwrap();
    assert!(clock.elapsed() >= 700, "{} ms", clock.elapsed());
    assert_eq!((state.delivered, memory.keys()), (30, rows.keys()));
}
