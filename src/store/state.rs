//! The state store: one SQLite file, one transaction for each commit.
//!
//! Called from one thread of its own (every call may block). A commit appends its
//! sections as they are; `snapshot` folds them together off this thread. The rows
//! themselves are written by `tables`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::Settings;
use super::alerts::Alerts;
use super::ends::{LOG_END, compare, compare_log};
pub use super::figures::Figures;
use super::folder::{Folder, STATE};
use super::incidents;
use super::late::{self, LateList};
use super::letters::{DROPPED, Dropped, LAST, Letters, PUBLISHED, Terms, UNPUBLISHED};
use super::log::EmbeddedLog;
use super::marks::{Mark, Slot};
use super::outbox::Block;
use super::retain::Kept;
use super::rollups::{self, Rollups};
use super::snapshot::{self, Snapshots};
use super::sqlite::{Chores, DbFile, put_meta, random, text_checksum};
use super::tables::{Head, LAYOUT, read_head, write_delta, write_head};
use crate::actors::ports::{StateStore, StoreError};
use crate::domain::commit::{CommitUnit, Restored};

/// The state store. See [`StateStore`].
pub struct StateDb {
    conn: Connection,
    db: DbFile,
    settings: Settings,
    log: EmbeddedLog,
    figures: Arc<Figures>,
    head: Head,
    seed: u64,
    alerts: Alerts,
    late: LateList,
    letters: Letters,
    rollups: Rollups,
    snapshots: Snapshots,
    chores: Chores,
    mark_of: u64,
    /// By channel: up to which notification nobody's address is kept.
    erased: BTreeMap<String, u64>,
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
        let db = folder.db(STATE, &LAYOUT);
        // To move the state away and start again from the log is nobody's loss.
        let mark = if folder.path().join(STATE).exists() {
            folder.marks().read(Slot::State)?
        } else {
            None
        };
        let conn = db.open_or_create(|| {
            vec![
                ("folder", format!("{:016x}", random())),
                ("seed", format!("{:016x}", settings.seed.unwrap_or_else(random))),
            ]
        })?;
        let seed = u64::from_str_radix(&db.meta(&conn, "seed")?, 16)
            .map_err(|_| db.damaged("`seed` is not a number"))?;
        let figures = Arc::new(Figures::default());
        for (name, figure) in figures.kept() {
            figure.store(number(&db, &conn, name)?, Ordering::Relaxed);
        }
        let error = |error| db.error(error);
        let mut head = read_head(&conn, &db)?.unwrap_or_default();
        folder.look([STATE])?;
        let mark_of = text_checksum("folder", &db.meta(&conn, "folder")?) as u64;
        if let Some(mark) = mark {
            compare(folder, &db, mark, mark_of, head.epoch)?;
        }
        compare_log(&db, &conn, &log)?;
        head.owner = random() as i64;
        let owned = (|| {
            let tx = Transaction::new_unchecked(&conn, TransactionBehavior::Immediate)?;
            write_head(&tx, &head)?;
            tx.commit()
        })();
        owned.map_err(error)?;
        let snapshots = Snapshots::open(&conn, &db, &head)?;
        let chores = Chores::of(&db);
        let dropped = |name| -> Result<Dropped, StoreError> {
            let Some(text) = db.meta_opt(&conn, name)? else { return Ok(Dropped::default()) };
            serde_json::from_str(&text).map_err(|error| db.damaged(format!("`{name}`: {error}")))
        };
        let published = number(&db, &conn, PUBLISHED)?;
        figures.letters_published.store(published, Ordering::Relaxed);
        let noted = Letters::noted(
            dropped(DROPPED)?,
            dropped(UNPUBLISHED)?,
            number(&db, &conn, LAST)?,
            published,
        );
        let done = number(&db, &conn, "alerts_done")?;
        let late_bound = Kept { items: settings.late_max, bytes: settings.late_bytes_max };
        let db = StateDb {
            alerts: Alerts::open(&conn, done, &log, &figures).map_err(error)?,
            late: LateList::measure(&conn, late_bound).map_err(error)?,
            letters: Letters::measure(&conn, noted).map_err(error)?,
            rollups: Rollups::default(),
            conn,
            db,
            settings,
            log,
            figures,
            head,
            seed,
            snapshots,
            chores,
            mark_of,
            erased: BTreeMap::new(),
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
        self.alerts.write(&tx, &outputs.alerts, &self.figures)?;
        let late = self.late.write(&tx, unit.epoch, &outputs.late, &self.figures)?;
        let letters = if unit.dead_letters.is_empty() {
            self.letters.clone()
        } else {
            self.letters.write(&tx, unit, self.letters_terms())?
        };
        let Settings { incidents_max, incident_log_max, .. } = self.settings;
        let bounds = incidents::Bounds { incidents: incidents_max, log: incident_log_max };
        let lost = incidents::write(&tx, &unit.incidents, bounds, &self.figures)?;
        rollups::write(&tx, &unit.rollups)?;
        write_head(&tx, next)?;
        let log = &self.log.identity().incarnation;
        put_meta(&tx, LOG_END, &format!("{} {log}", self.log.last_position()))?;
        fail::fail_point!("store.commit.before");
        tx.commit()?;
        fail::fail_point!("store.commit.after");
        Ok(Some(Lists { letters, late, lost }))
    }

