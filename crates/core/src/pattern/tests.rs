//! Patterns and joins against a plain search over the sorted events, for any order of arrival.

use proptest::prelude::*;

use super::test_ground::{DISORDER, Happened, TYPES, hits};
use super::*;
use crate::event::Schema;
use crate::keyed::KeyedMachine as _;
use crate::metric::{Attr, Condition, Fact, Test};
use crate::number::Decimal;
use crate::time::{BEGINNING, END_OF_TIME, EpochMs, TimePolicy};

fn schema() -> Schema {
    Schema {
        slots: vec!["amount".into(), "most".into(), DURATION.into()],
        event_types: TYPES.map(String::from).to_vec(),
        patterns: vec!["p".into()],
        ..Schema::default()
    }
}

/// Events of one of these types, `"ab"`; of those with a `+` the large ones.
fn conditions(types: &str) -> Vec<Condition> {
    let names = types.chars().filter(|letter| *letter != '+').map(String::from).collect();
    let of_types = Condition { attribute: "type".into(), test: Test::TextIn(names) };
    let large = || Condition { attribute: "amount".into(), test: Test::Ge(Decimal::from_i64(3)) };
    std::iter::once(of_types).chain(types.contains('+').then(large)).collect()
}

fn spec(
    (first, times): (&str, u32),
    then: &[&str],
    without: &[&str],
    not_then: &[&str],
) -> PatternSpec {
    let each = |types: &[&str]| types.iter().map(|types| conditions(types)).collect();
    of(Seeks::Sequence(SequenceSpec {
        first: conditions(first),
        times,
        then: each(then),
        without: each(without),
        not_then: each(not_then),
        within: 20,
    }))
}

fn of(seeks: Seeks) -> PatternSpec {
    PatternSpec {
        name: "p".into(),
        key: None,
        title: "P".into(),
        seeks,
        attributes: vec![
            ("start".into(), Taken { side: Side::First, attribute: "amount".into() }),
            ("most".into(), Taken { side: Side::Last, attribute: "amount".into() }),
        ],
        alert: None,
    }
}

/// A join of events that come so long before and after.
fn join(left: &str, right: &str, kind: JoinKind, near: (i64, i64), on: &[&str]) -> PatternSpec {
    let (before, within) = near;
    let (left, right) = (conditions(left), conditions(right));
    let on = on.iter().map(ToString::to_string).collect();
    of(Seeks::Join(JoinSpec { left, right, on, before, within, kind, pairs_max: 1_000 }))
}

pub fn patterns(spec: &PatternSpec, lateness: i64, held_max: usize) -> Patterns {
    let time = TimePolicy { allowed_lateness: lateness, ..TimePolicy::default() };
    Patterns::compile(std::slice::from_ref(spec), &time, held_max, &schema())
}

/// What a match comes to: its time, the time of its first event, and the amounts.
pub type Seen = (EpochMs, EpochMs, String);

pub fn seen(found: &Match, patterns: &Patterns) -> Seen {
    let attributes = found.attributes(&patterns.list[0]);
    let text: Vec<String> =
        attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    (found.at, found.first.at, text.join(" "))
}

pub fn meets(event: &Happened, types: &[Condition]) -> bool {
    types.iter().all(|condition| match &condition.test {
        Test::TextIn(names) => {
            names.iter().any(|name| name == TYPES[usize::from(event.event_type)])
        }
        _ => event.place >= 3,
    })
}

/// What must be found, and how many of either side of a join find nothing.
pub fn wanted(
    spec: &PatternSpec,
    events: &[Happened],
    patterns: &Patterns,
) -> (Vec<Seen>, [u64; 2]) {
    let (mut found, alone) = match &spec.seeks {
        Seeks::Sequence(spec) => (search(spec, events, patterns), [0, 0]),
        Seeks::Join(spec) => pairs(spec, events),
        _ => unreachable!("they have tests of their own"),
    };
    found.sort();
    (found, alone)
}

