//! The list of channels, and what all have in common.

mod alertmanager;
mod email;
mod nats;
mod opsgenie;
mod pagerduty;
mod slack;
mod teams;
mod webhook;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tidewatch_clock::{SharedClock, SystemClock};
use tidewatch_core::settings::{Key, Secret, Section, Value, settings};

use crate::channel::Channel;
use crate::event::Events;
use crate::secret::{Found, Secrets};
use crate::template::{Escape, Templates};

/// The kinds of channels: a kind is a file and a line here.
macro_rules! kinds {
    ($($name:ident = $module:ident),+ $(,)?) => {
        /// A kind of channel with its keys.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Kind {
            $(
                #[doc = concat!("`", stringify!($module), "`.")]
                $name($module::Keys),
            )+
        }

        impl Kind {
            /// Each with its defaults.
            pub fn all() -> Vec<Kind> {
                vec![$( Kind::$name($module::Keys::default()) ),+]
            }

            /// What it is, for people who choose one.
            pub fn says(&self) -> &'static str {
                match self { $( Kind::$name(_) => $module::Keys::SAYS, )+ }
            }

            /// Its name in the configuration.
            pub fn word(&self) -> &'static str {
                match self { $( Kind::$name(_) => stringify!($module), )+ }
            }

            fn open(&self, opening: Opening<'_>) -> Result<Way, Wrong> {
                match self { $( Kind::$name(keys) => keys.open(opening).map(Way::from), )+ }
            }

            fn section(&self) -> &dyn Section {
                match self { $( Kind::$name(keys) => keys, )+ }
            }

            fn section_mut(&mut self) -> &mut dyn Section {
                match self { $( Kind::$name(keys) => keys, )+ }
            }
        }
    };
}

kinds! {
    Webhook = webhook,
    Alertmanager = alertmanager,
    Slack = slack,
    Teams = teams,
    Pagerduty = pagerduty,
    Opsgenie = opsgenie,
    Email = email,
    Nats = nats,
}

impl Kind {
    /// The kind of this name.
    pub fn named(word: &str) -> Option<Kind> {
        Kind::all().into_iter().find(|kind| kind.word() == word)
    }

    /// The keys of all channels that have no meaning for this kind.
    pub fn unused(&self) -> &'static [&'static str] {
        match self {
            Kind::Nats(_) => nats::Keys::UNUSED,
            _ => &[],
        }
    }

    /// Whether it goes into a stream, and needs a connection to NATS.
    pub fn publishes(&self) -> bool {
        matches!(self, Kind::Nats(_))
    }
}

impl Section for Kind {
    fn keys(&self) -> &'static [Key] {
        self.section().keys()
    }

    fn values(&self) -> Vec<Value> {
        self.section().values()
    }

    fn set(&mut self, path: &str, value: Value) -> bool {
        self.section_mut().set(path, value)
    }
}

fn words() -> Vec<&'static str> {
    Kind::all().iter().map(Kind::word).collect()
}

settings! {
    /// What every `[[channel]]` may set.
    #[derive(Clone, Debug, PartialEq)]
    pub struct ChannelKeys in "" {
        /// Needed; letters in lower case, digits and _.
        pub name: () = (), shape();
        /// Needed. What it is:
        pub kind as "type": String = String::new(), Rule::Word(words);
        /// Title of what is sent, a template. It may use what stands in docs/channels.md. By default a
        /// line such as "Critical: Orders: 12 is far below the usual 60".
        pub title: String = String::new(), text();
        /// Text of what is sent, a template as well.
        pub body: String = String::new(), text();
        /// Longest wait between two tries.
        pub retry_max: Duration = Duration::from_secs(300), span(SECOND, HOUR);
        /// Tries after which a notification is left out. Until then nothing behind it goes out.
        pub tries_max: usize = 30, count(1, 1_000);
        /// Age from which on it is left out as well, but for the end of an incident.
        pub give_up: Duration = Duration::from_secs(6 * 3_600), span(MINUTE, 30 * DAY);
        /// It may connect to this machine and to private networks, and without TLS.
        pub allow_private: bool = false, truth();
        /// A file of certificates of authorities to trust besides the system's (PEM).
        pub ca_file: String = String::new(), text();
        /// How long a connection may take.
        pub connect_timeout: Duration = Duration::from_secs(5), span(100, MINUTE);
        /// How long a delivery may take in all.
        pub timeout: Duration = Duration::from_secs(15), span(100, 5 * MINUTE);
    }
}

/// A channel as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// What every channel may set.
    pub keys: ChannelKeys,
    /// Its kind, with the keys of that.
    pub kind: Kind,
}

/// What channels need to know of where they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Where the page is, for links; empty for none.
    pub page: String,
    /// Whose clock people read.
    pub zone: TimeZone,
    /// Labels and facts that templates may ask for.
    pub labels: Vec<String>,
}

/// How notifications leave over a channel.
pub enum Way {
    /// It delivers them itself.
    Delivers(Box<dyn Channel>),
    /// They are published into a stream by whoever is connected.
    Publishes(Box<Events>),
}

impl Way {
    /// The channel, of one that delivers itself.
    pub fn delivers(self) -> Option<Box<dyn Channel>> {
        match self {
            Way::Delivers(channel) => Some(channel),
            Way::Publishes(_) => None,
        }
    }
}

impl From<Box<dyn Channel>> for Way {
    fn from(channel: Box<dyn Channel>) -> Way {
        Way::Delivers(channel)
    }
}

