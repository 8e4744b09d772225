//! What a source knew of one event besides its bytes, kept with a dead letter so that it can be
//! sent again as it was meant.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::context::{CONTEXT, PREFIX};
use super::names::{Names, role};
use super::{Note, NoteTime};
use crate::time::EpochMs;

/// When the broker stored it, where that is the time of an event without one of its own.
const TIME_FILLS: &str = "broker-time-if-absent";
/// When the broker stored it, where that is the time of every event.
const TIME_RULES: &str = "broker-time";

/// The source never had it.
const NEVER_SENT: &str = "never-sent";

/// Attributes by name, from a message's subject and headers. Mostly empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hints(BTreeMap<String, String>);

impl Hints {
    /// What `note` offers to event `part` of its item (`None`: it is the only one).
    pub(super) fn of(note: &Note, names: &[String], part: Option<u32>) -> Self {
        let attribute = |(name, text): &(u8, compact_str::CompactString)| {
            Some((names.get(usize::from(*name))?.clone(), text.to_string()))
        };
        let mut hints: BTreeMap<_, _> = note.attributes.iter().filter_map(attribute).collect();
        match note.time {
            NoteTime::None => {}
            NoteTime::Fills(at) => drop(hints.insert(TIME_FILLS.to_owned(), at.to_string())),
            NoteTime::Rules(at) => drop(hints.insert(TIME_RULES.to_owned(), at.to_string())),
        }
        if let Some(fault) = &note.fault {
            hints.extend(fault.context.iter().cloned());
        }
        if !note.id.is_empty() {
            hints.insert("id".to_owned(), note.id_of(part));
        }
        Hints(hints)
    }

    /// Of an event that was refused before it was sent to where it would have been read.
    pub fn never_sent() -> Self {
        Hints(BTreeMap::from([(NEVER_SENT.to_owned(), "true".to_owned())]))
    }

    /// Whether it lies in its source at all, at the position that its dead letter names.
    pub fn was_sent(&self) -> bool {
        !self.0.contains_key(NEVER_SENT)
    }

    /// True when the bytes are all there is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the broker stored it, if that is to be the event's time.
    pub fn time(&self) -> NoteTime {
        let at = |name| self.0.get(name)?.parse::<EpochMs>().ok();
        match (at(TIME_RULES), at(TIME_FILLS)) {
            (Some(at), _) => NoteTime::Rules(at),
            (None, Some(at)) => NoteTime::Fills(at),
            (None, None) => NoteTime::None,
        }
    }

    /// How the bytes are packed, if they were not unpacked.
    pub(super) fn packing(&self) -> Option<&str> {
        self.0.get("content-encoding").map(String::as_str)
    }

    /// The event with the attributes that it leaves open written into it, for
    /// `Decoder::again`; `None` when the bytes are no JSON object.
    pub(super) fn write_into(&self, raw: &[u8], names: &Names) -> Option<Vec<u8>> {
        let Members(mut members) = serde_json::from_slice(raw).ok()?;
        let is_there = |member: &(String, Box<RawValue>)| member.1.get() != "null";
        let has = |members: &[(String, Box<RawValue>)], name: &str| {
            members.iter().any(|member| member.0 == name && is_there(member))
        };
        let is_cloudevent = members.iter().any(|member| member.0 == "specversion");
        for (name, text) in self.0.iter().filter(|(name, _)| !is_header(name)) {
            let used = names.find(name).map(|index| names.get(index));
            let same = |member: &(String, Box<RawValue>)| match (used, names.find(&member.0)) {
                (Some(used), Some(found)) => names.get(found).attribute == used.attribute,
                _ => member.0 == *name,
            };
            // A CloudEvent has its own context, and its subject is its key.
            let is_key = used.is_some_and(|name| name.roles & role::KEY != 0);
            let settled = is_cloudevent
                && (CONTEXT.contains(&name.as_str()) || (is_key && has(&members, "subject")));
            if settled || members.iter().any(|member| same(member) && is_there(member)) {
                continue;
            }
            let value = serde_json::value::to_raw_value(text).ok()?;
            members.retain(|member| member.0 != *name);
            members.push((name.clone(), value));
        }
        written(&members)
    }
}

/// The event with this id in place of the one that it does not have; `None` when the bytes are
/// no JSON object.
pub(super) fn with_id(raw: &[u8], names: &Names, id: &str) -> Option<Vec<u8>> {
    let Members(mut members) = serde_json::from_slice(raw).ok()?;
    // It may stand there, `null` or empty.
    let is_id = |name: &str| names.find(name).is_some_and(|at| names.get(at).roles & role::ID != 0);
    members.retain(|(name, _)| !is_id(name));
    members.push(("id".to_owned(), serde_json::value::to_raw_value(id).ok()?));
    written(&members)
}

fn written(members: &[(String, Box<RawValue>)]) -> Option<Vec<u8>> {
    let member = |(name, value): &(String, Box<RawValue>)| {
        Some(format!("{}:{}", serde_json::to_string(name).ok()?, value.get()))
    };
    let members: Vec<String> = members.iter().map(member).collect::<Option<_>>()?;
    Some(format!("{{{}}}", members.join(",")).into_bytes())
}

/// What says how the bytes came is not an attribute of the event.
fn is_header(name: &str) -> bool {
    name.starts_with(PREFIX)
        || ["content-type", "content-encoding", TIME_FILLS, TIME_RULES, NEVER_SENT].contains(&name)
}

/// The attributes of a JSON object as they stand there, those that appear twice too.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
