//! Events that were refused before any source had them, on their way to the dead letters: what
//! a stream cannot hold, posted over HTTP. The ingestor takes them into its next barrier as if
//! they had been read and rejected, so they are in the ledger; who put them there hears when
//! that is durable.
//!
//! They are not in a log. What was not committed when the process ends is gone, and nobody was
//! told that it is kept.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Bytes that may wait, unless something else is set (`nats.gateway.refused_bytes_max`). They
/// are on top of the request they came with, which is held as long.
pub const BYTES_MAX: usize = 64 << 20;

/// One event that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Names the bound and what it is.
    pub reason: String,
    /// The bytes as they came.
    pub raw: Bytes,
}

/// The refusals of one request.
#[derive(Debug)]
pub(super) struct Batch {
    pub events: Vec<Refusal>,
    /// Told when they are durable.
    pub done: oneshot::Sender<()>,
}

/// Refusals that wait for the ingestor.
#[derive(Debug)]
pub struct Aside {
    waiting: Mutex<Vec<Batch>>,
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Default for Aside {
    fn default() -> Self {
        Aside::bounded(BYTES_MAX)
    }
}

impl Aside {
    /// With room for so many bytes, or for one request whatever it has.
    pub fn bounded(bytes_max: usize) -> Aside {
        Aside { waiting: Mutex::default(), bytes: AtomicUsize::new(0), bytes_max }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Hands refusals over; the answer comes once they are durable, or not at all when the
    /// pipeline died first. `None` when too much waits already.
    pub fn put(&self, events: Vec<Refusal>) -> Option<oneshot::Receiver<()>> {
        let mut waiting = self.waiting.lock();
        let bytes: usize = events.iter().map(|refusal| refusal.raw.len()).sum();
        let before = self.bytes.load(Ordering::Relaxed);
        if before > 0 && before + bytes > self.bytes_max {
            return None;
        }
        self.bytes.store(before + bytes, Ordering::Relaxed);
        let (done, durable) = oneshot::channel();
        waiting.push(Batch { events, done });
        Some(durable)
    }

    /// Everything that waits. One look at a number when there is nothing.
    pub(super) fn take(&self) -> Vec<Batch> {
        if self.bytes.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let mut waiting = self.waiting.lock();
        self.bytes.store(0, Ordering::Relaxed);
        std::mem::take(&mut waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: usize) -> Refusal {
        Refusal { reason: "too large".into(), raw: vec![b'x'; bytes].into() }
    }

    #[test]
    fn what_waits_has_a_bound_and_is_taken_once() {
        let aside = Aside::bounded(1_000);
        assert!(aside.take().is_empty());
        let first = aside.put(vec![refusal(1_001)]);
        assert!(first.is_some(), "a single one always has room");
        assert_eq!(aside.bytes(), 1_001);
        assert!(aside.put(vec![refusal(1)]).is_none());
        let taken = aside.take();
        assert_eq!((taken.len(), taken[0].events.len()), (1, 1));
        assert!(aside.take().is_empty());
        assert!(aside.put(vec![refusal(1)]).is_some());
    }

    #[test]
    fn who_waits_hears_of_the_end() {
        let aside = Aside::default();
        let mut kept = aside.put(vec![refusal(1)]).unwrap();
        let mut lost = aside.put(vec![refusal(1)]).unwrap();
        let mut taken = aside.take();
        drop(taken.pop());
        assert!(lost.try_recv().is_err());
        taken.pop().unwrap().done.send(()).unwrap();
        assert_eq!(kept.try_recv(), Ok(()));
    }
}
