//! What stands in for `channels` in a build without them: no configuration has one.

use std::path::Path;
use std::sync::Arc;

use super::builder::StartError;
use super::nats::Link;
use super::running::Running;
use crate::actors::quiet::Quiet;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::domain::nudge::Seal;
use crate::nats::settings::OutSettings;
use crate::store::state::Figures;
use crate::web::Mailbox;

/// Whether this build has them.
pub const IN_BUILD: bool = false;

#[derive(Default)]
pub struct Channels {}

impl Channels {
    /// # Errors
    /// Never.
    pub fn open(_: &Config, _: &SharedClock) -> Result<Channels, StartError> {
        Ok(Channels {})
    }
}

/// Nothing was written.
pub fn mailbox(_: &Path) -> Option<Arc<dyn Mailbox>> {
    None
}

/// Nothing is kept for nobody.
pub fn keep_for(_: &Channels, _: &Figures) {}

/// # Errors
/// Never.
pub fn seals(_: &Config) -> Result<Vec<Arc<dyn Seal>>, StartError> {
    Ok(Vec::new())
}

impl Running {
    pub(super) fn notify(
        &mut self,
        _: Channels,
        _: Arc<Quiet>,
        _: Option<&Link>,
        _: &OutSettings,
    ) -> Result<(), StartError> {
        Ok(())
    }
}
