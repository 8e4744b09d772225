//! How far a feed got, in a file of the data folder.
//!
//! For a sink that can say itself where it stands, this is what is left when the other side has
//! forgotten; for one that cannot, it is the position.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidewatch_outside::file::replace;

/// What the note says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Whom it is about, see `Resumed::identity`.
    pub identity: String,
    /// Position of the last row that needs no delivery any more.
    pub n: u64,
}

/// The file of a note.
#[derive(Clone, Debug)]
pub(super) struct NoteFile {
    path: PathBuf,
}

impl NoteFile {
    /// The note of a feed; its name is the file's.
    pub fn new(folder: &Path, feed: &str) -> NoteFile {
        NoteFile { path: folder.join(format!("{feed}.json")) }
    }

    /// The position that it vouches for, 0 for none. It is only ever a lower bound, so one that
    /// cannot be read counts as none. Blocks.
    pub fn position(&self, identity: &str) -> u64 {
        self.read().filter(|note| note.identity == identity).map_or(0, |note| note.n)
    }

    fn read(&self) -> Option<Note> {
        let bytes = std::fs::read(&self.path).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Replaces the note, durably. Blocks.
    pub fn write(&self, note: &Note) -> std::io::Result<()> {
        replace(&self.path, &serde_json::to_vec(note)?)
    }
}

/// How far a feed of this name got that runs no more, by its note of this identity, or of whichever it
/// has. Blocks.
pub fn noted(folder: &Path, feed: &str, identity: Option<&str>) -> u64 {
    let note = NoteFile::new(folder, feed).read();
    let own = |note: &Note| identity.is_none_or(|identity| note.identity == identity);
    note.filter(own).map_or(0, |note| note.n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_vouches_for_its_own_target_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = NoteFile::new(folder.path(), "nats-alerts");
        assert_eq!(file.position("S 1 f"), 0);
        let note = |n| Note { identity: "S 1 f".into(), n };
        file.write(&note(3)).unwrap();
        file.write(&note(12)).unwrap();
        assert_eq!((file.position("S 1 f"), file.position("S 2 f")), (12, 0));
        let noted = |identity| noted(folder.path(), "nats-alerts", identity);
        assert_eq!((noted(Some("S 1 f")), noted(Some("S 2 f")), noted(None)), (12, 0, 12));
        std::fs::write(folder.path().join("nats-alerts.json"), "{").unwrap();
        assert_eq!(file.position("S 1 f"), 0);
    }
}
