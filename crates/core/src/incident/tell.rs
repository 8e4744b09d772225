//! Whom to tell now: an incident on the routes that it fits, an occurrence, what was collected.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::digest::Digest;
use super::kept::REMOVED;
use super::notification::{Notification, Step, notification_key};
use super::{
    Change, Desk, DeskSettings, Incident, Muted, Of, Outcome, Route, Subject, Told, Waits, What,
};
use crate::alert::Alert;
use crate::time::EpochMs;

/// What a notification is made of.
struct Sent<'a> {
    about: &'a str,
    /// The incident, if it is one.
    incident: Option<&'a Incident>,
    step: Step,
    nth: u64,
    facts: Json,
}

impl Desk {
    /// Looks at an incident: what keeps it quiet, and who is to be told.
    pub(super) fn look(&mut self, id: &str, out: &mut Outcome) {
        let Some(mut incident) = self.open.remove(id) else { return };
        let before = incident.clone();
        let muted = self.muted(&incident);
        if muted != incident.muted {
            let (what, says) = match &muted {
                Some(muted) => (What::Muted, muted.to_string()),
                None => (What::Unmuted, "nothing keeps it quiet any more".to_owned()),
            };
            self.log(Change::of(self.now(), what, Some(&incident), says), out);
            incident.muted = muted;
        }
        let settings = Arc::clone(&self.settings);
        for route in routes(&settings.routes, Of::Incidents, &incident.subject()) {
            settings.take_over(route, &mut incident);
            let next = self.tell(route, &mut incident, out);
            next.into_iter().for_each(|at| self.look_at(at, id));
        }
        if incident.snoozed.as_ref().is_some_and(|snooze| snooze.until <= self.now()) {
            incident.snoozed = None;
        }
        let snoozed = incident.snoozed.as_ref().map(|snooze| snooze.until);
        snoozed.into_iter().for_each(|at| self.look_at(at, id));
        if incident != before {
            out.incidents.insert(id.to_owned(), incident.clone());
        }
        self.open.insert(id.to_owned(), incident);
    }

    /// Tells a route of an incident if it is time to; when to look again.
    fn tell(
        &mut self,
        route: &Route,
        incident: &mut Incident,
        out: &mut Outcome,
    ) -> Option<EpochMs> {
        let before = incident.told.get(&route.name).cloned().unwrap_or_default();
        let waits = self.waits(route, incident, &before);
        let mut now = Told { waits: waits.map(|(why, _)| why), ..before.clone() };
        let mut next = waits.and_then(|(_, until)| until);
        if waits.is_none() {
            let at = self.now();
            let nth = u64::from(now.started.is_some()) * (now.again + 1);
            let step = if now.started.is_none() { Step::Fired } else { Step::Again };
            now.started = now.started.or(Some(at));
            (now.again, now.last) = (nth, Some(at));
            now.channel.clone_from(&route.channel);
            let facts = incident.facts();
            let sent = Sent { about: &incident.id, incident: Some(incident), step, nth, facts };
            self.sent(route, sent, out);
            next = (route.repeat > 0).then(|| at + route.repeat);
            now.waits = Some(if next.is_some() { Waits::Repeat } else { Waits::Told });
        }
        if now != before {
            incident.told.insert(route.name.clone(), now);
        }
        next
    }

    /// Why a route is not told of an incident now, and when that may be otherwise by time alone.
    fn waits(
        &self,
        route: &Route,
        incident: &Incident,
        told: &Told,
    ) -> Option<(Waits, Option<EpochMs>)> {
        let at = self.now();
        let due = match told.last {
            None => incident.fired + route.after,
            Some(_) if route.repeat == 0 => return Some((Waits::Told, None)),
            Some(last) => last + route.repeat,
        };
        if incident.acknowledged.is_some() {
            return Some((Waits::Acknowledged, None));
        }
        if incident.muted.is_some() {
            return Some((Waits::Muted, None));
        }
        if at < due {
            let why = if told.last.is_some() { Waits::Repeat } else { Waits::After };
            return Some((why, Some(due)));
        }
        let fresh = self.wall.saturating_sub(self.settings.max_age);
        if at < fresh {
            return Some((Waits::TooOld, Some(fresh)));
        }
        if let Some(end) = route.quiet.as_ref().and_then(|quiet| quiet.end(at)) {
            return Some((Waits::Quiet, Some(end)));
        }
        // What comes together is one.
        let kept = self.kept.get(&route.name).filter(|_| route.digest == 0);
        let room = kept.and_then(|kept| kept.room_at(route, at));
        room.map(|room| (Waits::Budget, Some(room)))
    }

