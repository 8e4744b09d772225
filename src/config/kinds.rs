//! `[[sessions]]`: from a table to a checked specification. Called by `patterns.rs` alone, which has
//! what it has in common with patterns.

use super::document::{Node, Value};
use super::funnels::{step, step_names};
use super::item::Item;
use super::patterns::{ATTRIBUTES_MAX, Declared, Raises, checked, own_key, taken};
use super::possible::no_number;
use super::windows::Days;
use crate::domain::metric::{CalendarSpan, Condition};
use crate::domain::pattern::{
    COHORT, CohortSpec, IS_FIRST, PatternSpec, SESSION_COUNTS_MAX, SESSION_STEPS_MAX, Seeks,
    SessionsSpec, list_more,
};
use crate::domain::settings::{Derived, Word, settings};
use crate::domain::time::SpanMs;

/// Most lists of a session.
const LISTED_MAX: usize = 4;
/// Most lists of conditions under one key.
const LISTS_MAX: usize = 16;

settings! {
    /// One `[[sessions]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct KindKeys in "" {
        /// Needed; letters in lower case, digits and _. Their topic, and the event type of a session
        /// that ended.
        pub name: () = (), shape();
        /// For people. Made from the name.
        pub title: Derived<String> = Derived(None), text();
        /// The attribute whose values keep their events apart, "device_id"; "": the session key.
        pub key: Option<String> = None, text();
        /// The attribute with the key of a visitor who is not known yet, "anonymous_id": what is open of
        /// that key goes on under the known one from the event on that carries both. "": none. Its
        /// bounds are those of session.identify.
        pub identify: Option<String> = None, text();
        /// Conditions on the events that belong to them, as in where of a metric; all events with the
        /// key by default.
        pub filter as "where": () = (), shape();
        /// Silence that ends a session; an event exactly this much later still belongs to it.
        pub gap: SpanMs = 30 * MINUTE, span(SECOND, 366 * DAY);
        /// Longest session; one that goes on longer is cut after this long. "0s" for no bound; at
        /// least gap.
        pub max_length: Option<SpanMs> = None, span(0, 3_660 * DAY);
        /// What puts something at stake: event types or conditions, ["chat_opened"].
        pub entry: () = (), shape();
        /// What completes it, likewise. Without entry a session with a goal is converted.
        pub goal: () = (), shape();
        /// What takes an entry back, likewise: its value, or, where an entry or a removal carries
        /// none, one entry.
        pub remove: () = (), shape();
        /// What shows progress, likewise, in order: the furthest that was reached is kept.
        pub steps: () = (), shape();
        /// Names of the steps; by default the event types.
        pub names: Vec<String> = Vec::new(), names_in_order(0, SESSION_STEPS_MAX);
        /// Attribute summed over entry events, the value at stake; "" for none.
        pub value: Option<String> = None, text();
        /// Attributes of a session besides its own: the first or the last value that its events carry,
        /// { landing = "first.page", region = "last.region" }.
        pub attributes: Vec<(String, String)> = Vec::new(), pairs(ATTRIBUTES_MAX);
        /// Attributes that say how many of its events are of a type or meet conditions:
        /// { searches = "search", errors = "status >= 500" }. At most 16.
        pub counts: () = (), shape();
        /// What a session lists, for its alerts and whom they are told: { items = "product" } has the
        /// values of product that its entries carry, less those of what meets remove; without entry
        /// those of all its events.
        pub lists: Vec<(String, String)> = Vec::new(), pairs(LISTED_MAX);
        /// Most values of a list that are named, the first ones; further ones are counted.
        pub list_max: usize = 20, count(1, 200);
        /// Tells keys apart by when they were first seen: "day", "week" or "month" of the calendar in
        /// the zone above. The attribute cohort is the first day of it, is_first is true for the first
        /// session of a key; "none": there are no such attributes.
        pub cohort: CohortBy = CohortBy::None, word::<CohortBy>();
        /// Severity of the alert that each abandoned session raises, "info", "warning" or "critical";
        /// "none": it is counted and raises none.
        pub alert: Raises = Raises::None, word::<Raises>();
    }
}

/// Stretches that keys are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CohortBy {
    None,
    Day,
    Week,
    Month,
}

impl Word for CohortBy {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", CohortBy::None),
        ("day", CohortBy::Day),
        ("week", CohortBy::Week),
        ("month", CohortBy::Month),
    ];
}

impl CohortBy {
    fn span(self) -> Option<CalendarSpan> {
        match self {
            CohortBy::None => None,
            CohortBy::Day => Some(CalendarSpan::Days(1)),
            CohortBy::Week => Some(CalendarSpan::Days(7)),
            CohortBy::Month => Some(CalendarSpan::Months(1)),
        }
    }
}

