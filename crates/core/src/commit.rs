//! What one commit holds: the atomic unit of state, outputs and position (I1).

mod metrics;
mod records;
mod rules;
mod unwritten;

pub use self::metrics::MetricSnapshot;
pub use self::records::Records;
pub use self::rules::{RulePoint, RuleSample, RuleSnapshot};
pub use self::unwritten::{SECTION_BYTES, Unwritten};

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::alert::Alert;
use super::event::DeadLetter;
use super::fault::Counts;
use super::hash::{EventIdentity, shard_of};
use super::incident::Outcome;
use super::metric::groups::{GroupChange, Kept, KeptMap};
use super::metric::number::{NO_VALUES, Values};
use super::metric::{Cell, Floor, Number, OVERFLOW, Place, RollupRow, Window};
use super::number::FarSum;
use super::pattern::CohortKey;
use super::time::{BEGINNING, EpochMs};
use super::wire::{Malformed, Reader, put_bytes, put_i64, put_u64};

/// Which log a position belongs to (I7). Two sources are the same only if all of it is equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceIdentity {
    /// `log`, or the files of a replay, or a stream's name.
    pub name: String,
    /// When and as what it was created: differs when the log was re-created under the same name.
    pub incarnation: String,
}

/// How far a source was read, and what lies there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// The source.
    pub source: SourceIdentity,
    /// Position of the last item that is part of the commit; 0 before the first.
    pub position: u64,
    /// `hash::fingerprint` of that item's bytes; 0 before the first, and where the
    /// source no longer had the item (after a gap).
    pub fingerprint: u64,
    /// What the source itself needs to go on there besides the position; mostly empty.
    pub cursor: Bytes,
    /// Its own watermark there, which may be ahead of that of all sources: one that was read to
    /// its end keeps its time over a restart.
    pub watermark: EpochMs,
}

/// One atomic commit. Everything is written, or nothing.
#[derive(Clone, Debug, Default)]
pub struct CommitUnit {
    /// Number of this commit: the parent's plus one (I6).
    pub epoch: u64,
    /// Where each source stands.
    pub positions: Vec<SourcePosition>,
    /// Watermark at the commit.
    pub watermark: EpochMs,
    /// Wall clock at the commit, so that a restart knows how long it was away.
    pub wall: EpochMs,
    /// Changed state: a sequence of sections for `commit::Snapshot::absorb`.
    pub delta: Vec<Vec<u8>>,
    /// Changed state that is not in sections yet.
    pub unwritten: Unwritten,
    /// New alerts with their feed positions, in order: the outbox.
    pub alerts: Vec<Alert>,
    /// Incidents that changed, the log of what was done, and what goes out.
    pub incidents: Outcome,
    /// New late events, one JSON object each.
    pub late: Vec<LateEvent>,
    /// New dead letters; each names its source by its place in `positions`.
    pub dead_letters: Vec<DeadLetter>,
    /// Minute roll-ups: rows to insert or replace.
    pub rollups: Vec<RollupRow>,
}

impl CommitUnit {
    /// Some state has changed.
    pub fn changes_state(&self) -> bool {
        !self.delta.is_empty() || !self.unwritten.is_empty() || !self.incidents.is_empty()
    }

    /// Makes sections of everything. They come before those that are there: some of these say what
    /// of them is forgotten already.
    pub fn write(&mut self) {
        let sections = std::mem::take(&mut self.unwritten).write();
        self.delta.splice(0..0, sections);
    }
}

/// An event that came too late, as listed by `GET /v1/late`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LateEvent {
    /// Number of its source; 0 when there is one.
    #[serde(default)]
    pub source: u16,
    /// Position of its item in the source.
    pub position: u64,
    /// Event time.
    pub at: EpochMs,
    /// How far behind the watermark it was.
    pub behind_ms: i64,
    /// Session key, empty when it has none.
    pub key: String,
    /// Why it was too late.
    #[serde(default)]
    pub reason: String,
    /// The event as it came, as text (lossy where it is not UTF-8).
    pub raw: String,
}

/// The key that an anonymous one stands for, and when it was used last.
pub type AliasKept = (Box<[u8]>, EpochMs);

/// All of them, by the anonymous key.
pub type KeptAliases = HashMap<Box<[u8]>, AliasKept, foldhash::fast::FixedState>;

/// What a restart begins from.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Number of the last commit.
    pub epoch: u64,
    /// Where each source stood.
    pub positions: Vec<SourcePosition>,
    /// Watermark at that commit.
    pub watermark: EpochMs,
    /// Wall clock at that commit.
    pub wall: EpochMs,
    /// The whole state.
    pub snapshot: Snapshot,
}

