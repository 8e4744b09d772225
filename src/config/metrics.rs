//! `[[metric]]` and `[[rule]]`: from tables to checked specifications.
//!
//! A file that declares none gets the shipped ones (`config/tidewatch.toml`). Called by
//! `sections.rs` alone; `domain::metric` says what each part of a metric means.

use std::collections::BTreeMap;

use super::conditions::conditions;
use super::defaults::SHIPPED;
use super::document::{self, Node, Value};
use super::near;
use super::possible::impossible;
use super::raw::{Reader, choose, span_within};
use super::{rules, sections, units};
use crate::domain::anomaly::SigmaRule;
use crate::domain::metric::{
    Aggregate, CalendarSpan, Condition, FactKind, MetricSpec, Weekday, WindowSpec,
};
use crate::domain::time::SpanMs;

const SECOND: SpanMs = 1_000;
const HOUR: SpanMs = 3_600 * SECOND;
const DAY: SpanMs = 24 * HOUR;

/// Most metrics, and most rules: each is a topic that every board carries.
const DECLARED_MAX: usize = 200;

/// Longest name of a metric or rule, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Most labels of a metric; `region`, `status` and two more.
const GROUP_BY_MAX: usize = 4;

/// Combinations of labels kept when a metric does not say.
const GROUP_LIMIT: usize = 200;

/// Most conditions of a metric, and most values of one condition.
pub(super) const CONDITIONS_MAX: usize = 32;

/// Most panes of a window (size / slide): a day of seconds.
pub(super) const PANES_MAX: SpanMs = 86_400;

/// Most points a metric keeps, over all its combinations of labels (16 bytes each, and 32
/// for each window: 64 MB with many groups, 192 MB with none).
const POINTS_MAX: SpanMs = 4_000_000;

/// Longest window of exact hours.
const SPAN_MAX: SpanMs = 31 * DAY;

/// Longest window in days: a leap year. (Months end at a year.)
const DAYS_MAX: i64 = 366;

/// Longest history: ten years of months; `POINTS_MAX` bounds what it holds.
const KEEP_MAX: SpanMs = 3_660 * DAY;

/// History kept when a metric does not say.
const KEEP: SpanMs = HOUR;

fn default_keep(window: &WindowSpec) -> SpanMs {
    match window {
        // Enough windows to see a course.
        WindowSpec::Calendar { span, .. } => 30 * span.about(),
        _ => KEEP,
    }
}

/// Values counted exactly when a metric does not say; beyond them a sketch takes over.
const EXACT_UP_TO: usize = 10_000;

/// Attributes of a closed session.
const SESSION_ATTRIBUTES: [&str; 6] =
    ["outcome", "step", "segment", "value", "events", "duration_s"];

/// Topics that are always there, so no metric or rule can have their names.
const TAKEN_NAMES: [&str; 3] = ["alerts", "kpi", "pipeline"];

const AGGREGATES: [&str; 9] =
    ["count", "sum", "avg", "stddev", "min", "max", "rate", "distinct", "ratio"];

const FACTS: [(&str, FactKind); 3] = [
    ("events", FactKind::Events),
    ("sessions", FactKind::Sessions),
    ("live_sessions", FactKind::LiveSessions),
];

/// Reads all metrics and rules, or takes the shipped ones.
pub(super) fn read(
    reader: &mut Reader,
    days: Days<'_>,
    aliases: &[(String, String)],
    steps: &[String],
) -> (Vec<MetricSpec>, Vec<SigmaRule>) {
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
    match TAKEN_NAMES.contains(&name) {
        true => Err("is the name of a built-in topic".into()),
        false => Ok(name.to_string()),
    }
}

impl Item<'_> {
    /// Its title; by default made from its name.
    pub fn title(&mut self) -> String {
        let mut title = self.name.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        self.reader.text("title", &title)
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
    let title = item.title();
    let of = item.reader.choice("of", FactKind::Events, &FACTS);
    let filter = item.conditions("where");
    let aggregate = aggregate(item, of);
    let numerator = numerator(item, aggregate);
    let field = field(item, aggregate);
    let group_by = group_by(item);
    let group_limit = item.reader.count("group_limit", GROUP_LIMIT, 1..=10_000);
    let window = window(item, of);
    let keep = item.reader.span("keep", default_keep(&window), SECOND..=KEEP_MAX);
    let unit = item.reader.text("unit", "");
    let spec = MetricSpec {
        name: item.name.clone(),
        title,
        unit,
        of,
        filter,
        numerator,
        group_by,
        group_limit,
        aggregate,
        field,
        window,
        keep,
    };
    attributes_fit(item, &spec);
    history_fits(item, &spec);
    spec
}

