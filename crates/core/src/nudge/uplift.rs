//! What a nudge brings about: the difference of two shares, with its confidence interval.

use serde::Serialize;

/// Below so many of either arm nothing is said.
pub const ENOUGH: u64 = 30;

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// By how much more of those who were told reached a goal than of those who were not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Uplift {
    /// The difference of the shares, in percentage points: 2.5 where 12.5 % did instead of 10 %.
    pub points: f64,
    /// The lower end of its 95 % confidence interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The difference of `told` and `held_out`, each as (how many reached a goal, of how many), with its
/// 95 % interval: Newcombe's hybrid score interval, method 10 of Newcombe, R. G. (1998), Interval
/// estimation for the difference between independent proportions: comparison of eleven methods, Statistics
/// in Medicine 17, 873-890. It is made of the two Wilson score intervals, and holds its level for shares
/// near 0 and small numbers as well. `None` where an arm is empty.
pub fn uplift(told: (u64, u64), held_out: (u64, u64)) -> Option<Uplift> {
    let ((share, low, high), (other, other_low, other_high)) = (wilson(told)?, wilson(held_out)?);
    let difference = share - other;
    let below = (share - low).hypot(other_high - other);
    let above = (high - share).hypot(other - other_low);
    let points = |share: f64| 100.0 * share;
    Some(Uplift {
        points: points(difference),
        low: points(difference - below),
        high: points(difference + above),
    })
}

/// A share with its Wilson score interval.
fn wilson((hits, of): (u64, u64)) -> Option<(f64, f64, f64)> {
    if of == 0 || hits > of {
        return None;
    }
    let (n, share) = (of as f64, hits as f64 / of as f64);
    let centre = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    // Rounding must not put an end beyond what a share can be.
    let (low, high) = (((centre - half) / whole).max(0.0), ((centre + half) / whole).min(1.0));
    Some((share, low.min(share), high.max(share)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Table II of Newcombe (1998), method 10: the eight contrasts (a) to (h).
    #[test]
    fn the_intervals_are_those_of_newcombe() {
        let table = [
            ((56, 70), (48, 80), 0.0524, 0.3339),
            ((9, 10), (3, 10), 0.1705, 0.8090),
            ((6, 7), (2, 7), 0.0582, 0.8062),
            ((5, 56), (0, 29), -0.0381, 0.1926),
            ((0, 10), (0, 20), -0.1611, 0.2775),
            ((0, 10), (0, 10), -0.2775, 0.2775),
            ((10, 10), (0, 20), 0.6791, 1.0000),
            ((10, 10), (0, 10), 0.6075, 1.0000),
        ];
        for (told, held_out, low, high) in table {
            let found = uplift(told, held_out).unwrap();
            let near = |a: f64, b: f64| (a / 100.0 - b).abs() < 0.000_051;
            assert!(near(found.low, low) && near(found.high, high), "{told:?} {found:?}");
        }
        assert_eq!((uplift((0, 0), (1, 2)), uplift((1, 2), (0, 0))), (None, None));
    }

    proptest! {
        /// It holds the difference, lies where a difference can, and is turned round with the arms.
        #[test]
        fn an_interval_holds_the_difference(a in 0u64..500, b in 1u64..500, c in 0u64..500, d in 1u64..500) {
            let (told, held_out) = ((a.min(b), b), (c.min(d), d));
            let found = uplift(told, held_out).unwrap();
            prop_assert!(found.low <= found.points && found.points <= found.high);
            prop_assert!(found.low >= -100.000_001 && found.high <= 100.000_001, "{:?}", found);
            let turned = uplift(held_out, told).unwrap();
            prop_assert!((found.low + turned.high).abs() < 1e-9);
        }
    }
}
