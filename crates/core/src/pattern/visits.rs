//! Sessions of a kind of their own (`[[sessions]]`): the open one of a key, moved on by its events in
//! the order of their time, and ended by silence.
//!
//! The session of `domain::session` takes its events as they come, is seen at once, and is merged where
//! two turn out to be one. This one need not: whoever declares another kind is told of its sessions by
//! the lateness later, and has what that one has no room for: conditions instead of types, attributes,
//! counts.

use compact_str::CompactString;
use smallvec::SmallVec;

use super::compile::{COUNTED, ENTRY, GOAL, Pattern, REMOVE, STEPPED};
use super::effects::PatternEffects;
use super::found::{Match, More};
use super::held::{self, Held, Values};
use super::listed::{Listed, Listing};
use super::sequence::Moment;
use super::spec::SessionsSpec;
use crate::number::{Amount, Sum};
use crate::session::{Contents, Outcome};
use crate::time::EpochMs;

/// An open session.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Visit {
    pub first: Moment,
    pub last: Moment,
    pub events: u32,
    pub goals: u32,
    pub contents: Contents,
    /// That it is converted was told to nudges.
    pub told: bool,
    /// 0 for none, else the index of the furthest step plus one.
    pub step: u8,
    /// How many events meet what is counted apart.
    pub counts: SmallVec<[u32; 2]>,
    /// The values of each list.
    pub lists: Vec<Listed>,
    /// The first value of each attribute that there is.
    pub of_first: Values,
    /// The last one.
    pub of_last: Values,
}

/// A session that ended, besides when and its attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Visited {
    /// How it ended.
    pub outcome: Outcome,
    /// It reached the longest that one may be.
    pub cut: bool,
    /// Events in it.
    pub events: u32,
    /// What its entries put at stake, less what was taken back.
    pub value: Amount,
    /// Index of the furthest step plus one; 0: none was reached.
    pub step: u8,
    /// How many events met what is counted apart.
    pub counts: SmallVec<[u32; 2]>,
    /// The values of each list, in the order of the spec.
    pub lists: Vec<Listing>,
    /// The first day of the key's cohort, and whether this is its first session; its shard knows.
    pub cohort: Option<(CompactString, bool)>,
}

/// The open session of a key, if there is one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Visits(pub Option<Box<Visit>>);

impl Visits {
    /// Takes the next event, with those ended that [`pass`](Self::pass) has to end.
    pub fn take(
        &mut self,
        (number, pattern, spec): (u16, &Pattern, &SessionsSpec),
        (moment, held): (Moment, &Held),
        fx: &mut PatternEffects,
    ) {
        let before = self.stake(spec);
        if self.0.is_none() {
            fx.tallies[usize::from(number)].sessions.open += 1;
        }
        let visit = self.0.get_or_insert_with(|| Box::new(Visit::empty(moment, pattern, spec)));
        visit.absorb((moment, held), pattern, spec);
        visit.tell_goal((number, spec), fx);
        self.staked(number, before, spec, fx);
    }

    /// Takes over the open session of another key. Both are open at one time, so they are one.
    pub fn unite(
        &mut self,
        (number, pattern, spec): (u16, &Pattern, &SessionsSpec),
        other: Visits,
        fx: &mut PatternEffects,
    ) {
        let Some(mut other) = other.0 else { return };
        let Some(own) = &mut self.0 else {
            other.told = false;
            other.tell_goal((number, spec), fx);
            self.0 = Some(other);
            return;
        };
        let stakes = [own.stake(spec), other.stake(spec)];
        own.unite(*other, pattern, spec);
        own.tell_goal((number, spec), fx);
        fx.tallies[usize::from(number)].sessions.open -= 1;
        let [first, second] = stakes;
        self.staked(number, first, spec, fx);
        staked(number, second, None, fx);
    }

    /// Ends it where its time ended before `until`.
    pub fn pass(
        &mut self,
        (number, spec): (u16, &SessionsSpec),
        until: EpochMs,
        fx: &mut PatternEffects,
    ) {
        if let Some((end, cut)) = self.over(spec).filter(|(end, _)| *end < until) {
            self.close((number, spec), (end, cut), fx);
        }
    }

