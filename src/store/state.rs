//! The state store: one SQLite file, one transaction for each commit.
//!
//! Called from one thread of its own (every call may block). A commit appends its
//! sections as they are; `snapshot` folds them together off this thread. The rows
//! themselves are written by `tables`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::Settings;
use super::folder::{Folder, STATE};
use super::letters::{DROPPED, Dropped, HELD, LAST, Letters, PUBLISHED, Terms, UNPUBLISHED};
use super::log::EmbeddedLog;
use super::marks::{Mark, Slot};
use super::outbox::{Block, OUTBOX, pack};
use super::retain::{Kept, Shelf};
use super::snapshot::{self, Snapshots};
use super::sqlite::{Chores, Place, put_meta, random, text_checksum};
use super::tables::{
    Head, KIND, drop_rollups, read_head, write_delta, write_head, write_late, write_rollups,
};
use crate::actors::ports::{StateStore, StoreError};
use crate::domain::commit::{CommitUnit, Restored};

const LATE: Shelf = Shelf { table: "late", key: "id", count: "count", blob: "blob" };

/// Alerts handed over in one go: two transactions, one in each file.
const DELIVERY_BYTES: usize = 8 << 20;

/// Roll-ups are looked through once for so much progress of their newest minute.
const ROLLUP_SWEEP: i64 = 60 * 60 * 1000;

/// Numbers about the store, for the pipeline's panel. Written by the store's
/// thread, read by anyone. The counts are part of the commits and survive restarts.
#[derive(Debug, Default)]
pub struct Figures {
    /// Number of the last commit.
    pub epoch: AtomicU64,
    /// Bytes of deltas since the last snapshot.
    pub delta_bytes: AtomicU64,
    /// Bytes of the last snapshot.
    pub snapshot_bytes: AtomicU64,
    /// Alerts committed since the folder was made.
    pub alerts_committed: AtomicU64,
    /// Alerts delivered to the alert log since the folder was made.
    pub alerts_delivered: AtomicU64,
    /// Delivered alerts that left the feed to keep its bound.
    pub alerts_dropped: AtomicU64,
    /// Late events that left their list to keep its bound.
    pub late_dropped: AtomicU64,
    /// Dead letters kept now.
    pub dead_letters: AtomicU64,
    /// Bytes of them.
    pub dead_letters_bytes: AtomicU64,
    /// Those of them that are to be published and were not yet.
    pub dead_letters_waiting: AtomicU64,
    /// Dead letters that left to keep their bound, by kind of reason.
    pub dead_letters_dropped: Mutex<Dropped>,
    /// Those of them that left before they were published.
    pub dead_letters_unpublished: Mutex<Dropped>,
    /// Set by an output that publishes dead letters, before any can leave: each is held then
    /// until it was published.
    letters_are_published: AtomicBool,
    /// Number of the last dead letter that was published; written by that output.
    letters_published: Arc<AtomicU64>,
    /// Roll-up rows that left because they were too old.
    pub rollups_dropped: AtomicU64,
}

impl Figures {
    /// An output publishes dead letters from now on: each is held until it has.
    pub fn publish_letters(&self) -> Arc<AtomicU64> {
        self.letters_are_published.store(true, Ordering::Release);
        Arc::clone(&self.letters_published)
    }

    /// How many times `store.dead_letters_max` may be reached.
    pub fn letters_times(&self) -> f64 {
        match self.letters_are_published.load(Ordering::Relaxed) {
            true => HELD as f64,
            false => 1.0,
        }
    }

