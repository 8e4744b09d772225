//! Shows that a client that never reads costs bounded memory and delays nobody.
//!
//! How: opens websockets that follow every topic and then never read again, while events
//! change the board ten times a second; a client that does read must keep getting every
//! version in order and agree with the server, and the server's resident memory must
//! stay within a bound however long it lasts.

mod support;

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use support::events::{Event, Random};
use support::ws::{Client, PROTOCOL, normal};
use support::{Folder, HOLD, Poster, Server, Stopwatch, until};

/// Clients that never read.
const STUCK: usize = 30;

/// Versions that the good client must see meanwhile: at ten a second some 15 s.
const VERSIONS: u64 = 150;

/// What a stuck client may cost: its window of unconfirmed bytes, its mailbox, the
/// buffers of its socket and of the allocator.
const BYTES_EACH_MAX: u64 = 1 << 20;

/// What the events themselves may add: sessions, ids, panes, caches of the store.
const BYTES_EVENTS_MAX: u64 = 128 << 20;

const CONFIG: &str = "[pipeline]\ntick = \"100ms\"\n";

#[test]
fn clients_that_never_read_delay_nobody_and_cost_little() {
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}{CONFIG}")).start();
    let mut random = Random::seeded("slow_clients");
    let mut publisher = Publisher { poster: Poster::new(server.target()), sent: 0 };
    publisher.post(2_000, &mut random);
    server.wait_settled(publisher.sent);
    let topics = topics(&server);
    let before = server.rss();

    let stuck: Vec<_> = (0..STUCK).map(|_| never_reads(&server, &topics)).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut good = Client::follow(&server.url, &names);
    let (first, watch) = (good.topics["kpi"].n, Stopwatch::start());
    let mut longest = Duration::ZERO;
    let mut last = (good.topics["pipeline"].n, watch.elapsed());
    while good.topics["kpi"].n < first + VERSIONS {
        publisher.post(100, &mut random);
        good.read_some();
        assert!(good.closed.is_none(), "{:?}", good.closed);
        let n = good.topics["pipeline"].n;
        if n != last.0 {
            longest = longest.max(watch.elapsed() - last.1);
            last = (n, watch.elapsed());
        }
        assert!(watch.elapsed().as_secs() < 120, "versions stopped at {n}");
    }
    let cost = server.rss().saturating_sub(before);
    println!(
        "{STUCK} stuck clients, {} events: +{} KiB, longest pause {longest:?}",
        publisher.sent,
        cost >> 10
    );
    assert!(longest < Duration::from_secs(2), "the good client waited {longest:?}");
    assert!(cost < STUCK as u64 * BYTES_EACH_MAX + BYTES_EVENTS_MAX, "{cost} bytes more");
    drop(stuck);

    let pipeline = server.wait_settled(publisher.sent);
    assert_eq!(pipeline["applied"], publisher.sent, "{pipeline}");
    assert_folded_view_is_the_servers(&server, &mut good);
}

/// A client that stops for good is let go, and the others are told nothing of it.
#[test]
fn a_dead_client_is_let_go() {
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}{CONFIG}")).start();
    let socket = never_reads(&server, &topics(&server));
    until(20, "the client is counted", || (server.pipeline()["clients"] == 1).then_some(()));
    until(90, "the client is let go", || (server.pipeline()["clients"] == 0).then_some(()));
    drop(socket);
}

