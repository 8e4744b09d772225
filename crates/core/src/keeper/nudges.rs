//! Nudges in a commit: sessions that ended abandoned and goals that were reached, what is decided of them,
//! and who goes out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::incidents::Incidents;
use super::patterns::detail;
use crate::commit::{CommitUnit, SectionWriter};
use crate::nudge::{Abandoned, Goal, NudgeView, Nudges};
use crate::pattern::{CUT, FoundMatch, More, Patterns, Seeks};
use crate::time::EpochMs;

/// What is decided at a barrier: of goals that were reached, and of matches. Known is what happened up
/// to `known`; what lies too far before `wall` goes to nobody.
pub(super) fn decide(
    nudges: &mut Nudges,
    (goals, matches): (Vec<Goal>, &[FoundMatch]),
    patterns: &Patterns,
    (known, wall): (EpochMs, EpochMs),
    incidents: &mut Incidents,
    unit: &mut CommitUnit,
) {
    let ended = matches.iter().filter_map(|one| abandoned(patterns, one)).collect();
    let mut sent = Vec::new();
    nudges.run(goals, ended, known, wall, &mut sent);
    let mut entries = nudges.entries();
    // How many went out.
    entries.extend(incidents.notify(sent, &mut unit.incidents));
    if !entries.is_empty() {
        unit.delta.push(SectionWriter::entries(&entries));
    }
}

/// A match as nudges see it; `None` where none is of its kind.
fn abandoned(patterns: &Patterns, one: &FoundMatch) -> Option<Abandoned> {
    let pattern = &patterns.list[usize::from(one.found.pattern)];
    let (Seeks::Sessions(sessions), More::Visited(visited)) =
        (&pattern.spec.seeks, &one.found.more)
    else {
        return None;
    };
    if !pattern.nudges(&one.found) {
        return None;
    }
    let mut facts = detail(patterns, one);
    facts.insert(CUT.into(), json!(visited.cut));
    for ((name, _), count) in sessions.counts.iter().zip(&visited.counts) {
        facts.insert(name.clone(), json!(count));
    }
    Some(Abandoned {
        of: pattern.spec.name.as_str().into(),
        key: one.key.clone(),
        name: one.found.name(&one.key, pattern),
        at: one.found.at,
        facts,
    })
}

/// Takes the entries of nudges out of those of the last commit.
pub(super) fn restore(
    nudges: &mut Nudges,
    entries: &mut BTreeMap<String, Value>,
    known: EpochMs,
) -> Result<(), String> {
    let own = entries.extract_if(.., |name, _| Nudges::owns(name)).collect::<Vec<_>>();
    nudges.restore(own, known)
}

/// The topic of nudges: how each stands, and how many want to hear nothing.
pub(super) fn topic(nudges: &Nudges) -> BTreeMap<String, Value> {
    let views: Vec<NudgeView> = nudges.views();
    let (suppressed, most) = nudges.suppressed();
    BTreeMap::from([
        ("nudges".into(), json!(views)),
        ("suppressed".into(), json!(suppressed)),
        ("suppressed_max".into(), json!(most)),
    ])
}
