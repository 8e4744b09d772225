//! Each mistake is named with its place, key, value and rule; what is printed reads back as the
//! same configuration.

use std::path::{Path, PathBuf};

use super::load::read;
use super::*;
use crate::domain::metric::aggregate::Distinct;
use crate::domain::metric::{CalendarSpan, Weekday, WindowSpec};
use crate::domain::number::Decimal;
use proptest::prelude::*;

mod bad;
mod expressions;
mod metrics;
mod nats;
mod patterns;
mod routes;
mod tables;

/// The message for a file with this text, or "" when it is accepted.
fn complaint(text: &str) -> String {
    Config::parse("t.toml", text).map_or_else(|error| error.to_string(), |_| String::new())
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, message) in cases {
        assert_eq!(complaint(text), *message, "\nfor:\n{text}");
    }
}

#[test]
fn the_schema_has_what_the_configuration_names() {
    let schema = Config::default().schema(7);
    assert_eq!(schema.keys, ["user"]);
    assert_eq!(schema.aliases, [("code".to_string(), "status".to_string())]);
    assert_eq!(schema.slots, ["amount", "region", "status", "type"]);
    assert_eq!(
        schema.event_types,
        [
            "page_view",
            "cart_add",
            "payment_initiated",
            "payment_completed",
            "cart_remove",
            "payment_failed"
        ]
    );
    assert_eq!(schema.seed, 7);
}

#[test]
fn the_environment_stands_over_the_file_and_flags_over_both() {
    let env = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect::<Vec<_>>()
    };
    let text = "[session]\ngap = \"20m\"\n[web]\nlisten = \"127.0.0.1:1\"";
    let vars = env(&[
        ("TIDEWATCH_SESSION__GAP", "10m"),
        ("TIDEWATCH_SESSION__ENTRY", "basket, wishlist"),
        ("TIDEWATCH_EVENTS__ALIASES", "code=status,uid=user"),
        ("TIDEWATCH_PIPELINE__SHARDS", "3"),
        ("TIDEWATCH_WEB__LISTEN", "127.0.0.1:2"),
        ("TIDEWATCH_DATA_DIR", "elsewhere"),
        ("TIDEWATCH_PORT", "tcp://10.0.0.1:7077"),
        // What container platforms add, and what the command line reads itself.
        ("TIDEWATCH_PORT_7077_TCP_ADDR", "10.0.0.1"),
        ("TIDEWATCH_SERVICE_HOST", "10.0.0.1"),
        ("TIDEWATCH_WEB_SERVICE_PORT_HTTP", "7077"),
        ("TIDEWATCH_LOG", "info"),
        ("PATH", "/bin"),
    ]);
    let listen = |value: &str| Flag {
        key: "web.listen".into(),
        name: "--listen".into(),
        value: value.into(),
    };
    let flags = [listen("127.0.0.1:3")];
    let config = read("t.toml", text, vars, &flags).unwrap();
    assert_eq!(config.session.gap, 600_000);
    assert_eq!(config.session.entry, ["basket", "wishlist"]);
    assert_eq!(config.events.aliases.len(), 2);
    assert_eq!(config.pipeline.shards, 3);
    assert_eq!(config.web.listen.port(), 3);
    assert_eq!(config.general.data_dir, PathBuf::from("elsewhere"));
    let open = "[web]\nlisten = \"0.0.0.0:80\"\ninsecure_no_auth = true";
    assert_eq!(complaint(open), "");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Some(Path::new("no/such.toml")), [], &[]).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("cannot read the configuration no/such.toml: "), "{message}");
}

