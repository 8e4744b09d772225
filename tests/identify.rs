//! Shows `session.identify`: an anonymous visitor who turns out to be known has one session,
//! the same for any batch size, commit and number of shards, over kill -9, and against a plain
//! model in the order of the log.
//!
//! How: the real binary replays or serves small inputs made up here; what it reports and
//! writes is compared with a model that keeps every event.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use support::events::{GAP, Random};
use support::{Folder, HOLD, Server, until};

const START: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;
/// How far the watermark trails, and how long a close waits: the defaults.
const DISORDER: i64 = 5_000;
const LATENESS: i64 = 30_000;
const IDENTIFY: &str = "[session]\nidentify = \"anonymous_id\"\n";

/// An event `at` after the start; an empty text leaves an attribute out.
fn event(at: i64, kind: &str, user: &str, anonymous: &str) -> Value {
    let mut event = json!({ "ts": START + at, "type": kind });
    for (name, text) in [("user", user), ("anonymous_id", anonymous)] {
        if !text.is_empty() {
            event[name] = json!(text);
        }
    }
    if kind == "cart_add" {
        event["amount"] = json!(30);
    }
    event
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// Replays events in the order they are in; returns the report and the list of sessions.
fn replay(config: &str, events: &[Value], more: &[&str]) -> (Value, String) {
    let folder = Folder::default();
    let config = folder.write("tidewatch.toml", config);
    let file = folder.write("events.ndjson", lines(events));
    let list = folder.path("sessions.csv");
    let run = folder
        .command(&["replay", &file, "--raw-order", "--json", "--config", &config])
        .args(&["--sessions-out", &list.display().to_string()])
        .args(more)
        .run();
    (run.json(), std::fs::read_to_string(list).unwrap())
}

/// Closed, converted, abandoned, alerts.
fn ends(config: &str, events: &[Value]) -> [u64; 4] {
    let (report, _) = replay(config, events, &[]);
    let ledger = &report["ledger"];
    assert_eq!(ledger["rejected"], 0, "{report}");
    let of = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{report}"));
    let sessions = &report["sessions"];
    [
        of(&sessions["closed"]),
        of(&sessions["converted"]),
        of(&sessions["abandoned"]),
        of(&report["occurrences"]),
    ]
}

/// A cart without a name, a sign-in that says whose it was, and the payment.
fn signed_in() -> [Value; 3] {
    [
        event(0, "cart_add", "anon-1", ""),
        event(MINUTE, "sign_in", "u-9", "anon-1"),
        event(2 * MINUTE, "payment_completed", "u-9", ""),
    ]
}

#[test]
fn a_visitor_who_signs_in_between_cart_and_payment_has_one_session() {
    assert_eq!(ends("", &signed_in()), [2, 0, 1, 1], "without the rule");
    assert_eq!(ends(IDENTIFY, &signed_in()), [1, 1, 0, 0]);
    let since_entry = format!("{IDENTIFY}deadline = \"since_entry\"\n");
    assert_eq!(ends(&since_entry, &signed_in()), [1, 1, 0, 0]);
    // The anonymous id in an attribute of its own, on every event of the browser.
    let both = [
        event(0, "cart_add", "", "b7"),
        event(MINUTE, "page_view", "u", "b7"),
        event(2 * MINUTE, "payment_completed", "u", "b7"),
        event(3 * MINUTE, "page_view", "", "b7"),
    ];
    assert_eq!(ends(IDENTIFY, &both), [1, 1, 0, 0]);
    // Numbers, and a path into an object, under other names.
    let nested = [
        json!({"ts": START, "type": "cart_add", "context": {"anon": 17}, "amount": 5}),
        json!({"ts": START + 1, "type": "x", "userId": 4, "context": {"anon": 17.0}}),
        json!({"ts": START + 2, "type": "payment_completed", "userId": "4"}),
    ];
    let config = "[events]\nkey = \"userId\"\n[session]\nidentify = \"context.anon\"\n";
    assert_eq!(ends(config, &nested), [1, 1, 0, 0]);
    // The payment alone comes under the anonymous key, after the sign-in and before it in time.
    let late = [
        event(0, "cart_add", "u", ""),
        event(2 * MINUTE, "sign_in", "u", "a"),
        event(MINUTE, "payment_completed", "a", ""),
    ];
    assert_eq!(ends(IDENTIFY, &late), [1, 1, 0, 0]);
    // One key after the other, and around in a ring.
    let ring = [
        event(0, "cart_add", "a", ""),
        event(1, "x", "b", "a"),
        event(2, "x", "c", "b"),
        event(3, "x", "a", "c"),
        event(4, "payment_completed", "a", ""),
    ];
    assert_eq!(ends(IDENTIFY, &ring), [1, 1, 0, 0]);
}

#[test]
fn a_cloudevent_with_an_anonymous_id_is_not_its_subjects() {
    let event = |id: u8, kind: &str, data: Value| {
        json!({"specversion": "1.0", "id": id.to_string(), "source": "shop", "type": kind,
               "time": "2023-11-14T22:13:20Z", "subject": "order/1", "data": data})
    };
    let events = [
        event(1, "cart_add", json!({"anonymous_id": "b7", "amount": 3})),
        event(2, "sign_in", json!({"anonymous_id": "b7", "user": "u"})),
        event(3, "payment_completed", json!({"user": "u"})),
    ];
    assert_eq!(ends(IDENTIFY, &events), [1, 1, 0, 0]);
}

#[test]
fn a_second_person_with_the_same_anonymous_key_has_what_comes_then() {
    let events = [
        event(0, "cart_add", "", "shared"),
        event(1, "sign_in", "ada", "shared"),
        event(2, "sign_in", "bob", "shared"),
        event(3, "payment_completed", "", "shared"),
        event(4, "cart_add", "bob", ""),
    ];
    let (report, list) = replay(IDENTIFY, &events, &[]);
    let lines = |user: &str, from: i64, to: i64, n: u64| {
        format!("{user},{},{},{n}\n", START + from, START + to)
    };
    assert_eq!(list, lines("ada", 0, 1, 2) + &lines("bob", 2, 4, 3), "{report}");
    assert_eq!(report["sessions"]["abandoned"], 1, "{report}");
}

#[test]
fn what_had_ended_stays_as_it_ended_and_its_late_events_are_late() {
    let events = [
        event(0, "cart_add", "", "a"),
        event(35 * MINUTE, "page_view", "other", ""),
        event(40 * MINUTE, "sign_in", "u", "a"),
        event(MINUTE, "payment_completed", "", "a"),
        event(41 * MINUTE, "payment_completed", "u", ""),
    ];
    let (report, _) = replay(IDENTIFY, &events, &[]);
    assert_eq!(
        (&report["ledger"]["late"], &report["occurrences"]),
        (&json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(report["sessions"]["closed"], 3, "{report}");
    assert_eq!(report["sessions"]["identified"], 0, "{report}");
}

#[test]
fn a_repeat_is_a_duplicate_and_undoes_nothing() {
    let with_id = |id: &str, mut event: Value| {
        event["id"] = json!(id);
        event
    };
    let cart = with_id("1", event(0, "cart_add", "", "a"));
    let ada = with_id("2", event(1, "sign_in", "ada", "a"));
    let bob = with_id("3", event(2, "sign_in", "bob", "a"));
    let pay = with_id("4", event(3, "payment_completed", "", "a"));
    let events = [&cart, &ada, &cart, &bob, &ada, &pay, &pay].map(Value::clone);
    let (report, list) = replay(IDENTIFY, &events, &[]);
    assert_eq!(report["ledger"]["duplicate"], 3, "{report}");
    assert!(list.contains(&format!("bob,{},{},2\n", START + 2, START + 3)), "{list}");
}

#[test]
fn what_cannot_be_a_key_is_rejected_and_what_cannot_work_is_refused() {
    let mut wrong = event(0, "page_view", "u", "");
    wrong["anonymous_id"] = json!({"x": 1});
    let (report, _) = replay(IDENTIFY, &[event(0, "x", "u", ""), wrong], &[]);
    assert_eq!(report["ledger"]["rejected"], 1, "{report}");
    let refused = |config: &str, words: &str| {
        let folder = Folder::default();
        let config = folder.write("tidewatch.toml", config);
        let run = folder.command(&["check", "--config", &config]).run();
        assert_ne!(run.code, Some(0), "{config}");
        assert!(run.stderr.contains(words) || run.stdout.contains(words), "{run:?}");
    };
    refused("[session]\nidentify = \"user\"\n", "another attribute than events.key");
    refused("[session]\nidentify = \"ts\"\n", "session.identify must not be \"ts\"");
    let several = "[events]\nkey = [\"ip\", \"agent\"]\n";
    refused(&format!("{several}{IDENTIFY}"), "a session key of one attribute");
}

/// What the events of a log come to, in its order.
#[derive(Default)]
struct Model {
    /// Of a kind of sessions: an event is late by its own time, and no session was closed for it.
    is_kind: bool,
    aliases: BTreeMap<String, String>,
    /// Time and type.
    open: BTreeMap<String, Vec<(i64, String)>>,
    /// Up to where a key's sessions were closed.
    floors: BTreeMap<String, i64>,
    /// First, key, last, events, and whether it was abandoned.
    left: Vec<(i64, String, i64, usize, bool)>,
    late: u64,
}

impl Model {
    fn of(events: &[Value]) -> Model {
        Model::default().walk(events)
    }

    fn of_kind(events: &[Value]) -> Model {
        Model { is_kind: true, ..Model::default() }.walk(events)
    }

    fn walk(self, events: &[Value]) -> Model {
        let mut model = self;
        let mut watermark = i64::MIN / 4;
        for event in events {
            model.take(event, watermark);
            watermark = watermark.max(event["ts"].as_i64().unwrap() - DISORDER);
        }
        model.close(i64::MAX / 4);
        model.left.sort();
        model
    }

    fn root(&self, key: &str) -> String {
        self.aliases.get(key).map_or(key.to_owned(), |known| self.root(known))
    }

    fn take(&mut self, event: &Value, watermark: i64) {
        self.close(watermark);
        let at = event["ts"].as_i64().unwrap();
        let text = |name: &str| event[name].as_str().unwrap_or("").to_owned();
        let (user, anonymous) = (text("user"), text("anonymous_id"));
        let own = if user.is_empty() { anonymous.clone() } else { user };
        let (known, was) = (self.root(&own), self.root(&anonymous));
        if !anonymous.is_empty() && known != was && known != anonymous {
            if was == anonymous {
                self.go_on(&anonymous, &known, watermark);
            }
            self.aliases.insert(anonymous, known);
        }
        let key = self.root(&own);
        let floor = self.floors.get(&key).copied().unwrap_or(i64::MIN);
        let open = self.open.entry(key).or_default();
        let near = |first: i64, last: i64| at >= first - GAP && at <= last + GAP;
        let reached = spans(open).iter().any(|s| near(s[0].0, s[s.len() - 1].0));
        let is_late = if self.is_kind {
            at + LATENESS < watermark
        } else {
            at <= floor || (!reached && at + GAP + LATENESS < watermark)
        };
        if is_late {
            self.late += 1;
            return;
        }
        open.push((at, text("type")));
    }

    /// What is open of one key goes on under another.
    fn go_on(&mut self, from: &str, to: &str, watermark: i64) {
        let moved = self.open.remove(from).unwrap_or_default();
        let is_open = |model: &Model, key: &str| model.open.get(key).is_some_and(|o| !o.is_empty());
        let floor = |model: &Model, key: &str, open: bool| {
            let floor = model.floors.get(key).copied().unwrap_or(i64::MIN);
            if !open && floor < watermark - 2 * GAP - LATENESS { i64::MIN } else { floor }
        };
        let theirs = floor(self, from, !moved.is_empty());
        let mine = floor(self, to, is_open(self, to));
        let open = self.open.entry(to.to_owned()).or_default();
        open.extend(moved);
        if self.is_kind {
            return;
        }
        let first = open.iter().map(|(at, _)| *at).min().unwrap_or(i64::MAX);
        self.floors.insert(to.to_owned(), mine.max(theirs).min(first - 1));
    }

    fn close(&mut self, watermark: i64) {
        for (key, open) in &mut self.open {
            for session in spans(open) {
                let (first, last) = (session[0].0, session[session.len() - 1].0);
                if last + GAP + LATENESS < watermark {
                    open.retain(|(at, _)| *at < first || *at > last);
                    let has = |kind: &str| session.iter().any(|(_, k)| k == kind);
                    let abandoned = has("cart_add") && !has("payment_completed");
                    self.left.push((first, key.clone(), last, session.len(), abandoned));
                    let floor = self.floors.entry(key.clone()).or_insert(i64::MIN);
                    *floor = (*floor).max(last + GAP);
                }
            }
        }
    }

    fn list(&self) -> String {
        let left = self.left.iter();
        left.map(|(first, key, last, num, _)| format!("{key},{first},{last},{num}\n")).collect()
    }

    fn abandoned(&self) -> usize {
        self.left.iter().filter(|left| left.4).count()
    }
}

fn spans(events: &[(i64, String)]) -> Vec<Vec<(i64, String)>> {
    let mut sorted = events.to_vec();
    sorted.sort();
    sorted.chunk_by(|before, after| after.0 - before.0 <= GAP).map(<[_]>::to_vec).collect()
}

/// Events of a few visitors; most come about when they happen, some up to two gaps later, and
/// some say who somebody is.
fn visits(random: &mut Random, num: usize) -> Vec<Value> {
    let mut now = 0;
    let mut next = |_| {
        now += random.below(3 * MINUTE as u64) as i64;
        let behind = match random.below(5) {
            0 => random.below(2 * GAP as u64) as i64,
            1 => random.below(MINUTE as u64) as i64,
            _ => 0,
        };
        let kind = ["page_view", "page_view", "cart_add", "payment_completed"];
        let kind = kind[random.below(4) as usize];
        let user = format!("u{}", random.below(6));
        let anonymous = format!("a{}", random.below(30));
        let (user, anonymous) = match random.below(10) {
            0..4 => (user, String::new()),
            4..6 => (String::new(), anonymous),
            6..8 => (anonymous, String::new()),
            8 => (user, anonymous),
            _ if random.one_in(8) => (user, format!("u{}", random.below(6))),
            _ => (user, anonymous),
        };
        event(now - behind, kind, &user, &anonymous)
    };
    (0..num).map(&mut next).collect()
}

#[test]
fn whoever_is_known_when_the_answer_is_that_of_the_log() {
    let mut random = Random::seeded("whoever_is_known_when");
    for shards in 1..=8u64 {
        let events = visits(&mut random, 400);
        let model = Model::of(&events);
        assert!(model.late > 0 && model.aliases.len() > 10, "the events are in disorder");
        let batch = ["1", "3", "17", "65536"][random.below(4) as usize];
        let commit = 1 + random.below(60);
        let config = format!("{IDENTIFY}[pipeline]\ncommit_events = {commit}\n");
        let shards = shards.to_string();
        let (report, list) = replay(&config, &events, &["--batch", batch, "--shards", &shards]);
        let what = format!("{shards} shards, batches of {batch}, commits of {commit}");
        assert_eq!(list, model.list(), "{what}");
        assert_eq!(report["ledger"]["late"], model.late, "{what}");
        assert_eq!(report["sessions"]["abandoned"], model.abandoned(), "{what}");
    }
}

/// A kind with the settings of the model: by the key that events have, and with a rule of its own.
const KINDS: [&str; 2] = [
    "[session]\nidentify = \"anonymous_id\"\n[[sessions]]\nname = \"shop\"\n",
    "[[sessions]]\nname = \"shop\"\nidentify = \"anonymous_id\"\n",
];
const OF_SHOP: &str = "entry = \"cart_add\"\ngoal = \"payment_completed\"\nalert = \"info\"\n";

#[test]
fn kinds_of_sessions_go_on_under_the_known_key_by_either_rule() {
    let mut random = Random::seeded("kinds_go_on");
    for shards in 1..=4u64 {
        let events = visits(&mut random, 400);
        let model = Model::of_kind(&events);
        assert!(model.late > 0 && model.aliases.len() > 10, "the events are in disorder");
        let batch = ["1", "3", "17", "65536"][random.below(4) as usize];
        let commit = 1 + random.below(60);
        for kind in KINDS {
            let config = format!("[pipeline]\ncommit_events = {commit}\n{kind}{OF_SHOP}");
            let shards = shards.to_string();
            let (report, _) = replay(&config, &events, &["--batch", batch, "--shards", &shards]);
            let what = format!("{shards} shards, batches of {batch}, commits of {commit}, {kind}");
            let shop = &report["patterns"]["shop"];
            assert_eq!(shop["matches"], model.left.len(), "{what}");
            assert_eq!(shop["late"], model.late, "{what}");
            assert_eq!(shop["sessions"]["abandoned"], model.abandoned(), "{what}");
            assert_eq!(shop["sessions"]["open"], 0, "{what}");
        }
    }
}

#[test]
fn who_is_known_to_a_kind_is_remembered_over_kill_9() {
    let mut random = Random::seeded("who_is_known_to_a_kind");
    let events = visits(&mut random, 400);
    let model = Model::of_kind(&events);
    for kind in KINDS {
        let config = format!("{HOLD}{kind}{OF_SHOP}");
        let folder = Folder::default();
        folder.post_over_kills(&mut random, &config, &events, post);
        let server = folder.serve(&config).start();
        // Long after, so that everything is closed.
        post(&server, &[event(365 * 86_400_000, "page_view", "end", "")]);
        server.wait_settled(events.len() as u64 + 1);
        let page = server.get("v1/alerts?kind=sessions&limit=1000");
        let alert = |item: &Value| {
            let time = |name: &str| item["detail"][name].as_i64().unwrap();
            (time("first"), item["subject"].as_str().unwrap().to_owned(), time("last"))
        };
        let mut told: Vec<_> = page["items"].as_array().unwrap().iter().map(alert).collect();
        told.sort();
        let abandoned = model.left.iter().filter(|left| left.4);
        let wanted: Vec<_> =
            abandoned.map(|(first, key, last, ..)| (*first, key.clone(), *last)).collect();
        assert_eq!(told, wanted, "{kind}");
    }
}

#[test]
fn patterns_and_joins_go_on_under_the_known_key() {
    let found = "[[pattern]]\nname = \"bought\"\nfirst = { type = \"cart_add\" }\n\
                 then = { type = \"payment_completed\" }\nwithin = \"10m\"\n\
                 [[join]]\nname = \"paid\"\nleft = { type = \"cart_add\" }\n\
                 right = { type = \"payment_completed\" }\nwithin = \"10m\"\n\
                 [[funnel]]\nname = \"way\"\nsteps = [\"cart_add\", \"payment_completed\"]\n\
                 within = \"10m\"\n";
    for (identify, wanted) in [("", [0, 0, 2]), (IDENTIFY, [1, 1, 2])] {
        let (report, _) = replay(&format!("{identify}{found}"), &signed_in(), &[]);
        let matches = ["bought", "paid", "way"].map(|name| &report["patterns"][name]["matches"]);
        assert_eq!(matches, wanted.map(|n| json!(n)).each_ref(), "{identify}: {report}");
    }
}

#[test]
fn who_is_known_is_remembered_over_kill_9() {
    let mut random = Random::seeded("who_is_known_is_remembered");
    let events = visits(&mut random, 600);
    let model = Model::of(&events);
    let folder = Folder::default();
    folder.post_over_kills(&mut random, &format!("{HOLD}{IDENTIFY}"), &events, post);
    let done = events.len() as u64;
    let server = folder.serve(&format!("{HOLD}{IDENTIFY}")).start();
    // Long after, so that everything is closed.
    post(&server, &[event(365 * 86_400_000, "page_view", "end", "")]);
    let pipeline = server.wait_settled(done + 1);
    assert_eq!(pipeline["late"], model.late, "{pipeline}");
    let kpi = server.topic("kpi");
    assert_eq!(kpi["closed"], model.left.len(), "{kpi}");
}

#[test]
fn anonymous_keys_are_bounded_and_it_is_said_when_some_are_forgotten() {
    let folder = Folder::default();
    let config = format!("{HOLD}{IDENTIFY}aliases_max = 100\n");
    let server = folder.serve(&config).start();
    let events: Vec<Value> =
        (0..130).map(|n| event(n, "sign_in", &format!("u{n}"), &format!("a{n}"))).collect();
    post(&server, &events);
    server.wait_settled(130);
    let more = [event(200, "x", "", "a0"), event(201, "x", "", "a129")];
    post(&server, &more);
    let pipeline = server.wait_settled(132);
    // The first was forgotten: its next event is a visitor of its own.
    assert_eq!(pipeline["open_sessions"], 131, "{pipeline}");
    let figures = until(20, "the figures are shown", || {
        let text = server.http.get(&server.at("metrics")).body;
        let text = String::from_utf8(text).unwrap();
        text.contains("aliases_forgotten_early_total 30").then_some(text)
    });
    for figure in ["aliases 100", "aliases_capacity 100"] {
        assert!(figures.lines().any(|line| line.ends_with(figure)), "{figure}: {figures}");
    }
}

fn post(server: &Server, events: &[Value]) {
    let answer = server.http.post(&server.at("v1/events"), &[], lines(events).as_bytes());
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
}