    /// The counts that are kept in the file, by their name there.
    fn kept(&self) -> [(&'static str, &AtomicU64); 5] {
        [
            ("alerts_committed", &self.alerts_committed),
            ("alerts_delivered", &self.alerts_delivered),
            ("alerts_dropped", &self.alerts_dropped),
            ("late_dropped", &self.late_dropped),
            ("rollups_dropped", &self.rollups_dropped),
        ]
    }
}

/// The state store. See [`StateStore`].
pub struct StateDb {
    conn: Connection,
    place: Place,
    settings: Settings,
    log: EmbeddedLog,
    figures: Arc<Figures>,
    head: Head,
    seed: u64,
    alerts: Kept,
    /// Position of the newest alert in the feed.
    alerts_last: u64,
    /// Alerts up to here are in the alert log.
    alerts_done: u64,
    late: Kept,
    /// What was left of the late events when they could not be fewer.
    late_least: Kept,
    letters: Letters,
    /// Newest minute of the roll-ups, and the one of the last sweep.
    minute: i64,
    minute_swept: i64,
    snapshots: Snapshots,
    chores: Chores,
    mark_of: u64,
    /// Last, so that the file is closed before the folder is free.
    folder: Folder,
}

impl StateDb {
    /// Opens the state of a folder, or makes it, and becomes its owner (I6). Alerts
    /// are delivered to `log`.
    ///
    /// # Errors
    /// When the file is damaged, of another format, or cannot be read or written.
    pub fn open(
        folder: &Folder,
        log: EmbeddedLog,
        settings: Settings,
    ) -> Result<StateDb, StoreError> {
        let place = folder.place(STATE, &KIND);
        // To move the state away and start again from the log is nobody's loss.
        let mark = match folder.path().join(STATE).exists() {
            true => folder.marks().read(Slot::State)?,
            false => None,
        };
        let conn = place.open_or_create(|| {
            vec![
                ("folder", format!("{:016x}", random())),
                ("seed", format!("{:016x}", settings.seed.unwrap_or_else(random))),
            ]
        })?;
        let seed = u64::from_str_radix(&place.meta(&conn, "seed")?, 16)
            .map_err(|_| place.damaged("`seed` is not a number"))?;
        let figures = Arc::new(Figures::default());
        for (name, figure) in figures.kept() {
            figure.store(number(&place, &conn, name)?, Ordering::Relaxed);
        }
        let mut alerts_done = number(&place, &conn, "alerts_done")?;
        // The alert log lost its end, or is a new one: what is still in the outbox goes again.
        if let Some(missing) = alerts_done.checked_sub(log.alerts_newest() + 1) {
            alerts_done = log.alerts_newest();
            figures.alerts_delivered.fetch_sub(
                (missing + 1).min(figures.alerts_delivered.load(Ordering::Relaxed)),
                Ordering::Relaxed,
            );
        }
        let error = |error| place.error(error);
        let mut head = read_head(&conn, &place)?.unwrap_or_default();
        folder.look([STATE])?;
        let mark_of = text_checksum("folder", &place.meta(&conn, "folder")?) as u64;
        if let Some(mark) = mark {
            compare(folder, &place, mark, mark_of, head.epoch)?;
        }
        compare_log(&place, &conn, &log)?;
        head.owner = random() as i64;
        let owned = (|| {
            let tx = Transaction::new_unchecked(&conn, TransactionBehavior::Immediate)?;
            write_head(&tx, &head)?;
            tx.commit()
        })();
        owned.map_err(error)?;
        let snapshots = Snapshots::open(&conn, &place, &head)?;
        let chores = Chores::of(&place);
        let dropped = |name| -> Result<Dropped, StoreError> {
            let Some(text) = place.meta_opt(&conn, name)? else { return Ok(Dropped::default()) };
            serde_json::from_str(&text).map_err(|error| place.damaged(format!("`{name}`: {error}")))
        };
        let published = number(&place, &conn, PUBLISHED)?;
        figures.letters_published.store(published, Ordering::Relaxed);
        let noted = Letters::noted(
            dropped(DROPPED)?,
            dropped(UNPUBLISHED)?,
            number(&place, &conn, LAST)?,
            published,
        );
        let db = StateDb {
            alerts: OUTBOX.shelf.measure(&conn).map_err(error)?,
            alerts_last: OUTBOX.newest(&conn).map_err(error)?,
            late: LATE.measure(&conn).map_err(error)?,
            late_least: Kept::default(),
            letters: Letters::measure(&conn, noted).map_err(error)?,
            conn,
            place,
            settings,
            log,
            figures,
            head,
            seed,
            alerts_done,
            minute: 0,
            minute_swept: 0,
            snapshots,
            chores,
            mark_of,
            folder: folder.clone(),
        };
        db.mark();
        db.show();
        Ok(db)
    }

    /// Seed of all hashes of this folder (`Schema::seed`), drawn when it was made.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Numbers about the store.
    pub fn figures(&self) -> Arc<Figures> {
        self.figures.clone()
    }

