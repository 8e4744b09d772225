//! Metric specs, compiled against the schema: attribute names become slots, event types
//! become kind sets.

use std::cmp::Ordering;

use super::cell::Cell;
use super::groups::Order;
use super::spec::{Aggregate, Condition, FactKind, MetricSpec, Test, WindowSpec};
use crate::domain::event::{Schema, Unusable};
use crate::domain::number::{Amount, Decimal};
use crate::domain::time::{EpochMs, SpanMs};

/// An attribute of a fact, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Attr<'a> {
    /// Absent.
    #[default]
    Missing,
    /// A number of an event.
    Number(Decimal),
    /// A sum of such numbers.
    Amount(Amount),
    /// Text.
    Text(&'a [u8]),
    /// `true` or `false`.
    Bool(bool),
    /// It is there, and nothing can be made of it.
    Unusable(Unusable),
}

impl Attr<'_> {
    /// The number as it is added up; `None` for what is none, or is out of range.
    #[inline]
    pub fn amount(self) -> Option<Amount> {
        match self {
            Attr::Number(number) => number.amount(),
            Attr::Amount(amount) => Some(amount),
            _ => None,
        }
    }

    /// The number as it is compared with others of its kind.
    #[inline]
    pub fn number(self) -> Option<Decimal> {
        match self {
            Attr::Number(number) => Some(number),
            Attr::Amount(amount) => Some(amount.to_decimal()),
            _ => None,
        }
    }

    /// Compares it with a number of the configuration; `None` for what is no number.
    #[inline]
    fn compare(self, bound: Decimal) -> Option<Ordering> {
        match self {
            Attr::Number(number) => Some(number.cmp(&bound)),
            Attr::Amount(amount) => Some(amount.compare(bound)),
            _ => None,
        }
    }
}

/// What a metric sees of a fact: an event, or a closed session.
pub trait Fact {
    /// Event time it counts at.
    fn at(&self) -> EpochMs;
    /// Index of the event type (events only).
    fn kind(&self) -> u16;
    /// The session key; empty when it concerns no session.
    fn key(&self) -> &[u8];
    /// Its place in the one order of all facts of its kind.
    fn order(&self) -> Order;
    /// True when a shard's facts of this kind come in that order.
    fn in_order(&self) -> bool;
    /// The attribute in a slot.
    fn attr(&self, slot: usize) -> Attr<'_>;
}

/// Slots of a closed session's attributes, by index.
pub const SESSION_ATTRIBUTES: [&str; 6] =
    ["outcome", "step", "segment", "value", "events", "duration_s"];

/// A metric ready to be fed.
#[derive(Clone, Debug)]
pub struct Metric {
    /// What was declared.
    pub spec: MetricSpec,
    /// Length of a pane: the slide, or the size of a tumbling window.
    pub pane: SpanMs,
    /// Panes in a window.
    pub panes: i64,
    /// Length of a window, for rates.
    pub size: SpanMs,
    filter: Vec<Check>,
    numerator: Vec<Check>,
    group_slots: Vec<usize>,
    field: Field,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Key,
    Slot(usize),
}

#[derive(Clone, Debug)]
enum Check {
    Kinds(Vec<u16>),
    Slot(usize, Test),
}

impl Metric {
    /// Compiles a spec. Attributes must be in the schema (or among
    /// [`SESSION_ATTRIBUTES`]); the configuration checks that before.
    pub fn compile(spec: &MetricSpec, schema: &Schema) -> Metric {
        let slot = |name: &str| -> usize {
            let found = match spec.of {
                FactKind::Events => schema.slots.iter().position(|slot| slot == name),
                _ => SESSION_ATTRIBUTES.iter().position(|slot| *slot == name),
            };
            found.unwrap_or(usize::MAX)
        };
        let check = |condition: &Condition| match &condition.test {
            Test::TextIn(names) if spec.of == FactKind::Events && condition.attribute == "type" => {
                let kind = |name: &String| schema.kinds.iter().position(|kind| kind == name);
                Check::Kinds(names.iter().filter_map(kind).map(|kind| kind as u16).collect())
            }
            test => Check::Slot(slot(&condition.attribute), test.clone()),
        };
        let (size, pane) = match spec.window {
            WindowSpec::Tumbling { size } => (size, size),
            WindowSpec::Hopping { size, slide } => (size, slide),
            WindowSpec::SinceMidnight { slide, .. } => (slide, slide),
        };
        Metric {
            pane,
            panes: size / pane,
            size,
            filter: spec.filter.iter().map(check).collect(),
            numerator: spec.numerator.iter().map(check).collect(),
            group_slots: spec.group_by.iter().map(|name| slot(name)).collect(),
            field: match &spec.field {
                Some(name) if [name.as_str()] != schema.keys[..] => Field::Slot(slot(name)),
                _ => Field::Key,
            },
            spec: spec.clone(),
        }
    }

    /// Index of the pane that holds a time.
    pub fn pane_of(&self, at: EpochMs) -> i64 {
        at.div_euclid(self.pane)
    }

