//! Shows that the numbers are right to the unit: replays of event sets equal their true
//! numbers, and stay the same for every batch size, number of shards, shuffled arrival
//! within the lateness, and from run to run.
//!
//! How: runs the real binary's `replay` on the raw files with the maps under
//! `tests/fixtures/maps`, reads its report and its two output files, and compares with
//! numbers computed in the plainest way (`support/oracle.rs`), and for published sets with
//! each set's `truth.json` (made by another program in another language). Where the
//! published sets are absent, their tests are counted as skipped.

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use support::events::{Event, Random};
use support::sets::{MADE, PUBLISHED, Set, sha256};
use support::{Folder, oracle, until};

const PLAIN: &str = "";
const MANY_COMMITS: &str = "[pipeline]\ncommit_events = 2000\ncommit_interval = \"10ms\"\n";
const SINCE_ENTRY: &str = "[session]\ndeadline = \"since_entry\"\n";

/// The made shop, then the published one.
#[test]
fn a_shop_equals_its_truth() {
    check_all(&Set::made("shop"));
}

#[test]
fn the_published_shop_equals_its_truth() {
    if let Some(set) = Set::published("simple-shop") {
        check_all(&set);
    }
}

#[test]
fn histories_in_nested_json_equal_their_truth() {
    check_all(&Set::made("histories"));
}

#[test]
fn published_histories_in_nested_json_equal_their_truth() {
    if let Some(set) = Set::published("otto-sample") {
        check_all(&set);
    }
}

/// Here a gap of exactly 30 minutes occurs, one event is 74 days older than the rest, and
/// the files are not in the order of time.
#[test]
fn a_marketplace_out_of_order_equals_its_truth() {
    check_all(&Set::made("marketplace"));
}

#[test]
fn the_published_marketplace_out_of_order_equals_its_truth() {
    if let Some(set) = Set::published("taobao-users") {
        check_all(&set);
    }
}

/// Here equal rows occur that are different events.
#[test]
fn a_web_server_log_equals_its_truth_error_by_error() {
    check_errors(&Set::made("web-log"));
}

#[test]
fn the_published_web_server_log_equals_its_truth_error_by_error() {
    if let Some(set) = Set::published("nasa-http-19950801") {
        check_errors(&set);
    }
}

/// The numbers of the made sets are as good as the oracle that makes them.
#[test]
fn the_oracle_agrees_with_published_numbers() {
    for name in PUBLISHED {
        let Some(set) = Set::published(name) else { continue };
        agrees(&oracle::truth(&set.events()), &set.truth, name);
    }
}

/// Everything that `ours` says stands in `theirs` too; a rate to six decimals.
fn agrees(ours: &Value, theirs: &Value, what: &str) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(_)) => {
            for (name, value) in ours {
                agrees(value, &theirs[name], &format!("{what}.{name}"));
            }
        }
        (Value::Number(ours), Value::Number(theirs)) if !ours.is_u64() => {
            let difference = ours.as_f64().unwrap() - theirs.as_f64().unwrap();
            assert!(difference.abs() < 1e-6, "{what}: {ours} instead of {theirs}");
        }
        _ => assert_eq!(ours, theirs, "{what}"),
    }
}

fn check_all(set: &Set) {
    check_sessions(set);
    check_since_entry(set);
}

fn check_errors(set: &Set) {
    let replay = check_sessions(set);
    let truth = &set.truth["codes"];
    let total = replay.report["metrics"]["errors_by_region_status"]["sum"].as_f64();
    assert_eq!(total, truth["errors"].as_f64(), "errors in all");
    let cells: Vec<_> = replay
        .windows("errors_by_region_status")
        .into_iter()
        .map(|window| {
            let status = window.group.rsplit('|').next().unwrap().to_string();
            (window.end - 1000, status, window.value)
        })
        .collect();
    for (status, count) in truth["errors_by_code"].as_object().unwrap() {
        let ours = cells.iter().filter(|cell| cell.1 == *status).map(|cell| cell.2).sum::<u64>();
        assert_eq!(Some(ours), count.as_u64(), "errors with status {status}");
    }
    assert_eq!(cells.len() as u64, truth["heatmap_1s"]["error_cells"].as_u64().unwrap());
    let lines = cells.iter().map(|(second, status, n)| format!("{second},{status},{n}"));
    assert_eq!(sha256(lines), truth["heatmap_1s"]["sha256"].as_str().unwrap());
}