/// Tries every event of one side with every one of the other.
fn pairs(spec: &JoinSpec, events: &[Happened]) -> (Vec<Seen>, [u64; 2]) {
    let (mut found, mut left_alone) = (Vec::new(), 0);
    let mut right_alone: Vec<bool> = events.iter().map(|event| meets(event, &spec.right)).collect();
    for (number, left) in events.iter().enumerate().filter(|(_, left)| meets(left, &spec.left)) {
        let mut alone = true;
        for (other, right) in events.iter().enumerate() {
            let after = right.at - left.at;
            if number != other
                && meets(right, &spec.right)
                && (-spec.before..=spec.within).contains(&after)
                && (spec.on.is_empty() || left.place == right.place)
            {
                (alone, right_alone[other]) = (false, false);
                let amounts = format!("start={} most={}", left.place, right.place);
                let at = left.at.max(right.at);
                found.extend((spec.kind != JoinKind::Anti).then_some((at, left.at, amounts)));
            }
        }
        if alone {
            left_alone += 1;
            let amounts = format!("start={} most=", left.place);
            let one = (left.at + spec.within, left.at, amounts);
            found.extend((spec.kind != JoinKind::Inner).then_some(one));
        }
    }
    let right_alone = right_alone.iter().filter(|alone| **alone).count() as u64;
    (found, [left_alone, right_alone])
}

/// Looks from each event on for one match, the plainest way.
fn search(spec: &SequenceSpec, events: &[Happened], patterns: &Patterns) -> Vec<Seen> {
    let any =
        |event: &Happened, lists: &[Vec<Condition>]| lists.iter().any(|one| meets(event, one));
    let mut sorted: Vec<&Happened> =
        events.iter().filter(|event| !hits(patterns, event).is_empty()).collect();
    sorted.sort_by_key(|event| hits(patterns, event)[0].1.clone());
    let steps: Vec<&Vec<Condition>> =
        std::iter::repeat_n(&spec.first, spec.times as usize).chain(&spec.then).collect();
    let mut found = Vec::new();
    let mut start = 0;
    while start < sorted.len() {
        let mut next = start + 1;
        if meets(sorted[start], &spec.first) {
            let end = sorted[start].at + spec.within;
            let (mut step, mut last, mut dead) = (1, start, false);
            for (index, event) in sorted.iter().enumerate().skip(start + 1) {
                if event.at > end || dead || (step == steps.len() && spec.not_then.is_empty()) {
                    break;
                }
                if step < steps.len() && meets(event, steps[step]) {
                    (step, last) = (step + 1, index);
                } else {
                    dead = any(event, &spec.without)
                        || (step == steps.len() && any(event, &spec.not_then));
                }
            }
            if step == steps.len() && !dead {
                let at = if spec.not_then.is_empty() { sorted[last].at } else { end };
                let amounts = format!("start={} most={}", sorted[start].place, sorted[last].place);
                found.push((at, sorted[start].at, amounts));
                next = last + 1;
            }
        }
        start = next;
    }
    found
}

pub fn specs() -> Vec<PatternSpec> {
    vec![
        spec(("a", 1), &["b"], &[], &[]),
        spec(("a", 1), &["b"], &["c"], &[]),
        spec(("a", 3), &[], &[], &[]),
        spec(("a", 3), &["b"], &["c", "d+"], &[]),
        spec(("a", 1), &[], &[], &["b"]),
        spec(("a", 1), &[], &[], &["ab"]),
        spec(("a", 2), &["b", "c"], &["d"], &["b+", "d"]),
        spec(("ab", 1), &["b", "bc+"], &["a+"], &["c"]),
        spec(("a+", 1), &["a"], &["abcd"], &[]),
        join("a", "b", JoinKind::Inner, (0, 20), &[]),
        join("a", "b+", JoinKind::Left, (8, 20), &["amount"]),
        join("a", "bc", JoinKind::Anti, (15, 3), &[]),
        join("ab", "bc", JoinKind::Left, (10, 0), &[]),
        join("a+", "a", JoinKind::Inner, (0, 0), &["amount"]),
        join("abc", "abc", JoinKind::Left, (5, 5), &["amount"]),
    ]
}

