//! The HTTP side, black box: a real server over in-memory ports, one connection for
//! each request, headers exactly as written.

mod web_rig;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use actix_web::{App, web as actix_routes};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tidewatch::actors::ports::{AppendError, StoredDeadLetter};
use tidewatch::domain::alert::{Alert, Detail};
use tidewatch::domain::board::TopicState;
use tidewatch::domain::commit::LateEvent;
use tidewatch::domain::condition::Condition;
use tidewatch::domain::event::Hints;
use tidewatch::web::{Settings, routes, server};

use web_rig::{Answer, Rig};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn event(n: usize) -> Value {
    json!({"id": format!("e{n}"), "ts": 1_700_000_000_000u64, "type": "page_view", "user": "u"})
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[track_caller]
fn assert_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    for field in ["type", "title", "detail"] {
        assert!(problem[field].is_string(), "{problem}");
    }
}

#[test]
fn every_route_carries_the_security_headers() {
    let rig = Rig::start(Settings::default());
    let gets = [
        "/",
        "/static/js/main.js",
        "/livez",
        "/readyz",
        "/healthz",
        "/version",
        "/metrics",
        "/v1/board",
        "/v1/topics",
        "/v1/sessions/u",
        "/v1/alerts",
        "/v1/alert-log",
        "/v1/late",
        "/v1/dead-letters",
        "/v1/dead-letters/1",
        "/v1/dead-letters/1/raw",
        "/v1/ws",
        "/nowhere",
    ];
    let posts = ["/v1/events", "/v1/dead-letters/redrive", "/v1/board"];
    let answers = gets.iter().map(|path| (path, rig.get(path)));
    let answers = answers.chain(posts.iter().map(|path| (path, rig.post(path, &[], b""))));
    for (path, answer) in answers {
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path} {answer:?}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(!answer.header("cache-control").is_empty(), "{path}");
    }
}

#[test]
fn posted_events_are_in_the_log_one_by_one_when_answered() {
    let rig = Rig::start(Settings::default());
    let body = json!([event(1), {"no": "time"}, event(2)]).to_string();
    let answer = rig.post("/v1/events", &[JSON], body.as_bytes());
    assert_eq!(answer.status, 202, "{answer:?}");
    let receipt = answer.json();
    assert_eq!((&receipt["accepted"], &receipt["rejected"]), (&json!(2), &json!(1)));
    assert_eq!((&receipt["first"], &receipt["last"]), (&json!(1), &json!(3)));
    assert_eq!(receipt["verdicts"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&receipt["verdicts"][0]["index"], &receipt["verdicts"][0]["ok"]),
        (&json!(1), &json!(false))
    );
    assert!(receipt["verdicts"][0]["reason"].as_str().unwrap().len() > 3);
    assert_eq!(
        rig.log.texts(),
        [event(1).to_string(), json!({"no": "time"}).to_string(), event(2).to_string()]
    );
}

#[test]
fn every_form_of_body_is_taken_apart() {
    let rig = Rig::start(Settings::default());
    let one = event(1).to_string();
    let lines = format!("{}\n\n{}\n", event(2), event(3));
    let cloud = json!({
        "specversion": "1.0", "id": "c1", "source": "/s", "type": "page_view",
        "time": "2023-11-14T22:13:20Z", "data": {"user": "u"},
    });
    let forms = [
        (Some("application/json"), one.clone(), 1),
        (Some("application/x-ndjson; charset=utf-8"), lines.clone(), 2),
        (Some("text/plain"), lines, 2),
        (None, one, 1),
        (Some("application/cloudevents+json"), cloud.to_string(), 1),
        (Some("application/cloudevents-batch+json"), json!([cloud, cloud]).to_string(), 2),
    ];
    for (content_type, body, accepted) in forms {
        let headers: Vec<_> = content_type.iter().map(|value| ("Content-Type", *value)).collect();
        let answer = rig.post("/v1/events", &headers, body.as_bytes());
        assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(accepted)), "{body}");
        let gzipped = [headers, vec![("Content-Encoding", "gzip")]].concat();
        let answer = rig.post("/v1/events", &gzipped, &gzip(body.as_bytes()));
        assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(accepted)), "{body}");
    }
}

