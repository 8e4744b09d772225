//! What an event did can be taken back as if it had never come.

use super::*;
use crate::keyed::KeyedMachine as _;

fn marks_of(since_entry: bool) -> Rules {
    let deadline = if since_entry { Deadline::SinceEntry } else { Deadline::Inactivity };
    let max_length = Some(3 * GAP);
    rules_of(SessionPolicy { deadline, marks_max: 5, max_length, ..SessionPolicy::default() })
}

proptest! {
    /// Each event is applied, taken back and applied again: machine and effects are those of a
    /// machine that saw it once, and in between those of one that never did.
    #[test]
    fn what_an_event_did_is_taken_back(
        since_entry in any::<bool>(),
        events in prop::collection::vec((0i64..3_000, 0u16..5, 0i64..2_500), 1..120),
    ) {
        let rules = marks_of(since_entry);
        let (mut machine, mut fx) = (Machine::default(), SessionEffects::default());
        let (mut plain, mut plain_fx) = (Machine::default(), SessionEffects::default());
        let mut undo = Undo::default();
        let (mut now, mut watermark) = (0, BEGINNING);
        for (step, event_type, behind) in events {
            now += step;
            let event = event(&rules, now - behind, watermark, event_type);
            undo.note(&machine, &mut fx);
            let first = machine.apply(&rules, &event, &mut fx);
            undo.restore(&mut machine, &mut fx);
            prop_assert_eq!((&machine, &fx), (&plain, &plain_fx));

            undo.note(&machine, &mut fx);
            let again = machine.apply(&rules, &event, &mut fx);
            undo.done(&mut fx);
            let once = plain.apply(&rules, &event, &mut plain_fx);
            prop_assert_eq!((first, again), (once, once));
            prop_assert_eq!((&machine, &fx), (&plain, &plain_fx));
            watermark = watermark.max(now - LATENESS);
        }
    }
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<State>() <= 120, "{}", size_of::<State>());
    assert!(size_of::<Machine>() <= 144, "{}", size_of::<Machine>());
}
