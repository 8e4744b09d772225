//! `[[pattern]]`: what is read is what was written, and printed again.

use super::*;
use crate::domain::metric::Facts;
use crate::domain::pattern::{JoinKind, Patterns, Seeks, Side};
use crate::domain::time::TimePolicy;

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

const FUNNELS: &str = r#"
[[funnel]]
name = "checkout"
steps = ["page_view", { type = "cart_add", amount = { ge = 10 } }, "type == 'pay' && amount > 0"]
names = ["seen", "in the cart", "paid"]
without = { type = "cart_remove" }
within = "30m"
by = ["country"]
group_limit = 60
window = { hopping = "1h", slide = "1m" }
keep = "2h"

[[funnel]]
name = "support"
title = "From the question to the answer"
steps = ["asked", { type = ["answered", "called"] }]
within = "1d"

[[metric]]
name = "slow"
where = { type = "checkout", outcome = "reached", step = "paid" }
aggregate = "max"
field = "duration_s"
group_by = ["country"]
window = { tumbling = "1h" }

[[rule]]
name = "leaving"
metric = "checkout_left"
samples_min = 5
"#;

#[test]
fn a_funnel_is_a_pattern_and_its_metrics() {
    let config = Config::parse("t.toml", FUNNELS).unwrap();
    let [checkout, support] = &config.funnels[..] else { panic!("two funnels") };
    assert_eq!(config.patterns, [checkout.pattern.clone(), support.pattern.clone()]);
    let Seeks::Funnel(ways) = &support.pattern.seeks else { panic!("a funnel") };
    assert_eq!(
        (ways.names.join(", "), ways.within),
        ("asked, answered or called".into(), 86_400_000)
    );
    let metrics: Vec<&str> = config.metrics.iter().map(|metric| metric.name.as_str()).collect();
    let of = |name: &str, by: &str| {
        ["reached", "left", "step_s"].map(|what| format!("{name}_{what}{by}"))
    };
    let all = [of("checkout", ""), of("checkout", "_by"), of("support", "")].concat();
    assert_eq!(metrics[0], "slow");
    assert_eq!(metrics[1..], all);
    let by = config.metrics.iter().find(|metric| metric.name == "checkout_step_s_by").unwrap();
    assert_eq!((by.group_by.join(" "), by.group_limit), ("step country".into(), 60));
    assert_eq!((by.keep, by.field.as_deref(), by.unit.as_str()), (7_200_000, Some("step_s"), "s"));
    let again = Config::parse("print.toml", &config.print()).unwrap();
    assert_eq!(again, config);
    assert_eq!(again.fingerprint(), config.fingerprint());
    // Another window counts something else.
    let other = Config::parse("t.toml", &FUNNELS.replace("1m\"", "2m\"")).unwrap();
    assert!(config.changes(&other).taken.iter().any(|change| change.key == "funnel checkout"));
    assert!(other.fingerprint() != config.fingerprint());
}

const KINDS: &str = r#"
[[sessions]]
name = "support"
where = "channel == 'chat' && type != 'typing'"
gap = "15m"
max_length = "4h"
entry = "chat_opened"
goal = ["chat_solved", { type = "chat_rated", stars = { ge = 4 } }]
remove = "chat_withdrawn"
steps = ["chat_opened", "chat_answered", "chat_solved"]
names = ["asked", "answered", "solved"]
value = "worth"
attributes = { topic = "first.topic", agent = "last.agent" }
counts = { answers = "chat_answered", long = "length > 500" }
cohort = "week"
alert = "warning"

[[sessions]]
name = "device"

[[metric]]
name = "answers"
where = { type = "support", outcome = "converted", step = ["solved", "answered"] }
aggregate = "avg"
field = "answers"
group_by = ["agent", "cut", "cohort"]
window = { tumbling = "1h" }
"#;

#[test]
fn a_kind_of_sessions_is_read_as_it_was_written_and_printed_again() {
    let config = Config::parse("t.toml", KINDS).unwrap();
    let [support, device] = &config.patterns[..] else { panic!("two kinds") };
    let (Seeks::Sessions(chat), Seeks::Sessions(any)) = (&support.seeks, &device.seeks) else {
        panic!("sessions");
    };
    assert_eq!((chat.gap, chat.max_length), (900_000, Some(14_400_000)));
    assert_eq!((chat.entry.len(), chat.goal.len(), chat.remove.len()), (1, 2, 1));
    assert_eq!((chat.names.join(" "), chat.steps.len()), ("asked answered solved".into(), 3));
    assert_eq!(
        support.declares().collect::<Vec<_>>(),
        ["agent", "topic", "answers", "long", "cohort", "is_first"]
    );
    assert_eq!((any.gap, any.entry.len(), &device.alert), (1_800_000, 0, &None));
    let again = Config::parse("print.toml", &config.print()).unwrap();
    assert_eq!(again, config);
    assert_eq!(again.fingerprint(), config.fingerprint());
    let schema = config.schema(0);
    for name in ["channel", "worth", "stars", "topic", "agent", "length", "answers", "cut"] {
        assert!(schema.slots.iter().any(|known| known == name), "{name}");
    }
    let other = Config::parse("t.toml", &KINDS.replace("15m", "20m")).unwrap();
    assert!(config.changes(&other).taken.iter().any(|change| change.key == "sessions support"));
}

#[test]
fn a_key_of_its_own_is_printed_again_and_is_another_meaning() {
    let with = |key: &str| {
        format!(
            "[[sessions]]\nname = \"s\"\n{key}\n[[pattern]]\nname = \"p\"\n{key}\nfirst = {{ type = \
             \"a\" }}\ntimes = 2\nwithin = \"1m\"\n[[join]]\nname = \"j\"\n{key}\nleft = {{ type = \
             \"a\" }}\nright = {{ type = \"b\" }}\nwithin = \"1m\"\n[[funnel]]\nname = \"f\"\n{key}\n\
             steps = [\"a\", \"b\"]\nwithin = \"1m\"\n"
        )
    };
    let plain = Config::parse("t.toml", &with("")).unwrap();
    // The session key by its name is the session key.
    let named = Config::parse("t.toml", &with("key = \"user\"")).unwrap();
    assert_eq!(named.patterns, plain.patterns);
    let own = Config::parse("t.toml", &with("key = \"device.id\"")).unwrap();
    assert!(own.patterns.iter().all(|one| one.key.as_deref() == Some("device.id")));
    assert_eq!(Config::parse("print.toml", &own.print()).unwrap(), own);
    let schema = own.schema(0);
    assert!(schema.slots.iter().any(|slot| slot == "device.id"));
    let time = TimePolicy::default();
    let compiled = |config: &Config| {
        Patterns::compile(&config.patterns, &time, 10, &config.schema(0)).meanings()
    };
    let (before, after) = (compiled(&plain), compiled(&own));
    assert!(before.iter().all(|meaning| !after.contains(meaning)));
    assert!(plain.changes(&own).taken.iter().any(|change| change.key == "sessions s"));
}
