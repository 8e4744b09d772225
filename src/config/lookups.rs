//! `[[lookup]]`: from a table of keys to the table of rows that it names. Called by `sections.rs`
//! alone.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_connection::LinkSettings;

use super::attributes::Attributes;
use super::item::{Item, Items};
use super::print::{Entry, Setting, lines};
use super::reader::Reader;
use super::toml_text::{pairs, span, text};
use super::units::show_size;
use super::whole::Config;
use super::windows::Days;
use crate::domain::event::{Derived, How, Looked, Table};
use crate::domain::hash::fingerprint;
use crate::domain::settings::{Derived as Decided, Section, entries, settings};
use crate::domain::time::SpanMs;
use crate::lookup::{FileKeys, HttpKeys, Kind, Read, Source, Wanted, Wrong, kept};
use crate::nats::settings::BucketKeys;

/// Most tables.
const LOOKUPS_MAX: usize = 50;
/// Most attributes of one.
const ATTRIBUTES_MAX: usize = 64;

/// The kinds of places where rows lie; none is chosen.
pub(super) fn kinds() -> [Box<dyn Kind>; 3] {
    [Box::<FileKeys>::default(), Box::<HttpKeys>::default(), Box::<BucketKeys>::default()]
}

settings! {
    /// One `[[lookup]]` as it is written, without where its rows lie.
    #[derive(Clone, Debug)]
    pub(super) struct LookupKeys in "" {
        /// Needed; letters in lower case, digits and _.
        pub name: () = (), shape();
        /// Needed: the attribute of events whose text is looked up. It may be a derived one.
        pub key: String = String::new(), text();
        /// The column that it is looked up in, where no value may stand twice. By default the name of
        /// the row in an object or a bucket, and else the column that is called like key.
        pub column: Decided<String> = Decided(None), text();
        /// Needed: attributes that events get, and the columns they are taken from:
        /// { category = "category", cost = "unit cost" }. An empty cell is missing, and what an event
        /// carries under such a name is passed over.
        pub attributes: Vec<(String, String)> = Vec::new(), pairs(ATTRIBUTES_MAX);
        /// How often it is looked whether the rows are others. Then what is read of the log from the
        /// next commit on is looked up in them; rows that cannot be used, or do not come, change nothing,
        /// and it is said why. "0s": they are read with the configuration alone.
        pub watch: SpanMs = 5 * SECOND, span(0, DAY);
        /// Of url and bucket: longest wait for all rows.
        pub timeout: Duration = Duration::from_secs(10), span(100, 5 * MINUTE);
        /// Bytes of the rows at most, as they come; in memory they take up to some four times as many.
        pub bytes_max: usize = 64 << 20, size(KIB, 4 * GIB);
    }
}

/// All keys of a `[[lookup]]`, those of every kind among them.
pub(super) fn settings() -> Vec<Setting> {
    let mut all: Vec<Setting> = entries(&LookupKeys::default()).collect();
    let places = kinds().into_iter().flat_map(|kind| entries(&kind).collect::<Vec<_>>());
    all.splice(1..1, places);
    all
}

/// A table, and what it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Its name.
    pub name: String,
    /// Attributes that events get, and their columns.
    pub attributes: Vec<(String, String)>,
    /// What is wanted of the rows.
    pub wanted: Wanted,
    /// How often it is looked whether they are others, in ms; 0 for never.
    pub watch: SpanMs,
    /// Its rows, with a cell for each of `attributes`.
    pub table: Arc<Table>,
    /// The keys of where they lie, and what is shown of them as TOML.
    place: Vec<Entry>,
    /// A fingerprint of what is not shown, too.
    place_whole: u64,
    held: Held,
}

/// Where the rows are read, and which were. What it is its keys say: any two are equal.
#[derive(Clone, Debug)]
struct Held {
    source: Arc<dyn Source>,
    version: String,
    /// They are those of the copy in the data folder.
    is_copy: bool,
}

impl PartialEq for Held {
    fn eq(&self, _: &Held) -> bool {
        true
    }
}

