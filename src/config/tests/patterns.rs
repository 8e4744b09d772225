//! `[[pattern]]`: what is read is what was written, and printed again.

use super::*;
use crate::domain::metric::Facts;
use crate::domain::pattern::Side;

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
    assert_eq!((first.title.as_str(), first.times, first.steps()), ("Abandoned checkout", 2, 4));
    assert_eq!((first.then.len(), first.without.len(), first.not_then.len()), (2, 2, 1));
    assert_eq!((first.within, first.alert.as_deref()), (600_000, Some("warning")));
    let taken = first.attributes.iter().map(|(name, from)| (name.as_str(), from.side));
    assert_eq!(taken.collect::<Vec<_>>(), [("amount", Side::First), ("page", Side::Last)]);
    assert_eq!((second.first.len(), second.alert.as_deref()), (1, None));
    let again = Config::parse("print.toml", &config.print()).unwrap();
    assert_eq!(again, config);
    assert_eq!(again.fingerprint(), config.fingerprint());
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
