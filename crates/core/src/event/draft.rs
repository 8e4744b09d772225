//! An event in the making: takes the attributes that the schema uses, one after the
//! other, and names the rule that a bad one breaks.
//!
//! Native events and CloudEvents share it; they differ in where it is told to look.
//! A codec brings the attributes, `codec` and `cloudevent` check what came together.

use std::fmt::Write;
use std::sync::LazyLock;

use super::context::{CONTEXT, Level};
use super::names::{Name, Names, Naming, role};
use super::time_rule::{Guess, NoTime, TimeRule};
use super::value::Raw;
use super::{NoteTime, Span, Value};
use crate::number::Decimal;
use crate::time::EpochMs;
use crate::unusable::Unusable;

/// The rule that an event breaks, in words.
pub(super) type Broken = Box<str>;

/// Which attributes the present event has shown, told apart from those of earlier
/// events by a stamp, so that nothing needs to be cleared between two events.
#[derive(Debug)]
struct Seen {
    stamp: u64,
    /// By name: the stamp of the object it was seen in.
    names: Vec<u64>,
    /// By attribute: the stamp of the event, and the rank of the value taken.
    taken: Vec<(u64, u16)>,
    /// By part of a key of several: its text, escaped.
    key_parts: Vec<Option<Span>>,
}

/// The space that drafts are made in, one after the other.
#[derive(Debug)]
pub(super) struct Space {
    /// Texts that do not stand in the event as they are.
    pub scratch: String,
    /// A value for each slot.
    pub values: Vec<Value>,
    seen: Seen,
}

impl Space {
    /// For drafts with these names.
    pub fn new(names: &Names) -> Self {
        let seen = Seen {
            stamp: 0,
            names: vec![0; names.len()],
            taken: vec![(0, 0); names.len()],
            key_parts: Vec::new(),
        };
        Space { scratch: String::new(), values: Vec::new(), seen }
    }

    /// True when any event has shown the name.
    pub fn ever(&self, name: u16) -> bool {
        self.seen.names.get(usize::from(name)).is_some_and(|stamp| *stamp > 0)
    }
}

/// Added to the rank of what stands in the envelope: greater than every rank of a name.
const ENVELOPE_RANK: u16 = 1 << 12;

/// What the attributes of a CloudEvent's envelope said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Envelope {
    pub source: Option<Span>,
    pub subject: Option<Span>,
    /// Which attributes of [`CONTEXT`] were there, as bits.
    shown: u16,
}

/// The event so far. Its texts are spans of its own text, or of the scratch space behind that.
pub(super) struct Draft<'a> {
    pub rules: &'a Naming,
    pub space: &'a mut Space,
    /// What it is read from.
    pub text: &'a str,
    pub at: Option<EpochMs>,
    /// What was guessed for the time.
    pub guess: Option<Guess>,
    /// The time of an event that has none of its own.
    pub arrival: Option<EpochMs>,
    /// `at` was given from outside and stands, whatever the event says.
    timed: bool,
    pub event_type: Option<Span>,
    pub id: Option<Span>,
    pub key: Option<Span>,
    /// The key of a visitor who is not known yet.
    pub anonymous: Option<Span>,
    pub envelope: Envelope,
    /// The native walk met `specversion` and stopped.
    pub is_cloudevent: bool,
    /// The rule that was broken; the JSON reader's own words otherwise.
    pub failure: Option<Broken>,
    /// Attributes so far, over all objects walked.
    attributes: usize,
    /// The attribute being read, to name it should its value not be JSON.
    pub reading: Option<u16>,
}

impl<'a> Draft<'a> {
    /// An empty draft of what `text` says. `arrival` is the time of an event that has none of
    /// its own, `time` the one that the source gives.
    #[inline]
    pub fn new(
        rules: &'a Naming,
        space: &'a mut Space,
        text: &'a str,
        (arrival, time): (Option<EpochMs>, NoteTime),
    ) -> Self {
        let (at, timed) = match time {
            NoteTime::None => (None, false),
            NoteTime::Fills(at) => (Some(at), false),
            NoteTime::Rules(at) => (Some(at), true),
        };
        space.values.clear();
        space.values.resize(rules.schema.slots.len(), Value::Missing);
        space.scratch.clear();
        // Two stamps an event: a CloudEvent has two objects.
        space.seen.stamp += 2;
        if rules.names.keys() > 1 {
            space.seen.key_parts.clear();
            space.seen.key_parts.resize(usize::from(rules.names.keys()), None);
        }
        Draft {
            rules,
            space,
            text,
            at,
            guess: None,
            arrival,
            timed,
            event_type: None,
            id: None,
            key: None,
            anonymous: None,
            envelope: Envelope::default(),
            is_cloudevent: false,
            failure: None,
            attributes: 0,
            reading: None,
        }
    }

