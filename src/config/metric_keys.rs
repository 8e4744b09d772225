//! The keys of a `[[metric]]`, besides those of its aggregate.

use crate::domain::metric::{Aggregate, Facts};
use crate::domain::settings::terms::DAY;
use crate::domain::settings::{Derived, settings};
use crate::domain::time::SpanMs;

/// Most labels of a metric; `region`, `status` and two more.
const GROUP_BY_MAX: usize = 4;

/// Longest history: ten years of months; `POINTS_MAX` bounds what it holds.
const KEEP_MAX: SpanMs = 3_660 * DAY;

/// Names of the aggregates.
fn aggregates() -> Vec<&'static str> {
    Aggregate::all().iter().map(Aggregate::word).collect()
}

settings! {
    /// One `[[metric]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct MetricKeys in "" {
        /// Needed; letters in lower case, digits and _. History is kept under it.
        pub name: () = (), shape();
        /// For people. Made from the name.
        pub title: Derived<String> = Derived(None), text();
        /// "events"; "sessions", closed ones, at their end; or "live_sessions", those open now:
        /// only count, only by step, no window.
        pub of: Facts = Facts::Events, word::<Facts>();
        /// A number made of those of other metrics, such as "errors / requests" or
        /// "sales / ago(sales, \"7d\")", in place of of, where, aggregate, field, group_by and window.
        /// Their windows must end together. Groups are met by equal labels; one without group_by is
        /// the same for all of them. Nothing is divided by 0: there is no number then.
        pub formula: () = (), shape();
        /// Conditions that must all hold:
        /// { status = { ge = 400 }, region = ["eu", "us"], amount = { exists = true } }.
        /// There are ge, gt, le, lt and exists.
        pub filter as "where": () = (), shape();
        /// Needed, without a formula:
        pub aggregate: String = String::new(), Rule::Word(aggregates);
        /// Of ratio: conditions counted above the line.
        pub numerator: () = (), shape();
        /// The attribute that is added up or compared. Where any value will do, as for distinct,
        /// "" is the session key.
        pub field: Option<String> = None, text();
        /// Labels. As text they are joined by |, with a \ before | and \ within a label.
        pub group_by: Vec<String> = Vec::new(), names_in_order(0, GROUP_BY_MAX);
        /// So many combinations of labels have a number of their own: those that came first in
        /// the order of the log, whatever the number of shards. How many events went to the other
        /// groups is counted (tidewatch_other_groups_total); their label is "other", and a real
        /// lone label of that name is "\other".
        pub group_limit: usize = 200, count(1, 10_000);
        /// A combination without events for so long leaves, and the next new one may take its
        /// place: after an eighth more and allowed_lateness at the latest. How many left is counted
        /// (tidewatch_groups_left_total). At least keep and the window together; "0s": they stay for good. 1d, and
        /// that if it is more.
        pub group_silence: Derived<SpanMs> = Derived(None), span(0, KEEP_MAX);
        /// { tumbling = "1s" }, { hopping = "5m", slide = "30s" } with any slide up to the size,
        /// { sliding = "1m" }, what lies up to 1m before each event, with it: rules and
        /// files have a number at each of them and at each end of a slide, the page at the ends (slide = "1s", more
        /// for more than 10m); events of a group beyond numbers = 100 in a slide have one together, which is
        /// counted (tidewatch_sliding_joined_total),
        /// { since_midnight = true, slide = "1s" } (or a zone instead of true);
        /// { since_start = true, slide = "1s" }, from the first event on;
        /// { since = "deploy", slide = "1s" }, from the newest event of that type on (or the newest
        /// match of a pattern of that name), for all groups; { session = "10m" }, until each group was silent for longer than that, with a number at the
        /// end of the slide (1s by default) in which it has been; or { last = 100 }, the newest so
        /// many events of each group by their time, every slide. Lengths in days,
        /// weeks or months ("1d", "1w", "3mo") are the calendar's, in the zone above or in the
        /// window's own (zone = "..."): a day has 23 or 25 hours where clocks change, weeks begin
        /// with first_weekday, months divide the year. { hopping = "7d", slide = "1d" } is seven
        /// such days. Lengths in hours or shorter ("24h", "1h") are exact and counted from 1970 in
        /// UTC: where a zone is half an hour off, its hours begin at half past. A running total
        /// since midnight has a point every slide from midnight on, and the last one of a day at
        /// the next midnight.
        pub window: () = (), shape();
        /// History on the page, of metrics with one number for each window. 1h, and 30 windows of days, weeks or months; at most 3600 points
        /// are shown.
        pub keep: Derived<SpanMs> = Derived(None), span(SECOND, KEEP_MAX);
        /// Where it is new, windows that end in so long before are filled from the kept log, as if it
        /// had been there: they are counted beside the running process, and a commit puts them in.
        /// How far the log goes back is said by log.keep_events and log.keep_bytes. "0s": it counts
        /// from when it came.
        pub backfill: SpanMs = 0, span(0, 31 * DAY);
        /// For people.
        pub unit: String = String::new(), text();
    }
}
