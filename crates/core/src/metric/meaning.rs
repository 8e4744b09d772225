//! What a metric is, as text: what decides its numbers, and nothing else. State is kept by
//! it, so a title, a unit, a longer history or another place in the file change nothing.

use std::collections::BTreeSet;

use super::aggregate::Needs;
use super::spec::{CalendarSpan, Condition, Facts, FormulaSpec, MetricSpec, Test, WindowSpec};
use crate::event::Derived;
use crate::hash::fingerprint;
use crate::settings::{Word as _, entries};

/// Fingerprint of what a metric is. `key` is the attribute of events that holds the session
/// key: a distinct count without a field is one of keys. `derived`: those of its attributes that
/// are computed of others, by name. Part of the state on disk: texts here never change.
pub fn meaning(spec: &MetricSpec, key: &str, derived: &[&Derived]) -> u64 {
    let computed = |Derived { name, how }: &&Derived| format!("derived {name} = {how}\n");
    let computed: String = derived.iter().map(computed).collect();
    fingerprint((words(spec, key) + &computed).as_bytes())
}

fn words(spec: &MetricSpec, key: &str) -> String {
    let of = match spec.of {
        Facts::Events => "events",
        Facts::Sessions => "sessions",
        Facts::LiveSessions => "live_sessions",
        Facts::Metrics => "metrics",
    };
    let settings = entries(&spec.aggregate).map(|(_, value)| format!(" {value}"));
    let aggregate = spec.aggregate.word().to_owned() + &settings.collect::<String>();
    let field = match (&spec.field, spec.aggregate.needs()) {
        (Some(field), _) => field.clone(),
        (None, Needs::Value) => key.to_owned(),
        (None, _) => String::new(),
    };
    format!(
        "of {of}\naggregate {aggregate}\nfield {field:?}\nwhere {}\nnumerator {}\n\
         group_by {:?}\nwindow {}\n",
        conditions(&spec.filter),
        conditions(&spec.numerator),
        spec.group_by,
        window(&spec.window)
    )
}

/// The same of a formula, by what its operands are: not by their names.
pub(super) fn of_formula(formula: &FormulaSpec, window: &WindowSpec, operands: &[u64]) -> u64 {
    let names = operands.iter().zip(&formula.operands);
    let names = names.map(|(meaning, operand)| format!("{meaning:016x}{:?}", operand.ago));
    let expr = formula.expr.renamed(names.collect());
    fingerprint(format!("formula {expr}\nwindow {}\n", self::window(window)).as_bytes())
}

/// All of them must hold, so their order says nothing.
pub(super) fn conditions(conditions: &[Condition]) -> String {
    let words: BTreeSet<String> = conditions
        .iter()
        .map(|Condition { attribute, test }| format!("{attribute:?} {}", test_words(test)))
        .collect();
    words.into_iter().collect::<Vec<_>>().join(" and ")
}

fn test_words(test: &Test) -> String {
    let sorted = |words: BTreeSet<String>| words.into_iter().collect::<Vec<_>>().join(",");
    match test {
        Test::TextIn(texts) => {
            format!("text {}", sorted(texts.iter().map(|text| format!("{text:?}")).collect()))
        }
        Test::NumberIn(numbers) => {
            format!("number {}", sorted(numbers.iter().map(ToString::to_string).collect()))
        }
        Test::Is(truth) => format!("is {truth}"),
        Test::Ge(number) => format!("ge {number}"),
        Test::Gt(number) => format!("gt {number}"),
        Test::Le(number) => format!("le {number}"),
        Test::Lt(number) => format!("lt {number}"),
        Test::Exists(truth) => format!("exists {truth}"),
        Test::Holds(_) => "holds".into(),
    }
}

