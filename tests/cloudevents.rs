//! Shows that a CloudEvent counts with all its attributes whichever way it comes (binary,
//! structured and batch mode, over HTTP and over NATS), that the structured modes win over
//! headers, and that what is refused lies in the dead letters with its attributes and the true
//! reason, so that it can be sent again once the rules allow it.
//!
//! How: the real binary, once with the embedded log and once on a real nats-server.

mod support;

use async_nats::HeaderMap;
use serde_json::{Value, json};
use support::{Broker, Folder, HOLD, Js, Server, until};

/// One event in structured form, of session `ada`.
const STRUCTURED: &str = r#"{"specversion":"1.0","id":"s1","source":"/shop","type":"cart_add",
    "time":"2026-01-01T00:00:00Z","subject":"ada","dataschema":"https://s.example/x.json",
    "sequence":"7","data":{"amount":5}}"#;

/// The attributes of a binary event; `ce-dataschema` and the rest are optional.
const BINARY: [(&str, &str); 8] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "b1"),
    ("ce-source", "/shop"),
    ("ce-type", "cart_add"),
    ("ce-time", "2026-01-01T00:00:01Z"),
    ("ce-subject", "ad%61"),
    ("ce-dataschema", "https://s.example/x.json"),
    ("Content-Type", "application/json"),
];

fn batch() -> String {
    let event = |id: &str| STRUCTURED.replace("\"s1\"", &format!("{id:?}"));
    format!("[{},{}]", event("a1"), event("a2"))
}

/// Headers that lie, beside a body that is structured.
fn lying(content_type: &str) -> [(&str, &str); 3] {
    [("ce-specversion", "0.3"), ("ce-type", "page_view"), ("Content-Type", content_type)]
}

/// All four events are in the session of `ada`.
fn all_count(server: &Server) {
    let pipeline = server.wait_settled(4);
    assert_eq!(
        (&pipeline["applied"], &pipeline["rejected"], &pipeline["balanced"]),
        (&json!(4), &json!(0), &json!(true)),
        "{pipeline}"
    );
    let session = server.get("/v1/sessions/ada");
    assert_eq!(session["sessions"][0]["counts"], json!({"cart_add": 4}), "{session}");
}

/// The dead letters, once there are so many: (reason, bytes as JSON), by reason.
fn letters(server: &Server, count: usize) -> Vec<(String, Value)> {
    let items = until(30, "the dead letters are there", || {
        let items = server.get("/v1/dead-letters")["items"].as_array().cloned()?;
        (items.len() >= count).then_some(items)
    });
    assert_eq!(items.len(), count, "{items:?}");
    let letter = |item: &Value| {
        let raw = item["raw"].as_str().unwrap();
        let json = serde_json::from_str(raw).unwrap_or_else(|_| raw.into());
        (item["reason"].as_str().unwrap().to_owned(), json)
    };
    let mut letters: Vec<_> = items.iter().map(letter).collect();
    letters.sort_by(|one, other| one.0.cmp(&other.0));
    letters
}

/// Names and values.
type Headers = Vec<(&'static str, &'static str)>;

/// What may be wrong with a binary event: its headers, its body, and how the reason begins.
fn faults() -> Vec<(Headers, &'static str, &'static str)> {
    let changed = |name: &'static str, value: &'static str| {
        let kept = BINARY.into_iter().filter(|(header, _)| *header != name);
        kept.chain((!value.is_empty()).then_some((name, value))).collect::<Vec<_>>()
    };
    vec![
        (changed("ce-my_ext", "1"), "{}", "CloudEvent: header \"ce-my_ext\" is not an attribute"),
        (changed("ce-specversion", ""), "{}", "CloudEvent: \"specversion\" is missing"),
        (changed("ce-time", ""), "{}", "CloudEvent: \"time\" is missing"),
        (BINARY.to_vec(), "{", "CloudEvent: the data is not JSON"),
    ]
}

fn each_is_kept_with_its_reason(server: &Server) {
    let letters = letters(server, 4);
    let mut wanted = faults();
    wanted.sort_by_key(|(_, _, reason)| *reason);
    assert_eq!(letters.len(), wanted.len());
    for ((reason, event), (_, _, prefix)) in letters.iter().zip(&wanted) {
        assert!(reason.starts_with(prefix), "{reason}: {prefix}");
        assert_eq!(
            (&event["id"], &event["source"], &event["subject"], &event["dataschema"]),
            (&json!("b1"), &json!("/shop"), &json!("ada"), &json!("https://s.example/x.json")),
            "{reason}: {event}"
        );
    }
}

