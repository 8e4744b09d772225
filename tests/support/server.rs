//! The real binary as a child process, in a folder of its own, ended by its own id.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::events::Random;
use super::http::{Http, Target};
use super::wait::{Stopwatch, pause, until};

/// Longest start, recovery included.
const START_MAX_S: u64 = 60;

/// Longest time until everything that was accepted is committed.
const SETTLE_MAX_S: u64 = 90;

/// Distance between two looks at the pipeline's topic.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Longest drain.
const STOP_MAX_S: u64 = 60;

/// How much of a child's log is shown when a test fails.
const SHOWN_BYTES: usize = 16_384;

/// A private folder: the data, the config, the output of each run.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
    runs: AtomicUsize,
}

impl Default for Folder {
    fn default() -> Self {
        Folder { dir: TempDir::new().expect("a temporary folder"), runs: AtomicUsize::new(0) }
    }
}

impl Folder {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a file and returns its path as text.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// A command of the binary with nothing of our surroundings: no settings from the
    /// environment, outputs into files of this folder.
    pub fn command(&self, args: &[&str]) -> Launch {
        self.program(Path::new(env!("CARGO_BIN_EXE_tidewatch")), args)
    }

    /// The same for another program, an example.
    pub fn program(&self, program: &Path, args: &[&str]) -> Launch {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("TIDEWATCH_") || text == "FAILPOINTS" || text == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        let (out, err) = (self.path(&format!("{number}.out")), self.path(&format!("{number}.err")));
        command
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap());
        Launch { command, out, err }
    }

    /// `serve` on a free port, with this config.
    pub fn serve(&self, config: &str) -> Launch {
        self.serve_at("127.0.0.1:0", config)
    }

    /// `serve` at an address, with this config.
    pub fn serve_at(&self, listen: &str, config: &str) -> Launch {
        let config = self.write("tidewatch.toml", config);
        let data = self.data().display().to_string();
        self.command(&["serve", "--config", &config, "--data-dir", &data, "--listen", listen])
    }
}

/// A command that is not started yet.
#[derive(Debug)]
pub struct Launch {
    command: Command,
    out: PathBuf,
    err: PathBuf,
}

impl Launch {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, args: &[impl AsRef<str>]) -> Self {
        self.command.args(args.iter().map(AsRef::as_ref));
        self
    }

    /// The child's input.
    pub fn stdin(mut self, file: &Path) -> Self {
        self.command.stdin(File::open(file).unwrap());
        self
    }

    /// Starts it without waiting for anything.
    pub fn spawn(mut self) -> Server {
        let child = self.command.spawn().expect("the binary starts");
        Server {
            child,
            out: self.out,
            err: self.err,
            url: String::new(),
            http: Http::default(),
            ended: None,
            started: Stopwatch::start(),
        }
    }

    /// Starts it and waits until it has printed its address.
    pub fn listening(self) -> Server {
        let mut server = self.spawn();
        server.wait_listening();
        server
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Server {
        let mut server = self.listening();
        server.wait_ready();
        server
    }

    /// Runs it to its end.
    pub fn run(self) -> Run {
        let mut server = self.spawn();
        let status = server.wait_exit(STOP_MAX_S * 5);
        Run {
            code: status.code(),
            stdout: server.stdout(),
            stderr: server.stderr(),
            elapsed: server.started.elapsed(),
        }
    }
}

/// A process that ended.
#[derive(Clone, Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
}

impl Run {
    /// Its standard output as JSON.
    ///
    /// Panics when it failed.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {}", self.stdout))
    }
}

/// Runs the binary in a folder of its own to its end.
pub fn run(args: &[&str]) -> Run {
    Folder::default().command(args).run()
}

