//! The log's one writing thread: groups what waits, writes it, answers, tidies up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::batch::{Batch, Packed, Packer, link, seal};
use super::{BATCHES, Head, Shared, head_checksum, mark_of};
use crate::actors::ports::{AppendError, Appended, StoreError};
use crate::domain::condition::Condition;
use crate::domain::time::EpochMs;
use crate::store::marks::{Mark, Slot};
use crate::store::outbox::{ALERT_LOG, Block, rest_after};
use crate::store::retain::Kept;
use crate::store::sqlite::{Chores, checksum};

/// Events that wait to be written.
pub(super) struct Append {
    pub events: Vec<Bytes>,
    /// What they take in a batch, about.
    pub bytes: usize,
    pub reply: oneshot::Sender<Result<Appended, AppendError>>,
    /// Its share of the queue, free again when the request is answered.
    pub _permit: OwnedSemaphorePermit,
}

/// Alerts that wait to be written.
pub(super) struct Delivery {
    pub blocks: Vec<Block>,
    pub reply: SyncSender<Result<(), StoreError>>,
}

/// What waits for the writer. Bounded by the semaphore in [`Shared`] (appends) and
/// by the state store waiting for each delivery.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    appends: VecDeque<Append>,
    deliveries: VecDeque<Delivery>,
    tidy: bool,
    closed: bool,
}

/// What the writer does next.
enum Work {
    Appends(Vec<Append>),
    Delivery(Delivery),
    Tidy,
}

impl Queue {
    pub(super) fn append(&self, append: Append) {
        self.change(|waiting| waiting.appends.push_back(append));
    }

    pub(super) fn deliver(&self, delivery: Delivery) {
        self.change(|waiting| waiting.deliveries.push_back(delivery));
    }

    /// Asks for a round of housekeeping.
    pub(super) fn tidy(&self) {
        self.change(|waiting| waiting.tidy = true);
    }

    /// What waits is still done, then the writer stops.
    pub(super) fn close(&self) {
        self.change(|waiting| waiting.closed = true);
    }

    fn change(&self, with: impl FnOnce(&mut Waiting)) {
        with(&mut self.waiting.lock());
        self.wake.notify_one();
    }

    /// Drops what waits, which tells the askers that the writer has stopped.
    fn abandon(&self) {
        let mut waiting = self.waiting.lock();
        waiting.appends.clear();
        waiting.deliveries.clear();
    }

    /// The next work: a delivery, or as many appends as fit a group; `None` at the end. While
    /// the disk is full it is looked at again after a while.
    fn next(&self, group_bytes: usize, full: bool) -> Option<Work> {
        let mut waiting = self.waiting.lock();
        loop {
            // Deliveries are rare and one at a time: going first costs appends little.
            if let Some(delivery) = waiting.deliveries.pop_front() {
                return Some(Work::Delivery(delivery));
            }
            if !waiting.appends.is_empty() {
                return Some(Work::Appends(group(&mut waiting.appends, group_bytes)));
            }
            if std::mem::take(&mut waiting.tidy) {
                return Some(Work::Tidy);
            }
            if waiting.closed {
                return None;
            }
            if !full {
                self.wake.wait(&mut waiting);
            } else if self.wake.wait_for(&mut waiting, ROOM_AGAIN).timed_out() {
                return Some(Work::Tidy);
            }
        }
    }
}

/// How long a full disk is left alone before it is looked at again.
const ROOM_AGAIN: Duration = Duration::from_secs(1);
/// How often the files are looked at while events come, in ms.
const CHECK: i64 = 1_000;

/// Takes requests until the next one would exceed the group; at least one.
fn group(appends: &mut VecDeque<Append>, group_bytes: usize) -> Vec<Append> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while let Some(append) = appends.front() {
        bytes += append.bytes;
        if bytes > group_bytes && !taken.is_empty() {
            break;
        }
        taken.extend(appends.pop_front());
    }
    taken
}

/// The writing thread's state.
pub(super) struct Writer {
    conn: Connection,
    shared: Arc<Shared>,
    head: Head,
    alerts: Kept,
    /// Position of the newest delivered alert.
    alerts_last: u64,
    chores: Chores,
    /// Set by an error that a later try cannot mend: nothing is written any more.
    broken: Option<StoreError>,
    /// There was no room for the last group.
    full: bool,
    /// Monotonic time when the files were looked at last.
    checked: i64,
    mark_of: u64,
}

impl Writer {
    pub(super) fn new(
        conn: Connection,
        shared: Arc<Shared>,
        head: Head,
    ) -> Result<Writer, StoreError> {
        let error = |error| shared.db.error(error);
        Ok(Writer {
            alerts: ALERT_LOG.shelf.measure(&conn).map_err(error)?,
            alerts_last: ALERT_LOG.newest(&conn).map_err(error)?,
            conn,
            head,
            chores: Chores::of(&shared.db),
            broken: None,
            full: false,
            checked: 0,
            mark_of: mark_of(&shared.identity.incarnation),
            shared,
        })
    }

