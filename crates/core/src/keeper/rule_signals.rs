//! What a rule says: that something holds, and that it is over. Incidents are made of it.

use serde_json::{Map, Value as Json, json};

use super::why::Why;
use crate::anomaly::{Alarm, Band, Past, Peak, Rule, Sample, Verdict};
use crate::incident::{Pending, Phase, Says, Signal};
use crate::metric::Metric;
use crate::metric::groups::{Labels, group_text};
use crate::time::{EpochMs, SpanMs};

/// What a rule speaks about.
pub(super) struct About<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its metric.
    pub metric: &'a Metric,
    /// The group; `None` where the metric has no labels.
    pub labels: Option<&'a Labels>,
    /// What it says is known so much later than it is about.
    pub lateness: SpanMs,
}

impl About<'_> {
    /// It holds, as of the window of this verdict. `moment`: time of the event at which the number stood
    /// out, where that was not at the end of the window.
    pub(super) fn fires(
        &self,
        verdict: &Verdict,
        moment: Option<EpochMs>,
        why: Option<Why>,
    ) -> Signal {
        let rule = self.rule;
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
        let at = verdict.sample.end;
        let title = format!("{}: {found}", self.title());
        self.signal(at, Says::Fires { since: verdict.since.unwrap_or(at), title, detail })
    }

    /// It is over.
    pub(super) fn over(&self, verdict: &Verdict, past: &Past) -> Signal {
        let why = if past.usual { "this is usual now" } else { "back to usual" };
        self.ends(verdict, past, why)
    }

    /// The group left while it held: nothing more is said of it.
    pub(super) fn left(&self, end: EpochMs, alarm: &Alarm) -> Option<Signal> {
        let Alarm::Up { since, raised, last, peak } = *alarm else { return None };
        let sample = Sample { start: end, end, value: None };
        let verdict =
            Verdict { sample, band: Band::default(), far: None, since: None, change: None };
        let past = Past { raised, since, last, peak, usual: false };
        Some(self.ends(&verdict, &past, "the group has left"))
    }

    fn ends(&self, verdict: &Verdict, past: &Past, why: &str) -> Signal {
        let Past { raised, since, last, peak, usual } = *past;
        let lasted = (last - since) as f64 / 60_000.0;
        let mut detail = self.facts(verdict);
        detail.extend([
            ("raised".to_owned(), json!(raised)),
            ("since".to_owned(), json!(since)),
            ("last".to_owned(), json!(last)),
            ("peak".to_owned(), json!(peak.value)),
            ("far".to_owned(), measured(Some(peak.far))),
            ("usual".to_owned(), json!(usual)),
        ]);
        let why = format!("{} is over: {why} after {lasted:.1} min", self.title());
        self.signal(verdict.sample.end, Says::Ends { why, detail })
    }

    fn signal(&self, at: EpochMs, says: Says) -> Signal {
        Signal {
            rule: self.rule.name.clone(),
            subject: self.labels.map(|labels| group_text(labels)).unwrap_or_default(),
            group: self.labels.map(|labels| self.metric.spec.named(labels)).unwrap_or_default(),
            at,
            known: at.saturating_add(self.lateness),
            says,
        }
    }

    /// What stands out since before a start.
    pub(super) fn standing(&self, (since, raised): (EpochMs, EpochMs), peak: &Peak) -> Signal {
        let title = format!("{}: {} at most since it stands out", self.title(), number(peak.value));
        let says = Says::Fires { since, title, detail: self.so_far(since, peak) };
        Signal { known: raised, ..self.signal(raised, says) }
    }

    /// What stands out, if it does not for long enough yet.
    pub(super) fn pending(&self, alarm: &Alarm) -> Option<Pending> {
        let Alarm::Pending { since, peak } = alarm else { return None };
        Some(Pending {
            phase: Phase::Pending,
            rule: self.rule.name.clone(),
            metric: self.rule.metric.clone(),
            severity: self.rule.severity.clone(),
            group: self.labels.map(|labels| self.metric.spec.named(labels)).unwrap_or_default(),
            title: format!("{}: {} at most so far", self.title(), number(peak.value)),
            since: *since,
            due: since.saturating_add(self.rule.patience.hold),
            detail: self.so_far(*since, peak),
            runbook: self.rule.runbook.clone(),
        })
    }

    fn so_far(&self, since: EpochMs, peak: &Peak) -> Map<String, Json> {
        let facts = [
            ("rule", json!(self.rule.name)),
            ("metric", json!(self.rule.metric)),
            ("measure", json!(self.rule.detect.measure())),
            ("value", json!(peak.value)),
            ("far", measured(Some(peak.far))),
            ("since", json!(since)),
        ];
        facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect()
    }

    fn title(&self) -> String {
        match self.labels {
            Some(labels) => format!("{} ({})", self.rule.title, labels.join(", ")),
            None => self.rule.title.clone(),
        }
    }

    /// What it says either way: the sample, what was expected of it, and in which measure `far` is.
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
    // Four digits say all that the measure does.
    let digits = |far: f64| format!("{far:.3e}").parse().unwrap_or(far);
    json!(far.filter(|far| *far < f64::MAX).map(digits))
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("{value:.2}"))
}
