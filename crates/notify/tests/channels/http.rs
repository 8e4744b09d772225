//! Channels over HTTP against servers that behave, and against those that do not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use crate::rig::{AT, later, never, open, place, sample, spec};
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tidewatch_clock::{Clock, SharedClock, SystemClock};
use tidewatch_core::incident::Step;
use tidewatch_core::settings::Secret;
use tidewatch_notify::{Failure, Receipt, Wrong, samples};

/// A request as a server saw it.
#[derive(Debug)]
struct Seen {
    path: String,
    headers: Vec<(String, String)>,
    body: Json,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A server that treats each connection with the next of these; its address, and what it saw.
fn server(answers: Vec<fn(&mut TcpStream)>) -> (String, Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, receiver) = sync_channel(100);
    std::thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let Some(request) = read(&stream) else { continue };
            let _ = seen.send(request);
            answer(&mut stream);
        }
    });
    (format!("http://{address}"), receiver)
}

fn read(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { path, headers, body: serde_json::from_slice(&body).ok()? })
}

fn ok(stream: &mut TcpStream) {
    answer(stream, "200 OK", "", "ok");
}

fn accepted(stream: &mut TcpStream) {
    answer(stream, "202 Accepted", "", r#"{"status":"success","dedup_key":"k"}"#);
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
}

fn webhook(answers: Vec<fn(&mut TcpStream)>) -> Result<Receipt, Failure> {
    let (url, _seen) = server(answers);
    open("webhook", &[("url", &url)]).deliver(&sample(Step::Fired), None)
}

#[test]
fn what_may_work_later_is_told_from_what_never_will() {
    assert_eq!(webhook(vec![ok]).unwrap().says, "200 OK ok");
    let busy =
        webhook(vec![|to| answer(to, "429 Too Many Requests", "retry-after: 42\r\n", "slow")]);
    assert_eq!(later(busy), ("it answered 429 Too Many Requests slow".into(), Some(42)));
    let down =
        webhook(vec![|to| answer(to, "503 Service Unavailable", "retry-after: 999999999\r\n", "")]);
    assert_eq!(later(down).1, Some(86_400));
    let past = "retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    assert_eq!(past.len(), 44);
    let dated = webhook(vec![|to| {
        answer(to, "503 Service Unavailable", "retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n", "")
    }]);
    assert_eq!(later(dated).1, Some(0));
    let broken = webhook(vec![|to| answer(to, "500 Internal Server Error", "", "a\tb\u{7}c")]);
    assert_eq!(later(broken), ("it answered 500 Internal Server Error a b c".into(), None));
    let gone = webhook(vec![|to| answer(to, "410 Gone", "", "no such hook")]);
    assert_eq!(never(gone), "it answered 410 Gone no such hook");
    // It hangs up before it has answered.
    later(webhook(vec![|_| {}]));
    // It does not answer in time: whoever waits for it ends by itself.
    let (cause, _) = later(webhook(vec![|stream| {
        let _ = stream.read(&mut [0]);
    }]));
    assert!(cause.starts_with("it took too long"), "{cause}");
}

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/");
    let refused = open("webhook", &[("url", &url)]).deliver(&sample(Step::Fired), None);
    assert!(later(refused).0.contains("refused"), "who says no may say yes later");
}

#[test]
fn an_answer_without_end_is_read_as_far_as_its_bound() {
    let long = webhook(vec![|to| {
        let _ = to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\n\r\n");
        let chunk = [b'x'; 1 << 16];
        // It is not read to its end, so that this fails before it.
        let written = (0..160).take_while(|_| to.write_all(&chunk).is_ok()).count();
        assert!(written < 160, "all of 10 MB were read");
    }]);
    let says = long.unwrap().says;
    assert_eq!(says.chars().count(), 200);
    assert!(says.ends_with('…'), "{says}");
}

#[test]
fn redirects_are_not_followed() {
    let said = webhook(vec![|to| {
        answer(to, "302 Found", "location: http://169.254.169.254/latest/\r\n", "")
    }]);
    assert_eq!(never(said), "it answered 302 Found; redirects are not followed");
    never(webhook(vec![|to| answer(to, "307 Temporary Redirect", "location: /other\r\n", "")]));
}

