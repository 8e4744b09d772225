//! Cells: what one pane (the smallest slice of a window) holds for one group.
//!
//! Every cell has a zero and a merge that commutes and associates (H18, H19), so the
//! order in which shards and batches arrive makes no difference: counts and fixed-point
//! sums are integers, sketches merge by maximum.

use super::distinct::Distinct;
use super::spec::Aggregate;
use crate::domain::event::MICRO;
use crate::domain::time::SpanMs;
use crate::domain::wire::{Malformed, Reader, put_i64, put_i128, put_u64};

/// Count, sum and sum of squares of fixed-point values: enough for mean and deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// How many values.
    pub count: u64,
    /// Their sum, in millionths.
    pub sum: i128,
    /// Sum of their squares, in millionths squared.
    pub squares: i128,
}

impl Moments {
    /// Adds one value, in millionths.
    pub fn add(&mut self, value: i64) {
        self.count += 1;
        self.sum += i128::from(value);
        self.squares += i128::from(value) * i128::from(value);
    }

    /// Mean in units; `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / MICRO as f64 / self.count as f64)
    }

    /// Population standard deviation in units; `None` when empty. The variance is
    /// computed in integers as far as possible, so no cancellation eats it.
    pub fn deviation(&self) -> Option<f64> {
        let count = i128::from(self.count);
        if count == 0 {
            return None;
        }
        let scaled = match self.squares.checked_mul(count).zip(self.sum.checked_mul(self.sum)) {
            Some((squares, sum)) => (squares - sum).max(0) as f64,
            None => {
                let (squares, sum) = (self.squares as f64 * count as f64, self.sum as f64);
                (squares - sum * sum).max(0.0)
            }
        };
        Some(scaled.sqrt() / count as f64 / MICRO as f64)
    }
}

