//! Shows that imports point one way only and that `domain` stays pure.
//!
//! `domain` is the crate in `crates/core`, `clock` the one in `crates/clock`: that they name no part
//! above them is kept by the compiler, that `domain` has no effects is kept here.
//!
//! How: reads every file under `src/` and `crates/core/src` with a small tokenizer (comments and literals are
//! skipped, `use` trees with braces and `super::` are resolved), names the part each path
//! leads to, and compares with the table below. The last tests plant violations and
//! expect each to be found, so that a broken check cannot pass for a clean tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may name whom, from the inside out. A part may always name itself.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("telemetry", &["domain", "clock"]),
    ("actors", &["domain", "clock", "telemetry"]),
    ("store", &["domain", "clock", "telemetry", "actors"]),
    ("source", &["domain", "clock", "telemetry", "actors"]),
    ("web", &["domain", "clock", "telemetry", "actors"]),
    ("demo", &["domain", "clock", "telemetry", "actors"]),
    ("sink", &["domain", "clock", "telemetry", "actors"]),
    ("lookup", &["domain"]),
    ("nats", &["domain", "clock", "telemetry", "actors", "sink", "lookup"]),
    ("notify", &["domain", "clock", "telemetry", "actors", "sink"]),
    (
        "config",
        &[
            "domain",
            "clock",
            "telemetry",
            "actors",
            "store",
            "source",
            "web",
            "demo",
            "nats",
            "sink",
            "lookup",
        ],
    ),
];

/// The composition roots: they may name everything.
const ROOTS: &[&str] = &["lib", "main", "app", "cli", "pipeline"];

/// Crates that `domain` may use: data structures, formats and hashes, no effects.
const PURE_CRATES: &[&str] = &[
    "base64",
    "bytes",
    "bytestring",
    "cel",
    "compact_str",
    "datasketches",
    "sketches_ddsketch",
    "foldhash",
    "hashbrown",
    "jiff",
    "memchr",
    "num_bigint",
    "rand",
    "regex",
    "serde",
    "serde_json",
    "sha2",
    "smallvec",
    "smol_str",
    "strsim",
    "thiserror",
    "xxhash_rust",
];

/// Words that have no business in `domain`, wherever they stand.
const BANNED_WORDS: &[(&str, &str)] = &[
    ("async", "the pure part never waits"),
    ("await", "the pure part never waits"),
    ("SystemTime", "time is an argument"),
    ("Instant", "time is an argument"),
    ("UNIX_EPOCH", "time is an argument"),
    ("thread_rng", "randomness is an argument, seeded"),
    ("from_os_rng", "randomness is an argument, seeded"),
    ("from_entropy", "randomness is an argument, seeded"),
    ("println", "pure code returns outcomes, shells report them"),
    ("eprintln", "pure code returns outcomes, shells report them"),
    ("dbg", "pure code returns outcomes, shells report them"),
];

/// Beginnings of paths that have no business in `domain`.
const BANNED_PATHS: &[(&str, &str)] = &[
    ("std::fs", "no files in the pure part"),
    ("std::net", "no sockets in the pure part"),
    ("std::env", "settings are arguments"),
    ("std::thread", "no threads in the pure part"),
    ("std::process", "no processes in the pure part"),
    ("std::os", "nothing of one system in the pure part"),
    ("std::io::stdin", "no input in the pure part"),
    ("std::io::stdout", "no output in the pure part"),
    ("std::io::stderr", "no output in the pure part"),
    ("rand::rng", "randomness is an argument, seeded"),
    ("rand::random", "randomness is an argument, seeded"),
    ("jiff::Zoned::now", "time is an argument"),
    ("jiff::Timestamp::now", "time is an argument"),
    ("jiff::tz::TimeZone::system", "the zone is an argument"),
];

