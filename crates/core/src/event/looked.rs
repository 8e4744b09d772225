//! Attributes that are looked up in a table by another one (`[[lookup]]`).

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;

use crate::hash::fingerprint;

/// A table beside the stream: rows by key, each with the same columns. It never changes; another one
/// comes with another schema.
#[derive(Clone, Default, PartialEq)]
pub struct Table {
    rows: HashMap<CompactString, Box<[CompactString]>, foldhash::fast::RandomState>,
    bytes: usize,
    /// Sum of the fingerprints of the rows.
    sum: u64,
}

impl Table {
    /// Puts a row in; false when there is one of that key already, which stays.
    pub fn insert<'a>(&mut self, key: &str, cells: impl Iterator<Item = &'a str>) -> bool {
        let hashbrown::hash_map::Entry::Vacant(place) = self.rows.entry(key.into()) else {
            return false;
        };
        let cells: Box<[CompactString]> = cells.map(CompactString::from).collect();
        let outside =
            |text: &str| if text.len() > size_of::<CompactString>() { text.len() } else { 0 };
        let text: usize = cells.iter().map(|cell| outside(cell)).sum();
        let mut row = Vec::new();
        for text in std::iter::once(key).chain(cells.iter().map(|cell| &**cell)) {
            row.extend_from_slice(&(text.len() as u64).to_le_bytes());
            row.extend_from_slice(text.as_bytes());
        }
        self.sum = self.sum.wrapping_add(fingerprint(&row));
        self.bytes += size_of_val(&*cells) + text + outside(key) + ROW_BYTES;
        place.insert(cells);
        true
    }

    /// What stands in a column of the row of a key; `None` without such a row.
    pub fn find(&self, key: &str, column: usize) -> Option<&str> {
        Some(self.rows.get(key)?.get(column)?)
    }

    /// Its rows, in no order: keys with cells.
    pub fn rows(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.rows.iter().map(|(key, cells)| (&**key, cells.iter().map(|cell| &**cell)))
    }

    /// Fingerprint of its rows, in whatever order they came.
    pub fn fingerprint(&self) -> u64 {
        self.sum
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A row's key and its place.
const ROW_BYTES: usize = 48;

impl fmt::Debug for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Table({} rows)", self.len())
    }
}

/// Where an attribute is looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// The name of the table.
    pub name: String,
    /// The attribute whose text is the key.
    pub key: String,
    /// The column, as it is called.
    pub column: String,
    /// Its place in the rows.
    pub place: usize,
    /// The table.
    pub table: Arc<Table>,
}

/// As it stands in what a metric means.
impl fmt::Display for Looked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}[{}].{}", self.name, self.key, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_key_and_the_first_of_a_key_stays() {
        let mut table = Table::default();
        assert!(table.insert("a", ["1", ""].into_iter()));
        assert!(!table.insert("a", ["2", "x"].into_iter()));
        assert!(table.insert("", ["3", "y"].into_iter()));
        let found = [("a", 0), ("a", 1), ("", 1), ("b", 0), ("a", 2)];
        let found = found.map(|(key, column)| table.find(key, column));
        assert_eq!(found, [Some("1"), Some(""), Some("y"), None, None]);
        assert_eq!((table.len(), format!("{table:?}")), (2, "Table(2 rows)".into()));
        assert!(table.bytes() >= 2 * ROW_BYTES);
    }

    #[test]
    fn the_fingerprint_is_of_the_rows_in_any_order() {
        let table = |rows: &[(&str, [&str; 2])]| {
            let mut table = Table::default();
            rows.iter().for_each(|(key, cells)| assert!(table.insert(key, cells.iter().copied())));
            table.fingerprint()
        };
        let one = table(&[("a", ["1", "2"]), ("b", ["", "3"])]);
        assert_eq!(one, table(&[("b", ["", "3"]), ("a", ["1", "2"])]));
        for other in [
            table(&[("a", ["1", "2"])]),
            table(&[("a", ["12", ""]), ("b", ["", "3"])]),
            table(&[("a", ["", "3"]), ("b", ["1", "2"])]),
            table(&[("a1", ["", "2"]), ("b", ["", "3"])]),
        ] {
            assert_ne!(one, other);
        }
    }
}
