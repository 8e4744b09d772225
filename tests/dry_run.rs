//! Shows that a dry run finds on events of the past what the live run found on them: the same
//! alerts, the same carts and matches, at every setting as if that alone had been configured.
//!
//! How: random events (the seed is printed) into a server; its alerts are read from the feed, and
//! compared with dry runs over its log while it runs, and over files.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use support::events::{Event, Random};
use support::{Folder, HOLD, Poster, Server, until};

/// A midnight of UTC, 2023-11-14.
const START: i64 = 1_699_920_000_000;
const MINUTE: i64 = 60_000;

const RULES: &str = r#"
[[metric]]
name = "failures"
where = { type = "failed" }
aggregate = "count"
window = { tumbling = "10s" }
[[metric]]
name = "regions"
where = { type = "failed" }
aggregate = "count"
group_by = ["region"]
group_limit = 3
window = { tumbling = "10s" }
[[metric]]
name = "latency"
where = { type = "failed" }
aggregate = "avg"
field = "ms"
window = { hopping = "1m", slide = "10s" }
[[rule]]
name = "by_sigma"
metric = "failures"
over = "10m"
[[rule]]
name = "by_robust"
metric = "latency"
detect = "robust"
side = "both"
k = 4
samples = 60
[[rule]]
name = "by_threshold"
metric = "failures"
detect = "threshold"
limit = 12
for = "20s"
cooldown = "30s"
[[rule]]
name = "by_change"
metric = "failures"
detect = "rate_of_change"
ago = "1m"
percent = 200
why = ["regions"]
[[rule]]
name = "by_group"
metric = "regions"
detect = "threshold"
limit = 7
[[rule]]
name = "by_absence"
metric = "failures"
detect = "absence"
for = "30s"
"#;

const PATTERNS: &str = r#"
[[pattern]]
name = "comes_back"
first = { type = "page_view" }
then = { type = "failed" }
without = { type = "payment_completed" }
within = "40m"
attributes = { region = "last.region" }
alert = "info"
[[pattern]]
name = "fails_twice"
first = { type = "failed" }
times = 2
within = "50m"
alert = "warning"
[[pattern]]
name = "stays_away"
first = { type = "cart_add" }
not_then = [{ type = "payment_completed" }, { type = "failed" }]
within = "20m"
alert = "info"
[[join]]
name = "pays"
left = { type = "cart_add" }
right = { type = "payment_completed" }
within = "20m"
kind = "left"
alert = "info"
[[sessions]]
name = "visit"
gap = "10m"
max_length = "15m"
entry = "cart_add"
goal = "payment_completed"
alert = "info"
"#;

const ALL: [&str; 6] =
    ["by_sigma", "by_robust", "by_threshold", "by_change", "by_group", "by_absence"];

/// Two hours of events with floods and silences, out of order by less than is waited for, some of
/// them twice; at last one that makes everything before it final. Its time is told.
fn history(random: &mut Random) -> (Vec<Event>, i64) {
    let mut events = Vec::new();
    let mut at = START;
    while at < START + 120 * MINUTE {
        let (most, slow) = match random.below(12) {
            0 => (30, 900),
            1 => (0, 0),
            2 => (4, 2_000),
            _ => (3, 100),
        };
        for _ in 0..random.below(20) + 1 {
            for _ in 0..random.below(most + 1) {
                let mut event = Event::new("", at + random.below(10_000) as i64, "failed", "");
                event.more.insert("ms".into(), (slow + random.below(50)).into());
                event.more.insert("region".into(), format!("r{}", random.below(4)).into());
                events.push(event);
            }
            let kind = ["page_view", "cart_add", "payment_completed"][random.below(3) as usize];
            events.push(Event::new("", at + random.below(10_000) as i64, kind, ""));
            at += 10_000;
        }
    }
    for (number, event) in events.iter_mut().enumerate() {
        event.id = format!("e{number}");
        event.user = format!("u{}", random.below(3_000));
    }
    events.sort_by_key(|event| event.at);
    for from in (0..events.len()).step_by(7) {
        let to = (from + 7).min(events.len());
        if events[to - 1].at - events[from].at < 5_000 {
            random.shuffle(&mut events[from..to]);
        }
    }
    let again: Vec<Event> = events.iter().step_by(97).cloned().collect();
    for event in again {
        let place = events.iter().position(|other| other.id == event.id).unwrap();
        events.insert(place + 1, event);
    }
    let end = at + 90 * MINUTE;
    events.push(Event::new("last", end, "page_view", "last"));
    (events, end)
}

