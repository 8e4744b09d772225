//! A look at a file of native events: whether it can be read as it stands, a line an event.
//!
//! It can when every line is an object of its own or begins like none (the decoder refuses
//! such a line with its reason), no line is too long, and every byte is UTF-8. Anything else,
//! an array, a value over several lines, two on one line, is taken apart first.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::input::{Framing, Input};
use super::progress::{Phase, Progress};
use super::records::{CHUNK, Chunks, read_at};
use super::rows::ROW_MAX;
use super::tally::FileReport;
use super::text;
use crate::actors::ports::SourceError;

/// What was counted in a file that is read as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survey {
    pub separator: u8,
    lines: u64,
    rows: u64,
}

impl Survey {
    /// Writes it down.
    pub fn fill(&self, report: &mut FileReport) {
        report.format = "ndjson".to_owned();
        report.lines = self.lines;
        report.blank = self.lines - self.rows;
        report.row_lines = self.rows;
        report.rows = self.rows;
        report.mapped = self.rows;
        report.events = self.rows;
    }
}

/// Counts the lines of `input`; `None` when it cannot be read as it stands.
pub(super) fn lines(input: &Input, progress: &Progress) -> Result<Option<Survey>, SourceError> {
    static TWO: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"}{"));
    progress.begin(Phase::Checking, input.len);
    let separator = text::separator(&read_at(input, input.start, 1 << 16)?);
    let mut survey = Survey { separator, lines: 0, rows: 0 };
    let mut chunks = Chunks::default();
    while let Some(chunk) = chunks.next_of(input, Framing::Lines(separator))? {
        let data = &chunk.data;
        let last = data.last() == Some(&separator);
        if (data.len() == CHUNK && !last) || TWO.find(data).is_some() {
            return Ok(None);
        }
        if std::str::from_utf8(data).is_err() {
            return Ok(None);
        }
        let rest = (!last).then_some(data.len());
        let mut start = 0;
        for end in memchr::memchr_iter(separator, data).chain(rest) {
            let row = data[start..end].trim_ascii_end();
            start = end + 1;
            survey.lines += 1;
            if row.is_empty() {
                continue;
            }
            let line = row.trim_ascii_start();
            let whole = match line.first() {
                Some(b'{') => line.last() == Some(&b'}'),
                Some(b'[' | 0x1e) => false,
                _ => true,
            };
            if !whole || row.len() > ROW_MAX {
                return Ok(None);
            }
            survey.rows += 1;
        }
        progress.advance(data.len() as u64, 0);
    }
    Ok(Some(survey))
}
