//! What follows from the tables of keys, for every key: the shipped file, defaults, bounds, names
//! in the environment.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::super::load::{flatten, key_of_variable};
use super::super::reader::Reader;
use super::super::*;
use super::complaint;
use crate::domain::anomaly::Detect;
use crate::domain::metric::Aggregate;
use crate::domain::settings::{self, Rule, Section, Value};
use crate::lookup::Kind;
use crate::nats::settings::SourceKeys;

/// The shipped file with every commented-out key taken in.
fn uncommented() -> String {
    let is_key = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    let lines = SHIPPED.lines().map(|line| if is_key(line) { &line[1..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Set it to have `config/tidewatch.toml` written anew from the tables of keys.
pub(super) const REFRESH: &str = "TIDEWATCH_TEST_REFRESH";

#[test]
fn the_shipped_file_is_what_the_tables_of_keys_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/tidewatch.toml");
    if std::env::var_os(REFRESH).is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    let differs =
        committed.lines().zip(reference().lines().map(String::from)).find(|(a, b)| a != b);
    assert!(
        committed == reference(),
        "config/tidewatch.toml is not what the tables of keys say: {differs:?}. Refresh it with \
         {REFRESH}=1 cargo nextest run --lib the_shipped_file_is_what"
    );
}

#[test]
fn the_shipped_file_shows_every_key_at_its_default() {
    let default = Config::default();
    assert_eq!(Config::parse("shipped", SHIPPED).unwrap(), default);
    let text = uncommented();
    assert_eq!(Config::parse("uncommented", &text).unwrap(), default);

    let written = flatten(document::parse("uncommented", &text).unwrap());
    let mut reader = Reader::new(String::new(), String::new(), BTreeMap::new());
    sections::read(&mut reader, &[]);
    // There are shipped metrics and rules, and nothing else of what has a name.
    let named = [
        "pattern",
        "join",
        "sessions",
        "funnel",
        "lookup",
        "channel",
        "route",
        "nudge",
        "maintenance",
    ];
    reader.known.retain(|key| !named.contains(key));
    for key in &reader.known {
        assert!(written.contains_key(*key), "{key} is not in config/tidewatch.toml");
    }
    let known = reader.known.len();
    assert_eq!(written.len(), known, "every key once");
}

/// All tables of keys, those of lists included.
fn tables(config: &Config) -> Vec<&dyn Section> {
    static SOURCE: LazyLock<SourceKeys> = LazyLock::new(SourceKeys::default);
    static METRIC: LazyLock<metric_keys::MetricKeys> =
        LazyLock::new(metric_keys::MetricKeys::default);
    static PATTERN: LazyLock<super::super::patterns::PatternKeys> =
        LazyLock::new(super::super::patterns::PatternKeys::default);
    static JOIN: LazyLock<super::super::joins::JoinKeys> =
        LazyLock::new(super::super::joins::JoinKeys::default);
    static FUNNEL: LazyLock<super::super::funnels::FunnelKeys> =
        LazyLock::new(super::super::funnels::FunnelKeys::default);
    static KIND: LazyLock<super::super::kinds::KindKeys> =
        LazyLock::new(super::super::kinds::KindKeys::default);
    static LOOKUP: LazyLock<super::super::lookups::LookupKeys> =
        LazyLock::new(super::super::lookups::LookupKeys::default);
    static PLACES: LazyLock<Vec<Box<dyn Kind>>> =
        LazyLock::new(|| super::super::lookups::kinds().into());
    static ROUTE: LazyLock<super::super::routes::RouteKeys> =
        LazyLock::new(super::super::routes::RouteKeys::default);
    static WORK: LazyLock<super::super::routes::MaintenanceKeys> =
        LazyLock::new(super::super::routes::MaintenanceKeys::default);
    static CHANNEL: LazyLock<tidewatch_notify::ChannelKeys> =
        LazyLock::new(tidewatch_notify::ChannelKeys::default);
    static CHANNELS: LazyLock<Vec<tidewatch_notify::Kind>> =
        LazyLock::new(tidewatch_notify::Kind::all);
    static RULE: LazyLock<rules::RuleKeys> = LazyLock::new(rules::RuleKeys::default);
    static AGGREGATES: LazyLock<Vec<Aggregate>> = LazyLock::new(Aggregate::all);
    static DETECTORS: LazyLock<Vec<Detect>> = LazyLock::new(Detect::all);
    let mut tables = sections::all(config).to_vec();
    tables.extend([
        &*SOURCE as &dyn Section,
        &*METRIC,
        &*PATTERN,
        &*JOIN,
        &*KIND,
        &*FUNNEL,
        &*LOOKUP,
        &*RULE,
        &*ROUTE,
        &*WORK,
        &*CHANNEL,
    ]);
    tables.extend(PLACES.iter().map(|place| place as &dyn Section));
    tables.extend(AGGREGATES.iter().map(|aggregate| aggregate as &dyn Section));
    tables.extend(CHANNELS.iter().map(|kind| kind as &dyn Section));
    tables.extend(DETECTORS.iter().map(|detector| detector as &dyn Section));
    tables
}

#[test]
fn every_default_keeps_its_own_rule_and_every_word_is_explained() {
    let config = Config::default();
    for section in tables(&config) {
        for (key, value) in settings::entries(section) {
            if let Rule::Word(words) = key.rule {
                for word in words() {
                    let quoted = format!("{word:?}");
                    let reason = reference::reason((key, &value));
                    assert!(reason.contains(&quoted), "{}: {quoted}", key.path);
                }
            }
            // "Needed" keys and those that others decide have none.
            let written = values::show(&key.rule, &value);
            let none = ["", "\"\""].contains(&written.as_str());
            if none || matches!(key.rule, Rule::Secret) {
                continue;
            }
            let table = document::parse("t", &format!("key = {written}")).unwrap();
            assert_eq!(values::read(&key.rule, &table["key"]), Ok(value), "{}", key.path);
        }
    }
}

#[test]
fn every_key_has_a_variable_of_its_own_and_a_near_miss() {
    let config = Config::default();
    for key in sections::all(&config).into_iter().flat_map(|section| section.keys()) {
        let variable = format!("{ENV_PREFIX}{}", key.path.to_uppercase().replace('.', "__"));
        assert_eq!(key_of_variable(&variable).as_deref(), Some(key.path));
        if key.section().is_empty() {
            continue;
        }
        let message = complaint(&format!("[{}]\n{}x = 1", key.section(), key.name()));
        assert!(message.ends_with(&format!("; did you mean {}?", key.path)), "{message}");
    }
}

#[test]
fn a_value_just_outside_the_bounds_of_any_key_is_refused_and_the_ends_are_not() {
    let read = |rule: &Rule, text: String| {
        let table = document::parse("t", &format!("key = {text}")).unwrap();
        values::read(rule, &table["key"])
    };
    let config = Config::default();
    let mut looked = 0;
    for section in tables(&config) {
        for (key, _) in settings::entries(section) {
            let quoted = |number: i64, unit: &str| format!("\"{number}{unit}\"");
            let (least, most, write): (i64, i64, &dyn Fn(i64) -> String) = match key.rule {
                Rule::Count(least, most) => (least, most, &|number| number.to_string()),
                Rule::Size(least, most) => (least, most, &|number| quoted(number, "B")),
                Rule::Span(least, most) | Rule::SpanOrAuto(least, most) => {
                    (least, most, &|number| quoted(number, "ms"))
                }
                _ => continue,
            };
            looked += 1;
            let path = key.path;
            assert_eq!(read(&key.rule, write(least)), Ok(Value::Int(least)), "{path}");
            assert_eq!(read(&key.rule, write(most)), Ok(Value::Int(most)), "{path}");
            assert!(read(&key.rule, write(least - 1)).is_err(), "{path}");
            if most < i64::MAX {
                let error = read(&key.rule, write(most + 1)).unwrap_err();
                assert!(error.contains("must be from "), "{path}: {error}");
            }
        }
    }
    assert!(looked > 50, "{looked}");
}
