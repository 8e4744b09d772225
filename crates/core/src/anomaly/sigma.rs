//! The running state of a sigma rule: its earlier samples, and whether an alert is up.
//!
//! An alert goes up when windows stand out for as long as the rule says, and is over when
//! none has stood out for `cooldown`, or when it has become usual: after `over`. Windows that
//! stand out teach the mean nothing until then, so that a spike does not hide the next one.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::ring::Ring;
use super::samples::Samples;
use super::{Side, SigmaRule, Spread};
use crate::time::EpochMs;

/// One final window of the metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Start of the pane it ends with: the time since the window before it.
    pub start: EpochMs,
    /// Its end.
    pub end: EpochMs,
    /// Its number; `None` when it has none (the mean of nothing).
    pub value: Option<f64>,
}

/// What a rule says of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The sample.
    pub sample: Sample,
    /// Mean of the earlier samples; `None` while there are too few.
    pub mean: Option<f64>,
    /// Where the rule draws its line.
    pub limit: Option<f64>,
    /// An alert goes up, or is over.
    pub change: Option<Change>,
}

/// An alert goes up, or is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// This window is worth an alert.
    Rises,
    /// The alert is over.
    Over(Past),
}

/// An alert that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// End of the window that raised it.
    pub raised: EpochMs,
    /// When the first window that stood out began.
    pub since: EpochMs,
    /// End of the last one.
    pub last: EpochMs,
    /// The number that stood out most.
    pub peak: f64,
    /// It did not go away but lasted so long that it is usual now.
    pub usual: bool,
}

/// Earlier samples, and what is going on. The samples are kept apart ([`SigmaState::rings`]).
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
    held: Ring<(EpochMs, f64)>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Phase {
    #[default]
    Quiet,
    /// Windows stand out, not long enough yet.
    Pending { since: EpochMs },
    /// An alert is up.
    Up { since: EpochMs, raised: EpochMs, last: EpochMs, peak: f64 },
}

/// Mean, and the lines drawn around it.
#[derive(Clone, Copy, Debug)]
struct Lines {
    mean: f64,
    limit: f64,
    clear: f64,
}

impl SigmaState {
    /// Puts back the samples that a mean is made of, and those that stood out.
    pub fn restore(&mut self, samples: VecDeque<(EpochMs, f64)>, held: VecDeque<(EpochMs, f64)>) {
        (self.samples, self.held) = (Samples::restored(samples), Ring::restored(held));
    }

    /// Ends and numbers of the samples that a mean is made of, and of those that stood out.
    pub fn rings(&mut self) -> [&mut Ring<(EpochMs, f64)>; 2] {
        [self.samples.ring(), &mut self.held]
    }

    /// End of the newest sample.
    pub fn last(&self) -> Option<EpochMs> {
        self.last
    }

    /// True when more samples of this value change nothing any more.
    pub fn is_settled(&self, value: Option<f64>) -> bool {
        self.phase == Phase::Quiet && value.is_none_or(|value| self.samples.are_all(value))
    }

    /// Judges one sample by the earlier ones in `[end - over, end)`, then keeps it. Samples
    /// come in order, without a hole.
    pub fn judge(&mut self, rule: &SigmaRule, spread: Spread, sample: Sample) -> Verdict {
        let Sample { start, end, value } = sample;
        self.last = Some(end);
        if self.phase == Phase::Quiet {
            self.samples.forget(end - rule.over, 0);
        }
        let lines = self.lines(rule, spread);
        let (mean, limit) = (lines.map(|lines| lines.mean), lines.map(|lines| lines.limit));
        let stands = |line: fn(&Lines) -> f64| match (value, &lines) {
            (Some(value), Some(lines)) => beyond(rule, value, line(lines)),
            _ => false,
        };
        let (out, stays) = (stands(|lines| lines.limit), stands(|lines| lines.clear));
        let change = match self.phase {
            Phase::Quiet | Phase::Pending { .. } if out => self.stand_out(rule, start, sample),
            Phase::Quiet | Phase::Pending { .. } => {
                // What did not last long enough was nothing unusual.
                let held = self.held.take();
                held.into_iter().for_each(|(end, value)| self.samples.keep(end, value));
                value.into_iter().for_each(|value| self.samples.keep(end, value));
                self.phase = Phase::Quiet;
                None
            }
            Phase::Up { .. } => self.go_on(rule, sample, out || stays),
        };
        Verdict { sample, mean, limit, change }
    }

    fn stand_out(&mut self, rule: &SigmaRule, start: EpochMs, sample: Sample) -> Option<Change> {
        let Sample { end, value, .. } = sample;
        let value = value?;
        let since = match self.phase {
            Phase::Pending { since } => since,
            _ => start,
        };
        self.held.push_back((end, value));
        if end - since < rule.hold {
            self.phase = Phase::Pending { since };
            return None;
        }
        let peak = self.held.iter().map(|(_, v)| *v).reduce(|a, b| further(rule, a, b));
        let peak = peak.unwrap_or(value);
        self.phase = Phase::Up { since, raised: end, last: end, peak };
        Some(Change::Rises)
    }