#[test]
fn a_binary_cloudevent_is_logged_in_structured_form() {
    let rig = Rig::start(Settings::default());
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "c1"),
        ("ce-source", "/shop"),
        ("ce-type", "page_view"),
        ("ce-time", "2023-11-14T22:13:20Z"),
        JSON,
    ];
    let answer = rig.post("/v1/events", &headers, br#"{"user":"u"}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    let logged: Value = serde_json::from_str(&rig.log.texts()[0]).unwrap();
    assert_eq!((&logged["id"], &logged["data"]["user"]), (&json!("c1"), &json!("u")));
}

#[test]
fn bodies_without_a_good_event_are_refused_and_kept() {
    let rig = Rig::start(Settings::default());
    for body in ["[{\"id\":1},", "{\"no\":\"time\"}", "[1,2]"] {
        let before = rig.log.texts().len();
        let answer = rig.post("/v1/events", &[JSON], body.as_bytes());
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["accepted"], 0);
        let kept = rig.log.texts().len() - before;
        assert_eq!(answer.json()["rejected"], kept, "{body}");
    }
    assert_problem(&rig.post("/v1/events", &[JSON], b"  "), 400);
    assert_problem(&rig.post("/v1/events", &[JSON], b"[]"), 400);
}

#[test]
fn bodies_beyond_the_bounds_are_refused() {
    let small = Settings {
        body_bytes_max: 2_000,
        inflated_bytes_max: 10_000,
        events_max: 5,
        ..Settings::default()
    };
    let rig = Rig::start(small);
    let large = format!("\"{}\"", "x".repeat(3_000));
    assert_problem(&rig.post("/v1/events", &[JSON], large.as_bytes()), 413);
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let answer = rig.post("/v1/events", &[("Transfer-Encoding", "chunked")], chunked.as_bytes());
    assert_problem(&answer, 413);
    let bomb = gzip(&vec![b' '; 1_000_000]);
    assert!(bomb.len() < 2_000);
    assert_problem(&rig.post("/v1/events", &[("Content-Encoding", "gzip")], &bomb), 413);
    assert_problem(&rig.post("/v1/events", &[("Content-Encoding", "gzip")], b"no gzip"), 400);
    assert_problem(&rig.post("/v1/events", &[("Content-Encoding", "br")], b"{}"), 415);
    let many = json!([{}, {}, {}, {}, {}, {}]).to_string();
    assert_problem(&rig.post("/v1/events", &[JSON], many.as_bytes()), 413);
    assert_eq!(rig.log.texts(), [""; 0], "nothing of it was kept");
}

fn open_post(rig: &Rig, announced: usize, sent: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(rig.addr).unwrap();
    stream.set_read_timeout(Some(web_rig::DEADLINE)).unwrap();
    let host = rig.addr;
    let head =
        format!("POST /v1/events HTTP/1.1\r\nHost: {host}\r\nContent-Length: {announced}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(sent).unwrap();
    stream
}

#[test]
fn what_is_announced_and_does_not_come_costs_nobody_anything() {
    let rig = Rig::start(Settings::default());
    // Together far more than may be under way.
    let silent: Vec<_> = (0..60).map(|_| open_post(&rig, 8 << 20, b"")).collect();
    web_rig::eventually("all wait", || rig.load.bodies() == silent.len());
    assert_eq!(rig.load.intake_bytes(), 0);
    assert_eq!(rig.post("/v1/events", &[JSON], event(1).to_string().as_bytes()).status, 202);
}

#[test]
fn bytes_that_came_are_bounded_and_stalled_bodies_give_way() {
    const MIB: usize = 1 << 20;
    let rig = Rig::start(Settings {
        intake_bytes_max: 8 * MIB,
        body_bytes_max: 2 * MIB,
        inflated_bytes_max: 4 * MIB,
        ..Settings::default()
    });
    let sent = vec![b' '; MIB];
    // One after another: each has its room before anybody else asks for any.
    let mut stalled: Vec<_> = (1..=6)
        .map(|nth| {
            let stream = open_post(&rig, 2 * MIB, &sent);
            web_rig::eventually("what was sent is there", || rig.load.intake_bytes() >= nth * MIB);
            stream
        })
        .collect();
    let small = event(1).to_string();
    let large =
        format!("{{\"id\":\"l\",\"ts\":1700000000000,\"x\":\"{}\"}}", "x".repeat(MIB + MIB / 2));
    web_rig::eventually("there is no room for another large one", || {
        let answer = rig.post("/v1/events", &[JSON], large.as_bytes());
        answer.status == 429
    });
    assert!(rig.load.intake_bytes() <= 8 * MIB);
    assert_eq!(
        rig.post("/v1/events", &[JSON], small.as_bytes()).status,
        202,
        "room for small ones"
    );
    // The others have sent nothing for a while: now they give way.
    rig.clock.advance(5_000);
    let answer = rig.post("/v1/events", &[JSON], large.as_bytes());
    assert_eq!(answer.status, 400, "taken, and too large for an event: {answer:?}");
    let mut text = [0; 16];
    let told = stalled.iter_mut().any(|stream| {
        let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(200)));
        stream.read(&mut text).is_ok_and(|len| text[..len].starts_with(b"HTTP/1.1 408"))
    });
    assert!(told, "whoever gave way is told so");
    drop(stalled);
    web_rig::eventually("all is free again", || rig.load.intake_bytes() == 0);
}

