//! JSON values as they lie in files: one a line, in an array, one after another over several
//! lines, and mixtures of these, with a broken line in between.
//!
//! A value begins with `{`; brackets and commas around values are passed over, so that an
//! array may be as long as the disk. Where no value can be read, the rest of the line is one
//! row, which the decoder refuses with its reason, and reading goes on with the next line.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::ROW_MAX;
use crate::source::input::OpenError;
use crate::source::mapping::Cell;
use crate::source::text::{self, Line, Text};
use crate::source::writer::Writer;

/// Longest value that is taken apart: it lies in memory.
const DOCUMENT_MAX: usize = 64 << 20;

/// How deep arrays may lie in arrays.
const DEPTH_MAX: usize = 32;

/// What the present line holds so far.
#[derive(Clone, Copy, Debug, Default)]
struct Present {
    /// Anything but white space.
    used: bool,
    /// The beginning of a row.
    row: bool,
}

/// Reads all values. `explode`: where in each the events lie.
pub(in crate::source) fn read(
    text: &mut Text<'_>,
    explode: Option<&str>,
    writer: &mut Writer<'_>,
) -> Result<(), OpenError> {
    let mut values = Values {
        max: if explode.is_some() { DOCUMENT_MAX } else { ROW_MAX },
        explode,
        depth: 0,
        opened: 0,
        present: Present::default(),
        comment: 0,
        may_measure: true,
    };
    while values.step(text, writer)? {
        writer.progress(text);
    }
    Ok(())
}

struct Values<'e> {
    max: usize,
    explode: Option<&'e str>,
    /// Arrays that are open, and the line of the first.
    depth: usize,
    opened: u64,
    present: Present,
    /// The last line that is a comment.
    comment: u64,
    /// Whether the end of a value that is too long may be looked for: once, because it may be
    /// the end of the file.
    may_measure: bool,
}

/// What can be read where a value should begin.
enum Found {
    Value(usize),
    TooLong,
    Broken,
}

