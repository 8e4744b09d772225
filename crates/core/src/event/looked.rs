//! Attributes that are looked up in a table by another one (`[[lookup]]`).

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;

/// A table beside the stream: rows by key, each with the same columns. It never changes; another one
/// comes with another schema.
#[derive(Clone, Default, PartialEq)]
pub struct Table {
    rows: HashMap<CompactString, Box<[CompactString]>, foldhash::fast::RandomState>,
    bytes: usize,
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
        self.bytes += size_of_val(&*cells) + text + outside(key) + ROW_BYTES;
        place.insert(cells);
        true
    }

    /// What stands in a column of the row of a key; `None` without such a row.
    pub fn find(&self, key: &str, column: usize) -> Option<&str> {
        Some(self.rows.get(key)?.get(column)?)
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
}
