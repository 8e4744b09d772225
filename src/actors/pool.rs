//! Finished batches, to be used again: the aggregators put them here and the ingestor takes
//! them. Fresh memory for every batch would cost a fifth of the event path in page faults.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::domain::event::EventBatch;

/// The pool. Clones share it.
#[derive(Clone, Debug)]
pub struct BatchPool {
    batches: Arc<Mutex<Vec<EventBatch>>>,
    kept: usize,
}

impl BatchPool {
    /// An empty pool for a number of shards with that many permits in their queues. It keeps
    /// those that may wait, the one at work, and the next.
    pub fn new(shards: u16, permits: usize) -> Self {
        BatchPool { batches: Arc::default(), kept: usize::from(shards) * (permits + 2) }
    }

    /// An empty batch over `data`, with the space of an earlier one if there is any.
    pub fn take(&self, data: Bytes, width: usize) -> EventBatch {
        let mut batch = self.batches.lock().pop().unwrap_or_default();
        batch.data = data;
        batch.width = width;
        batch
    }

    /// Takes a finished batch back, unless there are enough.
    pub fn put(&self, mut batch: EventBatch) {
        batch.data = Bytes::new();
        batch.noted = None;
        batch.extra.clear();
        batch.events.clear();
        batch.slots.clear();
        batch.anonymous.clear();
        let mut batches = self.batches.lock();
        if batches.len() < self.kept {
            batches.push(batch);
        }
    }
}
