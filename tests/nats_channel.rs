//! Shows that a channel into a stream of NATS has each notification there exactly once, with its key, whoever
//! is killed, and nothing of what was silenced: the real binary and a real nats-server.
//!
//! The broker remembers ids for 100 ms only, so that only the cursor and the fence can keep messages from
//! coming twice. `TIDEWATCH_TEST_SEED` repeats a run, `TIDEWATCH_OUT_CYCLES` says how often something is
//! killed (8).

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::events::{Event, GAP, Random};
use support::{Broker, Folder, HOLD, Js, Poster, Server, pause, until};

const STREAM: &str = "TIDEWATCH_NOTIFICATIONS";
const WINDOW: i64 = 10_000;
/// Long enough for an incident to begin and end, and for a cart to be abandoned.
const ROUND: i64 = GAP + 60_000;

/// Some hours ago: long enough for all of a test to lie in the past.
#[allow(clippy::disallowed_methods, reason = "notifications are of now")]
fn start() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    (now - 20 * 3_600_000) / WINDOW * WINDOW
}

/// Incidents go over `bus`, abandoned carts over `carts`, into one stream.
fn config(url: &str, bus: &str) -> String {
    format!(
        "{HOLD}[session]\nentry = [\"cart_add\"]\n\
         [incidents]\nnotify_max_age = \"2d\"\n\
         [nats]\nurl = \"{url}\"\nrequest_timeout = \"1s\"\nreconnect_max = \"200ms\"\n\
         [nats.out]\nalerts_stream = \"\"\nincidents_stream = \"\"\ndead_letters_stream = \"\"\n\
         board_subject = \"\"\nboard_bucket = \"\"\nservice = \"\"\nduplicate_window = \"100ms\"\n\
         poll_interval = \"10ms\"\nretry_max = \"200ms\"\n\
         [[metric]]\nname = \"failed\"\nwhere = {{ type = \"failed\" }}\naggregate = \"count\"\n\
         group_by = [\"region\"]\nwindow = {{ tumbling = \"10s\" }}\n\
         [[rule]]\nname = \"failures\"\nmetric = \"failed\"\ndetect = \"threshold\"\nlimit = 3\n\
         cooldown = \"20s\"\nseverity = \"critical\"\ngroups_max = 1000\n\
         [[channel]]\nname = \"bus\"\n{bus}\n\
         title = \"{{{{ rule }}}} in {{{{ labels.region }}}}: {{{{ step }}}}\"\n\
         [[channel]]\nname = \"carts\"\ntype = \"nats\"\n\
         [[route]]\nname = \"to_bus\"\nchannel = \"bus\"\nwhen = 'rule == \"failures\"'\n\
         at_most = 10000\n\
         [[route]]\nname = \"left\"\nof = \"occurrences\"\nwhen = 'kind == \"abandoned\"'\n\
         channel = \"carts\"\nat_most = 10000\n"
    )
}

const TO_NATS: &str = "type = \"nats\"";

/// Failures of a region, a cart that is left, and the time that ends both.
fn round(start: i64, round: i64, region: &str) -> Vec<String> {
    let at = start + round * ROUND;
    let failed = (0..10).map(|n| {
        let id = format!("{region}-{n}");
        let mut event = Event::new(id, at + n / 5 * WINDOW + n, "failed", "f");
        event.more.insert("region".into(), region.into());
        event.line()
    });
    let cart = Event::new(format!("c-{region}"), at + 5, "cart_add", format!("u-{region}"));
    let end = |n: i64| {
        let when = at + ROUND - 10_000 + n;
        Event::new(format!("t-{region}-{n}"), when, "page_view", "t").line()
    };
    failed.chain([cart.line(), end(0), end(5_000)]).collect()
}

fn told(server: &Server, channel: &str) -> Vec<Value> {
    let all = server.all("v1/notifications");
    all.into_iter().filter(|one| one["channel"] == channel).collect()
}

/// The messages of the stream, oldest first: subject, id and event.
fn messages(js: &Js) -> Vec<(String, String, Value)> {
    let Some(stream) = until(30, "the broker says what the stream holds", || {
        let found = js.run(js.context().get_stream(STREAM));
        match found {
            Ok(stream) => Some(Some(stream)),
            Err(error) => error.to_string().contains("not found").then_some(None),
        }
    }) else {
        return Vec::new();
    };
    let last = stream.cached_info().state.last_sequence;
    let one = |sequence| {
        let message = until(10, "a message", || js.run(stream.get_raw_message(sequence)).ok());
        let id = message.headers.get("Nats-Msg-Id").unwrap().to_string();
        let event = serde_json::from_slice(&message.payload).unwrap();
        (message.subject.to_string(), id, event)
    };
    (1..=last).map(one).collect()
}

