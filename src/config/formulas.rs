//! `formula = "errors / requests"`: a `[[metric]]` that is computed of others. Called by
//! `metrics.rs`; `domain::metric` says what a formula means.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::attributes::in_order;
use super::document::{Node, Value};
use super::units::{parse_calendar, parse_span, show_span};
use crate::domain::expr::{Expr, Kind, Scope};
use crate::domain::keeper::window_words;
use crate::domain::metric::{
    Ago, CalendarSpan, Facts, FormulaSpec, MetricSpec, Operand, WindowSpec,
};
use crate::domain::near;
use crate::domain::settings::terms::DAY;
use crate::domain::time::SpanMs;

/// The key that makes a metric one of others.
pub(super) const FORMULA: &str = "formula";

/// Keys that have no meaning beside it: they are those of its operands.
pub(super) const OF_OPERANDS: [&str; 7] =
    ["of", "where", "aggregate", "numerator", "field", "group_by", "window"];

/// What is known of metrics when formulas are read.
pub(super) struct Declared {
    /// The numbers of the tables that are formulas, each behind those that it uses.
    pub order: Vec<usize>,
    names: Vec<String>,
    /// A circle, as text.
    circle: String,
}

impl Declared {
    /// Of all `[[metric]]` tables. Those of a circle come last.
    pub fn new(tables: &[Node]) -> Declared {
        let text = |node: &Node, key: &str| match &node.value {
            Value::Table(table) => match &table.get(key)?.value {
                Value::Text(text) => Some(text.clone()),
                _ => Some(String::new()),
            },
            _ => None,
        };
        let names: Vec<String> =
            tables.iter().map(|node| text(node, "name").unwrap_or_default()).collect();
        let formulas: Vec<(usize, String)> = tables
            .iter()
            .enumerate()
            .filter_map(|(at, node)| Some((at, text(node, FORMULA)?)))
            .collect();
        let uses: BTreeMap<&str, Vec<String>> = formulas
            .iter()
            .map(|(at, text)| {
                let mentioned = Mentioned::default();
                let _ = Expr::parse(text, &mentioned);
                (names[*at].as_str(), mentioned.0.into_inner())
            })
            .collect();
        let (ordered, circle) = in_order(&uses);
        let circle = circle.unwrap_or_default().join(" -> ");
        let place = |at: &usize| {
            let name = names[*at].as_str();
            ordered.iter().position(|known| *known == name).unwrap_or(usize::MAX)
        };
        let mut order: Vec<usize> = formulas.iter().map(|(at, _)| *at).collect();
        order.sort_by_key(place);
        Declared { order, names, circle }
    }
}

/// To find out which metrics a formula mentions.
#[derive(Default)]
struct Mentioned(RefCell<Vec<String>>);

impl Scope for Mentioned {
    fn kind(&self, name: &str) -> Result<Kind, String> {
        self.0.borrow_mut().push(name.to_owned());
        Ok(Kind::Number)
    }

    fn ago(&self, name: &str, _: &str) -> Result<Kind, String> {
        self.kind(name)
    }
}

/// Most formulas that may stand on each other.
const DEPTH_MAX: usize = 4;

/// How many formulas stand on each other up to this one; 0 for one that is none.
fn depth(known: &[(usize, MetricSpec)], spec: &MetricSpec) -> usize {
    let Some(formula) = &spec.formula else { return 0 };
    let operands = formula.operands.iter();
    let of = operands.filter_map(|one| known.iter().find(|(_, spec)| spec.name == one.metric));
    1 + of.map(|(_, spec)| depth(known, spec)).max().unwrap_or(0)
}

/// The metrics that a formula may use, and what it makes of them.
struct Operands<'a> {
    declared: &'a Declared,
    known: &'a [(usize, MetricSpec)],
    found: RefCell<Vec<Operand>>,
}

impl<'a> Operands<'a> {
    fn metric(&self, name: &str) -> Result<&'a MetricSpec, String> {
        let Some((_, spec)) = self.known.iter().find(|(_, spec)| spec.name == name) else {
            let Declared { names, circle, .. } = self.declared;
            if names.iter().any(|known| known == name) {
                return Err(format!("{name} comes back to itself: {circle}"));
            }
            let hint = near::hint(name, names.iter().map(String::as_str));
            return Err(format!("{name:?} is no metric; there are {}{hint}", names.join(", ")));
        };
        if depth(self.known, spec) >= DEPTH_MAX {
            return Err(format!(
                "{name} is a formula of formulas already: at most {DEPTH_MAX} may stand on each other"
            ));
        }
        if spec.of == Facts::LiveSessions {
            return Err(format!("{name} has no windows: it is what is open now"));
        }
        if !spec.window.ends_with(&spec.window) {
            let says = window_words(&spec.window);
            return Err(format!("the windows of {name} ({says}) end with no others"));
        }
        if !spec.aggregate.shape().is_scalar() {
            let word = spec.aggregate.word();
            return Err(format!("{name} must have one number for each window: a {word} has none"));
        }
        Ok(spec)
    }

    fn operand(&self, metric: &str, ago: Option<Ago>) -> Result<Kind, String> {
        self.found.borrow_mut().push(Operand { metric: metric.to_owned(), ago });
        Ok(Kind::Number)
    }
}

