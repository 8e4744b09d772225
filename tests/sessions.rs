//! Shows what becomes of events that come late for their session, of carts that are emptied
//! or come late, and of sessions for which there is no room: the same for any batch size and
//! number of shards, over kill -9, and against a plain model in the order of the log.
//!
//! How: the real binary replays or serves small inputs made up here; what it reports and
//! writes is compared with a model that keeps every event.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use support::events::{Event, GAP, Random};
use support::{Folder, HOLD, Server, Stopwatch, until};

const START: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;
/// How far the watermark trails, and how long a close waits: the defaults.
const DISORDER: i64 = 5_000;
const LATENESS: i64 = 30_000;

fn event(at: i64, kind: &str, user: &str) -> Event {
    Event::new("", START + at, kind, user)
}

fn priced(at: i64, kind: &str, user: &str, amount: i64) -> Event {
    let mut event = event(at, kind, user);
    event.more.insert("amount".into(), json!(amount));
    event
}

fn lines(events: &[Event]) -> String {
    events.iter().map(|event| event.line() + "\n").collect()
}

/// Replays events in the order they are in; returns the report and the list of sessions.
fn replay(config: &str, events: &[Event], more: &[&str]) -> (Value, String) {
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

fn counts<const N: usize>(report: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| {
        let ledger = report["ledger"][name].as_u64();
        let found = ledger.or_else(|| report["sessions"][name].as_u64());
        found.or_else(|| report[name].as_u64()).unwrap_or_else(|| panic!("no {name} in {report}"))
    })
}

#[test]
fn an_event_whose_session_was_closed_is_late_and_opens_no_second_one() {
    let events = [
        priced(0, "cart_add", "a", 10),
        event(31 * MINUTE, "page_view", "b"),
        event(MINUTE, "payment_completed", "a"),
    ];
    let (report, list) = replay("", &events, &[]);
    let found = counts(&report, ["applied", "late", "closed", "abandoned", "converted"]);
    assert_eq!(found, [2, 1, 2, 1, 0], "{report}");
    assert!(list.starts_with(&format!("a,{START},{START},1\n")), "{list}");
}

#[test]
fn an_event_late_for_its_session_counts_in_the_windows_that_are_open() {
    let metric = |name: &str, window: &str| {
        format!(
            "[[metric]]\nname = \"{name}\"\naggregate = \"count\"\nkeep = \"1d\"\nwindow = {window}\n"
        )
    };
    let config =
        metric("long", "{ tumbling = \"6h\" }") + &metric("short", "{ tumbling = \"1m\" }");
    let mut late = event(MINUTE, "page_view", "a");
    late.id = "late".into();
    let events = [
        event(0, "page_view", "a"),
        event(31 * MINUTE, "page_view", "b"),
        late.clone(),
        late,
        event(MINUTE, "page_view", ""),
    ];
    let (report, _) = replay(&config, &events, &[]);
    let found = counts(&report, ["applied", "late", "duplicate"]);
    assert_eq!(found, [3, 1, 1], "an event without a key is late for no session: {report}");
    let sum = |name: &str| report["metrics"][name]["sum"].as_f64().unwrap();
    assert_eq!((sum("long"), sum("short")), (4.0, 2.0), "{report}");
}

#[test]
fn an_event_whose_session_is_open_is_never_late() {
    // a goes on for three hours; then comes an event of its first minute, and one of a
    // session that never was.
    let mut events: Vec<Event> =
        (0..10).map(|n| event(n * 20 * MINUTE, "page_view", "a")).collect();
    events.push(priced(MINUTE, "cart_add", "a", 10));
    events.push(event(MINUTE, "page_view", "b"));
    events.push(event(181 * MINUTE, "payment_completed", "a"));
    let (report, _) = replay("", &events, &[]);
    let found = counts(&report, ["applied", "late", "closed", "converted"]);
    assert_eq!(found, [12, 1, 1, 1], "{report}");
}

