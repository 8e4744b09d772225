//! Shows that no crate we decided against has come in, that there is one TLS provider at
//! most, and that every dependency is used.
//!
//! How: reads `Cargo.lock`, `Cargo.toml` and the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Crates that must not appear, even through others, each with the reason.
const FORBIDDEN: &[(&str, &str)] = &[
    ("openssl", "a system library; TLS is rustls with ring"),
    ("openssl-sys", "a system library; TLS is rustls with ring"),
    ("native-tls", "a system library; TLS is rustls with ring"),
    ("aws-lc-rs", "a second crypto provider makes rustls panic at first use"),
    ("aws-lc-sys", "a second crypto provider, and a long C build"),
    ("bincode", "unmaintained; the formats on disk are our own"),
    ("sled", "unmaintained; state is SQLite"),
];

#[test]
fn no_forbidden_crate_is_in_the_lock_file() {
    let names = locked_crates();
    let found: Vec<_> = FORBIDDEN.iter().filter(|(name, _)| names.contains(*name)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn ring_is_the_only_tls_provider() {
    let names = locked_crates();
    if names.contains("rustls") {
        assert!(names.contains("ring"), "rustls without ring: which provider is it?");
        for other in ["rustls-openssl", "rustls-symcrypt", "rustls-mbedcrypto-provider"] {
            assert!(!names.contains(other), "{other} is a second provider");
        }
    }
}

#[test]
fn every_dependency_is_named_in_the_sources() {
    let mut unused = Vec::new();
    for (folder, tests) in [
        (".", &["./tests", "./benches", "./examples"][..]),
        ("crates/core", &[]),
        ("crates/notify", &["./crates/notify/tests"]),
        ("crates/outside", &[]),
        ("crates/publisher", &[]),
    ] {
        let manifest: toml::Table = read(&format!("{folder}/Cargo.toml")).parse().unwrap();
        let shipped = text_under(&[&format!("{folder}/src")]);
        let all = format!("{shipped}{}", text_under(tests));
        for (table, text) in [("dependencies", &shipped), ("dev-dependencies", &all)] {
            let Some(table_of) = manifest.get(table).and_then(|it| it.as_table()) else { continue };
            for name in table_of.keys() {
                if !names_crate(text, &name.replace('-', "_")) {
                    unused.push(format!("{folder} [{table}] {name}"));
                }
            }
        }
    }
    assert!(unused.is_empty(), "in Cargo.toml and nowhere in the sources: {unused:?}");
}

#[test]
fn an_unused_dependency_would_be_noticed() {
    let text = "use serde_json::Value;\n#[derive(fail::Point)]\n// old::path\nlet a = b::c;";
    assert!(names_crate(text, "serde_json"));
    assert!(names_crate(text, "fail"));
    assert!(!names_crate(text, "serde"));
    assert!(!names_crate(text, "json"));
    assert!(!names_crate(text, "old"), "a comment is no use");
}

/// True when a line of code names the crate: `name::`, `use name;` or `use name as other;`.
fn names_crate(text: &str, name: &str) -> bool {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(name).any(|(start, _)| {
            let before = line[..start].chars().next_back();
            let after = &line[start + name.len()..];
            let begins = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            let whole = after.starts_with(';') || after.starts_with(" as ");
            begins && (after.starts_with("::") || whole && line.contains("use "))
        })
    })
}

fn locked_crates() -> BTreeSet<String> {
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    packages.iter().map(|package| package["name"].as_str().unwrap().into()).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn text_under(folders: &[&str]) -> String {
    let mut text = String::new();
    for folder in folders {
        append_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut text);
    }
    text
}

fn append_sources(folder: &Path, text: &mut String) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            append_sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
            text.push('\n');
        }
    }
}
