//! What decides the numbers: the part of a configuration that its fingerprint is of, and what is noted of
//! sessions, metrics, rules and patterns, so that a start can say what is another.

use std::collections::BTreeMap;

use super::print::{
    Entry, Setting, by_section, lines, list, metric_meaning, pattern_meaning, rule_meaning,
    section, test,
};
use super::toml_text::text;
use super::values;
use super::whole::Config;
use crate::domain::event::{How, Schema};
use crate::domain::hash::fingerprint;
use crate::domain::keeper::Meanings;
use crate::domain::metric::{CalendarSpan, Condition, Facts, Test, WindowSpec};
use crate::domain::settings::{Key, Rule, Section, Value, Word as _, entries};

impl Config {
    /// The settings that decide what a session is and how it ends, as TOML by key.
    pub fn sessions_meaning(&self) -> BTreeMap<String, String> {
        sessions_meaning(self)
    }

    /// The keys that decide the numbers of each metric and rule, as TOML.
    pub fn meanings(&self) -> Meanings {
        meanings(self)
    }

    /// Stable hash of everything that changes results: what events mean, time, sessions,
    /// metrics and rules. Titles, units, bounds on memory and addresses are not part of it.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(meaning(self).as_bytes())
    }
}

/// Sections whose keys change results.
const MEANING: [&str; 3] = ["events", "time", "session"];

/// What changes results, in a fixed order.
fn meaning(config: &Config) -> String {
    let mut out = String::new();
    for (name, settings) in by_section(config) {
        if MEANING.contains(&name) {
            section(&mut out, &format!("[{name}]"), &lines(settings));
        }
    }
    for lookup in &config.lookups {
        section(&mut out, "[[lookup]]", &lookup.keys_and_content());
    }
    for pattern in &config.patterns {
        section(&mut out, &list(pattern), &pattern_meaning(pattern));
    }
    for metric in &config.metrics {
        section(&mut out, "[[metric]]", &metric_meaning(metric));
    }
    for rule in &config.rules {
        section(&mut out, "[[rule]]", &rule_meaning(rule));
    }
    out
}

/// Most bytes of a setting that is noted in every commit; of a longer one the beginning and a
/// fingerprint are.
const SETTING_BYTES_MAX: usize = 200;

/// The settings that decide what a session is and how it ends, by key. Bounds on what is held
/// are none of them.
fn sessions_meaning(config: &Config) -> BTreeMap<String, String> {
    let keys: [&dyn Section; 2] = [&config.session, &config.events];
    let decides =
        |key: &Key| (key.section() == "session" && !key.is_bound()) || key.path == "events.key";
    let settings = keys.into_iter().flat_map(entries).filter(|(key, _)| decides(key));
    let sorted = |(key, value): Setting| match (key.rule, value) {
        // Names whose order says nothing.
        (Rule::Texts { ordered: false, .. }, Value::Texts(mut names)) => {
            names.sort_unstable();
            (key, Value::Texts(names))
        }
        (_, value) => (key, value),
    };
    let mut settings: BTreeMap<String, String> = settings
        .map(sorted)
        .map(|(key, value)| (key.path.to_owned(), values::show(&key.rule, &value)))
        .collect();
    let names: Vec<&str> = [&config.session.value, &config.session.segment]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    settings.extend(computed(&config.schema(0), &names));
    bound(&mut settings);
    settings
}

/// The attributes among these names that are made of others, and those that they are made of, by
/// key.
fn computed(schema: &Schema, names: &[&str]) -> Vec<(String, String)> {
    let derived = schema.derived_among(names).into_iter();
    derived
        .map(|one| {
            let key = match &one.how {
                How::Expr(_) => format!("events.derived.{}", one.name),
                How::Looked(looked) => format!("lookup.{}.attributes.{}", looked.name, one.name),
            };
            (key, text(&one.how.to_string()))
        })
        .collect()
}

fn bound(settings: &mut BTreeMap<String, String>) {
    for value in settings.values_mut().filter(|value| value.len() > SETTING_BYTES_MAX) {
        let hash = fingerprint(value.as_bytes());
        value.truncate(value.floor_char_boundary(SETTING_BYTES_MAX));
        value.push_str(&format!(" ... ({hash:016x})"));
    }
}

/// Keys of metrics, rules and patterns that do not decide their numbers.
const NO_MEANING: [&str; 7] =
    ["name", "group_limit", "group_silence", "keep", "backfill", "severity", "alert"];

/// The keys of each metric, rule and pattern that decide its numbers.
fn meanings(config: &Config) -> Meanings {
    let schema = config.schema(0);
    let own = |keys: Vec<Entry>| keys.into_iter().map(|(key, value)| (key.to_owned(), value));
    let metrics = config.metrics.iter().map(|metric| {
        let mut plain = metric.clone();
        // Orders that say nothing.
        in_order(&mut plain.filter);
        in_order(&mut plain.numerator);
        let mut keys = metric_meaning(&plain);
        if let WindowSpec::Calendar { span: CalendarSpan::Days(2..), first_weekday, .. } =
            &metric.window
        {
            keys.push(("first_weekday", text(first_weekday.word())));
        }
        let attributes: Vec<&str> = match metric.of {
            Facts::Events => metric.attributes().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        let keys = own(keys).chain(computed(&schema, &attributes));
        (format!("metric {}", metric.name), keys.collect::<Vec<_>>())
    });
    let rules = config
        .rules
        .iter()
        .map(|rule| (format!("rule {}", rule.name), own(rule_meaning(rule)).collect()));
    let patterns = config.patterns.iter().map(|pattern| {
        let mut plain = pattern.clone();
        plain.seeks.conditions_mut().into_iter().for_each(|list| in_order(list));
        let attributes: Vec<&str> = pattern.of_events().into_iter().map(String::as_str).collect();
        let keys = own(pattern_meaning(&plain)).chain(computed(&schema, &attributes));
        (format!("{} {}", pattern.seeks.table(), pattern.name), keys.collect())
    });
    let all = metrics.chain(rules).chain(patterns).map(|(subject, keys)| {
        let decide = keys.into_iter().filter(|(key, _)| !NO_MEANING.contains(&key.as_str()));
        let mut keys = decide.collect();
        bound(&mut keys);
        (subject, keys)
    });
    all.collect()
}

fn in_order(conditions: &mut [Condition]) {
    for condition in conditions.iter_mut() {
        match &mut condition.test {
            Test::TextIn(texts) => texts.sort_unstable(),
            Test::NumberIn(numbers) => numbers.sort_by_cached_key(ToString::to_string),
            _ => {}
        }
    }
    conditions.sort_by_cached_key(|condition| (condition.attribute.clone(), test(&condition.test)));
}