fn log() -> impl Strategy<Value = Vec<Happened>> {
    let event = (0i64..60, 0u16..4, 0i64..6);
    prop::collection::vec(event, 1..60).prop_map(|events| {
        let mut now = 1_000;
        let happened = |(step, event_type, amount)| {
            // Often at once, now and then long after.
            now += [0, 0, 1, 3, 7, 25][(step % 6) as usize];
            Happened { at: now - step / 6, event_type, place: amount }
        };
        events.into_iter().map(happened).collect()
    })
}

/// Feeds events in the order of arrival. `pauses`: where the timer fires, and where the machine is
/// written and read again. What was found, and the events that were not late.
fn run(
    patterns: &Patterns,
    log: &[Happened],
    pauses: &[bool],
) -> (Vec<Seen>, Vec<Happened>, PatternTally) {
    let (mut machine, mut fx) = (Machine::default(), PatternEffects::new(patterns));
    let mut meanings = patterns.meanings();
    let (mut newest, mut taken) = (None, Vec::new());
    for (event, pause) in log.iter().zip(pauses.iter().cycle()) {
        let watermark = newest.map_or(BEGINNING, |newest: i64| newest - DISORDER);
        newest = newest.max(Some(event.at));
        if *pause {
            machine.expire(patterns, watermark, &mut fx);
            let mut record = Vec::new();
            machine.encode(&meanings, &mut record);
            let again = Machine::decode(&record, &mut meanings, patterns).unwrap();
            assert_eq!(again, machine);
            machine = again;
        }
        let late = fx.tallies[0].late;
        let hits = hits(patterns, event);
        machine.apply(patterns, &PatternEvent { watermark, hits }, &mut fx).unwrap();
        taken.extend((fx.tallies[0].late == late).then(|| event.clone()));
        let deadline = machine.next_deadline(patterns);
        assert!(deadline.is_none_or(|at| at >= watermark), "it has something to do already");
    }
    machine.expire(patterns, END_OF_TIME, &mut fx);
    assert_eq!((machine.next_deadline(patterns), machine.heap_bytes()), (None, 0));
    let mut found: Vec<Seen> = fx.matches.iter().map(|found| seen(found, patterns)).collect();
    found.sort();
    (found, taken, fx.tallies[0])
}

