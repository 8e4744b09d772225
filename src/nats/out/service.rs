//! Answers other services over NATS: a micro service with `$SRV.PING`, `$SRV.INFO`,
//! `$SRV.STATS` and four endpoints, so that a fleet can ask without HTTP.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Request, Service, ServiceExt, error};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::Parts;
use crate::actors::directory::{AT_RISK_MAX, Directory, NotSeen};
use crate::actors::status::Status;
use crate::domain::at_risk::By;
use crate::domain::board::{Board, frame};
use crate::nats::link::Link;
use crate::nats::settings::OutSettings;
use crate::sink::Track;
use crate::sink::feed::delays;

/// Longest session key asked for, in bytes; what events may carry is shorter.
const KEY_BYTES_MAX: usize = 4_096;

/// Most bytes of the sessions at risk in an answer: half of what a server lets through by default.
const AT_RISK_BYTES_MAX: usize = 512 * 1024;

/// Answers requests.
pub(super) struct MicroService {
    link: Link,
    settings: Arc<OutSettings>,
    answers: Answers,
    track: Arc<Track>,
    stop: watch::Receiver<bool>,
}

/// The running service. Its own task for `$SRV` ends only when it is told so.
struct Guard(Option<Service>);

impl Drop for Guard {
    fn drop(&mut self) {
        // Nothing in it waits, so one poll does it.
        let _ = self.0.take().map(|service| service.stop().now_or_never());
    }
}

impl MicroService {
    pub fn new(
        link: &Link,
        settings: &Arc<OutSettings>,
        parts: &Parts,
        track: Arc<Track>,
        stop: watch::Receiver<bool>,
    ) -> MicroService {
        let answers = Answers {
            board: Arc::clone(&parts.board),
            directory: parts.directory.clone(),
            status: Arc::clone(&parts.status),
        };
        MicroService { link: link.clone(), settings: Arc::clone(settings), answers, track, stop }
    }

    /// Answers until it is stopped. The client keeps the subscriptions over reconnects.
    pub async fn run(mut self) {
        let mut waits = delays(self.settings.retry_max);
        loop {
            let mut state = self.link.state();
            tokio::select! {
                // Fails only when the connection's thread ends, and this task with it.
                _ = state.wait_for(|state| state.connected) => {}
                _ = self.stop.changed() => return,
            }
            match self.serve().await {
                Ok(()) => return,
                Err(cause) => self.track.failed(&self.link.explain(cause)),
            }
            tokio::time::sleep(waits.next().unwrap_or(self.settings.retry_max)).await;
        }
    }

    async fn serve(&self) -> Result<(), String> {
        let name = self.settings.service.as_str();
        let about = "live operational numbers of an event stream";
        let builder = self.link.client().service_builder().description(about);
        let started = builder.start(name, env!("CARGO_PKG_VERSION")).await;
        let guard = Guard(Some(started.map_err(|error| format!("service {name}: {error}"))?));
        let snapshot = endpoint(&guard, name, "snapshot").await?;
        let session = endpoint(&guard, name, "session").await?;
        let at_risk = endpoint(&guard, name, "at_risk").await?;
        let ready = endpoint(&guard, name, "ready").await?;
        self.track.fine();
        let all = async {
            tokio::join!(
                self.answer(snapshot, Question::Snapshot),
                self.answer(session, Question::Session),
                self.answer(at_risk, Question::AtRisk),
                self.answer(ready, Question::Ready),
            );
        };
        let mut stop = self.stop.clone();
        tokio::pin!(all);
        tokio::select! {
            () = &mut all => return Err(format!("service {name}: its subscriptions ended")),
            _ = stop.changed() => {}
        }
        // Takes the subscriptions back; what was asked before is answered.
        drop(guard);
        all.await;
        Ok(())
    }

    /// Answers the requests of one endpoint, a bounded number at a time.
    async fn answer(&self, requests: Endpoint, question: Question) {
        let (answers, track) = (self.answers.clone(), Arc::clone(&self.track));
        let one = move |request: Request| {
            let (answers, track) = (answers.clone(), Arc::clone(&track));
            async move {
                let answer = match question {
                    Question::Snapshot => Ok(answers.snapshot()),
                    Question::Session => answers.session(&request.message.payload).await,
                    Question::AtRisk => answers.at_risk(&request.message.payload).await,
                    Question::Ready => Ok(answers.ready()),
                };
                // Who asked without a reply subject gets no answer.
                if request.respond(answer.map(Bytes::from)).await.is_ok() {
                    track.delivered(1);
                }
            }
        };
        requests.for_each_concurrent(self.settings.requests_max, one).await;
    }
}

/// What an endpoint is asked.
#[derive(Clone, Copy, Debug)]
enum Question {
    Snapshot,
    Session,
    AtRisk,
    Ready,
}

/// Payload of `at_risk`; an empty one is `{}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AtRiskAsked {
    by: By,
    limit: Option<usize>,
    of: Option<String>,
}

async fn endpoint(guard: &Guard, service: &str, name: &str) -> Result<Endpoint, String> {
    let Guard(Some(running)) = guard else { return Err("the service ended".into()) };
    let made = running.endpoint_builder().name(name).add(format!("{service}.{name}")).await;
    made.map_err(|error| format!("endpoint {service}.{name}: {error}"))
}

/// Where the answers come from.
#[derive(Clone)]
struct Answers {
    board: Arc<ArcSwap<Board>>,
    directory: Directory,
    status: Arc<Status>,
}

impl Answers {
    /// As `GET /v1/board`.
    fn snapshot(&self) -> String {
        frame::board(&self.board.load())
    }

    /// As `GET /v1/sessions/{key}`; the payload is the key.
    async fn session(&self, key: &[u8]) -> Result<String, error::Error> {
        let key = std::str::from_utf8(key).ok().filter(|key| {
            let length = key.len();
            length > 0 && length <= KEY_BYTES_MAX
        });
        let Some(key) = key else { return Err(failure(400, "the payload must be a session key")) };
        match self.directory.describe(key).await {
            Ok(Some(view)) => Ok(json!(view).to_string()),
            Ok(None) => Err(failure(404, "this key has no open session")),
            Err(no_answer) => Err(failure(503, &no_answer.to_string())),
        }
    }

    /// As `GET /v1/at-risk`.
    async fn at_risk(&self, payload: &[u8]) -> Result<String, error::Error> {
        let asked: AtRiskAsked = match payload {
            b"" => AtRiskAsked::default(),
            json => {
                serde_json::from_slice(json).map_err(|error| failure(400, &error.to_string()))?
            }
        };
        let found = self.directory.at_risk_of(asked.of.as_deref()).await;
        let found = found.map_err(|why| match why {
            NotSeen::NoAnswer(_) => failure(503, &why.to_string()),
            NotSeen::NoSuchKind { .. } => failure(404, &why.to_string()),
        })?;
        let limit = asked.limit.unwrap_or(AT_RISK_MAX);
        Ok(found.page(asked.by, limit, AT_RISK_BYTES_MAX).to_string())
    }

    /// As `GET /readyz`; not being ready is an answer, and no error.
    fn ready(&self) -> String {
        self.status.ready().to_string()
    }
}

fn failure(code: usize, status: &str) -> error::Error {
    error::Error { status: status.into(), code }
}
