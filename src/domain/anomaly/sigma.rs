//! The running state of a sigma rule: its earlier samples, and whether it fires.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Side, SigmaRule};
use crate::domain::number::{Amount, Countable, Decimal, Moments};
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
///
/// Mean and deviation come from exact sums, so equal samples have no deviation at all and
/// a small one on a large mean is not lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct SigmaState {
    samples: VecDeque<(EpochMs, f64)>,
    firing: bool,
    /// Sums of the samples that are exact amounts.
    moments: Moments,
    /// How many are none: past 10^20, or with more digits than an amount has.
    inexact: usize,
}

/// What of it is written down; the rest follows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    samples: VecDeque<(EpochMs, f64)>,
    firing: bool,
}

impl From<Kept> for SigmaState {
    fn from(kept: Kept) -> Self {
        let mut state = SigmaState { firing: kept.firing, ..SigmaState::default() };
        kept.samples.into_iter().for_each(|(end, value)| state.keep(end, value));
        state
    }
}

impl From<SigmaState> for Kept {
    fn from(state: SigmaState) -> Self {
        Kept { samples: state.samples, firing: state.firing }
    }
}

impl SigmaState {
    /// End of the newest sample.
    pub fn last(&self) -> Option<EpochMs> {
        self.samples.back().map(|(end, _)| *end)
    }

    /// Judges one sample against the earlier ones in `[end - over, end)`, then keeps it.
    pub fn judge(&mut self, rule: &SigmaRule, end: EpochMs, value: f64) -> Verdict {
        while self.samples.front().is_some_and(|(at, _)| *at < end - rule.over) {
            self.forget_oldest();
        }
        let mut verdict = Verdict { end, value, mean: None, limit: None, rises: false };
        if self.samples.len() >= rule.samples_min
            && let Some((mean, sigma)) = self.mean_and_deviation()
        {
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
        self.keep(end, value);
        verdict
    }

    fn keep(&mut self, end: EpochMs, value: f64) {
        match exact(value) {
            Some(amount) => self.moments.add(amount),
            None => self.inexact += 1,
        }
        self.samples.push_back((end, value));
    }

    fn forget_oldest(&mut self) {
        let Some((_, value)) = self.samples.pop_front() else { return };
        match exact(value) {
            Some(amount) => self.moments.take(amount),
            None => self.inexact -= 1,
        }
    }

    /// Of the samples kept; `None` when there are none.
    fn mean_and_deviation(&self) -> Option<(f64, f64)> {
        if self.inexact == 0 {
            return self.moments.total.mean().zip(self.moments.deviation());
        }
        // In parts of the greatest and as distances from the first, so that nothing
        // overflows, and equal samples differ by nothing.
        let first = self.samples.front()?.1;
        let most = self.samples.iter().map(|(_, v)| v.abs()).fold(0.0, f64::max);
        let num = self.samples.len() as f64;
        let distances = || self.samples.iter().map(|(_, v)| v / most - first / most);
        let shift = distances().sum::<f64>() / num;
        let variance = distances().map(|d| (d - shift).powi(2)).sum::<f64>() / num;
        Some((first + shift * most, variance.sqrt() * most))
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

/// A sample as it is added up, when that loses nothing.
fn exact(value: f64) -> Option<Amount> {
    match Decimal::from_f64(value)?.countable() {
        Countable::Exact(amount) => Some(amount),
        Countable::Rounded(_) | Countable::OutOfRange => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn a_flat_line_of_any_digits_has_no_deviation() {
        for flat in [0.1, 1.0 / 3.0, 1e-9, 33.333333333333336, 1e25, 1e300, -0.7] {
            let (rule, mut state) = (rule(), SigmaState::default());
            for i in 0..40 {
                let verdict = state.judge(&rule, i * 60_000, flat);
                assert!(!verdict.rises, "{flat}");
                assert!(verdict.mean.is_none_or(|mean| mean == flat), "{verdict:?}");
                assert_eq!(verdict.mean, verdict.limit, "{flat}");
            }
        }
    }

    #[test]
    fn a_small_step_on_a_large_mean_stands_out() {
        let (rule, mut state) = (rule(), SigmaState::default());
        let near = |i: i64| 9_000_000_000_000.0 + (i % 2) as f64 / 1_000.0;
        let quiet = (0..20).map(|i| state.judge(&rule, i * 60_000, near(i)).rises);
        assert_eq!(quiet.filter(|rises| *rises).count(), 0);
        assert!(state.judge(&rule, 20 * 60_000, 9_000_000_000_000.01).rises);
    }

    proptest! {
        /// Running sums equal a look at the samples that are within reach.
        #[test]
        fn running_sums_are_those_of_the_samples_in_reach(
            values in prop::collection::vec(-1_000_000i64..1_000_000, 1..60),
            restart in 0usize..60,
        ) {
            let (rule, mut state) = (rule(), SigmaState::default());
            for (index, value) in values.iter().enumerate() {
                if index == restart {
                    let json = serde_json::to_string(&state).unwrap();
                    state = serde_json::from_str(&json).unwrap();
                }
                let reach = index.saturating_sub(10)..index;
                let mut expected = Moments::default();
                values[reach.clone()].iter().for_each(|v| expected.add(Amount::from_millis(*v)));
                let value = Amount::from_millis(*value).to_f64();
                let verdict = state.judge(&rule, index as i64 * 60_000, value);
                let mean = if reach.len() >= rule.samples_min { expected.total.mean() } else { None };
                prop_assert_eq!(verdict.mean, mean);
            }
        }
    }
}
