//! What an edited configuration does to what a data folder keeps, as sentences: of what was
//! done, at a start, and of what would be done, before it.

use std::collections::BTreeMap;

/// What metrics and rules are, as the configuration says it: of each by its subject (`metric
/// orders`, `rule spike`) the keys that decide its numbers, with their values as TOML.
pub type Meanings = BTreeMap<String, BTreeMap<String, String>>;

/// A key that has another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// As the configuration calls it.
    pub key: String,
    /// As TOML; `None` where it was not set.
    pub was: Option<String>,
    /// As TOML; `None` where it is not set.
    pub is: Option<String>,
}

/// Which keys of a subject are others; of a rule also those of its metric.
pub(super) fn edits(subject: &str, was: &Meanings, is: &Meanings) -> Vec<Edit> {
    let (Some(before), Some(after)) = (was.get(subject), is.get(subject)) else {
        return Vec::new();
    };
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    let mut found: Vec<Edit> = changed
        .map(|key| Edit {
            key: key.clone(),
            was: before.get(key).cloned(),
            is: after.get(key).cloned(),
        })
        .collect();
    if let Some(name) = after.get("metric").filter(|name| before.get("metric") == Some(*name)) {
        // A rule names its metric as TOML, which is the name between quotes.
        let metric = format!("metric {}", name.trim_matches('"'));
        let of_metric = edits(&metric, was, is).into_iter();
        found.extend(
            of_metric.map(|edit| Edit { key: format!("{} of {metric}", edit.key), ..edit }),
        );
    }
    found
}

impl Edit {
    fn words(&self) -> String {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        format!("{} was {}, is {}", self.key, value(&self.was), value(&self.is))
    }
}

/// What was edited, and what that means, as one sentence.
fn changed(subject: &str, edits: &[Edit], what_if_unknown: &str, so: &str) -> String {
    match edits {
        // It was kept by a version that did not note it, or is too long to be noted whole.
        [] => format!("{subject} means something else than {what_if_unknown}: {so}"),
        edits => {
            let words: Vec<String> = edits.iter().map(Edit::words).collect();
            format!("{subject}: {}: {so}", words.join("; "))
        }
    }
}

/// One thing that is kept, or declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// `metric orders`, `rule spike`, `session.gap`.
    pub subject: String,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It keeps its history.
    Kept,
    /// It keeps its history, which was kept under this name.
    Renamed(String),
    /// Something else was kept under its name: that is dropped. With the keys that make it
    /// another one, as far as they are known.
    Changed(Vec<Edit>),
    /// It is declared no more: what is kept is dropped.
    Gone,
    /// Nothing is kept of it yet.
    New,
    /// A setting of sessions has another value.
    Setting {
        /// As TOML.
        was: String,
        /// As TOML.
        is: String,
        /// Open sessions.
        open: i64,
    },
}

impl Outlook {
    /// What was done at a start; `None` when there is nothing to say.
    pub fn done(&self) -> Option<String> {
        let subject = &self.subject;
        Some(match &self.fate {
            Fate::Kept | Fate::New => return None,
            Fate::Renamed(was) => format!("{subject} was called {was} and keeps its history"),
            Fate::Changed(edits) => changed(
                subject,
                edits,
                "at the last start",
                "its history is dropped and begins anew",
            ),
            Fate::Gone => format!("{subject} is declared no more: its history is dropped"),
            Fate::Setting { was, is, open } => {
                format!("{subject} is {is}, it was {was}: {}", of_sessions(subject, is, *open))
            }
        })
    }

    /// What a start would do.
    pub fn ahead(&self) -> String {
        let subject = &self.subject;
        match &self.fate {
            Fate::Kept => format!("{subject} keeps its history"),
            Fate::New => format!("{subject} is new: it begins with the next events"),
            Fate::Renamed(was) => {
                format!("{subject} is what is kept as {was}: it keeps that history under its name")
            }
            Fate::Changed(edits) => changed(
                subject,
                edits,
                "what is kept",
                "the history that is kept would be dropped, and begin anew",
            ),
            Fate::Gone => {
                format!("{subject} is kept and not declared: its history would be dropped")
            }
            Fate::Setting { .. } => self.done().unwrap_or_default(),
        }
    }

