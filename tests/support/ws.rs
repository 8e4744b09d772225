//! A websocket client that folds `tidewatch.v1` messages into topic states, strictly: a
//! message that does not fit the state it changes fails the test.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::wait::Stopwatch;

/// The subprotocol's name.
pub const PROTOCOL: &str = "tidewatch.v1";

/// One subscribed topic.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// `map`, `series`, `grid` or `log`.
    pub kind: String,
    pub about: Value,
    pub incarnation: Value,
    /// Version of the state.
    pub n: u64,
    pub watermark: i64,
    /// The state, in the form of a snapshot's `d`.
    pub state: Value,
    pub snapshots: u64,
    pub diffs: u64,
    /// Ranges of a log that were named as missing.
    pub gaps: Vec<Value>,
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    socket: WebSocket<TcpStream>,
    names: BTreeMap<u64, String>,
    asked: BTreeMap<u64, String>,
    next_id: u64,
    pub welcome: Value,
    pub topics: BTreeMap<String, Followed>,
    /// Errors the server answered with.
    pub errors: Vec<Value>,
    /// `stale` and `bye` messages, in order.
    pub notices: Vec<Value>,
    /// Code and reason, once the server has closed.
    pub closed: Option<(u16, String)>,
}

impl Client {
    /// Connects to `http://host:port/`, says hello and waits for the welcome.
    pub fn connect(url: &str) -> Client {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut request = format!("ws://{address}/v1/ws").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", PROTOCOL.parse().unwrap());
        let (socket, answer) = handshake(request, stream);
        assert_eq!(answer.headers()["sec-websocket-protocol"], PROTOCOL);
        let mut client = Client {
            socket,
            names: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_id: 1,
            welcome: Value::Null,
            topics: BTreeMap::new(),
            errors: Vec::new(),
            notices: Vec::new(),
            closed: None,
        };
        client.send(&json!({ "t": "hello", "v": [1], "id": 0, "name": "test", "ver": "1" }));
        client.read_until(10, "a welcome", |client| !client.welcome.is_null());
        client
    }

    /// Connects and follows topics; returns once each has a snapshot.
    pub fn follow(url: &str, topics: &[&str]) -> Client {
        let mut client = Client::connect(url);
        for topic in topics {
            client.subscribe(topic);
        }
        client.read_until(10, "a snapshot of each topic", |client| {
            topics.iter().all(|topic| client.topics.get(*topic).is_some_and(|t| t.snapshots > 0))
        });
        client
    }

    pub fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).expect("the socket takes it");
    }

    /// Sends a `sub`; returns its id.
    pub fn subscribe(&mut self, topic: &str) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id, topic.into());
        self.send(&json!({ "t": "sub", "id": id, "topic": topic }));
        id
    }

    /// The state of a followed topic.
    pub fn state(&self, topic: &str) -> &Value {
        &self.topics[topic].state
    }

    /// Reads messages until the condition holds.
    ///
    /// Panics after `seconds` with `what` was awaited.
    pub fn read_until(&mut self, seconds: u64, what: &str, condition: impl Fn(&Client) -> bool) {
        let watch = Stopwatch::start();
        while !condition(self) {
            assert!(
                watch.elapsed().as_secs() < seconds,
                "not within {seconds} s: {what}; {:?}",
                self.notices
            );
            assert!(self.closed.is_none(), "closed while waiting for {what}: {:?}", self.closed);
            self.read_some();
        }
    }

    /// Reads one frame if one comes within a moment.
    pub fn read_some(&mut self) {
        match self.socket.read() {
            Ok(Message::Text(text)) => {
                let value: Value = serde_json::from_str(&text).expect("frames are JSON");
                match value {
                    Value::Array(messages) => {
                        messages.iter().for_each(|message| self.take(message));
                    }
                    message => self.take(&message),
                }
            }
            Ok(Message::Close(frame)) => {
                let frame = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                self.closed = Some(frame.unwrap_or((1005, String::new())));
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(error) => {
                self.closed.get_or_insert((1006, error.to_string()));
            }
        }
    }

    fn take(&mut self, message: &Value) {
        match message["t"].as_str().expect("a type") {
            "welcome" => self.welcome = message.clone(),
            "ok" => {
                let id = message["id"].as_u64().unwrap();
                let name = self.asked.remove(&id).expect("an answer to a question");
                let followed = Followed {
                    kind: message["kind"].as_str().unwrap().into(),
                    about: message["schema"].clone(),
                    ..Followed::default()
                };
                assert_eq!(message["rec"], json!(false));
                self.names.insert(message["s"].as_u64().unwrap(), name.clone());
                self.topics.insert(name, followed);
            }
            "err" => self.errors.push(message.clone()),
            "ping" => {
                let pong = json!({ "t": "pong", "i": message["i"], "lag": 0 });
                self.send(&pong);
            }
            "end" => {
                let name = self.names.remove(&message["s"].as_u64().unwrap());
                self.topics.remove(&name.expect("a topic we follow"));
                self.notices.push(message.clone());
            }
            "stale" | "bye" => self.notices.push(message.clone()),
            "snap" | "diff" | "ev" | "gap" => {
                let s = message["s"].as_u64().unwrap();
                let name = self.names.get(&s).expect("a topic we follow");
                self.topics.get_mut(name).expect("named topics exist").fold(message);
            }
            // Unknown types are ignored, as the protocol asks.
            _ => {}
        }
    }
}

