//! The topic of a funnel: how many reached each of its steps, left there, and how long it took
//! from the step before. All of it are numbers of its metrics, put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Keeper;
use super::metric_topic::about;
use crate::board::bound::label;
use crate::board::{Topic, TopicAbout, TopicState};
use crate::metric::groups::group_text;
use crate::metric::number::Values;
use crate::pattern::{FunnelSpec, LEFT, Pattern, PatternSpec, REACHED, Seeks, WAITED, metric_name};

/// Most groups on the board; those that most began in.
const GROUPS_SHOWN_MAX: usize = 20;

/// Numbers by their labels: the step, and what it is told apart by.
type Numbers = BTreeMap<Vec<String>, f64>;

/// What the metrics of funnels say now, by their index.
pub(super) type MetricNumbers = BTreeMap<usize, Values>;

impl Keeper {
    /// The metrics of all funnels, by index.
    pub(super) fn metrics_of_funnels(&self) -> Vec<usize> {
        let funnels = self.patterns.list.iter().map(|pattern| &pattern.spec);
        let funnels = funnels.filter(|spec| matches!(spec.seeks, Seeks::Funnel(_)));
        let names = funnels.flat_map(|spec| {
            let all = [REACHED, LEFT, WAITED].map(|what| [(what, false), (what, true)]);
            all.into_iter().flatten().map(|(what, by)| metric_name(&spec.name, what, by))
        });
        names.filter_map(|name| self.metric_named(&name)).collect()
    }

    /// The topics of all funnels, by name.
    pub(super) fn funnel_topics(&self, now: &MetricNumbers) -> Vec<(String, Arc<Topic>)> {
        let topic = |pattern: &Pattern| match &pattern.spec.seeks {
            Seeks::Funnel(funnel) => {
                let topic = self.funnel_topic(pattern, funnel, now);
                Some((pattern.spec.name.clone(), Arc::new(topic)))
            }
            _ => None,
        };
        self.patterns.list.iter().filter_map(topic).collect()
    }

    fn funnel_topic(&self, pattern: &Pattern, funnel: &FunnelSpec, now: &MetricNumbers) -> Topic {
        let name = &pattern.spec.name;
        let numbers = |by| {
            [REACHED, LEFT, WAITED].map(|what| self.by_labels(&metric_name(name, what, by), now))
        };
        let steps = steps(funnel, &numbers(false), &[]);
        let mut state = BTreeMap::from([("steps".to_owned(), json!(steps))]);
        let mut about = self.funnel_about(pattern);
        if !pattern.spec.attributes.is_empty() {
            let numbers = numbers(true);
            let began = |labels: &[String]| labels.first() == funnel.names.first();
            let mut groups: Vec<(&[String], f64)> = numbers[0]
                .iter()
                .filter(|(labels, _)| began(labels))
                .map(|(labels, began)| (&labels[1..], *began))
                .collect();
            groups.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
            if groups.len() > GROUPS_SHOWN_MAX {
                let all = groups.len();
                about.note += &format!("; the greatest {GROUPS_SHOWN_MAX} of {all} groups");
                groups.truncate(GROUPS_SHOWN_MAX);
            }
            let group = |(labels, _): (&[String], f64)| {
                let text = group_text(labels);
                json!({ "group": label(&text), "steps": self::steps(funnel, &numbers, labels) })
            };
            let groups: Vec<Value> = groups.into_iter().map(group).collect();
            state.insert("groups".to_owned(), json!(groups));
        }
        Topic { about, state: TopicState::Map(state) }
    }

    fn funnel_about(&self, pattern: &Pattern) -> TopicAbout {
        let of = |what, by| self.metric_named(&metric_name(&pattern.spec.name, what, by));
        let metrics = self.engine.metrics();
        let mut about = TopicAbout {
            title: pattern.spec.title.clone(),
            panel: "funnel",
            columns: pattern.spec.attributes.iter().map(|(name, _)| name.clone()).collect(),
            ..of(REACHED, false).map(|index| about(&metrics[index])).unwrap_or_default()
        };
        let median = of(WAITED, false).and_then(|index| metrics[index].spec.aggregate.accuracy());
        about.note = median.map_or_else(String::new, |near| format!("median {near}"));
        let beyond = |index| self.engine.overflow[index];
        let beyond = of(REACHED, true).map_or(0, beyond);
        if beyond > 0 {
            about.note += &format!("; {beyond} steps in groups beyond group_limit");
        }
        let mut tallies = self.patterns().filter(|(spec, _)| spec.name == pattern.spec.name);
        let lacks = tallies.next().map(|one| self.lacks(one));
        if let Some(lacks) = lacks.filter(|lacks| !lacks.is_empty()) {
            about.note += &format!("; {lacks}");
        }
        about
    }

    fn metric_named(&self, name: &str) -> Option<usize> {
        self.engine.metrics().iter().position(|metric| metric.spec.name == name)
    }

    /// What a metric says now, by labels.
    fn by_labels(&self, name: &str, now: &MetricNumbers) -> Numbers {
        let index = self.metric_named(name);
        let Some((index, now)) = index.and_then(|index| Some((index, now.get(&index)?))) else {
            return Numbers::new();
        };
        let state = self.engine.state(index);
        let number =
            |(group, value): &(u32, f64)| Some((state.groups.labels(*group)?.to_vec(), *value));
        now.scalars().iter().filter_map(number).collect()
    }
}

/// Whether the topic `patterns` is not where it stands.
pub(super) fn has_own_topic(spec: &PatternSpec) -> bool {
    matches!(spec.seeks, Seeks::Funnel(_) | Seeks::Sessions(_))
}

/// Each step of one group, in order.
fn steps(
    funnel: &FunnelSpec,
    [reached, left, waited]: &[Numbers; 3],
    group: &[String],
) -> Vec<Value> {
    let of = |numbers: &Numbers, name: &String| {
        let labels: Vec<String> = std::iter::once(name).chain(group).cloned().collect();
        numbers.get(&labels).copied()
    };
    let step = |name: &String| {
        json!({
            "step": name,
            "reached": of(reached, name).unwrap_or(0.0),
            "left": of(left, name).unwrap_or(0.0),
            "median_s": of(waited, name),
        })
    };
    funnel.names.iter().map(step).collect()
}
