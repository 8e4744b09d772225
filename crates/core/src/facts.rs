//! Facts as metrics see them: an applied event, an ended session. Borrowed views; the
//! aggregator makes one for each fold.

use crate::event::{Event, EventBatch, Value};
use crate::metric::{Attr, Fact, Order};
use crate::number::{Amount, Decimal};
use crate::session::{Ending, Outcome, Rules};
use crate::time::EpochMs;

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
    #[inline]
    fn at(&self) -> EpochMs {
        self.event.at
    }

    #[inline]
    fn event_type(&self) -> u16 {
        self.event.event_type
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.batch.text(self.event.key)
    }

    #[inline]
    fn order(&self) -> Order {
        let Event { position, part, .. } = *self.event;
        Order::Event { batch: self.batch.number, position, part }
    }

    #[inline]
    fn in_order(&self) -> bool {
        true
    }

    #[inline]
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
    #[inline]
    fn at(&self) -> EpochMs {
        self.ending.at
    }

    #[inline]
    fn event_type(&self) -> u16 {
        u16::MAX
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    #[inline]
    fn order(&self) -> Order {
        let Ending { at, first, outcome, closes_session, .. } = *self.ending;
        let silent = closes_session || outcome != Outcome::Converted;
        Order::Ending { at, silent, key: self.key.into(), first }
    }

    #[inline]
    fn in_order(&self) -> bool {
        false
    }

    #[inline]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Span;
    use crate::unusable::Unusable;

    #[test]
    fn an_event_shows_its_own_slots_and_its_key() {
        let data = bytes::Bytes::from_static(b"adaeu");
        let slots = vec![
            Value::Missing,
            Value::Bool(true),
            Value::Text(Span { start: 3, len: 2 }),
            Value::Unusable(Unusable::Nested),
        ];
        let event = Event {
            at: 7,
            watermark: 0,
            position: 5,
            key_hash: 1,
            identity: crate::hash::EventIdentity::NONE,
            key: Span { start: 0, len: 3 },
            raw: Span::default(),
            part: Event::WHOLE,
            event_type: 2,
        };
        let batch = EventBatch { data, slots, width: 2, ..EventBatch::default() };
        let fact = |position| EventFact { batch: &batch, position, event: &event };
        assert_eq!((fact(0).at(), fact(0).event_type(), fact(0).key()), (7, 2, &b"ada"[..]));
        assert!(matches!(fact(0).attr(0), Attr::Missing));
        assert!(matches!(fact(0).attr(1), Attr::Bool(true)));
        assert!(matches!(fact(1).attr(0), Attr::Text(b"eu")));
        assert!(matches!(fact(1).attr(1), Attr::Unusable(Unusable::Nested)));
        assert!(matches!(fact(2).attr(0), Attr::Missing), "there are no such slots");
    }
}