impl From<Events> for Way {
    fn from(events: Events) -> Way {
        Way::Publishes(Box::new(events))
    }
}

/// A key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {rule}")]
pub struct Wrong {
    /// The key.
    pub key: &'static str,
    /// The rule that it breaks.
    pub rule: String,
}

impl Spec {
    /// Makes the channel; connects nowhere.
    ///
    /// # Errors
    /// The key that keeps it from working: a secret that is not there, an address that is none, a
    /// template that fails with a sample.
    pub fn open(&self, place: &Place, clock: &SharedClock) -> Result<Way, Wrong> {
        let (keys, secrets) = (&self.keys, Secrets::Real);
        self.kind.open(Opening { keys, place, clock, secrets, nudges: false })
    }

    /// Checks it where what its keys refer to may not be there: files and variables are not looked at.
    ///
    /// # Errors
    /// As [`Spec::open`].
    pub fn check(&self, place: &Place) -> Result<(), Wrong> {
        self.tried(place, false)
    }

    /// The same for one that nudges are to go to: each is for one person, who knows nothing of incidents.
    ///
    /// # Errors
    /// As [`Spec::check`]; that it tells many; that a template of it fails with a nudge.
    pub fn check_nudges(&self, place: &Place) -> Result<(), Wrong> {
        if !matches!(self.kind, Kind::Email(_) | Kind::Webhook(_)) {
            let word = self.kind.word();
            let rule = format!(
                "is {word:?}, which tells many: a nudge is for one person, by email or webhook"
            );
            return Err(Wrong { key: "type", rule });
        }
        self.tried(place, true)
    }

    /// Checks one that a route leads to: it must name whom it tells.
    ///
    /// # Errors
    /// The key that names nobody.
    pub fn check_routes(&self) -> Result<(), Wrong> {
        match &self.kind {
            Kind::Email(keys) if keys.to.is_empty() => {
                let rule = "is missing: write to = [\"ops@example.org\"]".into();
                Err(Wrong { key: "to", rule })
            }
            _ => Ok(()),
        }
    }

    fn tried(&self, place: &Place, nudges: bool) -> Result<(), Wrong> {
        let (keys, clock) = (&self.keys, &SystemClock::shared());
        let secrets = Secrets::Pretended;
        self.kind.open(Opening { keys, place, clock, secrets, nudges }).map(drop)
    }
}

/// What a kind makes its channel of.
pub(crate) struct Opening<'a> {
    keys: &'a ChannelKeys,
    place: &'a Place,
    clock: &'a SharedClock,
    secrets: Secrets,
    /// Its templates are tried with a nudge as well.
    nudges: bool,
}

/// What an open channel has in common with the others.
pub(crate) struct Common {
    pub place: Arc<Place>,
    pub clock: SharedClock,
    pub templates: Templates,
    pub allow_private: bool,
    pub connect_timeout: Duration,
    pub timeout: Duration,
    /// What the file of `ca_file` holds.
    pub ca: Option<Vec<u8>>,
    /// It is made to be checked, and delivers nothing.
    pub tried: bool,
}

impl Opening<'_> {
    /// Everything but what is the kind's own.
    pub fn common(&self, escape: Escape, more: &[(&'static str, &str)]) -> Result<Common, Wrong> {
        let ChannelKeys { title, body, allow_private, ca_file, connect_timeout, timeout, .. } =
            self.keys;
        let written = [&[("title", title.as_str()), ("body", body.as_str())], more].concat();
        let ca = match ca_file.as_str() {
            "" => None,
            _ if self.secrets == Secrets::Pretended => None,
            path => Some(fs::read(path).map_err(|error| Wrong {
                key: "ca_file",
                rule: format!("{path} cannot be read: {error}"),
            })?),
        };
        Ok(Common {
            place: Arc::new(self.place.clone()),
            clock: Arc::clone(self.clock),
            templates: Templates::new(&written, escape, (self.place, self.nudges))?,
            allow_private: *allow_private,
            connect_timeout: *connect_timeout,
            timeout: *timeout,
            ca,
            tried: self.secrets == Secrets::Pretended,
        })
    }

    /// A secret; `form` is what one looks like.
    pub fn secret(&self, key: &'static str, secret: &Secret, form: &str) -> Result<Found, Wrong> {
        self.secrets.find(key, secret, form)
    }

    /// The same, and it must be there.
    pub fn needed(&self, key: &'static str, secret: &Secret, form: &str) -> Result<Found, Wrong> {
        let found = self.secret(key, secret, form)?;
        if found.reveal().is_empty() {
            let rule = format!(
                "is missing: write {key} = \"env:NAME\", {key} = \"file:PATH\", or the text itself"
            );
            return Err(Wrong { key, rule });
        }
        Ok(found)
    }

    /// An address that may hold a secret.
    pub fn url(&self, key: &'static str, secret: &Secret) -> Result<Found, Wrong> {
        let found = self.needed(key, secret, "https://receiver.example/")?;
        crate::http::address(key, found.reveal(), self.keys.allow_private)?;
        Ok(found)
    }

    /// The same; where nothing is written, that of everybody.
    pub fn url_or(&self, key: &'static str, secret: &Secret, usual: &str) -> Result<Found, Wrong> {
        if secret.0.is_empty() {
            return self.url(key, &Secret(usual.to_owned()));
        }
        self.url(key, secret)
    }
}
