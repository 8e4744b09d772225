//! Standard deviations from the mean of what was before.
//!
//! Windows that stand out teach the mean nothing until their alert is over, so that a spike does
//! not hide the next one, or until they have lasted for as long as the mean reaches back.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::samples::Samples;
use super::{
    Alarm, Band, Detector, Dial, Held, Known, Lesson, Misfit, Patience, Ring, SAMPLES_MAX, Sample,
    Side, Spread, Stands, State, Verdict, broken, deviations, windows,
};
use crate::keeper::span_words;
use crate::settings::{Derived, settings};
use crate::time::{EpochMs, SpanMs};

settings! {
    /// `k` standard deviations above (or below) the trailing mean of a metric.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Sigma in "" {
        /// Of sigma: how many deviations above (or below) the mean stand out.
        pub k: f64 = 3.0, number(0.1, 100.0);
        /// Of sigma: how many keep an alert up. At most k, which is the default.
        pub k_clear: Derived<f64> = Derived(None), number(0.0, 100.0);
        /// Of sigma: how far the mean reaches back; it holds at least samples_min windows.
        pub over: SpanMs = 10 * MINUTE, span(SECOND, 7 * DAY);
        /// Of sigma: fewest windows to judge by.
        pub samples_min: usize = 30, count(2, 86_400);
        /// Of sigma: least value worth an alert, for side = "above".
        pub value_min: f64 = 0.0, number(f64::NEG_INFINITY, f64::INFINITY);
        /// Of sigma: the deviation is never taken to be less. By default the root of the mean for
        /// counts, distinct counts and rates, at least one event, and a hundredth of the mean for
        /// the rest.
        pub sigma_min: Derived<f64> = Derived(None), number(0.0, f64::INFINITY);
    }
}

/// Earlier samples, and what is going on. The samples are kept apart ([`State::rings`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigmaState {
    /// End of the newest sample.
    last: Option<EpochMs>,
    /// What the mean is made of: ends and numbers, within `over` while all is quiet.
    #[serde(skip)]
    samples: Samples,
    /// What stood out and teaches nothing yet; as long as `over` at most.
    #[serde(skip)]
    held: Held,
    alarm: Alarm,
}

impl State for SigmaState {
    fn last(&self) -> Option<EpochMs> {
        self.last
    }

    fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    fn is_settled(&self, value: Option<f64>) -> bool {
        self.alarm.is_quiet() && value.is_none_or(|value| self.samples.are_all(value))
    }

    fn rings(&mut self) -> [Option<&mut Ring<Known>>; 2] {
        [Some(self.samples.ring()), Some(self.held.ring())]
    }

    fn restore(&mut self, learned: VecDeque<Known>, held: VecDeque<Known>) {
        (self.samples, self.held) = (Samples::restored(learned), Held::restored(held));
    }
}

impl Detector for Sigma {
    type State = SigmaState;
    const WORD: &'static str = "sigma";
    const SAYS: &'static str = "deviations from the mean of what was before";

    fn fill(&mut self, _: SpanMs) {
        self.k_clear.0.get_or_insert(self.k);
    }

    /// As a part of `over` it fits windows of seconds as well as windows of days.
    fn cooldown(&self, _: SpanMs) -> SpanMs {
        self.over / 5
    }

    fn reach(&self, _: SpanMs) -> SpanMs {
        self.over.saturating_mul(2)
    }

    fn misfits(&self, patience: Patience, metric: &str, step: SpanMs) -> Vec<Misfit> {
        let (k, over, least) = (self.k, span_words(self.over), self.samples_min);
        let samples = self.over / step;
        let checks = [
            (self.k_clear() > k, vec!["k_clear"], format!("must be from 0 to k, which is {k}")),
            (
                patience.hold > self.over,
                vec!["for"],
                format!("must be at most over, which is {over}"),
            ),
            (
                samples < least as SpanMs,
                vec!["over", "samples_min", "metric"],
                format!(
                    "can never alert: over holds {samples} samples of {metric}, samples_min is \
                     {least}"
                ),
            ),
            (
                samples > SAMPLES_MAX,
                vec!["over", "metric"],
                format!("over holds {samples} samples of {metric}, at most {SAMPLES_MAX}"),
            ),
        ];
        broken(checks)
    }

    fn dials(&self, _: Patience, step: SpanMs, _: &[f64]) -> Vec<Dial> {
        vec![deviations(), ("over", windows(step, [60, 360, 1_440]))]
    }