    fn letters_terms(&self) -> Terms {
        let Settings { dead_letters_max, dead_letters_bytes_max, .. } = self.settings;
        let bound = Kept { items: dead_letters_max, bytes: dead_letters_bytes_max };
        let figures = &self.figures;
        let held = figures.letters_are_published.load(Ordering::Acquire);
        let published = held.then(|| figures.letters_published.load(Ordering::Acquire));
        Terms { bound, published }
    }

    /// Brings memory up to the unit that was just written.
    fn follow(&mut self, unit: &CommitUnit, next: Head, outputs: &Outputs, lists: Lists) {
        let bytes = delta_bytes(unit);
        self.head = next;
        self.snapshots.delta_bytes += bytes;
        self.alerts.follow(&outputs.alerts, &self.figures);
        self.letters = lists.letters;
        for (taker, count) in lists.lost {
            taker.lost.fetch_add(count, Ordering::Relaxed);
        }
        self.late.follow(&lists.late, &self.figures);
        self.rollups.wrote(&unit.rollups);
        let raw: usize = unit.dead_letters.iter().map(|letter| letter.raw.len()).sum();
        let alerts: usize = outputs.alerts.iter().map(|block| block.blob.len()).sum();
        let blobs = alerts + outputs.late.bytes();
        // A page for each roll-up metric and table is little against a checkpoint's step.
        let rows = (unit.rollups.len() * 64) as u64 + 64 * 1024;
        self.chores.wrote(bytes + blobs as u64 + raw as u64 + rows);
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
    fn retain(&mut self) -> rusqlite::Result<()> {
        self.erase_recipients()?;
        let s = &self.settings;
        let bound = Kept { items: s.alerts_max, bytes: s.alerts_bytes_max };
        self.alerts.retain(&self.conn, bound, &self.figures)?;
        self.retain_letters()?;
        if self.late.must_leave() {
            let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            self.late.narrow(tx, &self.figures)?;
        }
        self.rollups.retain(&self.conn, self.settings.rollups_keep, &self.figures)
    }

    /// Forgets whom notifications went to that are delivered or left out for good.
    fn erase_recipients(&mut self) -> rusqlite::Result<()> {
        for (channel, until) in self.figures.noted() {
            let from = self.erased.get(&channel).copied().unwrap_or_default();
            if from < until {
                let until = incidents::erase(&self.conn, &channel, (from, until))?;
                self.erased.insert(channel, until);
            }
        }
        Ok(())
    }

    fn retain_letters(&mut self) -> rusqlite::Result<()> {
        let terms = self.letters_terms();
        if let Some(published) = terms.published.filter(|at| *at != self.letters.published()) {
            let before = self.letters.published();
            self.letters.follow(&self.conn, published)?;
            if published < before {
                self.letters.note_set_back(&self.conn)?;
            }
        }
        if self.letters.must_leave(terms) {
            let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            let letters = self.letters.trim(&tx, terms)?;
            tx.commit()?;
            self.letters = letters;
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
        let snapshot = snapshot::absorb(&self.conn, &self.db, head, &never)?
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
        let not_parent = || StoreError::NotParent { path: self.db.name(), epoch: unit.epoch };
        if unit.epoch != self.head.epoch + 1 {
            return Err(not_parent());
        }
        let late = late::News::of(&unit.late, self.settings.late_max);
        let outputs = Outputs {
            alerts: self.alerts.pack(&unit.alerts, unit.epoch).map_err(|e| self.db.io(e))?,
            late: late.map_err(|error| self.db.io(error))?,
        };
        let mut next = self.head.clone();
        (next.epoch, next.watermark, next.wall) = (unit.epoch, unit.watermark, unit.wall);
        for position in &unit.positions {
            next.positions.insert(position.source.name.clone(), position.clone());
        }
        self.folder.check()?;
        let written = self.write(unit, &next, &outputs);
        match written.map_err(|error| self.db.error(error))? {
            Some(lists) => {
                self.follow(unit, next, &outputs, lists);
                self.mark();
            }
            None => return Err(not_parent()),
        }
        Ok(())
    }

    fn deliver_alerts(&mut self) -> Result<u64, StoreError> {
        let mut total = 0;
        while let Some(delivered) =
            self.alerts.deliver(&self.conn, &self.db, &self.log, &self.figures)?
        {
            self.chores.wrote(delivered.bytes / 16);
            total += delivered.items;
        }
        Ok(total)
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
        let folded = self.snapshots.step(&self.conn, &self.db, &mut self.head, &self.settings);
        // A snapshot that finds no room must not keep the others from making some.
        let retained = self.retain().map_err(|error| self.db.error(error));
        self.chores.wrote(*folded.as_ref().unwrap_or(&0));
        let slack = self.settings.slack_bytes;
        let shrunk = self
            .chores
            .shrink(&self.conn, slack)
            .and_then(|()| self.chores.checkpoint(&self.conn))
            .map_err(|error| self.db.error(error));
        self.show();
        folded.and(retained).and(shrunk)
    }
}

/// The outputs of a unit, packed before the transaction begins.
struct Outputs {
    alerts: Vec<Block>,
    late: late::News,
}

/// The bounded lists as they are after a commit.
struct Lists {
    letters: Letters,
    late: late::After,
    lost: incidents::Lost,
}

fn number(db: &DbFile, conn: &Connection, key: &str) -> Result<u64, StoreError> {
    match db.meta_opt(conn, key)? {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| db.damaged(format!("`{key}` is not a number"))),
    }
}

fn delta_bytes(unit: &CommitUnit) -> u64 {
    unit.delta.iter().map(|section| section.len() as u64).sum()
}
