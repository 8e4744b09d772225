//! Where the events of a replay came from: what was found in the files, and the line of an
//! event by its position.

use std::fmt;
use std::sync::Arc;

use super::input::{Framing, Input};
use super::order::Entry;
use super::records::{Chunks, RecordStart, Records};
use super::tally::FileReport;
use crate::actors::ports::SourceError;
use crate::domain::time::EpochMs;

/// The inputs of a replay, to be asked when it is over.
#[derive(Clone)]
pub struct Origin {
    inputs: Arc<Vec<Input>>,
    index: Option<Arc<Vec<Entry>>>,
    time: Option<(EpochMs, EpochMs)>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("inputs", &self.inputs.len()).finish_non_exhaustive()
    }
}

/// A line of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineOf {
    /// The input's name.
    pub file: String,
    /// Number of the line, from 1.
    pub line: u64,
}

impl Origin {
    pub(super) fn new(
        inputs: Arc<Vec<Input>>,
        index: Option<Arc<Vec<Entry>>>,
        time: Option<(EpochMs, EpochMs)>,
    ) -> Self {
        Origin { inputs, index, time }
    }

    /// First and last event time, where the times were looked at.
    pub fn time(&self) -> Option<(EpochMs, EpochMs)> {
        self.time
    }

    /// What was found in each input.
    pub fn reports(&self) -> impl Iterator<Item = &FileReport> {
        self.inputs.iter().map(|input| &input.report)
    }

    /// The lines on which the events at these positions begin, in the same order; `None` for
    /// a position that there is not. Reads the inputs once, up to the last of them.
    ///
    /// # Errors
    /// When an input cannot be read.
    pub fn lines(&self, positions: &[u64]) -> Result<Vec<Option<LineOf>>, SourceError> {
        let mut found = vec![None; positions.len()];
        let mut open: Vec<(Target, usize)> = positions
            .iter()
            .enumerate()
            .filter_map(|(n, position)| Some((self.target(*position)?, n)))
            .collect();
        // Looked for from the first to the last.
        open.sort_unstable_by_key(|(target, n)| (std::cmp::Reverse(*target), *n));
        let mut chunks = Chunks::default();
        let (mut input, mut lines, mut records) = (0, 0, 0);
        while !open.is_empty() {
            let Some(chunk) = chunks.next(&self.inputs)? else { break };
            if chunk.start.input() != input {
                (input, lines) = (chunk.start.input(), 0);
            }
            let mut counted = 0;
            for record in Records::new(&chunk.data, chunk.framing, 0) {
                records += 1;
                let offset = chunk.start.offset() + record.begin as u64;
                let here =
                    [Target::Record(records), Target::Start(RecordStart::new(input, offset))];
                while let Some((target, n)) = open.last().copied()
                    && here.contains(&target)
                {
                    open.pop();
                    let line = match chunk.framing {
                        Framing::Framed => record.line,
                        Framing::Lines(end) => {
                            let between = &chunk.data[counted..record.begin];
                            lines += memchr::memchr_iter(end, between).count() as u64;
                            counted = record.begin;
                            lines + 1
                        }
                    };
                    found[n] = Some(LineOf { file: self.inputs[input].name.clone(), line });
                }
            }
            if let Framing::Lines(end) = chunk.framing {
                lines += memchr::memchr_iter(end, &chunk.data[counted..]).count() as u64;
            }
        }
        Ok(found)
    }

    fn target(&self, position: u64) -> Option<Target> {
        let before = position.checked_sub(1)?;
        match &self.index {
            None => Some(Target::Record(position)),
            Some(entries) => Some(Target::Start(entries.get(before as usize)?.start)),
        }
    }
}

/// What is looked for: all of one kind in one search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// The n-th record.
    Record(u64),
    /// The record that starts there.
    Start(RecordStart),
}
