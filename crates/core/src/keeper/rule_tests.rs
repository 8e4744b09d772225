//! What commits hold of a rule: only what changed, and together all of it.

use proptest::prelude::*;

use super::tests::{STEP, keeper_with, rule, rule_of, second};
use super::*;
use crate::anomaly::{Absence, Detect, RateOfChange, Robust, Season, Sigma, Threshold};
use crate::commit::{RuleSnapshot, Snapshot};
use crate::settings::{Derived, Section as _};

/// Absorbs what a second brings; returns the bytes of its commit.
fn pass(keeper: &mut Keeper, snapshot: &mut Snapshot, index: usize, count: u64) -> usize {
    let (barrier, deltas) = second(index as i64 * STEP, count);
    let unit = keeper.merge(barrier, deltas);
    unit.delta.iter().for_each(|section| snapshot.absorb(section).unwrap());
    unit.delta.iter().map(Vec::len).sum()
}

/// One of each detector, over so many windows.
pub(super) fn detectors(over: i64) -> Vec<Detect> {
    let samples = over as usize;
    let season = Robust {
        season: Season::Day,
        season_width: over * STEP,
        samples_min: 4,
        ..Robust::default()
    };
    let mut all: Vec<Detect> = vec![
        Sigma { over: over * STEP, samples_min: 4, value_min: 5.0, ..Sigma::default() }.into(),
        Threshold { limit: Derived(Some(over as f64)), ..Threshold::default() }.into(),
        Robust { samples, samples_min: 4, ..Robust::default() }.into(),
        Robust { samples, samples_min: 4, k: 3.0, recurs: 1, ..Robust::default() }.into(),
        season.into(),
        RateOfChange { ago: over * STEP, percent: Derived(Some(50.0)), ..RateOfChange::default() }
            .into(),
        Absence.into(),
    ];
    all.iter_mut().for_each(|detect| detect.fill(STEP));
    all
}