/// The whole state as one value: made by absorbing deltas in commit order.
///
/// The store builds one from the last snapshot and the deltas since, both to
/// restart and, off the event path, to write the next snapshot. So restarting and
/// snapshotting are one mechanism, and the sessions are never asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Record of each key with open sessions.
    pub sessions: Records,
    /// Up to where the sessions of a key without open ones were closed, by the key's hash.
    pub closed: HashMap<u64, EpochMs, foldhash::fast::FixedState>,
    /// Record of each key with something open in a pattern.
    pub patterns: Records,
    /// The same of keys of patterns that do not go by the session key.
    pub own_keys: Records,
    /// When keys were first seen, for kinds of sessions that are told apart by it.
    pub cohorts: HashMap<CohortKey, EpochMs, foldhash::fast::FixedState>,
    /// Anonymous keys.
    pub aliases: KeptAliases,
    /// The same of kinds of sessions that tell them from known ones themselves, by kind.
    pub kind_aliases: BTreeMap<u64, KeptAliases>,
    /// Event identities by a time that all their events were before.
    pub identities: BTreeMap<i64, Vec<EventIdentity>>,
    /// All events before this may have been forgotten because there were too many ids.
    pub ids_forgotten_until: Option<EpochMs>,
    /// Identities of events before this are no longer here, because the watermark has passed
    /// them.
    pub ids_swept_until: Option<EpochMs>,
    /// The metrics by identity.
    pub metrics: BTreeMap<String, MetricSnapshot>,
    /// The lists of the rules by identity.
    pub rules: BTreeMap<String, RuleSnapshot>,
    /// What was of no use of the events that count, by use.
    pub faults: BTreeMap<String, Counts>,
    /// The keeper's small state: name and JSON of each entry.
    pub entries: BTreeMap<String, serde_json::Value>,
}

const SESSIONS: u8 = 1;
const IDENTITIES: u8 = 2;
const PANES: u8 = 3;
const POINTS: u8 = 4;
const RUN: u8 = 5;
/// First byte of the sections with the keeper's small state ([`Snapshot::entries`]).
pub const ENTRIES: u8 = 6;
const PANE_FLOOR: u8 = 7;
const POINT_FLOOR: u8 = 8;
const IDENTITY_FLOOR: u8 = 9;
const IDENTITIES_EVICTED: u8 = 10;
const IDENTITIES_FORGOTTEN: u8 = 11;
const CLOSED: u8 = 20;
const ALIASES: u8 = 21;
const PATTERNS: u8 = 22;
const COHORTS: u8 = 23;
const OWN_KEYS: u8 = 24;
const KIND_ALIASES: u8 = 25;
const MINUTE_FLOOR: u8 = 30;
const METRIC_DROPPED: u8 = 31;
const GROUPS: u8 = 37;
const DAY: u8 = 33;
const SUMS: u8 = 34;
const RULE: u8 = 35;
const RULE_DROPPED: u8 = 36;
const FAULTS: u8 = 64;

/// What became of a group.
const GONE: u8 = 0;
const NEW: u8 = 1;
const LEFT: u8 = 2;
const SEEN: u8 = 3;

/// Records that are looked up together.
const SOME_RECORDS: usize = 32;

/// Writes the sections of a delta.
#[derive(Debug)]
pub struct SectionWriter {
    bytes: Vec<u8>,
}

impl SectionWriter {
    /// Changed records of sessions; see [`SectionWriter::record`].
    pub fn sessions() -> Self {
        SectionWriter { bytes: vec![SESSIONS] }
    }

    /// Changed records of patterns; see [`SectionWriter::record`].
    pub fn patterns() -> Self {
        SectionWriter { bytes: vec![PATTERNS] }
    }

    /// Changed records of patterns by keys of their own; see [`SectionWriter::record`].
    pub fn own_keys() -> Self {
        SectionWriter { bytes: vec![OWN_KEYS] }
    }

    /// Closed sessions; see [`SectionWriter::floor`].
    pub fn closed() -> Self {
        SectionWriter { bytes: vec![CLOSED] }
    }

    /// When keys were first seen; see [`SectionWriter::cohort`].
    pub fn cohorts() -> Self {
        SectionWriter { bytes: vec![COHORTS] }
    }

    /// Anonymous keys; see [`SectionWriter::alias`].
    pub fn aliases() -> Self {
        SectionWriter { bytes: vec![ALIASES] }
    }

    /// Anonymous keys of a kind of sessions; see [`SectionWriter::alias`].
    pub fn kind_aliases(kind: u64) -> Self {
        let mut bytes = vec![KIND_ALIASES];
        bytes.extend_from_slice(&kind.to_le_bytes());
        SectionWriter { bytes }
    }

    /// New event identities; see [`SectionWriter::until`].
    pub fn identities() -> Self {
        SectionWriter { bytes: vec![IDENTITIES] }
    }

    /// Changed panes of one metric; see [`SectionWriter::pane`].
    pub fn panes(metric: &str) -> Self {
        SectionWriter::named(PANES, metric)
    }

    /// What became of groups of one metric; see [`SectionWriter::group`].
    pub fn groups(metric: &str, map: &KeptMap) -> Self {
        let mut writer = SectionWriter::named(GROUPS, metric);
        put_u64(&mut writer.bytes, u64::from(map.next));
        put_i64(&mut writer.bytes, map.period);
        put_u64(&mut writer.bytes, map.left);
        writer
    }

    /// New final windows of one metric; see [`SectionWriter::window`].
    pub fn windows(metric: &str) -> Self {
        SectionWriter::named(POINTS, metric)
    }

