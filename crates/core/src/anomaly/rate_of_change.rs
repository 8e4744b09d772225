//! Change against the window of some time ago.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    Alarm, Band, Detector, Dial, Known, Misfit, Patience, Ring, SAMPLES_MAX, Sample, Side, Spread,
    Stands, State, Verdict, broken, windows,
};
use crate::keeper::span_words;
use crate::settings::{Derived, Value, settings};
use crate::time::{EpochMs, SpanMs};

/// How long no window must stand out, where a rule does not say.
const COOLDOWN: SpanMs = 2 * 60_000;

settings! {
    /// Change against the window of some time ago.
    #[derive(Clone, Debug, PartialEq)]
    pub struct RateOfChange in "" {
        /// Of rate_of_change: against the window that ended so long ago.
        pub ago: SpanMs = 10 * MINUTE, span(SECOND, 31 * DAY);
        /// Of rate_of_change: a change by more than so many percent stands out. Either this or
        /// amount is needed.
        pub percent: Derived<f64> = Derived(None), number(0.0, f64::INFINITY);
        /// Of rate_of_change: a change by more than this stands out.
        pub amount: Derived<f64> = Derived(None), number(0.0, f64::INFINITY);
        /// Of rate_of_change, for counts, distinct counts and rates: a change must also be more
        /// than so many deviations of what chance makes of both windows. From 0 to 9 events is none.
        pub chance_k: f64 = 3.0, number(0.0, 100.0);
    }
}

/// Earlier windows, and what is going on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateOfChangeState {
    /// End of the newest sample.
    last: Option<EpochMs>,
    /// Windows with a number that did not stand out, and the newest one that is as old as `ago`.
    #[serde(skip)]
    known: Ring<Known>,
    alarm: Alarm,
}

impl State for RateOfChangeState {
    fn last(&self) -> Option<EpochMs> {
        self.last
    }

    fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    fn is_settled(&self, value: Option<f64>) -> bool {
        let are_all = |value: f64| self.known.iter().all(|(_, known)| *known == value);
        self.alarm.is_quiet() && value.is_none_or(are_all)
    }

    fn rings(&mut self) -> [Option<&mut Ring<Known>>; 2] {
        [Some(&mut self.known), None]
    }

    fn restore(&mut self, learned: VecDeque<Known>, _: VecDeque<Known>) {
        self.known = Ring::restored(learned);
    }
}

impl Detector for RateOfChange {
    type State = RateOfChangeState;
    const WORD: &'static str = "rate_of_change";
    const SAYS: &'static str = "change against the window of some time ago";

    fn cooldown(&self, _: SpanMs) -> SpanMs {
        COOLDOWN
    }

    fn reach(&self, step: SpanMs) -> SpanMs {
        self.ago.saturating_add(2 * step)
    }

    fn misfits(&self, _: Patience, metric: &str, step: SpanMs) -> Vec<Misfit> {
        let (ago, most) = (span_words(self.ago), SAMPLES_MAX);
        let (percent, amount) = (self.percent.0.is_some(), self.amount.0.is_some());
        let checks = [
            (
                percent == amount,
                vec!["percent", "amount"],
                "is one of percent and amount: write percent = 50 or amount = 100".to_owned(),
            ),
            (
                self.ago < step,
                vec!["ago", "metric"],
                format!("{ago} ago is the same window of {metric}"),
            ),
            (
                self.ago / step > most,
                vec!["ago", "metric"],
                format!("must be at most {most} windows of {metric}"),
            ),
        ];
        broken(checks)
    }

    fn dials(&self, _: Patience, step: SpanMs, numbers: &[f64]) -> Vec<Dial> {
        let percents = [20.0, 50.0, 100.0, 200.0, 300.0, 500.0, 1_000.0, 2_000.0, 5_000.0];
        // As shares of the range.
        let range = numbers.first().zip(numbers.last()).map_or(0.0, |(least, most)| most - least);
        let change = match self.amount.0 {
            None => ("percent", percents.to_vec()),
            Some(_) => ("amount", [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9].map(|s| s * range).to_vec()),
        };
        let change = (change.0, change.1.into_iter().map(Value::Float).collect());
        vec![change, ("ago", windows(step, [1, 6, 60, 360]))]
    }

