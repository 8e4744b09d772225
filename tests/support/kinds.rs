//! What sessions of a kind of their own a log has, by the definition alone: the events of a user in the
//! order of their time, cut where nothing happened for the gap. Shares no code with the engine.

use std::collections::BTreeMap;

use super::model::{Answer, Entry, Times, group_of};
use super::patterns::by_user;

/// Sessions with `add` as entry and `buy` as goal.
pub struct Kind {
    pub name: &'static str,
    pub gap: i64,
    pub max_length: i64,
}

/// A session that ended.
pub struct Visit {
    pub at: i64,
    pub user: String,
    pub first: i64,
    pub outcome: &'static str,
    pub views: u64,
    /// The last region that there is.
    pub region: Option<String>,
    /// It is the first of its user.
    pub is_first: bool,
    /// The first day of the user, UTC.
    pub cohort: String,
}

/// All of them, in no order.
pub fn visits(kind: &Kind, log: &[Entry], times: Times) -> Vec<Visit> {
    let bits = |event: &str| {
        let own = ["add", "buy"].iter().position(|own| *own == event).map(|bit| bit as u32 + 1);
        std::iter::once(0).chain(own).chain((event == "view").then_some(16)).collect()
    };
    let mut found = Vec::new();
    for (user, events) in by_user(bits, log, times) {
        let mut rest = &events[..];
        let day = jiff::Timestamp::from_millisecond(events[0].at).unwrap().strftime("%F");
        let cohort = day.to_string();
        while let Some(first) = rest.first() {
            let silent = rest.windows(2).position(|two| two[1].at - two[0].at > kind.gap);
            let whole = silent.map_or(rest.len(), |last| last + 1);
            let long = rest.iter().position(|event| event.at - first.at > kind.max_length);
            let cut = long.filter(|long| *long < whole);
            let (visit, others) = rest.split_at(cut.unwrap_or(whole));
            let has = |kind: &str| visit.iter().any(|event| event.kind == kind);
            found.push(Visit {
                user: user.to_owned(),
                first: first.at,
                at: match cut {
                    Some(_) => first.at + kind.max_length,
                    None => (visit[visit.len() - 1].at + kind.gap).min(first.at + kind.max_length),
                },
                outcome: match (has("add"), has("buy")) {
                    (true, true) => "converted",
                    (true, false) => "abandoned",
                    _ => "browsed",
                },
                views: visit.iter().filter(|event| event.kind == "view").count() as u64,
                is_first: rest.len() == events.len(),
                cohort: cohort.clone(),
                region: visit.iter().rev().find_map(|event| event.region.clone()),
            });
            rest = others;
        }
    }
    found
}

/// Adds what must be said of them: `NAME_by_first`, `NAME_by_outcome`, `NAME_views` (their sum) and `NAME_by_region`.
pub fn count(
    answer: &mut Answer,
    found: &[Visit],
    name: &str,
    windows: fn(i64) -> Vec<(i64, i64)>,
) {
    for visit in found {
        let region = group_of(visit.region.clone(), usize::MAX, &mut Vec::new());
        let numbers = [
            ("by_first", format!("{}|{}", visit.is_first, visit.cohort), 1.0),
            ("by_outcome", visit.outcome.to_owned(), 1.0),
            ("views", String::new(), visit.views as f64),
            ("by_region", region, 1.0),
        ];
        for (metric, group, number) in numbers {
            let add = |numbers: &mut BTreeMap<_, f64>, end| {
                let key = (format!("{name}_{metric}"), end, group.clone());
                *numbers.entry(key).or_default() += number;
            };
            windows(visit.at).into_iter().for_each(|(_, end)| add(&mut answer.windows, end));
            add(&mut answer.minutes, visit.at.div_euclid(60_000) * 60_000);
        }
    }
}
