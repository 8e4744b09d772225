//! Shows that every exported metric is there and right, and that bounds hold: no further
//! session past `pipeline.sessions_max`, and a word when event ids are forgotten early.
//!
//! How: the real binary, fed over HTTP; `/metrics` is read as a scraper reads it and
//! compared with the table of names and with the board.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidewatch::clock::SystemClock;
use tidewatch::telemetry::names::{Instrument, TABLE};

use support::events::{Event, GAP};
use support::ws::Client;
use support::{Folder, HOLD, Poster, Server, until};

/// 2023-11-14, a time like any other.
const START: i64 = 1_700_000_000_000;

/// Every sample of `/metrics`: name with labels, value.
fn samples(server: &Server) -> BTreeMap<String, f64> {
    let text = String::from_utf8(server.http.get(&server.at("metrics")).body).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            (name.to_string(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        })
        .collect()
}

fn post(server: &Server, lines: &[String]) {
    let answer = Poster::new(server.target()).post(lines);
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
}

fn visit(n: usize) -> String {
    Event::new(format!("e{n}"), START + n as i64, "cart_add", format!("u{n}")).line()
}

#[test]
fn every_metric_of_the_table_is_exported() {
    let folder = Folder::default();
    let table = folder.write("table.csv", "sku,kind\n1,tea\n");
    let mails = folder.path("mails");
    let pattern = format!(
        r#"
[[pattern]]
name = "p"
first = {{ type = "cart_add" }}
then = {{ type = "payment_completed" }}
within = "10m"
[[join]]
name = "j"
left = {{ type = "cart_add" }}
right = {{ type = "payment_completed" }}
within = "10m"
[[sessions]]
name = "s"
gap = "10m"
cohort = "day"
entry = "cart_add"
goal = "payment_completed"
attributes = {{ email = "last.email", agreed = "last.agreed" }}
[nudges]
secret = "nobody guesses this secret"
unsubscribe_url = "https://shop.example/v1/unsubscribe"
[[channel]]
name = "hook"
type = "webhook"
url = "https://hooks.example/x"
[[nudge]]
name = "back"
of = "s"
address = "email"
consent = "agreed"
channel = "hook"
[[metric]]
name = "m"
aggregate = "count"
group_by = ["type"]
window = {{ sliding = "1m" }}
[[metric]]
name = "failed_payments"
where = {{ type = "payment_failed" }}
aggregate = "count"
window = {{ tumbling = "10s" }}
[[rule]]
name = "r"
metric = "failed_payments"
[[channel]]
name = "c"
type = "webhook"
url = "http://127.0.0.1:9"
allow_private = true
[[route]]
name = "w"
channel = "c"
[[lookup]]
name = "l"
file = {table:?}
key = "sku"
attributes = {{ kind = "kind" }}
[[channel]]
name = "mails"
type = "email"
folder = {mails:?}
from = "alerts@shop.example"
"#
    );
    let server = folder.serve(&format!("{HOLD}{pattern}")).start();
    let mut lines: Vec<String> = (0..20).map(visit).collect();
    lines.push(visit(3));
    lines.push("no event at all".into());
    post(&server, &lines);
    let pipeline = server.wait_settled(lines.len() as u64);

    // A client that is fed and then breaks the protocol is closed by us.
    let mut client = Client::follow(&server.url, &["kpi"]);
    client.send(&json!("neither an object nor a list"));
    client.read_until(30, "it is closed", |client| client.closed.is_some());

    let wanted = |found: &BTreeMap<String, f64>, name: &str, suffix: &str| {
        let (plain, labelled) = (format!("{name}{suffix}"), format!("{name}{suffix}{{"));
        found.keys().any(|key| *key == plain || key.starts_with(&labelled))
    };
    let found = until(30, "the last tick is exported", || {
        let found = samples(&server);
        let settled = found.get("tidewatch_events_total{outcome=\"applied\"}") == Some(&20.0);
        (settled && wanted(&found, "tidewatch_web_closes_total", "")).then_some(found)
    });
    let of_reloads =
        |metric: &&tidewatch::telemetry::names::Metric| metric.name.starts_with("tidewatch_reload");
    let missing: Vec<&str> = TABLE
        .iter()
        .filter(|metric| !of_reloads(metric))
        .filter(|metric| {
            let suffix =
                if matches!(metric.instrument, Instrument::Histogram(_)) { "_count" } else { "" };
            !wanted(&found, metric.name, suffix)
        })
        .map(|metric| metric.name)
        .collect();
    assert!(missing.is_empty(), "never exported: {missing:?}");

    let stranger = found.keys().find(|key| {
        let of = |metric: &&tidewatch::telemetry::names::Metric| key.starts_with(metric.name);
        // The numbers of the board are named by the configuration.
        let boards = key.starts_with("tidewatch_metric_");
        key.starts_with("tidewatch_") && !boards && TABLE.iter().find(of).is_none()
    });
    assert_eq!(stranger, None, "not in the table");

    for (name, value) in [
        ("tidewatch_events_total{outcome=\"received\"}", 22.0),
        ("tidewatch_events_total{outcome=\"duplicate\"}", 1.0),
        ("tidewatch_events_total{outcome=\"late\"}", 0.0),
        ("tidewatch_events_total{outcome=\"rejected\"}", 1.0),
        ("tidewatch_dead_letters_total", 1.0),
        ("tidewatch_dead_letters_kept", 1.0),
        ("tidewatch_events_in_flight", 0.0),
        ("tidewatch_open_sessions", 20.0),
        ("tidewatch_sessions_by_step{step=\"cart_add\"}", 20.0),
        ("tidewatch_dedup_ids", 20.0),
        ("tidewatch_dedup_ids_capacity", 8_000_000.0),
        ("tidewatch_log_backlog_events_capacity", 20_000_000.0),
        ("tidewatch_credits_capacity", 1_048_576.0),
        ("tidewatch_shard_queue_capacity{shard=\"0\"}", 2.0),
        ("tidewatch_ready", 1.0),
        ("tidewatch_condition{condition=\"state_full\"}", 0.0),
        ("tidewatch_restarts_total", 0.0),
        ("tidewatch_incidents_open{severity=\"critical\",phase=\"firing\"}", 0.0),
        ("tidewatch_notifications_waiting{route=\"w\"}", 0.0),
        ("tidewatch_http_requests_total{route=\"/v1/events\",code=\"202\"}", 1.0),
    ] {
        assert_eq!(found.get(name), Some(&value), "{name} in {found:#?}");
    }
    assert_eq!(pipeline["guarantee"], "exactly once", "{pipeline}");
    assert_eq!(pipeline["sessions_max"], 4_000_000, "{pipeline}");

    folder.write("tidewatch.toml", format!("{HOLD}{pattern}[session]\ngap = \"20m\"\n"));
    let reload = server.http.post(&server.at("v1/reload"), &[], b"");
    assert_eq!(reload.status, 200, "{}", String::from_utf8_lossy(&reload.body));
    let exported = |found: &BTreeMap<String, f64>| {
        TABLE.iter().filter(of_reloads).all(|metric| wanted(found, metric.name, ""))
    };
    until(30, "reloads are exported", || exported(&samples(&server)).then_some(()));
}

