//! Bytes to events, by the codec of their format.
//!
//! Called by the ingestor for every item and by the web side for its verdicts. This is
//! the hot path: the bytes of a batch are checked as UTF-8 once, a line with one event is walked once, and nothing is
//! allocated.

use std::sync::Arc;

use super::codec::{Drafter, Item, Offer};
use super::hints;
use super::json::Json;
pub use super::parsed::{Parsed, Rejected};
use super::{CheckedBatch, Format, Hints, Note, NoteTime, Schema};
use crate::time::{END_OF_TIME, EpochMs};

/// Decodes items by a schema. Keeps scratch space between calls.
#[derive(Debug)]
pub struct Decoder {
    drafter: Drafter,
    json: Json,
}

impl Decoder {
    /// A decoder for `schema`.
    pub fn new(schema: Arc<Schema>) -> Self {
        Decoder::with(schema, true)
    }

    /// A decoder that gives every event to the general reader. Its answers are those of
    /// [`Decoder::new`], to be compared with them; it is slower.
    pub fn general(schema: Arc<Schema>) -> Self {
        Decoder::with(schema, false)
    }

    fn with(schema: Arc<Schema>, scans: bool) -> Self {
        let drafter = Drafter::new(schema);
        Decoder { json: Json::new(&drafter, scans), drafter }
    }

    /// The time that the next items arrive at, for events without one where the schema says
    /// that their arrival is their time. `END_OF_TIME`: it means nothing (files).
    pub fn arrive(&mut self, at: EpochMs) {
        self.drafter.arrival =
            (self.drafter.rules.schema.arrival_is_time && at < END_OF_TIME).then_some(at);
    }

    /// Decodes one item and hands each of its events to `each`, in order.
    ///
    /// An item with no event in it (an empty array) hands over nothing; an item that
    /// is nothing but white space is rejected.
    pub fn decode(&mut self, item: &[u8], mut each: impl FnMut(Result<Parsed<'_>, Rejected<'_>>)) {
        self.item(Format::default(), Item::alone(item), None, usize::MAX, &mut each);
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
        self.noted(Item::alone(item), note, names, usize::MAX, &mut each);
    }

    /// Decodes item `index` of a batch, with its note if it has one, unless it holds more
    /// than `room` events: then nothing is handed over and the answer is false. An item of
    /// one event is always decoded.
    pub fn decode_raw(
        &mut self,
        batch: &CheckedBatch,
        index: usize,
        room: usize,
        mut each: impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool {
        let CheckedBatch { raw, text } = batch;
        let item = Item { bytes: raw.bytes(&raw.items[index]), within: text.as_deref() };
        self.arrive(raw.arrived(index));
        match raw.notes.get(index) {
            Some(note) => self.noted(item, note, &raw.note_names, room, &mut each),
            None => self.item(Format::default(), item, None, room, &mut each),
        }
    }

    /// Aliases that no event has carried so far, as they are written in the configuration.
    pub fn unused_aliases(&self) -> Vec<String> {
        let of = |text: &str| {
            self.drafter.rules.names.every(text).any(|index| self.drafter.space.ever(index))
        };
        let aliases = self.drafter.rules.schema.aliases.iter().map(|(from, _)| from);
        aliases.filter(|from| !of(from)).cloned().collect()
    }

    fn noted(
        &mut self,
        item: Item<'_>,
        note: &Note,
        names: &[String],
        room: usize,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool {
        if let Some(fault) = &note.fault {
            each(Err(Rejected { reason: fault.reason.clone(), raw: item.bytes, part: None }));
            return true;
        }
        let silent =
            note.id.is_empty() && note.attributes.is_empty() && note.time == NoteTime::None;
        let offer = (!silent).then_some(Offer { note, names, part: None });
        self.item(note.format, item, offer, room, each)
    }

    /// The one place where a codec is chosen.
    #[inline]
    fn item(
        &mut self,
        format: Format,
        item: Item<'_>,
        offer: Option<Offer<'_>>,
        room: usize,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool {
        match format {
            Format::Json => self.drafter.item(&mut self.json, item, offer, room, each),
        }
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
        let whole =
            if hints.is_empty() { None } else { hints.write_into(&raw, &self.drafter.rules.names) };
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
            let named =
                (!has_id).then(|| hints::with_id(&event, &self.drafter.rules.names, &id)).flatten();
            named.unwrap_or(event)
        };
        Ok(events.into_iter().enumerate().map(named).collect())
    }
}

#[cfg(test)]
mod tests;
