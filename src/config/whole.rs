//! Everything that can be set, and what an event's decoder takes of it.

use crate::actors::Settings;
use crate::demo as shop;
use crate::domain::anomaly::Rule;
use crate::domain::event::{Limits, Schema};
use crate::domain::incident::{Maintenance, Route};
use crate::domain::metric::{Condition, Facts, MetricSpec, Test};
use crate::domain::nudge::NudgeSpec;
use crate::domain::number::text::NumberFormat;
use crate::domain::pattern::{PatternSpec, Seeks};
use crate::domain::session::SessionPolicy;
use crate::domain::time::TimePolicy;
use crate::{store, web};

use super::attributes::Attributes;
use super::channels::Spec;
use super::dry_run::DryRun;
use super::events::{EventsConfig, TimeMissing};
use super::funnels::Funnel;
use super::general::General;
use super::incidents::Incidents;
use super::load::Origin;
use super::lookups::Lookup;
use super::nats::NatsConfig;
use super::nudges::NudgesConfig;

/// The shipped configuration file: every key commented out at its default, and the shipped
/// metrics and rules, which stand nowhere else.
pub const SHIPPED: &str = include_str!("../../config/tidewatch.toml");

/// Everything that can be set, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What stands outside the sections.
    pub general: General,
    /// What an event's attributes are called, and its bounds.
    pub events: EventsConfig,
    /// What is on time.
    pub time: TimePolicy,
    /// What a session is.
    pub session: SessionPolicy,
    /// Tables that events are looked up in.
    pub lookups: Vec<Lookup>,
    /// Patterns of events, and behind them joins and funnels.
    pub patterns: Vec<PatternSpec>,
    /// The funnels as they were declared.
    pub funnels: Vec<Funnel>,
    /// The metrics, and behind them those of funnels.
    pub metrics: Vec<MetricSpec>,
    /// The anomaly rules.
    pub rules: Vec<Rule>,
    /// What holds for all incidents.
    pub incidents: Incidents,
    /// What all nudges have in common.
    pub nudging: NudgesConfig,
    /// What delivers notifications.
    pub channels: Vec<Spec>,
    /// Where notifications go, in order.
    pub routes: Vec<Route>,
    /// Words to those who left something behind.
    pub nudges: Vec<NudgeSpec>,
    /// Planned work.
    pub maintenance: Vec<Maintenance>,
    /// Bounds and beats of the pipeline.
    pub pipeline: Settings,
    /// What the state store keeps.
    pub store: store::Settings,
    /// The embedded log.
    pub log: store::log::Settings,
    /// HTTP, websocket and the page.
    pub web: web::Settings,
    /// Bounds of dry runs.
    pub dry_run: DryRun,
    /// The simulated shop.
    pub demo: shop::Settings,
    /// NATS: streams in, alerts and boards out.
    pub nats: NatsConfig,
    /// What it was read from, for [`Config::with`].
    pub written: Origin,
}

impl Config {
    /// The patterns and joins that were declared as such.
    pub(super) fn own_patterns(&self) -> impl Iterator<Item = &PatternSpec> {
        self.patterns.iter().filter(|one| !matches!(one.seeks, Seeks::Funnel(_)))
    }

    /// The metrics that were declared as such.
    pub(super) fn own_metrics(&self) -> impl Iterator<Item = &MetricSpec> {
        let of_funnels: Vec<String> =
            self.funnels.iter().flat_map(Funnel::names).map(|(name, _)| name).collect();
        self.metrics.iter().filter(move |metric| !of_funnels.contains(&metric.name))
    }

    /// What decoders and the engine look up in events. `seed` is the data folder's.
    pub fn schema(&self, seed: u64) -> Schema {
        let mut slots = Names::default();
        let mut event_types = Names::default();
        let session = &self.session;
        slots.extend(session.value.iter().chain(&session.segment));
        event_types.extend(session.steps.iter().chain(&session.entry).chain(&session.goal));
        event_types.extend(&session.remove);
        for metric in self.metrics.iter().filter(|metric| metric.of == Facts::Events) {
            slots.extend(metric.attributes());
            let conditions = metric.filter.iter().chain(&metric.numerator);
            let is_event = |name: &&String| !self.patterns.iter().any(|one| one.name == **name);
            event_types.extend(conditions.flat_map(types_named).filter(is_event));
            event_types.extend(metric.window.event().into_iter().filter(is_event));
        }
        for pattern in &self.patterns {
            slots.extend(pattern.of_events());
            let conditions = pattern.seeks.conditions().into_iter().flat_map(|(_, list)| list);
            event_types.extend(conditions.flat_map(types_named));
        }
        // Those that nothing uses cost nothing. From the last one on: each is behind those that it
        // is computed of.
        let mut derived = Attributes::of(&self.events, &self.lookups).0.derived;
        for at in (0..derived.len()).rev() {
            if slots.0.contains(&derived[at].name) {
                slots.extend(derived[at].how.names())
            } else {
                drop(derived.remove(at))
            }
        }
        Schema {
            keys: self.events.keys.clone(),
            anonymous: self.session.identify.clone(),
            aliases: self.events.aliases.clone(),
            slots: slots.0,
            derived,
            event_types: event_types.0,
            patterns: self.patterns.iter().map(|pattern| pattern.name.clone()).collect(),
            // Both were checked when the configuration was read.
            time: self.events.time_rule().unwrap_or_default(),
            arrival_is_time: self.events.time_missing == TimeMissing::Arrival,
            numbers: self.events.numbers.iter().filter_map(number_format).collect(),
            seed,
            limits: Limits { session_key_bytes: self.session.key_bytes_max, ..self.events.limits },
        }
    }
}

/// An attribute with its format of numbers.
fn number_format((name, example): &(String, String)) -> Option<(String, NumberFormat)> {
    Some((name.clone(), NumberFormat::by_example(example).ok()?))
}

/// Whether a metric counts events or matches of this type by name, or begins anew with them.
pub fn names_type(spec: &MetricSpec, name: &str) -> bool {
    spec.filter.iter().flat_map(types_named).chain(spec.window.event()).any(|named| named == name)
}

/// The event types that a condition names.
pub(super) fn types_named(condition: &Condition) -> &[String] {
    match &condition.test {
        Test::TextIn(texts) if condition.attribute == "type" => texts,
        _ => &[],
    }
}

/// Names in order of first mention, each once.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn extend<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        for name in names {
            if !self.0.contains(name) {
                self.0.push(name.clone());
            }
        }
    }
}
