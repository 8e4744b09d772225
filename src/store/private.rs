//! Files that only their owner may read and write, whatever the umask says.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;
/// What others may do.
const OTHERS: u32 = 0o077;

/// Options for a file that is made private. It may not be truncated by mistake.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE).truncate(false);
    options
}

/// Takes the rights of others from a file, where it is ours to do so.
pub(super) fn tighten(path: &Path) {
    let open = fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & (OTHERS | FILE) != FILE);
    if open {
        // Another's file stays as it is: it cannot be written either, which is said then.
        let _ = fs::set_permissions(path, Permissions::from_mode(FILE));
    }
}

/// Makes a private folder, with what it lies in. One that is there stays as it is, because it
/// may hold other things: the rights that others have on it are returned.
pub(super) fn folder(path: &Path) -> io::Result<u32> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.permissions().mode() & OTHERS),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            match DirBuilder::new().mode(FOLDER).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            fs::set_permissions(path, Permissions::from_mode(FOLDER))?;
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_private_and_what_was_there_is_tightened() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("a/b");
        assert_eq!(folder(&made).unwrap(), 0);
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&made, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(folder(&made).unwrap(), 0o055);
        let file = made.join("file");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        tighten(&file);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&file).unwrap(), b"x");
    }
}
