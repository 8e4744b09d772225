//! Nudges against a plain recomputation, whatever barriers, restarts and suppressions lie between.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::hash::key_hash;
use crate::incident::Notification;

const WITHIN: i64 = 20;
const PER: i64 = 30;
const LATENESS: i64 = 3;

/// Not secret: tests need to make the same.
#[derive(Debug)]
struct Plain(u64);

impl Seal for Plain {
    fn code(&self, text: &[u8]) -> [u8; 32] {
        let mut code = [0; 32];
        for (turn, bytes) in code.chunks_mut(8).enumerate() {
            bytes.copy_from_slice(&key_hash(self.0 + turn as u64, text).to_le_bytes());
        }
        code
    }
}

fn spec(after: i64, keys_max: usize) -> NudgeSpec {
    NudgeSpec {
        name: "cart".into(),
        of: "carts".into(),
        when: Some(Expr::condition("value >= 1", &Asked { attributes: &[] }).unwrap()),
        address: "mail".into(),
        consent: "agreed".into(),
        items: Some("products".into()),
        hidden: vec!["mail_too".into()],
        channel: "post".into(),
        after,
        cap: Cap { times: 2, per: PER },
        holdout: 0.4,
        within: WITHIN,
        keys_max,
    }
}

fn settings(spec: NudgeSpec) -> NudgeSettings {
    NudgeSettings {
        nudges: vec![spec],
        seals: vec![std::sync::Arc::new(Plain(7))],
        seed: 11,
        unsubscribe_url: "https://shop.example/v1/unsubscribe".into(),
        suppressed_max: 1_000,
        max_age: 1_000,
        lateness: LATENESS,
        currency: "EUR".into(),
    }
}

/// What happens, one after the other in the log.
#[derive(Clone, Debug)]
enum Step {
    Abandoned {
        at: i64,
        key: u8,
        value: i64,
        mail: bool,
        agreed: Option<bool>,
    },
    Goal {
        at: i64,
        key: u8,
    },
    /// A barrier: everything before this is known.
    Barrier(i64),
    /// Somebody imports an address, or follows the link in a mail.
    Suppress(u8),
    Restart,
}

fn address(key: u8) -> String {
    format!("Key{key}@Example.org")
}

fn session(at: i64, key: u8, value: i64, mail: bool, agreed: Option<bool>) -> Abandoned {
    let facts = json!({
        "value": value,
        "mail": mail.then(|| address(key)),
        "mail_too": address(key),
        "agreed": agreed,
        "products": ["a", "b"],
        "products_more": 3,
        "first": at - 9,
    });
    let facts: Map<String, Json> = facts.as_object().unwrap().clone();
    let key = format!("k{key}");
    Abandoned {
        of: "carts".into(),
        name: format!("carts\0{key}\0{at}"),
        key: key.into(),
        at,
        facts,
    }
}

/// Times go on; each session and each goal lies before the barrier that follows, and behind the one
/// before.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..20, 0u8..6, 0i64..4, 0i64..5, any::<bool>());
    prop::collection::vec(step, 1..80).prop_map(|drawn| {
        let (mut now, mut floor, mut taken) = (1_000, 1_000, BTreeSet::new());
        let mut steps = Vec::new();
        for (what, key, value, ahead, mail) in drawn {
            now += ahead;
            let at = now.max(floor);
            steps.push(match what {
                0..10 => {
                    // No two sessions of a key end at one time.
                    if !taken.insert((key, at)) {
                        continue;
                    }
                    let agreed = [Some(true), Some(true), Some(false), None][value as usize];
                    Step::Abandoned { at, key, value: (what % 3).into(), mail, agreed }
                }
                10..13 => Step::Goal { at, key },
                13..17 => {
                    floor = now + 1;
                    Step::Barrier(now + 1)
                }
                17 => Step::Suppress(key),
                _ => Step::Restart,
            });
        }
        steps
    })
}

/// What there is at the end.
#[derive(Debug, PartialEq)]
struct End {
    sent: Vec<Notification>,
    views: Vec<NudgeView>,
}