    /// The whole running total of one metric; see [`SectionWriter::total`].
    fn day(metric: &str, start: EpochMs) -> Self {
        let mut writer = SectionWriter::named(DAY, metric);
        put_i64(&mut writer.bytes, start);
        writer
    }

    /// A running total runs from `start` and has taken in what entered with panes before
    /// `entered`. The cells themselves are known: they were written with their panes.
    pub fn run(metric: &str, start: EpochMs, entered: EpochMs) -> Vec<u8> {
        let mut writer = SectionWriter::named(RUN, metric);
        put_i64(&mut writer.bytes, start);
        put_i64(&mut writer.bytes, entered);
        writer.bytes
    }

    /// Sums of groups of one metric, replacing the former; see [`SectionWriter::sum`].
    pub fn sums(metric: &str) -> Self {
        SectionWriter::named(SUMS, metric)
    }

    /// How the lists of one rule changed; see [`SectionWriter::rule_samples`].
    pub fn rule(rule: &str) -> Self {
        SectionWriter::named(RULE, rule)
    }

    /// Forget the lists of a rule: it is declared no more, or is another one now.
    pub fn rule_dropped(rule: &str) -> Vec<u8> {
        SectionWriter::named(RULE_DROPPED, rule).bytes
    }

    /// Entries of the keeper's small state that changed, as JSON; `null` removes one.
    pub fn entries(changed: &BTreeMap<String, serde_json::Value>) -> Vec<u8> {
        let mut bytes = vec![ENTRIES];
        // Values are JSON already, and a `Vec` takes all of it.
        let _ = serde_json::to_writer(&mut bytes, changed);
        bytes
    }

    /// Forget the panes of a metric that no window reads any more.
    pub fn pane_floor(metric: &str, floor: Floor) -> Vec<u8> {
        let mut writer = SectionWriter::named(PANE_FLOOR, metric);
        put_i64(&mut writer.bytes, floor.pane);
        put_i64(&mut writer.bytes, floor.enters);
        writer.bytes
    }

    /// Forget all of a metric: it is declared no more, or is another one now.
    pub fn metric_dropped(metric: &str) -> Vec<u8> {
        SectionWriter::named(METRIC_DROPPED, metric).bytes
    }

    /// Forget the roll-up minutes of a metric before this one.
    pub fn minute_floor(metric: &str, minute: EpochMs) -> Vec<u8> {
        let mut writer = SectionWriter::named(MINUTE_FLOOR, metric);
        put_i64(&mut writer.bytes, minute);
        writer.bytes
    }

    /// Forget the numbers of a metric that end before this time.
    pub fn point_floor(metric: &str, end: EpochMs) -> Vec<u8> {
        let mut writer = SectionWriter::named(POINT_FLOOR, metric);
        put_i64(&mut writer.bytes, end);
        writer.bytes
    }

