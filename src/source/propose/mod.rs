//! A mapping for a file that is not known: looks at the first rows, guesses, and says what it
//! guessed. The proposal is tried on those rows before it is handed out.

pub(super) mod column;
mod table;

use std::fmt::Write;
use std::path::PathBuf;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use self::column::{Column, NumberForm};
use self::table::{Form, Table, toml_text};
use super::file::encoding_of;
use super::input::{self, OpenError, Opened, Opening, sample_of};
use super::mapping::Mapping;
use super::progress::Progress;
use super::records::Records;
use super::sniff::{self, Sniffed};
use super::text;
use super::translate::{self, How};
use crate::clock::SharedClock;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file; `-` is standard input.
    pub file: PathBuf,
    /// Label of its encoding, empty when it says it itself.
    pub encoding: String,
    /// Rows to look at.
    pub rows: usize,
    /// Bytes that it may unpack to.
    pub unpacked_max: u64,
}

/// A mapping with what it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The map, with comments: TOML.
    pub map: String,
    /// The first events that it makes.
    pub events: Vec<String>,
}

/// Bytes of the file that are looked at.
const SAMPLE: usize = 8 << 20;

/// Events that are shown.
const SHOWN: usize = 10;

/// Words that columns are called by, the most telling first.
const TIMES: [&str; 18] = [
    "ts",
    "timestamp",
    "eventtime",
    "eventtimestamp",
    "time",
    "datetime",
    "occurredat",
    "createdat",
    "created",
    "at",
    "when",
    "date",
    "zeit",
    "zeitstempel",
    "datum",
    "msec",
    "requesttime",
    "updatedat",
];
const TYPES: [&str; 12] = [
    "type",
    "eventtype",
    "eventname",
    "event",
    "action",
    "activity",
    "behavior",
    "behaviour",
    "kind",
    "what",
    "ereignis",
    "aktion",
];
const KEYS: [&str; 22] = [
    "userid",
    "user",
    "visitorid",
    "visitor",
    "anonymousid",
    "customerid",
    "customer",
    "clientid",
    "sessionid",
    "session",
    "uid",
    "deviceid",
    "memberid",
    "accountid",
    "email",
    "cip",
    "clientip",
    "remoteaddr",
    "ip",
    "client",
    "kunde",
    "who",
];
const MONEY: [&str; 16] = [
    "amount",
    "price",
    "total",
    "totalprice",
    "revenue",
    "value",
    "cost",
    "sum",
    "subtotal",
    "grandtotal",
    "betrag",
    "preis",
    "umsatz",
    "money",
    "payment",
    "fare",
];
const IDS: [&str; 8] =
    ["eventid", "id", "uuid", "messageid", "insertid", "requestid", "transactionid", "orderid"];

/// Looks at a file and proposes a map.
///
/// # Errors
/// When it cannot be read, or nothing in it looks like rows.
pub fn propose(settings: &Settings, clock: &SharedClock) -> Result<Proposal, OpenError> {
    let progress = Progress::default();
    let paths = [settings.file.clone()];
    let opening = Opening {
        paths: &paths,
        mapping: None,
        aliases: &[],
        encoding: encoding_of(&settings.encoding)?,
        unpacked_max: settings.unpacked_max,
        keep_going: true,
        now: clock.wall(),
    };
    let mut room = settings.unpacked_max;
    let mut opened = input::open(&settings.file, &opening, &mut room, &progress)?;
    let sample = sample_of(&opened.input, SAMPLE)?;
    let name = opened.input.name.clone();
    let other = |what: &str| OpenError::Form { name: name.clone(), what: what.to_owned() };
    if sample.trim_ascii().is_empty() {
        return Err(other("is empty: there is nothing to make a map of"));
    }
    if sample[..sample.len().min(1 << 16)].contains(&0) {
        return Err(other(sniff::NOT_TEXT));
    }
    let guessed_encoding = std::str::from_utf8(&sample).is_err() && opened.encoding == UTF_8;
    if guessed_encoding {
        opened.encoding = WINDOWS_1252;
    }
    let (decoded, _) = text::decoded(&sample, opened.encoding);
    let mut notes = Vec::new();
    let map = match sniff::sniff(&sample, opened.encoding, &[]) {
        Sniffed::Known(mapping) => {
            notes.push("The form is known: replay takes this file without a map.".to_owned());
            with_encoding(mapping.text(), &opened, guessed_encoding)
        }
        Sniffed::Native => {
            let table = table::json(&decoded, settings.rows)
                .ok_or_else(|| other("holds no JSON objects"))?;
            let native = |name: &str| table.columns.iter().any(|column| column == name);
            if native("ts") && native("type") {
                notes.push(
                    "These look like native events: replay takes them without a map as well."
                        .to_owned(),
                );
            }
            written(&table, &opened, guessed_encoding, &mut notes)
        }
        Sniffed::Other(what) => match table::csv(&decoded, settings.rows) {
            Some(table) => written(&table, &opened, guessed_encoding, &mut notes),
            None => return Err(OpenError::Form { name, what }),
        },
    };
    tried(map, notes, opened, sample.len(), &progress)
}