    fn show(&self) {
        let set = |figure: &AtomicU64, value| figure.store(value, Ordering::Relaxed);
        set(&self.figures.epoch, self.head.epoch);
        set(&self.figures.delta_bytes, self.snapshots.delta_bytes);
        set(&self.figures.snapshot_bytes, self.snapshots.snapshot_bytes);
        set(&self.figures.dead_letters, self.letters.total().items);
        set(&self.figures.dead_letters_bytes, self.letters.total().bytes);
        let waiting = self.letters_terms().published.map_or(0, |_| self.letters.waiting().items);
        set(&self.figures.dead_letters_waiting, waiting);
        let show = |figure: &Mutex<Dropped>, letters: &Dropped| {
            let mut shown = figure.lock();
            if *shown != *letters {
                shown.clone_from(letters);
            }
        };
        show(&self.figures.dead_letters_dropped, &self.letters.dropped);
        show(&self.figures.dead_letters_unpublished, &self.letters.unpublished);
    }

    /// Writes the unit in one transaction; memory is changed by the caller, once it is durable.
    /// `None` when somebody else wrote in between.
    fn write(
        &self,
        unit: &CommitUnit,
        next: &Head,
        outputs: &Outputs,
    ) -> rusqlite::Result<Option<Lists>> {
        let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        let (epoch, owner): (i64, i64) = tx
            .prepare_cached("SELECT epoch, owner FROM head WHERE id = 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if (epoch, owner) != (self.head.epoch as i64, self.head.owner) {
            return Ok(None);
        }
        write_delta(&tx, unit)?;
        for block in &outputs.alerts {
            OUTBOX.insert(&tx, block)?;
        }
        if !unit.alerts.is_empty() {
            let committed = self.figures.alerts_committed.load(Ordering::Relaxed);
            put_meta(&tx, "alerts_committed", &(committed + unit.alerts.len() as u64).to_string())?;
        }
        write_late(&tx, unit.epoch, &outputs.late)?;
        let lists = self.bound_lists(&tx, unit, outputs)?;
        write_rollups(&tx, unit)?;
        write_head(&tx, next)?;
        let log = &self.log.identity().incarnation;
        put_meta(&tx, LOG_END, &format!("{} {log}", self.log.last_position()))?;
        fail::fail_point!("store.commit.before");
        tx.commit()?;
        fail::fail_point!("store.commit.after");
        Ok(Some(lists))
    }

    /// Keeps late events and dead letters within their bounds, in the commit that brings them:
    /// one commit may bring more than there may be.
    fn bound_lists(
        &self,
        tx: &Transaction<'_>,
        unit: &CommitUnit,
        outputs: &Outputs,
    ) -> rusqlite::Result<Lists> {
        let letters = match unit.dead_letters.is_empty() {
            true => self.letters.clone(),
            false => self.letters.write(tx, unit, self.letters_terms())?,
        };
        let mut late = self.late;
        for block in &outputs.late {
            late.add(block.count, block.blob.len() as u64);
        }
        let mut late_dropped = outputs.late_skipped;
        while late.exceeds(self.late_bound()) {
            let dropped = LATE.drop_oldest(tx, &mut late, self.late_bound(), u64::MAX)?;
            late_dropped += dropped.items;
            if dropped.items == 0 {
                break;
            }
        }
        if late_dropped > 0 {
            let total = self.figures.late_dropped.load(Ordering::Relaxed) + late_dropped;
            put_meta(tx, "late_dropped", &total.to_string())?;
        }
        Ok(Lists { letters, late, late_dropped })
    }

    fn letters_terms(&self) -> Terms {
        let Settings { dead_letters_max, dead_letters_bytes_max, .. } = self.settings;
        let bound = Kept { items: dead_letters_max, bytes: dead_letters_bytes_max };
        let figures = &self.figures;
        let held = figures.letters_are_published.load(Ordering::Acquire);
        let published = held.then(|| figures.letters_published.load(Ordering::Acquire));
        Terms { bound, published }
    }

    fn late_bound(&self) -> Kept {
        Kept { items: self.settings.late_max, bytes: self.settings.late_bytes_max }
    }

