//! Shows that the numbers are those of the definitions, for any log of events: disorder within
//! and beyond the lateness, repeats, groups past their limit, labels that look like something
//! else, every aggregate over windows of every shape, derived attributes, midnights, days, weeks and months of
//! zones whose clocks change (`laws/calendar.rs`); for every number of shards and batch size, and with kill -9
//! in between.
//!
//! How: random logs go through the real binary, as a file and over HTTP, and what comes out is
//! compared with a model that walks the log in the plainest way (`support/model.rs`).
//! `TIDEWATCH_TEST_SEED` repeats a run, `TIDEWATCH_LAW_LOGS` says how many logs are tried.

#[path = "laws/calendar.rs"]
mod calendar;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::drawn::{BOUNDS, SAMPLE, Window, drawn};
use support::funnels::{self, Funnel};
use support::kinds::{self, Kind, Visit};
use support::model::{
    Answer, Ended, Entry, Metric, Near, OF, SAMPLED, Times, What, answer, group_of, part,
};
use support::patterns::{Counts, Join, Matched, Pattern, count, joined, matches};
use support::{Folder, HOLD, Random, Server, pause};

const TIMES: Times = Times { disorder: 5_000, lateness: 20_000, gap: 60_000 };

/// Logs, unless `TIDEWATCH_LAW_LOGS` says otherwise.
const LOGS: u64 = 8;

/// A quarter of an hour before midnight in Kathmandu (18:15 UTC), on a day that no zone here
/// changes its clock.
const BEGIN: i64 = 1_699_898_400_000;

const KATHMANDU: i64 = (5 * 60 + 45) * 60_000;
const DAY: i64 = 86_400_000;

