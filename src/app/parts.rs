//! What parts get of the configuration where that is not a section as it stands.

use std::sync::Arc;

use crate::config::Config;
use crate::domain::event::Schema;
use crate::store;

/// Settings of the embedded log. What the feed of alerts keeps, the log of them keeps, too.
pub fn log_settings(config: &Config) -> store::log::Settings {
    store::log::Settings {
        alerts_max: config.store.alerts_max,
        alerts_bytes_max: config.store.alerts_bytes_max,
        ..config.log.clone()
    }
}

/// The schema that events are decoded with, under a data folder's seed.
pub fn schema(config: &Config, seed: u64) -> Arc<Schema> {
    Arc::new(config.schema(seed))
}
