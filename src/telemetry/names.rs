//! Every metric the process exports: name, instrument, unit, labels, meaning. One table, so
//! that a name is written once and a reader finds all of them.
//!
//! Names start with `tidewatch_`, end with their base unit, counters with `_total`. A
//! bound stands next to its depth as `_capacity`. Labels have few values: never a user,
//! a session or a product.

use metrics::{KeyName, Unit, describe_counter, describe_gauge, describe_histogram};

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instrument {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, in these buckets.
    Histogram(Buckets),
}

/// Upper bounds of a histogram's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    /// 1 ms to 10 s: a synced write takes 1.5 ms at best, a person waits 10 s at most.
    Seconds,
    /// 1 KiB to 64 MiB: one changed session is 50 bytes, a group write 8 MiB.
    Bytes,
}

impl Buckets {
    /// The bounds, ascending.
    pub fn bounds(self) -> &'static [f64] {
        match self {
            Buckets::Seconds => {
                &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
            }
            Buckets::Bytes => &[
                1_024.0,
                4_096.0,
                16_384.0,
                65_536.0,
                262_144.0,
                1_048_576.0,
                4_194_304.0,
                16_777_216.0,
                67_108_864.0,
            ],
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name as exported.
    pub name: &'static str,
    /// How it behaves.
    pub instrument: Instrument,
    /// Unit of its values.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

macro_rules! table {
    ($(#[$about:meta])* $table:ident: $($constant:ident = $name:literal, $instrument:expr, $unit:ident, $labels:expr, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: &str = concat!("tidewatch_", $name);
        )*

        $(#[$about])*
        pub const $table: &[Metric] = &[$(Metric {
            name: $constant,
            instrument: $instrument,
            unit: Unit::$unit,
            labels: &$labels,
            meaning: $meaning,
        }),*];
    };
}

use Instrument::{Counter, Gauge, Histogram};

table! {
    /// All metrics of a running pipeline.
    TABLE:
    BUILD_INFO = "build_info", Gauge, Count, ["version"], "Always 1; the label says which version runs.";
    READY = "ready", Gauge, Count, [], "1 when the process is ready, 0 when it is not.";
    CONDITION = "condition", Gauge, Count, ["condition"], "1 while a condition stands that somebody should know of (see /readyz?verbose), 0 when it is over.";

    EVENTS = "events_total", Counter, Count, ["outcome"], "Events by what became of them: received = applied + duplicate + late + rejected + in flight.";
    EVENTS_IN_FLIGHT = "events_in_flight", Gauge, Count, [], "Events read whose outcome is not known yet.";
    EVENTS_WITHOUT_ID = "events_without_id_total", Counter, Count, [], "Applied events without an id: they cannot be de-duplicated.";
    DEAD_LETTERS = "dead_letters_total", Counter, Count, [], "Events that ended in the dead letters.";
    DEAD_LETTERS_KEPT = "dead_letters_kept", Gauge, Count, [], "Dead letters kept now.";
    DEAD_LETTERS_KEPT_CAPACITY = "dead_letters_kept_capacity", Gauge, Count, [], "Upper bound of tidewatch_dead_letters_kept (store.dead_letters_max, twice that while they wait for NATS); the oldest leave.";
    DEAD_LETTERS_KEPT_BYTES = "dead_letters_kept_bytes", Gauge, Bytes, [], "Bytes of the dead letters kept now.";
    DEAD_LETTERS_KEPT_BYTES_CAPACITY = "dead_letters_kept_bytes_capacity", Gauge, Bytes, [], "Upper bound of tidewatch_dead_letters_kept_bytes (store.dead_letters_bytes_max, twice that while they wait for NATS).";
    DEAD_LETTERS_WAITING = "dead_letters_waiting", Gauge, Count, [], "Dead letters kept that NATS is to take and has not taken yet.";
    DEAD_LETTERS_UNPUBLISHED = "dead_letters_unpublished_total", Counter, Count, ["reason"], "Dead letters that left before NATS had taken them, by kind of reason (64 at most); part of tidewatch_dead_letters_dropped_total.";
    DEAD_LETTERS_DROPPED = "dead_letters_dropped_total", Counter, Count, ["reason"], "Dead letters that left to keep their bound, by kind of reason (64 at most).";
    DROPPED = "dropped_total", Counter, Count, ["list"], "Rows that left a list of the store to keep its bound.";
    UNUSABLE = "unusable_total", Counter, Count, ["use", "attribute", "reason"], "Attributes of events that a key of the configuration needs and could not use, or that are not what they seem.";
    OTHER_GROUPS = "other_groups_total", Counter, Count, ["metric"], "Events or closed sessions whose group holds no place (group_limit): they count in the group `other`.";
    SLIDING_MOMENTS = "sliding_moments", Gauge, Count, ["metric"], "Moments of groups that are held for numbers of sliding windows at each event (bounded by group_limit x size / slide x numbers).";
    SLIDING_JOINED = "sliding_joined_total", Counter, Count, ["metric"], "Slides of a group of sliding windows in which events had a number together, because there were more than `numbers`.";
    GROUPS = "groups", Gauge, Count, ["metric"], "Groups of a metric that hold a place (bounded by group_limit).";
    GROUPS_LEFT = "groups_left_total", Counter, Count, ["metric"], "Groups that left their place because they were silent for group_silence.";
    INCIDENTS_OPEN = "incidents_open", Gauge, Count, ["severity", "phase"], "Incidents that hold, by severity and by phase: firing, acknowledged, silenced.";
    INCIDENTS_PENDING = "incidents_pending", Gauge, Count, [], "What stands out, not for as long as the `for` of its rule says: no incident yet.";
    INCIDENTS_FIRED = "incidents_fired_total", Counter, Count, [], "Incidents that began.";
    INCIDENTS_RESOLVED = "incidents_resolved_total", Counter, Count, [], "Incidents that were over.";
    INCIDENTS_NOT_OPENED = "incidents_not_opened_total", Counter, Count, [], "Incidents that were not opened because there were incidents.open_max of them.";
    SILENCES = "silences", Gauge, Count, [], "Silences that are in force.";
    NOTIFICATIONS = "notifications_total", Counter, Count, [], "Notifications that were decided on; how they are delivered is tidewatch_out_* of their channel.";
    NOTIFICATIONS_HELD_BACK = "notifications_held_back_total", Counter, Count, ["reason"], "What was not told for good, by reason.";
    NOTIFICATIONS_WAITING = "notifications_waiting", Gauge, Count, ["route"], "What a route is to be told later: collected to be told together, or incidents that wait for quiet hours, room, or to be left unacknowledged.";
    WINDOW_LATE = "window_late_total", Counter, Count, ["metric"], "Events or closed sessions left out of at least one window, which was final when they came.";
    WINDOW_LATE_ALL = "window_late_all_total", Counter, Count, ["metric"], "Events or closed sessions left out of all their windows, which were final when they came.";
    MINUTE_LATE = "minute_late_total", Counter, Count, ["metric"], "Events or closed sessions left out of their roll-up minute, which was final when they came.";
    WATERMARK_LAG = "watermark_lag_seconds", Gauge, Seconds, [], "Clock minus watermark: how old the numbers are.";
    SOURCE_LAG = "source_lag_events", Gauge, Count, [], "Items of the sources (events, or messages of a stream) that were not read yet.";
    SOURCE_BEHIND = "source_behind_seconds", Gauge, Seconds, ["source"], "Age of what is read, while something waits in the source; 0 else.";
    SOURCE_UP = "source_up", Gauge, Count, ["source"], "1 while the source can be reached, 0 while it is away.";
    SOURCE_POSITION = "source_position", Gauge, Count, ["source"], "Position of the last item read.";
    CATCH_UP = "catch_up_seconds", Gauge, Seconds, [], "Time until the lag is gone if it goes on like this; 0 without a lag, -1 while it grows.";
    GAP_ITEMS = "gap_items_total", Counter, Count, [], "Items that the source removed before they were read.";
    GAPS = "gaps_total", Counter, Count, [], "Times the source had lost events that were never read.";
    SOURCE_REDELIVERED = "source_redelivered_total", Counter, Count, [], "Messages that the broker delivered again and that were passed over.";
    SOURCE_CONSUMERS_MADE = "source_consumers_made_total", Counter, Count, [], "Times the consumer of a stream had to be made anew while it was read.";

    OPEN_SESSIONS = "open_sessions", Gauge, Count, [], "Sessions open now.";
    OPEN_SESSIONS_CAPACITY = "open_sessions_capacity", Gauge, Count, [], "Upper bound of tidewatch_open_sessions (pipeline.sessions_max).";
    SESSIONS_REFUSED = "sessions_refused_total", Counter, Count, [], "Events rejected because no further session may be opened.";
    SESSION_BYTES = "session_bytes", Gauge, Bytes, [], "Memory that open sessions take, estimated: 256 bytes for each, and long keys and carts.";
    SESSION_BYTES_CAPACITY = "session_bytes_capacity", Gauge, Bytes, [], "Upper bound of tidewatch_session_bytes (pipeline.session_bytes_max).";
    SESSIONS_DISPLACED = "sessions_displaced_total", Counter, Count, [], "Sessions that ended early to make room for others (pipeline.sessions_full).";
    SESSIONS_SPLIT = "sessions_split_total", Counter, Count, [], "Sessions cut at session.max_length.";
    SESSIONS_EMPTIED = "sessions_emptied_total", Counter, Count, [], "Sessions (with since_entry: carts) from which everything was taken back.";
    SESSIONS_IDENTIFIED = "sessions_identified_total", Counter, Count, [], "Open sessions of anonymous keys that went on under a known one (session.identify).";
    ALIASES = "aliases", Gauge, Count, [], "Anonymous keys whose visitor is known (session.identify).";
    ALIASES_CAPACITY = "aliases_capacity", Gauge, Count, [], "Upper bound of tidewatch_aliases (session.aliases_max).";
    ALIAS_BYTES = "alias_bytes", Gauge, Bytes, [], "Memory that identified anonymous keys take, estimated.";
    ALIAS_BYTES_CAPACITY = "alias_bytes_capacity", Gauge, Bytes, [], "Upper bound of tidewatch_alias_bytes (session.aliases_bytes_max).";
    ALIASES_FORGOTTEN_EARLY = "aliases_forgotten_early_total", Counter, Count, [], "Anonymous keys forgotten before their time, because there were too many: their next events open sessions of their own.";
    CLOSED_SESSIONS = "closed_sessions", Gauge, Count, [], "Keys whose closed sessions are remembered, so that a late event opens no second one.";
    CLOSED_SESSIONS_CAPACITY = "closed_sessions_capacity", Gauge, Count, [], "Upper bound of tidewatch_closed_sessions (pipeline.closed_sessions_max).";
    CLOSED_FORGOTTEN_EARLY = "closed_sessions_forgotten_early_total", Counter, Count, [], "Closed sessions forgotten before their time, because there were too many: events that old are late.";
    MARKS_SETTLED_EARLY = "marks_settled_early_total", Counter, Count, [], "Entries, removals and goals settled early, because a key had too many (session.marks_max).";
    SESSIONS_BY_STEP = "sessions_by_step", Gauge, Count, ["step"], "Open sessions by the step they have reached.";
    SESSION_MAILBOXES = "session_mailboxes", Gauge, Count, ["shard"], "Open sessions that are being asked something.";
    SESSION_MAILBOXES_CAPACITY = "session_mailboxes_capacity", Gauge, Count, ["shard"], "Upper bound of tidewatch_session_mailboxes, over all shards (pipeline.session_mailboxes_max).";
    PATTERN_MATCHES = "pattern_matches_total", Counter, Count, ["pattern"], "Matches of a pattern, or results of a join: these counters have both.";
    PATTERN_LATE = "pattern_late_total", Counter, Count, ["pattern"], "Events that came too late for a pattern: what is as old as they are was decided.";
    PATTERN_LEFT_OUT = "pattern_left_out_total", Counter, Count, ["pattern"], "Events that a pattern was not told of, because there was no room for them (pipeline.pattern_keys_max, pattern_bytes_max).";
    PATTERN_SETTLED_EARLY = "pattern_settled_early_total", Counter, Count, ["pattern"], "Events looked at early, because their key held too many (pipeline.pattern_held_max).";
    PATTERN_GIVEN_UP = "pattern_given_up_total", Counter, Count, ["pattern"], "Attempts at a pattern given up, because their key held too many (pipeline.pattern_held_max).";
    JOIN_ALONE = "join_alone_total", Counter, Count, ["join", "side"], "Events of one side of a join that found none of the other.";
    JOIN_LATE = "join_late_total", Counter, Count, ["join", "side"], "Events of one side of a join that came too late.";
    JOIN_PAIRS_LEFT_OUT = "join_pairs_left_out_total", Counter, Count, ["join"], "Results of a join that were not made, because one event made too many (pairs_max).";
    KIND_OPEN = "kind_open_sessions", Gauge, Count, ["kind"], "Open sessions of a kind that was declared.";
    KIND_AT_RISK = "kind_sessions_at_risk", Gauge, Count, ["kind"], "Those of them that hold an entry and no goal.";
    KIND_VALUE = "kind_value_at_stake", Gauge, Count, ["kind"], "Value at stake in them.";
    KIND_ENDED = "kind_sessions_total", Counter, Count, ["kind", "outcome"], "Sessions of a kind that ended, by how.";
    KIND_CUT = "kind_sessions_cut_total", Counter, Count, ["kind"], "Sessions of a kind cut at max_length.";
    KIND_WITHOUT_COHORT = "kind_sessions_without_cohort_total", Counter, Count, ["kind"], "Sessions of a kind that are of no cohort, because there was no room for their keys (pipeline.cohort_keys_max).";
    NUDGE_SESSIONS = "nudge_sessions_total", Counter, Count, ["nudge", "outcome"], "Abandoned sessions that a nudge is of, by what became of them.";
    NUDGE_WAITING = "nudge_waiting_sessions", Gauge, Count, ["nudge"], "Abandoned sessions that wait for after to be over.";
    NUDGE_FINISHED = "nudge_finished", Gauge, Count, ["nudge", "arm"], "Decisions whose time (within) is over; arm is told or held_out.";
    NUDGE_CONVERTED = "nudge_converted", Gauge, Count, ["nudge", "arm"], "Those of them that a goal followed.";
    NUDGE_RUNNING = "nudge_running", Gauge, Count, ["nudge", "arm"], "Decisions whose time is not over.";
    NUDGE_UPLIFT = "nudge_uplift_points", Gauge, Count, ["nudge", "of"], "By how many percentage points more of those told than of those held out reached a goal; of is difference, low or high (95 %), and NaN while there are too few.";
    NUDGE_KEYS = "nudge_keys", Gauge, Count, ["nudge"], "Keys that a nudge remembers.";
    NUDGE_KEYS_CAPACITY = "nudge_keys_capacity", Gauge, Count, ["nudge"], "Upper bound of tidewatch_nudge_keys (keys_max).";
    NUDGE_UNSUBSCRIBED = "nudge_unsubscribed_total", Counter, Count, ["nudge"], "Addresses that said they want no more, by the link of a nudge.";
    NUDGE_SUPPRESSED = "nudge_suppressed_addresses", Gauge, Count, [], "Addresses that no nudge goes to.";
    NUDGE_SUPPRESSED_CAPACITY = "nudge_suppressed_addresses_capacity", Gauge, Count, [], "Upper bound of tidewatch_nudge_suppressed_addresses (nudges.suppressed_max).";
    COHORT_KEYS = "cohort_keys", Gauge, Count, [], "Keys whose cohort is remembered.";
    COHORT_KEYS_CAPACITY = "cohort_keys_capacity", Gauge, Count, [], "Upper bound of tidewatch_cohort_keys (pipeline.cohort_keys_max).";
    LOOKUP_ROWS = "lookup_rows", Gauge, Count, ["lookup"], "Rows of a table that events are looked up in.";
    LOOKUP_SEEN = "lookup_seen_timestamp_seconds", Gauge, Seconds, ["lookup"], "When its rows were last known to be those of its source, in seconds since 1970.";
    LOOKUP_FAILED = "lookup_failed_total", Counter, Count, ["lookup"], "Looks at its source that brought nothing that can be used: the rows before stay.";
    LOOKUP_BYTES = "lookup_bytes", Gauge, Bytes, ["lookup"], "Memory that its rows take, estimated.";
    PATTERN_KEYS = "pattern_keys", Gauge, Count, [], "Keys with something open in a pattern or a join.";
    PATTERN_KEYS_CAPACITY = "pattern_keys_capacity", Gauge, Count, [], "Upper bound of tidewatch_pattern_keys (pipeline.pattern_keys_max).";
    PATTERN_BYTES = "pattern_bytes", Gauge, Bytes, [], "Memory that patterns and joins take, estimated.";
    PATTERN_BYTES_CAPACITY = "pattern_bytes_capacity", Gauge, Bytes, [], "Upper bound of tidewatch_pattern_bytes (pipeline.pattern_bytes_max).";
    PATTERN_SENT_BYTES = "pattern_sent_bytes", Gauge, Bytes, [], "Memory of events on their way to patterns and joins with a key of their own, estimated.";
    PATTERN_SENT_BYTES_CAPACITY = "pattern_sent_bytes_capacity", Gauge, Bytes, [], "Upper bound of tidewatch_pattern_sent_bytes (half of pipeline.pattern_bytes_max).";
    DEDUP_IDS = "dedup_ids", Gauge, Count, [], "Event ids remembered.";
    DEDUP_IDS_CAPACITY = "dedup_ids_capacity", Gauge, Count, [], "Event ids beyond which the oldest leave (pipeline.dedup_ids_max); ids that are minutes old may be twice as many.";
    DEDUP_FORGOTTEN_EARLY = "dedup_forgotten_early_total", Counter, Count, [], "Event ids forgotten before their time, because there were too many.";
    SHARD_QUEUE_DEPTH = "shard_queue_depth", Gauge, Count, ["shard"], "Batches waiting for a shard.";
    SHARD_QUEUE_CAPACITY = "shard_queue_capacity", Gauge, Count, ["shard"], "Upper bound of tidewatch_shard_queue (pipeline.shard_queue).";
    CREDITS_FREE = "credits_free", Gauge, Count, [], "Events that may still be pulled before the next commit.";
    CREDITS_CAPACITY = "credits_capacity", Gauge, Count, [], "All credits (pipeline.credits).";

    COMMIT_SECONDS = "commit_seconds", Histogram(Buckets::Seconds), Seconds, [], "Time of one durable commit.";
    COMMIT_BYTES = "commit_bytes", Histogram(Buckets::Bytes), Bytes, [], "Bytes of one commit's changed state.";
    COMMIT_FAILURES = "commit_failures_total", Counter, Count, [], "Tries to commit that failed; when the disk is full a commit is tried again.";
    EPOCH = "epoch", Gauge, Count, [], "Number of the last commit.";
    STATE_DELTA_BYTES = "state_delta_bytes", Gauge, Bytes, [], "Bytes of the commits since the last snapshot.";
    STATE_DELTA_BYTES_CAPACITY = "state_delta_bytes_capacity", Gauge, Bytes, [], "A new snapshot is made beyond this (store.snapshot_bytes_min) and twice the last snapshot.";
    STATE_SNAPSHOT_BYTES = "state_snapshot_bytes", Gauge, Bytes, [], "Bytes of the last snapshot.";
    LOG_BACKLOG = "log_backlog_events", Gauge, Count, [], "Events in the embedded log that are not committed yet.";
    LOG_BACKLOG_CAPACITY = "log_backlog_events_capacity", Gauge, Count, [], "Upper bound of tidewatch_log_backlog_events (log.backlog_max); beyond it POST answers 429.";

    ALERTS_COMMITTED = "alerts_committed_total", Counter, Count, [], "Alerts that became part of a commit.";
    ALERTS_DELIVERED = "alerts_delivered_total", Counter, Count, [], "Alerts delivered to the alert log.";
    OUTBOX_PENDING = "outbox_pending", Gauge, Count, [], "Alerts committed and not delivered yet.";

    OUT_DELIVERED = "out_delivered_total", Counter, Count, ["output"], "Messages that NATS acknowledged, by output; answers given by the micro service.";
    OUT_PENDING = "out_pending", Gauge, Count, ["output"], "Rows read and not delivered.";
    OUT_LAG = "out_lag", Gauge, Count, ["output"], "Rows that are committed and not delivered, by output.";
    OUT_AGE = "out_age_seconds", Gauge, Seconds, ["output"], "How long the oldest row that was read and not delivered waits, by output.";
    OUT_PENDING_CAPACITY = "out_pending_capacity", Gauge, Count, ["output"], "Upper bound of tidewatch_out_pending: items of an output held in memory.";
    OUT_ERRORS = "out_errors_total", Counter, Count, ["output"], "Tries of an output that failed; each is repeated.";
    OUT_SKIPPED = "out_skipped_total", Counter, Count, ["output"], "Rows that retention removed before they could be delivered.";
    OUT_SHORTENED = "out_shortened_total", Counter, Count, ["output"], "Rows larger than the sink takes, delivered in a shorter form: dead letters with the beginning of their bytes, alerts and lines of incidents without details.";
    OUT_LEFT_OUT = "out_left_out_total", Counter, Count, ["output"], "Rows that a sink refuses for good, and that were passed over; the data folder has them as long as its bounds allow.";
    NOTIFICATIONS_GONE = "notifications_of_gone_channels", Gauge, Count, [], "Notifications that no channel had taken yet when it went from the configuration, as of the start.";
    MAILS_REMOVED = "mails_removed_total", Counter, Count, ["channel"], "Mails removed from the folder of a channel to make room for others (folder_mails_max).";
    GATEWAY_REFUSED_BYTES = "gateway_refused_bytes", Gauge, Bytes, [], "Bytes of posted events that the stream cannot take, on their way to the dead letters.";
    GATEWAY_REFUSED_BYTES_CAPACITY = "gateway_refused_bytes_capacity", Gauge, Bytes, [], "Upper bound of tidewatch_gateway_refused_bytes (nats.gateway.refused_bytes_max); beyond it POST answers 429.";

    SESSION_PANICS = "session_panics_total", Counter, Count, [], "Events that made a session panic; each is a dead letter.";
    PANICS = "panics_total", Counter, Count, [], "Panics anywhere in the process.";
    RELOADS = "reloads_total", Counter, Count, ["result"], "Times the configuration was read again, by what came of it: taken, unchanged, refused.";
    RELOAD_STOOD = "reload_stood_seconds", Gauge, Seconds, [], "How long nothing was counted while the last other configuration was taken.";
    RESTARTS = "restarts_total", Counter, Count, [], "Restarts of the pipeline from its last commit.";

    WEB_CLIENTS = "web_clients", Gauge, Count, [], "Connected websocket clients.";
    WEB_CLIENTS_CAPACITY = "web_clients_capacity", Gauge, Count, [], "Upper bound of tidewatch_web_clients (web.connections_max).";
    WEB_CLIENTS_LAGGING = "web_clients_lagging", Gauge, Count, [], "Clients that read slower than the board changes.";
    WEB_BOARDS_COALESCED = "web_boards_coalesced_total", Counter, Count, [], "Boards that slow clients got merged into a later one.";
    WEB_CLOSES = "web_closes_total", Counter, Count, ["code"], "Websockets closed by us, by close code.";
    WEB_SENT_BYTES = "web_sent_bytes_total", Counter, Bytes, [], "Bytes handed to websockets.";
    WEB_INTAKE_BYTES = "web_intake_bytes", Gauge, Bytes, [], "Bytes of posted bodies that have come and are not in the log yet.";
    WEB_INTAKE_BYTES_CAPACITY = "web_intake_bytes_capacity", Gauge, Bytes, [], "Upper bound of tidewatch_web_intake_bytes (web.intake_bytes_max); beyond it POST answers 429.";
    WEB_ANSWERS_BYTES = "web_answers_bytes", Gauge, Bytes, [], "Bytes of answers that were asked for and not read yet.";
    WEB_ANSWERS_BYTES_CAPACITY = "web_answers_bytes_capacity", Gauge, Bytes, [], "Upper bound of tidewatch_web_answers_bytes (web.answers_bytes_max); beyond it requests get 429.";
    WEB_CONNECTIONS = "web_connections", Gauge, Count, [], "Open connections, websockets included.";
    WEB_CONNECTIONS_CAPACITY = "web_connections_capacity", Gauge, Count, [], "Upper bound of tidewatch_web_connections (web.connections_max, or fewer where the process may open fewer files).";
    WEB_CONNECTIONS_REFUSED = "web_connections_refused_total", Counter, Count, [], "Connections that came when all places were taken; they get answers from the health checks only.";
    WEB_TURNS_WAITING = "web_turns_waiting", Gauge, Count, [], "Requests that wait for their turn to be worked on; peers take turns.";
    WEB_TURNS_WAITING_CAPACITY = "web_turns_waiting_capacity", Gauge, Count, [], "Upper bound of tidewatch_web_turns_waiting: one for each connection (web.connections_max), in the intake and in what is asked.";
    METRIC_SERIES = "metric_series", Gauge, Count, [], "Series of the numbers on the board (`tidewatch_metric_NAME`).";
    METRIC_SERIES_CAPACITY = "metric_series_capacity", Gauge, Count, [], "Upper bound of tidewatch_metric_series (web.metrics_series_max).";
    METRIC_SERIES_LEFT_OUT = "metric_series_left_out", Gauge, Count, [], "Groups with a number that have no series because there are too many.";
    HTTP_REQUESTS = "http_requests_total", Counter, Count, ["route", "code"], "Requests by route (none: no such path) and status code.";
}

/// The value of `EVENTS`' label for one outcome.
pub mod outcome {
    /// Read from the source.
    pub const RECEIVED: &str = "received";
    /// Counted.
    pub const APPLIED: &str = "applied";
    /// Seen before.
    pub const DUPLICATE: &str = "duplicate";
    /// Too far behind the watermark.
    pub const LATE: &str = "late";
    /// In the dead letters.
    pub const REJECTED: &str = "rejected";
}

/// Tells the installed recorder what the metrics of a table mean.
pub fn describe(table: &[Metric]) {
    for metric in table {
        let name = KeyName::from_const_str(metric.name);
        match metric.instrument {
            Counter => describe_counter!(name, metric.unit, metric.meaning),
            Gauge => describe_gauge!(name, metric.unit, metric.meaning),
            Histogram(_) => describe_histogram!(name, metric.unit, metric.meaning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Metric> {
        TABLE.iter()
    }

    #[test]
    fn names_keep_the_rules() {
        for metric in all() {
            let name = metric.name;
            assert!(name.starts_with("tidewatch_"), "{name}");
            let allowed = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(allowed), "{name}");
            assert_eq!(metric.instrument == Counter, name.ends_with("_total"), "{name}");
            if metric.unit == Unit::Seconds {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            assert_eq!(all().filter(|other| other.name == name).count(), 1, "{name}");
            assert!(metric.meaning.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn every_depth_has_its_capacity() {
        let names = all().map(|metric| metric.name);
        for depth in names.filter_map(|name| name.strip_suffix("_capacity")) {
            let others = [depth.to_string(), format!("{depth}_depth"), format!("{depth}_free")];
            let found = all().any(|metric| others.iter().any(|name| name == metric.name));
            assert!(found, "{depth}");
        }
    }
}
