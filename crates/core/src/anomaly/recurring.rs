//! How far earlier stretches stood out: what comes again and again is usual for some metrics.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::time::EpochMs;

/// Most stretches that are kept. Those that later ones make meaningless are not, so there are rarely
/// more than a few.
const KEPT_MAX: usize = 64;

/// When earlier stretches ended and how far they stood out at most, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recurring(VecDeque<(EpochMs, f64)>);

impl Recurring {
    /// Those that ended before a time are forgotten.
    pub fn forget(&mut self, oldest: EpochMs) {
        while self.0.front().is_some_and(|(end, _)| *end < oldest) {
            self.0.pop_front();
        }
    }

    /// So many of them, or more, stood out as far as this; `None` when there are not so many.
    pub fn reached(&self, times: usize) -> Option<f64> {
        let mut far: Vec<f64> = self.0.iter().map(|(_, far)| *far).collect();
        far.sort_unstable_by(|a, b| b.total_cmp(a));
        far.get(times.checked_sub(1)?).copied()
    }

    /// Notes one that ended after all others. Whatever so many later ones outdo is meaningless.
    pub fn note(&mut self, times: usize, end: EpochMs, far: f64) {
        self.0.push_back((end, far));
        let mut later = Vec::new();
        let mut kept: VecDeque<(EpochMs, f64)> = VecDeque::new();
        for (end, far) in self.0.drain(..).rev() {
            if later.iter().filter(|other| **other >= far).count() < times && kept.len() < KEPT_MAX
            {
                kept.push_front((end, far));
            }
            later.push(far);
        }
        self.0 = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is thrown away, it is what a look at all of them gives.
        #[test]
        fn what_is_kept_is_enough(
            times in 1usize..5,
            stretches in prop::collection::vec((1i64..10, 0u8..20), 0..60),
            within in 1i64..100,
        ) {
            let (mut kept, mut all, mut now) = (Recurring::default(), Vec::new(), 0);
            for (after, far) in stretches {
                now += after;
                kept.note(times, now, f64::from(far));
                all.push((now, f64::from(far)));
                kept.forget(now - within);
                let mut wanted: Vec<f64> =
                    all.iter().filter(|(end, _)| *end >= now - within).map(|(_, far)| *far).collect();
                wanted.sort_unstable_by(|a, b| b.total_cmp(a));
                prop_assert_eq!(kept.reached(times), wanted.get(times - 1).copied());
                prop_assert!(kept.reached(0).is_none());
            }
        }
    }

    #[test]
    fn falling_ones_are_bounded() {
        let mut kept = Recurring::default();
        (0..1_000).for_each(|n| kept.note(3, n, 1e6 - n as f64));
        assert_eq!(kept.0.len(), KEPT_MAX);
        assert_eq!(kept.reached(1), Some(1e6 - 936.0));
    }
}
