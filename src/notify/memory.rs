//! What channels want to be reminded of, by what it is about: which message of theirs it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidewatch_outside::file::replace;

/// Most that is remembered; the oldest is forgotten.
const REMEMBERED_MAX: usize = 1_000;

/// What a channel remembers.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    path: PathBuf,
    all: BTreeMap<String, Remembered>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Remembered {
    /// Number of the notification that it is of.
    n: u64,
    what: String,
}

impl Memory {
    /// That of a file. One that cannot be read is as good as empty: what comes next about something is
    /// a message of its own then.
    pub fn open(path: &Path) -> Memory {
        let read = std::fs::read(path).ok();
        let all = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Memory { path: path.to_owned(), all: all.unwrap_or_default() }
    }

    /// What is remembered.
    pub fn of(&self, about: &str) -> Option<String> {
        self.all.get(about).map(|remembered| remembered.what.clone())
    }

    /// Remembers something, or forgets what is over. True when that is to be kept.
    pub fn note(&mut self, about: &str, n: u64, what: Option<String>, over: bool) -> bool {
        if over {
            return self.all.remove(about).is_some();
        }
        let Some(what) = what else { return false };
        self.all.insert(about.to_owned(), Remembered { n, what });
        while self.all.len() > REMEMBERED_MAX {
            let oldest =
                self.all.iter().min_by_key(|(_, one)| one.n).map(|(about, _)| about.clone());
            oldest.into_iter().for_each(|about| drop(self.all.remove(&about)));
        }
        true
    }

    /// Writes it down, durably. Blocks.
    pub fn keep(&self) -> std::io::Result<()> {
        replace(&self.path, &serde_json::to_vec(&self.all)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_a_restart_forgets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.json");
        let mut memory = Memory::open(&path);
        assert!(!memory.note("a", 1, None, false));
        for n in 1..=REMEMBERED_MAX as u64 + 2 {
            assert!(memory.note(&format!("i{n}"), n, Some(format!("m{n}")), false));
        }
        memory.keep().unwrap();
        let mut memory = Memory::open(&path);
        assert_eq!((memory.of("i2"), memory.of("i3").as_deref()), (None, Some("m3")));
        assert!(memory.note("i3", 2_000, None, true) && memory.of("i3").is_none());
        assert!(!memory.note("i3", 2_001, None, true));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Memory::open(&path).of("i4"), None);
    }
}