/// Tries a map on the sample and writes down how it went.
fn tried(
    map: String,
    notes: Vec<String>,
    opened: Opened,
    bytes: usize,
    progress: &Progress,
) -> Result<Proposal, OpenError> {
    let Opened { mut input, encoding, arrival } = opened;
    let name = input.name.clone();
    let mapping = Mapping::parse(&map).map_err(|error| OpenError::Form {
        name: name.clone(),
        what: format!("has columns that no map can be written for: {error}"),
    })?;
    input.len = input.start + bytes as u64;
    let how = How { mapping: Some(&mapping), encoding, keep_going: true, arrival, room: u64::MAX };
    let made = translate::translate(input, how, progress)?;
    let report = &made.report;
    let records = sample_of(&made, SAMPLE)?;
    let events = Records::new(&records, made.framing, 0)
        .filter(|record| record.reason(&records).is_none())
        .take(SHOWN)
        .map(|record| {
            String::from_utf8_lossy(&records[record.start..record.start + record.len]).into_owned()
        })
        .collect();
    let mut head = format!(
        "# How {} becomes events: proposed by `tidewatch map` from its first {} rows, {} of which\n\
         # became events. Look it through, above all the lines with a question mark.\n",
        table::one_line(&name),
        report.rows,
        report.mapped
    );
    for note in notes {
        writeln!(head, "# {note}").expect("writing to a text cannot fail");
    }
    for cell in &report.cells {
        let (count, example) = (cell.count, table::one_line(&cell.example));
        writeln!(
            head,
            "# {}: {count} cells cannot be used: {} (line {}: {example})",
            cell.attribute, cell.reason, cell.first_line
        )
        .expect("writing to a text cannot fail");
    }
    Ok(Proposal { map: format!("{head}\n{map}"), events })
}

fn with_encoding(map: &str, opened: &Opened, guessed: bool) -> String {
    match encoding_line(opened.encoding, guessed) {
        Some(line) => map.replacen("\n[fields]", &format!("\n{line}\n[fields]"), 1),
        None => map.to_owned(),
    }
}

fn encoding_line(encoding: &'static Encoding, guessed: bool) -> Option<String> {
    let label = encoding.name().to_ascii_lowercase();
    let doubt =
        if guessed { "  # ? the bytes are not UTF-8; this is the most common other" } else { "" };
    (encoding != UTF_8).then(|| format!("encoding = \"{label}\"{doubt}"))
}

/// A map for a table.
fn written(table: &Table, opened: &Opened, guessed: bool, notes: &mut Vec<String>) -> String {
    let mut out = String::new();
    head(table, &mut out);
    if let Some(line) = encoding_line(opened.encoding, guessed) {
        out.push_str(&line);
        out.push('\n');
    }
    out.push_str("\n[fields]\n");
    let columns: Vec<Column> = table
        .columns
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let cells = table.rows.iter().filter_map(move |row| row[place].as_deref());
            Column::of(name, cells)
        })
        .collect();
    let named = !matches!(table.form, Form::Csv { header: false, .. });
    let used = vec![false; columns.len()];
    let mut fields = Fields { columns: &columns, named, used, out, notes };
    // A second column of the same name cannot be asked for.
    for (place, column) in columns.iter().enumerate() {
        let twice = columns[..place].iter().any(|other| other.name == column.name);
        fields.used[place] = twice || column.name.is_empty();
    }
    fields.time();
    fields.kind();
    fields.key();
    fields.id();
    fields.others();
    fields.out
}

fn head(table: &Table, out: &mut String) {
    match &table.form {
        Form::Json { explode } => {
            out.push_str("format = \"json\"\n");
            if let Some(path) = explode {
                out.push_str(&format!(
                    "explode = {}  # a row holds several events\n",
                    toml_text(path)
                ));
            }
        }
        Form::Csv { delimiter, quoting, header, comment, skip_lines } => {
            out.push_str("format = \"csv\"\n");
            let delimiter = sniff::delimiter_name(*delimiter);
            out.push_str(&format!("delimiter = {delimiter}\n"));
            if !quoting {
                out.push_str("quoting = false  # quotes stand where they mean nothing\n");
            }
            if *comment {
                out.push_str("comment = \"#\"\n");
            }
            if *skip_lines > 0 {
                out.push_str(&format!("skip_lines = {skip_lines}  # before the names\n"));
            }
            if !header {
                let names: Vec<String> = table.columns.iter().map(|name| toml_text(name)).collect();
                out.push_str(
                    "# No row names the columns: give them better names here and below.\n",
                );
                out.push_str(&format!("columns = [{}]\n", names.join(", ")));
            }
        }
    }
}

