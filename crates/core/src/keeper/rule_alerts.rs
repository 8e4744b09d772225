//! What an alert of a rule says.

use serde_json::{Map, Value as Json, json};

use super::why::Why;
use crate::alert::{Alert, Detail, alert_id};
use crate::anomaly::{Alarm, Band, Past, Peak, Rule, Sample, Verdict};
use crate::incident::{Says, Signal};
use crate::metric::Metric;
use crate::metric::groups::{Labels, group_text};
use crate::time::{EpochMs, SpanMs};

/// The kind of an alert that says that another one is over.
pub(super) const OVER: &str = "over";

/// What an alert is about.
pub(super) struct About<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its metric.
    pub metric: &'a Metric,
    /// The group; `None` where the metric has no labels.
    pub labels: Option<&'a Labels>,
}

impl About<'_> {
    /// An alert goes up. `moment`: time of the event at which the number stood out, where that was not
    /// at the end of the window.
    pub(super) fn anomaly(
        &self,
        verdict: &Verdict,
        moment: Option<EpochMs>,
        why: Option<Why>,
    ) -> Alert {
        let (rule, subject) = (self.rule, self.subject());
        let mut detail = rule.detect.detail();
        detail.extend(self.facts(verdict));
        detail.insert("since".into(), json!(verdict.since));
        detail.insert("far".into(), measured(verdict.far));
        if let Some(moment) = moment {
            detail.insert("moment".into(), json!(moment));
        }
        let mut found = rule.detect.found(verdict);
        if let Some(why) = why {
            found += &why.mostly().map(|group| format!(", mostly {group}")).unwrap_or_default();
            detail.insert("why".into(), json!(why));
        }
        Alert {
            n: 0,
            id: alert_id("anomaly", &subject, verdict.sample.end),
            kind: "anomaly".into(),
            severity: rule.severity.clone(),
            at: verdict.sample.end,
            subject,
            title: format!("{}: {found}", self.title()),
            detail: Detail::of(&detail),
        }
    }

    /// An alert is over.
    pub(super) fn over(&self, verdict: &Verdict, past: &Past) -> Alert {
        let why = if past.usual { "this is usual now" } else { "back to usual" };
        self.ended(verdict, past, why)
    }

    /// The group left while an alert was up: nothing more is said of it.
    pub(super) fn left(&self, end: EpochMs, alarm: &Alarm) -> Option<Alert> {
        let Alarm::Up { since, raised, last, peak } = *alarm else { return None };
        let sample = Sample { start: end, end, value: None };
        let verdict =
            Verdict { sample, band: Band::default(), far: None, since: None, change: None };
        let past = Past { raised, since, last, peak, usual: false };
        Some(self.ended(&verdict, &past, "the group has left"))
    }

    fn ended(&self, verdict: &Verdict, past: &Past, why: &str) -> Alert {
        let Past { raised, since, last, peak, usual } = *past;
        let subject = self.subject();
        let lasted = (last - since) as f64 / 60_000.0;
        let mut detail = self.facts(verdict);
        detail.extend([
            ("alert".to_owned(), json!(alert_id("anomaly", &subject, raised))),
            ("raised".to_owned(), json!(raised)),
            ("since".to_owned(), json!(since)),
            ("last".to_owned(), json!(last)),
            ("peak".to_owned(), json!(peak.value)),
            ("far".to_owned(), measured(Some(peak.far))),
            ("usual".to_owned(), json!(usual)),
        ]);
        Alert {
            n: 0,
            id: alert_id(OVER, &subject, verdict.sample.end),
            kind: OVER.into(),
            severity: "info".into(),
            at: verdict.sample.end,
            title: format!("{} is over: {why} after {lasted:.1} min", self.title()),
            subject,
            detail: Detail::of(&detail),
        }
    }

    /// What stands out since before a start.
    pub(super) fn standing(
        &self,
        (since, raised): (EpochMs, EpochMs),
        peak: &Peak,
        subject: String,
    ) -> Signal {
        let value = peak.value.map_or_else(|| "none".to_owned(), |value| format!("{value:.2}"));
        let group = self.labels.map(|labels| self.metric.spec.named(labels)).unwrap_or_default();
        let facts = json!({
            "rule": self.rule.name,
            "metric": self.rule.metric,
            "measure": self.rule.detect.measure(),
            "value": peak.value,
            "far": measured(Some(peak.far)),
            "since": since,
        });
        let says = Says::Fires {
            since,
            title: format!("{}: {value} at most since it stands out", self.title()),
            detail: facts.as_object().cloned().unwrap_or_default(),
        };
        Signal { rule: self.rule.name.clone(), subject, group, at: raised, known: raised, says }
    }

    /// An alert of this rule as incidents take it.
    pub(super) fn signal(&self, alert: &Alert, since: Option<EpochMs>, lateness: SpanMs) -> Signal {
        let says = if alert.kind == OVER {
            Says::Ends { why: alert.title.clone() }
        } else {
            Says::Fires {
                since: since.unwrap_or(alert.at),
                title: alert.title.clone(),
                detail: serde_json::from_str(alert.detail.text()).unwrap_or_default(),
            }
        };
        Signal {
            rule: self.rule.name.clone(),
            subject: self.labels.map(|labels| group_text(labels)).unwrap_or_default(),
            group: self.labels.map(|labels| self.metric.spec.named(labels)).unwrap_or_default(),
            at: alert.at,
            known: alert.at.saturating_add(lateness),
            says,
        }
    }

    /// The rule, and of a group its labels: two groups never read the same.
    fn subject(&self) -> String {
        match self.labels {
            Some(labels) => format!("{} {}", self.rule.name, group_text(labels)),
            None => self.rule.name.clone(),
        }
    }

    fn title(&self) -> String {
        match self.labels {
            Some(labels) => format!("{} ({})", self.rule.title, labels.join(", ")),
            None => self.rule.title.clone(),
        }
    }

    /// What alerts of a rule have in common: the sample, what was expected of it, and in which
    /// measure `far` is.
    fn facts(&self, verdict: &Verdict) -> Map<String, Json> {
        let Band { expected, low, high } = verdict.band;
        let facts = [
            ("rule", json!(self.rule.name)),
            ("metric", json!(self.rule.metric)),
            ("value", json!(verdict.sample.value)),
            ("expected", json!(expected)),
            ("low", json!(low)),
            ("high", json!(high)),
            ("measure", json!(self.rule.detect.measure())),
        ];
        let group = self.labels.map(|labels| ("group", json!(self.metric.spec.named(labels))));
        facts.into_iter().chain(group).map(|(name, fact)| (name.to_owned(), fact)).collect()
    }
}

/// `null` where the measure has no end.
fn measured(far: Option<f64>) -> Json {
    json!(far.filter(|far| *far < f64::MAX))
}
