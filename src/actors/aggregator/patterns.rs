//! The patterns of a shard: which events they are told, what their machines find, and what a
//! commit must hold of it. What is found becomes a fact of the metrics at once, and an alert at the
//! next barrier.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use smol_str::SmolStr;

use super::close_full;
use crate::actors::children::{AHEAD, Bounds, Children};
use crate::actors::messages::ShardHolds;
use crate::domain::at_risk::AtRisk;
use crate::domain::commit::{SectionWriter, Snapshot};
use crate::domain::facts::EventFact;
use crate::domain::hash::{key_hash, shard_of};
use crate::domain::keeper::ShardDelta;
use crate::domain::keyed::KeyedMachine as _;
use crate::domain::metric::{Fact as _, Facts, Fold};
use crate::domain::nudge::Goal;
use crate::domain::pattern::{
    Cohorts, Concern, Concerns, FoundMatch, Machine, MatchFact, Pattern, PatternEffects,
    PatternEvent, Patterns, Sent,
};
use crate::domain::session::{AliasBounds, Aliases, OpenOfKind};
use crate::domain::time::{BEGINNING, EpochMs};

/// The cohort of a key where it is written, at most.
const COHORT_BYTES: usize = 26;

/// Machines by key, and what they found since the last barrier.
///
/// Each shard has one for the patterns that go by the session key. Those with a key of their own
/// have one for all of them (`committer/own_keys.rs`), which shards send to.
pub struct PatternShard {
    patterns: Arc<Patterns>,
    /// Its machines go by keys of patterns.
    own: bool,
    children: Children<Machine>,
    meanings: Box<[u64]>,
    seed: u64,
    fx: PatternEffects,
    /// The watermark up to which everything is decided.
    passed: EpochMs,
    cohorts: Cohorts,
    /// Of kinds that tell anonymous keys from known ones: who is who, by the number of the kind.
    aliases: BTreeMap<u16, Aliases>,
    /// Matches that raise alerts, or that nudges are to know of.
    alarming: Vec<FoundMatch>,
    /// Goals that nudges are to know of.
    goals: Vec<Goal>,
    /// What goes to the patterns with a key of their own, and what it takes.
    sent: Vec<Sent>,
    sent_bytes: usize,
    /// What was handed over of it and not taken yet, and what all of it may take.
    on_the_way: Arc<AtomicUsize>,
    sent_bytes_max: usize,
    alias_bounds: AliasBounds,
    records: SectionWriter,
    full: Vec<Vec<u8>>,
}

/// What the machines of a shard may take.
#[derive(Clone, Debug)]
pub struct PatternRoom {
    /// Their keys.
    pub keys: Bounds,
    /// Keys it remembers the cohort of.
    pub cohort_keys_max: usize,
    /// Anonymous keys of each kind that tells them from known ones, if any does.
    pub aliases: AliasBounds,
    /// Bytes of what it sends to other keys, until that is taken.
    pub sent_bytes_max: usize,
    /// How many of them barriers hold that nobody took yet.
    pub on_the_way: Arc<AtomicUsize>,
}

impl PatternShard {
    /// Without machines; `own`: for the patterns with a key of their own. `None` when there is nothing
    /// for it to do.
    pub fn new(patterns: &Arc<Patterns>, own: bool, seed: u64, room: PatternRoom) -> Option<Self> {
        let any = if own { patterns.any_own() } else { !patterns.is_empty() };
        let table = |(number, pattern): (u16, &Pattern)| {
            pattern.identify_id.filter(|_| own)?;
            let keep = room.aliases.keep.max(pattern.spec.seeks.reach() + patterns.lateness);
            Some((number, Aliases::new(AliasBounds { keep, ..room.aliases })))
        };
        any.then(|| PatternShard {
            own,
            children: Children::new(Arc::clone(patterns), seed, room.keys),
            meanings: patterns.meanings(),
            fx: PatternEffects::new(patterns),
            passed: BEGINNING,
            patterns: Arc::clone(patterns),
            seed,
            cohorts: Cohorts::new(room.cohort_keys_max),
            aliases: (0u16..).zip(&patterns.list).filter_map(table).collect(),
            alarming: Vec::new(),
            goals: Vec::new(),
            sent: Vec::new(),
            sent_bytes: 0,
            on_the_way: room.on_the_way,
            sent_bytes_max: room.sent_bytes_max,
            alias_bounds: room.aliases,
            records: sections(own)(),
            full: Vec::new(),
        })
    }

