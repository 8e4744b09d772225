//! Decoded events on their way to a shard: which one, and how they lie in its batch.

use std::sync::Arc;

use bytes::Bytes;

use super::parsed::Parsed;
use super::{Event, Hints, RawBatch, Schema, Span, Value};
use crate::hash::{EventIdentity, key_hash, shard_of};
use crate::time::EpochMs;

/// Texts up to this long are copied beside each other. A shard then reads a line of memory or
/// two for all texts of an event, and not one for each; the bytes as they came are read only
/// where they are kept, for a late event or a dead letter.
const SHORT: usize = 64;

/// Where an event goes, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The shard, less than the number of them.
    pub shard: u16,
    key_hash: u64,
    identity: EventIdentity,
}

impl Route {
    /// The way of an event among `shards`. One without a key goes where its id (or its bytes)
    /// send it.
    pub fn of(schema: &Schema, parsed: &Parsed<'_>, shards: u16) -> Self {
        let key_hash_of = |text: &[u8]| key_hash(schema.seed, text);
        let hash = match parsed.known() {
            "" => 0,
            key => key_hash_of(key.as_bytes()),
        };
        let route = match (hash, parsed.id) {
            (0, Some(id)) => key_hash_of(id.as_bytes()),
            (0, None) => key_hash_of(parsed.raw),
            (hash, _) => hash,
        };
        let identity = match parsed.id {
            Some(id) => EventIdentity::of(schema.seed, route, id.as_bytes()),
            None => EventIdentity::NONE,
        };
        Route { shard: shard_of(route, shards), key_hash: hash, identity }
    }
}

/// Decoded events of one shard, in source order.
#[derive(Debug, Default)]
pub struct EventBatch {
    /// The buffer that spans refer to.
    pub data: Bytes,
    /// Unescaped text, addressed after the end of `data`.
    pub extra: Vec<u8>,
    /// The events.
    pub events: Vec<Event>,
    /// Where `Schema::anonymous` is named: the visitor's key before it was known, of each event;
    /// else empty.
    pub anonymous: Vec<Span>,
    /// `width` values for each event.
    pub slots: Vec<Value>,
    /// Number of slots of an event.
    pub width: usize,
    /// Number of the source they came from.
    pub source: u16,
    /// Number of the raw batch they came in, counted over all sources since the start: with
    /// position and part the place of an event in the one order of all.
    pub number: u64,
    /// The items with their notes; `None` where the source has none.
    pub noted: Option<Arc<RawBatch>>,
}

impl EventBatch {
    /// Adds an event; its texts become spans. `keeps_anonymous`: the schema
    /// names the key of visitors who are not known yet.
    pub fn push(
        &mut self,
        parsed: &Parsed<'_>,
        route: Route,
        (position, watermark): (u64, EpochMs),
        keeps_anonymous: bool,
    ) {
        let key = self.near(parsed.known().as_bytes());
        if keeps_anonymous {
            let anonymous = self.near(parsed.anonymous.as_bytes());
            self.anonymous.push(anonymous);
        }
        let raw = self.span(parsed.raw);
        for value in parsed.values {
            let value = match value {
                Value::Text(text) => Value::Text(self.near(parsed.text(*text))),
                other => *other,
            };
            self.slots.push(value);
        }
        self.events.push(Event {
            at: parsed.at,
            watermark,
            position,
            key_hash: route.key_hash,
            identity: route.identity,
            key,
            raw,
            part: parsed.part.unwrap_or(Event::WHOLE),
            event_type: parsed.event_type,
        });
    }

    /// Where a text lies; a short one is copied, so that those of an event lie together.
    fn near(&mut self, text: &[u8]) -> Span {
        if text.len() > SHORT { self.span(text) } else { self.copy(text) }
    }

