//! Shows that tidewatch works where it may not do everything: with an inbox of its own, behind
//! a leaf node whose hub has the streams, with the broker's time instead of the events'; and
//! that what the server does not allow is named on `/readyz`, on the page and in the log.
//!
//! How: real nats-servers with users, domains and a leaf node; `serve` and the command line.

mod support;

use async_nats::jetstream::stream::Config;
use serde_json::{Value, json};
use support::{Broker, Folder, HOLD, Js, Server, until};

/// A time that every test's clock has passed.
const TS: u64 = 1_763_800_000_000;

fn config(url: &str, more: &str) -> String {
    format!("{HOLD}[nats]\nurl = \"{url}\"\nrequest_timeout = \"1s\"\n{more}\n")
}

/// A user `tw` with these permissions.
fn user(publish: &str, subscribe: &str) -> String {
    format!(
        "authorization {{ users: [ {{ user: tw, password: y, permissions: {{ publish: {publish}, \
         subscribe: {subscribe} }} }}, {{ user: all, password: y }} ] }}"
    )
}

const SIGN_IN: &str = "user = \"tw\"\npassword = \"y\"";

/// Posts an event; it must be applied, so it went into the stream and came out of it.
#[track_caller]
fn goes_through(server: &Server, id: u64) {
    let event = json!({ "id": id.to_string(), "ts": TS, "type": "page_view", "user": "u" });
    let answer = server.http.post_json(&server.at("v1/events"), &event);
    assert_eq!(answer.status, 202, "{answer:?}");
    let pipeline = server.wait_settled(id);
    assert_eq!((&pipeline["applied"], &pipeline["balanced"]), (&json!(id), &json!(true)));
}

/// What `/readyz?verbose` says, once it says `words`.
#[track_caller]
fn told(server: &Server, words: &str) -> String {
    until(30, &format!("readyz says {words:?}"), || {
        let answer = server.http.get(&server.at("readyz?verbose"));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        text.contains(words).then_some(text)
    })
}

fn conditions(server: &Server) -> Value {
    server.pipeline()["conditions"].clone()
}

