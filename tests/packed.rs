//! Shows that an event is an event however it is packed: arrays in a line of NDJSON, in a
//! file, in an entry of an older log. Each counts on its own against every bound, and what
//! holds too many is refused or is one dead letter, before anything is made of its events.
//!
//! How: the real binary; the same events packed at random must give the same numbers as one
//! by one, whatever the credits, batches and shards.

mod support;

use bytes::Bytes;
use serde_json::{Value, json};
use tidewatch::actors::ports::EventLog;
use tidewatch::clock::SystemClock;
use tidewatch::store::folder::Folder as DataFolder;
use tidewatch::store::log::{EmbeddedLog, Settings};

use support::events::{Event, Random};
use support::{Folder, HOLD};

/// 2023-11-14, a time like any other.
const START: i64 = 1_700_000_000_000;

fn event(n: usize) -> String {
    Event::new(format!("e{n}"), START + n as i64 * 900, "cart_add", format!("u{}", n % 17)).line()
}

/// Events one by one, and the same packed at random: arrays, arrays in arrays, lines.
fn packed(events: &[String], random: &mut Random) -> String {
    let mut text = String::new();
    let mut rest = events;
    while !rest.is_empty() {
        let (pack, after) = rest.split_at((1 + random.below(12) as usize).min(rest.len()));
        rest = after;
        match random.below(3) {
            0 => pack.iter().for_each(|event| text += &format!("{event}\n")),
            1 => text += &format!("[{}]\n", pack.join(" , ")),
            _ => text += &format!("[[{}],[]]\n", pack.join(",")),
        }
    }
    text
}

#[test]
fn the_packing_changes_no_number_whatever_the_credits() {
    let mut random = Random::seeded("packed");
    let folder = Folder::default();
    let mut events: Vec<String> = (0..600).map(event).collect();
    events[77] = json!({"ts": START, "user": "no type"}).to_string();
    events[78] = events[70].clone();
    let plain = folder.write("plain.ndjson", events.join("\n"));
    let pack = folder.write("packed.ndjson", packed(&events, &mut random));
    let report = |file: &str, config: &str, shards: &str, batch: &str| {
        let config = folder.write("c.toml", config);
        let args = ["replay", file, "--config", &config, "--shards", shards, "--batch", batch];
        let run = folder.command(&args).args(&["--json", "--raw-order"]).run();
        assert!(!run.stderr.contains("others may enter"), "{}", run.stderr);
        let report = run.json();
        (report["ledger"].clone(), report["sessions"].clone(), report["occurrences"].clone())
    };
    let wanted = report(&plain, "", "2", "1000");
    assert_eq!((&wanted.0["applied"], &wanted.0["duplicate"]), (&json!(598), &json!(1)));
    let tight = "[pipeline]\ncredits = 4\ncommit_events = 2\ncommit_interval = \"10ms\"\n";
    let bytes = "[pipeline]\ncommit_bytes = \"64KiB\"\n";
    for (config, shards, batch) in [("", "1", "7"), (tight, "2", "1"), (bytes, "8", "64")] {
        assert_eq!(report(&pack, config, shards, batch), wanted, "{config} {shards} {batch}");
    }
}

#[test]
fn a_body_is_counted_event_by_event_before_anything_of_it_is_taken() {
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}[web]\nevents_max = 50\n")).start();
    let post = |body: &str| {
        let headers = [("Content-Type", "application/x-ndjson")];
        server.http.post(&server.at("v1/events"), &headers, body.as_bytes())
    };
    let line = |from: usize, to: usize| {
        format!("[{}]\n", (from..to).map(event).collect::<Vec<_>>().join(","))
    };
    let answer = post(&format!("{}{}{}", event(0) + "\n", line(1, 30), line(30, 51)));
    assert_eq!(answer.status, 413, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(server.pipeline()["received"], 0);

    let answer = post(&format!("{}\n{}[{{}},{{}}]\n{}", event(0), line(1, 30), line(30, 48)));
    let body = answer.json();
    assert_eq!((answer.status, &body["accepted"], &body["rejected"]), (202, &json!(48), &json!(2)));
    assert_eq!(body["last"], 50, "an event is an item of the log: {body}");
    let verdicts = body["verdicts"].as_array().unwrap().iter();
    let refused = verdicts.filter(|verdict| verdict["ok"] == false);
    let indexes: Vec<&Value> = refused.map(|verdict| &verdict["index"]).collect();
    assert_eq!(indexes, [30, 31], "{body}");
    let pipeline = server.wait_settled(50);
    assert_eq!((&pipeline["applied"], &pipeline["rejected"]), (&json!(48), &json!(2)));
}

#[test]
fn an_entry_of_an_older_log_that_holds_far_too_many_makes_no_start_fail() {
    let folder = Folder::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    {
        let data = DataFolder::open(&folder.data()).unwrap();
        let log = EmbeddedLog::open(&data, SystemClock::shared(), Settings::default()).unwrap();
        let mut bomb = b"[".to_vec();
        bomb.extend(b"{},".repeat(3_000_000));
        bomb.extend(b"{}]");
        let fine = format!("[{},{}]", event(1), event(2));
        let entries = [Bytes::from(event(0)), Bytes::from(bomb), fine.into(), event(3).into()];
        runtime.block_on(log.append(entries.to_vec())).unwrap();
    }
    let mut server = folder.serve(HOLD).start();
    let pipeline = server.wait_settled(5);
    assert_eq!((&pipeline["applied"], &pipeline["rejected"]), (&json!(4), &json!(1)));
    assert_eq!(pipeline["balanced"], true, "{pipeline}");
    let letters = server.get("v1/dead-letters");
    assert!(letters.to_string().contains("more than 100000 events in one item"));
    assert!(server.stop().success());
    // And the next start has nothing to do with it any more.
    let server = folder.serve(HOLD).start();
    assert_eq!(server.wait_settled(5)["rejected"], 1);
}
