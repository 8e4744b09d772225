//! One `[[rule]]`, checked against the metric it watches. Called by `metrics.rs`.

use super::item::Item;
use super::reader::Reader;
use super::values;
use crate::domain::anomaly::{self, Detect, Patience, Side, Sigma};
use crate::domain::metric::{Facts, MetricSpec};
use crate::domain::near;
use crate::domain::settings::terms::MINUTE;
use crate::domain::settings::{Derived, Section, Value, Word, settings};
use crate::domain::time::SpanMs;

/// The key that names its detector.
pub(super) const DETECT: &str = "detect";

/// How much an alert matters.
fn severities() -> Vec<&'static str> {
    vec!["info", "warning", "critical"]
}

/// Most metrics that say why.
const WHY_MAX: usize = 4;

settings! {
    /// One `[[rule]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct RuleKeys in "" {
        /// Needed; letters in lower case, digits and _.
        pub name: () = (), shape();
        /// For people. Made from the name.
        pub title: Derived<String> = Derived(None), text();
        /// Needed: the metric that it watches; of one with group_by each group on its own, from its
        /// first number on.
        pub metric: String = String::new(), text();
        /// Of a metric with group_by: the first so many groups are watched. How many are not is said
        /// with the rule.
        pub groups_max: usize = 100, count(1, 1_000);
        /// Metrics with group_by and the window of this one, such as the same counted by region: an
        /// incident names the groups that moved most, each with its share. By default those that are
        /// the same but for their group_by, the first four; [] is none.
        pub why: Derived<Vec<String>> = Derived(None), names_in_order(0, WHY_MAX);
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
        /// Of a metric with group_by: "group" makes an incident of each group, "rule" one of all that
        /// stand out at a time.
        pub incident: IncidentOf = IncidentOf::Group, word::<IncidentOf>();
        /// Rules: nobody is told of this one while one of them has an incident whose labels do not
        /// contradict.
        pub unless: Vec<String> = Vec::new(), names_in_order(0, 16);
        /// Where it says what to do: a web address, shown with its incidents.
        pub runbook: Option<String> = None, checked(web_address);
    }
}

/// What becomes one incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IncidentOf {
    /// Each group.
    Group,
    /// All groups of the rule.
    Rule,
}

impl Word for IncidentOf {
    const WORDS: &'static [(&'static str, Self)] =
        &[("group", IncidentOf::Group), ("rule", IncidentOf::Rule)];
}

/// Names of the detectors.
fn words() -> Vec<&'static str> {
    Detect::all().iter().map(Detect::word).collect()
}

/// The keys of rules that decide when they fire.
pub fn rule_keys() -> Vec<&'static str> {
    let said = ["name", "title", "metric", "severity", "incident", "unless", "runbook"];
    let keys = RuleKeys::default().keys().iter().map(|key| key.path);
    let mut keys: Vec<&str> = keys.filter(|key| !said.contains(key)).collect();
    for key in Detect::all().iter().flat_map(Section::keys).map(|key| key.path) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// A value of a rule's key as TOML.
