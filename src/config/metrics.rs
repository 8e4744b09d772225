//! `[[metric]]` and `[[rule]]`: from tables to checked specifications.
//!
//! A file that declares none gets the shipped ones (`config/tidewatch.toml`). Called by
//! `sections.rs` alone; `domain::metric` says what each part of a metric means.

use std::collections::BTreeMap;

use super::attributes::Attributes;
use super::conditions::not_of_session;
use super::document::{self, Node, Value};
use super::formulas::{self, Declared};
use super::funnels::Funnel;
use super::item::{Item, Items};
use super::metric_keys::MetricKeys;
use super::possible::impossible;
use super::reader::Reader;
use super::whole::SHIPPED;
use super::windows::{Days, parse_window};
use super::{aggregates, patterns, rules, units};
use crate::domain::anomaly;
use crate::domain::metric::{Aggregate, Condition, Facts, MetricSpec, WindowSpec};
use crate::domain::pattern::PatternSpec;
use crate::domain::settings::terms::{DAY, GIB, HOUR, SECOND};
use crate::domain::settings::{Derived, Section};
use crate::domain::time::SpanMs;

/// Most metrics, and most rules: each is a topic that every board carries.
const DECLARED_MAX: usize = 200;

/// Most points a metric keeps, over all its combinations of labels (16 bytes each, and 32
/// for each window: 64 MB with many groups, 192 MB with none).
const POINTS_MAX: SpanMs = 4_000_000;

/// Most bytes that the open windows of a metric may come to hold.
const OPEN_BYTES_MAX: SpanMs = 4 * GIB;

/// How much history is kept. Of lists and histograms the newest is shown, and kept.
pub(super) fn keep(
    item: &mut Item<'_>,
    aggregate: &Aggregate,
    window: &WindowSpec,
    written: Derived<SpanMs>,
) -> SpanMs {
    if !aggregate.shape().is_scalar() {
        if written.0.is_some() {
            let rule = format!("has no meaning for a {}: the newest is shown", aggregate.word());
            item.reader.problem("keep", rule);
        }
        return window.apart();
    }
    written.0.unwrap_or_else(|| match window {
        // Enough windows to see a course.
        WindowSpec::Calendar { span, .. } => 30 * span.about(),
        WindowSpec::Burst { gap, .. } => HOUR.max(30 * gap),
        _ => HOUR,
    })
}

/// What is shipped, as it is written.
fn shipped() -> BTreeMap<String, Node> {
    document::parse("config/tidewatch.toml", SHIPPED).unwrap_or_default()
}

/// Writes the shipped metrics and rules down where a file declares none and they hold.
pub(super) fn declare(table: &mut BTreeMap<String, Node>) {
    if table.contains_key("metric") {
        return;
    }
    for key in ["metric", "rule"] {
        if let Some(node) = shipped().remove(key) {
            table.entry(key.to_owned()).or_insert(node);
        }
    }
}

/// When groups leave: not before nothing on the page speaks of them.
pub(super) fn group_silence(
    item: &mut Item<'_>,
    window: &WindowSpec,
    keep: SpanMs,
    written: Derived<SpanMs>,
) -> SpanMs {
    if window.is_endless() {
        if written.0.is_some_and(|silence| silence > 0) {
            let rule = "has no meaning for a window without end: its groups stay for good";
            item.reader.problem("group_silence", rule);
        }
        return 0;
    }
    let least = keep + window.longest() + window.step();
    match written.0 {
        None => DAY.max(least),
        Some(silence) if silence > 0 && silence < least => {
            let least = units::show_span(least);
            let rule = format!(
                "must hold keep, a window and a step of it together, {least}, or be \"0s\": \
                 groups stay for good"
            );
            item.reader.problem("group_silence", rule);
            silence
        }
        Some(silence) => silence,
    }
}

