//! An event in the making: takes the attributes that the schema uses, one after the
//! other, and names the rule that a bad one breaks.
//!
//! Native events and CloudEvents share it; they differ in where it is told to look.
//! A codec brings the attributes, `codec` and `cloudevent` check what came together.

use std::fmt::Write;
use std::sync::LazyLock;

use super::context::{CONTEXT, Level};
use super::names::{Lookup, Name, Names, role};
use super::parsed::ParsedValue;
use super::time_rule::{Guess, NoTime, TimeRule};
use super::value::{Raw, Text};
use super::{Limits, NoteTime, Schema, Unusable};
use crate::number::Decimal;
use crate::time::EpochMs;

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
    taken: Vec<(u64, u16)>,
    /// By part of a key of several: where its text lies in the scratch space.
    key_parts: Vec<Option<(usize, usize)>>,
}

impl Seen {
    /// For this many names.
    pub fn new(names: usize) -> Self {
        Seen { stamp: 0, names: vec![0; names], taken: vec![(0, 0); names], key_parts: Vec::new() }
    }

    /// True when any event has shown the name.
    pub fn ever(&self, name: u16) -> bool {
        self.names.get(usize::from(name)).is_some_and(|stamp| *stamp > 0)
    }
}

/// Added to the rank of what stands in the envelope: greater than every rank of a name.
const ENVELOPE_RANK: u16 = 1 << 12;

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
    pub kinds: &'w Lookup,
    pub limits: &'w Limits,
    pub time: &'w TimeRule,
    pub scratch: &'w mut String,
    pub patches: &'w mut Vec<Patch>,
    pub seen: &'w mut Seen,
    pub values: Vec<ParsedValue<'de>>,
    pub at: Option<EpochMs>,
    /// What was guessed for the time.
    pub guess: Option<Guess>,
    /// The time of an event that has none of its own.
    pub arrival: Option<EpochMs>,
    /// `at` was given from outside and stands, whatever the event says.
    timed: bool,
    pub kind: Text<'de>,
    pub id: Text<'de>,
    pub key: Text<'de>,
    /// The key of a visitor who is not known yet.
    pub anonymous: Text<'de>,
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
    /// `arrival` is the time of an event that has none of its own, `time` the one that the
    /// source gives.
    pub fn new(
        schema: &'w Schema,
        (names, kinds): (&'w Names, &'w Lookup),
        (scratch, patches, seen): (&'w mut String, &'w mut Vec<Patch>, &'w mut Seen),
        values: Vec<ParsedValue<'de>>,
        (arrival, time): (Option<EpochMs>, NoteTime),
    ) -> Self {
        let (at, timed) = match time {
            NoteTime::None => (None, false),
            NoteTime::Fills(at) => (Some(at), false),
            NoteTime::Rules(at) => (Some(at), true),
        };
        let mut draft = Draft {
            names,
            kinds,
            limits: &schema.limits,
            time: &schema.time,
            scratch,
            patches,
            seen,
            values,
            at,
            guess: None,
            arrival,
            timed,
            kind: Text::None,
            id: Text::None,
            key: Text::None,
            anonymous: Text::None,
            envelope: Envelope::default(),
            is_cloudevent: false,
            failure: None,
            attributes: 0,
            reading: None,
        };
        draft.clear_scratch(schema.slots.len());
        draft
    }

    fn clear_scratch(&mut self, slots: usize) {
        self.values.clear();
        self.values.resize(slots, ParsedValue::Missing);
        self.scratch.clear();
        self.patches.clear();
        // Two stamps an event: a CloudEvent has two objects.
        self.seen.stamp += 2;
        if self.names.keys() > 1 {
            self.seen.key_parts.clear();
            self.seen.key_parts.resize(usize::from(self.names.keys()), None);
        }
    }

    /// Forgets what was read, so that the event can be read again from its beginning; `time` as
    /// for [`Draft::new`]. For a native event.
    pub fn restart(&mut self, time: NoteTime) {
        self.clear_scratch(self.values.len());
        self.at = match time {
            NoteTime::None => None,
            NoteTime::Fills(at) | NoteTime::Rules(at) => Some(at),
        };
        self.guess = None;
        (self.kind, self.id) = (Text::None, Text::None);
        (self.key, self.anonymous) = (Text::None, Text::None);
        (self.failure, self.reading, self.attributes) = (None, None, 0);
    }

    /// Counts an attribute, with a name of `len` bytes, and checks the rules that hold for all
    /// of them.
    #[inline]
    pub fn admit(&mut self, len: usize) -> Result<(), String> {
        self.attributes += 1;
        if self.attributes > self.limits.attributes {
            return Err(format!("more than {} attributes", self.limits.attributes));
        }
        if len > self.limits.key_bytes {
            return Err(format!(
                "an attribute's name of {len} bytes is longer than {}",
                self.limits.key_bytes
            ));
        }
        Ok(())
    }

    /// Takes the value of a used attribute.
    #[inline]
    pub fn take(&mut self, index: u16, raw: Raw<'de>, level: Level) -> Result<(), String> {
        let name = self.names.get(index);
        if level == Level::Data && name.roles & role::TYPE != 0 {
            // The type of a CloudEvent is that of its envelope.
            return Ok(());
        }
        let stamp = self.seen.stamp + u64::from(level == Level::Data);
        if std::mem::replace(&mut self.seen.names[usize::from(index)], stamp) == stamp {
            return Err(format!("attribute {:?} appears twice", name.text));
        }
        if raw == Raw::Null {
            return Ok(());
        }
        // A name before its aliases, the data of a CloudEvent before its envelope.
        let rank = name.rank + if level == Level::Envelope { ENVELOPE_RANK } else { 0 };
        let taken = &mut self.seen.taken[usize::from(name.attribute)];
        if taken.0 == self.seen.stamp && taken.1 <= rank {
            return Ok(());
        }
        *taken = (self.seen.stamp, rank);
        self.play(name, raw, level)
    }

    /// Takes a text for an attribute that is used and was not there.
    pub fn fill_in(&mut self, name: &str, text: Text<'de>, level: Level) -> Result<(), String> {
        let Some(index) = self.names.find(name) else { return Ok(()) };
        let name = self.names.get(index);
        let taken = &mut self.seen.taken[usize::from(name.attribute)];
        // The key of a CloudEvent may have come from its subject.
        let has_key = name.roles & role::KEY != 0 && self.key != Text::None;
        if taken.0 == self.seen.stamp || has_key {
            return Ok(());
        }
        *taken = (self.seen.stamp, name.rank);
        self.play(name, Raw::Text(text), level)
    }

    /// Gives a value to the parts that its attribute plays.
    #[inline]
    fn play(&mut self, name: &'w Name, raw: Raw<'de>, level: Level) -> Result<(), String> {
        if name.roles & !role::SLOT == 0 {
            if name.roles != 0 {
                self.fill(name, raw);
            }
            return Ok(());
        }
        // What says whose event it is, and when, costs the event when it is wrong.
        if let Raw::Text(text) = raw {
            self.check_text(&name.text, text)?;
        }
        if name.roles & role::SLOT != 0 {
            self.fill(name, raw);
        }
        if name.roles & role::KEY != 0 {
            let text = self.label(&name.text, raw)?;
            match self.names.keys() {
                1 => self.key = text,
                _ => self.keep_part(name.part, text),
            }
        }
        if name.roles & role::ANONYMOUS != 0 {
            self.anonymous = self.label(&name.text, raw)?;
        }
        if level == Level::Native {
            if name.roles & role::TS != 0 && !self.timed {
                self.take_time(&name.text, raw, self.time)?;
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

    /// Keeps one part of a key of several attributes.
    fn keep_part(&mut self, part: u8, text: Text<'de>) {
        let start = self.scratch.len();
        let text = text.get(self.scratch).to_owned();
        text.chars().for_each(|c| {
            // So that different parts never make the same key.
            if matches!(c, KEY_SEPARATOR | '\\') {
                self.scratch.push('\\');
            }
            self.scratch.push(c);
        });
        let found = (!text.is_empty()).then(|| (start, self.scratch.len() - start));
        self.seen.key_parts[usize::from(part)] = found;
    }

    /// Makes the key of its parts, when it has several: joined by `|`, one that is absent
    /// being empty, and a `|` or `\` within them behind a `\`. Without any part no key.
    pub fn join_key(&mut self) {
        if self.names.keys() < 2 || self.seen.key_parts.iter().all(Option::is_none) {
            return;
        }
        let start = self.scratch.len();
        for (at, part) in self.seen.key_parts.iter().enumerate() {
            if at > 0 {
                self.scratch.push(KEY_SEPARATOR);
            }
            if let Some((from, len)) = part {
                self.scratch.extend_from_within(*from..from + len);
            }
        }
        self.key = Text::Copied(start, self.scratch.len() - start);
    }

    /// Takes the event's time.
    #[inline]
    fn take_time(&mut self, name: &str, raw: Raw<'de>, rule: &TimeRule) -> Result<(), String> {
        let read = match raw {
            Raw::Int(number) => rule.of_integer(number),
            Raw::Float(number) => rule.of_float(number),
            Raw::Text(text) => rule.of_text(text.get(self.scratch)),
            Raw::Huge(_) => Err(NoTime::Range),
            other => {
                let found = other.name();
                return Err(format!(
                    "attribute {name:?} must be epoch milliseconds or a time by RFC 3339, not \
                     {found}"
                ));
            }
        };
        match read {
            Ok(time) => (self.at, self.guess) = (Some(time.at), time.guess),
            Err(NoTime::Absent) => {}
            Err(fault) => return Err(no_time(name, raw, self.scratch, fault)),
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
            Raw::Null | Raw::Text(Text::None) => ParsedValue::Missing,
            Raw::Nested => ParsedValue::Unusable(Unusable::Nested),
            Raw::Bool(value) => ParsedValue::Bool(value),
            Raw::Text(text) if text.len() > self.limits.text_bytes => {
                ParsedValue::Unusable(Unusable::TooLong)
            }
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

    /// Text, or a whole number as its decimal text: some exporters write every number with a
    /// point (`42.0`).
    fn label(&mut self, name: &str, raw: Raw<'de>) -> Result<Text<'de>, String> {
        match raw {
            Raw::Text(text) => Ok(text),
            Raw::Int(_) | Raw::Huge(_) | Raw::Float(_) if raw.is_whole() => {
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
            return Err(format!("attribute {name:?} appears twice"));
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
            // By the specification RFC 3339, whatever native events are declared to have.
            "time" if raw != Raw::Null && !self.timed => {
                self.take_time(name, raw, native_time())?
            }
            "type" => self.kind = self.envelope_text(name, raw)?,
            "id" => self.id = self.envelope_text(name, raw)?,
            "source" => self.envelope.source = self.envelope_text(name, raw)?,
            "subject" => self.envelope.subject = self.envelope_text(name, raw)?,
            _ => {}
        }
        match self.names.find(name) {
            Some(index) => self.take(index, raw, Level::Envelope),
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

/// Between the parts of a key of several attributes.
const KEY_SEPARATOR: char = '|';

/// The rule of native events where nothing is declared.
fn native_time() -> &'static TimeRule {
    static RULE: LazyLock<TimeRule> = LazyLock::new(TimeRule::default);
    &RULE
}

/// Why a value is not a time, in a sentence with the likely remedy.
#[cold]
fn no_time(name: &str, raw: Raw<'_>, scratch: &str, fault: NoTime) -> String {
    let shown = match raw {
        Raw::Text(text) => {
            format!("{:?}", text.get(scratch).chars().take(40).collect::<String>())
        }
        raw => raw.to_string(),
    };
    match fault {
        NoTime::Range => format!("attribute {name:?}: {shown} lies outside the years 0 to 9999"),
        _ => format!(
            "attribute {name:?}: {shown} is not a time: write epoch milliseconds or RFC 3339, or \
             declare events.time_format"
        ),
    }
}
