//! The embedded log: order, grouping, reopening, gaps, bounds, damage, full disks.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use futures_util::future::join_all;
use tidewatch::actors::ports::{
    AppendError, Appended, EventLog as _, Opened, Pull, Resume, Source as _, SourceError,
    StoreError,
};
use tidewatch::domain::hash::fingerprint;
use tidewatch::store::folder::Folder;
use tidewatch::store::log::{EmbeddedLog, History, LogSource, Settings};

use crate::support::{Hand, SmallDisk, until};

fn open(folder: &Folder, settings: Settings) -> EmbeddedLog {
    EmbeddedLog::open(folder, Hand::at(0), settings).unwrap()
}

fn event(n: u64) -> Bytes {
    format!("{{\"n\":{n}}}").into()
}

/// Appends events `from..=to`, in requests of `per`.
async fn append(log: &EmbeddedLog, from: u64, to: u64, per: usize) {
    let events: Vec<Bytes> = (from..=to).map(event).collect();
    for chunk in events.chunks(per) {
        log.append(chunk.to_vec()).await.unwrap();
    }
}

/// Everything from the reading position on: position and event.
async fn drain(source: &mut LogSource, max: usize) -> Vec<(u64, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        match source.pull(max).await.unwrap() {
            Pull::Batch(batch) => {
                assert!(!batch.items.is_empty() && batch.items.len() <= max);
                let items = batch.items.iter();
                read.extend(items.map(|item| (item.position, batch.bytes(item).to_vec())));
            }
            Pull::CaughtUp => return read,
            other => unreachable!("the log is never {other:?}"),
        }
    }
}

/// Goes on after `position`.
async fn go_on(source: &mut LogSource, position: u64) -> Result<Opened, SourceError> {
    source.open(Resume { position, ..Resume::default() }).await
}

/// Whether event `n` is what the log holds at position `n`; another one never is.
async fn holds(source: &mut LogSource, n: u64) -> bool {
    let at = |fingerprint| Resume { position: n, fingerprint, ..Resume::default() };
    let other = source.open(at(fingerprint(&event(n)) + 1)).await;
    assert!(matches!(other, Err(SourceError::Diverged { .. })), "{other:?}");
    source.open(at(fingerprint(&event(n)))).await.is_ok()
}

fn expected(range: std::ops::RangeInclusive<u64>) -> Vec<(u64, Vec<u8>)> {
    range.map(|n| (n, event(n).to_vec())).collect()
}

#[tokio::test]
async fn events_are_read_in_order_from_memory_and_from_the_file() {
    for recent_bytes in [0, 2_000, 1 << 20] {
        for max in [1, 7, 1_000] {
            let dir = tempfile::tempdir().unwrap();
            let folder = Folder::open(dir.path()).unwrap();
            let settings = Settings { recent_bytes, batch_events: 10, ..Settings::default() };
            let log = open(&folder, settings);
            append(&log, 1, 100, 1).await;
            append(&log, 101, 200, 33).await;
            let mut source = log.source().unwrap();
            go_on(&mut source, 0).await.unwrap();
            assert_eq!(source.lag(), Some(200));
            assert_eq!(drain(&mut source, max).await, expected(1..=200));
            assert_eq!(source.lag(), Some(0));
            go_on(&mut source, 57).await.unwrap();
            assert_eq!(drain(&mut source, max).await, expected(58..=200));
        }
    }
}

#[tokio::test]
async fn concurrent_appends_get_positions_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    // A queue of two requests: most of them wait for a place first.
    let log = open(&folder, Settings { queue_bytes: 2_048, ..Settings::default() });
    let asks = (0..200u64).map(|ask| {
        let log = log.clone();
        async move {
            let events = (0..=ask % 5).map(|n| event(ask * 10 + n)).collect();
            (ask, log.append(events).await.unwrap())
        }
    });
    let answers = join_all(asks).await;
    let mut source = log.source().unwrap();
    go_on(&mut source, 0).await.unwrap();
    let read = drain(&mut source, 1_000).await;
    let mut next = answers.clone();
    next.sort_by_key(|(_, appended)| appended.first);
    let mut position = 0;
    for (ask, Appended { first, last }) in next {
        assert_eq!((first, last), (position + 1, position + 1 + ask % 5));
        for at in first..=last {
            assert_eq!(read[at as usize - 1], (at, event(ask * 10 + at - first).to_vec()));
        }
        position = last;
    }
    assert_eq!(read.len() as u64, position);
    assert_eq!(log.last_position(), position);
}

