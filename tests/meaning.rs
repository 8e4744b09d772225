//! Shows that nothing of an event that counts loses its meaning in silence: numbers and
//! times in the forms that people's data has are understood, and what is of no use is
//! counted by who needed it and why, exactly, for every number of shards and over kills.
//!
//! How: replays small made-up files and posts to the real binary; what must come out is
//! computed here from the events, in the plainest way.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use support::events::Random;
use support::{Folder, HOLD, Http, Poster, until};

/// One metric of each kind of use.
const METRICS: &str = r#"
[[metric]]
name = "revenue"
aggregate = "sum"
field = "amount"
where = { type = "payment_completed" }
window = { tumbling = "1m" }

[[metric]]
name = "slow"
aggregate = "count"
where = { type = "page_view", latency = { ge = 100 } }
window = { tumbling = "1m" }

[[metric]]
name = "by_region"
aggregate = "count"
where = { type = "payment_completed" }
group_by = ["region"]
window = { tumbling = "1m" }
"#;

/// What is looked for among the events of a key.
const PATTERNS: &str = r#"
[[pattern]]
name = "slow_then_paid"
first = { type = "page_view", latency = { ge = 100 } }
then = { type = "payment_completed" }
within = "1m"
attributes = { region = "last.region" }

[[join]]
name = "pairs"
left = { type = "page_view" }
right = { type = "payment_completed" }
on = ["region"]
within = "1m"

[[sessions]]
name = "quick"
where = { latency = { lt = 1000 } }
entry = { type = "payment_completed" }
value = "amount"
"#;

/// What sessions were worth.
const STAKES: &str = r#"
[[metric]]
name = "stakes"
of = "sessions"
aggregate = "sum"
field = "value"
window = { tumbling = "1m" }
"#;

fn replay(folder: &Folder, events: &[Value], config: &str, extra: &[&str]) -> Value {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let file = folder.write("events.ndjson", lines);
    let config = folder.write("replay.toml", config);
    let data = folder.path("replayed").display().to_string();
    let _ = std::fs::remove_dir_all(&data);
    let run = folder
        .command(&["replay", &file, "--json", "--config", &config, "--data-dir", &data])
        .args(extra)
        .run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.json()
}

/// The faults of a report or a board as (key, reason) to (count, of).
fn faults(unusable: &Value) -> BTreeMap<(String, String), (u64, u64)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let views = unusable.as_array().unwrap().iter();
    views
        .map(|view| {
            let key = (text(&view["key"]), text(&view["reason"]));
            (key, (view["count"].as_u64().unwrap(), view["of"].as_u64().unwrap()))
        })
        .collect()
}

fn at(seconds: i64) -> i64 {
    1_600_000_000_000 + seconds * 1_000
}

#[test]
fn money_as_text_counts_as_the_number_it_says() {
    let event = |id: &str, kind: &str, user: &str, amount: Value| json!({"id": id, "ts": at(0), "type": kind, "user": user, "amount": amount});
    let events = [
        event("1", "cart_add", "a", json!("30.50")),
        event("2", "payment_completed", "a", json!("30.50")),
        event("3", "payment_completed", "b", json!(10)),
        event("4", "cart_add", "c", json!("99.00")),
        event("5", "payment_completed", "d", json!("+.5")),
        event("6", "payment_completed", "d", json!("NULL")),
        event("7", "payment_completed", "d", json!("12,50")),
        event("8", "payment_completed", "d", json!(1e30)),
        event("9", "payment_completed", "d", json!({"value": 1})),
        event("10", "payment_completed", "d", json!(true)),
    ];
    let folder = Folder::default();
    let report = replay(&folder, &events, METRICS, &[]);
    assert_eq!(report["ledger"]["applied"], 10);
    assert_eq!(report["metrics"]["revenue"]["sum"], 41.0);
    let found = faults(&report["unusable"]);
    let field = |reason: &str| found.get(&("metric.revenue.field".into(), reason.into())).copied();
    for reason in ["absent", "text", "out_of_range", "nested", "flag"] {
        assert_eq!(field(reason), Some((1, 8)), "{reason} in {found:?}");
    }
    // Declared, the decimal comma reads as well; what is at stake is worth its text.
    let declared = format!("[events]\nnumbers = {{ amount = \"12,50\" }}\n{METRICS}");
    let report = replay(&folder, &events[6..7], &declared, &[]);
    assert_eq!(report["metrics"]["revenue"]["sum"], 12.5);
    let found = faults(&report["unusable"]);
    assert!(found.keys().all(|(key, _)| key != "metric.revenue.field"), "{found:?}");
    // An entry is worth its text.
    let staked = format!("{METRICS}{STAKES}");
    let report = replay(&folder, &events[3..4], &staked, &[]);
    assert_eq!(report["metrics"]["stakes"]["sum"], 99.0);
}

