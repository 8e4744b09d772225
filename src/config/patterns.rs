//! `[[pattern]]`: from tables to checked specifications. Called by `sections.rs` alone;
//! `domain::pattern` says what each part of a pattern means.

use super::attributes::Attributes;
use super::conditions::{CONDITIONS_MAX, conditions};
use super::document::{Node, Value};
use super::item::{Item, Items};
use super::possible::never;
use super::reader::Reader;
use super::whole::types_named;
use super::windows::Days;
use crate::domain::metric::{Condition, Facts, MetricSpec};
use crate::domain::near;
use crate::domain::pattern::{DURATION, PatternSpec, Side, THEN_MAX, Taken};
use crate::domain::settings::terms::SECOND;
use crate::domain::settings::{Derived, Word, settings};
use crate::domain::time::SpanMs;

/// Most patterns.
const PATTERNS_MAX: usize = 200;
/// Most attributes of a match.
const ATTRIBUTES_MAX: usize = 16;
/// Attributes that every match has.
const OWN: [&str; 2] = ["type", DURATION];

settings! {
    /// One `[[pattern]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct PatternKeys in "" {
        /// Needed; letters in lower case, digits and _. The event type of its matches.
        pub name: () = (), shape();
        /// For people. Made from the name.
        pub title: Derived<String> = Derived(None), text();
        /// Needed: conditions on the event that begins it, as in where of a metric.
        pub first: () = (), shape();
        /// How often such an event must come before anything else counts.
        pub times: usize = 1, count(1, 1_000);
        /// Conditions on the event that must come then; a list of them is a list of steps:
        /// [{ type = "search" }, { type = "cart_add" }].
        pub then: () = (), shape();
        /// Conditions on an event that must not come in between; of a list none may.
        pub without: () = (), shape();
        /// Conditions on an event that must not come after all that, until within is over; of a
        /// list none may. The match is found then, when nothing has come.
        pub not_then: () = (), shape();
        /// Needed: all of it lies within this time, counted from the first event. What happens
        /// exactly so long after it still counts.
        pub within: Derived<SpanMs> = Derived(None), span(1, 366 * DAY);
        /// Attributes of a match besides duration_s, taken from its first event or from that of its
        /// last step: { amount = "first.amount", page = "last.page" }.
        pub attributes: Vec<(String, String)> = Vec::new(), pairs(ATTRIBUTES_MAX);
        /// Severity of the alert that each match raises, "info", "warning" or "critical"; "none":
        /// it is counted and raises none.
        pub alert: Raises = Raises::None, word::<Raises>();
    }
}

/// The keys of patterns that a dry run can try other values of.
pub fn pattern_keys() -> Vec<&'static str> {
    vec!["within", "times"]
}

/// The alert of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raises {
    None,
    Info,
    Warning,
    Critical,
}

impl Word for Raises {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Raises::None),
        ("info", Raises::Info),
        ("warning", Raises::Warning),
        ("critical", Raises::Critical),
    ];
}

/// Reads all patterns. `of_session`: event types that sessions name.
pub(super) fn read(
    reader: &mut Reader,
    attributes: &Attributes<'_>,
    days: Days<'_>,
    of_session: &[&String],
) -> Vec<PatternSpec> {
    let declared = reader.tables("pattern").unwrap_or_default();
    if declared.len() > PATTERNS_MAX {
        reader.problem("pattern", format!("must not stand more than {PATTERNS_MAX} times"));
    }
    let name = |node: &Node| match &node.value {
        Value::Table(table) => table.get("name")?.text("").map(String::from).ok(),
        _ => None,
    };
    let names: Vec<String> = declared.iter().filter_map(name).collect();
    let taken = &mut Vec::new();
    let mut items = Items { reader, names: taken, days, attributes, steps: &[], patterns: &[] };
    items.each("pattern", &declared, |item, _| pattern(item, &names, of_session))
}

/// One `[[pattern]]`.
fn pattern(item: &mut Item<'_>, names: &[String], of_session: &[&String]) -> PatternSpec {
    item.reader.need("first", "first = { type = \"...\" }");
    item.reader.need("within", "within = \"10m\"");
    let keys = item.reader.section(PatternKeys::default());
    let attributes = item.attributes;
    let spec = PatternSpec {
        name: item.name.clone(),
        title: item.title(keys.title),
        first: item.reader.read("first", Vec::new(), |node| one(node, attributes)),
        times: keys.times as u32,
        then: several(item, "then"),
        without: several(item, "without"),
        not_then: several(item, "not_then"),
        within: keys.within.0.unwrap_or(SECOND),
        attributes: taken(item, &keys.attributes),
        alert: (keys.alert != Raises::None).then(|| keys.alert.word().to_owned()),
    };
    if spec.steps() == 1 && !item.reader.is_set("then") && !item.reader.is_set("not_then") {
        item.reader.conflict(
            &["first"],
            "is all there is: say what comes next (then), how often it must come (times), or what \
             must not follow (not_then)",
        );
    }
    if of_session.contains(&&spec.name) {
        let rule = "is a type of events in [session]: call the pattern something else";
        item.reader.problem("name", rule);
    }
    let lists = [("then", &spec.then), ("without", &spec.without), ("not_then", &spec.not_then)];
    let first = std::iter::once(("first", &spec.first));
    let all = lists.into_iter().flat_map(|(key, lists)| lists.iter().map(move |list| (key, list)));
    for (key, conditions) in first.chain(all) {
        for rule in never(conditions, item.attributes) {
            item.reader.problem(key, rule);
        }
        let mut types = conditions.iter().flat_map(types_named);
        if let Some(name) = types.find(|name| names.contains(name)) {
            let rule = format!("{name:?} is a pattern: patterns are of events, not of matches");
            item.reader.problem(key, rule);
        }
    }
    spec
}