#[test]
fn what_is_printed_reads_back() {
    let odd = "data_dir = 'a \"b\" \\\\ c'\nzone = \"Europe/Berlin\"\nmetric = []\n\
               [events]\naliases = {}\n[session]\nvalue = \"\"\ndeadline = \"since_entry\"";
    let rich = "[[metric]]\nname = \"m\"\naggregate = \"sum\"\nfield = \"x.y\"\n\
                where = { \"a b\" = { ge = 0.5, lt = 3 }, c = [-1.25, 2], d = true, \
                e = { exists = false }, f = [\"x\", \"y\"], type = \"t\" }\n\
                group_by = [\"f\"]\nwindow = { since_midnight = \"Asia/Tokyo\", slide = \"500ms\" }\n\
                [[rule]]\nname = \"r\"\nmetric = \"n\"\nk = 2.5\nside = \"below\"\n\
                [[metric]]\nname = \"n\"\naggregate = \"distinct\"\nwindow = { tumbling = \"1s\" }";
    for text in ["", odd, rich] {
        let config = Config::parse("t.toml", text).unwrap();
        let printed = config.print();
        let again =
            Config::parse("printed", &printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
        assert_eq!(again, config, "\n{printed}");
        assert_eq!(again.fingerprint(), config.fingerprint());
    }
}

#[test]
fn the_fingerprint_follows_what_changes_results() {
    let default = Config::default().fingerprint();
    let of = |text: &str| Config::parse("t.toml", text).unwrap().fingerprint();
    for same in
        ["[web]\nworkers = 4", "[pipeline]\nshards = 7", "data_dir = \"x\"", "[demo]\nseed = 9"]
    {
        assert_eq!(of(same), default, "{same}");
    }
    for other in [
        "[session]\ngap = \"29m\"",
        "[time]\nallowed_lateness = \"31s\"",
        "[events]\nkey = \"uid\"",
        "zone = \"Europe/Berlin\"",
        "metric = []",
    ] {
        assert_ne!(of(other), default, "{other}");
    }
    let retitled = SHIPPED.replace("Failed payments spike", "Payments fail");
    assert_eq!(of(&retitled), default);
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[\\[\\]a-z_.=\"{}, \n0-9#]{0,80}") {
        let _ = Config::parse("t.toml", &text);
    }
}

#[test]
fn what_events_look_like_is_checked_and_reaches_the_schema() {
    let config = Config::parse(
        "t.toml",
        "[events]\nkey = [\"ip\", \"agent\"]\ntime_format = \"%d.%m.%Y %H:%M\"\n\
         time_zone = \"Europe/Berlin\"\ntime_missing = \"arrival\"\n\
         numbers = { amount = \"1.234,56\" }\naliases = { \"properties.price\" = \"amount\" }\n",
    )
    .unwrap();
    let schema = config.schema(0);
    assert_eq!(schema.keys, ["ip", "agent"]);
    assert!(schema.arrival_is_time);
    assert_eq!(schema.time.of_text("24.12.2023 18:00").unwrap().at, 1_703_437_200_000);
    assert_eq!(schema.number_format("amount").example(), "1.234,56");
    assert_eq!(schema.number_format("other").example(), "");
    assert_eq!(Config::parse("printed", &config.print()).unwrap(), config);
    let env = [("TIDEWATCH_EVENTS__KEY".to_string(), "ip, agent".to_string())];
    let from_env = Config::load(None, env, &[]).unwrap();
    assert_eq!(from_env.events.keys, ["ip", "agent"]);
    for (text, part) in [
        ("key = []", "must name an attribute"),
        ("key = [\"a\", \"a\"]", "must not name \"a\" twice"),
        ("key = 5", "must be an attribute such as"),
        ("time_format = \"sec\"", "is not a time format"),
        ("time_format = \"%H\"", "must hold year, month and day"),
        ("time_zone = \"Berlin\"", "is not an IANA zone"),
        ("time_missing = \"now\"", "must be one of \"reject\", \"arrival\""),
        ("numbers = { amount = \"1,234\" }", "amount: \"1,234\" could be a thousand"),
        ("numbers = { code = \"1,5\" }", "\"code\" is an alias of \"status\""),
    ] {
        let error = Config::parse("t.toml", &format!("[events]\n{text}")).unwrap_err().to_string();
        assert!(error.contains(part) && error.starts_with("t.toml:2:1: events."), "{error}");
    }
}

#[test]
fn the_same_configuration_with_other_keys_is_read_anew() {
    let set = |key: &str, value: &str| Flag {
        key: key.to_owned().into(),
        name: format!("--vary {key}={value}").into(),
        value: value.into(),
    };
    // What follows from a key follows from its other value; the environment still stands over the file.
    let text = "[session]\nvalue = \"net\"\n[[rule]]\nname = \"r\"\nmetric = \"failed_payments\"\n\
                detect = \"robust\"\n";
    let env = [("TIDEWATCH_SESSION__GAP".to_owned(), "20m".to_owned())];
    let config = read("t.toml", text, env, &[]).unwrap();
    let other = config.with(&[set("rule.r.k", "2"), set("time.allowed_lateness", "1m")]).unwrap();
    let robust = |k: f64| {
        use crate::domain::anomaly::Detector as _;
        let mut robust = crate::domain::anomaly::Robust { k, ..Default::default() };
        robust.fill(10_000);
        robust.into()
    };
    assert_eq!(config.rules[0].detect, robust(6.0));
    assert_eq!(other.rules[0].detect, robust(2.0));
    assert_eq!((other.session.gap, other.time.allowed_lateness), (1_200_000, 60_000));
    assert_eq!(config.with(&[]).unwrap(), config);
    assert!(!format!("{config:?}").contains("net\\n"), "a file may hold secrets");

    // The shipped ones can be set as well.
    let shipped =
        Config::default().with(&[set("rule.failed_payments_spike.side", "both")]).unwrap();
    assert_eq!(shipped.rules[0].patience.side, crate::domain::anomaly::Side::Both);
    assert_eq!(shipped.metrics, Config::default().metrics);
    let error = config.with(&[set("rule.r.k", "many")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--vary rule.r.k=many: rule.r.k = \"many\": must be a number, this is text"
    );
}