    /// Brings memory up to the unit that was just written.
    fn follow(&mut self, unit: &CommitUnit, next: Head, outputs: &Outputs, lists: Lists) {
        let bytes = delta_bytes(unit);
        self.head = next;
        self.snapshots.delta_bytes += bytes;
        for block in &outputs.alerts {
            self.alerts.add(block.count, block.blob.len() as u64);
            self.alerts_last = block.last;
        }
        self.figures.alerts_committed.fetch_add(unit.alerts.len() as u64, Ordering::Relaxed);
        let raw: usize = unit.dead_letters.iter().map(|letter| letter.raw.len()).sum();
        self.letters = lists.letters;
        self.late = lists.late;
        self.figures.late_dropped.fetch_add(lists.late_dropped, Ordering::Relaxed);
        let newest = unit.rollups.iter().map(|row| row.minute).max();
        self.minute = self.minute.max(newest.unwrap_or(self.minute));
        let blobs = outputs.alerts.iter().chain(&outputs.late).map(|block| block.blob.len());
        // A page for each roll-up metric and table is little against a checkpoint's step.
        let rows = (unit.rollups.len() * 64) as u64 + 64 * 1024;
        self.chores.wrote(bytes + blobs.sum::<usize>() as u64 + raw as u64 + rows);
        self.show();
    }

    /// Says which commit is the last, before anybody is told.
    fn mark(&self) {
        let mark = Mark { of: self.mark_of, last: self.head.epoch, chain: 0 };
        if let Err(error) = self.folder.marks().write(Slot::State, mark) {
            // The commit is in the file; only its loss would not be noticed.
            tracing::warn!(%error, "the last commit could not be marked");
        }
    }

    /// Drops what is beyond the bounds: alerts a step at a time, once they are delivered; and
    /// what is left of the other lists from wider bounds.
    fn retain(&mut self) -> Result<(), StoreError> {
        let s = &self.settings;
        let (bound, f) = (Kept { items: s.alerts_max, bytes: s.alerts_bytes_max }, &self.figures);
        let (mut alerts, delivered) = (self.alerts, self.alerts_done + 1);
        if alerts.exceeds(bound) {
            let dropped = (|| {
                let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
                let dropped = OUTBOX.shelf.drop_oldest(&tx, &mut alerts, bound, delivered)?;
                let total = f.alerts_dropped.load(Ordering::Relaxed) + dropped.items;
                put_meta(&tx, "alerts_dropped", &total.to_string())?;
                tx.commit()?;
                Ok(dropped)
            })()
            .map_err(|error| self.place.error(error))?;
            self.figures.alerts_dropped.fetch_add(dropped.items, Ordering::Relaxed);
            self.alerts = alerts;
        }
        let terms = self.letters_terms();
        if let Some(published) = terms.published.filter(|at| *at != self.letters.published()) {
            let before = self.letters.published();
            let mut followed = self.letters.follow(&self.conn, published);
            if followed.is_ok() && published < before {
                followed = self.letters.note_set_back(&self.conn);
            }
            followed.map_err(|error| self.place.error(error))?;
        }
        if self.letters.must_leave(terms)
            || self.late.exceeds(self.late_bound()) && self.late != self.late_least
        {
            self.narrow().map_err(|error| self.place.error(error))?;
        }
        self.retain_rollups()
    }

    /// Brings the lists within bounds that were wider before.
    fn narrow(&mut self) -> rusqlite::Result<()> {
        let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        let letters = self.letters.trim(&tx, self.letters_terms())?;
        let none = Outputs { alerts: Vec::new(), late: Vec::new(), late_skipped: 0 };
        let lists = self.bound_lists(&tx, &CommitUnit::default(), &none)?;
        tx.commit()?;
        (self.letters, self.late) = (letters, lists.late);
        // The newest block stays, whatever its size.
        self.late_least = lists.late;
        self.figures.late_dropped.fetch_add(lists.late_dropped, Ordering::Relaxed);
        Ok(())
    }

    /// Drops roll-ups that are too old, a step for each metric, once an hour of data.
    fn retain_rollups(&mut self) -> Result<(), StoreError> {
        if self.minute < self.minute_swept + ROLLUP_SWEEP {
            return Ok(());
        }
        let cut = self.minute - self.settings.rollups_keep;
        let total = self.figures.rollups_dropped.load(Ordering::Relaxed);
        let (dropped, done) = (|| {
            let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            let (dropped, done) = drop_rollups(&tx, cut)?;
            if dropped > 0 {
                put_meta(&tx, "rollups_dropped", &(total + dropped).to_string())?;
            }
            tx.commit()?;
            Ok((dropped, done))
        })()
        .map_err(|error| self.place.error(error))?;
        self.figures.rollups_dropped.fetch_add(dropped, Ordering::Relaxed);
        if done {
            self.minute_swept = self.minute;
        }
        Ok(())
    }
}

impl StateStore for StateDb {
    fn load(&mut self) -> Result<Option<Restored>, StoreError> {
        if self.head.epoch == 0 {
            return Ok(None);
        }
        let never = std::sync::atomic::AtomicBool::new(false);
        let head = &self.head;
        let snapshot = snapshot::absorb(&self.conn, &self.place, head, &never)?
            .expect("only a cancelled absorption gives nothing");
        Ok(Some(Restored {
            epoch: head.epoch,
            positions: head.positions.values().cloned().collect(),
            watermark: head.watermark,
            wall: head.wall,
            snapshot,
        }))
    }

