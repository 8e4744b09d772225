//! Goes through the attributes of one JSON object and brings to the draft those that
//! it uses. Everything else is passed over without being looked at.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::context::{CONTEXT, Level, PREFIX, not_an_attribute};
use super::draft::{Broken, Draft};
use super::names::{Names, role};
use super::value::Raw;

/// Reads `text` into `draft` as one object standing at `level`.
///
/// # Errors
/// The rule that was broken.
pub(super) fn read(draft: &mut Draft<'_>, level: Level) -> Result<(), Broken> {
    read_of(draft, draft.text, level)
}

/// The same of a text that is not its own.
///
/// # Errors
/// As for [`read`].
pub(super) fn read_of(draft: &mut Draft<'_>, text: &str, level: Level) -> Result<(), Broken> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Walk { draft: &mut *draft, level }.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| match (draft.failure.take(), draft.reading) {
        (Some(rule), _) => rule,
        (None, Some(index)) => {
            let name = &draft.rules.names.get(index).text;
            format!("not JSON in attribute {name:?}: {error}").into()
        }
        (None, None) => format!("not JSON: {error}").into(),
    })
}

/// Walks one object into a draft.
struct Walk<'w, 'd> {
    draft: &'d mut Draft<'w>,
    level: Level,
}

impl Walk<'_, '_> {
    /// Notes the rule that was broken and stops the reader.
    fn check<T, E: Error>(&mut self, result: Result<T, Broken>) -> Result<T, E> {
        result.map_err(|rule| {
            self.draft.failure = Some(rule);
            E::custom("refused")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Anything but an object can only be the `data` of a CloudEvent (the caller has seen
/// the opening brace of everything else), and then has no attributes.
impl<'de> Visitor<'de> for Walk<'_, '_> {
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
        let level = self.level;
        while let Some(key) = map.next_key_seed(KeySeed { draft: self.draft, level })? {
            match key {
                Key::Ignored => {
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Used(index) => {
                    self.draft.reading = Some(index);
                    let inner = self.draft.rules.names.get(index).inner;
                    let raw = map.next_value_seed(ValueSeed { draft: self.draft, level, inner })?;
                    self.draft.reading = None;
                    let taken = self.draft.take(index, raw, level);
                    self.check(taken)?;
                }
                Key::Context(at) if CONTEXT[usize::from(at)] == "data" => {
                    map.next_value_seed(Walk { draft: self.draft, level: Level::Data })?;
                    let taken = self.draft.take_context(at, Raw::Nested);
                    self.check(taken)?;
                }
                Key::Context(at) => {
                    let inner = None;
                    let raw = map.next_value_seed(ValueSeed { draft: self.draft, level, inner })?;
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

/// Reads one value. Unescaped text goes to the draft's scratch space; objects and arrays are
/// passed over, or walked where names that matter lie inside.
struct ValueSeed<'w, 'd> {
    draft: &'d mut Draft<'w>,
    level: Level,
    /// See `Name::inner`.
    inner: Option<u16>,
}

impl<'w> ValueSeed<'w, '_> {
    /// The same for the value of `index`, inside this one.
    fn of(&mut self, index: u16) -> ValueSeed<'w, '_> {
        let inner = self.draft.rules.names.get(index).inner;
        ValueSeed { draft: self.draft, level: self.level, inner }
    }

    fn take<E: Error>(&mut self, index: u16, raw: Raw) -> Result<(), E> {
        self.draft.take(index, raw, self.level).map_err(|rule| {
            self.draft.failure = Some(rule);
            E::custom("refused")
        })
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = Raw;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    #[inline]
    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    #[inline]
    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    #[inline]
    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Int(value))
    }

    #[inline]
    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(i64::try_from(value).map_or(Raw::Huge(value), Raw::Int))
    }

    #[inline]
    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    #[inline]
    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(self.draft.span(value)))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Raw, A::Error> {
        let Some(inner) = self.inner else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Raw::Nested);
        };
        while let Some(name) =
            map.next_key_seed(Inside { names: &self.draft.rules.names, inner })?
        {
            match name {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(index) => {
                    let raw = map.next_value_seed(self.of(index))?;
                    self.take(index, raw)?;
                }
            }
        }
        Ok(Raw::Nested)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Raw, A::Error> {
        let Some(inner) = self.inner else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Raw::Nested);
        };
        for at in 0usize.. {
            let name = self.draft.rules.names.inside(inner, &compact_str::format_compact!("{at}"));
            match name {
                None if seq.next_element::<IgnoredAny>()?.is_none() => break,
                None => {}
                Some(index) => {
                    let Some(raw) = seq.next_element_seed(self.of(index))? else { break };
                    self.take(index, raw)?;
                }
            }
        }
        Ok(Raw::Nested)
    }
}

/// Looks up one key inside an object.
struct Inside<'w> {
    names: &'w Names,
    inner: u16,
}

impl<'de> DeserializeSeed<'de> for Inside<'_> {
    type Value = Option<u16>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u16>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = Option<u16>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<u16>, E> {
        Ok(self.names.inside(self.inner, name))
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
struct KeySeed<'w, 'd> {
    draft: &'d mut Draft<'w>,
    level: Level,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_> {
    type Value = Key;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_, '_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }

    #[inline]
    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        if let Err(rule) = self.draft.admit(name.len()) {
            self.draft.failure = Some(rule);
            return Ok(Key::Refused);
        }
        if self.level == Level::Envelope
            && let Some(at) = CONTEXT.iter().position(|known| *known == name)
        {
            return Ok(Key::Context(at as u8));
        }
        if self.level == Level::Envelope && name.starts_with(PREFIX) {
            self.draft.failure = Some(not_an_attribute(name).into());
            return Ok(Key::Refused);
        }
        let Some(index) = self.draft.rules.names.find(name) else {
            return Ok(Key::Ignored);
        };
        let roles = self.draft.rules.names.get(index).roles;
        if self.level == Level::Native && roles & role::SPECVERSION != 0 {
            return Ok(Key::Cloudevent);
        }
        Ok(Key::Used(index))
    }
}