#[test]
fn a_late_event_is_listed_with_its_reason_and_a_repeat_of_it_is_a_duplicate() {
    let folder = Folder::default();
    let server = folder.serve(HOLD).start();
    let mut late = event(MINUTE, "page_view", "a");
    late.id = "late".into();
    let events = [event(0, "page_view", "a"), event(32 * MINUTE, "page_view", "b"), late.clone()];
    post(&server, &events);
    server.wait_settled(3);
    post(&server, &[late]);
    let pipeline = server.wait_settled(4);
    let found = [&pipeline["applied"], &pipeline["late"], &pipeline["duplicate"]];
    assert_eq!(found, [&json!(2), &json!(1), &json!(1)], "{pipeline}");
    assert_eq!(pipeline["balanced"], true);
    assert_eq!(pipeline["closed_sessions"], 1, "{pipeline}");
    let listed = until(20, "the late event is listed", || {
        server.get("v1/late")["items"].as_array().and_then(|items| items.first().cloned())
    });
    assert_eq!(listed["reason"], "its session was closed at 2023-11-14T22:43:20Z", "{listed}");
}

#[test]
fn a_goal_before_a_settled_cart_does_not_convert_it() {
    let events = [
        event(0, "page_view", "x"),
        event(10 * MINUTE, "cart_add", "a"),
        event(11 * MINUTE, "page_view", "x"),
        event(5 * MINUTE, "payment_completed", "a"),
    ];
    let (report, _) = replay("[session]\ndeadline = \"since_entry\"\n", &events, &[]);
    let found = counts(&report, ["abandoned", "converted", "late", "stray_goals"]);
    assert_eq!(found, [1, 0, 0, 1], "{report}");
}

#[test]
fn a_cart_that_is_emptied_again_is_not_abandoned() {
    let add = |at, user: &str| priced(at, "cart_add", user, 30);
    let remove = |at, user: &str, amount| priced(at, "cart_remove", user, amount);
    let events = [
        add(0, "emptied"),
        remove(MINUTE, "emptied", 30),
        add(0, "half"),
        remove(MINUTE, "half", 10),
        remove(0, "upside down", 30),
        add(MINUTE, "upside down"),
        remove(0, "nothing", 30),
    ];
    for deadline in ["inactivity", "since_entry"] {
        let config = format!("[session]\ndeadline = \"{deadline}\"\n");
        let (report, _) = replay(&config, &events, &[]);
        let found = counts(&report, ["applied", "abandoned", "converted", "occurrences"]);
        // By its own timer a cart begins after what was taken out before it.
        let upside_down = u64::from(deadline == "since_entry");
        let abandoned = 1 + upside_down;
        assert_eq!(found, [7, abandoned, 0, abandoned], "{deadline}: {report}");
        assert_eq!(counts(&report, ["emptied"]), [2 - upside_down], "{deadline}: {report}");
    }
    let (report, _) = replay("[session]\nremove = []\n", &events[..2], &[]);
    assert_eq!(counts(&report, ["abandoned"]), [1], "{report}");
}

#[test]
fn a_session_that_goes_on_too_long_is_cut_and_says_so() {
    let mut events: Vec<Event> =
        (0..8).map(|n| event(n * 20 * MINUTE, "page_view", "bot")).collect();
    events.push(event(0, "page_view", "person"));
    events.sort_by_key(|event| event.at);
    let (report, list) = replay("[session]\nmax_length = \"1h\"\n", &events, &[]);
    assert_eq!(counts(&report, ["closed", "split", "applied", "late"]), [3, 1, 9, 0], "{report}");
    let (hour, minute) = (3_600_000, MINUTE);
    let want = format!(
        "bot,{START},{},4,max_length\nperson,{START},{START},1,\nbot,{},{},4,\n",
        START + hour,
        START + hour + 20 * minute,
        START + 140 * minute
    );
    assert_eq!(list, want);
}

/// What the events of a log come to, in its order: sessions as (user, first, last, events),
/// and how many events were late.
#[derive(Debug, Default, PartialEq)]
struct Model {
    open: BTreeMap<String, Vec<i64>>,
    left: Vec<(i64, String, i64, u32)>,
    late: u64,
}

impl Model {
    fn of(events: &[Event]) -> Model {
        let mut model = Model::default();
        let mut watermark = i64::MIN / 4;
        for event in events {
            model.take(event, watermark);
            watermark = watermark.max(event.at - DISORDER);
        }
        model.close(i64::MAX / 4);
        model.left.sort();
        model
    }

