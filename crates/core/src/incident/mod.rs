//! Whom to tell what, once.
//!
//! Two kinds of thing are told, and never mixed. An *incident* holds for a time: a rule says that
//! something stands out, until it says that this is over. An *occurrence* is a moment: a session that was
//! abandoned, a match of a pattern. The [`Desk`] keeps the incidents that are open, knows what keeps
//! them quiet (an acknowledgement, a silence, maintenance, another incident, a budget), and decides
//! which notification goes out on which route.
//!
//! It is part of the keeper, so that what it decides is in the same commit as what it decided on: after a
//! crash no notification is forgotten and none is made twice. Event time decides, and what happens by
//! time alone happens at its own time, wherever barriers lie.

mod command;
mod desk;
mod digest;
mod edges;
mod hours;
mod kept;
mod notification;
mod pending;
mod recipient;
mod route;
mod silence;
mod standing;
mod tell;
#[cfg(test)]
mod tests;
mod words;

pub use command::{Command, Refused};
pub use desk::{Desk, DeskCounts, DeskSettings, Outcome, Says, Signal, Watch};
pub use hours::Hours;
pub use notification::{Notification, Step, notification_key};
pub use pending::Pending;
pub use recipient::Recipient;
pub use route::{Of, Route};
pub use silence::{Maintenance, Silence};
pub use standing::SEVERITIES;
pub use words::{Attributes, Subject};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::alert::alert_id;
use crate::time::EpochMs;

/// Something that a rule says holds, from when it was found until it is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// 32 hex digits, a function of rule, group and `fired`.
    pub id: String,
    /// The rule.
    pub rule: String,
    /// Which version of it: 16 hex digits that change with whatever decides when it fires.
    pub version: String,
    /// The metric that it watches.
    pub metric: String,
    /// Labels of the group that it is about; empty for a metric without groups, and when all groups
    /// of a rule are one incident.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub group: BTreeMap<String, String>,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// One sentence for a person.
    pub title: String,
    /// When the first window that stands out began.
    pub since: EpochMs,
    /// When the rule was sure of it.
    pub fired: EpochMs,
    /// The facts: value, what was expected, how far outside, why it moved.
    pub detail: Map<String, Json>,
    /// Where it says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// The groups that it holds for now, as text: one empty text for a metric without groups.
    pub holds_for: BTreeSet<String>,
    /// How many groups it has held for since.
    pub held_for: u64,
    /// Who takes care of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Said>,
    /// Nobody is told before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snoozed: Option<Snooze>,
    /// What keeps it quiet now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted: Option<Muted>,
    /// When it was over, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,
    /// Whom it was told, by route.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, Told>,
}

/// What somebody said, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// When, in event time.
    pub at: EpochMs,
    /// Who.
    pub by: String,
    /// What they added; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Nobody is told for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snooze {
    /// Until when.
    pub until: EpochMs,
    /// Who said so.
    pub by: String,
}

/// An incident that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// When.
    pub at: EpochMs,
    /// Why: "back to usual".
    pub why: String,
    /// The facts that its rule gave with that: how long it stood out, and how far at most.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Json>,
}

/// What keeps an incident quiet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", content = "which", rename_all = "snake_case")]
pub enum Muted {
    /// A silence, by its id.
    Silence(String),
    /// Maintenance, by its name.
    Maintenance(String),
    /// It was snoozed.
    Snooze,
    /// An incident of another rule, by that rule's name.
    Rule(String),
}

/// What a route was told of an incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// The channel that heard of it last; empty while none has, and where that was not kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// When its beginning was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<EpochMs>,
    /// When it was told last that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<EpochMs>,
    /// How often it was told again.
    pub again: u64,
    /// That somebody takes care of it was told.
    pub acknowledged: bool,
    /// Its end was told.
    pub ended: bool,
    /// Why nothing more is told now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
}

/// Why a route is not told of something now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waits {
    /// It was told, and is not told again.
    Told,
    /// It is told again when its time has come.
    Repeat,
    /// Not long enough unacknowledged.
    After,
    /// Somebody takes care of it.
    Acknowledged,
    /// A silence, maintenance, a snooze, or another incident keeps it quiet.
    Muted,
    /// It lies further back than `notify_max_age`: the log is being caught up with.
    TooOld,
    /// The route has quiet hours.
    Quiet,
    /// The route has had as many as it may.
    Budget,
}

