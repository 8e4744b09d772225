//! Shows what the pipeline does with sources of one's own: several are read side by side, and
//! each goes on where the last commit left it, by position, cursor and fingerprint.
//!
//! How: sources in memory, whose partitions come and go and whose answers the test holds back.

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tidewatch::actors::ports::{
    BoxFuture, CURSOR_BYTES_MAX, Opened, Pull, Resume, Source, SourceError,
};
use tidewatch::app::Running;
use tidewatch::config::Config;
use tidewatch::domain::commit::SourceIdentity;
use tidewatch::domain::event::RawBatch;
use tidewatch::domain::time::END_OF_TIME;

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(60);
const START: i64 = 1_700_000_000_000;

/// Few credits, so that barriers fall into batches whose records hold several events.
const CONFIG: &str = r#"
[pipeline]
credits = 128
batch_max = 64
commit_events = 20
[session]
gap = "60s"
[time]
out_of_orderness = "1h"
"#;

/// Partitions as Kafka has them: each with offsets of its own from 0. The source's position
/// counts their records in the order in which they were handed out; its cursor is the next offset
/// of every partition.
struct Partitions {
    partitions: BTreeMap<String, Vec<String>>,
    /// The next offset of each.
    next: BTreeMap<String, usize>,
    /// Of the last batch: position and offsets before it, and its partition.
    last: (u64, String, BTreeMap<String, usize>),
    position: u64,
    seed: u64,
    opened: Arc<Mutex<Vec<Resume>>>,
    /// Pulls before it breaks; without them it ends.
    pulls: Option<u32>,
    /// Spaces behind its cursor.
    cursor_bytes: usize,
}

impl Partitions {
    fn new(partitions: BTreeMap<String, Vec<String>>, seed: u64) -> Self {
        let (next, last) = (BTreeMap::new(), Default::default());
        let opened = Arc::default();
        let (position, pulls, cursor_bytes) = (0, None, 0);
        Partitions { partitions, next, last, position, seed, opened, pulls, cursor_bytes }
    }
}

impl Source for Partitions {
    fn name(&self) -> &str {
        "partitions"
    }

    fn open(&mut self, resume: Resume) -> BoxFuture<'_, Result<Opened, SourceError>> {
        let known = SourceIdentity { name: "partitions".into(), incarnation: "1".into() };
        // Each item is another one, and which it was is not kept.
        let found = || Ok(Some(resume.fingerprint));
        let same = resume.check(&known, found);
        self.position = resume.position;
        self.next = if resume.cursor.is_empty() {
            BTreeMap::new()
        } else {
            serde_json::from_slice(&resume.cursor).expect("it is what was given")
        };
        self.opened.lock().unwrap().push(resume);
        Box::pin(ready(same.map(|()| Opened { incarnation: "1".into(), warnings: Vec::new() })))
    }

    fn pull(&mut self, max: usize) -> BoxFuture<'_, Result<Pull, SourceError>> {
        // Another partition each time, and never the same number of records.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let left = |(name, records): &(&String, &Vec<String>)| {
            self.next.get(*name).copied().unwrap_or(0) < records.len()
        };
        let open: Vec<_> = self.partitions.iter().filter(left).collect();
        self.pulls = self.pulls.map(|pulls| pulls - 1);
        if self.pulls == Some(0) || (open.is_empty() && self.pulls.is_some()) {
            return Box::pin(ready(Err(SourceError::Unfit("it broke".into()))));
        }
        if open.is_empty() {
            return Box::pin(ready(Ok(Pull::End)));
        }
        let (name, records) = open[(self.seed >> 33) as usize % open.len()];
        let many = 1 + (self.seed >> 40) as usize % max;
        let from = self.next.get(name).copied().unwrap_or(0);
        let taken = &records[from..records.len().min(from + many)];
        let batch = RawBatch::of(END_OF_TIME, (self.position + 1..).zip(taken));
        self.last = (self.position, name.clone(), self.next.clone());
        self.position += taken.len() as u64;
        self.next.insert(name.clone(), from + taken.len());
        Box::pin(ready(Ok(Pull::Batch(batch))))
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }

    fn cursor(&self, position: u64) -> Bytes {
        let (before, name, next) = &self.last;
        let mut next = next.clone();
        *next.entry(name.clone()).or_default() += (position - before) as usize;
        let cursor = serde_json::to_vec(&next).expect("a map of numbers");
        [cursor, vec![b' '; self.cursor_bytes]].concat().into()
    }

    fn ack(&mut self, _: u64) {}

    fn lag(&self) -> Option<u64> {
        None
    }
}