    /// Tells the patterns of an event. One without a session key is of none that go by it.
    #[inline]
    pub(super) fn take(&mut self, fact: &EventFact<'_>, fold: &mut Fold) {
        let Concerns { hits, own } = self.patterns.concerns(fact, &mut self.fx.faults);
        for Concern { pattern, key, anonymous, held } in own {
            let text = |key: Cow<'_, [u8]>| SmolStr::from(String::from_utf8_lossy(&key));
            let (order, at, watermark) = (fact.order(), fact.at(), fact.event.watermark);
            let (key, anonymous) = (text(key), anonymous.map(text));
            let sent = Sent { order, at, watermark, pattern, key, anonymous, held };
            let bytes = sent.bytes();
            let held = self.sent_bytes + self.on_the_way.load(Ordering::Relaxed);
            if held + bytes > self.sent_bytes_max {
                self.fx.tallies[usize::from(pattern)].left_out += 1;
            } else {
                self.sent_bytes += bytes;
                self.sent.push(sent);
            }
        }
        if !hits.is_empty() {
            let event = PatternEvent { watermark: fact.event.watermark, hits };
            self.apply((fact.batch.text(fact.event.key), fact.event.key_hash), event, fold);
        }
    }

    /// Tells the pattern of an event of its key; in the order of the log.
    pub fn take_sent(&mut self, sent: Sent, fold: &mut Fold) {
        let Sent { at, watermark, pattern, mut key, anonymous, held, .. } = sent;
        if let Some(table) = self.aliases.get_mut(&pattern) {
            let mut moves = None;
            if let Some(anonymous) = anonymous {
                // What stood for another before has nothing of its own.
                let own = table.resolve(&anonymous, at, watermark).is_none();
                let known = table.make(&anonymous, &key, at, watermark);
                moves = known.filter(|_| own).map(|known| (anonymous, known));
            }
            key = table.resolve(&key, at, watermark).unwrap_or(key);
            if let Some((from, to)) = moves {
                self.go_on_as((&from, &to), Some(pattern), watermark, fold);
            }
        }
        let Some(held) = held else { return };
        let hash = key_hash(self.seed, key.as_bytes());
        let hits = std::iter::once((pattern, held)).collect();
        self.apply((key.as_bytes(), hash), PatternEvent { watermark, hits }, fold);
    }

    fn apply(&mut self, (key, key_hash): (&[u8], u64), event: PatternEvent, fold: &mut Fold) {
        let slot = self.place(key, key_hash).or_else(|| {
            self.make_room(event.watermark, fold);
            self.place(key, key_hash)
        });
        let Some(slot) = slot else {
            let left_out = |(pattern, _)| self.fx.tallies[usize::from(pattern)].left_out += 1;
            return event.hits.into_iter().for_each(left_out);
        };
        let machine = self.children.get(slot).session.machine_mut();
        let Ok(()) = machine.apply(&self.patterns, &event, &mut self.fx);
        self.after_turn(slot, fold);
    }

    /// The slot of a key, opened if nothing of it is open; `None` when there is no room.
    #[inline]
    fn place(&mut self, key: &[u8], key_hash: u64) -> Option<u32> {
        match self.children.find(key, key_hash, None) {
            Some(slot) => (!self.children.is_full()).then_some(slot),
            None => {
                self.children.has_room(key).then(|| self.children.open(key, key_hash, BEGINNING))
            }
        }
    }