    /// When it is over if nothing more comes.
    pub fn end(&self, spec: &SessionsSpec) -> Option<EpochMs> {
        self.over(spec).map(|(end, _)| end)
    }

    /// When it is over if nothing more comes, and whether it is cut there: by silence, or where it is as
    /// long as one may be. Both are known from what is there, so it is found before the windows of that
    /// time are final.
    fn over(&self, spec: &SessionsSpec) -> Option<(EpochMs, bool)> {
        let visit = self.0.as_ref()?;
        let silent = visit.last.at + spec.gap;
        let longest = spec.max_length.map(|most| visit.first.at + most);
        Some(longest.filter(|end| *end < silent).map_or((silent, false), |end| (end, true)))
    }

    fn close(
        &mut self,
        (number, spec): (u16, &SessionsSpec),
        (at, cut): (EpochMs, bool),
        fx: &mut PatternEffects,
    ) {
        let before = self.stake(spec);
        let Some(visit) = self.0.take() else { return };
        self.staked(number, before, spec, fx);
        let outcome = visit.outcome(spec);
        let totals = &mut fx.tallies[usize::from(number)].sessions;
        totals.open -= 1;
        totals.cut += u64::from(cut);
        totals.abandoned += u64::from(outcome == Outcome::Abandoned);
        totals.converted += u64::from(outcome == Outcome::Converted);
        let Visit { first, last, events, contents, step, counts, lists, .. } = *visit;
        let Visit { of_first, of_last, .. } = *visit;
        let value = contents.value();
        let lists = lists.iter().map(Listed::listing).collect();
        let visited = Visited { outcome, cut, events, value, step, counts, lists, cohort: None };
        let more = More::Visited(Box::new(visited));
        fx.found(Match::ended(number, at, (first, of_first), (last, of_last), more));
    }

    /// What is at stake, if anything is.
    pub fn stake(&self, spec: &SessionsSpec) -> Option<Amount> {
        self.0.as_deref().and_then(|visit| visit.stake(spec))
    }

    fn staked(
        &self,
        number: u16,
        before: Option<Amount>,
        spec: &SessionsSpec,
        fx: &mut PatternEffects,
    ) {
        staked(number, before, self.stake(spec), fx);
    }

    /// About how many bytes it takes besides itself.
    pub fn heap_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |visit| {
            let spilled = if visit.counts.spilled() { visit.counts.capacity() } else { 0 };
            let values = visit.of_first.len() + visit.of_last.len();
            let lists = visit.lists.iter().map(|one| size_of::<Listed>() + one.heap_bytes());
            size_of::<Visit>() + values + spilled * size_of::<u32>() + lists.sum::<usize>()
        })
    }
}

/// What is at stake in an open session is another amount now.
fn staked(number: u16, before: Option<Amount>, after: Option<Amount>, fx: &mut PatternEffects) {
    let totals = &mut fx.tallies[usize::from(number)].sessions;
    totals.at_risk += i64::from(after.is_some()) - i64::from(before.is_some());
    let (mut more, mut less) = (Sum::default(), Sum::default());
    more.add_i128(after.unwrap_or_default().parts());
    less.add_i128(before.unwrap_or_default().parts());
    totals.value.add(&more);
    totals.value.subtract(&less);
}

impl Visit {
    /// What is at stake in it, if anything is.
    fn stake(&self, spec: &SessionsSpec) -> Option<Amount> {
        (self.outcome(spec) == Outcome::Abandoned).then(|| self.contents.value())
    }

    /// Says that it is converted, once: by the time of its last event, which makes it so.
    fn tell_goal(&mut self, (number, spec): (u16, &SessionsSpec), fx: &mut PatternEffects) {
        if self.goals > 0 && !self.told && spec.nudged && self.outcome(spec) == Outcome::Converted {
            self.told = true;
            fx.goals.push((number, self.last.at));
        }
    }

