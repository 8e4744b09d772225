//! The policy for slow clients, with a client that is played by the test: what it is
//! sent, what is not sent to it, and when it is cut.
use crate::condition::Condition;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::board::client::Client;
use crate::board::command::parse;
use crate::board::feed::LOG_ITEMS_MAX;
use crate::board::{Board, Log, LogItem, Topic, TopicAbout, TopicState};

/// One connection with its client.
struct Rig {
    feeds: Feeds,
    subscriber: Subscriber,
    client: Client,
    now: Now,
    version: u64,
    /// Messages of the last frame.
    messages: Vec<Value>,
    pings: Vec<u64>,
}

impl Rig {
    fn new() -> Self {
        let now = Now { elapsed: 0, wall: 1_000_000 };
        Rig {
            feeds: Feeds::new("n".into()),
            subscriber: Subscriber::new(now),
            client: Client::default(),
            now,
            version: 0,
            messages: Vec::new(),
            pings: Vec::new(),
        }
    }

    fn wait(&mut self, ms: i64) {
        self.now.elapsed += ms;
        self.now.wall += ms;
    }

    fn publish(&mut self, topics: &[(&str, TopicState)]) {
        self.version += 1;
        let topic = |state: &TopicState| {
            Arc::new(Topic { about: TopicAbout::default(), state: state.clone() })
        };
        let topics: BTreeMap<_, _> =
            topics.iter().map(|(name, state)| ((*name).to_owned(), topic(state))).collect();
        self.feeds.absorb(&Board { version: self.version, topics, ..Board::default() });
        self.subscriber.topics_known(&self.feeds);
    }

    fn say(&mut self, message: Value) -> Result<(), CloseReason> {
        for command in parse(&message.to_string().into()).unwrap() {
            self.subscriber.command(command, &self.feeds, (1, "n"), self.now)?;
        }
        Ok(())
    }

    /// Offers a frame and lets the client read it; the types of its messages.
    fn deliver(&mut self) -> Vec<String> {
        let Some(draft) = self.subscriber.draft(&mut self.feeds, self.now) else {
            self.messages = Vec::new();
            return Vec::new();
        };
        self.subscriber.sent(&draft, &self.feeds, self.now);
        let frame: Value = serde_json::from_str(&draft.frame).unwrap();
        self.client.read_frame(&frame).unwrap();
        self.messages = match frame {
            Value::Array(messages) => messages,
            message => vec![message],
        };
        let pings = self.messages.iter().filter(|message| message["t"] == "ping");
        self.pings.extend(pings.map(|ping| ping["i"].as_u64().unwrap()));
        self.messages.iter().map(|message| message["t"].as_str().unwrap().to_owned()).collect()
    }

    fn pong(&mut self) {
        for number in std::mem::take(&mut self.pings) {
            self.wait(200);
            self.say(json!({"t": "pong", "i": number})).unwrap();
        }
    }
}

fn map(size: usize, salt: u64) -> TopicState {
    TopicState::Map((0..size).map(|n| (format!("key{n:06}"), json!(salt))).collect())
}

fn log(last: u64) -> TopicState {
    let item = |n: u64| Arc::new(LogItem { n, id: n.to_string(), body: json!({}) });
    let first = last.saturating_sub(499).max(1);
    TopicState::Log(Log { capacity: 500, items: (first..=last).map(item).collect() })
}

#[test]
fn a_hello_with_subs_is_answered_in_one_frame_in_order() {
    let mut rig = Rig::new();
    rig.publish(&[("kpi", map(2, 1)), ("alerts", log(3))]);
    let subs =
        json!([{"id": 1, "topic": "kpi"}, {"id": 2, "topic": "no"}, {"id": 3, "topic": "alerts"}]);
    rig.say(json!({"t": "hello", "v": [1], "id": 9, "subs": subs})).unwrap();
    assert_eq!(rig.deliver(), ["welcome", "ok", "err", "ok", "snap", "snap"]);
    assert_eq!(rig.messages[0]["id"], 9);
    assert_eq!((&rig.messages[2]["id"], &rig.messages[2]["code"]), (&json!(2), &json!(102)));
    assert_eq!(rig.deliver(), [""; 0]);
    rig.publish(&[("kpi", map(2, 2)), ("alerts", log(4))]);
    assert_eq!(rig.deliver(), ["ev", "diff"]);
    rig.publish(&[("kpi", map(2, 2)), ("alerts", log(4))]);
    assert_eq!(rig.deliver(), [""; 0]);
}