    fn take(&mut self, event: &Event, watermark: i64) {
        self.close(watermark);
        let (at, user) = (event.at, &event.user);
        let near = |first: i64, last: i64| at >= first - GAP && at <= last + GAP;
        let closed =
            self.left.iter().any(|(first, whose, last, _)| whose == user && near(*first, *last));
        let open = self.open.entry(user.clone()).or_default();
        let reached = spans(open).into_iter().any(|(first, last, _)| near(first, last));
        if closed || (!reached && at + GAP + LATENESS < watermark) {
            self.late += 1;
            return;
        }
        open.push(at);
    }

    fn close(&mut self, watermark: i64) {
        for (user, open) in &mut self.open {
            for (first, last, num) in spans(open) {
                if last + GAP + LATENESS < watermark {
                    open.retain(|at| *at < first || *at > last);
                    self.left.push((first, user.clone(), last, num));
                }
            }
        }
    }

    fn list(&self) -> String {
        let line = |(first, user, last, num): &(i64, String, i64, u32)| {
            format!("{user},{first},{last},{num}\n")
        };
        self.left.iter().map(line).collect()
    }
}

fn spans(events: &[i64]) -> Vec<(i64, i64, u32)> {
    let mut sorted = events.to_vec();
    sorted.sort_unstable();
    let sessions = sorted.chunk_by(|before, after| after - before <= GAP);
    sessions.map(|s| (s[0], s[s.len() - 1], s.len() as u32)).collect()
}

/// Events of a few users; most come about when they happen, some up to two gaps later.
fn disordered(random: &mut Random, num: usize) -> Vec<Event> {
    let mut now = 0;
    let mut next = |id: usize| {
        now += random.below(4 * MINUTE as u64) as i64;
        let behind = match random.below(3) {
            0 => random.below(2 * GAP as u64) as i64,
            1 => random.below(MINUTE as u64) as i64,
            _ => 0,
        };
        let mut event = event(now - behind, "page_view", &format!("u{}", random.below(5)));
        event.id = format!("e{id}");
        event
    };
    (0..num).map(&mut next).collect()
}

#[test]
fn whatever_comes_when_the_answer_is_that_of_the_log() {
    let mut random = Random::seeded("whatever_comes_when");
    for shards in 1..=8u64 {
        let events = disordered(&mut random, 400);
        let model = Model::of(&events);
        assert!(model.late > 0, "the events are in disorder");
        let batch = ["1", "3", "17", "65536"][random.below(4) as usize];
        let commit = 1 + random.below(60);
        let config = format!("[pipeline]\ncommit_events = {commit}\n");
        let shards = shards.to_string();
        let (report, list) =
            replay(&config, &without_ids(&events), &["--batch", batch, "--shards", &shards]);
        let what = format!("{shards} shards, batches of {batch}, commits of {commit}");
        assert_eq!(list, model.list(), "{what}");
        assert_eq!(counts(&report, ["late"]), [model.late], "{what}");
    }
}

fn without_ids(events: &[Event]) -> Vec<Event> {
    let bare = |event: &Event| Event { id: String::new(), ..event.clone() };
    events.iter().map(bare).collect()
}

#[test]
fn what_was_closed_is_remembered_over_kill_9_and_another_number_of_shards() {
    let mut random = Random::seeded("what_was_closed_is_remembered");
    let events = without_ids(&disordered(&mut random, 600));
    let model = Model::of(&events);
    let folder = Folder::default();
    folder.post_over_kills(&mut random, HOLD, &events, post);
    let done = events.len() as u64;
    let server = folder.serve(HOLD).start();
    // Long after, so that everything is closed.
    post(&server, &[event(365 * 86_400_000, "page_view", "end")]);
    let pipeline = server.wait_settled(done + 1);
    assert_eq!(pipeline["late"], model.late, "{pipeline}");
    let closed = server.topic("kpi")["closed"].clone();
    assert_eq!(closed, model.left.len(), "{pipeline}");
}

