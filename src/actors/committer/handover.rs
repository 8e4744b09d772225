//! Hands commits to the store's thread one after another, and says what is durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};

use tokio::sync::{oneshot, watch};

use crate::actors::flow::Flow;
use crate::actors::store_thread::{StoreCommand, ToStore};
use crate::actors::supervision::DeathWatch;

/// The way of commits to the store, and back.
pub(super) struct Handover {
    pub store: SyncSender<StoreCommand>,
    pub flow: Arc<Flow>,
    /// Position of each source that is durable.
    pub durable: watch::Sender<Vec<u64>>,
    pub watch: DeathWatch,
    /// At most one for each barrier under way.
    pub waiting: VecDeque<Box<ToStore>>,
    /// Number of the last commit that was made.
    pub epoch: u64,
    /// Who is told when a barrier is durable.
    pub told: BTreeMap<u64, Vec<oneshot::Sender<()>>>,
}

impl Handover {
    /// Hands a commit over, as the one after the last.
    pub(super) fn commit(&mut self, mut commit: ToStore) {
        self.epoch += 1;
        commit.unit.epoch = self.epoch;
        self.waiting.push_back(Box::new(commit));
        self.offer();
    }

    /// Hands waiting commits to the store's thread as far as it takes them.
    pub(super) fn offer(&mut self) {
        while let Some(next) = self.waiting.pop_front() {
            match self.store.try_send(StoreCommand::Commit(next)) {
                Ok(()) => {}
                Err(TrySendError::Full(StoreCommand::Commit(next))) => {
                    return self.waiting.push_front(next);
                }
                Err(_) => return self.watch.fail("the store's thread ended"),
            }
        }
    }

    /// Everything up to a barrier is durable: credits are free, the source may forget.
    pub(super) fn release(&mut self, number: u64, events: u64, positions: &[u64]) {
        for told in self.told.remove(&number).into_iter().flatten() {
            // A request that went away meanwhile wants no answer.
            let _ = told.send(());
        }
        self.flow.in_flight.fetch_sub(events, Ordering::SeqCst);
        self.flow.barriers.fetch_sub(1, Ordering::SeqCst);
        self.flow.freed.notify_one();
        self.durable.send_if_modified(|durable| {
            let mut moved = false;
            for (durable, position) in durable.iter_mut().zip(positions) {
                moved |= position > durable;
                *durable = (*durable).max(*position);
            }
            moved
        });
    }
}
