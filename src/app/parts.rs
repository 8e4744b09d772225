//! From the configuration to the settings that each part owns.

use std::sync::Arc;

use crate::config::Config;
use crate::domain::event::Schema;
use crate::store;
use crate::web;

/// Settings of the state store.
pub fn state_settings(config: &Config) -> store::Settings {
    store::Settings {
        snapshot_delta_bytes: config.store.snapshot_bytes_min as u64,
        alerts_max: config.store.alerts_max as u64,
        alerts_bytes_max: config.store.alerts_bytes_max as u64,
        late_max: config.store.late_max as u64,
        late_bytes_max: config.store.late_bytes_max as u64,
        dead_letters_max: config.store.dead_letters_max as u64,
        dead_letters_bytes_max: config.store.dead_letters_bytes_max as u64,
        rollups_keep: config.store.rollups_keep,
        ..store::Settings::default()
    }
}

/// Settings of the embedded log.
pub fn log_settings(config: &Config) -> store::log::Settings {
    store::log::Settings {
        backlog_max: config.log.backlog_max,
        keep_events: config.log.keep_events,
        keep_bytes: config.log.keep_bytes as u64,
        queue_bytes: config.log.queue_bytes_max,
        group_bytes: config.log.group_bytes_max,
        recent_bytes: config.log.recent_bytes_max,
        // What the feed keeps, the alert log keeps too.
        alerts_max: config.store.alerts_max as u64,
        alerts_bytes_max: config.store.alerts_bytes_max as u64,
        ..store::log::Settings::default()
    }
}

/// Settings of the web side.
pub fn web_settings(config: &Config) -> web::Settings {
    web::Settings {
        listen: config.web.listen,
        insecure_no_auth: config.web.insecure_no_auth,
        hosts: config.web.hosts.clone(),
        origins: config.web.origins.clone(),
        body_bytes_max: config.web.body_bytes_max,
        inflated_bytes_max: config.web.inflated_bytes_max,
        connections_max: config.web.connections_max,
        sockets_max: config.web.connections_max,
        workers: config.web.workers,
        intake_bytes_max: config.web.intake_bytes_max,
        events_max: config.web.events_max,
        answers_bytes_max: config.web.answers_bytes_max,
        metrics_series_max: config.web.metrics_series_max,
        body_timeout: config.web.body_timeout,
        drain_timeout: config.web.drain_timeout,
    }
}

/// The schema that events are decoded with, under a data folder's seed.
pub fn schema(config: &Config, seed: u64) -> Arc<Schema> {
    Arc::new(config.schema(seed))
}
