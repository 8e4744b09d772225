//! The shard's side of metrics: facts in, what they changed since the last flush out.
//!
//! A shard keeps only what it has not handed over yet; the whole panes live in the
//! engine. So the fold stays small and in cache, and merging shards is adding. An event goes to
//! the metrics that it may concern (`Routes`), and in each of them to the cell of its place
//! (`Tiles`) and group.

use std::sync::Arc;

use super::aggregate::Cell;
use super::compile::Metric;
use super::fact::Fact;
use super::grid::Memo;
use super::groups::{Candidate, Decision, Labels, OVERFLOW, ShardGroups, Spellings};
use super::late::LateCounts;
use super::open::OpenCells;
use super::place::Place;
use super::routes::Routes;
use super::spec::Facts;
use super::tiles::Tiles;
use super::watch::{Notes, Watch};
use crate::fault::{Fault, Tally};
use crate::time::{EpochMs, SpanMs};

/// What one flush changes in one place of one group.
#[derive(Clone, Debug)]
pub struct PaneDelta {
    /// Metric and place, as index in `Flushed::places`.
    pub place: u32,
    /// The group, as index in `Flushed::groups`; `OVERFLOW` for what is known not to be kept.
    pub group: u32,
    /// How many facts are in it.
    pub facts: u64,
    /// What to merge there.
    pub cell: Cell,
}

/// Everything a shard found since its last flush.
#[derive(Clone, Debug, Default)]
pub struct Flushed {
    /// What changed in the panes; each place and group of a metric once.
    pub panes: Vec<PaneDelta>,
    /// The places that `panes` speaks of, each of a metric once: its index, and where.
    pub places: Vec<(u16, Place)>,
    /// The groups that `panes` speaks of: index of the metric, period, and labels.
    pub groups: Vec<(u16, EpochMs, Labels)>,
    /// Groups that the shard had not met before in their period.
    pub candidates: Vec<Candidate>,
}

impl Flushed {
    /// A time that the newest fact of each group in `groups` lies at, or less than a minute before
    /// it.
    pub fn newest_by_group(&self) -> Vec<EpochMs> {
        let mut newest = vec![EpochMs::MIN; self.groups.len()];
        for pane in &self.panes {
            if let Some(newest) = newest.get_mut(pane.group as usize) {
                let Place { pane, minute, .. } = self.places[pane.place as usize].1;
                *newest = (*newest).max(minute.map_or(pane, |minute| minute.max(pane)));
            }
        }
        newest
    }
}

/// Spellings that may be of no group.
const SPELLINGS_SPARE: usize = 1_024;

/// Folds facts into pane deltas.
#[derive(Clone, Debug)]
pub struct Fold {
    metrics: Arc<Vec<Metric>>,
    routes: Routes,
    lateness: SpanMs,
    open: Vec<OpenMetric>,
    /// Of the metrics with the same labels together.
    spellings: Vec<Spellings>,
    /// Facts that were added: their numbers.
    facts: u64,
    late: Vec<LateCounts>,
    watch: Watch,
    /// Events that met the conditions of each metric since the tally was taken.
    concerned: Vec<u64>,
    /// What was of no use, by use; see also [`Fold::take_tally`].
    pub tally: Tally,
}

#[derive(Clone, Debug)]
struct OpenMetric {
    tiles: Tiles,
    groups: ShardGroups,
    /// Which of the fold's spellings are those of its labels.
    labels: usize,
    cells: OpenCells,
}

impl OpenMetric {
    /// A total begins anew with this. When its pane is final, it has begun without it.
    #[cold]
    fn begin(
        &mut self,
        metric: &Metric,
        fact: &impl Fact,
        settled: EpochMs,
        late: &mut LateCounts,
    ) {
        let at = fact.at();
        if metric.grid.pane(at, &mut Memo::default()).end <= settled {
            late.add(&LateCounts { some: 1, all: 1, minute: 0 });
        } else if let Some(place) =
            self.tiles.place(metric, at, settled, &mut LateCounts::default())
        {
            self.cells.begin(place, at);
        }
    }
}

impl Fold {
    /// An empty fold.
    pub fn new(metrics: Arc<Vec<Metric>>, lateness: SpanMs) -> Self {
        // Those of sessions have other attributes in the same slots.
        let labels: Vec<_> =
            metrics.iter().map(|metric| (metric.spec.of, &metric.spec.group_by)).collect();
        let open = metrics.iter().zip(&labels).map(|(metric, own)| OpenMetric {
            tiles: Tiles::default(),
            groups: ShardGroups::new(metric.silence(lateness)),
            labels: labels.iter().position(|labels| labels == own).unwrap_or_default(),
            cells: OpenCells::new(metric),
        });
        let watch = Watch::new(&metrics);
        Fold {
            open: open.collect(),
            spellings: vec![Spellings::default(); metrics.len()],
            facts: 0,
            routes: Routes::new(&metrics),
            late: vec![LateCounts::default(); metrics.len()],
            concerned: vec![0; metrics.len()],
            tally: Tally::new(watch.num_uses()),
            watch,
            metrics,
            lateness,
        }
    }

