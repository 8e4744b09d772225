//! Bytes to events: native JSON (one object, an array, NDJSON) and CloudEvents.
//!
//! Called by the ingestor for every item and by the web side for its verdicts. This is
//! the hot path: a line with one event is checked as UTF-8 once and walked once, by `scan` or
//! by the general reader (`walk`), and nothing is allocated. What an item is made of beyond
//! that is found out in `split`.

use std::sync::Arc;

use super::cloudevent;
use super::draft::{Draft, Patch, Place, Seen, patched};
use super::hints;
use super::names::{Lookup, Names};
use super::scan::Scanner;
use super::split::Parts;
use super::time_rule::Guess;
use super::value::Text;
use super::{Hints, Limits, Note, NoteTime, RawBatch, Schema, Unusable};
use crate::number::Decimal;
use crate::time::{END_OF_TIME, EpochMs};

/// One understood event, borrowed from the item's bytes or from the decoder's scratch.
///
/// Every text is a piece of the item, unless it was escaped there, was an integer, or
/// was made of several attributes (the id of a CloudEvent).
#[derive(Debug)]
pub struct Parsed<'a> {
    /// Event time.
    pub at: EpochMs,
    /// What was guessed for the time.
    pub guess: Option<Guess>,
    /// Its id, if it has one; never empty.
    pub id: Option<&'a str>,
    /// The session key, empty when it has none.
    pub key: &'a str,
    /// The key of the visitor before it was known, where `Schema::anonymous` names it: empty
    /// when the event has none. With an empty `key` it is the key.
    pub anonymous: &'a str,
    /// Index in `Schema::kinds`, or `Schema::OTHER_KIND`.
    pub kind: u16,
    /// A value for each slot of the schema.
    pub values: &'a [ParsedValue<'a>],
    /// The event as it came, without the white space around it.
    pub raw: &'a [u8],
    /// Which of its item's events it is, where a note offers it something; `None` for the only
    /// one.
    pub part: Option<u32>,
}

/// A decoded attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ParsedValue<'a> {
    /// Absent, or `null`.
    #[default]
    Missing,
    /// A number, exactly as it is written.
    Number(Decimal),
    /// Text.
    Text(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// It is there, and nothing can be made of it.
    Unusable(Unusable),
}

/// An event that was not understood.
#[derive(Debug)]
pub struct Rejected<'a> {
    /// Names the thing and the rule.
    pub reason: String,
    /// The bytes as they came (one element of an array or pack, or the whole item).
    pub raw: &'a [u8],
    /// As [`Parsed::part`].
    pub part: Option<u32>,
}

/// Decodes items by a schema. Keeps scratch space between calls.
#[derive(Debug)]
pub struct Decoder {
    schema: Arc<Schema>,
    names: Names,
    kinds: Lookup,
    scratch: String,
    values: Vec<ParsedValue<'static>>,
    patches: Vec<Patch>,
    seen: Seen,
    scanner: Scanner,
    arrival: Option<EpochMs>,
}

impl Decoder {
    /// A decoder for `schema`.
    pub fn new(schema: Arc<Schema>) -> Self {
        // What the scanner reads is one deep.
        let scans = schema.limits.depth > 0;
        Decoder::with(schema, scans)
    }

    /// A decoder that gives every event to the general reader. Its answers are those of
    /// [`Decoder::new`], to be compared with them; it is slower.
    pub fn general(schema: Arc<Schema>) -> Self {
        Decoder::with(schema, false)
    }

    fn with(schema: Arc<Schema>, scans: bool) -> Self {
        let names = Names::new(&schema);
        Decoder {
            scanner: Scanner::new(&names, scans),
            kinds: Lookup::new(schema.kinds.iter().map(String::as_str)),
            seen: Seen::new(names.len()),
            names,
            schema,
            scratch: String::new(),
            values: Vec::new(),
            patches: Vec::new(),
            arrival: None,
        }
    }

    /// The time that the next items arrive at, for events without one where the schema says
    /// that their arrival is their time. `END_OF_TIME`: it means nothing (files).
    pub fn arrive(&mut self, at: EpochMs) {
        self.arrival = (self.schema.arrival_is_time && at < END_OF_TIME).then_some(at);
    }

