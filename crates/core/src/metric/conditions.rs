//! Conditions as an expression. What is flat in it, an attribute compared with what is written
//! out, becomes a condition that is found by `routes` and judged in its slot; what is left is
//! evaluated.

use std::fmt::{self, Display};

use super::spec::{Condition, Test};
use crate::expr::{Comparison, Expr, LIST_MAX, Node, write_list, write_number, write_text};
use crate::number::Decimal;

/// The conditions that must all hold for an expression to hold, in its order.
pub fn of(expr: &Expr) -> Vec<Condition> {
    let condition = |part: &Node| match flat(part, expr.names()) {
        Some((attribute, test)) => Condition { attribute: attribute.clone(), test },
        None => {
            let part = expr.part(part);
            Condition { attribute: part.to_string(), test: Test::Holds(part) }
        }
    };
    expr.parts().iter().map(condition).collect()
}

/// A part that compares one attribute with what is written out. Such a test is missing, and a
/// fault, where the part is.
fn flat<'a>(part: &Node, names: &'a [String]) -> Option<(&'a String, Test)> {
    let (name, test) = match part {
        Node::Name(name) => (*name, Test::Is(true)),
        Node::Has(name) => (*name, Test::Exists(true)),
        Node::Not(inner) => match **inner {
            Node::Name(name) => (name, Test::Is(false)),
            Node::Has(name) => (name, Test::Exists(false)),
            _ => return None,
        },
        Node::InNumbers(inner, numbers) => match **inner {
            Node::Name(name) => (name, Test::NumberIn(numbers.clone())),
            _ => return None,
        },
        Node::InTexts(inner, texts) => match **inner {
            Node::Name(name) => {
                (name, Test::TextIn(texts.iter().map(|text| text.to_string()).collect()))
            }
            _ => return None,
        },
        Node::Compare(comparison, _, sides) => match &**sides {
            [Node::Name(name), value] => (*name, compared(*comparison, value)?),
            [value, Node::Name(name)] => (*name, compared(comparison.turned(), value)?),
            _ => return None,
        },
        Node::Or(parts) => return one_of(parts, names),
        _ => return None,
    };
    Some((&names[name], test))
}

fn compared(comparison: Comparison, value: &Node) -> Option<Test> {
    Some(match (comparison, value) {
        (Comparison::Equal, Node::Number(number)) => Test::NumberIn(vec![*number]),
        (Comparison::Equal, Node::Text(text)) => Test::TextIn(vec![text.to_string()]),
        (Comparison::Equal, Node::Bool(truth)) => Test::Is(*truth),
        (Comparison::Unequal, Node::Bool(truth)) => Test::Is(!*truth),
        (Comparison::Less, Node::Number(number)) => Test::Lt(*number),
        (Comparison::AtMost, Node::Number(number)) => Test::Le(*number),
        (Comparison::Greater, Node::Number(number)) => Test::Gt(*number),
        (Comparison::AtLeast, Node::Number(number)) => Test::Ge(*number),
        _ => return None,
    })
}

/// Values of one attribute of which it is to have one: `type == "a" || type == "b"`.
fn one_of<'a>(parts: &[Node], names: &'a [String]) -> Option<(&'a String, Test)> {
    let mut all = parts.iter().map(|part| flat(part, names));
    let (name, mut test) = all.next()??;
    for more in all {
        match (&mut test, more?) {
            (Test::TextIn(texts), (same, Test::TextIn(more))) if same == name => texts.extend(more),
            (Test::NumberIn(numbers), (same, Test::NumberIn(more))) if same == name => {
                numbers.extend(more);
            }
            _ => return None,
        }
    }
    let values = match &test {
        Test::TextIn(texts) => texts.len(),
        Test::NumberIn(numbers) => numbers.len(),
        _ => return None,
    };
    (values <= LIST_MAX).then_some((name, test))
}

/// Conditions as the expression that they are made of.
pub struct Expression<'a>(pub &'a [Condition]);

impl Display for Expression<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Condition { attribute, test }) in self.0.iter().enumerate() {
            if at > 0 {
                out.write_str(" && ")?;
            }
            let number =
                |number: &Decimal, out: &mut fmt::Formatter<'_>| write_number(*number, out);
            match test {
                Test::Is(true) => write!(out, "{attribute}"),
                Test::Is(false) => write!(out, "!{attribute}"),
                Test::Exists(true) => write!(out, "has({attribute})"),
                Test::Exists(false) => write!(out, "!has({attribute})"),
                Test::TextIn(texts) => {
                    write!(out, "{attribute} in ")?;
                    write_list(texts, |text, out| write_text(text, out), out)
                }
                Test::NumberIn(numbers) => {
                    write!(out, "{attribute} in ")?;
                    write_list(numbers, number, out)
                }
                Test::Ge(bound) => write!(out, "{attribute} >= ").and_then(|()| number(bound, out)),
                Test::Gt(bound) => write!(out, "{attribute} > ").and_then(|()| number(bound, out)),
                Test::Le(bound) => write!(out, "{attribute} <= ").and_then(|()| number(bound, out)),
                Test::Lt(bound) => write!(out, "{attribute} < ").and_then(|()| number(bound, out)),
                Test::Holds(expr) if self.0.len() == 1 => write!(out, "{expr}"),
                Test::Holds(expr) => expr.write_part(out),
            }?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Schema;
    use crate::expr::{Kind, Scope};
    use crate::metric::aggregate::Count;
    use crate::metric::routes::Routes;
    use crate::metric::{Metric, MetricSpec, WindowSpec};

