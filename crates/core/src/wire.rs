//! Small building blocks of our binary formats: variable-length integers and
//! length-prefixed bytes, read without ever panicking on what a file holds.

use thiserror::Error;

use super::time::{BEGINNING, END_OF_TIME, EpochMs};

/// The bytes end too early or say something impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed {what} at byte {at}")]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
    /// Offset from the start of the section.
    pub at: usize,
}

/// Appends an unsigned integer, 7 bits a byte, least significant first.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer, zig-zag coded so that small magnitudes stay short.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a wide signed integer as 16 bytes, little endian.
pub fn put_i128(out: &mut Vec<u8>, value: i128) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends bytes with their length in front.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A time with room on both sides, so that lengths of time can be added and two times subtracted.
/// `BEGINNING` and `END_OF_TIME` are such times.
fn is_time(time: i64) -> Option<EpochMs> {
    (2 * BEGINNING..=2 * END_OF_TIME).contains(&time).then_some(time)
}

/// Reads what the `put` functions wrote.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// True when everything was read.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(Malformed { what, at: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    /// The next unsigned integer.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed { what, at: start })
    }

    /// The next signed integer.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        let raw = self.u64(what)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// The next byte, which is not taken.
    pub fn peek(&self, what: &'static str) -> Result<u8, Malformed> {
        self.bytes.get(self.at).copied().ok_or(Malformed { what, at: self.at })
    }

    /// The next unsigned integer, which fits into fewer bits.
    pub fn narrow<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, Malformed> {
        let at = self.at;
        T::try_from(self.u64(what)?).map_err(|_| Malformed { what, at })
    }

    /// The next signed integer, which is a point in time.
    pub fn time(&mut self, what: &'static str) -> Result<EpochMs, Malformed> {
        let at = self.at;
        is_time(self.i64(what)?).ok_or(Malformed { what, at })
    }

    /// A point in time, the next unsigned integer after another one.
    pub fn time_after(&mut self, start: EpochMs, what: &'static str) -> Result<EpochMs, Malformed> {
        let at = self.at;
        let time = start.checked_add_unsigned(self.u64(what)?);
        time.and_then(is_time).ok_or(Malformed { what, at })
    }

    /// A point in time, the next signed integer from another one on.
    pub fn time_from(&mut self, start: EpochMs, what: &'static str) -> Result<EpochMs, Malformed> {
        let at = self.at;
        let time = start.checked_add(self.i64(what)?);
        time.and_then(is_time).ok_or(Malformed { what, at })
    }

    /// The next wide signed integer.
    pub fn i128(&mut self, what: &'static str) -> Result<i128, Malformed> {
        let bytes = self.take(16, what)?;
        Ok(i128::from_le_bytes(bytes.try_into().expect("take returns 16 bytes")))
    }

    /// The next length-prefixed bytes.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len = self.u64(what)? as usize;
        self.take(len, what)
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len).ok_or(Malformed { what, at: self.at })?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed { what, at: self.at })?;
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_read_back(a: u64, b: i64, c: i128, d: Vec<u8>) {
            let mut out = Vec::new();
            put_u64(&mut out, a);
            put_i64(&mut out, b);
            put_i128(&mut out, c);
            put_bytes(&mut out, &d);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.u64("a").unwrap(), a);
            prop_assert_eq!(reader.i64("b").unwrap(), b);
            prop_assert_eq!(reader.i128("c").unwrap(), c);
            prop_assert_eq!(reader.bytes("d").unwrap(), &d[..]);
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() {
                if reader.bytes("any").is_err() {
                    break;
                }
            }
        }
    }
}
