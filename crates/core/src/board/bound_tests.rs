//! Whatever events bring, a topic fits its frame and labels stay apart.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::board::frame::{self, Stamp};
use crate::board::subscriber::WINDOW_BYTES;
use crate::board::{LogItem, TopicAbout};

fn snapshot_len(topic: &Topic) -> usize {
    let stamp = Stamp { incarnation: "node-18f0.0", n: u64::MAX, at: i64::MAX, watermark: 0 };
    frame::snapshot(1, stamp, topic).len()
}

fn fitted(state: TopicState) -> Arc<Topic> {
    let mut topic = Arc::new(Topic { about: TopicAbout::default(), state });
    fit_topic(&mut topic);
    let len = snapshot_len(&topic);
    assert!(len <= TOPIC_BYTES_MAX + 1_024, "{len}");
    assert!((len as u64) < WINDOW_BYTES);
    let mut again = Arc::clone(&topic);
    fit_topic(&mut again);
    assert_eq!(again.state, topic.state, "what fits stays as it is");
    topic
}

#[test]
fn long_labels_are_cut_and_never_look_the_same() {
    let same = |text: &str| assert_eq!(label(text), text);
    same("");
    same("eu-west-1");
    same(&"x".repeat(LABEL_BYTES_MAX));
    let (one, two) = ("x".repeat(8_000), format!("{}y", "x".repeat(7_999)));
    assert_ne!(label(&one), label(&two));
    assert_eq!(label(&one), label(&one.clone()));
    for text in [one, "é\u{1}\"".repeat(500), "\u{1}".repeat(50), "日本".repeat(60)] {
        let short = label(&text);
        assert!(json_len(&short) <= LABEL_BYTES_MAX && short.contains('…'), "{short}");
        assert!(text.starts_with(short.split('…').next().unwrap()));
    }
}

#[test]
fn a_grid_of_many_groups_or_long_labels_fits() {
    let grid = |rows: usize, columns: usize, label: &dyn Fn(usize) -> String, cell: u64| {
        TopicState::Grid(Grid {
            capacity: columns,
            rows: Arc::new((0..rows).map(|n| vec![label(n), "503".into()]).collect()),
            columns: (0..columns).map(|at| (at as i64, Arc::new(vec![cell; rows]))).collect(),
        })
    };
    let long = |n: usize| format!("{n:05}{}", "x".repeat(8_000));
    let short = |n: usize| format!("region-{n}");
    let TopicState::Grid(same) = &fitted(grid(50, 300, &short, 12)).state else { panic!() };
    assert_eq!((same.rows.len(), same.columns.len()), (50, 300), "the default one is whole");
    for (rows, columns, cell) in [(50, 300, 0), (1_000, 3_600, 7), (10_000, 60, u64::MAX)] {
        for label in [&long as &dyn Fn(usize) -> String, &short] {
            let topic = fitted(grid(rows, columns, label, cell));
            let TopicState::Grid(kept) = &topic.state else { panic!() };
            assert!(kept.rows.len() == rows.min(ROWS_MAX) && !kept.columns.is_empty());
            assert_eq!(kept.columns.back().unwrap().0, columns as i64 - 1, "the newest stay");
            let different: std::collections::BTreeSet<_> = kept.rows.iter().collect();
            assert_eq!(different.len(), kept.rows.len());
            let note = &topic.about.note;
            assert_eq!(note.contains("of 10000 groups"), rows == 10_000, "{note}");
        }
    }
}

#[test]
fn a_long_series_with_many_columns_fits() {
    let series = |width: usize, len: usize| {
        let point = |at| (at as i64, vec![Some(-0.123_456_789_012_345_67); width]);
        TopicState::Series(Series { capacity: len, points: (0..len).map(point).collect() })
    };
    let TopicState::Series(same) = &fitted(series(1, 3_600)).state else { panic!() };
    assert_eq!(same.points.len(), 3_600);
    let topic = fitted(series(20, 3_600));
    let TopicState::Series(cut) = &topic.state else { panic!() };
    assert!(cut.points.len() > 300 && cut.points.back().unwrap().0 == 3_599);
    assert!(topic.about.note.contains("of 3600 points"), "{}", topic.about.note);
}

#[test]
fn alerts_about_long_keys_fit() {
    let alert = |n: u64| {
        let key = "k".repeat(8_000);
        let body = json!({
            "kind": "abandoned", "subject": key, "title": format!("{key} left"), "at": n,
            "detail": {"key": key, "list": vec![key.clone(); 100], "deep": [[[[[[[key]]]]]]]},
        });
        Arc::new(LogItem { n, id: format!("{n:032x}"), body: item(body) })
    };
    let log = Log { capacity: 500, items: (1..=500).map(alert).collect() };
    let topic = fitted(TopicState::Log(log));
    let TopicState::Log(kept) = &topic.state else { panic!() };
    assert!(kept.items.len() >= 20 && kept.items.back().unwrap().n == 500);
    let plain = |n: u64| {
        let body = json!({"kind": "abandoned", "subject": "u1", "title": "u1 left", "at": n});
        Arc::new(LogItem { n, id: format!("{n:032x}"), body: item(body) })
    };
    let log = Log { capacity: 500, items: (1..=500).map(plain).collect() };
    let TopicState::Log(kept) = &fitted(TopicState::Log(log)).state else { panic!() };
    assert_eq!(kept.items.len(), 500);
}

#[test]
fn a_map_of_many_names_fits_and_says_how_many_are_missing() {
    let map = (0..20_000).map(|n| (format!("{n:05}{}", "x".repeat(300)), json!(n))).collect();
    let topic = fitted(TopicState::Map(map));
    assert!(topic.about.note.contains("of 20000 entries"), "{}", topic.about.note);
    fitted(TopicState::Map([("reason".into(), json!("x".repeat(900_000)))].into()));
}

proptest! {
    #[test]
    fn any_label_is_short_and_tells_what_it_was(one: String, copies in 0usize..40, two: String) {
        let (one, two) = (one.repeat(copies), two.repeat(copies));
        prop_assert!(json_len(&label(&one)) <= LABEL_BYTES_MAX);
        prop_assert_eq!(label(&one) == label(&two), one == two);
        let text = serde_json::to_string(&one).unwrap();
        prop_assert!(json_len(&one) + 2 >= text.len(), "{text}");
    }
}
