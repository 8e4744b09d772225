//! Real NATS servers with store folders of their own: one, or a cluster of three; and a
//! proxy that cuts, stalls and slows the connections through it.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::wait::{pause, until};

/// Longest start of a server, its store recovered.
const START_MAX_S: u64 = 30;

/// A server with JetStream as a child process, with a monitoring port. Ends with its guard.
#[derive(Debug)]
pub struct Broker {
    program: PathBuf,
    folder: TempDir,
    store: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill_9();
        if thread::panicking() {
            println!("---- nats-server on {} ----\n{}----", self.port, self.log());
        }
    }
}

impl Broker {
    pub fn start() -> Self {
        Broker::on("", "")
    }

    /// With more lines in its configuration.
    pub fn with(more: &str) -> Self {
        Broker::on("", more)
    }

    /// With other lines in its `jetstream` block.
    pub fn with_store(jetstream: &str) -> Self {
        Broker::on(jetstream, "")
    }

    /// With its store in a folder of the caller's, and other lines in its `jetstream` block.
    pub fn on_disk(store: &Path, jetstream: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Broker::made(server(), folder, store.to_owned(), jetstream, "")
    }

    /// With more lines in its `jetstream` block and in its configuration.
    pub fn on(jetstream: &str, more: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let store = folder.path().join("store");
        Broker::made(server(), folder, store, jetstream, more)
    }

