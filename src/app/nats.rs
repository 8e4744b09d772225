//! The connection to NATS, the sources that read from it, and what is published there, as
//! the configuration says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::actors::ports::{AppendError, Appended, BoxFuture, EventLog, Source};
use crate::actors::status::Status;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::domain::event::Schema;
use crate::nats::NatsError;
use crate::nats::gateway::Gateway;
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

/// Keeps the reason of part `nats` as the connection stands, as long as it lives.
pub fn show_state(link: &Link, status: &Arc<Status>) {
    let (url, status, mut state) = (link.url().to_owned(), Arc::clone(status), link.state());
    // The task holds no `Link`: it ends with the connection's thread.
    drop(link.spawn(async move {
        loop {
            let now = state.borrow_and_update().clone();
            let cause = if now.error.is_empty() { "connecting".into() } else { now.error };
            let away = NatsError::Away { url: url.clone(), cause };
            status.set("nats", (!now.connected).then(|| away.to_string()));
            if state.changed().await.is_err() {
                return;
            }
        }
    }));
}

/// What takes posted events: the stream behind `nats.gateway.subject`; `None` when that is
/// empty.
///
/// # Errors
/// When the subject breaks a rule.
pub fn gateway(
    config: &Config,
    link: &Link,
    schema: &Arc<Schema>,
) -> Result<Option<Arc<dyn EventLog>>, NatsError> {
    let wanted = &config.nats.gateway;
    if wanted.subject.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(Gateway::new(link.clone(), wanted.clone(), Arc::clone(schema))?)))
}

/// The stream as the log of a command that runs for a moment: it waits for the connection.
pub struct PatientLog {
    link: Link,
    log: Arc<dyn EventLog>,
    patience: Duration,
}

impl PatientLog {
    /// For `tidewatch dead-letters` beside an idle folder; `None` without `nats.url`.
    ///
    /// # Errors
    /// When a setting cannot be used, or nothing may be published.
    pub fn open(config: &Config, schema: &Arc<Schema>) -> Result<Option<PatientLog>, NatsError> {
        let Some(settings) = &config.nats.link else { return Ok(None) };
        let link = Link::open(settings.clone())?;
        let log = gateway(config, &link, schema)?.ok_or_else(|| NatsError::Setting {
            key: "nats.gateway.subject".into(),
            cause: "is empty, so nothing can be sent to the stream again".into(),
        })?;
        Ok(Some(PatientLog { link, log, patience: settings.request_timeout }))
    }
}

impl EventLog for PatientLog {
    fn append(&self, events: Vec<Bytes>) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let (link, patience) = (self.link.clone(), self.patience);
            // The timer runs on the connection's thread, whatever runs this.
            let ready = self.link.spawn(async move {
                let ready = tokio::time::timeout(patience, link.ready()).await;
                ready.unwrap_or_else(|_| Err(link.away()))
            });
            match ready.await {
                Ok(Ok(())) => self.log.append(events).await,
                Ok(Err(error)) => Err(AppendError::Away(error.to_string())),
                Err(error) => Err(AppendError::Broken(error.to_string())),
            }
        })
    }

    fn backlog(&self) -> (u64, u64) {
        self.log.backlog()
    }
}
