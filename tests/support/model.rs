//! A model of what a pipeline must say about a log of events, by the definitions alone: the
//! log is walked once, in its order, and every window and session is a plain list. It is slow,
//! keeps everything, and shares no code with the engine.
//!
//! The definitions, in ms of event time:
//! - The *stamp* of an event is the greatest time before it in the log, less the disorder.
//! - A window is final once the stamp has reached its end plus the lateness; an event is in
//!   every window that holds its time and was not final at its stamp.
//! - A session is closed once the stamp has passed its last event by more than the gap and the
//!   lateness. An event is late when it lies within the gap of a closed session, or when it
//!   touches no open one and a session of its own would be closed.
//! - The groups of a metric are the first ones in the log; what comes after the limit is
//!   added up as `other`.

use std::collections::{BTreeMap, BTreeSet};

/// Times that decide, in ms.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub disorder: i64,
    pub lateness: i64,
    pub gap: i64,
}

/// One event of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: String,
    pub at: i64,
    pub kind: &'static str,
    /// Empty: it has none.
    pub user: String,
    /// `None`: it has none.
    pub region: Option<String>,
    /// Hundredths.
    pub amount: Option<i64>,
}

/// What is computed over the events of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    Count,
    /// How many a second.
    Rate,
    Sum,
    Avg,
    Min,
    Max,
    Stddev,
    /// The amount of the first event by time; of one millisecond, in the order of the log.
    First,
    Last,
    /// The last amount less the first.
    Delta,
    /// The amount that so many of a hundred of the others lie below, to the nearest.
    Quantile(usize),
    Users,
    /// How many different regions.
    Places,
    /// How many different amounts.
    Amounts,
    /// Share of the events of this type.
    Share(&'static str),
    /// The regions that came most, so many; a number each.
    Regions(usize),
    /// The same of a sample of the events, where there are more regions and more events than these:
    /// then all regions, each with how often it really came.
    Sampled {
        most: usize,
        regions: usize,
        events: usize,
    },
    /// How many amounts are not above each of these, and of none lower; and above all.
    Buckets(&'static [i64]),
}

impl What {
    /// There are several numbers of a window.
    pub fn has_parts(self) -> bool {
        matches!(self, What::Regions(_) | What::Sampled { .. } | What::Buckets(_))
    }
}

/// How near a number must be to the one of the definition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Near {
    /// But for the rounding of a double.
    Exact,
    /// Within this share of it.
    Share(f64),
    /// Exact up to so many, beyond that within a share, and one.
    Estimate { exact_up_to: f64, share: f64 },
}

impl Near {
    /// Whether `number` can be said where `wanted` is right.
    pub fn holds(self, number: f64, wanted: f64) -> bool {
        let rounding = 1e-9 * number.abs().max(wanted.abs()).max(1.0);
        let room = match self {
            Near::Estimate { exact_up_to, share } if wanted > exact_up_to => share * wanted + 1.0,
            Near::Exact | Near::Estimate { .. } => 0.0,
            Near::Share(share) => share * wanted.abs(),
        };
        (number - wanted).abs() <= room + rounding
    }
}

/// The windows that hold a time, by their ends: from, to.
pub type Windows = fn(i64) -> Vec<(i64, i64)>;

/// One metric.
#[derive(Clone, Debug)]
pub struct Metric {
    pub name: String,
    /// Only events of this type; all when empty.
    pub kind: &'static str,
    pub what: What,
    pub by_region: bool,
    pub limit: usize,
    pub windows: Windows,
    /// Only the newest so many events of a window count, by their times and the order of the log.
    pub newest: Option<usize>,
    /// Windows end by a silence of more than this: `windows` has the one that an event alone makes.
    pub gap: Option<i64>,
    /// Only events from the newest one of this type on count, of those that came before a window
    /// that ends with them was final.
    pub since: Option<&'static str>,
    /// A number at each event besides, over so many ms before it; `windows` are those that end with slides.
    pub slides: Option<i64>,
    /// A total: when the one began that runs at a time.
    pub runs: Option<fn(i64) -> i64>,
    pub near: Near,
}

impl Metric {
    /// One over all events, without groups, of windows that have nothing special.
    pub fn new(name: &str, what: What, windows: Windows) -> Metric {
        Metric {
            name: name.to_owned(),
            kind: "",
            what,
            by_region: false,
            limit: 0,
            windows,
            newest: None,
            gap: None,
            since: None,
            slides: None,
            runs: None,
            near: Near::Exact,
        }
    }
}

