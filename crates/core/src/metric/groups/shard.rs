//! A shard's side of groups: it tells apart what is not decided yet.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::FixedState;

use super::spellings::Spellings;
use super::{
    Candidate, Decision, Labels, OVERFLOW, Order, Silence, group_text, mark_lone, push_escaped,
};
use crate::metric::compile::Metric;
use crate::metric::fact::{Attr, Fact};
use crate::time::EpochMs;

/// In the place of a group, of a spelling that none was found for.
const UNMET: u32 = OVERFLOW - 1;

/// Most spellings of one combination that are remembered (a status as number and as text).
const SPELLINGS_MAX: usize = 4;

/// The combinations of one metric that one shard tells apart.
///
/// Until the decision is complete these are all it has met in the period: at most `group_limit`
/// and those that came while the last barriers were under way, so no more than there are facts
/// in flight.
#[derive(Clone, Debug)]
pub struct ShardGroups {
    silence: Silence,
    /// The period that is told apart, and how long it is; 0 before the first.
    period: EpochMs,
    length: u64,
    /// The group of each spelling that one was found for in the period, by its number.
    by_spelling: Vec<u32>,
    /// How many of those are not in the overflow.
    num_spelt: usize,
    /// By text: two spellings that read the same are one group.
    by_text: HashMap<CompactString, u32, FixedState>,
    /// Labels and period, by the shard's own number.
    labels: Vec<(EpochMs, Labels)>,
    /// Those from here on are of the period.
    first_of_period: u32,
    /// Groups met since the last barrier.
    fresh: Vec<u32>,
    /// Where they were met, by group; `None` for those handed over.
    first: Vec<Option<Order>>,
    complete: bool,
    text: String,
}

impl ShardGroups {
    /// Nothing was met.
    pub fn new(silence: Silence) -> Self {
        ShardGroups {
            silence,
            period: EpochMs::MIN,
            length: 0,
            by_spelling: Vec::new(),
            num_spelt: 0,
            by_text: HashMap::default(),
            labels: Vec::new(),
            first_of_period: 0,
            fresh: Vec::new(),
            first: Vec::new(),
            complete: false,
            text: String::new(),
        }
    }

    /// The shard's own number of a fact's group; `OVERFLOW` for what is known not to be kept.
    /// `spellings` are those of all metrics with these labels, and `number` that of the fact. `now` is the watermark that brought the fact; that of an ending may lie before that of the
    /// one before it.
    #[inline]
    pub fn of(
        &mut self,
        metric: &Metric,
        (fact, number): (&impl Fact, u64),
        now: EpochMs,
        spellings: &mut Spellings,
    ) -> u32 {
        let group = if metric.is_grouped() {
            if now.wrapping_sub(self.period) as u64 >= self.length {
                self.turn(now);
            }
            let spelling = spellings.find(metric, fact, number);
            match spelling.and_then(|spelling| self.by_spelling.get(spelling as usize)) {
                Some(group) if *group != UNMET => *group,
                _ => self.meet(metric, fact, spelling, spellings),
            }
        } else if self.labels.is_empty() {
            self.name(metric, fact)
        } else {
            // There is one, and no label to look at.
            0
        };
        if !self.fresh.is_empty() {
            self.came_earlier(group, fact);
        }
        group
    }

    /// How many groups it has told apart since the last flush.
    pub fn num_groups(&self) -> usize {
        self.labels.len()
    }

    /// Period and labels of a group by the shard's own number.
    pub fn labels(&self, group: u32) -> &(EpochMs, Labels) {
        &self.labels[group as usize]
    }

    /// What was met for the first time since the last flush. Numbers of former periods mean
    /// nothing any more.
    pub fn flush(&mut self, metric: u16) -> Vec<Candidate> {
        let candidate = |group: u32| {
            let first = self.first[group as usize].take()?;
            let (period, labels) = &self.labels[group as usize];
            Some(Candidate { metric, labels: Arc::clone(labels), period: *period, first })
        };
        let candidates = std::mem::take(&mut self.fresh).into_iter().filter_map(candidate);
        let candidates = candidates.collect();
        if self.first_of_period > 0 {
            let ShardGroups { silence, period, length, .. } = *self;
            *self = ShardGroups { period, length, ..ShardGroups::new(silence) };
        }
        candidates
    }