/// Writes the lines under `[fields]`.
struct Fields<'t> {
    columns: &'t [Column],
    /// The file names its columns.
    named: bool,
    used: Vec<bool>,
    out: String,
    notes: &'t mut Vec<String>,
}

impl Fields<'_> {
    /// The free column with the best name among those that fit.
    fn best(&self, words: &[&str], fits: impl Fn(&Column) -> bool) -> Option<usize> {
        let free = self.columns.iter().enumerate().filter(|(place, _)| !self.used[*place]);
        let fitting = free.filter(|(_, column)| fits(column));
        let named = fitting.filter_map(|(place, column)| Some((column.named(words)?, place)));
        named.min().map(|(_, place)| place)
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn time(&mut self) {
        let date_and_clock = self.date_and_clock();
        let by_name = self.best(&TIMES, |column| column.time.is_some() && !column.is_date);
        let by_form = || {
            let telling = |column: &Column| {
                column.time.as_ref().is_some_and(|time| !time.vague || !self.named)
            };
            self.columns.iter().position(telling)
        };
        let dated = || self.best(&TIMES, |column| column.time.is_some());
        let Some(place) = by_name
            .or_else(|| if date_and_clock.is_some() { None } else { dated().or_else(by_form) })
        else {
            if let Some((date, clock)) = date_and_clock {
                return self.date_with_clock(date, clock);
            }
            self.line("# ? No column looks like a time: every event gets the time of the file.");
            self.line("ts = { unit = \"arrival\" }");
            return;
        };
        self.used[place] = true;
        let column = &self.columns[place];
        let form = column.time.clone().expect("chosen because it has one");
        if let Some(doubt) = &form.doubt {
            self.out.push_str(&format!("# ? {doubt}\n"));
        }
        if form.local {
            self.line("# ? No zone in the text: UTC, unless you add zone = \"Europe/Berlin\" or the like.");
        }
        let name = toml_text(&self.columns[place].name);
        self.line(&format!("ts = {{ column = {name}, {} }}", form.spec));
    }

    /// A date in one column and the time of day in another.
    fn date_and_clock(&self) -> Option<(usize, usize)> {
        let date = self.columns.iter().position(|column| column.is_date)?;
        let clock = self.columns.iter().position(|column| column.is_clock)?;
        Some((date, clock))
    }

    fn date_with_clock(&mut self, date: usize, clock: usize) {
        (self.used[date], self.used[clock]) = (true, true);
        let (date, clock) = (&self.columns[date].name, &self.columns[clock].name);
        let line = format!(
            "# ? No zone in the text: UTC, unless you add zone = \"Europe/Berlin\" or the like.\n\
             ts = {{ columns = [{}, {}], unit = \"iso\" }}",
            toml_text(date),
            toml_text(clock)
        );
        self.line(&line);
    }

    fn kind(&mut self) {
        let text = |column: &Column| {
            column.number.is_none() && column.values.len() <= 200 && column.filled > 0
        };
        let Some(place) = self.best(&TYPES, text) else {
            self.line("# ? No column looks like a type: every event is an \"event\".");
            self.line("type = { value = \"event\" }");
            return;
        };
        self.used[place] = true;
        let column = &self.columns[place];
        let mut map = Vec::new();
        for value in &column.values {
            if let Some(meaning) = meaning(value).filter(|meaning| meaning != value) {
                map.push(format!("{} = {}", toml_text(value), toml_text(meaning)));
            }
        }
        let values: Vec<String> =
            column.values.iter().take(20).map(|value| table::one_line(value)).collect();
        let more = if column.values.len() > 20 { ", ..." } else { "" };
        let name = toml_text(&column.name);
        let line = match map.is_empty() {
            true => format!("# Its values: {}{more}\ntype = {name}", values.join(", ")),
            false => format!(
                "# Its values: {}{more}. ? Those under map are taken for the steps of a purchase.\n\
                 type = {{ column = {name}, map = {{ {} }} }}",
                values.join(", "),
                map.join(", ")
            ),
        };
        self.line(&line);
    }

    fn key(&mut self) {
        let Some(place) = self.best(&KEYS, |column| {
            column.filled > 0 && column.time.is_none()
                || column.named(&KEYS).is_some_and(|rank| rank % 2 == 0)
        }) else {
            self.line("# ? No column looks like a user: without one there are no sessions.");
            self.line("# user = \"...\"");
            return;
        };
        self.used[place] = true;
        let name = toml_text(&self.columns[place].name);
        match self.columns[place].is_socket() {
            true => self.line(&format!(
                "user = {{ column = {name}, before_last = \":\" }}  # an address without its port"
            )),
            false => self.line(&format!("user = {name}")),
        }
    }

    fn id(&mut self) {
        let exact = |column: &Column| {
            column.is_unique() && column.named(&IDS).is_some_and(|rank| rank % 2 == 0)
        };
        if let Some(place) = self.best(&IDS, exact) {
            self.used[place] = true;
            let name = toml_text(&self.columns[place].name);
            self.line(&format!(
                "id = {name}  # no value comes twice; the same id again is a duplicate"
            ));
        }
    }

    /// Money, numbers, and texts to group by.
    fn others(&mut self) {
        let numeric = |column: &Column| column.number.is_some();
        let money = self.best(&MONEY, numeric).or_else(|| {
            let signed = |column: &Column| matches!(&column.number, Some(NumberForm::Like(like)) if like.chars().any(|c| !c.is_ascii() || c == '$'));
            self.columns.iter().position(signed)
        });
        let mut taken =
            vec!["ts".to_owned(), "type".to_owned(), "user".to_owned(), "id".to_owned()];
        if let Some(place) = money.filter(|place| !self.used[*place]) {
            self.used[place] = true;
            taken.push("amount".to_owned());
            let line = number_line("amount", &self.columns[place]);
            self.line(&format!("{line}  # looks like money"));
        }
        let mut left = Vec::new();
        for place in 0..self.columns.len() {
            let column = &self.columns[place];
            if self.used[place] || column.filled == 0 {
                continue;
            }
            let attribute = attribute(&column.name, &taken);
            taken.push(attribute.clone());
            if column.number.is_some() {
                let line = number_line(&attribute, column);
                self.line(&line);
            } else if column.is_label() {
                let line = format!("{attribute} = {}", toml_text(&column.name));
                self.line(&line);
            } else {
                left.push(format!("# {attribute} = {}", toml_text(&column.name)));
            }
        }
        if !left.is_empty() {
            self.line("# Texts with many values; take those that you need.");
            left.iter().for_each(|line| self.line(line));
        }
        let unnamed = self.columns.iter().filter(|column| column.name.is_empty()).count();
        if unnamed > 0 {
            self.notes.push(format!("{unnamed} columns have no name and are left out."));
        }
    }
}

