//! Where facts of one metric count: the places that a shard has met since its last flush.
//!
//! Where nothing is final yet, a fact's place follows from its tile, the part of a pane that
//! lies in one minute; the newest tiles are looked through first, the others are in a map.
//! Facts that came too late for something are few, or the stream is in trouble.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::compile::Metric;
use super::grid::{self, Memo, Stretch};
use super::late::LateCounts;
use super::place::Place;
use crate::time::EpochMs;

/// Tiles that are looked through first: events of the same seconds come mixed.
const RECENT: usize = 4;
/// Places for which room is kept from one flush to the next.
const KEPT: usize = 1_024;

/// Places by number, from 0 on as they came first.
#[derive(Clone, Debug, Default)]
pub struct Tiles {
    places: Vec<Place>,
    recent: [(Stretch, u32); RECENT],
    /// Which of `recent` gives way next.
    turn: usize,
    /// Places where nothing is final, by the start of their tile.
    tiles: HashMap<EpochMs, u32, FixedState>,
    /// The others.
    late: BTreeMap<Place, u32>,
    memo: Memo,
}

impl Tiles {
    /// The place of a fact at a time, when everything that ends at or before `settled` is
    /// final; `None` when it counts nowhere. What it is too late for is counted.
    #[inline]
    pub fn place(
        &mut self,
        metric: &Metric,
        at: EpochMs,
        settled: EpochMs,
        late: &mut LateCounts,
    ) -> Option<u32> {
        let recent = self.recent.iter().find(|(tile, _)| tile.holds(at));
        if let Some((tile, number)) = recent
            && tile.end > settled
        {
            return Some(*number);
        }
        self.look_up(metric, at, settled, late)
    }

    /// The places that were met.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.places.clear();
        self.places.shrink_to(KEPT);
        self.tiles.clear();
        self.tiles.shrink_to(KEPT);
        self.late.clear();
        self.recent = Default::default();
    }

    fn look_up(
        &mut self,
        metric: &Metric,
        at: EpochMs,
        settled: EpochMs,
        late: &mut LateCounts,
    ) -> Option<u32> {
        let part = metric.grid.part(at, &mut self.memo);
        let (pane, minute) = (metric.grid.pane(at, &mut self.memo), grid::minute(at));
        let tile = Stretch { start: part.start.max(minute.start), end: part.end.min(minute.end) };
        let next = self.places.len() as u32;
        if pane.end.min(minute.end) > settled {
            let number = *self.tiles.entry(tile.start).or_insert_with(|| {
                let (enters, minute) = (Some(pane.start), Some(minute.start));
                self.places.push(Place { pane: part.start, enters, minute });
                next
            });
            self.recent[self.turn] = (tile, number);
            self.turn = (self.turn + 1) % RECENT;
            return Some(number);
        }
        let place = late_place(metric, at, settled, &mut self.memo);
        // A window that ends by silence is not final while it takes something.
        let first = if metric.grid.is_silence() { place.enters } else { None };
        late.count(&place, first.unwrap_or(pane.start));
        if place.enters.is_none() && place.minute.is_none() {
            return None;
        }
        Some(*self.late.entry(place).or_insert_with(|| {
            self.places.push(place);
            next
        }))
    }
}

/// Where a fact counts when everything that ends at or before `settled` is final.
fn late_place(metric: &Metric, at: EpochMs, settled: EpochMs, memo: &mut Memo) -> Place {
    let part = metric.grid.part(at, memo);
    let (pane, minute) = (metric.grid.pane(at, memo), grid::minute(at));
    let enters = if pane.end > settled {
        Some(pane.start)
    } else {
        let first = metric.grid.pane(settled, memo).start;
        metric.grid.still_takes(at, settled, memo).then_some(first)
    };
    let minute = (minute.end > settled).then_some(minute.start);
    Place { pane: part.start, enters, minute }
}
