//! Shows that the command line helps, refuses with the right code, and that dead letters
//! can be listed, looked at and sent through again after a fix.
//!
//! How: runs the real binary and reads what it prints.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;

use support::events::Event;
use support::{Folder, HOLD, Poster, Server, run, until};

const COMMANDS: &[&str] =
    &["serve", "demo", "replay", "check", "dead-letters", "completions", "version"];

#[test]
fn every_command_explains_itself() {
    let all = run(&["--help"]);
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    for command in COMMANDS {
        assert!(all.stdout.contains(command), "{command} is not in the overview");
        let one = run(&[command, "--help"]);
        assert_eq!(one.code, Some(0), "{command}: {}", one.stderr);
        assert!(one.stdout.contains("Usage: tidewatch"), "{command}: {}", one.stdout);
        assert!(one.stdout.lines().count() > 5, "{command} says too little: {}", one.stdout);
        assert!(one.stderr.is_empty(), "{command}: {}", one.stderr);
    }
    for (command, flags) in [
        ("serve", &["--config", "--data-dir", "--listen"][..]),
        ("demo", &["--users", "--rate", "--seed"]),
        ("replay", &["--map", "--speed", "--raw-order", "--json", "--sessions-out", "--hold"]),
        ("check", &["--config"]),
    ] {
        let help = run(&[command, "--help"]).stdout;
        for flag in flags {
            assert!(help.contains(flag), "{command} --help does not tell of {flag}");
        }
    }
}

#[test]
fn version_names_the_release() {
    for args in [&["version"][..], &["--version"]] {
        let run = run(args);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", run.stdout);
    }
}

#[test]
fn wrong_use_ends_with_code_2() {
    for args in [
        &["surf"][..],
        &["serve", "--no-such-flag"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--config", "/nonexistent/tidewatch.toml"],
        &["replay"],
        &["replay", "--speed", "sideways", "x.ndjson"],
        &["dead-letters", "show", "first"],
        &["demo", "--users", "many"],
    ] {
        let run = run(args);
        assert_eq!(run.code, Some(2), "{args:?}: {}{}", run.stdout, run.stderr);
        assert!(!run.stderr.is_empty(), "{args:?} says what is wrong");
    }
}

#[test]
fn a_file_that_is_not_there_ends_with_code_1() {
    let folder = Folder::default();
    let data = folder.data().display().to_string();
    let run = folder.command(&["replay", "/nonexistent.ndjson", "--data-dir", &data]).run();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("/nonexistent.ndjson"), "{}", run.stderr);
}

