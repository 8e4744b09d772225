//! Ids: found in an event or made once, before the first try, and written into it.
//!
//! Whoever sends an event again sends the same id, so the stream, and after it the
//! engine, know that it is the same event.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::PublishError;

/// Longest id that is sent as `Nats-Msg-Id` as it is; of a longer one its hash is sent.
const MESSAGE_ID_BYTES_MAX: usize = 128;

/// Makes ids that grow with time: UUIDs of version 7.
#[derive(Debug)]
pub(super) struct Ids(StdRng);

impl Ids {
    /// Seeded by the system.
    pub fn new() -> Self {
        let mut seed = [0; 32];
        for (n, part) in seed.chunks_exact_mut(8).enumerate() {
            // Every `RandomState` has keys of its own, which came from the system.
            part.copy_from_slice(&RandomState::new().hash_one(n).to_le_bytes());
        }
        Ids(StdRng::from_seed(seed))
    }

    /// The next id: 48 bits of time in ms, 74 random ones.
    pub fn next(&mut self, now: i64) -> String {
        let random: u128 = self.0.random();
        let time = (now.max(0) as u128 & 0xffff_ffff_ffff) << 80;
        let id = time | (random & 0x0fff_3fff_ffff_ffff_ffff) | (7 << 76) | (2 << 62);
        let hex = format!("{id:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

/// An event and its id.
#[derive(Debug)]
pub(super) struct Identified {
    pub id: String,
    pub event: Bytes,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// Tells `null`, which is to be replaced, from nothing at all.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Takes the id of an event, or writes `make()` into it when it has none.
///
/// # Errors
/// `Invalid` when it is not one JSON object, or its id is neither text nor a number.
pub(super) fn identify(
    event: Bytes,
    make: impl FnOnce() -> String,
) -> Result<Identified, PublishError> {
    let text = std::str::from_utf8(&event).map_err(invalid)?;
    let object = text.trim_ascii_start();
    if !object.starts_with('{') {
        return Err(PublishError::Invalid("it must be one JSON object".into()));
    }
    let head: Head<'_> = serde_json::from_str(text).map_err(invalid)?;
    let start = text.len() - object.len() + 1;
    let Some(found) = head.id.map(RawValue::get) else {
        let id = make();
        let rest = &text[start..];
        let comma = if rest.trim_ascii_start().starts_with('}') { "" } else { "," };
        let event = format!("{{\"id\":\"{id}\"{comma}{rest}").into();
        return Ok(Identified { id, event });
    };
    if let Some(id) = own(found)? {
        return Ok(Identified { id: id.into_owned(), event });
    }
    let id = make();
    let at = found.as_ptr() as usize - text.as_ptr() as usize;
    let event = format!("{}\"{id}\"{}", &text[..at], &text[at + found.len()..]).into();
    Ok(Identified { id, event })
}

/// The id that an event brings; `None` for `null` and empty text.
fn own(found: &str) -> Result<Option<Cow<'_, str>>, PublishError> {
    match found.as_bytes()[0] {
        b'"' => {
            let text: Cow<'_, str> = match serde_json::from_str::<&str>(found) {
                Ok(plain) => plain.into(),
                Err(_) => serde_json::from_str::<String>(found).map_err(invalid)?.into(),
            };
            Ok((!text.is_empty()).then_some(text))
        }
        b'n' => Ok(None),
        b'-' | b'0'..=b'9' => Ok(Some(found.into())),
        _ => Err(PublishError::Invalid("its id must be text or a number".into())),
    }
}

fn invalid(cause: impl ToString) -> PublishError {
    PublishError::Invalid(cause.to_string())
}

/// An id as it can stand in a header: as it is, or its hash when it is long or holds
/// what a header does not carry.
pub(super) fn message_id(id: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_graphic();
    if id.len() <= MESSAGE_ID_BYTES_MAX && id.bytes().all(plain) {
        id.into()
    } else {
        hashed(id.as_bytes()).into()
    }
}

/// Bytes of the id of a pack.
pub(super) const PACK_ID_BYTES: usize = 32;

/// Id of a pack: a hash of its bytes, so the same events packed alike are known again.
pub(super) fn hashed(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: &str) -> Result<(String, String), PublishError> {
        let found = identify(Bytes::from(event.to_owned()), || "new".into())?;
        Ok((found.id, String::from_utf8(found.event.to_vec()).unwrap()))
    }

    #[test]
    fn an_own_id_is_kept_and_a_missing_one_written() {
        for (event, id, written) in [
            (r#"{"id":"a","x":1}"#, "a", r#"{"id":"a","x":1}"#),
            (r#"{"x":{"id":"b"},"id":17}"#, "17", r#"{"x":{"id":"b"},"id":17}"#),
            (r#"{"id":"a\"\u00e9"}"#, "a\"é", r#"{"id":"a\"\u00e9"}"#),
            (r#"{"x":1}"#, "new", r#"{"id":"new","x":1}"#),
            (r#" {}"#, "new", r#"{"id":"new"}"#),
            (r#"{ }"#, "new", r#"{"id":"new" }"#),
            (r#"{"x":1, "id" : null }"#, "new", r#"{"x":1, "id" : "new" }"#),
            (r#"{"id":"","x":1}"#, "new", r#"{"id":"new","x":1}"#),
        ] {
            assert_eq!(check(event).unwrap(), (id.into(), written.into()), "{event}");
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for event in ["", "[]", "17", "{", r#"{"id":{}}"#, r#"{"id":true}"#, "{} {}"] {
            assert!(matches!(check(event), Err(PublishError::Invalid(_))), "{event}");
        }
        let latin = identify(Bytes::from_static(b"{\"x\":\"\xe9\"}"), String::new);
        assert!(matches!(latin, Err(PublishError::Invalid(_))));
    }

    #[test]
    fn made_ids_are_uuids_that_grow_with_time() {
        let mut ids = Ids::new();
        let (early, late) = (ids.next(1_700_000_000_000), ids.next(1_700_000_000_001));
        assert!(early < late, "{early} {late}");
        for id in [&early, &late] {
            assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
            assert!("89ab".contains(&id[19..20]), "{id}");
        }
        assert_ne!(ids.next(1), Ids::new().next(1));
    }

    #[test]
    fn an_id_that_no_header_carries_is_hashed() {
        assert_eq!(message_id("order-17"), "order-17");
        let (long, with_break) = ("x".repeat(200), "a\r\nb");
        for id in [&*long, with_break, " a", "é"] {
            assert_eq!(message_id(id).len(), 32, "{id:?}");
        }
        assert_ne!(message_id("é"), message_id("è"));
    }
}
