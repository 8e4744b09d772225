//! `[[funnel]]`: from tables to checked specifications. A funnel is something that is looked for
//! among the events of a key (`domain::pattern`), and metrics of what it finds. Called by
//! `sections.rs` alone.

use super::attributes::Attributes;
use super::document::{Node, Value};
use super::item::Item;
use super::metrics;
use super::patterns::{Declared, checked, meant, own_key, several};
use super::whole::types_named;
use super::windows::parse_window;
use crate::domain::metric::aggregate::{Count, Quantile};
use crate::domain::metric::{Aggregate, Condition, MetricSpec, Test, WindowSpec};
use crate::domain::pattern::{
    FunnelSpec, LEFT, OUTCOME, PatternSpec, REACHED, STEP, Seeks, Side, THEN_MAX, Taken, WAITED,
    metric_name,
};
use crate::domain::settings::terms::SECOND;
use crate::domain::settings::{Derived, settings};
use crate::domain::time::SpanMs;

/// Most funnels.
pub(super) const FUNNELS_MAX: usize = 50;
/// Most steps.
const STEPS_MAX: usize = THEN_MAX + 1;
/// Most labels besides the step: metrics have four.
const BY_MAX: usize = 3;

settings! {
    /// One `[[funnel]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct FunnelKeys in "" {
        /// Needed; letters in lower case, digits and _. Its topic, and the event type of what it
        /// finds.
        pub name: () = (), shape();
        /// For people. Made from the name.
        pub title: Derived<String> = Derived(None), text();
        /// The attribute whose values keep its events apart, "device_id"; "": the session key.
        pub key: Option<String> = None, text();
        /// Needed: what must come, one after the other: event types, or conditions as in where of
        /// a metric, ["page_view", { type = "cart_add", amount = { ge = 10 } }]. 2 to 17 steps.
        pub steps: () = (), shape();
        /// Their names; by default the event types.
        pub names: Vec<String> = Vec::new(), names_in_order(0, STEPS_MAX);
        /// Needed: all of it lies within this time, counted from the first event. What happens
        /// exactly so long after it still counts.
        pub within: Derived<SpanMs> = Derived(None), span(1, 366 * DAY);
        /// Conditions on an event that ends it, such as an emptied cart; of a list any does.
        pub without: () = (), shape();
        /// Attributes of the first event: the same once more for each of their values.
        pub by: Vec<String> = Vec::new(), names_in_order(0, BY_MAX);
        /// So many combinations of step and values of by have a number of their own.
        pub group_limit: usize = 100, count(2, 10_000);
        /// Over which stretch of time it is counted, as window of a metric. By default
        /// { since_midnight = true, slide = "10s" }.
        pub window: () = (), shape();
        /// History, as keep of a metric.
        pub keep: Derived<SpanMs> = Derived(None), span(SECOND, 3_660 * DAY);
    }
}

/// A funnel, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Funnel {
    /// What is looked for.
    pub pattern: PatternSpec,
    /// Labels besides the step.
    pub by: Vec<String>,
    /// Most combinations of labels.
    pub group_limit: usize,
    /// Over which stretch of time it is counted.
    pub window: WindowSpec,
    /// How much history is kept.
    pub keep: SpanMs,
    /// When groups leave.
    pub group_silence: SpanMs,
}

/// One `[[funnel]]`. `names`: those of everything that is looked for.
pub(super) fn funnel(item: &mut Item<'_>, names: &Declared, of_session: &[&String]) -> Funnel {
    item.reader.need("steps", "steps = [\"page_view\", \"cart_add\", \"payment_completed\"]");
    item.reader.need("within", "within = \"30m\"");
    let keys = item.reader.section(FunnelKeys::default());
    let attributes = item.attributes;
    let steps = item.reader.read("steps", Vec::new(), |node| match &node.value {
        Value::List(nodes) if (2..=STEPS_MAX).contains(&nodes.len()) => {
            nodes.iter().map(|node| step(node, attributes)).collect()
        }
        _ => Err(format!("must be a list of 2 to {STEPS_MAX} event types or conditions")),
    });
    let without = several(item, "without");
    let step_names = step_names(item, &steps, keys.names);
    let lists = [("steps", &steps), ("without", &without)];
    let lists = lists.into_iter();
    let all = lists.flat_map(|(key, lists)| lists.iter().map(move |list| (key, list)));
    checked(item, all, names, of_session);
    let within = keys.within.0.unwrap_or(SECOND);
    let seeks = Seeks::Funnel(FunnelSpec { names: step_names, steps, without, within });
    for name in &keys.by {
        let own = || seeks.own().contains(&name.as_str());
        let own = own().then(|| format!("every event of a funnel has {name:?} already"));
        if let Some(rule) = own.or_else(|| item.attributes.wrong(name)) {
            item.reader.problem("by", rule);
        }
    }
    let days = item.days;
    let today = WindowSpec::SinceMidnight { zone: days.zone.to_owned(), slide: 10 * SECOND };
    let window = item.reader.read("window", today, |node| parse_window(node, days));
    let keep = metrics::keep(item, &Count.into(), &window, keys.keep);
    let first =
        |name: &String| (name.clone(), Taken { side: Side::First, attribute: name.clone() });
    let funnel = Funnel {
        pattern: PatternSpec {
            name: item.name.clone(),
            title: item.title(keys.title),
            key: own_key(item, keys.key),
            seeks,
            attributes: keys.by.iter().map(first).collect(),
            alert: None,
        },
        group_silence: metrics::group_silence(item, &window, keep, Derived(None)),
        by: keys.by,
        group_limit: keys.group_limit,
        window,
        keep,
    };
    funnel.metrics().iter().for_each(|metric| metrics::history_fits(item, metric));
    funnel
}

