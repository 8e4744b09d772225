//! Shows that what goes wrong costs exactly what it must: duplicates, late and poisonous
//! events, panics, a second process, damaged files, a full disk, signals.
//!
//! How: the real binary in a folder of its own; faults are injected into what it is fed,
//! into its files, or by fail points that only test builds have. What must come out is
//! computed here from the events alone.

mod support;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use support::events::{Event, GAP, Random, abandoned_alerts, sessions};
use support::ws::Client;
use support::{Folder, HOLD, Poster, Server, until};

/// Hit inside the session's machine by an entry event whose amount is [`POISON`].
const SESSION_APPLY: &str = "session_apply";
const POISON: i64 = 666;

/// Hit where an aggregator gives a session its turn, by an entry event whose amount is [`DEADLY`].
const SESSION_DIE: &str = "session_die";
const DEADLY: i64 = 667;

/// Hit for every batch that an aggregator takes.
const AGGREGATOR_BATCH: &str = "aggregator_batch";

/// 2023-11-14, a time like any other.
const START: i64 = 1_700_000_000_000;

const DAY: i64 = 86_400_000;

/// A shop's events in time order, each with an id: users come and go.
fn shop(count: usize, random: &mut Random) -> Vec<Event> {
    let kinds = ["page_view", "page_view", "page_view", "cart_add", "payment_completed"];
    (0..count)
        .map(|n| {
            let at = START + n as i64 * 400 + random.below(400) as i64;
            let user = format!("u{}-{}", n / 4000, random.below(150));
            Event::new(format!("e{n}"), at, kinds[random.below(5) as usize], user)
        })
        .collect()
}

/// One event so late that everything before it closes.
fn closing(at: i64) -> Event {
    Event::new("closing", at + DAY, "page_view", "~closing")
}

/// Posts lines in batches of random size.
fn post_all(server: &Server, lines: &[Vec<u8>], random: &mut Random) -> u64 {
    let mut poster = Poster::new(server.target());
    let (mut rest, mut rejected) = (lines, 0);
    while !rest.is_empty() {
        let (batch, after) = rest.split_at((1 + random.below(200) as usize).min(rest.len()));
        let body = poster.post(batch).json();
        let bad = body["rejected"].as_u64().unwrap();
        assert_eq!(body["accepted"].as_u64().unwrap() + bad, batch.len() as u64, "{body}");
        // Those that are accepted with a warning are named as well.
        let verdicts = body["verdicts"].as_array().map_or(&[][..], Vec::as_slice);
        let refused = verdicts.iter().filter(|verdict| verdict["ok"] == false).count();
        assert_eq!(refused as u64, bad, "{body}");
        rejected += bad;
        rest = after;
    }
    assert_eq!(poster.retries, 0, "nothing stands in the way here");
    rejected
}

fn bytes_of(events: &[Event]) -> Vec<Vec<u8>> {
    events.iter().map(|event| event.line().into_bytes()).collect()
}

/// The numbers of a server that was fed `events` and the closing event.
fn assert_sessions(server: &Server, events: &[Event]) {
    let expected = sessions(events);
    let kpi = server.topic("kpi");
    let count = |test: fn(&support::Session) -> bool| expected.iter().filter(|s| test(s)).count();
    assert_eq!(kpi["closed"], expected.len(), "{kpi}");
    assert_eq!(kpi["abandoned"], count(support::Session::abandoned), "{kpi}");
    assert_eq!(kpi["converted"], count(support::Session::converted), "{kpi}");
    let mut alerts: Vec<_> = server
        .all("v1/alerts")
        .iter()
        .filter(|alert| alert["kind"] == "abandoned")
        .map(|alert| {
            (alert["subject"].as_str().unwrap().to_string(), alert["at"].as_i64().unwrap())
        })
        .collect();
    alerts.sort();
    assert!(alerts == abandoned_alerts(&expected), "the alerts of the abandoned sessions");
}