impl Values<'_> {
    /// Passes a line end, and says what the line was.
    fn end_line(&mut self, writer: &mut Writer<'_>) {
        match std::mem::take(&mut self.present) {
            Present { used: false, .. } => writer.report.blank += 1,
            Present { row: true, .. } => writer.report.row_lines += 1,
            Present { .. } => writer.report.continued += 1,
        }
    }

    /// Notes that a row begins here and covers `ends` line ends.
    fn begin_row(&mut self, ends: u64, writer: &mut Writer<'_>) {
        (self.present.used, self.present.row) = (true, true);
        if ends > 0 {
            self.end_line(writer);
            writer.report.continued += ends - 1;
            self.present.used = true;
        }
    }

    /// One mark, value or line. False at the end.
    fn step(&mut self, text: &mut Text<'_>, writer: &mut Writer<'_>) -> Result<bool, OpenError> {
        text.fill(1).map_err(|error| writer.failed(&error))?;
        if text.line <= writer.skip_lines() {
            return self.skip_line(text, writer);
        }
        let Some(&byte) = text.rest().first() else {
            if self.present.used {
                self.end_line(writer);
            } else if text.lines() >= text.line && self.comment != text.line {
                writer.report.blank += 1;
            }
            if self.depth > 0 {
                writer.report.notices.push(format!(
                    "the array that begins on line {} is not closed: the file may be cut short",
                    self.opened
                ));
            }
            return Ok(false);
        };
        match byte {
            _ if byte == text.separator => {
                text.advance(1);
                self.end_line(writer);
            }
            // The mark between the texts of a JSON text sequence is white space here.
            b' ' | b'\t' | b'\r' | b'\n' | 0x1e => text.advance(1),
            b',' => {
                self.present.used = true;
                text.advance(1);
            }
            b'[' if self.depth < DEPTH_MAX => {
                if self.depth == 0 {
                    self.opened = text.line;
                }
                self.depth += 1;
                self.present.used = true;
                text.advance(1);
            }
            b']' if self.depth > 0 => {
                self.depth -= 1;
                self.present.used = true;
                text.advance(1);
            }
            b'{' => self.value(text, writer)?,
            // Elements of an array that are no objects.
            _ if self.depth > 0 => self.value(text, writer)?,
            _ => self.rest_of_line(text, writer)?,
        }
        Ok(true)
    }

    fn skip_line(
        &mut self,
        text: &mut Text<'_>,
        writer: &mut Writer<'_>,
    ) -> Result<bool, OpenError> {
        match text.line(ROW_MAX).map_err(|error| writer.failed(&error))? {
            Line::End => return Ok(false),
            Line::Here { whole, .. } => text.advance(whole),
            Line::Long { .. } => {}
        }
        writer.report.header += 1;
        Ok(true)
    }

    fn value(&mut self, text: &mut Text<'_>, writer: &mut Writer<'_>) -> Result<(), OpenError> {
        let line = text.line;
        match self.find(text, writer)? {
            Found::Value(len) => {
                let raw = text.rest()[..len].to_vec();
                let ends = memchr::memchr_iter(text.separator, &raw).count() as u64;
                self.begin_row(ends, writer);
                text.advance(len);
                row(&raw, line, self.explode, writer)
            }
            Found::TooLong if std::mem::take(&mut self.may_measure) => {
                self.pass_value(text, writer)
            }
            Found::TooLong | Found::Broken => self.rest_of_line(text, writer),
        }
    }

    fn find(&self, text: &mut Text<'_>, writer: &Writer<'_>) -> Result<Found, OpenError> {
        let mut want = 1 << 16;
        loop {
            text.fill(want).map_err(|error| writer.failed(&error))?;
            let rest = text.rest();
            let rest = &rest[..rest.len().min(self.max)];
            let all = text.is_last() && rest.len() == text.rest().len();
            let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
            match values.next() {
                // A number at the end of what was read may go on behind it.
                Some(Ok(_)) if values.byte_offset() < rest.len() || all || rest[0] == b'{' => {
                    return Ok(Found::Value(values.byte_offset()));
                }
                Some(Err(error)) if !error.is_eof() => return Ok(Found::Broken),
                Some(_) if !all && rest.len() < self.max => want = rest.len() * 2,
                Some(_) if !all => return Ok(Found::TooLong),
                _ => return Ok(Found::Broken),
            }
        }
    }

    /// Passes a value that is too long: one row, however many lines it has.
    fn pass_value(
        &mut self,
        text: &mut Text<'_>,
        writer: &mut Writer<'_>,
    ) -> Result<(), OpenError> {
        let line = text.line;
        let head = text.rest()[..text.rest().len().min(text::HEAD)].to_vec();
        let Some(bytes) = text.measure_json().map_err(|error| writer.failed(&error))? else {
            return self.rest_of_line(text, writer);
        };
        let before = text.line;
        text.pass(bytes).map_err(|error| writer.failed(&error))?;
        self.begin_row(text.line - before, writer);
        writer.too_long(line, bytes, self.max as u64, &head)
    }

    /// Takes the rest of the line as one row that is not JSON.
    fn rest_of_line(
        &mut self,
        text: &mut Text<'_>,
        writer: &mut Writer<'_>,
    ) -> Result<(), OpenError> {
        let line = text.line;
        match text.line(ROW_MAX).map_err(|error| writer.failed(&error))? {
            Line::End => Ok(()),
            Line::Long { bytes, head } => {
                self.begin_row(0, writer);
                if text.line > line {
                    self.end_line(writer);
                }
                writer.too_long(line, bytes, ROW_MAX as u64, &head)
            }
            Line::Here { len, whole } => {
                let fresh = !self.present.used;
                let bytes = text.rest()[..len].to_vec();
                if fresh && writer.is_comment(&bytes) {
                    writer.report.comment += 1;
                    text.advance(whole);
                    (self.present, self.comment) = (Present::default(), line);
                    return Ok(());
                }
                self.begin_row(0, writer);
                let ended = text.rest()[whole - 1] == text.separator;
                text.advance(whole);
                if ended {
                    self.end_line(writer);
                }
                let raw = bytes.trim_ascii();
                if writer.is_native() {
                    let (decoded, wrong) = text::decoded(raw, writer.encoding());
                    writer.note_wrong(line, wrong);
                    writer.native(line, decoded.as_bytes())
                } else {
                    writer.fault(line, raw, &not_json(raw))
                }
            }
        }
    }
}

/// What is wrong with a row that is not a JSON object.
fn not_json(raw: &[u8]) -> String {
    match serde_json::from_slice::<IgnoredAny>(raw) {
        Ok(_) => "a row must be a JSON object".to_owned(),
        Err(error) => format!("not JSON: {error}"),
    }
}

