//! Arithmetic on numbers as they are written.
//!
//! Exact while the digits of the result fit 64 bits (19 of them do); else it is the nearest number
//! whose digits do, halves away from zero. A quotient has as many decimals as are added up.

use num_bigint::BigUint;

use super::amount::Amount;
use super::decimal::Decimal;

/// Results of this many digits before the point are out of range: doubles end there.
const DIGITS_MAX: i32 = 308;

/// Results that begin this far behind the point are zero.
const DIGITS_MIN: i32 = -400;

/// Past this distance of exponents the lesser number says nothing about the nearest result.
const APART_MAX: u32 = 100;

impl Decimal {
    /// The sum; `None` out of range.
    pub fn plus(self, other: Decimal) -> Option<Decimal> {
        let (high, low) =
            if self.exponent() >= other.exponent() { (self, other) } else { (other, self) };
        let apart = (high.exponent() - low.exponent()) as u32;
        if high.mantissa() == 0 || low.mantissa() == 0 {
            return Some(if high.mantissa() == 0 { low } else { high });
        }
        let signed = |number: Decimal| {
            let mantissa = i128::from(number.mantissa());
            if number.is_negative() { -mantissa } else { mantissa }
        };
        match apart {
            // 1.9 · 10^19 times 10^18 fits, twice.
            0..=18 => {
                let sum = signed(high) * 10i128.pow(apart) + signed(low);
                nearest(sum < 0, sum.unsigned_abs(), low.exponent())
            }
            19..=APART_MAX => {
                let large = BigUint::from(high.mantissa()) * BigUint::from(10u8).pow(apart);
                let small = BigUint::from(low.mantissa());
                match high.is_negative() == low.is_negative() {
                    true => nearest_big(high.is_negative(), large + small, low.exponent()),
                    // 10^19 is more than half of what 64 bits hold, so either may be greater.
                    false if large >= small => {
                        nearest_big(high.is_negative(), large - small, low.exponent())
                    }
                    false => nearest_big(low.is_negative(), small - large, low.exponent()),
                }
            }
            _ => Some(high),
        }
    }

    /// The difference; `None` out of range.
    pub fn minus(self, other: Decimal) -> Option<Decimal> {
        self.plus(other.negated())
    }

    /// The product; `None` out of range.
    pub fn times(self, other: Decimal) -> Option<Decimal> {
        let product = u128::from(self.mantissa()) * u128::from(other.mantissa());
        let negative = self.is_negative() != other.is_negative();
        nearest(negative, product, self.exponent() + other.exponent())
    }

    /// The quotient, to [`Amount::DECIMALS`] decimals; `None` out of range, and by zero.
    pub fn over(self, by: Decimal) -> Option<Decimal> {
        const DECIMALS: i32 = Amount::DECIMALS as i32;
        let negative = self.is_negative() != by.is_negative();
        let (above, below) = (u128::from(self.mantissa()), u128::from(by.mantissa()));
        if below == 0 {
            return None;
        }
        // How many 10^-18 it is: the mantissas' quotient times this power of ten.
        match self.exponent() - by.exponent() + DECIMALS {
            power @ 0..=18 => {
                let above = above * 10u128.pow(power as u32);
                let (whole, rest) = (above / below, above % below);
                // Where digits are dropped they decide, and what is left of the division does not.
                let up = whole <= u128::from(u64::MAX) && rest >= below - rest;
                nearest(negative, whole + u128::from(up), -DECIMALS)
            }
            power @ 19.. => {
                let above = BigUint::from(above) * BigUint::from(10u8).pow(power as u32);
                let (whole, rest) = (&above / below, &above % below);
                let up = whole <= BigUint::from(u64::MAX) && &rest * 2u8 >= BigUint::from(below);
                nearest_big(negative, whole + u8::from(up), -DECIMALS)
            }
            // 10^20 is more than twice of what 64 bits hold.
            ..=-20 => Some(Decimal::ZERO),
            power => {
                let below = below * 10u128.pow(-power as u32);
                let (whole, rest) = (above / below, above % below);
                nearest(negative, whole + u128::from(rest >= below - rest), -DECIMALS)
            }
        }
    }