#[test]
fn imports_point_one_way_and_the_domain_is_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = normal_dependencies(root);
    let mut files = rust_files(&root.join("src"));
    let core = rust_files(&root.join("crates/core/src"));
    assert!(files.len() > 10 && core.len() > 10, "the sources were not found");
    files.extend(core);
    let mut faults = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).expect("listed under the root");
        let source = fs::read_to_string(&file).unwrap();
        faults.extend(check(&name.to_string_lossy(), &source, &crates));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_planted_upward_import_is_found() {
    for (file, source) in [
        ("src/telemetry/logs.rs", "use crate::{domain::time, actors::{ports}};"),
        ("src/actors/deep.rs", "use super::super::store::Layout;"),
        ("src/actors/deep.rs", "fn f() -> crate::store::Layout { lay() }"),
        ("src/actors/deep/file.rs", "mod tests { use super::super::super::super::web::server; }"),
        ("src/actors/mod.rs", "pub use crate::config::Config as C;"),
        ("src/telemetry/mod.rs", "use crate::actors::status::Status;"),
        ("src/store/mod.rs", "use crate::web;"),
        ("src/web/mod.rs", "use crate::source::log;"),
        ("src/web/mod.rs", "use crate::*;"),
        ("src/web/mod.rs", "use crate::Reexported;"),
        ("src/config/mod.rs", "use crate::app::run;"),
        ("src/config/mod.rs", "fn f() { tidewatch::app::run() }"),
        ("src/helpers/mod.rs", "fn f() {}"),
    ] {
        assert_eq!(check(file, source, &some_crates()).len(), 1, "{file}: {source}");
    }
}

#[test]
fn a_planted_effect_in_the_domain_is_found() {
    for source in [
        "use std::{collections::BTreeMap, fs::File};",
        "fn f() { let now = std::time::Instant::now(); }",
        "async fn f() {}",
        "use tokio::sync::mpsc;",
        "use actix::prelude::*;",
        "fn f() { metrics::counter!(\"x\"); }",
        "fn f() { tracing::info!(\"x\"); }",
        "use dashmap::DashMap;",
        "fn f() -> u64 { rand::random() }",
        "fn f() { let r = rand::rng(); }",
        "fn f() { let x = std::env::var(\"X\"); }",
        "fn f() { println!(\"x\"); }",
    ] {
        let faults = check("crates/core/src/event/mod.rs", source, &some_crates());
        assert_eq!(faults.len(), 1, "{source}: {faults:?}");
        assert!(faults[0].starts_with("crates/core/src/event/mod.rs:1: "), "{}", faults[0]);
    }
}

#[test]
fn what_only_looks_like_a_violation_is_left_alone() {
    let source = r##"
        //! tokio, crate::web::server and std::fs are named in a comment only.
        /* use crate::web; /* nested: async */ still a comment */
        use super::metric::{MetricSpec, WindowSpec as W};
        pub use policy::{Deadline, SessionPolicy};
        const TEXT: &str = "use crate::web;\" std::fs::read";
        const RAW: &str = r#"tokio::spawn("x")"#;
        fn f<'a>(metrics: &'a [u64], tracing: char) -> impl Iterator<Item = u64> + use<'a> {
            let quote = '"';
            let slash = '\'';
            metrics.iter().copied().filter(move |_| tracing == quote || tracing == slash)
        }
        mod tests { use super::*; use proptest::prelude::*; }
    "##;
    assert_eq!(check("crates/core/src/event/mod.rs", source, &some_crates()), Vec::<String>::new());
    let shell = "use crate::{actors::ports::Source, domain::{event, time}}; use super::layout;";
    assert_eq!(check("src/store/log.rs", shell, &some_crates()), Vec::<String>::new());
}

fn some_crates() -> BTreeSet<String> {
    ["actix", "tokio", "dashmap", "metrics", "tracing", "rand", "serde"].map(String::from).into()
}

/// The faults of one file, as `file:line: what`.
fn check(file: &str, source: &str, crates: &BTreeSet<String>) -> Vec<String> {
    let module = module_path(file);
    let part = module.first().map_or("lib", String::as_str);
    if !ROOTS.contains(&part) && !MAY_NAME.iter().any(|(name, _)| *name == part) {
        return vec![format!("{file}:1: `{part}` is in no row of the table: say what it may name")];
    }
    let tokens = tokens(source);
    let mut faults = Vec::new();
    for path in paths(&tokens, &module) {
        let fault = match part {
            "domain" => purity_fault(&path.segments, crates),
            _ => direction_fault(part, &path.segments),
        };
        faults.extend(fault.map(|why| format!("{file}:{}: {why}", path.line)));
    }
    faults
}

fn direction_fault(part: &str, segments: &[String]) -> Option<String> {
    if ROOTS.contains(&part) || segments.first().is_none_or(|first| first != "crate") {
        return None;
    }
    let target = segments.get(1).map_or("", String::as_str);
    let allowed = MAY_NAME.iter().find(|(name, _)| *name == part).map_or(&[][..], |(_, to)| *to);
    if target == part || allowed.contains(&target) {
        return None;
    }
    Some(format!(
        "`{part}` must not name `{}`: it may name {}",
        segments.join("::"),
        if allowed.is_empty() { "only itself".into() } else { allowed.join(", ") }
    ))
}

