//! Why events of a replay were refused: each reason with how often, and the first that met it.
//!
//! Filled by the commits as they are made; asked once the replay is over.

use std::collections::BTreeMap;

use crate::cli::report::{First, Rejection};
use crate::domain::commit::CommitUnit;
use crate::source::origin::{LineOf, Origin};
use crate::source::tally::{REASONS_MAX, shortened};

/// Reasons so far.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    rules: BTreeMap<String, Rule>,
    /// Refused for further reasons, once there are [`REASONS_MAX`].
    others: u64,
    late: u64,
    first_late: Option<u64>,
    /// What was seen up to here: after a restart within the process it comes again.
    seen_to: u64,
}

#[derive(Debug)]
struct Rule {
    reason: String,
    count: u64,
    position: u64,
    example: String,
}

impl Rejections {
    /// Takes up what a commit holds.
    pub fn see(&mut self, unit: &CommitUnit) {
        let mut letters: Vec<_> = unit.dead_letters.iter().collect();
        // Those of the shards stand behind those of the decoder.
        letters.sort_by_key(|letter| letter.position);
        for letter in letters.into_iter().filter(|letter| letter.position > self.seen_to) {
            let rule = rule(&letter.reason);
            let full = self.rules.len() >= REASONS_MAX;
            match self.rules.get_mut(&rule) {
                Some(known) => known.count += 1,
                None if full => self.others += 1,
                None => {
                    let example = shortened(&String::from_utf8_lossy(&letter.raw));
                    let reason = shortened_reason(&letter.reason);
                    let position = letter.position;
                    self.rules.insert(rule, Rule { reason, count: 1, position, example });
                }
            }
        }
        let late = unit.late.iter().map(|late| late.position);
        for position in late.filter(|position| *position > self.seen_to) {
            self.late += 1;
            self.first_late = Some(self.first_late.map_or(position, |first| first.min(position)));
        }
        let reached = unit.positions.first().map_or(0, |at| at.position);
        self.seen_to = self.seen_to.max(reached);
    }

    /// The reasons, the most frequent first, with their places in the files.
    pub fn report(&self, origin: Option<&Origin>) -> (Vec<Rejection>, u64, Option<First>) {
        let mut positions: Vec<u64> = self.rules.values().map(|rule| rule.position).collect();
        positions.extend(self.first_late);
        // A file that went away meanwhile costs the line numbers, not the report.
        let lines = origin.and_then(|origin| origin.lines(&positions).ok()).unwrap_or_default();
        let mut lines = lines.into_iter().chain(std::iter::repeat(None));
        let mut reasons = Vec::with_capacity(self.rules.len());
        for rule in self.rules.values() {
            reasons.push(Rejection {
                reason: rule.reason.clone(),
                count: rule.count,
                first: lines.next().flatten().map(first),
                example: rule.example.clone(),
            });
        }
        reasons.sort_by(|a, b| (b.count, &a.reason).cmp(&(a.count, &b.reason)));
        let late = self.first_late.and_then(|_| lines.next().flatten()).map(first);
        (reasons, self.others, late)
    }
}

fn first(line: LineOf) -> First {
    First { file: line.file, line: line.line }
}

/// Longest reason that is shown, in characters.
const REASON_MAX: usize = 400;

fn shortened_reason(reason: &str) -> String {
    let mut short: String = reason.chars().take(REASON_MAX).collect();
    if short.len() < reason.len() {
        short.push('…');
    }
    short
}

/// What reasons have in common that differ only in numbers and in what an event holds.
fn rule(reason: &str) -> String {
    let mut rule = String::with_capacity(reason.len().min(REASON_MAX));
    let mut rest = reason;
    while let Some(next) = rest.chars().next() {
        if rule.len() > REASON_MAX {
            break;
        }
        if next.is_ascii_digit() {
            rule.push('N');
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            continue;
        }
        let names = rule.ends_with("attribute ") || rule.ends_with("column ");
        if next == '"'
            && !names
            && let Some(end) = closing(rest)
        {
            rule.push('…');
            rest = &rest[end..];
            continue;
        }
        rule.push(next);
        rest = &rest[next.len_utf8()..];
    }
    rule
}

/// Where the quoted text that `text` begins with ends.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (place, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(place + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::commit::{SourceIdentity, SourcePosition};
    use crate::domain::event::{DeadLetter, Hints};

    #[test]
    fn reasons_that_differ_in_what_was_there_are_one() {
        for (a, b, same) in [
            ("ts: no time (\"soon\")", "ts: no time (\"a \\\"b\")", true),
            ("not JSON: line 1 column 5", "not JSON: line 1 column 77", true),
            ("attribute \"ts\" is missing", "attribute \"type\" is missing", false),
            ("ts: 9 ms in the future", "ts: 12345 ms in the future", true),
        ] {
            assert_eq!(rule(a) == rule(b), same, "{a} / {b}");
        }
    }

    fn unit(position: u64, letters: &[(u64, &str)]) -> CommitUnit {
        let letter = |(position, reason): &(u64, &str)| DeadLetter {
            source: 0,
            position: *position,
            reason: (*reason).into(),
            raw: b"raw".to_vec(),
            hints: Hints::default(),
        };
        let source = SourceIdentity { name: "f".into(), incarnation: String::new() };
        CommitUnit {
            positions: vec![SourcePosition { source, position, ..SourcePosition::default() }],
            dead_letters: letters.iter().map(letter).collect(),
            ..CommitUnit::default()
        }
    }

    #[test]
    fn what_comes_again_after_a_restart_is_counted_once() {
        let mut found = Rejections::default();
        found.see(&unit(10, &[(3, "a"), (7, "b 1")]));
        found.see(&unit(20, &[(3, "a"), (7, "b 1"), (12, "b 2"), (11, "b 3")]));
        let (reasons, others, _) = found.report(None);
        let counts: Vec<_> = reasons.iter().map(|r| (r.reason.as_str(), r.count)).collect();
        assert_eq!((counts, others), (vec![("b 1", 3), ("a", 1)], 0));
    }

    #[test]
    fn reasons_are_bounded_and_the_others_counted() {
        let mut found = Rejections::default();
        let names: Vec<String> = (0..100u8)
            .map(|n| format!("{}{}", (b'a' + n / 26) as char, (b'a' + n % 26) as char))
            .collect();
        let letters: Vec<_> = (1..).zip(&names).map(|(n, name)| (n, name.as_str())).collect();
        found.see(&unit(100, &letters));
        let (reasons, others, _) = found.report(None);
        assert_eq!(reasons.len(), REASONS_MAX);
        assert_eq!(reasons.iter().map(|r| r.count).sum::<u64>() + others, 100);
    }
}
