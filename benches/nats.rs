//! Events per second from a NATS stream, through real session actors with commits on, beside
//! a bare consumer of the same stream; the delay from a publisher to a browser; and what
//! happens when more comes than the service takes.
//!
//!     cargo bench --bench nats -- --events 1000000 --users 100000 --runs 5
//!     cargo bench --bench nats -- --sync always
//!     cargo bench --bench nats -- --latency --rate 20000 --markers 200
//!     cargo bench --bench nats -- --overload 60 --credits 32768 --csv overload.csv
//!
//! What it does: starts a nats-server of its own (`--nats-server`, else the one that `./test`
//! installs) with a file store in a temporary folder, and publishes seeded events into it.
//!
//! Throughput: the same events once as one a message and once as 50 a message, then in turns
//! a bare pull consumer, which only counts, and `tidewatch serve` with four queries and an
//! empty data folder. It is measured from outside, from the start of the process until the
//! last event is in a durable commit. The first event is seen in what the server says of the
//! consumer, the last in the wall time of the commit, so neither waits for a tick. Beside it stand
//! user and system seconds of the reader and of nats-server: on a busy machine they say more.
//!
//! Latency: a publisher at a steady rate, a websocket that follows the pipeline's topic. A
//! marker is the n-th event published; it is visible once the topic says that n events are
//! applied.
//!
//! Overload: a publisher as fast as it can (or at `--rate`), against a service with few
//! credits; memory, lag and the answers of `/livez` go into a CSV file each 100 ms.

mod shared;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use tidewatch::clock::{SharedClock, SystemClock};
use tokio::runtime::{Builder, Runtime};

use shared::{FOUR_QUERIES, median, number, processor, target};
use support::ws::Client;
use support::{Broker, Folder, Server, Stopwatch, pause};

const STREAM: &str = "EVENTS";
const SUBJECT: &str = "events.bench";
/// The service's own name of its consumer.
const CONSUMER: &str = "tidewatch";
/// The default of `nats.pull_messages`: what may wait in the client's queue.
const PULL_MESSAGES: u64 = 8_192;

/// Events of a packed message, for throughput and for latency.
const PACK: u64 = 50;
const SMALL_PACK: u64 = 20;

/// Messages published and not confirmed yet.
const UNCONFIRMED_MAX: usize = 512;

/// The bare consumer: messages of a request, messages until it acknowledges.
const BARE_BATCH: usize = 2_000;
const BARE_ACK_EVERY: u64 = 500;

/// Least share of the bare consumer at one event a message.
const AIM_SHARE: f64 = 0.65;
/// Least events a second in packed messages.
const AIM_PACKED: f64 = 1.2e6;
/// Most that a marker's p99 may be above the tick, ms.
const AIM_OVER_TICK_MS: i64 = 50;

/// Distance between two looks at a process or a server.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Distance between two samples of an overload.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Events between two markers, as time at the publisher's rate: not a divisor of a tick, so
/// that markers fall on every moment of it.
const MARK_EVERY: Duration = Duration::from_millis(371);
/// Longest wait for anything that takes a time nobody knows, s.
const WAIT_MAX_S: u64 = 3_600;

/// First event's time of the throughput runs: 2023-11-15, a time like any other.
const BASE: i64 = 1_700_006_400_000;
/// Span of the event times of the throughput runs, ms.
const SPAN_MS: i64 = 14_400_000;
/// How far events overtake each other, ms.
const DISORDER_MS: u64 = 1_999;

/// Memory per credit and per remembered id that the service may use beside its base. The
/// first is the raw event and its decoded form, the second a hash in two generations.
const CREDIT_BYTES: u64 = 400;
const ID_BYTES: u64 = 48;
/// What the allocator, the store's page cache and the connection may take beside.
const SLACK_BYTES: u64 = 64 << 20;

struct Options {
    events: u64,
    users: u64,
    runs: usize,
    shards: String,
    sync: String,
    nats_server: Option<PathBuf>,
    latency: bool,
    /// 0: 20000 a second for latency, as fast as possible for an overload.
    rate: u64,
    markers: usize,
    overload_s: u64,
    credits: u64,
    csv: PathBuf,
}