    /// Works until the log is closed.
    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        // A panic must not leave askers waiting: the guard drops their requests.
        let _guard = Guard(&shared);
        while let Some(work) = shared.queue.next(shared.settings.group_bytes, self.full) {
            match work {
                Work::Appends(appends) => self.append(appends),
                Work::Delivery(delivery) => {
                    let result = self.deliver(&delivery.blocks);
                    // An asker that is gone delivers again after its restart.
                    let _ = delivery.reply.send(result);
                }
                Work::Tidy => {}
            }
            self.tidy();
        }
    }

    fn append(&mut self, appends: Vec<Append>) {
        let mut packer =
            Packer::new(self.shared.settings.batch_bytes, self.shared.settings.batch_events.max(1));
        let mut last = self.head.last;
        let mut answers = Vec::with_capacity(appends.len());
        for append in appends {
            let queued = last - self.head.last;
            let room = self.shared.check_room(append.events.len() as u64, queued);
            let result = room.map(|()| {
                let first = last + 1;
                for event in &append.events {
                    last += 1;
                    packer.push(last, event);
                }
                Appended { first, last }
            });
            answers.push((append, result));
        }
        let written = self.write(last, packer.batches);
        for (append, result) in answers {
            let result = match &written {
                Ok(()) => result,
                Err(error) => result.and(Err(error.clone())),
            };
            // The asker may have gone away; the events are in the log all the same.
            let _ = append.reply.send(result);
        }
    }

    /// Writes one group and shows it to the readers.
    fn write(&mut self, last: u64, packed: Vec<Packed>) -> Result<(), AppendError> {
        if packed.is_empty() {
            return Ok(());
        }
        self.check().map_err(refusal)?;
        self.check_files().map_err(refusal)?;
        let step = self.shared.settings.arrived_step.max(1);
        let arrived = self.shared.clock.wall().div_euclid(step) * step;
        let mut next = self.head;
        next.last = last;
        next.acked = self.shared.acked.load(Ordering::Acquire);
        for batch in &packed {
            next.kept.add(batch.count, batch.blob.len() as u64);
        }
        let result = self.insert(&mut next, arrived, &packed);
        self.done(result).map_err(refusal)?;
        self.mark(&next);
        self.room(None);
        fail::fail_point!("log.append.after");
        let bytes = packed.iter().map(|batch| batch.blob.len() as u64).sum::<u64>();
        // A group writes its blob and about two pages around it.
        self.chores.wrote(bytes + 8_192);
        self.head = next;
        self.publish(arrived, packed);
        Ok(())
    }

    fn insert(&self, next: &mut Head, arrived: EpochMs, packed: &[Packed]) -> rusqlite::Result<()> {
        let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        for batch in packed {
            let sum = checksum("batches", seal(batch.first, batch.count, arrived), &batch.blob);
            next.chain = link(next.chain, sum);
            tx.prepare_cached(
                "INSERT INTO batches(first, count, arrived, checksum, blob, chain) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                batch.first as i64,
                batch.count as i64,
                arrived,
                sum,
                batch.blob,
                next.chain
            ])?;
        }
        write_head(&tx, next)?;
        fail::fail_point!("log.append.before");
        tx.commit()
    }

    /// Says how far the log goes, before anybody is told.
    fn mark(&self, head: &Head) {
        let mark = Mark { of: self.mark_of, last: head.last, chain: head.chain };
        if let Err(error) = self.shared.folder.marks().write(Slot::Log, mark) {
            // The events are in the log; only their loss would not be noticed.
            tracing::warn!(%error, "the log's end could not be marked");
        }
    }

    /// That the files are still ours, now and then.
    fn check_files(&mut self) -> Result<(), StoreError> {
        let now = self.shared.clock.elapsed();
        if now - self.checked < CHECK {
            return Ok(());
        }
        self.checked = now;
        self.shared.folder.check().inspect_err(|error| self.broken = Some(error.clone()))
    }

    /// There is no room, for the reason given, or there is.
    fn room(&mut self, full: Option<String>) {
        if !self.full && full.is_none() {
            return;
        }
        self.full = full.is_some();
        if let Some(status) = self.shared.status.get() {
            status.stands(Condition::LogFull, full);
        }
    }

    /// Memory first, then the position: a reader that sees the position finds the batch.
    fn publish(&self, arrived: EpochMs, packed: Vec<Packed>) {
        let mut recent = self.shared.recent.lock();
        for batch in packed {
            let Packed { first, count, blob } = batch;
            let batch = Batch::parse(first, count, arrived, blob.into())
                .expect("the packer writes what parse reads");
            recent.push(Arc::new(batch));
        }
        drop(recent);
        self.shared.last.send_replace(self.head.last);
    }

    /// Writes delivered alerts once, by their position in the feed: a block that was
    /// written before a crash, and its mark in the outbox not, is skipped.
    fn deliver(&mut self, blocks: &[Block]) -> Result<(), StoreError> {
        self.check()?;
        let mut fresh = Vec::with_capacity(blocks.len());
        for block in blocks {
            let rest = rest_after(block, self.alerts_last)
                .map_err(|error| self.shared.db.io(format!("alerts to deliver: {error}")))?;
            fresh.extend(rest);
        }
        let Some(newest) = fresh.last().map(|block| block.last) else { return Ok(()) };
        let result = (|| {
            let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            for block in &fresh {
                ALERT_LOG.insert(&tx, block)?;
            }
            tx.commit()
        })();
        self.done(result)?;
        for block in &fresh {
            self.alerts.add(block.count, block.blob.len() as u64);
            self.chores.wrote(block.blob.len() as u64);
        }
        self.alerts_last = newest;
        Ok(())
    }

    /// Retention, checkpoint, space: a bounded step after each piece of work.
    fn tidy(&mut self) {
        if self.broken.is_some() {
            return;
        }
        if self.full && !self.shared.db.no_room() {
            self.room(None);
        }
        let result = self.retain().and_then(|over| {
            self.shared.over.store(over, Ordering::Release);
            self.chores.shrink(&self.conn, self.shared.settings.slack_bytes)?;
            self.chores.checkpoint(&self.conn)
        });
        // A full disk or a busy file is tried again after the next group; anything
        // worse is remembered by `done` and refuses that group.
        let _ = self.done(result);
    }

    /// Drops committed batches and delivered alerts beyond the bounds; tells whether
    /// more than the bound is left.
    fn retain(&mut self) -> rusqlite::Result<bool> {
        let settings = &self.shared.settings;
        let bound = self.shared.bound();
        let alerts = Kept { items: settings.alerts_max, bytes: settings.alerts_bytes_max };
        if !self.head.kept.exceeds(bound) && !self.alerts.exceeds(alerts) {
            return Ok(false);
        }
        let mut next = self.head;
        next.acked = self.shared.acked.load(Ordering::Acquire);
        let mut left = self.alerts;
        let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        // The batch that holds the committed position stays: its fingerprint is asked
        // for at every start (I7).
        let dropped = BATCHES.drop_oldest(&tx, &mut next.kept, bound, next.acked)?;
        ALERT_LOG.shelf.drop_oldest(&tx, &mut left, alerts, u64::MAX)?;
        if dropped.items > 0 {
            write_head(&tx, &next)?;
        }
        tx.commit()?;
        (self.head, self.alerts) = (next, left);
        Ok(self.head.kept.exceeds(bound))
    }

    fn check(&self) -> Result<(), StoreError> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// Names an error, and remembers it when trying again cannot help.
    fn done<T>(&mut self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| {
            let busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            let error = self.shared.db.error(error);
            if matches!(error, StoreError::DiskFull { .. }) {
                self.room(Some(error.to_string()));
            }
            let lasting = !busy && !matches!(error, StoreError::DiskFull { .. });
            if lasting {
                // After a failed sync the file may hold less than it says: only a
                // new start reads what is really there.
                self.broken = Some(error.clone());
            }
            error
        })
    }
}

struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.slots.close();
        self.0.queue.abandon();
    }
}

fn write_head(conn: &Connection, head: &Head) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO head(id, last, events, bytes, acked, checksum, chain) \
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        head.last as i64,
        head.kept.items as i64,
        head.kept.bytes as i64,
        head.acked as i64,
        head_checksum(head),
        head.chain
    ])?;
    Ok(())
}

fn refusal(error: StoreError) -> AppendError {
    match error {
        StoreError::DiskFull { path } => AppendError::DiskFull { path },
        other => AppendError::Broken(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;

    #[test]
    fn a_group_takes_what_waits_up_to_its_bytes_and_at_least_one() {
        let slots = Arc::new(Semaphore::new(100));
        let ask = |bytes| {
            let permit = slots.clone().try_acquire_owned().unwrap();
            let (reply, _) = oneshot::channel();
            Append { events: Vec::new(), bytes, reply, _permit: permit }
        };
        let mut waiting: VecDeque<Append> = [90, 5, 40, 50, 11, 1].map(ask).into();
        let mut groups = Vec::new();
        while !waiting.is_empty() {
            let taken = group(&mut waiting, 100);
            groups.push(taken.iter().map(|append| append.bytes).collect::<Vec<_>>());
        }
        assert_eq!(groups, [vec![90, 5], vec![40, 50], vec![11, 1]]);
        let mut large: VecDeque<Append> = [500, 1].map(ask).into();
        assert_eq!(group(&mut large, 100).len(), 1);
    }

    #[test]
    fn a_queue_gives_everything_before_its_end() {
        let queue = Queue::default();
        queue.tidy();
        let (reply, _answer) = std::sync::mpsc::sync_channel(1);
        queue.deliver(Delivery { blocks: Vec::new(), reply });
        queue.close();
        assert!(matches!(queue.next(1, false), Some(Work::Delivery(_))));
        assert!(matches!(queue.next(1, false), Some(Work::Tidy)));
        assert!(queue.next(1, false).is_none());
    }
}
