//! Conditions that can never hold, found before anybody waits for their numbers. Called by
//! `metrics.rs` for every metric.

use super::attributes::Attributes;
use super::conditions::SESSION_NUMBERS as NUMBERS;
use crate::domain::expr::Kind;
use crate::domain::metric::aggregate::Needs;
use crate::domain::metric::{Condition, Facts, MetricSpec, Test};
use crate::domain::near;
use crate::domain::number::Decimal;
use crate::domain::session::Outcome;

/// What cannot be in a metric, as (key, rule). `steps`: those of `session.steps`.
pub(super) fn impossible(
    spec: &MetricSpec,
    steps: &[String],
    attributes: &Attributes<'_>,
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (key, conditions) in [("where", &spec.filter), ("numerator", &spec.numerator)] {
        let rules =
            empty_ranges(conditions).chain(wrong_values(conditions, |condition| match spec.of {
                Facts::Events => wrong_value(condition, attributes),
                _ => of_session(condition, steps),
            }));
        found.extend(rules.map(|rule| (key, rule)));
    }
    let adds_up = matches!(spec.aggregate.needs(), Needs::Amount | Needs::Number);
    if let Some(field) = spec.field.as_deref()
        && spec.of == Facts::Events
        && adds_up
        && let Some(rule) = no_number(field, attributes)
    {
        found.push(("field", rule));
    }
    if let Some(field) = spec.field.as_deref()
        && spec.of == Facts::Sessions
        && adds_up
        && !NUMBERS.contains(&field)
    {
        let numbers = NUMBERS.join(", ");
        found.push((
            "field",
            format!("{field:?} is not a number of a session; there are {numbers}"),
        ));
    }
    found
}

/// Why a derived attribute is no number, if so.
pub(super) fn no_number(name: &str, attributes: &Attributes<'_>) -> Option<String> {
    match attributes.derived(name)? {
        Kind::Bool => Some(format!(
            "{name:?} is true or false, and a number is needed: derive {name} ? 1 : 0"
        )),
        Kind::Text => Some(format!("{name:?} is text, and a number is needed")),
        Kind::Number | Kind::Any => None,
    }
}

/// A test that a derived attribute of this kind never meets.
fn of_derived(test: &Test, kind: Kind) -> Option<String> {
    let fits = match test {
        Test::Exists(_) | Test::Holds(_) => true,
        Test::TextIn(_) => matches!(kind, Kind::Text | Kind::Any),
        Test::Is(_) => matches!(kind, Kind::Bool | Kind::Any),
        _ => kind != Kind::Bool,
    };
    (!fits).then(|| format!("is {kind}, and compared with something else"))
}

/// Why conditions on events can never hold.
pub(super) fn never(conditions: &[Condition], attributes: &Attributes<'_>) -> Vec<String> {
    let wrong = wrong_values(conditions, |condition| wrong_value(condition, attributes));
    empty_ranges(conditions).chain(wrong).collect()
}

fn wrong_value(condition: &Condition, attributes: &Attributes<'_>) -> Option<String> {
    let of_derived = || of_derived(&condition.test, attributes.derived(&condition.attribute)?);
    looks_like_comparison(condition).or_else(of_derived)
}

fn empty_ranges(conditions: &[Condition]) -> impl Iterator<Item = String> {
    let groups = conditions.chunk_by(|a, b| a.attribute == b.attribute);
    groups.filter_map(|group| Some(format!("{}: {}", group[0].attribute, empty_range(group)?)))
}

fn wrong_values(
    conditions: &[Condition],
    wrong: impl Fn(&Condition) -> Option<String>,
) -> impl Iterator<Item = String> {
    conditions.iter().filter_map(move |one| Some(format!("{}: {}", one.attribute, wrong(one)?)))
}

/// `">= 400"`: a text that was meant as a comparison.
fn looks_like_comparison(condition: &Condition) -> Option<String> {
    let Test::TextIn(texts) = &condition.test else { return None };
    let words = [(">=", "ge"), ("<=", "le"), (">", "gt"), ("<", "lt"), ("==", ""), ("=", "")];
    texts.iter().find_map(|text| {
        let meant = words.iter().find_map(|(sign, word)| {
            let number = text.trim().strip_prefix(sign)?.trim();
            number.parse::<f64>().ok()?;
            Some(match *word {
                "" => number.to_owned(),
                word => format!("{{ {word} = {number} }}"),
            })
        })?;
        Some(format!("the text {text:?} is compared letter by letter; write {meant}"))
    })
}

fn of_session(condition: &Condition, steps: &[String]) -> Option<String> {
    let name = condition.attribute.as_str();
    match (&condition.test, NUMBERS.contains(&name)) {
        (Test::Exists(_) | Test::Holds(_), _) => None,
        (Test::TextIn(_) | Test::Is(_), true) => {
            Some("is a number: write for example { ge = 10 }".into())
        }
        (_, true) => None,
        (Test::TextIn(texts), false) => {
            let outcomes = Outcome::ALL.map(Outcome::name);
            let known: Vec<&str> = match name {
                "outcome" => outcomes.to_vec(),
                // A session that reached no step has the empty one.
                "step" => steps.iter().map(String::as_str).chain([""]).collect(),
                _ => return None,
            };
            let unknown = texts.iter().find(|text| !known.contains(&text.as_str()))?;
            let hint = near::hint(unknown, known.iter().copied());
            let listed: Vec<&str> = known.into_iter().filter(|word| !word.is_empty()).collect();
            Some(format!("{unknown:?} can never be; there are {}{hint}", listed.join(", ")))
        }
        (_, false) => Some("is text: write it in quotes, or a list of texts".into()),
    }
}

/// Bounds between which no number lies.
fn empty_range(conditions: &[Condition]) -> Option<String> {
    let bound = |found: Option<(Decimal, bool)>, of: Decimal, open, lower: bool| match found {
        Some((known, was_open)) if known == of => Some((known, was_open || open)),
        Some((known, was_open)) if (known > of) == lower => Some((known, was_open)),
        _ => Some((of, open)),
    };
    let (mut least, mut most) = (None, None);
    for condition in conditions {
        match condition.test {
            Test::Ge(number) => least = bound(least, number, false, true),
            Test::Gt(number) => least = bound(least, number, true, true),
            Test::Le(number) => most = bound(most, number, false, false),
            Test::Lt(number) => most = bound(most, number, true, false),
            _ => {}
        }
    }
    let ((least, after), (most, before)) = (least?, most?);
    let empty = least > most || (least == most && (after || before));
    empty.then(|| "no number meets both bounds".into())
}