    /// Where a text lies in the shared buffer; copied behind it when it was unescaped.
    fn span(&mut self, text: &[u8]) -> Span {
        let (data, len) = (&self.data, text.len() as u32);
        let start = (text.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
        if start <= data.len() && start + text.len() <= data.len() {
            return Span { start: start as u32, len };
        }
        self.copy(text)
    }

    fn copy(&mut self, text: &[u8]) -> Span {
        let start = (self.data.len() + self.extra.len()) as u32;
        self.extra.extend_from_slice(text);
        Span { start, len: text.len() as u32 }
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &[u8] {
        let (start, len) = (span.start as usize, span.len as usize);
        match start.checked_sub(self.data.len()) {
            None => &self.data[start..start + len],
            Some(start) => &self.extra[start..start + len],
        }
    }

    /// Reads a little of each cache line that handling event `index` will touch, and means
    /// nothing: asked for several events before any of them is handled, it lets the waits for
    /// memory overlap.
    #[inline]
    pub fn glance(&self, index: usize) -> (Option<u8>, bool) {
        let key = self.text(self.events[index].key).first().copied();
        let value = self.slots.get(index * self.width);
        (key, matches!(value, Some(Value::Missing)))
    }

    /// What its source knew of an event besides its bytes.
    pub fn hints(&self, event: &Event) -> Hints {
        let Some(raw) = &self.noted else { return Hints::default() };
        let item = raw.items.binary_search_by_key(&event.position, |item| item.position);
        let part = (event.part != Event::WHOLE).then_some(event.part);
        item.map(|index| raw.hints(index, part)).unwrap_or_default()
    }

    /// The slot values of event `index`.
    pub fn values(&self, index: usize) -> &[Value] {
        &self.slots[index * self.width..(index + 1) * self.width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CheckedBatch;
    use crate::event::decode::Decoder;

    fn schema() -> Schema {
        Schema {
            slots: ["user", "n", "t", "b", "o"].map(String::from).to_vec(),
            anonymous: Some("visitor".to_owned()),
            ..Schema::default()
        }
    }

    /// The batch of these lines in one buffer, and the ways of their events.
    fn batch(schema: &Schema, lines: &[&str], shards: u16) -> (EventBatch, Vec<Route>) {
        let items = (1u64..).zip(lines);
        let checked = CheckedBatch::from(RawBatch::of(0, items));
        let raw = &checked.raw;
        let width = schema.slots.len();
        let mut batch = EventBatch { data: raw.data.clone(), width, ..EventBatch::default() };
        let mut decoder = Decoder::new(Arc::new(schema.clone()));
        let mut routes = Vec::new();
        for (index, item) in raw.items.iter().enumerate() {
            decoder.decode_raw(&checked, index, usize::MAX, |event| {
                let event = event.unwrap();
                let route = Route::of(schema, &event, shards);
                batch.push(&event, route, (item.position, 7), schema.anonymous.is_some());
                routes.push(route);
            });
        }
        (batch, routes)
    }

    #[test]
    fn short_texts_lie_together_and_others_where_they_came() {
        let long = "w".repeat(SHORT + 1);
        let long = format!(r#"{{"ts":3,"type":"a","visitor":"v2","t":"{long}"}}"#);
        let lines = [
            r#"{"ts":1,"type":"a","user":"ada","n":1.5,"t":"plain","b":true,"o":[1]}"#,
            r#"{"ts":2,"type":"a","user":"b\u0062","t":"x\ny","visitor":"v\"1"}"#,
            &long,
        ];
        let (batch, _) = batch(&schema(), &lines, 4);
        let text = |span: Span| std::str::from_utf8(batch.text(span)).unwrap();
        let shown = |value: &Value| match value {
            Value::Text(span) => text(*span).to_owned(),
            other => format!("{other:?}"),
        };
        let values = |index| batch.values(index).iter().map(shown).collect::<Vec<_>>();
        assert_eq!(values(0)[0], "ada");
        assert_eq!(values(0)[2..], ["plain", "Bool(true)", "Unusable(Nested)"]);
        assert_eq!(values(1), ["bb", "Missing", "x\ny", "Missing", "Missing"]);
        let keys: Vec<_> = batch.events.iter().map(|event| text(event.key)).collect();
        assert_eq!(keys, ["ada", "bb", "v2"]);
        let anonymous: Vec<_> = batch.anonymous.iter().map(|span| text(*span)).collect();
        assert_eq!(anonymous, ["", "v\"1", "v2"]);
        for (event, line) in batch.events.iter().zip(lines) {
            assert_eq!((text(event.raw), event.watermark), (line, 7));
            assert!((event.raw.start as usize) < batch.data.len(), "copied: {line}");
        }
        // A key is a slot here too.
        assert_eq!(batch.extra, b"adaadaplainbbv\"1bbx\nyv2v2");
        let Value::Text(kept) = batch.values(2)[2] else { panic!("a text") };
        assert!((kept.start as usize) < batch.data.len(), "a long one is not copied");
    }

    #[test]
    fn a_key_goes_one_way_and_ids_or_bytes_decide_without_one() {
        let line = |user: &str, id: &str, n: u32| {
            format!(r#"{{"ts":1,"type":"a","user":"{user}","id":"{id}","n":{n}}}"#)
        };
        let routes = |lines: &[String]| {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            batch(&schema(), &lines, 64).1
        };
        let of = |user: &str, id: &str| -> Vec<Route> {
            routes(&(0..50).map(|n| line(user, id, n)).collect::<Vec<_>>())
        };
        let shards = |routes: &[Route]| {
            let shards: std::collections::BTreeSet<u16> =
                routes.iter().map(|route| route.shard).collect();
            assert!(shards.iter().all(|shard| *shard < 64));
            shards.len()
        };
        assert_eq!(shards(&of("ada", "")), 1);
        assert_eq!(shards(&of("", "one id")), 1);
        assert!(shards(&of("", "")) > 10, "their bytes differ");
        assert!(of("", "").iter().all(|route| route.key_hash == 0 && route.identity.is_none()));
        let [one, other] = [of("ada", "x")[0], of("ada", "y")[0]];
        assert_eq!((one.shard, one.key_hash), (other.shard, other.key_hash));
        assert_ne!(one.identity, other.identity);
        let known = routes(&[line("ada", "", 0), line("", "", 0).replace("\"id\"", "\"x\"")]);
        assert_ne!(known[0].key_hash, 0);
        // A visitor who is not known yet is their own key.
        let visitor = r#"{"ts":1,"type":"a","visitor":"ada"}"#.to_owned();
        assert_eq!(routes(&[visitor])[0].key_hash, known[0].key_hash);
    }
}
