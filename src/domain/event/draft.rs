//! An event in the making: takes the attributes that the schema uses, one after the
//! other, and names the rule that a bad one breaks.
//!
//! Native events and CloudEvents share it; they differ in where it is told to look.
//! `walk` brings the attributes, `decode` and `cloudevent` check what came together.

use std::fmt::Write;

use serde::de::DeserializeSeed;

use super::decode::ParsedValue;
use super::names::{Name, Names, role};
use super::time_text;
use super::value::{Raw, Text};
use super::walk::Walk;
use super::{Limits, Schema};
use crate::domain::number::Decimal;
use crate::domain::time::EpochMs;

/// A slot whose text lies in the scratch space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    slot: u16,
    start: usize,
    len: usize,
}

/// Which attributes the present event has shown, told apart from those of earlier
/// events by a stamp, so that nothing needs to be cleared between two events.
#[derive(Debug)]
pub(super) struct Seen {
    stamp: u64,
    /// By name: the stamp of the object it was seen in.
    names: Vec<u64>,
    /// By attribute: the stamp of the event, and the rank of the value taken.
    taken: Vec<(u64, u8)>,
}

impl Seen {
    /// For this many names.
    pub fn new(names: usize) -> Self {
        Seen { stamp: 0, names: vec![0; names], taken: vec![(0, 0); names] }
    }
}

/// Where the object being walked stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A native event.
    Native,
    /// The outer object of a CloudEvent.
    Envelope,
    /// The `data` of a CloudEvent.
    Data,
}

/// The attributes of a CloudEvent that are not extensions.
pub(super) const CONTEXT: [&str; 9] = [
    "specversion",
    "type",
    "id",
    "source",
    "time",
    "subject",
    "data",
    "data_base64",
    "datacontenttype",
];

/// What the attributes of a CloudEvent's envelope said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Envelope<'de> {
    pub source: Text<'de>,
    pub subject: Text<'de>,
    /// Which attributes of [`CONTEXT`] were there, as bits.
    shown: u16,
}

/// The event so far. `'de`: the event's bytes; `'w`: the decoder's scratch space.
pub(super) struct Draft<'de, 'w> {
    pub names: &'w Names,
    pub limits: &'w Limits,
    pub scratch: &'w mut String,
    pub patches: &'w mut Vec<Patch>,
    pub seen: &'w mut Seen,
    pub values: Vec<ParsedValue<'de>>,
    pub at: Option<EpochMs>,
    pub kind: Text<'de>,
    pub id: Text<'de>,
    pub key: Text<'de>,
    pub envelope: Envelope<'de>,
    /// The native walk met `specversion` and stopped.
    pub is_cloudevent: bool,
    /// The rule that was broken; the JSON reader's own words otherwise.
    pub failure: Option<String>,
    /// Attributes so far, over all objects walked.
    attributes: usize,
    /// The attribute being read, to name it should its value not be JSON.
    pub reading: Option<u16>,
}

impl<'de, 'w> Draft<'de, 'w> {
    /// An empty draft with `values`, which is cleared and given a value for each slot.
    pub fn new(
        schema: &'w Schema,
        names: &'w Names,
        scratch: &'w mut String,
        patches: &'w mut Vec<Patch>,
        seen: &'w mut Seen,
        mut values: Vec<ParsedValue<'de>>,
    ) -> Self {
        values.clear();
        values.resize(schema.slots.len(), ParsedValue::Missing);
        scratch.clear();
        patches.clear();
        // Two stamps an event: a CloudEvent has two objects.
        seen.stamp += 2;
        Draft {
            names,
            limits: &schema.limits,
            scratch,
            patches,
            seen,
            values,
            at: None,
            kind: Text::None,
            id: Text::None,
            key: Text::None,
            envelope: Envelope::default(),
            is_cloudevent: false,
            failure: None,
            attributes: 0,
            reading: None,
        }
    }