#[tokio::test]
async fn an_empty_append_takes_no_position() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&Folder::open(dir.path()).unwrap(), Settings::default());
    assert_eq!(log.append(Vec::new()).await.unwrap(), Appended { first: 1, last: 0 });
    append(&log, 1, 1, 1).await;
    assert_eq!(log.last_position(), 1);
}

#[tokio::test]
async fn i7_a_reopened_log_goes_on_and_is_the_same_log() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let log = open(&folder, Settings::default());
    append(&log, 1, 10, 4).await;
    let identity = log.identity();
    drop(log);
    let log = open(&folder, Settings::default());
    assert_eq!((log.identity(), log.last_position()), (identity.clone(), 10));
    append(&log, 11, 12, 2).await;
    let mut source = log.source().unwrap();
    assert_eq!(source.open(Resume::default()).await.unwrap().incarnation, identity.incarnation);
    for n in 1..=12 {
        assert!(holds(&mut source, n).await);
    }
    assert!(!holds(&mut source, 13).await);
    go_on(&mut source, 3).await.unwrap();
    assert_eq!(drain(&mut source, 100).await, expected(4..=12));

    let other = tempfile::tempdir().unwrap();
    let other = open(&Folder::open(other.path()).unwrap(), Settings::default());
    assert_ne!(other.identity(), identity);
}

#[tokio::test]
async fn i7_a_log_that_lost_its_tail_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let log = open(&folder, Settings::default());
    append(&log, 1, 10, 10).await;
    drop(log);
    let older = fs::read(dir.path().join("log.db")).unwrap();
    let log = open(&folder, Settings::default());
    append(&log, 11, 15, 5).await;
    drop(log);
    fs::write(dir.path().join("log.db"), older).unwrap();
    let error = EmbeddedLog::open(&folder, Hand::at(0), Settings::default()).err().unwrap();
    assert!(error.to_string().contains("it ends at event 10, and 15 were answered"), "{error}");
    // Somebody decides to go on without them; whoever committed them still knows.
    fs::write(dir.path().join("marks"), "").unwrap();
    let log = open(&folder, Settings::default());
    let mut source = log.source().unwrap();
    assert_eq!((log.last_position(), source.last_position()), (10, 10));
    assert!(!holds(&mut source, 15).await);
    let error = go_on(&mut source, 15).await.unwrap_err();
    assert!(error.to_string().contains("lost its tail"), "{error}");
}

