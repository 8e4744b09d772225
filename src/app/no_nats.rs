//! What stands in for `nats` in a build without it: there is never a connection, and a
//! configuration that asks for one does not start and says why.

use std::sync::Arc;

use super::builder::StartError;
use super::running::Running;
use crate::actors::ports::{EventLog, Source};
use crate::actors::status::Status;
use crate::clock::SharedClock;
use crate::config::{Config, missing};
use crate::domain::event::Schema;
use crate::nats::settings::OutSettings;
use crate::sink::Outputs;
use crate::store::folder::Folder;

/// The labels of all outputs.
pub const OUTPUTS: &[&str] = &[];

pub type Sources = Vec<Box<dyn Source>>;

pub enum Link {}

/// # Errors
/// `Missing` with `nats.url`.
pub fn open(config: &Config, _: &SharedClock) -> Result<Option<(Link, Sources)>, StartError> {
    match config.nats.link {
        None => Ok(None),
        Some(_) => {
            Err(StartError::Missing(format!("nats.url is set; {}", missing("NATS", "nats"))))
        }
    }
}

/// # Errors
/// Always: there are no streams in this build.
#[cfg(feature = "replay")]
pub fn past(
    _: &Config,
    _: Option<&str>,
    _: u64,
    _: crate::domain::time::EpochMs,
) -> Result<(Box<dyn Source>, String), String> {
    Err(missing("NATS", "nats"))
}

pub fn show_state(link: &Link, _: &str, _: &Arc<Status>, _: &SharedClock) {
    match *link {}
}

pub fn gateway(
    _: &Config,
    link: &Link,
    _: &Arc<Schema>,
) -> Result<Option<Arc<dyn EventLog>>, StartError> {
    match *link {}
}

/// # Errors
/// As [`open`].
pub fn patient_log(
    config: &Config,
    _: &Arc<Schema>,
    _: Folder,
) -> Result<Option<Box<dyn EventLog>>, StartError> {
    open(config, &crate::clock::SystemClock::shared()).map(|_| None)
}

impl Running {
    pub(super) fn send_to_nats(&self, link: &Link, _: OutSettings) -> Outputs {
        match *link {}
    }

    #[cfg(feature = "notify")]
    pub(super) fn publish_told(
        &self,
        link: &Link,
        _: &OutSettings,
        _: Vec<super::channels::Published>,
    ) -> Outputs {
        match *link {}
    }
}
