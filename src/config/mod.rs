//! Configuration: defaults, then the file, then the environment, then flags.
//!
//! [`Config::load`] reads all four, checks every value and every combination, and
//! either returns settings that can be run or names each mistake with its place, key,
//! value and rule. Parts never see the whole: each gets the settings struct it owns.
//! Nothing here acts on a setting.

mod aggregates;
mod attributes;
mod changes;
#[cfg(feature = "notify")]
mod channels;
#[cfg(not(feature = "notify"))]
#[path = "no_channels.rs"]
mod channels;
mod conditions;
mod demo;
mod document;
mod dry_run;
mod events;
mod formulas;
mod funnels;
mod general;
mod incidents;
mod item;
mod joins;
mod kinds;
mod load;
mod lookups;
mod meaning;
mod metric_keys;
mod metrics;
mod nats;
mod nudges;
mod patterns;
mod possible;
mod print;
mod problem;
mod reader;
mod reference;
mod routes;
mod rules;
mod sections;
mod toml_text;
pub mod units;
mod values;
mod warnings;
mod whole;
mod windows;

pub use demo::{demo_mail, demo_overrides};
pub use dry_run::DryRun;
pub use events::{EventsConfig, TimeMissing};
pub use general::General;
pub use incidents::Incidents;
pub use load::{ConfigError, ENV_PREFIX, Flag, environment};
pub use lookups::Lookup;
pub use nats::NatsConfig;
pub use nudges::{NudgesConfig, strong as strong_secret};
pub use patterns::pattern_keys;
pub use problem::Problem;
pub use reference::{reference, written_default};
pub use rules::{rule_keys, rule_value};
pub use units::{parse_size, parse_span, show_size, show_span};
pub use warnings::missing;
pub use whole::{Config, SHIPPED, names_type};

#[cfg(test)]
mod tests;
