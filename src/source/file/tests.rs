//! Files of every kind come out as the events they hold, in the order of time, at any
//! batch size and from any position.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::Value;

use super::super::records::USUAL;
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::source::records::CHUNK;

#[path = "../../../tests/support/skip.rs"]
mod skip;

fn settings(files: Vec<PathBuf>) -> Settings {
    Settings {
        files,
        mapping: None,
        encoding: String::new(),
        unpacked_max: 1 << 30,
        keep_going: false,
        raw_order: false,
        schema: Arc::default(),
        out_of_orderness: 0,
        speed: Speed::Max,
    }
}

fn open(settings: &Settings) -> FileSource {
    FileSource::of(settings, SystemClock::shared(), Arc::default()).unwrap()
}

/// Everything that is left of a source, pulled `max` at a time, with positions.
fn drain(source: &mut FileSource, max: usize) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    loop {
        match source.pull_now(max).unwrap() {
            Pull::Batch(batch) => {
                assert!((1..=max).contains(&batch.items.len()));
                assert_eq!(batch.arrived, crate::domain::time::END_OF_TIME);
                all.extend(batch.items.iter().map(|item| {
                    (item.position, String::from_utf8_lossy(batch.bytes(item)).into_owned())
                }));
            }
            Pull::CaughtUp => panic!("a replay at full speed never waits"),
            Pull::End => return all,
            other => panic!("files are never {other:?}"),
        }
    }
}

fn texts(source: &mut FileSource, max: usize) -> Vec<String> {
    drain(source, max).into_iter().map(|(_, text)| text).collect()
}

fn write(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// Published event sets with a program that says what must come out of them. They are
/// not part of the project; without them the tests that need them pass by saying so.
fn event_sets() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");
    let dir =
        std::env::var_os("TIDEWATCH_SHARED_DATA").map_or_else(|| beside.into(), PathBuf::from);
    let found = dir.join("truth.py").is_file();
    if !found {
        skip::skipped(format_args!("no event sets in {}", dir.display()));
    }
    found.then_some(dir)
}

/// (ts, user, type, code) of an event.
fn gist(event: &Value) -> (i64, String, String, Option<i64>) {
    let user = match &event["user"] {
        Value::String(user) => user.clone(),
        other => other.to_string(),
    };
    let kind = event["type"].as_str().unwrap().to_owned();
    (event["ts"].as_i64().unwrap(), user, kind, event["code"].as_i64())
}

#[track_caller]
fn set_comes_out_as_published(set: &str, files: &[&str]) {
    let Some(dir) = event_sets() else { return };
    let mapping =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/maps/{set}.toml"));
    let mapping = Mapping::parse(&std::fs::read_to_string(mapping).unwrap()).unwrap();
    let files = files.iter().map(|file| dir.join(set).join(file)).collect();
    for raw_order in [false, true] {
        let mut command = Command::new("python3");
        command.arg(dir.join("truth.py")).arg("emit").arg(dir.join(set));
        if raw_order {
            command.arg("--raw-order");
        }
        let want = command.output().unwrap();
        assert!(want.status.success(), "{}", String::from_utf8_lossy(&want.stderr));
        let mut source = open(&Settings {
            mapping: Some(Arc::new(mapping.clone())),
            raw_order,
            ..settings(Vec::clone(&files))
        });
        let found = texts(&mut source, 1_000);
        let want: Vec<&str> = std::str::from_utf8(&want.stdout).unwrap().lines().collect();
        assert_eq!(found.len(), want.len());
        for (n, (found, want)) in found.iter().zip(want).enumerate() {
            let read = |text| gist(&serde_json::from_str(text).unwrap());
            assert_eq!(read(found), read(want), "event {n}, raw order {raw_order}");
        }
    }
}

#[test]
fn the_simple_shop_comes_out_as_published() {
    set_comes_out_as_published("simple-shop", &["simple-onlineshop.csv.gz"]);
}

#[test]
fn the_otto_sample_comes_out_as_published() {
    set_comes_out_as_published("otto-sample", &["train.jsonl.gz"]);
}

