//! The desk: which incidents are open, what time brings them, and what a commit holds of it.
//!
//! What happens is taken in the order in which it is known by the watermark, and what time alone brings (a silence ends, nobody
//! has acknowledged for a quarter of an hour) comes at its own time between: so the desk is the same
//! wherever barriers lie. Of the same time, rules come first, then occurrences, then time; nobody is told by rules before
//! all of them that are known by the same watermark have been heard.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::edges::Edges;
use super::route::RouteKept;
use super::silence::Quiet;
use super::words::Attributes;
use super::{
    Change, Incident, Maintenance, Notification, Resolved, Route, Silence, What, incident_id,
};
use crate::alert::Alert;
use crate::time::{BEGINNING, END_OF_TIME, EpochMs, SpanMs};

/// Ids of incidents that are over, kept so that whoever is late hears so.
const RECENT: usize = 1_000;

/// A rule, as far as its incidents go.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// Its name.
    pub rule: String,
    /// See [`Incident::version`].
    pub version: String,
    /// The metric.
    pub metric: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// Where it says what to do.
    pub runbook: Option<String>,
    /// All groups are one incident.
    pub one: bool,
    /// Nobody is told while an incident of one of these rules is open, whose group does not contradict.
    pub unless: Vec<String>,
}

/// What the configuration says.
#[derive(Clone, Debug, PartialEq)]
pub struct DeskSettings {
    /// The rules.
    pub rules: Vec<Watch>,
    /// The routes, in order.
    pub routes: Vec<Route>,
    /// Names of the channels that there are, also those that no route leads to.
    pub channels: Vec<String>,
    /// Planned work.
    pub maintenance: Vec<Maintenance>,
    /// What conditions can ask for.
    pub attributes: Vec<String>,
    /// Most incidents that are open at a time.
    pub open_max: usize,
    /// Most silences.
    pub silences_max: usize,
    /// Nobody is told of what lies further back than this.
    pub max_age: SpanMs,
}

/// A rule says that something holds, or that it is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// The rule.
    pub rule: String,
    /// The group as text; empty for a metric without groups.
    pub subject: String,
    /// Its labels.
    pub group: BTreeMap<String, String>,
    /// When, in event time.
    pub at: EpochMs,
    /// The watermark by which that is known, wherever barriers lie.
    pub known: EpochMs,
    /// What it says.
    pub says: Says,
}

/// See [`Signal`].
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// It holds.
    Fires {
        /// When the first window that stands out began.
        since: EpochMs,
        /// One sentence for a person.
        title: String,
        /// The facts.
        detail: Map<String, Json>,
    },
    /// It is over.
    Ends {
        /// Why.
        why: String,
        /// How long it stood out, and how far at most.
        detail: Map<String, Json>,
    },
}

/// What one commit holds of the desk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Incidents that changed, as they are now; those that are over for the last time.
    pub incidents: BTreeMap<String, Incident>,
    /// Lines of the log.
    pub changes: Vec<Change>,
    /// What goes out.
    pub notifications: Vec<Notification>,
    /// Silences that were made, or that are no more.
    pub silences: BTreeMap<String, Option<Silence>>,
    /// Routes whose memory changed.
    pub(super) routes: BTreeSet<String>,
}

impl Outcome {
    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Outcome::default()
    }
}

/// Without routes, and without bounds: the past is looked at, and nobody is told.
impl Default for DeskSettings {
    fn default() -> Self {
        DeskSettings {
            rules: Vec::new(),
            routes: Vec::new(),
            channels: Vec::new(),
            maintenance: Vec::new(),
            attributes: Vec::new(),
            open_max: usize::MAX,
            silences_max: usize::MAX,
            max_age: SpanMs::MAX,
        }
    }
}

/// Counts since the beginning of the data folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeskCounts {
    /// Lines of the log.
    pub changes: u64,
    /// Notifications made.
    pub notifications: u64,
    /// Incidents that began.
    pub fired: u64,
    /// Incidents that were over.
    pub resolved: u64,
    /// Incidents that were not opened because there were too many.
    pub overflow: u64,
    /// What was not told for good, by reason.
    pub held_back: BTreeMap<String, u64>,
}

/// What became of incidents by all that is known of one moment, until it is looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    /// Ids of those that began, in the order in which they did, and are not over yet.
    fired: Vec<String>,
    /// Rules of which one began or ended.
    rules: BTreeSet<String>,
}

