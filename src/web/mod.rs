//! The web side: events in over HTTP, records and the board out, the websocket, the
//! page. Thin: it asks ports and the broadcaster, and turns answers into HTTP.
//!
//! Under our own server (`server`) or mounted in a host's `App`:
//! `web::scope("/tidewatch").configure(tidewatch::web::configure(state))`. All links
//! are relative, so any prefix does; give it a scope of its own, because it answers
//! every path below its prefix.

mod assets;
mod board;
mod guard;
mod health;
mod ingest;
mod problem;
mod records;
pub mod server;
mod sessions;
mod socket;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Addr;
use actix_web::dev::ServiceRequest;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Resource, body::BoxBody};
use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::actors::broadcaster::{BroadcastStats, Broadcaster};
use crate::actors::committer::Flow;
use crate::actors::directory::Directory;
use crate::actors::ports::{EventLog, Records};
use crate::actors::status::Status;
use crate::clock::SharedClock;
use crate::domain::board::Board;
use crate::domain::event::Schema;
use crate::domain::time::SpanMs;

use guard::Guard;
use problem::Problem;

/// Bounds and permissions of the web side.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Allows an address that others can reach, although nobody has to log in.
    pub insecure_no_auth: bool,
    /// Host names we answer for besides `localhost` and addresses; `*` is any.
    pub hosts: Vec<String>,
    /// Origins (`https://ops.example`) that may post and open websockets besides our own.
    pub origins: Vec<String>,
    /// Threads. 1 to 64.
    pub workers: usize,
    /// Most connections of one thread.
    pub connections_max: usize,
    /// Most websockets, over all threads.
    pub sockets_max: usize,
    /// Most bytes of a body as it comes.
    pub body_bytes_max: usize,
    /// Most bytes of a body after inflating.
    pub inflated_bytes_max: usize,
    /// Most bytes of bodies under way, over all requests; beyond it 429.
    pub intake_bytes_max: usize,
    /// Most events of one request.
    pub events_max: usize,
    /// Longest time for a body to arrive.
    pub body_timeout: SpanMs,
    /// Longest wait for clients to leave when the process stops.
    pub drain_timeout: SpanMs,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            insecure_no_auth: false,
            hosts: Vec::new(),
            origins: Vec::new(),
            workers: 2,
            connections_max: 5_000,
            sockets_max: 5_000,
            body_bytes_max: 8 * 1024 * 1024,
            inflated_bytes_max: 32 * 1024 * 1024,
            intake_bytes_max: 256 * 1024 * 1024,
            events_max: 100_000,
            body_timeout: 30_000,
            drain_timeout: 3_000,
        }
    }
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
    /// The open sessions.
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
    /// What is decoded, for verdicts.
    pub schema: Arc<Schema>,
    /// Bounds and permissions.
    pub settings: Settings,
    /// Seats and bytes in use.
    pub load: Load,
}

impl State {
    /// True once the process stops: nothing new is taken.
    fn is_draining(&self) -> bool {
        self.status.reasons().iter().any(|(part, _)| *part == server::DRAIN)
    }
}

/// What is in use of the bounds that hold over all threads. Clones share it.
#[derive(Clone, Debug)]
pub struct Load {
    sockets: Arc<AtomicUsize>,
    intake_kib: Arc<Semaphore>,
    intake_kib_max: usize,
}

impl Load {
    /// Nothing in use.
    pub fn new(settings: &Settings) -> Self {
        let kib = (settings.intake_bytes_max / 1024).clamp(1, Semaphore::MAX_PERMITS);
        let intake_kib = Arc::new(Semaphore::new(kib));
        Load { sockets: Arc::default(), intake_kib, intake_kib_max: kib }
    }

    /// Bytes of bodies under way, in whole KiB.
    pub fn intake_bytes(&self) -> usize {
        (self.intake_kib_max - self.intake_kib.available_permits()) * 1024
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
        let scope = web::scope("")
            .wrap(from_fn(guard))
            .app_data(Data::new(state))
            .service(at("", web::get().to(assets::page)))
            .service(at("/", web::get().to(assets::page)))
            .service(at("/static/{path:.*}", web::get().to(assets::asset)))
            .service(at("/livez", web::get().to(health::livez)))
            .service(at("/readyz", web::get().to(health::readyz)))
            .service(at("/healthz", web::get().to(health::readyz)))
            .service(at("/version", web::get().to(health::version)))
            .service(at("/metrics", web::get().to(health::metrics)))
            .service(at("/v1/ws", web::get().to(socket::open)))
            .service(at("/v1/events", web::post().to(ingest::events)))
            .service(at("/v1/board", web::get().to(board::snapshot)))
            .service(at("/v1/topics", web::get().to(board::topics)))
            .service(at("/v1/sessions/{key:.*}", web::get().to(sessions::session)))
            .service(at("/v1/alerts", web::get().to(records::alerts)))
            .service(at("/v1/alert-log", web::get().to(records::alert_log)))
            .service(at("/v1/late", web::get().to(records::late)))
            .service(at("/v1/dead-letters", web::get().to(records::dead_letters)))
            .service(at("/v1/dead-letters/redrive", web::post().to(records::redrive)))
            .service(at("/v1/dead-letters/{id}", web::get().to(records::dead_letter)))
            .service(at("/v1/dead-letters/{id}/raw", web::get().to(records::dead_letter_raw)))
            .default_service(web::to(not_found));
        config.service(scope);
    }
}

/// A path with its one method; others are refused as a problem.
fn at(path: &str, route: actix_web::Route) -> Resource {
    web::resource(path).route(route).default_service(web::to(method_not_allowed))
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::NotFound("there is nothing at this path".into()))
}

async fn method_not_allowed() -> Result<HttpResponse, Problem> {
    Err(Problem::MethodNotAllowed)
}

/// Text that is JSON already.
fn json(text: String) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(text)
}
