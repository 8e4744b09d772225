//! Rows to native events, written to a temporary file before the replay begins.

use std::io::{Seek, SeekFrom};

use super::input::{Framing, Input, OpenError};
use super::mapping::Format;
use super::progress::Progress;
use super::records::read_at;
use super::rows::{access, csv, json, w3c};
use super::text::{self, Text};
use super::writer::{How, Writer};

/// A translation of `input`.
///
/// # Errors
/// When it cannot be read, the temporary file cannot be written, the mapping names a column
/// that is not there, or fits none of the first rows.
pub(super) fn translate(
    mut input: Input,
    how: How<'_>,
    progress: &Progress,
) -> Result<Input, OpenError> {
    let beginning = read_at(&input, input.start, 1 << 16)
        .map_err(|error| OpenError::read(&input.name, &error))?;
    let file = tempfile::tempfile().map_err(|error| OpenError::temporary(&error))?;
    let report = std::mem::take(&mut input.report);
    let mut writer = Writer::new(how, &input.name, report, file, progress);
    let mut text = Text::new(&input, text::separator(&beginning));
    match how.mapping.map(|mapping| &mapping.format) {
        None => json::read(&mut text, None, &mut writer)?,
        Some(Format::Json { explode }) => json::read(&mut text, explode.as_deref(), &mut writer)?,
        Some(Format::Csv { delimiter, quoting, escape, columns }) => {
            if w3c::is_directive(&beginning) && how.mapping.is_some_and(|m| m.comment.is_none()) {
                return Err(OpenError::Form {
                    name: input.name.clone(),
                    what: "is a W3C log, whose columns are named by its #Fields lines: write \
                           format = \"w3c\" in the map, or replay it without one"
                        .into(),
                });
            }
            let dialect =
                csv::Dialect { delimiter: *delimiter, quoting: *quoting, escape: *escape };
            csv::read(&mut text, dialect, columns.as_deref(), &mut writer)?;
        }
        Some(Format::Combined) => access::read(&mut text, &mut writer)?,
        Some(Format::W3c) => w3c::read(&mut text, &mut writer)?,
    }
    let lines = text.lines();
    let (mut file, mut report) = writer.finish()?;
    report.lines = lines;
    let len = file.seek(SeekFrom::End(0)).map_err(|error| OpenError::temporary(&error))?;
    Ok(Input { name: input.name, file, len, start: 0, framing: Framing::Framed, report })
}

#[cfg(test)]
mod tests;
