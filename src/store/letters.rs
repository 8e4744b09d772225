//! Keeping the dead letters within their bounds: at every moment, within one commit too, and
//! fairly. When there are too many, the oldest of the most frequent kind of reason leave, so
//! that a flood of one kind pushes out itself and not the others. What left is counted by kind.
//!
//! Where an output publishes them, those that it has published leave first, and the others are
//! held up to `HELD` times the bounds. Beyond that they leave too: the disk has an end. Those
//! are counted apart.

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
/// Entry of `meta`: what left before it was published, by kind.
pub(super) const UNPUBLISHED: &str = "dead_letters_unpublished_by";
/// Entry of `meta`: number of the last letter that was published, as far as it was noted.
pub(super) const PUBLISHED: &str = "dead_letters_published";
/// Rows that leave in one go when it is for their bytes.
const STEP: u64 = 64;

/// How many times the bounds may be reached by letters that wait to be published.
pub(super) const HELD: u64 = 2;

/// How many letters there are, and how many left.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Letters {
    kept: BTreeMap<String, Kept>,
    total: Kept,
    /// Those that left to keep the bounds since the folder was made.
    pub dropped: Dropped,
    /// Those of them that left before they were published, although an output publishes them.
    pub unpublished: Dropped,
    /// Number of the newest, whether it is kept or not.
    last: u64,
    /// Those up to here were published.
    published: u64,
    /// Which of those that are kept were.
    free: BTreeMap<String, Kept>,
}

/// What may be kept, and what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub bound: Kept,
    /// Number of the last letter that was published; `None` where nothing publishes them.
    pub published: Option<u64>,
}

impl Terms {
    /// What is never exceeded.
    pub(super) fn most(&self) -> Kept {
        let times = if self.published.is_some() { HELD } else { 1 };
        Kept {
            items: self.bound.items.saturating_mul(times),
            bytes: self.bound.bytes.saturating_mul(times),
        }
    }
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