proptest! {
    #[test]
    fn what_is_found_is_what_a_search_finds(log in log(), which in 0usize..15, lateness in 0i64..12) {
        let spec = &specs()[which];
        let patterns = patterns(spec, lateness, 1_000);
        let (found, taken, tally) = run(&patterns, &log, &[false]);
        let (wanted, alone) = wanted(spec, &taken, &patterns);
        prop_assert_eq!(&found, &wanted);
        prop_assert_eq!([tally.left_alone, tally.right_alone], alone);
        prop_assert_eq!(tally.matches, found.len() as u64);
        prop_assert_eq!(tally.lacked_room(), 0);
        // As soon as the watermark has passed it by the lateness, and not before.
        let (on_time, late): (Vec<Happened>, Vec<Happened>) = {
            let mut newest = i64::MIN / 2;
            let passes = |event: &Happened| {
                let watermark = newest - DISORDER;
                newest = newest.max(event.at);
                event.at >= watermark - lateness || hits(&patterns, event).is_empty()
            };
            log.iter().cloned().partition(passes)
        };
        let sides = match &spec.seeks {
            Seeks::Join(join) => [&join.left, &join.right]
                .map(|side| late.iter().filter(|event| meets(event, side)).count() as u64),
            _ => [0, 0],
        };
        prop_assert_eq!([tally.left_late, tally.right_late], sides);
        prop_assert_eq!(on_time.len(), taken.len());
    }

    #[test]
    fn timers_commits_and_the_order_of_arrival_change_nothing(
        log in log(),
        which in 0usize..15,
        pauses in prop::collection::vec(any::<bool>(), 1..9),
        swaps in prop::collection::vec((0usize..60, 0usize..60), 0..80),
    ) {
        let spec = &specs()[which];
        // Nothing is late.
        let patterns = patterns(spec, 100_000, 1_000);
        let (wanted, ..) = run(&patterns, &log, &[false]);
        let mut shuffled = log.clone();
        swaps.iter().for_each(|(a, b)| shuffled.swap(a % log.len(), b % log.len()));
        let (found, ..) = run(&patterns, &shuffled, &pauses);
        prop_assert_eq!(&found, &wanted);
        let (found, ..) = run(&patterns, &log, &pauses);
        prop_assert_eq!(&found, &wanted);
    }

    /// No two matches of a pattern and a key have one name.
    #[test]
    fn matches_are_told_apart_by_their_name_and_their_time(log in log(), which in 0usize..15) {
        let patterns = patterns(&specs()[which], 3, 1_000);
        let (mut machine, mut fx) = (Machine::default(), PatternEffects::new(&patterns));
        for event in &log {
            let event = PatternEvent { watermark: event.at - 50, hits: hits(&patterns, event) };
            machine.apply(&patterns, &event, &mut fx).unwrap();
        }
        machine.expire(&patterns, END_OF_TIME, &mut fx);
        let name = |found: &Match| (found.name("ada", &patterns.list[0]), found.at);
        let mut names: Vec<_> = fx.matches.iter().map(name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), count);
    }

    /// A bound costs matches, and says so; what is decided early makes others late.
    #[test]
    fn a_key_that_holds_too_much_stays_within_its_bound(log in log(), which in 0usize..15, held_max in 2usize..6) {
        let spec = &specs()[which];
        let bounded = patterns(spec, 30, held_max);
        let (mut machine, mut fx) = (Machine::default(), PatternEffects::new(&bounded));
        let mut newest = BEGINNING;
        for event in &log {
            let watermark = newest - DISORDER;
            newest = newest.max(event.at);
            let event = PatternEvent { watermark, hits: hits(&bounded, event) };
            machine.apply(&bounded, &event, &mut fx).unwrap();
            let held = |run: &machine::Run| run.pending.len() + run.begun.len();
            prop_assert!(machine.runs.iter().map(held).sum::<usize>() <= held_max);
        }
        machine.expire(&bounded, END_OF_TIME, &mut fx);
        let (wanted, ..) = run(&patterns(spec, 30, 1_000), &log, &[false]);
        let mut found: Vec<Seen> = fx.matches.iter().map(|found| seen(found, &bounded)).collect();
        found.sort();
        prop_assert!(fx.tallies[0].lacked_room() > 0 || found == wanted);
    }

    #[test]
    fn any_bytes_are_refused_or_read_but_never_panic(bytes: Vec<u8>, which in 0usize..15) {
        let patterns = patterns(&specs()[which], 3, 1_000);
        let meaning = patterns.meanings()[0].to_le_bytes();
        let mut named = meaning.to_vec();
        crate::wire::put_bytes(&mut named, &bytes);
        let mut meanings = patterns.meanings();
        let _ = Machine::decode(&bytes, &mut meanings, &patterns);
        let _ = Machine::decode(&named, &mut meanings, &patterns);
    }
}

