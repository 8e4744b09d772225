//! What was durable and is gone, at the end of either database: noticed at the next opening,
//! whatever happened to the files in between.
//!
//! How: the files are copied while they are open, as a killed process leaves them, and then
//! damaged in every way. Either the opening is refused, or nothing is missing.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use tidewatch::actors::ports::{EventLog as _, StateStore as _, StoreError};
use tidewatch::store::Settings;
use tidewatch::store::folder::Folder;
use tidewatch::store::log::{self, EmbeddedLog};
use tidewatch::store::state::StateDb;

use crate::support::{Hand, commit_all};

const EVENTS: u64 = 600;
const COMMITS: u64 = 12;

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn open(path: &Path) -> Result<(EmbeddedLog, StateDb), StoreError> {
    let folder = Folder::open(path)?;
    let log = EmbeddedLog::open(&folder, Hand::at(0), log::Settings::default())?;
    let state = StateDb::open(&folder, log.clone(), Settings::default())?;
    Ok((log, state))
}

/// A folder as it is in the middle of its life, and an earlier copy of it.
async fn killed(dir: &Path) {
    let live = dir.join("live");
    let (log, mut state) = open(&live).unwrap();
    for n in 0..EVENTS {
        log.append(vec![Bytes::from(format!("{{\"n\":{n}}}"))]).await.unwrap();
        if n % 50 == 49 {
            let epoch = n / 50 + 1;
            commit_all(&mut state, epoch..=epoch);
        }
        if n == EVENTS / 2 {
            copy(&live, &dir.join("earlier"));
        }
    }
    copy(&live, &dir.join("killed"));
}

#[tokio::test]
async fn whatever_happens_to_the_files_no_end_is_lost_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let (killed, tried) = (dir.path().join("killed"), dir.path().join("tried"));
    let mut refused = 0;
    let mut attempt = |what: &str, harm: &dyn Fn(&Path)| {
        copy(&killed, &tried);
        harm(&tried);
        match open(&tried) {
            Ok((log, mut state)) => {
                assert_eq!(log.last_position(), EVENTS, "{what}: events are gone in silence");
                let restored = state.load();
                // A damaged commit may be noticed only when it is read.
                if let Ok(restored) = restored {
                    let epoch = restored.map_or(0, |restored| restored.epoch);
                    // A state that is no more there starts again from the log.
                    let anew = what.contains("delete state.db");
                    assert!(epoch == COMMITS || anew, "{what}: commits are gone in silence");
                }
            }
            Err(error @ (StoreError::Damaged { .. } | StoreError::Io { .. })) => {
                assert!(error.to_string().contains("db"), "{what}: {error}");
                refused += 1;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    };
    attempt("nothing", &|_| {});
    for file in ["log.db-wal", "state.db-wal", "log.db", "state.db"] {
        let len = fs::metadata(killed.join(file)).unwrap().len();
        for step in 0..40 {
            let at = len * step / 40 + step * 7 % 61;
            attempt(&format!("bit {} of byte {at} of {file}", step % 8), &|path| {
                let mut bytes = fs::read(path.join(file)).unwrap();
                if let Some(byte) = bytes.get_mut(at as usize) {
                    *byte ^= 1 << (step % 8);
                }
                fs::write(path.join(file), bytes).unwrap();
            });
        }
        for part in [0, 1, 3, 5, 9] {
            attempt(&format!("{file} cut to {part} tenths"), &|path| {
                let bytes = fs::read(path.join(file)).unwrap();
                fs::write(path.join(file), &bytes[..bytes.len() * part / 10]).unwrap();
            });
        }
        attempt(&format!("delete {file}"), &|path| {
            fs::remove_file(path.join(file)).unwrap();
        });
    }
    let earlier = dir.path().join("earlier");
    for name in ["log.db", "state.db"] {
        attempt(&format!("an earlier copy of {name}"), &|path| {
            for file in [name.to_owned(), format!("{name}-wal")] {
                fs::copy(earlier.join(&file), path.join(&file)).unwrap();
                let _ = fs::remove_file(path.join(file.replace("-wal", "-shm")));
            }
        });
    }
    attempt("the marks are gone", &|path| fs::remove_file(path.join("marks")).unwrap());
    assert!(refused > 60, "only {refused} were noticed");
}

#[tokio::test]
async fn what_is_missing_is_named_with_the_way_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path()).await;
    let tried = dir.path().join("tried");
    copy(&dir.path().join("killed"), &tried);
    let wal = tried.join("log.db-wal");
    let mut bytes = fs::read(&wal).unwrap();
    let at = bytes.len() * 6 / 10;
    bytes[at] ^= 1;
    fs::write(&wal, bytes).unwrap();
    let error = open(&tried).err().unwrap().to_string();
    assert!(error.contains(&format!("and {EVENTS} were answered")), "{error}");
    assert!(error.contains(&format!("to {EVENTS}")) && error.contains("marks away"), "{error}");
    // It is said again and again, until somebody decides.
    assert_eq!(open(&tried).err().unwrap().to_string(), error);
    // Without the marks the state still knows how far the log went at its last commit.
    fs::remove_file(tried.join("marks")).unwrap();
    let error = open(&tried).err().unwrap().to_string();
    assert!(error.contains(&format!("{EVENTS} were in it at the last commit")), "{error}");

    // A state that lost its end, and is to go on from there.
    copy(&dir.path().join("killed"), &tried);
    for file in ["state.db", "state.db-wal"] {
        fs::copy(dir.path().join("earlier").join(file), tried.join(file)).unwrap();
    }
    let _ = fs::remove_file(tried.join("state.db-shm"));
    let error = open(&tried).err().unwrap().to_string();
    assert!(error.contains(&format!("ends at commit 6, and {COMMITS} were made")), "{error}");
    fs::remove_file(tried.join("marks")).unwrap();
    let (_, mut state) = open(&tried).unwrap();
    assert_eq!(state.load().unwrap().unwrap().epoch, 6);
}

