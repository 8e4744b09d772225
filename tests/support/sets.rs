//! The reference sets: published event data with the numbers a correct service produces.
//!
//! They are not part of this repository. Without them the tests that need them say so
//! and pass.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::events::Event;

/// The sets with events of users or requests.
pub const EVENT_SETS: &[&str] =
    &["simple-shop", "otto-sample", "taobao-users", "nasa-http-19950801"];

/// One set.
#[derive(Clone, Debug)]
pub struct Set {
    pub name: &'static str,
    folder: PathBuf,
    /// Its `truth.json`.
    pub truth: Value,
}

impl Set {
    /// The set, or `None` (with a line that says so) where the folder is absent.
    pub fn load(name: &'static str) -> Option<Set> {
        let root = root();
        let folder = root.join(name);
        let Ok(text) = std::fs::read_to_string(folder.join("truth.json")) else {
            println!("skipped: {name} is not under {} (TIDEWATCH_SHARED_DATA)", root.display());
            return None;
        };
        Some(Set { name, folder, truth: serde_json::from_str(&text).unwrap() })
    }

    /// The raw files, in the order in which they are read.
    pub fn files(&self) -> Vec<String> {
        let map = std::fs::read_to_string(self.folder.join("map.json")).unwrap();
        let map: Value = serde_json::from_str(&map).unwrap();
        let names = map["files"].as_array().unwrap().iter();
        names.map(|name| self.folder.join(name.as_str().unwrap()).display().to_string()).collect()
    }

    /// How the raw files become events, for `replay --map`.
    pub fn map(&self) -> String {
        let name = format!("tests/fixtures/maps/{}.toml", self.name);
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name).display().to_string()
    }

    /// The mapped events by time, with ids, as the set's own script makes them.
    pub fn events(&self) -> Vec<Event> {
        let output = Command::new("python3")
            .arg(root().join("truth.py"))
            .arg("emit")
            .arg(&self.folder)
            .output()
            .expect("python3 runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(event).collect()
    }
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
