//! Facts as metrics see them: an applied event, an ended session. Borrowed views; the
//! aggregator makes one for each fold.

use crate::domain::event::{Event, EventBatch, Value};
use crate::domain::metric::{Attr, Fact, Order};
use crate::domain::number::{Amount, Decimal};
use crate::domain::session::{Ending, Outcome, Rules};
use crate::domain::time::EpochMs;

/// An event as metrics see it.
pub struct EventFact<'a> {
    /// Its batch.
    pub batch: &'a EventBatch,
    /// Its index in the batch.
    pub position: usize,
    /// The event.
    pub event: &'a Event,
}

impl Fact for EventFact<'_> {
    fn at(&self) -> EpochMs {
        self.event.at
    }

    fn kind(&self) -> u16 {
        self.event.kind
    }

    fn key(&self) -> &[u8] {
        self.batch.text(self.event.key)
    }

    fn order(&self) -> Order {
        let Event { position, part, .. } = *self.event;
        Order::Event { batch: self.batch.number, position, part }
    }

    fn in_order(&self) -> bool {
        true
    }

    fn attr(&self, slot: usize) -> Attr<'_> {
        match self.batch.slots.get(self.position * self.batch.width + slot) {
            None | Some(Value::Missing) => Attr::Missing,
            Some(Value::Number(value)) => Attr::Number(*value),
            Some(Value::Text(span)) => Attr::Text(self.batch.text(*span)),
            Some(Value::Bool(value)) => Attr::Bool(*value),
            Some(Value::Unusable(why)) => Attr::Unusable(*why),
        }
    }
}

/// An ended session as metrics see it; slots as in `SESSION_ATTRIBUTES`.
pub struct SessionFact<'a> {
    /// How it ended.
    pub ending: &'a Ending,
    /// Its key.
    pub key: &'a str,
    /// Names of the steps.
    pub rules: &'a Rules,
    /// Its latest segment.
    pub segment: &'a str,
}

impl Fact for SessionFact<'_> {
    fn at(&self) -> EpochMs {
        self.ending.at
    }

    fn kind(&self) -> u16 {
        u16::MAX
    }

    fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    fn order(&self) -> Order {
        let Ending { at, first, outcome, closes_session, .. } = *self.ending;
        let silent = closes_session || outcome != Outcome::Converted;
        Order::Ending { at, silent, key: self.key.into(), first }
    }

    fn in_order(&self) -> bool {
        false
    }

    fn attr(&self, slot: usize) -> Attr<'_> {
        match slot {
            0 => Attr::Text(self.ending.outcome.name().as_bytes()),
            1 => Attr::Text(self.rules.step_name(self.ending.step).as_bytes()),
            2 => Attr::Text(self.segment.as_bytes()),
            3 => Attr::Amount(self.ending.value),
            4 => Attr::Number(Decimal::from_i64(self.ending.events.into())),
            5 => Attr::Amount(Amount::from_millis(self.ending.last - self.ending.first)),
            _ => Attr::Missing,
        }
    }
}