#[test]
fn duplicates_late_and_poisonous_events_are_counted_exactly() {
    const EVENTS: usize = 20_000;
    let mut random = Random::seeded("duplicates_late_and_poison");
    let good = shop(EVENTS, &mut random);
    let (mut lines, mut poison) = (Vec::new(), Vec::new());
    let (mut duplicates, mut late) = (0, BTreeSet::new());
    for (n, event) in good.iter().enumerate() {
        lines.push(event.line().into_bytes());
        if random.one_in(10) {
            let earlier = n - random.below(200.min(n as u64 + 1)) as usize;
            lines.push(good[earlier].line().into_bytes());
            duplicates += 1;
        }
        if n > 0 && random.one_in(100) {
            let id = format!("late{n}");
            lines.push(Event::new(&id, event.at - DAY, "cart_add", "sleeper").line().into_bytes());
            late.insert(id);
        }
        if n % 1000 == 500 {
            let bad = poisonous(n / 1000, event.at);
            lines.push(bad.clone());
            poison.push(bad);
        }
    }
    lines.push(closing(good[EVENTS - 1].at).line().into_bytes());

    let folder = Folder::default();
    let server = folder.serve(HOLD).start();
    post_all(&server, &lines, &mut random);
    let pipeline = server.wait_settled(lines.len() as u64);
    assert_eq!(pipeline["received"], lines.len(), "{pipeline}");
    assert_eq!(pipeline["applied"], EVENTS + 1, "{pipeline}");
    assert_eq!(pipeline["duplicate"], duplicates, "{pipeline}");
    assert_eq!(pipeline["late"], late.len(), "{pipeline}");
    assert_eq!(pipeline["rejected"], poison.len(), "{pipeline}");
    assert_eq!(pipeline["without_id"], 0, "{pipeline}");
    assert_eq!(pipeline["balanced"], true, "{pipeline}");
    assert_sessions(&server, &good);

    let listed = server.get("v1/late?limit=1000")["items"].clone();
    let listed: BTreeSet<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let raw: Value = serde_json::from_str(item["raw"].as_str().unwrap()).unwrap();
            raw["id"].as_str().unwrap().to_string()
        })
        .collect();
    assert_eq!(listed, late, "every late event is listed");

    let letters = server.all("v1/dead-letters");
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for letter in &letters {
        assert!(!letter["reason"].as_str().unwrap().is_empty(), "{letter}");
        assert_eq!(letter["redriven"], Value::Null, "{letter}");
        let raw = server.at(&format!("v1/dead-letters/{}/raw", letter["id"]));
        kept.push(server.http.get(&raw).body);
    }
    kept.sort();
    poison.sort();
    assert!(kept == poison, "the dead letters hold the bytes exactly as they came");
}

/// Lines that are no events, each in its own way.
fn poisonous(n: usize, at: i64) -> Vec<u8> {
    let nested = "[".repeat(200) + &"]".repeat(200);
    match n % 8 {
        0 => format!("{{\"id\":\"p{n}\",\"ts\":{at},\"type\":").into_bytes(),
        1 => {
            format!("{{\"id\":\"p{n}\",\"ts\":\"yesterday\",\"type\":\"cart_add\",\"user\":\"u\"}}")
                .into_bytes()
        }
        2 => {
            let filler = "x".repeat(70_000);
            format!(
                "{{\"id\":\"p{n}\",\"ts\":{at},\"type\":\"a\",\"user\":\"u\",\"x\":\"{filler}\"}}"
            )
            .into_bytes()
        }
        3 => {
            format!("{{\"id\":\"p{n}\",\"ts\":{at},\"type\":\"a\",\"user\":\"u\",\"x\":{nested}}}")
                .into_bytes()
        }
        4 => format!("no json at all {n}").into_bytes(),
        5 => format!("{{\"id\":\"p{n}\",\"type\":\"cart_add\",\"user\":\"u\"}}").into_bytes(),
        // The year 9999 must not move time.
        6 => format!("{{\"id\":\"p{n}\",\"ts\":253402300799000,\"type\":\"a\",\"user\":\"u\"}}")
            .into_bytes(),
        _ => {
            let mut line = format!("{{\"id\":\"p{n}\",\"ts\":{at},\"type\":\"").into_bytes();
            line.extend([0xff, 0xfe]);
            line.extend(b"\",\"user\":\"u\"}");
            line
        }
    }
}

