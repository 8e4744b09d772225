//! Events as they come (raw, in batches) and as the engine sees them (decoded,
//! with only the attributes that the configuration uses).

mod batch;
pub mod binding;
mod cloudevent;
mod codec;
mod context;
pub mod decode;
mod derived;
mod draft;
mod hints;
mod json;
mod looked;
mod marks;
mod names;
mod parsed;
mod scan;
pub mod split;
mod table;
pub mod time_rule;
pub mod time_text;
mod value;
mod walk;
pub mod when;

use bytes::Bytes;
use bytestring::ByteString;
use compact_str::CompactString;
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

use super::hash::EventIdentity;
use super::number::Decimal;
use super::number::text::NumberFormat;
use super::session::SessionPolicy;
use super::settings::settings;
use super::time::EpochMs;
use super::unusable::Unusable;
pub use batch::{EventBatch, Route};
pub use derived::{Derived, How};
pub use hints::Hints;
pub use looked::{Looked, Table};
use time_rule::TimeRule;

/// Raw events as a source hands them over: one buffer, and where each item lies in it.
///
/// An item is what the source counts: one log entry, one line of a file, one
/// message of a stream. It holds one event, or a JSON array or NDJSON of several.
#[derive(Clone, Debug, Default)]
pub struct RawBatch {
    /// The bytes of all items.
    pub data: Bytes,
    /// The items in source order.
    pub items: Vec<RawItem>,
    /// When the source took the items in; `END_OF_TIME` where that means nothing (files).
    pub arrived: EpochMs,
    /// What the source knows of each item besides its bytes: empty, or one for each item.
    pub notes: Vec<Note>,
    /// Names of the attributes in `notes`.
    pub note_names: Arc<[String]>,
}

/// A batch to be decoded. Whether its bytes are UTF-8 is looked at once for all of them: for
/// each event alone that costs several times as much.
#[derive(Debug)]
pub struct CheckedBatch {
    /// As it came.
    pub raw: Arc<RawBatch>,
    /// Its bytes, where they are UTF-8.
    text: Option<ByteString>,
}

impl From<RawBatch> for CheckedBatch {
    fn from(raw: RawBatch) -> Self {
        CheckedBatch { text: ByteString::try_from(raw.data.clone()).ok(), raw: Arc::new(raw) }
    }
}

/// What a source knows of an item besides its bytes: a stream's headers and subject.
/// It fills in what the event itself leaves open, and never overrules it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// When the source took the item in; goes before `RawBatch::arrived`.
    pub arrived: EpochMs,
    /// Id of the item, empty for none: the id of its event, or, when it holds several, with
    /// `/0`, `/1`, ... the ids of those without one.
    pub id: CompactString,
    /// Attributes, as index in `RawBatch::note_names` and text.
    pub attributes: SmallVec<[(u8, CompactString); 1]>,
    /// What the source's own time is to its events.
    pub time: NoteTime,
    /// What its bytes are.
    pub format: Format,
    /// The item could not be unpacked: its bytes are then as they came, and it is rejected as a
    /// whole.
    pub fault: Option<Box<Fault>>,
}

/// The format of an item's bytes, as its source knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON: native events and CloudEvents.
    #[default]
    Json,
}

/// When the source stored an item, if that is to be the time of its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoteTime {
    /// It is not.
    #[default]
    None,
    /// It is the time of those that have none of their own.
    Fills(EpochMs),
    /// It is their time, whatever they say.
    Rules(EpochMs),
}

/// Why an item could not be unpacked, and what was said of its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Names the thing and the rule.
    pub reason: String,
    /// Headers by their names in lower case, for the dead letter: `ce-*`, `content-*`.
    pub context: Vec<(String, String)>,
}

impl Note {
    /// The id of event `part` of the item (`None`: it is the only one).
    fn id_of(&self, part: Option<u32>) -> String {
        match part {
            None => self.id.to_string(),
            Some(part) => format!("{}/{part}", self.id),
        }
    }
}

/// One item of a [`RawBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawItem {
    /// Offset of the first byte in `RawBatch::data`.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
    /// Position in the source. Grows by at least 1 from item to item.
    pub position: u64,
}

impl RawBatch {
    /// A batch of items, each with its position, which the source took in at `arrived`
    /// (`END_OF_TIME` where that means nothing). All of them together are less than 4 GiB.
    pub fn of<T: AsRef<[u8]>>(
        arrived: EpochMs,
        texts: impl IntoIterator<Item = (u64, T)>,
    ) -> RawBatch {
        let (mut data, mut items) = (Vec::new(), Vec::new());
        for (position, text) in texts {
            let (start, len) = (data.len() as u32, text.as_ref().len() as u32);
            data.extend_from_slice(text.as_ref());
            items.push(RawItem { start, len, position });
        }
        RawBatch { data: data.into(), items, arrived, ..RawBatch::default() }
    }

