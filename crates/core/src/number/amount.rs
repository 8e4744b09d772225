//! A number as it is added up: an integer of a fixed number of decimals.

use std::cmp::Ordering;
use std::fmt;

use super::Sum;
use super::decimal::Decimal;
use super::rounding::quotient;
use crate::wire::{Malformed, Reader};

/// An integer number of 10^-18. Addition saturates at ± 1.7 · 10^20.
///
/// 16 bytes, aligned like a 64-bit integer so that a session does not grow by more.
#[derive(Clone, Copy, Default)]
#[repr(Rust, packed(8))]
pub struct Amount(i128);

/// What becomes of a number that is to be added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Countable {
    /// It is exact.
    Exact(Amount),
    /// It has more than [`Amount::DECIMALS`] decimals and was rounded to the nearest amount
    /// (halves away from zero).
    Rounded(Amount),
    /// Its magnitude is [`Amount::LIMIT`] or more.
    OutOfRange,
}

/// 10^0 to 10^38.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut n = 1;
    while n < 39 {
        powers[n] = powers[n - 1] * 10;
        n += 1;
    }
    powers
};

impl Amount {
    /// Zero.
    pub const ZERO: Amount = Amount(0);
    /// Decimals kept: as many as the smallest unit of any currency has, and enough for every
    /// digit of a double that is 0.1 or more.
    pub const DECIMALS: u32 = 18;
    /// Numbers are less than this in magnitude, in units: every 64-bit integer is, and in
    /// 10^-18 they fit an `i128`.
    pub const LIMIT: f64 = 1e20;
    /// Amounts that make one unit.
    pub(super) const UNIT: i128 = POWERS[Amount::DECIMALS as usize];

    /// This many 10^-18.
    pub fn from_parts(parts: i128) -> Amount {
        Amount(parts)
    }

    /// How many 10^-18 it is.
    #[inline]
    pub fn parts(self) -> i128 {
        self.0
    }

    /// An integer number of units.
    #[inline]
    pub fn from_i64(number: i64) -> Amount {
        Amount(i128::from(number) * Amount::UNIT)
    }

    /// An integer number of thousandths.
    pub fn from_millis(number: i64) -> Amount {
        Amount(i128::from(number) * (Amount::UNIT / 1_000))
    }

    /// Adds; saturates.
    #[inline]
    #[must_use]
    pub fn plus(self, other: Amount) -> Amount {
        Amount(self.parts().saturating_add(other.parts()))
    }

    /// True when it is zero.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        quotient(&Sum::from_i128(self.parts()), 1)
    }

    /// The nearest decimal whose digits fit 64 bits (19 and more); keeps the order of amounts.
    pub fn to_decimal(self) -> Decimal {
        let (mut magnitude, mut exponent) = (self.0.unsigned_abs(), -(Amount::DECIMALS as i32));
        while exponent < 0 && magnitude.is_multiple_of(10) {
            (magnitude, exponent) = (magnitude / 10, exponent + 1);
        }
        let mut dropped = 0;
        while magnitude > u128::from(u64::MAX) {
            (magnitude, exponent, dropped) = (magnitude / 10, exponent + 1, magnitude % 10);
        }
        Decimal::new(
            self.0 < 0,
            (magnitude as u64).saturating_add(u64::from(dropped >= 5)),
            exponent,
        )
    }

    /// Compares it with a number as it was written.
    pub fn compare(self, other: Decimal) -> Ordering {
        let sign = |negative: bool, zero: bool| match (zero, negative) {
            (true, _) => 0,
            (_, true) => -1,
            _ => 1,
        };
        let mine = sign(self.0 < 0, self.is_zero());
        let theirs = sign(other.is_negative(), other.mantissa() == 0);
        if mine != theirs || mine == 0 {
            return mine.cmp(&theirs);
        }
        let (left, right) = (self.0.unsigned_abs(), u128::from(other.mantissa()));
        let shift = other.exponent() + Amount::DECIMALS as i32;
        let power = |n: i32| POWERS.get(n as usize).map(|power| power.unsigned_abs());
        // What does not fit is the greater one.
        let magnitude = match shift {
            0.. => match power(shift).and_then(|power| right.checked_mul(power)) {
                Some(right) => left.cmp(&right),
                None => Ordering::Less,
            },
            _ => match power(-shift).and_then(|power| left.checked_mul(power)) {
                Some(left) => left.cmp(&right),
                None => Ordering::Greater,
            },
        };
        if mine < 0 { magnitude.reverse() } else { magnitude }
    }

    /// Appends it, short when it is a short number.
    pub fn encode(self, out: &mut Vec<u8>) {
        Sum::from_i128(self.parts()).encode(out);
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Amount, Malformed> {
        let at = reader.position();
        let parts = Sum::decode(reader)?.to_i128();
        parts.map(Amount).ok_or(Malformed { what: "amount", at })
    }
}

