//! Shows that everybody who is to be told is told at least once, with one key for each thing, whatever the
//! receivers do and whenever the process is killed: the real binary, and receivers that are slow, busy,
//! broken, cut off, gone, or point elsewhere.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ChildStdout;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use support::events::{Event, Random};
use support::{Folder, HOLD, MailServer, Poster, Server, until};

const WINDOW: i64 = 10_000;
const HOUR: i64 = 3_600_000;

/// Some hours ago: long enough for all windows of a test to lie in the past.
#[allow(clippy::disallowed_methods, reason = "notifications are of now")]
fn start() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    (now - 6 * HOUR) / WINDOW * WINDOW
}

/// What a receiver saw: the key, and whether it said yes.
type Seen = Vec<(String, Value, bool)>;

/// Takes webhooks; what it does with one, its path says.
struct Receiver {
    port: u16,
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
}

impl Receiver {
    fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<BTreeMap<String, Seen>>> = Arc::default();
        let own = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&own);
                std::thread::spawn(move || receive(stream, &seen));
            }
        });
        Receiver { port, seen }
    }

    fn of(&self, path: &str) -> Seen {
        self.seen.lock().unwrap().get(path).cloned().unwrap_or_default()
    }

    /// Keys that it took, in order of the first time.
    fn taken(&self, path: &str) -> Vec<String> {
        let (mut known, mut keys) = (BTreeSet::new(), Vec::new());
        for (key, ..) in self.of(path).into_iter().filter(|(.., yes)| *yes) {
            if known.insert(key.clone()) {
                keys.push(key);
            }
        }
        keys
    }
}

/// A request on this connection: its path, its key and its body.
fn request(stream: &TcpStream) -> Option<(String, String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "webhook-id" => value.trim().clone_into(&mut key),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, key, serde_json::from_slice(&body).unwrap_or_default()))
}

