//! Sets of events with the numbers that a correct service produces: four that are made here
//! from a seed ([`Set::made`]), and published ones ([`Set::published`]).
//!
//! The published sets are not part of this repository: `TIDEWATCH_SHARED_DATA` says where
//! they are. Without them the tests that read them are counted as skipped; the same checks
//! run on the made sets everywhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::events::{Event, Random};
use super::generate::{self, Made};
use super::oracle;
use super::skip::skipped;

/// The made sets: an online shop as CSV, histories as nested JSON, a marketplace out of
/// order, a web server's log.
pub const MADE: [&str; 4] = ["shop", "histories", "marketplace", "web-log"];

/// The published sets with events of users or requests, each in the form of the made one at
/// its place.
pub const PUBLISHED: [&str; 4] =
    ["simple-shop", "otto-sample", "taobao-users", "nasa-http-19950801"];

/// The seed of the made sets, unless `TIDEWATCH_SET_SEED` says otherwise.
const SEED: u64 = 1;

/// One set.
#[derive(Debug)]
pub struct Set {
    pub name: &'static str,
    files: Vec<PathBuf>,
    map: &'static str,
    /// Its events by time, with ids; those of one time in the order of the files.
    events: Vec<Event>,
    /// The numbers, in the form of a published set's `truth.json`.
    pub truth: Value,
    _folder: Option<TempDir>,
}

impl Set {
    /// A set made here; one of [`MADE`].
    pub fn made(name: &'static str) -> Set {
        let seed = match std::env::var("TIDEWATCH_SET_SEED") {
            Ok(text) => text.parse().expect("TIDEWATCH_SET_SEED is a number"),
            Err(_) => SEED,
        };
        println!("{name}: TIDEWATCH_SET_SEED={seed}");
        let mut random = Random::from_seed(seed);
        let Made { files, mut events } = match name {
            "shop" => generate::shop(&mut random),
            "histories" => generate::histories(&mut random),
            "marketplace" => generate::marketplace(&mut random),
            "web-log" => generate::web_log(&mut random),
            other => panic!("no set {other:?} is made here"),
        };
        events.sort_by_key(|event| event.at);
        let folder = tempfile::tempdir().unwrap();
        let write = |(name, bytes): (String, Vec<u8>)| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let files = files.into_iter().map(write).collect();
        let truth = oracle::truth(&events);
        Set { name, files, map: map_of(&MADE, name), events, truth, _folder: Some(folder) }
    }

    /// A published set, or `None` (counted as skipped) where its folder is absent.
    pub fn published(name: &'static str) -> Option<Set> {
        let folder = root().join(name);
        let Ok(text) = std::fs::read_to_string(folder.join("truth.json")) else {
            skipped(format_args!("the published set {name} is not here (TIDEWATCH_SHARED_DATA)"));
            return None;
        };
        let map = std::fs::read_to_string(folder.join("map.json")).unwrap();
        let map: Value = serde_json::from_str(&map).unwrap();
        let files = map["files"].as_array().unwrap().iter();
        let files = files.map(|name| folder.join(name.as_str().unwrap())).collect();
        let truth = serde_json::from_str(&text).unwrap();
        let events = emitted(&folder);
        Some(Set { name, files, map: map_of(&PUBLISHED, name), events, truth, _folder: None })
    }

    /// The raw files, in the order in which they are read.
    pub fn files(&self) -> Vec<String> {
        self.files.iter().map(|file| file.display().to_string()).collect()
    }

    /// How the raw files become events, for `replay --map`.
    pub fn map(&self) -> String {
        let name = format!("tests/fixtures/maps/{}.toml", self.map);
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name).display().to_string()
    }

    /// The events by time, with ids.
    pub fn events(&self) -> Vec<Event> {
        self.events.clone()
    }
}

/// A made set has the form of a published one, and both are read by one map.
fn map_of(names: &[&'static str; 4], name: &str) -> &'static str {
    let place = names.iter().position(|known| *known == name);
    PUBLISHED[place.unwrap_or_else(|| panic!("no set is called {name:?}"))]
}

/// The events of a published set, as the set's own script makes them.
fn emitted(folder: &Path) -> Vec<Event> {
    let script = root().join("truth.py");
    let output =
        Command::new("python3").arg(script).arg("emit").arg(folder).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(event).collect()
}

fn event(line: &str) -> Event {
    let value: Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| value[name].as_str().unwrap().to_string();
    let mut event = Event::new(
        format!("e{}", value["seq"]),
        value["ts"].as_i64().unwrap(),
        &text("type"),
        text("user"),
    );
    if let Some(code) = value.get("code") {
        event.more.insert("status".into(), code.clone());
    }
    event
}

fn root() -> PathBuf {
    match std::env::var("TIDEWATCH_SHARED_DATA") {
        Ok(path) => PathBuf::from(path),
        Err(_) => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
    }
}

/// sha256 over lines, each ended by a newline, in hex.
pub fn sha256(lines: impl IntoIterator<Item = String>) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