#[test]
fn an_event_that_panics_costs_only_itself() {
    let mut random = Random::seeded("an_event_that_panics");
    let good = shop(2_000, &mut random);
    let mut lines = Vec::new();
    let mut poison = Vec::new();
    for (n, event) in good.iter().enumerate() {
        lines.push(event.line().into_bytes());
        if n % 500 == 250 {
            let bad = worth(format!("poison{n}"), event.at, &event.user, POISON).line();
            lines.push(bad.clone().into_bytes());
            poison.push(bad);
        }
    }
    let last = Event::new("last", good[1_999].at, "cart_add", "watched");
    let bad = worth("poison-last", last.at, "watched", POISON).line();
    let after = Event::new("after", last.at + 1, "page_view", "watched");
    for line in [last.line(), bad.clone(), after.line()] {
        lines.push(line.into_bytes());
    }
    poison.push(bad);

    let folder = Folder::default();
    let server = folder.serve(HOLD).env("FAILPOINTS", &format!("{SESSION_APPLY}=panic")).start();
    post_all(&server, &lines, &mut random);
    let pipeline = server.wait_settled(lines.len() as u64);
    assert_eq!(pipeline["rejected"], poison.len(), "{pipeline}");
    assert_eq!(pipeline["applied"], good.len() + 2, "{pipeline}");
    assert_eq!(pipeline["restarts"], 0, "a session's panic restarts nothing: {pipeline}");

    let view = server.get("v1/sessions/watched");
    assert_eq!(view["sessions"].as_array().unwrap().len(), 1, "{view}");
    assert_eq!(view["sessions"][0]["events"], 2, "the session lives on: {view}");
    let letters = server.all("v1/dead-letters");
    let mut kept: Vec<_> =
        letters.iter().map(|letter| letter["raw"].as_str().unwrap().to_string()).collect();
    kept.sort();
    poison.sort();
    assert_eq!(kept, poison);
    assert!(letters.iter().all(|letter| letter["reason"].as_str().unwrap().contains("panic")));

    let closing = closing(last.at);
    post_all(&server, &bytes_of(std::slice::from_ref(&closing)), &mut random);
    server.wait_settled(lines.len() as u64 + 1);
    let mut all = good;
    all.extend([last, after]);
    assert_sessions(&server, &all);
}

/// The sessions die with their parent, in the middle of a batch: the engine goes on from the last
/// commit and nothing is lost, not even the event.
#[test]
fn a_session_that_dies_with_its_parent_loses_nothing() {
    let folder = Folder::default();
    let server = folder.serve(HOLD).env("FAILPOINTS", &format!("{SESSION_DIE}=1*panic")).start();
    let mut poster = Poster::new(server.target());
    let events = [
        worth("a", START, "watched", 20),
        worth("b", START + 1, "watched", DEADLY),
        worth("c", START + 2, "watched", 22),
        Event::new("d", START + 3, "page_view", "neighbour"),
    ];
    for (n, event) in events.iter().enumerate() {
        poster.post(&[event.line()]);
        server.wait_settled(n as u64 + 1);
    }
    let pipeline = server.pipeline();
    assert_eq!((&pipeline["applied"], &pipeline["rejected"]), (&4.into(), &0.into()), "{pipeline}");
    assert_eq!(pipeline["restarts"], 1, "{pipeline}");
    let view = server.get("v1/sessions/watched");
    assert_eq!(view["sessions"][0]["events"], 3, "{view}");
    assert_eq!(view["sessions"][0]["value"].as_f64(), Some(42.0 + DEADLY as f64), "{view}");
    assert_eq!(server.get("v1/sessions/neighbour")["sessions"][0]["events"], 1);
}

/// An entry event with an amount.
fn worth(id: impl Into<String>, at: i64, user: &str, amount: i64) -> Event {
    let mut event = Event::new(id, at, "cart_add", user);
    event.more.insert("amount".into(), json!(amount));
    event
}

