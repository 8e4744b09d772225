//! The effective configuration as TOML, for `check --print`.
//!
//! The keys of the sections come from their tables; those of metrics and rules are written
//! here, because only the ones that apply are. A test reads the print back.

use std::cmp::Ordering;
use std::fmt::Write;

use super::funnels::Funnel;
use super::toml_text::{hours, pairs as pairs_text, span, table, text, texts};
use super::units::show_calendar;
use super::whole::Config;
use super::{channels, nudges, routes, sections, values};
use crate::domain::anomaly::{self, Patience};
use crate::domain::metric::conditions::Expression;
use crate::domain::metric::{CalendarSpan, Condition, Facts, MetricSpec, Test, WindowSpec};
use crate::domain::pattern::{
    FunnelSpec, JoinSpec, PatternSpec, Seeks, SequenceSpec, SessionsSpec, Taken,
};
use crate::domain::settings::{Key, Value, Word as _, entries};

/// One key with its value as TOML.
pub(super) type Entry = (&'static str, String);

/// A key of a section with its value.
pub(super) type Setting = (&'static Key, Value);

impl Config {
    /// The effective configuration as TOML; reading it again gives the same configuration.
    pub fn print(&self) -> String {
        whole(self)
    }
}

/// The whole configuration.
pub(super) fn whole(config: &Config) -> String {
    let mut out = String::new();
    if config.own_metrics().next().is_none() {
        // Before the first section is its only place as a plain key.
        out.push_str("metric = []\n");
    }
    for (name, settings) in by_section(config) {
        // The header of a list has to stand before those of the sections within its section.
        if name == "nats.gateway" {
            for source in &config.nats.sources {
                section(&mut out, "[[nats.source]]", &lines(entries(&source.keys())));
            }
        }
        let header = if name.is_empty() { String::new() } else { format!("[{name}]") };
        section(&mut out, &header, &lines(settings));
    }
    for lookup in &config.lookups {
        section(&mut out, "[[lookup]]", &lookup.keys());
    }
    for pattern in config.own_patterns() {
        section(&mut out, &list(pattern), &pattern_keys(pattern));
    }
    for funnel in &config.funnels {
        section(&mut out, "[[funnel]]", &funnel_keys(funnel));
    }
    for metric in config.own_metrics() {
        section(&mut out, "[[metric]]", &metric_keys(metric));
    }
    for rule in &config.rules {
        section(&mut out, "[[rule]]", &rule_keys(rule));
    }
    for channel in &config.channels {
        section(&mut out, "[[channel]]", &channels::keys(channel));
    }
    for route in &config.routes {
        section(&mut out, "[[route]]", &routes::route_keys(route));
    }
    for nudge in &config.nudges {
        section(&mut out, "[[nudge]]", &nudges::keys(nudge));
    }
    for work in &config.maintenance {
        section(&mut out, "[[maintenance]]", &routes::work_keys(work));
    }
    out
}

/// The header of the list that it is of.
pub(super) fn list(pattern: &PatternSpec) -> String {
    format!("[[{}]]", pattern.seeks.table())
}

/// All keys of a pattern that apply to it.
pub(super) fn pattern_keys(pattern: &PatternSpec) -> Vec<Entry> {
    let mut keys = pattern_meaning(pattern);
    keys.push(("title", text(&pattern.title)));
    keys
}

/// All keys of a funnel that apply to it.
pub(super) fn funnel_keys(funnel: &Funnel) -> Vec<Entry> {
    let mut keys = pattern_keys(&PatternSpec { attributes: Vec::new(), ..funnel.pattern.clone() });
    keys.retain(|(key, _)| *key != "alert");
    keys.extend([
        ("by", texts(&funnel.by)),
        ("group_limit", funnel.group_limit.to_string()),
        ("window", window(&funnel.window)),
        ("keep", span(funnel.keep)),
    ]);
    keys
}

/// All keys of a metric that apply to it.
pub(super) fn metric_keys(metric: &MetricSpec) -> Vec<Entry> {
    let mut keys = metric_meaning(metric);
    keys.push(("title", text(&metric.title)));
    keys.push(("unit", text(&metric.unit)));
    keys
}

/// All keys of a rule that apply to it.
pub(super) fn rule_keys(rule: &anomaly::Rule) -> Vec<Entry> {
    let mut keys = rule_meaning(rule);
    keys.push(("title", text(&rule.title)));
    keys.push(("incident", text(if rule.one_incident { "rule" } else { "group" })));
    keys.extend((!rule.unless.is_empty()).then(|| ("unless", texts(&rule.unless))));
    keys.extend(rule.runbook.iter().map(|runbook| ("runbook", text(runbook))));
    keys
}

/// The keys of all sections, by section, in the order of the file. Two parts may have keys in
/// one section: `time.idle` is the pipeline's.
pub(super) fn by_section(config: &Config) -> Vec<(&'static str, Vec<Setting>)> {
    let mut found: Vec<(&'static str, Vec<Setting>)> = Vec::new();
    for (key, value) in sections::all(config).into_iter().flat_map(entries) {
        match found.iter_mut().find(|(name, _)| *name == key.section()) {
            Some((_, settings)) => settings.push((key, value)),
            None => found.push((key.section(), vec![(key, value)])),
        }
    }
    found
}

pub(super) fn lines(settings: impl IntoIterator<Item = Setting>) -> Vec<Entry> {
    let line = |(key, value): Setting| (key.name(), values::show(&key.rule, &value));
    settings.into_iter().map(line).collect()
}

pub(super) fn section(out: &mut String, header: &str, keys: &[Entry]) {
    if !header.is_empty() {
        let _ = write!(out, "\n{header}\n");
    }
    for (key, value) in keys {
        let _ = writeln!(out, "{key} = {value}");
    }
}

/// A metric without its title and unit, and without keys that do not apply to it.
pub(super) fn metric_meaning(metric: &MetricSpec) -> Vec<Entry> {
    let mut keys = vec![("name", text(&metric.name))];
    if let Some(formula) = &metric.formula {
        keys.push(("formula", text(&formula.expr.to_string())));
        if !metric.group_by.is_empty() {
            keys.push(("group_limit", metric.group_limit.to_string()));
            keys.push(("group_silence", span(metric.group_silence)));
        }
        keys.push(("keep", span(metric.keep)));
        return keys;
    }
    keys.push(("of", text(metric.of.word())));
    keys.push(("aggregate", text(metric.aggregate.word())));
    keys.extend(lines(entries(&metric.aggregate)));
    if let Some(field) = &metric.field {
        keys.push(("field", text(field)));
    }
    for (key, written) in [("where", &metric.filter), ("numerator", &metric.numerator)] {
        if !written.is_empty() {
            keys.push((key, conditions(written)));
        }
    }
    if !metric.group_by.is_empty() {
        keys.push(("group_by", texts(&metric.group_by)));
        keys.push(("group_limit", metric.group_limit.to_string()));
        keys.push(("group_silence", span(metric.group_silence)));
    }
    if metric.of != Facts::LiveSessions {
        keys.push(("window", window(&metric.window)));
    }
    // Of what is no single number the newest is shown: it may not have it.
    if metric.aggregate.shape().is_scalar() {
        keys.push(("keep", span(metric.keep)));
    }
    if metric.backfill > 0 {
        keys.push(("backfill", span(metric.backfill)));
    }
    keys
}

pub(super) fn pattern_meaning(pattern: &PatternSpec) -> Vec<Entry> {
    let listed = |lists: &[Vec<Condition>]| {
        format!("[{}]", lists.iter().map(|one| conditions(one)).collect::<Vec<_>>().join(", "))
    };
    let several = |lists: &[Vec<Condition>]| match lists {
        [one] => conditions(one),
        lists => listed(lists),
    };
    let mut keys = vec![("name", text(&pattern.name))];
    keys.extend(pattern.key.as_ref().map(|key| ("key", text(key))));
    match &pattern.seeks {
        Seeks::Sequence(SequenceSpec { first, times, then, without, not_then, within }) => {
            keys.push(("first", conditions(first)));
            keys.extend((*times > 1).then(|| ("times", times.to_string())));
            let lists = [("then", then), ("without", without), ("not_then", not_then)];
            let lists = lists.into_iter().filter(|(_, lists)| !lists.is_empty());
            keys.extend(lists.map(|(key, lists)| (key, several(lists))));
            keys.push(("within", span(*within)));
        }
        Seeks::Join(JoinSpec { left, right, on, before, within, kind, pairs_max }) => {
            keys.extend([("left", conditions(left)), ("right", conditions(right))]);
            keys.extend((!on.is_empty()).then(|| ("on", texts(on))));
            keys.extend([("within", span(*within)), ("before", span(*before))]);
            keys.extend([("kind", text(kind.word())), ("pairs_max", pairs_max.to_string())]);
        }
        Seeks::Sessions(sessions) => {
            let SessionsSpec { events, entry, goal, remove, names, steps, .. } = sessions;
            let SessionsSpec { counts, identify, value, gap, max_length, cohort, .. } = sessions;
            keys.extend((!events.is_empty()).then(|| ("where", conditions(events))));
            keys.extend(identify.as_ref().map(|name| ("identify", text(name))));
            keys.push(("gap", span(*gap)));
            keys.push(("max_length", span(max_length.unwrap_or(0))));
            let lists = [("entry", entry), ("goal", goal), ("remove", remove), ("steps", steps)];
            let lists = lists.into_iter().filter(|(_, lists)| !lists.is_empty());
            keys.extend(lists.map(|(key, lists)| (key, listed(lists))));
            keys.extend((!names.is_empty()).then(|| ("names", texts(names))));
            keys.extend(value.as_ref().map(|value| ("value", text(value))));
            let count = |(name, list): &(String, Vec<Condition>)| {
                format!("{} = {}", text(name), conditions(list))
            };
            let counts: Vec<String> = counts.iter().map(count).collect();
            keys.extend((!counts.is_empty()).then(|| ("counts", table(&counts))));
            if !sessions.lists.is_empty() {
                let lists = ("lists", pairs_text(&sessions.lists));
                keys.extend([lists, ("list_max", sessions.list_max.to_string())]);
            }
            let word = cohort.as_ref().map_or("none", |cohort| match cohort.span {
                CalendarSpan::Days(1) => "day",
                CalendarSpan::Days(_) => "week",
                CalendarSpan::Months(_) => "month",
            });
            keys.push(("cohort", text(word)));
        }
        Seeks::Funnel(FunnelSpec { names, steps, without, within }) => {
            keys.extend([("names", texts(names)), ("steps", listed(steps))]);
            keys.extend((!without.is_empty()).then(|| ("without", several(without))));
            keys.push(("within", span(*within)));
        }
    }
    if !pattern.attributes.is_empty() {
        let sides = pattern.seeks.sides();
        let from = |taken: &Taken| format!("{}.{}", sides[taken.side as usize], taken.attribute);
        let pairs = pattern.attributes.iter().map(|(name, taken)| (name.clone(), from(taken)));
        keys.push(("attributes", pairs_text(&pairs.collect::<Vec<_>>())));
    }
    keys.push(("alert", text(pattern.alert.as_deref().unwrap_or("none"))));
    keys
}

pub(super) fn rule_meaning(rule: &anomaly::Rule) -> Vec<Entry> {
    let Patience { hold, cooldown, side } = rule.patience;
    let mut keys = vec![
        ("name", text(&rule.name)),
        ("metric", text(&rule.metric)),
        ("detect", text(rule.detect.word())),
    ];
    keys.extend(lines(entries(&rule.detect)).into_iter().filter(|(_, value)| !value.is_empty()));
    keys.extend([
        ("for", span(hold)),
        ("cooldown", span(cooldown)),
        ("side", text(side.word())),
        ("severity", text(&rule.severity)),
    ]);
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
        WindowSpec::Sliding { size, slide, numbers } => {
            let (size, slide) = (span(*size), span(*slide));
            format!("{{ sliding = {size}, slide = {slide}, numbers = {numbers} }}")
        }
        WindowSpec::SinceMidnight { zone, slide } => {
            format!("{{ since_midnight = {}, slide = {} }}", text(zone), span(*slide))
        }
        WindowSpec::SinceStart { slide } => {
            format!("{{ since_start = true, slide = {} }}", span(*slide))
        }
        WindowSpec::Since { event, slide } => {
            format!("{{ since = {}, slide = {} }}", text(event), span(*slide))
        }
        WindowSpec::Burst { gap, slide } => {
            format!("{{ session = {}, slide = {} }}", span(*gap), span(*slide))
        }
        WindowSpec::Last { num, slide } => {
            format!("{{ last = {num}, slide = {} }}", span(*slide))
        }
    }
}

/// As a table, where one can say them.
fn conditions(conditions: &[Condition]) -> String {
    if !fits_a_table(conditions) {
        return text(&Expression(conditions).to_string());
    }
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

/// Whether they stand in the order of a table, and a table can say them.
fn fits_a_table(conditions: &[Condition]) -> bool {
    let compares = |test: &Test| {
        matches!(test, Test::Ge(_) | Test::Gt(_) | Test::Le(_) | Test::Lt(_) | Test::Exists(_))
    };
    let sign = |of: &Test| test(of).split(' ').next().map(str::to_owned);
    let flat = conditions.iter().all(|one| !matches!(one.test, Test::Holds(_)));
    flat && conditions.is_sorted_by(|a, b| match a.attribute.cmp(&b.attribute) {
        Ordering::Equal => compares(&a.test) && compares(&b.test) && sign(&a.test) < sign(&b.test),
        order => order == Ordering::Less,
    })
}

pub(super) fn test(test: &Test) -> String {
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
        Test::Holds(expr) => expr.to_string(),
    }
}

/// As TOML has it: an integer past 64 bits is a float there.
fn toml_number(number: crate::domain::number::Decimal) -> String {
    let text = number.to_string();
    if text.parse::<i64>().is_err() && !text.contains(['.', 'e']) {
        format!("{text}.0")
    } else {
        text
    }
}
