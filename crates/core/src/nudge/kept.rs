//! What a commit holds of nudges, and how the next start takes it up.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

use super::desk::{Changed, Nudges, State};
use super::seal::{Hash, Suppressed, id};
use crate::time::EpochMs;

const NUMBERS: &str = "nudge/";
const PERSON: &str = "nudge_key/";
const WAITING: &str = "nudge_waiting/";
const SUPPRESSED: &str = "nudge_suppressed/";

impl Nudges {
    /// What a commit holds so that the next start finds all of it: entries by name, `null` for those
    /// that are gone.
    pub fn entries(&mut self) -> BTreeMap<String, Json> {
        let Changed { numbers, people, waiting, suppressed, dropped } =
            std::mem::take(&mut self.changed);
        let name = |nudge: usize| &self.settings.nudges[nudge].name;
        let mut entries: BTreeMap<String, Json> =
            dropped.into_iter().map(|name| (name, Json::Null)).collect();
        entries.extend(numbers.into_iter().map(|nudge| {
            (format!("{NUMBERS}{}", name(nudge)), json(Some(&self.states[nudge].numbers)))
        }));
        entries.extend(people.into_iter().map(|(nudge, key)| {
            let person = self.states[nudge].people.get(&key);
            (format!("{PERSON}{}/{key:016x}", name(nudge)), json(person))
        }));
        entries.extend(waiting.into_iter().map(|(nudge, key, about)| {
            let entry = format!("{WAITING}{}/{key:016x}/{about}", name(nudge));
            (entry, json(self.states[nudge].waiting.get(&(key, about))))
        }));
        entries.extend(suppressed.into_iter().map(|hash| {
            (format!("{SUPPRESSED}{}", hash.text()), json(self.suppressed.get(&hash)))
        }));
        entries
    }

    /// True for the name of an entry of nudges.
    pub fn owns(name: &str) -> bool {
        [NUMBERS, PERSON, WAITING, SUPPRESSED].iter().any(|kind| name.starts_with(kind))
    }

    /// Takes up the entries of the last commit; `known`: up to where everything was known then. What is
    /// kept of nudges that are no more is dropped, but for those who want to hear nothing. A nudge that
    /// compares something else now begins to count anew, and goes on knowing whom it has told.
    ///
    /// # Errors
    /// When one cannot be read, which is a damaged file; or when addresses are suppressed under a secret
    /// that is not known: nobody could tell whom they are.
    pub fn restore(
        &mut self,
        entries: impl IntoIterator<Item = (String, Json)>,
        known: EpochMs,
    ) -> Result<(), String> {
        self.now = known;
        for (name, value) in entries {
            let wrong = |error: serde_json::Error| format!("{name}: {error}");
            let parts: Vec<&str> = name.split('/').collect();
            let malformed = || format!("{name}: is no entry of a nudge");
            if name.starts_with(SUPPRESSED) {
                let hash = Hash::read(parts[1]).ok_or_else(malformed)?;
                let kept: Suppressed = serde_json::from_value(value).map_err(wrong)?;
                self.suppressed.insert(hash, kept);
                continue;
            }
            let nudge = self.settings.nudges.iter().position(|spec| spec.name == parts[1]);
            let Some(nudge) = nudge else {
                self.changed.dropped.insert(name);
                continue;
            };
            let key = || {
                let key = parts.get(2).and_then(|key| u64::from_str_radix(key, 16).ok());
                key.ok_or_else(malformed)
            };
            let state = &mut self.states[nudge];
            if name.starts_with(PERSON) {
                let person = serde_json::from_value(value).map_err(wrong)?;
                state.people.insert(key()?, person);
            } else if name.starts_with(WAITING) {
                let about = parts.get(3).copied().unwrap_or_default().to_owned();
                let waiting = serde_json::from_value(value).map_err(wrong)?;
                state.waiting.insert((key()?, about), waiting);
            } else {
                let of = std::mem::take(&mut state.numbers.of);
                state.numbers = serde_json::from_value(value).map_err(wrong)?;
                if state.numbers.of != of {
                    state.numbers.of.clone_from(&of);
                    self.changed.numbers.insert(nudge);
                    self.anew.push(nudge);
                }
            }
        }
        self.begin_anew();
        self.schedule();
        self.check_secrets()
    }

    /// The comparisons of something else begin with nothing.
    fn begin_anew(&mut self) {
        for nudge in std::mem::take(&mut self.anew) {
            let State { numbers, people, .. } = &mut self.states[nudge];
            (numbers.arms, numbers.outcomes) = Default::default();
            for (key, person) in people.iter_mut().filter(|(_, one)| !one.running.is_empty()) {
                person.running.clear();
                self.changed.people.insert((nudge, *key));
            }
            people.retain(|_, person| !person.times.is_empty());
        }
    }

    fn check_secrets(&self) -> Result<(), String> {
        if !self.any() {
            return Ok(());
        }
        let ids: Vec<String> = self.settings.seals.iter().map(|seal| id(&**seal)).collect();
        let unknown = self.suppressed.values().filter(|one| !ids.contains(&one.under)).count();
        if unknown == 0 {
            return Ok(());
        }
        Err(format!(
            "{unknown} suppressed addresses are kept under another secret than nudges.secret, and \
             without it nobody can tell whose they are: set nudges.secret_before to that one"
        ))
    }
}

fn json(value: Option<&impl Serialize>) -> Json {
    value.and_then(|value| serde_json::to_value(value).ok()).unwrap_or_default()
}
