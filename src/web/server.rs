//! Our own server: listens, bounds connections, and stops in order: not ready any
//! more, goodbye to the websockets, then the rest.

use std::any::Any;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, rt};
use socket2::SockRef;
use thiserror::Error;

use super::{Settings, State, configure};
use crate::actors::broadcaster::Drain;
use crate::domain::condition::Condition;
use crate::telemetry::happenings::OpenToAll;

/// Sent and not acknowledged for this long, a connection is dead. Nothing else ends a
/// peer that keeps its window shut.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// The kernel's buffer hides how slow a client is: with the default one 3.3 MB were on
/// their way to a stalled browser, with 128 KiB 0.27 MB.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// Connections not accepted yet.
const BACKLOG: u32 = 1_024;

/// Time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence after which a connection without request is closed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Seconds that requests under way get at the end.
const SHUTDOWN_TIMEOUT_S: u64 = 3;

/// How often the drain looks whether all clients have left.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Why the server cannot run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Others could reach the address and nobody has to log in.
    #[error(
        "refusing to listen on {listen}: others can reach it and there are no accounts; listen on 127.0.0.1, or set `web.insecure_no_auth = true` if something in front of it keeps strangers out"
    )]
    Exposed {
        /// The address.
        listen: SocketAddr,
    },
    /// The address cannot be taken.
    #[error("cannot listen on {listen}: {cause}{}", remedy(cause))]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// The system's words.
        cause: std::io::Error,
    },
    /// The server failed while it ran.
    #[error("the web server failed: {0}")]
    Run(std::io::Error),
}

/// What to do about an address that cannot be taken.
fn remedy(cause: &std::io::Error) -> &'static str {
    match cause.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program listens there, perhaps another tidewatch: stop it, or choose \
             another address with --listen (web.listen)"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a right of their own: choose another address with --listen \
             (web.listen)"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: choose another one with --listen (web.listen)"
        }
        _ => "",
    }
}

/// Looks whether the address can be taken, before anything is opened for it. Whoever comes in
/// between is noticed by [`bind`].
///
/// # Errors
/// `Exposed`, `Bind`.
pub fn check_address(settings: &Settings) -> Result<(), ServeError> {
    let listen = settings.listen;
    if !listen.ip().is_loopback() && !settings.insecure_no_auth {
        return Err(ServeError::Exposed { listen });
    }
    let taken = std::net::TcpListener::bind(listen);
    taken.map(drop).map_err(|cause| ServeError::Bind { listen, cause })
}

/// A server that listens already and serves as soon as it is run.
pub struct Bound {
    addr: SocketAddr,
    server: Server,
    state: State,
}

/// Takes the address. Call it inside an actix system.
///
/// # Errors
/// `Exposed`, `Bind`.
pub fn bind(state: State) -> Result<Bound, ServeError> {
    let settings = &state.settings;
    let listen = settings.listen;
    if !listen.ip().is_loopback() && !settings.insecure_no_auth {
        return Err(ServeError::Exposed { listen });
    }
    if !listen.ip().is_loopback() {
        OpenToAll { listen: &listen.to_string() }.tell();
    }
    let workers = settings.workers.clamp(1, 64);
    let connections = state.load.connections.clone();
    let for_workers = state.clone();
    let server = HttpServer::new(move || App::new().configure(configure(for_workers.clone())))
        .workers(workers)
        // The bound that holds is that of `Connections`: this one must never be reached,
        // because then nobody is let in, not even who asks how we are.
        .max_connections(state.load.connections.ever())
        .backlog(BACKLOG)
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(SHUTDOWN_TIMEOUT_S)
        .disable_signals()
        .on_connect(move |connection: &dyn Any, extensions| {
            let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
            tune(stream);
            extensions.insert(connections.enter(stream));
        })
        .bind(listen)
        .map_err(|cause| ServeError::Bind { listen, cause })?;
    let addr = server.addrs().first().copied().unwrap_or(listen);
    Ok(Bound { addr, server: server.run(), state })
}

impl Bound {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop` resolves, then drains.
    ///
    /// # Errors
    /// `Run`.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let handle = self.server.handle();
        let state = self.state;
        let stopping = async move {
            stop.await;
            drain(&state, handle).await;
        };
        let mut server = std::pin::pin!(self.server);
        let mut stopping = std::pin::pin!(stopping);
        tokio::select! {
            ended = &mut server => return ended.map_err(ServeError::Run),
            () = &mut stopping => {}
        }
        server.await.map_err(ServeError::Run)
    }
}

/// New requests are refused, clients are told when to come back, then it ends.
async fn drain(state: &State, handle: ServerHandle) {
    state.status.holds(Condition::Stopping, true);
    // Without a broadcaster there is nobody to say goodbye to.
    let _ = state.broadcaster.send(Drain).await;
    let all_left = async {
        while state.load.sockets_open() > 0 {
            rt::time::sleep(DRAIN_LOOK).await;
        }
    };
    let bound = Duration::from_millis(state.settings.drain_timeout.max(0) as u64);
    // Clients that do not read are cut with the server.
    let _ = rt::time::timeout(bound, all_left).await;
    handle.stop(true).await;
}

fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    note(socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT)), "TCP_USER_TIMEOUT");
    note(socket.set_send_buffer_size(SEND_BUFFER_BYTES), "SO_SNDBUF");
}

/// The connection works without; it only notices a dead peer later.
fn note(set: std::io::Result<()>, option: &'static str) {
    if let Err(error) = set {
        tracing::debug!(option, %error, "a socket option was not set");
    }
}
