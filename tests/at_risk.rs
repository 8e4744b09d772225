//! Shows that what is at risk is what the events say, by deadline and by value, for any number of
//! shards and after a kill; that the topic has it while somebody follows it, and that looking for
//! it is done only then.
//!
//! How: the real binary gets random events over HTTP; sessions and carts are computed here by
//! sorting them.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use support::events::{Event, GAP, Random};
use support::ws::Client;
use support::{Folder, HOLD, Poster, Server, until};

const START: i64 = 1_700_000_000_000;

/// Events of less than a gap, so that no session is over.
fn made(random: &mut Random) -> Vec<Event> {
    const KINDS: [&str; 5] =
        ["page_view", "cart_add", "cart_add", "payment_initiated", "payment_completed"];
    (0..400)
        .map(|n| {
            let kind = KINDS[random.below(KINDS.len() as u64) as usize];
            let user = format!("u{}", random.below(120));
            let mut event = Event::new(format!("e{n}"), START + n * 4_000, kind, user);
            if kind == "cart_add" {
                event.more.insert("amount".into(), json!(random.below(9) as f64 * 2.5));
            }
            event.more.insert("region".into(), json!(["eu", "us"][random.below(2) as usize]));
            event
        })
        .collect()
}

/// The rows of an answer, by the definition.
fn expected(events: &[Event], since_entry: bool) -> Vec<Value> {
    let mut by_user: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    events.iter().for_each(|event| by_user.entry(&event.user).or_default().push(event));
    let steps = ["page_view", "cart_add", "payment_initiated", "payment_completed"];
    let mut rows = Vec::new();
    for (user, events) in by_user {
        // Nobody of them is silent for as long as the gap, nor is anybody's cart.
        let is = |kind: &'static str| events.iter().filter(move |event| event.kind == kind);
        let of_cart = is("cart_add")
            .filter(|event| !since_entry || is("payment_completed").all(|goal| goal.at < event.at));
        let cart: Vec<_> = of_cart.copied().collect();
        if cart.is_empty() || (!since_entry && is("payment_completed").count() > 0) {
            continue;
        }
        let of = if since_entry { &cart } else { &events };
        let (first, last) = (of[0].at, of[of.len() - 1].at);
        let step = events.iter().filter_map(|e| steps.iter().position(|s| *s == e.kind)).max();
        rows.push(json!({
            "key": user, "first": first, "last": last, "deadline": last + GAP,
            "value": cart.iter().map(|event| event.more["amount"].as_f64().unwrap()).sum::<f64>(),
            "step": steps[step.unwrap()], "segment": events[events.len() - 1].more["region"],
        }));
    }
    rows
}

fn sorted(mut rows: Vec<Value>, by: &str) -> Vec<Value> {
    rows.sort_by(|a, b| {
        let rank = |row: &Value| (row["deadline"].as_i64(), row["key"].as_str().map(String::from));
        let value = |row: &Value| row["value"].as_f64().unwrap();
        let value = if by == "value" { value(b).total_cmp(&value(a)) } else { 0.cmp(&0) };
        value.then_with(|| rank(a).cmp(&rank(b)))
    });
    rows
}

/// Asks until the answer has everything that was sent: it may be a quarter of a second old.
fn asked(server: &Server, query: &str, sessions: usize) -> Value {
    until(20, "what is at risk is as sent", || {
        let answer = server.get(&format!("v1/at-risk?{query}"));
        (answer["sessions"] == sessions && answer["at"].is_i64()).then_some(answer)
    })
}

#[test]
fn the_answer_is_that_of_all_open_sessions_for_any_shards_and_after_a_kill() {
    let mut random = Random::seeded("at_risk");
    for (shards, deadline) in [(1, "inactivity"), (2, "since_entry"), (3, "inactivity")] {
        let events = made(&mut random);
        let folder = Folder::default();
        let session = format!("[session]\ndeadline = \"{deadline}\"\n");
        let config = format!("{HOLD}{session}[pipeline]\nshards = {shards}\ntick = \"100ms\"\n");
        let mut server = folder.serve(&config).start();
        let mut poster = Poster::new(server.target());
        for batch in events.chunks(50) {
            poster.post(&batch.iter().map(Event::line).collect::<Vec<_>>());
        }
        server.wait_settled(events.len() as u64);
        let rows = expected(&events, deadline == "since_entry");
        let total: f64 = rows.iter().map(|row| row["value"].as_f64().unwrap()).sum();
        for _ in 0..2 {
            for (by, limit) in [("deadline", 200), ("value", 200), ("value", 7)] {
                let answer = asked(&server, &format!("by={by}&limit={limit}"), rows.len());
                let at = answer["at"].as_i64().unwrap();
                let mut items = answer["items"].as_array().unwrap().clone();
                for item in &mut items {
                    let left = item.as_object_mut().unwrap().remove("remaining_ms").unwrap();
                    assert_eq!(left, item["deadline"].as_i64().unwrap() - at);
                }
                let want = sorted(rows.clone(), by);
                assert_eq!(items, want[..want.len().min(limit)], "{shards} {deadline} {by}");
                assert_eq!((&answer["value"], &answer["currency"]), (&json!(total), &json!("EUR")));
            }
            server.kill_9();
            server = folder.serve(&config).start();
        }
    }
}