#[test]
fn new_users_take_the_place_of_those_worth_least() {
    let folder = Folder::default();
    let config = "[pipeline]\nshards = 1\nsessions_max = 100\nsessions_full = \"displace\"\n";
    let server = folder.serve(&format!("{HOLD}{config}")).start();
    // 20 with something at stake, then 80 that only look: the oldest of those make room.
    let mut events: Vec<Event> =
        (0..20).map(|n| priced(n, "cart_add", &format!("buyer{n}"), 5)).collect();
    events.extend((0..80).map(|n| event(20 + n, "page_view", &format!("looker{n}"))));
    post(&server, &events);
    server.wait_settled(100);
    post(
        &server,
        &(0..30).map(|n| event(200, "page_view", &format!("new{n}"))).collect::<Vec<_>>(),
    );
    let pipeline = server.wait_settled(130);
    let found = ["applied", "rejected", "open_sessions", "sessions_displaced", "sessions_refused"];
    let found = found.map(|name| pipeline[name].as_u64().unwrap());
    assert_eq!(found, [130, 0, 100, 30, 0], "{pipeline}");
    assert_eq!(pipeline["balanced"], true);
    let open = |user: &str| server.http.get(&server.at(&format!("v1/sessions/{user}"))).status;
    assert_eq!(
        [open("buyer0"), open("looker29"), open("looker30"), open("new0")],
        [200, 404, 200, 200]
    );
    assert_eq!(server.topic("kpi")["closed"], 30);
    warned(&server, "sessions_full", "30 sessions ended early");
    // One of them comes back: another session, and nothing counts twice.
    post(&server, &[event(300, "page_view", "looker0")]);
    let pipeline = server.wait_settled(131);
    let found = ["applied", "open_sessions", "sessions_displaced", "late"];
    let found = found.map(|name| pipeline[name].as_u64().unwrap());
    assert_eq!(found, [131, 100, 31, 0], "{pipeline}");
}

#[test]
fn a_long_key_takes_the_place_of_as_many_as_it_needs() {
    let folder = Folder::default();
    let config =
        "[pipeline]\nshards = 1\nsession_bytes_max = \"1MiB\"\nsessions_full = \"displace\"\n";
    let server = folder.serve(&format!("{HOLD}{config}")).start();
    let short: Vec<_> = (0..4_096).map(|n| event(0, "page_view", &format!("s{n}"))).collect();
    post(&server, &short);
    server.wait_settled(4_096);
    let key = |n: i64| format!("{n}{}", "k".repeat(900));
    post(&server, &(0..500).map(|n| event(1, "page_view", &key(n))).collect::<Vec<_>>());
    let pipeline = server.wait_settled(4_596);
    assert_eq!((&pipeline["applied"], &pipeline["balanced"]), (&json!(4_596), &json!(true)));
    let bytes = pipeline["session_bytes"].as_u64().unwrap();
    assert!(bytes <= 1 << 20, "{pipeline}");
    assert!(pipeline["sessions_displaced"].as_u64().unwrap() > 2_000, "{pipeline}");
}

#[test]
fn sessions_are_bounded_in_bytes_and_keys_in_length() {
    let folder = Folder::default();
    let config = "[pipeline]\nshards = 1\nsession_bytes_max = \"1MiB\"\n";
    let server = folder.serve(&format!("{HOLD}{config}")).start();
    let long = |n: usize| format!("{}{n:04}", "k".repeat(1_020));
    let mut events: Vec<Event> =
        (0..1_200).map(|n| event(n, "page_view", &long(n as usize))).collect();
    events.push(event(1_200, "page_view", &"k".repeat(1_025)));
    post(&server, &events);
    let pipeline = server.wait_settled(1_201);
    let (open, bytes) =
        (pipeline["open_sessions"].as_u64().unwrap(), pipeline["session_bytes"].as_u64().unwrap());
    assert!((700..900).contains(&open), "{pipeline}");
    assert!(bytes > 900_000 && bytes <= 1 << 20, "{pipeline}");
    assert_eq!(pipeline["sessions_refused"].as_u64(), Some(1_200 - open), "{pipeline}");
    let letters = server.all("v1/dead-letters");
    let reason = |part: &str| {
        letters.iter().filter(|letter| letter["reason"].as_str().unwrap().contains(part)).count()
    };
    assert_eq!(reason("session.key_bytes_max"), 1);
    assert_eq!(reason("session_bytes_max"), 1_200 - open as usize);
    warned(&server, "sessions_full", "session_bytes_max = 1 MiB");
}