    fn learning(&self, state: &SigmaState, _: SpanMs) -> Option<(usize, usize)> {
        let have = state.samples.len();
        (have < self.samples_min).then_some((have, self.samples_min))
    }

    fn judge(
        &self,
        patience: Patience,
        state: &mut SigmaState,
        spread: Spread,
        sample: Sample,
    ) -> Verdict {
        let Sample { end, value, .. } = sample;
        state.last = Some(end);
        if state.alarm.is_quiet() {
            state.samples.forget(end - self.over, 0);
        }
        let band = self.band(&state.samples, spread);
        let far = value.filter(|_| band.expected.is_some()).map(|value| band.far(value) * self.k);
        let out = self.stands_out(band, patience.side, value);
        let was_up = state.alarm.is_up();
        // Before an alert is up only what is out counts.
        let clear = || band.narrowed(self.k_clear() / self.k);
        let stays = out || (was_up && self.stands_out(clear(), patience.side, value));
        let stands = Stands { out, stays, far: far.unwrap_or_default(), often: None };
        let since = state.alarm.since();
        let change = state.alarm.step(patience, Some(self.over), sample, stands);
        match state.held.take(value.map(|value| (end, value)), was_up, stays, change) {
            Lesson::More(more) => {
                more.into_iter().for_each(|(end, value)| state.samples.keep(end, value));
                if was_up && value.is_some() {
                    state.samples.forget(end - self.over, self.samples_min);
                }
            }
            Lesson::Nothing => {}
            Lesson::Usual(usual) => state.samples.keep_among(usual),
        }
        Verdict { sample, band, far, since: state.alarm.since().or(since), change }
    }

    fn words(&self) -> String {
        format!("{} σ from the mean of {}", self.k, span_words(self.over))
    }