    fn count(&mut self, kind: &str, letters: u64) {
        if letters > 0 {
            *self.0.entry(kind.to_owned()).or_default() += letters;
        }
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
    /// Counts what the table holds. Reads every row's head, so only at start. `noted` is what
    /// was noted last: what left, and numbers.
    pub(super) fn measure(conn: &Connection, noted: Letters) -> rusqlite::Result<Letters> {
        let mut letters = Letters {
            kept: BTreeMap::new(),
            total: Kept::default(),
            free: BTreeMap::new(),
            published: 0,
            ..noted
        };
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
        letters.follow(conn, noted.published)?;
        Ok(letters)
    }

    /// What was noted of the letters besides their rows.
    pub(super) fn noted(
        dropped: Dropped,
        unpublished: Dropped,
        last: u64,
        published: u64,
    ) -> Letters {
        Letters { dropped, unpublished, last, published, ..Letters::default() }
    }

    /// Letters and bytes kept now.
    pub(super) fn total(&self) -> Kept {
        self.total
    }

    /// Number of the last letter that was published, as far as this knows.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// Letters and bytes kept that were not published yet.
    pub(super) fn waiting(&self) -> Kept {
        let mut waiting = self.total;
        self.free.values().for_each(|free| waiting.remove(free.items, free.bytes));
        waiting
    }

    /// Whether some must leave, and may.
    pub(super) fn must_leave(&self, terms: Terms) -> bool {
        let some = self.total.items > 1;
        let may = terms.published.is_some() && self.free.values().any(|free| free.items > 0);
        some && (self.total.exceeds(terms.most()) || may && self.total.exceeds(terms.bound))
    }

    /// Takes up how far they are published. Reads the heads of those that are new; all of
    /// them when the output was set back (its stream lost some).
    pub(super) fn follow(&mut self, conn: &Connection, published: u64) -> rusqlite::Result<()> {
        if published < self.published {
            (self.published, self.free) = (0, BTreeMap::new());
        }
        if published == self.published {
            return Ok(());
        }
        let mut query = conn.prepare_cached(
            "SELECT kind, length(raw) FROM dead_letters WHERE id > ?1 AND id <= ?2",
        )?;
        let key = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
        let mut rows = query.query(params![key(self.published), key(published)])?;
        while let Some(row) = rows.next()? {
            let free = self.free.entry(row.get(0)?).or_default();
            free.add(1, row.get::<_, i64>(1)? as u64);
        }
        self.published = published;
        Ok(())
    }

    /// Writes the letters of a unit and keeps the bounds, all in the open transaction. Returns
    /// what there is then. Letters of the unit that do not fit are never written, but have a
    /// number, so that whoever reads them in order sees that some are missing.
    pub(super) fn write(
        &self,
        tx: &Transaction<'_>,
        unit: &CommitUnit,
        terms: Terms,
    ) -> rusqlite::Result<Letters> {
        let mut next = self.clone();
        next.follow(tx, terms.published.unwrap_or(self.published))?;
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
        if terms.published.is_some() {
            next.drop_published(tx, &mut stored, terms.bound)?;
        }
        let bound = terms.most();
        while next.total.exceeds(bound) && next.total.items > 1 {
            let Some((kind, most)) = next.leaves_next(bound, |_| true) else { break };
            let before = stored.get(&kind).copied().unwrap_or(0);
            if before > 0 {
                let count = next.drop_stored(tx, &kind, bound, most, terms.published)?;
                stored.insert(kind, before.saturating_sub(count.max(1)));
            } else {
                let count = next.drop_coming(&mut coming, &kind, bound, most);
                if terms.published.is_some() {
                    next.unpublished.count(&kind, count);
                }
                if count == 0 {
                    break;
                }
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
        next.note(tx, self)?;
        Ok(next)
    }

    /// Keeps the bounds where they were made narrower, or more is published now, in the open
    /// transaction.
    pub(super) fn trim(&self, tx: &Transaction<'_>, terms: Terms) -> rusqlite::Result<Letters> {
        self.write(tx, &CommitUnit::default(), terms)
    }

    /// Notes that less is published than it was: the stream was made again or lost its end.
    /// At once, or a start before the next commit would take for published what is not.
    pub(super) fn note_set_back(&self, conn: &Connection) -> rusqlite::Result<()> {
        put_meta(conn, PUBLISHED, &self.published.to_string())
    }

    fn note(&self, tx: &Transaction<'_>, before: &Letters) -> rusqlite::Result<()> {
        let text = |dropped| serde_json::to_string(dropped).expect("a map of text to numbers");
        if self.published > 0 || before.published > 0 {
            // Each time: what was taken up between two commits was not noted.
            put_meta(tx, PUBLISHED, &self.published.to_string())?;
        }
        if self.unpublished != before.unpublished {
            put_meta(tx, UNPUBLISHED, &text(&self.unpublished))?;
        }
        if self.dropped == before.dropped {
            return Ok(());
        }
        put_meta(tx, DROPPED, &text(&self.dropped))?;
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
        if known || kinds() < KINDS_MAX { kind } else { OTHER.into() }
    }

    /// The kind that the letter was counted as in `next`.
    fn kind_in(&self, next: &Letters, letter: &DeadLetter) -> String {
        let kind = letter.kind();
        if next.kept.contains_key(&kind) { kind } else { OTHER.into() }
    }

    /// The kind that has the most of those that `may` leave, and how many of it may leave
    /// before another of them has more.
    fn leaves_next(&self, bound: Kept, may: impl Fn(&str) -> bool) -> Option<(String, u64)> {
        let too_many = self.total.items.saturating_sub(bound.items);
        let size = |kept: &Kept| if too_many > 0 { kept.items } else { kept.bytes };
        let mut most: Vec<(u64, &String)> = self
            .kept
            .iter()
            .filter(|(kind, _)| may(kind))
            .map(|(kind, kept)| (size(kept), kind))
            .collect();
        most.sort_unstable_by(|a, b| b.cmp(a));
        let second = most.get(1).map_or(0, |(size, _)| *size);
        let (first, kind) = most.first()?;
        Some(match too_many {
            0 => ((*kind).clone(), STEP),
            too_many => ((*kind).clone(), (first - second).clamp(1, too_many)),
        })
    }

    /// Letters that were published leave until the bound is kept or none is left.
    fn drop_published(
        &mut self,
        tx: &Transaction<'_>,
        stored: &mut BTreeMap<String, u64>,
        bound: Kept,
    ) -> rusqlite::Result<()> {
        while self.total.exceeds(bound) && self.total.items > 1 {
            let free = |kind: &str| self.free.get(kind).map_or(0, |free| free.items);
            let Some((kind, most)) = self.leaves_next(bound, |kind| free(kind) > 0) else {
                break;
            };
            // The oldest of a kind are the published ones of it.
            let most = most.min(free(&kind));
            let published = Some(self.published);
            let count = self.drop_stored(tx, &kind, bound, most, published)?;
            let before = stored.entry(kind).or_default();
            *before = before.saturating_sub(count.max(1));
            if count == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The oldest rows of a kind leave, at most `most`; how many did.
    fn drop_stored(
        &mut self,
        tx: &Transaction<'_>,
        kind: &str,
        bound: Kept,
        most: u64,
        published: Option<u64>,
    ) -> rusqlite::Result<u64> {
        let mut query = tx.prepare_cached(
            "SELECT id, length(raw) FROM dead_letters WHERE kind = ?1 ORDER BY id LIMIT ?2",
        )?;
        let mut rows = query.query(params![kind, most as i64])?;
        let (mut count, mut last, mut unpublished) = (0, 0, 0);
        while self.total.exceeds(bound)
            && self.total.items > 1
            && let Some(row) = rows.next()?
        {
            last = row.get::<_, i64>(0)?;
            let bytes = row.get::<_, i64>(1)? as u64;
            self.drop(kind, bytes);
            if last as u64 <= self.published {
                self.free.entry(kind.to_owned()).or_default().remove(1, bytes);
            }
            unpublished += u64::from(published.is_some_and(|published| last as u64 > published));
            count += 1;
        }
        drop(rows);
        self.unpublished.count(kind, unpublished);
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
        self.dropped.count(kind, 1);
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
            tables::LAYOUT.schema
        ))
        .unwrap();
        conn
    }

    fn write(conn: &Connection, letters: &Letters, unit: &CommitUnit, bound: Kept) -> Letters {
        write_held(conn, letters, unit, Terms { bound, published: None })
    }

    fn write_held(
        conn: &Connection,
        letters: &Letters,
        unit: &CommitUnit,
        terms: Terms,
    ) -> Letters {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate).unwrap();
        let next = letters.write(&tx, unit, terms).unwrap();
        tx.commit().unwrap();
        let measured = Letters::measure(conn, next.clone()).unwrap();
        assert_eq!(measured.total, next.total, "what is counted is what is there");
        assert_eq!(measured.waiting(), next.waiting(), "and what waits");
        assert!(!next.total.exceeds(terms.most()), "{:?}", next.total);
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
        let bound = Kept { items: 20, bytes: 2_000 };
        let less = letters.trim(&tx, Terms { bound, published: None }).unwrap();
        tx.commit().unwrap();
        assert!(!less.total.exceeds(Kept { items: 20, bytes: 2_000 }) && less.total.items > 10);
    }

    #[test]
    fn the_kinds_are_bounded() {
        let conn = table();
        let bound = Kept { items: 300, bytes: 1 << 20 };
        // Letters of the alphabet, because numbers are one kind.
        let name = |n: u64| {
            let digit = |by: u64| char::from(b'a' + (n / by % 26) as u8);
            format!("odd {}{}", digit(1), digit(26))
        };
        let many = (0..600).map(|n| letter(&name(n), n, 5)).collect();
        let letters = write(&conn, &Letters::default(), &unit(many), bound);
        assert!(letters.kept.len() <= KINDS_MAX + 1 && letters.dropped.0.len() <= KINDS_MAX + 1);
        assert!(letters.kept.contains_key(OTHER));
        assert_eq!(letters.dropped.total(), 300);
    }

    fn ids(conn: &Connection) -> Vec<u64> {
        let mut query = conn.prepare("SELECT id FROM dead_letters ORDER BY id").unwrap();
        let rows = query.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        rows.map(|id| id.unwrap() as u64).collect()
    }

    #[test]
    fn what_is_not_published_is_held_and_what_is_leaves_first() {
        let conn = table();
        let bound = Kept { items: 100, bytes: 1 << 20 };
        let at = |published| Terms { bound, published: Some(published) };
        let few = (0..30).map(|n| letter("attribute \"type\" is missing", n, 10)).collect();
        let letters = write_held(&conn, &Letters::default(), &unit(few), at(0));
        let many = (0..150).map(|n| letter("not JSON: EOF", n, 10)).collect();
        let letters = write_held(&conn, &letters, &unit(many), at(0));
        // 180 wait, and none leaves.
        assert_eq!((letters.total.items, letters.dropped.total()), (180, 0));
        assert_eq!(letters.waiting().items, 180);
        assert!(!letters.must_leave(at(0)), "none may");
        // Once some are published, those leave, of either kind: all that there are.
        let mut followed = letters.clone();
        followed.follow(&conn, 50).unwrap();
        assert!(followed.must_leave(at(50)));
        let letters = write_held(&conn, &letters, &CommitUnit::default(), at(50));
        assert_eq!(ids(&conn), (51..=180).collect::<Vec<_>>());
        assert!(!letters.must_leave(at(50)));
        // Then no more than must.
        let letters = write_held(&conn, &letters, &CommitUnit::default(), at(180));
        assert_eq!(ids(&conn), (81..=180).collect::<Vec<_>>());
        assert_eq!((letters.waiting().items, letters.unpublished.total()), (0, 0));
        assert_eq!(letters.dropped.total(), 80);
    }

    #[test]
    fn beyond_twice_the_bound_the_oldest_leave_and_are_counted_apart() {
        let conn = table();
        let bound = Kept { items: 100, bytes: 1 << 20 };
        let at = |published| Terms { bound, published: Some(published) };
        let honest = (0..20).map(|n| letter("late", n, 10)).collect();
        let mut letters = write_held(&conn, &Letters::default(), &unit(honest), at(0));
        for round in 0..4 {
            let flood = (0..300).map(|n| letter("not JSON: EOF", round * 300 + n, 10)).collect();
            letters = write_held(&conn, &letters, &unit(flood), at(10));
            assert_eq!(letters.total.items, 200);
        }
        // The ten that were published left first, then only the flood, all of it unpublished.
        assert_eq!(positions(&conn, "late"), (10..20).collect::<Vec<_>>());
        assert_eq!(letters.unpublished.total(), 4 * 300 - 190);
        assert_eq!(letters.dropped.total(), letters.unpublished.total() + 10);
        assert_eq!(letters.unpublished.words(), format!("{} × not JSON: EOF", 4 * 300 - 190));
        // Without an output the bound is the bound, and nobody counts.
        let letters = write(&conn, &letters, &CommitUnit::default(), bound);
        assert_eq!(letters.total.items, 100);
        assert_eq!(letters.unpublished.total(), 4 * 300 - 190);
    }

    #[test]
    fn an_output_that_is_set_back_holds_again_what_it_lost() {
        let conn = table();
        let bound = Kept { items: 50, bytes: 1 << 20 };
        let at = |published| Terms { bound, published: Some(published) };
        let all = (0..50).map(|n| letter("late", n, 10)).collect();
        let letters = write_held(&conn, &Letters::default(), &unit(all), at(0));
        let letters = write_held(&conn, &letters, &CommitUnit::default(), at(40));
        assert_eq!(letters.waiting(), Kept { items: 10, bytes: 100 });
        let letters = write_held(&conn, &letters, &CommitUnit::default(), at(15));
        assert_eq!(letters.waiting(), Kept { items: 35, bytes: 350 });
        let more = (0..30).map(|n| letter("late", 50 + n, 10)).collect();
        write_held(&conn, &letters, &unit(more), at(15));
        assert_eq!(ids(&conn), (16..=80).collect::<Vec<_>>(), "only the published ones left");
    }

    #[test]
    fn whatever_comes_none_leaves_unpublished_within_twice_the_bound() {
        use rand::rngs::StdRng;
        use rand::{Rng, SeedableRng};
        let seed: u64 = std::env::var("TIDEWATCH_TEST_SEED").map_or_else(
            |_| crate::store::sqlite::random(),
            |text| text.parse().expect("a number"),
        );
        println!("TIDEWATCH_TEST_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..25 {
            let conn = table();
            let bound = Kept { items: random.random_range(1..60), bytes: 2_000 };
            let (mut letters, mut published) = (Letters::default(), 0);
            for _ in 0..40 {
                let kinds = ["late", "not JSON: EOF", "odd"];
                let coming: Vec<_> = (0..random.random_range(0..40))
                    .map(|n| {
                        letter(kinds[random.random_range(0..3)], n, random.random_range(0..90))
                    })
                    .collect();
                let (lost, before) = (letters.unpublished.total(), ids(&conn));
                if random.random_bool(0.5) {
                    published = random.random_range(published..=letters.last);
                }
                let terms = Terms { bound, published: Some(published) };
                let count = coming.len() as u64;
                let first = letters.last + 1;
                letters = write_held(&conn, &letters, &unit(coming), terms);
                let after = ids(&conn);
                let all = before.into_iter().chain(first..first + count);
                let gone: Vec<u64> = all.filter(|id| !after.contains(id)).collect();
                let too_early = gone.iter().filter(|id| **id > published).count() as u64;
                assert_eq!(letters.unpublished.total() - lost, too_early);
                if too_early > 0 {
                    // Only when the disk's end was reached, and no published one could go.
                    assert!(after.iter().all(|id| *id > published));
                    let most = terms.most();
                    let near =
                        letters.total.items == most.items || letters.total.bytes + 90 > most.bytes;
                    assert!(near, "{:?} of {most:?}", letters.total);
                }
                if letters.total.exceeds(bound) && letters.total.items > 1 {
                    assert!(after.iter().all(|id| *id > published), "{published} {after:?}");
                }
            }
        }
    }
}
