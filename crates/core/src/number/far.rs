//! A sum of doubles that were made from exact numbers.

use serde::{Deserialize, Serialize};

use super::{Decimal, Sum};
use crate::wire::{Malformed, Reader};

/// Adds doubles as the decimals they stand for: 0.1 and 0.2 are 0.3, in any order. What is
/// too great for that (10^20 and more) is added as a float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FarSum {
    near: Sum,
    far: f64,
}

impl FarSum {
    /// Adds one number.
    pub fn add(&mut self, value: f64) {
        match Decimal::from_f64(value).and_then(Decimal::amount) {
            Some(amount) => self.near.add_i128(amount.parts()),
            None => self.far += value,
        }
    }

    /// The nearest double.
    pub fn value(&self) -> f64 {
        self.near.in_units() + self.far
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.near.encode(out);
        out.extend_from_slice(&self.far.to_le_bytes());
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<FarSum, Malformed> {
        let near = Sum::decode(reader)?;
        let far = reader.take(8, "number")?.try_into().expect("take returns 8 bytes");
        Ok(FarSum { near, far: f64::from_le_bytes(far) })
    }
}