fn lines(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::line).collect()
}

/// Alerts as (id, time, title, facts) that were raised before a time, the oldest first.
fn alerts(list: &[Value], until: i64) -> Vec<(String, i64, String, Value)> {
    let text = |alert: &Value, name: &str| alert[name].as_str().unwrap().to_owned();
    let all = list.iter().map(|alert| {
        let at = alert["at"].as_i64().unwrap();
        (text(alert, "id"), at, text(alert, "title"), alert["detail"].clone())
    });
    let mut all: Vec<_> = all.filter(|(_, at, ..)| *at < until).collect();
    all.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    all
}

#[test]
fn a_dry_run_says_what_the_live_run_said() {
    let mut random = Random::seeded("dry_run");
    let (events, end) = history(&mut random);
    let final_to = end - 2 * MINUTE;
    let folder = Folder::default();
    let config = format!("{HOLD}{RULES}{PATTERNS}");
    let server = folder.serve(&config).start();
    Poster::new(server.target()).post(&lines(&events));
    server.wait_settled(events.len() as u64);
    let feed = until(30, "alerts are in the feed", || {
        let feed = server.all("v1/alerts");
        (feed.len() > 20).then_some(feed)
    });
    let log = server.all("v1/incident-log");
    let live = |rule: &str| -> Vec<Value> {
        let of = |line: &&Value| line["what"] == "fired" && line["rule"] == rule;
        let fired = |line: &Value| {
            json!({
                "id": line["incident"], "at": line["at"],
                "title": line["says"], "detail": line["detail"],
            })
        };
        log.iter().filter(of).map(fired).collect()
    };
    let file = folder.write("events.ndjson", lines(&events).join("\n"));
    let toml = folder.write("rules.toml", format!("{RULES}{PATTERNS}"));
    let data = folder.data().display().to_string();
    let mut raised = 0;
    for rule in ALL {
        let wanted = alerts(&live(rule), final_to);
        raised += usize::from(!wanted.is_empty());
        // The server runs on its folder meanwhile.
        for past in [["--data-dir", &data], ["--file", &file]] {
            let run = folder.command(&["dry-run", rule, "--json", "--config", &toml]).args(&past);
            let report = run.run().json();
            let found = &report["settings"][0];
            let fired = found["fired"].as_array().unwrap();
            assert_eq!(alerts(fired, final_to), wanted, "{rule} {past:?}");
            assert_eq!(found["alerts"], fired.len(), "{rule}");
            let history = &report["history"];
            assert_eq!(history["received"], events.len(), "{history}");
            assert_eq!(history["duplicate"], events.len() as u64 - applied(&events), "{history}");
        }
    }
    // A history may be too quiet for one of them.
    assert!(raised > ALL.len() / 2, "{raised}");
    // What was found in the events of a key.
    for (kind, pattern) in [
        ("pattern", "comes_back"),
        ("pattern", "fails_twice"),
        ("pattern", "stays_away"),
        ("join", "pays"),
        ("sessions", "visit"),
    ] {
        let of = |alert: &&Value| alert["detail"][kind] == pattern;
        let matches: Vec<Value> = feed.iter().filter(of).cloned().collect();
        assert!(matches.len() > 3, "{pattern}: {}", matches.len());
        let run = folder.command(&["dry-run", pattern, "--json", "--data-dir", &data]);
        let report = run.args(&["--config", &toml]).run().json();
        assert_eq!((&report["of"], &report["name"]), (&kind.into(), &pattern.into()));
        let found = report["settings"][0].clone();
        let fired = found["fired"].as_array().unwrap();
        assert_eq!(alerts(fired, final_to), alerts(&matches, final_to), "{pattern}");
        let subjects = |list: &[Value]| -> Vec<Value> {
            let mut list: Vec<_> = list.iter().map(|one| (&one["id"], &one["subject"])).collect();
            list.sort_by_key(|(id, _)| id.as_str());
            list.into_iter().map(|(_, subject)| subject.clone()).collect()
        };
        assert_eq!(subjects(fired)[..], subjects(&matches)[..fired.len()], "{pattern}");
        assert_eq!(found["pattern"]["late"], 0, "{found}");
    }
    // The carts, too.
    let carts: Vec<Value> =
        feed.iter().filter(|alert| alert["kind"] == "abandoned").cloned().collect();
    let run = folder.command(&["dry-run", "abandoned", "--json", "--data-dir", &data]);
    let report = run.args(&["--config", &toml]).run().json();
    let fired = report["settings"][0]["fired"].as_array().unwrap();
    assert!(!fired.is_empty());
    assert_eq!(alerts(fired, final_to), alerts(&carts, final_to));
}