    /// What was of no use since the last commit, by use.
    pub fn faults<'a>(news: impl IntoIterator<Item = &'a (String, Counts)>) -> Vec<u8> {
        let mut bytes = vec![FAULTS];
        for (the_use, counts) in news {
            put_bytes(&mut bytes, the_use.as_bytes());
            put_u64(&mut bytes, counts.of);
            put_u64(&mut bytes, counts.words().count() as u64);
            for (word, count) in counts.words() {
                put_bytes(&mut bytes, word.as_bytes());
                put_u64(&mut bytes, count);
            }
        }
        bytes
    }

    /// Forget event identities whose events were all before this time.
    pub fn identity_floor(floor: EpochMs) -> Vec<u8> {
        let mut bytes = vec![IDENTITY_FLOOR];
        put_i64(&mut bytes, floor);
        bytes
    }

    /// Identities that left before their time, of one shard out of `shards`: see
    /// [`SectionWriter::first`].
    pub fn identities_evicted(shard: u16, shards: u16) -> Self {
        let mut bytes = vec![IDENTITIES_EVICTED];
        put_u64(&mut bytes, u64::from(shard));
        put_u64(&mut bytes, u64::from(shards));
        SectionWriter { bytes }
    }

    /// All events before this time may be forgotten; a greater time replaces a lesser.
    pub fn identities_forgotten(until: EpochMs) -> Vec<u8> {
        let mut bytes = vec![IDENTITIES_FORGOTTEN];
        put_i64(&mut bytes, until);
        bytes
    }

    /// The same, with room for so many more bytes: it need not grow step by step.
    pub fn with_room(mut self, bytes: usize) -> Self {
        self.bytes.reserve(bytes);
        self
    }

    fn named(tag: u8, metric: &str) -> Self {
        let mut bytes = vec![tag];
        put_bytes(&mut bytes, metric.as_bytes());
        SectionWriter { bytes }
    }

    /// One key's record; empty when nothing of it is open any more.
    pub fn record(&mut self, key: &[u8], record: &[u8]) {
        put_bytes(&mut self.bytes, key);
        put_bytes(&mut self.bytes, record);
    }

    /// Up to where the sessions of a key were closed; `BEGINNING` to forget it.
    pub fn floor(&mut self, key_hash: u64, floor: EpochMs) {
        self.bytes.extend_from_slice(&key_hash.to_le_bytes());
        put_i64(&mut self.bytes, floor);
    }

    /// Where the cohort of a key begins; `BEGINNING` to forget it.
    pub fn cohort(&mut self, (kind, key_hash): CohortKey, start: EpochMs) {
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.floor(key_hash, start);
    }

    /// The key that an anonymous one stands for, and when it was used last; empty to forget it.
    pub fn alias(&mut self, anonymous: &[u8], known: &[u8], used: EpochMs) {
        put_bytes(&mut self.bytes, anonymous);
        put_bytes(&mut self.bytes, known);
        put_i64(&mut self.bytes, used);
    }

    /// Identities of events that were all before `until`.
    pub fn until(&mut self, until: EpochMs, identities: &[EventIdentity]) {
        put_i64(&mut self.bytes, until);
        put_u64(&mut self.bytes, identities.len() as u64);
        identities.iter().for_each(|id| self.bytes.extend_from_slice(&id.bytes()));
    }

    /// The first `count` identities of events before `until`.
    pub fn first(&mut self, until: EpochMs, count: u64) {
        put_i64(&mut self.bytes, until);
        put_u64(&mut self.bytes, count);
    }

    /// What became of one group; `kept` is how it is now.
    pub fn group(&mut self, group: u32, change: GroupChange, kept: Option<&Kept>) {
        put_group(&mut self.bytes, group);
        match (change, kept) {
            (GroupChange::New, Some(kept)) => {
                self.bytes.push(NEW);
                put_u64(&mut self.bytes, u64::from(kept.place));
                put_i64(&mut self.bytes, kept.seen);
                put_time(&mut self.bytes, kept.left);
                put_labels(&mut self.bytes, &kept.labels);
            }
            (GroupChange::Seen, Some(kept)) => {
                self.bytes.push(SEEN);
                put_i64(&mut self.bytes, kept.seen);
            }
            (GroupChange::Left, Some(kept)) => {
                self.bytes.push(LEFT);
                put_time(&mut self.bytes, kept.left);
            }
            _ => self.bytes.push(GONE),
        }
    }

    /// One place of one group: what to merge there.
    pub fn pane(&mut self, place: &Place, group: u32, cell: &Cell) {
        put_i64(&mut self.bytes, place.pane);
        put_time(&mut self.bytes, place.enters);
        put_time(&mut self.bytes, place.minute);
        put_group(&mut self.bytes, group);
        cell.encode(&mut self.bytes);
    }

    /// One final window; only what differs from `before`, the window that was written last.
    pub fn window(&mut self, window: &Window, before: Option<&Window>) {
        put_i64(&mut self.bytes, window.end);
        let differences = |known: &Values| {
            let same = |group: u32, value: &Number| {
                known.get(group).is_some_and(|known| known.is_same(value))
            };
            let gone = known.iter().map(|(group, _)| group);
            let gone = gone.filter(|group| window.values.get(*group).is_none());
            let changed = window.values.iter().filter(|(group, value)| !same(*group, value));
            (gone.collect::<Vec<_>>(), changed.collect::<Vec<_>>())
        };
        let shorter = before.map(|before| differences(&before.values));
        let shorter = shorter.filter(|(gone, new)| gone.len() + new.len() < window.values.len());
        self.bytes.push(u8::from(shorter.is_some()));
        let (gone, changed) = shorter.unwrap_or_else(|| differences(NO_VALUES));
        put_u64(&mut self.bytes, gone.len() as u64);
        gone.into_iter().for_each(|group| put_group(&mut self.bytes, group));
        put_u64(&mut self.bytes, changed.len() as u64);
        for (group, value) in changed {
            put_group(&mut self.bytes, group);
            value.encode(&mut self.bytes);
        }
    }

    /// One running total.
    fn total(&mut self, group: u32, cell: &Cell) {
        put_group(&mut self.bytes, group);
        cell.encode(&mut self.bytes);
    }

    /// One group's sum.
    pub fn sum(&mut self, group: u32, sum: &FarSum) {
        put_group(&mut self.bytes, group);
        sum.encode(&mut self.bytes);
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True when nothing was added yet. (The header alone does not count.)
    pub fn is_empty(&self) -> bool {
        self.bytes.len() <= 1
    }

    /// The section.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

fn put_labels(out: &mut Vec<u8>, labels: &[String]) {
    put_u64(out, labels.len() as u64);
    labels.iter().for_each(|label| put_bytes(out, label.as_bytes()));
}

/// The overflow is 0, the first group 1.
fn put_group(out: &mut Vec<u8>, group: u32) {
    put_u64(out, if group == OVERFLOW { 0 } else { u64::from(group) + 1 });
}

fn group(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    let at = reader.position();
    match reader.u64("group")? {
        0 => Ok(OVERFLOW),
        group if group <= u64::from(OVERFLOW) => Ok((group - 1) as u32),
        _ => Err(Malformed { what: "group", at }),
    }
}

fn put_number(out: &mut Vec<u8>, value: f64) {
    Number::Scalar(value).encode(out);
}

fn put_time(out: &mut Vec<u8>, at: Option<EpochMs>) {
    out.push(u8::from(at.is_some()));
    at.into_iter().for_each(|at| put_i64(out, at));
}

fn time(reader: &mut Reader<'_>, what: &'static str) -> Result<Option<EpochMs>, Malformed> {
    match reader.u8(what)? {
        0 => Ok(None),
        _ => reader.i64(what).map(Some),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn labels(reader: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    let num = reader.u64("number of labels")?;
    (0..num).map(|_| reader.bytes("label").map(text)).collect()
}

fn absorb_records(records: &mut Records, reader: &mut Reader<'_>) -> Result<(), Malformed> {
    // Some at a time, so that memory is waited for once for all of them.
    let mut some: Vec<(&[u8], &[u8])> = Vec::with_capacity(SOME_RECORDS);
    while !reader.is_empty() {
        some.clear();
        while some.len() < SOME_RECORDS && !reader.is_empty() {
            some.push((reader.bytes("key")?, reader.bytes("record")?));
        }
        records.look_at(some.iter().map(|(key, _)| *key));
        for (key, record) in &some {
            if record.is_empty() { records.remove(key) } else { records.insert(key, record) }
        }
    }
    Ok(())
}

fn absorb_aliases(aliases: &mut KeptAliases, reader: &mut Reader<'_>) -> Result<(), Malformed> {
    while !reader.is_empty() {
        let anonymous = reader.bytes("anonymous key")?;
        let known = reader.bytes("known key")?;
        let used = reader.i64("last use of an anonymous key")?;
        if known.is_empty() {
            aliases.remove(anonymous);
        } else {
            aliases.insert(anonymous.into(), (known.into(), used));
        }
    }
    Ok(())
}

fn number(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    let at = reader.position();
    Number::decode(reader)?.scalar().ok_or(Malformed { what: "number", at })
}

impl Snapshot {
    /// Applies one section of a delta or of an encoded snapshot.
    ///
    /// # Errors
    /// When the section is malformed: the file is damaged.
    pub fn absorb(&mut self, section: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(section);
        match reader.u8("kind of section")? {
            SESSIONS => absorb_records(&mut self.sessions, &mut reader),
            PATTERNS => absorb_records(&mut self.patterns, &mut reader),
            OWN_KEYS => absorb_records(&mut self.own_keys, &mut reader),
            CLOSED => self.absorb_closed(&mut reader),
            COHORTS => self.absorb_cohorts(&mut reader),
            ALIASES => absorb_aliases(&mut self.aliases, &mut reader),
            KIND_ALIASES => {
                let kind = reader.take(8, "kind of sessions")?;
                let kind = u64::from_le_bytes(kind.try_into().expect("take returns 8 bytes"));
                let kept = self.kind_aliases.entry(kind).or_default();
                absorb_aliases(kept, &mut reader)?;
                if kept.is_empty() {
                    self.kind_aliases.remove(&kind);
                }
                Ok(())
            }
            IDENTITIES => self.absorb_identities(&mut reader),
            PANES => self.metric(&mut reader)?.absorb_panes(&mut reader),
            POINTS => self.metric(&mut reader)?.absorb_windows(&mut reader),
            DAY => self.metric(&mut reader)?.absorb_day(&mut reader),
            RUN => self.metric(&mut reader)?.absorb_run(&mut reader),
            GROUPS => self.metric(&mut reader)?.absorb_groups(&mut reader),
            SUMS => {
                let sums = &mut self.metric(&mut reader)?.sums;
                while !reader.is_empty() {
                    sums.insert(group(&mut reader)?, FarSum::decode(&mut reader)?);
                }
                Ok(())
            }
            RULE => {
                let rule = text(reader.bytes("rule")?);
                self.rules.entry(rule).or_default().absorb(&mut reader)
            }
            RULE_DROPPED => {
                self.rules.remove(&text(reader.bytes("rule")?));
                Ok(())
            }
            ENTRIES => self.absorb_entries(&section[1..]),
            PANE_FLOOR => {
                let metric = self.metric(&mut reader)?;
                let floor = Floor { pane: reader.i64("pane")?, enters: reader.i64("entry")? };
                metric.forget_panes(floor);
                Ok(())
            }
            METRIC_DROPPED => {
                self.metrics.remove(&text(reader.bytes("metric")?));
                Ok(())
            }
            MINUTE_FLOOR => {
                let minutes = &mut self.metric(&mut reader)?.minutes;
                *minutes = minutes.split_off(&(reader.i64("minute")?, 0));
                Ok(())
            }
            POINT_FLOOR => {
                let windows = &mut self.metric(&mut reader)?.windows;
                let floor = reader.i64("end")?;
                let gone = windows.partition_point(|window| window.end < floor);
                windows.drain(..gone);
                Ok(())
            }
            FAULTS => self.absorb_faults(&mut reader),
            IDENTITY_FLOOR => {
                let floor = reader.i64("identity floor")?;
                self.identities = self.identities.split_off(&floor.saturating_add(1));
                self.ids_swept_until = self.ids_swept_until.max(Some(floor));
                Ok(())
            }
            IDENTITIES_EVICTED => self.absorb_evicted(&mut reader),
            IDENTITIES_FORGOTTEN => {
                let until = reader.i64("time of forgotten identities")?;
                self.ids_forgotten_until = self.ids_forgotten_until.max(Some(until));
                Ok(())
            }
            _ => Err(Malformed { what: "kind of section", at: 0 }),
        }
    }

    fn absorb_cohorts(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        while !reader.is_empty() {
            let mut hash = || {
                let hash = reader.take(8, "cohort of a key")?;
                Ok(u64::from_le_bytes(hash.try_into().expect("take returns 8 bytes")))
            };
            let key = (hash()?, hash()?);
            match reader.i64("cohort of a key")? {
                BEGINNING => self.cohorts.remove(&key),
                start => self.cohorts.insert(key, start),
            };
        }
        Ok(())
    }

    fn absorb_closed(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        while !reader.is_empty() {
            let hash = reader.take(8, "hash of a key")?;
            let hash = u64::from_le_bytes(hash.try_into().expect("take returns 8 bytes"));
            match reader.i64("floor")? {
                BEGINNING => self.closed.remove(&hash),
                floor => self.closed.insert(hash, floor),
            };
        }
        Ok(())
    }

    fn absorb_identities(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        while !reader.is_empty() {
            let until = reader.i64("end of identities")?;
            let num = reader.u64("number of identities")? as usize;
            let bytes = reader.take(num.saturating_mul(EventIdentity::BYTES), "identities")?;
            let (ids, _) = bytes.as_chunks();
            let ids = ids.iter().map(|id| EventIdentity::from_bytes(*id));
            self.identities.entry(until).or_default().extend(ids);
        }
        Ok(())
    }

    fn absorb_evicted(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let number = |reader: &mut Reader<'_>, what: &'static str| {
            let at = reader.position();
            u16::try_from(reader.u64(what)?).map_err(|_| Malformed { what, at })
        };
        let (shard, shards) = (number(reader, "shard")?, number(reader, "number of shards")?);
        while !reader.is_empty() {
            let until = reader.i64("end of identities")?;
            let mut count = reader.u64("number of identities")?;
            if let Some(ids) = self.identities.get_mut(&until) {
                ids.retain(|id| {
                    let leaves = count > 0 && shard_of(id.high, shards) == shard;
                    count -= u64::from(leaves);
                    !leaves
                });
            }
        }
        Ok(())
    }

    fn absorb_faults(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        while !reader.is_empty() {
            let counts = self.faults.entry(text(reader.bytes("use")?)).or_default();
            counts.of = counts.of.saturating_add(reader.u64("events")?);
            for _ in 0..reader.u64("number of faults")? {
                let word = text(reader.bytes("fault")?);
                counts.add_word(&word, reader.u64("count")?);
            }
        }
        Ok(())
    }

    /// What is kept of the metric that the section names first.
    fn metric(&mut self, reader: &mut Reader<'_>) -> Result<&mut MetricSnapshot, Malformed> {
        Ok(self.metrics.entry(text(reader.bytes("metric")?)).or_default())
    }

    fn absorb_entries(&mut self, json: &[u8]) -> Result<(), Malformed> {
        let changed: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(json).map_err(|_| Malformed { what: "entries", at: 1 })?;
        for (name, value) in changed {
            if value.is_null() {
                self.entries.remove(&name)
            } else {
                self.entries.insert(name, value)
            };
        }
        Ok(())
    }

    /// The state as sections of at most about `chunk` bytes each (one oversized
    /// entry may exceed it). Absorbing them gives the same state.
    pub fn encode(&self, chunk: usize) -> Vec<Vec<u8>> {
        let mut sections = vec![SectionWriter::entries(&self.entries)];
        let faults: Vec<(String, Counts)> = self.faults.clone().into_iter().collect();
        sections.extend(faults.chunks(1_000).map(SectionWriter::faults));
        let kinds: [(_, fn() -> SectionWriter); 3] = [
            (&self.sessions, SectionWriter::sessions),
            (&self.patterns, SectionWriter::patterns),
            (&self.own_keys, SectionWriter::own_keys),
        ];
        for (records, empty) in kinds {
            let mut writer = empty();
            for (key, record) in records.iter() {
                writer.record(key, record);
                if writer.len() >= chunk {
                    sections.push(std::mem::replace(&mut writer, empty()).finish());
                }
            }
            sections.push(writer.finish());
        }
        let mut closed = SectionWriter::closed();
        for (key_hash, floor) in &self.closed {
            closed.floor(*key_hash, *floor);
            if closed.len() >= chunk {
                let full = std::mem::replace(&mut closed, SectionWriter::closed());
                sections.push(full.finish());
            }
        }
        sections.push(closed.finish());
        let mut cohorts = SectionWriter::cohorts();
        for (key, start) in &self.cohorts {
            cohorts.cohort(*key, *start);
            if cohorts.len() >= chunk {
                let full = std::mem::replace(&mut cohorts, SectionWriter::cohorts());
                sections.push(full.finish());
            }
        }
        sections.push(cohorts.finish());
        let mut aliases = SectionWriter::aliases();
        for (anonymous, (known, used)) in &self.aliases {
            aliases.alias(anonymous, known, *used);
            if aliases.len() >= chunk {
                let full = std::mem::replace(&mut aliases, SectionWriter::aliases());
                sections.push(full.finish());
            }
        }
        sections.push(aliases.finish());
        for (kind, kept) in &self.kind_aliases {
            let mut aliases = SectionWriter::kind_aliases(*kind);
            for (anonymous, (known, used)) in kept {
                aliases.alias(anonymous, known, *used);
                if aliases.len() >= chunk {
                    let next = SectionWriter::kind_aliases(*kind);
                    sections.push(std::mem::replace(&mut aliases, next).finish());
                }
            }
            sections.push(aliases.finish());
        }
        // Before the identities, of which it takes none.
        sections.extend(self.ids_swept_until.map(SectionWriter::identity_floor));
        for (until, ids) in &self.identities {
            for part in ids.chunks((chunk / EventIdentity::BYTES).max(1)) {
                let mut writer = SectionWriter::identities();
                writer.until(*until, part);
                sections.push(writer.finish());
            }
        }
        sections.extend(self.ids_forgotten_until.map(SectionWriter::identities_forgotten));
        for (id, metric) in &self.metrics {
            metric.encode(id, chunk, &mut sections);
        }
        for (id, rule) in &self.rules {
            rule.encode(id, chunk, &mut sections);
        }
        sections
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::anomaly::{Band, RingChange};
    use proptest::prelude::*;

    fn delta() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let sessions =
            prop::collection::vec(("[a-d]{1,2}", prop::collection::vec(any::<u8>(), 0..6)), 0..8);
        let id = (any::<u64>(), any::<u64>()).prop_map(|(high, low)| EventIdentity { high, low });
        let ids = prop::collection::vec((0i64..5, prop::collection::vec(id, 0..4)), 0..4);
        let group = prop_oneof![Just(OVERFLOW), 0u32..3];
        let panes = prop::collection::vec((0i64..6, 0i64..3, group.clone(), 0u64..9), 0..6);
        let values = prop::collection::btree_map(
            group,
            any::<f64>().prop_filter("a number", |n| !n.is_nan()),
            0..4,
        );
        let values = values.prop_map(|values| {
            values.into_iter().map(|(group, number)| (group, number.into())).collect::<Values>()
        });
        let lists = prop::collection::btree_map(0u32..3, 0u64..3, 1..4).prop_map(|lists| {
            let list = |n| Number::Histogram([n, 1].into());
            lists.into_iter().map(|(group, n)| (group, list(n))).collect()
        });
        let points = prop_oneof![
            3 => prop::collection::vec((0i64..9, values), 0..4),
            1 => prop::collection::vec((0i64..9, lists), 0..4),
        ];
        (sessions, ids, panes, points, 0i64..4).prop_map(|(sessions, ids, panes, points, floor)| {
            let mut writer = SectionWriter::sessions();
            sessions.iter().for_each(|(key, record)| writer.record(key.as_bytes(), record));
            let mut sections = vec![writer.finish()];
            let mut writer = SectionWriter::identities();
            ids.iter().for_each(|(minute, ids)| writer.until(*minute, ids));
            sections.push(writer.finish());
            let mut writer = SectionWriter::identities_evicted((floor % 2) as u16, 2);
            ids.iter().for_each(|(minute, ids)| writer.first(*minute, ids.len() as u64 / 2));
            sections.push(writer.finish());
            sections.push(SectionWriter::identities_forgotten(floor));
            let mut writer = SectionWriter::closed();
            ids.iter().for_each(|(floor, ids)| {
                let floor = if ids.len() == 1 { BEGINNING } else { *floor };
                ids.iter().for_each(|id| writer.floor(id.high % 4, floor));
            });
            sections.push(writer.finish());
            let mut writer = SectionWriter::cohorts();
            ids.iter().for_each(|(start, ids)| {
                let start = if ids.len() == 1 { BEGINNING } else { *start };
                ids.iter().for_each(|id| writer.cohort((id.low % 2, id.high % 4), start));
            });
            sections.push(writer.finish());
            let mut writer = SectionWriter::aliases();
            panes.iter().for_each(|(used, late, label, n)| {
                let known: &[u8] = if *late == 0 { b"" } else { b"u" };
                writer.alias(&[*label as u8, *n as u8], known, *used);
            });
            sections.push(writer.finish());
            let mut writer = SectionWriter::panes("m");
            panes.iter().for_each(|(pane, late, group, n)| {
                let enters = (*late < 2).then_some(pane + late);
                let minute = (*late != 1).then_some(pane * 60_000);
                let place = Place { pane: *pane, enters, minute };
                writer.pane(&place, *group, &Cell::Count(*n));
            });
            sections.push(writer.finish());
            let windows: Vec<Window> =
                points.into_iter().map(|(end, values)| Window { end, values }).collect();
            let (mut writer, mut before) = (SectionWriter::windows("m"), None);
            windows.iter().for_each(|window| writer.window(window, before.replace(window)));
            sections.push(writer.finish());
            let map = KeptMap {
                next: floor as u32 + 1,
                period: 7 * floor,
                left: 2,
                ..KeptMap::default()
            };
            let mut writer = SectionWriter::groups("m", &map);
            let labels = Arc::new(vec![format!("g{floor}"), String::new()]);
            let left = (floor % 2 > 0).then_some(floor);
            let kept = Kept { labels, place: 7, seen: floor, left };
            writer.group(floor as u32, GroupChange::New, Some(&kept));
            let seen = Kept { seen: floor + 1, ..kept };
            writer.group(floor as u32, GroupChange::Seen, Some(&seen));
            writer.group(floor as u32 / 2, GroupChange::Gone, None);
            writer.group(floor as u32 + 1, GroupChange::New, Some(&Kept::default()));
            let left = Kept { left: Some(floor), ..Kept::default() };
            writer.group(floor as u32 + 1, GroupChange::Left, Some(&left));
            sections.push(writer.finish());
            let mut writer = SectionWriter::sums("m");
            let mut sum = FarSum::default();
            sum.add(floor as f64 / 10.0);
            writer.sum(floor as u32, &sum);
            sections.push(writer.finish());
            let mut writer = SectionWriter::day("d", 0);
            writer.total(OVERFLOW, &Cell::Count(floor as u64));
            sections.push(writer.finish());
            let mut writer = SectionWriter::panes("d");
            let place = Place { pane: floor, enters: Some(floor), minute: None };
            writer.pane(&place, 1, &Cell::Count(1));
            sections.push(writer.finish());
            sections.push(SectionWriter::run("d", floor / 2, floor + 1));
            sections.extend((floor == 3).then(|| SectionWriter::rule_dropped("r")));
            let samples: Vec<RuleSample> =
                windows.iter().map(|window| (window.end, window.end as f64 / 3.0)).collect();
            let band = Band { expected: (floor > 0).then_some(0.5), low: None, high: Some(1.0) };
            let points: Vec<RulePoint> =
                samples.iter().map(|(end, value)| (*end, *value, band)).collect();
            let mut writer = SectionWriter::rule("r");
            writer.rule_samples(&RingChange { gone: 0, new: samples.iter().collect() });
            writer.rule_samples(&RingChange { gone: samples.len() / 2, new: vec![] });
            writer.rule_held(&RingChange { gone: 0, new: samples.iter().rev().collect() });
            writer.rule_points(&RingChange { gone: 0, new: points.iter().collect() });
            writer.rule_points(&RingChange { gone: points.len(), new: vec![] });
            writer.rule_points(&RingChange { gone: 0, new: points.iter().collect() });
            sections.push(writer.finish());
            sections.push(SectionWriter::pane_floor("m", Floor { pane: floor, enters: floor + 1 }));
            sections.push(SectionWriter::minute_floor("m", floor * 60_000));
            sections.push(SectionWriter::identity_floor(floor));
            let mut counts = Counts { of: floor as u64, ..Counts::default() };
            counts.add_word("text", floor as u64);
            sections.push(SectionWriter::faults(&[("m.field amount".to_owned(), counts)]));
            let entry = |name: &str, value| (name.to_owned(), value);
            let entries = [
                entry("always", serde_json::json!({ "floor": floor })),
                entry("at times", serde_json::Value::from((floor > 1).then_some(floor))),
            ];
            sections.push(SectionWriter::entries(&entries.into()));
            sections
        })
    }

    proptest! {
        #[test]
        fn a_snapshot_taken_anywhere_leads_to_the_same_state(
            deltas in prop::collection::vec(delta(), 1..8),
            cut in 0usize..8,
            chunk in 1usize..200,
        ) {
            let absorb = |snapshot: &mut Snapshot, sections: &[Vec<u8>]| {
                sections.iter().for_each(|section| snapshot.absorb(section).unwrap());
            };
            let (mut straight, mut resumed) = (Snapshot::default(), Snapshot::default());
            for (index, sections) in deltas.iter().enumerate() {
                absorb(&mut straight, sections);
                absorb(&mut resumed, sections);
                if index == cut {
                    let encoded = resumed.encode(chunk);
                    resumed = Snapshot::default();
                    absorb(&mut resumed, &encoded);
                }
            }
            // Empty entries are not worth keeping.
            for snapshot in [&mut straight, &mut resumed] {
                snapshot.identities.retain(|_, ids| !ids.is_empty());
                snapshot.rules.retain(|_, rule| *rule != RuleSnapshot::default());
            }
            prop_assert_eq!(straight, resumed);
        }

        #[test]
        fn more_that_left_a_rule_than_there_was_is_malformed(had in 0usize..4, gone in 0usize..9) {
            let sample = (1, 2.0);
            let mut writer = SectionWriter::rule("r");
            writer.rule_held(&RingChange { gone: 0, new: vec![&sample; had] });
            writer.rule_held(&RingChange { gone, new: vec![] });
            let absorbed = Snapshot::default().absorb(&writer.finish());
            prop_assert_eq!(absorbed.is_ok(), gone <= had);
        }

        #[test]
        fn any_bytes_are_refused_or_absorbed_but_never_panic(bytes: Vec<u8>) {
            let _ = Snapshot::default().absorb(&bytes);
        }
    }
}
