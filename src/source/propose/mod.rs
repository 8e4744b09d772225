//! A mapping for a file that is not known: looks at the first rows, guesses, and says what it
//! guessed. The proposal is tried on those rows before it is handed out.

pub(super) mod column;
mod fields;
mod roles;
mod sample;
mod table;
pub mod words;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

pub use self::column::{Column, NumberForm, TimeForm};
use self::fields::{Aim, Fields};
pub use self::fields::{meaning, slug};
pub use self::roles::{EVENT, Roles, is_code};
pub use self::sample::{Sample, sample};
use self::table::{Form, Table, toml_text};
use super::file::encoding_of;
use super::input::{Input, OpenError};
use super::mapping::Mapping;
use super::opening::{self, Opened, Opening, sample_of};
use super::progress::Progress;
use super::records::{Record, Records};
use super::sniff::{self, Sniffed};
use super::text;
use super::translate;
use super::writer::How;
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

/// Why JSON is no table.
const NO_OBJECTS: &str = "holds no JSON objects with values of their own; events that lie in lists \
                          within lists must be taken out first, as with \
                          jq -c '.resourceLogs[].scopeLogs[].logRecords[]'";

/// Events that are shown.
const SHOWN: usize = 10;

/// Looks at a file and proposes a map.
///
/// # Errors
/// When it cannot be read, or nothing in it looks like rows.
pub fn propose(settings: &Settings, clock: &SharedClock) -> Result<Proposal, OpenError> {
    let progress = Progress::default();
    let Looked { opened, bytes, decoded, guessed } = look(settings, clock, &progress)?;
    let name = opened.input.name.clone();
    let other = |what: &str| OpenError::Form { name: name.clone(), what: what.to_owned() };
    let mut notes = Vec::new();
    let map = match sniff::sniff(&bytes, opened.encoding, &[]) {
        Sniffed::Known(mapping) => {
            notes.push("The form is known: replay takes this file without a map.".to_owned());
            with_encoding(mapping.text(), &opened, guessed)
        }
        Sniffed::Native => {
            let table = table::json(&decoded, settings.rows).ok_or_else(|| other(NO_OBJECTS))?;
            let native = |name: &str| table.columns.iter().any(|column| column == name);
            if native("ts") && native("type") {
                notes.push(
                    "These look like native events: replay takes them without a map as well."
                        .to_owned(),
                );
            }
            written(&table, &opened, guessed, true).0
        }
        Sniffed::Other(what) => match table::csv(&decoded, settings.rows) {
            Some(table) => written(&table, &opened, guessed, true).0,
            None => return Err(OpenError::Form { name, what }),
        },
    };
    tried(map, notes, opened, bytes.len(), &progress)
}

/// The beginning of a file.
struct Looked {
    opened: Opened,
    bytes: Vec<u8>,
    decoded: String,
    /// Its encoding was guessed.
    guessed: bool,
}

fn look(
    settings: &Settings,
    clock: &SharedClock,
    progress: &Progress,
) -> Result<Looked, OpenError> {
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
    let mut opened = opening::open(&settings.file, &opening, &mut room, progress)?;
    let bytes = sample_of(&opened.input, SAMPLE)?;
    let other =
        |what: &str| OpenError::Form { name: opened.input.name.clone(), what: what.to_owned() };
    if bytes.trim_ascii().is_empty() {
        return Err(other("is empty: there is nothing to look at"));
    }
    if bytes[..bytes.len().min(1 << 16)].contains(&0) {
        return Err(other(sniff::NOT_TEXT));
    }
    let guessed = std::str::from_utf8(&bytes).is_err() && opened.encoding == UTF_8;
    if guessed {
        opened.encoding = WINDOWS_1252;
    }
    let decoded = text::decoded(&bytes, opened.encoding).0.into_owned();
    Ok(Looked { opened, bytes, decoded, guessed })
}

/// Makes events of the beginning of a file by a map.
fn made(map: &str, opened: Opened, bytes: usize, progress: &Progress) -> Result<Input, OpenError> {
    let Opened { mut input, encoding, arrival } = opened;
    let mapping = Mapping::parse(map).map_err(|error| OpenError::Form {
        name: input.name.clone(),
        what: format!("has columns that no map can be written for: {error}"),
    })?;
    input.len = input.start + bytes as u64;
    let how = How { mapping: Some(&mapping), encoding, keep_going: true, arrival, room: u64::MAX };
    translate::translate(input, how, progress)
}

/// The events that were made, at most so many.
fn events_of(made: &Input, most: usize) -> Result<Vec<String>, OpenError> {
    let records = sample_of(made, SAMPLE)?;
    let sound = Records::new(&records, made.framing, 0);
    let sound = sound.filter(|record| record.reason(&records).is_none()).take(most);
    let text = |record: Record| {
        String::from_utf8_lossy(&records[record.start..record.start + record.len]).into_owned()
    };
    Ok(sound.map(text).collect())
}

/// Tries a map on the sample and writes down how it went.
fn tried(
    map: String,
    notes: Vec<String>,
    opened: Opened,
    bytes: usize,
    progress: &Progress,
) -> Result<Proposal, OpenError> {
    let name = opened.input.name.clone();
    let made = made(&map, opened, bytes, progress)?;
    let report = &made.report;
    let events = events_of(&made, SHOWN)?;
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

/// A map for a table, and its attributes, each with the column that it is made of. `renames`: types
/// become those of the default configuration.
fn written(
    table: &Table,
    opened: &Opened,
    guessed: bool,
    renames: bool,
) -> (String, Vec<(String, String)>) {
    let mut out = String::new();
    head(table, &mut out);
    if let Some(line) = encoding_line(opened.encoding, guessed) {
        out.push_str(&line);
        out.push('\n');
    }
    out.push_str("\n[fields]\n");
    let columns = table.looked_at();
    let named = !matches!(table.form, Form::Csv { header: false, .. });
    let stem = stem(&opened.input.name);
    Fields::new(&columns, Aim { named, stem: &stem, renames }, out).all()
}

/// Names of files that say nothing of what is in them.
const ANY_FILE: [&str; 18] = [
    "data",
    "dataset",
    "export",
    "dump",
    "log",
    "logs",
    "output",
    "out",
    "input",
    "file",
    "part",
    "events",
    "test",
    "sample",
    "tmp",
    "messages",
    "records",
    "standard_input",
];

/// What a file is called, without endings and numbers: "orders" of "orders-2024-03.csv.gz".
fn stem(name: &str) -> String {
    let file = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
    let first = file.trim_start_matches('.').split('.').next().unwrap_or_default();
    let name = slug(first);
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    if name.is_empty() || ANY_FILE.contains(&name) { EVENT.to_owned() } else { name.to_owned() }
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

#[cfg(test)]
mod tests;
