//! The files of a replay as a source: positions, batches, pace.
//!
//! Position n is the n-th record in the order of reading, counted from 1. That order is
//! the inputs' own, or the order of time by an index; see `order`.

mod gather;
mod pace;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use encoding_rs::Encoding;

use self::gather::{batch_of, gather};
use self::pace::{PACED_BATCH, Pace};
use super::input::{Framing, Input, OpenError};
use super::mapping::Mapping;
use super::opening::{self, Opening};
use super::order::{self, Entry};
use super::origin::Origin;
use super::progress::{Phase, Progress};
use super::records::{Chunk, Chunks, Records};
use super::text;
use crate::actors::ports::{BoxFuture, Opened, Pull, Resume, Source, SourceError};
use crate::clock::SharedClock;
use crate::domain::commit::SourceIdentity;
use crate::domain::event::when::TimeOf;
use crate::domain::event::{RawBatch, RawItem, Schema};
use crate::domain::hash;
use crate::domain::time::{EpochMs, SpanMs};

/// What to replay, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Files in the order in which equal times are taken; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// How rows become events; without one the format is found out.
    pub mapping: Option<Arc<Mapping>>,
    /// Label of the encoding, where a file does not say it itself. Empty: UTF-8.
    pub encoding: String,
    /// Bytes that everything may unpack to, in temporary files.
    pub unpacked_max: u64,
    /// Go on although none of the first rows becomes an event.
    pub keep_going: bool,
    /// Take the events as they stand in the files, without looking at their times first.
    pub raw_order: bool,
    /// What events look like: where their time stands, and how it is written.
    pub schema: Arc<Schema>,
    /// Disorder that the engine takes care of: only more of it makes sorting necessary.
    pub out_of_orderness: SpanMs,
    /// How fast.
    pub speed: Speed,
}

/// How fast a replay goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as the engine takes it.
    Max,
    /// This many times as fast as the events came. Greater than 0.
    Factor(f64),
}

/// Files as a source of events.
pub struct FileSource {
    identity: SourceIdentity,
    inputs: Arc<Vec<Input>>,
    reading: Reading,
    /// First and last event time, where they were looked at.
    time: Option<(EpochMs, EpochMs)>,
    /// Records handed over, or passed over by `open`.
    position: u64,
    pace: Option<Pace>,
    progress: Arc<Progress>,
}

/// Where the next record comes from.
enum Reading {
    /// In the inputs' own order.
    Stream(Stream),
    /// In the order of time.
    Index(Arc<Vec<Entry>>),
}

#[derive(Clone, Default)]
struct Stream {
    chunks: Chunks,
    /// What was read and not handed over yet.
    chunk: Option<Part>,
}

/// Records that were read, from byte `at` on.
#[derive(Clone)]
struct Part {
    data: Bytes,
    framing: Framing,
    at: usize,
}

impl Part {
    fn records(&self) -> Records<'_> {
        Records::new(&self.data, self.framing, self.at)
    }
}

impl Stream {
    /// The chunk that holds the next record, and where in it that begins.
    fn current(&mut self, inputs: &[Input]) -> Result<Option<Part>, SourceError> {
        loop {
            if let Some(part) = &self.chunk
                && part.records().next().is_some()
            {
                return Ok(Some(part.clone()));
            }
            let Some(Chunk { data, framing, .. }) = self.chunks.next(inputs)? else {
                return Ok(None);
            };
            self.chunk = Some(Part { data, framing, at: 0 });
        }
    }

    /// Goes on at byte `at` of the current chunk.
    fn advance(&mut self, at: usize) {
        if let Some(chunk) = &mut self.chunk {
            chunk.at = at;
        }
    }

    /// Passes over `count` records, or as many as there are.
    fn skip(&mut self, inputs: &[Input], mut count: u64) -> Result<(), SourceError> {
        while count > 0
            && let Some(part) = self.current(inputs)?
        {
            let mut records = part.records();
            while count > 0 && records.next().is_some() {
                count -= 1;
            }
            let at = records.at();
            self.advance(at);
        }
        Ok(())
    }
}

