//! The topic of a kind of sessions: what is open, what is at stake, and how others ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::Keeper;
use super::words::span_words;
use crate::board::{Topic, TopicAbout, TopicState};
use crate::pattern::{PatternSpec, PatternTally, Seeks, SessionTally, SessionsSpec};

impl Keeper {
    /// What there is of each kind of sessions, by name, with how many ended.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, SessionTally, u64)> {
        let kinds = self.patterns().filter(|(spec, _)| of_sessions(spec).is_some());
        kinds.map(|(spec, tally)| (spec.name.as_str(), tally.sessions, tally.matches))
    }

    /// The topics of all kinds of sessions, by name.
    pub(super) fn kind_topics(&self) -> Vec<(String, Arc<Topic>)> {
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
                state.extend([
                    ("at_risk".to_owned(), json!(tally.sessions.at_risk)),
                    ("value_at_stake".to_owned(), json!(tally.sessions.value.in_units())),
                    ("abandoned".to_owned(), json!(tally.sessions.abandoned)),
                    ("abandonment_rate".to_owned(), json!(tally.sessions.rate())),
                ]);
            }
            let about = TopicAbout {
                title: pattern.title.clone(),
                window: format!("until {} of silence", span_words(spec.gap)),
                note: self.lacks((pattern, tally)),
                panel: "sessions",
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
