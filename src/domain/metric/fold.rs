//! The shard's side of metrics: facts in, what they changed since the last flush out.
//!
//! A shard keeps only what it has not handed over yet; the whole panes live in the
//! engine. So the fold stays small and in cache, and merging shards is adding.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::cell::Cell;
use super::compile::{Attr, Fact, Metric};
use super::grid::{self, Memo, Stretch};
use super::groups::Labels;
use super::late::LateCounts;
use super::spec::FactKind;
use super::watch::Watch;
use crate::domain::fault::Tally;
use crate::domain::number::{Amount, Decimal};
use crate::domain::time::{EpochMs, SpanMs};

/// Label of facts beyond a metric's `group_limit`.
pub const OTHER_GROUP: &str = "other";

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
    /// The group.
    pub labels: Labels,
    /// What to merge there.
    pub cell: Cell,
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
    late: BTreeMap<Place, Vec<Option<Cell>>>,
    groups: Groups,
    memo: Memo,
}

#[derive(Clone, Debug)]
struct OpenPlace {
    place: Place,
    cells: Vec<Option<Cell>>,
}

#[derive(Clone, Debug, Default)]
struct Groups {
    index: HashTable<u32>,
    parts: Vec<Vec<Part>>,
    labels: Vec<Labels>,
}

#[derive(Clone, Debug)]
enum Part {
    Missing,
    Number(Decimal),
    Amount(Amount),
    Text(Vec<u8>),
    Bool(bool),
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
            let group = open.groups.index_of(metric, fact) as usize;
            if cells.len() <= group {
                cells.resize(group + 1, None);
            }
            metric.add(fact, cells[group].get_or_insert_with(|| Cell::zero(metric.spec.aggregate)));
        }
    }

    /// Facts that came after something they belong to was final, by metric, since this was
    /// asked last.
    pub fn take_late(&mut self) -> Vec<LateCounts> {
        let none = vec![LateCounts::default(); self.late.len()];
        std::mem::replace(&mut self.late, none)
    }

    /// Hands over everything since the last flush.
    pub fn flush(&mut self) -> Vec<PaneDelta> {
        let mut deltas = Vec::new();
        for (metric, open) in self.open.iter_mut().enumerate() {
            open.recent = 0;
            let tiles = open.tiles.drain(..).map(|(_, open)| (open.place, open.cells));
            for (place, cells) in tiles.chain(std::mem::take(&mut open.late)) {
                let cells = cells.into_iter().enumerate();
                deltas.extend(cells.filter_map(|(group, cell)| {
                    let labels = Arc::clone(&open.groups.labels[group]);
                    cell.map(|cell| PaneDelta { metric: metric as u16, place, labels, cell })
                }));
            }
        }
        deltas
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
            self.tiles.push((tile, OpenPlace { place, cells: Vec::new() }));
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

impl Groups {
    fn index_of(&mut self, metric: &Metric, fact: &impl Fact) -> u32 {
        let hash = hash_labels(metric.labels(fact));
        let parts = &self.parts;
        let same = |group: &u32| {
            let kept = parts[*group as usize].iter().map(Part::attr);
            metric.labels(fact).eq(kept)
        };
        if let Some(group) = self.index.find(hash, same) {
            return *group;
        }
        if self.parts.len() > metric.spec.group_limit {
            // The last group is `other`: it was added when the limit was reached.
            return self.parts.len() as u32 - 1;
        }
        self.learn(metric, fact, hash)
    }

    fn learn(&mut self, metric: &Metric, fact: &impl Fact, hash: u64) -> u32 {
        let group = self.parts.len() as u32;
        self.parts.push(metric.labels(fact).map(Part::from).collect());
        if group as usize == metric.spec.group_limit {
            let other = metric.spec.group_by.iter().map(|_| OTHER_GROUP.to_owned());
            self.labels.push(Arc::new(other.collect()));
            return group;
        }
        self.labels.push(Arc::new(metric.labels(fact).map(label).collect()));
        let parts = &self.parts;
        let rehash = |group: &u32| hash_labels(parts[*group as usize].iter().map(Part::attr));
        self.index.insert_unique(hash, group, rehash);
        group
    }
}

fn hash_labels<'a>(labels: impl Iterator<Item = Attr<'a>>) -> u64 {
    labels.fold(0u64, |hash, attr| {
        let part = match attr {
            Attr::Missing | Attr::Unusable(_) => 1,
            Attr::Number(value) => FixedState::default().hash_one(value),
            Attr::Amount(value) => FixedState::default().hash_one(value.parts()),
            Attr::Text(text) => FixedState::default().hash_one(text),
            Attr::Bool(value) => 2 + u64::from(value),
        };
        (hash.rotate_left(21) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

impl Part {
    fn attr(&self) -> Attr<'_> {
        match self {
            Part::Missing => Attr::Missing,
            Part::Number(value) => Attr::Number(*value),
            Part::Amount(value) => Attr::Amount(*value),
            Part::Text(text) => Attr::Text(text),
            Part::Bool(value) => Attr::Bool(*value),
        }
    }
}

impl From<Attr<'_>> for Part {
    fn from(attr: Attr<'_>) -> Part {
        match attr {
            Attr::Missing | Attr::Unusable(_) => Part::Missing,
            Attr::Number(value) => Part::Number(value),
            Attr::Amount(value) => Part::Amount(value),
            Attr::Text(text) => Part::Text(text.to_vec()),
            Attr::Bool(value) => Part::Bool(value),
        }
    }
}

/// A label as text: numbers without trailing zeros, nothing for a missing attribute.
fn label(attr: Attr<'_>) -> String {
    match attr {
        Attr::Missing | Attr::Unusable(_) => String::new(),
        Attr::Number(value) => value.to_string(),
        Attr::Amount(value) => value.to_string(),
        Attr::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Attr::Bool(value) => value.to_string(),
    }
}
