//! Which attribute names matter, found by length and bytes.
//!
//! A general hash map would cost more than the comparison: an event has some ten
//! keys, and hardly two of the names we look for are equally long. Built once from
//! the schema, asked for every key of every event.

use std::sync::Arc;

use super::Schema;
use super::derived::{Derivation, derivations};

/// Small table from text to index: grouped by length, then compared.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// `by_len[len]` is the range of `names` with that length.
    by_len: Vec<(u16, u16)>,
    names: Vec<(Box<str>, u16)>,
}

impl Lookup {
    /// A table over `names`; the first of equal names wins. At most 65,535 names.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut named: Vec<(Box<str>, u16)> = Vec::new();
        for (index, name) in names.enumerate().take(usize::from(u16::MAX)) {
            if !named.iter().any(|(known, _)| **known == *name) {
                named.push((name.into(), index as u16));
            }
        }
        named.sort_by_key(|(name, index)| (name.len(), *index));
        let longest = named.last().map_or(0, |(name, _)| name.len());
        let mut by_len = vec![(0, 0); longest + 1];
        for (at, (name, _)) in named.iter().enumerate() {
            let range = &mut by_len[name.len()];
            if range.1 == 0 {
                range.0 = at as u16;
            }
            range.1 = at as u16 + 1;
        }
        Lookup { by_len, names: named }
    }

    /// The index of `name`, if it is one of ours.
    #[inline]
    pub fn get(&self, name: &str) -> Option<u16> {
        let (from, to) = *self.by_len.get(name.len())?;
        let same_length = &self.names[usize::from(from)..usize::from(to)];
        same_length.iter().find(|(known, _)| **known == *name).map(|(_, index)| *index)
    }
}

/// Parts that an attribute can play, as bits. One attribute can play several: the
/// key attribute may have a slot too.
pub(super) mod role {
    /// Event time.
    pub const TS: u8 = 1;
    /// Event type.
    pub const TYPE: u8 = 2;
    /// Event id.
    pub const ID: u8 = 4;
    /// Session key.
    pub const KEY: u8 = 8;
    /// A value in the schema's slots.
    pub const SLOT: u8 = 16;
    /// Says that the event is a CloudEvent.
    pub const SPECVERSION: u8 = 32;
    /// The key of a visitor who is not known yet.
    pub const ANONYMOUS: u8 = 64;
}

/// One attribute name that matters.
#[derive(Debug)]
pub(super) struct Name {
    /// As it stands in the event; a path (`properties.price`) is written with dots.
    pub text: Box<str>,
    /// See [`role`]. None for an object or array that only leads to others.
    pub roles: u8,
    /// Slot index; means something only with [`role::SLOT`].
    pub slot: u16,
    /// Which attribute it is: aliases share the number of the name they stand for.
    pub attribute: u16,
    /// 0 for the name itself, growing for its aliases: the least one present wins. An
    /// attribute that is literally called like a path comes just before the path.
    pub rank: u16,
    /// Which part of a key of several attributes; means something only with [`role::KEY`].
    pub part: u8,
    /// What is looked for inside its value, see [`Names::inside`].
    pub inner: Option<u16>,
}

/// All names that matter.
#[derive(Debug)]
pub(super) struct Names {
    lookup: Lookup,
    names: Vec<Name>,
    inner: Vec<Inner>,
    keys: u8,
}

/// The names that matter inside one object or array.
#[derive(Debug, Default)]
struct Inner {
    segments: Vec<Box<str>>,
    /// By segment: its name.
    names: Vec<u16>,
    lookup: Lookup,
}

