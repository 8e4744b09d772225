//! What the committer shows the exporter at each tick: depths beside their bounds, and
//! totals. Not in the event path: a few dozen numbers a second, whatever the rate.
//!
//! Totals are those of the data folder, as on the board. They go on after a restart, and
//! what a generation that died had not committed is not counted twice.

use metrics::{counter, gauge};

use super::Settings;
use super::messages::ShardHolds;
use crate::domain::incident::Desk;
use crate::domain::keeper::{Keeper, PipelineView};
use crate::domain::pattern::{PatternSpec, Seeks};
use crate::domain::session::Outcome;
use crate::domain::time::{BEGINNING, END_OF_TIME, EpochMs};
use crate::telemetry::names::{self, outcome};

/// Shows everything. `shards`: batches that wait for each shard, and what it holds.
pub(super) fn tell(
    keeper: &Keeper,
    watermark: EpochMs,
    view: &PipelineView,
    settings: &Settings,
    (shards, own_keys): (&[(usize, ShardHolds)], &ShardHolds),
) {
    totals(keeper);
    let depths = [
        (names::EVENTS_IN_FLIGHT, view.in_flight),
        (names::SOURCE_LAG, view.lag_events),
        (names::CREDITS_FREE, view.credits_free),
        (names::CREDITS_CAPACITY, view.credits_total),
        (names::DEDUP_IDS, view.dedup_ids),
        (names::DEDUP_IDS_CAPACITY, view.dedup_ids_max),
        (names::OPEN_SESSIONS_CAPACITY, view.sessions_max),
        (names::SESSION_BYTES, view.session_bytes),
        (names::SESSION_BYTES_CAPACITY, view.session_bytes_max),
        (names::CLOSED_SESSIONS, view.closed_sessions),
        (names::CLOSED_SESSIONS_CAPACITY, view.closed_sessions_max),
        (names::EPOCH, view.epoch),
    ];
    for (name, value) in depths {
        gauge!(name).set(value as f64);
    }
    let all = || shards.iter().map(|(_, holds)| holds).chain([own_keys]);
    let held = |held: fn(&ShardHolds) -> u64| all().map(held).sum::<u64>();
    let depths = [
        (names::ALIASES, held(|holds| holds.aliases)),
        (names::ALIASES_CAPACITY, held(|holds| holds.aliases_max)),
        (names::ALIAS_BYTES, held(|holds| holds.alias_bytes)),
        (names::ALIAS_BYTES_CAPACITY, held(|holds| holds.alias_bytes_max)),
    ];
    for (name, value) in depths {
        gauge!(name).set(value as f64);
    }
    if keeper.has_patterns() {
        let depths: [(_, u64); 8] = [
            (names::COHORT_KEYS, held(|holds| holds.cohort_keys)),
            (names::COHORT_KEYS_CAPACITY, settings.cohort_keys_max as u64),
            (names::PATTERN_KEYS, held(|holds| holds.pattern_keys)),
            (names::PATTERN_KEYS_CAPACITY, settings.pattern_keys_max as u64),
            (names::PATTERN_BYTES, held(|holds| holds.pattern_bytes)),
            (names::PATTERN_BYTES_CAPACITY, settings.pattern_bytes_max as u64),
            (names::PATTERN_SENT_BYTES, held(|holds| holds.pattern_sent_bytes)),
            (names::PATTERN_SENT_BYTES_CAPACITY, settings.pattern_bytes_max.div_ceil(2) as u64),
        ];
        for (name, value) in depths {
            gauge!(name).set(value as f64);
        }
    }
    gauge!(names::CATCH_UP).set(view.catch_up_s.unwrap_or(-1.0));
    for source in &view.sources {
        let name = || source.name.clone();
        gauge!(names::SOURCE_BEHIND, "source" => name()).set(source.behind_ms as f64 / 1_000.0);
        let up = f64::from(u8::from(source.state != "away"));
        gauge!(names::SOURCE_UP, "source" => name()).set(up);
        gauge!(names::SOURCE_POSITION, "source" => name()).set(source.position as f64);
    }
    gauge!(names::OPEN_SESSIONS).set(keeper.gauges().open() as f64);
    for (step, open) in keeper.by_step() {
        gauge!(names::SESSIONS_BY_STEP, "step" => step.to_owned()).set(open as f64);
    }
    if watermark > BEGINNING && watermark < END_OF_TIME {
        gauge!(names::WATERMARK_LAG).set((view.wall - watermark) as f64 / 1_000.0);
    }
    for (shard, (waiting, holds)) in shards.iter().enumerate() {
        let depths = [
            (names::SHARD_QUEUE_DEPTH, *waiting),
            (names::SHARD_QUEUE_CAPACITY, settings.shard_queue),
            (names::SESSION_MAILBOXES, holds.mailboxes as usize),
            (names::SESSION_MAILBOXES_CAPACITY, settings.session_mailboxes_max),
        ];
        for (name, value) in depths {
            gauge!(name, "shard" => shard.to_string()).set(value as f64);
        }
    }
}

