//! What was found in a file, line by line: every line is counted by what it was, every row by
//! what became of it, every cell that could not be used by its reason.
//!
//! Invariant: `lines = header + comment + blank + row_lines + continued`, and
//! `rows = mapped + filtered + rejected` ([`FileReport::balances`]).

use std::collections::BTreeMap;

use serde::Serialize;

/// Different reasons kept of one kind; further ones are counted together.
pub const REASONS_MAX: usize = 50;

/// Characters kept of an example.
const EXAMPLE_MAX: usize = 120;

/// What was found in one input.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FileReport {
    /// The input's name.
    pub name: String,
    /// How it was read: `ndjson`, `json`, `csv`, `combined`, `w3c`.
    pub format: String,
    /// How it was packed: `gzip`, `zstd`, `bzip2` or `xz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packing: Option<&'static str>,
    /// Its encoding.
    pub encoding: String,
    /// Lines in it.
    pub lines: u64,
    /// Lines that name columns or stand before those.
    pub header: u64,
    /// Comment lines.
    pub comment: u64,
    /// Lines with nothing but white space.
    pub blank: u64,
    /// Lines on which a row begins.
    pub row_lines: u64,
    /// Lines that go on with a row, or hold only the brackets around rows.
    pub continued: u64,
    /// Rows: lines of a log or of NDJSON, records of CSV, JSON values.
    pub rows: u64,
    /// Rows that events were made of.
    pub mapped: u64,
    /// Rows left out by `keep`, `drop` or `drop_ts_below_ms` of the map.
    pub filtered: u64,
    /// Rows that could not be made an event; they are in the dead letters.
    pub rejected: u64,
    /// Events made; more than rows where the map takes rows apart.
    pub events: u64,
    /// Rows with bytes that are wrong in the encoding; these became U+FFFD.
    pub wrong_bytes: Option<Seen>,
    /// Cells that could not be used, by attribute and reason. The event goes without them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<CellFault>,
    /// Columns that the map uses and that never held anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub never_seen: Vec<NeverSeen>,
    /// What else is worth knowing: a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// How often something was seen, and where first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// How often.
    pub count: u64,
    /// Line it was first seen on.
    pub first_line: u64,
}

/// Cells of one attribute that could not be used for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CellFault {
    /// The attribute.
    pub attribute: String,
    /// What was wrong.
    pub reason: String,
    /// How many cells.
    pub count: u64,
    /// Line of the first.
    pub first_line: u64,
    /// The first cell, shortened.
    pub example: String,
}

/// A column that the map uses and that was in no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeverSeen {
    /// Its name.
    pub column: String,
    /// A column that was there and has nearly the same name.
    pub near: Option<String>,
}

impl FileReport {
    /// True when every line and every row is accounted for.
    pub fn balances(&self) -> bool {
        self.lines == self.header + self.comment + self.blank + self.row_lines + self.continued
            && self.rows == self.mapped + self.filtered + self.rejected
    }
}

/// Counts cells that could not be used.
#[derive(Debug, Default)]
pub(super) struct CellFaults(BTreeMap<(String, &'static str), (u64, u64, String)>);

impl CellFaults {
    /// Counts one.
    pub fn count(&mut self, attribute: &str, reason: &'static str, line: u64, cell: &str) {
        let key = (attribute.to_owned(), reason);
        let full = self.0.len() >= REASONS_MAX;
        match self.0.get_mut(&key) {
            Some(known) => known.0 += 1,
            None if full => {
                let key = ("(others)".to_owned(), "further reasons, counted together");
                self.0.entry(key).or_insert((0, line, String::new())).0 += 1;
            }
            None => {
                self.0.insert(key, (1, line, shortened(cell)));
            }
        }
    }

    /// Those that were most often first.
    pub fn report(self) -> Vec<CellFault> {
        let mut faults = Vec::with_capacity(self.0.len());
        for ((attribute, reason), (count, first_line, example)) in self.0 {
            let reason = reason.to_owned();
            faults.push(CellFault { attribute, reason, count, first_line, example });
        }
        faults.sort_by_key(|fault| std::cmp::Reverse(fault.count));
        faults
    }
}

/// Text for people: short, on one line, without what a terminal would take for a command.
pub fn shortened(text: &str) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(EXAMPLE_MAX).map(printable).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The name among `present` that is nearest to `wanted`, if one is near.
pub fn nearest<'a>(wanted: &str, present: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let want = plain(wanted);
    let leaf = |name: &str| plain(name.rsplit('.').next().unwrap_or(name));
    let distance = |name: &str| {
        if plain(name) == want {
            return 0;
        }
        if leaf(name) == leaf(wanted) {
            return 1;
        }
        2 + strsim::damerau_levenshtein(&plain(name), &want)
    };
    let found = present.into_iter().filter(|name| *name != wanted);
    let best = found.map(|name| (distance(name), name)).min()?;
    (best.0 <= 2 + want.chars().count() / 3).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let present = ["timestamp", "user_id", "properties.price", "event"];
        for (wanted, near) in [
            ("timestanp", Some("timestamp")),
            ("userId", Some("user_id")),
            ("price", Some("properties.price")),
            ("colour", None),
            ("event", None),
        ] {
            assert_eq!(nearest(wanted, present), near, "{wanted}");
        }
    }

    #[test]
    fn reasons_are_bounded_and_none_is_lost() {
        let mut faults = CellFaults::default();
        for n in 0..200u64 {
            faults.count(&format!("a{n}"), "text", n, "x\u{1b}[2J");
            faults.count("a3", "text", n, "x");
        }
        let faults = faults.report();
        assert!(faults.len() <= REASONS_MAX + 1);
        assert_eq!(faults.iter().map(|fault| fault.count).sum::<u64>(), 400);
        assert_eq!((faults[0].attribute.as_str(), faults[0].count), ("a3", 201));
        assert!(faults.iter().all(|fault| !fault.example.contains('\u{1b}')));
    }
}
