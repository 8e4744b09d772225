//! Incidents in a commit: what rules said becomes incidents, and what people did is in the commit that
//! follows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::rules::rule_id;
use crate::alert::Alert;
use crate::anomaly::Rule;
use crate::board::bound::label;
use crate::commit::{CommitUnit, SectionWriter};
use crate::incident::{
    Command, Desk, DeskSettings, Incident, Notification, Outcome, Pending, Phase, Refused,
    SEVERITIES, Signal, Watch,
};
use crate::metric::Metric;
use crate::time::{EpochMs, SpanMs};

/// The settings of a desk, with the rules that are watched.
pub(super) fn settings(
    settings: DeskSettings,
    watching: &[Rule],
    metrics: &[Metric],
) -> DeskSettings {
    let rules = watching.iter().map(|rule| {
        let id = rule_id(rule, metrics);
        Watch {
            rule: rule.name.clone(),
            version: id.rsplit('#').next().unwrap_or_default().to_owned(),
            metric: rule.metric.clone(),
            severity: rule.severity.clone(),
            runbook: rule.runbook.clone(),
            one: rule.one_incident,
            unless: rule.unless.clone(),
        }
    });
    DeskSettings { rules: rules.collect(), ..settings }
}

/// Incidents as commits hold them, and whom to tell of them.
#[derive(Debug)]
pub struct Incidents {
    desk: Desk,
    /// The state was taken up, and no barrier was added up since.
    restored: bool,
    /// What came of commands since the last merge.
    commanded: Outcome,
    /// What stands out, not for long enough yet.
    pub(super) pending: Vec<Pending>,
    /// Those that ended last, as the board shows them, by when and id.
    ended: BTreeMap<(EpochMs, String), Value>,
}

impl Incidents {
    pub(super) fn new(settings: DeskSettings) -> Self {
        Incidents {
            desk: Desk::new(settings),
            restored: false,
            commanded: Outcome::default(),
            pending: Vec::new(),
            ended: BTreeMap::new(),
        }
    }

    /// The incidents, the silences, and what of them was told.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// What stands out and does not for long enough yet.
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// Carries out a command. It is durable with the next commit.
    ///
    /// # Errors
    /// Why it cannot be carried out; nothing has changed then.
    pub fn command(&mut self, command: Command) -> Result<(), Refused> {
        self.desk.command(command, &mut self.commanded)
    }

    /// Whether this is the first barrier since the state was taken up.
    pub(super) fn begin(&mut self) -> bool {
        std::mem::take(&mut self.restored)
    }

    /// Incidents of this barrier, and what is told of them and of the occurrences. A match is known
    /// `lateness` after its time; what lies too far before `wall` is told to nobody.
    pub(super) fn attend(
        &mut self,
        signals: Vec<Signal>,
        lateness: SpanMs,
        wall: EpochMs,
        unit: &mut CommitUnit,
    ) {
        let mut out = std::mem::take(&mut self.commanded);
        // The end of a session is known when it has come, a match when nothing can come before it.
        let known = |alert: &Alert| {
            alert.at.saturating_add(if alert.kind == ABANDONED { 0 } else { lateness })
        };
        let occurrences = if self.desk.wants_occurrences() { &unit.alerts[..] } else { &[] };
        let occurrences = occurrences.iter().map(|alert| (known(alert), alert)).collect();
        self.desk.run(signals, occurrences, unit.watermark, wall, &mut out);
        let entries = self.desk.entries(&out);
        if !entries.is_empty() {
            unit.delta.push(SectionWriter::entries(&entries));
        }
        self.show_ended(out.incidents.values());
        unit.incidents = out;
    }

    /// What goes out that is neither an incident nor an occurrence; what the commit holds of that.
    pub(super) fn notify(
        &mut self,
        sent: Vec<Notification>,
        out: &mut Outcome,
    ) -> BTreeMap<String, Value> {
        if sent.is_empty() {
            return BTreeMap::new();
        }
        sent.into_iter().for_each(|one| self.desk.notify(one, out));
        self.desk.entries(out)
    }