    /// Another program than the other tests use.
    pub fn of(program: PathBuf) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let store = folder.path().join("store");
        Broker::made(program, folder, store, "", "")
    }

    fn made(
        program: PathBuf,
        folder: TempDir,
        store: PathBuf,
        jetstream: &str,
        more: &str,
    ) -> Self {
        let mut broker = Broker { program, folder, store, port: free_port(), process: None };
        broker.configure(jetstream, more);
        broker.restart();
        broker
    }

    fn configure(&self, jetstream: &str, more: &str) {
        let port = self.port;
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nserver_name: n{port}\n\
             http: \"127.0.0.1:-1\"\nports_file_dir: {:?}\n\
             jetstream {{\n store_dir: {:?}\n {jetstream}\n}}\n{more}\n",
            self.folder.path(),
            self.store,
        );
        fs::write(self.folder.path().join("nats.conf"), config).unwrap();
    }

    /// Takes other lines of the `jetstream` block from the next start on.
    pub fn set_store(&self, jetstream: &str) {
        self.configure(jetstream, "");
    }

    /// URL of the monitoring port, from the file in which the server tells its ports.
    pub fn monitor(&self) -> String {
        let files = || fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        until(START_MAX_S, "the ports are told", || {
            let file = files().find(|path| path.extension().is_some_and(|e| e == "ports"))?;
            let ports: serde_json::Value =
                serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
            ports["monitoring"][0].as_str().map(String::from)
        })
    }

    /// Takes other lines of its configuration from the next start on.
    pub fn set(&self, more: &str) {
        self.configure("", more);
    }

    /// Reads other lines of its configuration while it runs.
    pub fn reload(&self, more: &str) {
        self.configure("", more);
        self.signal("HUP");
    }

    /// Process of the server; panics while it does not run.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn store(&self) -> PathBuf {
        self.store.clone()
    }

    /// Starts it on its port and store, and waits until it listens.
    pub fn restart(&mut self) {
        self.spawn();
        self.wait_listening();
    }

    fn spawn(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let process = Command::new(&self.program)
            .arg("-c")
            .arg(self.folder.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        self.process = Some(process);
    }

    fn wait_listening(&self) {
        until(START_MAX_S, "nats-server listens", || {
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    pub fn kill_9(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends a signal by name: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.process.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// Whether the server of this client takes atomic batches: from 2.12 on.
pub fn takes_batches(client: &async_nats::Client) -> bool {
    let version = client.server_info().version;
    let mut parts = version.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(2), Some(12))
}

/// Three servers that keep streams with three copies.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Broker>,
}

impl Cluster {
    pub fn start() -> Self {
        let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let all: Vec<String> =
            routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let more = |port: u16| {
            format!(
                "cluster {{\n name: c\n listen: \"127.0.0.1:{port}\"\n routes: [{}]\n}}",
                all.join(", ")
            )
        };
        Cluster { nodes: routes.iter().map(|port| Broker::with(&more(*port))).collect() }
    }

    /// All of them, for a client.
    pub fn url(&self) -> String {
        self.nodes.iter().map(Broker::url).collect::<Vec<_>>().join(",")
    }

    /// The node with this server name.
    pub fn named(&mut self, name: &str) -> &mut Broker {
        self.nodes.iter_mut().find(|node| format!("n{}", node.port) == name).unwrap()
    }
}

/// A server to use instead, set before the first one starts.
pub static SERVER: OnceLock<PathBuf> = OnceLock::new();

/// The server that was asked for (also by `TIDEWATCH_NATS_SERVER`), the one that `./test`
/// installs, or one on the path.
pub fn server() -> PathBuf {
    if let Some(asked) = SERVER.get() {
        return asked.clone();
    }
    if let Some(asked) = std::env::var_os("TIDEWATCH_NATS_SERVER") {
        return asked.into();
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nats/bin/nats-server");
    if installed.exists() { installed } else { PathBuf::from("nats-server") }
}

/// A port that nobody listens on, from below those that the system gives to connections: one of
/// them may take any of its own while a server that is to come back on it is away.
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let any = std::iter::repeat_with(|| 10_000 + (RandomState::new().hash_one(0) % 20_000) as u16);
    any.take(1_000).find(free).expect("a free port")
}

/// Bytes a second for "as fast as they come".
const FREE: u64 = u64::MAX;

/// Distance between two looks at the proxy's state while nothing comes.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Wire {
    /// Bytes a second of each connection, to the server and to the client; 0 stalls them.
    rates: [AtomicU64; 2],
    /// Connections of an older generation end.
    generation: AtomicU64,
}

/// A proxy on a port of its own. Its threads end with the process, its connections with
/// [`Proxy::cut`].
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    wire: Arc<Wire>,
}

impl Proxy {
    /// In front of a port of this machine.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let rates = [AtomicU64::new(FREE), AtomicU64::new(FREE)];
        let wire = Arc::new(Wire { rates, generation: AtomicU64::new(0) });
        let shared = Arc::clone(&wire);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Refused like the server itself would refuse it.
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (way, from, to) in [(0, &client, &server), (1, &server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let wire = Arc::clone(&shared);
                    thread::spawn(move || carry(from, to, &wire, way));
                }
            }
        });
        Proxy { port: own, wire }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends every connection; new ones are taken.
    pub fn cut(&self) {
        self.wire.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Nothing goes through, and no connection ends.
    pub fn stall(&self) {
        self.set(0);
    }

    /// Nothing goes through in one direction, and no connection ends.
    pub fn stall_one_way(&self, to_server: bool) {
        self.wire.rates[usize::from(!to_server)].store(0, Ordering::SeqCst);
    }

    /// So many bytes a second.
    pub fn slow(&self, bytes: u64) {
        self.set(bytes);
    }

    /// As fast as they come.
    pub fn free(&self) {
        self.set(FREE);
    }

    fn set(&self, rate: u64) {
        for way in &self.wire.rates {
            way.store(rate, Ordering::SeqCst);
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, wire: &Wire, way: usize) {
    let born = wire.generation.load(Ordering::SeqCst);
    from.set_read_timeout(Some(LOOK)).unwrap();
    let mut buffer = [0; 16_384];
    while wire.generation.load(Ordering::SeqCst) == born {
        let rate = wire.rates[way].load(Ordering::SeqCst);
        if rate == 0 {
            pause(LOOK);
            continue;
        }
        let part = (rate / 50).clamp(1, buffer.len() as u64) as usize;
        match from.read(&mut buffer[..part]) {
            Ok(0) => break,
            Ok(read) => {
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
                if rate < FREE {
                    pause(Duration::from_secs_f64(read as f64 / rate as f64));
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
