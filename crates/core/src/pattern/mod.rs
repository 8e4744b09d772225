//! Patterns: sequences of events of one key, in event time. "A, then B within 10 min, without C
//! between"; "A three times within 1 min"; "A, and no B within T". Joins: "each A with each B within
//! T", and those that find none. Funnels: how far each came on a way of steps. Sessions of kinds of
//! their own. Where nothing else is said, all of these are patterns here.
//!
//! What a pattern finds, a match, is an event of its own: its type is the pattern's name, its time
//! that of the last step (or the end of the wait), and metrics take it like any other.
//!
//! A key keeps the events that the watermark has not passed by the allowed lateness yet, in the
//! order of their time; only those it has passed are looked at, one after the other. So what is
//! found does not depend on the order in which they came, and it is found before the window is
//! final that it lies in: a match at `t` is known once the watermark has passed `t` by the lateness,
//! a window that ends behind `t` is final when the watermark has reached its end by as much.

mod cohorts;
mod compile;
mod effects;
mod found;
mod funnel;
mod held;
mod join;
mod listed;
mod machine;
mod needs;
mod open;
mod progress;
mod record;
mod sent;
mod sequence;
mod spec;
mod visits;

pub use cohorts::{CohortKey, Cohorts};
pub use compile::{
    Concern, Concerns, Hits, Pattern, Patterns, SESSION_COUNTS_MAX, SESSION_STEPS_MAX, THEN_MAX,
};
pub use effects::{PatternEffects, PatternTally, SessionTally};
pub use found::{FoundMatch, Match, MatchFact, More, Reach};
pub use listed::Listing;
pub use machine::{Machine, PatternEvent};
pub use sent::Sent;
pub use sequence::Moment;
pub use spec::{
    COHORT, CUT, CohortSpec, DURATION, EVENTS, FunnelSpec, IS_FIRST, JoinKind, JoinSpec, LEFT,
    MATCHED, OUTCOME, PatternSpec, REACHED, STEP, Seeks, SequenceSpec, SessionsSpec, Side, Taken,
    VALUE, WAITED, list_more, metric_name,
};
pub use visits::Visited;

#[cfg(test)]
mod funnel_tests;
#[cfg(test)]
mod open_tests;
#[cfg(test)]
mod test_ground;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unite_tests;
#[cfg(test)]
mod visits_tests;
