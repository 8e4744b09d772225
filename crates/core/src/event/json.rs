//! Events in JSON, native ones and CloudEvents: an object, an array of them, or NDJSON.
//!
//! A usual event is read by `scan`, any other by the general reader (`walk`). What an item is
//! made of beyond a line with one event is found out in `split`.

use super::Limits;
use super::cloudevent;
use super::codec::{Codec, Drafter, Item, Offer, hand_over, part};
use super::context::Level;
use super::draft::Broken;
use super::parsed::{Parsed, Rejected};
use super::scan::Scanner;
use super::split::Parts;
use super::walk;

/// The codec of JSON.
#[derive(Debug)]
pub(super) struct Json {
    scanner: Scanner,
}

impl Json {
    /// `scans`: usual events are left to the scanner.
    pub fn new(drafter: &Drafter, scans: bool) -> Self {
        // What the scanner reads is one deep.
        let scans = scans && drafter.rules.schema.limits.depth > 0;
        Json { scanner: Scanner::new(&drafter.rules.names, scans) }
    }
}

impl Codec for Json {
    type Parts<'a> = Parts<'a>;

    #[inline]
    fn bare(item: &[u8]) -> &[u8] {
        item.trim_ascii()
    }

    #[inline]
    fn parts(item: &[u8]) -> Result<Option<Parts<'_>>, String> {
        let bare = Json::bare(item);
        let one = bare.first() == Some(&b'{') && memchr::memchr(b'\n', bare).is_none();
        if one { Ok(None) } else { Parts::of(item).map(Some) }
    }

    #[inline]
    fn usual(
        &mut self,
        drafter: &mut Drafter,
        event: Item<'_>,
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) -> bool {
        if !self.scanner.may(event.bytes) {
            return false;
        }
        let Ok(text) = event.text() else { return false };
        let mut draft = drafter.draft(text, offer);
        let done = self.scanner.scan(&mut draft);
        if done {
            hand_over(draft, Ok(()), (event.bytes, Level::Native), offer, each);
        }
        done
    }

    fn event(
        &mut self,
        drafter: &mut Drafter,
        event: Item<'_>,
        offer: Option<Offer<'_>>,
        each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
    ) {
        let raw = event.bytes;
        let text = match object(event) {
            Ok(text) => text,
            Err(reason) => return each(Err(Rejected { reason, raw, part: part(offer) })),
        };
        let deep = shallow(raw, &drafter.rules.schema.limits);
        let mut draft = drafter.draft(text, offer);
        let read = deep.and_then(|()| walk::read(&mut draft, Level::Native));
        if draft.is_cloudevent {
            return envelope(drafter, text, offer, each);
        }
        hand_over(draft, read, (raw, Level::Native), offer, each);
    }
}

fn envelope(
    drafter: &mut Drafter,
    text: &str,
    offer: Option<Offer<'_>>,
    each: &mut impl FnMut(Result<Parsed<'_>, Rejected<'_>>),
) {
    let unpacked = match cloudevent::unpack(text) {
        Ok(unpacked) => unpacked,
        Err(reason) => {
            return each(Err(Rejected { reason, raw: text.as_bytes(), part: part(offer) }));
        }
    };
    let mut draft = drafter.draft(text, offer);
    let read = cloudevent::read(&mut draft, unpacked.as_deref());
    hand_over(draft, read, (text.as_bytes(), Level::Envelope), offer, each);
}

/// The text of what begins like an object.
fn object(event: Item<'_>) -> Result<&str, String> {
    let text =
        event.text().map_err(|error| format!("not UTF-8 from byte {} on", error.valid_up_to()))?;
    if event.bytes.first() != Some(&b'{') {
        return Err(match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => "an event must be a JSON object".to_owned(),
            Err(error) => format!("not JSON: {error}"),
        });
    }
    Ok(text)
}

/// Whether an object is nested no deeper than allowed.
fn shallow(raw: &[u8], limits: &Limits) -> Result<(), Broken> {
    // Brackets inside texts are counted too, so this only says when to look closer.
    let brackets = openings(raw);
    if brackets > limits.depth {
        let depth = depth(raw);
        if depth > limits.depth {
            return Err(format!("nested {depth} deep, at most {} is allowed", limits.depth).into());
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