/// Records of one partition; several events in one of them now and then.
fn records(name: &str, items: usize) -> Vec<String> {
    let event = |n: usize, part: usize| {
        let at = START + n as i64 * 10;
        format!(r#"{{"id":"{name}-{n}-{part}","ts":{at},"type":"page_view","user":"u{}"}}"#, n % 9)
    };
    let record = |n: usize| match n % 5 {
        0 => format!("[{}]", (0..20).map(|part| event(n, part)).collect::<Vec<_>>().join(",")),
        _ => event(n, 0),
    };
    (0..items).map(record).collect()
}

fn events(records: &[String]) -> u64 {
    records.iter().map(|record| record.matches("\"id\"").count() as u64).sum()
}

fn start(folder: &Path, sources: Vec<Box<dyn Source>>) -> Running {
    let mut config = Config::parse("test.toml", CONFIG).unwrap();
    config.general.data_dir = folder.to_owned();
    let mut builder = tidewatch::Pipeline::builder().config(config);
    for source in sources {
        builder = builder.source(Box::new(move |_| Ok(source)));
    }
    builder.start().unwrap()
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let looked = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("{what} did not come"));
}

/// A source that never answers.
struct Silent;

impl Source for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    fn open(&mut self, _: Resume) -> BoxFuture<'_, Result<Opened, SourceError>> {
        Box::pin(ready(Ok(Opened::default())))
    }

    fn pull(&mut self, _: usize) -> BoxFuture<'_, Result<Pull, SourceError>> {
        Box::pin(pending())
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(pending())
    }

    fn ack(&mut self, _: u64) {}

    fn lag(&self) -> Option<u64> {
        None
    }
}

fn one(items: usize) -> Partitions {
    Partitions::new(BTreeMap::from([("p".to_owned(), records("p", items))]), 1)
}

#[tokio::test]
async fn a_source_that_does_not_answer_delays_no_other_and_holds_time() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), vec![Box::new(Silent), Box::new(one(5_000))]);
    let flow = running.flow();
    // Fewer credits than events: without commits it would stand still.
    until("the end of the other", || {
        flow.sources.lock().get(1).is_some_and(|source| source.position == 5_000)
            && flow.in_flight.load(Ordering::SeqCst) == 0
    })
    .await;
    assert_eq!(flow.sources.lock()[0].position, 0);
    let ledger = running.shutdown().await.unwrap().ledger;
    assert_eq!((ledger.applied, ledger.late), (24_000, 0), "no time has passed");
}

#[tokio::test]
async fn two_sources_of_one_name_and_a_cursor_too_long_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.general.data_dir = dir.path().to_owned();
    let builder = tidewatch::Pipeline::builder().config(config);
    let builder = builder.source(Box::new(|_| Ok(Box::new(one(1)))));
    let error = builder.source(Box::new(|_| Ok(Box::new(one(2))))).start().err().unwrap();
    assert_eq!(error.to_string(), "two sources have the name \"partitions\"");
    let mut long = one(10);
    long.cursor_bytes = CURSOR_BYTES_MAX;
    let error = start(dir.path(), vec![Box::new(long)]).ended().await.unwrap_err().to_string();
    assert!(error.starts_with("partitions notes 65"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// It breaks after some pulls, as often as not with half a batch committed, and comes back
    /// with other partitions, at the last with some that are new: every record counts once.
    #[test]
    fn a_source_of_partitions_goes_on_by_its_cursor(
        sizes in prop::collection::vec(0usize..300, 1..5),
        later in prop::collection::vec(0usize..200, 0..3),
        seed: u64,
        breaks in prop::collection::vec(1u32..40, 0..4),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let part = |(n, size): (usize, &usize)| {
            let name = format!("p{n}");
            (name.clone(), records(&name, *size))
        };
        let mut partitions: BTreeMap<_, _> = sizes.iter().enumerate().map(part).collect();
        partitions.insert("first".into(), records("first", 80));
        runtime.block_on(async {
            for (n, breaks) in breaks.iter().enumerate() {
                let mut source = Partitions::new(partitions.clone(), seed ^ n as u64);
                source.pulls = Some(*breaks);
                let mut running = start(dir.path(), vec![Box::new(source)]);
                running.ended().await.unwrap_err();
            }
            let more = later.iter().enumerate().map(|(n, size)| part((n + 10, size)));
            partitions.extend(more);
            let source = Partitions::new(partitions.clone(), !seed);
            let opened = Arc::clone(&source.opened);
            let mut running = start(dir.path(), vec![Box::new(source)]);
            let ledger = running.ended().await.unwrap().ledger;
            let want: u64 = partitions.values().map(|records| events(records)).sum();
            let found = (ledger.received, ledger.applied, ledger.duplicate);
            prop_assert_eq!(found, (want, want, 0));
            prop_assert_eq!(opened.lock().unwrap().len(), 1, "opened once");
            Ok(())
        })?;
    }
}
