//! Rows written as native events, and counted.
//!
//! A row that no event can be made of is written as it stands, with the reason: it ends in the
//! dead letters with everything else that was not understood. A cell that cannot be used costs
//! its attribute, and is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};

use encoding_rs::Encoding;

use super::input::OpenError;
use super::mapping::{Cell, Made, Mapping, quoted};
use super::progress::Progress;
use super::propose::column::form_of;
use super::records::{PAYLOAD_MAX, put_framed};
use super::tally::{CellFaults, FileReport, NeverSeen, Seen, nearest, shortened};
use super::text::{HEAD, Text};
use super::unpack::Spool;
use crate::domain::time::EpochMs;

/// Rows after which a mapping must have fitted at least one.
const FIT_ROWS: u64 = 1_000;

/// Names of columns that are remembered, to find the nearest to one that never occurs.
const NAMES_MAX: usize = 2_000;

/// Rows of JSON whose names are looked at for that.
const NAME_ROWS: u64 = 200;

/// How an input is to be translated.
#[derive(Clone, Copy)]
pub(super) struct How<'m> {
    /// Without one every value is an event already.
    pub mapping: Option<&'m Mapping>,
    /// What the bytes are.
    pub encoding: &'static Encoding,
    /// Go on although nothing fits.
    pub keep_going: bool,
    /// Time of rows that are stamped when they arrive.
    pub arrival: EpochMs,
    /// Bytes that the translation may have.
    pub room: u64,
}

/// Writes rows as native events, and counts what it is told.
pub(super) struct Writer<'m> {
    how: How<'m>,
    name: &'m str,
    progress: &'m Progress,
    out: BufWriter<File>,
    /// The event in the making, and the record around it.
    event: Vec<u8>,
    record: Vec<u8>,
    pub report: FileReport,
    passed: u64,
    written: u64,
    cells: CellFaults,
    /// Why rows were refused, for the complaint that nothing fits.
    reasons: BTreeMap<String, (u64, u64, String)>,
    /// For each wanted column: whether it ever held anything.
    seen: Vec<bool>,
    names: BTreeSet<String>,
    hint: Option<String>,
    stray: Seen,
    longer: Seen,
    shorter: Seen,
}

impl<'m> Writer<'m> {
    /// Nothing written yet.
    pub fn new(
        how: How<'m>,
        name: &'m str,
        report: FileReport,
        file: File,
        progress: &'m Progress,
    ) -> Self {
        Writer {
            name,
            progress,
            out: BufWriter::with_capacity(1 << 20, file),
            event: Vec::new(),
            record: Vec::new(),
            report,
            passed: 0,
            written: 0,
            cells: CellFaults::default(),
            reasons: BTreeMap::new(),
            seen: vec![false; how.mapping.map_or(0, |mapping| mapping.wanted.len())],
            names: BTreeSet::new(),
            hint: None,
            stray: Seen::default(),
            longer: Seen::default(),
            shorter: Seen::default(),
            how,
        }
    }

    /// An error of reading the input.
    pub fn failed(&self, error: &impl ToString) -> OpenError {
        OpenError::read(self.name, error)
    }

    /// Shows how far the reader is.
    pub fn progress(&mut self, text: &Text<'_>) {
        self.progress.advance(text.passed - self.passed, 1);
        self.passed = text.passed;
    }

    /// True when rows are events already.
    pub fn is_native(&self) -> bool {
        self.how.mapping.is_none()
    }

