//! Shows that an event takes no memory of its own in the steady state: open sessions go on, and
//! from a batch of the source to the metrics nothing is allocated for an event.
//!
//! How: an allocator that counts, around the pipeline in this process. Its source makes batches
//! of events of the same users from memory; what is allocated between two places far apart in it
//! is divided by the events in between. What batches, barriers and commits take is part of it,
//! and vanishes in the number of events.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tidewatch::actors::ports::{BoxFuture, Opened, Pull, Resume, Source, SourceError};
use tidewatch::config::Config;
use tidewatch::domain::event::{RawBatch, RawItem};
use tidewatch::domain::time::END_OF_TIME;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: all of it is done by the system's allocator; counting has no part in it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is handed on as it is.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USERS: usize = 500;
/// Events of one batch of the source.
const BATCH: usize = 2_000;
const BATCHES: u64 = 200;
/// By then everything has been met, and every space has its size.
const WARM: u64 = 60;
const START: i64 = 1_700_000_000_000;

/// Batches of events in time order, a second for each user's round.
struct Memory {
    next: u64,
    warm: Arc<AtomicU64>,
    end: Arc<AtomicU64>,
}

impl Memory {
    fn batch(&self) -> RawBatch {
        let mut data = Vec::with_capacity(BATCH * 128);
        let mut items = Vec::with_capacity(BATCH);
        for n in 0..BATCH {
            let number = self.next as usize * BATCH + n;
            let start = data.len();
            let (at, user) = (START + (number / USERS) as i64 * 1_000, number % USERS);
            let kind = ["page_view", "cart_add"][usize::from(number.is_multiple_of(7))];
            let region = ["eu", "us", "asia"][user % 3];
            std::io::Write::write_fmt(
                &mut data,
                format_args!(
                    r#"{{"id":"e{number}","ts":{at},"type":"{kind}","user":"user-{user}","region":"{region}","amount":12.5}}"#
                ),
            )
            .expect("a Vec takes all of it");
            let (start, len) = (start as u32, (data.len() - start) as u32);
            items.push(RawItem { start, len, position: number as u64 + 1 });
        }
        RawBatch { data: Bytes::from(data), items, arrived: END_OF_TIME, ..RawBatch::default() }
    }
}

impl Source for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn open(&mut self, _: Resume) -> BoxFuture<'_, Result<Opened, SourceError>> {
        let opened = Opened { incarnation: "1".into(), warnings: Vec::new() };
        Box::pin(std::future::ready(Ok(opened)))
    }

    fn pull(&mut self, _: usize) -> BoxFuture<'_, Result<Pull, SourceError>> {
        let now = ALLOCATIONS.load(Ordering::Relaxed);
        if self.next == WARM {
            self.warm.store(now, Ordering::Relaxed);
        }
        if self.next == BATCHES {
            self.end.store(now, Ordering::Relaxed);
            return Box::pin(std::future::ready(Ok(Pull::End)));
        }
        let batch = self.batch();
        self.next += 1;
        Box::pin(std::future::ready(Ok(Pull::Batch(batch))))
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn ack(&mut self, _: u64) {}

    fn lag(&self) -> Option<u64> {
        None
    }
}

/// Commits by events and not by the clock, so that a slow machine counts no more of them.
const CONFIG: &str = r#"
[pipeline]
commit_interval = "1m"
tick = "1m"
[[metric]]
name = "by_region"
aggregate = "count"
group_by = ["region"]
window = { hopping = "1m", slide = "10s" }
[[metric]]
name = "revenue"
where = { type = "cart_add" }
aggregate = "sum"
field = "amount"
window = { tumbling = "1m" }
"#;

#[actix_web::test]
async fn an_event_allocates_nothing_in_the_steady_state() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("tidewatch.toml");
    std::fs::write(&file, CONFIG).expect("the folder is ours");
    let config = Config::load(Some(&file), [], &[]).expect("the configuration is right");
    let (warm, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let source = Memory { next: 0, warm: Arc::clone(&warm), end: Arc::clone(&end) };
    let mut pipeline = tidewatch::Pipeline::builder()
        .config(config)
        .data_dir(folder.path().join("data"))
        .source(Box::new(move |_| Ok(Box::new(source))))
        .start()
        .expect("it starts");
    let numbers = pipeline.ended().await.expect("it runs to the end of its source");
    assert_eq!(numbers.ledger.applied, BATCHES * BATCH as u64);
    let taken = end.load(Ordering::Relaxed) - warm.load(Ordering::Relaxed);
    let each = taken as f64 / ((BATCHES - WARM) * BATCH as u64) as f64;
    println!("{each:.4} allocations for an event");
    assert!(each < 0.05, "{each:.4} allocations for an event");
    pipeline.shutdown().await.expect("it has ended");
}
