//! The loop behind alerts and dead letters: read what is committed, publish it in order,
//! ask the stream how far it got whenever there is a doubt.
//!
//! A doubt is: the start, a new connection, an answer that did not come, a refusal. Then
//! the stream is looked up again and its last message of the feed says where to go on.
//! Reads of the data folder block and run on threads for that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::OutSettings;
use super::cursor::{self, Cursor, Note, NoteFile};
use super::publish::{Answer, Limit, Publisher, delays};
use super::state::Track;
use super::streams;
use crate::actors::ports::StoreError;
use crate::nats::link::{Link, LinkState};

/// Most items read and not acknowledged. 1,024 alerts are about 1 MB.
pub(super) const PAGE: usize = 1_024;

/// Most bytes of one batch, unless a single item has more.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Messages that go one by one after a batch was refused, before a batch is tried again.
const SINGLES: usize = 64;

/// Doubts in a row without progress before it waits.
const BARREN_MAX: u32 = 4;

/// Rounds after which the note is written although there is more to publish.
const NOTE_ROUNDS: u32 = 64;

/// One thing to publish.
#[derive(Clone, Debug)]
pub(super) struct Item {
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

/// Reads items after a position, oldest first, at most so many. Blocks.
pub(super) type Read = Arc<dyn Fn(u64, usize) -> Result<Vec<Item>, StoreError> + Send + Sync>;

/// The shorter form of an item whose message is too large, in so many bytes: its own headers
/// (see `own_bytes`) and the payload. `None` when there is none as short as that.
pub(super) type Shorten = fn(&Item, usize) -> Option<(Vec<(&'static str, String)>, Bytes)>;

/// What makes one feed different from another.
#[derive(Clone)]
pub(super) struct Kind {
    pub stream: String,
    /// First tokens of the subject.
    pub subject: String,
    /// File name of the note.
    pub note: &'static str,
    /// Identity of the data folder, a token.
    pub feed: String,
    /// What goes out of an item that is too large.
    pub shorten: Shorten,
    /// Told how far the stream has it.
    pub published: Option<Arc<AtomicU64>>,
    pub read: Read,
}

impl Kind {
    /// The subject of an item.
    pub fn subject_of(&self, item: &Item) -> String {
        format!("{}.{}.{}", self.subject, item.token, self.feed)
    }

    /// Matches all subjects of this feed.
    fn filter(&self) -> String {
        format!("{}.*.{}", self.subject, self.feed)
    }
}

/// A running feed.
pub(super) struct Feed {
    link: Link,
    settings: Arc<OutSettings>,
    kind: Kind,
    publisher: Publisher,
    track: Arc<Track>,
    stop: watch::Receiver<bool>,
    state: watch::Receiver<LinkState>,
    note: Option<NoteFile>,
    /// Read and not acknowledged, in order, all after the cursor.
    page: VecDeque<Item>,
    cursor: Cursor,
    /// Sends that are not made as a batch.
    singles: usize,
    rounds: u32,
    noted: u64,
    /// Last item that was sent, whatever became of it.
    sent: u64,
    /// Last item that was told as lost to retention.
    told: u64,
    /// True once the cursor is more than a guess.
    placed: bool,
    /// The last item that was left out as too large, and the sequence of the last message
    /// before it: as long as that is the feed's last one, it stays left out.
    left_out: Option<Cursor>,
    /// The item for whose size the stream's bound was asked for last.
    measured: u64,
}

/// Why a turn of the loop ended early.
enum Stop {
    /// Ask the stream where to go on, now.
    Doubt,
    /// Wait a little, then ask.
    Failed(String),
    /// Everything was delivered, or cannot be before the end.
    End,
}

/// The stream as it was found.
struct Target {
    stream: Stream,
    created: String,
    atomic: bool,
    max_message_size: i32,
    connects: u64,
}

impl Feed {
    pub fn new(
        link: &Link,
        settings: &Arc<OutSettings>,
        kind: Kind,
        track: Arc<Track>,
        stop: watch::Receiver<bool>,
    ) -> Feed {
        let publisher = Publisher { link: link.clone(), filter: kind.filter() };
        let note = settings.notes.as_deref().map(|folder| NoteFile::new(folder, kind.note));
        Feed {
            state: link.state(),
            link: link.clone(),
            settings: Arc::clone(settings),
            kind,
            publisher,
            track,
            stop,
            note,
            page: VecDeque::new(),
            cursor: Cursor::default(),
            singles: 0,
            rounds: 0,
            noted: 0,
            sent: 0,
            told: 0,
            placed: false,
            left_out: None,
            measured: 0,
        }
    }

    /// Publishes until it is stopped and nothing is left.
    pub async fn run(mut self) {
        let mut waits = delays(self.settings.retry_max);
        let mut barren = 0;
        loop {
            let before = self.cursor;
            let stop = self.session().await;
            if self.cursor != before {
                waits = delays(self.settings.retry_max);
                barren = 0;
            }
            let cause = match stop {
                Stop::End => break,
                Stop::Doubt if barren < BARREN_MAX => {
                    barren += 1;
                    continue;
                }
                Stop::Doubt => "the stream got another message of this feed again and again: \
                     does a copy of the data folder run elsewhere?"
                    .into(),
                Stop::Failed(cause) => cause,
            };
            self.track.failed(&self.link.explain(cause));
            if *self.stop.borrow() && self.is_empty().await {
                break;
            }
            tokio::time::sleep(waits.next().unwrap_or(self.settings.retry_max)).await;
        }
    }

    /// From a look at the stream until there is a doubt.
    async fn session(&mut self) -> Stop {
        if let Err(stop) = self.wait_connected().await {
            return stop;
        }
        let target = match self.find().await {
            Ok(target) => target,
            Err(cause) => return Stop::Failed(cause),
        };
        loop {
            if let Err(stop) = self.turn(&target).await {
                return stop;
            }
        }
    }

    /// Publishes what there is, or waits for more.
    async fn turn(&mut self, target: &Target) -> Result<(), Stop> {
        if self.page.is_empty() {
            self.fill().await?;
        }
        if self.page.is_empty() {
            self.track.fine();
            self.keep_note(target).await;
            if *self.stop.borrow() {
                return Err(Stop::End);
            }
            self.idle().await;
        } else {
            self.round(target).await?;
        }
        let now = self.state.borrow();
        match now.connected && now.connects == target.connects {
            true => Ok(()),
            false => Err(Stop::Doubt),
        }
    }

    /// Waits for the broker. What is committed meanwhile is read, so that it is seen.
    async fn wait_connected(&mut self) -> Result<(), Stop> {
        while !self.state.borrow_and_update().connected {
            self.track.waits(&self.link.away().to_string());
            let stopping = *self.stop.borrow();
            if stopping && self.is_empty().await {
                return Err(Stop::End);
            }
            if self.placed {
                self.fill().await?;
            }
            self.idle().await;
        }
        Ok(())
    }

    /// True when nothing is left to deliver, as far as can be told without the broker.
    async fn is_empty(&mut self) -> bool {
        self.fill().await.is_ok() && self.page.is_empty()
    }

    async fn idle(&mut self) {
        let stopping = *self.stop.borrow();
        tokio::select! {
            () = tokio::time::sleep(self.settings.poll_interval) => {}
            _ = self.state.changed() => {}
            _ = self.stop.changed(), if !stopping => {}
        }
    }

    /// Looks up the stream and the cursor in it.
    async fn find(&mut self) -> Result<Target, String> {
        let connects = self.state.borrow().connects;
        let (name, subject) = (&self.kind.stream, &self.kind.subject);
        let found = streams::stream(&self.link, &self.settings, name, subject).await;
        let stream = found.map_err(|error| error.to_string())?;
        let info = stream.cached_info();
        let atomic = info.config.allow_atomic_publish;
        let max_message_size = info.config.max_message_size;
        let created = info.created.to_string();
        let target = Target { created, atomic, max_message_size, connects, stream };
        let read = cursor::read(&target.stream, &self.publisher.filter, &self.kind.feed).await?;
        let n = match read.sequence {
            // The stream holds none: it is new, or has dropped them all.
            0 => self.noted_position(&target).await,
            _ => read.n,
        };
        let left_out = self.left_out.filter(|left| left.sequence == read.sequence);
        let n = left_out.map_or(n, |left| n.max(left.n));
        self.go_to(Cursor { n, ..read });
        Ok(target)
    }

    /// Goes on after `cursor`, which may lie before or behind what was thought.
    fn go_to(&mut self, cursor: Cursor) {
        while let Some(item) = self.page.pop_front_if(|item| item.n <= cursor.n) {
            // Its answer was lost, and it is in the stream.
            self.track.delivered(u64::from(item.n <= self.sent));
        }
        if cursor.n < self.cursor.n {
            // The stream lost its tail: those come again, before what was read.
            self.page.clear();
        }
        self.place(cursor);
        self.placed = true;
        self.track.pending(self.page.len());
    }

    /// Sets the cursor, and says how far the items need not be kept for it.
    fn place(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        if let Some(published) = &self.kind.published {
            published.store(cursor.n, Ordering::Release);
        }
    }

    /// Reads more, as long as there is room for a page.
    async fn fill(&mut self) -> Result<(), Stop> {
        let room = PAGE - self.page.len();
        if room == 0 {
            return Ok(());
        }
        let after = self.page.back().map_or(self.cursor.n, |item| item.n);
        let read = Arc::clone(&self.kind.read);
        let items = match spawn_blocking(move || read(after, room)).await {
            Ok(Ok(items)) => items,
            Ok(Err(error)) => return Err(Stop::Failed(error.to_string())),
            Err(error) => return Err(Stop::Failed(error.to_string())),
        };
        // Not the oldest alone leave: some may be missing between two that were read.
        let mut before = self.page.back().map(|item| item.n);
        for item in &items {
            let from = before.map_or(item.n, |before| before.max(self.told) + 1);
            if from < item.n {
                self.track.skipped(from, item.n - 1);
                self.told = item.n - 1;
            }
            before = Some(item.n);
        }
        self.page.extend(items);
        self.track.pending(self.page.len());
        Ok(())
    }

    /// Publishes the first items of the page.
    async fn round(&mut self, target: &Target) -> Result<(), Stop> {
        self.tell_gap();
        let limit =
            Limit::of(self.link.client().max_payload(), &self.kind.stream, target.max_message_size);
        let count = self.round_len(target, &limit);
        let items = &self.page.make_contiguous()[..count];
        let fence = self.cursor.sequence;
        let sent = self.sent.max(items.last().map_or(0, |item| item.n));
        let mut short = false;
        let answer = match items {
            [item] => {
                let message = self.publisher.message(&self.kind, item, fence, &limit);
                let whole = message.as_ref().is_some_and(|message| !message.short);
                if !whole && self.measured != item.n {
                    // The bound may be a wider one by now.
                    self.measured = item.n;
                    return Err(Stop::Doubt);
                }
                let Some(message) = message else {
                    self.leave_out(&limit);
                    return Ok(());
                };
                self.sent = sent;
                short = message.short;
                self.publisher.one(&self.kind, item, message).await
            }
            items => {
                self.sent = sent;
                self.publisher.batch(&self.kind, items, fence).await
            }
        };
        match answer {
            Answer::Stored(sequence) => {
                if short {
                    self.track.shortened();
                }
                self.stored(target, count, sequence).await
            }
            Answer::Known(sequence) => self.known(target, sequence).await,
            Answer::Fenced => Err(Stop::Doubt),
            Answer::NotAsBatch(cause) => {
                tracing::debug!(cause, "a batch was refused; one by one");
                self.singles = SINGLES.max(count);
                Err(Stop::Doubt)
            }
            Answer::Unknown(cause) => Err(Stop::Failed(cause)),
        }
    }

    /// The first item goes nowhere: no form of it is small enough.
    fn leave_out(&mut self, limit: &Limit) {
        let Some(item) = self.page.pop_front() else { return };
        self.track.left_out(item.n, item.payload.len(), &limit.whose);
        let cursor = Cursor { n: item.n, ..self.cursor };
        self.left_out = Some(cursor);
        self.place(cursor);
        self.track.pending(self.page.len());
    }

    /// How many items go at once.
    fn round_len(&self, target: &Target, limit: &Limit) -> usize {
        if !target.atomic || self.singles > 0 {
            return 1;
        }
        let mut bytes = 0;
        let fits = |item: &&Item| {
            bytes += item.payload.len();
            bytes <= BATCH_BYTES_MAX && self.publisher.fits_a_batch(&self.kind, item, limit)
        };
        let most = self.settings.in_flight_max.max(1);
        self.page.iter().take(most).take_while(fits).count().max(1)
    }

    async fn stored(&mut self, target: &Target, count: usize, sequence: u64) -> Result<(), Stop> {
        let last = self.page.drain(..count).next_back();
        let n = last.map_or(self.cursor.n, |item| item.n);
        self.place(Cursor { n, sequence });
        self.singles = self.singles.saturating_sub(count);
        self.track.delivered(count as u64);
        self.track.pending(self.page.len());
        self.track.fine();
        self.rounds += 1;
        if self.rounds.is_multiple_of(NOTE_ROUNDS) {
            self.keep_note(target).await;
        }
        Ok(())
    }

    /// The broker knows the first item's id. Either a copy got there before, which the
    /// cursor tells; or another feed said the same (one log, two data folders), which the
    /// message tells. An id without a message is waited for until it is forgotten.
    async fn known(&mut self, target: &Target, sequence: u64) -> Result<(), Stop> {
        let Some((n, id)) = self.page.front().map(|item| (item.n, item.id.clone())) else {
            return Ok(());
        };
        let filter = &self.publisher.filter;
        let read = cursor::read(&target.stream, filter, &self.kind.feed).await;
        let read = read.map_err(Stop::Failed)?;
        if read.n < n && !cursor::holds(&target.stream, sequence, &id).await {
            return Err(Stop::Failed(format!(
                "stream {} remembers id {id} and holds no such message; it is published once \
                 the stream's duplicate window has passed",
                self.kind.stream
            )));
        }
        self.go_to(Cursor { n: read.n.max(n), ..read });
        Ok(())
    }

    /// Says aloud that items left the data folder before they could be published.
    fn tell_gap(&mut self) {
        let Some(first) = self.page.front().map(|item| item.n) else { return };
        if first > self.cursor.n + 1 {
            let from = self.cursor.n.max(self.told) + 1;
            if from < first {
                self.track.skipped(from, first - 1);
                self.told = first - 1;
            }
            self.place(Cursor { n: first - 1, ..self.cursor });
        }
    }

    fn note_now(&self, target: &Target) -> Note {
        Note {
            stream: self.kind.stream.clone(),
            created: target.created.clone(),
            feed: self.kind.feed.clone(),
            n: self.cursor.n,
        }
    }

    async fn noted_position(&self, target: &Target) -> u64 {
        let Some(file) = self.note.clone() else { return 0 };
        let now = self.note_now(target);
        let read = spawn_blocking(move || file.read()).await;
        read.ok().flatten().map_or(0, |note| note.position(&now))
    }

    async fn keep_note(&mut self, target: &Target) {
        let Some(file) = self.note.clone().filter(|_| self.noted != self.cursor.n) else { return };
        let note = self.note_now(target);
        self.noted = note.n;
        let written = spawn_blocking(move || file.write(&note)).await;
        if let Ok(Err(error)) = written {
            // It is only needed when the stream forgets; the feed goes on without it.
            tracing::warn!(%error, "the note of how far the feed got cannot be written");
        }
    }
}
