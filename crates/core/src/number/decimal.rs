//! A number as it was written: digits and a power of ten.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use compact_str::format_compact;

use crate::wire::{Malformed, Reader, put_i64, put_u64};

/// An exact decimal number, `± mantissa · 10^exponent`: every 64-bit integer, and every
/// finite double as the shortest decimal that reads back as it.
///
/// Equal numbers have equal parts: an integer that fits has exponent 0, any other number has
/// no trailing zero in its mantissa, and zero has no sign. 12 bytes, so that an attribute
/// with its tag takes 16.
#[derive(Clone, Copy)]
#[repr(Rust, packed(4))]
pub struct Decimal {
    mantissa: u64,
    exponent: i16,
    negative: bool,
}

/// Past this many digits before or after the point the text is in scientific notation.
const PLAIN_DIGITS: i32 = 24;

impl Decimal {
    /// Zero.
    pub const ZERO: Decimal = Decimal { mantissa: 0, exponent: 0, negative: false };

    /// `± mantissa · 10^exponent`. An exponent beyond ±10,000 is taken for that.
    pub fn new(negative: bool, mut mantissa: u64, exponent: i32) -> Decimal {
        if mantissa == 0 {
            return Decimal::ZERO;
        }
        let mut exponent = exponent.clamp(-10_000, 10_000);
        while exponent < 0 && mantissa.is_multiple_of(10) {
            (mantissa, exponent) = (mantissa / 10, exponent + 1);
        }
        if exponent > 0 {
            // An integer, if it fits; else as few digits as there are.
            let whole = u32::try_from(exponent).ok().and_then(|e| 10u64.checked_pow(e));
            match whole.and_then(|power| mantissa.checked_mul(power)) {
                Some(whole) => (mantissa, exponent) = (whole, 0),
                None => {
                    while mantissa.is_multiple_of(10) {
                        (mantissa, exponent) = (mantissa / 10, exponent + 1);
                    }
                }
            }
        }
        Decimal { mantissa, exponent: exponent as i16, negative }
    }

    /// An integer.
    #[inline]
    pub fn from_i64(number: i64) -> Decimal {
        Decimal { mantissa: number.unsigned_abs(), exponent: 0, negative: number < 0 }
    }

    /// An integer past `i64`, too.
    #[inline]
    pub fn from_u64(number: u64) -> Decimal {
        Decimal { mantissa: number, exponent: 0, negative: false }
    }

    /// The shortest decimal that reads back as this double; `None` when it is not finite.
    #[inline]
    pub fn from_f64(number: f64) -> Option<Decimal> {
        // Decimals of at most 15 digits are told apart by doubles, so one that reads back
        // is the shortest.
        const SHORT: f64 = 1e15;
        if number.trunc() == number && number.abs() < SHORT {
            return Some(Decimal::from_i64(number as i64));
        }
        for (power, exponent) in [(1e2, -2), (1e6, -6)] {
            let scaled = (number * power).round();
            if scaled.abs() < SHORT && scaled / power == number {
                return Some(Decimal::new(scaled < 0.0, scaled.abs() as u64, exponent));
            }
        }
        number.is_finite().then(|| Decimal::from_digits(number))
    }

