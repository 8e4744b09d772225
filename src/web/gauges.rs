//! The metrics of the business in Prometheus' text format: every number of the board that
//! is one number, as a gauge, so that dashboards, alert rules and autoscalers can use it.
//!
//! Written when `/metrics` is asked for, from the board; nothing is kept. A group without
//! a number has no series.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use crate::domain::board::bound::label;
use crate::domain::board::figure::{Figure, Row};
use crate::domain::metric::{Number, Shape};

/// What the names begin with, so that none is taken for one of the process.
const PREFIX: &str = "tidewatch_metric_";

/// Since when a metric counts, while its numbers are of a window that began before; in seconds since
/// 1970.
const WARMING: &str = "tidewatch_warming_since_seconds";

const WARMING_HEAD: &str = "# HELP tidewatch_warming_since_seconds Since when a metric counts, in \
    event time, while its newest numbers are of a window that began before.\n\
    # TYPE tidewatch_warming_since_seconds gauge\n";

/// Marks the series of everything beyond a metric's `group_limit`.
const OVERFLOW: &str = "overflow";

/// The text, and how many series there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Prometheus text.
    pub text: String,
    /// Series in it.
    pub series: usize,
    /// Series that were left out because of the bound.
    pub left_out: usize,
}

/// Writes at most `series_max` series. When there are more, every metric gets an equal
/// part of them, its first groups.
pub fn gauges(figures: &[Figure], series_max: usize) -> Gauges {
    let all: Vec<Vec<Series<'_>>> = figures.iter().map(series).collect();
    let counts: Vec<usize> = all.iter().map(Vec::len).collect();
    let shares = shares(&counts, series_max);
    let mut gauges = Gauges::default();
    for ((figure, series), share) in figures.iter().zip(&all).zip(shares) {
        gauges.left_out += series.len() - share;
        gauges.series += share;
        write(figure, &series[..share], &mut gauges.text);
    }
    write_warming(figures, &mut gauges.text);
    gauges
}

/// The metrics whose windows are not whole yet.
fn write_warming(figures: &[Figure], text: &mut String) {
    let warming = figures.iter().filter_map(|figure| Some((&figure.metric, figure.warming_since?)));
    for (index, (metric, since)) in warming.enumerate() {
        if index == 0 {
            text.push_str(WARMING_HEAD);
        }
        let (metric, since) = (escaped_value(metric), number(since as f64 / 1_000.0));
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{WARMING}{{metric=\"{metric}\"}} {since}");
    }
}

/// One number on its own line.
struct Series<'a> {
    row: &'a Row,
    /// The value of a ranked list, or the bound of a histogram.
    of: Option<Cow<'a, str>>,
    number: f64,
}

/// A ranked list is a series for each value. A histogram is one for each bound, of how many are
/// not above it, as `histogram_quantile` of Prometheus takes them.
fn series(figure: &Figure) -> Vec<Series<'_>> {
    let mut found = Vec::new();
    for row in &figure.groups {
        match (&row.value, &figure.shape) {
            (Some(Number::Scalar(number)), _) => {
                found.push(Series { row, of: None, number: *number });
            }
            (Some(Number::Ranked(ranking)), _) => {
                for (value, count, _) in &ranking.top {
                    found.push(Series { row, of: Some(value.into()), number: *count as f64 });
                }
            }
            (Some(Number::Histogram(counts)), Shape::Histogram { bounds }) => {
                let mut below = 0;
                for (bound, count) in bounds.iter().chain([&f64::INFINITY]).zip(&counts[..]) {
                    below += count;
                    let of = Some(number(*bound).into());
                    found.push(Series { row, of, number: below as f64 });
                }
            }
            (None | Some(Number::Histogram(_)), _) => {}
        }
    }
    found
}

/// How many of each, when all together may be `max`: those that need less than an equal
/// part leave the rest to the others.
fn shares(counts: &[usize], max: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_unstable_by_key(|index| (counts[*index], *index));
    let (mut shares, mut left) = (vec![0; counts.len()], max);
    for (done, index) in order.iter().enumerate() {
        let part = left / (counts.len() - done);
        shares[*index] = counts[*index].min(part);
        left -= shares[*index];
    }
    shares
}