#[test]
fn batch_size_and_shards_change_nothing() {
    let set = Set::made("marketplace");
    let first = Replay::of(&set, PLAIN, &["--batch", "1", "--shards", "1"]);
    for batch in ["1", "7", "256", "4096"] {
        for shards in ["1", "2", "3", "8"] {
            let other = Replay::of(&set, PLAIN, &["--batch", batch, "--shards", shards]);
            assert_same(&first, &other, &format!("batch {batch}, {shards} shards"));
        }
    }
    for name in ["shop", "histories", "web-log"] {
        let set = Set::made(name);
        let first = Replay::of(&set, PLAIN, &[]);
        for (batch, shards) in [("1", "8"), ("7", "2"), ("256", "3"), ("4096", "1")] {
            let other = Replay::of(&set, MANY_COMMITS, &["--batch", batch, "--shards", shards]);
            assert_same(&first, &other, &format!("{name}: batch {batch}, {shards} shards"));
        }
    }
}

#[test]
fn since_entry_does_not_depend_on_batches_or_shards() {
    let set = Set::made("marketplace");
    let first = Replay::of(&set, SINCE_ENTRY, &[]);
    for (batch, shards) in [("1", "3"), ("7", "8"), ("256", "1")] {
        let other = Replay::of(&set, SINCE_ENTRY, &["--batch", batch, "--shards", shards]);
        assert_same(&first, &other, &format!("batch {batch}, {shards} shards"));
    }
}

/// An event may come as late as `out_of_orderness` + `allowed_lateness` behind the greatest
/// time seen and still count: once with the defaults, once so wide that whole sessions
/// are begun, split and merged again in between.
#[test]
fn shuffled_arrival_within_the_lateness_changes_nothing() {
    let mut random = Random::seeded("shuffled_arrival");
    let wide = "[time]\nout_of_orderness = \"10m\"\nallowed_lateness = \"1h\"\n";
    for name in MADE {
        let set = Set::made(name);
        let events = set.events();
        for (config, spread) in [(PLAIN, 35_000), (wide, 70 * 60 * 1000)] {
            let folder = Folder::default();
            let file =
                folder.write("shuffled.ndjson", lines(&shuffled(&events, spread, &mut random)));
            let replay = Replay::run(&folder, &[file], config, &["--raw-order", "--shards", "3"]);
            let what = format!("{name} shuffled by up to {spread} ms");
            assert_eq!(replay.report["ledger"]["late"], 0, "{what}");
            assert_eq!(replay.report["ledger"]["applied"], events.len(), "{what}");
            compare_sessions(&replay, &set);
            compare_visitors(&replay, &set);
        }
    }
}

#[test]
fn two_runs_write_the_same_bytes() {
    let set = Set::made("histories");
    for config in [PLAIN, SINCE_ENTRY] {
        let (first, second) = (Replay::of(&set, config, &[]), Replay::of(&set, config, &[]));
        assert_same(&first, &second, "the second run");
        assert_eq!(first.report["metrics"], second.report["metrics"]);
    }
}

