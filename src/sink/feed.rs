//! The one loop behind everything that leaves as rows: read what is committed (I5), hand pages of
//! it to the sink in order, and ask the sink where it stands whenever there is a doubt.
//!
//! A doubt is: the start, the other side gone or back, a failure, a refusal. Reads of the data
//! folder block and run on threads for that.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::note::{Note, NoteFile};
use super::track::{PAGE, Track};
use super::{Delivery, Fate, Reached, Resumed, Row, Rows, Sink, Stop};
use crate::actors::ports::StoreError;
use crate::clock::SharedClock;
use crate::domain::settings::Word;

/// No more rows are read once those in memory have so many bytes.
pub const PAGE_BYTES: usize = 4 << 20;

/// Doubts in a row without progress before it waits.
const BARREN_MAX: u32 = 4;

/// Pages after which the note is written although there is more to deliver, where the other side
/// knows itself how far it got.
const NOTE_ROUNDS: u32 = 64;

/// Longest wait that a sink may ask for (`Retry-After`).
const AFTER_MAX: Duration = Duration::from_secs(3_600);

/// How often a wait looks at the time, so that the age of what waits is shown.
const WAIT_LOOK: Duration = Duration::from_secs(1);

/// What becomes of a row that its sink refuses for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refused {
    /// It is passed over, counted and named. Its list in the data folder keeps it, by its number.
    #[default]
    LeaveOut,
    /// Nothing leaves any more until it is taken, and the status says so.
    Halt,
}

impl Word for Refused {
    const WORDS: &'static [(&'static str, Self)] =
        &[("leave_out", Refused::LeaveOut), ("halt", Refused::Halt)];
}

/// How a feed goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Most rows handed over at once, 1 to 1,024.
    pub rows_max: usize,
    /// Most bytes of them, unless a single row has more.
    pub bytes_max: usize,
    /// Distance between two looks for what is to leave.
    pub poll_interval: Duration,
    /// Longest wait before a failed try is repeated. The sink as a whole is tried for ever.
    pub retry_max: Duration,
    /// How often a single row is tried that the sink does not take although it takes others;
    /// then it counts as refused for good. At least 1.
    pub tries_max: u32,
    /// What becomes of those.
    pub refused: Refused,
}

/// A running feed.
pub struct Feed<S: Sink> {
    sink: S,
    rows: Arc<dyn Rows<S::Row>>,
    terms: Terms,
    track: Arc<Track>,
    clock: SharedClock,
    stop: watch::Receiver<bool>,
    note: Option<NoteFile>,
    /// Told how far the rows need not be kept for it.
    published: Option<Arc<AtomicU64>>,
    /// Told the position of the note, once that is durable.
    noting: Option<Arc<AtomicU64>>,
    /// Read and not settled, in order, all after the cursor.
    page: VecDeque<S::Row>,
    page_bytes: usize,
    /// The last row of each read that the page still holds rows of, and when it was read.
    reads: VecDeque<(u64, i64)>,
    /// Position up to which nothing is left to deliver.
    cursor: u64,
    /// Position of the last row that the sink took, as far as is known.
    taken: u64,
    /// How often single rows were tried that the sink did not take.
    tries: BTreeMap<u64, u32>,
    /// The first row is refused for good, and nothing else goes before it.
    halted: bool,
    resumed: Option<Resumed>,
    rounds: u32,
    noted: u64,
    /// Rows after those in memory, as of the last look.
    beyond: u64,
    /// Last row that was handed over, whatever became of it.
    sent: u64,
    /// Last row that was told as lost to retention.
    told: u64,
    /// How many were told as lost that left between others.
    lost: u64,
}

/// What a look for more rows found.
struct Found<R> {
    rows: Vec<R>,
    /// How many there are after those.
    beyond: u64,
    /// See [`Rows::is_whole`].
    whole: bool,
    /// See [`Rows::lost`].
    lost: u64,
}

/// Why a turn of the loop ended early.
enum End {
    Stop(Stop),
    /// Everything was delivered, or cannot be before the end.
    Over,
}

impl From<Stop> for End {
    fn from(stop: Stop) -> End {
        End::Stop(stop)
    }
}