    /// Decides what is over by the stamp of an event that finds no room: how many keys there are then
    /// is a matter of the log, wherever the barriers lie. Events of one stamp do it once; each time it
    /// costs a look at those whose time ends in that second.
    #[cold]
    fn make_room(&mut self, watermark: EpochMs, fold: &mut Fold) {
        if watermark > self.passed {
            self.expire(watermark, fold);
        }
    }

    /// What one key has begun goes on under another, of one pattern or of all: from an event with this
    /// stamp on. Where that would be one key more than there is room for, it stays where it is.
    pub fn go_on_as(
        &mut self,
        (from, to): (&str, &str),
        only: Option<u16>,
        watermark: EpochMs,
        fold: &mut Fold,
    ) {
        let hash = |key: &str| key_hash(self.seed, key.as_bytes());
        let (from, to) = ((from.as_bytes(), hash(from)), (to.as_bytes(), hash(to)));
        let lacks_room = |children: &Children<Machine>| {
            children.find(to.0, to.1, None).is_none() && !children.has_room(to.0)
        };
        if lacks_room(&self.children) {
            self.make_room(watermark, fold);
        }
        let Some(slot) = self.children.find(from.0, from.1, None) else { return };
        let machine = self.children.get(slot).session.machine_mut();
        let given = machine.give_up(&self.patterns, only, watermark, &mut self.fx);
        // What it took is free again, unless other patterns have something of it too.
        let is_free = self.after_turn(slot, fold);
        if given.is_empty() {
            return;
        }
        let stays = !is_free && lacks_room(&self.children);
        if stays && let Some(pattern) = only {
            self.fx.tallies[usize::from(pattern)].left_out += 1;
        }
        let (key, hash) = if stays { from } else { to };
        let slot = self.children.find(key, hash, None);
        let slot = slot.unwrap_or_else(|| self.children.open(key, hash, BEGINNING));
        let machine = self.children.get(slot).session.machine_mut();
        machine.take_over(&self.patterns, given, watermark, &mut self.fx);
        self.after_turn(slot, fold);
    }

    /// Decides what the watermark has passed.
    pub fn expire(&mut self, watermark: EpochMs, fold: &mut Fold) {
        self.passed = watermark;
        for fired in self.children.fire(watermark).chunks(AHEAD) {
            for (slot, _) in self.children.due(fired, watermark) {
                let machine = self.children.get(slot).session.machine_mut();
                machine.expire(&self.patterns, watermark, &mut self.fx);
                self.after_turn(slot, fold);
            }
        }
    }

    /// True when nothing of the key is open any more, and it has gone.
    fn after_turn(&mut self, slot: u32, fold: &mut Fold) -> bool {
        if !self.fx.matches.is_empty() {
            let key = &self.children.get(slot).key;
            for mut found in self.fx.matches.drain(..) {
                let number = usize::from(found.pattern);
                let pattern = &self.patterns.list[number];
                if let Some(id) = pattern.cohort_id() {
                    let of = (id, key_hash(self.seed, key.as_bytes()));
                    let known = pattern.tell_cohort(&mut found, of, &mut self.cohorts);
                    self.fx.tallies[number].sessions.without_cohort += u64::from(!known);
                }
                fold.add(Facts::Events, &MatchFact::new(&found, key, pattern), found.at);
                if pattern.alarms(&found) || pattern.nudges(&found) {
                    self.alarming.push(FoundMatch { key: key.clone(), found });
                }
            }
        }
        if !self.fx.goals.is_empty() {
            let key = &self.children.get(slot).key;
            let kind = |pattern: u16| &self.patterns.list[usize::from(pattern)].spec.name;
            let goals = self.fx.goals.drain(..);
            self.goals.extend(goals.map(|(of, at)| Goal::new(kind(of), key.clone(), at)));
        }
        if self.children.after_turn(slot) {
            return false;
        }
        let child = self.children.get(slot);
        if child.kept {
            self.records.record(child.key.as_bytes(), &[]);
        }
        self.children.remove(slot);
        close_full(&mut self.records, sections(self.own), &mut self.full);
        true
    }