    fn learning(&self, state: &RateOfChangeState, step: SpanMs) -> Option<(usize, usize)> {
        let windows = |span: SpanMs| (span / step.max(1)) as usize;
        let first = state.known.front().map(|(end, _)| *end);
        let have = first.zip(state.last).map_or(0, |(first, last)| windows(last - first) + 1);
        (have < windows(self.ago)).then_some((have, windows(self.ago)))
    }

    fn judge(
        &self,
        patience: Patience,
        state: &mut RateOfChangeState,
        spread: Spread,
        sample: Sample,
    ) -> Verdict {
        let Sample { start, end, value } = sample;
        state.last = Some(end);
        let known = &mut state.known;
        while known.iter().nth(1).is_some_and(|(next, _)| *next <= end - self.ago) {
            known.pop_front();
        }
        // The window of that time, if it is known.
        let then = start - self.ago + 1..=end - self.ago;
        let base = known.front().filter(|(known, _)| then.contains(known)).map(|(_, base)| *base);
        let band = base.map_or_else(Band::default, |base| self.band(base, spread));
        let out = value.is_some_and(|value| band.excludes(patience.side, value));
        let far = value.zip(band.expected).map(|(value, base)| self.far(value, base));
        let stands = Stands { out, stays: out, far: far.unwrap_or_default(), often: None };
        let since = state.alarm.since();
        let change = state.alarm.step(patience, None, sample, stands);
        // What stands out, on either side, is no measure for what comes.
        let learned = value.filter(|value| !band.excludes(Side::Both, *value));
        learned.into_iter().for_each(|value| state.known.push_back((end, value)));
        Verdict { sample, band, far, since: state.alarm.since().or(since), change }
    }

    fn measure(&self) -> &'static str {
        if self.percent.0.is_some() { "percent" } else { "difference" }
    }

    fn words(&self) -> String {
        let ago = span_words(self.ago);
        match (self.percent.0, self.amount.0) {
            (Some(percent), _) => format!("{percent} % against {ago} ago"),
            (_, amount) => format!("{} against {ago} ago", amount.unwrap_or_default()),
        }
    }
}

impl RateOfChange {
    /// Around the number of some time ago. Of 0 there are no percents, but events that chance
    /// does not make.
    fn band(&self, base: f64, spread: Spread) -> Band {
        let width = match (self.percent.0, spread) {
            (Some(_), Spread::Share(_)) if base == 0.0 => return Band::default(),
            (Some(percent), _) => base.abs() * percent / 100.0,
            (None, _) => self.amount.0.unwrap_or_default(),
        };
        let (below, above) = match spread {
            Spread::Events { unit } => {
                // Where the difference of two counts is k times the root of their sum.
                let (k, events) = (self.chance_k, base / unit);
                let (square, root) = (k * k, k * (k * k + 8.0 * events).sqrt());
                ((root - square) / 2.0 * unit, (root + square) / 2.0 * unit)
            }
            Spread::Share(_) => (0.0, 0.0),
        };
        Band::around(base, width.max(below), width.max(above))
    }