    /// Puts the incidents that ended last back on the board, in any order.
    pub fn restore_ended(&mut self, incidents: &[Incident]) {
        self.show_ended(incidents.iter());
    }

    fn show_ended<'a>(&mut self, incidents: impl Iterator<Item = &'a Incident>) {
        let over = incidents.filter_map(|one| Some((one.resolved.as_ref()?.at, one)));
        self.ended.extend(over.map(|(at, one)| ((at, one.id.clone()), row(one))));
        while self.ended.len() > BOARD_ENDED {
            self.ended.pop_first();
        }
    }

    /// Takes the entries of the desk out of those of the last commit.
    pub(super) fn restore(
        &mut self,
        entries: &mut BTreeMap<String, Value>,
        watermark: EpochMs,
    ) -> Result<(), String> {
        let own = entries.extract_if(.., |name, _| Desk::owns(name)).collect::<Vec<_>>();
        self.restored = true;
        self.desk.restore(own, watermark)
    }

    /// What holds now: first what nobody takes care of, then by severity, the newest first; what ended
    /// last; and what is pending.
    pub(super) fn topic(&self) -> BTreeMap<String, Value> {
        let mut open: Vec<&Incident> = self.desk.open().collect();
        let place = |incident: &Incident| {
            let severity = SEVERITIES.iter().position(|word| *word == incident.severity);
            (incident.phase() as u8, severity, std::cmp::Reverse(incident.fired))
        };
        open.sort_by_key(|incident| place(incident));
        let count = |phase: Phase| open.iter().filter(|one| one.phase() == phase).count();
        let counts = self.desk.counts();
        let pending = self.pending.iter().take(SHOWN_MAX);
        BTreeMap::from([
            ("firing".into(), json!(count(Phase::Firing))),
            ("acknowledged".into(), json!(count(Phase::Acknowledged))),
            ("silenced".into(), json!(count(Phase::Silenced))),
            ("so_far".into(), json!(counts.fired)),
            ("not_opened".into(), json!(counts.overflow)),
            ("held_back".into(), json!(counts.held_back)),
            ("open".into(), open.iter().take(SHOWN_MAX).map(|one| row(one)).collect()),
            ("ended".into(), self.ended.values().rev().cloned().collect()),
            ("pending".into(), pending.map(short).collect()),
            ("pending_count".into(), json!(self.pending.len())),
        ])
    }
}

/// Incidents that the topic has: those that matter most. As many of those that are pending.
const SHOWN_MAX: usize = 100;

/// Incidents that are over and that the topic has: those that ended last. The others are read over HTTP.
pub const BOARD_ENDED: usize = 20;

fn row(incident: &Incident) -> Value {
    json!({
        "id": incident.id,
        "phase": incident.phase(),
        "severity": incident.severity,
        "rule": incident.rule,
        "group": short_labels(&incident.group),
        "title": label(&incident.title),
        "since": incident.since,
        "fired": incident.fired,
        "by": incident.acknowledged.as_ref().map(|said| label(&said.by)),
        "muted": incident.muted.as_ref().map(|muted| label(&muted.to_string()).into_owned()),
        "groups": incident.holds_for.len(),
        "runbook": incident.runbook,
        "ended": incident.resolved.as_ref().map(|over| over.at),
        "over": incident.resolved.as_ref().map(|over| label(&over.why)),
    })
}

/// Labels come from events: the board has the beginning of a long one.
fn short(pending: &Pending) -> Value {
    let title = label(&pending.title).into_owned();
    json!(Pending { group: short_labels(&pending.group), title, ..pending.clone() })
}

fn short_labels(group: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    group.iter().map(|(name, text)| (name.clone(), label(text).into_owned())).collect()
}

const ABANDONED: &str = "abandoned";