    fn commit(&mut self, unit: &CommitUnit) -> Result<(), StoreError> {
        let not_parent = || StoreError::NotParent { path: self.place.name(), epoch: unit.epoch };
        if unit.epoch != self.head.epoch + 1 {
            return Err(not_parent());
        }
        let outputs = Outputs::of(unit, self.alerts_last, self.settings.late_max)
            .map_err(|what| self.place.io(what))?;
        let mut next = self.head.clone();
        (next.epoch, next.watermark, next.wall) = (unit.epoch, unit.watermark, unit.wall);
        for position in &unit.positions {
            next.positions.insert(position.source.name.clone(), position.clone());
        }
        self.folder.check()?;
        let written = self.write(unit, &next, &outputs);
        match written.map_err(|error| self.place.error(error))? {
            Some(lists) => {
                self.follow(unit, next, &outputs, lists);
                self.mark();
            }
            None => return Err(not_parent()),
        }
        Ok(())
    }

    fn deliver_alerts(&mut self) -> Result<u64, StoreError> {
        let mut delivered = 0;
        while self.alerts_done < self.alerts_last {
            let (after, bytes) = (self.alerts_done, DELIVERY_BYTES);
            let blocks = OUTBOX.blocks_after(&self.conn, &self.place, after, u64::MAX, bytes)?;
            let Some(last) = blocks.last().map(|block| block.last) else {
                return Err(self.place.damaged(format!("alerts after {after} are missing")));
            };
            let count: u64 = blocks.iter().map(|block| block.count).sum();
            let bytes: usize = blocks.iter().map(|block| block.blob.len()).sum();
            self.log.deliver(blocks)?;
            fail::fail_point!("store.deliver.between");
            let total = self.figures.alerts_delivered.load(Ordering::Relaxed) + count;
            (|| {
                let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
                put_meta(&tx, "alerts_done", &last.to_string())?;
                put_meta(&tx, "alerts_delivered", &total.to_string())?;
                tx.commit()
            })()
            .map_err(|error| self.place.error(error))?;
            self.figures.alerts_delivered.store(total, Ordering::Relaxed);
            self.alerts_done = last;
            self.chores.wrote(bytes as u64 / 16);
            delivered += count;
        }
        Ok(delivered)
    }

    fn check(&self) -> Result<(), StoreError> {
        self.folder.check()
    }

    fn letters_dropped(&self) -> u64 {
        self.letters.dropped.total()
    }

    fn letters_dropped_words(&self) -> String {
        let Settings { dead_letters_max, dead_letters_bytes_max, .. } = self.settings;
        format!(
            "dead letters left to keep their bound (store.dead_letters_max = {dead_letters_max}, \
             store.dead_letters_bytes_max = {dead_letters_bytes_max} bytes), the oldest of the \
             most frequent kind first: {}{}",
            self.letters.dropped.words(),
            match self.letters.unpublished.total() {
                0 => String::new(),
                left => format!(
                    "; {left} of them before NATS had taken them ({})",
                    self.letters.unpublished.words()
                ),
            }
        )
    }

    fn letters_held_words(&self) -> Option<String> {
        let terms = self.letters_terms();
        let (kept, bound, most) = (self.letters.total(), terms.bound, terms.most());
        terms.published?;
        let mib = |bytes: u64| bytes >> 20;
        kept.exceeds(bound).then(|| {
            format!(
                "{} dead letters ({} MiB) are kept, more than store.dead_letters_max = {} or \
                 store.dead_letters_bytes_max = {} MiB, because NATS has not taken {} of them yet; \
                 beyond {} ({} MiB) the oldest leave without it",
                kept.items,
                mib(kept.bytes),
                bound.items,
                mib(bound.bytes),
                self.letters.waiting().items,
                most.items,
                mib(most.bytes)
            )
        })
    }