/// Reads all metrics and rules, or takes the shipped ones.
pub(super) fn read(
    reader: &mut Reader,
    days: Days<'_>,
    attributes: &Attributes<'_>,
    steps: &[String],
    (patterns, funnels): (&[PatternSpec], &[Funnel]),
) -> (Vec<MetricSpec>, Vec<anomaly::Rule>) {
    let declared = (reader.tables("metric"), reader.tables("rule"));
    let shipped_list = |key: &str| match shipped().remove(key).map(|node| node.value) {
        Some(Value::List(nodes)) => nodes,
        _ => Vec::new(),
    };
    let (metrics, rules) = match declared {
        (None, None) => (shipped_list("metric"), shipped_list("rule")),
        (None, Some(rules)) => (shipped_list("metric"), rules),
        (Some(metrics), rules) => (metrics, rules.unwrap_or_default()),
    };
    for (key, len) in [("metric", metrics.len()), ("rule", rules.len())] {
        if len > DECLARED_MAX {
            reader.problem(key, format!("must not stand more than {DECLARED_MAX} times"));
        }
    }
    let mut names: Vec<_> = funnels.iter().flat_map(Funnel::names).collect();
    let mut items = Items { reader, names: &mut names, days, attributes, steps, patterns };
    let declared = Declared::new(&metrics);
    let is_plain = |at: &usize| !declared.order.contains(at);
    let plain = metrics.iter().enumerate().filter(|(at, _)| is_plain(at));
    let mut found = items.each("metric", plain, |item, at| (at, metric(item)));
    let of_funnels = funnels.iter().flat_map(Funnel::metrics);
    found.extend(of_funnels.enumerate().map(|(at, metric)| (metrics.len() + at, metric)));
    for at in &declared.order {
        let one = std::iter::once((*at, &metrics[*at]));
        let read = items.each("metric", one, |item, at| (at, of_others(item, &declared, &found)));
        found.extend(read);
    }
    found.sort_by_key(|(at, _)| *at);
    let metrics: Vec<MetricSpec> = found.into_iter().map(|(_, spec)| spec).collect();
    let named: Vec<(&str, Vec<&str>)> = rules.iter().filter_map(name_of).collect();
    let rules =
        items.each("rule", rules.iter().enumerate(), |item, _| rules::rule(item, &metrics, &named));
    (metrics, rules)
}

fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// The name of a rule, and those that keep it quiet.
fn name_of(node: &Node) -> Option<(&str, Vec<&str>)> {
    let Value::Table(table) = &node.value else { return None };
    let unless = match table.get("unless").map(|node| &node.value) {
        Some(Value::List(nodes)) => nodes.iter().filter_map(text_of).collect(),
        _ => Vec::new(),
    };
    Some((text_of(table.get("name")?)?, unless))
}

/// One `[[metric]]` with a formula, `known` being the metrics that it may use.
fn of_others(
    item: &mut Item<'_>,
    declared: &Declared,
    known: &[(usize, MetricSpec)],
) -> MetricSpec {
    let keys = item.reader.section(MetricKeys::default());
    let own = Aggregate::named("last").expect("it is in the list");
    let all = Aggregate::all();
    item.reader.only_of(
        aggregates::AGGREGATE,
        &own,
        all.iter().map(|one| (one.word(), one as &dyn Section)),
    );
    for key in formulas::OF_OPERANDS {
        if item.reader.is_set(key) {
            let rule = "has no meaning beside formula: that of its metrics holds";
            item.reader.problem(key, rule);
        }
    }
    if keys.backfill > 0 {
        let rule = "is for metrics that count: one made of others has windows from when it came on";
        item.reader.problem("backfill", rule);
    }
    let read = item.reader.read(formulas::FORMULA, None, |node| {
        formulas::read(node.text("text in quotes")?, declared, known).map(Some)
    });
    let Some(read) = read else {
        return MetricSpec::new(&item.name, own, NO_WINDOW);
    };
    groups_only_with_labels(item, &read.group_by);
    let keep = keep(item, &own, &read.window, keys.keep);
    let limited = item.reader.is_set("group_limit");
    let spec = MetricSpec {
        title: item.title(keys.title),
        unit: keys.unit,
        group_limit: if limited { keys.group_limit } else { read.group_limit },
        group_silence: group_silence(item, &read.window, keep, keys.group_silence),
        group_by: read.group_by,
        keep,
        ..MetricSpec::of_formula(&item.name, read.formula, read.window)
    };
    history_fits(item, &spec);
    spec
}

fn groups_only_with_labels(item: &mut Item<'_>, group_by: &[String]) {
    for key in ["group_limit", "group_silence"] {
        if item.reader.is_set(key) && group_by.is_empty() {
            item.reader.problem(key, "only belongs to a metric with group_by");
        }
    }
}