    /// A number in the spelling of JSON (`-0.5`, `1e3`): exactly as it is written while its
    /// digits fit 64 bits, else by the nearest double. `None` when it is no such number, or
    /// past all doubles.
    pub fn from_text(text: &str) -> Option<Decimal> {
        let magnitude = text.strip_prefix('-').unwrap_or(text);
        let (digits, power) = match magnitude.split_once(['e', 'E']) {
            Some((digits, power)) => (digits, power.parse::<i32>().ok()),
            None => (magnitude, Some(0)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let mut digits = whole.bytes().chain(fraction.bytes());
        let mantissa = digits
            .try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        match mantissa.zip(power.filter(|power| power.abs() < 300)) {
            Some((mantissa, power)) => {
                let negative = magnitude.len() < text.len();
                Some(Decimal::new(negative, mantissa, power - fraction.len() as i32))
            }
            None => text.parse().ok().and_then(Decimal::from_f64),
        }
    }

    /// The same by the digits that the standard library prints.
    #[cold]
    fn from_digits(number: f64) -> Decimal {
        let text = format_compact!("{:e}", number.abs());
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mantissa = whole.bytes().chain(fraction.bytes());
        let mantissa = mantissa.fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let exponent = exponent.parse::<i32>().unwrap_or(0) - fraction.len() as i32;
        Decimal::new(number < 0.0, mantissa, exponent)
    }

    /// The digits, as an integer.
    #[inline]
    pub fn mantissa(self) -> u64 {
        self.mantissa
    }

    /// The power of ten.
    #[inline]
    pub fn exponent(self) -> i32 {
        i32::from(self.exponent)
    }

    /// True below zero.
    #[inline]
    pub fn is_negative(self) -> bool {
        self.negative
    }

    /// The nearest double; past the greatest, infinity.
    pub fn to_f64(self) -> f64 {
        const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;
        let (mantissa, exponent) = (self.mantissa, self.exponent());
        let magnitude = match exponent {
            0 => mantissa as f64,
            // Both are exact doubles, so one rounding is all there is.
            -22..0 if mantissa <= EXACT => mantissa as f64 / 10f64.powi(-exponent),
            _ => format_compact!("{mantissa}e{exponent}").parse().unwrap_or(f64::NAN),
        };
        if self.negative { -magnitude } else { magnitude }
    }

    fn compare_magnitude(self, other: Decimal) -> Ordering {
        let (mine, theirs) = (self.mantissa, other.mantissa);
        let apart = self.exponent() - other.exponent();
        match apart {
            0 => mine.cmp(&theirs),
            1.. => scaled_against(mine, apart, theirs),
            _ => scaled_against(theirs, -apart, mine).reverse(),
        }
    }

    /// Appends it: some bytes more than its digits need.
    pub fn encode(self, out: &mut Vec<u8>) {
        put_i64(out, (i64::from(self.exponent) << 1) | i64::from(self.negative));
        put_u64(out, self.mantissa);
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the bytes end too early.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Decimal, Malformed> {
        let head = reader.i64("exponent of a number")?;
        let exponent = (head >> 1).clamp(-10_000, 10_000) as i32;
        Ok(Decimal::new(head & 1 != 0, reader.u64("digits of a number")?, exponent))
    }
}

/// Compares `mine · 10^apart` with `theirs`; `apart` is positive.
fn scaled_against(mine: u64, apart: i32, theirs: u64) -> Ordering {
    // 20 digits are more than any mantissa has.
    match (mine, apart) {
        (0, _) => 0.cmp(&theirs),
        (_, 20..) => Ordering::Greater,
        _ => (u128::from(mine) * 10u128.pow(apart as u32)).cmp(&u128::from(theirs)),
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Decimal) -> bool {
        let parts = |number: &Decimal| (number.mantissa, number.exponent, number.negative);
        parts(self) == parts(other)
    }
}

impl Eq for Decimal {}

impl Ord for Decimal {
    #[inline]
    fn cmp(&self, other: &Decimal) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.compare_magnitude(*other),
            (true, true) => other.compare_magnitude(*self),
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
        }
    }
}

impl PartialOrd for Decimal {
    #[inline]
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.mantissa, self.exponent, self.negative).hash(state);
    }
}

