//! The ingestor's view of its sources: how far each was read, and the watermark they
//! make together.
//!
//! Every source has a watermark of its own; the pipeline's is the least of them, so a
//! source that lags holds time up for all, and no event is late because another source
//! was faster. A source that never said anything and has nothing to say does not count.
//!
//! Invariant: the pipeline's watermark never goes back.

use crate::commit::SourcePosition;
use crate::time::{BEGINNING, END_OF_TIME, EpochMs, SpanMs};

/// What the ingestor knows of one source.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Position and fingerprint of its last item.
    pub position: SourcePosition,
    watermark: EpochMs,
    /// Watermark and monotonic time when its end was reached: it goes on from there.
    idle_from: Option<(EpochMs, i64)>,
    /// How long the process was away before, until that was taken into account.
    away: SpanMs,
    caught_up: bool,
    ended: bool,
    /// Items behind its position; unknown where it cannot tell and was never caught up.
    lag: Option<u64>,
    acked: u64,
}

impl Reader {
    /// Goes on from `position`, at its own watermark there, or at that of the commit it belongs
    /// to where that is later.
    pub fn new(position: SourcePosition, watermark: EpochMs, away: SpanMs) -> Self {
        let acked = position.position;
        let watermark = watermark.max(position.watermark);
        let (idle_from, caught_up, ended) = (None, false, false);
        Reader { position, watermark, idle_from, away, caught_up, ended, lag: None, acked }
    }

    /// Where it stands, for a commit.
    pub fn stands(&self) -> SourcePosition {
        SourcePosition { watermark: self.watermark, ..self.position.clone() }
    }

    /// Nothing more will ever come.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Its end was reached.
    pub fn caught_up(&self) -> bool {
        self.caught_up || self.ended
    }

    /// What it says of its lag with the items that came; nothing when it cannot tell.
    pub fn lags(&mut self, lag: Option<u64>) {
        self.lag = lag.or(self.lag);
    }

    /// More than `items` lie behind its position, or it was never caught up and cannot tell.
    pub fn far_behind(&self, items: u64) -> bool {
        !self.ended && self.lag.is_none_or(|lag| lag > items)
    }

    /// Items came, or cannot come now: not silence.
    pub fn busy(&mut self) {
        self.caught_up = false;
        self.idle_from = None;
    }

    /// It ended for good.
    pub fn end(&mut self) {
        self.ended = true;
        self.watermark = END_OF_TIME;
    }

    /// Its end was reached at monotonic time `now`; the watermark goes on with the time
    /// that passes, unless it is to `hold`, and never beyond `latest`.
    pub fn idle(&mut self, now: i64, latest: EpochMs, hold: bool) {
        self.caught_up = true;
        self.lag = Some(0);
        if hold || self.watermark == BEGINNING {
            return;
        }
        let away = std::mem::take(&mut self.away);
        let (from, since) = *self.idle_from.get_or_insert((self.watermark, now - away));
        self.watermark = self.watermark.max((from + now - since).min(latest));
    }

    /// Takes the position that is durable; true when it is new and is to be acknowledged.
    pub fn acknowledge(&mut self, durable: u64) -> bool {
        let moved = durable > self.acked;
        self.acked = self.acked.max(durable);
        moved
    }

    /// Its watermark, unless it has nothing to say about time.
    fn counts(&self) -> Option<EpochMs> {
        let silent = self.watermark == BEGINNING && self.caught_up;
        (!silent).then_some(self.watermark)
    }
}

/// The watermark of all sources together.
pub fn least(readers: &[Reader], at_least: EpochMs) -> EpochMs {
    let least = readers.iter().filter_map(Reader::counts).min();
    least.map_or(at_least, |least| least.max(at_least))
}

/// Moves one source's watermark while its events are read; the others stand still.
pub struct Clockwork<'a> {
    reader: &'a mut Reader,
    others: EpochMs,
}

