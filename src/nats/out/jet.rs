//! A stream as a sink: rows are published in order, each fenced (`message`), and the stream itself
//! says how far it got (`cursor`). So neither a crash of ours nor one of the broker repeats or loses
//! a row.

use std::sync::Arc;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::Stream;
use tokio::sync::watch;

use super::cursor;
use super::message::{JetRow, Target};
use super::streams;
use crate::nats::link::{Link, LinkState};
use crate::nats::publisher::answer::Answer;
use crate::nats::publisher::limit::{Limit, StreamLimit};
use crate::nats::publisher::line::Line;
use crate::nats::publisher::post::Post;
use crate::nats::settings::OutSettings;
use crate::sink::{Delivery, Fate, Reached, Resumed, Sink, Stop};

/// Messages that go one by one after a batch was refused, before a batch is tried again.
const SINGLES: usize = 64;

/// Publishes the rows of one feed into a stream.
pub struct JetSink {
    link: Link,
    settings: Arc<OutSettings>,
    target: Target,
    /// `None` until the first look-up.
    line: Option<Line>,
    state: watch::Receiver<LinkState>,
    /// Connected, and how often, when the stream was looked up last.
    seen: (bool, u64),
    found: Option<Found>,
    /// Sequence of the feed's last message in the stream, 0 for none: what the next one is
    /// fenced with.
    fence: u64,
    /// Sends that are not made as a batch.
    singles: usize,
    /// The row for whose size the stream's bound was asked for last.
    measured: u64,
}

/// The stream as it was found.
struct Found {
    stream: Stream,
    atomic: bool,
    limit: Option<Arc<StreamLimit>>,
}

impl JetSink {
    /// A sink on a connection, which may be away at the moment.
    pub fn new(link: &Link, settings: &Arc<OutSettings>, target: Target) -> JetSink {
        JetSink {
            line: None,
            state: link.state(),
            link: link.clone(),
            settings: Arc::clone(settings),
            target,
            seen: (false, 0),
            found: None,
            fence: 0,
            singles: 0,
            measured: 0,
        }
    }

    /// The messages of the first rows that go at once, and what becomes of each.
    fn posts(&mut self, page: &[JetRow]) -> Result<(Vec<Post>, Vec<Fate>), Delivery> {
        let Some(Found { atomic, limit, .. }) = &self.found else {
            return Err(Delivery::stopped(Stop::Doubt));
        };
        let limit = Limit::of(self.link.client().max_payload(), limit.as_deref());
        if *atomic && self.singles == 0 {
            let posts = self.target.batch(page, self.fence, limit);
            if posts.len() > 1 {
                let fates = vec![Fate::Taken; posts.len()];
                return Ok((posts, fates));
            }
        }
        let row = &page[0];
        if let Some(cause) = &row.refused {
            return Err(Delivery { rows: vec![Fate::Refused(cause.clone())], stop: None });
        }
        let message = self.target.alone(row, self.fence, limit);
        let whole = matches!(message, Some((_, false)));
        if !whole && self.measured != row.n {
            // The bound may be a wider one by now.
            self.measured = row.n;
            return Err(Delivery::stopped(Stop::Doubt));
        }
        match message {
            Some((post, short)) => {
                let fate = if short { Fate::Shortened } else { Fate::Taken };
                Ok((vec![post], vec![fate]))
            }
            None => {
                let refused = Fate::Refused(limit.to_string());
                Err(Delivery { rows: vec![refused], stop: None })
            }
        }
    }

    /// The broker knows the first row's id. Either a copy got there before, which the cursor
    /// tells; or another feed said the same (one log, two data folders), which the message tells.
    /// An id without a message is waited for until it is forgotten.
    async fn known(&mut self, row: &JetRow, sequence: u64) -> Delivery {
        let Some(Found { stream, .. }) = &self.found else {
            return Delivery::stopped(Stop::Doubt);
        };
        let read = cursor::read(stream, &self.target.filter(), &self.target.feed).await;
        let read = match read {
            Ok(read) => read,
            Err(cause) => return self.failed(cause),
        };
        if read.n >= row.n {
            return Delivery::stopped(Stop::Doubt);
        }
        if !cursor::holds(stream, sequence, &row.id).await {
            return self.failed(format!(
                "stream {} remembers id {} and holds no such message; it is published once the \
                 stream's duplicate window has passed",
                self.target.stream, row.id
            ));
        }
        self.fence = read.sequence;
        Delivery::taken(1)
    }

    fn failed(&self, cause: impl ToString) -> Delivery {
        Delivery::stopped(Stop::failed(self.link.explain(cause.to_string())))
    }
}

impl Sink for JetSink {
    type Row = JetRow;

    async fn resume(&mut self) -> Result<Resumed, Stop> {
        self.found = None;
        self.seen = seen(&self.state.borrow_and_update());
        if !self.seen.0 {
            return Err(Stop::Away(self.link.away().to_string()));
        }
        let failed = |cause: String| Stop::failed(self.link.explain(cause));
        let Target { stream: name, feed, .. } = &self.target;
        if self.line.is_none() {
            let line = Line::open(&self.link, self.link.request_timeout()).await;
            self.line = Some(line.map_err(failed)?);
        }
        let stream = streams::stream(&self.link, &self.settings, &self.target).await;
        let stream = stream.map_err(|error| failed(error.to_string()))?;
        let read = cursor::read(&stream, &self.target.filter(), feed).await.map_err(failed)?;
        let info = stream.cached_info();
        let identity = format!("{name} of {}, feed {feed}", info.created);
        let atomic = info.config.allow_atomic_publish;
        let limit = StreamLimit::of(name, info.config.max_message_size).map(Arc::new);
        self.fence = read.sequence;
        self.found = Some(Found { stream, atomic, limit });
        // The stream holds none: it is new, or has dropped them all.
        let reached = if read.sequence == 0 { Reached::Empty } else { Reached::At(read.n) };
        Ok(Resumed { reached, identity })
    }

    async fn deliver(&mut self, page: &[JetRow]) -> Delivery {
        if self.found.is_none() || seen(&self.state.borrow()) != self.seen {
            return Delivery::stopped(Stop::Doubt);
        }
        let (posts, fates) = match self.posts(page) {
            Ok(made) => made,
            Err(delivery) => return delivery,
        };
        let Some(line) = &mut self.line else { return Delivery::stopped(Stop::Doubt) };
        match line.deliver(posts).await {
            Answer::Acked { sequence, duplicate: true, .. } => self.known(&page[0], sequence).await,
            Answer::Acked { sequence, .. } => {
                self.fence = sequence;
                self.singles = self.singles.saturating_sub(fates.len());
                Delivery { rows: fates, stop: None }
            }
            // Another message of the feed came first.
            Answer::Refused(
                ErrorCode::STREAM_WRONG_LAST_SEQUENCE
                | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
                _,
            ) => Delivery::stopped(Stop::Doubt),
            Answer::Refused(_, cause) if fates.len() > 1 => {
                tracing::debug!(cause, "a batch was refused; one by one");
                self.singles = SINGLES.max(fates.len());
                Delivery::stopped(Stop::Doubt)
            }
            Answer::Again(cause) | Answer::Refused(_, cause) | Answer::Unknown(cause) => {
                self.failed(cause)
            }
        }
    }

    async fn changed(&mut self) {
        let before = self.seen;
        // Fails only when the connection's thread ends, and this task with it.
        let _ = self.state.wait_for(|state| seen(state) != before).await;
    }
}

fn seen(state: &LinkState) -> (bool, u64) {
    (state.connected, state.connects)
}
