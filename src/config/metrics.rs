//! `[[metric]]` and `[[rule]]`: from tables to checked specifications.
//!
//! A file that declares none gets the shipped ones (`config/tidewatch.toml`). Called by
//! `sections.rs` alone; `domain::metric` says what each part of a metric means.

use std::collections::BTreeMap;

use super::conditions::conditions;
use super::document::{self, Node, Value};
use super::near;
use super::possible::impossible;
use super::reader::Reader;
use super::windows::{Days, parse_window};
use super::{SHIPPED, aggregates, rules, units};
use crate::domain::anomaly;
use crate::domain::keeper::OWN_TOPICS;
use crate::domain::metric::{
    Aggregate, Condition, FactKind, MetricSpec, SESSION_ATTRIBUTES, WindowSpec,
};
use crate::domain::settings::terms::{DAY, GIB, HOUR, SECOND};
use crate::domain::settings::{Derived, settings};
use crate::domain::time::SpanMs;

/// Most metrics, and most rules: each is a topic that every board carries.
const DECLARED_MAX: usize = 200;

/// Longest name of a metric or rule, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Most labels of a metric; `region`, `status` and two more.
const GROUP_BY_MAX: usize = 4;

/// Most conditions of a metric, and most values of one condition.
pub(super) const CONDITIONS_MAX: usize = 32;

/// Most points a metric keeps, over all its combinations of labels (16 bytes each, and 32
/// for each window: 64 MB with many groups, 192 MB with none).
const POINTS_MAX: SpanMs = 4_000_000;

/// Longest history: ten years of months; `POINTS_MAX` bounds what it holds.
const KEEP_MAX: SpanMs = 3_660 * DAY;

/// Most bytes that the open windows of a metric may come to hold.
const OPEN_BYTES_MAX: SpanMs = 4 * GIB;

/// How much history is kept. Of lists and histograms the newest is shown, and kept.
fn keep(
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
        return window.step();
    }
    written.0.unwrap_or_else(|| match window {
        // Enough windows to see a course.
        WindowSpec::Calendar { span, .. } => 30 * span.about(),
        _ => HOUR,
    })
}

settings! {
    /// One `[[metric]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct MetricKeys in "" {
        /// Needed; letters in lower case, digits and _. History is kept under it.
        pub name: () = (), shape();
        /// For people. Made from the name.
        pub title: Derived<String> = Derived(None), text();
        /// "events"; "sessions", closed ones, at their end; or "live_sessions", those open now:
        /// only count, only by step, no window.
        pub of: FactKind = FactKind::Events, word::<FactKind>();
        /// Conditions that must all hold:
        /// { status = { ge = 400 }, region = ["eu", "us"], amount = { exists = true } }.
        /// There are ge, gt, le, lt and exists.
        pub filter as "where": () = (), shape();
        /// Needed:
        pub aggregate: String = String::new(), Rule::Word(aggregates::words);
        /// Of ratio: conditions counted above the line.
        pub numerator: () = (), shape();
        /// The attribute that is added up or compared. Where any value will do, as for distinct,
        /// "" is the session key.
        pub field: Option<String> = None, text();
        /// Labels. As text they are joined by |, with a \ before | and \ within a label.
        pub group_by: Vec<String> = Vec::new(), names_in_order(0, GROUP_BY_MAX);
        /// The first so many combinations of labels in the order of the log are kept for good,
        /// whatever the number of shards. How many events went to the other groups is counted
        /// (tidewatch_other_groups_total); their label is "other", and a real lone label of that
        /// name is "\other".
        pub group_limit: usize = 200, count(1, 10_000);
        /// { tumbling = "1s" }, { hopping = "5m", slide = "30s" } or
        /// { since_midnight = true, slide = "1s" } (or a zone instead of true). Lengths in days,
        /// weeks or months ("1d", "1w", "3mo") are the calendar's, in the zone above or in the
        /// window's own (zone = "..."): a day has 23 or 25 hours where clocks change, weeks begin
        /// with first_weekday, months divide the year. { hopping = "7d", slide = "1d" } is seven
        /// such days. Lengths in hours or shorter ("24h", "1h") are exact and counted from 1970 in
        /// UTC: where a zone is half an hour off, its hours begin at half past. A running total
        /// since midnight has a point every slide from midnight on, and the last one of a day at
        /// the next midnight.
        pub window: () = (), shape();
        /// History on the page, of metrics with one number for each window. 1h, and 30 windows of days, weeks or months; at most 3600 points
        /// are shown.
        pub keep: Derived<SpanMs> = Derived(None), span(SECOND, KEEP_MAX);
        /// For people.
        pub unit: String = String::new(), text();
    }
}

