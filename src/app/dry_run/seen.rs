//! What a pipeline of a dry run found: alerts by rule, sessions that were abandoned, the numbers
//! of the metric.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

use crate::actors::pipeline::Output;
use crate::domain::alert::{Alert, alert_id};
use crate::domain::commit::CommitUnit;
use crate::domain::keeper::{Keeper, SessionTotals};
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
    fn has(&self, at: EpochMs) -> bool {
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
    /// The newest one is still up.
    up: bool,
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
    /// Ends of windows with their numbers.
    pub numbers: Vec<(EpochMs, f64)>,
    pub numbers_left_out: u64,
    pub windows: u64,
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
            numbers: Vec::new(),
            numbers_left_out: 0,
            windows: 0,
            first: None,
            last: None,
            fresh: Vec::new(),
        }
    }

    fn take(&mut self, alert: &Alert) {
        let facts: Value = serde_json::from_str(alert.detail.text()).unwrap_or_default();
        let time = |name: &str| facts[name].as_i64();
        let place: Option<usize> = alert.subject.parse().ok();
        match (&*alert.kind, place) {
            ("abandoned", _) => {
                let (since, last) = (time("first"), time("last"));
                self.abandoned.raise(self.range, alert, alert.id.clone(), (since, last), facts);
            }
            ("anomaly", Some(place)) => {
                let id = alert_id("anomaly", &self.rule, alert.at);
                let since = time("since");
                let mut facts = facts;
                facts["rule"] = self.rule.clone().into();
                self.alerts[place].raise(self.range, alert, id, (since, None), facts);
            }
            (_, Some(place)) => {
                if let (Some(since), Some(last)) = (time("since"), time("last")) {
                    self.alerts[place].over(since, last);
                }
            }
            _ => {}
        }
    }
}

impl Alerts {
    fn raise(
        &mut self,
        range: Range,
        alert: &Alert,
        id: String,
        (since, last): (Option<EpochMs>, Option<EpochMs>),
        detail: Value,
    ) {
        self.up = range.has(alert.at);
        if !self.up {
            return;
        }
        self.count += 1;
        if self.list.len() < LISTED_MAX {
            let (at, title) = (alert.at, alert.title.clone());
            self.list.push(Fired { id, at, since, last, title, detail });
        }
    }

    fn over(&mut self, since: EpochMs, last: EpochMs) {
        if !std::mem::take(&mut self.up) {
            return;
        }
        self.lasted += last - since;
        self.longest = self.longest.max(last - since);
        if self.count <= LISTED_MAX as u64
            && let Some(newest) = self.list.last_mut()
        {
            newest.last = Some(last);
        }
    }
}

/// Looks at each commit of a pipeline.
#[derive(Clone, Debug)]
pub(super) struct Eye {
    pub seen: Arc<Mutex<Seen>>,
    /// Set once everything in the time that is asked about is final.
    pub done: Arc<AtomicBool>,
    pub lateness: SpanMs,
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
            if before(alert.at, closes && alert.kind == "abandoned") {
                seen.take(&alert);
            }
        }
        let range = seen.range;
        for ending in keeper.ended.iter().map(|ended| &ended.ending) {
            if before(ending.at, ending.closes_session) && range.has(ending.at) {
                seen.ended.count(ending, None);
            }
        }
        for point in keeper.points.iter().filter(|point| point.end <= newest) {
            let Some(number) = point.value.scalar().filter(|_| seen.range.has(point.end)) else {
                continue;
            };
            seen.windows += 1;
            match seen.numbers.len() < NUMBERS_MAX {
                true => seen.numbers.push((point.end, number)),
                false => seen.numbers_left_out += 1,
            }
        }
        Ok(())
    }
}
