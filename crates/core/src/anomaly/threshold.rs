//! A line that does not move.

use serde::{Deserialize, Serialize};

use super::{
    Alarm, Band, Detector, Dial, Misfit, Patience, Sample, Side, Spread, Stands, State, Verdict,
};
use crate::settings::{Derived, Value, settings};
use crate::time::{EpochMs, SpanMs};

/// How long no window must stand out, where a rule does not say.
const COOLDOWN: SpanMs = 2 * 60_000;

settings! {
    /// A line that does not move.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Threshold in "" {
        /// Of threshold, and needed there: windows beyond it stand out.
        pub limit: Derived<f64> = Derived(None), number(f64::NEG_INFINITY, f64::INFINITY);
        /// Of threshold: windows beyond it keep an alert up. By default it is limit.
        pub limit_clear: Derived<f64> = Derived(None), number(f64::NEG_INFINITY, f64::INFINITY);
    }
}

/// What is going on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdState {
    last: Option<EpochMs>,
    alarm: Alarm,
}

impl State for ThresholdState {
    fn last(&self) -> Option<EpochMs> {
        self.last
    }

    fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// What stands out is not quiet.
    fn is_settled(&self, _: Option<f64>) -> bool {
        self.alarm.is_quiet()
    }
}

impl Detector for Threshold {
    type State = ThresholdState;
    const WORD: &'static str = "threshold";
    const SAYS: &'static str = "a line that does not move";
    const MEASURE: &'static str = "difference";

    fn fill(&mut self, _: SpanMs) {
        self.limit_clear.0 = self.limit_clear.0.or(self.limit.0);
    }

    fn cooldown(&self, _: SpanMs) -> SpanMs {
        COOLDOWN
    }

    fn reach(&self, _: SpanMs) -> SpanMs {
        0
    }

    fn misfits(&self, patience: Patience, _: &str, _: SpanMs) -> Vec<Misfit> {
        let (Some(limit), Some(clear)) = (self.limit.0, self.limit_clear.0) else {
            return vec![(vec!["limit"], "is missing: write limit = 100".into())];
        };
        let (wrong, near) = match patience.side {
            Side::Above => (clear > limit, "at most"),
            Side::Below => (clear < limit, "at least"),
            Side::Both => {
                return vec![(vec!["side"], "must be above or below: a line has one".into())];
            }
        };
        let rule = || format!("must be {near} limit, which is {limit}");
        wrong.then(|| (vec!["limit_clear"], rule())).into_iter().collect()
    }

    fn dials(&self, patience: Patience, _: SpanMs, numbers: &[f64]) -> Vec<Dial> {
        const SHARES: [f64; 12] =
            [0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0];
        let last = numbers.len().saturating_sub(1) as f64;
        let at = |share: f64| {
            let share = if patience.side == Side::Below { 1.0 - share } else { share };
            numbers.get((last * share).round() as usize).copied()
        };
        let mut limits: Vec<f64> = SHARES.into_iter().filter_map(at).collect();
        limits.dedup();
        vec![("limit", limits.into_iter().map(Value::Float).collect())]
    }

    fn judge(
        &self,
        patience: Patience,
        state: &mut ThresholdState,
        _: Spread,
        sample: Sample,
    ) -> Verdict {
        state.last = Some(sample.end);
        let band = |line: Option<f64>| match patience.side {
            Side::Below => Band { low: line, ..Band::default() },
            _ => Band { high: line, ..Band::default() },
        };
        let beyond = |line: Option<f64>| {
            sample.value.is_some_and(|value| band(line).excludes(patience.side, value))
        };
        let out = beyond(self.limit.0);
        let stays = out || beyond(self.limit_clear.0);
        let far = sample.value.zip(self.limit.0).map(|(value, limit)| match patience.side {
            Side::Below => limit - value,
            _ => value - limit,
        });
        let stands = Stands { out, stays, far: far.unwrap_or_default(), often: None };
        let since = state.alarm.since();
        let change = state.alarm.step(patience, None, sample, stands);
        let band = band(self.limit.0);
        Verdict { sample, band, far, since: state.alarm.since().or(since), change }
    }

    fn words(&self) -> String {
        self.limit.0.map_or_else(String::new, |limit| format!("the limit is {limit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, Detect};
    use super::*;

    fn changes(rule: Threshold, patience: Patience, values: &[Option<f64>]) -> Vec<(i64, bool)> {
        let detect = Detect::from(rule);
        let mut state = detect.start();
        let mut found = Vec::new();
        for (end, value) in (1i64..).zip(values) {
            let sample = Sample { start: end - 1, end, value: *value };
            let verdict = detect.judge(patience, &mut state, Spread::Share(0.0), sample);
            found.extend(verdict.change.map(|change| (end, change == Change::Rises)));
        }
        found
    }

    #[test]
    fn a_window_beyond_the_line_is_an_alert_until_none_was_for_long_enough() {
        let rule = Threshold { limit: Derived(Some(5.0)), limit_clear: Derived(Some(3.0)) };
        let patience = Patience { hold: 2, cooldown: 2, side: Side::Above };
        let values = [9.0, 1.0, 6.0, 7.0, 4.0, 2.0, 4.0, 1.0, 1.0, 9.0];
        // One of them alone was too short; 4 keeps it up, and so it is over after two below 3.
        let found = changes(rule, patience, &values.map(Some));
        assert_eq!(found, [(4, true), (9, false)]);
    }

    #[test]
    fn what_has_no_number_does_not_stand_out_and_below_is_the_other_side() {
        let rule = Threshold { limit: Derived(Some(5.0)), ..Threshold::default() };
        let patience = Patience { hold: 0, cooldown: 1, side: Side::Below };
        let values = [Some(5.0), None, Some(4.0), None, Some(4.0)];
        assert_eq!(changes(rule, patience, &values), [(3, true), (4, false), (5, true)]);
    }
}