/// Reads all metrics and rules, or takes the shipped ones.
pub(super) fn read(
    reader: &mut Reader,
    days: Days<'_>,
    aliases: &[(String, String)],
    steps: &[String],
) -> (Vec<MetricSpec>, Vec<anomaly::Rule>) {
    let declared = (reader.tables("metric"), reader.tables("rule"));
    let shipped = || document::parse("config/tidewatch.toml", SHIPPED).unwrap_or_default();
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
    let mut names = Vec::new();
    let mut items = Items { reader, names: &mut names, days, aliases, steps };
    let metrics: Vec<MetricSpec> = items.each("metric", &metrics, metric);
    let rules = items.each("rule", &rules, |item, _| rules::rule(item, &metrics));
    (metrics, rules)
}

/// Why `name` cannot be used as an attribute here, if so.
pub(super) fn wrong_attribute(name: &str, aliases: &[(String, String)]) -> Option<String> {
    let (_, to) = aliases.iter().find(|(from, _)| from == name)?;
    Some(format!("{name:?} is an alias of {to:?}, write {to:?}"))
}

/// What the tables of one list have in common.
struct Items<'a> {
    reader: &'a mut Reader,
    names: &'a mut Vec<String>,
    days: Days<'a>,
    aliases: &'a [(String, String)],
    steps: &'a [String],
}

/// One `[[metric]]` or `[[rule]]` on its way.
pub(super) struct Item<'a> {
    pub reader: Reader,
    pub name: String,
    days: Days<'a>,
    aliases: &'a [(String, String)],
    steps: &'a [String],
}

impl<'a> Items<'a> {
    /// Reads each table with `read`, which gets the item and its number.
    fn each<T>(
        &mut self,
        list: &'static str,
        nodes: &[Node],
        read: impl Fn(&mut Item<'a>, usize) -> T,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let Value::Table(table) = &node.value else {
                self.reader.problem(list, format!("must be written as [[{list}]]"));
                continue;
            };
            let mut item = self.item(list, index, node, table.clone());
            found.push(read(&mut item, index));
            self.reader.problems.extend(item.reader.finish());
        }
        found
    }

    fn item(
        &mut self,
        list: &str,
        index: usize,
        node: &Node,
        table: BTreeMap<String, Node>,
    ) -> Item<'a> {
        let label = match table.get("name").map(|name| &name.value) {
            Some(Value::Text(name)) => name.clone(),
            _ => (index + 1).to_string(),
        };
        let mut reader = Reader::new(format!("{list}.{label}."), node.place.clone(), table);
        let name = reader
            .required("name", "name = \"...\"", |node| checked_name(node.text("text in quotes")?));
        if !name.is_empty() {
            if self.names.contains(&name) {
                reader.problem("name", "is used by another metric or rule");
            }
            self.names.push(name.clone());
        }
        let Items { days, aliases, steps, .. } = *self;
        Item { reader, name, days, aliases, steps }
    }
}

