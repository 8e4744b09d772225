//! The effective configuration as TOML, for `check --print`, and the part of it that
//! changes results, for the fingerprint.
//!
//! Every key that can be read is written here once; a test reads the print back.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::units::{show_calendar, show_size, show_span, show_span_in_hours};
use super::{Config, TimeMissing, WebConfig, nats};
use crate::actors::{Idle, SessionsFull, Settings};
use crate::domain::anomaly::{Side, SigmaRule};
use crate::domain::hash::fingerprint;
use crate::domain::keeper::Meanings;
use crate::domain::metric::{
    Aggregate, CalendarSpan, Condition, FactKind, MetricSpec, Test, WindowSpec,
};
use crate::domain::session::Deadline;
use crate::domain::time::SpanMs;

/// One key with its value as TOML.
pub(super) type Entry = (&'static str, String);

/// The whole configuration.
pub(super) fn whole(config: &Config) -> String {
    let mut out = String::new();
    let data_dir = text(&config.data_dir.display().to_string());
    section(
        &mut out,
        "",
        &[
            ("data_dir", data_dir),
            ("zone", text(&config.zone)),
            ("first_weekday", text(config.first_weekday.name())),
        ],
    );
    section(&mut out, "[events]", &events(config));
    section(&mut out, "[time]", &time(config));
    section(&mut out, "[session]", &session(config));
    section(&mut out, "[pipeline]", &pipeline(&config.pipeline));
    section(&mut out, "[store]", &store(config));
    section(&mut out, "[log]", &log(config));
    section(&mut out, "[web]", &web(&config.web));
    section(&mut out, "[demo]", &demo(config));
    for (header, keys) in nats::print(&config.nats) {
        section(&mut out, header, &keys);
    }
    if config.metrics.is_empty() {
        // Before the first section would be its only place as a plain key.
        out.insert_str(0, "metric = []\n");
    }
    for metric in &config.metrics {
        let mut keys = metric_meaning(metric);
        keys.push(("title", text(&metric.title)));
        keys.push(("unit", text(&metric.unit)));
        section(&mut out, "[[metric]]", &keys);
    }
    for rule in &config.rules {
        let mut keys = rule_meaning(rule);
        keys.push(("title", text(&rule.title)));
        section(&mut out, "[[rule]]", &keys);
    }
    out
}

/// What changes results, in a fixed order.
pub(super) fn meaning(config: &Config) -> String {
    let mut out = String::new();
    section(&mut out, "[events]", &events(config));
    section(&mut out, "[time]", &time(config));
    section(&mut out, "[session]", &session(config));
    for metric in &config.metrics {
        section(&mut out, "[[metric]]", &metric_meaning(metric));
    }
    for rule in &config.rules {
        section(&mut out, "[[rule]]", &rule_meaning(rule));
    }
    out
}

fn section(out: &mut String, header: &str, keys: &[Entry]) {
    if !header.is_empty() {
        let _ = write!(out, "\n{header}\n");
    }
    for (key, value) in keys {
        let _ = writeln!(out, "{key} = {value}");
    }
}

fn events(config: &Config) -> Vec<Entry> {
    let limits = &config.events.limits;
    let pairs = |pairs: &[(String, String)]| {
        let pair = |(from, to): &(String, String)| format!("{} = {}", text(from), text(to));
        table(&pairs.iter().map(pair).collect::<Vec<_>>())
    };
    let key = match config.events.keys.as_slice() {
        [key] => text(key),
        keys => texts(keys),
    };
    let missing = match config.events.time_missing {
        TimeMissing::Reject => "reject",
        TimeMissing::Arrival => "arrival",
    };
    vec![
        ("key", key),
        ("aliases", pairs(&config.events.aliases)),
        ("time_format", text(&config.events.time_format)),
        ("time_zone", text(&config.events.time_zone)),
        ("time_missing", text(missing)),
        ("numbers", pairs(&config.events.numbers)),
        ("event_bytes", size(limits.event_bytes)),
        ("depth", limits.depth.to_string()),
        ("key_bytes", size(limits.key_bytes)),
        ("text_bytes", size(limits.text_bytes)),
        ("attributes", limits.attributes.to_string()),
        ("item_events_max", limits.item_events.to_string()),
    ]
}

fn time(config: &Config) -> Vec<Entry> {
    let idle = match config.pipeline.idle {
        Idle::Follow => "follow",
        Idle::Hold => "hold",
    };
    vec![
        ("out_of_orderness", span(config.time.out_of_orderness)),
        ("allowed_lateness", span(config.time.allowed_lateness)),
        ("max_future", span(config.time.max_future)),
        ("idle", text(idle)),
    ]
}

fn session(config: &Config) -> Vec<Entry> {
    let policy = &config.session;
    let deadline = match policy.deadline {
        Deadline::Inactivity => "inactivity",
        Deadline::SinceEntry => "since_entry",
    };
    vec![
        ("gap", span(policy.gap)),
        ("deadline", text(deadline)),
        ("entry", texts(&policy.entry)),
        ("goal", texts(&policy.goal)),
        ("remove", texts(&policy.remove)),
        ("max_length", span(policy.max_length.unwrap_or(0))),
        ("marks_max", policy.marks_max.to_string()),
        ("identify", text(policy.identify.as_deref().unwrap_or(""))),
        ("identify_keep", span(policy.identify_keep)),
        ("aliases_max", policy.aliases_max.to_string()),
        ("aliases_bytes_max", size(policy.aliases_bytes_max)),
        ("key_bytes_max", size(policy.key_bytes_max)),
        ("steps", texts(&policy.steps)),
        ("value", text(policy.value.as_deref().unwrap_or(""))),
        ("segment", text(policy.segment.as_deref().unwrap_or(""))),
        ("currency", text(&policy.currency)),
    ]
}

/// Most bytes of a setting that is noted in every commit; of a longer one the beginning and a
/// fingerprint are.
const SETTING_BYTES_MAX: usize = 200;

/// The settings that decide what a session is and how it ends, by key.
pub(super) fn sessions_meaning(config: &Config) -> BTreeMap<String, String> {
    let bounds = ["marks_max", "key_bytes_max", "aliases_max", "aliases_bytes_max"];
    let mut settings: BTreeMap<String, String> = session(config)
        .into_iter()
        .filter(|(key, _)| !bounds.contains(key))
        .map(|(key, value)| (format!("session.{key}"), value))
        .collect();
    // Names whose order says nothing.
    let policy = &config.session;
    for (key, names) in
        [("entry", &policy.entry), ("goal", &policy.goal), ("remove", &policy.remove)]
    {
        let mut names = names.clone();
        names.sort_unstable();
        settings.insert(format!("session.{key}"), texts(&names));
    }
    let key = events(config).into_iter().find(|(key, _)| *key == "key");
    settings.extend(key.map(|(key, value)| (format!("events.{key}"), value)));
    bound(&mut settings);
    settings
}

fn bound(settings: &mut BTreeMap<String, String>) {
    for value in settings.values_mut().filter(|value| value.len() > SETTING_BYTES_MAX) {
        let hash = fingerprint(value.as_bytes());
        value.truncate(value.floor_char_boundary(SETTING_BYTES_MAX));
        value.push_str(&format!(" ... ({hash:016x})"));
    }
}

/// Keys of metrics and rules that do not decide their numbers.
const NO_MEANING: [&str; 4] = ["name", "group_limit", "keep", "severity"];

/// The keys of each metric and rule that decide its numbers.
pub(super) fn meanings(config: &Config) -> Meanings {
    let metrics = config.metrics.iter().map(|metric| {
        let mut plain = metric.clone();
        // Orders that say nothing.
        in_order(&mut plain.filter);
        in_order(&mut plain.numerator);
        let mut keys = metric_meaning(&plain);
        if let WindowSpec::Calendar { span: CalendarSpan::Days(2..), first_weekday, .. } =
            &metric.window
        {
            keys.push(("first_weekday", text(first_weekday.name())));
        }
        (format!("metric {}", metric.name), keys)
    });
    let rules = config.rules.iter().map(|rule| (format!("rule {}", rule.name), rule_meaning(rule)));
    let all = metrics.chain(rules).map(|(subject, keys)| {
        let decide = keys.into_iter().filter(|(key, _)| !NO_MEANING.contains(key));
        let mut keys = decide.map(|(key, value)| (key.to_owned(), value)).collect();
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

fn pipeline(settings: &Settings) -> Vec<Entry> {
    let full = match settings.sessions_full {
        SessionsFull::Refuse => "refuse",
        SessionsFull::Displace => "displace",
    };
    vec![
        ("shards", settings.shards.to_string()),
        ("batch_max", settings.batch_max.to_string()),
        ("credits", settings.credits.to_string()),
        ("commit_interval", span(settings.commit_interval)),
        ("commit_events", settings.commit_events.to_string()),
        ("commit_bytes", size(settings.commit_bytes)),
        ("tick", span(settings.tick)),
        ("dedup_horizon", settings.dedup_horizon.map_or_else(|| text("auto"), span)),
        ("dedup_ids_max", settings.dedup_ids_max.to_string()),
        ("sessions_max", settings.sessions_max.to_string()),
        ("session_bytes_max", size(settings.session_bytes_max)),
        ("sessions_full", text(full)),
        ("closed_sessions_max", settings.closed_sessions_max.to_string()),
        ("shard_queue", settings.shard_queue.to_string()),
        ("session_mailboxes_max", settings.session_mailboxes_max.to_string()),
        ("restarts_max", settings.restarts_max.to_string()),
        ("restart_window", span(settings.restart_window)),
        ("stop_timeout", span(settings.stop_timeout)),
    ]
}

fn store(config: &Config) -> Vec<Entry> {
    vec![
        ("snapshot_bytes_min", size(config.store.snapshot_bytes_min)),
        ("alerts_max", config.store.alerts_max.to_string()),
        ("alerts_bytes_max", size(config.store.alerts_bytes_max)),
        ("late_max", config.store.late_max.to_string()),
        ("late_bytes_max", size(config.store.late_bytes_max)),
        ("dead_letters_max", config.store.dead_letters_max.to_string()),
        ("dead_letters_bytes_max", size(config.store.dead_letters_bytes_max)),
        ("rollups_keep", span(config.store.rollups_keep)),
    ]
}

fn log(config: &Config) -> Vec<Entry> {
    vec![
        ("backlog_max", config.log.backlog_max.to_string()),
        ("keep_events", config.log.keep_events.to_string()),
        ("keep_bytes", size(config.log.keep_bytes)),
        ("queue_bytes_max", size(config.log.queue_bytes_max)),
        ("recent_bytes_max", size(config.log.recent_bytes_max)),
        ("group_bytes_max", size(config.log.group_bytes_max)),
    ]
}

fn web(web: &WebConfig) -> Vec<Entry> {
    vec![
        ("listen", text(&web.listen.to_string())),
        ("insecure_no_auth", web.insecure_no_auth.to_string()),
        ("hosts", texts(&web.hosts)),
        ("origins", texts(&web.origins)),
        ("body_bytes_max", size(web.body_bytes_max)),
        ("inflated_bytes_max", size(web.inflated_bytes_max)),
        ("connections_max", web.connections_max.to_string()),
        ("workers", web.workers.to_string()),
        ("intake_bytes_max", size(web.intake_bytes_max)),
        ("events_max", web.events_max.to_string()),
        ("answers_bytes_max", size(web.answers_bytes_max)),
        ("metrics_series_max", web.metrics_series_max.to_string()),
        ("body_timeout", span(web.body_timeout)),
        ("drain_timeout", span(web.drain_timeout)),
    ]
}

fn demo(config: &Config) -> Vec<Entry> {
    vec![
        ("users", config.demo.users.to_string()),
        ("rate", config.demo.rate.to_string()),
        ("seed", config.demo.seed.to_string()),
    ]
}

/// A metric without its title and unit, and without keys that do not apply to it.
fn metric_meaning(metric: &MetricSpec) -> Vec<Entry> {
    let of = match metric.of {
        FactKind::Events => "events",
        FactKind::Sessions => "sessions",
        FactKind::LiveSessions => "live_sessions",
    };
    let aggregate = match metric.aggregate {
        Aggregate::Count => "count",
        Aggregate::Sum => "sum",
        Aggregate::Avg => "avg",
        Aggregate::Stddev => "stddev",
        Aggregate::Min => "min",
        Aggregate::Max => "max",
        Aggregate::Rate => "rate",
        Aggregate::Distinct { .. } => "distinct",
        Aggregate::Ratio => "ratio",
    };
    let mut keys =
        vec![("name", text(&metric.name)), ("of", text(of)), ("aggregate", text(aggregate))];
    if let Aggregate::Distinct { exact_up_to } = metric.aggregate {
        keys.push(("exact_up_to", exact_up_to.to_string()));
    }
    if let Some(field) = &metric.field {
        keys.push(("field", text(field)));
    }
    if !metric.filter.is_empty() {
        keys.push(("where", conditions(&metric.filter)));
    }
    if !metric.numerator.is_empty() {
        keys.push(("numerator", conditions(&metric.numerator)));
    }
    if !metric.group_by.is_empty() {
        keys.push(("group_by", texts(&metric.group_by)));
        keys.push(("group_limit", metric.group_limit.to_string()));
    }
    if metric.of != FactKind::LiveSessions {
        keys.push(("window", window(&metric.window)));
    }
    keys.push(("keep", span(metric.keep)));
    keys
}

fn rule_meaning(rule: &SigmaRule) -> Vec<Entry> {
    let side = match rule.side {
        Side::Above => "above",
        Side::Below => "below",
    };
    let mut keys = vec![
        ("name", text(&rule.name)),
        ("metric", text(&rule.metric)),
        ("k", rule.k.to_string()),
        ("k_clear", rule.k_clear.to_string()),
        ("over", span(rule.over)),
        ("samples_min", rule.samples_min.to_string()),
        ("value_min", rule.value_min.to_string()),
        ("for", span(rule.hold)),
        ("cooldown", span(rule.cooldown)),
        ("side", text(side)),
        ("severity", text(&rule.severity)),
    ];
    keys.extend(rule.sigma_min.map(|least| ("sigma_min", least.to_string())));
    keys
}

fn window(window: &WindowSpec) -> String {
    match window {
        WindowSpec::Tumbling { size } => format!("{{ tumbling = {} }}", hours(*size)),
        WindowSpec::Hopping { size, slide } => {
            format!("{{ hopping = {}, slide = {} }}", hours(*size), hours(*slide))
        }
        WindowSpec::Calendar { span, panes, zone, .. } => {
            let size = text(&show_calendar(*span, *panes));
            let zone = text(zone);
            match panes {
                1 => format!("{{ tumbling = {size}, zone = {zone} }}"),
                _ => {
                    let slide = text(&show_calendar(*span, 1));
                    format!("{{ hopping = {size}, slide = {slide}, zone = {zone} }}")
                }
            }
        }
        WindowSpec::SinceMidnight { zone, slide } => {
            format!("{{ since_midnight = {}, slide = {} }}", text(zone), span(*slide))
        }
    }
}

/// Conditions on one attribute stand next to each other, as the reader leaves them.
fn conditions(conditions: &[Condition]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for group in conditions.chunk_by(|a, b| a.attribute == b.attribute) {
        let attribute = text(&group[0].attribute);
        let tests: Vec<String> = group.iter().map(|condition| test(&condition.test)).collect();
        match group[0].test {
            Test::TextIn(_) | Test::NumberIn(_) | Test::Is(_) => {
                parts.push(format!("{attribute} = {}", tests[0]));
            }
            _ => parts.push(format!("{attribute} = {}", table(&tests))),
        }
    }
    table(&parts)
}

fn test(test: &Test) -> String {
    match test {
        Test::TextIn(words) if words.len() == 1 => text(&words[0]),
        Test::TextIn(words) => texts(words),
        Test::NumberIn(numbers) if numbers.len() == 1 => toml_number(numbers[0]),
        Test::NumberIn(numbers) => {
            let numbers: Vec<String> = numbers.iter().map(|number| toml_number(*number)).collect();
            format!("[{}]", numbers.join(", "))
        }
        Test::Is(truth) => truth.to_string(),
        Test::Ge(number) => format!("ge = {}", toml_number(*number)),
        Test::Gt(number) => format!("gt = {}", toml_number(*number)),
        Test::Le(number) => format!("le = {}", toml_number(*number)),
        Test::Lt(number) => format!("lt = {}", toml_number(*number)),
        Test::Exists(truth) => format!("exists = {truth}"),
    }
}

/// As TOML has it: an integer past 64 bits is a float there.
fn toml_number(number: crate::domain::number::Decimal) -> String {
    let text = number.to_string();
    match text.parse::<i64>().is_err() && !text.contains(['.', 'e']) {
        true => format!("{text}.0"),
        false => text,
    }
}

pub(super) fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

pub(super) fn texts(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|word| text(word)).collect();
    format!("[{}]", quoted.join(", "))
}

fn table(parts: &[String]) -> String {
    match parts {
        [] => "{}".into(),
        parts => format!("{{ {} }}", parts.join(", ")),
    }
}

fn hours(span: SpanMs) -> String {
    text(&show_span_in_hours(span))
}

pub(super) fn span(span: SpanMs) -> String {
    text(&show_span(span))
}

pub(super) fn size(bytes: usize) -> String {
    text(&show_size(bytes as u64))
}