#[test]
fn subs_before_the_first_board_wait_for_it() {
    let mut rig = Rig::new();
    rig.say(json!({"t": "hello", "v": 1, "subs": [{"id": 1, "topic": "kpi"}]})).unwrap();
    assert_eq!(rig.deliver(), ["welcome"]);
    rig.publish(&[("kpi", map(2, 1))]);
    assert_eq!(rig.deliver(), ["ok", "snap"]);
}

#[test]
fn an_unsubscribed_topic_is_sent_no_more() {
    let mut rig = Rig::new();
    rig.publish(&[("kpi", map(2, 1))]);
    rig.say(json!({"t": "hello", "v": 1, "subs": [{"topic": "kpi"}]})).unwrap();
    rig.deliver();
    let sub = rig.messages[1]["s"].clone();
    rig.say(json!({"t": "unsub", "id": 2, "s": sub})).unwrap();
    rig.publish(&[("kpi", map(2, 2))]);
    assert_eq!(rig.deliver(), ["ok"]);
    rig.say(json!({"t": "unsub", "id": 3, "s": sub})).unwrap();
    assert_eq!(rig.deliver(), ["err"]);
}

#[test]
fn the_window_stops_topics_and_a_pong_brings_one_catch_up() {
    let mut rig = Rig::new();
    rig.publish(&[("kpi", map(1_000, 0))]);
    rig.say(json!({"t": "hello", "v": 1, "subs": [{"topic": "kpi"}]})).unwrap();
    rig.deliver();
    let mut versions = 0;
    while !rig.subscriber.is_lagging() {
        versions += 1;
        rig.wait(1_000);
        rig.publish(&[("kpi", map(1_000, versions))]);
        rig.deliver();
        assert!(rig.subscriber.in_flight() < WINDOW_BYTES + 40_000, "{versions}");
    }
    assert!(versions > 5, "{versions}");
    let in_flight = rig.subscriber.in_flight();
    for version in versions + 1..versions + 4 {
        rig.publish(&[("kpi", map(1_000, version))]);
        assert!(!rig.deliver().contains(&"diff".to_owned()));
    }
    assert!(rig.subscriber.in_flight() < in_flight + 500, "nothing is queued while it lags");
    rig.pong();
    assert_eq!(rig.deliver(), ["diff"]);
    assert!(!rig.subscriber.is_lagging());
    assert_eq!(rig.client.topics[&0].state, Some(map(1_000, versions + 3)));
}

#[test]
fn a_client_far_behind_gets_a_snapshot_and_is_told() {
    let mut rig = Rig::new();
    rig.publish(&[("kpi", map(2, 0))]);
    rig.say(json!({"t": "hello", "v": 1, "subs": [{"topic": "kpi"}]})).unwrap();
    rig.deliver();
    for version in 1..=12 {
        rig.wait(1_000);
        rig.publish(&[("kpi", map(2, version))]);
        let draft = rig.subscriber.draft(&mut rig.feeds, rig.now).unwrap();
        rig.subscriber.not_taken(&draft, rig.now);
    }
    assert!(rig.subscriber.is_lagging());
    assert_eq!(rig.deliver(), ["ping", "snap"]);
    assert_eq!(rig.deliver(), ["stale"]);
    assert_eq!(rig.messages[0]["why"], "slow_client");
    rig.pong();
    assert_eq!(rig.deliver(), ["stale"]);
    assert_eq!(rig.messages[0]["on"], false);
}

#[test]
fn a_log_is_caught_up_item_by_item_or_with_a_named_gap() {
    let mut rig = Rig::new();
    rig.publish(&[("alerts", log(10))]);
    rig.say(json!({"t": "hello", "v": 1, "subs": [{"topic": "alerts"}]})).unwrap();
    rig.deliver();
    rig.publish(&[("alerts", log(20))]);
    rig.publish(&[("alerts", log(30))]);
    assert_eq!(rig.deliver(), ["ev"]);
    assert_eq!(rig.messages[0]["items"].as_array().unwrap().len(), 20);
    rig.publish(&[("alerts", log(430))]);
    assert_eq!(rig.deliver(), ["gap", "ev"]);
    assert_eq!((&rig.messages[0]["from"], &rig.messages[0]["to"]), (&json!(31), &json!(174)));
    assert_eq!(rig.messages[1]["items"].as_array().unwrap().len(), LOG_ITEMS_MAX);
}