    /// What becomes of it, as one word for machines.
    pub fn fate(&self) -> &'static str {
        match self.fate {
            Fate::Kept => "kept",
            Fate::Renamed(_) => "renamed",
            Fate::Changed(_) => "changed",
            Fate::Gone => "gone",
            Fate::New => "new",
            Fate::Setting { .. } => "setting",
        }
    }

    /// True when history is lost by it.
    pub fn loses(&self) -> bool {
        matches!(self.fate, Fate::Changed(_) | Fate::Gone)
    }
}

/// What another value of a setting does to open sessions: their records keep what was counted,
/// and everything else is decided by the settings of the day.
fn of_sessions(key: &str, is: &str, open: i64) -> String {
    if open <= 0 {
        return "no session is open, the next ones go by it".into();
    }
    let what = match key {
        "session.gap" => "end by it, too, so long after their last event",
        "session.deadline" if is.contains("since_entry") => {
            "end as closed: their entries so far are of no cart, are neither abandoned nor \
             converted, and are not at risk any more"
        }
        "session.deadline" => {
            "are judged by it whole, those of their carts that are open by the former one as well"
        }
        "session.entry" | "session.goal" | "session.remove" => {
            "keep what they have counted; it holds for their next events"
        }
        "session.steps" => "keep the number of their step, which may be called otherwise now",
        "session.max_length" => "are measured by it from their next event on",
        "session.value" => "keep the value they have added up; it holds for their next events",
        "session.segment" => "keep their segment until an event brings another",
        "session.currency" => "keep their amounts, as all totals do: nothing is converted",
        "events.key" => "are of the former key and end by silence; events open others",
        _ => "go by it from their next event on",
    };
    format!("sessions that are open ({open}) {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meanings(of: &[(&str, &[(&str, &str)])]) -> Meanings {
        let text = |(key, value): &(&str, &str)| (String::from(*key), String::from(*value));
        of.iter()
            .map(|(subject, keys)| (String::from(*subject), keys.iter().map(text).collect()))
            .collect()
    }

    fn said(subject: &str, was: &Meanings, is: &Meanings) -> String {
        let fate = Fate::Changed(edits(subject, was, is));
        Outlook { subject: subject.into(), fate }.done().unwrap()
    }

    #[test]
    fn the_keys_that_make_it_another_one_are_named() {
        let was = meanings(&[
            ("metric lost", &[("of", "\"events\""), ("window", "\"5m\"")]),
            ("rule spike", &[("metric", "\"lost\""), ("k", "3")]),
        ]);
        let is = meanings(&[
            (
                "metric lost",
                &[("field", "\"amount\""), ("of", "\"events\""), ("window", "\"10m\"")],
            ),
            ("rule spike", &[("metric", "\"lost\""), ("k", "3")]),
        ]);
        assert_eq!(
            said("metric lost", &was, &is),
            "metric lost: field was not set, is \"amount\"; window was \"5m\", is \"10m\": its \
             history is dropped and begins anew"
        );
        assert_eq!(
            said("rule spike", &was, &is),
            "rule spike: field of metric lost was not set, is \"amount\"; window of metric lost was \
             \"5m\", is \"10m\": its history is dropped and begins anew"
        );
        let faster = meanings(&[("rule spike", &[("metric", "\"lost\""), ("k", "4")])]);
        assert!(said("rule spike", &was, &faster).starts_with("rule spike: k was 3, is 4: "));
        // Of a state that does not say it.
        assert_eq!(
            said("metric lost", &Meanings::new(), &is),
            "metric lost means something else than at the last start: its history is dropped and \
             begins anew"
        );
    }
}
