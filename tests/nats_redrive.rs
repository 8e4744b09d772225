//! Shows that a dead letter of a stream is sent again with what its subject and its headers
//! said, while the service runs and while it does not, and then counts once.
//!
//! How: events without id and type of their own are published under a subject that names the
//! type, to a service whose rules are too narrow for them; the rules are widened, and the
//! dead letters redriven.

mod support;

use async_nats::jetstream::stream::Config;
use serde_json::{Value, json};
use support::{Broker, Folder, HOLD, Js, Server, until};

const EVENTS: u64 = 6;

fn config(url: &str, text_bytes: &str) -> String {
    format!(
        "{HOLD}[events]\ntext_bytes = \"{text_bytes}\"\n\
         [pipeline]\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n\
         [nats]\nurl = \"{url}\"\n\
         [[nats.source]]\nstream = \"EVENTS\"\nsubjects = [\"shop.>\", \"events.>\"]\n\
         subject_template = \"shop.{{region}}.{{type}}\"\n"
    )
}

/// A user whose name is too long for narrow rules.
fn user(number: u64) -> String {
    format!("a-user-with-a-long-name-{number}")
}

/// The dead letters, once there are enough.
fn letters(server: &Server, count: usize) -> Vec<Value> {
    until(30, "the dead letters are there", || {
        let items = server.get("/v1/dead-letters")["items"].as_array().cloned()?;
        (items.len() >= count).then_some(items)
    })
}

/// Each event counts once, as what its subject said it is.
fn all_count(server: &Server) {
    let received = 2 * EVENTS;
    let pipeline = server.wait_settled(received);
    assert_eq!(
        (&pipeline["received"], &pipeline["rejected"], &pipeline["applied"]),
        (&json!(received), &json!(EVENTS), &json!(EVENTS)),
        "{pipeline}"
    );
    assert_eq!(pipeline["balanced"], true, "{pipeline}");
    for number in 0..EVENTS {
        let session = server.get(&format!("/v1/sessions/{}", user(number)));
        let open = &session["sessions"][0];
        assert_eq!(open["counts"], json!({"cart_add": 1}), "{session}");
        assert_eq!(open["segment"], "eu", "{session}");
    }
}

/// Letters of a service with narrow rules, which is then stopped.
fn letters_of_narrow_rules(broker: &Broker, folder: &Folder) {
    let js = Js::connect(&broker.url());
    let subjects = vec!["shop.>".into(), "events.>".into()];
    js.make_stream(&Config { name: "EVENTS".into(), subjects, ..Config::default() });
    let mut server = folder.serve(&config(&broker.url(), "16B")).start();
    let messages: Vec<_> = (0..EVENTS)
        .map(|number| {
            let event = json!({"ts": 1_763_800_000_000u64 + number, "user": user(number)});
            (format!("m{number}"), event.to_string().into())
        })
        .collect();
    js.publish("shop.eu.cart_add", &messages, 10);
    let letters = letters(&server, EVENTS as usize);
    assert!(letters[0]["reason"].as_str().unwrap().contains("longer than 16"), "{letters:?}");
    let hints = json!({"id": "m0", "region": "eu", "type": "cart_add"});
    assert_eq!(letters[0]["hints"], hints);
    server.stop();
}

#[test]
fn a_running_service_takes_its_dead_letters_again() {
    let (broker, folder) = (Broker::start(), Folder::default());
    letters_of_narrow_rules(&broker, &folder);
    let server = folder.serve(&config(&broker.url(), "8KiB")).start();
    let data = folder.data().display().to_string();
    let redrive = ["dead-letters", "redrive", "--all", "--json", "--data-dir", &data];
    let run = folder.command(&redrive).run();
    assert_eq!(run.json()["redriven"], EVENTS, "{run:?}");
    all_count(&server);
    // A second time there is nothing left to send.
    assert_eq!(folder.command(&redrive).run().json()["redriven"], 0);
}

#[test]
fn dead_letters_of_a_stopped_service_wait_in_the_stream() {
    let (broker, folder) = (Broker::start(), Folder::default());
    letters_of_narrow_rules(&broker, &folder);
    let data = folder.data().display().to_string();
    let file = folder.write("wide.toml", config(&broker.url(), "8KiB"));
    let show = ["dead-letters", "show", "1", "--config", &file, "--data-dir", &data];
    let shown = folder.command(&show).run();
    assert!(shown.stdout.contains(r#"hints     {"id":"m0","region":"eu","type":"cart_add"}"#));
    let redrive =
        ["dead-letters", "redrive", "--all", "--json", "--config", &file, "--data-dir", &data];
    let run = folder.command(&redrive).run();
    assert_eq!(run.json()["redriven"], EVENTS, "{run:?}");
    let server = folder.serve(&config(&broker.url(), "8KiB")).start();
    all_count(&server);
}
