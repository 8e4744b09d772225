//! Laws of the desk: whatever happens in whichever order, wherever barriers and crashes lie.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::alert::{Alert, Detail};
use crate::expr::Expr;
use crate::time::{EpochMs, SpanMs};

const MINUTE: SpanMs = 60_000;

fn watch(rule: &str, one: bool, unless: &[&str]) -> Watch {
    Watch {
        rule: rule.into(),
        version: "1".into(),
        metric: format!("{rule}_per_min"),
        severity: if rule == "b" { "critical" } else { "warning" }.into(),
        runbook: None,
        one,
        unless: unless.iter().map(ToString::to_string).collect(),
    }
}

fn expr(text: &str) -> Expr {
    Expr::condition(text, &Attributes(vec!["region".into()])).unwrap()
}

fn route(name: &str, when: &str) -> Route {
    Route {
        name: name.into(),
        of: Of::Incidents,
        when: (!when.is_empty()).then(|| expr(when)),
        channel: format!("to_{name}"),
        goes_on: true,
        after: 0,
        quiet: None,
        digest: 0,
        repeat: 0,
        at_most: 100,
        per: MINUTE,
        resolved: true,
        acknowledged: true,
    }
}

fn settings() -> DeskSettings {
    DeskSettings {
        rules: vec![watch("a", false, &["b"]), watch("b", false, &[]), watch("c", true, &[])],
        routes: vec![
            route("all", ""),
            Route { after: 5 * MINUTE, ..route("late", "") },
            Route { repeat: 7 * MINUTE, ..route("again", "severity == \"critical\"") },
            Route { digest: 10 * MINUTE, ..route("together", "") },
            Route { at_most: 2, per: 20 * MINUTE, ..route("few", "rule != \"c\"") },
            Route { goes_on: false, ..route("stop", "region == \"r0\"") },
            route("others", ""),
            Route { of: Of::Occurrences, ..route("each", "value > 50") },
            Route { of: Of::Occurrences, digest: 15 * MINUTE, ..route("carts", "") },
        ],
        maintenance: vec![Maintenance {
            name: "move".into(),
            when: Some(expr("region == \"r1\"")),
            from: Some(30 * MINUTE),
            until: Some(40 * MINUTE),
            hours: None,
        }],
        attributes: vec!["region".into()],
        channels: Vec::new(),
        open_max: 1_000,
        silences_max: 10,
        max_age: 20 * MINUTE,
    }
}

fn fires(rule: &str, region: &str, at: EpochMs) -> Signal {
    let title = format!("{rule} in {region}");
    let detail = json!({"value": 12.5, "far": 3.0}).as_object().cloned().unwrap();
    let says = Says::Fires { since: at - MINUTE, title, detail };
    Signal {
        rule: rule.into(),
        subject: region.into(),
        group: BTreeMap::from([("region".to_owned(), region.to_owned())]),
        at,
        known: at,
        says,
    }
}

fn ends(rule: &str, region: &str, at: EpochMs) -> Signal {
    Signal {
        says: Says::Ends { why: "back to usual".into(), detail: Map::new() },
        ..fires(rule, region, at)
    }
}

fn cart(number: u64, at: EpochMs, value: f64) -> Alert {
    Alert {
        n: number,
        id: format!("{number:032x}"),
        kind: "abandoned".into(),
        severity: "info".into(),
        at,
        subject: format!("u{number}"),
        title: "Abandoned".into(),
        detail: Detail::of(&json!({"value": value})),
    }
}

/// What a commit keeps, as the next start finds it.
#[derive(Default)]
struct Kept(BTreeMap<String, Json>);

impl Kept {
    fn commit(&mut self, desk: &mut Desk, out: &Outcome) {
        for (name, value) in desk.entries(out) {
            assert!(Desk::owns(&name), "{name}");
            if value.is_null() {
                self.0.remove(&name);
            } else {
                self.0.insert(name, value);
            }
        }
    }
}

/// All that came out.
#[derive(Default, Debug, PartialEq)]
struct All {
    changes: Vec<Change>,
    notifications: Vec<Notification>,
    incidents: BTreeMap<String, Incident>,
}

impl All {
    fn add(&mut self, out: Outcome) {
        self.changes.extend(out.changes);
        self.notifications.extend(out.notifications);
        self.incidents.extend(out.incidents);
    }

    fn steps(&self, route: &str) -> Vec<(Step, EpochMs)> {
        let of = self.notifications.iter().filter(|one| one.route == route);
        of.map(|one| (one.step, one.at / MINUTE)).collect()
    }
}