#[test]
fn nested_attributes_and_other_names_of_the_time_are_found_and_unused_ones_named() {
    let config = r#"
        [events]
        aliases = { "meta.time_ms" = "ts", event = "type", "properties.price" = "amount", cost = "amount" }
        key = "context.id"
        [session]
        entry = ["Product Added"]
        goal = ["Order Completed"]
        steps = []
        segment = ""
        [[metric]]
        name = "value"
        aggregate = "sum"
        field = "items.0.price"
        window = { tumbling = "1m" }
        [[metric]]
        name = "added"
        aggregate = "sum"
        field = "amount"
        window = { tumbling = "1m" }
    "#;
    let event = |seconds: i64| {
        json!({"meta": {"time_ms": at(seconds)}, "event": "Product Added", "context": {"id": "a"},
            "properties": {"price": 12.5}, "items": [{"price": "3.25"}, {"price": 1}]})
    };
    // Far out of order: sorted by the time under its other name none is late.
    let events = [event(18_000), event(0), event(1)];
    let report = replay(&Folder::default(), &events, config, &[]);
    assert_eq!((&report["ledger"]["applied"], &report["ledger"]["late"]), (&json!(3), &json!(0)));
    assert_eq!(report["metrics"]["value"]["sum"], 9.75);
    assert_eq!(report["metrics"]["added"]["sum"], 37.5);
    assert_eq!(report["sessions"]["abandoned"], 2);
    assert_eq!(report["unused_aliases"], json!(["cost"]));
    assert_eq!(report["unusable"], json!([]));
    assert_eq!(report["never_seen"], json!([]));
    let other = json!({"ts": at(0), "type": "x", "context": {"id": "a"}});
    let report = replay(&Folder::default(), &[other], config, &[]);
    assert_eq!(
        report["never_seen"],
        json!(["items.0.price (metric.value.field)", "amount (metric.added.field)"])
    );
}

/// Random events, each with what must be said of it by (key, reason).
fn noisy(random: &mut Random, count: usize) -> Vec<(Value, Vec<(&'static str, &'static str)>)> {
    let one = |random: &mut Random, id: usize| {
        let pays = random.one_in(2);
        let mut said = Vec::new();
        let mut event = json!({"id": id.to_string(), "ts": at(id as i64)});
        event["type"] = json!(if pays { "payment_completed" } else { "page_view" });
        match random.below(4) {
            0 => said.push(("events.key", "absent")),
            user => event["user"] = json!(format!("u{user}")),
        }
        let with_key = !event["user"].is_null();
        let mut amount = None;
        match random.below(6) {
            0 => {
                event["amount"] = json!("free");
                amount = Some("text");
            }
            1 => amount = Some("absent"),
            2 => event["amount"] = json!("2.5"),
            _ => event["amount"] = json!(2.5),
        }
        said.extend(amount.filter(|_| pays).map(|reason| ("metric.revenue.field", reason)));
        match random.below(5) {
            0 => {
                event["latency"] = json!("slow");
                if !pays {
                    said.push(("metric.slow.where", "text"));
                }
                if !pays && with_key {
                    said.push(("pattern.slow_then_paid.first", "text"));
                }
                if with_key {
                    said.push(("sessions.quick.where", "text"));
                }
            }
            1 => event["latency"] = json!("150"),
            2 => event["latency"] = json!(150),
            3 => event["latency"] = json!(50),
            _ => {}
        }
        let belongs = !event["latency"].is_null() && event["latency"] != "slow";
        let amount = amount.filter(|_| pays && with_key && belongs);
        said.extend(amount.map(|reason| ("sessions.quick.value", reason)));
        match random.below(4) {
            0 => {
                event["region"] = json!([1]);
                if pays {
                    said.push(("metric.by_region.group_by", "nested"));
                }
                if with_key {
                    said.push(("session.segment", "nested"));
                    said.push(("join.pairs.on", "nested"));
                }
                if with_key && pays {
                    said.push(("pattern.slow_then_paid.attributes", "nested"));
                }
            }
            1 => {
                if pays {
                    said.push(("metric.by_region.group_by", "absent"));
                }
                if with_key {
                    said.push(("session.segment", "absent"));
                    said.push(("join.pairs.on", "absent"));
                }
            }
            _ => event["region"] = json!("eu"),
        }
        (event, said)
    };
    (0..count).map(|id| one(random, id)).collect()
}

