//! Attributes that are made of others, computed (`events.derived`) or looked up (`[[lookup]]`): once
//! for each event, when it was read, into slots like those of any attribute. Whoever uses a slot does
//! not know.

use std::fmt::{self, Display};

use compact_str::CompactString;

use super::draft::Draft;
use super::looked::Looked;
use super::{Schema, Span, Value};
use crate::expr::{self, Expr, Kind, Values};
use crate::unusable::Unusable;

/// An attribute that is made of others.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// What it is called.
    pub name: String,
    /// How it is made.
    pub how: How,
}

/// How an attribute is made. Names in it are attributes with a slot.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// Computed.
    Expr(Expr),
    /// Looked up.
    Looked(Looked),
}

impl How {
    /// The attributes that it is made of.
    pub fn names(&self) -> &[String] {
        match self {
            How::Expr(expr) => expr.names(),
            How::Looked(looked) => std::slice::from_ref(&looked.key),
        }
    }

    /// What it makes.
    pub fn kind(&self) -> Kind {
        match self {
            How::Expr(expr) => expr.kind(),
            How::Looked(_) => Kind::Any,
        }
    }
}

impl Display for How {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Expr(expr) => expr.fmt(out),
            How::Looked(looked) => looked.fmt(out),
        }
    }
}

/// A derived attribute with its slots.
#[derive(Debug)]
pub(super) struct Derivation {
    slot: usize,
    how: How,
    /// By name in it: its slot.
    from: Vec<usize>,
}

/// All of them in the order of the schema.
pub(super) fn derivations(schema: &Schema) -> Vec<Derivation> {
    let slot = |name: &String| schema.slots.iter().position(|slot| slot == name);
    let compiled = schema.derived.iter().filter_map(|Derived { name, how }| {
        let from = how.names().iter().map(|name| slot(name).unwrap_or(usize::MAX)).collect();
        Some(Derivation { slot: slot(name)?, how: how.clone(), from })
    });
    compiled.collect()
}

/// The values of a draft by the names of an expression.
struct Slots<'a, 'd> {
    draft: &'a Draft<'d>,
    from: &'a [usize],
}

impl Values for Slots<'_, '_> {
    fn value(&self, name: usize) -> expr::Value<'_> {
        match self.from.get(name).and_then(|slot| self.draft.space.values.get(*slot)) {
            None | Some(Value::Missing) => expr::Value::Missing,
            Some(Value::Number(number)) => expr::Value::Number(*number),
            Some(Value::Text(span)) => expr::Value::Text(self.draft.get(*span).into()),
            Some(Value::Bool(truth)) => expr::Value::Bool(*truth),
            Some(Value::Unusable(why)) => expr::Value::Unusable(*why),
        }
    }
}

/// Fills the slots of derived attributes.
#[inline(never)]
pub(super) fn derive(draft: &mut Draft<'_>) {
    let rules = draft.rules;
    for Derivation { slot, how, from } in &rules.derived {
        let slots = Slots { draft, from };
        let value = match how {
            How::Expr(expr) => expr.eval(&slots),
            How::Looked(looked) => look_up(looked, slots.value(0)),
        };
        let made = made(value, &slots, rules.schema.limits.text_bytes);
        draft.space.values[*slot] = match made {
            Made::Value(value) => value,
            Made::Text(text) => Value::Text(draft.write(&text)),
        };
    }
}

enum Made {
    Value(Value),
    Text(CompactString),
}

/// An empty cell is missing.
fn look_up<'t>(looked: &'t Looked, key: expr::Value<'_>) -> expr::Value<'t> {
    let find = |key: &str| match looked.table.find(key, looked.place) {
        None => expr::Value::Unusable(Unusable::NotFound),
        Some("") => expr::Value::Missing,
        Some(cell) => expr::Value::Text(cell.into()),
    };
    match key {
        expr::Value::Missing => expr::Value::Missing,
        expr::Value::Unusable(why) => expr::Value::Unusable(why),
        expr::Value::Text(text) => find(&text),
        expr::Value::Number(number) => find(&number.to_string()),
        expr::Value::Bool(truth) => find(if truth { "true" } else { "false" }),
    }
}

