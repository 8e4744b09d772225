//! Nudges in a commit: sessions that ended abandoned and goals that were reached, what is decided of them,
//! and who goes out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Keeper;
use crate::commit::{CommitUnit, SectionWriter};
use crate::nudge::{Abandoned, Command, NudgeSettings, NudgeView, Nudges, Refused};
use crate::pattern::{CUT, FoundMatch, More, Seeks};
use crate::time::EpochMs;

impl Keeper {
    /// What nudges go by. Before [`Keeper::restore`].
    pub fn set_nudges(&mut self, settings: NudgeSettings) {
        let lateness = self.engine.lateness();
        self.nudges = Nudges::new(NudgeSettings { lateness, ..settings });
    }

    /// The nudges.
    pub fn nudges(&self) -> &Nudges {
        &self.nudges
    }

    /// Carries out a command on nudges: how many addresses are new. It is durable with the next commit.
    ///
    /// # Errors
    /// Why it cannot be carried out; nothing has changed then.
    pub fn nudge_command(&mut self, command: &Command) -> Result<usize, Refused> {
        self.nudges.command(command)
    }

    /// What is decided at this barrier.
    pub(super) fn nudge(&mut self, unit: &mut CommitUnit) {
        let goals = std::mem::take(&mut self.goals);
        let ended = self.matches.iter().filter_map(|one| self.abandoned(one)).collect();
        let known = unit.watermark.saturating_sub(self.engine.lateness());
        let mut sent = Vec::new();
        self.nudges.run(goals, ended, known, self.wall, &mut sent);
        let mut entries = self.nudges.entries();
        if !sent.is_empty() {
            sent.into_iter().for_each(|one| self.desk.notify(one, &mut unit.incidents));
            // How many went out.
            entries.extend(self.desk.entries(&unit.incidents));
        }
        if !entries.is_empty() {
            unit.delta.push(SectionWriter::entries(&entries));
        }
    }

    /// A match as nudges see it; `None` where none is of its kind.
    fn abandoned(&self, one: &FoundMatch) -> Option<Abandoned> {
        let pattern = &self.patterns.list[usize::from(one.found.pattern)];
        let (Seeks::Sessions(sessions), More::Visited(visited)) =
            (&pattern.spec.seeks, &one.found.more)
        else {
            return None;
        };
        if !pattern.nudges(&one.found) {
            return None;
        }
        let mut facts = self.detail(one);
        facts.insert(CUT.into(), json!(visited.cut));
        for ((name, _), count) in sessions.counts.iter().zip(&visited.counts) {
            facts.insert(name.clone(), json!(count));
        }
        Some(Abandoned {
            of: pattern.spec.name.as_str().into(),
            key: one.key.clone(),
            name: one.found.name(&one.key, pattern),
            at: one.found.at,
            facts,
        })
    }

    /// Takes the entries of nudges out of those of the last commit.
    pub(super) fn restore_nudges(
        &mut self,
        entries: &mut BTreeMap<String, Value>,
        watermark: EpochMs,
    ) -> Result<(), String> {
        let own = entries.extract_if(.., |name, _| Nudges::owns(name)).collect::<Vec<_>>();
        self.nudges.restore(own, watermark.saturating_sub(self.engine.lateness()))
    }

    /// The topic of nudges: how each stands, and how many want to hear nothing.
    pub(super) fn nudges_topic(&self) -> BTreeMap<String, Value> {
        let views: Vec<NudgeView> = self.nudges.views();
        let (suppressed, most) = self.nudges.suppressed();
        BTreeMap::from([
            ("nudges".into(), json!(views)),
            ("suppressed".into(), json!(suppressed)),
            ("suppressed_max".into(), json!(most)),
        ])
    }
}