impl Lookup {
    /// The attributes that events get.
    pub(super) fn derived(&self) -> impl Iterator<Item = Derived> {
        self.attributes.iter().enumerate().map(|(place, (name, column))| {
            let (key, column, table) =
                (self.wanted.key.clone(), column.clone(), Arc::clone(&self.table));
            let looked = Looked { name: self.name.clone(), key, column, place, table };
            Derived { name: name.clone(), how: How::Looked(looked) }
        })
    }

    /// All its keys.
    pub(super) fn keys(&self) -> Vec<Entry> {
        let mut keys = vec![("name", text(&self.name))];
        keys.extend(self.place.iter().cloned());
        keys.push(("key", text(&self.wanted.key)));
        keys.extend(self.wanted.column.iter().map(|column| ("column", text(column))));
        keys.push(("attributes", pairs(&self.attributes)));
        keys.push(("watch", span(self.watch)));
        keys.push(("timeout", span(self.wanted.timeout.as_millis() as SpanMs)));
        keys.push(("bytes_max", text(&show_size(self.wanted.bytes_max as u64))));
        keys
    }

    /// The same, and what is in the table.
    pub(super) fn keys_and_content(&self) -> Vec<Entry> {
        let mut keys = self.keys();
        keys.push(("rows", self.table.len().to_string()));
        keys.push(("content", format!("{:016x}", self.table.fingerprint())));
        keys
    }

    /// What it is a table of: where its rows lie, and what is wanted of them.
    pub fn of(&self) -> String {
        let (place, Wanted { column, key, .. }) = (&self.place, &self.wanted);
        format!("{place:?} {:016x} {column:?} {:?} {key:?}", self.place_whole, self.attributes)
    }

    /// Whether its source may be away while all here is well.
    pub fn is_far(&self) -> bool {
        self.held.source.is_far()
    }

    /// Tells its rows from others.
    pub fn version(&self) -> &str {
        &self.held.version
    }

    /// Its rows as they are now, unless they are those of the version `since`. Blocks.
    ///
    /// # Errors
    /// Why there are none.
    pub fn look(&self, since: &str) -> Result<Option<Read>, String> {
        self.held.source.read(&self.wanted, Some(since))
    }

    /// Whether it has the very rows of another one, and is of the same.
    pub fn is_held_as(&self, other: &Lookup) -> bool {
        self.is_like(other) && Arc::ptr_eq(&self.table, &other.table)
    }

    fn is_like(&self, other: &Lookup) -> bool {
        self.name == other.name && self.of() == other.of()
    }

    /// Writes a copy of what its source may not be there to tell again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, data: &Path) -> io::Result<()> {
        if !self.is_far() || self.held.is_copy {
            return Ok(());
        }
        kept::store(data, &self.name, &self.of(), &self.held.version, &self.table)
    }

    /// Takes rows from whoever holds them: a configuration that was read before, the data folder, or
    /// their source.
    fn fill(&mut self, held: &[Lookup], data: &Path) -> Result<(), String> {
        if let Some(same) = held.iter().find(|one| one.is_like(self)) {
            (self.held, self.table) = (same.held.clone(), Arc::clone(&same.table));
            return Ok(());
        }
        let copy = self.is_far().then(|| kept::load(data, &self.name, &self.of())).flatten();
        self.held.is_copy = copy.is_some();
        let read = match copy {
            None => self.held.source.read(&self.wanted, None)?,
            copy => copy,
        };
        if let Some(read) = read {
            self.take(read);
        }
        Ok(())
    }

    fn take(&mut self, read: Read) {
        self.held.version = read.version;
        self.table = Arc::new(read.table);
    }
}

impl Config {
    /// The same with other rows of a table; without it where it has none like `of`.
    pub fn with_table(&self, of: &Lookup, read: Read) -> Config {
        let mut config = self.clone();
        if let Some(lookup) = config.lookups.iter_mut().find(|one| one.is_like(of)) {
            lookup.take(read);
            lookup.held.is_copy = false;
        }
        config
    }
}