impl FileSource {
    /// Opens the inputs, translates them and puts them in order where that is needed.
    /// May take a while, and blocks: `progress` tells how far it is.
    ///
    /// # Errors
    /// When an input cannot be read or its format cannot be told.
    pub fn of(
        settings: &Settings,
        clock: SharedClock,
        progress: Arc<Progress>,
    ) -> Result<Self, OpenError> {
        let opening = Opening {
            paths: &settings.files,
            mapping: settings.mapping.as_ref(),
            aliases: &settings.schema.aliases,
            encoding: encoding_of(&settings.encoding)?,
            unpacked_max: settings.unpacked_max,
            keep_going: settings.keep_going,
            now: clock.wall(),
        };
        let (inputs, content) = opening::open_all(&opening, &progress)?;
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let name = names.join(", ");
        let mut times = TimeOf::new(&settings.schema);
        let (index, time) = if settings.raw_order {
            (None, None)
        } else {
            order::by_time(&inputs, &mut times, settings.out_of_orderness, &progress)
                .map_err(|error| OpenError::read(&name, &error))?
        };
        let order = if index.is_some() { "by time" } else { "as it stands" };
        progress.begin(Phase::Reading, inputs.iter().map(|input| input.len).sum());
        Ok(FileSource {
            identity: SourceIdentity { name, incarnation: format!("{content:016x} {order}") },
            inputs: Arc::new(inputs),
            time,
            reading: match index {
                None => Reading::Stream(Stream::default()),
                Some(entries) => Reading::Index(Arc::new(entries)),
            },
            position: 0,
            pace: match settings.speed {
                Speed::Max => None,
                Speed::Factor(factor) => Some(Pace::new(factor, times, clock)),
            },
            progress,
        })
    }

    /// What was found in the inputs, and where in them each event came from.
    pub fn origin(&self) -> Origin {
        let index = match &self.reading {
            Reading::Stream(_) => None,
            Reading::Index(entries) => Some(Arc::clone(entries)),
        };
        Origin::new(Arc::clone(&self.inputs), index, self.time)
    }

    /// True when the events had to be sorted.
    pub fn is_sorted(&self) -> bool {
        matches!(self.reading, Reading::Index(_))
    }

    /// The next records, at most `max`; `None` after the last.
    fn next_batch(&mut self, max: usize) -> Result<Option<RawBatch>, SourceError> {
        let batch = match &mut self.reading {
            Reading::Stream(stream) => stream_batch(stream, &self.inputs, max, self.position)?,
            Reading::Index(entries) => {
                let from = (self.position as usize).min(entries.len());
                let to = from.saturating_add(max).min(entries.len());
                gather(&self.inputs, &entries[from..to], self.position)?
            }
        };
        Ok((!batch.items.is_empty()).then_some(batch))
    }

    /// Notes that all of `batch` is handed over.
    fn hand_over(&mut self, batch: &RawBatch) {
        if let Reading::Stream(stream) = &mut self.reading
            && let Some(part) = &stream.chunk
        {
            let mut records = part.records();
            // The batch begins where the stream stands.
            let passed = batch.items.len();
            let at = match part.framing {
                // A line end follows the record.
                Framing::Lines(_) => batch
                    .items
                    .last()
                    .map_or(part.at, |last| part.at + (last.start + last.len) as usize),
                Framing::Framed => {
                    records.by_ref().take(passed).for_each(drop);
                    records.at()
                }
            };
            stream.advance(at);
        }
        let bytes: u64 = batch.items.iter().map(|item| u64::from(item.len) + 1).sum();
        self.position += batch.items.len() as u64;
        self.progress.advance(bytes, batch.items.len() as u64);
    }

