//! The connection to NATS and the sources that read from it, as the configuration says.

use crate::actors::ports::Source;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::nats::NatsError;
use crate::nats::link::Link;
use crate::nats::source::JetSource;

/// The sources of `[nats]`, in the order of the configuration.
pub type Sources = Vec<Box<dyn Source>>;

/// Begins to connect and makes the sources; `None` without `nats.url`. Nothing is asked of
/// the server yet: the pipeline opens each source.
///
/// # Errors
/// When a setting cannot be used: a file that cannot be read, a template that breaks a rule.
pub fn open(config: &Config, clock: &SharedClock) -> Result<Option<(Link, Sources)>, NatsError> {
    let Some(settings) = &config.nats.link else { return Ok(None) };
    let link = Link::open(settings.clone())?;
    let sources = config.nats.sources.iter().map(|settings| {
        let source = JetSource::new(link.clone(), settings.clone(), clock.clone())?;
        Ok(Box::new(source) as Box<dyn Source>)
    });
    let sources = sources.collect::<Result<Sources, NatsError>>()?;
    Ok(Some((link, sources)))
}
