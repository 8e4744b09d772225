//! How large a message may be: what the server says when the connection is made, and what the
//! stream says that takes the subject. Known before anything is sent, so that a request is not
//! half in the stream when the size of one event is noticed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::nats::link::{Link, LinkState};
use crate::nats::manage::{self, Refusal};
use crate::nats::publisher::limit::{Limit, StreamLimit, TooLarge};
use crate::nats::publisher::post::Post;

/// How often the stream is asked whether its bound is another one by now.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// The bounds on a message.
pub(super) struct Limits {
    stream: Arc<ArcSwapOption<StreamLimit>>,
    task: JoinHandle<()>,
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    streams: Option<Vec<String>>,
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Limits {
    /// Keeps itself up to date on the connection's thread.
    pub fn watch(link: &Link, subject: &str) -> Limits {
        let stream = Arc::new(ArcSwapOption::empty());
        let (context, state) = (link.jetstream().clone(), link.state());
        let (known, subject) = (Arc::clone(&stream), subject.to_owned());
        let task = link.spawn(async move { follow(context, state, &subject, &known).await });
        Limits { stream, task }
    }

    /// Whether a message can be taken.
    ///
    /// # Errors
    /// When it is longer than the server or the stream takes.
    pub fn check(&self, link: &Link, post: &Post) -> Result<(), TooLarge> {
        let stream = self.stream.load();
        Limit::of(link.client().max_payload(), stream.as_deref()).check(post)
    }
}

async fn follow(
    context: async_nats::jetstream::Context,
    mut state: watch::Receiver<LinkState>,
    subject: &str,
    known: &ArcSwapOption<StreamLimit>,
) {
    loop {
        if state.wait_for(|state| state.connected).await.is_err() {
            return;
        }
        let connects = state.borrow_and_update().connects;
        match ask(&context, subject).await {
            Ok(found) => known.store(found.map(Arc::new)),
            // What was known is the best there is; the stream itself refuses what is too large.
            Err(refusal) => tracing::debug!(?refusal, subject, "no bound of the stream is known"),
        }
        let again = state.wait_for(|state| state.connects != connects);
        if let Ok(Err(_)) = tokio::time::timeout(ASK_AGAIN, again).await {
            return;
        }
    }
}

/// The bound of the stream that takes `subject`, if it has one.
async fn ask(
    context: &async_nats::jetstream::Context,
    subject: &str,
) -> Result<Option<StreamLimit>, Refusal> {
    let question = json!({ "subject": subject });
    let names: Names = manage::ask(context, "STREAM.NAMES".into(), &question).await?;
    let mut least: Option<StreamLimit> = None;
    for stream in names.streams.unwrap_or_default() {
        let info = manage::stream_info(context, &stream).await?;
        let Some(limit) = StreamLimit::of(&stream, info.config.max_message_size) else { continue };
        if least.as_ref().is_none_or(|least| limit.bytes() < least.bytes()) {
            least = Some(limit);
        }
    }
    Ok(least)
}