#[test]
fn check_accepts_the_documented_config_and_prints_what_is_in_force() {
    let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/config/tidewatch.toml");
    let run = run(&["check", "--config", documented]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let printed = run_check_print(documented);
    for key in ["gap", "allowed_lateness", "shards", "listen", "unique_visitors"] {
        assert!(printed.contains(key), "{key} is not printed: {printed}");
    }
    // What is printed is itself a config that says the same.
    let folder = Folder::default();
    let again = folder.write("printed.toml", &printed);
    assert_eq!(run_check_print(&again), printed);
}

#[test]
fn check_writes_the_documented_config() {
    let documented = include_str!("../config/tidewatch.toml");
    let written = run(&["check", "--defaults"]);
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    assert!(written.stdout == documented, "the committed file is another one");
    assert_eq!(run(&["check", "--defaults", "--print"]).code, Some(2));
}

#[test]
fn every_shell_gets_completions() {
    for (shell, sign) in [
        ("bash", "complete -F _tidewatch"),
        ("zsh", "#compdef tidewatch"),
        ("fish", "complete -c tidewatch"),
        ("elvish", "edit:completion:arg-completer[tidewatch]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let run = run(&["completions", shell]);
        assert_eq!(run.code, Some(0), "{shell}: {}", run.stderr);
        for part in [sign, "dead-letters", "sessions-out"] {
            assert!(run.stdout.contains(part), "{shell}: {part}");
        }
    }
    assert_eq!(run(&["completions", "dos"]).code, Some(2));
}

fn run_check_print(config: &str) -> String {
    let run = run(&["check", "--print", "--config", config]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stdout
}

#[test]
fn settings_come_from_file_environment_and_flags_in_that_order() {
    let folder = Folder::default();
    let config = folder.write("t.toml", "[pipeline]\nshards = 3\n[session]\ngap = \"20m\"\n");
    let check = |listen: &[&str]| {
        let launch = folder.command(&["check", "--print", "--config", &config]).args(listen);
        let run = launch
            .env("TIDEWATCH_PIPELINE__SHARDS", "5")
            .env("TIDEWATCH_WEB__LISTEN", "127.0.0.1:7001")
            .run();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.stdout.parse::<toml::Table>().unwrap()
    };
    let printed = check(&[]);
    assert_eq!(printed["session"]["gap"].as_str(), Some("20m"), "the file over the default");
    assert_eq!(printed["pipeline"]["shards"].as_integer(), Some(5), "the environment over it");
    assert_eq!(printed["web"]["listen"].as_str(), Some("127.0.0.1:7001"));
    let printed = check(&["--listen", "127.0.0.1:7002"]);
    assert_eq!(printed["web"]["listen"].as_str(), Some("127.0.0.1:7002"), "flags over all");
}

#[test]
fn a_replay_reads_standard_input_and_reports_to_people_and_machines() {
    let folder = Folder::default();
    let events = [
        Event::new("a", 1_700_000_000_000, "cart_add", "u"),
        Event::new("b", 1_700_000_060_000, "payment_completed", "u"),
        Event::new("c", 1_700_000_120_000, "cart_add", "v"),
    ];
    let text: String = events.iter().map(|event| event.line() + "\n").collect();
    let file = folder.path("events.ndjson");
    folder.write("events.ndjson", text);
    let replay = |name: &str, extra: &[&str]| {
        let data = folder.path(name).display().to_string();
        let launch = folder.command(&["replay", "-", "--data-dir", &data]).args(extra);
        launch.stdin(&file).run()
    };
    let report = replay("one", &["--json"]).json();
    assert_eq!(report["ledger"]["applied"], 3, "{report}");
    assert_eq!(report["sessions"]["abandoned"], 1, "{report}");
    assert_eq!(report["sessions"]["converted"], 1, "{report}");
    assert_eq!(report["sessions"]["rate"], 0.5, "{report}");
    for key in ["elapsed_s", "events_per_s", "rss_mb", "metrics"] {
        assert!(!report[key].is_null(), "{key} is missing: {report}");
    }
    let human = replay("two", &[]);
    assert_eq!(human.code, Some(0), "{}", human.stderr);
    assert!(human.stdout.contains("abandoned"), "{}", human.stdout);
    assert!(serde_json::from_str::<Value>(&human.stdout).is_err(), "prose by default");
}

/// An event that this configuration refuses and another one takes: the way of a fix.
#[test]
fn dead_letters_are_listed_shown_and_redriven_after_a_fix() {
    let folder = Folder::default();
    let data = folder.data().display().to_string();
    let strict = format!("{HOLD}[events]\nevent_bytes = \"512B\"\ntext_bytes = \"256B\"\n");
    let mut long = Event::new("long", 1_700_000_000_000, "cart_add", "u");
    long.more.insert("note".into(), Value::from("x".repeat(1_000)));
    let (long, broken) = (long.line(), "{\"ts\": 17, \"type\"");
    let mut server = folder.serve(&strict).start();
    let fine = Event::new("fine", 1_700_000_000_000, "page_view", "u").line();
    Poster::new(server.target()).post(&[long.as_str(), broken, &fine]);
    let pipeline = server.wait_settled(3);
    assert_eq!((&pipeline["rejected"], &pipeline["dead_letters"]), (&2.into(), &2.into()));
    let ids: Vec<u64> =
        server.all("v1/dead-letters").iter().map(|item| item["id"].as_u64().unwrap()).collect();
    assert_eq!(server.stop().code(), Some(0));

    let letters = |args: &[&str]| folder.command(&["dead-letters"]).args(args).run();
    let config = folder.write("wide.toml", HOLD);
    let common = ["--config", &config, "--data-dir", &data];
    let list = letters(&[&["list"], &common[..]].concat());
    assert_eq!(list.code, Some(0), "{}", list.stderr);
    for id in &ids {
        assert!(list.stdout.contains(&id.to_string()), "{}", list.stdout);
    }
    let show = letters(&[&["show", &ids[1].to_string()], &common[..]].concat());
    assert_eq!(show.code, Some(0), "{}", show.stderr);
    assert!(show.stdout.contains(broken), "the bytes as they came: {}", show.stdout);

    let redrive = letters(&[&["redrive", "--all"], &common[..]].concat());
    assert!(redrive.stdout.contains('1'), "one of two decodes now: {}", redrive.stdout);
    let server = folder.serve(HOLD).start();
    let pipeline = server.wait_settled(4);
    assert_eq!(pipeline["applied"], 2, "the mended one counts: {pipeline}");
    let redriven = |server: &Server| {
        let letters = server.all("v1/dead-letters");
        letters.iter().filter(|letter| !letter["redriven"].is_null()).count()
    };
    assert_eq!(redriven(&server), 1);

    // Over HTTP the same: the broken one is refused and named.
    let answer = server
        .http
        .post_json(&server.at("v1/dead-letters/redrive"), &serde_json::json!({ "ids": [ids[1]] }));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["redriven"], 0);
    assert_eq!(answer.json()["refused"][0]["id"], ids[1]);
    until(5, "nothing was added", || (server.pipeline()["received"] == 4).then_some(()));
}

/// The lines of a command's help at a width.
fn help(args: &[&str], width: &str) -> Vec<String> {
    let run = Folder::default().command(args).arg("--help").env("COLUMNS", width).run();
    assert_eq!(run.code, Some(0), "{args:?}: {}", run.stderr);
    run.stdout.lines().map(String::from).collect()
}

/// Examples, and nothing else, may be longer than the terminal: they are pasted.
#[test]
fn examples_are_whole_at_any_width() {
    for args in [&[][..], &["replay"], &["publish"], &["dead-letters"], &["prove"]] {
        let examples = |width: &str| -> Vec<String> {
            let lines = help(args, width);
            let from = lines.iter().position(|line| line == "Examples:").expect("examples");
            let lines = lines[from + 1..].iter().take_while(|line| !line.is_empty());
            lines.cloned().collect()
        };
        let wide = examples("200");
        assert!(wide.len() >= 3, "{args:?}: {wide:?}");
        for width in ["30", "60", "80", "100"] {
            assert_eq!(examples(width), wide, "{args:?} at {width}");
        }
        for line in help(args, "60").iter().filter(|line| !wide.contains(line)) {
            assert!(line.chars().count() <= 60, "{args:?}: {line:?}");
        }
    }
    let lines = help(&[], "40");
    let curl = lines.iter().find(|line| line.trim().starts_with("curl ")).expect("a curl");
    // A shell takes it apart: the last word is what is sent.
    let script = format!("curl() {{ for word; do :; done; printf %s \"$word\"; }}\n{curl}");
    let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let event: Value = serde_json::from_slice(&said.stdout).expect("one JSON object");
    assert_eq!((&event["type"], &event["amount"]), (&"cart_add".into(), &12.5.into()));
    let server = Folder::default().serve("").start();
    let answer = server.http.post_json(&server.at("v1/events"), &event);
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[test]
fn a_level_that_is_none_is_refused_before_anything_is_done() {
    for args in [
        &["serve", "--log", "loud"][..],
        &["check", "--log", "loud"],
        &["replay", "-", "--log", "info,tidewatch::store=loud"],
        &["dead-letters", "list", "--log", "loud"],
    ] {
        let folder = Folder::default();
        let run = folder.command(args).run();
        assert_eq!(run.code, Some(2), "{args:?}: {run:?}");
        for word in ["--log", "loud", "off, error, warn, info, debug, trace"] {
            assert!(run.stderr.contains(word), "{args:?}: no {word:?} in {}", run.stderr);
        }
        assert!(!folder.path("tidewatch-data").exists(), "{args:?} made a folder");
    }
    let run = Folder::default().command(&["check"]).env("TIDEWATCH_LOG", "noisy").run();
    assert_eq!(run.code, Some(2), "{run:?}");
}

#[test]
fn a_port_in_use_names_the_flag_and_makes_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    for command in ["serve", "demo"] {
        let folder = Folder::default();
        let run = folder.command(&[command, "--listen", &listen]).run();
        assert_eq!(run.code, Some(2), "{run:?}");
        for word in [listen.as_str(), "--listen", "another program"] {
            assert!(run.stderr.contains(word), "no {word:?} in {}", run.stderr);
        }
        assert!(!folder.path("tidewatch-data").exists(), "{command} made a folder");
    }
}

#[test]
fn dead_letters_find_the_running_server_or_say_where_they_looked() {
    let folder = Folder::default();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = folder.write("away.toml", format!("[web]\nlisten = \"{unused}\"\n"));
    for action in [&["list"][..], &["show", "1"], &["redrive", "--all"]] {
        let args = [&["dead-letters"], action, &["--config", &config]].concat();
        let run = folder.command(&args).run();
        assert_eq!(run.code, Some(1), "{run:?}");
        let looked = folder.path("tidewatch-data").display().to_string();
        for word in [looked.as_str(), &unused.to_string(), "--data-dir", "--listen"] {
            assert!(run.stderr.contains(word), "no {word:?} in {}", run.stderr);
        }
        assert!(run.stdout.is_empty() && !folder.path("tidewatch-data").exists(), "{run:?}");
    }
    // A server on any address is found by its folder, by its address, and where the
    // configuration says that it listens.
    let mut server = folder.serve(HOLD).start();
    Poster::new(server.target()).post(&["no event"]);
    server.wait_settled(1);
    let (data, address) = (folder.data().display().to_string(), server.address());
    let config = folder.write("here.toml", format!("[web]\nlisten = \"{address}\"\n"));
    for args in [["--data-dir", &data], ["--listen", &address], ["--config", &config]] {
        let run = folder.command(&["dead-letters", "list", "--json"]).args(&args).run();
        assert_eq!(run.json()["items"][0]["raw"], "no event", "{args:?}");
    }
    assert!(!folder.path("tidewatch-data").exists());
    // What cannot be understood is not redriven, and the code says so.
    let redrive =
        || folder.command(&["dead-letters", "redrive", "--all", "--data-dir", &data]).run();
    let run = redrive();
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.contains("0 redriven, 1 refused"), "{run:?}");
    assert!(run.stdout.contains("not JSON"), "it says why: {run:?}");
    // A server that cannot be asked owns its folder all the same.
    std::fs::remove_file(folder.data().join("endpoint")).unwrap();
    let run = redrive();
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("--listen"), "{run:?}");
    let list = folder.command(&["dead-letters", "list", "--data-dir", &data]).run();
    assert_eq!(list.code, Some(0), "reading needs no owner: {list:?}");
    server.stop();
}

