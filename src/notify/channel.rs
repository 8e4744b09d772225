//! A channel as a sink, and its rows.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::counter;
use tidewatch_notify::{Channel, Failure, Receipt};
use tokio::task::spawn_blocking;
use tracing::warn;

use super::memory::Memory;
use super::{Opened, title};
use crate::actors::ports::{IncidentRecords, StoreError, Taker};
use crate::actors::quiet::{Quiet, Wish};
use crate::clock::SharedClock;
use crate::domain::incident::{Notification, Step};
use crate::sink::{Delivery, Fate, Reached, Resumed, Row, Rows, Sink, Stop};
use crate::telemetry::names;

impl Row for Notification {
    fn n(&self) -> u64 {
        self.n
    }

    fn key(&self) -> &str {
        &self.key
    }

    fn bytes(&self) -> usize {
        // The facts are JSON in memory: about as much again for their places.
        500 + 2 * self.facts.to_string().len()
    }
}

/// The notifications of a channel.
pub struct Notifications {
    channel: String,
    records: Arc<dyn IncidentRecords>,
    taker: Arc<Taker>,
    /// Up to this number another way took them: the channel was of another kind then.
    before: u64,
}

impl Notifications {
    /// Those of a channel after a number.
    pub(super) fn new(
        channel: &str,
        records: &Arc<dyn IncidentRecords>,
        taker: Arc<Taker>,
        before: u64,
    ) -> Notifications {
        let records = Arc::clone(records);
        Notifications { channel: channel.to_owned(), records, taker, before }
    }
}

impl Rows<Notification> for Notifications {
    fn after(&self, n: u64, limit: usize) -> Result<Vec<Notification>, StoreError> {
        // Those of a page have room: an incident has some KB.
        self.records.notifications(n.max(self.before), Some(&self.channel), limit.min(100))
    }

    fn count_after(&self, n: u64) -> Result<u64, StoreError> {
        self.records.notifications_after(n.max(self.before), &self.channel)
    }

    fn is_whole(&self) -> bool {
        false
    }

    fn lost(&self) -> u64 {
        self.taker.lost.load(Ordering::Relaxed)
    }
}

/// A channel that its feed hands notifications to.
pub(super) struct ChannelSink {
    name: String,
    channel: Arc<dyn Channel>,
    give_up: Duration,
    memory: Memory,
    clock: SharedClock,
    quiet: Arc<Quiet>,
}

impl ChannelSink {
    pub fn new(
        opened: Opened,
        memory: Memory,
        (clock, quiet): (SharedClock, Arc<Quiet>),
    ) -> ChannelSink {
        let Opened { name, channel, give_up, .. } = opened;
        counter!(names::MAILS_REMOVED, "channel" => name.clone()).increment(0);
        ChannelSink { name, channel, give_up, memory, clock, quiet }
    }

    /// Why it is too late for one. The end of what was told is told however late it is: whoever keeps
    /// it open would do so for ever.
    fn too_old(&self, told: &Notification) -> Option<String> {
        let age = self.clock.wall().saturating_sub(told.at);
        let most = i64::try_from(self.give_up.as_millis()).unwrap_or(i64::MAX);
        let late = told.step != Step::Resolved && age > most;
        late.then(|| {
            format!("it is {} min old, and is not told after {}", age / 60_000, most / 60_000)
        })
    }
}

impl Sink for ChannelSink {
    type Row = Notification;

    async fn resume(&mut self) -> Result<Resumed, Stop> {
        Ok(Resumed { reached: Reached::Unknown, identity: title(&self.name) })
    }

    async fn deliver(&mut self, page: &[Notification]) -> Delivery {
        let Some(told) = page.first() else { return Delivery::default() };
        if let Some(cause) = self.too_old(told) {
            return Delivery { rows: vec![Fate::Refused(cause)], stop: None };
        }
        let to = told.recipient.as_ref();
        match to.map_or(Wish::Open, |to| self.quiet.wish(&to.address)) {
            Wish::Open => {}
            Wish::NotKnown => {
                let cause = "it is not known yet who wants to hear nothing: the last commit is \
                             being restored";
                return Delivery::stopped(Stop::failed(cause));
            }
            Wish::Quiet(cause) => {
                return Delivery { rows: vec![Fate::Refused(cause.into())], stop: None };
            }
        }
        let (channel, told) = (Arc::clone(&self.channel), told.clone());
        let before = self.memory.of(&told.about);
        let delivered = spawn_blocking(move || {
            let delivered = channel.deliver(&told, before.as_deref());
            (delivered, told)
        });
        let (delivered, told) = match delivered.await {
            Ok(done) => done,
            Err(error) => return Delivery::stopped(Stop::failed(error)),
        };
        match delivered {
            Ok(receipt) => {
                self.taken(&told, receipt).await;
                Delivery::taken(1)
            }
            Err(Failure::Never { cause }) => {
                Delivery { rows: vec![Fate::Refused(cause)], stop: None }
            }
            Err(Failure::Later { cause, after }) => Delivery {
                rows: vec![Fate::Later(cause.clone())],
                stop: Some(Stop::Failed { cause, after }),
            },
        }
    }
}

impl ChannelSink {
    async fn taken(&mut self, told: &Notification, receipt: Receipt) {
        if let Some(lacks) = receipt.lacks {
            warn!(channel = self.name, key = told.key, lacks, "a part of it was not taken");
        }
        if receipt.removed > 0 {
            counter!(names::MAILS_REMOVED, "channel" => self.name.clone())
                .increment(receipt.removed);
        }
        let over = told.step == Step::Resolved;
        let remember = receipt.remember.filter(|_| !over);
        if !self.memory.note(&told.about, told.n, remember, over) {
            return;
        }
        let memory = self.memory.clone();
        let kept = spawn_blocking(move || memory.keep()).await;
        if let Ok(Err(error)) = kept {
            // What comes next about it is a message of its own then.
            warn!(channel = self.name, %error, "what it is to be reminded of cannot be kept");
        }
    }
}
