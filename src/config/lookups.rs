//! `[[lookup]]`: from a table of keys to the table of rows that it names. Called by `sections.rs`
//! alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use super::attributes::Attributes;
use super::item::{Item, Items};
use super::reader::Reader;
use super::units::show_size;
use super::windows::Days;
use crate::domain::event::{Derived, How, Looked, Table};
use crate::domain::hash::fingerprint;
use crate::domain::near;
use crate::domain::settings::{Derived as Decided, settings};
use crate::domain::time::SpanMs;

/// Most tables.
const LOOKUPS_MAX: usize = 50;
/// Most attributes of one.
const ATTRIBUTES_MAX: usize = 64;

settings! {
    /// One `[[lookup]]` as it is written.
    #[derive(Clone, Debug)]
    pub(super) struct LookupKeys in "" {
        /// Needed; letters in lower case, digits and _.
        pub name: () = (), shape();
        /// Needed: a CSV file whose first line has the names of its columns.
        pub file: String = String::new(), text();
        /// Needed: the attribute of events whose text is looked up. It may be a derived one.
        pub key: String = String::new(), text();
        /// The column that it is looked up in, where no value may stand twice. The one that is
        /// called like key.
        pub column: Decided<String> = Decided(None), text();
        /// Needed: attributes that events get, and the columns they are taken from:
        /// { category = "category", cost = "unit cost" }. An empty cell is missing, and what an event
        /// carries under such a name is passed over.
        pub attributes: Vec<(String, String)> = Vec::new(), pairs(ATTRIBUTES_MAX);
        /// What stands between two cells.
        pub delimiter: String = ",".into(), text();
        /// How often the file is looked at. When it has changed it is read again, and what is read of
        /// the log from the next commit on is looked up in it; a file that cannot be used changes
        /// nothing and says why. "0s": it is read with the configuration alone.
        pub watch: SpanMs = 5 * SECOND, span(0, DAY);
        /// Bytes of the file at most; in memory its rows take up to some four times as many.
        pub bytes_max: usize = 64 << 20, size(KIB, 4 * GIB);
    }
}

/// A table, and what it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Its name.
    pub name: String,
    /// The file.
    pub file: String,
    /// The attribute of events that is looked up.
    pub key: String,
    /// The column with the keys.
    pub column: String,
    /// Attributes that events get, and their columns.
    pub attributes: Vec<(String, String)>,
    /// What stands between two cells.
    pub delimiter: u8,
    /// How often the file is looked at, in ms; 0 for never.
    pub watch: SpanMs,
    /// Bytes of the file at most.
    pub bytes_max: usize,
    /// Fingerprint of what was in the file.
    pub content: u64,
    /// Its rows, with a cell for each of `attributes`.
    pub table: Arc<Table>,
}

impl Lookup {
    /// The attributes that events get.
    pub(super) fn derived(&self) -> impl Iterator<Item = Derived> {
        self.attributes.iter().enumerate().map(|(place, (name, column))| {
            let (key, column, table) = (self.key.clone(), column.clone(), Arc::clone(&self.table));
            let looked = Looked { name: self.name.clone(), key, column, place, table };
            Derived { name: name.clone(), how: How::Looked(looked) }
        })
    }