impl Funnel {
    /// The metrics of what it finds.
    pub fn metrics(&self) -> Vec<MetricSpec> {
        let steps = match &self.pattern.seeks {
            Seeks::Funnel(funnel) => funnel.names.len(),
            _ => 0,
        };
        let count: Aggregate = Count.into();
        let median = Quantile { quantile: 0.5, error: 0.02 }.into();
        let of = [(REACHED, &count, None), (LEFT, &count, None), (WAITED, &median, Some(WAITED))];
        let labels = [Vec::new(), self.by.clone()];
        let all = labels.iter().take(if self.by.is_empty() { 1 } else { 2 });
        let metric =
            |by: &Vec<String>, (what, aggregate, field): (&str, &Aggregate, Option<&str>)| {
                let outcome = if what == LEFT { LEFT } else { REACHED };
                let test = |attribute: &str, test| Condition { attribute: attribute.into(), test };
                let is = |attribute, text: &str| test(attribute, Test::TextIn(vec![text.into()]));
                let mut filter = vec![is("type", &self.pattern.name), is(OUTCOME, outcome)];
                filter.extend(field.map(|field| test(field, Test::Exists(true))));
                let name = metric_name(&self.pattern.name, what, !by.is_empty());
                MetricSpec {
                    title: format!("{}: {}", self.pattern.title, title(what, by)),
                    unit: if field.is_some() { "s".into() } else { String::new() },
                    filter,
                    group_by: std::iter::once(STEP.to_owned()).chain(by.iter().cloned()).collect(),
                    group_limit: if by.is_empty() { steps } else { self.group_limit },
                    group_silence: self.group_silence,
                    field: field.map(str::to_owned),
                    keep: self.keep,
                    ..MetricSpec::new(&name, aggregate.clone(), self.window.clone())
                }
            };
        all.flat_map(|by| of.map(|one| metric(by, one))).collect()
    }

    /// The names that it takes among metrics, each with what to call it.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        let own = &self.pattern.name;
        let metrics = self.metrics().into_iter().map(|metric| metric.name);
        let names = std::iter::once(own.clone()).chain(metrics);
        names.map(|name| (name, format!("funnel {own:?}"))).collect()
    }
}

/// What one of its metrics says.
fn title(what: &str, by: &[String]) -> String {
    let says = match what {
        REACHED => "reached",
        LEFT => "left",
        _ => "median time from the step before",
    };
    if by.is_empty() { says.to_owned() } else { format!("{says}, by {}", by.join(", ")) }
}

/// An event type, or conditions.
pub(super) fn step(node: &Node, attributes: &Attributes<'_>) -> Result<Vec<Condition>, String> {
    match node.text("") {
        Ok(name) if name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_') => {
            let test = Test::TextIn(vec![name.to_owned()]);
            Ok(vec![Condition { attribute: "type".into(), test }])
        }
        _ => meant(node, attributes),
    }
}

/// As they are written, or made of the event types.
pub(super) fn step_names(
    item: &mut Item<'_>,
    steps: &[Vec<Condition>],
    written: Vec<String>,
) -> Vec<String> {
    if !written.is_empty() {
        if written.len() != steps.len() && !item.reader.is_wrong("steps") {
            let rule =
                format!("must name each step: {} names, {} steps", written.len(), steps.len());
            item.reader.problem("names", rule);
        }
        return written;
    }
    let mut names: Vec<String> = Vec::new();
    for (number, conditions) in steps.iter().enumerate() {
        let types: Vec<&str> =
            conditions.iter().flat_map(types_named).map(String::as_str).collect();
        let name = types.join(" or ");
        if name.is_empty() || names.contains(&name) {
            let rule = format!(
                "step {} is not told apart by its event type: name all steps (names = [...])",
                number + 1
            );
            item.reader.problem("steps", rule);
        }
        names.push(name);
    }
    names
}
