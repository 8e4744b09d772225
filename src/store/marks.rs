//! The last durable position and the last commit, kept outside of both databases.
//!
//! SQLite takes a write-ahead log that is damaged, cut or missing for one that ends earlier,
//! and an older copy of a file is a whole file. What was answered and is gone can only be
//! noticed by somebody else who knows how far it went. That is this small file: written at
//! once after each group of the log and each commit of the state, before anybody is told,
//! and compared at the next start. It is not synced: the databases are, before it is written,
//! so it never says more than they hold, and what a process wrote outlives its death. The
//! state keeps the log's end as well, synced with each commit.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::private;
use crate::actors::ports::StoreError;

/// Name of the file.
pub const MARKS: &str = "marks";

/// Each mark has a sector of its own, which is written whole or not at all.
const SECTOR: u64 = 512;
const MAGIC: &[u8; 8] = b"tidemark";
const BYTES: usize = 40;

/// Whose mark it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The log: position of the last event.
    Log,
    /// The state: number of the last commit.
    State,
}

/// How far a database goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which database: a hash of its identity.
    pub of: u64,
    /// Position or number.
    pub last: u64,
    /// The chain at that place, 0 where there is none.
    pub chain: i64,
}

/// The open file.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    file: Arc<File>,
    path: PathBuf,
}

impl Marks {
    /// Opens the file of a folder, or makes it.
    pub(super) fn open(folder: &Path) -> io::Result<Marks> {
        let path = folder.join(MARKS);
        let file = private::options().read(true).write(true).create(true).open(&path)?;
        private::tighten(&path);
        Ok(Marks { file: Arc::new(file), path })
    }

    /// What was written last; `None` in a new file.
    ///
    /// # Errors
    /// When the mark is damaged, or cannot be read.
    pub(super) fn read(&self, slot: Slot) -> Result<Option<Mark>, StoreError> {
        let mut bytes = [0; BYTES];
        let mut filled = 0;
        while filled < BYTES {
            let at = slot.offset() + filled as u64;
            match self.file.read_at(&mut bytes[filled..], at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let path = self.path.display().to_string();
                    return Err(StoreError::Io { path, cause: error.to_string() });
                }
            }
        }
        if bytes == [0; BYTES] {
            return Ok(None);
        }
        decode(&bytes).map(Some).ok_or_else(|| StoreError::Damaged {
            path: self.path.display().to_string(),
            what: "a checksum does not fit".into(),
            remedy: "stop tidewatch, then put a copy of it back, or move it away if log.db and \
                     state.db with their -wal files are surely whole"
                .into(),
        })
    }

    /// Writes a mark, without a sync.
    pub(super) fn write(&self, slot: Slot, mark: Mark) -> io::Result<()> {
        self.file.write_all_at(&encode(mark), slot.offset())
    }

    /// The file's name, for remedies.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl Slot {
    fn offset(self) -> u64 {
        match self {
            Slot::Log => 0,
            Slot::State => SECTOR,
        }
    }
}

fn encode(mark: Mark) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&mark.of.to_le_bytes());
    bytes[16..24].copy_from_slice(&mark.last.to_le_bytes());
    bytes[24..32].copy_from_slice(&mark.chain.to_le_bytes());
    let sum = xxh3_64(&bytes[..32]);
    bytes[32..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES]) -> Option<Mark> {
    let word = |at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were asked for"))
    };
    let fits = bytes[..8] == MAGIC[..] && word(32) == xxh3_64(&bytes[..32]);
    fits.then(|| Mark { of: word(8), last: word(16), chain: word(24) as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_read_back_and_any_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let marks = Marks::open(dir.path()).unwrap();
        assert_eq!(marks.read(Slot::Log), Ok(None));
        let mark = Mark { of: 7, last: 41, chain: -5 };
        marks.write(Slot::Log, mark).unwrap();
        assert_eq!(marks.read(Slot::State), Ok(None));
        marks.write(Slot::State, Mark { last: 3, ..mark }).unwrap();
        let marks = Marks::open(dir.path()).unwrap();
        assert_eq!(marks.read(Slot::Log), Ok(Some(mark)));
        assert_eq!(marks.read(Slot::State), Ok(Some(Mark { last: 3, ..mark })));
        for bit in 0..BYTES * 8 {
            let mut bytes = encode(mark);
            bytes[bit / 8] ^= 1 << (bit % 8);
            marks.file.write_all_at(&bytes, 0).unwrap();
            assert!(matches!(marks.read(Slot::Log), Err(StoreError::Damaged { .. })), "bit {bit}");
        }
    }
}
