//! Opening inputs: folders and patterns are spelled out, packed files unpacked, standard input
//! kept in a temporary file, the format found out when no mapping says it.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use encoding_rs::{Encoding, UTF_8};
use xxhash_rust::xxh3::Xxh3;

use super::input::{Framing, Input, OpenError};
use super::mapping::Mapping;
use super::progress::{Phase, Progress};
use super::records::{RecordStart, read_at};
use super::sniff::{self, Sniffed};
use super::survey;
use super::tally::FileReport;
use super::text;
use super::translate;
use super::unpack::{self, Packing};
use super::writer::How;
use crate::domain::time::EpochMs;

/// Archives in archives that are unpacked.
const PACKINGS_MAX: usize = 3;

/// How inputs are to be opened.
#[derive(Clone, Debug)]
pub(super) struct Opening<'s> {
    pub paths: &'s [PathBuf],
    pub mapping: Option<&'s Arc<Mapping>>,
    /// Names under which the configuration takes attributes, besides their own.
    pub aliases: &'s [(String, String)],
    pub encoding: Option<&'static Encoding>,
    pub unpacked_max: u64,
    pub keep_going: bool,
    /// When standard input is read.
    pub now: EpochMs,
}

/// Opens everything, in order, and returns it with a hash of what it is: names, sizes,
/// beginnings and ends, and the mapping.
///
/// # Errors
/// When an input cannot be read or its format cannot be told.
pub(super) fn open_all(
    opening: &Opening<'_>,
    progress: &Progress,
) -> Result<(Vec<Input>, u64), OpenError> {
    let paths = spelled_out(opening.paths)?;
    if paths.len() > RecordStart::INPUTS_MAX {
        return Err(OpenError::TooMany { count: paths.len(), max: RecordStart::INPUTS_MAX });
    }
    let mut hash = Xxh3::new();
    let mut inputs = Vec::with_capacity(paths.len());
    let mut room = opening.unpacked_max;
    for path in &paths {
        let opened = open(path, opening, &mut room, progress)?;
        identify(&opened.input, &mut hash)?;
        hash.update(opened.encoding.name().as_bytes());
        let input = ready(opened, opening, room, &mut hash, progress)?;
        if input.framing == Framing::Framed {
            room = room.saturating_sub(input.len);
        }
        inputs.push(input);
    }
    Ok((inputs, hash.digest()))
}

/// Files for folders and patterns, in the order of their names.
fn spelled_out(paths: &[PathBuf]) -> Result<Vec<PathBuf>, OpenError> {
    let mut files = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        if path.is_dir() {
            let entries =
                std::fs::read_dir(path).map_err(|error| OpenError::read(&name, &error))?;
            let mut inside = Vec::new();
            for entry in entries {
                let file = entry.map_err(|error| OpenError::read(&name, &error))?.path();
                let hidden =
                    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
                if file.is_file() && !hidden {
                    inside.push(file);
                }
            }
            if inside.is_empty() {
                let what = "is a folder without files".to_owned();
                return Err(OpenError::Form { name, what });
            }
            inside.sort_unstable();
            files.append(&mut inside);
        } else if !path.exists() && name.contains(['*', '?', '[']) {
            let found = glob::glob(&name).map_err(|error| OpenError::read(&name, &error))?;
            let mut inside = Vec::new();
            for file in found {
                let file = file.map_err(|error| OpenError::read(&name, &error))?;
                if file.is_file() {
                    inside.push(file);
                }
            }
            if inside.is_empty() {
                let what = "is a pattern that no file fits".to_owned();
                return Err(OpenError::Form { name, what });
            }
            files.append(&mut inside);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// An input whose bytes are plain text in a known encoding.
pub(super) struct Opened {
    pub input: Input,
    pub encoding: &'static Encoding,
    pub arrival: EpochMs,
}

/// The bytes of one input, unpacked; `room` is what is left for temporary files.
pub(super) fn open(
    path: &Path,
    opening: &Opening<'_>,
    room: &mut u64,
    progress: &Progress,
) -> Result<Opened, OpenError> {
    let name = path.display().to_string();
    let failed = |error: io::Error| OpenError::read(&name, &error);
    let mut arrival = opening.now;
    let kept = |from: &mut dyn io::Read, room: &mut u64| {
        let mut done = 0;
        progress.begin(Phase::Unpacking, 0);
        let file = unpack::spool(&mut Dyn(from), *room, progress, &mut done);
        *room -= done;
        file.map_err(|error| OpenError::read(&name, &error))
    };
    let mut file = if name == "-" {
        kept(&mut io::stdin().lock(), room)?
    } else {
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if let Some(age) = metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok())
        {
            arrival = age.as_millis() as EpochMs;
        }
        // A pipe or a device has no places to go back to.
        if metadata.is_file() { file } else { kept(&mut &file, room)? }
    };
    let mut report = FileReport { name: name.clone(), ..FileReport::default() };
    let mut beginning = beginning_of(&mut file).map_err(failed)?;
    for _ in 0..PACKINGS_MAX {
        let Some(packing) = Packing::of(&beginning) else { break };
        progress.begin(Phase::Unpacking, 0);
        file = unpack::unpack(&file, packing, *room, progress)
            .map_err(|cause| OpenError::Read { name: name.clone(), cause })?;
        *room = room.saturating_sub(file.metadata().map_err(failed)?.len());
        report.packing = report.packing.or(Some(packing.name()));
        beginning = beginning_of(&mut file).map_err(failed)?;
    }
    if let Some(what) = unpack::foreign(&beginning) {
        return Err(OpenError::Form { name, what: what.to_owned() });
    }
    let declared = opening.mapping.and_then(|mapping| mapping.encoding).or(opening.encoding);
    let marked = text::marked(&beginning);
    // A mark is the file's own word; zeros in every second byte are only a guess.
    let (mut encoding, mut start) = match (marked, declared) {
        (Some((encoding, start)), _) if start > 0 => (encoding, start),
        (_, Some(encoding)) => (encoding, 0),
        (Some((encoding, start)), None) => (encoding, start),
        (None, None) => (UTF_8, 0),
    };
    report.encoding = encoding.name().to_ascii_lowercase();
    if text::is_wide(encoding) {
        progress.begin(Phase::Translating, 0);
        let mut wide = text::Utf8::new(&file, encoding);
        let mut done = 0;
        let plain = unpack::spool(&mut wide, *room, progress, &mut done);
        let wrong = wide.wrong;
        file = plain.map_err(|error| OpenError::read(&name, &error))?;
        *room -= done;
        if wrong > 0 {
            report
                .notices
                .push(format!("{wrong} pieces are wrong in {} and became U+FFFD", encoding.name()));
        }
        (encoding, start) = (UTF_8, 0);
    }
    let len = file.metadata().map_err(failed)?.len();
    let framing = Framing::Lines(b'\n');
    let input = Input { name, file, len, start: start as u64, framing, report };
    Ok(Opened { input, encoding, arrival })
}

/// A reader behind a pointer, as a reader.
struct Dyn<'a>(&'a mut dyn io::Read);