    /// Reads `text` as one object standing at `place`.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn read(&mut self, text: &'de str, place: Place) -> Result<(), String> {
        let mut json = serde_json::Deserializer::from_str(text);
        let read = Walk { draft: self, place }.deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|error| self.explain(&error))
    }

    fn explain(&mut self, error: &serde_json::Error) -> String {
        match (self.failure.take(), self.reading) {
            (Some(rule), _) => rule,
            (None, Some(index)) => {
                format!("not JSON in attribute {:?}: {error}", self.names.get(index).text)
            }
            (None, None) => format!("not JSON: {error}"),
        }
    }

    /// Counts an attribute and checks the rules that hold for all of them.
    pub fn admit(&mut self, name: &str) -> Result<(), String> {
        self.attributes += 1;
        if self.attributes > self.limits.attributes {
            return Err(format!("more than {} attributes", self.limits.attributes));
        }
        if name.len() > self.limits.key_bytes {
            return Err(format!(
                "an attribute's name of {} bytes is longer than {}",
                name.len(),
                self.limits.key_bytes
            ));
        }
        Ok(())
    }

    /// Takes the value of a used attribute.
    #[inline]
    pub fn take(&mut self, index: u16, raw: Raw<'de>, place: Place) -> Result<(), String> {
        let name = self.names.get(index);
        if place == Place::Data && name.roles & role::TYPE != 0 {
            // The type of a CloudEvent is that of its envelope.
            return Ok(());
        }
        let stamp = self.seen.stamp + u64::from(place == Place::Data);
        if std::mem::replace(&mut self.seen.names[usize::from(index)], stamp) == stamp {
            return Err(format!("attribute {:?} stands there twice", name.text));
        }
        if raw == Raw::Null {
            return Ok(());
        }
        // A name before its aliases, the data of a CloudEvent before its envelope.
        let rank = name.rank + if place == Place::Envelope { 128 } else { 0 };
        let taken = &mut self.seen.taken[usize::from(name.attribute)];
        if taken.0 == self.seen.stamp && taken.1 <= rank {
            return Ok(());
        }
        *taken = (self.seen.stamp, rank);
        self.play(name, raw, place)
    }

    /// Takes a text for an attribute that is used and was not there.
    pub fn fill_in(&mut self, name: &str, text: Text<'de>, place: Place) -> Result<(), String> {
        let Some(index) = self.names.find(name) else { return Ok(()) };
        let name = self.names.get(index);
        let taken = &mut self.seen.taken[usize::from(name.attribute)];
        // The key of a CloudEvent may have come from its subject.
        let has_key = name.roles & role::KEY != 0 && self.key != Text::None;
        if taken.0 == self.seen.stamp || has_key {
            return Ok(());
        }
        *taken = (self.seen.stamp, name.rank);
        self.play(name, Raw::Text(text), place)
    }

    /// Gives a value to the parts that its attribute plays.
    #[inline]
    fn play(&mut self, name: &'w Name, raw: Raw<'de>, place: Place) -> Result<(), String> {
        if let Raw::Text(text) = raw {
            self.check_text(&name.text, text)?;
        }
        if name.roles & role::SLOT != 0 {
            self.fill(name, raw);
        }
        if name.roles & role::KEY != 0 {
            self.key = self.label(&name.text, raw)?;
        }
        if place == Place::Native {
            if name.roles & role::TS != 0 {
                self.at = Some(time(&name.text, raw, self.scratch)?);
            }
            if name.roles & role::TYPE != 0 {
                self.kind = self.text(&name.text, raw)?;
            }
            if name.roles & role::ID != 0 {
                self.id = self.label(&name.text, raw)?;
            }
        }
        Ok(())
    }

    fn check_text(&self, name: &str, text: Text<'_>) -> Result<(), String> {
        if text.len() > self.limits.text_bytes {
            return Err(format!(
                "attribute {name:?}: a text of {} bytes is longer than {}",
                text.len(),
                self.limits.text_bytes
            ));
        }
        Ok(())
    }

    /// Puts a value into the slot of `name`.
    #[inline]
    fn fill(&mut self, name: &Name, raw: Raw<'de>) {
        if !self.patches.is_empty() {
            // This value ranks higher than the one that was to be put in.
            self.patches.retain(|patch| patch.slot != name.slot);
        }
        let value = match raw {
            Raw::Null | Raw::Nested | Raw::Text(Text::None) => ParsedValue::Missing,
            Raw::Bool(value) => ParsedValue::Bool(value),
            Raw::Text(Text::Borrowed(text)) => ParsedValue::Text(text),
            Raw::Text(Text::Copied(start, len)) => {
                self.patches.push(Patch { slot: name.slot, start, len });
                ParsedValue::Text("")
            }
            Raw::Int(number) => ParsedValue::Number(Decimal::from_i64(number)),
            Raw::Huge(number) => ParsedValue::Number(Decimal::from_u64(number)),
            Raw::Float(number) => {
                Decimal::from_f64(number).map_or(ParsedValue::Missing, ParsedValue::Number)
            }
        };
        self.values[usize::from(name.slot)] = value;
    }

    /// Text, or an integer as its decimal text.
    fn label(&mut self, name: &str, raw: Raw<'de>) -> Result<Text<'de>, String> {
        match raw {
            Raw::Text(text) => Ok(text),
            Raw::Int(_) | Raw::Huge(_) => {
                let start = self.scratch.len();
                write!(self.scratch, "{raw}").expect("writing to a String cannot fail");
                Ok(Text::Copied(start, self.scratch.len() - start))
            }
            other => {
                Err(format!("attribute {name:?} must be text or an integer, not {}", other.name()))
            }
        }
    }

    /// Text and nothing else.
    fn text(&self, name: &str, raw: Raw<'de>) -> Result<Text<'de>, String> {
        match raw {
            Raw::Text(text) => Ok(text),
            other => Err(format!("attribute {name:?} must be text, not {}", other.name())),
        }
    }

    /// Text of a CloudEvent's envelope, `null` being as good as absent.
    fn envelope_text(&self, name: &str, raw: Raw<'de>) -> Result<Text<'de>, String> {
        match raw {
            Raw::Null => Ok(Text::None),
            Raw::Text(text) => {
                self.check_text(name, text)?;
                Ok(text)
            }
            other => self.text(name, other),
        }
    }

    /// Takes attribute `at` of [`CONTEXT`].
    pub fn take_context(&mut self, at: u8, raw: Raw<'de>) -> Result<(), String> {
        let name = CONTEXT[usize::from(at)];
        if self.envelope.shown & (1 << at) != 0 {
            return Err(format!("attribute {name:?} stands there twice"));
        }
        self.envelope.shown |= 1 << at;
        match name {
            "specversion" => {
                let version = self.envelope_text(name, raw)?.get(self.scratch);
                if version.is_empty() {
                    return Err("CloudEvent: \"specversion\" is missing".to_owned());
                }
                if version != "1.0" {
                    return Err(format!("CloudEvent: specversion {version:?} is not \"1.0\""));
                }
            }
            "time" if raw != Raw::Null => self.at = Some(time(name, raw, self.scratch)?),
            "type" => self.kind = self.envelope_text(name, raw)?,
            "id" => self.id = self.envelope_text(name, raw)?,
            "source" => self.envelope.source = self.envelope_text(name, raw)?,
            "subject" => self.envelope.subject = self.envelope_text(name, raw)?,
            _ => {}
        }
        match self.names.find(name) {
            Some(index) => self.take(index, raw, Place::Envelope),
            None => Ok(()),
        }
    }
}

/// The slots, with the texts that lie in the scratch space put in.
pub(super) fn patched<'a>(values: &mut [ParsedValue<'a>], patches: &[Patch], scratch: &'a str) {
    for patch in patches {
        let text = &scratch[patch.start..patch.start + patch.len];
        values[usize::from(patch.slot)] = ParsedValue::Text(text);
    }
}

/// An event time: epoch milliseconds or RFC 3339 text.
fn time(name: &str, raw: Raw<'_>, scratch: &str) -> Result<EpochMs, String> {
    let millis = match raw {
        Raw::Int(number) => Some(number),
        Raw::Huge(_) => None,
        Raw::Float(number) if number.fract() != 0.0 => {
            return Err(format!("attribute {name:?}: {raw} is not a whole number of milliseconds"));
        }
        // Saturates where it does not fit, and is then out of range as well.
        Raw::Float(number) => Some(number as EpochMs),
        Raw::Text(text) => {
            let text = text.get(scratch);
            return time_text::rfc3339(text).ok_or_else(|| {
                let text: String = text.chars().take(40).collect();
                format!("attribute {name:?}: {text:?} is not a time by RFC 3339")
            });
        }
        other => {
            let found = other.name();
            return Err(format!(
                "attribute {name:?} must be epoch milliseconds or a time by RFC 3339, not {found}"
            ));
        }
    };
    let in_range = millis.filter(|at| (time_text::EARLIEST..=time_text::LATEST).contains(at));
    in_range.ok_or_else(|| format!("attribute {name:?}: {raw} lies outside the years 0 to 9999"))
}