#[test]
fn no_session_is_opened_past_the_bound_and_the_open_ones_go_on() {
    let folder = Folder::default();
    let config = format!("{HOLD}[pipeline]\nshards = 1\nsessions_max = 100\n");
    let server = folder.serve(&config).start();
    let lines: Vec<String> = (0..130).map(visit).collect();
    post(&server, &lines);
    let pipeline = server.wait_settled(130);
    assert_eq!(pipeline["open_sessions"], 100, "{pipeline}");
    assert_eq!((&pipeline["applied"], &pipeline["rejected"]), (&json!(100), &json!(30)));
    assert_eq!(pipeline["sessions_refused"], 30, "{pipeline}");
    assert_eq!(pipeline["sessions_max"], 100, "{pipeline}");
    assert_eq!(pipeline["balanced"], true, "{pipeline}");
    stands(&server, "sessions_full", "30 events were rejected");

    let letters = server.all("v1/dead-letters");
    assert_eq!(letters.len(), 30);
    for letter in &letters {
        assert!(letter["reason"].as_str().unwrap().contains("pipeline.sessions_max"), "{letter}");
    }
    // A neighbour that is open goes on; events without a session count as before.
    let again = Event::new("again", START + 500, "page_view", "u7").line();
    let nobody = Event::new("nobody", START + 500, "page_view", "").line();
    post(&server, &[again, nobody]);
    assert_eq!(server.wait_settled(132)["applied"], 102);
    let view = server.get("v1/sessions/u7");
    assert_eq!(view["sessions"][0]["events"], 2, "{view}");

    // Once there is room again, what was refused counts: its id was not used up.
    // Time is past the sessions' end, and not yet past what is remembered of ids.
    let closed = START + GAP + 45_000;
    post(&server, &[Event::new("later", closed, "page_view", "u0").line()]);
    assert_eq!(server.wait_settled(133)["open_sessions"], 1);
    let mut refused: Value = serde_json::from_str(letters[0]["raw"].as_str().unwrap()).unwrap();
    refused["ts"] = json!(closed + 1);
    post(&server, &[refused.to_string()]);
    let pipeline = server.wait_settled(134);
    assert_eq!((&pipeline["duplicate"], &pipeline["sessions_refused"]), (&json!(0), &json!(30)));
    assert_eq!(pipeline["applied"], 104, "{pipeline}");
}

