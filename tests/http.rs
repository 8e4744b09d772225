//! The HTTP side, black box: a real server over in-memory ports, one connection for
//! each request, headers exactly as written.

mod web_rig;

use std::io::Write as _;

use actix_web::{App, web as actix_routes};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tidewatch::actors::ports::{AppendError, StoredDeadLetter};
use tidewatch::domain::alert::Alert;
use tidewatch::domain::board::TopicState;
use tidewatch::domain::event::Hints;
use tidewatch::web::{Settings, server};

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

#[test]
fn bytes_under_way_are_bounded() {
    let rig = Rig::start(Settings { intake_bytes_max: 1_024, ..Settings::default() });
    let body = event(1).to_string();
    assert_eq!(rig.post("/v1/events", &[JSON], body.as_bytes()).status, 202);
    // A request whose body does not come holds all of it, if it is the first to ask.
    let head =
        format!("POST /v1/events HTTP/1.1\r\nHost: {}\r\nContent-Length: 900\r\n\r\n", rig.addr);
    let mut held = Vec::new();
    web_rig::eventually("another is refused", || {
        let mut stream = std::net::TcpStream::connect(rig.addr).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        held.push(stream);
        rig.post("/v1/events", &[JSON], body.as_bytes()).status == 429
    });
    drop(held);
    web_rig::eventually("it is free again", || {
        rig.post("/v1/events", &[JSON], body.as_bytes()).status == 202
    });
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
    rig.status.set(server::DRAIN, Some("stopping".into()));
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
        detail: json!({}),
    };
    *rig.records.alerts.lock() = (1..=3).map(alert).collect();
    for path in ["/v1/alerts", "/v1/alert-log"] {
        let page = rig.get(&format!("{path}?after=1&limit=1")).json();
        assert_eq!((&page["items"][0]["n"], &page["last"]), (&json!(2), &json!(2)));
        let page = rig.get(&format!("{path}?after=3")).json();
        assert_eq!(page, json!({"items": [], "last": 3}));
    }
    assert_eq!(rig.get("/v1/late?limit=5").json(), json!({"items": []}));
}

#[test]
fn health_says_what_is_wrong() {
    let rig = Rig::start(Settings::default());
    assert_eq!(rig.get("/livez").status, 200);
    assert_eq!(rig.get("/readyz").json()["ready"], true);
    rig.status.set("state", Some("replaying".into()));
    for path in ["/readyz", "/healthz"] {
        let answer = rig.get(path);
        assert_eq!((answer.status, &answer.json()["reasons"]["state"]), (503, &json!("replaying")));
    }
    assert!(
        String::from_utf8_lossy(&rig.get("/readyz?verbose").body).contains("[-] state: replaying")
    );
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