/// Different events.
fn applied(events: &[Event]) -> u64 {
    let mut ids: Vec<&str> = events.iter().map(|event| &*event.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len() as u64
}

/// One pass for all of them; each is what a replay with that configuration reports.
#[test]
fn every_setting_is_as_if_it_alone_had_been_configured() {
    let mut random = Random::seeded("dry_run_settings");
    let (events, _) = history(&mut random);
    let folder = Folder::default();
    let file = folder.write("events.ndjson", lines(&events).join("\n"));
    let toml = folder.write("rules.toml", RULES);
    let dry = |name: &str, vary: &[&str]| {
        let vary = vary.iter().flat_map(|vary| ["--vary", vary]);
        let args: Vec<&str> = ["dry-run", name, "--json", "--config", &toml, "--file", &file]
            .into_iter()
            .chain(vary)
            .collect();
        folder.command(&args).run().json()["settings"].as_array().unwrap().clone()
    };
    let together = dry("by_threshold", &["limit=5,12,20", "gap=20m,30m", "for=0s,20s"]);
    assert_eq!(together.len(), 13);
    let without = |line: &Value| {
        let mut line = line.clone();
        line["set"] = Value::Null;
        line
    };
    for line in &together[1..] {
        let set = line["set"].as_object().unwrap();
        let [limit, hold, gap] =
            ["limit", "for", "session.gap"].map(|key| set[key].as_str().unwrap());
        let own = RULES
            .replace("limit = 12\nfor = \"20s\"", &format!("limit = {limit}\nfor = \"{hold}\""));
        let config = folder.write("own.toml", format!("[session]\ngap = \"{gap}\"\n{own}"));
        let args = ["dry-run", "by_threshold", "--json", "--config", &config, "--file", &file];
        let alone = folder.command(&args).run().json();
        assert_eq!(without(line), without(&alone["settings"][0]), "{set:?}");
    }
    assert!(together.iter().any(|line| line["fired"] != together[0]["fired"]));
    // A setting that cannot be says so; the others are tried.
    let lines = dry("by_sigma", &["over=1m,10m"]);
    assert!(lines[1]["refused"].as_str().unwrap().contains("can never alert"), "{lines:#?}");
    assert_eq!(lines[2]["alerts"], lines[0]["alerts"]);

    // Sessions of each gap are those of a replay with that gap.
    for line in &dry("abandoned", &["gap=1m,5m,30m"])[1..] {
        let gap = line["set"]["session.gap"].as_str().unwrap();
        let config = folder.write("gap.toml", format!("[session]\ngap = \"{gap}\"\n"));
        let args = ["replay", &file, "--json", "--config", &config];
        let replay = folder.command(&args).run().json()["sessions"].clone();
        let number = |name: &str| replay[name].as_u64().unwrap();
        assert_eq!(line["sessions"], number("closed") - number("open_at_end"), "{replay}");
        let abandoned = number("abandoned") - number("abandoned_open_at_end");
        assert_eq!(line["alerts"], abandoned, "{replay}");
    }

    // A pattern at several lengths, within one pipeline.
    let toml = folder.write("patterns.toml", PATTERNS);
    let dry = |config: &str, vary: &[&str]| {
        let args = ["dry-run", "comes_back", "--json", "--config", config, "--file", &file];
        folder.command(&args).args(vary).run().json()["settings"].as_array().unwrap().clone()
    };
    let together = dry(&toml, &["--vary", "within=1m,40m,90m", "--vary", "times=1..2"]);
    for line in &together[1..] {
        let [within, times] = ["within", "times"].map(|key| line["set"][key].as_str().unwrap());
        let own = PATTERNS
            .replace("within = \"40m\"", &format!("within = \"{within}\"\ntimes = {times}"));
        let alone = dry(&folder.write("own.toml", own), &[]);
        assert_eq!(without(line), without(&alone[0]), "{within} {times}");
    }
    let counts: Vec<u64> = together.iter().map(|line| line["alerts"].as_u64().unwrap()).collect();
    assert_eq!(counts[0], counts[3], "as configured");
    assert!(counts[1] < counts[3] && counts[3] < counts[5], "{counts:?}");
}

#[test]
fn what_was_before_only_teaches_and_what_cannot_be_is_said() {
    let mut random = Random::seeded("dry_run_range");
    let (events, end) = history(&mut random);
    let folder = Folder::default();
    let file = folder.write("events.ndjson", lines(&events).join("\n"));
    let toml = folder.write("rules.toml", RULES);
    let run =
        |args: &[&str]| folder.command(&["dry-run"]).args(args).args(&["--config", &toml]).run();
    let whole = run(&["by_robust", "--json", "--file", &file]).json();
    let fired = whole["settings"][0]["fired"].as_array().unwrap().clone();
    let (from, to) = (START + 40 * MINUTE, START + 80 * MINUTE);
    let [first, last] = [from, to].map(|at| at.to_string());
    let args = ["by_robust", "--json", "--file", &file, "--from", &first, "--to", &last];
    let part = run(&args).json();
    let within = |alert: &&Value| (from..to).contains(&alert["at"].as_i64().unwrap());
    let wanted: Vec<Value> = fired.iter().filter(within).cloned().collect();
    let found = part["settings"][0]["fired"].as_array().unwrap();
    assert_eq!(alerts(found, end), alerts(&wanted, end));
    assert_eq!((&part["history"]["from"], &part["history"]["to"]), (&from.into(), &to.into()));
    // The numbers of a metric.
    let metric = run(&["failures", "--json", "--file", &file]).json();
    let line = &metric["settings"][0];
    assert!(line["windows"].as_u64().unwrap() > 100 && line["max"].as_f64().unwrap() > 10.0);
    // For people.
    let text = run(&["by_robust", "--vary", "k=3..5", "--file", &file]).stdout;
    assert!(text.contains("as configured") && text.contains("would have fired"), "{text}");
    // A quiet past may be one whose events lack what is asked for.
    let other = lines(&events).join("\n").replace("\"user\":", "\"customer\":");
    let other = folder.write("other.ndjson", other);
    let run_other = run(&["by_robust", "--file", &other]);
    assert!(
        run_other.stdout.contains("no event carries user (events.key)"),
        "{}",
        run_other.stdout
    );
    let json = run(&["by_robust", "--json", "--file", &other]).json();
    assert_eq!(json["history"]["never_seen"], json!(["user (events.key)"]), "{json}");

    for (args, code, part) in [
        (&["nope"][..], 2, "is no rule (by_sigma, by_robust"),
        (&["by_robust", "--vary", "kk=2"], 2, "is not a key that can be varied here"),
        (&["by_robust", "--file", "nowhere.ndjson"], 2, "nowhere.ndjson"),
        (&["by_robust", "--from", "yesterday"], 2, "--from yesterday: is not a time"),
        (&["by_robust", "--from", "2024-01-02", "--to", "2024-01-01"], 2, "must be before"),
        (&["by_robust", "--vary", "gap=1m,2m,3m,4m,5m,6m,7m,8m,9m"], 2, "at most 8"),
        (&["by_robust", "--data-dir", "nowhere"], 1, "there is no such file"),
        (&["by_robust", "--vary", "within=1m"], 2, "is not a key that can be varied here"),
    ] {
        let run = run(args);
        assert_eq!(run.code, Some(code), "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains(part), "{args:?}: {}", run.stderr);
    }
}

/// What is beyond a bound is counted, and what would be beyond it is refused before the work.
#[test]
fn bounds_are_keys() {
    let mut random = Random::seeded("dry_run_bounds");
    let (events, _) = history(&mut random);
    let folder = Folder::default();
    let file = folder.write("events.ndjson", lines(&events).join("\n"));
    let run = |bounds: &str, args: &[&str]| {
        let toml = folder.write("rules.toml", format!("[dry_run]\n{bounds}\n{RULES}"));
        let command = folder.command(&["dry-run"]).args(args).args(&["--config", &toml]);
        command.args(&["--file", &file]).run()
    };
    let line =
        |bounds: &str, name: &str| run(bounds, &[name, "--json"]).json()["settings"][0].clone();
    let (all, few) = (line("", "by_group"), line("listed_max = 2", "by_group"));
    let fired = |line: &Value| line["fired"].as_array().unwrap().clone();
    assert_eq!(fired(&few)[..], fired(&all)[..2]);
    let count = fired(&all).len() as u64;
    assert_eq!((&few["alerts"], &few["left_out"]), (&count.into(), &(count - 2).into()));
    assert_eq!(few["newest"], fired(&all).last().unwrap()["at"]);
    let (all, few) = (line("", "failures"), line("numbers_max = 100", "failures"));
    let windows = all["windows"].as_u64().unwrap();
    assert!(windows > 100);
    assert_eq!((&few["windows"], &few["left_out"]), (&100.into(), &(windows - 100).into()));
    for (bounds, vary, part) in [
        ("settings_max = 4", "limit=1..5", "are not 1 to 4 values"),
        (
            "settings_max = 4",
            "limit=1,2,3,4,5",
            "more than 4 settings at once (dry_run.settings_max)",
        ),
        ("pipelines_max = 2", "gap=10m,20m", "at most 2 (dry_run.pipelines_max)"),
    ] {
        let run = run(bounds, &["by_threshold", "--vary", vary]);
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
}

/// Over HTTP the same is answered as by the command, also of what was posted; the server's own
/// figures stay those of the server.
#[test]
fn a_server_answers_as_the_command_does() {
    let mut random = Random::seeded("dry_run_http");
    let (events, _) = history(&mut random);
    let folder = Folder::default();
    let server = folder.serve(&format!("{HOLD}{RULES}{PATTERNS}")).start();
    Poster::new(server.target()).post(&lines(&events));
    server.wait_settled(events.len() as u64);
    let ask = |query: &str, tables: &str| {
        server.http.post(&server.at(&format!("v1/dry-run?{query}")), &[], tables.as_bytes())
    };
    let applied = |server: &Server| -> Vec<String> {
        let text = server.http.get(&server.at("metrics")).body;
        let text = String::from_utf8(text).unwrap();
        let of = |line: &&str| {
            ["tidewatch_events_total", "tidewatch_ready", "tidewatch_condition{"]
                .iter()
                .any(|name| line.starts_with(name))
        };
        let mut found: Vec<String> = text.lines().filter(of).map(String::from).collect();
        found.sort_unstable();
        found
    };
    let before = applied(&server);
    let data = folder.data().display().to_string();
    let command = |args: &[&str], config: &str| {
        let toml = folder.write("own.toml", config);
        let folder = folder.command(args).args(&["--json", "--config", &toml]);
        let mut report = folder.args(&["--data-dir", &data]).run().json();
        report["history"]["source"] = "the log".into();
        report
    };
    let all = format!("{RULES}{PATTERNS}");
    for (query, args) in [
        (
            "name=by_threshold&vary=limit=5,12&vary=gap=20m,30m",
            &["dry-run", "by_threshold", "--vary", "limit=5,12", "--vary", "gap=20m,30m"][..],
        ),
        (
            "name=by_robust&from=1699922400000&to=1699924800000",
            &["dry-run", "by_robust", "--from", "1699922400000", "--to", "1699924800000"],
        ),
        ("name=latency", &["dry-run", "latency"]),
        (
            "name=fails_twice&vary=within=1m,1h",
            &["dry-run", "fails_twice", "--vary", "within=1m,1h"],
        ),
        ("name=abandoned&vary=gap=15m,45m", &["dry-run", "abandoned", "--vary", "gap=15m,45m"]),
        ("name=by_group&at_most=3/day", &["tune", "by_group", "--at-most", "3/day"]),
    ] {
        let answer = ask(query, "");
        assert_eq!(answer.status, 200, "{query}");
        assert_eq!(answer.json(), command(args, &all), "{query}");
    }
    // What was posted goes before what is in force, and needs no name where it is alone.
    let rule = "[[rule]]\nname = \"mine\"\nmetric = \"many\"\ndetect = \"threshold\"\nlimit = 40\n";
    let metric =
        "[[metric]]\nname = \"many\"\naggregate = \"count\"\nwindow = { tumbling = \"1m\" }\n";
    let both = format!("{metric}{rule}");
    let wanted = command(&["dry-run", "mine"], &format!("{all}{both}"));
    assert!(wanted["settings"][0]["alerts"].as_u64().unwrap() > 0, "{wanted}");
    for query in ["", "name=mine"] {
        assert_eq!(ask(query, &both).json(), wanted, "{query}");
    }
    let other = "[[rule]]\nname = \"by_threshold\"\nmetric = \"failures\"\ndetect = \"threshold\"\nlimit = 3\n";
    let changed = ask("", other).json();
    assert_ne!(changed["settings"], ask("name=by_threshold", "").json()["settings"]);
    assert_eq!(applied(&server), before);

    for (query, tables, part) in [
        ("name=nope", "", "\"nope\" is no rule (by_sigma"),
        ("", "", "name is missing"),
        (
            "",
            &*format!(
                "{metric}[[metric]]\nname = \"b\"\naggregate = \"count\"\nwindow = {{ tumbling = \"1m\" }}\n"
            ),
            "name is missing",
        ),
        ("name=by_sigma&vray=k=2", "", "did you mean \"vary\"?"),
        ("name=by_sigma&vary=kk=2", "", "vary kk: is not a key that can be varied here"),
        ("name=by_sigma&from=soon", "", "from soon: is not a time"),
        ("name=by_sigma&at_most=often", "", "at_most: write a number and day"),
        (
            "",
            "[[rule]]\nname = \"a\"\nmetric = \"failurs\"\n",
            "the body:3:1: rule.a.metric = \"failurs\": names no metric",
        ),
        ("", "[[rule]\n", "the body:1"),
        (
            "",
            "data_dir = \"/tmp\"\n",
            "the body:1:1: data_dir: only [[metric]], [[rule]], [[pattern]], [[join]]",
        ),
        // Nobody reads files of the server, or asks what it can reach, this way.
        (
            "",
            "[[lookup]]\nname = \"l\"\nkey = \"a\"\nfile = \"/etc/passwd\"\n",
            "the body:1:3: lookup: only [[metric]]",
        ),
        (
            "",
            "[[lookup]]\nname = \"l\"\nkey = \"a\"\nurl = \"http://127.0.0.1:1/\"\n",
            "the body:1:3: lookup: only [[metric]]",
        ),
        (
            "",
            "[[lookup]]\nname = \"l\"\nkey = \"a\"\nbucket = \"b\"\n",
            "the body:1:3: lookup: only [[metric]]",
        ),
        ("name=by_sigma&vary=gap=1m,2m,3m,4m,5m,6m,7m,8m,9m", "", "dry_run.pipelines_max"),
    ] {
        let answer = ask(query, tables);
        assert_eq!(answer.status, 400, "{query} {tables}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(part), "{query} {tables}: {detail}");
    }
}

/// A dry run ends when its time is over or nobody waits for it; then there is room for the next.
#[test]
fn a_dry_run_over_http_is_bounded_and_given_up() {
    let mut random = Random::seeded("dry_run_bounded");
    let (events, _) = history(&mut random);
    let folder = Folder::default();
    let bounds = |timeout: &str| format!("{HOLD}[dry_run]\ntimeout = \"{timeout}\"\n{RULES}");
    let server = folder.serve(&bounds("1h")).start();
    let mut poster = Poster::new(server.target());
    let mut sent = 0;
    // The same day again and again: repeats take their time too.
    while sent < 60_000 {
        poster.post(&lines(&events));
        sent += events.len() as u64;
    }
    server.wait_settled(sent);
    let long = "v1/dry-run?name=abandoned&vary=gap=1m,2m,3m,4m,5m,6m,7m";
    let mut client = TcpStream::connect(server.address()).unwrap();
    write!(client, "POST /{long} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let mut head = [0; 12];
    client.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let short = || server.http.post(&server.at("v1/dry-run?name=by_sigma"), &[], b"");
    let busy = short();
    assert_eq!(busy.status, 429);
    assert!(busy.json()["detail"].as_str().unwrap().contains("dry_run.at_once_max"));
    drop(client);
    let answer = until(60, "the place is free again", || {
        Some(short()).filter(|answer| answer.status == 200)
    });
    assert_eq!(answer.json()["history"]["received"], sent);
    // Of another one the time is over.
    folder.write("tidewatch.toml", bounds("1s"));
    assert_eq!(server.http.post(&server.at("v1/reload"), &[], b"").status, 200);
    let late = server.http.post(&server.at(long), &[], b"").json();
    assert_eq!(late["status"], 503, "{late}");
    assert!(
        late["detail"].as_str().unwrap().contains("given up after 1s (dry_run.timeout)"),
        "{late}"
    );
    folder.write("tidewatch.toml", bounds("1h").replace("timeout", "events_max = 1000\ntimeout"));
    assert_eq!(server.http.post(&server.at("v1/reload"), &[], b"").status, 200);
    let part = until(60, "the place is free again", || {
        Some(short()).filter(|answer| answer.status == 200)
    });
    assert_eq!(part.json()["history"]["received"], 1_000);
    let source = part.json()["history"]["source"].as_str().unwrap().to_owned();
    assert!(source.contains(&format!("without {} older ones", sent - 1_000)), "{source}");
}

/// What is proposed is quiet enough, raises what was said of it, and can be pasted.
#[test]
fn tuning_proposes_what_a_dry_run_then_finds() {
    let mut random = Random::seeded("tune");
    let (events, _) = history(&mut random);
    let folder = Folder::default();
    let file = folder.write("events.ndjson", lines(&events).join("\n"));
    let toml = folder.write("rules.toml", RULES);
    for (rule, tail) in [
        ("by_sigma", "over = \"10m\"\n"),
        ("by_robust", "side = \"both\"\nk = 4\nsamples = 60\n"),
        ("by_threshold", "limit = 12\nfor = \"20s\"\ncooldown = \"30s\"\n"),
        ("by_group", "limit = 7\n"),
        ("by_change", "ago = \"1m\"\npercent = 200\n"),
        ("by_absence", "for = \"30s\"\n"),
    ] {
        let args = ["tune", rule, "--at-most", "3/day", "--json", "--config", &toml];
        let run = folder.command(&args).args(&["--file", &file]).run();
        let report = run.json();
        let [configured, best] = [0, 1].map(|place| report["settings"][place].clone());
        assert_eq!(report["allowed"], 3);
        let count = |line: &Value| line["alerts"].as_u64().unwrap();
        let own = report["toml"].as_str().unwrap();
        if own.is_empty() {
            assert!(count(&configured) <= 3, "{rule}: {report:#}");
            continue;
        }
        assert!(count(&best) <= 3, "{rule}: {report:#}");
        // The keys of before give way to those that are proposed.
        let name = |line: &str| line.split(" = ").next().unwrap().to_owned();
        let new: Vec<String> = own.lines().map(name).collect();
        let kept: String = tail
            .lines()
            .filter(|line| !new.contains(&name(line)))
            .map(|l| format!("{l}\n"))
            .collect();
        assert!(RULES.contains(tail), "{rule}");
        let at = RULES.find(&format!("\"{rule}\"")).unwrap();
        let (before, after) = RULES.split_at(at);
        let config = format!("{before}{}", after.replacen(tail, &format!("{kept}{own}"), 1));
        let config = folder.write("tuned.toml", config);
        let args = ["dry-run", rule, "--json", "--config", &config, "--file", &file];
        let found = folder.command(&args).run().json()["settings"][0].clone();
        let ids = |line: &Value| -> Vec<Value> {
            line["fired"].as_array().unwrap().iter().map(|fired| fired["id"].clone()).collect()
        };
        assert_eq!(ids(&found), ids(&best), "{rule}: {own}");
    }
    let args = ["tune", "latency", "--at-most", "3/day", "--config", &toml, "--file", &file];
    let run = folder.command(&args).run();
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("only rules are tuned"), "{}", run.stderr);
}