fn totals(keeper: &Keeper) {
    let ledger = keeper.ledger();
    let outcomes = [
        (outcome::RECEIVED, ledger.received),
        (outcome::APPLIED, ledger.applied),
        (outcome::DUPLICATE, ledger.duplicate),
        (outcome::LATE, ledger.late),
        (outcome::REJECTED, ledger.rejected),
    ];
    for (outcome, total) in outcomes {
        counter!(names::EVENTS, "outcome" => outcome).absolute(total);
    }
    let totals = [
        (names::EVENTS_WITHOUT_ID, ledger.without_id),
        (names::GAP_ITEMS, ledger.gap),
        (names::DEAD_LETTERS, keeper.dead_letters()),
        (names::SESSIONS_REFUSED, keeper.sessions_refused()),
        (names::SESSIONS_DISPLACED, keeper.totals().displaced),
        (names::SESSIONS_SPLIT, keeper.totals().split),
        (names::SESSIONS_EMPTIED, keeper.totals().emptied),
        (names::SESSIONS_IDENTIFIED, keeper.totals().identified),
        (names::ALIASES_FORGOTTEN_EARLY, keeper.aliases_forgotten_early()),
        (names::CLOSED_FORGOTTEN_EARLY, keeper.closed_forgotten_early()),
        (names::MARKS_SETTLED_EARLY, keeper.totals().settled_early),
        (names::DEDUP_FORGOTTEN_EARLY, keeper.forgotten_early()),
    ];
    for (name, total) in totals {
        counter!(name).absolute(total);
    }
    for fault in keeper.faults().views() {
        counter!(names::UNUSABLE, "use" => fault.key, "attribute" => fault.attribute, "reason" => fault.reason)
            .absolute(fault.count);
    }
    for (metric, total) in keeper.overflow() {
        counter!(names::OTHER_GROUPS, "metric" => metric.to_owned()).absolute(total);
    }
    for (metric, held, joined) in keeper.sliding() {
        gauge!(names::SLIDING_MOMENTS, "metric" => metric.to_owned()).set(held as f64);
        counter!(names::SLIDING_JOINED, "metric" => metric.to_owned()).absolute(joined);
    }
    for (PatternSpec { name: pattern, seeks, .. }, tally) in keeper.patterns() {
        let totals = [
            (names::PATTERN_MATCHES, tally.matches),
            (names::PATTERN_LATE, tally.late),
            (names::PATTERN_LEFT_OUT, tally.left_out),
            (names::PATTERN_SETTLED_EARLY, tally.settled_early),
            (names::PATTERN_GIVEN_UP, tally.given_up),
        ];
        for (name, total) in totals {
            counter!(name, "pattern" => pattern.clone()).absolute(total);
        }
        if let Seeks::Join(_) = seeks {
            let name = || pattern.clone();
            counter!(names::JOIN_PAIRS_LEFT_OUT, "join" => name()).absolute(tally.pairs_left_out);
            for (side, alone) in [("left", tally.left_alone), ("right", tally.right_alone)] {
                counter!(names::JOIN_ALONE, "join" => name(), "side" => side).absolute(alone);
            }
            for (side, late) in [("left", tally.left_late), ("right", tally.right_late)] {
                counter!(names::JOIN_LATE, "join" => name(), "side" => side).absolute(late);
            }
        }
    }
    for (kind, tally, ended) in keeper.kinds() {
        let browsed = ended - tally.abandoned - tally.converted;
        let ended = [
            (Outcome::Browsed, browsed),
            (Outcome::Abandoned, tally.abandoned),
            (Outcome::Converted, tally.converted),
        ];
        for (outcome, total) in ended {
            counter!(names::KIND_ENDED, "kind" => kind.to_owned(), "outcome" => outcome.name())
                .absolute(total);
        }
        let totals =
            [(names::KIND_CUT, tally.cut), (names::KIND_WITHOUT_COHORT, tally.without_cohort)];
        for (name, total) in totals {
            counter!(name, "kind" => kind.to_owned()).absolute(total);
        }
        gauge!(names::KIND_OPEN, "kind" => kind.to_owned()).set(tally.open as f64);
        gauge!(names::KIND_AT_RISK, "kind" => kind.to_owned()).set(tally.at_risk as f64);
        gauge!(names::KIND_VALUE, "kind" => kind.to_owned()).set(tally.value.in_units());
    }
    nudges(keeper);
    for (metric, present, left) in keeper.groups() {
        gauge!(names::GROUPS, "metric" => metric.to_owned()).set(present as f64);
        counter!(names::GROUPS_LEFT, "metric" => metric.to_owned()).absolute(left);
    }
    of_desk(keeper.incidents.desk());
    gauge!(names::INCIDENTS_PENDING).set(keeper.incidents.pending().len() as f64);
    for (metric, late) in keeper.window_late() {
        let counts = [
            (names::WINDOW_LATE, late.some),
            (names::WINDOW_LATE_ALL, late.all),
            (names::MINUTE_LATE, late.minute),
        ];
        for (name, total) in counts {
            counter!(name, "metric" => metric.to_owned()).absolute(total);
        }
    }
}