#[test]
fn codings_are_recognised_without_their_header() {
    let rig = Rig::start(Settings::default());
    let body = event(1).to_string();
    let zstd = zstd::encode_all(body.as_bytes(), 3).unwrap();
    for (headers, body) in [
        (vec![], gzip(body.as_bytes())),
        (vec![JSON], gzip(body.as_bytes())),
        (vec![JSON], zstd.clone()),
        (vec![JSON, ("Content-Encoding", "zstd")], zstd),
    ] {
        let answer = rig.post("/v1/events", &headers, &body);
        assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(1)), "{headers:?}");
    }
    let refused = rig.post("/v1/events", &[("Content-Encoding", "br")], b"{}");
    assert_problem(&refused, 415);
    assert_eq!(refused.header("accept-encoding"), "gzip, zstd, deflate");
    let form = [("Content-Type", "multipart/form-data; boundary=x")];
    assert_problem(&rig.post("/v1/events", &form, b"--x--"), 415);
    assert_eq!(rig.log.texts(), [body.as_str(); 4]);
}

#[test]
fn a_body_that_waits_for_a_word_gets_it() {
    let rig = Rig::start(Settings::default());
    let body = event(1).to_string();
    let mut stream = TcpStream::connect(rig.addr).unwrap();
    stream.set_read_timeout(Some(web_rig::DEADLINE)).unwrap();
    let (host, len) = (rig.addr, body.len());
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len}\r\n\
         Expect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut word = [0; 25];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 202"), "{rest}");
}

#[test]
fn a_full_log_says_when_to_come_back() {
    let rig = Rig::start(Settings::default());
    let body = event(1).to_string();
    let refusals = [
        (AppendError::Full { backlog: 9, bound: 9 }, 429),
        (AppendError::DiskFull { path: "/secret/place".into() }, 503),
        (AppendError::Away("/secret/place".into()), 503),
        (AppendError::Broken("/secret/place".into()), 500),
    ];
    for (refusal, status) in refusals {
        *rig.log.refusal.lock() = Some(refusal);
        let answer = rig.post("/v1/events", &[JSON], body.as_bytes());
        assert_problem(&answer, status);
        assert_eq!(answer.header("retry-after").is_empty(), status == 500);
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    }
    *rig.log.refusal.lock() = None;
    rig.status.holds(Condition::Stopping, true);
    let answer = rig.post("/v1/events", &[JSON], body.as_bytes());
    assert_problem(&answer, 503);
    assert!(!answer.header("retry-after").is_empty());
}