/// A running process. Killed by its own id when dropped; when the test failed its log is
/// shown.
#[derive(Debug)]
pub struct Server {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    /// `http://127.0.0.1:PORT/`, once it listens.
    pub url: String,
    pub http: Http,
    ended: Option<ExitStatus>,
    started: Stopwatch,
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).unwrap()).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).unwrap()).into_owned()
    }

    /// `http://127.0.0.1:PORT/path`.
    pub fn at(&self, path: &str) -> String {
        format!("{}{}", self.url, path.trim_start_matches('/'))
    }

    pub fn target(&self) -> Target {
        Target::new(&self.url)
    }

    /// The host and port it listens at.
    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").trim_end_matches('/').into()
    }

    pub fn get(&self, path: &str) -> Value {
        self.http.json(&self.at(path))
    }

    /// The state of one topic, as `GET /v1/board` has it.
    pub fn topic(&self, name: &str) -> Value {
        self.get("v1/board")["topics"][name]["d"].clone()
    }

    /// The pipeline topic.
    pub fn pipeline(&self) -> Value {
        self.topic("pipeline")
    }

    /// Time since it was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn wait_listening(&mut self) {
        until(START_MAX_S, "the address on stdout", || {
            self.assert_running();
            self.listens().then_some(())
        });
    }

    /// Takes the address, if it has printed it.
    pub fn listens(&mut self) -> bool {
        // With --json standard output is for the report.
        let text = self.stdout() + &self.stderr();
        let line = text.lines().find_map(|line| line.strip_prefix("dashboard: "));
        if let Some(line) = line.filter(|line| text.contains(&format!("{line}\n"))) {
            self.url = line.trim().to_string();
        }
        !self.url.is_empty()
    }

    pub fn wait_ready(&mut self) {
        until(START_MAX_S, "readyz says 200", || {
            self.assert_running();
            self.http.try_get(&self.at("readyz")).ok().filter(|answer| answer.status == 200)
        });
    }

    /// Waits until all that was received has an outcome and is committed; returns the
    /// pipeline topic of then.
    pub fn wait_settled(&self, received: u64) -> Value {
        self.wait_pipeline(&format!("{received} events received and none in flight"), |pipeline| {
            pipeline["received"].as_u64() >= Some(received)
                && pipeline["in_flight"] == 0
                && pipeline["credits_free"] == pipeline["credits_total"]
                && pipeline["alerts_committed"] == pipeline["alerts_delivered"]
        })
    }

    /// Waits until the pipeline topic meets a condition.
    ///
    /// Panics with the topic as it was last.
    pub fn wait_pipeline(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let watch = Stopwatch::start();
        let mut last = Value::Null;
        while watch.elapsed().as_secs() < SETTLE_MAX_S {
            last = self.pipeline();
            if condition(&last) {
                return last;
            }
            pause(LOOK_EVERY);
        }
        panic!("not within {SETTLE_MAX_S} s: {what}: {last}");
    }

    /// All items of a paged list such as `v1/alerts`.
    pub fn all(&self, path: &str) -> Vec<Value> {
        const PAGE: usize = 500;
        let (mut items, mut after): (Vec<Value>, u64) = (Vec::new(), 0);
        loop {
            let page = self.get(&format!("{path}?after={after}&limit={PAGE}"));
            let found = page["items"].as_array().unwrap();
            let Some(last) = found.last() else { return items };
            let last = last["n"].as_u64().or_else(|| last["id"].as_u64()).expect("a position");
            assert!(last > after, "{path} does not move past {after}");
            after = last;
            items.extend(found.iter().cloned());
        }
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// kill -9, and waits until it is gone.
    pub fn kill_9(&mut self) {
        self.child.kill().expect("our own child can be killed");
        let status = self.wait_exit(STOP_MAX_S);
        assert_eq!(status.signal(), Some(9), "it ended by itself: {}", self.stderr());
    }

    /// Sends a signal by name: `TERM`, `INT`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// SIGTERM, and waits for the drain.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit(STOP_MAX_S)
    }

    pub fn wait_exit(&mut self, seconds: u64) -> ExitStatus {
        let status = until(seconds, "the process ends", || self.child.try_wait().unwrap());
        self.ended = Some(status);
        status
    }

    pub fn running(&mut self) -> bool {
        self.ended.is_none() && self.child.try_wait().unwrap().is_none()
    }

    fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            self.ended = Some(status);
            panic!("the process ended early: {status}");
        }
    }
}

impl Folder {
    /// Posts events in parts to servers that are killed with -9 one after another, each with
    /// another number of shards and another size of commits: with everything committed, or with
    /// some of it still to be read again.
    pub fn post_over_kills<E>(
        &self,
        random: &mut Random,
        config: &str,
        events: &[E],
        post: impl Fn(&Server, &[E]),
    ) {
        let mut done = 0;
        for (life, part) in events.chunks(100).enumerate() {
            let config = format!(
                "{config}[pipeline]\nshards = {}\ncommit_events = {}\n",
                1 + random.below(8),
                1 + random.below(50)
            );
            let mut server = self.serve(&config).start();
            post(&server, part);
            done += part.len() as u64;
            if random.one_in(2) {
                let pipeline = server.wait_settled(done);
                assert_eq!(pipeline["balanced"], true, "life {life}: {pipeline}");
            }
            server.kill_9();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Already gone is fine: what counts is that it is not there afterwards.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.stderr();
            let from = log.ceil_char_boundary(log.len().saturating_sub(SHOWN_BYTES));
            println!("---- stderr of process {} ----\n{}\n----", self.pid(), &log[from..]);
        }
    }
}
