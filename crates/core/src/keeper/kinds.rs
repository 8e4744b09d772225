//! The topic of a kind of sessions: what is open, what is at stake, and how others ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::Keeper;
use super::words::span_words;
use crate::at_risk::{AtRisk, By};
use crate::board::{Topic, TopicAbout, TopicState};
use crate::pattern::{PatternSpec, PatternTally, Seeks, SessionTally, SessionsSpec};

/// The panel of a kind of sessions. Followed, its topic has lists that somebody must look for
/// ([`PipelineView::kinds_at_risk`](super::PipelineView::kinds_at_risk)).
pub const KIND_PANEL: &str = "sessions";

impl Keeper {
    /// What there is of each kind of sessions, by name, with how many ended.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, SessionTally, u64)> {
        let kinds = self.patterns().filter(|(spec, _)| of_sessions(spec).is_some());
        kinds.map(|(spec, tally)| (spec.name.as_str(), tally.sessions, tally.matches))
    }

    /// The topics of all kinds of sessions, by name. `seen`: what was seen last of those at risk, while
    /// somebody follows such a topic.
    pub(super) fn kind_topics(
        &self,
        seen: Option<&BTreeMap<String, Arc<AtRisk>>>,
    ) -> Vec<(String, Arc<Topic>)> {
        let topic = |(pattern, tally): (&PatternSpec, PatternTally)| {
            let spec = of_sessions(pattern)?;
            let mut state = BTreeMap::from([
                ("open".to_owned(), json!(tally.sessions.open)),
                ("ended".to_owned(), json!(tally.matches)),
                ("cut".to_owned(), json!(tally.sessions.cut)),
            ]);
            if !spec.goal.is_empty() {
                state.insert("converted".into(), json!(tally.sessions.converted));
            }
            if !spec.entry.is_empty() {
                let seen = seen.map(|all| all.get(&pattern.name).cloned().unwrap_or_default());
                let list = |by| json!(seen.as_ref().map(|seen| seen.shown(by)));
                state.extend([
                    ("at_risk".to_owned(), json!(tally.sessions.at_risk)),
                    ("value_at_stake".to_owned(), json!(tally.sessions.value.in_units())),
                    ("abandoned".to_owned(), json!(tally.sessions.abandoned)),
                    ("abandonment_rate".to_owned(), json!(tally.sessions.rate())),
                    ("by_deadline".to_owned(), list(By::Deadline)),
                    ("by_value".to_owned(), list(By::Value)),
                ]);
            }
            let about = TopicAbout {
                title: pattern.title.clone(),
                window: format!("until {} of silence", span_words(spec.gap)),
                note: self.lacks((pattern, tally)),
                panel: KIND_PANEL,
                ..TopicAbout::default()
            };
            Some((pattern.name.clone(), Arc::new(Topic { about, state: TopicState::Map(state) })))
        };
        self.patterns().filter_map(topic).collect()
    }
}

fn of_sessions(spec: &PatternSpec) -> Option<&SessionsSpec> {
    match &spec.seeks {
        Seeks::Sessions(sessions) => Some(sessions),
        _ => None,
    }
}