impl<'a> Clockwork<'a> {
    /// For the events of source `index`.
    pub fn of(readers: &'a mut [Reader], index: usize) -> Self {
        let others = readers.iter().enumerate().filter(|(other, _)| *other != index);
        let others = others.filter_map(|(_, reader)| reader.counts()).min();
        Clockwork { others: others.unwrap_or(EpochMs::MAX), reader: &mut readers[index] }
    }

    /// An event of this source proves that its time is at least `at`; returns the
    /// watermark of all.
    pub fn see(&mut self, at: EpochMs, watermark: EpochMs) -> EpochMs {
        self.reader.watermark = self.reader.watermark.max(at);
        watermark.max(self.reader.watermark.min(self.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reader() -> Reader {
        Reader::new(SourcePosition { watermark: BEGINNING, ..Default::default() }, BEGINNING, 0)
    }

    #[test]
    fn a_source_that_was_ahead_of_the_others_keeps_its_time_over_a_restart() {
        let mut readers = vec![reader(), reader()];
        let mut watermark = Clockwork::of(&mut readers, 0).see(9_000, BEGINNING);
        watermark = Clockwork::of(&mut readers, 1).see(3_000, watermark);
        assert_eq!(watermark, 3_000);
        let stands: Vec<_> = readers.iter().map(Reader::stands).collect();
        // Held, the first one has nothing more to say; the other one goes on.
        let mut again: Vec<_> =
            stands.into_iter().map(|at| Reader::new(at, watermark, 0)).collect();
        again[0].idle(500, EpochMs::MAX, true);
        assert_eq!(Clockwork::of(&mut again, 1).see(8_000, watermark), 8_000);
        // One that ended for good has ended time.
        again[0].end();
        assert_eq!(Reader::new(again[0].stands(), 8_000, 0).counts(), Some(END_OF_TIME));
    }

    #[test]
    fn the_slowest_source_holds_time_and_a_silent_one_does_not_count() {
        let mut readers = vec![reader(), reader()];
        assert_eq!(Clockwork::of(&mut readers, 0).see(5_000, BEGINNING), BEGINNING);
        readers[1].idle(0, EpochMs::MAX, false);
        assert_eq!(least(&readers, BEGINNING), 5_000, "the other one has nothing to say");
        readers[1].busy();
        assert_eq!(Clockwork::of(&mut readers, 1).see(3_000, BEGINNING), 3_000);
        assert_eq!(Clockwork::of(&mut readers, 1).see(9_000, 3_000), 5_000);
    }

    #[test]
    fn silence_moves_time_by_what_passed_and_never_beyond_the_bound() {
        let mut reader = Reader::new(SourcePosition::default(), 1_000, 70);
        reader.idle(100, 10_000, false);
        assert_eq!(reader.counts(), Some(1_070), "the time away counts once");
        reader.idle(400, 10_000, false);
        assert_eq!(reader.counts(), Some(1_370));
        reader.idle(900_000, 10_000, false);
        assert_eq!(reader.counts(), Some(10_000));
        let mut held = Reader::new(SourcePosition::default(), 1_000, 0);
        held.idle(500, 10_000, true);
        assert_eq!(held.counts(), Some(1_000));
    }

    #[test]
    fn sources_that_all_ended_end_time() {
        let mut readers = vec![reader(), reader()];
        readers[0].end();
        assert_eq!(least(&readers, 7), 7);
        readers[1].end();
        assert_eq!(least(&readers, 7), END_OF_TIME);
    }

    proptest! {
        /// The order in which sources are read never makes the watermark exceed what the
        /// slowest has proved, and it never goes back.
        #[test]
        fn the_watermark_is_the_least_and_only_grows(
            steps in proptest::collection::vec((0usize..3, 0i64..100_000), 1..60)
        ) {
            let mut readers = vec![reader(), reader(), reader()];
            let mut seen = [BEGINNING; 3];
            let mut watermark = BEGINNING;
            for (index, at) in steps {
                seen[index] = seen[index].max(at);
                let next = Clockwork::of(&mut readers, index).see(at, watermark);
                prop_assert!(next >= watermark);
                watermark = next;
                prop_assert_eq!(watermark, *seen.iter().min().unwrap());
            }
        }
    }
}