/// The fields of a JSON object.
type Object<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// One value: an event, or with `explode` a holder of several.
fn row(
    raw: &[u8],
    line: u64,
    explode: Option<&str>,
    writer: &mut Writer<'_>,
) -> Result<(), OpenError> {
    let (decoded, wrong) = text::decoded(raw, writer.encoding());
    writer.note_wrong(line, wrong);
    if writer.is_native() {
        return writer.native(line, decoded.as_bytes());
    }
    let outer = match serde_json::from_str::<Object<'_>>(&decoded) {
        Ok(outer) => outer,
        Err(_) => return writer.fault(line, raw, &not_json(decoded.as_bytes())),
    };
    let Some(explode) = explode else {
        return object(&Object::new(), &outer, raw, line, writer);
    };
    let events = at(&outer, explode).map(serde_json::from_str::<Vec<&RawValue>>);
    let Some(Ok(events)) = events else {
        let what = if events.is_some() { "is not an array" } else { "is missing" };
        return writer.fault(line, raw, &format!("explode = {explode:?}: {explode:?} {what}"));
    };
    for event in events {
        let raw = event.get().as_bytes();
        match serde_json::from_str::<Object<'_>>(event.get()) {
            Ok(inner) => object(&outer, &inner, raw, line, writer)?,
            Err(_) => writer.fault(line, raw, &not_json(raw))?,
        }
    }
    Ok(())
}

fn object(
    outer: &Object<'_>,
    inner: &Object<'_>,
    raw: &[u8],
    line: u64,
    writer: &mut Writer<'_>,
) -> Result<(), OpenError> {
    if writer.wants_names() {
        for (name, value) in outer.iter().chain(inner) {
            writer.saw_names([name.as_ref()]);
            if value.get().starts_with('{')
                && let Ok(nested) = serde_json::from_str::<Object<'_>>(value.get())
            {
                for key in nested.keys() {
                    writer.saw_names([format!("{name}.{key}").as_str()]);
                }
            }
        }
    }
    let cells: Vec<Option<Cell<'_>>> = writer
        .wanted()
        .iter()
        .map(|column| {
            let value = at(inner, column).or_else(|| at(outer, column))?;
            match value.as_bytes().first() {
                Some(b'"') => serde_json::from_str(value).ok().map(|t| Cell::Text(Cow::Owned(t))),
                _ if value == "null" => None,
                _ => Some(Cell::Json(Cow::Borrowed(value))),
            }
        })
        .collect();
    writer.row(line, raw, &cells)
}

/// The value under a name, or at the end of a path of names and places (`items.0.price`). A
/// field that has the whole path as its name goes first.
fn at<'a>(object: &Object<'a>, path: &str) -> Option<&'a str> {
    if let Some(value) = object.get(path) {
        return Some(value.get());
    }
    let mut ends = path.match_indices('.').map(|(end, _)| end);
    ends.find_map(|end| below(object.get(&path[..end])?.get(), &path[end + 1..]))
}

fn below<'a>(value: &'a str, path: &str) -> Option<&'a str> {
    match value.as_bytes().first()? {
        b'{' => at(&serde_json::from_str::<Object<'a>>(value).ok()?, path),
        b'[' => {
            let (place, rest) = match path.split_once('.') {
                Some((place, rest)) => (place, Some(rest)),
                None => (path, None),
            };
            let elements: Vec<&'a RawValue> = serde_json::from_str(value).ok()?;
            let element = elements.get(place.parse::<usize>().ok()?)?.get();
            rest.map_or(Some(element), |rest| below(element, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_into_objects_and_arrays() {
        let text = r#"{"a.b":1,"a":{"b":2,"c":[{"d":3},4]},"x.y":{"z":5},"n":null}"#;
        let object: Object<'_> = serde_json::from_str(text).unwrap();
        for (path, want) in [
            ("a.b", Some("1")),
            ("a.c.0.d", Some("3")),
            ("a.c.1", Some("4")),
            ("a.c.2", None),
            ("a.c.x", None),
            ("x.y.z", Some("5")),
            ("n.a", None),
            ("a.", None),
            ("", None),
        ] {
            assert_eq!(at(&object, path), want, "{path}");
        }
    }
}
