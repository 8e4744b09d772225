//! The value of an expression. What cannot be used goes through everything that is made of it,
//! except where the rest decides alone: `false && x` is false and `true || x` is true.

use std::borrow::Cow;
use std::cmp::Ordering;

use smallvec::SmallVec;

use super::functions::Made;
use super::tree::{Comparison, Domain, Node, Operator};
use super::{Expr, JOINED_BYTES_MAX, Kind, Value, Values};
use crate::number::Decimal;
use crate::number::text::{NumberFormat, NumberText};
use crate::unusable::Unusable;

/// An expression over values.
pub(super) struct Eval<'a, V> {
    pub expr: &'a Expr,
    pub values: &'a V,
}

/// Why there is no value.
#[derive(Clone, Copy, PartialEq)]
enum Gone {
    Missing,
    Unusable(Unusable),
}

impl From<Gone> for Value<'_> {
    fn from(gone: Gone) -> Self {
        match gone {
            Gone::Missing => Value::Missing,
            Gone::Unusable(why) => Value::Unusable(why),
        }
    }
}

impl<'a, V: Values> Eval<'a, V> {
    /// The value of a part, whatever it is.
    pub fn value(&self, node: &'a Node) -> Value<'a> {
        self.found(node).unwrap_or_else(Value::from)
    }

    /// The value of a part that is to be true or false.
    pub fn truth(&self, node: &'a Node) -> Value<'a> {
        self.bool(node).map_or_else(Value::from, Value::Bool)
    }

    fn found(&self, node: &'a Node) -> Result<Value<'a>, Gone> {
        Ok(match node {
            Node::Number(number) => Value::Number(*number),
            Node::Text(text) => Value::Text(Cow::Borrowed(text)),
            Node::Bool(truth) => Value::Bool(*truth),
            Node::Name(name) => there(self.values.value(*name))?,
            Node::Has(name) => {
                let value = self.values.value(*name);
                Value::Bool(!matches!(value, Value::Missing | Value::Unusable(Unusable::NotFound)))
            }
            Node::Not(inner) => Value::Bool(!self.bool(inner)?),
            Node::Negative(inner) => Value::Number(self.number(inner)?.negated()),
            Node::And(parts) => Value::Bool(!self.any(parts, false)?),
            Node::Or(parts) => Value::Bool(self.any(parts, true)?),
            Node::Choice(parts) => {
                let [condition, yes, no] = &**parts;
                self.found(if self.bool(condition)? { yes } else { no })?
            }
            Node::Compare(comparison, domain, sides) => {
                Value::Bool(self.compare(*comparison, *domain, sides)?)
            }
            Node::InNumbers(inner, numbers) => Value::Bool(numbers.contains(&self.number(inner)?)),
            Node::InTexts(inner, texts) => {
                let text = self.text(inner)?;
                Value::Bool(texts.iter().any(|one| **one == *text))
            }
            Node::Math(operator, sides) => Value::Number(self.math(*operator, sides)?),
            Node::Join(sides) => Value::Text(self.join(sides)?),
            Node::Call(function, parts, prepared) => {
                let mut of: Result<SmallVec<[Value<'a>; 2]>, Gone> = Ok(SmallVec::new());
                for (at, part) in parts.iter().enumerate() {
                    let value = match function.takes.get(at).or(function.takes.last()) {
                        Some(Kind::Number) => self.number(part).map(Value::Number),
                        Some(Kind::Text) => self.text(part).map(Value::Text),
                        _ => self.found(part),
                    };
                    of = both(of, value).map(|(mut of, value)| {
                        of.push(value);
                        of
                    });
                }
                match (&function.made, &of?[..]) {
                    (Made::Of(result), of) => result(of),
                    (Made::With(_), [one, ..]) => prepared.apply(one),
                    (Made::With(_), []) => Value::Missing,
                }
            }
        })
    }

    /// Whether one of the parts is `wanted`. What cannot be used matters only where none is.
    fn any(&self, parts: &'a [Node], wanted: bool) -> Result<bool, Gone> {
        let mut none = Ok(());
        for part in parts {
            let truth = self.bool(part);
            if truth == Ok(wanted) {
                return Ok(true);
            }
            none = both(none, truth).map(|_| ());
        }
        none.map(|()| false)
    }

    fn compare(
        &self,
        comparison: Comparison,
        domain: Domain,
        [left, right]: &'a [Node; 2],
    ) -> Result<bool, Gone> {
        fn order<T: Ord>((left, right): (T, T)) -> Ordering {
            left.cmp(&right)
        }
        let order = match domain {
            Domain::Numbers => order(both(self.number(left), self.number(right))?),
            Domain::Texts => order(both(self.text(left), self.text(right))?),
            Domain::Bools => order(both(self.bool(left), self.bool(right))?),
            Domain::Either => match both(self.found(left), self.found(right))? {
                (Value::Text(left), Value::Text(right)) => left.cmp(&right),
                (Value::Bool(left), Value::Bool(right)) => left.cmp(&right),
                // One of them is a number, or they have nothing to do with each other.
                (a, b) => order(both(self.as_number(a, left), self.as_number(b, right))?),
            },
        };
        Ok(match comparison {
            Comparison::Equal => order == Ordering::Equal,
            Comparison::Unequal => order != Ordering::Equal,
            Comparison::Less => order == Ordering::Less,
            Comparison::AtMost => order != Ordering::Greater,
            Comparison::Greater => order == Ordering::Greater,
            Comparison::AtLeast => order != Ordering::Less,
        })
    }

    fn math(&self, operator: Operator, [left, right]: &'a [Node; 2]) -> Result<Decimal, Gone> {
        let (left, right) = both(self.number(left), self.number(right))?;
        let by_zero = right == Decimal::ZERO;
        let result = match operator {
            Operator::Plus => left.plus(right),
            Operator::Minus => left.minus(right),
            Operator::Times => left.times(right),
            Operator::Over | Operator::Modulo if by_zero => {
                return Err(Gone::Unusable(Unusable::DividedByZero));
            }
            Operator::Over => left.over(right),
            Operator::Modulo => left.modulo(right),
        };
        result.ok_or(Gone::Unusable(Unusable::OutOfRange))
    }

    fn join(&self, [left, right]: &'a [Node; 2]) -> Result<Cow<'a, str>, Gone> {
        let (left, right) = both(self.text(left), self.text(right))?;
        match (left.len(), right.len()) {
            (0, _) => Ok(right),
            (_, 0) => Ok(left),
            (a, b) if a + b > JOINED_BYTES_MAX => Err(Gone::Unusable(Unusable::TooLong)),
            _ => Ok(Cow::Owned(left.into_owned() + &right)),
        }
    }

    fn bool(&self, node: &'a Node) -> Result<bool, Gone> {
        match self.found(node)? {
            Value::Bool(truth) => Ok(truth),
            Value::Text(_) => Err(Gone::Unusable(Unusable::Text)),
            _ => Err(Gone::Unusable(Unusable::Number)),
        }
    }

    fn text(&self, node: &'a Node) -> Result<Cow<'a, str>, Gone> {
        match self.found(node)? {
            Value::Text(text) => Ok(text),
            Value::Bool(_) => Err(Gone::Unusable(Unusable::Flag)),
            _ => Err(Gone::Unusable(Unusable::Number)),
        }
    }

    fn number(&self, node: &'a Node) -> Result<Decimal, Gone> {
        let value = self.found(node)?;
        self.as_number(value, node)
    }

    /// The number that a value of this part is, or stands for.
    fn as_number(&self, value: Value<'a>, node: &Node) -> Result<Decimal, Gone> {
        match value {
            Value::Number(number) => Ok(number),
            Value::Text(text) => match node {
                Node::Name(name) => read(&text, &self.expr.formats[*name]),
                _ => read(&text, &NumberFormat::default()),
            },
            _ => Err(Gone::Unusable(Unusable::Flag)),
        }
    }
}

/// Both, or why there are not: what is unusable goes before what is missing.
fn both<A, B>(left: Result<A, Gone>, right: Result<B, Gone>) -> Result<(A, B), Gone> {
    match (left, right) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (Err(Gone::Missing), Err(gone)) | (Err(gone), _) | (_, Err(gone)) => Err(gone),
    }
}

/// A value that is there, or why it is not.
fn there(value: Value<'_>) -> Result<Value<'_>, Gone> {
    match value {
        Value::Missing => Err(Gone::Missing),
        Value::Unusable(why) => Err(Gone::Unusable(why)),
        value => Ok(value),
    }
}

fn read(text: &str, format: &NumberFormat) -> Result<Decimal, Gone> {
    let unreadable = Gone::Unusable(Unusable::Text);
    match format.read(text) {
        NumberText::Number(number) => Decimal::from_text(&number).ok_or(unreadable),
        NumberText::Absent => Err(Gone::Missing),
        NumberText::Unreadable => Err(unreadable),
    }
}