/// Runs the steps; `barriers`: whether those that are no last ones are there.
fn run(spec: &NudgeSpec, steps: &[Step], barriers: bool, restarts: bool) -> (End, Nudges) {
    let make = || Nudges::new(settings(spec.clone()));
    let (mut nudges, mut kept) = (make(), BTreeMap::<String, Json>::new());
    let (mut goals, mut ended, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    let mut until = crate::time::BEGINNING;
    for step in steps {
        match step {
            Step::Abandoned { at, key, value, mail, agreed } => {
                ended.push(session(*at, *key, *value, *mail, *agreed));
            }
            Step::Goal { at, key } => goals.push(Goal::new("carts", format!("k{key}").into(), *at)),
            Step::Suppress(key) => {
                let addresses = vec![address(*key)];
                nudges.command(&Command::Suppress { addresses, by: "ada".into() }).unwrap();
            }
            Step::Barrier(at) if barriers => {
                until = *at;
                let (goals, ended) = (std::mem::take(&mut goals), std::mem::take(&mut ended));
                nudges.run(goals, ended, until, 0, &mut sent);
                absorb(&mut kept, nudges.entries());
            }
            // What was not in a commit comes again.
            Step::Restart if restarts && barriers => {
                let suppressed: Vec<_> = nudges.entries().into_iter().collect();
                assert!(suppressed.iter().all(|(name, _)| name.starts_with("nudge_suppressed/")));
                absorb(&mut kept, suppressed.into_iter().collect());
                nudges = make();
                nudges.restore(kept.clone(), until).unwrap();
            }
            Step::Barrier(_) | Step::Restart => {}
        }
    }
    nudges.run(goals, ended, 5_000, 0, &mut sent);
    absorb(&mut kept, nudges.entries());
    let views = nudges.views();
    let mut again = make();
    again.restore(kept, 5_000).unwrap();
    assert_eq!(again.views(), views);
    (End { sent, views }, nudges)
}

fn absorb(kept: &mut BTreeMap<String, Json>, entries: BTreeMap<String, Json>) {
    for (name, value) in entries {
        assert!(Nudges::owns(&name), "{name}");
        if value.is_null() {
            kept.remove(&name)
        } else {
            kept.insert(name, value)
        };
    }
}

/// The outcomes, and per arm how many are finished and converted, by the definition.
fn recompute(
    spec: &NudgeSpec,
    steps: &[Step],
    nudges: &Nudges,
) -> (BTreeMap<&'static str, u64>, [(u64, u64); 2]) {
    let (mut sessions, mut goals, mut quiet) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut until = crate::time::BEGINNING;
    for step in steps {
        match step {
            Step::Abandoned { at, key, value, mail, agreed } => {
                sessions.push((*at, *key, *value, *mail, *agreed));
            }
            Step::Goal { at, key } => goals.push((*key, *at)),
            Step::Barrier(at) => until = *at,
            Step::Suppress(key) => drop(quiet.entry(*key).or_insert(until)),
            Step::Restart => {}
        }
    }
    sessions.sort_unstable_by_key(|one| (one.0, one.1));
    let mut outcomes: BTreeMap<&'static str, u64> =
        Outcome::ALL.into_iter().map(|one| (one.word(), 0)).collect();
    let (mut arms, mut times) = ([(0, 0); 2], BTreeMap::<u8, Vec<i64>>::new());
    let mut compared = BTreeSet::new();
    for (at, key, value, mail, agreed) in sessions {
        let due = at + spec.after;
        let times = times.entry(key).or_default();
        let had = |from: i64, until: i64| {
            goals.iter().any(|(of, goal)| *of == key && from < *goal && *goal <= until)
        };
        let held_out = nudges.tests_side(&format!("k{key}"));
        let outcome = if value < 1 {
            Outcome::NotWanted
        } else if !mail {
            Outcome::NoAddress
        } else if agreed != Some(true) {
            Outcome::NoConsent
        } else if quiet.get(&key).is_some_and(|from| *from <= due) {
            Outcome::Suppressed
        } else if had(at, due) {
            Outcome::AlreadyBought
        } else if times.iter().filter(|time| due < **time + PER).count() >= 2 {
            Outcome::Capped
        } else {
            times.push(due);
            // The first of each key.
            if compared.insert(key) {
                let arm = &mut arms[usize::from(held_out)];
                *arm = (arm.0 + 1, arm.1 + u64::from(had(due, due + WITHIN)));
            }
            if held_out { Outcome::HeldOut } else { Outcome::Sent }
        };
        *outcomes.get_mut(outcome.word()).unwrap() += 1;
    }
    (outcomes, arms)
}

proptest! {
    /// Each abandoned session has one outcome and at most one key; nobody is told who is kept apart,
    /// has not agreed, wants to hear nothing, or was told often enough; both arms and their conversions
    /// are those of a plain recomputation; and restarts change nothing.
    #[test]
    fn each_session_is_decided_once_and_as_it_should_be(steps in steps(), after in prop::sample::select(vec![0i64, 7])) {
        let spec = spec(after, 1_000);
        let (end, nudges) = run(&spec, &steps, true, true);
        let (straight, _) = run(&spec, &steps, true, false);
        prop_assert_eq!(&end, &straight);
        let (outcomes, [told, held_out]) = recompute(&spec, &steps, &nudges);
        let view = &end.views[0];
        prop_assert_eq!(&view.outcomes, &outcomes);
        let arm = |arm: ArmView| (arm.finished, arm.converted);
        prop_assert_eq!((arm(view.told), arm(view.held_out)), (told, held_out));
        let decided = outcomes["sent"] + outcomes["held_out"];
        prop_assert_eq!(told.0 + held_out.0 + view.not_compared, decided);
        prop_assert_eq!((view.told.running, view.held_out.running, view.keys), (0, 0, 0));
        let keys: BTreeSet<&String> = end.sent.iter().map(|one| &one.key).collect();
        prop_assert_eq!(keys.len(), end.sent.len());
        prop_assert_eq!(end.sent.len() as u64, outcomes["sent"]);
        for one in &end.sent {
            let text = one.facts.to_string().to_lowercase();
            prop_assert!(!text.contains("example.org"), "{}", text);
            prop_assert_eq!(&one.facts["items"], &json!(["a", "b"]));
            prop_assert_eq!(&one.facts["more"], &json!(3));
        }
    }

    /// However little may be remembered, it is never more, nobody is told of whom nothing can be
    /// remembered, and it is the same wherever barriers lie.
    #[test]
    fn what_finds_no_room_is_counted_and_not_told(steps in steps(), after in prop::sample::select(vec![0i64, 7])) {
        let steps: Vec<Step> =
            steps.into_iter().filter(|step| !matches!(step, Step::Suppress(_))).collect();
        let sessions = steps.iter().filter(|step| matches!(step, Step::Abandoned { .. })).count();
        let spec = spec(after, 2);
        let (end, nudges) = run(&spec, &steps, true, true);
        let (at_once, _) = run(&spec, &steps, false, false);
        prop_assert_eq!(&end, &at_once);
        prop_assert_eq!(end.views[0].outcomes.values().sum::<u64>(), sessions as u64);
        prop_assert!(nudges.states[0].people.len() <= 2 && nudges.states[0].compared.len() <= 2);
        let view = &end.views[0];
        let compared = view.told.finished + view.held_out.finished;
        let decided = view.outcomes["sent"] + view.outcomes["held_out"];
        prop_assert!(compared <= 2 && compared + view.not_compared == decided, "{:?}", view);
    }
}

impl Nudges {
    /// Whether a key is kept apart.
    fn tests_side(&self, key: &str) -> bool {
        super::desk::is_held_out(&self.settings.nudges[0], self.hash_of(0, key))
    }
}

fn ready() -> (Nudges, Vec<Notification>) {
    let spec = NudgeSpec { holdout: 0.0, ..spec(0, 10) };
    let mut nudges = Nudges::new(settings(spec));
    let mut sent = Vec::new();
    nudges.run(vec![], vec![session(1_000, 1, 5, true, Some(true))], 1_001, 0, &mut sent);
    (nudges, sent)
}

#[test]
fn the_link_of_a_mail_is_good_for_its_address_alone() {
    let (mut nudges, sent) = ready();
    let to = sent[0].recipient.as_ref().unwrap();
    assert_eq!(to.address, "Key1@Example.org");
    let link = to.unsubscribe.as_deref().unwrap();
    let token = link.strip_prefix("https://shop.example/v1/unsubscribe?token=").unwrap();
    for wrong in [
        "",
        "cart",
        "cart.",
        &token[..token.len() - 1],
        &token.replace("cart.", "other."),
        &format!("{token}A"),
    ] {
        let command = Command::Unsubscribe { token: wrong.into() };
        assert_eq!(nudges.command(&command), Err(Refused::Token), "{wrong}");
    }
    let command = Command::Unsubscribe { token: token.into() };
    assert_eq!(format!("{command:?}"), "Unsubscribe(…)");
    assert_eq!((nudges.command(&command), nudges.command(&command)), (Ok(1), Ok(0)));
    assert_eq!((nudges.suppressed().0, nudges.views()[0].unsubscribed), (1, 1));
    let mut sent = Vec::new();
    let others =
        vec![session(1_100, 1, 5, true, Some(true)), session(1_100, 2, 5, true, Some(true))];
    nudges.run(vec![], others, 1_101, 0, &mut sent);
    assert_eq!(sent.len(), 1);
    let kept = Json::from_iter(nudges.entries()).to_string().to_lowercase();
    assert!(!kept.contains("example.org"), "{kept}");
}

#[test]
fn a_list_that_is_full_stops_all_and_says_so() {
    let mut nudges = Nudges::new(NudgeSettings { suppressed_max: 1, ..settings(spec(0, 10)) });
    let suppress = |addresses: &[&str]| Command::Suppress {
        addresses: addresses.iter().map(ToString::to_string).collect(),
        by: "ada".into(),
    };
    assert_eq!(nudges.command(&suppress(&["a@b.example", "c@"])), Err(Refused::Address(2)));
    assert_eq!(nudges.command(&suppress(&["a@b.example", "c@d.example"])), Err(Refused::Full(1)));
    assert_eq!(nudges.command(&suppress(&["a@b.example", " A@B.example "])), Ok(1));
    let mut sent = Vec::new();
    nudges.run(vec![], vec![session(1_000, 1, 5, true, Some(true))], 1_001, 0, &mut sent);
    assert_eq!((sent.len(), nudges.views()[0].outcomes["no_room"]), (0, 1));
}

#[test]
fn another_secret_is_noticed_and_the_one_before_helps() {
    let (mut nudges, sent) = ready();
    let addresses = vec!["key9@example.org".to_owned()];
    nudges.command(&Command::Suppress { addresses, by: "ada".into() }).unwrap();
    let kept = nudges.entries();
    let with = |seals: Vec<std::sync::Arc<dyn Seal>>| {
        let mut nudges = Nudges::new(NudgeSettings { seals, ..settings(spec(0, 10)) });
        nudges.restore(kept.clone(), 1_001).map(|()| nudges)
    };
    let error = with(vec![std::sync::Arc::new(Plain(99))]).unwrap_err();
    assert!(error.contains("nudges.secret_before"), "{error}");
    let both: Vec<std::sync::Arc<dyn Seal>> =
        vec![std::sync::Arc::new(Plain(99)), std::sync::Arc::new(Plain(7))];
    let mut nudges = with(both).unwrap();
    let link = sent[0].recipient.as_ref().unwrap().unsubscribe.clone().unwrap();
    let token = link.split_once("token=").unwrap().1.to_owned();
    assert_eq!(nudges.command(&Command::Unsubscribe { token }), Ok(1));
    let mut sent = Vec::new();
    nudges.run(vec![], vec![session(1_100, 9, 5, true, Some(true))], 1_101, 0, &mut sent);
    assert_eq!(nudges.views()[0].outcomes["suppressed"], 1);
}

#[test]
fn what_is_long_over_is_told_to_nobody() {
    let (mut nudges, _) = ready();
    let mut sent = Vec::new();
    let session = |at| session(at, 3, 5, true, Some(true));
    nudges.run(vec![], vec![session(1_100)], 1_101, 2_104, &mut sent);
    assert_eq!((sent.len(), nudges.views()[0].outcomes["too_old"]), (0, 1));
    nudges.run(vec![], vec![session(1_101)], 1_102, 2_104, &mut sent);
    assert_eq!(sent.len(), 1);
}

#[test]
fn another_comparison_begins_anew_and_knows_whom_it_told() {
    let (mut nudges, sent) = ready();
    let kept = nudges.entries();
    let other = NudgeSpec { holdout: 0.001, cap: Cap { times: 1, per: 500 }, ..spec(0, 10) };
    let mut nudges = Nudges::new(settings(other));
    nudges.restore(kept.clone(), 1_001).unwrap();
    assert_eq!(nudges.dropped().len(), 1);
    let view = &nudges.views()[0];
    assert_eq!((view.outcomes["sent"], view.told, view.keys), (0, ArmView::default(), 1));
    nudges.run(vec![], vec![session(1_100, 1, 5, true, Some(true))], 1_101, 0, &mut Vec::new());
    assert_eq!(nudges.views()[0].outcomes["capped"], 1);
    // One that is gone leaves nothing but whom it must not tell.
    let mut none = Nudges::new(NudgeSettings { nudges: vec![], ..settings(spec(0, 10)) });
    none.restore(kept.clone(), 1_001).unwrap();
    assert_eq!(none.entries().len(), kept.len());
    let said = none.dropped();
    assert!(said[0].contains("nudge cart is not") && said[0].contains("told 1 keys"), "{said:?}");
    // Whoever has a link of before is still heard.
    let link = sent[0].recipient.as_ref().unwrap().unsubscribe.clone().unwrap();
    let token = link.split_once("token=").unwrap().1.to_owned();
    assert_eq!(none.command(&Command::Unsubscribe { token }), Ok(1));
    assert_eq!((none.quiet().count(), none.newly_quiet().count()), (1, 1));
    none.run(vec![], vec![], 1_101, 0, &mut Vec::new());
    let kept = none.entries();
    assert!(kept.keys().all(|name| name.starts_with("nudge_suppressed/")), "{kept:?}");
    assert_eq!((kept.len(), none.newly_quiet().count()), (1, 0));
}

/// Whoever is told can unsubscribe, and whoever is kept apart cannot: this must not change who is compared.
#[test]
fn who_unsubscribes_stays_in_the_comparison_as_they_were_first() {
    let spec = NudgeSpec { holdout: 0.5, when: None, ..spec(0, 1_000) };
    let mut nudges = Nudges::new(settings(spec));
    // Every second key buys, whatever anybody is told.
    let (mut sent, mut now) = (Vec::new(), 1_000);
    for _ in 0..4 {
        let visits = (0..100u8).map(|key| session(now, key, 5, true, Some(true)));
        nudges.run(vec![], visits.collect(), now + 1, 0, &mut sent);
        for one in sent.drain(..) {
            let link = one.recipient.unwrap().unsubscribe.unwrap();
            let token = link.split_once("token=").unwrap().1.to_owned();
            nudges.command(&Command::Unsubscribe { token }).unwrap();
        }
        let goals = (0..100u8).filter(|key| key.is_multiple_of(2));
        let goals = goals.map(|key| Goal::new("carts", format!("k{key}").into(), now + 2));
        nudges.run(goals.collect(), vec![], now + 2 * PER, 0, &mut sent);
        now += 2 * PER;
    }
    let view = &nudges.views()[0];
    let halves = [view.told, view.held_out].map(|arm| (arm.finished, arm.running));
    assert_eq!((halves[0].0 + halves[1].0, halves[0].1 + halves[1].1), (100, 0), "{view:?}");
    assert_eq!(view.told.converted + view.held_out.converted, 50);
    assert_eq!(view.outcomes["suppressed"], 3 * view.told.finished);
    assert_eq!(view.not_compared, 3 * view.held_out.finished);
}

#[test]
fn the_share_that_is_kept_apart_is_the_one_that_is_stated() {
    let spec = NudgeSpec { holdout: 0.1, when: None, ..spec(0, 100_000) };
    let mut nudges = Nudges::new(settings(spec));
    let sessions = (0..10_000i64).map(|key| {
        let session = session(1_000 + key, 1, 5, true, Some(true));
        Abandoned { key: format!("user-{key}").into(), name: format!("{key}"), ..session }
    });
    nudges.run(vec![], sessions.collect(), 20_000, 0, &mut Vec::new());
    let view = &nudges.views()[0];
    let held_out = view.outcomes["held_out"] as f64;
    // Five standard deviations of a binomial share.
    assert!((held_out - 1_000.0).abs() < 5.0 * (10_000.0f64 * 0.09).sqrt(), "{held_out}");
    assert_eq!(view.outcomes["sent"] + view.outcomes["held_out"], 10_000);
}
