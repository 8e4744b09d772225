//! Metrics that are drawn: any aggregate over any window, as the configuration has it and as the
//! model does. So each of one is tried with each of the other, sooner or later.

use super::events::Random;
use super::model::{Metric, Near, What, Windows};

/// In hundredths.
pub const BOUNDS: &[i64] = &[-10_000, 0, 9_999, 100_000];

/// Events in a sample: the fewest that can be configured.
pub const SAMPLE: usize = 64;

/// An aggregate: its keys, what it says, and how exactly.
struct Aggregate(&'static str, What, Near);

const SKETCH: f64 = 0.05;

const AGGREGATES: &[Aggregate] = &[
    Aggregate("aggregate = \"count\"", What::Count, Near::Exact),
    Aggregate("aggregate = \"sum\"\nfield = \"amount\"", What::Sum, Near::Exact),
    Aggregate("aggregate = \"avg\"\nfield = \"amount\"", What::Avg, Near::Exact),
    Aggregate("aggregate = \"stddev\"\nfield = \"amount\"", What::Stddev, Near::Exact),
    Aggregate("aggregate = \"min\"\nfield = \"amount\"", What::Min, Near::Exact),
    Aggregate("aggregate = \"max\"\nfield = \"amount\"", What::Max, Near::Exact),
    Aggregate("aggregate = \"first\"\nfield = \"amount\"", What::First, Near::Exact),
    Aggregate("aggregate = \"last\"\nfield = \"amount\"", What::Last, Near::Exact),
    Aggregate("aggregate = \"delta\"\nfield = \"amount\"", What::Delta, Near::Exact),
    Aggregate(
        "aggregate = \"quantile\"\nfield = \"amount\"\nquantile = 0.5",
        What::Quantile(50),
        Near::Share(0.01),
    ),
    Aggregate(
        "aggregate = \"quantile\"\nfield = \"amount\"\nquantile = 0.9\nerror = 0.001",
        What::Quantile(90),
        Near::Share(0.001),
    ),
    Aggregate(
        "aggregate = \"quantile\"\nfield = \"amount\"\nquantile = 0\nerror = 0.1",
        What::Quantile(0),
        Near::Share(0.1),
    ),
    Aggregate("aggregate = \"distinct\"", What::Users, Near::Exact),
    Aggregate("aggregate = \"distinct\"\nfield = \"region\"", What::Places, Near::Exact),
    Aggregate(
        "aggregate = \"distinct\"\nfield = \"region\"\nexact_up_to = 3",
        What::Places,
        Near::Estimate { exact_up_to: 3.0, share: SKETCH },
    ),
    Aggregate(
        "aggregate = \"distinct\"\nfield = \"amount\"\nexact_up_to = 8",
        What::Amounts,
        Near::Estimate { exact_up_to: 8.0, share: SKETCH },
    ),
    Aggregate(
        "aggregate = \"ratio\"\nnumerator = { type = \"add\" }",
        What::Share("add"),
        Near::Exact,
    ),
    Aggregate("aggregate = \"topk\"\nfield = \"region\"\ntop = 4", What::Regions(4), Near::Exact),
    Aggregate(
        "aggregate = \"topk\"\nfield = \"region\"\ntop = 3\nvalues_max = 2\nsample = 64",
        What::Sampled { most: 3, regions: 2, events: SAMPLE },
        Near::Exact,
    ),
    Aggregate(
        "aggregate = \"histogram\"\nfield = \"amount\"\nbounds = [-100, 0, 99.99, 1000]",
        What::Buckets(BOUNDS),
        Near::Exact,
    ),
    Aggregate("aggregate = \"rate\"", What::Rate, Near::Exact),
];

/// Of a window: its keys, and what is special about it.
pub struct Window {
    pub text: &'static str,
    pub metric: Metric,
    /// Its windows are all as long, so that there is a rate.
    pub even: bool,
}

impl Window {
    pub fn new(text: &'static str, windows: Windows) -> Window {
        Window { text, metric: Metric::new("", What::Count, windows), even: false }
    }
}

/// A metric for each aggregate and one for each window at least, with the text that declares them;
/// `keep` is the history of those that have one.
pub fn drawn(random: &mut Random, windows: &[Window], keep: &str) -> (String, Vec<Metric>) {
    let (mut text, mut metrics) = (String::new(), Vec::new());
    let any = |random: &mut Random, len: usize| random.below(len as u64) as usize;
    let fits =
        |aggregate: usize, window: &Window| AGGREGATES[aggregate].1 != What::Rate || window.even;
    let mut pairs: Vec<(usize, &Window)> = Vec::new();
    for aggregate in 0..AGGREGATES.len() {
        let fitting: Vec<&Window> = windows.iter().filter(|one| fits(aggregate, one)).collect();
        pairs.extend(fitting.get(any(random, fitting.len())).map(|window| (aggregate, *window)));
    }
    for window in windows {
        let aggregate = any(random, AGGREGATES.len());
        let aggregate = if fits(aggregate, window) { aggregate } else { 0 };
        pairs.push((aggregate, window));
    }
    for (number, (aggregate, window)) in pairs.into_iter().enumerate() {
        let Aggregate(keys, what, near) = &AGGREGATES[aggregate];
        let metric = Metric {
            name: format!("drawn_{number}"),
            kind: ["", "", "buy"][any(random, 3)],
            what: *what,
            near: *near,
            by_region: random.one_in(2),
            limit: 1 + any(random, 4),
            ..window.metric.clone()
        };
        text += &format!("[[metric]]\nname = \"{}\"\n{keys}\n{}\n", metric.name, window.text);
        if !metric.kind.is_empty() {
            text += &format!("where = {{ type = \"{}\" }}\n", metric.kind);
        }
        if metric.by_region {
            text += &format!("group_by = [\"region\"]\ngroup_limit = {}\n", metric.limit);
            // Else a group leaves that was silent for a day, and the model has them for good.
            text += "group_silence = \"0s\"\n";
        }
        if !what.has_parts() {
            text += keep;
        }
        metrics.push(metric);
    }
    (text, metrics)
}
