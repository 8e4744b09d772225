//! Conditions on attributes as written: an expression, or a table of them,
//! `{ type = "payment_failed", status = { ge = 400 } }`. Called by `metrics.rs` for `where` and
//! `numerator`.

use super::attributes::Attributes;
use super::document::{Node, Value};
use crate::domain::expr::{Expr, Kind, Scope};
use crate::domain::metric::{self, Condition, Facts, SESSION_ATTRIBUTES, Test};
use crate::domain::near;
use crate::domain::number::Decimal;

/// Most conditions of a metric, and most values of one condition.
pub(super) const CONDITIONS_MAX: usize = 32;

const OPERATORS: [&str; 5] = ["ge", "gt", "le", "lt", "exists"];

/// Why `name` cannot be used as an attribute here, if so.
pub(super) fn wrong_attribute(name: &str, aliases: &[(String, String)]) -> Option<String> {
    let (_, to) = aliases.iter().find(|(from, _)| from == name)?;
    Some(format!("{name:?} is an alias of {to:?}, write {to:?}"))
}

/// Why `name` is no attribute of a session, if so.
pub(super) fn not_of_session(name: &str) -> Option<String> {
    (!SESSION_ATTRIBUTES.contains(&name)).then(|| {
        format!(
            "{name:?} is not an attribute of a session; there are {}{}",
            SESSION_ATTRIBUTES.join(", "),
            near::hint(name, SESSION_ATTRIBUTES)
        )
    })
}

/// Attributes of a closed session that are numbers.
pub(super) const SESSION_NUMBERS: [&str; 3] = ["value", "events", "duration_s"];

/// The attributes of a closed session.
struct OfSession;

impl Scope for OfSession {
    fn kind(&self, name: &str) -> Result<Kind, String> {
        match not_of_session(name) {
            Some(rule) => Err(rule),
            None if SESSION_NUMBERS.contains(&name) => Ok(Kind::Number),
            None => Ok(Kind::Text),
        }
    }
}

/// Reads `type == "payment_failed" && status >= 400`, or the same as a table.
pub(super) fn conditions(
    node: &Node,
    of: Facts,
    attributes: &Attributes<'_>,
) -> Result<Vec<Condition>, String> {
    let table = match &node.value {
        Value::Table(table) => table,
        Value::Text(text) | Value::Bare(text) => {
            let expr = match of {
                Facts::Events => Expr::condition(text, attributes),
                _ => Expr::condition(text, &OfSession),
            };
            let expr = expr.map_err(|error| error.to_string())?;
            return Ok(metric::conditions::of(&expr));
        }
        _ => {
            return Err("must be an expression such as \"status >= 400\", or a table of \
                        conditions such as { status = { ge = 400 } }"
                .into());
        }
    };
    let mut found = Vec::new();
    for (attribute, node) in table {
        if let Some(rule) = attributes.wrong(attribute) {
            return Err(rule);
        }
        let tests = tests(node).map_err(|rule| format!("{attribute}: {rule}"))?;
        let condition = |test| Condition { attribute: attribute.clone(), test };
        found.extend(tests.into_iter().map(condition));
    }
    Ok(found)
}

fn tests(node: &Node) -> Result<Vec<Test>, String> {
    match &node.value {
        Value::Text(text) => Ok(vec![Test::TextIn(vec![text.clone()])]),
        Value::Integer(_) | Value::Float(_) => Ok(vec![Test::NumberIn(vec![decimal(node)?])]),
        Value::Bool(truth) => Ok(vec![Test::Is(*truth)]),
        Value::List(nodes) => Ok(vec![one_of(nodes)?]),
        Value::Table(table) if !table.is_empty() => {
            table.iter().map(|(operator, node)| comparison(operator, node)).collect()
        }
        _ => Err("must be a value, a list of values, or { ge = 400 }".into()),
    }
}

fn one_of(nodes: &[Node]) -> Result<Test, String> {
    let rule = || format!("a list must hold 1 to {CONDITIONS_MAX} texts, or as many numbers");
    if nodes.is_empty() || nodes.len() > CONDITIONS_MAX {
        return Err(rule());
    }
    if let Ok(texts) = nodes.iter().map(|node| node.text("").map(String::from)).collect() {
        return Ok(Test::TextIn(texts));
    }
    nodes.iter().map(decimal).collect::<Result<_, _>>().map(Test::NumberIn).map_err(|_| rule())
}

fn comparison(operator: &str, node: &Node) -> Result<Test, String> {
    match operator {
        "ge" => Ok(Test::Ge(decimal(node)?)),
        "gt" => Ok(Test::Gt(decimal(node)?)),
        "le" => Ok(Test::Le(decimal(node)?)),
        "lt" => Ok(Test::Lt(decimal(node)?)),
        "exists" => Ok(Test::Exists(node.truth()?)),
        _ => Err(format!(
            "{operator:?} is not a comparison; there are {}{}",
            OPERATORS.join(", "),
            near::hint(operator, OPERATORS)
        )),
    }
}

/// A number as it is written.
fn decimal(node: &Node) -> Result<Decimal, String> {
    match node.value {
        Value::Integer(number) => Ok(Decimal::from_i64(number)),
        _ => Decimal::from_f64(node.number()?).ok_or_else(|| "must be a finite number".into()),
    }
}