    /// Reads the file.
    fn read(&mut self) -> Result<(), String> {
        let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
        let mut bytes = Vec::new();
        let file = File::open(&self.file).map_err(unreadable)?;
        file.take(self.bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() > self.bytes_max {
            let most = show_size(self.bytes_max as u64);
            return Err(format!("has more than {most} (bytes_max)"));
        }
        self.content = fingerprint(&bytes);
        self.table = Arc::new(self.rows(&bytes)?);
        Ok(())
    }

    fn rows(&self, bytes: &[u8]) -> Result<Table, String> {
        let mut reader = csv::ReaderBuilder::new().delimiter(self.delimiter).from_reader(bytes);
        let malformed = |error: csv::Error| format!("is not such a table: {error}");
        let columns = reader.headers().map_err(malformed)?.clone();
        let place = |wanted: &String| {
            columns.iter().position(|column| column == wanted).ok_or_else(|| {
                let known = columns.iter().collect::<Vec<_>>().join(", ");
                let hint = near::hint(wanted, columns.iter());
                format!("has no column {wanted:?} in its first line; there are {known}{hint}")
            })
        };
        let key = place(&self.column)?;
        let wanted = self.attributes.iter().map(|(_, column)| place(column));
        let wanted: Vec<usize> = wanted.collect::<Result<_, _>>()?;
        let (mut table, mut row) = (Table::default(), csv::StringRecord::new());
        while reader.read_record(&mut row).map_err(malformed)? {
            let cell = |at: usize| row.get(at).unwrap_or_default();
            if !table.insert(cell(key), wanted.iter().map(|at| cell(*at))) {
                let line = row.position().map_or(0, csv::Position::line);
                let (column, key) = (&self.column, cell(key));
                return Err(format!("has {column} {key:?} a second time in line {line}"));
            }
        }
        Ok(table)
    }
}

/// Reads all of them, with their files.
pub(super) fn read(
    reader: &mut Reader,
    attributes: &Attributes<'_>,
    days: Days<'_>,
) -> Vec<Lookup> {
    let declared = reader.tables("lookup").unwrap_or_default();
    if declared.len() > LOOKUPS_MAX {
        reader.problem("lookup", format!("must not stand more than {LOOKUPS_MAX} times"));
    }
    let names = &mut Vec::new();
    let mut items = Items { reader, names, days, attributes, steps: &[], patterns: &[] };
    let found = items.each("lookup", declared.iter().enumerate(), |item, _| lookup(item));
    let mut makers: BTreeMap<&str, &str> = BTreeMap::new();
    for Lookup { name, attributes, .. } in &found {
        for (attribute, _) in attributes {
            if let Some(other) = makers.insert(attribute, name) {
                let rule = format!(
                    "{attribute:?} is looked up in {other:?} and in {name:?}: give one another name"
                );
                reader.problem("lookup", rule);
            }
        }
    }
    found
}

/// One `[[lookup]]`.
fn lookup(item: &mut Item<'_>) -> Lookup {
    item.reader.need("file", "file = \"products.csv\"");
    item.reader.need("key", "key = \"sku\"");
    item.reader.need("attributes", "attributes = { category = \"category\" }");
    let keys = item.reader.section(LookupKeys::default());
    for (name, _) in &keys.attributes {
        let derived = || item.attributes.derived(name).is_some();
        let taken = || derived().then(|| "is in [events.derived]: give it another name".into());
        if let Some(rule) = item.attributes.wrong_name(name).or_else(taken) {
            item.reader.problem("attributes", format!("{name}: {rule}"));
        }
    }
    if let Some(rule) = item.attributes.wrong(&keys.key).filter(|_| !keys.key.is_empty()) {
        item.reader.problem("key", rule);
    }
    let delimiter = match keys.delimiter.as_bytes() {
        [one] => *one,
        _ => {
            item.reader.problem("delimiter", "must be one character, such as \";\" or \"\\t\"");
            b','
        }
    };
    let mut lookup = Lookup {
        name: item.name.clone(),
        file: keys.file,
        column: keys.column.0.unwrap_or_else(|| keys.key.clone()),
        key: keys.key,
        attributes: keys.attributes,
        delimiter,
        watch: keys.watch,
        bytes_max: keys.bytes_max,
        content: 0,
        table: Arc::default(),
    };
    if !lookup.file.is_empty()
        && !lookup.key.is_empty()
        && let Err(rule) = lookup.read()
    {
        item.reader.problem("file", rule);
    }
    lookup
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// What is said of a table with these contents.
    fn said(content: &[u8], keys: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("products.csv");
        std::fs::write(&file, content).unwrap();
        let file = file.display().to_string();
        let text = format!(
            "[[lookup]]\nname = \"products\"\nfile = {file:?}\nkey = \"sku\"\n\
             attributes = {{ category = \"category\", cost = \"unit cost\" }}\n{keys}\n\
             [[metric]]\nname = \"m\"\naggregate = \"sum\"\nfield = \"margin\"\n\
             group_by = [\"category\"]\nwindow = {{ tumbling = \"1m\" }}\n\
             [events.derived]\nmargin = \"amount - cost\"\n"
        );
        Config::parse("t.toml", &text).map_err(|error| error.to_string().replace(&file, "FILE"))
    }

    #[test]
    fn a_table_is_read_and_its_columns_are_attributes() {
        let content =
            "\u{feff}sku;category;unit cost\r\na;shoes;7\r\n\"b;b\";\"a \"\"hat\"\"\";\r\n";
        let config = said(content.as_bytes(), "delimiter = \";\"").unwrap();
        let [lookup] = &config.lookups[..] else { panic!("one table") };
        assert_eq!((lookup.table.len(), lookup.column.as_str()), (2, "sku"));
        assert_eq!(lookup.table.find("b;b", 0), Some("a \"hat\""));
        let schema = config.schema(0);
        let derived: Vec<String> =
            schema.derived.iter().map(|one| format!("{} = {}", one.name, one.how)).collect();
        let wanted = [
            "category = products[sku].category",
            "cost = products[sku].unit cost",
            "margin = amount - cost",
        ];
        assert_eq!(derived, wanted);
        assert!(
            ["sku", "cost", "amount"].iter().all(|name| schema.slots.iter().any(|s| s == name))
        );
        // What is in the file decides results, and what it is called elsewhere does not.
        let other = said(content.replace("shoes", "hats").as_bytes(), "delimiter = \";\"").unwrap();
        assert_ne!(other.fingerprint(), config.fingerprint());
        assert!(!config.changes(&other).taken.is_empty());
        assert_eq!(other.meanings(), config.meanings());
    }

    #[test]
    fn a_table_that_cannot_be_used_is_told_with_its_line() {
        for (content, keys, part) in [
            (
                &b"sku,categoy,unit cost\n"[..],
                "",
                "no column \"category\" in its first line; there are sku, categoy, unit cost; did you mean \"categoy\"?",
            ),
            (b"", "", "has no column \"sku\""),
            (
                b"sku,category,unit cost\na,b,1\na,c,2\n",
                "",
                "has sku \"a\" a second time in line 3",
            ),
            (b"sku,category,unit cost\na,b\n", "", "line: 2"),
            (b"sku,category,unit cost\na,\xff,1\n", "", "UTF-8"),
            (b"sku,category,unit cost\n", "delimiter = \"tab\"", "must be one character"),
            (
                b"sku,category,unit cost\n",
                "bytes_max = \"1KiB\"\ncolumn = \"id\"",
                "no column \"id\"",
            ),
            (&[b'x'; 2_000], "bytes_max = \"1KiB\"", "has more than 1KiB (bytes_max)"),
        ] {
            let error = said(content, keys).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
