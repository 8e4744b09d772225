//! A mapping for a file that is not known: looks at the first rows, guesses, and says what it
//! guessed. The proposal is tried on those rows before it is handed out.

pub(super) mod column;
mod fields;
mod table;

use std::fmt::Write;
use std::path::PathBuf;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use self::column::Column;
use self::fields::Fields;
use self::table::{Form, Table, toml_text};
use super::file::encoding_of;
use super::input::OpenError;
use super::mapping::Mapping;
use super::opening::{self, Opened, Opening, sample_of};
use super::progress::Progress;
use super::records::Records;
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

/// Events that are shown.
const SHOWN: usize = 10;

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
    let mut opened = opening::open(&settings.file, &opening, &mut room, &progress)?;
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
    Fields::new(&columns, named, out, notes).all()
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