    fn detail(&self) -> Map<String, Json> {
        let detail = [("deviations", json!(self.k)), ("over_ms", json!(self.over))];
        detail.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl Sigma {
    fn k_clear(&self) -> f64 {
        self.k_clear.0.unwrap_or(self.k)
    }

    fn band(&self, samples: &Samples, spread: Spread) -> Band {
        let known = samples.mean_and_deviation().filter(|_| samples.len() >= self.samples_min);
        let Some((mean, deviation)) = known else { return Band::default() };
        let width = |side: Side| {
            let least = self.sigma_min.0.unwrap_or_else(|| spread.least(side, self.k, mean));
            self.k * deviation.max(least)
        };
        Band::around(mean, width(Side::Below), width(Side::Above))
    }

    fn stands_out(&self, band: Band, side: Side, value: Option<f64>) -> bool {
        value.is_some_and(|value| {
            band.excludes(side, value) && (value >= self.value_min || band.is_below(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Change;
    use super::*;

    const STEP: i64 = 10_000;
    const COUNT: Spread = Spread::Events { unit: 1.0 };

    #[derive(Clone)]
    struct Case {
        sigma: Sigma,
        patience: Patience,
    }

    fn rule() -> Case {
        Case {
            sigma: Sigma { over: 60 * STEP, ..Sigma::default() },
            patience: Patience { hold: 0, cooldown: 12 * STEP, side: Side::Above },
        }
    }

    /// Positions of the alerts that go up, and of those that are over.
    fn changes(rule: &Case, values: &[f64]) -> (Vec<usize>, Vec<usize>) {
        let (mut state, mut found) = (SigmaState::default(), (Vec::new(), Vec::new()));
        for (index, value) in values.iter().enumerate() {
            let end = (index as i64 + 1) * STEP;
            let sample = Sample { start: end - STEP, end, value: Some(*value) };
            match rule.sigma.judge(rule.patience, &mut state, COUNT, sample).change {
                Some(Change::Rises) => found.0.push(index),
                Some(Change::Over(_)) => found.1.push(index),
                Some(Change::Recurred(_)) | None => {}
            }
            // Bounds: the samples of `over`, and what is held of it.
            let most = 2 * 62 + rule.sigma.samples_min;
            assert!(state.samples.len() <= most && state.held.len() <= 61);
        }
        found
    }

    fn after(history: &[f64], values: &[f64]) -> Vec<f64> {
        history.iter().cycle().take(60).chain(values).copied().collect()
    }

    #[test]
    fn a_value_three_deviations_above_its_average_is_one_alert() {
        let usual = [10.0, 12.0, 8.0, 11.0, 9.0];
        let spike = after(&usual, &[40.0, 41.0, 10.0]);
        assert_eq!(changes(&rule(), &spike), (vec![60], vec![]));
    }

    #[test]
    fn a_history_without_deviation_is_judged_and_a_wiggle_of_it_is_none() {
        for constant in [0.0, 1.0, 2.0, 5.0, 20.0, 100.0] {
            let spike = after(&[constant], &[400.0]);
            assert_eq!(changes(&rule(), &spike).0, [60], "{constant}");
            let wiggle = after(&[constant], &[constant + 1.0, constant, constant + 2.0]);
            assert_eq!(changes(&rule(), &wiggle).0, [0usize; 0], "{constant}");
        }
        let mut below = rule();
        below.patience.side = Side::Below;
        for constant in [1.0, 2.0, 5.0, 20.0, 100.0] {
            let silence = after(&[constant], &[0.0]);
            assert_eq!(changes(&below, &silence).0, [60], "{constant}");
        }
        assert_eq!(changes(&below, &after(&[20.0], &[19.0, 18.0, 20.0])).0, [0usize; 0]);
        assert_eq!(changes(&below, &after(&[0.0], &[0.0; 30])).0, [0usize; 0]);
    }

    #[test]
    fn a_deviation_of_its_own_takes_the_place_of_the_floor() {
        let quiet = after(&[100.0], &[110.0]);
        assert_eq!(changes(&rule(), &quiet).0, [0usize; 0]);
        let mut own = rule();
        own.sigma.sigma_min = Derived(Some(2.0));
        assert_eq!(changes(&own, &quiet).0, [60]);
    }

    #[test]
    fn few_samples_are_not_judged() {
        let values: Vec<f64> = [1.0; 29].into_iter().chain([500.0]).collect();
        assert_eq!(changes(&rule(), &values), (vec![], vec![]));
    }

    #[test]
    fn what_comes_and_goes_is_one_alert_and_one_over() {
        for quiet in [1usize, 2, 5, 10] {
            let mut row = vec![20.0];
            row.extend(std::iter::repeat_n(1.0, quiet));
            let values: Vec<f64> = row.iter().cycle().take(24).copied().collect();
            let values = after(&[0.0, 2.0, 1.0], &[&values[..], &[1.0; 40]].concat());
            let (up, over) = changes(&rule(), &values);
            assert_eq!((up.len(), over.len()), (1, 1), "{quiet}: {up:?} {over:?}");
            let last = values.iter().rposition(|value| *value == 20.0).unwrap();
            assert_eq!(over, [last + 12], "{quiet}");
        }
    }

    #[test]
    fn without_a_cooldown_each_row_is_an_alert_of_its_own() {
        let values = after(&[0.0, 2.0, 1.0], &[20.0, 1.0, 20.0, 20.0, 1.0]);
        let mut rule = rule();
        rule.patience.cooldown = 0;
        assert_eq!(changes(&rule, &values), (vec![60, 62], vec![61, 64]));
    }

    #[test]
    fn an_alert_waits_until_windows_stood_out_for_so_long() {
        let mut rule = rule();
        rule.patience.hold = 2 * STEP;
        let flapping = after(&[0.0, 2.0, 1.0], &[20.0, 1.0, 20.0, 1.0, 20.0, 1.0]);
        assert_eq!(changes(&rule, &flapping).0, [0usize; 0]);
        let lasting = after(&[0.0, 2.0, 1.0], &[20.0, 20.0, 20.0]);
        assert_eq!(changes(&rule, &lasting).0, [61]);
    }

    #[test]
    fn a_lower_line_keeps_an_alert_up() {
        // Mean 1, deviation 1 (the floor): out above 4, up above 2.
        let mut rule = rule();
        rule.sigma.k_clear = Derived(Some(1.0));
        rule.patience.cooldown = STEP;
        let values = after(&[0.0, 2.0, 1.0], &[9.0, 3.0, 3.0, 9.0, 1.0]);
        assert_eq!(changes(&rule, &values), (vec![60], vec![64]));
        rule.sigma.k_clear = Derived(Some(3.0));
        assert_eq!(changes(&rule, &values).0, [60, 63]);
    }

    #[test]
    fn what_lasts_becomes_usual() {
        let values = after(&[0.0, 2.0, 1.0], &[50.0; 200]);
        let (up, over) = changes(&rule(), &values);
        assert_eq!((up, over.len()), (vec![60], 1));
        assert_eq!(over, [60 + 59]);
    }
}
