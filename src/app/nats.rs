//! The connection to NATS, the sources that read from it, and what is published there, as
//! the configuration says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::builder::StartError;
use crate::actors::ports::{AppendError, Appended, BoxFuture, EventLog, Offer, Offered, Source};
use crate::actors::status::Status;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::domain::condition::Condition;
use crate::domain::event::Schema;
use crate::nats::gateway::Gateway;
use crate::nats::source::JetSource;
use crate::nats::{Denied, NatsError};
use crate::store::folder::Folder;

#[cfg(feature = "replay")]
pub use super::past::past;
pub use crate::nats::link::Link;
pub use crate::nats::out::OUTPUTS;

impl From<NatsError> for StartError {
    fn from(error: NatsError) -> Self {
        StartError::Source(error.to_string())
    }
}

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

/// How often it is looked whether what was denied is still told of.
const DENIED_LOOK: Duration = Duration::from_secs(5);

/// Tells the status how the connection stands, as long as it lives, and what the server does not
/// let us do. `gateway`: where events are posted to.
pub fn show_state(link: &Link, gateway: &str, status: &Arc<Status>, clock: &SharedClock) {
    let (url, status, clock) = (link.url().to_owned(), Arc::clone(status), clock.clone());
    let (mut state, api, gateway) = (link.state(), link.api().to_owned(), gateway.to_owned());
    // The task holds no `Link`: it ends with the connection's thread.
    drop(link.spawn(async move {
        loop {
            let now = state.borrow_and_update().clone();
            let at = clock.elapsed();
            let denied: Vec<&Denied> =
                now.denied.iter().filter(|denied| denied.holds(at)).collect();
            // Without these nothing is read, or nothing can be posted.
            let needed = |denied: &&&Denied| {
                let subject = denied.subject.as_str();
                let asks = subject.strip_prefix(&api).is_some_and(|rest| rest.starts_with('.'));
                denied.answers() || (denied.publishes() && (asks || subject == gateway))
            };
            let needed = denied.iter().find(needed).map(|denied| user(denied));
            let away = |cause: String| NatsError::Away { url: url.clone(), cause }.to_string();
            let reason = match now.error.as_str() {
                "" => away("connecting".into()),
                error => away(error.to_owned()),
            };
            status.stands(Condition::NatsAway, (!now.connected).then_some(reason));
            status.stands(Condition::NatsRefuses, needed.filter(|_| now.connected));
            let says: Vec<String> = denied.into_iter().map(user).collect();
            let says = (!says.is_empty()).then(|| says.join("; "));
            status.stands(Condition::NatsDenied, says);
            if let Ok(Err(_)) = tokio::time::timeout(DENIED_LOOK, state.changed()).await {
                return;
            }
        }
    }));
}

fn user(denied: &Denied) -> String {
    format!("NATS: this user {denied}")
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
struct PatientLog {
    link: Link,
    log: Arc<dyn EventLog>,
    patience: Duration,
    /// No server may start on the folder meanwhile.
    _folder: Folder,
}

/// The stream as the log of `tidewatch dead-letters` beside an idle folder; `None` without
/// `nats.url`.
///
/// # Errors
/// When a setting cannot be used, or nothing may be published.
pub fn patient_log(
    config: &Config,
    schema: &Arc<Schema>,
    folder: Folder,
) -> Result<Option<Box<dyn EventLog>>, NatsError> {
    let Some(settings) = &config.nats.link else { return Ok(None) };
    let link = Link::open(settings.clone())?;
    let log = gateway(config, &link, schema)?.ok_or_else(|| NatsError::Setting {
        key: "nats.gateway.subject".into(),
        cause: "is empty, so nothing can be sent to the stream again".into(),
    })?;
    let patience = settings.request_timeout;
    Ok(Some(Box::new(PatientLog { link, log, patience, _folder: folder })))
}

impl PatientLog {
    async fn ready(&self) -> Result<(), AppendError> {
        let (link, patience) = (self.link.clone(), self.patience);
        // The timer runs on the connection's thread, whatever runs this.
        let ready = self.link.spawn(async move {
            let ready = tokio::time::timeout(patience, link.ready()).await;
            ready.unwrap_or_else(|_| Err(link.away()))
        });
        match ready.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(AppendError::Away(error.to_string())),
            Err(error) => Err(AppendError::Broken(error.to_string())),
        }
    }
}

impl EventLog for PatientLog {
    fn append(&self, events: Vec<Bytes>) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            self.ready().await?;
            self.log.append(events).await
        })
    }

    fn offer(&self, offers: Vec<Offer>) -> BoxFuture<'_, Result<Offered, AppendError>> {
        Box::pin(async move {
            self.ready().await?;
            self.log.offer(offers).await
        })
    }

    fn backlog(&self) -> (u64, u64) {
        self.log.backlog()
    }
}