    /// Feeds a fact to every metric of its kind. `watermark` is the fact's own stamp, at
    /// any distance from the fact: each window decides for itself whether it was final.
    pub fn add(&mut self, of: Facts, fact: &impl Fact, watermark: EpochMs) {
        self.facts += 1;
        let number = self.facts;
        let Fold { metrics, routes, open, spellings, late, watch, concerned, tally, .. } = self;
        let settled = watermark - self.lateness;
        // What ends at its time does so when the watermark has passed that.
        let now =
            if fact.in_order() { watermark } else { watermark.max(fact.at() + self.lateness) };
        routes.each(of, fact, |index| {
            let metric = &metrics[index];
            if metric.begins_with(fact) {
                open[index].begin(metric, fact, settled, &mut late[index]);
            }
            let mut notes = Noted { concerned, tally };
            if !watch.passes(index, metric, fact, &mut notes) {
                return;
            }
            let OpenMetric { tiles, groups, labels, cells } = &mut open[index];
            if let Some(place) = tiles.place(metric, fact.at(), settled, &mut late[index]) {
                let group = groups.of(metric, (fact, number), now, &mut spellings[*labels]);
                cells.add(place, group, metric, fact);
            }
        });
    }

    /// Facts that came after something they belong to was final, by metric, since this was
    /// asked last.
    pub fn take_late(&mut self) -> Vec<LateCounts> {
        let none = vec![LateCounts::default(); self.late.len()];
        std::mem::replace(&mut self.late, none)
    }

    /// What was of no use since this was asked last, and of how many events.
    pub fn take_tally(&mut self) -> Tally {
        self.watch.concern(&self.metrics, &self.concerned, &mut self.tally);
        self.concerned.fill(0);
        self.tally.take()
    }

    /// Hands over everything since the last flush.
    pub fn flush(&mut self) -> Flushed {
        let mut flushed = Flushed::default();
        flushed.panes.reserve(self.open.iter().map(|open| open.cells.len()).sum());
        for (metric, OpenMetric { tiles, groups, cells, .. }) in (0u16..).zip(&mut self.open) {
            let first = flushed.places.len() as u32;
            flushed.places.extend(tiles.places().iter().map(|place| (metric, *place)));
            let mut numbers = vec![None; groups.num_groups()];
            cells.drain(|place, group, facts, cell| {
                let group = match numbers.get_mut(group as usize) {
                    None => OVERFLOW,
                    Some(number) => *number.get_or_insert_with(|| {
                        let (period, labels) = groups.labels(group);
                        flushed.groups.push((metric, *period, Arc::clone(labels)));
                        flushed.groups.len() as u32 - 1
                    }),
                };
                flushed.panes.push(PaneDelta { place: first + place, group, facts, cell });
            });
            tiles.clear();
            flushed.candidates.append(&mut groups.flush(metric));
        }
        self.trim_spellings();
        flushed
    }

    /// Spellings of groups that are no more are forgotten with all others, once they are most.
    fn trim_spellings(&mut self) {
        for (labels, spellings) in self.spellings.iter_mut().enumerate() {
            if spellings.num_spellings() <= SPELLINGS_SPARE {
                continue;
            }
            let of_labels = self.open.iter().filter(|open| open.labels == labels);
            let spelt: usize = of_labels.map(|open| open.groups.num_spelt()).sum();
            if spellings.num_spellings() > SPELLINGS_SPARE + 2 * spelt {
                spellings.clear();
                let open = self.open.iter_mut().filter(|open| open.labels == labels);
                open.for_each(|open| open.groups.forget_spellings());
            }
        }
    }

    /// Takes up which groups a metric keeps in a period. Nothing may be open: call it after a
    /// flush.
    pub fn learn(&mut self, metric: usize, decision: &Decision) {
        let open = &mut self.open[metric];
        debug_assert!(open.tiles.places().is_empty(), "cells use former numbers");
        open.groups.learn(decision);
    }
}

/// Faults go to the tally at once; how many events they are of is added up by metric.
struct Noted<'a> {
    concerned: &'a mut [u64],
    tally: &'a mut Tally,
}

impl Notes for Noted<'_> {
    #[inline]
    fn concern(&mut self, metric: usize) {
        self.concerned[metric] += 1;
    }

    fn note(&mut self, number: usize, fault: Fault) {
        self.tally.note(number, fault);
    }
}

#[cfg(test)]
mod tests;
