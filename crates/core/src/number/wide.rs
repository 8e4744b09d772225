//! Integers wider than 128 bits, with the few operations that sums need.

use num_bigint::BigInt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rounding::quotient;
use crate::wire::{Malformed, Reader};

/// A signed integer of `64 · N` bits, least significant part first. Arithmetic is exact as
/// long as the result fits, whatever happened in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide<const N: usize>([u64; N]);

/// Trailing decimal zeros that are not written: of whole units, of millionths, of anything.
const SCALES: [i128; 3] = [10i128.pow(18), 10i128.pow(12), 1];

impl<const N: usize> Wide<N> {
    /// Zero.
    pub const ZERO: Self = Wide([0; N]);

    /// A narrower integer. `N` is at least 2.
    #[inline]
    pub fn from_i128(number: i128) -> Self {
        let sign = if number < 0 { u64::MAX } else { 0 };
        let mut parts = [sign; N];
        (parts[0], parts[1]) = (number as u64, (number >> 64) as u64);
        Wide(parts)
    }

    /// The number, if it fits.
    #[inline]
    pub fn to_i128(&self) -> Option<i128> {
        let low = (u128::from(self.0[1]) << 64 | u128::from(self.0[0])) as i128;
        let sign = if low < 0 { u64::MAX } else { 0 };
        self.0[2..].iter().all(|part| *part == sign).then_some(low)
    }

    /// True when it is zero.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Adds.
    #[inline]
    pub fn add(&mut self, other: &Self) {
        let mut carry = false;
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = mine.overflowing_add(theirs);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*mine, carry) = (sum, first | second);
        }
    }

    /// Subtracts.
    #[inline]
    pub fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            let (rest, first) = mine.overflowing_sub(theirs);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            (*mine, borrow) = (rest, first | second);
        }
    }

    /// Adds a narrower number.
    #[inline]
    pub fn add_i128(&mut self, number: i128) {
        self.add(&Wide::from_i128(number));
    }

    /// The square of a number. `N` is at least 5, or 4 for numbers below 2^127.
    #[inline]
    pub fn square_of(number: i128) -> Self {
        let magnitude = number.unsigned_abs();
        let (high, low) = (magnitude >> 64, magnitude & u128::from(u64::MAX));
        let middle = high * low;
        let mut square = Wide::ZERO;
        let ends = [low * low, high * high];
        square.0[..4].copy_from_slice(&[
            ends[0] as u64,
            (ends[0] >> 64) as u64,
            ends[1] as u64,
            (ends[1] >> 64) as u64,
        ]);
        // Twice the middle, 64 bits up.
        let mut cross = Wide::ZERO;
        cross.0[1..4].copy_from_slice(&[
            (middle << 1) as u64,
            (middle >> 63) as u64,
            (middle >> 127) as u64,
        ]);
        square.add(&cross);
        square
    }

    /// A sum of amounts in units, the nearest double.
    pub fn in_units(&self) -> f64 {
        quotient(self, 1)
    }

    /// The number for arithmetic of any width.
    pub fn to_big(&self) -> BigInt {
        let bytes: Vec<u8> = self.0.iter().flat_map(|part| part.to_le_bytes()).collect();
        BigInt::from_signed_bytes_le(&bytes)
    }

    /// Appends it: a byte, and as many as the number needs, without the zeros of a short
    /// decimal.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (scale, whole) = match self.to_i128() {
            Some(number) => {
                let fits = |scale: &i128| number % scale == 0;
                let scale = SCALES.iter().position(fits).unwrap_or(SCALES.len() - 1);
                (scale, Wide::from_i128(number / SCALES[scale]))
            }
            None => (SCALES.len() - 1, *self),
        };
        let mut bytes = [0u8; 64];
        let parts = whole.0.iter().zip(bytes.chunks_exact_mut(8));
        parts.for_each(|(part, place)| place.copy_from_slice(&part.to_le_bytes()));
        let bytes = &bytes[..8 * N];
        let sign = if whole.0[N - 1] >> 63 == 1 { u8::MAX } else { 0 };
        // One byte more where the sign would be lost.
        let len = bytes
            .iter()
            .rposition(|byte| *byte != sign)
            .map_or(0, |last| last + 1 + usize::from(bytes[last] >> 7 != sign >> 7));
        let len = len.max(usize::from(sign != 0)).min(bytes.len());
        out.push(((scale as u8) << 6) | len as u8);
        out.extend_from_slice(&bytes[..len]);
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let at = reader.position();
        let head = reader.u8("wide number")?;
        let (scale, len) = (usize::from(head >> 6), usize::from(head & 63));
        let bytes = reader.take(len, "wide number")?;
        if len > 8 * N || scale >= SCALES.len() {
            return Err(Malformed { what: "wide number", at });
        }
        let sign = if bytes.last().is_some_and(|last| last >> 7 == 1) { u8::MAX } else { 0 };
        let mut number = Wide([0; N]);
        for (index, part) in number.0.iter_mut().enumerate() {
            let byte = |n: usize| bytes.get(8 * index + n).copied().unwrap_or(sign);
            *part = u64::from_le_bytes(std::array::from_fn(byte));
        }
        if SCALES[scale] == 1 {
            return Ok(number);
        }
        let scaled = number.to_i128().and_then(|number| number.checked_mul(SCALES[scale]));
        scaled.map(Wide::from_i128).ok_or(Malformed { what: "wide number", at })
    }
}

