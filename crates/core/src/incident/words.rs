//! What conditions of routes, silences and maintenance can ask of an incident or an occurrence.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::expr::{Expr, Kind, Scope, Value, Values};
use crate::near;
use crate::number::Decimal;

/// The names that all have, and what they are.
const NAMES: &[(&str, Kind)] = &[
    ("kind", Kind::Text),
    ("rule", Kind::Text),
    ("metric", Kind::Text),
    ("severity", Kind::Text),
    ("subject", Kind::Text),
    ("value", Kind::Number),
    ("far", Kind::Number),
];

/// What may be named: what all have, and the labels of metrics and the facts of occurrences.
#[derive(Clone, Debug, Default)]
pub struct Attributes(pub Vec<String>);

impl Scope for Attributes {
    fn kind(&self, name: &str) -> Result<Kind, String> {
        if let Some((_, kind)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(*kind);
        }
        let own = || self.0.iter().map(String::as_str);
        if own().any(|known| known == name) {
            return Ok(Kind::Any);
        }
        let names = || NAMES.iter().map(|(known, _)| *known).chain(own());
        let known = names().collect::<Vec<_>>().join(", ");
        Err(format!(
            "{name} is not known of what is told: there are {known}{}",
            near::hint(name, names())
        ))
    }
}

/// What a condition is asked about.
#[derive(Clone, Debug, Default)]
pub struct Subject<'a> {
    /// `incident`, or the kind of the occurrence: `abandoned`, `pattern`, `join`, `sessions`.
    pub kind: &'a str,
    /// The rule, or what found the occurrence.
    pub rule: &'a str,
    /// The metric; empty for an occurrence.
    pub metric: &'a str,
    /// `info`, `warning` or `critical`.
    pub severity: &'a str,
    /// The group as text, or the key of the session.
    pub subject: &'a str,
    /// The number that stood out, or what was at stake.
    pub value: Option<f64>,
    /// How far outside it lies.
    pub far: Option<f64>,
    /// Labels and facts.
    pub labels: Cow<'a, BTreeMap<String, String>>,
}

impl Subject<'_> {
    /// Whether a condition holds. What it asks and is not there is as good as false.
    pub fn meets(&self, condition: &Expr) -> bool {
        condition.holds(&Named { subject: self, names: condition.names() }) == Value::Bool(true)
    }
}

fn text(text: &str) -> Value<'_> {
    if text.is_empty() { Value::Missing } else { Value::Text(text.into()) }
}

struct Named<'a> {
    subject: &'a Subject<'a>,
    names: &'a [String],
}

impl Values for Named<'_> {
    fn value(&self, name: usize) -> Value<'_> {
        let subject = self.subject;
        let number = |number: Option<f64>| {
            number.and_then(Decimal::from_f64).map_or(Value::Missing, Value::Number)
        };
        match self.names[name].as_str() {
            "kind" => text(subject.kind),
            "rule" => text(subject.rule),
            "metric" => text(subject.metric),
            "severity" => text(subject.severity),
            "subject" => text(subject.subject),
            "value" => number(subject.value),
            "far" => number(subject.far),
            label => subject.labels.get(label).map_or(Value::Missing, |label| text(label)),
        }
    }
}