    /// End of a pane (the first time after it).
    pub fn pane_end(&self, pane: i64) -> EpochMs {
        (pane + 1) * self.pane
    }

    /// True when the fact meets all conditions.
    pub fn takes(&self, fact: &impl Fact) -> bool {
        self.filter.iter().all(|check| check.holds(fact))
    }

    /// The group's labels of a fact.
    pub fn labels<'a>(&self, fact: &'a impl Fact) -> impl Iterator<Item = Attr<'a>> {
        self.group_slots.iter().map(move |slot| match fact.attr(*slot) {
            Attr::Unusable(_) => Attr::Missing,
            attr => attr,
        })
    }

    /// Adds a fact that was taken to a cell. A missing field adds nothing; returns
    /// whether something was added.
    pub fn add(&self, fact: &impl Fact, cell: &mut Cell) -> bool {
        match cell {
            Cell::Count(count) => *count += 1,
            Cell::Ratio(above, of) => {
                *of += 1;
                *above += u64::from(self.numerator.iter().all(|check| check.holds(fact)));
            }
            Cell::Distinct(distinct) => match self.hashed_field(fact) {
                Some(hash) => distinct.insert(hash),
                None => return false,
            },
            cell => {
                let Field::Slot(slot) = self.field else { return false };
                let attr = fact.attr(slot);
                match cell {
                    Cell::Total(total) => {
                        let Some(amount) = attr.amount() else { return false };
                        total.add(amount);
                    }
                    Cell::Moments(moments) => {
                        let Some(amount) = attr.amount() else { return false };
                        moments.add(amount);
                    }
                    Cell::Least(extreme) => {
                        let Some(number) = attr.number() else { return false };
                        extreme.add(number, Ordering::Less);
                    }
                    Cell::Greatest(extreme) => {
                        let Some(number) = attr.number() else { return false };
                        extreme.add(number, Ordering::Greater);
                    }
                    _ => return false,
                }
            }
        }
        true
    }

    /// True when adding this fact would change something (it has the field).
    pub fn has_field(&self, fact: &impl Fact) -> bool {
        match (self.spec.aggregate, self.field) {
            (Aggregate::Count | Aggregate::Rate | Aggregate::Ratio, _) => true,
            (Aggregate::Distinct { .. }, Field::Key) => !fact.key().is_empty(),
            (Aggregate::Distinct { .. }, Field::Slot(slot)) => {
                !matches!(fact.attr(slot), Attr::Missing | Attr::Unusable(_))
            }
            (_, Field::Key) => false,
            (Aggregate::Min | Aggregate::Max, Field::Slot(slot)) => {
                fact.attr(slot).number().is_some()
            }
            (_, Field::Slot(slot)) => fact.attr(slot).amount().is_some(),
        }
    }

    fn hashed_field(&self, fact: &impl Fact) -> Option<u64> {
        use crate::domain::hash::fingerprint;
        let slot = match self.field {
            // Not the hash that places keys on shards: that one has a seed of its folder, and a
            // sketch must say the same of the same keys everywhere.
            Field::Key => {
                let key = fact.key();
                return (!key.is_empty()).then(|| fingerprint(key));
            }
            Field::Slot(slot) => slot,
        };
        match fact.attr(slot) {
            Attr::Missing | Attr::Unusable(_) => None,
            Attr::Number(number) => {
                let mut bytes = Vec::with_capacity(12);
                number.encode(&mut bytes);
                Some(fingerprint(&bytes))
            }
            Attr::Amount(amount) => Some(fingerprint(&amount.parts().to_le_bytes())),
            Attr::Text(text) => Some(fingerprint(text)),
            Attr::Bool(value) => Some(fingerprint(&[u8::from(value)])),
        }
    }
}

impl Check {
    fn holds(&self, fact: &impl Fact) -> bool {
        let (slot, test) = match self {
            Check::Kinds(kinds) => return kinds.contains(&fact.kind()),
            Check::Slot(slot, test) => (*slot, test),
        };
        match (test, fact.attr(slot)) {
            (Test::Exists(wanted), attr) => (attr != Attr::Missing) == *wanted,
            (Test::TextIn(texts), Attr::Text(text)) => texts.iter().any(|t| t.as_bytes() == text),
            (Test::Is(wanted), Attr::Bool(value)) => *wanted == value,
            (Test::NumberIn(numbers), attr) => {
                numbers.iter().any(|number| attr.compare(*number) == Some(Ordering::Equal))
            }
            (Test::Ge(bound), attr) => attr.compare(*bound).is_some_and(Ordering::is_ge),
            (Test::Gt(bound), attr) => attr.compare(*bound).is_some_and(Ordering::is_gt),
            (Test::Le(bound), attr) => attr.compare(*bound).is_some_and(Ordering::is_le),
            (Test::Lt(bound), attr) => attr.compare(*bound).is_some_and(Ordering::is_lt),
            _ => false,
        }
    }
}