pub fn rule_value(detect: &Detect, key: &str, value: &Value) -> String {
    let rules = RuleKeys::default();
    let mut keys = rules.keys().iter().chain(detect.keys());
    keys.find(|own| own.path == key).map_or_else(String::new, |own| values::show(&own.rule, value))
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
pub(super) fn rule(
    item: &mut Item<'_>,
    metrics: &[MetricSpec],
    rules: &[(&str, Vec<&str>)],
) -> anomaly::Rule {
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
    depends(item, &keys.unless, rules);
    match metric {
        Some(metric) => {
            rule_fits(&mut item.reader, &detect, patience, metric);
            let windows = detect.reach(step) / step.max(1);
            groups_fit(&mut item.reader, keys.groups_max, windows, metric);
            let named = keys.why.0.as_deref().unwrap_or_default();
            explains(&mut item.reader, named, metric, metrics);
        }
        None if keys.metric.is_empty() => {}
        None => {
            let names = || metrics.iter().map(|metric| metric.name.as_str());
            let hint = near::hint(&keys.metric, names());
            let known = names().collect::<Vec<_>>().join(", ");
            item.reader.problem("metric", format!("names no metric; there are {known}{hint}"));
        }
    }
    let why = keys.why.0.unwrap_or_else(|| metric.map_or_else(Vec::new, |of| alike(of, metrics)));
    anomaly::Rule {
        name: item.name.clone(),
        title: item.title(keys.title),
        metric: keys.metric,
        groups_max: keys.groups_max,
        why,
        patience,
        severity: keys.severity,
        one_incident: keys.incident == IncidentOf::Rule,
        unless: keys.unless,
        runbook: keys.runbook,
        detect,
    }
}

fn rule_fits(reader: &mut Reader, detect: &Detect, patience: Patience, metric: &MetricSpec) {
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

/// The rules that keep this one quiet.
fn depends(item: &mut Item<'_>, unless: &[String], rules: &[(&str, Vec<&str>)]) {
    for name in unless {
        let problem = if *name == item.name {
            "must not name the rule itself: it would never be told".to_owned()
        } else if rules.iter().any(|(known, _)| known == name) {
            if !reaches(name, &item.name, rules) {
                continue;
            }
            format!("{name:?} is itself kept quiet by this rule: both would keep quiet for good")
        } else {
            let names = || rules.iter().map(|(name, _)| *name);
            let others = || names().filter(|other| *other != item.name);
            let known = others().collect::<Vec<_>>().join(", ");
            let hint = near::hint(name, others());
            format!("{name:?} is no rule; there are {known}{hint}")
        };
        item.reader.problem("unless", problem);
    }
}

/// Whether a rule is kept quiet by another one, at last.
fn reaches(from: &str, to: &str, rules: &[(&str, Vec<&str>)]) -> bool {
    let (mut seen, mut next) = (Vec::new(), vec![from]);
    while let Some(name) = next.pop() {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let unless = rules.iter().find(|(known, _)| *known == name).map(|(_, unless)| unless);
        next.extend(unless.into_iter().flatten().copied());
    }
    seen.iter().skip(1).any(|name| *name == to)
}

fn web_address(text: &str) -> Result<(), String> {
    let is_one = text.starts_with("https://") || text.starts_with("http://");
    let plain = !text.contains(|one: char| one.is_whitespace() || one.is_control());
    if is_one && plain {
        return Ok(());
    }
    Err("must be a web address such as \"https://wiki.example.com/errors\"".into())
}

/// Most windows that a rule keeps of all groups together: some 50 MB.
const WINDOWS_MAX: i64 = 1_000_000;

fn groups_fit(reader: &mut Reader, groups_max: usize, windows: i64, metric: &MetricSpec) {
    let groups = groups_max.min(metric.group_limit) as i64;
    if !metric.group_by.is_empty() && groups.saturating_mul(windows) > WINDOWS_MAX {
        let fits = (WINDOWS_MAX / windows).max(1);
        let rule = format!(
            "{groups} groups with {windows} windows each are more than {WINDOWS_MAX} that a rule \
             keeps: at most {fits}, or let it look back less far"
        );
        reader.problem("groups_max", rule);
    }
}

/// The metrics that are one without labels but for their labels.
fn alike(metric: &MetricSpec, metrics: &[MetricSpec]) -> Vec<String> {
    let counts = |one: &MetricSpec| {
        let MetricSpec { of, filter, numerator, aggregate, field, window, .. } = one.clone();
        (of, filter, numerator, aggregate, field, window)
    };
    let plain = metric.formula.is_none() && metric.group_by.is_empty();
    let named = |other: &&MetricSpec| {
        let scalar = other.aggregate.shape().is_scalar();
        plain && scalar && !other.group_by.is_empty() && counts(other) == counts(metric)
    };
    metrics.iter().filter(named).take(WHY_MAX).map(|other| other.name.clone()).collect()
}

/// Metrics whose groups say why.
fn explains(reader: &mut Reader, why: &[String], metric: &MetricSpec, metrics: &[MetricSpec]) {
    for name in why {
        let found = metrics.iter().find(|other| other.name == *name);
        let problem = match found {
            None => {
                let names = || metrics.iter().map(|metric| metric.name.as_str());
                format!("{name:?} is no metric{}", near::hint(name, names()))
            }
            Some(_) if !metric.group_by.is_empty() => {
                let rule = "is for metrics without group_by";
                format!("{rule}: the groups of {} are watched one by one", metric.name)
            }
            Some(other) if other.group_by.is_empty() => {
                format!("{name:?} has no group_by: nothing could be named")
            }
            Some(other) if !other.aggregate.shape().is_scalar() => {
                format!("{name:?} must have one number for each window")
            }
            Some(other) if other.window != metric.window => {
                format!("{name:?} must have the window of {}", metric.name)
            }
            Some(_) => continue,
        };
        reader.problem("why", problem);
    }
}