fn main() {
    let options = options();
    if let Some(server) = &options.nats_server {
        support::nats::SERVER.set(server.clone()).expect("set once");
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load.trim());
    if cfg!(debug_assertions) {
        println!("a debug build: the numbers say nothing");
    }
    if options.latency {
        latency(&options);
    } else if options.overload_s > 0 {
        overload(&options);
    } else {
        throughput(&options);
    }
}

fn options() -> Options {
    let mut options = Options {
        events: 1_000_000,
        users: 100_000,
        runs: 5,
        shards: "2".into(),
        sync: String::new(),
        nats_server: None,
        latency: false,
        rate: 0,
        markers: 200,
        overload_s: 0,
        credits: 32_768,
        csv: target().join("bench-data/overload.csv"),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--events" => options.events = number(&value()),
            "--users" => options.users = number(&value()),
            "--runs" => options.runs = number(&value()) as usize,
            "--shards" => options.shards = value(),
            "--sync" => options.sync = value(),
            "--nats-server" => options.nats_server = Some(value().into()),
            "--latency" => options.latency = true,
            "--rate" => options.rate = number(&value()),
            "--markers" => options.markers = number(&value()) as usize,
            "--overload" => options.overload_s = number(&value()),
            "--credits" => options.credits = number(&value()),
            "--csv" => options.csv = value().into(),
            // `cargo bench` adds it for harnesses that know it.
            "--bench" => {}
            other => panic!("unknown option {other}; the head of benches/nats.rs names them"),
        }
    }
    assert!(options.runs > 0 && options.users > 0, "--runs and --users must be at least 1");
    options
}

// ---------------------------------------------------------------------------------------
// Events

/// Seeded events of the other bench's form: the same seed gives the same events.
struct Events {
    state: u64,
    made: u64,
    users: u64,
}

