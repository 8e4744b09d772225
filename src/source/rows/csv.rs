//! Delimited text, record by record.
//!
//! Where a record ends is found here and not by the CSV parser, because a quote that is never
//! closed would take all rows behind it along: it costs one row. A record goes on over a line
//! end only inside quotes that are closed again by the rules (RFC 4180) and leave it with the
//! columns that the others have.

use csv_core::{Reader, ReaderBuilder, Terminator};

use super::next_line;
use crate::source::input::OpenError;
use crate::source::mapping::Cell;
use crate::source::text::{self, Text};
use crate::source::writer::Writer;

/// How cells are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Dialect {
    pub delimiter: u8,
    pub quoting: bool,
    pub escape: Option<u8>,
}

/// Longest record that goes on over line ends.
const QUOTED_MAX: usize = 256 << 10;

/// Why a row with an open quote is refused.
const UNCLOSED: &str = "a quote opens on this line and is not closed by the rules of CSV; if \
                        quotes mean nothing in this file, set quoting = false in the map";

/// Where the record at the beginning of some bytes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// After this many bytes, before a line end.
    Ends(usize),
    /// Not in these bytes; and whether they end inside quotes.
    Further { quoted: bool },
    /// A quote stands where none may.
    Malformed,
}

/// Scans a record. Leniently a quote that stands where none may is taken as it is.
fn extent(bytes: &[u8], dialect: Dialect, line_end: u8, lenient: bool) -> Extent {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Start,
        Plain,
        Quoted,
        Closed,
    }
    let mut at = At::Start;
    let mut escaped = false;
    for (place, &byte) in bytes.iter().enumerate() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        at = match at {
            At::Quoted if dialect.escape == Some(byte) => {
                escaped = true;
                At::Quoted
            }
            At::Quoted if byte == b'"' => At::Closed,
            At::Quoted => At::Quoted,
            At::Closed if byte == b'"' && dialect.escape.is_none() => At::Quoted,
            _ if byte == line_end => return Extent::Ends(place),
            _ if byte == dialect.delimiter => At::Start,
            At::Start if byte == b'"' => At::Quoted,
            At::Closed if byte == b'\r' => At::Closed,
            At::Closed if !lenient => return Extent::Malformed,
            At::Start | At::Plain | At::Closed => At::Plain,
        };
    }
    Extent::Further { quoted: at == At::Quoted }
}

/// Takes records apart.
pub(in crate::source) struct Cells {
    reader: Reader,
    output: Vec<u8>,
    ends: Vec<usize>,
}

impl Cells {
    pub fn new(dialect: Dialect) -> Self {
        let reader = ReaderBuilder::new()
            .delimiter(dialect.delimiter)
            .quoting(dialect.quoting)
            .escape(dialect.escape)
            .double_quote(dialect.escape.is_none())
            // The record is cut out already, so nothing in it ends it.
            .terminator(Terminator::Any(0))
            .build();
        Cells { reader, output: Vec::new(), ends: Vec::new() }
    }

    /// The cells of a record.
    pub fn split<'c>(&'c mut self, record: &str) -> Vec<&'c str> {
        let record = record.replace('\0', "\u{fffd}");
        self.reader.reset();
        // Room for all of it: unquoting makes a record shorter, and a cell takes a byte.
        self.output.resize(record.len() + 1, 0);
        self.ends.resize(record.len() + 2, 0);
        let (mut written, mut count) = (0, 0);
        for input in [record.as_bytes(), b""] {
            let (_, _, output, ends) = self.reader.read_record(
                input,
                &mut self.output[written..],
                &mut self.ends[count..],
            );
            written += output;
            count += ends;
        }
        let starts = std::iter::once(&0).chain(&self.ends[..count]);
        let cell = |(start, end): (&usize, &usize)| {
            std::str::from_utf8(&self.output[*start..*end]).unwrap_or_default()
        };
        starts.zip(&self.ends[..count]).map(cell).collect()
    }
}

/// The record that the reader stands on.
enum Found {
    /// Its length without its line end, and with it; and whether a quote was out of place.
    Record { len: usize, whole: usize, stray: bool },
    /// Its first line opens a quote that is never closed.
    Unclosed,
}

/// Finds the end of the record whose first line is known. `columns`: how many cells the others
/// have, where that is known.
fn record(
    text: &mut Text<'_>,
    (len, whole): (usize, usize),
    dialect: Dialect,
    columns: Option<usize>,
    cells: &mut Cells,
    writer: &Writer<'_>,
) -> Result<Found, OpenError> {
    let line_end = text.separator;
    if !dialect.quoting || memchr::memchr(b'"', &text.rest()[..len]).is_none() {
        return Ok(Found::Record { len, whole, stray: false });
    }
    loop {
        let rest = text.rest();
        let rest = &rest[..rest.len().min(QUOTED_MAX.max(whole))];
        let all = text.is_last() && rest.len() == text.rest().len();
        match extent(rest, dialect, line_end, false) {
            Extent::Ends(end) if end < whole => {
                return Ok(Found::Record { len, whole, stray: false });
            }
            Extent::Further { quoted: false } if all && rest.len() <= whole => {
                return Ok(Found::Record { len, whole, stray: false });
            }
            Extent::Malformed => {
                let alone = extent(&rest[..len], dialect, line_end, true);
                return Ok(match alone {
                    Extent::Further { quoted: true } => Found::Unclosed,
                    _ => Found::Record { len, whole, stray: true },
                });
            }
            Extent::Further { .. } if !all && rest.len() < QUOTED_MAX => {
                let want = rest.len() * 2;
                text.fill(want).map_err(|error| writer.failed(&error))?;
            }
            Extent::Further { quoted: true } | Extent::Further { quoted: false } if !all => {
                return Ok(Found::Unclosed);
            }
            Extent::Further { quoted: true } => return Ok(Found::Unclosed),
            found => {
                let end = match found {
                    Extent::Ends(end) => end,
                    _ => rest.len(),
                };
                let record = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
                let (decoded, _) = text::decoded(record, writer.encoding());
                let count = cells.split(&decoded).len();
                if columns.is_some_and(|columns| count != columns) {
                    return Ok(Found::Unclosed);
                }
                let whole = (end + 1).min(rest.len());
                return Ok(Found::Record { len: record.len(), whole, stray: false });
            }
        }
    }
}