    fn far(&self, value: f64, base: f64) -> f64 {
        let away = (value - base).abs();
        match self.percent.0 {
            Some(_) if away > 0.0 => (away / base.abs() * 100.0).min(f64::MAX),
            _ => away,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Change;
    use super::*;
    use proptest::prelude::*;

    const STEP: i64 = 1_000;

    fn rule(percent: Option<f64>, amount: Option<f64>) -> RateOfChange {
        let (percent, amount) = (Derived(percent), Derived(amount));
        RateOfChange { ago: 5 * STEP, percent, amount, ..RateOfChange::default() }
    }

    fn alerts(
        rule: &RateOfChange,
        side: Side,
        spread: Spread,
        values: &[Option<f64>],
    ) -> Vec<usize> {
        let patience = Patience { hold: 0, cooldown: STEP, side };
        let (mut state, mut found) = (RateOfChangeState::default(), Vec::new());
        for (index, value) in values.iter().enumerate() {
            let end = (index as i64 + 1) * STEP;
            let sample = Sample { start: end - STEP, end, value: *value };
            let verdict = rule.judge(patience, &mut state, spread, sample);
            found.extend((verdict.change == Some(Change::Rises)).then_some(index));
            assert!(state.known.len() <= 7);
        }
        found
    }

    fn row(values: &[f64]) -> Vec<Option<f64>> {
        values.iter().copied().map(Some).collect()
    }

    #[test]
    fn a_change_beyond_the_line_is_an_alert_once() {
        let other = Spread::Share(0.01);
        let step = row(&[&[10.0; 9][..], &[16.0; 9]].concat());
        assert_eq!(alerts(&rule(Some(50.0), None), Side::Above, other, &step), [9]);
        assert_eq!(alerts(&rule(Some(60.0), None), Side::Above, other, &step), [0usize; 0]);
        assert_eq!(alerts(&rule(None, Some(5.5)), Side::Above, other, &step), [9]);
        assert_eq!(alerts(&rule(None, Some(6.0)), Side::Above, other, &step), [0usize; 0]);
        assert_eq!(alerts(&rule(Some(50.0), None), Side::Below, other, &step), [0usize; 0]);
        // A spike is no measure: that it is gone some time later is no fall.
        let spike = row(&[&[10.0; 9][..], &[90.0], &[10.0; 9]].concat());
        assert_eq!(alerts(&rule(Some(50.0), None), Side::Both, other, &spike), [9]);
        // Of zero there is no percent.
        let start = row(&[&[0.0; 9][..], &[1.0; 3]].concat());
        assert_eq!(alerts(&rule(Some(50.0), None), Side::Above, other, &start), [0usize; 0]);
        let gap = [&row(&[10.0; 9])[..], &[None; 5], &row(&[90.0; 2])].concat();
        assert_eq!(alerts(&rule(Some(50.0), None), Side::Above, other, &gap), [0usize; 0]);
    }

    #[test]
    fn chance_changes_few_events_by_any_percent() {
        let count = Spread::Events { unit: 1.0 };
        let percent = rule(Some(50.0), None);
        for (before, chance, news) in [(0.0, 9.0, 10.0), (4.0, 18.0, 19.0), (100.0, 150.0, 151.0)] {
            let then = |next: f64| row(&[&[before; 9][..], &[next]].concat());
            assert_eq!(alerts(&percent, Side::Above, count, &then(chance)), [0usize; 0]);
            assert_eq!(alerts(&percent, Side::Above, count, &then(news)), [9]);
        }
        let sure = RateOfChange { chance_k: 0.0, ..percent };
        assert_eq!(alerts(&sure, Side::Above, count, &row(&[&[4.0; 9][..], &[7.0]].concat())), [9]);
    }

    proptest! {
        /// Each window is compared with the one of that time, as a look at all windows finds it.
        #[test]
        fn the_band_is_around_the_window_of_that_time(
            values in prop::collection::vec(prop::option::weighted(0.9, 1i64..40), 1..60),
            ago in 1i64..9,
            amount in 1i64..20,
            restart in 0usize..60,
        ) {
            let rule = RateOfChange { ago: ago * STEP, ..rule(None, Some(amount as f64)) };
            let patience = Patience { hold: 0, cooldown: STEP, side: Side::Both };
            let (mut state, mut plain) = (RateOfChangeState::default(), Vec::new());
            for (index, value) in values.iter().enumerate() {
                if index == restart {
                    let known = state.known.iter().copied().collect();
                    state.restore(known, VecDeque::new());
                }
                let end = (index as i64 + 1) * STEP;
                let value = value.map(|value| value as f64);
                let sample = Sample { start: end - STEP, end, value };
                let verdict = rule.judge(patience, &mut state, Spread::Share(0.0), sample);
                let base = index.checked_sub(ago as usize).and_then(|then| plain[then]);
                prop_assert_eq!(verdict.band.expected, base);
                let away = |base: f64, value: f64| (value - base).abs();
                let out = base.zip(value).is_some_and(|(b, v)| away(b, v) > amount as f64);
                prop_assert_eq!(verdict.far, base.zip(value).map(|(b, v)| away(b, v)));
                plain.push(value.filter(|_| !out));
            }
        }
    }
}
