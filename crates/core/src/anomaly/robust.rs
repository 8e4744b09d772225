//! Distance from the median of what was before, or of what was at the same time of other days.
//!
//! A median and the distances from it hardly notice what is rare, so a spike does not widen the
//! band; and what stands out is not learned before it lasted for `usual_after`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::history::{History, Reference};
use super::poisson;
use super::recurring::Recurring;
use super::{
    Alarm, Band, Change, Detector, Dial, Held, Known, Lesson, Misfit, Patience, Ring, SAMPLES_MAX,
    Sample, Side, Spread, Stands, State, Verdict, broken, deviations,
};
use crate::keeper::span_words;
use crate::settings::{Derived, Value, Word, settings};
use crate::time::{EpochMs, SpanMs};

const DAY: SpanMs = 24 * 60 * 60_000;

/// Half of normal numbers lie within so many deviations of their middle, and so many of 100
/// within twice that of 95: a band that knows both does not call the tail of a metric that has one
/// an anomaly each day.
const HALF: (f64, f64) = (0.5, 0.674_489_750_196_081_7);
const MOST: (f64, f64) = (0.95, 1.959_963_984_540_054);

/// What the numbers of a metric go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Season {
    /// Nothing that is known.
    None,
    /// The time of the day.
    Day,
    /// The time of the week.
    Week,
}

impl Word for Season {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", Season::None), ("day", Season::Day), ("week", Season::Week)];
}

settings! {
    /// `k` deviations above or below the median of earlier windows.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Robust in "" {
        /// Of robust: how many deviations from the median stand out. A deviation is what normal
        /// numbers would have for one: the distance within which half of the windows lie / 0.67, or
        /// 19 of 20 / 1.96, whichever is more.
        pub k: f64 = 6.0, number(0.1, 100.0);
        /// Of robust: how many keep an alert up. At most k, which is the default.
        pub k_clear: Derived<f64> = Derived(None), number(0.0, 100.0);
        /// Of robust: how many earlier windows with a number it compares with, the newest, where
        /// there is no season.
        pub samples: usize = 360, count(2, 86_400);
        /// Of robust: fewest windows to judge by.
        pub samples_min: usize = 30, count(2, 86_400);
        /// Of robust: "none"; or compare with the same time of the last days ("day") or weeks
        /// ("week"), each as long as the last, without summer time.
        pub season: Season = Season::None, word::<Season>();
        /// Of robust: how many days or weeks back.
        pub seasons: i64 = 7, count(1, 366);
        /// Of robust: windows as much earlier or later in the day or week are compared with, too.
        pub season_width: SpanMs = 30 * MINUTE, span(0, 12 * HOUR);
        /// Of robust: what stands out for so long is usual: the alert is over, and what was before
        /// is no measure any more. By default as long as samples windows take, or a season.
        pub usual_after: Derived<SpanMs> = Derived(None), span(SECOND, 366 * DAY);
        /// Of robust: what stands out no further than so many times before within recurs_within is
        /// usual for this metric: it is no alert, and counted. 0: every time is one.
        pub recurs: usize = 0, count(0, 32);
        /// Of robust: how long what stood out is remembered for recurs. By default 8 times
        /// usual_after.
        pub recurs_within: Derived<SpanMs> = Derived(None), span(SECOND, 366 * DAY);
        /// Of robust: least value worth an alert when it is above.
        pub value_min: f64 = 0.0, number(f64::NEG_INFINITY, f64::INFINITY);
        /// Of robust: the deviation is never taken to be less. By default counts, distinct counts
        /// and rates must be rarer than chance makes them, and of the rest it is a hundredth of the
        /// median.
        pub deviation_min: Derived<f64> = Derived(None), number(0.0, f64::INFINITY);
    }
}

/// Earlier windows, and what is going on. The windows are kept apart ([`State::rings`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RobustState {
    /// End of the newest sample.
    last: Option<EpochMs>,
    #[serde(skip)]
    history: History,
    #[serde(skip)]
    held: Held,
    alarm: Alarm,
    recurring: Recurring,
    recurred: u64,
}

