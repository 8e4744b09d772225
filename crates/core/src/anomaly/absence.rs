//! Silence: no events, or no number, for as long as `for` says.
//!
//! Windows end by the watermark, also those that nothing came into, so silence is noticed while it
//! lasts and not when it ends.

use serde::{Deserialize, Serialize};

use super::{
    Alarm, Band, Detector, Dial, Misfit, Patience, Sample, Side, Spread, Stands, State, Verdict,
    broken, windows,
};
use crate::keeper::span_words;
use crate::settings::Section;
use crate::time::{EpochMs, SpanMs};

/// Nothing for as long as `for` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Absence;

impl Section for Absence {}

/// What is going on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbsenceState {
    last: Option<EpochMs>,
    alarm: Alarm,
}

fn is_silent(value: Option<f64>) -> bool {
    value.is_none_or(|value| value == 0.0)
}

impl State for AbsenceState {
    fn last(&self) -> Option<EpochMs> {
        self.last
    }

    fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// Of further silence the alert that is up knows only the end.
    fn is_settled(&self, value: Option<f64>) -> bool {
        if is_silent(value) { self.alarm.is_up() } else { self.alarm.is_quiet() }
    }
}

impl Detector for Absence {
    type State = AbsenceState;
    const WORD: &'static str = "absence";
    const SAYS: &'static str =
        "windows without events, or without a number, for as long as for says";
    const MEASURE: &'static str = "seconds";

    /// The first event ends it.
    fn cooldown(&self, _: SpanMs) -> SpanMs {
        0
    }

    fn reach(&self, step: SpanMs) -> SpanMs {
        step
    }

    fn misfits(&self, patience: Patience, _: &str, _: SpanMs) -> Vec<Misfit> {
        let checks = [
            (patience.hold == 0, vec!["for"], "must say how long: write for = \"10m\"".to_owned()),
            (
                patience.side != Side::Above,
                vec!["side"],
                "means nothing where nothing is missed".to_owned(),
            ),
        ];
        broken(checks)
    }

    fn dials(&self, _: Patience, step: SpanMs, _: &[f64]) -> Vec<Dial> {
        vec![("for", windows(step, [1, 2, 3, 5, 10, 20, 30, 60, 120, 360, 720]))]
    }

    fn judge(
        &self,
        patience: Patience,
        state: &mut AbsenceState,
        _: Spread,
        sample: Sample,
    ) -> Verdict {
        state.last = Some(sample.end);
        let silent = is_silent(sample.value);
        let before = state.alarm.since();
        let since = before.unwrap_or(sample.start);
        let far = (sample.end - since) as f64 / 1_000.0;
        let stands = Stands { out: silent, stays: silent, far, often: None };
        let change = state.alarm.step(patience, None, sample, stands);
        let far = silent.then_some(far);
        Verdict {
            sample,
            band: Band::default(),
            far,
            since: before.or(silent.then_some(since)),
            change,
        }
    }

    fn words(&self) -> String {
        "silence".into()
    }

    fn found(&self, verdict: &Verdict) -> String {
        format!("nothing for {}", span_words((verdict.far.unwrap_or_default() * 1_000.0) as SpanMs))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, Detect};
    use super::*;
    use proptest::prelude::*;

    /// Ends of the windows that raise an alert, and of those that end one.
    fn changes(hold: SpanMs, values: &[Option<f64>]) -> Vec<(i64, bool)> {
        let detect = Detect::from(Absence);
        let patience = Patience { hold, cooldown: 0, side: Side::Above };
        let (mut state, mut found) = (detect.start(), Vec::new());
        for (end, value) in (1i64..).zip(values) {
            let sample = Sample { start: end - 1, end, value: *value };
            let verdict = detect.judge(patience, &mut state, Spread::Share(0.0), sample);
            found.extend(verdict.change.map(|change| (end, change == Change::Rises)));
        }
        found
    }

    proptest! {
        /// An alert goes up at the window in which silence is as long as that, and is over at the
        /// next that is none; whether nothing is a 0 or no number.
        #[test]
        fn silence_is_an_alert_once_it_is_long_enough(
            stretches in prop::collection::vec((1i64..12, any::<bool>(), any::<bool>()), 1..12),
            hold in 1i64..8,
        ) {
            let (mut values, mut wanted) = (Vec::new(), Vec::<(i64, bool)>::new());
            let (mut quiet, mut up) = (0, false);
            for (len, silent, none) in stretches {
                for _ in 0..len {
                    let nothing = if none { None } else { Some(0.0) };
                    values.push(if silent { nothing } else { Some(3.0) });
                    quiet = if silent { quiet + 1 } else { 0 };
                    let now = quiet >= hold;
                    if now != up {
                        wanted.push((values.len() as i64, now));
                        up = now;
                    }
                }
            }
            prop_assert_eq!(changes(hold, &values), wanted);
        }
    }
}