/// Conditions, or a list of them.
fn several(item: &mut Item<'_>, key: &'static str) -> Vec<Vec<Condition>> {
    let attributes = item.attributes;
    item.reader.read(key, Vec::new(), |node| match &node.value {
        Value::List(nodes) if (1..=THEN_MAX).contains(&nodes.len()) => {
            nodes.iter().map(|node| one(node, attributes)).collect()
        }
        Value::List(_) => Err(format!("must hold 1 to {THEN_MAX} tables of conditions")),
        _ => one(node, attributes).map(|conditions| vec![conditions]),
    })
}

fn one(node: &Node, attributes: &Attributes<'_>) -> Result<Vec<Condition>, String> {
    // An expression as well, of an attribute that is true; but that is not what was meant.
    if let Ok(text) = node.text("")
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    {
        return Err(format!("must be conditions: write {{ type = {text:?} }}"));
    }
    match conditions(node, Facts::Events, attributes) {
        Ok(found) if found.len() > CONDITIONS_MAX => {
            Err(format!("must hold at most {CONDITIONS_MAX} conditions"))
        }
        other => other,
    }
}

/// `{ amount = "first.amount" }`.
fn taken(item: &mut Item<'_>, pairs: &[(String, String)]) -> Vec<(String, Taken)> {
    let mut found = Vec::new();
    for (name, from) in pairs {
        let taken = match from.split_once('.') {
            _ if OWN.contains(&name.as_str()) => Err(format!("every match has {name:?} already")),
            Some((side, attribute)) if !attribute.is_empty() => match side {
                "first" => Ok((Side::First, attribute)),
                "last" => Ok((Side::Last, attribute)),
                _ => Err(whence(name, side)),
            },
            _ => Err(whence(name, from)),
        };
        let taken = taken.and_then(|(side, attribute)| {
            let wrong = item.attributes.wrong(attribute);
            let attribute = attribute.to_owned();
            wrong.map_or(Ok(Taken { side, attribute }), Err)
        });
        match taken {
            Ok(taken) => found.push((name.clone(), taken)),
            Err(rule) => item.reader.problem("attributes", format!("{name}: {rule}")),
        }
    }
    found
}

fn whence(name: &str, side: &str) -> String {
    let hint = near::hint(side, ["first", "last"]);
    format!("must say of which event: \"first.{name}\" or \"last.{name}\"{hint}")
}

/// Whether a metric is of matches; what is wrong with it then, as (key, rule).
pub(super) fn misfits(
    metric: &MetricSpec,
    patterns: &[PatternSpec],
    keys: &[String],
) -> Vec<(&'static str, String)> {
    let pattern = |name: &String| patterns.iter().find(|pattern| pattern.name == *name);
    let types = metric.filter.iter().flat_map(types_named);
    let (of, others): (Vec<_>, Vec<_>) = types.partition(|name| pattern(name).is_some());
    let above = metric.numerator.iter().flat_map(types_named).find(|name| pattern(name).is_some());
    match (of.first(), others.first(), above) {
        (None, _, None) => return Vec::new(),
        (None, _, Some(name)) => {
            let rule = format!("{name:?} is a pattern: its matches must be named in where, too");
            return vec![("numerator", rule)];
        }
        (Some(name), Some(other), _) => {
            let rule = format!(
                "{name:?} is a pattern and {other:?} is none: a metric counts matches of patterns, \
                 or events"
            );
            return vec![("where", rule)];
        }
        (Some(_), None, _) => {}
    }
    let attributes = |conditions: &[Condition]| -> Vec<String> {
        conditions.iter().flat_map(Condition::attributes).cloned().collect()
    };
    let uses = [
        ("where", attributes(&metric.filter)),
        ("numerator", attributes(&metric.numerator)),
        ("group_by", metric.group_by.clone()),
        ("field", metric.field.iter().cloned().collect()),
    ];
    let mut found = Vec::new();
    for pattern in of.into_iter().filter_map(pattern) {
        let own = pattern.attributes.iter().map(|(name, _)| name.as_str());
        let keys = keys.iter().map(String::as_str).filter(|_| keys.len() == 1);
        let known: Vec<&str> = OWN.into_iter().chain(keys).chain(own).collect();
        for (key, names) in &uses {
            for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
                let rule = format!(
                    "{name:?} is not an attribute of matches of {:?}; there are {}{}",
                    pattern.name,
                    known.join(", "),
                    near::hint(name, known.iter().copied())
                );
                found.push((*key, rule));
            }
        }
    }
    found
}