/// What the model's metrics are in the configuration.
const CONFIG: &str = r#"
[time]
out_of_orderness = "5s"
allowed_lateness = "20s"
[session]
gap = "60s"
[pipeline]
commit_events = 50
commit_interval = "20ms"
tick = "100ms"
[events.derived]
same = "amount * 2 - amount"
place = "region + ''"
bought = "type == 'buy'"
[[metric]]
name = "by_region"
aggregate = "count"
group_by = ["region"]
group_limit = 3
window = { tumbling = "10s" }
[[metric]]
name = "revenue"
where = { type = "buy" }
aggregate = "sum"
field = "amount"
window = { hopping = "1m", slide = "10s" }
[[metric]]
name = "mean"
aggregate = "avg"
field = "amount"
group_by = ["region"]
group_limit = 2
window = { hopping = "50s", slide = "25s" }
[[metric]]
name = "least"
aggregate = "min"
field = "amount"
window = { hopping = "40s", slide = "8s" }
[[metric]]
name = "most"
aggregate = "max"
field = "amount"
window = { tumbling = "7s" }
[[metric]]
name = "spread"
aggregate = "stddev"
field = "amount"
window = { hopping = "2m", slide = "40s" }
[[metric]]
name = "users"
aggregate = "distinct"
window = { hopping = "1m", slide = "20s" }
[[metric]]
name = "share"
aggregate = "ratio"
numerator = { type = "buy" }
window = { tumbling = "25s" }
[[metric]]
name = "regions"
aggregate = "topk"
field = "region"
top = 3
window = { hopping = "1m", slide = "15s" }
[[metric]]
name = "sampled"
aggregate = "topk"
field = "region"
top = 3
values_max = 2
sample = 64
window = { hopping = "5m", slide = "1m" }
[[metric]]
name = "amounts"
aggregate = "histogram"
field = "amount"
bounds = [-100, 0, 99.99, 1000]
group_by = ["region"]
group_limit = 2
window = { hopping = "40s", slide = "20s" }
[[metric]]
name = "computed"
where = "bought && (same > 0 || same <= 0)"
aggregate = "sum"
field = "same"
window = { hopping = "1m", slide = "10s" }
[[metric]]
name = "computed_mean"
aggregate = "avg"
field = "same"
group_by = ["place"]
group_limit = 2
window = { hopping = "50s", slide = "25s" }
[[metric]]
name = "uneven"
where = { type = "buy" }
aggregate = "sum"
field = "amount"
window = { hopping = "50s", slide = "20s" }
[[metric]]
name = "ever"
aggregate = "count"
group_by = ["region"]
group_limit = 3
window = { since_start = true, slide = "2m" }
[[metric]]
name = "today"
where = { type = "buy" }
aggregate = "sum"
field = "amount"
window = { since_midnight = "Asia/Kathmandu", slide = "40s" }
keep = "1h"
[[metric]]
name = "growth"
formula = "revenue / ago(revenue, '30s') - 1"
[[metric]]
name = "all_events"
aggregate = "count"
window = { tumbling = "10s" }
[[metric]]
name = "region_share"
formula = "by_region / all_events"
[[metric]]
name = "newest"
where = { type = "buy" }
aggregate = "avg"
field = "amount"
group_by = ["region"]
group_limit = 3
window = { last = 5, slide = "30s" }
[[metric]]
name = "since_buy"
aggregate = "count"
group_by = ["region"]
group_limit = 3
window = { since = "buy", slide = "30s" }
[[metric]]
name = "bursts"
aggregate = "sum"
field = "amount"
group_by = ["region"]
group_limit = 3
window = { session = "15s", slide = "5s" }
[[metric]]
name = "slid"
aggregate = "max"
field = "amount"
group_by = ["region"]
group_limit = 3
window = { sliding = "50s", slide = "25s" }
[[metric]]
name = "slid_users"
where = { type = "buy" }
aggregate = "distinct"
window = { sliding = "50s", slide = "20s" }
[[metric]]
name = "newest_users"
aggregate = "distinct"
window = { last = 20, slide = "30s" }
[[pattern]]
name = "bought"
first = { type = "add" }
then = { type = "buy" }
without = { type = "view" }
within = "40s"
alert = "info"
[[pattern]]
name = "looked"
first = { type = "view" }
times = 2
then = [{ type = "add" }, { type = "view" }]
within = "2m"
attributes = { region = "last.region" }
[[pattern]]
name = "gone"
first = { type = "add" }
not_then = { type = ["buy", "add"] }
within = "45s"
attributes = { region = "last.region" }
alert = "warning"
[[join]]
name = "seen_bought"
left = { type = "view" }
right = { type = "buy" }
within = "50s"
before = "5s"
kind = "left"
attributes = { region = "right.region" }
[[join]]
name = "kept"
left = { type = "add" }
right = { type = "buy" }
within = "30s"
kind = "anti"
attributes = { region = "left.region" }
alert = "info"
[[join]]
name = "twins"
left = { type = "add" }
right = { type = "add" }
on = ["region"]
within = "20s"
attributes = { region = "right.region" }
alert = "warning"
[[metric]]
name = "seen_bought_by_region"
where = { type = "seen_bought", matched = true }
aggregate = "count"
group_by = ["region"]
group_limit = 2
window = { tumbling = "15s" }
[[metric]]
name = "kept_by_region"
where = { type = "kept" }
aggregate = "count"
group_by = ["region"]
group_limit = 3
window = { hopping = "50s", slide = "25s" }
[[metric]]
name = "twins_time"
where = { type = "twins" }
aggregate = "avg"
field = "duration_s"
window = { hopping = "1m", slide = "10s" }
[[sessions]]
name = "visit"
gap = "45s"
max_length = "4m"
entry = "add"
goal = { type = "buy" }
counts = { views = "view" }
attributes = { region = "last.region" }
cohort = "day"
alert = "info"
[[metric]]
name = "visit_by_first"
where = { type = "visit" }
aggregate = "count"
group_by = ["is_first", "cohort"]
window = { tumbling = "25s" }
[[metric]]
name = "visit_by_outcome"
where = { type = "visit" }
aggregate = "count"
group_by = ["outcome"]
window = { tumbling = "25s" }
[[metric]]
name = "visit_views"
where = { type = "visit" }
aggregate = "sum"
field = "views"
window = { tumbling = "25s" }
[[metric]]
name = "visit_by_region"
where = { type = "visit" }
aggregate = "count"
group_by = ["region"]
window = { tumbling = "25s" }
[[funnel]]
name = "way"
steps = ["view", "add", "buy"]
within = "1m"
by = ["region"]
window = { hopping = "50s", slide = "25s" }
[[funnel]]
name = "short"
steps = ["add", "buy"]
without = { type = "view" }
within = "30s"
window = { tumbling = "20s" }
[[pattern]]
name = "bought_there"
key = "region"
first = { type = "add" }
then = { type = "buy" }
without = { type = "view" }
within = "40s"
attributes = { region = "last.region" }
alert = "info"
[[join]]
name = "adds_there"
key = "region"
left = { type = "add" }
right = { type = "add" }
within = "10s"
attributes = { place = "right.region" }
alert = "info"
[[sessions]]
name = "stay"
key = "region"
gap = "20s"
max_length = "2m"
entry = "add"
goal = "buy"
cohort = "day"
alert = "warning"
[[metric]]
name = "bought_there_by_region"
where = { type = "bought_there" }
aggregate = "count"
group_by = ["region"]
group_limit = 3
window = { tumbling = "20s" }
[[metric]]
name = "adds_there_time"
where = { type = "adds_there" }
aggregate = "avg"
field = "duration_s"
window = { hopping = "1m", slide = "10s" }
[[metric]]
name = "purchases"
where = { type = "bought" }
aggregate = "count"
window = { hopping = "1m", slide = "10s" }
[[metric]]
name = "purchase_time"
where = { type = "bought" }
aggregate = "avg"
field = "duration_s"
window = { tumbling = "20s" }
[[metric]]
name = "lookers"
where = { type = "looked" }
aggregate = "count"
group_by = ["region"]
group_limit = 2
window = { tumbling = "15s" }
[[metric]]
name = "gone_by_region"
where = { type = "gone" }
aggregate = "count"
group_by = ["region"]
group_limit = 3
window = { hopping = "50s", slide = "25s" }
"#;

/// What they say is an estimate that the model does not have: it must only be the same for all runs
/// of a log.
const ESTIMATED: [&str; 3] = ["way_step_s", "way_step_s_by", "short_step_s"];

fn hopping<const SIZE: i64, const SLIDE: i64>(at: i64) -> Vec<(i64, i64)> {
    let first = at.div_euclid(SLIDE) * SLIDE + SLIDE;
    (first..=at + SIZE).step_by(SLIDE as usize).map(|end| (end - SIZE, end)).collect()
}

/// No log goes on for so long.
const END: i64 = BEGIN + DAY / 12;

fn midnight(at: i64) -> i64 {
    (at + KATHMANDU).div_euclid(DAY) * DAY - KATHMANDU
}

/// From midnight to each point of the same day, counted from midnight, as far as a log goes, and to
/// the next one.
fn today(at: i64) -> Vec<(i64, i64)> {
    const SLIDE: i64 = 40_000;
    let midnight = midnight(at);
    let next = midnight + DAY;
    let first = midnight + (at - midnight).div_euclid(SLIDE) * SLIDE + SLIDE;
    let ends = (first..next.min(END)).step_by(SLIDE as usize).chain([next]);
    ends.map(|end| (midnight, end)).collect()
}

/// From the first event to each point, as far as a log goes.
fn ever<const SLIDE: i64>(at: i64) -> Vec<(i64, i64)> {
    let first = at.div_euclid(SLIDE) * SLIDE + SLIDE;
    (first..END).step_by(SLIDE as usize).map(|end| (0, end)).collect()
}