    /// The text of a span.
    #[inline]
    pub fn get(&self, span: Span) -> &str {
        let Span { start, len } = span;
        match (start as usize).checked_sub(self.text.len()) {
            None => &self.text[start as usize..(start + len) as usize],
            Some(start) => &self.space.scratch[start..start + len as usize],
        }
    }

    /// Where a text lies; copied to the scratch space when it is no piece of the event's own.
    #[inline]
    pub fn span(&mut self, text: &str) -> Span {
        let start = text.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        if start < self.text.len() && text.len() <= self.text.len() - start {
            return Span { start: start as u32, len: text.len() as u32 };
        }
        self.write(text)
    }

    /// Copies a text to the scratch space.
    pub fn write(&mut self, text: &str) -> Span {
        let from = self.space.scratch.len();
        self.space.scratch.push_str(text);
        self.scratched(from)
    }

    /// What lies in the scratch space from `from` on.
    fn scratched(&self, from: usize) -> Span {
        let start = (self.text.len() + from) as u32;
        Span { start, len: (self.space.scratch.len() - from) as u32 }
    }

    /// Counts an attribute, with a name of `len` bytes, and checks the rules that hold for all
    /// of them.
    #[inline]
    pub fn admit(&mut self, len: usize) -> Result<(), Broken> {
        let limits = &self.rules.schema.limits;
        self.attributes += 1;
        if self.attributes > limits.attributes {
            return Err(format!("more than {} attributes", limits.attributes).into());
        }
        if len > limits.key_bytes {
            return Err(format!(
                "an attribute's name of {len} bytes is longer than {}",
                limits.key_bytes
            )
            .into());
        }
        Ok(())
    }

    /// Takes the value of a used attribute.
    #[inline(always)]
    pub fn take(&mut self, index: u16, raw: Raw, level: Level) -> Result<(), Broken> {
        let name = self.rules.names.get(index);
        if level == Level::Data && name.roles & role::TYPE != 0 {
            // The type of a CloudEvent is that of its envelope.
            return Ok(());
        }
        let seen = &mut self.space.seen;
        let stamp = seen.stamp + u64::from(level == Level::Data);
        if std::mem::replace(&mut seen.names[usize::from(index)], stamp) == stamp {
            return Err(twice(&name.text));
        }
        if raw == Raw::Null {
            return Ok(());
        }
        // A name before its aliases, the data of a CloudEvent before its envelope.
        let rank = name.rank + if level == Level::Envelope { ENVELOPE_RANK } else { 0 };
        let taken = &mut seen.taken[usize::from(name.attribute)];
        if taken.0 == seen.stamp && taken.1 <= rank {
            return Ok(());
        }
        *taken = (seen.stamp, rank);
        self.play(name, raw, level)
    }

    /// Takes a text for an attribute that is used and was not there.
    pub fn fill_in(&mut self, name: &str, text: &str, level: Level) -> Result<(), Broken> {
        let Some(index) = self.rules.names.find(name) else { return Ok(()) };
        let name = self.rules.names.get(index);
        let seen = &mut self.space.seen;
        let taken = &mut seen.taken[usize::from(name.attribute)];
        // The key of a CloudEvent may have come from its subject.
        let has_key = name.roles & role::KEY != 0 && self.key.is_some();
        if taken.0 == seen.stamp || has_key {
            return Ok(());
        }
        *taken = (seen.stamp, name.rank);
        let raw = Raw::Text(self.span(text));
        self.play(name, raw, level)
    }