#[test]
fn other_sites_and_other_names_are_refused() {
    let rig = Rig::start(Settings { hosts: vec!["ops.example".into()], ..Settings::default() });
    let ours = format!("http://{}", rig.addr);
    let body = event(1).to_string();
    let post = |headers: &[(&str, &str)]| rig.post("/v1/events", headers, body.as_bytes());
    assert_eq!(post(&[("Origin", &ours)]).status, 202);
    assert_problem(&post(&[("Origin", "http://evil.example")]), 403);
    assert_problem(&post(&[("Origin", "null")]), 403);
    assert_problem(&rig.request("GET", "/v1/board", &[("Host", "evil.example")], b""), 403);
    assert_eq!(rig.request("GET", "/v1/board", &[("Host", "ops.example")], b"").status, 200);
    let upgrade =
        [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Origin", "http://evil.example")];
    assert_problem(&rig.request("GET", "/v1/ws", &upgrade, b""), 403);
    let image = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")];
    assert_problem(&rig.request("GET", "/v1/dead-letters", &image, b""), 403);
    for host in ["localhost.", "LOCALHOST:80", "ops.example.:9"] {
        assert_eq!(rig.request("GET", "/livez", &[("Host", host)], b"").status, 200, "{host}");
    }
}

const SHOP: (&str, &str) = ("Origin", "https://shop.example");

#[test]
fn a_listed_origin_may_post_and_read_the_answer_in_a_browser() {
    let rig = Rig::start(Settings { origins: vec![SHOP.1.into()], ..Settings::default() });
    let preflight = |path: &str, method: &str, origin: (&str, &str)| {
        let asked = [
            origin,
            ("Access-Control-Request-Method", method),
            ("Access-Control-Request-Headers", "content-type, ce-id"),
            ("Access-Control-Request-Private-Network", "true"),
        ];
        rig.request("OPTIONS", path, &asked, b"")
    };
    for entry in routes::all() {
        let path = entry.path.replace("{path:.*}", "js/main.js").replace("{key:.*}", "u");
        let path = if path.is_empty() { "/".to_owned() } else { path };
        // Whoever has a token may use it, wherever they come from: no rule about origins is asked.
        if path == "/v1/unsubscribe" {
            continue;
        }
        let answer = preflight(&path, "POST", SHOP);
        assert_eq!(answer.status, 204, "{path} {answer:?}");
        let allowed = format!("{}, OPTIONS", entry.methods);
        for (name, value) in [
            ("access-control-allow-origin", SHOP.1),
            ("access-control-allow-methods", allowed.as_str()),
            ("access-control-allow-headers", "content-type, ce-id"),
            ("access-control-allow-private-network", "true"),
            ("access-control-max-age", "7200"),
            ("allow", allowed.as_str()),
        ] {
            assert_eq!(answer.header(name), value, "{path} {name}");
        }
        assert!(answer.header("vary").contains("Origin"), "{path}");
    }
    let refused = preflight("/v1/events", "POST", ("Origin", "https://evil.example"));
    assert_problem(&refused, 403);
    assert_eq!(refused.header("access-control-allow-origin"), "");

    // Errors too: a page must be able to read why.
    let body = event(1).to_string();
    let answers = [
        (202, rig.post("/v1/events", &[SHOP, JSON], body.as_bytes())),
        (400, rig.post("/v1/events", &[SHOP, JSON], b"{")),
        (405, rig.post("/v1/board", &[SHOP], b"")),
        (404, rig.request("GET", "/nowhere", &[SHOP], b"")),
        (200, rig.request("GET", "/v1/board", &[SHOP], b"")),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), SHOP.1, "{answer:?}");
        assert!(answer.header("access-control-expose-headers").contains("Retry-After"));
        assert!(answer.header("vary").contains("Origin"));
    }
    let plain = rig.get("/v1/board");
    assert_eq!(plain.header("access-control-allow-origin"), "");
    assert!(plain.header("vary").contains("Origin"), "a cache must tell them apart");

    let any = Rig::start(Settings { origins: vec!["*".into()], ..Settings::default() });
    let answer = any.post("/v1/events", &[SHOP, JSON], body.as_bytes());
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (202, "*"));
    assert_eq!(answer.header("access-control-allow-credentials"), "");
}

#[test]
fn head_is_get_without_the_body() {
    let rig = Rig::start(Settings::default());
    *rig.records.letters.lock() = vec![letter(1, b"x")];
    for entry in routes::all().iter().filter(|entry| entry.methods.contains("GET")) {
        let path = entry.path.replace("{path:.*}", "js/main.js").replace("{key:.*}", "u");
        let path = path.replace("{id}", "1").replace("{metric}", "none");
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let (get, head) = (rig.get(&path), rig.request("HEAD", &path, &[], b""));
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.body, b"", "{path}");
        if path == "/v1/ws" {
            continue; // What is missing for an upgrade differs.
        }
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert_eq!(head.header("etag"), get.header("etag"), "{path}");
    }
    let refused = rig.request("HEAD", "/v1/events", &[], b"");
    assert_eq!((refused.status, refused.header("allow")), (405, "POST, OPTIONS"));
    let refused = rig.request("DELETE", "/v1/board", &[], b"");
    assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD, OPTIONS"));
}

