//! Mails as files of a folder, to try things out: nothing is sent.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tidewatch_outside::file::replace;

use crate::channel::{Failure, Receipt};
use crate::mailbox;

/// A folder of mails, a file each.
pub(super) struct Folder {
    path: PathBuf,
    mails_max: usize,
}

impl Folder {
    /// One that is not looked at yet.
    pub fn new(path: &str, mails_max: usize) -> Folder {
        Folder { path: PathBuf::from(path), mails_max }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, for us alone.
    pub fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)
    }

    /// Writes a mail, durably, under its key: once more is the same file. Those beyond the bound go,
    /// the oldest first.
    pub fn write(&self, key: &str, mail: &[u8]) -> Result<Receipt, Failure> {
        if !mailbox::is_key(key) {
            return Err(Failure::never("its key is no name of a file"));
        }
        self.put(key, mail).map_err(Failure::later)?;
        let removed = self.tidy().map_err(Failure::later)?;
        Ok(Receipt { says: "written into the folder".into(), removed, ..Receipt::default() })
    }

    fn put(&self, key: &str, mail: &[u8]) -> io::Result<()> {
        replace(&self.path.join(mailbox::file_name(key)), mail)
    }

    /// Removes what is too much; how many mails that were. Other people's files stay.
    fn tidy(&self) -> io::Result<u64> {
        let mut mails = mailbox::files(&self.path)?;
        let too_many = mails.len().saturating_sub(self.mails_max);
        if too_many > 0 {
            mails.sort();
        }
        let mut removed = 0;
        for (_, path) in mails.drain(..too_many) {
            match fs::remove_file(path) {
                Ok(()) => removed += 1,
                // Somebody was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    fn key(n: u8) -> String {
        format!("{n:032x}")
    }

    fn names(folder: &Folder) -> Vec<String> {
        let names = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// As if it had been written so many seconds ago.
    fn age(folder: &Folder, n: u8, seconds: u64) {
        let path = folder.path().join(mailbox::file_name(&key(n)));
        let file = File::options().write(true).open(path).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - Duration::from_secs(seconds)).unwrap();
    }

    #[test]
    fn a_mail_is_a_file_and_the_oldest_make_room() {
        let own = tempfile::tempdir().unwrap();
        let path = own.path().join("a/mails");
        let folder = Folder::new(path.to_str().unwrap(), 2);
        folder.make().unwrap();
        folder.make().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let write = |n: u8, text: &str| folder.write(&key(n), text.as_bytes()).unwrap().removed;
        assert_eq!(write(1, "one"), 0);
        fs::write(path.join("notes.eml"), "somebody else's").unwrap();
        age(&folder, 1, 20);
        assert_eq!(write(2, "two"), 0);
        age(&folder, 2, 10);
        // Once more is the same file.
        assert_eq!(write(2, "two again"), 0);
        age(&folder, 2, 10);
        assert_eq!(write(3, "three"), 1);
        let (two, three) = (format!("{}.eml", key(2)), format!("{}.eml", key(3)));
        assert_eq!(names(&folder), [two.clone(), three, "notes.eml".into()]);
        assert_eq!(fs::read_to_string(path.join(&two)).unwrap(), "two again");
        let mode = fs::metadata(path.join(two)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn no_key_leads_out_of_the_folder_and_one_that_went_is_said() {
        let own = tempfile::tempdir().unwrap();
        let folder = Folder::new(own.path().join("gone").to_str().unwrap(), 2);
        for wrong in ["", "../../0123456789abcdef0123456789", "x"] {
            assert!(matches!(folder.write(wrong, b""), Err(Failure::Never { .. })), "{wrong}");
        }
        assert!(matches!(folder.write(&key(1), b""), Err(Failure::Later { .. })));
    }
}