impl Events {
    fn new(seed: u64, users: u64) -> Self {
        Events { state: mix(seed), made: 0, users }
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.random()) * u128::from(end)) >> 64) as u64
    }

    /// A user: few of them often, by a power of the rank.
    fn user(&mut self) -> u64 {
        let unit = (self.random() >> 11) as f64 / (1_u64 << 53) as f64;
        (unit.powf(2.5) * self.users as f64) as u64
    }

    /// Appends one event at `at`, without a line end.
    fn write(&mut self, at: i64, out: &mut String) {
        let user = self.user();
        self.write_of(user, at, out);
    }

    fn write_of(&mut self, user: u64, at: i64, out: &mut String) {
        const REGIONS: [&str; 6] =
            ["eu-west-1", "eu-central-1", "us-east-1", "us-west-2", "ap-south-1", "sa-east-1"];
        let (kind, status, amount) = match self.below(1_000) {
            0..600 => ("page_view", false, false),
            600..800 => ("http_request", true, false),
            800..900 => ("cart_add", false, true),
            900..940 => ("payment_initiated", false, true),
            940..980 => ("payment_completed", false, true),
            _ => ("payment_failed", true, true),
        };
        let (high, low) = (mix(self.made), self.random());
        let region = REGIONS[self.below(6) as usize];
        self.made += 1;
        let _ = write!(
            out,
            "{{\"id\":\"{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\",\"ts\":{at},\"type\":\"{kind}\",\
             \"user\":\"u{user}\",\"region\":\"{region}\"",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff,
        );
        if status {
            let code = [200, 200, 200, 200, 301, 304, 404, 404, 500, 503][self.below(10) as usize];
            let _ = write!(out, ",\"status\":{code}");
        }
        if amount {
            let cents = 100 + self.below(9_900);
            let _ = write!(out, ",\"amount\":{}.{:02}", cents / 100, cents % 100);
        }
        let (path, from) = (self.below(10_000), self.below(1_000));
        let _ = write!(out, ",\"path\":\"/p/{path}\",\"ref\":\"https://shop.example/c/{from}\"}}");
    }

    /// A message of `count` events, their times made by `at`.
    fn pack(&mut self, count: u64, mut at: impl FnMut(&mut Self) -> i64) -> String {
        let mut out = String::with_capacity(count as usize * 220);
        for index in 0..count {
            if index > 0 {
                out.push('\n');
            }
            let at = at(self);
            self.write(at, &mut out);
        }
        out
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

// ---------------------------------------------------------------------------------------
// The broker

/// A server of our own with the stream, and our connection to it.
struct Rig {
    broker: Broker,
    runtime: Runtime,
    context: Context,
    stream: Stream,
}

impl Rig {
    fn start(options: &Options) -> Self {
        let broker = match options.sync.as_str() {
            "" => Broker::start(),
            interval => Broker::with_store(&format!("sync_interval: {interval}")),
        };
        let runtime = runtime();
        let context = connect(&runtime, &broker.url());
        let config =
            Config { name: STREAM.into(), subjects: vec!["events.>".into()], ..Config::default() };
        let stream = runtime.block_on(context.create_stream(config)).expect("the stream is made");
        Rig { broker, runtime, context, stream }
    }

    /// The part of the service's config that is about NATS: this stream in, nothing out.
    fn config(&self) -> String {
        format!(
            "[nats]\nurl = \"{}\"\n\n[[nats.source]]\nstream = \"{STREAM}\"\n\
             subjects = [\"events.>\"]\n\n[nats.gateway]\nsubject = \"\"\n\n[nats.out]\n\
             alerts_stream = \"\"\nincidents_stream = \"\"\nalerts_subject = \"\"\ndead_letters_stream = \"\"\n\
             dead_letters_subject = \"\"\nboard_subject = \"\"\nboard_bucket = \"\"\n\
             service = \"\"\n",
            self.broker.url()
        )
    }

    /// Messages that the server has handed to the service; none before it has a consumer.
    fn delivered(&self) -> u64 {
        let info = self.runtime.block_on(self.stream.consumer_info(CONSUMER));
        info.map_or(0, |info| info.delivered.consumer_sequence)
    }

    /// Takes the service's consumer away, so that the next run is not told of this one.
    fn forget_service(&self) {
        let deleted = self.runtime.block_on(self.stream.delete_consumer(CONSUMER));
        deleted.expect("the service had a consumer");
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn connect(runtime: &Runtime, url: &str) -> Context {
    let client = runtime.block_on(async_nats::connect(url));
    let client = client.unwrap_or_else(|error| panic!("{url}: {error}"));
    // The context has a task of its own there.
    let _inside = runtime.enter();
    let builder = jetstream::context::ContextBuilder::new().timeout(Duration::from_secs(30));
    builder.max_ack_inflight(UNCONFIRMED_MAX * 2).build(client)
}

/// Publishes without waiting for each confirmation, and loses none.
struct Publisher {
    context: Context,
    unconfirmed: VecDeque<(PublishAckFuture, u64)>,
    /// Events that the stream has.
    confirmed: u64,
}

impl Publisher {
    fn new(context: Context) -> Self {
        Publisher { context, unconfirmed: VecDeque::new(), confirmed: 0 }
    }

    async fn publish(&mut self, message: String, events: u64) {
        if self.unconfirmed.len() >= UNCONFIRMED_MAX {
            self.confirm().await;
        }
        let published = self.context.publish(SUBJECT, message.into()).await;
        self.unconfirmed.push_back((published.expect("the server takes it"), events));
    }

    async fn confirm(&mut self) {
        if let Some((ack, events)) = self.unconfirmed.pop_front() {
            ack.await.expect("the stream stores it");
            self.confirmed += events;
        }
    }

    async fn finish(&mut self) {
        while !self.unconfirmed.is_empty() {
            self.confirm().await;
        }
    }
}

// ---------------------------------------------------------------------------------------
// The service

/// A figure of `/metrics`, named as it is there, labels included; 0 before it is there.
fn figure(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|text| text.trim().parse::<f64>().ok()).map_or(0, |value| value as u64)
}

fn metrics(server: &Server) -> String {
    String::from_utf8(server.http.get(&server.at("metrics")).body).expect("metrics are text")
}

/// Every event applied, none waiting, every credit back: all of it is in a durable commit.
fn settled(metrics: &str, events: u64) -> bool {
    figure(metrics, "tidewatch_events_total{outcome=\"applied\"}") == events
        && figure(metrics, "tidewatch_source_lag_events") == 0
        && figure(metrics, "tidewatch_events_in_flight") == 0
        && figure(metrics, "tidewatch_credits_free")
            == figure(metrics, "tidewatch_credits_capacity")
}

/// Waits until it is settled.
///
/// Panics when it ends, or when an event got another outcome than "applied".
fn wait_settled(server: &mut Server, events: u64) {
    let watch = Stopwatch::start();
    loop {
        let metrics = metrics(server);
        if settled(&metrics, events) {
            return;
        }
        for outcome in ["duplicate", "late", "rejected"] {
            let name = format!("tidewatch_events_total{{outcome=\"{outcome}\"}}");
            assert_eq!(figure(&metrics, &name), 0, "no event is {outcome}");
        }
        assert!(server.running(), "the service ended: {}", server.stderr());
        assert!(watch.elapsed().as_secs() < WAIT_MAX_S, "{events} not settled: {metrics}");
        pause(LOOK_EVERY * 5);
    }
}

/// A line of `/proc/PID/status`, in bytes.
fn memory(server: &Server, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.expect("the process runs") * 1_024
}

fn table(names: &str) {
    println!("\n| {names} |");
    println!("|{}", "---|".repeat(names.split('|').count()));
}

// ---------------------------------------------------------------------------------------
// Throughput

/// One run of the service or of the bare consumer.
struct Measured {
    seconds: f64,
    /// From the first event on.
    seconds_reading: f64,
    /// Processor seconds of the reader, and of the server meanwhile.
    processor: (f64, f64),
    peak_bytes: u64,
}

fn throughput(options: &Options) {
    let clock = SystemClock::shared();
    println!(
        "{} events, {} users, four queries, {} shards, {} runs in turns, sync {}",
        options.events,
        options.users,
        options.shards,
        options.runs,
        if options.sync.is_empty() { "interval" } else { &options.sync }
    );
    let mut rows = Vec::new();
    for pack in [1, PACK] {
        let rig = Rig::start(options);
        let bytes = fill(&rig, options, pack);
        let messages = options.events.div_ceil(pack);
        println!("{messages} messages of {} bytes each", bytes / messages);
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for run in 0..options.runs {
            println!("run {} of {}", run + 1, options.runs);
            bare.push(bare_consumer(&rig, messages, bytes));
            ours.push(serve(&rig, options, &clock));
        }
        rows.push((pack, bare, ours));
    }
    let columns = "what | M events/s median | min | max | of the bare consumer | aim | processor s: reader, \
         nats-server | peak RSS MiB";
    table(columns);
    for (pack, bare, ours) in &rows {
        show(options, *pack, bare, ours);
    }
}

/// Fills the stream; returns the bytes of all messages.
fn fill(rig: &Rig, options: &Options, pack: u64) -> u64 {
    let (mut events, total) = (Events::new(1, options.users), options.events);
    let mut publisher = Publisher::new(rig.context.clone());
    let watch = Stopwatch::start();
    let bytes = rig.runtime.block_on(async {
        let mut bytes = 0;
        while events.made < total {
            let count = pack.min(total - events.made);
            let message = events.pack(count, |events| {
                let even = i128::from(events.made) * i128::from(SPAN_MS) / i128::from(total);
                BASE + even as i64 - events.below(DISORDER_MS + 1) as i64
            });
            bytes += message.len() as u64;
            publisher.publish(message, count).await;
        }
        publisher.finish().await;
        bytes
    });
    assert_eq!(publisher.confirmed, total);
    println!("\nfilled with {pack} a message in {:.1} s", watch.elapsed().as_secs_f64());
    bytes
}

/// Reads all messages and only counts them.
fn bare_consumer(rig: &Rig, messages: u64, bytes: u64) -> Measured {
    const NAME: &str = "bare";
    let watch = Stopwatch::start();
    let taken = || (processor(std::process::id()), processor(rig.broker.pid()));
    let before = taken();
    let config = pull::Config {
        durable_name: Some(NAME.into()),
        ack_policy: AckPolicy::All,
        max_ack_pending: -1,
        ..pull::Config::default()
    };
    let (mut read, mut read_bytes, mut first) = (0, 0, 0.0);
    rig.runtime.block_on(async {
        let consumer: PullConsumer = rig.stream.create_consumer(config).await.unwrap();
        let stream = consumer.stream().max_messages_per_batch(BARE_BATCH).messages();
        let mut stream = stream.await.unwrap();
        while read < messages {
            let message = stream.next().await.expect("the stream goes on").unwrap();
            if read == 0 {
                first = watch.elapsed().as_secs_f64();
            }
            read += 1;
            read_bytes += message.payload.len() as u64;
            if read % BARE_ACK_EVERY == 0 || read == messages {
                message.ack().await.unwrap();
            }
        }
    });
    let seconds = watch.elapsed().as_secs_f64();
    assert_eq!(read_bytes, bytes, "each message once");
    let after = taken();
    rig.runtime.block_on(rig.stream.delete_consumer(NAME)).unwrap();
    let processor = (after.0 - before.0, after.1 - before.1);
    Measured { seconds, seconds_reading: seconds - first, processor, peak_bytes: 0 }
}

/// The service, from nothing to the last commit.
fn serve(rig: &Rig, options: &Options, clock: &SharedClock) -> Measured {
    let folder = Folder::default();
    // Only events move time: they are of long ago.
    let config = format!(
        "[time]\nidle = \"hold\"\n[pipeline]\nshards = {}\n{FOUR_QUERIES}\n{}",
        options.shards,
        rig.config()
    );
    let (start, before) = (clock.wall(), processor(rig.broker.pid()));
    let mut server = folder.serve(&config).spawn();
    let watch = Stopwatch::start();
    while rig.delivered() == 0 {
        assert!(server.running(), "the service ended: {}", server.stderr());
        assert!(watch.elapsed().as_secs() < WAIT_MAX_S, "nothing is read: {}", server.stderr());
        pause(LOOK_EVERY);
    }
    let first = clock.wall();
    server.wait_listening();
    wait_settled(&mut server, options.events);
    let processor = (processor(server.pid()), processor(rig.broker.pid()) - before);
    let pipeline = server.pipeline();
    assert_eq!(pipeline["applied"], options.events, "each event counts once: {pipeline}");
    let last = pipeline["committed_at"].as_i64().expect("a time");
    let peak_bytes = memory(&server, "VmHWM");
    assert!(server.stop().success(), "a clean end: {}", server.stderr());
    rig.forget_service();
    let seconds = |from: i64| (last - from).max(1) as f64 / 1_000.0;
    Measured { seconds: seconds(start), seconds_reading: seconds(first), processor, peak_bytes }
}

fn show(options: &Options, pack: u64, bare: &[Measured], ours: &[Measured]) {
    let a_message = if pack == 1 { "1 a message".into() } else { format!("{pack} a message") };
    let floor = median(&sorted(bare, |run| run.seconds));
    let aim = match pack {
        1 => format!(">= {:.0} %", AIM_SHARE * 100.0),
        _ => format!(">= {:.3}", AIM_PACKED / 1e6),
    };
    let whole = sorted(ours, |run| run.seconds);
    let peak = ours.iter().map(|run| run.peak_bytes).max().unwrap_or(0) >> 20;
    let met = match pack {
        1 => floor / median(&whole) >= AIM_SHARE,
        _ => options.events as f64 / median(&whole) >= AIM_PACKED,
    };
    let processor = |runs: &[Measured]| {
        let reader = median(&sorted(runs, |run| run.processor.0));
        format!("{reader:.2}, {:.2}", median(&sorted(runs, |run| run.processor.1)))
    };
    let row = |what: &str, seconds: &[f64], (aim, taken): (&str, &str), peak: &str| {
        let rate = |seconds: f64| options.events as f64 / seconds / 1e6;
        let (middle, least, most) = (median(seconds), seconds[0], seconds[seconds.len() - 1]);
        println!(
            "| {what}, {a_message} | {:.3} | {:.3} | {:.3} | {:.0} % | {aim} | {taken} | {peak} |",
            rate(middle),
            rate(most),
            rate(least),
            floor / middle * 100.0,
        );
    };
    let peak = peak.to_string();
    let aim = format!("{aim}: {}", if met { "met" } else { "NOT MET" });
    row("bare consumer", &sorted(bare, |run| run.seconds), ("", &processor(bare)), "");
    row("tidewatch serve, whole process", &whole, (&aim, &processor(ours)), &peak);
    row("from its first event", &sorted(ours, |run| run.seconds_reading), ("", ""), &peak);
}

/// Figures of the runs, least first.
fn sorted(runs: &[Measured], of: impl Fn(&Measured) -> f64) -> Vec<f64> {
    let mut figures: Vec<f64> = runs.iter().map(of).collect();
    figures.sort_by(f64::total_cmp);
    figures
}

// ---------------------------------------------------------------------------------------
// A publisher that goes on until it is told to stop

/// Events published before a marker, and the moment it was handed to the client.
type Marker = (u64, Stopwatch);

/// How a flow is made.
#[derive(Clone, Copy)]
struct Flow {
    users: u64,
    /// Events a second; 0: as fast as the server confirms them.
    rate: u64,
    pack: u64,
    /// Events between two markers; 0: none.
    mark_every: u64,
}

/// A publisher on a thread of its own.
struct Flowing {
    stop: Arc<AtomicBool>,
    confirmed: Arc<AtomicU64>,
    markers: Arc<Mutex<VecDeque<Marker>>>,
    thread: JoinHandle<u64>,
}

impl Flowing {
    fn start(url: String, flow: Flow) -> Self {
        let (stop, confirmed, markers) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::default());
        let shared = (Arc::clone(&stop), Arc::clone(&confirmed), Arc::clone(&markers));
        let thread = thread::spawn(move || {
            let runtime = runtime();
            let publisher = Publisher::new(connect(&runtime, &url));
            runtime.block_on(run(flow, publisher, &shared.0, &shared.1, &shared.2))
        });
        Flowing { stop, confirmed, markers, thread }
    }

    /// Ends it once the last message is confirmed; does not wait for that.
    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Events that the stream has of it.
    fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::SeqCst)
    }

    /// Ends it; returns the events that the stream has of it.
    fn finish(self) -> u64 {
        self.stop();
        self.thread.join().expect("the publisher ends well")
    }
}

