//! A JetStream client of the tests' own, on a thread of its own, so that plain tests can use
//! it. What it waits for has a deadline.

use std::fmt;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, Info};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::wait::{Stopwatch, pause, until};

/// Longest time until a server that is there has let us in, or changed its mind.
const PATIENCE_S: u64 = 30;

/// Longest time for one request, and for one publish to be acknowledged.
const REQUEST_MAX: Duration = Duration::from_secs(2);

/// How long messages are published again and again before the test fails.
const PUBLISH_MAX_S: u64 = 240;

/// Distance between two tries.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// The client. The connection ends with it.
pub struct Js {
    handle: Handle,
    client: Client,
    context: Context,
    _alive: oneshot::Sender<()>,
}

impl fmt::Debug for Js {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Js").finish_non_exhaustive()
    }
}

impl Js {
    /// Connects, again and again until the server lets us in.
    pub fn connect(url: &str) -> Js {
        let (made, waiting) = std::sync::mpsc::sync_channel(1);
        let (alive, ended) = oneshot::channel::<()>();
        let urls: Vec<String> = url.split(',').map(String::from).collect();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let options = ConnectOptions::new()
                    .retry_on_initial_connect()
                    .request_timeout(Some(REQUEST_MAX))
                    .reconnect_delay_callback(|_| Duration::from_millis(50));
                let client = options.connect(urls).await.expect("the URL is one");
                // Made here: it starts a task of its own.
                let mut context = jetstream::new(client.clone());
                context.set_timeout(REQUEST_MAX);
                made.send((client, context, Handle::current())).unwrap();
                let _ = ended.await;
            });
        });
        let (client, context, handle) = waiting.recv().expect("the client's thread starts");
        let js = Js { handle, client, context, _alive: alive };
        until(PATIENCE_S, "the NATS server lets us in", || {
            (js.client.connection_state() == State::Connected).then_some(())
        });
        js
    }

    /// Waits for something of the client. Not from inside a runtime.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }

    pub fn context(&self) -> &Context {
        &self.context
    }

    pub fn make_stream(&self, config: &Config) {
        until(PATIENCE_S, "the stream is made", || {
            self.run(self.context.create_stream(config.clone())).ok()
        });
    }

    pub fn info(&self, stream: &str) -> Info {
        until(PATIENCE_S, &format!("{stream} is there"), || {
            let stream = self.run(self.context.get_stream(stream)).ok()?;
            Some(stream.cached_info().clone())
        })
    }

    /// Publishes (id, payload) in order, at most `window` under way at once, each until the
    /// stream has it; returns how many had to be sent again. An empty id is none.
    pub fn publish(&self, subject: &str, messages: &[(String, Bytes)], window: usize) -> u64 {
        let watch = Stopwatch::start();
        let mut again = 0;
        for part in messages.chunks(window) {
            let mut open: Vec<&(String, Bytes)> = part.iter().collect();
            loop {
                open = self.run(self.try_publish(subject, &open));
                if open.is_empty() {
                    break;
                }
                assert!(watch.elapsed().as_secs() < PUBLISH_MAX_S, "{} never arrived", open[0].0);
                again += open.len() as u64;
                pause(RETRY_AFTER);
            }
        }
        again
    }

    /// Those that were not acknowledged.
    async fn try_publish<'a>(
        &self,
        subject: &str,
        messages: &[&'a (String, Bytes)],
    ) -> Vec<&'a (String, Bytes)> {
        let mut sent: Vec<Option<PublishAckFuture>> = Vec::new();
        for (id, payload) in messages {
            let mut message = PublishMessage::build().payload(payload.clone());
            if !id.is_empty() {
                message = message.message_id(id);
            }
            sent.push(self.context.send_publish(subject.to_string(), message).await.ok());
        }
        let mut open = Vec::new();
        for (acknowledged, message) in sent.into_iter().zip(messages) {
            let acknowledged = match acknowledged {
                Some(future) => future.await.is_ok(),
                None => false,
            };
            if !acknowledged {
                open.push(*message);
            }
        }
        open
    }
}
