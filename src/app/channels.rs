//! Starts the channels beside a running pipeline.

use std::sync::Arc;

use super::builder::StartError;
use super::running::Running;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::notify::{self, Opened, Parts};

/// Opens every channel: what its keys refer to must be there.
///
/// # Errors
/// The channel and the key that keep it from working.
pub fn open(config: &Config, clock: &SharedClock) -> Result<Vec<Opened>, StartError> {
    let place = config.place();
    let open = |spec: &tidewatch_notify::Spec| {
        let channel = spec.open(&place, clock).map_err(|wrong| {
            let (key, rule) = (wrong.key, wrong.rule);
            StartError::Missing(format!("channel.{}.{key}: {rule}", spec.name))
        })?;
        Ok(Opened {
            name: spec.name.clone(),
            channel: channel.into(),
            retry_max: spec.keys.retry_max,
            tries_max: spec.keys.tries_max,
            give_up: spec.keys.give_up,
        })
    };
    config.channels.iter().map(open).collect()
}

impl Running {
    /// Delivers notifications over these channels, with their notes in the data folder.
    pub(super) fn notify(&mut self, channels: Vec<Opened>) -> Result<(), StartError> {
        let parts = Parts {
            records: Arc::clone(&self.web.incidents),
            clock: Arc::clone(&self.web.clock),
            status: Arc::clone(&self.web.status),
        };
        let started = notify::start(channels, self.folder.path(), &parts);
        self.outputs.extend(started?);
        Ok(())
    }
}
