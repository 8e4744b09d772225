//! The laws of every aggregate of the list, over facts that it was fed.

use proptest::prelude::*;

use super::*;
use crate::event::Schema;
use crate::metric::{Attr, Condition, MetricSpec, Order, Test, WindowSpec};
use crate::number::Decimal;
use crate::time::EpochMs;

struct Sample {
    number: i64,
    place: u64,
    key: [u8; 8],
}

impl Fact for Sample {
    fn at(&self) -> EpochMs {
        0
    }
    fn event_type(&self) -> u16 {
        0
    }
    fn key(&self) -> &[u8] {
        &self.key
    }
    fn order(&self) -> Order {
        Order::Event { batch: 0, position: self.place, part: 0 }
    }
    fn in_order(&self) -> bool {
        true
    }
    fn attr(&self, _: usize) -> Attr<'_> {
        Attr::Number(Decimal::from_i64(self.number))
    }
}

/// A metric of an aggregate, with whatever that needs.
fn metric(aggregate: Aggregate, window: WindowSpec) -> Metric {
    let has_field = !matches!(aggregate.needs(), Needs::Nothing | Needs::Numerator);
    let positive = Condition { attribute: "n".into(), test: Test::Gt(Decimal::from_i64(0)) };
    let spec = MetricSpec {
        numerator: vec![positive],
        field: has_field.then(|| "n".to_owned()),
        ..MetricSpec::new("m", aggregate, window)
    };
    Metric::compile(&spec, &Schema { slots: vec!["n".into()], ..Schema::default() })
}

/// Every aggregate, and some of them with bounds that are soon reached.
pub(super) fn aggregates() -> Vec<Aggregate> {
    let mut all = Aggregate::all();
    all.push(Distinct { exact_up_to: 8 }.into());
    all.push(TopK { top: 3, values_max: 8, sample: 16 }.into());
    all
}

fn cell(metric: &Metric, values: &[(i64, u64)]) -> Cell {
    let mut cell = metric.open();
    for (number, place) in values {
        let sample = Sample { number: *number, place: *place, key: number.to_le_bytes() };
        metric.add(&sample, &mut cell);
    }
    cell.settle();
    cell
}

/// Windows of panes, and those whose cells keep facts apart.
fn windows() -> [WindowSpec; 8] {
    let last = |num| WindowSpec::Last { num, slide: 1_000 };
    let sliding = |numbers| WindowSpec::Sliding { size: 60_000, slide: 1_000, numbers };
    [
        WindowSpec::Tumbling { size: 1_000 },
        last(1),
        last(7),
        WindowSpec::Since { event: "begin".into(), slide: 1_000 },
        WindowSpec::Burst { gap: 1_000, slide: 1_000 },
        sliding(1),
        sliding(5),
        sliding(1_000),
    ]
}

/// Cells are many: a float more in each is felt.
#[test]
fn a_cell_is_small() {
    assert!(size_of::<Cell>() <= 48, "{}", size_of::<Cell>());
}

#[test]
fn words_and_numbers_of_aggregates_are_their_own() {
    let all = Aggregate::all();
    for one in &all {
        assert_eq!(Aggregate::named(one.word()).as_ref(), Some(one));
        let mut bytes = Vec::new();
        one.zero().encode(&mut bytes);
        let read = Cell::decode(&mut Reader::new(&bytes)).unwrap();
        let owners: Vec<_> = all.iter().filter(|other| other.zero().takes(&read)).collect();
        assert_eq!(owners, [one]);
        assert_eq!(one.counted(3).is_some(), one.needs() == Needs::Nothing);
    }
}

proptest! {
    #[test]
    fn cells_merge_in_any_order_have_a_zero_and_read_back(
        aggregate in prop::sample::select(aggregates()),
        window in prop::sample::select(windows().to_vec()),
        values in prop::collection::vec(prop_oneof![-40i64..40, -5_000_000i64..5_000_000], 0..60),
        cuts in (0usize..60, 0usize..60),
    ) {
        let metric = metric(aggregate.clone(), window);
        let values: Vec<(i64, u64)> = values.into_iter().zip(0..).collect();
        let (first, last) = (cuts.0.min(cuts.1).min(values.len()), cuts.0.max(cuts.1).min(values.len()));
        let (a, b) = (cell(&metric, &values[..first]), cell(&metric, &values[first..last]));
        let c = cell(&metric, &values[last..]);
        let merge = |x: &Cell, y: &Cell| { let mut z = x.clone(); z.merge(y); z };
        let whole = cell(&metric, &values);
        // What it says; two sketches of the same values need not have the same bytes.
        let said = |cell: &Cell| (aggregate.value(cell, 1_000), cell.count(), cell.sum().to_bits());
        prop_assert_eq!(said(&merge(&merge(&a, &b), &c)), said(&whole));
        prop_assert_eq!(said(&merge(&a, &merge(&b, &c))), said(&whole));
        prop_assert_eq!(said(&merge(&merge(&c, &a), &b)), said(&whole));
        prop_assert_eq!(said(&merge(&whole, &metric.open())), said(&whole));
        // Minutes hold all of it, whatever a window keeps.
        let mut all = aggregate.zero();
        [&a, &b, &c].into_iter().for_each(|part| all.merge(&part.of_minute()));
        prop_assert_eq!(said(&whole.of_minute()), said(&all));
        let of_window = |cell: &Cell| said(&cell.of_window());
        let parts = merge(&merge(&b.of_window(), &c.of_window()), &a.of_window());
        prop_assert_eq!(said(&parts), of_window(&whole));
        if a.subtracts() {
            let mut both = merge(&a, &b);
            both.subtract(&b);
            prop_assert_eq!(&both, &a);
        }
        let mut bytes = Vec::new();
        whole.encode(&mut bytes);
        let read = Cell::decode(&mut Reader::new(&bytes)).unwrap();
        prop_assert_eq!(said(&read), said(&whole));
        prop_assert!(metric.open().takes(&read) && whole.takes(&read));
        prop_assert!(metric.zero().takes(&whole.of_window()));
        bytes.truncate(bytes.len() - 1);
        prop_assert!(Cell::decode(&mut Reader::new(&bytes)).is_err());
    }
}
