//! What is sound and probably not meant.

use super::events::EventsConfig;
use super::whole::{Config, types_named};
use crate::domain::event::Schema;
use crate::domain::metric::{Facts, MetricSpec};
use crate::domain::near;

/// What is said where this build has no part for what is asked of it.
pub fn missing(part: &str, feature: &str) -> String {
    format!("this build has no {part}: build with --features {feature}")
}

impl Config {
    /// What is sound and probably not meant: names that differ from others by a slip of the
    /// pen, and those that nothing uses.
    pub fn warnings(&self) -> Vec<String> {
        let session = &self.session;
        let of_session: Vec<&str> =
            session.entry.iter().chain(&session.goal).chain(&session.steps).map(|s| &**s).collect();
        let mut warnings = Vec::new();
        #[cfg(not(feature = "nats"))]
        warnings.extend(self.nats.link.as_ref().map(|_| missing("NATS", "nats")));
        for metric in &self.metrics {
            let conditions = metric.filter.iter().chain(&metric.numerator);
            for event_type in conditions.flat_map(types_named) {
                if !of_session.contains(&event_type.as_str())
                    && let Some(near) = near::nearest(event_type, of_session.iter().copied())
                {
                    warnings.push(format!(
                        "metric.{}: the event type {event_type:?} is not the {near:?} of [session]",
                        metric.name
                    ));
                }
            }
        }
        let schema = self.schema(0);
        let fixed = ["ts", "type", "id"].map(String::from);
        let used: Vec<&str> =
            schema.keys.iter().chain(&schema.slots).chain(&fixed).map(|name| &**name).collect();
        let unused = |name: &str| {
            let near = near::hint(name, used.iter().copied());
            (!used.contains(&name)).then(|| format!("nothing uses the attribute {name:?}{near}"))
        };
        warnings.extend(self.derived_warnings(&schema));
        if self.events.aliases != EventsConfig::default().aliases {
            let aliases = self.events.aliases.iter().filter_map(|(from, to)| {
                Some(format!("events.aliases: {from:?} leads nowhere: {}", unused(to)?))
            });
            warnings.extend(aliases);
        }
        let numbers = self.events.numbers.iter();
        warnings.extend(
            numbers.filter_map(|(name, _)| Some(format!("events.numbers: {}", unused(name)?))),
        );
        warnings.extend(super::routes::warnings(&self.routes, &self.nudges, &self.channels));
        warnings.sort();
        warnings.dedup();
        warnings
    }

    /// Derived attributes that nothing uses, and names that are a slip of the pen away from one.
    fn derived_warnings(&self, schema: &Schema) -> Vec<String> {
        let names = || self.events.derived.iter().map(|(name, _)| name.as_str());
        let unused = names().filter(|name| schema.derived.iter().all(|one| one.name != *name));
        let mut warnings: Vec<String> = unused
            .map(|name| format!("events.derived.{name}: nothing uses it, so it is not computed"))
            .collect();
        for lookup in &self.lookups {
            let is_used = |name: &String| schema.derived.iter().any(|one| one.name == *name);
            for (name, _) in lookup.attributes.iter().filter(|(name, _)| !is_used(name)) {
                warnings.push(format!(
                    "lookup.{}.attributes: nothing uses {name:?}, so it is not looked up",
                    lookup.name
                ));
            }
        }
        // What they are computed of is meant.
        let meant: Vec<&String> = schema.derived.iter().flat_map(|one| one.how.names()).collect();
        let of_events = |metric: &&MetricSpec| metric.of == Facts::Events;
        for metric in self.metrics.iter().filter(of_events) {
            for name in metric.attributes().filter(|name| !meant.contains(name)) {
                if names().all(|known| known != name)
                    && let Some(near) = near::nearest(name, names())
                {
                    warnings.push(format!(
                        "metric.{}: the attribute {name:?} is not the {near:?} of [events.derived]",
                        metric.name
                    ));
                }
            }
        }
        warnings
    }
}
