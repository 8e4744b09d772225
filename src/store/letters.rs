//! Keeping the dead letters within their bounds: at every moment, within one commit too, and
//! fairly. When there are too many, the oldest of the most frequent kind of reason leave, so
//! that a flood of one kind pushes out itself and not the others. What left is counted by kind.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};

use super::retain::Kept;
use super::sqlite::put_meta;
use super::tables::letter_checksum;
use crate::domain::commit::CommitUnit;
use crate::domain::event::DeadLetter;

/// Kinds of reasons that are counted on their own; further ones are one kind together.
const KINDS_MAX: usize = 64;
const OTHER: &str = "other reasons";
/// Entry of `meta`: what left, by kind.
pub(super) const DROPPED: &str = "dead_letters_dropped_by";
/// Entry of `meta`: number of the newest letter when some left last.
pub(super) const LAST: &str = "dead_letters_last";
/// Rows that leave in one go when it is for their bytes.
const STEP: u64 = 64;

/// How many letters there are, and how many left.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Letters {
    kept: BTreeMap<String, Kept>,
    total: Kept,
    /// Those that left to keep the bounds since the folder was made.
    pub dropped: Dropped,
    /// Number of the newest, whether it is kept or not.
    last: u64,
}

/// Letters that left, by kind of reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dropped(BTreeMap<String, u64>);

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Each kind with its count.
    pub fn each(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(kind, count)| (kind.as_str(), *count))
    }

    /// The most frequent kinds in words.
    pub fn words(&self) -> String {
        let mut kinds: Vec<_> = self.each().collect();
        kinds.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
        let more = kinds.len().saturating_sub(3);
        let words: Vec<String> =
            kinds.iter().take(3).map(|(kind, count)| format!("{count} × {kind}")).collect();
        match more {
            0 => words.join("; "),
            more => format!("{}; and {more} more kinds", words.join("; ")),
        }
    }
}

impl Letters {
    /// Counts what the table holds. Reads every row's head, so only at start. `last` is the
    /// number that was noted last.
    pub(super) fn measure(
        conn: &Connection,
        dropped: Dropped,
        last: u64,
    ) -> rusqlite::Result<Letters> {
        let mut letters = Letters { dropped, last, ..Letters::default() };
        let mut query = conn.prepare(
            "SELECT kind, count(*), sum(length(raw)), max(id) FROM dead_letters GROUP BY kind",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let kept =
                Kept { items: row.get::<_, i64>(1)? as u64, bytes: row.get::<_, i64>(2)? as u64 };
            letters.total.add(kept.items, kept.bytes);
            letters.last = letters.last.max(row.get::<_, i64>(3)? as u64);
            letters.kept.insert(row.get(0)?, kept);
        }
        Ok(letters)
    }

    /// Letters and bytes kept now.
    pub(super) fn total(&self) -> Kept {
        self.total
    }

    /// Writes the letters of a unit and keeps the bounds, all in the open transaction. Returns
    /// what there is then. Letters of the unit that do not fit are never written, but have a
    /// number, so that whoever reads them in order sees that some are missing.
    pub(super) fn write(
        &self,
        tx: &Transaction<'_>,
        unit: &CommitUnit,
        bound: Kept,
    ) -> rusqlite::Result<Letters> {
        let mut next = self.clone();
        let mut coming = Coming::default();
        for (index, letter) in unit.dead_letters.iter().enumerate() {
            let kind = next.kind_of(letter);
            let bytes = letter.raw.len() as u64;
            next.kept.entry(kind.clone()).or_default().add(1, bytes);
            next.total.add(1, bytes);
            coming.waiting.entry(kind).or_default().push_back((index, bytes));
        }
        let mut stored: BTreeMap<String, u64> =
            self.kept.iter().map(|(kind, kept)| (kind.clone(), kept.items)).collect();
        coming.skipped.resize(unit.dead_letters.len(), false);
        while next.total.exceeds(bound) && next.total.items > 1 {
            let (kind, most) = next.leaves_next(bound);
            let before = stored.get(&kind).copied().unwrap_or(0);
            if before > 0 {
                let count = next.drop_stored(tx, &kind, bound, most)?;
                stored.insert(kind, before.saturating_sub(count.max(1)));
            } else if next.drop_coming(&mut coming, &kind, bound, most) == 0 {
                break;
            }
        }
        let names: Vec<&str> = unit.positions.iter().map(|at| at.source.name.as_str()).collect();
        let mut insert = tx.prepare_cached(
            "INSERT INTO dead_letters(id, source, position, reason, at, redriven, checksum, raw, \
             hints, kind) VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6, ?7, ?8, ?9)",
        )?;
        for (letter, skipped) in unit.dead_letters.iter().zip(&coming.skipped) {
            next.last += 1;
            if *skipped {
                continue;
            }
            let source = names.get(usize::from(letter.source)).copied().unwrap_or_default();
            let position = letter.position as i64;
            let hints = serde_json::to_string(&letter.hints).expect("a map of text to text");
            let sum = letter_checksum([position, unit.wall], &letter.raw, &hints);
            let DeadLetter { reason, raw, .. } = letter;
            let (id, kind) = (next.last as i64, self.kind_in(&next, letter));
            insert
                .execute(params![id, source, position, reason, unit.wall, sum, raw, hints, kind])?;
        }
        next.note(tx, &self.dropped)?;
        Ok(next)
    }