#[test]
fn the_taobao_users_come_out_as_published() {
    let files = ["UserBehavior-tail114.csv.gz", "UserBehavior-head43.csv.gz"];
    set_comes_out_as_published("taobao-users", &files);
}

#[test]
fn the_nasa_requests_come_out_as_published() {
    set_comes_out_as_published("nasa-http-19950801", &["nasa_19950801.tsv.gz"]);
}

#[test]
fn gzip_and_web_logs_are_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"{\"ts\":1,\"type\":\"x\"}\r\n\n{\"ts\":2,\"type\":\"x\"}").unwrap();
    let events = write(dir.path(), "events.gz", &packed.finish().unwrap());
    let log = write(
        dir.path(),
        "access.log",
        b"h - - [01/Jan/1970:00:00:00 +0000] \"GET / HTTP/1.0\" 200 5\nbroken\n",
    );
    assert_eq!(
        texts(&mut open(&settings(vec![events, log])), 10),
        [
            "{\"ts\":0,\"type\":\"http_request\",\"bytes\":5,\"method\":\"GET\",\"path\":\"/\",\"status\":200,\"user\":\"h\"}",
            "broken",
            "{\"ts\":1,\"type\":\"x\"}",
            "{\"ts\":2,\"type\":\"x\"}",
        ]
    );
    let odd = write(dir.path(), "odd", b"a,b\n1,2\n");
    let error = FileSource::of(&settings(vec![odd]), SystemClock::shared(), Arc::default());
    assert!(error.err().unwrap().to_string().contains("tidewatch map FILE"));
    let missing = settings(vec![dir.path().join("missing")]);
    assert!(FileSource::of(&missing, SystemClock::shared(), Arc::default()).is_err());
    let empty = write(dir.path(), "empty", b"");
    assert_eq!(texts(&mut open(&settings(vec![empty])), 10), [""; 0]);
}

#[test]
fn only_more_disorder_than_the_engine_takes_is_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let lines = ["{\"ts\":5}", "{\"ts\":3}", "junk", "{\"ts\":5,\"n\":2}", "{\"ts\":9}"];
    let file = write(dir.path(), "f", lines.join("\n").as_bytes());
    let by =
        |out_of_orderness| open(&Settings { out_of_orderness, ..settings(vec![file.clone()]) });
    let mut as_it_stands = by(2);
    assert!(!as_it_stands.is_sorted());
    assert_eq!(texts(&mut as_it_stands, 2), lines);
    let mut sorted = by(1);
    assert!(sorted.is_sorted());
    assert_eq!(sorted.lag(), Some(5));
    assert_eq!(texts(&mut sorted, 2), [lines[1], lines[2], lines[0], lines[3], lines[4]]);
    assert_eq!(sorted.lag(), Some(0));
    assert_ne!(as_it_stands.identity.incarnation, sorted.identity.incarnation);
}

#[test]
fn a_changed_file_is_another_source() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "f", b"{\"ts\":1}\n{\"ts\":2}\n");
    let first = open(&settings(vec![file.clone()])).identity.clone();
    assert_eq!(open(&settings(vec![file.clone()])).identity.clone(), first);
    write(dir.path(), "f", b"{\"ts\":1}\n{\"ts\":3}\n");
    let second = open(&settings(vec![file])).identity.clone();
    assert_eq!(first.name, second.name);
    assert_ne!(first.incarnation, second.incarnation);
}

#[test]
fn a_line_longer_than_a_read_is_one_row() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(CHUNK + 10);
    let content = format!("{{\"ts\":2}}\n{long}\n{{\"ts\":1}}\n");
    let file = write(dir.path(), "f", content.as_bytes());
    for raw_order in [true, false] {
        let mut source = open(&Settings { raw_order, ..settings(vec![file.clone()]) });
        let mut lengths: Vec<usize> = texts(&mut source, 10).iter().map(String::len).collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [8, 8, 4_096], "one row, cut down to its beginning");
    }
}