/// The sentences of docs/patterns.md, one after the other.
#[test]
fn the_examples_of_the_documentation() {
    let found = |spec: &PatternSpec, events: &str| {
        let events: Vec<Happened> = events
            .split_whitespace()
            .map(|event| {
                let (event_type, at) = event.split_at(1);
                let number = TYPES.iter().position(|name| *name == event_type).unwrap();
                Happened { at: at.parse().unwrap(), event_type: number as u16, place: 0 }
            })
            .collect();
        let (found, ..) = run(&patterns(spec, 1_000, 100), &events, &[false]);
        found.iter().map(|(at, first, _)| format!("{first}-{at}")).collect::<Vec<_>>().join(" ")
    };
    let followed = spec(("a", 1), &["b"], &["c"], &[]);
    assert_eq!(found(&followed, "a1 a2 b3 b4"), "1-3", "no event is in two matches");
    assert_eq!(found(&followed, "a1 a15 b30"), "15-30", "the first one was too early");
    assert_eq!(found(&followed, "a10 b30"), "10-30", "exactly within");
    assert_eq!(found(&followed, "a10 b31"), "");
    assert_eq!(found(&followed, "a1 c2 b3"), "");
    assert_eq!(found(&followed, "a1 c2 a3 b4"), "3-4");
    assert_eq!(found(&followed, "b5 a5"), "5-5", "at one time they come as the pattern names them");
    let thrice = spec(("a", 3), &[], &[], &[]);
    assert_eq!(found(&thrice, "a1 a2 a3 a4 a5 a6 a7"), "1-3 4-6");
    assert_eq!(found(&thrice, "a1 a15 a22 a23"), "15-23", "the three lie within 20");
    let alone = spec(("a", 1), &[], &[], &["b"]);
    assert_eq!(found(&alone, "a1 a5 b24"), "1-21", "the second one was followed");
    assert_eq!(found(&alone, "a1 a5"), "1-21 5-25", "each of them is not followed");
    assert_eq!(found(&alone, "a1 b21"), "", "exactly within");
    let last = spec(("a", 1), &[], &[], &["ab"]);
    assert_eq!(found(&last, "a1 a5"), "5-25", "only the last one has nothing behind it");
}

proptest! {
    /// Beyond the most that one event may make the nearest pairs are made, and the others counted.
    #[test]
    fn pairs_of_one_event_are_bounded(log in log(), pairs_max in 1usize..4) {
        let mut spec = join("ab", "bc", JoinKind::Left, (10, 20), &[]);
        let patterns_of = |spec: &PatternSpec| patterns(spec, 100_000, 1_000);
        let (all, taken, of_all) = run(&patterns_of(&spec), &log, &[false]);
        if let Seeks::Join(join) = &mut spec.seeks {
            join.pairs_max = pairs_max;
        }
        let (found, _, tally) = run(&patterns_of(&spec), &log, &[true]);
        prop_assert_eq!(tally.matches + tally.pairs_left_out, of_all.matches);
        prop_assert_eq!(tally.lacked_room(), tally.pairs_left_out);
        prop_assert_eq!((tally.left_alone, tally.right_alone), (of_all.left_alone, of_all.right_alone));
        prop_assert!(found.iter().all(|one| all.contains(one)));
        let at = |at: i64| move |one: &&Seen| one.0 == at && !one.2.ends_with('=');
        for event in &taken {
            let of_time = taken.iter().filter(|other| other.at == event.at).count();
            let (found, all) = (found.iter().filter(at(event.at)), all.iter().filter(at(event.at)));
            let (found, all) = (found.count(), all.count());
            prop_assert!(found <= all.min(of_time * pairs_max) && found >= all.min(pairs_max));
        }
    }
}