/// The burst of one event: until it has been silent for more than 15 s, in steps of 5 s.
fn alone(at: i64) -> Vec<(i64, i64)> {
    vec![(at, ((at + 15_000).div_euclid(5_000) + 1) * 5_000)]
}

fn metrics() -> Vec<Metric> {
    let metric = |name, kind, what, limit: Option<usize>, windows| Metric {
        kind,
        by_region: limit.is_some(),
        limit: limit.unwrap_or_default(),
        ..Metric::new(name, what, windows)
    };
    let total = |begins| move |metric: Metric| Metric { runs: Some(begins), ..metric };
    let (since_start, since_midnight) = (total(|_| 0), total(midnight));
    const SAMPLES: What = What::Sampled { most: 3, regions: 2, events: SAMPLE };
    vec![
        metric("by_region", "", What::Count, Some(3), hopping::<10_000, 10_000>),
        metric("revenue", "buy", What::Sum, None, hopping::<60_000, 10_000>),
        metric("mean", "", What::Avg, Some(2), hopping::<50_000, 25_000>),
        metric("least", "", What::Min, None, hopping::<40_000, 8_000>),
        metric("most", "", What::Max, None, hopping::<7_000, 7_000>),
        metric("spread", "", What::Stddev, None, hopping::<120_000, 40_000>),
        metric("users", "", What::Users, None, hopping::<60_000, 20_000>),
        metric("share", "", What::Share("buy"), None, hopping::<25_000, 25_000>),
        metric("regions", "", What::Regions(3), None, hopping::<60_000, 15_000>),
        metric("amounts", "", What::Buckets(BOUNDS), Some(2), hopping::<40_000, 20_000>),
        metric("computed", "buy", What::Sum, None, hopping::<60_000, 10_000>),
        metric("computed_mean", "", What::Avg, Some(2), hopping::<50_000, 25_000>),
        metric("uneven", "buy", What::Sum, None, hopping::<50_000, 20_000>),
        metric("sampled", "", SAMPLES, None, hopping::<300_000, 60_000>),
        since_start(metric("ever", "", What::Count, Some(3), ever::<120_000>)),
        since_midnight(metric("today", "buy", What::Sum, None, today)),
        metric("all_events", "", What::Count, None, hopping::<10_000, 10_000>),
        Metric {
            newest: Some(5),
            ..since_start(metric("newest", "buy", What::Avg, Some(3), ever::<30_000>))
        },
        Metric {
            since: Some("buy"),
            ..metric("since_buy", "", What::Count, Some(3), ever::<30_000>)
        },
        Metric { gap: Some(15_000), ..metric("bursts", "", What::Sum, Some(3), alone) },
        Metric {
            slides: Some(50_000),
            ..metric("slid", "", What::Max, Some(3), hopping::<50_000, 25_000>)
        },
        Metric {
            slides: Some(50_000),
            ..metric("slid_users", "buy", What::Users, None, hopping::<50_000, 20_000>)
        },
        Metric {
            newest: Some(20),
            ..since_start(metric("newest_users", "", What::Users, None, ever::<30_000>))
        },
    ]
}

/// A window of each kind, for any aggregate.
fn windows() -> Vec<Window> {
    let even = |text, windows| Window { even: true, ..Window::new(text, windows) };
    let with = |window: Window, change: &dyn Fn(Metric) -> Metric| Window {
        metric: change(window.metric),
        ..window
    };
    let total = |text, windows, begins| {
        with(Window::new(text, windows), &|metric| Metric { runs: Some(begins), ..metric })
    };
    vec![
        even("window = { tumbling = \"20s\" }", hopping::<20_000, 20_000>),
        even("window = { hopping = \"60s\", slide = \"15s\" }", hopping::<60_000, 15_000>),
        even("window = { hopping = \"50s\", slide = \"20s\" }", hopping::<50_000, 20_000>),
        with(
            even("window = { sliding = \"40s\", slide = \"20s\" }", hopping::<40_000, 20_000>),
            &|metric| Metric { slides: Some(40_000), ..metric },
        ),
        total("window = { since_start = true, slide = \"2m\" }", ever::<120_000>, |_| 0),
        total("window = { since_midnight = \"Asia/Kathmandu\", slide = \"40s\" }", today, |at| {
            today(at)[0].0
        }),
        with(total("window = { last = 4, slide = \"30s\" }", ever::<30_000>, |_| 0), &|metric| {
            Metric { newest: Some(4), ..metric }
        }),
        with(
            Window::new("window = { since = \"buy\", slide = \"30s\" }", ever::<30_000>),
            &|metric| Metric { since: Some("buy"), ..metric },
        ),
        with(Window::new("window = { session = \"15s\", slide = \"5s\" }", alone), &|metric| {
            Metric { gap: Some(15_000), ..metric }
        }),
    ]
}

fn patterns() -> Vec<Pattern> {
    let plain = Pattern {
        name: "",
        first: "add",
        times: 1,
        then: &[],
        without: &[],
        not_then: &[],
        within: 0,
    };
    vec![
        Pattern { name: "bought", then: &["buy"], without: &["view"], within: 40_000, ..plain },
        Pattern {
            name: "looked",
            first: "view",
            times: 2,
            then: &["add", "view"],
            within: 120_000,
            ..plain
        },
        Pattern { name: "gone", not_then: &["buy", "add"], within: 45_000, ..plain },
    ]
}

fn joins() -> Vec<Join> {
    let plain = Join {
        name: "",
        left: "add",
        right: "buy",
        before: 0,
        within: 0,
        same_region: false,
        pairs: true,
        alone: false,
    };
    vec![
        Join {
            name: "seen_bought",
            left: "view",
            before: 5_000,
            within: 50_000,
            alone: true,
            ..plain
        },
        Join { name: "kept", within: 30_000, pairs: false, alone: true, ..plain },
        Join { name: "twins", right: "add", within: 20_000, same_region: true, ..plain },
    ]
}