#[test]
fn every_mode_counts_over_http() {
    let folder = Folder::default();
    let server = folder.serve(HOLD).start();
    let url = server.at("v1/events");
    let batch = batch();
    let structured = lying("application/cloudevents+json; charset=utf-8");
    for (headers, body) in [
        (&BINARY[..], r#"{"amount":5}"#),
        (&structured, STRUCTURED),
        (&lying("application/cloudevents-batch+json"), batch.as_str()),
    ] {
        let answer = server.http.try_post(&url, headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    all_count(&server);
    let xml = lying("application/cloudevents+xml");
    let refused = server.http.try_post(&url, &xml, b"<event/>").unwrap();
    assert_eq!(refused.status, 415);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("application/cloudevents+json"), "{detail}");
}

#[test]
fn every_mode_counts_over_nats() {
    let (broker, folder) = (Broker::start(), Folder::default());
    let server = folder.serve(&config(&broker)).start();
    let js = Js::connect(&broker.url());
    let batch = batch();
    for (headers, body) in [
        (&BINARY[..], r#"{"amount":5}"#),
        (&lying("application/cloudevents+json"), STRUCTURED),
        (&lying("application/cloudevents-batch+json"), batch.as_str()),
    ] {
        publish(&js, headers, body);
    }
    all_count(&server);
    publish(&js, &lying("application/cloudevents+protobuf"), "no json");
    let (reason, raw) = letters(&server, 1).remove(0);
    assert!(reason.contains("application/cloudevents+protobuf"), "{reason}");
    assert_eq!(raw, "no json");
    let hints = &server.get("/v1/dead-letters")["items"][0]["hints"];
    assert_eq!(hints["ce-type"], "page_view", "the headers are kept: {hints}");
}

#[test]
fn what_is_refused_over_http_keeps_its_attributes() {
    let folder = Folder::default();
    let server = folder.serve(HOLD).start();
    for (headers, body, prefix) in faults() {
        let answer =
            server.http.try_post(&server.at("v1/events"), &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 400, "{answer:?}");
        let reason = answer.json()["verdicts"][0]["reason"].as_str().unwrap().to_owned();
        assert!(reason.starts_with(prefix), "{reason}");
    }
    each_is_kept_with_its_reason(&server);
}

#[test]
fn what_is_refused_over_nats_keeps_its_attributes() {
    let (broker, folder) = (Broker::start(), Folder::default());
    let server = folder.serve(&config(&broker)).start();
    let js = Js::connect(&broker.url());
    for (headers, body, _) in faults() {
        publish(&js, &headers, body);
    }
    each_is_kept_with_its_reason(&server);
}

/// The whole way: refused by narrow rules, redriven under wider ones, counted once.
#[test]
fn a_refused_event_counts_once_its_redrive_is_taken() {
    let folder = Folder::default();
    let narrow = format!("{HOLD}[events]\ntext_bytes = \"16B\"\n");
    let mut server = folder.serve(&narrow).start();
    let mut headers = BINARY.to_vec();
    headers.retain(|(name, _)| *name != "ce-subject");
    headers.push(("ce-subject", "a-user-with-a-long-name"));
    let answer =
        server.http.try_post(&server.at("v1/events"), &headers, br#"{"amount":5}"#).unwrap();
    assert_eq!(answer.status, 400, "{answer:?}");
    let (reason, event) = letters(&server, 1).remove(0);
    assert!(reason.contains("longer than 16"), "{reason}");
    assert_eq!(event["dataschema"], "https://s.example/x.json");
    server.stop();
    let server = folder.serve(HOLD).start();
    let data = folder.data().display().to_string();
    let run =
        folder.command(&["dead-letters", "redrive", "--all", "--json", "--data-dir", &data]).run();
    assert_eq!(run.json()["redriven"], 1, "{run:?}");
    let pipeline = server.wait_settled(2);
    assert_eq!((&pipeline["applied"], &pipeline["rejected"]), (&json!(1), &json!(1)), "{pipeline}");
    let session = server.get("/v1/sessions/a-user-with-a-long-name");
    assert_eq!(session["sessions"][0]["counts"], json!({"cart_add": 1}), "{session}");
}

fn config(broker: &Broker) -> String {
    format!("{HOLD}[nats]\nurl = \"{}\"\n", broker.url())
}

fn publish(js: &Js, headers: &[(&str, &str)], body: &str) {
    js.info("EVENTS");
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let (context, body) = (js.context().clone(), body.to_owned());
    until(30, "it is in the stream", || {
        let sent = context.publish_with_headers("events.shop", map.clone(), body.clone().into());
        js.run(async { sent.await.ok()?.await.ok() })
    });
}