/// Reads all records. `columns`: their names where the file has no header.
pub(in crate::source) fn read(
    text: &mut Text<'_>,
    mut dialect: Dialect,
    columns: Option<&[String]>,
    writer: &mut Writer<'_>,
) -> Result<(), OpenError> {
    let mut cells = Cells::new(dialect);
    let headless = columns.is_some();
    let mut names = columns.map(<[String]>::to_vec);
    if let Some(names) = &names {
        writer.has_columns(names)?;
    }
    let mut places = names.as_deref().map(|names| places(writer.wanted(), names));
    while let Some((len, whole, number)) = next_line(text, writer)? {
        if names.is_none()
            && let [b's', b'e', b'p', b'=', delimiter] = text.rest()[..len]
        {
            // Spreadsheets write their delimiter into the first line.
            dialect.delimiter = delimiter;
            cells = Cells::new(dialect);
            writer.report.header += 1;
            text.advance(whole);
            continue;
        }
        // A list of columns in a map may leave out the last ones, so it says no count.
        let count = if headless { None } else { names.as_ref().map(Vec::len) };
        let found = record(text, (len, whole), dialect, count, &mut cells, writer)?;
        let Found::Record { len, whole, stray } = found else {
            writer.row_line();
            writer.fault(number, &text.rest()[..len], UNCLOSED)?;
            text.advance(whole);
            continue;
        };
        let raw = &text.rest()[..len];
        let (decoded, wrong) = text::decoded(raw, writer.encoding());
        let values = cells.split(&decoded);
        let lines = memchr::memchr_iter(text.separator, raw).count() as u64;
        match (&names, &places) {
            (Some(names), Some(places)) => {
                writer.row_line();
                writer.report.continued += lines;
                writer.note_wrong(number, wrong);
                // Delimiters at the end of a line are a habit of some programs.
                let filled = values.iter().rposition(|value| !value.is_empty());
                let cells = if values.len() > names.len() {
                    filled.map_or(0, |last| last + 1).max(names.len())
                } else {
                    values.len()
                };
                writer.note_shape(number, stray, cells, names.len(), headless);
                let row: Vec<Option<Cell<'_>>> = places
                    .iter()
                    .map(|place| Some(Cell::Text((*values.get((*place)?)?).into())))
                    .collect();
                writer.row(number, raw, &row)?;
            }
            _ => {
                writer.report.header += 1 + lines;
                let header: Vec<String> =
                    values.iter().map(|name| name.trim().to_owned()).collect();
                writer.has_columns(&header)?;
                places = Some(self::places(writer.wanted(), &header));
                names = Some(header);
            }
        }
        text.advance(whole);
        writer.progress(text);
    }
    Ok(())
}

fn places(wanted: &[String], names: &[String]) -> Vec<Option<usize>> {
    wanted.iter().map(|wanted| names.iter().position(|name| name == wanted)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Dialect = Dialect { delimiter: b',', quoting: true, escape: None };

    #[test]
    fn a_record_ends_where_its_quotes_allow() {
        for (bytes, want) in [
            ("a,b\nc", Extent::Ends(3)),
            ("a,\"b\nc\"\nd", Extent::Ends(7)),
            ("a,\"b\"\"\n\"\nd", Extent::Ends(8)),
            ("a,\"b\"\r\nd", Extent::Ends(6)),
            ("a,5\" pipe\nd", Extent::Ends(9)),
            ("a,\"b\nc", Extent::Further { quoted: true }),
            ("a,b", Extent::Further { quoted: false }),
            ("a,\"b\nc,\"d\"\n", Extent::Malformed),
            ("a,\"b\"c\n", Extent::Malformed),
        ] {
            assert_eq!(extent(bytes.as_bytes(), PLAIN, b'\n', false), want, "{bytes:?}");
        }
        let escape = Dialect { escape: Some(b'\\'), ..PLAIN };
        assert_eq!(extent(b"\"a\\\"\n\",b\nc", escape, b'\n', false), Extent::Ends(8));
    }

    #[test]
    fn cells_are_those_of_the_csv_crate() {
        for record in [
            "a,b,c",
            "",
            "a",
            ",",
            ",,",
            "\"a,b\",c",
            "\"a\"\"b\",c",
            "a,\"b",
            "\"a\"b,c",
            "a\"b,c",
            "\"a\nb\",c\r",
            "\u{e9},\"\u{fc}\"",
        ] {
            let mut reader = ::csv::ReaderBuilder::new()
                .has_headers(false)
                .terminator(::csv::Terminator::Any(0))
                .from_reader(record.as_bytes());
            let want: Vec<String> = match reader.records().next() {
                Some(record) => record.unwrap().iter().map(str::to_owned).collect(),
                None => Vec::new(),
            };
            assert_eq!(Cells::new(PLAIN).split(record), want, "{record:?}");
        }
    }
}
