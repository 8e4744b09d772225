//! What a person sees of a key's open sessions.

use super::machine::Machine;
use super::record::Segments;
use super::rules::Rules;
use super::state::State;
use super::{OpenSession, SessionView, TrailEntry};
use crate::time::EpochMs;

impl Machine {
    /// The open sessions at a watermark, for `GET /v1/sessions/{key}`; without those of other kinds.
    pub fn view(
        &self,
        key: &str,
        rules: &Rules,
        segments: &Segments,
        watermark: EpochMs,
    ) -> SessionView {
        let sessions =
            self.sessions.iter().map(|state| open(state, rules, segments, watermark)).collect();
        SessionView { key: key.to_owned(), watermark, sessions, kinds: Vec::new() }
    }
}

fn open(state: &State, rules: &Rules, segments: &Segments, watermark: EpochMs) -> OpenSession {
    let deadline = state.deadline(rules);
    let name =
        |event_type: u8| rules.counted.get(usize::from(event_type)).cloned().unwrap_or_default();
    let counts = state.counts.iter().enumerate().filter(|(_, count)| **count > 0);
    OpenSession {
        state: match (state.at_risk(), state.contents.had_entry() && state.goals > 0) {
            (true, _) => "at_risk",
            (_, true) => "converted",
            _ => "browsing",
        },
        step: rules.step_name(state.step).to_owned(),
        first: state.first,
        last: state.last,
        events: state.events.into(),
        deadline,
        remaining_ms: deadline - watermark,
        value: state.contents.value().to_f64(),
        currency: rules.currency.clone(),
        segment: segments.text(state.segment).to_owned(),
        counts: counts
            .map(|(event_type, count)| (name(event_type as u8), u64::from(*count)))
            .collect(),
        trail: state
            .trail()
            .map(|(at, event_type)| TrailEntry { at, event_type: name(event_type) })
            .collect(),
    }
}
