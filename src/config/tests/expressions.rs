//! Conditions and derived attributes as expressions: what they become, what they change, and that
//! what is printed of them is read back.

use super::super::*;
use crate::domain::metric::Metric;

const COUNT: &str = "aggregate = \"count\"\nwindow = { tumbling = \"1m\" }\n";

fn config(derived: &str, metrics: &[&str]) -> Config {
    let mut text = format!("[events.derived]\n{derived}\n");
    for (at, keys) in metrics.iter().enumerate() {
        text += &format!("[[metric]]\nname = \"m{at}\"\n{COUNT}{keys}\n");
    }
    Config::parse("t.toml", &text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn meanings_of(config: &Config) -> Vec<u64> {
    let schema = config.schema(0);
    config.metrics.iter().map(|metric| Metric::compile(metric, &schema).meaning).collect()
}

#[test]
fn what_is_printed_of_expressions_is_read_back() {
    let config = config(
        "net = 'amount - discount'\nplace = 'region + \"/\" + \"\\\\\"'\n\
         tier = 'net > 5 ? \"high\" : \"low\"'",
        &[
            "where = 'type == \"x\" && status >= 500'",
            "where = 'status >= 500 && type == \"x\" && status < 600 && status >= 501'",
            "where = 'region in [\"eu\", \"us\"] && region == \"eu\" && !(net > 5 || vip)'",
            "where = 'net > 5 && tier == \"high\" && has(a.b) && !has(c) && vip && !bot && 5 < n'",
            "where = \"18446744073709551615.0 == n\"",
            "where = \"type != 'it\\\\'s'\"\ngroup_by = [\"place\"]",
            "of = \"sessions\"\nwhere = 'value > 5 && value / events > 2 || outcome == \"converted\"'",
        ],
    );
    let printed = config.print();
    let again = Config::parse("printed.toml", &printed).unwrap_or_else(|error| {
        panic!("{printed}\n{error}");
    });
    assert_eq!(config, again, "{printed}");
    assert_eq!(config.fingerprint(), again.fingerprint());
    assert_eq!(config.warnings(), Vec::<String>::new());
    let keys = &config.meanings()["metric m3"];
    assert_eq!(keys["events.derived.net"], "\"amount - discount\"");
    assert!(keys.contains_key("events.derived.tier"), "{keys:?}");
    assert!(!keys.contains_key("events.derived.place"), "{keys:?}");
}

#[test]
fn both_spellings_of_a_condition_are_the_same_metric() {
    let config = config(
        "",
        &[
            "where = { type = \"x\", status = { ge = 500 }, region = [\"eu\", \"us\"] }",
            "where = 'region in [\"eu\", \"us\"] && status >= 500 && type == \"x\"'",
            "where = 'type==\"x\" && (region == \"us\" || region == \"eu\") && 500 <= status'",
        ],
    );
    let same = meanings_of(&config);
    assert!(same.iter().all(|meaning| *meaning == same[0]), "{same:?}");
    assert_eq!(config.metrics[0].filter, {
        let mut sorted = config.metrics[1].filter.clone();
        sorted.sort_by_key(|condition| condition.attribute.clone());
        sorted
    });
    assert_eq!(config.schema(0).event_types.last().map(String::as_str), Some("x"));
}

#[test]
fn only_what_is_used_is_computed_and_in_order() {
    let config = config(
        "a = 'b + c'\nb = 'c * 2'\nc = 'x + y'\nd = 'a'\nunused = 'z'",
        &["where = 'a > 5'", "group_by = [\"c\"]"],
    );
    let schema = config.schema(0);
    let derived: Vec<&str> = schema.derived.iter().map(|one| &*one.name).collect();
    assert_eq!(derived, ["c", "b", "a"]);
    for slot in ["a", "b", "c", "x", "y"] {
        assert!(schema.slots.iter().any(|known| known == slot), "{slot}: {:?}", schema.slots);
    }
    assert!(schema.slots.iter().all(|slot| !["d", "unused", "z"].contains(&&**slot)));
    assert_eq!(
        config.warnings(),
        [
            "events.derived.d: nothing uses it, so it is not computed",
            "events.derived.unused: nothing uses it, so it is not computed",
        ]
    );
}

#[test]
fn a_changed_expression_is_another_metric_and_another_session() {
    let with = |net: &str| {
        config(
            &format!("net = '{net}'\nhalf = 'net / 2'"),
            &["where = 'half > 5'", "group_by = [\"net\"]", "group_by = [\"amount\"]"],
        )
    };
    let (one, spaced, other) =
        (meanings_of(&with("a - b")), meanings_of(&with("a-b")), meanings_of(&with("a + b")));
    assert_eq!(one, spaced);
    assert_ne!(one[0], other[0]);
    assert_ne!(one[1], other[1]);
    assert_eq!(one[2], other[2], "it uses none of them");

    let session = |value: &str, net: &str| {
        let text = format!("[session]\nvalue = \"{value}\"\n[events.derived]\nnet = '{net}'\n");
        Config::parse("t.toml", &text).unwrap().sessions_meaning()
    };
    assert_ne!(session("net", "a - b"), session("net", "a + b"));
    assert_eq!(session("net", "a - b"), session("net", "a-b"));
    assert_eq!(session("amount", "a - b"), session("amount", "a + b"));
}

#[test]
fn a_name_that_is_nearly_a_derived_one_is_warned_of() {
    let config =
        config("margin = 'amount - cost'", &["where = 'margni > 5'", "group_by = [\"margin\"]"]);
    assert_eq!(
        config.warnings(),
        ["metric.m0: the attribute \"margni\" is not the \"margin\" of [events.derived]"]
    );
}