#[test]
fn what_does_not_exist_is_a_problem() {
    let rig = Rig::start(Settings::default());
    for path in ["/nowhere", "/v1/sessions/nobody", "/v1/dead-letters/7", "/v1/dead-letters/x"] {
        assert_problem(&rig.get(path), 404);
    }
    for path in ["/static/none.js", "/static/../Cargo.toml", "/static/%2e%2e/Cargo.toml"] {
        assert_problem(&rig.get(path), 404);
    }
    assert_problem(&rig.post("/v1/board", &[], b""), 405);
    assert_problem(&rig.get("/v1/events"), 405);
    assert_problem(&rig.get("/v1/alerts?limit=x"), 400);
    assert_problem(&rig.get("/v1/ws"), 400);
    *rig.records.broken.lock() = true;
    let answer = rig.get("/v1/alerts");
    assert_problem(&answer, 500);
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
}

fn letter(id: u64, raw: &[u8]) -> StoredDeadLetter {
    let (source, reason) = ("log".into(), "no time".into());
    StoredDeadLetter {
        id,
        source,
        position: id,
        reason,
        raw: raw.into(),
        at: 5,
        redriven: None,
        hints: Hints::default(),
    }
}

#[test]
fn dead_letters_are_listed_shown_and_redriven() {
    let rig = Rig::start(Settings::default());
    let good = event(1).to_string();
    *rig.records.letters.lock() =
        vec![letter(1, b"\xff{"), letter(2, good.as_bytes()), letter(3, good.as_bytes())];
    let list = rig.get("/v1/dead-letters?after=1&limit=1").json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&list["items"][0]["id"], &list["items"][0]["bytes"]),
        (&json!(2), &json!(good.len()))
    );
    assert_eq!(rig.get("/v1/dead-letters/1").json()["raw"], "\u{fffd}{");
    let raw = rig.get("/v1/dead-letters/1/raw");
    assert_eq!(
        (raw.header("content-type"), &raw.body[..]),
        ("application/octet-stream", &b"\xff{"[..])
    );

    let redrive =
        |body: Value| rig.post("/v1/dead-letters/redrive", &[JSON], body.to_string().as_bytes());
    let answer = redrive(json!({"ids": [1, 2, 9]})).json();
    assert_eq!(
        (&answer["redriven"], answer["refused"].as_array().unwrap().len()),
        (&json!(1), 2),
        "{answer}"
    );
    assert_eq!(rig.log.texts(), std::slice::from_ref(&good));
    assert!(rig.get("/v1/dead-letters/2").json()["redriven"].is_number());
    let answer = redrive(json!({"all": true})).json();
    assert_eq!((&answer["redriven"], &answer["more"]), (&json!(1), &json!(false)));
    assert_eq!(rig.log.texts().len(), 2, "the one redriven before is left alone");
    assert_problem(&redrive(json!({"ids": "x"})), 400);
}

#[test]
fn alerts_are_paged_by_position() {
    let rig = Rig::start(Settings::default());
    let alert = |n: u64| Alert {
        n,
        id: n.to_string(),
        kind: "abandoned".into(),
        severity: "info".into(),
        at: 5,
        subject: "u".into(),
        title: "t".into(),
        detail: Detail::of(&json!({})),
    };
    *rig.records.alerts.lock() = (1..=3).map(alert).collect();
    for path in ["/v1/alerts", "/v1/alert-log"] {
        let page = rig.get(&format!("{path}?after=1&limit=1")).json();
        assert_eq!((&page["items"][0]["n"], &page["last"]), (&json!(2), &json!(2)));
        let page = rig.get(&format!("{path}?after=3")).json();
        assert_eq!(page, json!({"items": [], "last": 3, "next": null}));
        let page = rig.get(&format!("{path}?order=desc&limit=2")).json();
        assert_eq!((&page["items"][0]["n"], &page["next"]), (&json!(3), &json!(2)));
        assert_eq!(rig.get(&format!("{path}?kind=join")).json()["items"], json!([]));
        assert_eq!(rig.get(&format!("{path}?since=6")).json()["items"], json!([]));
        assert_problem(&rig.get(&format!("{path}?since=soon")), 400);
        assert_problem(&rig.get(&format!("{path}?knd=join")), 400);
    }
    assert_eq!(rig.get("/v1/late?limit=5").json(), json!({"items": [], "next": null}));
}

