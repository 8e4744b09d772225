//! The laws of diffs, on random states: two unrelated ones, and ones that grow into
//! each other the way topics do (rings overflow, last points are replaced, rows are
//! added). Each is shown for the typed change and for the JSON that a client reads.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::board::client::Client;
use crate::board::feed::{Feeds, Position};
use crate::board::frame::join;
use crate::board::{Board, Topic, TopicAbout};

/// What happens to a topic between two versions.
#[derive(Clone, Debug)]
enum Step {
    Grow(u8),
    Touch(u8, u64),
    Widen,
    Remove(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u8..4).prop_map(Step::Grow),
        3 => (any::<u8>(), 0u64..5).prop_map(|(at, to)| Step::Touch(at, to)),
        1 => Just(Step::Widen),
        1 => any::<u8>().prop_map(Step::Remove),
    ];
    proptest::collection::vec(step, 0..6)
}

fn empty() -> impl Strategy<Value = TopicState> {
    (0usize..4, 1usize..6).prop_map(|(kind, capacity)| match kind {
        0 => TopicState::Map(BTreeMap::new()),
        1 => TopicState::Series(Series { capacity, ..Series::default() }),
        2 => TopicState::Grid(Grid { capacity, ..Grid::default() }),
        _ => TopicState::Log(Log { capacity, ..Log::default() }),
    })
}

fn state() -> impl Strategy<Value = TopicState> {
    (empty(), steps()).prop_map(|(mut state, steps)| {
        steps.iter().for_each(|step| evolve(&mut state, step));
        state
    })
}

fn history() -> impl Strategy<Value = Vec<TopicState>> {
    (empty(), proptest::collection::vec(steps(), 1..16)).prop_map(|(first, versions)| {
        let mut history = vec![first];
        for steps in versions {
            let mut next = history[history.len() - 1].clone();
            steps.iter().for_each(|step| evolve(&mut next, step));
            history.push(next);
        }
        history
    })
}

fn evolve(state: &mut TopicState, step: &Step) {
    match (state, step) {
        (TopicState::Map(values), Step::Grow(n)) => {
            values.insert(format!("k{n}"), json!(n));
        }
        (TopicState::Map(values), Step::Touch(at, to)) => {
            values.insert(format!("k{}", at % 4), if *to == 0 { Value::Null } else { json!(to) });
        }
        (TopicState::Map(values), Step::Remove(n)) => {
            values.remove(&format!("k{}", n % 4));
        }
        (TopicState::Series(series), Step::Grow(n)) => {
            for _ in 0..*n {
                let at = series.points.back().map_or(1_000, |(at, _)| at + 1_000);
                series.points.push_back((at, vec![Some(f64::from(*n) / 4.0), None]));
            }
            keep_newest(&mut series.points, series.capacity);
        }
        (TopicState::Series(series), Step::Touch(at, to)) => {
            let len = series.points.len().max(1);
            if let Some((_, values)) = series.points.get_mut(usize::from(*at) % len) {
                values[1] = Some(*to as f64 / 8.0);
            }
        }
        (TopicState::Grid(grid), Step::Grow(n)) => {
            for _ in 0..*n {
                let at = grid.columns.back().map_or(1_000, |(at, _)| at + 1_000);
                grid.columns.push_back((at, Arc::new(vec![1; grid.rows.len()])));
            }
            keep_newest(&mut grid.columns, grid.capacity);
        }
        (TopicState::Grid(grid), Step::Touch(at, to)) => {
            let (rows, len) = (grid.rows.len().max(1), grid.columns.len().max(1));
            if let Some((at, _)) = grid.columns.get(usize::from(*at) % len).cloned() {
                set_cell(grid, at, *to as usize % rows, *to);
            }
        }
        (TopicState::Grid(grid), Step::Widen) => {
            let row = vec![format!("r{}", grid.rows.len()), "503".into()];
            Arc::make_mut(&mut grid.rows).push(row);
        }
        (TopicState::Log(log), Step::Grow(n)) => {
            for _ in 0..*n {
                let n = log_position(log) + 1;
                let body = json!({"title": "t"});
                log.items.push_back(Arc::new(LogItem { n, id: format!("{n:x}"), body }));
                keep_newest(&mut log.items, log.capacity);
            }
        }
        _ => {}
    }
}

/// A grid's columns may leave zeros at the end away.
fn normal(mut state: TopicState) -> TopicState {
    if let TopicState::Grid(grid) = &mut state {
        for (_, counts) in &mut grid.columns {
            Arc::make_mut(counts).resize(grid.rows.len(), 0);
        }
    }
    state
}

fn after(old: &TopicState, new: &TopicState) -> TopicState {
    match diff(old, new) {
        Difference::Same => old.clone(),
        Difference::Whole => new.clone(),
        Difference::Change(change) => {
            let mut state = old.clone();
            apply(&mut state, &change);
            state
        }
    }
}

/// A client that takes only some versions, over the wire.
struct Reader {
    feeds: Feeds,
    client: Client,
    position: Option<Position>,
    version: u64,
}

impl Reader {
    fn new() -> Self {
        Reader {
            feeds: Feeds::new("n".into()),
            client: Client::default(),
            position: None,
            version: 0,
        }
    }

    fn publish(&mut self, state: &TopicState) {
        self.version += 1;
        let topic = Topic { about: TopicAbout::default(), state: state.clone() };
        let topics = BTreeMap::from([("t".to_owned(), Arc::new(topic))]);
        self.feeds.absorb(&Board { version: self.version, topics, ..Board::default() });
    }