    /// Decodes one item and hands each of its events to `each`, in order.
    ///
    /// An item with no event in it (an empty array) hands over nothing; an item that
    /// is nothing but white space is rejected.
    pub fn decode(&mut self, item: &[u8], mut each: impl FnMut(Result<Parsed<'_>, Rejected<'_>>)) {
        self.item(item, None, usize::MAX, &mut each);
    }

    /// As [`Decoder::decode`]; what an event leaves open is taken from the note: its id
    /// (`id/0`, `id/1`, ... where the item holds several events) and its attributes, whose
    /// names are in `names`.
    pub fn decode_noted(
        &mut self,
        item: &[u8],
        note: &Note,
        names: &[String],
        mut each: impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) {
        self.noted(item, note, names, usize::MAX, &mut each);
    }

    /// Decodes item `index` of a batch, with its note if it has one, unless it holds more
    /// than `room` events: then nothing is handed over and the answer is false. An item of
    /// one event is always decoded.
    pub fn decode_raw(
        &mut self,
        batch: &RawBatch,
        index: usize,
        room: usize,
        mut each: impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool {
        let bytes = batch.bytes(&batch.items[index]);
        self.arrive(batch.arrived(index));
        match batch.notes.get(index) {
            Some(note) => self.noted(bytes, note, &batch.note_names, room, &mut each),
            None => self.item(bytes, None, room, &mut each),
        }
    }

    /// Aliases that no event has carried so far, as they are written in the configuration.
    pub fn unused_aliases(&self) -> Vec<String> {
        let of = |text: &str| self.names.every(text).any(|index| self.seen.ever(index));
        let aliases = self.schema.aliases.iter().map(|(from, _)| from);
        aliases.filter(|from| !of(from)).cloned().collect()
    }

    fn noted(
        &mut self,
        item: &[u8],
        note: &Note,
        names: &[String],
        room: usize,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool {
        if let Some(fault) = &note.fault {
            each(Err(Rejected { reason: fault.reason.clone(), raw: item, part: None }));
            return true;
        }
        let silent =
            note.id.is_empty() && note.attributes.is_empty() && note.time == NoteTime::None;
        let offer = (!silent).then_some(Offer { note, names, part: None });
        self.item(item, offer, room, each)
    }

    /// Whether every event of an item is understood, and at least one is there.
    ///
    /// # Errors
    /// The first reason.
    pub fn verdict(&mut self, item: &[u8]) -> Result<(), String> {
        self.verdict_noted(item, &Note::default())
    }

    fn verdict_noted(&mut self, item: &[u8], note: &Note) -> Result<(), String> {
        let mut verdict = Err("empty: an event must be a JSON object".to_owned());
        let mut failed = false;
        self.decode_noted(item, note, &[], |event| match event {
            Ok(_) if !failed => verdict = Ok(()),
            Err(rejected) if !failed => {
                failed = true;
                verdict = Err(rejected.reason);
            }
            _ => {}
        });
        verdict
    }

    /// A dead letter to be sent again: the events of its bytes, with what its source knew
    /// besides written into them where they leave it open. To a decoder they are then what the
    /// bytes were with their note. An event without an id gets `name` as its id, and where there
    /// are several `name/0`, `name/1`, ...: the same each time.
    ///
    /// # Errors
    /// Why it is still not understood.
    pub fn again(
        &mut self,
        raw: Vec<u8>,
        hints: &Hints,
        name: &str,
    ) -> Result<Vec<Vec<u8>>, String> {
        if let Some(packing) = hints.packing() {
            return Err(format!(
                "it is packed (content-encoding {packing:?}) and could not be unpacked: publish \
                 the message again from where it came"
            ));
        }
        let whole = match hints.is_empty() {
            true => None,
            false => hints.write_into(&raw, &self.names),
        };
        let item = whole.unwrap_or(raw);
        let note = Note { time: hints.time(), ..Note::default() };
        self.verdict_noted(&item, &note)?;
        let mut events = Vec::new();
        self.decode_noted(&item, &note, &[], |event| {
            if let Ok(event) = event {
                events.push((event.id.is_some(), event.raw.to_vec()));
            }
        });
        let several = events.len() > 1;
        let named = |(index, (has_id, event)): (usize, (bool, Vec<u8>))| {
            let id = if several { format!("{name}/{index}") } else { name.to_owned() };
            let named = (!has_id).then(|| hints::with_id(&event, &self.names, &id)).flatten();
            named.unwrap_or(event)
        };
        Ok(events.into_iter().enumerate().map(named).collect())
    }

    fn item(
        &mut self,
        item: &[u8],
        offer: Option<Offer<'_>>,
        room: usize,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool {
        let trimmed = item.trim_ascii();
        if trimmed.first() == Some(&b'{') && memchr::memchr(b'\n', trimmed).is_none() {
            self.one(trimmed, offer, each);
            return true;
        }
        let whole = |reason| Err(Rejected { reason, raw: trimmed, part: None });
        let parts = match Parts::of(item) {
            Ok(parts) => parts,
            Err(reason) => {
                each(whole(reason));
                return true;
            }
        };
        // Counted before anything is made of them.
        let most = self.schema.limits.item_events;
        let count = parts.count_up_to(most.saturating_add(1));
        if count > most {
            each(whole(format!(
                "more than {most} events in one item (events.item_events_max); send them in \
                 several"
            )));
            return true;
        }
        if count > room && count > 1 {
            return false;
        }
        for (index, part) in parts.enumerate() {
            let part_of = (count > 1).then_some(index as u32);
            self.one(part, offer.map(|offer| Offer { part: part_of, ..offer }), each);
        }
        true
    }

    /// Decodes one event.
    fn one(
        &mut self,
        raw: &[u8],
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) {
        match admit(raw, &self.schema.limits) {
            Ok(text) => self.object(text, offer, each),
            Err(reason) => each(Err(Rejected { reason, raw, part: part(offer) })),
        }
    }

    /// Decodes one object, as a native event or, when it says so, as a CloudEvent.
    fn object(
        &mut self,
        text: &str,
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) {
        let time = offer.map_or(NoteTime::None, |offer| offer.note.time);
        let mut draft = Draft::new(
            &self.schema,
            &self.names,
            (&mut self.scratch, &mut self.patches, &mut self.seen),
            recycle(std::mem::take(&mut self.values)),
            (self.arrival, time),
        );
        let mut read = match self.scanner.scan(text, &mut draft) {
            true => Ok(()),
            false => {
                draft.restart(time);
                shallow(text.as_bytes(), &self.schema.limits)
                    .and_then(|()| draft.read(text, Place::Native))
            }
        };
        if draft.is_cloudevent {
            self.values = recycle(draft.values);
            return self.cloudevent(text, offer, each);
        }
        if let (Ok(()), Some(offer)) = (&read, offer) {
            read = fill_in(&mut draft, offer, Place::Native);
        }
        draft.join_key();
        let read = read.and_then(|()| complete(&mut draft));
        self.values = hand_over(&mut draft, read, &self.kinds, (text, part(offer)), each);
    }

    fn cloudevent(
        &mut self,
        text: &str,
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) {
        let unpacked = match cloudevent::unpack(text) {
            Ok(unpacked) => unpacked,
            Err(reason) => {
                let raw = text.as_bytes();
                return each(Err(Rejected { reason, raw, part: part(offer) }));
            }
        };
        let mut draft = Draft::new(
            &self.schema,
            &self.names,
            (&mut self.scratch, &mut self.patches, &mut self.seen),
            recycle(std::mem::take(&mut self.values)),
            (self.arrival, offer.map_or(NoteTime::None, |offer| offer.note.time)),
        );
        let mut read = cloudevent::read(&mut draft, text, unpacked.as_deref());
        if let (Ok(()), Some(offer)) = (&read, offer) {
            read = fill_in(&mut draft, offer, Place::Envelope);
        }
        draft.join_key();
        self.values = hand_over(&mut draft, read, &self.kinds, (text, part(offer)), each);
    }
}

/// What an item's note offers to one of its events.
#[derive(Clone, Copy)]
struct Offer<'a> {
    note: &'a Note,
    names: &'a [String],
    /// Which of the item's events it is; `None` for the only one.
    part: Option<u32>,
}

fn part(offer: Option<Offer<'_>>) -> Option<u32> {
    offer.and_then(|offer| offer.part)
}

/// Fills in what the event left open. A CloudEvent has its id, so it takes attributes only.
fn fill_in<'de>(draft: &mut Draft<'de, '_>, offer: Offer<'de>, place: Place) -> Result<(), String> {
    for (name, text) in &offer.note.attributes {
        if let Some(name) = offer.names.get(usize::from(*name)) {
            draft.fill_in(name, Text::Borrowed(text), place)?;
        }
    }
    if offer.note.id.is_empty() || place != Place::Native {
        return Ok(());
    }
    let text = match offer.part {
        None => Text::Borrowed(&offer.note.id),
        part => Text::copy(draft.scratch, &offer.note.id_of(part)),
    };
    draft.fill_in("id", text, place)
}

/// The rules that are checked before anything is read.
fn admit<'a>(raw: &'a [u8], limits: &Limits) -> Result<&'a str, String> {
    if raw.len() > limits.event_bytes {
        return Err(format!(
            "an event of {} bytes is longer than {}",
            raw.len(),
            limits.event_bytes
        ));
    }
    let text = std::str::from_utf8(raw)
        .map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to()))?;
    if raw.first() != Some(&b'{') {
        return Err(match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => "an event must be a JSON object".to_owned(),
            Err(error) => format!("not JSON: {error}"),
        });
    }
    Ok(text)
}