    /// The bytes of one item.
    pub fn bytes(&self, item: &RawItem) -> &[u8] {
        &self.data[item.start as usize..(item.start + item.len) as usize]
    }

    /// When item `index` arrived.
    pub fn arrived(&self, index: usize) -> EpochMs {
        self.notes.get(index).map_or(self.arrived, |note| note.arrived)
    }

    /// What is known of event `part` of item `index` besides its bytes.
    pub fn hints(&self, index: usize, part: Option<u32>) -> Hints {
        let note = self.notes.get(index);
        note.map(|note| Hints::of(note, &self.note_names, part)).unwrap_or_default()
    }
}

/// A decoded attribute. 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Value {
    /// The event does not carry the attribute (or carries `null`).
    #[default]
    Missing,
    /// A number, exactly as it is written.
    Number(Decimal),
    /// Text, as a span of the batch.
    Text(Span),
    /// `true` or `false`.
    Bool(bool),
    /// It is there, and nothing can be made of it.
    Unusable(Unusable),
}

/// A piece of text in an [`EventBatch`]: in the raw buffer, or in `extra` when it
/// had to be unescaped (offsets past the raw buffer's end).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

/// One decoded event. Its slot values are `EventBatch::slots[i * width ..]`.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Event time.
    pub at: EpochMs,
    /// The source's watermark just before this event (I3): every decision about
    /// lateness and closing uses this stamp, so batches make no difference.
    pub watermark: EpochMs,
    /// Position of its item in the source.
    pub position: u64,
    /// Hash of the session key, see `hash`.
    pub key_hash: u64,
    /// Identity for de-duplication; `EventIdentity::NONE` when the event has no id.
    pub identity: EventIdentity,
    /// The session key; empty when the event concerns no session.
    pub key: Span,
    /// The whole event as it came.
    pub raw: Span,
    /// Which of its item's events it is, or [`Event::WHOLE`].
    pub part: u32,
    /// Index in [`Schema::event_types`], or [`Schema::OTHER_TYPE`].
    pub event_type: u16,
}

impl Event {
    /// The part that the only event of an item is.
    pub const WHOLE: u32 = u32::MAX;
}

/// What the configuration uses of an event: which attributes get a slot, which
/// types have a name. Built once at start.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// Attributes that make the session key (default `user` alone). At most 8. A key of
    /// several is their texts in this order, see `draft`.
    pub keys: Vec<String>,
    /// Attribute with the key of a visitor who is not known yet (`session.identify`).
    pub anonymous: Option<String>,
    /// Attributes with a slot, by slot index. `type` may be among them, and so are derived ones.
    pub slots: Vec<String>,
    /// Those that are made of others, each behind those that it is made of. What events
    /// carry under such a name is passed over.
    pub derived: Vec<Derived>,
    /// Other names an attribute may come under, as (name in the event, name used here):
    /// `("code", "status")`. `id`, `ts`, `type` and the key may have them too. When an
    /// event carries both, the name used here wins, then the first listed.
    pub aliases: Vec<(String, String)>,
    /// Event types the configuration names, by their number.
    pub event_types: Vec<String>,
    /// Names of patterns: the types of their matches, numbered behind those of events. No event
    /// that comes in is of such a type.
    pub patterns: Vec<String>,
    /// How the time of an event is written.
    pub time: TimeRule,
    /// An event without a time gets the one at which it arrived, where that means something.
    pub arrival_is_time: bool,
    /// How numbers that come as text are written, by attribute; the others in the plain form.
    pub numbers: Vec<(String, NumberFormat)>,
    /// Seed of all hashes, one for each data folder.
    pub seed: u64,
    /// Bounds on one event.
    pub limits: Limits,
}

impl Schema {
    /// How numbers are written that come as text in this attribute.
    pub fn number_format(&self, attribute: &str) -> NumberFormat {
        let declared = self.numbers.iter().find(|(name, _)| name == attribute);
        declared.map(|(_, format)| format.clone()).unwrap_or_default()
    }

