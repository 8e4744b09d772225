//! Rows to native events, written to a temporary file before the replay begins.
//!
//! A row that cannot be mapped is written as it stands: the decoder then refuses it,
//! and it ends in the dead letters with everything else that was not understood.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::sync::LazyLock;

use regex::bytes::Regex;
use serde::Serialize;
use serde_json::value::RawValue;

use super::input::{Input, OpenError};
use super::mapping::{Field, Format, Kind, Mapping, Unit};
use super::progress::Progress;
use super::records::{Chunks, Records, read_at};
use crate::domain::event::time_text;
use crate::domain::time::EpochMs;

/// Stands between two translated rows, since a row that could not be mapped may hold
/// line ends. JSON never holds it.
const SEPARATOR: u8 = 0x1e;

/// A translation of `input` by `mapping`.
///
/// # Errors
/// When it cannot be read, the temporary file cannot be written, or the mapping names
/// a column that is not there.
pub(super) fn translate(
    input: Input,
    mapping: &Mapping,
    progress: &Progress,
) -> Result<Input, OpenError> {
    let file = tempfile::tempfile().map_err(|error| OpenError::read(&input.name, &error))?;
    let mut writer =
        Writer { mapping, out: BufWriter::with_capacity(1 << 20, file), row: Vec::new() };
    match &mapping.format {
        Format::Csv { delimiter, quoting, columns } => {
            let reader = csv::ReaderBuilder::new()
                .delimiter(*delimiter)
                .quoting(*quoting)
                .flexible(true)
                .has_headers(columns.is_none())
                .buffer_capacity(1 << 20)
                .from_reader(&input.file);
            csv_rows(&input, reader, columns.as_deref(), &mut writer, progress)?;
        }
        Format::Ndjson { explode } => {
            each_line(&input, progress, |line| json_rows(line, explode.as_deref(), &mut writer))?
        }
        Format::Combined => each_line(&input, progress, |line| log_row(line, &mut writer))?,
    }
    let failed = |error: &dyn ToString| OpenError::read(&input.name, &error.to_string());
    let mut file = writer.out.into_inner().map_err(|error| failed(&error))?;
    let len = file.seek(SeekFrom::End(0)).map_err(|error| failed(&error))?;
    Ok(Input { name: input.name, file, len, separator: SEPARATOR })
}

/// A cell of a row.
#[derive(Clone, Debug)]
enum Cell<'a> {
    Text(Cow<'a, str>),
    /// A JSON value that is not text.
    Json(&'a str),
}

impl Cell<'_> {
    fn text(&self) -> &str {
        match self {
            Cell::Text(text) => text,
            Cell::Json(json) => json,
        }
    }
}

/// Writes rows as native events.
struct Writer<'m> {
    mapping: &'m Mapping,
    out: BufWriter<File>,
    row: Vec<u8>,
}

impl Writer<'_> {
    /// Writes one row, `cells` being those of `Mapping::wanted`. False when it cannot be mapped.
    fn write(&mut self, cells: &[Option<Cell<'_>>]) -> io::Result<bool> {
        self.row.clear();
        for field in &self.mapping.fields {
            let cell = field.column.and_then(|column| cells[column].as_ref());
            match append(&mut self.row, field, cell, self.mapping.drop_ts_below) {
                Outcome::Written => {}
                Outcome::Drop => return Ok(true),
                Outcome::Unmappable => return Ok(false),
            }
        }
        self.row.extend_from_slice(&[b'}', SEPARATOR]);
        self.out.write_all(&self.row)?;
        Ok(true)
    }

    /// Writes a row as it stands.
    fn write_raw(&mut self, raw: &[u8]) -> io::Result<()> {
        self.out.write_all(raw)?;
        self.out.write_all(&[SEPARATOR])
    }
}

/// What became of one attribute.
enum Outcome {
    Written,
    /// The row is older than the mapping allows.
    Drop,
    Unmappable,
}