/// One `[[sessions]]`.
pub(super) fn sessions(
    item: &mut Item<'_>,
    names: &Declared,
    of_session: &[&String],
) -> PatternSpec {
    let keys = item.reader.section(KindKeys::default());
    let events = item.conditions("where", crate::domain::metric::Facts::Events);
    let [entry, goal, remove] = ["entry", "goal", "remove"].map(|key| any(item, key, LISTS_MAX));
    let steps = any(item, "steps", SESSION_STEPS_MAX);
    let step_names = step_names(item, &steps, keys.names);
    let counts = counts(item);
    let of_counts = counts.iter().map(|(_, conditions)| ("counts", conditions));
    let lists = [("entry", &entry), ("goal", &goal), ("remove", &remove), ("steps", &steps)];
    let lists = lists.iter().flat_map(|(key, lists)| lists.iter().map(move |list| (*key, list)));
    let all = std::iter::once(("where", &events)).chain(lists).chain(of_counts);
    checked(item, all, names, of_session);
    if let Some(name) = &keys.value {
        let rule = item.attributes.wrong(name).or_else(|| no_number(name, item.attributes));
        rule.into_iter().for_each(|rule| item.reader.problem("value", rule));
    }
    let needs_entry = [("value", keys.value.is_some()), ("remove", !remove.is_empty())];
    for (key, _) in needs_entry.into_iter().filter(|(_, set)| *set && entry.is_empty()) {
        item.reader.problem(key, "has no meaning without entry: say what puts something at stake");
    }
    if keys.alert.severity().is_some() && entry.is_empty() {
        item.reader.problem("alert", "no session is abandoned without entry");
    }
    if keys.max_length.is_some_and(|most| most < keys.gap) {
        item.reader.conflict(&["max_length", "gap"], "max_length must be at least gap, or \"0s\"");
    }
    for name in keys.attributes.iter().map(|(name, _)| name).chain(counts.iter().map(|one| &one.0))
    {
        if keys.cohort != CohortBy::None && [COHORT, IS_FIRST].contains(&name.as_str()) {
            let rule = format!("every session with a cohort has {name:?} already");
            item.reader.problem("cohort", rule);
        }
    }
    for (name, _) in &counts {
        if keys.attributes.iter().any(|(known, _)| known == name) {
            item.reader.problem("counts", format!("{name:?} is one of attributes already"));
        }
    }
    check_lists(item, &keys.lists, &keys.attributes, &counts);
    let Days { zone, first_weekday } = item.days;
    let of = |span| CohortSpec { span, zone: zone.to_owned(), first_weekday };
    let seeks = Seeks::Sessions(SessionsSpec {
        events,
        entry,
        goal,
        remove,
        names: step_names,
        steps,
        counts,
        lists: keys.lists,
        list_max: keys.list_max,
        identify: keys.identify.clone(),
        value: keys.value,
        gap: keys.gap,
        max_length: keys.max_length,
        cohort: keys.cohort.span().map(of),
        // The nudges say so, which are read later.
        nudged: false,
        hidden: Vec::new(),
    });
    let attributes = taken(item, &keys.attributes, &seeks);
    PatternSpec {
        name: item.name.clone(),
        title: item.title(keys.title),
        key: identified_key(item, keys.key, keys.identify),
        attributes,
        seeks,
        alert: keys.alert.severity(),
    }
}

/// What a session lists is of attributes that there are, under names of its own.
fn check_lists(
    item: &mut Item<'_>,
    lists: &[(String, String)],
    attributes: &[(String, String)],
    counts: &[(String, Vec<Condition>)],
) {
    let own = Seeks::SESSIONS.into_iter().chain([COHORT, IS_FIRST, "sessions", "first", "last"]);
    let others = attributes.iter().map(|(name, _)| name.as_str());
    let others = others.chain(counts.iter().map(|(name, _)| name.as_str()));
    let known: Vec<&str> = own.chain(others).collect();
    for (name, attribute) in lists {
        let more = list_more(name);
        if let Some(taken) = known.iter().find(|known| **known == name || **known == more) {
            item.reader.problem("lists", format!("{name}: every session has {taken:?} already"));
        }
        if let Some(rule) = item.attributes.wrong(attribute) {
            item.reader.problem("lists", format!("{name}: {rule}"));
        }
    }
}

/// The key, where it is not the session key, or where what has it is told from what was anonymous by
/// `identify`.
fn identified_key(
    item: &mut Item<'_>,
    key: Option<String>,
    identify: Option<String>,
) -> Option<String> {
    let own = own_key(item, key);
    let Some(anonymous) = identify else { return own };
    if let Some(rule) = item.attributes.wrong(&anonymous) {
        item.reader.problem("identify", rule);
    }
    let keys = item.attributes.keys();
    let key = own.or_else(|| if let [key] = keys { Some(key.clone()) } else { None });
    if key.is_none() {
        let rule = "needs a key of one attribute, and events.key names several: say key = \"...\"";
        item.reader.problem("identify", rule);
    }
    if key.as_ref() == Some(&anonymous) {
        let rule = format!(
            "must name another attribute than the key: the one that holds a visitor's key before \
             {anonymous:?} is known"
        );
        item.reader.problem("identify", rule);
    }
    key
}

/// Event types or conditions; a lone one needs no list around it.
fn any(item: &mut Item<'_>, key: &'static str, most: usize) -> Vec<Vec<Condition>> {
    let attributes = item.attributes;
    item.reader.read(key, Vec::new(), |node| match &node.value {
        Value::List(nodes) if nodes.len() <= most => {
            nodes.iter().map(|node| step(node, attributes)).collect()
        }
        Value::List(_) => Err(format!("must hold at most {most} event types or conditions")),
        _ => step(node, attributes).map(|conditions| vec![conditions]),
    })
}

/// `{ searches = "search", errors = "status >= 500" }`.
fn counts(item: &mut Item<'_>) -> Vec<(String, Vec<Condition>)> {
    let attributes = item.attributes;
    let own = Seeks::SESSIONS;
    item.reader.read("counts", Vec::new(), |node| {
        let Value::Table(table) = &node.value else {
            return Err(
                "must be a table, { searches = \"search\", errors = \"status >= 500\" }".into()
            );
        };
        if table.len() > SESSION_COUNTS_MAX {
            return Err(format!("must hold at most {SESSION_COUNTS_MAX} names"));
        }
        let count = |(name, node): (&String, &Node)| {
            if own.contains(&name.as_str()) {
                return Err(format!("every session has {name:?} already"));
            }
            let conditions = step(node, attributes).map_err(|rule| format!("{name}: {rule}"))?;
            Ok((name.clone(), conditions))
        };
        table.iter().map(count).collect()
    })
}
