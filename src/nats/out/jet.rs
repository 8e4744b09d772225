//! A stream as a sink: rows are published in order, each fenced, and the stream itself says how far
//! it got (`cursor`). So neither a crash of ours nor one of the broker repeats or loses a row
//! (`publish`).

use std::sync::Arc;

use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use tokio::sync::watch;

use super::OutSettings;
use super::cursor;
use super::publish::{Publisher, fenced, not_as_batch};
use super::streams;
use crate::nats::link::{Link, LinkState};
use crate::nats::publisher::answer::Answer;
use crate::nats::publisher::post::{Limit, StreamLimit};
use crate::sink::{Delivery, Fate, Reached, Resumed, Row, Sink, Stop};

/// Messages that go one by one after a batch was refused, before a batch is tried again.
const SINGLES: usize = 64;

/// A row as a message.
#[derive(Clone, Debug)]
pub struct JetRow {
    /// Position in the feed; grows by 1.
    pub n: u64,
    /// `Nats-Msg-Id`.
    pub id: String,
    /// Token of the subject before the feed's.
    pub token: String,
    /// Its own headers.
    pub headers: Vec<(&'static str, String)>,
    /// The message.
    pub payload: Bytes,
}

impl Row for JetRow {
    fn n(&self) -> u64 {
        self.n
    }

    fn key(&self) -> &str {
        &self.id
    }

    fn bytes(&self) -> usize {
        self.payload.len()
    }
}

/// The shorter form of a row whose message is too large, in so many bytes: its own headers
/// (see `own_bytes`) and the payload. `None` when there is none as short as that.
pub type Shorten = fn(&JetRow, usize) -> Option<(Vec<(&'static str, String)>, Bytes)>;

/// Where the rows of one feed go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The stream.
    pub stream: String,
    /// First tokens of the subject.
    pub subject: String,
    /// Identity of the data folder, a token.
    pub feed: String,
    /// What goes out of a row that is too large.
    pub shorten: Shorten,
}

impl Target {
    /// The subject of a row.
    pub(super) fn subject_of(&self, row: &JetRow) -> String {
        format!("{}.{}.{}", self.subject, row.token, self.feed)
    }

    /// Matches all subjects of this feed.
    fn filter(&self) -> String {
        format!("{}.*.{}", self.subject, self.feed)
    }
}

/// Publishes the rows of one feed into a stream.
pub struct JetSink {
    link: Link,
    settings: Arc<OutSettings>,
    target: Target,
    publisher: Publisher,
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
            publisher: Publisher { link: link.clone(), filter: target.filter() },
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

    /// How many rows go at once.
    fn round_len(&self, page: &[JetRow], atomic: bool, limit: Limit<'_>) -> usize {
        if !atomic || self.singles > 0 {
            return 1;
        }
        let fits = |row: &&JetRow| self.publisher.fits_a_batch(&self.target, row, limit);
        page.iter().take_while(fits).count().max(1)
    }

    /// Publishes one row, in its shorter form if need be.
    async fn one(&mut self, row: &JetRow, limit: Limit<'_>) -> Result<(Answer, Fate), Delivery> {
        let message = self.publisher.message(&self.target, row, self.fence, limit);
        let whole = message.as_ref().is_some_and(|message| !message.short);
        if !whole && self.measured != row.n {
            // The bound may be a wider one by now.
            self.measured = row.n;
            return Err(Delivery::stopped(Stop::Doubt));
        }
        let Some(message) = message else {
            let refused = Fate::Refused(limit.to_string());
            return Err(Delivery { rows: vec![refused], stop: None });
        };
        let fate = if message.short { Fate::Shortened } else { Fate::Taken };
        Ok((self.publisher.one(&self.target, row, message).await, fate))
    }

    /// The broker knows the first row's id. Either a copy got there before, which the cursor
    /// tells; or another feed said the same (one log, two data folders), which the message tells.
    /// An id without a message is waited for until it is forgotten.
    async fn known(&mut self, row: &JetRow, sequence: u64) -> Delivery {
        let Some(Found { stream, .. }) = &self.found else {
            return Delivery::stopped(Stop::Doubt);
        };
        let read = cursor::read(stream, &self.publisher.filter, &self.target.feed).await;
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
        let Target { stream: name, subject, feed, .. } = &self.target;
        let stream = streams::stream(&self.link, &self.settings, name, subject).await;
        let stream = stream.map_err(|error| failed(error.to_string()))?;
        let read = cursor::read(&stream, &self.publisher.filter, feed).await.map_err(failed)?;
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
        let now = seen(&self.state.borrow());
        let Some(Found { atomic, limit, .. }) = self.found.as_ref().filter(|_| now == self.seen)
        else {
            return Delivery::stopped(Stop::Doubt);
        };
        let (atomic, stream) = (*atomic, limit.clone());
        let limit = Limit::of(self.link.client().max_payload(), stream.as_deref());
        let rows = &page[..self.round_len(page, atomic, limit)];
        let answered = match rows {
            [row] => match self.one(row, limit).await {
                Ok((answer, fate)) => (answer, vec![fate]),
                Err(delivery) => return delivery,
            },
            rows => {
                let answer = self.publisher.batch(&self.target, rows, self.fence).await;
                (answer, vec![Fate::Taken; rows.len()])
            }
        };
        match answered {
            (Answer::Acked { sequence, duplicate: true, .. }, _) => {
                self.known(&rows[0], sequence).await
            }
            (Answer::Acked { sequence, .. }, fates) => {
                self.fence = sequence;
                self.singles = self.singles.saturating_sub(fates.len());
                Delivery { rows: fates, stop: None }
            }
            (Answer::Refused(code, _), _) if fenced(code) => Delivery::stopped(Stop::Doubt),
            (Answer::Refused(code, cause), fates) if not_as_batch(code) => {
                tracing::debug!(cause, "a batch was refused; one by one");
                self.singles = SINGLES.max(fates.len());
                Delivery::stopped(Stop::Doubt)
            }
            (Answer::Again(cause) | Answer::Refused(_, cause) | Answer::Unknown(cause), _) => {
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