/// The same as kinds of their own: one by the session key, one by another.
const KINDS: &str = r#"
[[sessions]]
name = "visit"
gap = "30m"
entry = "cart_add"
goal = "payment_completed"
steps = ["page_view", "cart_add", "payment_initiated", "payment_completed"]
value = "amount"
attributes = { region = "last.region" }
counts = { views = "page_view" }
[[sessions]]
name = "device"
key = "device_id"
gap = "30m"
entry = "cart_add"
goal = { type = "payment_completed" }
steps = ["page_view", "cart_add", "payment_initiated", "payment_completed"]
value = "amount"
attributes = { region = "last.region" }
"#;

/// The rows as those of a kind have them.
fn of_kind(events: &[Event]) -> Vec<Value> {
    let mut rows = expected(events, false);
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        let region = row.remove("segment").unwrap();
        row.insert("attributes".into(), json!({ "region": region }));
    }
    rows
}

#[test]
fn kinds_of_sessions_are_listed_and_asked_by_key_for_any_shards_and_after_a_kill() {
    let mut random = Random::seeded("kinds_at_risk");
    for shards in 1..=3 {
        let mut events = made(&mut random);
        for event in &mut events {
            event.more.insert("device_id".into(), json!(format!("d{}", random.below(120))));
        }
        let mut by_device = events.clone();
        by_device.iter_mut().for_each(|event| event.user = text(&event.more["device_id"]));
        let kinds = [("visit", &events), ("device", &by_device)];
        let folder = Folder::default();
        let config = format!("{HOLD}[pipeline]\nshards = {shards}\ntick = \"100ms\"\n{KINDS}");
        let mut server = folder.serve(&config).start();
        let mut poster = Poster::new(server.target());
        for batch in events.chunks(50) {
            poster.post(&batch.iter().map(Event::line).collect::<Vec<_>>());
        }
        // Kinds see what the watermark has passed by the lateness: 35 s.
        let last = Event::new("last", events[events.len() - 1].at + 36_000, "page_view", "~");
        poster.post(&[last.line()]);
        server.wait_settled(events.len() as u64 + 1);
        for _ in 0..2 {
            for (kind, events) in kinds {
                check_lists(&server, kind, &of_kind(events));
                check_keys(&server, kind, events);
            }
            server.kill_9();
            server = folder.serve(&config).start();
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn check_lists(server: &Server, kind: &str, rows: &[Value]) {
    let total: f64 = rows.iter().map(|row| row["value"].as_f64().unwrap()).sum();
    assert!(rows.len() > 10, "{kind}");
    for (by, limit) in [("deadline", 200), ("value", 200), ("value", 7)] {
        let answer = asked(server, &format!("of={kind}&by={by}&limit={limit}"), rows.len());
        let at = answer["at"].as_i64().unwrap();
        let mut items = answer["items"].as_array().unwrap().clone();
        for item in &mut items {
            let left = item.as_object_mut().unwrap().remove("remaining_ms").unwrap();
            assert_eq!(left, item["deadline"].as_i64().unwrap() - at);
        }
        let want = sorted(rows.to_vec(), by);
        assert_eq!(items, want[..want.len().min(limit)], "{kind} {by}");
        assert_eq!((&answer["value"], &answer["currency"]), (&json!(total), &json!("")));
    }
}

/// Each key that there is says what its events say, and others say nothing.
fn check_keys(server: &Server, kind: &str, events: &[Event]) {
    let rows = of_kind(events);
    for key in ["u7", "u11", "d7", "d11"] {
        let of_key: Vec<&Event> = events.iter().filter(|event| event.user == key).collect();
        let answer = server.http.get(&server.at(&format!("v1/sessions/{key}")));
        let view = answer.json();
        let kinds = view["kinds"].as_array().cloned().unwrap_or_default();
        let session = kinds.iter().find(|session| session["kind"] == kind);
        let Some(last) = of_key.last() else {
            assert_eq!(session, None, "{kind} {key}");
            continue;
        };
        let session = session.unwrap_or_else(|| panic!("no {kind} of {key}: {view}"));
        let of = |name: &str| of_key.iter().filter(|event| event.kind == name).count();
        let state = match (of("cart_add"), of("payment_completed")) {
            (0, 0) => "browsing",
            (0, _) => "browsing",
            (_, 0) => "at_risk",
            _ => "converted",
        };
        assert_eq!((&session["state"], &session["waiting"]), (&json!(state), &json!(0)));
        assert_eq!(session["events"], of_key.len(), "{session}");
        assert_eq!((&session["first"], &session["last"]), (&json!(of_key[0].at), &json!(last.at)));
        assert_eq!(session["attributes"], json!({ "region": last.more["region"] }));
        if kind == "visit" {
            assert_eq!(session["counts"], json!({ "views": of("page_view") }));
        }
        let row = rows.iter().find(|row| row["key"] == key);
        assert_eq!(row.is_some(), state == "at_risk");
        for name in ["value", "deadline", "step"] {
            row.into_iter().for_each(|row| assert_eq!(session[name], row[name], "{kind} {key}"));
        }
    }
}

#[test]
fn the_topic_has_the_lists_while_somebody_follows_it() {
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}[pipeline]\ntick = \"100ms\"\n")).start();
    let add = |user: &str, at: i64, amount: i64| {
        let mut event = Event::new("", START + at, "cart_add", user);
        event.more.insert("amount".into(), json!(amount));
        event.line()
    };
    let long = "x".repeat(300);
    let mut poster = Poster::new(server.target());
    poster.post(&[add("a", 0, 5), add("b", 1_000, 9), add(&long, 2_000, 1)]);
    server.wait_settled(3);
    // The totals are there for everybody, the lists for those who follow.
    let topic = server.topic("at_risk");
    assert_eq!((&topic["sessions"], &topic["value"]), (&json!(3), &json!(15.0)), "{topic}");
    assert!(topic["by_value"].is_null() && topic["by_deadline"].is_null(), "{topic}");
    let mut client = Client::follow(&server.url, &["at_risk"]);
    let keys = |client: &Client, list: &str| -> Vec<String> {
        let rows = client.state("at_risk")[list].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
    };
    client.read_until(20, "the lists are there", |client| keys(client, "by_value").len() == 3);
    assert_eq!(keys(&client, "by_value")[..2], ["b", "a"]);
    let by_deadline = keys(&client, "by_deadline");
    assert_eq!(by_deadline[..2], ["a", "b"]);
    assert!(by_deadline[2].starts_with("xxxx") && by_deadline[2].len() < 100, "{by_deadline:?}");
    poster.post(&[add("c", 3_000, 20)]);
    client.read_until(20, "what comes is there", |client| keys(client, "by_value")[0] == "c");
    drop(client);
    until(20, "nobody looks any more", || {
        server.topic("at_risk")["by_value"].is_null().then_some(())
    });
}

