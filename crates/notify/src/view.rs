//! What templates and channels see of a notification: the same names for all kinds and steps.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json};
use tidewatch_core::incident::{Notification, Recipient, Step};
use tidewatch_core::time::EpochMs;

/// A notification, taken apart. Texts are empty, numbers missing and lists empty where they do not
/// apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct View {
    /// `incident`, `occurrence`, `digest` or `nudge`.
    pub kind: &'static str,
    /// `fired`, `again`, `acknowledged`, `resolved`, `occurred`, `digest` or `nudge`.
    pub step: String,
    /// What it is about.
    pub id: String,
    /// The key of the notification.
    pub key: String,
    pub route: String,
    pub channel: String,
    /// When it was decided, in ms.
    pub at: EpochMs,
    /// The rule, the pattern, or the kind of the occurrence; of a digest the route.
    pub rule: String,
    pub metric: String,
    /// `info`, `warning` or `critical`; of a digest the highest.
    pub severity: String,
    /// One sentence.
    pub title: String,
    /// The group as text, or the session's key.
    pub subject: String,
    /// Labels of the group, or facts of the occurrence.
    pub labels: BTreeMap<String, String>,
    pub value: Option<f64>,
    pub expected: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub far: Option<f64>,
    /// In which measure `far` is.
    pub measure: String,
    /// Why it moved, a line each.
    pub why: Vec<String>,
    /// When it began, in ms.
    pub since: Option<EpochMs>,
    /// When it was over or collected, in ms.
    pub until: Option<EpochMs>,
    /// Why it is over.
    pub over: String,
    pub runbook: String,
    /// Who takes care of it, and what they added.
    pub by: String,
    pub note: String,
    /// How many groups it has held for, or how many things were collected.
    pub count: u64,
    /// The first of what was collected.
    pub named: Vec<View>,
    /// What somebody left, of a nudge, and how many more there are.
    pub items: Vec<String>,
    pub more: u64,
    /// Where they say that they want no more of it.
    pub unsubscribe: String,
    /// Which version of the rule.
    pub version: String,
    /// Where the page shows it.
    pub link: String,
    /// All facts as they are.
    pub detail: Map<String, Json>,
}

impl View {
    /// Takes a notification apart. `page` is where the page is, or empty.
    pub fn of(told: &Notification, page: &str) -> View {
        let facts = told.facts.as_object().cloned().unwrap_or_default();
        let mut view = match told.step {
            Step::Digest => digest(&facts),
            Step::Occurred => occurrence(&facts),
            Step::Nudge => nudge(&facts, told.recipient.as_ref()),
            Step::Fired | Step::Again | Step::Acknowledged | Step::Resolved => incident(&facts),
        };
        view.step = told.step.word().to_owned();
        view.key.clone_from(&told.key);
        view.route.clone_from(&told.route);
        view.channel.clone_from(&told.channel);
        view.id.clone_from(&told.about);
        view.at = told.at;
        if told.step == Step::Digest {
            view.rule.clone_from(&told.route);
        }
        // Who left something in a cart has no business on the page.
        if !page.is_empty() && told.step != Step::Nudge {
            let page = page.trim_end_matches('/');
            view.link = if view.kind == "incident" {
                format!("{page}/#{}", view.id)
            } else {
                format!("{page}/")
            };
        }
        view
    }
}

