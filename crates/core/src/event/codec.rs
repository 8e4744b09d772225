//! From an item's bytes to its events, whatever format they are in. What is the same for all
//! formats is here: the bounds, the scratch space, and what becomes of a finished draft. A
//! [`Codec`] brings the attributes.

use std::str::Utf8Error;
use std::sync::Arc;

use super::context::Level;
use super::derived::derive;
use super::draft::{Broken, Draft, Space};
use super::names::Naming;
use super::parsed::{Parsed, Rejected};
use super::{Note, NoteTime, Schema, Span};
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

    /// Reads a usual event, of at most `Limits::event_bytes`, and hands it to `each`. False when
    /// this is not worth trying, or it is none: then nothing was handed over.
    fn usual(
        &mut self,
        drafter: &mut Drafter,
        event: Item<'_>,
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool;

    /// Reads one event, of at most `Limits::event_bytes`, into a draft of the drafter, and hands
    /// it to `each`. Bytes that break a rule are handed over too, with the rule; none are
    /// passed over.
    fn event(
        &mut self,
        drafter: &mut Drafter,
        event: Item<'_>,
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    );
}

/// The bytes of an item, or of one of its events.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub bytes: &'a [u8],
    /// A text that they may be a piece of.
    pub within: Option<&'a str>,
}

impl<'a> Item<'a> {
    /// Bytes of which nothing is known.
    pub fn alone(bytes: &'a [u8]) -> Self {
        Item { bytes, within: None }
    }

    /// A piece of it.
    fn piece(self, bytes: &'a [u8]) -> Self {
        Item { bytes, ..self }
    }

    /// As text.
    ///
    /// # Errors
    /// They are not UTF-8.
    #[inline]
    pub fn text(self) -> Result<&'a str, Utf8Error> {
        let piece = self.within.and_then(|whole| {
            let start = self.bytes.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
            whole.get(start..start.checked_add(self.bytes.len())?)
        });
        piece.map_or_else(|| std::str::from_utf8(self.bytes), Ok)
    }
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

/// What drafts are made with, used again for each.
#[derive(Debug)]
pub(super) struct Drafter {
    pub rules: Naming,
    pub space: Space,
    /// The time of an event that has none of its own.
    pub arrival: Option<EpochMs>,
}

impl Drafter {
    /// For this schema.
    pub fn new(schema: Arc<Schema>) -> Self {
        let rules = Naming::new(schema);
        Drafter { space: Space::new(&rules.names), rules, arrival: None }
    }

    /// Decodes an item, unless it holds more than `room` events: then nothing is handed over
    /// and the answer is false. An item of one event is always decoded.
    pub fn item<C: Codec>(
        &mut self,
        codec: &mut C,
        item: Item<'_>,
        offer: Option<Offer<'_>>,
        room: usize,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool {
        let bare = item.piece(C::bare(item.bytes));
        // Before anything is looked for that would take it apart: nearly every item is this.
        if self.is_usual(codec, bare, offer, each) {
            return true;
        }
        let whole = |reason| Err(Rejected { reason, raw: bare.bytes, part: None });
        let parts = match C::parts(item.bytes) {
            Ok(Some(parts)) => parts,
            Ok(None) => {
                self.one(codec, bare, offer, each);
                return true;
            }
            Err(reason) => {
                each(whole(reason));
                return true;
            }
        };
        // Counted before anything is made of them.
        let most = self.rules.schema.limits.item_events;
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
            let (event, offer) = (item.piece(raw), offer.map(|offer| Offer { part, ..offer }));
            if !self.is_usual(codec, event, offer, each) {
                self.one(codec, event, offer, each);
            }
        }
        true
    }