impl<const N: usize> Default for Wide<N> {
    fn default() -> Self {
        Self::ZERO
    }
}

impl<const N: usize> Serialize for Wide<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Wide<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Vec::<u64>::deserialize(deserializer)?;
        let wrong =
            |parts: Vec<u64>| serde::de::Error::invalid_length(parts.len(), &"a wide number");
        parts.try_into().map(Wide).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = i128> {
        (any::<i128>(), 0u32..127).prop_map(|(number, shift)| number >> shift)
    }

    proptest! {
        #[test]
        fn arithmetic_is_that_of_wider_integers(a in number(), b in number(), c in number()) {
            let mut sum = Wide::<3>::from_i128(a);
            sum.add_i128(b);
            sum.add(&Wide::from_i128(c));
            prop_assert_eq!(sum.to_big(), BigInt::from(a) + b + c);
            sum.subtract(&Wide::from_i128(b));
            prop_assert_eq!(sum.to_big(), BigInt::from(a) + c);
            prop_assert_eq!(sum.to_i128(), a.checked_add(c));
            prop_assert_eq!(Wide::<5>::square_of(a).to_big(), BigInt::from(a) * a);
            let mut both = Wide::<5>::square_of(a);
            both.add(&Wide::square_of(b));
            prop_assert_eq!(both.to_big(), BigInt::from(a) * a + BigInt::from(b) * b);
        }

        #[test]
        fn it_is_read_back_and_short_when_it_can_be(a in number(), whole: i32, parts: [u64; 5]) {
            for wide in [Wide::from_i128(a), Wide(parts), Wide::square_of(a)] {
                let mut bytes = Vec::new();
                wide.encode(&mut bytes);
                let mut reader = Reader::new(&bytes);
                prop_assert_eq!(Wide::<5>::decode(&mut reader).unwrap(), wide);
                prop_assert!(reader.is_empty());
                let json = serde_json::to_string(&wide).unwrap();
                prop_assert_eq!(serde_json::from_str::<Wide<5>>(&json).unwrap(), wide);
            }
            let mut bytes = Vec::new();
            Wide::<3>::from_i128(i128::from(whole) * SCALES[0]).encode(&mut bytes);
            prop_assert!(bytes.len() <= 6, "{} bytes", bytes.len());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Wide::<3>::decode(&mut Reader::new(&bytes));
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        for end in [i128::MIN, i128::MAX, -1, 0, 1, -128, -129, 127, 128] {
            let mut bytes = Vec::new();
            Wide::<3>::from_i128(end).encode(&mut bytes);
            assert_eq!(Wide::<3>::decode(&mut Reader::new(&bytes)).unwrap().to_i128(), Some(end));
            assert_eq!(Wide::<5>::square_of(end).to_big(), BigInt::from(end) * end);
        }
    }
}