#[test]
fn private_addresses_and_plain_text_are_refused() {
    let (url, seen) = server(vec![ok]);
    let port = url.rsplit(':').next().unwrap();
    let clock = SystemClock::shared();
    for host in
        ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "169.254.169.254", "10.0.0.1"]
    {
        let url = format!("https://{host}:{port}/hook");
        let channel = spec("webhook", &[("url", &url)], false);
        let channel = channel.open(&place(), &clock).unwrap().delivers().unwrap();
        let said = never(channel.deliver(&sample(Step::Fired), None));
        assert!(said.contains("nothing is sent there unless"), "{host}: {said}");
    }
    assert!(seen.try_recv().is_err(), "something arrived");
    for (url, rule) in [
        ("http://hooks.example/", "must begin with https:// unless allow_private = true"),
        ("ftp://hooks.example/", "must begin with https://"),
        ("https://", "is no address: write it as https://host/path"),
        ("hooks.example", "must begin with https://"),
        (
            "https://me:pass@hooks.example/",
            "must not hold a password: that stands in a key of its own",
        ),
    ] {
        let wrong = spec("webhook", &[("url", url)], false).open(&place(), &clock);
        assert_eq!(wrong.err().unwrap(), Wrong { key: "url", rule: rule.into() }, "{url}");
    }
}

#[test]
fn no_value_gets_into_a_header() {
    let (url, seen) = server(vec![ok]);
    let mut told = sample(Step::Fired);
    told.facts["title"] = json!("a\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1");
    told.key = "k\r\nx-evil: 1".into();
    let channel = open("webhook", &[("url", &url)]);
    assert!(never(channel.deliver(&told, None)).contains("header"));
    told.key = "k".into();
    channel.deliver(&told, None).unwrap();
    let seen = seen.recv().unwrap();
    assert_eq!(seen.header("x-evil"), "");
    assert_eq!(seen.body["data"]["title"], "Critical: a X-Evil: 1 GET / HTTP/1.1");
}

#[test]
fn a_webhook_is_a_signed_cloud_event() {
    let (url, seen) = server(vec![ok]);
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let keys = [("url", format!("{url}/in?token=hush-hush-hush")), ("secret", secret.to_owned())];
    let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let channel = open("webhook", &keys);
    let told = sample(Step::Resolved);
    channel.deliver(&told, None).unwrap();
    let seen = seen.recv().unwrap();
    assert_eq!(seen.path, "/in?token=hush-hush-hush");
    assert_eq!(seen.header("content-type"), "application/cloudevents+json; charset=utf-8");
    assert_eq!(seen.header("webhook-id"), told.key);
    assert!(seen.header("webhook-timestamp").parse::<i64>().unwrap() > 1_700_000_000);
    assert!(seen.header("webhook-signature").starts_with("v1,"));
    let of = |name: &str| seen.body[name].clone();
    assert_eq!(of("specversion"), "1.0");
    assert_eq!((of("id"), of("subject")), (json!(told.key), json!(told.about)));
    assert_eq!(of("type"), "tidewatch.incident.resolved");
    assert_eq!(of("time"), "2026-11-27T14:17:00Z");
    assert_eq!(seen.body["data"]["facts"], told.facts);
    let shown = channel.preview(&told).unwrap();
    assert!(shown.starts_with("POST http://127.0.0.1:") && shown.contains("/***\n"), "{shown}");
    assert!(!shown.contains("hush") && !shown.contains(secret), "{shown}");
}