    /// Keeps the bounds where they were made narrower, in the open transaction.
    pub(super) fn trim(&self, tx: &Transaction<'_>, bound: Kept) -> rusqlite::Result<Letters> {
        self.write(tx, &CommitUnit::default(), bound)
    }

    fn note(&self, tx: &Transaction<'_>, before: &Dropped) -> rusqlite::Result<()> {
        if self.dropped == *before {
            return Ok(());
        }
        let text = serde_json::to_string(&self.dropped).expect("a map of text to numbers");
        put_meta(tx, DROPPED, &text)?;
        // The newest may be among those that were never written.
        put_meta(tx, LAST, &self.last.to_string())
    }

    /// The kind that a letter is counted as; room is made for it if there is some.
    fn kind_of(&self, letter: &DeadLetter) -> String {
        let kind = letter.kind();
        let known = self.kept.contains_key(&kind) || self.dropped.0.contains_key(&kind);
        let kinds = || {
            let dropped = self.dropped.0.keys().filter(|kind| !self.kept.contains_key(*kind));
            self.kept.len() + dropped.count()
        };
        match known || kinds() < KINDS_MAX {
            true => kind,
            false => OTHER.into(),
        }
    }

    /// The kind that the letter was counted as in `next`.
    fn kind_in(&self, next: &Letters, letter: &DeadLetter) -> String {
        let kind = letter.kind();
        match next.kept.contains_key(&kind) {
            true => kind,
            false => OTHER.into(),
        }
    }

    /// The kind that has the most, and how many of it may leave before another has more.
    fn leaves_next(&self, bound: Kept) -> (String, u64) {
        let too_many = self.total.items.saturating_sub(bound.items);
        let size = |kept: &Kept| if too_many > 0 { kept.items } else { kept.bytes };
        let mut most: Vec<(u64, &String)> =
            self.kept.iter().map(|(kind, kept)| (size(kept), kind)).collect();
        most.sort_unstable_by(|a, b| b.cmp(a));
        let second = most.get(1).map_or(0, |(size, _)| *size);
        let (first, kind) = most[0];
        match too_many {
            0 => (kind.clone(), STEP),
            too_many => (kind.clone(), (first - second).clamp(1, too_many)),
        }
    }

    /// The oldest rows of a kind leave, at most `most`; how many did.
    fn drop_stored(
        &mut self,
        tx: &Transaction<'_>,
        kind: &str,
        bound: Kept,
        most: u64,
    ) -> rusqlite::Result<u64> {
        let mut query = tx.prepare_cached(
            "SELECT id, length(raw) FROM dead_letters WHERE kind = ?1 ORDER BY id LIMIT ?2",
        )?;
        let mut rows = query.query(params![kind, most as i64])?;
        let (mut count, mut last) = (0, 0);
        while self.total.exceeds(bound)
            && self.total.items > 1
            && let Some(row) = rows.next()?
        {
            last = row.get::<_, i64>(0)?;
            self.drop(kind, row.get::<_, i64>(1)? as u64);
            count += 1;
        }
        drop(rows);
        tx.prepare_cached("DELETE FROM dead_letters WHERE kind = ?1 AND id <= ?2")?
            .execute(params![kind, last])?;
        Ok(count)
    }

    /// Letters that were not written yet are passed over, at most `most`.
    /// How many were.
    fn drop_coming(&mut self, coming: &mut Coming, kind: &str, bound: Kept, most: u64) -> u64 {
        let Some(waiting) = coming.waiting.get_mut(kind) else { return 0 };
        let mut count = 0;
        while count < most && self.total.exceeds(bound) && self.total.items > 1 {
            let Some((index, bytes)) = waiting.pop_front() else { break };
            coming.skipped[index] = true;
            self.drop(kind, bytes);
            count += 1;
        }
        count
    }

    fn drop(&mut self, kind: &str, bytes: u64) {
        self.total.remove(1, bytes);
        *self.dropped.0.entry(kind.to_owned()).or_default() += 1;
        if let Some(kept) = self.kept.get_mut(kind) {
            kept.remove(1, bytes);
        }
    }
}

