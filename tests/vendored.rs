//! The vendored browser libraries are the released files: every file under `static/vendor`
//! is listed in `CHECKSUMS.sha256`, every listed file is there, and each one's SHA-256 fits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Files of ours in the folder, which the list does not cover.
const OURS: [&str; 2] = ["CHECKSUMS.sha256", "refresh.sh"];

fn vendor() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("static/vendor")
}

/// The list: path under the vendor folder to hex digest.
fn listed() -> BTreeMap<String, String> {
    let text = fs::read_to_string(vendor().join("CHECKSUMS.sha256")).unwrap();
    text.lines()
        .map(|line| {
            let (digest, path) = line.split_once("  ").unwrap();
            (path.to_owned(), digest.to_owned())
        })
        .collect()
}

/// Every file under `folder`, as paths relative to `root` with forward slashes.
fn files_under(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_under(root, &path, found);
        } else {
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.insert(relative.replace('\\', "/"));
        }
    }
}

#[test]
fn every_vendored_file_is_listed_and_every_listed_file_is_there() {
    let mut found = BTreeSet::new();
    files_under(&vendor(), &vendor(), &mut found);
    found.retain(|path| !OURS.contains(&path.as_str()));
    let listed: BTreeSet<String> = listed().into_keys().collect();
    assert!(!listed.is_empty());
    assert_eq!(found, listed, "run static/vendor/refresh.sh");
}

#[test]
fn every_vendored_file_is_as_released() {
    for (path, digest) in listed() {
        let bytes = fs::read(vendor().join(&path)).unwrap();
        let actual: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(actual, digest, "{path} differs from the released file");
    }
}

#[test]
fn every_library_comes_with_its_licence() {
    let folders: BTreeSet<String> =
        listed().into_keys().map(|path| path.split('/').next().unwrap().to_owned()).collect();
    for folder in folders {
        assert!(vendor().join(&folder).join("LICENSE").is_file(), "{folder} has no LICENSE");
    }
}