    /// What is left of it after whole times `by`, with its sign; `None` by zero.
    pub fn modulo(self, by: Decimal) -> Option<Decimal> {
        let (mine, theirs) = (u128::from(self.mantissa()), u128::from(by.mantissa()));
        if theirs == 0 {
            return None;
        }
        let rest = match self.exponent() - by.exponent() {
            up @ 0.. => {
                let ten = |rest: u128, _| rest * 10 % theirs;
                (0..up).fold(mine % theirs, ten)
            }
            down @ -19.. => mine % (theirs * 10u128.pow(-down as u32)),
            // What it is divided by is the greater one.
            _ => mine,
        };
        let exponent = self.exponent().min(by.exponent());
        Some(Decimal::new(self.is_negative(), rest as u64, exponent))
    }

    /// The number with the other sign.
    #[must_use]
    pub fn negated(self) -> Decimal {
        Decimal::new(!self.is_negative(), self.mantissa(), self.exponent())
    }

    /// The number without its sign.
    #[must_use]
    pub fn magnitude(self) -> Decimal {
        Decimal::new(false, self.mantissa(), self.exponent())
    }

    /// Rounded to so many decimals, halves away from zero.
    #[must_use]
    pub fn rounded(self, decimals: u8) -> Decimal {
        let dropped = -self.exponent() - i32::from(decimals);
        match u32::try_from(dropped).map(|dropped| 10u64.checked_pow(dropped)) {
            Ok(Some(unit)) => {
                let (whole, rest) = (self.mantissa() / unit, self.mantissa() % unit);
                let whole = whole + u64::from(rest > 0 && rest >= unit - rest);
                Decimal::new(self.is_negative(), whole, -i32::from(decimals))
            }
            // 10^20 is more than twice of what 64 bits hold.
            Ok(None) => Decimal::ZERO,
            Err(_) => self,
        }
    }

    /// Its whole part: rounded towards zero.
    #[must_use]
    pub fn truncated(self) -> Decimal {
        match u32::try_from(-self.exponent()).map(|decimals| 10u64.checked_pow(decimals)) {
            Ok(Some(unit)) => Decimal::new(self.is_negative(), self.mantissa() / unit, 0),
            Ok(None) => Decimal::ZERO,
            Err(_) => self,
        }
    }
}

/// The nearest number to `± magnitude · 10^exponent`; `None` out of range.
fn nearest(negative: bool, magnitude: u128, exponent: i32) -> Option<Decimal> {
    let (mut unit, mut dropped) = (1u128, 0);
    let mut whole = magnitude;
    while whole > u128::from(u64::MAX) {
        (unit, dropped) = (unit * 10, dropped + 1);
        let rest = magnitude % unit;
        whole = magnitude / unit + u128::from(rest >= unit - rest);
    }
    in_range(Decimal::new(negative, whole as u64, exponent + dropped))
}

fn nearest_big(negative: bool, magnitude: BigUint, exponent: i32) -> Option<Decimal> {
    if let Ok(short) = u128::try_from(&magnitude) {
        return nearest(negative, short, exponent);
    }
    // 38 digits are left; what is dropped here does not decide where a half lies unless it is one
    // exactly, and then it is a half all the same.
    let dropped = (magnitude.bits() * 30_103 / 100_000).saturating_sub(37) as u32;
    let whole = magnitude / BigUint::from(10u8).pow(dropped);
    nearest(negative, u128::try_from(whole).ok()?, exponent + dropped as i32)
}