fn metric(server: &Server, name: &str, channel: &str) -> f64 {
    let text = String::from_utf8(server.http.get(&server.at("metrics")).body).unwrap();
    let start = format!("tidewatch_{name}{{output=\"channel {channel}\"}} ");
    let found = text.lines().find_map(|line| line.strip_prefix(&start));
    found.unwrap_or_else(|| panic!("no {start}in {text}")).parse().unwrap()
}

/// The stream holds what both channels were given, each once, in order, with its key.
fn check(server: &Server, js: &Js, channels: &[&str]) {
    let wanted: Vec<(&str, Vec<Value>)> =
        channels.iter().map(|channel| (*channel, told(server, channel))).collect();
    let count: usize = wanted.iter().map(|(_, all)| all.len()).sum();
    let all = until(60, "everything is in the stream", || {
        let all = messages(js);
        (all.len() >= count).then_some(all)
    });
    let ids: BTreeSet<&String> = all.iter().map(|(_, id, _)| id).collect();
    assert_eq!((ids.len(), all.len()), (count, count), "each once");
    for (channel, wanted) in wanted {
        let first = format!("tidewatch.notifications.{channel}.");
        let own: Vec<_> = all.iter().filter(|(to, ..)| to.starts_with(&first)).collect();
        assert_eq!(own.len(), wanted.len(), "{channel}");
        for ((subject, id, event), told) in own.into_iter().zip(&wanted) {
            assert_eq!((id.as_str(), &event["id"]), (told["key"].as_str().unwrap(), &told["key"]));
            let route = told["route"].as_str().unwrap();
            assert!(subject.starts_with(&format!("{first}{route}.")), "{subject}");
            let step = told["step"].as_str().unwrap();
            assert_eq!(event["type"], format!("tidewatch.notification.{step}"));
            assert_eq!(
                (&event["subject"], &event["data"]["facts"]),
                (&told["about"], &told["facts"])
            );
            assert_eq!(event["data"]["channel"], channel);
        }
    }
}

#[test]
fn whoever_is_killed_each_notification_is_there_once_and_nothing_that_was_silenced() {
    let cycles = std::env::var("TIDEWATCH_OUT_CYCLES").ok();
    let cycles: i64 = cycles.map_or(8, |text| text.parse().expect("a number"));
    let mut random = Random::seeded("nats_channel");
    let mut broker = Broker::start();
    let folder = Folder::default();
    let text = config(&broker.url(), TO_NATS);
    let mut server = folder.serve(&text).start();
    let start = start();
    for n in 0..cycles {
        let region = if n == 2 { "quiet".to_owned() } else { format!("r{n}") };
        Poster::new(server.target()).post(&round(start, n, &region));
        if n == 0 {
            // A silence is of the time that events have brought.
            until(30, "time goes on", || (told(&server, "bus").len() == 2).then_some(()));
            let silence = json!({
                "matching": "region == \"quiet\"", "for": "24h", "by": "ada", "reason": "known",
            });
            let made = server.http.post_json(&server.at("v1/silences"), &silence);
            assert_eq!(made.status, 201, "{}", made.json());
        }
        pause(Duration::from_millis(random.below(500)));
        let kind = random.below(3);
        if kind != 0 {
            broker.kill_9();
        }
        if kind != 1 {
            server.kill_9();
        }
        pause(Duration::from_millis(random.below(200)));
        if kind != 0 {
            broker.restart();
        }
        if kind != 1 {
            server = folder.serve(&text).start();
        }
    }
    let incidents = 2 * (cycles as usize - 1);
    until(60, "all incidents ended", || (told(&server, "bus").len() == incidents).then_some(()));
    until(60, "all carts were left", || {
        (told(&server, "carts").len() == cycles as usize).then_some(())
    });
    let js = Js::connect(&broker.url());
    check(&server, &js, &["bus", "carts"]);
    let said: Vec<String> = messages(&js)
        .into_iter()
        .filter(|(subject, ..)| subject.contains(".bus."))
        .map(|(.., event)| event["data"]["title"].as_str().unwrap().to_owned())
        .collect();
    let regions = (0..cycles).filter(|n| *n != 2);
    let wanted: Vec<String> = regions
        .flat_map(|n| ["fired", "resolved"].map(|step| format!("failures in r{n}: {step}")))
        .collect();
    assert_eq!(said, wanted, "in order, and nobody hears of what is silenced");
    let config = js.info(STREAM).config;
    assert_eq!(config.subjects, ["tidewatch.notifications.>"]);
    for channel in ["bus", "carts"] {
        until(10, "nothing waits", || (metric(&server, "out_lag", channel) == 0.0).then_some(()));
        assert_eq!(metric(&server, "out_skipped_total", channel), 0.0, "{channel}");
    }
    // A channel that becomes one of another kind, and one into a stream again, goes on where it was.
    assert!(server.stop().success());
    let mails = folder.path("mails");
    let by_mail = format!(
        "type = \"email\"\nfolder = {:?}\nfrom = \"tide@shop.example\"\nto = [\"ops@shop.example\"]\n\
         give_up = \"2d\"",
        mails.display().to_string()
    );
    let mut server = folder.serve(&config_of(&broker, &by_mail)).start();
    Poster::new(server.target()).post(&round(start, cycles, "mail"));
    let written = || {
        std::fs::read_dir(&mails).map_or(0, |found| {
            found.flatten().filter(|one| one.path().extension().is_some_and(|e| e == "eml")).count()
        })
    };
    until(60, "the mails are written", || (written() == 2).then_some(()));
    until(30, "they are noted", || (metric(&server, "out_lag", "bus") == 0.0).then_some(()));
    assert!(server.stop().success());
    let mut server = folder.serve(&config_of(&broker, TO_NATS)).start();
    Poster::new(server.target()).post(&round(start, cycles + 1, "back"));
    let last = until(60, "the stream has what came after", || {
        let all = messages(&js);
        let bus = all.iter().filter(|(subject, ..)| subject.contains(".bus."));
        let said: Vec<String> =
            bus.map(|(.., event)| event["data"]["title"].as_str().unwrap().to_owned()).collect();
        said.last().is_some_and(|last| last.ends_with("back: resolved")).then_some(said)
    });
    assert_eq!(last.len(), wanted.len() + 2, "{last:?}");
    assert_eq!(written(), 2, "nothing was told twice");
    assert!(server.stop().success());
}

