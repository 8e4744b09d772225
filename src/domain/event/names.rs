//! Which attribute names matter, found by length and bytes.
//!
//! A general hash map would cost more than the comparison: an event has some ten
//! keys, and hardly two of the names we look for are equally long. Built once from
//! the schema, asked for every key of every event.

use super::Schema;

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
}

/// One attribute name that matters.
#[derive(Debug)]
pub(super) struct Name {
    /// As it stands in the event.
    pub text: Box<str>,
    /// See [`role`].
    pub roles: u8,
    /// Slot index; means something only with [`role::SLOT`].
    pub slot: u16,
    /// Which attribute it is: aliases share the number of the name they stand for.
    pub attribute: u16,
    /// 0 for the name itself, growing for its aliases: the least one present wins.
    pub rank: u8,
}

/// All names that matter.
#[derive(Debug)]
pub(super) struct Names {
    lookup: Lookup,
    names: Vec<Name>,
}

impl Names {
    /// The names that `schema` uses.
    pub fn new(schema: &Schema) -> Self {
        let mut names: Vec<Name> = Vec::new();
        let mut play = |text: &str, roles: u8, slot: u16| {
            let at = names.iter().position(|name| *name.text == *text).unwrap_or_else(|| {
                let attribute = names.len() as u16;
                names.push(Name { text: text.into(), roles: 0, slot: 0, attribute, rank: 0 });
                names.len() - 1
            });
            names[at].roles |= roles;
            if roles & role::SLOT != 0 {
                names[at].slot = slot;
            }
        };
        play("ts", role::TS, 0);
        play("type", role::TYPE, 0);
        play("id", role::ID, 0);
        play(&schema.key, role::KEY, 0);
        play("specversion", role::SPECVERSION, 0);
        for (slot, text) in schema.slots.iter().enumerate() {
            play(text, role::SLOT, slot as u16);
        }
        for (rank, (text, used)) in schema.aliases.iter().enumerate() {
            let Some(used) = names.iter().find(|name| name.rank == 0 && *name.text == **used)
            else {
                continue;
            };
            let rank = (rank + 1).min(usize::from(MAX_RANK)) as u8;
            let (roles, slot, attribute) = (used.roles, used.slot, used.attribute);
            names.push(Name { text: text.as_str().into(), roles, slot, attribute, rank });
        }
        let lookup = Lookup::new(names.iter().map(|name| &*name.text));
        Names { lookup, names }
    }

    /// Index of a name that matters.
    #[inline]
    pub fn find(&self, text: &str) -> Option<u16> {
        self.lookup.get(text)
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
}

/// Aliases past this many share one rank.
pub(super) const MAX_RANK: u8 = 100;

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
        assert_eq!((names.get(status).rank, names.get(code).rank), (0, 1));
        assert_eq!(names.find("x"), None, "an alias of nothing used is not used");
    }
}