fn counted() -> Vec<Counts> {
    let metric =
        |name, pattern, limit, windows| Counts { name, pattern, limit, duration: false, windows };
    vec![
        metric("purchases", "bought", None, hopping::<60_000, 10_000>),
        Counts {
            duration: true,
            ..metric("purchase_time", "bought", None, hopping::<20_000, 20_000>)
        },
        metric("lookers", "looked", Some(2), hopping::<15_000, 15_000>),
        metric("gone_by_region", "gone", Some(3), hopping::<50_000, 25_000>),
        metric("seen_bought_by_region", "seen_bought_pairs", Some(2), hopping::<15_000, 15_000>),
        metric("kept_by_region", "kept", Some(3), hopping::<50_000, 25_000>),
        metric("bought_there_by_region", "bought_there", Some(3), hopping::<20_000, 20_000>),
        Counts {
            duration: true,
            ..metric("adds_there_time", "adds_there", None, hopping::<60_000, 10_000>)
        },
        Counts { duration: true, ..metric("twins_time", "twins", None, hopping::<60_000, 10_000>) },
    ]
}

/// Adds the formulas: those of the windows after the first event, whatever came before it later.
fn formulas(wanted: &mut Answer, first: i64, last: i64) {
    const STEP: i64 = 10_000;
    let begins = first.div_euclid(STEP) * STEP;
    let of = |all: &BTreeMap<(String, i64, String), f64>, name: &str| -> Vec<(i64, String, f64)> {
        let own = all.iter().filter(|((metric, ..), _)| metric == name);
        own.map(|((_, at, group), value)| (*at, group.clone(), *value)).collect()
    };
    let whole = |all: &BTreeMap<(String, i64, String), f64>, name: &str, at: i64| {
        all.get(&(name.to_owned(), at, String::new())).copied().unwrap_or_default()
    };
    let revenue: Vec<i64> = of(&wanted.windows, "revenue").into_iter().map(|one| one.0).collect();
    // Up to the newest event a watermark may have made windows final.
    let newest = revenue.last().copied().unwrap_or(begins).max(last.div_euclid(STEP) * STEP + STEP);
    for end in revenue.iter().flat_map(|end| [*end, end + 3 * STEP]) {
        let before = end - 3 * STEP;
        let was = whole(&wanted.windows, "revenue", before);
        if before > begins && end <= newest && was != 0.0 {
            let growth = whole(&wanted.windows, "revenue", end) / was - 1.0;
            wanted.windows.insert(("growth".to_owned(), end, String::new()), growth);
        }
    }
    for (is_window, all) in [(true, &mut wanted.windows), (false, &mut wanted.minutes)] {
        for (at, group, count) in of(all, "by_region") {
            if group != "other" && (!is_window || at > begins) {
                let share = count / whole(all, "all_events", at);
                all.insert(("region_share".to_owned(), at, group), share);
            }
        }
    }
}

const STAYS: Kind = Kind { name: "stay", gap: 20_000, max_length: 120_000 };
const VISITS: Kind = Kind { name: "visit", gap: 45_000, max_length: 240_000 };

fn funnels() -> Vec<Funnel> {
    let way = Funnel {
        name: "way",
        steps: &["view", "add", "buy"],
        without: &[],
        within: 60_000,
        by_region: true,
        windows: hopping::<50_000, 25_000>,
    };
    let short = Funnel {
        name: "short",
        steps: &["add", "buy"],
        without: &["view"],
        within: 30_000,
        by_region: false,
        windows: hopping::<20_000, 20_000>,
    };
    vec![way, short]
}

type Found = BTreeMap<&'static str, Vec<Matched>>;

/// The log with the region as the key: what the definitions with that key see of it.
fn of_regions(log: &[Entry]) -> Vec<Entry> {
    let user = |entry: &Entry| entry.region.clone().unwrap_or_default();
    log.iter().map(|entry| Entry { user: user(entry), ..entry.clone() }).collect()
}

/// What those with a key of their own find.
fn found_there(log: &[Entry]) -> Found {
    let there = of_regions(log);
    let [bought, ..] = &patterns()[..] else { unreachable!("the first of them") };
    let bought = Pattern { name: "bought_there", ..*bought };
    let adds = Join { name: "adds_there", right: "add", within: 10_000, ..joins().swap_remove(1) };
    let adds = Join { pairs: true, alone: false, ..adds };
    BTreeMap::from([
        (bought.name, matches(&bought, &there, TIMES)),
        (adds.name, joined(&adds, &there, TIMES)),
        (STAYS.name, as_matches(kinds::visits(&STAYS, &there, TIMES))),
    ])
}

/// What the log comes to by these metrics, and what each pattern finds in it.
fn wanted(log: &[Entry], metrics: &[Metric]) -> (Answer, Found) {
    let mut wanted = answer(log, TIMES, metrics);
    let of_patterns = patterns().into_iter().map(|one| (one.name, matches(&one, log, TIMES)));
    let of_joins = joins().into_iter().map(|one| (one.name, joined(&one, log, TIMES)));
    let mut found: Found = of_patterns.chain(of_joins).chain(found_there(log)).collect();
    let pairs = Join { alone: false, ..joins().swap_remove(0) };
    let pairs = BTreeMap::from([("seen_bought_pairs", joined(&pairs, log, TIMES))]);
    let all = found.clone().into_iter().chain(pairs).collect();
    count(&mut wanted, &all, &counted());
    found.values_mut().for_each(|found| found.sort());
    let last = log.iter().map(|entry| entry.at).max().unwrap_or_default();
    formulas(&mut wanted, log[0].at, last);
    funnels::count(&mut wanted, log, TIMES, &funnels());
    let visits = kinds::visits(&VISITS, log, TIMES);
    kinds::count(&mut wanted, &visits, VISITS.name, hopping::<25_000, 25_000>);
    found.insert(VISITS.name, as_matches(visits));
    (wanted, found)
}

