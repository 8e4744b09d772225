//! The same for days, weeks and months of zones whose clocks change: logs of the weeks around such
//! changes, with events at the very beginnings of days, and boundaries by `support/zones.rs`.

use super::*;
use crate::support::model::Windows;
use crate::support::zones::{
    APIA, ASUNCION, BERLIN, HAVANA, KATHMANDU, LORD_HOWE, ST_JOHNS, ZONES, Zone, day, days,
    midnight, months, today, weeks,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

const TIMES: Times = Times { disorder: 5 * MINUTE, lateness: 2 * HOUR, gap: 30 * MINUTE };

const CONFIG: &str = r#"
zone = "Europe/Berlin"
first_weekday = "sunday"
[time]
out_of_orderness = "5m"
allowed_lateness = "2h"
[session]
gap = "30m"
[pipeline]
commit_events = 50
commit_interval = "20ms"
tick = "100ms"
[store]
rollups_keep = "3660d"
[[metric]]
name = "by_day"
aggregate = "count"
window = { tumbling = "1d" }
keep = "400d"
[[metric]]
name = "by_week"
aggregate = "count"
window = { tumbling = "1w" }
keep = "400d"
[[metric]]
name = "by_month"
aggregate = "count"
window = { tumbling = "1mo" }
keep = "400d"
[[metric]]
name = "by_day_there"
aggregate = "count"
group_by = ["region"]
group_limit = 3
group_silence = "0s"
window = { tumbling = "1d", zone = "America/Havana" }
keep = "400d"
[[metric]]
name = "day_growth"
formula = "by_day / ago(by_day, '1d') - 1"
[[metric]]
name = "week_growth"
formula = "by_week / ago(by_week, '1w') - 1"
[[metric]]
name = "month_growth"
formula = "by_month / ago(by_month, '1mo') - 1"
"#;

/// Nothing is forgotten on the board.
const KEEP: &str = "keep = \"400d\"\n";

fn fixed() -> Vec<Metric> {
    let there = Metric::new("by_day_there", What::Count, days::<HAVANA, 1>);
    vec![
        Metric::new("by_day", What::Count, days::<BERLIN, 1>),
        Metric::new("by_week", What::Count, weeks::<BERLIN, 1>),
        Metric::new("by_month", What::Count, months::<BERLIN, 1, 1>),
        Metric { by_region: true, limit: 3, ..there },
    ]
}

/// A window of each kind and zone.
fn windows() -> Vec<Window> {
    let total = |text, windows, begins| {
        let window = Window::new(text, windows);
        Window { metric: Metric { runs: Some(begins), ..window.metric }, ..window }
    };
    let all = vec![
        Window::new("window = { tumbling = \"1d\" }", days::<BERLIN, 1>),
        Window::new(
            "window = { tumbling = \"1d\", zone = \"America/Asuncion\" }",
            days::<ASUNCION, 1>,
        ),
        Window::new(
            "window = { tumbling = \"1d\", zone = \"Australia/Lord_Howe\" }",
            days::<LORD_HOWE, 1>,
        ),
        Window::new("window = { tumbling = \"1d\", zone = \"Pacific/Apia\" }", days::<APIA, 1>),
        Window::new(
            "window = { tumbling = \"1d\", zone = \"America/St_Johns\" }",
            days::<ST_JOHNS, 1>,
        ),
        Window::new(
            "window = { hopping = \"7d\", slide = \"1d\", zone = \"America/Havana\" }",
            days::<HAVANA, 7>,
        ),
        Window::new(
            "window = { hopping = \"3d\", slide = \"1d\", zone = \"Pacific/Apia\" }",
            days::<APIA, 3>,
        ),
        Window::new(
            "window = { tumbling = \"1w\", zone = \"Asia/Kathmandu\" }",
            weeks::<KATHMANDU, 1>,
        ),
        Window::new(
            "window = { hopping = \"2w\", slide = \"1w\", zone = \"America/St_Johns\" }",
            weeks::<ST_JOHNS, 2>,
        ),
        Window::new(
            "window = { tumbling = \"1mo\", zone = \"Pacific/Apia\" }",
            months::<APIA, 1, 1>,
        ),
        Window::new("window = { tumbling = \"3mo\" }", months::<BERLIN, 3, 1>),
        Window::new("window = { hopping = \"4mo\", slide = \"1mo\" }", months::<BERLIN, 1, 4>),
        total(
            "window = { since_midnight = true, slide = \"5h\" }",
            today::<BERLIN, 18_000_000>,
            midnight::<BERLIN>,
        ),
        total(
            "window = { since_midnight = \"America/Havana\", slide = \"90m\" }",
            today::<HAVANA, 5_400_000>,
            midnight::<HAVANA>,
        ),
        total(
            "window = { since_midnight = \"America/St_Johns\", slide = \"7h\" }",
            today::<ST_JOHNS, 25_200_000>,
            midnight::<ST_JOHNS>,
        ),
    ];
    // Days are as long as they are, and so a rate is by the length of its own.
    let even = |window: Window| Window { even: window.metric.runs.is_none(), ..window };
    all.into_iter().map(even).collect()
}

fn configured(random: &mut Random) -> (String, Vec<Metric>) {
    let (more, drawn) = drawn(random, &windows(), KEEP);
    (CONFIG.to_owned() + &more, fixed().into_iter().chain(drawn).collect())
}

/// Every change of a clock in the tables but for the last ones, by chance in fours.
fn changes(random: &mut Random) -> Vec<Vec<i64>> {
    let all = ZONES.iter().flat_map(Zone::changes);
    let mut all: Vec<i64> = all.filter(|at| *at < LAST_CHANGE).collect();
    random.shuffle(&mut all);
    let mut fours: Vec<Vec<i64>> = all.chunks(4).map(<[i64]>::to_vec).collect();
    fours.iter_mut().for_each(|four| four.sort_unstable());
    fours
}

/// Changes of clocks that a log may be about: the tables go on for a year and a half.
const LAST_CHANGE: i64 = 1_334_000_000_000;

/// A log of the weeks around these changes, over many midnights of all zones, to the millisecond.
fn log(random: &mut Random, changes: &[i64]) -> Vec<Entry> {
    let mut log = Vec::new();
    let mut now = i64::MIN;
    for change in changes {
        now = now.max(change - random.below(4 * DAY as u64) as i64);
        for _ in 0..60 + random.below(60) {
            now = later(random, now, *change);
            push(random, now, &mut log);
        }
    }
    log
}

/// When the next event comes: soon, hours or days later, or right where a day begins or a clock
/// changes.
fn later(random: &mut Random, now: i64, change: i64) -> i64 {
    let below = |random: &mut Random, span: i64| random.below(span as u64) as i64;
    let zone = &ZONES[random.below(ZONES.len() as u64) as usize];
    let near = match random.below(6) {
        exact @ 0..3 => exact as i64 - 1,
        3 => -MINUTE,
        4 => -below(random, 2 * HOUR),
        _ => below(random, HOUR),
    };
    match random.below(24) {
        0 => now.max(day(zone, now).1 + near),
        1..5 if (now..now + 3 * DAY).contains(&change) => now.max(change + near),
        1 => now + below(random, 3 * DAY),
        2 => now + below(random, 12 * HOUR),
        _ => now + below(random, 20 * MINUTE),
    }
}

/// Adds an event of about that time, or one that came already.
fn push(random: &mut Random, now: i64, log: &mut Vec<Entry>) {
    if let Some(again) = log.iter().rev().take(10).find(|entry| !entry.id.is_empty())
        && random.one_in(25)
    {
        let again = again.clone();
        log.push(again);
        return;
    }
    let has_id = random.one_in(2);
    let behind = match random.below(12) {
        0 if !has_id => random.below(10 * HOUR as u64),
        1..4 => random.below(20 * MINUTE as u64),
        4..8 => random.below(5 * MINUTE as u64),
        _ => 0,
    };
    let together = log.last().map(|entry| entry.at).filter(|_| !has_id && random.one_in(6));
    log.push(Entry {
        id: if has_id { format!("e{}", log.len()) } else { String::new() },
        at: together.unwrap_or(now - behind as i64),
        kind: ["view", "buy", "add"][random.below(3) as usize],
        user: format!("u{}", random.below(6)),
        region: (!random.one_in(10))
            .then(|| ["eu", "us", "other", "", "a|b"][random.below(5) as usize].to_owned()),
        amount: (!random.one_in(4)).then(|| random.below(200_000) as i64 - 50_000),
    });
}

fn wanted(log: &[Entry], metrics: &[Metric]) -> Answer {
    let mut wanted = answer(log, TIMES, metrics);
    let last = log.iter().map(|entry| entry.at).max().unwrap();
    for (name, of, blocks) in [
        ("day_growth", "by_day", days::<BERLIN, 1> as Windows),
        ("week_growth", "by_week", weeks::<BERLIN, 1>),
        ("month_growth", "by_month", months::<BERLIN, 1, 1>),
    ] {
        grown(&mut wanted, (name, of, blocks), log[0].at, last);
    }
    wanted
}

/// Adds by how much each block is more than the one before it, from the second one of the log on.
fn grown(wanted: &mut Answer, (name, of, blocks): (&str, &str, Windows), first: i64, last: i64) {
    let count = |wanted: &Answer, end: i64| {
        wanted.windows.get(&(of.to_owned(), end, String::new())).copied().unwrap_or_default()
    };
    let (mut before, newest) = (blocks(first)[0].1, blocks(last)[0].1);
    while before < newest {
        let end = blocks(before)[0].1;
        let was = count(wanted, before);
        if was > 0.0 {
            let grown = count(wanted, end) / was - 1.0;
            wanted.windows.insert((name.to_owned(), end, String::new()), grown);
        }
        before = end;
    }
}

#[test]
fn a_replay_keeps_the_calendar_of_each_zone() {
    let mut random = Random::seeded("laws_calendar");
    let changes = changes(&mut random);
    for (number, changes) in (0..logs()).zip(changes.iter().cycle()) {
        let log = log(&mut random, changes);
        let (config, metrics) = configured(&mut random);
        let wanted = wanted(&log, &metrics);
        let folder = Folder::default();
        let mut replays = Replays::new(&folder, &log, &config);
        for (shards, batch) in [("1", "1"), ("3", "64"), ("5", "4096")] {
            let what = format!("log {number}, {shards} shards, batches of {batch}");
            replays.with((shards, batch), (&wanted, &metrics), &what);
        }
    }
}

#[test]
fn a_killed_server_keeps_the_calendar_of_each_zone() {
    let mut random = Random::seeded("laws_calendar_killed");
    let changes = changes(&mut random);
    for (number, changes) in (0..logs().div_ceil(4)).zip(changes.iter().cycle()) {
        let mut log = log(&mut random, changes);
        let end = log.iter().map(|entry| entry.at).max().unwrap();
        log.push(flush(end + 2 * DAY));
        let (config, metrics) = configured(&mut random);
        let wanted = wanted(&log, &metrics);
        let folder = Folder::default();
        let server = fed(&folder, &mut random, &config, &log);
        killed(server, &folder, (&wanted, &metrics), end, &format!("log {number}"));
    }
}

/// The model's own boundaries, against dates that were looked up by hand.
#[test]
fn the_model_knows_days_that_are_odd() {
    let hours = |zone: usize, at: i64| {
        let (begin, end) = day(&ZONES[zone], at);
        (end - begin) as f64 / HOUR as f64
    };
    // 27 March and 30 October 2011, noon UTC.
    assert_eq!((hours(BERLIN, 1_301_227_200_000), hours(BERLIN, 1_319_976_000_000)), (23.0, 25.0));
    // 2 April 2011, 18:00 UTC, is 3 April there.
    assert_eq!(hours(LORD_HOWE, 1_301_767_200_000), 24.5);
    // 13 November 2011: midnight came twice, and the day began with the first.
    assert_eq!(day(&ZONES[HAVANA], 1_321_160_400_000), (1_321_156_800_000, 1_321_246_800_000));
    // 1 April 2012 began at one o'clock.
    assert_eq!(day(&ZONES[HAVANA], 1_333_256_400_000).0, 1_333_256_400_000);
    // 29 December 2011 was followed by the 31st.
    assert_eq!(day(&ZONES[APIA], 1_325_239_200_000 - 1), (1_325_152_800_000, 1_325_239_200_000));
    assert_eq!(day(&ZONES[APIA], 1_325_239_200_000).1, 1_325_325_600_000);
    // 7 November 2010 began a minute before it was the 6th again.
    assert_eq!(day(&ZONES[ST_JOHNS], 1_289_097_060_000).0, 1_289_097_000_000);
    // The year's first quarter, and the week of its first day, a Saturday.
    assert_eq!(
        months::<KATHMANDU, 3, 1>(1_293_840_000_000),
        [(1_293_819_300_000, 1_301_595_300_000)]
    );
    assert_eq!(weeks::<KATHMANDU, 1>(1_293_840_000_000), [(1_293_300_900_000, 1_293_905_700_000)]);
}