    /// What keeps an incident quiet now.
    fn muted(&self, incident: &Incident) -> Option<Muted> {
        let at = self.now();
        if incident.snoozed.as_ref().is_some_and(|snooze| snooze.until > at) {
            return Some(Muted::Snooze);
        }
        if let Some(muted) = self.quiet(&incident.subject()) {
            return Some(muted);
        }
        let watch = self.settings.rules.iter().find(|watch| watch.rule == incident.rule)?;
        let others = self.open.values().filter(|other| other.id != incident.id);
        let mut others = others.filter(|other| watch.unless.contains(&other.rule));
        let agrees = |other: &Incident| {
            other
                .group
                .iter()
                .all(|(label, value)| incident.group.get(label).is_none_or(|own| own == value))
        };
        others.find(|other| agrees(other)).map(|other| Muted::Rule(other.rule.clone()))
    }

    /// A silence or maintenance that lies over this time and holds for this.
    fn quiet(&self, subject: &Subject<'_>) -> Option<Muted> {
        let at = self.now();
        let silences = self.silences.values().filter(|quiet| quiet.silence.is_at(at));
        let mut silences =
            silences.filter(|quiet| quiet.when.as_ref().is_some_and(|when| subject.meets(when)));
        if let Some(quiet) = silences.next() {
            return Some(Muted::Silence(quiet.silence.id.clone()));
        }
        let mut work = self.settings.maintenance.iter().filter(|work| work.end(at).is_some());
        let work = work.find(|work| work.when.as_ref().is_none_or(|when| subject.meets(when)));
        work.map(|work| Muted::Maintenance(work.name.clone()))
    }

    /// Tells that somebody takes care of an incident to those who were told of it.
    pub(super) fn tell_acknowledged(&mut self, id: &str, out: &mut Outcome) {
        let Some(mut incident) = self.open.remove(id) else { return };
        let settings = Arc::clone(&self.settings);
        let facts = incident.facts();
        for route in settings.routes.iter().filter(|route| route.acknowledged) {
            let Some(told) = incident.told.get_mut(&route.name) else { continue };
            if told.started.is_some() && !told.acknowledged {
                told.acknowledged = true;
                let sent = Sent {
                    about: id,
                    incident: Some(&incident),
                    step: Step::Acknowledged,
                    nth: 0,
                    facts: facts.clone(),
                };
                self.sent(route, sent, out);
            }
        }
        out.incidents.insert(id.to_owned(), incident.clone());
        self.open.insert(id.to_owned(), incident);
    }

    /// It was over in the moment in which it began: the routes that it fits were never asked.
    pub(super) fn note_untold(&self, incident: &mut Incident) {
        let fits: Vec<&Route> =
            routes(&self.settings.routes, Of::Incidents, &incident.subject()).collect();
        for route in fits {
            let untold = Told { waits: Some(Waits::After), ..Told::default() };
            incident.told.entry(route.name.clone()).or_insert(untold);
        }
    }

    /// Tells that an incident is over to those who were told of it; of the others it is noted why they
    /// were not.
    pub(super) fn tell_end(&mut self, incident: &mut Incident, out: &mut Outcome) {
        let settings = Arc::clone(&self.settings);
        let facts = incident.facts();
        for route in &settings.routes {
            let Some(told) = incident.told.get_mut(&route.name) else { continue };
            if told.started.is_none() {
                let why = told.waits.unwrap_or(Waits::After);
                let incident = &*incident;
                *self.counts.held_back.entry(why.word().into()).or_default() += 1;
                let says = format!("{} was not told: {why} until it was over", route.name);
                self.log(Change::of(self.now(), What::HeldBack, Some(incident), says), out);
                continue;
            }
            told.waits = None;
            if route.resolved {
                told.ended = true;
                let heard = told.channel.clone();
                let sent = Sent { facts: facts.clone(), ..Sent::end(incident) };
                if settings.moved(route, &heard) {
                    self.put((&route.name, &heard), &sent, out);
                    self.log_told((&route.name, &heard), &sent, out);
                } else {
                    self.sent(route, sent, out);
                }
            }
        }
        self.tell_end_of_gone(incident, &facts, out);
    }

    /// Tells that an incident is over to the channels that heard of it by routes that are no more, each
    /// once.
    fn tell_end_of_gone(&mut self, incident: &mut Incident, facts: &Json, out: &mut Outcome) {
        let settings = Arc::clone(&self.settings);
        let ended = incident.told.values().filter(|told| told.ended && !told.channel.is_empty());
        let mut relieved: BTreeSet<String> = ended.map(|told| told.channel.clone()).collect();
        for name in settings.gone(incident) {
            let Some(told) = incident.told.get_mut(&name) else { continue };
            (told.waits, told.ended) = (None, true);
            let channel = told.channel.clone();
            // It heard that by another route.
            if !relieved.insert(channel.clone()) {
                continue;
            }
            if settings.channels.contains(&channel) {
                let sent = Sent { facts: facts.clone(), ..Sent::end(incident) };
                self.put((&name, &channel), &sent, out);
                self.log_told((&name, &channel), &sent, out);
                continue;
            }
            if let Some(told) = incident.told.get_mut(&name) {
                told.ended = false;
            }
            *self.counts.held_back.entry(REMOVED.into()).or_default() += 1;
            let which = if channel.is_empty() { "its channel" } else { &channel };
            let says = format!("{name} and {which} are no more: the end was not told there");
            self.log(Change::of(self.now(), What::HeldBack, Some(incident), says), out);
        }
    }

