//! The aggregate of a `[[metric]]`: its keys, and what must be there for it. Called by
//! `metrics.rs`; which aggregates there are is the list of `domain::metric::aggregate`.

use super::item::Item;
use super::metric_keys::MetricKeys;
use crate::domain::metric::aggregate::Needs;
use crate::domain::metric::{Aggregate, Condition, Facts};
use crate::domain::settings::Section;

/// The key that names it.
pub(super) const AGGREGATE: &str = "aggregate";

/// Reads the one that is named, with its keys. Keys of another one are a mistake.
pub(super) fn aggregate(item: &mut Item<'_>, keys: &MetricKeys) -> Aggregate {
    item.reader.need(AGGREGATE, "aggregate = \"count\"");
    let own = match Aggregate::named(&keys.aggregate) {
        Some(named) => item.reader.section(named),
        None => Aggregate::named("count").expect("it is in the list"),
    };
    let all = Aggregate::all();
    item.reader.only_of(AGGREGATE, &own, all.iter().map(|one| (one.word(), one as &dyn Section)));
    let word = own.word();
    if keys.of == Facts::LiveSessions && word != "count" {
        item.reader.problem(AGGREGATE, "live sessions can only be counted: write \"count\"");
    }
    if keys.of == Facts::Sessions && own.needs() == Needs::Value {
        item.reader.problem(AGGREGATE, "is only possible for of = \"events\"");
    }
    own
}

/// What it needs must be there, and nothing else.
pub(super) fn needs_fit(
    item: &mut Item<'_>,
    aggregate: &Aggregate,
    keys: &MetricKeys,
    numerator: &[Condition],
) {
    let reader = &mut item.reader;
    if reader.is_wrong(AGGREGATE) {
        return;
    }
    let (needs, word) = (aggregate.needs(), aggregate.word());
    match (needs == Needs::Numerator, reader.is_set("numerator")) {
        (true, false) => reader.problem(
            "numerator",
            format!("is missing: a {word} needs the conditions counted above the line"),
        ),
        (true, true) if numerator.is_empty() => {
            reader.problem("numerator", "must hold at least one condition");
        }
        (true, true) | (false, false) => {}
        (false, true) => {
            let with = Aggregate::all().into_iter().find(|one| one.needs() == Needs::Numerator);
            let with = with.map_or("", |one| one.word());
            reader.problem("numerator", format!("only belongs to aggregate = {with:?}"));
        }
    }
    match (needs, keys.field.is_some()) {
        (Needs::Amount | Needs::Number, false) => {
            reader.problem("field", "is missing: name the attribute to compute from");
        }
        (Needs::Nothing | Needs::Numerator, true) => {
            let rule =
                format!("has no meaning for {word:?}: leave it out, or write \"sum\" or \"avg\"");
            reader.problem("field", rule);
        }
        _ => {}
    }
}
