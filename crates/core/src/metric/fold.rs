//! The shard's side of metrics: facts in, what they changed since the last flush out.
//!
//! A shard keeps only what it has not handed over yet; the whole panes live in the
//! engine. So the fold stays small and in cache, and merging shards is adding.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cell::Cell;
use super::compile::{Fact, Metric};
use super::grid::{self, Memo, Stretch};
use super::groups::{Candidate, Labels, OVERFLOW, ShardGroups};
use super::late::LateCounts;
use super::spec::FactKind;
use super::watch::Watch;
use crate::domain::fault::Tally;
use crate::domain::time::{EpochMs, SpanMs};

/// Which windows and which minute a fact counts in: those that were not final at its stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Start of the pane that holds the fact.
    pub pane: EpochMs,
    /// Start of the pane whose window is the first it counts in: `pane` when it came in
    /// time, a later one when windows were final already, `None` when all of them were.
    pub enters: Option<EpochMs>,
    /// Start of the roll-up minute it counts in; `None` when that was final.
    pub minute: Option<EpochMs>,
}

/// What one flush changes in one place of one group.
#[derive(Clone, Debug)]
pub struct PaneDelta {
    /// Index of the metric.
    pub metric: u16,
    /// Where it counts.
    pub place: Place,
    /// The group; `None` for what is known not to be kept.
    pub labels: Option<Labels>,
    /// How many facts are in it.
    pub facts: u64,
    /// What to merge there.
    pub cell: Cell,
}

/// Everything a shard found since its last flush.
#[derive(Clone, Debug, Default)]
pub struct Flushed {
    /// What changed in the panes.
    pub panes: Vec<PaneDelta>,
    /// Groups that the shard had not met before.
    pub candidates: Vec<Candidate>,
}

/// Folds facts into pane deltas.
#[derive(Clone, Debug)]
pub struct Fold {
    metrics: Arc<Vec<Metric>>,
    lateness: SpanMs,
    open: Vec<OpenMetric>,
    late: Vec<LateCounts>,
    watch: Watch,
    /// What was of no use, by use.
    pub tally: Tally,
}

#[derive(Clone, Debug, Default)]
struct OpenMetric {
    /// Facts that count everywhere, by tile: the part of a pane that lies in one minute.
    tiles: Vec<(Stretch, OpenPlace)>,
    recent: usize,
    /// The others: few, or the stream is in trouble.
    late: BTreeMap<Place, OpenCells>,
    groups: ShardGroups,
    memo: Memo,
}

#[derive(Clone, Debug)]
struct OpenPlace {
    place: Place,
    cells: OpenCells,
}

/// Cells of one place by the shard's own number of their group.
#[derive(Clone, Debug, Default)]
struct OpenCells {
    cells: Vec<Option<OpenCell>>,
    overflow: Option<OpenCell>,
}

#[derive(Clone, Debug)]
struct OpenCell {
    facts: u64,
    cell: Cell,
}

impl Fold {
    /// An empty fold.
    pub fn new(metrics: Arc<Vec<Metric>>, lateness: SpanMs) -> Self {
        let open = metrics.iter().map(|_| OpenMetric::default()).collect();
        let late = vec![LateCounts::default(); metrics.len()];
        let watch = Watch::new(&metrics);
        let tally = Tally::new(watch.num_uses());
        Fold { metrics, lateness, open, late, watch, tally }
    }

    /// Feeds a fact to every metric of its kind. `watermark` is the fact's own stamp, at
    /// any distance from the fact: each window decides for itself whether it was final.
    pub fn add(&mut self, of: FactKind, fact: &impl Fact, watermark: EpochMs) {
        let metrics = Arc::clone(&self.metrics);
        let settled = watermark - self.lateness;
        for (index, metric) in metrics.iter().enumerate() {
            if metric.spec.of != of || !self.watch.passes(index, metric, fact, &mut self.tally) {
                continue;
            }
            let open = &mut self.open[index];
            let cells = match open.tile(metric, fact.at(), settled) {
                Some(tile) => &mut open.tiles[tile].1.cells,
                None => {
                    let place = place(metric, fact.at(), settled, &mut open.memo);
                    self.late[index].count(&place);
                    if place.enters.is_none() && place.minute.is_none() {
                        continue;
                    }
                    open.late.entry(place).or_default()
                }
            };
            let zero = || OpenCell { facts: 0, cell: Cell::zero(metric.spec.aggregate) };
            let open = cells.of(open.groups.of(metric, fact)).get_or_insert_with(zero);
            open.facts += 1;
            metric.add(fact, &mut open.cell);
        }
    }

