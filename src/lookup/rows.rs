//! Rows become a table: cells as they stand, or the members of a JSON object.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Display};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Wanted;
use crate::domain::event::Table;
use crate::domain::near;
use crate::domain::number::Decimal;

/// The column of a row that is one value.
const VALUE: &str = "value";
/// Most names of columns that are told.
const TOLD_MAX: usize = 20;

/// What is said of more bytes than may come.
pub const TOO_LARGE: &str = "has more bytes than bytes_max";

/// A table that is being made.
#[derive(Debug)]
pub struct Rows<'w> {
    wanted: &'w Wanted,
    table: Table,
    /// Of JSON: columns that were in no row so far, and some that were.
    missing: BTreeSet<&'w str>,
    known: BTreeSet<String>,
}

impl<'w> Rows<'w> {
    /// Without rows.
    pub fn of(wanted: &'w Wanted) -> Self {
        let (table, missing, known) = Default::default();
        Rows { wanted, table, missing, known }
    }

    /// Puts a row in; `place` says which one it is.
    ///
    /// # Errors
    /// When there is one of that key already.
    pub fn put<'a>(
        &mut self,
        key: &str,
        cells: impl Iterator<Item = &'a str>,
        place: &dyn Display,
    ) -> Result<(), String> {
        if self.table.insert(key, cells) {
            return Ok(());
        }
        match &self.wanted.column {
            Some(column) => Err(format!("has {column} {key:?} a second time in {place}")),
            None => Err(format!("has {} {key:?} a second time in {place}", self.wanted.key)),
        }
    }

    /// Puts the rows of a JSON text in: an array of objects, or an object whose members are rows by
    /// name. `pointer` (RFC 6901) says where in the text they lie.
    ///
    /// # Errors
    /// What cannot be used, and where.
    pub fn put_all(&mut self, text: &[u8], pointer: &str) -> Result<(), String> {
        let not_json = |error: serde_json::Error| {
            let begin: String = String::from_utf8_lossy(text).chars().take(40).collect();
            format!("is no JSON: {error}; it begins with {begin:?}")
        };
        let mut found: &RawValue = serde_json::from_slice(text).map_err(not_json)?;
        let mut way = String::new();
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            found = member(found, &segment).ok_or_else(|| {
                let known = names(found);
                let hint = near::hint(&segment, known.iter().map(|name| &**name));
                let there = some(known.iter().map(|name| &**name));
                format!(
                    "has no {segment:?} at {way:?} (rows = {pointer:?}); there are {there}{hint}"
                )
            })?;
            way += "/";
            way += &segment;
        }
        if let Ok(rows) = serde_json::from_str::<Vec<&RawValue>>(found.get()) {
            for (at, row) in rows.into_iter().enumerate() {
                self.put_row(None, row, &format_args!("row {}", at + 1))?;
            }
        } else if let Ok(Members(rows)) = serde_json::from_str(found.get()) {
            for (name, row) in rows {
                self.put_row(Some(&name), row, &format_args!("{name:?}"))?;
            }
        } else {
            let at = if way.is_empty() { "itself".to_owned() } else { format!("at {way:?}") };
            let inner = "set rows to where they lie, such as \"/data/items\"";
            return Err(format!("is neither an array nor an object of rows {at}: {inner}"));
        }
        Ok(())
    }

    /// Puts a JSON value in: an object with the columns, or one value, which is the column `value`.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn put_row(
        &mut self,
        name: Option<&str>,
        row: &RawValue,
        place: &dyn Display,
    ) -> Result<(), String> {
        let Members(members) = match serde_json::from_str(row.get()) {
            Ok(members) => members,
            Err(_) if name.is_some() => Members(vec![(VALUE.into(), row)]),
            Err(_) => return Err(format!("has no object in {place}")),
        };
        if self.table.is_empty() {
            self.missing = self.wanted.cells.iter().map(String::as_str).collect();
        }
        if self.known.len() < TOLD_MAX {
            self.known.extend(members.iter().map(|(name, _)| name.to_string()));
        }
        let wanted = self.wanted;
        let cell = |column: &str| match find(&members, column).map(text) {
            None => Ok(None),
            Some(Some(text)) => Ok(Some(text)),
            Some(None) => Err(format!("has more than one value for {column:?} in {place}")),
        };
        let key = match (&wanted.column, name) {
            (None, Some(name)) => Cow::Borrowed(name),
            (column, _) => {
                let column = column.as_ref().unwrap_or(&wanted.key);
                cell(column)?.filter(|key| !key.is_empty()).ok_or_else(|| {
                    let known = || self.known.iter().map(String::as_str);
                    let (hint, known) = (near::hint(column, known()), some(known()));
                    format!(
                        "has no {column:?} in {place}, to look rows up by; there are {known}{hint}"
                    )
                })?
            }
        };
        let mut cells: Vec<Cow<'_, str>> = Vec::with_capacity(wanted.cells.len());
        for column in &wanted.cells {
            let found = cell(column)?;
            if found.is_some() {
                self.missing.remove(&**column);
            }
            cells.push(found.unwrap_or_default());
        }
        self.put(&key, cells.iter().map(|cell| &**cell), place)
    }

    /// The table.
    ///
    /// # Errors
    /// When there is a column that no row has.
    pub fn finish(self) -> Result<Table, String> {
        let Some(column) = self.missing.first() else { return Ok(self.table) };
        let known = || self.known.iter().map(String::as_str);
        let (hint, known) = (near::hint(column, known()), some(known()));
        Err(format!("has no {column:?} in any row; there are {known}{hint}"))
    }
}

fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.take(TOLD_MAX + 1).collect();
    if names.len() > TOLD_MAX {
        names[TOLD_MAX] = "...";
    }
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// The members of a JSON object, in their order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut all = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    all.push((name, value));
                }
                Ok(Members(all))
            }
        }
        from.deserialize_map(All)
    }
}

/// A name, borrowed where it can be.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn member<'a>(value: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    if let Ok(Members(members)) = serde_json::from_str(value.get()) {
        return members.into_iter().find(|(known, _)| known == name).map(|(_, value)| value);
    }
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
    items.get(name.parse::<usize>().ok()?).copied()
}

fn names(value: &RawValue) -> Vec<String> {
    let members = serde_json::from_str(value.get()).map(|Members(members)| members);
    members.unwrap_or_default().into_iter().map(|(name, _)| name.into_owned()).collect()
}

/// The member of a column: `plan.name` is that, or `name` in `plan`.
fn find<'a>(members: &[(Cow<'a, str>, &'a RawValue)], column: &str) -> Option<&'a RawValue> {
    if let Some((_, value)) = members.iter().find(|(name, _)| name == column) {
        return Some(value);
    }
    let (first, rest) = column.split_once('.')?;
    let (_, value) = members.iter().find(|(name, _)| name == first)?;
    let Members(inner) = serde_json::from_str(value.get()).ok()?;
    find(&inner, rest)
}