#[test]
fn an_aggregator_that_panics_goes_on_from_the_last_commit() {
    let mut random = Random::seeded("an_aggregator_that_panics");
    let good = shop(4_000, &mut random);
    let folder = Folder::default();
    // So small that there are batches for both panics, however late the events are read.
    let config = format!(
        "{HOLD}[pipeline]\nbatch_max = 100\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n"
    );
    let server = folder
        .serve(&config)
        .env("FAILPOINTS", &format!("{AGGREGATOR_BATCH}=10*off->1*panic->10*off->1*panic->off"))
        .start();
    let mut lines = bytes_of(&good);
    lines.push(closing(good[3_999].at).line().into_bytes());
    let mut page = Client::follow(&server.url, &["pipeline"]);
    let mut poster = Poster::new(server.target());
    for batch in lines.chunks(100) {
        assert_eq!(poster.post(batch).status, 202);
    }
    // One restart may follow the other before there is a board in between.
    page.read_until(30, "the page is told of a restart, and that it is over", |page| {
        let told = |notice: &Value| notice["t"] == "stale" && notice["why"] == "restarting";
        page.notices.iter().any(told) && page.notices.last().is_some_and(|last| last["on"] == false)
    });
    let pipeline = server.wait_pipeline("both restarts, and everything applied", |pipeline| {
        pipeline["restarts"] == 2
            && pipeline["received"].as_u64() >= Some(4_001)
            && pipeline["in_flight"] == 0
    });
    assert_eq!(pipeline["applied"], 4_001, "{pipeline}");
    assert_eq!(pipeline["duplicate"], 0, "what was not committed is read again: {pipeline}");
    assert_eq!(pipeline["rejected"], 0, "{pipeline}");
    assert_eq!(pipeline["balanced"], true, "{pipeline}");
    server.wait_settled(4_001);
    assert_sessions(&server, &good);
}

#[test]
fn a_fault_that_comes_back_ends_the_process_with_its_own_code() {
    let folder = Folder::default();
    let config = format!("{HOLD}[pipeline]\nrestarts_max = 2\n");
    let mut server =
        folder.serve(&config).env("FAILPOINTS", &format!("{AGGREGATOR_BATCH}=panic")).start();
    let line = Event::new("a", START, "page_view", "u").line();
    // Accepted means durable, whatever becomes of the pipeline afterwards.
    assert_eq!(Poster::new(server.target()).post(&[line]).status, 202);
    assert_eq!(server.wait_exit(60).code(), Some(5), "{}", server.stderr());
    assert!(server.stderr().contains("restart"), "it says why: {}", server.stderr());

    let server = folder.serve(&config).start();
    assert_eq!(server.wait_settled(1)["applied"], 1, "the event was not lost");
}

#[test]
fn a_stop_does_not_wait_for_ever_for_its_last_commit() {
    let folder = Folder::default();
    let config = format!("{HOLD}[pipeline]\nstop_timeout = \"1s\"\ntick = \"100ms\"\n");
    let view = |n: i64| Event::new(format!("e{n}"), START + n, "page_view", "u").line();
    let mut server = folder.serve(&config).start();
    assert_eq!(Poster::new(server.target()).post(&[view(0)]).status, 202);
    server.wait_settled(1);
    assert!(server.stop().success(), "{}", server.stderr());

    let mut server = folder.serve(&config).env("FAILPOINTS", "before_commit=pause").start();
    let lines: Vec<String> = (1..5_000).map(view).collect();
    assert_eq!(Poster::new(server.target()).post(&lines).status, 202);
    server.wait_pipeline("all are taken, and their commit stands", |pipeline| {
        pipeline["received"] == 5_000 && pipeline["credits_free"] != pipeline["credits_total"]
    });
    let watch = support::Stopwatch::start();
    server.signal("TERM");
    let status = server.wait_exit(20);
    assert_eq!(status.code(), Some(1), "{}", server.stderr());
    assert!(watch.elapsed().as_millis() >= 1_000, "it waits as long as it may");
    let stderr = server.stderr();
    assert!(stderr.contains("longer than 1000 ms (pipeline.stop_timeout)"), "{stderr}");

    let server = folder.serve(&config).start();
    let pipeline = server.wait_settled(5_000);
    assert_eq!((&pipeline["applied"], &pipeline["duplicate"]), (&5_000.into(), &0.into()));
    assert_eq!(server.get("v1/sessions/u")["sessions"][0]["events"], 5_000);
}

#[test]
fn a_part_that_starts_late_is_not_taken_for_dead() {
    let folder = Folder::default();
    let events: String = (0..400)
        .map(|n| Event::new(format!("e{n}"), START + n * 1_000, "view", format!("u{}", n % 40)))
        .map(|event| event.line() + "\n")
        .collect();
    let events = folder.write("events.ndjson", events);
    let config = folder.write("eager.toml", "[pipeline]\ncommit_events = 1\n");
    for point in ["committer_start", "aggregator_start"] {
        let args =
            ["replay", &events, "--config", &config, "--shards", "8", "--batch", "1", "--json"];
        let run = folder.command(&args).env("FAILPOINTS", &format!("{point}=sleep(400)")).run();
        assert_eq!(run.json()["ledger"]["applied"], 400, "{point}");
    }
}

