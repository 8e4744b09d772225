//! When the next silence or planned maintenance begins or ends: kept, so that a barrier need not ask all
//! of them.

use std::collections::BTreeSet;

use super::{Maintenance, Silence};
use crate::time::{BEGINNING, EpochMs};

/// Beginnings and ends that lie ahead.
#[derive(Clone, Debug)]
pub(super) struct Edges {
    /// Of silences, with their ids.
    silences: BTreeSet<(EpochMs, String)>,
    /// The next one of maintenance.
    work: Option<EpochMs>,
    /// From when on that is the next one.
    work_from: EpochMs,
}

impl Edges {
    /// Of no silence yet, and of this maintenance from the beginning on.
    pub fn new(maintenance: &[Maintenance]) -> Edges {
        let work = next_of(maintenance, BEGINNING);
        Edges { silences: BTreeSet::new(), work, work_from: BEGINNING }
    }

    /// A silence begins and ends later than `after`.
    pub fn add(&mut self, silence: &Silence, after: EpochMs) {
        if silence.from > after {
            self.silences.insert((silence.from, silence.id.clone()));
        }
        self.silences.insert((silence.until, silence.id.clone()));
    }

    /// A silence was ended by somebody.
    pub fn forget(&mut self, silence: &Silence) {
        for at in [silence.from, silence.until] {
            self.silences.remove(&(at, silence.id.clone()));
        }
    }

    /// Time has got here: what maintenance begins or ends next.
    pub fn passed(&mut self, maintenance: &[Maintenance], at: EpochMs) {
        // At the beginning there is no calendar to ask.
        let known = self.work_from > BEGINNING && self.work.is_none_or(|edge| at < edge);
        if !known && !maintenance.is_empty() {
            (self.work, self.work_from) = (next_of(maintenance, at), at);
        }
    }

    /// The next one; maintenance only matters while something holds.
    pub fn next(&self, something_holds: bool) -> Option<EpochMs> {
        let silence = self.silences.first().map(|(at, _)| *at);
        silence.into_iter().chain(self.work.filter(|_| something_holds)).min()
    }

    /// Takes out the silences that begin or end up to then, each with that time.
    pub fn take(&mut self, until: EpochMs) -> Vec<String> {
        let mut taken = Vec::new();
        while self.silences.first().is_some_and(|(at, _)| *at <= until) {
            taken.extend(self.silences.pop_first().map(|(_, id)| id));
        }
        taken
    }
}

fn next_of(maintenance: &[Maintenance], at: EpochMs) -> Option<EpochMs> {
    maintenance.iter().flat_map(|work| [work.end(at), work.next(at)]).flatten().min()
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::incident::Hours;

    const HOUR: EpochMs = 3_600_000;

    fn silence(id: usize, from: EpochMs, span: EpochMs) -> Silence {
        let (by, reason) = (String::new(), String::new());
        let matching = "value > 1".to_owned();
        Silence { id: id.to_string(), matching, from, until: from + span, by, reason, void: None }
    }

    fn work(name: usize, from: EpochMs, span: EpochMs, daily: bool) -> Maintenance {
        let (of, until) =
            (time((name % 24) as i8, 0, 0, 0), time(((name + 5) % 24) as i8, 30, 0, 0));
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let hours = daily.then(|| Hours { days: Vec::new(), from: of, until, zone });
        let (from, until) = (Some(from), Some(from + span));
        Maintenance { name: name.to_string(), when: None, from, until, hours }
    }

    proptest! {
        /// What is kept is what asking all of them says, wherever time stops and restarts lie.
        #[test]
        fn the_next_edge_is_that_of_all(
            silences in prop::collection::vec((0..200_i64, 1..60_i64), 0..6),
            works in prop::collection::vec((0..200_i64, 1..90_i64, any::<bool>()), 0..4),
            steps in prop::collection::vec((1..30_i64, any::<bool>()), 1..30),
        ) {
            let silences: Vec<Silence> = silences.iter().enumerate()
                .map(|(id, (from, span))| silence(id, from * HOUR, span * HOUR)).collect();
            let works: Vec<Maintenance> = works.iter().enumerate()
                .map(|(name, (from, span, daily))| work(name, from * HOUR, span * HOUR, *daily)).collect();
            let begun = |at: EpochMs| {
                let mut edges = Edges::new(&works);
                edges.passed(&works, at);
                silences.iter().filter(|one| one.until > at).for_each(|one| edges.add(one, at));
                edges
            };
            let (mut at, mut edges) = (0, begun(0));
            for (ahead, restart) in steps {
                at += ahead * HOUR / 2;
                edges.passed(&works, at);
                edges.take(at);
                if restart {
                    edges = begun(at);
                }
                let of_silences = silences.iter().flat_map(|one| [one.from, one.until]);
                let quiet = of_silences.filter(|edge| *edge > at).min();
                let all = quiet.into_iter().chain(next_of(&works, at)).min();
                prop_assert_eq!((edges.next(false), edges.next(true)), (quiet, all), "at {}", at);
            }
        }
    }
}