#[test]
fn secrets_are_in_no_failure() {
    let (url, _seen) = server(vec![|to| {
        answer(to, "400 Bad Request", "", "invalid routing key R0UTINGKEY0123456789")
    }]);
    let channel = open("pagerduty", &[("url", &url), ("routing_key", "R0UTINGKEY0123456789")]);
    let said = never(channel.deliver(&sample(Step::Fired), None));
    assert_eq!(said, "it answered 400 Bad Request invalid routing key ***");
    let spec = spec("pagerduty", &[("routing_key", "R0UTINGKEY0123456789")], true);
    assert!(!format!("{spec:?}").contains("R0UTING"));
    let shown = channel.preview(&sample(Step::Fired)).unwrap();
    assert!(shown.contains(r#""routing_key": "***""#), "{shown}");
}

/// A receiver that repeats what it was sent, so that a part of it stands where the text is cut.
#[test]
fn a_part_of_a_secret_is_in_no_answer() {
    let (url, _seen) = server(vec![
        |to| answer(to, "403 Forbidden", "", "no hook T0123456789 for abcdefghijklmnop, 98765432"),
        |to| answer(to, "403 Forbidden", "", &format!("{} 98765432", "x".repeat(178))),
        |to| answer(to, "200 OK", "", &format!("{} 98765432", "x".repeat(184))),
    ]);
    let url = format!("{url}/in/T0123456789/1?token=abcdefghijklmnop");
    let channel = open("webhook", &[("url", &url), ("authorization", "Bearer 98765432")]);
    let said = || channel.deliver(&sample(Step::Fired), None);
    assert_eq!(never(said()), "it answered 403 Forbidden no hook *** for ***, ***");
    let cut = never(said());
    assert!(cut.ends_with("x ***") && cut.len() < 210, "{cut}");
    let cut = said().unwrap().says;
    assert!(cut.ends_with("x ***"), "{cut}");
}

#[test]
fn pagerduty_hears_of_one_alert_from_its_beginning_to_its_end() {
    let (url, seen) = server(vec![accepted; 4]);
    let url = format!("{url}/v2/enqueue");
    let channel = open("pagerduty", &[("url", &url), ("routing_key", "0123456789abcdef")]);
    let mut told = sample(Step::Fired);
    told.facts["title"] = json!("x".repeat(5_000));
    told.facts["detail"]["noise"] = json!("y".repeat(1 << 20));
    let about = told.about.clone();
    let steps = [told, sample(Step::Acknowledged), sample(Step::Resolved), sample(Step::Digest)];
    let mut events = Vec::new();
    for told in &steps {
        channel.deliver(told, None).unwrap();
        events.push(seen.recv().unwrap());
    }
    let body = |at: usize| &events[at].body;
    let actions: Vec<&Json> = (0..4).map(|at| &body(at)["event_action"]).collect();
    assert_eq!(actions, ["trigger", "acknowledge", "resolve", "trigger"]);
    assert!((0..3).all(|at| body(at)["dedup_key"] == json!(about)));
    assert_eq!(body(3)["dedup_key"], json!(steps[3].key));
    let payload = &body(0)["payload"];
    assert_eq!(payload["summary"].as_str().unwrap().chars().count(), 1_024);
    assert_eq!(
        (&payload["severity"], &payload["component"]),
        (&json!("critical"), &json!("orders_per_min"))
    );
    assert_eq!(payload["timestamp"], "2026-11-27T14:05:00Z");
    assert!(events[0].header("content-length").parse::<usize>().unwrap() < 512_000);
    assert_eq!(body(0)["links"][0]["href"], "https://runbooks.example/orders");
    assert_eq!(body(2).as_object().unwrap().len(), 3, "{}", body(2));
    assert_eq!(body(3)["payload"]["severity"], "info");
}

#[test]
fn slack_changes_what_it_wrote() {
    let (url, seen) = server(vec![
        |to| answer(to, "200 OK", "", r#"{"ok":true,"channel":"C9","ts":"1.5","message":{}}"#),
        |to| {
            answer(
                to,
                "200 OK",
                "",
                r#"{"ok":true,"channel":"C9","ts":"1.9","message":{"thread_ts":"1.5"}}"#,
            )
        },
        |to| answer(to, "200 OK", "", r#"{"ok":true,"channel":"C9","ts":"1.5"}"#),
        |to| answer(to, "200 OK", "", r#"{"ok":false,"error":"channel_not_found"}"#),
        |to| answer(to, "200 OK", "", r#"{"ok":false,"error":"internal_error"}"#),
        |to| answer(to, "200 OK", "", "<html>"),
        ok,
    ]);
    let app = open("slack", &[("url", &url), ("token", "xoxb-hush"), ("room", "#ops")]);
    let mut fired = sample(Step::Fired);
    fired.facts["title"] = json!("<!channel> a & b");
    let first = app.deliver(&fired, None).unwrap();
    assert_eq!(first.remember.as_deref(), Some("C9 1.5"));
    let posted = seen.recv().unwrap();
    assert_eq!(
        (posted.path.as_str(), posted.header("authorization")),
        ("/chat.postMessage", "Bearer xoxb-hush")
    );
    assert_eq!((&posted.body["channel"], posted.body.get("thread_ts")), (&json!("#ops"), None));
    assert_eq!(posted.body["text"], "Critical: &lt;!channel&gt; a &amp; b");
    let before = first.remember.as_deref();
    let again = app.deliver(&sample(Step::Again), before).unwrap();
    assert_eq!((again.remember, &seen.recv().unwrap().body["thread_ts"]), (None, &json!("1.5")));
    let over = app.deliver(&sample(Step::Resolved), before).unwrap();
    assert_eq!(over.remember.as_deref(), before);
    let update = seen.recv().unwrap();
    assert_eq!(
        (update.path.as_str(), &update.body["ts"], &update.body["channel"]),
        ("/chat.update", &json!("1.5"), &json!("C9"))
    );
    assert_eq!(update.body["attachments"][0]["color"], "#2e7d32");
    assert_eq!(never(app.deliver(&fired, None)), "it answered channel_not_found");
    assert_eq!(later(app.deliver(&fired, None)).0, "it answered internal_error");
    later(app.deliver(&fired, None));
    let hook = open("slack", &[("url", &format!("{url}/services/T0/B0/hushhush"))]);
    seen.try_iter().for_each(drop);
    assert_eq!(hook.deliver(&fired, None).unwrap().remember, None);
    let posted = seen.recv().unwrap();
    assert_eq!(
        (posted.path.as_str(), posted.body.get("channel")),
        ("/services/T0/B0/hushhush", None)
    );
    assert!(
        posted.body["attachments"][0]["blocks"].as_array().is_some_and(|blocks| blocks.len() == 2)
    );
    let both = spec("slack", &[("url", "https://a.example/"), ("room", "C1")], false);
    let wrong = both.open(&place(), &SystemClock::shared()).err().unwrap();
    assert_eq!(wrong.to_string(), "room: only belongs to token: an incoming webhook has its own");
}

#[test]
fn teams_gets_a_card_in_which_nothing_is_markdown() {
    let (url, seen) = server(vec![accepted; 2]);
    let channel = open("teams", &[("url", &url)]);
    let mut told = sample(Step::Fired);
    told.facts["title"] = json!("[click](https://evil.example)");
    told.facts["detail"]["why"] =
        json!([{"metric": "m", "groups": [{"group": {"a": "z".repeat(40_000)}}]}]);
    channel.deliver(&told, None).unwrap();
    let seen = seen.recv().unwrap();
    let attachment = &seen.body["attachments"][0];
    assert_eq!(seen.body["type"], "message");
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    let blocks = attachment["content"]["body"].as_array().unwrap();
    assert!(blocks.iter().all(|block| block["type"] == "RichTextBlock"));
    assert_eq!(blocks[0]["inlines"][0]["text"], "Critical: [click](https://evil.example)");
    assert_eq!(attachment["content"]["actions"][0]["url"], "https://runbooks.example/orders");
    assert!(seen.header("content-length").parse::<usize>().unwrap() < 28_000);
}

#[test]
fn opsgenie_knows_an_alert_by_its_alias() {
    let (url, seen) = server(vec![accepted; 4]);
    let channel = open("opsgenie", &[("url", &url), ("api_key", "hush-hush")]);
    let about = sample(Step::Fired).about;
    let mut paths = Vec::new();
    let mut bodies = Vec::new();
    for step in [Step::Fired, Step::Acknowledged, Step::Resolved, Step::Occurred] {
        channel.deliver(&sample(step), None).unwrap();
        let seen = seen.recv().unwrap();
        assert_eq!(seen.header("authorization"), "GenieKey hush-hush");
        paths.push(seen.path);
        bodies.push(seen.body);
    }
    let by_alias = |what: &str| format!("/v2/alerts/{about}/{what}?identifierType=alias");
    let wanted = ["/v2/alerts", &by_alias("acknowledge"), &by_alias("close"), "/v2/alerts"];
    assert_eq!(paths, wanted);
    assert_eq!((&bodies[0]["alias"], &bodies[0]["priority"]), (&json!(about), &json!("P1")));
    assert_eq!(bodies[0]["details"]["label region"], "sample");
    assert_eq!(bodies[1]["user"], "ada");
    assert_eq!(bodies[3]["priority"], "P5");
    assert!(bodies[0]["message"].as_str().unwrap().chars().count() <= 130);
}

struct Stopped(Timestamp);

impl Clock for Stopped {
    fn wall(&self) -> i64 {
        self.0.as_millisecond()
    }

    fn elapsed(&self) -> i64 {
        0
    }
}

#[test]
fn an_alert_of_alertmanager_is_the_same_at_each_step() {
    let (url, seen) = server(vec![ok; 5]);
    // Told days after it was: what counts is when it is told.
    let clock: SharedClock = Arc::new(Stopped("2026-12-09T12:00:00Z".parse().unwrap()));
    let channel = spec("alertmanager", &[("url", &format!("{url}/prefix/"))], true);
    let channel = channel.open(&place(), &clock).unwrap().delivers().unwrap();
    let mut sent = Vec::new();
    for step in [Step::Fired, Step::Again, Step::Acknowledged, Step::Resolved, Step::Occurred] {
        channel.deliver(&sample(step), None).unwrap();
        let seen = seen.recv().unwrap();
        assert_eq!(seen.path, "/prefix/api/v2/alerts");
        sent.push(seen.body[0].clone());
    }
    let labels = json!({
        "alertname": "sample_rule", "severity": "critical", "metric": "orders_per_min",
        "kind": "incident", "source": "tidewatch", "region": "sample", "shop_id": "sample",
    });
    assert!(sent[..4].iter().all(|alert| alert["labels"] == labels), "{}", sent[0]);
    let times = |at: usize| (sent[at]["startsAt"].clone(), sent[at]["endsAt"].clone());
    assert_eq!(times(0), (json!("2026-11-27T14:02:00Z"), json!("2026-12-16T12:00:00Z")));
    assert_eq!(times(1).1, json!("2026-12-16T12:00:00Z"));
    assert_eq!(times(3), (json!("2026-11-27T14:02:00Z"), json!("2026-11-27T14:17:00Z")));
    assert_eq!(times(4).1, json!("2026-12-09T12:15:00Z"));
    assert_eq!(sent[4]["labels"]["subject"], "sample-session");
    assert_eq!(sent[0]["annotations"]["runbook_url"], "https://runbooks.example/orders");
    assert_eq!(sent[2]["annotations"]["acknowledged_by"], "ada");
}

#[test]
fn templates_are_checked_before_anything_happens() {
    let said = |key: &str, template: &str| {
        let keys = [("url", "https://hooks.example/"), (key, template)];
        let opened = spec("webhook", &keys, false).check(&place());
        opened.err().map(|wrong| wrong.to_string())
    };
    assert_eq!(said("title", "{{ severity }} {{ labels.region }}"), None);
    assert_eq!(said("body", "{% for one in named %}{{ one.title }}{% endfor %}"), None);
    let unknown = said("title", "a\n{{ severty }}").unwrap();
    assert!(
        unknown.starts_with("title: line 2: severty is not known of a notification"),
        "{unknown}"
    );
    assert!(unknown.ends_with("did you mean \"severity\"?"), "{unknown}");
    let label = said("body", "{{ labels.regoin }}").unwrap();
    assert_eq!(
        label,
        "body: line 1: labels.regoin: no metric and no pattern has it; there are region, shop.id; \
         did you mean \"region\"?"
    );
    let inner = said("body", "\n{% for one in named %}{{ one.titel }}{% endfor %}").unwrap();
    assert!(inner.contains("line 2") && inner.contains("one.titel"), "{inner}");
    let syntax = said("title", "{{ title").unwrap();
    assert!(syntax.starts_with("title: line 1: syntax error"), "{syntax}");
    let filter = said("title", "{{ title | nmu }}").unwrap();
    assert!(filter.contains("unknown filter") && filter.contains("nmu"), "{filter}");
    let endless = said(
        "body",
        "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
    );
    assert!(endless.unwrap().contains("fuel"));
}

#[test]
fn what_a_template_writes_has_a_bound() {
    let (url, seen) = server(vec![ok; 2]);
    let long = "{% for a in range(9000) %}äbcdefgh{% endfor %}";
    let channel =
        open("webhook", &[("url", &url), ("body", long), ("title", "{{ title }}{{ title }}")]);
    let mut told = sample(Step::Fired);
    told.facts["title"] = json!("ä".repeat(2_000));
    channel.deliver(&told, None).unwrap();
    let data = seen.recv().unwrap().body["data"].clone();
    let (title, body) = (data["title"].as_str().unwrap(), data["body"].as_str().unwrap());
    assert!(title.len() <= 2_048 && title.ends_with('…'));
    assert!(body.len() <= 16_384 && body.len() > 16_370 && body.ends_with('…'));
}

#[test]
fn the_usual_texts_read_well() {
    let channel = open("webhook", &[("url", "http://127.0.0.1:9/")]);
    let mut all = String::new();
    let at = (AT, "5a3f0d2c9b8e4716a0c1d2e3f4051627");
    for told in samples(("oncall", "hook"), &["region".to_owned()], at) {
        let shown = channel.preview(&told).unwrap();
        let body = shown.split_once("\n\n").unwrap().1;
        let event: Json = serde_json::from_str(body).unwrap();
        let text = |name: &str| event["data"][name].as_str().unwrap().to_owned();
        all += &format!("## {}\n{}\n\n", text("title"), text("body"));
    }
    let wanted = include_str!("usual.txt");
    assert!(all == wanted, "{all}");
}

#[test]
fn no_secret_is_shown_by_debug() {
    let secret = Secret("hush".into());
    assert_eq!(format!("{secret:?}"), "Secret");
}