impl Names {
    /// The names that `schema` uses.
    pub fn new(schema: &Schema) -> Self {
        let mut names: Vec<Name> = Vec::new();
        let mut play = |text: &str, roles: u8, slot: u16, part: u8| {
            let at = names.iter().position(|name| *name.text == *text).unwrap_or_else(|| {
                let attribute = names.len() as u16;
                names.push(Name {
                    text: text.into(),
                    roles: 0,
                    slot: 0,
                    attribute,
                    rank: 0,
                    part: 0,
                    inner: None,
                });
                names.len() - 1
            });
            names[at].roles |= roles;
            if roles & role::SLOT != 0 {
                names[at].slot = slot;
            }
            if roles & role::KEY != 0 {
                names[at].part = part;
            }
        };
        play("ts", role::TS, 0, 0);
        play("type", role::TYPE, 0, 0);
        play("id", role::ID, 0, 0);
        for (part, key) in schema.keys.iter().enumerate() {
            play(key, role::KEY, 0, part as u8);
        }
        if let Some(anonymous) = &schema.anonymous {
            play(anonymous, role::ANONYMOUS, 0, 0);
        }
        play("specversion", role::SPECVERSION, 0, 0);
        for (slot, text) in schema.slots.iter().enumerate() {
            if schema.derived.iter().any(|derived| derived.name == *text) {
                continue;
            }
            play(text, role::SLOT, slot as u16, 0);
        }
        for (rank, (text, used)) in schema.aliases.iter().enumerate() {
            let Some(used) = names.iter().find(|name| name.rank == 0 && *name.text == **used)
            else {
                continue;
            };
            let Name { roles, slot, attribute, part, .. } = *used;
            let rank = 2 * (rank as u16 + 1).min(MAX_RANK);
            let text = text.as_str().into();
            names.push(Name { text, roles, slot, attribute, rank, part, inner: None });
        }
        let keys = schema.keys.len() as u8;
        let mut all = Names { lookup: Lookup::default(), names, inner: Vec::new(), keys };
        let top = all.names.len();
        for at in 0..top {
            let path = all.names[at].text.clone();
            let Some((first, _)) = split_path(&path) else { continue };
            if !all.names.iter().any(|name| *name.text == *first) {
                all.add(first);
            }
        }
        // What is found at the top; names inside others come behind it.
        all.lookup = Lookup::new(all.names.iter().map(|name| &*name.text));
        (0..top).for_each(|at| all.lead_to(at));
        for inner in &mut all.inner {
            inner.lookup = Lookup::new(inner.segments.iter().map(|segment| &**segment));
        }
        all
    }

    /// Adds what leads to the name at `at` if it is a path.
    fn lead_to(&mut self, at: usize) {
        let path = self.names[at].text.clone();
        let Some((first, rest)) = split_path(&path) else { return };
        let Some(mut here) = self.lookup.get(first) else { return };
        let mut so_far = first.to_owned();
        for segment in rest.split('.') {
            so_far = format!("{so_far}.{segment}");
            here = self.child(here, segment, &so_far);
        }
        let Name { roles, slot, attribute, part, rank, .. } = self.names[at];
        let end = &mut self.names[usize::from(here)];
        (end.roles, end.slot, end.attribute, end.part) = (roles, slot, attribute, part);
        end.rank = rank + 1;
    }

    /// A name that plays no part.
    fn add(&mut self, text: &str) -> u16 {
        let attribute = self.names.len() as u16;
        let (text, inner) = (text.into(), None);
        self.names.push(Name { text, roles: 0, slot: 0, attribute, rank: 0, part: 0, inner });
        attribute
    }

    /// The name of `segment` inside that of `parent`.
    fn child(&mut self, parent: u16, segment: &str, text: &str) -> u16 {
        let inner = match self.names[usize::from(parent)].inner {
            Some(inner) => usize::from(inner),
            None => {
                self.inner.push(Inner::default());
                self.names[usize::from(parent)].inner = Some(self.inner.len() as u16 - 1);
                self.inner.len() - 1
            }
        };
        let segments = &self.inner[inner].segments;
        if let Some(at) = segments.iter().position(|known| **known == *segment) {
            return self.inner[inner].names[at];
        }
        let new = self.add(text);
        self.inner[inner].segments.push(segment.into());
        self.inner[inner].names.push(new);
        new
    }

    /// Index of a name that matters.
    #[inline]
    pub fn find(&self, text: &str) -> Option<u16> {
        self.lookup.get(text)
    }

    /// Every name that is found at the top, with its index.
    pub fn top(&self) -> impl Iterator<Item = (&str, u16)> {
        self.lookup.names.iter().map(|(name, index)| (&**name, *index))
    }

    /// Index of a name that matters inside the value of another ([`Name::inner`]).
    #[inline]
    pub fn inside(&self, inner: u16, segment: &str) -> Option<u16> {
        let inner = &self.inner[usize::from(inner)];
        Some(inner.names[usize::from(inner.lookup.get(segment)?)])
    }