/// A shard that has just looked into its mailbox when the ingestor sets the last barrier and
/// ends still gets that barrier: nobody waits for it for ever.
#[test]
fn the_last_barrier_reaches_a_shard_that_is_about_to_look_whether_it_is_needed() {
    let folder = Folder::default();
    let event = Event::new("e1", START, "view", "u");
    let events = folder.write("events.ndjson", event.line() + "\n");
    let args = ["replay", &events, "--shards", "4", "--json"];
    let command = folder.command(&args);
    let run = command.env("FAILPOINTS", "aggregator_looked=sleep(600)").run();
    assert_eq!(run.json()["ledger"]["applied"], 1);
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let folder = Folder::default();
    let mut first = folder.serve(HOLD).start();
    let second = folder.serve(HOLD).run();
    assert_eq!(second.code, Some(3), "{}", second.stderr);
    assert!(second.stderr.contains(&first.pid().to_string()), "names the other: {}", second.stderr);
    assert!(second.stderr.contains("--data-dir"), "says what to do: {}", second.stderr);
    assert!(first.running());
    assert_eq!(first.http.get(&first.at("readyz")).status, 200, "the first is not disturbed");
    first.kill_9();
    folder.serve(HOLD).start();
}

/// Whatever bytes are damaged: either the start is refused and the file is named, or the
/// damage was in unused space and every number is as before. Never something in between.
#[test]
fn a_damaged_file_is_named_and_never_believed() {
    let mut random = Random::seeded("a_damaged_file");
    let events = shop(3_000, &mut random);
    let folder = Folder::default();
    let mut server = folder.serve(HOLD).start();
    post_all(&server, &bytes_of(&events), &mut random);
    let before = numbers(&server.wait_settled(3_000));
    assert_eq!(server.stop().code(), Some(0));
    let pristine = folder.path("pristine");
    copy_folder(&folder.data(), &pristine);

    for file in ["state.db", "log.db"] {
        let length = fs::metadata(pristine.join(file)).unwrap().len();
        let mut damages: Vec<(String, Damage)> = vec![
            ("its header".into(), Box::new(|path| overwrite(path, 0, &[0xa5; 100]))),
            ("a truncated half".into(), Box::new(move |path| truncate(path, length / 2))),
            (
                "nothing but zeros".into(),
                Box::new(move |path| {
                    overwrite(path, 0, &vec![0; length as usize]);
                }),
            ),
        ];
        for _ in 0..8 {
            let at = random.below(length);
            damages.push((format!("byte {at}"), Box::new(move |path| flip(path, at))));
        }
        for (what, damage) in damages {
            fs::remove_dir_all(folder.data()).unwrap();
            copy_folder(&pristine, &folder.data());
            damage(&folder.data().join(file));
            let mut server = folder.serve(HOLD).spawn();
            let shown = until(60, "it is ready and shows numbers, or ends", || {
                if server.running() { shown(&mut server).map(Some) } else { Some(None) }
            });
            if let Some(pipeline) = shown {
                assert_eq!(numbers(&pipeline), before, "{file}, {what}: believed and wrong");
                assert!(what.starts_with("byte"), "{file}, {what}: not noticed");
            } else {
                let code = server.wait_exit(10).code();
                assert_eq!(code, Some(4), "{file}, {what}: {}", server.stderr());
                assert!(server.stderr().contains(file), "{what}: {}", server.stderr());
            }
        }
    }
}

/// I7: a log that is gone, or another one, is not an empty log.
#[test]
fn a_log_that_was_lost_is_named() {
    let mut random = Random::seeded("a_log_that_was_lost");
    let folder = Folder::default();
    let mut server = folder.serve(HOLD).start();
    post_all(&server, &bytes_of(&shop(100, &mut random)), &mut random);
    server.wait_settled(100);
    assert_eq!(server.stop().code(), Some(0));
    for entry in fs::read_dir(folder.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("log.db") {
            fs::remove_file(path).unwrap();
        }
    }
    let run = folder.serve(HOLD).run();
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert!(run.stderr.contains("log"), "{}", run.stderr);
}

