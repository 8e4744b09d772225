//! The shard's side of metrics: facts in, what they changed since the last flush out.
//!
//! A shard keeps only what it has not handed over yet; the whole panes live in the
//! engine. So the fold stays small and in cache, and merging shards is adding.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::cell::Cell;
use super::compile::{Attr, Fact, Metric};
use super::groups::Labels;
use super::spec::FactKind;
use super::watch::Watch;
use crate::domain::fault::Tally;
use crate::domain::number::{Amount, Decimal};
use crate::domain::time::{EpochMs, SpanMs};

/// Label of facts beyond a metric's `group_limit`.
pub const OTHER_GROUP: &str = "other";

/// What one flush changes in one pane of one group.
#[derive(Clone, Debug)]
pub struct PaneDelta {
    /// Index of the metric.
    pub metric: u16,
    /// Index of the pane.
    pub pane: i64,
    /// The group.
    pub labels: Labels,
    /// What to merge into the pane's cell.
    pub cell: Cell,
}

/// Folds facts into pane deltas.
#[derive(Debug)]
pub struct Fold {
    metrics: Arc<Vec<Metric>>,
    lateness: SpanMs,
    open: Vec<OpenMetric>,
    /// Facts that came too late for a metric's pane, by metric.
    pub window_late: Vec<u64>,
    watch: Watch,
    /// What was of no use, by use.
    pub tally: Tally,
}

#[derive(Debug, Default)]
struct OpenMetric {
    panes: Vec<OpenPane>,
    recent: usize,
    groups: Groups,
}

#[derive(Debug)]
struct OpenPane {
    pane: i64,
    cells: Vec<Option<Cell>>,
}

#[derive(Debug, Default)]
struct Groups {
    index: HashTable<u32>,
    parts: Vec<Vec<Part>>,
    labels: Vec<Labels>,
}

#[derive(Debug)]
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
        let window_late = vec![0; metrics.len()];
        let watch = Watch::new(&metrics);
        let tally = Tally::new(watch.num_uses());
        Fold { metrics, lateness, open, window_late, watch, tally }
    }

    /// Feeds a fact to every metric of its kind. `watermark` is the fact's own stamp.
    pub fn add(&mut self, of: FactKind, fact: &impl Fact, watermark: EpochMs) {
        let metrics = Arc::clone(&self.metrics);
        for (index, metric) in metrics.iter().enumerate() {
            if metric.spec.of != of || !self.watch.passes(index, metric, fact, &mut self.tally) {
                continue;
            }
            let pane = metric.pane_of(fact.at());
            if metric.pane_end(pane) + self.lateness <= watermark {
                self.window_late[index] += 1;
                continue;
            }
            let open = &mut self.open[index];
            let group = open.groups.index_of(metric, fact);
            let cell = open.cell(pane, group as usize);
            metric.add(fact, cell.get_or_insert_with(|| Cell::zero(metric.spec.aggregate)));
        }
    }

    /// Hands over everything since the last flush.
    pub fn flush(&mut self) -> Vec<PaneDelta> {
        let mut deltas = Vec::new();
        for (metric, open) in self.open.iter_mut().enumerate() {
            open.recent = 0;
            for OpenPane { pane, cells } in open.panes.drain(..) {
                let cells = cells.into_iter().enumerate();
                deltas.extend(cells.filter_map(|(group, cell)| {
                    let labels = Arc::clone(&open.groups.labels[group]);
                    cell.map(|cell| PaneDelta { metric: metric as u16, pane, labels, cell })
                }));
            }
        }
        deltas
    }
}

impl OpenMetric {
    fn cell(&mut self, pane: i64, group: usize) -> &mut Option<Cell> {
        let hit = self.panes.get(self.recent).is_some_and(|open| open.pane == pane);
        if !hit {
            // Newest last: disorder is small, so the search is short.
            self.recent = match self.panes.iter().rposition(|open| open.pane == pane) {
                Some(index) => index,
                None => {
                    self.panes.push(OpenPane { pane, cells: Vec::new() });
                    self.panes.len() - 1
                }
            };
        }
        let cells = &mut self.panes[self.recent].cells;
        if cells.len() <= group {
            cells.resize(group + 1, None);
        }
        &mut cells[group]
    }
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
