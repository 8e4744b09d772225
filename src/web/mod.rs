//! The web side: events in over HTTP, records and the board out, the websocket, the
//! page. Thin: it asks ports and the broadcaster, and turns answers into HTTP.
//!
//! Under our own server (`server`) or mounted in a host's `App`:
//! `web::scope("/tidewatch").configure(tidewatch::web::configure(state))`. All links
//! are relative, so any prefix does; give it a scope of its own, because it answers
//! every path below its prefix.

mod answer;
mod assets;
mod board;
mod body;
mod connections;
pub mod dry_run;
mod frames;
mod gauges;
mod groups;
mod guard;
mod health;
mod incidents;
mod ingest;
mod intake;
mod lists;
mod mailbox;
mod nudges;
mod origins;
mod problem;
mod records;
mod reload;
pub mod routes;
pub mod server;
mod sessions;
mod socket;
mod turns;
mod unpack;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Addr;
use actix_web::dev::ServiceRequest;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, body::BoxBody};
use arc_swap::ArcSwap;

use crate::actors::broadcaster::{BroadcastStats, Broadcaster};
use crate::actors::directory::Directory;
use crate::actors::flow::Flow;
use crate::actors::ports::{EventLog, IncidentRecords, Records};
use crate::actors::reload::Reload;
use crate::actors::status::Status;
use crate::clock::SharedClock;
use crate::domain::board::Board;
use crate::domain::condition::Condition;
use crate::domain::event::Schema;
use crate::domain::settings::settings;
use crate::domain::time::SpanMs;
use crate::domain::verdict::Meaning;

use answer::Answers;
use connections::Connections;
pub use gauges::{Gauges, gauges};
use guard::Guard;
use intake::Intake;
pub use mailbox::{Listed, Mail, Mailbox};
use origins::origin_problem;
use problem::Problem;
use turns::{Turn, Turns};

/// Bodies that are taken apart at a time, and answers that are made: two each, so that
/// the threads that answer requests and those of the pipeline get their time.
const TURNS: usize = 2;

settings! {
    /// Bounds and permissions of the web side.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Settings in "web." {
        /// Address and port of the page, the API and the metrics. Port 0 takes a free one.
        pub listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 7077)),
            text_that_is(ADDRESS, address);
        /// There is no sign-in. To listen where other machines reach it, say that a proxy or a
        /// firewall guards it.
        pub insecure_no_auth: bool = false, truth();
        /// Names that a request may use for this server (its Host header, whatever its port, case
        /// or dot at the end), against DNS rebinding. localhost and addresses such as 10.0.0.7
        /// always may; "*" is any name.
        pub hosts: Vec<String> = Vec::new(), names(0, NAMES_MAX);
        /// Origins of other pages that may post events, read answers and open a websocket:
        /// "https://shop.example", "https://*.shop.example", or "*" for any (every page that
        /// somebody here has open can then read the board). Our own page always may.
        pub origins: Vec<String> = Vec::new(), each(NAMES_MAX, origin);
        /// Bytes of a body as it comes; beyond it 413. At least events.event_bytes.
        pub body_bytes_max: usize = 8 << 20, size(KIB, GIB);
        /// Bytes of a body once unpacked from gzip, zstd or deflate: a small one can unpack to a
        /// huge one. Beyond it 413. At least body_bytes_max.
        pub inflated_bytes_max: usize = 32 << 20, size(KIB, 4 * GIB);
        /// Connections at a time, websockets included, about 30 KB each (up to 0.4 MB for a browser
        /// that stopped reading). When all are taken, some 1000 more are let in to ask /livez,
        /// /readyz and /metrics; everything else gets 503. Never more than the process may open
        /// files.
        pub connections_max: usize = 10_000, count(8, 1_000_000);
        /// Threads that answer requests; the events themselves are handled by the shards.
        pub workers: usize = 2, count(1, 64);
        /// Bytes of bodies that have come and are not in the log yet, what they unpack to included:
        /// the bound on memory of POST. One address has at most 7/8 of it, large bodies 3/4, and a
        /// body that hardly moves gives way to others; beyond all that 429. At least
        /// inflated_bytes_max.
        pub intake_bytes_max: usize = 256 << 20, size(KIB, 64 * GIB);
        /// Events of one request; beyond it 413.
        pub events_max: usize = 100_000, count(1, 10_000_000);
        /// Bytes of answers (boards, lists) that were asked for and not read yet, over all clients;
        /// beyond it 429. An answer holds at most 1 MiB of a list.
        pub answers_bytes_max: usize = 64 << 20, size(MIB, 64 * GIB);
        /// Series of the numbers on the board in /metrics (tidewatch_metric_<name>, a label for
        /// each attribute of group_by), over all metrics; when there are more, each metric has an
        /// equal part, its first groups. 0 for none.
        pub metrics_series_max: usize = 2_000, count(0, 1_000_000);
        /// Longest time for a body to arrive: a slow sender holds its part of intake_bytes_max.
        pub body_timeout: SpanMs = 30 * SECOND, span(SECOND, HOUR);
        /// Longest wait for browsers to leave when the process stops.
        pub drain_timeout: SpanMs = 3 * SECOND, span(0, MINUTE);
    } besides {
        /// Most websockets, over all threads, where that is less than `connections_max`.
        pub sockets_max: usize = usize::MAX;
    }
}

impl Settings {
    /// Most websockets at a time.
    fn sockets_max(&self) -> usize {
        self.sockets_max.min(self.connections_max)
    }
}

/// What `listen` must be.
const ADDRESS: &str = "an address with a port such as \"127.0.0.1:7077\"";

