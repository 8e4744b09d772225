//! Shows that what real foreign clients publish is in the stream as they sent it: plain,
//! with `Nats-Msg-Id`, an array in one message, a CloudEvent in binary form.
//!
//! How: scripts under `tests/fixtures/clients` run against a real nats-server with the
//! clients that `./test` installs under `target/`.

mod publisher_rig;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use publisher_rig::{Nats, Stored};
use serde_json::{Value, json};
use support::until;

fn under_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a script to its end; its last line is JSON.
fn script(nats: &Nats, program: &Path, name: &str) -> Value {
    let mut command = Command::new(program);
    command.arg(under_root("tests/fixtures/clients").join(name));
    command.env("NATS_URL", nats.url()).env("NODE_CLIENTS", under_root("target/clients"));
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(told.lines().last().expect("it says something")).unwrap()
}

/// What the five publishes of a script must have left, in their order.
fn check(messages: &[Stored], client: &str) {
    let id = |n: usize| format!("{client}-{n}");
    let ids = |stored: &Stored| match stored.json() {
        Value::Array(events) => events.iter().map(|event| event["id"].clone()).collect(),
        event => vec![event["id"].clone()],
    };
    let found: Vec<Vec<Value>> = messages.iter().map(ids).collect();
    assert_eq!(
        found,
        [
            vec![json!(id(1))],
            vec![json!(id(2))],
            vec![json!(id(3)), json!(id(4))],
            vec![json!(null)]
        ]
    );
    assert!(messages.iter().all(|stored| stored.subject == format!("events.{client}")));
    let (plain, named, cloud) = (&messages[0], &messages[1], &messages[3]);
    assert!(plain.headers.is_empty(), "{plain:?}");
    let event = json!({"id": id(1), "ts": 1_700_000_000_000_u64, "type": "cart_add",
                       "user": "ada", "amount": 12.5});
    assert_eq!(plain.json(), event);
    assert_eq!(named.header("Nats-Msg-Id"), Some(id(2).as_str()));
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", id(5).as_str()),
        ("ce-source", "/shop"),
        ("ce-type", "cart_add"),
        ("ce-time", "2023-11-14T22:13:20Z"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(cloud.header(name), Some(value), "{name} of {cloud:?}");
    }
    assert_eq!(cloud.json(), json!({"user": "ada", "amount": 12.5}));
}

fn publishes(program: &Path, name: &str, client: &str) {
    let nats = Nats::start();
    nats.stream("EVENTS", "events.>");
    assert_eq!(script(&nats, program, name), json!({"duplicate": true}));
    // A plain publish is not waited for by its client.
    until(10, "all messages are stored", || (nats.count("EVENTS") >= 4).then_some(()));
    check(&nats.messages("EVENTS"), client);
}

#[test]
fn a_python_service_publishes_with_nats_py() {
    let python = under_root("target/nats/bin/python");
    assert!(python.exists(), "{} is missing: ./test installs it", python.display());
    publishes(&python, "publish.py", "py");
}

#[test]
fn a_node_service_publishes_with_the_nats_io_packages() {
    if Command::new("node").arg("--version").output().is_err() {
        support::skipped("there is no node on this machine");
        return;
    }
    let packages = under_root("target/clients/node_modules/@nats-io/jetstream");
    assert!(packages.exists(), "{} is missing: ./test installs it", packages.display());
    publishes(Path::new("node"), "publish.mjs", "js");
}