fn receive(mut stream: TcpStream, seen: &Mutex<BTreeMap<String, Seen>>) {
    let Some((path, key, body)) = request(&stream) else { return };
    let first = {
        let seen = seen.lock().unwrap();
        seen.get(&path).is_none_or(|all| all.iter().all(|(known, ..)| *known != key))
    };
    let answer = match (path.as_str(), first) {
        ("busy", true) => "429 Too Many Requests\r\nretry-after: 0",
        ("broken", true) => "500 Internal Server Error",
        ("cut", true) | ("hang", _) => "",
        ("gone", _) => "410 Gone",
        ("down", _) => "503 Service Unavailable",
        ("moved", _) => "302 Found\r\nlocation: /trap",
        _ => "200 OK",
    };
    let yes = answer.starts_with("200");
    seen.lock().unwrap().entry(path.clone()).or_default().push((key, body, yes));
    if path == "hang" {
        // Until the other side has had enough.
        let _ = stream.read(&mut [0]);
    }
    if !answer.is_empty() {
        let _ =
            write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}

const RECEIVERS: [&str; 7] = ["good", "busy", "broken", "cut", "hang", "gone", "moved"];

fn config(port: u16) -> String {
    config_of(port, &RECEIVERS)
}

fn config_of(port: u16, receivers: &[&str]) -> String {
    let mut text = format!(
        "{HOLD}out_of_orderness = \"1s\"\nallowed_lateness = \"1s\"\n\
         [incidents]\nnotify_max_age = \"1d\"\n\
         [[metric]]\nname = \"failed\"\nwhere = {{ type = \"failed\" }}\naggregate = \"count\"\n\
         group_by = [\"region\"]\nwindow = {{ tumbling = \"10s\" }}\n\
         [[rule]]\nname = \"failures\"\nmetric = \"failed\"\ndetect = \"threshold\"\nlimit = 3\n\
         cooldown = \"20s\"\nseverity = \"critical\"\ngroups_max = 1000\n"
    );
    for name in receivers {
        let tries = if *name == "hang" { 2 } else { 30 };
        text += &format!(
            "[[channel]]\nname = \"{name}\"\ntype = \"webhook\"\n\
             url = \"http://127.0.0.1:{port}/{name}\"\nallow_private = true\ngive_up = \"1d\"\n\
             timeout = \"300ms\"\nretry_max = \"1s\"\ntries_max = {tries}\n\
             [[route]]\nname = \"to_{name}\"\nchannel = \"{name}\"\ncontinue = true\n\
             when = 'rule == \"failures\"'\nat_most = 10000\n"
        );
    }
    text
}

/// Failures of a region in two windows, and a visitor some windows later: one incident.
fn outage(start: i64, window: i64, region: &str) -> Vec<String> {
    let at = |window: i64| start + window * WINDOW;
    let failed = (0..10).map(|n| {
        let when = at(window + n / 5) + 1 + n;
        let event = Event::new(format!("{region}-{n}"), when, "failed", "u").line();
        let mut event: Value = serde_json::from_str(&event).unwrap();
        event["region"] = region.into();
        event.to_string()
    });
    let later = at(window + 8);
    let visitor = Event::new(format!("v{window}"), later, "page_view", format!("v{window}"));
    failed.chain([visitor.line()]).collect()
}

fn post(server: &Server, lines: &[String], received: &mut u64) {
    Poster::new(server.target()).post(lines);
    *received += lines.len() as u64;
    server.wait_settled(*received);
}

/// The keys that a channel is to be given, in order.
fn keys(server: &Server, channel: &str) -> Vec<String> {
    let all = server.all("v1/notifications");
    let own = all.iter().filter(|one| one["channel"] == channel);
    own.map(|one| one["key"].as_str().unwrap().to_owned()).collect()
}

/// A figure of an output.
fn figure(server: &Server, name: &str, channel: &str) -> u64 {
    let text = server.http.get(&server.at("metrics")).body;
    let text = String::from_utf8(text).unwrap();
    let start = format!("tidewatch_{name}{{output=\"channel {channel}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    let number = line.unwrap_or_else(|| panic!("no {start}in {text}"));
    number.parse::<f64>().unwrap() as u64
}

#[test]
fn everybody_is_told_and_nobody_holds_up_another() {
    let receiver = Receiver::start();
    let folder = Folder::default();
    let mut server = folder.serve(&config(receiver.port)).start();
    let (start, mut received) = (start(), 0);
    post(&server, &outage(start, 0, "eu"), &mut received);
    let silence = json!({
        "matching": "region == \"quiet\"", "for": "24h", "by": "ada", "reason": "known",
    });
    let made = server.http.post_json(&server.at("v1/silences"), &silence);
    assert_eq!(made.status, 201, "{}", made.json());
    for (window, region) in [(20, "quiet"), (40, "us")] {
        post(&server, &outage(start, window, region), &mut received);
    }
    let wanted = until(60, "two incidents began and ended", || {
        let keys = keys(&server, "good");
        (keys.len() == 4).then_some(keys)
    });
    for name in ["good", "busy", "broken", "cut"] {
        let wanted = keys(&server, name);
        assert_eq!(wanted.len(), 4);
        until(30, name, || (receiver.taken(name) == wanted).then_some(()));
    }
    let good = receiver.of("good");
    let said: Vec<(&str, &str)> = good
        .iter()
        .map(|(_, body, _)| {
            let region = body["data"]["facts"]["group"]["region"].as_str().unwrap();
            (body["data"]["step"].as_str().unwrap(), region)
        })
        .collect();
    let quiet = [("fired", "eu"), ("resolved", "eu"), ("fired", "us"), ("resolved", "us")];
    assert_eq!(said, quiet, "nobody hears of what is silenced");
    assert_eq!(good.len(), wanted.len(), "once each while nothing goes wrong");
    for name in ["hang", "gone", "moved"] {
        until(30, name, || (figure(&server, "out_left_out_total", name) == 4).then_some(()));
        assert_eq!(receiver.taken(name), [""; 0]);
    }
    assert_eq!(figure(&server, "out_delivered_total", "good"), 4);
    assert_eq!(figure(&server, "out_skipped_total", "cut"), 0, "numbers of others are no loss");
    assert_eq!(figure(&server, "out_lag", "cut"), 0);
    assert_eq!(receiver.of("trap"), [], "no redirect was followed");
    let ready = server.http.get(&server.at("readyz?verbose"));
    let ready = String::from_utf8(ready.body).unwrap();
    assert!(ready.contains("channel gone: ") && ready.contains("410 Gone"), "{ready}");
    assert!(ready.contains("redirects are not followed"), "{ready}");
    assert!(server.stop().success());
    // What was delivered stays delivered.
    let mut server = folder.serve(&config(receiver.port)).start();
    post(&server, &outage(start, 60, "asia"), &mut received);
    let wanted = until(60, "one more", || {
        let keys = keys(&server, "good");
        (keys.len() == 6).then_some(keys)
    });
    until(30, "it is told", || (receiver.taken("good") == wanted).then_some(()));
    assert_eq!(receiver.of("good").len(), 6);
    assert!(server.stop().success());
}

/// What waits is said when nobody is to take it any more, and delivered when somebody is again.
#[test]
fn what_waits_for_a_channel_that_went_is_said_at_a_start() {
    let receiver = Receiver::start();
    let folder = Folder::default();
    let with = |names: &[&str]| folder.serve(&config_of(receiver.port, names)).start();
    let ready = |server: &Server| {
        let answer = server.http.get(&server.at("readyz?verbose"));
        String::from_utf8(answer.body).unwrap()
    };
    let mut server = with(&["good", "down"]);
    let (start, mut received) = (start(), 0);
    post(&server, &outage(start, 0, "eu"), &mut received);
    until(60, "an incident began and ended", || (keys(&server, "down").len() == 2).then_some(()));
    until(30, "the other waits", || (!receiver.of("down").is_empty()).then_some(()));
    let waiting = 2;
    assert!(server.stop().success());
    let mut server = with(&["good"]);
    let said = format!("channel down is not in the configuration, and {waiting} notification");
    assert!(ready(&server).contains(&said), "{}", ready(&server));
    let metrics = String::from_utf8(server.http.get(&server.at("metrics")).body).unwrap();
    let counted = format!("tidewatch_notifications_of_gone_channels {waiting}");
    assert!(metrics.contains(&counted), "{metrics}");
    assert!(server.stop().success());
    let mut server = with(&["good", "down"]);
    assert!(!ready(&server).contains("is not in the configuration"), "{}", ready(&server));
    until(30, "it goes on", || (receiver.of("down").len() > 1).then_some(()));
    assert!(server.stop().success());
}

/// Kills the server again and again while incidents come and go.
#[test]
fn kills_forget_no_notification_and_invent_none() {
    let cycles = std::env::var("TIDEWATCH_CRASH_CYCLES").ok().and_then(|text| text.parse().ok());
    let cycles: i64 = cycles.unwrap_or(50).min(100);
    let mut random = Random::seeded("kills_forget_no_notification_and_invent_none");
    let receiver = Receiver::start();
    let mut mail = Mail::start();
    let folder = Folder::default();
    let config = config(receiver.port) + &mail.as_ref().map_or(String::new(), Mail::config);
    let mut server = folder.serve(&config).start();
    let (start, mut received) = (start(), 0);
    for round in 0..cycles {
        let lines = outage(start, round * 20, &format!("r{round}"));
        Poster::new(server.target()).post(&lines);
        received += lines.len() as u64;
        support::pause(Duration::from_millis(random.below(400)));
        server.kill_9();
        server = folder.serve(&config).start();
    }
    server.wait_settled(received);
    let wanted = until(60, "all began and ended", || {
        let keys = keys(&server, "good");
        (keys.len() as i64 == 2 * cycles).then_some(keys)
    });
    assert_eq!(wanted.iter().collect::<BTreeSet<_>>().len(), wanted.len(), "a key for each thing");
    for name in ["good", "busy", "broken", "cut"] {
        let wanted = keys(&server, name);
        until(120, name, || (receiver.taken(name).len() >= wanted.len()).then_some(()));
        assert_eq!(receiver.taken(name), wanted, "{name}: each, none other, in order");
        let seen = receiver.of(name);
        let bodies: BTreeSet<String> =
            seen.iter().map(|(key, body, _)| format!("{key} {body}")).collect();
        assert_eq!(bodies.len(), wanted.len(), "{name}: the same under the same key");
        let twice = seen.iter().filter(|(.., yes)| *yes).count() - wanted.len();
        assert!(twice as i64 <= cycles, "{name}: {twice} came twice in {cycles} kills");
    }
    for name in ["hang", "gone", "moved"] {
        assert_eq!(receiver.taken(name), [""; 0]);
    }
    assert_eq!(receiver.of("trap"), []);
    if let Some(mail) = &mut mail {
        let wanted: BTreeSet<String> = keys(&server, "mail").into_iter().collect();
        assert_eq!(wanted.len() as i64, 2 * cycles);
        let mut got = BTreeSet::new();
        while got.len() < wanted.len() {
            let key = mail.next_key();
            assert!(wanted.contains(&key), "nobody wrote {key}");
            got.insert(key);
        }
    }
    assert!(server.stop().success());
}

/// A real SMTP server.
struct Mail {
    server: MailServer,
    lines: BufReader<ChildStdout>,
}

impl Mail {
    fn start() -> Option<Mail> {
        MailServer::start().map(|(server, lines)| Mail { server, lines })
    }

    fn config(&self) -> String {
        format!(
            "[[channel]]\nname = \"mail\"\ntype = \"email\"\nhost = \"127.0.0.1\"\nport = {}\n\
             security = \"none\"\nallow_private = true\nfrom = \"tide@shop.example\"\n\
             to = [\"ops@shop.example\"]\nretry_max = \"1s\"\ngive_up = \"1d\"\n\
             [[route]]\nname = \"to_mail\"\nchannel = \"mail\"\nat_most = 10000\n",
            self.server.port
        )
    }

    /// The key of the next mail, which its message id has.
    fn next_key(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let mail: Value = serde_json::from_str(&line).unwrap();
        let text = mail["text"].as_str().unwrap();
        let id = text.split("Message-ID: <").nth(1).unwrap();
        id.split('@').next().unwrap().to_owned()
    }
}

#[test]
fn a_route_is_tried_and_what_was_left_out_is_told_again() {
    let receiver = Receiver::start();
    let folder = Folder::default();
    let text = config(receiver.port);
    let path = folder.write("try.toml", &text);
    let data = folder.data().display().to_string();
    let notify = |args: &[&str]| {
        let args: Vec<&str> = ["--config", &path, "--data-dir", &data, "notify"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        folder.command(&args).run()
    };
    let shown = notify(&["test", "to_good"]).stdout;
    for words in ["# fired\nPOST http://127.0.0.1:", "# acknowledged", "# resolved", "webhook-id: "]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("# again") && !shown.contains("# digest"), "{shown}");
    assert_eq!(receiver.of("good"), [], "nothing is sent unless it is asked for");
    let sent = notify(&["test", "to_good", "--send"]);
    assert_eq!(sent.stdout.lines().count(), 3, "{}", sent.stderr);
    assert!(sent.stdout.starts_with("fired: delivered by good: 200 OK"), "{}", sent.stdout);
    assert_eq!(receiver.taken("good").len(), 3);
    let gone = notify(&["test", "to_gone", "--send"]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("fired: not delivered: it answered 410 Gone"), "{}", gone.stderr);
    let unknown = notify(&["test", "to_god"]);
    assert!(unknown.stderr.contains("did you mean \"to_good\"?"), "{}", unknown.stderr);

    let mut server = folder.serve(&text).start();
    post(&server, &outage(start(), 0, "eu"), &mut 0);
    until(30, "it was left out", || {
        (figure(&server, "out_left_out_total", "gone") == 2).then_some(())
    });
    let all = server.all("v1/notifications");
    let lost = all.iter().find(|one| one["channel"] == "gone").unwrap();
    let n = lost["n"].as_u64().unwrap().to_string();
    // It takes what it is given now.
    let text = text.replace("/gone\"", "/good\"");
    folder.write("try.toml", &text);
    let again = notify(&["again", &n]);
    assert!(again.stdout.starts_with("fired: delivered by gone: 200 OK"), "{}", again.stderr);
    let key = lost["key"].as_str().unwrap();
    assert!(receiver.taken("good").iter().any(|taken| taken == key), "with the same key");
    let nothing = notify(&["again", "999999"]);
    assert!(nothing.stderr.contains("there is no notification 999999"), "{}", nothing.stderr);
    assert!(server.stop().success());
}

#[test]
fn a_channel_that_cannot_work_keeps_the_process_from_starting() {
    let folder = Folder::default();
    let config = "[[channel]]\nname = \"pager\"\ntype = \"pagerduty\"\n\
        routing_key = \"env:TIDEWATCH_TEST_NO_KEY\"\n[[route]]\nname = \"r\"\nchannel = \"pager\"\n";
    let path = folder.write("check.toml", config);
    let checked = folder.command(&["check", "--config", &path]).run();
    assert!(checked.stdout.contains("nothing starts like this"), "{}", checked.stdout);
    let run = folder.serve(config).run();
    assert_ne!(run.code, Some(0));
    let said = "channel.pager.routing_key: the environment has no TIDEWATCH_TEST_NO_KEY";
    assert!(run.stderr.contains(said), "{}", run.stderr);
}