impl<S: Sink> Feed<S> {
    /// A feed of `rows` into `sink`. It ends once `stop` says so and nothing is left that can be
    /// delivered.
    pub fn new(
        sink: S,
        rows: Arc<dyn Rows<S::Row>>,
        terms: Terms,
        track: Arc<Track>,
        clock: SharedClock,
        stop: watch::Receiver<bool>,
    ) -> Feed<S> {
        Feed {
            sink,
            rows,
            terms,
            track,
            clock,
            stop,
            note: None,
            published: None,
            noting: None,
            page: VecDeque::new(),
            page_bytes: 0,
            reads: VecDeque::new(),
            cursor: 0,
            taken: 0,
            tries: BTreeMap::new(),
            halted: false,
            resumed: None,
            rounds: 0,
            noted: 0,
            beyond: 0,
            sent: 0,
            told: 0,
            lost: 0,
        }
    }

    /// Keeps its note in this folder, under this name. A sink that cannot say itself where it
    /// stands needs one.
    pub fn noted(self, folder: &Path, name: &str) -> Feed<S> {
        Feed { note: Some(NoteFile::new(folder, name)), ..self }
    }

    /// Tells there how far the rows need not be kept for it.
    pub fn publishing(self, published: Arc<AtomicU64>) -> Feed<S> {
        Feed { published: Some(published), ..self }
    }

    /// Tells there the position that its note vouches for: no crash brings back what is before.
    pub fn noting(self, noting: Arc<AtomicU64>) -> Feed<S> {
        Feed { noting: Some(noting), ..self }
    }

    /// Delivers until it is stopped and nothing is left.
    pub async fn run(mut self) {
        let mut waits = delays(self.terms.retry_max);
        let mut barren = 0;
        loop {
            let before = self.cursor;
            let stop = match self.session().await {
                End::Over => return,
                End::Stop(stop) => stop,
            };
            if self.cursor != before {
                waits = delays(self.terms.retry_max);
                barren = 0;
            }
            let (cause, after) = match stop {
                Stop::Doubt if barren < BARREN_MAX => {
                    barren += 1;
                    continue;
                }
                Stop::Doubt => (
                    "it got other rows of this feed again and again: does a copy of the data \
                     folder run elsewhere?"
                        .to_owned(),
                    None,
                ),
                Stop::Failed { cause, after } => (cause, after),
                Stop::Away(cause) => {
                    self.track.waits(&cause);
                    if self.over().await {
                        return;
                    }
                    self.idle().await;
                    continue;
                }
            };
            self.track.failed(&cause);
            if self.over().await {
                return;
            }
            let wait = waits.next().unwrap_or(self.terms.retry_max);
            self.wait(wait.max(after.unwrap_or_default().min(AFTER_MAX))).await;
        }
    }