    fn alerts_delivered(&self) -> u64 {
        self.figures.alerts_delivered.load(Ordering::Relaxed)
    }

    fn tidy(&mut self) -> Result<(), StoreError> {
        let folded = self.snapshots.step(&self.conn, &self.place, &mut self.head, &self.settings);
        // A snapshot that finds no room must not keep the others from making some.
        let retained = self.retain();
        self.chores.wrote(*folded.as_ref().unwrap_or(&0));
        let slack = self.settings.slack_bytes;
        let shrunk = self
            .chores
            .shrink(&self.conn, slack)
            .and_then(|()| self.chores.checkpoint(&self.conn))
            .map_err(|error| self.place.error(error));
        self.show();
        folded.and(retained).and(shrunk)
    }
}

/// Entry of `meta`: position of the log's last event at the last commit, and which log.
const LOG_END: &str = "log_end";

/// That the state goes as far as it is known to have gone.
fn compare(
    folder: &Folder,
    place: &Place,
    mark: Mark,
    mark_of: u64,
    epoch: u64,
) -> Result<(), StoreError> {
    let last = mark.last;
    let what = match mark.of == mark_of {
        false => "it is another state than the one of this folder".to_owned(),
        true if last > epoch => format!(
            "it ends at commit {epoch}, and {last} were made: state.db-wal is damaged, cut or \
             missing, or an older copy was put back"
        ),
        true => return Ok(()),
    };
    Err(StoreError::Damaged {
        path: place.name(),
        what,
        remedy: format!(
            "stop tidewatch, then put state.db and state.db-wal back as they were; or move both \
             away to start again from the log; or move {} away to go on from commit {epoch} \
             with what is still in the log",
            folder.marks().name()
        ),
    })
}

/// That the log goes as far as it went at the last commit.
fn compare_log(place: &Place, conn: &Connection, log: &EmbeddedLog) -> Result<(), StoreError> {
    let Some(text) = place.meta_opt(conn, LOG_END)? else { return Ok(()) };
    let Some((last, incarnation)) = text.split_once(' ') else {
        return Err(place.damaged(format!("`{LOG_END}` is {text:?}")));
    };
    let last: u64 = last.parse().map_err(|_| place.damaged(format!("`{LOG_END}` is {text:?}")))?;
    let end = log.last_position();
    // Another log is told from this one by whoever reads it.
    if incarnation != log.identity().incarnation || end >= last {
        return Ok(());
    }
    let what = format!("it ends at event {end}, and {last} were in it at the last commit");
    Err(log.lost(what, end + 1, last))
}

/// The outputs of a unit, packed before the transaction begins.
struct Outputs {
    alerts: Vec<Block>,
    late: Vec<Block>,
    /// Late events that are too many for the list by themselves.
    late_skipped: u64,
}

/// The bounded lists as they are after a commit.
struct Lists {
    letters: Letters,
    late: Kept,
    late_dropped: u64,
}

impl Outputs {
    fn of(unit: &CommitUnit, alerts_last: u64, late_max: u64) -> Result<Outputs, String> {
        let mut last = alerts_last;
        for alert in &unit.alerts {
            if alert.n <= last {
                return Err(format!(
                    "alert {} in commit {} comes after {last}",
                    alert.n, unit.epoch
                ));
            }
            last = alert.n;
        }
        let text = |error: serde_json::Error| error.to_string();
        // What would leave again at once is not written.
        let late_skipped = unit.late.len().saturating_sub(late_max as usize);
        let (late, late_skipped) = (&unit.late[late_skipped..], late_skipped as u64);
        Ok(Outputs {
            alerts: pack(&unit.alerts, |alert| alert.n).map_err(text)?,
            late: pack(late, |late| late.position).map_err(text)?,
            late_skipped,
        })
    }
}

fn number(place: &Place, conn: &Connection, key: &str) -> Result<u64, StoreError> {
    match place.meta_opt(conn, key)? {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| place.damaged(format!("`{key}` is not a number"))),
    }
}

fn delta_bytes(unit: &CommitUnit) -> u64 {
    unit.delta.iter().map(|section| section.len() as u64).sum()
}