#[test]
fn a_board_that_steps_back_begins_a_new_incarnation() {
    let mut rig = Rig::new();
    rig.publish(&[("kpi", map(2, 0))]);
    rig.say(json!({"t": "hello", "v": 1, "subs": [{"topic": "kpi"}]})).unwrap();
    rig.deliver();
    rig.publish(&[("kpi", map(2, 1))]);
    rig.deliver();
    let incarnation = rig.client.topics[&0].incarnation.clone();
    rig.version = 0;
    rig.publish(&[("kpi", map(2, 1))]);
    assert_eq!(rig.deliver(), ["snap"]);
    assert_ne!(rig.client.topics[&0].incarnation, incarnation);
}

#[test]
fn silence_and_missing_hellos_are_judged() {
    let mut rig = Rig::new();
    rig.wait(HELLO_MAX_MS);
    assert_eq!(rig.subscriber.overdue(rig.now), None);
    rig.wait(1);
    assert_eq!(rig.subscriber.overdue(rig.now), Some(CloseReason::HelloTimeout));

    let mut rig = Rig::new();
    rig.publish(&[("kpi", map(2, 0))]);
    rig.say(json!({"t": "hello", "v": 1, "subs": [{"topic": "kpi"}]})).unwrap();
    rig.deliver();
    for _ in 0..10 {
        rig.wait(PING_MS);
        assert_eq!(rig.deliver(), ["ping"]);
        assert_eq!(rig.subscriber.overdue(rig.now), None);
        rig.pong();
    }
    rig.wait(SILENCE_MAX_MS + 1);
    assert_eq!(rig.subscriber.overdue(rig.now), Some(CloseReason::NoPong));
    rig.publish(&[("kpi", map(2, 1))]);
    let draft = rig.subscriber.draft(&mut rig.feeds, rig.now).unwrap();
    rig.subscriber.not_taken(&draft, rig.now);
    assert_eq!(rig.subscriber.overdue(rig.now), Some(CloseReason::Slow));
}

#[test]
fn too_many_commands_and_wrong_beginnings_end_the_connection() {
    let mut rig = Rig::new();
    assert_eq!(rig.say(json!({"t": "pong", "i": 1})), Err(CloseReason::Malformed));
    let mut rig = Rig::new();
    assert_eq!(rig.say(json!({"t": "hello", "v": [2]})), Err(CloseReason::Version));
    let mut rig = Rig::new();
    rig.say(json!({"t": "hello", "v": [1]})).unwrap();
    let pong = json!({"t": "pong", "i": 1});
    let taken = (0..100).take_while(|_| rig.say(pong.clone()).is_ok()).count() as i64;
    assert_eq!(taken, COMMANDS_BURST - 1);
    rig.wait(1_000);
    let taken = (0..100).take_while(|_| rig.say(pong.clone()).is_ok()).count() as i64;
    assert_eq!(taken, COMMANDS_PER_S);
}

#[test]
fn a_client_that_asks_and_does_not_take_answers_is_cut() {
    let mut rig = Rig::new();
    rig.say(json!({"t": "hello", "v": [1]})).unwrap();
    let asked = (0..1_000).take_while(|_| {
        rig.now.elapsed += 100;
        rig.say(json!({"t": "hist"})).is_ok()
    });
    assert!(asked.count() <= ANSWERS_MAX);
}

#[test]
fn a_stale_board_is_said_once() {
    let mut rig = Rig::new();
    rig.publish(&[("kpi", map(2, 0))]);
    rig.say(json!({"t": "hello", "v": 1, "subs": [{"topic": "kpi"}]})).unwrap();
    rig.deliver();
    let board = |version, stale| Board { version, stale, ..Board::default() };
    rig.feeds.absorb(&board(5, Some(Condition::StateFull)));
    assert_eq!(rig.deliver(), ["stale"]);
    assert_eq!(
        (&rig.messages[0]["on"], &rig.messages[0]["why"]),
        (&json!(true), &json!("state_full"))
    );
    rig.feeds.absorb(&board(6, Some(Condition::StateFull)));
    assert_eq!(rig.deliver(), [""; 0]);
    rig.feeds.absorb(&board(7, None));
    assert_eq!(rig.deliver(), ["stale"]);
}