/// Letters of a unit, oldest first, by kind: place in the unit and bytes.
#[derive(Default)]
struct Coming {
    waiting: BTreeMap<String, VecDeque<(usize, u64)>>,
    skipped: Vec<bool>,
}

#[cfg(test)]
mod tests {
    use rusqlite::TransactionBehavior;

    use super::*;
    use crate::store::tables;

    fn letter(reason: &str, position: u64, bytes: usize) -> DeadLetter {
        DeadLetter {
            source: 0,
            position,
            reason: reason.into(),
            raw: vec![b'x'; bytes],
            hints: Default::default(),
        }
    }

    fn table() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(&format!(
            "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT \
             NULL) WITHOUT ROWID; {}",
            tables::KIND.schema
        ))
        .unwrap();
        conn
    }

    fn write(conn: &Connection, letters: &Letters, unit: &CommitUnit, bound: Kept) -> Letters {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate).unwrap();
        let next = letters.write(&tx, unit, bound).unwrap();
        tx.commit().unwrap();
        let measured = Letters::measure(conn, next.dropped.clone(), next.last).unwrap();
        assert_eq!(measured.total, next.total, "what is counted is what is there");
        assert!(!next.total.exceeds(bound), "{:?}", next.total);
        next
    }

    fn unit(letters: Vec<DeadLetter>) -> CommitUnit {
        CommitUnit { dead_letters: letters, ..CommitUnit::default() }
    }

    fn positions(conn: &Connection, reason: &str) -> Vec<u64> {
        let mut query = conn
            .prepare("SELECT position FROM dead_letters WHERE reason = ?1 ORDER BY id")
            .unwrap();
        let rows = query.query_map([reason], |row| row.get::<_, i64>(0)).unwrap();
        rows.map(|position| position.unwrap() as u64).collect()
    }

    #[test]
    fn a_flood_of_one_kind_pushes_out_itself_also_within_one_commit() {
        let conn = table();
        let bound = Kept { items: 100, bytes: 1 << 20 };
        let honest = (0..40).map(|n| letter("attribute \"type\" is missing", n, 10)).collect();
        let mut letters = write(&conn, &Letters::default(), &unit(honest), bound);
        for round in 0..3 {
            let flood = (0..5_000).map(|n| letter("not JSON: EOF", round * 5_000 + n, 3)).collect();
            letters = write(&conn, &letters, &unit(flood), bound);
            assert_eq!(positions(&conn, "attribute \"type\" is missing").len(), 40);
            let newest: Vec<u64> = (round * 5_000 + 4_940..round * 5_000 + 5_000).collect();
            assert_eq!(positions(&conn, "not JSON: EOF"), newest, "the oldest of them left");
        }
        assert_eq!(letters.dropped.total(), 15_000 - 60);
        assert_eq!(letters.dropped.words(), "14940 × not JSON: EOF");
        assert_eq!(letters.last, 15_040, "each has a number, whether it was written or not");
    }

    #[test]
    fn bytes_are_bounded_and_the_greatest_kind_makes_room() {
        let conn = table();
        let bound = Kept { items: 1_000, bytes: 10_000 };
        let small = (0..50).map(|n| letter("late", n, 10)).collect();
        let letters = write(&conn, &Letters::default(), &unit(small), bound);
        let large = (0..30).map(|n| letter("an event of 9 bytes is longer", n, 900)).collect();
        let letters = write(&conn, &letters, &unit(large), bound);
        assert_eq!(positions(&conn, "late").len(), 50);
        assert_eq!(positions(&conn, "an event of 9 bytes is longer").len(), 10);
        // A narrower bound is kept without anything new.
        let tx = Transaction::new_unchecked(&conn, TransactionBehavior::Immediate).unwrap();
        let less = letters.trim(&tx, Kept { items: 20, bytes: 2_000 }).unwrap();
        tx.commit().unwrap();
        assert!(!less.total.exceeds(Kept { items: 20, bytes: 2_000 }) && less.total.items > 10);
    }

    #[test]
    fn the_kinds_are_bounded() {
        let conn = table();
        let bound = Kept { items: 300, bytes: 1 << 20 };
        // Letters of the alphabet, because numbers are one kind.
        let name = |n: u64| {
            let place = |by: u64| char::from(b'a' + (n / by % 26) as u8);
            format!("odd {}{}", place(1), place(26))
        };
        let many = (0..600).map(|n| letter(&name(n), n, 5)).collect();
        let letters = write(&conn, &Letters::default(), &unit(many), bound);
        assert!(letters.kept.len() <= KINDS_MAX + 1 && letters.dropped.0.len() <= KINDS_MAX + 1);
        assert!(letters.kept.contains_key(OTHER));
        assert_eq!(letters.dropped.total(), 300);
    }
}
