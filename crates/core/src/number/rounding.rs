//! From exact results to the nearest double: the one place where numbers are rounded.

use num_bigint::BigUint;

use super::amount::Amount;
use super::wide::Wide;

/// Bits of a quotient before it is rounded: more than a double has, so that one more bit
/// that says "and something" decides the rest.
const BITS: u64 = 66;

/// `sum / count` in units, the nearest double. `count` is not 0.
pub(super) fn quotient<const N: usize>(sum: &Wide<N>, count: u64) -> f64 {
    if let Some(quick) = sum.to_i128().and_then(|sum| short_quotient(sum, count)) {
        return quick;
    }
    let sum = sum.to_big();
    let (sign, magnitude) = (sum.sign(), sum.into_parts().1);
    let by = BigUint::from(Amount::UNIT.unsigned_abs()) * count;
    let value = divide(&magnitude, &by);
    if sign == num_bigint::Sign::Minus { -value } else { value }
}

/// The quotient where both sides are short enough to be doubles: one rounding is all there is.
#[inline]
fn short_quotient(sum: i128, count: u64) -> Option<f64> {
    const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;
    const MILLIONTH: i128 = Amount::UNIT / 1_000_000;
    let micros = sum / MILLIONTH;
    let by = count.checked_mul(1_000_000)?;
    let short = micros * MILLIONTH == sum && micros.unsigned_abs() <= EXACT.into() && by <= EXACT;
    short.then(|| micros as f64 / by as f64)
}

fn divide(value: &BigUint, by: &BigUint) -> f64 {
    if value.bits() == 0 {
        return 0.0;
    }
    let up = BITS as i64 - value.bits() as i64 + by.bits() as i64;
    let (value, by) = match up {
        0.. => (value << up, by.clone()),
        _ => (value.clone(), by << -up),
    };
    let whole = &value / &by;
    let exact = &whole * &by == value;
    scale(&whole, exact, up)
}

/// `sqrt(value) / by`, the nearest double. `by` is not 0.
pub(super) fn root_over(value: &BigUint, by: &BigUint) -> f64 {
    if value.bits() == 0 {
        return 0.0;
    }
    let by = by * by;
    // Twice the bits go in, for the root has half as many.
    let up = (2 * BITS as i64 - value.bits() as i64 + by.bits() as i64) / 2;
    let (value, by) = match up {
        0.. => (value << (2 * up), by),
        _ => (value.clone(), by << (-2 * up)),
    };
    let square = &value / &by;
    let root = square.sqrt();
    let exact = &root * &root == square && &square * &by == value;
    scale(&root, exact, up)
}

/// `whole · 2^-up`, where `whole` lacks a fraction unless it is exact.
fn scale(whole: &BigUint, exact: bool, up: i64) -> f64 {
    let digits = whole.iter_u64_digits().take(2).enumerate();
    let whole = digits.fold(0u128, |sum, (n, digit)| sum | u128::from(digit) << (64 * n));
    (whole | u128::from(!exact)) as f64 * 2f64.powi(-up as i32)
}