/// Longer than the usual read, and still a line of a file that is read as it stands.
#[test]
fn a_line_longer_than_the_usual_read_is_one_row() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{{\"ts\":3,\"x\":\"{}\"}}", "x".repeat(USUAL + 10));
    for end in ["\n", ""] {
        let content = format!("{{\"ts\":2}}\n{long}\n{{\"ts\":3}}\n{long}{end}");
        let file = write(dir.path(), "f", content.as_bytes());
        let mut source = open(&settings(vec![file]));
        let report = source.origin().reports().next().map(|report| report.format.clone());
        assert_eq!(report.as_deref(), Some("ndjson"));
        assert_eq!(texts(&mut source, 10), ["{\"ts\":2}", &long, "{\"ts\":3}", &long]);
    }
}

#[test]
fn a_paced_replay_waits_for_the_next_event() {
    struct Stopped(AtomicI64);
    impl Clock for Stopped {
        fn wall(&self) -> EpochMs {
            self.elapsed()
        }
        fn elapsed(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file =
        write(dir.path(), "f", b"{\"ts\":5000}\n{\"ts\":4000}\n{\"ts\":65000}\n{\"ts\":65060}\n");
    let clock = Arc::new(Stopped(AtomicI64::new(100)));
    let settings = Settings { raw_order: true, speed: Speed::Factor(60.0), ..settings(vec![file]) };
    let mut source =
        FileSource::of(&settings, Arc::<Stopped>::clone(&clock), Arc::default()).unwrap();
    let mut pulled_at = |elapsed| {
        clock.0.store(elapsed, Ordering::Relaxed);
        match source.pull_now(10).unwrap() {
            Pull::Batch(batch) => batch.items.len() as i64,
            Pull::CaughtUp => {
                -source.pace.as_ref().unwrap().rest().as_millis().try_into().unwrap_or(0)
            }
            Pull::End => 99,
            other => panic!("files are never {other:?}"),
        }
    };
    assert_eq!(pulled_at(100), 2);
    assert_eq!(pulled_at(400), -700);
    assert_eq!(pulled_at(1_099), -1);
    assert_eq!(pulled_at(1_100), 1);
    assert_eq!(pulled_at(1_101), 1);
    assert_eq!(pulled_at(1_101), 99);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Positions and what `open` compares agree, whatever the batches, sorted or not.
    #[test]
    fn any_position_can_be_gone_on_from(
        times in prop::collection::vec(0i64..50, 1..80),
        max in 1usize..90,
        cut in 0usize..80,
        raw_order: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let line = |(n, ts): (usize, &i64)| format!("{{\"n\":{n},\"ts\":{ts}}}\n");
        let lines: Vec<String> = times.iter().enumerate().map(line).collect();
        let (a, b) = lines.split_at(cut.min(lines.len()));
        let files = vec![
            write(dir.path(), "a", a.concat().as_bytes()),
            write(dir.path(), "b", b.concat().as_bytes()),
        ];
        let mut want = lines.clone();
        if !raw_order {
            let mut times = TimeOf::new(&Schema::default());
            want.sort_by_cached_key(|line| times.of(line.as_bytes()));
        }
        let want: Vec<(u64, String)> =
            (1..).zip(want.iter().map(|line| line.trim_end().to_owned())).collect();
        let settings = Settings { raw_order, ..settings(files) };
        prop_assert_eq!(&drain(&mut open(&settings), max), &want);

        let from = cut.min(lines.len());
        let mut source = open(&settings);
        for (position, text) in &want {
            let fingerprint = hash::fingerprint(text.as_bytes());
            let resume = |fingerprint| Resume { position: *position, fingerprint, ..Resume::default() };
            source.go_on(&resume(fingerprint)).unwrap();
            let error = source.go_on(&resume(fingerprint + 1)).unwrap_err();
            let diverged = matches!(error, SourceError::Diverged { .. });
            prop_assert!(diverged, "{}", error);
        }
        let behind = Resume { position: want.len() as u64 + 1, fingerprint: 1, ..Resume::default() };
        prop_assert!(source.go_on(&behind).is_err());
        let other = Resume { incarnation: Some("another".into()), ..Resume::default() };
        let error = source.go_on(&other).unwrap_err();
        let is_other = matches!(error, SourceError::Other { .. });
        prop_assert!(is_other, "{}", error);
        source.go_on(&Resume { position: from as u64, ..Resume::default() }).unwrap();
        prop_assert_eq!(&drain(&mut source, max)[..], &want[from..]);
    }
}
