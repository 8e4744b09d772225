//! The websocket, black box: real connections to a real server and broadcaster. The
//! clients follow the board with the reference client, so every frame is checked for
//! fitting the one before. Time is the rig's clock: no test waits for seconds.

mod web_rig;

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tidewatch::domain::board::TopicState;
use tidewatch::domain::board::client::Client;
use tidewatch::web::Settings;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use web_rig::{DEADLINE, Rig, eventually};

/// A client that answers pings and follows what it reads.
struct Follower {
    socket: WebSocket<TcpStream>,
    client: Client,
    /// All messages so far.
    seen: Vec<Value>,
    answers_pings: bool,
}

/// How a connection ended.
#[derive(Debug, PartialEq)]
struct End {
    code: u16,
    bye: Option<Value>,
}

impl Follower {
    fn connect(rig: &Rig) -> Self {
        Self::over(rig, TcpStream::connect(rig.addr).unwrap())
    }

    /// A client whose kernel takes little, like a browser tab that hangs.
    fn connect_narrow(rig: &Rig) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&rig.addr.into()).unwrap();
        Self::over(rig, socket.into())
    }

    fn over(rig: &Rig, stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut request = format!("ws://{}/v1/ws", rig.addr).into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", "tidewatch.v1".parse().unwrap());
        headers.insert("Origin", format!("http://{}", rig.addr).parse().unwrap());
        let (socket, response) = tungstenite::client(request, stream).unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "tidewatch.v1");
        Follower { socket, client: Client::default(), seen: Vec::new(), answers_pings: true }
    }

    fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).unwrap();
    }

    fn hello(&mut self, topics: &[&str]) {
        let subs: Vec<_> =
            topics.iter().map(|topic| json!({"id": topic, "topic": topic})).collect();
        self.say(json!({"t": "hello", "v": [1], "id": 1, "subs": subs}));
    }

    /// Reads one frame; the types of its messages, or how the connection ended.
    fn read(&mut self) -> Result<Vec<String>, End> {
        let text = match self.socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(Message::Close(frame)) => {
                let bye = self.seen.iter().rfind(|message| message["t"] == "bye").cloned();
                return Err(End { code: frame.unwrap().code.into(), bye });
            }
            other => panic!("{other:?}"),
        };
        let frame: Value = serde_json::from_str(&text).unwrap();
        self.client.read_frame(&frame).unwrap();
        let messages = match frame {
            Value::Array(messages) => messages,
            message => vec![message],
        };
        for ping in messages.iter().filter(|m| m["t"] == "ping" && self.answers_pings) {
            let pong = json!({"t": "pong", "i": ping["i"]}).to_string();
            self.socket.send(Message::text(pong)).unwrap();
        }
        let types = messages.iter().map(|m| m["t"].as_str().unwrap().to_owned()).collect();
        self.seen.extend(messages);
        Ok(types)
    }

    fn read_until(&mut self, mut holds: impl FnMut(&Client) -> bool) {
        while !holds(&self.client) {
            self.read().unwrap();
        }
    }

    fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.read() {
                return end;
            }
        }
    }
}

fn map(size: usize, version: u64) -> TopicState {
    TopicState::Map((0..size).map(|n| (format!("key{n:06}"), json!(version))).collect())
}

fn position(client: &Client) -> u64 {
    client.topics.values().next().map_or(0, |topic| topic.position)
}

#[test]
fn a_client_is_welcomed_subscribed_and_followed_in_order() {
    let rig = Rig::start(Settings::default());
    rig.publish(1, &[("kpi", map(2, 1)), ("pipeline", map(1, 1))]);
    let mut client = Follower::connect(&rig);
    client.hello(&["kpi", "nothing"]);
    assert_eq!(client.read().unwrap(), ["welcome", "ok", "err", "snap"]);
    let (welcome, error) = (&client.seen[0], &client.seen[2]);
    assert_eq!((&welcome["v"], &welcome["ping"]), (&json!(1), &json!(10_000)));
    assert_eq!((&error["id"], &error["code"]), (&json!("nothing"), &json!(102)));
    rig.publish(2, &[("kpi", map(2, 2)), ("pipeline", map(1, 2))]);
    assert_eq!(client.read().unwrap(), ["diff"]);
    let diff = client.seen.last().unwrap();
    assert_eq!((&diff["b"], &diff["n"]), (&json!(1), &json!(2)));
    client.say(json!({"t": "sub", "id": 7, "topic": "pipeline"}));
    assert_eq!(client.read().unwrap(), ["ok", "snap"]);
    client.say(json!({"t": "sub", "id": 8, "topic": "kpi", "f": {"region": ["eu"]}}));
    assert_eq!(client.read().unwrap(), ["err"]);
    assert_eq!(client.seen.last().unwrap()["code"], 110);
    rig.publish(3, &[("kpi", map(2, 3)), ("pipeline", map(1, 3))]);
    assert_eq!(client.read().unwrap(), ["diff", "diff"]);
    assert_eq!(client.client.topics.len(), 2);
    assert_eq!(rig.stats.clients(), 1);
}

