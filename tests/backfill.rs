//! Shows that a metric that comes later is filled from the log as if it had been there: after a
//! reload or a start, wherever it comes, while events pour in, and when the process is killed.
//!
//! How: the real binary; the oracle is a server that had all metrics from the first event on.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use support::events::{Event, Random};
use support::{Folder, HOLD, Poster, Server, pause, until};

const START: i64 = 1_700_000_000_000;

const QUICK: &str = "[pipeline]\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n";

/// What there is from the start.
const OLD: &str =
    "[[metric]]\nname = \"all\"\naggregate = \"count\"\nwindow = { tumbling = \"1m\" }\n";

/// What comes later: name, what it is, and what only it has.
const NEW: [(&str, &str); 8] = [
    (
        "by_region",
        "aggregate = \"count\"\ngroup_by = [\"region\"]\ngroup_limit = 2\nwindow = { tumbling = \"1m\" }",
    ),
    (
        "hops",
        "aggregate = \"avg\"\nfield = \"amount\"\nwindow = { hopping = \"10m\", slide = \"1m\" }",
    ),
    (
        "today",
        "aggregate = \"sum\"\nfield = \"amount\"\nwindow = { since_midnight = true, slide = \"1m\" }",
    ),
    ("ever", "aggregate = \"count\"\nwindow = { since_start = true, slide = \"1m\" }"),
    ("users", "aggregate = \"distinct\"\nwindow = { tumbling = \"5m\" }"),
    (
        "visits",
        "aggregate = \"count\"\nof = \"sessions\"\ngroup_by = [\"outcome\"]\nwindow = { tumbling = \"5m\" }",
    ),
    ("fast", "aggregate = \"count\"\nwhere = { type = \"quick\" }\nwindow = { tumbling = \"5m\" }"),
    (
        "slides",
        "aggregate = \"count\"\ngroup_by = [\"region\"]\nwindow = { sliding = \"10m\", slide = \"1m\" }",
    ),
];

/// A sliding metric, and a rule that judges its numbers between the ends of slides.
const BURST: (&str, &str) =
    ("burst", "aggregate = \"count\"\nwindow = { sliding = \"1m\", slide = \"20s\" }");
const BURSTS: &str = "[[rule]]\nname = \"bursts\"\nmetric = \"burst\"\ndetect = \"threshold\"\n\
                      limit = 14\ncooldown = \"20s\"\n";

const PATTERN: &str = "[[pattern]]\nname = \"quick\"\nfirst = { type = \"cart_add\" }\n\
                       then = { type = \"payment_completed\" }\nwithin = \"10m\"\n";

fn config(new: &[(&str, &str)], backfill: &str) -> String {
    let mut config = format!("{HOLD}[session]\ngap = \"20m\"\n{QUICK}shards = 2\n{PATTERN}{OLD}");
    for (name, rest) in new {
        config += &format!("[[metric]]\nname = \"{name}\"\nkeep = \"1d\"\n{backfill}{rest}\n");
    }
    config
}

fn made(random: &mut Random, count: i64) -> Vec<Event> {
    const KINDS: [&str; 4] = ["page_view", "cart_add", "payment_initiated", "payment_completed"];
    let mut events: Vec<Event> = (0..count)
        .map(|n| {
            let at = START + n * 9_000 + random.below(3_000) as i64;
            let kind = KINDS[random.below(4) as usize];
            let mut event = Event::new(format!("e{n}"), at, kind, format!("u{}", random.below(40)));
            event.more.insert("region".into(), json!(["eu", "us", "in"][random.below(3) as usize]));
            event.more.insert("amount".into(), json!(random.below(50)));
            event
        })
        .collect();
    for from in (0..events.len()).step_by(37) {
        events.insert(from, events[from].clone());
    }
    events
}

fn lines(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::line).collect()
}

/// What a page shows of the new metrics.
fn shown(server: &Server, new: &[(&str, &str)]) -> Vec<Value> {
    new.iter().map(|(name, _)| server.topic(name)).collect()
}

