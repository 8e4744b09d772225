//! From an item's bytes to its events, whatever format they are in. What is the same for all
//! formats is here: the bounds, the scratch space, and what becomes of a finished draft. A
//! [`Codec`] brings the attributes.

use std::sync::Arc;

use super::context::Level;
use super::draft::{Draft, Patch, Seen, patched};
use super::names::{Lookup, Names};
use super::parsed::{Parsed, ParsedValue, Rejected};
use super::value::Text;
use super::{Note, NoteTime, Schema};
use crate::time::EpochMs;

/// Reads one format. The decoder has one of each, and goes by `Note::format`.
pub(super) trait Codec {
    /// The events of an item of several, as bytes, in order.
    type Parts<'a>: Iterator<Item = &'a [u8]> + Clone;

    /// An item without what does not belong to it (white space): the bytes of its event, or
    /// of its dead letter.
    fn bare(item: &[u8]) -> &[u8];

    /// Takes an item apart; `None` when [`Codec::bare`] is its one event.
    ///
    /// # Errors
    /// Why it cannot be taken apart. It is then rejected as a whole.
    fn parts(item: &[u8]) -> Result<Option<Self::Parts<'_>>, String>;

    /// Reads one event, of at most `Limits::event_bytes`, into a draft of the desk, which hands
    /// it to `each`. Bytes that break a rule are handed over too, with the rule; none are
    /// passed over.
    fn event(
        &mut self,
        desk: &mut Desk,
        raw: &[u8],
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    );
}

/// What an item's note offers to one of its events.
#[derive(Clone, Copy)]
pub(super) struct Offer<'a> {
    pub note: &'a Note,
    pub names: &'a [String],
    /// Which of the item's events it is; `None` for the only one.
    pub part: Option<u32>,
}

/// As [`Parsed::part`].
pub(super) fn part(offer: Option<Offer<'_>>) -> Option<u32> {
    offer.and_then(|offer| offer.part)
}

/// What drafts are made with. Keeps scratch space between events.
#[derive(Debug)]
pub(super) struct Desk {
    pub schema: Arc<Schema>,
    pub names: Names,
    pub seen: Seen,
    /// The time of an event that has none of its own.
    pub arrival: Option<EpochMs>,
    kinds: Lookup,
    scratch: String,
    values: Vec<ParsedValue<'static>>,
    patches: Vec<Patch>,
}

impl Desk {
    /// For this schema.
    pub fn new(schema: Arc<Schema>) -> Self {
        let names = Names::new(&schema);
        Desk {
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

    /// Decodes an item, unless it holds more than `room` events: then nothing is handed over
    /// and the answer is false. An item of one event is always decoded.
    pub fn item<C: Codec>(
        &mut self,
        codec: &mut C,
        item: &[u8],
        offer: Option<Offer<'_>>,
        room: usize,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool {
        let whole = |reason| Err(Rejected { reason, raw: C::bare(item), part: None });
        let parts = match C::parts(item) {
            Ok(Some(parts)) => parts,
            Ok(None) => {
                self.one(codec, C::bare(item), offer, each);
                return true;
            }
            Err(reason) => {
                each(whole(reason));
                return true;
            }
        };
        // Counted before anything is made of them.
        let most = self.schema.limits.item_events;
        let count = parts.clone().take(most.saturating_add(1)).count();
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
        for (index, raw) in parts.enumerate() {
            let part = (count > 1).then_some(index as u32);
            self.one(codec, raw, offer.map(|offer| Offer { part, ..offer }), each);
        }
        true
    }

    fn one<C: Codec>(
        &mut self,
        codec: &mut C,
        raw: &[u8],
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) {
        let most = self.schema.limits.event_bytes;
        if raw.len() > most {
            let reason = format!("an event of {} bytes is longer than {most}", raw.len());
            return each(Err(Rejected { reason, raw, part: part(offer) }));
        }
        codec.event(self, raw, offer, each);
    }

    /// An empty draft. It goes back by [`Desk::keep`], so that its space is used again.
    pub fn draft<'de>(&mut self, offer: Option<Offer<'_>>) -> Draft<'de, '_> {
        Draft::new(
            &self.schema,
            (&self.names, &self.kinds),
            (&mut self.scratch, &mut self.patches, &mut self.seen),
            recycle(std::mem::take(&mut self.values)),
            (self.arrival, offer.map_or(NoteTime::None, |offer| offer.note.time)),
        )
    }

    /// Takes back the space that a draft's values lay in.
    pub fn keep(&mut self, values: Vec<ParsedValue<'_>>) {
        self.values = recycle(values);
    }
}

/// Hands over the event that a draft has become, or the rule that it breaks (`read` is the first),
/// and returns the space its values lay in, for [`Desk::keep`]. What the event left open is
/// taken from `offer`. `level`: `Native`, or `Envelope` for a CloudEvent.
pub(super) fn hand_over<'de>(
    mut draft: Draft<'de, '_>,
    mut read: Result<(), String>,
    (raw, level): (&'de [u8], Level),
    offer: Option<Offer<'de>>,
    each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
) -> Vec<ParsedValue<'static>> {
    if let (Ok(()), Some(offer)) = (&read, offer) {
        read = fill_in(&mut draft, offer, level);
    }
    draft.join_key();
    let read = read.and_then(|()| match level {
        Level::Native => complete(&mut draft),
        _ => Ok(()),
    });
    let read = read.and_then(|()| key_fits(&draft));
    let part = part(offer);
    let Draft { at, guess, kind, id, key, anonymous, kinds, mut values, .. } = draft;
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

/// Fills in what the event left open. A CloudEvent has its id, so it takes attributes only.
fn fill_in<'de>(draft: &mut Draft<'de, '_>, offer: Offer<'de>, level: Level) -> Result<(), String> {
    for (name, text) in &offer.note.attributes {
        if let Some(name) = offer.names.get(usize::from(*name)) {
            draft.fill_in(name, Text::Borrowed(text), level)?;
        }
    }
    if offer.note.id.is_empty() || level != Level::Native {
        return Ok(());
    }
    let text = match offer.part {
        None => Text::Borrowed(&offer.note.id),
        part => Text::copy(draft.scratch, &offer.note.id_of(part)),
    };
    draft.fill_in("id", text, level)
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
    if len > most {
        Err(format!(
            "the session key has {len} bytes, at most {most} are allowed (session.key_bytes_max)"
        ))
    } else {
        Ok(())
    }
}

/// The same allocation for values of another lifetime.
fn recycle<'a>(mut values: Vec<ParsedValue<'_>>) -> Vec<ParsedValue<'a>> {
    values.clear();
    // Collecting in place keeps the allocation; there is no element to convert.
    values.into_iter().map(|_| ParsedValue::Missing).collect()
}