async fn run(
    flow: Flow,
    mut publisher: Publisher,
    stop: &AtomicBool,
    confirmed: &AtomicU64,
    markers: &Mutex<VecDeque<Marker>>,
) -> u64 {
    let (clock, mut events) = (SystemClock::shared(), Events::new(2, flow.users));
    let (watch, mut next_mark) = (Stopwatch::start(), flow.mark_every);
    while !stop.load(Ordering::SeqCst) {
        let due = watch.elapsed().as_secs_f64() * flow.rate as f64;
        if flow.rate > 0 && events.made as f64 > due {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let wall = clock.wall();
        let message = events.pack(flow.pack, |_| wall);
        if flow.mark_every > 0 && events.made >= next_mark {
            next_mark = events.made + flow.mark_every;
            // Before it is sent: it may be visible before we are asked again.
            markers.lock().unwrap().push_back((events.made, Stopwatch::start()));
        }
        publisher.publish(message, flow.pack).await;
        confirmed.store(publisher.confirmed, Ordering::SeqCst);
    }
    publisher.finish().await;
    publisher.confirmed
}

// ---------------------------------------------------------------------------------------
// Latency

fn latency(options: &Options) {
    let rate = if options.rate == 0 { 20_000 } else { options.rate };
    println!(
        "{rate} events/s, {SMALL_PACK} a message, {} users, {} markers",
        options.users, options.markers
    );
    let mut rows = Vec::new();
    for tick_ms in [100, 1_000] {
        let delays = delays(options, rate, tick_ms);
        let (p50, p99) = (quantile(&delays, 0.5), quantile(&delays, 0.99));
        rows.push((tick_ms, delays.len(), p50, p99, delays[delays.len() - 1]));
    }
    table("tick ms | markers | p50 ms | p99 ms | max ms | aim of p99 ms");
    for (tick, markers, p50, p99, most) in rows {
        let aim = tick + AIM_OVER_TICK_MS;
        let met = if p99 <= aim { "met" } else { "NOT MET" };
        println!("| {tick} | {markers} | {p50} | {p99} | {most} | <= {aim}: {met} |");
    }
}

/// Delays of the markers from publish to the browser in ms, least first.
fn delays(options: &Options, rate: u64, tick_ms: i64) -> Vec<i64> {
    let (rig, folder) = (Rig::start(options), Folder::default());
    let config = format!(
        "[pipeline]\nshards = {}\ntick = \"{tick_ms}ms\"\n{FOUR_QUERIES}\n{}",
        options.shards,
        rig.config()
    );
    let mut server = folder.serve(&config).start();
    let mut client = Client::follow(&server.url, &["pipeline"]);
    let mark_every = (rate as f64 * MARK_EVERY.as_secs_f64()) as u64;
    let flow = Flow { users: options.users, rate, pack: SMALL_PACK, mark_every };
    let flowing = Flowing::start(rig.broker.url(), flow);
    let (mut delays, watch) = (Vec::new(), Stopwatch::start());
    while delays.len() < options.markers {
        client.read_some();
        assert!(client.closed.is_none(), "the websocket stays open: {:?}", client.closed);
        assert!(watch.elapsed().as_secs() < WAIT_MAX_S, "markers do not become visible");
        let applied = client.state("pipeline")["applied"].as_u64().unwrap_or(0);
        let mut markers = flowing.markers.lock().unwrap();
        while markers.front().is_some_and(|(event, _)| *event <= applied) {
            let (_, published) = markers.pop_front().expect("there is one");
            delays.push(published.elapsed().as_millis() as i64);
        }
    }
    let published = flowing.finish();
    wait_settled(&mut server, published);
    println!("tick {tick_ms} ms: {published} events published, each applied once");
    delays.sort_unstable();
    delays
}

/// The least value that so many of the values do not exceed.
fn quantile(sorted: &[i64], share: f64) -> i64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

// ---------------------------------------------------------------------------------------
// Overload

/// What the samples say.
#[derive(Default)]
struct Seen {
    rss: u64,
    lag: u64,
    livez: Duration,
}

fn overload(options: &Options) {
    let (rig, folder) = (Rig::start(options), Folder::default());
    let credits = options.credits;
    let config = format!(
        "[pipeline]\nshards = {}\ncredits = {credits}\nbatch_max = {}\ncommit_events = {credits}\n\
         {FOUR_QUERIES}\n{}",
        options.shards,
        (credits / 4).max(1),
        rig.config()
    );
    let mut server = folder.serve(&config).start();
    let first = warm_up(&rig, options, &mut server);
    let base = memory(&server, "VmRSS");
    let mut csv = Csv::create(&options.csv);
    let flow = Flow { users: options.users, rate: options.rate, pack: PACK, mark_every: 0 };
    let (mut seen, watch) = (Seen::default(), Stopwatch::start());
    let flowing = Flowing::start(rig.broker.url(), flow);
    while !flowing.thread.is_finished() {
        if watch.elapsed().as_secs() >= options.overload_s {
            flowing.stop();
        }
        csv.sample(&watch, first + flowing.confirmed(), &mut server, &mut seen);
    }
    let published = first + flowing.finish();
    let (flood_s, taken) = (watch.elapsed().as_secs_f64(), csv.applied.saturating_sub(first));
    let drain = Stopwatch::start();
    while !csv.sample(&watch, published, &mut server, &mut seen) {
        assert!(drain.elapsed().as_secs() < WAIT_MAX_S, "the lag does not drain");
    }
    let drain_s = drain.elapsed().as_secs_f64();
    wait_settled(&mut server, published);
    let pipeline = server.pipeline();
    assert_eq!(pipeline["applied"], published, "applied == published: {pipeline}");
    let rates = ((published - first) as f64 / flood_s, taken as f64 / flood_s);
    report(options, published, base, &seen, rates, drain_s);
    println!("\nsamples: {}", options.csv.display());
}

/// One event of each user, so that the open sessions are part of the base.
fn warm_up(rig: &Rig, options: &Options, server: &mut Server) -> u64 {
    let mut events = Events::new(3, options.users);
    let mut publisher = Publisher::new(rig.context.clone());
    // Ids of its own: the flood makes its events from their number.
    events.made = 1 << 40;
    let at = SystemClock::shared().wall();
    rig.runtime.block_on(async {
        for from in (0..options.users).step_by(PACK as usize) {
            let to = (from + PACK).min(options.users);
            let mut message = String::new();
            for user in from..to {
                events.write_of(user, at, &mut message);
                message.push('\n');
            }
            publisher.publish(message, to - from).await;
        }
        publisher.finish().await;
    });
    wait_settled(server, publisher.confirmed);
    publisher.confirmed
}

struct Csv {
    file: fs::File,
    /// Events applied at the last sample.
    applied: u64,
}

impl Csv {
    fn create(path: &Path) -> Self {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).unwrap();
        }
        let mut file =
            fs::File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        writeln!(file, "ms,published,applied,lag,credits_free,rss_bytes,livez_us").unwrap();
        Csv { file, applied: 0 }
    }

    /// One line, then the rest of the time to the next; true once all is settled.
    fn sample(
        &mut self,
        watch: &Stopwatch,
        published: u64,
        server: &mut Server,
        seen: &mut Seen,
    ) -> bool {
        let start = Stopwatch::start();
        assert!(server.running(), "the service ended: {}", server.stderr());
        let answer = server.http.get(&server.at("livez"));
        let livez = start.elapsed();
        assert_eq!(answer.status, 200, "alive under every load");
        let (metrics, rss) = (metrics(server), memory(server, "VmRSS"));
        self.applied = figure(&metrics, "tidewatch_events_total{outcome=\"applied\"}");
        let lag = figure(&metrics, "tidewatch_source_lag_events");
        let credits = figure(&metrics, "tidewatch_credits_free");
        let (ms, us) = (watch.elapsed().as_millis(), livez.as_micros());
        let applied = self.applied;
        writeln!(self.file, "{ms},{published},{applied},{lag},{credits},{rss},{us}").unwrap();
        seen.rss = seen.rss.max(rss);
        seen.lag = seen.lag.max(lag);
        seen.livez = seen.livez.max(livez);
        pause(SAMPLE_EVERY.saturating_sub(start.elapsed()));
        settled(&metrics, published)
    }
}