fn write(figure: &Figure, series: &[Series<'_>], text: &mut String) {
    if series.is_empty() {
        return;
    }
    let mut labels = figure.labels.clone();
    let mut name = format!("{PREFIX}{}", identifier(&figure.metric));
    match figure.shape {
        Shape::Scalar => {}
        Shape::Ranked if figure.field.is_empty() => labels.push("key".to_owned()),
        Shape::Ranked => labels.push(figure.field.clone()),
        Shape::Histogram { .. } => {
            name.push_str("_bucket");
            labels.push("le".to_owned());
        }
    }
    let unit = if figure.unit.is_empty() { "" } else { &format!(" in {}", figure.unit) };
    let window = if figure.window.is_empty() { "" } else { &format!(", {}", figure.window) };
    let help = escaped_help(&format!("{}{unit}{window}.", figure.title));
    // Writing to a text cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    let names = label_names(&labels);
    for Series { row, of, number: value } in series {
        let values = row.labels.iter().map(|value| label(value)).chain(of.clone());
        let mut pairs: Vec<String> = names
            .iter()
            .zip(values)
            .map(|(name, value)| format!("{name}=\"{}\"", escaped_value(&value)))
            .collect();
        if row.overflow {
            pairs.push(format!("{OVERFLOW}=\"true\""));
        }
        let labels =
            if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(text, "{name}{labels} {}", number(*value));
    }
}

/// A number as Prometheus reads it.
fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}

/// A name of letters, digits and `_`, which does not begin with a digit.
fn identifier(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(allowed).collect();
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() => name,
        _ => format!("_{name}"),
    }
}

/// Label names: no two alike, none that Prometheus keeps for itself (`__…`), none of ours.
fn label_names(labels: &[String]) -> Vec<String> {
    let mut taken = HashSet::from([OVERFLOW.to_owned()]);
    labels
        .iter()
        .map(|name| {
            let name = identifier(name);
            let plain = match name.strip_prefix("__") {
                Some(rest) => format!("_{}", rest.trim_start_matches('_')),
                None => name,
            };
            let mut free = plain.clone();
            let mut number = 2;
            while !taken.insert(free.clone()) {
                free = format!("{}_{number}", plain.trim_end_matches('_'));
                number += 1;
            }
            free
        })
        .collect()
}

fn escaped_value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

