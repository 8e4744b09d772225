//! A metric's newest numbers, one for each group, with whole labels: what the board has
//! no room for, and what other systems take from us (`/metrics`, `/v1/groups`).

use std::sync::Arc;

use crate::metric::{Number, Shape};
use crate::time::EpochMs;

/// The newest numbers of one metric. They are those of the board.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// The metric's name.
    pub metric: String,
    /// Its title.
    pub title: String,
    /// Unit of the values, e.g. `EUR`; empty for counts.
    pub unit: String,
    /// What window the numbers cover, in words.
    pub window: String,
    /// Names of the labels; none for a metric without groups.
    pub labels: Vec<String>,
    /// What the numbers look like.
    pub shape: Shape,
    /// What they are numbers of: the field; empty where there is none.
    pub field: String,
    /// The numbers are of a window that began before the metric counted: since when it does.
    pub warming_since: Option<EpochMs>,
    /// One number for each group, or a single one.
    pub groups: Vec<Row>,
}

/// The newest number of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// A value for each label.
    pub labels: Arc<Vec<String>>,
    /// `None`: there is no number, such as the average of nothing.
    pub value: Option<Number>,
    /// It holds everything beyond the metric's `group_limit`.
    pub overflow: bool,
}

impl Figure {
    /// The numbers of the groups in [`groups`](Self::groups), the greatest first, at most so many; a list
    /// or a histogram is as great as what it is made of. Groups without a number come last, of equal
    /// ones that which came up first. What holds everything beyond the metric's `group_limit` is no
    /// group: it stands behind them, whatever it is and however many they are.
    pub fn greatest(&self, most: usize) -> Vec<usize> {
        let weight = |number: &Number| number.scalar().unwrap_or(number.facts() as f64);
        let weights: Vec<Option<f64>> =
            self.groups.iter().map(|row| row.value.as_ref().map(weight)).collect();
        let (other, mut groups): (Vec<usize>, Vec<usize>) =
            (0..self.groups.len()).partition(|n| self.groups[*n].overflow);
        let order = |a: &usize, b: &usize| {
            let by_value = match (weights[*a], weights[*b]) {
                (Some(a), Some(b)) => b.total_cmp(&a),
                (a, b) => b.is_some().cmp(&a.is_some()),
            };
            by_value.then(a.cmp(b))
        };
        if groups.len() > most {
            groups.select_nth_unstable_by(most, order);
            groups.truncate(most);
        }
        groups.sort_unstable_by(order);
        groups.extend(other);
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(values: &[Option<f64>]) -> Figure {
        let row = |value: &Option<f64>| Row { value: value.map(Number::from), ..Row::default() };
        Figure { groups: values.iter().map(row).collect(), ..Figure::default() }
    }

    #[test]
    fn the_greatest_groups_come_first_and_what_is_no_group_last() {
        let mut figure = figure(&[Some(1.0), None, Some(7.0), Some(-2.0), Some(7.0), Some(900.0)]);
        figure.groups[5].overflow = true;
        assert_eq!(figure.greatest(9), [2, 4, 0, 3, 1, 5]);
        assert_eq!(figure.greatest(5), [2, 4, 0, 3, 1, 5]);
        assert_eq!(figure.greatest(3), [2, 4, 0, 5]);
        assert_eq!(figure.greatest(1), [2, 5]);
        assert_eq!(Figure::default().greatest(3), [0usize; 0]);
    }

    #[test]
    fn a_list_is_as_great_as_what_it_is_made_of() {
        let counts = |counts: [u64; 2]| Row {
            value: Some(Number::Histogram(counts.into())),
            ..Row::default()
        };
        let figure = Figure { groups: vec![counts([1, 2]), counts([0, 9])], ..Figure::default() };
        assert_eq!(figure.greatest(1), [1]);
    }
}