fn config_of(broker: &Broker, bus: &str) -> String {
    config(&broker.url(), bus)
}

#[test]
fn what_is_published_is_shown_and_never_sent_by_hand() {
    let broker = Broker::start();
    let folder = Folder::default();
    let text = config(&broker.url(), TO_NATS);
    let path = folder.write("try.toml", &text);
    let data = folder.data().display().to_string();
    let notify = |args: &[&str]| {
        folder.command(&["--config", &path, "--data-dir", &data, "notify"]).args(args).run()
    };
    let shown = notify(&["test", "to_bus"]).stdout;
    for words in [
        "# fired\nPUB tidewatch.notifications.bus.to_bus.FEED\nstream: TIDEWATCH_NOTIFICATIONS\n",
        "\"type\": \"tidewatch.notification.resolved\"",
        "Nats-Msg-Id: ",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let sent = notify(&["test", "to_bus", "--send"]);
    assert_eq!(sent.code, Some(1), "{sent:?}");
    assert!(sent.stderr.contains("nothing is sent there by hand"), "{}", sent.stderr);

    let mut server = folder.serve(&text).start();
    Poster::new(server.target()).post(&round(start(), 0, "eu"));
    let all = until(60, "an incident began and ended", || {
        let all = told(&server, "bus");
        (all.len() == 2).then_some(all)
    });
    let again = notify(&["again", &all[0]["n"].to_string()]);
    assert!(again.stderr.contains("nothing is sent there by hand"), "{again:?}");
    check(&server, &Js::connect(&broker.url()), &["bus", "carts"]);
    assert!(server.stop().success());
}

#[test]
fn a_subject_that_may_not_be_published_to_is_named_and_waited_for() {
    let user = |permissions: &str| {
        format!(
            "authorization {{ users: [ {{ user: tw, password: y{permissions} }}, \
             {{ user: all, password: y }} ] }}\nno_auth_user: all"
        )
    };
    let denied =
        ", permissions: { publish: { deny: [\"tidewatch.notifications.>\"] } , subscribe: \">\" }";
    let broker = Broker::with(&user(denied));
    let folder = Folder::default();
    let sign_in = "[nats]\nuser = \"tw\"\npassword = \"y\"\n";
    let text = config(&broker.url(), TO_NATS).replacen("[nats]\n", sign_in, 1);
    let mut server = folder.serve(&text).start();
    Poster::new(server.target()).post(&round(start(), 0, "eu"));
    until(60, "readyz names it", || {
        let answer = server.http.get(&server.at("readyz?verbose"));
        let text = String::from_utf8(answer.body).unwrap();
        let named = text.contains("may not publish to tidewatch.notifications.bus.to_bus.");
        (named && text.contains("channel bus")).then_some(())
    });
    broker.reload(&user(""));
    check_after(&server, &broker);
    assert!(server.stop().success());
}

/// Both channels get their notifications there in the end.
fn check_after(server: &Server, broker: &Broker) {
    until(60, "all is told", || {
        (told(server, "bus").len() == 2 && told(server, "carts").len() == 1).then_some(())
    });
    check(server, &Js::connect(&broker.url()), &["bus", "carts"]);
}