/// A log: mostly a little out of order, now and then far behind, some events sent again.
fn log(random: &mut Random) -> Vec<Entry> {
    let regions = [
        "eu",
        "us",
        "other",
        "a|b",
        "a\\",
        "",
        "\u{dc}ber \"x\", y",
        "eu|",
        "line\nbreak",
        "OTHER",
    ];
    let mut log: Vec<Entry> = Vec::new();
    let mut now = BEGIN;
    for number in 0..300 + random.below(500) {
        now += match random.below(40) {
            0 => random.below(90_000) as i64,
            1 => 60_000,
            _ => random.below(3_000) as i64,
        };
        let has_id = random.one_in(2);
        // Ids are remembered for a while only: an event with one is not far behind.
        let behind = match random.below(12) {
            0 if !has_id => random.below(200_000),
            0..4 => random.below(30_000),
            _ => random.below(5_000),
        };
        if let Some(again) = log.iter().rev().take(10).find(|entry| !entry.id.is_empty())
            && random.one_in(25)
        {
            log.push(again.clone());
            continue;
        }
        let user = match random.below(9) {
            0 => String::new(),
            user => format!("u{user}"),
        };
        // Many come within one millisecond: what is first and last is told by the log then.
        let together = log.last().map(|entry| entry.at).filter(|_| random.one_in(6));
        log.push(Entry {
            id: if has_id { format!("e{number}") } else { String::new() },
            at: together.filter(|_| !has_id).unwrap_or(now - behind as i64),
            kind: ["view", "buy", "add"][random.below(3) as usize],
            user,
            region: (!random.one_in(10))
                .then(|| regions[random.below(regions.len() as u64) as usize].to_owned()),
            amount: (!random.one_in(4)).then(|| random.below(200_000) as i64 - 50_000),
        });
    }
    log
}

fn line(entry: &Entry) -> String {
    let mut value = serde_json::json!({ "ts": entry.at, "type": entry.kind });
    if !entry.id.is_empty() {
        value["id"] = entry.id.clone().into();
    }
    if !entry.user.is_empty() {
        value["user"] = entry.user.clone().into();
    }
    if let Some(region) = &entry.region {
        value["region"] = region.clone().into();
    }
    let mut text = value.to_string();
    if let Some(amount) = entry.amount {
        // As a person writes it, so that no double is in between.
        let (sign, amount) = (if amount < 0 { "-" } else { "" }, amount.abs());
        text.pop();
        text += &format!(",\"amount\":{sign}{}.{:02}}}", amount / 100, amount % 100);
    }
    text
}

#[test]
fn a_replay_says_what_the_definitions_say() {
    let mut random = Random::seeded("laws");
    let mut matched = BTreeMap::new();
    for number in 0..logs() {
        let log = log(&mut random);
        let (config, metrics) = configured(&mut random);
        let (wanted, found) = wanted(&log, &metrics);
        found.iter().for_each(|(name, found)| *matched.entry(*name).or_insert(0) += found.len());
        let folder = Folder::default();
        let mut replays = Replays::new(&folder, &log, &config);
        for (shards, batch) in [("1", "1"), ("2", "7"), ("3", "64"), ("8", "1"), ("5", "4096")] {
            let what = format!("log {number}, {shards} shards, batches of {batch}");
            let report = replays.with((shards, batch), (&wanted, &metrics), &what);
            for (name, found) in &found {
                let matches = &report["patterns"][name]["matches"];
                assert_eq!(matches.as_u64(), Some(found.len() as u64), "{what}: {name}");
            }
        }
    }
    assert!(matched.values().all(|count| *count > 0), "logs without matches: {matched:?}");
}

/// The configuration, with metrics that are drawn, and all metrics of the model.
fn configured(random: &mut Random) -> (String, Vec<Metric>) {
    let (more, drawn) = drawn(random, &windows(), "");
    (CONFIG.to_owned() + &more, metrics().into_iter().chain(drawn).collect())
}

/// Replays of a log in a folder of their own.
struct Replays<'a> {
    folder: &'a Folder,
    file: String,
    config: String,
    /// The first one's windows, as they were written.
    first: Option<String>,
}

impl<'a> Replays<'a> {
    fn new(folder: &'a Folder, log: &[Entry], config: &str) -> Self {
        let lines: String = log.iter().map(|entry| line(entry) + "\n").collect();
        let file = folder.write("log.ndjson", lines);
        Replays { folder, file, config: folder.write("laws.toml", config), first: None }
    }

    /// One with so many shards and events in a batch: its windows, minutes, sessions and ledger are
    /// what is wanted of these metrics, its files those of the others. Returns its report.
    fn with(
        &mut self,
        (shards, batch): (&str, &str),
        (wanted, metrics): (&Answer, &[Metric]),
        what: &str,
    ) -> serde_json::Value {
        let folder = self.folder;
        let (sessions, windows) = (folder.path("sessions.csv"), folder.path("windows.csv"));
        let data = folder.path(&format!("data-{shards}-{batch}"));
        let run = folder
            .command(&["replay", &self.file, "--raw-order", "--json", "--config", &self.config])
            .args(&["--shards", shards, "--batch", batch])
            .args(&["--data-dir", &data.display().to_string()])
            .args(&["--sessions-out", &sessions.display().to_string()])
            .args(&["--windows-out", &windows.display().to_string()])
            .run();
        let report = run.json();
        counts(&report["ledger"], wanted, what);
        let text = std::fs::read_to_string(&windows).unwrap();
        let windows = carried(windows_of(&text), &wanted.windows, metrics);
        compare(&windows, &wanted.windows, metrics, &format!("{what}: windows"));
        assert_eq!(sessions_of(&sessions), wanted.sessions, "{what}: sessions");
        compare(&minutes_of(&data), &wanted.minutes, metrics, &format!("{what}: minutes"));
        let first = self.first.get_or_insert_with(|| text.clone());
        assert!(*first == text, "{what}: --windows-out has other bytes");
        report
    }
}

