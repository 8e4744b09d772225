//! One connection to NATS for everything: on a thread of its own, tried again for ever,
//! its state visible.
//!
//! The client's input and output run on the link's own thread, so that a busy shard never
//! delays a heartbeat and a flood of messages never delays a shard.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, jetstream};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::backoff::backoff;
use crate::connection::{API, Auth, LinkSettings, without_users};
use crate::denied::{Denied, note_denied};
use crate::{NatsError, SERVER_MIN};
use tidewatch_clock::{SharedClock, SystemClock};

/// How the connection is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Connected now.
    pub connected: bool,
    /// How often it was made: grows by 1 with every (re)connect.
    pub connects: u64,
    /// Last error, empty when there was none since the last connect.
    pub error: String,
    /// What the server did not let this user do, see [`Denied`].
    pub denied: Vec<Denied>,
}

/// How often a connection whose answers cannot come is made anew: only then the server looks
/// again at what this user may do.
const DENIED_AGAIN: Duration = Duration::from_secs(15);

/// A connection, cheap to clone. The thread behind it ends with the last clone.
#[derive(Clone)]
pub struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    settings: LinkSettings,
    /// Its servers as they are shown.
    shown: String,
    client: Client,
    context: jetstream::Context,
    state: watch::Receiver<LinkState>,
    handle: Handle,
    /// Ends the thread when it is dropped.
    _alive: tokio::sync::oneshot::Sender<()>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Link").field("url", &self.inner.shown).finish_non_exhaustive()
    }
}

impl Link {
    /// Starts connecting. Returns before the server answered: a server that is away is
    /// tried again for ever, see [`Link::ready`].
    ///
    /// # Errors
    /// When a setting cannot be used: a URL that is none, a file that cannot be read.
    pub fn open(settings: LinkSettings) -> Result<Link, NatsError> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let work = settings.clone();
        let thread = std::thread::Builder::new().name("nats".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = answer.send(Err(setting("nats", &error)));
                    return;
                }
            };
            runtime.block_on(async move {
                let made = connect(&work).await.map(|(client, state)| {
                    // Here, because the client spawns a task for it.
                    let mut context = jetstream::with_prefix(client.clone(), &work.api);
                    context.set_timeout(work.request_timeout);
                    tokio::spawn(try_denied_again(client.clone(), state.clone()));
                    (client, state, context, Handle::current())
                });
                // The opener waits for it on the other end.
                let _ = answer.send(made);
                let _ = ended.await;
            });
        });
        thread.map_err(|error| setting("nats", &error))?;
        let gone = |_| setting("nats", &"the thread of the connection ended");
        let (client, state, context, handle) = answered.recv().map_err(gone)??;
        let shown = without_users(&settings.url);
        let inner = Inner { settings, shown, client, context, state, handle, _alive: alive };
        Ok(Link { inner: Arc::new(inner) })
    }

    /// Waits until the server answers, and checks that it is one we can use. Tried again
    /// for ever; [`Link::state`] says how it stands meanwhile.
    ///
    /// # Errors
    /// `TooOld`, `NoJetStream`.
    /// With an API of its own (a domain, an import) the server it is connected to need not have
    /// JetStream.
    pub async fn ready(&self) -> Result<(), NatsError> {
        let mut state = self.inner.state.clone();
        // Fails only when the connection's thread ended, with the process.
        let _ = state.wait_for(|state| state.connected).await;
        let info = self.inner.client.server_info();
        let url = self.url().to_owned();
        if version(&info.version).is_none_or(|found| found < SERVER_MIN) {
            return Err(NatsError::TooOld { url, version: info.version });
        }
        if !info.jetstream && self.api() == API {
            return Err(NatsError::NoJetStream { url });
        }
        Ok(())
    }

    /// Major and minor version of the server it is connected to, if it says so.
    pub fn server_version(&self) -> Option<(u64, u64)> {
        version(&self.inner.client.server_info().version)
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Where JetStream's API is.
    pub fn api(&self) -> &str {
        &self.inner.settings.api
    }

    /// How long one request to the server may take.
    pub fn request_timeout(&self) -> Duration {
        self.inner.settings.request_timeout
    }

    /// A reason, with what the server does not let this user do, which is mostly why.
    pub fn explain(&self, cause: impl Into<String>) -> String {
        let mut cause = cause.into();
        for denied in &self.inner.state.borrow().denied {
            cause += "; this user ";
            cause += &denied.to_string();
        }
        cause
    }

    /// JetStream, with the request timeout set.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.inner.context
    }

    /// The state, to look at or to wait for.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.inner.state.clone()
    }

    /// Connected now.
    pub fn connected(&self) -> bool {
        self.inner.state.borrow().connected
    }

    /// The servers as configured, without users and passwords.
    pub fn url(&self) -> &str {
        &self.inner.shown
    }

    /// The error to show while the server is away.
    pub fn away(&self) -> NatsError {
        let cause = self.inner.state.borrow().error.clone();
        NatsError::Away { url: self.url().to_owned(), cause }
    }

    /// Runs a future on the connection's thread.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.inner.handle.spawn(future)
    }
}