#[test]
fn why_there_are_no_boards_is_said_before_the_first_and_between_two() {
    let mut rig = Rig::new();
    rig.say(json!({"t": "hello", "v": 1, "subs": [{"topic": "kpi"}]})).unwrap();
    rig.feeds.no_boards(Condition::Opening, 7);
    assert_eq!(rig.deliver(), ["welcome", "stale"]);
    let says = Condition::Opening.says();
    let told =
        json!({"t": "stale", "s": "*", "on": true, "why": "opening", "says": says, "since": 7});
    assert_eq!(rig.messages[1], told);
    rig.feeds.no_boards(Condition::Opening, 8);
    assert_eq!(rig.deliver(), [""; 0]);

    rig.publish(&[("kpi", map(2, 0))]);
    assert_eq!(rig.deliver(), ["ok", "stale", "snap"]);
    assert_eq!(rig.messages[1]["on"], false);
    rig.feeds.no_boards(Condition::Restarting, 9);
    assert_eq!(rig.deliver(), ["stale"]);
    assert_eq!(
        (&rig.messages[0]["why"], &rig.messages[0]["since"]),
        (&json!("restarting"), &json!(9))
    );
    rig.publish(&[("kpi", map(2, 0))]);
    assert_eq!(rig.deliver(), ["stale"]);
}

#[test]
fn clients_that_stand_at_the_same_place_share_the_bytes() {
    let mut rig = Rig::new();
    rig.publish(&[("kpi", map(2, 0))]);
    let mut frames = Vec::new();
    for connection in 0..2 {
        let mut other = Subscriber::new(rig.now);
        let hello = json!({"t": "hello", "v": 1, "subs": [{"topic": "kpi"}]}).to_string();
        for command in parse(&hello.into()).unwrap() {
            other.command(command, &rig.feeds, (connection, "n"), rig.now).unwrap();
        }
        let draft = other.draft(&mut rig.feeds, rig.now).unwrap();
        other.sent(&draft, &rig.feeds, rig.now);
        frames.push(other);
    }
    rig.publish(&[("kpi", map(2, 1))]);
    let bytes: Vec<_> = frames
        .iter_mut()
        .map(|one| one.draft(&mut rig.feeds, rig.now).unwrap().frame.as_bytes().as_ptr())
        .collect();
    assert_eq!(bytes[0], bytes[1]);
}

#[test]
fn a_topic_that_is_gone_or_of_another_kind_ends_its_sub() {
    let map = |n: i64| TopicState::Map([("n".to_owned(), json!(n))].into());
    let log = || TopicState::Log(Log { capacity: 5, items: Default::default() });
    let mut rig = Rig::new();
    rig.publish(&[("gone", map(1)), ("kept", map(1)), ("other", map(1))]);
    let subs =
        ["gone", "kept", "other"].map(|topic| json!({"t": "sub", "id": topic, "topic": topic}));
    rig.say(json!({"t": "hello", "id": 1, "v": [1], "subs": subs})).unwrap();
    rig.deliver();
    let number = |rig: &Rig, topic: &str| rig.feeds.number(topic).unwrap();
    let (gone, other) = (number(&rig, "gone"), number(&rig, "other"));
    // The engine goes on from a commit, by another configuration.
    rig.version = 0;
    rig.publish(&[("kept", map(2)), ("new", map(2)), ("other", log())]);
    let told = rig.deliver();
    let ended: Vec<_> = rig.messages.iter().filter(|m| m["t"] == "end").map(|m| &m["s"]).collect();
    assert_eq!(ended, [&json!(gone), &json!(other)]);
    assert_eq!(told.iter().filter(|t| *t == "snap").count(), 1, "{told:?}");
    rig.say(json!({"t": "sub", "id": 2, "topic": "gone"})).unwrap();
    rig.say(json!({"t": "sub", "id": 3, "topic": "other"})).unwrap();
    assert_eq!(rig.deliver(), ["err", "ok", "snap"]);
    assert_eq!(rig.messages[1]["kind"], "log");
    // Numbers are used again only once nobody has them.
    assert!(![gone, other].contains(&number(&rig, "new")));
    for round in 0..50 {
        rig.version = 0;
        let name = format!("round {round}");
        rig.publish(&[("kept", map(2)), (name.as_str(), map(round))]);
        rig.say(json!({"t": "sub", "id": 4, "topic": name})).unwrap();
        rig.deliver();
        rig.wait(1_000);
        assert!(number(&rig, &name) < 8, "{}", number(&rig, &name));
    }
}