#[test]
fn lists_are_paged_by_bytes_whatever_was_sent() {
    const PAGE_MAX: usize = 1 << 20;
    let rig = Rig::start(Settings::default());
    // What costs six bytes each as JSON text.
    let nasty = vec![1u8; 300_000];
    *rig.records.letters.lock() = (1..=400).map(|n| letter(n, &nasty)).collect();
    let late = |n: u64| LateEvent {
        source: 0,
        position: n,
        at: 5,
        behind_ms: 7,
        key: "k".into(),
        reason: "its session was closed".into(),
        raw: "\u{1}".repeat(30_000),
    };
    *rig.records.late.lock() = (1..=50).map(late).collect();
    for (path, cursor, count) in [("/v1/dead-letters", "after", 400), ("/v1/late", "before", 50)] {
        let (mut ids, mut query, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let answer = rig.get(&format!("{path}?limit=1000{query}"));
            assert_eq!(answer.status, 200);
            assert!(answer.body.len() < PAGE_MAX + 500_000, "{}", answer.body.len());
            let page = answer.json();
            let items = page["items"].as_array().unwrap();
            ids.extend(items.iter().map(|item| item["id"].as_u64().unwrap()));
            pages += 1;
            match page["next"].as_u64() {
                Some(next) => query = format!("&{cursor}={next}"),
                None => break,
            }
        }
        let expected: Vec<u64> = match cursor {
            "after" => (1..=count).collect(),
            _ => (1..=count).rev().collect(),
        };
        assert_eq!(ids, expected, "{path}");
        assert!(pages > 3, "{path}: {pages} pages");
    }
    let item = &rig.get("/v1/dead-letters?limit=1").json()["items"][0];
    assert_eq!((&item["bytes"], &item["cut"]), (&json!(300_000), &json!(true)));
    assert_eq!(item["raw"].as_str().unwrap().len(), 2_048);
    let alone = rig.get("/v1/dead-letters/1").json();
    assert_eq!((&alone["cut"], alone["raw"].as_str().unwrap().len()), (&json!(true), 65_536));
    assert_eq!(rig.get("/v1/dead-letters/1/raw").body, nasty);
}

#[test]
fn readers_that_do_not_read_hold_a_bounded_part_and_others_go_on() {
    let rig = Rig::start(Settings { answers_bytes_max: 4 << 20, ..Settings::default() });
    *rig.records.letters.lock() = vec![letter(1, &vec![b'x'; 1 << 20])];
    let host = rig.addr;
    let ask = format!("GET /v1/dead-letters/1/raw HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut idle: Vec<TcpStream> = Vec::new();
    web_rig::eventually("the answers are full", || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&host.into()).unwrap();
        let mut stream: TcpStream = socket.into();
        stream.write_all(ask.as_bytes()).unwrap();
        idle.push(stream);
        rig.load.answers_bytes() >= 3 << 20
    });
    assert!(rig.load.answers_bytes() <= 4 << 20);
    web_rig::eventually("a further one is told to wait", || {
        rig.get("/v1/dead-letters/1/raw").status == 429
    });
    assert_eq!(rig.get("/livez").status, 200);
    assert_eq!(rig.get("/v1/dead-letters").status, 200, "short answers need no place");
    drop(idle);
    web_rig::eventually("all is free again", || rig.load.answers_bytes() == 0);
    assert_eq!(rig.get("/v1/dead-letters/1/raw").body.len(), 1 << 20);
}