fn escaped_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::metric::number::Ranking;

    type Series = (String, BTreeMap<String, String>);

    /// Reads the format by its own rules; panics where a scraper would refuse it.
    fn read(text: &str) -> BTreeMap<Series, f64> {
        let (mut found, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        let mut current = String::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (what, name) = (words.next().unwrap(), words.next().unwrap());
                if what == "TYPE" {
                    assert_eq!(words.next(), Some("gauge"));
                    assert!(kinds.insert(name.to_owned(), ()).is_none(), "{name} comes twice");
                    current = name.into();
                }
                continue;
            }
            let end = line.find(['{', ' ']).unwrap();
            let (name, mut rest) = line.split_at(end);
            assert_eq!(name, current, "series stand below their type");
            let mut labels = BTreeMap::new();
            if let Some(inner) = rest.strip_prefix('{') {
                rest = inner;
                while !rest.starts_with('}') {
                    let (label, value) = rest.split_once("=\"").unwrap();
                    let label = label.trim_start_matches(',');
                    let first = label.chars().next().unwrap();
                    assert!(first.is_ascii_alphabetic() || first == '_', "{label}");
                    assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
                    assert!(!label.starts_with("__"), "{label}");
                    let (mut text, mut chars) = (String::new(), value.char_indices());
                    let after = loop {
                        match chars.next().unwrap() {
                            (at, '"') => break at + 1,
                            (_, '\\') => text.push(match chars.next().unwrap().1 {
                                'n' => '\n',
                                other => other,
                            }),
                            (_, other) => text.push(other),
                        }
                    };
                    assert!(labels.insert(label.to_owned(), text).is_none(), "{label} twice");
                    rest = &value[after..];
                }
                rest = &rest[1..];
            }
            let value = rest.strip_prefix(' ').unwrap().parse().unwrap();
            let series = (name.to_owned(), labels);
            assert!(found.insert(series.clone(), value).is_none(), "{series:?} comes twice");
        }
        found
    }

    fn figure(metric: &str, labels: &[&str], groups: Vec<(Vec<String>, Option<f64>)>) -> Figure {
        let row = |(labels, value): (Vec<String>, Option<f64>)| Row {
            labels: Arc::new(labels),
            value: value.map(Number::from),
            overflow: false,
        };
        Figure {
            metric: metric.into(),
            title: "Title".into(),
            labels: labels.iter().map(ToString::to_string).collect(),
            groups: groups.into_iter().map(row).collect(),
            ..Figure::default()
        }
    }

    #[test]
    fn a_number_is_a_gauge_with_its_unit_and_window() {
        let revenue = Figure {
            unit: "EUR".into(),
            window: "since midnight, UTC".into(),
            ..figure("revenue", &[], vec![(vec![], Some(59.9))])
        };
        let silent = figure("order_value", &[], vec![(vec![], None)]);
        let text = gauges(&[revenue, silent], 10).text;
        assert_eq!(
            text,
            "# HELP tidewatch_metric_revenue Title in EUR, since midnight, UTC.\n\
             # TYPE tidewatch_metric_revenue gauge\n\
             tidewatch_metric_revenue 59.9\n"
        );
    }

    #[test]
    fn a_list_is_a_series_for_each_value_and_a_histogram_one_for_each_bound() {
        let top = vec![("a\"b".to_owned(), 3, 0), ("c".to_owned(), 1, 1)];
        let row = |value| vec![Row { value: Some(value), ..Row::default() }];
        let pages = Figure {
            shape: Shape::Ranked,
            field: "page.url".into(),
            groups: row(Number::Ranked(Box::new(Ranking { of: 9, top }))),
            ..figure("pages", &[], vec![])
        };
        let latency = Figure {
            shape: Shape::Histogram { bounds: vec![0.5, 10.0] },
            groups: row(Number::Histogram([2, 0, 3].into())),
            ..figure("latency", &[], vec![])
        };
        let gauges = gauges(&[pages, latency], 10);
        assert_eq!((gauges.series, gauges.left_out), (5, 0));
        let lines: Vec<&str> =
            gauges.text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE tidewatch_metric_pages gauge",
                "tidewatch_metric_pages{page_url=\"a\\\"b\"} 3",
                "tidewatch_metric_pages{page_url=\"c\"} 1",
                "# TYPE tidewatch_metric_latency_bucket gauge",
                "tidewatch_metric_latency_bucket{le=\"0.5\"} 2",
                "tidewatch_metric_latency_bucket{le=\"10\"} 2",
                "tidewatch_metric_latency_bucket{le=\"+Inf\"} 5",
            ]
        );
        read(&gauges.text);
    }

    #[test]
    fn the_overflow_is_no_group_that_is_called_so() {
        let mut figure = figure("errors", &["region", "overflow", "a.b", "a_b"], Vec::new());
        let labels = Arc::new(vec!["other".to_string(); 4]);
        figure.groups = vec![
            Row { labels: labels.clone(), value: Some(1.0.into()), overflow: false },
            Row { labels, value: Some(2.0.into()), overflow: true },
        ];
        let found = read(&gauges(&[figure], 10).text);
        assert_eq!(found.len(), 2);
        let overflow = found.iter().find(|((_, labels), _)| labels.contains_key("overflow"));
        let ((_, labels), value) = overflow.unwrap();
        assert_eq!((*value, labels["overflow"].as_str()), (2.0, "true"));
        assert_eq!(labels.len(), 5, "{labels:?}");
    }

    #[test]
    fn a_bound_is_shared_by_the_metrics_and_said() {
        let groups = |n: usize| (0..n).map(|n| (vec![n.to_string()], Some(1.0))).collect();
        let figures = [
            figure("a", &["x"], groups(1_000)),
            figure("b", &["x"], groups(3)),
            figure("c", &["x"], groups(50)),
        ];
        let some = gauges(&figures, 40);
        assert_eq!((some.series, some.left_out), (40, 1_013));
        let of = |name: &str| some.text.lines().filter(|line| line.starts_with(name)).count();
        let counts = ["tidewatch_metric_a{", "tidewatch_metric_b{", "tidewatch_metric_c{"].map(of);
        assert_eq!(counts, [19, 3, 18]);
        assert_eq!(gauges(&figures, 0).text, "");
        assert_eq!(gauges(&figures, 2_000).left_out, 0);
    }

    proptest! {
        /// Whatever the labels hold, a scraper reads back one series for each number.
        #[test]
        fn any_labels_are_read_back(
            groups in prop::collection::btree_map(
                prop::collection::vec(".{0,6}|[\"\\\\\n{},= ]{0,6}|x{90,200}", 2),
                prop::option::of(-1e18f64..1e18),
                0..12,
            ),
            names in prop::collection::vec("[a-c_.]{0,3}|__name__|9x|é", 2),
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let figures = [figure("m", &names, groups.clone().into_iter().collect())];
            let found = read(&gauges(&figures, 100).text);
            let mut wanted: Vec<(Vec<String>, f64)> = groups
                .into_iter()
                .filter_map(|(labels, value)| {
                    Some((labels.iter().map(|text| label(text).into_owned()).collect(), value?))
                })
                .collect();
            let columns = label_names(&figures[0].labels);
            let mut read_back: Vec<(Vec<String>, f64)> = found
                .into_iter()
                .map(|((_, labels), value)| {
                    (columns.iter().map(|name| labels[name].clone()).collect(), value)
                })
                .collect();
            wanted.sort_by(|a, b| a.0.cmp(&b.0));
            read_back.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(read_back, wanted);
        }
    }
}
