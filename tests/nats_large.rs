//! Shows what becomes of events that a stream does not take: one that is too large is told by
//! its own verdict with the bound's name, before anything is sent, and lies in the dead letters
//! whole, while the others count; a stream that is full is named; and a dead letter goes back
//! to where it came from, once.
//!
//! How: real nats-servers with small bounds; `serve` and the command line.

mod support;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use serde_json::{Value, json};
use support::http::Answer;
use support::{Broker, Folder, HOLD, Js, Server, until};

const TS: u64 = 1_763_800_000_000;

fn config(broker: &Broker, more: &str) -> String {
    format!(
        "{HOLD}[events]\nevent_bytes = \"1MiB\"\n[pipeline]\ncommit_interval = \"50ms\"\n\
         [nats]\nurl = \"{}\"\n{more}\n",
        broker.url()
    )
}

fn event(id: &str, bytes: usize) -> String {
    let event = json!({ "id": id, "ts": TS, "type": "page_view", "user": "u", "note": "" });
    let event = event.to_string();
    let note = "y".repeat(bytes.saturating_sub(event.len()));
    event.replace("\"note\":\"\"", &format!("\"note\":\"{note}\""))
}

fn post(server: &Server, events: &[String]) -> Answer {
    let ndjson = [("Content-Type", "application/x-ndjson")];
    server.http.try_post(&server.at("v1/events"), &ndjson, events.join("\n").as_bytes()).unwrap()
}

fn counts(pipeline: &Value) -> [u64; 4] {
    ["received", "applied", "duplicate", "rejected"].map(|name| pipeline[name].as_u64().unwrap())
}

fn letters(server: &Server) -> Vec<Value> {
    server.get("/v1/dead-letters")["items"].as_array().unwrap().clone()
}