fn aggregate(item: &mut Item<'_>, of: FactKind) -> Aggregate {
    let words: Vec<(&str, &str)> = AGGREGATES.iter().map(|word| (*word, *word)).collect();
    let example = "aggregate = \"count\"";
    let word = item.reader.required("aggregate", example, |node| choose(node, &words));
    let exact_up_to = item.reader.count("exact_up_to", EXACT_UP_TO, 0..=1_000_000);
    if item.reader.is_set("exact_up_to") && word != "distinct" {
        item.reader.problem("exact_up_to", "only belongs to aggregate = \"distinct\"");
    }
    if of == FactKind::LiveSessions && !matches!(word, "count" | "") {
        item.reader.problem("aggregate", "live sessions can only be counted: write \"count\"");
    }
    if of == FactKind::Sessions && word == "distinct" {
        item.reader.problem("aggregate", "is only possible for of = \"events\"");
    }
    match word {
        "sum" => Aggregate::Sum,
        "avg" => Aggregate::Avg,
        "stddev" => Aggregate::Stddev,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        "rate" => Aggregate::Rate,
        "distinct" => Aggregate::Distinct { exact_up_to },
        "ratio" => Aggregate::Ratio,
        _ => Aggregate::Count,
    }
}

fn numerator(item: &mut Item<'_>, aggregate: Aggregate) -> Vec<Condition> {
    let numerator = item.conditions("numerator");
    let is_set = item.reader.is_set("numerator");
    match (aggregate, is_set) {
        (Aggregate::Ratio, false) => item.reader.problem(
            "numerator",
            "is missing: a ratio needs the conditions counted above the line",
        ),
        (Aggregate::Ratio, true) if numerator.is_empty() => {
            item.reader.problem("numerator", "must hold at least one condition");
        }
        (Aggregate::Ratio, true) | (_, false) => {}
        (_, true) => {
            item.reader.problem("numerator", "only belongs to aggregate = \"ratio\"");
        }
    }
    numerator
}

fn field(item: &mut Item<'_>, aggregate: Aggregate) -> Option<String> {
    let field = item.reader.text("field", "");
    let needs = matches!(
        aggregate,
        Aggregate::Sum | Aggregate::Avg | Aggregate::Stddev | Aggregate::Min | Aggregate::Max
    );
    let may = needs || matches!(aggregate, Aggregate::Distinct { .. });
    if needs && field.is_empty() {
        item.reader.problem("field", "is missing: name the attribute to compute from");
    }
    if !may && !field.is_empty() {
        item.reader.problem("field", "has no meaning for this aggregate");
    }
    (!field.is_empty()).then_some(field)
}

fn group_by(item: &mut Item<'_>) -> Vec<String> {
    let labels = item.reader.texts("group_by", &[]);
    if labels.len() > GROUP_BY_MAX {
        item.reader.problem("group_by", format!("must name at most {GROUP_BY_MAX} attributes"));
    }
    if labels.iter().enumerate().any(|(index, label)| labels[..index].contains(label)) {
        item.reader.problem("group_by", "must not name an attribute twice");
    }
    if item.reader.is_set("group_limit") && labels.is_empty() {
        item.reader.problem("group_limit", "only belongs to a metric with group_by");
    }
    labels
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
    let example = "window = { tumbling = \"1s\" }";
    if !item.reader.is_set("window") {
        item.reader.problem("window", format!("is missing: write {example}"));
    }
    item.reader.read("window", NO_WINDOW, |node| parse_window(node, days))
}

/// Days as the configuration counts them where a window says nothing else.
#[derive(Clone, Copy)]
pub(super) struct Days<'a> {
    /// IANA zone.
    pub zone: &'a str,
    /// The day that weeks begin with.
    pub first_weekday: Weekday,
}

fn parse_window(node: &Node, days: Days<'_>) -> Result<WindowSpec, String> {
    let shapes = "{ tumbling = \"1s\" }, { hopping = \"5m\", slide = \"30s\" } \
                  or { since_midnight = true, slide = \"1s\" }";
    let wrong = || format!("must be {shapes}");
    let Value::Table(table) = &node.value else {
        return Err(wrong());
    };
    let keys: Vec<&str> = table.keys().map(String::as_str).collect();
    match keys.as_slice() {
        ["tumbling"] | ["tumbling", "zone"] => {
            let size = length(table, "tumbling", SPAN_MAX)?;
            match size {
                Length::Calendar(span) => calendar(span, 1, table.get("zone"), days),
                Length::Fixed(_) if table.contains_key("zone") => Err(NO_ZONE.into()),
                Length::Fixed(size) => Ok(WindowSpec::Tumbling { size }),
            }
        }
        ["hopping", "slide"] | ["hopping", "slide", "zone"] => {
            let size = length(table, "hopping", SPAN_MAX)?;
            let slide = length(table, "slide", DAY)?;
            match calendar_hops(size, slide)? {
                Some((span, panes)) => calendar(span, panes, table.get("zone"), days),
                None if table.contains_key("zone") => Err(NO_ZONE.into()),
                None => hopping(size.about(), slide.about()),
            }
        }
        ["since_midnight", "slide"] => {
            let slide = span_within(&table["slide"], 100..=DAY);
            let slide = slide.map_err(|rule| format!("slide {rule}"))?;
            let zone = match &table["since_midnight"].value {
                Value::Bool(true) => days.zone.to_string(),
                Value::Text(name) => {
                    sections::zone(name).map_err(|rule| format!("since_midnight {rule}"))?
                }
                _ => return Err(wrong()),
            };
            Ok(WindowSpec::SinceMidnight { zone, slide })
        }
        _ => Err(wrong()),
    }
}