impl io::Read for Dyn<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

/// Bytes that the form of a file is told by.
const BEGINNING: u64 = 65_536;

fn beginning_of(file: &mut File) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut beginning = Vec::new();
    (&*file).take(BEGINNING).read_to_end(&mut beginning)?;
    file.rewind()?;
    Ok(beginning)
}

/// The input as native events.
fn ready(
    opened: Opened,
    opening: &Opening<'_>,
    room: u64,
    hash: &mut Xxh3,
    progress: &Progress,
) -> Result<Input, OpenError> {
    let Opened { mut input, encoding, arrival } = opened;
    let mut how = How { mapping: None, encoding, keep_going: opening.keep_going, arrival, room };
    let sniffed;
    let given = opening.mapping.is_some();
    how.mapping = match opening.mapping {
        Some(mapping) => Some(&**mapping),
        None => match sniff::sniff(&sample(&input, input.start)?, encoding, opening.aliases) {
            Sniffed::Native => None,
            Sniffed::Known(mapping) => {
                sniffed = mapping;
                Some(&sniffed)
            }
            Sniffed::Other(what) => return Err(OpenError::Form { name: input.name, what }),
        },
    };
    if let Some(mapping) = how.mapping {
        hash.update(mapping.text().as_bytes());
        input.report.format = mapping.format.name().to_owned();
    } else if encoding == UTF_8
        && let Some(found) =
            survey::lines(&input, progress).map_err(|error| OpenError::read(&input.name, &error))?
    {
        input.framing = Framing::Lines(found.separator);
        found.fill(&mut input.report);
        return Ok(input);
    } else {
        input.report.format = "json".to_owned();
    }
    progress.begin(Phase::Translating, input.len);
    let mut made = translate::translate(input, how, progress)?;
    if !given {
        // What nobody asked for is missed by nobody.
        made.report.never_seen.clear();
    }
    Ok(made)
}

/// Bytes of an input's beginning and of its end that its identity depends on.
const IDENTIFYING: usize = 65_536;

fn identify(input: &Input, hash: &mut Xxh3) -> Result<(), OpenError> {
    hash.update(input.name.as_bytes());
    hash.update(&input.len.to_le_bytes());
    for offset in [0, input.len.saturating_sub(IDENTIFYING as u64)] {
        hash.update(&sample(input, offset)?);
    }
    Ok(())
}

/// The beginning of an input, at most `bytes` of it, cut behind a line.
pub(super) fn sample_of(input: &Input, bytes: usize) -> Result<Vec<u8>, OpenError> {
    let mut sample =
        read_at(input, input.start, bytes).map_err(|error| OpenError::read(&input.name, &error))?;
    if sample.len() == bytes && matches!(input.framing, Framing::Lines(_)) {
        let last = memchr::memrchr2(b'\n', b'\r', &sample).map_or(sample.len(), |last| last + 1);
        sample.truncate(last);
    }
    Ok(sample)
}

fn sample(input: &Input, offset: u64) -> Result<Vec<u8>, OpenError> {
    read_at(input, offset, IDENTIFYING).map_err(|error| OpenError::read(&input.name, &error))
}