/// A session that ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    pub first: i64,
    pub user: String,
    pub last: i64,
    pub events: u64,
}

/// What became of the log.
#[derive(Debug, Default)]
pub struct Answer {
    pub applied: u64,
    pub duplicate: u64,
    pub late: u64,
    pub sessions: Vec<Ended>,
    /// Value by metric, end and group.
    pub windows: BTreeMap<(String, i64, String), f64>,
    /// Value by metric, minute and group.
    pub minutes: BTreeMap<(String, i64, String), f64>,
}

/// The overflow's name, and a real label that looks like it.
const OTHER: &str = "other";

/// Walks the log.
pub fn answer(log: &[Entry], times: Times, metrics: &[Metric]) -> Answer {
    let mut answer = Answer::default();
    let mut seen = BTreeSet::new();
    let mut open: BTreeMap<&str, Vec<Ended>> = BTreeMap::new();
    let mut closed: BTreeMap<&str, Vec<Ended>> = BTreeMap::new();
    let mut groups: Vec<Vec<String>> = vec![Vec::new(); metrics.len()];
    let mut cells: BTreeMap<(usize, i64, i64, String), Vec<&Entry>> = BTreeMap::new();
    let mut minutes: BTreeMap<(usize, i64, String), Vec<&Entry>> = BTreeMap::new();
    let mut bursts: BTreeMap<(usize, String), Vec<Vec<&Entry>>> = BTreeMap::new();
    let mut begins: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
    // Events of sliding windows, and with the end of which slide they were taken in.
    let mut slid: BTreeMap<(usize, String), Vec<(&Entry, i64)>> = BTreeMap::new();
    let mut greatest: Option<i64> = None;
    for entry in log {
        let stamp = greatest.map_or(i64::MIN / 2, |greatest| greatest - times.disorder);
        greatest = greatest.max(Some(entry.at));
        if !entry.id.is_empty() && !seen.insert((&entry.user, &entry.id)) {
            answer.duplicate += 1;
            continue;
        }
        if place(entry, stamp, times, &mut open, &mut closed) {
            answer.applied += 1
        } else {
            answer.late += 1
        }
        for (index, metric) in metrics.iter().enumerate() {
            if metric.since == Some(entry.kind)
                && stamp < (metric.windows)(entry.at)[0].1 + times.lateness
            {
                begins.entry(index).or_default().push(entry.at);
            }
            let fits = metric.kind.is_empty() || metric.kind == entry.kind;
            let lacks = match metric.what {
                What::Count | What::Rate | What::Share(_) => false,
                What::Users => entry.user.is_empty(),
                What::Regions(_) | What::Sampled { .. } | What::Places => entry.region.is_none(),
                _ => entry.amount.is_none(),
            };
            if !fits || lacks {
                continue;
            }
            let taken = |end: i64| stamp < end + times.lateness;
            let windows = (metric.windows)(entry.at);
            let mut windows: Vec<_> = windows.into_iter().filter(|(_, end)| taken(*end)).collect();
            let minute = entry.at.div_euclid(60_000) * 60_000;
            let in_minute = taken(minute + 60_000);
            if windows.is_empty() && !in_minute {
                continue;
            }
            let group = group(metric, entry, &mut groups[index]);
            if let (Some(gap), false) = (metric.gap, windows.is_empty()) {
                let all = bursts.entry((index, group.clone())).or_default();
                burst(metric, gap, entry, taken, all);
                windows.clear();
            }
            if let (Some(_), Some((_, first))) = (metric.slides, windows.first()) {
                slid.entry((index, group.clone())).or_default().push((entry, *first));
            }
            for (begin, end) in windows {
                cells.entry((index, end, begin, group.clone())).or_default().push(entry);
            }
            if in_minute {
                minutes.entry((index, minute, group)).or_default().push(entry);
            }
        }
    }
    for ((index, group), taken) in slid {
        let (windows, size) = (metrics[index].windows, metrics[index].slides.unwrap_or_default());
        for (entry, own) in &taken {
            let end = entry.at + 1;
            // What comes when its slide is final has no number of its own.
            if windows(entry.at)[0].1 != *own || end == *own {
                continue;
            }
            let held = taken
                .iter()
                .filter(|(other, first)| first <= own && end - size <= other.at && other.at < end);
            let held = held.map(|(other, _)| *other).collect();
            cells.insert((index, end, end - size, group.clone()), held);
        }
    }
    answer.sessions = open.into_values().chain(closed.into_values()).flatten().collect();
    answer.sessions.sort();
    for ((index, group), all) in bursts {
        for entries in all {
            let end = burst_end(&metrics[index], &entries);
            cells.insert((index, end, 0, group.clone()), entries);
        }
    }
    for ((index, end, begin, group), mut entries) in cells {
        let metric = &metrics[index];
        if let Some(begins) = begins.get(&index) {
            let newest = begins.iter().filter(|at| **at < end).max();
            entries.retain(|entry| newest.is_none_or(|newest| entry.at >= *newest));
        }
        // Of nothing there is no number, or nought.
        if entries.is_empty() {
            continue;
        }
        if let Some(newest) = metric.newest {
            entries.sort_by_key(|entry| entry.at);
            entries.drain(..entries.len().saturating_sub(newest));
        }
        for (part, value) in values(metric.what, &entries, end - begin) {
            answer.windows.insert((metric.name.clone(), end, format!("{group}{part}")), value);
        }
    }
    for ((index, minute, group), entries) in minutes {
        let metric = &metrics[index];
        for (part, value) in values(metric.what, &entries, 60_000) {
            let key = (metric.name.clone(), minute, format!("{group}{part}"));
            answer.minutes.insert(key, value);
        }
    }
    answer
}

