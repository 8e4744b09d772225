//! Shows that a default stands in one place: in the table of its part's keys.
//!
//! How: reads the sources. A struct of settings gets its `Default` from `settings!`; one that is
//! written by hand may not hold a number of its own. The port of the server is written once. The
//! last test plants violations.

use std::fs;
use std::path::{Path, PathBuf};

/// What the names of structs with settings end with.
const SETTINGS: &[&str] = &["Settings", "Config", "Policy", "Limits"];

/// The file with the table that the server's address stands in.
const WEB: &str = "src/web/mod.rs";

#[test]
fn no_default_is_written_twice() {
    let mut faults = Vec::new();
    let mut tables = 0;
    for path in rust_files() {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let source = fs::read_to_string(&path).unwrap();
        tables += source.lines().filter(|line| *line == "settings! {").count();
        faults.extend(check(&name, &source));
    }
    assert!(tables >= 15, "the tables were not found: {tables}");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_planted_second_default_is_found() {
    let of = |name: &str, body: &str| {
        format!("impl Default for {name} {{\n    fn default() -> Self {{\n{body}\n    }}\n}}\n")
    };
    for (file, source, found) in [
        ("src/a.rs", of("Settings", "Settings { keys_max: 64 }"), 1),
        ("src/a.rs", of("WebConfig", "WebConfig { keys_max: 1 << 20 }"), 1),
        ("crates/core/src/a.rs", of("Limits", "Limits { bytes: 65_536 }"), 1),
        ("src/a.rs", of("Settings", "Settings { tick: super::Settings::default().tick }"), 0),
        ("src/a.rs", of("Cart", "Cart { size: 4 }"), 0),
        ("src/a.rs", "const LISTEN: &str = \"127.0.0.1:7077\";\n".into(), 1),
        ("src/a.rs", "    // By default it is 7077.\n".into(), 0),
        ("src/web/mod.rs", "const LISTEN: &str = \"127.0.0.1:7077\";\n".into(), 0),
        ("src/a.rs", "#[cfg(test)]\nmod tests {\n    const PORT: u16 = 7077;\n}\n".into(), 0),
    ] {
        assert_eq!(check(file, &source).len(), found, "{file}: {source}");
    }
}

fn check(file: &str, source: &str) -> Vec<String> {
    let code = source.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(source);
    let code = code.strip_prefix("#[cfg(test)]\n").map_or(code, |_| "");
    let lines = || {
        let numbered = code.lines().enumerate().map(|(index, line)| (index + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    };
    let mut faults = Vec::new();
    let port = |line: &str| file != WEB && line.contains("7077");
    for (number, line) in lines().filter(|(_, line)| port(line)) {
        faults.push(format!("{file}:{number}: the address is that of {WEB}: {line}"));
    }
    let mut inside = false;
    for (number, line) in lines() {
        if let Some(rest) = line.strip_prefix("impl Default for ") {
            let name = rest.split([' ', '<']).next().unwrap_or("");
            inside = SETTINGS.iter().any(|end| name.ends_with(end));
        }
        let digit = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let digit = digit.into_iter().any(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        if inside && digit {
            faults.push(format!("{file}:{number}: belongs into the table of `settings!`: {line}"));
        }
        inside &= line != "}";
    }
    faults
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All sources but tests that are files of their own.
fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = crates.map(|folder| folder.join("src")).collect();
    folders.push(root().join("src"));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match (path.is_dir(), name.strip_suffix(".rs")) {
                (true, _) if name != "tests" => folders.push(path),
                (false, Some(stem)) if !stem.ends_with("tests") => found.push(path),
                _ => {}
            }
        }
    }
    found
}