/// A small log with single-event batches, of which most were committed and dropped.
async fn dropped_to(folder: &Folder, committed: u64) -> (EmbeddedLog, u64) {
    let settings = Settings { keep_events: 20, ..Settings::default() };
    let log = open(folder, settings);
    append(&log, 1, 100, 1).await;
    let mut source = log.source().unwrap();
    go_on(&mut source, 0).await.unwrap();
    source.ack(committed);
    append(&log, 101, 101, 1).await;
    let conn = rusqlite::Connection::open(folder.path().join("log.db")).unwrap();
    let oldest = || {
        conn.query_row("SELECT min(first) FROM batches", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    until("retention", || oldest() >= committed.min(82) as i64);
    let oldest = oldest() as u64;
    (log, oldest)
}

#[tokio::test]
async fn who_looks_back_reads_what_is_kept_and_counts_what_leaves_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let settings = Settings { keep_events: 20, ..Settings::default() };
    let log = open(&folder, settings);
    append(&log, 1, 100, 1).await;
    let mut history = History::open(dir.path()).unwrap();
    assert_eq!(history.len(), 100);
    let mut pull = async |max| history.pull(max).await.unwrap();
    let positions = |pull: Pull| match pull {
        Pull::Batch(batch) => batch.items.iter().map(|item| item.position).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(positions(pull(7).await), [1]);
    // What is written after it was opened is not its concern; what is committed may leave.
    let mut source = log.source().unwrap();
    go_on(&mut source, 0).await.unwrap();
    source.ack(95);
    append(&log, 101, 101, 1).await;
    let conn = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    let oldest = || {
        conn.query_row("SELECT min(first) FROM batches", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    until("retention", || oldest() == 82);
    assert!(matches!(pull(7).await, Pull::Gap { from: 2, to: 81 }));
    for position in 82..=100 {
        assert_eq!(positions(pull(7).await), [position]);
    }
    assert!(matches!(pull(7).await, Pull::End));
    assert_eq!(History::open(dir.path()).unwrap().len(), 20);
    // Batches of several events are given out in parts.
    append(&log, 102, 150, 49).await;
    let mut history = History::open(dir.path()).unwrap();
    let mut all = Vec::new();
    loop {
        match history.pull(5).await.unwrap() {
            Pull::Batch(batch) => {
                assert!(batch.items.len() <= 5);
                all.extend(batch.items.iter().map(|i| (i.position, batch.bytes(i).to_vec())));
            }
            Pull::End => break,
            other => panic!("{other:?}"),
        }
    }
    let last = all.last().unwrap().clone();
    assert_eq!(last, (150, event(150).to_vec()));
    assert!(all.iter().all(|(position, bytes)| *bytes == event(*position)));
}

#[tokio::test]
async fn i8_a_gap_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let (log, oldest) = dropped_to(&folder, 95).await;
    assert_eq!(oldest, 82, "20 events are kept");
    let mut source = log.source().unwrap();
    let gap = go_on(&mut source, 5).await.unwrap_err();
    assert!(matches!(gap, SourceError::Gap { from: 6, to: 81, .. }), "{gap}");
    assert!(!holds(&mut source, 5).await);
    go_on(&mut source, 81).await.unwrap();
    assert_eq!(drain(&mut source, 50).await, expected(82..=101));
}

#[tokio::test]
async fn retention_never_drops_what_is_not_committed_nor_the_committed_event_itself() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let (log, oldest) = dropped_to(&folder, 30).await;
    assert_eq!(oldest, 30, "far more than the bound, but it waits for its commit");
    let mut source = log.source().unwrap();
    assert!(holds(&mut source, 30).await);
    go_on(&mut source, 30).await.unwrap();
    assert_eq!(drain(&mut source, 50).await, expected(31..=101));
    // Acknowledging is enough: the log drops what it owes without a further append.
    source.ack(101);
    let conn = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    until("retention after an acknowledgement", || {
        let count = "SELECT count(*) FROM batches";
        conn.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap() == 20
    });
}

#[tokio::test]
async fn i9_the_backlog_has_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let settings = Settings { backlog_max: 10, ..Settings::default() };
    let log = open(&folder, settings.clone());
    let one = |n| {
        let log = log.clone();
        async move { log.append(vec![event(n)]).await }
    };
    let answers = join_all((0..50).map(one)).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    let full = AppendError::Full { backlog: 10, bound: 10 };
    assert_eq!(one(0).await, Err(full));
    assert_eq!(log.backlog(), (10, 10));
    let mut source = log.source().unwrap();
    go_on(&mut source, 0).await.unwrap();
    source.ack(4);
    assert_eq!(log.backlog(), (6, 10));
    assert!(log.append((0..5).map(event).collect()).await.is_err());
    assert!(log.append((0..4).map(event).collect()).await.is_ok());
    drop((source, log));
    let log = open(&folder, settings);
    let mut source = log.source().unwrap();
    go_on(&mut source, 14).await.unwrap();
    assert_eq!(log.backlog(), (0, 10));
}

#[tokio::test]
async fn waiting_ends_when_something_comes() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&Folder::open(dir.path()).unwrap(), Settings::default());
    let mut source = log.source().unwrap();
    go_on(&mut source, 0).await.unwrap();
    assert!(matches!(source.pull(10).await.unwrap(), Pull::CaughtUp));
    {
        // Dropped half-way, and asked again.
        let mut waiting = source.wait();
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
    }
    let (appended, ()) = tokio::join!(log.append(vec![event(1)]), source.wait());
    appended.unwrap();
    source.wait().await;
    assert_eq!(drain(&mut source, 10).await, expected(1..=1));
}

#[tokio::test]
async fn events_of_different_arrival_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let clock = Hand::at(1_000);
    let log = EmbeddedLog::open(&folder, clock.clone(), Settings::default()).unwrap();
    for (n, wall) in [(1, 1_000), (2, 1_049), (3, 1_050), (4, 900), (5, 949)] {
        clock.set(wall);
        append(&log, n, n, 1).await;
    }
    let mut source = log.source().unwrap();
    go_on(&mut source, 0).await.unwrap();
    let mut seen = Vec::new();
    while let Pull::Batch(batch) = source.pull(10).await.unwrap() {
        seen.push((batch.arrived, batch.items.len()));
        let texts: Vec<_> = batch.items.iter().map(|item| batch.bytes(item).to_vec()).collect();
        let wanted = batch.items.iter().map(|item| event(item.position).to_vec());
        assert_eq!(texts, wanted.collect::<Vec<_>>());
    }
    assert_eq!(seen, [(1_000, 2), (1_050, 1), (900, 2)]);
}

