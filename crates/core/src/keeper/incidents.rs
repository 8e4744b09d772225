//! Incidents in a commit: what rules said becomes incidents, and what people did is in the commit that
//! follows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Keeper;
use super::rules::rule_id;
use crate::alert::Alert;
use crate::anomaly::{Alarm, Rule, State as _};
use crate::board::bound::label;
use crate::commit::{CommitUnit, SectionWriter};
use crate::incident::{
    Command, Desk, DeskSettings, Incident, Pending, Phase, Refused, SEVERITIES, Signal, Watch,
};
use crate::metric::Metric;
use crate::time::EpochMs;

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

impl Keeper {
    /// How incidents are told. Before [`Keeper::restore`].
    pub fn set_desk(&mut self, desk: DeskSettings) {
        self.desk = Desk::new(settings(desk, &self.watching, self.engine.metrics()));
    }

    /// The incidents, the silences, and what of them was told.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The time of the machine at the next merge: what lies too far before it is told to nobody.
    pub fn set_wall(&mut self, wall: EpochMs) {
        self.wall = wall;
    }

    /// Carries out a command. It is durable with the next commit.
    ///
    /// # Errors
    /// Why it cannot be carried out; nothing has changed then.
    pub fn command(&mut self, command: Command) -> Result<(), Refused> {
        self.desk.command(command, &mut self.commanded)
    }

    /// Incidents of this barrier, and what is told of them and of the occurrences. `standing`: see
    /// [`Keeper::standing`].
    pub(super) fn attend(&mut self, standing: Vec<Signal>, unit: &mut CommitUnit) {
        let mut out = std::mem::take(&mut self.commanded);
        let lateness = self.engine.lateness();
        // The end of a session is known when it has come, a match when nothing can come before it.
        let known = |alert: &Alert| {
            alert.at.saturating_add(if alert.kind == ABANDONED { 0 } else { lateness })
        };
        let mut signals = standing;
        signals.extend(self.signals.iter().cloned());
        let occurrences = if self.desk.wants_occurrences() { &unit.alerts[..] } else { &[] };
        let occurrences = occurrences.iter().map(|alert| (known(alert), alert)).collect();
        self.desk.run(signals, occurrences, unit.watermark, self.wall, &mut out);
        let entries = self.desk.entries(&out);
        if !entries.is_empty() {
            unit.delta.push(SectionWriter::entries(&entries));
        }
        self.show_ended(out.incidents.values());
        unit.incidents = out;
    }

    /// Puts the incidents that ended last back on the board, in any order.
    pub fn restore_ended(&mut self, incidents: &[Incident]) {
        self.show_ended(incidents.iter());
    }

    fn show_ended<'a>(&mut self, incidents: impl Iterator<Item = &'a Incident>) {
        let over = incidents.filter_map(|one| Some((one.resolved.as_ref()?.at, one)));
        self.ended_incidents.extend(over.map(|(at, one)| ((at, one.id.clone()), row(one))));
        while self.ended_incidents.len() > BOARD_ENDED {
            self.ended_incidents.pop_first();
        }
    }

    /// Takes the entries of the desk out of those of the last commit.
    pub(super) fn restore_desk(
        &mut self,
        entries: &mut BTreeMap<String, Value>,
        watermark: EpochMs,
    ) -> Result<(), String> {
        let own = entries.extract_if(.., |name, _| Desk::owns(name)).collect::<Vec<_>>();
        self.restored = true;
        self.desk.restore(own, watermark)
    }

    /// What stands out since before the last start and has no incident: its rule made one of each group
    /// and makes one of all now, or the other way round; or it stood out before there were incidents.
    pub(super) fn standing(&self) -> Vec<Signal> {
        let mut signals = Vec::new();
        self.each_watched(|about, kept| {
            let Alarm::Up { since, raised, peak, .. } = kept.state.alarm() else { return };
            let signal = about.standing((*since, *raised), peak);
            if !self.desk.holds(&about.rule.name, &signal.subject) {
                signals.push(signal);
            }
        });
        signals
    }
}

/// Incidents that the topic has: those that matter most. As many of those that are pending.
const SHOWN_MAX: usize = 100;

/// Incidents that are over and that the topic has: those that ended last. The others are read over HTTP.
pub const BOARD_ENDED: usize = 20;

impl Keeper {
    /// What holds now: first what nobody takes care of, then by severity, the newest first; what ended
    /// last; and what is pending.
    pub(super) fn incidents_topic(&self) -> BTreeMap<String, Value> {
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
            ("ended".into(), self.ended_incidents.values().rev().cloned().collect()),
            ("pending".into(), pending.map(short).collect()),
            ("pending_count".into(), json!(self.pending.len())),
        ])
    }

    /// What stands out and does not for long enough yet.
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }
}

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
