//! Shows that what a stream holds can be looked at: the configuration that is written for it counts
//! all of it, a dry run finds what it finds in a file of the same events, and no consumer is left.
//!
//! How: a real nats-server; the commands as a user gives them.

mod support;

use async_nats::jetstream::stream::Config;
use futures_util::StreamExt;
use serde_json::{Value, json};
use support::{Broker, Folder, Js, until};

/// A midnight of UTC, 2023-11-14.
const START: i64 = 1_699_920_000_000;

fn stream(js: &Js, name: &str, subject: &str) {
    let subjects = vec![subject.to_owned()];
    js.make_stream(&Config { name: name.into(), subjects, ..Config::default() });
}

fn publish(js: &Js, subject: &str, event: &Value) {
    let (subject, payload) = (subject.to_owned(), event.to_string().into());
    js.run(async { js.context().publish(subject, payload).await.unwrap().await.unwrap() });
}

/// Names of the consumers of a stream.
fn consumers(js: &Js, name: &str) -> Vec<String> {
    js.run(async {
        let stream = js.context().get_stream(name).await.unwrap();
        let mut names = stream.consumer_names();
        let mut found = Vec::new();
        while let Some(name) = names.next().await {
            found.push(name.unwrap());
        }
        found
    })
}

#[test]
fn a_configuration_is_written_for_a_stream() {
    let (broker, folder) = (Broker::start(), Folder::default());
    let js = Js::connect(&broker.url());
    stream(&js, "READINGS", "readings.>");
    // Neither a time nor a type.
    for n in 0..120 {
        let subject = format!("readings.{}", ["kitchen", "attic"][n % 2]);
        publish(&js, &subject, &json!({ "device": format!("d{}", n % 5), "temp": 20 + n % 7 }));
    }
    let out = folder.path("mine.toml").display().to_string();
    let url = broker.url();
    let init = |args: &[&str]| {
        let all = ["init", "--nats", &url, "--out", &out, "--force"];
        folder.command(&all).args(args).run()
    };
    let run = init(&["--stream", "READINGS"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = std::fs::read_to_string(&out).unwrap();
    for line in [
        "from 120 events of stream READINGS at",
        "stream = \"READINGS\"",
        "subject_template = \"readings.{type}\"",
        "time = \"broker_if_absent\"",
        "# Event types: attic 60, kitchen 60",
        "key = \"device\"",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    let server = folder.serve(&text).start();
    let pipeline = server.wait_settled(120);
    assert_eq!(pipeline["applied"], 120, "{pipeline}\n{text}");
    drop(server);
    // The stream is found by a subject, and the others are left out.
    let run = init(&["--subject", "readings.attic", "--rows", "30"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.contains("from 30 events of readings.attic in stream READINGS"), "{text}");
    assert!(text.contains("filter = [\"readings.attic\"]"), "{text}");
    // One that could not be deleted at once goes by itself.
    until(40, "only that of the server is left", || {
        (consumers(&js, "READINGS") == ["tidewatch"]).then_some(())
    });

    // Who is signed in is not written; how the server is spoken to is.
    let with_user = url.replace("nats://", "nats://u:hush@");
    let all = ["init", "--nats", &with_user, "--out", &out, "--force", "--stream", "READINGS"];
    let run = folder.command(&all).run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.contains(&format!("url = {url:?}")) && !text.contains("hush"), "{text}");
    assert!(!run.stderr.contains("hush") && run.stderr.contains("nats.user"), "{}", run.stderr);
    let elsewhere = ["init", "--nats", "http://u:hush@a", "--out", &out, "--stream", "READINGS"];
    let run = folder.command(&elsewhere).run();
    assert!(run.stderr.contains("must begin with nats:// or tls://"), "{}", run.stderr);

    let run = init(&["--stream", "NOWHERE"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("stream NOWHERE does not exist"), "{}", run.stderr);
    let run = init(&["--subject", "nobody.>", "--listen-for", "1"]);
    assert_eq!(run.code, Some(6));
    assert!(run.stderr.contains("no message came: --listen-for waits longer"), "{}", run.stderr);
}

#[test]
fn a_dry_run_finds_in_a_stream_what_it_finds_in_a_file() {
    let (broker, folder) = (Broker::start(), Folder::default());
    let js = Js::connect(&broker.url());
    stream(&js, "SHOP", "shop.>");
    let mut lines = String::new();
    for n in 0..300i64 {
        let kind = ["page_view", "cart_add", "payment_completed"][(n % 7 % 3) as usize];
        let event = json!({ "id": n.to_string(), "ts": START + n * 60_000, "type": kind, "user": format!("u{}", n % 40) });
        publish(&js, "shop.events", &event);
        lines += &format!("{event}\n");
    }
    let file = folder.write("shop.ndjson", &lines);
    let config = format!(
        "[nats]\nurl = {:?}\n[nats.gateway]\nsubject = \"\"\n[[nats.source]]\nstream = \"SHOP\"\nsubjects = []\n",
        broker.url()
    );
    let config = folder.write("shop.toml", &config);
    let dry_run = |args: &[&str]| {
        let all = ["dry-run", "abandoned", "--vary", "gap=10m,50m", "--json", "--config", &config];
        folder.command(&all).args(args).run().json()
    };
    let (mut of_stream, mut of_file) = (dry_run(&[]), dry_run(&["--file", &file]));
    assert_eq!(of_stream["history"]["applied"], 300, "{of_stream:#}");
    let name = of_stream["history"]["source"].take();
    assert!(name.as_str().unwrap().contains("stream SHOP at"), "{name}");
    of_file["history"]["source"].take();
    assert_eq!(of_stream, of_file);
    assert_eq!(consumers(&js, "SHOP"), Vec::<String>::new());
    // All was stored today: from tomorrow on there is nothing to read.
    let late = ["dry-run", "abandoned", "--json", "--config", &config, "--from", "2222-01-01"];
    let run = folder.command(&late).run();
    assert_eq!(run.code, Some(6), "{}", run.stderr);
    let late: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(late["history"]["received"], 0, "{late:#}");
    // It is given up before the end of the stream.
    dry_run(&["--to", "2023-11-14T01:00:00Z"]);
    assert_eq!(consumers(&js, "SHOP"), Vec::<String>::new());
    let run = folder.command(&["dry-run", "abandoned", "--config", &config, "--stream", "X"]).run();
    assert!(run.stderr.contains("--stream X: the configuration has SHOP"), "{}", run.stderr);
}