fn changed(path: &Path, good: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = good.to_vec();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_log_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let log = open(&folder, Settings::default());
    append(&log, 1, 2_000, 100).await;
    drop(log);
    let path = dir.path().join("log.db");
    let good = fs::read(&path).unwrap();
    for cut in [0, 100, 4_096, 8_192, good.len() - 4_096, good.len() - 1] {
        changed(&path, &good, |bytes| bytes.truncate(cut));
        let error = EmbeddedLog::open(&folder, Hand::at(0), Settings::default()).err().unwrap();
        assert!(matches!(&error, StoreError::Damaged { path, .. } if path.ends_with("log.db")));
        let _ = fs::remove_file(dir.path().join("log.db-wal"));
    }
    let needle = event(1_234);
    let at = good.windows(needle.len()).position(|window| window == &needle[..]).unwrap();
    changed(&path, &good, |bytes| bytes[at + 2] ^= 1);
    let log = open(&folder, Settings::default());
    let mut source = log.source().unwrap();
    go_on(&mut source, 0).await.unwrap();
    let mut read = 0;
    let error = loop {
        match source.pull(100).await {
            Ok(Pull::Batch(batch)) => read += batch.items.len(),
            Ok(_) => panic!("the damage was not noticed"),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(read, 1_200);
    assert!(error.contains("log.db") && error.contains("checksum"), "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_appends_until_there_is_room() {
    let Some(disk) = SmallDisk::mount(16) else { return };
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 6 << 20]).unwrap();
    let folder = Folder::open(&disk.path().join("data")).unwrap();
    let log = open(&folder, Settings::default());
    let big = |n: u8| Bytes::from(vec![b'a' + n % 26; 100_000]);
    let mut kept = 0u64;
    let refused = loop {
        match log.append(vec![big(kept as u8), big(kept as u8 + 1)]).await {
            Ok(appended) => {
                assert_eq!(appended, Appended { first: kept + 1, last: kept + 2 });
                kept = appended.last;
            }
            Err(error) => break error,
        }
        assert!(kept < 200, "the small disk never got full");
    };
    assert!(matches!(refused, AppendError::DiskFull { .. }), "{refused}");
    assert_eq!(log.last_position(), kept);
    fs::remove_file(&ballast).unwrap();
    let appended = log.append(vec![big(kept as u8)]).await.unwrap();
    assert_eq!(appended, Appended { first: kept + 1, last: kept + 1 });
    let mut source = log.source().unwrap();
    go_on(&mut source, 0).await.unwrap();
    let read = drain(&mut source, 10).await;
    assert_eq!(read.len() as u64, kept + 1);
    for (position, bytes) in read {
        assert_eq!(bytes, big(position as u8 - 1));
    }
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let log = Arc::new(open(&folder, Settings::default()));
    let asks = (0..20).map(|n| {
        let log = log.clone();
        async move { log.append(vec![event(n)]).await.unwrap() }
    });
    assert_eq!(join_all(asks).await.len(), 20);
    drop(log);
    // The folder is free at once: the writer has ended.
    drop(folder);
    Folder::open(dir.path()).unwrap();
}

/// A look back begins so that all that arrived from a time on is there, and says by when the rest had
/// arrived; what follows a log stops where it is told to.
#[tokio::test]
async fn a_look_back_begins_at_an_arrival_and_follows_up_to_a_position() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let clock = Hand::at(10_000);
    let log = EmbeddedLog::open(&folder, clock.clone(), Settings::default()).unwrap();
    for n in 1..=20 {
        clock.set(10_000 * n as i64);
        append(&log, n, n, 1).await;
    }
    let from = |cut| {
        let mut history = History::open(dir.path()).unwrap();
        let before = history.begin_at(cut).unwrap();
        (history.next_position(), before)
    };
    assert_eq!(from(None), (1, None));
    assert_eq!(from(Some(10_000)), (1, None), "everything is there");
    assert_eq!(from(Some(10_001)), (1, None));
    assert_eq!(from(Some(50_000)), (4, Some(41_000)), "the fourth had arrived before");
    assert_eq!(from(Some(i64::MAX)), (20, Some(201_000)));
    // Of a log that has lost its beginning nothing is known of it.
    let conn = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    conn.execute("DELETE FROM batches WHERE first < 3", []).unwrap();
    assert_eq!(from(None), (3, Some(31_000)));
    assert_eq!(from(Some(5_000)), (3, Some(31_000)));
    let (upto, follows) = tokio::sync::watch::channel(0);
    let mut source = History::open(dir.path()).unwrap().follow(follows);
    assert!(matches!(source.pull(9).await.unwrap(), Pull::CaughtUp));
    upto.send_replace(4);
    let mut read = Vec::new();
    loop {
        match source.pull(9).await.unwrap() {
            Pull::Batch(batch) => read.extend(batch.items.iter().map(|item| item.position)),
            Pull::CaughtUp => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read, [3, 4]);
    upto.send_replace(5);
    source.wait().await;
    assert!(matches!(source.pull(9).await.unwrap(), Pull::Batch(_)));
}