    /// Takes over another one, which was open at the same time.
    fn unite(&mut self, other: Visit, pattern: &Pattern, spec: &SessionsSpec) {
        let behind = self.first.nth.max(self.last.nth) + 1;
        let [other_first, other_last] = [other.first, other.last].map(|one| one.behind(behind));
        let (mut of_first, mut of_last) = (other.of_first, other.of_last);
        if other_first < self.first {
            std::mem::swap(&mut self.of_first, &mut of_first);
        }
        if other_last > self.last {
            std::mem::swap(&mut self.of_last, &mut of_last);
        }
        held::fill(&mut self.of_first, &of_first, pattern.num_values());
        held::fill(&mut self.of_last, &of_last, pattern.num_values());
        self.first = self.first.min(other_first);
        self.last = self.last.max(other_last);
        self.events = self.events.saturating_add(other.events);
        self.goals = self.goals.saturating_add(other.goals);
        // That the other was told of was of another key.
        self.contents.merge(&other.contents);
        self.step = self.step.max(other.step);
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        for (list, more) in self.lists.iter_mut().zip(other.lists) {
            list.merge(more, spec.list_max);
        }
    }

    fn empty(first: Moment, pattern: &Pattern, spec: &SessionsSpec) -> Visit {
        Visit {
            first,
            last: first,
            events: 0,
            goals: 0,
            contents: Contents::default(),
            told: false,
            step: 0,
            counts: SmallVec::from_elem(0, spec.counts.len()),
            lists: vec![Listed::default(); spec.lists.len()],
            of_first: held::none(pattern.num_values()),
            of_last: held::none(pattern.num_values()),
        }
    }

    fn absorb(&mut self, (moment, held): (Moment, &Held), pattern: &Pattern, spec: &SessionsSpec) {
        let meets = |bit| held.meets & bit != 0;
        self.last = moment;
        self.events = self.events.saturating_add(1);
        if meets(ENTRY) {
            self.contents.add(pattern.value_of(held));
        }
        if meets(REMOVE) {
            self.contents.remove(pattern.value_of(held));
        }
        self.goals = self.goals.saturating_add(u32::from(meets(GOAL)));
        // The furthest: the highest bit of its own.
        let steps = (held.meets & (COUNTED - STEPPED)) / STEPPED;
        self.step = self.step.max((u32::BITS - steps.leading_zeros()) as u8);
        for (number, count) in self.counts.iter_mut().enumerate() {
            *count = count.saturating_add(u32::from(meets(COUNTED << number)));
        }
        if !self.lists.is_empty() {
            let entry = meets(ENTRY) || spec.entry.is_empty();
            self.list(
                (moment.at, held),
                i64::from(entry) - i64::from(meets(REMOVE)),
                pattern,
                spec,
            );
        }
        if pattern.num_values() > 0 {
            held::fill(&mut self.of_first, &held.values, pattern.num_values());
            let mut newest = held.values.clone();
            held::fill(&mut newest, &self.of_last, pattern.num_values());
            self.of_last = newest;
        }
    }

    /// What an event carries is in the lists as often more.
    fn list(
        &mut self,
        (at, held): (EpochMs, &Held),
        by: i64,
        pattern: &Pattern,
        spec: &SessionsSpec,
    ) {
        // They were made here, or looked at when they were read.
        let Ok(values) = held::attrs(&held.values, pattern.num_values()) else { return };
        for (list, place) in self.lists.iter_mut().zip(&pattern.lists).filter(|_| by != 0) {
            list.note(at, values[*place], by, spec.list_max);
        }
    }

    /// How it ended if nothing more came.
    pub fn outcome(&self, spec: &SessionsSpec) -> Outcome {
        let entered = self.contents.had_entry() || spec.entry.is_empty();
        if self.goals > 0 && entered {
            Outcome::Converted
        } else if self.contents.has_entry() {
            Outcome::Abandoned
        } else {
            Outcome::Browsed
        }
    }
}