/// The same over HTTP, killed and started again on the way, with another number of shards.
#[test]
fn a_killed_server_says_what_the_definitions_say() {
    let mut random = Random::seeded("laws_killed");
    for number in 0..logs().div_ceil(4) {
        let mut log = log(&mut random);
        let end = log.iter().map(|entry| entry.at).max().unwrap();
        log.push(flush(end + 15 * 60_000));
        let (config, metrics) = configured(&mut random);
        let (wanted, found) = wanted(&log, &metrics);
        let folder = Folder::default();
        let server = fed(&folder, &mut random, &config, &log);
        let what = format!("log {number}");
        alerts_are(&server, (&log, &found), &what);
        killed(server, &folder, (&wanted, &metrics), end, &what);
    }
}

/// An event of nobody that only moves time.
fn flush(at: i64) -> Entry {
    let (id, kind, user) = ("flush".into(), "flush", String::new());
    Entry { id, at, kind, user, region: None, amount: None }
}

/// A server that got the log over HTTP, and was killed on the way now and then and started again with
/// another number of shards.
fn fed(folder: &Folder, random: &mut Random, config: &str, log: &[Entry]) -> Server {
    let shards = |random: &mut Random| {
        let shards = 1 + random.below(8);
        let config = config.replace("[time]\n", HOLD);
        config.replace("[pipeline]\n", &format!("[pipeline]\nshards = {shards}\n"))
    };
    let mut server = folder.serve(&shards(random)).start();
    let mut sent = 0;
    while sent < log.len() {
        let until = (sent + 1 + random.below(40) as usize).min(log.len());
        let body: String = log[sent..until].iter().map(|entry| line(entry) + "\n").collect();
        let url = server.at("v1/events");
        let answer = server.http.post(&url, &[], body.as_bytes());
        assert_eq!(answer.status, 202, "{answer:?}");
        sent = until;
        if random.one_in(8) {
            pause(std::time::Duration::from_millis(random.below(40)));
            server.kill_9();
            server = folder.serve(&shards(random)).start();
        }
    }
    server.wait_settled(log.len() as u64);
    server
}

/// Its ledger, its board and its minutes up to `end` are what is wanted of these metrics.
fn killed(
    mut server: Server,
    folder: &Folder,
    (wanted, metrics): (&Answer, &[Metric]),
    end: i64,
    what: &str,
) {
    let pipeline = server.pipeline();
    counts(&pipeline, wanted, what);
    assert_eq!(pipeline["balanced"], true, "{what}: {pipeline}");
    let board = server.get("v1/board");
    let (mut points, scalars) = (0, metrics.iter().filter(|metric| !metric.what.has_parts()));
    for metric in scalars {
        let (shown, ends) = shown(metric, &board["topics"][&metric.name], end);
        // From the oldest of its points on it has all; at each event only files have numbers.
        let all = ends.first().map_or(i64::MAX, |first| *first)..=end;
        let of = |(name, at, _): &(String, i64, String)| {
            *name == metric.name
                && all.contains(at)
                && (metric.slides.is_none() || ends.contains(at))
        };
        let own = wanted.windows.iter().filter(|(key, _)| of(key));
        let own = own.map(|(key, number)| (key.clone(), *number)).collect();
        compare(&shown, &own, metrics, &format!("{what}: board"));
        points += shown.len();
    }
    assert!(points > 20 * metrics.len(), "{what}: {points} points of {} metrics", metrics.len());
    assert_eq!(server.stop().code(), Some(0));
    // The minute of the closing event itself is not over.
    let until = |numbers: &Numbers| {
        let whole = numbers.iter().filter(|((_, minute, _), _)| *minute <= end);
        whole.map(|(key, number)| (key.clone(), *number)).collect::<Numbers>()
    };
    let (minutes, wanted) = (until(&minutes_of(&folder.data())), until(&wanted.minutes));
    compare(&minutes, &wanted, metrics, &format!("{what}: minutes"));
}

/// The numbers of a metric's panel up to `end`, and at which ends there are any or none.
fn shown(metric: &Metric, topic: &serde_json::Value, end: i64) -> (Numbers, BTreeSet<i64>) {
    let (about, state) = (&topic["about"], &topic["d"]);
    let list = |value: &serde_json::Value| value.as_array().unwrap().clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let overflow = about["overflow"].as_u64();
    let (mut numbers, mut ends) = (Numbers::new(), BTreeSet::new());
    let mut add = |at: i64, group: &str, number: &serde_json::Value| {
        if at > end {
            return;
        }
        ends.insert(at);
        if let Some(number) = number.as_f64() {
            numbers.insert((metric.name.clone(), at, group.to_owned()), number);
        }
    };
    match topic["kind"].as_str() {
        Some("series") => {
            let columns = list(&state["p"]);
            let (times, columns) = columns.split_first().expect("a column of times");
            let names = list(&about["columns"]);
            for (name, column) in names.iter().zip(columns) {
                let group = if metric.by_region { text(name) } else { String::new() };
                for (at, number) in list(times).iter().zip(list(column)) {
                    add(at.as_i64().unwrap(), &group, &number);
                }
            }
        }
        Some("grid") => {
            let rows: Vec<String> = list(&state["rows"]).iter().map(|row| text(&row[0])).collect();
            let group = |(row, label): (u64, &String)| {
                let real = overflow != Some(row);
                group_of(Some(label.clone()), usize::from(real), &mut Vec::new())
            };
            let groups: Vec<String> = (0..).zip(&rows).map(group).collect();
            for column in list(&state["cols"]) {
                let at = (metric.windows)(column[0].as_i64().unwrap())[0].1;
                for (group, number) in groups.iter().zip(list(&column[1])) {
                    add(at, group, &number);
                }
            }
        }
        _ => panic!("{} is neither a line nor a grid: {topic}", metric.name),
    }
    (numbers, ends)
}