/// Keeps incidents, silences, and what routes remember.
#[derive(Clone, Debug)]
pub struct Desk {
    pub(super) settings: Arc<DeskSettings>,
    pub(super) attributes: Attributes,
    pub(super) open: BTreeMap<String, Incident>,
    /// Open incidents by rule and group.
    pub(super) places: BTreeMap<(String, String), String>,
    pub(super) silences: BTreeMap<String, Quiet>,
    pub(super) kept: BTreeMap<String, RouteKept>,
    /// When which incident is to be looked at.
    pub(super) due: BTreeSet<(EpochMs, String)>,
    pub(super) counts: DeskCounts,
    pub(super) written: DeskCounts,
    /// When the next silence or maintenance begins or ends.
    pub(super) edges: Edges,
    /// Ids of incidents that are over, newest last.
    pub(super) recent: VecDeque<String>,
    moment: Moment,
    pub(super) now: EpochMs,
    /// Up to where what time brings has been done; something may happen at `now` before that.
    pub(super) timed: EpochMs,
    pub(super) wall: EpochMs,
    /// Its rule is no more, or another one: found at a start.
    pub(super) orphans: Vec<(String, &'static str)>,
    /// Routes that are no more, with what waited there to be told together.
    pub(super) removed: Vec<(String, u64)>,
    /// Silences whose condition names what is not known any more, and why.
    pub(super) void: Vec<(String, String)>,
}

impl Desk {
    /// An empty one.
    pub fn new(settings: DeskSettings) -> Desk {
        Desk {
            attributes: Attributes(settings.attributes.clone()),
            edges: Edges::new(&settings.maintenance),
            settings: Arc::new(settings),
            open: BTreeMap::new(),
            places: BTreeMap::new(),
            silences: BTreeMap::new(),
            kept: BTreeMap::new(),
            due: BTreeSet::new(),
            counts: DeskCounts::default(),
            written: DeskCounts::default(),
            recent: VecDeque::new(),
            moment: Moment::default(),
            now: BEGINNING,
            timed: BEGINNING,
            wall: BEGINNING,
            orphans: Vec::new(),
            removed: Vec::new(),
            void: Vec::new(),
        }
    }

    /// The incidents that are open, by id.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.values()
    }