fn window(window: &WindowSpec) -> String {
    match window {
        WindowSpec::Tumbling { size } => format!("tumbling {size}"),
        WindowSpec::Hopping { size, slide } => format!("hopping {size} {slide}"),
        WindowSpec::Sliding { size, slide, numbers } => format!("sliding {size} {slide} {numbers}"),
        WindowSpec::Calendar { span, panes, zone, first_weekday } => match span {
            // A day is a day, whatever weeks begin with.
            CalendarSpan::Days(1) => format!("days 1 times {panes} {zone}"),
            CalendarSpan::Days(days) => {
                format!("days {days} times {panes} from {} {zone}", first_weekday.word())
            }
            CalendarSpan::Months(months) => format!("months {months} times {panes} {zone}"),
        },
        WindowSpec::SinceMidnight { zone, slide } => format!("since midnight {zone} {slide}"),
        WindowSpec::SinceStart { slide } => format!("since start {slide}"),
        WindowSpec::Since { event, slide } => format!("since {event:?} {slide}"),
        WindowSpec::Burst { gap, slide } => format!("burst {gap} {slide}"),
        WindowSpec::Last { num, slide } => format!("last {num} {slide}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::How;
    use crate::expr::{Expr, Kind, Scope};
    use crate::metric::aggregate::{Count, Distinct};

    fn spec() -> MetricSpec {
        let where_ = |attribute: &str, text: &str| Condition {
            attribute: attribute.into(),
            test: Test::TextIn(vec![text.into(), "z".into()]),
        };
        let distinct = Distinct { exact_up_to: 10 };
        MetricSpec {
            filter: vec![where_("type", "order"), where_("region", "eu")],
            group_by: vec!["region".into()],
            ..MetricSpec::new("orders", distinct, WindowSpec::Tumbling { size: 60_000 })
        }
    }

    #[test]
    fn what_is_said_about_a_metric_is_not_what_it_is() {
        let same = meaning(&spec(), "user", &[]);
        let edits: [fn(&mut MetricSpec); 7] = [
            |spec| spec.title = "All orders".into(),
            |spec| spec.unit = "1/min".into(),
            |spec| spec.keep = 2_000,
            |spec| spec.name = "all_orders".into(),
            |spec| spec.group_limit = 20,
            |spec| spec.filter.reverse(),
            |spec| spec.filter[0].test = Test::TextIn(vec!["z".into(), "order".into()]),
        ];
        for edit in edits {
            let mut edited = spec();
            edit(&mut edited);
            assert_eq!(meaning(&edited, "user", &[]), same, "{edited:?}");
        }
    }

    #[test]
    fn what_its_attributes_are_computed_of_is_part_of_it() {
        struct Attributes;
        impl Scope for Attributes {
            fn kind(&self, _: &str) -> Result<Kind, String> {
                Ok(Kind::Any)
            }
        }
        let net = |text: &str| {
            let derived = Derived {
                name: "net".into(),
                how: How::Expr(Expr::parse(text, &Attributes).unwrap()),
            };
            meaning(&spec(), "user", &[&derived])
        };
        let all = [meaning(&spec(), "user", &[]), net("a - b"), net("b - a")];
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(net("a - b"), net("a-b"), "spaces say nothing");
    }

    #[test]
    fn whatever_changes_its_numbers_is_another_metric() {
        let mut all =
            BTreeSet::from([meaning(&spec(), "user", &[]), meaning(&spec(), "visitor", &[])]);
        let edits: [fn(&mut MetricSpec); 17] = [
            |spec| spec.of = Facts::Sessions,
            |spec| spec.aggregate = Distinct { exact_up_to: 20 }.into(),
            |spec| spec.aggregate = Count.into(),
            |spec| spec.field = Some("amount".into()),
            |spec| spec.filter.truncate(1),
            |spec| spec.numerator = spec.filter.clone(),
            |spec| spec.group_by = vec![],
            |spec| spec.window = WindowSpec::Tumbling { size: 1_000 },
            |spec| spec.window = WindowSpec::Hopping { size: 60_000, slide: 60_000 },
            |spec| spec.window = WindowSpec::Sliding { size: 60_000, slide: 60_000, numbers: 9 },
            |spec| spec.window = WindowSpec::Sliding { size: 60_000, slide: 60_000, numbers: 8 },
            |spec| spec.window = WindowSpec::Last { num: 5, slide: 60_000 },
            |spec| spec.window = WindowSpec::Last { num: 6, slide: 60_000 },
            |spec| spec.window = WindowSpec::Burst { gap: 60_000, slide: 1_000 },
            |spec| spec.window = WindowSpec::Burst { gap: 1_000, slide: 1_000 },
            |spec| spec.window = WindowSpec::Since { event: "a".into(), slide: 1_000 },
            |spec| spec.window = WindowSpec::Since { event: "b".into(), slide: 1_000 },
        ];
        for edit in edits {
            let mut edited = spec();
            edit(&mut edited);
            assert!(all.insert(meaning(&edited, "user", &[])), "{edited:?}");
        }
    }
}