    /// A moment: it is told, comes together with others, or is held back.
    pub(super) fn occurred(&mut self, alert: &Alert, out: &mut Outcome) {
        let facts = serde_json::from_str(alert.detail.text()).unwrap_or_default();
        let labels = labels(&facts);
        let worth = facts.get("value").and_then(Json::as_f64);
        let subject = Subject {
            kind: &alert.kind,
            rule: labels.get(&alert.kind).map_or(&alert.kind, |name| name),
            metric: "",
            severity: &alert.severity,
            subject: &alert.subject,
            value: worth,
            far: None,
            labels: Cow::Borrowed(&labels),
        };
        let settings = Arc::clone(&self.settings);
        let (at, quiet) = (self.now(), self.quiet(&subject).is_some());
        let too_old = at < self.wall.saturating_sub(settings.max_age);
        for route in routes(&settings.routes, Of::Occurrences, &subject) {
            if quiet || too_old {
                let why = if quiet { Waits::Muted } else { Waits::TooOld };
                *self.counts.held_back.entry(why.word().into()).or_default() += 1;
                continue;
            }
            let facts = serde_json::to_value(alert).unwrap_or_default();
            let kept = self.kept.entry(route.name.clone()).or_default();
            let night = route.quiet.as_ref().and_then(|quiet| quiet.end(at));
            let room = kept.room_at(route, at);
            let together = (route.digest > 0).then_some(at + route.digest);
            if kept.digest.is_none() && night.or(room).or(together).is_none() {
                let (incident, step) = (None, Step::Occurred);
                let sent = Sent { about: &alert.id, incident, step, nth: 0, facts };
                self.sent(route, sent, out);
                continue;
            }
            let due = night.max(room).max(together).unwrap_or(at);
            let digest = kept.digest.get_or_insert_with(|| Digest::begun(at, due));
            digest.add(worth.unwrap_or(0.0), facts);
            out.routes.insert(route.name.clone());
        }
    }

    /// Sends what was collected and is due.
    pub(super) fn flush(&mut self, at: EpochMs, out: &mut Outcome) {
        let settings = Arc::clone(&self.settings);
        for route in &settings.routes {
            let Some(kept) = self.kept.get_mut(&route.name) else { continue };
            let Some(digest) = kept.digest.as_mut().filter(|digest| digest.due <= at) else {
                continue;
            };
            out.routes.insert(route.name.clone());
            if at < self.wall.saturating_sub(settings.max_age) {
                let count = digest.count;
                kept.digest = None;
                let word = Waits::TooOld.word();
                *self.counts.held_back.entry(word.into()).or_default() += count;
                continue;
            }
            let night = route.quiet.as_ref().and_then(|quiet| quiet.end(at));
            if let Some(later) = night.max(kept.room_at(route, at)) {
                if let Some(digest) = &mut kept.digest {
                    digest.due = later;
                }
                continue;
            }
            let Some(digest) = kept.digest.take() else { continue };
            let named: Vec<Json> = digest.named.into_iter().map(|(_, item)| item).collect();
            let facts = json!({
                "since": digest.since,
                "until": at,
                "count": digest.count,
                "value": digest.value,
                "named": named,
            });
            let nth = digest.since.unsigned_abs();
            let (incident, step) = (None, Step::Digest);
            self.send(route, Sent { about: &route.name, incident, step, nth, facts }, out);
        }
    }

    /// Sends it, or adds it to what is collected.
    fn sent(&mut self, route: &Route, sent: Sent<'_>, out: &mut Outcome) {
        if route.digest == 0 || route.of == Of::Occurrences {
            return self.send(route, sent, out);
        }
        let (at, due) = (self.now(), self.now() + route.digest);
        let kept = self.kept.entry(route.name.clone()).or_default();
        let digest = kept.digest.get_or_insert_with(|| Digest::begun(at, due));
        let mut facts = sent.facts;
        if let Some(facts) = facts.as_object_mut() {
            facts.insert("step".into(), sent.step.word().into());
        }
        digest.add(0.0, facts);
        out.routes.insert(route.name.clone());
    }

