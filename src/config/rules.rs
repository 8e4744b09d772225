//! One `[[rule]]`, checked against the metric it watches. Called by `metrics.rs`.

use super::metrics::Item;
use super::reader::Reader;
use super::units::show_span;
use super::windows::PANES_MAX;
use crate::domain::anomaly::{Side, SigmaRule};
use crate::domain::metric::{FactKind, MetricSpec};
use crate::domain::settings::{Derived, settings};
use crate::domain::time::SpanMs;

/// How much an alert matters.
fn severities() -> Vec<&'static str> {
    vec!["info", "warning", "critical"]
}

settings! {
    /// One `[[rule]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct RuleKeys in "" {
        /// Needed; letters in lower case, digits and _.
        pub name: () = (), shape();
        /// For people. Made from the name.
        pub title: Derived<String> = Derived(None), text();
        /// Needed: the metric that it watches, one without group_by.
        pub metric: String = String::new(), text();
        /// How many deviations above (or below) the mean stand out.
        pub k: f64 = 3.0, number(0.1, 100.0);
        /// How many keep an alert up. At most k, which is the default.
        pub k_clear: Derived<f64> = Derived(None), number(0.0, 100.0);
        /// How far the mean reaches back; it holds at least samples_min windows.
        pub over: SpanMs = 10 * MINUTE, span(SECOND, 7 * DAY);
        /// Fewest windows to judge by.
        pub samples_min: usize = 30, count(2, 86_400);
        /// Least value worth an alert, for side = "above".
        pub value_min: f64 = 0.0, number(f64::NEG_INFINITY, f64::INFINITY);
        /// The deviation is never taken to be less. By default the root of the mean for counts,
        /// distinct counts and rates, at least one event, and a hundredth of the mean for the rest.
        pub sigma_min: Derived<f64> = Derived(None), number(0.0, f64::INFINITY);
        /// How long windows must stand out, one after the other, before there is an alert. At most
        /// over; "0s": the first window is one.
        pub hold as "for": SpanMs = 0, span(0, 7 * DAY);
        /// How long none must for the alert to be over. By default a fifth of over.
        pub cooldown: Derived<SpanMs> = Derived(None), span(0, 7 * DAY);
        /// "above" or "below".
        pub side: Side = Side::Above, word::<Side>();
        /// "info", "warning" or "critical".
        pub severity: String = "warning".into(), Rule::Word(severities);
    }
}

/// One `[[rule]]`.
pub(super) fn rule(item: &mut Item<'_>, metrics: &[MetricSpec]) -> SigmaRule {
    item.reader.need("metric", "metric = \"...\"");
    let keys = item.reader.section(RuleKeys::default());
    let rule = SigmaRule {
        name: item.name.clone(),
        title: item.title(keys.title),
        metric: keys.metric,
        k: keys.k,
        k_clear: keys.k_clear.0.unwrap_or(keys.k),
        over: keys.over,
        samples_min: keys.samples_min,
        value_min: keys.value_min,
        sigma_min: keys.sigma_min.0,
        hold: keys.hold,
        // As a part of `over` it fits windows of seconds as well as windows of days.
        cooldown: keys.cooldown.0.unwrap_or(keys.over / 5),
        side: keys.side,
        severity: keys.severity,
    };
    let reader = &mut item.reader;
    if rule.k_clear > rule.k {
        reader.problem("k_clear", format!("must be from 0 to k, which is {}", rule.k));
    }
    if rule.hold > rule.over {
        let over = show_span(rule.over);
        reader.problem("for", format!("must be from \"0s\" to over, which is \"{over}\""));
    }
    if !rule.metric.is_empty() {
        match metrics.iter().find(|metric| metric.name == rule.metric) {
            Some(metric) => rule_fits(reader, &rule, metric),
            None => reader.problem("metric", "names no metric"),
        }
    }
    rule
}

fn rule_fits(reader: &mut Reader, rule: &SigmaRule, metric: &MetricSpec) {
    if !metric.group_by.is_empty() {
        reader.problem("metric", "must name a metric without group_by");
    }
    if !metric.aggregate.shape().is_scalar() {
        let word = metric.aggregate.word();
        reader
            .problem("metric", format!("must have one number for each window: a {word} has none"));
    }
    if metric.of == FactKind::LiveSessions {
        reader.problem("metric", "must not be of live sessions: they have no windows to compare");
    }
    let samples = rule.over / metric.window.step();
    if samples < rule.samples_min as SpanMs {
        reader.conflict(
            &["over", "samples_min", "metric"],
            format!(
                "can never alert: over holds {samples} samples of {}, samples_min is {}",
                metric.name, rule.samples_min
            ),
        );
    }
    if samples > PANES_MAX {
        reader.conflict(
            &["over", "metric"],
            format!("over holds {samples} samples of {}, at most {PANES_MAX}", metric.name),
        );
    }
}