    /// Hands over everything since the last barrier.
    pub fn hand_over(&mut self, watermark: EpochMs, delta: &mut ShardDelta) {
        let PatternShard { children, meanings, records, full, own, .. } = self;
        let empty = sections(*own);
        let mut record = Vec::new();
        children.take_changed(|child| {
            record.clear();
            child.session.machine().encode(meanings, &mut record);
            records.record(child.key.as_bytes(), &record);
            close_full(records, empty, full);
        });
        let rest = std::mem::replace(records, empty());
        delta.sections.append(full);
        delta.sections.extend((!rest.is_empty()).then(|| rest.finish()));
        let cohorts = self.cohorts.take_changes();
        let mut writer = SectionWriter::cohorts().with_room(cohorts.len() * COHORT_BYTES);
        cohorts.into_iter().for_each(|(key, start)| writer.cohort(key, start));
        delta.sections.extend((!writer.is_empty()).then(|| writer.finish()));
        self.write_aliases(watermark, delta);
        delta.matches = std::mem::take(&mut self.alarming);
        delta.goals = std::mem::take(&mut self.goals);
        delta.sent = std::mem::take(&mut self.sent);
        self.on_the_way.fetch_add(std::mem::take(&mut self.sent_bytes), Ordering::Relaxed);
        delta.patterns = self.fx.take_tallies();
        // Their uses come behind those of the metrics.
        delta.faults.0.append(&mut self.fx.faults.take().0);
        self.children.may_walk();
    }

    fn write_aliases(&mut self, watermark: EpochMs, delta: &mut ShardDelta) {
        for (number, table) in &mut self.aliases {
            table.sweep(watermark);
            delta.aliases_forgotten_early += std::mem::take(&mut table.forgotten_early);
            let changes = table.take_changes();
            let kind = self.patterns.list[usize::from(*number)].identify_id;
            if let Some(kind) = kind.filter(|_| !changes.is_empty()) {
                let mut writer = SectionWriter::kind_aliases(kind);
                for (anonymous, entry) in changes {
                    let (known, used) = entry.unwrap_or((SmolStr::default(), BEGINNING));
                    writer.alias(anonymous.as_bytes(), known.as_bytes(), used);
                }
                delta.sections.push(writer.finish());
            }
        }
    }

    /// Takes up this shard's part of a snapshot, all of it where it is of keys of patterns. What is
    /// kept of patterns that there are no more is forgotten.
    ///
    /// # Errors
    /// When a record is malformed: names the key.
    pub fn restore(
        &mut self,
        snapshot: &Snapshot,
        (shard, shards): (u16, u16),
    ) -> Result<(), String> {
        let own = self.own;
        let is_mine = |hash| own || shard_of(hash, shards) == shard;
        let records = if own { &snapshot.own_keys } else { &snapshot.patterns };
        for (key, record) in records.iter() {
            let hash = key_hash(self.seed, key);
            if !is_mine(hash) {
                continue;
            }
            let text = String::from_utf8_lossy(key);
            let machine = Machine::decode(record, &mut self.meanings, &self.patterns)
                .map_err(|malformed| format!("patterns of {text:?}: {malformed}"))?;
            match machine.next_deadline(&self.patterns) {
                Some(_) => self.children.restore(&text, hash, machine),
                None => self.records.record(key, &[]),
            }
        }
        let kinds = self.patterns.list.iter().filter(|pattern| pattern.has_own_key() == own);
        let kinds: Vec<u64> = kinds.filter_map(Pattern::cohort_id).collect();
        for (key, start) in &snapshot.cohorts {
            if is_mine(key.1) && kinds.contains(&key.0) {
                self.cohorts.restore(*key, *start);
            }
        }
        for (number, table) in &mut self.aliases {
            let kind = self.patterns.list[usize::from(*number)].identify_id;
            let kept = kind.and_then(|kind| snapshot.kind_aliases.get(&kind)).into_iter().flatten();
            for (anonymous, (known, used)) in kept {
                let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
                table.restore(&text(anonymous), &text(known), *used);
            }
        }
        Ok(())
    }

