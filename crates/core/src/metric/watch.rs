//! Decides whether a metric takes a fact, and notes what was lost of it on the way: a field
//! that is not a number, a label that is not there, a condition that could not be judged.
//!
//! A good fact pays for a few comparisons. Two callers: the shard's fold, which counts, and
//! the web side, which tells the publisher.

use super::compile::Metric;
use super::fact::Fact;
use super::spec::Facts;
use crate::fault::{Fault, Tally, Use, uses};

/// Where faults go.
pub trait Notes {
    /// An event meets the conditions of this metric: it was to carry the field and the labels. Of a
    /// pattern: it was to carry the attribute of this use.
    fn concern(&mut self, which: usize);
    /// The attribute of use `number` was of no use.
    fn note(&mut self, number: usize, fault: Fault);
}

impl Notes for Vec<(usize, Fault)> {
    fn concern(&mut self, _: usize) {}

    fn note(&mut self, number: usize, fault: Fault) {
        self.push((number, fault));
    }
}

impl Notes for Tally {
    fn concern(&mut self, number: usize) {
        Tally::concern(self, number, 1);
    }

    fn note(&mut self, number: usize, fault: Fault) {
        Tally::note(self, number, fault);
    }
}

/// The numbers of the uses of each metric.
#[derive(Clone, Debug)]
pub struct Watch {
    /// By metric: the number of its first use.
    first: Vec<usize>,
    len: usize,
}

impl Watch {
    /// For these metrics; their uses come behind the fixed ones.
    pub fn new(metrics: &[Metric]) -> Self {
        let mut len = uses::FIXED;
        let first = metrics.iter().map(|metric| {
            let first = len;
            len += metric.uses.len();
            first
        });
        let first = first.collect();
        Watch { first, len }
    }

    /// How many uses there are.
    pub fn num_uses(&self) -> usize {
        self.len
    }

    /// Counts the uses that events concerned, from how many met the conditions of each metric.
    pub fn concern(&self, metrics: &[Metric], concerned: &[u64], tally: &mut Tally) {
        for ((metric, first), events) in metrics.iter().zip(&self.first).zip(concerned) {
            if metric.spec.field.is_some() {
                tally.concern(*first, *events);
            }
            metric.label_uses().for_each(|label| tally.concern(first + label, *events));
        }
    }

    /// True when such a fact counts in metric `index`: it meets the
    /// conditions and has the field.
    #[inline]
    pub fn passes(
        &self,
        index: usize,
        metric: &Metric,
        fact: &impl Fact,
        notes: &mut impl Notes,
    ) -> bool {
        if let Some((at, misfit)) = metric.refuses(fact) {
            if metric.spec.of == Facts::Events && misfit {
                self.misjudged(index, metric, at, fact, notes);
            }
            return false;
        }
        let has_field = metric.has_field(fact);
        // Sessions carry everything that they have.
        if metric.spec.of == Facts::Events {
            notes.concern(index);
            self.look_at(index, metric, fact, has_field, notes);
        }
        has_field
    }

    #[inline]
    fn look_at(
        &self,
        index: usize,
        metric: &Metric,
        fact: &impl Fact,
        has_field: bool,
        notes: &mut impl Notes,
    ) {
        let first = self.first[index];
        if metric.spec.field.is_some()
            && let Some(fault) = metric.field_fault(fact, has_field)
        {
            notes.note(first, fault);
        }
        for (at, fault) in metric.label_faults(fact) {
            notes.note(first + at, fault);
        }
        for (at, fault) in metric.numerator_faults(fact) {
            notes.note(first + at, fault);
        }
    }

    #[cold]
    fn misjudged(
        &self,
        index: usize,
        metric: &Metric,
        at: usize,
        fact: &impl Fact,
        notes: &mut impl Notes,
    ) {
        if let Some((at, fault)) = metric.filter_fault(at, fact) {
            notes.note(self.first[index] + at, fault);
        }
    }
}

/// All uses of a configuration, in the order of their numbers. `keys`: the attributes of the
/// session key; `value` and `segment`: those of the session, empty for none.
pub fn all_uses<'a>(
    keys: &[String],
    value: &str,
    segment: &str,
    metrics: &[Metric],
    of_patterns: impl Iterator<Item = &'a Use>,
) -> Vec<Use> {
    let fixed = [
        ("events.time", "ts"),
        ("events.key", &keys.join(", ")),
        ("session.value", value),
        ("session.segment", segment),
    ];
    let fixed = fixed.map(|(key, attribute)| Use { key: key.into(), attribute: attribute.into() });
    let of_metrics = metrics.iter().flat_map(|metric| metric.uses.iter().cloned());
    fixed.into_iter().chain(of_metrics).chain(of_patterns.cloned()).collect()
}