/// Whether an object is nested no deeper than allowed.
fn shallow(raw: &[u8], limits: &Limits) -> Result<(), String> {
    // Brackets inside texts are counted too, so this only says when to look closer.
    let brackets = openings(raw);
    if brackets > limits.depth {
        let depth = depth(raw);
        if depth > limits.depth {
            return Err(format!("nested {depth} deep, at most {} is allowed", limits.depth));
        }
    }
    Ok(())
}

/// How many `{` and `[` there are. Counted in bytes, a short piece at a time, which the
/// compiler turns into a few wide additions.
fn openings(json: &[u8]) -> usize {
    let count =
        |piece: &[u8]| piece.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    json.chunks(usize::from(u8::MAX)).map(|piece| usize::from(count(piece))).sum()
}

/// How deep objects and arrays are nested in JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What every native event must have.
fn complete(draft: &mut Draft<'_, '_>) -> Result<(), String> {
    draft.at = draft.at.or(draft.arrival);
    if draft.at.is_none() {
        return Err("attribute \"ts\" is missing".to_owned());
    }
    if draft.kind.len() == 0 {
        return Err("attribute \"type\" is missing or empty".to_owned());
    }
    Ok(())
}

/// A session keeps its key in memory and in every commit.
fn key_fits(draft: &Draft<'_, '_>) -> Result<(), String> {
    let len = draft.key.len().max(draft.anonymous.len());
    let most = draft.limits.session_key_bytes;
    match len > most {
        true => Err(format!(
            "the session key has {len} bytes, at most {most} are allowed (session.key_bytes_max)"
        )),
        false => Ok(()),
    }
}

