//! `[[join]]`: from a table to a checked specification. Called by `patterns.rs` alone, which has what
//! patterns and joins have in common.

use super::item::Item;
use super::patterns::{ATTRIBUTES_MAX, Declared, Raises, checked, one, own_key, taken};
use crate::domain::pattern::{JoinKind, JoinSpec, PatternSpec, Seeks};
use crate::domain::settings::terms::SECOND;
use crate::domain::settings::{Derived, settings};
use crate::domain::time::SpanMs;

/// Most attributes that both sides must have in common.
const ON_MAX: usize = 4;

settings! {
    /// One `[[join]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct JoinKeys in "" {
        /// Needed; letters in lower case, digits and _. The event type of its results.
        pub name: () = (), shape();
        /// For people. Made from the name.
        pub title: Derived<String> = Derived(None), text();
        /// The attribute whose values keep its events apart, "device_id"; "": the session key.
        pub key: Option<String> = None, text();
        /// Needed: conditions on the events of one side, as in where of a metric.
        pub left: () = (), shape();
        /// Needed: conditions on those of the other side.
        pub right: () = (), shape();
        /// Attributes that both must have, with the same text, besides the key:
        /// ["order_id"].
        pub on: Vec<String> = Vec::new(), names(0, ON_MAX);
        /// Needed: how long after the left event a right one may come; exactly so long still counts.
        pub within: Derived<SpanMs> = Derived(None), span(0, 366 * DAY);
        /// How long before it, likewise.
        pub before: SpanMs = 0, span(0, 366 * DAY);
        /// What becomes a result. "inner": each left event with each right one. "left": also each left
        /// event that found none. "anti": only those.
        pub kind: JoinKind = JoinKind::Inner, word::<JoinKind>();
        /// Results of one event at most, those with the nearest before it; further ones are counted
        /// (tidewatch_join_pairs_left_out_total).
        pub pairs_max: usize = 100, count(1, 10_000);
        /// Attributes of a result besides duration_s and matched, taken from either side:
        /// { amount = "left.amount", card = "right.card" }.
        pub attributes: Vec<(String, String)> = Vec::new(), pairs(ATTRIBUTES_MAX);
        /// Severity of the alert that each result raises, "info", "warning" or "critical"; "none":
        /// it is counted and raises none.
        pub alert: Raises = Raises::None, word::<Raises>();
    }
}

/// One `[[join]]`.
pub(super) fn join(item: &mut Item<'_>, names: &Declared, of_session: &[&String]) -> PatternSpec {
    item.reader.need("left", "left = { type = \"...\" }");
    item.reader.need("right", "right = { type = \"...\" }");
    item.reader.need("within", "within = \"10m\"");
    let keys = item.reader.section(JoinKeys::default());
    let (left, right) = (one(item, "left"), one(item, "right"));
    checked(item, [("left", &left), ("right", &right)].into_iter(), names, of_session);
    for name in &keys.on {
        if let Some(rule) = item.attributes.wrong(name) {
            item.reader.problem("on", rule);
        }
    }
    let seeks = Seeks::Join(JoinSpec {
        left,
        right,
        on: keys.on,
        before: keys.before,
        within: keys.within.0.unwrap_or(SECOND),
        kind: keys.kind,
        pairs_max: keys.pairs_max,
    });
    let attributes = taken(item, &keys.attributes, &seeks);
    if keys.kind == JoinKind::Anti
        && keys.attributes.iter().any(|(_, from)| from.starts_with("right."))
    {
        let rule = "a result of kind \"anti\" has no right event: take them from the left one";
        item.reader.problem("attributes", rule);
    }
    PatternSpec {
        name: item.name.clone(),
        title: item.title(keys.title),
        key: own_key(item, keys.key),
        attributes,
        seeks,
        alert: keys.alert.severity(),
    }
}