impl Scope for Operands<'_> {
    fn kind(&self, name: &str) -> Result<Kind, String> {
        self.metric(name)?;
        self.operand(name, None)
    }

    fn ago(&self, name: &str, span: &str) -> Result<Kind, String> {
        let spec = self.metric(name)?;
        let (ago, longest) = look_back(&spec.window, span)?;
        if longest > spec.keep {
            return Err(format!(
                "looks back {}, and {name} keeps {}: write keep = \"{}\" there",
                show_span(longest),
                show_span(spec.keep),
                show_span(longest)
            ));
        }
        self.operand(name, Some(ago))
    }
}

/// What a length means on the grid of a window, and how long that is at most.
fn look_back(window: &WindowSpec, text: &str) -> Result<(Ago, SpanMs), String> {
    let calendar = parse_calendar(text);
    let says = window_words(window);
    match window {
        WindowSpec::Calendar { span, .. } => {
            let blocks = match (span, calendar) {
                (CalendarSpan::Days(own), Some(CalendarSpan::Days(days))) => {
                    (days % own == 0).then(|| days / own)
                }
                (CalendarSpan::Months(own), Some(CalendarSpan::Months(months))) => {
                    (months % own == 0).then(|| months / own)
                }
                _ => None,
            };
            let rule = format!(
                "{text:?} is no number of its windows ({says}): write as many days, weeks or months as those have"
            );
            let blocks = blocks.ok_or(rule)?;
            Ok((Ago::Blocks(blocks), blocks.saturating_mul(span.longest())))
        }
        WindowSpec::SinceMidnight { .. } => match calendar {
            Some(span @ CalendarSpan::Days(days)) => Ok((Ago::Days(days), span.longest())),
            _ => Err(format!(
                "{text:?} must be whole days, such as \"1d\" or \"1w\": totals begin at midnight"
            )),
        },
        WindowSpec::Tumbling { .. }
        | WindowSpec::Hopping { .. }
        | WindowSpec::Sliding { .. }
        | WindowSpec::SinceStart { .. }
        | WindowSpec::Since { .. }
        | WindowSpec::Burst { .. }
        | WindowSpec::Last { .. } => {
            let span = match calendar {
                // A day of exact hours has 24 of them.
                Some(CalendarSpan::Days(days)) => days.checked_mul(DAY).ok_or("is too long")?,
                _ => parse_span(text).map_err(|rule| format!("{text:?} {rule}"))?,
            };
            let step = window.step();
            if span == 0 || span % step != 0 {
                let step = show_span(step);
                return Err(format!(
                    "{text:?} must be a multiple of {step}, the distance of its windows"
                ));
            }
            Ok((Ago::Span(span), span))
        }
    }
}

/// A formula that was read.
pub(super) struct Read {
    pub formula: FormulaSpec,
    /// The longest window of its operands.
    pub window: WindowSpec,
    pub group_by: Vec<String>,
    /// The most of its operands.
    pub group_limit: usize,
}

/// Reads one.
///
/// # Errors
/// The rule that is broken.
pub(super) fn read(
    text: &str,
    declared: &Declared,
    known: &[(usize, MetricSpec)],
) -> Result<Read, String> {
    let scope = Operands { declared, known, found: RefCell::default() };
    let expr = Expr::parse(text, &scope).map_err(|error| error.to_string())?;
    if expr.kind() != Kind::Number {
        return Err(format!("a formula is a number, and this is {}", expr.kind()));
    }
    let operands = scope.found.take();
    let specs: Vec<&MetricSpec> =
        operands.iter().map(|operand| scope.metric(&operand.metric)).collect::<Result<_, _>>()?;
    let Some(first) = specs.first() else {
        return Err("names no metric: write such as \"errors / requests\"".into());
    };
    if let Some(other) = specs.iter().find(|other| !first.window.ends_with(&other.window)) {
        return Err(format!(
            "the windows of {} ({}) and {} ({}) do not end together: give both the same step",
            first.name,
            window_words(&first.window),
            other.name,
            window_words(&other.window)
        ));
    }
    let grouped: Vec<&&MetricSpec> = specs.iter().filter(|one| !one.group_by.is_empty()).collect();
    let group_by = grouped.first().map_or(&[][..], |one| &one.group_by);
    if let Some(other) = grouped.iter().find(|other| other.group_by != group_by) {
        return Err(format!(
            "{} is by {} and {} by {}: give both the same group_by, or one of them none",
            grouped[0].name,
            group_by.join(", "),
            other.name,
            other.group_by.join(", ")
        ));
    }
    let longest = specs.iter().map(|one| &one.window).max_by_key(|window| window.longest());
    Ok(Read {
        window: longest.unwrap_or(&first.window).clone(),
        group_by: group_by.to_vec(),
        group_limit: grouped.iter().map(|one| one.group_limit).max().unwrap_or(1),
        formula: FormulaSpec { expr, operands },
    })
}
