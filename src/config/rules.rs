//! One `[[rule]]`, checked against the metric it watches. Called by `metrics.rs`.

use super::document::Node;
use super::metrics::{Item, PANES_MAX};
use super::raw::Reader;
use crate::domain::anomaly::{Side, SigmaRule};
use crate::domain::metric::{FactKind, MetricSpec};
use crate::domain::time::SpanMs;

const SECOND: SpanMs = 1_000;
const DAY: SpanMs = 86_400 * SECOND;

const SIDES: [(&str, Side); 2] = [("above", Side::Above), ("below", Side::Below)];

const SEVERITIES: [(&str, &str); 3] =
    [("info", "info"), ("warning", "warning"), ("critical", "critical")];

/// One `[[rule]]`.
pub(super) fn rule(item: &mut Item<'_>, metrics: &[MetricSpec]) -> SigmaRule {
    let title = item.title();
    let reader = &mut item.reader;
    let metric = reader.required("metric", "metric = \"...\"", |node| {
        Ok(node.text("text in quotes")?.to_string())
    });
    let k = reader.read("k", 3.0, |node| match node.number()? {
        k if (0.1..=100.0).contains(&k) => Ok(k),
        _ => Err("must be from 0.1 to 100".into()),
    });
    let over = reader.span("over", 600 * SECOND, SECOND..=7 * DAY);
    let rule = SigmaRule {
        name: item.name.clone(),
        title,
        metric,
        k,
        k_clear: reader.read("k_clear", k, |node| match node.number()? {
            clear if (0.0..=k).contains(&clear) => Ok(clear),
            _ => Err(format!("must be from 0 to k, which is {k}")),
        }),
        over,
        samples_min: reader.count("samples_min", 30, 2..=86_400),
        value_min: reader.read("value_min", 0.0, Node::number),
        sigma_min: reader.read("sigma_min", None, |node| match node.number()? {
            least if least >= 0.0 => Ok(Some(least)),
            _ => Err("must be 0 or more".into()),
        }),
        hold: reader.span("for", 0, 0..=over),
        // As a part of `over` it fits windows of seconds as well as windows of days.
        cooldown: reader.span("cooldown", over / 5, 0..=7 * DAY),
        side: reader.choice("side", Side::Above, &SIDES),
        severity: reader.choice("severity", "warning", &SEVERITIES).to_string(),
    };
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
