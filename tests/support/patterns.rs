//! What patterns and joins must find in a log, by their definition alone: the events of a key in the
//! order of their time, and from each that may begin one a search for the rest; each event of one
//! side with each of the other. Shares no code with the engine.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Answer, Entry, Times};

/// A pattern over event types.
pub struct Pattern {
    pub name: &'static str,
    pub first: &'static str,
    pub times: usize,
    pub then: &'static [&'static str],
    pub without: &'static [&'static str],
    pub not_then: &'static [&'static str],
    pub within: i64,
}

/// A match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Matched {
    pub at: i64,
    pub user: String,
    pub first: i64,
    /// Of its last event.
    pub region: Option<String>,
}

/// A metric that counts matches.
pub struct Counts {
    pub name: &'static str,
    pub pattern: &'static str,
    /// By region, so many of them.
    pub limit: Option<usize>,
    /// Mean duration instead of the count.
    pub duration: bool,
    pub windows: fn(i64) -> Vec<(i64, i64)>,
}

/// All matches of a pattern in a log, in order.
pub fn matches(pattern: &Pattern, log: &[Entry], times: Times) -> Vec<Matched> {
    let mut found: Vec<Matched> = Vec::new();
    for (user, events) in by_user(|kind| bits(pattern, kind), log, times) {
        let mut from = 0;
        while from < events.len() {
            let Some((last, at)) = search(pattern, &events[from..]) else {
                from += 1;
                continue;
            };
            let (first, region) = (events[from].at, events[from + last].region.clone());
            found.push(Matched { at, user: user.to_owned(), first, region });
            from += last + 1;
        }
    }
    found.sort();
    found
}

/// A join of event types.
pub struct Join {
    pub name: &'static str,
    pub left: &'static str,
    pub right: &'static str,
    pub before: i64,
    pub within: i64,
    /// Both have the same region.
    pub same_region: bool,
    /// Pairs are results.
    pub pairs: bool,
    /// And left events without a right one.
    pub alone: bool,
}

