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

/// Two counts, and what is made of them.
fn formulas(more: &str) -> Config {
    let text = format!(
        "[[metric]]\nname = \"rate\"\nformula = \"errors/requests\"\n\
         [[metric]]\nname = \"growth\"\n\
         formula = 'requests / ago(requests, \"1d\") - (1 - 0.5) * rate'\n\
         [[metric]]\nname = \"errors\"\nwhere = \"status >= 500\"\n{COUNT}group_by = [\"region\"]\n\
         group_limit = 500\n\
         [[metric]]\nname = \"requests\"\n{COUNT}keep = \"2d\"\n{more}"
    );
    Config::parse("t.toml", &text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

#[test]
fn a_formula_has_the_windows_and_the_labels_of_its_metrics() {
    let config = formulas("");
    let names: Vec<&str> = config.metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["rate", "growth", "errors", "requests"], "as they stand in the file");
    for formula in &config.metrics[..2] {
        assert_eq!(formula.window, config.metrics[3].window);
        assert_eq!((&formula.group_by[..], formula.group_limit), (&["region".to_owned()][..], 500));
    }
    let printed = config.print();
    let again = Config::parse("printed.toml", &printed).unwrap_or_else(|error| {
        panic!("{printed}\n{error}");
    });
    assert_eq!(config, again, "{printed}");
    assert_eq!(config.warnings(), Vec::<String>::new());
    let keys = &config.meanings()["metric growth"];
    let wanted = "'requests / ago(requests, \"1d\") - (1 - 0.5) * rate'";
    assert_eq!(keys["formula"], wanted, "{keys:?}");
}

#[test]
fn a_formula_is_what_its_metrics_are_and_not_what_they_are_called() {
    let meanings = |config: &Config| -> Vec<u64> {
        let all = Metric::compile_all(&config.metrics, &config.schema(0));
        all.iter().map(|metric| metric.meaning).collect()
    };
    let before = meanings(&formulas(""));
    let mut renamed = formulas("");
    renamed.metrics[3].name = "calls".into();
    for metric in &mut renamed.metrics[..2] {
        for operand in &mut metric.formula.as_mut().unwrap().operands {
            operand.metric = operand.metric.replace("requests", "calls");
        }
    }
    assert_eq!(meanings(&renamed), before);
    let filtered = meanings(&formulas("where = \"status > 0\"\n"));
    assert_ne!(filtered[0], before[0]);
    assert_ne!(filtered[1], before[1]);
    assert_eq!(filtered[2], before[2]);
}