fn in_range(number: Decimal) -> Option<Decimal> {
    let digits = number.mantissa().checked_ilog10().map_or(0, |log| log as i32 + 1);
    match digits + number.exponent() {
        DIGITS_MIN..=DIGITS_MAX => Some(number),
        ..DIGITS_MIN => Some(Decimal::ZERO),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use num_bigint::{BigInt, Sign};
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::from_text(text).unwrap()
    }

    #[test]
    fn money_is_exact() {
        let shown =
            |number: Option<Decimal>| number.map_or("none".into(), |number| number.to_string());
        for (got, want) in [
            (number("19.99").minus(number("5")), "14.99"),
            (number("0.1").plus(number("0.2")), "0.3"),
            (number("1e30").plus(number("1")), "1e30"),
            (number("-1e30").plus(number("1e30")), "0"),
            (number("18446744073709551615").plus(number("1")), "18446744073709551620"),
            (number("1e19").minus(number("0.5")), "10000000000000000000"),
            (number("19.99").times(number("3")), "59.97"),
            (number("1e200").times(number("1e200")), "none"),
            (number("1e-250").times(number("1e-250")), "0"),
            (number("5").over(number("2")), "2.5"),
            (number("1").over(number("3")), "0.333333333333333333"),
            (number("-2").over(number("3")), "-0.666666666666666667"),
            (number("100").over(number("3")), "33.33333333333333333"),
            (number("1").over(number("0")), "none"),
            (number("1e-30").over(number("1")), "0"),
            (number("7.5").modulo(number("2")), "1.5"),
            (number("-7.5").modulo(number("2")), "-1.5"),
            (number("1e300").modulo(number("7")), "1"),
            (number("2").modulo(number("1e50")), "2"),
            (number("2").modulo(number("0")), "none"),
            (Some(number("2.345").rounded(2)), "2.35"),
            (Some(number("-2.5").rounded(0)), "-3"),
            (Some(number("2.4").rounded(0)), "2"),
            (Some(number("1e-30").rounded(2)), "0"),
            (Some(number("12").rounded(3)), "12"),
            (Some(number("-2.99").truncated()), "-2"),
            (Some(number("-2.99").magnitude()), "2.99"),
            (Some(Decimal::ZERO.negated()), "0"),
        ] {
            assert_eq!(shown(got), want);
        }
    }

    fn any_number() -> impl Strategy<Value = Decimal> {
        let mantissa = prop_oneof![any::<u64>(), 0u64..1_000, Just(u64::MAX), Just(10u64.pow(19))];
        (any::<bool>(), mantissa, -60i32..60).prop_map(|(sign, m, e)| Decimal::new(sign, m, e))
    }

    /// Times 10^200.
    fn big(number: Decimal) -> BigInt {
        let magnitude = BigInt::from(number.mantissa())
            * BigInt::from(10).pow((200 + number.exponent()) as u32);
        if number.is_negative() { -magnitude } else { magnitude }
    }

    /// Rounds `above / below` in the plainest way: as many digits as fit 64 bits, and at most
    /// `decimals` of them behind the point.
    fn plain(above: BigInt, below: BigInt, decimals: i32) -> Decimal {
        let negative = (above.sign() == Sign::Minus) != (below.sign() == Sign::Minus);
        let (above, below) = (above.magnitude().clone(), below.magnitude().clone());
        let power = |n: i32| BigUint::from(10u8).pow(n as u32);
        for exponent in -decimals.. {
            let (above, below) = match exponent {
                ..0 => (&above * power(-exponent), below.clone()),
                _ => (above.clone(), &below * power(exponent)),
            };
            let doubled = (above * 2u8 + &below) / (below * 2u8);
            if let Ok(whole) = u64::try_from(doubled) {
                return Decimal::new(negative, whole, exponent);
            }
        }
        unreachable!()
    }

    proptest! {
        #[test]
        fn results_are_the_nearest_numbers(a in any_number(), b in any_number()) {
            let one = BigInt::from(10).pow(200);
            prop_assert_eq!(a.plus(b), Some(plain(big(a) + big(b), one.clone(), 200)));
            prop_assert_eq!(a.minus(b), Some(plain(big(a) - big(b), one.clone(), 200)));
            let product = plain(big(a) * big(b), one.clone() * &one, 200);
            prop_assert_eq!(a.times(b), Some(product));
            if b != Decimal::ZERO {
                prop_assert_eq!(a.over(b), Some(plain(big(a), big(b), 18)));
                let rest = big(a) % big(b);
                prop_assert_eq!(big(a.modulo(b).unwrap()), rest);
            }
        }

        #[test]
        fn rounding_is_to_the_nearest(a in any_number(), decimals in 0u8..19) {
            let one = BigInt::from(10).pow(200);
            let digits = u64::MAX.ilog10() as i32;
            // Not of numbers that have fewer decimals already.
            if -a.exponent() > i32::from(decimals) && a.exponent() > -digits {
                prop_assert_eq!(a.rounded(decimals), plain(big(a), one.clone(), decimals.into()));
            }
            prop_assert_eq!(big(a.truncated()), big(a) / &one * one);
        }
    }
}