/// Incidents, silences, and what waits to be told.
fn of_desk(desk: &Desk) {
    for ((severity, phase), open) in desk.num_open() {
        gauge!(names::INCIDENTS_OPEN, "severity" => severity, "phase" => phase.word())
            .set(open as f64);
    }
    gauge!(names::SILENCES).set(desk.num_silences() as f64);
    for (route, waiting) in desk.num_waiting() {
        gauge!(names::NOTIFICATIONS_WAITING, "route" => route.to_owned()).set(waiting as f64);
    }
    let counts = desk.counts();
    let totals = [
        (names::INCIDENTS_FIRED, counts.fired),
        (names::INCIDENTS_RESOLVED, counts.resolved),
        (names::INCIDENTS_NOT_OPENED, counts.overflow),
        (names::NOTIFICATIONS, counts.notifications),
    ];
    for (name, total) in totals {
        counter!(name).absolute(total);
    }
    for (reason, total) in desk.num_held_back() {
        counter!(names::NOTIFICATIONS_HELD_BACK, "reason" => reason).absolute(total);
    }
}

/// What became of abandoned sessions that nudges are of, and what the nudges bring about.
fn nudges(keeper: &Keeper) {
    if !keeper.nudges.any() {
        return;
    }
    let (suppressed, most) = keeper.nudges.suppressed();
    gauge!(names::NUDGE_SUPPRESSED).set(suppressed as f64);
    gauge!(names::NUDGE_SUPPRESSED_CAPACITY).set(most as f64);
    for view in keeper.nudges.views() {
        let name = || view.name.clone();
        for (outcome, total) in &view.outcomes {
            counter!(names::NUDGE_SESSIONS, "nudge" => name(), "outcome" => *outcome)
                .absolute(*total);
        }
        for (arm, of) in [("told", view.told), ("held_out", view.held_out)] {
            gauge!(names::NUDGE_FINISHED, "nudge" => name(), "arm" => arm).set(of.finished as f64);
            gauge!(names::NUDGE_CONVERTED, "nudge" => name(), "arm" => arm)
                .set(of.converted as f64);
            gauge!(names::NUDGE_RUNNING, "nudge" => name(), "arm" => arm).set(of.running as f64);
        }
        let uplift = view.uplift.map(|uplift| [uplift.points, uplift.low, uplift.high]);
        let uplift = uplift.unwrap_or([f64::NAN; 3]);
        for (of, points) in ["difference", "low", "high"].into_iter().zip(uplift) {
            gauge!(names::NUDGE_UPLIFT, "nudge" => name(), "of" => of).set(points);
        }
        counter!(names::NUDGE_UNSUBSCRIBED, "nudge" => name()).absolute(view.unsubscribed);
        gauge!(names::NUDGE_WAITING, "nudge" => name()).set(view.waiting as f64);
        gauge!(names::NUDGE_KEYS, "nudge" => name()).set(view.keys as f64);
        gauge!(names::NUDGE_KEYS_CAPACITY, "nudge" => name()).set(view.keys_max as f64);
    }
}