    /// The input's encoding.
    pub fn encoding(&self) -> &'static Encoding {
        self.how.encoding
    }

    /// Columns that the mapping uses.
    pub fn wanted(&self) -> &'m [String] {
        self.how.mapping.map_or(&[], |mapping| &mapping.wanted)
    }

    /// Lines before the first row that the mapping leaves out.
    pub fn skip_lines(&self) -> u64 {
        self.how.mapping.map_or(0, |mapping| mapping.skip_lines)
    }

    /// True for a line that the mapping calls a comment.
    pub fn is_comment(&self, line: &[u8]) -> bool {
        let comment = self.how.mapping.and_then(|mapping| mapping.comment.as_ref());
        comment.is_some_and(|comment| line.trim_ascii_start().starts_with(comment.as_bytes()))
    }

    /// Counts a line on which a row begins.
    pub fn row_line(&mut self) {
        self.report.row_lines += 1;
    }

    /// Counts a row with wrong bytes.
    pub fn note_wrong(&mut self, line: u64, wrong: bool) {
        if wrong {
            see(self.report.wrong_bytes.get_or_insert_default(), line);
        }
    }

    /// Counts a row whose cells are not as they should be.
    pub fn note_shape(
        &mut self,
        line: u64,
        stray: bool,
        cells: usize,
        columns: usize,
        headless: bool,
    ) {
        if stray {
            see(&mut self.stray, line);
        }
        if cells > columns && !headless {
            see(&mut self.longer, line);
        }
        if cells < columns && !headless {
            see(&mut self.shorter, line);
        }
    }

    /// True while names of columns are collected.
    pub fn wants_names(&self) -> bool {
        self.report.rows < NAME_ROWS
    }

    /// Remembers names of columns that are there.
    pub fn saw_names<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            if self.names.len() < NAMES_MAX && !self.names.contains(name) {
                self.names.insert(name.to_owned());
            }
        }
    }

    /// Says which columns there are, in a format where they are known beforehand.
    ///
    /// # Errors
    /// When the mapping needs another one.
    pub fn has_columns(&mut self, columns: &[String]) -> Result<(), OpenError> {
        self.saw_names(columns.iter().map(String::as_str));
        let Some(mapping) = self.how.mapping else { return Ok(()) };
        let missing = mapping
            .wanted
            .iter()
            .zip(&mapping.spare)
            .find(|(wanted, spare)| !**spare && !columns.contains(wanted));
        let Some((column, _)) = missing else {
            let mut sorted: Vec<&String> = columns.iter().collect();
            sorted.sort_unstable();
            let twice = sorted.windows(2).find(|pair| pair[0] == pair[1]);
            if let Some(name) = twice.filter(|pair| mapping.wanted.contains(pair[0])) {
                let name = shortened(name[0]);
                self.report
                    .notices
                    .push(format!("there are two columns {name:?}: the first of them is used"));
            }
            return Ok(());
        };
        let present: Vec<String> = columns.iter().map(|column| shortened(column)).collect();
        let near = nearest(column, columns.iter().map(String::as_str));
        let other = [";", "\t", "|", ","]
            .into_iter()
            .find(|sign| columns.len() == 1 && columns[0].matches(sign).count() > 0);
        let hint = match (near, other) {
            (_, Some(sign)) => format!("; it looks separated by {sign:?}: set delimiter to it"),
            (Some(near), _) => format!("; did you mean {near:?}?"),
            (None, None) => String::new(),
        };
        Err(OpenError::NoSuchColumn {
            name: self.name.to_owned(),
            column: column.clone(),
            present: shortened(&present.join(", ")),
            hint,
        })
    }

    /// Writes an event as it came.
    pub fn native(&mut self, line: u64, event: &[u8]) -> Result<(), OpenError> {
        if event.len() > PAYLOAD_MAX {
            return self.too_long(line, event.len() as u64, PAYLOAD_MAX as u64, event);
        }
        self.report.rows += 1;
        self.report.mapped += 1;
        self.report.events += 1;
        self.put(line, event, "")
    }

    /// Writes one row as an event, `cells` being those of [`Writer::wanted`].
    pub fn row(
        &mut self,
        line: u64,
        raw: &[u8],
        cells: &[Option<Cell<'_>>],
    ) -> Result<(), OpenError> {
        let mapping = self.how.mapping.expect("rows of cells are read by a mapping");
        for (seen, cell) in self.seen.iter_mut().zip(cells) {
            *seen = *seen || cell.as_ref().is_some_and(|cell| !cell.text().is_empty());
        }
        let kept = mapping.keep.iter().all(|condition| condition.holds(cells))
            && !mapping.drop.iter().any(|condition| condition.holds(cells));
        if !kept {
            self.report.rows += 1;
            self.report.filtered += 1;
            return Ok(());
        }
        self.event.clear();
        for field in &mapping.fields {
            let needed = matches!(field.attribute.as_str(), "ts" | "type");
            match field.make(cells, self.how.arrival) {
                Made::Time(at) if mapping.drop_ts_below.is_some_and(|floor| at < floor) => {
                    self.report.rows += 1;
                    self.report.filtered += 1;
                    return Ok(());
                }
                Made::Time(at) => put_field(&mut self.event, &field.attribute, &at.to_string()),
                Made::Value(value) => put_field(&mut self.event, &field.attribute, &value),
                Made::Absent if needed => {
                    let reason = format!("{}: nothing in the row to make it of", field.attribute);
                    return self.fault(line, raw, &reason);
                }
                Made::Unusable(why, cell) if needed => {
                    let form = match field.form() {
                        "" => String::new(),
                        form => format!(", which is {form}"),
                    };
                    let hint = self.hint(&field.attribute, &cell);
                    let cell = shortened(&cell);
                    let reason = format!("{}: {why}{form}{hint} ({cell:?})", field.attribute);
                    return self.fault(line, raw, &reason);
                }
                Made::Absent => {}
                Made::Unusable(why, cell) => self.cells.count(&field.attribute, why, line, &cell),
            }
        }
        self.event.push(b'}');
        let event = std::mem::take(&mut self.event);
        let written = if event.len() > PAYLOAD_MAX {
            self.too_long(line, raw.len() as u64, PAYLOAD_MAX as u64, raw)
        } else {
            self.report.rows += 1;
            self.report.mapped += 1;
            self.report.events += 1;
            self.put(line, &event, "")
        };
        self.event = event;
        written
    }

    /// How the first time that could not be read would be declared: the same for all.
    fn hint(&mut self, attribute: &str, cell: &str) -> &str {
        let make = || match form_of(cell) {
            Some(spec) if attribute == "ts" => format!("; {spec} would read the first of these"),
            _ => String::new(),
        };
        self.hint.get_or_insert_with(make)
    }

    /// Writes a row that no event can be made of, with the reason.
    pub fn fault(&mut self, line: u64, raw: &[u8], reason: &str) -> Result<(), OpenError> {
        self.report.rows += 1;
        self.report.rejected += 1;
        if self.report.rejected <= FIT_ROWS {
            let (rule, _) = reason.split_once(" (\"").unwrap_or((reason, ""));
            let first = || (0, line, reason.to_owned());
            self.reasons.entry(rule.to_owned()).or_insert_with(first).0 += 1;
        }
        self.put(line, &raw[..raw.len().min(PAYLOAD_MAX)], reason)?;
        if self.report.rejected == FIT_ROWS && self.report.rows == FIT_ROWS && !self.how.keep_going
        {
            return Err(self.nothing_fits());
        }
        Ok(())
    }

    /// Writes the beginning of a row that is longer than `max` bytes.
    pub fn too_long(
        &mut self,
        line: u64,
        bytes: u64,
        max: u64,
        head: &[u8],
    ) -> Result<(), OpenError> {
        let head = &head[..head.len().min(HEAD)];
        let reason = format!(
            "a row of {bytes} bytes is longer than {max}, the most that a replay takes; its first \
             {} bytes are kept",
            head.len()
        );
        self.fault(line, head, &reason)
    }

    fn nothing_fits(&self) -> OpenError {
        let mut reasons: Vec<_> = self.reasons.values().collect();
        reasons.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
        let reasons = reasons.iter().take(3).map(|(count, line, reason)| {
            format!("{reason} ({count} rows, the first on line {line})")
        });
        OpenError::NothingFits {
            name: self.name.to_owned(),
            rows: FIT_ROWS,
            reasons: reasons.collect::<Vec<_>>().join("; "),
        }
    }

    fn put(&mut self, line: u64, payload: &[u8], reason: &str) -> Result<(), OpenError> {
        self.record.clear();
        put_framed(&mut self.record, line, payload, reason);
        self.written += self.record.len() as u64;
        if self.written > self.how.room {
            return Err(self.failed(&Spool::Room(self.how.room)));
        }
        self.out.write_all(&self.record).map_err(|error| OpenError::temporary(&error))
    }

    /// What was written, and what was counted.
    pub fn finish(mut self) -> Result<(File, FileReport), OpenError> {
        let wanted = self.wanted();
        let unseen = wanted.iter().zip(&self.seen).filter(|(_, seen)| !**seen);
        if self.report.rows > 0 {
            self.report.never_seen = unseen
                .map(|(column, _)| {
                    let near = nearest(column, self.names.iter().map(String::as_str));
                    NeverSeen { column: column.clone(), near: near.map(shortened) }
                })
                .collect();
        }
        self.report.cells = std::mem::take(&mut self.cells).report();
        for (seen, what) in [
            (&self.stray, "have a quote where none may stand; it was taken as it is"),
            (&self.longer, "have more cells than there are columns; the last ones were left out"),
            (&self.shorter, "have fewer cells than there are columns; those are empty"),
        ] {
            if seen.count > 0 {
                self.report.notices.push(format!(
                    "{} rows {what} (the first on line {})",
                    seen.count, seen.first_line
                ));
            }
        }
        let file = self.out.into_inner().map_err(|error| OpenError::temporary(&error))?;
        Ok((file, self.report))
    }
}

fn see(seen: &mut Seen, line: u64) {
    if seen.count == 0 {
        seen.first_line = line;
    }
    seen.count += 1;
}

/// Appends `"attribute":value` with what must stand before it.
fn put_field(out: &mut Vec<u8>, attribute: &str, value: &str) {
    out.push(if out.is_empty() { b'{' } else { b',' });
    out.extend_from_slice(quoted(attribute).as_bytes());
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
}
