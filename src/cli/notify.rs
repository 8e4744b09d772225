//! `tidewatch notify`: what a route would send, and once more what was left out.

use serde_json::{Value, from_value};
use thiserror::Error;
use tidewatch_notify::{Channel, Events, Failure, Receipt, Way, Wrong, samples};

use super::alerts::{AlertsError, find};
use super::args::NotifyAction;
use crate::actors::ports::{IncidentRecords as _, StoreError};
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::domain::incident::{Notification, Of, Route, Step};
use crate::domain::near;
use crate::store::records::StoredRecords;

/// Why it did not work.
#[derive(Debug, Error)]
pub enum NotifyError {
    /// No route is called so.
    #[error("no route is called {0:?}; there are {1}")]
    NoRoute(String, String),
    /// The configuration does not have the channel.
    #[error("there is no channel {0:?} in the configuration")]
    NoChannel(String),
    /// The channel cannot be opened.
    #[error("channel.{0}.{1}")]
    Wrong(String, Wrong),
    /// It goes into a stream, and not by hand.
    #[error(
        "channel {0:?} is published into a stream, each notification exactly once, by the process that \
         serves: nothing is sent there by hand"
    )]
    Published(String),
    /// It was not delivered.
    #[error("{0}: not delivered: {1}")]
    Failed(String, Failure),
    /// It is not kept any more, or never was.
    #[error("there is no notification {0}: GET /v1/notifications has those that are kept")]
    NoNotification(u64),
    /// The data folder cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No server answers.
    #[error(transparent)]
    Server(#[from] AlertsError),
}

/// Carries out one action and says what came of it.
///
/// # Errors
/// When something is missing, or is not delivered.
pub fn run(
    config: &Config,
    listen: Option<&str>,
    action: &NotifyAction,
) -> Result<String, NotifyError> {
    let clock = SystemClock::shared();
    match action {
        NotifyAction::Test { route, send } => test(config, &clock, route, *send),
        NotifyAction::Again { n } => {
            let server = find(config, listen)?;
            let page: Value = server
                .get(&format!("/v1/notifications?after={}&limit=1", n.saturating_sub(1)))
                .map_err(AlertsError::from)?;
            let told: Option<Notification> = from_value(page["items"][0].clone()).ok();
            let told = told.filter(|told| told.n == *n).ok_or(NotifyError::NoNotification(*n))?;
            let told = if told.recipient.is_some() { whole(config, *n)? } else { told };
            let channel = open(config, &clock, &told.channel)?;
            let channel = channel.delivers();
            let channel = channel.ok_or_else(|| NotifyError::Published(told.channel.clone()))?;
            deliver(&*channel, &told, &mut None)
        }
    }
}

/// A notification to one person, whose address no server gives out: as the data folder has it.
fn whole(config: &Config, n: u64) -> Result<Notification, NotifyError> {
    let records = StoredRecords::open(&config.general.data_dir)?;
    let found = records.notifications(n.saturating_sub(1), None, 1)?;
    found.into_iter().find(|told| told.n == n).ok_or(NotifyError::NoNotification(n))
}

fn test(
    config: &Config,
    clock: &SharedClock,
    name: &str,
    send: bool,
) -> Result<String, NotifyError> {
    let names = || config.routes.iter().map(|route| route.name.as_str());
    let Some(route) = config.routes.iter().find(|route| route.name == name) else {
        let known = names().collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        return Err(NotifyError::NoRoute(name.into(), known + &near::hint(name, names())));
    };
    let channel = open(config, clock, &route.channel)?;
    let now = clock.wall();
    let about = format!("test-{now}");
    let labels = config.place().labels;
    let all = samples((&route.name, &route.channel), &labels, (now, &about));
    let (mut said, mut before) = (Vec::new(), None);
    for told in all.iter().filter(|told| takes(route, told)) {
        let step = told.step.word();
        let shown = match &channel {
            Way::Publishes(_) if send => return Err(NotifyError::Published(told.channel.clone())),
            Way::Delivers(channel) if send => {
                said.push(deliver(&**channel, told, &mut before)?);
                continue;
            }
            Way::Delivers(channel) => channel.preview(told),
            Way::Publishes(events) => published(events, told),
        };
        let shown = shown.map_err(|why| NotifyError::Failed(step.into(), why))?;
        said.push(format!("# {step}\n{shown}"));
    }
    Ok(said.join("\n"))
}

/// What would be published.
#[cfg(feature = "nats")]
fn published(events: &Events, told: &Notification) -> Result<String, Failure> {
    let to = (told.channel.as_str(), events.stream.as_str(), events.subject.as_str());
    Ok(crate::nats::out::notifications::shown(to, told, events.data(told)?))
}

/// A configuration with such a channel is not taken in a build without NATS.
#[cfg(not(feature = "nats"))]
fn published(_: &Events, _: &Notification) -> Result<String, Failure> {
    Err(Failure::Never { cause: crate::config::missing("NATS", "nats") })
}

/// Whether a route may send such a thing.
fn takes(route: &Route, told: &Notification) -> bool {
    let of_many = |route: &Route| route.digest > 0 || route.quiet.is_some();
    match told.step {
        // A route tells many, and never this.
        Step::Nudge => false,
        Step::Occurred => route.of == Of::Occurrences && route.digest == 0,
        // Of a digest there is a sample of each kind.
        Step::Digest => {
            let of_incidents = told.facts["named"][0].get("rule").is_some();
            of_many(route) && of_incidents == (route.of == Of::Incidents)
        }
        Step::Fired | Step::Again | Step::Acknowledged | Step::Resolved => {
            route.of == Of::Incidents
                && route.digest == 0
                && (told.step != Step::Again || route.repeat > 0)
                && (told.step != Step::Acknowledged || route.acknowledged)
                && (told.step != Step::Resolved || route.resolved)
        }
    }
}

fn open(config: &Config, clock: &SharedClock, name: &str) -> Result<Way, NotifyError> {
    let spec = config.channels.iter().find(|channel| channel.name == name);
    let spec = spec.ok_or_else(|| NotifyError::NoChannel(name.into()))?;
    spec.open(&config.place(), clock).map_err(|wrong| NotifyError::Wrong(name.into(), wrong))
}

fn deliver(
    channel: &dyn Channel,
    told: &Notification,
    before: &mut Option<String>,
) -> Result<String, NotifyError> {
    let step = told.step.word();
    let failed = |why| NotifyError::Failed(step.into(), why);
    let Receipt { says, remember, lacks, .. } =
        channel.deliver(told, before.as_deref()).map_err(failed)?;
    *before = remember.or(before.take());
    let lacks = lacks.map(|lacks| format!("; but {lacks}")).unwrap_or_default();
    Ok(format!("{step}: delivered by {}: {says}{lacks}", told.channel))
}