fn purity_fault(segments: &[String], crates: &BTreeSet<String>) -> Option<String> {
    let path = segments.join("::");
    for (banned, why) in BANNED_PATHS {
        if path == *banned || path.starts_with(&format!("{banned}::")) {
            return Some(format!("`{banned}` in `domain`: {why}"));
        }
    }
    for (banned, why) in BANNED_WORDS {
        if segments.iter().any(|segment| segment == banned) {
            return Some(format!("`{banned}` in `domain`: {why}"));
        }
    }
    let first = &segments[0];
    if segments.len() > 1 && crates.contains(first) && !PURE_CRATES.contains(&first.as_str()) {
        return Some(format!("crate `{first}` in `domain`: not on the list of pure crates"));
    }
    None
}

/// `crates/core/src/event/decode.rs` is `["domain", "event", "decode"]`, `src/web/mod.rs` is
/// `["web"]`, `src/lib.rs` is `[]`.
fn module_path(file: &str) -> Vec<String> {
    let core = file.strip_prefix("crates/core/src/");
    let inner = core.unwrap_or(file).trim_start_matches("src/").trim_end_matches(".rs");
    let mut path: Vec<String> = core.map(|_| "domain".to_owned()).into_iter().collect();
    path.extend(inner.split('/').filter(|part| core.is_none() || *part != "lib").map(String::from));
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    if path == ["lib"] {
        path.clear();
    }
    path
}

#[derive(Debug, PartialEq)]
enum Kind {
    Word(String),
    Mark(char),
}

#[derive(Debug)]
struct Token {
    kind: Kind,
    line: usize,
}

impl Token {
    fn is(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            Kind::Mark(_) => None,
        }
    }
}

/// Words and marks with their lines; comments, literals and lifetimes are left out.
fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let at = |i: usize| text.get(i).copied().unwrap_or('\0');
    let (mut out, mut i, mut line) = (Vec::new(), 0, 1);
    while i < text.len() {
        let start = i;
        match text[i] {
            '/' if at(i + 1) == '/' => {
                while i < text.len() && text[i] != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => i = after_block_comment(&text, i),
            '"' => i = after_string(&text, i),
            '\'' => i = after_quote(&text, i),
            'r' | 'b' | 'c' if literal_prefix(&text, i).is_some() => {
                i = literal_prefix(&text, i).expect("just seen");
            }
            c if c.is_alphanumeric() || c == '_' => {
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
                let word = text[start..i].iter().collect();
                out.push(Token { kind: Kind::Word(word), line });
            }
            c => {
                // `$crate` is `crate`.
                if !c.is_whitespace() && c != '$' {
                    out.push(Token { kind: Kind::Mark(c), line });
                }
                i += 1;
            }
        }
        line += text[start..i].iter().filter(|c| **c == '\n').count();
    }
    out
}