#[test]
fn an_event_that_is_too_large_costs_only_itself() {
    let mut broker = Broker::with("max_payload: 64KB");
    let folder = Folder::default();
    let server = folder.serve(&config(&broker, "")).start();
    let large = event("large", 100_000);
    let body = [event("1", 0), large.clone(), event("2", 0)];
    let answer = post(&server, &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let receipt = answer.json();
    assert_eq!((&receipt["accepted"], &receipt["rejected"]), (&json!(2), &json!(1)), "{receipt}");
    let verdict = &receipt["verdicts"][0];
    assert_eq!((&verdict["index"], &verdict["ok"]), (&json!(1), &json!(false)), "{receipt}");
    let reason = verdict["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("max_payload is 65536 bytes"), "{reason}");
    // It is where rejected events are without NATS too: in the ledger and the dead letters.
    let pipeline = server.wait_settled(3);
    assert_eq!(counts(&pipeline), [3, 2, 0, 1], "{pipeline}");
    assert_eq!(pipeline["balanced"], true, "{pipeline}");
    let letter = letters(&server).remove(0);
    assert_eq!((&letter["reason"], &letter["bytes"]), (&json!(reason), &json!(large.len())));
    let id = letter["id"].as_u64().unwrap();
    let raw = server.http.get(&server.at(&format!("v1/dead-letters/{id}/raw"))).body;
    assert_eq!(raw, large.as_bytes(), "all its bytes are kept");
    // One that `events.event_bytes` does not let in either has one reason, wherever it is read.
    let larger = event("larger", 1_500_000);
    let receipt = post(&server, &[event("3", 0), larger]).json();
    let reason = &receipt["verdicts"][0]["reason"];
    assert!(reason.as_str().unwrap().contains("max_payload is 65536 bytes"), "{receipt}");
    assert_eq!((&receipt["accepted"], &receipt["rejected"]), (&json!(1), &json!(1)), "{receipt}");
    server.wait_settled(5);
    assert_eq!(&letters(&server)[1]["reason"], reason);
    // Nothing of a body that is too large is sent; the same body again counts nothing twice.
    assert_eq!(post(&server, std::slice::from_ref(&large)).status, 413);
    assert_eq!(post(&server, &body).status, 202);
    let js = Js::connect(&broker.url());
    assert_eq!(js.info("EVENTS").state.messages, 3);
    assert_eq!(counts(&server.wait_settled(7)), [7, 3, 0, 4]);

    // Redriven it is refused for the same reason, until the bound is another one.
    let data = folder.data().display().to_string();
    let redrive =
        || folder.command(&["dead-letters", "redrive", &id.to_string(), "--data-dir", &data]).run();
    let refused = redrive();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("0 redriven, 1 refused"), "{refused:?}");
    assert!(refused.stdout.contains("max_payload is 65536 bytes"), "{refused:?}");
    broker.kill_9();
    broker.set("max_payload: 1MB");
    broker.restart();
    until(30, "it is redriven", || (redrive().code == Some(0)).then_some(()));
    let pipeline = server.wait_settled(8);
    assert_eq!(counts(&pipeline), [8, 4, 0, 4], "{pipeline}");
}

#[test]
fn a_size_at_the_bound_is_taken_and_one_byte_more_is_not() {
    let broker = Broker::with("max_payload: 8KB");
    let folder = Folder::default();
    let server = folder.serve(&config(&broker, "")).start();
    // A header line for the id (32 digits), the first line and the last.
    let headers = "NATS/1.0\r\nNats-Msg-Id: \r\n\r\n".len() + 32;
    assert_eq!(post(&server, &[event("fits", 8_192 - headers)]).status, 202);
    assert_eq!(post(&server, &[event("not", 8_192 - headers + 1)]).status, 413);
    assert_eq!(counts(&server.wait_settled(2)), [2, 1, 0, 1]);
}

#[test]
fn the_bound_of_the_stream_is_named_too() {
    let broker = Broker::start();
    let js = Js::connect(&broker.url());
    js.make_stream(&Config {
        name: "EVENTS".into(),
        subjects: vec!["events.>".into()],
        max_message_size: 1_000,
        ..Config::default()
    });
    let folder = Folder::default();
    let server = folder.serve(&config(&broker, "")).start();
    let answer = until(30, "the bound is known", || {
        let answer = post(&server, &[event("1", 0), event("large", 2_000)]);
        assert_eq!(answer.status, 202, "{answer:?}");
        let reason = answer.json()["verdicts"][0]["reason"].as_str().unwrap().to_owned();
        reason.contains("stream EVENTS").then_some(reason)
    });
    assert!(answer.contains("the max_msg_size of stream EVENTS is 1000 bytes"), "{answer}");
    assert_eq!(js.info("EVENTS").state.messages, 1);
    // The publisher of files says it for the event alone, in every mode.
    let lines = [event("2", 0), event("large", 2_000), event("3", 0)].join("\n");
    folder.write("events.ndjson", lines);
    for mode in [&["--pack", "2"][..], &["--atomic", "3"], &[]] {
        let run = folder
            .command(&["publish", "events.ndjson", "--subject", "events.shop", "--json"])
            .args(&["--nats", &broker.url()])
            .args(mode)
            .run();
        assert_eq!(run.code, Some(1), "{run:?}");
        let summary: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((&summary["published"], &summary["failed"]), (&json!(2), &json!(1)), "{run:?}");
        let failure = &summary["failures"][0];
        assert_eq!(failure["id"], "large", "{summary}");
        let reason = failure["reason"].as_str().unwrap();
        assert!(reason.contains("message size exceeds maximum allowed"), "{reason}");
    }
}

#[test]
fn the_publisher_refuses_what_the_server_cannot_take_and_sends_the_rest() {
    let broker = Broker::with("max_payload: 8KB");
    let js = Js::connect(&broker.url());
    let folder = Folder::default();
    // Alone each of the third kind just fits; the headers of a batch are too much.
    let most = |id: &str| 8_192 - "NATS/1.0\r\nNats-Msg-Id: \r\n\r\n".len() - id.len();
    let line = |n: usize| {
        let id = n.to_string();
        let bytes = match n % 10 {
            5 => most(&id) + 1,
            7 => most(&id),
            _ => 200,
        };
        event(&id, bytes)
    };
    let lines: Vec<String> = (0..40).map(line).collect();
    folder.write("events.ndjson", lines.join("\n"));
    for (name, mode) in [("A", &["--pack", "7"][..]), ("B", &["--atomic", "7"]), ("C", &[])] {
        js.make_stream(&Config {
            name: name.into(),
            subjects: vec![format!("{name}.>")],
            allow_atomic_publish: true,
            ..Config::default()
        });
        let run = folder
            .command(&["publish", "events.ndjson", "--subject", &format!("{name}.x"), "--json"])
            .args(&["--nats", &broker.url()])
            .args(mode)
            .run();
        assert_eq!(run.code, Some(1), "{run:?}");
        let summary: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(
            (&summary["published"], &summary["failed"]),
            (&json!(36), &json!(4)),
            "{summary}"
        );
        for failure in summary["failures"].as_array().unwrap() {
            let reason = failure["reason"].as_str().unwrap();
            assert!(reason.contains("max_payload is 8192 bytes"), "{failure}");
        }
    }
}

#[test]
fn a_stream_that_is_full_is_named() {
    let broker = Broker::start();
    let js = Js::connect(&broker.url());
    js.make_stream(&Config {
        name: "EVENTS".into(),
        subjects: vec!["events.>".into()],
        max_bytes: 20_000,
        discard: DiscardPolicy::New,
        ..Config::default()
    });
    let folder = Folder::default();
    let server = folder.serve(&config(&broker, "")).start();
    let events: Vec<String> = (0..10).map(|n| event(&n.to_string(), 3_000)).collect();
    let answer = post(&server, &events);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("maximum bytes exceeded"), "{detail}");
    assert!(detail.contains("of 10 events are in it"), "{detail}");
    // What is in counts, and once when the request comes again.
    let inside = js.info("EVENTS").state.messages;
    assert_eq!(post(&server, &events).status, 503);
    assert_eq!(counts(&server.wait_settled(inside))[1], inside);
}

