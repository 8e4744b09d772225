//! `[[pattern]]`: what is read is what was written, and printed again.

use super::*;
use crate::domain::metric::Facts;
use crate::domain::pattern::{JoinKind, Seeks, Side};

const FILE: &str = r#"
[[pattern]]
name = "abandoned_checkout"
first = { type = "cart_add", amount = { ge = 10 } }
then = [{ type = "checkout" }, { type = ["pay", "invoice"] }]
times = 2
without = [{ type = "cart_remove" }, { type = "logout", forced = true }]
not_then = { type = "refund" }
within = "10m"
attributes = { amount = "first.amount", page = "last.page" }
alert = "warning"

[[pattern]]
name = "thrice"
title = "Three times"
first = "amount > 3 || type == 'a'"
times = 3
within = "1500ms"

[[metric]]
name = "lost"
where = { type = "abandoned_checkout", page = "cart" }
aggregate = "sum"
field = "amount"
group_by = ["user"]
window = { tumbling = "1m" }
"#;

#[test]
fn what_is_written_is_what_is_read_and_printed_again() {
    let config = Config::parse("t.toml", FILE).unwrap();
    let [first, second] = &config.patterns[..] else { panic!("two patterns") };
    let (Seeks::Sequence(sought), Seeks::Sequence(thrice)) = (&first.seeks, &second.seeks) else {
        panic!("two sequences");
    };
    assert_eq!((first.title.as_str(), sought.times, sought.steps()), ("Abandoned checkout", 2, 4));
    assert_eq!((sought.then.len(), sought.without.len(), sought.not_then.len()), (2, 2, 1));
    assert_eq!((sought.within, first.alert.as_deref()), (600_000, Some("warning")));
    let taken = first.attributes.iter().map(|(name, from)| (name.as_str(), from.side));
    assert_eq!(taken.collect::<Vec<_>>(), [("amount", Side::First), ("page", Side::Last)]);
    assert_eq!((thrice.first.len(), second.alert.as_deref()), (1, None));
    let again = Config::parse("print.toml", &config.print()).unwrap();
    assert_eq!(again, config);
    assert_eq!(again.fingerprint(), config.fingerprint());
}

const JOINS: &str = r#"
[[join]]
name = "paid"
left = { type = "order", amount = { gt = 0 } }
right = "type == 'payment' && !test"
on = ["order_id"]
within = "10m"
before = "5s"
kind = "left"
attributes = { amount = "left.amount", card = "right.card" }
alert = "info"

[[metric]]
name = "paid_share"
where = { type = "paid" }
aggregate = "ratio"
numerator = { matched = true }
group_by = ["card", "user"]
window = { tumbling = "1m" }
"#;

#[test]
fn a_join_is_read_as_it_was_written_and_printed_again() {
    let config = Config::parse("t.toml", JOINS).unwrap();
    let [one] = &config.patterns[..] else { panic!("one join") };
    let Seeks::Join(join) = &one.seeks else { panic!("a join") };
    assert_eq!((join.within, join.before, join.kind), (600_000, 5_000, JoinKind::Left));
    assert_eq!((join.pairs_max, &join.on[..]), (100, &["order_id".to_owned()][..]));
    let taken = one.attributes.iter().map(|(name, from)| (name.as_str(), from.side));
    assert_eq!(taken.collect::<Vec<_>>(), [("amount", Side::First), ("card", Side::Last)]);
    let again = Config::parse("print.toml", &config.print()).unwrap();
    assert_eq!(again, config);
    assert_eq!(again.fingerprint(), config.fingerprint());
    let schema = config.schema(0);
    for name in ["amount", "card", "order_id", "test", "matched"] {
        assert!(schema.slots.iter().any(|known| known == name), "{name}");
    }
    assert_eq!(schema.patterns, ["paid"]);
}

#[test]
fn a_pattern_is_no_type_of_events() {
    let schema = Config::parse("t.toml", FILE).unwrap().schema(0);
    assert_eq!(schema.patterns, ["abandoned_checkout", "thrice"]);
    assert!(!schema.event_types.iter().any(|name| schema.patterns.contains(name)));
    for name in ["cart_add", "checkout", "invoice", "logout", "refund"] {
        assert!(schema.event_types.iter().any(|known| known == name), "{name}");
    }
    for name in ["amount", "page", "forced"] {
        assert!(schema.slots.iter().any(|known| known == name), "{name}");
    }
    let numbers = schema.match_types();
    assert_eq!(schema.type_number("thrice"), Some(numbers.end - 1));
    let config = Config::parse("t.toml", FILE).unwrap();
    assert_eq!(config.metrics[0].of, Facts::Events);
}