    fn send(&mut self, route: &Route, sent: Sent<'_>, out: &mut Outcome) {
        let way = (route.name.as_str(), route.channel.as_str());
        self.put(way, &sent, out);
        // An end is not held back, and does not use up the room of a beginning.
        if !matches!(sent.step, Step::Resolved | Step::Acknowledged) {
            let at = self.now();
            self.kept.entry(route.name.clone()).or_default().note(route, at);
            out.routes.insert(route.name.clone());
        }
        // Occurrences have a feed of their own: theirs would push incidents out of the log.
        if route.of == Of::Incidents {
            self.log_told(way, &sent, out);
        }
    }

    /// Makes a notification, of a route by a channel.
    fn put(&mut self, (route, channel): (&str, &str), sent: &Sent<'_>, out: &mut Outcome) {
        self.counts.notifications += 1;
        out.notifications.push(Notification {
            n: self.counts.notifications,
            key: notification_key(sent.about, route, sent.step, sent.nth),
            route: route.to_owned(),
            channel: channel.to_owned(),
            step: sent.step,
            at: self.now(),
            about: sent.about.to_owned(),
            facts: sent.facts.clone(),
            recipient: None,
        });
    }

    fn log_told(&mut self, (route, channel): (&str, &str), sent: &Sent<'_>, out: &mut Outcome) {
        let says = format!("{route} by {channel}: {}", sent.step.word());
        self.log(Change::of(self.now(), What::Told, sent.incident, says), out);
    }
}

impl<'a> Sent<'a> {
    /// An incident is over; without its facts.
    fn end(incident: &'a Incident) -> Sent<'a> {
        let (about, incident) = (incident.id.as_str(), Some(incident));
        Sent { about, incident, step: Step::Resolved, nth: 0, facts: Json::Null }
    }
}

impl DeskSettings {
    /// Names of routes that are no more, by which an incident was told and its end was not.
    fn gone(&self, incident: &Incident) -> Vec<String> {
        let is = |name: &String| {
            self.routes.iter().any(|route| route.of == Of::Incidents && route.name == *name)
        };
        let told = incident.told.iter().filter(|(_, told)| told.started.is_some() && !told.ended);
        told.map(|(name, _)| name).filter(|name| !is(name)).cloned().collect()
    }

    /// A route that is new to an incident takes over what its channel was told of it by one that is no
    /// more, as when a route is renamed: the channel is not told the same once more.
    fn take_over(&self, route: &Route, incident: &mut Incident) {
        if incident.told.is_empty() || incident.told.contains_key(&route.name) {
            return;
        }
        let same = |name: &String| incident.told[name].channel == route.channel;
        let Some(old) = self.gone(incident).into_iter().find(same) else { return };
        if let Some(told) = incident.told.remove(&old) {
            incident.told.insert(route.name.clone(), told);
        }
    }

    /// Whether a route leads to another channel than the one that heard by it, which still is there.
    fn moved(&self, route: &Route, heard: &str) -> bool {
        heard != route.channel && self.channels.iter().any(|channel| channel == heard)
    }
}

impl Incident {
    /// What conditions can ask of it.
    pub fn subject(&self) -> Subject<'_> {
        let number = |name: &str| self.detail.get(name).and_then(Json::as_f64);
        Subject {
            kind: "incident",
            rule: &self.rule,
            metric: &self.metric,
            severity: &self.severity,
            subject: self.holds_for.first().map_or("", String::as_str),
            value: number("value"),
            far: number("far"),
            labels: Cow::Borrowed(&self.group),
        }
    }

    /// What a notification says of it: all but whom it was told.
    pub fn facts(&self) -> Json {
        let mut facts = serde_json::to_value(self).unwrap_or_default();
        if let Some(facts) = facts.as_object_mut() {
            facts.remove("told");
            facts.insert("phase".into(), json!(self.phase()));
        }
        facts
    }
}

/// The routes that something takes.
fn routes<'a>(
    routes: &'a [Route],
    of: Of,
    subject: &Subject<'_>,
) -> impl Iterator<Item = &'a Route> + use<'a> {
    let fits = |route: &&Route| {
        route.of == of && route.when.as_ref().is_none_or(|when| subject.meets(when))
    };
    let mut taken: Vec<&Route> = Vec::new();
    for route in routes.iter().filter(fits) {
        taken.push(route);
        if !route.goes_on {
            break;
        }
    }
    taken.into_iter()
}

/// The facts of an occurrence as labels.
fn labels(facts: &Map<String, Json>) -> BTreeMap<String, String> {
    let texts = facts.iter().filter_map(|(name, fact)| {
        let text = match fact {
            Json::String(text) => text.clone(),
            Json::Number(_) | Json::Bool(_) => fact.to_string(),
            _ => return None,
        };
        Some((name.clone(), text))
    });
    texts.collect()
}