/// Puts an event into the bursts of its group: with all that are not final and not further off than
/// the gap.
fn burst<'a>(
    metric: &Metric,
    gap: i64,
    entry: &'a Entry,
    taken: impl Fn(i64) -> bool,
    all: &mut Vec<Vec<&'a Entry>>,
) {
    let touches = |other: &Vec<&Entry>| {
        let near = other.iter().any(|other| (other.at - entry.at).abs() <= gap);
        near && taken(burst_end(metric, other))
    };
    let mut joined: Vec<&Entry> = all.extract_if(.., |other| touches(other)).flatten().collect();
    joined.push(entry);
    all.push(joined);
}

/// Where a burst ends: where its last event alone would.
fn burst_end(metric: &Metric, entries: &[&Entry]) -> i64 {
    let last = entries.iter().map(|entry| entry.at).max().unwrap();
    (metric.windows)(last)[0].1
}

/// Puts an event into its key's sessions; false when it is late.
fn place<'a>(
    entry: &'a Entry,
    stamp: i64,
    times: Times,
    open: &mut BTreeMap<&'a str, Vec<Ended>>,
    closed: &mut BTreeMap<&'a str, Vec<Ended>>,
) -> bool {
    if entry.user.is_empty() {
        return true;
    }
    let Times { gap, lateness, .. } = times;
    let (open, closed) =
        (open.entry(&entry.user).or_default(), closed.entry(&entry.user).or_default());
    closed.extend(open.extract_if(.., |session| session.last + gap + lateness < stamp));
    let touches =
        |session: &Ended| entry.at >= session.first - gap && entry.at <= session.last + gap;
    let joined: Vec<Ended> = open.extract_if(.., |session| touches(session)).collect();
    let is_late =
        closed.iter().any(touches) || (joined.is_empty() && entry.at + gap + lateness < stamp);
    if is_late {
        open.extend(joined);
        return false;
    }
    let mut session =
        Ended { first: entry.at, user: entry.user.clone(), last: entry.at, events: 1 };
    for other in joined {
        session.first = session.first.min(other.first);
        session.last = session.last.max(other.last);
        session.events += other.events;
    }
    open.push(session);
    true
}

/// The text of an event's group: the label with the separator and a lone `other` escaped.
fn group(metric: &Metric, entry: &Entry, known: &mut Vec<String>) -> String {
    if !metric.by_region {
        return String::new();
    }
    group_of(entry.region.clone(), metric.limit, known)
}

/// The group of a region, where so many are kept.
pub fn group_of(region: Option<String>, limit: usize, known: &mut Vec<String>) -> String {
    let region = region.unwrap_or_default();
    if !known.contains(&region) {
        if known.len() == limit {
            return OTHER.to_owned();
        }
        known.push(region.clone());
    }
    if region == OTHER {
        format!("\\{OTHER}")
    } else {
        region.replace('\\', "\\\\").replace('|', "\\|")
    }
}

