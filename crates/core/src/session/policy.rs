//! What opens, completes and abandons a session; all of it configuration.

use crate::settings::{Word, settings};
use crate::time::SpanMs;

/// Most steps of a funnel: a session keeps its step in four bits.
const STEPS_MAX: usize = 15;
const _: () = assert!(STEPS_MAX < super::effects::STEPS_MAX, "and one place for those on no step");

settings! {
    /// What a session is and how it ends.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SessionPolicy in "session." {
        /// Silence that ends a session; an event exactly this much later still belongs to it.
        pub gap: SpanMs = 30 * MINUTE, span(SECOND, 7 * DAY);
        /// When an entry without a goal is abandoned: "inactivity" (the session ended by silence)
        /// or "since_entry" (gap has passed since the last entry, whatever else the user does).
        pub deadline: Deadline = Deadline::Inactivity, word::<Deadline>();
        /// Event types that put something at stake. None of them is a goal.
        pub entry: Vec<String> = vec!["cart_add".into()], names(1, NAMES_MAX);
        /// Event types that complete what an entry began.
        pub goal: Vec<String> = vec!["payment_completed".into()], names(1, NAMES_MAX);
        /// Event types that take an entry back: its value, or, where an entry or a removal carries
        /// none, one entry. What is emptied again is not at stake: its session is "browsed", under
        /// since_entry its cart is gone. None of them is an entry or a goal.
        pub remove: Vec<String> = vec!["cart_remove".into()], names(0, NAMES_MAX);
        /// Longest session; one that goes on longer is cut after this long, and what comes next is
        /// a session of its own. How many were cut is in the report and on the page, each says so
        /// ("cut" in its alert). "0s" for no bound; at least gap.
        pub max_length: Option<SpanMs> = None, span(0, 3_660 * DAY);
        /// Attribute with the key of a visitor who is not known yet, such as "anonymous_id"; "" for
        /// none. An event without the session key (events.key) belongs to this one. An event with
        /// both says whose visitor it was: what is open of the anonymous key goes on under the
        /// known one, as one session, and its later events go there as well. What had ended stays
        /// as it ended. When a second person signs in with the same anonymous key, it is theirs
        /// from then on. All events then go through one shard, whatever pipeline.shards says, so
        /// that this happens at an exact place. Needs a session key of one attribute.
        pub identify: Option<String> = None, text();
        /// How long an anonymous key stands for the known one after its last event, in event time;
        /// at least three gaps and allowed_lateness.
        pub identify_keep: SpanMs = DAY, span(MINUTE, 3_660 * DAY);
        /// Anonymous keys that are remembered. Beyond this bound those without an event for longest are
        /// forgotten, which is counted: their next events open sessions of their own.
        pub aliases_max: usize = 1_000_000, count(100, 100_000_000);
        /// Bytes of anonymous keys that are remembered, both keys and some 200 bytes each. The same
        /// holds beyond it.
        pub aliases_bytes_max: usize = 256 << 20, size(MIB, 1_024 * GIB);
        /// Bytes of a session key: it is kept in memory and in every commit of its session. An
        /// event with a longer one ends in the dead letters. Not more than events.text_bytes.
        pub key_bytes_max: usize = 1 << 10, size(16, 64 * KIB);
        /// Entries, removals and goals of one key kept in order under "since_entry", some 32 bytes
        /// each: beyond it the oldest are settled early, and what lies before them is late. People
        /// do not reach it, programs do.
        pub marks_max: usize = 1_024, count(16, 1_000_000);
        /// Event types that show progress, in funnel order. A session keeps its step in four bits.
        pub steps: Vec<String> =
            ["page_view", "cart_add", "payment_initiated", "payment_completed"]
                .map(String::from)
                .into(),
            names_in_order(0, STEPS_MAX);
        /// Attribute summed over entry events, the value at stake; "" for none.
        pub value: Option<String> = Some("amount".into()), text();
        /// Attribute kept as the session's segment, the latest wins; "" for none.
        pub segment: Option<String> = Some("region".into()), text();
        /// Unit of the value, for people.
        pub currency: String = "EUR".into(), text();
    }
}

/// When an entry without a goal counts as abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// When the session ends by silence without a goal anywhere in it.
    Inactivity,
    /// When `gap` has passed since the last entry event without a goal, whatever else the
    /// user does meanwhile.
    SinceEntry,
}

impl Word for Deadline {
    const WORDS: &'static [(&'static str, Self)] =
        &[("inactivity", Deadline::Inactivity), ("since_entry", Deadline::SinceEntry)];
}
