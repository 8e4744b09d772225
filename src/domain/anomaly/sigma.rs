//! The running state of a sigma rule: its earlier samples, and whether it fires.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Side, SigmaRule};
use crate::domain::time::{EpochMs, SpanMs};

/// What a rule says of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// End of the sample's window.
    pub end: EpochMs,
    /// The sample.
    pub value: f64,
    /// Mean of the earlier samples; `None` while there are too few.
    pub mean: Option<f64>,
    /// Where the rule draws its line.
    pub limit: Option<f64>,
    /// The sample stands out and the one before did not: worth an alert.
    pub rises: bool,
}

/// Earlier samples within `over`, and whether the last one stood out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SigmaState {
    samples: VecDeque<(EpochMs, f64)>,
    firing: bool,
}

impl SigmaState {
    /// End of the newest sample.
    pub fn last(&self) -> Option<EpochMs> {
        self.samples.back().map(|(end, _)| *end)
    }

    /// Judges one sample against the earlier ones in `[end - over, end)`, then keeps it.
    pub fn judge(&mut self, rule: &SigmaRule, end: EpochMs, value: f64) -> Verdict {
        while self.samples.front().is_some_and(|(at, _)| *at < end - rule.over) {
            self.samples.pop_front();
        }
        let mut verdict = Verdict { end, value, mean: None, limit: None, rises: false };
        let num = self.samples.len() as f64;
        if self.samples.len() >= rule.samples_min {
            let mean = self.samples.iter().map(|(_, v)| v).sum::<f64>() / num;
            let variance = self.samples.iter().map(|(_, v)| (v - mean).powi(2)).sum::<f64>() / num;
            let sigma = variance.sqrt();
            let limit = match rule.side {
                Side::Above => mean + rule.k * sigma,
                Side::Below => mean - rule.k * sigma,
            };
            let beyond = match rule.side {
                Side::Above => value > limit && value >= rule.value_min,
                Side::Below => value < limit,
            };
            let stands_out = sigma > 0.0 && beyond;
            verdict.rises = stands_out && !self.firing;
            self.firing = stands_out;
            (verdict.mean, verdict.limit) = (Some(mean), Some(limit));
        }
        self.samples.push_back((end, value));
        verdict
    }

    /// Judges the empty windows before `end` as zeros: silence is a sample of a count.
    /// At most `over / step` of them, since older ones would be forgotten.
    pub fn fill(&mut self, rule: &SigmaRule, end: EpochMs, step: SpanMs) -> Vec<Verdict> {
        let Some(last) = self.last() else { return Vec::new() };
        let mut at = (last + step).max(end - rule.over);
        let mut verdicts = Vec::new();
        while at < end {
            verdicts.push(self.judge(rule, at, 0.0));
            at += step;
        }
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> SigmaRule {
        SigmaRule {
            name: "spike".into(),
            title: String::new(),
            metric: "m".into(),
            k: 3.0,
            over: 600_000,
            samples_min: 5,
            value_min: 0.0,
            side: Side::Above,
            severity: "warning".into(),
        }
    }

    #[test]
    fn a_value_three_deviations_above_its_ten_minute_average_rises_once() {
        let (rule, mut state) = (rule(), SigmaState::default());
        let values = [10.0, 12.0, 8.0, 11.0, 9.0, 10.0, 40.0, 41.0, 10.0];
        let rises: Vec<bool> = values
            .iter()
            .enumerate()
            .map(|(i, v)| state.judge(&rule, i as i64 * 60_000, *v).rises)
            .collect();
        assert_eq!(rises.iter().position(|r| *r), Some(6));
        assert_eq!(rises.iter().filter(|r| **r).count(), 1);
    }

    #[test]
    fn a_flat_line_never_fires_and_few_samples_are_not_judged() {
        let (rule, mut state) = (rule(), SigmaState::default());
        assert_eq!(state.judge(&rule, 0, 5.0).mean, None);
        for i in 1..20 {
            assert!(!state.judge(&rule, i * 60_000, 5.0).rises);
        }
        // Ten minutes reach back ten samples.
        assert_eq!(state.samples.len(), 11);
    }

    #[test]
    fn silence_counts_as_zeros_but_only_as_far_as_the_rule_looks() {
        let (rule, mut state) = (rule(), SigmaState::default());
        state.judge(&rule, 0, 5.0);
        assert_eq!(state.fill(&rule, 180_000, 60_000).len(), 2);
        assert_eq!(state.fill(&rule, 1_000_000_000, 60_000).len(), 10);
    }
}