/// What lookups are read with.
pub(super) struct Around<'a> {
    /// Those whose rows are known.
    pub held: &'a [Lookup],
    /// The data folder.
    pub data: &'a Path,
    /// The connection of `[nats]`.
    pub nats: Option<&'a LinkSettings>,
}

/// Reads all of them, with their rows.
pub(super) fn read(
    reader: &mut Reader,
    attributes: &Attributes<'_>,
    days: Days<'_>,
    around: &Around<'_>,
) -> Vec<Lookup> {
    let declared = reader.tables("lookup").unwrap_or_default();
    if declared.len() > LOOKUPS_MAX {
        reader.problem("lookup", format!("must not stand more than {LOOKUPS_MAX} times"));
    }
    let names = &mut Vec::new();
    let mut items = Items { reader, names, days, attributes, steps: &[], patterns: &[] };
    let found = items.each("lookup", declared.iter().enumerate(), |item, _| lookup(item, around));
    let found: Vec<Lookup> = found.into_iter().flatten().collect();
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

/// One `[[lookup]]`; `None` where it cannot be said what its rows are.
fn lookup(item: &mut Item<'_>, around: &Around<'_>) -> Option<Lookup> {
    let kind = kind(&mut item.reader);
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
    let kind = kind?;
    let source = match kind.open(around.nats) {
        Ok(source) => source,
        Err(Wrong { key, rule }) => {
            item.reader.problem(key, rule);
            return None;
        }
    };
    let wanted = Wanted {
        key: keys.key,
        column: keys.column.0,
        cells: keys.attributes.iter().map(|(_, column)| column.clone()).collect(),
        bytes_max: keys.bytes_max,
        timeout: keys.timeout,
    };
    let mut lookup = Lookup {
        name: item.name.clone(),
        attributes: keys.attributes,
        wanted,
        watch: keys.watch,
        table: Arc::default(),
        place: lines(entries(&kind)),
        place_whole: fingerprint(format!("{:?}", kind.values()).as_bytes()),
        held: Held { source, version: String::new(), is_copy: false },
    };
    if !lookup.wanted.key.is_empty()
        && let Err(rule) = lookup.fill(around.held, around.data)
    {
        item.reader.problem(kind.choice(), rule);
    }
    Some(lookup)
}

/// The kind that its keys choose.
fn kind(reader: &mut Reader) -> Option<Box<dyn Kind>> {
    let kinds = kinds().map(|kind| reader.section(kind));
    let choices = kinds.each_ref().map(|kind| kind.choice());
    let mut chosen: Option<Box<dyn Kind>> = None;
    for kind in kinds {
        match &chosen {
            Some(first) if kind.is_chosen() => {
                let first = first.choice();
                reader.problem(
                    kind.choice(),
                    format!("stands beside {first}: a table has one place"),
                );
            }
            None if kind.is_chosen() => chosen = Some(kind),
            _ => {
                for key in kind.keys().iter().filter(|key| key.path != kind.choice()) {
                    if reader.is_set(key.path) {
                        let rule = format!("only belongs to a lookup with {}", kind.choice());
                        reader.problem(key.path, rule);
                    }
                }
            }
        }
    }
    let is_wrong = choices.iter().any(|choice| reader.is_wrong(choice));
    if chosen.is_none() && !is_wrong {
        let ways = choices.map(|choice| format!("{choice} = \"...\""));
        reader.need(choices[0], &ways.join(" or "));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

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
        assert_eq!(lookup.table.len(), 2);
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
            (&[b'x'; 2_000], "bytes_max = \"1KiB\"", "has more bytes than bytes_max"),
        ] {
            let error = said(content, keys).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    /// A server that answers as is said, and the address of rows there.
    fn server() -> (Arc<Mutex<String>>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/rows", listener.local_addr().unwrap());
        let reply = Arc::new(Mutex::new(String::new()));
        let own = Arc::clone(&reply);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let reply = own.lock().unwrap().clone();
                client.write_all(reply.as_bytes()).unwrap();
            }
        });
        (reply, url)
    }

    #[test]
    fn what_is_secret_of_an_address_is_shown_nowhere() {
        let (reply, plain) = server();
        let answers = |status: &str, header: &str, body: &str| {
            let length = body.len();
            *reply.lock().unwrap() = format!(
                "HTTP/1.1 {status}\r\n{header}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
        };
        let read = |url: &str, headers: &str| {
            let text = format!(
                "[[lookup]]\nname = \"products\"\nurl = {url:?}\nheaders = {{ {headers} }}\n\
                 key = \"sku\"\ncolumn = \"sku\"\nattributes = {{ category = \"category\" }}\n"
            );
            Config::parse("t.toml", &text).map_err(|error| error.to_string())
        };
        let shown = |text: String| {
            assert!(!text.contains("hush"), "{text}");
            text
        };
        answers("200 OK", "", r#"[{"sku": "a", "category": "shoes"}]"#);
        let url = format!("{plain}?api_key=hush-1");
        let config = read(&url, "X-Api-Key = \"hush-2\", X-Team = \"env:TEAM\"").unwrap_err();
        assert!(shown(config).contains("header x-team: the environment has no TEAM"));
        let config = read(&url, "X-Api-Key = \"hush-2\", X-Home = \"env:PATH\"").unwrap();
        let printed = shown(config.print());
        for line in [
            format!("url = \"{plain}?***\"\n"),
            "headers = { X-Api-Key = \"***\", X-Home = \"env:PATH\" }\n".into(),
        ] {
            assert!(printed.contains(&line), "{printed}");
        }
        shown(format!("{config:?}"));
        // Another secret is another place all the same.
        for other in [
            read(&url, "X-Api-Key = \"hush-3\", X-Home = \"env:PATH\""),
            read(
                &format!("{plain}?api_key=hush-3"),
                "X-Api-Key = \"hush-2\", X-Home = \"env:PATH\"",
            ),
        ] {
            let other = other.unwrap();
            assert_ne!(shown(other.lookups[0].of()), shown(config.lookups[0].of()));
            assert_eq!(config.changes(&other).taken.len(), 1);
            shown(format!("{:?}", config.changes(&other)));
        }
        assert!(config.changes(&config).taken.is_empty());

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("{plain}/hush-hush?api_key=hush-1\n")).unwrap();
        let elsewhere = format!("file:{}", file.path().display());
        let in_file = read(&elsewhere, "X-Api-Key = \"hush-2\"").unwrap();
        assert!(shown(in_file.print()).contains(&format!("url = {elsewhere:?}\n")));
        shown(format!("{in_file:?}"));
        // What is said in answers.
        let said = |config: &Config| shown(config.lookups[0].look("").unwrap_err());
        let cut = format!("{}hush-2", "x".repeat(116));
        answers("401 Unauthorized", "", &cut);
        assert!(said(&config).ends_with("xxx***\""));
        answers("400 Bad Request", "", "key hush-1 of /rows/hush-hush?api_key=hush-1 is no key");
        said(&in_file);
        answers("302 Found", "location: /in?next=/rows/hush-hush?api_key=hush-1\r\n", "");
        assert!(said(&config).contains("leads to \"/in?***\""));
        said(&in_file);
        std::fs::write(&file, "hush").unwrap();
        assert!(said(&in_file).contains("is no address"));

        for (url, headers, rule) in [
            ("http://ann:hush@a", "", "must not have a user"),
            ("htp://a/?key=hush", "", "must begin with http://"),
            ("http://a:b/?key=hush", "", "is no address"),
            ("env:", "", "must name a variable or a file"),
            (&plain, "\"a b\" = \"hush\"", "is no name of a header"),
            (&plain, "Authorization = \"hush\"", "a secret does not stand here"),
        ] {
            assert!(shown(read(url, headers).unwrap_err()).contains(rule), "{url} {headers}");
        }
    }
}