fn number_line(attribute: &str, column: &Column) -> String {
    let form = match &column.number {
        Some(NumberForm::Like(example)) => toml_text(example),
        _ => "true".to_owned(),
    };
    format!("{attribute} = {{ column = {}, number = {form} }}", toml_text(&column.name))
}

/// What a type means to the default session rules.
fn meaning(value: &str) -> Option<&'static str> {
    let plain: String =
        value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let has = |words: &[&str]| words.iter().any(|word| plain.contains(word));
    match plain.as_str() {
        _ if has(&["remove", "refund", "cancel", "fail"]) => None,
        "cart" | "carts" | "addtocart" | "cartadd" | "productadded" | "basket" | "addtobasket" => {
            Some("cart_add")
        }
        "purchase" | "purchases" | "order" | "orders" | "ordercompleted" | "buy"
        | "transaction" | "payment" | "paymentcompleted" | "paymentdone" | "checkoutcompleted"
        | "ordered" | "pay" | "orderplaced" => Some("payment_completed"),
        "view" | "pageview" | "pageviews" | "page" | "click" | "clicks" | "productviewed" => {
            Some("page_view")
        }
        _ => None,
    }
}

/// A name for an attribute: that of the column in plain letters, and a new one.
fn attribute(column: &str, taken: &[String]) -> String {
    let mut name = String::new();
    for c in column.chars().take(60) {
        match c {
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
            _ if name.ends_with('_') || name.is_empty() => {}
            _ => name.push('_'),
        }
    }
    let name = name.trim_end_matches('_');
    let name = if name.is_empty() { "column" } else { name };
    let is_free = |name: &str| !taken.iter().any(|taken| taken == name);
    match is_free(name) {
        true => name.to_owned(),
        false => (2..)
            .map(|n| format!("{name}_{n}"))
            .find(|name| is_free(name))
            .expect("there are more numbers than columns"),
    }
}

#[cfg(test)]
mod tests;
