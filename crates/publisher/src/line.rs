//! The way into a stream, in two phases: messages are sent, and the stream answers to each. All
//! who publish go this way: the publisher, the gateway, and what leaves.
//!
//! Answers come to one subscription, at a subject that ends in a number; that is cheaper than a
//! subscription or a timer for each message.
//!
//! What follows from an answer is the same for all. What may pass ([`Answer::Again`],
//! [`Answer::Unknown`]) is sent again with the same id, after waits that double
//! (`backoff.rs`); what is refused is not. A batch that did not go goes one by one. Who sends again
//! is who holds the message: the publisher's engine, the loop of a feed, the client of the gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::jetstream::ErrorCode;
use async_nats::{Client, Subject, Subscriber};
use futures_util::StreamExt as _;
use futures_util::stream::ReadyChunks;
use tokio::sync::watch;

use crate::answer::Answer;
use crate::limit::Limit;
use crate::link::{Link, LinkState};
use crate::post::{Post, batch};

/// Answers taken at once.
const AT_ONCE: usize = 256;

/// How much may be sent and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Messages, at most what the client's queue of answers holds: 65,536.
    pub messages: usize,
    /// Bytes of them, unless a single one has more.
    pub bytes: usize,
}

/// Sends messages over a connection and hears what the stream answers.
pub struct Line {
    client: Client,
    inbox: String,
    answers: ReadyChunks<Subscriber>,
    state: watch::Receiver<LinkState>,
    /// How long the connection may take nothing, and the stream answer nothing.
    patience: Duration,
    /// First number that `exchange` did not use yet.
    next: u64,
}

impl Line {
    /// A line over a connection, which may be away. It waits by the timer of the runtime that
    /// it is used in.
    ///
    /// # Errors
    /// When the connection has ended for good.
    pub async fn open(link: &Link, patience: Duration) -> Result<Line, String> {
        let client = link.client().clone();
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await;
        let answers = answers.map_err(|error| error.to_string())?.ready_chunks(AT_ONCE);
        Ok(Line { client, inbox, answers, state: link.state(), patience, next: 0 })
    }

    /// The first phase: sends one message, or several as one atomic batch. The answer comes to
    /// `number`.
    ///
    /// # Errors
    /// `Refused` when it can never be sent; `Unknown` when the connection takes nothing now. Then a
    /// part of a batch may have gone.
    pub async fn send(&self, number: u64, mut posts: Vec<Post>) -> Result<(), Answer> {
        if posts.len() > 1 {
            let name = self.client.new_inbox();
            batch(&mut posts, name.rsplit('.').next().unwrap_or(&name));
        }
        let limit = Limit::of(self.client.max_payload(), None);
        posts.iter().try_for_each(|post| limit.check(post)).map_err(Answer::too_large)?;
        let last = posts.len().saturating_sub(1);
        for (n, post) in posts.into_iter().enumerate() {
            let reply = (n == last).then(|| Subject::from(format!("{}.{number}", self.inbox)));
            hand_over(&self.client, post, reply, self.patience).await?;
        }
        Ok(())
    }

    /// The second phase: the answers that are there, with their numbers; waits for the first.
    /// Never ends once the connection has ended. May be dropped at any time.
    pub async fn answers(&mut self) -> Vec<(u64, Answer)> {
        next_answers(&mut self.answers).await
    }

    /// Both phases: sends each of `units` in order (a message, or several as a batch), within
    /// `window`, and tells what the stream answered to it. `Unknown` is what got no answer within
    /// the line's patience, or before the connection was lost. Nothing is sent while it is away.
    ///
    /// # Errors
    /// What `told` returned; nothing more is sent then, and nothing more is heard.
    pub async fn exchange<E>(
        &mut self,
        units: Vec<Vec<Post>>,
        window: Window,
        mut told: impl FnMut(usize, Answer) -> Result<(), E>,
    ) -> Result<(), E> {
        let base = self.next;
        self.next += units.len() as u64;
        let connects = self.connects();
        let mut flight = Flight::default();
        for (number, posts) in (base..).zip(units) {
            let bytes = posts.iter().map(|post| post.header_bytes() + post.payload.len()).sum();
            while flight.is_full(posts.len(), bytes, window) {
                self.settle(&mut flight, connects, |n, answer| told((n - base) as usize, answer))
                    .await?;
            }
            let messages = posts.len();
            let sent = if self.connects() == connects && connects.is_some() {
                self.send(number, posts).await
            } else {
                Err(Answer::Unknown("the connection is away".into()))
            };
            match sent {
                Ok(()) => flight.add(number, messages, bytes),
                Err(answer) => told((number - base) as usize, answer)?,
            }
        }
        while !flight.sent.is_empty() {
            self.settle(&mut flight, connects, |n, answer| told((n - base) as usize, answer))
                .await?;
        }
        Ok(())
    }

    /// Both phases for one message, or for several as a batch.
    pub async fn deliver(&mut self, posts: Vec<Post>) -> Answer {
        let window = Window { messages: posts.len(), bytes: usize::MAX };
        let mut answer = None;
        let told = self.exchange(vec![posts], window, |_, said| {
            answer = Some(said);
            Ok::<(), std::convert::Infallible>(())
        });
        match told.await {
            Ok(()) => answer.unwrap_or_else(|| Answer::Unknown("nothing was sent".into())),
        }
    }