impl Decimal {
    /// The number as it is added up.
    #[inline]
    pub fn countable(self) -> Countable {
        let shift = self.exponent() + Amount::DECIMALS as i32;
        let signed =
            |magnitude: i128| Amount(if self.is_negative() { -magnitude } else { magnitude });
        let mantissa = i128::from(self.mantissa());
        match shift {
            // 1.9 · 10^19 times 10^18 fits.
            0..=18 => Countable::Exact(signed(mantissa * POWERS[shift as usize])),
            19.. => match POWERS.get(shift as usize).and_then(|power| mantissa.checked_mul(*power))
            {
                Some(parts) if parts < POWERS[38] => Countable::Exact(signed(parts)),
                _ if mantissa == 0 => Countable::Exact(Amount::ZERO),
                _ => Countable::OutOfRange,
            },
            _ => {
                let power = POWERS.get(-shift as usize).copied().unwrap_or(i128::MAX);
                let (whole, rest) = (mantissa / power, mantissa % power);
                Countable::Rounded(signed(whole + i128::from(rest >= power - rest)))
            }
        }
    }

    /// The number as it is added up, rounded where it must be; `None` out of range.
    #[inline]
    pub fn amount(self) -> Option<Amount> {
        match self.countable() {
            Countable::Exact(amount) | Countable::Rounded(amount) => Some(amount),
            Countable::OutOfRange => None,
        }
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Amount) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Amount {}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All its digits.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (magnitude, unit) = (self.0.unsigned_abs(), Amount::UNIT.unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (magnitude / unit, magnitude % unit);
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        let rest = format!("{rest:018}");
        write!(f, "{sign}{whole}.{}", rest.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amount(text: &str) -> Countable {
        Decimal::from_f64(text.parse().unwrap()).unwrap().countable()
    }

    #[test]
    fn eighteen_decimals_below_ten_to_the_twentieth_are_exact() {
        for (text, parts) in [
            ("0", 0),
            ("-12.5", -12_500_000_000_000_000_000),
            ("1e-7", 100_000_000_000),
            ("1e-18", 1),
            ("1e13", 10i128.pow(31)),
            ("99990000000000000000", 9_999 * 10i128.pow(34)),
        ] {
            assert_eq!(amount(text), Countable::Exact(Amount(parts)), "{text}");
        }
        for (text, parts) in [
            ("1.5e-18", 2),
            ("-1.5e-18", -2),
            ("1.4e-18", 1),
            ("4e-19", 0),
            ("5e-19", 1),
            ("1e-300", 0),
        ] {
            assert_eq!(amount(text), Countable::Rounded(Amount(parts)), "{text}");
        }
        for text in ["1e20", "-1e20", "1e300"] {
            assert_eq!(amount(text), Countable::OutOfRange, "{text}");
        }
        for whole in [i64::MIN, i64::MAX] {
            assert_eq!(Decimal::from_i64(whole).amount(), Some(Amount::from_i64(whole)));
        }
        let most = i128::from(u64::MAX) * Amount::UNIT;
        assert_eq!(Decimal::from_u64(u64::MAX).amount(), Some(Amount(most)));
    }

    #[test]
    fn it_is_written_with_all_its_digits_and_saturates() {
        for (parts, text) in [
            (0, "0"),
            (-1, "-0.000000000000000001"),
            (12_500_000_000_000_000_000, "12.5"),
            (5 * Amount::UNIT, "5"),
        ] {
            assert_eq!(Amount(parts).to_string(), text);
        }
        assert_eq!(Amount(i128::MAX).plus(Amount(1)), Amount(i128::MAX));
        assert_eq!(Amount(i128::MIN).plus(Amount(-1)), Amount(i128::MIN));
        assert_eq!((size_of::<Amount>(), align_of::<Amount>()), (16, 8));
    }

    proptest! {
        #[test]
        fn it_compares_with_numbers_as_they_were_written(
            parts: i128, shift in 0u32..127, negative: bool, mantissa: u64, exponent in -45i32..25,
        ) {
            use num_bigint::BigInt;
            let (amount, number) = (Amount(parts >> shift), Decimal::new(negative, mantissa, exponent));
            // Both times 10^60.
            let left = BigInt::from(amount.parts()) * BigInt::from(10).pow(60 - 18);
            let right = BigInt::from(number.mantissa())
                * BigInt::from(10).pow((60 + number.exponent()) as u32);
            let right = if number.is_negative() { -right } else { right };
            prop_assert_eq!(amount.compare(number), left.cmp(&right));
        }

        #[test]
        fn short_ones_become_decimals_and_come_back(whole: i64, shift in 0u32..63) {
            let whole = whole >> shift;
            let amount = Amount::from_i64(whole);
            prop_assert_eq!(amount.to_decimal(), Decimal::from_i64(whole));
            prop_assert_eq!(amount.to_decimal().amount(), Some(amount));
            let fine = Amount(i128::from(whole));
            prop_assert_eq!(fine.to_decimal().amount(), Some(fine));
            prop_assert_eq!(fine.to_f64(), fine.to_decimal().to_f64());
        }

        #[test]
        fn it_is_read_back(parts: i128, shift in 0u32..127) {
            let amount = Amount(parts >> shift);
            let mut bytes = Vec::new();
            amount.encode(&mut bytes);
            prop_assert_eq!(Amount::decode(&mut Reader::new(&bytes)).unwrap(), amount);
        }
    }
}
