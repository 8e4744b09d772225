//! What a commit holds of nudges, and how the next start takes it up.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

use super::desk::{Changed, Gone, Nudges, State};
use super::seal::{Hash, Suppressed, id};
use crate::time::EpochMs;

const NUMBERS: &str = "nudge/";
const PERSON: &str = "nudge_key/";
const COMPARED: &str = "nudge_compared/";
const WAITING: &str = "nudge_waiting/";
const SUPPRESSED: &str = "nudge_suppressed/";

impl Nudges {
    /// What a commit holds so that the next start finds all of it: entries by name, `null` for those
    /// that are gone.
    pub fn entries(&mut self) -> BTreeMap<String, Json> {
        let Changed { numbers, people, compared, waiting, suppressed, dropped } =
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
        entries.extend(compared.into_iter().map(|(nudge, key)| {
            let compared = self.states[nudge].compared.contains(&key).then_some(true);
            (format!("{COMPARED}{}/{key:016x}", name(nudge)), json(compared.as_ref()))
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
        [NUMBERS, PERSON, COMPARED, WAITING, SUPPRESSED].iter().any(|kind| name.starts_with(kind))
    }

    /// Takes up the entries of the last commit; `known`: up to where everything was known then. What is
    /// kept of nudges that are no more is dropped, but for those who want to hear nothing. A nudge that
    /// compares something else now begins to count anew, and goes on knowing whom it has told. Both are
    /// told by [`Nudges::dropped`].
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
                let Gone { keys, waiting } = self.gone.entry(parts[1].to_owned()).or_default();
                *keys += usize::from(name.starts_with(PERSON));
                *waiting += usize::from(name.starts_with(WAITING));
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
            } else if name.starts_with(COMPARED) {
                state.compared.insert(key()?);
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
        for nudge in self.anew.clone() {
            let State { numbers, people, compared, .. } = &mut self.states[nudge];
            (numbers.arms, numbers.outcomes, numbers.not_compared) = Default::default();
            let before = std::mem::take(compared);
            self.changed.compared.extend(before.into_iter().map(|key| (nudge, key)));
            for (key, person) in people.iter_mut().filter(|(_, one)| !one.running.is_empty()) {
                person.running.clear();
                self.changed.people.insert((nudge, *key));
            }
            people.retain(|_, person| !person.times.is_empty());
        }
    }

    /// What the last start dropped, in sentences: what was kept of nudges that are no more, and
    /// comparisons that began anew.
    pub fn dropped(&self) -> Vec<String> {
        let gone = self.gone.iter().map(|(name, Gone { keys, waiting })| {
            format!(
                "nudge {name} is not in the configuration any more: its comparison is forgotten, and so \
                 are how often it told {keys} keys, and {waiting} sessions that waited to be decided"
            )
        });
        let anew = self.anew.iter().map(|nudge| {
            let name = &self.settings.nudges[*nudge].name;
            format!("nudge {name} compares something else than before: its comparison begins anew")
        });
        gone.chain(anew).collect()
    }

    fn check_secrets(&self) -> Result<(), String> {
        // Without a secret nobody is told.
        if self.settings.seals.is_empty() {
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
