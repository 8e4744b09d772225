//! Conditions on attributes as written: `{ type = "payment_failed", status = { ge = 400 } }`.
//! Called by `metrics.rs` for `where` and `numerator`.

use super::document::{Node, Value};
use crate::domain::metric::{Condition, Test};
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

/// Reads `{ type = "payment_failed", status = { ge = 400 } }`.
pub(super) fn conditions(
    node: &Node,
    aliases: &[(String, String)],
) -> Result<Vec<Condition>, String> {
    let Value::Table(table) = &node.value else {
        return Err("must be a table of conditions such as { status = { ge = 400 } }".into());
    };
    let mut found = Vec::new();
    for (attribute, node) in table {
        if let Some(rule) = wrong_attribute(attribute, aliases) {
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
