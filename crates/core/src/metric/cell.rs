//! Cells: what one pane (the smallest slice of a window) holds for one group.
//!
//! Every cell has a zero and a merge that commutes and associates (H18, H19), so the
//! order in which shards and batches arrive makes no difference: counts and sums are
//! integers, sketches merge by maximum.

use std::cmp::Ordering;

use super::distinct::Distinct;
use super::spec::Aggregate;
use crate::number::{Decimal, Moments, Total};
use crate::time::SpanMs;
use crate::wire::{Malformed, Reader, put_u64};

/// How many numbers, and the least or greatest of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extreme {
    /// How many.
    pub count: u64,
    /// The one; zero when there are none.
    pub number: Decimal,
}

impl Extreme {
    /// Adds one number; it replaces the one so far when it compares with it as `wanted`.
    pub fn add(&mut self, number: Decimal, wanted: Ordering) {
        self.merge(&Extreme { count: 1, number }, wanted);
    }

    fn merge(&mut self, other: &Extreme, wanted: Ordering) {
        let replaces = other.number.cmp(&self.number) == wanted;
        if other.count > 0 && (self.count == 0 || replaces) {
            self.number = other.number;
        }
        self.count += other.count;
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.count);
        self.number.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Extreme, Malformed> {
        Ok(Extreme { count: reader.u64("count")?, number: Decimal::decode(reader)? })
    }
}

/// What one pane holds for one group.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// How many.
    Count(u64),
    /// Sum, mean.
    Total(Total),
    /// Deviation. Much larger than the others, and rare.
    Moments(Box<Moments>),
    /// Least value.
    Least(Extreme),
    /// Greatest value.
    Greatest(Extreme),
    /// How many above the line, how many below.
    Ratio(u64, u64),
    /// Different values.
    Distinct(Distinct),
}

impl Cell {
    /// The zero of an aggregate.
    pub fn zero(aggregate: Aggregate) -> Cell {
        match aggregate {
            Aggregate::Count | Aggregate::Rate => Cell::Count(0),
            Aggregate::Sum | Aggregate::Avg => Cell::Total(Total::default()),
            Aggregate::Stddev => Cell::Moments(Box::default()),
            Aggregate::Min => Cell::Least(Extreme::default()),
            Aggregate::Max => Cell::Greatest(Extreme::default()),
            Aggregate::Ratio => Cell::Ratio(0, 0),
            Aggregate::Distinct { exact_up_to } => Cell::Distinct(Distinct::new(exact_up_to)),
        }
    }

    /// True when [`Cell::merge`] can take `other`: both are of one kind and no count overflows.
    /// False only for cells that were read from a damaged file.
    pub fn takes(&self, other: &Cell) -> bool {
        let above = |cell: &Cell| if let Cell::Ratio(above, _) = cell { *above } else { 0 };
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.count().checked_add(other.count()).is_some()
            && above(self).checked_add(above(other)).is_some()
    }

    /// Merges another cell of the same aggregate into this one.
    pub fn merge(&mut self, other: &Cell) {
        match (self, other) {
            (Cell::Count(a), Cell::Count(b)) => *a += b,
            (Cell::Total(a), Cell::Total(b)) => a.merge(b),
            (Cell::Moments(a), Cell::Moments(b)) => a.merge(b),
            (Cell::Least(a), Cell::Least(b)) => a.merge(b, Ordering::Less),
            (Cell::Greatest(a), Cell::Greatest(b)) => a.merge(b, Ordering::Greater),
            (Cell::Ratio(a, b), Cell::Ratio(c, d)) => (*a, *b) = (*a + c, *b + d),
            (Cell::Distinct(a), Cell::Distinct(b)) => a.merge(b),
            (mine, theirs) => debug_assert!(false, "cells of two kinds: {mine:?} and {theirs:?}"),
        }
    }

    /// Takes back what was merged; only for kinds that can ([`Cell::subtracts`]).
    pub fn subtract(&mut self, other: &Cell) {
        match (self, other) {
            (Cell::Count(a), Cell::Count(b)) => *a -= b,
            (Cell::Total(a), Cell::Total(b)) => a.subtract(b),
            (Cell::Moments(a), Cell::Moments(b)) => a.subtract(b),
            (Cell::Ratio(a, b), Cell::Ratio(c, d)) => (*a, *b) = (*a - c, *b - d),
            (mine, theirs) => debug_assert!(false, "cannot subtract {theirs:?} from {mine:?}"),
        }
    }

    /// True when [`Cell::subtract`] works for this kind.
    pub fn subtracts(&self) -> bool {
        matches!(self, Cell::Count(_) | Cell::Total(_) | Cell::Moments(_) | Cell::Ratio(..))
    }

    /// How many facts it holds.
    pub fn count(&self) -> u64 {
        match self {
            Cell::Count(count) => *count,
            Cell::Total(total) => total.count,
            Cell::Moments(moments) => moments.total.count,
            Cell::Least(extreme) | Cell::Greatest(extreme) => extreme.count,
            Cell::Ratio(_, of) => *of,
            Cell::Distinct(distinct) => distinct.count(),
        }
    }

    /// Sum of the field in units (for a ratio: how many above the line).
    pub fn sum(&self) -> f64 {
        match self {
            Cell::Total(total) => total.sum.in_units(),
            Cell::Moments(moments) => moments.total.sum.in_units(),
            Cell::Ratio(above, _) => *above as f64,
            other => other.count() as f64,
        }
    }

