//! Events per second from a file, through real session actors with commits on, beside a
//! bare loop over the same file; and the cost of a restart with many open sessions.
//!
//!     cargo bench --bench speed -- --events 1000000 --users 100000
//!     cargo bench --bench speed -- --metrics 1,50
//!     cargo bench --bench speed -- --restart --users 1000000
//!
//! What it does: takes the generator, the bare loop and the exact oracle from the folder
//! `--tools` (default `../shared/bench`), builds them once under `target/bench-tools`,
//! writes the events once under `target/bench-data`, and then runs, in turns, `tidewatch
//! replay` with four queries and the bare loop with the same four. Prints a markdown table
//! and compares every figure. It measures whole processes from outside (wall clock, seconds of
//! user and system, peak of resident memory): start, reading, the end's closing of everything and
//! the last commit are inside. `--metrics` runs the same file with so many counts beside the four
//! queries, in turns: two of them concern each event, the others none, by its type.

mod shared;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::Value;

use shared::{FOUR_QUERIES, median, number, processor, target};
use support::{Folder, Poster, Stopwatch, pause};

/// Distance between two looks at a process's memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Until memory that was freed after the load has gone back to the system (the binary keeps it
/// for 10 s).
const SETTLE: Duration = Duration::from_secs(30);

/// Bytes of one request when sessions are opened over HTTP.
const BODY_BYTES: usize = 4 << 20;

struct Options {
    events: u64,
    users: u64,
    span_s: u64,
    runs: usize,
    shards: String,
    parse: String,
    tools: PathBuf,
    restart: bool,
    metrics: Vec<u64>,
}

fn main() {
    let options = options();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load.trim());
    if options.restart {
        restart(&options);
    } else if options.metrics.is_empty() {
        speed(&options);
    } else {
        metrics(&options);
    }
}

fn options() -> Options {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut options = Options {
        events: 1_000_000,
        users: 100_000,
        span_s: 14_400,
        runs: 5,
        shards: "2".into(),
        parse: "serde".into(),
        tools: root.join("../shared/bench"),
        restart: false,
        metrics: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--events" => options.events = number(&value()),
            "--users" => options.users = number(&value()),
            "--span-s" => options.span_s = number(&value()),
            "--runs" => options.runs = number(&value()) as usize,
            "--shards" => options.shards = value(),
            "--parse" => options.parse = value(),
            "--tools" => options.tools = value().into(),
            "--restart" => options.restart = true,
            "--metrics" => options.metrics = value().split(',').map(number).collect(),
            // `cargo bench` adds it for harnesses that know it.
            "--bench" => {}
            other => panic!("unknown option {other}; the head of benches/speed.rs names them"),
        }
    }
    options
}

/// What one process did.
struct Measured {
    seconds: f64,
    /// Of all its threads, user and system.
    processor_s: f64,
    peak_bytes: u64,
    report: Value,
}

fn speed(options: &Options) {
    let file = events(options, options.span_s);
    let limit = build(options, "limit");
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for run in 0..options.runs {
        println!("run {} of {}", run + 1, options.runs);
        ours.push(replay(&file, options, FOUR_QUERIES));
        bare.push(bare_loop(&limit, &file, options));
    }
    println!(
        "\n{} events, {} users, four queries, {} shards, {} runs in turns\n",
        options.events, options.users, options.shards, options.runs
    );
    let floor = format!("bare loop ({}, 2 threads)", options.parse);
    table(options.events, &[(floor, bare.as_slice()), ("tidewatch replay".into(), &ours)]);
    compare(&ours[0].report, &bare[0].report, "the bare loop");
    match oracle(&file, options) {
        Some(truth) => compare(&ours[0].report, &truth, "the oracle"),
        None => println!("the oracle was not asked: python3 cannot import duckdb"),
    }
}

/// Numbers of metrics, each in turn with the others.
fn metrics(options: &Options) {
    let file = events(options, options.span_s);
    let mut all: Vec<(String, Vec<Measured>)> =
        options.metrics.iter().map(|n| (format!("and {n} counts"), Vec::new())).collect();
    for run in 0..options.runs {
        println!("run {} of {}", run + 1, options.runs);
        for ((_, runs), count) in all.iter_mut().zip(&options.metrics) {
            runs.push(replay(&file, options, &counts(*count)));
        }
    }
    println!(
        "\n{} events, {} users, {} runs in turns\n",
        options.events, options.users, options.runs
    );
    let rows: Vec<_> = all.iter().map(|(name, runs)| (name.clone(), runs.as_slice())).collect();
    table(options.events, &rows);
}