#[test]
fn when_all_connections_are_taken_who_watches_over_us_is_still_served() {
    let rig = Rig::start(Settings { connections_max: 20, ..Settings::default() });
    let held: Vec<_> = (0..20).map(|_| TcpStream::connect(rig.addr).unwrap()).collect();
    web_rig::eventually("all are taken", || rig.load.connections_open() == 20);
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = rig.get(path);
        assert_eq!((answer.status, answer.header("connection")), (200, "close"), "{path}");
    }
    let refused = rig.get("/v1/board");
    assert_problem(&refused, 503);
    assert!(!refused.header("retry-after").is_empty());
    // Whoever opens ever more pushes out their own.
    let more: Vec<_> = (0..2_000).map(|_| TcpStream::connect(rig.addr).unwrap()).collect();
    assert_eq!(rig.get("/livez").status, 200);
    web_rig::eventually("few are left of them", || rig.load.connections_open() <= 20 + 1_024 + 1);
    drop((held, more));
    web_rig::eventually("all have left", || rig.get("/v1/board").status == 200);
}

#[test]
fn health_says_what_is_wrong() {
    let rig = Rig::start(Settings::default());
    assert_eq!(rig.get("/livez").status, 200);
    assert_eq!(rig.get("/readyz").json()["ready"], true);
    rig.status.holds(Condition::Starting, true);
    for path in ["/readyz", "/healthz"] {
        let answer = rig.get(path);
        let reasons = json!({"starting": "the process is starting"});
        assert_eq!((answer.status, &answer.json()["reasons"]), (503, &reasons));
    }
    rig.status.stands_for(Condition::OutputWaits, "nats alerts", Some("no answer".into()));
    rig.status.holds(Condition::CatchingUp, true);
    let said = "[-] starting: the process is starting\n\
                [i] catching_up: the server is catching up on events\n\
                [!] output_waits: nats alerts: no answer\nnot ready\n";
    assert_eq!(String::from_utf8_lossy(&rig.get("/readyz?verbose").body), said);
    rig.status.holds(Condition::Starting, false);
    assert_eq!(rig.get("/readyz").json(), json!({"ready": true, "reasons": {}}));
    assert_eq!(rig.get("/livez").status, 200);
    assert_eq!(rig.get("/version").json()["name"], "tidewatch");
    let metrics = rig.get("/metrics");
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert_eq!(metrics.body, b"tidewatch_up 1\n");
}

#[test]
fn the_board_is_readable_without_a_websocket() {
    let rig = Rig::start(Settings::default());
    assert_eq!(rig.get("/v1/board").json()["topics"], json!({}));
    rig.publish(4, &[("kpi", TopicState::Map([("rate".to_owned(), json!(0.5))].into()))]);
    web_rig::eventually("the board is there", || rig.get("/v1/board").json()["version"] == 4);
    let board = rig.get("/v1/board").json();
    assert_eq!(board["topics"]["kpi"]["d"], json!({"rate": 0.5}));
    assert_eq!(board["topics"]["kpi"]["kind"], "map");
    assert_eq!(rig.get("/v1/topics").json()[0]["name"], "kpi");
}

#[test]
fn the_page_is_served_and_revalidated() {
    let rig = Rig::start(Settings::default());
    let page = rig.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let script = rig.get("/static/js/main.js");
    assert_eq!(
        (script.status, script.header("content-type")),
        (200, "text/javascript; charset=utf-8")
    );
    let tag = script.header("etag").to_owned();
    let again = rig.request("GET", "/static/js/main.js", &[("If-None-Match", &tag)], b"");
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()));
    assert_eq!(
        (page.header("cache-control"), script.header("cache-control")),
        ("no-cache", "no-cache")
    );
}

const GZIP: (&str, &str) = ("Accept-Encoding", "gzip, deflate, br");

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

