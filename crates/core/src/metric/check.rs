//! Conditions, compiled: whether a fact meets one, and why that cannot be judged.

use std::cmp::Ordering;

use super::fact::{Attr, Fact};
use super::meaning;
use super::spec::{Condition, Test};
use crate::event::Schema;
use crate::expr::{Expr, Value, Values};
use crate::fault::Fault;
use crate::number::text::NumberFormat;
use crate::unusable::Unusable;

/// A condition on the type of an event, or on the attribute in a slot.
#[derive(Clone, Debug)]
pub(super) enum Check {
    Types(Vec<u16>),
    Slot(usize, Test, NumberFormat),
    /// An expression over the attributes in these slots.
    Holds(Expr, Vec<usize>),
}

/// What came of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Met,
    Unmet,
    /// It is not met, and cannot be: see [`Check::misfit`].
    Misfit,
}

/// The attributes of a fact by the names of an expression.
struct Named<'a, F> {
    fact: &'a F,
    slots: &'a [usize],
}

impl<F: Fact> Values for Named<'_, F> {
    fn value(&self, name: usize) -> Value<'_> {
        match self.fact.attr(self.slots[name]) {
            Attr::Missing => Value::Missing,
            Attr::Number(number) => Value::Number(number),
            Attr::Amount(amount) => Value::Number(amount.to_decimal()),
            Attr::Text(text) => Value::Text(String::from_utf8_lossy(text)),
            Attr::Bool(truth) => Value::Bool(truth),
            Attr::Unusable(why) => Value::Unusable(why),
        }
    }
}

impl Check {
    /// A condition on events of this schema.
    pub fn of_events(condition: &Condition, schema: &Schema) -> Check {
        let Condition { attribute, test } = condition;
        let slot = |name: &String| {
            let place = schema.slots.iter().position(|slot| slot == name);
            place.unwrap_or(usize::MAX)
        };
        match test {
            Test::TextIn(names) if attribute == "type" => {
                let number = |name: &String| schema.type_number(name);
                Check::Types(names.iter().filter_map(number).collect())
            }
            Test::Holds(expr) => {
                Check::Holds(expr.clone(), expr.names().iter().map(slot).collect())
            }
            test => Check::Slot(slot(attribute), test.clone(), schema.number_format(attribute)),
        }
    }

    /// The type first, then certain values: an event of another type or value is no business of
    /// whoever has the conditions. What takes longest comes last.
    pub fn rank(&self) -> u8 {
        match self {
            Check::Types(_) => 0,
            Check::Slot(_, Test::TextIn(_) | Test::NumberIn(_), _) => 1,
            Check::Slot(..) => 2,
            Check::Holds(..) => 3,
        }
    }

    /// Whether a fact meets it, and if not, whether it is known to be because of a misfit.
    #[inline]
    pub fn judge(&self, fact: &impl Fact) -> Judged {
        match self {
            Check::Holds(expr, slots) => match expr.holds(&Named { fact, slots }) {
                Value::Bool(true) => Judged::Met,
                Value::Unusable(_) => Judged::Misfit,
                _ => Judged::Unmet,
            },
            _ if self.holds(fact) => Judged::Met,
            _ => Judged::Unmet,
        }
    }

    /// True when a fact meets it.
    pub fn holds(&self, fact: &impl Fact) -> bool {
        let (slot, test, format) = match self {
            Check::Types(types) => return types.contains(&fact.event_type()),
            Check::Slot(slot, test, format) => (*slot, test, format),
            Check::Holds(expr, slots) => {
                return expr.holds(&Named { fact, slots }) == Value::Bool(true);
            }
        };
        let attr =
            if test.wants_number() { fact.attr(slot).as_number(format) } else { fact.attr(slot) };
        match (test, attr) {
            (Test::Exists(wanted), Attr::Missing | Attr::Unusable(Unusable::NotFound)) => !wanted,
            (Test::Exists(wanted), _) => *wanted,
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

    /// Why the attribute cannot meet the condition, whatever its value: it has another type.
    pub fn misfit(&self, fact: &impl Fact) -> Option<Fault> {
        let (slot, test, format) = match self {
            Check::Types(_) => return None,
            Check::Slot(slot, test, format) => (slot, test, format),
            Check::Holds(expr, slots) => {
                return match expr.holds(&Named { fact, slots }) {
                    Value::Unusable(why) => Some(why.into()),
                    _ => None,
                };
            }
        };
        match (test, fact.attr(*slot)) {
            (Test::Exists(_), _) | (_, Attr::Missing) => None,
            (_, Attr::Unusable(why)) => Some(why.into()),
            (Test::TextIn(_), Attr::Bool(_)) => Some(Fault::Flag),
            (Test::TextIn(_), Attr::Number(_)) => Some(Fault::Number),
            (Test::TextIn(_), _) | (Test::Is(_), Attr::Bool(_)) => None,
            (Test::Is(_), Attr::Text(_)) => Some(Fault::Text),
            (Test::Is(_), _) => Some(Fault::Number),
            (_, attr) => match attr.as_number(format).number() {
                Some(_) => None,
                None => attr.amount_fault(format).filter(|fault| *fault != Fault::Absent),
            },
        }
    }
}

/// Conditions on events that must all hold, each with its attribute: those on the type first.
#[derive(Clone, Debug)]
pub struct Conditions(Vec<(String, Check)>);

impl Conditions {
    /// On events of this schema, which has their attributes; the configuration sees to it.
    pub fn of_events(conditions: &[Condition], schema: &Schema) -> Conditions {
        let check = |one: &Condition| (one.attribute.clone(), Check::of_events(one, schema));
        let mut checks: Vec<_> = conditions.iter().map(check).collect();
        checks.sort_by_key(|(_, check)| check.rank());
        Conditions(checks)
    }

    /// The attributes that they need, in the order of the numbers of [`Conditions::hold`].
    pub fn attributes(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(attribute, _)| attribute.as_str())
    }

    /// True when an event of a type may meet them.
    pub fn admit(&self, event_type: u16) -> bool {
        let admits = |check: &Check| match check {
            Check::Types(types) => types.contains(&event_type),
            _ => true,
        };
        self.0.iter().all(|(_, check)| admits(check))
    }

    /// True when a fact meets them. The first that it does not meet is told where it cannot be
    /// judged, by its number.
    #[inline]
    pub fn hold(&self, fact: &impl Fact, misfit: impl FnOnce(usize, Fault)) -> bool {
        let checks = self.0.iter().enumerate();
        let mut unmet = checks.filter(|(_, (_, check))| !check.holds(fact));
        let Some((number, (_, check))) = unmet.next() else { return true };
        if let Some(fault) = check.misfit(fact) {
            misfit(number, fault);
        }
        false
    }

    /// What they are, as text: part of the state on disk, so it never changes.
    pub fn words(conditions: &[Condition]) -> String {
        meaning::conditions(conditions)
    }
}
