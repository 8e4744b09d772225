//! What a pipeline of a dry run found: alerts by rule, sessions that were abandoned, the numbers
//! of the metric.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

use crate::actors::pipeline::Output;
use crate::domain::alert::{Alert, alert_id};
use crate::domain::commit::CommitUnit;
use crate::domain::keeper::{Keeper, SessionTotals};
use crate::domain::metric::groups::Kept;
use crate::domain::session::Deadline;
use crate::domain::time::{EpochMs, SpanMs};

/// Alerts that are listed for a setting; further ones are counted.
pub(super) const LISTED_MAX: usize = 1_000;
/// Numbers of a metric that are kept for its quantiles; further ones are counted.
const NUMBERS_MAX: usize = 4_000_000;

/// The time that is asked about. What was before only teaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub from: EpochMs,
    /// The first moment after it.
    pub to: EpochMs,
}

impl Range {
    pub fn has(&self, at: EpochMs) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// An alert that would have been raised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Fired {
    /// As the rule's own alert would have it.
    pub id: String,
    pub at: EpochMs,
    /// When the first window that stood out began; the first event of a session.
    pub since: Option<EpochMs>,
    /// End of the last window that stood out; `None` where that lasted to the end.
    pub last: Option<EpochMs>,
    pub title: String,
    /// The facts of the alert.
    pub detail: Value,
}

/// Alerts in the time that is asked about.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Alerts {
    pub count: u64,
    pub list: Vec<Fired>,
    /// How long windows stood out, of the alerts that are over.
    pub lasted: SpanMs,
    pub longest: SpanMs,
    /// Those that are up, by their id: one for each group at most.
    up: BTreeMap<String, usize>,
}

/// Everything that one pipeline found.
#[derive(Debug)]
pub(super) struct Seen {
    range: Range,
    /// The rule whose alerts they would be.
    rule: String,
    /// By rule of the pipeline.
    pub alerts: Vec<Alerts>,
    pub abandoned: Alerts,
    /// How the sessions ended.
    pub ended: SessionTotals,
    /// Ends of windows with their numbers, by group.
    pub numbers: BTreeMap<u32, Vec<(EpochMs, f64)>>,
    /// The groups by number, those that have left as well.
    pub groups: BTreeMap<u32, Kept>,
    numbers_kept: usize,
    pub numbers_left_out: u64,
    pub first: Option<EpochMs>,
    pub last: Option<EpochMs>,
    /// Of the commit that is being looked at.
    fresh: Vec<Alert>,
}

impl Seen {
    pub fn new(range: Range, rule: &str, rules: usize) -> Self {
        Seen {
            range,
            rule: rule.to_owned(),
            alerts: vec![Alerts::default(); rules],
            abandoned: Alerts::default(),
            ended: SessionTotals::default(),
            numbers: BTreeMap::new(),
            groups: BTreeMap::new(),
            numbers_kept: 0,
            numbers_left_out: 0,
            first: None,
            last: None,
            fresh: Vec::new(),
        }
    }

    fn take(&mut self, alert: &Alert) {
        if alert.kind == ABANDONED {
            return self.abandoned.take(self.range, alert, &alert.subject);
        }
        // The place of the rule, and the labels of a group behind it.
        let place = alert.subject.split(' ').next().unwrap_or_default();
        if let Some(of) = place.parse().ok().and_then(|place: usize| self.alerts.get_mut(place)) {
            let group = alert.subject[place.len()..].to_owned();
            of.take(self.range, alert, &format!("{}{group}", self.rule));
        }
    }
}

impl Alerts {
    /// Takes up what is raised or over; `subject` is what the alert would be about.
    pub fn take(&mut self, range: Range, alert: &Alert, subject: &str) {
        let mut detail: Value = serde_json::from_str(alert.detail.text()).unwrap_or_default();
        let time = |name: &str| detail[name].as_i64();
        if alert.kind == OVER {
            let up = detail["alert"].as_str().and_then(|id| self.up.remove(id));
            if let (Some(place), Some(since), Some(last)) = (up, time("since"), time("last")) {
                self.lasted += last - since;
                self.longest = self.longest.max(last - since);
                if let Some(fired) = self.list.get_mut(place) {
                    fired.last = Some(last);
                }
            }
            return;
        }
        if !range.has(alert.at) {
            return;
        }
        let (since, last) = match alert.kind == ABANDONED {
            true => (time("first"), time("last")),
            false => (time("since"), None),
        };
        if alert.kind != ABANDONED {
            self.up.insert(alert.id.clone(), self.list.len());
            detail["rule"] = subject.split(' ').next().into();
        }
        self.count += 1;
        if self.list.len() < LISTED_MAX {
            let id = match alert.kind == ABANDONED {
                true => alert.id.clone(),
                false => alert_id(&alert.kind, subject, alert.at),
            };
            let (at, title) = (alert.at, alert.title.clone());
            self.list.push(Fired { id, at, since, last, title, detail });
        }
    }
}

/// Kinds of alerts.
const ABANDONED: &str = "abandoned";
const OVER: &str = "over";

/// Looks at each commit of a pipeline.
#[derive(Clone, Debug)]
pub(super) struct Eye {
    pub seen: Arc<Mutex<Seen>>,
    /// Set once everything in the time that is asked about is final.
    pub done: Arc<AtomicBool>,
    pub lateness: SpanMs,
    /// Numbers of the only metric are asked for.
    pub numbers: bool,
    /// Under it sessions are abandoned at their deadline; else an event at that very time would still
    /// belong to them.
    pub deadline: Deadline,
}

impl Eye {
    /// What a commit raised; taken up by [`Output::write`], which comes next.
    pub fn look(&self, unit: &CommitUnit) {
        let mut seen = self.seen.lock();
        seen.fresh.clone_from(&unit.alerts);
        let reached = unit.watermark.saturating_sub(self.lateness) >= seen.range.to;
        self.done.fetch_or(reached, Ordering::Release);
    }
}

impl Output for Eye {
    fn write(&mut self, keeper: &Keeper) -> Result<(), String> {
        let mut seen = self.seen.lock();
        let Some(newest) = keeper.max_at() else { return Ok(()) };
        seen.first = seen.first.or(keeper.first_at());
        seen.last = Some(newest);
        // What ends after the newest event is not over: nobody knows what else comes.
        let before = |at: EpochMs, session: bool| if session { at < newest } else { at <= newest };
        let closes = self.deadline == Deadline::Inactivity;
        for alert in std::mem::take(&mut seen.fresh) {
            if before(alert.at, closes && alert.kind == ABANDONED) {
                seen.take(&alert);
            }
        }
        let range = seen.range;
        for ending in keeper.ended.iter().map(|ended| &ended.ending) {
            if before(ending.at, ending.closes_session) && range.has(ending.at) {
                seen.ended.count(ending, None);
            }
        }
        if !self.numbers {
            return Ok(());
        }
        for (number, kept) in &keeper.engine.state(0).groups.map().groups {
            if seen.groups.get(number).is_none_or(|known| known.left != kept.left) {
                seen.groups.insert(*number, kept.clone());
            }
        }
        for point in keeper.points.iter().filter(|point| point.end <= newest) {
            let Some(number) = point.value.scalar() else { continue };
            if seen.numbers_kept >= NUMBERS_MAX {
                seen.numbers_left_out += 1;
                continue;
            }
            seen.numbers_kept += 1;
            seen.numbers.entry(point.group).or_default().push((point.end, number));
        }
        Ok(())
    }
}