#[test]
fn a_client_that_came_before_the_first_board_gets_it() {
    let rig = Rig::start(Settings::default());
    let mut client = Follower::connect(&rig);
    client.hello(&["kpi"]);
    assert_eq!(client.read().unwrap(), ["welcome"]);
    rig.publish(1, &[("kpi", map(1, 1))]);
    assert_eq!(client.read().unwrap(), ["ok", "snap"]);
}

#[test]
fn no_hello_in_time_ends_the_connection() {
    let rig = Rig::start(Settings::default());
    let mut client = Follower::connect(&rig);
    eventually("it is known", || rig.stats.clients() == 1);
    rig.clock.advance(5_001);
    assert_eq!(client.end().code, 4505);
    eventually("it is forgotten", || rig.stats.clients() == 0);
}

#[test]
fn what_breaks_the_protocol_is_told_by_its_code() {
    let rig = Rig::start(Settings::default());
    let check = |break_it: &dyn Fn(&mut Follower), code: u16| {
        let mut client = Follower::connect(&rig);
        break_it(&mut client);
        let end = client.end();
        assert_eq!(end.code, code);
        let bye = end.bye.unwrap();
        assert_eq!((&bye["code"], &bye["retry"]), (&json!(code), &json!(code < 4500)));
    };
    let text = |client: &mut Follower, text: &str| client.socket.send(Message::text(text)).unwrap();
    check(&|client| text(client, "not json"), 4501);
    check(&|client| text(client, "[1]"), 4501);
    check(&|client| client.say(json!({"t": "sub", "topic": "kpi"})), 4501);
    check(&|client| client.socket.send(Message::binary(vec![1, 2])).unwrap(), 4501);
    check(&|client| client.say(json!({"t": "hello", "v": [2]})), 4502);
    check(&|client| text(client, &" ".repeat(16 * 1024 + 1)), 4506);
    let flood = |client: &mut Follower| {
        client.hello(&[]);
        (0..20).for_each(|n| client.say(json!({"t": "hist", "id": n})));
    };
    check(&flood, 4006);
    eventually("all are forgotten", || rig.stats.clients() == 0);
}

#[test]
fn a_frame_that_announces_too_much_is_refused_at_its_header() {
    let rig = Rig::start(Settings::default());
    rig.publish(1, &[("kpi", map(1, 1))]);
    // Text, binary, a first and a later fragment, a ping: the length, and nothing behind it.
    for (opcode, greeted) in
        [(0x81u8, false), (0x81, true), (0x82, true), (0x01, true), (0x80, true), (0x89, false)]
    {
        let mut client = Follower::connect(&rig);
        if greeted {
            client.hello(&["kpi"]);
            client.read_until(|client| position(client) == 1);
        }
        let header = [&[opcode, 0xff][..], &(8u64 << 30).to_be_bytes(), &[0; 4]].concat();
        client.socket.get_mut().write_all(&header).unwrap();
        assert_eq!(client.end().code, 4506, "{opcode:x} {greeted}");
    }
    eventually("all are forgotten", || rig.stats.clients() == 0);
}

