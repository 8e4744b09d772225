//! `[[pattern]]`, and what it has in common with `[[join]]` and `[[funnel]]`: from tables to checked
//! specifications. Called by `sections.rs` alone; `domain::pattern` says what each part of a pattern means.

use super::attributes::Attributes;
use super::conditions::{CONDITIONS_MAX, conditions};
use super::document::{Node, Value};
use super::funnels::{self, FUNNELS_MAX, Funnel};
use super::item::{Item, Items};
use super::joins;
use super::kinds;
use super::possible::never;
use super::reader::Reader;
use super::whole::types_named;
use super::windows::Days;
use crate::domain::metric::{Condition, Facts, MetricSpec, Test};
use crate::domain::near;
use crate::domain::pattern::{PatternSpec, Seeks, SequenceSpec, Side, THEN_MAX, Taken, VALUE};
use crate::domain::settings::terms::SECOND;
use crate::domain::settings::{Derived, Word, settings};
use crate::domain::time::SpanMs;

/// Most kinds of sessions besides `[session]`.
const KINDS_MAX: usize = 16;
/// Most patterns, and most joins.
const PATTERNS_MAX: usize = 200;
/// Most attributes of a match.
pub(super) const ATTRIBUTES_MAX: usize = 16;

settings! {
    /// One `[[pattern]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct PatternKeys in "" {
        /// Needed; letters in lower case, digits and _. The event type of its matches.
        pub name: () = (), shape();
        /// For people. Made from the name.
        pub title: Derived<String> = Derived(None), text();
        /// The attribute whose values keep its events apart, "device_id"; "": the session key.
        pub key: Option<String> = None, text();
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

/// The keys of what is looked for that a dry run can try other values of.
pub fn pattern_keys(seeks: &Seeks) -> Vec<&'static str> {
    match seeks {
        Seeks::Sequence(_) => vec!["within", "times"],
        Seeks::Join(_) => vec!["within", "before", "pairs_max"],
        Seeks::Funnel(_) => vec!["within"],
        Seeks::Sessions(_) => vec!["gap", "max_length"],
    }
}

/// The alert of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raises {
    None,
    Info,
    Warning,
    Critical,
}

impl Raises {
    /// The severity, where there is one.
    pub(super) fn severity(self) -> Option<String> {
        (self != Raises::None).then(|| self.word().to_owned())
    }
}

impl Word for Raises {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Raises::None),
        ("info", Raises::Info),
        ("warning", Raises::Warning),
        ("critical", Raises::Critical),
    ];
}

/// Reads all patterns and joins, and all funnels. `of_session`: event types that sessions name.
pub(super) fn read(
    reader: &mut Reader,
    attributes: &Attributes<'_>,
    days: Days<'_>,
    of_session: &[&String],
) -> (Vec<PatternSpec>, Vec<Funnel>) {
    let lists = [
        ("pattern", PATTERNS_MAX),
        ("join", PATTERNS_MAX),
        ("sessions", KINDS_MAX),
        ("funnel", FUNNELS_MAX),
    ];
    let declared = lists.map(|(list, most)| {
        let declared = reader.tables(list).unwrap_or_default();
        if declared.len() > most {
            reader.problem(list, format!("must not stand more than {most} times"));
        }
        declared
    });
    let name = |node: &Node| match &node.value {
        Value::Table(table) => table.get("name")?.text("").map(String::from).ok(),
        _ => None,
    };
    let names = declared.each_ref().map(|nodes| nodes.iter().filter_map(name).collect());
    let taken = &mut Vec::new();
    let mut items = Items { reader, names: taken, days, attributes, steps: &[], patterns: &[] };
    let [patterns, joins, kinds, funnels] = &declared;
    let patterns = patterns.iter().enumerate();
    let mut found = items.each("pattern", patterns, |item, _| pattern(item, &names, of_session));
    let joins = joins.iter().enumerate();
    found.extend(items.each("join", joins, |item, _| joins::join(item, &names, of_session)));
    let kinds = kinds.iter().enumerate();
    found
        .extend(items.each("sessions", kinds, |item, _| kinds::sessions(item, &names, of_session)));
    let funnels = funnels.iter().enumerate();
    let funnels =
        items.each("funnel", funnels, |item, _| funnels::funnel(item, &names, of_session));
    (found, funnels)
}