    /// What is at risk in its kinds of sessions, by number: a walk over its machines.
    pub fn at_risk(&self, watermark: EpochMs, most: usize) -> Vec<(u16, AtRisk)> {
        let open = self.children.iter();
        let open = open.map(|child| (child.key.as_str(), child.session.machine()));
        self.patterns.at_risk(self.own, open, watermark, most)
    }

    /// The open sessions of a key.
    pub fn describe(&mut self, key: &str, watermark: EpochMs) -> Vec<OpenOfKind> {
        let hash = key_hash(self.seed, key.as_bytes());
        let Some(slot) = self.children.find(key.as_bytes(), hash, None) else { return Vec::new() };
        self.patterns.describe(self.children.get(slot).session.machine(), watermark)
    }

    /// How much it holds.
    pub fn holds(&self) -> ShardHolds {
        ShardHolds {
            pattern_keys: self.children.open_keys() as u64,
            pattern_bytes: self.children.bytes() as u64,
            pattern_sent_bytes: self.on_the_way.load(Ordering::Relaxed) as u64,
            cohort_keys: self.cohorts.len() as u64,
            aliases: self.aliases.values().map(|table| table.len() as u64).sum(),
            alias_bytes: self.aliases.values().map(|table| table.bytes() as u64).sum(),
            aliases_max: (self.aliases.len() * self.alias_bounds.max) as u64,
            alias_bytes_max: (self.aliases.len() * self.alias_bounds.bytes_max) as u64,
            ..ShardHolds::default()
        }
    }
}

/// Of machines by the session key, or by keys of patterns.
fn sections(own: bool) -> fn() -> SectionWriter {
    if own { SectionWriter::own_keys } else { SectionWriter::patterns }
}

/// Sections that forget what nobody takes up: machines where there are no patterns of their sort any
/// more, and cohorts of kinds that are no more.
pub(super) fn forget(snapshot: &Snapshot, patterns: &Patterns) -> Vec<Vec<u8>> {
    let mut forgotten = Vec::new();
    let none = [(patterns.is_empty(), false), (!patterns.any_own(), true)];
    for (_, own) in none.into_iter().filter(|(none, _)| *none) {
        let (mut writer, empty) = (sections(own)(), sections(own));
        let records = if own { &snapshot.own_keys } else { &snapshot.patterns };
        for (key, _) in records.iter() {
            writer.record(key, &[]);
            close_full(&mut writer, empty, &mut forgotten);
        }
        forgotten.extend((!writer.is_empty()).then(|| writer.finish()));
    }
    let kinds: Vec<u64> = patterns.list.iter().filter_map(Pattern::cohort_id).collect();
    let mut cohorts = SectionWriter::cohorts();
    let gone = snapshot.cohorts.keys().filter(|(kind, _)| !kinds.contains(kind));
    gone.for_each(|key| cohorts.cohort(*key, BEGINNING));
    forgotten.extend((!cohorts.is_empty()).then(|| cohorts.finish()));
    let kinds: Vec<u64> = patterns.list.iter().filter_map(|one| one.identify_id).collect();
    for (kind, kept) in snapshot.kind_aliases.iter().filter(|(kind, _)| !kinds.contains(kind)) {
        let mut writer = SectionWriter::kind_aliases(*kind);
        kept.keys().for_each(|anonymous| writer.alias(anonymous, &[], BEGINNING));
        forgotten.push(writer.finish());
    }
    forgotten
}

#[cfg(test)]
mod tests;