/// Each match of a pattern or a join that raises alerts is in the feed, once.
fn alerts_are(server: &Server, (log, found): (&[Entry], &Found), what: &str) {
    alerts_of(server, found, ("pattern", "first", &["bought", "gone", "bought_there"]), what);
    alerts_of(server, found, ("join", "left", &["kept", "twins", "adds_there"]), what);
    let there = of_regions(log);
    let abandoned = [(VISITS, log), (STAYS, &there)].map(|(kind, log)| {
        let mut visits = kinds::visits(&kind, log, TIMES);
        visits.retain(|visit| visit.outcome == "abandoned");
        (kind.name, as_matches(visits))
    });
    alerts_of(server, &abandoned.into(), ("sessions", "first", &[VISITS.name, STAYS.name]), what);
}

fn as_matches(visits: Vec<Visit>) -> Vec<Matched> {
    let matched = |Visit { at, user, first, region, .. }| Matched { at, user, first, region };
    let mut found: Vec<Matched> = visits.into_iter().map(matched).collect();
    found.sort();
    found
}

fn alerts_of(
    server: &Server,
    found: &Found,
    (kind, first, names): (&str, &str, &[&str]),
    what: &str,
) {
    let url = server.at(&format!("v1/alerts?kind={kind}&limit=1000"));
    let page = server.http.get(&url).json();
    let items = page["items"].as_array().unwrap();
    let mut ids: Vec<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), items.len(), "{what}: an id stands twice");
    for name in names {
        let of = items.iter().filter(|item| item["detail"][kind] == *name);
        let mut told: Vec<(i64, &str, i64)> = of
            .map(|item| {
                let time = |value: &serde_json::Value| value.as_i64().unwrap();
                let user = item["subject"].as_str().unwrap();
                (time(&item["at"]), user, time(&item["detail"][first]))
            })
            .collect();
        told.sort_unstable();
        let wanted: Vec<_> =
            found[*name].iter().map(|m| (m.at, m.user.as_str(), m.first)).collect();
        assert_eq!(told, wanted, "{what}: {name}");
    }
}

/// What became of the events. A repeat that comes after its id was forgotten is late, where the
/// model, which forgets nothing, calls it a duplicate; it counts in neither case.
fn counts(ledger: &serde_json::Value, wanted: &Answer, what: &str) {
    let count = |name: &str| ledger[name].as_u64().unwrap();
    assert_eq!(count("applied"), wanted.applied, "{what}: {ledger}");
    let (late, duplicate) = (count("late"), count("duplicate"));
    assert_eq!(late + duplicate, wanted.late + wanted.duplicate, "{what}: {ledger}");
    assert!(late >= wanted.late, "{what}: {ledger}");
}

fn logs() -> u64 {
    std::env::var("TIDEWATCH_LAW_LOGS")
        .map_or(LOGS, |text| text.parse().expect("TIDEWATCH_LAW_LOGS is a number"))
}

type Numbers = BTreeMap<(String, i64, String), f64>;

/// Both hold the same numbers, as near as these metrics are; what only one of them has must be zero.
fn compare(ours: &Numbers, wanted: &Numbers, metrics: &[Metric], what: &str) {
    let near: BTreeMap<&str, Near> =
        metrics.iter().map(|metric| (metric.name.as_str(), metric.near)).collect();
    for key in ours.keys().chain(wanted.keys()) {
        let number = |numbers: &Numbers| numbers.get(key).copied();
        let (ours, right) = (number(ours), number(wanted));
        let (a, b) = (ours.unwrap_or_default(), right.unwrap_or_default());
        let near = near.get(key.0.as_str()).copied().unwrap_or(Near::Exact);
        let is_right = near.holds(a, b) || a_sample_says(a, key, wanted);
        let metric = || metrics.iter().find(|metric| metric.name == key.0);
        assert!(is_right, "{what}: {key:?} is {ours:?} instead of {right:?}: {:?}", metric());
    }
}

/// Whether this may be said of a part of a ranked list because a sample speaks there.
fn a_sample_says(
    number: f64,
    (metric, at, name): &(String, i64, String),
    wanted: &Numbers,
) -> bool {
    let Some((group, region)) = name.split_once('#') else { return false };
    // Of those that came less nothing need be said.
    if region.starts_with(SAMPLED) {
        return true;
    }
    let real = |name: &str| {
        let key = (metric.clone(), *at, group.to_owned() + &part(name));
        wanted.get(&key).copied()
    };
    let right = |region: &str| real(&format!("{SAMPLED}{region}"));
    // How far it may be off is only judged by how far it is.
    if let Some(region) = region.strip_prefix(ERROR) {
        return right(region).is_some();
    }
    match (real(OF), right(region)) {
        (Some(of), Some(right)) => can_be_sampled(number, right, of),
        _ => false,
    }
}

