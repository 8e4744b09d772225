//! What a pipeline of a dry run found: what rules said, sessions that were abandoned, matches, the
//! numbers of the metric.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

use crate::actors::pipeline::Output;
use crate::config::DryRun;
use crate::domain::alert::Alert;
use crate::domain::commit::CommitUnit;
use crate::domain::incident::{Says, Signal, incident_id};
use crate::domain::keeper::{Keeper, SessionTotals};
use crate::domain::metric::groups::Kept;
use crate::domain::pattern::PatternTally;
use crate::domain::session::Deadline;
use crate::domain::time::{EpochMs, SpanMs};

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

/// An incident that would have begun, or an occurrence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Fired {
    /// As the rule's own incident would have it, where each group has its own.
    pub id: String,
    /// The rule, with the labels of its group; of sessions and matches their key.
    pub subject: String,
    pub at: EpochMs,
    /// When the first window that stood out began; the first event of a session.
    pub since: Option<EpochMs>,
    /// End of the last window that stood out; `None` where that lasted to the end.
    pub last: Option<EpochMs>,
    pub title: String,
    /// The facts of the alert.
    pub detail: Value,
}

/// Incidents or occurrences in the time that is asked about.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Alerts {
    /// Most that are listed.
    listed_max: usize,
    pub count: u64,
    pub newest: Option<EpochMs>,
    pub list: Vec<Fired>,
    /// How long windows stood out, of the incidents that are over.
    pub lasted: SpanMs,
    pub longest: SpanMs,
    /// Those that hold, by their group.
    up: BTreeMap<String, usize>,
}

/// Everything that one pipeline found.
#[derive(Debug)]
pub(super) struct Seen {
    range: Range,
    numbers_max: usize,
    /// The rule whose incidents they would be, or the title of the pattern.
    subject: String,
    /// By rule or pattern of the pipeline.
    pub alerts: Vec<Alerts>,
    /// What happened to the events of each pattern.
    pub tallies: Vec<PatternTally>,
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
    pub fn new(range: Range, bounds: &DryRun, subject: &str, tried: usize) -> Self {
        let alerts = Alerts::listing(bounds.listed_max);
        Seen {
            range,
            numbers_max: bounds.numbers_max,
            subject: subject.to_owned(),
            alerts: vec![alerts.clone(); tried],
            tallies: Vec::new(),
            abandoned: alerts,
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

    fn take(&mut self, alert: &mut Alert) {
        if alert.kind == ABANDONED {
            return self.abandoned.take(self.range, alert);
        }
        // The place of the pattern stands where its title would.
        let place = std::mem::replace(&mut alert.title, self.subject.clone());
        let of = place.parse().ok().and_then(|place: usize| self.alerts.get_mut(place));
        of.into_iter().for_each(|of| of.take(self.range, alert));
    }

    /// Rules are named by their place.
    fn hear(&mut self, signal: &Signal) {
        let place = signal.rule.parse().ok();
        if let Some(of) = place.and_then(|place: usize| self.alerts.get_mut(place)) {
            of.hear(self.range, signal, &self.subject);
        }
    }
}

impl Alerts {
    /// None yet; at most so many are listed.
    pub fn listing(listed_max: usize) -> Self {
        Alerts { listed_max, ..Alerts::default() }
    }

    /// Takes up an occurrence.
    fn take(&mut self, range: Range, alert: &Alert) {
        if !range.has(alert.at) {
            return;
        }
        let detail: Value = serde_json::from_str(alert.detail.text()).unwrap_or_default();
        let time = |name: &str| detail[name].as_i64();
        let last = if alert.kind == ABANDONED { time("last") } else { Some(alert.at) };
        self.add(Fired {
            id: alert.id.clone(),
            subject: alert.subject.clone(),
            at: alert.at,
            since: time("first"),
            last,
            title: alert.title.clone(),
            detail,
        });
    }

    /// Takes up what a rule of this name would say.
    pub fn hear(&mut self, range: Range, signal: &Signal, rule: &str) {
        match &signal.says {
            Says::Ends { detail, .. } => {
                let time = |name: &str| detail.get(name).and_then(Value::as_i64);
                let up = self.up.remove(&signal.subject);
                let (Some(place), Some(since), Some(last)) = (up, time("since"), time("last"))
                else {
                    return;
                };
                self.lasted += last - since;
                self.longest = self.longest.max(last - since);
                if let Some(fired) = self.list.get_mut(place) {
                    fired.last = Some(last);
                }
            }
            Says::Fires { since, title, detail } if range.has(signal.at) => {
                let mut detail = detail.clone();
                detail.insert("rule".into(), rule.into());
                let subject = match &*signal.subject {
                    "" => rule.to_owned(),
                    group => format!("{rule} {group}"),
                };
                self.up.insert(signal.subject.clone(), self.list.len());
                self.add(Fired {
                    id: incident_id(rule, &signal.subject, signal.at),
                    subject,
                    at: signal.at,
                    since: Some(*since),
                    last: None,
                    title: title.clone(),
                    detail: Value::Object(detail),
                });
            }
            Says::Fires { .. } => {}
        }
    }

    fn add(&mut self, fired: Fired) {
        self.count += 1;
        self.newest = self.newest.max(Some(fired.at));
        if self.list.len() < self.listed_max {
            self.list.push(fired);
        }
    }
}

/// A kind of occurrence.
const ABANDONED: &str = "abandoned";

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
    /// The pattern waits for the end of `within`: an event at that very time would still count.
    pub waits: bool,
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
        let before = |at: EpochMs, strict: bool| if strict { at < newest } else { at <= newest };
        let closes = self.deadline == Deadline::Inactivity;
        let mut fresh = std::mem::take(&mut seen.fresh);
        // Within a commit they come by group, numbered as it happened, and the first of all are listed.
        fresh.sort_by(|a, b| (a.at, &a.subject).cmp(&(b.at, &b.subject)));
        for mut alert in fresh {
            let strict = if alert.kind == ABANDONED { closes } else { self.waits };
            if before(alert.at, strict) {
                seen.take(&mut alert);
            }
        }
        let mut signals: Vec<&Signal> = keeper.signals.iter().collect();
        signals.sort_by_key(|signal| (signal.at, &signal.rule, &signal.subject));
        for signal in signals.into_iter().filter(|signal| before(signal.at, false)) {
            seen.hear(signal);
        }
        seen.tallies = keeper.patterns().map(|(_, tally)| tally).collect();
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
            if seen.numbers_kept >= seen.numbers_max {
                seen.numbers_left_out += 1;
                continue;
            }
            seen.numbers_kept += 1;
            seen.numbers.entry(point.group).or_default().push((point.end, number));
        }
        Ok(())
    }
}