/// The names of all patterns, joins, kinds of sessions, and funnels.
pub(super) type Declared = [Vec<String>; 4];

/// One `[[pattern]]`.
fn pattern(item: &mut Item<'_>, names: &Declared, of_session: &[&String]) -> PatternSpec {
    item.reader.need("first", "first = { type = \"...\" }");
    item.reader.need("within", "within = \"10m\"");
    let keys = item.reader.section(PatternKeys::default());
    let sequence = SequenceSpec {
        first: one(item, "first"),
        times: keys.times as u32,
        then: several(item, "then"),
        without: several(item, "without"),
        not_then: several(item, "not_then"),
        within: keys.within.0.unwrap_or(SECOND),
    };
    if sequence.steps() == 1 && !item.reader.is_set("then") && !item.reader.is_set("not_then") {
        item.reader.conflict(
            &["first"],
            "is all there is: say what comes next (then), how often it must come (times), or what \
             must not follow (not_then)",
        );
    }
    let SequenceSpec { first, then, without, not_then, .. } = &sequence;
    let lists = [("then", then), ("without", without), ("not_then", not_then)];
    let all = lists.into_iter().flat_map(|(key, lists)| lists.iter().map(move |list| (key, list)));
    checked(item, std::iter::once(("first", first)).chain(all), names, of_session);
    let seeks = Seeks::Sequence(sequence);
    PatternSpec {
        name: item.name.clone(),
        title: item.title(keys.title),
        key: own_key(item, keys.key),
        attributes: taken(item, &keys.attributes, &seeks),
        seeks,
        alert: keys.alert.severity(),
    }
}

/// Its name is that of no event, and its conditions can be met by some.
pub(super) fn checked<'a>(
    item: &mut Item<'_>,
    conditions: impl Iterator<Item = (&'static str, &'a Vec<Condition>)>,
    declared: &Declared,
    of_session: &[&String],
) {
    if of_session.contains(&&item.name) {
        let rule = "is a type of events in [session]: call it something else";
        item.reader.problem("name", rule);
    }
    for (key, conditions) in conditions {
        for rule in never(conditions, item.attributes) {
            item.reader.problem(key, rule);
        }
        let named = |names: &[String]| {
            conditions.iter().flat_map(types_named).find(|name| names.contains(name)).cloned()
        };
        for (names, what) in declared.iter().zip(["pattern", "join", "kind of sessions", "funnel"])
        {
            if let Some(name) = named(names) {
                let rule = format!("{name:?} is a {what}: name events, not what is found in them");
                item.reader.problem(key, rule);
            }
        }
    }
}

/// The attribute under `key`, where that is not the session key.
pub(super) fn own_key(item: &mut Item<'_>, name: Option<String>) -> Option<String> {
    let name = name?;
    let own = ["ts", "type", "id"].contains(&name.as_str());
    let own = || own.then(|| format!("must not be {name:?}, which is another thing of each event"));
    if let Some(rule) = item.attributes.wrong(&name).or_else(own) {
        item.reader.problem("key", rule);
    }
    (*item.attributes.keys() != [name.as_str()]).then_some(name)
}

/// Conditions, or a list of them.
pub(super) fn several(item: &mut Item<'_>, key: &'static str) -> Vec<Vec<Condition>> {
    let attributes = item.attributes;
    item.reader.read(key, Vec::new(), |node| match &node.value {
        Value::List(nodes) if (1..=THEN_MAX).contains(&nodes.len()) => {
            nodes.iter().map(|node| meant(node, attributes)).collect()
        }
        Value::List(_) => Err(format!("must hold 1 to {THEN_MAX} tables of conditions")),
        _ => meant(node, attributes).map(|conditions| vec![conditions]),
    })
}