fn report(
    options: &Options,
    published: u64,
    base: u64,
    seen: &Seen,
    rates: (f64, f64),
    drain_s: f64,
) {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let sample = Events::new(2, options.users).pack(PACK, |_| BASE);
    let ids = published * ID_BYTES;
    let ahead = PULL_MESSAGES * sample.len() as u64;
    let bound = base + options.credits * CREDIT_BYTES + ahead + ids + SLACK_BYTES;
    table("what | figure");
    println!("| events published, each applied once | {published} |");
    println!("| published a second in the flood | {:.0} |", rates.0);
    println!("| applied a second in the flood | {:.0} |", rates.1);
    println!("| published / applied | {:.1} |", rates.0 / rates.1);
    println!("| greatest lag, messages or events as the source counts | {} |", seen.lag);
    println!("| RSS before, all sessions open | {} |", mib(base));
    println!("| greatest RSS | {} |", mib(seen.rss));
    let met = if seen.rss <= bound { "kept" } else { "NOT KEPT" };
    println!(
        "| bound: before + credits {} + messages ahead {} + ids {} + slack {} | {}: {met} |",
        mib(options.credits * CREDIT_BYTES),
        mib(ahead),
        mib(ids),
        mib(SLACK_BYTES),
        mib(bound)
    );
    println!("| slowest /livez | {:.1} ms |", seen.livez.as_secs_f64() * 1e3);
    println!("| drained in | {drain_s:.1} s |");
}