    /// Goes on to the period of a fact, in which nothing is decided.
    #[cold]
    fn turn(&mut self, now: EpochMs) {
        self.period = self.silence.period(now);
        self.length = self.silence.next(self.period).abs_diff(self.period);
        self.forget_spellings();
        self.by_text.clear();
        self.first_of_period = self.labels.len() as u32;
        self.complete = false;
    }

    /// Takes up a complete decision, unless it is of a period that is over, or known. The numbers
    /// change: nothing of the shard may still refer to the former ones.
    pub fn learn(&mut self, decision: &Decision) {
        if decision.period < self.period || self.knows(decision.period) {
            return;
        }
        let period = decision.period;
        let length = self.silence.next(period).abs_diff(period);
        *self = ShardGroups { period, length, complete: true, ..ShardGroups::new(self.silence) };
        for labels in &decision.kept {
            self.by_text.insert(group_text(labels).into(), self.labels.len() as u32);
            self.labels.push((period, Arc::clone(labels)));
        }
        self.first.resize(self.labels.len(), None);
    }

    /// True when the groups of a period are known.
    pub fn knows(&self, period: EpochMs) -> bool {
        self.complete && self.period == period
    }

    /// A spelling that no group was found for: of a known one, of a new one, or of none.
    fn meet(
        &mut self,
        metric: &Metric,
        fact: &impl Fact,
        spelling: Option<u32>,
        spellings: &mut Spellings,
    ) -> u32 {
        let group = self.name(metric, fact);
        let told_apart = self.labels.len() - self.first_of_period as usize;
        let kept = group != OVERFLOW && self.num_spelt < SPELLINGS_MAX * told_apart;
        let known = spelling.or_else(|| kept.then(|| spellings.put(metric, fact)));
        if let Some(spelling) = known.map(|spelling| spelling as usize) {
            self.by_spelling.resize(self.by_spelling.len().max(spelling + 1), UNMET);
            self.by_spelling[spelling] = group;
            self.num_spelt += usize::from(group != OVERFLOW);
        }
        group
    }

    /// The group of a fact by the text of its labels.
    fn name(&mut self, metric: &Metric, fact: &impl Fact) -> u32 {
        let mut labels = 0;
        self.text.clear();
        for label in metric.labels(fact) {
            if labels > 0 {
                self.text.push('|');
            }
            push_label(&mut self.text, label);
            labels += 1;
        }
        mark_lone(&mut self.text, labels);
        match self.by_text.get(self.text.as_str()) {
            Some(group) => *group,
            None if self.complete => OVERFLOW,
            None => {
                let group = self.labels.len() as u32;
                let labels = metric.labels(fact).map(|label| label.to_string()).collect();
                self.labels.push((self.period, Arc::new(labels)));
                self.by_text.insert(self.text.as_str().into(), group);
                self.fresh.push(group);
                self.first.push(Some(fact.order()));
                group
            }
        }
    }

    /// How many spellings have a group of their own in the period.
    pub fn num_spelt(&self) -> usize {
        self.num_spelt
    }

    /// Finds groups anew for all spellings: they have other numbers, or are of another period.
    pub fn forget_spellings(&mut self) {
        self.by_spelling.clear();
        self.num_spelt = 0;
    }

    /// Endings are found key by key: a later one may be the first in order.
    fn came_earlier(&mut self, group: u32, fact: &impl Fact) {
        if !fact.in_order()
            && let Some(Some(first)) = self.first.get_mut(group as usize)
        {
            let order = fact.order();
            if order < *first {
                *first = order;
            }
        }
    }
}

fn push_label(out: &mut String, attr: Attr<'_>) {
    match attr {
        Attr::Text(text) => push_escaped(out, &String::from_utf8_lossy(text)),
        attr => write!(out, "{attr}").expect("writing to a text cannot fail"),
    }
}
