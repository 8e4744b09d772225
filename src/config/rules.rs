//! One `[[rule]]`, checked against the metric it watches. Called by `metrics.rs`.

use super::item::Item;
use super::reader::Reader;
use crate::domain::anomaly::{self, Detect, Patience, Side, Sigma};
use crate::domain::metric::{Facts, MetricSpec};
use crate::domain::near;
use crate::domain::settings::terms::MINUTE;
use crate::domain::settings::{Derived, Section, settings};
use crate::domain::time::SpanMs;

/// The key that names its detector.
pub(super) const DETECT: &str = "detect";

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
        /// How it draws its line:
        pub detect: String = "sigma".into(), Rule::Word(words);
        /// How long windows must stand out, one after the other, before there is an alert. "0s": the
        /// first window is one.
        pub hold as "for": SpanMs = 0, span(0, 7 * DAY);
        /// How long none must for the alert to be over. By default 2 min; for sigma a fifth of over,
        /// for robust of the time that samples windows take, for absence "0s".
        pub cooldown: Derived<SpanMs> = Derived(None), span(0, 7 * DAY);
        /// Which values stand out: "above", "below" or "both".
        pub side: Side = Side::Above, word::<Side>();
        /// "info", "warning" or "critical".
        pub severity: String = "warning".into(), Rule::Word(severities);
    }
}

/// Names of the detectors.
fn words() -> Vec<&'static str> {
    Detect::all().iter().map(Detect::word).collect()
}

/// The keys of rules that decide when they fire.
pub fn rule_keys() -> Vec<&'static str> {
    let said = ["name", "title", "metric", "severity"];
    let keys = RuleKeys::default().keys().iter().map(|key| key.path);
    let mut keys: Vec<&str> = keys.filter(|key| !said.contains(key)).collect();
    for key in Detect::all().iter().flat_map(Section::keys).map(|key| key.path) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Whether a rule of this detector may have a key: not one of other detectors alone.
pub(super) fn may_have(detect: &str, key: &str) -> bool {
    let has = |one: &dyn Section| one.keys().iter().any(|own| own.path == key);
    let all = Detect::all();
    has(&RuleKeys::default())
        || Detect::named(detect).is_none_or(|one| has(&one))
        || !all.iter().any(|one| has(one))
}

/// One `[[rule]]`.
pub(super) fn rule(item: &mut Item<'_>, metrics: &[MetricSpec]) -> anomaly::Rule {
    item.reader.need("metric", "metric = \"...\"");
    let keys = item.reader.section(RuleKeys::default());
    let named = Detect::named(&keys.detect).unwrap_or_else(|| Sigma::default().into());
    let mut detect = item.reader.section(named);
    let all = Detect::all();
    item.reader.only_of(DETECT, &detect, all.iter().map(|one| (one.word(), one as &dyn Section)));
    let metric = metrics.iter().find(|metric| metric.name == keys.metric);
    let step = metric.map_or(MINUTE, |metric| metric.window.step());
    detect.fill(step);
    let patience = Patience {
        hold: keys.hold,
        cooldown: keys.cooldown.0.unwrap_or(detect.cooldown(step)),
        side: keys.side,
    };
    match metric {
        Some(metric) => rule_fits(&mut item.reader, &detect, patience, metric),
        None if keys.metric.is_empty() => {}
        None => {
            let names = || metrics.iter().map(|metric| metric.name.as_str());
            let hint = near::hint(&keys.metric, names());
            let known = names().collect::<Vec<_>>().join(", ");
            item.reader.problem("metric", format!("names no metric; there are {known}{hint}"));
        }
    }
    anomaly::Rule {
        name: item.name.clone(),
        title: item.title(keys.title),
        metric: keys.metric,
        patience,
        severity: keys.severity,
        detect,
    }
}

fn rule_fits(reader: &mut Reader, detect: &Detect, patience: Patience, metric: &MetricSpec) {
    if !metric.group_by.is_empty() {
        reader.problem("metric", "must name a metric without group_by");
    }
    if !metric.aggregate.shape().is_scalar() {
        let word = metric.aggregate.word();
        reader
            .problem("metric", format!("must have one number for each window: a {word} has none"));
    }
    if metric.of == Facts::LiveSessions {
        reader.problem("metric", "must not be of live sessions: they have no windows to compare");
    }
    if reader.is_wrong("metric") {
        return;
    }
    for (keys, rule) in detect.misfits(patience, &metric.name, metric.window.step()) {
        reader.conflict(&keys, rule);
    }
}