fn text(facts: &Map<String, Json>, name: &str) -> String {
    facts.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn number(facts: &Map<String, Json>, name: &str) -> Option<f64> {
    facts.get(name).and_then(Json::as_f64)
}

fn object(facts: &Map<String, Json>, name: &str) -> Map<String, Json> {
    facts.get(name).and_then(Json::as_object).cloned().unwrap_or_default()
}

fn texts(facts: &Map<String, Json>) -> BTreeMap<String, String> {
    let plain = facts.iter().filter_map(|(name, fact)| match fact {
        Json::String(text) => Some((name.clone(), text.clone())),
        Json::Number(_) | Json::Bool(_) => Some((name.clone(), fact.to_string())),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    });
    plain.collect()
}

fn incident(facts: &Map<String, Json>) -> View {
    let detail = object(facts, "detail");
    let (resolved, acknowledged) = (object(facts, "resolved"), object(facts, "acknowledged"));
    let holds_for = facts.get("holds_for").and_then(Json::as_array);
    let first = holds_for.and_then(|groups| groups.first()?.as_str());
    View {
        kind: "incident",
        id: text(facts, "id"),
        step: text(facts, "step"),
        rule: text(facts, "rule"),
        metric: text(facts, "metric"),
        severity: text(facts, "severity"),
        title: text(facts, "title"),
        subject: first.unwrap_or_default().to_owned(),
        labels: texts(&object(facts, "group")),
        value: number(&detail, "value"),
        expected: number(&detail, "expected"),
        low: number(&detail, "low"),
        high: number(&detail, "high"),
        far: number(&detail, "far"),
        measure: text(&detail, "measure"),
        why: why(&detail),
        since: facts.get("since").and_then(Json::as_i64),
        until: resolved.get("at").and_then(Json::as_i64),
        over: text(&resolved, "why"),
        runbook: text(facts, "runbook"),
        by: text(&acknowledged, "by"),
        note: text(&acknowledged, "note"),
        count: facts.get("held_for").and_then(Json::as_u64).unwrap_or(1),
        version: text(facts, "version"),
        detail,
        ..View::default()
    }
}

fn occurrence(facts: &Map<String, Json>) -> View {
    let detail = object(facts, "detail");
    let kind = text(facts, "kind");
    let named = text(&detail, &kind);
    let at = facts.get("at").and_then(Json::as_i64);
    View {
        kind: "occurrence",
        id: text(facts, "id"),
        step: "occurred".into(),
        rule: if named.is_empty() { kind } else { named },
        severity: text(facts, "severity"),
        title: text(facts, "title"),
        subject: text(facts, "subject"),
        labels: texts(&detail),
        value: number(&detail, "value"),
        since: detail.get("first").and_then(Json::as_i64).or(at),
        at: at.unwrap_or_default(),
        count: 1,
        detail,
        ..View::default()
    }
}

fn digest(facts: &Map<String, Json>) -> View {
    let items = facts.get("named").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let named: Vec<View> = items
        .iter()
        .filter_map(Json::as_object)
        .map(|item| if item.contains_key("rule") { incident(item) } else { occurrence(item) })
        .collect();
    let rank = |view: &&View| match view.severity.as_str() {
        "critical" => 2,
        "warning" => 1,
        _ => 0,
    };
    let highest = named.iter().max_by_key(rank).map(|view| view.severity.clone());
    let count = facts.get("count").and_then(Json::as_u64).unwrap_or_default();
    View {
        kind: "digest",
        severity: highest.unwrap_or_else(|| "info".into()),
        title: title_of_many(count, &named),
        value: number(facts, "value").filter(|value| *value != 0.0),
        since: facts.get("since").and_then(Json::as_i64),
        until: facts.get("until").and_then(Json::as_i64),
        count,
        named,
        detail: facts.clone(),
        ..View::default()
    }
}

fn nudge(facts: &Map<String, Json>, recipient: Option<&Recipient>) -> View {
    let items = facts.get("items").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let items = items.iter().map(|item| match item {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    });
    let unsubscribe = recipient.and_then(|recipient| recipient.unsubscribe.clone());
    View {
        kind: "nudge",
        severity: "info".into(),
        title: "You left something in your cart".into(),
        labels: texts(facts),
        value: number(facts, "value"),
        since: facts.get("first").and_then(Json::as_i64),
        until: facts.get("last").and_then(Json::as_i64),
        items: items.collect(),
        more: facts.get("more").and_then(Json::as_u64).unwrap_or_default(),
        unsubscribe: unsubscribe.unwrap_or_default(),
        count: 1,
        detail: facts.clone(),
        ..View::default()
    }
}

/// `312 times abandoned`, `4 notifications of incidents`.
fn title_of_many(count: u64, named: &[View]) -> String {
    let first = named.first();
    let same = |view: &View| Some(&view.rule) == first.map(|first| &first.rule);
    match first {
        Some(first) if first.kind == "occurrence" && named.iter().all(same) => {
            format!("{count} × {}", first.rule)
        }
        Some(first) if first.kind == "incident" => {
            let s = if count == 1 { "" } else { "s" };
            format!("{count} notification{s} of incidents")
        }
        _ => format!("{count} occurrences"),
    }
}

/// `orders_by_region: region=eu at 12 instead of 60, 82 % of it`.
fn why(detail: &Map<String, Json>) -> Vec<String> {
    let metrics = detail.get("why").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let mut lines = Vec::new();
    for metric in metrics.iter().filter_map(Json::as_object) {
        let groups = metric.get("groups").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        for group in groups.iter().filter_map(Json::as_object) {
            let labels = texts(&object(group, "group"));
            let named: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let named = if named.is_empty() { "others".to_owned() } else { named.join(", ") };
            let figure = |name| number(group, name).map_or("?".to_owned(), show_number);
            let share = number(group, "share");
            let share = share.map(|share| format!(", {:.0} % of it", share * 100.0));
            lines.push(format!(
                "{}: {named} at {} instead of {}{}",
                text(metric, "metric"),
                figure("value"),
                figure("usual"),
                share.unwrap_or_default()
            ));
        }
    }
    lines
}

/// A number for people: `22,104.50`, `312`, `0.0312`.
pub(crate) fn show_number(number: f64) -> String {
    let size = number.abs();
    let plain = match size {
        _ if size >= 1e15 || !number.is_finite() => return format!("{number}"),
        _ if number.fract() == 0.0 => format!("{size:.0}"),
        _ if size >= 10.0 => format!("{size:.2}"),
        _ if size >= 0.01 => format!("{size:.4}").trim_end_matches('0').to_owned(),
        _ => return format!("{number:.3e}"),
    };
    let (whole, rest) = plain.split_once('.').map_or((&*plain, None), |(a, b)| (a, Some(b)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if number < 0.0 { "-" } else { "" };
    rest.map_or(format!("{sign}{grouped}"), |rest| format!("{sign}{grouped}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        for (number, shown) in [
            (312.0, "312"),
            (22_104.5, "22,104.50"),
            (-1_234_567.0, "-1,234,567"),
            (0.25, "0.25"),
            (0.031_25, "0.0312"),
            (0.000_12, "1.200e-4"),
            (0.0, "0"),
            (999.0, "999"),
            (1_000.0, "1,000"),
        ] {
            assert_eq!(show_number(number), shown);
        }
    }
}
