//! What a file is by its first lines, when no mapping says it: native events, one of the logs
//! whose form is known, or something that needs a mapping.
//!
//! A further kind of log is a mapping in `maps/` and an entry in [`KNOWN`].

use std::collections::BTreeMap;
use std::sync::LazyLock;

use encoding_rs::Encoding;
use regex::bytes::Regex;
use serde_json::{Map, Value};

use super::mapping::Mapping;
use super::rows::csv::{Cells, Dialect};
use super::rows::{access, w3c};
use super::text;

/// What a file is.
#[derive(Debug)]
pub(super) enum Sniffed {
    /// Native events as JSON, or nothing at all.
    Native,
    /// A form that is known.
    Known(Box<Mapping>),
    /// Neither: a sentence about it, to be put behind its name.
    Other(String),
}

/// A form that is known: how a line of it looks, and its mapping.
struct Known {
    is_line: fn(&[u8]) -> bool,
    mapping: &'static str,
}

const KNOWN: [Known; 4] = [
    Known { is_line: w3c::is_directive, mapping: include_str!("maps/w3c.toml") },
    Known { is_line: is_alb, mapping: include_str!("maps/alb.toml") },
    Known { is_line: is_elb, mapping: include_str!("maps/elb.toml") },
    Known { is_line: access::is_log_line, mapping: include_str!("maps/combined.toml") },
];

/// A form of JSON that is known: how an object of it looks, and its mapping.
struct KnownJson {
    is_object: fn(&Map<String, Value>) -> bool,
    mapping: &'static str,
}

const KNOWN_JSON: [KnownJson; 2] = [
    KnownJson { is_object: is_caddy, mapping: include_str!("maps/caddy.toml") },
    KnownJson { is_object: is_nginx, mapping: include_str!("maps/nginx-json.toml") },
];

/// All mappings that are built in.
#[cfg(test)]
pub(super) fn built_in() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.mapping).chain(KNOWN_JSON.iter().map(|known| known.mapping))
}

fn known_mapping(text: &str) -> Box<Mapping> {
    Box::new(Mapping::parse(text).expect("a test parses them"))
}

fn is_alb(line: &[u8]) -> bool {
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?-u)^(?:https?|h2|grpcs|wss?) \d{4}-\d\d-\d\dT\S+Z \S+ \S+:\d+ ")
            .expect("a test matches this constant")
    });
    LINE.is_match(line)
}

fn is_elb(line: &[u8]) -> bool {
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?-u)^\d{4}-\d\d-\d\dT\S+Z \S+ \S+:\d+ (?:\S+:\d+|-) -?\d")
            .expect("a test matches this constant")
    });
    LINE.is_match(line)
}

fn is_caddy(object: &Map<String, Value>) -> bool {
    object.get("request").is_some_and(|request| request.get("method").is_some())
        && object.contains_key("status")
        && object.contains_key("ts")
}

fn is_nginx(object: &Map<String, Value>) -> bool {
    object.contains_key("remote_addr")
        && object.contains_key("status")
        && ["time_iso8601", "time_local", "msec"].iter().any(|name| object.contains_key(*name))
}

/// Lines looked at: the first may be broken.
const LINES: usize = 20;

/// What the file with this beginning is. Names in `aliases` are attributes already.
pub(super) fn sniff(
    beginning: &[u8],
    encoding: &'static Encoding,
    aliases: &[(String, String)],
) -> Sniffed {
    let separator = text::separator(beginning);
    let lines = beginning.split(|byte| *byte == separator).map(<[u8]>::trim_ascii);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).take(LINES).collect();
    for line in &lines {
        let line = line.strip_prefix(b"\x1e").unwrap_or(line);
        if matches!(line.first(), Some(b'{' | b'[')) {
            return json(&lines, aliases);
        }
        if let Some(known) = KNOWN.iter().find(|known| (known.is_line)(line)) {
            return Sniffed::Known(known_mapping(known.mapping));
        }
    }
    if lines.is_empty() { Sniffed::Native } else { Sniffed::Other(other(&lines, encoding)) }
}

fn json(lines: &[&[u8]], aliases: &[(String, String)]) -> Sniffed {
    for line in lines {
        let Ok(object) = serde_json::from_slice::<Map<String, Value>>(line) else { continue };
        let native = ["type", "specversion"].iter().any(|name| object.contains_key(*name));
        let aliased = aliases
            .iter()
            .any(|(from, to)| matches!(to.as_str(), "ts" | "type") && object.contains_key(from));
        if native || aliased {
            return Sniffed::Native;
        }
        if let Some(known) = KNOWN_JSON.iter().find(|known| (known.is_object)(&object)) {
            return Sniffed::Known(known_mapping(known.mapping));
        }
    }
    Sniffed::Native
}

/// What is said of a file that is not text.
pub(super) const NOT_TEXT: &str = "is not text: replay takes NDJSON, JSON, CSV and logs, as they \
                                   are or packed with gzip, zstd, bzip2 or xz";

fn other(lines: &[&[u8]], encoding: &'static Encoding) -> String {
    if lines.iter().any(|line| line.contains(&0)) {
        return NOT_TEXT.to_owned();
    }
    let lines: Vec<String> =
        lines.iter().map(|line| text::decoded(line, encoding).0.into_owned()).collect();
    match delimiter(&lines) {
        Some((delimiter, _)) => format!(
            "looks like CSV, separated by {}; how its columns become events says a map: write \
             one with `tidewatch map FILE > FILE.toml`, look at it, and give it with --map",
            delimiter_name(delimiter)
        ),
        None => "is of a format that cannot be told: its first lines are neither JSON objects \
                 nor lines of a web server's log nor CSV; give a mapping with --map"
            .to_owned(),
    }
}

/// A delimiter for people and for a map.
pub(super) fn delimiter_name(delimiter: u8) -> &'static str {
    match delimiter {
        b'\t' => "\"\\t\"",
        b';' => "\";\"",
        b'|' => "\"|\"",
        b' ' => "\" \"",
        _ => "\",\"",
    }
}

/// What separates the cells of these lines, and how many cells most of them have: the delimiter
/// by which most lines have as many cells. Titles, broken lines and quoted line ends may be
/// among them, but not be more than half.
pub(super) fn delimiter(lines: &[String]) -> Option<(u8, usize)> {
    let usual = |delimiter: u8| {
        let mut cells = Cells::new(Dialect { delimiter, quoting: true, escape: None });
        let mut counts = BTreeMap::new();
        for line in lines {
            *counts.entry(cells.split(line).len()).or_insert(0) += 1;
        }
        let (width, same) = counts.into_iter().max_by_key(|(width, same)| (*same, *width))?;
        let most = same * 2 >= lines.len() && (same > 1 || lines.len() == 1);
        (width > 1 && most).then_some((same, width))
    };
    let found = [b'\t', b';', b',', b'|'].into_iter().filter_map(|d| Some((usual(d)?, d)));
    found.max_by_key(|(score, _)| *score).map(|((_, width), delimiter)| (delimiter, width))
}