/// Appends `"attribute":value`, or nothing when the cell is empty.
fn append(
    out: &mut Vec<u8>,
    field: &Field,
    cell: Option<&Cell<'_>>,
    floor: Option<EpochMs>,
) -> Outcome {
    let put = |out: &mut Vec<u8>, value: &str| {
        out.push(if out.is_empty() { b'{' } else { b',' });
        put_text(out, &field.attribute);
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
        Outcome::Written
    };
    let put_quoted = |out: &mut Vec<u8>, value: &str| {
        put(out, "");
        put_text(out, value);
        Outcome::Written
    };
    match (&field.kind, cell) {
        (Kind::Time(unit), cell) => match cell.and_then(|cell| time(cell.text(), *unit)) {
            Some(at) if floor.is_some_and(|floor| at < floor) => Outcome::Drop,
            Some(at) => put(out, &at.to_string()),
            None => Outcome::Unmappable,
        },
        (Kind::Number, None) => Outcome::Written,
        (Kind::Number, Some(cell)) => match cell.text().trim() {
            "" | "-" | "null" => Outcome::Written,
            number if serde_json::from_str::<serde_json::Number>(number).is_ok() => {
                put(out, number)
            }
            _ => Outcome::Unmappable,
        },
        (Kind::Text { map, default }, cell) => {
            let text = cell.map(Cell::text).filter(|text| !text.is_empty());
            match (text.and_then(|text| map.get(text)).or(default.as_ref()), cell) {
                (Some(text), _) => put_quoted(out, text),
                (None, Some(Cell::Json(json))) => put(out, json),
                (None, Some(Cell::Text(text))) if !text.is_empty() => put_quoted(out, text),
                (None, _) if field.attribute == "type" => Outcome::Unmappable,
                (None, _) => Outcome::Written,
            }
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    text.serialize(&mut serde_json::Serializer::new(out))
        .expect("text can always be written as JSON to memory");
}

/// A time in the given unit.
fn time(text: &str, unit: Unit) -> Option<EpochMs> {
    let text = text.trim();
    let at = match unit {
        Unit::Ms => text.parse().ok()?,
        Unit::S => text.parse::<i64>().ok()?.checked_mul(1_000)?,
        Unit::Iso => time_text::iso(text)?,
        Unit::Clf => time_text::clf(text)?,
    };
    (time_text::EARLIEST..=time_text::LATEST).contains(&at).then_some(at)
}

/// Text in the mapping's encoding.
fn decoded(bytes: &[u8], latin1: bool) -> Cow<'_, str> {
    match latin1 && !bytes.is_ascii() {
        true => bytes.iter().map(|byte| char::from(*byte)).collect(),
        false => String::from_utf8_lossy(bytes),
    }
}

fn csv_rows(
    input: &Input,
    mut reader: csv::Reader<&File>,
    columns: Option<&[String]>,
    writer: &mut Writer<'_>,
    progress: &Progress,
) -> Result<(), OpenError> {
    let failed = |error: &dyn ToString| OpenError::read(&input.name, &error.to_string());
    let latin1 = writer.mapping.latin1;
    let columns: Vec<String> = match columns {
        Some(columns) => columns.to_vec(),
        None => {
            let header = reader.byte_headers().map_err(|error| failed(&error))?;
            header.iter().map(|name| decoded(name, latin1).trim().to_owned()).collect()
        }
    };
    let mut places = Vec::new();
    for wanted in &writer.mapping.wanted {
        let place = columns.iter().position(|column| column == wanted);
        places.push(place.ok_or_else(|| OpenError::NoSuchColumn {
            name: input.name.clone(),
            column: wanted.clone(),
            present: columns.join(", "),
        })?);
    }
    let mut record = csv::ByteRecord::new();
    loop {
        let start = reader.position().byte();
        if !reader.read_byte_record(&mut record).map_err(|error| failed(&error))? {
            return Ok(());
        }
        let end = reader.position().byte();
        let cells: Vec<Option<Cell<'_>>> = places
            .iter()
            .map(|place| record.get(*place).map(|cell| Cell::Text(decoded(cell, latin1))))
            .collect();
        let written = match writer.write(&cells) {
            Ok(false) => {
                let raw = read_at(input, start, (end - start) as usize)
                    .map_err(|error| OpenError::read(&input.name, &error))?;
                writer.write_raw(raw.trim_ascii())
            }
            written => written.map(|_| ()),
        };
        written.map_err(|error| failed(&error))?;
        progress.advance(end - start, 1);
    }
}

/// Hands every line that is not blank to `each`.
fn each_line(
    input: &Input,
    progress: &Progress,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), OpenError> {
    let mut chunks = Chunks::default();
    let failed = |error: &dyn ToString| OpenError::read(&input.name, &error.to_string());
    while let Some(chunk) =
        chunks.next(std::slice::from_ref(input)).map_err(|error| failed(&error))?
    {
        let mut rows = 0;
        for (start, len) in Records::new(&chunk.data, chunk.separator, 0) {
            each(&chunk.data[start..start + len]).map_err(|error| failed(&error))?;
            rows += 1;
        }
        progress.advance(chunk.data.len() as u64, rows);
    }
    Ok(())
}

/// The fields of a JSON object, in its order.
type JsonRow<'a> = std::collections::HashMap<Cow<'a, str>, &'a RawValue>;

/// One line of NDJSON: an event, or with `explode` a holder of several.
fn json_rows(line: &[u8], explode: Option<&str>, writer: &mut Writer<'_>) -> io::Result<()> {
    let text = decoded(line, writer.mapping.latin1);
    let Ok(outer) = serde_json::from_str::<JsonRow<'_>>(&text) else {
        return writer.write_raw(line);
    };
    let Some(explode) = explode else {
        return json_row(&JsonRow::new(), &outer, line, writer);
    };
    let events = outer.get(explode).map(|events| serde_json::from_str(events.get()));
    let Some(Ok::<Vec<&RawValue>, _>(events)) = events else {
        return writer.write_raw(line);
    };
    for event in events {
        match serde_json::from_str::<JsonRow<'_>>(event.get()) {
            Ok(inner) => json_row(&outer, &inner, event.get().as_bytes(), writer)?,
            Err(_) => writer.write_raw(event.get().as_bytes())?,
        }
    }
    Ok(())
}