#[test]
fn the_topic_of_a_kind_has_the_lists_while_somebody_follows_it() {
    let folder = Folder::default();
    let config = format!("{HOLD}[pipeline]\ntick = \"100ms\"\n{KINDS}");
    let server = folder.serve(&config).start();
    let line = |kind: &str, user: &str, at: i64, amount: i64| {
        let mut event = Event::new("", START + at, kind, user);
        event.more.insert("amount".into(), json!(amount));
        event.more.insert("device_id".into(), json!(format!("of {user}")));
        event.line()
    };
    let mut poster = Poster::new(server.target());
    poster.post(&[line("cart_add", "a", 0, 5), line("cart_add", "b", 1_000, 9)]);
    poster.post(&[line("page_view", "~", 37_000, 0)]);
    server.wait_settled(3);
    let topic = until(20, "both are open", || {
        let topic = server.topic("device");
        (topic["at_risk"] == 2).then_some(topic)
    });
    assert!(topic["by_value"].is_null() && topic["by_deadline"].is_null(), "{topic}");
    // Who follows one kind has the lists of that one; those of the strip are not looked for.
    let mut client = Client::follow(&server.url, &["device"]);
    let keys = |client: &Client, list: &str| -> Vec<String> {
        let rows = client.state("device")[list].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| text(&row["key"])).collect()
    };
    client.read_until(20, "the lists are there", |client| keys(client, "by_value").len() == 2);
    assert_eq!(keys(&client, "by_value"), ["of b", "of a"]);
    assert_eq!(keys(&client, "by_deadline"), ["of a", "of b"]);
    assert!(server.topic("at_risk")["by_value"].is_null());
    drop(client);
    until(20, "nobody looks any more", || {
        server.topic("device")["by_value"].is_null().then_some(())
    });
}

#[test]
fn a_kind_that_is_not_there_is_said_with_those_that_are() {
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}{KINDS}")).start();
    let empty = until(20, "the shards are there", || {
        let answer = server.get("v1/at-risk?of=device");
        answer["items"].is_array().then_some(answer)
    });
    assert_eq!((&empty["sessions"], &empty["items"]), (&json!(0), &json!([])));
    let answer = server.http.get(&server.at("v1/at-risk?of=devices"));
    assert_eq!(answer.status, 404);
    let words = answer.json().to_string();
    assert!(words.contains("devices") && words.contains("there are visit, device"), "{words}");
    let server = Folder::default().serve(HOLD).start();
    let answer = server.http.get(&server.at("v1/at-risk?of=visit"));
    assert_eq!(answer.status, 404);
    assert!(answer.json().to_string().contains("there are none but [session]"));
}

#[test]
fn what_cannot_be_asked_is_said() {
    let folder = Folder::default();
    let server = folder.serve(HOLD).start();
    let empty = server.get("v1/at-risk");
    assert_eq!(
        empty,
        json!({"at": null, "by": "deadline", "sessions": 0, "value": 0.0, "currency": "EUR", "items": []})
    );
    for query in ["by=size", "top=3", "limit=x"] {
        let answer = server.http.get(&server.at(&format!("v1/at-risk?{query}")));
        assert_eq!(answer.status, 400, "{query}");
    }
}