    /// The number an aggregate says over a window of `size`; `None` when there is none
    /// (the mean of nothing).
    pub fn value(&self, aggregate: Aggregate, size: SpanMs) -> Option<f64> {
        match (self, aggregate) {
            (Cell::Count(count), Aggregate::Rate) => Some(*count as f64 * 1000.0 / size as f64),
            (Cell::Total(total), Aggregate::Avg) => total.mean(),
            (Cell::Total(_), _) => Some(self.sum()),
            (Cell::Moments(moments), _) => moments.deviation(),
            (Cell::Least(extreme) | Cell::Greatest(extreme), _) => {
                (extreme.count > 0).then(|| extreme.number.to_f64())
            }
            (Cell::Ratio(above, of), _) => (*of > 0).then(|| *above as f64 / *of as f64),
            _ => Some(self.count() as f64),
        }
    }

    /// Appends the cell.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Cell::Count(count) => {
                out.push(0);
                put_u64(out, *count);
            }
            Cell::Total(total) => {
                out.push(6);
                total.encode(out);
            }
            Cell::Moments(moments) => {
                out.push(1);
                moments.encode(out);
            }
            Cell::Least(extreme) => {
                out.push(2);
                extreme.encode(out);
            }
            Cell::Greatest(extreme) => {
                out.push(3);
                extreme.encode(out);
            }
            Cell::Ratio(above, of) => {
                out.push(4);
                put_u64(out, *above);
                put_u64(out, *of);
            }
            Cell::Distinct(distinct) => {
                out.push(5);
                distinct.encode(out);
            }
        }
    }

    /// Reads a cell.
    ///
    /// # Errors
    /// When the bytes are not a cell.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Cell, Malformed> {
        let at = reader.position();
        Ok(match reader.u8("kind of cell")? {
            0 => Cell::Count(reader.u64("count")?),
            1 => Cell::Moments(Box::new(Moments::decode(reader)?)),
            2 => Cell::Least(Extreme::decode(reader)?),
            3 => Cell::Greatest(Extreme::decode(reader)?),
            4 => Cell::Ratio(reader.u64("above")?, reader.u64("of")?),
            5 => Cell::Distinct(Distinct::decode(reader)?),
            6 => Cell::Total(Total::decode(reader)?),
            _ => return Err(Malformed { what: "kind of cell", at }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::Amount;
    use proptest::prelude::*;

    /// Cells are many: a float more in each is felt.
    #[test]
    fn a_cell_is_small() {
        assert!(size_of::<Cell>() <= 48, "{}", size_of::<Cell>());
    }

    fn cells(aggregate: Aggregate) -> impl Strategy<Value = Cell> {
        prop::collection::vec(-5_000_000i64..5_000_000, 0..20).prop_map(move |values| {
            let mut cell = Cell::zero(aggregate);
            for value in values {
                match &mut cell {
                    Cell::Count(count) => *count += 1,
                    Cell::Total(total) => total.add(Amount::from_millis(value)),
                    Cell::Moments(moments) => moments.add(Amount::from_millis(value)),
                    Cell::Least(extreme) => extreme.add(Decimal::from_i64(value), Ordering::Less),
                    Cell::Greatest(extreme) => {
                        extreme.add(Decimal::from_i64(value), Ordering::Greater);
                    }
                    Cell::Ratio(above, of) => {
                        (*above, *of) = (*above + u64::from(value > 0), *of + 1);
                    }
                    Cell::Distinct(distinct) => distinct.insert(value as u64),
                }
            }
            cell
        })
    }

    fn any_aggregate() -> impl Strategy<Value = Aggregate> {
        prop::sample::select(vec![
            Aggregate::Count,
            Aggregate::Sum,
            Aggregate::Avg,
            Aggregate::Stddev,
            Aggregate::Min,
            Aggregate::Max,
            Aggregate::Ratio,
            Aggregate::Distinct { exact_up_to: 1_000 },
            Aggregate::Distinct { exact_up_to: 8 },
        ])
    }

    proptest! {
        #[test]
        fn cells_merge_in_any_order_have_a_zero_and_read_back(
            (aggregate, a, b, c) in any_aggregate()
                .prop_flat_map(|agg| (Just(agg), cells(agg), cells(agg), cells(agg)))
        ) {
            let merge = |x: &Cell, y: &Cell| { let mut z = x.clone(); z.merge(y); z };
            let value = |cell: &Cell| cell.value(aggregate, 1_000);
            prop_assert_eq!(value(&merge(&a, &b)), value(&merge(&b, &a)));
            prop_assert_eq!(
                value(&merge(&merge(&a, &b), &c)),
                value(&merge(&a, &merge(&b, &c)))
            );
            prop_assert_eq!(value(&merge(&a, &Cell::zero(aggregate))), value(&a));
            if a.subtracts() {
                let mut both = merge(&a, &b);
                both.subtract(&b);
                prop_assert_eq!(&both, &a);
            }
            let mut bytes = Vec::new();
            a.encode(&mut bytes);
            let read = Cell::decode(&mut Reader::new(&bytes)).unwrap();
            prop_assert_eq!(value(&read), value(&a));
        }
    }
}