/// Plain digits with a point; scientific notation where that would be mostly zeros. Valid in
/// JSON and TOML.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        let digits = format_compact!("{}", { self.mantissa });
        let point = digits.len() as i32 + self.exponent();
        match self.exponent() {
            0 => f.write_str(&digits),
            1.. if point <= PLAIN_DIGITS => {
                write!(f, "{digits}{:0<1$}", "", self.exponent as usize)
            }
            ..0 if point > 0 => {
                let (whole, fraction) = digits.split_at(point as usize);
                write!(f, "{whole}.{fraction}")
            }
            ..0 if -point <= PLAIN_DIGITS => write!(f, "0.{:0<1$}{digits}", "", -point as usize),
            _ => match digits.split_at(1) {
                (first, "") => write!(f, "{first}e{}", point - 1),
                (first, rest) => write!(f, "{first}.{rest}e{}", point - 1),
            },
        }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Default for Decimal {
    fn default() -> Self {
        Decimal::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Decimal {
        Decimal::from_f64(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn numbers_are_kept_as_they_are_written() {
        for text in [
            "0",
            "1",
            "-1",
            "100",
            "0.1",
            "-0.1",
            "19.99",
            "0.0000001",
            "0.000001",
            "1e-200",
            "10000000000000",
            "123456789012345680",
            "1e300",
            "-2.5e-300",
            "0.30000000000000004",
            "33.333333333333336",
            "100000000000000000000000",
            "5e-324",
            "1.7976931348623157e308",
        ] {
            assert_eq!(parsed(text).to_string(), text);
        }
        for (number, text) in
            [(i64::MIN, "-9223372036854775808"), (i64::MAX, "9223372036854775807")]
        {
            assert_eq!(Decimal::from_i64(number).to_string(), text);
        }
        assert_eq!(Decimal::from_u64(u64::MAX).to_string(), "18446744073709551615");
        assert_eq!(parsed("-0.0"), Decimal::ZERO);
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Decimal::from_f64(odd), None);
        }
        assert_eq!(size_of::<Decimal>(), 12);
    }

    #[test]
    fn text_is_read_exactly_as_far_as_it_fits() {
        for (text, want) in [
            ("0", "0"),
            ("-12.50", "-12.5"),
            ("0.1234567890123456789", "0.1234567890123456789"),
            ("12345678901234567.89", "12345678901234567.89"),
            ("1e3", "1000"),
            ("-2.5E-3", "-0.0025"),
            ("18446744073709551615", "18446744073709551615"),
            ("184467440737095516150", "184467440737095500000"),
            ("0.00000000000000000000000000000000001", "1e-35"),
            ("1e-400", "0"),
            ("5e-324", "5e-324"),
        ] {
            assert_eq!(Decimal::from_text(text).unwrap().to_string(), want, "{text}");
        }
        for text in ["", "-", ".5", "5.", "1e", "1e999", "12,5", "0x1", "inf", "nan", "1 "] {
            assert_eq!(Decimal::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn equal_numbers_are_equal_however_they_were_written() {
        for (mantissa, exponent) in [(5, 3), (50, 2), (5_000, 0), (5_000_000, -3)] {
            assert_eq!(Decimal::new(false, mantissa, exponent), Decimal::from_i64(5_000));
        }
        assert_eq!(Decimal::new(false, 10, 30), Decimal::new(false, 1, 31));
        assert_eq!(Decimal::new(true, 0, 7), Decimal::ZERO);
    }

    fn any_double() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite()),
            (-1_000_000_000i64..1_000_000_000, 0i32..9)
                .prop_map(|(n, e)| format!("{n}e-{e}").parse::<f64>().unwrap()),
            any::<i64>().prop_map(|n| n as f64),
        ]
    }

    proptest! {
        #[test]
        fn a_double_comes_back_and_its_text_is_the_shortest(number in any_double()) {
            let decimal = Decimal::from_f64(number).unwrap();
            prop_assert_eq!(decimal.to_f64(), number);
            prop_assert_eq!(decimal, Decimal::from_digits(number));
            prop_assert_eq!(decimal.to_string().parse::<f64>().unwrap(), number);
        }

        #[test]
        fn order_is_that_of_the_numbers(a in any_double(), b in any_double()) {
            let (x, y) = (Decimal::from_f64(a).unwrap(), Decimal::from_f64(b).unwrap());
            prop_assert_eq!(x.cmp(&y), a.partial_cmp(&b).unwrap());
            prop_assert_eq!(x == y, a == b);
        }

        #[test]
        fn order_is_exact_past_the_doubles(a: u64, b: u64, up in 0u32..18) {
            // Against integers wide enough for both.
            let (x, y) = (Decimal::from_u64(a), Decimal::new(false, b, up as i32));
            prop_assert_eq!(x.cmp(&y), u128::from(a).cmp(&(u128::from(b) * 10u128.pow(up))));
            let (x, y) = (Decimal::new(true, a, 0), Decimal::new(true, b, -(up as i32)));
            prop_assert_eq!(y.cmp(&x), (u128::from(a) * 10u128.pow(up)).cmp(&u128::from(b)));
        }

        #[test]
        fn it_is_read_back(number in any_double(), whole: u64) {
            for decimal in [Decimal::from_f64(number).unwrap(), Decimal::from_u64(whole)] {
                let mut bytes = Vec::new();
                decimal.encode(&mut bytes);
                prop_assert_eq!(Decimal::decode(&mut Reader::new(&bytes)).unwrap(), decimal);
            }
        }
    }
}
