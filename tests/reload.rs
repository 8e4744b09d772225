//! Shows that another configuration is taken while the process runs as a restart would take it:
//! what it does not change goes on as if nothing had been, what is new counts from an exact
//! position on, events come in meanwhile, and kill -9 in the middle costs nothing. And that a bad
//! one changes nothing and says why.
//!
//! How: the real binary; its file is written anew, and `POST /v1/reload`, SIGHUP or a look at the
//! file takes it. The oracle is a process that was stopped and started instead, and the events
//! themselves.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use support::checks::check;
use support::events::{Event, Random, sessions};
use support::ws::Client;
use support::{Folder, HOLD, Http, Poster, Server, Set, pause, until};

const START: i64 = 1_700_000_000_000;

/// Quick commits and boards.
const QUICK: &str = "[pipeline]\ncommit_interval = \"20ms\"\ntick = \"100ms\"\n";

fn metric(name: &str, rest: &str) -> String {
    format!("[[metric]]\nname = \"{name}\"\naggregate = \"count\"\nkeep = \"2d\"\n{rest}\n")
}

/// Writes the file of a server that runs, and has it taken.
fn take(folder: &Folder, server: &Server, config: &str) -> Value {
    folder.write("tidewatch.toml", config);
    let answer = server.http.post(&server.at("v1/reload"), &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

fn lines(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::line).collect()
}

/// Events of many users, out of order by 3 s at most.
fn made(random: &mut Random, count: i64) -> Vec<Event> {
    const KINDS: [&str; 4] = ["page_view", "cart_add", "payment_initiated", "payment_completed"];
    (0..count)
        .map(|n| {
            let at = START + n * 9_000 + random.below(3_000) as i64;
            let kind = KINDS[random.below(4) as usize];
            let mut event = Event::new(format!("e{n}"), at, kind, format!("u{}", random.below(40)));
            event.more.insert("region".into(), json!(["eu", "us", "in"][random.below(3) as usize]));
            event.more.insert("amount".into(), json!(random.below(50)));
            event
        })
        .collect()
}

/// Configurations that add, drop and change metrics, rules, sessions and the number of shards.
fn configuration(random: &mut Random) -> String {
    let tumbling = "window = { tumbling = \"1m\" }";
    let mut config = format!("{HOLD}[session]\ngap = \"{}m\"\n", 20 + 5 * random.below(3));
    config += &format!("{QUICK}shards = {}\n", 1 + random.below(3));
    config += &metric("kept", &format!("{tumbling}\ngroup_by = [\"region\"]"));
    config += &metric("sessions", &format!("of = \"sessions\"\n{tumbling}"));
    config += &format!(
        "[[rule]]\nname = \"spike\"\nmetric = \"sessions\"\nk = {}\nover = \"2h\"\n",
        3 + random.below(2)
    );
    if random.one_in(2) {
        config += &metric("hops", "window = { hopping = \"10m\", slide = \"1m\" }");
    }
    if random.one_in(2) {
        // Of another meaning each time, and of another kind.
        let what = ["where = { type = \"cart_add\" }", "group_by = [\"region\"]"];
        config += &metric("other", &format!("{tumbling}\n{}", what[random.below(2) as usize]));
    }
    config
}

/// Everything that people see of the numbers.
fn numbers(server: &Server) -> BTreeMap<String, Value> {
    let topics = server.get("v1/board")["topics"].as_object().unwrap().clone();
    let mut all: BTreeMap<String, Value> =
        topics.into_iter().map(|(name, topic)| (name, topic["d"].clone())).collect();
    let pipeline = all.remove("pipeline").unwrap();
    for name in ["received", "applied", "late", "duplicate", "rejected", "open_sessions"] {
        all.insert(name.into(), pipeline[name].clone());
    }
    all.insert("feed".into(), server.all("v1/alerts").into());
    all.insert("incident log".into(), server.all("v1/incident-log").into());
    all
}

#[test]
fn a_reload_is_as_a_restart_wherever_it_comes() {
    let mut random = Random::seeded("reload");
    for _ in 0..3 {
        let events = made(&mut random, 600);
        let mut parts: Vec<(String, &[Event])> = Vec::new();
        let mut rest = &events[..];
        while !rest.is_empty() {
            let (some, after) = rest.split_at((20 + random.below(200) as usize).min(rest.len()));
            parts.push((configuration(&mut random), some));
            rest = after;
        }
        let (reloaded, restarted) = (Folder::default(), Folder::default());
        let running = reloaded.serve(&parts[0].0).start();
        let mut stopping = restarted.serve(&parts[0].0).start();
        let mut sent = 0;
        for (number, (config, some)) in parts.iter().enumerate() {
            if number > 0 {
                take(&reloaded, &running, config);
                assert_eq!(stopping.stop().code(), Some(0));
                stopping = restarted.serve(config).start();
            }
            sent += some.len() as u64;
            for server in [&running, &stopping] {
                Poster::new(server.target()).post(&lines(some));
                server.wait_settled(sent);
            }
            let same = || (numbers(&running) == numbers(&stopping)).then_some(());
            let same = until_or(20, same);
            assert!(
                same.is_some(),
                "after part {number}:\n{:#?}\n{:#?}",
                numbers(&running),
                numbers(&stopping)
            );
        }
        assert_eq!(running.pipeline()["restarts"], 0, "a reload is no restart after a fault");
    }
}

/// As `until`, for a test that says itself what differs.
fn until_or<T>(seconds: u64, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let watch = support::Stopwatch::start();
    loop {
        let found = condition();
        if found.is_some() || watch.elapsed().as_secs() >= seconds {
            return found;
        }
        pause(Duration::from_millis(50));
    }
}

/// A sliding metric, and a rule that judges its numbers between the ends of slides.
fn burst(name: &str) -> String {
    metric(name, "window = { sliding = \"1m\", slide = \"20s\" }")
        + &format!(
            "[[rule]]\nname = \"{name}_high\"\nmetric = \"{name}\"\ndetect = \"threshold\"\n\
             limit = 11\ncooldown = \"20s\"\n"
        )
}

/// What a metric counted, or a rule judged, by the ends of slides.
fn points(server: &Server, topic: &str) -> BTreeMap<i64, f64> {
    let points = server.topic(topic)["p"].as_array().cloned().unwrap_or_default();
    let column = |at: usize| points.get(at).and_then(Value::as_array).cloned().unwrap_or_default();
    let values = column(1).into_iter().map(|value| value.as_f64().unwrap_or(f64::MIN));
    column(0).iter().map(|at| at.as_i64().unwrap()).zip(values).collect()
}

/// The queues of sliding windows are made of the panes again: what was there goes on as if nothing had
/// been, with every number between the ends of slides; what is new is as where the log begins there.
#[test]
fn sliding_windows_go_on_over_a_reload_and_new_ones_are_as_after_a_fresh_start() {
    let mut random = Random::seeded("reload-sliding");
    for _ in 0..3 {
        // Some ten within a minute, in bursts and out of order.
        let mut at = START;
        let mut event = |n: usize| {
            at += random.below(12_000) as i64;
            Event::new(format!("e{n}"), at - random.below(3_000) as i64, "page_view", "u")
        };
        let mut events: Vec<Event> = (0..500).map(&mut event).collect();
        // All slides before it are final.
        events.push(Event::new("end", at + 120_000, "page_view", "~"));
        let base = format!("{HOLD}{QUICK}shards = 2\n{}", burst("old"));
        let folders = [(); 3].map(|()| Folder::default());
        let reloaded = folders[0].serve(&base).start();
        let steady = folders[1].serve(&base).start();
        let fresh = folders[2].serve(&format!("{base}{}", burst("new"))).start();
        let cuts = [60 + random.below(60) as usize, 200 + random.below(60) as usize];
        let send = |server: &Server, events: &[Event], all: usize| {
            Poster::new(server.target()).post(&lines(events));
            server.wait_settled(all as u64);
        };
        send(&reloaded, &events[..cuts[0]], cuts[0]);
        // Once something else changes, once the new one comes.
        take(
            &folders[0],
            &reloaded,
            &format!("{base}{}", metric("other", "window = { tumbling = \"1m\" }")),
        );
        send(&reloaded, &events[cuts[0]..cuts[1]], cuts[1]);
        take(&folders[0], &reloaded, &format!("{base}{}", burst("new")));
        send(&reloaded, &events[cuts[1]..], events.len());
        send(&steady, &events, events.len());
        send(&fresh, &events[cuts[1]..], events.len() - cuts[1]);
        let said = |server: &Server, rule: &str| -> Vec<Value> {
            let log = server.all("v1/incident-log").into_iter();
            let of_rule = log.filter(|line| line["rule"] == rule);
            of_rule.map(|line| json!([line["incident"], line["at"], line["detail"]])).collect()
        };
        for topic in ["old", "old_high"] {
            let both = || (points(&reloaded, topic), points(&steady, topic));
            until_or(20, || Some(both()).filter(|both| both.0 == both.1).map(drop));
            let (found, wanted) = both();
            assert_eq!(found, wanted, "{topic}");
            assert!(found.len() > 100, "{topic}: {}", found.len());
        }
        assert_eq!(said(&reloaded, "old_high"), said(&steady, "old_high"));
        assert!(!said(&steady, "old_high").is_empty(), "some stand out");
        // Of windows that lie behind the position as a whole.
        let whole = events[..cuts[1]].iter().map(|event| event.at).max().unwrap() + 80_000;
        for topic in ["new", "new_high"] {
            let both = || {
                [&reloaded, &fresh].map(|server| {
                    let mut points = points(server, topic);
                    points.retain(|at, _| *at > whole);
                    points
                })
            };
            until_or(20, || Some(both()).filter(|[one, other]| one == other).map(drop));
            let [found, wanted] = both();
            assert_eq!(found, wanted, "{topic}");
            assert!(found.len() > 40, "{topic}: {}", found.len());
        }
    }
}

/// All that a metric has counted, in windows that are final or not.
fn counted(server: &Server, metric: &str) -> u64 {
    let columns = server.topic(metric)["p"].as_array().cloned().unwrap_or_default();
    let points = columns.get(1).and_then(Value::as_array).cloned().unwrap_or_default();
    points.iter().filter_map(Value::as_f64).sum::<f64>() as u64
}

#[test]
fn while_events_pour_in_what_is_kept_counts_all_and_what_is_new_from_its_position_on() {
    let mut random = Random::seeded("reload-position");
    let mut events = made(&mut random, 4_000);
    events.sort_by_key(|event| event.at);
    let day = "window = { tumbling = \"1h\" }";
    let base = format!("{HOLD}{QUICK}{}", metric("kept", day));
    let folder = Folder::default();
    let server = folder.serve(&base).start();
    let target = server.target();
    let poster = {
        let lines = lines(&events);
        thread::spawn(move || {
            let mut poster = Poster::new(target);
            lines.chunks(20).for_each(|batch| drop(poster.post(batch)));
        })
    };
    let mut began = Vec::new();
    let mut config = base;
    while !poster.is_finished() && began.len() < 6 {
        config += &metric(&format!("new{}", began.len()), day);
        let plan = take(&folder, &server, &config);
        let name = format!("metric new{}", began.len());
        let new = plan["outlook"].as_array().unwrap().iter().find(|one| one["subject"] == name);
        assert_eq!(new.expect("it is in the plan")["fate"], "new", "{plan}");
        let taken = &plan["taken"];
        assert!(taken["stood_ms"].as_i64().unwrap() < 5_000, "{taken}");
        began.push(taken["positions"][0]["position"].as_u64().unwrap());
    }
    poster.join().unwrap();
    // All windows before it are final.
    let flush = Event::new("flush", START + 86_400_000, "page_view", "~");
    Poster::new(server.target()).post(&[flush.line()]);
    let pipeline = server.wait_settled(events.len() as u64 + 1);
    assert_eq!(pipeline["applied"], events.len() + 1, "{pipeline}");
    println!("{} reloads at {began:?}", began.len());
    assert!(began.len() > 1);
    until(20, "the last board has all of it", || {
        (counted(&server, "kept") == events.len() as u64).then_some(())
    });
    for (number, began) in began.iter().enumerate() {
        let name = format!("new{number}");
        assert_eq!(counted(&server, &name), events.len() as u64 - began, "{name} after {began}");
    }
}

#[test]
fn a_metric_that_came_later_says_since_when_it_counts_until_its_windows_are_whole() {
    const MINUTE: i64 = 60_000;
    let folder = Folder::default();
    let window = "window = { hopping = \"10m\", slide = \"1m\" }\nkeep = \"15m\"";
    let metric = |name: &str| metric(name, window).replace("keep = \"2d\"\n", "");
    let base = format!("{HOLD}{QUICK}{}", metric("first"));
    let server = folder.serve(&base).start();
    let mut sent = 0;
    let mut reach = |minute: i64| {
        sent += 1;
        let event = Event::new(format!("e{sent}"), START + minute * MINUTE, "x", "u");
        Poster::new(server.target()).post(&[event.line()]);
        server.wait_settled(sent);
    };
    reach(0);
    take(&folder, &server, &(base + &metric("later").replace("count", "distinct")));
    let about = |name: &str| server.get("v1/board")["topics"][name]["about"].clone();
    let text = || String::from_utf8(server.http.get(&server.at("metrics")).body).unwrap();
    let line = format!("tidewatch_warming_since_seconds{{metric=\"later\"}} {}", START / 1_000);
    reach(5);
    let warming =
        until(20, "it warms up", || Some(about("later")).filter(|a| a["warming"] == true));
    assert_eq!(warming["since"], START, "{warming}");
    assert!(text().contains(&line), "{}", text());
    assert_eq!(server.get("v1/groups/later")["warming_since"], START);
    let first = about("first");
    assert!(first["since"].is_null() && first["warming"].is_null(), "{first}");
    reach(13);
    until(20, "its windows are whole, and older ones are shown", || {
        let about = about("later");
        (about["since"] == START && about["warming"].is_null()).then_some(())
    });
    assert!(!text().contains("tidewatch_warming"), "{}", text());
    reach(60);
    until(20, "all that is shown is whole", || about("later")["since"].is_null().then_some(()));
}

#[test]
fn killed_while_it_is_taken_every_number_is_right() {
    const CYCLES: u64 = 8;
    let set = Set::made("shop");
    let mut random = Random::seeded("reload-kill");
    let mut events = set.events();
    let expected = sessions(&events);
    let end = events.iter().map(|event| event.at).max().unwrap();
    events.push(Event::new("flush", end + 86_400_000, "page_view", "~flush"));
    // What sessions are stays the same; all else changes.
    let config = |random: &mut Random| {
        let mut config = format!("{HOLD}{QUICK}shards = {}\n", 1 + random.below(3));
        config += &metric("kept", "window = { tumbling = \"1h\" }");
        config + &metric(&format!("m{}", random.below(3)), "window = { tumbling = \"1m\" }")
    };
    let folder = Folder::default();
    let mut server = folder.serve(&config(&mut random)).start();
    let target = server.target();
    let (done, to) = (AtomicBool::new(false), target.clone());
    let end = thread::scope(|scope| {
        let (done, events) = (&done, &events);
        scope.spawn(move || {
            let mut poster = Poster::new(to);
            for batch in lines(events).chunks(40) {
                assert_eq!(poster.post(batch).status, 202);
                pause(Duration::from_millis(2));
            }
            done.store(true, Ordering::Release);
        });
        let mut cycles = 0;
        while !done.load(Ordering::Acquire) {
            let next = config(&mut random);
            folder.write("tidewatch.toml", &next);
            let url = server.at("v1/reload");
            if cycles < CYCLES {
                let asked = scope.spawn(move || drop(Http::default().try_post(&url, &[], b"")));
                pause(Duration::from_millis(random.below(120)));
                server.kill_9();
                asked.join().unwrap();
                server = folder.serve(&next).start();
                target.set(&server.url);
                cycles += 1;
            } else {
                // One that came before its engine was up is not taken, and says so.
                server.http.post(&url, &[], b"");
                pause(Duration::from_millis(50));
            }
        }
        println!("killed {cycles} times");
        server
    });
    check(&end, &events, &expected, &set.truth["sessions"]["gt"]);
}

#[test]
fn a_bad_file_changes_nothing_and_says_why_until_a_good_one_comes() {
    let folder = Folder::default();
    let good = format!("{HOLD}{QUICK}{}", metric("kept", "window = { tumbling = \"1m\" }"));
    let server = folder.serve(&good).start();
    let post = |plan: &str| server.http.post(&server.at(&format!("v1/reload{plan}")), &[], b"");
    let says = || {
        let conditions = server.pipeline()["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|one| one["name"] == "config_refused");
        found.map(|one| one["says"].as_str().unwrap().to_owned())
    };
    // The same file: nothing to do.
    let same = post("").json();
    assert_eq!((&same["changes"], &same["taken"]), (&json!([]), &Value::Null), "{same}");

    folder.write("tidewatch.toml", good.replace("tumbling", "tumblin"));
    for (plan, stands) in [("?plan=1", false), ("", true)] {
        let refused = post(plan);
        assert_eq!(refused.status, 422, "{}", refused.json());
        let problem = &refused.json()["problems"][0];
        assert!(problem["place"].as_str().unwrap().contains("tidewatch.toml:"), "{problem}");
        assert!(problem["rule"].as_str().unwrap().contains("tumbling"), "{problem}");
        if stands {
            let said = until(20, "the page says it", says);
            assert!(said.contains("tidewatch.toml:") && said.contains("goes on"), "{said}");
        } else {
            assert_eq!(says(), None, "a plan is only asked for");
        }
    }
    assert!(server.stderr().contains("the configuration was not taken"), "{}", server.stderr());
    assert!(
        server.topic("kept").is_object() && server.http.get(&server.at("readyz")).status == 200
    );

    folder.write("tidewatch.toml", format!("{good}[web]\nworkers = 3\n"));
    let refused = post("");
    assert_eq!(refused.status, 409, "{}", refused.json());
    let key = &refused.json()["needs_restart"][0];
    assert_eq!(
        (&key["key"], &key["was"], &key["is"]),
        (&json!("web.workers"), &json!("2"), &json!("3"))
    );
    let said = until(20, "the page says it", || says().filter(|says| says.contains("restart")));
    assert!(said.contains("web.workers was 2, is 3"), "{said}");

    // What a plan says is what is done, and only then.
    let next = good.replace("\"1m\"", "\"2m\"")
        + &metric("more", "where = { type = \"y\" }\nwindow = { tumbling = \"1m\" }");
    Poster::new(server.target()).post(&[Event::new("a", START, "x", "u").line()]);
    server.wait_settled(1);
    folder.write("tidewatch.toml", &next);
    let plan = post("?plan=1").json();
    let fates = |plan: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let outlook = plan["outlook"].as_array().unwrap().iter();
        outlook.map(|one| (text(&one["subject"]), text(&one["fate"]))).collect()
    };
    let expected = [("metric kept", "changed"), ("metric more", "new")];
    assert_eq!(fates(&plan), expected.map(|(a, b)| (a.to_owned(), b.to_owned())), "{plan}");
    assert_eq!((&plan["taken"], &plan["loses"]), (&Value::Null, &json!(1)));
    assert!(plan["metric_bytes_max"].as_u64() > plan["metric_bytes_max_was"].as_u64(), "{plan}");
    assert!(server.topic("more").is_null() && says().is_some());
    let done = post("").json();
    assert_eq!(fates(&done), fates(&plan));
    assert_eq!(done["taken"]["positions"], json!([{"source": "log", "position": 1}]), "{done}");
    until(20, "it is taken", || server.topic("more").is_object().then_some(()));
    until(20, "and nothing is wrong any more", || says().is_none().then_some(()));
}

#[test]
fn a_signal_or_a_look_at_the_file_takes_it_and_clients_stay() {
    let folder = Folder::default();
    let window = "window = { tumbling = \"1m\" }";
    let base = format!("config_watch = \"50ms\"\n{HOLD}{QUICK}{}", metric("kept", window));
    let server = folder.serve(&base).start();
    Poster::new(server.target()).post(&[Event::new("a", START, "x", "u").line()]);
    server.wait_settled(1);
    let mut client = Client::follow(&server.url, &["kept", "pipeline"]);
    client.read_until(20, "both topics", |client| client.topics.values().all(|t| t.snapshots > 0));
    let life = client.topics["pipeline"].incarnation.clone();

    let more = base.clone() + &metric("more", window);
    folder.write("tidewatch.toml", &more);
    until(20, "the file was looked at", || server.topic("more").is_object().then_some(()));
    client.read_until(20, "another life of the board", |client| {
        client.topics["pipeline"].incarnation != life
    });
    client.subscribe("more");
    client.read_until(20, "the new topic", |client| client.topics.contains_key("more"));

    // A signal, with nothing that looks at the file.
    let folder = Folder::default();
    let base = base.replace("50ms", "0s");
    let server = folder.serve(&base).start();
    let mut client = Client::follow(&server.url, &["kept", "pipeline"]);
    client.read_until(20, "both topics", |client| client.topics.values().all(|t| t.snapshots > 0));
    folder.write("tidewatch.toml", base.replace("\"kept\"", "\"gone\""));
    server.signal("HUP");
    until(20, "the signal was heard", || server.topic("gone").is_object().then_some(()));
    client.read_until(20, "the sub to what is gone has ended", |client| {
        !client.topics.contains_key("kept")
    });
    client.subscribe("kept");
    client.read_until(20, "it is unknown", |client| !client.errors.is_empty());
    assert_eq!(client.closed, None);
    let text = String::from_utf8(server.http.get(&server.at("metrics")).body).unwrap();
    assert!(text.contains("tidewatch_reloads_total{result=\"taken\"} 1"), "{text}");

    // Without a file there is nothing to read again.
    let folder = Folder::default();
    let data = folder.data().display().to_string();
    let bare = folder.command(&["serve", "--data-dir", &data, "--listen", "127.0.0.1:0"]).start();
    let refused = bare.http.post(&bare.at("v1/reload"), &[], b"");
    assert_eq!(refused.status, 409);
    assert!(refused.json()["detail"].as_str().unwrap().contains("--config"), "{}", refused.json());
}