fn expected(events: &[(Value, Vec<(&str, &str)>)]) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for (key, reason) in events.iter().flat_map(|(_, said)| said) {
        *counts.entry((key.to_string(), reason.to_string())).or_default() += 1;
    }
    counts
}

fn counted(unusable: &Value) -> BTreeMap<(String, String), u64> {
    faults(unusable).into_iter().map(|(key, (count, _))| (key, count)).collect()
}

#[test]
fn what_is_of_no_use_is_counted_the_same_for_any_shards_and_batches() {
    let mut random = Random::seeded("meaning");
    let events = noisy(&mut random, 3_000);
    let want = expected(&events);
    assert!(want.len() > 6, "{want:?}");
    let folder = Folder::default();
    let lines: Vec<Value> = events.iter().map(|(event, _)| event.clone()).collect();
    let pays = lines.iter().filter(|event| event["type"] == "payment_completed").count();
    let with_key = lines.iter().filter(|event| !event["user"].is_null()).count();
    for (shards, batch) in [(1, 65_536), (3, 7), (8, 100)] {
        let config =
            format!("[pipeline]\nshards = {shards}\nbatch_max = {batch}\n{METRICS}{PATTERNS}");
        let report = replay(&folder, &lines, &config, &[]);
        assert_eq!(counted(&report["unusable"]), want, "{shards} shards");
        let all = faults(&report["unusable"]);
        let of = |key: &str, reason: &str| all[&(key.to_owned(), reason.to_owned())].1;
        assert_eq!(of("metric.revenue.field", "text"), pays as u64);
        assert_eq!(of("join.pairs.on", "absent"), with_key as u64);
        assert_eq!(of("events.key", "absent"), 3_000);
    }
}

#[test]
fn what_is_of_no_use_is_counted_once_over_kills() {
    let mut random = Random::seeded("meaning-kills");
    let events = noisy(&mut random, 1_200);
    let want = expected(&events);
    let folder = Folder::default();
    let config = format!(
        "{HOLD}[pipeline]\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n{METRICS}{PATTERNS}"
    );
    let mut server = folder.serve(&config).start();
    let mut poster = Poster::new(server.target());
    for (number, batch) in events.chunks(100).enumerate() {
        let lines: Vec<String> = batch.iter().map(|(event, _)| event.to_string()).collect();
        poster.post(&lines);
        if number % 3 == 2 {
            server.kill_9();
            server = folder.serve(&config).start();
            poster = Poster::new(server.target());
        }
    }
    let last = server.wait_settled(events.len() as u64);
    assert_eq!(counted(&last["unusable"]), want);
    // And where the numbers stand.
    let note = &server.get("v1/board")["topics"]["quick"]["about"]["note"];
    let texts = want[&("sessions.quick.where".to_owned(), "text".to_owned())];
    let said = format!("latency text that is not a number in {texts} events");
    assert!(note.to_string().contains(&said), "{said} in {note}");
    let metrics = until(10, "the exported counts", || {
        let answer = Http::default().get(&server.at("metrics"));
        let text = String::from_utf8(answer.body).unwrap();
        text.contains("tidewatch_unusable_total").then_some(text)
    });
    for ((key, reason), count) in &want {
        let line = metrics.lines().find(|line| {
            line.starts_with("tidewatch_unusable_total")
                && line.contains(&format!("use=\"{key}\""))
                && line.contains(&format!("reason=\"{reason}\""))
        });
        let line = line.unwrap_or_else(|| panic!("no {key} {reason} in {metrics}"));
        assert!(line.ends_with(&format!(" {count}")), "{line}, not {count}");
    }
}

/// Milliseconds since the epoch.
fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    since.as_millis() as i64
}