/// The four queries and so many counts, of which an event concerns two at most.
fn counts(count: u64) -> String {
    let metric = |n: u64| {
        let of = if n < 2 { String::new() } else { format!("where = {{ type = \"none_{n}\" }}\n") };
        format!(
            "[[metric]]\nname = \"count_{n}\"\naggregate = \"count\"\n{of}window = {{ tumbling = \"10s\" }}\n"
        )
    };
    (0..count).fold(FOUR_QUERIES.to_owned(), |text, n| text + "\n" + &metric(n))
}

/// Prints what each did, beside the first.
fn table(events: u64, rows: &[(String, &[Measured])]) {
    let processor = |runs: &[Measured]| ascending(runs, |run| run.processor_s);
    let first = median(&processor(rows[0].1));
    println!(
        "| what | processor s a million, median (min) | of the first line | wall s, median (min) \
         | M events/s | peak MiB |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, runs) in rows {
        let millions = events as f64 / 1e6;
        let (cost, wall) = (processor(runs), ascending(runs, |run| run.seconds));
        let peak = runs.iter().map(|run| run.peak_bytes).max().unwrap_or(0) >> 20;
        println!(
            "| {name} | {:.2} ({:.2}) | {:.2} | {:.2} ({:.2}) | {:.2} | {peak} |",
            median(&cost) / millions,
            cost[0] / millions,
            median(&cost) / first,
            median(&wall),
            wall[0],
            millions / median(&wall),
        );
    }
    println!();
}

fn replay(file: &Path, options: &Options, queries: &str) -> Measured {
    let folder = Folder::default();
    let config = folder.write("bench.toml", queries);
    let out = folder.path("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
    command
        .args(["replay", "--json", "--raw-order", "--shards", &options.shards, "--config", &config])
        .arg("--data-dir")
        .arg(folder.data())
        .arg(file);
    measure(command, &out)
}

fn bare_loop(limit: &Path, file: &Path, options: &Options) -> Measured {
    let folder = Folder::default();
    let mut command = Command::new(limit);
    command
        .arg(file)
        .args(["--parse", &options.parse, "--q", "1234", "--threads", "2", "--out"])
        .arg(folder.path("rows.csv"));
    measure(command, &folder.path("report.json"))
}

/// Runs a command that prints one JSON value, and watches it from outside.
fn measure(mut command: Command, out: &Path) -> Measured {
    command.stdin(Stdio::null()).stdout(fs::File::create(out).unwrap()).stderr(Stdio::null());
    let watch = Stopwatch::start();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_bytes = 0;
    let process = WaitId::Pid(Pid::from_child(&child));
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(process.clone(), ended).unwrap().is_none() {
        let text = fs::read_to_string(&status_file).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak_bytes = peak_bytes.max(kib.unwrap_or(0) * 1024);
        pause(LOOK_EVERY);
    }
    let (seconds, processor_s) = (watch.elapsed().as_secs_f64(), processor(child.id()));
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?} ended with {status}");
    let text = fs::read_to_string(out).unwrap();
    let report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    Measured { seconds, processor_s, peak_bytes, report }
}

/// A figure of the runs, least first.
fn ascending(runs: &[Measured], figure: impl Fn(&Measured) -> f64) -> Vec<f64> {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures
}

/// Compares our report with figures in the form that the bare loop and the oracle share.
fn compare(ours: &Value, theirs: &Value, whose: &str) {
    let metric = |name: &str, field: &str| ours["metrics"][name][field].as_f64();
    let session = |field: &str| ours["sessions"][field].as_f64();
    let mut all_equal = true;
    for (what, ours, theirs) in [
        ("events applied", ours["ledger"]["applied"].as_f64(), &theirs["q1"]["events"]),
        ("sessions", session("closed"), &theirs["q1"]["sessions"]),
        ("sessions with an entry", session("with_entry"), &theirs["q1"]["with_cart"]),
        ("sessions abandoned", session("abandoned"), &theirs["q1"]["abandoned"]),
        ("distinct: windows", metric("unique_visitors", "windows"), &theirs["q2"]["windows"]),
        ("distinct: sum", metric("unique_visitors", "sum"), &theirs["q2"]["sum"]),
        ("distinct: greatest", metric("unique_visitors", "max"), &theirs["q2"]["max"]),
        ("responses: sum", metric("responses", "sum"), &theirs["q3"]["events"]),
        ("amount: windows", metric("amount_mean", "windows"), &theirs["q4"]["windows"]),
        ("amount: sum of means", metric("amount_mean", "sum"), &theirs["q4"]["sum_mean"]),
        ("amount: sum of deviations", metric("amount_deviation", "sum"), &theirs["q4"]["sum_sd"]),
    ] {
        let (ours, theirs) = (ours.unwrap_or(f64::NAN), theirs.as_f64().unwrap_or(f64::NAN));
        // Counts are exact; means and deviations are sums of rounded numbers.
        let equal = (ours - theirs).abs() <= theirs.abs() * 1e-6 * f64::from(theirs.fract() != 0.0);
        if !equal {
            println!("{what}: {ours}, {whose} has {theirs}");
        }
        all_equal &= equal;
    }
    println!("figures equal to {whose}: {}", if all_equal { "all" } else { "NOT ALL" });
}