#[test]
fn event_ids_forgotten_early_are_told() {
    let folder = Folder::default();
    let config = format!("{HOLD}[pipeline]\nshards = 1\ndedup_ids_max = 1000\n");
    let server = folder.serve(&config).start();
    let lines: Vec<String> = (0..1_500)
        .map(|n| {
            // The first are ten minutes old when the others come, and leave before their time.
            let at = START + (n as i64 / 1_000) * 600_000 + n as i64 % 1_000;
            Event::new(format!("e{n}"), at, "page_view", format!("u{}", n % 10)).line()
        })
        .collect();
    post(&server, &lines);
    server.wait_settled(1_500);
    let pipeline = until(30, "the guarantee is degraded", || {
        let pipeline = server.pipeline();
        pipeline["guarantee"].as_str()?.starts_with("degraded: ").then_some(pipeline)
    });
    let words = pipeline["guarantee"].as_str().unwrap();
    assert!(words.contains("pipeline.dedup_ids_max = 1000"), "{words}");
    until(30, "it is counted", || {
        (samples(&server)["tidewatch_dedup_forgotten_early_total"] > 0.0).then_some(())
    });
    stands(&server, "ids_forgotten", "pipeline.dedup_ids_max = 1000");

    // When the forgotten ids could not count any more, everything is known again.
    post(&server, &[Event::new("end", START + 86_400_000, "page_view", "u1").line()]);
    server.wait_settled(1_501);
    until(30, "the guarantee is whole again", || {
        (server.pipeline()["guarantee"] == "exactly once").then_some(())
    });
    until(30, "the condition is over", || {
        let gauge = samples(&server)["tidewatch_condition{condition=\"ids_forgotten\"}"];
        (gauge == 0.0 && server.pipeline()["conditions"] == json!([])).then_some(())
    });
}

#[test]
fn a_flood_of_ids_does_not_push_out_what_is_seconds_old() {
    let folder = Folder::default();
    let config = format!("{HOLD}[pipeline]\nshards = 1\ndedup_ids_max = 1000\n");
    let server = folder.serve(&config).start();
    let visits = |who: &str, count: i64, from: i64| -> Vec<String> {
        let at = |n: i64| START + from + n;
        let visit = |n| Event::new(format!("{who}{n}"), at(n), "page_view", format!("{who}{n}"));
        (0..count).map(|n| visit(n).line()).collect()
    };
    let honest = visits("h", 90, 0);
    post(&server, &honest);
    post(&server, &visits("x", 1_100, 1_000));
    server.wait_settled(1_190);
    post(&server, &honest);
    let pipeline = server.wait_settled(1_280);
    assert_eq!((&pipeline["applied"], &pipeline["duplicate"]), (&json!(1_190), &json!(90)));
    assert_eq!(pipeline["guarantee"], "exactly once");

    // Twice as many is the end. What left then is late when it comes again, and counted once.
    post(&server, &visits("y", 1_000, 3_000));
    post(&server, &visits("z", 1, 20_000));
    server.wait_settled(2_281);
    post(&server, &honest);
    let pipeline = server.wait_settled(2_371);
    assert_eq!(
        (&pipeline["applied"], &pipeline["late"]),
        (&json!(2_191), &json!(90)),
        "{pipeline}"
    );
    stands(&server, "ids_forgotten", "were forgotten");
}