    /// Every name with this text: the literal one, and the path.
    pub fn every(&self, text: &str) -> impl Iterator<Item = u16> {
        let names = self.names.iter().zip(0u16..);
        names.filter(move |(name, _)| *name.text == *text).map(|(_, index)| index)
    }

    /// The name at `index`, as given by [`Names::find`].
    #[inline]
    pub fn get(&self, index: u16) -> &Name {
        &self.names[usize::from(index)]
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Of how many attributes the key is made.
    #[inline]
    pub fn keys(&self) -> u8 {
        self.keys
    }
}

/// A path as its first segment and the rest; `None` for a plain name.
fn split_path(text: &str) -> Option<(&str, &str)> {
    let is_path = text.contains('.') && !text.split('.').any(str::is_empty);
    is_path.then(|| text.split_once('.')).flatten()
}

/// Aliases past this many share one rank.
const MAX_RANK: u16 = 100;

/// What all drafts go by.
#[derive(Debug)]
pub(super) struct Naming {
    pub schema: Arc<Schema>,
    pub names: Names,
    pub event_types: Lookup,
    pub derived: Vec<Derivation>,
}

impl Naming {
    pub fn new(schema: Arc<Schema>) -> Self {
        let event_types = Lookup::new(schema.event_types.iter().map(String::as_str));
        let derived = derivations(&schema);
        Naming { names: Names::new(&schema), event_types, derived, schema }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_name_and_nothing_else() {
        let words = ["ts", "id", "type", "user", "kind", "", "a-rather-long-name", "user"];
        let lookup = Lookup::new(words.into_iter());
        for (index, word) in words.iter().enumerate().take(7) {
            assert_eq!(lookup.get(word), Some(index as u16), "{word}");
        }
        assert_eq!(lookup.get("User"), None);
        assert_eq!(lookup.get("x"), None);
        assert_eq!(lookup.get("longer than every name that is known"), None);
        assert_eq!(Lookup::default().get(""), None);
    }

    #[test]
    fn one_attribute_may_play_several_parts() {
        let schema = Schema {
            slots: vec!["user".into(), "status".into(), "type".into()],
            aliases: vec![("code".into(), "status".into()), ("x".into(), "unused".into())],
            ..Schema::default()
        };
        let names = Names::new(&schema);
        let user = names.get(names.find("user").unwrap());
        assert_eq!((user.roles, user.slot), (role::KEY | role::SLOT, 0));
        let (status, code) = (names.find("status").unwrap(), names.find("code").unwrap());
        assert_eq!(names.get(status).attribute, names.get(code).attribute);
        assert_eq!((names.get(status).rank, names.get(code).rank), (0, 2));
        assert_eq!(names.find("x"), None, "an alias of nothing used is not used");
    }

    #[test]
    fn a_path_leads_to_its_name_and_the_literal_name_comes_first() {
        let schema = Schema {
            slots: vec!["a.b.0".into(), "a".into(), "x..y".into(), ".".into()],
            aliases: vec![("p.q".into(), "a".into()), ("p.q.r".into(), "user".into())],
            ..Schema::default()
        };
        let names = Names::new(&schema);
        let inside = |name: u16, segment| names.inside(names.get(name).inner.unwrap(), segment);
        let a = names.find("a").unwrap();
        let b = inside(a, "b").unwrap();
        let end = inside(b, "0").unwrap();
        let literal = names.get(names.find("a.b.0").unwrap());
        assert_eq!(names.get(a).roles, role::SLOT);
        assert_eq!((names.get(b).roles, &*names.get(b).text), (0, "a.b"));
        assert_eq!((names.get(end).slot, names.get(end).attribute), (0, literal.attribute));
        assert_eq!((literal.rank, names.get(end).rank), (0, 1));
        assert_eq!(inside(a, "c"), None);
        let q = inside(names.find("p").unwrap(), "q").unwrap();
        assert_eq!((names.get(q).attribute, names.get(q).rank), (names.get(a).attribute, 3));
        assert_eq!(names.get(inside(q, "r").unwrap()).roles, role::KEY);
        assert_eq!(names.find("x"), None, "a name with an empty segment is not a path");
    }
}