/// In the file's own order most events lie far behind an earlier one: they are late, each
/// of them is listed, and the ledger balances.
#[test]
fn raw_order_lists_what_is_late() {
    let set = Set::made("marketplace");
    let mapped = set.truth["input"]["mapped_events"].as_u64().unwrap();
    let replay = Replay::of(&set, PLAIN, &["--raw-order"]);
    let ledger = &replay.report["ledger"];
    let late = ledger["late"].as_u64().unwrap();
    assert!(late > 0 && late < mapped, "{ledger}");
    assert_eq!(ledger["received"], mapped);
    assert_eq!(ledger["applied"].as_u64().unwrap() + late, mapped, "{ledger}");

    let folder = Folder::default();
    let mut args = vec!["replay".to_string()];
    args.extend(set.files());
    args.extend(["--map", &set.map(), "--raw-order", "--hold"].map(String::from));
    args.extend(["--listen", "127.0.0.1:0", "--data-dir"].map(String::from));
    args.push(folder.data().display().to_string());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let server = folder.command(&args).listening();
    let pipeline = server.wait_settled(mapped);
    assert_eq!(pipeline["late"], late);
    assert_eq!(pipeline["balanced"], true);
    // A list over HTTP has at most so many items, the newest first.
    let listed = late.min(1_000);
    let list = until(20, "the late events are listed", || {
        let list = server.get("v1/late?limit=1000")["items"].clone();
        (list.as_array().unwrap().len() as u64 == listed).then_some(list)
    });
    let mut positions: Vec<_> =
        list.as_array().unwrap().iter().map(|item| item["position"].as_u64().unwrap()).collect();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len() as u64, listed, "no event is listed twice");
}

/// What one replay said and wrote.
struct Replay {
    report: Value,
    sessions: String,
    windows: String,
}

/// One line of `--windows-out`.
struct Window {
    end: i64,
    group: String,
    value: u64,
}

impl Replay {
    fn of(set: &Set, config: &str, extra: &[&str]) -> Replay {
        let map = set.map();
        let mut args = vec!["--map", &map];
        args.extend(extra);
        Replay::run(&Folder::default(), &set.files(), config, &args)
    }

    fn run(folder: &Folder, files: &[String], config: &str, extra: &[&str]) -> Replay {
        let config = folder.write("tidewatch.toml", config);
        let (sessions, windows) = (folder.path("sessions.csv"), folder.path("windows.csv"));
        let text = |path: &PathBuf| path.display().to_string();
        let run = folder
            .command(&["replay"])
            .args(files)
            .args(&["--json", "--config", &config, "--data-dir", &text(&folder.data())])
            .args(&["--sessions-out", &text(&sessions), "--windows-out", &text(&windows)])
            .args(extra)
            .run();
        let report = run.json();
        let ledger = &report["ledger"];
        let count = |name: &str| ledger[name].as_u64().unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(
            count("received"),
            count("applied") + count("duplicate") + count("late") + count("rejected"),
            "the ledger balances"
        );
        assert_eq!(count("in_flight"), 0);
        Replay {
            report,
            sessions: fs::read_to_string(sessions).unwrap(),
            windows: fs::read_to_string(windows).unwrap(),
        }
    }

    /// The windows of a metric that hold something, by time and group.
    fn windows(&self, metric: &str) -> Vec<Window> {
        let prefix = format!("{metric},");
        let lines = self.windows.lines().filter_map(|line| line.strip_prefix(&prefix));
        let mut windows: Vec<Window> = lines
            .map(|line| {
                let (end, rest) = line.split_once(',').unwrap();
                let (group, value) = rest.rsplit_once(',').unwrap();
                let value: f64 = value.parse().unwrap();
                assert_eq!(value.fract(), 0.0, "a count: {line}");
                Window { end: end.parse().unwrap(), group: group.into(), value: value as u64 }
            })
            .filter(|window| window.value > 0)
            .collect();
        windows.sort_by(|a, b| (a.end, &a.group).cmp(&(b.end, &b.group)));
        windows
    }
}

fn check_sessions(set: &Set) -> Replay {
    let replay = Replay::of(set, PLAIN, &[]);
    let mapped = &set.truth["input"]["mapped_events"];
    assert_eq!(&replay.report["ledger"]["applied"], mapped, "every event counts");
    assert_eq!(&replay.report["ledger"]["received"], mapped);
    compare_sessions(&replay, set);
    compare_visitors(&replay, set);
    replay
}