/// Waits until all that is wanted was filled.
fn filled(server: &Server, commits: u64) {
    until(60, "the metrics are filled", || {
        let text = String::from_utf8(server.http.get(&server.at("metrics")).body).unwrap();
        let says = |line: &str| text.lines().any(|found| found == line);
        let busy = says("tidewatch_condition{condition=\"backfilling\"} 1");
        let epoch = server.pipeline()["epoch"].as_u64().unwrap();
        (!busy && epoch > commits && !text.contains("tidewatch_warming_since_seconds{"))
            .then_some(())
    });
}

fn take(folder: &Folder, server: &Server, config: &str) -> Value {
    folder.write("tidewatch.toml", config);
    let answer = server.http.post(&server.at("v1/reload"), &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

fn same(server: &Server, oracle: &Server, new: &[(&str, &str)]) {
    let mut last = (Vec::new(), Vec::new());
    for _ in 0..400 {
        last = (shown(server, new), shown(oracle, new));
        if last.0 == last.1 {
            return;
        }
        pause(Duration::from_millis(50));
    }
    panic!("{:#?}\n{:#?}", last.0, last.1);
}

/// Metrics that come at any moment, by a reload or a restart, some of them together, show what they
/// would if they had been there; they go on from there.
#[test]
fn a_metric_that_is_filled_is_as_if_it_had_been_there() {
    let mut random = Random::seeded("backfill");
    let events = made(&mut random, 900);
    let folders = (Folder::default(), Folder::default());
    let oracle = folders.1.serve(&config(&NEW, "")).start();
    let mut server = folders.0.serve(&config(&[], "")).start();
    let (mut sent, mut known) = (0, 0);
    let mut parts = vec![random.below(300) as usize + 50];
    while known < NEW.len() {
        let to = (parts.iter().sum::<usize>()).min(events.len());
        let some = lines(&events[sent..to]);
        for one in [&server, &oracle] {
            Poster::new(one.target()).post(&some);
            one.wait_settled(to as u64);
        }
        sent = to;
        known = (known + 1 + random.below(3) as usize).min(NEW.len());
        let config = config(&NEW[..known], "backfill = \"2h\"\n");
        let epoch = server.pipeline()["epoch"].as_u64().unwrap();
        if random.one_in(3) {
            assert_eq!(server.stop().code(), Some(0));
            server = folders.0.serve(&config).start();
        } else {
            let plan = take(&folders.0, &server, &config);
            let says = plan["outlook"].to_string();
            assert!(says.contains("windows of the last 2h are then filled from the log"), "{says}");
        }
        filled(&server, epoch);
        same(&server, &oracle, &NEW[..known]);
        parts.push(random.below(120) as usize + 1);
    }
    let rest = lines(&events[sent..]);
    for one in [&server, &oracle] {
        Poster::new(one.target()).post(&rest);
        one.wait_settled(events.len() as u64);
    }
    same(&server, &oracle, &NEW);
    assert_eq!(server.pipeline()["restarts"], 0);
}

/// Killed while it is filled, and with events that come in meanwhile, it is filled at last.
#[test]
fn killed_while_it_is_filled_every_number_is_right() {
    let mut random = Random::seeded("backfill-kill");
    let events = made(&mut random, 1_200);
    let folders = (Folder::default(), Folder::default());
    let oracle = folders.1.serve(&config(&NEW, "")).start();
    Poster::new(oracle.target()).post(&lines(&events));
    oracle.wait_settled(events.len() as u64);
    let stands = |point: &str| format!("{point}=pause");
    let first = folders.0.serve(&config(&[], "")).env("FAILPOINTS", &stands("before_fill"));
    let server = first.start();
    let half = events.len() / 2;
    Poster::new(server.target()).post(&lines(&events[..half]));
    server.wait_settled(half as u64);
    let config = config(&NEW, "backfill = \"2h\"\n");
    take(&folders.0, &server, &config);
    let mut server = server;
    let mut sent = half;
    // It stands still there, and is killed in the next round.
    for point in ["before_fill", "after_fill", "nowhere"] {
        pause(Duration::from_millis(random.below(300)));
        let to = (sent + 100).min(events.len());
        Poster::new(server.target()).post(&lines(&events[sent..to]));
        sent = to;
        pause(Duration::from_millis(random.below(300)));
        server.kill_9();
        server = folders.0.serve(&config).env("FAILPOINTS", &stands(point)).start();
    }
    Poster::new(server.target()).post(&lines(&events[sent..]));
    server.wait_settled(events.len() as u64);
    filled(&server, 0);
    same(&server, &oracle, &NEW);
}

/// What a rule judged, by the ends of slides.
fn judged(server: &Server, rule: &str) -> BTreeMap<i64, f64> {
    let points = server.topic(rule)["p"].as_array().cloned().unwrap_or_default();
    let column = |at: usize| points.get(at).and_then(Value::as_array).cloned().unwrap_or_default();
    let values = column(1).into_iter().map(|value| value.as_f64().unwrap());
    column(0).iter().map(|at| at.as_i64().unwrap()).zip(values).collect()
}

/// A sliding metric that is filled holds each moment of what is in its windows, so that from then on
/// its numbers between the ends of slides are those that there would have been.
#[test]
fn a_rule_on_sliding_windows_that_were_filled_judges_what_it_would_have_judged() {
    let mut random = Random::seeded("backfill-sliding");
    for _ in 0..3 {
        // Some ten within a minute, in bursts and out of order.
        let mut at = START;
        let mut event = |n: usize| {
            at += random.below(12_000) as i64;
            Event::new(format!("e{n}"), at - random.below(3_000) as i64, "page_view", "u")
        };
        let mut events: Vec<Event> = (0..500).map(&mut event).collect();
        // All slides before it are final.
        events.push(Event::new("end", at + 120_000, "page_view", "~"));
        let folders = (Folder::default(), Folder::default());
        let with = |backfill: &str| config(&[BURST], backfill) + BURSTS;
        let oracle = folders.1.serve(&with("")).start();
        let server = folders.0.serve(&config(&[], "")).start();
        let half = 150 + random.below(100) as usize;
        for (one, to) in [(&server, half), (&oracle, events.len())] {
            Poster::new(one.target()).post(&lines(&events[..to]));
            one.wait_settled(to as u64);
        }
        let epoch = server.pipeline()["epoch"].as_u64().unwrap();
        take(&folders.0, &server, &with("backfill = \"2h\"\n"));
        filled(&server, epoch);
        Poster::new(server.target()).post(&lines(&events[half..]));
        server.wait_settled(events.len() as u64);
        same(&server, &oracle, &[BURST]);
        let (found, wanted) = until(20, "both judged the last slide", || {
            let both = (judged(&server, "bursts"), judged(&oracle, "bursts"));
            (both.0.keys().last()? == both.1.keys().last()?).then_some(both)
        });
        // What was final before it came is not judged.
        let first = *found.keys().next().unwrap();
        let wanted: BTreeMap<i64, f64> =
            wanted.into_iter().filter(|(at, _)| *at >= first).collect();
        assert_eq!(found, wanted);
        assert!(found.len() > 40 && first <= events[half].at + 60_000, "{first}");
        // Some of them stood between the ends of slides.
        let points = server.topic("burst")["p"].clone();
        let ends: BTreeMap<i64, f64> = points[0]
            .as_array()
            .unwrap()
            .iter()
            .map(|at| at.as_i64().unwrap())
            .zip(points[1].as_array().unwrap().iter().filter_map(Value::as_f64))
            .collect();
        assert!(found.iter().any(|(at, value)| ends.get(at).is_some_and(|end| value > end)));
    }
}
