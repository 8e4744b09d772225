//! What another configuration changes: by key, by metric and by rule; whether a running process
//! can take it; and how much the numbers of the metrics can come to hold.

use std::collections::{BTreeMap, BTreeSet};

use super::channels;
use super::nudges;
use super::print::{by_section, funnel_keys, metric_keys, pattern_keys, rule_keys};
use super::routes::{route_keys, work_keys};
use super::values;
use super::whole::Config;
use crate::actors::reload::KeyChange;
use crate::domain::metric::MetricSpec;
use crate::domain::settings::{Key, Value, entries};

/// Sections that say what is counted and how: a running process takes them from a commit on.
/// What is in no other place holds from its start to its end.
const TAKEN: [&str; 7] = ["", "events", "time", "session", "incidents", "pipeline", "dry_run"];

/// Keys in them that it cannot take.
const NOT_TAKEN: [&str; 4] =
    ["data_dir", "config_watch", "pipeline.session_mailboxes_max", "pipeline.stop_timeout"];

/// Bytes of a final number that is one number, with its share of its window.
const NUMBER_BYTES: u64 = 48;

/// What another configuration changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// What a running process takes.
    pub taken: Vec<KeyChange>,
    /// What it cannot take.
    pub needs_restart: Vec<KeyChange>,
}

impl Config {
    /// What `next` changes.
    pub fn changes(&self, next: &Config) -> Changes {
        let (was, is) = (settings(self), settings(next));
        let mut changes = Changes::default();
        let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        for key in keys {
            let (was, is) = (was.get(key), is.get(key));
            if was.map(|held| &held.value) == is.map(|held| &held.value) {
                continue;
            }
            let taken = was.or(is).is_some_and(|held| held.taken);
            let shown = |held: Option<&Held>| held.map(|held| held.shown.clone());
            let change = KeyChange { key: key.clone(), was: shown(was), is: shown(is) };
            if taken { &mut changes.taken } else { &mut changes.needs_restart }.push(change);
        }
        changes
    }

    /// Most bytes that the open windows and the history of all metrics can come to hold.
    pub fn metric_bytes_max(&self) -> u64 {
        self.metrics.iter().map(bytes_max).sum()
    }
}

fn bytes_max(spec: &MetricSpec) -> u64 {
    let count = |number: i64| number.max(0).unsigned_abs();
    let groups = if spec.group_by.is_empty() { 1 } else { spec.group_limit as u64 + 1 };
    let open = count(spec.window.panes_max()) * (NUMBER_BYTES + spec.bytes_max() as u64);
    let scalar = spec.aggregate.shape().is_scalar();
    let number = if scalar { 0 } else { spec.aggregate.bytes_max() as u64 };
    let history = count(spec.keep / spec.window.apart()) * (NUMBER_BYTES + number);
    groups.saturating_mul(open.saturating_add(history))
}

/// A key with its value.
struct Held {
    /// A running process takes another one.
    taken: bool,
    /// What is compared: a secret is never shown.
    value: String,
    shown: String,
}

/// Everything that can be set, by key.
fn settings(config: &Config) -> BTreeMap<String, Held> {
    let mut all = BTreeMap::new();
    let held = |taken, key: &Key, value: Value| Held {
        taken,
        shown: values::show(&key.rule, &value),
        value: format!("{value:?}"),
    };
    for (section, keys) in by_section(config) {
        for (key, value) in keys {
            let taken = TAKEN.contains(&section) && !NOT_TAKEN.contains(&key.path);
            all.insert(key.path.to_owned(), held(taken, key, value));
        }
    }
    for (number, source) in config.nats.sources.iter().enumerate() {
        for (key, value) in entries(&source.keys()) {
            let path = format!("nats.source[{number}].{}", key.name());
            all.insert(path, held(false, key, value));
        }
    }
    let lines = |keys: Vec<(&'static str, String)>| {
        let keys: Vec<String> =
            keys.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let shown = keys.join(", ");
        Held { taken: true, value: shown.clone(), shown }
    };
    for funnel in &config.funnels {
        let keys = lines(funnel_keys(funnel));
        all.insert(format!("funnel {}", funnel.pattern.name), keys);
    }
    for lookup in &config.lookups {
        let keys = lines(lookup.keys_and_content());
        let keys = Held { value: format!("{} {}", keys.value, lookup.of()), ..keys };
        all.insert(format!("lookup {}", lookup.name), keys);
    }
    for pattern in config.own_patterns() {
        let table = pattern.seeks.table();
        all.insert(format!("{table} {}", pattern.name), lines(pattern_keys(pattern)));
    }
    for metric in config.own_metrics() {
        all.insert(format!("metric {}", metric.name), lines(metric_keys(metric)));
    }
    for rule in &config.rules {
        all.insert(format!("rule {}", rule.name), lines(rule_keys(rule)));
    }
    for route in &config.routes {
        all.insert(format!("route {}", route.name), lines(route_keys(route)));
    }
    for nudge in &config.nudges {
        let keys = lines(nudges::keys(nudge));
        all.insert(format!("nudge {}", nudge.name), Held { taken: false, ..keys });
    }
    for work in &config.maintenance {
        all.insert(format!("maintenance {}", work.name), lines(work_keys(work)));
    }
    for channel in &config.channels {
        let keys = Held { value: channels::compared(channel), ..lines(channels::keys(channel)) };
        all.insert(format!("channel {}", channels::name(channel)), Held { taken: false, ..keys });
    }
    all
}
