//! The rows of a file, by its format. Each reader tells the writer of every line what it was,
//! and hands it every row with the number of the line it began on.

pub(super) mod access;
pub(super) mod csv;
pub(super) mod json;
pub(super) mod w3c;

use super::input::OpenError;
use super::text::{Line, Text};
use super::writer::Writer;

/// Longest row, whatever `events.event_bytes` allows beyond it: rows are handed on in chunks of
/// 4 MiB, with room for what a mapping adds to one.
pub(super) const ROW_MAX: usize = 3 << 20;

/// Goes through the lines that are neither blank nor comments nor skipped by the mapping.
/// `each` gets the line and its number.
pub(super) fn each_line(
    text: &mut Text<'_>,
    writer: &mut Writer<'_>,
    mut each: impl FnMut(&[u8], u64, &mut Writer<'_>) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    while let Some((len, whole, line)) = next_line(text, writer)? {
        each(&text.rest()[..len], line, writer)?;
        text.advance(whole);
        writer.progress(text);
    }
    Ok(())
}

/// The next line that is a row or a header: its length, that with its end, its number. The
/// reader still stands on it. Lines that are neither are counted and passed.
pub(super) fn next_line(
    text: &mut Text<'_>,
    writer: &mut Writer<'_>,
) -> Result<Option<(usize, usize, u64)>, OpenError> {
    loop {
        let line = text.line;
        match text.line(ROW_MAX).map_err(|error| writer.failed(&error))? {
            Line::End => return Ok(None),
            Line::Long { bytes, head } => {
                writer.row_line();
                writer.too_long(line, bytes, ROW_MAX as u64, &head)?;
            }
            Line::Here { len, whole } => {
                let bytes = &text.rest()[..len];
                if line <= writer.skip_lines() {
                    writer.report.header += 1;
                } else if bytes.trim_ascii().is_empty() {
                    writer.report.blank += 1;
                } else if writer.is_comment(bytes) {
                    writer.report.comment += 1;
                } else {
                    return Ok(Some((len, whole, line)));
                }
                text.advance(whole);
            }
        }
    }
}