/// Major and minor of `2.15.1`, `2.12.0-beta.1`.
fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.').map(|part| part.parse::<u64>().ok());
    Some((parts.next()??, parts.next()??))
}

fn setting(key: &str, cause: &impl ToString) -> NatsError {
    NatsError::Setting { key: key.into(), cause: cause.to_string() }
}

type Made = (Client, watch::Receiver<LinkState>);

async fn connect(settings: &LinkSettings) -> Result<Made, NatsError> {
    let mut options = ConnectOptions::new()
        .name(&settings.name)
        .retry_on_initial_connect()
        .request_timeout(Some(settings.request_timeout))
        .custom_inbox_prefix(&settings.inbox);
    let reconnect_max = settings.reconnect_max;
    options =
        options.reconnect_delay_callback(move |attempt| backoff(attempt as u32, reconnect_max));
    options = match &settings.auth {
        Auth::None => options,
        Auth::Creds(path) => {
            let made = options.credentials_file(path).await;
            made.map_err(|error| {
                setting("nats.creds_file", &format!("{}: {error}", path.display()))
            })?
        }
        Auth::Nkey(seed) => options.nkey(seed.clone()),
        Auth::Token(token) => options.token(token.clone()),
        Auth::Password(user, password) => options.user_and_password(user.clone(), password.clone()),
    };
    let tls = &settings.tls;
    if tls.required {
        options = options.require_tls(true);
    }
    if tls.first {
        options = options.tls_first();
    }
    if let Some(path) = &tls.ca_file {
        options = options.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &tls.client {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    let (told, state) = watch::channel(LinkState::default());
    let told = Arc::new(Mutex::new(told));
    let (clock, inbox) = (SystemClock::shared(), settings.inbox.clone());
    let options = options.event_callback(move |event| {
        note(&event, &told.lock(), (&clock, &inbox));
        async {}
    });
    let urls: Vec<&str> = settings.url.split(',').map(str::trim).collect();
    let client = options.connect(urls).await.map_err(|error| setting("nats.url", &error))?;
    Ok((client, state))
}

/// Makes the connection anew now and then while answers cannot come.
async fn try_denied_again(client: Client, mut state: watch::Receiver<LinkState>) {
    let stuck = |state: &LinkState| state.connected && state.denied.iter().any(Denied::answers);
    while state.wait_for(stuck).await.is_ok() {
        tokio::time::sleep(DENIED_AGAIN).await;
        if stuck(&state.borrow_and_update()) && client.force_reconnect().await.is_err() {
            return;
        }
    }
}

fn note(event: &Event, told: &watch::Sender<LinkState>, (clock, inbox): (&SharedClock, &str)) {
    match event {
        Event::Connected => told.send_modify(|state| {
            state.connected = true;
            state.connects += 1;
            state.error.clear();
            state.denied.clear();
        }),
        Event::Disconnected | Event::Closed => told.send_modify(|state| state.connected = false),
        Event::ServerError(error) => told.send_modify(|state| {
            let known = Denied::parse(&error.to_string(), inbox, clock.elapsed());
            match known {
                Some(denied) => note_denied(&mut state.denied, denied),
                None => state.error = error.to_string(),
            }
        }),
        Event::ClientError(error) => told.send_modify(|state| state.error = error.to_string()),
        // What a slow subscription dropped is missed by who reads it: a number that does not follow,
        // an answer that does not come.
        Event::SlowConsumer(_) | Event::LameDuckMode | Event::Draining => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_with_whatever_follows() {
        assert_eq!(version("2.15.1"), Some((2, 15)));
        assert_eq!(version("2.12.0-beta.1"), Some((2, 12)));
        assert_eq!(version("dev"), None);
        assert!((2, 9) < SERVER_MIN && (2, 11) >= SERVER_MIN);
    }
}
