//! Packed files: what they are by their first bytes, never by their names, and their bytes.
//!
//! Called when an input is opened. What cannot be read here is named with the way out.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, Write};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::progress::Progress;

/// Memory that an archive may ask of its reader: 128 MiB take what `zstd -19 --long=27` and
/// `xz -9` (64 MiB) write.
const WINDOW_LOG_MAX: u32 = 27;
const XZ_KIB_MAX: u32 = 192 << 10;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Packing {
    /// By the first bytes.
    pub fn of(beginning: &[u8]) -> Option<Packing> {
        match beginning {
            [0x1f, 0x8b, ..] => Some(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstd),
            // A frame that readers pass over may stand first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Packing::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => Some(Packing::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Packing::Xz),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
            Packing::Bzip2 => "bzip2",
            Packing::Xz => "xz",
        }
    }

    fn reader(self, file: &File) -> io::Result<Box<dyn Read + '_>> {
        let file = BufReader::with_capacity(1 << 18, file);
        Ok(match self {
            Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
            Packing::Zstd => {
                let mut reader = zstd::stream::read::Decoder::with_buffer(file)?;
                reader.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(reader)
            }
            Packing::Bzip2 => Box::new(MultiBzDecoder::new(file)),
            Packing::Xz => Box::new(XzReader::new_mem_limit(file, true, XZ_KIB_MAX)),
        })
    }
}

/// What a file is that can only be read after something was done to it: a sentence about it,
/// to be put behind its name.
pub(super) fn foreign(beginning: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 13] = [
        (b"PK\x03\x04", "is a zip archive (or a spreadsheet): unpack it, or export it as CSV"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it first"),
        (b"Rar!\x1a\x07", "is a rar archive: unpack it first"),
        (b"\x04\x22\x4d\x18", "is packed with lz4: unpack it first with lz4 -d"),
        (b"\xff\x06\x00\x00sNaPpY", "is packed with snappy: unpack it first"),
        (b"\x1f\x9d", "is packed with compress: unpack it first with uncompress"),
        (b"]\0\0\x80\0", "is packed with lzma: unpack it first with xz -d"),
        (b"PAR1", "is a Parquet file: export it as NDJSON or CSV"),
        (b"Obj\x01", "is an Avro file: export it as NDJSON"),
        (b"ORC", "is an ORC file: export it as NDJSON or CSV"),
        (b"SQLite format 3\0", "is an SQLite database: export a table as CSV"),
        (b"%PDF-", "is a PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Office file: export it as CSV"),
    ];
    let magic = MAGIC.iter().find(|(magic, _)| beginning.starts_with(magic));
    let tar = beginning.get(257..262) == Some(b"ustar");
    magic
        .map(|(_, what)| *what)
        .or(tar.then_some("is a tar archive: unpack it first with tar -x, and replay the folder"))
}

/// Unpacks `file` to a temporary file without a name, of at most `room` bytes.
///
/// # Errors
/// What is wrong with the archive, or with the place for temporary files.
pub(super) fn unpack(
    file: &File,
    packing: Packing,
    room: u64,
    progress: &Progress,
) -> Result<File, String> {
    let name = packing.name();
    let mut reader = packing.reader(file).map_err(|error| format!("not {name}: {error}"))?;
    let mut unpacked = 0;
    spool(&mut reader, room, progress, &mut unpacked).map_err(|error| match error {
        Spool::Read(error) if error.kind() == ErrorKind::UnexpectedEof => format!(
            "the {name} archive is cut short: {unpacked} bytes of it can be unpacked, then it \
             ends; fetch it again, or unpack what is there with `{}`",
            match packing {
                Packing::Gzip => "gzip -dc",
                Packing::Zstd => "zstd -dc",
                Packing::Bzip2 => "bzip2recover",
                Packing::Xz => "xz -dc",
            }
        ),
        Spool::Read(error) => {
            format!("the {name} archive is damaged after {unpacked} unpacked bytes: {error}")
        }
        other => other.to_string(),
    })
}

/// Why a stream could not be kept in a temporary file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Spool {
    #[error("{0}")]
    Read(io::Error),
    #[error("no room for it in {}: {_0}", std::env::temp_dir().display())]
    Write(io::Error),
    #[error(
        "it would take more than the {0} bytes of temporary files that are left; allow more with --unpacked-max"
    )]
    Room(u64),
}

/// Copies a stream to a temporary file without a name, of at most `room` bytes; `done` says
/// how far it came.
pub(super) fn spool(
    from: &mut impl Read,
    room: u64,
    progress: &Progress,
    done: &mut u64,
) -> Result<File, Spool> {
    let mut file = tempfile::tempfile().map_err(Spool::Write)?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let len = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Spool::Read(error)),
        };
        if *done + len as u64 > room {
            return Err(Spool::Room(room));
        }
        file.write_all(&buffer[..len]).map_err(Spool::Write)?;
        *done += len as u64;
        progress.advance(len as u64, 0);
    }
    file.rewind().map_err(Spool::Write)?;
    Ok(file)
}