#[test]
fn who_stops_listening_is_no_panic() {
    let program = env!("CARGO_BIN_EXE_tidewatch");
    for args in ["--help", "version", "check --print", "prove --help", "publish --help"] {
        let script = format!("exec 3>&1; {program} {args} 2>&3 | true");
        let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(!text.contains("panicked"), "{args}: {text}");
    }
    // `serve` goes on without its first line being read.
    let folder = Folder::default();
    let data = folder.data().display().to_string();
    let script = format!("{program} serve --listen 127.0.0.1:0 --data-dir {data} | true & wait");
    let mut shell = std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let url =
        until(30, "it serves", || std::fs::read_to_string(folder.data().join("endpoint")).ok());
    let http = support::Http::default();
    assert_eq!(http.get(&format!("{}livez", url.trim())).status, 200);
    let pid = std::fs::read_to_string(folder.data().join("lock")).unwrap();
    std::process::Command::new("kill").arg(pid.trim()).status().unwrap();
    shell.wait().unwrap();
}

/// A configuration of counts by name, each of a type of events, and what comes with it.
fn counting(session: &str, metrics: &[(&str, &str)], rules: &str) -> String {
    let metrics: String = metrics
        .iter()
        .map(|(name, kind)| {
            format!(
                "[[metric]]\nname = \"{name}\"\ntitle = \"T\"\naggregate = \"count\"\n\
                 where = {{ type = \"{kind}\" }}\nwindow = {{ tumbling = \"10s\" }}\n\
                 keep = \"15m\"\n"
            )
        })
        .collect();
    format!("{HOLD}[session]\n{session}\n{metrics}{rules}")
}