#[test]
fn a_file_that_is_removed_or_replaced_while_it_is_in_use_is_noticed() {
    for file in ["state.db", "state.db-wal", "log.db", "log.db-wal", "marks", "lock"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let folder = Folder::open(&path).unwrap();
        let log = EmbeddedLog::open(&folder, Hand::at(0), log::Settings::default()).unwrap();
        let mut state = StateDb::open(&folder, log.clone(), Settings::default()).unwrap();
        commit_all(&mut state, 1..=1);
        folder.check().unwrap();
        if file == "marks" {
            let copy = fs::read(path.join(file)).unwrap();
            fs::remove_file(path.join(file)).unwrap();
            // Another file's number may be given again at once; this one is still in use.
            fs::write(path.join(file), copy).unwrap();
        } else {
            fs::remove_file(path.join(file)).unwrap();
        }
        let error = state.commit(&crate::support::unit(2)).err().unwrap().to_string();
        assert!(error.contains(file) && error.contains("removed or replaced"), "{error}");
        assert!(state.check().is_err());
    }
}

#[test]
fn everything_in_the_folder_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let look = |path: &Path| {
        let files: Vec<_> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 6, "{files:?}");
        files.iter().for_each(|file| assert_eq!(mode(file), 0o600, "{}", file.display()));
    };
    {
        let folder = Folder::open(&path).unwrap();
        let log = EmbeddedLog::open(&folder, Hand::at(0), log::Settings::default()).unwrap();
        let mut state = StateDb::open(&folder, log.clone(), Settings::default()).unwrap();
        commit_all(&mut state, 1..=1);
        folder.write_endpoint("http://127.0.0.1:1").unwrap();
        assert_eq!((mode(&path), folder.open_to_others()), (0o700, None));
        look(&path);
    }
    // What an earlier version made is tightened; a folder that was there is only named.
    for entry in fs::read_dir(&path).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o664)).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let folder = Folder::open(&path).unwrap();
    let _log = EmbeddedLog::open(&folder, Hand::at(0), log::Settings::default()).unwrap();
    assert!(folder.open_to_others().unwrap().contains("chmod 700"));
    for file in ["state.db", "log.db", "log.db-wal", "marks", "lock", "endpoint"] {
        if path.join(file).exists() {
            assert_eq!(mode(&path.join(file)), 0o600, "{file}");
        }
    }
}
