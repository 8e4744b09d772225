//! Funnels against every chain of events that there is, for any order of arrival.

use proptest::prelude::*;

use super::test_ground::{Happened, TYPES, conditions, hits, log, run};
use super::*;
use crate::event::Schema;
use crate::metric::{Attr, Fact};
use crate::number::Amount;
use crate::time::{EpochMs, TimePolicy};

const WITHIN: i64 = 20;

fn schema() -> Schema {
    Schema {
        slots: ["place", STEP, OUTCOME, WAITED, DURATION].map(String::from).to_vec(),
        event_types: TYPES.map(String::from).to_vec(),
        patterns: vec!["f".into()],
        ..Schema::default()
    }
}

pub fn patterns(steps: &[&str], without: &str, lateness: i64) -> Patterns {
    let funnel = FunnelSpec {
        names: (1..=steps.len()).map(|step| step.to_string()).collect(),
        steps: steps.iter().map(|types| conditions(types)).collect(),
        without: if without.is_empty() { Vec::new() } else { vec![conditions(without)] },
        within: WITHIN,
    };
    let place = Taken { side: Side::First, attribute: "place".into() };
    let spec = PatternSpec {
        name: "f".into(),
        key: None,
        title: "F".into(),
        seeks: Seeks::Funnel(funnel),
        attributes: vec![("place".into(), place)],
        alert: None,
    };
    let time = TimePolicy { allowed_lateness: lateness, ..TimePolicy::default() };
    Patterns::compile(&[spec], &time, 1_000, &schema())
}

/// An event of the funnel as metrics see it: when, step, outcome, time since the step before and since
/// the first event, place.
fn seen(found: &Match, patterns: &Patterns) -> String {
    let fact = MatchFact::new(found, "ada", &patterns.list[0]);
    let text = |slot| fact.attr(slot).to_string();
    format!("{} {} {} {} {} {}", fact.at(), text(1), text(2), text(3), text(4), text(0))
}

pub fn all_seen(fx: &PatternEffects, patterns: &Patterns) -> Vec<String> {
    fx.matches.iter().map(|found| seen(found, patterns)).collect()
}

/// All of it by looking at every chain of events: which steps are reached when, and by which chain.
pub fn search(events: &[Happened], patterns: &Patterns, steps: usize) -> Vec<String> {
    let held = |event: &Happened| hits(patterns, event).pop().map(|(_, held)| held);
    let mut sorted: Vec<_> = events.iter().filter_map(|e| Some((held(e)?, e.place))).collect();
    sorted.sort();
    let mut found = Vec::new();
    let mut start = 0;
    while start < sorted.len() {
        if sorted[start].0.meets & 1 == 0 {
            start += 1;
            continue;
        }
        // Chains as indices of events, of this attempt.
        let mut chains: Vec<Vec<usize>> = Vec::new();
        let (mut reached, mut next, mut first) = (0, start, 0);
        let at = |index: usize| sorted[index].0.at;
        let place = sorted[start].1;
        let mut over = None;
        while next < sorted.len() && over.is_none() {
            let (event, _) = &sorted[next];
            let newest = chains.iter().map(|chain| at(chain[0])).max();
            if newest.is_some_and(|newest| newest + WITHIN < event.at) {
                break;
            }
            let fits = |chain: &&Vec<usize>| {
                event.meets & (1 << chain.len()) != 0 && at(chain[0]) + WITHIN >= event.at
            };
            let longer: Vec<Vec<usize>> =
                chains.iter().filter(fits).map(|chain| [&chain[..], &[next]].concat()).collect();
            let ends = event.meets & (1 << 30) != 0 && longer.is_empty();
            if ends && !chains.is_empty() {
                over = Some(event.at);
                break;
            }
            chains.extend(longer);
            if event.meets & 1 != 0 {
                chains.push(vec![next]);
            }
            let most = chains.iter().map(Vec::len).max().unwrap_or(0);
            if most > reached {
                // Of those that began last the one that was at the step before first.
                let best = chains.iter().filter(|chain| chain.len() == most);
                let best = best.min_by_key(|chain| {
                    (-at(chain[0]), if most > 1 { at(chain[most - 2]) } else { 0 })
                });
                let best = best.unwrap();
                first = at(best[0]);
                let waited = (most > 1).then(|| event.at - at(best[most - 2]));
                found.push(line(event.at, most, "reached", waited, event.at - first, place));
                reached = most;
            } else if let Some(newest) =
                chains.iter().filter(|chain| chain.len() == reached).map(|chain| at(chain[0])).max()
            {
                first = newest;
            }
            next += 1;
            if reached == steps {
                over = Some(EpochMs::MAX);
            }
        }
        if reached < steps {
            let newest = chains.iter().map(|chain| at(chain[0])).max().unwrap();
            let at = over.unwrap_or(newest + WITHIN);
            found.push(line(at, reached, "left", None, at - first, place));
        }
        // What ended it may begin the next one.
        start = next;
    }
    found
}