    /// From a look at the other side until there is a doubt.
    async fn session(&mut self) -> End {
        match self.sink.resume().await {
            Ok(resumed) => self.go_on(resumed).await,
            Err(stop) => return stop.into(),
        }
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    /// Delivers what there is, or waits for more.
    async fn turn(&mut self) -> Result<(), End> {
        if self.page.is_empty() {
            self.fill().await?;
        }
        if !self.page.is_empty() {
            return self.round().await;
        }
        self.track.fine();
        self.keep_note().await;
        if *self.stop.borrow() {
            return Err(End::Over);
        }
        if self.idle().await { Err(Stop::Doubt.into()) } else { Ok(()) }
    }

    /// While the other side takes nothing: reads what is committed meanwhile, so that it is seen.
    /// True when the feed is to end, and nothing is left as far as can be told.
    async fn over(&mut self) -> bool {
        // Before its first answer nobody knows where to read on.
        let read = self.resumed.is_some() && self.fill().await.is_ok();
        *self.stop.borrow() && self.page.is_empty() && (read || self.nothing_kept().await)
    }

    async fn nothing_kept(&self) -> bool {
        let rows = Arc::clone(&self.rows);
        matches!(spawn_blocking(move || rows.after(0, 1)).await, Ok(Ok(found)) if found.is_empty())
    }

    /// Until the next look for rows; true when the other side came or went.
    async fn idle(&mut self) -> bool {
        let stopping = *self.stop.borrow();
        tokio::select! {
            () = tokio::time::sleep(self.terms.poll_interval) => false,
            () = self.sink.changed() => true,
            _ = self.stop.changed(), if !stopping => false,
        }
    }

    /// Waits, unless the other side comes or goes, or the feed is to end.
    async fn wait(&mut self, span: Duration) {
        let until = self.clock.elapsed() + ms(span);
        loop {
            self.show();
            let left = until - self.clock.elapsed();
            if left <= 0 {
                return;
            }
            let stopping = *self.stop.borrow();
            let look = Duration::from_millis(left.unsigned_abs()).min(WAIT_LOOK);
            tokio::select! {
                () = tokio::time::sleep(look) => {}
                () = self.sink.changed() => return,
                _ = self.stop.changed(), if !stopping => return,
            }
        }
    }

    /// Goes on where the other side is, which may lie before or behind what was thought.
    async fn go_on(&mut self, resumed: Resumed) {
        let known = self.resumed.as_ref().is_some_and(|last| last.identity == resumed.identity);
        let n = match resumed.reached {
            // It has what it took, and what was left out after it stays left out.
            Reached::At(n) if n == self.taken => self.cursor,
            Reached::At(n) => n,
            // It never had a row: what was left out stays left out.
            Reached::Empty if known && self.taken == 0 => self.cursor,
            Reached::Unknown if known => self.cursor,
            Reached::Empty | Reached::Unknown => self.noted_position(&resumed.identity).await,
        };
        if let Reached::At(n) = resumed.reached {
            self.taken = n;
        }
        self.resumed = Some(resumed);
        // Their answers were lost, and they are there.
        let settled = self.page.iter().take_while(|row| row.n() <= n);
        let delivered = settled.filter(|row| row.n() <= self.sent).count();
        self.track.delivered(delivered as u64);
        self.page.retain(|row| row.n() > n);
        if n < self.cursor {
            // It lost its tail: those rows come again, before what was read.
            self.page.clear();
        }
        self.stand_at(n);
    }

    /// Sets the cursor, and says how far the rows need not be kept for it.
    fn stand_at(&mut self, n: u64) {
        self.cursor = n;
        self.page_bytes = self.page.iter().map(Row::bytes).sum();
        self.tries.retain(|tried, _| *tried > n);
        let first = self.page.front().map_or(u64::MAX, Row::n);
        while self.reads.pop_front_if(|(last, _)| *last < first).is_some() {}
        if let Some(published) = &self.published {
            published.store(n, Ordering::Release);
        }
        self.show();
    }

    /// What waits: in memory, in all, and since when.
    fn show(&self) {
        let since = self.reads.front().map(|(_, at)| self.clock.elapsed() - at);
        let lag = self.page.len() as u64 + self.beyond;
        self.track.waiting(self.page.len(), lag, since.unwrap_or(0));
    }

    /// Reads more, as long as there is room for it.
    async fn fill(&mut self) -> Result<(), End> {
        let room = PAGE - self.page.len();
        let after = self.page.back().map_or(self.cursor, Row::n);
        let full = room == 0 || self.page_bytes >= PAGE_BYTES;
        let rows = Arc::clone(&self.rows);
        let read = move || -> Result<Found<S::Row>, StoreError> {
            let found = if full { Vec::new() } else { rows.after(after, room)? };
            let last = found.last().map_or(after, Row::n);
            // None are found only when there are none.
            let none = found.is_empty() && !full;
            let beyond = if none { 0 } else { rows.count_after(last)? };
            Ok(Found { rows: found, beyond, whole: rows.is_whole(), lost: rows.lost() })
        };
        let Found { rows, beyond, whole, lost } = match spawn_blocking(read).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(Stop::failed(error).into()),
            Err(error) => return Err(Stop::failed(error).into()),
        };
        if lost > self.lost {
            self.track.lost(lost - self.lost);
            self.lost = lost;
        }
        // What is missing has left the data folder; not the oldest alone do.
        let mut before = after;
        for row in &rows {
            let from = before.max(self.told) + 1;
            if whole && from < row.n() {
                self.track.skipped(from, row.n() - 1);
                self.told = row.n() - 1;
            }
            before = row.n();
        }
        if let Some(last) = rows.last() {
            self.reads.push_back((last.n(), self.clock.elapsed()));
        }
        self.page_bytes += rows.iter().map(Row::bytes).sum::<usize>();
        self.page.extend(rows);
        self.beyond = beyond;
        self.show();
        Ok(())
    }