/// The sentences of docs/joins.md, one after the other.
#[test]
fn the_examples_of_the_documentation_of_joins() {
    let found = |kind, near, events: &str| {
        let event = |event: &str| {
            let (event_type, at) = event.split_at(1);
            let number = TYPES.iter().position(|name| *name == event_type).unwrap();
            Happened { at: at.parse().unwrap(), event_type: number as u16, place: 0 }
        };
        let events: Vec<Happened> = events.split_whitespace().map(event).collect();
        let patterns = patterns(&join("a", "b", kind, near, &[]), 1_000, 100);
        let (found, ..) = run(&patterns, &events, &[false]);
        let show = |(at, first, amounts): &Seen| match amounts.strip_suffix('=') {
            Some(_) => format!("{first} alone at {at}"),
            None => format!("{first} at {at}"),
        };
        found.iter().map(show).collect::<Vec<_>>().join(", ")
    };
    let (inner, left, anti) = (JoinKind::Inner, JoinKind::Left, JoinKind::Anti);
    assert_eq!(found(inner, (0, 20), "a1 b3 b21"), "1 at 3, 1 at 21", "each pair; exactly within");
    assert_eq!(found(inner, (0, 20), "a1 b22"), "");
    assert_eq!(found(inner, (0, 20), "a1 a2 b3"), "1 at 3, 2 at 3");
    assert_eq!(found(inner, (0, 20), "b5 a5"), "5 at 5", "at one time neither is first");
    assert_eq!(found(inner, (0, 20), "b4 a5"), "", "the right one was before");
    assert_eq!(found(inner, (2, 20), "b4 a5"), "5 at 5");
    assert_eq!(found(left, (0, 20), "a1 b3 a30"), "1 at 3, 30 alone at 50");
    assert_eq!(found(anti, (0, 20), "a1 b3 a30"), "30 alone at 50");
}

/// Numbers and texts are one thing where they say the same; what is missing is like nothing.
#[test]
fn what_sides_have_in_common_is_compared_as_text() {
    let values = |attr| held::values(std::iter::once(attr), std::iter::once(Attr::Bool(true)));
    let (number, text) = (Attr::Number(Decimal::from_i64(17)), Attr::Text(b"17"));
    let common = |attr| held::common(&values(attr), 1).map(<[u8]>::to_vec);
    assert_eq!(common(number), common(text));
    assert!(common(text).is_some() && common(Attr::Missing).is_none());
    assert_ne!(common(text), common(Attr::Text(b"18")));
    assert_eq!(held::attrs(&values(number), 2).unwrap(), [text, Attr::Bool(true)]);
}

#[test]
fn a_result_shows_whether_it_has_both_sides() {
    let spec = join("a", "b", JoinKind::Left, (5, 20), &[]);
    let schema = Schema { slots: vec![MATCHED.into(), DURATION.into()], ..schema() };
    let time = TimePolicy { allowed_lateness: 0, ..TimePolicy::default() };
    let patterns = Patterns::compile(&[spec], &time, 100, &schema);
    let (mut machine, mut fx) = (Machine::default(), PatternEffects::new(&patterns));
    for (at, event_type) in [(1_000, 1), (1_004, 0), (2_000, 0)] {
        let hits = hits(&patterns, &Happened { at, event_type, place: 7 });
        machine.apply(&patterns, &PatternEvent { watermark: 0, hits }, &mut fx).unwrap();
    }
    machine.expire(&patterns, END_OF_TIME, &mut fx);
    let shown = |found| {
        let fact = MatchFact::new(found, "ada", &patterns.list[0]);
        (fact.at(), fact.attr(0) == Attr::Bool(true), fact.attr(1).to_string())
    };
    let shown: Vec<_> = fx.matches.iter().map(shown).collect();
    let wanted = vec![(1_004, true, "-0.004".to_owned()), (2_020, false, String::new())];
    assert_eq!(shown, wanted);
}