impl State for RobustState {
    fn last(&self) -> Option<EpochMs> {
        self.last
    }

    fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    fn is_settled(&self, value: Option<f64>) -> bool {
        self.alarm.is_quiet() && value.is_none_or(|value| self.history.are_all(value))
    }

    fn recurred(&self) -> u64 {
        self.recurred
    }

    fn rings(&mut self) -> [Option<&mut Ring<Known>>; 2] {
        [Some(self.history.ring()), Some(self.held.ring())]
    }

    fn restore(&mut self, learned: VecDeque<Known>, held: VecDeque<Known>) {
        (self.history, self.held) = (History::restored(learned), Held::restored(held));
    }
}

impl Detector for Robust {
    type State = RobustState;
    const WORD: &'static str = "robust";
    const SAYS: &'static str = "distance from the median of what was before, or at the same time \
                                of other days";

    fn fill(&mut self, step: SpanMs) {
        self.k_clear.0.get_or_insert(self.k);
        let usual = self.period().unwrap_or(step.saturating_mul(self.samples as SpanMs));
        let usual = *self.usual_after.0.get_or_insert(usual);
        self.recurs_within.0.get_or_insert(usual.saturating_mul(8).min(366 * DAY));
    }

    fn cooldown(&self, step: SpanMs) -> SpanMs {
        step.saturating_mul((self.samples / 5) as SpanMs)
    }

    fn reach(&self, step: SpanMs) -> SpanMs {
        match self.reference() {
            Reference::Newest(most) => step.saturating_mul(most as SpanMs + 1),
            Reference::Season { period, seasons, width } => period * seasons + 2 * width + step,
        }
    }

    fn misfits(&self, patience: Patience, metric: &str, step: SpanMs) -> Vec<Misfit> {
        let (k, usual) = (self.k, self.usual_after.0.unwrap_or_default());
        let (least, per_season) = (self.samples_min, 2 * self.season_width / step + 1);
        let (compared, keys) = match self.reference() {
            Reference::Newest(most) => (most as SpanMs, vec!["samples_min", "samples"]),
            Reference::Season { seasons, .. } => {
                (seasons * per_season, vec!["samples_min", "seasons", "season_width"])
            }
        };
        let kept = match self.reference() {
            Reference::Newest(most) => most as SpanMs,
            Reference::Season { period, seasons, width } => (period * seasons + width) / step,
        };
        let most = SAMPLES_MAX;
        let checks = [
            (self.k_clear() > k, vec!["k_clear"], format!("must be from 0 to k, which is {k}")),
            (
                patience.hold > usual,
                vec!["for"],
                format!("must be at most usual_after, which is {}", span_words(usual)),
            ),
            (
                (least as SpanMs) > compared,
                keys,
                format!(
                    "can never alert: a window of {metric} is compared with {compared}, \
                     samples_min is {least}"
                ),
            ),
            (
                kept > most,
                vec!["seasons", "season", "metric"],
                format!("must reach back at most {most} windows of {metric}, not {kept}"),
            ),
            (
                usual / step > most,
                vec!["usual_after", "metric"],
                format!("must be at most {most} windows of {metric}"),
            ),
            (
                self.period().is_some_and(|period| step > period),
                vec!["season", "metric"],
                format!("must be longer than the {} from window to window", span_words(step)),
            ),
        ];
        broken(checks)
    }

    fn dials(&self, _: Patience, _: SpanMs, _: &[f64]) -> Vec<Dial> {
        let mut dials = vec![deviations(), ("recurs", [0, 3].map(Value::Int).to_vec())];
        if self.season == Season::None {
            dials.push(("samples", [60, 360, 1_440].map(Value::Int).to_vec()));
        }
        dials
    }

    fn learning(&self, state: &RobustState, _: SpanMs) -> Option<(usize, usize)> {
        let have = state.history.sorted().len();
        (have < self.samples_min).then_some((have, self.samples_min))
    }