/// A value as the text of a cell: what an event's value of the same kind is looked up by. `None` for what
/// holds more than one.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let raw = value.get();
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str::<Name<'_>>(raw).ok().map(|Name(text)| text),
        b'n' => Some(Cow::Borrowed("")),
        b'{' | b'[' => None,
        b't' | b'f' => Some(Cow::Borrowed(raw)),
        _ => Some(Decimal::from_text(raw).map_or(Cow::Borrowed(raw), |n| n.to_string().into())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn wanted(column: Option<&str>, cells: &[&str]) -> Wanted {
        let cells = cells.iter().map(ToString::to_string).collect();
        let column = column.map(String::from);
        let timeout = std::time::Duration::MAX;
        Wanted { key: "sku".into(), column, cells, bytes_max: 1_000, timeout }
    }

    fn made(wanted: &Wanted, text: &str, pointer: &str) -> Result<Table, String> {
        let mut rows = Rows::of(wanted);
        rows.put_all(text.as_bytes(), pointer)?;
        rows.finish()
    }

    #[test]
    fn values_are_cells_as_events_would_have_them() {
        let wanted = wanted(None, &["plan.name", "cost", "on"]);
        let text = r#"{"items": {"rows": [
            {"sku": 17, "plan": {"name": "pro"}, "cost": 1.50, "on": true},
            {"sku": 18.0, "plan.name": "\u00e9 \"x\"", "cost": 1e400},
            {"sku": "a", "plan": null, "cost": null, "on": false}]}}"#;
        let table = made(&wanted, text, "/items/rows").unwrap();
        let row = |key: &str| [0, 1, 2].map(|at| table.find(key, at).unwrap().to_owned());
        assert_eq!(row("17"), ["pro", "1.5", "true"]);
        assert_eq!(row("18"), ["é \"x\"", "1e400", ""]);
        assert_eq!(row("a"), ["", "", "false"]);
    }

    #[test]
    fn rows_by_name_are_looked_up_by_it_unless_a_column_is_named() {
        let text = r#"{"a": {"id": "1", "kind": "hats"}, "b": {"id": "2", "kind": "shoes"}}"#;
        let by_name = made(&wanted(None, &["kind"]), text, "").unwrap();
        assert_eq!((by_name.find("a", 0), by_name.find("1", 0)), (Some("hats"), None));
        let by_id = made(&wanted(Some("id"), &["kind"]), text, "").unwrap();
        assert_eq!((by_id.find("a", 0), by_id.find("2", 0)), (None, Some("shoes")));
        let values = made(&wanted(None, &["value"]), r#"{"a": "hats", "b": 7}"#, "").unwrap();
        assert_eq!((values.find("a", 0), values.find("b", 0)), (Some("hats"), Some("7")));
        for empty in ["[]", "{}"] {
            assert!(made(&wanted(None, &["kind"]), empty, "").unwrap().is_empty());
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_place() {
        for (text, pointer, says) in [
            (
                "<html>",
                "",
                "is no JSON: expected value at line 1 column 1; it begins with \"<html>\"",
            ),
            ("[{\"sku\": 1, \"kind\": 2}", "", "is no JSON: EOF"),
            ("3", "", "is neither an array nor an object of rows itself: set rows"),
            ("{\"data\": 3}", "/data", "is neither an array nor an object of rows at \"/data\""),
            (
                "{\"data\": []}",
                "/date",
                "has no \"date\" at \"\" (rows = \"/date\"); there are data; did you mean \"data\"?",
            ),
            ("[{\"sku\": 1, \"kind\": 2}, 3]", "", "has no object in row 2"),
            (
                "[{\"sku\": 1, \"kind\": 2}, {\"kind\": 3}]",
                "",
                "has no \"sku\" in row 2, to look rows up by",
            ),
            ("[{\"skuu\": 1, \"kind\": 2}]", "", "did you mean \"skuu\"?"),
            (
                "[{\"sku\": 1, \"kin\": 2}]",
                "",
                "has no \"kind\" in any row; there are kin, sku; did you mean \"kin\"?",
            ),
            (
                "[{\"sku\": 1, \"kind\": 2}, {\"sku\": 1, \"kind\": 2}]",
                "",
                "has sku \"1\" a second time in row 2",
            ),
            (
                "{\"a\": {\"kind\": 2}, \"a\": {\"kind\": 2}}",
                "",
                "has sku \"a\" a second time in \"a\"",
            ),
            ("[{\"sku\": 1, \"kind\": [2]}]", "", "has more than one value for \"kind\" in row 1"),
        ] {
            let error = made(&wanted(None, &["kind"]), text, pointer).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn an_array_an_object_and_cells_make_the_same_table(
            rows in proptest::collection::btree_map("\\PC{1,8}", ("\\PC{0,30}", "\\PC{0,3}"), 0..20)
        ) {
            let by_name = wanted(None, &["kind", "cost"]);
            let mut cells = Rows::of(&by_name);
            for (key, (kind, cost)) in rows.iter().rev() {
                cells.put(key, [&**kind, &**cost].into_iter(), &"").unwrap();
            }
            let cells = cells.finish().unwrap();
            let row = |(kind, cost): &(String, String)| json!({"kind": kind, "cost": cost});
            let object: Value = rows.iter().map(|(key, row_of)| (key.clone(), row(row_of))).collect();
            let array: Vec<Value> = rows.iter().map(|(key, row_of)| {
                let mut row = row(row_of);
                row["sku"] = json!(key);
                row
            }).collect();
            let object = made(&by_name, &object.to_string(), "").unwrap();
            let array = made(&by_name, &json!({"all": array}).to_string(), "/all").unwrap();
            prop_assert_eq!(cells.fingerprint(), object.fingerprint());
            prop_assert!(cells == object && object == array);
        }
    }
}