#[test]
fn one_user_with_many_entries_delays_nobody() {
    let folder = Folder::default();
    let config = "[session]\ndeadline = \"since_entry\"\n";
    let mut server = folder.serve(&format!("{HOLD}{config}")).start();
    let mut sent = 0;
    for part in 0..20 {
        let bot: Vec<Event> =
            (0..5_000).map(|n| priced(part * 1_000 + n / 5, "cart_add", "bot", 1)).collect();
        post(&server, &bot);
        sent += bot.len() as u64;
    }
    post(&server, &[priced(20_000, "cart_add", "honest", 1)]);
    let watch = Stopwatch::start();
    server.signal("TERM");
    let status = server.wait_exit(30);
    assert!(status.success(), "{status}");
    assert!(watch.elapsed() < Duration::from_secs(20), "{:?}", watch.elapsed());
    let server = folder.serve(&format!("{HOLD}{config}")).start();
    let pipeline = server.wait_settled(sent + 1);
    assert_eq!(pipeline["applied"], sent + 1, "{pipeline}");
    assert_eq!(server.topic("kpi")["at_risk"], 2);
    assert_eq!(server.topic("kpi")["value_at_stake"], (sent + 1) as f64);
}

#[test]
fn what_is_at_risk_is_right_after_a_start_with_other_settings() {
    let folder = Folder::default();
    let configs = [
        "[session]\ndeadline = \"since_entry\"\n",
        "[session]\ndeadline = \"inactivity\"\n",
        "[session]\ndeadline = \"inactivity\"\ngap = \"2h\"\nsteps = [\"payment_completed\"]\n",
    ];
    let mut random = Random::seeded("at_risk");
    let mut received = 0;
    let mut at = 0;
    for round in 0..6 {
        let config = format!("{HOLD}{}", configs[(round + 1) % configs.len()]);
        let mut server = folder.serve(&config).start();
        // What the page says is what the open sessions are, one by one.
        let check = |server: &Server| {
            let of = |n| server.http.get(&server.at(&format!("v1/sessions/u{n}")));
            let users: Vec<Value> = (0..8)
                .map(of)
                .filter(|found| found.status == 200)
                .map(|found| found.json())
                .collect();
            let open: Vec<&Value> =
                users.iter().flat_map(|user| user["sessions"].as_array().unwrap()).collect();
            let at_risk = open.iter().filter(|session| session["state"] == "at_risk");
            let value: f64 = at_risk.clone().map(|one| one["value"].as_f64().unwrap()).sum();
            // The first board is that of the last commit.
            until(10, "the page says what is open", || {
                let kpi = server.topic("kpi");
                let sessions = kpi["live_sessions"] == open.len();
                // With carts it is they that are at risk; the end shows that they are counted.
                let carts = config.contains("since_entry");
                let stakes =
                    kpi["at_risk"] == at_risk.clone().count() && kpi["value_at_stake"] == value;
                (sessions && (carts || stakes)).then_some(())
            });
        };
        if round > 0 {
            server.wait_settled(received);
            check(&server);
        }
        let mut events = Vec::new();
        for _ in 0..20 {
            at += random.below(60_000) as i64;
            let kind = ["cart_add", "page_view", "payment_completed"][random.below(3) as usize];
            events.push(priced(at, kind, &format!("u{}", random.below(8)), 10));
        }
        post(&server, &events);
        received += events.len() as u64;
        server.wait_settled(received);
        server.stop();
    }
    // Everything ends, and nothing is left over.
    let server = folder.serve(&format!("{HOLD}{}", configs[0])).start();
    post(&server, &[event(at + 10 * 60 * MINUTE, "page_view", "last")]);
    server.wait_settled(received + 1);
    let kpi = until(10, "all others ended", || {
        let kpi = server.topic("kpi");
        (kpi["live_sessions"] == 1).then_some(kpi)
    });
    assert_eq!((&kpi["at_risk"], &kpi["value_at_stake"]), (&json!(0), &json!(0.0)), "{kpi}");
}

fn post(server: &Server, events: &[Event]) {
    let answer = server.http.post(&server.at("v1/events"), &[], lines(events).as_bytes());
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
}

/// Waits until a condition stands with these words.
fn warned(server: &Server, name: &str, words: &str) {
    until(20, name, || {
        let conditions = server.pipeline()["conditions"].to_string();
        (conditions.contains(name) && conditions.contains(words)).then_some(())
    });
}