    /// Gives a value to the parts that its attribute plays.
    #[inline(always)]
    fn play(&mut self, name: &'a Name, raw: Raw, level: Level) -> Result<(), Broken> {
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
            match self.rules.names.keys() {
                1 => self.key = Some(text),
                _ => self.keep_part(name.part, text),
            }
        }
        if name.roles & role::ANONYMOUS != 0 {
            self.anonymous = Some(self.label(&name.text, raw)?);
        }
        if level == Level::Native {
            if name.roles & role::TS != 0 && !self.timed {
                self.take_time(&name.text, raw, &self.rules.schema.time)?;
            }
            if name.roles & role::TYPE != 0 {
                self.event_type = Some(self.text_of(&name.text, raw)?);
            }
            if name.roles & role::ID != 0 {
                self.id = Some(self.label(&name.text, raw)?);
            }
        }
        Ok(())
    }

    /// Keeps one part of a key of several attributes.
    fn keep_part(&mut self, part: u8, text: Span) {
        let from = self.space.scratch.len();
        let text = self.get(text).to_owned();
        text.chars().for_each(|c| {
            // So that different parts never make the same key.
            if matches!(c, KEY_SEPARATOR | '\\') {
                self.space.scratch.push('\\');
            }
            self.space.scratch.push(c);
        });
        let found = (!text.is_empty()).then(|| self.scratched(from));
        self.space.seen.key_parts[usize::from(part)] = found;
    }

    /// Makes the key of its parts, when it has several: joined by `|`, one that is absent
    /// being empty, and a `|` or `\` within them behind a `\`. Without any part no key.
    #[inline]
    pub fn join_key(&mut self) {
        if self.rules.names.keys() > 1 && self.space.seen.key_parts.iter().any(Option::is_some) {
            self.join_parts();
        }
    }

    fn join_parts(&mut self) {
        let from = self.space.scratch.len();
        for at in 0..self.space.seen.key_parts.len() {
            if at > 0 {
                self.space.scratch.push(KEY_SEPARATOR);
            }
            if let Some(part) = self.space.seen.key_parts[at] {
                let start = part.start as usize - self.text.len();
                self.space.scratch.extend_from_within(start..start + part.len as usize);
            }
        }
        self.key = Some(self.scratched(from));
    }

    /// Takes the event's time.
    #[inline]
    fn take_time(&mut self, name: &str, raw: Raw, rule: &TimeRule) -> Result<(), Broken> {
        let read = match raw {
            Raw::Int(number) => rule.of_integer(number),
            Raw::Float(number) => rule.of_float(number),
            Raw::Text(text) => rule.of_text(self.get(text)),
            Raw::Huge(_) => Err(NoTime::Range),
            other => return Err(not_a_time(name, other)),
        };
        match read {
            Ok(time) => (self.at, self.guess) = (Some(time.at), time.guess),
            Err(NoTime::Absent) => {}
            Err(fault) => return Err(self.no_time(name, raw, fault)),
        }
        Ok(())
    }

    /// Why a value is not a time, in a sentence with the likely remedy.
    #[cold]
    fn no_time(&self, name: &str, raw: Raw, fault: NoTime) -> Broken {
        let shown = match raw {
            Raw::Text(text) => {
                format!("{:?}", self.get(text).chars().take(40).collect::<String>())
            }
            raw => raw.to_string(),
        };
        match fault {
            NoTime::Range => {
                format!("attribute {name:?}: {shown} lies outside the years 0 to 9999")
            }
            _ => format!(
                "attribute {name:?}: {shown} is not a time: write epoch milliseconds or RFC 3339, \
                 or declare events.time_format"
            ),
        }
        .into()
    }

    #[inline]
    fn check_text(&self, name: &str, text: Span) -> Result<(), Broken> {
        let most = self.rules.schema.limits.text_bytes;
        if text.len as usize > most { Err(too_long(name, text.len, most)) } else { Ok(()) }
    }

    /// Puts a value into the slot of `name`.
    #[inline]
    fn fill(&mut self, name: &Name, raw: Raw) {
        self.space.values[usize::from(name.slot)] = match raw {
            Raw::Null => Value::Missing,
            Raw::Nested => Value::Unusable(Unusable::Nested),
            Raw::Bool(value) => Value::Bool(value),
            Raw::Text(text) if text.len as usize > self.rules.schema.limits.text_bytes => {
                Value::Unusable(Unusable::TooLong)
            }
            Raw::Text(text) => Value::Text(text),
            Raw::Int(number) => Value::Number(Decimal::from_i64(number)),
            Raw::Huge(number) => Value::Number(Decimal::from_u64(number)),
            Raw::Float(number) => Decimal::from_f64(number).map_or(Value::Missing, Value::Number),
        };
    }

    /// Text, or a whole number as its decimal text: some exporters write every number with a
    /// point (`42.0`).
    #[inline]
    fn label(&mut self, name: &str, raw: Raw) -> Result<Span, Broken> {
        match raw {
            Raw::Text(text) => Ok(text),
            Raw::Int(_) | Raw::Huge(_) | Raw::Float(_) if raw.is_whole() => {
                let from = self.space.scratch.len();
                write!(self.space.scratch, "{raw}").expect("writing to a String cannot fail");
                Ok(self.scratched(from))
            }
            other => Err(no_label(name, other)),
        }
    }

    /// Text and nothing else.
    #[inline]
    fn text_of(&self, name: &str, raw: Raw) -> Result<Span, Broken> {
        match raw {
            Raw::Text(text) => Ok(text),
            other => Err(no_text(name, other)),
        }
    }

    /// Text of a CloudEvent's envelope, `null` being as good as absent.
    fn envelope_text(&self, name: &str, raw: Raw) -> Result<Option<Span>, Broken> {
        match raw {
            Raw::Null => Ok(None),
            Raw::Text(text) => {
                self.check_text(name, text)?;
                Ok(Some(text))
            }
            other => self.text_of(name, other).map(Some),
        }
    }

    /// Takes attribute `at` of [`CONTEXT`].
    pub fn take_context(&mut self, at: u8, raw: Raw) -> Result<(), Broken> {
        let name = CONTEXT[usize::from(at)];
        if self.envelope.shown & (1 << at) != 0 {
            return Err(twice(name));
        }
        self.envelope.shown |= 1 << at;
        match name {
            "specversion" => {
                let version = self.envelope_text(name, raw)?.map_or("", |span| self.get(span));
                if version.is_empty() {
                    return Err("CloudEvent: \"specversion\" is missing".into());
                }
                if version != "1.0" {
                    return Err(
                        format!("CloudEvent: specversion {version:?} is not \"1.0\"").into()
                    );
                }
            }
            // By the specification RFC 3339, whatever native events are declared to have.
            "time" if raw != Raw::Null && !self.timed => {
                self.take_time(name, raw, native_time())?
            }
            "type" => self.event_type = self.envelope_text(name, raw)?,
            "id" => self.id = self.envelope_text(name, raw)?,
            "source" => self.envelope.source = self.envelope_text(name, raw)?,
            "subject" => self.envelope.subject = self.envelope_text(name, raw)?,
            _ => {}
        }
        match self.rules.names.find(name) {
            Some(index) => self.take(index, raw, Level::Envelope),
            None => Ok(()),
        }
    }
}

#[cold]
fn twice(name: &str) -> Broken {
    format!("attribute {name:?} appears twice").into()
}

#[cold]
fn too_long(name: &str, len: u32, most: usize) -> Broken {
    format!("attribute {name:?}: a text of {len} bytes is longer than {most}").into()
}

#[cold]
fn no_label(name: &str, found: Raw) -> Broken {
    format!("attribute {name:?} must be text or an integer, not {}", found.name()).into()
}

#[cold]
fn no_text(name: &str, found: Raw) -> Broken {
    format!("attribute {name:?} must be text, not {}", found.name()).into()
}

#[cold]
fn not_a_time(name: &str, found: Raw) -> Broken {
    let found = found.name();
    format!("attribute {name:?} must be epoch milliseconds or a time by RFC 3339, not {found}")
        .into()
}

/// Between the parts of a key of several attributes.
const KEY_SEPARATOR: char = '|';

/// The rule of native events where nothing is declared.
fn native_time() -> &'static TimeRule {
    static RULE: LazyLock<TimeRule> = LazyLock::new(TimeRule::default);
    &RULE
}
