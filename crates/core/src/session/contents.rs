//! What a session or a cart holds: its entries, less what was taken back.
//!
//! Counts and sums only, so the order of events makes no difference.

use crate::number::Amount;
use crate::wire::{Malformed, Reader, put_u64};

/// Entries and removals of one session or cart. 40 bytes: there is one in every open session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Value of all entries.
    value: Amount,
    /// Value of all removals, 0 or more.
    removed: Amount,
    entries: u32,
    removals: Removals,
}

/// How many removals, and in the lowest bit whether some entry or removal came without a value:
/// then things are counted, not added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Removals(u32);

impl Removals {
    const MAX: u32 = u32::MAX >> 1;

    fn new(num: u32, unpriced: bool) -> Self {
        Removals(num.min(Removals::MAX) << 1 | u32::from(unpriced))
    }

    fn num(self) -> u32 {
        self.0 >> 1
    }

    fn unpriced(self) -> bool {
        self.0 & 1 == 1
    }

    fn plus(self, num: u32, unpriced: bool) -> Self {
        Removals::new(self.num().saturating_add(num), self.unpriced() | unpriced)
    }
}

impl Contents {
    /// One thing more. `None`: the event carried no value.
    pub fn add(&mut self, value: Option<Amount>) {
        self.entries = self.entries.saturating_add(1);
        self.value = self.value.plus(value.unwrap_or_default());
        self.removals = self.removals.plus(0, value.is_none());
    }

    /// Something taken back: a value, whatever its sign, or without a value one entry.
    pub fn remove(&mut self, value: Option<Amount>) {
        let parts = value.unwrap_or_default().parts().saturating_abs();
        self.removed = self.removed.plus(Amount::from_parts(parts));
        self.removals = self.removals.plus(1, value.is_none());
    }

    /// Adds what another one holds.
    pub fn merge(&mut self, other: &Contents) {
        self.value = self.value.plus(other.value);
        self.removed = self.removed.plus(other.removed);
        self.entries = self.entries.saturating_add(other.entries);
        self.removals = self.removals.plus(other.removals.num(), other.removals.unpriced());
    }

    /// Entries that were not taken back; at least 1 while something is left.
    pub fn entries(&self) -> u32 {
        if self.has_entry() { self.entries.saturating_sub(self.removals.num()).max(1) } else { 0 }
    }

    /// Value that was not taken back. Never below 0 by removals.
    pub fn value(&self) -> Amount {
        match (self.removals.num(), self.is_emptied()) {
            (0, _) => self.value,
            (_, true) => Amount::ZERO,
            _ => {
                let left = self.value.parts().saturating_sub(self.removed.parts());
                Amount::from_parts(left.max(0))
            }
        }
    }

    /// True when an entry is left.
    pub fn has_entry(&self) -> bool {
        self.entries > 0 && !self.is_emptied()
    }

    /// True when there were entries at all.
    pub fn had_entry(&self) -> bool {
        self.entries > 0
    }

    /// True when everything that was put in was taken back: by value where every entry and
    /// removal has one, else by count.
    pub fn is_emptied(&self) -> bool {
        let by_value = !self.removals.unpriced() && self.value.parts() > 0;
        let removals = self.removals.num();
        if self.entries == 0 || removals == 0 {
            false
        } else if by_value {
            self.removed.parts() >= self.value.parts()
        } else {
            removals >= self.entries
        }
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        self.value.encode(out);
        put_u64(out, self.entries.into());
        // Most hold no removal: one byte says so.
        put_u64(out, self.removals.0.into());
        if self.removals.num() > 0 {
            self.removed.encode(out);
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Contents, Malformed> {
        let value = Amount::decode(reader)?;
        let entries = reader.narrow("entries")?;
        let removals = Removals(reader.narrow("removals")?);
        let removed = match removals.num() {
            0 => Amount::ZERO,
            _ => Amount::decode(reader)?,
        };
        Ok(Contents { value, removed, entries, removals })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(adds: &[Option<i64>], removals: &[Option<i64>]) -> Contents {
        let mut contents = Contents::default();
        let amount = |value: &Option<i64>| value.map(Amount::from_i64);
        adds.iter().for_each(|value| contents.add(amount(value)));
        removals.iter().for_each(|value| contents.remove(amount(value)));
        contents
    }

    fn check(adds: &[Option<i64>], removals: &[Option<i64>], left: Option<i64>) {
        let contents = holds(adds, removals);
        let what = format!("{adds:?} less {removals:?}");
        assert_eq!(contents.has_entry(), left.is_some(), "{what}");
        let value = Amount::from_i64(left.unwrap_or(0));
        assert_eq!(contents.value(), value, "{what}");
        assert_eq!(contents.entries() > 0, left.is_some(), "{what}");
        let mut record = Vec::new();
        contents.encode(&mut record);
        assert_eq!(Contents::decode(&mut Reader::new(&record)), Ok(contents), "{what}");
    }

    #[test]
    fn what_was_taken_back_is_not_at_stake() {
        let v = Some;
        check(&[v(30)], &[], Some(30));
        check(&[v(30)], &[v(30)], None);
        check(&[v(30), v(20)], &[v(20)], Some(30));
        check(&[v(30), v(20)], &[v(50)], None);
        check(&[v(30)], &[v(15)], Some(15));
        check(&[v(30)], &[v(-30)], None);
        check(&[v(30)], &[v(40)], None);
        // Put in, taken out, put in again: the sums say what is left, whatever the order.
        check(&[v(30), v(20)], &[v(30)], Some(20));
    }

    #[test]
    fn without_values_entries_are_counted() {
        let v = Some;
        check(&[None], &[None], None);
        check(&[None, None], &[None], Some(0));
        check(&[v(30), v(20)], &[None], Some(50));
        check(&[v(30), v(20)], &[None, None], None);
        check(&[v(30), None], &[v(30)], Some(0));
        check(&[v(0), v(0)], &[v(0)], Some(0));
        check(&[v(0)], &[v(0)], None);
        check(&[], &[v(5)], None);
    }
}
