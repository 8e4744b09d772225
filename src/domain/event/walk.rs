//! Goes through the attributes of one JSON object and brings to the draft those that
//! it uses. Everything else is passed over without being looked at.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::binding;
use super::draft::{CONTEXT, Draft, Place};
use super::names::role;
use super::value::{Raw, RawSeed};

/// Walks one object into a draft.
pub(super) struct Walk<'de, 'w, 'd> {
    pub draft: &'d mut Draft<'de, 'w>,
    pub place: Place,
}

impl Walk<'_, '_, '_> {
    /// Notes the rule that was broken and stops the reader.
    fn check<T, E: Error>(&mut self, result: Result<T, String>) -> Result<T, E> {
        result.map_err(|rule| {
            self.draft.failure = Some(rule);
            E::custom("refused")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'de, '_, '_> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Anything but an object can only be the `data` of a CloudEvent (the caller has seen
/// the opening brace of everything else), and then has no attributes.
impl<'de> Visitor<'de> for Walk<'de, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let place = self.place;
        while let Some(key) = map.next_key_seed(KeySeed { draft: self.draft, place })? {
            match key {
                Key::Ignored => {
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Used(index) => {
                    self.draft.reading = Some(index);
                    let raw = map.next_value_seed(RawSeed { scratch: self.draft.scratch })?;
                    self.draft.reading = None;
                    let taken = self.draft.take(index, raw, place);
                    self.check(taken)?;
                }
                Key::Context(at) if CONTEXT[usize::from(at)] == "data" => {
                    map.next_value_seed(Walk { draft: self.draft, place: Place::Data })?;
                    let taken = self.draft.take_context(at, Raw::Nested);
                    self.check(taken)?;
                }
                Key::Context(at) => {
                    let raw = map.next_value_seed(RawSeed { scratch: self.draft.scratch })?;
                    let taken = self.draft.take_context(at, raw);
                    self.check(taken)?;
                }
                Key::Cloudevent => {
                    self.draft.is_cloudevent = true;
                    return Err(A::Error::custom("a CloudEvent"));
                }
                Key::Refused => return Err(A::Error::custom("refused")),
            }
        }
        Ok(())
    }
}

/// What to do with the value that follows a key.
enum Key {
    /// Pass over it.
    Ignored,
    /// It belongs to a name of the schema.
    Used(u16),
    /// It belongs to the attribute of [`CONTEXT`] with this index.
    Context(u8),
    /// Start again: this is a CloudEvent.
    Cloudevent,
    /// A rule is broken, see `Draft::failure`.
    Refused,
}

/// Reads one key and looks it up.
struct KeySeed<'de, 'w, 'd> {
    draft: &'d mut Draft<'de, 'w>,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'de, '_, '_> {
    type Value = Key;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'de, '_, '_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }

    #[inline]
    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        if let Err(rule) = self.draft.admit(name) {
            self.draft.failure = Some(rule);
            return Ok(Key::Refused);
        }
        if self.place == Place::Envelope
            && let Some(at) = CONTEXT.iter().position(|known| *known == name)
        {
            return Ok(Key::Context(at as u8));
        }
        if self.place == Place::Envelope && name.starts_with(binding::PREFIX) {
            self.draft.failure = Some(binding::not_an_attribute(name));
            return Ok(Key::Refused);
        }
        let Some(index) = self.draft.names.find(name) else {
            return Ok(Key::Ignored);
        };
        let roles = self.draft.names.get(index).roles;
        if self.place == Place::Native && roles & role::SPECVERSION != 0 {
            return Ok(Key::Cloudevent);
        }
        Ok(Key::Used(index))
    }
}