#[test]
fn a_message_may_come_in_parts_within_the_bound() {
    let rig = Rig::start(Settings::default());
    rig.publish(1, &[("kpi", map(1, 1))]);
    let part = |client: &mut Follower, opcode: u8, text: &str| {
        let len = text.len() as u16;
        let head = [&[opcode, 0x80 | 126][..], &len.to_be_bytes(), &[0; 4]].concat();
        client.socket.get_mut().write_all(&[&head[..], text.as_bytes()].concat()).unwrap();
    };
    let mut client = Follower::connect(&rig);
    part(&mut client, 0x01, r#"{"t":"hello","v":[1],"id":1,"#);
    part(&mut client, 0x00, r#""subs":[{"id":2,"to"#);
    part(&mut client, 0x80, r#"pic":"kpi"}]}"#);
    assert_eq!(client.read().unwrap(), ["welcome", "ok", "snap"]);
    part(&mut client, 0x01, &" ".repeat(10_000));
    part(&mut client, 0x00, &" ".repeat(10_000));
    assert_eq!(client.end().code, 4506);
}

#[test]
fn a_flood_of_pings_ends_the_connection() {
    let rig = Rig::start(Settings::default());
    let mut client = Follower::connect(&rig);
    for _ in 0..200 {
        if client.socket.send(Message::Ping(vec![1].into())).is_err() {
            break;
        }
    }
    let end = loop {
        match client.socket.read() {
            Ok(Message::Pong(_) | Message::Text(_)) => {}
            Ok(Message::Close(frame)) => break u16::from(frame.unwrap().code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end, 4006);
}

#[test]
fn a_client_that_never_answers_is_cut() {
    let rig = Rig::start(Settings::default());
    rig.publish(1, &[("kpi", map(1, 1))]);
    let mut client = Follower::connect(&rig);
    client.answers_pings = false;
    client.hello(&["kpi"]);
    client.read().unwrap();
    rig.clock.advance(30_001);
    let end = client.end();
    assert_eq!(end.code, 4004);
    assert!(end.bye.unwrap()["after"].as_i64().unwrap() >= 500);
}

#[test]
fn a_client_that_never_reads_costs_little_and_disturbs_nobody() {
    const VERSIONS: u64 = 60;
    let rig = Rig::start(Settings::default());
    rig.publish(1, &[("kpi", map(1_000, 1))]);
    let (mut stalled, mut good) = (Follower::connect_narrow(&rig), Follower::connect(&rig));
    stalled.hello(&["kpi"]);
    good.hello(&["kpi"]);
    good.read_until(|client| position(client) == 1);
    eventually("both are known", || rig.stats.clients() == 2);
    for version in 2..=VERSIONS {
        rig.publish(version, &[("kpi", map(1_000, version))]);
        let reached = position(&good.client);
        good.read_until(|client| position(client) > reached);
        assert_eq!(position(&good.client), version, "the other client gets every version");
        rig.clock.advance(400);
    }
    assert_eq!(rig.stats.lagging(), 1);
    for version in VERSIONS + 1..=VERSIONS + 4 {
        rig.clock.advance(5_000);
        rig.publish(version, &[("kpi", map(1_000, version))]);
        good.read_until(|client| position(client) == version);
    }
    eventually("the stalled one is cut", || rig.stats.clients() == 1);
    assert_eq!(rig.stats.lagging(), 0);

    // Now it reads: what was under way, and why it was cut.
    let end = stalled.end();
    assert_eq!(end.code, 4005);
    let taken: usize = stalled.seen.iter().map(|message| message.to_string().len()).sum();
    assert!(taken < 256 * 1024 + 64 * 1024, "{taken} bytes were kept for it");
    assert!(position(&stalled.client) < VERSIONS / 2, "{}", position(&stalled.client));
}

#[test]
fn a_client_that_reads_again_catches_up_at_once() {
    let rig = Rig::start(Settings::default());
    rig.publish(1, &[("kpi", map(1_000, 1))]);
    let mut client = Follower::connect_narrow(&rig);
    client.hello(&["kpi"]);
    let mut version = 1;
    eventually("it lags", || {
        version += 1;
        rig.publish(version, &[("kpi", map(1_000, version))]);
        rig.stats.lagging() == 1
    });
    for _ in 0..20 {
        version += 1;
        rig.publish(version, &[("kpi", map(1_000, version))]);
    }
    client.read_until(|client| position(client) == version);
    let TopicState::Map(values) = client.client.topics[&0].state.clone().unwrap() else { panic!() };
    assert_eq!(values["key000000"], version);
    eventually("it no longer lags", || rig.stats.lagging() == 0);
    let frames = client.seen.iter().filter(|m| m["t"] == "diff" || m["t"] == "snap").count() as u64;
    assert!(frames < version, "{frames} of {version}");
}

#[test]
fn stopping_says_goodbye_and_when_to_come_back() {
    let mut rig = Rig::start(Settings::default());
    rig.publish(1, &[("kpi", map(1, 1))]);
    let mut clients: Vec<_> = (0..3).map(|_| Follower::connect(&rig)).collect();
    for client in &mut clients {
        client.hello(&["kpi"]);
        client.read_until(|client| position(client) == 1);
    }
    let stopped = std::thread::spawn(move || rig.stop());
    let mut waits = Vec::new();
    for client in &mut clients {
        let end = client.end();
        assert_eq!(end.code, 4000);
        let bye = end.bye.unwrap();
        assert_eq!(bye["retry"], true);
        waits.push(bye["after"].as_i64().unwrap());
    }
    waits.dedup();
    assert!(waits.len() > 1 && waits.iter().all(|ms| (500..5_000).contains(ms)), "{waits:?}");
    stopped.join().unwrap().unwrap();
}

#[test]
fn seats_are_bounded_and_given_back() {
    let rig = Rig::start(Settings { sockets_max: 1, ..Settings::default() });
    let mut first = Follower::connect(&rig);
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let refused = rig.request("GET", "/v1/ws", &upgrade, b"");
    assert_eq!((refused.status, refused.header("retry-after").is_empty()), (503, false));
    first.socket.close(None).unwrap();
    drop(first);
    eventually("the seat is free", || rig.stats.clients() == 0);
    let mut second = Follower::connect(&rig);
    second.hello(&[]);
    assert_eq!(second.read().unwrap(), ["welcome"]);
}