#[test]
fn a_match_shows_metrics_its_type_key_time_and_attributes() {
    let patterns = patterns(&spec(("a", 1), &["b"], &[], &[]), 0, 100);
    let (mut machine, mut fx) = (Machine::default(), PatternEffects::new(&patterns));
    for (at, event_type, amount) in [(1_000, 0, 7), (1_015, 1, 9)] {
        let hits = hits(&patterns, &Happened { at, event_type, place: amount });
        machine.apply(&patterns, &PatternEvent { watermark: 0, hits }, &mut fx).unwrap();
    }
    machine.expire(&patterns, END_OF_TIME, &mut fx);
    let fact = MatchFact::new(&fx.matches[0], "ada", &patterns.list[0]);
    assert_eq!((fact.at(), fact.event_type(), fact.key()), (1_015, 4, &b"ada"[..]));
    assert_eq!(fact.attr(0), Attr::Missing, "the amount of neither");
    assert_eq!(fact.attr(1), Attr::Number(Decimal::from_i64(9)));
    assert_eq!(fact.attr(2).to_string(), "0.015");
}

/// The abandoned cart is a pattern: an entry, and neither another one nor a goal within the gap.
/// With `deadline = "since_entry"` and nothing that takes an entry back the session machine says
/// the same.
mod carts {
    use proptest::prelude::*;

    use super::super::*;
    use super::{Happened, patterns, spec};
    use crate::event::Schema;
    use crate::keyed::KeyedMachine as _;
    use crate::session::{
        self, Deadline, Outcome, Rules, SessionEffects, SessionEvent, SessionPolicy,
    };
    use crate::time::{END_OF_TIME, TimePolicy};

    const GAP: i64 = 80;
    const LATENESS: i64 = 48;

    fn rules() -> Rules {
        let policy = SessionPolicy {
            gap: GAP,
            deadline: Deadline::SinceEntry,
            entry: vec!["a".into()],
            goal: vec!["b".into()],
            remove: vec![],
            steps: vec![],
            ..SessionPolicy::default()
        };
        let schema =
            Schema { event_types: super::TYPES.map(String::from).to_vec(), ..Schema::default() };
        let time = TimePolicy { allowed_lateness: LATENESS, ..TimePolicy::default() };
        Rules::compile(&policy, &time, &schema)
    }

    proptest! {
        #[test]
        fn both_say_the_same(steps in prop::collection::vec((0i64..14, 0u16..3, 0i64..17), 1..80)) {
            let rules = rules();
            let mut abandoned = spec(("a", 1), &[], &[], &["ab"]);
            if let Seeks::Sequence(sequence) = &mut abandoned.seeks {
                sequence.within = GAP;
            }
            let patterns = patterns(&abandoned, LATENESS, 10_000);
            let (mut session, mut fx) = (session::Machine::default(), SessionEffects::default());
            let (mut machine, mut found) = (Machine::default(), PatternEffects::new(&patterns));
            let mut now = 1_000;
            for (step, event_type, behind) in steps {
                // Now and then a pause; nothing is ever late.
                now += if step == 13 { 50 } else { step };
                // No goal at the time of an entry: a cart takes it for one before the entry, a pattern
                // for one that follows.
                let (watermark, at) = (4 * (now - 5), 4 * (now - behind) + i64::from(event_type));
                let meaning = rules.meaning(event_type);
                let event = SessionEvent {
                    at,
                    watermark,
                    entry: meaning.entry,
                    goal: meaning.goal,
                    ..SessionEvent::default()
                };
                prop_assert_eq!(session.apply(&rules, &event, &mut fx), Ok(()));
                let hits = super::hits(&patterns, &Happened { at, event_type, place: 0 });
                machine.apply(&patterns, &PatternEvent { watermark, hits }, &mut found).unwrap();
            }
            session.expire(&rules, END_OF_TIME, &mut fx);
            machine.expire(&patterns, END_OF_TIME, &mut found);
            let endings = fx.endings.iter().filter(|one| one.outcome == Outcome::Abandoned);
            let mut carts: Vec<i64> = endings.map(|ending| ending.at).collect();
            carts.sort_unstable();
            let matches: Vec<i64> = found.matches.iter().map(|one| one.at).collect();
            prop_assert_eq!(matches, carts);
        }
    }
}
