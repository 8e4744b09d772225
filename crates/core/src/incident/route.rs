//! Where notifications go.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::hours::Hours;
use crate::expr::Expr;
use crate::settings::Word;
use crate::time::{EpochMs, SpanMs};

/// Which kind of thing a route is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Of {
    /// What a rule says holds.
    #[default]
    Incidents,
    /// Moments: sessions that were abandoned, matches of patterns.
    Occurrences,
}

impl Word for Of {
    const WORDS: &'static [(&'static str, Self)] =
        &[("incidents", Of::Incidents), ("occurrences", Of::Occurrences)];
}

/// One way for notifications. A thing takes each route that it fits, up to the first that doesn't let
/// it go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub of: Of,
    /// Which of them; `None` for all.
    pub when: Option<Expr>,
    /// The channel that it leads to.
    pub channel: String,
    /// The routes behind it are looked at as well.
    pub goes_on: bool,
    /// Nobody is told while somebody takes care of it or it is over within this time.
    pub after: SpanMs,
    /// Nobody is told at these hours: incidents wait for their end, occurrences come together.
    pub quiet: Option<Hours>,
    /// What comes within this time is told together; 0 for each on its own.
    pub digest: SpanMs,
    /// An incident that goes on is told again so often; 0 for once.
    pub repeat: SpanMs,
    /// Most notifications within `per`; incidents wait for room, occurrences come together.
    pub at_most: usize,
    /// See `at_most`.
    pub per: SpanMs,
    /// That an incident is over is told, to those who were told that it began.
    pub resolved: bool,
    /// That somebody takes care of an incident is told as well.
    pub acknowledged: bool,
}

/// What a route remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RouteKept {
    /// When the newest notifications that count went out, at most `at_most`.
    pub sent: VecDeque<EpochMs>,
    /// What waits to be told together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl RouteKept {
    /// When there is room for one more; `None` while there is.
    pub fn room_at(&self, route: &Route, at: EpochMs) -> Option<EpochMs> {
        if self.sent.len() < route.at_most {
            return None;
        }
        let oldest = self.sent[self.sent.len() - route.at_most.max(1)];
        Some(oldest + route.per).filter(|room| *room > at)
    }

    /// One goes out.
    pub fn note(&mut self, route: &Route, at: EpochMs) {
        self.sent.push_back(at);
        while self.sent.len() > route.at_most {
            self.sent.pop_front();
        }
    }
}