#[test]
fn a_verdict_over_http_agrees_with_what_becomes_of_the_event() {
    let folder = Folder::default();
    let config =
        format!("[pipeline]\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n{METRICS}{PATTERNS}");
    let server = folder.serve(&config).start();
    let post = |events: &Value| {
        let answer = Http::default().post_json(&server.at("v1/events"), events);
        (answer.status, answer.json())
    };
    let ledger = |received: u64| {
        let shown = server.wait_settled(received);
        ["applied", "late", "rejected"].map(|key| shown[key].as_u64().unwrap())
    };
    let now = now();
    let event = |id: &str, ts: Value, amount: Value| {
        json!({"id": id, "ts": ts, "type": "payment_completed", "user": id, "region": "eu",
            "amount": amount})
    };
    // Good, of less worth than it seems, guessed, odd, in the future.
    let (status, receipt) = post(&json!([
        event("a", json!(now), json!(1)),
        event("b", json!(now), json!("free")),
        event("c", json!((now / 1_000) as f64 + 0.5), json!("2.5")),
        event("d", json!(now * 1_000), json!(3)),
        event("e", json!(now + 3_600_000), json!(4)),
    ]));
    assert_eq!(status, 202);
    assert_eq!(
        (&receipt["accepted"], &receipt["rejected"], &receipt["warned"]),
        (&json!(4), &json!(1), &json!(3)),
        "{receipt}"
    );
    let said = |index: u64, part: &str| {
        let verdicts = receipt["verdicts"].as_array().unwrap();
        let verdict = verdicts.iter().find(|verdict| verdict["index"] == index).unwrap();
        assert!(verdict.to_string().contains(part), "{verdict}, not {part}");
        verdict["ok"].as_bool().unwrap()
    };
    assert!(said(1, "amount: text that is not a number (needed by metric.revenue.field)"));
    let nested = json!([{"id": "n", "ts": now, "type": "page_view", "user": "n", "region": [1],
        "amount": 1, "latency": "slow"}]);
    let warnings = post(&nested).1["verdicts"][0].to_string();
    for part in [
        "region: an object or an array (needed by session.segment, join.pairs.on)",
        "latency: text that is not a number (needed by metric.slow.where, \
         pattern.slow_then_paid.first, sessions.quick.where)",
    ] {
        assert!(warnings.contains(part), "{warnings}, not {part}");
    }
    assert!(said(2, "ts: taken as seconds"));
    assert!(said(3, "ts: taken as microseconds"));
    assert!(!said(4, "in the future (at most 300000 ms)"));
    assert_eq!(ledger(6), [5, 0, 1]);
    // The watermark is known to the web side from the next board on.
    server.wait_pipeline("a watermark of today", |shown| {
        shown["watermark"].as_i64().is_some_and(|watermark| watermark > now - 60_000)
    });
    let (_, receipt) = post(&json!([
        event("f", json!(now - 7_200_000), json!(1)),
        event("g", json!(now / 1_000), json!(1)),
        event("h", json!(now - 1_000), json!(1)),
    ]));
    assert_eq!((&receipt["accepted"], &receipt["warned"]), (&json!(3), &json!(2)), "{receipt}");
    let verdicts = receipt["verdicts"].to_string();
    assert!(verdicts.contains("late: "), "{verdicts}");
    assert!(verdicts.contains("looks like seconds"), "{verdicts}");
    assert_eq!(ledger(9), [6, 2, 1]);
    let shown = faults(&server.pipeline()["unusable"]);
    let times = |reason: &str| shown[&("events.time".to_owned(), reason.to_owned())].0;
    let reasons = ["guessed_seconds", "guessed_microseconds", "looks_like_seconds"];
    assert_eq!(reasons.map(times), [1, 1, 1]);
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused_or_warned_of() {
    let folder = Folder::default();
    let check = |text: &str| {
        let config = folder.write("checked.toml", text);
        folder.command(&["check", "--config", &config]).run()
    };
    let wrong = "[[metric]]\nname = \"m\"\nof = \"sessions\"\naggregate = \"count\"\n\
                 where = { outcome = \"abandond\" }\nwindow = { tumbling = \"1m\" }\n";
    let run = check(wrong);
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    assert!(run.stderr.contains("did you mean \"abandoned\"?"), "{}", run.stderr);
    let run = check("[events]\naliases = { cost = \"amout\" }\n");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.contains("warning: events.aliases: \"cost\" leads nowhere"),
        "{}",
        run.stdout
    );
    let run = folder.command(&["check"]).env("TIDEWATCH_SESSION_GAP", "10m").run();
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    assert!(run.stderr.contains("did you mean TIDEWATCH_SESSION__GAP?"), "{}", run.stderr);
}
