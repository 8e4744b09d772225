//! What a source knew of one event besides its bytes, kept with a dead letter so that it can be
//! sent again as it was meant.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Note;
use super::binding;
use super::draft::CONTEXT;
use super::names::{Names, role};

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
        if let Some(fault) = &note.fault {
            hints.extend(fault.context.iter().cloned());
        }
        if !note.id.is_empty() {
            hints.insert("id".to_owned(), note.id_of(part));
        }
        Hints(hints)
    }

    /// True when the bytes are all there is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        let member = |(name, value): &(String, Box<RawValue>)| {
            Some(format!("{}:{}", serde_json::to_string(name).ok()?, value.get()))
        };
        let members: Vec<String> = members.iter().map(member).collect::<Option<_>>()?;
        Some(format!("{{{}}}", members.join(",")).into_bytes())
    }
}

/// A header of a message that was not unpacked says what the bytes are, and is no attribute:
/// those have no hyphen.
fn is_header(name: &str) -> bool {
    name.starts_with(binding::PREFIX) || name.starts_with("content-")
}

/// The attributes of a JSON object as they stand there, those that stand there twice too.
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