fn compare_sessions(replay: &Replay, set: &Set) {
    let (ours, truth) = (&replay.report["sessions"], &set.truth["sessions"]["gt"]);
    let name = set.name;
    assert_eq!(ours["closed"], truth["sessions"], "{name}: sessions");
    assert_eq!(ours["with_entry"], truth["with_cart"], "{name}: with an entry event");
    assert_eq!(ours["abandoned"], truth["abandoned"]["none_in_session"], "{name}: abandoned");
    assert_eq!(ours["converted"], truth["with_cart_and_payment"], "{name}: converted");
    match truth["abandonment_rate"]["none_in_session"].as_f64() {
        Some(rate) => assert!((ours["rate"].as_f64().unwrap() - rate).abs() < 1e-6, "{name}: rate"),
        None => assert!(ours["rate"].is_null(), "{name}: a rate of nothing"),
    }
    assert_eq!(ours["sha256"], truth["sha256"], "{name}: the list of sessions");
    let lines = replay.sessions.lines().map(String::from);
    assert_eq!(sha256(lines), truth["sha256"].as_str().unwrap(), "{name}: --sessions-out");
}

fn compare_visitors(replay: &Replay, set: &Set) {
    let truth = &set.truth["unique_users_5min_every_30s"];
    let windows = replay.windows("unique_visitors");
    assert_eq!(windows.len() as u64, truth["windows"].as_u64().unwrap(), "{}: windows", set.name);
    let greatest = windows.iter().map(|window| window.value).max();
    assert_eq!(greatest, truth["max"]["n"].as_u64(), "{}: greatest window", set.name);
    let lines = windows.iter().map(|window| format!("{},{}", window.end, window.value));
    assert_eq!(sha256(lines), truth["sha256"].as_str().unwrap(), "{}: windows", set.name);
}

/// With `deadline = "since_entry"`: carts by their own timer, whatever else the user does.
/// The truth leaves out those whose timer ends after the last event of the set.
fn check_since_entry(set: &Set) {
    let replay = Replay::of(set, SINCE_ENTRY, &[]);
    let (ours, truth) = (&replay.report["sessions"], &set.truth["cart_timer"]["refresh_gt"]);
    let count = |name: &str| ours[name].as_u64().unwrap_or_else(|| panic!("no {name} in {ours}"));
    let in_time = count("abandoned") - count("abandoned_open_at_end");
    assert_eq!(Some(in_time), truth["abandoned"].as_u64(), "{}: carts abandoned", set.name);
    assert_eq!(ours["converted"], truth["converted"], "{}: carts converted", set.name);
    assert_eq!(ours["abandoned_open_at_end"], truth["pending_at_end"], "{}: pending", set.name);
}

fn assert_same(first: &Replay, other: &Replay, what: &str) {
    assert_eq!(first.report["ledger"], other.report["ledger"], "{what}: ledger");
    assert_eq!(first.report["sessions"], other.report["sessions"], "{what}: sessions");
    assert!(first.sessions == other.sessions, "{what}: --sessions-out differs");
    assert!(first.windows == other.windows, "{what}: --windows-out differs");
}

/// The events in the order in which they arrive when each is under way for a random time
/// below `spread` ms: none is more than that behind the greatest time seen before it.
/// Events of one user at one time keep their order: it says which came first.
fn shuffled(events: &[Event], spread: i64, random: &mut Random) -> Vec<Event> {
    let salt = random.next();
    let arrival = |event: &Event| {
        let mut mix = Random::from_seed(salt ^ event.at as u64);
        let user = event
            .user
            .bytes()
            .fold(0, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut mix = Random::from_seed(mix.next() ^ user);
        event.at + mix.below(spread as u64) as i64
    };
    let mut shuffled = events.to_vec();
    shuffled.sort_by_key(arrival);
    shuffled
}

fn lines(events: &[Event]) -> String {
    events.iter().map(|event| event.line() + "\n").collect()
}