    fn go_on(&mut self, resume: &Resume) -> Result<Opened, SourceError> {
        let before = resume.position.saturating_sub(1);
        resume.check(&self.identity, || match &mut self.reading {
            Reading::Stream(stream) => {
                *stream = Stream::default();
                stream.skip(&self.inputs, before)?;
                Ok(fingerprint(&stream_batch(stream, &self.inputs, 1, before)?))
            }
            Reading::Index(entries) => {
                let entry = entries.get(before as usize).map(std::slice::from_ref);
                Ok(fingerprint(&gather(&self.inputs, entry.unwrap_or_default(), before)?))
            }
        })?;
        if let Reading::Stream(stream) = &mut self.reading {
            *stream = Stream::default();
            stream.skip(&self.inputs, resume.position)?;
        }
        self.position = resume.position;
        let incarnation = self.identity.incarnation.clone();
        Ok(Opened { incarnation, warnings: Vec::new() })
    }

    fn pull_now(&mut self, max: usize) -> Result<Pull, SourceError> {
        let max = if self.pace.is_some() { max.min(PACED_BATCH) } else { max };
        let Some(mut batch) = self.next_batch(max.max(1))? else {
            return Ok(Pull::End);
        };
        if let Some(pace) = &mut self.pace {
            let due = pace.due(&batch);
            batch.items.truncate(due);
            batch.notes.truncate(due);
        }
        if batch.items.is_empty() {
            return Ok(Pull::CaughtUp);
        }
        self.hand_over(&batch);
        Ok(Pull::Batch(batch))
    }
}

impl Source for FileSource {
    fn name(&self) -> &str {
        &self.identity.name
    }

    fn open(&mut self, resume: Resume) -> BoxFuture<'_, Result<Opened, SourceError>> {
        let opened = self.go_on(&resume);
        Box::pin(std::future::ready(opened))
    }

    fn pull(&mut self, max: usize) -> BoxFuture<'_, Result<Pull, SourceError>> {
        // Files are read in place: a read of the page cache is shorter than the way to
        // another thread and back.
        let pulled = self.pull_now(max);
        Box::pin(async move { pulled })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        let rest = self.pace.as_ref().map_or(Duration::ZERO, Pace::rest);
        Box::pin(tokio::time::sleep(rest))
    }

    fn ack(&mut self, _position: u64) {}

    fn lag(&self) -> Option<u64> {
        match &self.reading {
            Reading::Stream(_) => None,
            Reading::Index(entries) => Some((entries.len() as u64).saturating_sub(self.position)),
        }
    }
}

/// Of the first record.
fn fingerprint(batch: &RawBatch) -> Option<u64> {
    batch.items.first().map(|item| hash::fingerprint(batch.bytes(item)))
}

/// The encoding of a label; `None` for an empty one.
pub(super) fn encoding_of(label: &str) -> Result<Option<&'static Encoding>, OpenError> {
    match label {
        "" => Ok(None),
        label => text::encoding(label).map(Some).ok_or_else(|| OpenError::Form {
            name: format!("--encoding {label}"),
            what: "is not an encoding: write for example utf-8, latin-1, utf-16le or shift_jis"
                .to_owned(),
        }),
    }
}

/// The next records of a stream, without a copy.
fn stream_batch(
    stream: &mut Stream,
    inputs: &[Input],
    max: usize,
    position: u64,
) -> Result<RawBatch, SourceError> {
    let Some(Part { data, framing, at }) = stream.current(inputs)? else {
        return Ok(batch_of(Bytes::new(), Vec::new(), Vec::new()));
    };
    let data = data.slice(at..);
    let mut items = Vec::with_capacity(max.min(data.len() / 64 + 1));
    let mut faults = Vec::new();
    let mut end = 0;
    for (position, record) in (position + 1..).zip(Records::new(&data, framing, 0).take(max)) {
        if let Some(reason) = record.reason(&data) {
            faults.push((items.len(), reason.into()));
        }
        end = record.start + record.len;
        items.push(RawItem { start: record.start as u32, len: record.len as u32, position });
    }
    Ok(batch_of(data.slice(..end), items, faults))
}

#[cfg(test)]
mod tests;