fn line(
    at: EpochMs,
    step: usize,
    outcome: &str,
    waited: Option<i64>,
    lasted: i64,
    place: i64,
) -> String {
    let seconds = |ms: i64| Attr::Amount(Amount::from_millis(ms)).to_string();
    let waited = waited.map_or(String::new(), seconds);
    let place = if place < 0 { String::new() } else { place.to_string() };
    format!("{at} {step} {outcome} {waited} {} {place}", seconds(lasted))
}

fn funnels() -> Vec<(Vec<&'static str>, &'static str)> {
    vec![
        (vec!["a", "b"], ""),
        (vec!["a", "b", "c"], ""),
        (vec!["a", "b", "c"], "d"),
        (vec!["ab", "b", "a"], "c"),
        (vec!["a", "a", "b", "a"], ""),
        (vec!["a", "ab", "bc", "c"], "abd"),
        (vec!["a", "b", "c", "d"], ""),
    ]
}

proptest! {
    #[test]
    fn a_funnel_finds_what_a_look_at_every_chain_finds(
        log in log(),
        which in 0usize..7,
        lateness in 0i64..12,
        pauses in prop::collection::vec(any::<bool>(), 1..9),
    ) {
        let (steps, without) = &funnels()[which];
        let patterns = patterns(steps, without, lateness);
        let (fx, taken) = run(&patterns, &log, &pauses);
        let found = all_seen(&fx, &patterns);
        prop_assert_eq!(&found, &search(&taken, &patterns, steps.len()));
        // Each attempt ends once, and all that reached a step reached those before it.
        let count = |step: usize, outcome: &str| {
            let what = format!(" {step} {outcome} ");
            found.iter().filter(|line| line.contains(&what)).count()
        };
        for step in 1..=steps.len() {
            let on = if step < steps.len() { count(step + 1, "reached") } else { count(step, "reached") };
            prop_assert_eq!(count(step, "reached"), on + count(step, "left"));
        }
    }

    #[test]
    fn the_order_of_arrival_makes_no_difference(log in log(), which in 0usize..7, rounds in 1usize..4) {
        let (steps, without) = &funnels()[which];
        // Nothing is late.
        let patterns = patterns(steps, without, 1_000);
        let mut other = log.clone();
        for round in 0..rounds {
            let mid = other.len() / (round + 2);
            other.rotate_left(mid);
        }
        let once = run(&patterns, &log, &[false]).0;
        let again = run(&patterns, &other, &[true, false]).0;
        prop_assert_eq!(all_seen(&once, &patterns), all_seen(&again, &patterns));
    }
}

#[test]
fn whoever_begins_again_is_not_counted_twice() {
    let patterns = patterns(&["a", "b", "c"], "", 0);
    let happened = |(at, event_type)| Happened { at, event_type, place: 0 };
    let events = [(0, 0), (5, 1), (15, 0), (18, 1), (30, 2), (31, 2), (40, 0)].map(happened);
    let found = all_seen(&run(&patterns, &events, &[false]).0, &patterns);
    // c came too late for a0 b5, but not for a15 b18.
    let reached = ["0 1 reached", "5 2 reached", "30 3 reached", "40 1 reached", "60 1 left"];
    assert_eq!(found.len(), reached.len(), "{found:?}");
    for (line, start) in found.iter().zip(reached) {
        assert!(line.starts_with(start), "{line} is not {start}");
    }
}