fn made(value: expr::Value<'_>, slots: &Slots<'_, '_>, text_bytes: usize) -> Made {
    Made::Value(match value {
        expr::Value::Missing => Value::Missing,
        expr::Value::Number(number) => Value::Number(number),
        expr::Value::Bool(truth) => Value::Bool(truth),
        expr::Value::Unusable(why) => Value::Unusable(why),
        expr::Value::Text(text) if text.len() > text_bytes => Value::Unusable(Unusable::TooLong),
        expr::Value::Text(text) => match slots.draft.find(&text) {
            Some(span) => Value::Text(span),
            None => return Made::Text(text.into()),
        },
    })
}

impl Draft<'_> {
    /// Where a text lies that is a piece of the event or of the scratch space.
    fn find(&self, text: &str) -> Option<Span> {
        let within = |whole: &str, offset: usize| {
            let start = text.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
            let fits = start < whole.len() && text.len() <= whole.len() - start;
            fits.then(|| Span { start: (offset + start) as u32, len: text.len() as u32 })
        };
        within(self.text, 0).or_else(|| within(&self.space.scratch, self.text.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::Table;
    use crate::event::decode::Decoder;
    use crate::event::{Limits, Note};
    use crate::expr::{Kind, Scope};
    use crate::number::text::NumberFormat;

    /// What each name is; anything else is an attribute.
    struct Known(Vec<(String, Kind)>);

    impl Scope for Known {
        fn kind(&self, name: &str) -> Result<Kind, String> {
            let found = self.0.iter().find(|(known, _)| known == name);
            Ok(found.map_or(Kind::Any, |(_, kind)| *kind))
        }

        fn format(&self, name: &str) -> NumberFormat {
            let example = if name == "fee" { "1,50" } else { "" };
            NumberFormat::by_example(example).unwrap_or_default()
        }
    }

    fn schema(derived: &[(&str, &str)], slots: &[&str]) -> Schema {
        let mut schema = Schema {
            slots: slots
                .iter()
                .chain(derived.iter().map(|(name, _)| name))
                .map(ToString::to_string)
                .collect(),
            aliases: vec![("cost".into(), "amount".into())],
            limits: Limits { text_bytes: 40, ..Limits::default() },
            ..Schema::default()
        };
        for (name, text) in derived {
            let known = schema.derived.iter().map(|one| (one.name.clone(), one.how.kind()));
            let how = How::Expr(Expr::parse(text, &Known(known.collect())).unwrap());
            schema.derived.push(Derived { name: (*name).to_owned(), how });
        }
        schema
    }

    /// The derived values of one event, by both roads, with a note that says where it came from.
    fn values(schema: &Schema, event: &str) -> String {
        let note = Note { attributes: smallvec::smallvec![(0, "eu".into())], ..Note::default() };
        let names = ["region".to_owned()];
        let schema = Arc::new(schema.clone());
        let first = schema.slots.len() - schema.derived.len();
        let told = |mut decoder: Decoder| {
            let mut all = Vec::new();
            decoder.decode_noted(event.as_bytes(), &note, &names, |event| {
                let event = event.unwrap();
                all.extend(event.values[first..].iter().map(|value| match value {
                    Value::Text(span) => String::from_utf8_lossy(event.text(*span)).into_owned(),
                    Value::Number(number) => number.to_string(),
                    other => format!("{other:?}"),
                }));
            });
            all.join(" | ")
        };
        let values = told(Decoder::new(Arc::clone(&schema)));
        assert_eq!(values, told(Decoder::general(schema)), "{event}");
        values
    }

    #[test]
    fn they_are_computed_of_what_the_event_carries_and_of_each_other() {
        let schema = schema(
            &[
                ("net", "amount - discount"),
                ("is_error", "status >= 500"),
                ("half", "net / 2"),
                ("place", "region.upperAscii() + \"/\" + path"),
                ("same", "path"),
                ("latency", "bucket(ms, [50, 100])"),
                ("total", "amount + fee"),
            ],
            &["amount", "discount", "status", "region", "path", "ms", "fee"],
        );
        for (event, want) in [
            (
                r#""amount":19.99,"discount":5,"status":500,"path":"/a","ms":70,"fee":"0,01""#,
                "14.99 | Bool(true) | 7.495 | EU/a | /a | 50 to 100 | 20",
            ),
            // By an alias, as text, escaped; `net` of the event itself is passed over.
            (
                r#""cost":"2","discount":0.5,"net":9,"status":"404","path":"\u00e9\n","ms":1"#,
                "1.5 | Bool(false) | 0.75 | EU/\u{e9}\n | \u{e9}\n | <= 50 | Missing",
            ),
            (
                r#""amount":"x","discount":true,"status":[1],"path":7,"ms":null,"fee":"1.50""#,
                "Unusable(Text) | Unusable(Nested) | Unusable(Text) | Unusable(Number) | 7 | Missing | \
                 Unusable(Text)",
            ),
            (
                r#""path":"0123456789012345678901234567890123456789""#,
                "Missing | Missing | Missing | Unusable(TooLong) | \
                 0123456789012345678901234567890123456789 | Missing | Missing",
            ),
        ] {
            let event = format!(r#"{{"ts":1,"type":"a",{event}}}"#);
            let want = want.replace("EU/a", "EU//a");
            assert_eq!(values(&schema, &event), want, "{event}");
        }
    }

    #[test]
    fn what_is_looked_up_may_be_computed_with_and_be_looked_up_by_what_is_computed() {
        let slots = ["sku", "amount", "category", "price", "margin"];
        let mut schema = schema(&[("code", "sku.upperAscii()")], &slots);
        let mut table = Table::default();
        table.insert("A1", ["shoes", "7.5"].into_iter());
        table.insert("17", ["", "2"].into_iter());
        table.insert("LONG", ["0123456789012345678901234567890123456789x", "x"].into_iter());
        let table = Arc::new(table);
        let names = [("category", "kind"), ("price", "cost")].into_iter().enumerate();
        schema.derived.extend(names.map(|(place, (name, column))| {
            let (key, column) = ("code".into(), column.into());
            let looked =
                Looked { name: "products".into(), key, column, place, table: Arc::clone(&table) };
            Derived { name: name.into(), how: How::Looked(looked) }
        }));
        let margin = Expr::parse("amount - price", &Known(Vec::new())).unwrap();
        schema.derived.push(Derived { name: "margin".into(), how: How::Expr(margin) });
        assert_eq!(schema.derived[2].how.to_string(), "products[code].cost");
        let among: Vec<&str> =
            schema.derived_among(&["margin"]).iter().map(|one| &*one.name).collect();
        assert_eq!(among, ["code", "margin", "price"]);
        for (sku, want) in [
            ("\"a1\"", "shoes | 7.5 | 12.5"),
            ("\"17\"", "Missing | 2 | 18"),
            ("\"long\"", "Unusable(TooLong) | x | Unusable(Text)"),
            ("\"b\"", "Unusable(NotFound) | Unusable(NotFound) | Unusable(NotFound)"),
            ("null", "Missing | Missing | Missing"),
        ] {
            let event = format!(
                "{{\"ts\":1,\"type\":\"a\",\"amount\":20,\"sku\":{sku},\"category\":\"own\"}}"
            );
            let shown = values(&schema, &event);
            assert!(shown.starts_with(want), "{sku}: {shown}");
        }
    }

    #[test]
    fn those_that_others_need_are_among_them() {
        let schema =
            schema(&[("a", "x + 1"), ("b", "a * 2"), ("c", "y"), ("d", "b + c")], &["x", "y"]);
        let among = |names: &[&str]| {
            let found = schema.derived_among(names).into_iter();
            found.map(|one| one.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(among(&["b", "x"]), "a b");
        assert_eq!(among(&["d"]), "a b c d");
        assert_eq!(among(&["x"]), "");
    }
}