fn checked_name(name: &str) -> Result<String, String> {
    let first = name.starts_with(|first: char| first.is_ascii_lowercase());
    let rest = |other: char| other.is_ascii_lowercase() || other.is_ascii_digit() || other == '_';
    if !first || !name.chars().all(rest) || name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "must be a lower-case letter, then letters, digits or _, at most {NAME_BYTES_MAX}"
        ));
    }
    if OWN_TOPICS.contains(&name) {
        Err("is the name of a built-in topic".into())
    } else {
        Ok(name.to_string())
    }
}

impl Item<'_> {
    /// Its title; by default made from its name.
    pub fn title(&self, written: Derived<String>) -> String {
        written.0.unwrap_or_else(|| {
            let mut title = self.name.replace('_', " ");
            if let Some(first) = title.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            title
        })
    }

    /// The conditions under `key`.
    fn conditions(&mut self, key: &'static str) -> Vec<Condition> {
        let aliases = self.aliases;
        let conditions = self.reader.read(key, Vec::new(), |node| conditions(node, aliases));
        if conditions.len() > CONDITIONS_MAX {
            let rule = format!("must hold at most {CONDITIONS_MAX} conditions");
            self.reader.problem(key, rule);
        }
        conditions
    }
}

/// One `[[metric]]`.
fn metric(item: &mut Item<'_>, _index: usize) -> MetricSpec {
    let keys = item.reader.section(MetricKeys::default());
    let filter = item.conditions("where");
    let aggregate = aggregates::aggregate(item, &keys);
    let numerator = item.conditions("numerator");
    aggregates::needs_fit(item, &aggregate, &keys, &numerator);
    let window = window(item, keys.of);
    if item.reader.is_set("group_limit") && keys.group_by.is_empty() {
        item.reader.problem("group_limit", "only belongs to a metric with group_by");
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
        field: keys.field,
        keep: keep(item, &aggregate, &window, keys.keep),
        window,
        aggregate,
    };
    attributes_fit(item, &spec);
    history_fits(item, &spec);
    spec
}

/// Live sessions are a gauge of this moment: their window is never looked at.
const NO_WINDOW: WindowSpec = WindowSpec::Tumbling { size: SECOND };

fn window(item: &mut Item<'_>, of: FactKind) -> WindowSpec {
    if of == FactKind::LiveSessions {
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
    if spec.of == FactKind::LiveSessions {
        if !spec.filter.is_empty() {
            item.reader.problem("where", "has no meaning for live sessions");
        }
        if !spec.group_by.is_empty() && spec.group_by != ["step"] {
            item.reader.problem("group_by", "can only be [\"step\"] for live sessions");
        }
        return;
    }
    let attributes = |conditions: &[Condition]| {
        conditions.iter().map(|condition| condition.attribute.clone()).collect::<Vec<_>>()
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
                FactKind::Sessions if !SESSION_ATTRIBUTES.contains(&name.as_str()) => {
                    Some(format!(
                        "{name:?} is not an attribute of a session; there are {}{}",
                        SESSION_ATTRIBUTES.join(", "),
                        near::hint(&name, SESSION_ATTRIBUTES)
                    ))
                }
                FactKind::Sessions => None,
                _ => wrong_attribute(&name, item.aliases),
            };
            if let Some(rule) = rule {
                item.reader.problem(key, rule);
            }
        }
    }
    for (key, rule) in impossible(spec, item.steps) {
        item.reader.problem(key, rule);
    }
}

/// The history kept must hold a point and stay within bounds.
fn history_fits(item: &mut Item<'_>, spec: &MetricSpec) {
    let step = spec.window.step();
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
    let panes = spec.window.reach() / step + 1;
    let bytes = (groups * panes).saturating_mul(spec.aggregate.bytes_max() as SpanMs);
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
    if spec.aggregate.is_per_time() && matches!(spec.window, WindowSpec::SinceMidnight { .. }) {
        let word = spec.aggregate.word();
        item.reader.problem("window", format!("must be tumbling or hopping for a {word}"));
    }
}