proptest! {
    #![proptest_config(crate::trials::cases(48))]
    /// What came after the last snapshot, added to it, is what the keeper holds; also while an
    /// alert is pending or up, when it is over, and when what lasts has become usual.
    #[test]
    fn commits_add_up_to_the_rules_of_the_keeper(
        stretches in prop::collection::vec((1usize..15, prop::sample::select(vec![0u64, 3, 90])), 1..9),
        over in 6i64..20,
        detector in 0usize..7,
        hold in 0i64..4,
        cooldown in 0i64..6,
        ends in prop::collection::vec(0u8..6, 1..20),
    ) {
        let mut rule = rule_of(detectors(over).swap_remove(detector));
        (rule.patience.hold, rule.patience.cooldown) = (hold * STEP, cooldown * STEP);
        let fresh = || keeper_with(rule.clone());
        let (mut keeper, mut snapshot) = (fresh(), Snapshot::default());
        let counts = stretches.iter().flat_map(|(len, count)| vec![*count; *len]);
        for (index, count) in counts.enumerate() {
            pass(&mut keeper, &mut snapshot, index, count + index as u64 % 2);
            let mut resumed = fresh();
            resumed.restore(&mut snapshot.clone(), index as i64 * STEP).unwrap();
            prop_assert_eq!(&resumed.state.rules, &keeper.state.rules);
            match ends[index % ends.len()] {
                // The process ends, or its commits are folded.
                0 => keeper = resumed,
                1 => {
                    let encoded = snapshot.encode(64);
                    snapshot = Snapshot::default();
                    encoded.iter().for_each(|section| snapshot.absorb(section).unwrap());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_commit_does_not_grow_with_how_far_a_rule_looks_back() {
    let bytes = [10, 1_000].map(|over| {
        let sigma =
            Sigma { over: over * STEP, samples_min: 10, value_min: 5.0, ..Sigma::default() };
        let rule = rule_of(sigma);
        let (mut keeper, mut snapshot) = (keeper_with(rule), Snapshot::default());
        let mut last = 0;
        for index in 0..2_000 {
            last = pass(&mut keeper, &mut snapshot, index, 3 + index as u64 % 3);
        }
        let lists: &RuleSnapshot = snapshot.rules.values().next().unwrap();
        assert_eq!(lists.samples.len() as i64, over + 1);
        last
    });
    assert!(bytes[0].abs_diff(bytes[1]) <= 16 && bytes[1] < 900, "{bytes:?}");
}

#[test]
fn the_lists_of_a_rule_that_means_something_else_are_forgotten() {
    let (mut keeper, mut snapshot) = (keeper_with(rule()), Snapshot::default());
    (0..40).for_each(|index| {
        pass(&mut keeper, &mut snapshot, index, 3);
    });
    let former = snapshot.rules.keys().next().unwrap().clone();
    let mut changed = keeper_with(rule_of(Sigma { k: 4.0, ..Sigma::default() }));
    changed.restore(&mut snapshot.clone(), 39 * STEP).unwrap();
    (40..43).for_each(|index| {
        pass(&mut changed, &mut snapshot, index, 3);
    });
    assert_eq!(snapshot.rules.len(), 1);
    assert!(!snapshot.rules.contains_key(&former));
    assert!(!snapshot.entries.keys().any(|name| name.ends_with(&former)));
}

/// Files of before had the lists in the entry.
#[test]
fn an_entry_with_lists_of_its_own_is_refused() {
    let (mut keeper, mut snapshot) = (keeper_with(rule()), Snapshot::default());
    (0..40).for_each(|index| {
        pass(&mut keeper, &mut snapshot, index, 3);
    });
    let name = snapshot.entries.keys().find(|name| name.starts_with("rule/")).unwrap().clone();
    snapshot.entries.get_mut(&name).unwrap()["points"] = serde_json::json!([]);
    assert!(keeper_with(rule()).restore(&mut snapshot, 39 * STEP).is_err());
}

proptest! {
    #![proptest_config(crate::trials::cases(64))]
    /// Looking back at windows that are final says what was said while they became so.
    #[test]
    fn looking_back_says_what_was_said(
        stretches in prop::collection::vec((1usize..20, prop::sample::select(vec![0u64, 3, 90])), 1..9),
        over in 6i64..20,
        detector in 0usize..7,
        hold in 0i64..4,
        metric in prop::sample::select(vec!["failures", "minute", "today"]),
    ) {
        let mut rule = rule_of(detectors(over).swap_remove(detector));
        (rule.patience.hold, rule.metric) = (hold * STEP, metric.into());
        let mut keeper = keeper_with(rule.clone());
        let index = keeper.engine.metrics().iter().position(|one| one.spec.name == metric).unwrap();
        let (mut raised, mut numbers, mut settled) = (Vec::new(), Vec::new(), 0);
        let counts: Vec<u64> = stretches.iter().flat_map(|(len, n)| vec![*n; *len]).collect();
        for (second_at, count) in counts.iter().enumerate() {
            let (barrier, deltas) = second(second_at as i64 * STEP, *count);
            settled = keeper.engine.settled(barrier.watermark);
            keeper.merge(barrier, deltas);
            raised.append(&mut keeper.signals);
            let points = keeper.points.iter().filter(|one| usize::from(one.metric) == index);
            numbers.extend(points.map(|one| (one.end, one.value.scalar().unwrap())));
        }
        let first = keeper.first_at().unwrap();
        let metric = &keeper.engine.metrics()[index];
        prop_assert_eq!(look_back(&rule, metric, None, &numbers, (first, settled), 500), raised);
    }
}

#[test]
fn every_dial_is_a_key_of_its_detector_with_values_that_differ() {
    for detect in detectors(60) {
        let patience = rule().patience;
        let numbers: Vec<f64> = (0..1_000).map(f64::from).collect();
        let dials = detect.dials(patience, STEP, &numbers);
        assert!(dials.iter().any(|(key, _)| *key == "for"), "{}", detect.word());
        for (key, values) in dials {
            let own = detect.keys().iter().any(|own| own.path == key);
            assert!(own || key == "for", "{}: {key}", detect.word());
            assert!(values.len() > 1 && values.windows(2).all(|two| two[0] != two[1]), "{key}");
        }
    }
}