    #[inline]
    fn is_usual<C: Codec>(
        &mut self,
        codec: &mut C,
        event: Item<'_>,
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool {
        event.bytes.len() <= self.rules.schema.limits.event_bytes
            && codec.usual(self, event, offer, each)
    }

    fn one<C: Codec>(
        &mut self,
        codec: &mut C,
        event: Item<'_>,
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) {
        let most = self.rules.schema.limits.event_bytes;
        let raw = event.bytes;
        if raw.len() > most {
            let reason = format!("an event of {} bytes is longer than {most}", raw.len());
            return each(Err(Rejected { reason, raw, part: part(offer) }));
        }
        codec.event(self, event, offer, each);
    }

    /// An empty draft. Texts that are pieces of `text` are not copied; it is the event's bytes,
    /// or empty where those are no text.
    #[inline]
    pub fn draft<'a>(&'a mut self, text: &'a str, offer: Option<Offer<'_>>) -> Draft<'a> {
        let time = offer.map_or(NoteTime::None, |offer| offer.note.time);
        Draft::new(&self.rules, &mut self.space, text, (self.arrival, time))
    }
}

/// Hands over the event that a draft has become, or the rule that it breaks (`read` is the first).
/// What the event left open is taken from `offer`. `level`: `Native`, or `Envelope` for a
/// CloudEvent.
#[inline]
pub(super) fn hand_over(
    mut draft: Draft<'_>,
    mut read: Result<(), Broken>,
    (raw, level): (&[u8], Level),
    offer: Option<Offer<'_>>,
    each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
) {
    if read.is_ok() {
        read = finish(&mut draft, level, offer);
    }
    let part = part(offer);
    match (read, draft.at) {
        (Err(reason), _) => each(Err(Rejected { reason: reason.into(), raw, part })),
        (Ok(()), None) => unreachable!("an event without a time is not complete"),
        (Ok(()), Some(at)) => {
            let text = |span: Option<Span>| span.map_or("", |span| draft.get(span));
            let id = text(draft.id);
            each(Ok(Parsed {
                at,
                guess: draft.guess,
                id: (!id.is_empty()).then_some(id),
                key: text(draft.key),
                anonymous: text(draft.anonymous),
                event_type: draft
                    .rules
                    .event_types
                    .get(text(draft.event_type))
                    .unwrap_or(Schema::OTHER_TYPE),
                values: &draft.space.values,
                raw,
                texts: (draft.text.as_bytes(), draft.space.scratch.as_bytes()),
                part,
            }));
        }
    }
}

/// Completes a draft that was read.
#[inline]
fn finish(draft: &mut Draft<'_>, level: Level, offer: Option<Offer<'_>>) -> Result<(), Broken> {
    if let Some(offer) = offer {
        fill_in(draft, offer, level)?;
    }
    draft.join_key();
    if level == Level::Native {
        complete(draft)?;
    }
    if !draft.rules.derived.is_empty() {
        derive(draft);
    }
    key_fits(draft)
}

/// Fills in what the event left open. A CloudEvent has its id, so it takes attributes only.
fn fill_in(draft: &mut Draft<'_>, offer: Offer<'_>, level: Level) -> Result<(), Broken> {
    for (name, text) in &offer.note.attributes {
        if let Some(name) = offer.names.get(usize::from(*name)) {
            draft.fill_in(name, text, level)?;
        }
    }
    if offer.note.id.is_empty() || level != Level::Native {
        return Ok(());
    }
    match offer.part {
        None => draft.fill_in("id", &offer.note.id, level),
        part => draft.fill_in("id", &offer.note.id_of(part), level),
    }
}

/// What every native event must have.
#[inline]
fn complete(draft: &mut Draft<'_>) -> Result<(), Broken> {
    draft.at = draft.at.or(draft.arrival);
    if draft.at.is_none() {
        return Err("attribute \"ts\" is missing".into());
    }
    if draft.event_type.is_none_or(|event_type| event_type.len == 0) {
        return Err("attribute \"type\" is missing or empty".into());
    }
    Ok(())
}

/// A session keeps its key in memory and in every commit.
#[inline]
fn key_fits(draft: &Draft<'_>) -> Result<(), Broken> {
    let len = |span: Option<Span>| span.map_or(0, |span| span.len as usize);
    let len = len(draft.key).max(len(draft.anonymous));
    let most = draft.rules.schema.limits.session_key_bytes;
    if len > most {
        return Err(format!(
            "the session key has {len} bytes, at most {most} are allowed (session.key_bytes_max)"
        )
        .into());
    }
    Ok(())
}
