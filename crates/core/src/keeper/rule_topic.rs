//! The topic of a rule: the numbers that it saw and what it expected of them.

use super::Keeper;
use super::rules::{RULE_POINTS, RuleKept, kept_id, rule_id};
use crate::anomaly::{Rule, State as _};
use crate::board::{Series, Topic, TopicAbout, TopicState};
use crate::metric::Metric;
use crate::metric::groups::{Kept, group_text};

/// Most groups that a note names.
const NAMED_MAX: usize = 5;

impl Keeper {
    /// Of a metric with labels the numbers are those of one group: of those that stand out the one
    /// that does most, else the first.
    pub(super) fn rule_topic(&self, rule: &Rule) -> Topic {
        let metrics = self.engine.metrics();
        let watched = |metric: &Metric| metric.spec.name == rule.metric;
        let (kept, note) = match metrics.iter().position(watched) {
            Some(index) if metrics[index].spec.group_by.is_empty() => self.alone(rule, index),
            Some(index) => self.of_groups(rule, index),
            None => (None, format!("of {}", rule.metric)),
        };
        let points = kept.iter().flat_map(|kept| kept.points.iter()).map(|(end, value, band)| {
            (*end, vec![Some(*value), band.expected, band.low, band.high])
        });
        Topic {
            about: TopicAbout {
                title: rule.title.clone(),
                window: rule.detect.words(),
                columns: ["value", "expected", "low", "high"].map(String::from).into(),
                note,
                ..TopicAbout::default()
            },
            state: TopicState::Series(Series { capacity: RULE_POINTS, points: points.collect() }),
        }
    }

    fn alone(&self, rule: &Rule, index: usize) -> (Option<&RuleKept>, String) {
        let metrics = self.engine.metrics();
        let kept = self.state.rules.get(&rule_id(rule, metrics));
        let mut note = format!("of {}", rule.metric);
        if let Some((have, need)) =
            kept.unwrap_or(&RuleKept::new(rule)).learning(rule, &metrics[index])
        {
            note += &format!(", learning: {have} of {need} samples");
        }
        note += &recurred(kept.into_iter());
        (kept, note)
    }

    fn of_groups(&self, rule: &Rule, index: usize) -> (Option<&RuleKept>, String) {
        let metrics = self.engine.metrics();
        let id = rule_id(rule, metrics);
        let groups = self.watched().groups(rule, index).into_iter().filter_map(|(_, kept)| {
            let kept = kept.filter(Kept::is_present)?;
            Some(group_text(&kept.labels))
        });
        let all: Vec<(String, &RuleKept)> = groups
            .filter_map(|group| Some((self.state.rules.get(&kept_id(&id, Some(&group)))?, group)))
            .map(|(kept, group)| (group, kept))
            .collect();
        let far = |kept: &RuleKept| kept.state.alarm().far();
        let mut out: Vec<&(String, &RuleKept)> =
            all.iter().filter(|(_, kept)| far(kept).is_some()).collect();
        out.sort_by(|(_, a), (_, b)| {
            far(b).partial_cmp(&far(a)).unwrap_or(std::cmp::Ordering::Equal)
        });
        let shown = out.first().copied().or(all.first());
        let mut note = format!("of {}", rule.metric);
        note += &shown.map(|(group, _)| format!(": {group}")).unwrap_or_default();
        note += &format!(", {} of {} groups stand out", out.len(), all.len());
        if out.len() > 1 {
            let named: Vec<&str> =
                out.iter().take(NAMED_MAX).map(|(group, _)| group.as_str()).collect();
            note += &format!(" ({})", named.join(", "));
        }
        let learning =
            |kept: &&(String, &RuleKept)| kept.1.learning(rule, &metrics[index]).is_some();
        match all.iter().filter(learning).count() {
            0 => {}
            some => note += &format!(", {some} learning"),
        }
        let present = self.engine.state(index).groups.map().groups.values();
        note += &recurred(all.iter().map(|(_, kept)| *kept));
        let unwatched = |kept: &&Kept| kept.is_present() && kept.place as usize >= rule.groups_max;
        let left = present.filter(unwatched).count();
        if left > 0 {
            note += &format!(", {left} more are not watched: groups_max");
        }
        (shown.map(|(_, kept)| *kept), note)
    }
}

/// How often something stood out that was no alert.
fn recurred<'a>(kept: impl Iterator<Item = &'a RuleKept>) -> String {
    match kept.map(|kept| kept.state.recurred()).sum() {
        0 => String::new(),
        1 => ", once no further than often before: no alert (recurs)".to_owned(),
        times => format!(", {times} times no further than often before: no alert (recurs)"),
    }
}
