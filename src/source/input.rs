//! Opening inputs: gzip is found by its first bytes and unpacked, standard input is
//! kept in a temporary file, the format is found out when no mapping says it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use super::mapping::Mapping;
use super::progress::{Phase, Progress};
use super::records::{Place, Records, read_at};
use super::translate;
use crate::actors::ports::SourceError;

/// Why a replay cannot begin.
#[derive(Debug, Error)]
pub enum OpenError {
    /// An input cannot be read, or a temporary file cannot be written.
    #[error("cannot read {name}: {cause}")]
    Read {
        /// The input.
        name: String,
        /// The system's words.
        cause: String,
    },
    /// No mapping was given and the format cannot be told.
    #[error(
        "cannot tell the format of {name}: its first lines are neither JSON objects nor lines of a web server's log; give a mapping with --map"
    )]
    UnknownFormat {
        /// The input.
        name: String,
    },
    /// The mapping names a column that is not there.
    #[error("{name} has no column {column:?}, which the mapping uses; it has {present}")]
    NoSuchColumn {
        /// The input.
        name: String,
        /// The column.
        column: String,
        /// The columns that are there.
        present: String,
    },
    /// More inputs than can be told apart.
    #[error("{count} inputs are more than {max}")]
    TooMany {
        /// Inputs given.
        count: usize,
        /// Inputs allowed.
        max: usize,
    },
}

impl OpenError {
    pub(super) fn read(name: &str, cause: &impl ToString) -> Self {
        OpenError::Read { name: name.to_owned(), cause: cause.to_string() }
    }
}

/// An input, ready to be read as native events at any place.
#[derive(Debug)]
pub struct Input {
    pub(super) name: String,
    pub(super) file: File,
    pub(super) len: u64,
    /// What stands between two records.
    pub(super) separator: u8,
}

impl Input {
    pub(super) fn failed(&self, error: &io::Error) -> SourceError {
        SourceError::Read { what: self.name.clone(), cause: error.to_string() }
    }
}

/// Opens everything, in order, and returns it with a hash of what it is: names, sizes,
/// beginnings and ends, and the mapping.
///
/// # Errors
/// When an input cannot be read or its format cannot be told.
pub(super) fn open_all(
    paths: &[PathBuf],
    mapping: Option<&Arc<Mapping>>,
    progress: &Progress,
) -> Result<(Vec<Input>, u64), OpenError> {
    if paths.len() > Place::INPUTS_MAX {
        return Err(OpenError::TooMany { count: paths.len(), max: Place::INPUTS_MAX });
    }
    let mut hash = Xxh3::new();
    let mut inputs = Vec::with_capacity(paths.len());
    for path in paths {
        let plain = open(path, progress)?;
        identify(&plain, &mut hash)?;
        let mapping = match mapping {
            Some(mapping) => Some(Arc::clone(mapping)),
            None => sniff(&plain)?,
        };
        inputs.push(match mapping {
            Some(mapping) => {
                hash.update(mapping.text().as_bytes());
                progress.begin(Phase::Translating, plain.len);
                translate::translate(plain, &mapping, progress)?
            }
            None => plain,
        });
    }
    Ok((inputs, hash.digest()))
}

/// The bytes of one input, unpacked.
fn open(path: &Path, progress: &Progress) -> Result<Input, OpenError> {
    let name = path.display().to_string();
    let failed = |error: io::Error| OpenError::read(&name, &error);
    let mut file = if name == "-" {
        progress.begin(Phase::Unpacking, 0);
        spool(&mut io::stdin().lock(), progress).map_err(failed)?
    } else {
        let file = File::open(path).map_err(failed)?;
        // A pipe or a device has no places to go back to.
        match file.metadata().map_err(failed)?.is_file() {
            true => file,
            false => spool(&mut &file, progress).map_err(failed)?,
        }
    };
    let mut magic = Vec::new();
    (&file).take(2).read_to_end(&mut magic).map_err(failed)?;
    file.rewind().map_err(failed)?;
    if magic == [0x1f, 0x8b] {
        progress.begin(Phase::Unpacking, 0);
        file = spool(&mut MultiGzDecoder::new(BufReader::new(&file)), progress).map_err(failed)?;
    }
    let len = file.metadata().map_err(failed)?.len();
    Ok(Input { name, file, len, separator: b'\n' })
}

/// Copies a stream to a temporary file that has no name.
fn spool(from: &mut impl Read, progress: &Progress) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => {
                file.write_all(&buffer[..len])?;
                progress.advance(len as u64, 0);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.rewind()?;
    Ok(file)
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

fn sample(input: &Input, offset: u64) -> Result<Vec<u8>, OpenError> {
    read_at(input, offset, IDENTIFYING).map_err(|error| OpenError::read(&input.name, &error))
}

/// Lines looked at to find out a format: the first may be broken.
const LINES_SNIFFED: usize = 20;

/// The mapping for a format that needs none: `None` for native events.
fn sniff(input: &Input) -> Result<Option<Arc<Mapping>>, OpenError> {
    let beginning = sample(input, 0)?;
    let beginning = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&beginning);
    let mut empty = true;
    for (start, len) in Records::new(beginning, b'\n', 0).take(LINES_SNIFFED) {
        empty = false;
        let line = beginning[start..start + len].trim_ascii();
        if matches!(line.first(), Some(b'{' | b'[')) {
            return Ok(None);
        }
        if translate::is_log_line(line) {
            return Ok(Some(Arc::new(Mapping::combined())));
        }
    }
    match empty {
        true => Ok(None),
        false => Err(OpenError::UnknownFormat { name: input.name.clone() }),
    }
}