/// What is said of the events of a window, with the name of each part where there are several.
fn values(what: What, entries: &[&Entry], size: i64) -> Vec<(String, f64)> {
    match what {
        What::Regions(most) => ranked(entries, most),
        What::Sampled { most, regions, events } => {
            let mut all = ranked(entries, usize::MAX);
            // Besides the regions it says of how many events they are.
            if all.len() <= 1 + regions || entries.len() <= events {
                return ranked(entries, most);
            }
            all.iter_mut().skip(1).for_each(|(region, _)| region.insert(1, SAMPLED));
            all
        }
        What::Buckets(bounds) => {
            let amounts = || entries.iter().filter_map(|entry| entry.amount);
            let mut lower = i64::MIN;
            let ends = bounds.iter().copied().chain([i64::MAX]);
            let count = |(number, end): (usize, i64)| {
                let inside = amounts().filter(|amount| *amount > lower && *amount <= end).count();
                lower = end;
                (part(&number.to_string()), inside as f64)
            };
            ends.enumerate().map(count).collect()
        }
        what => vec![(String::new(), value(what, entries, size))],
    }
}

/// How many events have a region, and the regions that came most.
fn ranked(entries: &[&Entry], most: usize) -> Vec<(String, f64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for region in entries.iter().filter_map(|entry| entry.region.as_deref()) {
        *counts.entry(region).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    // Stable: those that came as often stay in order of their names.
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let named = |(region, count): &(&str, u64)| (part(region), *count as f64);
    let of = (part(OF), entries.len() as f64);
    std::iter::once(of).chain(counts.iter().take(most).map(named)).collect()
}

/// Instead of a region: how many events a ranked list is of.
pub const OF: &str = "#";

/// Before a part of which a sample speaks.
pub const SAMPLED: char = '~';

/// How a part of a window's numbers is told from the others behind the group.
pub fn part(name: &str) -> String {
    format!("#{name}")
}

fn value(what: What, entries: &[&Entry], size: i64) -> f64 {
    let amounts = || entries.iter().filter_map(|entry| entry.amount);
    let count = entries.len() as i64;
    match what {
        What::Count => count as f64,
        What::Rate => count as f64 / (size as f64 / 1_000.0),
        What::Sum => amounts().sum::<i64>() as f64 / 100.0,
        What::Avg => amounts().sum::<i64>() as f64 / count as f64 / 100.0,
        What::Min => amounts().min().unwrap_or_default() as f64 / 100.0,
        What::Max => amounts().max().unwrap_or_default() as f64 / 100.0,
        What::Stddev => {
            let (sum, squares) = (amounts().sum::<i64>(), amounts().map(|a| a * a).sum::<i64>());
            ((squares * count - sum * sum) as f64).sqrt() / count as f64 / 100.0
        }
        What::First => ends(entries).0 as f64 / 100.0,
        What::Last => ends(entries).1 as f64 / 100.0,
        What::Delta => (ends(entries).1 - ends(entries).0) as f64 / 100.0,
        What::Quantile(percent) => {
            let mut amounts: Vec<i64> = amounts().collect();
            amounts.sort_unstable();
            // Halves go up.
            let rank = (percent * (amounts.len() - 1) + 50) / 100;
            amounts[rank] as f64 / 100.0
        }
        What::Users => different(entries.iter().map(|entry| &entry.user)),
        What::Places => different(entries.iter().map(|entry| &entry.region)),
        What::Amounts => different(amounts()),
        What::Share(kind) => {
            entries.iter().filter(|entry| entry.kind == kind).count() as f64 / count as f64
        }
        What::Regions(_) | What::Sampled { .. } | What::Buckets(_) => {
            unreachable!("these have several numbers")
        }
    }
}

fn different<T: Ord>(values: impl Iterator<Item = T>) -> f64 {
    values.collect::<BTreeSet<T>>().len() as f64
}

/// The first and the last amount, by time.
fn ends(entries: &[&Entry]) -> (i64, i64) {
    // Entries are parts of one slice, the log, so that their places are its order.
    let place = |entry: &&&Entry| (entry.at, std::ptr::from_ref::<Entry>(**entry));
    let amount = |entry: Option<&&Entry>| entry.and_then(|entry| entry.amount).unwrap_or_default();
    let first = entries.iter().min_by_key(place);
    (amount(first), amount(entries.iter().max_by_key(place)))
}