    fn read(&mut self) -> TopicState {
        let mut messages = self.feeds.messages(0, self.position);
        if self.position.is_none() {
            messages.insert(0, self.feeds.subscribed(None, 0));
        }
        self.position = Some(self.feeds.head(0));
        if !messages.is_empty() {
            let frame: Value = serde_json::from_str(&join(&messages)).unwrap();
            self.client.read_frame(&frame).unwrap();
        }
        self.client.topics[&0].state.clone().unwrap()
    }
}

proptest! {
    #[test]
    fn a_diff_applied_to_the_old_state_gives_the_new_one(old in state(), new in state()) {
        prop_assert_eq!(normal(after(&old, &new)), normal(new));
    }

    #[test]
    fn every_version_follows_from_the_one_before(history in history()) {
        for pair in history.windows(2) {
            prop_assert_eq!(normal(after(&pair[0], &pair[1])), normal(pair[1].clone()));
        }
    }

    #[test]
    fn a_client_that_misses_versions_still_ends_with_the_latest_state(
        history in history(),
        reads in proptest::collection::vec(any::<bool>(), 16),
    ) {
        let mut reader = Reader::new();
        for (state, reads) in history.iter().zip(reads) {
            reader.publish(state);
            if reads {
                prop_assert_eq!(normal(reader.read()), normal(state.clone()));
            }
        }
    }

    #[test]
    fn unrelated_states_are_carried_over_the_wire(old in state(), new in state()) {
        let mut reader = Reader::new();
        reader.publish(&old);
        reader.read();
        if std::mem::discriminant(&old) == std::mem::discriminant(&new) {
            reader.publish(&new);
            prop_assert_eq!(normal(reader.read()), normal(new));
        }
    }
}

fn series(capacity: usize, points: &[(EpochMs, f64)]) -> TopicState {
    let points = points.iter().map(|(at, value)| (*at, vec![Some(*value)])).collect();
    TopicState::Series(Series { capacity, points })
}

#[track_caller]
fn check_series(old: &[(EpochMs, f64)], new: &[(EpochMs, f64)], expected: Option<&[EpochMs]>) {
    let times = match diff(&series(3, old), &series(3, new)) {
        Difference::Change(Change::Series(points)) => Some(points),
        _ => None,
    };
    let times = times.map(|points| points.iter().map(|(at, _)| *at).collect::<Vec<_>>());
    assert_eq!(times.as_deref(), expected);
}

#[test]
fn a_series_diff_names_only_what_is_new() {
    check_series(&[(1, 1.0)], &[(1, 1.0), (2, 2.0)], Some(&[2]));
    check_series(&[(1, 1.0), (2, 2.0)], &[(1, 1.0), (2, 3.0)], Some(&[2]));
    let full = [(1, 1.0), (2, 2.0), (3, 3.0)];
    check_series(&full, &[(2, 2.0), (3, 3.5), (4, 4.0)], Some(&[3, 4]));
}

#[test]
fn a_series_that_did_not_grow_from_the_old_one_is_sent_whole() {
    let full = [(1, 1.0), (2, 2.0), (3, 3.0)];
    check_series(&full, &[(2, 2.0), (3, 3.0)], None);
    check_series(&full, &[(7, 1.0), (8, 2.0), (9, 3.0)], None);
    check_series(&[(1, 1.0), (3, 3.0)], &[(1, 1.0), (2, 2.0), (3, 3.0)], None);
    assert_eq!(diff(&series(3, &full), &series(4, &full)), Difference::Whole);
}

#[test]
fn a_grid_diff_has_new_rows_new_columns_and_changed_cells() {
    let row = |name: &str| vec![name.to_owned()];
    let grid = |rows: &[&str], columns: &[(EpochMs, &[u64])]| {
        let columns = columns.iter().map(|(at, counts)| (*at, Arc::new(counts.to_vec()))).collect();
        let rows = Arc::new(rows.iter().map(|r| row(r)).collect());
        TopicState::Grid(Grid { capacity: 2, rows, columns })
    };
    let old = grid(&["a"], &[(1, &[1]), (2, &[2])]);
    let new = grid(&["a", "b"], &[(2, &[2, 5]), (3, &[0, 1])]);
    let expected =
        Change::Grid { rows: vec![row("b")], columns: vec![3], cells: vec![(2, 1, 5), (3, 1, 1)] };
    assert_eq!(diff(&old, &new), Difference::Change(expected));
    assert_eq!(diff(&new, &old), Difference::Whole);
}

fn log(capacity: usize, numbers: std::ops::RangeInclusive<u64>) -> Log {
    let item = |n| Arc::new(LogItem { n, id: n.to_string(), body: json!({}) });
    Log { capacity, items: numbers.map(item).collect() }
}

#[test]
fn a_log_tail_names_what_is_missing() {
    let check = |after, max, missing, first| {
        let tail = log_tail(&log(4, 5..=8), after, max);
        assert_eq!((tail.missing, tail.items.first().map(|item| item.n)), (missing, first));
    };
    check(6, 10, None, Some(7));
    check(8, 10, None, None);
    check(2, 10, Some((3, 4)), Some(5));
    check(4, 2, Some((5, 6)), Some(7));
}

#[test]
fn a_log_that_went_back_is_another_log() {
    let state = |numbers| TopicState::Log(log(4, numbers));
    assert_eq!(diff(&state(1..=4), &state(1..=3)), Difference::Whole);
    let mut other = log(4, 1..=4);
    other.items[3] = Arc::new(LogItem { n: 4, id: "other".into(), body: json!({}) });
    assert_eq!(diff(&state(1..=4), &TopicState::Log(other)), Difference::Whole);
}
