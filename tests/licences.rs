//! Shows that every crate we build with carries a licence on the list below.
//!
//! How: reads `cargo metadata --locked` for this platform and evaluates each crate's SPDX
//! expression. Crates that only the tests use are no exception.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Permissive: may be linked into a binary under MIT or Apache-2.0.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    // That of bzip2 itself: BSD with the clause that a changed version says so.
    "bzip2-1.0.6",
];

#[test]
fn every_licence_is_on_the_list() {
    let metadata = metadata();
    let used = reachable(&metadata);
    assert!(used.len() > 20, "the graph was not read");
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("");
        if used.contains(package["id"].as_str().unwrap()) && !permits(licence, ALLOWED) {
            faults.push(format!("{} {}: `{licence}`", package["name"], package["version"]));
        }
    }
    assert!(faults.is_empty(), "licences that are not on the list:\n{}", faults.join("\n"));
}

#[test]
fn expressions_are_understood() {
    let allowed = &["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"];
    for (expression, verdict) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Zlib", true),
        ("MIT AND (GPL-3.0 OR AGPL-3.0)", false),
        ("GPL-3.0 OR MIT AND Zlib", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("", false),
    ] {
        assert_eq!(permits(expression, allowed), verdict, "{expression}");
    }
}

fn metadata() -> Value {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host line");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The crates reachable from ours on this platform.
fn reachable(metadata: &Value) -> BTreeSet<&str> {
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let root = metadata["resolve"]["root"].as_str().unwrap();
    let (mut seen, mut open) = (BTreeSet::from([root]), vec![root]);
    while let Some(id) = open.pop() {
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let target = dependency["pkg"].as_str().unwrap();
            if seen.insert(target) {
                open.push(target);
            }
        }
    }
    seen
}

/// True when the SPDX expression can be met with the allowed licences alone.
fn permits(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    any_of(&mut rest, allowed) && rest.is_empty()
}

fn any_of(words: &mut &[&str], allowed: &[&str]) -> bool {
    let mut verdict = all_of(words, allowed);
    while words.first() == Some(&"OR") {
        *words = &words[1..];
        // Both sides are read in any case, so that the rest is where it should be.
        verdict |= all_of(words, allowed);
    }
    verdict
}

fn all_of(words: &mut &[&str], allowed: &[&str]) -> bool {
    let mut verdict = one(words, allowed);
    while words.first() == Some(&"AND") {
        *words = &words[1..];
        verdict &= one(words, allowed);
    }
    verdict
}

fn one(words: &mut &[&str], allowed: &[&str]) -> bool {
    let Some((first, rest)) = words.split_first() else { return false };
    *words = rest;
    if *first == "(" {
        let verdict = any_of(words, allowed);
        let closed = words.first() == Some(&")");
        *words = words.get(1..).unwrap_or_default();
        return verdict && closed;
    }
    if let ["WITH", exception, rest @ ..] = *words {
        let whole = format!("{first} WITH {exception}");
        *words = rest;
        return allowed.contains(&whole.as_str());
    }
    allowed.contains(first)
}