    /// The derived attributes among these, and those that they are computed of, by name.
    pub fn derived_among<'a>(&'a self, names: &[&str]) -> Vec<&'a Derived> {
        let mut found: Vec<&Derived> = Vec::new();
        for derived in self.derived.iter().rev() {
            let needed = |known: &&Derived| known.how.names().contains(&derived.name);
            if names.contains(&&*derived.name) || found.iter().any(needed) {
                found.push(derived);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// The number of a type of events or of matches that the configuration names.
    pub fn type_number(&self, name: &str) -> Option<u16> {
        let names = self.event_types.iter().chain(&self.patterns);
        // A match's type hides one of events that is called the same.
        let place = names.enumerate().filter(|(_, known)| *known == name).map(|(at, _)| at).last();
        place.map(|at| at as u16)
    }

    /// The numbers of the types of matches.
    pub fn match_types(&self) -> Range<u16> {
        let first = self.event_types.len();
        first as u16..(first + self.patterns.len()) as u16
    }

    /// The number of every type that the configuration does not name.
    pub const OTHER_TYPE: u16 = u16::MAX;
}

impl Default for Schema {
    fn default() -> Self {
        Schema {
            keys: vec!["user".to_owned()],
            anonymous: None,
            slots: Vec::new(),
            derived: Vec::new(),
            aliases: Vec::new(),
            event_types: Vec::new(),
            patterns: Vec::new(),
            time: TimeRule::default(),
            arrival_is_time: false,
            numbers: Vec::new(),
            seed: 0,
            limits: Limits::default(),
        }
    }
}

settings! {
    /// Bounds on one event; beyond them it is rejected with the rule's name.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Limits in "events." {
        /// Bytes of one event: bounds what one publisher can make us hold. A greater event ends in
        /// the dead letters. A replay takes rows of at most 3 MiB, whatever stands here.
        pub event_bytes: usize = 64 << 10, size(256, 16 * MIB);
        /// Nesting of objects and arrays: deep nesting is an attack or a mistake.
        pub depth: usize = 32, count(1, 128);
        /// Bytes of an attribute's name: a longer one is a mistake of the publisher.
        pub key_bytes: usize = 256, size(16, 4 * KIB);
        /// Bytes of a text that is used (key, id, type, conditions, labels): it is kept in memory.
        /// Not more than event_bytes.
        pub text_bytes: usize = 8 << 10, size(16, MIB);
        /// Attributes of one event, used or not: each has to be read past.
        pub attributes: usize = 256, count(8, 10_000);
        /// Events of one item: a message of a stream, a line of a file. Each event counts on its
        /// own everywhere; an item with more of them than this ends in the dead letters as a whole.
        /// What comes over HTTP becomes an item for each event, bounded by web.events_max.
        pub item_events as "events.item_events_max": usize = 100_000, count(1, 10_000_000);
    } besides {
        /// Bytes of the session key, `session.key_bytes_max`.
        pub session_key_bytes: usize = SessionPolicy::default().key_bytes_max;
    }
}

/// An event that will not be counted, with everything needed to mend and redrive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Number of its source: the place of it in `CommitUnit::positions`.
    pub source: u16,
    /// Position of its item in the source.
    pub position: u64,
    /// What was wrong, naming the thing and the rule.
    pub reason: String,
    /// The bytes exactly as they came.
    pub raw: Vec<u8>,
    /// What the source knew of it besides.
    pub hints: Hints,
}

impl DeadLetter {
    /// The kind of its reason, to count by: without numbers, and without what was quoted of the
    /// event unless it looks like a name. At most 80 characters.
    pub fn kind(&self) -> String {
        let mut kind = String::new();
        let mut quoted = false;
        for piece in self.reason.split('"') {
            let name = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '.');
            if !quoted {
                kind += piece;
            } else if piece.len() <= 24 && piece.chars().all(name) {
                kind += &format!("\"{piece}\"");
            } else {
                kind.push('…');
            }
            quoted = !quoted;
        }
        let mut plain = String::new();
        let mut number = false;
        for c in kind.chars() {
            let digit = c.is_ascii_digit();
            if !digit {
                plain.push(if c.is_control() { ' ' } else { c });
            } else if !number {
                plain.push('N');
            }
            number = digit;
        }
        plain.chars().take(80).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_one_kind_are_counted_together() {
        let kind = |reason: &str| {
            let (source, position, raw) = (0, 1, Vec::new());
            DeadLetter { source, position, reason: reason.into(), raw, hints: Hints::default() }
                .kind()
        };
        assert_eq!(
            kind("ts: 312 ms in the future (at most 5 ms)"),
            "ts: N ms in the future (at most N ms)"
        );
        assert_eq!(kind("attribute \"type\" is missing"), "attribute \"type\" is missing");
        assert_eq!(kind("attribute \"user 17 <b>\" is odd"), "attribute … is odd");
        assert_eq!(kind(&"é".repeat(300)).chars().count(), 80);
        assert_eq!(kind("an open \" quote"), "an open …");
    }
}