/// Runs a desk over signals with barriers at these times.
fn run(desk: &mut Desk, signals: &[Signal], barriers: &[EpochMs], wall: EpochMs) -> All {
    let mut all = All::default();
    let mut from = EpochMs::MIN;
    for barrier in barriers {
        let of = signals.iter().filter(|one| from < one.known && one.known <= *barrier).cloned();
        let mut out = Outcome::default();
        desk.run(of.collect(), Vec::new(), *barrier, wall, &mut out);
        all.add(out);
        from = *barrier;
    }
    all
}

#[test]
fn an_incident_is_told_once_and_its_end_to_those_who_heard_of_it() {
    let mut desk = Desk::new(settings());
    let signals = [fires("b", "r2", MINUTE), ends("b", "r2", 4 * MINUTE)];
    let all = run(&mut desk, &signals, &[2 * MINUTE, 60 * MINUTE], 0);
    assert_eq!(all.steps("all"), [(Step::Fired, 1), (Step::Resolved, 4)]);
    assert_eq!(all.steps("late"), [], "it was over before");
    assert_eq!(all.steps("together"), [(Step::Digest, 11)]);
    let incident = all.incidents.values().next().unwrap();
    assert_eq!((all.incidents.len(), incident.phase()), (1, Phase::Resolved));
    assert_eq!(desk.counts().held_back, BTreeMap::from([("after".to_owned(), 1)]));
    assert_eq!(desk.open().count(), 0);
}

#[test]
fn who_is_not_relieved_is_told_again_and_others_after_a_time() {
    let mut desk = Desk::new(settings());
    let all = run(&mut desk, &[fires("b", "r2", MINUTE)], &[30 * MINUTE], 0);
    assert_eq!(all.steps("late"), [(Step::Fired, 6)]);
    let again: Vec<_> = [8, 15, 22, 29].map(|at| (Step::Again, at)).into();
    assert_eq!(all.steps("again")[1..], again);
    let id = desk.open().next().unwrap().id.clone();
    let mut out = Outcome::default();
    let mine = |note: &str| Command::Acknowledge {
        incident: id.clone(),
        by: "ada".into(),
        note: note.into(),
    };
    desk.command(mine("on it"), &mut out).unwrap();
    desk.command(mine("still"), &mut out).unwrap();
    let acks = out.notifications.iter().filter(|one| one.step == Step::Acknowledged);
    assert_eq!(acks.filter(|one| one.route == "all").count(), 1);
    let all = run(&mut desk, &[], &[90 * MINUTE], 0);
    let told = all.notifications.iter().filter(|one| one.step != Step::Digest).count();
    assert_eq!(told, 0, "{:?}", all.notifications);
    let incident = desk.open().next().unwrap();
    assert_eq!(
        (incident.phase(), incident.acknowledged.as_ref().unwrap().note.as_str()),
        (Phase::Acknowledged, "on it")
    );
}

#[test]
fn what_is_quiet_is_told_when_that_is_over_and_never_if_it_is_over_before() {
    let mut desk = Desk::new(settings());
    let mut out = Outcome::default();
    let silence = Silence {
        id: "s".into(),
        matching: "region == \"r3\"".into(),
        from: 0,
        until: 10 * MINUTE,
        by: "ada".into(),
        reason: "we know".into(),
        void: None,
    };
    desk.command(Command::Silence(silence.clone(), None), &mut out).unwrap();
    let signals = [
        fires("b", "r3", MINUTE),
        fires("c", "r3", 2 * MINUTE),
        ends("b", "r3", 5 * MINUTE),
        // Kept quiet by the other rule where it is about the same region.
        fires("b", "r4", 12 * MINUTE),
        fires("a", "r4", 13 * MINUTE),
        fires("a", "r5", 13 * MINUTE),
        ends("b", "r4", 20 * MINUTE),
        // Maintenance.
        fires("a", "r1", 35 * MINUTE),
    ];
    let all = run(&mut desk, &signals, &[3 * MINUTE, 100 * MINUTE], 0);
    assert_eq!(
        all.steps("others"),
        [
            // All groups of c are one incident, which has no region.
            (Step::Fired, 2),
            (Step::Fired, 12),
            (Step::Fired, 13),
            (Step::Resolved, 20),
            (Step::Fired, 20),
            (Step::Fired, 40),
        ]
    );
    let over = all.changes.iter().filter(|one| one.what == What::SilenceOver);
    assert_eq!(over.map(|one| one.at).collect::<Vec<_>>(), [10 * MINUTE]);
    let late = Silence { id: "t".into(), until: 99 * MINUTE, ..silence.clone() };
    assert_eq!(desk.command(Command::Silence(late, None), &mut out), Err(Refused::Past));
    let wrong =
        Silence { id: "t".into(), matching: "regio == 1".into(), until: 200 * MINUTE, ..silence };
    let Err(Refused::Condition(why)) = desk.command(Command::Silence(wrong, None), &mut out) else {
        panic!("not refused")
    };
    assert!(why.contains("did you mean \"region\""), "{why}");
}