fn handshake(
    request: tungstenite::handshake::client::Request,
    stream: TcpStream,
) -> (WebSocket<TcpStream>, tungstenite::handshake::client::Response) {
    let mut attempt = tungstenite::client(request, stream);
    let watch = Stopwatch::start();
    loop {
        match attempt {
            Ok(done) => return done,
            Err(tungstenite::HandshakeError::Interrupted(middle)) => {
                assert!(watch.elapsed().as_secs() < 10, "no answer to the upgrade");
                attempt = middle.handshake();
            }
            Err(tungstenite::HandshakeError::Failure(error)) => panic!("upgrade: {error}"),
        }
    }
}

impl Followed {
    fn fold(&mut self, message: &Value) {
        if let Some(watermark) = message["wm"].as_i64() {
            self.watermark = watermark;
        }
        match message["t"].as_str().unwrap() {
            "snap" => {
                self.snapshots += 1;
                self.incarnation = message["e"].clone();
                self.n = message["n"].as_u64().unwrap();
                self.state = message["d"].clone();
            }
            "diff" => {
                self.diffs += 1;
                assert!(self.snapshots > 0, "a diff before the snapshot");
                assert_eq!(message["b"].as_u64(), Some(self.n), "a diff on another base");
                let n = message["n"].as_u64().unwrap();
                assert!(n > self.n, "versions grow");
                self.n = n;
                match self.kind.as_str() {
                    "map" => fold_map(&mut self.state, message),
                    "series" => fold_series(&mut self.state, &message["v"]),
                    "grid" => fold_grid(&mut self.state, message),
                    kind => panic!("a diff for a topic of kind {kind}"),
                }
            }
            "ev" => {
                self.diffs += 1;
                let items = self.state["items"].as_array_mut().unwrap();
                for item in message["items"].as_array().unwrap() {
                    let (last, n) = (items.last().map(|item| &item["n"]), &item["n"]);
                    if let (Some(last), Some(n)) = (last.and_then(Value::as_u64), n.as_u64()) {
                        assert!(n > last, "log items in order and once");
                        assert!(n == last + 1 || !self.gaps.is_empty(), "a silent gap in a log");
                    }
                    items.push(item.clone());
                }
                self.n = message["n"].as_u64().unwrap();
                trim(&mut self.state, "items");
            }
            _ => self.gaps.push(message.clone()),
        }
    }
}

fn fold_map(state: &mut Value, diff: &Value) {
    let map = state.as_object_mut().unwrap();
    for (key, value) in diff["set"].as_object().into_iter().flatten() {
        map.insert(key.clone(), value.clone());
    }
    for key in diff["del"].as_array().into_iter().flatten() {
        map.remove(key.as_str().unwrap());
    }
}

fn fold_series(state: &mut Value, points: &Value) {
    let columns = points.as_array().unwrap();
    let times = columns[0].as_array().unwrap();
    for (i, at) in times.iter().enumerate() {
        let held = state["p"].as_array_mut().unwrap();
        if held[0].as_array().unwrap().is_empty() {
            // A series without points does not say how many columns it will have.
            held.resize(columns.len(), json!([]));
        }
        assert_eq!(held.len(), columns.len(), "as many columns as before");
        let known = held[0].as_array().unwrap().iter().rposition(|time| time == at);
        if known.is_none() {
            let last = held[0].as_array().unwrap().last().and_then(Value::as_i64);
            assert!(last < at.as_i64(), "points in order");
        }
        for (column, values) in columns.iter().enumerate() {
            let held = state["p"][column].as_array_mut().unwrap();
            match known {
                Some(index) => held[index] = values[i].clone(),
                None => held.push(values[i].clone()),
            }
        }
    }
    let capacity = state["cap"].as_u64().unwrap() as usize;
    for column in state["p"].as_array_mut().unwrap() {
        let column = column.as_array_mut().unwrap();
        let surplus = column.len().saturating_sub(capacity);
        column.drain(..surplus);
    }
}

fn fold_grid(state: &mut Value, diff: &Value) {
    for row in diff["rows"].as_array().into_iter().flatten() {
        state["rows"].as_array_mut().unwrap().push(row.clone());
    }
    let rows = state["rows"].as_array().unwrap().len();
    let columns = state["cols"].as_array_mut().unwrap();
    for at in diff["ts"].as_array().into_iter().flatten() {
        columns.push(json!([at, []]));
    }
    for cell in diff["c"].as_array().into_iter().flatten() {
        let row = cell[1].as_u64().unwrap() as usize;
        assert!(row < rows, "a cell of a row that was never announced");
        let column = columns.iter_mut().rev().find(|column| column[0] == cell[0]);
        let counts = column.expect("a cell of a known column")[1].as_array_mut().unwrap();
        while counts.len() <= row {
            counts.push(json!(0));
        }
        counts[row] = cell[2].clone();
    }
    trim(state, "cols");
}

fn trim(state: &mut Value, list: &str) {
    let capacity = state["cap"].as_u64().unwrap() as usize;
    let items = state[list].as_array_mut().unwrap();
    let surplus = items.len().saturating_sub(capacity);
    items.drain(..surplus);
}

/// A state in the form in which two of them can be compared: grid columns as long as
/// there are rows.
pub fn normal(kind: &str, state: &Value) -> Value {
    let mut state = state.clone();
    if kind == "grid" {
        let rows = state["rows"].as_array().unwrap().len();
        for column in state["cols"].as_array_mut().unwrap() {
            column[1].as_array_mut().unwrap().resize(rows, json!(0));
        }
    }
    state
}
