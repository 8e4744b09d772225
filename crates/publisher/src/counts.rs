//! What became of a publisher's events: for who asks the publisher, and for the metrics
//! recorder of the process that it is in.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, counter, gauge};

use crate::{Options, Stats, names};

/// The counts behind [`Stats`].
#[derive(Debug)]
pub struct Counts {
    accepted: Count,
    acked: Count,
    duplicates: Count,
    retried: Count,
    failed: Count,
    fallbacks: Count,
    in_flight: Gauge,
}

/// A count since the publisher was made, and the counter that shows it.
#[derive(Debug)]
struct Count {
    now: AtomicU64,
    shown: Counter,
}

impl Count {
    fn shown_by(shown: Counter) -> Count {
        Count { now: AtomicU64::new(0), shown }
    }

    fn add(&self, events: u64) {
        self.now.fetch_add(events, Ordering::SeqCst);
        self.shown.increment(events);
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }
}

impl Counts {
    /// Nothing yet. Later counts go to the recorder that is installed now.
    pub fn new(options: &Options) -> Counts {
        names::describe();
        let subject = || options.subject.clone();
        let outcome = |outcome: &'static str| {
            let shown = counter!(names::EVENTS,
                "subject" => subject(), "outcome" => outcome);
            Count::shown_by(shown)
        };
        gauge!(names::IN_FLIGHT_CAPACITY, "subject" => subject()).set(options.events_max as f64);
        Counts {
            accepted: outcome("accepted"),
            acked: outcome("acked"),
            duplicates: outcome("duplicate"),
            retried: outcome("retried"),
            failed: outcome("failed"),
            fallbacks: Count::shown_by(counter!(names::FALLBACKS, "subject" => subject())),
            in_flight: gauge!(names::IN_FLIGHT, "subject" => subject()),
        }
    }

    /// An event was taken.
    pub fn accepted(&self) {
        self.accepted.add(1);
        self.in_flight.increment(1.0);
    }

    /// The stream has them.
    pub fn acked(&self, events: u64) {
        self.acked.add(events);
        self.in_flight.decrement(events as f64);
    }

    /// The stream had them before.
    pub fn duplicates(&self, events: u64) {
        self.duplicates.add(events);
    }

    /// They are sent again.
    pub fn retried(&self, events: u64) {
        self.retried.add(events);
    }

    /// They are given up.
    pub fn failed(&self, events: u64) {
        self.failed.add(events);
        self.in_flight.decrement(events as f64);
    }

    /// A batch is published one by one.
    pub fn fell_back(&self) {
        self.fallbacks.add(1);
    }

    /// The counts now.
    pub fn stats(&self) -> Stats {
        // What ended is read before what began, so that the difference is never negative.
        let (acked, failed) = (self.acked.now(), self.failed.now());
        let accepted = self.accepted.now();
        Stats {
            accepted,
            acked,
            duplicates: self.duplicates.now(),
            retried: self.retried.now(),
            failed,
            in_flight: accepted - acked - failed,
            fallbacks: self.fallbacks.now(),
        }
    }
}