/// Both are known by the same watermark: it does not matter whose rule was declared, or said so, first.
#[test]
fn of_the_same_moment_the_one_that_the_other_keeps_quiet_is_not_told() {
    for rules in [["a", "b"], ["b", "a"]] {
        let mut sorted = settings();
        sorted.rules.sort_by_key(|watch| rules.iter().position(|rule| watch.rule == *rule));
        let mut desk = Desk::new(sorted);
        let [first, second] = rules;
        let begin = [fires(first, "r2", MINUTE), fires(second, "r2", MINUTE)];
        let all = run(&mut desk, &begin, &[2 * MINUTE], 0);
        assert_eq!(all.steps("all"), [(Step::Fired, 1)], "{first} first");
        let told = all.notifications.iter().find(|one| one.route == "all").unwrap();
        assert_eq!(all.incidents[&told.about].rule, "b", "{first} first");
        // The one that kept it quiet is over, and begins again in another region at the same time.
        let on = [ends("b", "r2", 3 * MINUTE), fires("b", "r3", 3 * MINUTE)];
        let all = run(&mut desk, &on, &[4 * MINUTE], 0);
        let steps = [(Step::Resolved, 3), (Step::Fired, 3), (Step::Fired, 3)];
        assert_eq!(all.steps("all"), steps, "{first} first");
    }
}

#[test]
fn what_is_over_in_the_moment_it_began_is_told_to_nobody_and_counted() {
    let mut desk = Desk::new(settings());
    let all = run(&mut desk, &[fires("b", "r2", MINUTE), ends("b", "r2", MINUTE)], &[MINUTE], 0);
    assert_eq!((all.notifications.len(), all.incidents.len()), (0, 1));
    let held = all.changes.iter().filter(|one| one.what == What::HeldBack).count();
    assert_eq!(held, 6, "each route that it fits: {:#?}", all.changes);
    assert_eq!(desk.counts().held_back["after"], 6);
}

#[test]
fn a_replay_tells_nobody_of_what_is_long_over() {
    let mut desk = Desk::new(settings());
    let signals =
        [fires("b", "r2", MINUTE), ends("b", "r2", 9 * MINUTE), fires("b", "r3", 20 * MINUTE)];
    // It is the 100th minute: what lies before the 80th is too old.
    let all = run(&mut desk, &signals, &[50 * MINUTE, 79 * MINUTE, 90 * MINUTE], 100 * MINUTE);
    assert_eq!(all.steps("all"), [(Step::Fired, 80)], "what goes on is told when it is caught up");
    assert!(desk.counts().held_back["too_old"] > 0);
    let held = all.changes.iter().find(|one| one.what == What::HeldBack).unwrap();
    assert!(held.says.contains("notify_max_age"), "{}", held.says);
}

#[test]
fn carts_come_together() {
    let mut desk = Desk::new(settings());
    let mut out = Outcome::default();
    let carts: Vec<Alert> = (0..40).map(|n| cart(n, MINUTE + n as i64, n as f64 * 2.0)).collect();
    desk.run(
        Vec::new(),
        carts.iter().map(|cart| (cart.at, cart)).collect(),
        60 * MINUTE,
        0,
        &mut out,
    );
    let each = out.notifications.iter().filter(|one| one.route == "each").count();
    assert_eq!(each, 14, "those above 50");
    let digest = out.notifications.iter().find(|one| one.route == "carts").unwrap();
    assert_eq!((digest.step, digest.at), (Step::Digest, 16 * MINUTE));
    assert_eq!((&digest.facts["count"], &digest.facts["value"]), (&json!(40), &json!(1560.0)));
    let named = digest.facts["named"].as_array().unwrap();
    assert_eq!((named.len(), &named[0]["subject"]), (10, &json!("u39")));
}

