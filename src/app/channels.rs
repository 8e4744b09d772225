//! Starts the channels beside a running pipeline.

use std::io;
use std::path::Path;
use std::sync::Arc;

use metrics::gauge;
use tidewatch_notify::{Events, Way, Wrong};

use super::builder::StartError;
use super::nats::Link;
use super::running::Running;
use crate::actors::ports::Taker;
use crate::actors::quiet::Quiet;
use crate::clock::SharedClock;
use crate::config::{Config, strong_secret};
use crate::domain::condition::Condition;
use crate::domain::nudge::Seal;
use crate::nats::settings::OutSettings;
use crate::notify::{self, Opened, Parts};
use crate::store::state::Figures;
use crate::telemetry::names;
use crate::web;

/// The channels of a configuration, opened.
#[derive(Default)]
pub struct Channels {
    delivering: Vec<Opened>,
    pub(super) published: Vec<Published>,
}

/// A channel that is published into a stream.
pub(super) struct Published {
    pub name: String,
    #[cfg_attr(
        not(feature = "nats"),
        expect(dead_code, reason = "only a build with NATS publishes")
    )]
    pub events: Box<Events>,
    pub taker: Arc<Taker>,
}

impl Channels {
    /// Opens every channel: what its keys refer to must be there.
    ///
    /// # Errors
    /// The channel and the key that keep it from working.
    pub fn open(config: &Config, clock: &SharedClock) -> Result<Channels, StartError> {
        let place = config.place();
        let mut channels = Channels::default();
        for spec in &config.channels {
            let (name, taker) = (spec.name.clone(), Arc::default());
            let wrong = |key, rule| StartError::Missing(format!("channel.{name}.{key}: {rule}"));
            match spec.open(&place, clock).map_err(|Wrong { key, rule }| wrong(key, rule))? {
                Way::Publishes(_) if config.nats.link.is_none() => {
                    return Err(wrong("type", "needs nats.url, which is empty".into()));
                }
                Way::Publishes(events) => {
                    channels.published.push(Published { name, events, taker });
                }
                Way::Delivers(channel) => channels.delivering.push(Opened {
                    name,
                    channel: channel.into(),
                    retry_max: spec.keys.retry_max,
                    tries_max: spec.keys.tries_max,
                    give_up: spec.keys.give_up,
                    taker,
                }),
            }
        }
        Ok(channels)
    }

    /// Each with what it is told of how far it got.
    fn takers(&self) -> impl Iterator<Item = (&String, &Arc<Taker>)> {
        let published = self.published.iter().map(|one| (&one.name, &one.taker));
        self.delivering.iter().map(|one| (&one.name, &one.taker)).chain(published)
    }
}

/// Whether this build has them.
pub const IN_BUILD: bool = true;

/// The mails that a channel writes into a folder.
pub fn mailbox(folder: &Path) -> Option<Arc<dyn web::Mailbox>> {
    Some(Arc::new(Folder(tidewatch_notify::Mailbox::new(folder))))
}

/// A folder of mails, for the page.
struct Folder(tidewatch_notify::Mailbox);

impl web::Mailbox for Folder {
    fn newest(&self, most: usize) -> io::Result<(Vec<web::Listed>, usize)> {
        let (mails, count) = self.0.newest(most)?;
        Ok((mails.into_iter().map(listed).collect(), count))
    }

    fn mail(&self, key: &str) -> io::Result<Option<web::Mail>> {
        let mail = self.0.mail(key)?;
        Ok(mail.map(|mail| {
            let tidewatch_notify::Mail { listed: of, text, html, unsubscribe } = mail;
            web::Mail { listed: listed(of), text, html, unsubscribe }
        }))
    }
}

fn listed(mail: tidewatch_notify::Listed) -> web::Listed {
    let tidewatch_notify::Listed { key, to, subject, at } = mail;
    web::Listed { key, to: to.join(", "), subject, at }
}

/// What addresses are hashed with: the secret, and the one before it. None where there is no secret. Where
/// there is no nudge any more the links of those before still work.
///
/// # Errors
/// The key that keeps it from working.
pub fn seals(config: &Config) -> Result<Vec<Arc<dyn Seal>>, StartError> {
    let both =
        [("secret", &config.nudging.secret), ("secret_before", &config.nudging.secret_before)];
    let found = both.into_iter().map(|(key, secret)| {
        let wrong = |wrong: tidewatch_notify::Wrong| {
            StartError::Missing(format!("nudges.{}: {}", wrong.key, wrong.rule))
        };
        tidewatch_notify::seal(key, secret, strong_secret).map_err(wrong)
    });
    found.filter_map(Result::transpose).collect()
}

impl Running {
    /// Delivers notifications over these channels, with their notes in the data folder. What goes into
    /// streams does so over `link`, as `out` says.
    pub(super) fn notify(
        &mut self,
        channels: Channels,
        quiet: Arc<Quiet>,
        link: Option<&Link>,
        out: &OutSettings,
    ) -> Result<(), StartError> {
        self.tell_of_gone(&channels)?;
        if let Some(link) = link.filter(|_| !channels.published.is_empty()) {
            let outputs = self.publish_told(link, out, channels.published);
            self.outputs.push(outputs);
        }
        let parts = Parts {
            records: Arc::clone(&self.web.incidents),
            clock: Arc::clone(&self.web.clock),
            status: Arc::clone(&self.web.status),
            quiet,
        };
        let started = notify::start(channels.delivering, self.folder.path(), &parts);
        self.outputs.extend(started?);
        Ok(())
    }

    /// Says what waits for channels that are not in the configuration any more.
    fn tell_of_gone(&self, channels: &Channels) -> Result<(), StartError> {
        let records = &self.web.incidents;
        let mut waiting = 0;
        for name in records.notification_channels()? {
            if channels.takers().any(|(known, _)| *known == name) {
                continue;
            }
            let reached = notify::reached(self.folder.path(), &name);
            let count = records.notifications_after(reached, &name)?;
            waiting += count;
            let says = format!(
                "channel {name} is not in the configuration, and {count} notifications wait for it: \
                 write it there again, or see /v1/notifications?after={reached}"
            );
            let says = (count > 0).then_some(says);
            self.web.status.stands_for(Condition::ChannelGone, &name, says);
        }
        gauge!(names::NOTIFICATIONS_GONE).set(waiting as f64);
        Ok(())
    }
}

/// Tells the store what to keep for these channels.
pub fn keep_for(channels: &Channels, figures: &Figures) {
    let takers = channels.takers().map(|(name, taker)| (name.clone(), Arc::clone(taker)));
    figures.keep_for(takers.collect());
}