    /// Facts that came after something they belong to was final, by metric, since this was
    /// asked last.
    pub fn take_late(&mut self) -> Vec<LateCounts> {
        let none = vec![LateCounts::default(); self.late.len()];
        std::mem::replace(&mut self.late, none)
    }

    /// Hands over everything since the last flush.
    pub fn flush(&mut self) -> Flushed {
        let mut flushed = Flushed::default();
        for (metric, open) in self.open.iter_mut().enumerate() {
            open.recent = 0;
            let metric = metric as u16;
            let tiles = open.tiles.drain(..).map(|(_, open)| (open.place, open.cells));
            for (place, cells) in tiles.chain(std::mem::take(&mut open.late)) {
                let delta = |labels, OpenCell { facts, cell }| PaneDelta {
                    metric,
                    place,
                    labels,
                    facts,
                    cell,
                };
                let groups = &open.groups;
                let labels = |group: usize| groups.labels(group as u32).map(Arc::clone);
                let kept = cells.cells.into_iter().enumerate();
                let kept = kept.filter_map(|(group, open)| Some(delta(labels(group), open?)));
                flushed.panes.extend(kept);
                flushed.panes.extend(cells.overflow.map(|open| delta(None, open)));
            }
            flushed.candidates.extend(open.groups.take_fresh(metric));
        }
        flushed
    }

    /// True once the groups of a metric are known for good.
    pub fn knows_groups(&self, metric: usize) -> bool {
        self.open[metric].groups.is_complete()
    }

    /// Takes up all groups that a metric will ever keep. Nothing may be open: call it after
    /// a flush.
    pub fn set_groups(&mut self, metric: usize, kept: &[Labels]) {
        let open = &mut self.open[metric];
        debug_assert!(open.tiles.is_empty() && open.late.is_empty(), "cells use former numbers");
        open.groups.complete(kept);
    }
}

impl OpenCells {
    fn of(&mut self, group: u32) -> &mut Option<OpenCell> {
        if group == OVERFLOW {
            return &mut self.overflow;
        }
        let group = group as usize;
        if self.cells.len() <= group {
            self.cells.resize(group + 1, None);
        }
        &mut self.cells[group]
    }
}

impl OpenMetric {
    /// The tile that holds a time, when nothing that holds it is final.
    fn tile(&mut self, metric: &Metric, at: EpochMs, settled: EpochMs) -> Option<usize> {
        let recent = self.tiles.get(self.recent).filter(|(tile, _)| tile.holds(at));
        if let Some((tile, _)) = recent {
            return (tile.end > settled).then_some(self.recent);
        }
        let pane = metric.grid.pane(at, &mut self.memo);
        let minute = grid::minute(at);
        let tile = Stretch { start: pane.start.max(minute.start), end: pane.end.min(minute.end) };
        if tile.end <= settled {
            return None;
        }
        // Newest last: disorder is small, so the search is short.
        let known = self.tiles.iter().rposition(|(other, _)| other.start == tile.start);
        self.recent = known.unwrap_or_else(|| {
            let enters = Some(pane.start);
            let place = Place { pane: pane.start, enters, minute: Some(minute.start) };
            self.tiles.push((tile, OpenPlace { place, cells: OpenCells::default() }));
            self.tiles.len() - 1
        });
        Some(self.recent)
    }
}

/// Where a fact counts when everything that ends at or before `settled` is final.
fn place(metric: &Metric, at: EpochMs, settled: EpochMs, memo: &mut Memo) -> Place {
    let (pane, minute) = (metric.grid.pane(at, memo), grid::minute(at));
    let enters = match pane.end > settled {
        true => Some(pane.start),
        // The first window that is not final ends with the pane that holds `settled`.
        false => {
            let first = metric.grid.pane(settled, memo).start;
            (metric.grid.window_start(settled, memo) <= pane.start).then_some(first)
        }
    };
    let minute = (minute.end > settled).then_some(minute.start);
    Place { pane: pane.start, enters, minute }
}