/// All results of a join in a log, in order, with the region of the right event, or else of the left.
pub fn joined(join: &Join, log: &[Entry], times: Times) -> Vec<Matched> {
    let bits = |kind: &str| {
        let sides = (0u32..).zip([join.left, join.right]);
        sides.filter(|(_, side)| *side == kind).map(|(bit, _)| bit).collect()
    };
    let mut found: Vec<(i64, &str, usize, usize, Matched)> = Vec::new();
    for (user, events) in by_user(bits, log, times) {
        let lefts = events.iter().enumerate().filter(|(_, event)| event.kind == join.left);
        for (number, left) in lefts {
            let result = |at, region: &Option<String>| {
                let (user, region) = (user.to_owned(), region.clone());
                Matched { at, user, first: left.at, region }
            };
            let fits = |right: &Entry| {
                right.kind == join.right
                    && (left.at - join.before..=left.at + join.within).contains(&right.at)
                    && (!join.same_region || left.region.is_some() && left.region == right.region)
            };
            let others = events.iter().enumerate().filter(|(other, _)| *other != number);
            let pairs: Vec<_> = others.filter(|(_, right)| fits(right)).collect();
            if pairs.is_empty() && join.alone {
                let at = left.at + join.within;
                found.push((at, user, number, 0, result(at, &left.region)));
            }
            for (other, right) in pairs.into_iter().filter(|_| join.pairs) {
                let at = left.at.max(right.at);
                found.push((at, user, number, other, result(at, &right.region)));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(.., result)| result).collect()
}

/// The events that are not late and of which `bits` says something, by user, in the order of their
/// time.
pub fn by_user(
    bits: impl Fn(&str) -> Vec<u32>,
    log: &[Entry],
    times: Times,
) -> BTreeMap<&str, Vec<&Entry>> {
    let mut events: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    let (mut seen, mut greatest) = (BTreeSet::new(), None::<i64>);
    for entry in log {
        let stamp = greatest.map_or(i64::MIN / 2, |greatest| greatest - times.disorder);
        greatest = greatest.max(Some(entry.at));
        if !entry.id.is_empty() && !seen.insert((&entry.user, &entry.id)) {
            continue;
        }
        let named = !bits(entry.kind).is_empty();
        if named && !entry.user.is_empty() && entry.at >= stamp - times.lateness {
            events.entry(&entry.user).or_default().push(entry);
        }
    }
    // Of one millisecond: as the pattern names them; then those without a region, and short ones.
    let place = |entry: &&Entry| {
        let bits = bits(entry.kind);
        let region = entry.region.clone().map(|region| (region.len(), region));
        (entry.at, bits[0], bits.into_iter().map(|bit| 1u64 << bit).sum::<u64>(), region)
    };
    events.values_mut().for_each(|events| events.sort_by_cached_key(place));
    events
}

/// What a type of events is to a pattern: 0 the first, then the steps, behind them what must not
/// come.
fn bits(pattern: &Pattern, kind: &str) -> Vec<u32> {
    let steps = std::iter::once(&pattern.first).chain(pattern.then);
    let steps = (0..).zip(steps).filter(|(_, step)| **step == kind).map(|(bit, _)| bit);
    let without = pattern.without.contains(&kind).then_some(40);
    let not_then = pattern.not_then.contains(&kind).then_some(41);
    steps.chain(without).chain(not_then).collect()
}

/// Whether a match begins with the first of these events: where its last one is, and its time.
fn search(pattern: &Pattern, events: &[&Entry]) -> Option<(usize, i64)> {
    let steps: Vec<&str> = std::iter::repeat_n(pattern.first, pattern.times)
        .chain(pattern.then.iter().copied())
        .collect();
    let end = events[0].at + pattern.within;
    let (mut taken, mut last) = (0, 0);
    for (index, event) in events.iter().enumerate().take_while(|(_, event)| event.at <= end) {
        if steps.get(taken) == Some(&event.kind) {
            (taken, last) = (taken + 1, index);
            if taken == steps.len() && pattern.not_then.is_empty() {
                return Some((last, event.at));
            }
        } else if taken == 0
            || pattern.without.contains(&event.kind)
            || (taken == steps.len() && pattern.not_then.contains(&event.kind))
        {
            return None;
        }
    }
    (taken == steps.len() && !pattern.not_then.is_empty()).then_some((last, end))
}

/// Adds what metrics must say of matches.
pub fn count(answer: &mut Answer, found: &BTreeMap<&str, Vec<Matched>>, metrics: &[Counts]) {
    for metric in metrics {
        let mut groups: Vec<String> = Vec::new();
        let mut windows: BTreeMap<(i64, String), Vec<i64>> = BTreeMap::new();
        let mut minutes: BTreeMap<(i64, String), Vec<i64>> = BTreeMap::new();
        for matched in &found[metric.pattern] {
            let group = match metric.limit {
                None => String::new(),
                Some(limit) => super::model::group_of(matched.region.clone(), limit, &mut groups),
            };
            let lasted = matched.at - matched.first;
            for (_, end) in (metric.windows)(matched.at) {
                windows.entry((end, group.clone())).or_default().push(lasted);
            }
            let minute = matched.at.div_euclid(60_000) * 60_000;
            minutes.entry((minute, group)).or_default().push(lasted);
        }
        let value = |lasted: &[i64]| {
            let count = lasted.len() as f64;
            let mean = || lasted.iter().sum::<i64>() as f64 / count / 1_000.0;
            if metric.duration { mean() } else { count }
        };
        for (cells, all) in [(windows, &mut answer.windows), (minutes, &mut answer.minutes)] {
            for ((end, group), lasted) in cells {
                all.insert((metric.name.to_owned(), end, group), value(&lasted));
            }
        }
    }
}
