//! What a board has in common with the one before it is held once: a few versions of each topic
//! are remembered (`feed`), and most of a version is what it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Grid, Topic, TopicState};

/// The topics, each as a whole or column by column the one of `former` where it is the same.
pub fn with(
    former: &BTreeMap<String, Arc<Topic>>,
    mut topics: BTreeMap<String, Arc<Topic>>,
) -> BTreeMap<String, Arc<Topic>> {
    for (name, topic) in &mut topics {
        let Some(known) = former.get(name) else { continue };
        if known == topic {
            *topic = Arc::clone(known);
        } else if let TopicState::Grid(known) = &known.state
            && let TopicState::Grid(grid) = &mut Arc::make_mut(topic).state
        {
            share_grid(known, grid);
        }
    }
    topics
}

fn share_grid(known: &Grid, grid: &mut Grid) {
    if known.rows == grid.rows {
        grid.rows = Arc::clone(&known.rows);
    }
    let mut known = known.columns.iter().peekable();
    for (at, counts) in &mut grid.columns {
        while known.next_if(|(before, _)| before < at).is_some() {}
        if let Some((_, same)) = known.next_if(|(then, same)| then == at && same == counts) {
            *counts = Arc::clone(same);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::board::TopicAbout;

    fn grid(rows: usize, columns: std::ops::Range<i64>, newest: u64) -> Arc<Topic> {
        let column = |at: i64| {
            let count = if at + 1 == columns.end { newest } else { at as u64 };
            (at, Arc::new(vec![count; rows]))
        };
        let state = TopicState::Grid(Grid {
            capacity: 60,
            rows: Arc::new((0..rows).map(|n| vec![format!("r{n}")]).collect()),
            columns: columns.clone().map(column).collect(),
        });
        Arc::new(Topic { about: TopicAbout::default(), state })
    }

    /// Nine versions of a grid take little more than one.
    #[test]
    fn versions_of_a_grid_share_the_columns_that_are_the_same() {
        let mut versions: Vec<BTreeMap<String, Arc<Topic>>> = Vec::new();
        for version in 0..9i64 {
            // Every second version a column is new; the newest one goes on counting.
            let first = version / 2;
            let topic = grid(400, first..first + 60, 1_000 + version as u64);
            let fresh = BTreeMap::from([("errors".to_owned(), Arc::clone(&topic))]);
            let shared = with(versions.last().unwrap_or(&BTreeMap::new()), fresh);
            assert_eq!(shared["errors"], topic, "sharing changes nothing");
            versions.push(shared);
        }
        let grids = versions.iter().map(|topics| match &topics["errors"].state {
            TopicState::Grid(grid) => grid,
            other => panic!("{other:?}"),
        });
        let columns: BTreeSet<_> =
            grids.clone().flat_map(|g| g.columns.iter().map(|(_, c)| Arc::as_ptr(c))).collect();
        let rows: BTreeSet<_> = grids.map(|grid| Arc::as_ptr(&grid.rows)).collect();
        assert_eq!(rows.len(), 1);
        // 60, then in each version the newest one, and the one that it was before.
        assert!(columns.len() <= 60 + 2 * 8, "{}", columns.len());
    }

    #[test]
    fn a_topic_that_is_the_same_is_the_former_one() {
        let former = BTreeMap::from([("errors".to_owned(), grid(3, 0..4, 7))]);
        let same = with(&former, BTreeMap::from([("errors".to_owned(), grid(3, 0..4, 7))]));
        assert!(Arc::ptr_eq(&same["errors"], &former["errors"]));
        // More rows, fewer columns, another time: nothing is taken for what it is not.
        for other in [grid(4, 0..4, 7), grid(3, 1..4, 7), grid(3, 9..13, 7), grid(3, 0..4, 8)] {
            let topics = BTreeMap::from([("errors".to_owned(), Arc::clone(&other))]);
            assert_eq!(with(&former, topics)["errors"], other);
        }
    }
}
