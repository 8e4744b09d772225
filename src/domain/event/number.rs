//! JSON numbers to millionths.
//!
//! Numbers are kept as integers so that sums do not depend on their order. Integers
//! are exact; a fraction is as exact as the double it was parsed to, which means all
//! six decimals up to two thousand million and fewer beyond.

use super::MICRO;

/// Numbers are less than this in magnitude: in millionths they then fit an `i64`.
pub(super) const LIMIT: i64 = 9_200_000_000_000;

/// An integer in millionths, or `None` when it is out of range.
#[inline]
pub(super) fn from_i64(number: i64) -> Option<i64> {
    (number > -LIMIT && number < LIMIT).then(|| number * MICRO)
}

/// A fraction in millionths, to the nearest (halves away from zero), or `None` when
/// it is out of range or not finite.
#[inline]
pub(super) fn from_f64(number: f64) -> Option<i64> {
    // A NaN fails the comparison as well.
    (number.abs() < LIMIT as f64).then(|| (number * MICRO as f64).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limit_is_named_and_kept() {
        assert_eq!(from_i64(LIMIT - 1), Some((LIMIT - 1) * MICRO));
        assert_eq!(from_i64(1 - LIMIT), Some((1 - LIMIT) * MICRO));
        for out in [LIMIT, -LIMIT, i64::MAX, i64::MIN] {
            assert_eq!(from_i64(out), None);
        }
        for out in [9.2e12, -9.2e12, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(from_f64(out), None);
        }
        assert_eq!(from_f64(0.000_000_5), Some(1));
        assert_eq!(from_f64(-0.000_000_4), Some(0));
    }

    proptest! {
        #[test]
        fn six_decimals_are_exact(micros in -2_000_000_000_000_000i64..2_000_000_000_000_000) {
            let sign = if micros < 0 { "-" } else { "" };
            let (whole, part) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
            let number: f64 = serde_json::from_str(&format!("{sign}{whole}.{part:06}")).unwrap();
            prop_assert_eq!(from_f64(number), Some(micros));
        }
    }
}