    fn go_on(&mut self, rule: &SigmaRule, sample: Sample, stays: bool) -> Option<Change> {
        let Sample { end, value, .. } = sample;
        let Phase::Up { since, raised, mut last, mut peak } = self.phase else { return None };
        match value {
            Some(value) if stays => {
                self.held.push_back((end, value));
                last = end;
                peak = further(rule, peak, value);
            }
            Some(value) => {
                self.samples.keep(end, value);
                self.samples.forget(end - rule.over, rule.samples_min);
            }
            None => {}
        }
        let usual = stays && end - since >= rule.over;
        if !usual && (stays || end - last < rule.cooldown) {
            self.phase = Phase::Up { since, raised, last, peak };
            return None;
        }
        let held = self.held.take();
        if usual {
            self.samples.keep_among(held);
        }
        self.phase = Phase::Quiet;
        Some(Change::Over(Past { raised, since, last, peak, usual }))
    }

    fn lines(&self, rule: &SigmaRule, spread: Spread) -> Option<Lines> {
        if self.samples.len() < rule.samples_min {
            return None;
        }
        let (mean, deviation) = self.samples.mean_and_deviation()?;
        let sigma = deviation.max(spread.least(rule, mean));
        let line = |k: f64| match rule.side {
            Side::Above => mean + k * sigma,
            Side::Below => mean - k * sigma,
        };
        Some(Lines { mean, limit: line(rule.k), clear: line(rule.k_clear) })
    }
}

fn beyond(rule: &SigmaRule, value: f64, line: f64) -> bool {
    match rule.side {
        Side::Above => value > line && value >= rule.value_min,
        Side::Below => value < line,
    }
}

fn further(rule: &SigmaRule, a: f64, b: f64) -> f64 {
    match rule.side {
        Side::Above => a.max(b),
        Side::Below => a.min(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: i64 = 10_000;
    const COUNT: Spread = Spread::Events { unit: 1.0 };

    fn rule() -> SigmaRule {
        SigmaRule {
            name: "spike".into(),
            title: String::new(),
            metric: "m".into(),
            k: 3.0,
            k_clear: 3.0,
            over: 60 * STEP,
            samples_min: 30,
            value_min: 0.0,
            sigma_min: None,
            hold: 0,
            cooldown: 12 * STEP,
            side: Side::Above,
            severity: "warning".into(),
        }
    }

    /// Positions of the alerts that go up, and of those that are over.
    fn changes(rule: &SigmaRule, values: &[f64]) -> (Vec<usize>, Vec<usize>) {
        let (mut state, mut found) = (SigmaState::default(), (Vec::new(), Vec::new()));
        for (index, value) in values.iter().enumerate() {
            let end = (index as i64 + 1) * STEP;
            let sample = Sample { start: end - STEP, end, value: Some(*value) };
            match state.judge(rule, COUNT, sample).change {
                Some(Change::Rises) => found.0.push(index),
                Some(Change::Over(_)) => found.1.push(index),
                None => {}
            }
            // Bounds: the samples of `over`, and what is held of it.
            assert!(state.samples.len() <= 2 * 62 + rule.samples_min && state.held.len() <= 61);
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
        let below = SigmaRule { side: Side::Below, ..rule() };
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
        assert_eq!(changes(&SigmaRule { sigma_min: Some(2.0), ..rule() }, &quiet).0, [60]);
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
        let rule = SigmaRule { cooldown: 0, ..rule() };
        assert_eq!(changes(&rule, &values), (vec![60, 62], vec![61, 64]));
    }

    #[test]
    fn an_alert_waits_until_windows_stood_out_for_so_long() {
        let rule = SigmaRule { hold: 2 * STEP, ..rule() };
        let flapping = after(&[0.0, 2.0, 1.0], &[20.0, 1.0, 20.0, 1.0, 20.0, 1.0]);
        assert_eq!(changes(&rule, &flapping).0, [0usize; 0]);
        let lasting = after(&[0.0, 2.0, 1.0], &[20.0, 20.0, 20.0]);
        assert_eq!(changes(&rule, &lasting).0, [61]);
    }

    #[test]
    fn a_lower_line_keeps_an_alert_up() {
        // Mean 1, deviation 1 (the floor): out above 4, up above 2.
        let rule = SigmaRule { k_clear: 1.0, cooldown: STEP, ..rule() };
        let values = after(&[0.0, 2.0, 1.0], &[9.0, 3.0, 3.0, 9.0, 1.0]);
        assert_eq!(changes(&rule, &values), (vec![60], vec![64]));
        let strict = SigmaRule { k_clear: 3.0, ..rule };
        assert_eq!(changes(&strict, &values).0, [60, 63]);
    }

    #[test]
    fn what_lasts_becomes_usual() {
        let values = after(&[0.0, 2.0, 1.0], &[50.0; 200]);
        let (up, over) = changes(&rule(), &values);
        assert_eq!((up, over.len()), (vec![60], 1));
        assert_eq!(over, [60 + 59]);
    }
}