    /// The silences, by id.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.values().map(|quiet| &quiet.silence)
    }

    /// Whether an incident of this rule holds for a group.
    pub fn holds(&self, rule: &str, subject: &str) -> bool {
        let watch = self.settings.rules.iter().find(|watch| watch.rule == rule);
        let Some(watch) = watch else { return false };
        let place = if watch.one { "" } else { subject };
        let id = self.places.get(&(rule.to_owned(), place.to_owned()));
        id.and_then(|id| self.open.get(id)).is_some_and(|one| one.holds_for.contains(subject))
    }

    /// Counts since the beginning.
    pub fn counts(&self) -> &DeskCounts {
        &self.counts
    }

    /// Up to where it has got, in event time.
    pub(super) fn now(&self) -> EpochMs {
        self.now
    }

    pub(super) fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    pub(super) fn is_recent(&self, id: &str) -> bool {
        self.recent.iter().any(|known| known == id)
    }

    /// Takes what is known by a watermark: signals, and occurrences with the watermark by which each is
    /// known. One that is known ahead of the watermark, because there was no room to wait, is taken as known
    /// now. `wall`: the time of the machine, by which it is told what is too old to be told.
    pub fn run(
        &mut self,
        mut signals: Vec<Signal>,
        mut occurrences: Vec<(EpochMs, &Alert)>,
        until: EpochMs,
        wall: EpochMs,
        out: &mut Outcome,
    ) {
        self.wall = wall;
        self.after_start(out);
        signals.sort_by_key(|signal| (signal.known, signal.at));
        occurrences.sort_by_key(|(known, alert)| (*known, alert.at));
        let last = [signals.last().map(|one| one.known), occurrences.last().map(|one| one.0)];
        // The end of a replay is no time: nothing more comes of it.
        let until = if until == END_OF_TIME {
            last.into_iter().flatten().max().unwrap_or(self.now).max(self.now)
        } else {
            until
        };
        let mut signals = signals.into_iter().peekable();
        let mut occurrences = occurrences.into_iter().peekable();
        loop {
            let at = |known: EpochMs| known.min(until).max(self.now);
            let signal = signals.peek().map(|signal| at(signal.known));
            let occurrence = occurrences.peek().map(|(known, _)| at(*known));
            let due = self.next_due();
            let Some(next) = signal.into_iter().chain(occurrence).chain(due).min() else { break };
            if next > until {
                break;
            }
            self.now = next;
            if signal == Some(next)
                && let Some(known) = signals.peek().map(|signal| signal.known)
            {
                while let Some(signal) = signals.next_if(|signal| signal.known == known) {
                    self.signal(signal, out);
                }
                self.look_at_moment(out);
            } else if occurrence == Some(next)
                && let Some((_, alert)) = occurrences.next()
            {
                self.occurred(alert, out);
            } else {
                self.time(next, out);
            }
        }
        self.now = self.now.max(until);
        self.stand_at(self.now);
    }

    /// What time brings has been done up to here.
    pub(super) fn stand_at(&mut self, at: EpochMs) {
        self.timed = at;
        self.edges.passed(&self.settings.maintenance, at);
    }

    fn next_due(&self) -> Option<EpochMs> {
        let incidents = self.due.first().map(|(at, _)| *at);
        let digests = self.kept.values().filter_map(|kept| Some(kept.digest.as_ref()?.due));
        let next = digests.chain(self.edge()).chain(incidents).min()?;
        Some(next.max(self.now))
    }

    /// What time brings.
    fn time(&mut self, at: EpochMs, out: &mut Outcome) {
        let edge = self.edge().is_some_and(|edge| edge <= at);
        self.stand_at(at);
        while let Some((due, id)) = self.due.first().cloned()
            && due <= at
        {
            self.due.pop_first();
            self.look(&id, out);
        }
        self.flush(at, out);
        self.end_silences(at, out);
        if edge {
            self.look_at_all(out);
        }
    }

    /// When the next silence or maintenance begins or ends.
    fn edge(&self) -> Option<EpochMs> {
        self.edges.next(!self.open.is_empty())
    }

    /// Looks at an incident again at this time.
    pub(super) fn look_at(&mut self, at: EpochMs, id: &str) {
        self.due.insert((at, id.to_owned()));
    }

    pub(super) fn look_at_all(&mut self, out: &mut Outcome) {
        let all: Vec<String> = self.open.keys().cloned().collect();
        all.iter().for_each(|id| self.look(id, out));
    }

    fn signal(&mut self, signal: Signal, out: &mut Outcome) {
        let settings = Arc::clone(&self.settings);
        let Some(watch) = settings.rules.iter().find(|watch| watch.rule == signal.rule) else {
            return;
        };
        let place = if watch.one { String::new() } else { signal.subject.clone() };
        let known = self.places.get(&(signal.rule.clone(), place.clone())).cloned();
        match (signal.says.clone(), known) {
            (Says::Fires { since, title, detail }, None) => {
                self.fire(watch, place, &signal, (since, title, detail), out);
            }
            (Says::Fires { title, detail, .. }, Some(id)) => {
                let Some(incident) = self.open.get_mut(&id) else { return };
                if incident.holds_for.insert(signal.subject.clone()) {
                    incident.held_for += 1;
                    self.group_changed(&id, What::Grew, (&signal, title, detail), out);
                }
            }
            (Says::Ends { why, detail }, Some(id)) => {
                let Some(incident) = self.open.get_mut(&id) else { return };
                let held = incident.holds_for.remove(&signal.subject);
                if incident.holds_for.is_empty() {
                    self.resolve(&id, signal.at, (why, detail), out);
                } else if held {
                    self.group_changed(&id, What::Shrank, (&signal, why, detail), out);
                }
            }
            // It was not opened, because there were too many.
            (Says::Ends { .. }, None) => {}
        }
    }

    /// Notes that an incident of all groups holds for one more, or one less.
    fn group_changed(
        &mut self,
        id: &str,
        what: What,
        (signal, says, detail): (&Signal, String, Map<String, Json>),
        out: &mut Outcome,
    ) {
        let Some(incident) = self.open.get(id) else { return };
        let change = Change::of(signal.at, what, Some(incident), says);
        out.incidents.insert(id.to_owned(), incident.clone());
        self.log(Change { group: signal.group.clone(), detail, ..change }, out);
    }

    fn fire(
        &mut self,
        watch: &Watch,
        place: String,
        signal: &Signal,
        (since, title, detail): (EpochMs, String, Map<String, Json>),
        out: &mut Outcome,
    ) {
        let group = signal.group.clone();
        if self.open.len() >= self.settings.open_max {
            self.counts.overflow += 1;
            let (rule, severity) = (watch.rule.clone(), watch.severity.clone());
            let change = Change::of(signal.at, What::NotOpened, None, title);
            self.log(Change { rule, severity, group, detail, ..change }, out);
            return;
        }
        let id = incident_id(&watch.rule, &place, signal.at);
        let incident = Incident {
            id: id.clone(),
            rule: watch.rule.clone(),
            version: watch.version.clone(),
            metric: watch.metric.clone(),
            group: if watch.one { BTreeMap::new() } else { group.clone() },
            severity: watch.severity.clone(),
            title: title.clone(),
            since,
            fired: signal.at,
            detail: detail.clone(),
            runbook: watch.runbook.clone(),
            holds_for: BTreeSet::from([signal.subject.clone()]),
            held_for: 1,
            acknowledged: None,
            snoozed: None,
            muted: None,
            resolved: None,
            told: BTreeMap::new(),
        };
        self.counts.fired += 1;
        let change = Change::of(signal.at, What::Fired, Some(&incident), title);
        self.log(Change { group, detail, ..change }, out);
        out.incidents.insert(id.clone(), incident.clone());
        self.open.insert(id.clone(), incident);
        self.places.insert((watch.rule.clone(), place), id.clone());
        self.moment.rules.insert(watch.rule.clone());
        self.moment.fired.push(id);
    }

    pub(super) fn resolve(
        &mut self,
        id: &str,
        at: EpochMs,
        (why, detail): (String, Map<String, Json>),
        out: &mut Outcome,
    ) {
        let Some(mut incident) = self.open.remove(id) else { return };
        self.places.retain(|_, known| known != id);
        self.due.retain(|(_, known)| known != id);
        incident.resolved = Some(Resolved { at, why: why.clone(), detail: detail.clone() });
        self.counts.resolved += 1;
        self.recent.push_back(id.to_owned());
        while self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let change = Change::of(at, What::Resolved, Some(&incident), why);
        self.log(Change { detail, ..change }, out);
        if self.moment.fired.iter().any(|fired| fired == id) {
            self.moment.fired.retain(|fired| fired != id);
            self.note_untold(&mut incident);
        }
        self.tell_end(&mut incident, out);
        self.moment.rules.insert(incident.rule.clone());
        out.incidents.insert(id.to_owned(), incident);
    }

    /// Looks at what began in this moment, and at what the rules whose incidents began or ended keep
    /// quiet, or no longer do. Once all that is known of the moment is in: in which order it was said must
    /// not decide who is told.
    pub(super) fn look_at_moment(&mut self, out: &mut Outcome) {
        let Moment { fired, rules } = std::mem::take(&mut self.moment);
        fired.iter().for_each(|id| self.look(id, out));
        if rules.is_empty() {
            return;
        }
        let settings = Arc::clone(&self.settings);
        let depends = |name: &str| {
            let watch = settings.rules.iter().find(|watch| watch.rule == name);
            watch.is_some_and(|watch| watch.unless.iter().any(|other| rules.contains(other)))
        };
        let ids: Vec<String> = self
            .open
            .values()
            .filter(|incident| depends(&incident.rule))
            .map(|incident| incident.id.clone())
            .collect();
        ids.iter().for_each(|id| self.look(id, out));
    }

    /// Notes what happened to an incident that is open, or to none.
    pub(super) fn change(
        &mut self,
        at: EpochMs,
        what: What,
        id: &str,
        by: &str,
        says: String,
        out: &mut Outcome,
    ) {
        let change = Change::of(at, what, self.open.get(id), says);
        self.log(Change { by: by.to_owned(), ..change }, out);
        if let Some(incident) = self.open.get(id) {
            out.incidents.insert(id.to_owned(), incident.clone());
        }
    }

    /// Notes a line, with the next number.
    pub(super) fn log(&mut self, change: Change, out: &mut Outcome) {
        self.counts.changes += 1;
        out.changes.push(Change { n: self.counts.changes, ..change });
    }

    /// Something goes out that is neither an incident nor an occurrence, as the next of all.
    pub fn notify(&mut self, mut notification: Notification, out: &mut Outcome) {
        self.counts.notifications += 1;
        notification.n = self.counts.notifications;
        out.notifications.push(notification);
    }

    /// Whether any route is for occurrences: the others need not be looked at.
    pub fn wants_occurrences(&self) -> bool {
        self.settings.routes.iter().any(|route| route.of == super::Of::Occurrences)
    }
}