/// What was answered and not committed yet is not lost in silence when the write-ahead log is
/// damaged: the start is refused with the positions, and goes on when somebody decides so.
#[test]
fn answered_events_that_are_gone_are_named() {
    let mut random = Random::seeded("answered_events");
    let config = format!("{HOLD}[pipeline]\ncommit_interval = \"60s\"\ntick = \"60s\"\n");
    let folder = Folder::default();
    let mut server = folder.serve(&config).start();
    let events = bytes_of(&shop(1_000, &mut random));
    let mut poster = Poster::new(server.target());
    for batch in events.chunks(50) {
        assert_eq!(poster.post(batch).status, 202);
    }
    server.kill_9();
    let wal = folder.data().join("log.db-wal");
    flip(&wal, fs::metadata(&wal).unwrap().len() * 6 / 10);
    let run = folder.serve(&config).run();
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    for words in ["log.db", "and 1000 were answered", "to 1000", "marks"] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    fs::remove_file(folder.data().join("marks")).unwrap();
    let server = folder.serve(HOLD).start();
    let what_is_left = |pipeline: &Value| pipeline["received"].as_u64() > Some(0);
    let pipeline = server.wait_pipeline("what is left is counted", what_is_left);
    assert!(pipeline["received"].as_u64() < Some(1_000), "{pipeline}");
}

#[test]
fn a_data_file_removed_under_the_process_ends_it() {
    for file in ["log.db", "state.db"] {
        let folder = Folder::default();
        let mut server = folder.serve(HOLD).start();
        let event = Event::new("e", START, "page_view", "u");
        assert_eq!(Poster::new(server.target()).post(&[event.line()]).status, 202);
        server.wait_settled(1);
        fs::remove_file(folder.data().join(file)).unwrap();
        assert_eq!(server.wait_exit(30).code(), Some(4), "{}", server.stderr());
        let said = server.stderr();
        assert!(said.contains(file) && said.contains("removed or replaced"), "{said}");
    }
}