fn rule(k: u32) -> String {
    format!(
        "[[rule]]\nname = \"spike\"\ntitle = \"S\"\nmetric = \"orders\"\nk = {k}\n\
         over = \"10m\"\nsamples_min = 30\nside = \"above\"\nseverity = \"info\"\n"
    )
}

/// Names and bytes of the files of a folder.
fn files(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder.data()).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn check_says_what_a_start_would_do_to_a_data_folder() {
    let folder = Folder::default();
    let data = folder.data().display().to_string();
    let check = |config: &str| {
        let config = folder.write("edited.toml", config);
        let run = folder.command(&["check", "--config", &config, "--data-dir", &data]).run();
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stdout.contains("The configuration is sound"), "{run:?}");
        run.stdout
    };
    let all = [("orders", "order"), ("visits", "visit"), ("gone", "leave"), ("old", "refund")];
    let kept = counting("gap = \"30m\"", &all, &rule(3));
    assert!(check(&kept).contains("There is no folder"), "{}", check(&kept));
    assert!(!folder.data().exists(), "nothing is made");
    std::fs::create_dir(folder.data()).unwrap();
    assert!(check(&kept).contains("Nothing is kept"), "{}", check(&kept));
    assert_eq!(files(&folder).len(), 0, "nothing is made");

    let mut server = folder.serve(&kept).start();
    let start = 1_700_000_000_000;
    let event = |n: i64, kind: &str| {
        Event::new(format!("e{n}"), start + n * 20_000, kind, format!("u{}", n % 3)).line()
    };
    let events: Vec<String> =
        (0..9).map(|n| event(n, ["order", "visit", "leave"][n as usize % 3])).collect();
    Poster::new(server.target()).post(&events);
    server.wait_settled(9);
    // The last commit may be on its way.
    let of = |says: &str| {
        let lines = says.lines().filter_map(|line| line.strip_prefix("  "));
        lines.map(String::from).collect::<Vec<_>>()
    };
    let same = [
        "metric orders keeps its history",
        "metric visits keeps its history",
        "metric gone keeps its history",
        "metric old keeps its history",
        "rule spike keeps its history",
    ];
    until(10, "all of it is kept", || (of(&check(&kept)) == same).then_some(()));
    // What is said about a metric, and where it stands, is not what it is.
    let said = counting("gap = \"30m\"", &all, &rule(3)).replace("\"T\"", "\"Title\"");
    assert!(check(&said).contains("No history would be lost."), "{}", check(&said));
    assert_eq!(of(&check(&said)), same);

    let edited = counting(
        "gap = \"20m\"\ngoal = [\"paid\"]",
        &[("orders", "sale"), ("visits", "visit"), ("refunds", "refund"), ("more", "x")],
        &rule(4),
    );
    let ahead = [
        "metric visits keeps its history",
        "metric refunds is what is kept as old: it keeps that history under its name",
        "metric gone is kept and not declared: its history would be dropped",
        "metric orders: where was { \"type\" = \"order\" }, is { \"type\" = \"sale\" }: the history that is kept would be dropped, and begin anew",
        "rule spike: k was 3, is 4; k_clear was 3, is 4; where of metric orders was { \"type\" = \
         \"order\" }, is { \"type\" = \"sale\" }: the history that is kept would be dropped, and begin anew",
        "metric more is new: it begins with the next events",
        "session.gap is \"20m\", it was \"30m\": sessions that are open (3) end by it, too, so \
         long after their last event",
        "session.goal is [\"paid\"], it was [\"payment_completed\"]: sessions that are open (3) \
         keep what they have counted; it holds for their next events",
    ];
    let would = check(&edited);
    assert_eq!(of(&would), ahead, "while a server runs");
    assert!(would.contains("would lose the history of 3."), "{would}");
    server.kill_9();
    let before: Vec<String> = files(&folder).into_keys().collect();
    assert_eq!(of(&check(&edited)), ahead, "after a crash");
    assert_eq!(files(&folder).into_keys().collect::<Vec<_>>(), before, "nothing is made");
    let mut server = folder.serve(&kept).start();
    assert_eq!(server.stop().code(), Some(0));
    let before = files(&folder);
    assert_eq!(of(&check(&edited)), ahead, "of a folder at rest");
    assert_eq!(files(&folder), before, "nothing is made or written");

    // The start does what was said, and says it; the next one has nothing to say.
    let mut server = folder.serve(&edited).start();
    let says = until(10, "it is said", || {
        let conditions = server.pipeline()["conditions"].as_array()?.clone();
        let found = conditions.into_iter().find(|one| one["name"] == "history_changed")?;
        found["says"].as_str().map(String::from)
    });
    for part in [
        "metric refunds was called old and keeps its history",
        "metric gone is declared no more: its history is dropped",
        "metric orders: where was { \"type\" = \"order\" }, is { \"type\" = \"sale\" }: its history is dropped and begins anew",
        "session.gap is \"20m\", it was \"30m\": sessions that are open (3) end by it, too",
        "session.goal is [\"paid\"]",
    ] {
        assert!(says.contains(part), "no {part:?} in {says}");
        assert!(
            server.stderr().contains(&part.replace('"', "\\\"")) || server.stderr().contains(part)
        );
    }
    Poster::new(server.target()).post(&[event(10, "visit")]);
    server.wait_settled(10);
    until(10, "it is part of a commit", || {
        check(&edited).contains("No history would be lost.").then_some(())
    });
    assert!(!check(&edited).contains("session."), "{}", check(&edited));
    server.stop();
}