    /// Waits for the next answers to what is in flight.
    async fn settle<E>(
        &mut self,
        flight: &mut Flight,
        connects: Option<u64>,
        mut told: impl FnMut(u64, Answer) -> Result<(), E>,
    ) -> Result<(), E> {
        let lost = self.state.wait_for(|state| since(state) != connects);
        let heard = tokio::time::timeout(self.patience, next_answers(&mut self.answers));
        let heard = tokio::select! {
            biased;
            heard = heard => heard.map_err(|_| format!("no answer within {:?}", self.patience)),
            _ = lost => Err("the connection was lost before the stream answered".into()),
        };
        match heard {
            Ok(answers) => {
                // Answers to an earlier exchange that was given up are nobody's.
                let ours = answers.into_iter().filter(|(number, _)| flight.landed(*number));
                let ours: Vec<_> = ours.collect();
                ours.into_iter().try_for_each(|(number, answer)| told(number, answer))
            }
            Err(why) => {
                let sent = std::mem::take(flight).sent;
                sent.into_keys().try_for_each(|n| told(n, Answer::Unknown(why.clone())))
            }
        }
    }

    /// How often the connection was made; `None` while it is away.
    fn connects(&self) -> Option<u64> {
        since(&self.state.borrow())
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Line").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

/// Sends a message that nobody answers to.
///
/// # Errors
/// As [`Line::send`].
pub async fn tell(link: &Link, post: Post, patience: Duration) -> Result<(), Answer> {
    let limit = Limit::of(link.client().max_payload(), None);
    limit.check(&post).map_err(Answer::too_large)?;
    hand_over(link.client(), post, None, patience).await
}

/// What is sent and not answered.
#[derive(Debug, Default)]
struct Flight {
    /// Messages and bytes, by number.
    sent: BTreeMap<u64, (usize, usize)>,
    messages: usize,
    bytes: usize,
}

impl Flight {
    fn is_full(&self, messages: usize, bytes: usize, window: Window) -> bool {
        let beyond = self.messages + messages > window.messages
            || self.bytes.saturating_add(bytes) > window.bytes;
        beyond && !self.sent.is_empty()
    }

    fn add(&mut self, number: u64, messages: usize, bytes: usize) {
        self.sent.insert(number, (messages, bytes));
        self.messages += messages;
        self.bytes += bytes;
    }

    /// Whether the number was waited for.
    fn landed(&mut self, number: u64) -> bool {
        let Some((messages, bytes)) = self.sent.remove(&number) else { return false };
        self.messages -= messages;
        self.bytes -= bytes;
        true
    }
}

fn since(state: &LinkState) -> Option<u64> {
    state.connected.then_some(state.connects)
}

async fn next_answers(answers: &mut ReadyChunks<Subscriber>) -> Vec<(u64, Answer)> {
    let Some(messages) = answers.next().await else { return std::future::pending().await };
    let number = |subject: &str| subject.rsplit('.').next().and_then(|token| token.parse().ok());
    let answer =
        |message: &async_nats::Message| Some((number(&message.subject)?, Answer::of(message)));
    messages.iter().filter_map(answer).collect()
}

async fn hand_over(
    client: &Client,
    post: Post,
    reply: Option<Subject>,
    patience: Duration,
) -> Result<(), Answer> {
    let Post { subject, headers, payload } = post;
    let sent = async {
        match (reply, headers.is_empty()) {
            (Some(reply), false) => {
                client.publish_with_reply_and_headers(subject, reply, headers, payload).await
            }
            (Some(reply), true) => client.publish_with_reply(subject, reply, payload).await,
            (None, false) => client.publish_with_headers(subject, headers, payload).await,
            (None, true) => client.publish(subject, payload).await,
        }
    };
    match tokio::time::timeout(patience, sent).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(unsent(&error)),
        Err(_) => Err(Answer::Unknown("the connection takes nothing now".into())),
    }
}

fn unsent(error: &PublishError) -> Answer {
    let code = match error.kind() {
        PublishErrorKind::Send => return Answer::Unknown(error.to_string()),
        PublishErrorKind::MaxPayloadExceeded => ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM,
        PublishErrorKind::InvalidSubject => ErrorCode::BAD_REQUEST,
    };
    Answer::Refused(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_bounds_messages_and_bytes_and_lets_one_unit_through() {
        let window = Window { messages: 3, bytes: 100 };
        let mut flight = Flight::default();
        assert!(!flight.is_full(9, 900, window), "alone it goes, whatever its size");
        flight.add(1, 2, 40);
        assert!(!flight.is_full(1, 60, window));
        assert!(flight.is_full(2, 1, window) && flight.is_full(1, 61, window));
        flight.add(2, 1, 60);
        assert!(flight.landed(1) && !flight.landed(1) && !flight.landed(7));
        assert_eq!((flight.messages, flight.bytes), (1, 60));
    }
}