fn after_block_comment(text: &[char], start: usize) -> usize {
    let (mut i, mut depth) = (start, 0);
    while i < text.len() {
        match (text[i], text.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn after_string(text: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < text.len() && text[i] != '"' {
        i += if text[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(text.len())
}

/// A character literal, or only the quote of a lifetime (its name then counts as a word).
fn after_quote(text: &[char], start: usize) -> usize {
    if text.get(start + 1) == Some(&'\\') {
        let mut i = start + 2;
        while i < text.len() && (text[i] != '\'' || i == start + 2) {
            i += 1;
        }
        return (i + 1).min(text.len());
    }
    if text.get(start + 2) == Some(&'\'') { start + 3 } else { start + 1 }
}

/// The end of a literal such as `r#".."#`, `b".."`, `br".."` or `b'x'` that begins here.
fn literal_prefix(text: &[char], start: usize) -> Option<usize> {
    if start > 0 && (text[start - 1].is_alphanumeric() || text[start - 1] == '_') {
        return None;
    }
    let mut i = start;
    while i < text.len() && matches!(text[i], 'r' | 'b' | 'c') && i - start < 2 {
        i += 1;
    }
    let raw = text[start..i].contains(&'r');
    let hashes = text[i..].iter().take_while(|c| **c == '#').count();
    match text.get(i + hashes) {
        Some('"') if raw => {
            let close: Vec<char> = std::iter::once('"').chain(vec!['#'; hashes]).collect();
            let body = i + hashes + 1;
            let end = text[body..].windows(close.len()).position(|window| window == close);
            Some(end.map_or(text.len(), |end| body + end + close.len()))
        }
        Some('"') if hashes == 0 => Some(after_string(text, i)),
        Some('\'') if hashes == 0 && text[start] == 'b' && i == start + 1 => {
            Some(after_quote(text, i))
        }
        _ => None,
    }
}

struct NamedPath {
    segments: Vec<String>,
    line: usize,
}

/// Every path named in the file: those of `use` trees one by one, those in code as they
/// stand. `crate`, `tidewatch`, `self` and `super` are resolved to begin with `crate`.
fn paths(tokens: &[Token], module: &[String]) -> Vec<NamedPath> {
    let mut found = Vec::new();
    let mut here = module.to_vec();
    let mut inline_modules: Vec<usize> = Vec::new();
    let (mut depth, mut i) = (0, 0);
    while i < tokens.len() {
        let next = tokens.get(i + 1);
        match &tokens[i].kind {
            Kind::Mark('{') => depth += 1,
            Kind::Mark('}') => {
                depth -= 1;
                if inline_modules.last() == Some(&depth) {
                    inline_modules.pop();
                    here.pop();
                }
            }
            Kind::Word(word)
                if word == "mod" && tokens.get(i + 2).is_some_and(|token| token.is('{')) =>
            {
                here.push(next.and_then(Token::word).unwrap_or_default().into());
                inline_modules.push(depth);
                i += 1;
            }
            Kind::Word(word) if word == "use" && next.is_some_and(|token| !token.is('<')) => {
                let mut raw = Vec::new();
                i = use_tree(tokens, i + 1, &[], &mut raw);
                found.extend(raw.into_iter().map(|path| resolve(path, &here)));
                continue;
            }
            Kind::Word(_) => {
                let (path, end) = plain_path(tokens, i);
                found.push(resolve(path, &here));
                i = end;
                continue;
            }
            Kind::Mark(_) => {}
        }
        i += 1;
    }
    found
}

/// Reads `a::b::{c, d::*} as e` from `i`; returns where it ends.
fn use_tree(tokens: &[Token], mut i: usize, prefix: &[String], out: &mut Vec<NamedPath>) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens.get(i).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(i) {
        match &token.kind {
            Kind::Word(word) if word == "as" => i += 1,
            Kind::Word(word) => segments.push(word.clone()),
            Kind::Mark('*') => segments.push("*".into()),
            Kind::Mark('{') => {
                i += 1;
                while tokens.get(i).is_some_and(|token| !token.is('}')) {
                    i = use_tree(tokens, i, &segments, out);
                    if tokens.get(i).is_some_and(|token| token.is(',')) {
                        i += 1;
                    }
                }
                return i + 1;
            }
            Kind::Mark(':') => {}
            Kind::Mark(_) => break,
        }
        i += 1;
    }
    out.push(NamedPath { segments, line });
    i
}

/// Reads `a::b::c` from `i`; a word alone is a path of one segment.
fn plain_path(tokens: &[Token], mut i: usize) -> (NamedPath, usize) {
    let line = tokens[i].line;
    let mut segments = Vec::new();
    while let Some(word) = tokens.get(i).and_then(Token::word) {
        segments.push(word.to_string());
        let colons = tokens.get(i + 1).is_some_and(|token| token.is(':'))
            && tokens.get(i + 2).is_some_and(|token| token.is(':'));
        if !colons {
            return (NamedPath { segments, line }, i + 1);
        }
        i += 3;
    }
    (NamedPath { segments, line }, i)
}

fn resolve(mut path: NamedPath, here: &[String]) -> NamedPath {
    let first = path.segments.first().map_or("", String::as_str);
    if first == "tidewatch" && path.segments.len() > 1 {
        path.segments[0] = "crate".into();
    } else if first == "self" && path.segments.len() > 1 || first == "super" {
        let ups = path.segments.iter().take_while(|segment| *segment == "super").count();
        let skip = ups.max(1);
        let base = here.len().saturating_sub(ups);
        let resolved = std::iter::once("crate".to_string())
            .chain(here[..base].iter().cloned())
            .chain(path.segments[skip..].iter().cloned())
            .collect();
        path.segments = resolved;
    }
    path
}

fn normal_dependencies(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for manifest in ["Cargo.toml", "crates/core/Cargo.toml"] {
        let text = fs::read_to_string(root.join(manifest)).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let table = manifest["dependencies"].as_table().expect("a table");
        names.extend(table.keys().map(|name| name.replace('-', "_")));
    }
    names
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