#[test]
fn an_inbox_of_its_own_is_enough() {
    let allowed = r#"["_INBOX_tw.>", "tidewatch.>", "$SRV.>"]"#;
    let broker = Broker::with(&user(r#"[">"]"#, allowed));
    let folder = Folder::default();
    let inbox = format!("{SIGN_IN}\ninbox_prefix = \"_INBOX_tw\"");
    let server = folder.serve(&config(&broker.url(), &inbox)).start();
    goes_through(&server, 1);
    assert_eq!(conditions(&server), json!([]));
    // The publisher's answers come there too.
    let event = json!({ "id": "2", "ts": TS, "type": "page_view", "user": "u" });
    folder.write("events.ndjson", event.to_string());
    folder.write("password", "y");
    let publish = |prefix: &str| {
        folder
            .command(&["publish", "events.ndjson", "--subject", "events.shop", "--json"])
            .args(&["--nats", &broker.url(), "--user", "tw", "--password-file", "password"])
            .args(&["--give-up", "2", "--inbox-prefix", prefix])
            .run()
    };
    assert_eq!(publish("_INBOX_tw").json()["published"], 1);
    let refused = publish("_OTHER");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("may not subscribe to _OTHER.>"), "{refused:?}");
    server.wait_settled(2);
}

#[test]
fn an_inbox_that_is_not_allowed_is_named_and_waited_for() {
    let allowed = r#"["_INBOX_tw.>", "tidewatch.>", "$SRV.>"]"#;
    let broker = Broker::with(&user(r#"[">"]"#, allowed));
    let folder = Folder::default();
    let mut server = folder.serve(&config(&broker.url(), SIGN_IN)).listening();
    let text = told(&server, "may not subscribe to _INBOX.>");
    assert!(text.contains("nats.inbox_prefix"), "the way out is named: {text}");
    assert!(text.ends_with("not ready\n"), "{text}");
    let reasons = server.http.get(&server.at("readyz")).json()["reasons"].clone();
    assert!(reasons["nats_refuses"].as_str().unwrap().contains("_INBOX.>"), "{reasons}");
    until(10, "the log says it", || {
        server.stderr().contains("may not subscribe to _INBOX.>").then_some(())
    });
    // Once it is allowed, it goes on by itself.
    broker.reload(&user(r#"[">"]"#, r#"[">"]"#));
    server.wait_ready();
    goes_through(&server, 1);
}

#[test]
fn a_subject_that_may_not_be_published_to_is_named() {
    let denied = r#"{ deny: ["tidewatch.board", "tidewatch.alerts.>"] }"#;
    let broker = Broker::with(&user(denied, r#"[">"]"#));
    let folder = Folder::default();
    let server = folder.serve(&config(&broker.url(), SIGN_IN)).start();
    goes_through(&server, 1);
    let text = told(&server, "may not publish to tidewatch.board");
    assert!(text.ends_with("\nready\n"), "events are counted all the same: {text}");
    let on_the_page = until(10, "the page says it", || {
        let conditions = conditions(&server);
        conditions.to_string().contains("tidewatch.board").then_some(conditions)
    });
    assert_eq!(on_the_page[0]["name"], "nats_denied");
}

#[test]
fn a_gateway_that_may_not_publish_is_not_ready() {
    let broker = Broker::with(&user(r#"{ deny: ["events.>"] }"#, r#"[">"]"#));
    let folder = Folder::default();
    let more = format!("{SIGN_IN}\n[nats.gateway]\ntimeout = \"1s\"");
    let server = folder.serve(&config(&broker.url(), &more)).start();
    let event = json!({ "id": "1", "ts": TS, "type": "page_view", "user": "u" });
    let answer = server.http.post_json(&server.at("v1/events"), &event);
    assert_eq!(answer.status, 503, "{answer:?}");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("may not publish to events.http"), "{detail}");
    let text = told(&server, "may not publish to events.http");
    assert!(text.ends_with("not ready\n"), "{text}");
}

/// A hub with streams, and a leaf node connected to it.
fn hub_and_leaf(leaf_store: &str) -> (Broker, Broker) {
    let port = support::nats::free_port();
    let hub = Broker::on("domain: hub", &format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}"));
    let remote = format!("leafnodes {{ remotes: [ {{ url: \"nats://127.0.0.1:{port}\" }} ] }}");
    let leaf = Broker::on(leaf_store, &remote);
    (hub, leaf)
}

/// The subjects of a stream as the hub itself knows it.
fn stream_of(broker: &Broker, name: &str) -> Option<Config> {
    let js = Js::connect(&broker.url());
    js.run(async {
        js.context().get_stream(name).await.ok().map(|s| s.cached_info().config.clone())
    })
}

#[test]
fn a_stream_of_another_domain_is_read() {
    let (hub, leaf) = hub_and_leaf("domain: edge");
    let js = Js::connect(&hub.url());
    let subjects = vec!["events.>".into()];
    js.make_stream(&Config { name: "EVENTS".into(), subjects, ..Config::default() });
    let event = json!({ "id": "0", "ts": TS, "type": "page_view", "user": "u" });
    js.publish("events.shop", &[("m".into(), event.to_string().into())], 1);

    // Without the domain the leaf's own JetStream is asked, and says what it knows.
    let mut lost = Folder::default();
    let run = lost_in_the_leaf(&mut lost, &leaf);
    assert!(run.contains("stream EVENTS does not exist"), "{run}");

    for key in ["domain = \"hub\"", "api_prefix = \"$JS.hub.API\""] {
        let folder = Folder::default();
        let server =
            folder.serve(&config(&leaf.url(), &format!("manage = \"create\"\n{key}"))).start();
        server.wait_settled(1);
        let before = server.pipeline()["applied"].as_u64().unwrap();
        let id = format!("of {key}");
        let event = json!({ "id": id, "ts": TS, "type": "page_view", "user": "u" });
        let answer = server.http.post_json(&server.at("v1/events"), &event);
        assert_eq!(answer.status, 202, "{answer:?}");
        server.wait_pipeline("it counts", |pipeline| pipeline["applied"] == before + 1);
        // What leaves is in the hub too.
        until(30, "the streams and the bucket are in the hub", || {
            stream_of(&hub, "TIDEWATCH_DEAD_LETTERS").and(stream_of(&hub, "KV_tidewatch_board"))
        });
    }
    assert!(stream_of(&leaf, "EVENTS").is_none(), "nothing was made on the leaf");
    assert!(stream_of(&leaf, "KV_tidewatch_board").is_none());
}

fn lost_in_the_leaf(folder: &mut Folder, leaf: &Broker) -> String {
    let mut server = folder.serve(&config(&leaf.url(), "manage = \"check\"")).spawn();
    assert_eq!(server.wait_exit(60).code(), Some(1));
    server.stderr()
}

#[test]
fn a_leaf_without_streams_of_its_own_will_do() {
    let (_hub, leaf) = hub_and_leaf("enabled: false");
    let folder = Folder::default();
    let server = folder.serve(&config(&leaf.url(), "domain = \"hub\"")).start();
    goes_through(&server, 1);
    drop(server);
    // A domain that nobody has is named.
    let folder = Folder::default();
    let server = folder.serve(&config(&leaf.url(), "domain = \"hob\"")).listening();
    let log = until(30, "the log names it", || {
        let log = server.stderr();
        log.contains("$JS.hob.API").then_some(log)
    });
    assert!(log.contains("nats.domain"), "{log}");
}

#[test]
fn the_brokers_time_is_the_events_where_that_is_declared() {
    let broker = Broker::start();
    let js = Js::connect(&broker.url());
    let subjects = vec!["shop.>".into(), "events.>".into()];
    js.make_stream(&Config { name: "EVENTS".into(), subjects, ..Config::default() });
    let old = json!({ "id": "old", "ts": TS, "type": "page_view", "user": "old" });
    let timeless = json!({ "id": "new", "type": "page_view", "user": "new" });
    let cloud = json!({
        "specversion": "1.0", "id": "c", "source": "s", "type": "page_view", "subject": "cloud"
    });
    let messages = [old, timeless, cloud].map(|event| (String::new(), event.to_string().into()));
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    js.publish("shop.a", &messages, 10);
    for (time, applied, first) in
        [("broker", 3, now), ("broker_if_absent", 3, TS), ("event", 1, TS)]
    {
        let folder = Folder::default();
        let more = format!(
            "[[nats.source]]\nstream = \"EVENTS\"\nsubjects = [\"shop.>\", \"events.>\"]\n\
             time = \"{time}\"\nconsumer = \"{time}\""
        );
        let server = folder.serve(&config(&broker.url(), &more)).start();
        let pipeline = server.wait_settled(3);
        assert_eq!(pipeline["applied"], applied, "{time}: {pipeline}");
        let start = |user: &str| {
            let session = server.get(&format!("/v1/sessions/{user}"));
            session["sessions"][0]["first"].as_u64()
        };
        let near = |found: Option<u64>, wanted: u64| {
            found.is_some_and(|found| found.abs_diff(wanted) < 600_000)
        };
        // Beside events of now, a session of its own time is over at once.
        if time != "broker_if_absent" {
            assert!(near(start("old"), first), "{time}: {:?}", start("old"));
        }
        if applied == 3 {
            assert!(near(start("new"), now) && near(start("cloud"), now), "{time}");
        }
    }
}

#[test]
fn the_keys_are_checked() {
    let folder = Folder::default();
    for (keys, words) in [
        ("domain = \"a.b\"", "nats.domain = \"a.b\""),
        (
            "domain = \"hub\"\napi_prefix = \"$JS.hub.API\"",
            "set nats.domain or nats.api_prefix, not both",
        ),
        ("inbox_prefix = \"_INBOX_tw.>\"", "write \"_INBOX_tw\""),
        ("api_prefix = \"$JS.hub.API.\"", "write \"$JS.hub.API\""),
        (
            "[[nats.source]]\nstream = \"A\"\ntime = \"brocker\"",
            "must be one of \"event\", \"broker\"",
        ),
    ] {
        let file = folder.write("t.toml", format!("[nats]\nurl = \"nats://h\"\n{keys}\n"));
        let run = folder.command(&["check", "--config", &file]).run();
        assert_eq!(run.code, Some(2), "{keys}: {run:?}");
        assert!(run.stderr.contains(words), "{keys}: {}", run.stderr);
    }
    let whole = "[nats]\nurl = \"nats://h\"\ndomain = \"hub\"\ninbox_prefix = \"_INBOX_tw\"\n\
                 [[nats.source]]\nstream = \"EVENTS\"\ntime = \"broker\"\n\
                 subjects = [\"events.>\"]\n";
    let file = folder.write("t.toml", whole);
    let run = folder.command(&["check", "--print", "--config", &file]).run();
    assert_eq!(run.code, Some(0), "{run:?}");
    for line in ["domain = \"hub\"", "inbox_prefix = \"_INBOX_tw\"", "time = \"broker\""] {
        assert!(run.stdout.contains(line), "{line}: {}", run.stdout);
    }
}

/// The permissions that docs/nats.md lists are enough, and it says nothing of others.
#[test]
fn the_documented_permissions_are_enough() {
    let publish = [
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.*",
        "$JS.API.STREAM.MSG.GET.*",
        "$JS.API.STREAM.CREATE.*",
        "$JS.API.STREAM.NAMES",
        "$JS.API.CONSUMER.*.EVENTS.>",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.>",
        "$JS.ACK.EVENTS.>",
        "events.http",
        "tidewatch.alerts.>",
        "tidewatch.incidents.>",
        "tidewatch.dead_letters.>",
        "tidewatch.board",
        "$KV.tidewatch_board.>",
    ];
    let subscribe = r#"["_INBOX_tw.>", "$SRV.>", "tidewatch.*"]"#;
    let user = user(&format!("{publish:?}"), subscribe);
    let broker = Broker::with(&format!("{user}\nno_auth_user: all"));
    let folder = Folder::default();
    let inbox = format!("{SIGN_IN}\ninbox_prefix = \"_INBOX_tw\"");
    let server = folder.serve(&config(&broker.url(), &inbox)).start();
    goes_through(&server, 1);
    let bad = server.http.try_post(&server.at("v1/events"), &[], b"no event").unwrap();
    assert_eq!(bad.status, 400);
    server.wait_settled(2);
    let js = Js::connect(&broker.url());
    until(30, "everything left", || {
        let letters = js.info("TIDEWATCH_DEAD_LETTERS").state.messages;
        (letters == 1 && js.info("KV_tidewatch_board").state.messages == 1).then_some(())
    });
    assert_eq!(conditions(&server), json!([]));
    let text = String::from_utf8(server.http.get(&server.at("readyz?verbose")).body).unwrap();
    assert!(!text.contains("may not"), "{text}");
}