/// Whether a sample of so many events can come to `number` where `right` is.
fn can_be_sampled(number: f64, right: f64, of: f64) -> bool {
    let sample = SAMPLE as f64;
    let found = number * sample / of;
    // What is not in the sample was left out of it, and no more than came is in it.
    let (least, most) = ((right - (of - sample)).max(0.0), right.min(sample));
    // And it is no less likely than e^-20 (Hoeffding, 1963).
    let (found_share, share) = ((found / sample).clamp(0.0, 1.0), right / of);
    let part = |found: f64, real: f64| if found > 0.0 { found * (found / real).ln() } else { 0.0 };
    let unlikely = sample * (part(found_share, share) + part(1.0 - found_share, 1.0 - share));
    (least - 0.5..=most + 0.5).contains(&found) && unlikely <= 20.0
}

/// Before a region whose count is an estimate: how far it may be off.
const ERROR: char = '±';

/// A running total is listed where it changes: in between, and until its day ends, it is what
/// it was.
fn carried(ours: Numbers, wanted: &Numbers, metrics: &[Metric]) -> Numbers {
    let mut all = ours.clone();
    let metrics: BTreeMap<&str, &Metric> =
        metrics.iter().map(|metric| (metric.name.as_str(), metric)).collect();
    // One that begins anew is listed then, with all groups that it has something of.
    let listed_as = |metric: &Metric, group: &str| match metric.since {
        Some(_) => String::new(),
        None => group.split('#').next().unwrap_or_default().to_owned(),
    };
    let mut listed: BTreeMap<(&str, String), BTreeSet<i64>> = BTreeMap::new();
    for (name, end, group) in ours.keys() {
        if let Some(metric) = metrics.get(name.as_str()) {
            listed.entry((name, listed_as(metric, group))).or_default().insert(*end);
        }
    }
    for key in wanted.keys() {
        let (name, end, group) = key;
        let Some(metric) = metrics.get(name.as_str()) else { continue };
        let start = match (metric.runs, metric.since) {
            (Some(begins), _) => begins(end - 1),
            (None, Some(_)) => i64::MIN,
            (None, None) => continue,
        };
        let ends = listed.get(&(name.as_str(), listed_as(metric, group)));
        let newest = ends.and_then(|ends| ends.range(..=end).next_back());
        let Some(newest) = newest.filter(|newest| **newest > start) else { continue };
        if let Some(value) = ours.get(&(name.clone(), *newest, group.clone())) {
            all.insert(key.clone(), *value);
        }
    }
    all
}

fn windows_of(text: &str) -> Numbers {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let rows = reader.records().map(Result::unwrap);
    rows.flat_map(|row| {
        assert_eq!(row.len(), 4, "{row:?}");
        numbers_of(&row[0], row[1].parse().unwrap(), &row[2], &row[3])
    })
    .collect()
}

/// A number, or the parts of a ranked list or a histogram.
fn numbers_of(
    metric: &str,
    end: i64,
    group: &str,
    text: &str,
) -> Vec<((String, i64, String), f64)> {
    let parts: Vec<(String, f64)> = match serde_json::from_str(text).unwrap() {
        _ if ESTIMATED.contains(&metric) => Vec::new(),
        serde_json::Value::Array(counts) => {
            let counts = counts.iter().map(|count| count.as_f64().unwrap());
            counts.enumerate().map(|(number, count)| (part(&number.to_string()), count)).collect()
        }
        serde_json::Value::Object(ranking) => {
            let top = ranking["top"].as_array().unwrap();
            let one = |item: &serde_json::Value| {
                let (region, error) = (item[0].as_str().unwrap(), item[2].as_f64().unwrap());
                let count = (part(region), item[1].as_f64().unwrap());
                [count, (part(&format!("{ERROR}{region}")), error)]
            };
            let of = (part(OF), ranking["of"].as_f64().unwrap());
            std::iter::once(of).chain(top.iter().flat_map(one)).collect()
        }
        number => vec![(String::new(), number.as_f64().unwrap())],
    };
    let numbers = parts.into_iter();
    numbers.map(|(part, n)| ((metric.to_owned(), end, format!("{group}{part}")), n)).collect()
}

fn sessions_of(path: &std::path::Path) -> Vec<Ended> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path).unwrap();
    let rows = reader.records().map(Result::unwrap);
    let mut sessions: Vec<Ended> = rows
        .map(|row| Ended {
            user: row[0].to_owned(),
            first: row[1].parse().unwrap(),
            last: row[2].parse().unwrap(),
            events: row[3].parse().unwrap(),
        })
        .collect();
    sessions.sort();
    sessions
}

/// The roll-ups of a data folder.
fn minutes_of(data: &std::path::Path) -> Numbers {
    let file = rusqlite::Connection::open(data.join("state.db")).unwrap();
    let sql = "SELECT metric, minute, grp, CAST(value AS TEXT) FROM rollups";
    let mut rows = file.prepare(sql).unwrap();
    let rows = rows.query_map([], |row| {
        let text = |column| row.get::<_, String>(column);
        Ok(numbers_of(&text(0)?, row.get(1)?, &text(2)?, &text(3)?))
    });
    rows.unwrap().flat_map(Result::unwrap).collect()
}

#[test]
fn the_model_knows_a_late_event_and_a_full_group() {
    let entry = |at: i64, region: &str| Entry {
        id: String::new(),
        at: BEGIN + at,
        kind: "view",
        user: "u".into(),
        region: Some(region.into()),
        amount: None,
    };
    let log = [entry(0, "a"), entry(200_000, "b"), entry(1_000, "c"), entry(200_000, "d")];
    let Answer { applied, late, windows, .. } = answer(&log, TIMES, &metrics()[..1]);
    assert_eq!((applied, late), (3, 1));
    let groups: Vec<_> = windows.into_iter().map(|((_, _, group), n)| (group, n)).collect();
    let one = |group: &str| (group.to_owned(), 1.0);
    assert_eq!(groups, [one("a"), one("b"), one("d")], "the late one made no group");
}