#[test]
fn a_flood_of_bad_events_leaves_the_other_dead_letters_and_is_told() {
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}[store]\ndead_letters_max = 100\n")).start();
    let honest: Vec<String> =
        (0..30).map(|n| format!("{{\"ts\":{START},\"user\":\"u{n}\"}}")).collect();
    let answer = Poster::new(server.target()).post(&honest);
    assert_eq!(answer.status, 400, "none of them is good");
    server.wait_settled(30);
    for round in 0..3 {
        let flood: Vec<String> = (0..1_000).map(|n| format!("x{round}-{n}")).collect();
        Poster::new(server.target()).post(&flood);
    }
    server.wait_settled(3_030);
    let letters = server.all("v1/dead-letters");
    let honest = letters.iter().filter(|letter| letter["reason"].to_string().contains("type"));
    assert_eq!((letters.len(), honest.count()), (100, 30));
    stands(&server, "dead_letters_dropped", "2930 × ");
    let found = samples(&server);
    assert_eq!(found["tidewatch_dropped_total{list=\"dead_letters\"}"], 2_930.0);
    let of_kinds = |key: &&String| key.starts_with("tidewatch_dead_letters_dropped_total");
    let sum: f64 = found.keys().filter(of_kinds).map(|key| found[key]).sum();
    assert_eq!(sum, 2_930.0);
    let pipeline = server.pipeline();
    assert_eq!(pipeline["dead_letters"], 3_030);
    assert_eq!(pipeline["dead_letters_dropped"], 2_930);
}

#[test]
fn a_clock_that_is_behind_the_events_is_told() {
    let folder = Folder::default();
    let server = folder.serve(HOLD).start();
    let now = SystemClock::shared().wall();
    let ahead = |n: usize| {
        // Accepted and too far ahead to be accepted: both say the same of our clock.
        let at = now + if n.is_multiple_of(2) { 40_000 } else { 90_000_000 };
        Event::new(format!("a{n}"), at, "page_view", "u").line()
    };
    post(&server, &(0..20).map(ahead).collect::<Vec<_>>());
    server.wait_settled(20);
    stands(&server, "clock_behind", "20 of the last 20 events are ahead of this machine's clock");
    let fine = |n: usize| Event::new(format!("f{n}"), now - 1_000, "page_view", "v").line();
    post(&server, &(0..20).map(fine).collect::<Vec<_>>());
    server.wait_settled(40);
    until(30, "the condition is over", || {
        (server.pipeline()["conditions"] == json!([])).then_some(())
    });
}

/// A standing condition is on the board, in `/readyz?verbose`, in `/metrics` and in the log.
fn stands(server: &Server, name: &str, says: &str) {
    until(30, &format!("{name} is on the board"), || {
        let pipeline = server.pipeline();
        let conditions = pipeline["conditions"].as_array()?;
        let found = conditions.iter().find(|condition| condition["name"] == name)?;
        found["says"].as_str()?.contains(says).then_some(())
    });
    let gauge = samples(server)[&format!("tidewatch_condition{{condition=\"{name}\"}}")];
    assert_eq!(gauge, 1.0);
    let ready = server.http.get(&server.at("readyz?verbose"));
    let text = String::from_utf8_lossy(&ready.body);
    assert!(ready.status == 200 && text.contains(says), "{text}");
    assert!(server.stderr().contains(says), "{}", server.stderr());
}

#[test]
fn an_event_that_made_a_session_panic_is_told_and_counts_once_redriven() {
    let folder = Folder::default();
    let server = folder.serve(HOLD).env("FAILPOINTS", "session_apply=1*panic->off").start();
    let mut poison = Event::new("poison", START, "cart_add", "u0");
    poison.more.insert("amount".into(), json!(666));
    post(&server, &[visit(0), poison.line(), visit(1)]);
    let pipeline = server.wait_settled(3);
    assert_eq!((&pipeline["applied"], &pipeline["rejected"]), (&json!(2), &json!(1)));
    until(30, "it is counted", || {
        let found = samples(&server);
        let told = found["tidewatch_session_panics_total"] == 1.0;
        (told && found["tidewatch_panics_total"] == 1.0).then_some(())
    });
    assert!(server.stderr().contains("an event made a session panic"), "{}", server.stderr());

    let redrive = server.at("v1/dead-letters/redrive");
    let answer = server.http.post_json(&redrive, &json!({"all": true})).json();
    assert_eq!(answer["redriven"], 1, "{answer}");
    let pipeline = server.wait_settled(4);
    assert_eq!((&pipeline["applied"], &pipeline["duplicate"]), (&json!(3), &json!(0)));
}