/// Two streams, each with a template of its own: only the subject says what an event is.
#[test]
fn a_dead_letter_goes_back_to_the_subject_it_came_on() {
    let broker = Broker::start();
    let js = Js::connect(&broker.url());
    for (name, subject) in [("SHOP", "shop.>"), ("EVENTS", "events.>")] {
        let subjects = vec![subject.into()];
        js.make_stream(&Config { name: name.into(), subjects, ..Config::default() });
    }
    let folder = Folder::default();
    let rules = |text_bytes: &str| {
        format!(
            "{HOLD}[events]\ntext_bytes = \"{text_bytes}\"\n[nats]\nurl = \"{}\"\n\
             [[nats.source]]\nstream = \"EVENTS\"\n[[nats.source]]\nstream = \"SHOP\"\n\
             subject_template = \"shop.{{region}}.{{type}}\"\ntime = \"broker\"\n",
            broker.url()
        )
    };
    let mut server = folder.serve(&rules("16B")).start();
    let event = json!({ "user": "a-user-with-a-long-name" }).to_string();
    js.publish("shop.eu.cart_add", &[(String::new(), event.into())], 1);
    let stored = js.info("SHOP").state.last_timestamp.unix_timestamp_nanos() / 1_000_000;
    server.wait_settled(1);
    server.stop();
    let server = folder.serve(&rules("8KiB")).start();
    let data = folder.data().display().to_string();
    let run = folder.command(&["dead-letters", "redrive", "--all", "--data-dir", &data]).run();
    assert_eq!(run.code, Some(0), "{run:?}");
    let pipeline = server.wait_settled(2);
    assert_eq!(counts(&pipeline), [2, 1, 0, 1], "{pipeline}");
    let session = server.get("/v1/sessions/a-user-with-a-long-name");
    let open = &session["sessions"][0];
    assert_eq!((&open["counts"], &open["segment"]), (&json!({"cart_add": 1}), &json!("eu")));
    assert_eq!(open["first"], json!(stored), "its time is when the broker had it first");
    assert_eq!(js.info("SHOP").state.messages, 2);
    assert_eq!(js.info("EVENTS").state.messages, 0);
    let message = js.run(async {
        let stream = js.context().get_stream("SHOP").await.unwrap();
        stream.get_raw_message(2).await.unwrap()
    });
    assert_eq!(message.subject.as_str(), "shop.eu.cart_add");
}