    fn judge(
        &self,
        patience: Patience,
        state: &mut RobustState,
        spread: Spread,
        sample: Sample,
    ) -> Verdict {
        let Sample { end, value, .. } = sample;
        let reference = self.reference();
        state.last = Some(end);
        state.history.advance(reference, end);
        let band = self.band(&state.history, spread);
        let far = value.filter(|_| band.expected.is_some()).map(|value| band.far(value) * self.k);
        let out = self.stands_out(band, patience.side, value);
        let was_up = state.alarm.is_up();
        // Before an alert is up only what is out counts.
        let clear = || band.narrowed(self.k_clear() / self.k);
        let stays = out || (was_up && self.stands_out(clear(), patience.side, value));
        state.recurring.forget(end - self.recurs_within.0.unwrap_or_default());
        let often = state.recurring.reached(self.recurs);
        let stands = Stands { out, stays, far: far.unwrap_or_default(), often };
        let since = state.alarm.since();
        let change = state.alarm.step(patience, self.usual_after.0, sample, stands);
        if let Some(Change::Over(past) | Change::Recurred(past)) = change {
            state.recurred += u64::from(matches!(change, Some(Change::Recurred(_))));
            state.recurring.note(self.recurs, past.last, past.peak.far);
        }
        let known = value.filter(|value| value.is_finite()).map(|value| (end, value));
        match state.held.take(known, was_up, stays, change) {
            Lesson::More(more) => state.history.learn(reference, more),
            Lesson::Nothing => {}
            Lesson::Usual(usual) => state.history.begin_anew(reference, usual),
        }
        Verdict { sample, band, far, since: state.alarm.since().or(since), change }
    }

    fn words(&self) -> String {
        let k = self.k;
        let of = match self.season {
            Season::None => format!("the {} windows before", self.samples),
            Season::Day => format!("the same time of {} days", self.seasons),
            Season::Week => format!("the same time of {} weeks", self.seasons),
        };
        format!("{k} deviations from the median of {of}")
    }

    fn detail(&self) -> Map<String, Json> {
        [("deviations".to_owned(), json!(self.k))].into_iter().collect()
    }
}

impl Robust {
    fn k_clear(&self) -> f64 {
        self.k_clear.0.unwrap_or(self.k)
    }

    fn period(&self) -> Option<SpanMs> {
        match self.season {
            Season::None => None,
            Season::Day => Some(DAY),
            Season::Week => Some(7 * DAY),
        }
    }

    fn reference(&self) -> Reference {
        match self.period() {
            None => Reference::Newest(self.samples),
            // Two spans never hold the same window.
            Some(period) => Reference::Season {
                period,
                seasons: self.seasons,
                width: self.season_width.min(period / 2 - 1),
            },
        }
    }

    fn stands_out(&self, band: Band, side: Side, value: Option<f64>) -> bool {
        value.is_some_and(|value| {
            band.excludes(side, value) && (value >= self.value_min || band.is_below(value))
        })
    }