/// Conditions.
pub(super) fn one(item: &mut Item<'_>, key: &'static str) -> Vec<Condition> {
    let attributes = item.attributes;
    item.reader.read(key, Vec::new(), |node| meant(node, attributes))
}

pub(super) fn meant(node: &Node, attributes: &Attributes<'_>) -> Result<Vec<Condition>, String> {
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
pub(super) fn taken(
    item: &mut Item<'_>,
    pairs: &[(String, String)],
    seeks: &Seeks,
) -> Vec<(String, Taken)> {
    let (mut found, sides) = (Vec::new(), seeks.sides());
    for (name, from) in pairs {
        let taken = match from.split_once('.') {
            _ if seeks.own().contains(&name.as_str()) => {
                Err(format!("every match has {name:?} already"))
            }
            Some((side, attribute)) if !attribute.is_empty() => {
                let known = Side::ALL.into_iter().find(|known| sides[*known as usize] == side);
                known.map(|side| (side, attribute)).ok_or_else(|| whence(name, side, sides))
            }
            _ => Err(whence(name, from, sides)),
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

fn whence(name: &str, side: &str, sides: [&str; 2]) -> String {
    let hint = near::hint(side, sides);
    let [first, last] = sides;
    format!("must say of which event: \"{first}.{name}\" or \"{last}.{name}\"{hint}")
}

/// Whether a metric is of matches; what is wrong with it then, as (key, rule).
pub(super) fn misfits(
    metric: &MetricSpec,
    patterns: &[PatternSpec],
    keys: &[String],
) -> Vec<(&'static str, String)> {
    let pattern = |name: &String| patterns.iter().find(|pattern| pattern.name == *name);
    let kind = |name| pattern(name).map_or("pattern", |pattern| pattern.seeks.table());
    let types = metric.filter.iter().flat_map(types_named);
    let (of, others): (Vec<_>, Vec<_>) = types.partition(|name| pattern(name).is_some());
    let above = metric.numerator.iter().flat_map(types_named).find(|name| pattern(name).is_some());
    match (of.first(), others.first(), above) {
        (None, _, None) => return Vec::new(),
        (None, _, Some(name)) => {
            let rule =
                format!("{name:?} is a {}: its matches must be named in where, too", kind(name));
            return vec![("numerator", rule)];
        }
        (Some(name), Some(other), _) => {
            let rule = format!(
                "{name:?} is a {} and {other:?} is none: a metric counts matches of patterns and \
                 joins, or events",
                kind(name)
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
        let own = pattern.declares();
        let keys = pattern.key.as_ref().map_or(keys, std::slice::from_ref);
        let keys = keys.iter().map(String::as_str).filter(|_| keys.len() == 1);
        let known: Vec<&str> = pattern.seeks.own().iter().copied().chain(keys).chain(own).collect();
        for (key, conditions) in [("where", &metric.filter), ("numerator", &metric.numerator)] {
            found.extend(conditions.iter().filter_map(|one| Some((key, no_word(one, pattern)?))));
        }
        let stakes = match &pattern.seeks {
            Seeks::Sessions(sessions) => sessions.value.is_some(),
            _ => true,
        };
        for (key, names) in &uses {
            if !stakes && names.iter().any(|name| name == VALUE) {
                let rule = format!(
                    "{VALUE:?} of {:?} is always 0, since nothing is put at stake there: say value = \
                     \"...\" under [[sessions]]",
                    pattern.name
                );
                found.push((*key, rule));
            }
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

/// What an attribute of a match is compared with and can never be.
fn no_word(condition: &Condition, pattern: &PatternSpec) -> Option<String> {
    let Test::TextIn(texts) = &condition.test else { return None };
    let words = pattern.seeks.words(&condition.attribute)?;
    let text = texts.iter().find(|text| !words.contains(&text.as_str()))?;
    let hint = near::hint(text, words.iter().copied());
    let said: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    Some(format!(
        "{} of {:?} is never {text:?}; there are {}{hint}",
        condition.attribute,
        pattern.name,
        said.join(", ")
    ))
}