fn address(text: &str) -> Result<(), String> {
    text.parse::<SocketAddr>().map(drop).map_err(|_| format!("must be {ADDRESS}"))
}

fn origin(origin: &str) -> Result<(), String> {
    origin_problem(origin).map_or(Ok(()), |rule| Err(format!("{origin:?} {rule}")))
}

/// Renders all metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// Where posted events go; `None` where there is no log (a replay).
    pub log: Option<Arc<dyn EventLog>>,
    /// What the store keeps.
    pub records: Arc<dyn Records>,
    /// What it keeps of incidents.
    pub incidents: Arc<dyn IncidentRecords>,
    /// The open sessions, and who keeps the incidents.
    pub directory: Directory,
    /// The broadcaster. Every websocket keeps one clone for its life, and has one
    /// message under way at most: that is the bound of its mailbox.
    pub broadcaster: Addr<Broadcaster>,
    /// The latest board (`Broadcaster::board`).
    pub board: Arc<ArcSwap<Board>>,
    /// Counts of clients (`Broadcaster::stats`).
    pub clients: Arc<BroadcastStats>,
    /// Whether the process is ready.
    pub status: Arc<Status>,
    /// Where events go that the log cannot take.
    pub flow: Arc<Flow>,
    /// The clock.
    pub clock: SharedClock,
    /// Text of `/metrics`.
    pub render_metrics: RenderMetrics,
    /// What is decoded, by the configuration in force.
    pub schema: Arc<ArcSwap<Schema>>,
    /// What is made of events, for verdicts.
    pub meaning: Arc<ArcSwap<Meaning>>,
    /// Reads the configuration again.
    pub reload: Reload,
    /// Looks back on the log.
    pub dry_runs: dry_run::DryRuns,
    /// Mails that were written instead of sent, of a demo that has some.
    pub mailbox: Option<Arc<dyn Mailbox>>,
    /// Bounds and permissions.
    pub settings: Settings,
    /// Seats and bytes in use.
    pub load: Load,
}

impl State {
    /// True once the process stops: nothing new is taken.
    fn is_draining(&self) -> bool {
        self.status.is(Condition::Stopping)
    }
}

/// What is in use of the bounds that hold over all threads. Clones share it.
#[derive(Clone, Debug)]
pub struct Load {
    sockets: Arc<AtomicUsize>,
    connections: Connections,
    intake: Intake,
    answers: Answers,
    boards: board::Texts,
    decoding: Turns,
    reading: Turns,
}

impl Load {
    /// Nothing in use.
    pub fn new(settings: &Settings) -> Self {
        // A connection has one request at a time.
        let turns = || Turns::new(TURNS, settings.connections_max);
        Load {
            sockets: Arc::default(),
            connections: Connections::new(settings.connections_max),
            intake: Intake::new(settings),
            answers: Answers::new(settings.answers_bytes_max),
            boards: board::Texts::default(),
            decoding: turns(),
            reading: turns(),
        }
    }

    /// Bytes of bodies under way.
    pub fn intake_bytes(&self) -> usize {
        self.intake.bytes()
    }

    /// Bodies under way.
    pub fn bodies(&self) -> usize {
        self.intake.bodies()
    }

    /// Bytes of answers that were not read yet.
    pub fn answers_bytes(&self) -> usize {
        self.answers.bytes()
    }

    /// Most connections that are served.
    pub fn connections_max(&self) -> usize {
        self.connections.max()
    }

    /// Open connections.
    pub fn connections_open(&self) -> usize {
        self.connections.open()
    }

    /// Connections that came when all places were taken.
    pub fn connections_refused(&self) -> u64 {
        self.connections.refused()
    }

    /// Requests that wait for their turn.
    pub fn turns_waiting(&self) -> usize {
        self.decoding.waiting() + self.reading.waiting()
    }

    /// A turn for a body that is to be taken apart.
    async fn decode_turn(&self, request: &HttpRequest) -> Result<Turn, Problem> {
        self.decoding.take(peer(request)).await
    }

    /// A turn for an answer that takes work: rows to read, a text to compress.
    async fn turn(&self, request: &HttpRequest) -> Result<Turn, Problem> {
        self.reading.take(peer(request)).await
    }

    /// Takes a seat for a websocket, `None` when `max` are taken.
    fn sit(&self, max: usize) -> Option<Seat> {
        let next = |taken: usize| (taken < max).then_some(taken + 1);
        self.sockets.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(Seat(Arc::clone(&self.sockets)))
    }

    /// Open websockets.
    fn sockets_open(&self) -> usize {
        self.sockets.load(Ordering::Acquire)
    }
}

/// Whose request it is. Behind a proxy all are one peer's.
fn peer(request: &HttpRequest) -> Option<IpAddr> {
    request.peer_addr().map(|peer| peer.ip())
}

/// One taken seat; free again when dropped.
#[derive(Debug)]
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Registers all routes, below whatever scope `ServiceConfig` belongs to.
pub fn configure(state: State) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let allowed = Guard::new(&state.settings);
        let guard = move |request: ServiceRequest, next: Next<BoxBody>| {
            guard::guard(allowed.clone(), request, next)
        };
        let mut entries = routes::all();
        entries.extend(state.mailbox.is_some().then(routes::mailbox).into_iter().flatten());
        let scope = web::scope("").wrap(from_fn(guard)).app_data(Data::new(state));
        // One for each thread: whoever makes an `App` makes one there.
        let scope = scope.app_data(Data::new(body::Steps::default()));
        let entries = entries.into_iter().map(|entry| entry.resource);
        let scope = entries.fold(scope, |scope, resource| scope.service(resource));
        config.service(scope.default_service(web::to(not_found)));
    }
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::NotFound("there is nothing at this path".into()))
}