/// Turns a finished draft into an event, and returns the space its values lay in.
fn hand_over<'de>(
    draft: &mut Draft<'de, '_>,
    read: Result<(), String>,
    kinds: &Lookup,
    (text, part): (&'de str, Option<u32>),
    each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
) -> Vec<ParsedValue<'static>> {
    let read = read.and_then(|()| key_fits(draft));
    let mut values: Vec<ParsedValue<'_>> = std::mem::take(&mut draft.values);
    let Draft { at, guess, kind, id, key, anonymous, .. } = *draft;
    let raw = text.as_bytes();
    match (read, at) {
        (Err(reason), _) => each(Err(Rejected { reason, raw, part })),
        (Ok(()), None) => unreachable!("an event without a time is not complete"),
        (Ok(()), Some(at)) => {
            let scratch: &str = draft.scratch;
            patched(&mut values, draft.patches, scratch);
            let id = id.get(scratch);
            each(Ok(Parsed {
                at,
                guess,
                id: (!id.is_empty()).then_some(id),
                key: key.get(scratch),
                anonymous: anonymous.get(scratch),
                kind: kinds.get(kind.get(scratch)).unwrap_or(Schema::OTHER_KIND),
                values: &values,
                raw,
                part,
            }));
        }
    }
    recycle(values)
}

/// The same allocation for values of another lifetime.
fn recycle<'a>(mut values: Vec<ParsedValue<'_>>) -> Vec<ParsedValue<'a>> {
    values.clear();
    // Collecting in place keeps the allocation; there is no element to convert.
    values.into_iter().map(|_| ParsedValue::Missing).collect()
}

#[cfg(test)]
mod tests;