#[test]
fn a_page_that_is_held_ends_with_the_code_of_the_replay() {
    let folder = Folder::default();
    let file = folder.write("events.ndjson", "{\"id\":\"a\"}\n");
    let good = Event::new("a", 1_700_000_000_000, "x", "u").line();
    let mixed = folder.write("mixed.ndjson", format!("{good}\n{{\"id\":\"a\"}}\n"));
    for (file, strict, code) in [(&file, false, 6), (&mixed, true, 6), (&mixed, false, 0)] {
        let args = ["replay", file, "--hold", "--listen", "127.0.0.1:0"];
        let strict = if strict { &["--strict"][..] } else { &[] };
        let mut server = folder.command(&args).args(strict).listening();
        // The report is told once it is over; the page stays.
        until(20, "the report", || server.stdout().contains("rejected").then_some(()));
        assert!(server.running());
        assert_eq!(server.stop().code(), Some(code), "{file} {strict:?}: {}", server.stderr());
    }
}

#[test]
fn check_refuses_a_state_that_no_start_would_take() {
    let folder = Folder::default();
    let data = folder.data().display().to_string();
    let check = || folder.command(&["check", "--data-dir", &data]).run();
    let mut server = folder.serve(HOLD).start();
    Poster::new(server.target()).post(&[Event::new("a", 1_700_000_000_000, "x", "u").line()]);
    server.wait_settled(1);
    server.stop();
    let state = folder.data().join("state.db");
    let whole = std::fs::read(&state).unwrap();
    // Another format: its number stands in the file as text with a checksum.
    let change = rusqlite::Connection::open(&state).unwrap();
    let checksum =
        xxhash_rust::xxh3::xxh3_64_with_seed(b"2", xxhash_rust::xxh3::xxh3_64(b"format")) as i64;
    let renumber = "UPDATE meta SET value = '2', checksum = ?1 WHERE key = 'format'";
    assert_eq!(change.execute(renumber, [checksum]).unwrap(), 1);
    change.close().unwrap();
    let run = check();
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(run.stderr.contains("state.db has format 2, this version reads"), "{run:?}");
    assert!(run.stdout.is_empty(), "{run:?}");
    for broken in [whole[..whole.len() / 2 + 7].to_vec(), b"no database".repeat(4_000), vec![]] {
        std::fs::write(&state, &broken).unwrap();
        let run = check();
        assert_eq!(run.code, Some(4), "{run:?}");
        assert!(run.stderr.contains("state.db"), "{run:?}");
        assert_eq!(std::fs::read(&state).unwrap(), broken, "it stays as it is");
    }
    std::fs::write(&state, &whole).unwrap();
    assert_eq!(check().code, Some(0), "{:?}", check());
}