impl Waits {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Waits::Told => "told",
            Waits::Repeat => "repeat",
            Waits::After => "after",
            Waits::Acknowledged => "acknowledged",
            Waits::Muted => "muted",
            Waits::TooOld => "too_old",
            Waits::Quiet => "quiet",
            Waits::Budget => "budget",
        }
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Waits::Told => "it was told",
            Waits::Repeat => "it is told again later",
            Waits::After => "it waited to be left unacknowledged for long enough",
            Waits::Acknowledged => "somebody took care of it",
            Waits::Muted => "it was kept quiet",
            Waits::TooOld => "it lay further back than notify_max_age",
            Waits::Quiet => "the route had quiet hours",
            Waits::Budget => "the route had no room for more",
        })
    }
}

impl fmt::Display for Muted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Muted::Silence(id) => write!(out, "silence {id} keeps it quiet"),
            Muted::Maintenance(name) => write!(out, "maintenance {name} keeps it quiet"),
            Muted::Snooze => out.write_str("it is snoozed"),
            Muted::Rule(rule) => write!(out, "an incident of {rule} keeps it quiet"),
        }
    }
}

/// Where an incident stands, for people and for those who look for some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It stands out, not for long enough yet: no incident so far, and nobody is told. See [`Pending`].
    Pending,
    /// It holds, and nobody takes care of it yet.
    Firing,
    /// It holds, and somebody takes care of it.
    Acknowledged,
    /// It holds, and nobody is told.
    Silenced,
    /// It is over.
    Resolved,
}

impl Phase {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Firing => "firing",
            Phase::Acknowledged => "acknowledged",
            Phase::Silenced => "silenced",
            Phase::Resolved => "resolved",
        }
    }
}

impl Incident {
    /// Where it stands.
    pub fn phase(&self) -> Phase {
        match (&self.resolved, &self.acknowledged, &self.muted) {
            (Some(_), ..) => Phase::Resolved,
            (_, Some(_), _) => Phase::Acknowledged,
            (_, _, Some(_)) => Phase::Silenced,
            _ => Phase::Firing,
        }
    }
}

/// One line of the log of what was done, by the engine or by people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its place, from 1 for the first of a data folder.
    pub n: u64,
    /// When, in event time.
    pub at: EpochMs,
    /// What happened.
    pub what: What,
    /// The incident; empty for what is about none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub incident: String,
    /// Its rule, and how much it matters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// `info`, `warning` or `critical`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub severity: String,
    /// Labels of the group that this is about.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub group: BTreeMap<String, String>,
    /// Who did it; empty for the engine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// One sentence for a person.
    pub says: String,
    /// What the rule said with it: value, what was expected, how far outside, since when, why it moved.
    /// Of what begins, grows, shrinks and ends.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Json>,
}

impl Change {
    /// A line about an incident, or about none; its number is not given yet.
    pub(super) fn of(
        at: EpochMs,
        what: What,
        about: Option<&Incident>,
        says: impl Into<String>,
    ) -> Change {
        let text = |of: fn(&Incident) -> &String| about.map(of).cloned().unwrap_or_default();
        Change {
            n: 0,
            at,
            what,
            incident: text(|one| &one.id),
            rule: text(|one| &one.rule),
            severity: text(|one| &one.severity),
            group: about.map(|one| one.group.clone()).unwrap_or_default(),
            by: String::new(),
            says: says.into(),
            detail: Map::new(),
        }
    }
}

/// The id of the incident of a rule that begins at this time: of a group, or of all of them, where `group`
/// is empty.
pub fn incident_id(rule: &str, group: &str, fired: EpochMs) -> String {
    alert_id("incident", &format!("{rule}\0{group}"), fired)
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An incident began.
    Fired,
    /// It holds for a further group.
    Grew,
    /// It holds for one group less.
    Shrank,
    /// A rule says that something holds, and there were too many incidents to open one.
    NotOpened,
    /// Somebody takes care of it.
    Acknowledged,
    /// Nobody is told of it any more.
    Muted,
    /// Nothing keeps it quiet any more.
    Unmuted,
    /// Nobody is told for a while.
    Snoozed,
    /// It is over.
    Resolved,
    /// A silence was made.
    Silenced,
    /// A silence was ended by somebody.
    Unsilenced,
    /// A silence is over.
    SilenceOver,
    /// A silence names what is not known any more, and silences nothing.
    SilenceVoid,
    /// A notification goes out.
    Told,
    /// A notification does not go out, for good.
    HeldBack,
}

impl What {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            What::Fired => "fired",
            What::Grew => "grew",
            What::Shrank => "shrank",
            What::NotOpened => "not_opened",
            What::Acknowledged => "acknowledged",
            What::Muted => "muted",
            What::Unmuted => "unmuted",
            What::Snoozed => "snoozed",
            What::Resolved => "resolved",
            What::Silenced => "silenced",
            What::Unsilenced => "unsilenced",
            What::SilenceOver => "silence_over",
            What::SilenceVoid => "silence_void",
            What::Told => "told",
            What::HeldBack => "held_back",
        }
    }
}