/// What one pane holds for one group.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// How many.
    Count(u64),
    /// Sum, mean, deviation.
    Moments(Moments),
    /// Least value, in millionths, and how many.
    Least(u64, i64),
    /// Greatest value, in millionths, and how many.
    Greatest(u64, i64),
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
            Aggregate::Sum | Aggregate::Avg | Aggregate::Stddev => {
                Cell::Moments(Moments::default())
            }
            Aggregate::Min => Cell::Least(0, i64::MAX),
            Aggregate::Max => Cell::Greatest(0, i64::MIN),
            Aggregate::Ratio => Cell::Ratio(0, 0),
            Aggregate::Distinct { exact_up_to } => Cell::Distinct(Distinct::new(exact_up_to)),
        }
    }

    /// Merges another cell of the same aggregate into this one.
    pub fn merge(&mut self, other: &Cell) {
        match (self, other) {
            (Cell::Count(a), Cell::Count(b)) => *a += b,
            (Cell::Moments(a), Cell::Moments(b)) => {
                a.count += b.count;
                a.sum += b.sum;
                a.squares += b.squares;
            }
            (Cell::Least(n, a), Cell::Least(m, b)) => (*n, *a) = (*n + m, (*a).min(*b)),
            (Cell::Greatest(n, a), Cell::Greatest(m, b)) => (*n, *a) = (*n + m, (*a).max(*b)),
            (Cell::Ratio(a, b), Cell::Ratio(c, d)) => (*a, *b) = (*a + c, *b + d),
            (Cell::Distinct(a), Cell::Distinct(b)) => a.merge(b),
            (mine, theirs) => debug_assert!(false, "cells of two kinds: {mine:?} and {theirs:?}"),
        }
    }

    /// Takes back what was merged; only for kinds that can ([`Cell::subtracts`]).
    pub fn subtract(&mut self, other: &Cell) {
        match (self, other) {
            (Cell::Count(a), Cell::Count(b)) => *a -= b,
            (Cell::Moments(a), Cell::Moments(b)) => {
                a.count -= b.count;
                a.sum -= b.sum;
                a.squares -= b.squares;
            }
            (Cell::Ratio(a, b), Cell::Ratio(c, d)) => (*a, *b) = (*a - c, *b - d),
            (mine, theirs) => debug_assert!(false, "cannot subtract {theirs:?} from {mine:?}"),
        }
    }

    /// True when [`Cell::subtract`] works for this kind.
    pub fn subtracts(&self) -> bool {
        matches!(self, Cell::Count(_) | Cell::Moments(_) | Cell::Ratio(..))
    }

    /// How many facts it holds.
    pub fn count(&self) -> u64 {
        match self {
            Cell::Count(count) | Cell::Least(count, _) | Cell::Greatest(count, _) => *count,
            Cell::Moments(moments) => moments.count,
            Cell::Ratio(_, of) => *of,
            Cell::Distinct(distinct) => distinct.count(),
        }
    }

    /// Sum of the field in units (for a ratio: how many above the line).
    pub fn sum(&self) -> f64 {
        match self {
            Cell::Moments(moments) => moments.sum as f64 / MICRO as f64,
            Cell::Ratio(above, _) => *above as f64,
            other => other.count() as f64,
        }
    }

    /// The number an aggregate says over a window of `size`; `None` when there is none
    /// (the mean of nothing).
    pub fn value(&self, aggregate: Aggregate, size: SpanMs) -> Option<f64> {
        match (self, aggregate) {
            (Cell::Count(count), Aggregate::Rate) => Some(*count as f64 * 1000.0 / size as f64),
            (Cell::Moments(moments), Aggregate::Avg) => moments.mean(),
            (Cell::Moments(moments), Aggregate::Stddev) => moments.deviation(),
            (Cell::Moments(_), _) => Some(self.sum()),
            (Cell::Least(count, value) | Cell::Greatest(count, value), _) => {
                (*count > 0).then(|| *value as f64 / MICRO as f64)
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
            Cell::Moments(moments) => {
                out.push(1);
                put_u64(out, moments.count);
                put_i128(out, moments.sum);
                put_i128(out, moments.squares);
            }
            Cell::Least(count, value) => {
                out.push(2);
                put_u64(out, *count);
                put_i64(out, *value);
            }
            Cell::Greatest(count, value) => {
                out.push(3);
                put_u64(out, *count);
                put_i64(out, *value);
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
            1 => Cell::Moments(Moments {
                count: reader.u64("count")?,
                sum: reader.i128("sum")?,
                squares: reader.i128("squares")?,
            }),
            2 => Cell::Least(reader.u64("count")?, reader.i64("least")?),
            3 => Cell::Greatest(reader.u64("count")?, reader.i64("greatest")?),
            4 => Cell::Ratio(reader.u64("above")?, reader.u64("of")?),
            5 => Cell::Distinct(Distinct::decode(reader)?),
            _ => return Err(Malformed { what: "kind of cell", at }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mean_and_deviation_are_the_definition() {
        let values = [1.5, 2.25, 19.99, 0.0, 100.0];
        let mut moments = Moments::default();
        values.iter().for_each(|v| moments.add((v * MICRO as f64) as i64));
        let mean = values.iter().sum::<f64>() / 5.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 5.0;
        assert!((moments.mean().unwrap() - mean).abs() < 1e-9);
        assert!((moments.deviation().unwrap() - variance.sqrt()).abs() < 1e-9);
        assert_eq!(Moments::default().deviation(), None);
    }

    fn cells(aggregate: Aggregate) -> impl Strategy<Value = Cell> {
        prop::collection::vec(-5_000_000i64..5_000_000, 0..20).prop_map(move |values| {
            let mut cell = Cell::zero(aggregate);
            for value in values {
                match &mut cell {
                    Cell::Count(count) => *count += 1,
                    Cell::Moments(moments) => moments.add(value),
                    Cell::Least(n, least) => (*n, *least) = (*n + 1, (*least).min(value)),
                    Cell::Greatest(n, most) => (*n, *most) = (*n + 1, (*most).max(value)),
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
            Aggregate::Avg,
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