fn json_row(
    outer: &JsonRow<'_>,
    inner: &JsonRow<'_>,
    raw: &[u8],
    writer: &mut Writer<'_>,
) -> io::Result<()> {
    let cells: Vec<Option<Cell<'_>>> = writer
        .mapping
        .wanted
        .iter()
        .map(|column| {
            let value = inner.get(column.as_str()).or_else(|| outer.get(column.as_str()))?.get();
            match value.as_bytes().first() {
                Some(b'"') => serde_json::from_str(value).ok().map(|t| Cell::Text(Cow::Owned(t))),
                _ if value == "null" => None,
                _ => Some(Cell::Json(value)),
            }
        })
        .collect();
    match writer.write(&cells)? {
        true => Ok(()),
        false => writer.write_raw(raw),
    }
}

/// A line in the common or the combined form; some servers quote the whole line.
static LOG_LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"^"?(?P<host>\S+) (?P<logname>\S+) (?P<authuser>\S+) \[(?P<time>[^\]]+)\] "#,
        r#""(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<bytes>\S+)"#,
        r#"(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)")?"#,
    ))
    .expect("a test matches this constant")
});

/// True for a line of a web server's log.
pub(super) fn is_log_line(line: &[u8]) -> bool {
    LOG_LINE.is_match(line)
}