/// Labels come from events: long ones must not make heavy frames.
#[test]
fn long_labels_and_keys_make_no_client_dear() {
    const CLIENTS: usize = 60;
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}{CONFIG}")).start();
    let mut poster = Poster::new(server.target());
    let lines: Vec<String> = (0..400)
        .map(|n| {
            let (at, user) = (1_700_000_000_000 + n, format!("{n:05}{}", "u".repeat(200)));
            let mut event = Event::new(format!("l{n}"), at, "http_request", user);
            event.more.insert("region".into(), json!(format!("{n:05}{}", "x".repeat(8_000))));
            event.more.insert("status".into(), json!(500));
            event.line()
        })
        .collect();
    assert_eq!(poster.post(&lines).status, 202);
    server.wait_settled(400);
    let topics = topics(&server);
    let board = until(20, "the groups are on the board", || {
        let board = server.http.get(&server.at("v1/board"));
        let rows = &board.json()["topics"]["errors_by_region_status"]["d"]["rows"];
        (rows.as_array()?.len() > 20).then_some(board)
    });
    assert!(board.body.len() < 600_000, "{} bytes", board.body.len());
    let rows = &board.json()["topics"]["errors_by_region_status"]["d"]["rows"];
    let mut labels: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
    assert!(labels.iter().all(|label| label.len() <= 96), "{labels:?}");
    let count = labels.len();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), count, "no two look the same");

    let before = server.rss();
    let stuck: Vec<_> = (0..CLIENTS).map(|_| never_reads(&server, &topics)).collect();
    until(30, "all are counted", || (server.pipeline()["clients"] == CLIENTS).then_some(()));
    let mut random = Random::seeded("long_labels");
    let mut publisher = Publisher { poster, sent: 1_000 };
    for _ in 0..20 {
        publisher.post(50, &mut random);
    }
    let cost = server.rss().saturating_sub(before) / CLIENTS as u64;
    println!("{} KiB for each of {CLIENTS} clients that never read", cost >> 10);
    assert!(cost < 700 << 10, "{cost} bytes each");
    drop(stuck);
}

/// The folded diffs equal a snapshot taken at the same version.
fn assert_folded_view_is_the_servers(server: &Server, good: &mut Client) {
    let mut fresh = Client::follow(&server.url, &["unique_visitors", "errors_by_region_status"]);
    for (topic, kind) in [("unique_visitors", "series"), ("errors_by_region_status", "grid")] {
        // Events have ceased and time is held: the newest version stays the newest.
        let watch = Stopwatch::start();
        loop {
            fresh.read_some();
            good.read_some();
            let (ours, theirs) = (good.state(topic), fresh.state(topic));
            if normal(kind, ours) == normal(kind, theirs) {
                break;
            }
            assert!(watch.elapsed().as_secs() < 20, "{topic}: {ours} is not {theirs}");
        }
        assert_eq!(good.topics[topic].snapshots, 1, "{topic}: one snapshot, then diffs only");
    }
}

fn topics(server: &Server) -> Vec<String> {
    let list = server.get("v1/topics");
    let names = list.as_array().unwrap().iter().map(|topic| topic["name"].as_str().unwrap());
    names.map(String::from).collect()
}

/// Follows every topic, with the smallest receive buffer there is, and never reads again.
fn never_reads(server: &Server, topics: &[String]) -> WebSocket<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let address: std::net::SocketAddr = server.address().parse().unwrap();
    socket.connect(&address.into()).unwrap();
    let stream: TcpStream = socket.into();
    let mut request = format!("ws://{}/v1/ws", server.address()).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", PROTOCOL.parse().unwrap());
    let (mut socket, _) = tungstenite::client(request, stream).expect("the upgrade succeeds");
    let mut say = |message: Value| socket.send(Message::text(message.to_string())).unwrap();
    say(json!({ "t": "hello", "v": [1], "id": 0, "name": "stuck", "ver": "1" }));
    for (id, topic) in topics.iter().enumerate() {
        say(json!({ "t": "sub", "id": id + 1, "topic": topic }));
    }
    socket
}

struct Publisher {
    poster: Poster,
    sent: u64,
}

impl Publisher {
    /// Posts events that change every topic: errors in many regions, carts, payments.
    fn post(&mut self, count: u64, random: &mut Random) {
        let lines: Vec<String> = (0..count)
            .map(|_| {
                let n = self.sent;
                self.sent += 1;
                let kinds = ["page_view", "cart_add", "payment_completed", "http_request"];
                let kind = kinds[random.below(4) as usize];
                let user = format!("u{}", random.below(500));
                let mut event =
                    Event::new(format!("s{n}"), 1_700_000_000_000 + n as i64 * 20, kind, user);
                event.more.insert("amount".into(), json!(random.below(10_000) as f64 / 100.0));
                event.more.insert("region".into(), json!(format!("region-{}", random.below(12))));
                event.more.insert("status".into(), json!(400 + random.below(8)));
                event.line()
            })
            .collect();
        assert_eq!(self.poster.post(&lines).status, 202);
    }
}