#[test]
fn incidents_of_rules_that_are_others_now_are_over() {
    let mut desk = Desk::new(settings());
    let mut kept = Kept::default();
    let mut out = Outcome::default();
    let signals =
        vec![fires("a", "r2", MINUTE), fires("b", "r2", MINUTE), fires("c", "r2", MINUTE)];
    desk.run(signals, Vec::new(), 2 * MINUTE, 0, &mut out);
    kept.commit(&mut desk, &out);
    let mut changed = settings();
    changed.rules.remove(0);
    changed.rules[0].version = "2".into();
    let mut desk = Desk::new(changed);
    desk.restore(kept.0, 2 * MINUTE).unwrap();
    let mut out = Outcome::default();
    desk.run(Vec::new(), Vec::new(), 3 * MINUTE, 0, &mut out);
    let over: BTreeMap<String, String> = out
        .incidents
        .values()
        .filter_map(|one| Some((one.rule.clone(), one.resolved.clone()?.why)))
        .collect();
    let wanted = [("a", "its rule was removed"), ("b", "its rule was changed")];
    assert_eq!(over, wanted.map(|(rule, why)| (rule.to_owned(), why.to_owned())).into());
    assert_eq!(desk.open().map(|one| one.rule.as_str()).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn lines_say_what_the_rule_said_of_each_group_and_of_what_found_no_room() {
    let mut desk = Desk::new(DeskSettings { open_max: 1, ..settings() });
    let mut out = Outcome::default();
    let signals = vec![
        fires("c", "r2", MINUTE),
        fires("c", "r3", 2 * MINUTE),
        fires("b", "r4", 2 * MINUTE),
        ends("c", "r2", 3 * MINUTE),
        ends("b", "r4", 4 * MINUTE),
        ends("c", "r3", 5 * MINUTE),
    ];
    desk.run(signals, Vec::new(), 6 * MINUTE, i64::from(i32::MAX), &mut out);
    let of_rules: Vec<_> = out.changes.iter().filter(|one| !one.rule.is_empty()).collect();
    let said = |one: &&Change| (one.what, one.rule.clone(), one.group["region"].clone());
    let line = |what, rule: &str, region: &str| (what, rule.to_owned(), region.to_owned());
    let with_group = of_rules.iter().copied().filter(|one| !one.group.is_empty());
    assert_eq!(
        with_group.map(|one| said(&one)).collect::<Vec<_>>(),
        [
            line(What::Fired, "c", "r2"),
            line(What::Grew, "c", "r3"),
            line(What::NotOpened, "b", "r4"),
            line(What::Shrank, "c", "r2"),
        ]
    );
    for one in of_rules.iter().filter(|one| matches!(one.what, What::Fired | What::NotOpened)) {
        assert_eq!((&one.detail["value"], &one.detail["far"]), (&json!(12.5), &json!(3.0)));
    }
    let over = of_rules.iter().find(|one| one.what == What::Resolved).unwrap();
    assert_eq!(
        (over.at, over.severity.as_str(), over.says.as_str()),
        (5 * MINUTE, "warning", "back to usual")
    );
    assert_eq!(desk.counts().overflow, 1);
}

#[test]
fn how_things_stand_is_counted() {
    let mut desk = Desk::new(settings());
    let mut out = Outcome::default();
    let silence = Silence {
        id: "s".into(),
        matching: "region == \"r3\"".into(),
        from: 0,
        until: 10 * MINUTE,
        by: "ada".into(),
        reason: "we know".into(),
        void: None,
    };
    desk.command(Command::Silence(silence, None), &mut out).unwrap();
    let signals =
        vec![fires("b", "r2", MINUTE), fires("a", "r5", MINUTE), fires("b", "r3", MINUTE)];
    let carts: Vec<Alert> = (0..3).map(|n| cart(n, MINUTE, 1.0)).collect();
    let known = carts.iter().map(|cart| (cart.at, cart)).collect();
    desk.run(signals, known, 2 * MINUTE, 0, &mut out);
    let open = desk.num_open();
    assert_eq!(open[&("critical", Phase::Firing)], 1);
    assert_eq!((open[&("critical", Phase::Silenced)], open[&("warning", Phase::Firing)]), (1, 1));
    assert_eq!((open.len(), open.values().sum::<usize>()), (9, 3));
    assert_eq!(desk.num_silences(), 1);
    let waiting: BTreeMap<&str, u64> = desk.num_waiting().collect();
    // Two wait to be left unacknowledged, as many were collected, and so were the carts.
    assert_eq!(
        (waiting["late"], waiting["together"], waiting["carts"], waiting["all"]),
        (2, 2, 3, 0)
    );
    desk.run(Vec::new(), Vec::new(), 12 * MINUTE, 0, &mut out);
    assert_eq!(desk.num_silences(), 0);
}

#[derive(Clone, Debug)]
enum Step1 {
    Fires(usize, usize),
    Ends(usize, usize),
    Cart(u8),
    Acknowledge(usize),
    Snooze(usize, i64),
    Silence(usize, i64, i64),
    Unsilence(usize),
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step1)>> {
    let one = prop_oneof![
        4 => (0..3_usize, 0..4_usize).prop_map(|(rule, region)| Step1::Fires(rule, region)),
        4 => (0..3_usize, 0..4_usize).prop_map(|(rule, region)| Step1::Ends(rule, region)),
        2 => any::<u8>().prop_map(Step1::Cart),
        1 => (0..8_usize).prop_map(Step1::Acknowledge),
        1 => (0..8_usize, 1..20_i64).prop_map(|(which, span)| Step1::Snooze(which, span)),
        1 => (0..4_usize, 0..20_i64, 1..20_i64).prop_map(|(r, from, span)| Step1::Silence(r, from, span)),
        1 => (0..6_usize).prop_map(Step1::Unsilence),
    ];
    // In steps of 20 s, some of the same time.
    prop::collection::vec((0..12_i64, one), 1..60)
}

/// What happens is known so much later, as with allowed lateness.
const LATE: SpanMs = 25_000;

fn later(signal: Signal) -> Signal {
    Signal { known: signal.at + LATE, ..signal }
}

const RULES: [&str; 3] = ["a", "b", "c"];

/// Runs all steps; a barrier where a command is, and at these places besides; a restart after each
/// barrier of these numbers.
fn follow(
    steps: &[(i64, Step1)],
    more: &[i64],
    crashes: &[usize],
    wall: EpochMs,
) -> (All, Vec<Silence>) {
    let mut all = All::default();
    let mut silences = Vec::new();
    let (mut desk, mut kept) = (Desk::new(settings()), Kept::default());
    let (mut at, mut number, mut made) = (0, 0, 0);
    let (mut signals, mut carts): (Vec<Signal>, Vec<Alert>) = (Vec::new(), Vec::new());
    let mut barriers: Vec<i64> = more.to_vec();
    barriers.sort_unstable();
    let mut barrier = |desk: &mut Desk,
                       until: i64,
                       signals: &mut Vec<Signal>,
                       carts: &mut Vec<Alert>,
                       all: &mut All,
                       commands: Vec<Command>| {
        let mut out = Outcome::default();
        let signals_now = signals.iter().filter(|one| one.known <= until).cloned().collect();
        let carts_now: Vec<Alert> =
            carts.iter().filter(|one| one.at + LATE <= until).cloned().collect();
        signals.retain(|one| one.known > until);
        carts.retain(|one| one.at + LATE > until);
        let known = carts_now.iter().map(|cart| (cart.at + LATE, cart)).collect();
        desk.run(signals_now, known, until, wall, &mut out);
        for command in commands {
            // Some are refused: of what is over.
            let _ = desk.command(command, &mut out);
        }
        kept.commit(desk, &out);
        all.add(out);
        number += 1;
        if crashes.contains(&number) {
            *desk = Desk::new(settings());
            desk.restore(kept.0.clone(), until).unwrap();
        }
    };
    for (ahead, step) in steps {
        at += ahead * 20_000;
        while let Some(until) = barriers.first().copied()
            && until < at
        {
            barriers.remove(0);
            barrier(&mut desk, until, &mut signals, &mut carts, &mut all, Vec::new());
        }
        let region = |number: usize| format!("r{number}");
        let command = match step {
            Step1::Fires(rule, r) => {
                signals.push(later(fires(RULES[*rule], &region(*r), at)));
                continue;
            }
            Step1::Ends(rule, r) => {
                signals.push(later(ends(RULES[*rule], &region(*r), at)));
                continue;
            }
            Step1::Cart(value) => {
                made += 1;
                carts.push(cart(made, at, f64::from(*value)));
                continue;
            }
            _ => {
                barrier(&mut desk, at, &mut signals, &mut carts, &mut all, Vec::new());
                let open: Vec<String> = desk.open().map(|one| one.id.clone()).collect();
                let by = "ada".to_owned();
                match step {
                    Step1::Acknowledge(which) if *which < open.len() => Command::Acknowledge {
                        incident: open[*which].clone(),
                        by,
                        note: String::new(),
                    },
                    Step1::Snooze(which, span) if *which < open.len() => {
                        Command::Snooze { incident: open[*which].clone(), span: span * MINUTE, by }
                    }
                    Step1::Silence(r, from, span) => {
                        let from = at + from * MINUTE;
                        let silence = Silence {
                            id: format!("s{}", silences.len()),
                            matching: format!("region == \"r{r}\""),
                            from,
                            until: from + span * MINUTE,
                            by,
                            reason: "we know".into(),
                            void: None,
                        };
                        silences.push(silence.clone());
                        Command::Silence(silence, None)
                    }
                    Step1::Unsilence(which) => {
                        let id = format!("s{which}");
                        if let Some(silence) = silences.iter_mut().find(|one| one.id == id) {
                            silence.until = silence.until.min(at);
                        }
                        Command::Unsilence { silence: id, by }
                    }
                    _ => continue,
                }
            }
        };
        barrier(&mut desk, at, &mut signals, &mut carts, &mut all, vec![command]);
    }
    barrier(&mut desk, at + 60 * MINUTE, &mut signals, &mut carts, &mut all, Vec::new());
    (all, silences)
}

proptest! {
    #![proptest_config(crate::trials::cases(60))]

    #[test]
    fn each_incident_begins_and_ends_once_and_nobody_hears_twice(
        steps in steps(),
        more in prop::collection::vec(0..8_000_000_i64, 0..12),
        crashes in prop::collection::vec(1..60_usize, 0..6),
        wall in prop_oneof![Just(0_i64), 0..6_000_000_i64, Just(i64::from(i32::MAX))],
    ) {
        let (straight, silences) = follow(&steps, &[], &[], wall);
        let (other, _) = follow(&steps, &more, &crashes, wall);
        for (one, two) in straight.changes.iter().zip(&other.changes) {
            prop_assert_eq!(one, two);
        }
        prop_assert_eq!(&straight, &other);

        let keys: BTreeSet<&str> = straight.notifications.iter().map(|one| one.key.as_str()).collect();
        prop_assert_eq!(keys.len(), straight.notifications.len());
        let numbers: Vec<u64> = straight.notifications.iter().map(|one| one.n).collect();
        prop_assert_eq!(numbers, (1..=straight.notifications.len() as u64).collect::<Vec<_>>());

        let mut heard: BTreeMap<(&str, &str), Vec<Step>> = BTreeMap::new();
        for one in &straight.notifications {
            prop_assert!(one.at >= wall - 20 * MINUTE || matches!(one.step, Step::Resolved | Step::Acknowledged), "{one:?}");
            if matches!(one.step, Step::Digest | Step::Occurred) {
                continue;
            }
            heard.entry((&one.about, &one.route)).or_default().push(one.step);
            let incident = &straight.incidents[&one.about];
            prop_assert!(incident.fired <= one.at);
            if matches!(one.step, Step::Fired | Step::Again) {
                let region = incident.group.get("region");
                let over = |silence: &&Silence| silence.is_at(one.at) && silence.from < one.at && region.is_some_and(|region| silence.matching.contains(region.as_str()));
                prop_assert!(silences.iter().find(over).is_none(), "{one:?} although {silences:?}");
                prop_assert!(incident.acknowledged.as_ref().is_none_or(|said| one.at <= said.at));
                let watch = settings().rules.into_iter().find(|watch| watch.rule == incident.rule).unwrap();
                let mut others = straight.incidents.values().filter(|other| watch.unless.contains(&other.rule));
                let open = |other: &&Incident| other.fired + LATE <= one.at && other.resolved.as_ref().is_none_or(|over| one.at < over.at + LATE);
                let agrees = |other: &Incident| other.group.get("region").is_none_or(|of| region.is_none_or(|own| own == of));
                let other = others.find(|other| open(other) && agrees(other));
                prop_assert!(other.is_none(), "{one:?} although {other:?}");
            }
        }
        for ((about, route), steps) in heard {
            let count = |step: Step| steps.iter().filter(|one| **one == step).count();
            prop_assert_eq!(steps[0], Step::Fired, "{} {}", about, route);
            prop_assert_eq!(count(Step::Fired), 1);
            prop_assert!(count(Step::Acknowledged) <= 1);
            let over = straight.incidents[about].resolved.is_some();
            prop_assert_eq!(count(Step::Resolved), usize::from(over));
            prop_assert!(!over || steps.last() == Some(&Step::Resolved));
        }
        let of = |what: What| {
            let mut ids: Vec<&str> = straight.changes.iter().filter(|one| one.what == what).map(|one| one.incident.as_str()).collect();
            ids.sort_unstable();
            let all = ids.len();
            ids.dedup();
            (ids.len(), all)
        };
        prop_assert_eq!(of(What::Fired).0, of(What::Fired).1);
        prop_assert_eq!(of(What::Resolved).0, of(What::Resolved).1);
        prop_assert_eq!(of(What::Fired).0, straight.incidents.len());
        // Every occurrence is told, waits in a digest that is over by then, or was held back.
        let carts = steps.iter().filter(|(_, step)| matches!(step, Step1::Cart(_))).count() as u64;
        let told: u64 = straight.notifications.iter().filter(|one| one.route == "carts").filter_map(|one| one.facts["count"].as_u64()).sum();
        prop_assert!(told <= carts);
        if wall == 0 {
            prop_assert_eq!(told, carts);
        }
    }
}

#[test]
fn what_is_known_ahead_of_the_watermark_is_told_now() {
    let mut desk = Desk::new(settings());
    let mut out = Outcome::default();
    let early = cart(1, 12 * MINUTE, 90.0);
    desk.run(
        vec![fires("b", "r2", 12 * MINUTE)],
        vec![(early.at, &early)],
        10 * MINUTE,
        0,
        &mut out,
    );
    let told = |route: &str| out.notifications.iter().filter(|one| one.route == route).count();
    assert_eq!(told("each"), 1);
    assert!(out.notifications.iter().all(|one| one.at == 10 * MINUTE));
    assert_eq!(desk.open().count(), 1);
    let mut out = Outcome::default();
    desk.run(Vec::new(), Vec::new(), 13 * MINUTE, 0, &mut out);
    let told = out.notifications.iter().find(|one| one.route == "all").unwrap();
    assert_eq!(told.at, 12 * MINUTE, "an incident is told when it has begun");
}

#[test]
fn a_route_that_is_removed_leaves_nothing_behind_and_says_what_it_held() {
    let mut desk = Desk::new(settings());
    let (mut kept, mut out) = (Kept::default(), Outcome::default());
    let carts: Vec<Alert> = (0..7).map(|n| cart(n, MINUTE, 1.0)).collect();
    desk.run(
        Vec::new(),
        carts.iter().map(|cart| (cart.at, cart)).collect(),
        2 * MINUTE,
        0,
        &mut out,
    );
    kept.commit(&mut desk, &out);
    assert!(kept.0.contains_key("route/carts"));
    let mut without = settings();
    without.routes.retain(|route| route.name != "carts");
    let mut desk = Desk::new(without);
    desk.restore(kept.0.clone(), 2 * MINUTE).unwrap();
    let mut out = Outcome::default();
    desk.run(Vec::new(), Vec::new(), 3 * MINUTE, 0, &mut out);
    kept.commit(&mut desk, &out);
    assert_eq!(desk.counts().held_back, BTreeMap::from([("route_removed".to_owned(), 7)]));
    assert!(!kept.0.contains_key("route/carts"));
}

/// Takes up what is kept with these routes and channels.
fn with_routes(kept: &Kept, routes: Vec<Route>, channels: &[&str], at: EpochMs) -> Desk {
    let channels = channels.iter().map(ToString::to_string).collect();
    let mut desk = Desk::new(DeskSettings { routes, channels, ..settings() });
    desk.restore(kept.0.clone(), at).unwrap();
    desk
}

#[test]
fn a_channel_whose_route_is_gone_hears_the_end_and_hears_nothing_twice() {
    let by = |name: &str, channel: &str| Route { channel: channel.into(), ..route(name, "") };
    let begun = vec![by("old", "pager"), by("kept", "ops"), by("both", "ops")];
    let mut desk =
        Desk::new(DeskSettings { routes: begun, channels: vec!["pager".into()], ..settings() });
    let (mut kept, mut out) = (Kept::default(), Outcome::default());
    desk.run(vec![fires("b", "r2", MINUTE)], Vec::new(), 2 * MINUTE, 0, &mut out);
    assert_eq!(out.notifications.len(), 3);
    kept.commit(&mut desk, &out);
    let over = [ends("b", "r2", 5 * MINUTE)];
    let told = |all: &All| {
        let each = all.notifications.iter();
        each.map(|one| (one.step, one.route.clone(), one.channel.clone())).collect::<Vec<_>>()
    };
    let line = |step, route: &str, channel: &str| (step, route.to_owned(), channel.to_owned());

    // Renamed, beside another that is new there: the one is what the old one was, and ends.
    let routes = vec![by("new", "pager"), by("kept", "ops")];
    let mut desk = with_routes(&kept, routes.clone(), &["pager", "ops"], 2 * MINUTE);
    let all = run(&mut desk, &over, &[4 * MINUTE, 6 * MINUTE], 0);
    let wanted = [line(Step::Resolved, "new", "pager"), line(Step::Resolved, "kept", "ops")];
    assert_eq!(told(&all), wanted, "nobody again, and ops once");

    // Removed, and its rule with it.
    let gone = vec![by("kept", "ops")];
    let wanted = [line(Step::Resolved, "kept", "ops"), line(Step::Resolved, "old", "pager")];
    let mut desk = with_routes(&kept, gone.clone(), &["pager", "ops"], 2 * MINUTE);
    let all = run(&mut desk, &over, &[4 * MINUTE, 6 * MINUTE], 0);
    assert_eq!(told(&all), wanted);
    assert!(all.changes.iter().any(|one| one.says == "old by pager: resolved"));
    let mut unruled = settings();
    unruled.rules.clear();
    (unruled.routes, unruled.channels) = (gone.clone(), vec!["pager".into(), "ops".into()]);
    let mut desk = Desk::new(unruled);
    desk.restore(kept.0.clone(), 2 * MINUTE).unwrap();
    assert_eq!(told(&run(&mut desk, &[], &[4 * MINUTE], 0)), wanted);

    // It leads to another channel now: the end is for the one that heard.
    let moved = vec![by("old", "ops")];
    let mut desk = with_routes(&kept, moved, &["pager", "ops"], 2 * MINUTE);
    let all = run(&mut desk, &over, &[4 * MINUTE, 6 * MINUTE], 0);
    let wanted = [line(Step::Resolved, "old", "pager"), line(Step::Resolved, "both", "ops")];
    assert_eq!(told(&all), wanted);

    // Its channel is gone as well.
    let mut desk = with_routes(&kept, gone, &["ops"], 2 * MINUTE);
    let all = run(&mut desk, &over, &[4 * MINUTE, 6 * MINUTE], 0);
    assert_eq!(told(&all), [line(Step::Resolved, "kept", "ops")]);
    let held = all.changes.iter().filter(|one| one.what == What::HeldBack);
    let held: Vec<&str> = held.map(|one| one.says.as_str()).collect();
    assert_eq!(held, ["old and pager are no more: the end was not told there"]);
    assert_eq!(desk.counts().held_back, BTreeMap::from([("route_removed".to_owned(), 1)]));
}

#[test]
fn what_was_told_before_channels_were_kept_is_read_and_its_end_held_back() {
    let mut desk = Desk::new(settings());
    let (mut kept, mut out) = (Kept::default(), Outcome::default());
    desk.run(vec![fires("b", "r2", MINUTE)], Vec::new(), 2 * MINUTE, 0, &mut out);
    kept.commit(&mut desk, &out);
    for (name, entry) in kept.0.iter_mut().filter(|(name, _)| name.starts_with("incident/")) {
        for told in entry["told"].as_object_mut().unwrap().values_mut() {
            told.as_object_mut().unwrap().remove("channel");
        }
        assert!(!entry["told"].to_string().contains("channel"), "{name}");
    }
    let mut desk = with_routes(&kept, vec![route("all", "")], &["to_all"], 2 * MINUTE);
    let all = run(&mut desk, &[ends("b", "r2", 5 * MINUTE)], &[6 * MINUTE], 0);
    assert_eq!(all.steps("all"), [(Step::Resolved, 5)]);
    assert_eq!(all.notifications.len(), 1);
    let held = all.changes.iter().filter(|one| one.what == What::HeldBack).count();
    assert_eq!(held, 1, "the others are one channel that nobody knows: {:#?}", all.changes);
}

#[test]
fn occurrences_that_are_told_stand_in_no_line_of_the_log() {
    let mut desk = Desk::new(settings());
    let mut out = Outcome::default();
    let carts: Vec<Alert> = (0..40).map(|n| cart(n, MINUTE + n as i64, 90.0)).collect();
    let known = carts.iter().map(|cart| (cart.at, cart)).collect();
    desk.run(vec![fires("b", "r2", MINUTE)], known, 60 * MINUTE, 0, &mut out);
    let of = |step: Step| out.notifications.iter().filter(|one| one.step == step).count();
    assert!(of(Step::Occurred) == 40 && of(Step::Digest) == 2, "{:#?}", out.notifications);
    let told: Vec<&Change> = out.changes.iter().filter(|one| one.what == What::Told).collect();
    assert!(told.iter().all(|one| !one.says.contains("each") && !one.says.contains("carts")));
    // What is told together of incidents is of no single one.
    let together = told.iter().find(|one| one.incident.is_empty()).unwrap();
    assert_eq!(together.says, "together by to_together: digest");
}

#[test]
fn a_silence_of_what_is_not_known_any_more_says_that_it_silences_nothing() {
    let mut desk = Desk::new(settings());
    let (mut kept, mut out) = (Kept::default(), Outcome::default());
    let silence = Silence {
        id: "s".into(),
        matching: "region == \"r1\"".into(),
        from: 0,
        until: 90 * MINUTE,
        by: "ada".into(),
        reason: "we know".into(),
        void: None,
    };
    desk.command(Command::Silence(silence, None), &mut out).unwrap();
    kept.commit(&mut desk, &out);
    let mut desk = Desk::new(DeskSettings { attributes: Vec::new(), ..settings() });
    desk.restore(kept.0.clone(), 2 * MINUTE).unwrap();
    let mut out = Outcome::default();
    desk.run(Vec::new(), Vec::new(), 3 * MINUTE, 0, &mut out);
    assert_eq!(out.changes[0].what, What::SilenceVoid);
    assert!(desk.silences().next().unwrap().void.as_ref().unwrap().contains("region is not known"));
}

#[test]
fn spans_are_by_the_later_of_both_clocks() {
    let mut desk = Desk::new(settings());
    let mut out = Outcome::default();
    // The log is behind by far: it is caught up with within a minute of the machine.
    desk.run(vec![fires("b", "r2", MINUTE)], Vec::new(), 2 * MINUTE, 200 * MINUTE, &mut out);
    let id = desk.open().next().unwrap().id.clone();
    let snooze = Command::Snooze { incident: id, span: 30 * MINUTE, by: "ada".into() };
    desk.command(snooze, &mut out).unwrap();
    assert_eq!(desk.open().next().unwrap().snoozed.as_ref().unwrap().until, 230 * MINUTE);
}