fn log_row(line: &[u8], writer: &mut Writer<'_>) -> io::Result<()> {
    let Some(found) = LOG_LINE.captures(line) else {
        return writer.write_raw(line);
    };
    let latin1 = writer.mapping.latin1;
    let group = |name: &str| found.name(name).map(|group| decoded(group.as_bytes(), latin1));
    let request = group("request").unwrap_or_default();
    let mut words = request.split_ascii_whitespace();
    let (method, path, protocol) = (words.next(), words.next(), words.next());
    let word = |word: Option<&str>| word.map(|word| Cell::Text(Cow::Owned(word.to_owned())));
    let cells: Vec<Option<Cell<'_>>> = writer
        .mapping
        .wanted
        .iter()
        .map(|column| match column.as_str() {
            "method" => word(method),
            "path" => word(path),
            "protocol" => word(protocol),
            column => group(column).filter(|text| text != "-").map(Cell::Text),
        })
        .collect();
    match writer.write(&cells)? {
        true => Ok(()),
        false => writer.write_raw(line),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// The translation of `text`, its rows joined by line ends.
    fn translated(mapping: &str, text: &[u8]) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file.rewind().unwrap();
        let input = Input { name: "test".into(), file, len: text.len() as u64, separator: b'\n' };
        let mapping = Mapping::parse(mapping).unwrap();
        let mut made = translate(input, &mapping, &Progress::default()).unwrap();
        let mut rows = String::new();
        made.file.rewind().unwrap();
        made.file.read_to_string(&mut rows).unwrap();
        rows.replace('\u{1e}', "\n")
    }

    #[test]
    fn csv_cells_become_attributes_and_bad_rows_stay_as_they_are() {
        let mapping = r#"
            format = "csv"
            drop_ts_below_ms = 1000
            [fields]
            ts = { column = "at", unit = "s" }
            type = { column = "what", map = { cart = "cart_add" }, default = "page_view" }
            user = "who"
            status = { column = "code", number = true }
        "#;
        let rows = b"at,who,what,code\n\
            1,\"a \"\"b\"\"\",cart,200\n\
            soon,\"two\nlines\",x,1\n\
            0,old,x,1\n\
            2,,other,\n\
            3,c,x,4o4\n\
            4\n";
        assert_eq!(
            translated(mapping, rows),
            "{\"ts\":1000,\"type\":\"cart_add\",\"status\":200,\"user\":\"a \\\"b\\\"\"}\n\
             soon,\"two\nlines\",x,1\n\
             {\"ts\":2000,\"type\":\"page_view\"}\n\
             3,c,x,4o4\n\
             {\"ts\":4000,\"type\":\"page_view\"}\n"
        );
    }

    #[test]
    fn the_other_encodings_and_delimiters_work() {
        let mapping = r#"
            format = "csv"
            delimiter = "\t"
            quoting = false
            encoding = "latin-1"
            columns = ["at", "who"]
            [fields]
            ts = { column = "at", unit = "iso" }
            type = { default = "x" }
            user = "who"
        "#;
        assert_eq!(
            translated(mapping, b"1970-01-01 00:00:01\t\"caf\xe9\n"),
            "{\"ts\":1000,\"type\":\"x\",\"user\":\"\\\"caf\u{e9}\"}\n"
        );
    }

    #[test]
    fn exploded_events_see_the_outer_fields() {
        let mapping = r#"
            format = "ndjson"
            explode = "events"
            [fields]
            ts = { column = "ts", unit = "ms" }
            type = "kind"
            user = "session"
            item = "aid"
        "#;
        let lines = b"{\"session\":7,\"events\":[{\"aid\":\"\\u0061\",\"ts\":1,\"kind\":\"k\"},{\"ts\":2,\"kind\":\"\"},5]}\nbroken\n";
        assert_eq!(
            translated(mapping, lines),
            "{\"ts\":1,\"type\":\"k\",\"item\":\"a\",\"user\":7}\n{\"ts\":2,\"kind\":\"\"}\n5\nbroken\n"
        );
    }

    #[test]
    fn log_lines_need_no_mapping() {
        let lines = b"h - - [01/Aug/1995:00:00:01 -0400] \"GET /a?b HTTP/1.0\" 200 1839\n\
            h - u [01/Aug/1995:00:00:01 -0400] \"\\x16\\x03\" 400 - \"-\" \"agent \\\"x\\\"\"\n\
            not a log line\n";
        assert!(is_log_line(lines.split(|byte| *byte == b'\n').next().unwrap()));
        assert_eq!(
            translated(Mapping::combined().text(), lines),
            "{\"ts\":807249601000,\"type\":\"http_request\",\"bytes\":1839,\"method\":\"GET\",\"path\":\"/a?b\",\"status\":200,\"user\":\"h\"}\n\
             {\"ts\":807249601000,\"type\":\"http_request\",\"method\":\"\\\\x16\\\\x03\",\"status\":400,\"user\":\"h\"}\n\
             not a log line\n"
        );
    }

    #[test]
    fn a_column_that_is_not_there_is_named() {
        let mapping =
            Mapping::parse("format=\"csv\"\n[fields]\nts={column=\"at\",unit=\"s\"}\ntype=\"no\"")
                .unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"at,who\n").unwrap();
        file.rewind().unwrap();
        let input = Input { name: "f.csv".into(), file, len: 7, separator: b'\n' };
        let error = translate(input, &mapping, &Progress::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "f.csv has no column \"no\", which the mapping uses; it has at, who"
        );
    }
}