const NO_ZONE: &str = "zone only belongs to windows of whole days, weeks or months";

/// A length as it was written.
#[derive(Clone, Copy)]
enum Length {
    /// In hours or shorter, or mixed: always as long.
    Fixed(SpanMs),
    /// In days, weeks or months: as long as the calendar makes it.
    Calendar(CalendarSpan),
}

impl Length {
    fn about(self) -> SpanMs {
        match self {
            Length::Fixed(span) => span,
            Length::Calendar(span) => span.about(),
        }
    }
}

fn length(table: &BTreeMap<String, Node>, key: &str, max: SpanMs) -> Result<Length, String> {
    let node = &table[key];
    let calendar = match &node.value {
        Value::Text(text) => units::parse_calendar(text),
        _ => None,
    };
    match calendar {
        Some(CalendarSpan::Months(months)) if 12 % months != 0 => Err(format!(
            "{key} must be a number of months that divides a year: 1, 2, 3, 4, 6 or 12"
        )),
        Some(CalendarSpan::Days(days)) if days > DAYS_MAX => {
            Err(format!("{key} must be at most {DAYS_MAX} days"))
        }
        Some(span) => Ok(Length::Calendar(span)),
        None => {
            span_within(node, 100..=max).map(Length::Fixed).map_err(|rule| format!("{key} {rule}"))
        }
    }
}

/// The slide and the panes of a hopping window of the calendar: both lengths are its.
/// `None` when they are of exact hours; a day among hours is one of 24.
fn calendar_hops(size: Length, slide: Length) -> Result<Option<(CalendarSpan, i64)>, String> {
    use CalendarSpan::{Days, Months};
    let (Length::Calendar(size), Length::Calendar(slide)) = (size, slide) else {
        let month = |length| matches!(length, Length::Calendar(Months(_)));
        return match month(size) || month(slide) {
            true => Err("months only slide by months: write slide = \"1mo\"".into()),
            false => Ok(None),
        };
    };
    let (whole, part) = match (size, slide) {
        (Days(size), Days(slide)) => (size, slide),
        (Months(size), Months(slide)) => (size, slide),
        _ => return Err("size and slide must both be in months, or both in days or weeks".into()),
    };
    match whole % part {
        0 => Ok(Some((slide, whole / part))),
        _ => {
            let (size, slide) = (units::show_calendar(size, 1), units::show_calendar(slide, 1));
            Err(format!("slide must divide the size, {slide} does not divide {size}"))
        }
    }
}

fn calendar(
    span: CalendarSpan,
    panes: i64,
    zone: Option<&Node>,
    days: Days<'_>,
) -> Result<WindowSpec, String> {
    let zone = match zone.map(|node| &node.value) {
        None => days.zone.to_string(),
        Some(Value::Text(name)) => sections::zone(name).map_err(|rule| format!("zone {rule}"))?,
        Some(_) => return Err("zone must be a text in quotes".into()),
    };
    Ok(WindowSpec::Calendar { span, panes, zone, first_weekday: days.first_weekday })
}

fn hopping(size: SpanMs, slide: SpanMs) -> Result<WindowSpec, String> {
    if size % slide != 0 {
        let (size, slide) = (units::show_span(size), units::show_span(slide));
        return Err(format!("slide must divide the size, {slide} does not divide {size}"));
    }
    if size / slide > PANES_MAX {
        return Err(format!("size / slide is {}, at most {PANES_MAX}", size / slide));
    }
    Ok(WindowSpec::Hopping { size, slide })
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
                        "{name:?} is no attribute of a session; there are {}{}",
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
    let unbounded_rate = matches!(spec.window, WindowSpec::SinceMidnight { .. });
    if spec.aggregate == Aggregate::Rate && unbounded_rate {
        item.reader.problem("window", "must be tumbling or hopping for a rate");
    }
}