type Damage = Box<dyn Fn(&Path)>;

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn truncate(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn flip(path: &Path, at: u64) {
    let byte = fs::read(path).unwrap()[at as usize];
    overwrite(path, at, &[byte ^ 0x10]);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// What a restart must not change.
/// The pipeline topic of a service that may end at any moment, once it is ready.
fn shown(server: &mut Server) -> Option<Value> {
    if !server.listens() {
        return None;
    }
    let get = |path: &str| server.http.try_get(&server.at(path)).ok();
    get("readyz").filter(|answer| answer.status == 200)?;
    let pipeline = get("v1/board")?.json()["topics"]["pipeline"]["d"].clone();
    pipeline["received"].is_number().then_some(pipeline)
}

fn numbers(pipeline: &Value) -> Value {
    let names = ["received", "applied", "duplicate", "late", "rejected", "open_sessions"];
    names.iter().map(|name| (name.to_string(), pipeline[name].clone())).collect()
}

#[test]
fn a_wrong_config_is_refused_with_its_line() {
    let folder = Folder::default();
    let data = folder.data().display().to_string();
    for (text, line, word) in [
        ("[session]\n\ngap = \"half an hour\"\n", 3, "gap"),
        ("[session]\ngape = \"30m\"\n", 2, "gape"),
        ("[time]\nidle = \"sometimes\"\n", 2, "idle"),
        ("[pipeline]\nshards = 0\n", 2, "shards"),
        ("[web]\n\n\nlisten = [\n", 4, "TOML"),
        ("\n[[metric]]\nname = \"a\"\naggregate = \"median of means\"\n", 4, "aggregate"),
    ] {
        let config = folder.write("wrong.toml", text);
        for command in ["serve", "check"] {
            let run = folder.command(&[command, "--config", &config, "--data-dir", &data]).run();
            assert_eq!(run.code, Some(2), "{command} with {text:?}: {}", run.stderr);
            assert!(run.stderr.contains(&format!("wrong.toml:{line}")), "{}", run.stderr);
            assert!(run.stderr.contains(word), "{}", run.stderr);
        }
    }
    assert!(!folder.data().exists(), "a refused start leaves nothing behind");
}

/// A small file system of its own, unmounted in the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Option<SmallDisk> {
        fs::create_dir_all(&path).unwrap();
        let run = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(&path)
            .output()
            .expect("mount runs");
        if !run.status.success() {
            support::skipped(format_args!(
                "no mount here: {}",
                String::from_utf8_lossy(&run.stderr)
            ));
            return None;
        }
        Some(SmallDisk(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still hold files while a failed test unwinds.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_the_intake_and_loses_nothing() {
    const BATCH: usize = 500;
    let folder = Folder::default();
    let Some(disk) = SmallDisk::mount(folder.data()) else { return };
    let mut server = folder.serve(HOLD).start();
    let filler = disk.0.join("filler");
    fs::write(&filler, vec![0; 18 << 20]).unwrap();

    let mut random = Random::seeded("a_full_disk");
    let mut events = shop(200_000, &mut random);
    for event in &mut events {
        event.more.insert("padding".into(), json!("x".repeat(100)));
    }
    let url = server.at("v1/events");
    let post = |batch: &[Event]| {
        let body: String = batch.iter().map(|event| event.line() + "\n").collect();
        server.http.post(&url, &[("content-type", "application/x-ndjson")], body.as_bytes())
    };
    let mut accepted = 0;
    let refusal = loop {
        let batch = &events[accepted..accepted + BATCH];
        let answer = post(batch);
        match answer.status {
            202 => accepted += BATCH,
            _ => break answer,
        }
    };
    assert_eq!(refusal.status, 503, "{refusal:?}");
    assert!(refusal.header("retry-after").is_some(), "{refusal:?}");
    assert!(accepted > 0, "there was room for some");
    assert_eq!(server.http.get(&server.at("livez")).status, 200, "it lives");
    until(30, "readyz says that the disk is full", || {
        let answer = server.http.get(&server.at("readyz?verbose"));
        (answer.status == 503 && String::from_utf8_lossy(&answer.body).contains("disk"))
            .then_some(())
    });

    fs::remove_file(&filler).unwrap();
    let mut poster = Poster::new(server.target());
    let lines = bytes_of(&events[accepted..accepted + BATCH]);
    assert_eq!(poster.post(&lines).status, 202, "it goes on by itself");
    accepted += BATCH;
    until(30, "it is ready again", || {
        (server.http.get(&server.at("readyz")).status == 200).then_some(())
    });
    let pipeline = server.wait_settled(accepted as u64);
    assert_eq!(pipeline["applied"], accepted, "{pipeline}");
    assert_eq!(pipeline["duplicate"], 0, "a refused batch was not kept: {pipeline}");
    assert_eq!(server.stop().code(), Some(0));
    drop(server);

    let mut server = folder.serve(HOLD).start();
    assert_eq!(server.wait_settled(accepted as u64)["applied"], accepted, "after a restart");
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn sigterm_and_ctrl_c_drain_commit_and_say_bye() {
    for signal in ["TERM", "INT"] {
        let mut random = Random::seeded("sigterm_and_ctrl_c");
        let events = shop(2_000, &mut random);
        let folder = Folder::default();
        let mut server = folder.serve(HOLD).start();
        let mut browser = Client::follow(&server.url, &["kpi"]);
        post_all(&server, &bytes_of(&events), &mut random);
        server.signal(signal);
        let watch = support::Stopwatch::start();
        while browser.closed.is_none() && watch.elapsed().as_secs() < 20 {
            browser.read_some();
        }
        assert!(browser.notices.iter().any(|notice| notice["t"] == "bye"), "{:?}", browser.notices);
        assert_eq!(browser.closed.as_ref().map(|closed| closed.0), Some(4000), "{signal}");
        assert_eq!(server.wait_exit(30).code(), Some(0), "{signal}: {}", server.stderr());

        let mut server = folder.serve(HOLD).start();
        let pipeline = server.wait_settled(2_000);
        assert_eq!(pipeline["applied"], 2_000, "{signal}: {pipeline}");
        assert_eq!(pipeline["duplicate"], 0, "{signal}: {pipeline}");
        let last = events.iter().map(|event| event.at).max().unwrap();
        post_all(&server, &bytes_of(&[closing(last + GAP)]), &mut random);
        server.wait_settled(2_001);
        assert_sessions(&server, &events);
        server.stop();
    }
}