/// One `[[metric]]`.
fn metric(item: &mut Item<'_>) -> MetricSpec {
    let keys = item.reader.section(MetricKeys::default());
    let filter = item.conditions("where", keys.of);
    let aggregate = aggregates::aggregate(item, &keys);
    let numerator = item.conditions("numerator", keys.of);
    aggregates::needs_fit(item, &aggregate, &keys, &numerator);
    let window = window(item, keys.of);
    groups_only_with_labels(item, &keys.group_by);
    let keep = keep(item, &aggregate, &window, keys.keep);
    if keys.of == Facts::LiveSessions && keys.backfill > 0 {
        item.reader.problem("backfill", "has no meaning for live sessions: they are those of now");
    }
    let spec = MetricSpec {
        name: item.name.clone(),
        title: item.title(keys.title),
        unit: keys.unit,
        of: keys.of,
        filter,
        numerator,
        group_by: keys.group_by,
        group_limit: keys.group_limit,
        group_silence: group_silence(item, &window, keep, keys.group_silence),
        field: keys.field,
        keep,
        backfill: keys.backfill,
        window,
        aggregate,
        formula: None,
    };
    attributes_fit(item, &spec);
    history_fits(item, &spec);
    spec
}

/// Live sessions are a gauge of this moment: their window is never looked at.
const NO_WINDOW: WindowSpec = WindowSpec::Tumbling { size: SECOND };

fn window(item: &mut Item<'_>, of: Facts) -> WindowSpec {
    if of == Facts::LiveSessions {
        if item.reader.is_set("window") {
            item.reader.problem("window", "has no meaning for live sessions");
        }
        return item.reader.read("window", NO_WINDOW, |_| Ok(NO_WINDOW));
    }
    let days = item.days;
    item.reader.need("window", "window = { tumbling = \"1s\" }");
    item.reader.read("window", NO_WINDOW, |node| parse_window(node, days))
}

/// Every attribute must exist for the facts the metric is of.
fn attributes_fit(item: &mut Item<'_>, spec: &MetricSpec) {
    if spec.of == Facts::LiveSessions {
        if !spec.filter.is_empty() {
            item.reader.problem("where", "has no meaning for live sessions");
        }
        if !spec.group_by.is_empty() && spec.group_by != ["step"] {
            item.reader.problem("group_by", "can only be [\"step\"] for live sessions");
        }
        return;
    }
    let attributes = |conditions: &[Condition]| {
        conditions.iter().flat_map(Condition::attributes).cloned().collect::<Vec<_>>()
    };
    let uses = [
        ("where", attributes(&spec.filter)),
        ("numerator", attributes(&spec.numerator)),
        ("group_by", spec.group_by.clone()),
        ("field", spec.field.iter().cloned().collect()),
    ];
    for (key, names) in uses {
        for name in names {
            let rule = match spec.of {
                Facts::Sessions => not_of_session(&name),
                _ => item.attributes.wrong(&name),
            };
            if let Some(rule) = rule {
                item.reader.problem(key, rule);
            }
        }
    }
    let misfits = patterns::misfits(spec, item.patterns, item.attributes.keys());
    let wrong = impossible(spec, item.steps, item.attributes);
    for (key, rule) in misfits.into_iter().chain(wrong) {
        item.reader.problem(key, rule);
    }
}

/// The history kept must hold a point and stay within bounds.
pub(super) fn history_fits(item: &mut Item<'_>, spec: &MetricSpec) {
    let step = spec.window.apart();
    if spec.keep < step {
        let step = units::show_span(step);
        item.reader.conflict(
            &["keep", "window"],
            format!("keep must hold at least one window, \"{step}\""),
        );
    }
    let groups = if spec.group_by.is_empty() { 1 } else { spec.group_limit as SpanMs };
    let points = groups * (spec.keep / step);
    if points > POINTS_MAX {
        item.reader.conflict(
            &["keep", "group_limit", "window"],
            format!("group_limit x keep / step is {points} points, at most {POINTS_MAX}"),
        );
    }
    let panes = spec.window.panes_max();
    let bytes = (groups * panes).saturating_mul(spec.bytes_max() as SpanMs);
    if bytes > OPEN_BYTES_MAX {
        item.reader.conflict(
            &["group_limit", "window"],
            format!(
                "{groups} groups x {panes} panes may come to hold {} GiB, at most {}: lower group_limit, \
                 or what a pane may hold",
                bytes / GIB,
                OPEN_BYTES_MAX / GIB
            ),
        );
    }
    if spec.window.event().is_some() && spec.of != Facts::Events {
        item.reader.problem("window", "is of events: what sessions or carts end with is no event");
    }
    if spec.aggregate.is_per_time() && !spec.window.has_length() {
        let word = spec.aggregate.word();
        item.reader.problem("window", format!("must be tumbling, hopping or sliding for a {word}"));
    }
}