fn restart(options: &Options) {
    // Within less than the gap, so that every session is open in the end.
    let file = events(options, 1_500);
    let folder = Folder::default();
    let config = "[time]\nidle = \"hold\"\n[store]\nsnapshot_bytes_min = \"16MiB\"\n";
    let mut server = folder.serve(config).start();
    let empty = server.rss();
    let mut poster = Poster::new(server.target());
    let text = fs::read(&file).unwrap();
    let (mut rest, watch) = (&text[..], Stopwatch::start());
    while !rest.is_empty() {
        let end = rest[..rest.len().min(BODY_BYTES)].iter().rposition(|byte| *byte == b'\n');
        let (body, after) = rest.split_at(end.expect("lines are short") + 1);
        assert_eq!(poster.post(&[&body[..body.len() - 1]]).status, 202);
        rest = after;
    }
    let pipeline = server.wait_settled(options.events);
    let open = pipeline["open_sessions"].as_u64().expect("a count");
    let each = (server.rss() - empty) / open.max(1);
    println!(
        "posted {} events over HTTP in {:.1} s",
        options.events,
        watch.elapsed().as_secs_f64()
    );
    println!("{open} open sessions, {each} bytes of resident memory each right after the load");
    pause(SETTLE);
    let each = (server.rss() - empty) / open.max(1);
    println!("{each} bytes each {} s later", SETTLE.as_secs());
    let mut starts = Vec::new();
    for _ in 0..options.runs {
        server.kill_9();
        server = folder.serve(config).start();
        starts.push(server.age().as_secs_f64());
        assert_eq!(server.pipeline()["open_sessions"], open, "all of them are there again");
    }
    starts.sort_by(f64::total_cmp);
    let (least, most) = (starts[0], starts[starts.len() - 1]);
    println!("ready after kill -9: median {:.2} s, {least:.2} to {most:.2} s", median(&starts));
}

/// The file of events, written once.
fn events(options: &Options, span_s: u64) -> PathBuf {
    let name = format!("{}-{}-{span_s}", options.events, options.users);
    let folder = target().join("bench-data").join(name);
    let file = folder.join("events.ndjson");
    if !file.exists() {
        let generator = build(options, "gen").with_file_name("evgen");
        let arguments = [
            ("--n", options.events),
            ("--users", options.users),
            ("--span-s", span_s),
            ("--parts", 1),
        ];
        let mut command = Command::new(generator);
        for (name, value) in arguments {
            command.args([name, &value.to_string()]);
        }
        succeed(command.arg("--dir").arg(&folder));
    }
    file
}

/// Builds one of the tools outside its own folder, which may be read-only.
fn build(options: &Options, name: &str) -> PathBuf {
    let folder = target().join("bench-tools");
    let (from, to) = (options.tools.join(name), folder.join(name));
    fs::create_dir_all(to.join("src")).unwrap();
    for file in ["Cargo.toml", "src/main.rs"] {
        fs::copy(from.join(file), to.join(file))
            .unwrap_or_else(|error| panic!("{}: {error}; see --tools", from.join(file).display()));
    }
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--quiet", "--manifest-path"]);
    succeed(command.arg(to.join("Cargo.toml")).arg("--target-dir").arg(folder.join("target")));
    folder.join("target/release").join(name)
}

fn oracle(file: &Path, options: &Options) -> Option<Value> {
    let quiet =
        |command: &mut Command| command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok();
    let there = quiet(Command::new("python3").args(["-c", "import duckdb"]))?;
    if !there.status.success() {
        return None;
    }
    let script = options.tools.join("oracle/oracle.py");
    let output = quiet(Command::new("python3").arg(script).arg(file))?;
    serde_json::from_slice(&output.stdout).ok()
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} ended with {status}");
}