    /// Hands over the first rows of the page.
    async fn round(&mut self) -> Result<(), End> {
        let count = self.round_len();
        let rows = &self.page.make_contiguous()[..count];
        self.sent = self.sent.max(rows.last().map_or(0, Row::n));
        let Delivery { rows: fates, stop } = self.sink.deliver(rows).await;
        fail::fail_point!("rows_delivered", |_| Err(Stop::failed("a failpoint").into()));
        let idle = fates.is_empty() && stop.is_none();
        let later = self.settle(fates);
        self.rounds += 1;
        let alone = self.resumed.as_ref().is_some_and(|last| last.reached == Reached::Unknown);
        if alone || self.rounds.is_multiple_of(NOTE_ROUNDS) {
            self.keep_note().await;
        }
        match stop {
            Some(stop) => Err(stop.into()),
            None if idle => Err(Stop::Doubt.into()),
            None => later.map_or(Ok(()), |cause| Err(Stop::failed(cause).into())),
        }
    }

    /// How many rows go at once.
    fn round_len(&self) -> usize {
        if self.halted {
            return 1;
        }
        let mut bytes = 0;
        let fits = |row: &&S::Row| {
            bytes += row.bytes();
            bytes <= self.terms.bytes_max
        };
        self.page.iter().take(self.terms.rows_max).take_while(fits).count().max(1)
    }

    /// Takes those rows out of the page that need no delivery any more. Returns why the first one
    /// that stays was not taken.
    fn settle(&mut self, fates: Vec<Fate>) -> Option<String> {
        let count = fates.len().min(self.page.len());
        let (mut stay, mut later) = (VecDeque::new(), None);
        let (mut cursor, mut delivered) = (self.cursor, 0);
        self.halted = false;
        for (row, fate) in self.page.drain(..count).zip(fates) {
            let n = row.n();
            let refused = match fate {
                Fate::Taken | Fate::Shortened => {
                    delivered += 1;
                    self.taken = self.taken.max(n);
                    if fate == Fate::Shortened {
                        self.track.shortened();
                    }
                    None
                }
                Fate::Refused(cause) => Some(cause),
                Fate::Later(cause) => {
                    let tries = self.tries.entry(n).or_insert(0);
                    *tries += 1;
                    if *tries < self.terms.tries_max {
                        later.get_or_insert(cause);
                        stay.push_back(row);
                        continue;
                    }
                    Some(format!("refused {tries} times, at last: {cause}"))
                }
            };
            match refused {
                Some(cause) if self.terms.refused == Refused::Halt => {
                    later.get_or_insert(format!(
                        "number {n} ({}) is refused for good, and nothing leaves before it: {cause}",
                        row.key()
                    ));
                    self.halted |= stay.is_empty();
                    stay.push_back(row);
                    continue;
                }
                Some(cause) => self.track.left_out(n, row.bytes(), &cause),
                None => {}
            }
            if stay.is_empty() {
                cursor = n;
            }
        }
        stay.append(&mut self.page);
        self.page = stay;
        self.track.delivered(delivered);
        self.stand_at(cursor);
        if delivered > 0 && later.is_none() {
            self.track.fine();
        }
        later
    }

    async fn noted_position(&self, identity: &str) -> u64 {
        let Some(file) = self.note.clone() else { return 0 };
        let identity = identity.to_owned();
        spawn_blocking(move || file.position(&identity)).await.unwrap_or(0)
    }

    async fn keep_note(&mut self) {
        let (Some(file), Some(resumed)) = (self.note.clone(), &self.resumed) else { return };
        if self.noted == self.cursor {
            return;
        }
        let note = Note { identity: resumed.identity.clone(), n: self.cursor };
        let written = spawn_blocking(move || file.write(&note)).await;
        match written {
            Ok(Err(error)) => {
                // Without it rows may come again after a crash; the feed goes on.
                tracing::warn!(%error, "the note of how far the feed got cannot be written");
            }
            _ => {
                self.noted = self.cursor;
                self.noting.iter().for_each(|told| told.store(self.cursor, Ordering::Release));
            }
        }
    }
}

/// Waits between tries: doubling with some chance in it, up to `longest`, for ever.
pub fn delays(longest: Duration) -> impl Iterator<Item = Duration> + Send {
    use backon::{BackoffBuilder, ExponentialBuilder};
    let first = Duration::from_millis(50).min(longest);
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_max_delay(longest)
        .without_max_times()
        .with_jitter()
        .build()
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_never_end_and_have_a_bound() {
        let longest = Duration::from_secs(2);
        let waits: Vec<_> = delays(longest).take(200).collect();
        assert_eq!(waits.len(), 200);
        // The chance adds at most once the wait again.
        assert!(waits.iter().all(|wait| *wait <= 2 * longest), "{waits:?}");
        assert!(waits[0] < Duration::from_millis(200), "{waits:?}");
    }
}