    fn band(&self, history: &History, spread: Spread) -> Band {
        let sorted = history.sorted();
        let median = sorted.median().filter(|_| sorted.len() >= self.samples_min);
        let Some(median) = median else { return Band::default() };
        let of = |(share, normal)| sorted.within(median, share) / normal;
        let width = self.k * of(HALF).max(of(MOST));
        let (below, above) = match (self.deviation_min.0, spread) {
            (Some(least), _) => (self.k * least, self.k * least),
            (None, Spread::Share(share)) => {
                let least = self.k * share * median.abs();
                (least, least)
            }
            // Means that a count of this median can have (Choi 1994).
            (None, Spread::Events { unit }) => {
                let (least, most) =
                    (median / unit - 1.0 / 3.0, median / unit + std::f64::consts::LN_2);
                let low = if least > 0.0 { poisson::least(least, self.k) * unit } else { 0.0 };
                (median - low, poisson::most(most, self.k) * unit - median)
            }
        };
        Band::around(median, width.max(below), width.max(above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEP: i64 = 10_000;
    const COUNT: Spread = Spread::Events { unit: 1.0 };
    const OTHER: Spread = Spread::Share(0.01);

    fn rule() -> Robust {
        let mut rule = Robust { samples: 60, ..Robust::default() };
        rule.fill(STEP);
        rule
    }

    fn patience(side: Side) -> Patience {
        Patience { hold: 0, cooldown: 12 * STEP, side }
    }

    fn verdicts(rule: &Robust, side: Side, spread: Spread, values: &[f64]) -> Vec<Verdict> {
        let mut state = RobustState::default();
        let mut judge = |(index, value): (usize, &f64)| {
            let end = (index as i64 + 1) * STEP;
            let sample = Sample { start: end - STEP, end, value: Some(*value) };
            let verdict = rule.judge(patience(side), &mut state, spread, sample);
            // Bounds: what it compares with, and what may become usual.
            assert!(state.history.ring().len() <= rule.samples && state.held.len() <= rule.samples);
            verdict
        };
        values.iter().enumerate().map(&mut judge).collect()
    }

    /// Positions of the alerts that go up.
    fn alerts(rule: &Robust, side: Side, spread: Spread, values: &[f64]) -> Vec<usize> {
        let verdicts = verdicts(rule, side, spread, values);
        let rises = |verdict: &Verdict| verdict.change == Some(Change::Rises);
        verdicts.iter().enumerate().filter(|(_, one)| rises(one)).map(|(index, _)| index).collect()
    }

    fn after(history: &[f64], values: &[f64]) -> Vec<f64> {
        history.iter().cycle().take(60).chain(values).copied().collect()
    }

    #[test]
    fn a_history_of_zeros_or_of_one_number_is_judged_and_a_wiggle_of_it_is_none() {
        for constant in [0.0, 1.0, 2.0, 5.0, 20.0, 100.0] {
            let spike = after(&[constant], &[400.0, 400.0]);
            assert_eq!(alerts(&rule(), Side::Above, COUNT, &spike), [60], "{constant}");
            let wiggle = after(&[constant], &[constant + 1.0, constant, constant + 3.0]);
            assert_eq!(alerts(&rule(), Side::Both, COUNT, &wiggle), [0usize; 0], "{constant}");
        }
        for (constant, next) in [(9.99, 19.99), (0.0, 1.0), (-7.0, 3.0), (1e300, 2e300)] {
            assert_eq!(alerts(&rule(), Side::Above, OTHER, &after(&[constant], &[next])), [60]);
            assert_eq!(
                alerts(&rule(), Side::Above, OTHER, &after(&[constant], &[constant])),
                [0; 0]
            );
        }
        // Silence is a surprise where there were many, and none where chance makes it.
        assert_eq!(alerts(&rule(), Side::Below, COUNT, &after(&[40.0], &[0.0])), [60]);
        assert_eq!(alerts(&rule(), Side::Below, COUNT, &after(&[3.0], &[0.0; 9])), [0usize; 0]);
    }

    #[test]
    fn a_spike_raises_no_line_and_the_next_one_stands_out_too() {
        let usual = [10.0, 12.0, 8.0, 11.0, 9.0, 10.0];
        let row = after(&usual, &[&[90.0; 30][..], &[10.0; 14], &[90.0]].concat());
        let verdicts = verdicts(&rule(), Side::Above, COUNT, &row);
        let high = |index: usize| verdicts[index].band.high;
        assert_eq!(high(60), high(89));
        assert_eq!(alerts(&rule(), Side::Above, COUNT, &row), [60, 104]);
        // Even while it warms up a spike is one of many.
        let early = after(&[&[900.0][..], &usual.repeat(10)].concat(), &[90.0]);
        assert_eq!(alerts(&rule(), Side::Above, COUNT, &early), [60]);
    }

    #[test]
    fn what_lasts_is_usual_after_its_time_and_then_the_measure() {
        let row = after(&[10.0, 12.0, 8.0], &[&[90.0; 100][..], &[10.0]].concat());
        let mut rule = Robust { usual_after: Derived(Some(40 * STEP)), ..rule() };
        rule.samples_min = 40;
        let verdicts = verdicts(&rule, Side::Both, COUNT, &row);
        let Some(Change::Over(past)) = verdicts[99].change else { panic!("{:?}", verdicts[99]) };
        assert!(past.usual);
        assert_eq!((past.since, past.last), (60 * STEP, 100 * STEP));
        assert_eq!(verdicts[100].band.expected, Some(90.0));
        assert_eq!(alerts(&rule, Side::Both, COUNT, &row), [60, 160], "back is a change again");
    }

    #[test]
    fn what_recurs_is_no_alert_until_it_goes_further_and_is_counted() {
        let usual = [10.0, 12.0, 8.0, 11.0, 9.0, 10.0];
        let spike = |height: f64| [&[height][..], &usual.repeat(3)].concat();
        let heights = [90.0, 95.0, 93.0, 94.0, 90.0, 120.0, 91.0];
        let row = after(&usual, &heights.map(spike).concat());
        let at = |n: usize| 60 + n * 19;
        let mut rule = rule();
        assert_eq!(alerts(&rule, Side::Above, COUNT, &row), [0, 1, 2, 3, 4, 5, 6].map(at));
        rule.recurs = 3;
        let found = verdicts(&rule, Side::Above, COUNT, &row);
        // The fourth is further out than the third of those before; the sixth than any.
        assert_eq!(alerts(&rule, Side::Above, COUNT, &row), [0, 1, 2, 3, 5].map(at));
        let recurred = |verdict: &&Verdict| matches!(verdict.change, Some(Change::Recurred(_)));
        assert_eq!(found.iter().filter(recurred).count(), 2);
        // One that begins like the others and goes on is an alert once it is further out.
        let grows = [&row[..], &[90.0, 92.0, 300.0, 90.0]].concat();
        assert_eq!(alerts(&rule, Side::Above, COUNT, &grows).last(), Some(&(row.len() + 2)));
        // What is long ago is forgotten.
        rule.recurs_within = Derived(Some(10 * STEP));
        assert_eq!(alerts(&rule, Side::Above, COUNT, &row), [0, 1, 2, 3, 4, 5, 6].map(at));
    }

    #[test]
    fn the_same_time_of_other_days_is_no_surprise() {
        const HOUR: usize = 360;
        // Two hours of every day are busy.
        let day = |n: usize| {
            let busy =
                if (8 * HOUR..10 * HOUR).contains(&(n % (24 * HOUR))) { 500.0 } else { 50.0 };
            busy + (n % 7) as f64
        };
        let mut values: Vec<f64> = (0..5 * 24 * HOUR).map(day).collect();
        let mut seasonal =
            Robust { season: Season::Day, seasons: 4, season_width: 60_000, ..Robust::default() };
        seasonal.fill(STEP);
        let run = |values: &[f64]| {
            let mut state = RobustState::default();
            let mut found = Vec::new();
            for (index, value) in values.iter().enumerate() {
                let end = (index as i64 + 1) * STEP;
                let sample = Sample { start: end - STEP, end, value: Some(*value) };
                let verdict = seasonal.judge(patience(Side::Both), &mut state, COUNT, sample);
                found.extend((verdict.change == Some(Change::Rises)).then_some(index));
            }
            found
        };
        // At the edges of the busy hours there are numbers of both kinds to compare with.
        assert_eq!(run(&values), [0usize; 0]);
        // Busy at another hour, and quiet in a busy one, are.
        let (night, rush) = (4 * 24 * HOUR + 2 * HOUR, 4 * 24 * HOUR + 9 * HOUR);
        (values[night], values[rush]) = (500.0, 50.0);
        assert_eq!(run(&values), [night, rush]);
        let mut plain = Robust { samples: HOUR, ..Robust::default() };
        plain.fill(STEP);
        assert!(alerts(&plain, Side::Both, COUNT, &values).len() > 2);
    }

    #[test]
    fn what_is_missing_is_said() {
        let (rule, mut state) = (rule(), RobustState::default());
        for have in 0..30 {
            assert_eq!(rule.learning(&state, STEP), Some((have, 30)));
            let end = (have as i64 + 1) * STEP;
            let sample = Sample { start: end - STEP, end, value: Some(1e6 * have as f64) };
            let verdict = rule.judge(patience(Side::Above), &mut state, COUNT, sample);
            assert_eq!((verdict.band, verdict.far), (Band::default(), None));
        }
        assert_eq!(rule.learning(&state, STEP), None);
    }

    proptest! {
        /// The band is that of a sorted list of what was learned, and what was learned is what
        /// did not stand out, or lasted.
        #[test]
        fn the_band_is_that_of_a_plain_list(
            stretches in prop::collection::vec((1usize..40, 0i64..4, 1i64..60), 1..12),
            samples in 10usize..50,
            usual in 5i64..60,
            hold in 0i64..4,
            cooldown in 0i64..8,
            counts: bool,
            recurs in 0usize..3,
        ) {
            let mut rule = Robust { samples, samples_min: 8, k: 4.0, recurs, ..Robust::default() };
            rule.usual_after = Derived(Some(usual * STEP));
            let hold = hold.min(usual) * STEP;
            let patience = Patience { hold, cooldown: cooldown * STEP, side: Side::Both };
            let (mut state, mut end) = (RobustState::default(), 0);
            let (mut learned, mut held) = (Vec::<Known>::new(), Vec::<Known>::new());
            let mut up = false;
            for (len, level, spread) in stretches {
                for n in 0..len {
                    end += STEP;
                    let value = (level * 300 + (n as i64 * 7) % spread) as f64;
                    let sample = Sample { start: end - STEP, end, value: Some(value) };
                    let of = if counts { COUNT } else { OTHER };
                    let verdict = rule.judge(patience, &mut state, of, sample);
                    let mut sorted: Vec<f64> =
                        learned.iter().rev().take(samples).map(|(_, value)| *value).collect();
                    sorted.sort_by(f64::total_cmp);
                    let known = sorted.len();
                    let wanted = (known >= 8).then(|| {
                        let (low, high) = (sorted[(known - 1) / 2], sorted[known / 2]);
                        let median = low / 2.0 + high / 2.0;
                        let mut away: Vec<f64> =
                            sorted.iter().map(|value| (value - median).abs()).collect();
                        away.sort_by(f64::total_cmp);
                        let of = |share: f64| away[(share * known as f64).ceil() as usize - 1];
                        let width = 4.0 * (of(0.5) / HALF.1).max(of(0.95) / MOST.1);
                        (median, width)
                    });
                    prop_assert_eq!(verdict.band.expected, wanted.map(|(median, _)| median));
                    let mut out = false;
                    if let Some((median, width)) = wanted {
                        let (low, high) = (verdict.band.low.unwrap(), verdict.band.high.unwrap());
                        let floor = if counts { 0.0 } else { 0.04 * median.abs() };
                        prop_assert!(high >= median + width.max(floor) && low <= median - width.max(floor));
                        if !counts {
                            prop_assert_eq!((low, high), (median - width.max(floor), median + width.max(floor)));
                        }
                        out = value > high || value < low;
                    }
                    // Plainly: what stands out is put aside, and comes back when it was nothing.
                    if out {
                        held.push((end, value));
                    } else {
                        if !up {
                            learned.append(&mut held);
                        }
                        learned.push((end, value));
                    }
                    match verdict.change {
                        Some(Change::Rises) => up = true,
                        Some(Change::Over(past) | Change::Recurred(past)) => {
                            up = false;
                            if past.usual {
                                let first = held[0].0;
                                let from = learned.len().saturating_sub(samples);
                                learned.drain(..from);
                                learned.retain(|(end, _)| *end >= first);
                                learned.append(&mut held);
                                learned.sort_by_key(|(end, _)| *end);
                            }
                            held.clear();
                        }
                        None => {}
                    }
                    if let (true, Some(since)) = (out || up, verdict.since) {
                        prop_assert!(since < end);
                    }
                }
            }
        }
    }
}
