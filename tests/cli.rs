//! Shows that the command line helps, refuses with the right code, and that dead letters
//! can be listed, looked at and sent through again after a fix.
//!
//! How: runs the real binary and reads what it prints.

mod support;

use serde_json::Value;

use support::events::Event;
use support::{Folder, HOLD, Poster, Server, run, until};

const COMMANDS: &[&str] = &["serve", "demo", "replay", "check", "dead-letters", "version"];

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
