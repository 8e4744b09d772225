//! Incidents in a commit: what rules said becomes incidents, and what people did is in the commit that
//! follows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Keeper;
use super::rule_alerts::About;
use super::rules::{kept_id, rule_id};
use crate::alert::Alert;
use crate::anomaly::{Alarm, Rule, State as _};
use crate::board::bound::label;
use crate::commit::{CommitUnit, SectionWriter};
use crate::incident::{Command, Desk, DeskSettings, Incident, Phase, Refused, Signal, Watch};
use crate::metric::Metric;
use crate::metric::groups::group_text;
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

    /// Incidents of this barrier, and what is told of them and of the occurrences.
    pub(super) fn attend(
        &mut self,
        occurrences: usize,
        mut signals: Vec<Signal>,
        unit: &mut CommitUnit,
    ) {
        let mut out = std::mem::take(&mut self.commanded);
        let lateness = self.engine.lateness();
        // The end of a session is known when it has come, a match when nothing can come before it.
        let known = |alert: &Alert| {
            alert.at.saturating_add(if alert.kind == ABANDONED { 0 } else { lateness })
        };
        let occurrences = if self.desk.wants_occurrences() { occurrences } else { 0 };
        let occurrences = unit.alerts[..occurrences].iter();
        let occurrences = occurrences.map(|alert| (known(alert), alert)).collect();
        if std::mem::take(&mut self.restored) {
            signals.splice(0..0, self.standing());
        }
        self.desk.run(signals, occurrences, unit.watermark, self.wall, &mut out);
        let entries = self.desk.entries(&out);
        if !entries.is_empty() {
            unit.delta.push(SectionWriter::entries(&entries));
        }
        unit.incidents = out;
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
    fn standing(&self) -> Vec<Signal> {
        let mut signals = Vec::new();
        for rule in &self.watching {
            let metrics = self.engine.metrics();
            let watched = |metric: &Metric| metric.spec.name == rule.metric;
            let Some(index) = metrics.iter().position(watched) else { continue };
            let id = rule_id(rule, metrics);
            for (_, group) in self.watched(rule, index) {
                let text = group.as_ref().map(|kept| group_text(&kept.labels));
                let state = self.state.rules.get(&kept_id(&id, text.as_deref()));
                let Some(Alarm::Up { since, raised, peak, .. }) =
                    state.map(|one| one.state.alarm())
                else {
                    continue;
                };
                let subject = text.unwrap_or_default();
                if self.desk.holds(&rule.name, &subject) {
                    continue;
                }
                let labels = group.as_ref().map(|kept| &kept.labels);
                let about = About { rule, metric: &metrics[index], labels };
                signals.push(about.standing((*since, *raised), peak, subject));
            }
        }
        signals
    }
}

/// Incidents that the topic has: those that matter most.
const SHOWN_MAX: usize = 100;

impl Keeper {
    /// What holds now: first what nobody takes care of, then by severity, the newest first.
    pub(super) fn incidents_topic(&self) -> BTreeMap<String, Value> {
        let mut open: Vec<&Incident> = self.desk.open().collect();
        let place = |incident: &Incident| {
            let severity = SEVERITIES.iter().position(|word| *word == incident.severity);
            (incident.phase() as u8, severity, std::cmp::Reverse(incident.fired))
        };
        open.sort_by_key(|incident| place(incident));
        let count = |phase: Phase| open.iter().filter(|one| one.phase() == phase).count();
        let counts = self.desk.counts();
        let row = |incident: &&Incident| {
            json!({
                "id": incident.id,
                "phase": incident.phase(),
                "severity": incident.severity,
                "rule": incident.rule,
                "title": label(&incident.title),
                "since": incident.since,
                "fired": incident.fired,
                "by": incident.acknowledged.as_ref().map(|said| label(&said.by)),
                "muted": incident.muted.as_ref().map(|muted| label(&muted.to_string()).into_owned()),
                "groups": incident.holds_for.len(),
                "runbook": incident.runbook,
            })
        };
        BTreeMap::from([
            ("firing".into(), json!(count(Phase::Firing))),
            ("acknowledged".into(), json!(count(Phase::Acknowledged))),
            ("silenced".into(), json!(count(Phase::Silenced))),
            ("so_far".into(), json!(counts.fired)),
            ("not_opened".into(), json!(counts.overflow)),
            ("held_back".into(), json!(counts.held_back)),
            ("open".into(), open.iter().take(SHOWN_MAX).map(row).collect()),
        ])
    }
}

/// What matters most first.
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

const ABANDONED: &str = "abandoned";