    struct Attributes;

    impl Scope for Attributes {
        fn kind(&self, _: &str) -> Result<Kind, String> {
            Ok(Kind::Any)
        }
    }

    fn parsed(text: &str) -> Vec<Condition> {
        of(&Expr::condition(text, &Attributes).unwrap())
    }

    fn condition(attribute: &str, test: Test) -> Condition {
        Condition { attribute: attribute.into(), test }
    }

    fn number(text: &str) -> Decimal {
        Decimal::from_text(text).unwrap()
    }

    fn texts(texts: &[&str]) -> Test {
        Test::TextIn(texts.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_flat_becomes_the_conditions_of_a_table() {
        for (text, want) in [
            ("type == \"x\"", vec![condition("type", texts(&["x"]))]),
            ("\"x\" == type", vec![condition("type", texts(&["x"]))]),
            (
                "type == \"x\" || type in [\"y\", \"z\"]",
                vec![condition("type", texts(&["x", "y", "z"]))],
            ),
            (
                "(status >= 500 && 600 > status) && region in [\"eu\", \"us\"]",
                vec![
                    condition("status", Test::Ge(number("500"))),
                    condition("status", Test::Lt(number("600"))),
                    condition("region", texts(&["eu", "us"])),
                ],
            ),
            (
                "code == 1 && code in [1, 2.5] && 5 < n && n <= 7",
                vec![
                    condition("code", Test::NumberIn(vec![number("1")])),
                    condition("code", Test::NumberIn(vec![number("1"), number("2.5")])),
                    condition("n", Test::Gt(number("5"))),
                    condition("n", Test::Le(number("7"))),
                ],
            ),
            (
                "vip && !bot && a == true && b != true && has(c.d) && !has(e)",
                vec![
                    condition("vip", Test::Is(true)),
                    condition("bot", Test::Is(false)),
                    condition("a", Test::Is(true)),
                    condition("b", Test::Is(false)),
                    condition("c.d", Test::Exists(true)),
                    condition("e", Test::Exists(false)),
                ],
            ),
        ] {
            assert_eq!(parsed(text), want, "{text}");
            let written = Expression(&want).to_string();
            assert_eq!(parsed(&written), want, "{text} became {written}");
        }
        for text in [
            "status != 500",
            "a > b",
            "a + 1 > 5",
            "name < \"m\"",
            "a == 1 || b == 1",
            "a == 1 || a > 5",
            "a == 1 || a == \"x\"",
            "!(a > 5)",
            "a.contains(\"x\")",
            "true",
        ] {
            let found = parsed(&format!("type == \"x\" && ({text})"));
            assert!(matches!(&found[..], [_, Condition { test: Test::Holds(_), .. }]), "{text}");
            assert_eq!(found[1].attribute, parsed(text)[0].attribute, "{text}");
            let written = Expression(&found).to_string();
            assert_eq!(parsed(&written), found, "{text} became {written}");
        }
    }

    #[test]
    fn both_spellings_are_one_metric_and_are_found_alike() {
        let metric = |filter| {
            let spec = MetricSpec {
                filter,
                ..MetricSpec::new("m", Count, WindowSpec::Tumbling { size: 1_000 })
            };
            let slots = ["type", "status", "region", "a"].map(String::from).to_vec();
            let event_types = vec!["x".into(), "y".into()];
            Metric::compile(&spec, &Schema { slots, event_types, ..Schema::default() })
        };
        let table = metric(vec![
            condition("region", texts(&["eu", "us"])),
            condition("status", Test::Ge(number("500"))),
            condition("type", texts(&["x"])),
        ]);
        let text = metric(parsed("type == \"x\" && status >= 500 && region in [\"us\", \"eu\"]"));
        assert_eq!(table.meaning, text.meaning);
        let routes = |metric: &Metric| format!("{:?}", Routes::new(std::slice::from_ref(metric)));
        let sorted = metric(parsed("type == \"x\" && status >= 500 && region in [\"eu\", \"us\"]"));
        assert_eq!(routes(&table), routes(&sorted));
        // What is left over stands behind what is found by its value.
        let more = metric(parsed("a + 1 > 5 && region in [\"eu\", \"us\"] && type == \"x\""));
        assert_eq!(routes(&table), routes(&more));
        assert_ne!(more.meaning, table.meaning);
        assert_ne!(
            more.meaning,
            metric(parsed("a + 2 > 5 && region in [\"eu\", \"us\"] && type == \"x\"")).meaning
        );
    }
}
