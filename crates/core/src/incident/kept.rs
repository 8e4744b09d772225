//! What a commit holds of the desk, and how the next start takes it up, perhaps by another configuration.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::desk::{Desk, Outcome};
use super::route::RouteKept;
use super::silence::Quiet;
use super::{Change, Incident, Silence, What};
use crate::expr::Expr;
use crate::time::EpochMs;

const INCIDENT: &str = "incident/";
const SILENCE: &str = "silence/";
const ROUTE: &str = "route/";
const COUNTS: &str = "incidents";
const RECENT_ENTRY: &str = "incidents_over";

/// Why occurrences that waited to be told together were not.
pub(super) const REMOVED: &str = "route_removed";

impl Desk {
    /// What a commit holds so that the next start finds all of it: entries by name, `null` for those
    /// that are gone.
    pub fn entries(&mut self, out: &Outcome) -> BTreeMap<String, Json> {
        let json = |value: Option<Json>| value.unwrap_or(Json::Null);
        let incidents = out.incidents.keys().map(|id| {
            let open = self.open.get(id).and_then(|incident| serde_json::to_value(incident).ok());
            (format!("{INCIDENT}{id}"), json(open))
        });
        let silences = out.silences.iter().map(|(id, kept)| {
            let kept = kept.as_ref().and_then(|silence| serde_json::to_value(silence).ok());
            (format!("{SILENCE}{id}"), json(kept))
        });
        let routes = out.routes.iter().map(|name| {
            let kept = self.kept.get(name).and_then(|kept| serde_json::to_value(kept).ok());
            (format!("{ROUTE}{name}"), json(kept))
        });
        let mut entries: BTreeMap<String, Json> = incidents.chain(silences).chain(routes).collect();
        if self.counts.resolved != self.written.resolved {
            entries.insert(RECENT_ENTRY.into(), json(serde_json::to_value(&self.recent).ok()));
        }
        if self.counts != self.written {
            entries.insert(COUNTS.into(), json(serde_json::to_value(&self.counts).ok()));
            self.written = self.counts.clone();
        }
        entries
    }

    /// True for the name of an entry of a desk.
    pub fn owns(name: &str) -> bool {
        [COUNTS, RECENT_ENTRY].contains(&name)
            || [INCIDENT, SILENCE, ROUTE].iter().any(|kind| name.starts_with(kind))
    }

    /// Takes up the entries of the last commit, at its watermark. Incidents of rules that are no more, or
    /// are others now, are over with the next barrier; what is kept of routes that are no more is
    /// dropped.
    ///
    /// # Errors
    /// When one cannot be read: the file is damaged.
    pub fn restore(
        &mut self,
        entries: impl IntoIterator<Item = (String, Json)>,
        watermark: EpochMs,
    ) -> Result<(), String> {
        self.now = watermark;
        self.stand_at(watermark);
        for (name, value) in entries {
            let wrong = |error: serde_json::Error| format!("{name}: {error}");
            if name == COUNTS {
                self.counts = serde_json::from_value(value).map_err(wrong)?;
                self.written = self.counts.clone();
            } else if name.starts_with(INCIDENT) {
                self.restore_incident(serde_json::from_value(value).map_err(wrong)?);
            } else if name.starts_with(SILENCE) {
                let silence: Silence = serde_json::from_value(value).map_err(wrong)?;
                let when = Expr::condition(&silence.matching, &self.attributes);
                if let Err(error) = &when {
                    self.void.push((silence.id.clone(), error.to_string()));
                }
                self.edges.add(&silence, watermark);
                self.silences.insert(silence.id.clone(), Quiet { silence, when: when.ok() });
            } else if let Some(route) = name.strip_prefix(ROUTE) {
                let kept: RouteKept = serde_json::from_value(value).map_err(wrong)?;
                if self.settings.routes.iter().any(|own| own.name == route) {
                    self.kept.insert(route.to_owned(), kept);
                } else {
                    let waits = kept.digest.map_or(0, |digest| digest.count);
                    self.removed.push((route.to_owned(), waits));
                }
            } else if name == RECENT_ENTRY {
                self.recent = serde_json::from_value(value).map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn restore_incident(&mut self, incident: Incident) {
        let id = incident.id.clone();
        let watch = self.settings.rules.iter().find(|watch| watch.rule == incident.rule);
        let same_kind = watch.is_some_and(|watch| {
            watch.one
                == (incident.group.is_empty()
                    && incident.holds_for.iter().any(|one| !one.is_empty()))
                || incident.holds_for.iter().all(String::is_empty)
        });
        match watch {
            None => self.orphans.push((id.clone(), "its rule was removed")),
            Some(watch) if watch.version != incident.version || !same_kind => {
                self.orphans.push((id.clone(), "its rule was changed"));
            }
            Some(watch) => {
                let place = if watch.one { None } else { incident.holds_for.first().cloned() };
                let place = (incident.rule.clone(), place.unwrap_or_default());
                self.places.insert(place, id.clone());
                self.due.insert((self.now, id.clone()));
            }
        }
        self.open.insert(id, incident);
    }

    /// What is to be done once after a start, because the configuration may be another one.
    pub(super) fn after_start(&mut self, out: &mut Outcome) {
        for (id, why) in std::mem::take(&mut self.orphans) {
            self.resolve(&id, self.now, (why.to_owned(), Map::new()), out);
        }
        self.look_at_moment(out);
        for (route, count) in std::mem::take(&mut self.removed) {
            out.routes.insert(route);
            if count > 0 {
                *self.counts.held_back.entry(REMOVED.into()).or_default() += count;
            }
        }
        for (id, why) in std::mem::take(&mut self.void) {
            let Some(quiet) = self.silences.get_mut(&id) else { continue };
            let says = format!("silences nothing any more: matching {why}");
            quiet.silence.void = Some(why);
            out.silences.insert(id, Some(quiet.silence.clone()));
            self.log(Change::of(self.now, What::SilenceVoid, None, says), out);
        }
    }
}