#[test]
fn the_page_is_light_and_its_files_are_kept() {
    let rig = Rig::start(Settings::default());
    let get = |path: &str, more: &[(&str, &str)]| {
        rig.request("GET", path, &[&[GZIP], more].concat(), b"")
    };
    let page = get("/", &[]);
    let html = String::from_utf8(gunzip(&page.body)).unwrap();
    let link = "static/v-";
    assert!(html.contains(link) && !html.contains("\"static/js"), "{html}");
    let at = html.find(link).unwrap();
    let folder = &html[at..at + link.len() + 16];
    let (mut zipped, mut plain, mut left) =
        (page.body.len(), html.len(), vec!["js/main.js".into()]);
    let mut seen: Vec<String> = Vec::new();
    while let Some(path) = left.pop() {
        if seen.contains(&path) {
            continue;
        }
        let answer = get(&format!("/{folder}/{path}"), &[]);
        assert_eq!((answer.status, answer.header("content-encoding")), (200, "gzip"), "{path}");
        assert!(answer.header("vary").contains("Accept-Encoding"), "{path}");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        let whole = rig.get(&format!("/{folder}/{path}"));
        let text = gunzip(&answer.body);
        assert_eq!((whole.header("content-encoding"), &whole.body), ("", &text), "{path}");
        assert_ne!(whole.header("etag"), answer.header("etag"), "each form has its tag: {path}");
        let tag = answer.header("etag");
        let again = get(&format!("/{folder}/{path}"), &[("If-None-Match", tag)]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        (zipped, plain) = (zipped + answer.body.len(), plain + text.len());
        let text = String::from_utf8(text).unwrap();
        let imports = text.split("from '").skip(1).filter_map(|rest| rest.split('\'').next());
        left.extend(imports.filter_map(|name| match name.strip_prefix("./") {
            Some(beside) => Some(format!("js/{beside}")),
            None => name.strip_prefix("../").map(str::to_owned),
        }));
        seen.push(path);
    }
    assert!(seen.len() > 15, "{seen:?}");
    assert!(zipped * 2 < plain, "{zipped} of {plain} bytes");
    let other = get("/static/v-0123456789abcdef/js/main.js", &[]);
    assert_eq!((other.status, other.header("cache-control")), (200, "no-cache"));
}

#[test]
fn boards_are_compressed_and_tagged() {
    let rig = Rig::start(Settings::default());
    let many = (0..500).map(|n| (format!("key{n}"), json!(n))).collect();
    rig.publish(1, &[("kpi", TopicState::Map(many))]);
    web_rig::eventually("the board is there", || rig.get("/v1/board").json()["version"] == 1);
    let zipped = rig.request("GET", "/v1/board", &[GZIP], b"");
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert_eq!(gunzip(&zipped.body), rig.get("/v1/board").body);
    let tag = zipped.header("etag");
    let again = rig.request("GET", "/v1/board", &[GZIP, ("If-None-Match", tag)], b"");
    assert_eq!(again.status, 304);
    rig.publish(2, &[("kpi", TopicState::Map([("new".to_owned(), json!(1))].into()))]);
    web_rig::eventually("the next one has another tag", || {
        rig.request("GET", "/v1/board", &[GZIP, ("If-None-Match", tag)], b"").status == 200
    });
}

#[test]
fn addresses_that_others_reach_need_a_word() {
    let rig = Rig::start(Settings::default());
    let listen = ([0, 0, 0, 0], 0).into();
    actix::System::new().block_on(async {
        let open = web_rig::state_for(&rig, Settings { listen, ..Settings::default() });
        assert!(matches!(server::bind(open), Err(server::ServeError::Exposed { .. })));
        let allowed = Settings { listen, insecure_no_auth: true, ..Settings::default() };
        assert!(server::bind(web_rig::state_for(&rig, allowed)).is_ok());
        let taken = Settings { listen: rig.addr, ..Settings::default() };
        let refused = server::bind(web_rig::state_for(&rig, taken));
        assert!(matches!(refused, Err(server::ServeError::Bind { .. })));
    });
}

#[test]
fn mounted_in_a_host_the_links_stay_below_the_prefix() {
    let rig = Rig::start(Settings::default());
    actix::System::new().block_on(async {
        let state = web_rig::state_for(&rig, Settings::default());
        let scope = actix_routes::scope("/ops/tide").configure(tidewatch::web::configure(state));
        let app = actix_web::test::init_service(App::new().service(scope)).await;
        let get = |path: &str| {
            actix_web::test::TestRequest::get()
                .uri(path)
                .insert_header(("host", "localhost"))
                .to_request()
        };
        let moved = actix_web::test::call_service(&app, get("/ops/tide")).await;
        assert_eq!(moved.status(), 308);
        assert_eq!(moved.headers().get("location").unwrap(), "tide/");
        for path in ["/ops/tide/", "/ops/tide/static/js/main.js", "/ops/tide/v1/board"] {
            assert_eq!(
                actix_web::test::call_service(&app, get(path)).await.status(),
                200,
                "{path}"
            );
        }
        assert_eq!(actix_web::test::call_service(&app, get("/v1/board")).await.status(), 404);
    });
}