#[test]
fn the_numbers_of_the_board_are_gauges() {
    let folder = Folder::default();
    let metrics = r#"
[[metric]]
name = "revenue"
title = "Revenue"
unit = "EUR"
aggregate = "sum"
field = "amount"
window = { tumbling = "10s" }

[[metric]]
name = "by_region"
title = "Events by region"
aggregate = "count"
group_by = ["region"]
group_limit = 3
window = { tumbling = "10s" }

[[metric]]
name = "mean_amount"
title = "Mean"
aggregate = "avg"
field = "amount"
window = { tumbling = "10s" }
"#;
    let server = folder.serve(&format!("{HOLD}{metrics}")).start();
    let line = |n: i64, at: i64, region: &str, amount: f64| {
        let mut event = Event::new(format!("m{n}"), at, "cart_add", format!("u{n}"));
        event.more.insert("region".into(), json!(region));
        event.more.insert("amount".into(), json!(amount));
        event.line()
    };
    let long = "x".repeat(500);
    let regions = ["eu \"1\"\n", "other", long.as_str(), "four", "five"];
    let mut lines: Vec<String> =
        (0..5).map(|n| line(n, START + n, regions[n as usize], 1.5)).collect();
    // The next window has no event with a region but one, and no amount to speak of.
    lines.push(line(9, START + 25_000, "four", 2.0));
    post(&server, &lines);
    server.wait_settled(lines.len() as u64);
    let found = until(30, "the numbers are there", || {
        let found = samples(&server);
        found.contains_key("tidewatch_metric_revenue").then_some(found)
    });
    let board = server.get("v1/board");
    for name in ["revenue", "mean_amount"] {
        let shown = board["topics"]["kpi"]["d"][name].as_f64();
        let exported = found.get(&format!("tidewatch_metric_{name}")).copied();
        assert_eq!(exported, shown, "{name}: the same as the strip");
    }
    let of_region: Vec<&String> =
        found.keys().filter(|key| key.starts_with("tidewatch_metric_by_region{")).collect();
    assert!(!of_region.is_empty(), "{found:#?}");
    assert!(of_region.iter().all(|key| key.len() < 200), "{of_region:#?}");
    assert!(of_region.iter().any(|key| key.contains(r#"region="eu \"1\"\n""#)), "{of_region:#?}");
    let groups = server.get("v1/groups/by_region");
    assert_eq!(groups["labels"], json!(["region"]));
    let labels: Vec<&Value> =
        groups["items"].as_array().unwrap().iter().map(|item| &item["labels"][0]).collect();
    assert!(labels.contains(&&json!(long)), "whole on request: {labels:?}");
    assert_eq!(groups["items"].as_array().unwrap().len(), of_region.len(), "{of_region:#?}");
    assert_eq!(server.http.get(&server.at("v1/groups/none")).status, 404);
    check_greatest(&server, &groups);
    let series = found["tidewatch_metric_series"];
    let exported = found.keys().filter(|key| {
        key.starts_with("tidewatch_metric_") && !key.starts_with("tidewatch_metric_series")
    });
    assert_eq!(series, exported.count() as f64);
}

/// The greatest groups of a metric first, as many as are asked for, and how many others there are;
/// what holds the groups without a place behind them.
fn check_greatest(server: &Server, groups: &Value) {
    let greatest =
        |limit: usize| server.get(&format!("v1/groups/by_region?by=value&limit={limit}"));
    let numbers = |page: &Value| -> Vec<i64> {
        page["items"].as_array().unwrap().iter().map(|item| item["n"].as_i64().unwrap()).collect()
    };
    let items = groups["items"].as_array().unwrap();
    let (mut own, others): (Vec<&Value>, Vec<&Value>) =
        items.iter().partition(|item| item["overflow"] == false);
    own.sort_by(|a, b| {
        let value = |item: &Value| item["value"].as_f64().unwrap_or(f64::MIN);
        value(b).total_cmp(&value(a)).then(a["n"].as_i64().cmp(&b["n"].as_i64()))
    });
    let wanted = |most: usize| -> Vec<i64> {
        let shown = own.iter().take(most).chain(&others);
        shown.map(|item| item["n"].as_i64().unwrap()).collect()
    };
    assert!(own.len() > 1 && others.len() == 1, "{groups}");
    for most in [1, 2, 200] {
        let page = greatest(most);
        assert_eq!(numbers(&page), wanted(most), "{page}");
        assert_eq!(page["more"], own.len() - own.len().min(most), "{page}");
        assert!(page["next"].is_null(), "{page}");
    }
    assert_eq!(groups["more"], 0);
    let first = server.get("v1/groups/by_region?limit=1");
    assert_eq!((&first["more"], &first["next"]), (&json!(items.len() - 1), &json!(0)), "{first}");
    for query in ["by=size", "by=value&after=1"] {
        let answer = server.http.get(&server.at(&format!("v1/groups/by_region?{query}")));
        assert_eq!(answer.status, 400, "{query}");
    }
}
